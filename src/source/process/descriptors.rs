//! File descriptors of this process: their limit, and those that it was started with.
//!
//! A descriptor that this process was started with is an open file, pipe or lock of the program that started rtlogd. A
//! process that keeps one open keeps the pipe from ending and the lock from being released, and passes it on to its
//! children.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::close;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit on open files that this process was started with, set when the limit is raised.
static INITIAL_OPEN_FILE_LIMIT: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the soft limit on open files to the hard one. That is safe for a program that never uses `select(2)`.
/// Commands may use it, and therefore get the limit that this process was started with.
pub(crate) fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    INITIAL_OPEN_FILE_LIMIT.get_or_init(|| limit.current);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        log::debug!(error:% = error; "cannot raise the limit on open files");
    }
}

/// The soft limit for commands; `None` if it was not changed.
pub(crate) fn open_file_limit_for_commands() -> Option<u64> {
    INITIAL_OPEN_FILE_LIMIT.get().copied().flatten()
}

/// Sets the soft limit on open files, to at most the hard one.
///
/// # Errors
/// If the system refuses it.
pub(crate) fn set_open_file_limit(current: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(current, |maximum| current.min(maximum));
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit })?)
}

/// Closes all descriptors except standard input, output and error, and those in `keep`. For a process with one thread
/// that owns no other descriptor.
///
/// # Errors
/// If the system does not list the descriptors (`/proc/self/fd`).
pub(crate) fn close_other_descriptors(keep: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())))
        .filter_map(io::Result::transpose)
        .collect::<io::Result<_>>()?;
    for descriptor in open.into_iter().filter(|number| *number > 2 && !keep.contains(number)) {
        match close(descriptor) {
            // The descriptor of the listing itself is closed by now.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
