//! Reads what a process writes, both pipes at once or its terminal, and passes it on where that is wanted. Always drains.

use std::fmt;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::select;
use tokio::time::sleep_until;

use crate::config::Stream;
use crate::control::{Attachment, TerminalOutput};
use crate::event::Origin;
use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::stream::Batch;

/// Most bytes in one read: what a pipe holds.
const PIPE_READ_SIZE: usize = 64 << 10;

/// Most bytes from one pipe before the other gets its turn, and the batch is appended.
const MAX_PIPE_TURN_BYTES: usize = 4 * PIPE_READ_SIZE;

/// What a call of [`Pipes::read`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeRead {
    /// Bytes were read.
    Bytes,
    /// None, but an unfinished line is to be shown.
    OpenLineDue,
    /// Both pipes are at their end.
    End,
}

/// What seems to wait in a program's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// All that it wrote, if it wrote.
    All,
    /// What is behind the last whole block.
    PartialBlock,
}

/// The pipes of one run.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Standard output and standard error, as long as they are open; the index is the lane. A terminal is the first.
    ends: [Option<Receiver>; 2],
    /// Who sees the terminal as it is.
    terminal_viewers: Option<TerminalOutput>,
    feed: LinePipeline,
    /// Bytes read from each.
    written: [u64; 2],
    buffer: Box<[u8]>,
    /// Both are closed, and all was passed on.
    ended: bool,
}

impl Pipes {
    /// A terminal is one end alone.
    pub(super) fn new(spec: &Stream, ends: [Option<Receiver>; 2]) -> Self {
        let feed = LinePipeline::new(spec, [Origin::stdout(), Origin::stderr()]);
        let screen = ends[1].is_none().then(TerminalOutput::default);
        Self {
            ends,
            terminal_viewers: screen,
            feed,
            written: [0; 2],
            buffer: vec![0; PIPE_READ_SIZE].into(),
            ended: false,
        }
    }

    /// One more that sees the terminal; `None` if there is none.
    pub(super) fn attach(&self) -> Option<Attachment> {
        self.terminal_viewers.as_ref().map(TerminalOutput::attach)
    }

    /// The terminal, if it is one and open.
    pub(super) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal_viewers.as_ref().and(self.ends[0].as_ref()).map(AsFd::as_fd)
    }

    /// Whether standard output looks as if a program held it back: nothing came at all, or whole blocks of what the C
    /// library writes at once, with half a line at the end.
    pub(super) fn looks_held_back(&self) -> Option<HeldBack> {
        /// What the C library writes into a pipe at once, in bytes.
        const LIBC_BLOCK_SIZE: u64 = 4096;
        match self.written {
            _ if self.terminal_viewers.is_some() || self.ends[0].is_none() => None,
            [0, 0] => Some(HeldBack::All),
            [written, _] if written > 0 && written % LIBC_BLOCK_SIZE == 0 && self.feed.is_open(0) => {
                Some(HeldBack::PartialBlock)
            }
            _ => None,
        }
    }

    /// The half line of each output.
    pub(super) fn half(&self, lane: usize) -> &[u8] {
        self.feed.half(lane)
    }

    /// Waits until there is something, and adds what there is to `batch`. May be dropped at any time.
    ///
    /// What `tee` was given before is written first, so what is passed on was appended.
    pub(super) async fn read(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> PipeRead {
        if let Some(tee) = tee
            && tee.waits()
        {
            for lane in tee.flush().await {
                // Who read from us is gone: so is who reads from the process, and it is told in the usual way.
                self.close(lane, batch);
            }
            return PipeRead::Bytes;
        }
        let due = self.feed.due();
        let lane = select! {
            () = readable(self.ends[0].as_ref()), if self.ends[0].is_some() => 0,
            () = readable(self.ends[1].as_ref()), if self.ends[1].is_some() => 1,
            () = sleep_until(due.unwrap_or_else(|| ClockReading::read().instant)), if due.is_some() => {
                self.feed.show(ClockReading::read().instant, batch);
                return PipeRead::OpenLineDue;
            }
            else => {
                self.ended = true;
                return PipeRead::End;
            }
        };
        self.take(lane, tee, batch);
        PipeRead::Bytes
    }

    /// Whether nothing more can come.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Nothing more is read: half lines are at their end.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.close(0, batch);
        self.close(1, batch);
    }

    /// Reads what is there, up to a turn.
    fn take(&mut self, lane: usize, tee: &mut Option<Tee>, batch: &mut Batch) {
        let mut taken = 0;
        while taken < MAX_PIPE_TURN_BYTES
            && let Some(end) = &self.ends[lane]
        {
            match end.try_read(&mut self.buffer) {
                Ok(0) => self.close(lane, batch),
                Ok(count) => {
                    let chunk = &self.buffer[..count];
                    self.feed.push(lane, chunk, ClockReading::read(), batch);
                    self.written[lane] += count as u64;
                    if let Some(screen) = &self.terminal_viewers {
                        screen.publish(chunk);
                    }
                    if let Some(tee) = tee {
                        tee.push(lane, chunk);
                    }
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that nobody has open any more says EIO; a pipe has no other errors.
                Err(_) => self.close(lane, batch),
            }
        }
    }

    fn close(&mut self, lane: usize, batch: &mut Batch) {
        if self.ends[lane].take().is_some() {
            self.feed.finish(lane, ClockReading::read(), batch);
        }
    }
}

async fn readable(end: Option<&Receiver>) {
    match end {
        // An error shows again in the read.
        Some(end) => end.readable().await.unwrap_or_default(),
        None => pending().await,
    }
}

/// Passes on what a process writes, byte by byte as it was, to where our own output goes.
pub(crate) struct Tee {
    /// For standard output and standard error; `None` once writing failed.
    outs: [Option<TeeOutput>; 2],
}

struct TeeOutput {
    to: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// Yet to be written, from `at` on; at most a turn.
    waiting: Vec<u8>,
    at: usize,
}

impl Tee {
    /// To `out` what it writes to standard output, and to `err` what it writes to standard error.
    pub(crate) fn new(
        out: impl AsyncWrite + Send + Sync + Unpin + 'static,
        err: impl AsyncWrite + Send + Sync + Unpin + 'static,
    ) -> Self {
        let out = TeeOutput { to: Box::new(out), waiting: Vec::new(), at: 0 };
        let err = TeeOutput { to: Box::new(err), waiting: Vec::new(), at: 0 };
        Self { outs: [Some(out), Some(err)] }
    }

    /// Whether something is yet to be written.
    pub(super) fn waits(&self) -> bool {
        self.outs.iter().flatten().any(|out| !out.waiting.is_empty())
    }

    fn push(&mut self, lane: usize, chunk: &[u8]) {
        if let Some(out) = &mut self.outs[lane] {
            out.waiting.extend_from_slice(chunk);
        }
    }

    /// Writes all that waits, and gives the lanes where nobody reads any more. May be dropped at any time.
    async fn flush(&mut self) -> Vec<usize> {
        let mut broken = Vec::new();
        for (lane, slot) in self.outs.iter_mut().enumerate() {
            if let Some(out) = slot
                && out.flush().await.is_err()
            {
                *slot = None;
                broken.push(lane);
            }
        }
        broken
    }
}

impl TeeOutput {
    async fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        while self.at < self.waiting.len() {
            self.at += match self.to.write(&self.waiting[self.at..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => count,
            };
        }
        self.to.flush().await?;
        self.waiting.clear();
        self.at = 0;
        Ok(())
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("waits", &self.waits()).finish_non_exhaustive()
    }
}
