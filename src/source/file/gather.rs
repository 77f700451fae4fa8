//! What was rotated away without having been seen under its path: it is sought by its name, and put into the row.
//!
//! Whoever writes renames a file before it makes the next one. So what a listing shows that was begun after the newest was
//! seen is all that came before it; but for names that went from one file to another meanwhile, for which there is a second
//! look before the reader goes on to the next file.

use std::cmp::Ordering;
use std::fs::File;

use tokio::time::Instant;

use super::follow::{Follow, ROW};
use super::identity::Identity;
use super::reader::Reader;
use super::row::{Opened, Turn, is_copy};
use super::siblings::{Sibling, Siblings, stamp};
use super::watermark::Watermark;

impl Follow {
    /// Puts into the row what was rotated away before the path named `newest`, or named nothing. Says whether that is all.
    pub(super) fn gather(&mut self, newest: Option<Identity>, turn: &mut Turn<'_>) -> bool {
        if self.overflows && self.row.len() > ROW / 2 {
            return false;
        }
        if self.gathered.is_some() && self.path.parent().and_then(stamp) == self.gathered {
            return true;
        }
        let since = match self.arrived {
            Some((arrived, since)) if arrived == newest => since,
            _ => Instant::now(),
        };
        self.arrived = Some((newest, since));
        // What stands there at the first look is not to be read, and may be of any moment before.
        let since = self.watermark.as_ref().map(|_| since);
        let Some(mut siblings) = turn.index.rotated(&self.path, since) else {
            self.later = true;
            return false;
        };
        self.counts_up = siblings.order(self.counts_up);
        self.watermark.get_or_insert_with(|| Watermark::behind(&siblings.row));
        self.overflows = !self.take_in(&siblings, newest, turn);
        self.gathered = siblings.calm.filter(|_| !self.overflows);
        !self.overflows
    }

    /// `false` if the row has no room for all.
    fn take_in(&mut self, siblings: &Siblings, newest: Option<Identity>, turn: &mut Turn<'_>) -> bool {
        // It was rotated itself by now: what came behind it is sought with what the path names then.
        let end = newest.and_then(|newest| siblings.position(newest)).unwrap_or(siblings.row.len());
        let mut before: Option<&Sibling> = None;
        for sibling in &siblings.row[..end] {
            let is_known = turn.owners.is_known(sibling.identity);
            if is_known {
                before = Some(sibling);
                continue;
            }
            if !self.is_new(sibling) || (turn.named)(&sibling.path) {
                continue;
            }
            let handles = turn.handles;
            let is_copy_of = |file: Option<&File>| is_copy(&sibling.path, file, handles);
            let is_read = self.row.front().is_some_and(|front| is_copy_of(front.reader.file().ok()));
            let is_none_of_them = |before: &Sibling| {
                !siblings.follows(sibling, before)
                    || is_copy_of(handles.open(&before.path).ok().as_ref().map(|(file, _)| &**file))
            };
            if is_read || before.is_some_and(is_none_of_them) {
                continue;
            }
            let at = self.place_for(sibling, siblings);
            if at == self.row.len() && at >= ROW {
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
    fn place_for(&self, sibling: &Sibling, siblings: &Siblings) -> usize {
        let is_newer = |opened: &&Opened| {
            let identity = opened.reader.identity();
            let order = match (siblings.position(identity), siblings.position(sibling.identity)) {
                (Some(other), Some(this)) => other.cmp(&this),
                _ => opened.reader.age().cmp(&sibling.age).then(Ordering::Greater),
            };
            opened.is_fresh() && (opened.replaced.is_none() || order == Ordering::Greater)
        };
        self.row.len() - self.row.iter().rev().take_while(is_newer).count()
    }

    /// `false` if it is no text, or is gone.
    fn insert(&mut self, at: usize, sibling: &Sibling, turn: &mut Turn<'_>) -> bool {
        let identity = sibling.identity;
        let opened = Reader::open(&sibling.path, turn.handles).ok().filter(|reader| reader.identity() == identity);
        let mut reader = match opened {
            Some(reader) if reader.compressed().is_ok_and(|kind| kind.is_some()) => return false,
            Some(reader) => reader,
            // Its name went to another meanwhile: it is found again when it is read.
            None => Reader::parked(identity, sibling.size),
        };
        if turn.handles.are_scarce(true) {
            reader.park();
        }
        turn.owners.claim(identity, self.id);
        self.moved |= self.row.is_empty();
        let name = Some(sibling.path.clone());
        self.row.insert(at, Opened { replaced: Some(turn.now.instant), name, ..Opened::new(reader) });
        true
    }

    /// The path still names what it named, which was truncated: what stands beside it are copies, and no files of the row.
    pub(super) fn pass_over_copies(&mut self, turn: &mut Turn<'_>) {
        let Some(since) = self.truncated.filter(|_| self.row.len() == 1) else { return };
        let Some(siblings) = turn.index.rotated(&self.path, Some(since)) else {
            self.later = true;
            return;
        };
        self.truncated = None;
        if self.names_newest()
            && let Some(mark) = &mut self.watermark
        {
            mark.raise_to_all(&siblings.row);
            self.moved = true;
        }
    }

    /// What is older than the front is done with, and the front too.
    pub(super) fn raise_watermark(&mut self, age: u64, identity: Identity) {
        if let Some(mark) = &mut self.watermark {
            mark.raise(age, identity);
        }
    }
}
