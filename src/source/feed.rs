//! From the bytes that a source read to a batch: its lines, and which unfinished line is shown. Does no IO.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream};
use crate::event::{OpenLine, Origin, Time};
use crate::line::{CarriageReturn, Decoder, KEY_LINES, Line, Lines, Multiline, Redact, Rule, Screen};
use crate::stream::Batch;

use super::Now;
use super::give::{Cleaner, clean, give, redact};
use super::progress::Watch;

/// An unfinished line is shown after this time: most are finished sooner, and then it would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);

/// And shown again not sooner than this after the last time: ten a second are as many as an eye can use.
const BETWEEN: Duration = Duration::from_millis(100);

/// A block of lines that a program draws again and again is taken as final when nothing was drawn for so long: most draw
/// several times a second.
const CALM: Duration = Duration::from_secs(1);

/// A private key may begin so far before what is read first, in bytes: its lines have 64 letters (RFC 7468, section 2), or
/// 76, and it may be in UTF-16.
pub(super) const KEY_REACH: usize = 160 * KEY_LINES;

/// What stands in front of some files in UTF-8; UTF-16 has it too, and it was decoded.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What all of a source's bytes go through. A lane is one origin, with its half line.
///
/// Of all lanes one unfinished line is shown, the one that was due last.
#[derive(Debug)]
pub(super) struct Feed {
    spec: Stream,
    lanes: Vec<Option<Lane>>,
    progress: Watch,
    /// When lanes want to be seen to.
    waits: BTreeSet<(Instant, usize)>,
    /// Whose unfinished line is shown.
    shown: Option<usize>,
    /// When one was shown last.
    shown_at: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    at: usize,
    origin: Origin,
    decoder: Decoder,
    lines: Screen,
    max: usize,
    /// Takes secrets out, last of all.
    redact: Option<Redact>,
    /// Nothing came yet, nor is known what stood before it.
    fresh: bool,
    /// Longest line that is given out.
    longest: usize,
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
    /// When the block that it draws is taken as final.
    calm: Option<Instant>,
}

/// What makes lines complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut<'a> {
    /// More came.
    Bytes(&'a [u8]),
    /// Nothing more is drawn in the block.
    Calm,
    /// Nothing more can come.
    End,
}

impl Feed {
    /// A feed for a stream, with a lane for each of `origins`.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mut feed = Self {
            spec: spec.clone(),
            lanes: Vec::new(),
            progress: Watch::new(spec),
            waits: BTreeSet::new(),
            shown: None,
            shown_at: None,
        };
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
        self.lanes[at] = Some(Lane::new(&self.spec, at, origin));
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
        self.with(lane, now, batch, |lane, progress, batch| {
            lane.push(chunk, now, progress, batch);
            progress.open(lane.at, &lane.open(), now, batch);
            false
        });
    }

    /// Whether it matters what stands before the first byte that comes: a secret may go on there.
    pub(super) fn asks_before(&self, lane: usize) -> bool {
        self.lanes[lane].as_ref().is_some_and(|lane| lane.fresh && lane.redact.is_some())
    }

    /// Looks whether a secret of several lines begins before the first byte that comes, in these [`KEY_REACH`] bytes.
    pub(super) fn look_before(&mut self, lane: usize, bytes: &[u8], now: Now) {
        let Some(lane) = &mut self.lanes[lane] else { return };
        lane.fresh = false;
        let mut before = Lane::new(&self.spec, lane.at, lane.origin.clone());
        before.push(bytes, now, &mut Watch::new(&self.spec), &mut Batch::new());
        if let (Some(redact), Some(before)) = (&mut lane.redact, before.redact) {
            redact.resume(before.carry());
        }
    }

    /// Adds the half line, since nothing more can come: a new line begins, which may be the first of another file.
    pub(super) fn finish(&mut self, lane: usize, now: Now, batch: &mut Batch) {
        self.with(lane, now, batch, |lane, progress, batch| {
            lane.finish(now, progress, batch);
            progress.open(lane.at, &[], now, batch);
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
        // It is recorded, and may hold a secret: then it is lost with the daemon.
        let lane = self.lanes[lane].as_ref().filter(|lane| lane.redact.is_none());
        lane.map_or(&[], |lane| lane.lines.open())
    }

    /// When to call [`show`](Self::show).
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.first().map(|(due, _)| *due).into_iter().chain(self.progress.due()).min()
    }

    /// Adds the unfinished line and the progress that are to be shown now, and lines whose followers were waited for long
    /// enough; gives back the lanes of these.
    pub(super) fn show(&mut self, now: Instant, batch: &mut Batch) -> Vec<usize> {
        let mut gave = Vec::new();
        while let Some(&(due, at)) = self.waits.first().filter(|(due, _)| *due <= now) {
            self.waits.remove(&(due, at));
            let Some(lane) = &mut self.lanes[at] else { continue };
            let before = batch.len();
            if lane.over.is_some_and(|over| over <= now) {
                lane.over = None;
                lane.flush(&mut self.progress, batch);
                gave.push(at);
            }
            if lane.calm.is_some_and(|calm| calm <= now) {
                lane.settle(now, &mut self.progress, batch);
            }
            if batch.len() > before {
                self.tend(at, true, now, batch);
            }
            let Some(lane) = &mut self.lanes[at] else { continue };
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
        self.progress.show(now, !gave.is_empty(), batch);
        gave
    }

    /// Does `work`, which says whether the line has ended. Takes back what is shown if it has, or lines were given out, and
    /// sees to it that what came since is shown in time.
    fn with(
        &mut self,
        at: usize,
        now: Now,
        batch: &mut Batch,
        work: impl FnOnce(&mut Lane, &mut Watch, &mut Batch) -> bool,
    ) {
        let Some(lane) = &mut self.lanes[at] else { return };
        let before = (batch.len(), lane.next());
        let ended = work(lane, &mut self.progress, batch) || batch.len() > before.0;
        self.tend(at, ended, now.instant, batch);
        let next = self.lanes[at].as_ref().and_then(Lane::next);
        if next != before.1 {
            if let Some(next) = before.1 {
                self.waits.remove(&(next, at));
            }
            self.waits.extend(next.map(|next| (next, at)));
        }
    }

    /// Takes back what is shown if that line has `ended`, and sees to it that what came since is shown in time.
    fn tend(&mut self, at: usize, ended: bool, now: Instant, batch: &mut Batch) {
        let Some(lane) = &mut self.lanes[at] else { return };
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
            let soonest = if self.shown == Some(at) { now } else { now + PATIENCE };
            lane.due = Some(self.shown_at.map_or(soonest, |shown| soonest.max(shown + BETWEEN)));
        }
    }
}

impl Lane {
    fn new(spec: &Stream, at: usize, origin: Origin) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturn::Fold,
            config::CarriageReturn::Split => CarriageReturn::Split,
            config::CarriageReturn::Keep => CarriageReturn::Keep,
        };
        let decoder = Decoder::new(spec.encoding.0);
        let (redact, longest) = redact(spec).map_or((None, spec.max_line), |(redact, longest)| (Some(redact), longest));
        let joined = spec.multiline.as_ref().map(|multiline| {
            let expression = multiline.expression.0.clone();
            let rule = if multiline.begins { Rule::Start(expression) } else { Rule::Continue(expression) };
            (Multiline::new(rule, longest), multiline.timeout)
        });
        // Two lines that are joined have a newline between them.
        let max = longest - usize::from(joined.is_some());
        let lines = Lines::new(max, mode).weighed(decoder.weight());
        let draws = mode == CarriageReturn::Fold && matches!(spec.source, SourceKind::Process(_));
        Self {
            at,
            origin: clean(redact.as_ref(), origin),
            decoder,
            lines: Screen::new(lines, draws),
            max,
            redact,
            fresh: true,
            longest: spec.max_line,
            joined,
            first: true,
            read: Time::default(),
            due: None,
            over: None,
            calm: None,
        }
    }

    fn push(&mut self, chunk: &[u8], now: Now, progress: &mut Watch, batch: &mut Batch) {
        (self.read, self.fresh) = (now.time, false);
        self.cut(Cut::Bytes(chunk), progress, batch);
        self.calm = self.lines.is_drawing().then(|| now.instant + CALM);
        self.wait(now.instant);
    }

    fn finish(&mut self, now: Now, progress: &mut Watch, batch: &mut Batch) {
        self.read = now.time;
        self.cut(Cut::End, progress, batch);
        let Self { at, origin, joined, redact, longest, read, .. } = self;
        if let Some((joined, _)) = joined {
            let redact = &mut Cleaner { redact, longest: *longest };
            joined.finish(&mut |line| give(*at, line, *read, origin, redact, Some(progress), batch));
        }
        (self.over, self.calm, self.first) = (None, None, true);
    }

    /// Gives out what is joined.
    fn flush(&mut self, progress: &mut Watch, batch: &mut Batch) {
        let Self { at, origin, joined, redact, longest, read, .. } = self;
        if let Some((joined, _)) = joined {
            let redact = &mut Cleaner { redact, longest: *longest };
            joined.flush(&mut |line| give(*at, line, *read, origin, redact, Some(progress), batch));
        }
    }

    /// Gives out the block in which nothing is drawn any more.
    fn settle(&mut self, now: Instant, progress: &mut Watch, batch: &mut Batch) {
        self.calm = None;
        self.cut(Cut::Calm, progress, batch);
        self.wait(now);
    }

    /// Waits from now on for what belongs to the lines that are joined.
    fn wait(&mut self, now: Instant) {
        self.over = self.joined.as_ref().filter(|(joined, _)| joined.open().is_some()).map(|(_, time)| now + *time);
    }

    /// Gives out the lines that are complete.
    fn cut(&mut self, what: Cut<'_>, progress: &mut Watch, batch: &mut Batch) {
        let text = match what {
            Cut::Bytes(chunk) => self.decoder.widen(chunk, false),
            Cut::Calm => Cow::Borrowed(&[][..]),
            Cut::End => self.decoder.widen(&[], true),
        };
        let Self { at, origin, decoder, lines, max, joined, redact, longest, first, read, .. } = self;
        let redact = &mut Cleaner { redact, longest: *longest };
        let mut give = |line: Line<'_>| {
            // A block's lines were looked at as they were drawn.
            let progress = (what != Cut::Calm).then_some(&mut *progress);
            give(*at, line, *read, origin, redact, progress, batch);
        };
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
        match what {
            Cut::Bytes(_) => {}
            Cut::Calm => lines.settle(|line| decoder.line(line, *max, &mut whole)),
            Cut::End => lines.finish(|line| decoder.line(line, *max, &mut whole)),
        }
    }

    fn held(&self) -> u64 {
        let redacted = self.redact.as_ref().map_or(0, |redact| redact.held() as u64);
        self.decoder.held() + self.lines.held() + self.joined.as_ref().map_or(0, |(joined, _)| joined.held()) + redacted
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
        match &self.redact {
            Some(redact) => redact.open(&text),
            None => text,
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.open().is_empty() && self.joined.as_ref().is_none_or(|(joined, _)| joined.open().is_none())
    }

    fn next(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.over).chain(self.calm).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Expression, FileSource, Multiline as Joined};
    use crate::source::bench::{process, spec};

    struct Fed {
        feed: Feed,
        now: Now,
        batch: Batch,
    }

    impl Fed {
        fn new(spec: &Stream) -> Self {
            Self { feed: Feed::new(spec, [Origin::stdout()]), now: Now::read(), batch: Batch::new() }
        }

        fn push(&mut self, text: &str) {
            self.feed.push(0, text.as_bytes(), self.now, &mut self.batch);
        }

        /// Time goes by; the feed is called when it wants to be.
        fn wait(&mut self, time: Duration) {
            let end = self.now.instant + time;
            while let Some(due) = self.feed.due().filter(|due| *due <= end) {
                self.at(due);
                self.feed.show(due, &mut self.batch);
                assert!(self.feed.due().is_none_or(|next| next > due), "it would be called for ever");
            }
            self.at(end);
        }

        fn at(&mut self, instant: Instant) {
            let time = self.now.time.after(instant - self.now.instant);
            self.now = Now { instant, time };
        }

        fn lines(&self) -> Vec<String> {
            self.batch.lines().into_iter().map(|(_, _, text)| text).collect()
        }

        fn percent(&self) -> Option<f64> {
            self.batch.last_progress().and_then(|progress| progress.percent)
        }
    }

    fn commanded() -> Stream {
        spec(SourceKind::Process(process(&["x"])))
    }

    fn indented() -> Joined {
        let expression = Expression(regex::bytes::Regex::new("^ ").unwrap());
        Joined { begins: false, expression, timeout: Duration::from_secs(5) }
    }

    #[test]
    fn a_drawn_block_goes_through_multiline_once_it_is_calm() {
        let mut fed = Fed::new(&Stream { multiline: Some(indented()), ..commanded() });
        fed.push("x\n");
        for percent in 1..9 {
            fed.push(&format!("\x1b[2A\x1b[2K\ra\n\x1b[2K\r {percent}0%\n"));
            fed.wait(CALM / 2);
        }
        assert_eq!(fed.lines(), Vec::<String>::new(), "it is drawn still, and x waits for what may go on");
        assert!(fed.feed.is_open(0) && fed.feed.held(0) > 0);
        fed.wait(CALM);
        assert_eq!(fed.lines(), ["x"]);
        fed.wait(Duration::from_secs(5));
        assert_eq!(fed.lines(), ["x", "a\n 80%"]);
        assert!(!fed.feed.is_open(0));
        assert!(fed.feed.waits.is_empty());
    }

    #[test]
    fn what_is_left_of_a_calm_block_is_shown() {
        let mut fed = Fed::new(&commanded());
        fed.push("a\nb\n\x1b[1A\x1b[2Kc\nhalf");
        fed.wait(CALM * 2);
        assert_eq!(fed.lines(), ["a", "b", "c"]);
        assert_eq!(fed.feed.half(0), b"half");
        assert_eq!(fed.feed.shown, Some(0));
        fed.feed.finish(0, fed.now, &mut fed.batch);
        assert_eq!(fed.lines(), ["a", "b", "c", "half"]);
    }

    #[test]
    fn files_are_not_drawn_and_every_byte_held_is_counted() {
        let mut fed = Fed::new(&spec(SourceKind::File(FileSource::new("/x".into()))));
        let drawing = "\x1b[1A\x1b[2K\rb";
        fed.push(&format!("a\n{drawing}"));
        assert_eq!((fed.lines(), fed.feed.held(0)), (vec!["a".to_owned()], drawing.len() as u64));
        fed.wait(CALM * 2);
        fed.push("c\n");
        assert_eq!((fed.lines(), fed.feed.held(0)), (vec!["a".to_owned(), "bc".to_owned()], 0));
    }

    #[test]
    fn progress_is_told_of_each_line_and_of_what_is_not_finished() {
        let mut fed = Fed::new(&commanded());
        fed.push("[ 10%] a\n");
        assert_eq!(fed.percent(), Some(10.0));
        fed.push("[ 20%] b");
        assert_eq!(fed.percent(), Some(10.0), "ten times a second at most");
        fed.wait(BETWEEN);
        assert_eq!(fed.percent(), Some(20.0));
        fed.wait(Duration::from_mins(1));
        assert!(fed.batch.last_progress().unwrap().stale);
        let mut off = Fed::new(&Stream { progress: config::Progress::Off, ..commanded() });
        off.push("[ 10%] a\n");
        assert_eq!((off.percent(), off.feed.due()), (None, None));
    }

    #[test]
    fn progress_is_seen_in_lines_that_are_joined() {
        let mut fed = Fed::new(&Stream { multiline: Some(indented()), ..commanded() });
        fed.push("[ 10%] a\n");
        assert_eq!(fed.percent(), Some(10.0), "it is not waited for");
        fed.push("[ 20%] b\n");
        fed.wait(Duration::from_secs(5));
        assert_eq!(fed.percent(), Some(20.0));
        assert_eq!(fed.lines(), ["[ 10%] a", "[ 20%] b"]);
    }
}
