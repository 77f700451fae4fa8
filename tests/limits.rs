//! What nobody may have too much of: commands in a time, streams of one token, time, and size. Each is a key of `limits:`.

use serde_json::{Value, json};

use crate::harness::http::{Address, Response};
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Place};
use crate::tokens::{keys, token};

/// A daemon with tokens, a file `app` with one line in it, a process `cat`, a stream `pushed`, and these limits.
fn with(limits: &str) -> Daemon {
    let place = Place::new();
    keys(&place, "keys");
    place.write("app.log", "one\n");
    place.start(&yaml(limits))
}

fn yaml(limits: &str) -> String {
    format!(
        "listen: ['127.0.0.1:0', 'unix:control.sock']\naccess: {{ keys: keys }}\nlimits: {{ {limits} }}\nstreams:\n  \
         app: {{ file: app.log, from: start }}\n  cat: {{ command: [cat], input: true }}\n  pushed: {{ push: true }}"
    )
}

/// The header line with a token that may do this.
fn bearer(daemon: &Daemon, allow: &str) -> String {
    format!("Bearer {}", token(daemon, "keys", &["--stream", "*", "--allow", allow]))
}

fn channel(address: &Address, bearer: &str) -> Channel {
    Channel::open_with(address, "/control", &[("Authorization", bearer)])
}

fn post(daemon: &Daemon, path: &str, bearer: &str) -> Response {
    Response::request(daemon.address(), "POST", path, &[("Authorization", bearer)], b"x\n")
}

/// That a request is refused since too many came, and says in how many seconds the next may; of a rate of 3 in an hour.
fn assert_too_fast(reply: &Value) {
    assert_eq!(reply["error"]["code"], -32008, "{reply}");
    assert_eq!(reply["error"]["data"]["reason"], "too-fast");
    let wait = reply["error"]["data"]["retry"].as_f64().unwrap();
    assert!(wait > 600.0 && wait <= 1200.0, "{reply}");
}

#[test]
fn a_channel_that_asks_too_fast_is_told_when_to_come_again() {
    let daemon = with("control_rate: 3 per 1h");
    let mut channel = Channel::open(daemon.address());
    let subscription = channel.subscribe(&json!({ "stream": "app", "tail": "all" }));
    channel.lines(subscription, 1);
    channel.call("streams.list", &json!({}));
    // A batch counts for as many as it has, and each gets its own answer.
    let request = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "streams.list" });
    channel.send_text(&json!([request("a"), request("b")]).to_string());
    let replies = channel.message(crate::harness::Deadline::new());
    assert!(replies[0]["result"].is_object(), "{replies}");
    assert_too_fast(&replies[1]);
    // What is no request costs as much.
    channel.send_text("{");
    assert_too_fast(&channel.message(crate::harness::Deadline::new()));
    // It is not cut off, and what it reads goes on.
    daemon.write("app.log", "two\n");
    assert_eq!(channel.lines(subscription, 1), ["two"]);
    // Another on this machine is somebody else.
    Channel::open(daemon.address()).call("streams.list", &json!({}));
}

#[test]
fn a_token_has_one_pace_for_all_its_channels_and_commands() {
    let daemon = with("control_rate: 3 per 1h");
    let (one, other) = (bearer(&daemon, "read,input,admin"), bearer(&daemon, "read,input,admin"));
    channel(daemon.address(), &one).call("streams.list", &json!({}));
    channel(daemon.address(), &one).call("process.input", &json!({ "stream": "cat", "text": "a\n" }));
    assert_eq!(post(&daemon, "/streams/cat/input", &one).status, 200);
    for path in ["/streams/cat/input", "/streams/cat/signal?signal=CONT", "/streams/cat/input?eof=true"] {
        let body: &[u8] = if path.contains("signal") { b"" } else { b"x\n" };
        let refused = Response::request(daemon.address(), "POST", path, &[("Authorization", &one)], body);
        assert_eq!(refused.status, 429, "{path}");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!(wait > 600 && wait <= 1200, "{wait}");
        let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("3 per 1h"), "{detail}");
    }
    let mut third = channel(daemon.address(), &one);
    let id = third.ask("process.stop", &json!({ "stream": "cat" }));
    assert_too_fast(&third.reply(id));
    // Neither another token nor the owner waits for it; and to read is no command.
    assert_eq!(post(&daemon, "/streams/cat/input", &other).status, 200);
    assert_eq!(daemon.unix().post("/streams/cat/input", b"y\n").status, 200);
    assert_eq!(daemon.follow("app").header("Authorization", &one).take(1)[0].data, "one");
    // Who has not the right does not learn how fast others are.
    let reads = bearer(&daemon, "read");
    for _ in 0..5 {
        assert_eq!(post(&daemon, "/streams/cat/input", &reads).status, 403);
    }
}

#[test]
fn a_flood_of_requests_is_refused_and_what_waits_does_not_grow() {
    let daemon = with("control_rate: 10 per 1h");
    let mut flood = Channel::open(daemon.address());
    let text = json!({ "jsonrpc": "2.0", "id": 1, "method": "streams.list" }).to_string();
    let piece = crate::harness::ws::frame(0x81, text.as_bytes()).repeat(200);
    // More than any buffer holds: it is not read on, until its own writes wait.
    flood.patience(std::time::Duration::from_millis(500));
    let sent = (0..2000).take_while(|_| flood.send_raw(&piece).is_ok()).count();
    assert!(sent < 2000, "all of it was read");
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
    Channel::open(daemon.address()).call("streams.list", &json!({}));
}

#[test]
fn a_reload_applies_limits_to_new_connections() {
    let daemon = with("control_rate: 1 per 1h");
    let mut before = Channel::open(daemon.address());
    before.call("streams.list", &json!({}));
    daemon.configure(&yaml("control_rate: 100 per 1h"));
    let ended = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
    let said = String::from_utf8_lossy(&ended.out).into_owned();
    assert_eq!(said, "streams: 3 as before; new limits, for new connections\n", "{}", ended.err);
    assert_eq!(before.refused("streams.list", &json!({})).0, -32008, "it has the limits that it began with");
    let mut after = Channel::open(daemon.address());
    for _ in 0..3 {
        after.call("streams.list", &json!({}));
    }
}
