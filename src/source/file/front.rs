//! The front of a path's row: how it is opened, and how it is left.

use std::fs::{self, Metadata};
use std::io;
use std::mem;

use tokio::time::Instant;

use super::denied::Denied;
use super::follow::{Follow, RETRY};
use super::identity::Prints;
use super::row::{Found, Turn, none_if_missing, refusal};
use super::siblings::Sought;

/// So many files that are gone are remembered.
const PAST: usize = 4;

/// Of a file of which fewer bytes were read nothing is taken to be a copy: a banner tells nothing.
pub(super) const TELLING: u64 = 32;

impl Follow {
    /// What the path names. A file is found whoever's symlinks lead there: they are judged when it is opened. Whether there is
    /// something else, or nothing, nobody learns by a symlink that may not be followed.
    pub(super) fn see(&self, turn: &Turn<'_>) -> io::Result<Metadata> {
        let file = fs::metadata(&self.path).ok().filter(Metadata::is_file);
        file.map_or_else(|| turn.handles.opener().look(&self.path), Ok)
    }

    /// What the path names cannot be opened. What it must not lead to took the place of the file that was read, which is read
    /// to its end as after a rotation.
    pub(super) fn not_opened(&mut self, error: &io::Error, turn: &mut Turn<'_>) -> Found {
        if Denied::of(error).is_some() {
            self.replace(turn.now.instant, false);
            self.gather(None, turn);
            self.moved |= self.row.is_empty();
        }
        self.not_found("open", error)
    }

    /// Sees to it that the front is open, and begins where it is to; `false` if nothing is to be read in it.
    pub(super) fn attach(&mut self, turn: &mut Turn<'_>) -> io::Result<bool> {
        let is_open = self.open(turn)?;
        if is_open {
            self.recall();
        }
        Ok(is_open)
    }

    fn open(&mut self, turn: &mut Turn<'_>) -> io::Result<bool> {
        let Some(front) = self.row.front_mut() else { return Ok(false) };
        if front.saved.is_some() || front.refused.as_ref().is_some_and(|(_, retry)| turn.now.instant < *retry) {
            return Ok(false);
        }
        if front.refused.take().is_none() && !front.reader.is_parked() {
            return Ok(true);
        }
        let wanted = mem::take(&mut front.changed) || front.replaced.is_some() || self.written;
        if !wanted {
            return Ok(false);
        }
        if front.replaced.is_none()
            && let Ok(true) = front.reader.attach(&self.path, turn.handles).or_else(none_if_missing)
        {
            return Ok(true);
        }
        if let Some(name) = front.name.take()
            && let Ok(true) = front.reader.attach(&name, turn.handles).or_else(none_if_missing)
        {
            return Ok(true);
        }
        let since = *front.sought.get_or_insert_with(Instant::now);
        match turn.index.find(&self.path, front.reader.identity(), since) {
            Sought::There(path) => {
                front.sought = None;
                if front.reader.attach(&path, turn.handles).or_else(none_if_missing)? {
                    return Ok(true);
                }
            }
            Sought::Gone => return Err(io::ErrorKind::NotFound.into()),
            Sought::Unclear => {}
        }
        (front.changed, self.later) = (true, true);
        Ok(false)
    }

    /// The front was read to its end: leaves it if it was replaced long enough ago, and says whether it did.
    pub(super) fn at_end(&mut self, turn: &mut Turn<'_>) -> bool {
        let wait = self.wait(turn.rules.rotate_wait);
        let Some(front) = self.row.front_mut() else { return false };
        if front.replaced.is_some_and(|replaced| turn.now.instant >= replaced + wait) {
            // What comes next is to be known before.
            self.gather(self.arrived.and_then(|(newest, _)| newest), turn);
            if !self.later {
                self.leave(turn);
            }
            return true;
        }
        self.park(turn);
        false
    }

    /// Closes the front, of which nothing is left to read, if too many files are open.
    pub(super) fn park(&mut self, turn: &mut Turn<'_>) {
        let active = self.is_active(turn.now.instant);
        if !turn.feed.is_open(self.id)
            && turn.handles.are_scarce(active)
            && let Some(front) = self.row.front_mut()
        {
            front.reader.park();
            front.changed = false;
        }
    }

    /// The front is not read any more.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) {
        let Some(old) = self.row.pop_front() else { return };
        self.raise_watermark(old.reader.age(), old.reader.identity());
        let (identity, trace) = (old.reader.identity(), old.reader.trace().prints());
        let deleted = old.reader.is_parked() || old.reader.is_deleted();
        // An editor, or `sed -i`, wrote a copy and put it over the file: that is the same file. And so it is where an
        // overlay made a copy before the first writing.
        let same = self.row.front_mut().is_some_and(|next| {
            let copied = next.reader.identity().is_inode(identity);
            ((old.atomic && deleted) || copied) && next.reader.go_on(trace).unwrap_or(false)
        });
        if !same {
            self.finish(turn);
        }
        if deleted {
            self.remember(trace);
        }
        turn.owners.leave(identity, self.id, Some(trace).filter(|_| !deleted));
        if let Some(next) = self.row.front_mut() {
            next.changed = true;
        }
        self.over |= !same && deleted && old.atomic;
        self.moved = true;
    }

    /// The front may be a copy of what was read.
    fn recall(&mut self) {
        let is_last = self.row.len() == 1;
        let over = if is_last { mem::take(&mut self.over) } else { self.over };
        let Some(front) = self.row.front_mut().filter(|front| front.replaced.is_some() || over) else { return };
        if front.is_fresh() {
            self.moved |= front.reader.go_on_farthest(self.past.iter().copied().collect());
        }
    }

    /// What was read up to there is gone; a copy of it may be met.
    pub(super) fn remember(&mut self, read: Prints) {
        if read.at >= TELLING {
            self.past.push_back(read);
            if self.past.len() > PAST {
                self.past.pop_front();
            }
        }
    }

    /// The front is not to be found any more. It was closed since nothing was new in it.
    pub(super) fn lose(&mut self, turn: &mut Turn<'_>) {
        let Some(front) = self.row.front() else { return };
        let unread = front.reader.unread();
        let unsure = self.written || self.deaf || unread > 0;
        self.written = false;
        let before = self.row.len();
        let read = front.reader.trace().prints();
        let atomic = front.atomic;
        self.leave(turn);
        let goes_on = atomic && self.row.front().is_some_and(|next| next.reader.trace().prints() == read);
        if unsure && !goes_on && before > self.row.len() {
            self.loss(
                None,
                Some(unread).filter(|&unread| unread > 0),
                "the file was deleted before it could be read",
                turn,
            );
        }
    }

    pub(super) fn refuse(&mut self, error: &io::Error, now: Instant) -> (usize, bool) {
        let refusal = refusal(&self.path, "read", error);
        if let Some(front) = self.row.front_mut() {
            front.reader.park();
            (front.refused, front.changed) = (Some((refusal, now + RETRY)), true);
        }
        (0, false)
    }
}
