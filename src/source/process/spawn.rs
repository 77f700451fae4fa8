//! Starts a program: no shell, its own process group, and pipes for what it writes.

use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::config::ProcessSource;
use crate::source::{Options, SourceError};

/// A program that was started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) pid: Pid,
    /// What it writes to standard output, and to standard error.
    pub(super) ends: [pipe::Receiver; 2],
}

/// Starts it.
///
/// # Errors
/// Names the program, or the directory where that is the reason.
pub(super) fn spawn(spec: &ProcessSource, options: &Options) -> Result<Started, SourceError> {
    let program = spec.argv.first().cloned().unwrap_or_default();
    start(spec, options).map_err(|source| match spec.directory.as_deref().map(|path| (path, usable(path))) {
        Some((path, Err(source))) => SourceError::Directory { program, directory: path.to_owned(), source },
        _ => SourceError::Start { program, source },
    })
}

fn start(spec: &ProcessSource, options: &Options) -> io::Result<Started> {
    let (program, arguments) = spec.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(&spec.environment).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if options.inherit_stdin { Stdio::inherit() } else { Stdio::null() });
    if !options.same_group {
        command.process_group(0);
    }
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn()?;
    let gone = || io::Error::other("it has no process id or no pipes");
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?.into_owned_fd()?;
    let stderr = child.stderr.take().ok_or_else(gone)?.into_owned_fd()?;
    let ends = [pipe::Receiver::from_owned_fd(stdout)?, pipe::Receiver::from_owned_fd(stderr)?];
    Ok(Started { child, pid, ends })
}

/// A missing directory is reported as a missing program: so ask, once it failed.
fn usable(directory: &Path) -> io::Result<()> {
    std::fs::read_dir(directory).map(drop)
}
