//! What is sent: replies, and notifications that nobody asked for one by one.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::{Gap, OpenLine, Position, Progress};

use super::{JSON_RPC_VERSION, to_json_text};

/// What came of a call.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Done")]
pub enum MethodResponse {
    /// It was done; there is nothing to say.
    Nothing {},
    /// Every stream, as `GET /streams` shows it.
    Streams {
        /// In the order of their names.
        #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
        streams: Arc<RawValue>,
    },
    /// A subscription was made.
    Subscribed {
        /// Its number, in every notification of it.
        subscription: u64,
        /// The id just before what it begins with.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
    },
    /// Readers were paused, resumed or given a filter.
    Steered {
        /// How many: one subscription, or all event streams of the session.
        readers: usize,
    },
    /// A command was carried out.
    Carried {
        /// Whether it was so before: started where it runs, stopped where it does not.
        already: bool,
    },
    /// Input was taken.
    Taken {
        /// How much of it, in bytes.
        bytes: usize,
    },
    /// How the lease stands.
    Leased {
        /// Whether this channel holds it now.
        yours: bool,
        /// For how long, in seconds.
        seconds: f64,
    },
    /// The terminal's bytes follow.
    Attached {
        /// The number in every notification of it.
        attachment: u64,
    },
}

/// Who holds a lease.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Holder")]
pub struct LeaseHolder {
    /// Where it came from: a user of this machine, or an address.
    pub peer: String,
    /// Whether it is this channel.
    pub yours: bool,
    /// For how long still, in seconds.
    pub seconds: f64,
}

/// What the other side is told.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "method", content = "params")]
#[schemars(rename = "Tell")]
pub enum Notification<'a> {
    /// Events of a subscription, each an object as in NDJSON.
    #[serde(rename = "stream.events")]
    Events {
        /// Whose.
        subscription: u64,
        /// In order.
        #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
        events: &'a RawValue,
    },
    /// Events were missed; the next ones come after them.
    #[serde(rename = "stream.gap")]
    Gap {
        /// Whose.
        subscription: u64,
        /// How many events, where that is known.
        missed: Option<u64>,
        /// The id just before what comes next.
        #[schemars(with = "String")]
        resume: Position,
    },
    /// The unfinished line as it is now; without a text it was taken back.
    #[serde(rename = "stream.open")]
    Open {
        /// Whose.
        subscription: u64,
        /// Where it grows.
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
        /// What there is of it.
        text: String,
    },
    /// How far the source is now; told also to who has just subscribed.
    #[serde(rename = "stream.progress")]
    Progress {
        /// Whose.
        subscription: u64,
        /// How far.
        progress: &'a Progress,
    },
    /// A quiet subscription moved past events that its filter skipped.
    #[serde(rename = "stream.place")]
    Position {
        /// Whose.
        subscription: u64,
        /// What to give as `after` to go on there.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
    },
    /// Nothing more comes: the stream is gone, or the run that was asked for is over.
    #[serde(rename = "subscription.ended")]
    Ended {
        /// Whose.
        subscription: u64,
        /// What to give as `after` to go on there.
        #[schemars(with = "String")]
        #[serde(rename = "place")]
        position: Position,
        /// Why, if the subscriber may not read the stream any more.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Who may type changed. Told to all that have a subscription or an attachment of the stream.
    #[serde(rename = "process.leased")]
    Leased {
        /// Which stream.
        stream: &'a str,
        /// Who holds the lease; nobody: all may type that have the right.
        holder: Option<LeaseHolder>,
    },
    /// Bytes that the process wrote on its terminal.
    #[serde(rename = "process.output")]
    Output {
        /// Whose.
        attachment: u64,
        /// In base64.
        base64: String,
    },
    /// Bytes were dropped, since they were not taken quickly enough: draw anew.
    #[serde(rename = "process.lost")]
    Lost {
        /// Whose.
        attachment: u64,
        /// How many pieces of output.
        missed: u64,
    },
    /// An attachment is over: the stream is gone.
    #[serde(rename = "process.detached")]
    Detached {
        /// Whose.
        attachment: u64,
    },
}

impl Notification<'_> {
    /// A gap of a subscription.
    pub fn gap(subscription: u64, gap: &Gap) -> Self {
        Self::Gap { subscription, missed: gap.missed, resume: gap.resume }
    }

    /// An unfinished line of a subscription.
    pub fn open(subscription: u64, line: Option<&OpenLine>) -> Self {
        let text = line.map(|line| String::from_utf8_lossy(&line.text).into_owned()).unwrap_or_default();
        Self::Open { subscription, origin: line.map(|line| line.origin.as_str().to_owned()), text }
    }

    /// Bytes of a terminal.
    pub fn output(attachment: u64, bytes: &[u8]) -> Self {
        Self::Output { attachment, base64: base64::engine::general_purpose::STANDARD.encode(bytes) }
    }

    /// The message.
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

/// Text in one message of events, in bytes, about; a longer event is alone in its message.
const MAX_EVENTS_MESSAGE_SIZE: usize = 64 << 10;

/// The messages that bring these events, NDJSON as all its readers share it. A message is made when it is asked for, so that
/// only one is in memory.
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
    // A newline within JSON is written \n, so these stand between the objects.
    for c in text[begin..].iter_mut().filter(|c| **c == b'\n') {
        *c = b',';
    }
    text.extend_from_slice(b"]}}");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// As many whole lines as go into one message; `None` if there are none.
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
        let place = Position { epoch: Epoch::persistent(1_763_874_672_123), number: 7 };
        let shown = |tell: &Notification<'_>| serde_json::from_str::<Value>(&tell.to_text()).unwrap();
        let gap = Gap { missed: None, resume: place };
        let expected = json!({ "jsonrpc": "2.0", "method": "stream.gap",
            "params": { "subscription": 1, "missed": null, "resume": place.to_string() } });
        assert_eq!(shown(&Notification::gap(1, &gap)), expected);
        let line = OpenLine { time: Time(0), origin: Origin::stdout(), text: b"50\xff".to_vec() };
        assert_eq!(shown(&Notification::open(2, Some(&line)))["params"]["text"], "50\u{fffd}");
        assert_eq!(shown(&Notification::open(2, None))["params"], json!({ "subscription": 2, "text": "" }));
        let half = Progress { percent: Some(50.0), state: ProgressState::Running, ..Progress::begun(Time(0)) };
        let expected = json!({ "jsonrpc": "2.0", "method": "stream.progress", "params": { "subscription": 2, "progress": {
            "state": "running", "percent": 50.0, "started": "1970-01-01T00:00:00.000000Z", "updated": "1970-01-01T00:00:00.000000Z" } } });
        assert_eq!(shown(&Notification::Progress { subscription: 2, progress: &half }), expected);
        assert_eq!(shown(&Notification::output(3, b"\x1b[H"))["params"], json!({ "attachment": 3, "base64": "G1tI" }));
    }

    #[test]
    fn events_go_in_pieces_and_none_is_torn() {
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
