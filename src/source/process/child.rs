//! `rtlogd __child`: the step between the daemon and the program to run. A new process with one thread sets everything
//! that is to differ from the daemon, and then executes the program.
//!
//! The task arrives over the socket that is the standard input of the child, together with the descriptors for the
//! program. The exec closes the socket, so that its end means that the program runs; before that, an [`ExecFailure`]
//! says which step failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use nix::sys::signal::SigSet;
use nix::unistd::{Group, User, initgroups, setgid, setuid};
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, getegid, geteuid, getppid, ioctl_tiocsctty, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use crate::source::process::descriptors::{close_other_descriptors, set_open_file_limit};

/// The exit code of a child that executed nothing. It is not reported: the [`ExecFailure`] is.
const EXIT_NOT_EXECUTED: u8 = 126;

/// The maximum number of descriptors that are passed: standard input, output and error.
pub(super) const MAX_PASSED_DESCRIPTORS: usize = 3;

/// Variables that describe the daemon and not the program. With them, the program would talk to a service manager in
/// the name of the daemon, find its directories, sockets and credentials, or use the size of another terminal. The list
/// has all variables that a service manager sets for a unit (systemd.exec(5), "Environment Variables Set or Propagated
/// by the Service Manager", up to systemd 258), except those that describe the user, such as `PATH`, `LANG` and `HOME`.
const DAEMON_VARIABLES: [&str; 24] = [
    "CREDENTIALS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LOG_NAMESPACE",
    "DEBUG_INVOCATION",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "NOTIFY_SOCKET",
    "FDSTORE",
    "PIDFILE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SERVICE_RESULT",
    "EXIT_CODE",
    "EXIT_STATUS",
    "COLUMNS",
    "LINES",
    ALLOCATOR_VARIABLE,
];

/// The variable with the settings of the allocator, if rtlogd has its own.
pub(super) const ALLOCATOR_VARIABLE: &str = "_RJEM_MALLOC_CONF";

/// Prefixes of further such variables; `RTLOGD_TOKEN` is one of them. Variables with `RTLOGD_` that the program is to
/// have are set after these are removed.
const DAEMON_VARIABLE_PREFIXES: [&str; 7] =
    ["RTLOGD_", "LISTEN_", "WATCHDOG_", "SYSTEMD_", "MEMORY_PRESSURE_", "MONITOR_", "TRIGGER_"];

/// Variables that describe the session of the daemon's user, which a program of another user must not have.
const USER_SESSION_VARIABLES: [&str; 8] = [
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
    "XDG_SEAT",
    "XDG_VTNR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "XAUTHORITY",
    "MAIL",
];

fn is_daemon_variable(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    DAEMON_VARIABLES.iter().any(|own| own.as_bytes() == name)
        || DAEMON_VARIABLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// The task of the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExecTask {
    pub(super) argv: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    /// The umask, if it differs from that of the daemon.
    pub(super) umask: Option<u32>,
    /// Start a new session and process group.
    pub(super) session: bool,
    /// Standard output is a terminal, which becomes the controlling terminal of the session.
    pub(super) terminal: bool,
    /// The first descriptor is standard input; otherwise standard input is empty.
    pub(super) input: bool,
    /// The soft limit on open files, if it differs from that of the daemon.
    pub(super) open_files: Option<u64>,
    /// The process that starts the child, which the child must not outlive.
    pub(super) parent: i32,
    /// The signal that the child receives when its parent dies.
    pub(super) parent_death_signal: i32,
}

/// Replaces the standard input of this process, which was a socket of its parent, by nothing.
///
/// # Errors
/// If `/dev/null` cannot be opened.
pub(super) fn replace_stdin_with_null() -> io::Result<()> {
    Ok(dup2_stdin(File::open("/dev/null")?)?)
}

/// The steps that can fail for a reason that an administrator can fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ExecStep {
    /// Receive the descriptors, start a session, and acquire a terminal.
    Prepare,
    /// Open the socket of the shim.
    Socket,
    /// Switch to the user.
    User,
    /// Switch to the group.
    Group,
    /// Change to the directory.
    Directory,
    /// Execute the program.
    Execute,
}

/// The reason why nothing was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExecFailure {
    pub(super) step: ExecStep,
    /// The error number of the system, if there is one.
    pub(super) errno: Option<i32>,
    pub(super) error: String,
}

impl ExecFailure {
    pub(super) fn new(step: ExecStep, error: &io::Error) -> Self {
        Self { step, errno: error.raw_os_error(), error: error.to_string() }
    }
}

/// Executes the program; returns only if that fails.
pub(crate) fn become_child() -> ExitCode {
    let Ok(mut socket) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::from(EXIT_NOT_EXECUTED);
    };
    let Err(failure) = prepare(&mut socket);
    let report = serde_json::to_vec(&failure).unwrap_or_default();
    // If the parent is gone, nobody can receive the report.
    socket.write_all(&report).unwrap_or_default();
    ExitCode::from(EXIT_NOT_EXECUTED)
}

fn prepare(socket: &mut UnixStream) -> Result<Infallible, ExecFailure> {
    let at = |step| move |error: io::Error| ExecFailure::new(step, &error);
    let (task, descriptors) = receive(socket).map_err(at(ExecStep::Prepare))?;
    if task.session {
        setsid().map_err(|error| ExecFailure::new(ExecStep::Prepare, &error.into()))?;
    }
    task.open_files.map_or(Ok(()), set_open_file_limit).map_err(at(ExecStep::Prepare))?;
    take(&task, descriptors).map_err(at(ExecStep::Prepare))?;
    // Descriptors are closed before the user is looked up, since a library may open more for that.
    close_other_descriptors(&[socket.as_raw_fd()]).map_err(at(ExecStep::Prepare))?;
    let user = task.user.as_deref().map(find_user).transpose().map_err(at(ExecStep::User))?;
    let group = task.group.as_deref().map(find_group).transpose().map_err(at(ExecStep::Group))?;
    match &user {
        Some(user) => switch_user(user, group.unwrap_or(user.gid)).map_err(at(ExecStep::User))?,
        None => group.map_or(Ok(()), switch_group).map_err(at(ExecStep::Group))?,
    }
    if let Some(umask) = task.umask {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    restore_default_signals().map_err(at(ExecStep::Prepare))?;
    // Switching the user clears this setting, so it comes after that.
    die_with_parent(&task).map_err(at(ExecStep::Prepare))?;
    if let Some(directory) = &task.directory {
        std::env::set_current_dir(directory).map_err(at(ExecStep::Directory))?;
    }
    Err(ExecFailure::new(ExecStep::Execute, &execute(&task, user.as_ref())))
}

/// Reads until the other side has sent everything.
fn receive(socket: &mut UnixStream) -> io::Result<(ExecTask, Vec<OwnedFd>)> {
    let mut text = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // The descriptors arrive with the first byte (unix(7)).
    let received = recvmsg(&*socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    text.truncate(received.bytes);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    socket.read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

/// Moves the descriptors to the numbers at which the program expects them.
fn take(task: &ExecTask, descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
    let input = if task.input { next()? } else { File::open("/dev/null")?.into() };
    let output = next()?;
    if task.terminal {
        ioctl_tiocsctty(&output)?;
        dup2_stderr(&output)?;
    } else {
        dup2_stderr(next()?)?;
    }
    dup2_stdin(input)?;
    dup2_stdout(output)?;
    Ok(())
}

/// The user of this name, or else of this number. A number that the system does not know is a user without a name, whose
/// group has the same number.
fn find_user(name: &str) -> io::Result<User> {
    let unknown = || io::Error::other("there is no such user");
    if let Some(user) = User::from_name(name)? {
        return Ok(user);
    }
    let number = name.parse().map_err(|_| unknown())?;
    let known = User::from_uid(nix::unistd::Uid::from_raw(number))?;
    Ok(known.unwrap_or_else(|| User {
        name: number.to_string(),
        passwd: CString::default(),
        uid: nix::unistd::Uid::from_raw(number),
        gid: nix::unistd::Gid::from_raw(number),
        gecos: CString::default(),
        dir: PathBuf::from("/"),
        shell: PathBuf::from("/bin/sh"),
    }))
}

/// The group of this name, or else of this number, which the system need not know.
fn find_group(name: &str) -> io::Result<nix::unistd::Gid> {
    if let Some(group) = Group::from_name(name)? {
        return Ok(group.gid);
    }
    let number = name.parse().map_err(|_| io::Error::other("there is no such group"))?;
    Ok(nix::unistd::Gid::from_raw(number))
}

/// Switches to the user and the group, with all other groups of the user. If the process already has both, no privilege
/// is needed.
fn switch_user(user: &User, group: nix::unistd::Gid) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid.as_raw()), Gid::from_raw(group.as_raw()));
    if geteuid() == uid && getegid() == gid {
        return Ok(());
    }
    // The standard streams must belong to the user, so that the program can open them again, as /dev/stdout or by the
    // name of its terminal. A stream that rtlogd itself was given belongs to somebody else.
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if is_own_pipe_or_terminal(stream)? {
            rustix::fs::fchown(stream, Some(uid), None)?;
        }
    }
    initgroups(&CString::new(user.name.as_str())?, group)?;
    setgid(group)?;
    setuid(user.uid)?;
    Ok(())
}

/// Returns whether a standard stream is a pipe or a terminal of the daemon's user: other files, such as `/dev/null`, are
/// not created for the program.
fn is_own_pipe_or_terminal(stream: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = rustix::fs::fstat(stream)?;
    let is_pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    Ok(stat.st_uid == geteuid().as_raw() && (is_pipe || rustix::termios::isatty(stream)))
}

/// Switches to the group, without other groups. If the process already has that group, no privilege is needed.
fn switch_group(group: nix::unistd::Gid) -> io::Result<()> {
    if getegid().as_raw() == group.as_raw() {
        return Ok(());
    }
    nix::unistd::setgroups(&[group])?;
    setgid(group)?;
    Ok(())
}

/// Gives the signals that the daemon's parent ignored, such as QUIT for a program in the background of a script, their
/// default meaning: a signal that has a handler gets it when the program is executed (execve(2)). No signal is blocked then.
/// PIPE is restored by [`Command::exec`].
fn restore_default_signals() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    for signal in (1..=64).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            continue;
        }
        match signal_hook::flag::register(signal, Arc::default()) {
            // The C library keeps a few real-time signals for itself.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            registered => drop(registered?),
        }
    }
    Ok(())
}

fn die_with_parent(task: &ExecTask) -> io::Result<()> {
    let signal = Signal::from_named_raw(task.parent_death_signal).unwrap_or(Signal::TERM);
    set_parent_process_death_signal(Some(signal))?;
    // If the parent died just before, no signal comes.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) == Some(task.parent) {
        Ok(())
    } else {
        Err(io::Error::other("the daemon has ended"))
    }
}

/// Executes the program.
fn execute(task: &ExecTask, user: Option<&User>) -> io::Error {
    let Some((program, arguments)) = task.argv.split_first() else { return io::ErrorKind::InvalidInput.into() };
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_daemon_variable(name)) {
        command.env_remove(name);
    }
    if let Some(user) = user {
        for name in USER_SESSION_VARIABLES {
            command.env_remove(name);
        }
        // The same variables as a login sets (login(1)); those of the configuration follow and override them.
        command.env("HOME", &user.dir).env("SHELL", &user.shell);
        command.env("USER", &user.name).env("LOGNAME", &user.name);
    }
    command.envs(&task.environment);
    // `exec` restores the default signal handling; otherwise the program would inherit the ignored SIGPIPE of Rust
    // programs.
    command.exec()
}

#[cfg(test)]
mod tests {
    /// The command that a test runs instead of `rtlogd __child`, which the test binary does not have.
    #[test]
    fn is_the_child_of_another_test() {
        match std::env::var(super::super::spawn::TEST_CHILD_VARIABLE).as_deref() {
            Ok("__child") => drop(super::become_child()),
            Ok("__shim") => drop(super::super::shim::become_shim()),
            _ => {}
        }
    }
}
