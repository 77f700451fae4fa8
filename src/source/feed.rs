//! From the bytes that a source read to a batch: its lines, and which unfinished line is shown. Does no IO.

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Stream};
use crate::event::{Flags, OpenLine, Origin, Time};
use crate::line::{CarriageReturn, Decoder, Line, Lines, Multiline, Rule};
use crate::stream::Batch;

use super::Now;

/// An unfinished line is shown after this time: most are finished sooner, and then it would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// And shown again not sooner than this after the last time: ten a second are as many as an eye can use.
const BETWEEN: Duration = Duration::from_millis(100);

/// What stands in front of some files in UTF-8; UTF-16 has it too, and it was decoded.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What all of a source's bytes go through. A lane is one origin, with its half line.
///
/// Of all lanes one unfinished line is shown, the one that was due last.
#[derive(Debug)]
pub(super) struct Feed {
    spec: Stream,
    lanes: Vec<Option<Lane>>,
    /// When lanes want to be seen to.
    waits: BTreeSet<(Instant, usize)>,
    /// Whose unfinished line is shown.
    shown: Option<usize>,
    /// When one was shown last.
    shown_at: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    origin: Origin,
    decoder: Decoder,
    lines: Lines,
    max: usize,
    /// Lines that belong together, and how long the next is waited for.
    joined: Option<(Multiline, Duration)>,
    /// The next line is the first of its file.
    first: bool,
    /// When its last byte was read.
    read: Time,
    /// When its unfinished line is to be shown.
    due: Option<Instant>,
    /// When no more lines that belong together are waited for.
    over: Option<Instant>,
}

impl Feed {
    /// A feed for a stream, with a lane for each of `origins`.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mut feed =
            Self { spec: spec.clone(), lanes: Vec::new(), waits: BTreeSet::new(), shown: None, shown_at: None };
        for origin in origins {
            let at = feed.lanes.len();
            feed.add(at, origin);
        }
        feed
    }

    /// Adds a lane as number `at`.
    pub(super) fn add(&mut self, at: usize, origin: Origin) {
        if self.lanes.len() <= at {
            self.lanes.resize_with(at + 1, || None);
        }
        self.lanes[at] = Some(Lane::new(&self.spec, origin));
    }

    /// Removes a lane, which has nothing unfinished.
    pub(super) fn remove(&mut self, at: usize) {
        if let Some(lane) = self.lanes[at].take() {
            if let Some(next) = lane.next() {
                self.waits.remove(&(next, at));
            }
            if self.shown == Some(at) {
                self.shown = None;
            }
        }
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, lane: usize, chunk: &[u8], now: Now, batch: &mut Batch) {
        self.with(lane, now, batch, |lane, batch| {
            lane.push(chunk, now, batch);
            false
        });
    }

    /// Adds the half line, since nothing more can come: a new line begins, which may be the first of another file.
    pub(super) fn finish(&mut self, lane: usize, now: Now, batch: &mut Batch) {
        self.with(lane, now, batch, |lane, batch| {
            lane.finish(now, batch);
            true
        });
    }

    /// How many bytes of the source came in since the last one that was given out.
    pub(super) fn held(&self, lane: usize) -> u64 {
        self.lanes[lane].as_ref().map_or(0, Lane::held)
    }

    /// Whether the next byte begins a line.
    pub(super) fn at_line_start(&self, lane: usize) -> bool {
        self.lanes[lane].as_ref().is_none_or(|lane| lane.decoder.held() + lane.lines.held() == 0)
    }

    /// Whether a line was begun and not finished.
    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.held(lane) > 0
    }

    /// What there is of the line that was begun.
    pub(super) fn half(&self, lane: usize) -> &[u8] {
        self.lanes[lane].as_ref().map_or(&[], |lane| lane.lines.open())
    }

    /// When to call [`show`](Self::show).
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.first().map(|(due, _)| *due)
    }

    /// Adds the unfinished line that is to be shown now, and lines whose followers were waited for long enough; gives
    /// back the lanes of these.
    pub(super) fn show(&mut self, now: Instant, batch: &mut Batch) -> Vec<usize> {
        let mut gave = Vec::new();
        while let Some(&(due, at)) = self.waits.first().filter(|(due, _)| *due <= now) {
            self.waits.remove(&(due, at));
            let Some(lane) = &mut self.lanes[at] else { continue };
            if lane.over.is_some_and(|over| over <= now) {
                lane.over = None;
                lane.flush(batch);
                gave.push(at);
                if self.shown == Some(at) {
                    self.shown = None;
                    batch.open(None);
                }
            }
            if lane.due.is_some_and(|due| due <= now) {
                lane.due = None;
                let text = lane.open();
                if !text.is_empty() {
                    batch.open(Some(OpenLine { time: lane.read, origin: lane.origin.clone(), text }));
                    (self.shown, self.shown_at) = (Some(at), Some(now));
                }
            }
            self.waits.extend(lane.next().map(|next| (next, at)));
        }
        gave
    }

    /// Does `work`, which says whether the line has ended. Takes back what is shown if it has, or lines were given out, and
    /// sees to it that what came since is shown in time.
    fn with(&mut self, at: usize, now: Now, batch: &mut Batch, work: impl FnOnce(&mut Lane, &mut Batch) -> bool) {
        let Some(lane) = &mut self.lanes[at] else { return };
        let before = (batch.len(), lane.next());
        let ended = work(lane, batch) || batch.len() > before.0;
        if ended {
            lane.due = None;
            if self.shown == Some(at) {
                self.shown = None;
                batch.open(None);
            }
        }
        if lane.is_empty() {
            lane.due = None;
        } else if lane.due.is_none() {
            let soonest = if self.shown == Some(at) { now.instant } else { now.instant + PATIENCE };
            lane.due = Some(self.shown_at.map_or(soonest, |shown| soonest.max(shown + BETWEEN)));
        }
        if lane.next() != before.1 {
            if let Some(next) = before.1 {
                self.waits.remove(&(next, at));
            }
            self.waits.extend(lane.next().map(|next| (next, at)));
        }
    }
}

impl Lane {
    fn new(spec: &Stream, origin: Origin) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturn::Fold,
            config::CarriageReturn::Split => CarriageReturn::Split,
            config::CarriageReturn::Keep => CarriageReturn::Keep,
        };
        let decoder = Decoder::new(spec.encoding.0);
        let joined = spec.multiline.as_ref().map(|multiline| {
            let expression = multiline.expression.0.clone();
            let rule = if multiline.begins { Rule::Start(expression) } else { Rule::Continue(expression) };
            (Multiline::new(rule, spec.max_line), multiline.timeout)
        });
        // Two lines that are joined have a newline between them.
        let max = spec.max_line - usize::from(joined.is_some());
        let lines = Lines::new(max, mode).weighed(decoder.weight());
        Self { origin, decoder, lines, max, joined, first: true, read: Time::default(), due: None, over: None }
    }

    fn push(&mut self, chunk: &[u8], now: Now, batch: &mut Batch) {
        self.read = now.time;
        self.cut(chunk, false, batch);
        self.over =
            self.joined.as_ref().filter(|(joined, _)| joined.open().is_some()).map(|(_, time)| now.instant + *time);
    }

    fn finish(&mut self, now: Now, batch: &mut Batch) {
        self.read = now.time;
        self.cut(&[], true, batch);
        if let Some((joined, _)) = &mut self.joined {
            joined.finish(&mut |line| batch.line(self.read, &self.origin, flags(line), line.text));
        }
        (self.over, self.first) = (None, true);
    }

    /// Gives out what is joined.
    fn flush(&mut self, batch: &mut Batch) {
        if let Some((joined, _)) = &mut self.joined {
            joined.flush(&mut |line| batch.line(self.read, &self.origin, flags(line), line.text));
        }
    }

    /// Gives out the lines that `chunk` completes; with `last` also the half line.
    fn cut(&mut self, chunk: &[u8], last: bool, batch: &mut Batch) {
        let text = self.decoder.widen(chunk, last);
        let Self { origin, decoder, lines, max, joined, first, read, .. } = self;
        let mut give = |line: Line<'_>| batch.line(*read, origin, flags(line), line.text);
        let mut whole = |mut line: Line<'_>| {
            if mem::replace(first, false) {
                line.text = line.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.text);
            }
            match joined {
                Some((joined, _)) => joined.push(line, &mut give),
                None => give(line),
            }
        };
        lines.push(&text, |line| decoder.line(line, *max, &mut whole));
        if last {
            lines.finish(|line| decoder.line(line, *max, &mut whole));
        }
    }

    fn held(&self) -> u64 {
        self.decoder.held() + self.lines.held() + self.joined.as_ref().map_or(0, |(joined, _)| joined.held())
    }

    /// What is to be shown of the line that is not finished.
    fn open(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(joined) = self.joined.as_ref().and_then(|(joined, _)| joined.open()) {
            text.extend_from_slice(joined);
            if !self.lines.open().is_empty() {
                text.push(b'\n');
            }
        }
        let line = self.lines.open();
        text.extend_from_slice(if self.first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line });
        text
    }

    fn is_empty(&self) -> bool {
        self.lines.open().is_empty() && self.joined.as_ref().is_none_or(|(joined, _)| joined.open().is_none())
    }

    fn next(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.over).min()
    }
}

fn flags(line: Line<'_>) -> Flags {
    let continued = if line.continued { Flags::CONTINUED } else { Flags::NONE };
    if line.partial { continued.with(Flags::PARTIAL) } else { continued }
}
