//! Which paths a stream has: how one is added, and how it is dropped.

use std::path::{Path, PathBuf};

use crate::config::Start;
use crate::event::{Origin, Time};
use crate::source::Now;
use crate::stream::Batch;

use super::files::Files;
use super::follow::Follow;
use super::row::Found;
use super::siblings::originals;
use super::state::Status;

impl Files {
    /// Where to begin in a file that a pattern found at the start, and that has no place. One that was made after the last
    /// place was recorded is new.
    pub(super) fn start_in(&self, path: &Path) -> Start {
        let born = std::fs::metadata(path).and_then(|metadata| metadata.created());
        let is_new = born.is_ok_and(|born| Time::from(born).millis() > self.recorded);
        if is_new { Start::Beginning } else { self.from }
    }

    /// Recorded places of files that no path names now: they were rotated away, deleted, or are not configured any more.
    pub(super) fn find_lost(&mut self, batch: &mut Batch) {
        for key in self.saved.keys().cloned().collect::<Vec<_>>() {
            let path = Origin::from(key.as_str()).path();
            if self.globs.names(&path) {
                self.add(path, false, Start::Beginning);
            } else {
                self.saved.remove(&key);
                batch.place(&key, None);
            }
        }
    }

    pub(super) fn add(&mut self, path: PathBuf, named: bool, from: Start) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.follows.push(None);
            self.follows.len() - 1
        });
        let mut follow = Follow::new(path.clone(), id, named, from);
        // What was made and rotated away since then was not seen under this path.
        follow.looked = self.looked;
        if let Some(saved) = self.saved.remove(follow.origin().as_str()) {
            follow.restore(saved, &mut self.owners);
        }
        if named || std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            self.hearing.add(id);
        }
        self.feed.add(id, follow.origin().clone());
        self.by_path.insert(path, id);
        self.follows[id] = Some(follow);
        self.report.change(id, Status::Unknown);
        self.plan.wake(id);
    }

    /// A file under a rotated name may be a copy of one that is read (copytruncate): then only what was not read is new.
    pub(super) fn see_copies(&mut self, id: usize) {
        let Some(follow) = self.follows[id].as_ref().filter(|follow| !follow.is_named()) else { return };
        let sources = originals(follow.path());
        if sources.iter().any(|path| self.by_path.contains_key(path)) && !follow.names_newest() {
            let original = |path: PathBuf| self.follows[*self.by_path.get(&path)?].as_ref();
            let traces = sources.into_iter().filter_map(original).flat_map(Follow::traces).collect();
            if let Some(follow) = self.follows[id].as_mut() {
                follow.copied = traces;
            }
        }
    }

    /// A file that a pattern found is not followed any more once it is gone.
    pub(super) fn drop_if_gone(&mut self, id: usize, now: Now, batch: &mut Batch) {
        let gone = |follow: &Follow| {
            let missing = matches!(follow.found(), Found::Missing | Found::Other(_));
            missing && !follow.is_named() && !follow.is_open()
        };
        if !self.follows[id].as_ref().is_some_and(gone) {
            return;
        }
        self.with(id, now, batch, Follow::forget);
        let Some(follow) = self.follows[id].take() else { return };
        self.by_path.remove(follow.path());
        self.hearing.remove(id);
        self.plan.remove(id);
        self.fifos.remove(&id);
        self.feed.remove(id);
        self.report.remove(id);
        self.free.push(id);
    }
}
