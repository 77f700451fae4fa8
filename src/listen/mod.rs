//! Sockets: they accept connections, limit them, serve them with timeouts, and drain them when the daemon stops.
//!
//! The files, in reading order: this file accepts connections on each [`ListeningSocket`] (`socket`), and `limits` gives
//! each a permit. `tls` decrypts a connection that speaks TLS, `io` detects its protocol and ends stalled writes, and
//! `protocol` serves it as HTTP/1.1 or HTTP/2. `lasting` writes responses that last. `idle` and `h2_stall` end idle and
//! stalled connections, and `open_file_limit` leaves descriptors for other purposes. Every request goes to the [`Service`]
//! that the daemon passes in (`service`): this layer knows neither routes nor the texts of refusals.

mod service;
mod socket;
mod open_file_limit;
mod io;
mod idle;
mod protocol;
mod lasting;
mod limits;
mod tls;
mod h2_stall;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Peer, TrustedProxies};
use crate::config::Limits;

pub(crate) use lasting::Lasting;
pub(crate) use open_file_limit::{are_few_possible, within_descriptors};
pub(crate) use service::Service;
pub(crate) use socket::{InheritedSocket, ListenError, ListeningSocket, SocketFile};
pub(crate) use tls::{CertReloader, TlsError, TlsServer};

use io::set_tcp_options;
use limits::{ConnectionClass, ConnectionLimiter, ConnectionPermit};
use protocol::{Transport, serve_connection};
use socket::Listener;

/// The response to a client that speaks HTTP where TLS is spoken.
const PLAIN_HTTP_REFUSAL: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 34\r\nConnection: close\r\n\r\n\
    this address speaks TLS: https://\n";

/// The time between a failure to accept a connection, such as the lack of a descriptor, and the next attempt.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The minimum time between log messages about such failures.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The context that all connections share.
#[derive(Debug)]
pub(crate) struct ServerContext<S> {
    /// The service that answers all requests.
    pub(crate) service: Arc<S>,
    /// The current limits. A connection keeps those that were in force when it began.
    pub(crate) limits: watch::Receiver<Arc<Limits>>,
    /// The proxies whose statements about their clients are trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// The TLS that connections from other machines must speak, if any.
    pub(crate) tls: Option<TlsServer>,
    /// The tasks of all connections.
    pub(crate) connection_tasks: TaskTracker,
    /// Cancelled when connections have to finish their responses and end.
    pub(crate) finish: CancellationToken,
}

/// Accepts connections on all sockets until `stop` is cancelled. The connections continue as tasks.
pub(crate) fn serve<S: Service>(sockets: Vec<ListeningSocket>, context: ServerContext<S>, stop: &CancellationToken) {
    let limiter = Arc::new(ConnectionLimiter::default());
    let context = Arc::new(context);
    for socket in sockets {
        let loop_ = accept_loop(socket, context.clone(), limiter.clone());
        let stop = stop.clone();
        context.connection_tasks.spawn(async move { stop.run_until_cancelled(loop_).await });
    }
}

async fn accept_loop<S: Service>(
    socket: ListeningSocket,
    context: Arc<ServerContext<S>>,
    limiter: Arc<ConnectionLimiter>,
) {
    let mut logged = None;
    loop {
        let accepted = match &socket.listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                set_tcp_options(&stream);
                spawn_connection(Peer::tcp(peer), &context, &limiter, async |info, context| {
                    serve_tcp(stream, info, context).await
                });
            }),
            Listener::Unix(listener) => listener.accept().await.and_then(|(stream, _)| {
                let user = stream.peer_cred()?;
                let pid = user.pid().and_then(|pid| u32::try_from(pid).ok());
                spawn_connection(Peer::Unix { uid: user.uid(), pid }, &context, &limiter, async |info, context| {
                    serve_connection(Box::new(stream), info, context).await
                });
                Ok(())
            }),
        };
        if let Err(error) = accepted {
            // Every attempt fails while there are no descriptors left.
            if logged.is_none_or(|last: Instant| last.elapsed() >= ACCEPT_LOG_INTERVAL) {
                logged = Some(Instant::now());
                warn!(errno = error.raw_os_error(), error:% = error; "cannot accept a connection: {error}");
            }
            tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
        }
    }
}

/// The class of permits that a connection takes from.
fn connection_class(peer: Peer, trusted: &TrustedProxies) -> ConnectionClass {
    match peer {
        _ if trusted.is_proxy(peer) => ConnectionClass::Local,
        Peer::Tcp(address) if !address.ip().is_loopback() => ConnectionClass::Address(address.ip()),
        Peer::Unix { uid, .. } if uid == 0 || uid == rustix::process::geteuid().as_raw() => ConnectionClass::Owner,
        Peer::Tcp(_) | Peer::Unix { .. } | Peer::Proxied(_) => ConnectionClass::Local,
    }
}

/// The connection that a request came over. As long as a copy is held, so is the connection's permit.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionInfo {
    pub(crate) peer: Peer,
    /// `true` if the connection is encrypted.
    pub(super) is_secure: bool,
    /// The limits of the connection.
    pub(super) limits: Arc<Limits>,
    /// The time at which the connection reaches its age limit; `None` for never.
    pub(super) until: Option<Instant>,
    permit: Arc<ConnectionPermit>,
    tasks: TaskTracker,
}

impl ConnectionInfo {
    /// Returns whether there are too many connections, so that the only answer is a refusal.
    pub(crate) fn is_over_limit(&self) -> bool {
        matches!(*self.permit, ConnectionPermit::OverLimit(_))
    }

    /// Continues with `work` after the response. The permit stays taken, and a daemon that stops waits for it.
    pub(super) fn spawn_after_response(self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.clone().spawn(async move {
            work.await;
            drop(self);
        });
    }
}

#[cfg(test)]
impl ConnectionInfo {
    /// A connection of this peer that no socket belongs to.
    pub(crate) fn without_socket(peer: Peer, limits: Limits) -> Self {
        let permit = ConnectionLimiter::default().take(ConnectionClass::Local, &limits).expect("nothing is taken yet");
        let (permit, limits) = (Arc::new(permit), Arc::new(limits));
        Self { peer, is_secure: false, limits, until: None, permit, tasks: TaskTracker::new() }
    }
}

/// Takes a permit for a connection, and serves it as a task.
fn spawn_connection<S, F>(
    peer: Peer,
    context: &Arc<ServerContext<S>>,
    limiter: &Arc<ConnectionLimiter>,
    serve: impl FnOnce(ConnectionInfo, Arc<ServerContext<S>>) -> F + Send + 'static,
) where
    S: Service,
    F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
{
    // Without even a permit for a refusal, the connection is closed.
    let limits = context.limits.borrow().clone();
    let Some(permit) = limiter.take(connection_class(peer, &context.trusted_proxies), &limits) else { return };
    let until = limits.lifetime.map(|lifetime| Instant::now() + jittered(lifetime));
    let info = ConnectionInfo {
        peer,
        is_secure: false,
        limits,
        until,
        permit: Arc::new(permit),
        tasks: context.connection_tasks.clone(),
    };
    // The task makes the future itself: a future that it was given would be held twice.
    let shared = context.clone();
    context.connection_tasks.spawn(async move {
        if let Err(error) = serve(info, shared).await {
            debug!(error:% = error; "a connection failed");
        }
    });
}

/// A lifetime, shortened by up to a tenth, so that clients that connected together do not all return together.
fn jittered(lifetime: Duration) -> Duration {
    lifetime.mul_f64(1.0 - fastrand::f64() / 10.0)
}

/// The reason why a connection failed.
pub(crate) type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

/// Serves a connection over TCP. If TLS is configured, connections from other machines must speak it.
async fn serve_tcp<S: Service>(
    stream: TcpStream,
    mut info: ConnectionInfo,
    context: Arc<ServerContext<S>>,
) -> Result<(), ConnectionError> {
    let transport: Box<dyn Transport> = match &context.tls {
        None => Box::new(stream),
        Some(tls) => match tls.clone().accept(stream, info.limits.head, context.finish.clone()).await? {
            Ok(encrypted) => {
                info.is_secure = true;
                encrypted
            }
            Err(plain) if matches!(info.peer, Peer::Tcp(peer) if tls::is_same_host(peer.ip())) => Box::new(plain),
            Err(mut plain) => {
                plain.write_all(PLAIN_HTTP_REFUSAL).await?;
                return Ok(plain.shutdown().await?);
            }
        },
    };
    serve_connection(transport, info, context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_spread_over_their_last_tenth() {
        let lifetime = Duration::from_secs(1000);
        let all: Vec<_> = (0..1000).map(|_| jittered(lifetime).as_secs()).collect();
        assert!(all.iter().all(|seconds| (900..=1000).contains(seconds)), "{all:?}");
        assert!(all.iter().any(|seconds| *seconds < 930) && all.iter().any(|seconds| *seconds > 970), "{all:?}");
    }
}
