//! The progress of a source: the output of real programs over time, and the reports of the daemon about it.
//!
//! The recordings in `tests/progress/` are made by `record.py` there; in a `.pipe` the program wrote into a pipe, in a
//! `.pty` to a terminal.

use std::fs;

use rtlogd::progress::KNOWN_PROGRAMS;
use serde_json::{Value, json};

use crate::harness::http::header;
use crate::harness::sse::lines;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, TestDir, sources};

#[path = "progress/replay.rs"]
mod replay;

/// A stream `p` of this shell script, which runs once, with further keys. It goes on when a file `go` is there.
fn daemon(script: &str, keys: &str) -> Daemon {
    let script = script.replace("WAIT", "while [ ! -e go ]; do sleep 0.05; done");
    Daemon::start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], restart: {{ when: never }}, {keys} }} }}"))
}

#[test]
fn the_progress_of_a_build_is_shown_from_its_first_object_to_its_end() {
    let daemon = daemon("echo '[1/4] one'; echo '[2/4] two'; WAIT; echo '[3/4] three'", "");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let half = reader.until("half of it", |m| m.event == "progress" && m.json()["percent"] == 50.0);
    let half = half.last().unwrap();
    assert_eq!(half.id, reader.last_id(), "it moves nobody's place");
    let now = half.json();
    assert_eq!((&now["state"], &now["current"], &now["total"]), (&"running".into(), &2.into(), &4.into()), "{now}");
    assert_eq!(now["message"], "two");
    // Whoever comes now is told at once; the list and the endpoint say the same.
    let late = daemon.follow("p").query("tail=0").until("progress", |message| message.event == "progress");
    assert_eq!(late.last().unwrap().json()["percent"], 50.0);
    assert_eq!(daemon.json("/streams/p/progress")["percent"], 50.0);
    assert_eq!(daemon.json("/streams")["streams"][0]["progress"]["current"], 2);
    assert_eq!(daemon.json("/streams/p/poll?tail=all&wait=1s")["progress"]["percent"], 50.0);
    daemon.write("go", "");
    let rest = reader.until("the end", |m| m.event == "progress" && m.json()["state"] == "done");
    assert!(rest.iter().any(|message| message.event == "end"), "{rest:#?}");
    let done = rest.last().unwrap().json();
    assert_eq!((&done["percent"], &done["current"], done.get("eta")), (&100.0.into(), &4.into(), None), "{done}");
    let ndjson = daemon.follow("p").query("format=ndjson&tail=all&limit=2").body();
    assert_eq!(
        String::from_utf8(ndjson).unwrap().lines().count(),
        3,
        "state and two lines: what has an end ends there"
    );
}

#[test]
fn the_control_channel_sends_progress_to_present_and_new_subscribers() {
    let daemon = daemon("echo '[1/4] CC one'; WAIT; echo '[2/4] CC two'; exit 1", "");
    let mut channel = Channel::open(daemon.address());
    let first = channel.subscribe(&json!({ "stream": "p", "tail": "all" }));
    let mut told = |is: fn(&Value) -> bool| loop {
        let told = channel.until("stream.progress");
        if told["subscription"] == first && is(&told["progress"]) {
            return told["progress"].clone();
        }
    };
    let quarter = told(|progress| progress["percent"] == 25.0);
    assert_eq!((&quarter["current"], &quarter["message"]), (&1.into(), &"CC one".into()), "{quarter}");
    let mut late = Channel::open(daemon.address());
    late.subscribe(&json!({ "stream": "p", "tail": 0 }));
    assert_eq!(late.until("stream.progress")["progress"], quarter, "the same to who has just come");
    assert_eq!(late.call("streams.list", &json!({}))["streams"][0]["progress"], quarter);
    daemon.write("go", "");
    let failed = told(|progress| progress["state"] == "error");
    assert_eq!(failed["percent"], 50.0, "{failed}");
}

#[test]
fn plain_text_and_ordinary_output_have_no_progress() {
    let daemon = daemon("echo 'I am 100% sure'; WAIT; echo '[1/4] x'; echo '[2/4] x'; echo marker; sleep 1000", "");
    let seen = daemon.follow("p").query("tail=all").until("the line", message_is("I am 100% sure"));
    assert!(seen.iter().all(|message| message.event != "progress"), "{seen:#?}");
    assert_eq!(daemon.json("/streams/p/progress")["state"], "indeterminate", "a process that runs");
    daemon.write("go", "");
    daemon.follow("p").query("tail=all").until("progress", |message| message.event == "progress");
    let text = daemon.follow("p").query("tail=all&format=text&limit=4").body();
    assert_eq!(String::from_utf8(text).unwrap(), "I am 100% sure\n[1/4] x\n[2/4] x\nmarker\n");
    let ndjson = daemon.follow("p").query("tail=0&format=ndjson").response();
    let mut body = ndjson.body;
    let first = body.some(Deadline::new()).unwrap().unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!((&first["kind"], &first["total"]), (&"progress".into(), &4.into()), "{first}");
}

fn message_is(data: &str) -> impl Fn(&crate::harness::sse::Message) -> bool {
    let data = data.to_owned();
    move |message| message.data == data
}

#[test]
fn progress_can_be_switched_off_or_read_by_patterns() {
    let script = "echo '[1/4] x'; echo '[2/4] x'; echo 'copied 3 of 12: a'; echo marker; sleep 1000";
    let off = daemon(script, "progress: off");
    let seen = off.follow("p").query("tail=all").until("the marker", message_is("marker"));
    assert!(seen.iter().all(|message| message.event != "progress"), "{seen:#?}");
    let told =
        daemon(script, "progress: [{ pattern: 'copied (?P<current>[0-9]+) of (?P<total>[0-9]+): (?P<message>.*)' }]");
    let seen =
        told.follow("p").query("tail=all").until("progress", |m| m.event == "progress" && m.json()["total"] == 12);
    assert_eq!(seen.last().unwrap().json()["percent"], 25.0);
    let dir = TestDir::new();
    dir.configure(
        "streams:\n  a: { file: a, progress: [{ pattern: '(' }] }\n  b: { file: b, progress: [{ pattern: '(?P<x>a)' }] }\n  c: { file: c, progress: maybe }",
    );
    let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    for (line, words) in [(3, "unclosed group"), (4, "unknown group \"x\""), (5, "on, off or a list of patterns")] {
        let told = ended.err.lines().any(|told| told.contains(&format!("rtlogd.yaml:{line}:")) && told.contains(words));
        assert!(told, "nothing of {words} in line {line}: {}", ended.err);
    }
}

#[test]
fn a_block_that_is_redrawn_many_times_is_logged_once() {
    let script = r"printf 'a: wait\nb: wait\n'; for i in 1 2 3 4 5 6 7 8 9; do
        printf '\033[2A\033[2K\ra: %s0%%\n\033[2K\rb: %s\n' $i $i; done; WAIT; echo end";
    let daemon = daemon(script, "");
    let mut reader = daemon.follow("p").query("run=current").open();
    // The rows are live as long as the program may redraw them.
    let mut seen =
        reader.until("open", |message| message.event == "open" && message.json()["rows"] == json!(["a: 90%", "b: 9"]));
    daemon.write("go", "");
    seen.extend(reader.until_end());
    assert_eq!(lines(&seen), ["a: wait", "b: wait", "a: 90%", "b: 9", "end"], "{seen:#?}");
}

#[test]
fn each_output_has_live_rows_and_only_those_who_follow_receive_them() {
    let daemon = daemon("echo a; printf 'one\\r\\033[1A\\033[2K\\r1%% x\\n\\033[Ky'; printf 'error: z' >&2; WAIT", "");
    let wanted = [("stderr", json!(["error: z"])), ("stdout", json!(["1% x", "y"]))];
    let mut reader = daemon.follow("p").query("tail=all").open();
    // Two readers receive them one after the other, as they come, and a new one at once.
    for _ in 0..2 {
        let mut shown = std::collections::BTreeMap::new();
        reader.until("the rows of both outputs", |message| {
            if message.event == "open" {
                let open = message.json();
                shown.insert(open["origin"].as_str().unwrap().to_owned(), open["rows"].clone());
            }
            wanted.iter().all(|(origin, rows)| shown.get(*origin) == Some(rows))
        });
        reader = daemon.follow("p").query("tail=0").open();
    }
    for (filter, rows) in
        [("grep=x", json!(["1% x"])), ("origin=stderr", json!(["error: z"])), ("level=error", json!(["error: z"]))]
    {
        let seen =
            daemon.follow("p").query(&format!("tail=0&{filter}")).until("rows", |message| message.event == "open");
        assert_eq!(seen.last().unwrap().json()["rows"], rows, "{filter}");
    }
    let mut channel = Channel::open(daemon.address());
    channel.subscribe(&json!({ "stream": "p", "tail": 0, "grep": ["x$"] }));
    let open = channel.until("stream.open");
    assert_eq!((&open["origin"], &open["rows"], &open["text"]), (&json!("stdout"), &json!(["1% x"]), &json!("1% x")));
    for query in ["tail=all&follow=false", "tail=all&follow=false&format=ndjson", "tail=all&follow=false&format=text"] {
        let seen = String::from_utf8(daemon.follow("p").query(query).body()).unwrap();
        assert!(seen.contains('a') && !seen.contains("1% x"), "{query}: {seen}");
    }
    let polled = daemon.json("/streams/p/poll?tail=all&wait=1s").to_string();
    assert!(!polled.contains("1% x"), "{polled}");
    daemon.write("go", "");
    let mut withdrawn = Vec::new();
    reader.until("the end of the rows", |message| {
        if message.event == "open" && message.json()["text"] == "" {
            withdrawn.push(message.json()["origin"].as_str().unwrap().to_owned());
        }
        withdrawn.len() == 2
    });
    withdrawn.sort();
    assert_eq!(withdrawn, ["stderr", "stdout"]);
}

#[test]
fn a_long_progress_bar_costs_neither_memory_nor_lines() {
    let script = "yes ' 45%[=======>          ] 1.2M' | tr '\\n' '\\r' | head -c 10000000; echo; echo end";
    let daemon = daemon(script, "");
    let seen = daemon.follow("p").query("run=current").until_end();
    let shown = seen.iter().filter(|message| matches!(message.event.as_str(), "open" | "progress")).count();
    assert_eq!(lines(&seen).len(), 2, "{seen:#?}");
    let seconds = seen.last().unwrap().json()["duration"].as_f64().unwrap();
    assert!(f64::from(u32::try_from(shown).unwrap()) <= seconds * 20.0 + 10.0, "{shown} in {seconds} s");
    let memory = daemon.state("p")["memory"].as_u64().unwrap();
    assert!(memory < 100_000, "{memory}");
}

#[test]
fn a_badge_is_an_image_that_caches_keep_only_briefly() {
    let daemon = daemon("echo '[1/4] CC x'; WAIT; exit 3", "");
    daemon.follow("p").query("tail=all").until("progress", |message| message.event == "progress");
    let (status, headers, body) = daemon.get("/streams/p/badge.svg", &[]);
    let (svg, tag) = (String::from_utf8(body).unwrap(), header(&headers, "etag").unwrap());
    assert_eq!((status, header(&headers, "content-type")), (200, Some("image/svg+xml; charset=utf-8")));
    assert_eq!(header(&headers, "cache-control"), Some("no-cache, max-age=0"));
    assert!(svg.contains(">p: 25% · ") && !svg.contains("<script"), "{svg}");
    daemon.write("go", "");
    daemon.follow("p").query("run=current").until_end();
    let (_, headers, body) = daemon.get("/streams/p/badge.svg", &[("If-None-Match", tag)]);
    let (svg, now) = (String::from_utf8(body).unwrap(), header(&headers, "etag").unwrap());
    assert!(svg.contains(">p: failed (3) after ") && now != tag, "{svg}");
    let (status, headers, body) = daemon.get("/streams/p/badge.svg", &[("If-None-Match", &format!("\"a\", W/{now}"))]);
    assert_eq!((status, header(&headers, "etag"), body.len()), (304, Some(now), 0));
    assert_eq!(daemon.get("/streams/none/badge.svg", &[]).0, 404);
}

#[test]
fn a_file_has_progress_too() {
    let dir = TestDir::new();
    dir.write("a.log", "[ 10%] Building a\n");
    let daemon = dir.start("streams: { f: { file: a.log, from: start } }");
    let mut reader = daemon.follow("f").query("tail=all").open();
    reader.until("the first tenth", |m| m.event == "progress" && m.json()["percent"] == 10.0);
    daemon.write("a.log", "[100%] Built target a\n");
    let seen = reader.until("the end", |m| m.event == "progress" && m.json()["percent"] == 100.0);
    assert_eq!(seen.last().unwrap().json()["state"], "done");
}

#[test]
fn the_manual_lists_the_programs_that_are_recognised() {
    let manual = fs::read_to_string(sources("packaging/man/rtlogd-http.7.md")).unwrap();
    let row = |(kind, programs): &(&str, &[&str])| format!("| {kind} | {} |", programs.join(", "));
    let rows: Vec<String> = KNOWN_PROGRAMS.iter().map(row).collect();
    let expected = format!("| Kind | Programs |\n|---|---|\n{}\n\n", rows.join("\n"));
    assert!(manual.contains(&expected), "the table in rtlogd-http(7) is not:\n{expected}");
}
