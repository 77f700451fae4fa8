//! Ends the runs that no daemon wants.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use log::{info, warn};
use nix::unistd::{self, Gid, Uid};
use rustix::fs::{Mode, OFlags};
use tokio::time::Instant;

use super::protocol::{self, DaemonMessage};
use super::{SHIM_DIRECTORY, attach::connect_to, socket_path, stream_of};

/// The longest time for which [`sweep`] waits, in addition to which systemd has a limit of its own.
const MAX_SWEEP_TIME: Duration = Duration::from_mins(1);

/// The interval at which it looks for shims that are left.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// The name of an entry if it is the socket of a shim. Nothing else in the directory is touched.
fn socket_name(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok()?;
    (entry.file_type().is_ok_and(|kind| kind.is_socket()) && stream_of(&name).is_some()).then_some(name)
}

/// Asks the shims in a directory whose sockets have `unwanted` names to end their programs, and removes the sockets of
/// those that are gone. Returns the number of shims that were asked. Blocks.
///
/// # Errors
/// If the directory exists and cannot be read.
fn end_shims(directory: &Path, unwanted: impl Fn(&str) -> bool) -> io::Result<usize> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut asked = 0;
    for entry in entries {
        let entry = entry?;
        let Some(name) = socket_name(&entry).filter(|name| unwanted(name)) else { continue };
        let sent = connect_to(directory, &name).and_then(|shim| protocol::send(shim, &DaemonMessage::End {}, &[]));
        match sent {
            Ok(()) => asked += 1,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Another process may have removed it at the same time.
                fs::remove_file(entry.path()).unwrap_or_default();
            }
            Err(error) => {
                warn!(socket = name.as_str(), errno = error.raw_os_error(), error:% = error; "cannot reach the shim of an earlier run");
            }
        }
    }
    Ok(asked)
}

/// Ends the runs of streams that are not among `wanted`: they were removed from the configuration while no daemon ran.
/// Blocks.
///
/// # Errors
/// If the directory of the shims exists and cannot be read.
pub(crate) fn end_unclaimed<'a>(state_directory: &Path, wanted: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let wanted: HashSet<&str> = wanted.into_iter().collect();
    let is_wanted = |name: &str| stream_of(name).is_some_and(|stream| wanted.contains(stream));
    let ended = end_shims(&state_directory.join(SHIM_DIRECTORY), |name| !is_wanted(name))?;
    if ended > 0 {
        info!(runs = ended; "ending processes of streams that were removed from the configuration");
    }
    Ok(())
}

/// Asks the runs of a stream to end, except the one with this socket: a daemon that was killed at once had not recorded
/// them. Returns the number of runs that had not ended. Blocks.
pub(in crate::source::process) fn end_unrecorded(directory: &Path, stream: &str, kept: Option<&str>) -> usize {
    end_shims(directory, |name| stream_of(name) == Some(stream) && Some(name) != kept).unwrap_or_else(|error| {
        warn!(stream, errno = error.raw_os_error(), error:% = error; "cannot look for runs that were not recorded");
        0
    })
}

/// Ends all runs of the daemon with this state directory, and waits until they have ended: nothing may be left when the
/// service is stopped. Gives up the rights of root for those of the owner of the sockets. Blocks.
///
/// # Errors
/// If the directory of the shims exists and cannot be read, or the rights of root cannot be given up.
pub(crate) fn sweep(state_directory: &Path) -> io::Result<()> {
    // The directory is opened once, so that whoever may rename what the path names cannot lead to another one.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(state_directory.join(SHIM_DIRECTORY), flags, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(error) if error == rustix::io::Errno::NOENT => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    become_owner(&opened)?;
    let directory = socket_path(&opened.as_fd(), "");
    let until = Instant::now() + MAX_SWEEP_TIME;
    let asked = end_shims(&directory, |_| true)?;
    if asked > 0 {
        info!(runs = asked; "ending processes that an earlier rtlogd left running");
    }
    let is_left =
        || -> io::Result<bool> { Ok(fs::read_dir(&directory)?.flatten().any(|entry| socket_name(&entry).is_some())) };
    while is_left()? && Instant::now() < until {
        std::thread::park_timeout(SWEEP_INTERVAL);
    }
    Ok(())
}

/// Gives up the rights of root for those of the owner of a directory, so that nothing in it leads to files of root. There is
/// no way back, and none is needed.
fn become_owner(directory: &File) -> io::Result<()> {
    let owner = directory.metadata()?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    if Uid::effective().is_root() && !user.is_root() {
        unistd::setgroups(&[group])?;
        unistd::setgid(group)?;
        unistd::setuid(user)?;
    }
    Ok(())
}
