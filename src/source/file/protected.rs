//! The daemon's own files, which no stream may show, whatever leads to them: keys, certificates, histories, the
//! configuration.
//!
//! A file is checked by its descriptors rather than by a path. A file is protected if it is one of the listed files, if
//! the directory in which it was opened is a protected directory or below one, or if it has more than one link and one
//! of them is below a protected directory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tokio::time::Instant;

use crate::event::lock;

use super::denied::OpenDenied;
use super::fingerprint::unix_nanos;

/// The time for which the resolved paths are reused. If a symlink was on the way, they are resolved again.
const RESOLVED_PATHS_LIFETIME: Duration = Duration::from_secs(1);

/// The maximum number of directories that were at protected paths and are remembered, each with an open descriptor.
const MAX_REMEMBERED_DIRECTORIES: usize = 16;

/// The maximum number of directories known to be outside, and of files known to be inside.
const MAX_OUTSIDE_DIRECTORIES: usize = 4 << 10;
const MAX_PROTECTED_FILES: usize = 1 << 20;

/// The maximum depth of histories and keys below their directories.
const MAX_PROTECTED_DEPTH: usize = 8;

/// The maximum number of directories above a file: a path has 4,096 bytes, and each directory takes at least two.
const MAX_ANCESTORS: usize = 2048;

/// The time stamp of a file may be this much too early, in nanoseconds, since the clock of a file system moves in
/// steps.
const FILE_CLOCK_STEP_NANOS: u64 = 10_000_000;

/// Device and inode.
type DeviceInode = (u64, u64);

/// The list of protected files. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProtectedFiles(Arc<Mutex<ProtectedState>>);

/// The lock is never held during a system call, so that a stalled disk stalls only the streams that follow files on it.
#[derive(Debug, Default)]
struct ProtectedState {
    paths: Arc<ProtectedPaths>,
    /// The files that the paths led to, and when they were resolved.
    resolved: Option<(Instant, Arc<ResolvedPaths>)>,
    tree: Option<Arc<ProtectedTree>>,
}

#[derive(Debug, Default)]
struct ProtectedPaths {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// The directories and files that the protected paths lead to.
#[derive(Debug, Default)]
struct ResolvedPaths {
    /// Directories with a descriptor, so that a directory is still recognised after it was renamed.
    directories: BTreeMap<DeviceInode, (PathBuf, Arc<OwnedFd>)>,
    files: HashMap<DeviceInode, PathBuf>,
    /// Directories that are not below any of these.
    outside: Mutex<HashSet<DeviceInode>>,
}

/// All files below the protected directories, from one listing.
#[derive(Debug)]
struct ProtectedTree {
    /// The time when the listing began, in nanoseconds since the Unix epoch.
    began: u64,
    files: HashMap<DeviceInode, PathBuf>,
}

impl ProtectedFiles {
    /// Replaces the protected paths: files, and directories with all files below them. They do not have to exist.
    pub(super) fn set(&self, directories: Vec<PathBuf>, files: Vec<PathBuf>) {
        *lock(&self.0) =
            ProtectedState { paths: Arc::new(ProtectedPaths { directories, files }), resolved: None, tree: None };
    }

    /// Returns whether there is nothing to protect.
    pub(super) fn is_empty(&self) -> bool {
        let paths = &lock(&self.0).paths;
        paths.directories.is_empty() && paths.files.is_empty()
    }

    /// Fails if an opened file is protected. `parent` is the directory in which it was opened. `walked` says that there
    /// were symlinks on the way, which somebody may have pointed at a protected file a moment ago.
    pub(super) fn check(&self, file: &Metadata, parent: Option<&OwnedFd>, walked: bool) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let resolved = self.resolved(walked);
        let inode = (file.dev(), file.ino());
        if let Some(path) = resolved.files.get(&inode) {
            return Err(OpenDenied::OwnFile(path.clone()).into());
        }
        let since = match parent {
            Some(parent) => {
                resolved.check_below(parent)?;
                // The last link was made or removed at this time or earlier.
                (file.nlink() > 1).then(|| nanos_of(file.ctime(), file.ctime_nsec()))
            }
            None => Some(unix_nanos(SystemTime::now())),
        };
        let inside = since.map(|since| self.tree(&resolved, since));
        match inside.and_then(|inside| inside.files.get(&inode).cloned()) {
            Some(path) => Err(OpenDenied::OwnFile(path).into()),
            None => Ok(()),
        }
    }

    /// Fails if an opened directory is protected, or below a protected one.
    pub(super) fn check_directory(&self, directory: &OwnedFd) -> io::Result<()> {
        if self.is_empty() { Ok(()) } else { self.resolved(false).check_below(directory) }
    }

    fn resolved(&self, refresh: bool) -> Arc<ResolvedPaths> {
        let state = lock(&self.0);
        let (paths, before) = (state.paths.clone(), state.resolved.clone());
        drop(state);
        if let Some((at, resolved)) = &before
            && !refresh
            && at.elapsed() < RESOLVED_PATHS_LIFETIME
        {
            return resolved.clone();
        }
        let now = Instant::now();
        let resolved = Arc::new(ResolvedPaths::of(&paths, before.map(|(_, resolved)| resolved).as_deref()));
        let mut state = lock(&self.0);
        if Arc::ptr_eq(&state.paths, &paths) {
            state.resolved = Some((now, resolved.clone()));
        }
        resolved
    }

    /// All files below the protected directories, listed after `since`.
    fn tree(&self, resolved: &ResolvedPaths, since: u64) -> Arc<ProtectedTree> {
        let listed = lock(&self.0).tree.clone();
        if let Some(listed) = listed.filter(|listed| listed.began > since.saturating_add(FILE_CLOCK_STEP_NANOS)) {
            return listed;
        }
        let listed = Arc::new(ProtectedTree::of(resolved));
        lock(&self.0).tree = Some(listed.clone());
        listed
    }
}

impl ResolvedPaths {
    fn of(paths: &ProtectedPaths, before: Option<&Self>) -> Self {
        let mut resolved = Self::default();
        for path in &paths.directories {
            let open = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            let found = open.and_then(|directory| Ok((device_inode(&rustix::fs::fstat(&directory)?), directory)));
            if let Ok((inode, directory)) = found {
                resolved.directories.insert(inode, (path.clone(), Arc::new(directory)));
            }
        }
        for (inode, (path, directory)) in before.into_iter().flat_map(|before| &before.directories) {
            if resolved.directories.len() < MAX_REMEMBERED_DIRECTORIES {
                resolved.directories.entry(*inode).or_insert_with(|| (path.clone(), directory.clone()));
            }
        }
        for path in &paths.files {
            if let Ok(stat) = rustix::fs::stat(path) {
                resolved.files.insert(device_inode(&stat), path.clone());
            }
        }
        resolved
    }

    fn check_below(&self, directory: &OwnedFd) -> io::Result<()> {
        let own = device_inode(&rustix::fs::fstat(directory)?);
        if lock(&self.outside).contains(&own) {
            return Ok(());
        }
        for above in ancestors(directory) {
            let (_, stat) = above?;
            if let Some((path, _)) = self.directories.get(&device_inode(&stat)) {
                return Err(OpenDenied::OwnFile(path.clone()).into());
            }
        }
        let mut outside = lock(&self.outside);
        if outside.len() >= MAX_OUTSIDE_DIRECTORIES {
            outside.clear();
        }
        outside.insert(own);
        Ok(())
    }
}

impl ProtectedTree {
    fn of(resolved: &ResolvedPaths) -> Self {
        let mut inside = Self { began: unix_nanos(SystemTime::now()), files: HashMap::new() };
        for (path, directory) in resolved.directories.values() {
            inside.add(path, directory, 0);
        }
        inside
    }

    /// Adds the files in a directory. A directory that cannot be listed holds no files that the daemon could open.
    fn add(&mut self, path: &Path, directory: &impl AsFd, depth: usize) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, ".", flags, Mode::empty());
        let Ok(entries) = opened.and_then(Dir::new) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || self.files.len() >= MAX_PROTECTED_FILES {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.files.insert(device_inode(&stat), path.to_owned());
            } else if depth < MAX_PROTECTED_DEPTH
                && let Ok(below) = rustix::fs::openat(directory, name, flags, Mode::empty())
            {
                self.add(path, &below, depth + 1);
            }
        }
    }
}

/// The directory and those above it up to the root, each with its path relative to the directory. Each costs one system
/// call.
pub(super) fn ancestors(directory: &OwnedFd) -> impl Iterator<Item = io::Result<(PathBuf, Stat)>> {
    let mut last: Option<(u64, u64)> = None;
    let mut path = PathBuf::new();
    (0..MAX_ANCESTORS).map_while(move |depth| {
        let stat = if depth == 0 {
            rustix::fs::fstat(directory)
        } else {
            path.push("..");
            rustix::fs::statat(directory, &path, AtFlags::SYMLINK_NOFOLLOW)
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => return Some(Err(error.into())),
        };
        // The parent of the root is the root.
        let inode = (stat.st_dev, stat.st_ino);
        let is_root = last.replace(inode) == Some(inode);
        (!is_root).then(|| Ok((path.clone(), stat)))
    })
}

fn device_inode(stat: &Stat) -> DeviceInode {
    (stat.st_dev, stat.st_ino)
}

/// A time from the system, in nanoseconds since the Unix epoch.
fn nanos_of(seconds: i64, nanoseconds: i64) -> u64 {
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::open_file::FileOpener;
    use super::*;
    use std::fs::{self, hard_link, rename};
    use std::os::unix::fs::symlink;

    fn protected_directory() -> (tempfile::TempDir, FileOpener) {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for path in
            ["state/streams/vault/0.rlog", "keys/k.ed25519", "tls/key.pem", "tls/other", "logs/x.log", "state2/y"]
        {
            fs::create_dir_all(at.join(path).parent().unwrap()).unwrap();
            fs::write(at.join(path), path).unwrap();
        }
        let opener = FileOpener::default();
        let files = vec![at.join("tls/key.pem"), at.join("nowhere/later")];
        opener.protected().set(vec![at.join("state"), at.join("keys"), at.join("none_yet")], files);
        (directory, opener)
    }

    #[track_caller]
    fn refused(opener: &FileOpener, path: &Path) {
        for opener in [opener.clone(), opener.clone().with_follow_symlinks(true)] {
            let error = opener.open(path).map(|_| path.to_owned()).expect_err("it was opened");
            assert!(matches!(OpenDenied::of(&error), Some(OpenDenied::OwnFile(_))), "{}: {error}", path.display());
        }
    }

    #[test]
    fn the_daemons_own_files_are_opened_by_no_way() {
        let (directory, opener) = protected_directory();
        let at = directory.path();
        for path in ["state/streams/vault/0.rlog", "keys/k.ed25519", "tls/key.pem", "logs/../keys/k.ed25519"] {
            refused(&opener, &at.join(path));
        }
        for (link, to) in [("a", "state/streams/vault/0.rlog"), ("b", "keys/k.ed25519"), ("c", "tls/key.pem")] {
            symlink(at.join(to), at.join("logs").join(link)).unwrap();
            refused(&opener, &at.join("logs").join(link));
            hard_link(at.join(to), at.join("logs").join(format!("{link}.hard"))).unwrap();
            refused(&opener, &at.join("logs").join(format!("{link}.hard")));
        }
        symlink("../state/streams", at.join("logs/d")).unwrap();
        refused(&opener, &at.join("logs/d/vault/0.rlog"));
        symlink("d/vault", at.join("logs/e")).unwrap();
        refused(&opener, &at.join("logs/e/0.rlog"));
        for path in ["state", "state/streams", "logs/d", "logs/d/vault", "keys"] {
            let error = opener.directory(&at.join(path)).unwrap_err();
            assert!(OpenDenied::of(&error).is_some(), "{path}: {error}");
        }
    }

    #[test]
    fn other_files_of_the_directory_are_opened() {
        let (directory, opener) = protected_directory();
        let at = directory.path();
        hard_link(at.join("logs/x.log"), at.join("logs/x.log.1")).unwrap();
        for path in ["tls/other", "state2/y", "logs/x.log", "logs/x.log.1", "state/../logs/x.log"] {
            assert!(opener.open(&at.join(path)).is_ok(), "{path}");
        }
        for path in ["tls", "state2", "", "logs"] {
            assert!(opener.directory(&at.join(path)).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_changes_meanwhile_stays_protected() {
        let (temporary, opener) = protected_directory();
        let at = temporary.path();
        symlink(at.join("state"), at.join("logs/s")).unwrap();
        symlink(at.join("tls/key.pem"), at.join("logs/t")).unwrap();
        symlink(at.join("none_yet"), at.join("logs/n")).unwrap();
        refused(&opener, &at.join("logs/s/streams/vault/0.rlog"));
        // The directory of histories is renamed while the daemon writes into it.
        rename(at.join("state"), at.join("renamed")).unwrap();
        refused(&opener, &at.join("renamed/streams/vault/0.rlog"));
        // A key is renewed, a directory is created, and a history begins and is renamed.
        fs::write(at.join("tls/new"), "new").unwrap();
        rename(at.join("tls/new"), at.join("tls/key.pem")).unwrap();
        refused(&opener, &at.join("logs/t"));
        fs::create_dir(at.join("none_yet")).unwrap();
        fs::write(at.join("none_yet/k"), "new").unwrap();
        refused(&opener, &at.join("logs/n/k"));
        for n in 0..3 {
            let name = format!("new{n}");
            fs::write(at.join("keys").join(&name), "new").unwrap();
            hard_link(at.join("keys").join(&name), at.join("logs").join(&name)).unwrap();
            refused(&opener, &at.join("logs").join(&name));
        }
    }

    #[test]
    fn a_descriptor_of_a_protected_file_is_no_way_to_it() {
        use std::os::fd::AsRawFd;
        let (directory, opener) = protected_directory();
        let file = fs::File::open(directory.path().join("keys/k.ed25519")).unwrap();
        refused(&opener, &Path::new("/proc/self/fd").join(file.as_raw_fd().to_string()));
    }
}
