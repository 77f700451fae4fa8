//! The old files of a log: those that are still written to although their successor is read, and those that were left.
//!
//! A writer may keep a file open after its rotation. If it does not stop, the successor is read at the same time, and
//! the old file becomes a [`WrittenFile`] with an unfinished line of its own. A renamed file that is silent is left,
//! and becomes a [`LeftFile`]: bytes that are written to it later are not read, but reported.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::time::Instant;

use super::generation::{Generation, MAX_DELETED_FILE_TIME, MAX_OLD_FILE_TIME, OLD_FILE_POLL_INTERVAL};
use super::joined_files::JoinedFiles;
use super::location::LogLocation;
use super::siblings::SearchResult;
use crate::source::file::fingerprint::Identity;
use crate::source::file::pass::PassContext;
use crate::source::file::reader::{FILE_READ_SIZE, FileRead, FileReader, ReadOptions};

/// The maximum number of old files of a path that are read at once, and of those that were left and are checked.
const MAX_OLD_FILES: usize = 4;

/// The time between two checks of the files that were left.
const LEFT_FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The number of a FIFO in the line pipeline that the path `id` does not name any more: behind those of the old files.
pub(in crate::source::file) fn left_fifo_number(id: usize) -> usize {
    id + (MAX_OLD_FILES + 1) * OLD_FILE_NUMBERS
}

/// The numbers of old files in the line pipeline are those of their paths, plus multiples of this number.
pub(in crate::source::file) const OLD_FILE_NUMBERS: usize = 1 << 28;

/// Bytes of an old file that are not read.
#[derive(Debug)]
pub(in crate::source::file) struct OldFileLoss {
    /// The number of lost lines and bytes, as far as it is known.
    pub(in crate::source::file) missed: Option<u64>,
    pub(in crate::source::file) bytes: Option<u64>,
    pub(in crate::source::file) reason: &'static str,
}

/// An old file that is read at the same time as its successor.
#[derive(Debug)]
struct WrittenFile {
    generation: Generation,
    /// The number of its unfinished line in the pipeline.
    number: usize,
}

/// An old file that is not read any more.
#[derive(Debug)]
struct LeftFile {
    /// The open file, or a parked one if descriptors are scarce.
    reader: FileReader,
    /// The size up to which the file was read or reported as lost.
    size: u64,
    /// `None`: at once.
    check_at: Option<Instant>,
    /// `None` if a checkpoint recorded the file, until it is checked for the first time.
    expires_at: Option<Instant>,
}

/// The old files of one path.
#[derive(Debug, Default)]
pub(super) struct OldFiles {
    /// In the order of their rotation; at most [`MAX_OLD_FILES`].
    written: VecDeque<WrittenFile>,
    /// The oldest first, in whatever order they were left: the newest ones are the most likely to be written to. At most
    /// [`MAX_OLD_FILES`].
    left: VecDeque<LeftFile>,
}

/// The result of reading the old files.
#[derive(Debug, Default)]
pub(super) struct OldFilesRead {
    pub(super) bytes: usize,
    /// There is more to read.
    pub(super) more: bool,
    pub(super) losses: Vec<OldFileLoss>,
    /// The files that were read to their end, and are to be retired.
    pub(super) done: Vec<Generation>,
}

impl OldFiles {
    /// Returns whether no old file is read.
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// The old files that are read, each with its number in the pipeline; the oldest first.
    pub(super) fn open_files(&self) -> impl Iterator<Item = (&Generation, usize)> {
        self.written.iter().map(|file| (&file.generation, file.number))
    }

    /// The time of the next read or check.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let read = (!self.written.is_empty()).then_some(now + OLD_FILE_POLL_INTERVAL);
        read.into_iter().chain(self.left.iter().map(|left| left.check_at.unwrap_or(now))).min()
    }

    /// Adds a file that is still written to, with the unfinished line of its path `id`. Returns the oldest one if there
    /// are too many.
    pub(super) fn add_written(
        &mut self,
        generation: Generation,
        id: usize,
        pass: &mut PassContext<'_>,
    ) -> Option<Generation> {
        let oldest = (self.written.len() == MAX_OLD_FILES).then(|| self.take_written(0, pass)).flatten();
        let number = self.free_number(id);
        pass.pipeline.split_off(id, number);
        self.written.push_back(WrittenFile { generation, number });
        oldest
    }

    /// Adds a file in which nothing more is expected, under a [free number](Self::free_number). There
    /// [is room](Self::has_room) for it.
    pub(super) fn add_finished(&mut self, generation: Generation, number: usize) {
        debug_assert!(self.has_room(), "a file that may still be written to would be left");
        self.written.push_back(WrittenFile { generation, number });
    }

    /// Returns whether another old file may be read.
    pub(super) fn has_room(&self) -> bool {
        self.written.len() < MAX_OLD_FILES
    }

    /// A number in the line pipeline for an old file of the path `id`.
    pub(super) fn free_number(&self, id: usize) -> usize {
        let is_free = |number: &usize| self.written.iter().all(|file| file.number != *number);
        (1..=MAX_OLD_FILES).map(|slot| id + slot * OLD_FILE_NUMBERS).find(is_free).unwrap_or(id)
    }

    /// Adds a renamed file that is not read any more.
    pub(super) fn add_left(&mut self, generation: Generation, pass: &PassContext<'_>) {
        let Generation { mut reader, replaced_at, .. } = generation;
        let now = pass.now.instant;
        if pass.open_limit.are_scarce(false) {
            reader.park();
        }
        let size = reader.end_of_text();
        let expires_at = Some(replaced_at.unwrap_or(now) + MAX_OLD_FILE_TIME);
        let at = self.left.iter().rposition(|left| left.reader.age() <= reader.age()).map_or(0, |older| older + 1);
        let check_at = Some(now + LEFT_FILE_CHECK_INTERVAL);
        self.left.insert(at, LeftFile { reader, size, check_at, expires_at });
    }

    /// The files that were left, each with the size up to which it was read or reported.
    pub(super) fn left(&self) -> impl Iterator<Item = (Identity, u64)> {
        self.left.iter().map(|left| (left.reader.identity(), left.size))
    }

    /// Continues to check a file that was left before a restart: what was written to it meanwhile is a loss.
    pub(super) fn load_left(&mut self, (identity, size): (Identity, u64)) {
        let reader = FileReader::parked(identity, size);
        self.left.push_back(LeftFile { reader, size, check_at: None, expires_at: None });
    }

    /// Takes back an old file, whose name is the path again.
    pub(super) fn reinstate(&mut self, identity: Identity, pass: &mut PassContext<'_>) -> Option<Generation> {
        self.left.retain(|left| left.reader.identity() != identity);
        let at = self.written.iter().position(|file| file.generation.reader.identity() == identity)?;
        self.take_written(at, pass)
    }

    fn take_written(&mut self, at: usize, pass: &mut PassContext<'_>) -> Option<Generation> {
        let WrittenFile { generation, number } = self.written.remove(at)?;
        pass.finish(number);
        pass.pipeline.remove(number);
        Some(generation)
    }

    /// Reads a chunk of each old file that is still written to, and checks those that were left. They belong to the log
    /// at `location`, whose path has the number `id`; the last lines of some are `joined` with those of the next file.
    pub(super) fn read(
        &mut self,
        location: &LogLocation,
        id: usize,
        joined: &JoinedFiles,
        pass: &mut PassContext<'_>,
    ) -> OldFilesRead {
        let mut result = OldFilesRead::default();
        for at in (0..self.written.len()).rev() {
            if self.written[at].read(id, joined, &mut result, pass) {
                result.done.extend(self.take_written(at, pass));
            }
        }
        self.check_left(location, id, false, &mut result.losses, pass);
        result
    }

    /// Reports what was written to files that were left, if their check is due or it is the `last` one.
    pub(super) fn check_left(
        &mut self,
        location: &LogLocation,
        id: usize,
        last: bool,
        losses: &mut Vec<OldFileLoss>,
        pass: &mut PassContext<'_>,
    ) {
        let too_many = self.left.len().saturating_sub(MAX_OLD_FILES);
        let mut at = 0;
        self.left.retain_mut(|left| {
            at += 1;
            let now = pass.now.instant;
            let is_last = last || at <= too_many || now >= *left.expires_at.get_or_insert(now + MAX_OLD_FILE_TIME);
            if !is_last && left.check_at.is_some_and(|check_at| now < check_at) {
                return true;
            }
            left.check_at = Some(now + LEFT_FILE_CHECK_INTERVAL);
            // Another path of the stream may read the file under its new name.
            !pass.claims.is_claimed_by_other(left.reader.identity(), id)
                && left.check(location, losses, pass)
                && !is_last
        });
    }
}

impl WrittenFile {
    /// Reads a chunk. Returns whether the file is done.
    fn read(&mut self, id: usize, joined: &JoinedFiles, result: &mut OldFilesRead, pass: &mut PassContext<'_>) -> bool {
        let Self { generation, number } = self;
        let now = pass.now.instant;
        let line_start = pass.pipeline.at_line_start(*number);
        let mut lose = |missed, bytes, reason| result.losses.push(OldFileLoss { missed, bytes, reason });
        let read = generation.reader.read(ReadOptions {
            line_start,
            is_utf16: pass.pipeline.is_utf16(*number),
            most: FILE_READ_SIZE,
        });
        if !matches!(read, Ok(FileRead::CaughtUp)) {
            joined.end_joined_lines(id, generation.reader.identity(), pass);
        }
        match read {
            Ok(FileRead::Bytes { bytes, more }) => {
                pass.pipeline.push(*number, &bytes, pass.now, pass.batch);
                result.bytes += bytes.len();
                result.more |= more;
                generation.note_late_bytes(now);
            }
            Ok(FileRead::CaughtUp) if generation.is_silent(pass.settings.rotate_wait, now) => return true,
            Ok(FileRead::CaughtUp) => {}
            Ok(FileRead::Hole { bytes }) => {
                pass.finish(*number);
                lose(Some(0), Some(bytes), "NUL bytes, left by a writer that did not notice a truncation");
                result.more = true;
            }
            Ok(FileRead::Truncated { unread }) => {
                generation.reader.restart();
                pass.finish(*number);
                lose(None, unread, "the rotated file was truncated or overwritten");
                result.more = true;
            }
            Ok(FileRead::Shortened) => {
                pass.finish(*number);
                lose(Some(0), None, "lines that had already been read were removed from the rotated file");
                result.more = true;
            }
            Ok(FileRead::Compressed(_)) => return true,
            Err(_) => {
                lose(None, None, "the rotated file cannot be read any more");
                return true;
            }
        }
        let followed = generation.replaced_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if followed >= MAX_OLD_FILE_TIME {
            lose(None, None, "the rotated file is still being written to after 10 minutes, and is no longer read");
            return true;
        }
        if followed >= MAX_DELETED_FILE_TIME && generation.reader.is_deleted() {
            lose(None, None, DELETED_FILE_LOSS);
            return true;
        }
        false
    }
}

/// The reason of a loss in a file that is still written to after it was deleted.
pub(super) const DELETED_FILE_LOSS: &str =
    "the deleted file is still being written to after a minute, and is closed to free its disk space";

impl LeftFile {
    /// Reports what was written to the file. Returns whether the file still exists.
    fn check(&mut self, location: &LogLocation, losses: &mut Vec<OldFileLoss>, pass: &mut PassContext<'_>) -> bool {
        if pass.open_limit.are_scarce(false) {
            self.reader.park();
        }
        let metadata = match self.reader.file() {
            Ok(file) => file.metadata().ok(),
            Err(_) => match pass.index.find(location, self.reader.identity(), Instant::now()) {
                SearchResult::Found(name) => std::fs::symlink_metadata(name).ok(),
                SearchResult::Gone => None,
                SearchResult::Unclear => return true,
            },
        };
        let Some(metadata) = metadata else { return false };
        if metadata.len() > self.size {
            losses.push(OldFileLoss {
                missed: None,
                bytes: Some(metadata.len() - self.size),
                reason: "the rotated file was written to after rtlogd had stopped reading it (a longer \
                         `rotate_wait` would have waited for its writer)",
            });
        }
        self.size = metadata.len();
        metadata.nlink() > 0
    }
}
