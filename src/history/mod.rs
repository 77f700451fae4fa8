//! The log on disk: the events that memory has dropped, and everything that outlives the daemon.
//!
//! # Theory of operation
//!
//! ```text
//!             record(segments, checkpoints)           WriteJob                 write     ┌ 0000…00.rlog  oldest, dropped first
//!  Appender ─────────────────────────────▶ Recorder ────────────▶ writer thread ──────▶ ├ 0000…4c.rlog
//!     │  ◀──── Recorded / Failed ────────      │    ◀── done ───       │                 └ 0000…9f.rlog  newest, appended to
//!     ▼                                        │ after a failure       ▼ each second                │
//!   Ring ◀──────── segments in memory ──── Backlog              sync thread (fdatasync)            ▼
//!                                                                                    HistoryReader ──▶ readers
//! ```
//!
//! Each stream has a folder with files of [records](self::record), named after the sequence number of their first
//! event. A file begins with a snapshot (numbering, checkpoints, boot id), so the newest file alone says where the
//! stream continues.
//!
//! - **Order.** A batch is recorded together with the source's checkpoints after it, in one transaction, and only then
//!   published to readers. So no reader has seen an event that a restart numbers differently, and after a crash of the
//!   daemon the source is read from exactly where the recorded events end.
//! - **Transactions.** Records of a transaction are valid only if its last one was written: [`recover`] leaves out the
//!   rest.
//! - **Threads.** One thread writes ([`writer`]), since a write to a stalled disk cannot be cancelled: a job whose
//!   sender has stopped waiting is undone by truncation. Another thread syncs each second, since a sync may take longer
//!   than readers want to wait. A crash of the machine may thus lose a second of events; the boot id shows that, and a
//!   new epoch begins.
//! - **A disk that fails.** Appending never waits longer than half a second. Then the log continues in memory under a
//!   new epoch, readers receive the state `degraded`, and the [`Backlog`](catch_up) writes what memory still holds once
//!   the disk works again. Events that memory dropped meanwhile are a gap.
//! - **`kill -9` of the daemon.** What was recorded stays. What was read and not recorded is read again: a file from its
//!   checkpoint (`source/file/checkpoint.rs`), the journal from its cursor (`source/journal`), and the output of a command
//!   from the staging pipe that its shim holds (`source/process/staging.rs`). Only what cannot be read again is lost: what was
//!   read of a FIFO, such as its unfinished line, the output of a command without a shim, and events that only memory held
//!   (`degraded`). Readers resume after
//!   their last id.
//! - **Reading.** Readers open the files themselves ([`reader`]), at most four at a time, and only up to what is
//!   committed.
//!
//! - **Runs.** The summaries of runs outlive their events: the newest file has all of them ([`run_tracker`]).
//!
//! Rejected: a database (its files cannot be repaired record by record), mmap (a full or failing disk is a signal
//! instead of an error), and a sync for each batch (milliseconds of latency for every line).
//!
//! Reading order: `record` (the format, with `byte_codec`), `segment_codec` and `summary` (bodies of records), `run_tracker`
//! (what is known of runs), `files`
//! (the index), `record_reader` (one file, without its damaged parts), `recover` (the start), `writer` (the threads),
//! `transaction`, `recorder`, `catch_up`, `reader`, `inspect` (`rtlogd history`).

mod record_reader;
mod files;
mod writer;
mod transaction;
mod recorder;
mod catch_up;
mod reader;
mod inspect;
mod recover;
mod run_tracker;
mod byte_codec;
mod record;
mod summary;
mod segment_codec;

pub use inspect::{StreamInspection, inspect, read_events};
pub(super) use reader::{HistoryRead, HistoryReader};
pub(crate) use record::FORMAT_VERSION;
pub(super) use recorder::{RecordOutcome, Recorder};
pub(super) use run_tracker::{RunLimits, RunTracker, SharedRuns};
pub(super) use transaction::NextEvent;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use log::{info, warn};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use crate::event::{Epoch, Position, RunInfo, StreamName, Time, lock};

use crate::segment::Checkpoints;
use crate::segment::Numbering;
use files::StreamFiles;
use recorder::RecoveredState;
use writer::WriterThreads;

/// The directory of all streams in the state directory.
const STREAMS_DIRECTORY: &str = "streams";

/// The most concurrent readers of old events: a disk serves a few well, and the sources need threads too.
const MAX_CONCURRENT_HISTORY_READS: usize = 4;

/// The bounds on what is kept of a stream on disk, and of its runs also without a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most bytes of all its files.
    pub bytes: u64,
    /// The age after which events are dropped, a file at a time.
    pub age: Duration,
    /// The most runs whose summaries are kept, also after their events were dropped.
    pub runs: usize,
}

/// The bounds of one stream, which may change while it is recorded. A clone is the same bounds.
#[derive(Debug, Clone)]
pub(crate) struct SharedRetention(Arc<Mutex<Retention>>);

impl SharedRetention {
    fn new(retention: Retention) -> Self {
        Self(Arc::new(Mutex::new(retention)))
    }

    /// The present bounds.
    fn get(&self) -> Retention {
        *lock(&self.0)
    }

    /// Changes the bounds; older files are dropped by the next maintenance.
    fn set(&self, retention: Retention) {
        *lock(&self.0) = retention;
    }
}

/// The reason why a history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another daemon has locked the state directory.
    #[error(
        "the state directory {0:?} is in use by another rtlogd (stop that one, or give this one another state_directory)"
    )]
    InUse(PathBuf),
    /// A directory or file cannot be created or read.
    #[error("cannot use the state directory {path:?}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The state directory has no such stream.
    #[error("there is no stream {1} in {0:?} (leave out the name to list all streams)")]
    NoStream(PathBuf, StreamName),
    /// A newer version wrote the file, in a format that this one does not know.
    #[error("{0:?} was written by a newer rtlogd (use the newer one, or give this one another state_directory)")]
    Newer(PathBuf),
}

impl HistoryError {
    /// The error number of the system, if the system refused something.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Directory { source, .. } => source.raw_os_error(),
            Self::InUse(_) | Self::NoStream(..) | Self::Newer(_) => None,
        }
    }

    /// Converts an error of the system at `path`.
    fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Directory { path: path.to_owned(), source }
    }
}

/// The histories of all streams below one state directory, which is locked against other daemons.
#[derive(Debug)]
pub struct History {
    root: PathBuf,
    /// The state directory itself; locked as long as it is open.
    _lock: File,
    boot: Arc<str>,
    writers: WriterThreads,
    read_permits: Arc<Semaphore>,
}

/// The recovered state of a stream at its start, and the two sides of its history.
#[derive(Debug)]
pub struct StreamHistory {
    pub(super) numbering: Numbering,
    /// The source's checkpoints after the last recorded event.
    pub(super) checkpoints: Checkpoints,
    pub(super) recorder: Recorder,
    pub(super) reader: HistoryReader,
    /// The last run of the process, if it is one.
    pub(super) run: Option<RunInfo>,
    /// All runs that are known.
    pub(super) runs: SharedRuns,
    /// `true` if something on disk was damaged.
    pub(super) damaged: bool,
}

impl StreamHistory {
    /// The same history for a source that is no process, although it may have been one.
    #[must_use]
    pub fn without_run(self) -> Self {
        self.runs.lock().end_processes(SystemTime::now().into());
        Self { run: None, ..self }
    }
}

impl History {
    /// Locks a state directory, and creates it if it does not exist. Blocks.
    ///
    /// # Errors
    /// If another daemon has locked it, or it cannot be created or read.
    pub fn open(root: &Path) -> Result<Self, HistoryError> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::open_in_boot(root, boot.trim())
    }

    /// The same as [`open`](Self::open), in the given boot of the machine.
    pub(super) fn open_in_boot(root: &Path, boot: &str) -> Result<Self, HistoryError> {
        make_directory(root).map_err(HistoryError::at(root))?;
        let lock = File::open(root).map_err(HistoryError::at(root))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(HistoryError::InUse(root.to_owned())),
            Err(error) => return Err(HistoryError::at(root)(error.into())),
        }
        let writers = WriterThreads::start().map_err(HistoryError::at(root))?;
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_HISTORY_READS));
        Ok(Self { root: root.to_owned(), _lock: lock, boot: boot.into(), writers, read_permits: permits })
    }

    /// Opens the history of one stream. Blocks: its newest file is read and checked.
    ///
    /// Damaged records are left out and logged; they are no error.
    ///
    /// # Errors
    /// If its files cannot be read, or a newer version wrote them.
    pub fn stream(&self, name: &StreamName, retention: Retention) -> Result<StreamHistory, HistoryError> {
        let directory = self.root.join(STREAMS_DIRECTORY).join(name.as_str());
        let found = recover::recover_history(&directory, RunLimits::new(usize::MAX, retention))?;
        let now = Time::from(SystemTime::now()).millis();
        let end = found.numbering.as_ref().map_or(found.end, Numbering::next);
        let numbering = if let Some(mut numbering) = found.numbering {
            if !found.cleanly_closed && found.boot != *self.boot {
                info!(stream = name.as_str(); "the machine stopped without a clean shutdown: a new epoch of ids begins");
                let epoch = numbering.next_id().epoch.successor(now);
                numbering.continue_at(Position { epoch, number: 1 }, None);
            }
            numbering
        } else {
            let epoch = found.epoch.map_or(Epoch::persistent(now), |newest| newest.successor(now));
            Numbering::starting_at(Position { epoch, number: 1 }, found.end)
        };
        for damage in &found.damage {
            warn!(stream = name.as_str(); "the history is damaged: {damage}");
        }
        let files = Arc::new(StreamFiles::new(directory, found.files, Some(&numbering)));
        let run = reader::last_run(&files, &numbering).unwrap_or_else(|error| {
            warn!(stream = name.as_str(), errno = error.raw_os_error(), error:% = error; "the last run cannot be read");
            None
        });
        let (jobs, boot) = (self.writers.jobs(), self.boot.clone());
        let damaged = !found.damage.is_empty();
        let (private, is_newest_file_finished) = (found.private, found.is_old_format || damaged);
        let recovered =
            RecoveredState { checkpoints: found.checkpoints.clone(), private, is_newest_file_finished, end };
        let retention = SharedRetention::new(retention);
        let mut runs = found.runs;
        if let (Some(run), Some((start, None))) = (&run, numbering.last_run()) {
            runs.set_start_time(start, run.started);
        }
        let runs = SharedRuns::new(runs);
        let recorder = Recorder::new(files.clone(), jobs, boot, retention.clone(), runs.clone(), recovered);
        let reader = HistoryReader::new(files, self.read_permits.clone(), retention);
        Ok(StreamHistory { numbering, checkpoints: found.checkpoints, recorder, reader, run, runs, damaged })
    }

    /// Waits until all submitted records are written and synced, and unlocks the directory. All appenders must be
    /// closed before. Blocks.
    pub fn close(self) {
        self.writers.join();
    }
}

/// Creates a directory and its parents, where they do not exist. Logs may contain secrets: only the daemon has access.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
