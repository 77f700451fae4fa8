//! `GET /streams/NAME/poll`: a cursor as a single response, `{events, next, gap?, progress?, ended?}`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use warp::reply::Response;

use crate::event::{Gap, Position, Progress};
use crate::stream::{CursorEnd, CursorItem, View};
use crate::wire::WireFormat;

use crate::http::call_error::CallError;
use crate::http::problem::Problem;
use crate::http::query::StreamQuery;
use crate::http::request::HttpRequest;
use crate::http::response::json;

/// The default time that a poll waits for an event, and the maximum: proxies close a silent connection after a minute.
const DEFAULT_POLL_WAIT: Duration = Duration::from_secs(30);
const MAX_POLL_WAIT: Duration = Duration::from_secs(55);

/// Maximum number of lines in one response; further lines come with the next one.
const MAX_LINES_PER_POLL: u64 = 1000;

/// Time that a response waits for further events after the first one.
const POLL_COALESCE_TIME: Duration = Duration::from_millis(5);

#[derive(Serialize)]
struct PollResponse {
    events: Vec<Box<RawValue>>,
    /// The value of `after` in the next request.
    next: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    /// The current progress; a change of it does not end the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Arc<Progress>>,
    /// `true` if no event follows `next`, so that there is nothing to wait for: the reader has reached the end that `run`,
    /// `before` or `follow=false` sets.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
}

/// The events after `after`: at once if there are any, otherwise when one arrives or the wait ends.
pub(crate) async fn poll(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let query = StreamQuery::from_request(request, SystemTime::now())?;
    let log = request.stream(name)?.log;
    // The response would be empty and immediate for as long as the stream takes to end, so the client would poll in a
    // tight loop.
    if request.app.catalog.is_being_replaced(log.name()) {
        return Err(CallError::Reconfiguring.into());
    }
    let mut lifetime = request.lifetime(1)?;
    let lines = query.until.lines.map_or(MAX_LINES_PER_POLL, |lines| lines.min(MAX_LINES_PER_POLL));
    let view = View { wire_format: WireFormat::Ndjson, ..query.view(false) };
    let start = query.start_of_only()?;
    let until = CursorEnd { lines: Some(lines), ..query.end_in(&log, start)? };
    let mut cursor = log.cursor(view, start, until).await;
    // A HEAD request asks for the headers only, so there is nothing to wait for.
    let wait =
        if request.is_head() { Duration::ZERO } else { query.wait.unwrap_or(DEFAULT_POLL_WAIT).min(MAX_POLL_WAIT) };
    let mut deadline = Instant::now() + wait;
    let mut events: Vec<Box<RawValue>> = Vec::new();
    let (mut gap, mut progress) = (None, None);
    let mut ready = request.app.ready.clone();
    loop {
        let item = tokio::select! {
            item = cursor.next(deadline) => item,
            // The daemon stops, so the events so far are sent.
            _ = ready.wait_for(|ready| !ready) => None,
            // The events so far are sent; the next poll is refused, or comes by another connection.
            _ = lifetime.ended() => None,
        };
        match item {
            Some(CursorItem::Frames(frames)) => {
                for line in frames.bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
                    events.push(serde_json::from_slice(line).expect("an event in this wire format is a line of JSON"));
                }
                deadline = deadline.min(Instant::now() + POLL_COALESCE_TIME);
            }
            // A gap comes first in its response; after events it is left to the next response.
            Some(CursorItem::Gap(missed)) if events.is_empty() => {
                gap = Some(missed);
                deadline = deadline.min(Instant::now() + POLL_COALESCE_TIME);
            }
            Some(CursorItem::Gap(missed)) => {
                let next = events.last().and_then(|event| last_id(event)).unwrap_or(missed.resume);
                return Ok(json(&PollResponse { events, next, gap, progress, ended: false }));
            }
            Some(CursorItem::Progress(now)) => progress = Some(now),
            Some(CursorItem::OpenLine(_)) => {}
            Some(CursorItem::TimedOut) | None => break,
        }
    }
    if cursor.is_denied() && events.is_empty() {
        return Err(Problem::no_stream(name));
    }
    let ended = cursor.is_at_end();
    Ok(json(&PollResponse { events, next: cursor.position(), gap, progress, ended }))
}

fn last_id(event: &RawValue) -> Option<Position> {
    #[derive(serde::Deserialize)]
    struct EventIdOnly {
        id: String,
    }
    serde_json::from_str::<EventIdOnly>(event.get()).ok()?.id.parse().ok()
}
