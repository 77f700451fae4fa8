//! Commands to a source, and what comes of them. A [`CommandHandle`] carries them from whoever may send them to the source that
//! carries them out.
//!
//! Who may send what was asked before. Knows neither how commands arrive nor what a process is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::event::{Origin, Position, StreamName};

/// Most commands on their way to one source: it takes them at once, so that more are a flood.
const MAX_QUEUED_COMMANDS: usize = 64;

/// Most bytes in one input: what is longer is sent in pieces.
pub(crate) const MAX_INPUT_SIZE: usize = 64 << 10;

/// Most pieces of a terminal's output that who is attached may be behind; each is at most what one read gives.
const MAX_ATTACHMENT_LAG: usize = 256;

/// What a source can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Types this. At most [`MAX_INPUT_SIZE`] bytes. Done once it is in line behind what was typed before.
    Input(Bytes),
    /// Nothing more is typed: standard input ends; on a terminal it is what Ctrl-D means at the start of a line.
    EndOfInput,
    /// Sends this signal, by its number on this machine, to the process and all of its group.
    Signal(i32),
    /// Stops the group where it is (`SIGSTOP`).
    Pause,
    /// Lets it go on (`SIGCONT`).
    Resume,
    /// Starts the process if it does not run. Done once it does.
    Start,
    /// Ends the process as `stop` of its configuration says. Done once it has ended; it stays so until it is told to start.
    Stop,
    /// Ends it if it runs, and starts it. Done once it runs again.
    Restart,
    /// The terminal has this size now.
    Resize {
        /// Lines of text.
        rows: u16,
        /// Characters in each.
        columns: u16,
    },
    /// Gives the terminal's output, from now on, as it is.
    Attach,
    /// Takes lines for a stream that is filled by whoever sends some; they are shown as coming from there.
    Push(Origin),
}

/// What a command that was carried out came to.
#[derive(Debug)]
pub(crate) enum CommandReply {
    /// It is done.
    Done,
    /// It was so already: started where it runs, stopped where it does not.
    Already,
    /// See [`Command::Attach`].
    Attached(Attachment),
    /// See [`Command::Push`].
    Pushing(PushSender),
}

/// Why a command was not carried out; nothing of it was.
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

/// A terminal's output, live. Who is too slow misses some and is told; the process never waits.
#[derive(Debug)]
pub(crate) struct Attachment(broadcast::Receiver<Bytes>);

/// What an attachment gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawOutput {
    /// Bytes as the process wrote them.
    Bytes(Bytes),
    /// So many pieces were missed here.
    Missed(u64),
}

impl Attachment {
    /// What comes next; `None` at the end of the run. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<RawOutput> {
        match self.0.recv().await {
            Ok(bytes) => Some(RawOutput::Bytes(bytes)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(RawOutput::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The side of the terminal: what all attachments of one run get.
#[derive(Debug, Clone)]
pub(crate) struct TerminalOutput(broadcast::Sender<Bytes>);

impl Default for TerminalOutput {
    fn default() -> Self {
        Self(broadcast::Sender::new(MAX_ATTACHMENT_LAG))
    }
}

impl TerminalOutput {
    /// Gives `bytes` to all that are attached. Costs nothing where nobody is.
    pub(crate) fn publish(&self, bytes: &[u8]) {
        if self.0.receiver_count() > 0 {
            // The last one may have left just now.
            self.0.send(Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
    }

    /// One more that sees it.
    pub(crate) fn attach(&self) -> Attachment {
        Attachment(self.0.subscribe())
    }
}

/// One who sends lines into a stream. Dropped, it sends no more: a half line is at its end then.
#[derive(Debug)]
pub(crate) struct PushSender(mpsc::Sender<PushedChunk>);

/// Bytes on their way into a stream.
#[derive(Debug)]
pub(crate) struct PushedChunk {
    pub(crate) bytes: Bytes,
    /// Nothing comes behind them.
    pub(crate) last: bool,
    on_written: oneshot::Sender<PushTally>,
}

/// What became of all that one sender sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PushTally {
    /// How many lines.
    pub(crate) lines: u64,
    /// The ids of the first and the last of them. Those of others may lie between.
    pub(crate) ids: Option<(Position, Position)>,
}

/// A sender, and the end that the source holds.
pub(crate) fn push_channel() -> (PushSender, mpsc::Receiver<PushedChunk>) {
    let (sender, receiver) = mpsc::channel(1);
    (PushSender(sender), receiver)
}

impl PushSender {
    /// Sends `bytes`, `last` if nothing comes behind them, and waits until their lines are in the stream; gives what became
    /// of all so far.
    ///
    /// # Errors
    /// If the stream takes no more.
    pub(crate) async fn send(&self, bytes: Bytes, last: bool) -> Result<PushTally, CommandError> {
        let (taken, answer) = oneshot::channel();
        self.0.send(PushedChunk { bytes, last, on_written: taken }).await.map_err(|_| CommandError::Gone)?;
        answer.await.map_err(|_| CommandError::Gone)
    }

    /// Waits until the stream takes no more. May be dropped at any time.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl PushedChunk {
    /// Says what became of it. Whoever sent it may be gone.
    pub(crate) fn acknowledge(self, tally: PushTally) {
        self.on_written.send(tally).unwrap_or_default();
    }
}

/// A command with the way back.
#[derive(Debug)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
    reply: oneshot::Sender<Result<CommandReply, CommandError>>,
}

impl CommandRequest {
    /// Answers it. Whoever asked may be gone.
    pub(crate) fn answer(self, answer: Result<CommandReply, CommandError>) {
        self.reply.send(answer).map_or_else(drop, drop);
    }
}

/// The source's end: what it is told.
pub(crate) type CommandReceiver = mpsc::Receiver<CommandRequest>;

/// Carries commands to one source; a clone goes to the same.
#[derive(Debug, Clone)]
pub(crate) struct CommandHandle(mpsc::Sender<CommandRequest>);

/// A handle, and the end that its source holds.
pub(crate) fn command_channel() -> (CommandHandle, CommandReceiver) {
    let (sender, inbox) = mpsc::channel(MAX_QUEUED_COMMANDS);
    (CommandHandle(sender), inbox)
}

impl CommandHandle {
    /// Has `command` carried out. May be dropped: it is carried out all the same.
    ///
    /// It takes as long as its [`Command`] says: most of them no time, [`Command::Stop`] the grace that the process has.
    ///
    /// # Errors
    /// Says why nothing was done.
    pub(crate) async fn send(&self, command: Command) -> Result<CommandReply, CommandError> {
        let (reply, answer) = oneshot::channel();
        // Who sends lines waits for what it sent anyhow.
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

/// Where the handles of all processes lie, by the names of their streams. A clone is the same desk.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandRouter(Arc<RwLock<BTreeMap<StreamName, CommandHandle>>>);

impl CommandRouter {
    /// Enters the handle of a stream; one of the same name is replaced.
    pub(crate) fn insert(&self, name: StreamName, handle: CommandHandle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, handle);
    }

    /// Forgets a stream.
    pub(crate) fn remove(&self, name: &StreamName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Has `command` carried out by the stream of that name; see [`CommandHandle::send`]. That the stream exists, the catalog says.
    ///
    /// # Errors
    /// [`CommandError::NotAProcess`] if there is no handle, and what the handle says.
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
