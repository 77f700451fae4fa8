//! One generation of a log: a file that is being read, or is to be read after those before it.

use std::fs::{File, Metadata};
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::location::LogLocation;
use super::siblings::SearchResult;
use crate::source::ClockReading;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::{Fingerprint, MIN_COPY_SIZE, ReadPoint, unix_nanos};
use crate::source::file::open_limit::OpenLimit;
use crate::source::file::pass::PassContext;
use crate::source::file::reader::FileReader;
use crate::source::file::target::{Refusal, is_missing};

/// The time after its rotation for which a file is followed: a writer that has not noticed by then never will.
pub(in crate::source::file) const MAX_OLD_FILE_TIME: Duration = Duration::from_mins(10);

/// The time after its deletion for which a file is followed: its disk space is free only once it is closed.
pub(super) const MAX_DELETED_FILE_TIME: Duration = Duration::from_mins(1);

/// The time between two reads of a renamed file, whose changes may not be notified.
pub(super) const OLD_FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A file of a log, and its state.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) reader: FileReader,
    /// The checkpoint from which the file continues; `None` once the file was found. Until then `reader` is parked.
    pub(crate) saved: Option<Checkpoint>,
    /// The time when the path was first seen to name something else; `None` while the path names this file.
    pub(crate) replaced_at: Option<Instant>,
    /// The path named another file at once, as if that had been renamed over this one: it may be an edited copy.
    pub(crate) replaced_atomically: bool,
    /// The time when the file was added behind another one, or when reading was resumed after a restart.
    pub(crate) added_at: Option<Instant>,
    /// The file was read to its end.
    pub(crate) at_end: bool,
    /// The time when the file was last seen to have grown: after it was read to its end, or while it waited for the
    /// files before it. From its rotation on at least the time of its last write, if that is known.
    pub(crate) grew_at: Option<Instant>,
    /// The time when a writer was seen to have closed the file after its rotation. Others may still have it open.
    pub(crate) closed_at: Option<Instant>,
    /// The file as [`note_growth`](Self::note_growth) last saw it.
    pub(crate) examined: Option<Examined>,
    /// The number of writes that were notified while the path named the file, since it was read last.
    pub(crate) notified_writes: u32,
    /// The file changed since it was read last.
    pub(crate) changed: bool,
    /// The last known name of the file, if that is not the path.
    pub(crate) name: Option<PathBuf>,
    /// The time since which the name is searched for.
    pub(crate) sought_since: Option<Instant>,
    /// The state of the search for the file of the checkpoint, if it comes after the current one.
    pub(super) search: LaterSearch,
    /// The offset at which nothing more was expected in the file before the restart.
    pub(super) finished_at: Option<u64>,
    /// The reason why the file cannot be read, and the time to try again.
    pub(crate) refused: Option<(Refusal, Instant)>,
}

/// The state of the search for the file of a checkpoint while a file before it is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaterSearch {
    /// The next pass searches.
    Pending,
    /// The file was not found, and is searched for again once it is the current one.
    Postponed,
}

/// A file as it was at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Examined {
    pub(crate) size: u64,
    /// The modification time, in nanoseconds since the Unix epoch.
    pub(crate) written: u64,
    /// `true` if it had no name any more.
    pub(crate) is_deleted: bool,
}

impl Generation {
    pub(crate) fn new(reader: FileReader) -> Self {
        Self {
            reader,
            saved: None,
            replaced_at: None,
            replaced_atomically: false,
            added_at: None,
            at_end: false,
            grew_at: None,
            closed_at: None,
            examined: None,
            notified_writes: 0,
            changed: true,
            name: None,
            sought_since: None,
            search: LaterSearch::Pending,
            finished_at: None,
            refused: None,
        }
    }

    /// Opens the file of the log at `location`, if it is closed and there may be something to read.
    ///
    /// # Errors
    /// If the file is gone, or cannot be opened.
    pub(crate) fn open(&mut self, location: &LogLocation, pass: &mut PassContext<'_>) -> io::Result<OpenResult> {
        if self.saved.is_some() || self.refused.as_ref().is_some_and(|(_, retry)| pass.now.instant < *retry) {
            return Ok(OpenResult::NothingToRead);
        }
        if self.refused.take().is_none() && !self.reader.is_parked() {
            return Ok(OpenResult::Open);
        }
        let wanted = mem::take(&mut self.changed) || self.replaced_at.is_some() || self.notified_writes > 0;
        if !wanted {
            return Ok(OpenResult::NothingToRead);
        }
        if self.replaced_at.is_none()
            && let Ok(true) = self.reopen(location.path(), pass)
        {
            return Ok(OpenResult::Open);
        }
        if let Some(name) = self.name.take()
            && let Ok(true) = self.reopen(&name, pass)
        {
            return Ok(OpenResult::Open);
        }
        let since = *self.sought_since.get_or_insert_with(Instant::now);
        match pass.index.find(location, self.reader.identity(), since) {
            SearchResult::Found(path) => {
                self.sought_since = None;
                if self.reopen(&path, pass)? {
                    return Ok(OpenResult::Open);
                }
            }
            SearchResult::Gone => return Err(io::ErrorKind::NotFound.into()),
            SearchResult::Unclear => {}
        }
        self.changed = true;
        Ok(OpenResult::Unclear)
    }

    /// Opens the file under a name. Returns `false` if the name belongs to another file, or to none.
    fn reopen(&mut self, name: &Path, pass: &PassContext<'_>) -> io::Result<bool> {
        match self.reader.reopen(name, pass.open_limit) {
            Err(error) if is_missing(&error) => Ok(false),
            result => result,
        }
    }

    /// Examines whether the file grew since the last time. Reading is not growing: a file that waits for those before it
    /// is silent for as long as nothing is written to it. Returns whether the checkpoint is to be recorded again, since the
    /// file was deleted, or nothing of it was read and it grew.
    pub(super) fn note_growth(&mut self, now: Instant) -> bool {
        let Ok(metadata) = self.reader.file().and_then(File::metadata) else { return false };
        let grew = self.note_unread(&metadata);
        let found = Examined {
            size: metadata.len(),
            written: metadata.modified().map_or(0, unix_nanos),
            is_deleted: metadata.nlink() == 0,
        };
        let before = self.examined.replace(found);
        if before.is_some_and(|before| (before.size, before.written) != (found.size, found.written)) {
            self.grew_at = Some(now);
        }
        grew || (found.is_deleted && !before.is_some_and(|before| before.is_deleted))
    }

    /// Records the size of the file if nothing of it was read. Returns whether it grew.
    pub(super) fn note_unread(&mut self, metadata: &Metadata) -> bool {
        let unread = self.reader.unread();
        self.is_unread() && self.reader.note_metadata(metadata) && self.reader.unread() > unread
    }

    /// Records a read of bytes; `more` says whether there are more. Returns whether the file grew after its rotation.
    pub(crate) fn note_bytes(&mut self, more: bool, now: Instant) -> bool {
        if mem::replace(&mut self.at_end, !more) {
            self.grew_at = Some(now);
        }
        self.replaced_at.is_some() && self.grew_at == Some(now)
    }

    /// Records that the path names the file no more. Its last write was when its modification time says.
    pub(super) fn note_replaced(&mut self, now: ClockReading) {
        (self.replaced_at, self.changed, self.closed_at) = (Some(now.instant), true, None);
        self.grew_at = self.grew_at.max(self.reader.last_write(now));
    }

    /// The time since its rotation for which nothing was written to the file; `None` while the path names it.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        self.replaced_at.max(self.replaced_at.and(self.grew_at))
    }

    /// Returns whether nothing more is expected in the file, which was read to its end: a writer closed it, or the last
    /// write was this long ago. Since another writer may still have it open, it is followed for some more time.
    fn is_finished(&self, wait: Duration, now: Instant) -> bool {
        self.closed_at.is_some() || self.is_unwritten(wait, now)
    }

    /// Returns whether the last write to the file is known, and was this long ago.
    fn is_unwritten(&self, wait: Duration, now: Instant) -> bool {
        self.grew_at.is_some_and(|last| now >= last + wait)
    }

    /// Returns whether nothing more is expected in the file, read under this number, since its rotation, and all of its
    /// lines were emitted: if it is gone later, nothing is lost, as far as anybody knows. A file that was written to a
    /// short time ago, or after a writer closed it, may have grown before it was gone.
    pub(super) fn is_done(&self, number: usize, pass: &PassContext<'_>) -> bool {
        let is_closed = self.closed_at.is_some() && self.closed_at >= self.grew_at;
        self.replaced_at.is_some()
            && self.reader.unread() == 0
            && (is_closed || self.is_unwritten(pass.settings.rotate_wait, pass.now.instant))
            && pass.pipeline.held(number) == 0
    }

    /// Records that an old file was written to: whichever writer closed it before, another one has it open.
    pub(super) fn note_late_bytes(&mut self, now: Instant) {
        (self.grew_at, self.closed_at) = (Some(now), None);
    }

    /// Returns whether nothing was written to the file for this time since its rotation.
    pub(crate) fn is_silent(&self, wait: Duration, now: Instant) -> bool {
        self.silent_since().is_some_and(|since| now >= since + wait)
    }

    /// The next step at the end of this file. `successor_at` is the time when its successor appeared, if there is one;
    /// a renamed file without one is left after `max_silence`. `may_continue` says that the successor may be read as soon
    /// as nothing more is expected in this file.
    pub(crate) fn next_step(
        &self,
        successor_at: Option<Instant>,
        max_silence: Option<Duration>,
        wait: Duration,
        may_continue: bool,
        now: Instant,
    ) -> NextStep {
        let Some(replaced_at) = self.replaced_at else { return NextStep::Stay };
        if let Some(successor_at) = successor_at {
            return match () {
                () if self.is_silent(wait, now) => NextStep::Leave,
                () if may_continue && self.is_finished(wait, now) => NextStep::ContinueInSuccessor,
                () if now >= successor_at + wait => NextStep::ReadSuccessor,
                () => NextStep::Stay,
            };
        }
        if self.reader.is_deleted() {
            return match () {
                () if self.is_silent(wait, now) => NextStep::Leave,
                () if now >= replaced_at + MAX_DELETED_FILE_TIME => NextStep::Lose,
                () => NextStep::Stay,
            };
        }
        if max_silence.is_some_and(|longest| self.is_silent(longest, now)) { NextStep::Leave } else { NextStep::Stay }
    }

    /// The next time after `now` at which [`next_step`](Self::next_step) may change, or at which the file is read again
    /// since its changes may not be notified.
    pub(crate) fn next_step_at(&self, successor_at: Option<Instant>, wait: Duration, now: Instant) -> Option<Instant> {
        let replaced_at = self.replaced_at?;
        let silent_since = self.silent_since()?;
        let steps = [
            Some(silent_since + wait),
            self.grew_at.map(|last| last + wait),
            successor_at.map(|at| at.max(replaced_at) + wait),
            (now < silent_since + MAX_OLD_FILE_TIME).then_some(now + OLD_FILE_POLL_INTERVAL),
        ];
        steps.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Returns whether nothing of the file was read yet.
    pub(crate) fn is_unread(&self) -> bool {
        self.saved.is_none() && self.reader.read_point().offset() == 0
    }

    /// Returns whether the file is read from its start, since nothing of it was read, or none of it was emitted before a
    /// restart.
    pub(crate) fn begins_at_start(&self) -> bool {
        self.saved.as_ref().map_or_else(|| self.reader.read_point().offset(), Checkpoint::at) == 0
    }

    /// Returns whether the file of the checkpoint was not found yet, and this file continues it: it may be a copy.
    pub(crate) fn may_resume_in(&self, path: &Path, open_limit: &OpenLimit) -> bool {
        self.saved.is_some() && FileReader::open(path, open_limit).is_ok_and(|file| self.continues_in(&file))
    }

    /// Returns whether the file of the checkpoint was not found yet, and an open file continues it.
    pub(super) fn continues_in(&self, reader: &FileReader) -> bool {
        let Some(saved) = self.saved.as_ref().map(Checkpoint::fingerprint) else { return false };
        let continues = |file: &File| saved.read_point_in(file).is_ok_and(|found| found.is_some());
        saved.at >= MIN_COPY_SIZE && reader.file().is_ok_and(continues)
    }

    /// The point `held` bytes before the one up to which the file was read, or that one if the file changed meanwhile.
    pub(super) fn read_point_before(&self, held: u64) -> ReadPoint {
        let point = self.reader.read_point_before(held).ok().flatten();
        point.unwrap_or_else(|| self.reader.read_point().clone())
    }

    /// The fingerprint up to which the file was read, as far as it is known.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.saved.as_ref().map_or_else(|| self.reader.read_point().fingerprint(), Checkpoint::fingerprint)
    }
}

/// The thing that a path names instead of its newest generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::file) enum ReplacedBy {
    /// Another file, which becomes the newest generation.
    File,
    /// Something that is not followed.
    Other,
}

/// The next step at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// More may be written to the file.
    Stay,
    /// The file is done.
    Leave,
    /// The file is deleted and still written to, and is closed.
    Lose,
    /// Nothing more is expected in the file: the log continues in its successor. Late writers are still read.
    ContinueInSuccessor,
    /// The file is still written to, and its successor is read at the same time.
    ReadSuccessor,
}

/// The result of opening a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenResult {
    Open,
    /// The file has not changed, was not found yet, or was refused a short time ago.
    NothingToRead,
    /// Names are changing: the next pass tries again.
    Unclear,
}

/// Returns whether one file is a copy of the start of another, judged by its first and its last bytes.
///
/// Files below [`MIN_COPY_SIZE`], and files that cannot be read, are not copies.
pub(crate) fn is_copy(copy: &Path, of: Option<&File>, open_limit: &OpenLimit) -> bool {
    let is_copy = || -> io::Result<bool> {
        let ((copy, metadata), of) = (open_limit.open(copy)?, of.ok_or(io::ErrorKind::NotFound)?);
        let size = metadata.len();
        let end = ReadPoint::of(&copy, size)?.map(|point| point.fingerprint());
        Ok(size >= MIN_COPY_SIZE && end.is_some_and(|end| end.read_point_in(of).is_ok_and(|found| found.is_some())))
    };
    is_copy().unwrap_or(false)
}
