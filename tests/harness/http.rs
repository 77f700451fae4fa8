//! An HTTP/1.1 client (RFC 9112) with only what the tests need, and nothing hidden.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::{Deadline, PATIENCE};

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// A TCP address to which the connection comes from another address of this machine, as the connection of a proxy
    /// does.
    TcpFrom(Ipv4Addr, SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Parses an address as the daemon reports it: `http://127.0.0.1:7070` or `unix:/path`. Connections on this machine
    /// may omit TLS.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self::Unix(path.into()));
        }
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        Some(Self::Tcp(rest.split('/').next()?.parse().ok()?))
    }

    /// The value of the `Host` header.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Tcp(address) | Self::TcpFrom(_, address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// The reply to a POST.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Response {
        Response::request(self, "POST", path, &[], body)
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) | Self::TcpFrom(_, address) => *address,
            Self::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    pub(crate) fn connect(&self) -> Box<dyn Socket> {
        match self {
            Self::Tcp(address) => Box::new(TcpStream::connect_timeout(address, PATIENCE).unwrap()),
            Self::TcpFrom(source, address) => Box::new(connect_from(*source, *address)),
            Self::Unix(path) => Box::new(UnixStream::connect(path).unwrap()),
        }
    }
}

fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    socket.into()
}

/// A connection whose reads have a deadline.
pub(crate) trait Socket: Read + Write + Send {
    fn patience(&self, patience: Duration);
}

impl Socket for TcpStream {
    fn patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(patience)).unwrap();
    }
}

impl Socket for UnixStream {
    fn patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
        self.set_write_timeout(Some(patience)).unwrap();
    }
}

/// A response whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

impl Response {
    pub(crate) fn get(address: &Address, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::request(address, "GET", path, headers, b"")
    }

    pub(crate) fn request(address: &Address, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", address.host());
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        Self::of(address, &[(head + "\r\n").as_bytes(), body].concat())
    }

    /// The response to these bytes.
    pub(crate) fn of(address: &Address, request: &[u8]) -> Self {
        let mut socket = address.connect();
        socket.patience(PATIENCE);
        socket.write_all(request).unwrap();
        Self::read(socket).unwrap_or_else(|error| panic!("no answer to {}: {error}", String::from_utf8_lossy(request)))
    }

    /// Reads the head of a response.
    pub(crate) fn read(socket: Box<dyn Socket>) -> io::Result<Self> {
        let mut socket = BufReader::with_capacity(64 << 10, socket);
        let first = line(&mut socket)?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = line(&mut socket)?;
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "", "not a header");
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = header(&headers, "content-length").map(|text| text.parse().unwrap());
        let left = match (header(&headers, "transfer-encoding"), length) {
            // RFC 9112, section 6.3.
            _ if matches!(status, 204 | 304) || status < 200 => Left::Length(0),
            (Some(coding), _) => {
                assert_eq!(coding, "chunked");
                Left::Chunk(0)
            }
            (None, Some(length)) => Left::Length(length),
            (None, None) => Left::Close,
        };
        Ok(Self { status, headers, body: Body { socket, left, first: true } })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.headers, name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// The members of a problem (RFC 9457).
    pub(crate) fn problem(self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let status = self.status;
        let problem: serde_json::Value = serde_json::from_slice(&self.body.all()).unwrap();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn line(socket: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    socket.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("cut behind {line:?}"))),
    }
}

/// A body that is read as it comes.
pub(crate) struct Body {
    socket: BufReader<Box<dyn Socket>>,
    left: Left,
    first: bool,
}

/// The part of the body that has not been read yet.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// The current chunk has this many bytes left.
    Chunk(usize),
    Length(usize),
    /// All bytes up to the end of the connection belong to the body.
    Close,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Body {
    /// The connection, once it no longer carries HTTP.
    pub(crate) fn into_socket(self) -> BufReader<Box<dyn Socket>> {
        self.socket
    }

    /// The next bytes; `None` at the proper end of the body. A connection that was cut is an error, and so is an
    /// expired deadline.
    pub(crate) fn some(&mut self, deadline: Deadline) -> io::Result<Option<Vec<u8>>> {
        let left = deadline.left().ok_or(io::ErrorKind::TimedOut)?;
        self.socket.get_ref().patience(left);
        if matches!(self.left, Left::Chunk(0)) {
            if !std::mem::take(&mut self.first) {
                assert_eq!(line(&mut self.socket)?, "", "behind a chunk");
            }
            let size = line(&mut self.socket)?;
            let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("not a chunk's size: {size:?}"));
            if size == 0 {
                assert_eq!(line(&mut self.socket)?, "", "behind the last chunk");
                self.left = Left::Length(0);
            } else {
                self.left = Left::Chunk(size);
            }
        }
        if matches!(self.left, Left::Length(0)) {
            return Ok(None);
        }
        let there = self.socket.fill_buf()?;
        let count = match &mut self.left {
            Left::Chunk(left) | Left::Length(left) => {
                let count = there.len().min(*left);
                *left -= count;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                count
            }
            Left::Close if there.is_empty() => {
                self.left = Left::Length(0);
                return Ok(None);
            }
            Left::Close => there.len(),
        };
        let some = there[..count].to_vec();
        self.socket.consume(count);
        Ok(Some(some))
    }

    /// The rest of the body, up to its proper end.
    pub(crate) fn all(mut self) -> Vec<u8> {
        let deadline = Deadline::new();
        let mut all = Vec::new();
        loop {
            match self.some(deadline) {
                Ok(Some(some)) => all.extend(some),
                Ok(None) => return all,
                Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&all)),
            }
        }
    }
}
