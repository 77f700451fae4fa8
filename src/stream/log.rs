//! A log's two sides: the one [`Appender`], and the [`Log`] that gives readers their cursors.
//!
//! The ring lies in a watch channel: publishing wakes who waits, and dropping the appender ends the readers once they have
//! what is left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::{Gap, Kind, Position, SourceState, StreamName, Time};

use super::cursor::{Bounds, Cursor, Start, Until};
use super::memory::{Budget, Share};
use super::ring::{Found, Ring};
use super::segment::{Batch, Segment};
use super::view::{View, Views};

/// Of a log's memory at most this part is for encoded bytes: they can be made again, events cannot.
const SLOTS_SHARE: usize = 4;

/// Makes a log named `name` that keeps at most `memory` bytes, its first event with the id after `last`.
///
/// `memory` counts text, index and encoded bytes; the newest segment stays even where it is too large.
pub fn open(name: StreamName, last: Position, memory: usize, budget: &Budget) -> (Appender, Log) {
    let (sender, ring) = watch::channel(Ring::new(last));
    let sender = Arc::new(sender);
    let share = budget.enter(Arc::downgrade(&sender));
    let shared = Arc::new(Shared { name, views: Mutex::default(), came: watch::Sender::new(0) });
    (Appender { ring: sender, shared: shared.clone(), memory, share }, Log { shared, ring })
}

/// What the readers of one log share beside its ring.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: StreamName,
    views: Mutex<Views>,
    /// How many readers ever came.
    came: watch::Sender<u64>,
}

impl Shared {
    /// The views, locked: never across a wait.
    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        // Each change leaves the views consistent, so a panic elsewhere does not spoil them.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one writer of a log. Dropping it ends the log: readers get what is left, then their end.
#[derive(Debug)]
pub struct Appender {
    ring: Arc<watch::Sender<Ring>>,
    shared: Arc<Shared>,
    memory: usize,
    share: Share,
}

impl Appender {
    /// Appends all of `batch`, with the numbers that come next, and leaves it empty. Do not drop it before it is done.
    #[expect(clippy::unused_async, reason = "with a history it waits for it")]
    pub async fn append(&mut self, batch: &mut Batch) {
        if !batch.is_empty() {
            self.publish(|ring| ring.append(batch));
        }
    }

    /// Appends all of `batch` with the ids that it had elsewhere, from `first` on, and leaves it empty.
    ///
    /// Numbers that were skipped are a hole, of which readers are told by a gap. Behind another epoch `missed` says how many
    /// events were lost before it, `None` that this is not known. `false` if `first` is not ahead of what the log has of
    /// its epoch: then it was delivered before, and nothing changes.
    #[expect(clippy::unused_async, reason = "with a history it waits for it")]
    pub async fn append_numbered(&mut self, first: Position, missed: Option<u64>, batch: &mut Batch) -> bool {
        let mut taken = false;
        self.publish(|ring| {
            taken = ring.go_on_at(first, missed);
            if taken {
                ring.append(batch);
            }
        });
        taken
    }

    /// How many readers ever came: for a source that is to start with the first.
    pub fn readers(&self) -> watch::Receiver<u64> {
        self.shared.came.subscribe()
    }

    fn publish(&mut self, change: impl FnOnce(&mut Ring)) {
        let slots = {
            let mut views = self.shared.views();
            views.keep_within(self.memory / SLOTS_SHARE);
            views.bytes()
        };
        let mut bytes = slots;
        self.ring.send_modify(|ring| {
            change(ring);
            ring.trim(self.memory.saturating_sub(slots));
            bytes += ring.bytes();
        });
        self.share.report(bytes);
    }
}

/// The read side of a log; a clone is the same log.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) ring: watch::Receiver<Ring>,
}

/// What a log tells of itself.
#[derive(Debug, Clone)]
pub struct Info {
    /// How its source is, if it said so.
    pub state: Option<Arc<SourceState>>,
    /// The id of the oldest event kept; `None` if there is none.
    pub first: Option<Position>,
    /// The id of the newest event; of number 0 if there was none yet.
    pub last: Position,
    /// Events a second, over the last ten seconds.
    pub rate: f64,
    /// How many readers it has.
    pub readers: usize,
    /// What it holds in memory, in bytes.
    pub memory: usize,
    /// How many lines were held against a filter, for all readers together.
    pub filtered: u64,
    /// Whether nothing more can come.
    pub ended: bool,
}

impl Log {
    /// The stream's name.
    pub fn name(&self) -> &StreamName {
        &self.shared.name
    }

    /// How it stands, at the time `now`.
    pub fn info(&self, now: Time) -> Info {
        /// The rate is over this many seconds.
        const SECONDS: i64 = 10;
        let (readers, slots, filtered) = {
            let views = self.shared.views();
            (views.readers(), views.bytes(), views.filtered())
        };
        let ended = self.ring.has_changed().is_err();
        let ring = self.ring.borrow();
        let (oldest, end) = (ring.first_seq(), ring.end());
        let recent = ring.since(Time(now.0 - SECONDS * 1_000_000)).max(oldest);
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
        let rate = (end - recent) as f64 / SECONDS as f64;
        Info {
            state: ring.state().cloned(),
            first: (oldest < end).then(|| ring.seen(oldest + 1)),
            last: ring.seen(end),
            rate,
            readers,
            memory: ring.bytes() + slots,
            filtered,
            ended,
        }
    }

    /// A new reader. Cost: a lock, and for [`Start::Tail`] a look at as many lines.
    #[expect(clippy::unused_async, reason = "with a history it waits for it")]
    pub async fn cursor(&self, view: View, start: Start, until: Until) -> Cursor {
        self.shared.came.send_modify(|came| *came += 1);
        let filter = view.filter.clone();
        let (at, view) = self.shared.views().enter(view);
        let mut log = self.clone();
        let mut gap = None;
        let mut seen = None;
        let (next, segments) = {
            let ring = log.ring.borrow_and_update();
            let next = match start {
                Start::After(id) => match ring.find(id) {
                    Found::At(place) => {
                        seen = Some(place);
                        place
                    }
                    Found::Lost(place) => {
                        gap = Some(Gap { missed: None, resume: ring.before(place) });
                        place
                    }
                },
                Start::Lost => {
                    gap = Some(Gap { missed: None, resume: ring.before(ring.first_seq()) });
                    ring.first_seq()
                }
                Start::Since(time) => ring.since(time),
                Start::Tail(_) => ring.end(),
                Start::Oldest => ring.first_seq(),
                Start::Run => ring.run_start().unwrap_or(ring.end()),
            };
            (next, if matches!(start, Start::Tail(1..)) { ring.segments() } else { Vec::new() })
        };
        let next = match start {
            Start::Tail(lines) => {
                let mut filtered = 0;
                let begin = tail(&segments, lines, |segment, at| {
                    let event = segment.event(at);
                    event.kind == Kind::Line && filter.takes_event(&event, &mut filtered)
                });
                log.shared.views().count_filtered(filtered);
                begin.unwrap_or(next)
            }
            _ => next,
        };
        let (head, run_over) = {
            let ring = log.ring.borrow();
            (ring.end(), until.run && seen.is_some_and(|place| ring.ended_before(place)))
        };
        let until = Bounds { place: if until.head { head } else { u64::MAX }, run: until.run, lines: until.lines };
        Cursor { log, view, at, began: next, next, shown: next, until, run_over, gap, open_version: 0 }
    }
}

/// The place of the `lines`-th last event that counts, or of the oldest event if there are fewer. `None` if there is none.
fn tail(segments: &[Arc<Segment>], lines: u64, mut counts: impl FnMut(&Segment, usize) -> bool) -> Option<u64> {
    let mut left = lines;
    for segment in segments.iter().rev() {
        for at in (0..segment.len()).rev() {
            left -= u64::from(left > 0 && counts(segment, at));
            if left == 0 {
                return Some(segment.seq() + at as u64);
            }
        }
    }
    segments.first().map(|segment| segment.seq())
}
