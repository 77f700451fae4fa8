//! Plain text: the lines as they are. Messages from rtlogd itself stand between dashes.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::{Event, EventKind, Flags, Gap, lossy_text, one_line};

use super::{Encoder, WireFormatNames};

/// The names of this wire format.
pub(super) const NAMES: WireFormatNames = WireFormatNames {
    name: "text",
    alias: Some("plain"),
    media_type: "text/plain",
    content_type: "text/plain; charset=utf-8",
};

/// Appends a line and its newline, or a message for other kinds that a reader must know of. A line that is continued
/// gets no newline, so that the next event continues it.
pub(super) fn push(encoder: &Encoder<'_>, event: &Event<'_>, out: &mut Vec<u8>) {
    match event.kind {
        EventKind::Line => {
            if encoder.is_plain_ascii {
                out.extend_from_slice(event.text);
            } else {
                push_sanitized(event.text, out);
            }
            if !event.flags.has(Flags::CONTINUED) {
                out.push(b'\n');
            }
        }
        EventKind::Loss => out.extend_from_slice(dashed_line(&loss(event.text)).as_bytes()),
        EventKind::End => out.extend_from_slice(dashed_line(&end(event.text)).as_bytes()),
        EventKind::State => {}
    }
}

/// Appends a line as UTF-8 without CRs: U+FFFD replaces invalid bytes, and U+240D replaces each CR.
pub(super) fn push_sanitized(line: &[u8], out: &mut Vec<u8>) {
    let text = lossy_text(line);
    let text = match memchr::memchr(b'\r', line) {
        Some(_) => Cow::Owned(text.replace('\r', "\u{240D}")),
        None => text,
    };
    out.extend_from_slice(text.as_bytes());
}

/// A line between dashes. The text may contain the name of a file, and therefore any character.
fn dashed_line(what: &str) -> String {
    format!("--- rtlogd: {} ---\n", one_line(what))
}

/// The gap of this reader, as a line.
pub fn gap(gap: &Gap) -> String {
    dashed_line(&match gap.missed {
        Some(1) => "1 event missed here".to_owned(),
        Some(missed) => format!("{missed} events missed here"),
        None => "an unknown number of events missed here".to_owned(),
    })
}

/// The reason why the reader receives no more events, as a line.
pub fn denied_notice(why: &str) -> String {
    dashed_line(why)
}

/// The reason why this connection ends, as a line; a reader that connects again can continue.
pub fn closing_notice(why: &str) -> String {
    dashed_line(why)
}

/// The last line of a body before the daemon ends, which says whether the daemon is about to be back.
pub fn stop_notice(is_restarting: bool) -> String {
    dashed_line(if is_restarting { "restarting; connect again to continue" } else { "stopped" })
}

fn loss(fields: &[u8]) -> String {
    #[derive(Deserialize)]
    struct LossFields {
        missed: Option<u64>,
        bytes: Option<u64>,
        reason: String,
    }
    match serde_json::from_slice::<LossFields>(fields) {
        Ok(LossFields { missed: Some(0), reason, .. }) => reason,
        Ok(LossFields { missed: Some(1), reason, .. }) => format!("1 line lost: {reason}"),
        Ok(LossFields { missed: Some(lines), reason, .. }) => format!("{lines} lines lost: {reason}"),
        Ok(LossFields { bytes: Some(bytes), reason, .. }) => format!("{bytes} bytes lost: {reason}"),
        Ok(LossFields { reason, .. }) => format!("an unknown number of lines lost: {reason}"),
        Err(_) => "lines lost".to_owned(),
    }
}

fn end(fields: &[u8]) -> String {
    #[derive(Deserialize)]
    struct EndFields {
        run: u64,
        code: Option<i32>,
        signal: Option<String>,
        duration: Option<f64>,
        #[serde(default)]
        killed: Vec<String>,
    }
    let Ok(EndFields { run, code, signal, duration, killed }) = serde_json::from_slice(fields) else {
        return "run ended".to_owned();
    };
    let how = match (code, signal) {
        (Some(code), _) => format!(" with exit code {code}"),
        (None, Some(signal)) => format!(" by signal {signal}"),
        (None, None) => String::new(),
    };
    let after = duration.map(|seconds| format!(" after {seconds:.1} s")).unwrap_or_default();
    let killed = if killed.is_empty() { String::new() } else { format!("; killed: {}", killed.join(", ")) };
    format!("run {run} ended{how}{after}{killed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position, Time};
    use crate::wire::WireFormat;

    #[test]
    fn lines_are_sent_as_they_are() {
        let table: [(EventKind, Flags, &[u8], &str); 12] = [
            (EventKind::Line, Flags::NONE, b"  a\0\x1b[31mb", "  a\0\x1b[31mb\n"),
            (EventKind::Line, Flags::CONTINUED, b"a", "a"),
            (EventKind::Line, Flags::NONE, b"\xffa\rb", "\u{fffd}a\u{240d}b\n"),
            (EventKind::State, Flags::NONE, b"{}", ""),
            (
                EventKind::Loss,
                Flags::NONE,
                br#"{"missed":null,"bytes":7,"reason":"file truncated"}"#,
                "--- rtlogd: 7 bytes lost: file truncated ---\n",
            ),
            (
                EventKind::Loss,
                Flags::NONE,
                br#"{"missed":1,"reason":"too fast"}"#,
                "--- rtlogd: 1 line lost: too fast ---\n",
            ),
            (
                EventKind::Loss,
                Flags::NONE,
                br#"{"missed":0,"reason":"file truncated"}"#,
                "--- rtlogd: file truncated ---\n",
            ),
            (
                EventKind::End,
                Flags::NONE,
                br#"{"run":1,"code":2,"duration":1.25,"cause":"exited"}"#,
                "--- rtlogd: run 1 ended with exit code 2 after 1.2 s ---\n",
            ),
            (
                EventKind::End,
                Flags::NONE,
                br#"{"run":1,"signal":"KILL","duration":1.0,"cause":"signalled"}"#,
                "--- rtlogd: run 1 ended by signal KILL after 1.0 s ---\n",
            ),
            (
                EventKind::End,
                Flags::NONE,
                br#"{"run":1,"code":0,"duration":1.0,"cause":"exited","killed":["sleep (7)","x\u001b (8)"]}"#,
                "--- rtlogd: run 1 ended with exit code 0 after 1.0 s; killed: sleep (7), x\\u{1b} (8) ---\n",
            ),
            // The duration is unknown after the daemon was killed.
            (EventKind::End, Flags::NONE, br#"{"run":1,"cause":"daemon-killed"}"#, "--- rtlogd: run 1 ended ---\n"),
            // The name of a file may contain any character.
            (
                EventKind::Loss,
                Flags::NONE,
                br#"{"missed":2,"reason":"a\n--- rtlogd: \u001b[2J\r"}"#,
                "--- rtlogd: 2 lines lost: a\\n--- rtlogd: \\u{1b}[2J\\r ---\n",
            ),
        ];
        for (kind, flags, text, expected) in table {
            let (mut out, encoder) = (Vec::new(), Encoder::new(WireFormat::Text, None));
            let id = Position { epoch: Epoch::persistent(1), number: 1 };
            push(&encoder, &Event { id, time: Time(0), origin: None, kind, flags, logged: None, text }, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn messages_stand_between_dashes() {
        let resume = Position { epoch: Epoch::persistent(1), number: 1 };
        let table = [
            (gap(&Gap { missed: Some(1), resume }), "1 event missed here"),
            (gap(&Gap { missed: Some(2), resume }), "2 events missed here"),
            (gap(&Gap { missed: None, resume }), "an unknown number of events missed here"),
            (denied_notice("the token has expired"), "the token has expired"),
            (closing_notice("the server stops"), "the server stops"),
            (stop_notice(true), "restarting; connect again to continue"),
            (stop_notice(false), "stopped"),
        ];
        for (line, expected) in table {
            assert_eq!(line, format!("--- rtlogd: {expected} ---\n"));
        }
    }
}
