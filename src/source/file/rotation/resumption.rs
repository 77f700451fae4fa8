//! The continuation from a checkpoint: reading continues in the files that it names, wherever they are now.

use std::io;
use std::path::PathBuf;

use tokio::time::Instant;

use super::checkpoint_search::{CheckpointSearch, SearchOutcome};
use super::discovery::Discovery;
use super::generation::{Generation, LaterSearch};
use super::generation_list::GenerationList;
use super::location::LogLocation;
use super::old_files::OldFileLoss;
use super::siblings::Sibling;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::{GoneFingerprints, Identity, ReadPoint};
use crate::source::file::pass::PassContext;
use crate::source::file::reader::FileReader;

/// The reason of a loss if the content up to which a file was read before a restart is not there any more.
pub(in crate::source::file) const LOST_FILE: &str =
    "the file that was followed before the restart is gone, or was overwritten";

/// The result of looking for the file of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::file) enum ResumeResult {
    /// No checkpoint is left to search for.
    Done,
    /// The file was read up to `offset` and is gone: the path begins from scratch.
    Lost { offset: u64 },
    /// The path names nothing, so that the file may still come back.
    Waiting,
    /// Names are changing: the next pass searches again.
    Deferred,
}

/// The continuation of a [`Rotation`](super::Rotation) from its checkpoint.
///
/// All files of the checkpoint are opened as soon as they are found, not only the current one: the path may name one of the
/// later ones, and any of them may be deleted while the current one is read.
pub(super) struct Resumption<'a> {
    pub(super) location: &'a mut LogLocation,
    /// The number of the path among the paths of its stream.
    pub(super) id: usize,
    pub(super) generations: &'a mut GenerationList,
    pub(super) losses: &'a mut Vec<OldFileLoss>,
    pub(super) discovery: &'a mut Discovery,
    pub(super) checkpoint_changed: &'a mut bool,
    /// The fingerprints of files that no longer exist.
    pub(super) gone: &'a mut GoneFingerprints,
    /// The time of the first search for the files.
    pub(super) resumed_at: Instant,
}

impl Resumption<'_> {
    /// Looks for the files. The result is that of the search for the current one.
    ///
    /// # Errors
    /// If the file at the path cannot be opened or read.
    pub(super) fn run(mut self, pass: &mut PassContext<'_>) -> io::Result<ResumeResult> {
        for loaded in self.generations.iter_mut().filter(|loaded| loaded.saved.is_some()) {
            loaded.added_at = Some(self.resumed_at);
        }
        let mut result = self.resume_current(pass)?;
        if result == ResumeResult::Done && !self.generations.is_resuming() {
            let sought = |later: &Generation| later.saved.is_some() && later.search == LaterSearch::Pending;
            let later = self.generations.iter().skip(1).filter(|later| sought(later));
            let later: Vec<_> = later.map(|later| later.reader.identity()).collect();
            for file in later {
                // The file may have been merged with one before it.
                let at = self.generations.position(file).filter(|at| *at > 0);
                // The path may name a copy of the file: it is not opened as a new one until that is clear.
                if at.is_some_and(|at| !self.resume_later(at, pass)) {
                    result = ResumeResult::Deferred;
                }
            }
        }
        Ok(result)
    }

    fn resume_current(&mut self, pass: &mut PassContext<'_>) -> io::Result<ResumeResult> {
        let Some(saved) = self.generations.front().and_then(|current| current.saved.clone()) else {
            return Ok(ResumeResult::Done);
        };
        let (found, rewritten) = match self.search(0, &saved, pass)? {
            SearchOutcome::Found { reader, point, at_path, rewritten } => (Some((reader, point, at_path)), rewritten),
            SearchOutcome::Lost { rewritten } => (None, rewritten),
            SearchOutcome::Waiting => return Ok(ResumeResult::Waiting),
            SearchOutcome::Unclear => return Ok(ResumeResult::Deferred),
        };
        let continues_in = self.continue_saved(0, &saved, found, pass);
        *self.checkpoint_changed |= continues_in.is_some() || saved.is_finished();
        self.add_rewritten(0, rewritten, &saved, continues_in, pass);
        let lost = ResumeResult::Lost { offset: saved.at() };
        Ok(if continues_in.is_some() || saved.is_finished() { ResumeResult::Done } else { lost })
    }

    /// Looks for the file of a later generation. One that is not found is searched for again once it is the current one, and
    /// may be a loss then. But if its file has other content, the loss is certain, and that content is read. Returns `false` if
    /// names are changing, so that the next pass searches again.
    fn resume_later(&mut self, at: usize, pass: &mut PassContext<'_>) -> bool {
        let later = self.generations.get(at).filter(|later| later.search == LaterSearch::Pending);
        let Some(saved) = later.and_then(|later| later.saved.clone()) else { return true };
        match self.search(at, &saved, pass) {
            Ok(SearchOutcome::Unclear) => return false,
            Ok(SearchOutcome::Found { reader, point, at_path, rewritten }) if !self.is_earlier(&reader, at) => {
                let found = Some((reader, point, at_path));
                let continues_in = self.continue_saved(at, &saved, found, pass);
                self.add_rewritten(at, rewritten, &saved, continues_in, pass);
                *self.checkpoint_changed = true;
            }
            // What its program was drawing is emitted when it is its turn.
            Ok(SearchOutcome::Lost { rewritten: Some(path) }) if saved.stream_positions().is_empty() => {
                pass.claims.release(saved.identity(), self.id, None);
                self.gone.remember(saved.fingerprint());
                self.generations.remove(at);
                if !saved.is_finished() {
                    self.losses.push(OldFileLoss { missed: None, bytes: None, reason: LOST_FILE });
                }
                self.add_rewritten(at, Some(path), &saved, None, pass);
                *self.checkpoint_changed = true;
            }
            Ok(SearchOutcome::Found { .. } | SearchOutcome::Lost { .. } | SearchOutcome::Waiting) | Err(_) => {
                self.generations[at].search = LaterSearch::Postponed;
            }
        }
        true
    }

    /// Searches for the file of the checkpoint `saved` of the generation `at`.
    fn search(&mut self, at: usize, saved: &Checkpoint, pass: &mut PassContext<'_>) -> io::Result<SearchOutcome> {
        let since = *self.generations[at].sought_since.get_or_insert_with(Instant::now);
        let is_new = |sibling: &Sibling| self.discovery.is_new(sibling);
        CheckpointSearch::new(self.location, self.id, saved).run(since, &is_new, pass)
    }

    /// Returns whether one of the generations before `at` reads this file.
    fn is_earlier(&self, reader: &FileReader, at: usize) -> bool {
        self.generations.position(reader.identity()).is_some_and(|earlier| earlier < at)
    }

    /// Continues the generation `at`, which has the checkpoint `saved`, in the file that was `found`, or in a later
    /// generation that is a copy of its file; otherwise removes it. Returns the file in which it continues.
    fn continue_saved(
        &mut self,
        at: usize,
        saved: &Checkpoint,
        found: Option<(Box<FileReader>, ReadPoint, bool)>,
        pass: &mut PassContext<'_>,
    ) -> Option<Identity> {
        let is_own = found.as_ref().is_some_and(|(reader, ..)| reader.identity().same_inode(saved.identity()));
        // Of several copies, the first one comes next.
        let copy = if is_own { None } else { self.generations.continue_in_later(at, saved) };
        let mut continues_in = copy.or_else(|| found.as_ref().map(|(reader, ..)| reader.identity()));
        pass.claims.release(saved.identity(), self.id, None);
        match found.filter(|_| copy.is_none()) {
            Some((reader, point, at_path)) => match self.generations.merge_later(at, &reader, is_own, point.offset()) {
                Some(later) => continues_in = Some(later),
                None => self.resume_in(at, *reader, point, (!at_path).then_some(self.resumed_at), pass),
            },
            None if continues_in.is_none() => {
                // A copy may be found later, which could not be opened yet.
                self.gone.remember(saved.fingerprint());
                self.generations.drop_lost(self.id, pass);
            }
            None => drop(self.generations.remove(at)),
        }
        continues_in
    }

    /// Adds the new content of the file of the checkpoint `saved` at the path `rewritten`, if there is any: behind the file
    /// in which the old content continues, or in the place `at` of the old content.
    fn add_rewritten(
        &mut self,
        at: usize,
        rewritten: Option<PathBuf>,
        saved: &Checkpoint,
        continues_in: Option<Identity>,
        pass: &mut PassContext<'_>,
    ) {
        if let Some(path) = rewritten {
            let after = continues_in.and_then(|file| self.generations.position(file));
            let at = after.map_or(at, |after| after + 1);
            if self.generations.add_rewritten(&path, saved.identity(), at, self.id, pass) {
                *self.checkpoint_changed = true;
                self.discovery.require();
            }
        }
    }

    /// Continues the generation `at` at `point` of the file that was found. It was rotated away before `replaced_at`; `None`
    /// means that it is at the path.
    fn resume_in(
        &mut self,
        at: usize,
        reader: FileReader,
        point: ReadPoint,
        replaced_at: Option<Instant>,
        pass: &mut PassContext<'_>,
    ) {
        if self.location.update(&reader) {
            self.discovery.note_moved();
        }
        let Some(resumed) = self.generations.get_mut(at) else { return };
        pass.claims.claim(reader.identity(), self.id);
        // All files of the checkpoint were rotated before the restart. Only its last write says how long one is silent.
        resumed.grew_at = replaced_at.and(reader.last_write(pass.now));
        resumed.reader.continue_in(reader, point);
        if let Some(saved) = resumed.saved.take() {
            resumed.reader.set_stream_positions(saved.stream_positions().to_vec());
            saved.seen().into_iter().for_each(|seen| resumed.reader.expect_size(seen.size));
            resumed.finished_at = saved.is_finished().then_some(saved.at());
        }
        (resumed.sought_since, resumed.changed) = (None, true);
        resumed.replaced_at = replaced_at;
        if at > 0 && pass.open_limit.are_scarce(true) {
            resumed.reader.park();
        }
        *self.checkpoint_changed = true;
    }
}
