//! The writing side of one stream's history: records each batch before readers see it, and catches up from memory after
//! the disk has refused one.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::info;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::event::Time;
use crate::history::record::{RecordWriter, Snapshot};
use crate::segment::{CheckpointChange, Checkpoints, Numbering, Segment, StatusChange};

use super::catch_up::{Backlog, BacklogWriteOutcome, SegmentsInMemory};
use super::files::StreamFiles;
use super::transaction::{NextEvent, Transaction};
use super::writer::{WriteJob, WriteOperation, writer_gone};
use super::{SharedRetention, SharedRuns};

/// The longest that readers wait for the disk. A write ends in the page cache, so this is far more than a healthy disk
/// needs; but a machine under load delays a thread by tens of milliseconds, and each timeout costs the stream an epoch.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest that the last records of a stream may take when the daemon stops.
const HISTORY_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of files that the retention is divided into, so that dropping one drops little.
const FILES_PER_HISTORY: u64 = 32;

/// The least and the most bytes in one file, without its snapshot.
const MIN_HISTORY_FILE_SIZE: u64 = 64 << 10;
const MAX_HISTORY_FILE_SIZE: u64 = 8 << 20;

/// The interval at which files are checked for their age.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// The writing side of one stream's history.
#[derive(Debug)]
pub(crate) struct Recorder {
    files: Arc<StreamFiles>,
    jobs: mpsc::Sender<WriteJob>,
    /// The boot id of the machine, which the records carry.
    boot: Arc<str>,
    retention: SharedRetention,
    /// The runs of the stream, up to the last event that was passed to [`record`](Self::record).
    runs: SharedRuns,
    /// The source's checkpoints as they are recorded; changes that are not recorded are in `backlog`.
    checkpoints: Checkpoints,
    /// `true` if the stream is private, as each new record says.
    private: bool,
    /// `true` if nothing may be appended to the newest file, since it is damaged or of an older format.
    is_newest_file_finished: bool,
    /// `true` if an `Opened` record or a snapshot of this daemon is in the newest file.
    opened: bool,
    /// The sequence number after the last event that is recorded; at most that of the next event of the log.
    end: u64,
    /// The time at which the oldest event in the newest file was read; `None` while that file has no event.
    newest_file_start: Option<Time>,
    /// The size of the snapshot at the start of the newest file, in bytes; 0 if another daemon wrote it.
    snapshot_size: u64,
    /// Everything that memory holds and the disk does not; `None` while each batch is recorded as it comes.
    backlog: Option<Backlog>,
    last_prune: Instant,
}

/// The recovered state that a recorder continues from.
#[derive(Debug)]
pub(super) struct RecoveredState {
    pub(super) checkpoints: Checkpoints,
    pub(super) private: bool,
    /// `true` if nothing may be appended to the newest file: it is of an older format, or damaged. Damage in a file that
    /// is not the newest is not found again at each start.
    pub(super) is_newest_file_finished: bool,
    /// The sequence number after the last event that is recorded.
    pub(super) end: u64,
}

/// The result of recording a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RecordOutcome {
    /// The batch is recorded.
    Recorded,
    /// The batch is not recorded, like at least one before it; it is written later from memory.
    Deferred,
    /// The batch is the first one that could not be recorded, for this reason.
    Failed(String),
}

impl Recorder {
    pub(super) fn new(
        files: Arc<StreamFiles>,
        jobs: mpsc::Sender<WriteJob>,
        boot: Arc<str>,
        retention: SharedRetention,
        runs: SharedRuns,
        recovered: RecoveredState,
    ) -> Self {
        let RecoveredState { checkpoints, private, is_newest_file_finished, end } = recovered;
        let newest_file_start =
            files.files().list.back().and_then(|newest| Some(newest.offsets.as_ref()?.first()?.time));
        Self {
            files,
            jobs,
            boot,
            retention,
            runs,
            checkpoints,
            private,
            is_newest_file_finished,
            opened: false,
            end,
            newest_file_start,
            snapshot_size: 0,
            backlog: None,
            last_prune: Instant::now(),
        }
    }

    /// The sequence numbers of the events that the disk holds.
    pub(crate) fn seq_range(&self) -> Range<u64> {
        self.files.seq_range()
    }

    /// The reason why nothing is recorded at present; `None` while the disk accepts each batch.
    pub(crate) fn degraded_reason(&self) -> Option<&str> {
        self.backlog.as_ref().map(Backlog::reason)
    }

    /// The sequence number after the last event that is recorded.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Returns whether the records say that the stream is private.
    pub(crate) fn is_private(&self) -> bool {
        self.private
    }

    /// Records segments together with the checkpoints after them, the runs that end in them, and whether the stream is
    /// private. The segments begin with `next`; `memory` has only what is before them. Waits for the disk for at most
    /// [`RECORD_TIMEOUT`]. The future must not be dropped before it is done.
    pub(crate) async fn record(
        &mut self,
        next: NextEvent,
        memory: impl SegmentsInMemory,
        (segments, changes): (&[Segment], &[StatusChange]),
        checkpoints: Vec<CheckpointChange>,
        private: bool,
    ) -> RecordOutcome {
        let privacy_changed = std::mem::replace(&mut self.private, private) != private;
        // A new file begins with the runs as they were before these events, which it does not have yet.
        let ready = if self.backlog.is_none() { self.prepare_file(&memory).await } else { Ok(()) };
        self.runs.lock().observe(segments, changes);
        if let Some(backlog) = &mut self.backlog {
            backlog.add_checkpoints(checkpoints);
            if privacy_changed {
                backlog.require_record();
            }
            return RecordOutcome::Deferred;
        }
        let recorded = match ready {
            Ok(()) => self.try_record(next, segments, &checkpoints, privacy_changed).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => {
                for change in checkpoints {
                    change.apply_to(&mut self.checkpoints);
                }
                self.end = segments.last().map_or(self.end, Segment::end);
                self.newest_file_start =
                    self.newest_file_start.or_else(|| segments.first().map(|segment| segment.time(0)));
                RecordOutcome::Recorded
            }
            Err(error) => {
                let mut backlog = Backlog::new(&error, memory(u64::MAX).1, self.end);
                backlog.add_checkpoints(checkpoints);
                if privacy_changed {
                    backlog.require_record();
                }
                let reason = backlog.reason().to_owned();
                self.backlog = Some(backlog);
                RecordOutcome::Failed(reason)
            }
        }
    }

    /// Begins a new file if the next event must not go into the newest one.
    async fn prepare_file(&mut self, memory: &impl SegmentsInMemory) -> io::Result<()> {
        if self.wants_new_file() {
            let roll = self.roll_file(&memory(u64::MAX).1);
            self.submit(roll).await?;
            self.file_begun();
        }
        Ok(())
    }

    async fn try_record(
        &mut self,
        next: NextEvent,
        segments: &[Segment],
        checkpoints: &[CheckpointChange],
        privacy_changed: bool,
    ) -> io::Result<()> {
        let mut transaction = Transaction::new(self.end, self.private);
        if !self.opened {
            transaction.add_opened(next, &self.boot);
        }
        transaction.append(next, segments, checkpoints);
        let runs = self.runs.lock().take_unrecorded(self.end);
        transaction.add_runs(next.after(segments), &runs);
        if privacy_changed && transaction.is_empty() {
            transaction.add_privacy(next);
        }
        if transaction.is_empty() {
            return Ok(());
        }
        self.submit(WriteOperation::Append(transaction.finish())).await?;
        self.opened = true;
        Ok(())
    }

    /// Takes note of a new file, which begins with a snapshot of this daemon.
    fn file_begun(&mut self) {
        (self.opened, self.newest_file_start, self.is_newest_file_finished) = (true, None, false);
    }

    /// Submits a job and waits until it is done, for at most [`RECORD_TIMEOUT`].
    async fn submit(&self, operation: WriteOperation) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {RECORD_TIMEOUT:?}"));
        let (done, mut outcome) = oneshot::channel();
        let job = WriteJob { stream_files: self.files.clone(), operation, done };
        let wait = async {
            let sent = self.jobs.send(job).await;
            sent.map_err(|_| writer_gone())?;
            (&mut outcome).await.map_err(|_| writer_gone())?
        };
        let waited = timeout(RECORD_TIMEOUT, wait).await;
        waited.unwrap_or_else(|_| {
            // The job may have finished in the meantime. Once the channel is closed, the writer undoes what it writes.
            outcome.close();
            outcome.try_recv().unwrap_or_else(|_| Err(late()))
        })
    }

    /// The operation that begins a new file, with a snapshot of everything known up to `numbering`.
    fn roll_file(&mut self, numbering: &Numbering) -> WriteOperation {
        let (first, seq) = (numbering.next_id(), numbering.next());
        let mut writer = RecordWriter::new(self.private);
        let snapshot = Snapshot { numbering: numbering.clone(), boot: self.boot.to_string() };
        writer.put_snapshot(first, seq, &snapshot);
        writer.put_checkpoints(first, seq, self.checkpoints.iter().map(|(key, value)| (key, Some(value))));
        let runs = self.runs.lock().summaries_before(seq);
        for run in &runs {
            writer.put_run(first, seq, run);
        }
        writer.end();
        self.snapshot_size = writer.bytes.len() as u64;
        // A small retention may be less than one file: then only the newest file stays.
        WriteOperation::Roll {
            seq,
            bytes: writer.bytes,
            most: self.retention.get().bytes.saturating_sub(self.file_capacity()),
        }
    }

    /// The bytes that go into one file in addition to its snapshot.
    fn file_capacity(&self) -> u64 {
        (self.retention.get().bytes / FILES_PER_HISTORY)
            .clamp(MIN_HISTORY_FILE_SIZE, MAX_HISTORY_FILE_SIZE)
            .max(4 * self.snapshot_size)
    }

    /// Returns whether there is no file yet, or the newest one is full or too old to be dropped in time as a whole.
    fn wants_new_file(&self) -> bool {
        let files = self.files.files();
        let Some(newest) = files.list.back() else { return true };
        self.is_newest_file_finished
            || newest.bytes >= self.file_capacity() + self.snapshot_size
            || self.is_newest_file_old()
    }

    /// Returns whether the newest file is so old that the next event should begin another one.
    fn is_newest_file_old(&self) -> bool {
        self.newest_file_start.is_some_and(|began| began < time_before_now(self.retention.get().age / 8))
    }

    /// Waits until maintenance is due, and does it: writes the backlog once the disk works again, and drops old files.
    /// `memory` gives the segments from a sequence number on, and the numbering of all.
    ///
    /// Returns `true` when a backlog has been written completely, `false` after each of its steps. May be dropped at
    /// any time.
    pub(crate) async fn maintain(&mut self, memory: impl SegmentsInMemory) -> bool {
        loop {
            if self.backlog.is_some() {
                if self.catch_up(&memory).await {
                    return true;
                }
            } else {
                tokio::time::sleep_until(self.last_prune + PRUNE_INTERVAL).await;
                self.last_prune = Instant::now();
                self.prune(&memory).await;
            }
        }
    }

    /// One step of writing the backlog: submits the next write, or waits for the one that was submitted. True when
    /// nothing is left. May be dropped at any time.
    async fn catch_up(&mut self, memory: &impl SegmentsInMemory) -> bool {
        let Some(backlog) = &mut self.backlog else { return true };
        if !backlog.is_writing() {
            backlog.wait_until_retry().await;
            let Ok(permit) = self.jobs.clone().reserve_owned().await else { return std::future::pending().await };
            let new_file = backlog.numbering_for_new_file();
            let operation = new_file.map(|numbering| self.roll_file(&numbering));
            let Some(backlog) = &mut self.backlog else { return true };
            let (operation, done) = if let Some(operation) = operation {
                (operation, backlog.begin_file())
            } else {
                let (chunk, done) = backlog.next_chunk(memory, &self.boot, self.private, &self.runs);
                (WriteOperation::Append(chunk), done)
            };
            permit.send(WriteJob { stream_files: self.files.clone(), operation, done });
            return false;
        }
        match backlog.write_outcome(self.end).await {
            BacklogWriteOutcome::Failed => return false,
            BacklogWriteOutcome::FileBegun => self.file_begun(),
            BacklogWriteOutcome::PartWritten => {}
            BacklogWriteOutcome::Committed { end, checkpoints } => {
                self.end = end;
                for change in checkpoints {
                    change.apply_to(&mut self.checkpoints);
                }
            }
        }
        let done = self.backlog.as_ref().is_none_or(Backlog::is_empty) && self.end == memory(u64::MAX).1.next();
        if done {
            info!(directory:% = self.files.directory.display(); "the history is written again");
            self.backlog = None;
        }
        done
    }

    /// Drops files that are too old. A failure is reported at the next append.
    async fn prune(&mut self, memory: &impl SegmentsInMemory) {
        let before = time_before_now(self.retention.get().age);
        let (only_file_old, oldest_old) = {
            let files = self.files.files();
            let old = |at: usize| files.list.get(at).is_some_and(|file| file.newest < before && file.first < file.end);
            (files.list.len() == 1 && old(0), old(0))
        };
        if only_file_old || self.is_newest_file_old() {
            let roll = self.roll_file(&memory(u64::MAX).1);
            if self.submit(roll).await.is_ok() {
                self.file_begun();
            }
        }
        if oldest_old {
            self.submit(WriteOperation::Prune { before }).await.unwrap_or_default();
        }
    }

    /// Writes the backlog and records that the daemon stops, within [`HISTORY_CLOSE_TIMEOUT`]. The record is on the
    /// disk once the history is closed.
    ///
    /// # Errors
    /// If the disk refuses the record or takes too long.
    pub(crate) async fn close(mut self, memory: impl SegmentsInMemory) -> io::Result<()> {
        let last = async {
            while self.backlog.is_some() {
                self.catch_up(&memory).await;
            }
            let numbering = memory(u64::MAX).1;
            if !self.opened {
                // Nothing was written since the start, so the end that the last daemon recorded is still correct.
                return Ok(());
            }
            let (next, mut transaction) =
                (NextEvent::of(&numbering, self.end), Transaction::new(self.end, self.private));
            // A run that the next daemon takes over has groups that only this one has seen.
            transaction.add_runs(next, self.runs.lock().current_summary().as_slice());
            transaction.add_closed(next);
            let (done, outcome) = oneshot::channel();
            let operation = WriteOperation::Append(transaction.finish());
            let sent = self.jobs.send(WriteJob { stream_files: self.files.clone(), operation, done }).await;
            sent.map_err(|_| writer_gone())?;
            outcome.await.map_err(|_| writer_gone())?
        };
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {HISTORY_CLOSE_TIMEOUT:?}"));
        timeout(HISTORY_CLOSE_TIMEOUT, last).await.unwrap_or_else(|_| Err(late()))
    }
}

fn time_before_now(span: Duration) -> Time {
    SystemTime::now().checked_sub(span).map(Time::from).unwrap_or_default()
}
