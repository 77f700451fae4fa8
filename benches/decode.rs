//! From the bytes of one connection to verified lines: HTTP/1.1 framing, then Server-Sent Events, then our numbered lines.
//!
//! Takes bytes cut anywhere; knows no socket and no clock.

use flate2::{Decompress, FlushDecompress};
use memchr::memchr;

use crate::feeder;
use crate::report::Histogram;

/// Longest line of a head, a chunk size or an event stream, in bytes; ours are far shorter, so more is a broken stream.
const MAX_LINE: usize = 64 << 10;

/// What all connections of one run have received.
#[derive(Default)]
pub(crate) struct Tally {
    /// Lines that came in order, once.
    pub(crate) lines: u64,
    /// Numbers that were jumped over.
    pub(crate) lost: u64,
    /// Lines that came again.
    pub(crate) doubled: u64,
    /// `gap` and `loss` events: losses that were told.
    pub(crate) gaps: u64,
    /// Messages that are not our lines.
    pub(crate) strange: u64,
    /// Comment lines: keep-alives.
    pub(crate) comments: u64,
    /// Connections that have seen the last line.
    pub(crate) finished: usize,
    /// The size of all bodies as they came, in bytes.
    pub(crate) body_bytes: u64,
    /// From the time stamp in a line to its arrival, in nanoseconds.
    pub(crate) latency: Histogram,
}

/// One arrival of bytes: when it was, and what it is held against.
pub(crate) struct Arrival<'a> {
    /// Nanoseconds since 1970; zero if latency is not of interest.
    pub(crate) now: u64,
    /// How many lines make the whole stream.
    pub(crate) total: u64,
    /// Where to count.
    pub(crate) tally: &'a mut Tally,
}

/// Everything kept for one connection between two arrivals.
#[derive(Default)]
pub(crate) struct Decoder {
    framing: Framing,
    gzip: Option<Gzip>,
    events: Events,
}

impl Decoder {
    /// Takes what has arrived; fails with a description of what is wrong in the framing.
    pub(crate) fn push(&mut self, mut bytes: &[u8], arrival: &mut Arrival<'_>) -> Result<(), String> {
        while let Some(body) = self.framing.body(&mut bytes)? {
            arrival.tally.body_bytes += body.len() as u64;
            if self.framing.is_gzip {
                self.gzip.get_or_insert_default().push(body, |text| self.events.push(text, arrival))?;
            } else {
                self.events.push(body, arrival)?;
            }
        }
        Ok(())
    }

    /// Whether the whole head of the response has arrived.
    pub(crate) fn has_head(&self) -> bool {
        !matches!(self.framing.step, Step::Status | Step::Header)
    }

    /// Whether the body has come to its proper end; one without chunks may end anywhere.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.framing.step, Step::Done | Step::Plain)
    }

    /// How many lines have arrived or are known to be lost.
    pub(crate) fn next(&self) -> u64 {
        self.events.next
    }
}

/// The size of the header that the server sends before the compressed blocks, in bytes: it has no optional field.
const GZIP_HEADER: usize = 10;
/// Decompressed at once, in bytes.
const DECOMPRESSED: usize = 32 << 10;

/// Decompresses the body of one connection.
struct Gzip {
    header_left: usize,
    state: Decompress,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { header_left: GZIP_HEADER, state: Decompress::new(false) }
    }
}

impl Gzip {
    fn push(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        self.header_left -= take(&mut bytes, self.header_left).len();
        let mut text = Vec::with_capacity(DECOMPRESSED);
        loop {
            let before = self.state.total_in();
            let result = self.state.decompress_vec(bytes, &mut text, FlushDecompress::Sync);
            let status = result.map_err(|error| format!("not compressed as it should be: {error}"))?;
            let taken = usize::try_from(self.state.total_in() - before).expect("a part of what was given");
            bytes = &bytes[taken..];
            sink(&text)?;
            // The checksum behind the last block is left alone: every line is verified.
            if (bytes.is_empty() && text.len() < text.capacity()) || status == flate2::Status::StreamEnd {
                return Ok(());
            }
            text.clear();
        }
    }
}

/// Where in a response the next byte belongs.
#[derive(Default, Clone, Copy)]
enum Step {
    #[default]
    Status,
    Header,
    Plain,
    Size,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Done,
}

/// Takes the head and the chunk sizes out of a response.
#[derive(Default)]
pub(crate) struct Framing {
    step: Step,
    chunked: bool,
    is_gzip: bool,
    kept: Vec<u8>,
}

impl Framing {
    /// The next piece of the body, taken off the front of `bytes`; `None` when these are used up.
    pub(crate) fn body<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, String> {
        while !bytes.is_empty() {
            match self.step {
                Step::Plain => return Ok(Some(take(bytes, usize::MAX))),
                Step::Chunk(left) => {
                    let piece = take(bytes, left);
                    self.step = if piece.len() == left { Step::ChunkEnd } else { Step::Chunk(left - piece.len()) };
                    return Ok(Some(piece));
                }
                Step::Done => return Err(format!("{} bytes after the end", bytes.len())),
                Step::Status | Step::Header | Step::Size | Step::ChunkEnd | Step::Trailer => {
                    if keep_line(&mut self.kept, bytes)? {
                        let line = std::mem::take(&mut self.kept);
                        self.step = self.after_line(line.strip_suffix(b"\r").unwrap_or(&line))?;
                    }
                }
            }
        }
        Ok(None)
    }

    fn after_line(&mut self, line: &[u8]) -> Result<Step, String> {
        let text = String::from_utf8_lossy(line).to_ascii_lowercase();
        match self.step {
            Step::Status if text.starts_with("http/1.1 200") => Ok(Step::Header),
            Step::Header if text.is_empty() => Ok(if self.chunked { Step::Size } else { Step::Plain }),
            Step::Header => {
                self.chunked |= text.starts_with("transfer-encoding:") && text.ends_with("chunked");
                self.is_gzip |= text.starts_with("content-encoding:") && text.ends_with("gzip");
                Ok(Step::Header)
            }
            Step::Size => match usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16) {
                Ok(0) => Ok(Step::Trailer),
                Ok(size) => Ok(Step::Chunk(size)),
                Err(_) => Err(format!("not a chunk size: {text:?}")),
            },
            Step::ChunkEnd if text.is_empty() => Ok(Step::Size),
            Step::Trailer => Ok(if text.is_empty() { Step::Done } else { Step::Trailer }),
            Step::Status | Step::ChunkEnd | Step::Plain | Step::Chunk(_) | Step::Done => {
                Err(format!("not expected here: {text:?}"))
            }
        }
    }
}

/// Event stream to numbered lines, as far as our verification needs it.
#[derive(Default)]
struct Events {
    kept: Vec<u8>,
    named: bool,
    data: Option<Result<feeder::Line, ()>>,
    next: u64,
}

impl Events {
    fn push(&mut self, mut bytes: &[u8], arrival: &mut Arrival<'_>) -> Result<(), String> {
        if !self.kept.is_empty() {
            let mut line = std::mem::take(&mut self.kept);
            let complete = keep_line(&mut line, &mut bytes)?;
            if complete {
                self.line(&line, arrival);
                line.clear();
            }
            self.kept = line;
        }
        while let Some(end) = memchr(b'\n', bytes) {
            self.line(&bytes[..end], arrival);
            bytes = &bytes[end + 1..];
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    fn line(&mut self, line: &[u8], arrival: &mut Arrival<'_>) {
        match line {
            [] => self.dispatch(arrival),
            [b'd', b'a', b't', b'a', b':', b' ', text @ ..] => {
                let second = self.data.is_some();
                self.data = Some(if second { Err(()) } else { feeder::Line::read(text).ok_or(()) });
            }
            [b'e', b'v', b'e', b'n', b't', b':', name @ ..] => {
                self.named = true;
                arrival.tally.gaps += u64::from(matches!(name.trim_ascii(), b"gap" | b"loss"));
            }
            [b':', ..] => arrival.tally.comments += 1,
            _ => (), // `id:` and `retry:` are not ours to verify
        }
    }

    /// An empty line ends a message: only now is it known whether its data is a line of the stream.
    fn dispatch(&mut self, arrival: &mut Arrival<'_>) {
        let data = self.data.take();
        if std::mem::take(&mut self.named) {
            return;
        }
        match data {
            Some(Ok(line)) => self.verify(line, arrival),
            Some(Err(())) => arrival.tally.strange += 1,
            None => (),
        }
    }

    fn verify(&mut self, line: feeder::Line, arrival: &mut Arrival<'_>) {
        let tally = &mut *arrival.tally;
        if line.number < self.next {
            tally.doubled += 1;
            return;
        }
        tally.lost += line.number - self.next;
        tally.lines += 1;
        self.next = line.number + 1;
        tally.finished += usize::from(self.next == arrival.total);
        if arrival.now != 0 {
            tally.latency.record(arrival.now.saturating_sub(line.sent));
        }
    }
}

/// Moves bytes to `kept` up to the next newline, which is dropped; tells whether there was one.
fn keep_line(kept: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<bool, String> {
    let end = memchr(b'\n', bytes);
    kept.extend_from_slice(take(bytes, end.unwrap_or(usize::MAX)));
    if end.is_some() {
        take(bytes, 1);
    }
    if kept.len() > MAX_LINE { Err(format!("a line of more than {MAX_LINE} bytes")) } else { Ok(end.is_some()) }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    front
}

/// Decodes a known response cut at every place, in two and into single bytes; panics if a cut shows.
pub(crate) fn self_check() {
    let mut body = b"retry: 2000\n\n:\n\nevent: state\ndata: {}\n\n".to_vec();
    let mut line = Vec::new();
    for number in [0, 1, 1, 4, 5] {
        line.clear();
        feeder::Line { number, sent: 1000 }.write(&mut line);
        body.extend_from_slice(format!("id: epoch-{number}\ndata: {}\n", String::from_utf8_lossy(&line)).as_bytes());
    }
    body.extend_from_slice(b"event: gap\ndata: {}\nid: epoch-6\n\ndata: strange\n\ndata: two\ndata: lines\n\n");
    let mut whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(37) {
        whole.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
        whole.extend_from_slice(chunk);
        whole.extend_from_slice(b"\r\n");
    }
    whole.extend_from_slice(b"0\r\nA-Trailer: x\r\n\r\n");
    let single: Vec<&[u8]> = whole.chunks(1).collect();
    check_pieces(&single);
    for cut in 0..whole.len() {
        check_pieces(&[&whole[..cut], &whole[cut..]]);
    }
}

fn check_pieces(pieces: &[&[u8]]) {
    let mut tally = Tally::default();
    let mut decoder = Decoder::default();
    for piece in pieces {
        let mut arrival = Arrival { now: 3000, total: 6, tally: &mut tally };
        decoder.push(piece, &mut arrival).expect("the response is well-formed");
    }
    let counts = (tally.lines, tally.lost, tally.doubled, tally.gaps, tally.strange, tally.comments, tally.finished);
    assert_eq!(counts, (4, 2, 1, 1, 2, 1, 1), "lines, lost, doubled, gaps, strange, comments, finished");
    assert!(decoder.has_head() && decoder.may_end(), "the response has ended");
    assert_eq!(tally.latency.count(), 4, "each line has its latency");
}
