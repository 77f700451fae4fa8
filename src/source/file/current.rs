//! The front of a path's row: how it is opened, and how it is left.

use std::fs::{self, Metadata};
use std::io;
use std::mem;

use tokio::time::Instant;

use super::denied::OpenDenied;
use super::fingerprint::Fingerprint;
use super::path::{PathTail, REOPEN_INTERVAL};
use crate::source::file::rotation::generation::{PassContext, PathTarget, none_if_missing, refusal};
use crate::source::file::rotation::siblings::SearchResult;

/// So many files that are gone are remembered.
const MAX_GONE_FINGERPRINTS: usize = 4;

/// Of a file of which fewer bytes were read nothing is taken to be a copy: a banner tells nothing.
pub(super) const MIN_COPY_SIZE: u64 = 32;

impl PathTail {
    /// What the path names. A file is found whoever's symlinks lead there: they are judged when it is opened. Whether there is
    /// something else, or nothing, nobody learns by a symlink that may not be followed.
    pub(super) fn metadata(&self, turn: &PassContext<'_>) -> io::Result<Metadata> {
        let file = fs::metadata(&self.path).ok().filter(Metadata::is_file);
        file.map_or_else(|| turn.open_limit.opener().look(&self.path), Ok)
    }

    /// What the path names cannot be opened. What it must not lead to took the place of the file that was read, which is read
    /// to its end as after a rotation.
    pub(super) fn open_failed(&mut self, error: &io::Error, turn: &mut PassContext<'_>) -> PathTarget {
        if OpenDenied::of(error).is_some() {
            self.mark_replaced(turn.now.instant, false);
            self.discover(None, turn);
            self.checkpoint_changed |= self.row.is_empty();
        }
        self.missing_or_refused("open", error)
    }

    /// Sees to it that the front is open, and begins where it is to; `false` if nothing is to be read in it.
    pub(super) fn open_current(&mut self, turn: &mut PassContext<'_>) -> io::Result<bool> {
        let is_open = self.open(turn)?;
        if is_open {
            self.skip_copied();
        }
        Ok(is_open)
    }

    fn open(&mut self, turn: &mut PassContext<'_>) -> io::Result<bool> {
        let Some(front) = self.row.front_mut() else { return Ok(false) };
        if front.saved.is_some() || front.refused.as_ref().is_some_and(|(_, retry)| turn.now.instant < *retry) {
            return Ok(false);
        }
        if front.refused.take().is_none() && !front.reader.is_parked() {
            return Ok(true);
        }
        let wanted = mem::take(&mut front.changed) || front.replaced_at.is_some() || self.written;
        if !wanted {
            return Ok(false);
        }
        if front.replaced_at.is_none()
            && let Ok(true) = front.reader.reopen(&self.path, turn.open_limit).or_else(none_if_missing)
        {
            return Ok(true);
        }
        if let Some(name) = front.name.take()
            && let Ok(true) = front.reader.reopen(&name, turn.open_limit).or_else(none_if_missing)
        {
            return Ok(true);
        }
        let since = *front.sought_since.get_or_insert_with(Instant::now);
        match turn.index.find(&self.path, front.reader.identity(), since) {
            SearchResult::Found(path) => {
                front.sought_since = None;
                if front.reader.reopen(&path, turn.open_limit).or_else(none_if_missing)? {
                    return Ok(true);
                }
            }
            SearchResult::Gone => return Err(io::ErrorKind::NotFound.into()),
            SearchResult::Unclear => {}
        }
        (front.changed, self.later) = (true, true);
        Ok(false)
    }

    /// The front was read to its end: leaves it if it was replaced long enough ago, and says whether it did.
    pub(super) fn current_at_end(&mut self, turn: &mut PassContext<'_>) -> bool {
        let wait = self.wait(turn.settings.rotate_wait);
        let Some(front) = self.row.front_mut() else { return false };
        if front.replaced_at.is_some_and(|replaced| turn.now.instant >= replaced + wait) {
            // What comes next is to be known before.
            self.discover(self.newest_seen.and_then(|(newest, _)| newest), turn);
            if !self.later {
                self.leave_current(turn);
            }
            return true;
        }
        self.park_current(turn);
        false
    }

    /// Closes the front, of which nothing is left to read, if too many files are open.
    pub(super) fn park_current(&mut self, turn: &mut PassContext<'_>) {
        let active = self.is_active(turn.now.instant);
        if !turn.feed.is_open(self.id)
            && turn.open_limit.are_scarce(active)
            && let Some(front) = self.row.front_mut()
        {
            front.reader.park();
            front.changed = false;
        }
    }

    /// The front is not read any more.
    pub(super) fn leave_current(&mut self, turn: &mut PassContext<'_>) {
        let Some(old) = self.row.pop_front() else { return };
        self.raise_watermark(old.reader.age(), old.reader.identity());
        let (identity, trace) = (old.reader.identity(), old.reader.trace().fingerprint());
        let deleted = old.reader.is_parked() || old.reader.is_deleted();
        // An editor, or `sed -i`, wrote a copy and put it over the file: that is the same file. And so it is where an
        // overlay made a copy before the first writing.
        let same = self.row.front_mut().is_some_and(|next| {
            let copied = next.reader.identity().same_inode(identity);
            ((old.replaced_atomically && deleted) || copied) && next.reader.resume_at(trace).unwrap_or(false)
        });
        if !same {
            self.finish(turn);
        }
        if deleted {
            self.remember_gone(trace);
        }
        turn.claims.release(identity, self.id, Some(trace).filter(|_| !deleted));
        if let Some(next) = self.row.front_mut() {
            next.changed = true;
        }
        self.over |= !same && deleted && old.replaced_atomically;
        self.checkpoint_changed = true;
    }

    /// The front may be a copy of what was read.
    fn skip_copied(&mut self) {
        let is_last = self.row.len() == 1;
        let over = if is_last { mem::take(&mut self.over) } else { self.over };
        let Some(front) = self.row.front_mut().filter(|front| front.replaced_at.is_some() || over) else { return };
        if front.is_unread() {
            self.checkpoint_changed |=
                front.reader.resume_at_farthest(self.gone_fingerprints.iter().copied().collect());
        }
    }

    /// What was read up to there is gone; a copy of it may be met.
    pub(super) fn remember_gone(&mut self, read: Fingerprint) {
        if read.at >= MIN_COPY_SIZE {
            self.gone_fingerprints.push_back(read);
            if self.gone_fingerprints.len() > MAX_GONE_FINGERPRINTS {
                self.gone_fingerprints.pop_front();
            }
        }
    }

    /// The front is not to be found any more. It was closed since nothing was new in it.
    pub(super) fn lose_current(&mut self, turn: &mut PassContext<'_>) {
        let Some(front) = self.row.front() else { return };
        let unread = front.reader.unread();
        let unsure = self.written || self.unwatched || unread > 0;
        self.written = false;
        let before = self.row.len();
        let read = front.reader.trace().fingerprint();
        let atomic = front.replaced_atomically;
        self.leave_current(turn);
        let goes_on = atomic && self.row.front().is_some_and(|next| next.reader.trace().fingerprint() == read);
        if unsure && !goes_on && before > self.row.len() {
            self.report_loss(
                None,
                Some(unread).filter(|&unread| unread > 0),
                "the file was deleted before it could be read",
                turn,
            );
        }
    }

    pub(super) fn record_refusal(&mut self, error: &io::Error, now: Instant) -> (usize, bool) {
        let refusal = refusal(&self.path, "read", error);
        if let Some(front) = self.row.front_mut() {
            front.reader.park();
            (front.refused, front.changed) = (Some((refusal, now + REOPEN_INTERVAL)), true);
        }
        (0, false)
    }
}
