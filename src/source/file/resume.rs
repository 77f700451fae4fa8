//! How a path goes on from its recorded place, and records it anew.

use std::io;
use std::path::Path;

use log::warn;
use tokio::time::Instant;

use crate::config::ReadFrom;

use super::checkpoint::Checkpoint;
use super::denied::OpenDenied;
use super::fingerprint::{Identity, ReadPoint};
use super::path::{MAX_GENERATIONS, PathTail};
use super::reader::FileReader;
use crate::source::file::rotation::generation::{Generation, PassContext, PathTarget, RecordedCheckpoint};
use crate::source::file::rotation::siblings::{SearchResult, Siblings};

/// Whether the file was found that was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumeResult {
    /// There was none, or it was found, or it is given up.
    Done,
    /// That cannot be told yet, since the path names nothing.
    Waiting,
    /// Nor in this turn, since names are changing.
    Deferred,
}

impl PathTail {
    /// Finds the file that was read before, under whatever name.
    pub(super) fn find_checkpointed(&mut self, turn: &mut PassContext<'_>) -> io::Result<ResumeResult> {
        let Some(front) = self.row.front_mut() else { return Ok(ResumeResult::Done) };
        let Some(saved) = front.saved.clone() else { return Ok(ResumeResult::Done) };
        let since = *front.sought_since.get_or_insert_with(Instant::now);
        let mut denied = None;
        let named = match FileReader::open(&self.path, turn.open_limit) {
            Ok(reader) => Some(reader),
            // The file may be found under another name.
            Err(error) if OpenDenied::of(&error).is_some() => {
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
            && let Some(trace) = self.read_point_in(&reader, &saved, turn)?
        {
            if reader.identity().same_inode(saved.identity()) {
                self.resume_in(reader, trace, true, turn);
                return Ok(ResumeResult::Done);
            }
            same_content = Some((reader, trace));
        }
        let rewritten = match turn.index.find(&self.path, saved.identity(), since) {
            SearchResult::Found(path) => {
                if let Some((reader, trace)) = self.checkpoint_at(&path, &saved, turn)? {
                    self.resume_in(reader, trace, false, turn);
                    return Ok(ResumeResult::Done);
                }
                Some(path).filter(|path| *path != self.path)
            }
            SearchResult::Unclear => return Ok(ResumeResult::Deferred),
            SearchResult::Gone => None,
        };
        let siblings = turn.index.rotated(&self.path, None).unwrap_or_default();
        if let Some((reader, trace)) = same_content {
            self.resume_in(reader, trace, true, turn);
        } else if let Some((reader, trace)) = self.find_copy(&saved, &siblings, turn)? {
            self.resume_in(reader, trace, false, turn);
        } else if there || rewritten.is_some() || siblings.row.iter().any(|sibling| self.is_new(sibling)) {
            self.give_up_checkpoint(&saved, turn);
        } else {
            return denied.map_or(Ok(ResumeResult::Waiting), Err);
        }
        if let Some(path) = rewritten {
            self.add_rewritten(&path, saved.identity(), turn);
        }
        Ok(ResumeResult::Done)
    }

    /// A copy, or the file with another inode: the newest that has the content.
    fn find_copy(
        &self,
        saved: &Checkpoint,
        siblings: &Siblings,
        turn: &PassContext<'_>,
    ) -> io::Result<Option<(FileReader, ReadPoint)>> {
        for sibling in siblings.row.iter().rev() {
            let found = self.checkpoint_at(&sibling.path, saved, turn)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The file that was read before was truncated, and then rotated away: what is in it now comes behind what was found.
    fn add_rewritten(&mut self, path: &Path, identity: Identity, turn: &mut PassContext<'_>) {
        let opened = FileReader::open(path, turn.open_limit).ok();
        let is_ours =
            |reader: &FileReader| reader.identity() == identity && !turn.claims.is_claimed_by_other(identity, self.id);
        if let Some(reader) = opened.filter(is_ours) {
            turn.claims.claim(identity, self.id);
            let at = self.row.len().min(1);
            self.row.insert(at, Generation { replaced_at: Some(turn.now.instant), ..Generation::new(reader) });
            self.checkpoint_changed = true;
        }
    }

    fn checkpoint_at(
        &self,
        path: &Path,
        saved: &Checkpoint,
        turn: &PassContext<'_>,
    ) -> io::Result<Option<(FileReader, ReadPoint)>> {
        let Ok(reader) = FileReader::open(path, turn.open_limit) else { return Ok(None) };
        let trace = self.read_point_in(&reader, saved, turn)?;
        Ok(trace.map(|trace| (reader, trace)))
    }

    fn read_point_in(
        &self,
        reader: &FileReader,
        saved: &Checkpoint,
        turn: &PassContext<'_>,
    ) -> io::Result<Option<ReadPoint>> {
        if turn.claims.is_claimed_by_other(reader.identity(), self.id) {
            return Ok(None);
        }
        saved.read_point_in(reader.file()?, reader.identity())
    }

    fn resume_in(&mut self, reader: FileReader, trace: ReadPoint, at_path: bool, turn: &mut PassContext<'_>) {
        let Some(front) = self.row.front_mut() else { return };
        turn.claims.release(front.reader.identity(), self.id, None);
        turn.claims.claim(reader.identity(), self.id);
        front.reader.continue_in(reader, trace);
        (front.saved, front.sought_since, front.changed) = (None, None, true);
        front.replaced_at = (!at_path).then_some(turn.now.instant);
        self.checkpoint_changed = true;
    }

    /// What was read before is nowhere: the path begins anew.
    fn give_up_checkpoint(&mut self, saved: &Checkpoint, turn: &mut PassContext<'_>) {
        self.row.pop_front();
        turn.claims.release(saved.identity(), self.id, None);
        self.from = Some(ReadFrom::Beginning);
        let path = &self.path;
        warn!(path:% = path.display(), offset = saved.at(); "the file that was read before the restart is gone");
        self.report_loss(None, None, "the file that was read before the restart is gone, or was overwritten", turn);
    }

    /// Says what was moved, or is to be said anyway: how far the path is read.
    pub(super) fn place(&mut self, anyway: bool, turn: &mut PassContext<'_>) {
        if !std::mem::take(&mut self.checkpoint_changed) && !anyway {
            return;
        }
        let past = self.gone_fingerprints.iter().copied();
        let (place, placed) = match self.row.front() {
            Some(front) if front.saved.is_some() => return,
            Some(front) => {
                // Where the file was changed meanwhile, the next read sees it and says a new place.
                let Ok(Some(trace)) = front.reader.before(turn.feed.held(self.id)) else { return };
                let saved = Checkpoint::new(front.reader.identity(), &trace, turn.now.time);
                let known = |opened: &Generation| {
                    let trace = opened.reader.trace();
                    let new = || Checkpoint::new(opened.reader.identity(), trace, turn.now.time);
                    // What was not begun is found again, but for what was made before the front, and truncated.
                    let found = trace.offset() == 0 && opened.reader.age() >= front.reader.age();
                    opened.saved.clone().or_else(|| (!found).then(new))
                };
                let next = self.row.iter().skip(1).take(MAX_GENERATIONS).filter_map(known).collect();
                let saved = saved.with_watermark(self.watermark.as_ref()).with_counts_up(self.counts_up);
                (Some(saved.with_later_generations(next).with_gone_fingerprints(past)), RecordedCheckpoint::File)
            }
            None if self.is_gone() => {
                let gone = Checkpoint::gone(turn.now.time.millis())
                    .with_watermark(self.watermark.as_ref())
                    .with_counts_up(self.counts_up);
                (Some(gone.with_gone_fingerprints(past)), RecordedCheckpoint::Gone)
            }
            None => (None, RecordedCheckpoint::Nothing),
        };
        if placed == RecordedCheckpoint::File || placed != self.last_checkpoint {
            turn.batch.place(self.origin.as_str(), place.map(|place| place.written()));
        }
        self.last_checkpoint = placed;
    }

    /// Whether the path names nothing, or what took the place of its file may not be read.
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

    /// The path is not followed any more, since it names nothing. Gives back what is known of it all the same: how far its
    /// files were read, and which of those beside it are done with. It is recorded as long as there are any.
    pub(super) fn take_gone_checkpoint(&mut self, turn: &mut PassContext<'_>) -> Checkpoint {
        let mut since = turn.now.time.millis();
        if let Some(saved) = self.row.front().and_then(|front| front.saved.as_ref()) {
            since = saved.time();
            self.remember_gone(saved.fingerprint());
        }
        let gone = Checkpoint::gone(since)
            .with_watermark(self.watermark.as_ref())
            .with_counts_up(self.counts_up)
            .with_gone_fingerprints(self.gone_fingerprints.iter().copied());
        let siblings = turn.index.rotated(&self.path, None).unwrap_or_default();
        let written = (!siblings.row.is_empty()).then(|| gone.written());
        if written.is_some() || self.last_checkpoint != RecordedCheckpoint::Nothing {
            turn.batch.place(self.origin.as_str(), written);
        }
        gone
    }
}
