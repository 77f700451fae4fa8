//! The line pipeline: turns the bytes that a source read into events of a batch, which are lines and the visible
//! unfinished line. No I/O.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream};
use crate::event::{OpenLine, Origin, Time};
use crate::line::{
    CarriageReturnMode, Decoder, Line, LineJoiner, LineSplitter, MAX_SECRET_LINES, MultilineRule, Screen, SourceUnit,
};
use crate::progress::MAX_PROGRESS_LINE_SIZE;
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
    origins: HashMap<usize, OriginState>,
    progress: SourceProgress,
    /// The times at which origins are due.
    deadlines: BTreeSet<(Instant, usize)>,
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
    max_piece: usize,
    output: OriginOutput,
    /// Nothing was read yet, and the content before it is not known.
    nothing_read: bool,
    /// Joins lines that belong together, with the time to wait for the next one.
    joined: Option<(LineJoiner, Duration)>,
    /// The next line is the first of its file.
    at_file_start: bool,
    /// The time at which the unfinished line is to be shown.
    due: Option<Instant>,
    /// The time at which waiting for further lines that belong together ends.
    join_due: Option<Instant>,
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
        let mut pipeline = Self {
            spec: spec.clone(),
            origins: HashMap::new(),
            progress: SourceProgress::new(spec),
            deadlines: BTreeSet::new(),
            shown: None,
            shown_at: None,
        };
        for origin in origins {
            let at = pipeline.origins.len();
            pipeline.add(at, origin);
        }
        pipeline
    }

    /// Adds an origin as number `at`.
    pub(crate) fn add(&mut self, at: usize, origin: Origin) {
        self.origins.insert(at, OriginState::new(&self.spec, at, origin));
    }

    /// Removes an origin, which has nothing unfinished.
    pub(crate) fn remove(&mut self, at: usize) {
        if let Some(state) = self.origins.remove(&at) {
            if let Some(next) = state.next_due() {
                self.deadlines.remove(&(next, at));
            }
            if self.shown == Some(at) {
                self.shown = None;
            }
        }
    }

    /// Moves the unfinished line of `at` to the new number `to`, since what follows comes from another file.
    pub(crate) fn split_off(&mut self, at: usize, to: usize) {
        let Some(mut state) = self.origins.remove(&at) else { return };
        if let Some(next) = state.next_due() {
            self.deadlines.remove(&(next, at));
            self.deadlines.insert((next, to));
        }
        if self.shown == Some(at) {
            self.shown = Some(to);
        }
        state.output.number = to;
        self.add(at, state.output.origin.clone());
        self.origins.insert(to, state);
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, origin: usize, chunk: &[u8], now: ClockReading, batch: &mut Batch) {
        self.update(origin, now, batch, |state, progress, batch| {
            state.push(chunk, now, progress, batch);
            progress.open(state.output.number, &state.open_for_progress(), now, batch);
            false
        });
    }

    /// Returns whether the content before the first byte matters, since a secret may continue from there.
    pub(super) fn needs_lookback(&self, origin: usize) -> bool {
        self.origins.get(&origin).is_some_and(|state| state.nothing_read && state.output.redact.is_some())
    }

    /// Checks whether a secret of several lines begins in these [`MAX_KEY_LOOKBACK`] bytes, which precede the first
    /// byte that is read.
    pub(super) fn look_back(&mut self, origin: usize, bytes: &[u8], now: ClockReading) {
        let Some(state) = self.origins.get_mut(&origin) else { return };
        state.nothing_read = false;
        let mut before = OriginState::new(&self.spec, state.output.number, state.output.origin.clone());
        before.decoder = state.decoder.within_same_file();
        before.push(bytes, now, &mut SourceProgress::new(&self.spec), &mut Batch::new());
        if let (Some(redact), Some(before)) = (&mut state.output.redact, before.output.redact) {
            redact.resume(before.carry());
        }
    }

    /// Emits the unfinished line, since nothing more can come. A new line begins, which may be the first of another
    /// file.
    pub(super) fn finish(&mut self, origin: usize, now: ClockReading, batch: &mut Batch) {
        self.update(origin, now, batch, |state, progress, batch| {
            state.finish(now, progress, batch);
            progress.open(state.output.number, &[], now, batch);
            true
        });
    }

    /// Ends the unfinished line, since another file begins that continues the log. Joined lines wait for those of that
    /// file.
    pub(super) fn change_file(&mut self, origin: usize, now: ClockReading, batch: &mut Batch) {
        self.update(origin, now, batch, |state, progress, batch| {
            state.change_file(now, progress, batch);
            progress.open(state.output.number, &[], now, batch);
            true
        });
    }

    /// Makes joined lines wait at least until `until` and the time for the next line, since that may be in a file that is
    /// read only then.
    pub(super) fn hold_joined(&mut self, at: usize, until: Instant) {
        let Some(state) = self.origins.get_mut(&at) else { return };
        let before = state.next_due();
        if let (Some(due), Some((_, timeout))) = (&mut state.join_due, &state.joined) {
            *due = (*due).max(until + *timeout);
        }
        let next = state.next_due();
        self.reschedule(at, before, next);
    }

    /// Returns whether nothing of the file was read yet, so that its first bytes may say its encoding.
    pub(super) fn is_at_file_start(&self, origin: usize) -> bool {
        self.origins.get(&origin).is_some_and(|state| state.decoder.is_at_start())
    }

    /// Begins in the middle of a file whose first two bytes are `start`.
    pub(super) fn begin_within(&mut self, origin: usize, start: &[u8]) {
        if let Some(state) = self.origins.get_mut(&origin) {
            state.decoder.begin_within(start);
            state.lines.set_source_unit(state.decoder.source_unit());
        }
    }

    /// Returns whether the file is in UTF-16, as far as is known.
    pub(super) fn is_utf16(&self, origin: usize) -> bool {
        self.origins.get(&origin).is_some_and(|state| state.decoder.source_unit() == SourceUnit::Utf16)
    }

    /// The number of source bytes since the last byte that was emitted.
    pub(super) fn held(&self, origin: usize) -> u64 {
        self.origins.get(&origin).map_or(0, OriginState::held)
    }

    /// Returns whether the next byte begins a line.
    pub(super) fn at_line_start(&self, origin: usize) -> bool {
        self.origins.get(&origin).is_none_or(|state| state.decoder.held() + state.lines.held() == 0)
    }

    /// Returns whether there is an unfinished line.
    pub(super) fn is_open(&self, origin: usize) -> bool {
        self.held(origin) > 0
    }

    /// The unfinished line.
    pub(super) fn open_line(&self, origin: usize) -> &[u8] {
        // This line is recorded, and might contain a secret: with redaction it is not returned, and is lost with the
        // daemon.
        let state = self.origins.get(&origin).filter(|state| state.output.redact.is_none());
        state.map_or(&[], |state| state.lines.open())
    }

    /// The time at which to call [`run_due`](Self::run_due).
    pub(super) fn due(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due).into_iter().chain(self.progress.due()).min()
    }

    /// Does everything that is due by `now`: adds the unfinished line and the progress to `batch`, joined lines whose
    /// waiting time has ended, and blocks that are no longer redrawn. Returns the origins of the joined lines.
    pub(super) fn run_due(&mut self, now: Instant, batch: &mut Batch) -> Vec<usize> {
        let mut flushed = Vec::new();
        while let Some(&(due, at)) = self.deadlines.first().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, at));
            let Some(state) = self.origins.get_mut(&at) else { continue };
            let before = batch.len();
            if state.join_due.is_some_and(|due| due <= now) {
                state.join_due = None;
                state.flush(&mut self.progress, batch);
                flushed.push(at);
            }
            if state.settle_due.is_some_and(|due| due <= now) {
                state.settle(now, &mut self.progress, batch);
            }
            if batch.len() > before {
                self.update_open_line(at, true, now, batch);
            }
            let Some(state) = self.origins.get_mut(&at) else { continue };
            if state.due.is_some_and(|due| due <= now) {
                state.due = None;
                let text = state.open();
                if !text.is_empty() {
                    batch.open(Some(OpenLine { time: state.output.read, origin: state.output.origin.clone(), text }));
                    (self.shown, self.shown_at) = (Some(at), Some(now));
                }
            }
            self.deadlines.extend(state.next_due().map(|next| (next, at)));
        }
        self.progress.run_due(now, !flushed.is_empty(), batch);
        flushed
    }

    /// Runs `work`, which returns whether the line has ended. Withdraws the visible unfinished line if it has ended or
    /// lines were emitted, and schedules the display of newer bytes.
    fn update(
        &mut self,
        at: usize,
        now: ClockReading,
        batch: &mut Batch,
        work: impl FnOnce(&mut OriginState, &mut SourceProgress, &mut Batch) -> bool,
    ) {
        let Some(state) = self.origins.get_mut(&at) else { return };
        let before = (batch.len(), state.next_due());
        let ended = work(state, &mut self.progress, batch) || batch.len() > before.0;
        self.update_open_line(at, ended, now.instant, batch);
        let next = self.origins.get(&at).and_then(OriginState::next_due);
        self.reschedule(at, before.1, next);
    }

    /// Replaces the time at which an origin is due.
    fn reschedule(&mut self, at: usize, before: Option<Instant>, next: Option<Instant>) {
        if next != before {
            if let Some(before) = before {
                self.deadlines.remove(&(before, at));
            }
            self.deadlines.extend(next.map(|next| (next, at)));
        }
    }

    /// Withdraws the visible unfinished line if it has `ended`, and schedules the display of newer bytes.
    fn update_open_line(&mut self, at: usize, ended: bool, now: Instant, batch: &mut Batch) {
        let Some(state) = self.origins.get_mut(&at) else { return };
        if ended {
            state.due = None;
            if self.shown == Some(at) {
                self.shown = None;
                batch.open(None);
            }
        }
        if state.is_empty() {
            state.due = None;
        } else if state.due.is_none() {
            let soonest = if self.shown == Some(at) { now } else { now + OPEN_LINE_DELAY };
            state.due = Some(self.shown_at.map_or(soonest, |shown| soonest.max(shown + MIN_OPEN_LINE_INTERVAL)));
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
        let max_piece = longest - usize::from(joined.is_some());
        let lines = LineSplitter::new(max_piece, mode).with_source_unit(decoder.source_unit());
        let draws = mode == CarriageReturnMode::Fold && matches!(spec.source, SourceKind::Process(_));
        Self {
            decoder,
            lines: Screen::new(lines, draws),
            max_piece,
            output: OriginOutput {
                number: at,
                origin: redact_origin(redact.as_ref(), origin),
                read: Time::default(),
                redact,
                max_line: spec.max_line,
            },
            nothing_read: true,
            joined,
            at_file_start: true,
            due: None,
            join_due: None,
            settle_due: None,
        }
    }

    fn push(&mut self, chunk: &[u8], now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        (self.output.read, self.nothing_read) = (now.time, false);
        self.process(PipelineInput::Bytes(chunk), progress, batch);
        self.settle_due = self.lines.is_drawing().then(|| now.instant + REDRAW_SETTLE_TIME);
        self.set_join_due(now.instant);
    }

    fn finish(&mut self, now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        self.output.read = now.time;
        self.process(PipelineInput::End, progress, batch);
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.finish(&mut |line| output.emit(line, Some(progress), batch));
        }
        (self.join_due, self.settle_due, self.at_file_start) = (None, None, true);
    }

    fn change_file(&mut self, now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        self.output.read = now.time;
        self.process(PipelineInput::End, progress, batch);
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.end_of_file(&mut |line| output.emit(line, Some(progress), batch));
        }
        (self.settle_due, self.at_file_start) = (None, true);
        self.set_join_due(now.instant);
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
        self.process(PipelineInput::Settle, progress, batch);
        self.set_join_due(now);
    }

    /// Restarts the wait for lines that belong to the joined ones.
    fn set_join_due(&mut self, now: Instant) {
        self.join_due = self.joined.as_ref().filter(|(joined, _)| joined.open().is_some()).map(|(_, time)| now + *time);
    }

    /// Emits the lines that are complete.
    fn process(&mut self, input: PipelineInput<'_>, progress: &mut SourceProgress, batch: &mut Batch) {
        let text = match input {
            PipelineInput::Bytes(chunk) => self.decoder.decode_utf16(chunk, false),
            PipelineInput::Settle => Cow::Borrowed(&[][..]),
            PipelineInput::End => self.decoder.decode_utf16(&[], true),
        };
        let Self { decoder, lines, max_piece, joined, at_file_start, output, .. } = self;
        // The start of a file says its encoding.
        lines.set_source_unit(decoder.source_unit());
        let mut emit = |line: Line<'_>| {
            // The progress of a block was recognised while its lines were drawn.
            let progress = (input != PipelineInput::Settle).then_some(&mut *progress);
            output.emit(line, progress, batch);
        };
        let mut join = |mut line: Line<'_>| {
            if mem::replace(at_file_start, false) {
                line.text = line.text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.text);
            }
            match joined {
                Some((joined, _)) => joined.push(line, &mut emit),
                None => emit(line),
            }
        };
        lines.push(&text, |line| decoder.decode_line(line, *max_piece, &mut join));
        match input {
            PipelineInput::Bytes(_) => {}
            PipelineInput::Settle => lines.settle(|line| decoder.decode_line(line, *max_piece, &mut join)),
            PipelineInput::End => {
                lines.finish(|line| decoder.decode_line(line, *max_piece, &mut join));
                decoder.restart();
            }
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
        text.extend_from_slice(if self.at_file_start {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
        } else {
            line
        });
        match &self.output.redact {
            Some(redact) => redact.redact_open(&text),
            None => text,
        }
    }

    /// The visible text of the unfinished line if it may be a progress bar; otherwise empty. Called for each chunk: a
    /// long line that arrives in small pieces must not be copied for each of them.
    fn open_for_progress(&self) -> Vec<u8> {
        let joined = self.joined.as_ref().and_then(|(joined, _)| joined.open()).map_or(0, <[u8]>::len);
        if joined + self.lines.open().len() <= MAX_PROGRESS_LINE_SIZE { self.open() } else { Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.lines.open().is_empty() && self.joined.as_ref().is_none_or(|(joined, _)| joined.open().is_none())
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.join_due).chain(self.settle_due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigRegex, FileSourceConfig, MultilineConfig as Joined};
    use crate::source::testing::{process, spec};

    struct TestPipeline {
        pipeline: LinePipeline,
        now: ClockReading,
        batch: Batch,
    }

    impl TestPipeline {
        fn new(spec: &Stream) -> Self {
            Self {
                pipeline: LinePipeline::new(spec, [Origin::stdout()]),
                now: ClockReading::read(),
                batch: Batch::new(),
            }
        }

        fn push(&mut self, text: &str) {
            self.pipeline.push(0, text.as_bytes(), self.now, &mut self.batch);
        }

        /// Advances the time, and calls the pipeline whenever it is due.
        fn wait(&mut self, time: Duration) {
            let end = self.now.instant + time;
            while let Some(due) = self.pipeline.due().filter(|due| *due <= end) {
                self.at(due);
                self.pipeline.run_due(due, &mut self.batch);
                assert!(self.pipeline.due().is_none_or(|next| next > due), "it would be called for ever");
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
        let mut test = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
        test.push("x\n");
        for percent in 1..9 {
            test.push(&format!("\x1b[2A\x1b[2K\ra\n\x1b[2K\r {percent}0%\n"));
            test.wait(REDRAW_SETTLE_TIME / 2);
        }
        assert_eq!(test.lines(), Vec::<String>::new(), "it is drawn still, and x waits for what may go on");
        assert!(test.pipeline.is_open(0) && test.pipeline.held(0) > 0);
        test.wait(REDRAW_SETTLE_TIME);
        assert_eq!(test.lines(), ["x"]);
        test.wait(Duration::from_secs(5));
        assert_eq!(test.lines(), ["x", "a\n 80%"]);
        assert!(!test.pipeline.is_open(0));
        assert!(test.pipeline.deadlines.is_empty());
    }

    #[test]
    fn what_is_left_of_a_calm_block_is_shown() {
        let mut test = TestPipeline::new(&commanded());
        test.push("a\nb\n\x1b[1A\x1b[2Kc\nhalf");
        test.wait(REDRAW_SETTLE_TIME * 2);
        assert_eq!(test.lines(), ["a", "b", "c"]);
        assert_eq!(test.pipeline.open_line(0), b"half");
        assert_eq!(test.pipeline.shown, Some(0));
        test.pipeline.finish(0, test.now, &mut test.batch);
        assert_eq!(test.lines(), ["a", "b", "c", "half"]);
    }

    #[test]
    fn files_are_not_drawn_and_every_byte_held_is_counted() {
        let mut test = TestPipeline::new(&spec(SourceKind::File(FileSourceConfig::new("/x".into()))));
        let drawing = "\x1b[1A\x1b[2K\rb";
        test.push(&format!("a\n{drawing}"));
        assert_eq!((test.lines(), test.pipeline.held(0)), (vec!["a".to_owned()], drawing.len() as u64));
        test.wait(REDRAW_SETTLE_TIME * 2);
        test.push("c\n");
        assert_eq!((test.lines(), test.pipeline.held(0)), (vec!["a".to_owned(), "bc".to_owned()], 0));
    }

    #[test]
    fn progress_sees_each_line_and_the_unfinished_one() {
        let mut test = TestPipeline::new(&commanded());
        test.push("[ 10%] a\n");
        assert_eq!(test.percent(), Some(10.0));
        test.push("[ 20%] b");
        assert_eq!(test.percent(), Some(10.0), "ten times a second at most");
        test.wait(MIN_OPEN_LINE_INTERVAL);
        assert_eq!(test.percent(), Some(20.0));
        test.wait(Duration::from_mins(1));
        assert!(test.batch.last_progress().unwrap().stale);
        let mut off = TestPipeline::new(&Stream { progress: config::ProgressDetection::Off, ..commanded() });
        off.push("[ 10%] a\n");
        assert_eq!((off.percent(), off.pipeline.due()), (None, None));
    }

    #[test]
    fn progress_is_seen_in_lines_that_are_joined() {
        let mut test = TestPipeline::new(&Stream { multiline: Some(indented()), ..commanded() });
        test.push("[ 10%] a\n");
        assert_eq!(test.percent(), Some(10.0), "it is not waited for");
        test.push("[ 20%] b\n");
        test.wait(Duration::from_secs(5));
        assert_eq!(test.percent(), Some(20.0));
        assert_eq!(test.lines(), ["[ 10%] a", "[ 20%] b"]);
    }
}
