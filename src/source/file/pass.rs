//! The state that all paths of a stream share during one pass of its [`tailer`](super::tailer).

use std::path::Path;
use std::time::Duration;

use crate::event::StreamName;
use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::stream::{Batch, ReadRoom};

use super::claims::Claims;
use super::open_limit::OpenLimit;
use super::rotation::siblings::DirectoryIndex;

/// The state that all paths of a stream share during one pass.
pub(super) struct PassContext<'a> {
    pub(super) stream: &'a StreamName,
    pub(super) now: ClockReading,
    pub(super) batch: &'a mut Batch,
    pub(super) pipeline: &'a mut LinePipeline,
    pub(super) room: &'a mut PassRoom,
    pub(super) index: &'a mut DirectoryIndex,
    pub(super) claims: &'a mut Claims,
    pub(super) open_limit: &'a OpenLimit,
    pub(super) settings: TailSettings,
    /// Returns whether a path is one of the stream's own, which reads its files itself.
    pub(super) is_own_path: &'a dyn Fn(&Path) -> bool,
}

impl PassContext<'_> {
    /// Ends the unfinished line of a path, and its joined lines, since another file begins.
    pub(super) fn finish(&mut self, id: usize) {
        self.pipeline.finish(id, self.now, self.batch);
    }
}

/// The bytes that one pass may read from files that will still be there later.
#[derive(Debug, Default)]
pub(super) struct PassRoom {
    /// `None` for no limit.
    left: Option<usize>,
    /// A file was not read although it has more, since nothing was left.
    held: bool,
}

impl PassRoom {
    pub(super) fn new(room: ReadRoom) -> Self {
        let left = match room {
            ReadRoom::Unlimited => None,
            ReadRoom::Bytes(bytes) => Some(bytes),
            ReadRoom::Hold => Some(0),
        };
        Self { left, held: false }
    }

    /// The size of the next read, at most `most`. If it is 0, the file has to wait.
    pub(super) fn next_read(&mut self, most: usize) -> usize {
        let size = self.left.map_or(most, |left| left.min(most));
        self.held |= size == 0;
        size
    }

    /// Counts bytes that were read.
    pub(super) fn take(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes));
    }

    /// Returns whether a file has to wait.
    pub(super) fn held(&self) -> bool {
        self.held
    }
}

/// The settings by which a stream reads its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct TailSettings {
    /// The time for which a file that was rotated away is still read.
    pub(super) rotate_wait: Duration,
    /// Files without a byte order mark are in UTF-16.
    pub(super) is_utf16: bool,
    /// The number of last lines that are emitted from a file that exists at the start.
    pub(super) initial_lines: usize,
}
