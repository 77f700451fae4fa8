//! Requests that are wrong, slow, too large or too many: each is refused or dropped, and all others are served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::http::{Response, Socket};
use crate::harness::sse::Reader;
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};

/// A daemon with one line in the stream `app`, and further keys.
fn with(yaml: &str) -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.start(&format!("{yaml}\nstreams: {{ app: {{ file: app.log, from: start }} }}"))
}

/// Checks that the daemon serves as before.
fn assert_fine(daemon: &Daemon) {
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
}

/// The bytes that arrive until the server ends the connection.
fn rest(socket: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            // Unread bytes make the end of the connection a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&all)),
        }
    }
}

#[test]
fn a_request_names_one_host_that_the_daemon_serves() {
    let daemon = with("hosts: [ci.example.com]");
    let table = [
        ("", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost\r\nhost: evil.example\r\n", 400),
        ("Host: evil.example\r\n", 421),
        ("Host: localhost.evil.example:7070\r\n", 421),
        ("Host: ci.example.com.evil.example\r\n", 421),
        ("Host: \r\n", 421),
        ("Host: localhost\r\n", 200),
        ("Host: CI.example.com:443\r\n", 200),
        ("Host: 127.0.0.1:1\r\n", 200),
        ("Host: [::1]:7070\r\n", 200),
    ];
    for path in ["/streams", "/streams/app?follow=false", "/health/live"] {
        for (host, status) in table {
            let response = Response::of(daemon.address(), format!("GET {path} HTTP/1.1\r\n{host}\r\n").as_bytes());
            assert_eq!(response.status, status, "{path}: {host}");
            if status != 200 {
                response.problem();
            }
        }
    }
    // A browser that comes back by a name of another gets no stream either.
    assert_eq!(Response::get(daemon.address(), "/streams/app", &[("Host", "evil.example")]).status, 400);
}

#[test]
fn a_slow_head_is_dropped() {
    let daemon = with("limits: { head: 1s }");
    for sent in ["", "P", "GET /streams/app HT", "GET /streams/app HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut socket = daemon.address().connect();
        socket.patience(PATIENCE);
        socket.write_all(sent.as_bytes()).unwrap();
        let answer = rest(&mut socket);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
            "{sent:?}: {:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_fine(&daemon);
}

#[test]
fn a_head_that_trickles_is_dropped() {
    let daemon = with("limits: { head: 1s }");
    let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
    socket.patience(Duration::from_millis(50));
    socket.write_all(b"GET /streams/app HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
    Deadline::new().until("the end of the connection", || {
        let mut byte = [0];
        match (socket.write(b"x"), socket.read(&mut byte)) {
            (Err(_), _) | (_, Ok(_)) => Some(()),
            (_, Err(error)) => (error.kind() != std::io::ErrorKind::WouldBlock).then_some(()),
        }
    });
    assert_fine(&daemon);
}

#[test]
fn a_slow_body_is_refused() {
    let daemon = with("limits: { body: 1s }");
    let request = b"GET /streams/app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
    let response = Response::of(daemon.address(), request);
    assert_eq!(response.status, 408);
    response.problem();
    assert_fine(&daemon);
}

#[test]
fn a_huge_body_is_refused() {
    let daemon = with("");
    let request = b"GET /streams/app HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    socket.write_all(request).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // A connection that is cut off while the client sends is a refusal too.
    let sent = (0..4).try_for_each(|_| socket.write_all(chunk.as_bytes()));
    match Response::read(socket) {
        Ok(response) => assert_eq!(response.status, 413),
        Err(error) => assert!(sent.is_err() || error.kind() == std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    assert_fine(&daemon);
}

#[test]
fn a_huge_head_is_refused() {
    let daemon = with("");
    let long = format!("X: {}\r\n", "x".repeat(1 << 20));
    let many = "X-Header: x\r\n".repeat(5000);
    for headers in [long, many] {
        let mut socket = daemon.address().connect();
        socket.patience(PATIENCE);
        let request = format!("GET /streams/app HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let sent = socket.write_all(request.as_bytes());
        match Response::read(socket) {
            Ok(response) => assert_eq!(response.status, 431),
            Err(error) => assert!(sent.is_err() || error.kind() == std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
    let long = format!("/streams/app?tail={}", "1".repeat(20_000));
    assert_eq!(daemon.request(&long).status(), 414);
    assert_fine(&daemon);
}

#[test]
fn a_connection_that_does_not_speak_http_is_dropped() {
    let daemon = with("");
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
        socket.patience(PATIENCE);
        socket.write_all(sent).unwrap();
        match socket.shutdown(Shutdown::Write) {
            // The connection was dropped before the client was done.
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => {}
            closed => closed.unwrap(),
        }
        let answer = rest(&mut socket);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{sent:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    assert_fine(&daemon);
}

#[test]
fn other_methods_are_refused() {
    let daemon = with("");
    for path in ["/streams/app", "/streams"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            // To send lines takes a right, which comes before what the stream takes.
            if path == "/streams/app" && matches!(method, "POST" | "PUT") {
                continue;
            }
            let response = Response::of(
                daemon.address(),
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(),
            );
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.header("allow"), "GET, HEAD");
            response.problem();
        }
    }
}

#[test]
fn a_connection_beyond_the_limit_is_refused_with_a_reason() {
    let daemon = with("limits: { connections: 3 }");
    let mut seated: Vec<_> = (0..3).map(|_| daemon.follow("app").open()).collect();
    for reader in &mut seated {
        assert_eq!(reader.take(1)[0].data, "one");
    }
    let refused = daemon.follow("app").response();
    assert_eq!(refused.status, 503);
    refused.problem();
    // A browser would never come back from a 503.
    let mut later = daemon.follow("app").last_event_id("mib3k2x9-1").open();
    assert!(later.until_end().is_empty());
    assert_eq!(later.retry(), Some(10_000));
    drop(later);
    seated.pop();
    let response = Deadline::new()
        .until("a free seat", || Some(daemon.follow("app").response()).filter(|response| response.status == 200));
    assert_eq!(Reader::new(response).take(1)[0].data, "one");
}

#[test]
fn a_burst_of_connections_does_not_disturb_readers() {
    let daemon = with("limits: { connections: 20 }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.take(1);
    let storm: Vec<_> = (0..300).map(|_| TcpStream::connect(daemon.address().tcp()).unwrap()).collect();
    daemon.write("app.log", "two\n");
    assert_eq!(reader.take(1)[0].data, "two");
    drop(storm);
    let response = Deadline::new().until("a free seat", || {
        let mut socket = daemon.address().connect();
        socket.patience(PATIENCE);
        socket.write_all(b"GET /streams/app HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
        Response::read(socket).ok().filter(|response| response.status == 200)
    });
    assert_eq!(Reader::new(response).take(1)[0].data, "one");
}

#[test]
fn http_2_is_served_with_prior_knowledge() {
    let daemon = with("");
    let curl = Command::new("curl").arg("--version").output();
    if curl.is_ok_and(|curl| String::from_utf8_lossy(&curl.stdout).contains(" HTTP2")) {
        let url = daemon.url("/streams/app?follow=false&format=text");
        let arguments = [
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--http2-prior-knowledge",
            "--write-out",
            "%{http_version} %{http_code}",
            &url,
        ];
        let output = Command::new("curl").args(arguments).stdin(Stdio::null()).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(shown, "one\n2 200", "{}", String::from_utf8_lossy(&output.stderr));
    }
    // The preface and empty SETTINGS; the server's SETTINGS (type 4 on stream 0) come back first.
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!((frame[3], &frame[5..]), (4, &[0, 0, 0, 0][..]), "{frame:?}");
}
