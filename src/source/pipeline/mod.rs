//! The line pipeline: turns the bytes that a source read into events of a batch, which are lines and the visible
//! unfinished line. No I/O.
//!
//! The steps from bytes to lines are in [`origin_state`](super::origin_state); this file finds the origin, and what is due
//! when.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::config::{FileSelector, SourceKind, Stream, TerminalSize};
use crate::event::{Loss, OpenLine, Origin};
use crate::line::{Envelope, EnvelopeStream, MAX_SECRET_LINES, SourceUnit};
use crate::stream::Batch;

use super::ClockReading;
use super::envelope::{EnvelopeState, EnvelopeTrack, Lanes, StreamPosition, envelope_format};
use super::live_rows::LiveRowsSchedule;
use super::origin_state::{OriginState, PackedOrigin, PipelineInput};
use super::progress::SourceProgress;

/// The distance in bytes at which a private key may begin before the first byte that is read: its lines have 64
/// characters (RFC 7468, section 2) or 76, and it may be in UTF-16.
const MAX_KEY_LOOKBACK: usize = 160 * MAX_SECRET_LINES;

/// The distance in bytes at which the lines to which a program moves up may begin before the first byte that is read: a
/// screen of lines in their envelopes, few of which are longer than 600 bytes.
const MAX_LINE_LOOKBACK: usize = 16 << 10;

/// The pipeline for all bytes of a source, which may have several origins, each with live rows of its own.
#[derive(Debug)]
pub(super) struct LinePipeline {
    spec: Stream,
    origins: HashMap<usize, OriginState>,
    /// The envelopes of each origin, if the lines are wrapped; `origins` then has the streams inside.
    envelopes: HashMap<usize, EnvelopeState>,
    /// The number of the next stream inside envelopes: these count down, and those of a source count up.
    next_lane: usize,
    /// The text of an envelope with its newline; only the memory is kept.
    line: Vec<u8>,
    progress: SourceProgress,
    /// The times at which origins are due, as [`OriginState::next_due`] gives them, each with the number of its origin.
    deadlines: BTreeSet<((Instant, u64), usize)>,
    live_rows: LiveRowsSchedule,
}

impl LinePipeline {
    /// Creates the pipeline of a stream with these origins.
    pub(super) fn new(spec: &Stream, origins: impl IntoIterator<Item = Origin>) -> Self {
        let mut pipeline = Self {
            spec: spec.clone(),
            origins: HashMap::new(),
            envelopes: HashMap::new(),
            next_lane: usize::MAX,
            line: Vec::new(),
            progress: SourceProgress::new(spec),
            deadlines: BTreeSet::new(),
            live_rows: LiveRowsSchedule::default(),
        };
        for (at, origin) in origins.into_iter().enumerate() {
            pipeline.add(at, origin);
        }
        pipeline
    }

    /// Adds an origin as number `at`.
    pub(crate) fn add(&mut self, at: usize, origin: Origin) {
        if let Some(format) = envelope_format(self.spec.format) {
            self.envelopes.insert(at, EnvelopeState::new(format, origin));
        } else {
            self.origins.insert(at, OriginState::new(&self.spec, at, origin));
        }
    }

    /// Removes an origin, which has nothing unfinished.
    pub(crate) fn remove(&mut self, at: usize) {
        for lane in self.envelopes.remove(&at).iter().flat_map(|envelopes| envelopes.lanes.numbers()) {
            self.remove(lane);
        }
        if let Some(state) = self.origins.remove(&at) {
            if let Some(next) = state.next_due() {
                self.deadlines.remove(&(next, at));
            }
            self.live_rows.forget(at, &state.output.origin);
        }
    }

    /// Moves the unfinished line of `at` to the new number `to`, since the next bytes of `at` come from another file.
    pub(crate) fn split_off(&mut self, at: usize, to: usize) {
        if let Some(envelopes) = self.envelopes.remove(&at) {
            self.add(at, envelopes.lanes.source().clone());
            self.envelopes.insert(to, envelopes);
            return;
        }
        let Some(mut state) = self.origins.remove(&at) else { return };
        if let Some(next) = state.next_due() {
            self.deadlines.remove(&(next, at));
            self.deadlines.insert((next, to));
        }
        self.live_rows.renumber(at, to, &state.output.origin);
        state.output.number = to;
        self.add(at, state.output.origin.clone());
        self.origins.insert(to, state);
    }

    /// Begins to read two files at once, neither of which is [within a line](Self::is_between_lines): the rest of the
    /// present file as number `to`, and another one, which continues the log, as `at`. Joined lines stay there.
    pub(crate) fn branch_off(&mut self, at: usize, to: usize) {
        if self.envelopes.contains_key(&at) {
            return self.split_off(at, to);
        }
        if let Some(state) = self.origins.get(&at) {
            let rest = state.rest_of_file(&self.spec, to);
            self.origins.insert(to, rest);
        }
    }

    /// Adds the lines that `chunk` completes to `batch`.
    pub(super) fn push(&mut self, origin: usize, chunk: &[u8], now: ClockReading, batch: &mut Batch) {
        if let Some(mut envelopes) = self.envelopes.remove(&origin) {
            let EnvelopeState { splitter, lanes, nothing_read } = &mut envelopes;
            *nothing_read = false;
            splitter.push(chunk, |start, envelope| self.push_envelope(lanes, (start, &envelope), now, batch));
            self.envelopes.insert(origin, envelopes);
            return;
        }
        self.update(origin, now, batch, |state, progress, batch| {
            state.push(chunk, now, progress, batch);
            progress.open(state.output.number, || state.live_rows_for_progress(), now, batch);
            false
        });
    }

    /// Changes the size of the terminal on which an origin is drawn. Rows that do not fit any more become lines.
    pub(super) fn resize(&mut self, origin: usize, size: TerminalSize, now: ClockReading, batch: &mut Batch) {
        self.update(origin, now, batch, |state, progress, batch| {
            state.process(PipelineInput::Resize(size), progress, batch);
            false
        });
    }

    /// Adds the lines that an envelope completes to `batch`.
    fn push_envelope(
        &mut self,
        lanes: &mut Lanes,
        (start, envelope): (u64, &Envelope<'_>),
        now: ClockReading,
        batch: &mut Batch,
    ) {
        let number = self.lane(lanes, envelope.stream);
        let length = envelope.text.len() + usize::from(envelope.newline);
        let done = lanes.take_done(envelope.stream, start, length);
        let newline = envelope.newline && done < length;
        let (skipped, text) = envelope.text.split_at(done.min(envelope.text.len()));
        if done > 0
            && let Some(state) = self.origins.get_mut(&number)
        {
            state.skip(&self.spec, skipped, envelope.newline && !newline);
            // Between the lines that were looked back at and the next ones are those that are skipped.
            state.lines.forget_above();
        }
        // The text and its newline are pushed as one: what ends with the line, such as most colours, needs no screen then.
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if newline {
            line.extend_from_slice(text);
            line.push(b'\n');
        }
        self.update(number, now, batch, |state, progress, batch| {
            if let Some(track) = &mut state.output.envelopes {
                track.add(start, envelope);
                if done > 0 && done == length {
                    track.skip_all(envelope.newline);
                } else {
                    track.skip(done as u64);
                }
            }
            if done < length {
                state.end_skip();
            }
            if let Some(track) = state.output.envelopes.as_mut().filter(|_| newline) {
                track.add_newline();
            }
            let text = if newline { &line } else { text };
            // An empty text would end what is known of the envelope before its line is complete.
            if !text.is_empty() {
                state.push(text, now, progress, batch);
            }
            state.wait_for_piece(now.instant);
            progress.open(number, || state.live_rows_for_progress(), now, batch);
            false
        });
        self.line = line;
    }

    /// The number of the origin of a stream inside the envelopes.
    fn lane(&mut self, lanes: &mut Lanes, stream: EnvelopeStream) -> usize {
        if let Some(number) = lanes.number(stream) {
            return number;
        }
        let number = self.next_lane;
        self.next_lane -= 1;
        let mut state = OriginState::new(&self.spec, number, lanes.origin(stream, has_several_origins(&self.spec)));
        // Only the envelope is at the start of the file.
        (state.at_file_start, state.nothing_read) = (false, false);
        state.decoder.begin_within(&[]);
        state.output.envelopes = Some(EnvelopeTrack::default());
        self.origins.insert(number, state);
        lanes.set_number(stream, number);
        number
    }

    /// Continues where an earlier process stopped: with these positions of the streams inside the envelopes, while the
    /// next byte is that of the checkpoint.
    pub(super) fn resume(&mut self, origin: usize, positions: &[StreamPosition], now: ClockReading, batch: &mut Batch) {
        let Some(mut envelopes) = self.envelopes.remove(&origin) else { return };
        envelopes.lanes.resume(envelopes.splitter.received(), positions);
        for position in positions {
            let stream = EnvelopeStream::ALL.into_iter().find(|stream| stream.index() == position.stream);
            if let (Some(stream), Some(drawing)) = (stream, &position.drawing) {
                let number = self.lane(&mut envelopes.lanes, stream);
                self.update(number, now, batch, |state, _, batch| {
                    if !state.resume_drawing(drawing, now) {
                        let origin = state.output.origin.as_str();
                        let reason = format!("{origin}: the state of what was drawn before the restart cannot be read");
                        batch.loss(now.time, &Loss { missed: None, bytes: None, reason });
                    }
                    false
                });
            }
        }
        self.envelopes.insert(origin, envelopes);
    }

    /// The checkpoint of an origin: the number of bytes that are read again after a restart, and the positions of the
    /// streams inside the envelopes that were processed beyond it.
    pub(super) fn checkpoint(&self, origin: usize) -> (u64, Vec<StreamPosition>) {
        let drawing = |number| self.origins.get(&number).and_then(OriginState::packed_drawing);
        self.position(origin, drawing).unwrap_or_else(|| (self.held(origin), Vec::new()))
    }

    /// The positions of the streams inside the envelopes that were emitted beyond [`held`](Self::held).
    pub(super) fn positions(&self, origin: usize) -> Vec<StreamPosition> {
        self.position(origin, |_| None).map_or_else(Vec::new, |position| position.1)
    }

    fn position(&self, origin: usize, drawing: impl Fn(usize) -> Option<String>) -> Option<(u64, Vec<StreamPosition>)> {
        let track = |number| self.origins.get(&number).and_then(|state: &OriginState| state.output.envelopes.as_ref());
        self.envelopes.get(&origin).map(|envelopes| envelopes.position(track, drawing))
    }

    /// The number of bytes before the first one that matter, since a secret may continue from there, or a program may move up
    /// to lines in them; 0 once something was read.
    pub(super) fn lookback(&self, origin: usize) -> usize {
        let redacts = self.spec.redact.is_some();
        match (self.envelopes.get(&origin), self.origins.get(&origin)) {
            (Some(envelopes), _) if envelopes.nothing_read && redacts => MAX_KEY_LOOKBACK,
            (Some(envelopes), _) if envelopes.nothing_read => MAX_LINE_LOOKBACK,
            (None, Some(state)) if state.nothing_read && redacts => MAX_KEY_LOOKBACK,
            _ => 0,
        }
    }

    /// Checks whether a secret of several lines begins in these bytes, which precede the first byte that is read, and which
    /// lines a program may move up to. There are [`lookback`](Self::lookback) of them, or all.
    pub(super) fn look_back(&mut self, origin: usize, bytes: &[u8], now: ClockReading) {
        if let Some(mut envelopes) = self.envelopes.remove(&origin) {
            envelopes.nothing_read = false;
            let mut before = Self::new(&self.spec, [envelopes.lanes.source().clone()]);
            before.push(0, bytes, now, &mut Batch::new());
            for stream in EnvelopeStream::ALL {
                let number = before.envelopes.get(&0).and_then(|envelopes| envelopes.lanes.number(stream));
                if let Some(before) = number.and_then(|number| before.origins.remove(&number)) {
                    let number = self.lane(&mut envelopes.lanes, stream);
                    if let Some(state) = self.origins.get_mut(&number) {
                        state.resume_redaction(&before);
                        state.lines.follow(&before.lines);
                    }
                }
            }
            self.envelopes.insert(origin, envelopes);
            return;
        }
        let Some(state) = self.origins.get_mut(&origin) else { return };
        state.nothing_read = false;
        let mut before = OriginState::new(&self.spec, state.output.number, state.output.origin.clone());
        before.decoder = state.decoder.within_same_file();
        before.push(bytes, now, &mut SourceProgress::new(&self.spec), &mut Batch::new());
        state.resume_redaction(&before);
    }

    /// Emits the unfinished line, since nothing more can come. A new line begins, which may be the first of another
    /// file.
    pub(super) fn finish(&mut self, origin: usize, now: ClockReading, batch: &mut Batch) {
        if let Some(EnvelopeState { mut splitter, mut lanes, .. }) = self.envelopes.remove(&origin) {
            splitter.finish(|start, envelope| self.push_envelope(&mut lanes, (start, &envelope), now, batch));
            // What was written first is emitted first.
            let begin = |number: &usize| self.origins.get(number).map_or(0, OriginState::begin_in_envelopes);
            let mut numbers: Vec<usize> = lanes.numbers().collect();
            numbers.sort_by_key(begin);
            for number in numbers {
                self.finish(number, now, batch);
            }
            lanes.forget_positions();
            self.envelopes.insert(origin, EnvelopeState { splitter, lanes, nothing_read: false });
            return;
        }
        self.update(origin, now, batch, |state, progress, batch| {
            state.finish(now, progress, batch);
            progress.open(state.output.number, Vec::new, now, batch);
            true
        });
    }

    /// Ends the unfinished line, since another file begins that continues the log. Joined lines wait for those of that
    /// file.
    pub(super) fn change_file(&mut self, origin: usize, now: ClockReading, batch: &mut Batch) {
        if self.envelopes.contains_key(&origin) {
            // The pieces of a line are in one file.
            return self.finish(origin, now, batch);
        }
        self.update(origin, now, batch, |state, progress, batch| {
            state.change_file(now, progress, batch);
            progress.open(state.output.number, Vec::new, now, batch);
            true
        });
    }

    /// Emits the joined lines, although the next line may belong to them.
    pub(super) fn flush_joined(&mut self, at: usize, now: ClockReading, batch: &mut Batch) {
        self.update(at, now, batch, |state, progress, batch| {
            state.join_due = None;
            state.flush(progress, batch);
            false
        });
    }

    /// Makes joined lines wait at least until `until` and the time for the next line, since that may be in a file that is
    /// read only then.
    pub(super) fn hold_joined(&mut self, at: usize, until: Instant) {
        let Some(state) = self.origins.get_mut(&at) else { return };
        let before = state.next_due();
        state.hold_joined(until);
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
        if let Some((held, _)) = self.position(origin, |_| None) {
            return held;
        }
        self.origins.get(&origin).map_or(0, OriginState::held)
    }

    /// Returns whether the next byte begins a line.
    pub(super) fn at_line_start(&self, origin: usize) -> bool {
        if let Some(EnvelopeState { splitter, .. }) = self.envelopes.get(&origin) {
            return splitter.line_start() == splitter.received();
        }
        self.origins.get(&origin).is_none_or(|state| state.decoder.held() + state.lines.held() == 0)
    }

    /// Returns whether everything that was read is a complete line, which was emitted or is joined.
    pub(super) fn is_between_lines(&self, origin: usize) -> bool {
        let is_between_lines = |number| self.origins.get(&number).is_none_or(OriginState::is_between_lines);
        match self.envelopes.get(&origin) {
            Some(envelopes) => self.held(origin) == 0 && envelopes.lanes.numbers().all(is_between_lines),
            None => is_between_lines(origin),
        }
    }

    /// Returns whether there is an unfinished line.
    pub(super) fn is_open(&self, origin: usize) -> bool {
        self.held(origin) > 0
    }

    /// The unfinished state of an origin for another process, `with_recent` lines that the program may still move up to;
    /// `None` if there is no such origin.
    pub(super) fn pack(&self, origin: usize, with_recent: bool) -> Option<PackedOrigin> {
        self.origins.get(&origin).map(|state| state.pack(with_recent))
    }

    /// Continues the unfinished state of an origin in another process.
    pub(super) fn unpack(&mut self, origin: usize, packed: PackedOrigin, now: ClockReading, batch: &mut Batch) {
        self.update(origin, now, batch, |state, _, _| {
            state.unpack(packed, now);
            false
        });
    }

    /// The time at which to call [`run_due`](Self::run_due).
    pub(super) fn due(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|((due, _), _)| *due);
        deadline.into_iter().chain(self.live_rows.due()).chain(self.progress.due()).min()
    }

    /// Does everything that is due by `now`: adds live rows and the progress to `batch`, joined lines whose waiting
    /// time has ended, and blocks that are no longer redrawn. Returns the origins of the joined lines.
    pub(super) fn run_due(&mut self, now: Instant, batch: &mut Batch) -> Vec<usize> {
        let mut flushed = Vec::new();
        while let Some(&(next, at)) = self.deadlines.first().filter(|((due, _), _)| *due <= now) {
            self.deadlines.remove(&(next, at));
            let Some(state) = self.origins.get_mut(&at) else { continue };
            let before = batch.len();
            if state.join_due.is_some_and(|due| due <= now) {
                state.join_due = None;
                state.flush(&mut self.progress, batch);
                flushed.push(self.source_of(at));
            }
            let Some(state) = self.origins.get_mut(&at) else { continue };
            if state.piece_due.is_some_and(|due| due <= now) {
                state.process(PipelineInput::End, &mut self.progress, batch);
                state.end_joined(&mut self.progress, batch);
                flushed.push(self.source_of(at));
            }
            let Some(state) = self.origins.get_mut(&at) else { continue };
            if state.settle_due.is_some_and(|due| due <= now) {
                state.settle(now, &mut self.progress, batch);
                flushed.push(self.source_of(at));
            }
            if batch.len() > before {
                self.update_live_rows(at, true, now, batch);
            }
            let next = self.origins.get(&at).and_then(OriginState::next_due);
            self.deadlines.extend(next.map(|next| (next, at)));
        }
        while let Some(at) = self.live_rows.take_due(now) {
            let Some(state) = self.origins.get(&at) else { continue };
            let (time, origin) = (state.output.read, state.output.origin.clone());
            self.live_rows.show(at, OpenLine { time, origin, rows: state.live_rows() }, now, batch);
        }
        self.progress.run_due(now, !flushed.is_empty(), batch);
        flushed
    }

    /// The origin of the source in whose envelopes `at` is, or `at` itself.
    fn source_of(&self, at: usize) -> usize {
        let is_in = |envelopes: &EnvelopeState| envelopes.lanes.numbers().any(|number| number == at);
        self.envelopes.iter().find(|(_, envelopes)| is_in(envelopes)).map_or(at, |(source, _)| *source)
    }

    /// Runs `work`, which returns whether the line has ended, and updates the live rows.
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
        self.update_live_rows(at, ended, now.instant, batch);
        let next = self.origins.get(&at).and_then(OriginState::next_due);
        self.reschedule(at, before.1, next);
    }

    /// Replaces the time at which an origin is due.
    fn reschedule(&mut self, at: usize, before: Option<(Instant, u64)>, next: Option<(Instant, u64)>) {
        if next != before {
            if let Some(before) = before {
                self.deadlines.remove(&(before, at));
            }
            self.deadlines.extend(next.map(|next| (next, at)));
        }
    }

    /// Schedules the display of live rows that may have changed. Those of a line that has `ended`, or was emitted, are
    /// withdrawn at once; a block below emitted lines stays until it is shown as it is then.
    fn update_live_rows(&mut self, at: usize, ended: bool, now: Instant, batch: &mut Batch) {
        let Some(state) = self.origins.get(&at) else { return };
        let (origin, is_empty) = (&state.output.origin, state.is_empty());
        if ended && (is_empty || !state.lines.is_drawing()) {
            self.live_rows.cancel(at);
            self.live_rows.withdraw(at, origin, batch);
        }
        if !is_empty || self.live_rows.is_shown(at, origin) {
            self.live_rows.request(at, origin, now);
        } else {
            self.live_rows.cancel(at);
        }
    }
}

/// Returns whether the lines of a stream come from several files or senders, so that the origin must name them.
fn has_several_origins(spec: &Stream) -> bool {
    match &spec.source {
        SourceKind::File(source) => !matches!(source.files.as_slice(), [FileSelector::Path(_)]),
        SourceKind::Push => true,
        SourceKind::Process(_) | SourceKind::Journal(_) => false,
    }
}

#[cfg(test)]
mod tests;
