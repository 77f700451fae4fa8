//! One path: growth, rotation, truncation, and that it is not there. Blocks; knows no task and no other path.
//!
//! Its files stand in a row, the oldest in front: that one is read, to its end and for a while longer; then it is left for
//! the next. [`resolve`](Follow::resolve) looks at the path, [`read`](Follow::read) reads a chunk.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Start;
use crate::event::{Loss, Origin};
use crate::source::feed::KEY_REACH;

use super::denied::Denied;
use super::front::TELLING;
use super::identity::{Identity, Prints};
use super::owners::Owners;
use super::place::Saved;
use super::reader::{How, Read, Reader};
use super::resume::Restored;
use super::row::{Found, Opened, Placed, Refusal, Turn, is_missing, not_a_file, refusal};
use super::watermark::Watermark;

/// Most files in the row. What has no room is found again by its name once there is some.
pub(super) const ROW: usize = 64;

/// With more than this, those in front are not read on for late writers.
const CROWDED: usize = 48;

/// What the system refused is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A file that grew within this time is active.
const ACTIVE: Duration = Duration::from_mins(1);

/// A path that is followed.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "five facts that are known apart from each other")]
pub(super) struct Follow {
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    /// Its number among the paths of the stream, and that of its lane.
    pub(super) id: usize,
    /// It was named by itself, and not found by a pattern.
    named: bool,
    /// Where to begin in a file that is there at the start; `None` once the path was looked at.
    pub(super) from: Option<Start>,
    /// The front is read; the back is what the path names, unless it was replaced.
    pub(super) row: VecDeque<Opened>,
    /// What the path named at the last look.
    pub(super) found: Found,
    /// Which of the files beside it are done with; `None` until it was looked at.
    pub(super) watermark: Option<Watermark>,
    /// What the path names that is not in the row, or that it names nothing, and since when.
    pub(super) arrived: Option<(Option<Identity>, Instant)>,
    /// As the directory is, all that a rotation left is in the row: its [`stamp`](super::siblings::stamp).
    pub(super) gathered: Option<u64>,
    /// Whether rotations count up, as far as is known.
    pub(super) counts_up: Option<bool>,
    /// The row had no room for all of them.
    pub(super) overflows: bool,
    /// Since when copies may stand beside it that are not to be read.
    pub(super) truncated: Option<Instant>,
    /// There is more to do, but not in this turn.
    pub(super) later: bool,
    /// When there was something new.
    pub(super) grew: Option<Instant>,
    /// Something was written since the last read, as far as is heard.
    pub(super) written: bool,
    /// Changes may go unheard.
    pub(super) deaf: bool,
    /// How far a file was read whose copy it may be: then only what is behind is new.
    pub(super) copied: Vec<Prints>,
    /// How far files were read that are deleted or were truncated: a copy of them goes on there.
    pub(super) past: VecDeque<Prints>,
    /// A file of the row was put over another.
    pub(super) over: bool,
    /// Its place changed.
    pub(super) moved: bool,
    pub(super) placed: Placed,
}

impl Follow {
    pub(super) fn new(path: PathBuf, id: usize, named: bool, from: Start) -> Self {
        Self {
            origin: Origin::file(&path),
            path,
            id,
            named,
            from: Some(from),
            row: VecDeque::new(),
            found: Found::Unknown,
            watermark: None,
            arrived: None,
            gathered: None,
            counts_up: None,
            overflows: false,
            truncated: None,
            later: false,
            grew: None,
            written: false,
            deaf: false,
            copied: Vec::new(),
            past: VecDeque::new(),
            over: false,
            moved: false,
            placed: Placed::Nothing,
        }
    }

    /// Goes on from a recorded place.
    pub(super) fn restore(&mut self, saved: Saved, owners: &mut Owners) {
        self.from = Some(Start::Beginning);
        self.past = saved.past().collect();
        (self.watermark, self.counts_up) = (Some(saved.watermark()), saved.counts_up());
        if saved.is_gone() {
            self.placed = Placed::Gone;
            return;
        }
        self.placed = Placed::File;
        for saved in saved.row() {
            owners.claim(saved.identity(), self.id);
            let reader = Reader::parked(saved.identity(), 0);
            self.row.push_back(Opened { saved: Some(saved), ..Opened::new(reader) });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the path named at the last look.
    pub(super) fn found(&self) -> &Found {
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
    pub(super) fn is_restored(&self) -> bool {
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
    pub(super) fn reads(&self) -> Vec<Prints> {
        let now = self.row.iter().map(Opened::prints);
        now.chain(self.past.iter().copied()).filter(|read| read.at >= TELLING).collect()
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
        self.grew.is_some_and(|grew| now < grew + ACTIVE)
    }

    /// When there is something to do, whatever is heard.
    pub(super) fn due(&self, now: Instant, wait: Duration) -> Option<Instant> {
        let front = self.row.front();
        let over = front.and_then(|front| front.replaced).map(|replaced| replaced + self.wait(wait));
        let retry = front.and_then(|front| front.refused.as_ref()).map(|(_, retry)| *retry);
        let again = matches!(self.found, Found::Refused(_) | Found::Other(_)).then(|| now + RETRY);
        if let Some(retry) = retry {
            return Some(retry);
        }
        over.into_iter().chain(again).min()
    }

    pub(super) fn wait(&self, wait: Duration) -> Duration {
        if self.row.len() > CROWDED { Duration::ZERO } else { wait }
    }

    /// Opens what the path names, if it is a file and not open yet; notes when it names another.
    pub(super) fn resolve(&mut self, turn: &mut Turn<'_>) {
        self.found = match self.find_saved(turn) {
            Ok(Restored::Done) => self.look(turn).unwrap_or_else(|error| self.not_opened(&error, turn)),
            // Whether the file is still there shows only when the path names one.
            Ok(Restored::Waiting) => Found::Missing,
            Ok(Restored::Later) => {
                self.later = true;
                return;
            }
            Err(error) => self.not_found("read", &error),
        };
    }

    fn look(&mut self, turn: &mut Turn<'_>) -> io::Result<Found> {
        let metadata = match self.see(turn) {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if Denied::of(&error).is_some() => return Err(error),
            other => {
                let found = match &other {
                    Ok(metadata) => not_a_file(metadata),
                    Err(error) if is_missing(error) => Found::Missing,
                    // What is open stays what it is.
                    Err(error) => return Ok(self.not_found("look at", error)),
                };
                self.from = Some(Start::Beginning);
                self.replace(turn.now.instant, false);
                self.gather(None, turn);
                self.moved |= self.row.is_empty();
                return Ok(found);
            }
        };
        let identity = Identity::from(&metadata);
        if let Some(at) = self.row.iter().position(|opened| opened.reader.identity() == identity) {
            let changed = self.row[at].reader.see(&metadata);
            self.row[at].changed |= changed;
            if at + 1 < self.row.len() {
                self.come_back(at, turn);
            } else {
                self.row[at].replaced = None;
            }
            self.pass_over_copies(turn);
            return Ok(Found::File);
        }
        if let Found::Compressed(known, kind) = self.found
            && known == identity
        {
            return Ok(Found::Compressed(known, kind));
        }
        self.begin(turn)
    }

    /// The path names a file that is not in the row.
    fn begin(&mut self, turn: &mut Turn<'_>) -> io::Result<Found> {
        let mut reader = Reader::open(&self.path, turn.handles)?;
        let identity = reader.identity();
        if self.row.iter().any(|opened| opened.reader.identity() == identity) {
            return Ok(Found::File);
        }
        let other = if turn.owners.is_others(identity, self.id) {
            Some(Found::Alias(identity))
        } else {
            reader.compressed()?.map(|kind| Found::Compressed(identity, kind))
        };
        if let Some(found) = other {
            self.replace(turn.now.instant, false);
            return Ok(found);
        }
        self.replace(turn.now.instant, true);
        if !self.gather(Some(identity), turn) {
            // What came before it has its turn first.
            return Ok(Found::File);
        }
        let copied = mem::take(&mut self.copied);
        let left = turn.owners.left(identity);
        let goes_on = left.is_some_and(|left| reader.go_on(left).unwrap_or(false)) || reader.go_on_farthest(copied);
        let from = self.from.take();
        if !goes_on && from == Some(Start::End) {
            reader.go_to_last(turn.rules.last_lines, turn.rules.wide)?;
        }
        turn.owners.claim(identity, self.id);
        self.moved |= self.row.is_empty() || goes_on;
        self.row.push_back(Opened::new(reader));
        Ok(Found::File)
    }

    /// The path does not name what it did, but another file, if there is one `by` now.
    pub(super) fn replace(&mut self, now: Instant, by: bool) {
        if let Some(last) = self.row.back_mut().filter(|last| last.replaced.is_none() && last.saved.is_none()) {
            (last.replaced, last.changed) = (Some(now), true);
            last.atomic = by;
        }
    }

    /// The path names again what it named before, and what is still in the row.
    fn come_back(&mut self, at: usize, turn: &mut Turn<'_>) {
        self.replace(turn.now.instant, false);
        if at == 0 {
            self.finish(turn);
        }
        if let Some(opened) = self.row.remove(at) {
            self.row.push_back(Opened { replaced: None, ..opened });
        }
        self.moved = true;
    }

    /// Reads a chunk of the front; gives back how many bytes it was, and whether there is more to do.
    pub(super) fn read(&mut self, turn: &mut Turn<'_>) -> (usize, bool) {
        match self.attach(turn) {
            Ok(true) => {}
            Ok(false) => return (0, false),
            Err(error) if is_missing(&error) => {
                self.lose(turn);
                return (0, true);
            }
            Err(error) => return self.refuse(&error, turn.now.instant),
        }
        let Some(front) = self.row.front_mut() else { return (0, false) };
        self.written = false;
        if turn.feed.asks_before(self.id) {
            match front.reader.behind(KEY_REACH) {
                Ok(bytes) => turn.feed.look_before(self.id, &bytes, turn.now),
                Err(error) => return self.refuse(&error, turn.now.instant),
            }
        }
        let how = How { line_start: turn.feed.at_line_start(self.id), wide: turn.rules.wide };
        match front.reader.read(how) {
            Ok(Read::Bytes { bytes, more }) => {
                let before = turn.batch.len();
                turn.feed.push(self.id, &bytes, turn.now, turn.batch);
                self.moved |= turn.batch.len() > before;
                self.grew = Some(turn.now.instant);
                let more = more || front.replaced.is_some();
                if !more {
                    self.park(turn);
                }
                (bytes.len(), more)
            }
            Ok(Read::Hole { bytes }) => {
                self.finish(turn);
                let reason = "NUL bytes, left by a writer that did not notice a truncation";
                self.loss(Some(0), Some(bytes), reason, turn);
                (0, true)
            }
            Ok(Read::End) => (0, self.at_end(turn)),
            Ok(Read::Truncated { unread }) => {
                let read = front.reader.trace().prints();
                front.reader.restart();
                self.truncated = Some(Instant::now());
                self.remember(read);
                self.finish(turn);
                self.loss(None, unread, "the file was truncated or overwritten", turn);
                (0, true)
            }
            Ok(Read::Cut) => {
                self.finish(turn);
                self.loss(Some(0), None, "lines that were read already were cut off its end", turn);
                (0, true)
            }
            Ok(Read::Compressed(kind)) => {
                let identity = front.reader.identity();
                let replaced = front.replaced.is_some();
                self.leave(turn);
                if !replaced {
                    self.found = Found::Compressed(identity, kind);
                }
                (0, !self.row.is_empty())
            }
            Err(error) => self.refuse(&error, turn.now.instant),
        }
    }

    /// The half line is at its end, and a new file begins.
    pub(super) fn finish(&mut self, turn: &mut Turn<'_>) {
        turn.feed.finish(self.id, turn.now, turn.batch);
    }

    pub(super) fn loss(&mut self, missed: Option<u64>, bytes: Option<u64>, reason: &str, turn: &mut Turn<'_>) {
        let reason = format!("{}: {reason}", self.origin.as_str());
        turn.batch.loss(turn.now.time, &Loss { missed, bytes, reason });
        self.moved = true;
    }

    pub(super) fn not_found(&self, verb: &str, error: &io::Error) -> Found {
        if is_missing(error) { Found::Missing } else { Found::Refused(refusal(&self.path, verb, error)) }
    }
}
