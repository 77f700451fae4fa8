//! The generations of one log, in order, and what can be asked of them.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::time::Instant;

use super::generation::Generation;
use super::old_files::OldFiles;
use super::siblings::{Sibling, Siblings};
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::{Fingerprint, Identity};
use crate::source::file::pass::PassContext;
use crate::source::file::target::Refusal;

/// The maximum number of generations. Further files are found by their names once there is room.
pub(super) const MAX_GENERATIONS: usize = 64;

/// With more generations than this, the current one is left at its end without waiting for late writers.
const MAX_GENERATIONS_WITH_WAIT: usize = 48;

/// The generations of the log at one path, oldest first; see [`Rotation`](super::Rotation).
#[derive(Debug, Default)]
pub(in crate::source::file) struct GenerationList {
    /// At most [`MAX_GENERATIONS`], and one more while a rewritten file is added.
    files: VecDeque<Generation>,
    /// The older files that are still written to, or were left a short time ago.
    pub(super) old_files: OldFiles,
    /// The time since when the path names something that is not followed and that came after the newest generation.
    pub(super) superseded_at: Option<Instant>,
}

impl Deref for GenerationList {
    type Target = VecDeque<Generation>;

    fn deref(&self) -> &VecDeque<Generation> {
        &self.files
    }
}

impl DerefMut for GenerationList {
    fn deref_mut(&mut self) -> &mut VecDeque<Generation> {
        &mut self.files
    }
}

impl GenerationList {
    /// The reason why the current generation cannot be read, if it cannot.
    pub(in crate::source::file) fn refused(&self) -> Option<&Refusal> {
        self.files.front()?.refused.as_ref().map(|(refusal, _)| refusal)
    }

    /// Returns whether the file of the checkpoint has not been found yet.
    pub(in crate::source::file) fn is_resuming(&self) -> bool {
        self.files.front().is_some_and(|current| current.saved.is_some())
    }

    /// Returns whether there is a file that is read.
    pub(in crate::source::file) fn is_open(&self) -> bool {
        self.files.front().is_some_and(|current| current.saved.is_none())
    }

    /// The newest generation.
    pub(in crate::source::file) fn newest(&self) -> Option<Identity> {
        self.files.back().map(|newest| newest.reader.identity())
    }

    pub(super) fn position(&self, identity: Identity) -> Option<usize> {
        self.files.iter().position(|generation| generation.reader.identity() == identity)
    }

    pub(in crate::source::file) fn contains(&self, identity: Identity) -> bool {
        self.position(identity).is_some()
    }

    /// The number of bytes that are known to be unread.
    pub(in crate::source::file) fn lag(&self) -> u64 {
        let written = self.old_files.written().map(|(generation, _)| generation);
        written.chain(&self.files).map(|generation| generation.reader.unread()).sum()
    }

    /// The time to try the current generation again, if it could not be read.
    pub(in crate::source::file) fn retry_at(&self) -> Option<Instant> {
        self.files.front()?.refused.as_ref().map(|(_, retry)| *retry)
    }

    /// The next time after `now` at which an old file is to be read or left.
    pub(in crate::source::file) fn due(&self, rotate_wait: Duration, now: Instant) -> Option<Instant> {
        let current = self.files.front();
        let wait = self.effective_wait(rotate_wait);
        let step = current.and_then(|current| current.next_step_at(self.successor_at(), wait, now));
        step.into_iter().chain(self.old_files.due(now)).min()
    }

    /// The time when the successor of the current generation appeared, if it has one.
    pub(super) fn successor_at(&self) -> Option<Instant> {
        match self.files.get(1) {
            Some(next) => next.added_at.or(self.files.front()?.replaced_at),
            None => self.superseded_at,
        }
    }

    /// Examines which of the replaced files grew.
    pub(super) fn note_growth(&mut self, now: Instant) {
        self.files.iter_mut().filter(|file| file.replaced_at.is_some()).for_each(|file| file.note_growth(now));
    }

    /// Records that a write to the path was notified. If the newest file was replaced, the write was to another one.
    pub(super) fn note_written(&mut self) {
        if let Some(newest) = self.files.back_mut().filter(|newest| newest.replaced_at.is_none()) {
            newest.written = true;
        }
    }

    /// Returns whether the path names the newest generation, as far as is known.
    pub(in crate::source::file) fn is_named(&self) -> bool {
        self.is_open() && self.files.back().is_some_and(|newest| newest.replaced_at.is_none())
    }

    /// The wait for a late writer: none while many generations are held.
    pub(super) fn effective_wait(&self, rotate_wait: Duration) -> Duration {
        if self.files.len() > MAX_GENERATIONS_WITH_WAIT { Duration::ZERO } else { rotate_wait }
    }

    /// The checkpoints of the first generation that is read, and of those after it; `id` is the number of the path. `None` if its file was not found yet, or was
    /// changed meanwhile: then the next read detects the change.
    pub(super) fn checkpoint(&self, id: usize, pass: &PassContext<'_>) -> Option<(Checkpoint, Vec<Checkpoint>)> {
        let current = self.files.front();
        if current.is_some_and(|current| current.saved.is_some()) {
            return None;
        }
        let now = pass.now.time;
        let emitted = |generation: &Generation, number| {
            let point = generation.reader.read_point_before(pass.pipeline.held(number)).ok()??;
            Some(Checkpoint::new(generation.reader.identity(), &point, now))
        };
        let later = |generation: &Generation| {
            let point = generation.reader.read_point();
            let new = || Checkpoint::new(generation.reader.identity(), point, now);
            // An unread generation is discovered again, unless it is older than the current one and was truncated.
            let is_discovered =
                point.offset() == 0 && current.is_none_or(|current| generation.reader.age() >= current.reader.age());
            generation.saved.clone().or_else(|| (!is_discovered).then(new))
        };
        let written = self.old_files.written().map(|(generation, number)| emitted(generation, number));
        let mut all: VecDeque<_> = written.chain(current.map(|current| emitted(current, id))).collect::<Option<_>>()?;
        let first = all.pop_front()?;
        all.extend(self.files.iter().skip(1).take(MAX_GENERATIONS).filter_map(later));
        Some((first, all.into()))
    }

    /// The fingerprints up to which the generations were read.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        let written = self.old_files.written().map(|(generation, _)| generation);
        written.chain(&self.files).map(Generation::fingerprint)
    }

    /// The position of a sibling among the generations by its age: behind those that are being read, and before the file
    /// that the path names.
    pub(super) fn index_by_age(&self, sibling: &Sibling, siblings: &Siblings) -> usize {
        let is_newer = |generation: &&Generation| {
            let identity = generation.reader.identity();
            let order = match (siblings.position(identity), siblings.position(sibling.identity)) {
                (Some(other), Some(this)) => other.cmp(&this),
                _ => generation.reader.age().cmp(&sibling.age).then(Ordering::Greater),
            };
            generation.is_unread() && (generation.replaced_at.is_none() || order == Ordering::Greater)
        };
        self.len() - self.iter().rev().take_while(is_newer).count()
    }
}
