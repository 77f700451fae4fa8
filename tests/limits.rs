//! What nobody may have too much of: commands in a time, streams of one token, time, and size. Each is a key of `limits:`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::flood::{H2, resident, survives};
use crate::harness::http::{Address, Response, Socket};
use crate::harness::sse::Reader;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};
use crate::tokens::{keys, token};

/// A daemon with tokens, a file `app` with one line in it, a process `cat`, a stream `pushed`, and these limits.
fn with(limits: &str) -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    dir.write("app.log", "one\n");
    dir.start(&yaml(limits))
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
fn a_channel_that_sends_too_fast_learns_when_to_try_again() {
    let daemon = with("control_rate: 3 per 1h");
    let mut channel = Channel::open(daemon.address());
    let subscription = channel.subscribe(&json!({ "stream": "app", "tail": "all" }));
    channel.lines(subscription, 1);
    channel.call("streams.list", &json!({}));
    // A batch counts for as many as it has, and each gets its own answer.
    let request = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "streams.list" });
    channel.send_text(&json!([request("a"), request("b")]).to_string());
    let replies = channel.message(Deadline::new());
    assert!(replies[0]["result"].is_object(), "{replies}");
    assert_too_fast(&replies[1]);
    // A request that is invalid costs as much.
    channel.send_text("{");
    assert_too_fast(&channel.message(Deadline::new()));
    // The reader is not cut off, and continues to receive lines.
    daemon.write("app.log", "two\n");
    assert_eq!(channel.lines(subscription, 1), ["two"]);
    // Another on this machine is somebody else.
    Channel::open(daemon.address()).call("streams.list", &json!({}));
}

#[test]
fn a_token_has_one_rate_limit_for_all_its_channels_and_commands() {
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
    // Neither another token nor the owner has to wait, and reading is no command.
    assert_eq!(post(&daemon, "/streams/cat/input", &other).status, 200);
    assert_eq!(daemon.unix().post("/streams/cat/input", b"y\n").status, 200);
    assert_eq!(daemon.follow("app").header("Authorization", &one).take(1)[0].data, "one");
    // A caller without the right does not learn about the rate of others.
    let reads = bearer(&daemon, "read");
    for _ in 0..5 {
        assert_eq!(post(&daemon, "/streams/cat/input", &reads).status, 403);
    }
}

#[test]
fn a_flood_of_requests_is_refused_and_the_queue_does_not_grow() {
    let daemon = with("control_rate: 10 per 1h");
    let before = resident(&daemon);
    let mut flood = Channel::open(daemon.address());
    let text = json!({ "jsonrpc": "2.0", "id": 1, "method": "streams.list" }).to_string();
    let piece = crate::harness::ws::frame(0x81, text.as_bytes()).repeat(200);
    // More than any buffer holds: it is not read on, until its own writes wait.
    flood.patience(std::time::Duration::from_secs(2));
    let sent = (0..2000).take_while(|_| flood.send_raw(&piece).is_ok()).count();
    assert!(sent < 2000, "all of it was read");
    survives(&daemon, before);
    Channel::open(daemon.address()).call("streams.list", &json!({}));
}

#[test]
fn the_number_of_streams_of_a_token_is_limited() {
    let daemon = with("per_token: 3");
    let (one, other) = (bearer(&daemon, "read,input"), bearer(&daemon, "read"));
    let read = |bearer: &str| daemon.follow("app").header("Authorization", bearer);
    let mut first = read(&one).open();
    let mut several = daemon.request("/streams?stream=app&stream=cat&format=sse").header("Authorization", &one).open();
    assert_eq!((first.take(1)[0].data.as_str(), several.take(1)[0].data.as_str()), ("one", "one"));
    let held = channel(daemon.address(), &one);
    let handshake = || {
        let headers = [&crate::harness::ws::handshake()[..], &[("Authorization", one.as_str())]].concat();
        Response::get(daemon.address(), "/control", &headers)
    };
    for refused in [
        read(&one).response(),
        daemon.request("/streams?stream=app&format=ndjson").header("Authorization", &one).response(),
        daemon.request("/streams/app/poll?wait=0s").header("Authorization", &one).response(),
        post(&daemon, "/streams/pushed", &one),
        handshake(),
    ] {
        assert_eq!((refused.status, refused.header("retry-after")), (429, "10"));
        assert!(refused.problem()["detail"].as_str().unwrap().contains("3 streams and channels of this token"));
    }
    // A browser would never come back from a 429.
    let id = first.last_id().to_owned();
    let mut later = read(&one).last_event_id(&id).open();
    assert!(later.until_end().is_empty());
    assert_eq!(later.retry(), Some(10_000));
    // A request that is answered at once is still accepted, and other callers have quotas of their own.
    assert_eq!(daemon.get("/streams", &[("Authorization", &one)]).0, 200);
    assert_eq!(daemon.get("/streams/app/state", &[("Authorization", &one)]).0, 200);
    assert_eq!(post(&daemon, "/streams/cat/input", &one).status, 200);
    assert_eq!(read(&other).take(1)[0].data, "one");
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
    // A client that vanishes releases a reader and a channel.
    let free = || Deadline::new().until("a free place", || Some(read(&one).response()).filter(|it| it.status == 200));
    drop(first);
    let again = Reader::new(free()).take(1);
    assert_eq!(again[0].data, "one");
    drop(held);
    assert_eq!(
        Deadline::new().until("a place for a channel", || Some(handshake().status).filter(|it| *it == 101)),
        101
    );
}

#[test]
fn over_http_2_each_stream_of_a_token_is_counted() {
    let daemon = with("per_token: 2");
    let one = bearer(&daemon, "read");
    let mut h2 = H2::open(&daemon);
    assert_eq!(h2.statuses("/streams/app", &one, 3), (2, 1));
    assert_eq!(daemon.follow("app").header("Authorization", &one).status(), 429);
    drop(h2);
    Deadline::new()
        .until("a free place", || (daemon.follow("app").header("Authorization", &one).status() == 200).then_some(()));
}

#[test]
fn lines_are_refused_after_the_token_of_their_sender_expires() {
    let daemon = with("per_token: 5");
    let short = token(&daemon, "keys", &["--stream", "*", "--allow", "input", "--expires", "2s"]);
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    let head = format!(
        "POST /streams/pushed HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {short}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(b"4\r\none\n\r\n").unwrap();
    assert_eq!(daemon.follow("pushed").take(1)[0].data, "one");
    let answer = Response::read(socket).unwrap();
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer realm=\"rtlogd\""));
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("1 lines of it are in the stream"), "{detail}");
}

/// Asks over a connection that is kept, and waits for the answer.
fn ask(socket: &mut TcpStream) {
    socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"alive\n") {
        let mut chunk = [0; 1024];
        let count = socket.read(&mut chunk).unwrap();
        assert_ne!(count, 0, "it was closed behind {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..count]);
    }
}

fn connect(daemon: &Daemon) -> TcpStream {
    let socket = TcpStream::connect(daemon.address().tcp()).unwrap();
    socket.patience(PATIENCE);
    socket
}

/// Checks that the other side closes the connection without another byte.
fn assert_closed(socket: &mut TcpStream) {
    assert_eq!(socket.read(&mut [0; 1024]).unwrap(), 0);
}

#[test]
fn a_pause_between_requests_is_not_taken_for_a_slow_head() {
    let daemon = with("head: 1s, idle: 1h");
    let mut kept = connect(&daemon);
    ask(&mut kept);
    // A later connection that sends no request is dropped.
    assert_closed(&mut connect(&daemon));
    ask(&mut kept);
    // Once a head begins, though, its rest must follow in time.
    kept.write_all(b"GET /health/live HT").unwrap();
    assert_closed(&mut kept);
}

#[test]
fn a_connection_without_requests_is_closed_but_not_one_that_reads() {
    let daemon = with("idle: 1s");
    let mut reader = daemon.follow("app").open();
    reader.take(1);
    let mut channel = Channel::open(daemon.address());
    let reads = bearer(&daemon, "read");
    let (mut kept, mut h2, mut h2_reads) = (connect(&daemon), H2::open(&daemon), H2::open(&daemon));
    ask(&mut kept);
    assert_eq!(h2_reads.statuses("/streams/app", &reads, 1), (1, 0));
    assert_eq!(h2.statuses("/streams", &reads, 3), (3, 0));
    assert_closed(&mut kept);
    h2.assert_ends();
    h2_reads.assert_stays();
    daemon.write("app.log", "two\n");
    assert_eq!(reader.take(1)[0].data, "two");
    channel.call("streams.list", &json!({}));
}

#[test]
fn a_reader_continues_on_the_next_connection_after_its_maximum_age() {
    let daemon = with("lifetime: 2s");
    let mut reader = daemon.follow("app").open();
    assert_eq!(reader.take(1)[0].data, "one");
    // The body ends properly, and nothing keeps a browser from reconnecting.
    assert!(reader.until_end().iter().all(|message| message.event != "denied"));
    let id = reader.last_id().to_owned();
    daemon.write("app.log", "two\nthree\n");
    let again = daemon.follow("app").last_event_id(&id).until("three", |message| message.data == "three");
    assert!(again.iter().all(|message| message.event != "gap"), "{again:#?}");
    assert_eq!(crate::harness::sse::lines(&again), ["two", "three"]);
    // Several on one connection, and those who have no ids to go by in their format.
    let several = "/streams?stream=app&stream=cat&format=sse&tail=all";
    let mut several_reader = daemon.request(several).open();
    several_reader.take(3);
    several_reader.until_end();
    let id = several_reader.last_id().to_owned();
    daemon.write("app.log", "four\n");
    assert_eq!(daemon.request(several).last_event_id(&id).take(1)[0].data, "four");
    let ndjson = String::from_utf8(daemon.get("/streams/app?format=ndjson", &[]).2).unwrap();
    let last: Value = serde_json::from_str(ndjson.lines().last().unwrap()).unwrap();
    assert_eq!(last["kind"], "over", "{ndjson}");
    let text = String::from_utf8(daemon.get("/streams/app?format=text", &[]).2).unwrap();
    assert!(text.lines().last().unwrap().contains("reached its age limit"), "{text}");
    // A poll gives what there is.
    assert_eq!(daemon.get("/streams/app/poll?tail=0&wait=50s", &[]).0, 200);
}

#[test]
fn a_connection_of_maximum_age_ends_as_its_protocol_specifies() {
    let daemon = with("lifetime: 2s, idle: 1h");
    let mut channel = Channel::open(daemon.address());
    let subscription = channel.subscribe(&json!({ "stream": "app", "tail": "all" }));
    channel.lines(subscription, 1);
    assert_eq!(channel.closed(), Some(1012));
    let mut kept = connect(&daemon);
    ask(&mut kept);
    assert_closed(&mut kept);
    let reads = bearer(&daemon, "read");
    let mut h2 = H2::open(&daemon);
    assert_eq!(h2.statuses("/streams/app", &reads, 1), (1, 0));
    h2.assert_ends();
    // A sender hears how far it came.
    let token = token(&daemon, "keys", &["--stream", "*", "--allow", "input"]);
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    let head = format!(
        "POST /streams/pushed HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(b"4\r\none\n\r\n").unwrap();
    let answer = Response::read(socket).unwrap();
    assert_eq!(answer.status, 503);
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("1 lines of it are in the stream"), "{detail}");
}

#[test]
fn the_follow_command_continues_over_connections_of_maximum_age() {
    let dir = TestDir::new();
    let daemon = dir.start(
        "limits: { lifetime: 1s }\nstreams: { slow: { restart: { when: never }, \
         command: [sh, -c, 'for i in 1 2 3; do echo $i; sleep 2; done; exit 3'] } }",
    );
    let url = daemon.url("");
    // While it runs, and when it is over.
    for _ in 0..2 {
        let ended = daemon.execute(&["follow", "slow", "--url", &url, "--tail", "all"]);
        assert_eq!(String::from_utf8_lossy(&ended.out), "1\n2\n3\n", "{}", ended.err);
        assert_eq!(ended.status.code(), Some(3));
    }
}

#[test]
fn each_part_of_a_request_that_is_too_large_has_its_own_status() {
    let daemon = with("head_size: 8KiB, query_size: 1KiB, body_size: 1KiB");
    let get = |path: &str, padding: usize| Response::get(daemon.address(), path, &[("X", &"x".repeat(padding))]);
    let path = |length: usize| format!("/streams/app?follow=false&grep={}", "x".repeat(length - 31));
    assert_eq!((path(1024).len(), get(&path(1024), 1).status), (1024, 200));
    let refused = get(&path(1025), 1);
    assert_eq!(refused.status, 414);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("1024 bytes"));
    assert_eq!(get("/streams", 8000).status, 200);
    assert_eq!(get("/streams", 8192).status, 431);
    let type_in = |length: usize| daemon.unix().post("/streams/cat/input", &vec![b'x'; length]);
    assert_eq!(type_in(1024).status, 200);
    let refused = type_in(1025);
    assert_eq!(refused.status, 413);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("1024 bytes"));
}

#[test]
fn a_message_that_is_too_large_ends_its_channel() {
    let daemon = with("message_size: 4KiB");
    let mut channel = Channel::open(daemon.address());
    let text = |length: usize| {
        let bare = json!({ "jsonrpc": "2.0", "id": 1, "method": "streams.list" }).to_string();
        format!("{bare:length$}")
    };
    channel.send_text(&text(4096));
    assert!(channel.message(Deadline::new())["result"].is_object());
    channel.send_text(&text(4097));
    assert_eq!(channel.closed(), Some(1009));
}

#[test]
fn the_memory_of_a_filter_is_limited_however_many_expressions_it_has() {
    let daemon = with("filter_size: 32KiB");
    let get = |query: &str| daemon.request(&format!("/streams/app?follow=false&{query}")).response();
    for good in ["grep=error|warning&exclude=^debug", "grep=on&grep=ne&grep=o.e", "grep=(?i)one"] {
        assert_eq!(get(good).status, 200, "{good}");
    }
    let many = vec!["grep=(?i)one|two|three"; 16].join("&");
    for bad in ["grep=%5Cw{20}", "exclude=(a{100}){100}", &many] {
        let refused = get(bad);
        assert_eq!(refused.status, 400);
        let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("32768 bytes"), "{detail}");
    }
    let (code, detail) =
        Channel::open(daemon.address()).refused("stream.subscribe", &json!({ "stream": "app", "grep": "\\w{20}" }));
    assert!(code == -32602 && detail.contains("32768 bytes"), "{code} {detail}");
}

#[test]
fn a_reload_applies_limits_to_new_connections() {
    let daemon = with("control_rate: 1 per 1h");
    let mut before = Channel::open(daemon.address());
    before.call("streams.list", &json!({}));
    daemon.configure(&yaml("control_rate: 100 per 1h"));
    let ended = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
    let said = String::from_utf8_lossy(&ended.out).into_owned();
    assert_eq!(said, "streams: 3 unchanged; new limits apply to new connections\n", "{}", ended.err);
    assert_eq!(before.refused("streams.list", &json!({})).0, -32008, "it has the limits that it began with");
    let mut after = Channel::open(daemon.address());
    for _ in 0..3 {
        after.call("streams.list", &json!({}));
    }
}
