//! From the bytes that a source read to a batch: its lines, and which unfinished line is shown. Does no IO.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Stream};
use crate::event::{Flags, OpenLine, Origin, Time};
use crate::line::{CarriageReturn, Line, Lines};
use crate::stream::Batch;

use super::Now;

/// An unfinished line is shown after this time: most are finished sooner, and then it would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// And shown again not sooner than this after the last time: ten a second are as many as an eye can use.
const BETWEEN: Duration = Duration::from_millis(100);

/// What all of a source's bytes go through. A lane is one origin, with its half line.
///
/// Of all lanes one unfinished line is shown, the one that was due last.
#[derive(Debug)]
pub(super) struct Feed {
    lanes: Vec<Lane>,
    /// Whose unfinished line is shown.
    shown: Option<usize>,
    /// When one was shown last.
    shown_at: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    origin: Origin,
    lines: Lines,
    /// When its last byte was read.
    read: Time,
    /// When its unfinished line is to be shown.
    due: Option<Instant>,
}

impl Feed {
    /// A feed for a stream, with a lane for each of `origins`.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturn::Fold,
            config::CarriageReturn::Split => CarriageReturn::Split,
            config::CarriageReturn::Keep => CarriageReturn::Keep,
        };
        let lane = |origin| Lane { origin, lines: Lines::new(spec.max_line, mode), read: Time::default(), due: None };
        let lanes = origins.into_iter().map(lane).collect();
        Self { lanes, shown: None, shown_at: None }
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, lane: usize, chunk: &[u8], now: Now, batch: &mut Batch) {
        let Lane { origin, lines, read, .. } = &mut self.lanes[lane];
        let before = batch.len();
        lines.push(chunk, |line| batch.line(now.time, origin, flags(line), line.text));
        *read = now.time;
        self.settle(lane, batch.len() > before, now.instant, batch);
    }

    /// Adds the half line, since nothing more can come: a new line begins.
    pub(super) fn finish(&mut self, lane: usize, now: Now, batch: &mut Batch) {
        let Lane { origin, lines, .. } = &mut self.lanes[lane];
        lines.finish(|line| batch.line(now.time, origin, flags(line), line.text));
        self.settle(lane, true, now.instant, batch);
    }

    /// Whether a line was begun and not finished.
    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.lanes[lane].lines.held() > 0
    }

    /// What there is of the line that was begun.
    pub(super) fn half(&self, lane: usize) -> &[u8] {
        self.lanes[lane].lines.open()
    }

    /// When to call [`show`](Self::show).
    pub(super) fn due(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.due).min()
    }

    /// Adds the unfinished line that is to be shown now.
    pub(super) fn show(&mut self, now: Instant, batch: &mut Batch) {
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.due.is_some_and(|due| due <= now) {
                let text = lane.lines.open().to_vec();
                batch.open(Some(OpenLine { time: lane.read, origin: lane.origin.clone(), text }));
                lane.due = None;
                (self.shown, self.shown_at) = (Some(at), Some(now));
            }
        }
    }

    /// Takes back what is shown if that line has `ended`, and sees to it that what came since is shown in time.
    fn settle(&mut self, at: usize, ended: bool, now: Instant, batch: &mut Batch) {
        let lane = &mut self.lanes[at];
        if ended {
            lane.due = None;
            if self.shown == Some(at) {
                self.shown = None;
                batch.open(None);
            }
        }
        if lane.lines.open().is_empty() {
            lane.due = None;
        } else if lane.due.is_none() {
            let soonest = if self.shown == Some(at) { now } else { now + PATIENCE };
            lane.due = Some(self.shown_at.map_or(soonest, |shown| soonest.max(shown + BETWEEN)));
        }
    }
}

fn flags(line: Line<'_>) -> Flags {
    let continued = if line.continued { Flags::CONTINUED } else { Flags::NONE };
    if line.partial { continued.with(Flags::PARTIAL) } else { continued }
}
