//! One generation of a log: a file that is being read, or is to be read after those before it.

use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::siblings::SearchResult;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::{Fingerprint, MIN_COPY_SIZE, ReadPoint};
use crate::source::file::open_limit::OpenLimit;
use crate::source::file::pass::PassContext;
use crate::source::file::reader::FileReader;
use crate::source::file::target::{Refusal, is_missing};

/// A file of a log, and its state.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) reader: FileReader,
    /// The checkpoint from which the file continues; `None` once the file was found. Until then `reader` is parked.
    pub(crate) saved: Option<Checkpoint>,
    /// The time when the path was first seen to name something else; `None` while the path names this file.
    pub(crate) replaced_at: Option<Instant>,
    /// The path named another file at once, as if that had been renamed over this one: it may be an edited copy.
    pub(crate) replaced_atomically: bool,
    /// The file changed since it was read last.
    pub(crate) changed: bool,
    /// The last known name of the file, if that is not the path.
    pub(crate) name: Option<PathBuf>,
    /// The time since which the name is searched for.
    pub(crate) sought_since: Option<Instant>,
    /// The reason why the file cannot be read, and the time to try again.
    pub(crate) refused: Option<(Refusal, Instant)>,
}

impl Generation {
    pub(crate) fn new(reader: FileReader) -> Self {
        Self {
            reader,
            saved: None,
            replaced_at: None,
            replaced_atomically: false,
            changed: true,
            name: None,
            sought_since: None,
            refused: None,
        }
    }

    /// Opens the file of the log at `path`, if it is closed and there may be something to read. `written` says that a
    /// write was notified.
    ///
    /// # Errors
    /// If the file is gone, or cannot be opened.
    pub(crate) fn open(&mut self, path: &Path, written: bool, pass: &mut PassContext<'_>) -> io::Result<OpenResult> {
        if self.saved.is_some() || self.refused.as_ref().is_some_and(|(_, retry)| pass.now.instant < *retry) {
            return Ok(OpenResult::NothingToRead);
        }
        if self.refused.take().is_none() && !self.reader.is_parked() {
            return Ok(OpenResult::Open);
        }
        let wanted = mem::take(&mut self.changed) || self.replaced_at.is_some() || written;
        if !wanted {
            return Ok(OpenResult::NothingToRead);
        }
        if self.replaced_at.is_none()
            && let Ok(true) = self.reopen(path, pass)
        {
            return Ok(OpenResult::Open);
        }
        if let Some(name) = self.name.take()
            && let Ok(true) = self.reopen(&name, pass)
        {
            return Ok(OpenResult::Open);
        }
        let since = *self.sought_since.get_or_insert_with(Instant::now);
        match pass.index.find(path, self.reader.identity(), since) {
            SearchResult::Found(path) => {
                self.sought_since = None;
                if self.reopen(&path, pass)? {
                    return Ok(OpenResult::Open);
                }
            }
            SearchResult::Gone => return Err(io::ErrorKind::NotFound.into()),
            SearchResult::Unclear => {}
        }
        self.changed = true;
        Ok(OpenResult::Unclear)
    }

    /// Opens the file under a name. Returns `false` if the name belongs to another file, or to none.
    fn reopen(&mut self, name: &Path, pass: &PassContext<'_>) -> io::Result<bool> {
        match self.reader.reopen(name, pass.open_limit) {
            Err(error) if is_missing(&error) => Ok(false),
            result => result,
        }
    }

    /// Returns whether nothing of the file was read yet.
    pub(crate) fn is_unread(&self) -> bool {
        self.saved.is_none() && self.reader.read_point().offset() == 0
    }

    /// The fingerprint up to which the file was read, as far as it is known.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.saved.as_ref().map_or_else(|| self.reader.read_point().fingerprint(), Checkpoint::fingerprint)
    }
}

/// The result of opening a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenResult {
    Open,
    /// The file has not changed, was not found yet, or was refused a short time ago.
    NothingToRead,
    /// Names are changing: the next pass tries again.
    Unclear,
}

/// Returns whether one file is a copy of the start of another, judged by its first and its last bytes.
///
/// Files below [`MIN_COPY_SIZE`], and files that cannot be read, are not copies.
pub(crate) fn is_copy(copy: &Path, of: Option<&File>, open_limit: &OpenLimit) -> bool {
    let is_copy = || -> io::Result<bool> {
        let ((copy, metadata), of) = (open_limit.open(copy)?, of.ok_or(io::ErrorKind::NotFound)?);
        let size = metadata.len();
        let end = ReadPoint::of(&copy, size)?.map(|point| point.fingerprint());
        Ok(size >= MIN_COPY_SIZE && end.is_some_and(|end| end.read_point_in(of).is_ok_and(|found| found.is_some())))
    };
    is_copy().unwrap_or(false)
}
