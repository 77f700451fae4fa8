//! How a path goes on from its recorded place, and records it anew.

use std::io;
use std::path::Path;

use log::warn;
use tokio::time::Instant;

use crate::config::Start;

use super::denied::Denied;
use super::follow::{Follow, ROW};
use super::identity::{Identity, Trace};
use super::place::Saved;
use super::reader::Reader;
use super::row::{Found, Opened, Placed, Turn};
use super::siblings::{Siblings, Sought};

/// Whether the file was found that was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restored {
    /// There was none, or it was found, or it is given up.
    Done,
    /// That cannot be told yet, since the path names nothing.
    Waiting,
    /// Nor in this turn, since names are changing.
    Later,
}

impl Follow {
    /// Finds the file that was read before, under whatever name.
    pub(super) fn find_saved(&mut self, turn: &mut Turn<'_>) -> io::Result<Restored> {
        let Some(front) = self.row.front_mut() else { return Ok(Restored::Done) };
        let Some(saved) = front.saved.clone() else { return Ok(Restored::Done) };
        let since = *front.sought.get_or_insert_with(Instant::now);
        let mut denied = None;
        let named = match Reader::open(&self.path, turn.handles) {
            Ok(reader) => Some(reader),
            // The file may be found under another name.
            Err(error) if Denied::of(&error).is_some() => {
                denied = Some(error);
                None
            }
            Err(error) if error.raw_os_error().is_none() => None,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(error) => return Err(error),
        };
        let there = named.is_some();
        let mut same_content = None;
        if let Some(reader) = named
            && let Some(trace) = self.trace_in(&reader, &saved, turn)?
        {
            if reader.identity().is_inode(saved.identity()) {
                self.found_saved(reader, trace, true, turn);
                return Ok(Restored::Done);
            }
            same_content = Some((reader, trace));
        }
        let rewritten = match turn.index.find(&self.path, saved.identity(), since) {
            Sought::There(path) => {
                if let Some((reader, trace)) = self.saved_at(&path, &saved, turn)? {
                    self.found_saved(reader, trace, false, turn);
                    return Ok(Restored::Done);
                }
                Some(path).filter(|path| *path != self.path)
            }
            Sought::Unclear => return Ok(Restored::Later),
            Sought::Gone => None,
        };
        let siblings = turn.index.rotated(&self.path, None).unwrap_or_default();
        if let Some((reader, trace)) = same_content {
            self.found_saved(reader, trace, true, turn);
        } else if let Some((reader, trace)) = self.copy_of(&saved, &siblings, turn)? {
            self.found_saved(reader, trace, false, turn);
        } else if there || rewritten.is_some() || siblings.row.iter().any(|sibling| self.is_new(sibling)) {
            self.give_up(&saved, turn);
        } else {
            return denied.map_or(Ok(Restored::Waiting), Err);
        }
        if let Some(path) = rewritten {
            self.begin_anew(&path, saved.identity(), turn);
        }
        Ok(Restored::Done)
    }

    /// A copy, or the file with another inode: the newest that has the content.
    fn copy_of(&self, saved: &Saved, siblings: &Siblings, turn: &Turn<'_>) -> io::Result<Option<(Reader, Trace)>> {
        for sibling in siblings.row.iter().rev() {
            let found = self.saved_at(&sibling.path, saved, turn)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The file that was read before was truncated, and then rotated away: what is in it now comes behind what was found.
    fn begin_anew(&mut self, path: &Path, identity: Identity, turn: &mut Turn<'_>) {
        let opened = Reader::open(path, turn.handles).ok();
        let is_ours = |reader: &Reader| reader.identity() == identity && !turn.owners.is_others(identity, self.id);
        if let Some(reader) = opened.filter(is_ours) {
            turn.owners.claim(identity, self.id);
            let at = self.row.len().min(1);
            self.row.insert(at, Opened { replaced: Some(turn.now.instant), ..Opened::new(reader) });
            self.moved = true;
        }
    }

    fn saved_at(&self, path: &Path, saved: &Saved, turn: &Turn<'_>) -> io::Result<Option<(Reader, Trace)>> {
        let Ok(reader) = Reader::open(path, turn.handles) else { return Ok(None) };
        let trace = self.trace_in(&reader, saved, turn)?;
        Ok(trace.map(|trace| (reader, trace)))
    }

    fn trace_in(&self, reader: &Reader, saved: &Saved, turn: &Turn<'_>) -> io::Result<Option<Trace>> {
        if turn.owners.is_others(reader.identity(), self.id) {
            return Ok(None);
        }
        saved.trace_in(reader.file()?, reader.identity())
    }

    fn found_saved(&mut self, reader: Reader, trace: Trace, at_path: bool, turn: &mut Turn<'_>) {
        let Some(front) = self.row.front_mut() else { return };
        turn.owners.leave(front.reader.identity(), self.id, None);
        turn.owners.claim(reader.identity(), self.id);
        front.reader.become_other(reader, trace);
        (front.saved, front.sought, front.changed) = (None, None, true);
        front.replaced = (!at_path).then_some(turn.now.instant);
        self.moved = true;
    }

    /// What was read before is nowhere: the path begins anew.
    fn give_up(&mut self, saved: &Saved, turn: &mut Turn<'_>) {
        self.row.pop_front();
        turn.owners.leave(saved.identity(), self.id, None);
        self.from = Some(Start::Beginning);
        let path = &self.path;
        warn!(path:% = path.display(), offset = saved.at(); "the file that was read before the restart is gone");
        self.loss(None, None, "the file that was read before the restart is gone, or was overwritten", turn);
    }

    /// Says what was moved, or is to be said anyway: how far the path is read.
    pub(super) fn place(&mut self, anyway: bool, turn: &mut Turn<'_>) {
        if !std::mem::take(&mut self.moved) && !anyway {
            return;
        }
        let past = self.past.iter().copied();
        let (place, placed) = match self.row.front() {
            Some(front) if front.saved.is_some() => return,
            Some(front) => {
                // Where the file was changed meanwhile, the next read sees it and says a new place.
                let Ok(Some(trace)) = front.reader.before(turn.feed.held(self.id)) else { return };
                let saved = Saved::new(front.reader.identity(), &trace, turn.now.time);
                let known = |opened: &Opened| {
                    let trace = opened.reader.trace();
                    let new = || Saved::new(opened.reader.identity(), trace, turn.now.time);
                    // What was not begun is found again, but for what was made before the front, and truncated.
                    let found = trace.offset() == 0 && opened.reader.age() >= front.reader.age();
                    opened.saved.clone().or_else(|| (!found).then(new))
                };
                let next = self.row.iter().skip(1).take(ROW).filter_map(known).collect();
                let saved = saved.with_watermark(self.watermark.as_ref()).counting(self.counts_up);
                (Some(saved.followed_by(next).with_past(past)), Placed::File)
            }
            None if self.is_gone() => {
                let gone = Saved::gone(turn.now.time.millis())
                    .with_watermark(self.watermark.as_ref())
                    .counting(self.counts_up);
                (Some(gone.with_past(past)), Placed::Gone)
            }
            None => (None, Placed::Nothing),
        };
        if placed == Placed::File || placed != self.placed {
            turn.batch.place(self.origin.as_str(), place.map(|place| place.written()));
        }
        self.placed = placed;
    }

    /// Whether the path names nothing, or what took the place of its file may not be read.
    fn is_gone(&self) -> bool {
        match self.found {
            Found::Missing => true,
            Found::Refused(_) => self.placed != Placed::Nothing,
            Found::Unknown
            | Found::File
            | Found::Alias(_)
            | Found::Fifo(_)
            | Found::Other(_)
            | Found::Compressed(..) => false,
        }
    }

    /// The path is not followed any more, since it names nothing. Gives back what is known of it all the same: how far its
    /// files were read, and which of those beside it are done with. It is recorded as long as there are any.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_>) -> Saved {
        let mut since = turn.now.time.millis();
        if let Some(saved) = self.row.front().and_then(|front| front.saved.as_ref()) {
            since = saved.time();
            self.remember(saved.prints());
        }
        let gone = Saved::gone(since)
            .with_watermark(self.watermark.as_ref())
            .counting(self.counts_up)
            .with_past(self.past.iter().copied());
        let siblings = turn.index.rotated(&self.path, None).unwrap_or_default();
        let written = (!siblings.row.is_empty()).then(|| gone.written());
        if written.is_some() || self.placed != Placed::Nothing {
            turn.batch.place(self.origin.as_str(), written);
        }
        gone
    }
}
