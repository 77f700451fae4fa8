//! The socket by which `rtlogd reload`, `rtlogd shutdown` and `rtlogd upgrade` ask the daemon, and receive the result.
//!
//! These requests have a separate socket. The addresses of `listen` are not suitable: they are in the configuration, which
//! may be the part that is wrong. The socket is named after the path of the configuration, in a directory that both sides
//! can find (see `local_socket_path`). Only the daemon's user and root may connect. The request is one line; the reply is one word and lines for
//! people.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{debug, info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::config::ProcessesAtStop;
use crate::daemon::local_socket_path::{SocketNames, paths_to_open, paths_to_try};

/// The longest reply, in bytes: a hundred mistakes with long paths.
const MAX_REPLY_SIZE: u64 = 1 << 20;

/// The longest time that the client may take to read the reply.
const REPLY_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest request, in bytes.
const MAX_REQUEST_SIZE: u64 = 64;

/// The longest time that a client may take to send its request, which it does at once.
const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time to wait for the end of a daemon that has said that it ends.
const MAX_END_WAIT: Duration = Duration::from_secs(30);

/// The request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalCommand {
    /// Read the configuration again.
    Reload,
    /// End, and stop the processes or leave them to the next daemon.
    ShutDown(ProcessesAtStop),
    /// Become the program that is now installed.
    Upgrade,
}

impl LocalCommand {
    const ALL: [Self; 4] =
        [Self::Reload, Self::ShutDown(ProcessesAtStop::End), Self::ShutDown(ProcessesAtStop::Keep), Self::Upgrade];

    /// The command as one line, without its end.
    fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::ShutDown(ProcessesAtStop::End) => "shutdown",
            Self::ShutDown(ProcessesAtStop::Keep) => "shutdown keep-processes",
            Self::Upgrade => "upgrade",
        }
    }
}

/// The result of a request, with lines for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestResult {
    /// The request was carried out.
    Applied(String),
    /// Nothing was changed, for example since the configuration is wrong.
    Refused(String),
    /// Only a part of it could be done.
    PartlyApplied(String),
}

impl RequestResult {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Applied(text) => ("done", text),
            Self::Refused(text) => ("refused", text),
            Self::PartlyApplied(text) => ("failed", text),
        }
    }

    fn parse(answer: &str) -> Option<Self> {
        let (word, text) = answer.split_once('\n')?;
        let text = text.to_owned();
        match word {
            "done" => Some(Self::Applied(text)),
            "refused" => Some(Self::Refused(text)),
            "failed" => Some(Self::PartlyApplied(text)),
            _ => None,
        }
    }
}

/// The reason why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(
        "no rtlogd with the configuration {config:?} can be reached at {tried} (name another configuration with --config; \
         otherwise check that rtlogd is running, and that you are root or its user)"
    )]
    NotRunning { config: PathBuf, tried: String, source: Option<io::Error> },
    #[error("the daemon ended before it replied; its log says why")]
    Disconnected(#[source] Option<io::Error>),
    #[error("the daemon is still running, as process {0}")]
    StillRunning(i32),
}

/// Asks the daemon that serves the configuration at `path`, and waits for the result; in the case of
/// [`LocalCommand::ShutDown`], also for the end of the daemon. Blocks.
pub(crate) fn request(command: LocalCommand, path: &Path) -> Result<RequestResult, RequestError> {
    request_by(command, paths_to_try(path), path)
}

/// Sends the request by the first of these sockets that a daemon serves.
fn request_by(
    command: LocalCommand,
    mut sockets: impl Iterator<Item = PathBuf>,
    config: &Path,
) -> Result<RequestResult, RequestError> {
    let (mut tried, mut source) = (Vec::new(), None);
    let connected = sockets.find_map(|socket| {
        tried.push(socket.display().to_string());
        UnixStream::connect(socket).map_err(|error| source = Some(error)).ok()
    });
    let not_running = || RequestError::NotRunning { config: config.to_owned(), tried: tried.join(" or "), source };
    let mut stream = connected.ok_or_else(not_running)?;
    let daemon = DaemonProcess::of(&stream);
    let disconnected = |error| RequestError::Disconnected(Some(error));
    stream.write_all(format!("{}\n", command.as_str()).as_bytes()).map_err(disconnected)?;
    let mut answer = String::new();
    stream.take(MAX_REPLY_SIZE).read_to_string(&mut answer).map_err(disconnected)?;
    let result = RequestResult::parse(&answer).ok_or(RequestError::Disconnected(None))?;
    if let (LocalCommand::ShutDown(_), RequestResult::Applied(_), Some(daemon)) = (command, &result, daemon) {
        daemon.wait_for_end()?;
    }
    Ok(result)
}

/// The process at the other side of a connection.
struct DaemonProcess {
    pid: i32,
    process: OwnedFd,
}

impl DaemonProcess {
    /// `None` if the process cannot be seen from here, for example since it is in another container.
    fn of(stream: &UnixStream) -> Option<Self> {
        let pid = socket_peercred(stream).ok()?.pid;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid: pid.as_raw_nonzero().get(), process })
    }

    fn wait_for_end(&self) -> Result<(), RequestError> {
        let timeout = Timespec::try_from(MAX_END_WAIT).unwrap_or_default();
        match poll(&mut [PollFd::from_borrowed_fd(self.process.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => Err(RequestError::StillRunning(self.pid)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The listener for requests.
#[derive(Debug)]
pub(crate) struct LocalListener {
    /// `None` if it never receives a request.
    open: Option<OpenSocket>,
    /// A client that has not sent its request yet.
    client: Option<tokio::net::UnixStream>,
}

/// A socket on which the daemon listens.
#[derive(Debug)]
struct OpenSocket {
    listener: UnixListener,
    path: PathBuf,
    /// A link to it, by which clients find it that were given another path of the same configuration.
    alias: Option<PathBuf>,
}

impl LocalListener {
    /// A listener that never receives a request.
    pub(crate) fn disabled() -> Self {
        Self { open: None, client: None }
    }

    /// The listener for the configuration at `path`. Without a directory for its socket there is none, but SIGHUP and
    /// SIGTERM still work.
    pub(crate) fn open(path: &Path) -> Self {
        Self::open_first(paths_to_open(path)).with_alias(path)
    }

    /// The listener that an earlier program of this process left, in which requests may be waiting; a new one if it has
    /// lost its name.
    pub(crate) fn adopt(path: &Path, socket: OwnedFd) -> Self {
        match adopt(socket) {
            Ok((listener, socket)) => Self::of(listener, socket).with_alias(path),
            Err(error) => {
                info!(errno = error.raw_os_error(), error:% = error; "the socket for local requests is opened again");
                Self::open(path)
            }
        }
    }

    fn of(listener: UnixListener, path: PathBuf) -> Self {
        Self { open: Some(OpenSocket { listener, path, alias: None }), client: None }
    }

    /// The same listener with a link for clients that were given another path of the configuration at `config`.
    fn with_alias(mut self, config: &Path) -> Self {
        if let (Some(open), Some(name)) = (&mut self.open, SocketNames::of(config).resolved) {
            let alias = open.path.with_file_name(name);
            match make_alias(&open.path, &alias) {
                Ok(()) => open.alias = Some(alias),
                Err(error) => debug!(path:? = alias, error:% = error; "cannot link to the socket for local requests"),
            }
        }
        self
    }

    /// The socket for the next program of this process; `None` if there is none, or no descriptor for it.
    pub(crate) fn socket(&self) -> Option<OwnedFd> {
        self.open.as_ref()?.listener.as_fd().try_clone_to_owned().ok()
    }

    /// Leaves the file of the socket to the next program of this process.
    pub(crate) fn keep(mut self) {
        self.open = None;
    }

    /// The listener at the first of these paths that is usable.
    fn open_first(sockets: impl Iterator<Item = PathBuf>) -> Self {
        let mut causes = Vec::new();
        for socket in sockets {
            match listen(&socket) {
                Ok(listener) => return Self::of(listener, socket),
                Err(error) => causes.push(format!("{}: {error}", socket.display())),
            }
        }
        let error = causes.join("; ");
        warn!(error = error.as_str(); "`rtlogd reload`, `shutdown` and `upgrade` cannot reach this daemon; use SIGHUP and SIGTERM instead");
        Self::disabled()
    }

    /// The next request. May be dropped at any time.
    pub(crate) async fn accept(&mut self) -> LocalRequest {
        let Some(OpenSocket { listener, .. }) = &self.open else { return std::future::pending().await };
        loop {
            let client = match &mut self.client {
                Some(client) => client,
                none => match listener.accept().await {
                    Ok((stream, _)) => none.insert(stream),
                    Err(error) => {
                        warn!(errno = error.raw_os_error(), error:% = error; "cannot accept a local request");
                        tokio::time::sleep(REPLY_WRITE_TIMEOUT).await;
                        continue;
                    }
                },
            };
            let command = timeout(REQUEST_READ_TIMEOUT, read_command(client)).await.ok().flatten();
            if let (Some(stream), Some(command)) = (self.client.take(), command) {
                return LocalRequest { command, client: Some(stream) };
            }
        }
    }
}

/// The command of a client; `None` for one that this version does not know, and at the end of the connection. If it is
/// dropped, what was read is lost.
async fn read_command(client: &mut tokio::net::UnixStream) -> Option<LocalCommand> {
    let mut line = Vec::new();
    let mut limited = client.take(MAX_REQUEST_SIZE);
    while !line.ends_with(b"\n") {
        if limited.read_buf(&mut line).await.ok()? == 0 {
            return None;
        }
    }
    LocalCommand::ALL.into_iter().find(|command| line == format!("{}\n", command.as_str()).as_bytes())
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        let Some(OpenSocket { path, alias, .. }) = &self.open else { return };
        for path in alias.iter().chain([path]) {
            if let Err(error) = fs::remove_file(path) {
                debug!(path:? = path, error:% = error; "cannot remove the socket for local requests");
            }
        }
    }
}

/// The listener of an earlier program of this process, and its path.
fn adopt(socket: OwnedFd) -> io::Result<(UnixListener, PathBuf)> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    if !fs::symlink_metadata(&path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket"));
    }
    Ok((UnixListener::from_std(listener)?, path))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        fs::create_dir(directory)?;
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Makes `alias` a link to the socket next to it.
fn make_alias(socket: &Path, alias: &Path) -> io::Result<()> {
    let name = socket.file_name().unwrap_or_default();
    if fs::read_link(alias).is_ok_and(|found| found == name) {
        // The earlier program of this process has made it.
        return Ok(());
    }
    remove_stale(alias)?;
    symlink(name, alias)
}

/// Removes a socket, or a link to one, that no daemon serves.
///
/// # Errors
/// If a daemon serves it, or may serve it, or if it is something else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        // A link whose socket is gone leads to nothing.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
        // A daemon of another user may serve it, for example.
        Err(error) => return Err(error),
    }
    match fs::symlink_metadata(path).map(|found| found.file_type()) {
        Ok(found) if found.is_socket() || found.is_symlink() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A request, and the connection for its result.
#[derive(Debug)]
pub(crate) struct LocalRequest {
    pub(crate) command: LocalCommand,
    /// The client that waits for the result; `None` for a request by a signal, which expects none.
    client: Option<tokio::net::UnixStream>,
}

impl LocalRequest {
    /// A request by a signal, which expects no reply.
    pub(crate) fn by_signal(command: LocalCommand) -> Self {
        Self { command, client: None }
    }

    /// A request that an earlier program of this process received.
    ///
    /// # Errors
    /// If the connection cannot be used.
    pub(crate) fn of_client(command: LocalCommand, client: OwnedFd) -> io::Result<Self> {
        let client = UnixStream::from(client);
        client.set_nonblocking(true)?;
        Ok(Self { command, client: Some(tokio::net::UnixStream::from_std(client)?) })
    }

    /// The connection of the client, for another program of this process.
    pub(crate) fn client(&self) -> Option<OwnedFd> {
        self.client.as_ref()?.as_fd().try_clone_to_owned().ok()
    }

    /// Sends the result.
    pub(crate) async fn answer(self, result: &RequestResult) {
        let Some(mut stream) = self.client else { return };
        let (word, text) = result.parts();
        let answer = format!("{word}\n{text}");
        if !matches!(timeout(REPLY_WRITE_TIMEOUT, stream.write_all(answer.as_bytes())).await, Ok(Ok(()))) {
            debug!("the client that sent a local request did not wait for the result");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_sent_and_parsed() {
        let text = "a.yaml:1:2: wrong\na.yaml:3:4: wrong too".to_owned();
        for result in [
            RequestResult::Applied(text.clone()),
            RequestResult::Refused(text.clone()),
            RequestResult::PartlyApplied(text),
        ] {
            let (word, text) = result.parts();
            assert_eq!(RequestResult::parse(&format!("{word}\n{text}")), Some(result));
        }
        assert_eq!(RequestResult::parse(""), None);
        assert_eq!(RequestResult::parse("done"), None);
    }

    #[tokio::test]
    async fn each_command_is_received_as_it_was_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut listener = LocalListener::open_first([path.clone()].into_iter());
        // A client that says nothing, or something unknown, does not keep others waiting.
        drop(UnixStream::connect(&path).unwrap());
        UnixStream::connect(&path).unwrap().write_all(b"dance\nreload\n").unwrap();
        UnixStream::connect(&path).unwrap().write_all(&[b'x'; 1000]).unwrap();
        for command in LocalCommand::ALL {
            UnixStream::connect(&path).unwrap().write_all(format!("{}\n", command.as_str()).as_bytes()).unwrap();
            assert_eq!(listener.accept().await.command, command);
        }
    }

    /// Requests a reload by these sockets.
    async fn request(sockets: &[PathBuf]) -> Result<RequestResult, RequestError> {
        let sockets = sockets.to_vec();
        let ask = move || request_by(LocalCommand::Reload, sockets.into_iter(), Path::new("a.yaml"));
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_receives_the_result_of_its_own_reload() {
        let directory = tempfile::tempdir().unwrap();
        // The directory of the first socket cannot be created, and that of the second is.
        let sockets = [directory.path().join("a/b/reload.sock"), directory.path().join("c/reload.sock")];
        let mut listener = LocalListener::open_first(sockets.iter().cloned());
        assert_eq!(fs::metadata(&sockets[1]).unwrap().permissions().mode() & 0o777, 0o600);
        for result in [
            RequestResult::Applied("streams: 1 added".to_owned()),
            RequestResult::Refused(format!("a.yaml:1:2: wrong\n{}", "x".repeat(100_000))),
            RequestResult::PartlyApplied(String::new()),
        ] {
            let (received, ()) =
                tokio::join!(request(&sockets), async { listener.accept().await.answer(&result).await });
            assert_eq!(received.unwrap(), result);
        }
        // A daemon that ends before the reload is done.
        let (received, ()) = tokio::join!(request(&sockets), async { drop(listener.accept().await) });
        assert!(matches!(received, Err(RequestError::Disconnected(None))), "{received:?}");
        // A reply to a signal goes nowhere, and a listener that is disabled receives nothing.
        LocalRequest::by_signal(LocalCommand::Reload).answer(&RequestResult::Applied(String::new())).await;
        let mut disabled = LocalListener::disabled();
        tokio::select! {
            biased;
            request = disabled.accept() => panic!("{request:?}"),
            () = std::future::ready(()) => {}
        }
        drop(listener);
        assert!(!sockets[1].exists(), "the listener removes its socket");
        let missing = request(&sockets).await.unwrap_err();
        assert!(
            matches!(&missing, RequestError::NotRunning { source: Some(_), .. })
                && sockets.iter().all(|socket| missing.to_string().contains(socket.to_str().unwrap())),
            "{missing}"
        );
    }

    #[tokio::test]
    async fn a_socket_in_use_is_not_taken_over_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("reload.sock");
        let mut first = LocalListener::open_first([socket.clone()].into_iter());
        assert_eq!(listen(&socket).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // A second daemon with the same configuration has no socket, and leaves that of the first alone.
        let second = LocalListener::open_first([socket.clone()].into_iter());
        assert!(second.open.is_none());
        drop(second);
        let result = RequestResult::Applied("as before".to_owned());
        // The connection attempts of the second daemon are requests, too, and are gone.
        let serve = async {
            loop {
                first.accept().await.answer(&result).await;
            }
        };
        tokio::select! {
            received = request(std::slice::from_ref(&socket)) => assert_eq!(received.unwrap(), result),
            () = serve => {}
        }
        // A daemon that was killed leaves its socket behind.
        let path = leave_socket(first);
        assert!(path.exists() && UnixStream::connect(&path).is_err());
        assert!(LocalListener::open_first([socket.clone()].into_iter()).open.is_some());
        let file = directory.path().join("a file");
        fs::write(&file, "text").unwrap();
        assert_eq!(listen(&file).unwrap_err().to_string(), "exists and is not a socket");
        assert_eq!(fs::read_to_string(&file).unwrap(), "text", "a file that is not a socket is left alone");
    }

    #[tokio::test]
    async fn only_what_nobody_listens_on_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let served = UnixListener::bind(at("served")).unwrap();
        // It answers another protocol. A connection fails for this reason, and not since nobody listens.
        let other = std::os::unix::net::UnixDatagram::bind(at("other")).unwrap();
        drop(UnixListener::bind(at("stale")).unwrap());
        for (link, target) in
            [("to served", "served"), ("to other", "other"), ("to stale", "stale"), ("dead", "no"), ("loop", "loop")]
        {
            symlink(target, at(link)).unwrap();
        }
        let table = [
            ("served", false),
            ("to served", false),
            ("other", false),
            ("to other", false),
            ("loop", false),
            ("to stale", true),
            ("stale", true),
            ("dead", true),
        ];
        for (name, is_removed) in table {
            let result = remove_stale(&at(name));
            assert_eq!(result.is_ok(), is_removed, "{name}: {result:?}");
            assert_eq!(fs::symlink_metadata(at(name)).is_err(), is_removed, "{name}");
        }
        remove_stale(&at("missing")).unwrap();
        drop((served, other));
    }

    /// Closes a listener that does not remove its socket.
    fn leave_socket(mut listener: LocalListener) -> PathBuf {
        listener.open.take().unwrap().path
    }

    #[tokio::test]
    async fn a_link_to_the_socket_lasts_as_long_as_the_socket() {
        let place = tempfile::tempdir().unwrap();
        let (file, link) = (place.path().join("a.yaml"), place.path().join("link.yaml"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        let open = |config: &Path| {
            let socket = place.path().join(SocketNames::of(config).given);
            LocalListener::open_first([socket].into_iter()).with_alias(config)
        };
        let alias = place.path().join(SocketNames::of(&file).given);
        // Twice, since the first daemon is killed.
        leave_socket(open(&link));
        assert!(UnixStream::connect(&alias).is_err());
        let daemon = open(&link);
        UnixStream::connect(&alias).unwrap();
        // Another daemon for the file itself has no socket, and does not take away the link.
        assert!(open(&file).open.is_none());
        UnixStream::connect(&alias).unwrap();
        drop(daemon);
        assert!(fs::symlink_metadata(&alias).is_err());
        // What is left of the link is no obstacle.
        leave_socket(open(&link));
        assert!(open(&file).open.is_some());
    }
}
