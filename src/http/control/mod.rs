//! `GET /control`: the WebSocket (RFC 6455) that takes commands. Here the handshake, checked in full; then [`channel`] runs it.
//!
//! A channel is one task. It reads from cursors, so a slow or paused socket costs a position for each, never a queue. [`channel`] runs
//! the socket, `session` has the methods, `requests` the types of calls and results, and `close` the reasons for which a socket closes.

mod close;
mod session;
#[cfg(debug_assertions)]
pub(super) mod echo;
mod requests;
mod channel;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use log::debug;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use warp::reply::Response;

use super::problem::Problem;
use super::request::HttpRequest;
use channel::ControlChannel;

/// The subprotocol: a later one is another name.
const CONTROL_SUBPROTOCOL: &str = "rtlogd.v1";

/// What is read from a socket at once, in bytes: commands are short.
const READ_BUFFER_SIZE: usize = 8 << 10;

/// Most that waits to be written, in bytes: one message of events, or the longest line twice over, as text and in base64. A list of
/// streams is longer where there are tens of thousands of them; then the socket is closed.
const MAX_WRITE_BUFFER_SIZE: usize = 16 << 20;

/// A socket, its handshake done.
type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a handshake, and goes on as a session.
pub(crate) fn open(ask: HttpRequest, upgrade: Option<OnUpgrade>) -> Result<Response, Problem> {
    let (accept, upgrade) = check_handshake(&ask, upgrade)?;
    let offered = header_contains_token(&ask.headers, "sec-websocket-protocol", CONTROL_SUBPROTOCOL);
    if !offered {
        return Err(Problem::bad(format!("offer the subprotocol {CONTROL_SUBPROTOCOL} (Sec-WebSocket-Protocol)")));
    }
    if !*ask.app.ready.borrow() {
        let detail = "the daemon is starting or stopping; try again";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let term = ask.lifetime(0)?;
    let guest = ask.connection.clone();
    let largest = guest.limits.message_size;
    let session = ControlChannel::new(ask.app, ask.caller, guest.limits.clone());
    guest.spawn_after_response(async move {
        match into_websocket(upgrade, largest).await {
            Ok(socket) => session.run(socket, term).await,
            Err(error) => debug!(error:% = error; "a WebSocket did not come to be"),
        }
    });
    Ok(switching_protocols(&accept, Some(CONTROL_SUBPROTOCOL)))
}

/// Checks the handshake (RFC 6455, section 4.2.1), and gives the key's answer.
fn check_handshake(ask: &HttpRequest, upgrade: Option<OnUpgrade>) -> Result<(String, OnUpgrade), Problem> {
    let headers = &ask.headers;
    let wanted = !ask.is_head()
        && header_contains_token(headers, "upgrade", "websocket")
        && header_contains_token(headers, "connection", "upgrade");
    let (true, Some(upgrade)) = (wanted, upgrade) else {
        return Err(Problem::upgrade_required("this address speaks WebSocket (RFC 6455) over HTTP/1.1"));
    };
    if one(headers, "sec-websocket-version").is_none_or(|version| version != "13") {
        return Err(Problem::upgrade_required("the version of the WebSocket must be 13"));
    }
    let key = one(headers, "sec-websocket-key").filter(|key| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(key);
        bytes.is_ok_and(|bytes| bytes.len() == 16)
    });
    let Some(key) = key else {
        return Err(Problem::bad("the request needs exactly one Sec-WebSocket-Key: 16 bytes in base64"));
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
fn header_contains_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// The connection as a socket that takes messages of up to `largest` bytes. A frame is no larger.
async fn into_websocket(upgrade: OnUpgrade, largest: usize) -> Result<WebSocket, hyper::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_SIZE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_SIZE.max(2 * largest))
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    let connection = TokioIo::new(upgrade.await?);
    Ok(WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await)
}

fn switching_protocols(accept: &str, protocol: Option<&'static str>) -> Response {
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
