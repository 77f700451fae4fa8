//! From the bytes that a source read to a batch: its lines, and which unfinished line is shown. Does no IO.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream};
use crate::event::{Flags, OpenLine, Origin, Time};
use crate::line::{CarriageReturn, Line, Lines, Screen};
use crate::stream::Batch;

use super::Now;
use super::progress::Watch;

/// An unfinished line is shown after this time: most are finished sooner, and then it would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// And shown again not sooner than this after the last time: ten a second are as many as an eye can use.
const BETWEEN: Duration = Duration::from_millis(100);

/// A block of lines that a program draws again and again is taken as final when nothing was drawn for so long: most draw
/// several times a second.
const CALM: Duration = Duration::from_secs(1);

/// What all of a source's bytes go through. A lane is one origin, with its half line.
///
/// Of all lanes one unfinished line is shown, the one that was due last.
#[derive(Debug)]
pub(super) struct Feed {
    lanes: Vec<Lane>,
    progress: Watch,
    /// Whose unfinished line is shown.
    shown: Option<usize>,
    /// When one was shown last.
    shown_at: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    origin: Origin,
    lines: Screen,
    /// When its last byte was read.
    read: Time,
    /// When its unfinished line is to be shown.
    due: Option<Instant>,
    /// When the block that it draws is taken as final.
    calm: Option<Instant>,
}

impl Feed {
    /// A feed for a stream, with a lane for each of `origins`.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturn::Fold,
            config::CarriageReturn::Split => CarriageReturn::Split,
            config::CarriageReturn::Keep => CarriageReturn::Keep,
        };
        let draws = mode == CarriageReturn::Fold && matches!(spec.source, SourceKind::Process(_));
        let screen = || Screen::new(Lines::new(spec.max_line, mode), draws);
        let lane = |origin| Lane { origin, lines: screen(), read: Time::default(), due: None, calm: None };
        let lanes = origins.into_iter().map(lane).collect();
        Self { lanes, progress: Watch::new(spec), shown: None, shown_at: None }
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, lane: usize, chunk: &[u8], now: Now, batch: &mut Batch) {
        let (Lane { origin, lines, read, calm, .. }, progress) = (&mut self.lanes[lane], &mut self.progress);
        let before = batch.len();
        lines.push(chunk, |line| {
            progress.line(lane, line.text, flags(line), now.time);
            batch.line(now.time, origin, flags(line), line.text);
        });
        progress.open(lane, lines.open(), now, batch);
        *read = now.time;
        *calm = lines.is_drawing().then(|| now.instant + CALM);
        self.settle(lane, batch.len() > before, now.instant, batch);
    }

    /// Adds the half line, since nothing more can come: a new line begins.
    pub(super) fn finish(&mut self, lane: usize, now: Now, batch: &mut Batch) {
        let (Lane { origin, lines, .. }, progress) = (&mut self.lanes[lane], &mut self.progress);
        lines.finish(|line| {
            progress.line(lane, line.text, flags(line), now.time);
            batch.line(now.time, origin, flags(line), line.text);
        });
        progress.open(lane, &[], now, batch);
        self.settle(lane, true, now.instant, batch);
    }

    /// Whether a line was begun and not finished.
    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.lanes[lane].lines.held() > 0
    }

    /// When to call [`show`](Self::show).
    pub(super) fn due(&self) -> Option<Instant> {
        let lanes = self.lanes.iter().flat_map(|lane| [lane.due, lane.calm]);
        lanes.flatten().chain(self.progress.due()).min()
    }

    /// Adds the unfinished line and the progress that are to be shown now.
    pub(super) fn show(&mut self, now: Instant, batch: &mut Batch) {
        self.progress.show(now, batch);
        self.calm_down(now, batch);
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if lane.due.is_some_and(|due| due <= now) {
                let text = lane.lines.open().to_vec();
                batch.open(Some(OpenLine { time: lane.read, origin: lane.origin.clone(), text }));
                lane.due = None;
                (self.shown, self.shown_at) = (Some(at), Some(now));
            }
        }
    }

    /// Adds the blocks in which nothing is drawn any more.
    fn calm_down(&mut self, now: Instant, batch: &mut Batch) {
        for at in 0..self.lanes.len() {
            let Lane { origin, lines, read, calm, .. } = &mut self.lanes[at];
            if calm.is_some_and(|calm| calm <= now) {
                *calm = None;
                let before = batch.len();
                lines.settle(|line| batch.line(*read, origin, flags(line), line.text));
                self.settle(at, batch.len() > before, now, batch);
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
