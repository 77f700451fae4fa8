//! Floods by HTTP/2, headers and bodies: each is cut off in bounded memory, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};

/// How much one flood may add to the daemon's memory at its peak, in bytes. Each flood would send several times as much, if the
/// daemon took all of it.
const BOUND: u64 = 16 << 20;

/// The head of `GET /health/live`, compressed as HPACK has it (RFC 7541): indexed names, one literal.
const HEAD: &[u8] = b"\x82\x86\x84\x41\x09localhost";

pub(crate) const HEADERS: u8 = 1;
const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.start("limits: { head: 2s, body: 2s, stalled_write: 2s }\nstreams: { app: { file: app.log, from: start } }")
}

/// A connection that has begun to speak HTTP/2.
pub(crate) fn greeted(daemon: &Daemon) -> TcpStream {
    let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    socket
}

/// A field with one of the names of HPACK's static table (RFC 7541, section 6.2.2), not kept.
fn field(name: u8, value: &str) -> Vec<u8> {
    let number = |prefix: u8, number: usize| match u8::try_from(number) {
        Ok(small) if small < prefix => vec![small],
        _ => {
            let rest = number - usize::from(prefix);
            assert!(rest < 1 << 14);
            let (low, high) = (u8::try_from(rest & 0x7f).unwrap(), u8::try_from(rest >> 7).unwrap());
            vec![prefix, 0x80 | low, high]
        }
    };
    [number(15, usize::from(name)), number(127, value.len()), value.as_bytes().to_vec()].concat()
}

/// A connection that speaks HTTP/2 as a client has to: it answers pings, and hears when the other side wants to end.
pub(crate) struct H2 {
    socket: TcpStream,
    /// GOAWAY came.
    ends: bool,
}

impl H2 {
    pub(crate) fn open(daemon: &Daemon) -> Self {
        Self { socket: greeted(daemon), ends: false }
    }

    /// The kind, the flags and the payload of the next frame; `None` at the end of the connection.
    fn frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        match self.socket.read(&mut head[..1]) {
            Ok(1..) => {}
            Ok(0) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no frame: {error}"),
        }
        self.socket.read_exact(&mut head[1..]).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.socket.read_exact(&mut payload).unwrap();
        let (kind, flags) = (head[3], head[4]);
        if kind == PING && flags & ACK == 0 {
            // The connection may be gone already.
            drop(self.socket.write_all(&frame(PING, ACK, 0, &payload)));
        }
        self.ends |= kind == GOAWAY;
        Some((kind, flags, payload))
    }

    /// Asks so many times at once for `path` with a token; gives back how many were answered by 200 and how many otherwise.
    pub(crate) fn statuses(&mut self, path: &str, bearer: &str, count: u32) -> (usize, usize) {
        let head = [&b"\x82\x86"[..], &field(4, path), &field(1, "localhost"), &field(23, bearer)].concat();
        for at in 0..count {
            self.socket.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &head)).unwrap();
        }
        let (mut good, mut other) = (0, 0);
        while good + other < count as usize {
            match self.frame().expect("it ended before it answered") {
                // `:status: 200` is one byte.
                (HEADERS, _, payload) if payload.first() == Some(&0x88) => good += 1,
                (HEADERS, ..) => other += 1,
                _ => {}
            }
        }
        (good, other)
    }

    /// Waits until the other side announces its end, and then ends.
    pub(crate) fn assert_ends(mut self) {
        while self.frame().is_some() {}
        assert!(self.ends, "it ended without a word");
    }

    /// Checks that the other side serves.
    pub(crate) fn assert_stays(&mut self) {
        self.socket.write_all(&frame(PING, 0, 0, b"12345678")).unwrap();
        while self.frame().is_some_and(|(kind, flags, _)| kind != PING || flags & ACK == 0) {}
        assert!(!self.ends, "it wants to end");
    }
}

/// Sends these again and again, until the other side has enough; gives back whether it had within `most` times.
fn is_stopped(mut socket: TcpStream, most: u32, mut frames: impl FnMut(u32) -> Vec<u8>) -> bool {
    let mut reader = socket.try_clone().unwrap();
    // Replies are read, so that the server does not wait for its client.
    let heard = std::thread::spawn(move || {
        let mut chunk = [0; 16 << 10];
        while let Ok(1..) = reader.read(&mut chunk) {}
    });
    let stopped = (0..most).any(|at| socket.write_all(&frames(at)).is_err());
    drop(socket.shutdown(std::net::Shutdown::Both));
    heard.join().unwrap();
    stopped
}

/// The most memory that the daemon ever held, in bytes.
pub(crate) fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Asserts that the daemon serves, and that its memory never grew by more than `bound` since its peak was `before`.
pub(crate) fn survives_within(bound: u64, daemon: &Daemon, before: u64) {
    assert_eq!(daemon.follow("app").query("tail=all").take(1)[0].data, "one");
    let grown = resident(daemon) - before;
    assert!(grown < bound, "the memory grew by {grown} bytes");
}

/// The same, with the bound of one flood.
pub(crate) fn survives(daemon: &Daemon, before: u64) {
    survives_within(BOUND, daemon, before);
}

/// The number of files and sockets that the daemon has open.
fn open_files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

#[test]
fn rapid_resets_end_the_connection() {
    let daemon = daemon();
    let before = resident(&daemon);
    let stopped = is_stopped(greeted(&daemon), 2_000_000, |at| {
        let stream = 2 * at + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, HEAD), frame(RESET, 0, stream, &8u32.to_be_bytes())].concat()
    });
    assert!(stopped, "it takes resets for ever (CVE-2023-44487)");
    survives(&daemon, before);
}

#[test]
fn endless_continuation_frames_end_the_connection() {
    let daemon = daemon();
    let before = resident(&daemon);
    let mut socket = greeted(&daemon);
    socket.write_all(&frame(HEADERS, END_STREAM, 1, HEAD)).unwrap();
    // A literal that is not kept, with a name of its own: `a: ` and 8000 letters.
    let field = [&b"\x00\x01a\x7f\xc1\x3d"[..], &[b'x'; 8000]].concat();
    assert!(
        is_stopped(socket, 20_000, |_| frame(CONTINUATION, 0, 1, &field)),
        "it takes headers for ever (CVE-2024-27983)"
    );
    survives(&daemon, before);
}

#[test]
fn a_header_that_decompresses_to_a_large_one_is_refused() {
    let daemon = daemon();
    let before = resident(&daemon);
    // One field of 3000 letters is kept in the table (RFC 7541, section 6.2.1), then named by one byte, thousands of times.
    let kept = [&b"\x40\x01a\x7f\xb9\x16"[..], &[b'x'; 3000]].concat();
    let bomb = [HEAD, &kept, &[0xbe; 12_000]].concat();
    // It may refuse each and go on, or end the connection; whole, they would be 36 MB each.
    is_stopped(greeted(&daemon), 5000, |at| frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &bomb));
    survives(&daemon, before);
}

#[test]
fn pings_and_settings_whose_replies_are_not_read_end_the_connection() {
    let daemon = daemon();
    let before = resident(&daemon);
    let mut socket = greeted(&daemon);
    let frames = [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])].concat().repeat(1000);
    let stopped = (0..4000).any(|_| socket.write_all(&frames).is_err());
    assert!(stopped, "it answers for ever (CVE-2019-9512, CVE-2019-9515)");
    survives(&daemon, before);
}

#[test]
fn a_gigabyte_of_body_is_refused_at_once() {
    let daemon = daemon();
    let before = resident(&daemon);
    for head in ["POST /streams/app/input", "GET /streams"] {
        let mut socket = TcpStream::connect(daemon.address().tcp()).unwrap();
        let head = format!("{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", 1u64 << 30);
        socket.write_all(head.as_bytes()).unwrap();
        let piece = vec![b'x'; 1 << 20];
        assert!(is_stopped(socket, 1024, |_| piece.clone()), "{head}");
    }
    survives(&daemon, before);
}

/// Connections of a storm; 50,000 take minutes, most of them until the ports of this side are free again.
const STORM: u32 = 2000;

#[test]
fn a_burst_of_connections_leaves_no_memory_or_files_in_use() {
    let daemon = daemon();
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
    let (before, open) = (resident(&daemon), open_files(&daemon));
    let address = daemon.address().tcp();
    let mut met = 0;
    for at in 0..STORM {
        let Ok(mut socket) = TcpStream::connect(address) else { continue };
        met += 1;
        match at % 3 {
            0 => drop(socket.write_all(b"GET / HTTP/1.1\r\n")),
            1 => drop(socket.write_all(&[0x16, 3, 1])),
            _ => {}
        }
    }
    assert!(met > STORM / 2, "{met}");
    Deadline::new().until("the end of all connections", || (open_files(&daemon) <= open).then_some(()));
    // However many of them were open at once, each cost less than 16 KiB.
    survives_within(u64::from(STORM) * (16 << 10), &daemon, before);
}
