//! The state of a run that the daemon leaves with the shim for the next daemon: memory that belongs to no process.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory that the shim holds, too.
#[derive(Debug)]
pub(in crate::source::process) struct RunSnapshot(File);

impl RunSnapshot {
    /// An empty snapshot.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("rtlogd-snapshot", MemfdFlags::CLOEXEC)?.into()))
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// If the system has no memory for it. The content is then invalid.
    pub(in crate::source::process) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(content)
    }

    /// Takes the content, so that a daemon after this one does not continue in an old state. Empty if there is none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(in crate::source::process) fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut content)?;
        self.0.set_len(0)?;
        Ok(content)
    }
}

impl AsFd for RunSnapshot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for RunSnapshot {
    fn from(file: OwnedFd) -> Self {
        Self(file.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_taken_once() {
        let mut snapshot = RunSnapshot::new().unwrap();
        assert_eq!(snapshot.take().unwrap(), b"");
        snapshot.write(b"a long state").unwrap();
        snapshot.write(b"a state").unwrap();
        let mut of_next_daemon = RunSnapshot::from(snapshot.0.try_clone().map(OwnedFd::from).unwrap());
        assert_eq!(of_next_daemon.take().unwrap(), b"a state");
        assert_eq!(snapshot.take().unwrap(), b"");
    }
}
