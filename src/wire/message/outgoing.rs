//! The messages to clients: the results of calls, and notifications.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Gap, OpenLine, Position, Progress};

use super::super::rows_of;
use super::{JSON_RPC_VERSION, to_json_text};

/// The result of a call.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Done")]
pub enum MethodResponse {
    /// The call was carried out, and returns nothing.
    Nothing {},
    /// Every stream, as `GET /streams` shows it.
    Streams {
        /// The streams in the order of their names.
        #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
        streams: Arc<RawValue>,
    },
    /// The subscription was created.
    Subscribed {
        /// The number of the subscription, which its notifications contain.
        subscription: u64,
        /// The id just before the first event of the subscription.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
    },
    /// Readers were paused or resumed, or received a filter.
    Steered {
        /// The number of readers: one for a subscription, or all readers of the session.
        readers: usize,
    },
    /// The command was carried out.
    Carried {
        /// True if there was nothing to do, such as starting a process that runs.
        already: bool,
    },
    /// The input was accepted.
    Taken {
        /// The size of the input in bytes.
        bytes: usize,
    },
    /// The lease was taken, extended or given back.
    Leased {
        /// True if this channel holds the lease now.
        yours: bool,
        /// The remaining time in seconds.
        seconds: f64,
    },
    /// The attachment was created; the bytes of the terminal follow.
    Attached {
        /// The number of the attachment, which its notifications contain.
        attachment: u64,
    },
}

/// The holder of a lease.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Holder")]
pub struct LeaseHolder {
    /// The holder's origin: a user of this machine, or an address.
    pub peer: String,
    /// True if the holder is this channel.
    pub yours: bool,
    /// The remaining time in seconds.
    pub seconds: f64,
}

/// A notification.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "method", content = "params")]
#[schemars(rename = "Tell")]
pub enum Notification<'a> {
    /// Events of a subscription, each an object as in NDJSON.
    #[serde(rename = "stream.events")]
    Events {
        /// The number of the subscription.
        subscription: u64,
        /// The events in their order.
        #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
        events: &'a RawValue,
    },
    /// Events were missed. The next events follow them.
    #[serde(rename = "stream.gap")]
    Gap {
        /// The number of the subscription.
        subscription: u64,
        /// The number of events, if it is known.
        missed: Option<u64>,
        /// The id just before the next event.
        #[schemars(with = "String")]
        resume: Position,
    },
    /// The rows of an origin that the program can still change: the unfinished line, or the block that it redraws. They
    /// replace those before of the same origin; no rows withdraw them.
    #[serde(rename = "stream.open")]
    Open {
        /// The number of the subscription.
        subscription: u64,
        /// The origin of the rows.
        origin: String,
        /// The text of the last row so far.
        text: String,
        /// The text of all rows so far.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rows: Vec<String>,
    },
    /// The current progress of the source; a new subscription receives the newest one.
    #[serde(rename = "stream.progress")]
    Progress {
        /// The number of the subscription.
        subscription: u64,
        /// The progress.
        progress: &'a Progress,
    },
    /// The subscription has moved past events that its filter removed, and has had no other event for a while.
    #[serde(rename = "stream.place")]
    Position {
        /// The number of the subscription.
        subscription: u64,
        /// The value of `after` with which a new subscription continues.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
    },
    /// No more events follow: the stream was removed, the requested run has ended, or the stream may no longer be read.
    #[serde(rename = "subscription.ended")]
    Ended {
        /// The number of the subscription.
        subscription: u64,
        /// The value of `after` with which a new subscription continues.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
        /// The reason, if the stream may no longer be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The lease of a stream has changed. Channels with a subscription or an attachment of the stream receive this.
    #[serde(rename = "process.leased")]
    Leased {
        /// The name of the stream.
        stream: &'a str,
        /// The holder of the lease; null if nobody holds it, so that all clients with the right may type.
        holder: Option<LeaseHolder>,
    },
    /// Bytes that the process wrote to its terminal.
    #[serde(rename = "process.output")]
    Output {
        /// The number of the attachment.
        attachment: u64,
        /// The bytes in base64.
        base64: String,
    },
    /// Output of the terminal was dropped, because it was not read quickly enough. The client should draw the screen
    /// again.
    #[serde(rename = "process.lost")]
    Lost {
        /// The number of the attachment.
        attachment: u64,
        /// The number of dropped pieces of output.
        missed: u64,
    },
    /// The attachment has ended: the terminal or the stream is gone, or the stream may no longer be read.
    #[serde(rename = "process.detached")]
    Detached {
        /// The number of the attachment.
        attachment: u64,
    },
}

impl Notification<'_> {
    /// The gap of a subscription.
    pub fn gap(subscription: u64, gap: &Gap) -> Self {
        Self::Gap { subscription, missed: gap.missed, resume: gap.resume }
    }

    /// The live rows of an origin for a subscription; none withdraws them.
    pub fn open_line(subscription: u64, line: &OpenLine) -> Self {
        let rows: Vec<String> = rows_of(line).into_iter().map(Cow::into_owned).collect();
        let text = rows.last().cloned().unwrap_or_default();
        Self::Open { subscription, origin: line.origin.as_str().to_owned(), text, rows }
    }

    /// Bytes of a terminal.
    pub fn output(attachment: u64, bytes: &[u8]) -> Self {
        Self::Output { attachment, base64: base64::engine::general_purpose::STANDARD.encode(bytes) }
    }

    /// The notification as the text of one message.
    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct NotificationMessage<'a> {
            jsonrpc: &'static str,
            #[serde(flatten)]
            notification: &'a Notification<'a>,
        }
        to_json_text(&NotificationMessage { jsonrpc: JSON_RPC_VERSION, notification: self })
    }
}

/// The approximate maximum size of a message of events, in bytes. A longer event has a message of its own.
const MAX_EVENTS_MESSAGE_SIZE: usize = 64 << 10;

/// The messages with these events; `lines` is the NDJSON that all readers of the view share. Each message is created
/// when the iterator is polled, so that only one is in memory.
pub fn events(subscription: u64, lines: &[u8]) -> impl Iterator<Item = String> {
    let mut left = lines;
    std::iter::from_fn(move || {
        let piece = &left[next_chunk(left)?];
        left = &left[piece.len()..];
        Some(events_message(subscription, piece))
    })
}

fn events_message(subscription: u64, lines: &[u8]) -> String {
    let head = format!(
        r#"{{"jsonrpc":"{JSON_RPC_VERSION}","method":"stream.events","params":{{"subscription":{subscription},"events":["#
    );
    let mut text = head.into_bytes();
    text.reserve(lines.len() + 4);
    let begin = text.len();
    text.extend_from_slice(lines.strip_suffix(b"\n").unwrap_or(lines));
    // A newline within a JSON string is escaped, so every newline here separates two objects.
    for c in text[begin..].iter_mut().filter(|c| **c == b'\n') {
        *c = b',';
    }
    text.extend_from_slice(b"]}}");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// The range of the whole lines that fit into one message; `None` if no lines are left.
fn next_chunk(lines: &[u8]) -> Option<Range<usize>> {
    if lines.is_empty() {
        return None;
    }
    let fitting = &lines[..lines.len().min(MAX_EVENTS_MESSAGE_SIZE)];
    let end = match memchr::memrchr(b'\n', fitting) {
        Some(last) => last + 1,
        None => memchr::memchr(b'\n', lines).map_or(lines.len(), |first| first + 1),
    };
    Some(0..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Origin, ProgressState, Time};
    use serde_json::{Value, json};

    #[test]
    fn notifications_look_like_this() {
        let resume = Position { epoch: Epoch::persistent(1_763_874_672_123), number: 7 };
        let shown = |notification: &Notification<'_>| serde_json::from_str::<Value>(&notification.to_text()).unwrap();
        let gap = Gap { missed: None, resume };
        let expected = json!({ "jsonrpc": "2.0", "method": "stream.gap",
            "params": { "subscription": 1, "missed": null, "resume": resume.to_string() } });
        assert_eq!(shown(&Notification::gap(1, &gap)), expected);
        let line = OpenLine { time: Time(0), origin: Origin::stdout(), rows: vec![b"50\xff".to_vec()] };
        assert_eq!(shown(&Notification::open_line(2, &line))["params"]["text"], "50\u{fffd}");
        let none = OpenLine::withdrawn(Time(0), Origin::stdout());
        let expected = json!({ "subscription": 2, "origin": "stdout", "text": "" });
        assert_eq!(shown(&Notification::open_line(2, &none))["params"], expected);
        let half = Progress { percent: Some(50.0), state: ProgressState::Running, ..Progress::begun(Time(0)) };
        let expected = json!({ "jsonrpc": "2.0", "method": "stream.progress", "params": { "subscription": 2, "progress": {
            "state": "running", "percent": 50.0, "started": "1970-01-01T00:00:00.000000Z", "updated": "1970-01-01T00:00:00.000000Z" } } });
        assert_eq!(shown(&Notification::Progress { subscription: 2, progress: &half }), expected);
        assert_eq!(shown(&Notification::output(3, b"\x1b[H"))["params"], json!({ "attachment": 3, "base64": "G1tI" }));
    }

    #[test]
    fn events_are_split_between_messages_and_never_within_one() {
        let line = |number: usize| format!("{{\"id\":\"{number}\",\"text\":\"{}\"}}\n", "x".repeat(number * 37 % 5000));
        let long = format!("{{\"text\":\"{}\"}}\n", "y".repeat(3 * MAX_EVENTS_MESSAGE_SIZE));
        let lines: String = (0..200).map(line).chain([long.clone(), line(1)]).collect();
        let mut seen = Vec::new();
        for text in events(9, lines.as_bytes()) {
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&message["method"], &message["params"]["subscription"]), (&json!("stream.events"), &json!(9)));
            let events = message["params"]["events"].as_array().unwrap();
            assert!(text.len() < MAX_EVENTS_MESSAGE_SIZE + 200 || events.len() == 1, "{} bytes", text.len());
            seen.extend(events.iter().map(|event| event.to_string() + "\n"));
        }
        let expected: Vec<_> =
            lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap().to_string() + "\n").collect();
        assert!(seen == expected, "{} of {}", seen.len(), expected.len());
        assert!(events(9, lines.as_bytes()).count() < 20, "short events share a message");
        assert_eq!(events(9, b"").count(), 0);
    }
}
