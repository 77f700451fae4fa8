//! Which paths a stream has: how one is added, and how it is dropped.

use std::path::{Path, PathBuf};

use crate::config::ReadFrom;
use crate::event::Origin;
use crate::source::ClockReading;
use crate::stream::Batch;

use super::checkpoint::Checkpoint;
use super::fingerprint::{Fingerprint, unix_nanos};
use super::path::PathTail;
use super::status::PathStatus;
use super::tailer::Tailer;
use crate::source::file::rotation::generation::PathTarget;
use crate::source::file::rotation::siblings::originals;
use crate::source::file::rotation::watermark::Watermark;

/// Of so many paths that a pattern found and that are gone it is known how far their files were read.
const MAX_GONE_PATHS: usize = 256;

impl Tailer {
    /// Where to begin in a file that a pattern found at the start, and that has no place. One that was made after the last
    /// place was recorded is new.
    pub(super) fn start_for(&self, path: &Path) -> ReadFrom {
        let born = std::fs::metadata(path).and_then(|metadata| metadata.created());
        let is_new = born.is_ok_and(|born| self.recorded.is_some_and(|recorded| unix_nanos(born) > recorded));
        if is_new { ReadFrom::Beginning } else { self.from }
    }

    /// Recorded places of files that no path names now: they were rotated away, deleted, or are not configured any more.
    pub(super) fn sort_out_unclaimed(&mut self, batch: &mut Batch) {
        for key in self.saved.keys().cloned().collect::<Vec<_>>() {
            let path = Origin::from(key.as_str()).path();
            if self.globs.names(&path) {
                if !self.saved[&key].is_gone() {
                    self.add(path, false, ReadFrom::Beginning);
                }
            } else {
                self.saved.remove(&key);
                batch.place(&key, None);
            }
        }
    }

    pub(crate) fn add(&mut self, path: PathBuf, named: bool, from: ReadFrom) {
        let id = self.free_ids.pop().unwrap_or_else(|| {
            self.follows.push(None);
            self.follows.len() - 1
        });
        let mut follow = PathTail::new(path.clone(), id, named, from);
        if let Some(saved) = self.saved.remove(follow.origin().as_str()) {
            follow.resume_from(saved, &mut self.claims);
        }
        // What was made and rotated away since then was not seen under this path.
        let since = if self.looked.is_some() || named || from == ReadFrom::End { self.looked } else { self.recorded };
        follow.watermark = follow.watermark.or_else(|| since.map(Watermark::at));
        if named || std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            self.watch_set.add(id);
        }
        self.feed.add(id, follow.origin().clone());
        self.by_path.insert(path, id);
        self.follows[id] = Some(follow);
        self.report.set_status(id, PathStatus::Unknown);
        self.scheduler.wake(id);
    }

    /// A file under a rotated name may be a copy of one that is read (copytruncate): then only what was not read is new.
    pub(super) fn note_copies(&mut self, id: usize) {
        let Some(follow) = self.follows[id].as_ref().filter(|follow| !follow.is_named()) else { return };
        let reads: Vec<_> = originals(follow.path()).iter().flat_map(|path| self.fingerprints(path)).collect();
        if !reads.is_empty()
            && !follow.names_newest()
            && let Some(follow) = self.follows[id].as_mut()
        {
            follow.copy_candidates = reads;
        }
    }

    /// How far the files of a path are read, and were that are gone.
    fn fingerprints(&self, path: &Path) -> Vec<Fingerprint> {
        let follow = self.by_path.get(path).and_then(|id| self.follows[*id].as_ref());
        let gone = || self.saved.get(Origin::file(path).as_str()).map(|saved| saved.gone_fingerprints().collect());
        follow.map(PathTail::fingerprints).or_else(gone).unwrap_or_default()
    }

    /// A file that a pattern found is not followed any more once it is gone.
    pub(super) fn drop_if_gone(&mut self, id: usize, now: ClockReading, batch: &mut Batch) {
        let gone = |follow: &PathTail| {
            let missing = matches!(follow.found(), PathTarget::Missing | PathTarget::Other(_));
            missing && !follow.is_named() && !follow.is_open() && follow.row.len() < 2
        };
        if !self.follows[id].as_ref().is_some_and(gone) {
            return;
        }
        let kept = self.with(id, now, batch, |follow, turn| Some(follow.take_gone_checkpoint(turn)));
        let Some(follow) = self.follows[id].take() else { return };
        if let Some(kept) = kept {
            self.keep(follow.origin().as_str(), kept, batch);
        }
        self.by_path.remove(follow.path());
        self.watch_set.remove(id);
        self.scheduler.remove(id);
        self.fifos.remove(&id);
        self.feed.remove(id);
        self.report.remove(id);
        self.free_ids.push(id);
    }

    /// What is known of a path that is not followed any more.
    fn keep(&mut self, origin: &str, gone: Checkpoint, batch: &mut Batch) {
        self.saved.insert(origin.to_owned(), gone);
        while self.saved.len() > MAX_GONE_PATHS {
            let oldest = self.saved.iter().min_by_key(|(_, saved)| saved.time());
            let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) else { return };
            self.saved.remove(&oldest);
            batch.place(&oldest, None);
        }
    }
}
