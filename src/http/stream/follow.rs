//! `GET` of streams: a cursor becomes a response body. The frames of a single stream are passed on unchanged; several
//! streams share one connection, whose id is the list of their positions.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tokio_stream::{StreamExt, StreamMap};
use warp::reply::{Reply, Response};

use crate::event::{Position, StreamName};
use crate::listen::Lasting;
use crate::stream::{CursorEnd, CursorItem, EncodedFrames, Log, View};
use crate::wire::sse::COMPLETED_MARK;
use crate::wire::{SseData, WireFormat};

use super::content_coding::{BodyPart, ContentCoding};
use super::steering::{CursorSpec, ReaderDeliveries, ReaderItem, SteerableCursor};
use crate::http::app::App;
use crate::http::call_error::CallError;
use crate::http::guard::lifetime::{DENIED_TEXT, Lifetime};
use crate::http::guard::quota::MAX_STREAMS_PER_CONNECTION;
use crate::http::problem::Problem;
use crate::http::query::StreamQuery;
use crate::http::request::HttpRequest;
use crate::http::response::answer;

/// Delay before a client reconnects, in milliseconds: randomised, so that a restart does not make all readers reconnect
/// at once.
const RECONNECT_DELAY_MILLIS: std::ops::Range<u32> = 1000..3000;

/// The same if another daemon takes the place of this one at once: its connections wait meanwhile.
const RESTART_DELAY_MILLIS: std::ops::Range<u32> = 10..100;

/// The reconnect delay if the daemon is not ready or the caller has too many readers.
const BUSY_RECONNECT_DELAY_MILLIS: u32 = 10_000;

/// Number of bytes of several streams that are sent at once.
const MULTI_STREAM_CHUNK_SIZE: usize = 16 << 10;

/// Minimum size of a response that is compressed, in bytes, if its size is known: a smaller one is a packet either way.
const MIN_COMPRESSED_RESPONSE_SIZE: usize = 1 << 10;

/// Maximum size of the id of a connection with several streams, in bytes: the client sends it back in one header line.
const MAX_CONNECTION_ID_SIZE: usize = 4 << 10;

/// `GET /streams/NAME`.
pub(super) async fn follow_one(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let Some(query) = parse_query(request)? else { return Ok(retry_later()) };
    if !query.streams.is_empty() {
        return Err(Problem::bad("stream= goes with GET /streams; here the path names the stream"));
    }
    let entry = request.stream(name);
    let is_being_replaced = entry.as_ref().is_ok_and(|entry| request.app.catalog.is_being_replaced(entry.log.name()));
    let lifetime = match admit(request, &query, is_being_replaced, 1)? {
        Admission::Granted(lifetime) => lifetime,
        Admission::RetryLater => return Ok(retry_later()),
    };
    let entry = match entry {
        // The stream existed once, so it was removed: any status but 204 would make a browser reconnect for ever.
        Err(_) if query.is_reconnect && name.parse::<StreamName>().is_ok() => return Ok(no_content()),
        entry => entry?,
    };
    let view = query.view(false);
    let start = query.start_of_only()?;
    let (start, until) = query.bounds_in(&entry.log, start)?;
    let mut cursor = entry.log.cursor(view.clone(), start, until).await;
    if query.is_reconnect && (query.satisfied || cursor.is_done()) {
        return Ok(no_content());
    }
    let mut coding = ContentCoding::of(&request.headers, &request.connection.limits, &entry.log);
    if coding == ContentCoding::Gzip {
        cursor.take_compressed();
    }
    let ends = cursor.is_bounded();
    let mut cursor = match query.session.as_deref() {
        Some(token) => {
            let known = request.register_session(token, 1)?.remove(0);
            SteerableCursor::of_session(cursor, cursor_spec(request, entry.log, view, until), known)
        }
        None => SteerableCursor::new(cursor),
    };
    let keep_alive = request.connection.limits.keep_alive;
    let mut first = None;
    if coding == ContentCoding::Gzip && query.until.head && query.session.is_none() {
        // A response that only returns what is there has its first frames at once, unless its reader was paused.
        first = cursor.next(Instant::now() + keep_alive).await;
        if is_short(first.as_ref()) && cursor.is_done() {
            coding = ContentCoding::Identity;
        }
    }
    let reader = StreamReader {
        cursor,
        first,
        wire_format: query.wire_format,
        keep_alive,
        reports_satisfied: ends,
        app: request.app.clone(),
    };
    let body = stream::unfold(BodyStage::Preamble(reader), BodyStage::next);
    let response = stream_response(query.wire_format, coding, coding.encode(lifetime.limit(body, query.wire_format)));
    Ok(if ends { response } else { lasting(response) })
}

/// Returns whether the first item of a response is too small for compression.
fn is_short(first: Option<&CursorItem>) -> bool {
    match first {
        Some(CursorItem::Frames(frames)) => frames.bytes.len() < MIN_COMPRESSED_RESPONSE_SIZE,
        Some(CursorItem::Gap(_) | CursorItem::OpenLine(_) | CursorItem::Progress(_) | CursorItem::TimedOut) | None => {
            true
        }
    }
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
    let is_stream_replaced =
        |name: &StreamName| request.app.catalog.is_being_replaced(name) && request.stream(name.as_str()).is_ok();
    let is_being_replaced = query.streams.iter().any(is_stream_replaced);
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
    let lifetime = match admit(request, &query, is_being_replaced, names.len())? {
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
        let start = query.start_of(&name)?;
        let (start, until) = query.bounds_in(&entry.log, start)?;
        let cursor = entry.log.cursor(query.view(true), start, until).await;
        cursors.push((name, entry.log, cursor, until));
    }
    if query.is_reconnect && (query.satisfied || cursors.iter_mut().all(|(_, _, cursor, _)| cursor.is_done())) {
        return Ok(no_content());
    }
    let ends = !cursors.is_empty() && cursors.iter().all(|(_, _, cursor, _)| cursor.is_bounded());
    let mut known = match query.session.as_deref() {
        Some(token) => request.register_session(token, cursors.len())?,
        None => Vec::new(),
    };
    let cursors = cursors.into_iter().map(|(name, log, cursor, until)| match known.pop() {
        Some(known) => {
            (name, SteerableCursor::of_session(cursor, cursor_spec(request, log, query.view(true), until), known))
        }
        None => (name, SteerableCursor::new(cursor)),
    });
    let cursors = cursors.collect();
    let body = stream::unfold(
        Some(MultiStreamReader::new(
            cursors,
            query.wire_format,
            request.connection.limits.keep_alive,
            ends,
            request.app.clone(),
        )),
        MultiStreamReader::next,
    );
    let body = lifetime.limit(body, query.wire_format);
    let response = stream_response(query.wire_format, ContentCoding::Identity, body);
    Ok(if ends { response } else { lasting(response) })
}

/// Marks a response that does not end by itself.
fn lasting(mut response: Response) -> Response {
    response.extensions_mut().insert(Lasting);
    response
}

/// The data that a steered reader needs to open its cursor again.
fn cursor_spec(request: &HttpRequest, log: Log, view: View, until: CursorEnd) -> CursorSpec {
    CursorSpec { log, view, until, ready: request.app.ready.clone() }
}

/// The decision about a reader.
enum Admission {
    /// The reader is served for this lifetime.
    Granted(Lifetime),
    /// The caller is reconnecting, and receives a response that makes it reconnect later.
    RetryLater,
}

/// Admits one response with this many `readers`. None is admitted while the daemon starts or stops, while the stream is
/// being replaced after a change of its configuration, or if the caller has as many readers as it may have.
fn admit(
    request: &HttpRequest,
    query: &StreamQuery,
    is_being_replaced: bool,
    readers: usize,
) -> Result<Admission, Problem> {
    let lifetime = match *request.app.ready.borrow() {
        true if is_being_replaced => Err(CallError::Reconfiguring.into()),
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
    let wire_format = WireFormat::Sse(SseData::Text);
    let body = wire_format.retry(BUSY_RECONNECT_DELAY_MILLIS).map(Bytes::from);
    stream_response(wire_format, ContentCoding::Identity, stream::iter(body))
}

fn no_content() -> Response {
    answer(Ok(StatusCode::NO_CONTENT.into_response()))
}

fn stream_response(
    wire_format: WireFormat,
    coding: ContentCoding,
    body: impl Stream<Item = Bytes> + Send + Sync + 'static,
) -> Response {
    let body = body.map(Ok::<_, std::convert::Infallible>);
    let mut response = warp::reply::stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wire_format.names().content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(coding) = coding.header() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// One reader of one stream.
#[derive(Debug)]
struct StreamReader {
    cursor: SteerableCursor,
    /// The first item of the cursor, if that was read before the response began.
    first: Option<CursorItem>,
    wire_format: WireFormat,
    keep_alive: Duration,
    /// True if the reader receives a final message at the end, so that a reconnecting browser stops.
    reports_satisfied: bool,
    app: Arc<App>,
}

/// The last bytes of a body if it ends because the daemon does; `None` if only its streams end.
fn stop_notice(app: &App, wire_format: WireFormat) -> Option<String> {
    if *app.ready.borrow() {
        return None;
    }
    let is_restarting = app.restart_notice.is_set();
    let delays = if is_restarting { RESTART_DELAY_MILLIS } else { RECONNECT_DELAY_MILLIS };
    Some(wire_format.stop_notice(is_restarting, fastrand::u32(delays)))
}

/// The progress of a body.
enum BodyStage {
    Preamble(StreamReader),
    Events(StreamReader),
    End,
}

impl BodyStage {
    async fn next(self) -> Option<(BodyPart, Self)> {
        let mut reader = match self {
            Self::Preamble(reader) => match reader.wire_format.retry(fastrand::u32(RECONNECT_DELAY_MILLIS)) {
                Some(retry) => return Some((own(retry), Self::Events(reader))),
                None => reader,
            },
            Self::Events(reader) => reader,
            Self::End => return None,
        };
        loop {
            let item = match reader.first.take() {
                Some(first) => Some(first),
                None => reader.cursor.next(Instant::now() + reader.keep_alive).await,
            };
            let Some(item) = item else {
                if reader.cursor.is_denied() {
                    return Some((own(reader.wire_format.denied_notice(DENIED_TEXT, None)), Self::End));
                }
                if !reader.reports_satisfied || reader.cursor.is_paused() {
                    return stop_notice(&reader.app, reader.wire_format).map(|last| (own(last), Self::End));
                }
                let id = format!("{}{COMPLETED_MARK}", reader.cursor.position());
                return reader.wire_format.position(&id).map(|last| (own(last), Self::End));
            };
            if let Some(part) = reader.encode(item) {
                return Some((part, Self::Events(reader)));
            }
        }
    }
}

impl StreamReader {
    fn encode(&mut self, item: CursorItem) -> Option<BodyPart> {
        let text = match item {
            CursorItem::Frames(frames) => return Some(BodyPart::Frames(frames)),
            CursorItem::TimedOut if self.cursor.has_skipped() => self.wire_format.position(&self.cursor.position())?,
            CursorItem::TimedOut => {
                return Some(BodyPart::Own(Bytes::from_static(self.wire_format.keep_alive()?.as_bytes())));
            }
            item => encode_notice(&item, self.wire_format, &self.cursor.position(), None)?,
        };
        Some(own(text))
    }
}

/// Text for this reader alone.
fn own(text: String) -> BodyPart {
    BodyPart::Own(text.into())
}

/// A gap, progress or an open line; `None` if the wire format does not show it.
fn encode_notice(
    item: &CursorItem,
    wire_format: WireFormat,
    id: &dyn fmt::Display,
    stream: Option<&str>,
) -> Option<String> {
    match item {
        CursorItem::Gap(gap) => Some(wire_format.gap(gap, id, stream)),
        CursorItem::OpenLine(line) => wire_format.open_line(line, stream),
        CursorItem::Progress(progress) => wire_format.progress(progress, stream),
        CursorItem::Frames(_) | CursorItem::TimedOut => None,
    }
}

/// One reader of several streams.
struct MultiStreamReader {
    deliveries: StreamMap<usize, ReaderDeliveries>,
    /// The positions in all streams, in the order of their names. A delivery's key is the index here.
    positions: Vec<(StreamName, Position)>,
    wire_format: WireFormat,
    keep_alive: Duration,
    /// The time of the last bytes of the body; `None` until the first.
    last_sent: Option<Instant>,
    reports_satisfied: bool,
    app: Arc<App>,
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
        wire_format: WireFormat,
        keep_alive: Duration,
        reports_satisfied: bool,
        app: Arc<App>,
    ) -> Self {
        let positions = cursors.iter().map(|(name, cursor)| (name.clone(), cursor.position())).collect();
        let cursors = cursors.into_iter().map(|(_, cursor)| cursor.into_deliveries(keep_alive)).enumerate().collect();
        Self {
            deliveries: cursors,
            positions,
            wire_format,
            keep_alive,
            last_sent: None,
            reports_satisfied,
            app,
            pending: None,
        }
    }

    async fn next(this: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        let mut this = this?;
        if this.last_sent.is_none()
            && let Some(retry) = this.wire_format.retry(fastrand::u32(RECONNECT_DELAY_MILLIS))
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
                    return stop_notice(&this.app, this.wire_format).map(|last| (last.into(), None));
                }
                let id = format!("{}{COMPLETED_MARK}", ConnectionId(&this.positions));
                return this.wire_format.position(&id).map(|last| (last.into(), None));
            };
            let bytes = match item {
                ReaderItem::Item(CursorItem::Frames(frames)) if this.wire_format.has_ids() => {
                    this.pending = Some(PendingFrames { at, frames, sent: 0, position });
                    continue;
                }
                ReaderItem::Item(item) => this.encode(at, &item, position, skipped),
                ReaderItem::Denied => {
                    let name = this.positions[at].0.as_str();
                    this.wire_format.denied_notice(DENIED_TEXT, Some(name)).into_bytes()
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
                self.wire_format.position(&ConnectionId(&self.positions)).unwrap_or_default()
            }
            // Each stream times out separately; one comment serves all of them.
            CursorItem::TimedOut if self.last_sent.is_some_and(|sent| sent.elapsed() < self.keep_alive / 2) => {
                String::new()
            }
            CursorItem::TimedOut => self.wire_format.keep_alive().unwrap_or_default().to_owned(),
            item => {
                let name = self.positions[at].0.as_str();
                encode_notice(item, self.wire_format, &ConnectionId(&self.positions), Some(name)).unwrap_or_default()
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
        let [before, after] = self.parts_of_id(at);
        for (number, (end, id)) in frames.ends.iter().enumerate().skip(sent) {
            self.positions[at].1 = *id;
            writeln!(out, "id: {before}{id}{after}").expect("a Vec takes all that is written to it");
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

    /// The parts of the connection's id before and after the position in one stream. The frames of that stream change
    /// nothing else, so each chunk formats these once.
    fn parts_of_id(&self, at: usize) -> [String; 2] {
        let (before, after) = (&self.positions[..at], &self.positions[at + 1..]);
        let comma = |others: &[_]| if others.is_empty() { "" } else { "," };
        let name = &self.positions[at].0;
        [
            format!("{}{}{name}:", ConnectionId(before), comma(before)),
            format!("{}{}", comma(after), ConnectionId(after)),
        ]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{TestServer, id, next_piece, read};

    async fn server() -> TestServer {
        let mut server = TestServer::new(&[("a", "file"), ("b", "file")]);
        server.write("a", &["one", "two", "three"]).await;
        server.write("b", &["other"]).await;
        server
    }

    /// The body without its first message, whose reconnect delay is random.
    fn without_retry(body: &str) -> &str {
        let (retry, rest) = body.split_once("\n\n").unwrap();
        let millis: u32 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
        assert!(RECONNECT_DELAY_MILLIS.contains(&millis), "{retry}");
        rest
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_receives_what_its_query_chooses_in_the_format_that_it_names() {
        let server = server().await;
        let table = [
            ("follow=false&format=text", "one\ntwo\nthree\n"),
            ("follow=false&format=text&tail=1", "three\n"),
            ("follow=false&format=text&grep=t", "two\nthree\n"),
            ("limit=2&tail=all&format=text", "one\ntwo\n"),
            ("follow=false&format=text&tail=0", ""),
        ];
        for (query, expected) in table {
            assert_eq!(read(follow_one("a", &server.get(query)).await).await, (200, expected.to_owned()), "{query}");
        }
        let (status, body) = read(follow_one("a", &server.get("follow=false&tail=1")).await).await;
        // The last id tells a browser that it has everything.
        let expected = format!("id: {}\ndata: three\n\nid: {}!\n\n", id(3), id(3));
        assert_eq!((status, without_retry(&body)), (200, expected.as_str()));
        let (_, body) = read(follow_one("a", &server.get("follow=false&tail=1&format=ndjson")).await).await;
        assert!(
            body.starts_with(&format!("{{\"id\":\"{}\",", id(3))) && body.ends_with("\"text\":\"three\"}\n"),
            "{body}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_streams_share_a_connection_whose_ids_list_the_positions_in_all() {
        let server = server().await;
        let query = "stream=b&stream=a&stream=a&tail=2&follow=false";
        let (status, body) = read(follow_several(&server.get(query)).await).await;
        assert_eq!(status, 200);
        let messages: Vec<_> = without_retry(&body).split_terminator("\n\n").collect();
        let mut data: Vec<_> = messages.iter().filter_map(|message| message.split_once("\ndata: ")).collect();
        data.sort_by_key(|(_, data)| *data);
        let data: Vec<_> = data.into_iter().map(|(_, data)| data).collect();
        assert_eq!(data, ["other", "three", "two"]);
        assert_eq!(messages.last(), Some(&format!("id: a:{},b:{}!", id(3), id(1)).as_str()));
        let text = read(follow_several(&server.get(&format!("{query}&format=ndjson"))).await).await.1;
        let mut streams: Vec<_> = text.lines().filter_map(|line| line.split('"').nth(7)).collect();
        streams.sort_unstable();
        assert_eq!(streams, ["a", "a", "b"], "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_frame_of_several_streams_has_the_positions_in_all() {
        let names = ["a", "b", "c"];
        for at in 0..names.len() {
            let mut server = TestServer::new(&names.map(|name| (name, "file")));
            server.write(names[at], &["one", "two"]).await;
            let query = "stream=a&stream=b&stream=c&tail=all&follow=false";
            let (_, body) = read(follow_several(&server.get(query)).await).await;
            let ids: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
            let expected = [(1, ""), (2, ""), (2, "!")].map(|(last, end)| {
                let id = |name| format!("{name}:{}", id(if name == names[at] { last } else { 0 }));
                names.map(id).join(",") + end
            });
            assert_eq!(ids, expected, "{}", names[at]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_several_streams_are_sent_in_chunks() {
        let mut server = TestServer::new(&[("a", "file"), ("b", "file")]);
        let line = "x".repeat(1000);
        server.write("a", &vec![line.as_str(); 100]).await;
        let mut response = follow_several(&server.get("stream=a&stream=b&tail=all&follow=false")).await.unwrap();
        let (mut sizes, mut lines) = (Vec::new(), 0);
        while let Some(piece) = next_piece(&mut response).await {
            sizes.push(piece.len());
            lines += piece.matches(&line).count();
        }
        assert_eq!(lines, 100);
        let limit = MULTI_STREAM_CHUNK_SIZE + MAX_CONNECTION_ID_SIZE + line.len();
        assert!(sizes.len() > 6 && sizes.iter().all(|size| *size <= limit), "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_shows_that_it_lives_and_where_it_is() {
        let mut server = server().await;
        for (query, keeps_alive) in [("tail=0", true), ("tail=0&format=ndjson", false), ("tail=0&format=text", false)] {
            let mut response = follow_one("a", &server.get(query)).await.unwrap();
            if keeps_alive {
                next_piece(&mut response).await.unwrap();
                assert_eq!(next_piece(&mut response).await.as_deref(), Some(":\n\n"), "{query}");
            } else {
                let quiet = tokio::time::timeout(10 * server.limits.keep_alive, next_piece(&mut response)).await;
                assert!(quiet.is_err(), "{query}: {quiet:?}");
            }
        }
        let mut one = follow_one("a", &server.get("tail=0&grep=never")).await.unwrap();
        let mut both = follow_several(&server.get("stream=a&stream=b&tail=0&grep=never")).await.unwrap();
        next_piece(&mut one).await.unwrap();
        next_piece(&mut both).await.unwrap();
        server.write("a", &["four"]).await;
        // The filter removed the line, and the reader need not see it again after a reconnect.
        let moved = async |response: &mut Response| loop {
            let piece = next_piece(response).await.unwrap();
            if piece != ":\n\n" {
                return piece;
            }
        };
        assert_eq!(moved(&mut one).await, format!("id: {}\n\n", id(4)));
        assert_eq!(moved(&mut both).await, format!("id: a:{},b:{}\n\n", id(4), id(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_becomes_private_ends_its_readers_with_the_reason() {
        let why = DENIED_TEXT;
        let table = [
            ("sse", format!("event: denied\ndata: {{\"why\":\"{why}\"}}\n\n")),
            ("ndjson", format!("{{\"kind\":\"denied\",\"why\":\"{why}\"}}\n")),
            ("text", format!("--- rtlogd: {why} ---\n")),
        ];
        for (format, expected) in table {
            let server = server().await;
            let response = follow_one("a", &server.get(&format!("tail=0&format={format}"))).await;
            let query = format!("tail=0&stream=a&stream=b&format={format}");
            let mut both = follow_several(&server.get(&query)).await.unwrap();
            server.app.catalog.get(&"a".parse().unwrap()).unwrap().log.private().set();
            let (_, body) = read(response).await;
            assert!(body.ends_with(&expected), "{format}: {body}");
            // Of several streams, only that one ends.
            let denied = loop {
                let piece = next_piece(&mut both).await.unwrap();
                if piece.contains(why) {
                    break piece;
                }
            };
            assert!(format == "text" || denied.contains("\"stream\":\"a\""), "{denied}");
            let again = read(follow_one("a", &server.get("follow=false")).await).await;
            assert_eq!(again, (404, "no stream is named \"a\"; GET /streams lists them".to_owned()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_followed_is_refused_but_a_browser_is_told_to_come_back_or_to_stop() {
        /// A change of the server before the request.
        type Change = fn(&mut TestServer);
        let (gone, done) = (String::new(), format!("{}!", id(3)));
        let hold: Change = |server| server.app.catalog.hold(&"a".parse().unwrap());
        let remove: Change = |server| server.app.catalog.remove(&"a".parse().unwrap());
        let stop: Change = |server| server.stop();
        let fill: Change = |server| server.limits.readers = 0;
        let end: Change = |server| server.end("a");
        let nothing: Change = |_| {};
        let later = format!("retry: {BUSY_RECONNECT_DELAY_MILLIS}\n\n");
        // The query, the refusal of a program, and the response to a browser that reconnects with its last id.
        let table = [
            ("starting or stopping", stop, "", 503, (200, &later)),
            ("being restarted", hold, "", 503, (200, &later)),
            ("no stream is named", remove, "", 404, (204, &gone)),
            ("is the limit", fill, "", 503, (200, &later)),
            ("", end, "tail=0&format=text", 200, (204, &gone)),
            ("", nothing, "follow=false&tail=0&format=text", 200, (204, &gone)),
        ];
        for (detail, change, query, status, reconnected) in table {
            let mut server = server().await;
            change(&mut server);
            let refused = read(follow_one("a", &server.get(query)).await).await;
            assert!(refused.0 == status && refused.1.contains(detail), "{detail}: {refused:?}");
            let again = read(follow_one("a", &server.reconnect(query, &done)).await).await;
            assert_eq!((again.0, &again.1), reconnected, "{detail}");
        }
        let server = server().await;
        let table =
            [("stream=a", "stream= goes with GET /streams"), ("tail=x", "tail=x is neither"), ("after=x", "after=x: ")];
        for (query, detail) in table {
            let refused = read(follow_one("a", &server.get(query)).await).await;
            assert!(refused.0 == 400 && refused.1.contains(detail), "{query}: {refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_streams_one_that_is_missing_is_refused_at_first_and_left_out_later() {
        let server = server().await;
        let query = "stream=a&stream=nowhere&follow=false&tail=all&format=text";
        assert_eq!(read(follow_several(&server.get(query)).await).await.0, 404);
        let last_id = format!("a:{},nowhere:{}", id(1), id(9));
        let again = read(follow_several(&server.reconnect(query, &last_id)).await).await;
        assert_eq!(again, (200, "two\nthree\n".to_owned()));
        let names = |count: usize, length: usize| {
            (0..count).map(|at| format!("stream={at:0length$}")).collect::<Vec<_>>().join("&")
        };
        for query in [names(MAX_STREAMS_PER_CONNECTION + 1, 4), names(MAX_STREAMS_PER_CONNECTION, 60)] {
            let refused = read(follow_several(&server.get(&query)).await).await;
            assert!(refused.0 == 400 && refused.1.contains("too many streams"), "{refused:?}");
        }
    }
}
