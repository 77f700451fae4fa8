//! `POST /streams/NAME`: appends the lines of the body to a stream that accepts lines, as the body arrives.
//!
//! Data is in the stream, and recorded, before more of the body is read. A sender that is too fast therefore waits, and
//! the memory in use is bounded by a chunk and one read per sender.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use serde_json::json;
use tokio::task::yield_now;
use warp::reply::Response;

use crate::control::{CommandError, PushSender, PushTally};
use crate::event::{Origin, StreamName};

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

/// Appends the lines of the body to the stream, and refuses every method other than POST and PUT.
pub(super) async fn push(name: &str, request: &HttpRequest, body: Option<RequestBody>) -> Result<Response, Problem> {
    let mut incoming = body.as_ref().and_then(RequestBody::take);
    let done = append(name, request, incoming.as_mut()).await;
    if let (Err(_), Some(body), Some(incoming)) = (&done, body, incoming) {
        body.put_back(incoming);
    }
    done
}

async fn append(name: &str, request: &HttpRequest, mut body: Option<&mut Incoming>) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    let takes = entry.kind == "push";
    let sends = changes_state(&request.method);
    let problem = Problem::method(AllowedMethods::Stream { takes_lines: takes });
    if !sends {
        return Err(problem);
    }
    if !takes {
        return Err(problem.with_detail(CommandError::NotAPushStream.to_string()));
    }
    check_media_type(&request.headers, name)?;
    let origin = parse_origin(request.only_parameter("origin")?)?;
    let mut lifetime = request.lifetime(0)?;
    let pusher = open_push(request, entry.log.name(), origin).await?;
    let mut tally = PushTally::default();
    // A request without a body has no lines.
    while let Some(body) = &mut body {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = pusher.closed() => return Err(stream_gone(&CommandError::Gone, tally)),
            end = lifetime.ended() => return Err(push_lifetime_over(&end, tally)),
        };
        let (mut data, follows) = match frame {
            Some(frame) => arrived(frame, body).await,
            None => (Bytes::new(), Follows::Nothing),
        };
        while data.len() > PUSH_CHUNK_SIZE {
            tally = send(&pusher, data.split_to(PUSH_CHUNK_SIZE), false, tally).await?;
        }
        tally = send(&pusher, data, follows == Follows::Nothing, tally).await?;
        match follows {
            Follows::MayFollow => {}
            Follows::Nothing => return Ok(pushed(tally)),
            Follows::Failure => return Err(push_interrupted(StatusCode::BAD_REQUEST, "the body ended early", tally)),
        }
    }
    Ok(pushed(send(&pusher, Bytes::new(), true, tally).await?))
}

/// What comes after some bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    MayFollow,
    Nothing,
    Failure,
}

/// The bytes of a frame of the body and of those after it that have arrived, about [`PUSH_CHUNK_SIZE`] of them: a sender
/// that writes line by line has several lines in the stream at once if they come in quick succession.
async fn arrived(first: Result<Frame<Bytes>, hyper::Error>, body: &mut Incoming) -> (Bytes, Follows) {
    let (mut bytes, mut frame) = (Bytes::new(), Some(first));
    let follows = loop {
        match frame {
            None => break Follows::Nothing,
            Some(Err(_)) => break Follows::Failure,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    bytes = joined(bytes, data);
                }
            }
        }
        if body.is_end_stream() {
            break Follows::Nothing;
        }
        if bytes.len() >= PUSH_CHUNK_SIZE {
            break Follows::MayFollow;
        }
        frame = tokio::select! {
            biased;
            next = body.frame() => next,
            // The connection hands over one frame at a time, and runs in this task.
            () = yield_now() => break Follows::MayFollow,
        };
    };
    (bytes, follows)
}

/// Both, one after the other. A result of this function is not copied again when it is extended.
fn joined(bytes: Bytes, more: Bytes) -> Bytes {
    if bytes.is_empty() {
        return more;
    }
    let mut all = BytesMut::from(bytes);
    all.extend_from_slice(&more);
    all.freeze()
}

fn pushed(tally: PushTally) -> Response {
    let (first, last) = tally.ids.unzip();
    json(&json!({ "lines": tally.lines, "first": first, "last": last }))
}

async fn send(pusher: &PushSender, bytes: Bytes, last: bool, before: PushTally) -> Result<PushTally, Problem> {
    let sent = pusher.send(bytes, last).await;
    sent.map_err(|refused| stream_gone(&refused, before))
}

fn stream_gone(refused: &CommandError, before: PushTally) -> Problem {
    push_interrupted(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string(), before)
}

/// Opens a sender of lines to the stream.
async fn open_push(request: &HttpRequest, stream: &StreamName, origin: Origin) -> Result<PushSender, CallError> {
    let sender = CommandSender { app: &request.app, caller: &request.caller, channel: None };
    sender.open_sender(stream, origin)?.await
}

/// The problem for a body that could not be appended completely. It reports how far the body got, so that the rest can
/// be sent again.
fn push_interrupted(status: StatusCode, why: &str, tally: PushTally) -> Problem {
    Problem::new(status, progress_text(why, tally))
}

/// The problem for a body whose lifetime has ended.
fn push_lifetime_over(end: &LifetimeEnd, tally: PushTally) -> Problem {
    match end {
        LifetimeEnd::TokenInvalid(why) => refused(why).with_detail(progress_text(&why.to_string(), tally)),
        LifetimeEnd::MaxAge => {
            push_interrupted(StatusCode::SERVICE_UNAVAILABLE, "this connection has reached its age limit", tally)
        }
    }
}

fn progress_text(why: &str, tally: PushTally) -> String {
    match tally.ids {
        Some((_, last)) => format!("{why}; {} lines of it are in the stream, the last as {last}", tally.lines),
        None => format!("{why}; none of it is in the stream"),
    }
}

/// Refuses the body of a form, whose boundaries and headers would become lines.
fn check_media_type(headers: &HeaderMap, name: &str) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if media_type.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/")) {
        let detail = format!(
            "the body is a form, whose boundaries would become lines; send the lines themselves, as `curl -T FILE \
            .../streams/{name}` and `rtlogd push {name} FILE` do"
        );
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

fn parse_origin(name: Option<&str>) -> Result<Origin, Problem> {
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
    fn a_form_is_refused_with_what_to_send_instead() {
        let check = |value: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap())]);
            check_media_type(&headers, "deploy").map_err(Problem::into_parts)
        };
        for form in ["multipart/form-data; boundary=x", "Multipart/Form-Data", "multipart/mixed"] {
            let (status, detail) = check(form).unwrap_err();
            assert!(status == 415 && detail.contains("rtlogd push deploy FILE"), "{form}: {detail}");
        }
        // The type that `curl --data-binary` and others send by default does not mean that the body is a form.
        for plain in ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream", "x", ""] {
            assert_eq!(check(plain), Ok(()), "{plain}");
        }
        assert_eq!(check_media_type(&HeaderMap::new(), "deploy").map_err(Problem::into_parts), Ok(()));
    }

    #[test]
    fn an_origin_is_a_short_name() {
        assert_eq!(parse_origin(None).unwrap().as_str(), "push");
        assert_eq!(parse_origin(Some("runner 7")).unwrap().as_str(), "runner 7");
        for name in ["", "a\nb", &"x".repeat(MAX_ORIGIN_SIZE + 1)] {
            assert!(parse_origin(Some(name)).is_err(), "{name:?}");
        }
    }
}
