//! The wire formats of events: one [`WireFormat`] for each media type, and the choice among them.
//!
//! An [`Encoder`] takes events one by one and appends bytes; the methods of [`WireFormat`] write everything else that a
//! body contains. This layer has no knowledge of logs or connections.
//!
//! Each wire format has its own file: `sse`, `ndjson`, which also has the JSON form of an event, and `text`. `message` has
//! the messages of the control channel.
//!
//! A new wire format is a file here, a variant of [`WireFormat`] and an entry of [`WireFormat::all`]. The compiler then asks
//! for its part in each method below, and the choice by `?format=` and `Accept`, the errors and `/openapi.json` follow.
//! PARAMETERS in rtlogd-http(7) describes it. (For an encoding of the text of a source, such as `Shift_JIS`, see
//! `line/encoding.rs`.)
//!
//! Reading order: this file, `ndjson`, `sse`, `text`, `message`.

pub mod sse;
pub mod ndjson;
pub mod text;
pub mod gzip;
pub mod message;

use std::borrow::Cow;
use std::fmt::Display;

use crate::event::{Event, Gap, OpenLine, Position, Progress, StreamName, Time, lossy_text};
use crate::structured::StructuredFormat;

/// The format of a response body of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireFormat {
    /// `text/event-stream` (HTML, section 9.2).
    Sse(SseData),
    /// `application/x-ndjson`: one JSON object on each line.
    Ndjson,
    /// `text/plain`: the lines alone.
    Text,
}

/// The content of the `data:` field in the frame of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SseData {
    /// The line as text.
    #[default]
    Text,
    /// The event as JSON.
    Json,
}

/// The names by which requests choose a wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFormatNames {
    /// The short name for `?format=`.
    pub name: &'static str,
    /// A second short name.
    pub alias: Option<&'static str>,
    /// The media type without parameters, as in `Accept`: a type, one slash and a subtype.
    pub media_type: &'static str,
    /// The value of the `Content-Type` header: the media type and its parameters.
    pub content_type: &'static str,
}

impl WireFormat {
    /// All wire formats, the one that is preferred among equals first; `data` is the content of the first one.
    pub fn all(data: SseData) -> [Self; 3] {
        // The match only makes the compiler stop at this list until it names a new wire format, too.
        match Self::Text {
            Self::Sse(_) | Self::Ndjson | Self::Text => [Self::Sse(data), Self::Ndjson, Self::Text],
        }
    }

    /// The names of the wire format.
    pub fn names(self) -> WireFormatNames {
        match self {
            Self::Sse(_) => sse::NAMES,
            Self::Ndjson => ndjson::NAMES,
            Self::Text => text::NAMES,
        }
    }

    /// The wire format that `?format=` names: a short name or the media type.
    pub fn from_name(name: &str, data: SseData) -> Option<Self> {
        Self::all(data).into_iter().find(|wire_format| {
            let names = wire_format.names();
            name == names.name || names.alias == Some(name) || name == names.media_type
        })
    }

    /// The wire format that an `Accept` header prefers (RFC 9110, section 12.5.1), with the first of [`Self::all`] first
    /// among equals. `None` if the header accepts none of them.
    pub fn from_accept(accept: &str, data: SseData) -> Option<Self> {
        let mut best = None;
        for wire_format in Self::all(data) {
            let quality = quality(accept, wire_format.names().media_type);
            if quality > best.map_or(0, |(most, _)| most) {
                best = Some((quality, wire_format));
            }
        }
        best.map(|(_, wire_format)| wire_format)
    }

    /// Returns whether each frame of a numbered event contains the id of the connection. The id of a connection with
    /// several streams changes with each frame, so such frames cannot be shared as they are.
    pub fn has_ids(self) -> bool {
        match self {
            Self::Sse(_) => true,
            Self::Ndjson | Self::Text => false,
        }
    }

    /// The first bytes of a body: the time to wait before reconnecting, in milliseconds.
    pub fn retry(self, delay: u32) -> Option<String> {
        match self {
            Self::Sse(_) => Some(sse::retry_frame(delay)),
            Self::Ndjson | Self::Text => None,
        }
    }

    /// The last bytes of a body before the daemon ends: the time to wait before reconnecting, in milliseconds, and whether the
    /// daemon is about to be back.
    pub fn stop_notice(self, is_restarting: bool, delay: u32) -> String {
        match self {
            Self::Sse(_) => sse::stop_notice(is_restarting, delay),
            Self::Ndjson => ndjson::stop_notice(is_restarting),
            Self::Text => text::stop_notice(is_restarting),
        }
    }

    /// The bytes that keep intermediaries from closing a quiet connection.
    pub fn keep_alive(self) -> Option<&'static str> {
        match self {
            Self::Sse(_) => Some(sse::SSE_KEEP_ALIVE),
            Self::Ndjson | Self::Text => None,
        }
    }

    /// Moves the position of the reader without an event: `id` is the connection's id.
    pub fn position(self, id: &dyn Display) -> Option<String> {
        match self {
            Self::Sse(_) => Some(sse::position(id)),
            Self::Ndjson | Self::Text => None,
        }
    }

    /// The gap of this reader. `id` is the connection's id for the position after the gap; `stream` is the name of the
    /// stream if several share the connection, here and in the methods below.
    pub fn gap(self, gap: &Gap, id: &dyn Display, stream: Option<&str>) -> String {
        match self {
            Self::Sse(_) => sse::gap(gap, id, stream),
            Self::Ndjson => ndjson::gap(gap, stream),
            Self::Text => text::gap(gap),
        }
    }

    /// The rows of an origin that a program can still change.
    pub fn open_line(self, line: &OpenLine, stream: Option<&str>) -> Option<String> {
        match self {
            Self::Sse(_) => Some(sse::open_line(line, stream)),
            Self::Ndjson => Some(ndjson::open_line(line, stream)),
            Self::Text => None,
        }
    }

    /// The progress of the source.
    pub fn progress(self, progress: &Progress, stream: Option<&str>) -> Option<String> {
        match self {
            Self::Sse(_) => Some(sse::progress(progress, stream)),
            Self::Ndjson => Some(ndjson::progress(progress, stream)),
            Self::Text => None,
        }
    }

    /// The reason why the reader receives no more events; with a `stream`, only that one of several streams ends.
    pub fn denied_notice(self, why: &str, stream: Option<&str>) -> String {
        match self {
            Self::Sse(_) => sse::denied_notice(why, stream),
            Self::Ndjson => ndjson::denied_notice(why, stream),
            Self::Text => text::denied_notice(why),
        }
    }

    /// The reason why this connection ends. A reader that connects again can continue.
    pub fn closing_notice(self, why: &str) -> String {
        match self {
            Self::Sse(_) => sse::closing_notice(why),
            Self::Ndjson => ndjson::closing_notice(why),
            Self::Text => text::closing_notice(why),
        }
    }
}

/// The weight, in thousandths, that `accept` gives the media type by its most specific range.
fn quality(accept: &str, media_type: &str) -> u32 {
    let (kind, subtype) = media_type.split_once('/').expect("a media type has a slash");
    let mut found = (0, 0);
    for range in accept.split(',') {
        let (range, weight) = weighted(range);
        let Some((a, b)) = range.split_once('/') else { continue };
        let specific = match (a, b) {
            ("*", "*") => 1,
            (a, "*") if a.eq_ignore_ascii_case(kind) => 2,
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => 3,
            _ => continue,
        };
        if specific > found.0 {
            found = (specific, weight);
        }
    }
    found.1
}

/// An element of `Accept` or `Accept-Encoding` without its parameters, and its weight in thousandths (RFC 9110, section
/// 12.4.2).
fn weighted(element: &str) -> (&str, u32) {
    let mut parts = element.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    let weight = weight.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1000")]
    let thousandths = (weight * 1000.0) as u32;
    (name, thousandths)
}

/// Returns whether a client that sends this `Accept-Encoding` takes gzip, and does not prefer no coding (RFC 9110, section
/// 12.5.3).
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let weight_of = |names: &[&str]| {
        let mut elements = accept_encoding.split(',').map(weighted);
        elements.find_map(|(name, weight)| names.iter().any(|known| name.eq_ignore_ascii_case(known)).then_some(weight))
    };
    let gzip = weight_of(&["gzip", "x-gzip"]).or_else(|| weight_of(&["*"])).unwrap_or(0);
    gzip > 0 && gzip >= weight_of(&["identity"]).unwrap_or(0)
}

/// Encodes the events of one stream, and reuses the text that consecutive events have in common.
#[derive(Debug)]
pub struct Encoder<'a> {
    wire_format: WireFormat,
    /// The name of the stream if several share a connection. JSON then includes the name, and frames have no `id:`
    /// line, since each connection writes its own before the frame.
    stream: Option<&'a StreamName>,
    /// The form in which the lines of the stream are structured, if they are. JSON then includes their fields.
    format: Option<StructuredFormat>,
    /// The last id and its text.
    id: Option<(Position, Vec<u8>)>,
    /// The last id of a frame of a [plain line](Self::push_plain_line), and what precedes the line in the frame.
    plain_frame: Option<(Position, Vec<u8>)>,
    time: Option<(Time, String)>,
    /// The texts of the next events are ASCII without the ends of lines.
    is_plain_ascii: bool,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder; `stream` is given if several streams share a connection.
    pub fn new(wire_format: WireFormat, stream: Option<&'a StreamName>) -> Self {
        Self { wire_format, stream, format: None, id: None, plain_frame: None, time: None, is_plain_ascii: false }
    }

    /// Reads the lines in this form, so that JSON includes the fields and the time that they declare.
    #[must_use]
    pub fn reading(self, format: Option<StructuredFormat>) -> Self {
        Self { format, ..self }
    }

    /// Says whether the texts of the next events are ASCII without CR and LF, so that none of them is examined.
    pub fn expect_plain_ascii(&mut self, is_plain_ascii: bool) {
        self.is_plain_ascii = is_plain_ascii;
    }

    /// Appends `event` to `out`, or nothing if this wire format does not show events of its kind.
    pub fn push(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.wire_format {
            WireFormat::Sse(data) => sse::push(self, data, event, out),
            WireFormat::Ndjson => {
                ndjson::push_object(self, event, out);
                out.push(b'\n');
            }
            WireFormat::Text => text::push(self, event, out),
        }
    }

    /// Returns whether [`push_plain_line`](Self::push_plain_line) does the same as [`push`](Self::push) for lines of plain ASCII.
    pub fn has_plain_lines(&self) -> bool {
        self.wire_format == WireFormat::Sse(SseData::Text) && self.stream.is_none()
    }

    /// Appends the frame of a line that is plain ASCII without CR and LF: most lines are, and a long log is nothing else.
    pub fn push_plain_line(&mut self, id: Position, text: &[u8], out: &mut Vec<u8>) {
        match &mut self.plain_frame {
            Some((last, head)) if id.epoch == last.epoch && id.number == last.number + 1 => {
                increment(head, sse::LINE_START.len());
                last.number += 1;
            }
            _ => self.plain_frame = Some((id, sse::line_head(id))),
        }
        out.extend_from_slice(self.plain_frame.as_ref().map_or(b"", |(_, head)| head));
        out.extend_from_slice(text);
        out.extend_from_slice(b"\n\n");
    }

    /// Appends the id, `EPOCH-NUMBER`.
    fn push_id(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match &mut self.id {
            Some((last, text)) if event.id.epoch == last.epoch && event.id.number == last.number + 1 => {
                increment(text, 0);
                last.number += 1;
            }
            _ => self.id = Some((event.id, event.id.to_string().into_bytes())),
        }
        out.extend_from_slice(self.id.as_ref().map_or(b"", |(_, text)| text));
    }

    /// Appends the time in the format of RFC 3339.
    fn push_time(&mut self, time: Time, out: &mut Vec<u8>) {
        if self.time.as_ref().is_none_or(|(known, _)| *known != time) {
            self.time = Some((time, time.to_string()));
        }
        out.extend_from_slice(self.time.as_ref().map_or(b"", |(_, text)| text.as_bytes()));
    }
}

/// Adds 1 to the decimal number that ends `behind` bytes before the end of a text: most events follow each other.
fn increment(text: &mut Vec<u8>, behind: usize) {
    let end = text.len() - behind;
    for at in (0..end).rev() {
        match text[at] {
            digit @ b'0'..=b'8' => {
                text[at] = digit + 1;
                return;
            }
            b'9' => text[at] = b'0',
            _ => return text.insert(at + 1, b'1'),
        }
    }
    text.insert(0, b'1');
}

/// The text of live rows.
fn rows_of(line: &OpenLine) -> Vec<Cow<'_, str>> {
    line.rows.iter().map(|row| lossy_text(row)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::{
        EndCause, Epoch, EventKind, Flags, Level, Loss, Origin, Position, ProgressGroup, RunEnd, SourceState,
    };

    #[test]
    fn each_wire_format_has_its_names_and_its_media_type() {
        let table = [
            (WireFormat::Sse(SseData::Json), "text/event-stream", &["sse", "text/event-stream"][..]),
            (WireFormat::Ndjson, "application/x-ndjson", &["ndjson", "json", "application/x-ndjson"]),
            (WireFormat::Text, "text/plain; charset=utf-8", &["text", "plain", "text/plain"]),
        ];
        for (wire_format, media_type, names) in table {
            assert_eq!(wire_format.names().content_type, media_type);
            assert!(media_type.starts_with(wire_format.names().media_type), "{media_type}");
            for name in names {
                assert_eq!(WireFormat::from_name(name, SseData::Json), Some(wire_format), "{name}");
            }
        }
        assert_eq!(table.map(|(wire_format, ..)| wire_format), WireFormat::all(SseData::Json));
        assert_eq!(WireFormat::from_name("SSE", SseData::Json), None);
    }

    /// One event of each kind, and of each form that its members can have.
    fn samples() -> Vec<(EventKind, String)> {
        let end = |code, signal| RunEnd {
            run: 1,
            code,
            signal,
            duration: Some(1.0),
            peak_memory: Some(1),
            cause: EndCause::Exited,
            killed: Vec::new(),
        };
        let (reason, error, note) = ("why".to_owned(), "failed".to_owned(), Some("a remark".to_owned()));
        let last = Some(end(Some(1), None));
        let states = [
            SourceState::Following { files: 1 },
            SourceState::Reading { note: note.clone() },
            SourceState::Receiving,
            SourceState::Running { run: 1, pid: Some(1), note },
            SourceState::Waiting { reason: reason.clone() },
            SourceState::Denied { errno: Some(13), error: error.clone() },
            SourceState::Polling { files: 1, reason: reason.clone() },
            SourceState::BackingOff { until: Time(0), failures: 1, error, last: last.clone() },
            SourceState::Degraded { reason: reason.clone() },
            SourceState::Stopping,
            SourceState::Stopped { reason: reason.clone(), last },
        ];
        let state = |state| (EventKind::State, serde_json::to_string(state).unwrap());
        let mut samples: Vec<_> = states.iter().map(state).collect();
        samples.push((EventKind::Line, "\u{fffd}".to_owned()));
        let loss = Loss { missed: Some(1), bytes: Some(1), reason };
        samples.push((EventKind::Loss, serde_json::to_string(&loss).unwrap()));
        for end in [end(Some(0), None), end(None, Some("TERM".to_owned()))] {
            samples.push((EventKind::End, serde_json::to_string(&end).unwrap()));
        }
        samples
    }

    /// Adds the names of all members, at any depth, and the kinds and states.
    fn words(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            found.insert(name.clone());
            if let (true, Some(word)) = (matches!(name.as_str(), "kind" | "state"), value.as_str()) {
                found.insert(word.to_owned());
            }
            words(value, found);
        }
        value.as_array().into_iter().flatten().for_each(|item| words(item, found));
    }

    #[test]
    fn the_manual_names_every_kind_and_every_member_of_an_event() {
        let page = include_str!("../../packaging/man/rtlogd-http.7.md");
        let stream: StreamName = "build".parse().unwrap();
        let id = Position { epoch: Epoch::persistent(1), number: 1 };
        let origin = Origin::stdout();
        let mut lines = Vec::new();
        let flags = Flags::from_level(Level::Error).with(Flags::CONTINUED).with(Flags::PARTIAL).with(Flags::NEW_SHAPE);
        for (kind, text) in samples() {
            let text = if kind == EventKind::Line { b"\xff" } else { text.as_bytes() };
            let event = Event { id, time: Time(0), origin: Some(&origin), kind, flags, logged: Some(Time(0)), text };
            Encoder::new(WireFormat::Ndjson, Some(&stream)).push(&event, &mut lines);
        }
        let line = OpenLine { time: Time(0), origin: origin.clone(), rows: vec![b"50%".to_vec()] };
        let group = ProgressGroup { name: "test".into(), depth: 1, started: Time(0), duration: Some(1.0) };
        let progress = Progress {
            percent: Some(50.0),
            current: Some(1),
            total: Some(2),
            phase: Some("link".into()),
            message: Some("a.o".into()),
            eta: Some(Time(1)),
            stale: true,
            groups: vec![group],
            ..Progress::begun(Time(0))
        };
        let others = [
            Some(WireFormat::Ndjson.gap(&Gap { missed: None, resume: id }, &id, Some("build"))),
            WireFormat::Ndjson.open_line(&line, None),
            WireFormat::Ndjson.progress(&progress, None),
            Some(WireFormat::Ndjson.denied_notice("why", None)),
            Some(WireFormat::Ndjson.closing_notice("why")),
        ];
        let text = String::from_utf8(lines).unwrap() + &others.into_iter().flatten().collect::<String>();
        let mut found = BTreeSet::new();
        for line in text.lines() {
            words(&serde_json::from_str(line).unwrap(), &mut found);
        }
        let known = [
            "bytes",
            "level",
            "continued",
            "partial",
            "new",
            "logged",
            "why",
            "over",
            "denied",
            "backing-off",
            "peak_memory",
            "depth",
        ];
        assert!(known.iter().all(|word| found.contains(*word)), "{found:?}");
        let missing: Vec<_> = found.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
        assert!(missing.is_empty(), "rtlogd-http(7) does not mention {missing:?}");
        for names in WireFormat::all(SseData::Text).map(WireFormat::names) {
            assert!(page.contains(&format!("`{}`", names.name)), "{names:?}");
        }
    }

    #[test]
    fn accept_chooses_the_wire_format() {
        let sse = Some(WireFormat::Sse(SseData::Text));
        let table = [
            ("*/*", sse),
            ("text/event-stream", sse),
            ("text/*", sse),
            ("application/x-ndjson", Some(WireFormat::Ndjson)),
            ("text/plain", Some(WireFormat::Text)),
            ("text/plain;q=0.9, text/event-stream;q=0.5", Some(WireFormat::Text)),
            ("text/event-stream;q=0, */*;q=0.1", Some(WireFormat::Ndjson)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", sse),
            ("Text/Plain; charset=utf-8", Some(WireFormat::Text)),
            ("image/png", None),
            ("", None),
            ("text/plain;q=nonsense", None),
            ("image/*", None),
            // Of two weights for one type, the first applies.
            ("text/plain;q=0.9, text/plain;q=0.1, text/event-stream;q=0.5", Some(WireFormat::Text)),
        ];
        for (accept, wire_format) in table {
            assert_eq!(WireFormat::from_accept(accept, SseData::Text), wire_format, "{accept}");
        }
    }

    #[test]
    fn a_body_is_compressed_for_clients_that_ask_for_it() {
        let table = [
            ("gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("x-gzip", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("br, *;q=0.1", true),
            ("identity;q=0.5, gzip;q=1.0", true),
            ("identity, gzip", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("identity, *;q=0", false),
            ("identity, gzip;q=0.5", false),
            ("gzip;q=nonsense", false),
            ("notgzip", false),
        ];
        for (accept_encoding, expected) in table {
            assert_eq!(accepts_gzip(accept_encoding), expected, "{accept_encoding}");
        }
    }

    #[test]
    fn each_event_has_its_own_id_and_time() {
        let mut encoder = Encoder::new(WireFormat::Ndjson, None);
        let (one, other) = (Epoch::persistent(1), Epoch::persistent(2));
        // Consecutive events have the epoch or the time in common, or neither, and the digits of consecutive numbers carry.
        let ids = [(one, 1, 0), (one, 2, 0), (one, 3, 1), (other, 1, 1), (one, 4, 2), (other, 2, 0)];
        let carries =
            [8, 9, 10, 11, 98, 99, 100, 109, 110, 999_999, 1_000_000, 1_000_001].map(|number| (other, number, 3));
        for (epoch, number, time) in ids.into_iter().chain(carries) {
            let (id, time) = (Position { epoch, number }, Time(time));
            let event =
                Event { id, time, origin: None, kind: EventKind::Line, flags: Flags::NONE, logged: None, text: b"x" };
            let mut out = Vec::new();
            encoder.push(&event, &mut out);
            let expected = format!("{{\"id\":\"{id}\",\"time\":\"{time}\",\"text\":\"x\"}}\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_plain_line_has_the_same_frame_as_any_other() {
        let stream: StreamName = "build".parse().unwrap();
        for data in [SseData::Text, SseData::Json] {
            assert_eq!(Encoder::new(WireFormat::Sse(data), None).has_plain_lines(), data == SseData::Text);
        }
        assert!(!Encoder::new(WireFormat::Sse(SseData::Text), Some(&stream)).has_plain_lines(), "frames have no id");
        let (mut plain, mut other) = (Encoder::new(WireFormat::Sse(SseData::Text), None), (Vec::new(), Vec::new()));
        let mut general = Encoder::new(WireFormat::Sse(SseData::Text), None);
        for (epoch, numbers) in [(1, 1..1200), (2, 7..13), (1, 99_990..100_010), (1, 5..6)] {
            for number in numbers.filter(|number| number % 7 != 3) {
                let id = Position { epoch: Epoch::persistent(epoch), number };
                let text = "a b".repeat(usize::try_from(number % 3).unwrap());
                let (flags, text) = (Flags::NONE, text.as_bytes());
                plain.push_plain_line(id, text, &mut other.0);
                let event = Event { id, time: Time(0), origin: None, kind: EventKind::Line, flags, logged: None, text };
                general.push(&event, &mut other.1);
            }
        }
        assert_eq!(String::from_utf8(other.0).unwrap(), String::from_utf8(other.1).unwrap());
    }

    #[test]
    fn plain_ascii_is_encoded_alike_whether_or_not_it_is_known() {
        for wire_format in WireFormat::all(SseData::Text).into_iter().chain(WireFormat::all(SseData::Json)) {
            let encode = |is_known| {
                let (mut encoder, mut out) = (Encoder::new(wire_format, None), Vec::new());
                encoder.expect_plain_ascii(is_known);
                let lines = ["", "x", "  indented", "data: x", "\u{1b}[31mred\u{1b}[0m\t\u{0}\u{7f}"];
                let lines = lines.map(|line| (EventKind::Line, line.to_owned()));
                for (kind, text) in samples().iter().filter(|(_, text)| text.is_ascii()).chain(&lines) {
                    let id = Position { epoch: Epoch::persistent(1), number: 1 };
                    let (flags, text) = (Flags::NONE, text.as_bytes());
                    let event = Event { id, time: Time(0), origin: None, kind: *kind, flags, logged: None, text };
                    encoder.push(&event, &mut out);
                }
                out
            };
            assert_eq!(encode(true), encode(false), "{wire_format:?}");
        }
    }
}
