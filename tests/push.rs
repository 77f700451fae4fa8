//! Lines that others send: `POST /streams/NAME`.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::http::{Address, Response};
use crate::harness::sse::lines;
use crate::harness::{Daemon, TestDir, numbered};

const YAML: &str =
    "listen: [\"127.0.0.1:0\", \"unix:rtlogd.sock\"]\nstreams:\n  in: { push: true }\n  app: { file: app.log }\n";

fn daemon() -> Daemon {
    Daemon::start(YAML)
}

fn answer(response: Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body.all()).unwrap()
}

/// A request whose body is yet to be sent, in chunks.
fn sending(daemon: &Daemon, query: &str) -> UnixStream {
    let Address::Unix(path) = daemon.unix() else { panic!("not a Unix socket") };
    let mut socket = UnixStream::connect(path).unwrap();
    let head = format!("POST /streams/in{query} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

fn chunk(socket: &mut UnixStream, text: &str) {
    socket.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
}

#[test]
fn each_line_of_a_body_gets_an_id_that_the_response_names() {
    let daemon = daemon();
    let mut reader = daemon.follow("in").query("tail=all").open();
    reader.until("that it receives", |message| message.is_state("receiving"));
    let told = answer(daemon.unix().post("/streams/in", b"one\ntwo\r\nthree"));
    let seen = reader.take(3);
    assert_eq!(lines(&seen), ["one", "two", "three"]);
    assert_eq!(
        (&told["lines"], &told["first"], &told["last"]),
        (&3.into(), &seen[0].id.clone().into(), &seen[2].id.clone().into())
    );
    let nothing = answer(daemon.unix().post("/streams/in", b""));
    assert_eq!((&nothing["lines"], &nothing["first"]), (&0.into(), &Value::Null));
    // Larger than any other body may be, and with what is no text in it.
    let large = numbered("line ", 100_000);
    let told = answer(Response::request(daemon.unix(), "PUT", "/streams/in?origin=ci-7", &[], large.as_bytes()));
    assert_eq!(told["lines"], 100_000);
    let last = daemon.follow("in").query("tail=1&limit=1&data=json").take(1)[0].json();
    assert_eq!((&last["text"], &last["origin"], &last["id"]), (&"line 100000".into(), &"ci-7".into(), &told["last"]));
}

#[test]
fn pushed_lines_appear_at_once_and_a_half_line_stays_with_its_sender() {
    let daemon = daemon();
    let mut reader = daemon.follow("in").query("tail=all").open();
    let (mut a, mut b) = (sending(&daemon, ""), sending(&daemon, ""));
    chunk(&mut a, "a1\na");
    assert_eq!(lines(&reader.until("a1", |message| message.data == "a1")), ["a1"]);
    chunk(&mut b, "b1\nb2");
    assert_eq!(lines(&reader.until("b1", |message| message.data == "b1")), ["b1"]);
    chunk(&mut a, "2\n");
    assert_eq!(lines(&reader.until("a2", |message| message.data == "a2")), ["a2"]);
    a.write_all(b"0\r\n\r\n").unwrap();
    let told = answer(Response::read(Box::new(a)).unwrap());
    assert_eq!(told["lines"], 2, "those of others are not counted");
    // A client that vanishes in the middle of a line leaves the part that arrived.
    b.shutdown(Shutdown::Both).unwrap();
    let seen = daemon.follow("in").query("tail=all&data=json").until("b2", |message| message.data.contains("\"b2\""));
    assert_eq!(seen.last().unwrap().json()["partial"], true);
}

#[test]
fn curl_pushes_lines_while_it_reads_them() {
    let daemon = daemon();
    let socket = daemon.path("rtlogd.sock");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "-T", "-", "--unix-socket"]).arg(&socket).arg("http://localhost/streams/in");
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = curl.stdin.take().unwrap();
    let mut reader = daemon.follow("in").query("tail=all").open();
    for line in ["one", "two"] {
        writeln!(input, "{line}").unwrap();
        reader.until(line, |message| message.data == line);
    }
    drop(input);
    let mut told = String::new();
    curl.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(curl.wait().unwrap().success());
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["lines"], 2, "{told}");
    daemon.write("three", "x\ny\nz\n");
    let file = format!("@{}", daemon.path("three").display());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--data-binary", &file, "--unix-socket"]).arg(&socket).arg("http://localhost/streams/in");
    let told: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap();
    assert_eq!(told["lines"], 3, "{told}");
}

#[test]
fn clients_without_the_right_and_unacceptable_bodies_are_refused() {
    let daemon = daemon();
    // A caller over TCP may only read.
    let response = daemon.address().post("/streams/in", &vec![b'x'; 200_000]);
    assert_eq!(response.status, 403);
    response.problem();
    for name in ["app", "none"] {
        assert_eq!(daemon.address().post(&format!("/streams/{name}"), b"one\n").status, 403, "{name}");
    }
    let response = daemon.unix().post("/streams/app", b"one\n");
    assert_eq!((response.status, response.header("allow")), (405, "GET, HEAD"));
    assert!(response.problem()["detail"].as_str().unwrap().contains("push: true"));
    assert_eq!(daemon.unix().post("/streams/none", b"one\n").status, 404);
    let zipped = Response::request(daemon.unix(), "POST", "/streams/in", &[("Content-Encoding", "gzip")], b"\x1f\x8b");
    assert_eq!(zipped.status, 415);
    assert_eq!(daemon.unix().post("/streams/in?from=x", b"one\n").status, 400);
    assert_eq!(daemon.unix().post("/streams/in?origin=", b"one\n").status, 400);
    let delete = Response::request(daemon.unix(), "DELETE", "/streams/in", &[], b"");
    assert_eq!((delete.status, delete.header("allow")), (405, "GET, HEAD, POST, PUT"));
    let foreign =
        Response::request(daemon.unix(), "PUT", "/streams/in", &[("Origin", "http://evil.example")], b"one\n");
    assert_eq!(foreign.status, 403);
    assert_eq!(daemon.unix().post("/streams/in/start", b"").status, 409, "it is no process");
    assert_eq!(lines(&daemon.follow("in").query("tail=all&follow=false").until_end()), Vec::<&str>::new());
}

#[test]
fn the_number_of_senders_is_limited() {
    let daemon = daemon();
    let mut senders: Vec<_> = (0..256).map(|_| sending(&daemon, "")).collect();
    for sender in &mut senders {
        chunk(sender, "one\n");
    }
    let mut count = 0;
    daemon.follow("in").query("tail=all").until("a line of each", |message| {
        count += usize::from(message.is_line());
        count == 256
    });
    assert_eq!(daemon.unix().post("/streams/in", b"one\n").status, 503);
    for sender in &mut senders {
        sender.write_all(b"0\r\n\r\n").unwrap();
    }
    for sender in senders {
        assert_eq!(answer(Response::read(Box::new(sender)).unwrap())["lines"], 1);
    }
    assert_eq!(answer(daemon.unix().post("/streams/in", b"one\n"))["lines"], 1);
}

#[test]
fn joined_lines_are_one_event_also_at_the_end_of_the_body() {
    let daemon = Daemon::start(&YAML.replace("push: true", "push: true, multiline: { continue: '^ ', timeout: 1h }"));
    let told = answer(daemon.unix().post("/streams/in", b"a\n b\n c\nd\n e\n"));
    assert_eq!(told["lines"], 2);
    let seen = daemon.follow("in").query("tail=2&limit=2&data=json").take(2);
    assert_eq!(seen.iter().map(|message| message.json()["text"].clone()).collect::<Vec<_>>(), ["a\n b\n c", "d\n e"]);
}

#[test]
fn acknowledged_lines_survive_a_kill_and_senders_learn_of_the_shutdown() {
    let kept = format!("state_directory: state\n{YAML}");
    let daemon = TestDir::new().start(&kept);
    let mut sender = sending(&daemon, "");
    chunk(&mut sender, "one\n");
    daemon.follow("in").query("tail=all").until("one", |message| message.data == "one");
    daemon.terminate();
    let response = Response::read(Box::new(sender)).unwrap();
    assert_eq!(response.status, 503);
    let detail = response.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("1 lines of it are in the stream"), "{detail}");
    let (_, dir) = daemon.ended_by(crate::harness::Deadline::new());
    let daemon = dir.start(&kept);
    assert_eq!(answer(daemon.unix().post("/streams/in", b"two\n"))["lines"], 1);
    let daemon = daemon.kill().start(&kept);
    let seen = daemon.follow("in").query("tail=all&follow=false").until_end();
    assert_eq!(lines(&seen), ["one", "two"]);
}
