//! The wire formats of events: one [`Encoding`] for each media type, and the choice among them.
//!
//! An [`Encoder`] takes events one by one and appends bytes. This layer has no knowledge of logs or connections. Each
//! encoding has its own file.

pub mod sse;
pub mod ndjson;
pub mod text;
pub mod message;

use crate::event::{Epoch, Event, StreamName, Time};

/// The format of a response body of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
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

impl Encoding {
    /// The value of the `Content-Type` header.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse(_) => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The encoding that `?format=` names: a short name or the media type.
    pub fn from_name(name: &str, data: SseData) -> Option<Self> {
        match name {
            "sse" | "text/event-stream" => Some(Self::Sse(data)),
            "ndjson" | "json" | "application/x-ndjson" => Some(Self::Ndjson),
            "text" | "plain" | "text/plain" => Some(Self::Text),
            _ => None,
        }
    }

    /// The encoding that an `Accept` header prefers (RFC 9110, section 12.5.1), with event streams first among equals.
    /// `None` if the header accepts none of them.
    pub fn from_accept(accept: &str, data: SseData) -> Option<Self> {
        let offers = [
            ("text", "event-stream", Self::Sse(data)),
            ("application", "x-ndjson", Self::Ndjson),
            ("text", "plain", Self::Text),
        ];
        let mut best = None;
        for (kind, subtype, encoding) in offers {
            let quality = quality(accept, kind, subtype);
            if quality > best.map_or(0, |(most, _)| most) {
                best = Some((quality, encoding));
            }
        }
        best.map(|(_, encoding)| encoding)
    }
}

/// The weight, in thousandths, that `accept` gives the type by its most specific media range.
fn quality(accept: &str, kind: &str, subtype: &str) -> u32 {
    let mut found = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let Some((a, b)) = parts.next().and_then(|range| range.split_once('/')) else { continue };
        let specific = match (a, b) {
            ("*", "*") => 1,
            (a, "*") if a.eq_ignore_ascii_case(kind) => 2,
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => 3,
            _ => continue,
        };
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0));
        if specific > found.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1000")]
            let thousandths = (weight * 1000.0) as u32;
            found = (specific, thousandths);
        }
    }
    found.1
}

/// Encodes the events of one stream, and reuses the text that consecutive events have in common.
#[derive(Debug)]
pub struct Encoder<'a> {
    encoding: Encoding,
    /// The name of the stream if several share a connection. JSON then includes the name, and frames have no `id:`
    /// line, since each connection writes its own before the frame.
    stream: Option<&'a StreamName>,
    epoch: Option<(Epoch, String)>,
    time: Option<(Time, String)>,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder; `stream` is given if several streams share a connection.
    pub fn new(encoding: Encoding, stream: Option<&'a StreamName>) -> Self {
        Self { encoding, stream, epoch: None, time: None }
    }

    /// Appends `event` to `out`, or nothing if this encoding does not show events of its kind.
    pub fn push(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Sse(data) => sse::push(self, data, event, out),
            Encoding::Ndjson => {
                ndjson::push_object(self, event, out);
                out.push(b'\n');
            }
            Encoding::Text => text::push(event, out),
        }
    }

    /// Appends the id, `EPOCH-NUMBER`.
    fn push_id(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let epoch = event.id.epoch;
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, format!("{epoch}-")));
        }
        out.extend_from_slice(self.epoch.as_ref().map_or(b"", |(_, text)| text.as_bytes()));
        out.extend_from_slice(itoa::Buffer::new().format(event.id.number).as_bytes());
    }

    /// Appends the time in the format of RFC 3339.
    fn push_time(&mut self, time: Time, out: &mut Vec<u8>) {
        if self.time.as_ref().is_none_or(|(known, _)| *known != time) {
            self.time = Some((time, time.to_string()));
        }
        out.extend_from_slice(self.time.as_ref().map_or(b"", |(_, text)| text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Flags, Position};

    #[test]
    fn each_encoding_has_its_names_and_its_media_type() {
        let table = [
            (Encoding::Sse(SseData::Json), "text/event-stream", &["sse", "text/event-stream"][..]),
            (Encoding::Ndjson, "application/x-ndjson", &["ndjson", "json", "application/x-ndjson"]),
            (Encoding::Text, "text/plain; charset=utf-8", &["text", "plain", "text/plain"]),
        ];
        for (encoding, media_type, names) in table {
            assert_eq!(encoding.media_type(), media_type);
            for name in names {
                assert_eq!(Encoding::from_name(name, SseData::Json), Some(encoding), "{name}");
            }
        }
        assert_eq!(Encoding::from_name("SSE", SseData::Json), None);
    }

    #[test]
    fn accept_chooses_the_encoding() {
        let sse = Some(Encoding::Sse(SseData::Text));
        let table = [
            ("*/*", sse),
            ("text/event-stream", sse),
            ("text/*", sse),
            ("application/x-ndjson", Some(Encoding::Ndjson)),
            ("text/plain", Some(Encoding::Text)),
            ("text/plain;q=0.9, text/event-stream;q=0.5", Some(Encoding::Text)),
            ("text/event-stream;q=0, */*;q=0.1", Some(Encoding::Ndjson)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", sse),
            ("Text/Plain; charset=utf-8", Some(Encoding::Text)),
            ("image/png", None),
            ("", None),
            ("text/plain;q=nonsense", None),
            ("image/*", None),
            // Of two weights for one type, the first applies.
            ("text/plain;q=0.9, text/plain;q=0.1, text/event-stream;q=0.5", Some(Encoding::Text)),
        ];
        for (accept, encoding) in table {
            assert_eq!(Encoding::from_accept(accept, SseData::Text), encoding, "{accept}");
        }
    }
    #[test]
    fn each_event_has_its_own_id_and_time() {
        let mut encoder = Encoder::new(Encoding::Ndjson, None);
        let (one, other) = (Epoch::persistent(1), Epoch::persistent(2));
        // Consecutive events have the epoch or the time in common, or neither.
        for (epoch, number, time) in [(one, 1, 0), (one, 2, 0), (one, 3, 1), (other, 1, 1), (one, 4, 2), (other, 2, 0)]
        {
            let (id, time) = (Position { epoch, number }, Time(time));
            let event =
                Event { id, time, origin: None, kind: EventKind::Line, flags: Flags::NONE, logged: None, text: b"x" };
            let mut out = Vec::new();
            encoder.push(&event, &mut out);
            let expected = format!("{{\"id\":\"{id}\",\"time\":\"{time}\",\"text\":\"x\"}}\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
