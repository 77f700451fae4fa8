//! The generations of one log: the files that a rotation has moved away and that are still to be read, and the file
//! that the path names now.
//!
//! [`Rotation`] holds them in a [`generation_list`], and [`generation`] is one of them. [`siblings`] lists the other
//! files of the log in order; [`watermark`] says which of those have been read, and [`discovery`] decides when to list
//! them. [`old_files`] are those that are still written to although a newer one is read, or were left. [`joined_files`]
//! are those whose last lines wait for lines of the next file. After a restart, [`resumption`] continues in the files of the
//! checkpoint, which [`checkpoint_search`] finds.

mod checkpoint_search;
mod discovery;
mod generation;
mod generation_list;
mod joined_files;
pub(super) mod location;
pub(super) mod old_files;
mod resumption;
pub(super) mod siblings;
pub(super) mod watermark;

use std::fs::Metadata;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::checkpoint::Checkpoint;
use super::claims::Claims;
use super::fingerprint::{Fingerprint, GoneFingerprints, Identity, MIN_COPY_SIZE};
use super::pass::PassContext;
use super::reader::FileReader;
use super::target::Refusal;
use discovery::{Discovery, Listing, SiblingsAdded};
use generation::{Generation, NextStep, OpenResult};
pub(super) use generation::{MAX_OLD_FILE_TIME, ReplacedBy};
use generation_list::GenerationList;
use joined_files::JoinedFiles;
use location::LogLocation;
use old_files::{DELETED_FILE_LOSS, OldFileLoss};
use resumption::Resumption;
pub(super) use resumption::{LOST_FILE, ResumeResult};
use siblings::Siblings;

/// The time after which a file that could not be opened or read is tried again.
pub(super) const REOPEN_INTERVAL: Duration = Duration::from_secs(5);

/// The generations of the log at one path, oldest first.
///
/// The front is the *current* generation. The back is the file that the path names, unless that was replaced. At its
/// end, some time after it was replaced, a generation is left, or becomes one of the [`old_files`] if it still grows.
#[derive(Debug)]
pub(super) struct Rotation {
    location: LogLocation,
    /// The number of the path among the paths of its stream.
    id: usize,
    generations: GenerationList,
    /// The silence after which a renamed file without a successor is left; `None` for a path in the configuration.
    max_silence: Option<Duration>,
    /// The losses in old files that are to be reported.
    losses: Vec<OldFileLoss>,
    discovery: Discovery,
    /// The time of a truncation, as long as copies of the file may appear that are not to be read.
    truncated_at: Option<Instant>,
    /// Fingerprints of files of which the path's first file may be a copy: then only the rest of it is new.
    copy_candidates: Vec<Fingerprint>,
    /// The fingerprints of deleted and truncated files, so that a copy of one is continued.
    gone: GoneFingerprints,
    /// The last generation was replaced atomically by a file with other content: the next ones may be copies of it.
    after_atomic_replacement: bool,
    /// Work is left for the next pass, since names are changing.
    deferred: bool,
    /// The checkpoint is to be recorded again.
    checkpoint_changed: bool,
    /// The current file if nothing more was expected in it when its end was last examined, as the checkpoint says.
    done: Option<Identity>,
    /// Files that were left before their last lines were emitted.
    joined_files: JoinedFiles,
    /// The time of the first search for the files of a checkpoint.
    resumed_at: Option<Instant>,
}

impl Rotation {
    /// `from_pattern` says that a pattern found the path, whose file may be moved away for good; `rotated` are further
    /// directories into which a rotation may move files.
    pub(super) fn new(path: PathBuf, id: usize, from_pattern: bool, rotated: Arc<[PathBuf]>) -> Self {
        Self {
            location: LogLocation::new(path, rotated),
            id,
            generations: GenerationList::default(),
            max_silence: from_pattern.then_some(MAX_OLD_FILE_TIME),
            losses: Vec::new(),
            discovery: Discovery::default(),
            truncated_at: None,
            copy_candidates: Vec::new(),
            gone: GoneFingerprints::default(),
            after_atomic_replacement: false,
            deferred: false,
            checkpoint_changed: false,
            done: None,
            joined_files: JoinedFiles::default(),
            resumed_at: None,
        }
    }

    /// Loads a checkpoint; [`resume`](Self::resume) then searches for its files.
    pub(super) fn load(&mut self, saved: Checkpoint, claims: &mut Claims) {
        self.gone = saved.gone_fingerprints().collect();
        self.discovery = Discovery::resume(&saved);
        self.location.set_target(saved.link_target());
        saved.left_files().for_each(|left| self.generations.old_files.load_left(left));
        if saved.is_gone() {
            return;
        }
        for saved in saved.generations() {
            claims.claim(saved.identity(), self.id);
            if saved.at() == 0 {
                self.discovery.require();
            }
            let reader = FileReader::parked(saved.identity(), 0);
            self.generations.push_back(Generation { saved: Some(saved), ..Generation::new(reader) });
        }
    }

    /// Sets the start of discovery: without a checkpoint, only siblings created after `since` are new; in nanoseconds
    /// since the Unix epoch.
    pub(super) fn start_watermark(&mut self, since: Option<u64>) {
        self.discovery.start_watermark(since);
    }

    /// Sets the fingerprints of files of which the path's first file may be a copy.
    pub(super) fn set_copy_candidates(&mut self, candidates: Vec<Fingerprint>) {
        self.copy_candidates = candidates;
    }

    pub(super) fn path(&self) -> &Path {
        self.location.path()
    }

    pub(super) fn id(&self) -> usize {
        self.id
    }

    pub(super) fn len(&self) -> usize {
        self.generations.len() + self.generations.old_files.open_files().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.generations.old_files.is_empty()
    }

    pub(super) fn generations(&self) -> &GenerationList {
        &self.generations
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Generation> {
        self.generations.front_mut()
    }

    /// The fingerprints of the generations and the deleted files, if they are long enough for recognising a copy.
    pub(super) fn fingerprints(&self) -> Vec<Fingerprint> {
        self.generations.fingerprints().chain(self.gone.iter()).filter(|read| read.at >= MIN_COPY_SIZE).collect()
    }

    /// The losses in old files since the last call.
    pub(super) fn take_losses(&mut self) -> Vec<OldFileLoss> {
        mem::take(&mut self.losses)
    }

    pub(super) fn generations_mut(&mut self) -> &mut GenerationList {
        &mut self.generations
    }

    /// Returns whether work is left for the next pass, and clears the flag.
    pub(super) fn take_deferred(&mut self) -> bool {
        mem::take(&mut self.deferred)
    }

    /// Leaves work for the next pass.
    pub(super) fn defer(&mut self) {
        self.deferred = true;
    }

    /// `true` if the checkpoint is to be recorded again.
    pub(super) fn checkpoint_changed(&mut self) -> &mut bool {
        &mut self.checkpoint_changed
    }

    /// Records that the path names this file; `false` if it is not one of the generations.
    pub(super) fn note_named(&mut self, metadata: &Metadata, pass: &mut PassContext<'_>) -> bool {
        let identity = Identity::from(metadata);
        if let Some(old) = self.generations.old_files.reinstate(identity, pass) {
            self.generations.mark_replaced(pass.now, None);
            self.generations.push_back(Generation { replaced_at: None, ..old });
            self.checkpoint_changed = true;
        }
        let Some(at) = self.generations.position(identity) else { return false };
        self.discovery.note_named(identity);
        self.generations.superseded_at = None;
        let named = &mut self.generations[at];
        self.checkpoint_changed |= at > 0 && named.note_unread(metadata);
        named.changed |= named.reader.note_metadata(metadata);
        if at + 1 < self.generations.len() {
            self.reinstate(at, pass);
        } else {
            self.generations[at].replaced_at = None;
        }
        if self.discovery.is_required() {
            self.discover(Some(identity), pass);
        }
        self.skip_copies(pass);
        true
    }

    /// Records that the path names nothing that can be followed; `by` says what came after the newest generation.
    pub(super) fn note_missing(&mut self, by: Option<ReplacedBy>, pass: &mut PassContext<'_>) {
        self.generations.mark_replaced(pass.now, by);
        self.discover(None, pass);
        self.checkpoint_changed |= self.generations.is_empty();
    }

    /// Handles that the path names an older generation again.
    fn reinstate(&mut self, at: usize, pass: &mut PassContext<'_>) {
        self.generations.mark_replaced(pass.now, None);
        if at == 0 {
            pass.finish(self.id);
        }
        if let Some(generation) = self.generations.remove(at) {
            self.generations.push_back(Generation { replaced_at: None, ..generation });
        }
        self.checkpoint_changed = true;
    }

    /// Records that the path was opened, and may lead to another directory.
    pub(super) fn note_opened(&mut self, reader: &FileReader) {
        if self.location.update(reader) {
            self.discovery.note_moved();
        }
    }

    /// Moves to the offset in a new file up to which it is a copy of a file that was read; `false` if it is not a copy.
    pub(super) fn continue_copy(&mut self, reader: &mut FileReader, pass: &PassContext<'_>) -> bool {
        let copied = mem::take(&mut self.copy_candidates);
        let released_at = pass.claims.released_at(reader.identity());
        released_at.is_some_and(|fingerprint| reader.resume_at(fingerprint).unwrap_or(false))
            || reader.resume_at_farthest(copied)
    }

    /// Adds the file that the path names.
    pub(super) fn push(&mut self, reader: FileReader, pass: &mut PassContext<'_>) {
        pass.claims.claim(reader.identity(), self.id);
        self.checkpoint_changed = true;
        self.generations.push_back(Generation { added_at: Some(pass.now.instant), ..Generation::new(reader) });
        self.generations.superseded_at = None;
    }

    // Discovery: generations that were rotated away before they were seen under the path.

    /// Adds the files that were rotated away before the path named `newest`, or nothing. Returns whether these are all.
    pub(super) fn discover(&mut self, newest: Option<Identity>, pass: &mut PassContext<'_>) -> bool {
        let is_all = self.discover_siblings(newest, pass);
        if is_all || !self.deferred {
            self.discovery.end_requirement();
        }
        is_all
    }

    /// Records that the path names something that is not followed.
    pub(super) fn note_unfollowed(&mut self) {
        self.discovery.end_requirement();
    }

    fn discover_siblings(&mut self, newest: Option<Identity>, pass: &mut PassContext<'_>) -> bool {
        let has_room = self.generations.has_room();
        if !self.discover_previous(newest, has_room, pass) {
            return false;
        }
        let listing = self.discovery.list(&self.location, newest, has_room, pass.index);
        self.deferred |= matches!(listing, Listing::Unclear);
        match listing {
            Listing::Known => true,
            Listing::NoRoom | Listing::Unclear => false,
            Listing::Siblings(siblings) => {
                let added = self.add_new(&siblings, newest, pass);
                self.discovery.finish(&siblings, added);
                added == SiblingsAdded::All
            }
        }
    }

    /// Adds the new siblings up to the file `newest`.
    fn add_new(&mut self, siblings: &Siblings, newest: Option<Identity>, pass: &mut PassContext<'_>) -> SiblingsAdded {
        let before = self.generations.len();
        let added = self.generations.add_siblings(siblings, newest, &self.discovery, self.id, pass);
        self.checkpoint_changed |= self.generations.len() > before;
        added
    }

    /// Adds the files that were rotated away at the location from which the path was switched to the current one, and the
    /// file that has that location's own name. Returns whether these are all.
    fn discover_previous(&mut self, newest: Option<Identity>, has_room: bool, pass: &mut PassContext<'_>) -> bool {
        let Some((previous, since)) = self.location.previous() else { return true };
        if !has_room {
            return false;
        }
        let Some(mut siblings) = pass.index.rotated(previous, Some(*since)) else {
            self.deferred = true;
            return false;
        };
        siblings.order(self.discovery.counts_up());
        siblings.files.retain(|sibling| Some(sibling.identity) != newest);
        let is_all = self.add_new(&siblings, newest, pass) == SiblingsAdded::All;
        if is_all && siblings.settled_stamp.is_some() {
            self.location.forget_previous();
        } else {
            self.deferred = true;
        }
        is_all && self.location.previous().is_none()
    }

    /// Skips copies after a truncation, while the path names the same file: the siblings are copies of it that are not
    /// to be read.
    fn skip_copies(&mut self, pass: &mut PassContext<'_>) {
        let Some(since) = self.truncated_at.filter(|_| self.generations.len() == 1) else { return };
        let Some(siblings) = pass.index.rotated(&self.location, Some(since)) else {
            self.deferred = true;
            return;
        };
        self.truncated_at = None;
        if self.generations.newest_is_at(self.path()) {
            self.checkpoint_changed |= self.discovery.skip(&siblings);
        }
    }

    // The current generation: how it is opened, and how it is left.

    /// Opens the current generation; `false` if there is nothing to read in it.
    pub(super) fn open_current(&mut self, pass: &mut PassContext<'_>) -> io::Result<bool> {
        let Some(current) = self.generations.front_mut() else { return Ok(false) };
        if self.discovery.is_required() && current.is_unread() {
            return Ok(false);
        }
        match current.open(&self.location, pass)? {
            OpenResult::Open => {
                self.skip_copied();
                return Ok(true);
            }
            OpenResult::NothingToRead => {}
            OpenResult::Unclear => self.deferred = true,
        }
        Ok(false)
    }

    /// If the current generation may be a copy of a deleted or truncated file, moves to the offset up to which that was
    /// read.
    fn skip_copied(&mut self) {
        let is_last = self.generations.len() == 1;
        let after_atomic =
            if is_last { mem::take(&mut self.after_atomic_replacement) } else { self.after_atomic_replacement };
        let current = self.generations.front_mut();
        let Some(current) = current.filter(|current| current.replaced_at.is_some() || after_atomic) else { return };
        if current.is_unread() {
            self.checkpoint_changed |= self.generations.continue_as_copy(&mut self.gone);
        }
    }

    /// Reads a chunk of each old file, and checks those that were left. Returns the number of bytes, and whether there
    /// is more to do.
    pub(super) fn read_old_files(&mut self, pass: &mut PassContext<'_>) -> (usize, bool) {
        let read = self.generations.old_files.read(&self.location, self.id, &self.joined_files, pass);
        self.checkpoint_changed |= read.bytes > 0 || !read.losses.is_empty();
        self.losses.extend(read.losses);
        for old in read.done {
            self.retire(old, pass);
        }
        (read.bytes, read.more)
    }

    /// Handles the end of the current generation: leaves it if its time has come, and returns whether there is more to
    /// do. `active` says that the path grew a short time ago.
    pub(super) fn current_at_end(&mut self, active: bool, pass: &mut PassContext<'_>) -> bool {
        let wait = self.generations.effective_wait(pass.settings.rotate_wait);
        let successor_at = self.generations.successor_at();
        let may_continue = self.generations.may_continue() && pass.pipeline.is_between_lines(self.id);
        let Some(current) = self.generations.front_mut() else { return false };
        let step = current.next_step(successor_at, self.max_silence, wait, may_continue, pass.now.instant);
        if step == NextStep::Stay {
            if let Some(successor_at) = successor_at {
                // The next line of an event may be in the successor.
                pass.pipeline.hold_joined(self.id, successor_at + wait);
            }
            let done = self.generations.front().filter(|current| current.is_done(self.id, pass));
            let done = done.map(|current| current.reader.identity());
            self.checkpoint_changed |= done.is_some() && done != self.done;
            self.done = done;
            self.park_current(active, pass);
            return false;
        }
        // The next generation must be known before this one is left.
        self.discover(self.discovery.newest(), pass);
        if self.deferred {
            return true;
        }
        match step {
            NextStep::Stay | NextStep::Leave => self.leave_current(pass),
            NextStep::Lose => {
                self.losses.push(OldFileLoss { missed: None, bytes: None, reason: DELETED_FILE_LOSS });
                self.leave_current(pass);
            }
            NextStep::ContinueInSuccessor => self.continue_in_successor(pass),
            NextStep::ReadSuccessor => self.release_current(pass),
        }
        true
    }

    /// Continues in the next generation, since nothing more is expected in the current one, which is still followed.
    fn continue_in_successor(&mut self, pass: &mut PassContext<'_>) {
        let Some(old) = self.generations.pop_front() else { return };
        let number = self.generations.old_files.free_number(self.id);
        pass.pipeline.branch_off(self.id, number);
        if !self.hand_over(&old, 0) {
            self.joined_files.change_file(self.id, &old, self.generations.front(), pass);
        }
        self.discovery.leave(old.reader.age(), old.reader.identity());
        self.generations.old_files.add_finished(old, number);
        self.checkpoint_changed = true;
    }

    /// Makes the current generation, which is still written to, an old file that is read at the same time as the next.
    fn release_current(&mut self, pass: &mut PassContext<'_>) {
        if self.joined_files.is_waiting() {
            // The lines that wait are of the files before this one, and continue in the next one.
            if self.generations.may_continue() && pass.pipeline.is_between_lines(self.id) {
                return self.continue_in_successor(pass);
            }
            pass.pipeline.flush_joined(self.id, pass.now, pass.batch);
        }
        let Some(old) = self.generations.pop_front() else { return };
        if self.hand_over(&old, pass.pipeline.held(self.id))
            && let Some(next) = self.generations.front_mut()
        {
            next.reader.set_stream_positions(pass.pipeline.positions(self.id));
        }
        self.discovery.leave(old.reader.age(), old.reader.identity());
        if let Some(oldest) = self.generations.old_files.add_written(old, self.id, pass) {
            self.retire(oldest, pass);
        }
        self.checkpoint_changed = true;
    }

    /// Continues in the next generation if that is an edited copy of `old`, of which `held` bytes were not emitted.
    /// Returns whether it is.
    fn hand_over(&mut self, old: &Generation, held: u64) -> bool {
        let deleted = old.reader.is_parked() || old.reader.is_deleted();
        let is_same = self.generations.continue_copy_of(old, held);
        if !is_same && deleted {
            // A copy may come after the next generation.
            self.gone.remember(old.read_point_before(held).fingerprint());
            self.after_atomic_replacement |= old.replaced_atomically;
        }
        is_same
    }

    /// Ends the reading of a generation. If it still has a name, later bytes are reported.
    fn retire(&mut self, old: Generation, pass: &mut PassContext<'_>) {
        let (identity, read) = (old.reader.identity(), old.reader.read_point().fingerprint());
        let deleted = old.reader.is_parked() || old.reader.is_deleted();
        self.discovery.leave(old.reader.age(), identity);
        pass.claims.release(identity, self.id, Some(read).filter(|_| !deleted));
        if deleted {
            self.gone.remember(read);
        } else if old.replaced_at.is_some() && !self.generations.contains(identity) {
            self.generations.old_files.add_left(old, pass);
        }
        self.checkpoint_changed = true;
    }

    /// Closes the current generation, which was read to its end, if too many files are open.
    pub(super) fn park_current(&mut self, active: bool, pass: &mut PassContext<'_>) {
        if !pass.pipeline.is_open(self.id)
            && pass.open_limit.are_scarce(active)
            && let Some(current) = self.generations.front_mut()
        {
            current.reader.park();
            current.changed = false;
        }
    }

    /// Goes back to the start of the current generation, which was truncated.
    pub(super) fn restart_current(&mut self) {
        let Some(read) = self.generations.restart_current() else { return };
        self.truncated_at = Some(Instant::now());
        self.gone.remember(read);
    }

    /// Leaves the current generation for the next one.
    pub(super) fn leave_current(&mut self, pass: &mut PassContext<'_>) {
        let Some(old) = self.generations.pop_front() else { return };
        if !self.hand_over(&old, 0) {
            self.joined_files.change_file(self.id, &old, self.generations.front(), pass);
        }
        self.retire(old, pass);
    }

    /// Forgets files that were left, once their lines were emitted.
    pub(super) fn forget_emitted(&mut self, pass: &PassContext<'_>) {
        self.joined_files.forget_emitted(self.id, self.generations.front(), pass);
    }

    /// Leaves the current generation, which was deleted while it was closed. Returns the number of its unread bytes (0
    /// if it is not known) if something may be lost. `unsure` says that writes may have gone unnoticed.
    pub(super) fn lose_current(&mut self, unsure: bool, pass: &mut PassContext<'_>) -> Option<u64> {
        let current = self.generations.front()?;
        let unread = current.reader.unread();
        let unsure = unsure || current.notified_writes > 0;
        let read = current.reader.read_point().fingerprint();
        let atomic = current.replaced_atomically;
        self.leave_current(pass);
        let continues =
            atomic && self.generations.front().is_some_and(|next| next.reader.read_point().fingerprint() == read);
        ((unsure || unread > 0) && !continues).then_some(unread)
    }

    /// Records that the current generation could not be read; it is tried again after [`REOPEN_INTERVAL`].
    pub(super) fn record_refusal(&mut self, error: &io::Error, now: Instant) {
        let refusal = Refusal::new(self.path(), "read", error);
        if let Some(current) = self.generations.front_mut() {
            current.reader.park();
            (current.refused, current.changed) = (Some((refusal, now + REOPEN_INTERVAL)), true);
        }
    }

    // The checkpoint: how it is found again, and what is recorded.

    /// Looks for the files of the checkpoint, under any of the log's names.
    ///
    /// # Errors
    /// If the file at the path cannot be opened or read.
    pub(super) fn resume(&mut self, pass: &mut PassContext<'_>) -> io::Result<ResumeResult> {
        let resumed_at = *self.resumed_at.get_or_insert(pass.now.instant);
        let resumption = Resumption {
            location: &mut self.location,
            id: self.id,
            generations: &mut self.generations,
            losses: &mut self.losses,
            discovery: &mut self.discovery,
            checkpoint_changed: &mut self.checkpoint_changed,
            gone: &mut self.gone,
            resumed_at,
        };
        resumption.run(pass)
    }

    /// The checkpoint of the current generation and those after it. `None` if its file was not found yet, or was
    /// changed meanwhile: then the next read detects the change.
    pub(super) fn checkpoint(&self, pass: &PassContext<'_>) -> Option<Checkpoint> {
        let (first, later) = self.generations.checkpoint(self.id, self.joined_files.checkpoints(), pass)?;
        Some(self.complete(first).with_later_generations(later))
    }

    /// The checkpoint of a path that has named nothing since `since`, in milliseconds since the Unix epoch.
    pub(super) fn gone_checkpoint(&self, since: u64) -> Checkpoint {
        self.complete(Checkpoint::gone(since))
    }

    fn complete(&self, checkpoint: Checkpoint) -> Checkpoint {
        self.discovery
            .complete(checkpoint)
            .with_link_target(self.location.target())
            .with_gone_fingerprints(self.gone.iter())
            .with_left_files(self.generations.old_files.left())
    }

    /// The checkpoint to keep of a path that is not followed any more, and whether the log has other files.
    pub(super) fn last_checkpoint(&mut self, pass: &mut PassContext<'_>) -> (Checkpoint, bool) {
        let mut since = pass.now.time.millis();
        if let Some(saved) = self.generations.end_drawing(self.id, pass) {
            since = saved.time();
            self.gone.remember(saved.fingerprint());
        }
        self.generations.old_files.check_left(&self.location, self.id, true, &mut self.losses, pass);
        let siblings = pass.index.rotated(&self.location, None).unwrap_or_default();
        (self.gone_checkpoint(since), !siblings.files.is_empty())
    }
}
