//! The read side of a log, which gives readers their cursors.
//!
//! The ring is in a watch channel: publishing wakes the readers that wait, and dropping the appender ends the readers
//! once they have received the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::{Position, Progress, RunInfo, RunSummary, SourceState, StreamName, Time};
use crate::history::{HistoryReader, Retention, RunLimits};
use crate::segment::{BackwardSearch, Filter};
use crate::structured::StructuredFormat;

use super::counts::StreamCounts;
use super::cursor::{Cursor, CursorBounds, CursorEnd, CursorStart};
use super::private::{PrivateFlag, PublicAccess};
use super::ring::ResumePoint;
use super::run_selection::{ListedRun, RunPage, RunSelection, RunUnavailable};
use super::shared::LogAccess;
use super::view::View;

/// The read side of a log; a clone is the same log.
#[derive(Debug, Clone)]
pub struct Log {
    pub(super) access: LogAccess,
    /// `true` if a new reader starts a source that waits for its first one.
    demands_source: bool,
}

/// The present state of a log.
#[derive(Debug, Clone)]
pub struct LogInfo {
    /// The state of the source, if it has reported one.
    pub state: Option<Arc<SourceState>>,
    /// The progress of the source, if it has reported any or is a process.
    pub progress: Option<Arc<Progress>>,
    /// The last run, if the source is a process.
    pub run: Option<RunInfo>,
    /// The last time at which a program changed rows that it can still change; `None` if there are none.
    pub drawn: Option<Time>,
    /// The number of bytes of the source that are known to be unread.
    pub lag: u64,
    /// The id of the oldest event kept; `None` if there is none.
    pub first: Option<Position>,
    /// The id of the newest event; its number is 0 if there was none yet.
    pub last: Position,
    /// Lines per second, over the last ten seconds.
    pub rate: f64,
    /// The number of readers.
    pub readers: usize,
    /// The memory that events and encoded bytes take, in bytes.
    pub memory: usize,
    /// The size of the history on disk, in bytes; `None` if the stream is not recorded.
    pub disk: Option<u64>,
    /// The reason why nothing is recorded at present; `None` if there is no history, or if it is being written.
    pub degraded: Option<String>,
    /// The number of times that a line was matched against a filter, for all readers together.
    pub filter_checks: u64,
    /// The events since the log was opened, by kind.
    pub counts: StreamCounts,
    /// The number of secrets that were removed from lines since the log was opened.
    pub redacted: u64,
    /// `true` if the appender is gone, so that no more events can come.
    pub ended: bool,
}

/// The events to which a reader of a run is restricted, as sequence numbers.
#[derive(Debug, Clone, Copy)]
struct RunBounds {
    /// The start of a reader that names no other.
    start: u64,
    /// The first event.
    first: u64,
    /// After the last event; `u64::MAX` if it has not come yet.
    end: u64,
    /// `true` if the end of the run in which the reader starts is the last event.
    ends_with_run: bool,
}

/// Returns whether any event of the run is stored or can still come; the oldest one that is stored is `oldest`.
fn is_kept(run: &RunSummary, oldest: u64) -> bool {
    run.end > oldest || run.ended.is_none()
}

impl Log {
    pub(super) fn new(access: LogAccess) -> Self {
        Self { access, demands_source: true }
    }

    /// The stream's name.
    pub fn name(&self) -> &StreamName {
        &self.access.shared.name
    }

    /// Returns the same log, with readers that do not start a source that waits for its first one.
    #[must_use]
    pub fn without_demand(self) -> Self {
        Self { demands_source: false, ..self }
    }

    /// Returns the same log for readers that may read it only as long as it is not private.
    #[must_use]
    pub fn for_public(self) -> Self {
        Self { access: LogAccess { public: true, ..self.access }, ..self }
    }

    /// Returns the same log for readers that may read it only as long as everybody may.
    #[must_use]
    pub fn by_public_access(self, permission: PublicAccess) -> Self {
        Self { access: LogAccess { by_public_access: Some(permission), ..self.access }, ..self }
    }

    /// A new permission of everybody to read the log.
    pub fn public_access(&self) -> PublicAccess {
        PublicAccess::of(&self.access.shared.private)
    }

    /// Changes how much is kept, in memory as in bytes and on disk; what is too much is dropped with the next events.
    pub fn set_bounds(&self, memory: usize, retention: Retention) {
        self.access.shared.memory.store(memory, Ordering::Relaxed);
        self.access.shared.runs.lock().set_limits(RunLimits::new(memory, retention));
        if let Some(history) = &self.access.shared.history {
            history.set_retention(retention);
        }
    }

    /// Returns the same log, whose readers receive the fields that its lines declare in this form.
    #[must_use]
    pub fn with_format(self, format: Option<StructuredFormat>) -> Self {
        Self { access: LogAccess { format, ..self.access }, ..self }
    }

    /// Returns whether this log may not be read any more: it is [for the public](Self::for_public), and the stream is
    /// private, or it is read by a permission that was withdrawn.
    pub fn is_denied(&self) -> bool {
        self.access.is_denied()
    }

    /// The flags each of which denies this log once it is set.
    pub fn denials(&self) -> impl Iterator<Item = PrivateFlag> {
        self.access.denials().cloned()
    }

    /// Waits until [`is_denied`](Self::is_denied) is true, which may be never. May be dropped at any time.
    pub async fn until_denied(&self) {
        let mut denials = self.access.denials();
        match (denials.next(), denials.next()) {
            (None, _) => std::future::pending().await,
            (Some(flag), None) => flag.wait_until_set().await,
            (Some(private), Some(withdrawn)) => {
                tokio::select! {
                    () = private.wait_until_set() => {}
                    () = withdrawn.wait_until_set() => {}
                }
            }
        }
    }

    /// Returns whether the stream may be read only with the right to do so.
    pub fn private(&self) -> &PrivateFlag {
        &self.access.shared.private
    }

    /// The present state of the log, with its rate at the time `now`. Cost: two locks, one binary search.
    pub fn info(&self, now: Time) -> LogInfo {
        /// The seconds that the rate is an average of.
        const RATE_WINDOW_SECONDS: i64 = 10;
        let (readers, slots, filter_checks, gaps) = {
            let views = self.access.shared.views();
            (views.readers(), views.bytes(), views.filter_checks(), views.gaps())
        };
        let ended = self.access.ring.has_changed().is_err();
        let ring = self.access.ring.borrow();
        let (oldest, end) = (ring.oldest(), ring.end());
        let recent = ring.since(Time(now.0 - RATE_WINDOW_SECONDS * 1_000_000)).max(ring.first_in_memory());
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
        let rate = (end - recent).saturating_sub(ring.other_events_from(recent)) as f64 / RATE_WINDOW_SECONDS as f64;
        LogInfo {
            state: ring.state().cloned(),
            progress: ring.status.progress().0.cloned(),
            run: ring.status.run().cloned(),
            drawn: ring.open().iter().map(|(_, rows)| rows.time).max(),
            lag: ring.lag(),
            first: (oldest < end).then(|| ring.numbering().id(oldest)),
            last: ring.numbering().last_seen_id(end),
            rate,
            readers,
            memory: ring.bytes() + slots,
            disk: self.access.shared.history.as_ref().map(HistoryReader::bytes),
            degraded: ring.degraded().map(str::to_owned),
            filter_checks,
            counts: StreamCounts { gaps, ..ring.counts() },
            redacted: ring.redacted(),
            ended,
        }
    }

    /// At most `limit` runs, newest first; with `before`, those that are older than the run with that number. Cost: a copy of
    /// their summaries.
    pub fn runs(&self, before: Option<u64>, limit: usize) -> RunPage {
        // One more shows whether there is a next part.
        let mut runs = self.access.shared.runs.lock().newest_before(before, limit.saturating_add(1));
        let is_more = runs.len() > limit;
        runs.truncate(limit);
        let next = runs.last().map(|run| run.run).filter(|_| is_more);
        let ring = self.access.ring.borrow();
        let oldest = ring.oldest();
        let listed = runs.into_iter().map(|summary| ListedRun {
            first: ring.numbering().known_id(summary.first),
            last: summary.end.checked_sub(1).and_then(|last| ring.numbering().known_id(last.max(summary.first))),
            kept: is_kept(&summary, oldest),
            summary,
        });
        RunPage { runs: listed.collect(), next }
    }

    /// The run that a reader which starts at `start` is to receive, by its number unless it is the current one. A reader that
    /// resumes within a run receives the rest of that run, even if the selection means another one by now. If the id is not
    /// known, the cursor reports a gap.
    ///
    /// # Errors
    /// If there is no such run, if nothing of it is stored any more, or if the reader resumes after an event that is in no known
    /// run.
    pub fn resolve_run(&self, selection: RunSelection, start: CursorStart) -> Result<RunSelection, RunUnavailable> {
        if selection == RunSelection::Current {
            return Ok(selection);
        }
        let (resumed_at, oldest) = {
            let ring = self.access.ring.borrow();
            let resumed_at = match (start, selection) {
                (CursorStart::After(id), RunSelection::Last | RunSelection::Passed) => match ring.find(id) {
                    ResumePoint::Known(next) => {
                        let before = next.saturating_sub(1);
                        Some((next, ring.numbering().first_run_end_from(before) == Some(before)))
                    }
                    ResumePoint::Unknown(_) => None,
                },
                _ => None,
            };
            (resumed_at, ring.oldest())
        };
        let runs = self.access.shared.runs.lock();
        let found = match resumed_at {
            // Another run than the one that the reader was in would be taken for its continuation.
            Some((next, is_after_end)) => {
                let within = runs.find_newest(|run| run.first < next && next <= run.end);
                let found = within.or_else(|| runs.find_newest(|run| run.first == next && !is_after_end));
                Some(found.ok_or_else(|| RunUnavailable::Forgotten(self.name().clone()))?)
            }
            None => runs.find_newest(|run| selection.takes(run)),
        };
        let Some(run) = found else {
            let name = self.name().clone();
            let numbers: Vec<_> = runs.newest_first().map(|run| run.run).collect();
            return Err(match (numbers.iter().min().zip(numbers.iter().max()), selection) {
                (None, _) => RunUnavailable::NoRuns(name),
                (Some((first, last)), RunSelection::Number(number)) => {
                    RunUnavailable::UnknownNumber(name, number, *first..=*last)
                }
                (Some(_), RunSelection::Passed) => RunUnavailable::NonePassed(name),
                (Some(_), RunSelection::Current | RunSelection::Last | RunSelection::Forgotten) => {
                    RunUnavailable::NoneEnded(name)
                }
            });
        };
        // A reader that resumes learns from a gap what it has missed.
        let is_new_reader = !matches!(start, CursorStart::After(_) | CursorStart::AfterUnknown);
        if is_new_reader && !is_kept(&run, oldest) {
            return Err(RunUnavailable::NotKept(self.name().clone(), run.run));
        }
        Ok(RunSelection::Number(run.run))
    }

    /// A new reader with this view, from `start` to `end`.
    ///
    /// Cost: a lock. [`CursorStart::Tail`] and [`CursorStart::Since`] also search backwards through memory, and through
    /// the disk if memory does not reach far enough.
    pub async fn cursor(&self, view: View, start: CursorStart, end: CursorEnd) -> Cursor {
        if self.demands_source {
            self.access.shared.add_demand();
        }
        let filter = view.filter.clone();
        let mut cursor = Cursor::new(self.access.clone(), view);
        let (head, before, resumes) = {
            let ring = self.access.ring.borrow();
            let resumes = matches!(start, CursorStart::After(id) if matches!(ring.find(id), ResumePoint::Known(_)));
            (ring.end(), end.before.map(|id| ring.find(id)), resumes)
        };
        let bound = match before {
            // The cursor ends before the event itself. Number 0 stands for no event, and is before all events.
            Some(ResumePoint::Known(after)) => after.saturating_sub(1),
            Some(ResumePoint::Unknown(_)) => head,
            None if end.head => head,
            None => u64::MAX,
        };
        let run = self.run_bounds(end.run, resumes);
        let (bound, first) = (bound.min(run.end), run.first);
        cursor.set_bounds(CursorBounds { seq: bound, run: run.ends_with_run, lines: end.lines });
        match start {
            _ if matches!(before, Some(ResumePoint::Unknown(_))) => cursor.start_after_unknown(head),
            CursorStart::After(id) => cursor.start_after(id, first),
            CursorStart::AfterUnknown => cursor.start_after_unknown(self.oldest().max(first)),
            CursorStart::Since(time) => cursor.set_start(self.since(time).await.max(first)),
            CursorStart::Tail(0) => cursor.set_start(head.min(bound).max(first)),
            CursorStart::Tail(lines) => cursor.set_start(self.start_of_tail(lines, filter, bound).await.max(first)),
            CursorStart::Oldest => cursor.set_start(self.oldest().max(first)),
            CursorStart::Run => cursor.set_start(run.start),
        }
        cursor
    }

    /// The events to which a reader is restricted that asks for this run. With `resumes`, it starts after an event that is
    /// known.
    fn run_bounds(&self, selection: Option<RunSelection>, resumes: bool) -> RunBounds {
        let Some(selection) = selection.filter(|selection| *selection != RunSelection::Current) else {
            let ring = self.access.ring.borrow();
            let (start, last) = ring.numbering().last_run().unwrap_or((ring.end(), None));
            return match selection {
                // A reader that resumes receives the rest of the run that it was in, which need not be the last one.
                Some(_) if !resumes => {
                    RunBounds { start, first: start, end: last.map_or(u64::MAX, |last| last + 1), ends_with_run: true }
                }
                _ => RunBounds { start, first: 0, end: u64::MAX, ends_with_run: selection.is_some() },
            };
        };
        let found = self.access.shared.runs.lock().find_newest(|run| selection.takes(run));
        // A run that was forgotten since it was looked up has no events.
        let (first, end, lasts) = found.map_or((0, 0, false), |run| (run.first, run.end, run.ended.is_none()));
        RunBounds { start: first, first, end: if lasts { u64::MAX } else { end }, ends_with_run: lasts }
    }

    fn oldest(&self) -> u64 {
        self.access.ring.borrow().oldest()
    }

    /// The sequence number of the first event read at `time` or later.
    async fn since(&self, time: Time) -> u64 {
        let (in_memory, first, oldest) = {
            let ring = self.access.ring.borrow();
            (ring.since(time), ring.first_in_memory(), ring.oldest())
        };
        match &self.access.shared.history {
            Some(history) if in_memory == first && oldest < first => history.since(time).await.unwrap_or(in_memory),
            _ => in_memory,
        }
    }

    /// The sequence number of the `lines`-th last line before `bound` that passes the filter, or of the oldest event if
    /// there are fewer.
    async fn start_of_tail(&self, lines: u64, filter: Filter, bound: u64) -> u64 {
        // Taken at one time: an event that came in between would be neither searched nor be before the end.
        let (segments, oldest, end) = {
            let ring = self.access.ring.borrow();
            (ring.segments(), ring.oldest(), ring.end())
        };
        let mut search = BackwardSearch::new(lines, filter, self.access.format);
        let found = segments.iter().rev().find_map(|segment| search.find_in(segment, bound));
        let first = segments.first().map_or(end, |segment| segment.seq());
        let (seq, filter_checks) = match (found, &self.access.shared.history) {
            (None, Some(history)) if oldest < first => {
                history.find_backwards(search, first.min(bound)).await.unwrap_or((first, 0))
            }
            (found, _) => (found.unwrap_or(first), search.filter_checks),
        };
        self.access.shared.views().count_filter_checks(filter_checks);
        seq
    }
}
