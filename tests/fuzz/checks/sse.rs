//! Bodies: a decoder written from the standard gives each line back, and no line forges a frame.

use base64::Engine as _;
use rtlogd::event::{Epoch, Event, EventKind, Flags, OpenLine, Origin, Position, Time};
use rtlogd::wire::{Encoder, SseData, WireFormat, sse};
use serde_json::Value;

use crate::harness::event_stream::{Decoder, Message};

use super::{choices, reads};

/// The text between two events.
const BETWEEN: u8 = 0xFE;

/// The choices: whether several streams share the connection, and where reads end; of each event, its kind and flags.
pub fn sse(data: &[u8]) {
    let ([several, ends], data) = choices(data);
    let stream = "build".parse().expect("it is a name");
    let several = (several & 1 == 1).then_some(&stream);
    let origin = Origin::from(String::from_utf8_lossy(&data[..data.len().min(9)]).as_ref());
    let parts: Vec<(u8, &[u8])> = data
        .split(|byte| *byte == BETWEEN)
        .map(|part| part.split_first().map_or((0, part), |(kind, text)| (*kind, text)))
        .collect();
    let said: Vec<Vec<u8>> = parts.iter().map(|(kind, text)| said(*kind, text)).collect();
    let events: Vec<_> = (1..)
        .zip(parts.iter().zip(&said))
        .map(|(number, ((kind, _), text))| Event {
            id: Position { epoch: Epoch::persistent(1_763_874_672_123), number },
            time: Time(i64::from(*kind) * 1_000_000_007),
            origin: (kind & 4 == 0).then_some(&origin),
            kind: of(*kind),
            flags: [Flags::NONE, Flags::CONTINUED, Flags::PARTIAL][usize::from(kind >> 3) % 3],
            logged: None,
            text,
        })
        .collect();

    for form in [SseData::Text, SseData::Json] {
        let mut body = sse::retry_frame(1500).into_bytes();
        let mut encoder = Encoder::new(WireFormat::Sse(form), several);
        for event in &events {
            // Frames that share a connection have its own id in front of them.
            several.inspect(|_| body.extend(format!("id: build:{}\n", event.id).into_bytes()));
            encoder.push(event, &mut body);
            body.extend(unnumbered(event).into_bytes());
        }
        let mut decoder = Decoder::default();
        for read in reads(&body, ends) {
            decoder.push(read);
        }
        let seen = Vec::from(decoder.ready);
        assert_eq!(decoder.retry, Some(1500));
        assert_eq!(decoder.last_id, seen.last().expect("there is an event").id);
        assert_eq!(seen.len(), events.len() * 2, "a frame more or less: {seen:?}");
        for (pair, event) in seen.chunks(2).zip(&events) {
            frame(&pair[0], event, form, several.is_some());
            assert_eq!((pair[1].event.as_str(), &pair[1].id), ("open", &pair[0].id));
            assert_eq!(json(&pair[1].data)["text"], lossy(event.text));
        }
    }
    others(&events);
}

fn of(kind: u8) -> EventKind {
    [EventKind::Line, EventKind::State, EventKind::Loss, EventKind::End][usize::from(kind & 3)]
}

/// The text of an event: of a line any, of all else the JSON object of what rtlogd says.
fn said(kind: u8, text: &[u8]) -> Vec<u8> {
    let reason = String::from_utf8_lossy(text);
    let fields = match of(kind) {
        EventKind::Line => return text.to_vec(),
        EventKind::State => serde_json::json!({ "state": "stopped", "reason": reason }),
        EventKind::Loss => serde_json::json!({ "missed": null, "reason": reason }),
        EventKind::End => serde_json::json!({ "run": 1, "signal": reason, "cause": "exited" }),
    };
    fields.to_string().into_bytes()
}

/// What comes between numbered events: it moves no place, but where it says so, and is no line.
fn unnumbered(event: &Event<'_>) -> String {
    let origin = event.origin.cloned().unwrap_or(Origin::stderr());
    let open = OpenLine { time: event.time, origin, rows: vec![event.text.to_vec()] };
    sse::open_line(&open, None) + sse::SSE_KEEP_ALIVE
}

fn frame(message: &Message, event: &Event<'_>, form: SseData, several: bool) {
    let id = if several { format!("build:{}", event.id) } else { event.id.to_string() };
    assert_eq!(message.id, id);
    if event.kind == EventKind::Line && form == SseData::Text {
        assert_eq!((message.event.as_str(), &message.data), ("", &lossy(event.text).replace('\r', "\u{240D}")));
        return;
    }
    let fields = json(&message.data);
    assert_eq!(message.event, if event.kind == EventKind::Line { "" } else { event.kind.name() });
    assert_eq!(fields.get("stream").is_some(), several);
    object(&fields, event);
}

/// The members of an event in JSON, in whichever wire format.
fn object(fields: &Value, event: &Event<'_>) {
    assert_eq!(fields["id"], event.id.to_string());
    assert_eq!(fields["time"], event.time.to_string());
    assert_eq!(fields.get("origin").and_then(Value::as_str), event.origin.map(Origin::as_str));
    if event.kind == EventKind::Line {
        let text = fields["text"].as_str().expect("a line has a text");
        let bytes = fields.get("bytes").map(|bytes| {
            let base64 = bytes.as_str().expect("bytes are a text");
            base64::engine::general_purpose::STANDARD.decode(base64).expect("they are base64")
        });
        assert_eq!(bytes.is_some(), std::str::from_utf8(event.text).is_err(), "{fields}");
        assert_eq!(bytes.unwrap_or_else(|| text.as_bytes().to_vec()), event.text);
        let flag = |name: &str| fields.get(name).is_some();
        assert_eq!(flag("continued"), event.flags.has(Flags::CONTINUED));
        assert_eq!(flag("partial"), event.flags.has(Flags::PARTIAL));
    } else {
        assert_eq!(fields["kind"], event.kind.name());
        for (name, value) in json(&lossy(event.text)).as_object().expect("it is an object") {
            assert_eq!(fields[name], *value, "{fields}");
        }
    }
}

/// The other bodies: of the one each line is one object, the other is text in which nothing steers the reader's lines.
fn others(events: &[Event<'_>]) {
    let (mut ndjson, mut text) = (Vec::new(), Vec::new());
    let (mut to_ndjson, mut to_text) = (Encoder::new(WireFormat::Ndjson, None), Encoder::new(WireFormat::Text, None));
    for event in events {
        to_ndjson.push(event, &mut ndjson);
        to_text.push(event, &mut text);
    }
    let ndjson = String::from_utf8(ndjson).expect("JSON is UTF-8");
    assert_eq!(ndjson.split_terminator('\n').count(), events.len(), "an object more or less: {ndjson}");
    for (line, event) in ndjson.split_terminator('\n').zip(events) {
        object(&json(line), event);
    }
    let text = String::from_utf8(text).expect("text is UTF-8");
    assert!(!text.contains('\r'), "{text:?}");
    let feeds = events.iter().map(|event| match event.kind {
        EventKind::Line if event.flags.has(Flags::CONTINUED) => lossy(event.text).matches('\n').count(),
        EventKind::Line => lossy(event.text).matches('\n').count() + 1,
        EventKind::Loss | EventKind::End => 1,
        EventKind::State => 0,
    });
    assert_eq!(text.matches('\n').count(), feeds.sum::<usize>(), "a line more or less: {text:?}");
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
