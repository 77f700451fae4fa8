//! Serves one connection with its protocol: HTTP/1.1, or HTTP/2 with limits of its own.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;

use super::h2_stall::StallDetector;
use super::idle::{ConnectionActivity, ConnectionTimeouts, GuardedBody, drive_connection};
use super::io::WriteTimeoutStream;
use super::lasting::{BodySlot, Http1Connection};
use super::{ConnectionError, ConnectionInfo, ServerContext, Service};

/// The size of a connection's write buffer, in bytes. The frame that fills it may exceed it.
const WRITE_BUFFER_SIZE: usize = 32 << 10;

/// The maximum number of header lines. Browsers send a quarter of it.
const MAX_HEADERS: usize = 100;

/// The maximum number of concurrent streams of one HTTP/2 connection. Browsers open 100 at most.
const MAX_H2_STREAMS: u32 = 100;

/// The maximum number of streams of one HTTP/2 connection that are reset before they are answered (CVE-2023-44487).
/// Browsers have no more streams open.
const MAX_H2_RESETS: usize = 100;

/// The flow-control window of one HTTP/2 connection, in bytes, for all its streams together: bodies are small.
const H2_WINDOW_SIZE: u32 = 256 << 10;

/// The transport of a connection: a socket, or TLS over one. A trait object, so that the code of both protocols exists
/// once.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Transport for S {}

/// A step in the serving of a connection, boxed (see [`serve_connection`]).
pub(super) type ConnectionStep<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>> + Send>>;

/// A connection, and whether it speaks HTTP/2.
type DetectedProtocol = (WriteTimeoutStream<Box<dyn Transport>>, bool);

/// Serves one connection to its end.
///
/// The task of a connection lasts as long as the connection, and reserves the memory of everything that it holds or builds
/// on the way. So each step is built by a function and boxed: a reader holds only what its own step needs.
///
/// # Errors
/// If the protocol is broken, a timeout expires, or the connection breaks.
pub(super) async fn serve_connection<S: Service>(
    stream: Box<dyn Transport>,
    info: ConnectionInfo,
    context: Arc<ServerContext<S>>,
) -> Result<(), ConnectionError> {
    let detected = detect_protocol(stream, &info.limits, context.finish.clone()).await?;
    serve_protocol(detected, info, context).await
}

/// Detects the protocol of a connection; true means HTTP/2.
fn detect_protocol(
    stream: Box<dyn Transport>,
    limits: &Limits,
    finish: CancellationToken,
) -> ConnectionStep<DetectedProtocol> {
    let detection = WriteTimeoutStream::detect_protocol(stream, limits.stalled_write);
    let detection = tokio::time::timeout(limits.head, detection);
    Box::pin(async move { Ok(finish.run_until_cancelled(detection).await.ok_or("the daemon stops")???) })
}

/// Serves a connection whose protocol is known.
fn serve_protocol<S: Service>(
    (mut stream, is_h2): DetectedProtocol,
    info: ConnectionInfo,
    context: Arc<ServerContext<S>>,
) -> ConnectionStep<()> {
    let limits = info.limits.clone();
    let is_over_limit = info.is_over_limit();
    let timeouts = ConnectionTimeouts {
        head: limits.head,
        // The permits for refused connections are few.
        idle: if is_over_limit { Duration::ZERO } else { limits.idle },
        until: info.until,
        // A client that does not take part in the end of its connection has stalled, too.
        close_timeout: limits.stalled_write,
    };
    let activity = ConnectionActivity::new(Instant::now());
    let (responder, reported_activity, connection) = (context.service.clone(), activity.clone(), info.clone());
    let service = service_fn(move |request| {
        let (responder, info, response_guard) =
            (responder.clone(), connection.clone(), reported_activity.begin_response());
        // The future is boxed, since a connection would otherwise reserve the size of this future for as long as the
        // response lasts.
        Box::pin(async move {
            let response = responder.respond(request, info).await;
            Ok::<_, Infallible>(response.map(|body| GuardedBody { body, _guard: response_guard }))
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
        let stall_detector = StallDetector::default();
        let detector = stall_detector.clone();
        let service = service_fn(move |request| {
            let (response, detector) = (service.call(request), detector.clone());
            async move { response.await.map(|response| response.map(|body| detector.watch(body))) }
        });
        let mut connection = Box::pin(server.serve_connection(TokioIo::new(stream), service));
        let shut_down = http2::Connection::graceful_shutdown;
        Box::pin(async move {
            tokio::select! {
                ended = drive_connection(connection.as_mut(), &activity, timeouts, &context.finish, shut_down) => ended,
                () = stall_detector.stalled(limits.stalled_write) => Err("a client accepted no data for too long".into()),
            }
        })
    } else {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_header_size(limits.head_size)
            .max_buf_size(WRITE_BUFFER_SIZE.max(limits.head_size))
            .keep_alive(!is_over_limit);
        // The activity is reported only over HTTP/1.1, since over HTTP/2 pings and window updates arrive that are not
        // requests.
        stream.report_to(activity.clone());
        let slot = BodySlot::default();
        let lasting = slot.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (method, version, slot) = (request.method().clone(), request.version(), lasting.clone());
            let response = service.call(request);
            Box::pin(async move { response.await.map(|response| slot.hold(response, &method, version)) })
        });
        let connection = Box::new(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let mut connection = Box::pin(Http1Connection::Hyper { connection, slot, activity: activity.clone() });
        let shut_down = Http1Connection::shut_down;
        Box::pin(async move {
            let ended = drive_connection(connection.as_mut(), &activity, timeouts, &context.finish, shut_down).await;
            // The permit of the connection is taken until here, although the connection may have left hyper.
            drop(info);
            ended
        })
    }
}

/// Runs the tasks of HTTP/2 connections in the tracker of all connections.
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
