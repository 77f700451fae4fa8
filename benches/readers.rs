//! The load generator: any number of readers on one epoll, each verifying every line it gets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::Outcome;
use crate::decode::{Arrival, Decoder, Tally};
use crate::feeder;

/// So many readers connect, then wait for their heads: fewer than any server's accept queue holds.
const WAVE: usize = 200;
/// How long one wave may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Read at once from one connection, in bytes.
const READ: usize = 256 << 10;
/// Events taken at once.
const EVENTS: usize = 512;

/// Connected readers and what they have seen.
pub(crate) struct Readers {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    open: usize,
    with_head: usize,
    total: u64,
    timed: bool,
    /// The sum over all readers.
    pub(crate) tally: Tally,
    /// Why a connection ended early, the first one only.
    pub(crate) broken: Option<String>,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    decoder: Decoder,
}

impl Readers {
    /// Connects `count` readers that ask for `target`, compressed if `gzip`, and waits until each has the head of its
    /// answer. The whole stream has `total` lines; latency is taken if `timed`.
    pub(crate) fn connect(
        address: SocketAddr,
        target: &str,
        count: usize,
        total: u64,
        timed: bool,
        gzip: bool,
    ) -> Outcome<Self> {
        let mut readers = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            open: 0,
            with_head: 0,
            total,
            timed,
            tally: Tally::default(),
            broken: None,
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; READ],
        };
        let coding = if gzip { "Accept-Encoding: gzip\r\n" } else { "" };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{coding}\r\n");
        while readers.connections.len() < count {
            let wave = WAVE.min(count - readers.connections.len());
            for _ in 0..wave {
                readers.add(address, request.as_bytes())?;
            }
            let seated =
                readers.until(Instant::now() + CONNECT, |readers| readers.with_head == readers.connections.len())?;
            if !seated {
                let why = readers.broken.as_deref().unwrap_or("no answer in time");
                return Err(format!("{} of {count} readers were answered: {why}", readers.with_head).into());
            }
        }
        Ok(readers)
    }

    fn add(&mut self, address: SocketAddr, request: &[u8]) -> Outcome<()> {
        let mut socket = TcpStream::connect_timeout(&address, CONNECT)?;
        socket.set_nodelay(true)?;
        socket.write_all(request)?;
        socket.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(u64::try_from(self.connections.len())?);
        epoll::add(&self.epoll, &socket, token, epoll::EventFlags::IN)?;
        self.connections.push(Some(Connection { socket, decoder: Decoder::default() }));
        self.open += 1;
        Ok(())
    }

    /// Receives until `done`, or all connections have ended, or the time is over; returns whether it is done.
    pub(crate) fn until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Outcome<bool> {
        loop {
            if done(self) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.open == 0 {
                return Ok(false);
            }
            self.receive(left)?;
        }
    }

    /// Whether each reader has seen the last line.
    pub(crate) fn all_finished(&self) -> bool {
        self.tally.finished == self.connections.len()
    }

    /// How many readers have not seen the last line.
    pub(crate) fn unfinished(&self) -> usize {
        self.connections.len() - self.tally.finished
    }

    fn receive(&mut self, timeout: Duration) -> Outcome<()> {
        let timeout = Timespec::try_from(timeout)?;
        let mut events = std::mem::take(&mut self.events);
        rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)))?;
        for event in events.drain(..) {
            let index = usize::try_from(event.data.u64())?;
            if let Err(why) = self.read(index) {
                self.connections[index] = None; // closes it, which also takes it from the epoll
                self.open -= 1;
                self.broken = self.broken.take().or(why);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Reads once; `Err` when the connection is over, with the reason if it should not be.
    fn read(&mut self, index: usize) -> Result<(), Option<String>> {
        let Some(Connection { socket, decoder }) = &mut self.connections[index] else { return Ok(()) };
        let length = match socket.read(&mut self.buffer) {
            Ok(0) if decoder.may_end() => return Err(None),
            Ok(0) => return Err(Some(format!("closed after {} lines", decoder.next()))),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(Some(format!("after {} lines: {error}", decoder.next()))),
        };
        let now = if self.timed { feeder::now() } else { 0 };
        let had_head = decoder.has_head();
        let mut arrival = Arrival { now, total: self.total, tally: &mut self.tally };
        decoder.push(&self.buffer[..length], &mut arrival).map_err(Some)?;
        self.with_head += usize::from(!had_head && decoder.has_head());
        Ok(())
    }
}
