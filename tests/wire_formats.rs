//! The same stream as SSE text, SSE JSON, NDJSON and plain text; nothing that a line holds breaks any of them.

use base64::Engine as _;
use serde_json::Value;

use crate::harness::http::header;
use crate::harness::sse::{Message, lines};
use crate::harness::{Daemon, TestDir};

/// Longest text of one event, in bytes.
const MAX_LINE: usize = 256 << 10;

/// The last of the [`nasty`] lines.
pub(crate) const LAST: &str = "the last of them";

/// Lines that would break a careless encoder.
pub(crate) fn nasty() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        "data: x",
        "id: 9",
        "event: end",
        "retry: 1",
        ": comment",
        ":",
        "",
        " ",
        "  indented",
        "\ttab",
        "a\rb",
        "a\rdata: forged\rb",
        "a\r\rid: 7\r\revent: end\rdata: forged\r\rb",
        "nul\0nul",
        "\x1b[31mred\x1b[0m",
        "{\"text\":\"no\"}",
        "\"quoted\" \\ back",
        "\u{feff}bom",
        "é ☃ 🦀",
        "\u{2028}\u{2029}\u{85}\u{b}\u{c}",
        "--- rtlogd: not me ---",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into();
    let raw: [&[u8]; 4] = [b"bad \xff\xfe utf-8", b"\xf0\x9f\xa6", b"\xc3(", b"\xed\xa0\x80"];
    lines.extend(raw.map(<[u8]>::to_vec));
    lines.push((0..300 << 10).map(|at: u32| b'a' + u8::try_from(at % 26).unwrap()).collect());
    lines.push(LAST.into());
    lines
}

/// A file `nasty.log` with these lines, whose stream `n` shows all of it.
pub(crate) fn daemon_with(lines: &[Vec<u8>]) -> Daemon {
    let dir = TestDir::new();
    for line in lines {
        dir.write("nasty.log", line);
        dir.write("nasty.log", "\n");
    }
    let daemon = dir.start("streams: { n: { file: nasty.log, from: start, carriage_return: keep } }");
    daemon.follow("n").query("tail=all").until("the last line", |message| message.data == LAST);
    daemon
}

/// What DESIGN says of a line as text, in the pieces in which it comes.
pub(crate) fn as_text(lines: &[Vec<u8>]) -> Vec<String> {
    let pieces = lines
        .iter()
        .flat_map(|line| if line.is_empty() { vec![line.as_slice()] } else { line.chunks(MAX_LINE).collect() });
    pieces.map(|piece| String::from_utf8_lossy(piece).replace('\r', "\u{240D}")).collect()
}

/// The bytes that were written, from the JSON of lines: `bytes` or `text`, joined over `continued`.
pub(crate) fn written<'a>(lines: impl IntoIterator<Item = &'a Value>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut line = Vec::new();
    for json in lines {
        match json["bytes"].as_str() {
            Some(bytes) => line.extend(base64::engine::general_purpose::STANDARD.decode(bytes).unwrap()),
            None => line.extend(json["text"].as_str().unwrap().as_bytes()),
        }
        if json["continued"] != true {
            all.push(std::mem::take(&mut line));
        }
    }
    all
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(seen: &[Vec<u8>], expected: &[Vec<u8>]) {
    for (at, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        let show = |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(100)]).into_owned();
        assert!(
            seen == expected,
            "line {at}: {} bytes {:?} instead of {} {:?}",
            seen.len(),
            show(seen),
            expected.len(),
            show(expected)
        );
    }
    assert_eq!(seen.len(), expected.len());
}

#[test]
fn json_data_gives_back_exactly_the_bytes() {
    let expected = nasty();
    let daemon = daemon_with(&expected);
    let seen = daemon.follow("n").query("tail=all&data=json&follow=false").until_end();
    assert!(seen.iter().all(|message| ["", "state"].contains(&message.event.as_str())), "a forged event: {seen:?}");
    let jsons: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    assert_same(&written(&jsons), &expected);
    assert!(seen.iter().all(|message| message.json()["id"] == message.id.as_str()));
    assert_eq!(jsons.iter().filter(|json| json["continued"] == true).count(), 1);
}

#[test]
fn text_data_is_the_line_except_for_what_would_break_the_frame() {
    let expected = nasty();
    let daemon = daemon_with(&expected);
    let seen = daemon.follow("n").query("tail=all&follow=false").until_end();
    assert!(seen.iter().all(|message| ["", "state"].contains(&message.event.as_str())), "a forged event");
    let seen: Vec<_> = lines(&seen).into_iter().map(|line| line.as_bytes().to_vec()).collect();
    let expected: Vec<_> = as_text(&expected).into_iter().map(String::into_bytes).collect();
    assert_same(&seen, &expected);
}

#[test]
fn ndjson_gives_back_exactly_the_bytes() {
    let expected = nasty();
    let daemon = daemon_with(&expected);
    for follow in [
        daemon.follow("n").header("Accept", "application/x-ndjson"),
        daemon.follow("n").query("format=ndjson"),
        daemon.follow("n").query("format=ndjson").header("Accept", "text/html"),
    ] {
        let follow = follow.query("tail=all&follow=false");
        assert_eq!(follow.response().header("content-type"), "application/x-ndjson");
        let body = follow.body();
        let jsons: Vec<Value> =
            body.split_inclusive(|&c| c == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_same(&written(jsons.iter().filter(|json| json.get("kind").is_none())), &expected);
        assert!(jsons.iter().all(|json| json["id"].is_string() && json["time"].is_string()));
    }
}

#[test]
fn plain_text_is_the_lines() {
    let expected = nasty();
    let daemon = daemon_with(&expected);
    let text: String = expected.iter().map(|line| as_text(std::slice::from_ref(line)).concat() + "\n").collect();
    for follow in [daemon.follow("n").header("Accept", "text/plain"), daemon.follow("n").query("format=text")] {
        let follow = follow.query("tail=all&follow=false");
        assert_eq!(follow.response().header("content-type"), "text/plain; charset=utf-8");
        assert!(String::from_utf8(follow.body()).unwrap() == text);
    }
}

#[test]
fn plain_text_shows_the_end_of_a_run() {
    let yaml = "streams: { p: { command: [sh, -c, 'echo one; exit 3'], restart: { when: never } } }";
    let daemon = Daemon::start(yaml);
    let body = daemon.follow("p").query("run=current&format=text").body();
    let text = String::from_utf8(body).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "one");
    assert!(lines[1].starts_with("--- rtlogd: ") && lines[1].contains('3'), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
}

#[test]
fn a_carriage_return_before_a_newline_is_not_part_of_the_line() {
    let dir = TestDir::new();
    dir.write("app.log", "one\r\ntwo\r\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    assert_eq!(daemon.follow("app").take(2).iter().map(|m| m.data.clone()).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn a_redrawn_line_is_one_line_or_many_as_configured() {
    let dir = TestDir::new();
    dir.write("app.log", "10%\r50%\r100%\n");
    let daemon = dir.start(
        "streams: { fold: { file: app.log, from: start, carriage_return: fold }, \
        split: { file: app.log, from: start, carriage_return: split }, keep: { file: app.log, from: start } }",
    );
    let data = |name: &str, count| daemon.follow(name).take(count).into_iter().map(|m| m.data).collect::<Vec<_>>();
    assert_eq!(data("fold", 1), ["100%"]);
    assert_eq!(data("split", 3), ["10%", "50%", "100%"]);
    assert_eq!(data("keep", 1), ["10%\u{240D}50%\u{240D}100%"], "nothing is hidden");
}

#[test]
fn a_stream_has_the_headers_that_keep_it_flowing() {
    let daemon = daemon_with(&[LAST.into()]);
    let response = daemon.follow("n").response();
    assert_eq!(response.header("content-type"), "text/event-stream");
    assert_eq!(response.header("cache-control"), "no-cache, no-transform");
    assert_eq!(response.header("x-accel-buffering"), "no");
    let mut reader = daemon.follow("n").open();
    reader.take(1);
    assert!(reader.retry().is_some_and(|wait| (1000..=3000).contains(&wait)), "{:?}", reader.retry());
}

#[test]
fn a_quiet_stream_is_kept_alive() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("limits: { keep_alive: 1s }\nstreams: { app: { file: app.log, from: start } }");
    let mut body = daemon.follow("app").query("tail=0").response().body;
    let mut seen = Vec::new();
    crate::harness::Deadline::new().until("two comments", || {
        seen.extend(body.some(crate::harness::Deadline::new()).unwrap().unwrap());
        (String::from_utf8_lossy(&seen).matches(":\n\n").count() >= 2).then_some(())
    });
}

#[test]
fn every_refusal_is_a_problem_document() {
    let daemon = daemon_with(&[LAST.into()]);
    let table: [(&str, &str, u16, &str); 21] = [
        ("/streams/n", "image/png", 406, "text/event-stream"),
        ("/streams/n?colour=red", "*/*", 400, "colour"),
        ("/streams/n?Tail=1", "*/*", 400, "Tail"),
        ("/streams/n?tail=some", "*/*", 400, "tail=some"),
        ("/streams/n?tail=-1", "*/*", 400, "tail=-1"),
        ("/streams/n?tail=1&tail=2", "*/*", 400, "tail"),
        ("/streams/n?limit=0", "*/*", 400, "limit"),
        ("/streams/n?limit=x", "*/*", 400, "limit=x"),
        ("/streams/n?grep=(", "*/*", 400, "unclosed group"),
        ("/streams/n?exclude=%5B", "*/*", 400, "unclosed character class"),
        ("/streams/n?since=yesterday", "*/*", 400, "since"),
        ("/streams/n?format=xml", "*/*", 400, "xml"),
        ("/streams/n?data=xml", "*/*", 400, "xml"),
        ("/streams/n?run=7", "*/*", 404, "n has had no run"),
        ("/streams/n?run=last", "*/*", 404, "n has had no run"),
        ("/streams/n?run=0", "*/*", 400, "run=0"),
        (
            "/streams/n?run=first",
            "*/*",
            400,
            "run=first is not known; use the number of a run, current, last or passed",
        ),
        ("/streams/n?follow=maybe", "*/*", 400, "follow=maybe"),
        ("/streams/n?stream=n", "*/*", 400, "stream"),
        ("/streams?colour=red", "*/*", 400, "colour"),
        ("/nothing/here", "*/*", 404, "/streams"),
    ];
    for (path, accept, status, named) in table {
        let response = daemon.request(path).header("Accept", accept).response();
        assert_eq!(response.status, status, "{path}");
        let problem = response.problem();
        assert!(problem["detail"].as_str().unwrap().contains(named), "{path}: {problem}");
    }
}

#[test]
fn accept_decides_the_format() {
    let daemon = daemon_with(&[LAST.into()]);
    let table = [
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("text/html, */*;q=0.1", "text/event-stream"),
        ("text/plain, text/event-stream;q=0.5", "text/plain; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
    ];
    for (accept, expected) in table {
        assert_eq!(daemon.follow("n").header("Accept", accept).response().header("content-type"), expected, "{accept}");
    }
}

#[test]
fn filters_choose_lines() {
    let all: Vec<Vec<u8>> =
        (1..=200).map(|number| format!("line {number}").into_bytes()).chain([LAST.into()]).collect();
    let daemon = daemon_with(&all);
    let get = |query: &str| {
        let body = daemon.follow("n").query("follow=false&format=text").query(query).body();
        String::from_utf8(body).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(get("grep=line%205$"), ["line 5"], "in all of it, not just in the last lines");
    assert_eq!(get("grep=5$&tail=2"), ["line 185", "line 195"], "the last two that match");
    assert_eq!(get("grep=^line%201.$&exclude=[3-9]$&tail=all"), ["line 10", "line 11", "line 12"]);
    assert_eq!(get("grep=line&grep=%2077$&tail=all"), ["line 77"], "all patterns must match");
    assert_eq!(get("tail=all&limit=2"), ["line 1", "line 2"]);
    assert_eq!(get("tail=all&grep=0$&limit=2"), ["line 10", "line 20"], "a limit counts what is shown");
    assert_eq!(get("").len(), 100, "the last 100 lines if nothing is said");
    assert_eq!(get("tail=3"), ["line 199", "line 200", LAST]);
    assert!(get("tail=0").is_empty());
    let origin = daemon.path("nasty.log");
    assert_eq!(get(&format!("origin={}&tail=1", origin.to_str().unwrap())), [LAST]);
    assert!(get("origin=stderr&tail=all").is_empty());
}

#[test]
fn a_filtered_reader_receives_new_lines_and_resumes() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let follow = daemon.follow("app").query("grep=^yes&tail=all");
    let mut reader = follow.open();
    daemon.write("app.log", "no 1\nyes 1\nno 2\nyes 2\n");
    let seen = reader.take(2);
    assert_eq!((seen[0].data.as_str(), seen[1].data.as_str()), ("yes 1", "yes 2"));
    drop(reader);
    daemon.write("app.log", "no 3\nyes 3\n");
    assert_eq!(follow.last_event_id(&seen[1].id).take(1)[0].data, "yes 3");
}

#[test]
fn origin_chooses_an_output() {
    let yaml = "streams: { p: { command: [sh, -c, 'echo out; echo err >&2'], restart: { when: never } } }";
    let daemon = Daemon::start(yaml);
    daemon.follow("p").query("run=current").until_end();
    for (origin, text) in [("stdout", "out"), ("stderr", "err")] {
        let seen = daemon.follow("p").query(&format!("tail=all&follow=false&origin={origin}")).until_end();
        assert_eq!(lines(&seen), [text]);
    }
}

#[test]
fn since_starts_at_a_time() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let mut reader = daemon.follow("app").query("tail=all&data=json").open();
    let one = reader.take(1)[0].json();
    // Later by the clock, not only by order.
    let two = (2..).map(|number| {
        daemon.write("app.log", format!("{number}\n"));
        reader.take(1)[0].json()
    });
    let two = two.take(1000).find(|two| two["time"].as_str() > one["time"].as_str()).unwrap();
    let get = |since: &str| {
        let seen = daemon.follow("app").query(&format!("since={since}&follow=false")).until_end();
        lines(&seen).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(get(two["time"].as_str().unwrap())[0], two["text"].as_str().unwrap());
    assert_eq!(get("1h")[0], "one");
    assert_eq!(get("2000-01-01T00:00:00Z")[0], "one");
    assert!(get("2100-01-01T00:00:00%2B01:00").is_empty());
}

#[test]
fn the_list_of_streams_shows_their_state() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon =
        dir.start("streams: { app: { file: app.log, from: start, description: An app, labels: { team: a } } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    let line = reader.take(1).remove(0);
    let (status, headers, body) = daemon.get("/streams", &[]);
    assert_eq!((status, header(&headers, "content-type")), (200, Some("application/json")));
    let list: Value = serde_json::from_slice(&body).unwrap();
    let app = &list["streams"][0];
    assert_eq!(
        (&app["name"], &app["kind"], &app["description"]),
        (&"app".into(), &"file".into(), &"An app".into()),
        "{app}"
    );
    assert_eq!(
        (&app["labels"]["team"], &app["readers"], &app["ended"]),
        (&"a".into(), &1.into(), &false.into()),
        "{app}"
    );
    assert_eq!((&app["source"]["state"], &app["last"]), (&"following".into(), &line.id.into()), "{app}");
    let state = daemon.state("app");
    assert_eq!(state["name"], "app");
}
