//! Sockets: accept, give a seat, serve with timers, drain. Routing is warp's; the loop, the limits and the clock are ours.

mod admit;
mod flow;
mod io;
mod seats;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, warn};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::reply::Reply;

use crate::access::{Hosts, Origins, Peer};
use crate::config::{Limits, Listen, Network};

pub(crate) use admit::{Coming, Sent};
pub(crate) use tls::{Tls, TlsError};

use super::Answers;
use admit::respond;
use flow::Flow;
use io::{Watched, tune};
use seats::{Seat, Seats};

/// Most of a response that waits in one connection's buffer, in bytes, beyond the frame that overran it.
const WRITE_BUFFER: usize = 32 << 10;

/// Largest head, in bytes, and most header lines: a browser's with cookies is a tenth of it.
const HEAD: usize = 32 << 10;
const HEADERS: usize = 100;

/// Streams on one HTTP/2 connection at once; a browser asks for 100 at most.
const H2_STREAMS: u32 = 100;

/// What somebody is told who speaks HTTP where TLS is spoken.
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 34\r\nConnection: close\r\n\r\n\
    this address speaks TLS: https://\n";

/// Streams of one HTTP/2 connection that may be reset unanswered: a browser has no more open (CVE-2023-44487).
const H2_RESETS: usize = 100;

/// What one HTTP/2 connection may send ahead, in bytes: for all its streams together, as bodies are small.
const H2_WINDOW: u32 = 256 << 10;

/// After a failure to accept (no descriptors left), how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that is open, and where.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
    /// One that systemd made, and keeps.
    Given(UnixListener, PathBuf),
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{0} is in use by another program; stop it, or give another address with --listen or `listen:`")]
    InUse(Listen),
    #[error("cannot listen on {listen}")]
    Bind { listen: Listen, source: std::io::Error },
    #[error("{0:?} exists and is not a socket; remove it or name another path")]
    NotASocket(PathBuf),
}

impl Socket {
    /// Opens the socket. A Unix socket that nobody serves any more is replaced; ours is for owner and group (0660).
    pub(crate) async fn open(listen: &Listen) -> Result<Self, ListenError> {
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse(listen.clone()),
            _ => ListenError::Bind { listen: listen.clone(), source },
        };
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok(Self::Tcp(listener, bound))
            }
            Listen::Unix(path) => {
                clear(path, listen).await?;
                let listener = UnixListener::bind(path).map_err(failed)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    /// One that systemd made.
    pub(crate) fn given_tcp(listener: std::net::TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?, bound))
    }

    /// The same as a Unix socket; its file is not ours to remove.
    pub(crate) fn given_unix(listener: std::os::unix::net::UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self::Given(UnixListener::from_std(listener)?, path))
    }

    /// Where it listens, as it is written in a configuration.
    pub(crate) fn place(&self) -> Listen {
        match self {
            Self::Tcp(_, address) => Listen::Tcp(*address),
            Self::Unix(_, path) | Self::Given(_, path) => Listen::Unix(path.clone()),
        }
    }

    /// Where to find it; over TCP it is `secure` with TLS.
    pub(crate) fn address(&self, secure: bool) -> String {
        match self {
            Self::Tcp(_, address) if secure => format!("https://{address}"),
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::Unix(_, path) | Self::Given(_, path) => format!("unix:{}", path.display()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self
            && let Err(error) = std::fs::remove_file(&path)
        {
            debug!(path:% = path.display(), error:% = error; "cannot remove our socket");
        }
    }
}

/// Removes a socket that nobody serves.
async fn clear(path: &Path, listen: &Listen) -> Result<(), ListenError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::InUse(listen.clone()));
    }
    std::fs::remove_file(path).map_err(|source| ListenError::Bind { listen: listen.clone(), source })
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) hosts: Hosts,
    /// Whose pages may read.
    pub(crate) origins: Arc<Origins>,
    pub(crate) limits: Limits,
    pub(crate) trusted: Vec<Network>,
    /// Without the slash at its end.
    pub(crate) base_path: String,
    /// What connections from other machines must speak, if anything.
    pub(crate) tls: Option<Tls>,
    /// How requests were answered.
    pub(crate) answers: Answers,
    /// Where connections run.
    pub(crate) tasks: TaskTracker,
    /// Asks connections to finish what they are at.
    pub(crate) finish: CancellationToken,
}

/// Accepts on all sockets until `stop`; connections run on as tasks.
pub(crate) fn serve<F>(sockets: Vec<Socket>, routes: &F, rules: Rules, stop: &CancellationToken)
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let seats = Arc::new(Seats::new(rules.limits.connections, rules.limits.per_address));
    let rules = Arc::new(rules);
    for socket in sockets {
        let loop_ = accept(socket, routes.clone(), rules.clone(), seats.clone());
        let stop = stop.clone();
        rules.tasks.spawn(async move { stop.run_until_cancelled(loop_).await });
    }
}

async fn accept<F>(socket: Socket, routes: F, rules: Arc<Rules>, seats: Arc<Seats>)
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    loop {
        let accepted = match &socket {
            Socket::Tcp(listener, _) => listener.accept().await.map(|(stream, peer)| {
                tune(&stream);
                let counted = !peer.ip().is_loopback() && !rules.trusted.iter().any(|net| net.contains(peer.ip()));
                let from = Arrival { peer: Peer::tcp(peer), address: counted.then(|| peer.ip()) };
                spawn(from, &routes, &rules, &seats, async |guest, routes, rules| {
                    met(stream, guest, routes, &rules).await
                });
            }),
            Socket::Unix(listener, _) | Socket::Given(listener, _) => {
                listener.accept().await.and_then(|(stream, _)| {
                    let user = stream.peer_cred()?;
                    let pid = user.pid().and_then(|pid| u32::try_from(pid).ok());
                    let from = Arrival { peer: Peer::Unix { uid: user.uid(), pid }, address: None };
                    spawn(from, &routes, &rules, &seats, async |guest, routes, rules| {
                        connection(stream, guest, routes, &rules).await
                    });
                    Ok(())
                })
            }
        };
        if let Err(error) = accepted {
            warn!(errno = error.raw_os_error(), error:% = error; "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// From where a connection came.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    peer: Peer,
    /// The address that its seat counts for, if it counts for one.
    address: Option<IpAddr>,
}

/// Who sent a request. As long as a copy is held, so is the connection's seat.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) peer: Peer,
    /// Whether nobody on the way can read along.
    pub(super) secure: bool,
    seat: Arc<Seat>,
    tasks: TaskTracker,
}

impl Guest {
    /// Goes on with `work` when the request is answered; the seat stays taken, and the daemon waits for it when it stops.
    pub(super) fn go_on(self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.clone().spawn(async move {
            work.await;
            drop(self);
        });
    }
}

/// Gives a connection its seat, and serves it as a task.
fn spawn<F, S>(
    from: Arrival,
    routes: &F,
    rules: &Arc<Rules>,
    seats: &Arc<Seats>,
    serve: impl FnOnce(Guest, F, Arc<Rules>) -> S,
) where
    F: Clone,
    S: Future<Output = Result<(), Failure>> + Send + 'static,
{
    // Without even a seat to refuse from, the connection is closed.
    let Some(seat) = seats.take(from.address) else { return };
    let guest = Guest { peer: from.peer, secure: false, seat: Arc::new(seat), tasks: rules.tasks.clone() };
    let served = serve(guest, routes.clone(), rules.clone());
    rules.tasks.spawn(async move {
        if let Err(error) = served.await {
            debug!(error:% = error; "a connection failed");
        }
    });
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves a connection over TCP: where there is TLS it is spoken, but by this machine with itself.
async fn met<F>(stream: TcpStream, mut guest: Guest, routes: F, rules: &Arc<Rules>) -> Result<(), Failure>
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let Some(tls) = &rules.tls else { return connection(stream, guest, routes, rules).await };
    let shake = async {
        if Tls::is_spoken(&stream).await? {
            return tls.accept(stream).await.map(Ok);
        }
        Ok(Err(stream))
    };
    let shaken = rules.finish.run_until_cancelled(tokio::time::timeout(rules.limits.head, shake)).await;
    match shaken.ok_or("the daemon stops")??? {
        Ok(stream) => {
            guest.secure = true;
            connection(stream, guest, routes, rules).await
        }
        Err(stream) if matches!(guest.peer, Peer::Tcp(peer) if tls::is_here(peer.ip())) => {
            connection(stream, guest, routes, rules).await
        }
        Err(mut stream) => {
            stream.write_all(PLAIN).await?;
            Ok(stream.shutdown().await?)
        }
    }
}

/// Serves one connection to its end.
async fn connection<F, S>(stream: S, guest: Guest, routes: F, rules: &Arc<Rules>) -> Result<(), Failure>
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &rules.limits;
    let peeked = tokio::time::timeout(limits.head, Watched::peek(stream, limits.stalled_write));
    let (stream, is_h2) = rules.finish.run_until_cancelled(peeked).await.ok_or("the daemon stops")???;
    let overfull = matches!(*guest.seat, Seat::Overfull(_));
    let seated = rules.clone();
    let service = service_fn(move |request| {
        let (routes, rules, guest) = (routes.clone(), seated.clone(), guest.clone());
        // Boxed, since a connection keeps the room of what answered it for as long as its body lasts.
        Box::pin(async move { Ok::<_, Infallible>(respond(request, routes, &rules, guest).await) })
    });
    let stream = TokioIo::new(stream);
    if is_h2 {
        let mut server = http2::Builder::new(Tasks(rules.tasks.clone()));
        server
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_pending_accept_reset_streams(H2_RESETS)
            .max_local_error_reset_streams(H2_RESETS)
            .initial_stream_window_size(H2_WINDOW / 4)
            .initial_connection_window_size(H2_WINDOW)
            .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
            .max_send_buf_size(WRITE_BUFFER * 2)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.stalled_write);
        let flow = Flow::default();
        let watched = flow.clone();
        let service = service_fn(move |request| {
            let (answer, flow) = (service.call(request), watched.clone());
            async move { answer.await.map(|response| response.map(|body| flow.watch(body))) }
        });
        let mut connection = Box::pin(server.serve_connection(stream, service));
        tokio::select! {
            ended = drain(connection.as_mut(), &rules.finish, http2::Connection::graceful_shutdown) => ended?,
            () = flow.stuck(limits.stalled_write) => return Err("a reader took nothing of an answer for too long".into()),
        }
    } else {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(HEADERS)
            .max_buf_size(WRITE_BUFFER)
            .keep_alive(!overfull);
        let mut connection = Box::pin(server.serve_connection(stream, service).with_upgrades());
        drain(connection.as_mut(), &rules.finish, http1::UpgradeableConnection::graceful_shutdown).await?;
    }
    Ok(())
}

/// Runs a connection; once asked to finish, it ends with the responses that are under way.
async fn drain<C>(
    mut connection: std::pin::Pin<&mut C>,
    finish: &CancellationToken,
    ask: fn(std::pin::Pin<&mut C>),
) -> C::Output
where
    C: Future,
{
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = finish.cancelled() => ask(connection.as_mut()),
    }
    connection.await
}

/// Lets HTTP/2 start its tasks where all tasks run.
#[derive(Debug, Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
