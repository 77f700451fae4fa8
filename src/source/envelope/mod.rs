//! The envelopes of a source: splits what was read into the streams of the program, each of which is an origin of the
//! [`pipeline`](super::pipeline) of its own, and knows up to which offset each was emitted.
//!
//! # Theory of operation
//!
//! The lines of `stdout` and `stderr` are mixed in one file, and a line may be cut into many envelopes. So while one
//! stream waits for the rest of a line, others may be ahead of it:
//!
//! ```text
//! file:    [out P "ab"] [err F "x"] [out P "cd"] [err F "y"] [out F "ef"]
//!          ^ stdout is emitted up to here      ^ stderr up to here, and everything was read up to here
//! ```
//!
//! The checkpoint of the file is the oldest of these positions, so that a restart reads the first pieces of the line
//! again; each stream that is ahead of it is recorded with its distance, and envelopes before that are skipped. A
//! position is the offset of an envelope and a number of bytes of text behind it, since a line of the program may end in
//! the middle of an envelope, or (if it is longer than `max_line`) within many.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::config::LineFormat;
use crate::event::{Origin, Time};
use crate::line::{Envelope, EnvelopeFormat, EnvelopeSplitter, EnvelopeStream};

/// The most envelopes of an unfinished line whose offsets are known. A program that draws a progress bar never ends its
/// line; then only every second offset is kept, and more bytes are skipped after a restart.
const MAX_TRACKED_ENVELOPES: usize = 1 << 10;

/// The position up to which a stream of the program was emitted, or processed, if that is ahead of the checkpoint of its
/// file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RecordedPosition", into = "RecordedPosition")]
pub(crate) struct StreamPosition {
    /// The number of the stream.
    pub(super) stream: usize,
    /// The distance of an envelope from the checkpoint, and the bytes of text behind that.
    distance: u64,
    text: u64,
    /// The drawing of the program, as the [`Screen`](crate::line::Screen) packs it: rows that it can still change are
    /// held by the model, while lines above them were emitted.
    pub(super) drawing: Option<String>,
}

/// A position as it is recorded, without the field names.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RecordedPosition {
    Plain(usize, u64, u64),
    Drawn(usize, u64, u64, String),
}

impl From<RecordedPosition> for StreamPosition {
    fn from(recorded: RecordedPosition) -> Self {
        let (stream, distance, text, drawing) = match recorded {
            RecordedPosition::Plain(stream, distance, text) => (stream, distance, text, None),
            RecordedPosition::Drawn(stream, distance, text, drawing) => (stream, distance, text, Some(drawing)),
        };
        Self { stream, distance, text, drawing }
    }
}

impl From<StreamPosition> for RecordedPosition {
    fn from(position: StreamPosition) -> Self {
        let StreamPosition { stream, distance, text, drawing } = position;
        match drawing {
            None => Self::Plain(stream, distance, text),
            Some(drawing) => Self::Drawn(stream, distance, text, drawing),
        }
    }
}

/// The form of the envelopes of a stream, if it has any.
pub(super) fn envelope_format(format: LineFormat) -> Option<EnvelopeFormat> {
    match format {
        LineFormat::Cri => Some(EnvelopeFormat::Cri),
        LineFormat::Docker => Some(EnvelopeFormat::Docker),
        LineFormat::Text | LineFormat::Json | LineFormat::Logfmt | LineFormat::Syslog => None,
    }
}

/// The envelopes of one source of bytes, such as a file.
#[derive(Debug)]
pub(super) struct EnvelopeState {
    pub(super) splitter: EnvelopeSplitter,
    /// The streams of the program.
    pub(super) lanes: Lanes,
    /// Nothing was read yet, and the content before it is not known.
    pub(super) nothing_read: bool,
}

impl EnvelopeState {
    pub(super) fn new(format: EnvelopeFormat, source: Origin) -> Self {
        let lanes = Lanes { source, lanes: std::array::from_fn(|_| Lane::default()) };
        Self { splitter: EnvelopeSplitter::new(format), lanes, nothing_read: true }
    }

    /// The oldest position, as the number of bytes read behind it, and the streams that are ahead of it. `track` returns
    /// what is known of an origin of the pipeline, and `drawing` what it draws, if that is recorded, so that nothing of it
    /// is read again.
    pub(super) fn position<'a>(
        &self,
        track: impl Fn(usize) -> Option<&'a EnvelopeTrack>,
        drawing: impl Fn(usize) -> Option<String>,
    ) -> (u64, Vec<StreamPosition>) {
        let whole = self.splitter.line_start();
        let positions = self.lanes.lanes.each_ref().map(|lane| {
            let track = lane.number.and_then(&track);
            // The rest of an envelope that was not read as a whole must follow its beginning.
            let drawing = lane.number.filter(|_| track.is_none_or(|track| !track.mid_line)).and_then(&drawing);
            match track.filter(|_| drawing.is_none()).and_then(EnvelopeTrack::position) {
                Some((start, text)) if start >= lane.done_before => (start, text + lane.done_text, drawing),
                Some(_) | None => (whole.max(lane.done_before), lane.done_text, drawing),
            }
        });
        let oldest = positions.iter().map(|(offset, ..)| *offset).fold(whole, u64::min);
        let ahead = |(stream, (offset, text, drawing)): (usize, (u64, u64, Option<String>))| {
            let lane = &self.lanes.lanes[stream];
            let used = lane.number.is_some() || lane.done_before > 0 || lane.done_text > 0;
            let is_ahead = (offset, text) != (oldest, 0) || drawing.is_some();
            (used && is_ahead).then(|| StreamPosition { stream, distance: offset - oldest, text, drawing })
        };
        (self.splitter.received() - oldest, positions.into_iter().enumerate().filter_map(ahead).collect())
    }
}

/// The streams of the program in one source.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The name of the source.
    source: Origin,
    /// The streams, each at its index.
    lanes: [Lane; EnvelopeStream::COUNT],
}

/// One stream of the program.
#[derive(Debug, Default)]
struct Lane {
    /// The number of its origin in the pipeline, once something was read from it.
    number: Option<usize>,
    /// The offset before which all envelopes were emitted by an earlier process, and the number of bytes of text behind
    /// it that were.
    done_before: u64,
    done_text: u64,
}

impl Lanes {
    /// The name of the source.
    pub(super) fn source(&self) -> &Origin {
        &self.source
    }

    /// The name of a stream of the program. `several` says that the lines come from several sources.
    pub(super) fn origin(&self, stream: EnvelopeStream, several: bool) -> Origin {
        match stream.name() {
            Some(name) if several => Origin::from(&*format!("{}:{name}", self.source.as_str())),
            Some(name) => Origin::from(name),
            None => self.source.clone(),
        }
    }

    /// The number of the origin of a stream, if something was read from it.
    pub(super) fn number(&self, stream: EnvelopeStream) -> Option<usize> {
        self.lanes[stream.index()].number
    }

    pub(super) fn set_number(&mut self, stream: EnvelopeStream, number: usize) {
        self.lanes[stream.index()].number = Some(number);
    }

    /// The numbers of the origins from which something was read.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        self.lanes.each_ref().map(|lane| lane.number).into_iter().flatten()
    }

    /// Continues where an earlier process stopped; `received` is the offset of the checkpoint.
    pub(super) fn resume(&mut self, received: u64, positions: &[StreamPosition]) {
        for position in positions {
            if let Some(lane) = self.lanes.get_mut(position.stream) {
                (lane.done_before, lane.done_text) = (received + position.distance, position.text);
            }
        }
    }

    /// Forgets where an earlier process stopped, since another file begins.
    pub(super) fn forget_positions(&mut self) {
        for lane in &mut self.lanes {
            (lane.done_before, lane.done_text) = (0, 0);
        }
    }

    /// The number of bytes of an envelope at `start`, of which `length` are text, that were emitted by an earlier
    /// process.
    pub(super) fn take_done(&mut self, stream: EnvelopeStream, start: u64, length: usize) -> usize {
        let lane = &mut self.lanes[stream.index()];
        if start < lane.done_before {
            return length;
        }
        let done = usize::try_from(lane.done_text).unwrap_or(length).min(length);
        lane.done_text -= done as u64;
        done
    }
}

/// The envelopes whose text was received from one stream of the program and is not emitted yet.
#[derive(Debug, Default)]
pub(super) struct EnvelopeTrack {
    /// The number of bytes of text that were received and emitted; `emitted` <= `received`.
    received: u64,
    emitted: u64,
    /// For each envelope the number of bytes received before its text, its offset, and its time. The first is the one of
    /// the first byte that is not emitted.
    envelopes: VecDeque<(u64, u64, Option<Time>)>,
    /// The last envelope is a line that is too long for one, and more of it follows.
    mid_line: bool,
}

impl EnvelopeTrack {
    /// Adds an envelope, whose text is received next.
    pub(super) fn add(&mut self, start: u64, envelope: &Envelope<'_>) {
        if self.envelopes.back().is_none_or(|last| last.1 != start) {
            self.envelopes.push_back((self.received, start, envelope.logged));
        }
        self.received += envelope.text.len() as u64;
        self.mid_line = envelope.stream == EnvelopeStream::Plain && !envelope.newline;
        if self.envelopes.len() > MAX_TRACKED_ENVELOPES {
            let mut at = 0;
            self.envelopes.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// The time of the envelope in which a line begins that took `source` bytes of text.
    pub(super) fn take_line(&mut self, source: u64) -> Option<Time> {
        self.drop_emitted();
        let logged = self.envelopes.front().and_then(|front| front.2);
        self.emitted = self.received.min(self.emitted + source);
        logged
    }

    /// Adds the newline behind the text of an envelope, with which it is received next.
    pub(super) fn add_newline(&mut self) {
        self.received += 1;
    }

    /// Records that the envelope that was added was emitted by an earlier process, with its newline if it has one.
    pub(super) fn skip_all(&mut self, newline: bool) {
        self.received += u64::from(newline);
        self.set_held(0);
    }

    /// Records that the next `length` bytes of text were emitted by an earlier process.
    pub(super) fn skip(&mut self, length: u64) {
        self.emitted += length;
    }

    /// Records that all but the last `held` bytes of text were emitted.
    pub(super) fn set_held(&mut self, held: u64) {
        debug_assert!(held <= self.received, "only bytes that were received are held back");
        self.emitted = self.received - held;
        self.drop_emitted();
        if held == 0 && !self.mid_line {
            self.envelopes.clear();
        }
    }

    /// Records that everything was emitted, and that nothing follows in the same file.
    pub(super) fn finish(&mut self) {
        self.mid_line = false;
        self.set_held(0);
    }

    fn drop_emitted(&mut self) {
        while self.envelopes.get(1).is_some_and(|next| next.0 <= self.emitted) {
            self.envelopes.pop_front();
        }
    }

    /// The offset of the envelope with the first byte that is not emitted, and the number of bytes before that; `None`
    /// if everything is emitted.
    pub(super) fn position(&self) -> Option<(u64, u64)> {
        self.envelopes.front().map(|&(before, start, _)| (start, self.emitted.saturating_sub(before)))
    }
}

#[cfg(test)]
mod tests;
