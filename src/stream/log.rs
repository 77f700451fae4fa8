//! The read side of a log, which gives readers their cursors; and how a log is opened.
//!
//! The ring lies in a watch channel: publishing wakes who waits, and dropping the appender ends the readers once they have
//! what is left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::{Gap, Position, Progress, SourceState, StreamName, Time};

use super::appender::Appender;
use super::budget::Budget;
use super::counts::StreamCounts;
use super::cursor::{Cursor, CursorBounds, CursorEnd, CursorStart};
use super::private::PrivateFlag;
use super::ring::{ResumePoint, Ring};
use super::status::RunInfo;
use super::view::{View, Views};
use crate::history::{HistoryReader, StreamHistory};
use crate::segment::Checkpoints;
use crate::segment::Numbering;
use crate::segment::PRIVATE_CHECKPOINT_KEY;
use crate::segment::{BackwardSearch, Filter};

/// Makes a log named `name` that keeps at most `memory` bytes, its first event with the id after `last`.
///
/// `memory` counts text, index and encoded bytes; the newest segment stays even where it is too large.
pub fn open(name: StreamName, last: Position, memory: usize, budget: &Budget) -> (Appender, Log) {
    open_at(name, Numbering::new(last), memory, budget, None)
}

/// Makes a log that goes on where its history ends; what memory dropped is read from there.
///
/// Also gives the source's places after the last event that is recorded.
pub fn open_with_history(
    name: StreamName,
    kept: StreamHistory,
    memory: usize,
    budget: &Budget,
) -> (Appender, Log, Checkpoints) {
    let StreamHistory { numbering, mut places, recorder, reader: past, damaged } = kept;
    let was_private = places.remove(PRIVATE_CHECKPOINT_KEY).is_some();
    let (appender, log) = open_at(name, numbering, memory, budget, Some(past));
    (appender.recorded(recorder, damaged, was_private), log, places)
}

fn open_at(
    name: StreamName,
    numbering: Numbering,
    memory: usize,
    budget: &Budget,
    past: Option<HistoryReader>,
) -> (Appender, Log) {
    let mut ring = Ring::new(numbering);
    if let Some(past) = &past {
        ring.set_history_range(past.seq_range());
    }
    let (sender, ring) = watch::channel(ring);
    let sender = Arc::new(sender);
    let share = budget.join(Arc::downgrade(&sender));
    let shared = Arc::new(LogShared {
        name,
        private: PrivateFlag::of(&sender),
        history: past,
        views: Mutex::default(),
        degraded: Mutex::default(),
        redacted: Mutex::default(),
        came: watch::Sender::new(0),
    });
    (
        Appender::new(sender, shared.clone(), memory, share),
        Log { shared, ring, demands_source: true, public_reader: false },
    )
}

/// What the readers of one log share beside its ring.
#[derive(Debug)]
pub(super) struct LogShared {
    pub(super) name: StreamName,
    pub(super) private: PrivateFlag,
    /// What is on disk.
    pub(super) history: Option<HistoryReader>,
    views: Mutex<Views>,
    /// Why nothing is recorded.
    degraded: Mutex<Option<String>>,
    /// How many secrets were taken out of lines.
    redacted: Mutex<u64>,
    /// How many readers ever came.
    came: watch::Sender<u64>,
}

impl LogShared {
    /// The views, locked: never across a wait.
    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        // Each change leaves the views consistent, so a panic elsewhere does not spoil them.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many readers ever came.
    pub(crate) fn readers(&self) -> watch::Receiver<u64> {
        self.came.subscribe()
    }

    /// Says why nothing is recorded; `None` that it is.
    pub(super) fn count_redacted(&self, count: u64) {
        if count > 0 {
            *self.redacted.lock().unwrap_or_else(PoisonError::into_inner) += count;
        }
    }

    pub(super) fn set_degraded(&self, reason: Option<&str>) {
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        if degraded.as_deref() != reason {
            *degraded = reason.map(str::to_owned);
        }
    }
}

/// The read side of a log; a clone is the same log.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) shared: Arc<LogShared>,
    pub(super) ring: watch::Receiver<Ring>,
    /// Whether a new reader starts a source that waits for its first one.
    demands_source: bool,
    /// Whether its readers end when the stream turns private.
    public_reader: bool,
}

/// What a log tells of itself.
#[derive(Debug, Clone)]
pub struct LogInfo {
    /// How its source is, if it said so.
    pub state: Option<Arc<SourceState>>,
    /// How far it is, if it said so, or if it is a process.
    pub progress: Option<Arc<Progress>>,
    /// The last run, if it is a process.
    pub run: Option<RunInfo>,
    /// How many bytes its source has and did not read yet, as far as is known.
    pub lag: u64,
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
    /// What it holds on disk, in bytes; `None` if it is not recorded.
    pub disk: Option<u64>,
    /// Why nothing is recorded at the moment.
    pub degraded: Option<String>,
    /// How many lines were held against a filter, for all readers together.
    pub filter_checks: u64,
    /// What came so far.
    pub counts: StreamCounts,
    /// How many secrets were taken out of its lines since it was opened.
    pub redacted: u64,
    /// Whether nothing more can come.
    pub ended: bool,
}

impl Log {
    /// The stream's name.
    pub fn name(&self) -> &StreamName {
        &self.shared.name
    }

    /// The same log, but its readers do not start a source that waits for its first one.
    #[must_use]
    pub fn without_demand(self) -> Self {
        Self { demands_source: false, ..self }
    }

    /// The same log for somebody who may read it only as long as it is not private.
    #[must_use]
    pub fn for_public(self) -> Self {
        Self { public_reader: true, ..self }
    }

    /// Whether this log may not be read any more: it is [for the public](Self::for_public), and private.
    pub fn is_denied(&self) -> bool {
        self.public_reader && self.shared.private.is_set()
    }

    /// What denies this log once it is set; `None` if nothing does.
    pub fn privacy_if_public(&self) -> Option<PrivateFlag> {
        self.public_reader.then(|| self.shared.private.clone())
    }

    /// Waits until [`is_denied`](Self::is_denied); for ever if that cannot be. May be dropped at any time.
    pub async fn denied(&self) {
        if self.public_reader { self.shared.private.wait_until_set().await } else { std::future::pending().await }
    }

    /// Whether only those may read the stream who prove that they may.
    pub fn private(&self) -> &PrivateFlag {
        &self.shared.private
    }

    /// How it stands, at the time `now`.
    pub fn info(&self, now: Time) -> LogInfo {
        /// The rate is over this many seconds.
        const RATE_WINDOW_SECONDS: i64 = 10;
        let (readers, slots, filtered, gaps) = {
            let views = self.shared.views();
            (views.readers(), views.bytes(), views.filter_checks(), views.gaps())
        };
        let ended = self.ring.has_changed().is_err();
        let ring = self.ring.borrow();
        let (oldest, end) = (ring.oldest(), ring.end());
        let recent = ring.since(Time(now.0 - RATE_WINDOW_SECONDS * 1_000_000)).max(ring.first_in_memory());
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
        let rate = (end - recent) as f64 / RATE_WINDOW_SECONDS as f64;
        LogInfo {
            state: ring.state().cloned(),
            progress: ring.status.progress().0.cloned(),
            run: ring.status.run().cloned(),
            lag: ring.lag(),
            first: (oldest < end).then(|| ring.numbering().id(oldest)),
            last: ring.numbering().seen(end),
            rate,
            readers,
            memory: ring.bytes() + slots,
            disk: self.shared.history.as_ref().map(HistoryReader::bytes),
            degraded: self.shared.degraded.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            filter_checks: filtered,
            counts: StreamCounts { gaps, ..ring.counts() },
            redacted: *self.shared.redacted.lock().unwrap_or_else(PoisonError::into_inner),
            ended,
        }
    }

    /// A new reader. Cost: a lock, and for [`CursorStart::Tail`] and [`CursorStart::Since`] a look at as much of memory or the disk as
    /// it takes.
    pub async fn cursor(&self, view: View, start: CursorStart, until: CursorEnd) -> Cursor {
        if self.demands_source {
            self.shared.came.send_modify(|came| *came += 1);
        }
        let filter = view.filter.clone();
        let (at, view) = self.shared.views().join(view);
        let mut cursor = Cursor::new(self.clone(), view, at);
        let end = self.ring.borrow().end();
        let before = until.before.map(|id| self.ring.borrow().find(id));
        let bound = match before {
            Some(ResumePoint::Known(after)) => after.saturating_sub(1),
            Some(ResumePoint::Unknown(_)) => end,
            None if until.head => end,
            None => u64::MAX,
        };
        let place = match start {
            _ if matches!(before, Some(ResumePoint::Unknown(_))) => self.start_after_unknown(end, &mut cursor),
            CursorStart::After(id) => self.after(id, until, &mut cursor),
            CursorStart::AfterUnknown => self.start_after_unknown(self.ring.borrow().oldest(), &mut cursor),
            CursorStart::Since(time) => self.since(time).await,
            CursorStart::Tail(0) => self.ring.borrow().end(),
            CursorStart::Tail(lines) => self.start_of_tail(lines, filter, bound).await,
            CursorStart::Oldest => self.ring.borrow().oldest(),
            CursorStart::Run => {
                let ring = self.ring.borrow();
                ring.numbering().last_run_start().unwrap_or(ring.end())
            }
        };
        cursor.set_start(place);
        cursor.until = CursorBounds { place: bound, run: until.run, lines: until.lines };
        cursor
    }

    /// Where a reader goes on that saw `id` last; tells `cursor` what it is to be told.
    fn after(&self, id: Position, until: CursorEnd, cursor: &mut Cursor) -> u64 {
        let found = self.ring.borrow().find(id);
        match found {
            ResumePoint::Known(place) => {
                cursor.run_ended = until.run && self.ring.borrow().numbering().run_ended_before(place);
                place
            }
            ResumePoint::Unknown(place) => self.start_after_unknown(place, cursor),
        }
    }

    fn start_after_unknown(&self, place: u64, cursor: &mut Cursor) -> u64 {
        cursor.gap = Some(Gap { missed: None, resume: self.ring.borrow().numbering().before(place) });
        place
    }

    /// The place of the first event read at `time` or later.
    async fn since(&self, time: Time) -> u64 {
        let (in_memory, first, oldest) = {
            let ring = self.ring.borrow();
            (ring.since(time), ring.first_in_memory(), ring.oldest())
        };
        match &self.shared.history {
            Some(past) if in_memory == first && oldest < first => past.since(time).await.unwrap_or(in_memory),
            _ => in_memory,
        }
    }

    /// The place of the `lines`-th last line before `bound` that passes the filter, or of the oldest event if there are
    /// fewer.
    async fn start_of_tail(&self, lines: u64, filter: Filter, bound: u64) -> u64 {
        let (segments, oldest) = {
            let ring = self.ring.borrow();
            (ring.segments(), ring.oldest())
        };
        let mut search = BackwardSearch::new(lines, filter);
        let found = segments.iter().rev().find_map(|segment| search.find_in(segment, bound));
        let first = segments.first().map_or(self.ring.borrow().end(), |segment| segment.seq());
        let (place, filtered) = match (found, &self.shared.history) {
            (None, Some(past)) if oldest < first => {
                past.find_backwards(search, first.min(bound)).await.unwrap_or((first, 0))
            }
            (found, _) => (found.unwrap_or(first), search.filter_checks),
        };
        self.shared.views().count_filter_checks(filtered);
        place
    }
}
