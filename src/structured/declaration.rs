//! The declarations of a line of a structured log: its time and its fields.

use crate::event::{Event, EventKind, Time, visible_text};

use super::field::{Declaration, DeclaredValue, Fields};
use super::{json_fields, logfmt_fields, syslog, timestamp};

/// The form in which the lines of a stream are structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StructuredFormat {
    /// One JSON object on each line.
    Json,
    /// Pairs of keys and values.
    Logfmt,
    /// The syslog protocol (RFC 3164 and RFC 5424).
    Syslog,
}

/// The names of the fields with the time of a JSON or logfmt line, the most trusted first.
const TIME_FIELDS: [&str; 21] = [
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "@t",
    "T",
    "t",
    "t.$date",
    "datetime",
    "asctime",
    "date",
    "timeMillis",
    "eventTime",
    "event_time",
    "log_time",
    "Timestamp",
    "Time",
    "__REALTIME_TIMESTAMP",
    "time_iso8601",
    "time_local",
    "receiveTimestamp",
];

/// The names of the fields with the seconds of a time that is written as two numbers, and with its nanoseconds: those of
/// Log4j and of Google's loggers.
const TIME_PAIRS: [(&str, &str); 3] = [
    ("instant.epochSecond", "instant.nanoOfSecond"),
    ("timestamp.seconds", "timestamp.nanos"),
    ("timestampSeconds", "timestampNanos"),
];

impl StructuredFormat {
    /// The time and the fields of a line; `None` if the event is no line, or its line does not have this format. Both
    /// are read from the stored text, which is redacted. Cost: all of the text.
    pub fn declaration(self, event: &Event<'_>) -> Option<Declaration> {
        if event.kind == EventKind::Line { self.declaration_of(event.text, event.time) } else { None }
    }

    /// The time and the fields of a text that was read at the time `read`; `None` if it does not have this format.
    pub fn declaration_of(self, text: &[u8], read: Time) -> Option<Declaration> {
        let text = visible_text(text);
        let line = std::str::from_utf8(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)).ok()?;
        let fields = match self {
            Self::Json => json_fields::fields(line)?,
            Self::Logfmt => logfmt_fields::fields(line)?,
            Self::Syslog => return syslog::declaration(line, read),
        };
        Some(Declaration { logged: logged(&fields, read), fields })
    }
}

/// The time among the fields.
fn logged(fields: &Fields, read: Time) -> Option<Time> {
    let pair = TIME_PAIRS.iter().find_map(|(seconds, nanos)| Some((fields.get(seconds)?, fields.get(nanos))));
    if let Some((seconds, nanos)) = pair {
        let seconds = seconds.as_str().parse::<i64>().ok()?;
        let nanos = nanos.and_then(|nanos| nanos.as_str().parse::<i64>().ok());
        return Some(Time(seconds.checked_mul(1_000_000)?.checked_add(nanos.unwrap_or(0) / 1_000)?));
    }
    let values = TIME_FIELDS.iter().filter_map(|name| fields.get(name));
    let mut texts = values.filter(|value| !matches!(value, DeclaredValue::Json(text) if text.starts_with(['[', '{'])));
    texts.find_map(|value| timestamp::parse(value.as_str(), read))
}
