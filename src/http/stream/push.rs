//! `POST /streams/NAME`: appends the lines of the body to a stream that accepts lines, as the body arrives.
//!
//! Data is in the stream, and recorded, before more of the body is read. A sender that is too fast therefore waits, and
//! the memory in use is bounded by one read per sender.

use bytes::{Buf, Bytes};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use warp::reply::Response;

use crate::control::{CommandError, PushSender, PushTally};
use crate::event::{Origin, StreamName};

use super::follow;
use crate::http::call_error::CallError;
use crate::http::command::CommandSender;
use crate::http::guard::authenticate::refused;
use crate::http::guard::body::RequestBody;
use crate::http::guard::lifetime::LifetimeEnd;
use crate::http::problem::{AllowedMethods, Problem};
use crate::http::request::{HttpRequest, changes_state};
use crate::http::response::json;

/// Maximum number of bytes that are appended at once, so that other senders get their turn.
const PUSH_CHUNK_SIZE: usize = 64 << 10;

/// Maximum length of an origin, in bytes: it is part of the JSON of each line.
const MAX_ORIGIN_SIZE: usize = 128;

/// The origin of lines whose sender names none.
const DEFAULT_PUSH_ORIGIN: &str = "push";

/// The handler of a stream's own path: reads the stream, or appends lines to it.
pub(crate) async fn push_or_follow(
    name: &str,
    ask: HttpRequest,
    body: Option<RequestBody>,
) -> Result<Response, Problem> {
    if ask.method == Method::GET || ask.is_head() {
        return follow::one(name, &ask).await;
    }
    let mut incoming = body.as_ref().and_then(RequestBody::take);
    let done = append(name, &ask, incoming.as_mut()).await;
    if let (Err(_), Some(body), Some(incoming)) = (&done, body, incoming) {
        body.put_back(incoming);
    }
    done
}

async fn append(name: &str, ask: &HttpRequest, mut body: Option<&mut Incoming>) -> Result<Response, Problem> {
    let entry = ask.stream(name)?;
    let takes = entry.kind == "push";
    let sends = changes_state(&ask.method);
    let problem = Problem::method(AllowedMethods::Stream { takes_lines: takes });
    if !sends {
        return Err(problem);
    }
    if !takes {
        return Err(problem.with_detail(CommandError::NotAPushStream.to_string()));
    }
    let origin = origin(ask.only_parameter("origin")?)?;
    let mut term = ask.lifetime(0)?;
    let pusher = open(ask, entry.log.name(), origin).await?;
    let mut tally = PushTally::default();
    // A request without a body has no lines.
    while let Some(body) = &mut body {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = pusher.closed() => return Err(gone(&CommandError::Gone, tally)),
            over = term.over() => return Err(ended(&over, tally)),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| push_interrupted(StatusCode::BAD_REQUEST, "the body broke off", tally))?;
        let Ok(mut data) = frame.into_data() else { continue };
        while data.has_remaining() {
            let piece = data.split_to(data.len().min(PUSH_CHUNK_SIZE));
            tally = send(&pusher, piece, false, tally).await?;
        }
    }
    let tally = send(&pusher, Bytes::new(), true, tally).await?;
    let (first, last) = tally.ids.unzip();
    Ok(json(&json!({ "lines": tally.lines, "first": first, "last": last })))
}

async fn send(pusher: &PushSender, bytes: Bytes, last: bool, before: PushTally) -> Result<PushTally, Problem> {
    let sent = pusher.send(bytes, last).await;
    sent.map_err(|refused| gone(&refused, before))
}

fn gone(refused: &CommandError, before: PushTally) -> Problem {
    push_interrupted(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string(), before)
}

/// Opens a sender of lines to the stream.
async fn open(ask: &HttpRequest, stream: &StreamName, origin: Origin) -> Result<PushSender, CallError> {
    let sender = CommandSender { app: &ask.app, caller: &ask.caller, channel: None };
    sender.open_sender(stream, origin)?.await
}

/// The problem for a body that could not be appended completely. It reports how far the body got, so that the rest can
/// be sent again.
fn push_interrupted(status: StatusCode, why: &str, tally: PushTally) -> Problem {
    Problem::new(status, progress_text(why, tally))
}

/// The problem for a body whose lifetime has ended.
fn ended(over: &LifetimeEnd, tally: PushTally) -> Problem {
    match over {
        LifetimeEnd::TokenInvalid(why) => refused(why).with_detail(progress_text(&why.to_string(), tally)),
        LifetimeEnd::MaxAge => {
            push_interrupted(StatusCode::SERVICE_UNAVAILABLE, "this connection has reached its age limit", tally)
        }
    }
}

fn progress_text(why: &str, tally: PushTally) -> String {
    match tally.ids {
        Some((_, last)) => format!("{why}; {} lines of it are in the stream, the last as {last}", tally.lines),
        None => format!("{why}; nothing of it is in the stream"),
    }
}

fn origin(name: Option<&str>) -> Result<Origin, Problem> {
    let name = name.unwrap_or(DEFAULT_PUSH_ORIGIN);
    if name.is_empty() || name.len() > MAX_ORIGIN_SIZE || name.chars().any(char::is_control) {
        let detail =
            format!("origin= names who sends the lines, in 1 to {MAX_ORIGIN_SIZE} bytes without control characters");
        return Err(Problem::bad(detail));
    }
    Ok(Origin::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_short_name() {
        assert_eq!(origin(None).unwrap().as_str(), "push");
        assert_eq!(origin(Some("runner 7")).unwrap().as_str(), "runner 7");
        for name in ["", "a\nb", &"x".repeat(MAX_ORIGIN_SIZE + 1)] {
            assert!(origin(Some(name)).is_err(), "{name:?}");
        }
    }
}
