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

use super::kill_point::{KillPoint, kill_point};
use super::polled_fd::PolledFd;
use super::shim::snapshot::RunSnapshot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
    /// This many bytes are to be processed.
    Bytes(usize),
    /// The program has written nothing yet.
    Nothing,
    /// Nothing more can come.
    End,
    /// The system cannot move bytes from this end: it must be read as it is.
    Unsupported,
}

/// The result of one call of the system.
enum Spliced {
    Bytes(usize),
    /// The staging pipe has no room for more.
    Full,
    End,
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

    /// Moves bytes of the program to the staging pipe, which must be [settled](Self::settle), until it is full or the program
    /// has written nothing more. One call of the system moves at most a page from a terminal.
    pub(super) fn stage(&mut self) -> StageResult {
        let mut staged = 0;
        let last = loop {
            match self.splice(STAGING_SIZE - staged) {
                Ok(Spliced::Bytes(count)) => {
                    kill_point(KillPoint::Staged);
                    staged += count;
                    if staged >= STAGING_SIZE {
                        break StageResult::Nothing;
                    }
                }
                Ok(Spliced::Full) => break StageResult::Nothing,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break StageResult::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    break StageResult::Unsupported;
                }
                // A terminal that no process has open any more returns EIO; a pipe has no other errors.
                Ok(Spliced::End) | Err(_) => break StageResult::End,
            }
        };
        if staged == 0 {
            return last;
        }
        // The result of the last call comes again in the next one.
        self.unsettled = staged;
        StageResult::Bytes(staged)
    }

    /// Moves at most `most` bytes to the staging pipe in one call of the system.
    ///
    /// # Errors
    /// Those of the system; one of the kind `WouldBlock` if the program has written nothing more.
    fn splice(&mut self, most: usize) -> io::Result<Spliced> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let staging = &self.staging.write;
        self.end.try_read(|end| match splice(end, None, staging, None, most, flags) {
            Ok(0) => Ok(Spliced::End),
            Ok(count) => Ok(Spliced::Bytes(count)),
            // The same error for both ends: only if there is nothing to read may the runtime wait for more.
            Err(Errno::AGAIN) if !has_room(staging)? => Ok(Spliced::Full),
            Err(error) => Err(error.into()),
        })
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

/// Returns whether at least one more byte fits into a pipe.
fn has_room(pipe: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(pipe, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0].revents().contains(PollFlags::OUT))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TerminalSize;
    use crate::source::process::pty;
    use rustix::pipe::fcntl_setpipe_size;
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    use std::fs::File;
    use std::io::Write;
    use std::time::Duration;
    use tokio::time::timeout;

    fn staged(end: OwnedFd) -> StagedOutput {
        StagedOutput::new(PolledFd::Unwatched(end), StagingPipe::new().unwrap()).unwrap()
    }

    /// A terminal that passes on bytes as they are, and the end of its program, which does not block.
    fn terminal() -> (StagedOutput, File) {
        let (master, program) = pty::open(TerminalSize { columns: 80, rows: 24 }).unwrap();
        let mut attributes = tcgetattr(&program).unwrap();
        attributes.make_raw();
        tcsetattr(&program, OptionalActions::Now, &attributes).unwrap();
        rustix::io::ioctl_fionbio(&program, true).unwrap();
        (staged(master), program.into())
    }

    fn pipe(flags: PipeFlags) -> (StagedOutput, File) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK | flags).unwrap();
        // Twice as many buffers as a staging pipe has.
        fcntl_setpipe_size(&read, 2 * STAGING_SIZE).unwrap();
        (staged(read), write.into())
    }

    /// A turn whose bytes are recorded at once.
    fn turn(output: &mut StagedOutput) -> Result<Vec<u8>, StageResult> {
        let mut buffer = vec![0; STAGING_SIZE];
        let count = match output.stage() {
            StageResult::Bytes(count) => count,
            other => return Err(other),
        };
        assert_eq!(output.content(&mut buffer).unwrap(), count);
        output.settle(&mut vec![0; STAGING_SIZE]).unwrap();
        assert_eq!(output.content(&mut vec![0; STAGING_SIZE]).unwrap(), 0);
        buffer.truncate(count);
        Ok(buffer)
    }

    #[test]
    fn a_turn_takes_all_that_an_output_holds() {
        // The output, and the most turns for 256 KiB. A terminal holds a few pages, of which one call of the system takes one.
        for (name, (mut output, mut program), most) in
            [("pipe", pipe(PipeFlags::empty()), 4), ("terminal", terminal(), 32)]
        {
            let written: Vec<u8> = (0..256 << 10).map(|at: u32| (at / 7 % 251).try_into().unwrap()).collect();
            let (mut rest, mut read, mut turns) = (&written[..], Vec::new(), 0);
            while read.len() < written.len() {
                while let Ok(count) = program.write(rest)
                    && count > 0
                {
                    rest = &rest[count..];
                }
                read.extend(turn(&mut output).unwrap());
                turns += 1;
            }
            assert!(read == written, "{name}: the bytes differ");
            assert!(turns <= most, "{name}: {turns} turns");
        }
    }

    #[test]
    fn the_last_bytes_come_before_the_end() {
        for (name, (mut output, mut program)) in [("pipe", pipe(PipeFlags::empty())), ("terminal", terminal())] {
            assert_eq!(turn(&mut output), Err(StageResult::Nothing), "{name}");
            program.write_all(b"last words").unwrap();
            drop(program);
            assert_eq!(turn(&mut output), Ok(b"last words".to_vec()), "{name}");
            assert_eq!(turn(&mut output), Err(StageResult::End), "{name}");
        }
    }

    #[tokio::test]
    async fn what_a_full_staging_pipe_leaves_is_still_known_to_be_there() {
        // Each write has a buffer of its own.
        let (mut output, mut program) = pipe(PipeFlags::DIRECT);
        for byte in 0..20 {
            program.write_all(&[byte]).unwrap();
        }
        output.end.watch().unwrap();
        output.end.readable().await;
        let first = turn(&mut output).unwrap();
        assert!((1..20).contains(&first.len()), "{first:?} fits into the staging pipe");
        timeout(Duration::from_secs(20), output.end.readable()).await.expect("the rest is there");
        assert_eq!([first, turn(&mut output).unwrap()].concat(), (0..20).collect::<Vec<u8>>());
        assert!(timeout(Duration::from_millis(1), output.end.readable()).await.is_err(), "nothing is left");
    }
}
