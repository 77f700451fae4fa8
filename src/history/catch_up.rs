//! The backlog of a stream's history: everything that memory holds and the disk does not, since the disk refused a
//! write.
//!
//! The backlog is written as one transaction, however many writes it takes, so that a crash meanwhile leaves all of it
//! out. This file decides what is written next; the [`Recorder`](super::Recorder) submits it and waits.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::segment::{CheckpointChange, Numbering, Segment};

use super::run_tracker::SharedRuns;
use super::transaction::{NextEvent, Transaction};
use super::writer::{RecordChunk, writer_gone};

/// The bytes after which one write of the backlog ends.
const CATCH_UP_WRITE_SIZE: usize = 4 << 20;

/// The time after which a disk that refused a write is tried again.
const RECORD_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A function that returns the segments in memory from a sequence number on, and the numbering of all events.
pub(crate) trait SegmentsInMemory: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync {}

impl<F: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync> SegmentsInMemory for F {}

/// The events and checkpoints that are not recorded, and the write that is in progress.
#[derive(Debug)]
pub(super) struct Backlog {
    reason: String,
    /// The numbering before the first event that is not recorded, with which a new file is to begin; `None` once there
    /// is that file.
    numbering: Option<Numbering>,
    /// The newest value of each changed checkpoint that no submitted write contains; `None` removes it.
    checkpoints: BTreeMap<String, Option<String>>,
    /// `true` if a record must be written even if there are neither events nor checkpoints: it says whether the stream
    /// is private, which has changed.
    record_required: bool,
    /// The sequence number after the last event that was written; at least what the recorder has recorded.
    written_end: u64,
    /// The sequence number of the first event that is not recorded: runs that end later are recorded with the last part.
    recorded_end: u64,
    retry_at: Instant,
    in_flight: Option<BacklogWrite>,
}

/// A write that was submitted.
#[derive(Debug)]
struct BacklogWrite {
    done: oneshot::Receiver<io::Result<()>>,
    content: WriteContent,
}

#[derive(Debug)]
enum WriteContent {
    NewFile,
    /// Events up to the sequence number `end`, with more of the same transaction to come.
    Part {
        end: u64,
    },
    /// The last events of a transaction, up to `end`, and the checkpoints after them.
    Last {
        end: u64,
        checkpoints: BTreeMap<String, Option<String>>,
    },
}

/// The result of one write of the backlog.
#[derive(Debug)]
pub(super) enum BacklogWriteOutcome {
    /// The disk refused the write; the transaction begins again after a pause.
    Failed,
    /// A new file was begun.
    FileBegun,
    /// Some events were written, which are valid only after the rest of their transaction.
    PartWritten,
    /// A transaction was completed: all events before `end` are recorded, and these checkpoints after them.
    Committed { end: u64, checkpoints: Vec<CheckpointChange> },
}

impl Backlog {
    /// The backlog that begins with a failed write. `numbering` is as it was before that write; events before `end` are
    /// recorded.
    pub(super) fn new(error: &io::Error, numbering: Numbering, end: u64) -> Self {
        Self {
            reason: unwritable(error),
            numbering: Some(numbering),
            checkpoints: BTreeMap::new(),
            record_required: false,
            written_end: end,
            recorded_end: end,
            retry_at: Instant::now() + RECORD_RETRY_INTERVAL,
            in_flight: None,
        }
    }

    /// The reason why the last write failed.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Adds checkpoints that changed; newer ones replace older ones.
    pub(super) fn add_checkpoints(&mut self, changes: impl IntoIterator<Item = CheckpointChange>) {
        self.checkpoints.extend(changes.into_iter().map(|change| (change.key, change.value)));
    }

    /// Makes sure that at least one more record is written, which says what every record says about the stream.
    pub(super) fn require_record(&mut self) {
        self.record_required = true;
    }

    /// Returns whether a write was submitted whose result is not known yet.
    pub(super) fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Waits until the disk may be tried again.
    pub(super) async fn wait_until_retry(&self) {
        tokio::time::sleep_until(self.retry_at).await;
    }

    /// The numbering for the snapshot of the new file, if that is to be written next.
    pub(super) fn numbering_for_new_file(&self) -> Option<Numbering> {
        self.numbering.clone()
    }

    /// Records that a new file is being written. Its result goes into the sender.
    pub(super) fn begin_file(&mut self) -> oneshot::Sender<io::Result<()>> {
        self.begin(WriteContent::NewFile)
    }

    /// The records to write next, about [`CATCH_UP_WRITE_SIZE`] bytes of them. The result of the write goes into the
    /// sender.
    pub(super) fn next_chunk(
        &mut self,
        memory: &impl SegmentsInMemory,
        boot: &str,
        private: bool,
        runs: &SharedRuns,
    ) -> (RecordChunk, oneshot::Sender<io::Result<()>>) {
        let from = self.written_end;
        let (segments, numbering) = memory(from);
        let mut transaction = Transaction::new(from, private);
        let (mut size, mut end) = (0, from);
        for segment in &segments {
            if size > CATCH_UP_WRITE_SIZE {
                break;
            }
            size += segment.memory_size();
            transaction.add_events(segment, numbering.has_unknown_loss(end, segment.seq()));
            end = segment.end();
        }
        if segments.last().is_some_and(|last| last.end() > end) {
            return (transaction.finish_part(), self.begin(WriteContent::Part { end }));
        }
        let next = NextEvent::of(&numbering, from);
        let checkpoints = std::mem::take(&mut self.checkpoints);
        self.record_required = false;
        transaction.add_checkpoints(next, checkpoints.iter().map(|(key, value)| (key, value.as_ref())));
        // Runs that are known up to a later event are recorded with that event.
        let known = runs.lock().summaries_before(next.seq);
        let known: Vec<_> = known.into_iter().filter(|run| run.end > self.recorded_end).collect();
        transaction.add_runs(next, &known);
        if transaction.is_empty() {
            // Memory has dropped all of these events; the parts that were written still need the end of their
            // transaction.
            transaction.add_opened(next, boot);
        }
        let done = self.begin(WriteContent::Last { end: numbering.next(), checkpoints });
        (transaction.finish(), done)
    }

    fn begin(&mut self, content: WriteContent) -> oneshot::Sender<io::Result<()>> {
        let (sender, done) = oneshot::channel();
        self.in_flight = Some(BacklogWrite { done, content });
        sender
    }

    /// Waits for the result of the submitted write. `recorded_end` is the sequence number after the last recorded
    /// event: after a failure the transaction begins there again. May be dropped at any time.
    pub(super) async fn write_outcome(&mut self, recorded_end: u64) -> BacklogWriteOutcome {
        let Some(write) = &mut self.in_flight else { return std::future::pending().await };
        let result = (&mut write.done).await.unwrap_or_else(|_| Err(writer_gone()));
        let content = self.in_flight.take().map(|write| write.content);
        match (result, content) {
            (Err(error), content) => {
                self.reason = unwritable(&error);
                self.retry_at = Instant::now() + RECORD_RETRY_INTERVAL;
                self.written_end = recorded_end;
                if let Some(WriteContent::Last { checkpoints, .. }) = content {
                    self.record_required = true;
                    let newer = std::mem::replace(&mut self.checkpoints, checkpoints);
                    self.checkpoints.extend(newer);
                }
                BacklogWriteOutcome::Failed
            }
            (Ok(()), Some(WriteContent::NewFile) | None) => {
                self.numbering = None;
                BacklogWriteOutcome::FileBegun
            }
            (Ok(()), Some(WriteContent::Part { end })) => {
                self.written_end = end;
                BacklogWriteOutcome::PartWritten
            }
            (Ok(()), Some(WriteContent::Last { end, checkpoints })) => {
                (self.written_end, self.recorded_end) = (end, end);
                let changes = checkpoints.into_iter().map(|(key, value)| CheckpointChange { key, value });
                BacklogWriteOutcome::Committed { end, checkpoints: changes.collect() }
            }
        }
    }

    /// Returns whether neither a new file nor a checkpoint nor a required record is left to write. Events are not
    /// considered, since the recorder compares them.
    pub(super) fn is_empty(&self) -> bool {
        self.numbering.is_none() && self.checkpoints.is_empty() && !self.record_required
    }
}

fn unwritable(error: &io::Error) -> String {
    format!("the history cannot be written: {error}")
}
