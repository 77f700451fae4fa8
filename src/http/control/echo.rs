//! `GET /echo`, only in builds with debug assertions: sends every message back. It uses the same WebSocket code as the
//! control channel, so that test suites for RFC 6455 can check that.
//!
//! Autobahn|Testsuite 25.10.1 (`wstest -m fuzzingclient` with the url `ws://127.0.0.1:7070/echo`) has 517 cases: none
//! fails, 6.4.3 and 6.4.4 are not strict (text that is not UTF-8 is detected at the end of its frame, not at the byte),
//! and those of 12 and 13, about compression, are not implemented.

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use log::debug;
use tokio_tungstenite::tungstenite::Message;
use warp::reply::Response;

use super::super::problem::Problem;
use super::super::request::HttpRequest;
use super::close::ChannelEnd;
use super::{WebSocket, check_handshake, into_websocket, switching_protocols};

/// The maximum size of a message, in bytes: the largest that such suites send.
const MAX_ECHO_MESSAGE_SIZE: usize = 16 << 20;

/// Answers a handshake, and then sends every message back.
pub(crate) fn open(request: HttpRequest, upgrade: Option<OnUpgrade>) -> Result<Response, Problem> {
    let (accept, upgrade) = check_handshake(&request, upgrade)?;
    request.connection.spawn_after_response(async move {
        match into_websocket(upgrade, MAX_ECHO_MESSAGE_SIZE).await {
            Ok(mut socket) => serve(&mut socket).await.close(socket).await,
            Err(error) => debug!(error:% = error; "a connection could not be upgraded to a WebSocket"),
        }
    });
    Ok(switching_protocols(&accept, None))
}

async fn serve(socket: &mut WebSocket) -> ChannelEnd {
    loop {
        let message = match socket.next().await {
            None => return ChannelEnd::Closed,
            Some(Err(error)) => return error.into(),
            Some(Ok(message)) => message,
        };
        match message {
            Message::Close(_) => return ChannelEnd::Closed,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Text(_) | Message::Binary(_) => {
                if let Err(error) = socket.send(message).await {
                    return error.into();
                }
            }
        }
    }
}
