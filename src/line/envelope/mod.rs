//! The envelopes in which container runtimes wrap each line of a program: the text inside, its stream and its time.
//!
//! Two forms exist: that of the Container Runtime Interface (CRI), `TIME STREAM TAGS TEXT`, which containerd and CRI-O
//! write, and that of Docker's `json-file` driver, `{"log":"TEXT\n","stream":"STREAM","time":"TIME"}`. Both cut long
//! lines into pieces of 16 KiB. A line that is no envelope is plain text.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::event::Time;

/// The longest envelope, in bytes: a piece of 16 KiB takes 96 KiB if each byte is escaped as `\u0000`, and labels come
/// in addition. A longer line is plain text.
pub const MAX_ENVELOPE_SIZE: usize = 1 << 20;

/// The maximum capacity kept for the next unfinished envelope, in bytes: one piece of a runtime, with its escapes.
const MAX_KEPT_CAPACITY: usize = 128 << 10;

/// The byte order mark that some programs write at the start of a file.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// The form of the envelopes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeFormat {
    /// `TIME STREAM TAGS TEXT`.
    Cri,
    /// `{"log":"TEXT\n","stream":"STREAM","time":"TIME"}`.
    Docker,
}

/// The stream of a program that a piece of text was written to. The pieces of each are joined separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeStream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
    /// An envelope that names no stream or another one.
    Unnamed,
    /// Text that is in no envelope.
    Plain,
}

impl EnvelopeStream {
    /// The number of streams.
    pub const COUNT: usize = 4;

    /// All streams, each at its [`index`](Self::index).
    pub const ALL: [Self; Self::COUNT] = [Self::Stdout, Self::Stderr, Self::Unnamed, Self::Plain];

    /// The number of the stream, below [`COUNT`](Self::COUNT). Checkpoints contain it, so it must not change.
    pub fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
            Self::Unnamed => 2,
            Self::Plain => 3,
        }
    }

    /// The name of a standard stream.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Stdout => Some("stdout"),
            Self::Stderr => Some("stderr"),
            Self::Unnamed | Self::Plain => None,
        }
    }
}

/// The content of one envelope, or a piece of plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The stream that the program wrote to.
    pub stream: EnvelopeStream,
    /// The time at which the runtime read the text; `None` for plain text.
    pub logged: Option<Time>,
    /// The text that the program wrote.
    pub text: Cow<'a, [u8]>,
    /// A newline follows, which is not part of `text`.
    pub newline: bool,
}

impl<'a> Envelope<'a> {
    /// Parses one line without its newline; `None` if it is no envelope.
    pub fn parse(format: EnvelopeFormat, line: &'a [u8]) -> Option<Self> {
        match format {
            EnvelopeFormat::Cri => Self::parse_cri(line),
            EnvelopeFormat::Docker => Self::parse_docker(line),
        }
    }

    /// Parses `TIME STREAM TAGS TEXT`. Tags are separated by colons; the first is `P` if the line continues in the next
    /// envelope of its stream, and `F` if not.
    fn parse_cri(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let logged = parse_time(parts.next()?)?;
        let stream = match parts.next()? {
            b"stdout" => EnvelopeStream::Stdout,
            b"stderr" => EnvelopeStream::Stderr,
            _ => return None,
        };
        let newline = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        let text = Cow::Borrowed(parts.next().unwrap_or_default());
        Some(Self { stream, logged: Some(logged), text, newline })
    }

    /// Parses a JSON object with a `log` and a `time`. The newline at the end of a `log` is part of its text.
    fn parse_docker(line: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Record {
            log: JsonBytes,
            stream: Option<JsonBytes>,
            time: JsonBytes,
        }
        // An array of three texts would be read as the members in their order.
        if !line.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let Record { log, stream, time } = serde_json::from_slice(line).ok()?;
        let stream = match stream.as_ref().map(|stream| &*stream.0) {
            Some(b"stdout") => EnvelopeStream::Stdout,
            Some(b"stderr") => EnvelopeStream::Stderr,
            Some(_) | None => EnvelopeStream::Unnamed,
        };
        Some(Self { stream, logged: Some(parse_time(&time.0)?), text: Cow::Owned(log.0), newline: false })
    }
}

/// Parses a time of RFC 3339 with its zone. Digits below a microsecond are dropped.
fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Time(time.as_microsecond()))
}

/// The bytes of a JSON string. Unlike in a `String`, half of a surrogate pair is no error: it becomes three bytes that
/// are not UTF-8 (WTF-8), so that the rest of the line is not lost.
struct JsonBytes(Vec<u8>);

impl<'de> Deserialize<'de> for JsonBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = JsonBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<JsonBytes, E> {
                Ok(JsonBytes(bytes.to_vec()))
            }
        }
        from.deserialize_bytes(BytesVisitor)
    }
}

/// Splits the bytes of a file into envelopes. Holds the unfinished envelope at the end, which is at most
/// [`MAX_ENVELOPE_SIZE`].
#[derive(Debug)]
pub struct EnvelopeSplitter {
    format: EnvelopeFormat,
    /// The unfinished envelope; empty if it is `too_long`.
    text: Vec<u8>,
    /// The unfinished line is too long for an envelope, and was passed on as plain text.
    too_long: bool,
    /// The next line is the first of its file.
    at_file_start: bool,
    /// The number of bytes that were received, and the offset at which the unfinished line begins.
    received: u64,
    line_start: u64,
}

impl EnvelopeSplitter {
    /// Creates a splitter for the start of a file.
    pub fn new(format: EnvelopeFormat) -> Self {
        Self { format, text: Vec::new(), too_long: false, at_file_start: true, received: 0, line_start: 0 }
    }

    /// Passes each envelope that `chunk` completes to `sink`, with the offset at which its line begins. A line that is
    /// no envelope is passed as plain text; if it is too long, in pieces.
    pub fn push(&mut self, mut chunk: &[u8], mut sink: impl FnMut(u64, Envelope<'_>)) {
        while let Some(at) = memchr(b'\n', chunk) {
            let line = &chunk[..at];
            self.received += at as u64 + 1;
            chunk = &chunk[at + 1..];
            if self.text.is_empty() && !self.too_long {
                self.end_line(line, &mut sink);
            } else {
                let mut text = std::mem::take(&mut self.text);
                text.extend_from_slice(line);
                self.end_line(&text, &mut sink);
                text.clear();
                text.shrink_to(MAX_KEPT_CAPACITY);
                self.text = text;
            }
        }
        self.received += chunk.len() as u64;
        self.text.extend_from_slice(chunk);
        if self.too_long || self.text.len() > MAX_ENVELOPE_SIZE {
            self.too_long = true;
            self.pass_plain(&mut sink);
        }
    }

    /// Passes on the unfinished line at the end of a file: nothing follows it there. The next byte begins another file.
    pub fn finish(&mut self, mut sink: impl FnMut(u64, Envelope<'_>)) {
        let text = std::mem::take(&mut self.text);
        let line = self.without_byte_order_mark(&text);
        if !line.is_empty() {
            // The end of an object is certain; only the newline behind it is missing.
            let is_object = self.format == EnvelopeFormat::Docker;
            let whole = is_object.then(|| Envelope::parse(self.format, line)).flatten();
            sink(self.line_start, whole.unwrap_or_else(|| plain(line, false)));
        }
        (self.line_start, self.too_long, self.at_file_start) = (self.received, false, true);
    }

    /// The number of bytes that were received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The offset at which the unfinished line begins: everything before it was passed on.
    pub fn line_start(&self) -> u64 {
        self.line_start
    }

    fn end_line(&mut self, line: &[u8], sink: &mut impl FnMut(u64, Envelope<'_>)) {
        let line = self.without_byte_order_mark(line);
        let fits = !self.too_long && line.len() <= MAX_ENVELOPE_SIZE;
        let envelope = fits.then(|| Envelope::parse(self.format, line)).flatten();
        sink(self.line_start, envelope.unwrap_or_else(|| plain(line, true)));
        (self.line_start, self.too_long) = (self.received, false);
    }

    /// The line without the mark at the start of a file.
    fn without_byte_order_mark<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        let is_first = std::mem::replace(&mut self.at_file_start, false);
        line.strip_prefix(BYTE_ORDER_MARK).filter(|_| is_first).unwrap_or(line)
    }

    /// Passes on what was received of a line that is too long.
    fn pass_plain(&mut self, sink: &mut impl FnMut(u64, Envelope<'_>)) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            sink(self.line_start, plain(&text, false));
        }
        self.at_file_start = false;
    }
}

fn plain(text: &[u8], newline: bool) -> Envelope<'_> {
    Envelope { stream: EnvelopeStream::Plain, logged: None, text: Cow::Borrowed(text), newline }
}

#[cfg(test)]
mod tests;
