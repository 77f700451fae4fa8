//! Descriptors that this process was started with, and that are nobody's here: an open file, pipe or lock of whoever started
//! rtlogd. What keeps one open keeps its pipe from ending, its lock from being released, and hands it on.

use std::fs;
use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::unistd::close;

/// Closes all descriptors but standard input, output and error, and those of `keep`. For a process with one thread, which owns
/// no other descriptor.
///
/// # Errors
/// If the system does not tell which there are (`/proc/self/fd`).
pub(crate) fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())))
        .filter_map(io::Result::transpose)
        .collect::<io::Result<_>>()?;
    for descriptor in open.into_iter().filter(|number| *number > 2 && !keep.contains(number)) {
        match close(descriptor) {
            // The list itself was read through one, which is closed by now.
            Ok(()) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
