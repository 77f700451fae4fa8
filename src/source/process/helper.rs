//! A program that works for a source: its output is read as it is and is not emitted as lines of the stream. It is
//! started, reaped and killed like the process of a stream, but is no run of one.

use std::ffi::OsString;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::select;

use crate::config::ProcessSourceConfig;
use crate::source::{SourceError, SourceOptions};

use crate::event::signal_name;

use super::leader::Children;
use super::program::Program;
use super::spawn::{self, StartedProgram};
use super::stop::ProcessGroup;

/// The maximum size of one read in bytes: the capacity of a pipe.
const HELPER_READ_SIZE: usize = 64 << 10;

/// The maximum number of bytes of standard error that are kept: the first ones, in which programs name the problem.
const MAX_HELPER_STDERR: usize = 4 << 10;

/// The maximum size of the output that [`output_of`] returns, in bytes.
const MAX_HELPER_OUTPUT: usize = 64 << 10;

/// A running helper program.
#[derive(Debug)]
pub(in crate::source) struct Helper {
    out: Receiver,
    stderr: Option<Receiver>,
    stderr_text: Vec<u8>,
    program: Program,
    group: ProcessGroup,
}

impl Helper {
    /// Starts the program. The future must not be dropped before it is done.
    pub(in crate::source) async fn start(
        stream: &str,
        argv: Vec<OsString>,
        children: &Children,
    ) -> Result<Self, SourceError> {
        let options = SourceOptions { children: children.clone(), ..SourceOptions::default() };
        let mut spec = ProcessSourceConfig::new(argv);
        // The messages of the program are parsed, so they must not be translated.
        spec.environment.insert("LC_ALL".to_owned(), "C".to_owned());
        let started = spawn::spawn(stream, &spec, &options, 0, &spawn::mark(stream, 0)).await?;
        let StartedProgram { program, ends: [Some(out), err], .. } = started else {
            unreachable!("a program without a terminal has a pipe for each output");
        };
        let group = ProcessGroup::new(program.pid(), true);
        Ok(Self { out, stderr: err, stderr_text: Vec::new(), program, group })
    }

    /// The process id.
    pub(in crate::source) fn pid(&self) -> i32 {
        self.program.pid().as_raw_nonzero().get()
    }

    /// Waits for standard output, and appends it to `buffer`. Returns `false` once nothing more can come. May be
    /// dropped at any time.
    pub(in crate::source) async fn read(&mut self, buffer: &mut Vec<u8>) -> bool {
        loop {
            buffer.reserve(HELPER_READ_SIZE);
            select! {
                count = self.out.read_buf(buffer) => return count.is_ok_and(|count| count > 0),
                count = read_some(self.stderr.as_mut(), &mut self.stderr_text) => {
                    self.stderr_text.truncate(MAX_HELPER_STDERR);
                    if count == 0 {
                        self.stderr = None;
                    }
                }
            }
        }
    }

    /// The text that was written to standard error, trimmed.
    pub(in crate::source) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr_text).trim().to_owned()
    }

    /// Waits for the end of the program, and describes it in words. Also returns the text of standard error. Call it
    /// once nothing more can come.
    pub(in crate::source) async fn ended(mut self) -> (String, String) {
        let status = self.wait().await;
        (in_words(status), self.stderr_text())
    }

    /// Waits for the end of the program.
    async fn wait(&mut self) -> Option<ExitStatus> {
        while self.stderr.is_some() {
            if read_some(self.stderr.as_mut(), &mut self.stderr_text).await == 0 {
                self.stderr = None;
            }
            self.stderr_text.truncate(MAX_HELPER_STDERR);
        }
        let status = self.program.ended().await.status;
        self.group.leader_ended();
        status
    }
}

/// Runs a program to its end, and returns its standard output. If the future is dropped, the program is killed.
///
/// # Errors
/// The text says in words how it failed: it could not be started, or it did not exit with code 0.
pub(crate) async fn output_of(argv: Vec<OsString>, children: &Children) -> Result<Vec<u8>, String> {
    // A task of its own, since the start must not be dropped.
    let children = children.clone();
    let start = tokio::spawn(async move { Helper::start("rtlogd", argv, &children).await });
    let mut helper = start.await.map_err(|error| error.to_string())?.map_err(|error| error.with_cause())?;
    let mut output = Vec::new();
    while helper.read(&mut output).await && output.len() < MAX_HELPER_OUTPUT {}
    let status = helper.wait().await;
    if status.is_some_and(|status| status.success()) {
        return Ok(output);
    }
    let (how, stderr) = (in_words(status), helper.stderr_text());
    Err(if stderr.is_empty() { format!("it {how}") } else { format!("it {how}: {stderr}") })
}

/// Describes how a program ended.
fn in_words(status: Option<ExitStatus>) -> String {
    match (status.and_then(|status| status.code()), status.and_then(|status| status.signal())) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {}", signal_name(signal)),
        (None, None) => "ended with an unknown status".to_owned(),
    }
}

impl Drop for Helper {
    /// Kills the program: nobody reads its output any more.
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

async fn read_some(from: Option<&mut Receiver>, to: &mut Vec<u8>) -> usize {
    match from {
        Some(from) => from.read_buf(to).await.unwrap_or(0),
        None => pending().await,
    }
}
