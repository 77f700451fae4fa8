//! The files of an event of several lines that extends over a rotation.

use super::generation::Generation;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::Identity;
use crate::source::file::pass::PassContext;

/// The maximum number of files over which an event extends.
const MAX_JOINED_FILES: usize = 4;

/// The files that were left while their last lines wait for lines in the current generation that belong to the same
/// event.
///
/// The joined lines are emitted before anything else of the current generation. Until then, the checkpoint of the path
/// begins with the checkpoints of these files, so that the event is whole after a restart.
#[derive(Debug, Default)]
pub(super) struct JoinedFiles {
    /// At the first line of each file that was not emitted; at most [`MAX_JOINED_FILES`].
    checkpoints: Vec<Checkpoint>,
}

impl JoinedFiles {
    /// The checkpoints of the files, the oldest first.
    pub(super) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// Returns whether lines of files that were left wait for further ones.
    pub(super) fn is_waiting(&self) -> bool {
        !self.checkpoints.is_empty()
    }

    /// Emits the joined lines if some are of the file `identity`, since that file has further lines: these are not read
    /// again after a restart.
    pub(super) fn end_joined_lines(&self, id: usize, identity: Identity, pass: &mut PassContext<'_>) {
        if self.checkpoints.iter().any(|saved| saved.identity() == identity) {
            pass.pipeline.flush_joined(id, pass.now, pass.batch);
        }
    }

    /// Ends the unfinished line at the end of `old`, a file of the path `id`. If the file after it is read from its start,
    /// the joined lines wait for those that belong to them.
    pub(super) fn change_file(
        &mut self,
        id: usize,
        old: &Generation,
        next: Option<&Generation>,
        pass: &mut PassContext<'_>,
    ) {
        if !next.is_some_and(Generation::begins_at_start) || self.checkpoints.len() == MAX_JOINED_FILES {
            return pass.finish(id);
        }
        pass.pipeline.change_file(id, pass.now, pass.batch);
        let held = pass.pipeline.held(id);
        if held == 0 {
            return;
        }
        match old.reader.read_point_before(held) {
            Ok(Some(point)) => self.checkpoints.push(Checkpoint::new(old.reader.identity(), &point, pass.now.time)),
            Ok(None) | Err(_) => pass.finish(id),
        }
    }

    /// Forgets the files once their lines were emitted: what is held then was read from the `current` file.
    pub(super) fn forget_emitted(&mut self, id: usize, current: Option<&Generation>, pass: &PassContext<'_>) {
        let read = current.map_or(0, |current| current.reader.read_point().offset());
        if pass.pipeline.held(id) <= read {
            self.checkpoints.clear();
        }
    }
}
