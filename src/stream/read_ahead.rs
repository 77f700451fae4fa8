//! How far a source may read ahead of its readers.
//!
//! Readers never slow a source, with one exception: a file is there to be read later. If nothing is recorded on disk, an
//! event that the ring drops before a reader took it is lost to that reader. [`ReadAhead`] therefore tells the source of
//! a file how much it may read before that happens to a reader that keeps up: one that was at the end of the log within
//! [`KEEPING_UP_PERIOD`], takes everything and is not paused. The time for which a source waits is limited by a
//! [`HoldBudget`], so that no reader can stop a stream.
//!
//! A source that begins to wait waits until these readers have taken everything. They are then at the end of the log
//! again; a source that continued as soon as there is a little room would keep them behind for more than that period.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::event::lock;

use super::budget::BudgetRoom;
use super::ring::Ring;

/// A reader keeps up if it was at the end of the log within this time.
const KEEPING_UP_PERIOD: Duration = Duration::from_secs(1);

/// The longest time for which a source waits for readers at once; each minute restores a second of it.
const MAX_HOLD_TIME: Duration = Duration::from_secs(2);
const HOLD_REFILL_DIVISOR: u32 = 60;

/// The least time that must be left for a wait to begin: shorter ones help no reader.
const MIN_HOLD_TIME: Duration = Duration::from_millis(100);

/// The longest time between two checks of a source that waits: a rotation of its file ends the wait.
const HOLD_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The share of a log's memory, in quarters, that events may take; encoded bytes may take the rest.
const EVENT_MEMORY_QUARTERS: usize = 3;

/// The memory that a byte of a source takes at most, in bytes: an empty line is one entry of the index.
const MAX_MEMORY_PER_BYTE: usize = 17;

/// The factor by which the next bytes may take more memory than the last ones.
const MEMORY_SAFETY_FACTOR: usize = 2;

/// The least number of bytes that are worth a read.
const MIN_READ_SIZE: usize = 16 << 10;

/// The position of one reader, as the source sees it.
#[derive(Debug)]
pub(super) struct ReaderPosition {
    positions: Arc<ReaderPositions>,
    /// The index among the positions.
    index: usize,
    state: Arc<PositionState>,
}

#[derive(Debug, Default)]
struct PositionState {
    /// The sequence number of the next event.
    seq: AtomicU64,
    /// The time when the reader was last at the end of the log, in milliseconds since [`ReaderPositions::start`]; 0 if it
    /// never was.
    at_end: AtomicU64,
    /// The reader takes every event: it has no filter and is not paused.
    takes_all: AtomicBool,
}

/// The positions of all readers of one log.
#[derive(Debug)]
pub(super) struct ReaderPositions {
    start: Instant,
    readers: Mutex<ReaderSlots>,
    /// A reader came to the end of the log.
    reached_end: Notify,
}

#[derive(Debug, Default)]
struct ReaderSlots {
    /// `None` where a reader has left; the index is reused.
    slots: Vec<Option<Arc<PositionState>>>,
    free: Vec<usize>,
}

impl ReaderPositions {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), readers: Mutex::default(), reached_end: Notify::new() }
    }

    /// Adds a reader. Cost: a lock.
    pub(super) fn add(self: &Arc<Self>, takes_all: bool) -> ReaderPosition {
        let state = Arc::new(PositionState { takes_all: AtomicBool::new(takes_all), ..PositionState::default() });
        let mut readers = lock(&self.readers);
        let index = readers.free.pop().unwrap_or_else(|| {
            readers.slots.push(None);
            readers.slots.len() - 1
        });
        readers.slots[index] = Some(state.clone());
        drop(readers);
        ReaderPosition { positions: self.clone(), index, state }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The lowest next sequence number of the readers that keep up; `None` if none does. `end` is the end of the log: a
    /// reader that is there now waits for more.
    fn slowest(&self, end: u64, now: Instant) -> Option<u64> {
        let period = u64::try_from(KEEPING_UP_PERIOD.as_millis()).expect("a second");
        let now = self.millis(now);
        let next_if_keeping_up = |reader: &Arc<PositionState>| {
            if !reader.takes_all.load(Ordering::Relaxed) {
                return None;
            }
            let seq = reader.seq.load(Ordering::Relaxed);
            let at_end = reader.at_end.load(Ordering::Relaxed);
            if seq >= end && at_end > 0 {
                reader.at_end.store(now, Ordering::Relaxed);
                return Some(seq);
            }
            (at_end > 0 && now.saturating_sub(at_end) <= period).then_some(seq)
        };
        let readers = lock(&self.readers);
        readers.slots.iter().flatten().filter_map(next_if_keeping_up).min()
    }
}

impl ReaderPosition {
    /// Records that the next event of the reader is `seq`, and whether it has not come yet.
    pub(super) fn set(&self, seq: u64, is_end: bool, now: Instant) {
        self.state.seq.store(seq, Ordering::Relaxed);
        if is_end {
            self.state.at_end.store(self.positions.millis(now), Ordering::Relaxed);
            self.positions.reached_end.notify_one();
        }
    }

    /// Records whether the reader takes every event.
    pub(super) fn set_takes_all(&self, takes_all: bool) {
        self.state.takes_all.store(takes_all, Ordering::Relaxed);
    }
}

impl Drop for ReaderPosition {
    fn drop(&mut self) {
        let mut readers = lock(&self.positions.readers);
        readers.slots[self.index] = None;
        readers.free.push(self.index);
        drop(readers);
        self.positions.reached_end.notify_one();
    }
}

/// The number of bytes that a source may read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRoom {
    /// Any number, since no reader depends on it.
    Unlimited,
    /// This many.
    Bytes(usize),
    /// None: a reader that keeps up is to take events first.
    Hold,
}

/// The limit for the source of a log without a history.
#[derive(Debug)]
pub struct ReadAhead {
    positions: Arc<ReaderPositions>,
    ring: watch::Receiver<Ring>,
    /// The memory of the log, and that of all logs.
    memory: Arc<AtomicUsize>,
    budget: BudgetRoom,
    hold_budget: HoldBudget,
    /// While the source waits: the end of the log when it began, which the readers are to reach.
    hold: Option<u64>,
}

/// The time for which a source may still wait for its readers.
#[derive(Debug)]
struct HoldBudget {
    left: Duration,
    /// The time up to which waiting was subtracted and the refill added; `None` before the first use.
    updated_at: Option<Instant>,
}

impl HoldBudget {
    /// Takes the time since the last call, if the source was waiting, and adds the refill. Returns the time that is left.
    fn update(&mut self, was_waiting: bool, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.updated_at.replace(now).unwrap_or(now));
        let spent = if was_waiting { passed } else { Duration::ZERO };
        self.left = (self.left + passed / HOLD_REFILL_DIVISOR).min(MAX_HOLD_TIME).saturating_sub(spent);
        self.left
    }
}

impl ReadAhead {
    pub(super) fn new(
        positions: Arc<ReaderPositions>,
        ring: watch::Receiver<Ring>,
        memory: Arc<AtomicUsize>,
        budget: BudgetRoom,
    ) -> Self {
        let hold_budget = HoldBudget { left: MAX_HOLD_TIME, updated_at: None };
        Self { positions, ring, memory, budget, hold_budget, hold: None }
    }

    /// The number of bytes to read now. Cost: a few locks, and a look at each reader.
    pub fn room(&mut self, now: Instant) -> ReadRoom {
        let left = self.hold_budget.update(self.hold.is_some(), now);
        let end = self.ring.borrow().end();
        let Some(slowest) = self.positions.slowest(end, now) else {
            self.hold = None;
            return ReadRoom::Unlimited;
        };
        match self.hold {
            Some(_) if left.is_zero() => {
                self.hold = None;
                return ReadRoom::Unlimited;
            }
            Some(end) if slowest < end => return ReadRoom::Hold,
            Some(_) | None => self.hold = None,
        }
        let bytes = self.free_bytes(slowest);
        match () {
            () if bytes >= MIN_READ_SIZE || slowest >= end => ReadRoom::Bytes(bytes.max(MIN_READ_SIZE)),
            () if left < MIN_HOLD_TIME => ReadRoom::Unlimited,
            () => {
                self.hold = Some(end);
                ReadRoom::Hold
            }
        }
    }

    /// Waits until it is time to ask for [room](Self::room) again. May be dropped at any time.
    pub async fn wait(&self) {
        // The time is over, or a reader came to the end: the next call of `room` decides in both cases.
        timeout(HOLD_CHECK_INTERVAL, self.positions.reached_end.notified()).await.unwrap_or_default();
    }

    /// The number of bytes of the source for which there is memory while the events from `slowest` on are kept.
    fn free_bytes(&self, slowest: u64) -> usize {
        let memory = self.memory.load(Ordering::Relaxed).min(self.budget.bytes()) / 4 * EVENT_MEMORY_QUARTERS;
        let ring = self.ring.borrow();
        let free = memory.saturating_sub(ring.bytes_from(slowest));
        let per_byte = ring
            .memory_per_source_byte()
            .map_or(MAX_MEMORY_PER_BYTE, |memory| (memory * MEMORY_SAFETY_FACTOR).clamp(1, MAX_MEMORY_PER_BYTE));
        free / per_byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin, Position, Time};
    use crate::stream::{
        Ansi, Appender, Batch, Budget, Cursor, CursorEnd, CursorItem, CursorStart, Filter, Log, View, open,
    };
    use crate::wire::WireFormat;
    use tokio::time::{advance, sleep};

    const MEMORY: usize = 400_000;

    fn log() -> (Appender, Log) {
        let last = Position { epoch: Epoch::persistent(7), number: 0 };
        open("s".parse().unwrap(), last, MEMORY, &Budget::new(usize::MAX))
    }

    fn view(grep: &[&str]) -> View {
        let grep: Vec<_> = grep.iter().map(|&pattern| pattern.to_owned()).collect();
        View {
            wire_format: WireFormat::Text,
            filter: Filter::new(&grep, &[], vec![], 1 << 20).unwrap(),
            several: false,
            ansi: Ansi::Keep,
        }
    }

    async fn cursor(log: &Log, grep: &[&str]) -> Cursor {
        log.cursor(view(grep), CursorStart::Tail(0), CursorEnd::default()).await
    }

    /// The next item, if it is immediately available.
    async fn take(cursor: &mut Cursor) -> Option<CursorItem> {
        cursor.next(Instant::now()).await.filter(|item| !matches!(item, CursorItem::TimedOut))
    }

    /// A source that has many bytes to read, and reads as fast as it may.
    struct TestSource {
        appender: Appender,
        read_ahead: ReadAhead,
        held: Duration,
    }

    impl TestSource {
        fn new(appender: Appender) -> Self {
            let read_ahead = appender.read_ahead().unwrap();
            Self { appender, read_ahead, held: Duration::ZERO }
        }

        /// Reads this many bytes, in pieces of at most `most`.
        async fn read(&mut self, bytes: usize, most: usize) {
            let mut left = bytes;
            while left > 0 {
                let now = Instant::now();
                let size = match self.read_ahead.room(now) {
                    ReadRoom::Unlimited => most,
                    ReadRoom::Bytes(bytes) => bytes.min(most),
                    ReadRoom::Hold => {
                        self.read_ahead.wait().await;
                        self.held += now.elapsed();
                        continue;
                    }
                }
                .min(left);
                let size = (size / 100 * 100).max(100);
                let mut batch = Batch::new();
                for _ in 0..size / 100 {
                    batch.line(Time(0), &Origin::stdout(), Flags::NONE, &[b'x'; 99]);
                }
                self.appender.append(&mut batch).await;
                left -= size;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads lines until `count` came, and counts gaps; waits for `pace` after each item.
    async fn follow(mut cursor: Cursor, count: usize, pace: Duration) -> (usize, usize) {
        let (mut lines, mut gaps) = (0, 0);
        while lines < count {
            match cursor.next(Instant::now() + Duration::from_secs(5)).await {
                Some(CursorItem::Frames(frames)) => {
                    lines += frames.bytes.split(|byte| *byte == b'\n').count() - 1;
                }
                Some(CursorItem::Gap(_)) => gaps += 1,
                Some(CursorItem::OpenLine(_) | CursorItem::Progress(_)) => {}
                Some(CursorItem::TimedOut) | None => break,
            }
            sleep(pace).await;
        }
        (lines, gaps)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_larger_than_memory_reaches_a_reader_that_keeps_up() {
        for most in [50_000, 1 << 20] {
            let (appender, log) = log();
            let mut source = TestSource::new(appender);
            let mut reader = cursor(&log, &[]).await;
            assert!(take(&mut reader).await.is_none());
            let reader = tokio::spawn(follow(reader, 100_000, Duration::from_millis(1)));
            source.read(100_000 * 100, most).await;
            assert_eq!(reader.await.unwrap(), (100_000, 0), "{most}");
            assert!(source.held > Duration::ZERO, "the reader was waited for");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_source_waits_for_no_other_reader_and_not_for_long() {
        /// A reader with its pause before the burst and its pace in milliseconds, and the longest time, in milliseconds,
        /// for which the source may wait for it.
        struct Case(&'static str, &'static [&'static str], bool, u64, u64, u64);
        let table = [
            Case("a reader that waited for more", &[], false, 2000, 1, 2100),
            Case("a filter", &["y"], false, 0, 100, 0),
            Case("a paused reader", &[], true, 0, 100, 0),
            Case("a reader that stops", &[], false, 0, 100_000, 1100),
            Case("a slow reader", &[], false, 0, 300, 2100),
            Case("a reader that keeps up", &[], false, 0, 1, 2100),
        ];
        for Case(name, grep, paused, before, pace, longest) in table {
            let (appender, log) = log();
            let mut source = TestSource::new(appender);
            let mut reader = cursor(&log, grep).await;
            assert!(take(&mut reader).await.is_none());
            reader.set_paused(paused);
            advance(Duration::from_millis(before)).await;
            let reader = tokio::spawn(follow(reader, 20_000, Duration::from_millis(pace)));
            source.read(20_000 * 100, 1 << 20).await;
            assert!(source.held <= Duration::from_millis(longest), "{name}: {:?}", source.held);
            assert!((longest > 0) == (source.held > Duration::ZERO), "{name}: {:?}", source.held);
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_bursts_together_wait_for_two_seconds_and_then_for_one_each_minute() {
        let (appender, log) = log();
        let mut source = TestSource::new(appender);
        let reader = cursor(&log, &[]).await;
        let reader = tokio::spawn(follow(reader, usize::MAX, Duration::from_millis(150)));
        for _ in 0..20 {
            // The reader comes to the end before each burst.
            sleep(Duration::from_secs(3)).await;
            source.read(20_000 * 100, 1 << 20).await;
        }
        let most = MAX_HOLD_TIME + Duration::from_secs(2) + HOLD_CHECK_INTERVAL * 20;
        assert!(source.held > MAX_HOLD_TIME && source.held < most, "{:?}", source.held);
        reader.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_ends_the_wait() {
        let (appender, log) = log();
        let mut source = TestSource::new(appender);
        let mut reader = cursor(&log, &[]).await;
        assert!(take(&mut reader).await.is_none());
        while source.read_ahead.room(Instant::now()) != ReadRoom::Hold {
            source.read(10_000, 10_000).await;
        }
        drop(reader);
        assert_eq!(source.read_ahead.room(Instant::now()), ReadRoom::Unlimited);
    }

    #[test]
    fn the_time_to_wait_is_spent_and_restored() {
        let start = Instant::now();
        let mut budget = HoldBudget { left: MAX_HOLD_TIME, updated_at: None };
        for (at, was_waiting, left) in [
            (0, false, 2000),
            (60_000, false, 2000),
            (61_200, true, 800),
            (121_200, false, 1800),
            (125_000, true, 0),
            (131_000, false, 100),
        ] {
            let found = budget.update(was_waiting, start + Duration::from_millis(at));
            assert_eq!(found.as_millis(), left, "{at}");
        }
    }
}
