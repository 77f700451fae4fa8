//! A descriptor that is read without blocking, and that the runtime watches only while somebody waits for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;

use tokio::io::Interest;
use tokio::net::UnixStream;

/// A non-blocking descriptor. While it is watched, each write to it wakes a thread of the runtime, even if nobody waits.
#[derive(Debug)]
pub(super) enum PolledFd {
    Unwatched(OwnedFd),
    /// tokio waits for any descriptor as it does for a socket, which is the way to do so without `unsafe`.
    Watched(UnixStream),
}

impl PolledFd {
    /// Lets the runtime watch the descriptor, if it does not.
    ///
    /// # Errors
    /// If the system cannot watch one more. The descriptor can still be read.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        if let Self::Unwatched(fd) = self {
            let watched = UnixStream::from_std(net::UnixStream::from(fd.try_clone()?))?;
            *self = Self::Watched(watched);
        }
        Ok(())
    }

    /// Ends the watch. Without a free descriptor, it continues.
    pub(super) fn unwatch(&mut self) {
        if let Self::Watched(stream) = self
            && let Ok(fd) = stream.as_fd().try_clone_to_owned()
        {
            *self = Self::Unwatched(fd);
        }
    }

    /// Waits until there are bytes; returns at once if the descriptor is not watched. May be dropped at any time.
    pub(super) async fn readable(&self) {
        if let Self::Watched(stream) = self {
            // An error occurs again in the read.
            stream.readable().await.unwrap_or_default();
        }
    }

    /// Reads with `read`, which returns an error of the kind `WouldBlock` if there is nothing.
    pub(super) fn try_read<T>(&self, read: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Watched(stream) => stream.try_io(Interest::READABLE, || read(stream.as_fd())),
            Self::Unwatched(fd) => read(fd.as_fd()),
        }
    }
}

impl AsFd for PolledFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Watched(stream) => stream.as_fd(),
            Self::Unwatched(fd) => fd.as_fd(),
        }
    }
}
