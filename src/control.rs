//! Commands to a source, and what comes of them. A [`Handle`] carries them from whoever may send them to the source that
//! carries them out.
//!
//! Who may send what was asked before. Knows neither how commands arrive nor what a process is.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::event::{Origin, Position, StreamName};

/// Most commands on their way to one source: it takes them at once, so that more are a flood.
const COMMANDS: usize = 64;

/// Most bytes in one input: what is longer is sent in pieces.
pub(crate) const LONGEST_INPUT: usize = 64 << 10;

/// Most pieces of a terminal's output that who is attached may be behind; each is at most what one read gives.
const BEHIND: usize = 256;

/// What a source can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Types this. At most [`LONGEST_INPUT`] bytes. Done once it is in line behind what was typed before.
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
pub(crate) enum Reply {
    /// It is done.
    Done,
    /// It was so already: started where it runs, stopped where it does not.
    Already,
    /// See [`Command::Attach`].
    Attached(Attachment),
    /// See [`Command::Push`].
    Pushing(Pusher),
}

/// Why a command was not carried out; nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("this stream is not a process: only a process can be sent commands")]
    NotAProcess,
    #[error("this stream takes no lines: its source fills it (its configuration lets others do so with `push: true`)")]
    NotPushed,
    #[error("too many send lines into this stream at once; try again later")]
    Crowd,
    #[error("the process does not run now")]
    NotRunning,
    #[error("nobody may type into this process (its configuration allows it with `input: true`)")]
    NoInput,
    #[error("the process has closed its standard input, or it was ended before")]
    InputEnded,
    #[error("the process has no terminal (its configuration gives it one with `pty: true`)")]
    NoPty,
    #[error(
        "what its terminal shows is as the process wrote it, and secrets are taken out of this stream (`redact`); read its lines"
    )]
    Redacted,
    #[error("{0} bytes are too many for one input (at most {LONGEST_INPUT}; send it in pieces)")]
    TooLong(usize),
    #[error("there is no signal {0}")]
    NoSignal(i32),
    #[error("the process does not read what was typed before; try again later")]
    Busy,
    #[error("too many commands at once for this process; try again later")]
    Flood,
    #[error("{0}")]
    Failed(String),
    #[error("the stream is gone, or the daemon stops")]
    Gone,
}

/// A terminal's output, live. Who is too slow misses some and is told; the process never waits.
#[derive(Debug)]
pub(crate) struct Attachment(broadcast::Receiver<Bytes>);

/// What an attachment gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Bytes as the process wrote them.
    Bytes(Bytes),
    /// So many pieces were missed here.
    Missed(u64),
}

impl Attachment {
    /// What comes next; `None` at the end of the run. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<Raw> {
        match self.0.recv().await {
            Ok(bytes) => Some(Raw::Bytes(bytes)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Raw::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The side of the terminal: what all attachments of one run get.
#[derive(Debug, Clone)]
pub(crate) struct Screen(broadcast::Sender<Bytes>);

impl Default for Screen {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Screen {
    /// Gives `bytes` to all that are attached. Costs nothing where nobody is.
    pub(crate) fn show(&self, bytes: &[u8]) {
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
pub(crate) struct Pusher(mpsc::Sender<Pushed>);

/// Bytes on their way into a stream.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) bytes: Bytes,
    /// Nothing comes behind them.
    pub(crate) last: bool,
    taken: oneshot::Sender<Tally>,
}

/// What became of all that one sender sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// How many lines.
    pub(crate) lines: u64,
    /// The ids of the first and the last of them. Those of others may lie between.
    pub(crate) ids: Option<(Position, Position)>,
}

/// A sender, and the end that the source holds.
pub(crate) fn pusher() -> (Pusher, mpsc::Receiver<Pushed>) {
    let (sender, receiver) = mpsc::channel(1);
    (Pusher(sender), receiver)
}

impl Pusher {
    /// Sends `bytes`, `last` if nothing comes behind them, and waits until their lines are in the stream; gives what became
    /// of all so far.
    ///
    /// # Errors
    /// If the stream takes no more.
    pub(crate) async fn send(&self, bytes: Bytes, last: bool) -> Result<Tally, Refused> {
        let (taken, answer) = oneshot::channel();
        self.0.send(Pushed { bytes, last, taken }).await.map_err(|_| Refused::Gone)?;
        answer.await.map_err(|_| Refused::Gone)
    }

    /// Waits until the stream takes no more. May be dropped at any time.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

impl Pushed {
    /// Says what became of it. Whoever sent it may be gone.
    pub(crate) fn taken(self, tally: Tally) {
        self.taken.send(tally).unwrap_or_default();
    }
}

/// A command with the way back.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) command: Command,
    reply: oneshot::Sender<Result<Reply, Refused>>,
}

impl Order {
    /// Answers it. Whoever asked may be gone.
    pub(crate) fn answer(self, answer: Result<Reply, Refused>) {
        self.reply.send(answer).map_or_else(drop, drop);
    }
}

/// The source's end: what it is told.
pub(crate) type Inbox = mpsc::Receiver<Order>;

/// Carries commands to one source; a clone goes to the same.
#[derive(Debug, Clone)]
pub(crate) struct Handle(mpsc::Sender<Order>);

/// A handle, and the end that its source holds.
pub(crate) fn open() -> (Handle, Inbox) {
    let (sender, inbox) = mpsc::channel(COMMANDS);
    (Handle(sender), inbox)
}

impl Handle {
    /// Has `command` carried out. May be dropped: it is carried out all the same.
    ///
    /// It takes as long as its [`Command`] says: most of them no time, [`Command::Stop`] the grace that the process has.
    ///
    /// # Errors
    /// Says why nothing was done.
    pub(crate) async fn send(&self, command: Command) -> Result<Reply, Refused> {
        let (reply, answer) = oneshot::channel();
        // Who sends lines waits for what it sent anyhow.
        let waits = matches!(command, Command::Push(_));
        let order = Order { command, reply };
        if waits {
            self.0.send(order).await.map_err(|_| Refused::Gone)?;
        } else {
            self.0.try_send(order).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refused::Flood,
                mpsc::error::TrySendError::Closed(_) => Refused::Gone,
            })?;
        }
        answer.await.unwrap_or(Err(Refused::Gone))
    }
}

/// Where the handles of all processes lie, by the names of their streams. A clone is the same desk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk(Arc<RwLock<BTreeMap<StreamName, Handle>>>);

impl Desk {
    /// Enters the handle of a stream; one of the same name is replaced.
    pub(crate) fn insert(&self, name: StreamName, handle: Handle) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, handle);
    }

    /// Forgets a stream.
    pub(crate) fn remove(&self, name: &StreamName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Has `command` carried out by the stream of that name; see [`Handle::send`]. That the stream exists, the catalog says.
    ///
    /// # Errors
    /// [`Refused::NotAProcess`] if there is no handle, and what the handle says.
    pub(crate) async fn send(&self, name: &StreamName, command: Command) -> Result<Reply, Refused> {
        let handle = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        handle.ok_or(Refused::NotAProcess)?.send(command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_answered_or_its_source_is_gone() {
        let (desk, name) = (Desk::default(), "a".parse::<StreamName>().unwrap());
        assert_eq!(desk.send(&name, Command::Start).await.unwrap_err(), Refused::NotAProcess);
        let (handle, mut inbox) = open();
        desk.insert(name.clone(), handle);
        let source = tokio::spawn(async move {
            let order = inbox.recv().await.unwrap();
            assert_eq!(order.command, Command::Start);
            order.answer(Ok(Reply::Already));
            drop(inbox.recv().await.unwrap());
        });
        assert!(matches!(desk.send(&name, Command::Start).await, Ok(Reply::Already)));
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), Refused::Gone);
        source.await.unwrap();
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), Refused::Gone);
        desk.remove(&name);
        assert_eq!(desk.send(&name, Command::Stop).await.unwrap_err(), Refused::NotAProcess);
    }

    #[tokio::test]
    async fn more_commands_than_a_source_takes_are_refused() {
        let (handle, inbox) = open();
        let waiting: Vec<_> = (0..COMMANDS)
            .map(|_| {
                tokio::spawn({
                    let handle = handle.clone();
                    async move { handle.send(Command::Pause).await.map(drop) }
                })
            })
            .collect();
        while inbox.len() < COMMANDS {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.send(Command::Pause).await.unwrap_err(), Refused::Flood);
        drop(inbox);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(Refused::Gone));
        }
    }

    #[tokio::test]
    async fn who_is_attached_and_slow_is_told_what_it_missed() {
        let screen = Screen::default();
        screen.show(b"before");
        let mut attachment = screen.attach();
        for _ in 0..BEHIND + 3 {
            screen.show(b"x");
        }
        drop(screen);
        assert_eq!(attachment.next().await, Some(Raw::Missed(3)));
        for _ in 0..BEHIND {
            assert_eq!(attachment.next().await, Some(Raw::Bytes(Bytes::from_static(b"x"))));
        }
        assert_eq!(attachment.next().await, None);
    }
}
