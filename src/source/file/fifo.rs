//! FIFOs are read like pipes, and continue to be read when another writer opens them.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::fstat;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use super::fingerprint::Identity;
use super::open_limit::OpenLimit;

/// The maximum size of one read in bytes: the capacity of a pipe.
const FIFO_READ_SIZE: usize = 64 << 10;

/// The FIFOs of one stream, by the number of their path.
#[derive(Debug)]
pub(super) struct Fifos {
    open_limit: OpenLimit,
    open: BTreeMap<usize, Fifo>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Fifo {
    path: PathBuf,
    receiver: Receiver,
    identity: Identity,
}

impl Fifo {
    /// Opens a FIFO without waiting for a writer.
    fn open(path: &Path, handles: &OpenLimit) -> io::Result<Self> {
        let (file, metadata) = handles.opener().open(path)?;
        let receiver = Receiver::from_file(file)?;
        Ok(Self { path: path.to_owned(), receiver, identity: Identity::from(&metadata) })
    }
}

impl Fifos {
    pub(super) fn new(handles: OpenLimit) -> Self {
        Self { open_limit: handles, open: BTreeMap::new(), buffer: Vec::new() }
    }

    /// Opens the FIFOs in `wanted` and closes all others. Returns the numbers of those that were closed.
    pub(crate) fn retain<'a>(&mut self, wanted: impl Iterator<Item = (usize, Identity, &'a Path)>) -> Vec<usize> {
        let mut before = std::mem::take(&mut self.open);
        for (id, identity, path) in wanted {
            let known = before.remove(&id).filter(|fifo| fifo.identity.same_inode(identity));
            // If the FIFO was replaced meanwhile, the next pass finds its replacement.
            if let Some(fifo) = known.or_else(|| Fifo::open(path, &self.open_limit).ok()) {
                self.open.insert(id, fifo);
            }
        }
        before.into_keys().collect()
    }

    /// Waits until a FIFO has bytes. Returns its number and the bytes, which are empty at its end. Waits forever if
    /// there is no FIFO. May be dropped at any time.
    pub(super) async fn read(&mut self) -> (usize, &[u8]) {
        if self.open.is_empty() {
            return pending().await;
        }
        self.buffer.resize(FIFO_READ_SIZE, 0);
        let Self { open_limit: handles, open, buffer } = self;
        let (id, count) = poll_fn(|context| {
            for (id, fifo) in &mut *open {
                if let Poll::Ready(outcome) = fifo.read(context, buffer, handles) {
                    return Poll::Ready((*id, outcome));
                }
            }
            Poll::Pending
        })
        .await;
        match count {
            Ok(count @ 1..) => (id, &self.buffer[..count]),
            end => {
                if end.is_err() || !self.open.get_mut(&id).is_some_and(|fifo| fifo.again(&self.open_limit)) {
                    // The next pass finds the reason.
                    self.open.remove(&id);
                }
                (id, &[])
            }
        }
    }
}

impl Fifo {
    fn read(&mut self, context: &mut Context<'_>, buffer: &mut [u8], handles: &OpenLimit) -> Poll<io::Result<usize>> {
        let mut filled = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.receiver).poll_read(context, &mut filled);
        let count = filled.filled().len();
        if count > 0 {
            handles.note_mode(fstat(&self.receiver)?.st_mode);
        }
        read.map_ok(|()| count)
    }

    /// Opens the FIFO again after its last writer closed it. The old end stays open until then, so that bytes written
    /// meanwhile are kept.
    fn again(&mut self, handles: &OpenLimit) -> bool {
        match Self::open(&self.path, handles) {
            Ok(fifo) => {
                *self = fifo;
                true
            }
            Err(_) => false,
        }
    }
}
