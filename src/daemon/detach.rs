//! `rtlogd serve --daemon`: detaches from the terminal, on machines without systemd.
//!
//! Detaching forks, so it comes before the runtime and its threads. The parent waits until the child serves, and only
//! then exits with 0; otherwise it prints the reason.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use daemonize::{Daemonize, Outcome, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

use crate::access::directory::Directory;
use crate::daemon::pid_file::{PidFile, PidFileError};
pub(crate) use crate::source::process::descriptors::close_other_descriptors;

/// The message of the child once it serves.
const READY_MESSAGE: &str = "serves\n";

/// The mode mask for new files: only the daemon has access, as in the systemd unit.
const DAEMON_UMASK: u32 = 0o077;

/// The options for detaching.
#[derive(Debug, Default)]
pub(crate) struct DetachOptions {
    /// The file for the process id, which is locked while the daemon runs and removed when it ends.
    pub(crate) pid_file: Option<PathBuf>,
    /// The file for standard error, and so for the log; `None` discards it.
    pub(crate) log_file: Option<PathBuf>,
    /// The user and the group to run as, by name or number; `None` keeps those of the caller.
    pub(crate) owner: Option<(String, String)>,
}

/// The reason why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetachError {
    #[error("cannot close the inherited file descriptors")]
    Inherited(#[source] io::Error),
    #[error("cannot make a pipe to the daemon")]
    Pipe(#[source] io::Error),
    #[error("cannot open {path:?}")]
    LogFile { path: PathBuf, source: io::Error },
    #[error("cannot become a daemon")]
    Fork(#[source] daemonize::Error),
    #[error("cannot become a daemon")]
    PidFile(#[from] PidFileError),
    #[error("cannot leave the groups of root")]
    Groups(#[source] io::Error),
}

/// The side of the fork that this process is on.
#[derive(Debug)]
pub(crate) enum ForkSide {
    /// The original process: it has to print the text and exit with this code.
    Parent(ExitCode, String),
    /// The daemon: it has to report the result of its start, and to drop its pid file at its end.
    Child(StartReporter, Option<PidFile>),
}

/// Reports the result of the start to the parent.
#[derive(Debug)]
pub(crate) struct StartReporter(PipeWriter);

impl StartReporter {
    /// Reports that the daemon serves.
    pub(crate) fn report_ready(self) {
        self.report(READY_MESSAGE);
    }

    /// Reports that the daemon failed to start, and why.
    pub(crate) fn report_failure(self, code: u8, why: &str) {
        self.report(&format!("{code}\n{why}"));
    }

    /// Sends the report. An error is ignored, since nobody waits for the report once the parent is gone.
    fn report(mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap_or_default();
    }
}

/// Detaches from the terminal. Must be called before anything is opened: open file descriptors count as inherited, and
/// are closed.
///
/// # Errors
/// In the parent, if detaching failed before the fork.
pub(crate) fn detach(options: &DetachOptions) -> Result<ForkSide, DetachError> {
    close_other_descriptors(&[]).map_err(DetachError::Inherited)?;
    let (reader, writer) = io::pipe().map_err(DetachError::Pipe)?;
    let stderr = options.log_file.as_deref().map(open).transpose()?;
    let mut daemon = Daemonize::new().umask(DAEMON_UMASK).stderr(stderr.map_or_else(Stdio::devnull, Stdio::from));
    // The daemon changes its directory.
    let pid_file = options.pid_file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let owned = options.owner.is_some();
    if let Some((user, group)) = &options.owner {
        daemon = match user.parse::<u32>() {
            Ok(id) => daemon.user(id),
            Err(_) => daemon.user(user.as_str()),
        };
        daemon = match group.parse::<u32>() {
            Ok(id) => daemon.group(id),
            Err(_) => daemon.group(group.as_str()),
        };
    }
    // These steps need the rights of the caller. Without `setgroups`, the groups of root and their rights would remain.
    let last = move || -> Result<Option<PidFile>, DetachError> {
        if owned {
            rustix::thread::set_thread_groups(&[]).map_err(|error| DetachError::Groups(error.into()))?;
        }
        Ok(pid_file.as_deref().map(PidFile::create).transpose()?)
    };
    match daemon.privileged_action(last).execute() {
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            Ok(wait_until_ready(reader))
        }
        Outcome::Parent(Err(error)) => Err(DetachError::Fork(error)),
        Outcome::Child(Ok(child)) => {
            drop(reader);
            let start = StartReporter(writer);
            match child.privileged_action_result {
                Ok(pid_file) => Ok(ForkSide::Child(start, pid_file)),
                Err(error) => Ok(fail_in_child(start, &error)),
            }
        }
        Outcome::Child(Err(error)) => Ok(fail_in_child(StartReporter(writer), &DetachError::Fork(error))),
    }
}

/// The exit of a child that does not become a daemon; the parent prints the reason.
fn fail_in_child(start: StartReporter, error: &DetachError) -> ForkSide {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!("\n  because: {cause}"));
    start.report_failure(1, &format!("{error}{cause}"));
    ForkSide::Parent(ExitCode::FAILURE, String::new())
}

/// Opens the log without following links, since root may be asked to keep it in a directory of another user.
fn open(path: &Path) -> Result<File, DetachError> {
    /// The owner may write, the group may read.
    const LOG_FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
    let failed = |source| DetachError::LogFile { path: path.to_owned(), source };
    let flags = OFlags::WRONLY | OFlags::APPEND;
    let (directory, name) = Directory::of_file(path).map_err(failed)?;
    loop {
        match directory.open_existing(&name, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok((_, found)) if found.st_nlink > 1 => {
                return Err(failed(io::Error::other("it has a second hard link; remove it, or choose another name")));
            }
            Ok((_, found)) if found.st_uid != directory.owner() && found.st_uid != geteuid().as_raw() => {
                return Err(failed(io::Error::other(format!("it belongs to the user {}; chown it", found.st_uid))));
            }
            Ok((file, _)) => return Ok(file),
        }
        match directory.create_new(&name, flags, LOG_FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(failed),
        }
    }
}

/// Waits until the daemon serves or fails.
fn wait_until_ready(mut reader: PipeReader) -> ForkSide {
    let mut text = String::new();
    // A report that came before the pipe broke is valid.
    reader.read_to_string(&mut text).unwrap_or_default();
    if text == READY_MESSAGE {
        return ForkSide::Parent(ExitCode::SUCCESS, String::new());
    }
    match text.split_once('\n').and_then(|(code, why)| Some((code.parse::<u8>().ok()?, why))) {
        Some((code, why)) => ForkSide::Parent(code.into(), why.to_owned()),
        None => ForkSide::Parent(ExitCode::FAILURE, "the daemon ended before it was ready".to_owned()),
    }
}
