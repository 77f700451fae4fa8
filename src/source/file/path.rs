//! One path of a stream: growth, rotation, truncation, and a missing file. Blocks; knows no task and no other path.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use tokio::time::Instant;

use crate::config::ReadFrom;
use crate::event::{Loss, Origin};
use crate::line::utf16_mark;

use super::checkpoint::Checkpoint;
use super::claims::Claims;
use super::denied::OpenDenied;
use super::fingerprint::Identity;
use super::pass::PassContext;
use super::reader::{FILE_READ_SIZE, FileRead, FileReader, ReadOptions};
use super::rotation::old_files::OldFileLoss;
use super::rotation::{LOST_FILE, REOPEN_INTERVAL, ReplacedBy, ResumeResult, Rotation};
use super::target::{PathTarget, is_missing};
use crate::source::file::watch::watcher::PathChange;

/// A file that grew within this time is active.
const ACTIVE_PERIOD: Duration = Duration::from_mins(1);

/// A path that is followed.
///
/// Each pass calls [`resolve`](Self::resolve), which examines what the path names, then [`read`](Self::read), which
/// reads a chunk of the current generation of its [`Rotation`], then [`record_checkpoint`](Self::record_checkpoint).
#[derive(Debug)]
pub(super) struct PathTail {
    origin: Origin,
    /// The path is in the configuration; otherwise a pattern found it.
    is_configured: bool,
    /// The start position in a file that exists at the start; `None` once a file was opened.
    from: Option<ReadFrom>,
    /// The target of the path during the last pass.
    found: PathTarget,
    rotation: Rotation,
    last_growth: Option<Instant>,
    /// Changes are not notified: writes may go unnoticed.
    unwatched: bool,
    last_checkpoint: RecordedCheckpoint,
}

/// The kind of the checkpoint that was recorded last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordedCheckpoint {
    Nothing,
    Gone,
    File,
}

impl PathTail {
    /// `rotated` are further directories into which a rotation may move the files of the path.
    pub(super) fn new(path: PathBuf, id: usize, is_configured: bool, from: ReadFrom, rotated: Arc<[PathBuf]>) -> Self {
        Self {
            origin: Origin::file(&path),
            is_configured,
            from: Some(from),
            found: PathTarget::Unknown,
            rotation: Rotation::new(path, id, !is_configured, rotated),
            last_growth: None,
            unwatched: false,
            last_checkpoint: RecordedCheckpoint::Nothing,
        }
    }

    /// Continues from a checkpoint.
    pub(super) fn resume_from(&mut self, saved: Checkpoint, claims: &mut Claims) {
        self.from = Some(ReadFrom::Beginning);
        self.last_checkpoint = if saved.is_gone() { RecordedCheckpoint::Gone } else { RecordedCheckpoint::File };
        self.rotation.load(saved, claims);
    }

    pub(super) fn path(&self) -> &Path {
        self.rotation.path()
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The target of the path during the last pass.
    pub(super) fn found(&self) -> &PathTarget {
        &self.found
    }

    /// Returns whether the path is in the configuration; otherwise a pattern found it.
    pub(super) fn is_configured(&self) -> bool {
        self.is_configured
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    pub(super) fn rotation_mut(&mut self) -> &mut Rotation {
        &mut self.rotation
    }

    /// Records a change that was notified.
    pub(super) fn note_change(&mut self, change: PathChange) {
        let generations = self.rotation.generations_mut();
        if change.written {
            generations.note_written();
        }
        if change.closed {
            generations.note_closed();
        }
    }

    /// Returns whether changes of the path are not notified.
    pub(super) fn is_unwatched(&self) -> bool {
        self.unwatched
    }

    pub(super) fn set_unwatched(&mut self, unwatched: bool) {
        self.unwatched = unwatched;
    }

    /// Returns whether the path grew within [`ACTIVE_PERIOD`], or may grow without a notification.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        let is_preallocated = self.rotation.generations().front().is_some_and(|it| it.reader.is_preallocated());
        is_preallocated || self.last_growth.is_some_and(|grew| now < grew + ACTIVE_PERIOD)
    }

    /// The time of the next pass if no change is notified before.
    pub(super) fn due(&self, now: Instant, rotate_wait: Duration) -> Option<Instant> {
        let again = matches!(self.found, PathTarget::Refused(_) | PathTarget::Other(_)).then(|| now + REOPEN_INTERVAL);
        let old = self.rotation.generations().due(rotate_wait, now);
        self.rotation.generations().retry_at().or_else(|| old.into_iter().chain(again).min())
    }

    /// Examines what the path names, and opens it if it is a file and not open yet.
    pub(super) fn resolve(&mut self, pass: &mut PassContext<'_>) {
        match self.rotation.resume(pass) {
            Ok(ResumeResult::Done) => {}
            Ok(ResumeResult::Lost { offset }) => self.begin_from_scratch(offset, pass),
            Ok(ResumeResult::Waiting) => {
                self.found = PathTarget::Missing;
                return;
            }
            Ok(ResumeResult::Deferred) => return self.rotation.defer(),
            Err(error) => {
                self.found = PathTarget::of_error(self.path(), "read", &error);
                return;
            }
        }
        if self.rotation.generations().front().is_some_and(|next| next.saved.is_some()) {
            // The file before it is gone. No change announces that this one is to be searched for.
            self.rotation.defer();
        }
        self.found = self.check(pass).unwrap_or_else(|error| self.open_failed(&error, pass));
    }

    /// Starts again, since the file of the checkpoint is gone.
    fn begin_from_scratch(&mut self, offset: u64, pass: &mut PassContext<'_>) {
        self.from = Some(ReadFrom::Beginning);
        warn!(stream:% = pass.stream, path:% = self.path().display(), offset; "the file that was followed before the restart is gone");
        self.report_loss(None, None, LOST_FILE, pass);
    }

    fn check(&mut self, pass: &mut PassContext<'_>) -> io::Result<PathTarget> {
        let metadata = match self.metadata(pass) {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if OpenDenied::of(&error).is_some() => return Err(error),
            other => {
                let found = match &other {
                    Ok(metadata) => self.special(metadata),
                    Err(error) if is_missing(error) => PathTarget::Missing,
                    // A file that is open stays open.
                    Err(error) => return Ok(PathTarget::of_error(self.path(), "examine", error)),
                };
                self.from = Some(ReadFrom::Beginning);
                let by = (found != PathTarget::Missing).then_some(ReplacedBy::Other);
                self.rotation.note_missing(by, pass);
                return Ok(found);
            }
        };
        if self.rotation.note_named(&metadata, pass) {
            return Ok(PathTarget::File);
        }
        if let PathTarget::Compressed(known, kind) = self.found
            && known == Identity::from(&metadata)
        {
            return Ok(PathTarget::Compressed(known, kind));
        }
        self.begin(pass)
    }

    /// The metadata of what the path names. If it is a file, the owners of the symlinks are checked when it is opened;
    /// for anything else, including nothing, the opener checks at once, so that a forbidden symlink does not reveal
    /// what exists.
    fn metadata(&self, pass: &PassContext<'_>) -> io::Result<Metadata> {
        let file = fs::metadata(self.path()).ok().filter(Metadata::is_file);
        file.map_or_else(|| pass.open_limit.opener().metadata(self.path()), Ok)
    }

    /// The target if it is not a file. A FIFO that may not be read is refused like a file. It is not opened for that, since its
    /// writer would take rtlogd for its reader.
    fn special(&self, metadata: &Metadata) -> PathTarget {
        let target = PathTarget::special(metadata);
        if !matches!(target, PathTarget::Fifo(_)) {
            return target;
        }
        let access = accessat(CWD, self.path(), Access::READ_OK, AtFlags::EACCESS);
        access.map_or_else(|errno| PathTarget::of_error(self.path(), "open", &errno.into()), |()| target)
    }

    /// Handles a failure to open what the path names. If it is forbidden, it replaced the file that was read, which is
    /// then read to its end as after a rotation.
    fn open_failed(&mut self, error: &io::Error, pass: &mut PassContext<'_>) -> PathTarget {
        if OpenDenied::of(error).is_some() {
            self.rotation.note_missing(Some(ReplacedBy::Other), pass);
        }
        PathTarget::of_error(self.path(), "open", error)
    }

    /// Begins with a file that is not one of the generations.
    fn begin(&mut self, pass: &mut PassContext<'_>) -> io::Result<PathTarget> {
        let mut reader = FileReader::open(self.path(), pass.open_limit)?;
        self.rotation.note_opened(&reader);
        let identity = reader.identity();
        if self.rotation.generations().contains(identity) {
            return Ok(PathTarget::File);
        }
        let other = if pass.claims.is_claimed_by_other(identity, self.rotation.id()) {
            Some(PathTarget::Alias(identity))
        } else {
            reader.compressed()?.map(|kind| PathTarget::Compressed(identity, kind))
        };
        let by = if other.is_none() { ReplacedBy::File } else { ReplacedBy::Other };
        self.rotation.generations_mut().mark_replaced(pass.now, Some(by));
        if let Some(found) = other {
            self.rotation.note_unfollowed();
            return Ok(found);
        }
        if !self.rotation.discover(Some(identity), pass) {
            // The generations before it come first. If it was rotated meanwhile, the next pass looks again.
            if self.rotation.generations().has_room() {
                self.rotation.defer();
            }
            return Ok(PathTarget::File);
        }
        let continues = self.rotation.continue_copy(&mut reader, pass);
        if self.from.take() == Some(ReadFrom::End) && !continues {
            let is_utf16 = pass.settings.is_utf16 || utf16_mark(&reader.first_bytes(2)?).is_some();
            reader.seek_last_lines(pass.settings.initial_lines, is_utf16)?;
        }
        self.rotation.push(reader, pass);
        Ok(PathTarget::File)
    }

    /// Reads a chunk of the current generation, and of each old file that is still written to. Returns the number of
    /// bytes, and whether there is more to do.
    pub(super) fn read(&mut self, pass: &mut PassContext<'_>) -> (usize, bool) {
        let is_checkpoint_old = self.rotation.generations_mut().note_growth(pass.now.instant);
        *self.rotation.checkpoint_changed() |= is_checkpoint_old;
        let (old_bytes, more_old) = self.rotation.read_old_files(pass);
        let (bytes, more) = self.read_current(pass);
        for OldFileLoss { missed, bytes, reason } in self.rotation.take_losses() {
            self.report_loss(missed, bytes, reason, pass);
        }
        if old_bytes > 0 {
            self.last_growth = Some(pass.now.instant);
        }
        (bytes + old_bytes, more || more_old)
    }

    fn read_current(&mut self, pass: &mut PassContext<'_>) -> (usize, bool) {
        match self.rotation.open_current(pass) {
            Ok(true) => {}
            Ok(false) => return (0, false),
            Err(error) if is_missing(&error) => {
                self.lose_current(pass);
                return (0, true);
            }
            Err(error) => return self.record_refusal(&error, pass.now.instant),
        }
        let id = self.rotation.id();
        let mut most = FILE_READ_SIZE;
        if self.rotation.generations().can_be_read_later() {
            most = pass.room.next_read(most);
            if most == 0 {
                self.rotation.defer();
                return (0, false);
            }
        }
        let Some(current) = self.rotation.current_mut() else { return (0, false) };
        current.notified_writes = 0;
        if current.reader.read_point().offset() > 0 && pass.pipeline.is_at_file_start(id) {
            match current.reader.first_bytes(2) {
                Ok(start) => pass.pipeline.begin_within(id, &start),
                Err(error) => return self.record_refusal(&error, pass.now.instant),
            }
        }
        let lookback = pass.pipeline.lookback(id);
        if lookback > 0 {
            match current.reader.bytes_before(lookback) {
                Ok(bytes) => pass.pipeline.look_back(id, &bytes, pass.now),
                Err(error) => return self.record_refusal(&error, pass.now.instant),
            }
        }
        let positions = current.reader.take_stream_positions();
        if !positions.is_empty() {
            pass.pipeline.resume(id, &positions, pass.now, pass.batch);
        }
        let line_start = pass.pipeline.at_line_start(id);
        let options = ReadOptions { line_start, is_utf16: pass.pipeline.is_utf16(id), most };
        let read = current.reader.read(options);
        let (identity, replaced) = (current.reader.identity(), current.replaced_at.is_some());
        match read {
            Ok(read) => self.process(read, identity, replaced, pass),
            Err(error) => self.record_refusal(&error, pass.now.instant),
        }
    }

    /// Processes the result of a read of the current generation. Returns the same as [`read`](Self::read).
    fn process(
        &mut self,
        read: FileRead,
        identity: Identity,
        replaced: bool,
        pass: &mut PassContext<'_>,
    ) -> (usize, bool) {
        let id = self.rotation.id();
        match read {
            FileRead::Bytes { bytes, more } => {
                let before = pass.batch.len();
                pass.room.take(bytes.len());
                pass.pipeline.push(id, &bytes, pass.now, pass.batch);
                *self.rotation.checkpoint_changed() |= pass.batch.len() > before;
                self.last_growth = Some(pass.now.instant);
                let grows = self.rotation.current_mut().is_some_and(|it| it.note_bytes(more, pass.now.instant));
                let more = if more || (replaced && !grows) {
                    true
                } else {
                    // The end of a file that always grows is where it was when it was read.
                    self.rotation.current_at_end(true, pass)
                };
                (bytes.len(), more)
            }
            FileRead::Hole { bytes } => {
                pass.finish(id);
                let reason = "NUL bytes, left by a writer that did not notice a truncation";
                self.report_loss(Some(0), Some(bytes), reason, pass);
                (0, true)
            }
            FileRead::CaughtUp => {
                let active = self.is_active(pass.now.instant);
                if let Some(current) = self.rotation.current_mut() {
                    current.at_end = true;
                }
                (0, self.rotation.current_at_end(active, pass))
            }
            FileRead::Truncated { unread } => {
                self.rotation.restart_current();
                pass.finish(id);
                self.report_loss(None, unread, "the file was truncated or overwritten", pass);
                (0, true)
            }
            FileRead::Shortened => {
                pass.finish(id);
                self.report_loss(Some(0), None, "lines that had already been read were removed from the file", pass);
                (0, true)
            }
            FileRead::Compressed(kind) => {
                self.rotation.leave_current(pass);
                if !replaced {
                    self.found = PathTarget::Compressed(identity, kind);
                }
                (0, !self.rotation.is_empty())
            }
        }
    }

    /// Handles that the current generation was deleted while it was closed.
    fn lose_current(&mut self, pass: &mut PassContext<'_>) {
        if let Some(unread) = self.rotation.lose_current(self.unwatched, pass) {
            let unread = Some(unread).filter(|&unread| unread > 0);
            self.report_loss(None, unread, "the file was deleted before it could be read", pass);
        }
    }

    /// Records that the current generation could not be read. Returns the same as [`read`](Self::read).
    pub(super) fn record_refusal(&mut self, error: &io::Error, now: Instant) -> (usize, bool) {
        self.rotation.record_refusal(error, now);
        (0, false)
    }

    fn report_loss(&mut self, missed: Option<u64>, bytes: Option<u64>, reason: &str, pass: &mut PassContext<'_>) {
        let reason = format!("{}: {reason}", self.origin.as_str());
        pass.batch.loss(pass.now.time, &Loss { missed, bytes, reason });
        *self.rotation.checkpoint_changed() = true;
    }

    /// Records the checkpoint of the path, if that changed or `always`.
    pub(super) fn record_checkpoint(&mut self, always: bool, pass: &mut PassContext<'_>) {
        if !std::mem::take(self.rotation.checkpoint_changed()) && !always {
            return;
        }
        self.rotation.forget_emitted(pass);
        let (checkpoint, kind) = if !self.rotation.is_empty() {
            let Some(checkpoint) = self.rotation.checkpoint(pass) else { return };
            (Some(checkpoint), RecordedCheckpoint::File)
        } else if self.is_gone() {
            (Some(self.rotation.gone_checkpoint(pass.now.time.millis())), RecordedCheckpoint::Gone)
        } else {
            (None, RecordedCheckpoint::Nothing)
        };
        if kind == RecordedCheckpoint::File || kind != self.last_checkpoint {
            pass.batch.checkpoint(self.origin.as_str(), checkpoint.map(|checkpoint| checkpoint.to_text()));
        }
        self.last_checkpoint = kind;
    }

    /// Returns whether the path names nothing, or its file was replaced by something that cannot be opened.
    fn is_gone(&self) -> bool {
        match self.found {
            PathTarget::Missing => true,
            PathTarget::Refused(_) => self.last_checkpoint != RecordedCheckpoint::Nothing,
            PathTarget::Unknown
            | PathTarget::File
            | PathTarget::Alias(_)
            | PathTarget::Fifo(_)
            | PathTarget::Other(_)
            | PathTarget::Compressed(..) => false,
        }
    }

    /// The last checkpoint of a path that is not followed any more because it names nothing: how far its files were
    /// read, and which siblings were read. It is recorded as long as there are siblings.
    pub(super) fn take_gone_checkpoint(&mut self, pass: &mut PassContext<'_>) -> Checkpoint {
        let (checkpoint, has_siblings) = self.rotation.last_checkpoint(pass);
        for OldFileLoss { missed, bytes, reason } in self.rotation.take_losses() {
            self.report_loss(missed, bytes, reason, pass);
        }
        if has_siblings || self.last_checkpoint != RecordedCheckpoint::Nothing {
            pass.batch.checkpoint(self.origin.as_str(), has_siblings.then(|| checkpoint.to_text()));
        }
        checkpoint
    }
}
