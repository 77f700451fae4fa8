//! What is listened to for paths that are not heard of by their directory as a whole: those that were named, and symlinks.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ears::Ears;
use super::wake::{Ear, Wakes};

/// It is seen to that an open file is heard of at most once in this time: with each look would cost more than the look.
const BETWEEN: Duration = Duration::from_secs(1);

/// The ears of one stream's paths, by their numbers.
#[derive(Debug)]
pub(super) struct Hearing {
    wakes: Wakes,
    ear: Arc<Ear>,
    ears: HashMap<usize, (Ears, Option<Instant>)>,
    /// Whom a sound concerns.
    spots: HashMap<PathBuf, BTreeSet<usize>>,
}

impl Hearing {
    pub(super) fn new(wakes: Wakes, ear: Arc<Ear>) -> Self {
        Self { wakes, ear, ears: HashMap::new(), spots: HashMap::new() }
    }

    /// This path is listened for by itself.
    pub(super) fn add(&mut self, id: usize) {
        self.ears.insert(id, (Ears::new(self.wakes.clone(), self.ear.clone()), None));
    }

    /// Whether the path is listened for by itself.
    pub(super) fn has(&self, id: usize) -> bool {
        self.ears.contains_key(&id)
    }

    /// Whom it concerns that something happened at `path`.
    pub(super) fn whose(&self, path: &Path) -> Vec<usize> {
        self.spots.get(path).into_iter().flatten().copied().collect()
    }

    /// Sees to it that changes of `path` are heard of. Gives back why some are not.
    pub(super) fn listen(&mut self, id: usize, path: &Path, is_open: bool, now: Instant) -> Option<&str> {
        let (ears, last) = self.ears.get_mut(&id)?;
        let soon = is_open && last.is_some_and(|last| now < last + BETWEEN);
        let before: Vec<PathBuf> = if soon { Vec::new() } else { ears.spots().collect() };
        if !soon && ears.listen(path) {
            for spot in ears.spots() {
                self.spots.entry(spot).or_default().insert(id);
            }
            let heard: Vec<PathBuf> = ears.spots().collect();
            let gone = before.iter().filter(|spot| !heard.contains(spot));
            forget(&mut self.spots, id, gone);
        }
        if !soon {
            *last = Some(now);
        }
        self.ears.get(&id)?.0.deaf()
    }

    /// With the next look it is seen to it again; says whether it is listened for.
    pub(super) fn forget_time(&mut self, id: usize) -> bool {
        let ears = self.ears.get_mut(&id);
        ears.is_some_and(|(_, last)| last.take().is_some())
    }

    pub(super) fn remove(&mut self, id: usize) {
        if let Some((ears, _)) = self.ears.remove(&id) {
            let spots: Vec<PathBuf> = ears.spots().collect();
            forget(&mut self.spots, id, spots.iter());
        }
    }
}

fn forget<'a>(spots: &mut HashMap<PathBuf, BTreeSet<usize>>, id: usize, gone: impl Iterator<Item = &'a PathBuf>) {
    for spot in gone {
        if let Some(ids) = spots.get_mut(spot) {
            ids.remove(&id);
            if ids.is_empty() {
                spots.remove(spot);
            }
        }
    }
}
