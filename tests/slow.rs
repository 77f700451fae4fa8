//! Peers that take what they are sent slowly, or not at all, or never come to their point: each is dropped in bounded memory, and others
//! are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::flood::{END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, frame, greeted, resident, survives};
use crate::harness::ws::{Channel, Frame, frame as message};
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};

const DATA: u8 = 0;
const ACK: u8 = 1;

/// A setting (RFC 9113, section 6.5.2): how much of each stream may be on its way.
const INITIAL_WINDOW: [u8; 2] = [0, 4];

fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.start("limits: { stalled_write: 1s, keep_alive: 1s }\nstreams: { app: { file: app.log, from: start } }")
}

#[test]
fn a_reader_that_takes_nothing_is_dropped() {
    let daemon = daemon();
    let before = resident(&daemon);
    let mut stuck = TcpStream::connect(daemon.address().tcp()).unwrap();
    stuck.write_all(b"GET /streams/app?tail=all HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    daemon.until_readers("app", 1);
    // The socket takes some megabytes; then the client pauses for a second.
    let piece = format!("{:01000}\n", 0).repeat(1000);
    let mut written = 0;
    while written < 80 << 20 {
        daemon.write("app.log", &piece);
        written += piece.len();
    }
    daemon.until_readers("app", 0);
    // Reading all of it may take long on a busy machine, but the lag must shrink.
    let lag = || daemon.state("app")["source"]["lag"].as_u64();
    while let Some(before) = lag() {
        Deadline::new().until("that more of it is read", || lag().is_none_or(|lag| lag < before).then_some(()));
    }
    let grown = resident(&daemon) - before;
    assert!(grown < 40 << 20, "{grown} of {written} bytes");
    drop(stuck);
}

/// `GET` of a path in HTTP/2, compressed as HPACK has it (RFC 7541): indexed names, literal values.
fn head(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    [&[0x82, 0x86, 0x04, length][..], path.as_bytes(), b"\x41\x09localhost"].concat()
}

/// The next frame: its kind, its stream and its payload; `None` at the end of the connection.
fn next(socket: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    socket.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

#[test]
fn a_reader_that_opens_no_window_is_dropped_even_if_it_answers_pings() {
    let daemon = daemon();
    // A hundred copies of it would be more than the daemon may hold.
    daemon.write("app.log", format!("{:01000}\n", 0).repeat(1000));
    let before = resident(&daemon);
    let mut socket = greeted(&daemon);
    let nothing = [&INITIAL_WINDOW[..], &0u32.to_be_bytes()].concat();
    socket.write_all(&frame(SETTINGS, 0, 0, &nothing)).unwrap();
    // A hundred at once are the most that one connection may have.
    for stream in 0..100 {
        let head = head("/streams/app?tail=all");
        socket.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * stream + 1, &head)).unwrap();
    }
    let (mut answered, mut alive) = (0, 0);
    while let Some((kind, flags, stream, payload)) = next(&mut socket) {
        match kind {
            HEADERS => answered += 1,
            DATA => panic!("{} bytes for {stream}, which has no window", payload.len()),
            // The connection may be gone already.
            PING if flags & ACK == 0 => {
                alive += 1;
                drop(socket.write_all(&frame(PING, ACK, 0, &payload)));
            }
            _ => {}
        }
    }
    assert_eq!(answered, 100, "{alive} pings");
    daemon.until_readers("app", 0);
    survives(&daemon, before);
}

#[test]
fn a_reader_of_a_quiet_stream_stays_connected() {
    let daemon = daemon();
    let mut socket = greeted(&daemon);
    socket.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head("/streams/app?tail=0"))).unwrap();
    let mut pings = 0;
    // Longer than one that takes nothing would have: each ping is a second after the other.
    while pings < 3 {
        let (kind, flags, _, payload) = next(&mut socket).expect("it is dropped");
        if kind == PING && flags & ACK == 0 {
            pings += 1;
            socket.write_all(&frame(PING, ACK, 0, &payload)).unwrap();
        }
    }
    daemon.write("app.log", "two\n");
    let mut seen = String::new();
    while !seen.contains("data: two") {
        let (kind, _, _, payload) = next(&mut socket).expect("it is dropped");
        if kind == DATA {
            seen += &String::from_utf8(payload).unwrap();
        }
    }
}

#[test]
fn an_endless_message_is_cut_off() {
    let daemon = daemon();
    let before = resident(&daemon);
    let mut channel = Channel::open(daemon.address());
    channel.send_raw(&message(0x01, b"[")).unwrap();
    let piece = message(0x00, &[b' '; 1000]);
    // The connection may be cut off while the client sends.
    let sent = (0..64_000).take_while(|_| channel.send_raw(&piece).is_ok()).count();
    match channel.frame(Deadline::new()) {
        Frame::Close(Some((code, _))) => assert_eq!(code, 1009),
        // Unread bytes make the end a reset, which may overtake the close.
        Frame::End => assert!(sent < 64_000),
        other => panic!("{other:?}"),
    }
    survives(&daemon, before);
}

#[test]
fn endless_pings_and_empty_fragments_use_no_memory() {
    let daemon = daemon();
    let before = resident(&daemon);
    for piece in [message(0x89, &[b'x'; 125]), message(0x00, b"")] {
        let mut channel = Channel::open(daemon.address());
        channel.send_raw(&message(0x01, b"[")).unwrap();
        let pieces = piece.repeat(1000);
        // The client reads nothing, for which it may be cut off.
        let _sent = (0..1000).take_while(|_| channel.send_raw(&pieces).is_ok()).count();
    }
    survives(&daemon, before);
}

#[test]
fn a_silent_http_2_connection_is_pinged_and_dropped() {
    let daemon = daemon();
    let mut socket = greeted(&daemon);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut asked = false;
    while let Some((kind, ..)) = next(&mut socket) {
        asked |= kind == PING;
    }
    assert!(asked);
}
