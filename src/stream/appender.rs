//! The one writer of a log. With a history, a batch is recorded before readers see it. If the disk refuses it, a new
//! epoch begins in memory with the state `degraded`, and the events that memory still holds are recorded once the disk
//! works again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use log::warn;
use tokio::sync::watch;

use crate::event::{Loss, OpenLine, Position, RunEnd, SourceState, Time};

use super::budget::BudgetShare;
use super::read_ahead::ReadAhead;
use super::ring::Ring;
use super::shared::LogShared;
use super::view_pace::ViewPace;
use crate::history::{NextEvent, RecordOutcome, Recorder};
pub(crate) use crate::segment::StatusChange;
use crate::segment::{Batch, Numbering, Segment};

/// The divisor for the share of a log's memory that encoded bytes may take. They can be encoded again, but dropped
/// events are lost.
const SLOT_MEMORY_DIVISOR: usize = 4;

/// The one writer of a log. Dropping it ends the log: readers receive the rest, then their end.
#[derive(Debug)]
pub struct Appender {
    ring: Arc<watch::Sender<Ring>>,
    shared: Arc<LogShared>,
    budget_share: BudgetShare,
    recorder: Option<Box<Recorder>>,
    /// The state that the source reported last; repeated once the history is written again.
    state: Option<Arc<SourceState>>,
    /// Losses to report before the next batch.
    queued: Batch,
}

/// Everything of a batch that is published together.
#[derive(Debug, Default)]
struct Publication {
    segments: Vec<Segment>,
    state: Option<Arc<SourceState>>,
    open: Vec<Arc<OpenLine>>,
    /// The number of unread bytes of the source, if the batch contains it.
    lag: Option<u64>,
    status_changes: Vec<StatusChange>,
    /// The number of secrets that were removed from the lines.
    redacted: u64,
    /// The id of the first event, if a new epoch begins with it.
    epoch: Option<Position>,
}

impl Appender {
    pub(super) fn new(ring: Arc<watch::Sender<Ring>>, shared: Arc<LogShared>, share: BudgetShare) -> Self {
        Self { ring, shared, budget_share: share, recorder: None, state: None, queued: Batch::new() }
    }

    /// The same appender with a recorder for its batches.
    pub(super) fn recorded(mut self, recorder: Recorder, damaged: bool) -> Self {
        if damaged {
            self.queue_loss("the history on disk is damaged");
        }
        self.recorder = Some(Box::new(recorder));
        self
    }

    /// Returns whether the history says that the stream is private. The next batch records what
    /// [`Log::private`](super::Log::private) says then.
    pub fn was_private(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.is_private())
    }

    /// Reports, before the next batch, the loss of an unknown number of lines.
    pub fn queue_loss(&mut self, reason: &str) {
        self.queued.loss(SystemTime::now().into(), &Loss { missed: None, bytes: None, reason: reason.to_owned() });
    }

    /// Appends all of `batch` with the next numbers, and leaves it empty.
    ///
    /// With a history, this waits until the batch is recorded, for half a second at most. The future must not be
    /// dropped before it is done.
    pub async fn append(&mut self, batch: &mut Batch) {
        if self.queued.has_events() {
            let mut owed = std::mem::take(&mut self.queued);
            self.append_batch(&mut owed).await;
        }
        if !batch.is_empty() {
            self.append_batch(batch).await;
        }
    }

    /// Appends all of `batch` with ids given from outside, from `first` on, and leaves it empty.
    ///
    /// Readers receive a gap for numbers that were skipped. If `first` is in another epoch, `missed` events are missing
    /// before it, or an unknown number with `None`. Returns `false`, and changes nothing, if the log already has
    /// `first`. The future must not be dropped before it is done.
    pub async fn append_numbered(&mut self, first: Position, missed: Option<u64>, batch: &mut Batch) -> bool {
        let mut taken = false;
        self.ring.send_if_modified(|ring| {
            taken = ring.continue_at(first, missed);
            false
        });
        if taken {
            self.append(batch).await;
        }
        taken
    }

    /// The id of the newest event; its number is 0 if there was none yet.
    pub fn last(&self) -> Position {
        let ring = self.ring.borrow();
        ring.numbering().last_seen_id(ring.end())
    }

    /// The end of the last run, also of one that an earlier daemon recorded; `None` while a run lasts, and if none is known.
    pub fn last_run_end(&self) -> Option<RunEnd> {
        let ring = self.ring.borrow();
        ring.status.run()?.ended.as_ref().map(|(_, end)| end.clone())
    }

    async fn append_batch(&mut self, batch: &mut Batch) {
        let (id, seq) = {
            let ring = self.ring.borrow();
            (ring.numbering().next_id(), ring.numbering().next())
        };
        let checkpoints = std::mem::take(&mut batch.checkpoints);
        let private = self.shared.private.is_set();
        let mut news = Publication {
            state: batch.state.take(),
            open: std::mem::take(&mut batch.open),
            lag: batch.lag.take(),
            status_changes: std::mem::take(&mut batch.status_changes),
            redacted: std::mem::take(&mut batch.redacted),
            segments: batch.take_segments(id, seq),
            epoch: None,
        };
        if news.state.is_some() {
            self.state.clone_from(&news.state);
        }
        if let Some(recorder) = &mut self.recorder
            && !(news.segments.is_empty()
                && checkpoints.is_empty()
                && recorder.is_private() == private
                && !has_groups(&news.status_changes))
        {
            // The recorder counts the events of runs as well.
            let next = NextEvent::of(self.ring.borrow().numbering(), recorder.end());
            let memory = |from| segments_in_memory(&self.ring, from);
            let batch = (&*news.segments, &*news.status_changes);
            let recorded = recorder.record(next, memory, batch, checkpoints, private).await;
            if let RecordOutcome::Failed(reason) = recorded {
                warn!(stream:% = self.shared.name, reason = reason.as_str(); "the history cannot be written: new events are kept only in memory");
                news = begin_memory_epoch(id, seq, news, reason);
                self.shared.runs.lock().shift_from(seq);
            }
        } else {
            self.shared.runs.lock().observe(&news.segments, &news.status_changes);
        }
        self.publish(news);
    }

    fn publish(&mut self, news: Publication) {
        let memory = self.shared.memory.load(Ordering::Relaxed);
        let slots = {
            let mut views = self.shared.views();
            views.limit_slot_bytes(memory / SLOT_MEMORY_DIVISOR);
            views.bytes()
        };
        let others = slots + self.shared.runs.lock().size();
        let range = self.recorder.as_ref().map(|recorder| recorder.seq_range());
        let degraded = self.recorder.as_ref().and_then(|recorder| recorder.degraded_reason());
        let mut bytes = others;
        self.ring.send_modify(|ring| {
            if let Some(first) = news.epoch {
                ring.continue_at(first, Some(0));
            }
            if let Some(lag) = news.lag {
                ring.set_lag(lag);
            }
            ring.update_source(news.state, news.open);
            ring.status.apply(news.status_changes);
            ring.add_redacted(news.redacted);
            ring.set_degraded(degraded);
            for segment in news.segments {
                ring.push(segment);
            }
            update_history_range(ring, range);
            // Slots may have more than a quarter of a very small memory until the next batch; then only the newest
            // segment stays.
            ring.trim(memory.saturating_sub(others));
            bytes += ring.bytes();
        });
        self.budget_share.report(bytes);
    }

    /// The limit for reading ahead of the readers; `None` with a history, since nothing is lost then to a reader that is
    /// behind.
    pub fn read_ahead(&self) -> Option<ReadAhead> {
        let positions = self.shared.positions.clone()?;
        Some(ReadAhead::new(positions, self.ring.subscribe(), self.shared.memory.clone(), self.budget_share.room()))
    }

    /// The pace at which readers receive events, for a source that need not be read more often.
    pub fn view_pace(&self) -> ViewPace {
        ViewPace::new(self.shared.clone())
    }

    /// The number of readers that ever came, for a source that starts with the first one.
    pub fn demands(&self) -> watch::Receiver<u64> {
        self.shared.demands()
    }

    /// Waits until maintenance of the history is due, and does it; without a history, this waits forever. The returned
    /// batch is to be appended. May be dropped at any time.
    pub async fn maintain_history(&mut self) -> Batch {
        let Some(recorder) = &mut self.recorder else { return std::future::pending().await };
        let ring = &self.ring;
        let memory = |from| segments_in_memory(ring, from);
        while !recorder.maintain(memory).await {
            let range = recorder.seq_range();
            ring.send_if_modified(|ring| {
                ring.set_history_range(range);
                false
            });
        }
        let mut batch = Batch::new();
        if let Some(state) = &self.state {
            batch.state(SystemTime::now().into(), state_to_repeat(state));
        }
        batch
    }

    /// Ends the log, and writes what the history lacks. It is on the disk once the [`History`](super::History) is
    /// closed.
    pub async fn close(mut self) {
        if let Some(recorder) = self.recorder.take() {
            let ring = self.ring.clone();
            if let Err(error) = recorder.close(|from| segments_in_memory(&ring, from)).await {
                let errno = error.raw_os_error();
                warn!(stream:% = self.shared.name, errno = errno, error:% = error; "the end of the stream may not be recorded");
            }
        }
    }
}

/// The state to repeat once the history is written again. A repeated `running` carries a note, so that no new run
/// begins.
fn state_to_repeat(state: &SourceState) -> SourceState {
    match state.clone() {
        SourceState::Running { run, pid, note: None } => {
            SourceState::Running { run, pid, note: Some("recorded again".to_owned()) }
        }
        state => state,
    }
}

/// Returns whether the progress has groups, which are recorded as parts of a run when they have ended.
fn has_groups(changes: &[StatusChange]) -> bool {
    changes.iter().any(|change| match change {
        StatusChange::Progress(progress) => !progress.groups.is_empty(),
        StatusChange::RunStarted(_)
        | StatusChange::RunContinues(_)
        | StatusChange::RunEnded(..)
        | StatusChange::TakenOver(_) => false,
    })
}

fn update_history_range(ring: &mut Ring, range: Option<Range<u64>>) {
    if let Some(range) = range {
        ring.set_history_range(range);
    }
}

/// The segments in memory from a sequence number on, and the numbering of all.
fn segments_in_memory(ring: &watch::Sender<Ring>, from: u64) -> (Vec<Arc<Segment>>, Numbering) {
    let ring = ring.borrow();
    (ring.segments_from(from), ring.numbering().clone())
}

/// The first publication that is not recorded, in a new epoch that begins with the state `degraded`.
fn begin_memory_epoch(id: Position, seq: u64, mut news: Publication, reason: String) -> Publication {
    let now = Time::from(SystemTime::now());
    let first = Position { epoch: id.epoch.successor(now.millis()), number: 1 };
    let mut batch = Batch::new();
    batch.state(now, SourceState::Degraded { reason });
    let mut segments = batch.take_segments(first, seq);
    for mut segment in std::mem::take(&mut news.segments) {
        let before: usize = segments.iter().map(Segment::len).sum();
        let shift = before as u64;
        segment.renumber(Position { number: first.number + shift, ..first }, seq + shift);
        segments.push(segment);
    }
    let state = news.state.take().or(batch.state.take());
    Publication { segments, state, epoch: Some(first), ..news }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flags, Origin, Progress};
    use crate::stream::{Budget, open};

    #[tokio::test]
    async fn a_batch_with_lines_also_brings_what_is_not_a_line() {
        let last = Position { epoch: crate::event::Epoch::persistent(7), number: 0 };
        let (mut appender, log) = open("s".parse().unwrap(), last, 1 << 20, &Budget::new(usize::MAX));
        let mut batch = Batch::new();
        batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"x");
        batch.state(Time(0), SourceState::Receiving);
        batch.lag(7);
        batch.redacted(3);
        batch.progress(Progress { percent: Some(50.0), ..Progress::begun(Time(0)) });
        appender.append(&mut batch).await;
        let info = log.info(Time(0));
        assert_eq!((info.counts.lines, info.lag, info.redacted), (1, 7, 3));
        assert!((info.rate - 0.1).abs() < 1e-9, "one line in ten seconds, and a state: {}", info.rate);
        assert_eq!(info.progress.and_then(|progress| progress.percent), Some(50.0));
        assert!(batch.is_empty());
    }
}
