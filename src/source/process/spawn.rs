//! Starts a program: makes what it reads from and writes to, and has a fresh [`child`](super::child) become it.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;

use crate::config::ProcessSource;
use crate::descriptors::limit_for_commands;
use crate::source::{Options, SourceError};

use super::child::{DESCRIPTORS, Failure, Step, Task};
use super::input::Input;
use super::known::{Descriptors, MARK};
use super::leader::Leader;
use super::pty;

/// Longest time from the start of the child until it executes the program: only to find a user's groups may take time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a test's child that it is one.
#[cfg(test)]
pub(super) const IN_TEST: &str = "RTLOGD_TEST_CHILD";

/// What programs on a terminal look for if nothing is said: all do colours with it.
const TERM: &str = "xterm-256color";

/// A program that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) leader: Leader,
    /// What it writes to standard output, and to standard error; with a terminal the first is both.
    pub(super) ends: [Option<pipe::Receiver>; 2],
    pub(super) input: Input,
    pub(super) descriptors: Descriptors,
}

/// Our ends of what the program reads and writes, and its ends in the order of their numbers.
struct Wires {
    ends: [Option<pipe::Receiver>; 2],
    input: Input,
    descriptors: Descriptors,
    given: Vec<Given>,
    /// The first of `given` is its standard input.
    has_input: bool,
}

/// An end that the program gets.
enum Given {
    Made(OwnedFd),
    /// Our own standard input.
    OurInput,
}

impl AsFd for Given {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Made(end) => end.as_fd(),
            Self::OurInput => rustix::stdio::stdin(),
        }
    }
}

/// Starts it, with `mark` among its variables, and comes back when it runs. Do not drop it before.
///
/// # Errors
/// Names the program, and the user or the directory where that is the reason.
pub(super) async fn spawn(
    stream: &str,
    spec: &ProcessSource,
    options: &Options,
    mark: &str,
) -> Result<Started, SourceError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    start(stream, spec, options, mark).await.map_err(|error| error.of(spec, program))
}

/// Why it did not start.
enum Failed {
    Here(io::Error),
    InChild(Failure),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Here(error)
    }
}

impl Failed {
    fn of(self, spec: &ProcessSource, program: OsString) -> SourceError {
        let (step, source) = match self {
            Self::Here(source) => (Step::Execute, source),
            Self::InChild(Failure { step, errno, error }) => {
                (step, errno.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error))
            }
        };
        match (step, &spec.directory, &spec.user) {
            (Step::Directory, Some(directory), _) => {
                SourceError::Directory { program, directory: directory.clone(), source }
            }
            (Step::User, _, Some(user)) => SourceError::User { program, user: user.clone(), source },
            _ => SourceError::Start { program, source },
        }
    }
}

async fn start(stream: &str, spec: &ProcessSource, options: &Options, mark: &str) -> Result<Started, Failed> {
    let wires = wires(spec, options)?;
    let task = task(stream, spec, options, mark, &wires);
    let (ours, childs) = UnixStream::pair()?;
    // Not on a thread for blocking work: such a thread ends when it is idle, and the child with it (PR_SET_PDEATHSIG).
    let leader = options.children.start(&mut own_program(childs))?;
    let Wires { ends, input, descriptors, given, .. } = wires;
    let told = spawn_blocking(move || converse(ours, &task, &given)).await.map_err(io::Error::other)?;
    let failure = match told {
        Ok(None) => return Ok(Started { leader, ends, input, descriptors }),
        Ok(Some(failure)) => Failed::InChild(failure),
        Err(error) => Failed::Here(error),
    };
    // Whatever it hangs on, it is nobody's.
    kill_process(leader.pid(), Signal::KILL).unwrap_or_default();
    spawn_blocking(move || leader.was_killed()).await.unwrap_or_default();
    Err(failure)
}

fn task(stream: &str, spec: &ProcessSource, options: &Options, mark: &str, wires: &Wires) -> Task {
    let mut environment = spec.environment.clone();
    if spec.pty.is_some() {
        environment.entry("TERM".to_owned()).or_insert_with(|| TERM.to_owned());
    }
    environment.insert("RTLOGD_STREAM".to_owned(), stream.to_owned());
    environment.insert(MARK.to_owned(), mark.to_owned());
    Task {
        argv: spec.argv.clone(),
        environment,
        directory: spec.directory.clone(),
        user: spec.user.clone(),
        session: !options.same_group,
        terminal: spec.pty.is_some(),
        input: wires.has_input,
        open_files: limit_for_commands(),
        parent: getpid().as_raw_nonzero().get(),
        death: spec.stop.signal.number(),
    }
}

/// This program once more, as it is now, even if its file was replaced since.
fn own_program(socket: UnixStream) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rtlogd").arg("__child");
    #[cfg(test)]
    let mut command = {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", "source::process::child::tests::is_the_child_of_another_test", "--test-threads=1"]);
        command.env(IN_TEST, "yes");
        command
    };
    command.stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Tells the child what to do, and waits until it did. Blocks.
fn converse(mut socket: UnixStream, task: &Task, given: &[Given]) -> io::Result<Option<Failure>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let text = serde_json::to_vec(task)?;
    let descriptors: Vec<_> = given.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let sent = sendmsg(&socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(text.get(sent..).unwrap_or_default())?;
    socket.shutdown(Shutdown::Write)?;
    let mut report = Vec::new();
    match socket.read_to_end(&mut report) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error),
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_slice(&report)?)),
    }
}

fn wires(spec: &ProcessSource, options: &Options) -> io::Result<Wires> {
    let mut given = Vec::new();
    let mut descriptors = Descriptors::default();
    let mut input = Input::None;
    if let Some(size) = spec.pty {
        let (master, slave) = pty::open(size)?;
        descriptors.outputs[0] = Some(master.as_raw_fd());
        descriptors.terminal = true;
        if spec.input {
            // To tokio a terminal that does not block is as good as a pipe, and the way to have it without `unsafe`.
            input = Input::open(pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?, true);
            given.push(Given::Made(slave.try_clone()?));
        }
        given.push(Given::Made(slave));
        let ends = [Some(pipe::Receiver::from_owned_fd_unchecked(master)?), None];
        return Ok(Wires { ends, input, descriptors, given, has_input: spec.input });
    }
    let has_input = spec.input || options.inherit_stdin;
    if spec.input {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        descriptors.input = Some(write.as_raw_fd());
        input = Input::open(pipe::Sender::from_owned_fd(write)?, false);
        given.push(Given::Made(read));
    } else if options.inherit_stdin {
        given.push(Given::OurInput);
    }
    let mut ends = [None, None];
    for (end, number) in ends.iter_mut().zip(&mut descriptors.outputs) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        *number = Some(read.as_raw_fd());
        *end = Some(pipe::Receiver::from_owned_fd(read)?);
        given.push(Given::Made(write));
    }
    Ok(Wires { ends, input, descriptors, given, has_input })
}

/// The mark of a run: told apart from all others by chance.
pub(super) fn mark(stream: &str, run: u64) -> String {
    format!("{stream}-{run}-{:016x}", fastrand::u64(..))
}

/// For [`Leader`]: a child's process id.
pub(super) fn pid_of(child: &std::process::Child) -> io::Result<Pid> {
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("it has no process id"))
}
