//! The byte stream of a connection: bytes that were read to detect the protocol are returned to the reader, and a
//! stalled write ends the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::idle::ConnectionActivity;

/// The first bytes of HTTP/2 with prior knowledge (RFC 9113, section 3.4); no method of HTTP/1.1 begins with them.
const H2_PREFACE_START: [u8; 3] = *b"PRI";

/// A connection whose writes fail when they make no progress for too long.
#[derive(Debug)]
pub(super) struct WriteTimeoutStream<S> {
    stream: S,
    /// The bytes that were read to detect the protocol; `read[given..]` has not been returned yet.
    read: Vec<u8>,
    given: usize,
    /// Maximum time that a write may wait.
    write_timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// The activity that is notified of arriving data.
    activity: Option<Arc<ConnectionActivity>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WriteTimeoutStream<S> {
    /// Reads enough to detect the protocol, and returns true for HTTP/2. If the input ends early, the connection counts
    /// as HTTP/1.1 without a request.
    pub(super) async fn detect_protocol(mut stream: S, stalled: Duration) -> io::Result<(Self, bool)> {
        let mut read = Vec::with_capacity(H2_PREFACE_START.len());
        while read.len() < H2_PREFACE_START.len() && H2_PREFACE_START.starts_with(&read) {
            let mut rest = [0; H2_PREFACE_START.len()];
            let count = stream.read(&mut rest[..H2_PREFACE_START.len() - read.len()]).await?;
            if count == 0 {
                break;
            }
            read.extend_from_slice(&rest[..count]);
        }
        let is_h2 = read == H2_PREFACE_START;
        Ok((Self { stream, read, given: 0, write_timeout: stalled, waiting: None, activity: None }, is_h2))
    }

    /// Notifies `pulse` whenever data arrives.
    pub(super) fn tell(&mut self, pulse: Arc<ConnectionActivity>) {
        self.activity = Some(pulse);
    }

    /// Passes on the result of a write, or an error if the write has waited for too long.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let stalled = self.write_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stalled)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client accepted no data for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given < self.read.len() {
            let end = self.read.len().min(self.given + out.remaining());
            out.put_slice(&self.read[self.given..end]);
            self.given = end;
            // The same read also returns the data that follows: after a read of three bytes, the reader's buffer would
            // double in size.
            return match Pin::new(&mut self.stream).poll_read(cx, out) {
                Poll::Pending => Poll::Ready(Ok(())),
                read @ Poll::Ready(_) => read,
            };
        }
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if let Some(pulse) = &self.activity
            && out.filled().len() > before
        {
            pulse.heard(Instant::now());
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The time without data after which TCP probes whether the peer still exists.
const TCP_KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// Sets the options of a socket: small writes are sent at once, and a peer that vanished is detected.
pub(super) fn set_tcp_options(stream: &tokio::net::TcpStream) {
    use rustix::net::sockopt;
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_socket_keepalive(stream, true)?))
        .and_then(|()| Ok(sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE_IDLE)?));
    if let Err(error) = tuned {
        log::debug!(error:% = error; "cannot tune a connection");
    }
}
