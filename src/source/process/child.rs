//! `rtlogd __child`: the way from us to the program that is to run. A fresh process, with one thread, that has all that is
//! to be different made so, step by step, and then becomes the program.
//!
//! What to do comes over the socket that is its standard input, together with the descriptors the program is to have.
//! The socket goes with the exec, so its end says that the program runs; before it, a [`ExecFailure`] says which step failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nix::unistd::{User, initgroups, setgid, setuid};
use rustix::fs::{Gid, Uid};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, getegid, geteuid, getppid, ioctl_tiocsctty, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use crate::source::process::descriptors::{close_other_descriptors, set_open_file_limit};

/// Exit code of the child where nothing was executed. It is told nowhere: the [`ExecFailure`] is.
const EXIT_NOT_EXECUTED: u8 = 126;

/// Most descriptors that come: standard input, output and error.
pub(super) const MAX_PASSED_DESCRIPTORS: usize = 3;

/// Variables that are about the daemon and not about the program: with them it would speak to a service manager in the
/// daemon's name, find directories, sockets and credentials of the daemon's, or take another terminal's size for its own.
/// All that a service manager sets for a unit (systemd.exec(5), "Environment Variables Set or Propagated by the Service
/// Manager", up to systemd 258), but for those that are about the user: `PATH`, `LANG`, `HOME` and their like.
const DAEMON_VARIABLES: [&str; 23] = [
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
];

/// How the names of further such variables begin; `RTLOGD_TOKEN` is one of them. What a program is to have of `RTLOGD_`, it
/// gets after these are removed.
const DAEMON_VARIABLE_PREFIXES: [&str; 7] =
    ["RTLOGD_", "LISTEN_", "WATCHDOG_", "SYSTEMD_", "MEMORY_PRESSURE_", "MONITOR_", "TRIGGER_"];

/// Variables that are about the session of the daemon's user, and not for a program that runs as another.
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

/// What the child is to become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExecTask {
    pub(super) argv: Vec<OsString>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) user: Option<String>,
    /// A session and a group of its own.
    pub(super) session: bool,
    /// Its standard output is a terminal, and is to be the terminal of its session.
    pub(super) terminal: bool,
    /// The first descriptor is its standard input; without, it has an empty one.
    pub(super) input: bool,
    /// The soft limit on open files, if the daemon has another.
    pub(super) open_files: Option<u64>,
    /// Who starts it: it is not to live longer.
    pub(super) parent: i32,
    /// The signal that it gets when its parent dies.
    pub(super) parent_death_signal: i32,
}

/// The steps, as far as they can fail for reasons that people can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ExecStep {
    /// To take what it was given, to begin a session, to have a terminal.
    Prepare,
    /// To become the user.
    User,
    /// To go to the directory.
    Directory,
    /// To become the program.
    Execute,
}

/// Why nothing was executed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ExecFailure {
    pub(super) step: ExecStep,
    /// The system's error number, if it had one.
    pub(super) errno: Option<i32>,
    pub(super) error: String,
}

impl ExecFailure {
    fn new(step: ExecStep, error: &io::Error) -> Self {
        Self { step, errno: error.raw_os_error(), error: error.to_string() }
    }
}

/// Becomes the program; comes back only if that cannot be.
pub(crate) fn become_child() -> ExitCode {
    let Ok(mut socket) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map(UnixStream::from) else {
        return ExitCode::from(EXIT_NOT_EXECUTED);
    };
    let Err(failure) = prepare(&mut socket);
    let report = serde_json::to_vec(&failure).unwrap_or_default();
    // If who started us is gone, there is nobody to tell.
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
    // Before users are looked up, for which a library may open more.
    close_other_descriptors(&[socket.as_raw_fd()]).map_err(at(ExecStep::Prepare))?;
    let user = task.user.as_deref().map(find_user).transpose().map_err(at(ExecStep::User))?;
    if let Some(user) = &user {
        switch_user(user, task.terminal).map_err(at(ExecStep::User))?;
    }
    // To become another user takes this back, so it comes after.
    die_with_parent(&task).map_err(at(ExecStep::Prepare))?;
    if let Some(directory) = &task.directory {
        std::env::set_current_dir(directory).map_err(at(ExecStep::Directory))?;
    }
    Err(ExecFailure::new(ExecStep::Execute, &execute(&task, user.as_ref())))
}

/// Reads all that there is until the other side has said everything.
fn receive(socket: &mut UnixStream) -> io::Result<(ExecTask, Vec<OwnedFd>)> {
    let mut text = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PASSED_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // The descriptors come with the first byte (unix(7)).
    let came = recvmsg(&*socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    text.truncate(came.bytes);
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    socket.read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, descriptors))
}

/// Puts the descriptors where the program looks for them.
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

fn find_user(name: &str) -> io::Result<User> {
    User::from_name(name)?.ok_or_else(|| io::Error::other("there is no such user"))
}

/// Becomes the user, with all groups that the user is in. Whoever is it already needs no right for it.
fn switch_user(user: &User, terminal: bool) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid.as_raw()), Gid::from_raw(user.gid.as_raw()));
    if geteuid() == uid && getegid() == gid {
        return Ok(());
    }
    if terminal {
        // So that it can be opened again by its name.
        rustix::fs::fchown(io::stdout(), Some(uid), None)?;
    }
    initgroups(&CString::new(user.name.as_str())?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

fn die_with_parent(task: &ExecTask) -> io::Result<()> {
    let signal = Signal::from_named_raw(task.parent_death_signal).unwrap_or(Signal::TERM);
    set_parent_process_death_signal(Some(signal))?;
    // Should the parent have died just before, no signal comes.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) == Some(task.parent) {
        Ok(())
    } else {
        Err(io::Error::other("the daemon is gone"))
    }
}

/// Becomes the program.
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
        // As a login would set them (login(1)); what the configuration says comes after.
        command.env("HOME", &user.dir).env("SHELL", &user.shell);
        command.env("USER", &user.name).env("LOGNAME", &user.name);
    }
    command.envs(&task.environment);
    // It sets the signals back to what programs expect: what Rust ignores for itself (SIGPIPE) would be inherited.
    command.exec()
}

#[cfg(test)]
mod tests {
    /// What a test's child runs instead of `rtlogd __child`: the program that has the tests has no such command.
    #[test]
    fn is_the_child_of_another_test() {
        if std::env::var_os(super::super::spawn::TEST_CHILD_VARIABLE).is_some() {
            super::become_child();
        }
    }
}
