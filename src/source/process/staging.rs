//! The output of a program on its way to the history, so that a daemon that is killed at any moment loses no byte of it and
//! repeats none.
//!
//! ```text
//!   program ──pipe──▶ splice ──▶ staging pipe ──tee──▶ scratch pipe ──read──▶ lines ──▶ history
//!                                    └──────────────── emptied once they are recorded ◀──┘
//! ```
//! Bytes leave the program's pipe only into the staging pipe, which the shim holds as well, and they leave the staging pipe
//! only when the history has what became of them. Each turn has a number, the *generation*, which is written down before
//! its first byte moves; see [`RunSnapshot`] for how a next daemon tells whether the
//! content of the staging pipe was recorded.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::polled_fd::PolledFd;
use super::shim::snapshot::RunSnapshot;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice, tee};

/// The capacity of the staging pipe in bytes, which is that of any pipe.
pub(super) const STAGING_SIZE: usize = 64 << 10;

/// A pipe whose content outlives the daemon, since a shim holds it, too.
#[derive(Debug)]
pub(super) struct StagingPipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// The resources with which no byte of a run's output is lost or repeated when the daemon is killed.
#[derive(Debug)]
pub(super) struct OutputStaging {
    pub(super) snapshot: RunSnapshot,
    /// The staging pipe of each output.
    pub(super) pipes: Vec<StagingPipe>,
}

/// An output of a program that is read through a staging pipe.
#[derive(Debug)]
pub(super) struct StagedOutput {
    /// The daemon's end of the pipe, or the master of the terminal.
    end: PolledFd,
    staging: StagingPipe,
    scratch: StagingPipe,
    /// The number of bytes in the staging pipe whose lines may not be recorded yet.
    unsettled: usize,
}

/// An output of a program.
#[derive(Debug)]
pub(super) enum OutputEnd {
    /// It is read as it is.
    Plain(PolledFd),
    Staged(StagedOutput),
}

impl OutputEnd {
    /// The descriptor, to be waited for.
    pub(super) fn polled(&mut self) -> &mut PolledFd {
        match self {
            Self::Plain(end) => end,
            Self::Staged(output) => &mut output.end,
        }
    }

    /// Waits until there are bytes; returns at once if the descriptor is not watched. May be dropped at any time.
    pub(super) async fn readable(&self) {
        match self {
            Self::Plain(end) => end.readable().await,
            Self::Staged(output) => output.end.readable().await,
        }
    }
}

impl AsFd for OutputEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(end) => end.as_fd(),
            Self::Staged(output) => output.as_fd(),
        }
    }
}

/// The result of moving bytes to the staging pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StageResult {
    /// So many bytes are to be processed.
    Bytes(usize),
    /// The program has written nothing more yet.
    Nothing,
    /// Nothing more can come.
    End,
    /// The system cannot move bytes from this end: it must be read as it is.
    Unsupported,
}

impl StagingPipe {
    /// Creates an empty pipe.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { read, write })
    }

    /// The pipe with these ends.
    pub(super) fn of_ends(read: OwnedFd, write: OwnedFd) -> Self {
        Self { read, write }
    }

    /// Its ends, of which the shim holds copies: for reading and for writing.
    pub(super) fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.read.as_fd(), self.write.as_fd()]
    }
}

impl StagedOutput {
    /// Reads an output through a staging pipe.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub(super) fn new(end: PolledFd, staging: StagingPipe) -> io::Result<Self> {
        Ok(Self { end, staging, scratch: StagingPipe::new()?, unsettled: 0 })
    }

    /// The output as it is, without the staging pipe.
    pub(super) fn into_plain(self) -> PolledFd {
        self.end
    }

    /// Moves bytes of the program to the staging pipe, which must be [settled](Self::settle).
    pub(super) fn stage(&mut self) -> StageResult {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let moved = self.end.try_read(|end| Ok(splice(end, None, &self.staging.write, None, STAGING_SIZE, flags)?));
        match moved {
            Ok(0) => StageResult::End,
            Ok(count) => {
                self.unsettled = count;
                StageResult::Bytes(count)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                StageResult::Nothing
            }
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => StageResult::Unsupported,
            // A terminal that no process has open any more returns EIO; a pipe has no other errors.
            Err(_) => StageResult::End,
        }
    }

    /// Copies the content of the staging pipe into `buffer`, which has [`STAGING_SIZE`] bytes. Returns its length.
    ///
    /// # Errors
    /// Those of the system, which has none in this case.
    pub(super) fn content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let copied = match tee(&self.staging.read, &self.scratch.write, STAGING_SIZE, SpliceFlags::NONBLOCK) {
            Ok(count) => count,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        self.unsettled = copied;
        read_exactly(&self.scratch.read, buffer, copied)?;
        Ok(copied)
    }

    /// Empties the staging pipe, since everything that became of its content is recorded. `buffer` has [`STAGING_SIZE`]
    /// bytes.
    ///
    /// # Errors
    /// Those of the system, which has none in this case.
    pub(super) fn settle(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        // One call takes all: the kernel finishes it even if the daemon is killed meanwhile.
        read_exactly(&self.staging.read, buffer, std::mem::take(&mut self.unsettled))
    }
}

impl AsFd for StagedOutput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

fn read_exactly(pipe: &OwnedFd, buffer: &mut [u8], count: usize) -> io::Result<()> {
    let mut read = 0;
    while read < count {
        match rustix::io::read(pipe, &mut buffer[read..count])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(())
}
