//! Commands to a source, and their replies. A [`CommandHandle`] carries commands to the source that executes them.
//!
//! The sender's rights are checked before. This module knows neither how commands arrive nor what a process is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::event::{Origin, Position, StreamName};

/// Maximum number of queued commands of one source. A source takes commands at once, so a longer queue is a flood.
const MAX_QUEUED_COMMANDS: usize = 64;

/// Maximum number of bytes in one input; longer input is sent in pieces.
pub(crate) const MAX_INPUT_SIZE: usize = 64 << 10;

/// Maximum number of pieces of terminal output that an attachment may lag behind; a piece is at most the result of one
/// read.
const MAX_ATTACHMENT_LAG: usize = 256;

/// A command to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Types these bytes, at most [`MAX_INPUT_SIZE`]. Done once they are queued after earlier input.
    Input(Bytes),
    /// Ends standard input; on a terminal this is the effect of Ctrl-D at the start of a line.
    EndOfInput,
    /// Sends this signal, by its number on this machine, to the process group.
    Signal(i32),
    /// Stops the process group temporarily (`SIGSTOP`).
    Pause,
    /// Continues the process group (`SIGCONT`).
    Resume,
    /// Starts the process unless it is running. Done once it runs.
    Start,
    /// Ends the process as `stop` of its configuration says. Done once it has ended; it is not started again without a
    /// command.
    Stop,
    /// Ends the process if it is running, and starts it. Done once it runs again.
    Restart,
    /// Sets the size of the terminal.
    Resize {
        /// Number of lines.
        rows: u16,
        /// Number of characters in a line.
        columns: u16,
    },
    /// Attaches to the terminal: its raw output is delivered from now on.
    Attach,
    /// Opens a sender for a stream that accepts lines; the lines have this origin.
    Push(Origin),
}

/// The result of a command that was executed.
#[derive(Debug)]
pub(crate) enum CommandReply {
    /// The command was executed.
    Done,
    /// The state was reached already: started while running, or stopped while not running.
    Already,
    /// See [`Command::Attach`].
    Attached(Attachment),
    /// See [`Command::Push`].
    Pushing(PushSender),
}

/// The reasons why a command was not executed; it had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("this stream is not a process, and only a process takes commands")]
    NotAProcess,
    #[error("this stream takes no lines: its source fills it (its configuration lets others do so with `push: true`)")]
    NotAPushStream,
    #[error("too many clients push to this stream at once; try again later")]
    TooManySenders,
    #[error("the process is not running")]
    NotRunning,
    #[error("this process takes no input (its configuration allows it with `input: true`)")]
    NoInput,
    #[error("the standard input of the process is closed")]
    InputEnded,
    #[error("the process has no terminal (its configuration gives it one with `pty: true`)")]
    NoPty,
    #[error(
        "the output of the terminal would show the secrets that `redact` removes from this stream; read its lines instead"
    )]
    Redacted,
    #[error("{0} bytes are too many for one input (at most {MAX_INPUT_SIZE}; send it in pieces)")]
    TooLong(usize),
    #[error("there is no signal {0}")]
    NoSignal(i32),
    #[error("the process has not read its previous input yet; try again later")]
    Busy,
    #[error("too many commands at once for this process; try again later")]
    TooManyCommands,
    #[error("{0}")]
    Failed(String),
    #[error("the stream was removed, or the daemon is stopping")]
    Gone,
}

/// The live output of a terminal. An attachment that is too slow misses pieces and is notified; the process never
/// waits.
#[derive(Debug)]
pub(crate) struct Attachment(broadcast::Receiver<Bytes>);

/// An item from an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawOutput {
    /// Bytes as the process wrote them.
    Bytes(Bytes),
    /// The number of pieces that were missed at this point.
    Missed(u64),
}

impl Attachment {
    /// The next item; `None` at the end of the run. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<RawOutput> {
        match self.0.recv().await {
            Ok(bytes) => Some(RawOutput::Bytes(bytes)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(RawOutput::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The terminal's side: sends output to all attachments of one run.
#[derive(Debug, Clone)]
pub(crate) struct TerminalOutput(broadcast::Sender<Bytes>);

impl Default for TerminalOutput {
    fn default() -> Self {
        Self(broadcast::Sender::new(MAX_ATTACHMENT_LAG))
    }
}

impl TerminalOutput {
    /// Sends `bytes` to all attachments. Costs nothing if there are none.
    pub(crate) fn publish(&self, bytes: &[u8]) {
        if self.0.receiver_count() > 0 {
            // The last attachment may have been dropped in the meantime.
            self.0.send(Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
    }

    /// Adds an attachment.
    pub(crate) fn attach(&self) -> Attachment {
        Attachment(self.0.subscribe())
    }
}

/// A sender of lines to a stream. Dropping it ends its input, and an incomplete last line is completed.
#[derive(Debug)]
pub(crate) struct PushSender(mpsc::Sender<PushedChunk>);

/// Bytes on their way into a stream.
#[derive(Debug)]
pub(crate) struct PushedChunk {
    pub(crate) bytes: Bytes,
    /// True if no more bytes follow.
    pub(crate) last: bool,
    on_written: oneshot::Sender<PushTally>,
}

/// The result of everything that one sender has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PushTally {
    /// Number of lines.
    pub(crate) lines: u64,
    /// The ids of the first and the last line. Lines of other senders may lie between them.
    pub(crate) ids: Option<(Position, Position)>,
}

/// A sender, and the receiver for the source.
pub(crate) fn push_channel() -> (PushSender, mpsc::Receiver<PushedChunk>) {
    let (sender, receiver) = mpsc::channel(1);
    (PushSender(sender), receiver)
}

impl PushSender {
    /// Sends `bytes`, and waits until their lines are in the stream; `last` is true if no more bytes follow. Returns
    /// the result of everything that was sent so far.
    ///
    /// # Errors
    /// If the stream accepts no more lines.
    pub(crate) async fn send(&self, bytes: Bytes, last: bool) -> Result<PushTally, CommandError> {
        let (taken, answer) = oneshot::channel();
        self.0.send(PushedChunk { bytes, last, on_written: taken }).await.map_err(|_| CommandError::Gone)?;
        answer.await.map_err(|_| CommandError::Gone)
    }

    /// Waits until the stream accepts no more lines. May be dropped at any time.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl PushedChunk {
    /// Reports the result to the sender, which may be gone.
    pub(crate) fn acknowledge(self, tally: PushTally) {
        self.on_written.send(tally).unwrap_or_default();
    }
}

/// A command with the channel for its answer.
#[derive(Debug)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
    reply: oneshot::Sender<Result<CommandReply, CommandError>>,
}

impl CommandRequest {
    /// Answers the command. The sender may be gone.
    pub(crate) fn answer(self, answer: Result<CommandReply, CommandError>) {
        self.reply.send(answer).map_or_else(drop, drop);
    }
}

/// The source's end of the command channel.
pub(crate) type CommandReceiver = mpsc::Receiver<CommandRequest>;

/// Sends commands to one source; clones send to the same source.
#[derive(Debug, Clone)]
pub(crate) struct CommandHandle(mpsc::Sender<CommandRequest>);

/// A handle, and the receiver for its source.
pub(crate) fn command_channel() -> (CommandHandle, CommandReceiver) {
    let (sender, inbox) = mpsc::channel(MAX_QUEUED_COMMANDS);
    (CommandHandle(sender), inbox)
}

impl CommandHandle {
    /// Sends `command` and waits until it is executed. May be dropped: the command is executed nevertheless.
    ///
    /// The time depends on the [`Command`]: most take none, [`Command::Stop`] takes the grace period of the process.
    ///
    /// # Errors
    /// The reason why the command had no effect.
    pub(crate) async fn send(&self, command: Command) -> Result<CommandReply, CommandError> {
        let (reply, answer) = oneshot::channel();
        // A sender of lines waits for its lines to be appended anyway.
        let waits = matches!(command, Command::Push(_));
        let order = CommandRequest { command, reply };
        if waits {
            self.0.send(order).await.map_err(|_| CommandError::Gone)?;
        } else {
            self.0.try_send(order).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommandError::TooManyCommands,
                mpsc::error::TrySendError::Closed(_) => CommandError::Gone,
            })?;
        }
        answer.await.unwrap_or(Err(CommandError::Gone))
    }
}

/// The command handles of all sources that accept commands, by the names of their streams. Clones share the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandRouter(Arc<RwLock<BTreeMap<StreamName, CommandHandle>>>);

impl CommandRouter {
    /// Registers the handle of a stream, and replaces an earlier one of the same name.
    pub(crate) fn insert(&self, name: StreamName, handle: CommandHandle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, handle);
    }

    /// Removes the handle of a stream.
    pub(crate) fn remove(&self, name: &StreamName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Sends `command` to the stream of that name; see [`CommandHandle::send`]. The catalog, not this table, decides
    /// whether the stream exists.
    ///
    /// # Errors
    /// [`CommandError::NotAProcess`] if there is no handle, and the errors of the handle.
    pub(crate) async fn send(&self, name: &StreamName, command: Command) -> Result<CommandReply, CommandError> {
        let handle = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        handle.ok_or(CommandError::NotAProcess)?.send(command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_answered_or_its_source_is_gone() {
        let (desk, name) = (CommandRouter::default(), "a".parse::<StreamName>().unwrap());
        assert_eq!(desk.send(&name, Command::Start).await.unwrap_err(), CommandError::NotAProcess);
        let (handle, mut inbox) = command_channel();
        desk.insert(name.clone(), handle);
        let source = tokio::spawn(async move {
            let order = inbox.recv().await.unwrap();
            assert_eq!(order.command, Command::Start);
            order.answer(Ok(CommandReply::Already));
            drop(inbox.recv().await.unwrap());
        });
        assert!(matches!(desk.send(&name, Command::Start).await, Ok(CommandReply::Already)));
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), CommandError::Gone);
        source.await.unwrap();
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), CommandError::Gone);
        desk.remove(&name);
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), CommandError::NotAProcess);
    }

    #[tokio::test]
    async fn more_commands_than_a_source_takes_are_refused() {
        let (handle, inbox) = command_channel();
        let waiting: Vec<_> = (0..MAX_QUEUED_COMMANDS)
            .map(|_| {
                tokio::spawn({
                    let handle = handle.clone();
                    async move { handle.send(Command::Pause).await.map(drop) }
                })
            })
            .collect();
        while inbox.len() < MAX_QUEUED_COMMANDS {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.send(Command::Pause).await.unwrap_err(), CommandError::TooManyCommands);
        drop(inbox);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(CommandError::Gone));
        }
    }

    #[tokio::test]
    async fn who_is_attached_and_slow_is_told_what_it_missed() {
        let screen = TerminalOutput::default();
        screen.publish(b"before");
        let mut attachment = screen.attach();
        for _ in 0..MAX_ATTACHMENT_LAG + 3 {
            screen.publish(b"x");
        }
        drop(screen);
        assert_eq!(attachment.next().await, Some(RawOutput::Missed(3)));
        for _ in 0..MAX_ATTACHMENT_LAG {
            assert_eq!(attachment.next().await, Some(RawOutput::Bytes(Bytes::from_static(b"x"))));
        }
        assert_eq!(attachment.next().await, None);
    }
}
