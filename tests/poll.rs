//! Long poll: the same stream as one reply.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::http::Response;
use crate::harness::{Daemon, PATIENCE, TestDir, numbered};

fn poll(daemon: &Daemon, query: &str) -> Value {
    let (status, headers, body) = daemon.get(&format!("/streams/app/poll?{query}"), &[]);
    assert_eq!(status, 200, "{headers:?}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn texts(reply: &Value) -> Vec<&str> {
    reply["events"].as_array().unwrap().iter().filter_map(|event| event["text"].as_str()).collect()
}

/// A daemon whose stream `app` has these lines.
fn with(lines: &str) -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", lines);
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    daemon.follow("app").query("tail=all").take(lines.lines().count());
    daemon
}

#[test]
fn a_poll_returns_the_events_and_the_next_position() {
    let daemon = with("one\ntwo\nthree\n");
    let reply = poll(&daemon, "tail=all");
    assert_eq!(texts(&reply), ["one", "two", "three"]);
    assert!(reply.get("gap").is_none(), "{reply}");
    let events = reply["events"].as_array().unwrap();
    assert_eq!(reply["next"], events.last().unwrap()["id"]);
    let after = events.iter().find(|event| event["text"] == "one").unwrap()["id"].as_str().unwrap();
    assert_eq!(texts(&poll(&daemon, &format!("after={after}"))), ["two", "three"]);
    assert_eq!(texts(&poll(&daemon, &format!("after={after}&limit=1"))), ["two"]);
    assert_eq!(texts(&poll(&daemon, "tail=1")), ["three"]);
}

#[test]
fn a_poll_waits_for_the_next_event() {
    let daemon = with("one\n");
    let next = poll(&daemon, "tail=all")["next"].as_str().unwrap().to_owned();
    let quiet = poll(&daemon, &format!("after={next}&wait=1s"));
    assert_eq!((texts(&quiet).len(), &quiet["next"]), (0, &next.as_str().into()), "{quiet}");
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    let head = format!("GET /streams/app/poll?after={next}&wait=15s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    daemon.until_readers("app", 1);
    daemon.write("app.log", "two\n");
    let body = Response::read(socket).unwrap().body.all();
    let reply: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(texts(&reply), ["two"]);
}

#[test]
fn consecutive_polls_lose_and_repeat_nothing() {
    let lines = numbered("", 2500);
    let daemon = with(&lines);
    let mut seen: Vec<String> = Vec::new();
    let mut query = "tail=all".to_owned();
    while seen.len() < 2500 {
        let reply = poll(&daemon, &query);
        seen.extend(texts(&reply).into_iter().map(str::to_owned));
        query = format!("after={}&wait=15s", reply["next"].as_str().unwrap());
    }
    assert_eq!(seen, lines.lines().collect::<Vec<_>>());
    assert_eq!(texts(&poll(&daemon, &query.replace("15s", "0s"))), [""; 0]);
}

#[test]
fn a_poll_reports_missed_events() {
    let daemon = with("one\ntwo\n");
    let reply = poll(&daemon, "after=mib3k2x9-7");
    assert_eq!(reply["gap"]["missed"], Value::Null, "{reply}");
    assert!(reply["gap"]["resume"].is_string(), "{reply}");
    assert_eq!(texts(&reply), ["one", "two"]);
}

#[test]
fn a_poll_of_a_process_includes_its_states_and_its_end() {
    let yaml = "streams: { app: { command: [sh, -c, 'echo one; exit 3'], restart: { when: never } } }";
    let daemon = Daemon::start(yaml);
    daemon.follow("app").query("run=current").until_end();
    let reply = poll(&daemon, "tail=all&wait=1s");
    let kinds: Vec<_> =
        reply["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap_or("line")).collect();
    assert_eq!(kinds[..3], ["state", "line", "end"], "{reply}");
}

#[test]
fn a_poll_says_when_nothing_follows() {
    let daemon = Daemon::start(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\n\
         streams: { app: { command: [sh, -c, 'echo one; echo two; exec sleep 600'], restart: never } }",
    );
    let ended = |query: &str| {
        let reply = poll(&daemon, query);
        (texts(&reply).len(), reply.get("ended").cloned())
    };
    daemon.follow("app").query("tail=all").until("the last line", |message| message.data == "two");
    // While the run lasts, something may follow.
    for query in ["run=1&wait=0s", "run=current&wait=0s", "tail=all&wait=0s", "run=1&limit=1"] {
        assert_eq!(ended(query).1, None, "{query}");
    }
    let mut reader = daemon.follow("app").query("run=1").open();
    assert_eq!(daemon.unix().post("/streams/app/stop", b"").status, 200);
    let first = &reader.until_end()[0].id;
    for (query, expected) in [
        ("run=1", Some(json!(true))),
        ("run=last", Some(json!(true))),
        // A part of the run: its other lines follow.
        ("run=1&limit=1", None),
        // The stream goes on with the next run.
        ("tail=all&wait=0s", None),
        (&format!("tail=all&before={first}"), Some(json!(true))),
    ] {
        assert_eq!(ended(query).1, expected, "{query}");
    }
    let whole = poll(&daemon, "run=1");
    let resumed = poll(&daemon, &format!("run=1&after={}&wait=20s", whole["next"].as_str().unwrap()));
    assert_eq!((texts(&resumed).len(), &resumed["ended"]), (0, &json!(true)), "{resumed}");
}

#[test]
fn a_poll_without_a_stream_is_refused() {
    let daemon = with("one\n");
    for (path, expected) in [
        ("/streams/nope/poll", 404),
        ("/streams/app/poll?after=7", 400),
        ("/streams/app/poll?wait=soon", 400),
        ("/streams/app/poll?colour=red", 400),
    ] {
        let response = daemon.request(path).response();
        assert_eq!(response.status, expected, "{path}");
        response.problem();
    }
}
