//! Opens the files and directories that a stream follows. Every open in this folder goes through here.
//!
//! # Theory of operation
//! Somebody who may write to a followed directory chooses what its names lead to, and could use a symlink to reach any
//! file that the daemon may read. A symlink is therefore followed only if
//! - its owner is root or the daemon's user, or
//! - nobody but these two may write to the directory that contains it, or to one above that, or
//! - its owner also owns its target, or
//! - the stream says `follow_symlinks: true`.
//!
//! The rule applies to each component of a path, and to each component of a symlink's target. It extends the protection
//! of `fs.protected_symlinks`, which covers directories such as /tmp, to all directories that others may write to.
//!
//! ```text
//! path ──▶ openat2(RESOLVE_NO_SYMLINKS) ──opened──────────────▶ Protected::check ──▶ file
//!                    └──there is a symlink──▶ walk, part by part ──▶┘
//! ```
//! Most paths contain no symlink, and are opened by one system call that fails if there is one. Any other path is
//! walked with a descriptor for each component, so that the file that is opened is the one that was checked, whatever
//! is renamed meanwhile. Checking the path before opening it would leave a moment in which a symlink could be put
//! there.
//!
//! A symlink that may not be followed is refused whether or not its target exists, so that a refusal reveals nothing
//! about files that its owner cannot see.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::unistd::{Uid, User};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::event::lock;

use super::denied::OpenDenied;
use super::protected::ProtectedFiles;
use super::trusted_owner::TrustedOwner;

/// The maximum number of symlinks on the way to a file, the same as in the kernel (`path_resolution(7)`).
const MAX_SYMLINKS_FOLLOWED: u32 = 40;

/// The maximum number of user names that are cached for error messages.
const MAX_CACHED_USER_NAMES: usize = 256;

const READ_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens files for one stream. Clones share the list of the daemon's own files.
#[derive(Debug, Clone)]
pub(crate) struct FileOpener {
    follow_symlinks: bool,
    own: TrustedOwner,
    protected: ProtectedFiles,
    /// User names by uid.
    user_names: Arc<Mutex<BTreeMap<u32, String>>>,
}

impl Default for FileOpener {
    /// Follows only trusted symlinks, as the user of this process.
    fn default() -> Self {
        Self {
            follow_symlinks: false,
            own: TrustedOwner::of_process(),
            protected: ProtectedFiles::default(),
            user_names: Arc::default(),
        }
    }
}

impl FileOpener {
    /// The same opener for a stream whose configuration sets `follow_symlinks` to this value.
    pub(crate) fn with_follow_symlinks(self, follow_symlinks: bool) -> Self {
        Self { follow_symlinks, ..self }
    }

    /// The daemon's own files, which are never opened.
    pub(super) fn protected(&self) -> &ProtectedFiles {
        &self.protected
    }

    /// Opens the file that `path` names for reading. Does not wait for the writer of a FIFO.
    ///
    /// # Errors
    /// The error of the system, or [`OpenDenied`].
    pub(crate) fn open(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let (opened, walked) = match self.reach(CWD, path, READ_FLAGS) {
            Ok(opened) => (opened, false),
            Err(error) if needs_walk(error) => (self.walk(path)?.reopen(READ_FLAGS)?, true),
            Err(error) => return Err(error.into()),
        };
        let file = File::from(opened.fd);
        let metadata = file.metadata()?;
        self.protected.check(&metadata, opened.parent.as_ref(), walked)?;
        Ok((file, metadata))
    }

    /// The metadata of what `path` names, without opening it: the same as [`fs::metadata`](std::fs::metadata), with the
    /// rule of [`open`](Self::open) for symlinks.
    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = match open_without_symlinks(CWD, path, PATH_FLAGS) {
            Err(error) if needs_walk(error) => self.walk(path)?.fd,
            found => found?,
        };
        File::from(found).metadata()
    }

    /// Opens the directory that `path` names, to list it.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let directory = match open_without_symlinks(CWD, path, DIRECTORY_FLAGS) {
            Err(error) if needs_walk(error) => self.walk(path)?.reopen(DIRECTORY_FLAGS)?.fd,
            directory => directory?,
        };
        self.protected.check_directory(&directory)?;
        Ok(directory)
    }

    /// Opens a path without symlinks, relative to `from`. If there are files to protect, the directory is opened first
    /// and stays open, since its location shows whether the file is one of them.
    fn reach(&self, from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OpenedPath, Errno> {
        let parts = path.parent().zip(path.file_name()).filter(|_| !self.protected.is_empty());
        let Some((directory, name)) = parts else {
            return Ok(OpenedPath { fd: open_without_symlinks(from, path, flags)?, parent: None });
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let parent = open_without_symlinks(from, directory, PATH_FLAGS | OFlags::DIRECTORY)?;
        Ok(OpenedPath { fd: open_without_symlinks(parent.as_fd(), Path::new(name), flags)?, parent: Some(parent) })
    }

    /// Opens `path` component by component.
    fn walk(&self, path: &Path) -> io::Result<OpenedPath> {
        let start = if path.is_absolute() { Path::new("/") } else { Path::new(".") };
        let from = rustix::fs::open(start, PATH_FLAGS | OFlags::DIRECTORY, Mode::empty())?;
        let mut walk = PathWalk { opener: self, left: MAX_SYMLINKS_FOLLOWED, via_untrusted_link: false };
        Ok(walk.parts(WalkedPath { opened: OpenedPath { fd: from, parent: None }, path: PathBuf::new() }, path)?.opened)
    }

    fn user(&self, uid: u32) -> String {
        let mut users = lock(&self.user_names);
        if users.len() >= MAX_CACHED_USER_NAMES {
            users.clear();
        }
        let name = || match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => format!("{} (uid {uid})", user.name),
            Ok(None) | Err(_) => format!("uid {uid}"),
        };
        users.entry(uid).or_insert_with(name).clone()
    }
}

/// Opens a path without following any symlink.
fn open_without_symlinks(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(from, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// Returns whether the path contains a symlink, or openat2 is not available: before Linux 5.6, or because the system
/// call filter of a container does not know it.
fn needs_walk(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::NOSYS | Errno::PERM)
}

/// An opened path.
#[derive(Debug)]
struct OpenedPath {
    fd: OwnedFd,
    /// The directory that contains it, if it is known.
    parent: Option<OwnedFd>,
}

impl OpenedPath {
    /// Opens the same file again by its descriptor, for reading. Devices are left alone, since opening one may have
    /// effects.
    fn reopen(self, flags: OFlags) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&self.fd)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Directory) {
            return Err(io::Error::other("it is neither a file nor a fifo"));
        }
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { fd, parent: self.parent })
    }
}

/// The part of a path that was walked so far, and the path that error messages show.
struct WalkedPath {
    opened: OpenedPath,
    path: PathBuf,
}

/// The walk along a path.
struct PathWalk<'a> {
    opener: &'a FileOpener,
    /// The number of symlinks that may still be followed.
    left: u32,
    /// A symlink was followed that only `follow_symlinks: true` allows, or that will be judged by its target.
    via_untrusted_link: bool,
}

impl PathWalk<'_> {
    fn parts(&mut self, from: WalkedPath, path: &Path) -> io::Result<WalkedPath> {
        let mut here = from;
        for part in path.components() {
            here = match part {
                Component::RootDir => {
                    let fd = rustix::fs::open("/", PATH_FLAGS | OFlags::DIRECTORY, Mode::empty())?;
                    WalkedPath { opened: OpenedPath { fd, parent: None }, path: PathBuf::from("/") }
                }
                Component::ParentDir => {
                    let fd = rustix::fs::openat(&here.opened.fd, "..", PATH_FLAGS | OFlags::DIRECTORY, Mode::empty())?;
                    WalkedPath { opened: OpenedPath { fd, parent: None }, path: here.path.join("..") }
                }
                Component::Normal(name) => self.part(here, name)?,
                Component::CurDir | Component::Prefix(_) => here,
            };
        }
        Ok(here)
    }

    fn part(&mut self, from: WalkedPath, name: &OsStr) -> io::Result<WalkedPath> {
        let (directory, path) = (from.opened.fd, from.path.join(name));
        let fd = rustix::fs::openat(&directory, name, PATH_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(WalkedPath { opened: OpenedPath { fd, parent: Some(directory) }, path });
        }
        self.left = self.left.checked_sub(1).ok_or(Errno::LOOP)?;
        let own = &self.opener.own;
        let trusted = own.trusts(stat.st_uid) || !own.is_exposed(&directory);
        self.via_untrusted_link |= !trusted;
        let target =
            self.target(&fd, WalkedPath { opened: OpenedPath { fd: directory, parent: None }, path: from.path }, name);
        if trusted || self.opener.follow_symlinks {
            return target;
        }
        let is_owners =
            |target: &WalkedPath| rustix::fs::fstat(&target.opened.fd).is_ok_and(|target| target.st_uid == stat.st_uid);
        let owner = || self.opener.user(stat.st_uid);
        target.ok().filter(is_owners).ok_or_else(|| OpenDenied::Symlink { link: path, owner: owner() }.into())
    }

    /// Opens the target of a symlink that is called `name` in the directory `from`.
    fn target(&mut self, link: &OwnedFd, from: WalkedPath, name: &OsStr) -> io::Result<WalkedPath> {
        // The descriptors of a process are symlinks whose text is not a path (proc_pid_fd(5)); /dev/stdin is one.
        // Another user must not be able to choose among those of the daemon.
        if !self.via_untrusted_link && is_procfs(&from.opened.fd) {
            let fd = rustix::fs::openat(&from.opened.fd, name, PATH_FLAGS, Mode::empty())?;
            return Ok(WalkedPath { opened: OpenedPath { fd, parent: None }, path: from.path.join(name) });
        }
        let text = rustix::fs::readlinkat(link, "", Vec::new())?;
        let text = Path::new(OsStr::from_bytes(text.as_bytes()));
        match self.opener.reach(from.opened.fd.as_fd(), text, PATH_FLAGS) {
            Ok(opened) => Ok(WalkedPath { opened, path: from.path.join(text) }),
            Err(error) if needs_walk(error) => self.parts(from, text),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_procfs(directory: &OwnedFd) -> bool {
    const PROC_SUPER_MAGIC: i128 = 0x9fa0;
    rustix::fs::fstatfs(directory).is_ok_and(|system| i128::from(system.f_type) == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::is_root_or_skip;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    const TEST_ROOT_UID: u32 = 0;
    const TEST_DAEMON_UID: u32 = 1;
    const TEST_OTHER_UID: u32 = 2;
    const TEST_STRANGER_UID: u32 = 65534;

    /// An opener of a daemon that runs as [`TEST_DAEMON_UID`].
    fn opener() -> FileOpener {
        FileOpener { own: TrustedOwner::new(TEST_DAEMON_UID, Some(TEST_DAEMON_UID)), ..FileOpener::default() }
    }

    fn make(directory: &Path, path: &str, text: &str, owner: u32) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        lchown(path, Some(owner), Some(owner)).unwrap();
    }

    fn link(directory: &Path, path: &str, to: &str, owner: u32) {
        let path = directory.join(path);
        symlink(to.replace('$', directory.to_str().unwrap()), &path).unwrap();
        lchown(path, Some(owner), Some(owner)).unwrap();
    }

    /// The result of opening a path, the same for each way to open it.
    fn outcome(opener: &FileOpener, path: &Path) -> &'static str {
        let word = |error: Option<io::Error>| match error {
            None => "ok",
            Some(error) if OpenDenied::of(&error).is_some() => "denied",
            Some(error) if error.kind() == io::ErrorKind::NotFound => "missing",
            Some(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => "loop",
            Some(error) => panic!("{}: {error}", path.display()),
        };
        let ways = [
            opener.open(path).err(),
            opener.metadata(path).err(),
            opener.walk(path).and_then(|it| it.reopen(READ_FLAGS)).err(),
        ];
        let [open, metadata, walk] = ways.map(word);
        assert_eq!((open, open), (metadata, walk), "{}", path.display());
        open
    }

    #[test]
    fn a_symlink_is_followed_for_whom_it_cannot_show_more_than_it_may() {
        if !is_root_or_skip("give files to other users") {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let at = temporary.path();
        for (name, owner) in [
            ("root", TEST_ROOT_UID),
            ("daemon", TEST_DAEMON_UID),
            ("other", TEST_OTHER_UID),
            ("stranger", TEST_STRANGER_UID),
        ] {
            make(at, &format!("{name}.log"), name, owner);
            make(at, &format!("of_{name}/x.log"), name, TEST_ROOT_UID);
            lchown(at.join(format!("of_{name}")), Some(owner), None).unwrap();
        }
        // The owner of the symlink, its target, and the result.
        let table = [
            (TEST_ROOT_UID, "root.log", "ok"),
            (TEST_ROOT_UID, "other.log", "ok"),
            (TEST_DAEMON_UID, "root.log", "ok"),
            (TEST_DAEMON_UID, "other.log", "ok"),
            (TEST_STRANGER_UID, "stranger.log", "ok"),
            (TEST_STRANGER_UID, "root.log", "denied"),
            (TEST_STRANGER_UID, "daemon.log", "denied"),
            (TEST_STRANGER_UID, "other.log", "denied"),
            (TEST_OTHER_UID, "stranger.log", "denied"),
            (TEST_STRANGER_UID, "$/root.log", "denied"),
            (TEST_STRANGER_UID, "of_other/../daemon.log", "denied"),
            // A link to a link is judged by its final target, and so is each link on the way.
            (TEST_STRANGER_UID, "by_root", "ok"),
            (TEST_STRANGER_UID, "by_root_to_root", "denied"),
            (TEST_ROOT_UID, "by_stranger_to_root", "denied"),
            (TEST_ROOT_UID, "by_stranger", "ok"),
            // A refusal does not reveal whether the target exists.
            (TEST_ROOT_UID, "nowhere", "missing"),
            (TEST_STRANGER_UID, "nowhere", "denied"),
            (TEST_STRANGER_UID, "root.log/nowhere", "denied"),
            (TEST_ROOT_UID, "itself", "loop"),
            (TEST_STRANGER_UID, "itself", "denied"),
        ];
        link(at, "by_root", "stranger.log", TEST_ROOT_UID);
        link(at, "by_root_to_root", "root.log", TEST_ROOT_UID);
        link(at, "by_stranger_to_root", "$/root.log", TEST_STRANGER_UID);
        link(at, "by_stranger", "stranger.log", TEST_STRANGER_UID);
        link(at, "itself", "itself", TEST_ROOT_UID);
        for (owner, to, expected) in table {
            link(at, "link", to, owner);
            assert_eq!(outcome(&opener(), &at.join("link")), expected, "{owner} to {to}");
            let all = if expected == "denied" { ["ok", "missing", "loop"] } else { [expected; 3] };
            let trusting = match opener().with_follow_symlinks(true).open(&at.join("link")) {
                Ok(_) => "ok",
                Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => "loop",
                Err(_) => "missing",
            };
            assert!(all.contains(&trusting), "{owner} to {to} with follow_symlinks: {trusting}");
            fs::remove_file(at.join("link")).unwrap();
        }
        // A symlink to a directory on the way.
        for (owner, to, expected) in [
            (TEST_ROOT_UID, "of_other", "ok"),
            (TEST_DAEMON_UID, "$/of_other", "ok"),
            (TEST_STRANGER_UID, "of_stranger", "ok"),
            (TEST_STRANGER_UID, "of_root", "denied"),
            (TEST_STRANGER_UID, "$/of_daemon", "denied"),
            (TEST_STRANGER_UID, "of_stranger/../of_daemon", "denied"),
        ] {
            link(at, "d", to, owner);
            for path in ["d/x.log", "of_root/../d/x.log", "d/../d/x.log"] {
                assert_eq!(outcome(&opener(), &at.join(path)), expected, "{owner} to {to}: {path}");
            }
            assert_eq!(opener().directory(&at.join("d")).is_ok(), expected == "ok", "{owner} to {to}");
            fs::remove_file(at.join("d")).unwrap();
        }
    }

    #[test]
    fn a_refusal_names_the_symlink_and_its_owner() {
        if !is_root_or_skip("give files to other users") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), "secret", "secret", TEST_ROOT_UID);
        fs::create_dir(directory.path().join("a")).unwrap();
        link(directory.path(), "a/b", "..", TEST_STRANGER_UID);
        link(directory.path(), "c", "a/b/secret", TEST_ROOT_UID);
        let error = opener().open(&directory.path().join("c")).unwrap_err().to_string();
        let named = format!(
            "the symlink {}/a/b belongs to nobody (uid 65534), who does not own its target",
            directory.path().display()
        );
        assert!(error.starts_with(&named) && error.contains("chown -h root"), "{error}");
    }

    #[test]
    fn where_strangers_may_not_write_every_symlink_is_followed() {
        if !is_root_or_skip("give files to other users") {
            return;
        }
        let temporary = tempfile::tempdir_in("/run").unwrap();
        make(temporary.path(), "log", "text", TEST_ROOT_UID);
        fs::create_dir(temporary.path().join("d")).unwrap();
        link(temporary.path(), "d/link", "../log", TEST_STRANGER_UID);
        let path = temporary.path().join("d/link");
        // The modes and owners of the directory and of the one above.
        let mut acl = 2u32.to_le_bytes().to_vec();
        for (tag, right, user) in [(1u16, 7u16, -1), (2, 7, 65534), (4, 5, -1), (16, 7, -1), (32, 5, -1i32)] {
            acl.extend([&tag.to_le_bytes()[..], &right.to_le_bytes(), &user.to_le_bytes()].concat());
        }
        for (above, mode, owner, group, expected) in [
            (0o755, 0o755, TEST_ROOT_UID, TEST_ROOT_UID, "ok"),
            (0o700, 0o700, TEST_DAEMON_UID, TEST_OTHER_UID, "ok"),
            (0o755, 0o775, TEST_ROOT_UID, TEST_ROOT_UID, "ok"),
            (0o755, 0o775, TEST_DAEMON_UID, TEST_DAEMON_UID, "ok"),
            (0o755, 0o775, TEST_ROOT_UID, TEST_OTHER_UID, "denied"),
            (0o755, 0o757, TEST_ROOT_UID, TEST_ROOT_UID, "denied"),
            (0o755, 0o1777, TEST_ROOT_UID, TEST_ROOT_UID, "denied"),
            (0o777, 0o755, TEST_ROOT_UID, TEST_ROOT_UID, "denied"),
            (0o755, 0o755, TEST_OTHER_UID, TEST_ROOT_UID, "denied"),
            (0o755, 0o555, TEST_STRANGER_UID, TEST_ROOT_UID, "denied"),
        ] {
            fs::set_permissions(temporary.path(), fs::Permissions::from_mode(above)).unwrap();
            fs::set_permissions(temporary.path().join("d"), fs::Permissions::from_mode(mode)).unwrap();
            lchown(temporary.path().join("d"), Some(owner), Some(group)).unwrap();
            assert_eq!(outcome(&opener(), &path), expected, "{above:o} {mode:o} {owner} {group}");
        }
        fs::set_permissions(temporary.path().join("d"), fs::Permissions::from_mode(0o755)).unwrap();
        lchown(temporary.path().join("d"), Some(TEST_ROOT_UID), Some(TEST_ROOT_UID)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(temporary.path().join("d"), "system.posix_acl_access", &acl, flags).unwrap();
        assert_eq!(outcome(&opener(), &path), "denied", "a list gives a stranger the right");
    }

    #[test]
    fn as_many_symlinks_are_followed_as_the_system_follows() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("0"), "").unwrap();
        for n in 1..=MAX_SYMLINKS_FOLLOWED + 1 {
            symlink((n - 1).to_string(), directory.path().join(n.to_string())).unwrap();
        }
        let opener = FileOpener::default();
        let last = directory.path().join(MAX_SYMLINKS_FOLLOWED.to_string());
        assert!(opener.open(&last).is_ok() && File::open(&last).is_ok());
        let further = directory.path().join((MAX_SYMLINKS_FOLLOWED + 1).to_string());
        for error in [opener.open(&further).unwrap_err(), File::open(&further).unwrap_err()] {
            assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        }
    }

    /// Swaps two names as fast as it can, until it is dropped.
    struct SymlinkSwapper(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

    impl SymlinkSwapper {
        fn new(one: PathBuf, other: PathBuf) -> Self {
            let on = Arc::new(AtomicBool::new(true));
            let goes_on = on.clone();
            let swap = move || {
                while goes_on.load(Ordering::Relaxed) {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &one, CWD, &other, flags).unwrap();
                }
            };
            Self(on, Some(std::thread::spawn(swap)))
        }
    }

    impl Drop for SymlinkSwapper {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
            self.1.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn no_moment_is_left_to_put_a_symlink_in_place_of_what_was_checked() {
        use std::io::Read;
        if !is_root_or_skip("give files to other users") {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let at = temporary.path();
        make(at, "secret/x.log", "secret", TEST_ROOT_UID);
        make(at, "logs/x.log", "open", TEST_STRANGER_UID);
        make(at, "logs/d/x.log", "open", TEST_STRANGER_UID);
        lchown(at.join("logs/d"), Some(TEST_STRANGER_UID), None).unwrap();
        link(at, "logs/link", "../secret/x.log", TEST_STRANGER_UID);
        link(at, "logs/own", "x.log", TEST_STRANGER_UID);
        link(at, "logs/e", "$/secret", TEST_STRANGER_UID);
        // A file and a symlink; a directory and a symlink; a symlink that is followed and one that is not.
        for (one, other, path) in
            [("x.log", "link", "x.log"), ("d", "e", "d/x.log"), ("own", "link", "own"), ("own", "link", "link")]
        {
            let swap = SymlinkSwapper::new(at.join("logs").join(one), at.join("logs").join(other));
            let (mut opened, mut denied) = (0, 0);
            for _ in 0..4000 {
                match opener().open(&at.join("logs").join(path)) {
                    Ok((mut file, _)) => {
                        let mut text = String::new();
                        file.read_to_string(&mut text).unwrap();
                        assert_eq!(text, "open");
                        opened += 1;
                    }
                    Err(error) if OpenDenied::of(&error).is_some() => denied += 1,
                    // The name was found as a symlink and read as a file.
                    Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
                }
                // A directory is also listed by its descriptor.
                if path.contains('/')
                    && let Ok(listed) = opener().directory(&at.join("logs/d"))
                {
                    assert_eq!(rustix::fs::fstat(&listed).unwrap().st_uid, TEST_STRANGER_UID);
                }
            }
            drop(swap);
            assert!(opened > 0 && denied > 0, "{path}: {opened} opened, {denied} denied");
        }
    }

    #[test]
    fn descriptors_of_the_daemon_are_opened_for_the_administrator_alone() {
        if !is_root_or_skip("give files to other users") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), "deleted", "secret", TEST_DAEMON_UID);
        let file = File::open(directory.path().join("deleted")).unwrap();
        fs::remove_file(directory.path().join("deleted")).unwrap();
        let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        link(directory.path(), "by_root", &descriptor, TEST_ROOT_UID);
        link(directory.path(), "by_stranger", &descriptor, TEST_STRANGER_UID);
        assert!(opener().open(Path::new(&descriptor)).is_ok());
        assert!(opener().open(&directory.path().join("by_root")).is_ok());
        for opener in [opener(), opener().with_follow_symlinks(true)] {
            assert!(opener.open(&directory.path().join("by_stranger")).is_err());
        }
    }
}
