//! Server-Sent Events (HTML, section 9.2). No line can end a frame early or forge one.
//!
//! Lines are unnamed messages; all other events are named. An event that has an id includes it in its frame.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Serialize;

use crate::event::{Event, EventKind, Gap, OpenLine, Position, Progress, Time, lossy_text};

use super::{Encoder, SseData, WireFormatNames, ndjson};

/// The names of this wire format.
pub(super) const NAMES: WireFormatNames =
    WireFormatNames { name: "sse", alias: None, media_type: "text/event-stream", content_type: "text/event-stream" };

/// The start of a line of text, behind the id of its frame: "data: " with the space, since a client strips one space after the
/// colon (HTML 9.2.6), so that an indented line would lose its own.
pub(super) const LINE_START: &str = "\ndata: ";

/// What precedes a line in its frame.
pub(super) fn line_head(id: Position) -> Vec<u8> {
    format!("id: {id}{LINE_START}").into_bytes()
}

/// Appends the frame of a numbered event.
pub(super) fn push(encoder: &mut Encoder<'_>, data: SseData, event: &Event<'_>, out: &mut Vec<u8>) {
    if encoder.stream.is_none() {
        out.extend_from_slice(b"id: ");
        encoder.push_id(event, out);
        out.push(b'\n');
    }
    if event.kind != EventKind::Line {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.kind.name().as_bytes());
        out.push(b'\n');
    }
    // As in [`LINE_START`].
    out.extend_from_slice(b"data: ");
    if data == SseData::Json || event.kind != EventKind::Line {
        ndjson::push_object(encoder, event, out);
    } else if encoder.is_plain_ascii {
        out.extend_from_slice(event.text);
    } else if memchr::memchr2(b'\r', b'\n', event.text).is_none() {
        out.extend_from_slice(lossy_text(event.text).as_bytes());
    } else {
        let begin = out.len();
        super::text::push_sanitized(event.text, out);
        split_data(begin, out);
    }
    out.extend_from_slice(b"\n\n");
}

/// Puts `data: ` before each line of the text after `begin`, as the standard requires.
fn split_data(begin: usize, out: &mut Vec<u8>) {
    let text = out.split_off(begin);
    for (at, line) in text.split(|&c| c == b'\n').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"\ndata: ");
        }
        out.extend_from_slice(line);
    }
}

/// A named frame with JSON data and, if the position of the reader changes with it, an id.
fn named(name: &str, id: Option<&dyn Display>, fields: &impl Serialize) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let data = serde_json::to_string(fields).expect("the fields have text keys and finite numbers");
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// The gap of this reader. `id` is the connection's id for the position after the gap.
pub fn gap(gap: &Gap, id: &dyn Display, stream: Option<&str>) -> String {
    named("gap", Some(id), &ndjson::StreamFields { stream, kind: None, fields: gap })
}

/// The rows of an origin that a program can still change; none if they were withdrawn.
pub fn open_line(line: &OpenLine, stream: Option<&str>) -> String {
    #[derive(Serialize)]
    struct SseOpenLine<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<Time>,
        origin: &'a str,
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rows: Vec<Cow<'a, str>>,
    }
    let (rows, text) = (super::rows_of(line), lossy_text(line.text()));
    let time = (!rows.is_empty()).then_some(line.time);
    let fields = SseOpenLine { time, origin: line.origin.as_str(), text, rows };
    named("open", None, &ndjson::StreamFields { stream, kind: None, fields: &fields })
}

/// The progress of the source.
pub fn progress(progress: &Progress, stream: Option<&str>) -> String {
    named("progress", None, &ndjson::StreamFields { stream, kind: None, fields: progress })
}

/// The reason why the reader receives no more events: its token is no longer valid, or the stream became private. With
/// a `stream`, only that one of several streams ends.
pub fn denied_notice(why: &str, stream: Option<&str>) -> String {
    named("denied", None, &ndjson::StreamFields { stream, kind: None, fields: &ndjson::DenialFields { reason: why } })
}

/// The last frame of a body before the daemon ends: the time to wait before reconnecting, in milliseconds, and a state
/// without a number, which says whether the daemon is about to be back.
pub fn stop_notice(is_restarting: bool, retry: u32) -> String {
    format!("retry: {retry}\n{}", named("state", None, &ndjson::StopFields::new(is_restarting)))
}

/// The reason why this connection ends. A client that connects again can continue, so only people need this text.
pub fn closing_notice(why: &str) -> String {
    format!(": {why}\n\n")
}

/// Moves the position of the reader without an event, past the events that its filter skipped.
pub fn position(id: &dyn Display) -> String {
    format!("id: {id}\n\n")
}

/// The last character of the final id of a reader that has received everything it asked for. No other id ends with it.
pub const COMPLETED_MARK: char = '!';

/// The first bytes of a body: the time to wait before reconnecting, in milliseconds.
pub fn retry_frame(retry: u32) -> String {
    format!("retry: {retry}\n\n")
}

/// A comment that keeps intermediaries from closing a quiet connection.
pub const SSE_KEEP_ALIVE: &str = ":\n\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin};
    use crate::wire::WireFormat;
    use proptest::prelude::*;

    /// One message as a browser dispatches it.
    #[derive(Debug, PartialEq, Default, Clone)]
    struct DecodedFrame {
        id: String,
        event: String,
        data: String,
    }

    /// A decoder written from the standard (HTML 9.2.6), without reconnection.
    fn decode(stream: &[u8]) -> Vec<DecodedFrame> {
        let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n");
        let mut messages = Vec::new();
        let mut now = DecodedFrame::default();
        let mut data = String::new();
        for line in text.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    messages.push(DecodedFrame { data: std::mem::take(&mut data), ..now.clone() });
                }
                now.event.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => now.event = value.to_owned(),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => now.id = value.to_owned(),
                _ => {}
            }
        }
        messages
    }

    fn position(number: u64) -> Position {
        Position { epoch: Epoch::persistent(1_763_874_672_123), number }
    }

    fn encode(data: SseData, texts: &[Vec<u8>]) -> Vec<u8> {
        let origin = Origin::stdout();
        let mut out = Vec::new();
        let mut encoder = Encoder::new(WireFormat::Sse(data), None);
        for (number, text) in (1..).zip(texts) {
            let event = Event {
                id: position(number),
                time: Time(0),
                origin: Some(&origin),
                kind: EventKind::Line,
                flags: Flags::NONE,
                logged: None,
                text,
            };
            encoder.push(&event, &mut out);
        }
        out
    }

    /// The specified text form of a line: U+FFFD for bytes that are not UTF-8, U+240D for a CR, everything else
    /// unchanged.
    fn as_text(line: &[u8]) -> String {
        String::from_utf8_lossy(line).replace('\r', "\u{240D}")
    }

    proptest! {
        #[test]
        fn a_decoder_written_from_the_standard_gives_the_lines_back(
            texts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(data: |id: |event: |retry: |:| |\r|\n|\0|\u{1b}\\[31m|x|é){0,9}".prop_map(String::into_bytes),
            ], 0..20),
        ) {
            let seen = decode(&encode(SseData::Text, &texts));
            let expected: Vec<_> = (1..).zip(&texts).map(|(number, text)| DecodedFrame {
                id: position(number).to_string(), event: String::new(), data: as_text(text),
            }).collect();
            prop_assert_eq!(seen, expected);

            let seen = decode(&encode(SseData::Json, &texts));
            prop_assert_eq!(seen.len(), texts.len());
            for (message, text) in seen.iter().zip(&texts) {
                let json: serde_json::Value = serde_json::from_str(&message.data).unwrap();
                prop_assert_eq!(json["id"].as_str().unwrap(), &message.id);
                prop_assert_eq!(&ndjson::tests::bytes_of(&json), text);
            }
        }
    }

    #[test]
    fn frames_that_are_no_events_look_like_this() {
        let time = Time::from(std::time::UNIX_EPOCH);
        let line = OpenLine { time, origin: Origin::stdout(), rows: vec![b"a".to_vec(), b"50 %".to_vec()] };
        let shown = "{\"stream\":\"s\",\"time\":\"1970-01-01T00:00:00.000000Z\",\"origin\":\"stdout\",\"text\":\"50 %\",\"rows\":[\"a\",\"50 %\"]}";
        let table = [
            (open_line(&line, Some("s")), format!("event: open\ndata: {shown}\n\n")),
            (
                open_line(&OpenLine::withdrawn(time, Origin::stderr()), None),
                "event: open\ndata: {\"origin\":\"stderr\",\"text\":\"\"}\n\n".to_owned(),
            ),
            (denied_notice("why", None), "event: denied\ndata: {\"why\":\"why\"}\n\n".to_owned()),
            (denied_notice("why", Some("s")), "event: denied\ndata: {\"stream\":\"s\",\"why\":\"why\"}\n\n".to_owned()),
            (closing_notice("why"), ": why\n\n".to_owned()),
            (
                progress(&Progress::begun(time), Some("s")),
                format!(
                    "event: progress\ndata: {{\"stream\":\"s\",\"state\":\"indeterminate\",\"started\":\"{time}\",\
                    \"updated\":\"{time}\"}}\n\n"
                ),
            ),
            (retry_frame(1500), "retry: 1500\n\n".to_owned()),
            (super::position(&"a-7"), "id: a-7\n\n".to_owned()),
        ];
        for (frame, expected) in table {
            assert_eq!(frame, expected);
        }
    }

    #[test]
    fn frames_look_like_this() {
        let shown = String::from_utf8(encode(SseData::Text, &[b"  two".to_vec(), b"".to_vec()])).unwrap();
        let id = position(1).epoch;
        assert_eq!(shown, format!("id: {id}-1\ndata:   two\n\nid: {id}-2\ndata: \n\n"));
        let gap = gap(&Gap { missed: Some(3), resume: position(9) }, &position(9), None);
        assert_eq!(gap, format!("id: {id}-9\nevent: gap\ndata: {{\"missed\":3,\"resume\":\"{id}-9\"}}\n\n"));
    }
}
