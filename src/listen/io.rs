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
    /// The bytes that were read to detect the protocol; `peeked[consumed..]` has not been returned yet.
    peeked: Vec<u8>,
    consumed: usize,
    /// Maximum time that a write may wait.
    write_timeout: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// The activity that is notified of arriving data and of writes that wait.
    activity: Option<Arc<ConnectionActivity>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WriteTimeoutStream<S> {
    /// Reads enough to detect the protocol, and returns true for HTTP/2. If the input ends early, the connection counts
    /// as HTTP/1.1 without a request.
    pub(super) async fn detect_protocol(mut stream: S, write_timeout: Duration) -> io::Result<(Self, bool)> {
        let mut peeked = Vec::with_capacity(H2_PREFACE_START.len());
        while peeked.len() < H2_PREFACE_START.len() && H2_PREFACE_START.starts_with(&peeked) {
            let mut rest = [0; H2_PREFACE_START.len()];
            let count = stream.read(&mut rest[..H2_PREFACE_START.len() - peeked.len()]).await?;
            if count == 0 {
                break;
            }
            peeked.extend_from_slice(&rest[..count]);
        }
        let is_h2 = peeked == H2_PREFACE_START;
        Ok((Self { stream, peeked, consumed: 0, write_timeout, write_timer: None, activity: None }, is_h2))
    }

    /// Notifies `activity` whenever data arrives or a write waits.
    pub(super) fn report_to(&mut self, activity: Arc<ConnectionActivity>) {
        self.activity = Some(activity);
    }

    /// Passes on the result of a write, or an error if the write has waited for too long.
    fn apply_timeout<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Some(activity) = self.activity.as_ref().filter(|_| result.is_pending() != self.write_timer.is_some()) {
            activity.set_write_waiting(result.is_pending());
        }
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        let write_timeout = self.write_timeout;
        let write_timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + write_timeout)));
        ready!(write_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client accepted no data for too long")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.consumed < self.peeked.len() {
            let end = self.peeked.len().min(self.consumed + out.remaining());
            out.put_slice(&self.peeked[self.consumed..end]);
            self.consumed = end;
            // The same read also returns the data that follows: after a read of three bytes, the reader's buffer would
            // double in size.
            return match Pin::new(&mut self.stream).poll_read(cx, out) {
                Poll::Pending => Poll::Ready(Ok(())),
                read @ Poll::Ready(_) => read,
            };
        }
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if let Some(activity) = &self.activity
            && out.filled().len() > before
        {
            activity.received(Instant::now());
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.apply_timeout(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.apply_timeout(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes what is written, and waits for the client here.
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.apply_timeout(result, cx)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// A connection over TLS whose client takes nothing: it takes what is written, and waits when it is flushed.
    struct StalledTls;

    impl AsyncRead for StalledTls {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for StalledTls {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_waits_for_the_client_fails_like_a_write() {
        let (mut stream, is_h2) =
            WriteTimeoutStream::detect_protocol(StalledTls, Duration::from_secs(3)).await.unwrap();
        assert!(!is_h2);
        stream.write_all(b"one").await.unwrap();
        let flushed = tokio::time::timeout(Duration::from_secs(9), stream.flush()).await.expect("it waits for ever");
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
