//! FIFOs are read like pipes, and continue to be read when another writer opens them.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::fstat;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::source::read_pace::ReadPace;

use super::fingerprint::Identity;
use super::open_limit::OpenLimit;

/// The maximum size of one read in bytes: the capacity of a pipe.
const FIFO_READ_SIZE: usize = 64 << 10;

/// The time after which a FIFO that was at its end when it was opened is opened again.
const FIFO_REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The FIFOs of one stream, by the number of their path.
#[derive(Debug)]
pub(super) struct Fifos {
    open_limit: OpenLimit,
    /// The pace of a FIFO that is opened.
    pace: ReadPace,
    open: BTreeMap<usize, Fifo>,
    /// The FIFOs whose path does not name them any more, by the number of their unfinished line. Their writers may still
    /// have them open, and they are read to their end.
    left: BTreeMap<usize, Fifo>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Fifo {
    path: PathBuf,
    receiver: Receiver,
    identity: Identity,
    pace: ReadPace,
    /// Nothing was read since the FIFO was opened.
    is_fresh: bool,
    /// The time until which the FIFO is not read, since it was at its end when it was opened.
    paused_until: Option<Instant>,
}

impl Fifo {
    /// Opens a FIFO without waiting for a writer.
    fn open(path: &Path, handles: &OpenLimit, pace: ReadPace) -> io::Result<Self> {
        let (file, metadata) = handles.opener().open(path)?;
        let receiver = Receiver::from_file(file)?;
        Ok(Self {
            path: path.to_owned(),
            receiver,
            identity: Identity::from(&metadata),
            pace,
            is_fresh: true,
            paused_until: None,
        })
    }
}

impl Fifos {
    pub(super) fn new(handles: OpenLimit, pace: ReadPace) -> Self {
        Self { open_limit: handles, pace, open: BTreeMap::new(), left: BTreeMap::new(), buffer: Vec::new() }
    }

    /// Opens the FIFOs in `wanted` and closes all others. Returns the numbers of those that were closed.
    pub(crate) fn retain<'a>(&mut self, wanted: impl Iterator<Item = (usize, Identity, &'a Path)>) -> Vec<usize> {
        let mut before = std::mem::take(&mut self.open);
        for (id, identity, path) in wanted {
            let known = before.remove(&id).filter(|fifo| fifo.identity.same_inode(identity));
            // If the FIFO was replaced meanwhile, the next pass finds its replacement.
            if let Some(fifo) = known.or_else(|| Fifo::open(path, &self.open_limit, self.pace.clone()).ok()) {
                self.open.insert(id, fifo);
            }
        }
        before.into_keys().collect()
    }

    /// Reads the FIFO of the path `id`, which names it no more, to its end, under the number `number`. Returns `false` if it
    /// is not open.
    pub(super) fn leave(&mut self, id: usize, number: usize) -> bool {
        let left = self.open.remove(&id).map(|fifo| Fifo { paused_until: None, ..fifo });
        let is_open = left.is_some();
        self.left.extend(left.map(|fifo| (number, fifo)));
        is_open
    }

    /// The numbers of the open FIFOs.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.left.keys().chain(self.open.keys()).copied()
    }

    /// Passes a piece of what each FIFO holds to `sink`, with its number, whatever its pace is. Returns whether any held
    /// something. Does not wait.
    pub(super) fn read_held(&mut self, mut sink: impl FnMut(usize, &[u8])) -> bool {
        self.buffer.resize(FIFO_READ_SIZE, 0);
        let Self { open, left, buffer, .. } = self;
        let mut has_read = false;
        for (id, fifo) in left.iter().chain(open.iter()) {
            if let Ok(count @ 1..) = rustix::io::read(&fifo.receiver, &mut buffer[..]) {
                has_read = true;
                sink(*id, &buffer[..count]);
            }
        }
        has_read
    }

    /// Waits until a FIFO has bytes. Returns its number and the bytes, which are empty at its end. Waits forever if
    /// there is no FIFO. May be dropped at any time.
    pub(super) async fn read(&mut self) -> (usize, &[u8]) {
        if self.open.is_empty() && self.left.is_empty() {
            return pending().await;
        }
        self.buffer.resize(FIFO_READ_SIZE, 0);
        loop {
            let now = Instant::now();
            let waiting = self.left.values().chain(self.open.values());
            let resume_at = waiting.filter_map(|fifo| fifo.waits_until(now)).min();
            let Self { open_limit: handles, open, left, buffer, .. } = self;
            let read = poll_fn(|context| {
                let all = left.iter_mut().chain(open.iter_mut());
                for (id, fifo) in all.filter(|(_, fifo)| fifo.waits_until(now).is_none()) {
                    if let Poll::Ready(outcome) = fifo.read(context, buffer, handles) {
                        return Poll::Ready((*id, outcome));
                    }
                }
                Poll::Pending
            });
            let resume = sleep_until(resume_at.unwrap_or_else(Instant::now));
            let (id, count) = select! {
                read = read => read,
                () = resume, if resume_at.is_some() => {
                    let now = Instant::now();
                    self.open.retain(|_, fifo| {
                        fifo.paused_until.is_none_or(|until| now < until) || fifo.again(&self.open_limit)
                    });
                    continue;
                }
            };
            if let Ok(count @ 1..) = count {
                return (id, &self.buffer[..count]);
            }
            if self.left.remove(&id).is_some() {
                return (id, &[]);
            }
            if count.is_ok()
                && let Some(fifo) = self.open.get_mut(&id).filter(|fifo| fifo.is_fresh)
            {
                // The pipe of a standard input whose writer is gone is always at its end.
                fifo.paused_until = Some(Instant::now() + FIFO_REOPEN_INTERVAL);
                continue;
            }
            if count.is_err() || !self.open.get_mut(&id).is_some_and(|fifo| fifo.again(&self.open_limit)) {
                // The next pass finds the reason.
                self.open.remove(&id);
            }
            return (id, &[]);
        }
    }
}

impl Fifo {
    /// The time before which the FIFO is not read, if that is after `now`.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        // A pause ends when the FIFO is opened again, and not before.
        self.paused_until.or_else(|| self.pace.next_read_at().filter(|at| now < *at))
    }

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut [u8], handles: &OpenLimit) -> Poll<io::Result<usize>> {
        let mut filled = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.receiver).poll_read(context, &mut filled);
        let count = filled.filled().len();
        if read.is_ready() {
            self.pace.note_read(count, Instant::now());
        }
        if count > 0 {
            self.is_fresh = false;
            handles.note_mode(fstat(&self.receiver)?.st_mode);
        }
        read.map_ok(|()| count)
    }

    /// Opens the FIFO again after its last writer closed it. The old end stays open until then, so that bytes written
    /// meanwhile are kept.
    fn again(&mut self, handles: &OpenLimit) -> bool {
        match Self::open(&self.path, handles, self.pace.clone()) {
            Ok(fifo) => {
                *self = fifo;
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_pace::PIPE_READ_INTERVAL;
    use std::io::{PipeWriter, Write};
    use std::os::fd::AsRawFd;
    use tokio::time::timeout;

    /// What a source reads within an hour, during which the clock stands still except while it waits.
    async fn read_for_an_hour(fifos: &mut Fifos) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let read = async {
            loop {
                all.push(fifos.read().await.1.to_vec());
                assert!(all.len() < 100, "the end is read again and again");
            }
        };
        let outcome: Result<(), _> = timeout(Duration::from_hours(1), read).await;
        assert!(outcome.is_err());
        all
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_whose_writer_is_gone_ends_once() {
        let (reader, mut writer): (_, PipeWriter) = io::pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let identity = Identity::from(&std::fs::metadata(&path).unwrap());
        let mut fifos = Fifos::new(OpenLimit::default(), ReadPace::new(PIPE_READ_INTERVAL));
        writer.write_all(b"one\n").unwrap();
        assert!(fifos.retain([(0, identity, &*path)].into_iter()).is_empty());
        drop(writer);
        assert_eq!(read_for_an_hour(&mut fifos).await, [b"one\n".to_vec(), Vec::new()]);
    }
}
