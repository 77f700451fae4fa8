//! One inotify instance (the `notify` crate) for the whole program, which says what to examine again.
//!
//! Directories are watched rather than files, since a file that was rotated away or does not exist yet has no path to
//! watch. A wake-up means only "examine this": it may be spurious, and it does not come if inotify cannot see the
//! change. Every waiter therefore also polls at intervals.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log::warn;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::select;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::OwnPaths;
use crate::event::lock;
use crate::stream::PrivateFlag;

use crate::source::read_pace::ReadPace;

use crate::source::file::fingerprint::Identity;
use crate::source::file::open_limit::OpenLimit;
use crate::source::file::watch::renamed_files::{RenamedFile, RenamedFiles};

/// The maximum number of paths remembered for one mailbox; if there are more, everything is examined.
const MAX_PENDING_CHANGES: usize = 64 << 10;

/// The state that all file sources share: the watcher of the program, and its count of open files. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    /// The lock is held while directories are added and removed, so that this list and the system's list stay the same.
    /// The watcher's own thread never takes it, since that thread has to answer meanwhile.
    inotify: Arc<Mutex<Result<RecommendedWatcher, String>>>,
    directories: Arc<Mutex<WatchedDirectories>>,
    /// The reasons that were logged: each is one warning in the whole program.
    logged_reasons: Arc<Mutex<HashSet<String>>>,
    pub(in crate::source::file) open_limit: OpenLimit,
}

/// Listeners by the real path of the directory: the system knows each directory once, whatever path leads to it.
type WatchedDirectories = HashMap<PathBuf, WatchedInode>;

#[derive(Debug)]
struct WatchedInode {
    identity: Identity,
    /// The directory was removed or renamed: the system watches a different directory from the one that this path
    /// names.
    stale: bool,
    /// The listeners for single names.
    names: HashMap<OsString, Vec<WatchListener>>,
    /// The listeners for every name.
    all: Vec<WatchListener>,
    /// The names of files that were renamed from a name that is listened for, each with that name.
    renamed: RenamedFiles,
}

/// A mailbox, and the path by which it knows the directory.
#[derive(Debug, Clone)]
struct WatchListener {
    mailbox: Arc<Mailbox>,
    directory: Arc<Path>,
}

/// The changes that were notified to one stream.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// Notified of writes to files, which may wait for the pace of the source.
    written: Notify,
    /// Notified of all other changes.
    changed: Notify,
    changes: Mutex<PathChanges>,
}

/// The changes since the last call of [`Mailbox::take`].
#[derive(Debug, Clone, Default)]
pub(crate) struct PathChanges {
    /// Everything must be examined.
    pub(crate) all: bool,
    pub(crate) paths: HashMap<PathBuf, PathChange>,
    /// There are other changes than writes to files.
    is_urgent: bool,
}

/// The changes of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PathChange {
    /// The file that had the name at first was written to.
    pub(crate) written: bool,
    /// The name was given to another file, or to none: further writes are to that.
    pub(crate) renamed: bool,
    /// A writer closed a file that had the name before it was renamed. Others may still have that file open.
    pub(crate) closed: bool,
}

/// The kind of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChangeKind {
    Written,
    /// A file that was renamed was written to.
    OldWritten,
    Renamed,
    /// A file that was renamed was closed by a writer.
    Closed,
    Other,
}

impl From<EventKind> for ChangeKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => Self::Written,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Self::Renamed,
            EventKind::Modify(ModifyKind::Metadata(_) | ModifyKind::Other)
            | EventKind::Access(_)
            | EventKind::Any
            | EventKind::Other => Self::Other,
        }
    }
}

impl PathChanges {
    fn everything() -> Self {
        Self { all: true, paths: HashMap::new(), is_urgent: true }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.paths.is_empty()
    }
}

impl Mailbox {
    /// Waits until there is something to [`take`](Self::take): from `earliest` on, and for writes to files until the next
    /// read may be made. May be dropped at any time.
    pub(in crate::source) async fn wait(&self, earliest: Instant, pace: &ReadPace) {
        // A notification may be about what was taken meanwhile, or was received by a call that was dropped.
        let written = async {
            while lock(&self.changes).is_empty() {
                self.written.notified().await;
            }
        };
        let changed = async {
            while !lock(&self.changes).is_urgent {
                self.changed.notified().await;
            }
            sleep_until(earliest).await;
        };
        select! {
            () = pace.after(written) => {}
            () = changed => {}
        }
    }

    /// Takes the changes since the last call.
    pub(crate) fn take(&self) -> PathChanges {
        std::mem::take(&mut lock(&self.changes))
    }

    /// The changes since the last call of [`take`](Self::take).
    #[cfg(test)]
    pub(crate) fn peek(&self) -> PathChanges {
        lock(&self.changes).clone()
    }

    fn post(&self, path: PathBuf, kind: ChangeKind) {
        let mut changes = lock(&self.changes);
        if changes.paths.len() >= MAX_PENDING_CHANGES {
            *changes = PathChanges::everything();
        } else if !changes.all {
            let change = changes.paths.entry(path).or_default();
            change.written |= kind == ChangeKind::Written && !change.renamed;
            change.renamed |= kind == ChangeKind::Renamed;
            change.closed |= kind == ChangeKind::Closed;
        }
        changes.is_urgent |= !matches!(kind, ChangeKind::Written | ChangeKind::OldWritten);
        let is_urgent = changes.is_urgent;
        drop(changes);
        if is_urgent {
            self.changed.notify_one();
        } else {
            self.written.notify_one();
        }
    }

    fn post_all(&self) {
        *lock(&self.changes) = PathChanges::everything();
        self.changed.notify_one();
    }
}

impl Watcher {
    /// Starts the watcher. Never fails: without inotify, each call of [`watch`](Self::watch) returns the reason.
    pub(crate) fn new() -> Self {
        let directories = Arc::new(Mutex::new(WatchedDirectories::new()));
        let list = directories.clone();
        let watcher = notify::recommended_watcher(move |event| dispatch(&mut lock(&list), event));
        let watcher = watcher.map_err(|error| reason(&error, "fs.inotify.max_user_instances"));
        Self {
            inotify: Arc::new(Mutex::new(watcher)),
            directories,
            logged_reasons: Arc::default(),
            open_limit: OpenLimit::default(),
        }
    }

    /// The same watcher for one stream, which becomes private once it opens a file that not everybody may read.
    pub(crate) fn marking_private(self, private: PrivateFlag) -> Self {
        Self { open_limit: self.open_limit.marking_private(private), ..self }
    }

    /// The same watcher for one stream, which follows all symlinks or only trusted ones.
    pub(crate) fn with_follow_symlinks(self, follow_symlinks: bool) -> Self {
        Self { open_limit: self.open_limit.with_follow_symlinks(follow_symlinks), ..self }
    }

    /// Protects the daemon's own files: from now on no stream opens them, or anything below these directories; see
    /// [`Config::own_paths`].
    ///
    /// [`Config::own_paths`]: crate::config::Config::own_paths
    pub(crate) fn protect(&self, OwnPaths { directories, files }: OwnPaths) {
        self.open_limit.opener().protected().set(directories, files);
    }

    /// Wakes `mailbox` when something happens to `name` in `directory` (`None`: to any name), or to the directory
    /// itself.
    ///
    /// Blocks. A change is reported as a path below `directory`, as that is given here.
    /// # Errors
    /// Returns the reason why there will be no wakes.
    pub(crate) fn watch(
        &self,
        directory: &Path,
        name: Option<&OsStr>,
        mailbox: &Arc<Mailbox>,
    ) -> Result<WatchGuard, String> {
        let outcome = self.try_watch(directory, name, mailbox);
        if let Err(reason) = &outcome
            && lock(&self.logged_reasons).insert(reason.clone())
        {
            warn!(directory:% = directory.display(), reason = reason.as_str(); "the system does not report changes; the directory is polled");
        }
        outcome
    }

    fn try_watch(&self, directory: &Path, name: Option<&OsStr>, mailbox: &Arc<Mailbox>) -> Result<WatchGuard, String> {
        let gone = |error: std::io::Error| format!("cannot examine {}: {error}", directory.display());
        let real = fs::canonicalize(directory).map_err(gone)?;
        let metadata = fs::metadata(&real).map_err(gone)?;
        if let Some(reason) = unwatchable_reason(&real) {
            return Err(reason);
        }
        let mut watcher = lock(&self.inotify);
        let system = watcher.as_mut().map_err(|error| error.clone())?;
        let listener = WatchListener { mailbox: mailbox.clone(), directory: directory.into() };
        let known = self.add_listener(&real, Identity::from(&metadata), name, listener.clone());
        let watch =
            WatchGuard { watcher: self.clone(), real_path: real.clone(), name: name.map(OsStr::to_owned), listener };
        let mut outcome = Ok(());
        if !known {
            // Another directory of this name may still be watched; usually none is, and the error is ignored.
            system.unwatch(&real).unwrap_or_default();
            outcome = system.watch(&real, RecursiveMode::NonRecursive);
        }
        if outcome.is_err()
            && let Some(directory) = lock(&self.directories).get_mut(&real)
        {
            directory.stale = true;
        }
        // Dropping the watch after a failure undoes the registration, and needs the lock.
        drop(watcher);
        outcome.map(|()| watch).map_err(|error| reason(&error, "fs.inotify.max_user_watches"))
    }

    /// Adds a listener. Returns whether the directory is watched already.
    fn add_listener(&self, real: &Path, identity: Identity, name: Option<&OsStr>, listener: WatchListener) -> bool {
        let mut directories = lock(&self.directories);
        let known = directories.get(real).is_some_and(|known| known.identity == identity && !known.stale);
        let entry = directories.entry(real.to_owned());
        let entry = entry.or_insert_with(|| WatchedInode::new(identity));
        (entry.identity, entry.stale) = (identity, false);
        match name {
            Some(name) => entry.names.entry(name.to_owned()).or_default().push(listener),
            None => entry.all.push(listener),
        }
        known
    }
}

/// A registered watch: its mailbox is woken until the guard is dropped.
#[derive(Debug)]
pub(crate) struct WatchGuard {
    watcher: Watcher,
    real_path: PathBuf,
    name: Option<OsString>,
    listener: WatchListener,
}

impl WatchGuard {
    /// The directory as it was given.
    pub(crate) fn directory(&self) -> &Path {
        &self.listener.directory
    }

    pub(crate) fn name(&self) -> Option<&OsStr> {
        self.name.as_deref()
    }

    /// Returns whether the path still names the directory that is watched.
    pub(crate) fn is_current(&self) -> bool {
        let now = fs::canonicalize(self.directory()).and_then(|real| Ok((fs::metadata(&real)?, real)));
        let Ok((metadata, real)) = now else { return false };
        let known = |entry: &WatchedInode| entry.identity == Identity::from(&metadata) && !entry.stale;
        real == self.real_path && lock(&self.watcher.directories).get(&self.real_path).is_some_and(known)
    }

    /// Removes the listener. Returns whether it was the last one of the directory.
    fn remove_listener(&self) -> bool {
        let mut directories = lock(&self.watcher.directories);
        let Some(directory) = directories.get_mut(&self.real_path) else { return false };
        let mine = |other: &WatchListener| {
            Arc::ptr_eq(&other.mailbox, &self.listener.mailbox)
                && Arc::ptr_eq(&other.directory, &self.listener.directory)
        };
        let take = |from: &mut Vec<WatchListener>| from.iter().position(mine).map(|at| from.swap_remove(at));
        match &self.name {
            None => {
                take(&mut directory.all);
            }
            Some(name) => {
                if let Some(listeners) = directory.names.get_mut(name) {
                    take(listeners);
                    if listeners.is_empty() {
                        directory.names.remove(name);
                    }
                }
            }
        }
        let last = directory.names.is_empty() && directory.all.is_empty();
        if last {
            directories.remove(&self.real_path);
        }
        last
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let mut watcher = lock(&self.watcher.inotify);
        if self.remove_listener()
            && let Ok(watcher) = watcher.as_mut()
        {
            // The watch was removed with its directory, or is removed now.
            watcher.unwatch(&self.real_path).unwrap_or_default();
        }
    }
}

/// Delivers an event to the mailboxes. Runs in the watcher's thread: never waits, and fills nothing but sets.
fn dispatch(directories: &mut WatchedDirectories, event: notify::Result<Event>) {
    let all = |directories: &WatchedDirectories| directories.values().for_each(WatchedInode::post_all);
    match event {
        // Reading a file, which this program does itself, is not a change. The end of writing is of interest only in a
        // file that was rotated, so that a program that opens its log for each line does not wake its stream twice.
        Ok(Event { kind: EventKind::Access(access), paths, .. }) => {
            if access == AccessKind::Close(AccessMode::Write) {
                for path in &paths {
                    post_to_origin(directories, path, ChangeKind::Closed);
                }
            }
        }
        // The event queue of the system overflowed.
        Ok(event) if event.need_rescan() => all(directories),
        Ok(event) => {
            let kind = ChangeKind::from(event.kind);
            for path in &event.paths {
                let itself = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
                if let Some(directory) = directories.get_mut(path) {
                    directory.stale |= itself;
                    directory.post_all();
                }
                if kind == ChangeKind::Written {
                    post_to_origin(directories, path, ChangeKind::OldWritten);
                }
                let Some((parent, name)) = path.parent().zip(path.file_name()) else { continue };
                if let Some(directory) = directories.get(parent) {
                    directory.post(name, kind);
                }
            }
            note_names(directories, &event);
        }
        Err(_) => all(directories),
    }
}

/// Notifies the path that the file at `path` had before it was renamed, if it was.
fn post_to_origin(directories: &WatchedDirectories, path: &Path, kind: ChangeKind) {
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return };
    let origin = directories.get(parent).and_then(|directory| directory.renamed.origin(name, Instant::now()));
    if let Some((parent, name)) = origin.and_then(|origin| origin.parent().zip(origin.file_name()))
        && let Some(directory) = directories.get(parent)
    {
        directory.post(name, kind);
    }
}

/// Records which files were renamed.
fn note_names(directories: &mut WatchedDirectories, event: &Event) {
    let gone = match (event.kind, &*event.paths) {
        (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), [from, to]) => {
            let Some((from_parent, from_name)) = from.parent().zip(from.file_name()) else { return };
            let Some(directory) = directories.get_mut(from_parent) else { return };
            let listened = directory.names.contains_key(from_name) || !directory.all.is_empty();
            let known = directory.renamed.remove(from_name);
            let renamed = known.or_else(|| listened.then(|| RenamedFile::new(from.clone())));
            if let Some((to_parent, to_name)) = to.parent().zip(to.file_name())
                && let Some(directory) = directories.get_mut(to_parent)
            {
                directory.renamed.set(to_name, renamed);
            }
            return;
        }
        (EventKind::Remove(_) | EventKind::Create(_), [gone]) => gone,
        _ => return,
    };
    if let Some((parent, name)) = gone.parent().zip(gone.file_name())
        && let Some(directory) = directories.get_mut(parent)
    {
        directory.renamed.remove(name);
    }
}

impl WatchedInode {
    fn new(identity: Identity) -> Self {
        let (names, all, renamed) = (HashMap::new(), Vec::new(), RenamedFiles::default());
        Self { identity, stale: false, names, all, renamed }
    }

    fn post(&self, name: &OsStr, kind: ChangeKind) {
        for listener in self.names.get(name).into_iter().flatten().chain(&self.all) {
            listener.mailbox.post(listener.directory.join(name), kind);
        }
    }

    fn post_all(&self) {
        self.names.values().flatten().chain(&self.all).for_each(|listener| listener.mailbox.post_all());
    }
}

/// The reason why changes below `directory` may not be notified: on some file systems others write without the
/// knowledge of our kernel, and of unknown ones nothing can be assumed (statfs(2)).
fn unwatchable_reason(directory: &Path) -> Option<String> {
    const UNWATCHABLE_FILE_SYSTEMS: [(u32, &str); 9] = [
        (0x6969, "NFS"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB"),
        (0x517B, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x7461_636F, "OCFS2"),
    ];
    /// ext, XFS, Btrfs, tmpfs, ramfs, F2FS, overlay, ZFS, bcachefs, JFS, NILFS, FAT, exFAT, NTFS, hfs+, UDF.
    const WATCHABLE_FILE_SYSTEMS: [u32; 16] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0x8584_58F6,
        0xF2F5_2010,
        0x794C_7630,
        0x2FC1_2FC1,
        0xCA45_1A4E,
        0x3153_464A,
        0x3434,
        0x4D44,
        0x2011_BAB0,
        0x7366_746E,
        0x482B,
        0x1501_3346,
    ];
    let magic = i128::from(rustix::fs::statfs(directory).ok()?.f_type);
    if WATCHABLE_FILE_SYSTEMS.iter().any(|tells| i128::from(*tells) == magic) {
        return None;
    }
    let name = UNWATCHABLE_FILE_SYSTEMS.iter().find(|(silent, _)| i128::from(*silent) == magic).map(|(_, name)| *name);
    Some(name.map_or_else(
        || format!("the file system (type {magic:#x}) is not known to report changes"),
        |name| format!("{name} does not report changes"),
    ))
}

/// The reason why the system does not watch; `sysctl` is the limit that the administrator can raise.
fn reason(error: &notify::Error, sysctl: &str) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => format!("the limit of inotify watches is reached (raise it with sysctl {sysctl})"),
        ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            format!("the limit of inotify instances is reached (raise it with sysctl {sysctl})")
        }
        _ => format!("inotify: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::path_watch::PathWatch;
    use super::*;
    use crate::source::read_pace::FILE_READ_INTERVAL;
    use crate::source::testing::TestDirectory;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn was_woken(mailbox: &Mailbox) -> bool {
        let pace = ReadPace::new(FILE_READ_INTERVAL);
        timeout(Duration::from_secs(10), mailbox.wait(Instant::now(), &pace)).await.is_ok()
    }

    fn path_watch(watcher: &Watcher) -> (Arc<Mailbox>, PathWatch) {
        let mailbox = Arc::new(Mailbox::default());
        (mailbox.clone(), PathWatch::new(watcher.clone(), mailbox))
    }

    #[tokio::test]
    async fn only_changes_of_the_named_file_wake_the_mailbox() {
        let (watcher, directory) = (Watcher::new(), TestDirectory::new());
        let ((mailbox, mut watch_a), (other, mut watch_b)) = (path_watch(&watcher), path_watch(&watcher));
        watch_a.update(&directory.path("a"));
        watch_b.update(&directory.path("b"));
        directory.write("a", "x");
        assert!(was_woken(&mailbox).await);
        directory.write("b", "x");
        assert!(was_woken(&other).await);
        assert!(mailbox.take().paths.keys().eq([&directory.path("a")]));
        assert_eq!(lock(&watcher.directories).len(), 1);
    }

    #[tokio::test]
    async fn the_nearest_existing_directory_is_watched_until_its_last_watch_is_dropped() {
        let (watcher, directory) = (Watcher::new(), TestDirectory::new());
        let (mailbox, mut watch) = path_watch(&watcher);
        let path = directory.path("a/b/log");
        for step in ["a", "a/b"] {
            watch.update(&path);
            assert_eq!(watch.unwatched(), None);
            std::fs::create_dir(directory.path(step)).unwrap();
            assert!(was_woken(&mailbox).await, "{step}");
        }
        watch.update(&path);
        directory.write("a/b/log", "x");
        assert!(was_woken(&mailbox).await);
        assert_eq!(lock(&watcher.directories).keys().collect::<Vec<_>>(), [&directory.path("a/b")]);
        drop(watch);
        assert!(lock(&watcher.directories).is_empty());
    }

    #[tokio::test]
    async fn a_directory_with_two_names_is_watched_once_for_both() {
        let (watcher, directory) = (Watcher::new(), TestDirectory::new());
        std::fs::create_dir(directory.path("real")).unwrap();
        std::os::unix::fs::symlink(directory.path("real"), directory.path("link")).unwrap();
        let ((mailbox, mut watch_a), (other, mut watch_b)) = (path_watch(&watcher), path_watch(&watcher));
        watch_a.update(&directory.path("real/log"));
        watch_b.update(&directory.path("link/log"));
        drop(path_watch(&watcher).1);
        directory.write("real/log", "x");
        assert!(was_woken(&mailbox).await && was_woken(&other).await);
        assert!(other.take().paths.contains_key(&directory.path("link/log")));
    }

    #[tokio::test]
    async fn the_end_of_writing_to_a_renamed_file_is_notified_to_the_path_that_it_had() {
        /// A step: renames the first name to the second, or removes the first.
        type Step = (&'static str, Option<&'static str>);
        let table: [(&[Step], bool); 7] = [
            (&[], false),
            (&[("log", Some("log.1"))], true),
            (&[("log", Some("log.1")), ("log.1", Some("log.2"))], true),
            (&[("log", Some("old/log"))], true),
            (&[("log", Some("log.1")), ("other", Some("log.1"))], false),
            (&[("log", Some("log.1")), ("log.1", None)], false),
            (&[("other", Some("log"))], false),
        ];
        for (steps, expected) in table {
            let (watcher, directory) = (Watcher::new(), TestDirectory::new());
            let ((mailbox, mut watch), (other, mut watch_old)) = (path_watch(&watcher), path_watch(&watcher));
            std::fs::create_dir(directory.path("old")).unwrap();
            directory.write("other", "");
            watch_old.update(&directory.path("old/marker"));
            watch.update(&directory.path("log"));
            let file = std::fs::OpenOptions::new().append(true).create(true).open(directory.path("log")).unwrap();
            for (from, to) in steps {
                match to {
                    Some(to) => std::fs::rename(directory.path(from), directory.path(to)).unwrap(),
                    None => std::fs::remove_file(directory.path(from)).unwrap(),
                }
            }
            drop(file);
            // All changes before the marker were notified once that is.
            directory.write("old/marker", "x");
            assert!(was_woken(&other).await, "{steps:?}");
            let changes = mailbox.take();
            let closed = changes.paths.get(&directory.path("log")).is_some_and(|change| change.closed);
            assert_eq!(closed, expected, "{steps:?}: {changes:?}");
        }
    }

    #[tokio::test]
    async fn an_overflow_wakes_every_mailbox() {
        let (watcher, directory) = (Watcher::new(), TestDirectory::new());
        let (mailbox, mut watch) = path_watch(&watcher);
        watch.update(&directory.path("a"));
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        dispatch(&mut lock(&watcher.directories), Ok(overflow));
        assert!(was_woken(&mailbox).await);
        assert!(mailbox.take().all);
    }

    #[test]
    fn more_paths_than_are_remembered_are_everything() {
        let mailbox = Mailbox::default();
        for n in 0..=MAX_PENDING_CHANGES {
            mailbox.post(PathBuf::from(n.to_string()), ChangeKind::Written);
        }
        let changes = mailbox.take();
        assert!(changes.all && changes.paths.is_empty());
    }

    #[test]
    fn without_a_watcher_the_reason_is_said() {
        let watcher = Watcher::new();
        *lock(&watcher.inotify) = Err("the limit of inotify instances is reached".to_owned());
        let mut watch = PathWatch::new(watcher, Arc::default());
        watch.update(Path::new("/tmp/log"));
        assert_eq!(watch.unwatched(), Some("the limit of inotify instances is reached"));
    }

    #[test]
    fn a_file_system_that_is_not_known_to_tell_is_polled() {
        assert_eq!(unwatchable_reason(TestDirectory::new().0.path()), None);
        let reason = unwatchable_reason(Path::new("/proc")).unwrap();
        assert_eq!(reason, "the file system (type 0x9fa0) is not known to report changes");
    }
}
