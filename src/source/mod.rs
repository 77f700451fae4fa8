//! Where lines come from. A source reads, cuts into lines and hands batches to its supervisor, which appends them.
//!
//! What each source promises: it is read whatever readers do, in bounded memory and time; a finished line is given out
//! once and in order; a half line is shown while it grows, and is given out when nothing more can come; what could not be
//! delivered is a loss event; how the source is, its state events say. None of them ends the daemon.

mod driver;
mod writer;
mod backoff;
mod pipeline;
mod emit;
mod progress;
mod file;
pub(crate) mod process;
mod journal;
mod push;
#[cfg(test)]
mod testing;

pub(crate) use driver::run;
pub(crate) use file::{Watcher, denied, is_hidden};
pub(crate) use process::{Children, Tee, become_child};

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::control::CommandReceiver;
use crate::event::Time;

/// What of a source its configuration does not say. The default is what the daemon wants; `rtlogd run` differs.
#[derive(Debug, Default)]
pub(crate) struct SourceOptions {
    /// Pass on what a process writes, unchanged, after it was appended. Its reader then slows the process.
    pub(crate) tee: Option<Tee>,
    /// The process reads our standard input, instead of none.
    pub(crate) inherit_stdin: bool,
    /// The process stays in our process group: one of its own may not read from our terminal. Then it alone is sent
    /// signals, and not what it started.
    pub(crate) same_group: bool,
    /// End the stream when the process is not started again; otherwise it stays, so that its readers do. What leaves the
    /// process's group on purpose then lives on, as it does behind a shell.
    pub(crate) end_stream: bool,
    /// Signals for the process.
    pub(crate) signals: Option<mpsc::Receiver<Signal>>,
    /// Commands for the process.
    pub(crate) inbox: Option<CommandReceiver>,
    /// Where the process is entered as one of ours.
    pub(crate) children: Children,
}

/// Why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot start {program:?}")]
    Start { program: OsString, source: io::Error },
    #[error("cannot start {program:?} in the directory {directory:?}")]
    Directory { program: OsString, directory: PathBuf, source: io::Error },
    #[error("cannot start {program:?} as the user {user:?} (rtlogd must be that user, or may change its own)")]
    User { program: OsString, user: String, source: io::Error },
}

impl SourceError {
    /// What the system said.
    pub(crate) fn io(&self) -> &io::Error {
        match self {
            Self::Start { source, .. } | Self::Directory { source, .. } | Self::User { source, .. } => source,
        }
    }

    /// The error and its cause in one line.
    pub(crate) fn with_cause(&self) -> String {
        format!("{self}: {}", self.io())
    }
}

/// A moment by both clocks: the one for waiting, and the one for people.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    instant: Instant,
    time: Time,
}

impl ClockReading {
    /// The only look at the clocks.
    fn read() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now().into() }
    }
}

/// Until then; for ever without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
