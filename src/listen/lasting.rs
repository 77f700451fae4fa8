//! Responses that last, such as streams of events.
//!
//! For each connection, hyper keeps a buffer for requests and one for heads, together more than everything else that a
//! reader needs. So the connection leaves hyper as soon as the head of a lasting response is sent and its body has
//! nothing more at once. From then on, the body is written here, in the chunks of HTTP/1.1 (RFC 9112, section 7.1). No
//! other request can follow on the connection.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Response, Version, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionError;
use super::idle::ConnectionActivity;

/// The number of bytes after which a chunk ends, although the body has more.
const MIN_FULL_CHUNK_SIZE: usize = 32 << 10;

/// A chunk of at most this many bytes is copied into one buffer: to send that costs less than to write its parts.
const MAX_COPIED_CHUNK_SIZE: usize = 16 << 10;

/// The bytes around a small chunk: its size in hexadecimal, and the two line ends.
const CHUNK_FRAME_SIZE: usize = 8;

/// The maximum number of buffers that are written at once.
const MAX_WRITE_BUFFERS: usize = 32;

/// An extension of a response: it lasts until its client leaves or the daemon stops, as a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting;

/// The body of the lasting response of a connection, which hyper and the connection share.
#[derive(Debug)]
pub(super) struct BodySlot<B>(Arc<Mutex<SlotState<B>>>);

#[derive(Debug)]
struct SlotState<B> {
    /// The body, from its response on until it is taken.
    body: Option<B>,
    /// The body had nothing more when it was last polled.
    is_waiting: bool,
}

impl<B> Default for BodySlot<B> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(SlotState { body: None, is_waiting: false })))
    }
}

impl<B> Clone for BodySlot<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> BodySlot<B> {
    /// Makes the response to a request ready to leave hyper, if it is marked as [`Lasting`] and the request permits it.
    pub(super) fn hold(&self, response: Response<B>, method: &Method, version: Version) -> Response<ConnectionBody<B>> {
        let (mut parts, body) = response.into_parts();
        let is_lasting = parts.extensions.remove::<Lasting>().is_some();
        // An older client knows no chunks, and the answer to another method may have no body.
        if !is_lasting || version != Version::HTTP_11 || method != Method::GET {
            return Response::from_parts(parts, ConnectionBody::Short(body));
        }
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let Ok(mut slot) = self.0.lock() else { return Response::from_parts(parts, ConnectionBody::Short(body)) };
        slot.body = Some(body);
        drop(slot);
        Response::from_parts(parts, ConnectionBody::Lasting(self.clone()))
    }

    /// Takes the body if it had nothing more when it was last polled.
    fn take_waiting(&self) -> Option<B> {
        let mut slot = self.0.lock().ok()?;
        if slot.is_waiting { slot.body.take() } else { None }
    }
}

/// The body of a response, as hyper sees it.
#[derive(Debug)]
pub(super) enum ConnectionBody<B> {
    Short(B),
    Lasting(BodySlot<B>),
}

impl<B: Body + Unpin> Body for ConnectionBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut *self {
            Self::Short(body) => Pin::new(body).poll_frame(cx),
            Self::Lasting(slot) => {
                // A body that panicked has ended.
                let Ok(mut slot) = slot.0.lock() else { return Poll::Ready(None) };
                let SlotState { body: Some(body), is_waiting } = &mut *slot else { return Poll::Ready(None) };
                let polled = Pin::new(body).poll_frame(cx);
                *is_waiting = polled.is_pending();
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Short(body) => body.is_end_stream(),
            Self::Lasting(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Short(body) => body.size_hint(),
            Self::Lasting(_) => SizeHint::new(),
        }
    }
}

/// A connection over HTTP/1, which leaves hyper with its first lasting response.
pub(super) enum Http1Connection<T, S: HttpService<Incoming>, B> {
    Hyper {
        connection: Box<UpgradeableConnection<TokioIo<T>, S>>,
        slot: BodySlot<B>,
        activity: Arc<ConnectionActivity>,
    },
    Lasting(Box<LastingResponse<T, B>>),
    Ended,
}

impl<T, S, B> Http1Connection<T, S, B>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = ConnectionBody<B>> + Unpin,
    S::Future: Unpin,
    S::Error: Into<ConnectionError>,
    B: Body<Data = Bytes, Error: Into<ConnectionError>> + Unpin + 'static,
{
    /// Ends the connection after the response in progress.
    pub(super) fn shut_down(mut self: Pin<&mut Self>) {
        match &mut *self {
            Self::Hyper { connection, .. } => Pin::new(&mut **connection).graceful_shutdown(),
            Self::Lasting(_) | Self::Ended => {}
        }
    }
}

impl<T, S, B> Future for Http1Connection<T, S, B>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = ConnectionBody<B>> + Unpin,
    S::Future: Unpin,
    S::Error: Into<ConnectionError>,
    B: Body<Data = Bytes, Error: Into<ConnectionError>> + Unpin + 'static,
{
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Hyper { connection, slot, activity } => {
                    if let Poll::Ready(ended) = Pin::new(&mut **connection).poll(cx) {
                        return Poll::Ready(ended.map_err(Into::into));
                    }
                    // hyper flushes everything before it waits, unless the client does not read.
                    if activity.is_write_waiting() {
                        return Poll::Pending;
                    }
                    let Some(body) = slot.take_waiting() else { return Poll::Pending };
                    let Self::Hyper { connection, .. } = mem::replace(&mut *self, Self::Ended) else { continue };
                    let Some(parts) = connection.into_parts() else { continue };
                    *self = Self::Lasting(Box::new(LastingResponse::new(parts.io.into_inner(), body)));
                }
                Self::Lasting(response) => return Pin::new(&mut **response).poll(cx),
                Self::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// The rest of a lasting response, after its head.
#[derive(Debug)]
pub(super) struct LastingResponse<T, B> {
    stream: T,
    body: B,
    /// What is written next.
    unwritten: VecDeque<Bytes>,
    /// The body has ended, and its end is written or in `unwritten`.
    is_ended: bool,
    /// The client has sent nothing since its request. Afterwards, its end is noticed only by a write.
    is_listening: bool,
}

impl<T, B> LastingResponse<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<ConnectionError>> + Unpin,
{
    fn new(stream: T, body: B) -> Self {
        Self { stream, body, unwritten: VecDeque::new(), is_ended: false, is_listening: true }
    }

    /// Waits until the client leaves.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8];
        let mut received = ReadBuf::new(&mut bytes);
        if self.is_listening {
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut received))?;
            if received.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.is_listening = false;
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.unwritten.front() {
            let stream = Pin::new(&mut self.stream);
            let mut written = ready!(if self.unwritten.len() == 1 {
                stream.poll_write(cx, first)
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_WRITE_BUFFERS];
                let count = self.unwritten.len().min(MAX_WRITE_BUFFERS);
                for (slice, bytes) in slices.iter_mut().zip(&self.unwritten) {
                    *slice = IoSlice::new(bytes);
                }
                stream.poll_write_vectored(cx, &slices[..count])
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(first) = self.unwritten.front_mut() {
                if written < first.len() {
                    first.advance(written);
                    break;
                }
                written -= first.len();
                self.unwritten.pop_front();
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Takes what the body has as one chunk, once everything before it is written.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let mut size = 0;
        while size < MIN_FULL_CHUNK_SIZE && !self.is_ended {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => {
                    let data = frame.map_err(Into::into)?.into_data().unwrap_or_default();
                    if !data.is_empty() {
                        size += data.len();
                        self.unwritten.push_back(data);
                    }
                }
                Poll::Ready(None) => self.is_ended = true,
                Poll::Pending if size == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if size > MAX_COPIED_CHUNK_SIZE {
            self.unwritten.push_front(format!("{size:x}\r\n").into());
            self.unwritten.push_back(Bytes::from_static(b"\r\n"));
        } else if size > 0 {
            let mut chunk = Vec::with_capacity(size + CHUNK_FRAME_SIZE);
            write!(chunk, "{size:x}\r\n")?;
            self.unwritten.drain(..).for_each(|data| chunk.extend_from_slice(&data));
            chunk.extend_from_slice(b"\r\n");
            self.unwritten.push_back(chunk.into());
        }
        if self.is_ended {
            self.unwritten.push_back(Bytes::from_static(b"0\r\n\r\n"));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T, B> Future for LastingResponse<T, B>
where
    T: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Into<ConnectionError>> + Unpin,
{
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(left) = self.poll_leave(cx) {
            return Poll::Ready(left.map_err(Into::into));
        }
        loop {
            ready!(self.poll_write(cx))?;
            if self.is_ended {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_chunk(cx))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body_util::StreamBody;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// A response whose body has the frames that are sent, the side of the client, and the task that writes.
    fn response(buffer: usize) -> (mpsc::Sender<Bytes>, DuplexStream, JoinHandle<Result<(), ConnectionError>>) {
        let (client, server) = duplex(buffer);
        let (sender, frames) = mpsc::channel::<Bytes>(100);
        let frames = futures_util::stream::unfold(frames, async |mut frames| {
            Some((Ok::<_, Infallible>(Frame::data(frames.recv().await?)), frames))
        });
        let task = tokio::spawn(LastingResponse::new(server, StreamBody::new(Box::pin(frames))));
        (sender, client, task)
    }

    #[tokio::test]
    async fn everything_that_is_there_becomes_one_chunk() {
        let large = "x".repeat(MIN_FULL_CHUNK_SIZE);
        let table: [(&[&str], String); 5] = [
            (&[], "0\r\n\r\n".to_owned()),
            (&["one"], "3\r\none\r\n0\r\n\r\n".to_owned()),
            (&["one", "", "three"], "8\r\nonethree\r\n0\r\n\r\n".to_owned()),
            (&[""], "0\r\n\r\n".to_owned()),
            (&[&large, "more"], format!("8000\r\n{large}\r\n4\r\nmore\r\n0\r\n\r\n")),
        ];
        // A client that takes little at once receives the same.
        for (buffer, (frames, expected)) in
            [1, 7, 1 << 20].into_iter().flat_map(|buffer| table.iter().map(move |row| (buffer, row)))
        {
            let (sender, mut client, task) = response(buffer);
            for frame in *frames {
                sender.send(Bytes::copy_from_slice(frame.as_bytes())).await.unwrap();
            }
            drop(sender);
            let mut received = String::new();
            client.read_to_string(&mut received).await.unwrap();
            assert_eq!(&received, expected, "{buffer}");
            task.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_lasts_until_the_client_leaves() {
        let (sender, mut client, task) = response(100);
        let mut received = [0; 8];
        sender.send("one".into()).await.unwrap();
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"3\r\none\r\n");
        assert!(!task.is_finished());
        drop(client);
        timeout(Duration::from_secs(9), task).await.unwrap().unwrap().unwrap();
        assert!(sender.is_closed(), "the body is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_sends_meanwhile_changes_nothing() {
        let (sender, mut client, task) = response(100);
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut received = [0; 8];
        for _ in 0..3 {
            sender.send("one".into()).await.unwrap();
            client.read_exact(&mut received).await.unwrap();
            assert_eq!(&received, b"3\r\none\r\n");
        }
        drop(client);
        // The next write notices that the client has left.
        sender.send("two".into()).await.unwrap();
        assert!(timeout(Duration::from_secs(9), task).await.unwrap().unwrap().is_err());
    }
}
