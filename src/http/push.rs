//! `POST /streams/NAME`: appends the lines of the body to a stream that takes some, as the body arrives.
//!
//! What a sender sends is in the stream, and recorded, before more of it is read: so one that is too fast waits, and what is
//! on its way is bounded by one read for each sender.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::timeout;
use warp::reply::Response;

use crate::control::{Command, Pusher, Refused, Reply, Tally};
use crate::event::{Origin, StreamName};

use super::command::{Fault, Sender};
use super::listen::Coming;
use super::problem::{Allowed, Problem};
use super::term::Over;
use super::who::refused;
use super::{Request, follow, is_sending, json};

/// Most bytes that go into a stream at once: the others are to have their turn.
const PIECE: usize = 64 << 10;

/// Longest name of an origin, in bytes: it stands in each line's JSON.
const ORIGIN: usize = 128;

/// Where lines come from if their sender does not say.
const PUSHED: &str = "push";

/// A body that is refused is read so far, in bytes, and for so long: many clients look at the answer only then.
const REFUSED: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the body of this request is read as it comes, and not before its route is known.
pub(super) fn takes_lines(head: &Parts) -> bool {
    let name = head.uri.path().strip_prefix("/streams/");
    let is_stream = name.is_some_and(|name| !name.is_empty() && !name.contains('/'));
    is_stream && is_sending(&head.method)
}

/// Whether a body is something else than its bytes.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What is asked of a stream by its own address: to be read, or to take lines.
pub(super) async fn or_follow(name: &str, ask: Request, body: Option<Coming>) -> Result<Response, Problem> {
    if ask.method == Method::GET || ask.is_head() {
        return follow::one(name, &ask).await;
    }
    let mut body = body.as_ref().and_then(Coming::take);
    let done = append(name, &ask, body.as_mut()).await;
    if let (Err(_), Some(body)) = (&done, &mut body) {
        // That it took too long, or broke off, is nothing more to tell.
        timeout(PATIENCE, drain(body)).await.unwrap_or_default();
    }
    done
}

async fn drain(body: &mut Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > REFUSED {
            return;
        }
    }
}

async fn append(name: &str, ask: &Request, body: Option<&mut Incoming>) -> Result<Response, Problem> {
    let entry = ask.stream(name)?;
    let takes = entry.kind == "push";
    let sends = is_sending(&ask.method);
    let problem = Problem::method(Allowed::Stream { pushed: takes });
    let body = match body {
        Some(body) if takes => body,
        _ if sends && !takes => return Err(problem.because(Refused::NotPushed.to_string())),
        _ => return Err(problem),
    };
    if is_coded(&ask.headers) {
        return Err(Problem::coded());
    }
    let origin = origin(ask.only("origin")?)?;
    let mut term = ask.term()?;
    let pusher = open(ask, entry.log.name(), origin).await?;
    let mut tally = Tally::default();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = pusher.gone() => return Err(gone(&Refused::Gone, tally)),
            over = term.over() => return Err(ended(&over, tally)),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| broken(StatusCode::BAD_REQUEST, "the body broke off", tally))?;
        let Ok(mut data) = frame.into_data() else { continue };
        while data.has_remaining() {
            let piece = data.split_to(data.len().min(PIECE));
            tally = send(&pusher, piece, false, tally).await?;
        }
    }
    let tally = send(&pusher, Bytes::new(), true, tally).await?;
    let (first, last) = tally.ids.unzip();
    Ok(json(&json!({ "lines": tally.lines, "first": first, "last": last })))
}

async fn send(pusher: &Pusher, bytes: Bytes, last: bool, before: Tally) -> Result<Tally, Problem> {
    let sent = pusher.send(bytes, last).await;
    sent.map_err(|refused| gone(&refused, before))
}

fn gone(refused: &Refused, before: Tally) -> Problem {
    broken(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string(), before)
}

/// One more that sends lines into the stream.
async fn open(ask: &Request, stream: &StreamName, origin: Origin) -> Result<Pusher, Fault> {
    let sender = Sender { app: &ask.app, caller: &ask.caller, channel: None };
    match sender.send(stream, Command::Push(origin))?.await? {
        Reply::Pushing(pusher) => Ok(pusher),
        Reply::Done | Reply::Already | Reply::Attached(_) => Err(Fault::Refused(Refused::NotPushed)),
    }
}

/// What could not be taken to its end: so that the rest can be sent again, how far it was.
fn broken(status: StatusCode, why: &str, tally: Tally) -> Problem {
    Problem::new(status, so_far(why, tally))
}

/// A body that may go on no longer.
fn ended(over: &Over, tally: Tally) -> Problem {
    match over {
        Over::Denied(why) => refused(why).because(so_far(&why.to_string(), tally)),
        Over::Aged => broken(StatusCode::SERVICE_UNAVAILABLE, "this connection has lived its time", tally),
    }
}

fn so_far(why: &str, tally: Tally) -> String {
    match tally.ids {
        Some((_, last)) => format!("{why}; {} lines of it are in the stream, the last as {last}", tally.lines),
        None => format!("{why}; nothing of it is in the stream"),
    }
}

fn origin(name: Option<&str>) -> Result<Origin, Problem> {
    let name = name.unwrap_or(PUSHED);
    if name.is_empty() || name.len() > ORIGIN || name.chars().any(char::is_control) {
        let detail = format!("origin= names who sends the lines, in 1 to {ORIGIN} bytes without control characters");
        return Err(Problem::bad(detail));
    }
    Ok(Origin::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_body_of_lines_is_read_as_it_comes() {
        let table = [
            ("POST", "/streams/a", true),
            ("PUT", "/streams/a?origin=x", true),
            ("GET", "/streams/a", false),
            ("POST", "/streams/a/input", false),
            ("POST", "/streams", false),
            ("POST", "/streams/", false),
        ];
        for (method, path, expected) in table {
            let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(takes_lines(&request.into_parts().0), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_origin_is_a_short_name() {
        assert_eq!(origin(None).unwrap().as_str(), "push");
        assert_eq!(origin(Some("runner 7")).unwrap().as_str(), "runner 7");
        for name in ["", "a\nb", &"x".repeat(ORIGIN + 1)] {
            assert!(origin(Some(name)).is_err(), "{name:?}");
        }
    }
}
