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
pub(super) async fn follow_one(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let Some(query) = parse_query(request)? else { return Ok(retry_later()) };
    if !query.streams.is_empty() {
        return Err(Problem::bad("stream= goes with GET /streams; here the path names the stream"));
    }
    let entry = request.stream(name);
    let held = entry.as_ref().is_ok_and(|entry| request.app.catalog.is_being_replaced(entry.log.name()));
    let lifetime = match admit(request, &query, held, 1)? {
        Admission::Granted(lifetime) => lifetime,
        Admission::RetryLater => return Ok(retry_later()),
    };
    let entry = match entry {
        // The stream existed once, so it was removed: any status but 204 would make a browser reconnect for ever.
        Err(_) if query.is_reconnect && name.parse::<StreamName>().is_ok() => return Ok(no_content()),
        entry => entry?,
    };
    let view = query.view(false);
    let mut cursor = entry.log.cursor(view.clone(), query.start_of_only()?, query.until).await;
    if query.is_reconnect && (query.satisfied || cursor.is_done()) {
        return Ok(no_content());
    }
    let ends = query.until.head || query.until.lines.is_some() || query.until.before.is_some();
    let cursor = match query.session.as_deref() {
        Some(token) => {
            let known = request.register_session(token, 1)?.remove(0);
            SteerableCursor::of_session(cursor, cursor_spec(request, entry.log, view, &query), known)
        }
        None => SteerableCursor::new(cursor),
    };
    let reader = StreamReader {
        cursor,
        encoding: query.encoding,
        keep_alive: request.connection.limits.keep_alive,
        reports_satisfied: ends,
    };
    let body = stream::unfold(BodyStage::Preamble(reader), BodyStage::next);
    Ok(stream_response(query.encoding, lifetime.limit(body, query.encoding)))
}

/// The parsed query; `None` if a browser reconnects and there is no room for its filter now.
fn parse_query(request: &HttpRequest) -> Result<Option<StreamQuery>, Problem> {
    match StreamQuery::from_request(request, SystemTime::now()) {
        Err(problem) if problem.is_temporary() && request.headers.contains_key("last-event-id") => Ok(None),
        parse_query => parse_query.map(Some),
    }
}

/// `GET /streams?stream=A&stream=B`.
pub(in crate::http) async fn follow_several(request: &HttpRequest) -> Result<Response, Problem> {
    let Some(query) = parse_query(request)? else { return Ok(retry_later()) };
    let is_held =
        |name: &StreamName| request.app.catalog.is_being_replaced(name) && request.stream(name.as_str()).is_ok();
    let held = query.streams.iter().any(is_held);
    let mut names = query.streams.clone();
    names.sort();
    names.dedup();
    // The longest form of name, colon, epoch, hyphen, number and comma.
    let longest: usize = names.iter().map(|name| name.as_str().len() + 1 + 13 + 1 + 20 + 1).sum();
    if names.len() > MAX_STREAMS_PER_CONNECTION || longest > MAX_CONNECTION_ID_SIZE {
        let fit = format!(
            "at most {MAX_STREAMS_PER_CONNECTION}, and their names and positions in {MAX_CONNECTION_ID_SIZE} bytes"
        );
        return Err(Problem::bad(format!("too many streams for one connection ({fit}); use several connections")));
    }
    let lifetime = match admit(request, &query, held, names.len())? {
        Admission::Granted(lifetime) => lifetime,
        Admission::RetryLater => return Ok(retry_later()),
    };
    let mut cursors = Vec::new();
    for name in names {
        let entry = match request.stream(name.as_str()) {
            // A removed stream does not end the others; an error response would stop a browser for good.
            Err(_) if query.is_reconnect => continue,
            entry => entry?,
        };
        let cursor = entry.log.cursor(query.view(true), query.start_of(&name)?, query.until).await;
        cursors.push((name, entry.log, cursor));
    }
    if query.is_reconnect && (query.satisfied || cursors.iter_mut().all(|(_, _, cursor)| cursor.is_done())) {
        return Ok(no_content());
    }
    let mut known = match query.session.as_deref() {
        Some(token) => request.register_session(token, cursors.len())?,
        None => Vec::new(),
    };
    let cursors = cursors.into_iter().map(|(name, log, cursor)| match known.pop() {
        Some(known) => {
            (name, SteerableCursor::of_session(cursor, cursor_spec(request, log, query.view(true), &query), known))
        }
        None => (name, SteerableCursor::new(cursor)),
    });
    let cursors = cursors.collect();
    let ends = query.until.head || query.until.lines.is_some();
    let body = stream::unfold(
        Some(MultiStreamReader::new(cursors, query.encoding, request.connection.limits.keep_alive, ends)),
        MultiStreamReader::next,
    );
    Ok(stream_response(query.encoding, lifetime.limit(body, query.encoding)))
}

/// The data that a steered reader needs to open its cursor again.
fn cursor_spec(request: &HttpRequest, log: Log, view: View, query: &StreamQuery) -> CursorSpec {
    CursorSpec { log, view, until: query.until, ready: request.app.ready.clone() }
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
fn admit(request: &HttpRequest, query: &StreamQuery, held: bool, readers: usize) -> Result<Admission, Problem> {
    let lifetime = match *request.app.ready.borrow() {
        true if held => Err(CallError::Reconfiguring.into()),
        true => request.lifetime(readers),
        false => {
            let detail = "the daemon is starting or stopping; try again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    };
    match lifetime {
        Err(_) if query.is_reconnect => Ok(Admission::RetryLater),
        lifetime => Ok(Admission::Granted(lifetime?)),
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
    cursor: SteerableCursor,
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
            let Some(item) = reader.cursor.next(Instant::now() + reader.keep_alive).await else {
                if reader.cursor.is_denied() {
                    return Some((reader.encoding.denied(TURNED_PRIVATE_TEXT, None).into(), Self::End));
                }
                if !reader.reports_satisfied || reader.cursor.is_paused() {
                    return None;
                }
                let id = format!("{}{COMPLETED_MARK}", reader.cursor.position());
                return reader.encoding.position(&id).map(|last| (last.into(), Self::End));
            };
            if let Some(bytes) = reader.encode(item) {
                return Some((bytes, Self::Events(reader)));
            }
        }
    }
}

impl StreamReader {
    fn encode(&mut self, item: CursorItem) -> Option<Bytes> {
        let text = match item {
            CursorItem::Frames(frames) => return Some(frames.bytes),
            CursorItem::TimedOut if self.cursor.has_skipped() => self.encoding.position(&self.cursor.position())?,
            CursorItem::TimedOut => return Some(Bytes::from_static(self.encoding.keep_alive()?.as_bytes())),
            item => encode_notice(&item, self.encoding, &self.cursor.position(), None)?,
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
    /// The positions in all streams, in the order of their names. A delivery's key is the index here.
    positions: Vec<(StreamName, Position)>,
    encoding: Encoding,
    keep_alive: Duration,
    /// The time of the last bytes of the body; `None` until the first.
    last_sent: Option<Instant>,
    reports_satisfied: bool,
    /// Frames that were sent in part.
    pending: Option<PendingFrames>,
}

/// Frames of one of several streams, and the number of them that were sent.
struct PendingFrames {
    at: usize,
    frames: EncodedFrames,
    sent: usize,
    /// The position in the stream after all of these frames.
    position: Position,
}

impl MultiStreamReader {
    fn new(
        cursors: Vec<(StreamName, SteerableCursor)>,
        encoding: Encoding,
        keep_alive: Duration,
        reports_satisfied: bool,
    ) -> Self {
        let positions = cursors.iter().map(|(name, cursor)| (name.clone(), cursor.position())).collect();
        let cursors = cursors.into_iter().map(|(_, cursor)| cursor.into_deliveries(keep_alive)).enumerate().collect();
        Self {
            deliveries: cursors,
            positions,
            encoding,
            keep_alive: keep_alive,
            last_sent: None,
            reports_satisfied: reports_satisfied,
            pending: None,
        }
    }

    async fn next(this: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut this = this?;
        if this.last_sent.is_none()
            && let Some(retry) = this.encoding.retry(fastrand::u32(RECONNECT_DELAY_MILLIS))
        {
            this.last_sent = Some(Instant::now());
            return Some((retry.into(), Some(this)));
        }
        loop {
            if let Some(next_chunk) = this.next_chunk() {
                this.last_sent = Some(Instant::now());
                return Some((next_chunk.into(), Some(this)));
            }
            let Some((at, (item, position, skipped))) = this.deliveries.next().await else {
                if !this.reports_satisfied {
                    return None;
                }
                let id = format!("{}{COMPLETED_MARK}", ConnectionId(&this.positions));
                return this.encoding.position(&id).map(|last| (last.into(), None));
            };
            let bytes = match item {
                ReaderItem::Item(CursorItem::Frames(frames)) if this.encoding.has_ids() => {
                    this.pending = Some(PendingFrames { at, frames, sent: 0, position });
                    continue;
                }
                ReaderItem::Item(item) => this.encode(at, &item, position, skipped),
                ReaderItem::Denied => {
                    let name = this.positions[at].0.as_str();
                    this.encoding.denied(TURNED_PRIVATE_TEXT, Some(name)).into_bytes()
                }
            };
            if !bytes.is_empty() {
                this.last_sent = Some(Instant::now());
                return Some((bytes.into(), Some(this)));
            }
        }
    }

    fn encode(&mut self, at: usize, item: &CursorItem, position: Position, skipped: bool) -> Vec<u8> {
        match item {
            CursorItem::Frames(frames) => return frames.bytes.to_vec(),
            CursorItem::Gap(_) | CursorItem::OpenLine(_) | CursorItem::Progress(_) | CursorItem::TimedOut => {}
        }
        self.positions[at].1 = position;
        let text = match item {
            CursorItem::TimedOut if skipped => {
                self.encoding.position(&ConnectionId(&self.positions)).unwrap_or_default()
            }
            // Each stream times out separately; one comment serves all of them.
            CursorItem::TimedOut if self.last_sent.is_some_and(|sent| sent.elapsed() < self.keep_alive / 2) => {
                String::new()
            }
            CursorItem::TimedOut => self.encoding.keep_alive().unwrap_or_default().to_owned(),
            item => {
                let name = self.positions[at].0.as_str();
                encode_notice(item, self.encoding, &ConnectionId(&self.positions), Some(name)).unwrap_or_default()
            }
        };
        text.into_bytes()
    }

    /// The next pending frames, each after this connection's own id, about [`MULTI_STREAM_CHUNK_SIZE`] bytes in total.
    /// The ids may be longer than the frames, and a slow connection must not hold much memory.
    fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let PendingFrames { at, frames, sent, position } = self.pending.take()?;
        let mut begin = sent.checked_sub(1).map_or(0, |last| frames.ends[last].0);
        let mut out = Vec::with_capacity(MULTI_STREAM_CHUNK_SIZE + MAX_CONNECTION_ID_SIZE);
        for (number, (end, id)) in frames.ends.iter().enumerate().skip(sent) {
            self.positions[at].1 = *id;
            out.extend_from_slice(b"id: ");
            write!(out, "{}", ConnectionId(&self.positions)).expect("a Vec takes all that is written to it");
            out.push(b'\n');
            out.extend_from_slice(&frames.bytes[begin..*end]);
            begin = *end;
            if out.len() >= MULTI_STREAM_CHUNK_SIZE && number + 1 < frames.ends.len() {
                self.pending = Some(PendingFrames { at, frames, sent: number + 1, position });
                // The connection holds the buffer, with its unused capacity, until it is sent.
                out.shrink_to_fit();
                return Some(out);
            }
        }
        self.positions[at].1 = position;
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
