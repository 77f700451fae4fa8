//! The standard input of a process. Bytes that the process has not read yet wait here in bounded memory; more than that
//! is refused.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::control::{CommandError, MAX_INPUT_SIZE};

use super::pty;

/// The maximum number of waiting bytes, in addition to the contents of the pipe or terminal: the size of one longest
/// input.
const MAX_WAITING_INPUT: usize = MAX_INPUT_SIZE;

/// The longest line that a terminal accepts in canonical mode, in bytes, without its end: the system drops what is longer
/// (termios(3)).
const MAX_TERMINAL_LINE: usize = 4095;

/// The daemon's end of the standard input of a process.
#[derive(Debug)]
pub(super) enum ProcessInput {
    /// The process has no input from clients.
    None,
    /// The input has ended: it was ended here, or closed by the process.
    Ended,
    Open(OpenInput),
}

/// Standard input that is open.
#[derive(Debug)]
pub(super) struct OpenInput {
    to: Sender,
    /// The input is a terminal.
    terminal: bool,
    waiting: Vec<u8>,
    /// The input ends behind the waiting bytes.
    last: bool,
    /// On a terminal: the last byte ended a line, or there was none.
    at_line_start: bool,
    /// On a terminal in canonical mode: the bytes of the line that is not complete yet.
    line_size: usize,
}

/// The result of [`ProcessInput::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputWrite {
    /// Bytes were written.
    Some,
    /// The input has ended.
    Ended,
}

/// The state of an input for another process of the daemon.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PackedInput {
    /// The input has ended.
    ended: bool,
    /// See [`OpenInput`].
    waiting: Vec<u8>,
    last: bool,
    mid_line: bool,
    line_size: usize,
}

impl ProcessInput {
    /// Opens an input that is written to `to`; `terminal` says that `to` is the master of one.
    pub(crate) fn open(to: Sender, terminal: bool) -> Self {
        Self::Open(OpenInput { to, terminal, waiting: Vec::new(), last: false, at_line_start: true, line_size: 0 })
    }

    /// Opens the input of a terminal, whose output `master` reads.
    ///
    /// # Errors
    /// If the system refuses another descriptor.
    pub(super) fn of_terminal(master: &Receiver) -> io::Result<Self> {
        // tokio treats a nonblocking terminal like a pipe, which is the way to use one without `unsafe`.
        Ok(Self::open(Sender::from_owned_fd_unchecked(master.as_fd().try_clone_to_owned()?)?, true))
    }

    /// The pipe of the input, if it is open and not a terminal.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Open(input) if !input.terminal => Some(input.to.as_fd()),
            Self::None | Self::Ended | Self::Open(_) => None,
        }
    }

    /// Appends `bytes` to the input.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        let keyboard = self.open_input()?;
        if bytes.len() > MAX_INPUT_SIZE {
            return Err(CommandError::TooLong(bytes.len()));
        }
        if keyboard.waiting.len() + bytes.len() > MAX_WAITING_INPUT {
            return Err(CommandError::Busy);
        }
        keyboard.line_size = keyboard.check_lines(bytes)?;
        keyboard.waiting.extend_from_slice(bytes);
        if let Some(last) = bytes.last() {
            keyboard.at_line_start = matches!(last, b'\n' | b'\r');
        }
        Ok(())
    }

    /// Ends the input behind the waiting bytes. A terminal stays open, as for a user who pressed Ctrl-D.
    pub(crate) fn end(&mut self) -> Result<(), CommandError> {
        let keyboard = self.open_input()?;
        if !keyboard.terminal {
            keyboard.last = true;
            return Ok(());
        }
        // After an unfinished line, the first Ctrl-D only submits that line.
        let keys = vec![pty::end_of_input(&keyboard.to); if keyboard.at_line_start { 1 } else { 2 }];
        if keyboard.waiting.len() + keys.len() > MAX_WAITING_INPUT {
            return Err(CommandError::Busy);
        }
        keyboard.waiting.extend(keys);
        (keyboard.at_line_start, keyboard.line_size) = (true, 0);
        Ok(())
    }

    /// The state for the next daemon.
    pub(super) fn pack(&self) -> PackedInput {
        match self {
            Self::None => PackedInput::default(),
            Self::Ended => PackedInput { ended: true, ..PackedInput::default() },
            Self::Open(OpenInput { waiting, last, at_line_start, line_size, .. }) => PackedInput {
                ended: false,
                waiting: waiting.clone(),
                last: *last,
                mid_line: !at_line_start,
                line_size: *line_size,
            },
        }
    }

    /// Continues in the state of the earlier daemon.
    pub(super) fn unpack(&mut self, packed: PackedInput) {
        match self {
            Self::Open(_) if packed.ended => *self = Self::Ended,
            Self::Open(input) => {
                input.waiting = packed.waiting;
                (input.last, input.at_line_start, input.line_size) = (packed.last, !packed.mid_line, packed.line_size);
            }
            Self::None | Self::Ended => {}
        }
    }

    /// Writes waiting bytes when the process reads, and returns after each write and at the end of the input. Waits forever if
    /// there is nothing to write. May be dropped at any time.
    pub(super) async fn write(&mut self) -> InputWrite {
        let Self::Open(keyboard) = self else { return pending().await };
        if keyboard.waiting.is_empty() {
            if !keyboard.last {
                return pending().await;
            }
            *self = Self::Ended;
            return InputWrite::Ended;
        }
        match keyboard.write_some().await {
            Ok(()) => InputWrite::Some,
            Err(error) => {
                self.close(&error);
                InputWrite::Ended
            }
        }
    }

    /// Writes what the process takes at once.
    pub(super) fn write_available(&mut self) {
        let Self::Open(keyboard) = self else { return };
        // The end of the input is noticed by `write`.
        while !keyboard.waiting.is_empty() && keyboard.try_write().is_ok_and(|count| count > 0) {}
    }

    /// A process that closed its input does not want it (EPIPE); a terminal that no process has open returns EIO.
    fn close(&mut self, error: &io::Error) {
        log::debug!(error:% = error; "the process did not read its input");
        *self = Self::Ended;
    }

    fn open_input(&mut self) -> Result<&mut OpenInput, CommandError> {
        match self {
            Self::None => Err(CommandError::NoInput),
            Self::Ended | Self::Open(OpenInput { last: true, .. }) => Err(CommandError::InputEnded),
            Self::Open(keyboard) => Ok(keyboard),
        }
    }
}

impl OpenInput {
    /// Checks that the terminal accepts each line of `bytes`, the first of which continues the line that is not complete
    /// yet. Returns the size of the line that is not complete then. A program that reads keys one by one, such as an
    /// editor, has no lines.
    fn check_lines(&self, bytes: &[u8]) -> Result<usize, CommandError> {
        if !self.terminal || !pty::is_canonical(&self.to) {
            return Ok(0);
        }
        let mut size = self.line_size;
        for byte in bytes {
            size = if pty::ends_line(*byte) { 0 } else { size + 1 };
            if size > MAX_TERMINAL_LINE {
                return Err(CommandError::LineTooLong(MAX_TERMINAL_LINE));
            }
        }
        Ok(size)
    }

    async fn write_some(&mut self) -> io::Result<()> {
        loop {
            self.to.writable().await?;
            match self.try_write() {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return done.map(drop),
            }
        }
    }

    fn try_write(&mut self) -> io::Result<usize> {
        let count = self.to.try_write(&self.waiting)?;
        self.waiting.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::fs::File;
    use std::io::Read;
    use std::time::Duration;
    use tokio::time::timeout;

    fn pipe() -> (ProcessInput, File) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (ProcessInput::open(Sender::from_owned_fd(write).unwrap(), false), read.into())
    }

    #[tokio::test]
    async fn a_process_that_does_not_read_is_busy_and_costs_no_more() {
        let (mut input, mut read) = pipe();
        let piece = vec![b'x'; 10_000];
        let mut taken = 0;
        // Each round gives the pipe time to take as much as it can; then the rest waits here.
        while input.push(&piece).is_ok() {
            taken += piece.len();
            while timeout(Duration::from_millis(20), input.write()).await.is_ok() {}
        }
        assert_eq!(input.push(&piece), Err(CommandError::Busy));
        assert!(taken <= 2 * MAX_WAITING_INPUT + piece.len(), "{taken}");
        assert_eq!(input.push(&vec![0; MAX_INPUT_SIZE + 1]), Err(CommandError::TooLong(MAX_INPUT_SIZE + 1)));
        input.end().unwrap();
        let rest = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            read.read_to_end(&mut all).unwrap();
            all
        });
        timeout(Duration::from_secs(20), async {
            // All is written by the time at which the input has ended.
            while input.write().await != InputWrite::Ended {}
            rest.await.unwrap()
        })
        .await
        .map(|rest| assert_eq!(rest.len(), taken))
        .unwrap();
        assert_eq!(input.push(b"more"), Err(CommandError::InputEnded));
    }

    #[tokio::test]
    async fn a_process_that_closed_its_input_is_not_written_to() {
        let (mut input, read) = pipe();
        drop(read);
        input.push(b"hello").unwrap();
        assert_eq!(timeout(Duration::from_secs(20), input.write()).await.unwrap(), InputWrite::Ended);
        assert_eq!(input.push(b"more"), Err(CommandError::InputEnded));
        assert_eq!(ProcessInput::None.push(b"more"), Err(CommandError::NoInput));
    }
}
