//! Watches of the paths that no directory watch of a pattern covers: paths named in the configuration, and symlinks.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::path_watch::PathWatch;
use super::watcher::{Mailbox, Watcher};

/// The minimum time between two refreshes of the watch of an open file. A refresh in every pass would cost more than
/// the pass.
const WATCH_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The watches of single paths of one stream, by the number of the path.
#[derive(Debug)]
pub(crate) struct WatchSet {
    watcher: Watcher,
    mailbox: Arc<Mailbox>,
    watches: HashMap<usize, (PathWatch, Option<Instant>)>,
    /// The numbers of the paths that a notification of this path concerns.
    ids_by_path: HashMap<PathBuf, BTreeSet<usize>>,
}

impl WatchSet {
    pub(crate) fn new(watcher: Watcher, mailbox: Arc<Mailbox>) -> Self {
        Self { watcher, mailbox, watches: HashMap::new(), ids_by_path: HashMap::new() }
    }

    /// Adds a watch for this path alone.
    pub(crate) fn add(&mut self, id: usize) {
        self.watches.insert(id, (PathWatch::new(self.watcher.clone(), self.mailbox.clone()), None));
    }

    /// Returns whether the path has a watch of its own.
    pub(crate) fn contains(&self, id: usize) -> bool {
        self.watches.contains_key(&id)
    }

    /// The numbers of the paths that a change at `path` concerns.
    pub(crate) fn ids_for(&self, path: &Path) -> Vec<usize> {
        self.ids_by_path.get(path).into_iter().flatten().copied().collect()
    }

    /// Updates the watch of `path`. Returns the reason if some changes are not notified.
    pub(crate) fn update(&mut self, id: usize, path: &Path, is_open: bool, now: Instant) -> Option<&str> {
        let (watch, last) = self.watches.get_mut(&id)?;
        let soon = is_open && last.is_some_and(|last| now < last + WATCH_REFRESH_INTERVAL);
        let before: Vec<PathBuf> = if soon { Vec::new() } else { watch.watched_paths().collect() };
        if !soon && watch.update(path) {
            for watched in watch.watched_paths() {
                self.ids_by_path.entry(watched).or_default().insert(id);
            }
            let watched: Vec<PathBuf> = watch.watched_paths().collect();
            let gone = before.iter().filter(|path| !watched.contains(path));
            forget_paths(&mut self.ids_by_path, id, gone);
        }
        if !soon {
            *last = Some(now);
        }
        self.watches.get(&id)?.0.unwatched()
    }

    /// Makes the next call of [`update`](Self::update) refresh the watch. Returns whether the path has a watch.
    pub(crate) fn expire(&mut self, id: usize) -> bool {
        let watch = self.watches.get_mut(&id);
        watch.is_some_and(|(_, last)| last.take().is_some())
    }

    pub(crate) fn remove(&mut self, id: usize) {
        if let Some((watch, _)) = self.watches.remove(&id) {
            let paths: Vec<PathBuf> = watch.watched_paths().collect();
            forget_paths(&mut self.ids_by_path, id, paths.iter());
        }
    }
}

fn forget_paths<'a>(
    ids_by_path: &mut HashMap<PathBuf, BTreeSet<usize>>,
    id: usize,
    gone: impl Iterator<Item = &'a PathBuf>,
) {
    for path in gone {
        if let Some(ids) = ids_by_path.get_mut(path) {
            ids.remove(&id);
            if ids.is_empty() {
                ids_by_path.remove(path);
            }
        }
    }
}
