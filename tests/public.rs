//! `public: true`: streams that everybody may read without a token, next to others that need one.

use serde_json::json;

use crate::harness::http::Response;
use crate::harness::sse::Reader;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, TestDir};

/// The header of a request that a proxy passes on. Its client is not of this machine, and shows no token.
const STRANGER: [(&str, &str); 1] = [("X-Forwarded-For", "203.0.113.9")];

const STREAMS: &str = "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]
streams:
  open: { push: true, public: true }
  build: { command: [cat], input: true, public: true }
  other: { push: true }
  closed: { push: true, private: true }
";

/// The status of a request by a stranger.
fn status(daemon: &Daemon, method: &str, path: &str) -> u16 {
    Response::request(daemon.address(), method, path, &STRANGER, b"").status
}

#[test]
fn everybody_may_read_a_public_stream_and_do_nothing_else() {
    let daemon = Daemon::start(STREAMS);
    assert_eq!(daemon.unix().post("/streams/open", b"one\n").status, 200);
    let read = Response::get(daemon.address(), "/streams/open?tail=all&follow=false&format=text", &STRANGER);
    assert_eq!((read.status, read.body.all()), (200, b"one\n".to_vec()));
    for (method, path, expected) in [
        ("GET", "/streams/open/state", 200),
        ("GET", "/streams/open/progress", 200),
        ("GET", "/streams/build/runs", 200),
        ("GET", "/streams/build?run=99", 404),
        ("GET", "/streams/closed/runs", 401),
        ("GET", "/streams/open/badge.svg", 200),
        ("GET", "/streams/open/poll?tail=all&wait=0s", 200),
        ("GET", "/streams/build/state", 200),
        // The page and the element may begin to talk; this is no handshake yet.
        ("GET", "/control", 426),
        ("POST", "/streams/open", 401),
        ("POST", "/streams/build/input", 401),
        ("POST", "/streams/build/restart", 401),
        ("GET", "/streams", 401),
        ("GET", "/streams?stream=open&tail=all&follow=false", 200),
        ("GET", "/streams?stream=open&stream=build&follow=false", 200),
        ("GET", "/streams?stream=open&stream=other&follow=false", 401),
        ("GET", "/streams?stream=nothing", 401),
        ("GET", "/streams?tail=1", 401),
        ("GET", "/search?grep=x", 404),
        ("GET", "/metrics", 401),
        ("GET", "/openapi.json", 401),
        // A stranger does not learn which other streams exist.
        ("GET", "/streams/other", 401),
        ("GET", "/streams/closed/badge.svg", 401),
        ("GET", "/streams/nothing", 401),
    ] {
        assert_eq!(status(&daemon, method, path), expected, "{method} {path}");
    }
    let mut channel = Channel::open_with(daemon.address(), "/control", &STRANGER);
    channel.subscribe(&json!({ "stream": "open" }));
    for (method, parameters) in [
        ("streams.list", json!({})),
        ("stream.subscribe", json!({ "stream": "other" })),
        ("stream.subscribe", json!({ "stream": "nothing" })),
        ("process.input", json!({ "stream": "build", "text": "x\n" })),
    ] {
        let (_, detail) = channel.refused(method, &parameters);
        assert!(detail.contains("needs a token"), "{method}: {detail}");
    }
}

#[test]
fn strangers_neither_start_a_command_nor_attach_to_its_terminal() {
    let yaml = "streams:
  job: { command: [echo, ran], start: demand, restart: never, public: true }
  shell: { command: [cat], pty: true, public: true }
";
    let daemon = Daemon::start(yaml);
    for _ in 0..2 {
        assert_eq!(status(&daemon, "GET", "/streams/job?follow=false"), 200);
    }
    let mut channel = Channel::open_with(daemon.address(), "/control", &STRANGER);
    channel.subscribe(&json!({ "stream": "job", "tail": "all" }));
    let (_, detail) = channel.refused("process.attach", &json!({ "stream": "shell" }));
    assert!(detail.contains("needs a token"), "{detail}");
    // The first run is the one that this reader of the machine starts.
    let seen = daemon.follow("job").query("tail=all").until("a run", |message| message.event == "end");
    assert_eq!(seen.last().unwrap().json()["run"], 1);
}

#[test]
fn a_stranger_steers_what_it_reads_of_a_public_stream_and_nothing_else() {
    let daemon = Daemon::start(STREAMS);
    let session = "0123456789abcdef";
    let path = format!("/streams/open?tail=all&session={session}");
    let mut reader = Reader::new(Response::get(daemon.address(), &path, &STRANGER));
    let local = daemon.request(&path);
    let mut local = local.open();
    let mut channel = Channel::open_with(daemon.address(), "/control", &STRANGER);
    let steered = channel.call("subscription.filter", &json!({ "session": session, "grep": "two" }));
    // Only its own reader, although the other has the same session.
    assert_eq!(steered["readers"], 1, "{steered}");
    assert_eq!(daemon.unix().post("/streams/open", b"one\ntwo\n").status, 200);
    assert_eq!(reader.take(1)[0].data, "two");
    assert_eq!(local.take(1)[0].data, "one");
}

#[test]
fn without_a_public_stream_strangers_are_asked_for_a_token_everywhere() {
    let daemon = Daemon::start("streams: { other: { push: true }, closed: { push: true, private: true } }");
    for path in ["/streams/other", "/streams/nothing", "/control", "/streams"] {
        assert_eq!(status(&daemon, "GET", path), 401, "{path}");
    }
}

#[test]
fn a_stream_is_public_only_as_long_as_it_says_so_and_is_not_private() {
    let dir = TestDir::new();
    let yaml = |keys: &str| {
        format!("streams: {{ a: {{ command: [sleep, '1000'], {keys} }}, b: {{ push: true, public: true }} }}")
    };
    let daemon = dir.start(&yaml("input: false"));
    daemon.follow("a").query("tail=all").until("the start", |message| message.is_state("running"));
    let pid = daemon.state("a")["source"]["pid"].clone();
    let reload = |keys: &str| {
        daemon.configure(&yaml(keys));
        assert_eq!(daemon.execute(&["reload", "--config", "rtlogd.yaml"]).status.code(), Some(0));
        // The daemon waits for a service manager that reads nothing.
        daemon.told();
    };
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 401);
    reload("public: true");
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 200);
    assert_eq!(daemon.state("a")["source"]["pid"], pid, "the process still runs: {}", daemon.state("a"));
    let reader = Response::get(daemon.address(), "/streams/a?data=json", &STRANGER);
    let mut channel = Channel::open_with(daemon.address(), "/control", &STRANGER);
    let subscription = channel.subscribe(&json!({ "stream": "a", "tail": "all" }));
    let mut local = daemon.follow("a").query("tail=all").open();
    local.until("the start", |message| message.is_state("running"));
    reload("public: false");
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 401);
    // The reader's connection ends, and it has to show who it is. Neither the process nor readers of this machine notice.
    let body = String::from_utf8(reader.body.all()).unwrap();
    assert!(body.contains("is no longer public; reading it needs a token"), "{body}");
    let ended = channel.until("subscription.ended");
    assert_eq!((&ended["subscription"], ended["reason"].is_string()), (&subscription.into(), true), "{ended}");
    assert_eq!(daemon.state("a")["source"]["pid"], pid, "the process still runs: {}", daemon.state("a"));
    assert_eq!(daemon.state("a")["readers"], 1, "{}", daemon.state("a"));
    reload("public: true");
    reload("history: { memory: 64MiB }, description: Words, labels: { team: a }");
    assert_eq!(daemon.state("a")["source"]["pid"], pid, "the process still runs: {}", daemon.state("a"));
    assert_eq!(daemon.state("a")["description"], "Words");
    reload("private: true");
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 401);
    // What was private stays private until the configuration says otherwise.
    reload("public: true");
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 401);
    reload("public: true, private: false");
    assert_eq!(status(&daemon, "GET", "/streams/a/state"), 200);
}
