//! Budgets: what one caller, with a token or without, can take away from all others.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::http::{Address, Response, Socket};
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};
use crate::tokens::{keys, token};

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn with(limits: &str, more: &str) -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    dir.write("a.log", "one\n");
    dir.start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys{more} }}\ntrusted_proxies: [{PROXY}]\n\
         limits: {{ {limits} }}\nstreams:\n  a: {{ file: a.log, from: start }}\n  b: {{ file: b.log }}\n  \
         cat: {{ command: [cat], input: true }}\n  in: {{ push: true }}\n"
    ))
}

fn bearer(daemon: &Daemon, allow: &str) -> String {
    format!("Bearer {}", token(daemon, "keys", &["--stream", "*", "--allow", allow, "--expires", "1h"]))
}

/// A request whose body does not come, or only its first byte.
fn begin(address: &Address, method: &str, path: &str, headers: &[(&str, &str)]) -> Box<dyn Socket> {
    let mut socket = address.connect();
    socket.patience(PATIENCE);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    socket.write_all((head + "\r\nx").as_bytes()).unwrap();
    socket
}

#[test]
fn a_stranger_is_refused_before_its_body_is_read() {
    let daemon = with("body: 1h", "");
    let reads = bearer(&daemon, "read");
    let stranger = ("X-Forwarded-For", "203.0.113.9");
    let table = [
        ("POST", "/streams/cat/input", stranger, 401),
        ("POST", "/streams/in", stranger, 401),
        ("PUT", "/streams/in", stranger, 401),
        ("POST", "/streams/cat/signal?signal=TERM", stranger, 401),
        ("POST", "/streams/nowhere/input", stranger, 401),
        ("GET", "/streams", stranger, 401),
        ("GET", "/streams/a", stranger, 401),
        ("GET", "/metrics", stranger, 401),
        ("POST", "/streams", stranger, 405),
        ("POST", "/streams/cat/input", ("Authorization", reads.as_str()), 403),
        ("POST", "/streams/in", ("Authorization", reads.as_str()), 403),
        ("POST", "/streams/cat/input", ("Authorization", "Bearer x.y.z"), 401),
        ("POST", "/streams/cat/input", ("Origin", "https://evil.example"), 403),
        ("POST", "/nowhere", stranger, 404),
    ];
    for (method, path, header, status) in table {
        // The body would come within an hour.
        let socket = begin(daemon.address(), method, path, &[header]);
        assert_eq!(Response::read(socket).unwrap().status, status, "{method} {path} with {header:?}");
    }
    // To log in, so much of a body is read as a token needs.
    let form = vec![b'x'; (8 << 10) + 1];
    assert_eq!(Response::request(daemon.address(), "POST", "/login", &[], &form).status, 413);
    assert_eq!(Response::request(daemon.address(), "POST", "/login", &[], &form[1..]).status, 401);
}

#[test]
fn bodies_in_flight_have_a_budget_for_each_caller() {
    let daemon = with("body: 1h", "");
    let (one, other) = (bearer(&daemon, "input"), bearer(&daemon, "input"));
    let input = |bearer: &str| {
        Response::request(daemon.address(), "POST", "/streams/cat/input", &[("Authorization", bearer)], b"x\n")
    };
    // Each body has 64 KiB; together they are a quarter of all that may be in progress.
    let mut held: Vec<_> =
        (0..64).map(|_| begin(daemon.address(), "POST", "/streams/cat/input", &[("Authorization", &one)])).collect();
    let refused = Deadline::new().until("the bound", || Some(input(&one)).filter(|answer| answer.status == 429));
    assert_eq!(refused.header("retry-after"), "1");
    // Neither another caller nor the owner waits for these bodies, and a body that is not read as a whole is not counted.
    assert_eq!(input(&other).status, 200);
    assert_eq!(Response::request(daemon.unix(), "POST", "/streams/cat/input", &[], b"x\n").status, 200);
    let pushed = Response::request(daemon.address(), "POST", "/streams/in", &[("Authorization", &one)], b"x\n");
    assert_eq!(pushed.status, 200);
    held.truncate(32);
    Deadline::new().until("room", || (input(&one).status == 200).then_some(()));
}

#[test]
fn readers_have_a_budget_for_each_caller_and_in_total() {
    let daemon = with("readers: 8", "");
    let bearer = bearer(&daemon, "read");
    let read = |path: &str| daemon.request(path).response();
    let both = "/streams?stream=a&stream=b";
    let held = [read(both), read("/streams/a"), read("/streams/a?session=0123456789abcdef")];
    assert!(held.iter().all(|answer| answer.status == 200));
    for (path, what) in [("/streams/a", "one more"), (both, "two more"), ("/streams/a/poll?wait=0s", "a poll")] {
        let refused = read(path);
        assert_eq!((refused.status, refused.header("retry-after")), (429, "10"), "{what}");
        let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("4 readers"), "{detail}");
    }
    // A browser would never come back from a 429.
    let later = daemon.follow("a").last_event_id("mib3k2x9-1").open();
    assert_eq!({ later }.until_end().len(), 0);
    let mut channel = Channel::open(daemon.address());
    assert_eq!(channel.refused("stream.subscribe", &json!({ "stream": "a" })).0, -32006);
    // A request that is answered at once is no reader.
    assert_eq!(daemon.get("/streams", &[]).0, 200);
    // Another caller has its own, until there are no more.
    let proven = |path: &str| daemon.request(path).header("Authorization", &bearer).response();
    let more = [proven(both), proven(both)];
    assert!(more.iter().all(|answer| answer.status == 200));
    let third = Address::TcpFrom(PROXY, daemon.address().tcp());
    let other = token(&daemon, "keys", &["--stream", "*", "--expires", "1h"]);
    let headers = [("Authorization", &*format!("Bearer {other}"))];
    let refused = Response::get(&third, "/streams/a", &headers);
    assert_eq!((refused.status, refused.header("retry-after")), (503, "10"));
    // The owner is shut out by nobody.
    assert_eq!(Response::get(daemon.unix(), "/streams/a", &[]).status, 200);
    drop(held);
    Deadline::new().until("room", || (Response::get(&third, "/streams/a", &headers).status == 200).then_some(()));
    let subscription = Deadline::new().until("room for a subscription", || {
        let id = channel.ask("stream.subscribe", &json!({ "stream": "a" }));
        channel.reply(id)["result"]["subscription"].as_u64()
    });
    channel.call("subscription.unsubscribe", &json!({ "subscription": subscription }));
}

#[test]
fn other_machines_without_a_token_have_the_limit_of_a_token() {
    let daemon = with("per_token: 2", ", insecure: true");
    let proxy = Address::TcpFrom(PROXY, daemon.address().tcp());
    let read = |client: &str| Response::get(&proxy, "/streams/a", &[("X-Forwarded-For", client)]);
    let held = [read("203.0.113.9"), read("203.0.113.9")];
    assert!(held.iter().all(|answer| answer.status == 200));
    let refused = read("203.0.113.9");
    assert_eq!(refused.status, 429);
    let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("2 streams and channels from this address"), "{detail}");
    assert_eq!(read("203.0.113.10").status, 200);
    // Clients on this machine do not count as one client.
    let local: Vec<_> = (0..3).map(|_| daemon.follow("a").response()).collect();
    assert!(local.iter().all(|answer| answer.status == 200));
}

#[test]
fn a_session_has_its_own_limit_and_uses_no_other() {
    let daemon = with("", "");
    let names: String = (0..64).map(|_| "stream=a&").collect();
    // A stream that is named several times is one reader.
    let one = daemon.request(&format!("/streams?{names}session=0123456789abcdef")).response();
    assert_eq!(one.status, 200);
    let held: Vec<_> = (0..127).map(|_| daemon.follow("a").query("session=0123456789abcdef").response()).collect();
    assert!(held.iter().all(|answer| answer.status == 200));
    assert_eq!(daemon.follow("a").query("session=0123456789abcdef").status(), 429);
    assert_eq!(daemon.follow("a").query("session=another-0123456789").status(), 200);
    assert_eq!(Response::get(daemon.unix(), "/streams/a?session=0123456789abcdef", &[]).status, 200);
}

#[test]
fn a_list_requested_often_shows_the_newest_event() {
    let daemon = with("", "");
    let bearer = bearer(&daemon, "input");
    for _ in 0..60 {
        let pushed = Response::request(daemon.address(), "POST", "/streams/in", &[("Authorization", &bearer)], b"x\n");
        assert_eq!(pushed.status, 200);
        let last = serde_json::from_slice::<Value>(&pushed.body.all()).unwrap()["last"].clone();
        // Under load a list may be a tenth of a second old, and then it is not.
        Deadline::new().until("the newest id", || {
            let streams = daemon.json("/streams");
            let of_in = streams["streams"].as_array().unwrap().iter().find(|stream| stream["name"] == "in").unwrap();
            (of_in["last"] == last).then_some(())
        });
    }
}

/// A daemon that may have so many files open, at once and at most.
fn with_descriptors(soft: u32, hard: u32) -> Daemon {
    let dir = TestDir::new();
    dir.write(
        "rtlogd.yaml",
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\nstreams:\n  a: { file: a.log, from: start, private: false }\n  \
         limit: { command: [sh, -c, 'ulimit -n; exec sleep 1000'], start: manual, restart: { when: never } }\n",
    );
    dir.write("a.log", "one\n");
    let limit = format!("--nofile={soft}:{hard}");
    dir.launch_by(&["prlimit", &limit], &["serve", "--config", "rtlogd.yaml"])
}

#[test]
fn connections_leave_descriptors_for_files_processes_and_the_owner() {
    let daemon = with_descriptors(160, 160);
    // More than there may be.
    let held: Vec<_> = (0..200).map(|_| daemon.address().connect()).collect();
    let list = Response::get(daemon.unix(), "/streams", &[]);
    assert_eq!(list.status, 200, "the owner gets in");
    assert_eq!(daemon.unix().post("/streams/limit/start", b"").status, 200);
    let started = Response::get(daemon.unix(), "/streams/limit?tail=all", &[]);
    let mut body = started.body;
    let mut seen = String::new();
    Deadline::new().until("the process", || {
        seen += &String::from_utf8(body.some(Deadline::new()).unwrap().unwrap()).unwrap();
        seen.contains("data: 160\n").then_some(())
    });
    daemon.write("a.log", "two\n");
    let all = Response::get(daemon.unix(), "/streams/a?tail=all", &[]);
    let mut body = all.body;
    let mut seen = String::new();
    Deadline::new().until("the next line", || {
        seen += &String::from_utf8(body.some(Deadline::new()).unwrap().unwrap()).unwrap();
        seen.contains("data: two\n").then_some(())
    });
    let logged = daemon.logged();
    assert!(logged.contains("40 connections at once instead of 20000"), "{logged}");
    assert!(!logged.contains("cannot accept"), "{logged}");
    drop(held);
    // Until the daemon saw that they are gone, another is closed without an answer.
    Deadline::new().until("a seat", || {
        let mut socket = daemon.address().connect();
        socket.patience(PATIENCE);
        socket.write_all(b"GET /streams/a?follow=false HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        (Response::read(socket).ok()?.status == 200).then_some(())
    });
}

#[test]
fn the_soft_limit_on_open_files_is_raised_for_the_daemon_alone() {
    let daemon = with_descriptors(100, 3000);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("3000"), "{open_files}");
    assert_eq!(daemon.unix().post("/streams/limit/start", b"").status, 200);
    daemon.follow("limit").query("tail=all").until("its limit", |message| message.data == "100");
}

#[test]
fn many_list_requests_do_not_delay_other_clients() {
    let daemon = with("", "");
    let url = daemon.url("/streams");
    // Nobody waits for them: each has its turn between the others.
    let mut storms: Vec<_> = (0..4)
        .map(|_| {
            Command::new("sh").args(["-c", &format!("while :; do curl -s -o /dev/null '{url}'; done")]).spawn().unwrap()
        })
        .collect();
    let mut channel = Channel::open(daemon.address());
    for _ in 0..3 {
        let request = |id: i32| json!({ "jsonrpc": "2.0", "id": id, "method": "streams.list" });
        let batch: Vec<_> = (0..12).map(request).collect();
        channel.send_text(&json!(batch).to_string());
        let replies = channel.message(Deadline::new());
        assert_eq!(replies.as_array().unwrap().len(), 12);
        daemon.write("a.log", "more\n");
        daemon.follow("a").query("tail=1").until("a line", |message| message.data == "more");
    }
    for storm in &mut storms {
        storm.kill().unwrap();
        storm.wait().unwrap();
    }
}

#[test]
fn pages_with_many_streams_have_a_budget_that_leaves_room_for_other_readers() {
    let dir = TestDir::new();
    let streams: Vec<_> = (0..64).map(|at| format!("  s{at}: {{ push: true }}\n")).collect();
    let daemon = dir.start(&format!("limits: {{ readers: 2048 }}\nstreams:\n{}", streams.concat()));
    let names = |count: usize| (0..count).map(|at| format!("stream=s{at}")).collect::<Vec<_>>().join("&");
    let read = |count: usize| daemon.request(&format!("/streams?{}", names(count))).response();
    // A sixteenth of all readers: two tabs, and a small third one.
    let tabs = [read(50), read(64), read(14)];
    assert!(tabs.iter().all(|answer| answer.status == 200));
    let refused = read(2);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "10"));
    let detail = refused.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("has 128 readers open on connections with several streams"), "{detail}");
    // A request for one stream is limited separately.
    let single: Vec<_> = (0..64).map(|at| daemon.follow(&format!("s{at}")).response()).collect();
    assert!(single.iter().all(|answer| answer.status == 200));
    drop(tabs);
    Deadline::new().until("room", || (read(64).status == 200).then_some(()));
}
