//! A fifo: what its writers write is read as from a pipe, and goes on when the next writer comes.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::fstat;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::select;
use tokio::time::sleep_until;

use crate::source::Now;
use crate::stream::Batch;

use super::follow::Follow;
use super::identity::Identity;

/// Most bytes in one read: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// A fifo that is open.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    receiver: Receiver,
    identity: Identity,
    buffer: Box<[u8]>,
}

impl Fifo {
    /// Opens it; does not wait for a writer.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let receiver = OpenOptions::new().open_receiver(path)?;
        let identity = Identity::from(&fstat(&receiver)?);
        Ok(Self { path: path.to_owned(), receiver, identity, buffer: vec![0; CHUNK].into() })
    }

    /// Which one it is.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Reads what is there into `follow`. At the end, when its last writer is gone, it is opened again.
    fn take(&mut self, follow: &mut Follow, batch: &mut Batch) -> io::Result<()> {
        let now = Now::read();
        match self.receiver.try_read(&mut self.buffer) {
            Ok(0) => {
                follow.finish(now, batch);
                // The old one stays open until then: what is written meanwhile is not lost.
                self.receiver = OpenOptions::new().open_receiver(&self.path)?;
                self.identity = Identity::from(&fstat(&self.receiver)?);
            }
            Ok(count) => follow.feed().push(0, &self.buffer[..count], now, batch),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Waits until there is something in `fifo`, and adds it to `batch`; for ever without one. May be dropped at any time.
pub(super) async fn read(fifo: &mut Option<Fifo>, follow: Option<&mut Follow>, batch: &mut Batch) {
    let (Some(open), Some(follow)) = (fifo.as_mut(), follow) else { return pending().await };
    let due = follow.feed().due();
    select! {
        // An error shows again in the read.
        ready = open.receiver.readable() => {
            ready.unwrap_or_default();
            if open.take(follow, batch).is_err() {
                // The next look sees why.
                *fifo = None;
            }
        }
        () = sleep_until(due.unwrap_or_else(|| Now::read().instant)), if due.is_some() => {
            follow.feed().show(Now::read().instant, batch);
        }
    }
}
