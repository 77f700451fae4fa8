//! One path: growth, rotation, truncation, and that it is not there. Blocks; knows no task and no other path.
//!
//! Its files stand in a row, the oldest in front: that one is read, to its end and for a while longer; then it is left for
//! the next. [`resolve`](PathTail::resolve) looks at the path, [`read`](PathTail::read) reads a chunk.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ReadFrom;
use crate::event::{Loss, Origin};
use crate::source::pipeline::MAX_KEY_LOOKBACK;

use super::checkpoint::Checkpoint;
use super::claims::Claims;
use super::current::MIN_COPY_SIZE;
use super::denied::OpenDenied;
use super::fingerprint::{Fingerprint, Identity};
use super::reader::{FileRead, FileReader, ReadOptions};
use super::resume::ResumeResult;
use crate::source::file::rotation::generation::{
    Generation, PassContext, PathTarget, RecordedCheckpoint, Refusal, is_missing, refusal, special_file,
};
use crate::source::file::rotation::watermark::Watermark;

/// Most files in the row. What has no room is found again by its name once there is some.
pub(super) const MAX_GENERATIONS: usize = 64;

/// With more than this, those in front are not read on for late writers.
const MAX_GENERATIONS_WITH_WAIT: usize = 48;

/// What the system refused is tried again after this time.
pub(super) const REOPEN_INTERVAL: Duration = Duration::from_secs(5);

/// A file that grew within this time is active.
const ACTIVE_PERIOD: Duration = Duration::from_mins(1);

/// A path that is followed.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five facts that are known apart from each other")]
pub(super) struct PathTail {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    /// Its number among the paths of the stream, and that of its lane.
    pub(super) id: usize,
    /// It was named by itself, and not found by a pattern.
    named: bool,
    /// Where to begin in a file that is there at the start; `None` once the path was looked at.
    pub(super) from: Option<ReadFrom>,
    /// The front is read; the back is what the path names, unless it was replaced.
    pub(super) row: VecDeque<Generation>,
    /// What the path named at the last look.
    pub(super) found: PathTarget,
    /// Which of the files beside it are done with; `None` until it was looked at.
    pub(super) watermark: Option<Watermark>,
    /// What the path names that is not in the row, or that it names nothing, and since when.
    pub(super) newest_seen: Option<(Option<Identity>, Instant)>,
    /// As the directory is, all that a rotation left is in the row: its [`stamp`](crate::source::file::rotation::siblings::stamp).
    pub(super) discovered_stamp: Option<u64>,
    /// Whether rotations count up, as far as is known.
    pub(super) counts_up: Option<bool>,
    /// The row had no room for all of them.
    pub(super) overflowed: bool,
    /// Since when copies may stand beside it that are not to be read.
    pub(super) truncated_at: Option<Instant>,
    /// There is more to do, but not in this turn.
    pub(super) later: bool,
    /// When there was something new.
    pub(super) last_growth: Option<Instant>,
    /// Something was written since the last read, as far as is heard.
    pub(super) written: bool,
    /// Changes may go unheard.
    pub(super) unwatched: bool,
    /// How far a file was read whose copy it may be: then only what is behind is new.
    pub(super) copy_candidates: Vec<Fingerprint>,
    /// How far files were read that are deleted or were truncated: a copy of them goes on there.
    pub(super) gone_fingerprints: VecDeque<Fingerprint>,
    /// A file of the row was put over another.
    pub(super) over: bool,
    /// Its place changed.
    pub(super) checkpoint_changed: bool,
    pub(super) last_checkpoint: RecordedCheckpoint,
}

impl PathTail {
    pub(super) fn new(path: PathBuf, id: usize, named: bool, from: ReadFrom) -> Self {
        Self {
            origin: Origin::file(&path),
            path,
            id,
            named,
            from: Some(from),
            row: VecDeque::new(),
            found: PathTarget::Unknown,
            watermark: None,
            newest_seen: None,
            discovered_stamp: None,
            counts_up: None,
            overflowed: false,
            truncated_at: None,
            later: false,
            last_growth: None,
            written: false,
            unwatched: false,
            copy_candidates: Vec::new(),
            gone_fingerprints: VecDeque::new(),
            over: false,
            checkpoint_changed: false,
            last_checkpoint: RecordedCheckpoint::Nothing,
        }
    }

    /// Goes on from a recorded place.
    pub(super) fn resume_from(&mut self, saved: Checkpoint, owners: &mut Claims) {
        self.from = Some(ReadFrom::Beginning);
        self.gone_fingerprints = saved.gone_fingerprints().collect();
        (self.watermark, self.counts_up) = (Some(saved.watermark()), saved.counts_up());
        if saved.is_gone() {
            self.last_checkpoint = RecordedCheckpoint::Gone;
            return;
        }
        self.last_checkpoint = RecordedCheckpoint::File;
        for saved in saved.row() {
            owners.claim(saved.identity(), self.id);
            let reader = FileReader::parked(saved.identity(), 0);
            self.row.push_back(Generation { saved: Some(saved), ..Generation::new(reader) });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the path named at the last look.
    pub(super) fn found(&self) -> &PathTarget {
        &self.found
    }

    /// Why its file cannot be read, if it cannot.
    pub(super) fn refused(&self) -> Option<&Refusal> {
        self.row.front()?.refused.as_ref().map(|(refusal, _)| refusal)
    }

    /// Whether it was named by itself, and not found by a pattern.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// Whether it is to go on from a recorded place, and its file was not found yet.
    pub(super) fn is_resuming(&self) -> bool {
        self.row.front().is_some_and(|front| front.saved.is_some())
    }

    /// The last file of the row.
    pub(super) fn newest(&self) -> Option<Identity> {
        self.row.back().map(|opened| opened.reader.identity())
    }

    /// Whether the path names the last file of the row.
    pub(super) fn names_newest(&self) -> bool {
        let named = fs::metadata(&self.path).map(|metadata| Identity::from(&metadata)).ok();
        named.is_some() && named == self.newest()
    }

    /// How far its files are read, and were that are gone; of each enough to tell a copy of it.
    pub(super) fn fingerprints(&self) -> Vec<Fingerprint> {
        let now = self.row.iter().map(Generation::fingerprint);
        now.chain(self.gone_fingerprints.iter().copied()).filter(|read| read.at >= MIN_COPY_SIZE).collect()
    }

    /// Whether there is a file that is read.
    pub(super) fn is_open(&self) -> bool {
        self.row.front().is_some_and(|front| front.saved.is_none())
    }

    /// How many bytes are known to be there and unread.
    pub(super) fn lag(&self) -> u64 {
        self.row.iter().map(|opened| opened.reader.unread()).sum()
    }

    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.last_growth.is_some_and(|grew| now < grew + ACTIVE_PERIOD)
    }

    /// When there is something to do, whatever is heard.
    pub(super) fn due(&self, now: Instant, wait: Duration) -> Option<Instant> {
        let front = self.row.front();
        let over = front.and_then(|front| front.replaced_at).map(|replaced| replaced + self.wait(wait));
        let retry = front.and_then(|front| front.refused.as_ref()).map(|(_, retry)| *retry);
        let again = matches!(self.found, PathTarget::Refused(_) | PathTarget::Other(_)).then(|| now + REOPEN_INTERVAL);
        if let Some(retry) = retry {
            return Some(retry);
        }
        over.into_iter().chain(again).min()
    }

    pub(crate) fn wait(&self, wait: Duration) -> Duration {
        if self.row.len() > MAX_GENERATIONS_WITH_WAIT { Duration::ZERO } else { wait }
    }

    /// Opens what the path names, if it is a file and not open yet; notes when it names another.
    pub(super) fn resolve(&mut self, turn: &mut PassContext<'_>) {
        self.found = match self.find_checkpointed(turn) {
            Ok(ResumeResult::Done) => self.look(turn).unwrap_or_else(|error| self.open_failed(&error, turn)),
            // Whether the file is still there shows only when the path names one.
            Ok(ResumeResult::Waiting) => PathTarget::Missing,
            Ok(ResumeResult::Deferred) => {
                self.later = true;
                return;
            }
            Err(error) => self.missing_or_refused("read", &error),
        };
    }

    fn look(&mut self, turn: &mut PassContext<'_>) -> io::Result<PathTarget> {
        let metadata = match self.metadata(turn) {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if OpenDenied::of(&error).is_some() => return Err(error),
            other => {
                let found = match &other {
                    Ok(metadata) => special_file(metadata),
                    Err(error) if is_missing(error) => PathTarget::Missing,
                    // What is open stays what it is.
                    Err(error) => return Ok(self.missing_or_refused("look at", error)),
                };
                self.from = Some(ReadFrom::Beginning);
                self.mark_replaced(turn.now.instant, false);
                self.discover(None, turn);
                self.checkpoint_changed |= self.row.is_empty();
                return Ok(found);
            }
        };
        let identity = Identity::from(&metadata);
        if let Some(at) = self.row.iter().position(|opened| opened.reader.identity() == identity) {
            let changed = self.row[at].reader.note_metadata(&metadata);
            self.row[at].changed |= changed;
            if at + 1 < self.row.len() {
                self.reinstate(at, turn);
            } else {
                self.row[at].replaced_at = None;
            }
            self.skip_copies(turn);
            return Ok(PathTarget::File);
        }
        if let PathTarget::Compressed(known, kind) = self.found
            && known == identity
        {
            return Ok(PathTarget::Compressed(known, kind));
        }
        self.begin(turn)
    }

    /// The path names a file that is not in the row.
    fn begin(&mut self, turn: &mut PassContext<'_>) -> io::Result<PathTarget> {
        let mut reader = FileReader::open(&self.path, turn.open_limit)?;
        let identity = reader.identity();
        if self.row.iter().any(|opened| opened.reader.identity() == identity) {
            return Ok(PathTarget::File);
        }
        let other = if turn.claims.is_claimed_by_other(identity, self.id) {
            Some(PathTarget::Alias(identity))
        } else {
            reader.compressed()?.map(|kind| PathTarget::Compressed(identity, kind))
        };
        if let Some(found) = other {
            self.mark_replaced(turn.now.instant, false);
            return Ok(found);
        }
        self.mark_replaced(turn.now.instant, true);
        if !self.discover(Some(identity), turn) {
            // What came before it has its turn first.
            return Ok(PathTarget::File);
        }
        let copied = mem::take(&mut self.copy_candidates);
        let left = turn.claims.left(identity);
        let goes_on =
            left.is_some_and(|left| reader.resume_at(left).unwrap_or(false)) || reader.resume_at_farthest(copied);
        let from = self.from.take();
        if !goes_on && from == Some(ReadFrom::End) {
            reader.seek_last_lines(turn.settings.initial_lines, turn.settings.is_utf16)?;
        }
        turn.claims.claim(identity, self.id);
        self.checkpoint_changed |= self.row.is_empty() || goes_on;
        self.row.push_back(Generation::new(reader));
        Ok(PathTarget::File)
    }

    /// The path does not name what it did, but another file, if there is one `by` now.
    pub(super) fn mark_replaced(&mut self, now: Instant, by: bool) {
        if let Some(last) = self.row.back_mut().filter(|last| last.replaced_at.is_none() && last.saved.is_none()) {
            (last.replaced_at, last.changed) = (Some(now), true);
            last.replaced_atomically = by;
        }
    }

    /// The path names again what it named before, and what is still in the row.
    fn reinstate(&mut self, at: usize, turn: &mut PassContext<'_>) {
        self.mark_replaced(turn.now.instant, false);
        if at == 0 {
            self.finish(turn);
        }
        if let Some(opened) = self.row.remove(at) {
            self.row.push_back(Generation { replaced_at: None, ..opened });
        }
        self.checkpoint_changed = true;
    }

    /// Reads a chunk of the front; gives back how many bytes it was, and whether there is more to do.
    pub(super) fn read(&mut self, turn: &mut PassContext<'_>) -> (usize, bool) {
        match self.open_current(turn) {
            Ok(true) => {}
            Ok(false) => return (0, false),
            Err(error) if is_missing(&error) => {
                self.lose_current(turn);
                return (0, true);
            }
            Err(error) => return self.record_refusal(&error, turn.now.instant),
        }
        let Some(front) = self.row.front_mut() else { return (0, false) };
        self.written = false;
        if turn.feed.needs_lookback(self.id) {
            match front.reader.behind(MAX_KEY_LOOKBACK) {
                Ok(bytes) => turn.feed.look_back(self.id, &bytes, turn.now),
                Err(error) => return self.record_refusal(&error, turn.now.instant),
            }
        }
        let how = ReadOptions { line_start: turn.feed.at_line_start(self.id), is_utf16: turn.settings.is_utf16 };
        match front.reader.read(how) {
            Ok(FileRead::Bytes { bytes, more }) => {
                let before = turn.batch.len();
                turn.feed.push(self.id, &bytes, turn.now, turn.batch);
                self.checkpoint_changed |= turn.batch.len() > before;
                self.last_growth = Some(turn.now.instant);
                let more = more || front.replaced_at.is_some();
                if !more {
                    self.park_current(turn);
                }
                (bytes.len(), more)
            }
            Ok(FileRead::Hole { bytes }) => {
                self.finish(turn);
                let reason = "NUL bytes, left by a writer that did not notice a truncation";
                self.report_loss(Some(0), Some(bytes), reason, turn);
                (0, true)
            }
            Ok(FileRead::CaughtUp) => (0, self.current_at_end(turn)),
            Ok(FileRead::Truncated { unread }) => {
                let read = front.reader.trace().fingerprint();
                front.reader.restart();
                self.truncated_at = Some(Instant::now());
                self.remember_gone(read);
                self.finish(turn);
                self.report_loss(None, unread, "the file was truncated or overwritten", turn);
                (0, true)
            }
            Ok(FileRead::Shortened) => {
                self.finish(turn);
                self.report_loss(Some(0), None, "lines that were read already were cut off its end", turn);
                (0, true)
            }
            Ok(FileRead::Compressed(kind)) => {
                let identity = front.reader.identity();
                let replaced = front.replaced_at.is_some();
                self.leave_current(turn);
                if !replaced {
                    self.found = PathTarget::Compressed(identity, kind);
                }
                (0, !self.row.is_empty())
            }
            Err(error) => self.record_refusal(&error, turn.now.instant),
        }
    }

    /// The half line is at its end, and a new file begins.
    pub(super) fn finish(&mut self, turn: &mut PassContext<'_>) {
        turn.feed.finish(self.id, turn.now, turn.batch);
    }

    pub(super) fn report_loss(
        &mut self,
        missed: Option<u64>,
        bytes: Option<u64>,
        reason: &str,
        turn: &mut PassContext<'_>,
    ) {
        let reason = format!("{}: {reason}", self.origin.as_str());
        turn.batch.loss(turn.now.time, &Loss { missed, bytes, reason });
        self.checkpoint_changed = true;
    }

    pub(super) fn missing_or_refused(&self, verb: &str, error: &io::Error) -> PathTarget {
        if is_missing(error) { PathTarget::Missing } else { PathTarget::Refused(refusal(&self.path, verb, error)) }
    }
}
