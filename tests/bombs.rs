//! What is small when it comes and large when it is understood: expressions, configurations, compressed bodies. Each is refused in
//! bounded memory, and others are served meanwhile.

use std::fs;

use serde_json::json;

use crate::flood::{resident, survives};
use crate::harness::http::{Response, header};
use crate::harness::sse::Reader;
use crate::harness::ws::{Channel, Talk, handshake};
use crate::harness::{Daemon, Deadline, TestDir};

/// All expressions in use may take this many bytes, in addition to the daemon's own.
const EXPRESSIONS: u64 = 320 << 20;

/// What a configuration may take while it is read, in bytes: the most values, each a hundred bytes or two, several times over.
const CONFIGURATION: u64 = 128 << 20;

const PARAMETERS: i64 = -32602;
const BUSY: i64 = -32005;

fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.start(
        "listen: [\"127.0.0.1:0\", \"unix:rtlogd.sock\"]\nlimits: { filter_size: 1MiB }\nstreams: { app: { file: app.log, from: start }, in: { push: true } }",
    )
}

/// The address of a stream with this expression.
fn filtered(key: &str, expression: &str) -> String {
    let escaped = expression.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    format!("/streams/app?{key}={escaped}")
}

/// Expressions that take too much when they are compiled, or are nothing that could be.
fn growing() -> Vec<String> {
    let deep = "(".repeat(2000) + &")".repeat(2000);
    let long = "x".repeat(5000);
    let texts =
        ["(a{1000}){1000}", r"\w{5000}", r"((((\w{9}){9}){9}){9}){9}", r"\p{L}{1000}", "a{4294967295}", &deep, &long];
    texts.map(str::to_owned).into()
}

#[test]
fn an_expression_that_grows_is_refused() {
    let daemon = daemon();
    let before = resident(&daemon);
    let mut channel = Channel::open(daemon.address());
    let number = channel.subscribe(&json!({ "stream": "app" }));
    for expression in growing() {
        for key in ["grep", "exclude"] {
            let response = Response::get(daemon.address(), &filtered(key, &expression), &[]);
            assert_eq!(response.status, 400, "{key}={expression:.40}");
            response.problem();
            let (code, said) = channel.refused("stream.subscribe", &json!({ "stream": "app", key: expression }));
            assert_eq!(code, PARAMETERS, "{said}");
            let (code, said) =
                channel.refused("subscription.filter", &json!({ "subscription": number, key: expression }));
            assert_eq!(code, PARAMETERS, "{said}");
        }
    }
    let many = "&grep=a".repeat(17);
    let refused = Response::get(daemon.address(), &format!("/streams/app?follow=false{many}"), &[]).problem();
    assert!(refused["detail"].as_str().unwrap().starts_with("17 expressions; the limit is 16"), "{refused}");
    let (code, _) = channel.refused("stream.subscribe", &json!({ "stream": "app", "exclude": vec!["a"; 17] }));
    assert_eq!(code, PARAMETERS);
    survives(&daemon, before);
}

#[test]
fn expressions_that_exhaust_other_engines_finish_quickly() {
    let dir = TestDir::new();
    dir.write("app.log", "a".repeat(60_000) + "\none\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let before = resident(&daemon);
    for expression in ["((a*)*)*b", "(a+a+)+b", "(a|a)*b", "(.*a){20}b"] {
        let reader = Response::get(daemon.address(), &filtered("exclude", expression), &[]);
        let seen = Reader::new(reader).take(2);
        assert_eq!(seen[1].data, "one", "{expression}");
    }
    daemon.write("app.log", "");
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < EXPRESSIONS, "{grown} bytes");
}

#[test]
fn the_memory_of_all_expressions_in_use_is_limited() {
    let daemon = daemon();
    let before = resident(&daemon);
    let ask = |at: usize, headers: &[_]| {
        let response = Response::get(daemon.address(), &filtered("grep", &format!(r"\w{{9}} {at}")), headers);
        (response.status == 200).then_some(()).ok_or(response.status).map(|()| response)
    };
    // Two megabytes each, and all of these have 128.
    let mut held = Vec::new();
    let refused = (0..100).find_map(|at| ask(at, &[]).map(|response| held.push(response)).err());
    assert_eq!((refused, held.len()), (Some(503), 64));
    let last = held.len();
    let mut later = Reader::new(ask(last, &[("Last-Event-ID", "mib3k2x9-1")]).unwrap());
    assert!(later.until_end().is_empty());
    assert_eq!(later.retry(), Some(10_000), "a browser comes again");
    let mut channel = Channel::open(daemon.address());
    let (code, said) =
        channel.refused("stream.subscribe", &json!({ "stream": "app", "grep": format!(r"\w{{9}} {last}") }));
    assert_eq!(code, BUSY, "{said}");
    // An expression that is in use already costs nothing, and the usual ones have room of their own.
    drop(ask(0, &[]).unwrap());
    for usual in ["one", r"^\w+$", "(?i)ONE"] {
        let reader = Response::get(daemon.address(), &filtered("grep", usual), &[]);
        assert_eq!(Reader::new(reader).take(1)[0].data, "one", "{usual}");
    }
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < EXPRESSIONS, "{grown} bytes");
    drop(held);
    Deadline::new().until("room again", || ask(last, &[]).ok());
}

/// Configurations that are bombs, and what is said of them.
fn configurations() -> Vec<(&'static str, String, &'static str)> {
    let fill = |piece: &str| piece.repeat((1 << 20) / piece.len() - 1);
    let laughs = (1..30).fold("a0: &a0 [ha]\n".to_owned(), |text, at| {
        let aliases = vec![format!("*a{}", at - 1); 10].join(", ");
        text + &format!("a{at}: &a{at} [{aliases}]\n")
    });
    let squared = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(2000), "*a, ".repeat(2000));
    let redact =
        |pattern: &str| format!("streams: {{ app: {{ file: app.log, redact: [{{ pattern: '{pattern}' }}] }} }}\n");
    let patterns = "{ pattern: x }, ".repeat(65);
    vec![
        ("a billion laughs", laughs, "repetition limit"),
        ("a list of a list", squared, "more than 100000 values"),
        ("a circle", "a: &a [*a]\n".into(), "recursion limit"),
        ("brackets", fill("["), "1000 nested values"),
        ("braces", fill("{"), "1000 nested values"),
        ("keys in brackets", fill("[{a: "), "1000 nested values"),
        ("brackets in lines", fill("[\n"), "1000 nested values"),
        ("lists in lists", fill("- "), "1000 nested values"),
        ("keys in keys", fill("? "), "1000 nested values"),
        ("a long file", fill("# one\n") + "# two\n# two\n# three\n", "longer than 1048576 bytes"),
        ("an expression", redact(r"\w{5000}"), "not a regular expression"),
        ("an expression of expressions", redact("(a{1000}){1000}"), "not a regular expression"),
        (
            "lines joined by one",
            r"streams: { app: { file: app.log, multiline: { start: '(a{1000}){1000}' } } }".into(),
            "not a regular expression",
        ),
        (
            "progress by one",
            r"streams: { app: { file: app.log, progress: [{ pattern: '(?P<percent>\w{5000})' }] } }".into(),
            "not a regular expression",
        ),
        ("many", format!("streams: {{ app: {{ file: app.log, redact: [{patterns}] }} }}\n"), "more than 64 patterns"),
    ]
}

#[test]
fn a_reload_of_a_yaml_bomb_is_refused_and_the_daemon_keeps_running() {
    let good = "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\nstreams: { app: { file: app.log, from: start } }\n";
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start(good);
    let before = resident(&daemon);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(reader.take(1)[0].data, "one");
    fs::create_dir(daemon.path("conf.d")).unwrap();
    let (main, further) = (daemon.path("rtlogd.yaml"), daemon.path("conf.d/a.yaml"));
    for (what, text, said) in configurations() {
        fs::write(&main, &text).unwrap();
        for command in ["check", "serve"] {
            let ended = daemon.execute(&[command, "--config", "rtlogd.yaml"]);
            assert_eq!(ended.status.code(), Some(2), "{command} {what}: {}", ended.err);
            assert!(ended.err.contains("rtlogd.yaml") && ended.err.contains(said), "{what}: {:.400}", ended.err);
        }
        fs::write(&main, good).unwrap();
        fs::write(&further, &text).unwrap();
        let ended = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
        assert!(!ended.status.success() && ended.err.contains(said), "{what}: {:.400}", ended.err);
        // The service manager hears of it, too.
        let told = [daemon.told(), daemon.told()];
        assert!(told[0].starts_with("RELOADING=1") && told[1].contains("changed nothing"), "{what}: {told:?}");
        daemon.write("app.log", format!("behind {what}\n"));
        assert_eq!(reader.take(1)[0].data, format!("behind {what}"), "on the same connection");
    }
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < CONFIGURATION, "{grown} bytes");
    fs::remove_file(&further).unwrap();
    assert!(daemon.execute(&["reload", "--config", "rtlogd.yaml"]).status.success());
}

#[test]
fn compressed_bodies_are_not_decompressed() {
    let daemon = daemon();
    for path in ["/streams/app/input", "/streams/app/signal", "/streams/in", "/login", "/nowhere"] {
        for coding in ["gzip", "br", "zstd", "deflate, gzip", "identity, gzip"] {
            let response =
                Response::request(daemon.unix(), "POST", path, &[("Content-Encoding", coding)], b"\x1f\x8b\x08");
            assert_eq!((response.status, response.header("accept-encoding")), (415, "identity"), "{path} {coding}");
            response.problem();
        }
        let plain = Response::request(daemon.unix(), "POST", path, &[("Content-Encoding", "Identity")], b"two\n");
        assert_ne!(plain.status, 415, "{path}");
    }
    assert_eq!(daemon.follow("in").query("tail=all").take(1)[0].data, "two");
}

#[test]
fn compressed_messages_are_not_decompressed() {
    let daemon = daemon();
    for offer in ["permessage-deflate", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"] {
        let headers = [&handshake()[..], &[("Sec-WebSocket-Extensions", offer)]].concat();
        let response = Response::get(daemon.address(), "/control", &headers);
        assert_eq!(response.status, 101);
        assert_eq!(header(&response.headers, "sec-websocket-extensions"), None, "{offer}");
    }
}
