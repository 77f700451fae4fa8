//! `GET /streams/NAME/poll`: the same cursor as one reply, `{events, next, gap?, progress?}`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use warp::reply::Response;

use crate::event::{Gap, Position, Progress};
use crate::stream::{CursorEnd, CursorItem, View};
use crate::wire::Encoding;

use crate::http::call_error::CallError;
use crate::http::problem::Problem;
use crate::http::query::StreamQuery;
use crate::http::request::HttpRequest;
use crate::http::response::json;

/// How long a poll waits for an event unless it says so, and at most: proxies give up on silence after a minute.
const DEFAULT_POLL_WAIT: Duration = Duration::from_secs(30);
const MAX_POLL_WAIT: Duration = Duration::from_secs(55);

/// Most lines in one reply; the rest comes with the next.
const MAX_LINES_PER_POLL: u64 = 1000;

/// After the first event, how long others may join it.
const POLL_COALESCE_TIME: Duration = Duration::from_millis(5);

#[derive(Serialize)]
struct PollResponse {
    events: Vec<Box<RawValue>>,
    /// What to send as `after` next.
    next: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Gap>,
    /// How far the source is; it does not end the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Arc<Progress>>,
}

/// The events after `after`, at once if there are some, else as soon as one comes or the time is over.
pub(crate) async fn poll(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let ask = StreamQuery::from_request(request, SystemTime::now())?;
    let log = request.stream(name)?.log;
    // It would come back at once, with nothing, for as long as the stream takes to end.
    if request.app.catalog.is_being_replaced(log.name()) {
        return Err(CallError::Reconfiguring.into());
    }
    let mut term = request.lifetime(1)?;
    let lines = ask.until.lines.map_or(MAX_LINES_PER_POLL, |lines| lines.min(MAX_LINES_PER_POLL));
    let view = View { encoding: Encoding::Ndjson, ..ask.view(false) };
    let until = CursorEnd { lines: Some(lines), ..ask.until };
    let mut cursor = log.cursor(view, ask.start_of_only()?, until).await;
    // A HEAD asks what the answer would look like, which nothing has to be waited for.
    let wait =
        if request.is_head() { Duration::ZERO } else { ask.wait.unwrap_or(DEFAULT_POLL_WAIT).min(MAX_POLL_WAIT) };
    let mut deadline = Instant::now() + wait;
    let mut events: Vec<Box<RawValue>> = Vec::new();
    let (mut gap, mut progress) = (None, None);
    let mut ready = request.app.ready.clone();
    loop {
        let item = tokio::select! {
            item = cursor.next(deadline) => item,
            // The daemon stops: what there is goes out.
            _ = ready.wait_for(|ready| !ready) => None,
            // What there is goes out; the next poll is refused, or comes by another connection.
            _ = term.over() => None,
        };
        match item {
            Some(CursorItem::Frames(frames)) => {
                for line in frames.bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
                    events.push(serde_json::from_slice(line).expect("an event in this encoding is a line of JSON"));
                }
                deadline = deadline.min(Instant::now() + POLL_COALESCE_TIME);
            }
            // What was missed comes first; behind events it is for the next reply to tell.
            Some(CursorItem::Gap(missed)) if events.is_empty() => {
                gap = Some(missed);
                deadline = deadline.min(Instant::now() + POLL_COALESCE_TIME);
            }
            Some(CursorItem::Gap(missed)) => {
                let next = events.last().and_then(|event| last_id(event)).unwrap_or(missed.resume);
                return Ok(json(&PollResponse { events, next, gap, progress }));
            }
            Some(CursorItem::Progress(now)) => progress = Some(now),
            Some(CursorItem::OpenLine(_)) => {}
            Some(CursorItem::TimedOut) | None => break,
        }
    }
    if cursor.is_denied() && events.is_empty() {
        return Err(Problem::no_stream(name));
    }
    Ok(json(&PollResponse { events, next: cursor.place(), gap, progress }))
}

fn last_id(event: &RawValue) -> Option<Position> {
    #[derive(serde::Deserialize)]
    struct EventIdOnly {
        id: String,
    }
    serde_json::from_str::<EventIdOnly>(event.get()).ok()?.id.parse().ok()
}
