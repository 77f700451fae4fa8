//! The ends of a socket: the code and reason of each (RFC 6455, section 7.4), and the closing handshake.

use std::time::Duration;

use futures_util::StreamExt;
use log::debug;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::WebSocket;

/// The maximum time that the peer has to read the reason and to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why a socket ends.
#[derive(Debug)]
pub(super) enum ChannelEnd {
    /// The peer closed it.
    Closed,
    /// The connection broke.
    Broken(String),
    /// The daemon closes it.
    Ours(Close),
}

/// The code and the reason of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Close(pub(super) CloseCode, pub(super) &'static str);

/// The daemon stops.
pub(super) const CLOSE_STOPPING: Close = Close(CloseCode::Away, "the daemon stops");

/// Another daemon takes the place of this one at once.
pub(super) const CLOSE_RESTARTING: Close = Close(CloseCode::Restart, RESTARTING);

/// The reason for the end of a subscription in a restart. The page shows it, and recognises the close frame by it.
pub(super) const RESTARTING: &str = "rtlogd is restarting";

/// The client did not answer pings.
pub(super) const CLOSE_NO_PONG: Close = Close(CloseCode::Policy, "no answer to pings");

/// The token has expired, or was revoked.
pub(super) const CLOSE_TOKEN_INVALID: Close = Close(CloseCode::Policy, "the token is no longer valid");

/// The connection has reached its age limit. The code means that the client may connect again at any time.
pub(super) const CLOSE_LIFETIME_OVER: Close =
    Close(CloseCode::Restart, "the connection has reached its age limit; connect again");

/// The client sent a message that is not text.
pub(super) const CLOSE_BINARY_MESSAGE: Close = Close(CloseCode::Unsupported, "messages are JSON, as text");

impl From<Error> for ChannelEnd {
    fn from(error: Error) -> Self {
        let close = match &error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
                return Self::Broken(error.to_string());
            }
            Error::ConnectionClosed | Error::AlreadyClosed => return Self::Closed,
            // The peer sent a Close, and more data after it.
            Error::Protocol(ProtocolError::ReceivedAfterClosing | ProtocolError::SendAfterClosing) => {
                return Self::Closed;
            }
            Error::Protocol(_) => Close(CloseCode::Protocol, "a frame breaks the protocol (RFC 6455)"),
            Error::Utf8(_) => Close(CloseCode::Invalid, "a text message is not UTF-8"),
            Error::Capacity(_) => Close(CloseCode::Size, "a message is larger than `limits: message_size` allows"),
            _ => Close(CloseCode::Error, "the daemon cannot continue this connection"),
        };
        debug!(error:% = error; "a WebSocket failed");
        Self::Ours(close)
    }
}

impl ChannelEnd {
    /// Sends the reason, and waits up to [`CLOSE_TIMEOUT`] until the peer has closed. Data that still arrives is read,
    /// since the system would otherwise reset the connection and discard the close frame.
    pub(super) async fn close(self, mut socket: WebSocket) {
        let frame = match self {
            Self::Broken(error) => return debug!(error:% = error; "a WebSocket broke"),
            Self::Closed => None,
            Self::Ours(Close(code, reason)) => Some(CloseFrame { code, reason: reason.into() }),
        };
        let farewell = async {
            if frame.is_some() && socket.close(frame).await.is_err() {
                return;
            }
            // The peer's part of the closing handshake; after an error there is none.
            while let Some(Ok(_)) = socket.next().await {}
            let connection = socket.get_mut();
            if connection.shutdown().await.is_err() {
                return;
            }
            let mut rest = [0; 4096];
            while let Ok(1..) = connection.read(&mut rest).await {}
        };
        // A peer that does not read the reason in time loses nothing else.
        timeout(CLOSE_TIMEOUT, farewell).await.unwrap_or_default();
    }
}
