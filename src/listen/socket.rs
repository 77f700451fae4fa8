//! Listening sockets: those that rtlogd opens, and those that it was started with.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::debug;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use crate::config::ListenAddress;

/// The number of connections that wait in the kernel until they are accepted, in a restart for example: the longest backlog
/// that Linux permits by default (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// An open socket, and its address.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    pub(super) listener: Listener,
    address: ListenAddress,
    /// The file of a Unix socket that rtlogd created; `None` for other sockets.
    file: Option<SocketFile>,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket. It is removed on drop, unless it was [kept](Self::keep).
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    kept: bool,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), kept: false }
    }

    /// Leaves the file to the next daemon, which serves the same socket.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            debug!(path:% = self.path.display(), error:% = error; "cannot remove the socket");
        }
    }
}

/// The reason why rtlogd cannot listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("{0} is in use by another program; stop it, or give another address with --listen or `listen:`")]
    InUse(ListenAddress),
    #[error("cannot listen on {listen}")]
    Bind { listen: ListenAddress, source: io::Error },
    #[error("{0:?} exists and is not a socket; remove it or name another path")]
    NotASocket(PathBuf),
}

impl ListeningSocket {
    /// Opens a socket. A stale Unix socket, which no process serves, is replaced; the new one is for owner and group
    /// (0660). Its file is removed on drop.
    ///
    /// # Errors
    /// If the address is in use or not available, or the path is not a socket.
    pub(crate) async fn open(listen: &ListenAddress) -> Result<Self, ListenError> {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::AddrInUse => ListenError::InUse(listen.clone()),
            _ => ListenError::Bind { listen: listen.clone(), source },
        };
        match listen {
            ListenAddress::Tcp(address) => {
                let listener = listen_on_tcp(*address).map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                Ok(Self { listener: Listener::Tcp(listener), address: ListenAddress::Tcp(bound), file: None })
            }
            ListenAddress::Unix(path) => {
                remove_stale_socket(path, listen).await?;
                let listener = listen_on_unix(path).map_err(failed)?;
                let file = Some(SocketFile::new(path));
                fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
                Ok(Self { listener: Listener::Unix(listener), address: listen.clone(), file })
            }
        }
    }

    /// A socket that this process was started with. The file of a Unix socket belongs to the program that opened it.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub(crate) fn inherited(socket: InheritedSocket) -> io::Result<Self> {
        let (listener, address) = match socket {
            InheritedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?;
                (Listener::Tcp(TcpListener::from_std(listener)?), ListenAddress::Tcp(bound))
            }
            InheritedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
                (Listener::Unix(UnixListener::from_std(listener)?), ListenAddress::Unix(path))
            }
        };
        Ok(Self { listener, address, file: None })
    }

    /// The same for a socket that an earlier process of rtlogd opened for the address `wanted`, together with its file.
    /// `None` if it listens elsewhere, or if its file is gone.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub(crate) fn kept(socket: InheritedSocket, wanted: &ListenAddress) -> io::Result<Option<Self>> {
        let found = Self::inherited(socket)?;
        Ok(match (&found.address, wanted) {
            (ListenAddress::Tcp(bound), ListenAddress::Tcp(wanted)) => {
                let is_same = bound.ip() == wanted.ip() && (wanted.port() == 0 || bound.port() == wanted.port());
                is_same.then_some(found)
            }
            (ListenAddress::Unix(path), ListenAddress::Unix(wanted)) if path == wanted => {
                let exists = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
                exists.then(|| Self { file: Some(SocketFile::new(wanted)), ..found })
            }
            _ => None,
        })
    }

    /// Takes the file of a Unix socket that rtlogd created.
    pub(crate) fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// The address, as it is written in a configuration.
    pub(crate) fn configured_address(&self) -> &ListenAddress {
        &self.address
    }

    /// The address for people: a URL, or the path of a Unix socket. `secure` is true if TCP connections speak TLS.
    pub(crate) fn address(&self, secure: bool) -> String {
        match &self.address {
            ListenAddress::Tcp(address) if secure => format!("https://{address}"),
            ListenAddress::Tcp(address) => format!("http://{address}"),
            ListenAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A listening socket that this process was started with.
#[derive(Debug)]
pub(crate) enum InheritedSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

impl InheritedSocket {
    /// Closes the socket, and returns its file, if it is a Unix socket that has one.
    pub(crate) fn into_file(self) -> Option<SocketFile> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => Some(SocketFile::new(listener.local_addr().ok()?.as_pathname()?)),
        }
    }
}

fn listen_on_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier process, which the system still remembers, do not occupy the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen_on_unix(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Removes a socket that no process serves.
async fn remove_stale_socket(path: &Path, listen: &ListenAddress) -> Result<(), ListenError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::InUse(listen.clone()));
    }
    fs::remove_file(path).map_err(|source| ListenError::Bind { listen: listen.clone(), source })
}
