//! The two ends of a log: the one [`Appender`], and any number of [`Cursor`]s, each a reader's place.
//!
//! The ring lies in a watch channel: publishing wakes who waits, and dropping the appender ends the readers once they have
//! what is left. A slow reader costs its cursor, never a queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::event::{Gap, Kind, OpenLine, Position, SourceState, StreamName, Time};

use super::memory::{Budget, Share};
use super::ring::{Found, Read, Ring};
use super::segment::{Batch, Segment};
use super::view::{Encoded, SLOT, Slot, Tick, View, Views};

/// Makes a log named `name` that keeps at most `memory` bytes, its first event with the id after `last`.
///
/// `memory` counts text, index and encoded bytes; the newest segment stays even where it is too large.
pub fn open(name: StreamName, last: Position, memory: usize, budget: &Budget) -> (Appender, Log) {
    let (sender, ring) = watch::channel(Ring::new(last));
    let sender = Arc::new(sender);
    let share = budget.enter(Arc::downgrade(&sender));
    let shared = Arc::new(Shared { name, views: Mutex::default() });
    (Appender { ring: sender, shared: shared.clone(), memory, share }, Log { shared, ring })
}

/// What the readers of one log share beside its ring.
#[derive(Debug)]
struct Shared {
    name: StreamName,
    views: Mutex<Views>,
}

impl Shared {
    fn views(&self) -> MutexGuard<'_, Views> {
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
    /// Appends all of `batch`, with the numbers that come next, and leaves it empty. Never waits.
    pub fn append(&mut self, batch: &mut Batch) {
        if !batch.is_empty() {
            self.publish(|ring| ring.append(batch));
        }
    }

    /// Appends all of `batch` with the ids that it had elsewhere, from `first` on, and leaves it empty.
    ///
    /// Numbers that were skipped are a hole, of which readers are told by a gap. Behind another epoch `missed` says how many
    /// events were lost before it, `None` that this is not known. `false` if `first` is not ahead of what the log has of
    /// its epoch: then it was delivered before, and nothing changes.
    pub fn append_numbered(&mut self, first: Position, missed: Option<u64>, batch: &mut Batch) -> bool {
        let mut taken = false;
        self.publish(|ring| {
            taken = ring.go_on_at(first, missed);
            if taken {
                ring.append(batch);
            }
        });
        taken
    }

    fn publish(&mut self, change: impl FnOnce(&mut Ring)) {
        let slots = self.shared.views().bytes();
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
    shared: Arc<Shared>,
    ring: watch::Receiver<Ring>,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Just after the event with this id; if it is unknown or gone, with a gap at the oldest event kept.
    After(Position),
    /// With a gap of unknown number, at the oldest event kept.
    Lost,
    /// At the first event read at this time or later.
    Since(Time),
    /// At the last this many lines that pass the filter.
    Tail(u64),
    /// At the oldest event kept.
    Oldest,
    /// Where the current run of the process began, or the last one; if there was none yet, at the end.
    Run,
}

/// Where a reader ends. The default is to go on as long as the log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Until {
    /// At what is the end of the log now.
    pub head: bool,
    /// At the end of the run.
    pub run: bool,
    /// After this many lines.
    pub lines: Option<u64>,
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
        let (readers, slots) = {
            let views = self.shared.views();
            (views.readers(), views.bytes())
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
            ended,
        }
    }

    /// A new reader. Cost: a lock, and for [`Start::Tail`] a look at as many lines.
    pub fn cursor(&self, view: View, start: Start, until: Until) -> Cursor {
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
            Start::Tail(lines) => tail(&segments, lines, |segment, at| {
                let event = segment.event(at);
                event.kind == Kind::Line && filter.takes(event.origin.map(|o| o.as_str()), event.text)
            })
            .unwrap_or(next),
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
fn tail(segments: &[Arc<Segment>], lines: u64, counts: impl Fn(&Segment, usize) -> bool) -> Option<u64> {
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

/// [`Until`], as places of this log.
#[derive(Debug)]
struct Bounds {
    place: u64,
    run: bool,
    lines: Option<u64>,
}

/// A reader's place in a log, with its view. Dropping it leaves the view.
#[derive(Debug)]
pub struct Cursor {
    log: Log,
    view: Arc<View>,
    /// The number of the view in the log.
    at: usize,
    /// Where it began.
    began: u64,
    /// The place of the event that comes next.
    next: u64,
    /// The place after the last event that it showed, or that it told its reader of otherwise.
    shown: u64,
    until: Bounds,
    run_over: bool,
    gap: Option<Gap>,
    open_version: u64,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.log.shared.views().leave(self.at);
    }
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum Item {
    /// Events, encoded.
    Frames(Frames),
    /// It missed events; the next ones come after them.
    Gap(Gap),
    /// The unfinished line as it is now; `None` that it was taken back. Not numbered.
    Open(Option<Arc<OpenLine>>),
    /// Nothing came until the time that was asked for.
    Quiet,
}

/// Encoded events, shared by all readers of the view.
#[derive(Debug, Clone)]
pub struct Frames {
    /// All frames, one behind the other.
    pub bytes: Bytes,
    /// Where each ends and which event it is; only for a view of [several](View::several) streams.
    pub ends: Vec<(usize, Position)>,
}

/// What a cursor does next.
enum Step {
    Item(Item),
    /// It moved, but there is nothing to show.
    Moved,
    /// Nothing before this time.
    Sleep(Instant),
    /// Nothing before the log changes.
    Wait,
    Done,
}

impl Cursor {
    /// What comes next; [`Item::Quiet`] if nothing does before `deadline`, `None` at the end. May be dropped at any time.
    pub async fn next(&mut self, deadline: Instant) -> Option<Item> {
        loop {
            match self.step(Instant::now()) {
                Step::Item(item) => return Some(item),
                // A filter may skip a whole history: others get their turn.
                Step::Moved => tokio::task::coop::consume_budget().await,
                Step::Sleep(tick) => sleep_until(tick).await,
                Step::Wait => match timeout_at(deadline, self.log.ring.changed()).await {
                    Ok(Ok(())) => {}
                    // The appender is gone, and the last look found nothing left of it.
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(Item::Quiet),
                },
                Step::Done => return None,
            }
        }
    }

    /// Whether nothing more can come, and why: the run ended that was asked for, or the log is at its end.
    pub fn is_done(&mut self) -> bool {
        if self.gap.is_some() {
            return false;
        }
        let ended = self.log.ring.has_changed().is_err();
        let head = self.log.ring.borrow().end();
        self.is_over() || (ended && self.next >= head)
    }

    /// The id that this reader has seen last, or would have if its filter had skipped nothing.
    pub fn place(&self) -> Position {
        self.log.ring.borrow().seen(self.next)
    }

    /// Whether its place moved past events that it was not shown, since this was asked last.
    pub fn has_skipped(&mut self) -> bool {
        std::mem::replace(&mut self.shown, self.next) != self.next
    }

    /// Whether one of its bounds is reached.
    fn is_over(&self) -> bool {
        self.next >= self.until.place
            || self.until.lines == Some(0)
            || self.run_over
            || (self.until.run && self.log.ring.borrow().ended_between(self.began, self.next))
    }

    fn step(&mut self, now: Instant) -> Step {
        if let Some(gap) = self.gap.take() {
            return Step::Item(Item::Gap(gap));
        }
        if self.is_over() {
            return Step::Done;
        }
        let tick = self.log.shared.views().tick(self.at, self.next, now);
        match tick {
            Tick::Slot(slot) if self.may_share(&slot) => return self.take(&slot),
            Tick::Wait(tick) => return Step::Sleep(tick),
            Tick::Slot(_) | Tick::Cut => {}
        }
        let bound = self.until.place.min(self.log.shared.views().meet(self.at, self.next));
        let (read, end) = {
            let ring = self.log.ring.borrow_and_update();
            (ring.read(self.next, bound, SLOT), ring.end())
        };
        match read {
            Read::CaughtUp => self.open_line(),
            Read::Gap { to, gap } => {
                self.next = to;
                self.shown = to;
                Step::Item(Item::Gap(gap))
            }
            Read::Events(slices) => {
                let slot = Slot::new(self.next, slices);
                if self.may_share(&slot) {
                    let at_end = slot.to == end;
                    let slot = self.log.shared.views().cut(self.at, slot, at_end, now);
                    self.take(&slot)
                } else {
                    let view = self.view.clone();
                    let encoded = slot.encode_some(&view, self.log.name(), self.until.lines.unwrap_or(u64::MAX));
                    self.pass(&encoded)
                }
            }
        }
    }

    /// Whether the slot's bytes are exactly what this reader wants.
    fn may_share(&self, slot: &Slot) -> bool {
        self.until.lines.is_none() && slot.to <= self.until.place
    }

    fn take(&mut self, slot: &Slot) -> Step {
        let view = self.view.clone();
        let (encoded, made) = slot.encode(&view, &self.log.shared.name);
        if made {
            self.log.shared.views().count(self.at, slot);
        }
        self.pass(encoded)
    }

    /// Goes on past encoded events.
    fn pass(&mut self, encoded: &Encoded) -> Step {
        self.next = encoded.to;
        if let Some(left) = &mut self.until.lines {
            *left = left.saturating_sub(encoded.lines);
        }
        if let Some(shown) = encoded.shown {
            self.shown = shown;
        }
        if encoded.bytes.is_empty() {
            return Step::Moved;
        }
        Step::Item(Item::Frames(Frames { bytes: encoded.bytes.clone(), ends: encoded.frames.clone() }))
    }

    /// At the end of the log: the unfinished line, where it changed.
    fn open_line(&mut self) -> Step {
        let (line, version) = {
            let ring = self.log.ring.borrow();
            let (line, version) = ring.open();
            (line.cloned(), version)
        };
        let seen = std::mem::replace(&mut self.open_version, version);
        let filter = &self.view.filter;
        let passes = |line: &OpenLine| filter.is_empty() || filter.takes(Some(line.origin.as_str()), &line.text);
        if version == seen || (seen == 0 && line.is_none()) || line.as_deref().is_some_and(|line| !passes(line)) {
            Step::Wait
        } else {
            Step::Item(Item::Open(line))
        }
    }
}
