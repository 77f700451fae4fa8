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
    wakes: Watcher,
    ear: Arc<Mailbox>,
    watches: HashMap<usize, (PathWatch, Option<Instant>)>,
    /// The numbers of the paths that a notification of this path concerns.
    ids_by_path: HashMap<PathBuf, BTreeSet<usize>>,
}

impl WatchSet {
    pub(crate) fn new(wakes: Watcher, ear: Arc<Mailbox>) -> Self {
        Self { wakes, ear, watches: HashMap::new(), ids_by_path: HashMap::new() }
    }

    /// Adds a watch for this path alone.
    pub(crate) fn add(&mut self, id: usize) {
        self.watches.insert(id, (PathWatch::new(self.wakes.clone(), self.ear.clone()), None));
    }

    /// Returns whether the path has a watch of its own.
    pub(crate) fn has(&self, id: usize) -> bool {
        self.watches.contains_key(&id)
    }

    /// The numbers of the paths that a change at `path` concerns.
    pub(crate) fn whose(&self, path: &Path) -> Vec<usize> {
        self.ids_by_path.get(path).into_iter().flatten().copied().collect()
    }

    /// Updates the watch of `path`. Returns the reason if some changes are not notified.
    pub(crate) fn listen(&mut self, id: usize, path: &Path, is_open: bool, now: Instant) -> Option<&str> {
        let (ears, last) = self.watches.get_mut(&id)?;
        let soon = is_open && last.is_some_and(|last| now < last + WATCH_REFRESH_INTERVAL);
        let before: Vec<PathBuf> = if soon { Vec::new() } else { ears.watched_paths().collect() };
        if !soon && ears.listen(path) {
            for spot in ears.watched_paths() {
                self.ids_by_path.entry(spot).or_default().insert(id);
            }
            let heard: Vec<PathBuf> = ears.watched_paths().collect();
            let gone = before.iter().filter(|spot| !heard.contains(spot));
            forget_paths(&mut self.ids_by_path, id, gone);
        }
        if !soon {
            *last = Some(now);
        }
        self.watches.get(&id)?.0.unwatched()
    }

    /// Makes the next call of [`listen`](Self::listen) refresh the watch. Returns whether the path has a watch.
    pub(crate) fn expire(&mut self, id: usize) -> bool {
        let ears = self.watches.get_mut(&id);
        ears.is_some_and(|(_, last)| last.take().is_some())
    }

    pub(crate) fn remove(&mut self, id: usize) {
        if let Some((ears, _)) = self.watches.remove(&id) {
            let spots: Vec<PathBuf> = ears.watched_paths().collect();
            forget_paths(&mut self.ids_by_path, id, spots.iter());
        }
    }
}

fn forget_paths<'a>(spots: &mut HashMap<PathBuf, BTreeSet<usize>>, id: usize, gone: impl Iterator<Item = &'a PathBuf>) {
    for spot in gone {
        if let Some(ids) = spots.get_mut(spot) {
            ids.remove(&id);
            if ids.is_empty() {
                spots.remove(spot);
            }
        }
    }
}
