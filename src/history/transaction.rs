//! Transactions: records on their way to the disk that are valid together or not at all.

use crate::event::{Position, RunSummary, Time};
use crate::history::record::RecordWriter;
use crate::segment::{CheckpointChange, Numbering, Segment};

use super::files::RecordOffset;
use super::writer::RecordChunk;

/// The next event, and whether an unknown number of events is missing before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextEvent {
    pub(crate) id: Position,
    pub(crate) seq: u64,
    pub(crate) unknown: bool,
}

impl NextEvent {
    /// The next event of `numbering`, after events that are recorded up to `end`.
    pub(crate) fn of(numbering: &Numbering, end: u64) -> Self {
        let seq = numbering.next();
        Self { id: numbering.next_id(), seq, unknown: numbering.has_unknown_loss(end, seq) }
    }

    /// The event after these segments.
    pub(super) fn after(self, segments: &[Segment]) -> Self {
        segments.last().map_or(self, |last| Self { id: last.id(last.len()), seq: last.end(), unknown: false })
    }
}

/// A transaction that is being built.
#[derive(Debug)]
pub(super) struct Transaction {
    writer: RecordWriter,
    offsets: Vec<RecordOffset>,
    /// The sequence number after the last event: first the last one before the transaction, then the last one in it.
    end: u64,
    newest: Time,
}

impl Transaction {
    /// An empty transaction of a stream that is private or not, whose events follow those before `end`.
    pub(super) fn new(end: u64, private: bool) -> Self {
        Self { writer: RecordWriter::new(private), offsets: Vec::new(), end, newest: Time::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.bytes.is_empty()
    }

    /// Adds that a daemon begins to write, whose next event is `next`.
    pub(super) fn add_opened(&mut self, next: NextEvent, boot: &str) {
        self.writer.put_opened(next.id, next.seq, next.unknown, boot);
    }

    /// Adds events; `unknown` is whether an unknown number of events is missing before them.
    pub(super) fn add_events(&mut self, segment: &Segment, unknown: bool) {
        let (seq, offset, time) = (segment.seq(), self.writer.bytes.len() as u64, segment.time(0));
        self.writer.put_events(segment, unknown);
        self.offsets.push(RecordOffset { seq, offset, time });
        self.end = segment.end();
        self.newest = self.newest.max(segment.time(segment.len() - 1));
    }

    /// Adds the source's checkpoints before the event `next`.
    pub(super) fn add_checkpoints<'a>(
        &mut self,
        next: NextEvent,
        checkpoints: impl IntoIterator<Item = (&'a String, Option<&'a String>)>,
    ) {
        self.writer.put_checkpoints(next.id, next.seq, checkpoints);
    }

    /// Adds the summaries of runs, as they are known before the event `next`.
    pub(super) fn add_runs(&mut self, next: NextEvent, runs: &[RunSummary]) {
        for run in runs {
            self.writer.put_run(next.id, next.seq, run);
        }
    }

    /// Adds a record that says only whether the stream is private, as every record does.
    pub(super) fn add_privacy(&mut self, next: NextEvent) {
        self.writer.put_privacy(next.id, next.seq);
    }

    /// Adds that the daemon stops cleanly.
    pub(super) fn add_closed(&mut self, next: NextEvent) {
        self.writer.put_closed(next.id, next.seq);
    }

    /// Adds a batch: its segments, and the checkpoints after them.
    pub(super) fn append(&mut self, next: NextEvent, segments: &[Segment], checkpoints: &[CheckpointChange]) {
        let mut unknown = next.unknown;
        for segment in segments {
            self.add_events(segment, std::mem::take(&mut unknown));
        }
        self.add_checkpoints(
            next.after(segments),
            checkpoints.iter().map(|change| (&change.key, change.value.as_ref())),
        );
    }

    /// The records up to the end of the transaction.
    pub(super) fn finish(mut self) -> RecordChunk {
        self.writer.end();
        RecordChunk { whole: true, ..self.finish_part() }
    }

    /// The records so far; more of the same transaction follow.
    pub(super) fn finish_part(self) -> RecordChunk {
        let Self { writer, offsets, end, newest } = self;
        RecordChunk { bytes: writer.bytes, offsets, whole: false, end, newest }
    }
}
