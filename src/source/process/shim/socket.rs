//! The socket of a shim, by which the next daemon finds it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use rustix::process::geteuid;

use super::socket_path;

/// The number of connections that may wait until the shim accepts them.
const BACKLOG: i32 = 8;

/// A socket that listens.
#[derive(Debug)]
pub(super) struct ShimSocket {
    listener: OwnedFd,
    /// The directory in which it is, which may have been moved or replaced since.
    directory: File,
    path: PathBuf,
    name: String,
}

impl ShimSocket {
    /// Opens the socket of this name in a directory.
    ///
    /// # Errors
    /// If the directory does not exist, or there is such a socket already.
    pub(super) fn open(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        let directory = File::open(directory)?;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(socket_path(&directory, name))?)?;
        listen(&listener, BACKLOG)?;
        Ok(Self { listener, directory, path, name: name.to_owned() })
    }

    pub(super) fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// Opens the socket again if somebody has removed it.
    pub(super) fn restore(&mut self) {
        // Without a new one, the old one stays; nobody can be told.
        if !fs::exists(&self.path).unwrap_or(true)
            && let Some(directory) = self.path.parent()
            && let Ok(opened) = Self::open(directory, &self.name)
        {
            *self = opened;
        }
    }

    /// Accepts a connection of the user who runs rtlogd, or of root.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        let guest = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        let peer = socket_peercred(&guest).ok()?;
        (peer.uid == geteuid() || peer.uid.is_root()).then_some(guest)
    }

    /// Removes the file of the socket.
    pub(super) fn remove(&self) {
        // A next daemon removes a socket that nobody listens on.
        fs::remove_file(socket_path(&self.directory, &self.name)).unwrap_or_default();
    }
}
