//! `GET` of streams: a cursor becomes a response body. The frames of a single stream are passed on unchanged; several
//! streams share one connection, whose id is the list of their positions.

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
use crate::stream::{CursorItem, EncodedFrames, Log, View};
use crate::wire::sse::COMPLETED_MARK;
use crate::wire::{Encoding, SseData};

use super::steering::{CursorSpec, ReaderDeliveries, ReaderItem, SteerableCursor};
use crate::http::call_error::CallError;
use crate::http::guard::lifetime::{Lifetime, TURNED_PRIVATE_TEXT};
use crate::http::guard::quota::MAX_STREAMS_PER_CONNECTION;
use crate::http::problem::Problem;
use crate::http::query::StreamQuery;
use crate::http::request::HttpRequest;
use crate::http::response::answer;

/// Delay before a client reconnects, in milliseconds: randomised, so that a restart does not make all readers reconnect
/// at once.
const RECONNECT_DELAY_MILLIS: std::ops::Range<u32> = 1000..3000;

/// The reconnect delay if the daemon is not ready or the caller has too many readers.
const BUSY_RECONNECT_DELAY_MILLIS: u32 = 10_000;

/// Number of bytes of several streams that are sent at once.
const MULTI_STREAM_CHUNK_SIZE: usize = 16 << 10;

/// Maximum size of the id of a connection with several streams, in bytes: the client sends it back in one header line.
const MAX_CONNECTION_ID_SIZE: usize = 4 << 10;

/// `GET /streams/NAME`.
pub(super) async fn one(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let Some(ask) = asked(request)? else { return Ok(retry_later()) };
    if !ask.streams.is_empty() {
        return Err(Problem::bad("stream= goes with GET /streams; here the path names the stream"));
    }
    let entry = request.stream(name);
    let held = entry.as_ref().is_ok_and(|entry| request.app.catalog.is_being_replaced(entry.log.name()));
    let term = match admit(request, &ask, held, 1)? {
        Admission::Granted(term) => term,
        Admission::RetryLater => return Ok(retry_later()),
    };
    let entry = match entry {
        // The stream existed once, so it was removed: any status but 204 would make a browser reconnect for ever.
        Err(_) if ask.is_reconnect && name.parse::<StreamName>().is_ok() => return Ok(no_content()),
        entry => entry?,
    };
    let view = ask.view(false);
    let mut cursor = entry.log.cursor(view.clone(), ask.start_of_only()?, ask.until).await;
    if ask.is_reconnect && (ask.satisfied || cursor.is_done()) {
        return Ok(no_content());
    }
    let ends = ask.until.head || ask.until.lines.is_some() || ask.until.before.is_some();
    let reading = match ask.session.as_deref() {
        Some(token) => {
            let known = request.register_session(token, 1)?.remove(0);
            SteerableCursor::of_session(cursor, cursor_spec(request, entry.log, view, &ask), known)
        }
        None => SteerableCursor::new(cursor),
    };
    let reader = StreamReader {
        reading,
        encoding: ask.encoding,
        keep_alive: request.connection.limits.keep_alive,
        reports_satisfied: ends,
    };
    let body = stream::unfold(BodyStage::Preamble(reader), BodyStage::next);
    Ok(stream_response(ask.encoding, term.of(body, ask.encoding)))
}

/// The parsed query; `None` if a browser reconnects and there is no room for its filter now.
fn asked(request: &HttpRequest) -> Result<Option<StreamQuery>, Problem> {
    match StreamQuery::from_request(request, SystemTime::now()) {
        Err(problem) if problem.is_temporary() && request.headers.contains_key("last-event-id") => Ok(None),
        asked => asked.map(Some),
    }
}

/// `GET /streams?stream=A&stream=B`.
pub(in crate::http) async fn several(request: &HttpRequest) -> Result<Response, Problem> {
    let Some(ask) = asked(request)? else { return Ok(retry_later()) };
    let is_held =
        |name: &StreamName| request.app.catalog.is_being_replaced(name) && request.stream(name.as_str()).is_ok();
    let held = ask.streams.iter().any(is_held);
    let mut names = ask.streams.clone();
    names.sort();
    names.dedup();
    // The longest form of name, colon, epoch, hyphen, number and comma.
    let longest: usize = names.iter().map(|name| name.as_str().len() + 1 + 13 + 1 + 20 + 1).sum();
    if names.len() > MAX_STREAMS_PER_CONNECTION || longest > MAX_CONNECTION_ID_SIZE {
        let fit = format!(
            "at most {MAX_STREAMS_PER_CONNECTION}, and their names and places in {MAX_CONNECTION_ID_SIZE} bytes"
        );
        return Err(Problem::bad(format!("too many streams for one connection ({fit}); use several connections")));
    }
    let term = match admit(request, &ask, held, names.len())? {
        Admission::Granted(term) => term,
        Admission::RetryLater => return Ok(retry_later()),
    };
    let mut cursors = Vec::new();
    for name in names {
        let entry = match request.stream(name.as_str()) {
            // A removed stream does not end the others; an error response would stop a browser for good.
            Err(_) if ask.is_reconnect => continue,
            entry => entry?,
        };
        let cursor = entry.log.cursor(ask.view(true), ask.start_of(&name)?, ask.until).await;
        cursors.push((name, entry.log, cursor));
    }
    if ask.is_reconnect && (ask.satisfied || cursors.iter_mut().all(|(_, _, cursor)| cursor.is_done())) {
        return Ok(no_content());
    }
    let mut known = match ask.session.as_deref() {
        Some(token) => request.register_session(token, cursors.len())?,
        None => Vec::new(),
    };
    let cursors = cursors.into_iter().map(|(name, log, cursor)| match known.pop() {
        Some(known) => {
            (name, SteerableCursor::of_session(cursor, cursor_spec(request, log, ask.view(true), &ask), known))
        }
        None => (name, SteerableCursor::new(cursor)),
    });
    let cursors = cursors.collect();
    let ends = ask.until.head || ask.until.lines.is_some();
    let body = stream::unfold(
        Some(MultiStreamReader::new(cursors, ask.encoding, request.connection.limits.keep_alive, ends)),
        MultiStreamReader::next,
    );
    Ok(stream_response(ask.encoding, term.of(body, ask.encoding)))
}

/// The data that a steered reader needs to open its cursor again.
fn cursor_spec(request: &HttpRequest, log: Log, view: View, ask: &StreamQuery) -> CursorSpec {
    CursorSpec { log, view, until: ask.until, ready: request.app.ready.clone() }
}

/// The decision about a reader.
enum Admission {
    /// The reader is served for this lifetime.
    Granted(Lifetime),
    /// The caller is reconnecting, and must be told to reconnect later.
    RetryLater,
}

/// Admits one response with this many `readers`. None is admitted while the daemon starts or stops, while the stream is
/// `held` (it restarts after a change of its configuration), or if the caller has as many readers as it may have.
fn admit(request: &HttpRequest, ask: &StreamQuery, held: bool, readers: usize) -> Result<Admission, Problem> {
    let term = match *request.app.ready.borrow() {
        true if held => Err(CallError::Reconfiguring.into()),
        true => request.lifetime(readers),
        false => {
            let detail = "the daemon is starting or stopping; try again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    };
    match term {
        Err(_) if ask.is_reconnect => Ok(Admission::RetryLater),
        term => Ok(Admission::Granted(term?)),
    }
}

/// The response to a browser that must reconnect later: any status but 200 would stop it for good.
pub(crate) fn retry_later() -> Response {
    let encoding = Encoding::Sse(SseData::Text);
    let body = encoding.retry(BUSY_RECONNECT_DELAY_MILLIS).map(Bytes::from);
    stream_response(encoding, stream::iter(body))
}

fn no_content() -> Response {
    answer(Ok(StatusCode::NO_CONTENT.into_response()))
}

fn stream_response(encoding: Encoding, body: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Response {
    let body = body.map(Ok::<_, std::convert::Infallible>);
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.names().content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// One reader of one stream.
#[derive(Debug)]
struct StreamReader {
    reading: SteerableCursor,
    encoding: Encoding,
    keep_alive: Duration,
    /// True if the reader receives a final message at the end, so that a reconnecting browser stops.
    reports_satisfied: bool,
}

/// The progress of a body.
enum BodyStage {
    Preamble(StreamReader),
    Events(StreamReader),
    End,
}

impl BodyStage {
    async fn next(self) -> Option<(Bytes, Self)> {
        let mut reader = match self {
            Self::Preamble(reader) => match reader.encoding.retry(fastrand::u32(RECONNECT_DELAY_MILLIS)) {
                Some(retry) => return Some((retry.into(), Self::Events(reader))),
                None => reader,
            },
            Self::Events(reader) => reader,
            Self::End => return None,
        };
        loop {
            let Some(item) = reader.reading.next(Instant::now() + reader.keep_alive).await else {
                if reader.reading.is_denied() {
                    return Some((reader.encoding.denied(TURNED_PRIVATE_TEXT, None).into(), Self::End));
                }
                if !reader.reports_satisfied || reader.reading.is_paused() {
                    return None;
                }
                let id = format!("{}{COMPLETED_MARK}", reader.reading.place());
                return reader.encoding.position(&id).map(|last| (last.into(), Self::End));
            };
            if let Some(bytes) = reader.bytes(item) {
                return Some((bytes, Self::Events(reader)));
            }
        }
    }
}

impl StreamReader {
    fn bytes(&mut self, item: CursorItem) -> Option<Bytes> {
        let text = match item {
            CursorItem::Frames(frames) => return Some(frames.bytes),
            CursorItem::TimedOut if self.reading.has_skipped() => self.encoding.position(&self.reading.place())?,
            CursorItem::TimedOut => return Some(Bytes::from_static(self.encoding.keep_alive()?.as_bytes())),
            item => encode_notice(&item, self.encoding, &self.reading.place(), None)?,
        };
        Some(text.into())
    }
}

/// A gap, progress or an open line; `None` if the encoding does not show it.
fn encode_notice(item: &CursorItem, encoding: Encoding, id: &dyn fmt::Display, stream: Option<&str>) -> Option<String> {
    match item {
        CursorItem::Gap(gap) => Some(encoding.gap(gap, id, stream)),
        CursorItem::OpenLine(line) => encoding.open(line.as_deref(), stream),
        CursorItem::Progress(progress) => encoding.progress(progress, stream),
        CursorItem::Frames(_) | CursorItem::TimedOut => None,
    }
}

/// One reader of several streams.
struct MultiStreamReader {
    deliveries: StreamMap<usize, ReaderDeliveries>,
    /// The positions in all streams, in the order of their names.
    places: Vec<(StreamName, Position)>,
    encoding: Encoding,
    keep_alive: Duration,
    said: Option<Instant>,
    reports_satisfied: bool,
    /// Frames that were sent in part.
    pending: Option<PendingFrames>,
}

/// Frames of one of several streams, and the number of them that were sent.
struct PendingFrames {
    at: usize,
    frames: EncodedFrames,
    given: usize,
    /// The position in the stream after all of these frames.
    place: Position,
}

impl MultiStreamReader {
    fn new(
        cursors: Vec<(StreamName, SteerableCursor)>,
        encoding: Encoding,
        quiet: Duration,
        says_satisfied: bool,
    ) -> Self {
        let places = cursors.iter().map(|(name, reading)| (name.clone(), reading.place())).collect();
        let cursors = cursors.into_iter().map(|(_, reading)| reading.told(quiet)).enumerate().collect();
        Self {
            deliveries: cursors,
            places,
            encoding,
            keep_alive: quiet,
            said: None,
            reports_satisfied: says_satisfied,
            pending: None,
        }
    }

    async fn next(this: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut this = this?;
        if this.said.is_none()
            && let Some(retry) = this.encoding.retry(fastrand::u32(RECONNECT_DELAY_MILLIS))
        {
            this.said = Some(Instant::now());
            return Some((retry.into(), Some(this)));
        }
        loop {
            if let Some(piece) = this.piece() {
                this.said = Some(Instant::now());
                return Some((piece.into(), Some(this)));
            }
            let Some((at, (given, place, skipped))) = this.deliveries.next().await else {
                if !this.reports_satisfied {
                    return None;
                }
                let id = format!("{}{COMPLETED_MARK}", ConnectionId(&this.places));
                return this.encoding.position(&id).map(|last| (last.into(), None));
            };
            let bytes = match given {
                ReaderItem::Item(CursorItem::Frames(frames)) if this.encoding.has_ids() => {
                    this.pending = Some(PendingFrames { at, frames, given: 0, place });
                    continue;
                }
                ReaderItem::Item(item) => this.bytes(at, &item, place, skipped),
                ReaderItem::Denied => {
                    let name = this.places[at].0.as_str();
                    this.encoding.denied(TURNED_PRIVATE_TEXT, Some(name)).into_bytes()
                }
            };
            if !bytes.is_empty() {
                this.said = Some(Instant::now());
                return Some((bytes.into(), Some(this)));
            }
        }
    }

    fn bytes(&mut self, at: usize, item: &CursorItem, place: Position, skipped: bool) -> Vec<u8> {
        match item {
            CursorItem::Frames(frames) => return frames.bytes.to_vec(),
            CursorItem::Gap(_) | CursorItem::OpenLine(_) | CursorItem::Progress(_) | CursorItem::TimedOut => {}
        }
        self.places[at].1 = place;
        let text = match item {
            CursorItem::TimedOut if skipped => self.encoding.position(&ConnectionId(&self.places)).unwrap_or_default(),
            // Each stream times out separately; one comment serves all of them.
            CursorItem::TimedOut if self.said.is_some_and(|said| said.elapsed() < self.keep_alive / 2) => String::new(),
            CursorItem::TimedOut => self.encoding.keep_alive().unwrap_or_default().to_owned(),
            item => {
                let name = self.places[at].0.as_str();
                encode_notice(item, self.encoding, &ConnectionId(&self.places), Some(name)).unwrap_or_default()
            }
        };
        text.into_bytes()
    }

    /// The next pending frames, each after this connection's own id, about [`MULTI_STREAM_CHUNK_SIZE`] bytes in total.
    /// The ids may be longer than the frames, and a slow connection must not hold much memory.
    fn piece(&mut self) -> Option<Vec<u8>> {
        let PendingFrames { at, frames, given, place } = self.pending.take()?;
        let mut begin = given.checked_sub(1).map_or(0, |last| frames.ends[last].0);
        let mut out = Vec::with_capacity(MULTI_STREAM_CHUNK_SIZE + MAX_CONNECTION_ID_SIZE);
        for (number, (end, id)) in frames.ends.iter().enumerate().skip(given) {
            self.places[at].1 = *id;
            out.extend_from_slice(b"id: ");
            write!(out, "{}", ConnectionId(&self.places)).expect("a Vec takes all that is written to it");
            out.push(b'\n');
            out.extend_from_slice(&frames.bytes[begin..*end]);
            begin = *end;
            if out.len() >= MULTI_STREAM_CHUNK_SIZE && number + 1 < frames.ends.len() {
                self.pending = Some(PendingFrames { at, frames, given: number + 1, place });
                // The connection holds the buffer, with its unused capacity, until it is sent.
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
struct ConnectionId<'a>(&'a [(StreamName, Position)]);

impl fmt::Display for ConnectionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, id)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{name}:{id}")?;
        }
        Ok(())
    }
}
