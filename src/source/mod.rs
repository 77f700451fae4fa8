//! The sources of lines: files, processes, the journal and pushed lines. A source reads bytes, sends them through the
//! [`pipeline`], and fills a batch, which the [`driver`] appends.
//!
//! Each source keeps these promises. It is read independently of its readers, in bounded memory and time. A finished
//! line is emitted once and in order. An unfinished line is shown while it grows, and is emitted when nothing can
//! follow it. Lines that could not be delivered are a loss event. State events say how the source is doing. A failing
//! source never ends the daemon.
//!
//! Reading order: `driver` (runs one source), `writer` (the end of a stream at which it writes), `pipeline` (the origins of
//! a source, and what is due when), `origin_state` (one origin: each step from bytes to lines), `envelope` (how far each
//! stream inside container logs was emitted; `line::envelope` parses them), `emit` (redacts a line and adds it to the
//! batch), `progress` (passes it to the recognisers, which are the layer [`crate::progress`]), `live_rows` (the rows that
//! can still change), `read_pace` (how often a source is read); then the sources `file`, `process` (which waits by `backoff`
//! before a restart), `journal` and `push`. `checkpoint_text` describes checkpoints in words.
//!
//! A new source is a file here, and a variant of [`SourceKind`](crate::config::SourceKind) that [`driver::run`] runs;
//! the compiler then asks what else depends on the kind.

mod driver;
mod writer;
mod backoff;
mod pipeline;
mod live_rows;
mod origin_state;
mod envelope;
mod emit;
mod progress;
mod read_pace;
mod file;
pub(crate) mod process;
mod journal;
mod push;
mod checkpoint_text;
#[cfg(test)]
mod testing;

pub(crate) use checkpoint_text::describe_checkpoint;
pub(crate) use driver::run;
pub(crate) use file::{Watcher, is_hidden, matching_files, open_denial};
pub(crate) use process::environment_file::read as read_environment_file;
pub(crate) use process::{
    Children, KillPoint, SHIM_DIRECTORY, SHIM_VERSION, Tee, TemporaryDirectories, become_child, become_shim,
    end_unclaimed, kill_point, output_of, receive_message, send_message, sweep,
};

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::control::{ProcessRequest, PushRequest};
use crate::event::Time;

/// The options of a source that are not configured. The daemon uses the defaults; `rtlogd run` does not.
#[derive(Debug, Default)]
pub(crate) struct SourceOptions {
    /// Passes the output of a process on, unchanged, after it was appended. A slow reader then slows the process.
    pub(crate) tee: Option<Tee>,
    /// The process inherits the standard input of rtlogd; otherwise it has none.
    pub(crate) inherit_stdin: bool,
    /// The process stays in the process group of rtlogd, since another group may not read from the terminal. Then only
    /// the process receives signals, not its descendants.
    pub(crate) same_group: bool,
    /// Ends the stream when the process is not restarted; otherwise the stream stays open. Descendants that leave the
    /// process group on purpose then survive, as under a shell.
    pub(crate) end_stream: bool,
    /// Signals for the process.
    pub(crate) signals: Option<mpsc::Receiver<Signal>>,
    /// Requests to the process.
    pub(crate) process_requests: Option<mpsc::Receiver<ProcessRequest>>,
    /// Requests to open a sender of lines.
    pub(crate) push_requests: Option<mpsc::Receiver<PushRequest>>,
    /// The set of child processes to which the process is added.
    pub(crate) children: Children,
    /// The directory for the sockets of shims, by which processes outlive the daemon; `None` if they do not.
    pub(crate) shim_directory: Option<PathBuf>,
    /// The directories for temporary files, of which each process without a `user` of its own has one; `None` if it uses
    /// those of the system.
    pub(crate) temporary_directories: Option<Arc<TemporaryDirectories>>,
    /// Set before the daemon stops if the next one takes over the processes.
    pub(crate) hands_over: Arc<AtomicBool>,
}

/// The reason why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot start {program:?}")]
    Start { program: OsString, source: io::Error },
    #[error("cannot start {program:?} in the directory {directory:?}")]
    Directory { program: OsString, directory: PathBuf, source: io::Error },
    #[error("cannot start {program:?} with the environment file {path:?}")]
    EnvironmentFile { program: OsString, path: PathBuf, source: io::Error },
    #[error(
        "cannot start {program:?} as the user {user:?} (rtlogd must run as that user, as root, or with CAP_SETUID and CAP_SETGID)"
    )]
    User { program: OsString, user: String, source: io::Error },
    #[error(
        "cannot start {program:?} in the group {group:?} (rtlogd must be in that group, be root, or have CAP_SETGID)"
    )]
    Group { program: OsString, group: String, source: io::Error },
}

impl SourceError {
    /// The error of the operating system.
    pub(crate) fn io(&self) -> &io::Error {
        match self {
            Self::Start { source, .. }
            | Self::Directory { source, .. }
            | Self::EnvironmentFile { source, .. }
            | Self::User { source, .. }
            | Self::Group { source, .. } => source,
        }
    }

    /// The error and its cause in one line.
    pub(crate) fn with_cause(&self) -> String {
        format!("{self}: {}", self.io())
    }
}

/// A moment by both clocks: the monotonic one for waiting, and the wall clock for time stamps.
#[derive(Debug, Clone, Copy)]
struct ClockReading {
    instant: Instant,
    time: Time,
}

impl ClockReading {
    /// Reads both clocks; the only function of this layer that does.
    fn read() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now().into() }
    }
}

/// Waits until `time`; forever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
