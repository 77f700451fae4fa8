//! One connection, by the protocol that it speaks: HTTP/1.1, or HTTP/2 with its own bounds.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::h2_stall::StallDetector;
use super::idle::{ConnectionActivity, ConnectionTimeouts, GuardedBody, keep};
use super::io::WriteTimeoutStream;
use super::{ConnectionError, ConnectionInfo, ServerContext, Service};

/// Most of a response that waits in one connection's buffer, in bytes, beyond the frame that overran it.
const WRITE_BUFFER_SIZE: usize = 32 << 10;

/// Most header lines: a browser sends a quarter of it.
const MAX_HEADERS: usize = 100;

/// Streams on one HTTP/2 connection at once; a browser asks for 100 at most.
const MAX_H2_STREAMS: u32 = 100;

/// Streams of one HTTP/2 connection that may be reset unanswered: a browser has no more open (CVE-2023-44487).
const MAX_H2_RESETS: usize = 100;

/// What one HTTP/2 connection may send ahead, in bytes: for all its streams together, as bodies are small.
const H2_WINDOW_SIZE: u32 = 256 << 10;

/// The transport of a connection: a socket, or TLS over one. Without its type, so that both protocols are made once.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

/// Serves one connection to its end.
pub(super) async fn connection<S: Service>(
    stream: Box<dyn Transport>,
    info: ConnectionInfo,
    context: &Arc<ServerContext<S>>,
) -> Result<(), ConnectionError> {
    let limits = info.limits.clone();
    let peeked = tokio::time::timeout(limits.head, WriteTimeoutStream::detect_protocol(stream, limits.stalled_write));
    let (mut stream, is_h2) = context.finish.run_until_cancelled(peeked).await.ok_or("the daemon stops")???;
    let is_over_limit = info.is_over_limit();
    let timeouts = ConnectionTimeouts {
        head: limits.head,
        // There are few permits for refusals.
        idle: if is_over_limit { Duration::ZERO } else { limits.idle },
        until: info.until,
        close_timeout: limits.stalled_write,
    };
    let activity = ConnectionActivity::new(Instant::now());
    let (responder, answered) = (context.service.clone(), activity.clone());
    let service = service_fn(move |request| {
        let (responder, info, answering) = (responder.clone(), info.clone(), answered.begin_response());
        // Boxed, since a connection keeps the room of what answered it for as long as its body lasts.
        Box::pin(async move {
            let response = responder.respond(request, info).await;
            Ok::<_, Infallible>(response.map(|body| GuardedBody { body, _guard: answering }))
        })
    });
    if is_h2 {
        let mut server = http2::Builder::new(TrackedExecutor(context.connection_tasks.clone()));
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_H2_STREAMS)
            .max_pending_accept_reset_streams(MAX_H2_RESETS)
            .max_local_error_reset_streams(MAX_H2_RESETS)
            .initial_stream_window_size(H2_WINDOW_SIZE / 4)
            .initial_connection_window_size(H2_WINDOW_SIZE)
            .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
            .max_send_buf_size(WRITE_BUFFER_SIZE * 2)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.stalled_write);
        let flow = StallDetector::default();
        let watched = flow.clone();
        let service = service_fn(move |request| {
            let (answer, flow) = (service.call(request), watched.clone());
            async move { answer.await.map(|response| response.map(|body| flow.watch(body))) }
        });
        let mut connection = Box::pin(server.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = keep(connection.as_mut(), &activity, timeouts, &context.finish, http2::Connection::graceful_shutdown) => ended,
            () = flow.stalled(limits.stalled_write) => Err("a reader took nothing of an answer for too long".into()),
        }
    } else {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_header_size(limits.head_size)
            .max_buf_size(WRITE_BUFFER_SIZE.max(limits.head_size))
            .keep_alive(!is_over_limit);
        // Over HTTP/2, pings and window updates arrive too, which are no requests.
        stream.tell(activity.clone());
        let mut connection = Box::pin(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
        keep(connection.as_mut(), &activity, timeouts, &context.finish, http1::UpgradeableConnection::graceful_shutdown)
            .await
    }
}

/// Lets HTTP/2 start its tasks where all tasks run.
#[derive(Debug, Clone)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
