//! `GET` a stream: a cursor becomes a body. One stream's frames pass as they are; several share one connection, whose id
//! is the list of all their places.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tokio_stream::{StreamExt, StreamMap};
use warp::reply::{Reply, Response};

use crate::event::{Position, StreamName};
use crate::stream::{Frames, Item, Log, View};
use crate::wire::sse::SATISFIED;
use crate::wire::{Encoding, ndjson, sse, text};

use super::ask::{Ask, STREAMS};
use super::command::Fault;
use super::problem::Problem;
use super::reading::{Course, Given, Reading, Told};
use super::term::{TURNED_PRIVATE, Term};
use super::{Request, answer};

/// Wait before connecting again, in milliseconds: spread, so that a restart does not bring all readers at once.
const RETRY: std::ops::Range<u32> = 1000..3000;

/// The same where the daemon is not ready or has no seat.
const RETRY_LATER: u32 = 10_000;

/// Bytes of several streams that are given at once.
const PIECE: usize = 16 << 10;

/// Longest id of a connection with several streams, in bytes: it comes back in one header line.
const LONGEST_ID: usize = 4 << 10;

/// `GET /streams/NAME`.
pub(super) async fn one(name: &str, request: &Request) -> Result<Response, Problem> {
    let Some(ask) = asked(request)? else { return Ok(come_later()) };
    if !ask.streams.is_empty() {
        return Err(Problem::bad("stream= goes with GET /streams; here the path names the stream"));
    }
    let entry = request.stream(name);
    let held = entry.as_ref().is_ok_and(|entry| request.app.catalog.is_held(entry.log.name()));
    let term = match admit(request, &ask, held, 1)? {
        Admitted::Now(term) => term,
        Admitted::Later => return Ok(come_later()),
    };
    let entry = match entry {
        // It was there once, so it is gone: anything but 204 would let a browser ask for ever.
        Err(_) if ask.reconnect && name.parse::<StreamName>().is_ok() => return Ok(no_content()),
        entry => entry?,
    };
    let view = ask.view(false);
    let mut cursor = entry.log.cursor(view.clone(), ask.start()?, ask.until).await;
    if ask.reconnect && (ask.satisfied || cursor.is_done()) {
        return Ok(no_content());
    }
    let ends = ask.until.head || ask.until.lines.is_some() || ask.until.before.is_some();
    let reading = match ask.session.as_deref() {
        Some(token) => {
            let known = request.enter_session(token, 1)?.remove(0);
            Reading::of_session(cursor, course(request, entry.log, view, &ask), known)
        }
        None => Reading::new(cursor),
    };
    let reader =
        Reader { reading, encoding: ask.encoding, quiet: request.guest.limits.keep_alive, says_satisfied: ends };
    let body = stream::unfold(Stage::Hello(reader), Stage::next);
    Ok(respond(ask.encoding, term.of(body, ask.encoding)))
}

/// What is asked for; nothing where a browser comes back, and there is no room for its filter now.
fn asked(request: &Request) -> Result<Option<Ask>, Problem> {
    match Ask::of(request, SystemTime::now()) {
        Err(problem) if problem.is_for_now() && request.headers.contains_key("last-event-id") => Ok(None),
        asked => asked.map(Some),
    }
}

/// `GET /streams?stream=A&stream=B`.
pub(super) async fn several(request: &Request) -> Result<Response, Problem> {
    let Some(ask) = asked(request)? else { return Ok(come_later()) };
    let is_held = |name: &StreamName| request.app.catalog.is_held(name) && request.stream(name.as_str()).is_ok();
    let held = ask.streams.iter().any(is_held);
    let mut names = ask.streams.clone();
    names.sort();
    names.dedup();
    // Name, colon, epoch, hyphen, number and comma, at their longest.
    let longest: usize = names.iter().map(|name| name.as_str().len() + 1 + 13 + 1 + 20 + 1).sum();
    if names.len() > STREAMS || longest > LONGEST_ID {
        let fit = format!("at most {STREAMS}, and their names and places in {LONGEST_ID} bytes");
        return Err(Problem::bad(format!("too many streams for one connection ({fit}); use several connections")));
    }
    let term = match admit(request, &ask, held, names.len())? {
        Admitted::Now(term) => term,
        Admitted::Later => return Ok(come_later()),
    };
    let mut cursors = Vec::new();
    for name in names {
        let entry = match request.stream(name.as_str()) {
            // One that is gone does not end the others; a refusal would stop a browser for good.
            Err(_) if ask.reconnect => continue,
            entry => entry?,
        };
        let cursor = entry.log.cursor(ask.view(true), ask.start_of(&name)?, ask.until).await;
        cursors.push((name, entry.log, cursor));
    }
    if ask.reconnect && (ask.satisfied || cursors.iter_mut().all(|(_, _, cursor)| cursor.is_done())) {
        return Ok(no_content());
    }
    let mut known = match ask.session.as_deref() {
        Some(token) => request.enter_session(token, cursors.len())?,
        None => Vec::new(),
    };
    let cursors = cursors.into_iter().map(|(name, log, cursor)| match known.pop() {
        Some(known) => (name, Reading::of_session(cursor, course(request, log, ask.view(true), &ask), known)),
        None => (name, Reading::new(cursor)),
    });
    let cursors = cursors.collect();
    let ends = ask.until.head || ask.until.lines.is_some();
    let body =
        stream::unfold(Some(Several::new(cursors, ask.encoding, request.guest.limits.keep_alive, ends)), Several::next);
    Ok(respond(ask.encoding, term.of(body, ask.encoding)))
}

/// What a reader needs that its session steers.
fn course(request: &Request, log: Log, view: View, ask: &Ask) -> Course {
    Course { log, view, until: ask.until, ready: request.app.ready.clone() }
}

/// Whether a reader is served.
enum Admitted {
    /// For so long.
    Now(Term),
    /// It was before, and must be told to come again.
    Later,
}

/// Admits one answer with this many `readers`. None is admitted while the daemon starts or stops, while the stream is `held` (it
/// starts again after a change), or where the caller has as many readers as it may have.
fn admit(request: &Request, ask: &Ask, held: bool, readers: usize) -> Result<Admitted, Problem> {
    let term = match *request.app.ready.borrow() {
        true if held => Err(Fault::Held.into()),
        true => request.term(readers),
        false => {
            let detail = "the daemon is starting or stopping; try again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    };
    match term {
        Err(_) if ask.reconnect => Ok(Admitted::Later),
        term => Ok(Admitted::Now(term?)),
    }
}

/// The answer to a browser that must come again: any status but 200 would stop it for good.
pub(super) fn come_later() -> Response {
    let body = sse::hello(RETRY_LATER);
    respond(Encoding::Sse(crate::wire::Data::Text), tokio_stream::once(Bytes::from(body)))
}

fn no_content() -> Response {
    answer(Ok(StatusCode::NO_CONTENT.into_response()))
}

fn respond(encoding: Encoding, body: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Response {
    let body = body.map(Ok::<_, std::convert::Infallible>);
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// One reader of one stream.
#[derive(Debug)]
struct Reader {
    reading: Reading,
    encoding: Encoding,
    quiet: Duration,
    /// Whether its end is told, so that a browser that comes back is let go.
    says_satisfied: bool,
}

/// How far a body is.
enum Stage {
    Hello(Reader),
    Events(Reader),
    End,
}

impl Stage {
    async fn next(self) -> Option<(Bytes, Self)> {
        match self {
            Self::Hello(reader) if matches!(reader.encoding, Encoding::Sse(_)) => {
                Some((sse::hello(fastrand::u32(RETRY)).into(), Self::Events(reader)))
            }
            Self::Hello(mut reader) | Self::Events(mut reader) => loop {
                let Some(item) = reader.reading.next(Instant::now() + reader.quiet).await else {
                    if reader.reading.is_denied() {
                        return Some((denied(reader.encoding, None).into(), Self::End));
                    }
                    let last = reader.says_satisfied
                        && !reader.reading.is_paused()
                        && matches!(reader.encoding, Encoding::Sse(_));
                    let id = format!("{}{SATISFIED}", reader.reading.place());
                    return last.then(|| (sse::place(&id).into(), Self::End));
                };
                if let Some(bytes) = reader.bytes(item) {
                    return Some((bytes, Self::Events(reader)));
                }
            },
            Self::End => None,
        }
    }
}

impl Reader {
    fn bytes(&mut self, item: Item) -> Option<Bytes> {
        let text = match (item, self.encoding) {
            (Item::Frames(frames), _) => return Some(frames.bytes),
            (Item::Quiet, Encoding::Sse(_)) if self.reading.has_skipped() => sse::place(&self.reading.place()),
            (Item::Quiet, Encoding::Sse(_)) => return Some(Bytes::from_static(sse::KEEP_ALIVE.as_bytes())),
            (Item::Quiet, _) => return None,
            (item, encoding) => notice(&item, encoding, &self.reading.place(), None)?,
        };
        Some(text.into())
    }
}

/// What the reader of a stream that turned private is told last; `stream` names it if there are others.
fn denied(encoding: Encoding, stream: Option<&str>) -> String {
    match encoding {
        Encoding::Sse(_) => sse::denied(TURNED_PRIVATE, stream),
        Encoding::Ndjson => ndjson::denied(TURNED_PRIVATE, stream),
        Encoding::Text => text::denied(TURNED_PRIVATE),
    }
}

/// A gap, progress or an open line; `None` where the encoding does not show it.
fn notice(item: &Item, encoding: Encoding, id: &dyn fmt::Display, stream: Option<&str>) -> Option<String> {
    match (item, encoding) {
        (Item::Gap(gap), Encoding::Sse(_)) => Some(sse::gap(gap, id, stream)),
        (Item::Gap(gap), Encoding::Ndjson) => Some(ndjson::gap(gap, stream)),
        (Item::Gap(gap), Encoding::Text) => Some(text::gap(gap)),
        (Item::Open(line), Encoding::Sse(_)) => Some(sse::open(line.as_deref(), stream)),
        (Item::Open(line), Encoding::Ndjson) => Some(ndjson::open(line.as_deref(), stream)),
        (Item::Progress(progress), Encoding::Sse(_)) => Some(sse::progress(progress, stream)),
        (Item::Progress(progress), Encoding::Ndjson) => Some(ndjson::progress(progress, stream)),
        (Item::Open(_) | Item::Progress(_), Encoding::Text) | (Item::Frames(_) | Item::Quiet, _) => None,
    }
}

/// One reader of several streams.
struct Several {
    cursors: StreamMap<usize, Told>,
    /// All places, in the order of the names.
    places: Vec<(StreamName, Position)>,
    encoding: Encoding,
    quiet: Duration,
    said: Option<Instant>,
    says_satisfied: bool,
    /// Frames of which a part was given.
    pending: Option<Pending>,
}

/// Frames of one of several streams, and how many of them were given.
struct Pending {
    at: usize,
    frames: Frames,
    given: usize,
    /// The stream's place behind all of them.
    place: Position,
}

impl Several {
    fn new(cursors: Vec<(StreamName, Reading)>, encoding: Encoding, quiet: Duration, says_satisfied: bool) -> Self {
        let places = cursors.iter().map(|(name, reading)| (name.clone(), reading.place())).collect();
        let cursors = cursors.into_iter().map(|(_, reading)| reading.told(quiet)).enumerate().collect();
        Self { cursors, places, encoding, quiet, said: None, says_satisfied, pending: None }
    }

    async fn next(this: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut this = this?;
        let sse = matches!(this.encoding, Encoding::Sse(_));
        if this.said.is_none() && sse {
            this.said = Some(Instant::now());
            return Some((sse::hello(fastrand::u32(RETRY)).into(), Some(this)));
        }
        loop {
            if let Some(piece) = this.piece() {
                this.said = Some(Instant::now());
                return Some((piece.into(), Some(this)));
            }
            let Some((at, (given, place, skipped))) = this.cursors.next().await else {
                let id = format!("{}{SATISFIED}", Places(&this.places));
                return (this.says_satisfied && sse).then(|| (sse::place(&id).into(), None));
            };
            let bytes = match given {
                Given::Item(Item::Frames(frames)) if sse => {
                    this.pending = Some(Pending { at, frames, given: 0, place });
                    continue;
                }
                Given::Item(item) => this.bytes(at, &item, place, skipped),
                Given::Denied => denied(this.encoding, Some(this.places[at].0.as_str())).into_bytes(),
            };
            if !bytes.is_empty() {
                this.said = Some(Instant::now());
                return Some((bytes.into(), Some(this)));
            }
        }
    }

    fn bytes(&mut self, at: usize, item: &Item, place: Position, skipped: bool) -> Vec<u8> {
        let sse = matches!(self.encoding, Encoding::Sse(_));
        match item {
            Item::Frames(frames) => return frames.bytes.to_vec(),
            Item::Gap(_) | Item::Open(_) | Item::Progress(_) | Item::Quiet => {}
        }
        self.places[at].1 = place;
        let text = match item {
            Item::Quiet if !sse => String::new(),
            Item::Quiet if skipped => sse::place(&Places(&self.places)),
            // Each stream's silence ends by itself; one comment serves all.
            Item::Quiet if self.said.is_some_and(|said| said.elapsed() < self.quiet / 2) => String::new(),
            Item::Quiet => sse::KEEP_ALIVE.to_owned(),
            item => {
                let name = self.places[at].0.as_str();
                notice(item, self.encoding, &Places(&self.places), Some(name)).unwrap_or_default()
            }
        };
        text.into_bytes()
    }

    /// The next of the pending frames, each behind this connection's own id, about [`PIECE`] bytes of them. The ids may be
    /// longer than the frames, and a connection that is slow to take them is to hold little.
    fn piece(&mut self) -> Option<Vec<u8>> {
        let Pending { at, frames, given, place } = self.pending.take()?;
        let mut begin = given.checked_sub(1).map_or(0, |last| frames.ends[last].0);
        let mut out = Vec::with_capacity(PIECE + LONGEST_ID);
        for (number, (end, id)) in frames.ends.iter().enumerate().skip(given) {
            self.places[at].1 = *id;
            out.extend_from_slice(b"id: ");
            write!(out, "{}", Places(&self.places)).expect("a Vec takes all that is written to it");
            out.push(b'\n');
            out.extend_from_slice(&frames.bytes[begin..*end]);
            begin = *end;
            if out.len() >= PIECE && number + 1 < frames.ends.len() {
                self.pending = Some(Pending { at, frames, given: number + 1, place });
                // The connection holds it until it is taken, with all that was reserved.
                out.shrink_to_fit();
                return Some(out);
            }
        }
        self.places[at].1 = place;
        out.shrink_to_fit();
        (!out.is_empty()).then_some(out)
    }
}

/// The id of a connection: `NAME:ID,NAME:ID`.
struct Places<'a>(&'a [(StreamName, Position)]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, id)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{name}:{id}")?;
        }
        Ok(())
    }
}
