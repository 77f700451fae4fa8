//! The user whose symlinks and directories the daemon trusts, and the right of others to change a directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Mode, Stat};
use rustix::io::Errno;

use super::protected::ancestors;

/// The user whom the daemon trusts in addition to root.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrustedOwner {
    user: u32,
    /// The private group of this user.
    group: Option<u32>,
}

impl TrustedOwner {
    #[cfg(test)]
    pub(super) fn new(user: u32, group: Option<u32>) -> Self {
        Self { user, group }
    }

    /// The user of this process.
    pub(super) fn of_process() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self { user, group: Self::private_group(user) }
    }

    /// The effective group, if it has the name of the user and no other members, as distributions create it for each
    /// user.
    fn private_group(user: u32) -> Option<u32> {
        let gid = rustix::process::getegid().as_raw();
        let name = User::from_uid(Uid::from_raw(user)).ok()??.name;
        let group = Group::from_gid(Gid::from_raw(gid)).ok()??;
        (group.name == name && group.mem.iter().all(|member| *member == name)).then_some(gid)
    }

    /// Returns whether the daemon trusts what this user does.
    pub(super) fn trusts(self, user: u32) -> bool {
        user == 0 || user == self.user
    }

    /// Returns whether somebody else may create names in the directory, or put another directory in its position. An
    /// error is treated as yes.
    pub(super) fn is_exposed(self, directory: &OwnedFd) -> bool {
        let mut above = ancestors(directory);
        above
            .any(|above| above.map_or(true, |(path, stat)| self.is_open_to_others(&stat, || has_acl(directory, &path))))
    }

    /// Returns whether somebody else may write to a directory. Its owner can always gain that right. A group is
    /// somebody else, unless it is the group of root or the private group of the user; with an access control list, the
    /// group bits cover everybody whom the list names (acl(5)). In a sticky directory (/tmp) everybody may create
    /// names.
    fn is_open_to_others(self, stat: &Stat, has_acl: impl FnOnce() -> bool) -> bool {
        let mode = Mode::from_raw_mode(stat.st_mode);
        let is_own_group = stat.st_gid == 0 || Some(stat.st_gid) == self.group;
        !self.trusts(stat.st_uid)
            || mode.contains(Mode::WOTH)
            || (mode.contains(Mode::WGRP) && (!is_own_group || has_acl()))
    }
}

/// Returns whether the directory `path`, relative to `from`, has an access control list. An error is treated as yes.
fn has_acl(from: &OwnedFd, path: &Path) -> bool {
    let path = Path::new("/proc/self/fd").join(from.as_raw_fd().to_string()).join(path);
    let mut nothing: [u8; 0] = [];
    let size = rustix::fs::getxattr(&path, "system.posix_acl_access", &mut nothing);
    !matches!(size, Err(Errno::NODATA | Errno::OPNOTSUPP))
}
