//! Passes the lines of a source to the progress recognisers, and adds their results to the batch.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream};
use crate::event::{Flags, Time};
use crate::line::after_carriage_return;
use crate::progress::Tracker;
use crate::stream::Batch;

use super::ClockReading;

/// The progress of one source, if it is enabled.
#[derive(Debug)]
pub(super) struct SourceProgress {
    tracker: Option<Tracker>,
    due: Option<Instant>,
    /// The time of the last call, by both clocks.
    last: Option<ClockReading>,
}

impl SourceProgress {
    pub(super) fn new(spec: &Stream) -> Self {
        let full_is_done = match &spec.source {
            SourceKind::File(_) | SourceKind::Journal(_) | SourceKind::Push => true,
            SourceKind::Process(_) => false,
        };
        let tracker = match &spec.progress {
            config::ProgressDetection::Off => None,
            config::ProgressDetection::On(patterns) => {
                Some(Tracker::new(patterns.iter().map(|pattern| pattern.regex().clone()).collect(), full_is_done))
            }
        };
        Self { tracker, due: None, last: None }
    }

    /// Detects nothing.
    pub(super) fn off() -> Self {
        Self { tracker: None, due: None, last: None }
    }

    /// Examines a finished line of an origin. A piece of a line that is longer than any progress bar is ignored.
    pub(super) fn line(&mut self, origin: usize, text: &[u8], flags: Flags, time: Time) {
        if let Some(tracker) = &mut self.tracker
            && !flags.has(Flags::CONTINUED)
        {
            tracker.line(origin, after_carriage_return(text), time);
        }
    }

    /// Examines the rows that a program can still change, and adds the reports that are due to `batch`.
    pub(crate) fn open(
        &mut self,
        origin: usize,
        rows: impl FnOnce() -> Vec<Vec<u8>>,
        now: ClockReading,
        batch: &mut Batch,
    ) {
        if let Some(tracker) = &mut self.tracker {
            tracker.open(origin, &rows(), now.time);
            self.append_update(now, batch);
        }
    }

    /// Applies progress that a program reported to its terminal.
    pub(super) fn reported(&mut self, sequence: &[u8], now: ClockReading, batch: &mut Batch) {
        if let Some(tracker) = &mut self.tracker {
            tracker.reported(sequence, now.time);
            self.append_update(now, batch);
        }
    }

    /// The time at which to call [`run_due`](Self::run_due).
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Adds the reports that are due even though nothing was read; `examined` says that a line was examined since the
    /// last call.
    pub(super) fn run_due(&mut self, now: Instant, examined: bool, batch: &mut Batch) {
        if let Some(last) = self.last
            && (examined || self.due.is_some_and(|due| due <= now))
        {
            let time = last.time.plus(now.saturating_duration_since(last.instant));
            self.append_update(ClockReading { instant: now, time }, batch);
        }
    }

    fn append_update(&mut self, now: ClockReading, batch: &mut Batch) {
        let Some(tracker) = &mut self.tracker else { return };
        if let Some(progress) = tracker.take_update(now.time) {
            batch.progress(progress);
        }
        let wait = |due: Time| Duration::try_from_secs_f64(due.seconds_since(now.time)).unwrap_or_default();
        self.due = tracker.due().and_then(|due| now.instant.checked_add(wait(due)));
        self.last = Some(now);
    }
}
