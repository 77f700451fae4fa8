//! Starts a program: creates its standard streams, and starts a [`child`](super::child) process that executes it.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use log::warn;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, kill_process};
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;

use crate::config::ProcessSourceConfig;
use crate::source::process::descriptors::open_file_limit_for_commands;
use crate::source::{SourceError, SourceOptions};

use super::child::{ALLOCATOR_VARIABLE, ExecFailure, ExecStep, ExecTask, MAX_PASSED_DESCRIPTORS};
use super::input::ProcessInput;
use super::program::Program;
use super::run_record::RUN_MARK_VARIABLE;
use super::shim::ShimAddress;
use super::shim::attach::ShimConnection;
use super::shim::start::ShimPlan;
use super::staging::OutputStaging;
use super::{environment_file, pty, shim};

/// The longest time from the start of the child to the exec of the program. Only the lookup of a user's groups may take
/// long.
const MAX_SPAWN_TIME: Duration = Duration::from_secs(30);

/// Marks the child of a test.
#[cfg(test)]
pub(super) const TEST_CHILD_VARIABLE: &str = "RTLOGD_TEST_CHILD";

/// The default value of `TERM`. Programs on a terminal look for it, and all of them use colours with this one.
const DEFAULT_TERMINAL_TYPE: &str = "xterm-256color";

/// A program that was started.
#[derive(Debug)]
pub(super) struct StartedProgram {
    pub(super) program: Program,
    /// The program's standard output and standard error; with a terminal, the first is both.
    pub(super) ends: [Option<pipe::Receiver>; 2],
    pub(super) input: ProcessInput,
    /// The way to the shim, and the staging of the output, if the program was started by one.
    pub(super) shim: Option<(ShimAddress, OutputStaging)>,
}

/// The daemon's ends of the program's standard streams, and the program's ends in the order of their numbers.
struct ProgramEnds {
    ends: [Option<pipe::Receiver>; 2],
    input: ProcessInput,
    passed_on: Vec<ProgramEnd>,
    /// The first of `passed_on` is the standard input of the program.
    has_input: bool,
}

/// An end that the program receives.
enum ProgramEnd {
    Created(OwnedFd),
    /// The standard input of rtlogd.
    InheritedStdin,
}

impl AsFd for ProgramEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Created(end) => end.as_fd(),
            Self::InheritedStdin => rustix::stdio::stdin(),
        }
    }
}

/// Returns whether rtlogd sets this variable itself.
fn is_reserved(name: &str) -> bool {
    matches!(name, "RTLOGD_STREAM" | RUN_MARK_VARIABLE)
}

/// Starts the program of run `number` with `mark` in its environment, and returns when it runs. The future must not be
/// dropped before.
///
/// # Errors
/// The error names the program, and the user or the directory if that is the reason.
pub(super) async fn spawn(
    stream: &str,
    spec: &ProcessSourceConfig,
    options: &SourceOptions,
    number: u64,
    mark: &str,
) -> Result<StartedProgram, SourceError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    start(stream, spec, options, number, mark).await.map_err(|error| error.of(spec, program))
}

/// The reason why the program did not start.
enum SpawnFailure {
    InDaemon(io::Error),
    InChild(ExecFailure),
    EnvironmentFile(PathBuf, io::Error),
}

impl From<io::Error> for SpawnFailure {
    fn from(error: io::Error) -> Self {
        Self::InDaemon(error)
    }
}

impl SpawnFailure {
    fn of(self, spec: &ProcessSourceConfig, program: OsString) -> SourceError {
        let (step, source) = match self {
            Self::InDaemon(source) => (ExecStep::Execute, source),
            Self::EnvironmentFile(path, source) => return SourceError::EnvironmentFile { program, path, source },
            Self::InChild(ExecFailure { step, errno, error }) => {
                (step, errno.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error))
            }
        };
        match (step, &spec.directory, &spec.user, &spec.group) {
            (ExecStep::Directory, Some(directory), ..) => {
                SourceError::Directory { program, directory: directory.clone(), source }
            }
            (ExecStep::User, _, Some(user), _) => SourceError::User { program, user: user.clone(), source },
            (ExecStep::Group, _, _, Some(group)) => SourceError::Group { program, group: group.clone(), source },
            _ => SourceError::Start { program, source },
        }
    }
}

async fn start(
    stream: &str,
    spec: &ProcessSourceConfig,
    options: &SourceOptions,
    number: u64,
    mark: &str,
) -> Result<StartedProgram, SpawnFailure> {
    let wires = create_ends(spec, options)?;
    let mut task = task(stream, spec, options, mark, &wires);
    for path in &spec.environment_files {
        let file = path.clone();
        let read = spawn_blocking(move || environment_file::read(&file)).await.map_err(io::Error::other)?;
        let variables = read.map_err(|source| SpawnFailure::EnvironmentFile(path.clone(), source))?;
        // A later file replaces an earlier one, and what the configuration itself says stays.
        let kept = variables.into_iter().filter(|(name, _)| !spec.environment.contains_key(name) && !is_reserved(name));
        task.environment.extend(kept);
    }
    if let Some(directories) = options.temporary_directories.clone().filter(|_| spec.user.is_none())
        && !task.environment.contains_key("TMPDIR")
    {
        let of_stream = stream.to_owned();
        match spawn_blocking(move || directories.create_empty(&of_stream)).await.map_err(io::Error::other)? {
            Ok(path) => drop(task.environment.insert("TMPDIR".to_owned(), path.to_string_lossy().into_owned())),
            Err((path, error)) => {
                warn!(stream, errno = error.raw_os_error(), error:% = error; "cannot create {}: the command uses the temporary directory of the system", path.display());
            }
        }
    }
    let Some(directory) = options.shim_directory.clone().filter(|_| !spec.orphan_timeout.is_zero()) else {
        return start_as_child(options, task, wires).await;
    };
    let outputs = wires.ends.iter().flatten().count();
    let plan = ShimPlan::new(directory, stream, number, mark, outputs)?;
    match start_by_shim(stream, spec, options, plan, task.clone(), wires).await? {
        ShimStart::Started(program) => Ok(program),
        ShimStart::NoSocket(wires) => start_as_child(options, task, wires).await,
    }
}

/// Starts the program as a child of the daemon.
async fn start_as_child(
    options: &SourceOptions,
    task: ExecTask,
    wires: ProgramEnds,
) -> Result<StartedProgram, SpawnFailure> {
    let (ours, childs) = UnixStream::pair()?;
    // The child is not started on a thread for blocking work: an idle one ends, and the child would die with it
    // (PR_SET_PDEATHSIG).
    let leader = options.children.start(&mut own_program(childs, "__child"))?;
    let ProgramEnds { ends, input, passed_on, .. } = wires;
    let send = move || send_task(ours, &task, &passed_on.iter().map(AsFd::as_fd).collect::<Vec<_>>());
    let outcome = spawn_blocking(send).await.map_err(io::Error::other)?;
    let failure = match outcome {
        Ok(None) => return Ok(StartedProgram { program: Program::Child(leader), ends, input, shim: None }),
        Ok(Some(failure)) => SpawnFailure::InChild(failure),
        Err(error) => SpawnFailure::InDaemon(error),
    };
    // Whatever blocks the child, no run owns it yet.
    kill_process(leader.pid(), Signal::KILL).unwrap_or_default();
    spawn_blocking(move || leader.wait_killed()).await.unwrap_or_default();
    Err(failure)
}

/// The outcome of [`start_by_shim`], unless the program cannot be started at all.
enum ShimStart {
    Started(StartedProgram),
    /// The next daemon could not reach the shim, which is therefore of no use. Nothing was started.
    NoSocket(ProgramEnds),
}

/// Starts the program as a child of a shim, which keeps the daemon's ends for a next daemon.
async fn start_by_shim(
    stream: &str,
    spec: &ProcessSourceConfig,
    options: &SourceOptions,
    plan: ShimPlan,
    task: ExecTask,
    wires: ProgramEnds,
) -> Result<ShimStart, SpawnFailure> {
    let (ours, shims) = shim::start::connection()?;
    // The name of the stream is for people who look at the list of processes.
    let shim = options.children.start_shim(own_program(shims, "__shim").arg(stream))?;
    let spec = spec.clone();
    let start = move || {
        let ProgramEnds { ends, input, passed_on, .. } = &wires;
        let passed_on: Vec<_> = passed_on.iter().map(AsFd::as_fd).collect();
        let outputs: Vec<_> = ends.iter().flatten().map(AsFd::as_fd).collect();
        let input: Vec<_> = input.pipe().into_iter().collect();
        let started = plan.start(&ours, &spec, task, [&passed_on, &outputs, &input], MAX_SPAWN_TIME);
        (started, ours, plan, wires)
    };
    let (started, ours, plan, wires) = spawn_blocking(start).await.map_err(io::Error::other)?;
    if let Ok(Err(failure)) = &started
        && failure.step == ExecStep::Socket
    {
        let (errno, error, directory) = (failure.errno, failure.error.as_str(), plan.directory.display());
        warn!(stream, errno, error; "cannot create a socket in {directory}: the command will end with rtlogd");
        return Ok(ShimStart::NoSocket(wires));
    }
    let ProgramEnds { ends, input, .. } = wires;
    match started.map(|started| started.map(|running| ShimConnection::new(ours, &running))) {
        Ok(Ok(Ok(connection))) => {
            let (program, shim) = (Program::OfShim(connection), Some((plan.address, plan.staging)));
            Ok(ShimStart::Started(StartedProgram { program, ends, input, shim }))
        }
        Ok(Err(failure)) => Err(SpawnFailure::InChild(failure)),
        Ok(Ok(Err(error))) | Err(error) => {
            // The program, if it runs, receives its stop signal when its parent dies.
            kill_process(shim, Signal::KILL).unwrap_or_default();
            Err(SpawnFailure::InDaemon(error))
        }
    }
}

fn task(
    stream: &str,
    spec: &ProcessSourceConfig,
    options: &SourceOptions,
    mark: &str,
    wires: &ProgramEnds,
) -> ExecTask {
    let mut environment = spec.environment.clone();
    // With the standard input, the program also shares the terminal of rtlogd, whose `TERM` is right.
    if spec.pty.is_some() && !options.inherit_stdin {
        environment.entry("TERM".to_owned()).or_insert_with(|| DEFAULT_TERMINAL_TYPE.to_owned());
    }
    environment.insert("RTLOGD_STREAM".to_owned(), stream.to_owned());
    environment.insert(RUN_MARK_VARIABLE.to_owned(), mark.to_owned());
    ExecTask {
        argv: spec.argv.clone(),
        environment,
        directory: spec.directory.clone(),
        user: spec.user.clone(),
        group: spec.group.clone(),
        umask: spec.umask,
        session: !options.same_group,
        terminal: spec.pty.is_some() && !options.inherit_stdin,
        input: wires.has_input,
        open_files: open_file_limit_for_commands(),
        parent: getpid().as_raw_nonzero().get(),
        parent_death_signal: spec.stop.signal.number(),
    }
}

/// Settings of the allocator for a process that allocates little and may wait for hours: no second thread, and nothing held
/// for later.
const SMALL_ALLOCATOR: &str = "background_thread:false,narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0";

/// This program, as it runs now, even if its file was replaced since, with a hidden subcommand and a socket as its standard
/// input.
pub(super) fn own_program(socket: impl Into<OwnedFd>, subcommand: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rtlogd").arg(subcommand);
    #[cfg(test)]
    let mut command = {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", "source::process::child::tests::is_the_child_of_another_test", "--test-threads=1"]);
        command.env(TEST_CHILD_VARIABLE, subcommand);
        command
    };
    command.env(ALLOCATOR_VARIABLE, SMALL_ALLOCATOR);
    command.stdin(Stdio::from(socket.into())).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Sends the task to the child, and waits until the child has carried it out. Blocks.
pub(super) fn send_task(
    mut socket: UnixStream,
    task: &ExecTask,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Option<ExecFailure>> {
    socket.set_read_timeout(Some(MAX_SPAWN_TIME))?;
    socket.set_write_timeout(Some(MAX_SPAWN_TIME))?;
    let text = serde_json::to_vec(task)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
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

fn create_ends(spec: &ProcessSourceConfig, options: &SourceOptions) -> io::Result<ProgramEnds> {
    let mut passed_on = Vec::new();
    let mut input = ProcessInput::None;
    if let Some(size) = spec.pty {
        let (master, slave) = pty::open(size)?;
        if spec.input {
            passed_on.push(ProgramEnd::Created(slave.try_clone()?));
        }
        let shares_stdin = options.inherit_stdin && !spec.input;
        if shares_stdin {
            // Only the output goes through this terminal. The program keeps the controlling terminal that it shares with
            // rtlogd, from which it reads and receives signals.
            passed_on.push(ProgramEnd::InheritedStdin);
            passed_on.push(ProgramEnd::Created(slave.try_clone()?));
        }
        passed_on.push(ProgramEnd::Created(slave));
        let terminal = pipe::Receiver::from_owned_fd_unchecked(master)?;
        if spec.input {
            input = ProcessInput::of_terminal(&terminal)?;
        }
        let ends = [Some(terminal), None];
        return Ok(ProgramEnds { ends, input, passed_on, has_input: spec.input || shares_stdin });
    }
    let has_input = spec.input || options.inherit_stdin;
    if spec.input {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        input = ProcessInput::open(pipe::Sender::from_owned_fd(write)?, false);
        passed_on.push(ProgramEnd::Created(read));
    } else if options.inherit_stdin {
        passed_on.push(ProgramEnd::InheritedStdin);
    }
    let mut ends = [None, None];
    for end in &mut ends {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        *end = Some(pipe::Receiver::from_owned_fd(read)?);
        passed_on.push(ProgramEnd::Created(write));
    }
    Ok(ProgramEnds { ends, input, passed_on, has_input })
}

/// The mark of a run, made unique by a random number.
pub(super) fn mark(stream: &str, run: u64) -> String {
    format!("{stream}-{run}-{:016x}", fastrand::u64(..))
}
