//! Tells when to look at a path again: inotify on the directories (by `notify`), one for the whole program.
//!
//! Directories and not files, since a file that is rotated away or not there yet has none. A wake says only "look": it may
//! come for nothing, and where inotify cannot see, none comes. So who waits also looks at intervals.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;
use notify::event::ModifyKind;
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::identity::Identity;

/// The program's one watcher; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Wakes {
    /// Held while directories are added and removed, so that this and the system's list stay the same. Never taken in
    /// the watcher's own thread, which has to answer meanwhile.
    watcher: Arc<Mutex<Result<RecommendedWatcher, String>>>,
    heard: Arc<Mutex<Heard>>,
}

/// Who wants to hear of what, by directory.
type Heard = HashMap<PathBuf, Directory>;

#[derive(Debug)]
struct Directory {
    identity: Identity,
    /// It was removed or renamed: the system watches another one than this path names.
    stale: bool,
    ears: HashMap<OsString, Vec<Arc<Notify>>>,
}

impl Wakes {
    /// Never fails: without a watcher, each [`watch`](Self::watch) says why there is none.
    pub(crate) fn new() -> Self {
        let heard = Arc::new(Mutex::new(Heard::new()));
        let list = heard.clone();
        let watcher = notify::recommended_watcher(move |event| hear(&mut lock(&list), event));
        let watcher = watcher.map_err(|error| reason(&error, "fs.inotify.max_user_instances"));
        Self { watcher: Arc::new(Mutex::new(watcher)), heard }
    }

    /// Wakes `ear` when something happens to `name` in `directory`, or to the directory itself.
    ///
    /// Blocks. `metadata` is that of the directory.
    ///
    /// # Errors
    /// Says why there will be no wakes.
    pub(super) fn watch(
        &self,
        directory: &Path,
        metadata: &Metadata,
        name: &OsStr,
        ear: &Arc<Notify>,
    ) -> Result<Watch, String> {
        if let Some(name) = silent(directory) {
            return Err(format!("{name} does not tell of changes"));
        }
        let mut watcher = lock(&self.watcher);
        let system = watcher.as_mut().map_err(|error| error.clone())?;
        let known = self.listen(directory, metadata.into(), name, ear);
        let watch =
            Watch { wakes: self.clone(), directory: directory.to_owned(), name: name.to_owned(), ear: ear.clone() };
        let mut outcome = Ok(());
        if !known {
            // It may be there from another directory of this name; mostly it is not.
            system.unwatch(directory).unwrap_or_default();
            outcome = system.watch(directory, RecursiveMode::NonRecursive);
        }
        if outcome.is_err()
            && let Some(directory) = lock(&self.heard).get_mut(directory)
        {
            directory.stale = true;
        }
        // Dropping the watch, which undoes what was done, needs the lock.
        drop(watcher);
        outcome.map(|()| watch).map_err(|error| reason(&error, "fs.inotify.max_user_watches"))
    }

    /// Adds an ear; says whether the directory is watched already.
    fn listen(&self, directory: &Path, identity: Identity, name: &OsStr, ear: &Arc<Notify>) -> bool {
        let mut heard = lock(&self.heard);
        let known = heard.get(directory).is_some_and(|known| known.identity == identity && !known.stale);
        let entry = heard.entry(directory.to_owned());
        let entry = entry.or_insert_with(|| Directory { identity, stale: false, ears: HashMap::new() });
        (entry.identity, entry.stale) = (identity, false);
        entry.ears.entry(name.to_owned()).or_default().push(ear.clone());
        known
    }
}

/// As long as it is there, its ear is woken.
#[derive(Debug)]
pub(super) struct Watch {
    wakes: Wakes,
    directory: PathBuf,
    name: OsString,
    ear: Arc<Notify>,
}

impl Watch {
    /// Whether it is one of `name` in `directory`, and the directory is still the one that is watched.
    pub(super) fn is_of(&self, directory: &Path, metadata: &Metadata, name: &OsStr) -> bool {
        let known = |entry: &Directory| entry.identity == Identity::from(metadata) && !entry.stale;
        self.directory == directory && self.name == name && lock(&self.wakes.heard).get(directory).is_some_and(known)
    }

    /// Takes its ear from the list; says whether it was the last of the directory.
    fn forget(&self) -> bool {
        let mut heard = lock(&self.wakes.heard);
        let Some(directory) = heard.get_mut(&self.directory) else { return false };
        if let Some(ears) = directory.ears.get_mut(&self.name) {
            if let Some(at) = ears.iter().position(|ear| Arc::ptr_eq(ear, &self.ear)) {
                ears.swap_remove(at);
            }
            if ears.is_empty() {
                directory.ears.remove(&self.name);
            }
        }
        let last = directory.ears.is_empty();
        if last {
            heard.remove(&self.directory);
        }
        last
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watcher = lock(&self.wakes.watcher);
        if self.forget()
            && let Ok(watcher) = watcher.as_mut()
        {
            // It is gone with its directory, or now.
            watcher.unwatch(&self.directory).unwrap_or_default();
        }
    }
}

/// What one path is heard by: the directory of its name, and that of the file, where it leads elsewhere.
#[derive(Debug)]
pub(super) struct Ears {
    wakes: Wakes,
    ear: Arc<Notify>,
    watches: Vec<Watch>,
    /// Why some changes are not heard of.
    deaf: Option<String>,
}

impl Ears {
    /// `ear` is notified when something happened.
    pub(super) fn new(wakes: Wakes, ear: Arc<Notify>) -> Self {
        Self { wakes, ear, watches: Vec::new(), deaf: None }
    }

    /// Why some changes are not heard of; `None` if all are.
    pub(super) fn deaf(&self) -> Option<&str> {
        self.deaf.as_deref()
    }

    /// Sees to it that changes of `path` are heard of, whatever was put in its place. Blocks.
    pub(super) fn listen(&mut self, path: &Path) {
        let target = fs::canonicalize(path).ok();
        let real = target.as_deref().filter(|target| *target != path);
        let mut kept = Vec::new();
        let mut deaf = None;
        for path in [Some(path), real].into_iter().flatten() {
            let Some((directory, metadata, name)) = nearest(path) else { continue };
            if let Some(at) = self.watches.iter().position(|watch| watch.is_of(directory, &metadata, name)) {
                kept.push(self.watches.swap_remove(at));
            } else {
                match self.wakes.watch(directory, &metadata, name, &self.ear) {
                    Ok(watch) => kept.push(watch),
                    Err(reason) => deaf = Some(reason),
                }
            }
        }
        if let Some(reason) = deaf.as_ref().filter(|_| self.deaf != deaf) {
            warn!(path:?, reason = reason.as_str(); "no news of changes: looking at intervals");
        }
        (self.watches, self.deaf) = (kept, deaf);
    }
}

/// The nearest directory above `path` that exists, and what in it leads to the path.
fn nearest(path: &Path) -> Option<(&Path, Metadata, &OsStr)> {
    path.ancestors().find_map(|below| {
        let (directory, name) = (below.parent()?, below.file_name()?);
        let metadata = fs::metadata(directory).ok()?;
        metadata.is_dir().then_some((directory, metadata, name))
    })
}

/// Runs in the watcher's thread: never waits, and fills nothing.
fn hear(heard: &mut Heard, event: notify::Result<Event>) {
    let all = |heard: &Heard| heard.values().for_each(Directory::wake);
    match event {
        // Reading a file, as we do, is no news.
        Ok(Event { kind: EventKind::Access(_), .. }) => {}
        // More happened than the system could remember.
        Ok(event) if event.need_rescan() => all(heard),
        Ok(event) => {
            for path in &event.paths {
                let itself = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
                if let Some(directory) = heard.get_mut(path) {
                    directory.stale |= itself;
                    directory.wake();
                }
                let named = path.parent().zip(path.file_name());
                let ears = named.and_then(|(parent, name)| heard.get(parent)?.ears.get(name));
                ears.into_iter().flatten().for_each(|ear| ear.notify_one());
            }
        }
        Err(_) => all(heard),
    }
}

impl Directory {
    fn wake(&self) {
        self.ears.values().flatten().for_each(|ear| ear.notify_one());
    }
}

/// The name of a file system on which others write without our kernel's knowledge (statfs(2)).
fn silent(directory: &Path) -> Option<&'static str> {
    const SILENT: [(u32, &str); 9] = [
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
    let magic = rustix::fs::statfs(directory).ok()?.f_type;
    SILENT.iter().find(|(silent, _)| i128::from(*silent) == i128::from(magic)).map(|(_, name)| *name)
}

/// Why the system does not watch; `sysctl` is what the administrator can raise.
fn reason(error: &notify::Error, sysctl: &str) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => format!("the limit of watches is reached (sysctl {sysctl})"),
        ErrorKind::Io(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            format!("the limit of inotify instances is reached (sysctl {sysctl})")
        }
        _ => format!("inotify: {error}"),
    }
}

/// Each change leaves the lists consistent, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::bench::Place;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn wakes(ear: &Notify) -> bool {
        timeout(Duration::from_secs(10), ear.notified()).await.is_ok()
    }

    fn ears(wakes: &Wakes) -> (Arc<Notify>, Ears) {
        let ear = Arc::new(Notify::new());
        (ear.clone(), Ears::new(wakes.clone(), ear))
    }

    #[tokio::test]
    async fn only_the_named_file_wakes() {
        let (wakes_all, place) = (Wakes::new(), Place::new());
        let ((ear, mut ears_a), (other, mut ears_b)) = (ears(&wakes_all), ears(&wakes_all));
        ears_a.listen(&place.path("a"));
        ears_b.listen(&place.path("b"));
        place.write("a", "x");
        assert!(wakes(&ear).await);
        place.write("b", "x");
        assert!(wakes(&other).await);
        assert_eq!(lock(&wakes_all.heard).len(), 1);
    }

    #[tokio::test]
    async fn the_nearest_directory_that_exists_is_watched_until_nobody_listens() {
        let (wakes_all, place) = (Wakes::new(), Place::new());
        let (ear, mut ears) = ears(&wakes_all);
        let path = place.path("a/b/log");
        for step in ["a", "a/b"] {
            ears.listen(&path);
            assert_eq!(ears.deaf(), None);
            std::fs::create_dir(place.path(step)).unwrap();
            assert!(wakes(&ear).await, "{step}");
        }
        ears.listen(&path);
        place.write("a/b/log", "x");
        assert!(wakes(&ear).await);
        assert_eq!(lock(&wakes_all.heard).keys().collect::<Vec<_>>(), [&place.path("a/b")]);
        drop(ears);
        assert!(lock(&wakes_all.heard).is_empty());
    }

    #[tokio::test]
    async fn an_overflow_wakes_all() {
        let (wakes_all, place) = (Wakes::new(), Place::new());
        let (ear, mut ears) = ears(&wakes_all);
        ears.listen(&place.path("a"));
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        hear(&mut lock(&wakes_all.heard), Ok(overflow));
        assert!(wakes(&ear).await);
    }

    #[test]
    fn without_a_watcher_the_reason_is_said() {
        let wakes = Wakes::new();
        *lock(&wakes.watcher) = Err("the limit of inotify instances is reached".to_owned());
        let mut ears = Ears::new(wakes, Arc::default());
        ears.listen(Path::new("/tmp/log"));
        assert_eq!(ears.deaf(), Some("the limit of inotify instances is reached"));
    }
}
