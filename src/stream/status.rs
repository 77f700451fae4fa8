//! The status of a source in addition to its events: the last run of its process, and its progress. Only the newest is
//! kept, and none is numbered.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Progress, RunInfo};
use crate::segment::StatusChange;
use crate::stream::StreamCounts;

/// The present status.
#[derive(Debug, Default)]
pub(super) struct SourceStatus {
    run: Option<RunInfo>,
    progress: Option<Arc<Progress>>,
    /// The version of the progress, which grows with each change that readers must receive; 0 if the source has never
    /// reported any.
    progress_version: u64,
    /// The number of runs that began.
    runs: u64,
    take_overs: u64,
    lost_take_overs: u64,
    /// The time for which the last run had no daemon.
    orphaned: Duration,
}

impl SourceStatus {
    /// The status when a daemon starts, with the last run that its history knows of, which is not counted until it is taken over.
    pub(super) fn recovered(run: Option<RunInfo>) -> Self {
        let lasting = run.as_ref().filter(|run| run.ended.is_none());
        let progress = lasting.map(|run| Arc::new(Progress::begun(run.started)));
        Self { run, progress, ..Self::default() }
    }

    /// Applies the changes of a batch, in order.
    pub(super) fn apply(&mut self, changes: Vec<StatusChange>) {
        for change in changes {
            match change {
                // A run that was taken over is the first one of this daemon.
                StatusChange::RunContinues(_) if self.run.as_ref().is_some_and(|run| run.ended.is_none()) => {
                    self.runs = self.runs.max(1);
                }
                // The time of the take-over stands for the start of a run that no history knows.
                StatusChange::RunStarted(started) | StatusChange::RunContinues(started) => {
                    self.run = Some(RunInfo { started, ended: None });
                    self.runs += 1;
                    self.orphaned = Duration::ZERO;
                    self.progress = Some(Arc::new(Progress::begun(started)));
                    self.progress_version += u64::from(self.progress_version > 0);
                }
                StatusChange::Progress(mut progress) => {
                    // Progress belongs to the run, which began before the first report.
                    if let Some(run) = &self.run {
                        progress.started = run.started;
                    }
                    self.progress = Some(Arc::new(progress));
                    self.progress_version += 1;
                }
                StatusChange::TakenOver(Some(orphaned)) => {
                    self.take_overs += 1;
                    self.orphaned = orphaned;
                }
                StatusChange::TakenOver(None) => self.lost_take_overs += 1,
                StatusChange::RunEnded(time, end) => {
                    let well = end.code == Some(0);
                    if let Some(run) = &mut self.run {
                        run.ended = Some((time, end));
                    }
                    if let Some(progress) = self.progress.take() {
                        self.progress = Some(Arc::new(Progress::clone(&progress).into_ended(time, well)));
                        self.progress_version += u64::from(self.progress_version > 0);
                    }
                }
            }
        }
    }

    /// The counts with those that are kept here.
    pub(super) fn add_counts(&self, counts: StreamCounts) -> StreamCounts {
        let &Self { runs, take_overs, lost_take_overs, orphaned, .. } = self;
        StreamCounts { runs, take_overs, lost_take_overs, orphaned, ..counts }
    }

    /// The last run; `None` before the first.
    pub(super) fn run(&self) -> Option<&RunInfo> {
        self.run.as_ref()
    }

    /// The progress, and a number that changes when readers must receive it.
    pub(super) fn progress(&self) -> (Option<&Arc<Progress>>, u64) {
        (self.progress.as_ref(), self.progress_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EndCause, ProgressState, RunEnd, Time};

    fn end(code: i32) -> RunEnd {
        RunEnd {
            run: 1,
            code: Some(code),
            signal: None,
            duration: Some(1.0),
            peak_memory: None,
            cause: EndCause::Exited,
            killed: Vec::new(),
        }
    }

    fn half() -> StatusChange {
        StatusChange::Progress(Progress {
            percent: Some(50.0),
            state: ProgressState::Running,
            current: Some(5),
            total: Some(10),
            ..Progress::begun(Time(7))
        })
    }

    #[test]
    fn the_end_of_a_run_ends_its_progress() {
        for (code, state, percent) in [(0, ProgressState::Done, 100.0), (2, ProgressState::Error, 50.0)] {
            let mut status = SourceStatus::default();
            status.apply(vec![StatusChange::RunStarted(Time(1)), half(), StatusChange::RunEnded(Time(9), end(code))]);
            let (progress, version) = status.progress();
            let progress = progress.unwrap();
            assert_eq!((progress.state, progress.percent), (state, Some(percent)));
            assert_eq!((progress.started, progress.updated, version), (Time(1), Time(9), 2));
            assert_eq!(status.run().unwrap().ended, Some((Time(9), end(code))));
        }
    }

    #[test]
    fn take_overs_are_counted_and_the_time_without_a_daemon_is_that_of_the_last_run() {
        let mut status = SourceStatus::default();
        let seconds = |seconds| StatusChange::TakenOver(Some(Duration::from_secs(seconds)));
        let table = [
            (vec![StatusChange::RunStarted(Time(1)), seconds(3)], (1, 1, 0, 3)),
            (vec![StatusChange::RunEnded(Time(2), end(0))], (1, 1, 0, 3)),
            (vec![StatusChange::RunStarted(Time(3))], (2, 1, 0, 0)),
            (vec![StatusChange::TakenOver(None)], (2, 1, 1, 0)),
        ];
        for (changes, expected) in table {
            status.apply(changes);
            let counts = status.add_counts(StreamCounts { lines: 7, ..StreamCounts::default() });
            let found = (counts.runs, counts.take_overs, counts.lost_take_overs, counts.orphaned.as_secs());
            assert_eq!((found, counts.lines), (expected, 7));
        }
    }

    #[test]
    fn a_run_of_an_earlier_daemon_keeps_its_start_until_the_next_one() {
        let lasts = RunInfo { started: Time(1), ended: None };
        let over = RunInfo { ended: Some((Time(4), end(2))), ..lasts.clone() };
        let table = [
            (Some(lasts.clone()), vec![], Some(lasts.clone())),
            (Some(lasts.clone()), vec![StatusChange::RunContinues(Time(5))], Some(lasts.clone())),
            (Some(lasts.clone()), vec![StatusChange::RunEnded(Time(4), end(2))], Some(over.clone())),
            // Its end was never recorded.
            (Some(lasts), vec![StatusChange::RunStarted(Time(5))], Some(RunInfo { started: Time(5), ended: None })),
            (Some(over.clone()), vec![], Some(over.clone())),
            (Some(over), vec![StatusChange::RunStarted(Time(5))], Some(RunInfo { started: Time(5), ended: None })),
            (None, vec![], None),
            (None, vec![StatusChange::RunContinues(Time(5))], Some(RunInfo { started: Time(5), ended: None })),
        ];
        for (known, changes, expected) in table {
            let mut status = SourceStatus::recovered(known.clone());
            let runs =
                |change: &StatusChange| matches!(change, StatusChange::RunStarted(_) | StatusChange::RunContinues(_));
            let counted = u64::from(changes.iter().any(runs));
            status.apply(changes.clone());
            assert_eq!(status.run(), expected.as_ref(), "{known:?} {changes:?}");
            assert_eq!(status.add_counts(StreamCounts::default()).runs, counted, "{known:?} {changes:?}");
        }
    }

    #[test]
    fn no_progress_is_shown_where_there_never_was_any() {
        let mut status = SourceStatus::default();
        status.apply(vec![
            StatusChange::RunStarted(Time(1)),
            StatusChange::RunEnded(Time(9), end(0)),
            StatusChange::RunStarted(Time(10)),
        ]);
        assert_eq!(status.progress().1, 0);
        assert_eq!(status.progress().0.unwrap().state, ProgressState::Indeterminate);
        status.apply(vec![half(), StatusChange::RunContinues(Time(11))]);
        assert_eq!(status.progress().0.unwrap().percent, Some(50.0), "it is the same run");
        status.apply(vec![StatusChange::RunEnded(Time(19), end(0)), StatusChange::RunStarted(Time(20))]);
        assert_eq!(status.progress().1, 3, "what was shown of the last run no longer holds");
        assert_eq!(status.progress().0.unwrap().percent, None);
    }
}
