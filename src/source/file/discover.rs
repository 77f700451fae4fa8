//! What was rotated away without having been seen under its path: it is sought by its name, and put into the row.
//!
//! Whoever writes renames a file before it makes the next one. So what a listing shows that was begun after the newest was
//! seen is all that came before it; but for names that went from one file to another meanwhile, for which there is a second
//! look before the reader goes on to the next file.

use std::cmp::Ordering;
use std::fs::File;

use tokio::time::Instant;

use super::fingerprint::Identity;
use super::path::{MAX_GENERATIONS, PathTail};
use super::reader::FileReader;
use crate::source::file::rotation::generation::{Generation, PassContext, is_copy};
use crate::source::file::rotation::siblings::{Sibling, Siblings, stamp};
use crate::source::file::rotation::watermark::Watermark;

impl PathTail {
    /// Puts into the row what was rotated away before the path named `newest`, or named nothing. Says whether that is all.
    pub(super) fn discover(&mut self, newest: Option<Identity>, turn: &mut PassContext<'_>) -> bool {
        if self.overflowed && self.row.len() > MAX_GENERATIONS / 2 {
            return false;
        }
        if self.discovered_stamp.is_some() && self.path.parent().and_then(stamp) == self.discovered_stamp {
            return true;
        }
        let since = match self.newest_seen {
            Some((arrived, since)) if arrived == newest => since,
            _ => Instant::now(),
        };
        self.newest_seen = Some((newest, since));
        // What stands there at the first look is not to be read, and may be of any moment before.
        let since = self.watermark.as_ref().map(|_| since);
        let Some(mut siblings) = turn.index.rotated(&self.path, since) else {
            self.later = true;
            return false;
        };
        self.counts_up = siblings.order(self.counts_up);
        self.watermark.get_or_insert_with(|| Watermark::behind(&siblings.row));
        self.overflowed = !self.add_siblings(&siblings, newest, turn);
        self.discovered_stamp = siblings.settled_stamp.filter(|_| !self.overflowed);
        !self.overflowed
    }

    /// `false` if the row has no room for all.
    fn add_siblings(&mut self, siblings: &Siblings, newest: Option<Identity>, turn: &mut PassContext<'_>) -> bool {
        // It was rotated itself by now: what came behind it is sought with what the path names then.
        let end = newest.and_then(|newest| siblings.position(newest)).unwrap_or(siblings.row.len());
        let mut before: Option<&Sibling> = None;
        for sibling in &siblings.row[..end] {
            let is_known = turn.claims.is_known(sibling.identity);
            if is_known {
                before = Some(sibling);
                continue;
            }
            if !self.is_new(sibling) || (turn.named)(&sibling.path) {
                continue;
            }
            let handles = turn.open_limit;
            let is_copy_of = |file: Option<&File>| is_copy(&sibling.path, file, handles);
            let is_read = self.row.front().is_some_and(|front| is_copy_of(front.reader.file().ok()));
            let is_none_of_them = |before: &Sibling| {
                !siblings.follows(sibling, before)
                    || is_copy_of(handles.open(&before.path).ok().as_ref().map(|(file, _)| &**file))
            };
            if is_read || before.is_some_and(is_none_of_them) {
                continue;
            }
            let at = self.generation_index(sibling, siblings);
            if at == self.row.len() && at >= MAX_GENERATIONS {
                return false;
            }
            if self.insert(at, sibling, turn) {
                before = Some(sibling);
            }
        }
        true
    }

    /// Whether a file beside the path is not done with.
    pub(super) fn is_new(&self, sibling: &Sibling) -> bool {
        self.watermark.as_ref().is_none_or(|mark| !mark.is_done(sibling))
    }

    /// Where in the row a file belongs by its age: behind what is read already, and before what the path names.
    fn generation_index(&self, sibling: &Sibling, siblings: &Siblings) -> usize {
        let is_newer = |opened: &&Generation| {
            let identity = opened.reader.identity();
            let order = match (siblings.position(identity), siblings.position(sibling.identity)) {
                (Some(other), Some(this)) => other.cmp(&this),
                _ => opened.reader.age().cmp(&sibling.age).then(Ordering::Greater),
            };
            opened.is_unread() && (opened.replaced_at.is_none() || order == Ordering::Greater)
        };
        self.row.len() - self.row.iter().rev().take_while(is_newer).count()
    }

    /// `false` if it is no text, or is gone.
    fn insert(&mut self, at: usize, sibling: &Sibling, turn: &mut PassContext<'_>) -> bool {
        let identity = sibling.identity;
        let opened =
            FileReader::open(&sibling.path, turn.open_limit).ok().filter(|reader| reader.identity() == identity);
        let mut reader = match opened {
            Some(reader) if reader.compressed().is_ok_and(|kind| kind.is_some()) => return false,
            Some(reader) => reader,
            // Its name went to another meanwhile: it is found again when it is read.
            None => FileReader::parked(identity, sibling.size),
        };
        if turn.open_limit.are_scarce(true) {
            reader.park();
        }
        turn.claims.claim(identity, self.id);
        self.checkpoint_changed |= self.row.is_empty();
        let name = Some(sibling.path.clone());
        self.row.insert(at, Generation { replaced_at: Some(turn.now.instant), name, ..Generation::new(reader) });
        true
    }

    /// The path still names what it named, which was truncated: what stands beside it are copies, and no files of the row.
    pub(super) fn skip_copies(&mut self, turn: &mut PassContext<'_>) {
        let Some(since) = self.truncated_at.filter(|_| self.row.len() == 1) else { return };
        let Some(siblings) = turn.index.rotated(&self.path, Some(since)) else {
            self.later = true;
            return;
        };
        self.truncated_at = None;
        if self.names_newest()
            && let Some(mark) = &mut self.watermark
        {
            mark.raise_to_all(&siblings.row);
            self.checkpoint_changed = true;
        }
    }

    /// What is older than the front is done with, and the front too.
    pub(super) fn raise_watermark(&mut self, age: u64, identity: Identity) {
        if let Some(mark) = &mut self.watermark {
            mark.raise(age, identity);
        }
    }
}
