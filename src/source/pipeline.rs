//! The line pipeline: turns the bytes that a source read into events of a batch, which are lines and the visible
//! unfinished line. No I/O.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream};
use crate::event::{OpenLine, Origin, Time};
use crate::line::{
    CarriageReturnMode, Decoder, Line, LineJoiner, LineSplitter, MAX_SECRET_LINES, MultilineRule, Screen,
};
use crate::stream::Batch;

use super::ClockReading;
use super::emit::{OriginOutput, redact, redact_origin};
use super::progress::SourceProgress;

/// The time after which an unfinished line is shown: most are finished sooner, and would only flicker.
const OPEN_LINE_DELAY: Duration = Duration::from_millis(200);

/// The minimum time between two updates of an unfinished line: ten a second are as many as an eye can use.
const MIN_OPEN_LINE_INTERVAL: Duration = Duration::from_millis(100);

/// A block of lines that a program redraws is considered final after this time without a redraw: most programs redraw
/// several times a second.
const REDRAW_SETTLE_TIME: Duration = Duration::from_secs(1);

/// The distance in bytes at which a private key may begin before the first byte that is read: its lines have 64
/// characters (RFC 7468, section 2) or 76, and it may be in UTF-16.
pub(super) const MAX_KEY_LOOKBACK: usize = 160 * MAX_SECRET_LINES;

/// The byte order mark at the start of some UTF-8 files. UTF-16 files have one, too, which is decoded to the same
/// bytes.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The pipeline for all bytes of a source, which may have several origins, each with an unfinished line.
///
/// Only one unfinished line of all origins is shown: the one that was due last.
#[derive(Debug)]
pub(super) struct LinePipeline {
    spec: Stream,
    origins: Vec<Option<OriginState>>,
    progress: SourceProgress,
    /// The times at which origins are due.
    waits: BTreeSet<(Instant, usize)>,
    /// The origin whose unfinished line is shown.
    shown: Option<usize>,
    /// The time at which an unfinished line was last shown.
    shown_at: Option<Instant>,
}

#[derive(Debug)]
struct OriginState {
    decoder: Decoder,
    lines: Screen,
    /// The longest piece of a line that is decoded, in bytes.
    max: usize,
    output: OriginOutput,
    /// Nothing was read yet, and the content before it is not known.
    nothing_read: bool,
    /// Joins lines that belong together, with the time to wait for the next one.
    joined: Option<(LineJoiner, Duration)>,
    /// The next line is the first of its file.
    first: bool,
    /// The time at which the unfinished line is to be shown.
    due: Option<Instant>,
    /// The time at which waiting for further lines that belong together ends.
    over: Option<Instant>,
    /// The time at which the block that is being redrawn is considered final.
    settle_due: Option<Instant>,
}

/// The causes that complete a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PipelineInput<'a> {
    /// More bytes arrived.
    Bytes(&'a [u8]),
    /// The block is not redrawn any more.
    Settle,
    /// Nothing more can come.
    End,
}

impl LinePipeline {
    /// Creates the pipeline of a stream with these origins.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mut feed = Self {
            spec: spec.clone(),
            origins: Vec::new(),
            progress: SourceProgress::new(spec),
            waits: BTreeSet::new(),
            shown: None,
            shown_at: None,
        };
        for origin in origins {
            let at = feed.origins.len();
            feed.add(at, origin);
        }
        feed
    }

    /// Adds an origin as number `at`.
    pub(crate) fn add(&mut self, at: usize, origin: Origin) {
        if self.origins.len() <= at {
            self.origins.resize_with(at + 1, || None);
        }
        self.origins[at] = Some(OriginState::new(&self.spec, at, origin));
    }

    /// Removes an origin, which has nothing unfinished.
    pub(crate) fn remove(&mut self, at: usize) {
        if let Some(lane) = self.origins[at].take() {
            if let Some(next) = lane.next() {
                self.waits.remove(&(next, at));
            }
            if self.shown == Some(at) {
                self.shown = None;
            }
        }
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, lane: usize, chunk: &[u8], now: ClockReading, batch: &mut Batch) {
        self.with(lane, now, batch, |lane, progress, batch| {
            lane.push(chunk, now, progress, batch);
            progress.open(lane.output.number, &lane.open(), now, batch);
            false
        });
    }

    /// Returns whether the content before the first byte matters, since a secret may continue from there.
    pub(super) fn needs_lookback(&self, lane: usize) -> bool {
        self.origins[lane].as_ref().is_some_and(|lane| lane.nothing_read && lane.output.redact.is_some())
    }

    /// Checks whether a secret of several lines begins in these [`MAX_KEY_LOOKBACK`] bytes, which precede the first
    /// byte that is read.
    pub(super) fn look_back(&mut self, lane: usize, bytes: &[u8], now: ClockReading) {
        let Some(lane) = &mut self.origins[lane] else { return };
        lane.nothing_read = false;
        let mut before = OriginState::new(&self.spec, lane.output.number, lane.output.origin.clone());
        before.push(bytes, now, &mut SourceProgress::new(&self.spec), &mut Batch::new());
        if let (Some(redact), Some(before)) = (&mut lane.output.redact, before.output.redact) {
            redact.resume(before.carry());
        }
    }

    /// Emits the unfinished line, since nothing more can come. A new line begins, which may be the first of another
    /// file.
    pub(super) fn finish(&mut self, lane: usize, now: ClockReading, batch: &mut Batch) {
        self.with(lane, now, batch, |lane, progress, batch| {
            lane.finish(now, progress, batch);
            progress.open(lane.output.number, &[], now, batch);
            true
        });
    }

    /// The number of source bytes since the last byte that was emitted.
    pub(super) fn held(&self, lane: usize) -> u64 {
        self.origins[lane].as_ref().map_or(0, OriginState::held)
    }

    /// Returns whether the next byte begins a line.
    pub(super) fn at_line_start(&self, lane: usize) -> bool {
        self.origins[lane].as_ref().is_none_or(|lane| lane.decoder.held() + lane.lines.held() == 0)
    }

    /// Returns whether there is an unfinished line.
    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.held(lane) > 0
    }

    /// The unfinished line.
    pub(super) fn half(&self, lane: usize) -> &[u8] {
        // This line is recorded, and might contain a secret: with redaction it is not returned, and is lost with the
        // daemon.
        let lane = self.origins[lane].as_ref().filter(|lane| lane.output.redact.is_none());
        lane.map_or(&[], |lane| lane.lines.open())
    }

    /// The time at which to call [`show`](Self::show).
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits.first().map(|(due, _)| *due).into_iter().chain(self.progress.due()).min()
    }

    /// Adds the unfinished line and the progress that are due, and joined lines whose waiting time has ended. Returns
    /// the origins of those lines.
    pub(super) fn show(&mut self, now: Instant, batch: &mut Batch) -> Vec<usize> {
        let mut gave = Vec::new();
        while let Some(&(due, at)) = self.waits.first().filter(|(due, _)| *due <= now) {
            self.waits.remove(&(due, at));
            let Some(lane) = &mut self.origins[at] else { continue };
            let before = batch.len();
            if lane.over.is_some_and(|over| over <= now) {
                lane.over = None;
                lane.flush(&mut self.progress, batch);
                gave.push(at);
            }
            if lane.settle_due.is_some_and(|calm| calm <= now) {
                lane.settle(now, &mut self.progress, batch);
            }
            if batch.len() > before {
                self.update_open_line(at, true, now, batch);
            }
            let Some(lane) = &mut self.origins[at] else { continue };
            if lane.due.is_some_and(|due| due <= now) {
                lane.due = None;
                let text = lane.open();
                if !text.is_empty() {
                    batch.open(Some(OpenLine { time: lane.output.read, origin: lane.output.origin.clone(), text }));
                    (self.shown, self.shown_at) = (Some(at), Some(now));
                }
            }
            self.waits.extend(lane.next().map(|next| (next, at)));
        }
        self.progress.show(now, !gave.is_empty(), batch);
        gave
    }

    /// Runs `work`, which returns whether the line has ended. Withdraws the visible unfinished line if it has ended or
    /// lines were emitted, and schedules the display of newer bytes.
    fn with(
        &mut self,
        at: usize,
        now: ClockReading,
        batch: &mut Batch,
        work: impl FnOnce(&mut OriginState, &mut SourceProgress, &mut Batch) -> bool,
    ) {
        let Some(lane) = &mut self.origins[at] else { return };
        let before = (batch.len(), lane.next());
        let ended = work(lane, &mut self.progress, batch) || batch.len() > before.0;
        self.update_open_line(at, ended, now.instant, batch);
        let next = self.origins[at].as_ref().and_then(OriginState::next);
        if next != before.1 {
            if let Some(next) = before.1 {
                self.waits.remove(&(next, at));
            }
            self.waits.extend(next.map(|next| (next, at)));
        }
    }

    /// Withdraws the visible unfinished line if it has `ended`, and schedules the display of newer bytes.
    fn update_open_line(&mut self, at: usize, ended: bool, now: Instant, batch: &mut Batch) {
        let Some(lane) = &mut self.origins[at] else { return };
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
            let soonest = if self.shown == Some(at) { now } else { now + OPEN_LINE_DELAY };
            lane.due = Some(self.shown_at.map_or(soonest, |shown| soonest.max(shown + MIN_OPEN_LINE_INTERVAL)));
        }
    }
}

impl OriginState {
    fn new(spec: &Stream, at: usize, origin: Origin) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturnMode::Fold,
            config::CarriageReturn::Split => CarriageReturnMode::Split,
            config::CarriageReturn::Keep => CarriageReturnMode::Keep,
        };
        let decoder = Decoder::new(spec.encoding.0);
        let (redact, longest) = redact(spec).map_or((None, spec.max_line), |(redact, longest)| (Some(redact), longest));
        let joined = spec.multiline.as_ref().map(|multiline| {
            let expression = multiline.expression.0.clone();
            let rule =
                if multiline.begins { MultilineRule::Start(expression) } else { MultilineRule::Continue(expression) };
            (LineJoiner::new(rule, longest), multiline.timeout)
        });
        // Two joined lines have a newline between them.
        let max = longest - usize::from(joined.is_some());
        let lines = LineSplitter::new(max, mode).with_source_unit(decoder.source_unit());
        let draws = mode == CarriageReturnMode::Fold && matches!(spec.source, SourceKind::Process(_));
        Self {
            decoder,
            lines: Screen::new(lines, draws),
            max,
            output: OriginOutput {
                number: at,
                origin: redact_origin(redact.as_ref(), origin),
                read: Time::default(),
                redact,
                max_line: spec.max_line,
            },
            nothing_read: true,
            joined,
            first: true,
            due: None,
            over: None,
            settle_due: None,
        }
    }

    fn push(&mut self, chunk: &[u8], now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        (self.output.read, self.nothing_read) = (now.time, false);
        self.cut(PipelineInput::Bytes(chunk), progress, batch);
        self.settle_due = self.lines.is_drawing().then(|| now.instant + REDRAW_SETTLE_TIME);
        self.wait(now.instant);
    }

    fn finish(&mut self, now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        self.output.read = now.time;
        self.cut(PipelineInput::End, progress, batch);
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.finish(&mut |line| output.emit(line, Some(progress), batch));
        }
        (self.over, self.settle_due, self.first) = (None, None, true);
    }

    /// Emits the joined lines.
    fn flush(&mut self, progress: &mut SourceProgress, batch: &mut Batch) {
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.flush(&mut |line| output.emit(line, Some(progress), batch));
        }
    }

    /// Emits the block that is not redrawn any more.
    fn settle(&mut self, now: Instant, progress: &mut SourceProgress, batch: &mut Batch) {
        self.settle_due = None;
        self.cut(PipelineInput::Settle, progress, batch);
        self.wait(now);
    }

    /// Restarts the wait for lines that belong to the joined ones.
    fn wait(&mut self, now: Instant) {
        self.over = self.joined.as_ref().filter(|(joined, _)| joined.open().is_some()).map(|(_, time)| now + *time);
    }

    /// Emits the lines that are complete.
    fn cut(&mut self, what: PipelineInput<'_>, progress: &mut SourceProgress, batch: &mut Batch) {
        let text = match what {
            PipelineInput::Bytes(chunk) => self.decoder.decode_utf16(chunk, false),
            PipelineInput::Settle => Cow::Borrowed(&[][..]),
            PipelineInput::End => self.decoder.decode_utf16(&[], true),
        };
        let Self { decoder, lines, max, joined, first, output, .. } = self;
        let mut give = |line: Line<'_>| {
            // The progress of a block was recognised while its lines were drawn.
            let progress = (what != PipelineInput::Settle).then_some(&mut *progress);
            output.emit(line, progress, batch);
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
        lines.push(&text, |line| decoder.decode_line(line, *max, &mut whole));
        match what {
            PipelineInput::Bytes(_) => {}
            PipelineInput::Settle => lines.settle(|line| decoder.decode_line(line, *max, &mut whole)),
            PipelineInput::End => lines.finish(|line| decoder.decode_line(line, *max, &mut whole)),
        }
    }

    fn held(&self) -> u64 {
        let redacted = self.output.redact.as_ref().map_or(0, |redact| redact.held() as u64);
        self.decoder.held() + self.lines.held() + self.joined.as_ref().map_or(0, |(joined, _)| joined.held()) + redacted
    }

    /// The visible text of the unfinished line.
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
        match &self.output.redact {
            Some(redact) => redact.redact_open(&text),
            None => text,
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.open().is_empty() && self.joined.as_ref().is_none_or(|(joined, _)| joined.open().is_none())
    }

    fn next(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.over).chain(self.settle_due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigRegex, FileSourceConfig, MultilineConfig as Joined};
    use crate::source::testing::{process, spec};

    struct TestPipeline {
        feed: LinePipeline,
        now: ClockReading,
        batch: Batch,
    }

    impl TestPipeline {
        fn new(spec: &Stream) -> Self {
            Self { feed: LinePipeline::new(spec, [Origin::stdout()]), now: ClockReading::read(), batch: Batch::new() }
        }

        fn push(&mut self, text: &str) {
            self.feed.push(0, text.as_bytes(), self.now, &mut self.batch);
        }

        /// Advances the time, and calls the pipeline whenever it is due.
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
            let time = self.now.time.plus(instant - self.now.instant);
            self.now = ClockReading { instant, time };
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
        let expression = ConfigRegex(regex::bytes::Regex::new("^ ").unwrap());
        Joined { begins: false, expression, timeout: Duration::from_secs(5) }
    }

    #[test]
    fn a_drawn_block_goes_through_multiline_once_it_is_calm() {
        let mut fed = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
        fed.push("x\n");
        for percent in 1..9 {
            fed.push(&format!("\x1b[2A\x1b[2K\ra\n\x1b[2K\r {percent}0%\n"));
            fed.wait(REDRAW_SETTLE_TIME / 2);
        }
        assert_eq!(fed.lines(), Vec::<String>::new(), "it is drawn still, and x waits for what may go on");
        assert!(fed.feed.is_open(0) && fed.feed.held(0) > 0);
        fed.wait(REDRAW_SETTLE_TIME);
        assert_eq!(fed.lines(), ["x"]);
        fed.wait(Duration::from_secs(5));
        assert_eq!(fed.lines(), ["x", "a\n 80%"]);
        assert!(!fed.feed.is_open(0));
        assert!(fed.feed.waits.is_empty());
    }

    #[test]
    fn what_is_left_of_a_calm_block_is_shown() {
        let mut fed = TestPipeline::new(&commanded());
        fed.push("a\nb\n\x1b[1A\x1b[2Kc\nhalf");
        fed.wait(REDRAW_SETTLE_TIME * 2);
        assert_eq!(fed.lines(), ["a", "b", "c"]);
        assert_eq!(fed.feed.half(0), b"half");
        assert_eq!(fed.feed.shown, Some(0));
        fed.feed.finish(0, fed.now, &mut fed.batch);
        assert_eq!(fed.lines(), ["a", "b", "c", "half"]);
    }

    #[test]
    fn files_are_not_drawn_and_every_byte_held_is_counted() {
        let mut fed = TestPipeline::new(&spec(SourceKind::File(FileSourceConfig::new("/x".into()))));
        let drawing = "\x1b[1A\x1b[2K\rb";
        fed.push(&format!("a\n{drawing}"));
        assert_eq!((fed.lines(), fed.feed.held(0)), (vec!["a".to_owned()], drawing.len() as u64));
        fed.wait(REDRAW_SETTLE_TIME * 2);
        fed.push("c\n");
        assert_eq!((fed.lines(), fed.feed.held(0)), (vec!["a".to_owned(), "bc".to_owned()], 0));
    }

    #[test]
    fn progress_is_told_of_each_line_and_of_what_is_not_finished() {
        let mut fed = TestPipeline::new(&commanded());
        fed.push("[ 10%] a\n");
        assert_eq!(fed.percent(), Some(10.0));
        fed.push("[ 20%] b");
        assert_eq!(fed.percent(), Some(10.0), "ten times a second at most");
        fed.wait(MIN_OPEN_LINE_INTERVAL);
        assert_eq!(fed.percent(), Some(20.0));
        fed.wait(Duration::from_mins(1));
        assert!(fed.batch.last_progress().unwrap().stale);
        let mut off = TestPipeline::new(&Stream { progress: config::ProgressDetection::Off, ..commanded() });
        off.push("[ 10%] a\n");
        assert_eq!((off.percent(), off.feed.due()), (None, None));
    }

    #[test]
    fn progress_is_seen_in_lines_that_are_joined() {
        let mut fed = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
        fed.push("[ 10%] a\n");
        assert_eq!(fed.percent(), Some(10.0), "it is not waited for");
        fed.push("[ 20%] b\n");
        fed.wait(Duration::from_secs(5));
        assert_eq!(fed.percent(), Some(20.0));
        assert_eq!(fed.lines(), ["[ 10%] a", "[ 20%] b"]);
    }
}
