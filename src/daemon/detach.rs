//! `rtlogd serve --daemon`: leaves the terminal, for machines without systemd.
//!
//! It forks, so it comes before the runtime and its threads. The parent waits until the child serves, and ends with 0 only
//! then; else it says why not.

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

/// What the child says once it serves.
const READY_MESSAGE: &str = "serves\n";

/// Files are for the daemon alone, as in the unit.
const DAEMON_UMASK: u32 = 0o077;

/// How to leave.
#[derive(Debug, Default)]
pub(crate) struct DetachOptions {
    /// Holds the process id, is locked as long as the daemon runs, and is removed when it ends.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where standard error goes, and with it what is logged; else nowhere.
    pub(crate) log_file: Option<PathBuf>,
    /// As whom to run: a user and a group, by name or number.
    pub(crate) owner: Option<(String, String)>,
}

/// Why there is no daemon.
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
    #[error("cannot give up the groups of root")]
    Groups(#[source] io::Error),
}

/// Which of the two processes this is.
#[derive(Debug)]
pub(crate) enum ForkSide {
    /// The one that was started: nothing is left for it but to exit with this code; the text says why.
    Parent(ExitCode, String),
    /// The daemon, which is to say how its start went, and to drop its pid file at its end.
    Child(StartReporter, Option<PidFile>),
}

/// Where the daemon says how its start went.
#[derive(Debug)]
pub(crate) struct StartReporter(PipeWriter);

impl StartReporter {
    /// It serves.
    pub(crate) fn report_ready(self) {
        self.tell(READY_MESSAGE);
    }

    /// It does not, for this reason.
    pub(crate) fn report_failure(self, code: u8, why: &str) {
        self.tell(&format!("{code}\n{why}"));
    }

    /// With the parent gone there is nobody left to tell.
    fn tell(mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap_or_default();
    }
}

/// Leaves the terminal. Call it before anything is opened: what is open is taken for inherited, and is closed.
///
/// # Errors
/// In the parent, if it could not even begin.
pub(crate) fn detach(how: &DetachOptions) -> Result<ForkSide, DetachError> {
    close_other_descriptors(&[]).map_err(DetachError::Inherited)?;
    let (heard, told) = io::pipe().map_err(DetachError::Pipe)?;
    let stderr = how.log_file.as_deref().map(open).transpose()?;
    let mut daemon = Daemonize::new().umask(DAEMON_UMASK).stderr(stderr.map_or_else(Stdio::devnull, Stdio::from));
    // The daemon moves to another directory.
    let pid_file = how.pid_file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let owned = how.owner.is_some();
    if let Some((user, group)) = &how.owner {
        daemon = match user.parse::<u32>() {
            Ok(id) => daemon.user(id),
            Err(_) => daemon.user(user.as_str()),
        };
        daemon = match group.parse::<u32>() {
            Ok(id) => daemon.group(id),
            Err(_) => daemon.group(group.as_str()),
        };
    }
    // What still needs the rights of whoever started it. The groups of root stay otherwise, and with them what they may read.
    let last = move || -> Result<Option<PidFile>, DetachError> {
        if owned {
            rustix::thread::set_thread_groups(&[]).map_err(|error| DetachError::Groups(error.into()))?;
        }
        Ok(pid_file.as_deref().map(PidFile::create).transpose()?)
    };
    match daemon.privileged_action(last).execute() {
        Outcome::Parent(Ok(_)) => {
            drop(told);
            Ok(wait_until_ready(heard))
        }
        Outcome::Parent(Err(error)) => Err(DetachError::Fork(error)),
        Outcome::Child(Ok(child)) => {
            drop(heard);
            let start = StartReporter(told);
            match child.privileged_action_result {
                Ok(pid_file) => Ok(ForkSide::Child(start, pid_file)),
                Err(error) => Ok(fail_in_child(start, &error)),
            }
        }
        Outcome::Child(Err(error)) => Ok(fail_in_child(StartReporter(told), &DetachError::Fork(error))),
    }
}

/// The end of a child that is no daemon; its parent says why.
fn fail_in_child(start: StartReporter, error: &DetachError) -> ForkSide {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!("\n  because: {cause}"));
    start.report_failure(1, &format!("{error}{cause}"));
    ForkSide::Parent(ExitCode::FAILURE, String::new())
}

/// Opens the log, through no link: root may be told to keep it in a directory of another user.
fn open(path: &Path) -> Result<File, DetachError> {
    /// Its owner writes, and its group reads.
    const LOG_FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);
    let failed = |source| DetachError::LogFile { path: path.to_owned(), source };
    let flags = OFlags::WRONLY | OFlags::APPEND;
    let (directory, name) = Directory::of_file(path).map_err(failed)?;
    loop {
        match directory.open_existing(&name, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok((_, found)) if found.st_nlink > 1 => {
                return Err(failed(io::Error::other("it has another name too (a hard link)")));
            }
            Ok((_, found)) if found.st_uid != directory.owner() && found.st_uid != geteuid().as_raw() => {
                return Err(failed(io::Error::other(format!("it belongs to the user {}", found.st_uid))));
            }
            Ok((file, _)) => return Ok(file),
        }
        match directory.create_new(&name, flags, LOG_FILE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(failed),
        }
    }
}

/// Waits until the daemon serves, or does not.
fn wait_until_ready(mut heard: PipeReader) -> ForkSide {
    let mut text = String::new();
    // What was said before the pipe broke still counts.
    heard.read_to_string(&mut text).unwrap_or_default();
    if text == READY_MESSAGE {
        return ForkSide::Parent(ExitCode::SUCCESS, String::new());
    }
    match text.split_once('\n').and_then(|(code, why)| Some((code.parse::<u8>().ok()?, why))) {
        Some((code, why)) => ForkSide::Parent(code.into(), why.to_owned()),
        None => ForkSide::Parent(ExitCode::FAILURE, "the daemon ended before it served".to_owned()),
    }
}
