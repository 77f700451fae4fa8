//! Which paths a stream has: how one is added, and how it is dropped.

use std::path::{Path, PathBuf};

use crate::config::Start;
use crate::event::Origin;
use crate::source::Now;
use crate::stream::Batch;

use super::files::Files;
use super::follow::Follow;
use super::identity::{Prints, nanos};
use super::place::Saved;
use super::row::Found;
use super::siblings::originals;
use super::state::Status;
use super::watermark::Watermark;

/// Of so many paths that a pattern found and that are gone it is known how far their files were read.
const GONE: usize = 256;

impl Files {
    /// Where to begin in a file that a pattern found at the start, and that has no place. One that was made after the last
    /// place was recorded is new.
    pub(super) fn start_in(&self, path: &Path) -> Start {
        let born = std::fs::metadata(path).and_then(|metadata| metadata.created());
        let is_new = born.is_ok_and(|born| self.recorded.is_some_and(|recorded| nanos(born) > recorded));
        if is_new { Start::Beginning } else { self.from }
    }

    /// Recorded places of files that no path names now: they were rotated away, deleted, or are not configured any more.
    pub(super) fn find_lost(&mut self, batch: &mut Batch) {
        for key in self.saved.keys().cloned().collect::<Vec<_>>() {
            let path = Origin::from(key.as_str()).path();
            if self.globs.names(&path) {
                if !self.saved[&key].is_gone() {
                    self.add(path, false, Start::Beginning);
                }
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
        if let Some(saved) = self.saved.remove(follow.origin().as_str()) {
            follow.restore(saved, &mut self.owners);
        }
        // What was made and rotated away since then was not seen under this path.
        let since = if self.looked.is_some() || named || from == Start::End { self.looked } else { self.recorded };
        follow.watermark = follow.watermark.or_else(|| since.map(Watermark::at));
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
        let reads: Vec<_> = originals(follow.path()).iter().flat_map(|path| self.reads(path)).collect();
        if !reads.is_empty()
            && !follow.names_newest()
            && let Some(follow) = self.follows[id].as_mut()
        {
            follow.copied = reads;
        }
    }

    /// How far the files of a path are read, and were that are gone.
    fn reads(&self, path: &Path) -> Vec<Prints> {
        let follow = self.by_path.get(path).and_then(|id| self.follows[*id].as_ref());
        let gone = || self.saved.get(Origin::file(path).as_str()).map(|saved| saved.past().collect());
        follow.map(Follow::reads).or_else(gone).unwrap_or_default()
    }

    /// A file that a pattern found is not followed any more once it is gone.
    pub(super) fn drop_if_gone(&mut self, id: usize, now: Now, batch: &mut Batch) {
        let gone = |follow: &Follow| {
            let missing = matches!(follow.found(), Found::Missing | Found::Other(_));
            missing && !follow.is_named() && !follow.is_open() && follow.row.len() < 2
        };
        if !self.follows[id].as_ref().is_some_and(gone) {
            return;
        }
        let kept = self.with(id, now, batch, |follow, turn| Some(follow.forget(turn)));
        let Some(follow) = self.follows[id].take() else { return };
        if let Some(kept) = kept {
            self.keep(follow.origin().as_str(), kept, batch);
        }
        self.by_path.remove(follow.path());
        self.hearing.remove(id);
        self.plan.remove(id);
        self.fifos.remove(&id);
        self.feed.remove(id);
        self.report.remove(id);
        self.free.push(id);
    }

    /// What is known of a path that is not followed any more.
    fn keep(&mut self, origin: &str, gone: Saved, batch: &mut Batch) {
        self.saved.insert(origin.to_owned(), gone);
        while self.saved.len() > GONE {
            let oldest = self.saved.iter().min_by_key(|(_, saved)| saved.time());
            let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) else { return };
            self.saved.remove(&oldest);
            batch.place(&oldest, None);
        }
    }
}
