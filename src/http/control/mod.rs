//! `GET /control`: the control channel, a WebSocket (RFC 6455) with JSON-RPC messages.
//!
//! This file checks the handshake. [`channel`] then runs the socket, `session` has the methods, `requests` the types of
//! calls and results, and `close` the ends of a socket. A channel is one task that reads from cursors, so a slow or
//! paused client costs a position for each subscription, never a queue.

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

/// The subprotocol. An incompatible version will have another name.
const CONTROL_SUBPROTOCOL: &str = "rtlogd.v1";

/// The number of bytes that are read from a socket at once: commands are short.
const READ_BUFFER_SIZE: usize = 8 << 10;

/// The maximum number of bytes that wait to be written: enough for a message of events, and for the longest line as
/// text and in base64. A list of tens of thousands of streams is longer, and closes the socket.
const MAX_WRITE_BUFFER_SIZE: usize = 16 << 20;

/// A WebSocket after its handshake.
type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a handshake; the channel runs as a task after the response.
///
/// # Errors
/// If the handshake is not valid, the daemon is not ready, or the caller has too many channels.
pub(crate) fn open(request: HttpRequest, upgrade: Option<OnUpgrade>) -> Result<Response, Problem> {
    let (accept, upgrade) = check_handshake(&request, upgrade)?;
    let offered = header_contains_token(&request.headers, "sec-websocket-protocol", CONTROL_SUBPROTOCOL);
    if !offered {
        return Err(Problem::bad(format!("offer the subprotocol {CONTROL_SUBPROTOCOL} (Sec-WebSocket-Protocol)")));
    }
    if !*request.app.ready.borrow() {
        let detail = "the daemon is starting or stopping; try again";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let lifetime = request.lifetime(0)?;
    let connection = request.connection.clone();
    let max_message_size = connection.limits.message_size;
    let session = ControlChannel::new(request.app, request.caller, connection.limits.clone());
    connection.spawn_after_response(async move {
        match into_websocket(upgrade, max_message_size).await {
            Ok(socket) => session.run(socket, lifetime).await,
            Err(error) => debug!(error:% = error; "a connection could not be upgraded to a WebSocket"),
        }
    });
    Ok(switching_protocols(&accept, Some(CONTROL_SUBPROTOCOL)))
}

/// Checks the handshake (RFC 6455, section 4.2.1), and returns the value of `Sec-WebSocket-Accept`.
fn check_handshake(request: &HttpRequest, upgrade: Option<OnUpgrade>) -> Result<(String, OnUpgrade), Problem> {
    let headers = &request.headers;
    let is_handshake = !request.is_head()
        && header_contains_token(headers, "upgrade", "websocket")
        && header_contains_token(headers, "connection", "upgrade");
    let (true, Some(upgrade)) = (is_handshake, upgrade) else {
        return Err(Problem::upgrade_required("this address is a WebSocket (RFC 6455) over HTTP/1.1"));
    };
    if only_header_value(headers, "sec-websocket-version").is_none_or(|version| version != "13") {
        return Err(Problem::upgrade_required("Sec-WebSocket-Version must be 13"));
    }
    let key = only_header_value(headers, "sec-websocket-key").filter(|key| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(key);
        bytes.is_ok_and(|bytes| bytes.len() == 16)
    });
    let Some(key) = key else {
        return Err(Problem::bad("the request needs exactly one Sec-WebSocket-Key: 16 bytes in base64"));
    };
    request.check_origin()?;
    Ok((derive_accept_key(key.as_bytes()), upgrade))
}

/// The value of a header that is present exactly once.
fn only_header_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// Returns whether the list in a header contains `token`, regardless of case.
fn header_contains_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// The upgraded connection as a WebSocket. Its messages, and therefore its frames, may have `max_message_size` bytes.
async fn into_websocket(upgrade: OnUpgrade, max_message_size: usize) -> Result<WebSocket, hyper::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_SIZE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_SIZE.max(2 * max_message_size))
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size));
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
