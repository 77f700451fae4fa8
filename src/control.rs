//! Requests to a source, and their replies: commands to a process, and senders of lines to a stream that accepts them.
//! The [`CommandRouter`] finds the handle of a stream, and the handle carries requests to its source.
//!
//! The sender's rights are checked before. This module knows neither how requests arrive nor what a process is.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::event::{Origin, Position, StreamName, lock_exclusive, lock_shared};

/// Maximum number of queued requests to one source. A source takes requests at once, so a longer queue is a flood.
const MAX_QUEUED_REQUESTS: usize = 64;

/// Maximum number of bytes in one input; longer input is sent in pieces.
pub(crate) const MAX_INPUT_SIZE: usize = 64 << 10;

/// Maximum number of pieces of terminal output that an attachment may lag behind; a piece is at most the result of one
/// read.
const MAX_ATTACHMENT_LAG: usize = 256;

/// A command to a process. The supervisor executes the commands of its life cycle; a run executes the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProcessCommand {
    Lifecycle(LifecycleCommand),
    Run(RunCommand),
}

/// A command to the supervisor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LifecycleCommand {
    /// Starts the process unless it is running. Done once it runs.
    Start,
    /// Ends the process as `stop` of its configuration says. Done once it has ended; it is not started again without a
    /// command.
    Stop,
    /// Ends the process if it is running, and starts it. Done once it runs again.
    Restart,
}

/// A command to a running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunCommand {
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
    /// Sets the size of the terminal.
    Resize {
        /// Number of lines.
        rows: u16,
        /// Number of characters in a line.
        columns: u16,
    },
}

impl From<LifecycleCommand> for ProcessCommand {
    fn from(command: LifecycleCommand) -> Self {
        Self::Lifecycle(command)
    }
}

impl From<RunCommand> for ProcessCommand {
    fn from(command: RunCommand) -> Self {
        Self::Run(command)
    }
}

/// The result of a command that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandReply {
    /// The command was executed.
    Done,
    /// The state was reached already: started while running, or stopped while not running.
    Already,
}

/// The reasons why a command was not executed; it had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("this stream is not a process, and only a process takes commands")]
    NotAProcess,
    #[error(
        "this stream accepts no pushed lines: it has a source of its own (only streams with `push: true` accept them)"
    )]
    NotAPushStream,
    #[error("too many clients push to this stream at once; try again later")]
    TooManySenders,
    #[error("the process is not running")]
    NotRunning,
    #[error("this process takes no input (set `input: true` in its configuration to allow it)")]
    NoInput,
    #[error("the standard input of the process is closed")]
    InputEnded,
    #[error("the process has no terminal (set `pty: true` in its configuration to give it one)")]
    NoPty,
    #[error(
        "the output of the terminal would show the secrets that `redact` removes from this stream; read its lines instead"
    )]
    Redacted,
    #[error("{0} bytes are too many for one input (at most {MAX_INPUT_SIZE}; send it in pieces)")]
    TooLong(usize),
    #[error(
        "a line of the input is longer than {0} bytes, and the terminal would cut it (end the line earlier, or remove `pty` from \
        the configuration)"
    )]
    LineTooLong(usize),
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
        if self.has_attachments() {
            // The last attachment may have been dropped in the meantime.
            self.0.send(Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
    }

    /// Returns whether there are attachments.
    pub(crate) fn has_attachments(&self) -> bool {
        self.0.receiver_count() > 0
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
        let (on_written, answer) = oneshot::channel();
        self.0.send(PushedChunk { bytes, last, on_written }).await.map_err(|_| CommandError::Gone)?;
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

/// The sender of the reply to one request. Dropping it reports that the source is gone.
#[derive(Debug)]
pub(crate) struct ReplySender<T>(oneshot::Sender<Result<T, CommandError>>);

impl<T> ReplySender<T> {
    /// Sends the reply to the sender of the request, which may be gone.
    pub(crate) fn send(self, reply: Result<T, CommandError>) {
        self.0.send(reply).map_or_else(drop, drop);
    }
}

/// A request to a process, with the sender of its reply.
#[derive(Debug)]
pub(crate) enum ProcessRequest {
    Lifecycle(LifecycleCommand, ReplySender<CommandReply>),
    Run(RunCommand, ReplySender<()>),
    /// Attaches to the terminal: its raw output is delivered from now on.
    Attach(ReplySender<Attachment>),
}

/// A request to a stream that accepts lines: opens a sender, whose lines have this origin.
#[derive(Debug)]
pub(crate) struct PushRequest {
    pub(crate) origin: Origin,
    pub(crate) reply: ReplySender<PushSender>,
}

/// Sends requests to one process; clones send to the same process. Requests arrive in the order in which they are sent.
#[derive(Debug, Clone)]
pub(crate) struct ProcessHandle(mpsc::Sender<ProcessRequest>);

/// A handle, and the receiver for its process.
pub(crate) fn process_requests() -> (ProcessHandle, mpsc::Receiver<ProcessRequest>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_REQUESTS);
    (ProcessHandle(sender), receiver)
}

impl ProcessHandle {
    /// Sends `command` and waits until it is executed. May be dropped: the command is executed nevertheless.
    ///
    /// The time depends on the command: most take none, [`LifecycleCommand::Stop`] takes the grace period of the
    /// process.
    ///
    /// # Errors
    /// The reason why the command had no effect.
    pub(crate) async fn send(&self, command: impl Into<ProcessCommand>) -> Result<CommandReply, CommandError> {
        match command.into() {
            ProcessCommand::Lifecycle(command) => self.request(|reply| ProcessRequest::Lifecycle(command, reply)).await,
            ProcessCommand::Run(command) => {
                self.request(|reply| ProcessRequest::Run(command, reply)).await.map(|()| CommandReply::Done)
            }
        }
    }

    /// Attaches to the terminal of the process.
    ///
    /// # Errors
    /// If the process is not running, has no terminal, or has secrets that are redacted.
    pub(crate) async fn attach(&self) -> Result<Attachment, CommandError> {
        self.request(ProcessRequest::Attach).await
    }

    async fn request<T>(&self, request: impl FnOnce(ReplySender<T>) -> ProcessRequest) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(request(ReplySender(reply))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::TooManyCommands,
            mpsc::error::TrySendError::Closed(_) => CommandError::Gone,
        })?;
        answer.await.unwrap_or(Err(CommandError::Gone))
    }
}

/// Opens senders of lines to one stream; clones open them to the same stream.
#[derive(Debug, Clone)]
pub(crate) struct PushHandle(mpsc::Sender<PushRequest>);

/// A handle, and the receiver for its source.
pub(crate) fn push_requests() -> (PushHandle, mpsc::Receiver<PushRequest>) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_REQUESTS);
    (PushHandle(sender), receiver)
}

impl PushHandle {
    /// Opens a sender whose lines have this origin. Waits while too many requests are queued: a sender of lines waits
    /// for its lines to be appended anyway.
    ///
    /// # Errors
    /// If the stream has too many senders, or is gone.
    pub(crate) async fn open(&self, origin: Origin) -> Result<PushSender, CommandError> {
        let (reply, answer) = oneshot::channel();
        let request = PushRequest { origin, reply: ReplySender(reply) };
        self.0.send(request).await.map_err(|_| CommandError::Gone)?;
        answer.await.unwrap_or(Err(CommandError::Gone))
    }
}

/// The handle of a source that accepts requests.
#[derive(Debug, Clone)]
pub(crate) enum SourceHandle {
    Process(ProcessHandle),
    Push(PushHandle),
}

/// The handles of all sources that accept requests, by the names of their streams. Clones share the table. The catalog,
/// not this table, decides whether a stream exists.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandRouter(Arc<RwLock<BTreeMap<StreamName, SourceHandle>>>);

impl CommandRouter {
    /// Registers the handle of a stream, and replaces an earlier one of the same name.
    pub(crate) fn insert(&self, name: StreamName, handle: SourceHandle) {
        lock_exclusive(&self.0).insert(name, handle);
    }

    /// Removes the handle of a stream.
    pub(crate) fn remove(&self, name: &StreamName) {
        lock_exclusive(&self.0).remove(name);
    }

    /// Sends `command` to the process of that name; see [`ProcessHandle::send`].
    ///
    /// # Errors
    /// [`CommandError::NotAProcess`] if the stream is none, and the errors of the handle.
    pub(crate) async fn send(&self, name: &StreamName, command: ProcessCommand) -> Result<CommandReply, CommandError> {
        self.process(name)?.send(command).await
    }

    /// Attaches to the terminal of the process of that name; see [`ProcessHandle::attach`].
    ///
    /// # Errors
    /// [`CommandError::NotAProcess`] if the stream is none, and the errors of the handle.
    pub(crate) async fn attach(&self, name: &StreamName) -> Result<Attachment, CommandError> {
        self.process(name)?.attach().await
    }

    /// Opens a sender of lines to the stream of that name; see [`PushHandle::open`].
    ///
    /// # Errors
    /// [`CommandError::NotAPushStream`] if the stream accepts no lines, and the errors of the handle.
    pub(crate) async fn open_sender(&self, name: &StreamName, origin: Origin) -> Result<PushSender, CommandError> {
        match self.handle(name) {
            Some(SourceHandle::Push(handle)) => handle.open(origin).await,
            Some(SourceHandle::Process(_)) | None => Err(CommandError::NotAPushStream),
        }
    }

    fn process(&self, name: &StreamName) -> Result<ProcessHandle, CommandError> {
        match self.handle(name) {
            Some(SourceHandle::Process(handle)) => Ok(handle),
            Some(SourceHandle::Push(_)) | None => Err(CommandError::NotAProcess),
        }
    }

    fn handle(&self, name: &StreamName) -> Option<SourceHandle> {
        lock_shared(&self.0).get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_answered_or_its_source_is_gone() {
        let (router, name) = (CommandRouter::default(), "a".parse::<StreamName>().unwrap());
        let (start, stop) = (LifecycleCommand::Start.into(), ProcessCommand::from(LifecycleCommand::Stop));
        assert_eq!(router.send(&name, start).await.unwrap_err(), CommandError::NotAProcess);
        let (handle, mut requests) = process_requests();
        router.insert(name.clone(), SourceHandle::Process(handle));
        let source = tokio::spawn(async move {
            let Some(ProcessRequest::Lifecycle(LifecycleCommand::Start, reply)) = requests.recv().await else {
                panic!("the command was not sent")
            };
            reply.send(Ok(CommandReply::Already));
            drop(requests.recv().await.unwrap());
        });
        assert_eq!(router.send(&name, LifecycleCommand::Start.into()).await, Ok(CommandReply::Already));
        assert_eq!(router.send(&name, stop.clone()).await.unwrap_err(), CommandError::Gone);
        source.await.unwrap();
        assert_eq!(router.send(&name, stop.clone()).await.unwrap_err(), CommandError::Gone);
        router.remove(&name);
        assert_eq!(router.send(&name, stop).await.unwrap_err(), CommandError::NotAProcess);
    }

    #[tokio::test]
    async fn a_request_to_another_kind_of_source_is_refused() {
        let (router, name) = (CommandRouter::default(), "a".parse::<StreamName>().unwrap());
        let origin = || Origin::from("push");
        assert_eq!(router.open_sender(&name, origin()).await.unwrap_err(), CommandError::NotAPushStream);
        let (handle, _process) = process_requests();
        router.insert(name.clone(), SourceHandle::Process(handle));
        assert_eq!(router.open_sender(&name, origin()).await.unwrap_err(), CommandError::NotAPushStream);
        let (handle, _pushes) = push_requests();
        router.insert(name.clone(), SourceHandle::Push(handle));
        assert_eq!(router.attach(&name).await.unwrap_err(), CommandError::NotAProcess);
        assert_eq!(router.send(&name, RunCommand::Pause.into()).await.unwrap_err(), CommandError::NotAProcess);
    }

    #[tokio::test]
    async fn more_commands_than_a_source_takes_are_refused() {
        let (handle, requests) = process_requests();
        let waiting: Vec<_> = (0..MAX_QUEUED_REQUESTS)
            .map(|_| {
                tokio::spawn({
                    let handle = handle.clone();
                    async move { handle.send(RunCommand::Pause).await }
                })
            })
            .collect();
        while requests.len() < MAX_QUEUED_REQUESTS {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.send(RunCommand::Pause).await.unwrap_err(), CommandError::TooManyCommands);
        drop(requests);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(CommandError::Gone));
        }
    }

    #[tokio::test]
    async fn a_slow_attachment_is_notified_of_what_it_missed() {
        let output = TerminalOutput::default();
        output.publish(b"before");
        let mut attachment = output.attach();
        for _ in 0..MAX_ATTACHMENT_LAG + 3 {
            output.publish(b"x");
        }
        drop(output);
        assert_eq!(attachment.next().await, Some(RawOutput::Missed(3)));
        for _ in 0..MAX_ATTACHMENT_LAG {
            assert_eq!(attachment.next().await, Some(RawOutput::Bytes(Bytes::from_static(b"x"))));
        }
        assert_eq!(attachment.next().await, None);
    }
}
