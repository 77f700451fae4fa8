//! The runs of one stream: a summary of each, counted from the events as they are appended, or as they are replayed.
//!
//! The tracker sees each event once, in the order of the sequence numbers. Live, it also receives the changes of the
//! status, which are not recorded: the groups of a run are known only from them. What is known of a run is recorded as a
//! `Run` record in four places: with the event of its end, with the end of each of its groups, when the daemon stops, and at
//! the start of each new file for all runs that are kept. So the newest file alone says everything about the runs, although
//! the events of most of them are in older files or were dropped.
//!
//! ```text
//!   events ──observe──▶ ┌─ current: the run in progress ─ its end ─▶ ┌─ ended: oldest first ─▶ dropped: too many, or too large
//!   Run records ─restore┘                                             └──────────▶ list, selection of a run
//! ```
//!
//! A record says up to which event it counts. Events before that are not counted again, so replaying a file counts the same
//! as appending did.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;

use crate::event::{
    EndCause, EventKind, Flags, GroupSummary, Level, MAX_GROUP_NAME_LENGTH, MAX_SUMMARY_GROUPS, ProgressGroup,
    RunCounts, RunEnd, RunSummary, Time, lock, visible_text,
};
use crate::segment::{Segment, StatusChange};

use super::Retention;

/// The divisor for the share of a stream's memory that the summaries of its runs may take.
const MEMORY_DIVISOR: usize = 16;

/// The divisor for the share of a history that the summaries may take, which are written into each of its files. A file is a
/// 32nd of the history, so they take at most a quarter of it.
const DISK_DIVISOR: u64 = 128;

/// The least and the most bytes of all summaries: about sixty small ones, and a thousand large ones.
const MIN_SUMMARIES_SIZE: usize = 16 << 10;
const MAX_SUMMARIES_SIZE: usize = 2 << 20;

/// The bounds on the runs that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunLimits {
    /// The most runs that have ended; at least 1.
    count: usize,
    /// The most bytes of all summaries, as they are recorded.
    size: usize,
}

impl RunLimits {
    /// Only the newest run is kept.
    pub(crate) const NONE: Self = Self { count: 1, size: 0 };

    /// The bounds of a stream with this much memory, and this much on disk if it has a history.
    pub(crate) fn new(memory: usize, retention: Retention) -> Self {
        let on_disk = usize::try_from(retention.bytes / DISK_DIVISOR).unwrap_or(usize::MAX);
        let size = on_disk.min(memory / MEMORY_DIVISOR).clamp(MIN_SUMMARIES_SIZE, MAX_SUMMARIES_SIZE);
        Self { count: retention.runs.max(1), size }
    }
}

/// The runs of a stream, which its appender changes and its readers list; clones are the same runs.
#[derive(Debug, Clone)]
pub(crate) struct SharedRuns(Arc<Mutex<RunTracker>>);

impl SharedRuns {
    pub(crate) fn new(tracker: RunTracker) -> Self {
        Self(Arc::new(Mutex::new(tracker)))
    }

    /// The runs, locked. The guard must not be held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, RunTracker> {
        lock(&self.0)
    }
}

/// The runs of a stream.
#[derive(Debug)]
pub(crate) struct RunTracker {
    /// The runs that have ended, oldest first, each with its size as it is recorded. No two have the same number.
    ended: VecDeque<(usize, RunSummary)>,
    /// The run in progress.
    current: Option<CurrentRun>,
    /// The sequence number up to which events are counted.
    counted: u64,
    /// The sequence number of the start of the run in progress, if the start was not seen but is known.
    unseen_start: Option<u64>,
    /// The sum of the sizes in `ended`.
    size: usize,
    limits: RunLimits,
}

/// The run in progress.
#[derive(Debug)]
struct CurrentRun {
    /// Without an end. Its groups are those that ended while an earlier daemon observed the run.
    summary: RunSummary,
    /// The groups as they were reported last.
    groups: Vec<ProgressGroup>,
    /// `true` if a group has ended since the run was last recorded.
    is_group_unrecorded: bool,
}

/// The members of a state that matter here.
#[derive(Deserialize)]
struct RunningState<'a> {
    state: &'a str,
    run: Option<u64>,
}

impl RunTracker {
    /// No runs yet, of a log that begins at the sequence number `next`.
    pub(crate) fn new(next: u64, limits: RunLimits) -> Self {
        Self { ended: VecDeque::new(), current: None, counted: next, unseen_start: None, size: 0, limits }
    }

    /// Changes the bounds; the oldest runs that are too much are dropped.
    pub(crate) fn set_limits(&mut self, limits: RunLimits) {
        self.limits = limits;
        self.trim();
    }

    /// The bytes of the summaries of all runs that have ended, as they are recorded.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The runs, newest first. The run in progress, if there is one, is the newest.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = RunSummary> {
        self.current_summary().into_iter().chain(self.ended.iter().rev().map(|(_, run)| run.clone()))
    }

    /// At most `limit` runs, newest first; with `before`, those that are older than the run with that number. Only these are
    /// copied.
    pub(crate) fn newest_before(&self, before: Option<u64>, limit: usize) -> Vec<RunSummary> {
        let lasting = self.current_summary();
        let all = || lasting.iter().chain(self.ended.iter().rev().map(|(_, run)| run));
        let at = before.and_then(|before| all().position(|run| run.run == before));
        let older = all().skip(at.map_or(0, |at| at + 1));
        let older = older.filter(|run| at.is_some() || before.is_none_or(|before| run.run < before));
        older.take(limit).cloned().collect()
    }

    /// The newest run that is `wanted`.
    pub(crate) fn find_newest(&self, wanted: impl Fn(&RunSummary) -> bool) -> Option<RunSummary> {
        let current = self.current_summary().filter(&wanted);
        current.or_else(|| self.ended.iter().rev().map(|(_, run)| run).find(|run| wanted(run)).cloned())
    }

    /// The run in progress, as far as it is counted.
    pub(crate) fn current_summary(&self) -> Option<RunSummary> {
        let current = self.current.as_ref()?;
        let ended = current.groups.iter().filter(|group| group.duration.is_some());
        let groups = summarize_groups(&current.summary.groups, ended, Time(current.summary.started));
        Some(RunSummary { end: self.counted.max(current.summary.first), groups, ..current.summary.clone() })
    }

    /// The summaries that a new file begins with, oldest first; its first event has the sequence number `next`. Later events
    /// are not recorded yet, and nor is what is known from them.
    pub(super) fn summaries_before(&self, next: u64) -> Vec<RunSummary> {
        let all = self.ended.iter().map(|(_, run)| run.clone()).chain(self.current_summary());
        let before = all.filter(|run| run.first < next).map(|run| match run {
            run if run.end <= next => run,
            // The run ended, or was counted further, after that event.
            RunSummary { run, started, first, .. } => {
                RunSummary { end: next, ..RunSummary::begun(run, started, first) }
            }
        });
        before.collect()
    }

    /// The summaries to record together with events from the sequence number `recorded` on: of runs that end with them, and of
    /// the one in progress if one of its groups has ended since it was last recorded.
    pub(super) fn take_unrecorded(&mut self, recorded: u64) -> Vec<RunSummary> {
        let ended = self.ended.iter().rev().map_while(|(_, run)| (run.end > recorded).then(|| run.clone()));
        let mut all: Vec<_> = ended.collect();
        all.reverse();
        let is_current_unrecorded =
            self.current.as_mut().is_some_and(|current| std::mem::take(&mut current.is_group_unrecorded));
        all.extend(self.current_summary().filter(|_| is_current_unrecorded));
        all
    }

    /// Counts events that were appended, with the changes of the status in the same batch.
    pub(crate) fn observe(&mut self, segments: &[Segment], changes: &[StatusChange]) {
        let mut changes = changes.iter();
        for segment in segments {
            self.add_segment(segment, &mut changes);
        }
        self.apply_until_end(&mut changes);
    }

    /// The run in progress began with the event with the sequence number `start`, which is not replayed.
    pub(super) fn begin_before(&mut self, start: u64) {
        self.unseen_start = Some(start);
    }

    /// Corrects the start of the run in progress, if it is the one that began with the event `first`.
    pub(super) fn set_start_time(&mut self, first: u64, started: Time) {
        if let Some(current) = self.current.as_mut().filter(|current| current.summary.first == first) {
            current.summary.started = started.0;
        }
    }

    /// Counts events that are replayed.
    pub(super) fn replay(&mut self, segment: &Segment) {
        self.add_segment(segment, &mut [].iter());
    }

    fn add_segment(&mut self, segment: &Segment, changes: &mut std::slice::Iter<'_, StatusChange>) {
        // The events before it that are not counted are missing, and some of them may have been lines.
        if segment.seq() > self.counted
            && let Some(current) = &mut self.current
        {
            current.summary.counts = None;
        }
        let uncounted = usize::try_from(self.counted.saturating_sub(segment.seq())).unwrap_or(usize::MAX);
        for at in uncounted..segment.len() {
            match segment.kind(at) {
                (EventKind::Line, flags) if !flags.has(Flags::CONTINUED) => {
                    if let Some(counts) = self.current.as_mut().and_then(|current| current.summary.counts.as_mut()) {
                        counts.lines += 1;
                        match segment.level(at) {
                            Some(Level::Emergency | Level::Alert | Level::Critical | Level::Error) => {
                                counts.errors += 1;
                            }
                            Some(Level::Warning) => counts.warnings += 1,
                            Some(Level::Notice | Level::Info | Level::Debug) | None => {}
                        }
                    }
                }
                (EventKind::Line | EventKind::Loss, _) => {}
                (EventKind::State, flags) => {
                    let (event, seq) = (segment.event(at), segment.seq() + at as u64);
                    let state = serde_json::from_slice::<RunningState<'_>>(event.text).ok();
                    if let Some(RunningState { state: "running", run: Some(run) }) = state {
                        self.begin(run, event.time, seq, flags.has(Flags::RUN_START));
                    }
                }
                (EventKind::End, _) => {
                    let (event, seq) = (segment.event(at), segment.seq() + at as u64);
                    self.apply_until_end(changes);
                    if let Ok(end) = serde_json::from_slice::<RunEnd>(event.text) {
                        self.end(event.time, seq, end);
                    }
                }
            }
        }
        self.counted = self.counted.max(segment.end());
    }

    /// Takes note of the changes up to the next end of a run, which has an event as well.
    fn apply_until_end(&mut self, changes: &mut std::slice::Iter<'_, StatusChange>) {
        for change in changes {
            match change {
                StatusChange::Progress(progress) => {
                    if let Some(current) = &mut self.current
                        && current.groups != progress.groups
                    {
                        let ended =
                            |groups: &[ProgressGroup]| groups.iter().filter(|group| group.duration.is_some()).count();
                        current.is_group_unrecorded |= ended(&progress.groups) > ended(&current.groups);
                        current.groups.clone_from(&progress.groups);
                    }
                }
                StatusChange::RunEnded(..) => return,
                StatusChange::RunStarted(_) | StatusChange::RunContinues(_) | StatusChange::TakenOver(_) => {}
            }
        }
    }

    /// A run begins, or, if `is_start` is false, the source reports that it continues.
    fn begin(&mut self, run: u64, time: Time, seq: u64, is_start: bool) {
        if self.current.as_ref().is_some_and(|current| current.summary.run == run) && !is_start {
            return;
        }
        let unseen_start = self.unseen_start.take().filter(|_| self.current.is_none() && !is_start);
        self.lose_current(time, seq);
        self.forget(run);
        let seq = unseen_start.unwrap_or(seq);
        // Of a run whose start was not seen, the lines before this event are not known.
        let counts = is_start.then(RunCounts::default);
        self.current = Some(CurrentRun::of(RunSummary { counts, ..RunSummary::begun(run, time.0, seq) }));
    }

    fn end(&mut self, time: Time, seq: u64, end: RunEnd) {
        let RunEnd { run, code, signal, duration, peak_memory, cause, killed: _ } = end;
        if self.current.as_ref().is_some_and(|current| current.summary.run != run) {
            self.lose_current(time, seq);
        }
        let unseen_start = self.unseen_start.take();
        let current = self.current.take().unwrap_or_else(|| {
            let taken = duration.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
            let started = taken.map_or(time, |taken| time.minus(taken));
            CurrentRun::of(RunSummary::begun(run, started.0, unseen_start.unwrap_or(seq)))
        });
        let groups = summarize_groups(&current.summary.groups, current.groups.iter(), time);
        let duration = duration.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let cause = Some(cause.name().to_owned());
        self.keep(RunSummary {
            ended: Some(time.0),
            duration,
            code,
            signal,
            cause,
            end: seq + 1,
            peak_memory,
            groups,
            ..current.summary
        });
    }

    /// Ends the run in progress before the event with the sequence number `seq`: it has no end of its own, and has none any
    /// more.
    fn lose_current(&mut self, time: Time, seq: u64) {
        let Some(current) = self.current.take() else { return };
        let groups = summarize_groups(&current.summary.groups, current.groups.iter(), time);
        let cause = Some(EndCause::Lost.name().to_owned());
        let end = seq.max(current.summary.first);
        self.keep(RunSummary { ended: Some(time.0), cause, end, groups, ..current.summary });
    }

    /// Ends the run in progress, since the source of the stream is no process any more.
    pub(super) fn end_processes(&mut self, now: Time) {
        self.lose_current(now, self.counted);
    }

    /// Takes over a summary that was recorded.
    pub(super) fn restore(&mut self, summary: RunSummary) {
        self.counted = self.counted.max(summary.end);
        if self.current.as_ref().is_some_and(|current| current.summary.run == summary.run) {
            self.current = None;
        }
        if summary.ended.is_some() {
            self.keep(summary);
        } else {
            self.lose_current(Time(summary.started), summary.first);
            self.forget(summary.run);
            self.current = Some(CurrentRun::of(summary));
        }
    }

    /// The events from the sequence number `from` on have moved by one, since another event was put before them.
    pub(crate) fn shift_from(&mut self, from: u64) {
        let shift = |run: &mut RunSummary| {
            run.first += u64::from(run.first >= from);
            run.end += u64::from(run.end > from);
        };
        self.ended.iter_mut().for_each(|(_, run)| shift(run));
        self.current.iter_mut().for_each(|current| shift(&mut current.summary));
        self.counted += u64::from(self.counted > from);
    }

    fn keep(&mut self, run: RunSummary) {
        self.forget(run.run);
        let size = serde_json::to_vec(&run).map_or(0, |json| json.len()) + super::record::RECORD_HEADER_SIZE;
        self.size += size;
        self.ended.push_back((size, run));
        self.trim();
    }

    /// Forgets the run with this number, since there is another one.
    fn forget(&mut self, number: u64) {
        if let Some(at) = self.ended.iter().rposition(|(_, run)| run.run == number)
            && let Some((size, _)) = self.ended.remove(at)
        {
            self.size -= size;
        }
    }

    fn trim(&mut self) {
        // The newest stays however large it is: it is the one that people look for.
        while self.ended.len() > self.limits.count || (self.size > self.limits.size && self.ended.len() > 1) {
            let Some((size, _)) = self.ended.pop_front() else { return };
            self.size -= size;
        }
    }
}

impl CurrentRun {
    fn of(summary: RunSummary) -> Self {
        Self { summary, groups: Vec::new(), is_group_unrecorded: false }
    }
}

/// The groups of a run, at most [`MAX_SUMMARY_GROUPS`]: those that were recorded, and those that were reported since. One that
/// has not ended lasts until `until`.
fn summarize_groups<'a>(
    recorded: &[GroupSummary],
    reported: impl Iterator<Item = &'a ProgressGroup>,
    until: Time,
) -> Vec<GroupSummary> {
    let reported = reported.map(|group| GroupSummary {
        name: group_name(&group.name),
        duration: group.duration.unwrap_or_else(|| until.seconds_since(group.started)),
        started: Some(group.started.0),
    });
    // A source that is observed again after a crash may report groups again that are recorded.
    let is_recorded =
        |group: &GroupSummary| recorded.iter().any(|known| known.name == group.name && known.started == group.started);
    let reported = reported.filter(|group| !is_recorded(group));
    let mut groups: Vec<_> = recorded.iter().cloned().chain(reported).collect();
    groups.drain(..groups.len().saturating_sub(MAX_SUMMARY_GROUPS));
    groups
}

/// The first characters of a title, without escape sequences.
fn group_name(title: &str) -> String {
    let visible = visible_text(title.as_bytes());
    String::from_utf8_lossy(&visible).chars().take(MAX_GROUP_NAME_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Loss, Origin, Position, Progress, SourceState};
    use crate::segment::Batch;

    const START: Position = Position { epoch: Epoch::persistent(7), number: 1 };

    /// What happens in a stream, at a second that counts up.
    #[derive(Debug, Clone)]
    enum RunChange {
        Begin(u64),
        /// The source says again that this run lasts.
        Again(u64),
        Line(&'static str),
        /// A line in this many pieces.
        Pieces(usize),
        /// Groups of the run with their durations, all of which began at the start.
        Groups(Vec<(String, Option<f64>)>),
        Loss,
        End(u64, EndCause),
        /// Everything so far is recorded, and the daemon is killed: what is recorded is replayed.
        Kill,
        /// The same, with a new file before it, so that only that one is replayed.
        NewFile,
    }

    fn limits(count: usize) -> RunLimits {
        RunLimits { count, size: 1 << 20 }
    }

    /// A stream and what is recorded of it in its newest file.
    struct TrackedStream {
        tracker: RunTracker,
        head: Vec<RunSummary>,
        file: Vec<(Segment, Vec<RunSummary>)>,
        next: u64,
        time: i64,
    }

    impl TrackedStream {
        fn new(count: usize) -> Self {
            let tracker = RunTracker::new(0, limits(count));
            Self { tracker, head: Vec::new(), file: Vec::new(), next: 0, time: 0 }
        }

        fn append(&mut self, mut batch: Batch) {
            let segments = batch.take_segments(START, self.next);
            let recorded = self.next;
            self.next = segments.last().map_or(self.next, Segment::end);
            self.tracker.observe(&segments, &batch.status_changes);
            if segments.is_empty() {
                return;
            }
            let mut runs = self.tracker.take_unrecorded(recorded);
            for segment in segments {
                self.file.push((segment, Vec::new()));
            }
            self.file.last_mut().unwrap().1.append(&mut runs);
        }

        fn replay(&mut self) {
            let mut tracker = RunTracker::new(0, limits(self.tracker.limits.count));
            self.head.iter().cloned().for_each(|run| tracker.restore(run));
            for (segment, runs) in &self.file {
                tracker.replay(segment);
                runs.iter().cloned().for_each(|run| tracker.restore(run));
            }
            self.tracker = tracker;
        }

        fn step(&mut self, step: &RunChange) {
            self.time += 1;
            let time = Time(self.time * 1_000_000);
            let mut batch = Batch::new();
            let running = |run, note| SourceState::Running { run, pid: Some(7), note };
            match step {
                RunChange::Begin(run) => batch.state(time, running(*run, None)),
                RunChange::Again(run) => batch.state(time, running(*run, Some("taken over".to_owned()))),
                RunChange::Line(text) => batch.line(time, &Origin::stdout(), Flags::NONE, text.as_bytes()),
                RunChange::Pieces(count) => {
                    for piece in 1..=*count {
                        let flags = if piece < *count { Flags::CONTINUED } else { Flags::NONE };
                        batch.line(time, &Origin::stdout(), flags.with(Flags::from_level(Level::Error)), b"error: x");
                    }
                }
                RunChange::Groups(groups) => {
                    let started = self.tracker.current_summary().map_or(time, |run| Time(run.started));
                    let groups = groups.iter().map(|(name, duration)| ProgressGroup {
                        name: name.clone(),
                        depth: 0,
                        started,
                        duration: *duration,
                    });
                    batch.progress(Progress { groups: groups.collect(), ..Progress::begun(started) });
                    // Progress is published with the lines that brought it.
                    batch.line(time, &Origin::stdout(), Flags::NONE, b"::group::");
                }
                RunChange::Loss => batch.loss(time, &Loss { missed: None, bytes: None, reason: "x".to_owned() }),
                RunChange::End(run, cause) => batch.end(time, &run_end(*run, *cause)),
                RunChange::Kill => return self.replay(),
                RunChange::NewFile => {
                    self.head = self.tracker.summaries_before(self.next);
                    self.file.clear();
                    return self.replay();
                }
            }
            self.append(batch);
        }

        /// The runs, oldest first, in short: `NUMBER lines/errors/warnings first..end how`.
        fn listed(&self) -> Vec<String> {
            let mut all: Vec<_> = self.tracker.newest_first().map(|run| in_short(&run)).collect();
            all.reverse();
            all
        }
    }

    fn run_end(run: u64, cause: EndCause) -> RunEnd {
        let (code, signal) = match cause {
            EndCause::Exited => (Some(0), None),
            EndCause::Stopped => (Some(143), None),
            EndCause::Signalled => (None, Some("SEGV".to_owned())),
            EndCause::DaemonStopped | EndCause::DaemonKilled | EndCause::Lost => (None, None),
        };
        RunEnd { run, code, signal, duration: Some(1.5), peak_memory: Some(9), cause, killed: Vec::new() }
    }

    fn in_short(run: &RunSummary) -> String {
        let counts = run.counts.map_or("-".to_owned(), |of| format!("{}/{}/{}", of.lines, of.errors, of.warnings));
        let how = [run.cause.clone(), run.code.map(|code| code.to_string()), run.signal.clone()];
        let how = how.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let how = if run.ended.is_some() { how } else { "lasts".to_owned() };
        let groups: Vec<_> = run.groups.iter().map(|group| format!(" {}={}", group.name, group.duration)).collect();
        format!("{} {counts} {}..{} {how}{}", run.run, run.first, run.end, groups.concat())
    }

    fn groups(names: &[(&str, Option<f64>)]) -> RunChange {
        RunChange::Groups(names.iter().map(|(name, duration)| ((*name).to_owned(), *duration)).collect())
    }

    #[test]
    fn runs_are_counted_from_start_to_end() {
        use EndCause::{DaemonKilled, DaemonStopped, Exited, Lost, Signalled, Stopped};
        use RunChange::{Again, Begin, End, Kill, Line, NewFile, Pieces};
        let table: Vec<RunRow> = vec![
            ("no run", vec![Line("a"), RunChange::Loss], &[]),
            ("a run that lasts", vec![Line("a"), Begin(1), Line("b")], &["1 1/0/0 1..3 lasts"]),
            ("a run without a line", vec![Begin(1), End(1, Exited)], &["1 0/0/0 0..2 exited 0"]),
            (
                "levels",
                vec![
                    Begin(1),
                    Line("[ERROR] a"),
                    Line("[WARN] b"),
                    Line("[FATAL] c"),
                    Line("[INFO] d"),
                    Line("an error"),
                    End(1, Exited),
                ],
                &["1 5/2/1 0..7 exited 0"],
            ),
            ("a long line is one", vec![Begin(1), Pieces(3), End(1, Exited)], &["1 1/1/0 0..5 exited 0"]),
            (
                "what is between runs",
                vec![Begin(1), End(1, Exited), Line("a"), Begin(2)],
                &["1 0/0/0 0..2 exited 0", "2 0/0/0 3..4 lasts"],
            ),
            ("a signal", vec![Begin(1), End(1, Signalled)], &["1 0/0/0 0..2 signalled SEGV"]),
            ("a stop", vec![Begin(1), Line("a"), End(1, Stopped)], &["1 1/0/0 0..3 stopped 143"]),
            ("the end of the daemon", vec![Begin(1), End(1, DaemonStopped)], &["1 0/0/0 0..2 daemon-stopped"]),
            ("a lost leader", vec![Begin(1), End(1, Lost)], &["1 0/0/0 0..2 lost"]),
            (
                "killed with the daemon",
                vec![Begin(1), Line("a"), Kill, RunChange::Loss, End(1, DaemonKilled), Begin(2), Line("b")],
                &["1 1/0/0 0..4 daemon-killed", "2 1/0/0 4..6 lasts"],
            ),
            (
                "taken over",
                vec![Begin(1), Line("a"), Kill, Again(1), Line("b"), End(1, Exited)],
                &["1 2/0/0 0..5 exited 0"],
            ),
            (
                "taken over, with new files before and after",
                vec![Begin(1), Line("a"), NewFile, Again(1), Line("b"), NewFile, Line("c"), End(1, Exited)],
                &["1 3/0/0 0..6 exited 0"],
            ),
            (
                "an end that nobody wrote",
                vec![Begin(1), Line("a"), Begin(2), End(2, Exited)],
                &["1 1/0/0 0..2 lost", "2 0/0/0 2..4 exited 0"],
            ),
            ("a start that nobody saw", vec![Line("a"), Again(4), Line("b"), End(4, Exited)], &["4 - 1..4 exited 0"]),
            ("only an end", vec![Line("a"), End(4, Exited)], &["4 - 1..2 exited 0"]),
            (
                "numbers that begin again",
                vec![Begin(1), End(1, Exited), Begin(2), End(2, Exited), Begin(1), Line("a")],
                &["2 0/0/0 2..4 exited 0", "1 1/0/0 4..6 lasts"],
            ),
        ];
        check(table);
    }

    #[test]
    fn a_run_of_which_events_are_missing_has_no_counts() {
        for (missing, expected) in [(0, "1 2/0/0 0..3 lasts"), (1, "1 - 0..4 lasts"), (9, "1 - 0..12 lasts")] {
            let mut stream = TrackedStream::new(100);
            stream.step(&RunChange::Begin(1));
            stream.step(&RunChange::Line("a"));
            stream.next += missing;
            stream.step(&RunChange::Line("b"));
            assert_eq!(stream.listed(), [expected]);
        }
    }

    #[test]
    fn a_run_whose_start_is_in_an_older_file_begins_there() {
        use EndCause::Exited;
        use RunChange::{Again, Begin, End, Line};
        let table: [(Vec<RunChange>, &[&str]); 5] = [
            (vec![Line("a"), End(4, Exited)], &["4 - 3..12 exited 0"]),
            (vec![Again(4), Line("a")], &["4 - 3..12 lasts"]),
            (vec![Again(4), End(4, Exited)], &["4 - 3..12 exited 0"]),
            (vec![Begin(5), End(5, Exited)], &["5 0/0/0 10..12 exited 0"]),
            (vec![End(4, Exited), End(5, Exited)], &["4 - 3..11 exited 0", "5 - 11..12 exited 0"]),
        ];
        for (steps, expected) in table {
            let mut stream = TrackedStream::new(100);
            (stream.next, stream.tracker) = (10, RunTracker::new(10, limits(100)));
            stream.tracker.begin_before(3);
            for step in &steps {
                stream.step(step);
            }
            assert_eq!(stream.listed(), expected, "{steps:?}");
            stream.tracker.set_start_time(3, Time(7));
            let newest = stream.tracker.newest_first().next().unwrap();
            assert_eq!(newest.started == 7, expected == ["4 - 3..12 lasts"], "{steps:?}");
        }
    }

    #[test]
    fn groups_are_known_as_far_as_a_daemon_has_seen_their_end() {
        use EndCause::Exited;
        use RunChange::{Again, Begin, End, Kill, NewFile};
        check(vec![
            (
                "groups, one of which the end of the run ends",
                vec![Begin(1), groups(&[("a", Some(1.0)), ("b", None)]), End(1, Exited)],
                &["1 1/0/0 0..3 exited 0 a=1 b=2"],
            ),
            (
                "groups of two runs",
                vec![
                    Begin(1),
                    groups(&[("a", Some(1.0))]),
                    End(1, Exited),
                    Begin(2),
                    groups(&[("b", Some(2.0))]),
                    End(2, Exited),
                ],
                &["1 1/0/0 0..3 exited 0 a=1", "2 1/0/0 3..6 exited 0 b=2"],
            ),
            (
                "a group that is reported again after a restart",
                vec![
                    Begin(1),
                    groups(&[("a", Some(1.0))]),
                    Kill,
                    Again(1),
                    groups(&[("a", Some(1.0)), ("b", Some(2.0))]),
                    End(1, Exited),
                ],
                &["1 2/0/0 0..5 exited 0 a=1 b=2"],
            ),
            (
                "groups that ended before a restart, and after it",
                vec![
                    Begin(1),
                    groups(&[("a", Some(1.0)), ("b", None)]),
                    Kill,
                    Again(1),
                    groups(&[("c", Some(3.0))]),
                    NewFile,
                    groups(&[("d", Some(4.0))]),
                    End(1, Exited),
                ],
                &["1 3/0/0 0..6 exited 0 a=1 c=3 d=4"],
            ),
        ]);
    }

    /// What happens in a stream, and the runs that are known then.
    type RunRow = (&'static str, Vec<RunChange>, &'static [&'static str]);

    fn check(table: Vec<RunRow>) {
        use RunChange::{Kill, NewFile};
        for (what, steps, expected) in table {
            // Whenever the daemon is killed or a new file begins, the same is known.
            for interruption in [None, Some(Kill), Some(NewFile)] {
                let mut stream = TrackedStream::new(100);
                for step in &steps {
                    stream.step(step);
                    if let Some(interruption) = &interruption {
                        // Groups that last are those of a program that this daemon observes.
                        if !matches!(step, RunChange::Groups(_)) {
                            let time = stream.time;
                            stream.step(interruption);
                            stream.time = time;
                        }
                    }
                }
                assert_eq!(stream.listed(), expected, "{what}, {interruption:?}");
                for run in stream.tracker.newest_first() {
                    assert!(run.is_valid(1 << 40), "{what}: {run:?}");
                }
                let sum: usize = stream.tracker.ended.iter().map(|(size, _)| size).sum();
                assert_eq!(stream.tracker.size(), sum, "{what}");
            }
        }
    }

    #[test]
    fn a_run_has_at_most_so_many_groups_with_short_visible_names() {
        let many: Vec<_> = (0..200).map(|at| (format!("group {at}"), Some(1.0))).collect();
        let long = format!("\x1b[1m{}\x1b[0m", "ü".repeat(300));
        let table = [(many, 64, "group 136".to_owned()), (vec![(long, None)], 1, "ü".repeat(80))];
        for (reported, count, first) in table {
            let mut stream = TrackedStream::new(100);
            for step in [RunChange::Begin(1), RunChange::Groups(reported), RunChange::End(1, EndCause::Exited)] {
                stream.step(&step);
            }
            let run = stream.tracker.newest_first().next().unwrap();
            assert_eq!((run.groups.len(), &run.groups[0].name), (count, &first));
            assert!(run.is_valid(1 << 40));
        }
    }

    #[test]
    fn the_oldest_runs_are_forgotten_first() {
        let mut stream = TrackedStream::new(3);
        for run in 1..=9 {
            stream.step(&RunChange::Begin(run));
            stream.step(&RunChange::End(run, EndCause::Exited));
        }
        stream.step(&RunChange::Begin(10));
        let numbers = |stream: &TrackedStream| stream.tracker.newest_first().map(|run| run.run).collect::<Vec<_>>();
        assert_eq!(numbers(&stream), [10, 9, 8, 7], "and the one that lasts");
        stream.step(&RunChange::NewFile);
        assert_eq!(numbers(&stream), [10, 9, 8, 7]);
        let size = stream.tracker.size();
        stream.tracker.set_limits(RunLimits { count: 100, size: size - 1 });
        assert_eq!(numbers(&stream), [10, 9, 8]);
        stream.tracker.set_limits(RunLimits { count: 100, size: 0 });
        assert_eq!(numbers(&stream), [10, 9], "the newest stays, however large it is");
        stream.tracker.end_processes(Time(5));
        assert_eq!(in_short(&stream.tracker.newest_first().next().unwrap()), "10 0/0/0 18..19 lost");
    }

    #[test]
    fn a_part_of_the_runs_is_the_newest_ones_before_a_number() {
        let mut stream = TrackedStream::new(3);
        for run in 1..=5 {
            stream.step(&RunChange::Begin(run));
            stream.step(&RunChange::End(run, EndCause::Exited));
        }
        stream.step(&RunChange::Begin(6));
        let table: [(Option<u64>, usize, &[u64]); 8] = [
            (None, 2, &[6, 5]),
            (None, usize::MAX, &[6, 5, 4, 3]),
            (Some(6), 2, &[5, 4]),
            (Some(4), 2, &[3]),
            (Some(3), 2, &[]),
            (Some(9), 1, &[6]),
            (Some(2), 9, &[]),
            (Some(5), 0, &[]),
        ];
        for (before, limit, expected) in table {
            let numbers: Vec<_> = stream.tracker.newest_before(before, limit).iter().map(|run| run.run).collect();
            assert_eq!(numbers, expected, "{before:?} {limit}");
        }
    }

    #[test]
    fn the_share_of_a_stream_bounds_its_runs() {
        let with = |bytes, runs| Retention { bytes, age: std::time::Duration::MAX, runs };
        let table = [
            (8 << 20, with(256 << 20, 1000), (1000, 512 << 10)),
            (1 << 30, with(256 << 20, 1000), (1000, 2 << 20)),
            (1 << 20, with(256 << 20, 0), (1, 64 << 10)),
            (1 << 30, with(4 << 20, 7), (7, 32 << 10)),
            (1 << 30, with(u64::MAX, 7), (7, 2 << 20)),
            (0, with(0, 7), (7, 16 << 10)),
        ];
        for (memory, retention, (count, size)) in table {
            assert_eq!(RunLimits::new(memory, retention), RunLimits { count, size }, "{memory} {retention:?}");
        }
    }

    #[test]
    fn an_event_that_is_put_before_others_moves_them() {
        let mut stream = TrackedStream::new(100);
        for step in [
            RunChange::Begin(1),
            RunChange::End(1, EndCause::Exited),
            RunChange::Line("a"),
            RunChange::Begin(2),
            RunChange::Line("b"),
        ] {
            stream.step(&step);
        }
        // The events from 3 on are those that could not be recorded.
        stream.tracker.shift_from(3);
        assert_eq!(stream.listed(), ["1 0/0/0 0..2 exited 0", "2 1/0/0 4..6 lasts"]);
        stream.tracker.shift_from(5);
        assert_eq!(stream.listed()[1], "2 1/0/0 4..7 lasts");
        stream.next = 7;
        stream.step(&RunChange::End(2, EndCause::Exited));
        assert_eq!(stream.listed()[1], "2 1/0/0 4..8 exited 0");
        // What a file begins with that has the events before 6, and none of those after it.
        let head: Vec<_> = stream.tracker.summaries_before(6).iter().map(in_short).collect();
        assert_eq!(head, ["1 0/0/0 0..2 exited 0", "2 - 4..6 lasts"]);
    }
}
