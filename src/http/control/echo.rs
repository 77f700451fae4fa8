//! `GET /echo`, in builds with debug assertions alone: sends back what comes, over the very stack of the control channel, so that
//! suites for RFC 6455 can judge that.
//!
//! Autobahn|Testsuite 25.10.1 (`wstest -m fuzzingclient` with the url `ws://127.0.0.1:7070/echo`) has 517 cases: none fails, 6.4.3 and
//! 6.4.4 are not strict (text that is no UTF-8 is noticed with its frame, not with its byte), and all of 12 and 13, which compress,
//! are not implemented.

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use log::debug;
use tokio_tungstenite::tungstenite::Message;
use warp::reply::Response;

use super::super::problem::Problem;
use super::super::request::HttpRequest;
use super::close::ChannelEnd;
use super::{WebSocket, check_handshake, into_websocket, switching_protocols};

/// Largest message, in bytes: the largest that such suites send.
const MAX_ECHO_MESSAGE_SIZE: usize = 16 << 20;

/// Answers a handshake, and then every message with itself.
pub(crate) fn open(ask: HttpRequest, upgrade: Option<OnUpgrade>) -> Result<Response, Problem> {
    let (accept, upgrade) = check_handshake(&ask, upgrade)?;
    ask.connection.spawn_after_response(async move {
        match into_websocket(upgrade, MAX_ECHO_MESSAGE_SIZE).await {
            Ok(mut socket) => serve(&mut socket).await.close(socket).await,
            Err(error) => debug!(error:% = error; "a WebSocket did not come to be"),
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
