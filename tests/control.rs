//! The control channel: subscriptions that are filtered, paused and resumed, and who may do what.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::Response;
use crate::harness::sse::Message;
use crate::harness::ws::{Channel, Frame, Talk, frame, handshake};
use crate::harness::{Daemon, Deadline, TestDir, numbered};

/// A daemon with `count` lines in the file stream `app`, reached by TCP and by a Unix socket.
fn counted(count: usize) -> Daemon {
    with(count, "")
}

fn with(count: usize, yaml: &str) -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", numbered("", count));
    let daemon = dir.start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\n{yaml}\nstreams: {{ app: {{ file: app.log, from: start }} }}"
    ));
    if count > 0 {
        daemon.follow("app").query("tail=all").take(count);
    }
    daemon
}

/// These numbers, one a line.
fn between(numbers: std::ops::Range<u32>) -> String {
    numbers.flat_map(|number| [number.to_string(), "\n".to_owned()]).collect()
}

fn channel(daemon: &Daemon) -> Channel {
    Channel::open(daemon.address())
}

#[test]
fn streams_are_listed_as_get_streams_lists_them() {
    let daemon = counted(3);
    let listed = channel(&daemon).call("streams.list", &json!({}));
    let got = daemon.json("/streams");
    for member in ["name", "kind", "source", "first", "last"] {
        assert_eq!(listed["streams"][0][member], got["streams"][0][member], "{member}");
    }
}

#[test]
fn a_subscription_begins_where_requested_and_continues() {
    let daemon = counted(200);
    let all = daemon.follow("app").query("tail=all").take(200);
    let mut channel = channel(&daemon);
    let expect = |from: usize| (from..=200).map(|number| number.to_string()).collect::<Vec<_>>();
    for (params, from) in [
        (json!({ "stream": "app" }), 101),
        (json!({ "stream": "app", "tail": 3 }), 198),
        (json!({ "stream": "app", "tail": "all" }), 1),
        (json!({ "stream": "app", "since": "1h" }), 1),
        (json!({ "stream": "app", "after": all[149].id }), 151),
    ] {
        let number = channel.subscribe(&params);
        assert_eq!(channel.lines(number, 201 - from), expect(from), "{params}");
        channel.call("subscription.unsubscribe", &json!({ "subscription": number }));
    }
    let number = channel.subscribe(&json!({ "stream": "app", "tail": 0 }));
    daemon.write("app.log", "201\n");
    let events = channel.until("stream.events");
    assert_eq!(events["subscription"], number);
    let event = &events["events"][0];
    assert_eq!((event["text"].as_str(), event["origin"].is_string()), (Some("201"), true), "{event}");
    let id = event["id"].as_str().unwrap();
    assert_eq!(daemon.follow("app").query("tail=1").take(1)[0].id, id, "the id that others see");
    // A gap is reported, with the position from which to continue.
    let after = channel.subscribe(&json!({ "stream": "app", "after": "mib3k2x9-1" }));
    let gap = channel.until("stream.gap");
    assert_eq!((&gap["subscription"], &gap["missed"]), (&json!(after), &Value::Null));
    assert_eq!(channel.lines(after, 201).len(), 201);
}

#[test]
fn a_filter_applies_from_the_next_line_and_can_search_back() {
    let daemon = counted(30);
    let mut channel = channel(&daemon);
    let number = channel.subscribe(&json!({ "stream": "app", "tail": 2, "grep": "5" }));
    assert_eq!(channel.lines(number, 2), ["15", "25"]);
    channel.call("subscription.filter", &json!({ "subscription": number, "grep": ["3"], "exclude": "33" }));
    daemon.write("app.log", "31\n32\n33\n40\n43\n");
    assert_eq!(channel.lines(number, 3), ["31", "32", "43"]);
    let back = json!({ "subscription": number, "grep": "^2.$", "from": { "tail": "all" } });
    channel.call("subscription.filter", &back);
    assert_eq!(channel.lines(number, 10), (20..30).map(|n| n.to_string()).collect::<Vec<_>>());
    channel.call("subscription.filter", &json!({ "subscription": number, "level": "warning" }));
    daemon.write("app.log", "info: 1\nERROR: 2\nno level\n[warn] 3\ndebug error\n");
    assert_eq!(channel.lines(number, 2), ["ERROR: 2", "[warn] 3"]);
    let seen = daemon.follow("app").query("level=warning&tail=all&follow=false&data=json").until_end();
    let levels: Vec<_> = seen.iter().filter(|m| m.is_line()).map(|m| m.json()["level"].clone()).collect();
    assert_eq!(levels, ["error", "warning"]);
    assert_eq!(daemon.follow("app").query("level=loud").status(), 400);
}

#[test]
fn a_paused_subscription_keeps_its_position_while_lines_arrive() {
    let daemon = counted(10);
    let mut channel = channel(&daemon);
    let held = channel.subscribe(&json!({ "stream": "app", "tail": "all" }));
    let flows = channel.subscribe(&json!({ "stream": "app", "tail": 0 }));
    let mut seen = channel.lines(held, 10);
    channel.call("subscription.pause", &json!({ "subscription": held }));
    // The number of lines that arrive in a minute at a thousand a second.
    for piece in 0..60 {
        daemon.write("app.log", between(11 + piece * 1000..11 + (piece + 1) * 1000));
    }
    // All of it went by, and nothing of it to the one that is held.
    let mut last = 10;
    while last < 60_010 {
        let told = channel.told();
        assert_ne!(told["params"]["subscription"], held, "{told}");
        last += told["params"]["events"]
            .as_array()
            .map_or(0, |events| events.iter().filter(|e| e["kind"].is_null()).count());
    }
    channel.call("subscription.pause", &json!({ "subscription": flows }));
    channel.call("subscription.resume", &json!({ "subscription": held }));
    seen.extend(channel.lines(held, 60_000));
    assert!(seen == (1..=60_010).map(|line| line.to_string()).collect::<Vec<_>>(), "each line once, and in order");
    assert_eq!(flows, held + 1);
}

#[test]
fn an_event_stream_is_controlled_through_its_session() {
    let daemon = counted(10);
    let token = "a-session-that-nobody-guesses";
    let mut reader = daemon.follow("app").query(&format!("tail=all&session={token}")).open();
    reader.take(10);
    let session = json!({ "session": token });
    let mut channel = channel(&daemon);
    assert_eq!(channel.call("subscription.pause", &session)["readers"], 1);
    daemon.write("app.log", between(11..5011));
    daemon.follow("app").query("tail=all").take(5010);
    assert_eq!(channel.call("subscription.resume", &session)["readers"], 1);
    let seen: Vec<_> = reader.take(5000).into_iter().map(|message| message.data).collect();
    assert!(seen == (11..=5010).map(|line| line.to_string()).collect::<Vec<_>>(), "each line once, and in order");
    // A filter, and a search back.
    channel.call("subscription.filter", &json!({ "session": token, "grep": "^500", "from": { "tail": 3 } }));
    let seen: Vec<_> = reader.take(3).into_iter().map(|message| message.data).collect();
    assert_eq!(seen, ["5007", "5008", "5009"]);
    // A caller on another socket is another caller, and a reader that has left is not found.
    let mut other = Channel::open(daemon.unix());
    assert_eq!(other.refused("subscription.pause", &session).0, -32001);
    drop(reader);
    daemon.write("app.log", "500 more\n");
    Deadline::new().until("the reader's end", || {
        let id = channel.ask("subscription.pause", &session);
        (channel.reply(id)["error"]["code"] == -32001).then_some(())
    });
    for short in ["short", "0123456789abcde", "with%20space%20in%20it%20all"] {
        assert_eq!(daemon.follow("app").query(&format!("session={short}")).status(), 400, "{short}");
    }
}

#[test]
fn several_streams_on_one_connection_are_controlled_together() {
    let dir = TestDir::new();
    dir.write("a", "a1\n");
    dir.write("b", "b1\n");
    let daemon = dir.start("streams: { a: { file: a, from: start }, b: { file: b, from: start } }");
    let both = "/streams?stream=a&stream=b&tail=all&session=0123456789abcdef";
    let mut reader = daemon.request(both).open();
    reader.take(2);
    let mut channel = channel(&daemon);
    let session = json!({ "session": "0123456789abcdef" });
    assert_eq!(channel.call("subscription.pause", &session)["readers"], 2);
    daemon.write("a", "a2\n");
    daemon.write("b", "b2\n");
    daemon.follow("b").query("tail=all").take(2);
    daemon.follow("a").query("tail=all").take(2);
    channel.call("subscription.resume", &session);
    let mut seen: Vec<_> = reader.take(2).into_iter().map(|message| message.data).collect();
    seen.sort();
    assert_eq!(seen, ["a2", "b2"]);
}

#[test]
fn a_paused_reader_receives_a_gap_for_dropped_events() {
    let dir = TestDir::new();
    dir.write("app.log", "0\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start, history: { memory: 1MiB } } }");
    let mut channel = channel(&daemon);
    let held = channel.subscribe(&json!({ "stream": "app", "tail": "all" }));
    channel.lines(held, 1);
    channel.call("subscription.pause", &json!({ "subscription": held }));
    let mut reader = daemon.follow("app").query("tail=0").open();
    for piece in 0..30 {
        let long = |line| [format!("{:0100}", piece * 1000 + line), "\n".to_owned()];
        daemon.write("app.log", (1..=1000).flat_map(long).collect::<String>());
        reader.take(1000);
    }
    channel.call("subscription.resume", &json!({ "subscription": held }));
    let gap = channel.until("stream.gap");
    let missed = gap["missed"].as_u64().unwrap();
    let first = channel.lines(held, 30_000 - usize::try_from(missed).unwrap());
    assert_eq!(first[0], format!("{:0100}", missed + 1), "the gap counts what is missing");
}

#[test]
fn equal_filters_of_different_readers_are_evaluated_once() {
    let filtered = |daemon: &Daemon| {
        let state = daemon.state("app");
        state["filtered"].as_u64().unwrap()
    };
    let cost = |readers: usize| {
        let daemon = counted(1);
        let before = filtered(&daemon);
        let mut channels: Vec<_> = (0..readers.div_ceil(50)).map(|_| channel(&daemon)).collect();
        let mut all = Vec::new();
        for at in 0..readers {
            let channel = at % channels.len();
            let params = json!({ "stream": "app", "tail": 0, "grep": format!("{}$", at / channels.len() % 10) });
            all.push((channel, channels[channel].subscribe(&params)));
        }
        for piece in 0..20 {
            daemon.write("app.log", between(piece * 100..(piece + 1) * 100));
            // Each reader sees its ten lines of this piece, so that none is far behind.
            for (channel, number) in &all {
                let lines = &mut channels[*channel];
                lines.lines_of(*number, 10);
            }
        }
        filtered(&daemon) - before
    };
    let (few, many) = (cost(10), cost(500));
    assert!(few >= 20_000, "each of ten filters looks at each of 2000 lines: {few}");
    assert!(many * 2 <= few * 3, "{many} lines held against filters for 500 subscriptions, {few} for 10");
}

#[test]
fn a_batch_is_answered_by_one_message() {
    let daemon = counted(1);
    let mut channel = channel(&daemon);
    channel.send_text(
        r#"[{"jsonrpc":"2.0","id":"a","method":"streams.list"},{"jsonrpc":"2.0","method":"streams.list"},
            {"jsonrpc":"2.0","id":2,"method":"nope"},3]"#,
    );
    let replies = channel.message(Deadline::new());
    let replies = replies.as_array().unwrap();
    assert_eq!(replies.len(), 3, "a notification gets none: {replies:?}");
    assert_eq!((&replies[0]["id"], replies[0]["result"]["streams"].as_array().unwrap().len()), (&json!("a"), 1));
    assert_eq!((&replies[1]["id"], &replies[1]["error"]["code"]), (&json!(2), &json!(-32601)));
    assert_eq!((&replies[2]["id"], &replies[2]["error"]["code"]), (&Value::Null, &json!(-32600)));
    // A batch of notifications gets no reply at all: the next one is that of the marker.
    channel.send_text(r#"[{"jsonrpc":"2.0","method":"streams.list"}]"#);
    channel.call("streams.list", &json!({}));
    assert!(channel.told_before().is_empty());
}

#[test]
fn a_handshake_is_checked_in_full() {
    let daemon = with(1, "origins: [\"https://dash.example.com\"]");
    let own = format!("http://{}", daemon.address().host());
    let table: [(&str, Option<&str>, u16); 22] = [
        ("Upgrade", None, 426),
        ("Upgrade", Some("h2c"), 426),
        ("Connection", None, 426),
        ("Connection", Some("keep-alive"), 426),
        ("Sec-WebSocket-Version", None, 426),
        ("Sec-WebSocket-Version", Some("8"), 426),
        ("Sec-WebSocket-Version", Some("13, 8"), 426),
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", Some(""), 400),
        ("Sec-WebSocket-Key", Some("c2hvcnQ="), 400),
        ("Sec-WebSocket-Key", Some("not base64 at all!!!!!=="), 400),
        ("Sec-WebSocket-Protocol", None, 400),
        ("Sec-WebSocket-Protocol", Some("rtlogd.v2"), 400),
        ("Sec-WebSocket-Protocol", Some("chat, rtlogd.v1"), 101),
        ("Origin", Some("http://evil.example"), 403),
        ("Origin", Some("null"), 403),
        ("Origin", Some("http://dash.example.com"), 403),
        ("Origin", Some("https://dash.example.com"), 101),
        ("Origin", Some(&own), 101),
        ("Host", Some("evil.example"), 400),
        ("Upgrade", Some("WebSocket"), 101),
        ("Connection", Some("Upgrade"), 101),
    ];
    for (name, value, status) in table {
        let mut headers = handshake();
        headers.retain(|(known, _)| *known != name);
        headers.extend(value.map(|value| (name, value)));
        let response = Response::get(daemon.address(), "/control", &headers);
        assert_eq!(response.status, status, "{name}: {value:?}");
        if status == 426 {
            assert_eq!(response.header("sec-websocket-version"), "13");
            assert_eq!(response.header("upgrade"), "websocket");
        }
        if status != 101 {
            response.problem();
        }
    }
    let mut twice = handshake();
    twice.push(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(Response::get(daemon.address(), "/control", &twice).status, 400);
    let post = Response::request(daemon.address(), "POST", "/control", &handshake(), b"");
    assert_eq!(post.status, 405);
}

#[test]
fn a_client_that_may_only_read_is_refused_everything_else_with_advice() {
    let daemon = counted(1);
    let (mut tcp, mut unix) = (channel(&daemon), Channel::open(daemon.unix()));
    let on = json!({ "stream": "app" });
    let table = [
        ("streams.list", json!({}), None),
        ("stream.subscribe", on.clone(), None),
        ("process.input", json!({ "stream": "app", "text": "x" }), Some(())),
        ("process.resize", json!({ "stream": "app", "rows": 1, "columns": 1 }), Some(())),
        ("process.lease", json!({ "stream": "app", "seconds": 1 }), Some(())),
        ("process.signal", json!({ "stream": "app", "signal": "TERM" }), Some(())),
        ("process.pause", on.clone(), Some(())),
        ("process.resume", on.clone(), Some(())),
        ("process.start", on.clone(), Some(())),
        ("process.stop", on.clone(), Some(())),
        ("process.restart", on.clone(), Some(())),
    ];
    for (method, params, denied) in table {
        if denied.is_none() {
            tcp.call(method, &params);
            unix.call(method, &params);
            continue;
        }
        let (code, detail) = tcp.refused(method, &params);
        assert_eq!(code, -32002, "{method}");
        assert!(detail.contains("Unix socket"), "{detail}");
        // The owner has the right; that a file takes no commands is another matter.
        let id = unix.ask(method, &params);
        let reply = unix.reply(id);
        assert!(reply["error"].is_null() || reply["error"]["code"] == -32003, "{method}: {reply}");
    }
    assert_eq!(tcp.refused("process.attach", &on).0, -32003, "to look is to read");
    for (path, denied) in [
        ("/streams/app/input", true),
        ("/streams/app/signal?signal=TERM", true),
        ("/streams/app/start", true),
        ("/streams/app/stop", true),
        ("/streams/app/restart", true),
    ] {
        let body: &[u8] = if path.ends_with("input") { b"x" } else { b"" };
        let refused = daemon.address().post(path, body);
        assert_eq!(refused.status == 403, denied, "{path}");
        assert!(refused.problem()["detail"].as_str().unwrap().contains("Unix socket"));
        assert_eq!(daemon.unix().post(path, body).status, 409, "{path}: a file takes no commands");
        let foreign = [("Origin", "http://evil.example")];
        assert_eq!(Response::request(daemon.unix(), "POST", path, &foreign, body).status, 403, "{path}");
    }
    for path in
        ["/streams", "/streams/app?follow=false", "/streams/app/state", "/streams/app/poll?wait=1s", "/health/ready"]
    {
        assert_eq!(Response::get(daemon.address(), path, &[]).status, 200, "{path}");
        assert_eq!(Response::get(daemon.unix(), path, &[]).status, 200, "{path}");
    }
}

#[test]
fn known_paths_list_the_methods_they_allow() {
    let daemon = counted(1);
    for (path, allowed) in [
        ("/streams", "GET, HEAD"),
        ("/streams/app", "GET, HEAD"),
        ("/streams/app/poll", "GET, HEAD"),
        ("/streams/app/state", "GET, HEAD"),
        ("/control", "GET, HEAD"),
        ("/health/live", "GET, HEAD"),
        ("/streams/app/input", "POST"),
        ("/streams/app/signal", "POST"),
        ("/streams/app/start", "POST"),
        ("/streams/app/stop", "POST"),
        ("/streams/app/restart", "POST"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            if allowed.contains(method) {
                continue;
            }
            let response = Response::request(daemon.unix(), method, path, &[], b"");
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.header("allow"), allowed, "{method} {path}");
            response.problem();
        }
    }
    assert_eq!(daemon.unix().post("/nowhere", b"").status, 404);
}

#[test]
fn a_head_request_gets_the_headers_of_get_without_a_body() {
    let daemon = counted(3);
    for path in ["/streams", "/streams/app", "/streams/app/state", "/streams/app/poll?wait=50s", "/health/live"] {
        // Both on one connection: a body would be taken for the head that follows.
        let request = format!(
            "HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let mut socket = daemon.address().connect();
        socket.patience(Duration::from_secs(20));
        std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut socket, &mut all).unwrap();
        let all = String::from_utf8(all).unwrap();
        let (head, rest) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: "), "{path}: {all}");
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("alive\n"), "{path}: {all}");
    }
}

#[test]
fn more_subscriptions_than_one_channel_may_have_are_refused() {
    let daemon = counted(1);
    let mut channel = channel(&daemon);
    let ask = json!({ "stream": "app", "tail": 0 });
    let numbers: Vec<_> = (0..64).map(|_| channel.subscribe(&ask)).collect();
    assert_eq!(channel.refused("stream.subscribe", &ask).0, -32006);
    channel.call("subscription.unsubscribe", &json!({ "subscription": numbers[0] }));
    assert_eq!(channel.refused("subscription.unsubscribe", &json!({ "subscription": numbers[0] })).0, -32001);
    channel.subscribe(&ask);
}

#[test]
fn a_silent_channel_is_closed_unless_it_answers_pings() {
    let daemon = with(1, "limits: { keep_alive: 1s }");
    let (mut silent, mut alive) = (channel(&daemon), channel(&daemon));
    let deadline = Deadline::new();
    let mut pings = 0;
    let closed = loop {
        match silent.frame(deadline) {
            Frame::Ping(_) => pings += 1,
            other => break other,
        }
        // The other one answers, in its time.
        match alive.frame(deadline) {
            Frame::Ping(payload) => alive.send_raw(&frame(0x8a, &payload)).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(closed, Frame::Close(Some((1008, "no answer to pings".to_owned()))));
    assert_eq!(pings, 3);
    alive.call("streams.list", &json!({}));
}

#[test]
fn a_close_frame_is_answered_with_a_close_frame() {
    let daemon = counted(1);
    for payload in [&b""[..], &[0x03, 0xe8], b"\x0f\xa1bye"] {
        let mut channel = channel(&daemon);
        channel.send_raw(&frame(0x88, payload)).unwrap();
        let code = channel.closed();
        assert_eq!(code, payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]])));
        assert_eq!(channel.frame(Deadline::new()), Frame::End);
    }
}

#[test]
fn a_ping_is_answered() {
    let daemon = counted(1);
    let mut channel = channel(&daemon);
    channel.send_raw(&frame(0x89, b"are you there")).unwrap();
    assert_eq!(channel.frame(Deadline::new()), Frame::Pong(b"are you there".to_vec()));
}

#[test]
fn a_daemon_that_stops_sends_the_remaining_events_and_closes() {
    let daemon = counted(5);
    let (mut reads, mut held, mut idle) = (channel(&daemon), channel(&daemon), channel(&daemon));
    let number = reads.subscribe(&json!({ "stream": "app", "tail": "all" }));
    reads.lines(number, 5);
    let paused = held.subscribe(&json!({ "stream": "app", "tail": "all" }));
    held.lines(paused, 5);
    held.call("subscription.pause", &json!({ "subscription": paused }));
    let mut sse = daemon.follow("app").query("tail=0&session=0123456789abcdef").open();
    held.call("subscription.pause", &json!({ "session": "0123456789abcdef" }));
    daemon.terminate();
    let ended = reads.until("subscription.ended");
    assert_eq!(ended["subscription"], number);
    let position = ended["place"].as_str().unwrap().to_owned();
    assert!(position.contains('-'), "{position}");
    for channel in [&mut reads, &mut held, &mut idle] {
        assert_eq!(channel.closed(), Some(1001));
    }
    // A reader that is held ends without the lines that it held: they are not lost, and come with the next connection.
    assert!(sse.until_end().iter().all(|message: &Message| !message.is_line()));
    assert!(daemon.ended().status.success());
}

#[test]
fn a_channel_counts_as_a_reader_while_it_is_open() {
    let daemon = with(0, "limits: { connections: 2 }");
    let first = channel(&daemon);
    let second = channel(&daemon);
    let refused = Response::get(daemon.address(), "/control", &handshake());
    assert_eq!(refused.status, 503);
    drop(first);
    Deadline::new().until("a free seat", || {
        (Response::get(daemon.address(), "/control", &handshake()).status == 101).then_some(())
    });
    drop(second);
}

#[test]
fn the_published_schema_describes_the_methods() {
    let ended = TestDir::new().execute(&["schema", "control"]);
    assert!(ended.status.success(), "{}", ended.err);
    let schema: Value = serde_json::from_slice(&ended.out).unwrap();
    for method in ["streams.list", "stream.subscribe", "subscription.filter", "process.input", "process.lease"] {
        assert_eq!(schema["$defs"][method]["properties"]["method"]["const"], method);
    }
    assert_eq!(schema["$defs"]["Subscribe"]["additionalProperties"], false);
}

#[test]
fn typed_input_is_logged_with_its_length_and_sender_only() {
    let daemon = counted(1);
    assert_eq!(daemon.unix().post("/streams/app/input", b"hunter2\n").status, 409);
    let mut channel = Channel::open(daemon.unix());
    channel.refused("process.input", &json!({ "stream": "app", "text": "correct horse" }));
    for bytes in ["bytes=8", "bytes=13"] {
        let logged = Deadline::new()
            .until("the log line", || daemon.logged().lines().find(|line| line.contains(bytes)).map(str::to_owned));
        assert!(logged.contains("stream=app") && logged.contains("uid "), "{logged}");
    }
    assert!(!daemon.logged().contains("hunter2") && !daemon.logged().contains("horse"), "{}", daemon.logged());
}
