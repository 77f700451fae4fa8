//! Plain text: the lines as they are. What rtlogd itself has to say stands between dashes.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::{Event, Flags, Gap, Kind, one_line};

/// Appends a line and its newline; of the other kinds what a reader must know. A continued line goes on behind it.
pub(super) fn push(event: &Event<'_>, out: &mut Vec<u8>) {
    match event.kind {
        Kind::Line => {
            plain(event.text, out);
            if !event.flags.has(Flags::CONTINUED) {
                out.push(b'\n');
            }
        }
        Kind::Loss => out.extend_from_slice(said(&loss(event.text)).as_bytes()),
        Kind::End => out.extend_from_slice(said(&end(event.text)).as_bytes()),
        Kind::State => {}
    }
}

/// Appends a line such that it is UTF-8 and holds no CR: U+FFFD and U+240D stand in their places.
pub(super) fn plain(line: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line);
    let text = match memchr::memchr(b'\r', line) {
        Some(_) => Cow::Owned(text.replace('\r', "\u{240D}")),
        None => text,
    };
    out.extend_from_slice(text.as_bytes());
}

/// A line between dashes. It may name a file, and so hold whatever names may.
fn said(what: &str) -> String {
    format!("--- rtlogd: {} ---\n", one_line(what))
}

/// What this reader missed, as a line.
pub fn gap(gap: &Gap) -> String {
    said(&match gap.missed {
        Some(1) => "1 event missed here".to_owned(),
        Some(missed) => format!("{missed} events missed here"),
        None => "events missed here, their number is not known".to_owned(),
    })
}

/// Why the reader is sent nothing more, as a line.
pub fn denied(why: &str) -> String {
    said(why)
}

/// Why the reader is sent nothing more on this connection, as a line; one that connects again goes on.
pub fn over(why: &str) -> String {
    said(why)
}

fn loss(fields: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fields {
        missed: Option<u64>,
        bytes: Option<u64>,
        reason: String,
    }
    match serde_json::from_slice::<Fields>(fields) {
        Ok(Fields { missed: Some(lines), reason, .. }) => format!("{lines} lines lost: {reason}"),
        Ok(Fields { bytes: Some(bytes), reason, .. }) => format!("{bytes} bytes lost: {reason}"),
        Ok(Fields { reason, .. }) => format!("lines lost, their number is not known: {reason}"),
        Err(_) => "lines lost".to_owned(),
    }
}

fn end(fields: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Fields {
        run: u64,
        code: Option<i32>,
        signal: Option<String>,
        duration: Option<f64>,
    }
    let Ok(Fields { run, code, signal, duration }) = serde_json::from_slice(fields) else {
        return "run ended".to_owned();
    };
    let how = match (code, signal) {
        (Some(code), _) => format!(" with exit code {code}"),
        (None, Some(signal)) => format!(" by signal {signal}"),
        (None, None) => String::new(),
    };
    let after = duration.map(|seconds| format!(" after {seconds:.1} s")).unwrap_or_default();
    format!("run {run} ended{how}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position, Time};

    #[test]
    fn lines_are_sent_as_they_are() {
        let table: [(Kind, Flags, &[u8], &str); 9] = [
            (Kind::Line, Flags::NONE, b"  a\0\x1b[31mb", "  a\0\x1b[31mb\n"),
            (Kind::Line, Flags::CONTINUED, b"a", "a"),
            (Kind::Line, Flags::NONE, b"\xffa\rb", "\u{fffd}a\u{240d}b\n"),
            (Kind::State, Flags::NONE, b"{}", ""),
            (
                Kind::Loss,
                Flags::NONE,
                br#"{"missed":null,"bytes":7,"reason":"file truncated"}"#,
                "--- rtlogd: 7 bytes lost: file truncated ---\n",
            ),
            (
                Kind::End,
                Flags::NONE,
                br#"{"run":1,"code":2,"duration":1.25,"cause":"exited"}"#,
                "--- rtlogd: run 1 ended with exit code 2 after 1.2 s ---\n",
            ),
            (
                Kind::End,
                Flags::NONE,
                br#"{"run":1,"signal":"KILL","duration":1.0,"cause":"signalled"}"#,
                "--- rtlogd: run 1 ended by signal KILL after 1.0 s ---\n",
            ),
            // After the daemon was killed, nobody knows how long it ran.
            (Kind::End, Flags::NONE, br#"{"run":1,"cause":"daemon-killed"}"#, "--- rtlogd: run 1 ended ---\n"),
            // A file's name may hold anything.
            (
                Kind::Loss,
                Flags::NONE,
                br#"{"missed":2,"reason":"a\n--- rtlogd: \u001b[2J\r"}"#,
                "--- rtlogd: 2 lines lost: a\\n--- rtlogd: \\u{1b}[2J\\r ---\n",
            ),
        ];
        for (kind, flags, text, expected) in table {
            let mut out = Vec::new();
            let id = Position { epoch: Epoch::kept(1), number: 1 };
            push(&Event { id, time: Time(0), origin: None, kind, flags, text }, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert_eq!(
            gap(&Gap { missed: Some(2), resume: Position { epoch: Epoch::kept(1), number: 1 } }),
            "--- rtlogd: 2 events missed here ---\n"
        );
    }
}
