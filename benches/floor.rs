//! The floor: an epoll server of one thread that sends ready bytes. No HTTP library, no ids, no history: what the kernel costs.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::getppid;

use crate::Outcome;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
/// What is kept of a live feed for readers that lag, in bytes; one that lags more is cut off.
const KEPT: usize = 1 << 20;
/// Read at once from the feed, in bytes: what a pipe holds.
const READ: usize = 64 << 10;
/// What becomes one chunk when a file is served, in bytes.
const CHUNK: usize = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Events taken at once.
const EVENTS: usize = 512;
/// How often it looks whether its parent is still there.
const LOOK: Duration = Duration::from_secs(1);
/// The tokens of the two that are no clients.
const LISTENER: u64 = u64::MAX;
const FEED: u64 = u64::MAX - 1;

/// The subcommand `floor live PACING_MS` (lines from standard input) or `floor file PATH`; prints its address first.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let mut floor = match arguments {
        [kind, pacing] if kind == "live" => Floor::new(Log::default(), Duration::from_millis(pacing.parse()?))?,
        [kind, path] if kind == "file" => Floor::new(Log::of_file(path)?, Duration::ZERO)?,
        _ => return Err("usage: floor live PACING_MS | floor file PATH".into()),
    };
    if !floor.log.ended {
        fcntl_setfl(io::stdin(), OFlags::NONBLOCK)?;
        epoll::add(&floor.epoll, io::stdin(), token(FEED), floor.feed_flags())?;
    }
    println!("http://{}", floor.listener.local_addr()?);
    floor.serve()
}

/// Ready bytes: whole chunks of whole messages, from `base` on.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    base: u64,
    /// The last line, while it has no newline.
    open: Vec<u8>,
    /// Nothing will follow, and a reader begins at the start.
    ended: bool,
}

impl Log {
    fn of_file(path: &str) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut log = Self { ended: true, ..Self::default() };
        let mut piece = vec![0; CHUNK];
        loop {
            match file.read(&mut piece)? {
                0 => break,
                length => log.append(&piece[..length]),
            }
        }
        log.bytes.extend_from_slice(b"0\r\n\r\n");
        Ok(log)
    }

    /// Makes one chunk of the lines that are complete.
    fn append(&mut self, text: &[u8]) {
        let mut body = Vec::with_capacity(text.len() / 8 * 9);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(line);
            if self.open.ends_with(b"\n") {
                body.extend_from_slice(b"data: ");
                body.append(&mut self.open);
                body.push(b'\n');
            }
        }
        if !body.is_empty() {
            write!(self.bytes, "{:x}\r\n", body.len()).expect("a Vec takes all");
            self.bytes.append(&mut body);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Forgets the older half once there is twice what is to be kept.
    fn trim(&mut self) {
        if self.bytes.len() > 2 * KEPT && !self.ended {
            let dropped = self.bytes.len() - KEPT;
            self.bytes.drain(..dropped);
            self.base += dropped as u64;
        }
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// What a reader at this place has not had; `None` if that is gone.
    fn after(&self, place: u64) -> Option<&[u8]> {
        self.bytes.get(usize::try_from(place.checked_sub(self.base)?).ok()?..)
    }
}

struct Client {
    socket: TcpStream,
    /// Where in the log it goes on; `None` before its request has come.
    place: Option<u64>,
    /// Its socket is full: wait for it to be writable.
    blocked: bool,
}

struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    log: Log,
    pacing: Duration,
    /// When the feed is looked at next, if not when it says so.
    due: Option<Instant>,
    buffer: Vec<u8>,
}

impl Floor {
    fn new(log: Log, pacing: Duration) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, token(LISTENER), epoll::EventFlags::IN)?;
        let (clients, free, buffer) = (Vec::new(), Vec::new(), vec![0; READ]);
        Ok(Self { epoll, listener, clients, free, log, pacing, due: None, buffer })
    }

    fn feed_flags(&self) -> epoll::EventFlags {
        if self.pacing.is_zero() { epoll::EventFlags::IN } else { epoll::EventFlags::IN | epoll::EventFlags::ONESHOT }
    }

    fn serve(&mut self) -> Outcome<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let parent = getppid();
        while getppid() == parent {
            let left = self.due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            let timeout = Timespec::try_from(left)?;
            rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)))?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    FEED => self.tick()?,
                    client => self.client(usize::try_from(client)?, event.flags),
                }
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.tick()?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Outcome<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            epoll::add(&self.epoll, &socket, token(index as u64), epoll::EventFlags::IN)?;
            self.clients[index] = Some(Client { socket, place: None, blocked: false });
        }
    }

    /// Takes what the feed has and gives it to all. With pacing, the next look is a tick after this one began; after one
    /// without news the feed has to speak first.
    fn tick(&mut self) -> Outcome<()> {
        let (start, before) = (Instant::now(), self.log.end());
        let ended = loop {
            match rustix::io::read(io::stdin(), &mut self.buffer) {
                Ok(0) => break true,
                Ok(length) => self.log.append(&self.buffer[..length]),
                Err(rustix::io::Errno::AGAIN) => break false,
                Err(rustix::io::Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        };
        let news = self.log.end() > before;
        if news {
            (0..self.clients.len()).for_each(|index| self.advance(index, false));
            self.log.trim();
        }
        self.due = (news && !ended && !self.pacing.is_zero()).then(|| start + self.pacing);
        if ended {
            epoll::delete(&self.epoll, io::stdin())?;
        } else if !news && !self.pacing.is_zero() {
            epoll::modify(&self.epoll, io::stdin(), token(FEED), self.feed_flags())?;
        }
        Ok(())
    }

    fn client(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if flags.contains(epoll::EventFlags::OUT) {
            self.advance(index, true);
            return;
        }
        let asked = match client.socket.read(&mut self.buffer) {
            Ok(0) => false,
            Ok(length) => self.buffer[..length].ends_with(b"\r\n\r\n"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => false,
        };
        if asked && client.place.is_none() && client.socket.write_all(HEAD).is_ok() {
            client.place = Some(if self.log.ended { 0 } else { self.log.end() });
            self.advance(index, false);
        } else {
            self.close(index);
        }
    }

    /// Sends one client what it has not had, as far as its socket takes it.
    fn advance(&mut self, index: usize, writable: bool) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if client.blocked && !writable {
            return;
        }
        let Some(place) = &mut client.place else { return };
        let alive = loop {
            match self.log.after(*place) {
                None => break false,
                Some([]) if self.log.ended => break false,
                Some([]) => break watch(&self.epoll, client, index, false),
                Some(rest) => match client.socket.write(rest) {
                    Ok(length) => *place += length as u64,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        break watch(&self.epoll, client, index, true);
                    }
                    Err(_) => break false,
                },
            }
        };
        if !alive {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        self.clients[index] = None;
        self.free.push(index);
    }
}

/// Waits, or no longer waits, for the client's socket to be writable; a system call only for a change.
fn watch(epoll: &OwnedFd, client: &mut Client, index: usize, blocked: bool) -> bool {
    if client.blocked == blocked {
        return true;
    }
    client.blocked = blocked;
    let writable = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    epoll::modify(epoll, &client.socket, token(index as u64), epoll::EventFlags::IN | writable).is_ok()
}

fn token(value: u64) -> epoll::EventData {
    epoll::EventData::new_u64(value)
}
