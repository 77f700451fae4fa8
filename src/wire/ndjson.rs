//! An event as one JSON object, in the same form in all JSON outputs; in an NDJSON body, each object is one line.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use serde::Serialize;

use crate::event::{Event, EventKind, Flags, Gap, OpenLine, Progress, lossy_text};

use crate::structured::{DeclaredValue, Fields, level_of};

use super::{Encoder, WireFormatNames};

/// The names of this wire format.
pub(super) const NAMES: WireFormatNames = WireFormatNames {
    name: "ndjson",
    alias: Some("json"),
    media_type: "application/x-ndjson",
    content_type: "application/x-ndjson",
};

/// Appends the object of a numbered event, without a newline.
pub(super) fn push_object(encoder: &mut Encoder<'_>, event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    encoder.push_id(event, out);
    if let Some(stream) = encoder.stream {
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(stream.as_str().as_bytes());
    }
    out.extend_from_slice(b"\",\"time\":\"");
    encoder.push_time(event.time, out);
    out.push(b'"');
    if let Some(origin) = event.origin {
        out.extend_from_slice(b",\"origin\":");
        push_json_string(origin.as_str(), out);
    }
    if event.kind == EventKind::Line {
        push_line_fields(encoder, event, out);
    } else {
        out.extend_from_slice(b",\"kind\":\"");
        out.extend_from_slice(event.kind.name().as_bytes());
        out.push(b'"');
        // The text of these kinds is the JSON object of their fields, which are appended to this object.
        if let [b'{', fields @ .., b'}'] = event.text
            && !fields.is_empty()
        {
            out.push(b',');
            out.extend_from_slice(fields);
        }
    }
    out.push(b'}');
}

fn push_line_fields(encoder: &Encoder<'_>, event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"text\":");
    if let Ok(text) = std::str::from_utf8(event.text) {
        push_json_string(text, out);
    } else {
        push_json_string(&String::from_utf8_lossy(event.text), out);
        let bytes = base64::engine::general_purpose::STANDARD.encode(event.text);
        out.extend_from_slice(b",\"bytes\":\"");
        out.extend_from_slice(bytes.as_bytes());
        out.push(b'"');
    }
    if let Some(level) = level_of(event) {
        out.extend_from_slice(b",\"level\":\"");
        out.extend_from_slice(level.name().as_bytes());
        out.push(b'"');
    }
    if event.flags.has(Flags::CONTINUED) {
        out.extend_from_slice(b",\"continued\":true");
    }
    if event.flags.has(Flags::PARTIAL) {
        out.extend_from_slice(b",\"partial\":true");
    }
    if event.flags.has(Flags::NEW_SHAPE) {
        out.extend_from_slice(b",\"new\":true");
    }
    let declaration = encoder.format.and_then(|format| format.declaration(event));
    // The time of an envelope, which is stored, is nearer to the line than the one in its text.
    if let Some(logged) = event.logged.or_else(|| declaration.as_ref()?.logged) {
        out.extend_from_slice(b",\"logged\":\"");
        write!(out, "{logged}\"").expect("memory can be written to");
    }
    if let Some(declaration) = declaration.filter(|declaration| !declaration.fields.is_empty()) {
        push_fields(&declaration.fields, out);
    }
}

fn push_fields(fields: &Fields, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b",\"fields\":{";
    for (name, value) in fields.iter() {
        out.extend_from_slice(separator);
        push_json_string(name, out);
        out.push(b':');
        match value {
            DeclaredValue::Text(text) => push_json_string(text, out),
            // A line of several rows may contain a value of several rows, and this object is one line.
            DeclaredValue::Json(json) => out.extend(json.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r'))),
        }
        separator = b",";
    }
    out.push(b'}');
}

fn push_json_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text can be written into memory");
}

/// The fields of an event without a number, with the names of its stream and its kind.
#[derive(Debug, Serialize)]
pub(super) struct StreamFields<'a, F> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'a str>,
    #[serde(flatten)]
    pub(super) fields: &'a F,
}

/// The gap of this reader, as a line.
pub fn gap(gap: &Gap, stream: Option<&str>) -> String {
    let fields = StreamFields { stream, kind: Some("gap"), fields: gap };
    to_line(&fields)
}

/// The rows of an origin that a program can still change, as a line; none if they were withdrawn.
pub fn open_line(line: &OpenLine, stream: Option<&str>) -> String {
    #[derive(Serialize)]
    struct NdjsonOpenLine<'a> {
        origin: &'a str,
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rows: Vec<Cow<'a, str>>,
    }
    let text = lossy_text(line.text());
    let fields = NdjsonOpenLine { origin: line.origin.as_str(), text, rows: super::rows_of(line) };
    let fields = StreamFields { stream, kind: Some("open"), fields: &fields };
    to_line(&fields)
}

/// The reason why a reader receives no more events.
#[derive(Serialize)]
pub(super) struct DenialFields<'a> {
    #[serde(rename = "why")]
    pub(super) reason: &'a str,
}

/// The reason why the reader receives no more events, as a line. With a `stream`, only that stream ends.
pub fn denied_notice(why: &str, stream: Option<&str>) -> String {
    to_line(&StreamFields { stream, kind: Some("denied"), fields: &DenialFields { reason: why } })
}

/// The reason why this connection ends, as a line; a reader that connects again can continue.
pub fn closing_notice(why: &str) -> String {
    to_line(&StreamFields { stream: None, kind: Some("over"), fields: &DenialFields { reason: why } })
}

/// The state of a daemon that ends.
#[derive(Serialize)]
pub(super) struct StopFields {
    state: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    restarting: bool,
}

impl StopFields {
    pub(super) fn new(is_restarting: bool) -> Self {
        Self { state: "stopping", restarting: is_restarting }
    }
}

/// The last line of a body before the daemon ends: a state without a number, which says whether the daemon is about to be
/// back.
pub fn stop_notice(is_restarting: bool) -> String {
    to_line(&StreamFields { stream: None, kind: Some("state"), fields: &StopFields::new(is_restarting) })
}

/// The progress of the source, as a line.
pub fn progress(progress: &Progress, stream: Option<&str>) -> String {
    to_line(&StreamFields { stream, kind: Some("progress"), fields: progress })
}

fn to_line(fields: &impl Serialize) -> String {
    serde_json::to_string(fields).expect("the fields have text keys") + "\n"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::Level;
    use crate::event::{Epoch, Origin, Position, Time};
    use crate::structured::StructuredFormat;
    use crate::wire::WireFormat;

    /// The bytes that the source wrote, as a reader recovers them from the JSON of a line.
    pub(in crate::wire) fn bytes_of(json: &serde_json::Value) -> Vec<u8> {
        let text = json["text"].as_str().unwrap();
        json["bytes"]
            .as_str()
            .map_or(text.as_bytes().to_vec(), |bytes| base64::engine::general_purpose::STANDARD.decode(bytes).unwrap())
    }

    #[test]
    fn an_event_is_one_object() {
        let origin = Origin::stdout();
        let id = Position { epoch: Epoch::persistent(1_763_874_672_123), number: 1042 };
        let time = Time(1_763_874_672_123_456);
        let logged = Time(1_763_874_671_000_000);
        let table: [(EventKind, Flags, &[u8], &str); 7] = [
            (EventKind::Line, Flags::NONE, b"a \"b\"\x00", r#""text":"a \"b\"\u0000""#),
            (EventKind::Line, Flags::PARTIAL, b"\xff", r#""text":"�","bytes":"/w==","partial":true"#),
            (EventKind::Line, Flags::NONE, b"[warn] x", r#""text":"[warn] x","level":"warning""#),
            (EventKind::Line, Flags::from_level(Level::Error), b"[warn] x", r#""text":"[warn] x","level":"error""#),
            (EventKind::Line, Flags::CONTINUED, b"x", r#""text":"x","continued":true"#),
            (EventKind::Line, Flags::COMPARED.with(Flags::NEW_SHAPE), b"x", r#""text":"x","new":true"#),
            (EventKind::Loss, Flags::NONE, br#"{"missed":null}"#, r#""kind":"loss","missed":null"#),
        ];
        for (kind, flags, text, expected) in table {
            let mut out = Vec::new();
            let event = Event { id, time, origin: Some(&origin), kind, flags, logged: None, text };
            Encoder::new(WireFormat::Ndjson, None).push(&event, &mut out);
            let shown = String::from_utf8(out).unwrap();
            let head = format!(r#"{{"id":"{id}","time":"2025-11-23T05:11:12.123456Z","origin":"stdout","#);
            assert_eq!(shown, format!("{head}{expected}}}\n"));
            serde_json::from_str::<serde_json::Value>(&shown).unwrap();
        }
        let mut out = Vec::new();
        let event = Event {
            id,
            time,
            origin: None,
            kind: EventKind::Line,
            flags: Flags::NONE,
            logged: Some(logged),
            text: b"x",
        };
        Encoder::new(WireFormat::Ndjson, None).push(&event, &mut out);
        let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&shown["logged"], &shown["time"]),
            (&"2025-11-23T05:11:11.000000Z".into(), &"2025-11-23T05:11:12.123456Z".into())
        );
    }
    #[test]
    fn fields_are_read_from_the_text() {
        let id = Position { epoch: Epoch::persistent(1), number: 1 };
        let time = Time(1_795_881_600_000_000);
        let envelope = Some(Time(1_795_881_601_000_000));
        // The format, the text, the time of the envelope, and the members after the text.
        let table = [
            (None, r#"{"a":1}"#, None, ""),
            (
                Some(StructuredFormat::Json),
                r#"{"a":"x","b":{"c":[1,"\n"]}}"#,
                None,
                r#","fields":{"a":"x","b.c":[1,"\n"]}"#,
            ),
            (Some(StructuredFormat::Json), "{\"a\":[1,\n2]}", None, r#","fields":{"a":[1,2]}"#),
            (Some(StructuredFormat::Json), "no object", None, ""),
            (Some(StructuredFormat::Json), "{}", None, ""),
            (
                Some(StructuredFormat::Logfmt),
                "ts=2026-11-28T16:00:00Z level=warn",
                None,
                r#","level":"warning","logged":"2026-11-28T16:00:00.000000Z","fields":{"ts":"2026-11-28T16:00:00Z","level":"warn"}"#,
            ),
            (
                Some(StructuredFormat::Logfmt),
                "ts=2026-11-28T16:00:00Z",
                envelope,
                r#","logged":"2026-11-28T16:00:01.000000Z","fields":{"ts":"2026-11-28T16:00:00Z"}"#,
            ),
        ];
        for (format, text, logged, expected) in table {
            let event = Event {
                id,
                time,
                origin: None,
                kind: EventKind::Line,
                flags: Flags::NONE,
                logged,
                text: text.as_bytes(),
            };
            let mut out = Vec::new();
            Encoder::new(WireFormat::Ndjson, None).reading(format).push(&event, &mut out);
            let shown = String::from_utf8(out).unwrap();
            let head =
                format!("{{\"id\":\"{id}\",\"time\":\"{time}\",\"text\":{}", serde_json::to_string(text).unwrap());
            assert_eq!(shown, format!("{head}{expected}}}\n"));
            serde_json::from_str::<serde_json::Value>(&shown).unwrap();
        }
    }

    #[test]
    fn lines_without_an_id_have_a_kind() {
        let id = Position { epoch: Epoch::persistent(1), number: 9 };
        let lost = Gap { missed: Some(3), resume: id };
        let line = OpenLine { time: Time(0), origin: Origin::stdout(), rows: vec![b"50\xff".to_vec()] };
        let begun = Progress::begun(Time(0));
        let table = [
            (gap(&lost, None), format!(r#"{{"kind":"gap","missed":3,"resume":"{id}"}}"#)),
            (stop_notice(true), r#"{"kind":"state","state":"stopping","restarting":true}"#.to_owned()),
            (stop_notice(false), r#"{"kind":"state","state":"stopping"}"#.to_owned()),
            (gap(&lost, Some("s")), format!(r#"{{"stream":"s","kind":"gap","missed":3,"resume":"{id}"}}"#)),
            (
                open_line(&line, Some("s")),
                r#"{"stream":"s","kind":"open","origin":"stdout","text":"50�","rows":["50�"]}"#.to_owned(),
            ),
            (
                open_line(&OpenLine::withdrawn(Time(0), Origin::stdout()), None),
                r#"{"kind":"open","origin":"stdout","text":""}"#.to_owned(),
            ),
            (denied_notice("why", Some("s")), r#"{"stream":"s","kind":"denied","why":"why"}"#.to_owned()),
            (closing_notice("why"), r#"{"kind":"over","why":"why"}"#.to_owned()),
            (
                progress(&begun, None),
                r#"{"kind":"progress","state":"indeterminate","started":"1970-01-01T00:00:00.000000Z","#.to_owned()
                    + r#""updated":"1970-01-01T00:00:00.000000Z"}"#,
            ),
        ];
        for (line, expected) in table {
            assert_eq!(line, expected + "\n");
        }
    }
}
