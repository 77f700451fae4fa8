//! One reader of a log. A slow reader costs its cursor, never a queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::event::{Gap, OpenLine, Origin, Position, Progress, Time};

use super::read_ahead::ReaderPosition;
use super::ring::{ResumePoint, RingRead};
use super::run_selection::RunSelection;
use super::shared::LogAccess;
use super::view::{EncodedEvents, NextSlot, SLOT_TEXT_SIZE, Slot, View};
use crate::history::HistoryRead;
use crate::segment::Slice;
use crate::wire::gzip::CompressedBatch;

/// The start of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorStart {
    /// After the event with this id; if it is unknown or dropped, at the oldest event kept, with a gap.
    After(Position),
    /// At the oldest event kept, with a gap of unknown length.
    AfterUnknown,
    /// At the first event read at this time or later.
    Since(Time),
    /// At the last lines that pass the filter, this many of them.
    Tail(u64),
    /// At the oldest event kept.
    Oldest,
    /// At the start of the run that the [end](CursorEnd::run) names. By default that is the current run of the process, or the
    /// last one; if there was none yet, at the end.
    Run,
}

/// The end of a reader. By default it is the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CursorEnd {
    /// At the present end of the log.
    pub head: bool,
    /// At the end of this run; without any, at no end of a run. The reader receives no event before the start of the run
    /// either, whatever the [`CursorStart`] is.
    pub run: Option<RunSelection>,
    /// After this many lines.
    pub lines: Option<u64>,
    /// Before the event with this id; [`CursorStart::Tail`] then counts back from there. If the id is unknown or
    /// forgotten, the reader ends at once, with a gap.
    pub before: Option<Position>,
}

/// A [`CursorEnd`] in the sequence numbers of this log.
#[derive(Debug)]
pub(super) struct CursorBounds {
    /// The sequence number of the first event that is not shown; `u64::MAX` for no bound.
    pub(super) seq: u64,
    pub(super) run: bool,
    /// The number of lines still to show; `None` for no bound.
    pub(super) lines: Option<u64>,
}

/// One reader of a log: the sequence number of its next event, and its view. Dropping it leaves the view.
#[derive(Debug)]
pub struct Cursor {
    log: LogAccess,
    view: Arc<View>,
    /// The number of the view among those of the log.
    view_index: usize,
    /// The time from which the view may cut again, as the last slot said; `None` before one, and while the view is not busy.
    next_cut_at: Option<Instant>,
    /// The sequence number that the cursor started at; always <= `next`.
    start: u64,
    /// The sequence number of the next event; never decreases.
    next: u64,
    /// The sequence number after the last event that the reader has received or that a gap has reported; always <=
    /// `next`.
    shown: u64,
    bounds: CursorBounds,
    /// `true` if the run that the reader asked for had already ended when the reader came.
    run_ended: bool,
    /// The gap that is the first item; `None` once it was returned.
    gap: Option<Gap>,
    /// The version of the open lines that were checked last; 0 for none.
    open_version: u64,
    /// The origins whose open lines the reader has, with the versions of these.
    open: BTreeMap<Origin, u64>,
    /// The version of the progress that was checked last; 0 for none.
    progress_version: u64,
    /// The position as the source sees it, if that may wait for readers.
    read_ahead_position: Option<ReaderPosition>,
    /// `true` if the reader takes frames in compressed form.
    takes_compressed: bool,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.log.shared.views().leave(self.view_index);
    }
}

/// One thing that a reader receives.
#[derive(Debug, Clone)]
pub enum CursorItem {
    /// Events, encoded.
    Frames(EncodedFrames),
    /// The reader missed events before the next ones.
    Gap(Gap),
    /// The open line of its origin as it is now; without rows, it was withdrawn. Not numbered.
    OpenLine(Arc<OpenLine>),
    /// The progress of the source. Not numbered.
    Progress(Arc<Progress>),
    /// No item came before the deadline.
    TimedOut,
}

/// Encoded events, shared by all readers of the view.
#[derive(Debug, Clone)]
pub struct EncodedFrames {
    /// All frames, one after the other.
    pub bytes: Bytes,
    /// The end of each frame and the id of its event; only for a view of [several](View::several) streams.
    pub ends: Vec<(usize, Position)>,
    /// The bytes in compressed form, if the reader [takes them so](Cursor::take_compressed) and the stream is not private.
    pub compressed: Option<Arc<CompressedBatch>>,
}

/// The next step of a cursor.
enum CursorStep {
    Item(CursorItem),
    /// Continue: the cursor advanced past events that the filter rejects.
    Advanced,
    /// Wait until this time.
    WaitUntil(Instant),
    /// Wait until the log changes.
    WaitForChange,
    /// Read the history, at most up to `end_seq`.
    ReadHistory {
        end_seq: u64,
    },
    Ended,
}

impl Cursor {
    /// A cursor without a start and without bounds. Cost: a lock.
    pub(super) fn new(log: LogAccess, view: View) -> Self {
        let (at, view) = log.shared.views().join(view);
        let read_ahead_position = log.shared.positions.as_ref().map(|positions| positions.add(view.filter.is_empty()));
        Self {
            read_ahead_position,
            log,
            view,
            view_index: at,
            next_cut_at: None,
            start: 0,
            next: 0,
            shown: 0,
            bounds: CursorBounds { seq: u64::MAX, run: false, lines: None },
            run_ended: false,
            gap: None,
            open_version: 0,
            open: BTreeMap::new(),
            progress_version: 0,
            takes_compressed: false,
        }
    }

    /// From now on, frames come in compressed form, too, as long as the stream is not private.
    pub fn take_compressed(&mut self) {
        self.takes_compressed = true;
    }

    /// Returns whether frames come in compressed form, too.
    pub fn takes_compressed(&self) -> bool {
        self.takes_compressed && !self.log.shared.private.is_set()
    }

    pub(super) fn set_bounds(&mut self, bounds: CursorBounds) {
        self.bounds = bounds;
    }

    /// Starts the cursor at an event.
    pub(super) fn set_start(&mut self, seq: u64) {
        (self.start, self.next, self.shown) = (seq, seq, seq);
    }

    /// Starts the cursor after the event `id`, but not before the sequence number `first`, with a gap if the log does not know
    /// that id.
    pub(super) fn start_after(&mut self, id: Position, first: u64) {
        let found = self.log.ring.borrow().find(id);
        match found {
            ResumePoint::Known(seq) => {
                // A reader at the start of a run has not seen its end.
                self.run_ended =
                    self.bounds.run && seq > first && self.log.ring.borrow().numbering().run_ended_before(seq);
                self.set_start(seq.max(first));
            }
            ResumePoint::Unknown(seq) => self.start_after_unknown(seq.max(first)),
        }
    }

    /// Starts the cursor at an event, with a gap of unknown length before it.
    pub(super) fn start_after_unknown(&mut self, seq: u64) {
        self.gap = Some(Gap { missed: None, resume: self.log.ring.borrow().numbering().id_before(seq) });
        self.set_start(seq);
    }

    /// The next item; [`CursorItem::TimedOut`] if none comes before `deadline`, `None` at the end or once the reader
    /// [is denied](Self::is_denied). May be dropped at any time.
    pub async fn next(&mut self, deadline: Instant) -> Option<CursorItem> {
        let item = self.advance(deadline).await;
        // Checked after the item was read, so that a line that came after the stream became private is never returned.
        item.filter(|_| !self.is_denied())
    }

    /// Returns whether the stream became private and its reader may not read it any more.
    pub fn is_denied(&self) -> bool {
        self.log.is_denied()
    }

    async fn advance(&mut self, deadline: Instant) -> Option<CursorItem> {
        while !self.is_denied() {
            match self.step(Instant::now()) {
                CursorStep::Item(item) => return Some(item),
                // A filter may skip a whole history, so other tasks must get a chance to run.
                CursorStep::Advanced => tokio::task::coop::consume_budget().await,
                CursorStep::WaitUntil(tick) => sleep_until(tick).await,
                CursorStep::WaitForChange => match timeout_at(deadline, self.log.ring.changed()).await {
                    Ok(Ok(())) => {}
                    // The appender is gone, and the last step found nothing left.
                    Ok(Err(_)) => return None,
                    Err(_) => return Some(CursorItem::TimedOut),
                },
                CursorStep::ReadHistory { end_seq: bound } => {
                    if let Some(item) = self.read_history(bound).await {
                        return Some(item);
                    }
                }
                CursorStep::Ended => return None,
            }
        }
        None
    }

    /// The next item from the disk; `None` if the filter rejects everything that was read.
    async fn read_history(&mut self, bound: u64) -> Option<CursorItem> {
        let history = self.log.shared.history.clone()?;
        let step = match history.read(self.next, bound, SLOT_TEXT_SIZE).await {
            HistoryRead::Events(slices) => self.show_slices(slices, false, Instant::now()),
            HistoryRead::Hole(to) => self.skip_to(to),
        };
        match step {
            CursorStep::Item(item) => Some(item),
            CursorStep::Advanced
            | CursorStep::WaitUntil(_)
            | CursorStep::WaitForChange
            | CursorStep::ReadHistory { .. }
            | CursorStep::Ended => None,
        }
    }

    /// Skips to `to`, since the events before are gone.
    fn skip_to(&mut self, to: u64) -> CursorStep {
        let gap = self.log.ring.borrow().numbering().gap(self.next, to);
        (self.next, self.shown) = (to, to);
        self.report_gap(gap)
    }

    fn report_gap(&self, gap: Gap) -> CursorStep {
        self.log.shared.views().count_gap();
        CursorStep::Item(CursorItem::Gap(gap))
    }

    /// Returns whether nothing more can come: a bound is reached, or the log has ended and everything was read.
    pub fn is_done(&mut self) -> bool {
        if self.gap.is_some() {
            return false;
        }
        let ended = self.log.ring.has_changed().is_err();
        let head = self.log.ring.borrow().end();
        self.is_at_bound() || (ended && self.next >= head)
    }

    /// Returns whether the reader has an end, however long the log is: a number of lines, or an event that exists.
    pub fn is_bounded(&self) -> bool {
        self.bounds.lines.is_some() || self.bounds.seq < u64::MAX
    }

    /// The id of the event before the next one: the last one that the reader has seen or its filter rejected.
    pub fn position(&self) -> Position {
        self.log.ring.borrow().numbering().last_seen_id(self.next)
    }

    /// Changes the view from the next event on. Cost: a lock.
    pub fn change_view(&mut self, view: View) {
        let (at, view) = {
            let mut views = self.log.shared.views();
            views.leave(self.view_index);
            views.join(view)
        };
        (self.view_index, self.view, self.next_cut_at) = (at, view, None);
        self.set_paused(false);
        // The new filter decides which open lines are shown.
        self.open_version = 0;
        self.open.values_mut().for_each(|version| *version = 0);
    }

    /// Records whether the reader is paused: the source of a file never waits for one that is.
    pub fn set_paused(&self, paused: bool) {
        if let Some(position) = &self.read_ahead_position {
            position.set_takes_all(!paused && self.view.filter.is_empty());
        }
    }

    /// Returns whether the filter has rejected events since the last call, so that the position changed without a
    /// frame.
    pub fn take_skipped(&mut self) -> bool {
        std::mem::replace(&mut self.shown, self.next) != self.next
    }

    /// Returns whether one of the bounds is reached.
    fn is_at_bound(&self) -> bool {
        self.bounds.lines == Some(0) || self.is_at_end()
    }

    /// Returns whether the reader has an end other than a number of lines, and has reached it: a reader that resumes at its
    /// [position](Self::position) receives nothing, either.
    pub fn is_at_end(&self) -> bool {
        self.next >= self.bounds.seq
            || self.run_ended
            || (self.bounds.run && self.log.ring.borrow().numbering().run_ended_between(self.start, self.next))
    }

    fn step(&mut self, now: Instant) -> CursorStep {
        if let Some(gap) = self.gap.take() {
            return self.report_gap(gap);
        }
        if self.is_at_bound() {
            return CursorStep::Ended;
        }
        if let Some(tick) = self.next_cut_at.filter(|&tick| now < tick) {
            return CursorStep::WaitUntil(tick);
        }
        let shareable_to = if self.bounds.lines.is_none() { self.bounds.seq } else { 0 };
        let slot = self.log.shared.views().next_slot(self.view_index, self.next, shareable_to, now);
        let bound = match slot {
            NextSlot::Ready(slot) => return self.take_slot(&slot),
            NextSlot::WaitUntil(tick) if self.next < self.log.ring.borrow().end() => {
                self.note_position(true, now);
                return CursorStep::WaitUntil(tick);
            }
            // There is nothing to cut yet.
            NextSlot::WaitUntil(_) => self.bounds.seq,
            NextSlot::CutNow { before } => self.bounds.seq.min(before),
        };
        let (read, end) = {
            let ring = self.log.ring.borrow_and_update();
            (ring.read(self.next, bound, SLOT_TEXT_SIZE), ring.end())
        };
        match read {
            RingRead::CaughtUp => {
                self.note_position(self.next >= end, now);
                self.changed_progress().or_else(|| self.changed_open_line()).unwrap_or(CursorStep::WaitForChange)
            }
            RingRead::InHistory { bound } => CursorStep::ReadHistory { end_seq: bound },
            RingRead::Gap { to } => self.skip_to(to),
            RingRead::Events(slices) => {
                let at_end = slices.last().is_some_and(|last| last.segment.seq() + last.to as u64 == end);
                self.show_slices(slices, at_end, now)
            }
        }
    }

    /// Shows the next events; `at_end` says whether they are the last of the log.
    fn show_slices(&mut self, slices: Vec<Slice>, at_end: bool, now: Instant) -> CursorStep {
        let to = slices.last().map_or(self.next, |slice| slice.segment.seq() + slice.to as u64);
        if self.can_share_slot(to) {
            let slot = Slot::new(self.next, to, slices);
            let slot = self.log.shared.views().enter_slot(self.view_index, slot, at_end, now);
            self.take_slot(&slot)
        } else {
            let view = self.view.clone();
            let encoded = view.encode(self.log.encoded_log(), &slices, self.bounds.lines.unwrap_or(u64::MAX));
            self.log.shared.views().count_filter_checks(encoded.filter_checks);
            let is_wanted = self.takes_compressed() && !encoded.bytes.is_empty();
            let compressed = is_wanted.then(|| Arc::new(CompressedBatch::new(&encoded.bytes)));
            self.advance_past(&encoded, compressed)
        }
    }

    /// Returns whether a slot up to `to` contains nothing beyond the bounds of this reader.
    fn can_share_slot(&self, to: u64) -> bool {
        self.bounds.lines.is_none() && to <= self.bounds.seq
    }

    fn take_slot(&mut self, slot: &Slot) -> CursorStep {
        self.next_cut_at = slot.next_cut_at;
        let view = self.view.clone();
        let (encoded, was_encoded) = slot.encode(&view, self.log.encoded_log());
        let is_wanted = self.takes_compressed() && !encoded.bytes.is_empty();
        let compressed = is_wanted.then(|| slot.compress(encoded));
        if was_encoded || compressed.as_ref().is_some_and(|(_, was_compressed)| *was_compressed) {
            let mut views = self.log.shared.views();
            if was_encoded {
                views.count_filter_checks(encoded.filter_checks);
            }
            views.count(self.view_index, slot);
        }
        self.advance_past(encoded, compressed.map(|(compressed, _)| compressed))
    }

    /// Records the position for the source, if that may wait for readers.
    fn note_position(&self, is_end: bool, now: Instant) {
        if let Some(position) = &self.read_ahead_position {
            position.set(self.next, is_end, now);
        }
    }

    /// Moves past encoded events.
    fn advance_past(&mut self, encoded: &EncodedEvents, compressed: Option<Arc<CompressedBatch>>) -> CursorStep {
        self.next = encoded.to;
        if self.read_ahead_position.is_some() {
            let end = self.log.ring.borrow().end();
            self.note_position(self.next >= end, Instant::now());
        }
        if let Some(left) = &mut self.bounds.lines {
            debug_assert!(encoded.lines <= *left, "encoding stops at the last line that is wanted");
            *left -= encoded.lines;
        }
        if let Some(shown) = encoded.shown {
            self.shown = shown;
        }
        if encoded.bytes.is_empty() {
            return CursorStep::Advanced;
        }
        CursorStep::Item(CursorItem::Frames(EncodedFrames {
            bytes: encoded.bytes.clone(),
            ends: encoded.frame_ends.clone(),
            compressed,
        }))
    }

    /// The progress at the end of the log, if it changed.
    fn changed_progress(&mut self) -> Option<CursorStep> {
        let ring = self.log.ring.borrow();
        let (progress, version) = ring.status.progress();
        let seen = std::mem::replace(&mut self.progress_version, version);
        progress.filter(|_| version != seen).map(|progress| CursorStep::Item(CursorItem::Progress(progress.clone())))
    }

    /// An open line at the end of the log that changed since the reader received it, if there is one.
    fn changed_open_line(&mut self) -> Option<CursorStep> {
        let (lines, version) = {
            let ring = self.log.ring.borrow();
            if ring.open_version() == self.open_version {
                return None;
            }
            (ring.open().to_vec(), ring.open_version())
        };
        for (version, line) in &lines {
            if self.open.get(&line.origin) == Some(version) {
                continue;
            }
            let selected = self.select_open_line(line, *version);
            let before = if selected.rows.is_empty() {
                self.open.remove(&line.origin)
            } else {
                self.open.insert(line.origin.clone(), *version)
            };
            if before.is_some() || !selected.rows.is_empty() {
                return Some(CursorStep::Item(CursorItem::OpenLine(self.view.shown_rows(selected))));
            }
        }
        let withdrawn = self.open.keys().find(|origin| !lines.iter().any(|(_, line)| line.origin == **origin));
        if let Some(origin) = withdrawn.cloned() {
            self.open.remove(&origin);
            let withdrawn = OpenLine::withdrawn(Time::default(), origin);
            return Some(CursorStep::Item(CursorItem::OpenLine(Arc::new(withdrawn))));
        }
        self.open_version = version;
        None
    }

    /// This version of an open line with the rows that the filter selects; matched once for all readers of the view.
    fn select_open_line(&self, line: &Arc<OpenLine>, version: u64) -> Arc<OpenLine> {
        if self.view.filter.is_empty() {
            return line.clone();
        }
        let known = self.log.shared.views().selected_open_line(self.view_index, version);
        known.unwrap_or_else(|| {
            let selected = Arc::new(self.view.filter.select_rows(line, self.log.format));
            self.log.shared.views().keep_selected_open_line(self.view_index, version, selected.clone());
            selected
        })
    }
}
