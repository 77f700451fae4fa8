//! Structured lines: any bytes have a level or none, and in each format fields or none, within limits.

use rtlogd::event::{Epoch, Event, EventKind, Flags, Position, Time};
use rtlogd::structured::{Condition, StructuredFormat, level_of, level_of_text};
use rtlogd::wire::{Encoder, WireFormat};

/// The most fields that a line may have.
const MAX_FIELDS: usize = 64;

/// A line, and after a newline a condition.
pub fn structured(data: &[u8]) {
    let at = data.iter().rposition(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, condition) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let id = Position { epoch: Epoch::persistent(1), number: 1 };
    let time = Time(1_795_881_600_000_000);
    let event = Event { id, time, origin: None, kind: EventKind::Line, flags: Flags::NONE, logged: None, text: line };
    let level = level_of_text(line);
    assert_eq!(level_of(&event), level, "a line without flags is read");
    let examined = Event { flags: Flags::LEVEL_EXAMINED, ..event };
    assert_eq!(level_of(&examined), None, "a line that was examined is not read again");
    let condition = std::str::from_utf8(condition).ok().and_then(|text| text.parse::<Condition>().ok());
    if let Some(condition) = &condition {
        assert_eq!(condition.to_string().parse().as_ref(), Ok(condition), "it has two spellings");
    }
    for format in [StructuredFormat::Json, StructuredFormat::Logfmt, StructuredFormat::Syslog] {
        let declaration = format.declaration(&event);
        let count = declaration.as_ref().map_or(0, |declaration| declaration.fields.iter().count());
        assert!(count <= MAX_FIELDS, "{count} fields");
        let mut out = Vec::new();
        Encoder::new(WireFormat::Ndjson, None).reading(Some(format)).push(&event, &mut out);
        assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1), "an event is one line");
        let shown: serde_json::Value = serde_json::from_slice(&out).expect("an event is JSON");
        let fields = shown.get("fields").map_or(0, |fields| fields.as_object().expect("fields are an object").len());
        assert_eq!(fields, count, "each field is shown once");
        if let (Some(condition), Some(declaration)) = (&condition, &declaration) {
            condition.holds(&declaration.fields);
        }
    }
}
