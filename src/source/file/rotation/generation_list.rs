//! The generations of one log, in order, and what can be asked of them.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::discovery::{Discovery, SiblingsAdded};
use super::generation::{Examined, Generation, ReplacedBy, is_copy};
use super::old_files::OldFiles;
use super::siblings::{Sibling, Siblings};
use crate::source::ClockReading;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::{Fingerprint, GoneFingerprints, Identity, MIN_COPY_SIZE};
use crate::source::file::pass::PassContext;
use crate::source::file::reader::FileReader;
use crate::source::file::target::Refusal;

/// The maximum number of generations. Further files are found by their names once there is room.
pub(super) const MAX_GENERATIONS: usize = 64;

/// With more generations than this, the current one is left at its end without waiting for late writers.
const MAX_GENERATIONS_WITH_WAIT: usize = 48;

/// The generations of the log at one path, oldest first; see [`Rotation`](super::Rotation).
#[derive(Debug, Default)]
pub(in crate::source::file) struct GenerationList {
    /// At most [`MAX_GENERATIONS`], and after a restart one more for each file that was rewritten.
    files: VecDeque<Generation>,
    /// The older files that are still written to, or were left a short time ago.
    pub(super) old_files: OldFiles,
    /// The time since when the path names something that is not followed and that came after the newest generation.
    pub(super) superseded_at: Option<Instant>,
    /// The time when the replaced files were examined last.
    examined_at: Option<Instant>,
    /// A writer closed a file that was renamed from the path, as was notified since the last pass.
    closed: bool,
    /// The file that was truncated last.
    truncated: Option<Identity>,
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

    /// Returns whether the path names the newest generation.
    pub(in crate::source::file) fn newest_is_at(&self, path: &Path) -> bool {
        let named = fs::metadata(path).map(|metadata| Identity::from(&metadata)).ok();
        named.is_some() && named == self.newest()
    }

    pub(super) fn position(&self, identity: Identity) -> Option<usize> {
        self.files.iter().position(|generation| generation.reader.identity() == identity)
    }

    pub(in crate::source::file) fn contains(&self, identity: Identity) -> bool {
        self.position(identity).is_some()
    }

    /// The number of bytes that are known to be unread.
    pub(in crate::source::file) fn lag(&self) -> u64 {
        let written = self.old_files.open_files().map(|(generation, _)| generation);
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

    /// Records that the path does not name the newest generation any more, but `by`, or nothing.
    pub(in crate::source::file) fn mark_replaced(&mut self, now: ClockReading, by: Option<ReplacedBy>) {
        self.superseded_at = self.superseded_at.or(Some(now.instant)).filter(|_| by == Some(ReplacedBy::Other));
        let newest = self.files.back_mut();
        if let Some(newest) = newest.filter(|newest| newest.replaced_at.is_none() && newest.saved.is_none()) {
            newest.note_replaced(now);
            newest.replaced_atomically = by == Some(ReplacedBy::File);
        }
    }

    /// Returns whether the current generation has bytes that can be read as well later: it is the file that the path names,
    /// and was not truncated: it may be again at any time.
    pub(in crate::source::file) fn can_be_read_later(&self) -> bool {
        let is_only = self.files.len() == 1 && self.old_files.is_empty() && self.newest() != self.truncated;
        is_only && self.is_named() && self.files.iter().all(|current| current.reader.unread() > 0)
    }

    /// Returns whether there is room for further generations.
    pub(in crate::source::file) fn has_room(&self) -> bool {
        self.files.len() <= MAX_GENERATIONS / 2
    }

    /// Returns whether the successor may be read while the current generation is still followed.
    pub(super) fn may_continue(&self) -> bool {
        self.files.len() > 1 && self.old_files.has_room()
    }

    /// Examines which of the replaced files were closed or grew, once at each time. Returns whether the
    /// checkpoint is to be recorded again.
    pub(in crate::source::file) fn note_growth(&mut self, now: Instant) -> bool {
        if mem::take(&mut self.closed) {
            self.files.iter_mut().filter(|file| file.replaced_at.is_some()).for_each(|file| file.closed_at = Some(now));
        }
        if self.examined_at.replace(now) == Some(now) {
            return false;
        }
        let replaced = self.files.iter_mut().filter(|file| file.replaced_at.is_some());
        replaced.fold(false, |any, file| any | file.note_growth(now))
    }

    /// Goes back to the start of the current generation, which was truncated. Returns the fingerprint up to which it was
    /// read.
    pub(super) fn restart_current(&mut self) -> Option<Fingerprint> {
        let current = self.files.front_mut()?;
        let read = current.reader.read_point().fingerprint();
        current.reader.restart();
        self.truncated = Some(current.reader.identity());
        Some(read)
    }

    /// Records that a writer closed a file that was renamed from the path. The notification does not say which file, if
    /// there are several: then the successors of all of them may be read.
    pub(in crate::source::file) fn note_closed(&mut self) {
        self.closed = true;
    }

    /// Records that a write to the path was notified. If the newest file was replaced, the write was to another one.
    pub(in crate::source::file) fn note_written(&mut self) {
        if let Some(newest) = self.files.back_mut().filter(|newest| newest.replaced_at.is_none()) {
            newest.notified_writes = newest.notified_writes.saturating_add(1);
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

    /// The checkpoints of the first generation that is read, and of those after it; `id` is the number of the path, and
    /// `joined` are those of files that were left before their last lines were emitted. `None` if the file was not found
    /// yet, or was changed meanwhile: then the next read detects the change.
    pub(super) fn checkpoint(
        &self,
        id: usize,
        joined: &[Checkpoint],
        pass: &PassContext<'_>,
    ) -> Option<(Checkpoint, Vec<Checkpoint>)> {
        let current = self.files.front();
        if current.is_some_and(|current| current.saved.is_some()) {
            return None;
        }
        let now = pass.now.time;
        let emitted = |generation: &Generation, number| {
            let (held, positions) = pass.pipeline.checkpoint(number);
            let point = generation.reader.read_point_before(held).ok()??;
            // Nothing is read before the positions of an earlier process are taken.
            let pending = generation.reader.stream_positions();
            let positions = if pending.is_empty() { positions } else { pending.to_vec() };
            let saved = Checkpoint::new(generation.reader.identity(), &point, now).with_stream_positions(positions);
            let saved = saved.with_seen(generation.reader.seen(&point));
            Some(saved.with_finished(generation.is_done(number, pass)))
        };
        let later = |generation: &Generation| {
            let point = generation.reader.read_point();
            let is_finished = generation.finished_at == Some(point.offset()) && generation.reader.unread() == 0;
            generation.saved.clone().unwrap_or_else(|| {
                let saved = Checkpoint::new(generation.reader.identity(), point, now);
                let positions = generation.reader.stream_positions().to_vec();
                let saved = saved.with_seen(generation.reader.seen(point)).with_stream_positions(positions);
                saved.with_finished(is_finished)
            })
        };
        // The checkpoint of a file whose last lines wait for the next file begins with these lines.
        let is_joined = |file: &Generation| joined.iter().any(|saved| saved.identity() == file.reader.identity());
        let written = self.old_files.open_files().filter(|(file, _)| !is_joined(file));
        let written = written.map(|(generation, number)| emitted(generation, number));
        let joined = joined.iter().cloned().map(Some);
        let current = current.map(|current| emitted(current, id));
        let mut all: VecDeque<_> = written.chain(joined).chain(current).collect::<Option<_>>()?;
        let first = all.pop_front()?;
        all.extend(self.files.iter().skip(1).take(MAX_GENERATIONS).map(later));
        Some((first, all.into()))
    }

    /// The fingerprints up to which the generations were read.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        let written = self.old_files.open_files().map(|(generation, _)| generation);
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

    /// Adds the siblings of the path `id` that `discovery` says are new, up to the file `newest`.
    pub(super) fn add_siblings(
        &mut self,
        siblings: &Siblings,
        newest: Option<Identity>,
        discovery: &Discovery,
        id: usize,
        pass: &mut PassContext<'_>,
    ) -> SiblingsAdded {
        // If the newest file was rotated meanwhile, the files from there on are found together with the one that the path
        // names then.
        let rotated = newest.and_then(|newest| siblings.position(newest));
        let end = rotated.unwrap_or(siblings.files.len());
        let mut before: Option<&Sibling> = None;
        for (number, sibling) in siblings.files[..end].iter().enumerate() {
            let is_known = pass.claims.is_known(sibling.identity);
            if is_known {
                before = Some(sibling);
                continue;
            }
            if !discovery.is_new(sibling) || (pass.is_own_path)(&sibling.path) {
                continue;
            }
            if self.is_copy_of_read(siblings, number, before, pass) {
                continue;
            }
            let at = self.index_by_age(sibling, siblings);
            // An original is added with its copies: it is not new once these are done.
            let follows_copy = before.is_some_and(|before| before.copied_from == Some(sibling.identity));
            if at == self.files.len() && at >= MAX_GENERATIONS && !follows_copy {
                return SiblingsAdded::NoRoom;
            }
            if self.insert_sibling(at, sibling, id, pass) {
                before = Some(sibling);
                if let Some(original) = sibling.copied_from.and_then(|original| self.position(original)) {
                    self.files[original].reader.note_copied(sibling.size);
                }
            }
        }
        if rotated.is_some() { SiblingsAdded::NewestRotated } else { SiblingsAdded::All }
    }

    /// Returns whether the sibling `at` is a copy of what was read, or is read in another file. `before` is the one before it
    /// that is read.
    fn is_copy_of_read(
        &self,
        siblings: &Siblings,
        at: usize,
        before: Option<&Sibling>,
        pass: &PassContext<'_>,
    ) -> bool {
        let (sibling, open_limit) = (&siblings.files[at], pass.open_limit);
        let is_copy_of = |file: Option<&File>| is_copy(&sibling.path, file, open_limit);
        let is_read = self.files.iter().enumerate().any(|(at, generation)| {
            let holds_lines_of_its_own = at == 0 || generation.replaced_at.is_none() || !generation.is_unread();
            (holds_lines_of_its_own && is_copy_of(generation.reader.file().ok()))
                || generation.may_resume_in(&sibling.path, open_limit)
        });
        if is_read {
            return true;
        }
        let has_content_of =
            |other: &Sibling| is_copy_of(open_limit.open(&other.path).ok().map(|(file, _)| file).as_deref());
        let original = sibling.copied_from.and_then(|original| siblings.position(original));
        let Some(original) = original.map(|original| &siblings.files[original]) else {
            return before.is_some_and(|before| !siblings.follows(sibling, before) || has_content_of(before));
        };
        // If nothing of the original was read before it was truncated, only its copies have what it contained then.
        let is_unread = self
            .position(original.identity)
            .is_some_and(|at| self.files[at].is_unread() && (at > 0 || self.truncated != Some(original.identity)));
        (pass.claims.is_known(original.identity) && !is_unread)
            || has_content_of(original)
            || siblings.files.get(at + 1).is_some_and(has_content_of)
    }

    /// Inserts a sibling as a generation. Returns `false` if it is compressed.
    fn insert_sibling(&mut self, at: usize, sibling: &Sibling, id: usize, pass: &mut PassContext<'_>) -> bool {
        let identity = sibling.identity;
        let opened =
            FileReader::open(&sibling.path, pass.open_limit).ok().filter(|reader| reader.identity() == identity);
        let mut reader = match opened {
            Some(reader) if reader.compressed().is_ok_and(|kind| kind.is_some()) => return false,
            Some(reader) => reader,
            // The name belongs to another file by now. The sibling is searched for when it becomes the current
            // generation.
            None => FileReader::parked(identity, sibling.size),
        };
        if pass.open_limit.are_scarce(true) {
            reader.park();
        }
        pass.claims.claim(identity, id);
        let name = Some(sibling.path.clone());
        let now = Some(pass.now.instant);
        let examined = Some(Examined { size: sibling.size, written: sibling.written, is_deleted: false });
        let generation = Generation { replaced_at: now, added_at: now, name, examined, ..Generation::new(reader) };
        self.files.insert(at, generation);
        true
    }

    /// Handles that the generation `at`, which has a checkpoint, continues at `offset` of the file `found`: nothing is read
    /// twice. If `found` is also a later generation, the one of the two that was read less far is removed. If it is a copy, and
    /// the checkpoint of a later generation continues in it as well, at least as far, that one began with the same content, and
    /// the generation `at` is removed. Returns the generation that continues it, if it was removed.
    pub(super) fn merge_later(&mut self, at: usize, found: &FileReader, is_own: bool, offset: u64) -> Option<Identity> {
        let mut later = at + 1..self.files.len();
        if let Some(same) = later.find(|later| self.files[*later].reader.identity() == found.identity()) {
            let saved = self.files[same].saved.as_ref().map(Checkpoint::at);
            let is_read = saved.unwrap_or_else(|| self.files[same].reader.read_point().offset()) >= offset;
            self.files.remove(if is_read { at } else { same });
            return is_read.then_some(found.identity());
        }
        let continues = |later: &&Generation| later.fingerprint().at >= offset && later.continues_in(found);
        let mut later = self.files.iter().skip(at + 1).filter(|_| !is_own);
        let continues_in = later.find(continues)?.reader.identity();
        self.files.remove(at);
        Some(continues_in)
    }

    /// Handles that the file of the checkpoint of the generation `at` is gone: the first later generation that is a copy of it,
    /// and may be deleted as well, is read from there. Returns its identity.
    pub(super) fn continue_in_later(&mut self, at: usize, saved: &Checkpoint) -> Option<Identity> {
        let read = saved.fingerprint();
        if read.at < MIN_COPY_SIZE {
            return None;
        }
        let later = self.files.iter_mut().skip(at + 1).filter(|later| later.is_unread());
        let copy = later.map(|later| &mut later.reader).find_map(|copy| copy.resume_at(read).ok()?.then_some(copy));
        copy.map(|copy| {
            copy.set_stream_positions(saved.stream_positions().to_vec());
            copy.identity()
        })
    }

    /// Emits what the program of the current generation was drawing, since the file of its checkpoint is gone. Returns the
    /// checkpoint.
    pub(super) fn end_drawing(&self, id: usize, pass: &mut PassContext<'_>) -> Option<&Checkpoint> {
        let saved = self.files.front()?.saved.as_ref()?;
        if !saved.stream_positions().is_empty() {
            pass.pipeline.resume(id, saved.stream_positions(), pass.now, pass.batch);
            pass.finish(id);
        }
        Some(saved)
    }

    /// Drops the current generation, since the file of its checkpoint is gone.
    pub(super) fn drop_lost(&mut self, id: usize, pass: &mut PassContext<'_>) {
        self.end_drawing(id, pass);
        self.files.pop_front();
    }

    /// Moves to the farthest point in the current generation, of which nothing was read, up to which it is a copy of one of
    /// the files in `gone`, or of a later generation. If that one was truncated after the copy was made, its new content is
    /// read from the start. Returns whether the current generation is a copy.
    pub(super) fn continue_as_copy(&mut self, gone: &mut GoneFingerprints) -> bool {
        let read_later = self.files.iter().skip(1).filter(|later| later.saved.is_none()).map(Generation::fingerprint);
        let copied = gone.iter().chain(read_later.filter(|read| read.at >= MIN_COPY_SIZE)).collect();
        let Some(current) = self.files.front_mut() else { return false };
        if !current.reader.resume_at_farthest(copied) {
            return false;
        }
        let read = current.fingerprint();
        let is_truncated = |later: &&mut Generation| {
            later.saved.is_none()
                && later.fingerprint() == read
                && later.reader.file().is_ok_and(|file| read.read_point_in(file).is_ok_and(|found| found.is_none()))
        };
        if let Some(original) = self.files.iter_mut().skip(1).find(is_truncated) {
            gone.remember(read);
            original.reader.restart();
        }
        true
    }

    /// Adds the new content of a checkpoint's file, which was truncated, as the generation `at`. Returns whether it was added.
    pub(super) fn add_rewritten(
        &mut self,
        path: &Path,
        identity: Identity,
        at: usize,
        id: usize,
        pass: &mut PassContext<'_>,
    ) -> bool {
        let opened = FileReader::open(path, pass.open_limit).ok();
        let is_ours =
            |reader: &FileReader| reader.identity() == identity && !pass.claims.is_claimed_by_other(identity, id);
        if let Some(reader) = opened.filter(is_ours) {
            pass.claims.claim(identity, id);
            let generation = Generation { replaced_at: Some(pass.now.instant), ..Generation::new(reader) };
            self.files.insert(at, generation);
            return true;
        }
        false
    }

    /// Continues in the current generation if that is an edited copy of `old`, the one before it, of which `held` bytes were
    /// not emitted. Returns whether it is.
    pub(super) fn continue_copy_of(&mut self, old: &Generation, held: u64) -> bool {
        let deleted = old.reader.is_parked() || old.reader.is_deleted();
        let read = old.read_point_before(held).fingerprint();
        // An editor or `sed -i` writes a copy and renames it over the file: that is the same log. So is the copy that
        // an overlay file system makes before the first write.
        self.files.front_mut().is_some_and(|next| {
            next.changed = true;
            let copied = next.reader.identity().same_inode(old.reader.identity());
            ((old.replaced_atomically && deleted) || copied) && next.reader.resume_at(read).unwrap_or(false)
        })
    }
}
