//! Queries of streams: each is understood or refused in words, and what was understood can be said again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};
use rtlogd::event::Position;
use rtlogd::stream::{CursorStart, RunSelection};
use rtlogd::wire::{SseData, WireFormat};
use rtlogd::{CheckedQuery, check_query};

/// A query, and where there are more lines, `Last-Event-ID` and `Accept`.
pub fn query(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let parameters = pairs(lines.next().unwrap_or_default());
    let mut headers = HeaderMap::new();
    for name in [header::HeaderName::from_static("last-event-id"), header::ACCEPT] {
        let value = lines.next().map(|line| line.split(|byte| *byte == b'\r').next().unwrap_or_default());
        headers.extend(value.and_then(|value| HeaderValue::from_bytes(value).ok()).map(|value| (name, value)));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_874_672);
    // A client that saw no id yet may send an empty one.
    let reconnects = headers.get("last-event-id").is_some_and(|id| !id.as_bytes().trim_ascii().is_empty());
    match check_query(&parameters, &headers, now) {
        Ok(first) => {
            let again = check_query(&said(&first, &parameters), &HeaderMap::new(), now);
            let plain = headers.is_empty() && first.start.is_ok();
            if plain {
                assert_eq!(again.as_ref(), Ok(&first), "said again it means something else: {parameters:?}");
            }
            let places = first.streams.iter().map(|(_, start)| start).chain([&first.start]);
            for refused in places.filter_map(|start| start.as_ref().err()) {
                assert!(!reconnects, "a browser is stopped for good: {refused}");
                assert!(refused.starts_with("after="), "{refused}");
            }
            if let Some(id) = parameters.iter().find(|(name, _)| name == "after")
                && !reconnects
            {
                let asked = id.1.trim_end_matches('!').parse::<Position>().map(CursorStart::After).ok();
                assert_eq!(first.start.ok(), asked, "not where it asked for: {id:?}");
            }
        }
        Err((status, why)) => {
            assert!(status == 400 || (status == 406 && headers.contains_key(header::ACCEPT)), "{status} {why}");
            assert!(why.len() > 10, "it does not say what would be right: {why}");
        }
    }
}

/// The pairs of a query (URL Standard, section 5.1).
fn pairs(query: &[u8]) -> Vec<(String, String)> {
    let some = query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    some.map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=').map(decoded);
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
    })
    .collect()
}

fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok()).filter(|_| *byte == b'%');
        let encoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(encoded.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        rest = if encoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The parameters that mean what was understood; the words of filters and names as they were given.
fn said(asked: &CheckedQuery, parameters: &[(String, String)]) -> Vec<(String, String)> {
    let taken = ["stream", "grep", "exclude", "where", "origin", "level", "ansi", "session"];
    let mut said: Vec<(String, String)> =
        parameters.iter().filter(|(name, _)| taken.contains(&name.as_str())).cloned().collect();
    let mut say = |name: &str, value: &str| said.push((name.to_owned(), value.to_owned()));
    match asked.view.wire_format {
        WireFormat::Sse(data) => {
            say("format", "sse");
            say("data", if data == SseData::Json { "json" } else { "text" });
        }
        WireFormat::Ndjson => say("format", "ndjson"),
        WireFormat::Text => say("format", "text"),
    }
    match asked.start {
        Ok(CursorStart::After(id)) => say("after", &id.to_string()),
        Ok(CursorStart::Since(time)) => say("since", &time.to_string()),
        Ok(CursorStart::Tail(lines)) => say("tail", &lines.to_string()),
        Ok(CursorStart::Oldest) => say("tail", "all"),
        Ok(CursorStart::Run | CursorStart::AfterUnknown) | Err(_) => {}
    }
    if let Some(run) = asked.until.run {
        let number;
        let run = match run {
            RunSelection::Current => "current",
            RunSelection::Last => "last",
            RunSelection::Passed => "passed",
            RunSelection::Number(of) => {
                number = of.to_string();
                &number
            }
            RunSelection::Forgotten => panic!("no query asks for a run that is not known"),
        };
        say("run", run);
    }
    if asked.until.head {
        say("follow", "false");
    }
    asked.until.lines.inspect(|lines| say("limit", &lines.to_string()));
    asked.until.before.inspect(|id| say("before", &id.to_string()));
    asked.wait.inspect(|wait| say("wait", &format!("{}ms", wait.as_millis())));
    said
}
