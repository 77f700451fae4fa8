//! `GET /control`: the WebSocket (RFC 6455) that takes commands. Here the handshake, checked in full; then [`session`] runs it.
//!
//! A session is one task: what it reads are cursors, so a socket that is slow or paused costs places, never a queue.

mod calls;
mod close;
#[cfg(debug_assertions)]
pub(super) mod echo;
mod requests;
mod session;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use log::debug;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use warp::reply::Response;

use super::Request;
use super::problem::Problem;
use session::Session;

/// The subprotocol: a later one is another name.
const PROTOCOL: &str = "rtlogd.v1";

/// What is read from a socket at once, in bytes: commands are short.
const READ: usize = 8 << 10;

/// Most that waits to be written, in bytes: one message of events, or the longest line twice over, as text and in base64. A list of
/// streams is longer where there are tens of thousands of them; then the socket is closed.
const WRITE: usize = 16 << 20;

/// A socket, its handshake done.
type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a handshake, and goes on as a session.
pub(super) fn open(ask: Request, upgrade: Option<OnUpgrade>) -> Result<Response, Problem> {
    let (accept, upgrade) = shake(&ask, upgrade)?;
    let offered = lists(&ask.headers, "sec-websocket-protocol", PROTOCOL);
    if !offered {
        return Err(Problem::bad(format!("offer the subprotocol {PROTOCOL} (Sec-WebSocket-Protocol)")));
    }
    if !*ask.app.ready.borrow() {
        let detail = "the daemon is starting or stopping; try again";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let term = ask.term(0)?;
    let guest = ask.guest.clone();
    let largest = guest.limits.message_size;
    let session = Session::new(ask.app, ask.caller, guest.limits.clone());
    guest.go_on(async move {
        match upgraded(upgrade, largest).await {
            Ok(socket) => session.run(socket, term).await,
            Err(error) => debug!(error:% = error; "a WebSocket did not come to be"),
        }
    });
    Ok(switched(&accept, Some(PROTOCOL)))
}

/// Checks the handshake (RFC 6455, section 4.2.1), and gives the key's answer.
fn shake(ask: &Request, upgrade: Option<OnUpgrade>) -> Result<(String, OnUpgrade), Problem> {
    let headers = &ask.headers;
    let wanted = !ask.is_head() && lists(headers, "upgrade", "websocket") && lists(headers, "connection", "upgrade");
    let (true, Some(upgrade)) = (wanted, upgrade) else {
        return Err(Problem::upgrade("this address speaks WebSocket (RFC 6455) over HTTP/1.1"));
    };
    if one(headers, "sec-websocket-version").is_none_or(|version| version != "13") {
        return Err(Problem::upgrade("the version of the WebSocket must be 13"));
    }
    let key = one(headers, "sec-websocket-key").filter(|key| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(key);
        bytes.is_ok_and(|bytes| bytes.len() == 16)
    });
    let Some(key) = key else {
        return Err(Problem::bad("Sec-WebSocket-Key must be there once, and 16 bytes in base64"));
    };
    ask.check_origin()?;
    Ok((derive_accept_key(key.as_bytes()), upgrade))
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// Whether a header's list holds `token`, in any case.
fn lists(headers: &HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// The connection as a socket that takes messages of up to `largest` bytes. A frame is no larger.
async fn upgraded(upgrade: OnUpgrade, largest: usize) -> Result<Socket, hyper::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE.max(2 * largest))
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    let connection = TokioIo::new(upgrade.await?);
    Ok(WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await)
}

fn switched(accept: &str, protocol: Option<&'static str>) -> Response {
    let mut response = Response::new(String::new().into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(accept).expect("base64 is a header's text"));
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response
}
