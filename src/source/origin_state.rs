//! One origin of a source: bytes become lines, which are decoded, joined and emitted.

use std::borrow::Cow;
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::{self, SourceKind, Stream, TerminalSize};
use crate::event::{Flags, OpenLine, Origin, Time};
use crate::line::{
    CarriageReturnMode, Decoder, Line, LineJoiner, LineSplitter, MultilineRule, PIPE_COLUMNS, PIPE_ROWS, PackedDecoder,
    PackedJoin, PackedOutput, PackedRedaction, Redactor, Screen, after_carriage_return,
};
use crate::progress::MAX_PROGRESS_LINE_SIZE;
use crate::stream::Batch;

use super::ClockReading;
use super::emit::{OriginOutput, redact, redact_origin};
use super::envelope::{EnvelopeTrack, envelope_format};
use super::progress::SourceProgress;

/// The time without a redraw after which rows that a program has drawn, and has written below, are final: most programs
/// redraw several times a second.
pub(super) const REDRAW_SETTLE_TIME: Duration = Duration::from_secs(1);

/// The time for which the rest of a line is awaited that a container runtime cut into pieces: the runtime writes the
/// pieces of a line one after the other, so the rest was lost, or the program drew something that it never ends.
const MAX_PIECE_WAIT: Duration = Duration::from_mins(1);

/// The largest drawing that is recorded with a checkpoint, in bytes: two of them, as JSON in JSON, fit into a checkpoint with
/// the facts about the file.
const MAX_PACKED_DRAWING_SIZE: usize = 12 << 10;

/// The byte order mark at the start of some UTF-8 files. UTF-16 files have one, too, which is decoded to the same
/// bytes.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The state of one origin of a [`LinePipeline`](super::pipeline::LinePipeline): its unfinished line, and all that is
/// known of the lines before it.
#[derive(Debug)]
pub(super) struct OriginState {
    pub(super) decoder: Decoder,
    /// Splits text into lines; the text is drawn first only where [`terminal_size`] gives a size.
    pub(super) lines: Screen,
    /// The longest piece of a line that is decoded, in bytes.
    max_piece: usize,
    pub(super) output: OriginOutput,
    /// Nothing was read yet, and the content before it is not known.
    pub(super) nothing_read: bool,
    /// Joins lines that belong together, with the time to wait for the next one.
    joined: Option<(LineJoiner, Duration)>,
    /// The next line is the first of its file.
    pub(super) at_file_start: bool,
    /// The time at which waiting for further lines that belong together ends.
    pub(super) join_due: Option<Instant>,
    /// The time at which what was drawn is considered final, and the number of that drawing.
    pub(super) settle_due: Option<Instant>,
    unsettled: Option<u32>,
    /// The time at which waiting for the next piece of a line, which comes in another envelope, ends.
    pub(super) piece_due: Option<Instant>,
    /// The state after the text that an earlier process emitted, while that is skipped and may contain secrets.
    skipped: Option<Box<OriginState>>,
}

/// The state of an [`OriginState`] for another process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PackedOrigin {
    decoder: PackedDecoder,
    output: PackedOutput,
    joined: Option<PackedJoin>,
    redaction: Option<PackedRedaction>,
    at_file_start: bool,
}

/// The causes that complete a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipelineInput<'a> {
    /// More bytes arrived.
    Bytes(&'a [u8]),
    /// The block is not redrawn any more.
    Settle,
    /// The terminal has this size now.
    Resize(TerminalSize),
    /// Nothing more can come.
    End,
}

impl OriginState {
    pub(super) fn new(spec: &Stream, at: usize, origin: Origin) -> Self {
        let mode = match spec.carriage_return {
            config::CarriageReturn::Fold => CarriageReturnMode::Fold,
            config::CarriageReturn::Split => CarriageReturnMode::Split,
            config::CarriageReturn::Keep => CarriageReturnMode::Keep,
        };
        let terminal_size = terminal_size(spec).filter(|_| mode == CarriageReturnMode::Fold);
        let decoder = Decoder::new(spec.encoding.0);
        let decoder = if terminal_size.is_some() { decoder.before_splitting() } else { decoder };
        let (redact, longest) = redact(spec).map_or((None, spec.max_line), |(redact, longest)| (Some(redact), longest));
        let joined = spec.multiline.as_ref().map(|multiline| {
            let expression = multiline.expression.0.clone();
            let rule =
                if multiline.begins { MultilineRule::Start(expression) } else { MultilineRule::Continue(expression) };
            (LineJoiner::new(rule, longest), multiline.timeout)
        });
        // Two joined lines have a newline between them.
        let max_piece = longest - usize::from(joined.is_some());
        let lines = match terminal_size {
            Some((columns, rows)) => Screen::terminal(max_piece, columns, rows),
            None => Screen::undrawn(LineSplitter::new(max_piece, mode).with_source_unit(decoder.source_unit())),
        };
        Self {
            decoder,
            lines,
            max_piece,
            output: OriginOutput {
                number: at,
                origin: redact_origin(redact.as_ref(), origin),
                read: Time::default(),
                redact,
                max_line: spec.max_line,
                envelopes: None,
                level_of_pieces: Flags::NONE,
            },
            nothing_read: true,
            joined,
            at_file_start: true,
            join_due: None,
            settle_due: None,
            unsettled: None,
            piece_due: None,
            skipped: None,
        }
    }

    /// The state for another process, `with_recent` lines that the program may still move up to.
    pub(super) fn pack(&self, with_recent: bool) -> PackedOrigin {
        PackedOrigin {
            decoder: self.decoder.pack(),
            output: self.lines.pack_all(with_recent),
            joined: self.joined.as_ref().map(|(joined, _)| joined.pack()),
            redaction: self.output.redact.as_ref().map(Redactor::pack),
            at_file_start: self.at_file_start,
        }
    }

    /// Continues a packed state. All waiting times begin again.
    pub(super) fn unpack(&mut self, packed: PackedOrigin, now: ClockReading) {
        self.decoder.unpack(packed.decoder);
        self.lines.unpack_all(packed.output);
        self.lines.set_source_unit(self.decoder.source_unit());
        if let (Some((joined, _)), Some(packed)) = (&mut self.joined, packed.joined) {
            joined.unpack(packed);
        }
        if let (Some(redact), Some(packed)) = (&mut self.output.redact, packed.redaction) {
            redact.unpack(packed);
        }
        (self.output.read, self.nothing_read, self.at_file_start) = (now.time, false, packed.at_file_start);
        self.unsettled = self.lines.unsettled();
        self.settle_due = self.unsettled.map(|_| now.instant + REDRAW_SETTLE_TIME);
        self.set_join_due(now.instant);
    }

    /// The drawing of the program, for a checkpoint. `None` if it is too large or may contain secrets: after a restart,
    /// everything after the last final line is then read again.
    pub(super) fn packed_drawing(&self) -> Option<String> {
        let is_joining = self.joined.as_ref().is_some_and(|(joined, _)| joined.open().is_some());
        if self.output.redact.is_some() || is_joining {
            return None;
        }
        self.lines.pack_drawing(MAX_PACKED_DRAWING_SIZE)
    }

    /// Continues a [packed drawing](Self::packed_drawing). Returns whether it did: one of another version of this program is
    /// not continued.
    pub(super) fn resume_drawing(&mut self, packed: &str, now: ClockReading) -> bool {
        let is_resumed = self.lines.resume_drawing(packed.as_bytes());
        if is_resumed {
            (self.output.read, self.nothing_read, self.at_file_start) = (now.time, false, false);
            self.unsettled = self.lines.unsettled();
            self.settle_due = self.unsettled.map(|_| now.instant + REDRAW_SETTLE_TIME);
        }
        is_resumed
    }

    pub(super) fn push(&mut self, chunk: &[u8], now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        (self.output.read, self.nothing_read) = (now.time, false);
        self.process(PipelineInput::Bytes(chunk), progress, batch);
        if let Some(reported) = self.lines.take_reported_progress() {
            progress.reported(&reported, now, batch);
        }
        let unsettled = self.lines.unsettled();
        if unsettled != self.unsettled {
            self.unsettled = unsettled;
            self.settle_due = unsettled.map(|_| now.instant + REDRAW_SETTLE_TIME);
        }
        self.set_join_due(now.instant);
    }

    /// Examines text that an earlier process emitted, since a secret of several lines may begin in it.
    pub(super) fn skip(&mut self, spec: &Stream, text: &[u8], newline: bool) {
        if self.output.redact.is_none() || (text.is_empty() && !newline) {
            return;
        }
        let mut skipped = self.skipped.take().unwrap_or_else(|| {
            let mut skipped = Self::new(spec, self.output.number, self.output.origin.clone());
            skipped.at_file_start = false;
            skipped.resume_redaction(self);
            Box::new(skipped)
        });
        for text in [text, if newline { b"\n" } else { b"" }] {
            skipped.process(PipelineInput::Bytes(text), &mut SourceProgress::off(), &mut Batch::new());
        }
        self.skipped = Some(skipped);
    }

    /// Ends the text that an earlier process emitted.
    pub(super) fn end_skip(&mut self) {
        if let Some(mut skipped) = self.skipped.take() {
            skipped.end_joined(&mut SourceProgress::off(), &mut Batch::new());
            self.resume_redaction(&skipped);
        }
    }

    /// The state for the rest of the same file as number `at`, from the end of a line on, without the joined lines.
    pub(super) fn rest_of_file(&self, spec: &Stream, at: usize) -> Self {
        let mut rest = Self::new(spec, at, self.output.origin.clone());
        rest.decoder = self.decoder.within_same_file();
        rest.lines.set_source_unit(rest.decoder.source_unit());
        (rest.nothing_read, rest.at_file_start) = (self.nothing_read, self.at_file_start);
        rest.resume_redaction(self);
        rest
    }

    /// Continues the secret of several lines, if any, at which another state of this origin stopped.
    pub(super) fn resume_redaction(&mut self, before: &Self) {
        if let (Some(redact), Some(before)) = (&mut self.output.redact, &before.output.redact) {
            redact.resume(before.carry());
        }
    }

    /// Restarts the wait for the next piece of an unfinished line.
    pub(super) fn wait_for_piece(&mut self, now: Instant) {
        self.piece_due = self.lines.is_open().then(|| now + MAX_PIECE_WAIT);
    }

    pub(super) fn finish(&mut self, now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        self.output.read = now.time;
        self.process(PipelineInput::End, progress, batch);
        self.end_joined(progress, batch);
        self.at_file_start = self.output.envelopes.is_none();
    }

    /// Ends the unfinished line, since another file begins that continues the log.
    pub(super) fn change_file(&mut self, now: ClockReading, progress: &mut SourceProgress, batch: &mut Batch) {
        self.output.read = now.time;
        self.process(PipelineInput::End, progress, batch);
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.end_of_file(&mut |line| output.emit(line, Some(progress), batch));
        }
        (self.settle_due, self.unsettled, self.at_file_start) = (None, None, true);
        self.set_join_due(now.instant);
    }

    /// Makes joined lines wait at least until `until` and the time for the next line.
    pub(super) fn hold_joined(&mut self, until: Instant) {
        if let (Some(due), Some((_, timeout))) = (&mut self.join_due, &self.joined) {
            *due = (*due).max(until + *timeout);
        }
    }

    /// Emits the joined lines, since nothing follows them.
    pub(super) fn end_joined(&mut self, progress: &mut SourceProgress, batch: &mut Batch) {
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.finish(&mut |line| output.emit(line, Some(progress), batch));
        }
        (self.join_due, self.settle_due, self.unsettled, self.piece_due) = (None, None, None, None);
        if let Some(envelopes) = &mut self.output.envelopes {
            envelopes.finish();
        }
    }

    /// Emits the joined lines.
    pub(super) fn flush(&mut self, progress: &mut SourceProgress, batch: &mut Batch) {
        let Self { joined, output, .. } = self;
        if let Some((joined, _)) = joined {
            joined.flush(&mut |line| output.emit(line, Some(progress), batch));
        }
        self.update_envelopes();
    }

    /// Emits what is not redrawn any more.
    pub(super) fn settle(&mut self, now: Instant, progress: &mut SourceProgress, batch: &mut Batch) {
        (self.settle_due, self.unsettled) = (None, None);
        self.process(PipelineInput::Settle, progress, batch);
        self.set_join_due(now);
    }

    /// Restarts the wait for lines that belong to the joined ones.
    fn set_join_due(&mut self, now: Instant) {
        self.join_due = self.joined.as_ref().filter(|(joined, _)| joined.open().is_some()).map(|(_, time)| now + *time);
    }

    /// Emits the lines that are complete.
    pub(super) fn process(&mut self, input: PipelineInput<'_>, progress: &mut SourceProgress, batch: &mut Batch) {
        let text = match input {
            PipelineInput::Bytes(chunk) => self.decoder.decode_chunk(chunk, false),
            PipelineInput::Settle | PipelineInput::Resize(_) => Cow::Borrowed(&[][..]),
            PipelineInput::End => self.decoder.decode_chunk(&[], true),
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
            PipelineInput::Resize(size) => {
                lines.resize(size.columns, size.rows, |line| decoder.decode_line(line, *max_piece, &mut join));
            }
            PipelineInput::End => {
                lines.finish(|line| decoder.decode_line(line, *max_piece, &mut join));
                // Only the whole file has a byte order mark of UTF-16, not the text in an envelope.
                if output.envelopes.is_none() {
                    decoder.restart();
                }
            }
        }
        self.update_envelopes();
    }

    /// Records up to which envelope the text was emitted.
    fn update_envelopes(&mut self) {
        let held = self.held();
        if let Some(envelopes) = &mut self.output.envelopes {
            envelopes.set_held(held);
        }
    }

    /// Returns whether everything that was read is a complete line, which was emitted or is joined.
    pub(super) fn is_between_lines(&self) -> bool {
        // What was drawn before a restart is not held: it is not read again.
        self.decoder.held() + self.lines.held() + self.redacted() == 0 && !self.lines.is_open()
    }

    /// The number of bytes that are held back since they may contain a secret.
    fn redacted(&self) -> u64 {
        self.output.redact.as_ref().map_or(0, |redact| redact.held() as u64)
    }

    pub(super) fn held(&self) -> u64 {
        self.decoder.held()
            + self.lines.held()
            + self.joined.as_ref().map_or(0, |(joined, _)| joined.held())
            + self.redacted()
    }

    /// The rows that the program can still change, without secrets; joined lines come first.
    pub(super) fn live_rows(&self) -> Vec<Vec<u8>> {
        let mut rows: Vec<Vec<u8>> = Vec::new();
        if let Some(joined) = self.joined.as_ref().and_then(|(joined, _)| joined.open()) {
            rows.extend(joined.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        let unfinished = self.lines.live_rows();
        if let [line] = &unfinished[..] {
            let line = if self.at_file_start { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
            rows.push(after_carriage_return(line).to_vec());
        } else {
            rows.extend(unfinished);
        }
        // Secrets are found in all rows, before any is left out: a key may begin in the first one.
        if let Some(redact) = &self.output.redact {
            let redacted = redact.redact_open(&rows.join(&b"\n"[..]));
            rows = redacted.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        }
        while rows.pop_if(|row| row.is_empty()).is_some() {}
        rows.drain(..rows.len().saturating_sub(OpenLine::MAX_ROWS));
        // The oldest rows are left out, but the last one is shown in any case.
        let sizes = rows.iter().rev().scan(0, |size, row| {
            *size += row.len();
            Some(*size)
        });
        let shown = sizes.take_while(|size| *size <= OpenLine::MAX_SIZE).count().max(1);
        rows.drain(..rows.len().saturating_sub(shown));
        rows
    }

    /// The live rows if they may show progress; otherwise none. Called for each chunk: a long line that arrives in small
    /// pieces must not be copied for each of them.
    pub(super) fn live_rows_for_progress(&self) -> Vec<Vec<u8>> {
        let joined = self.joined.as_ref().and_then(|(joined, _)| joined.open()).map_or(0, <[u8]>::len);
        if joined + self.lines.open_size() <= MAX_PROGRESS_LINE_SIZE { self.live_rows() } else { Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.lines.is_open() && self.joined.as_ref().is_none_or(|(joined, _)| joined.open().is_none())
    }

    /// The time at which the origin is due, and the [offset](Self::begin_in_envelopes) of what is emitted then: of the
    /// streams that are due at the same time, the one comes first that was written first.
    pub(super) fn next_due(&self) -> Option<(Instant, u64)> {
        let due = self.join_due.into_iter().chain(self.settle_due).chain(self.piece_due).min()?;
        Some((due, self.begin_in_envelopes()))
    }

    /// The offset of the envelope with the first byte that is not emitted; 0 if there is none, or there are no envelopes.
    pub(super) fn begin_in_envelopes(&self) -> u64 {
        self.output.envelopes.as_ref().and_then(EnvelopeTrack::position).map_or(0, |(offset, _)| offset)
    }
}

/// The size of the terminal on which the output of a source is drawn; `None` if it is not drawn. Text in an encoding whose
/// control characters may be others is not interpreted in files: the offsets in them must be exact.
fn terminal_size(spec: &Stream) -> Option<(u16, u16)> {
    match &spec.source {
        SourceKind::Process(process) => {
            Some(process.pty.map_or((PIPE_COLUMNS, PIPE_ROWS), |size| (size.columns, size.rows)))
        }
        SourceKind::File(_) if envelope_format(spec.format).is_some() && spec.encoding.0 == encoding_rs::UTF_8 => {
            Some((PIPE_COLUMNS, PIPE_ROWS))
        }
        SourceKind::File(_) | SourceKind::Journal(_) | SourceKind::Push => None,
    }
}
