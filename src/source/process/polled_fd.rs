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
    Watched {
        /// tokio waits for any descriptor as it does for a socket, which is the way to do so without `unsafe`.
        stream: UnixStream,
        /// The runtime knows of all bytes that came before it began to watch.
        is_known: bool,
    },
}

impl PolledFd {
    /// Lets the runtime watch the descriptor, if it does not.
    ///
    /// # Errors
    /// If the system cannot watch one more. The descriptor can still be read.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        if let Self::Unwatched(fd) = self {
            let stream = UnixStream::from_std(net::UnixStream::from(fd.try_clone()?))?;
            *self = Self::Watched { stream, is_known: false };
        }
        Ok(())
    }

    /// Ends the watch. Without a free descriptor, it continues.
    pub(super) fn unwatch(&mut self) {
        if let Self::Watched { stream, .. } = self
            && let Ok(fd) = stream.as_fd().try_clone_to_owned()
        {
            *self = Self::Unwatched(fd);
        }
    }

    /// Waits until there are bytes; returns at once if the descriptor is not watched. May be dropped at any time.
    pub(super) async fn readable(&self) {
        if let Self::Watched { stream, .. } = self {
            // An error occurs again in the read.
            stream.readable().await.unwrap_or_default();
        }
    }

    /// Reads with `read`, which returns an error of the kind `WouldBlock` if there is nothing.
    pub(super) fn try_read<T>(&mut self, read: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Watched { stream, is_known } => {
                let mut read = Some(read);
                let tried = stream.try_io(Interest::READABLE, || match read.take() {
                    Some(read) => read(stream.as_fd()),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                });
                match read {
                    None => {
                        *is_known = true;
                        tried
                    }
                    // The runtime has not looked at the descriptor since it watches it, and does so only when all tasks wait.
                    Some(read) if !*is_known => {
                        let read = read(stream.as_fd());
                        *is_known = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                        read
                    }
                    Some(_) => tried,
                }
            }
            Self::Unwatched(fd) => read(fd.as_fd()),
        }
    }
}

impl AsFd for PolledFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Watched { stream, .. } => stream.as_fd(),
            Self::Unwatched(fd) => fd.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::io::Write;
    use std::time::Duration;
    use tokio::time::timeout;

    fn read(end: &mut PolledFd) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        let count = end.try_read(|end| Ok(rustix::io::read(end, &mut buffer)?))?;
        Ok(buffer[..count].to_vec())
    }

    #[tokio::test]
    async fn bytes_are_read_at_once_whenever_the_watch_began() {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let (mut end, mut theirs) = (PolledFd::Unwatched(ours), File::from(theirs));
        let is_empty = |read: io::Result<Vec<u8>>| read.unwrap_err().kind() == io::ErrorKind::WouldBlock;
        for round in 0..3 {
            theirs.write_all(b"before").unwrap();
            end.watch().unwrap();
            assert_eq!(read(&mut end).unwrap(), b"before", "{round}");
            assert!(is_empty(read(&mut end)), "{round}");
            // From now on, the runtime says when there is something.
            theirs.write_all(b"after").unwrap();
            timeout(Duration::from_secs(20), end.readable()).await.unwrap();
            assert_eq!(read(&mut end).unwrap(), b"after", "{round}");
            assert!(is_empty(read(&mut end)), "{round}");
            assert!(timeout(Duration::from_millis(1), end.readable()).await.is_err(), "{round}: it is empty");
            end.unwatch();
        }
    }
}
