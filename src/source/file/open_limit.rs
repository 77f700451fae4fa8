//! Counts the open files of the whole program, so that descriptors are left for clients.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::event::lock;
use crate::stream::PrivateFlag;

use super::open_file::FileOpener;

/// The maximum number of open files that nothing is written to. Beyond it, a file is closed once it was read to its
/// end, and is opened again when it changes. Half of the number is reserved for files that were written to recently.
const MAX_IDLE_OPEN_FILES: usize = 128;

/// The count of open files in the program. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenLimit {
    open: Arc<Mutex<usize>>,
    opener: FileOpener,
    /// The flag to set when a file is read that not everybody may read.
    private: Option<PrivateFlag>,
}

/// An open file, which is counted until it is dropped.
#[derive(Debug)]
pub(super) struct CountedFile {
    file: File,
    limit: OpenLimit,
}

impl OpenLimit {
    /// Opens a file for reading, and returns its metadata; see [`FileOpener::open`].
    pub(crate) fn open(&self, path: &Path) -> io::Result<(CountedFile, Metadata)> {
        let (file, metadata) = self.opener.open(path)?;
        self.count(|open| *open += 1);
        Ok((CountedFile { file, limit: self.clone() }, metadata))
    }

    pub(super) fn opener(&self) -> &FileOpener {
        &self.opener
    }

    /// The same limit for a stream that becomes private once it reads a file that not everybody may read.
    pub(super) fn marking_private(self, private: PrivateFlag) -> Self {
        Self { private: Some(private), ..self }
    }

    /// The same limit for a stream that follows all symlinks, or only trusted ones.
    pub(crate) fn with_follow_symlinks(self, follow_symlinks: bool) -> Self {
        Self { opener: self.opener.with_follow_symlinks(follow_symlinks), ..self }
    }

    /// Returns whether a file that was read to its end should be closed. A recently `active` file is closed only if
    /// many are open.
    pub(super) fn are_scarce(&self, active: bool) -> bool {
        self.count(|open| *open) > if active { MAX_IDLE_OPEN_FILES } else { MAX_IDLE_OPEN_FILES / 2 }
    }

    /// Records the mode of a file from which lines were or will be read.
    pub(super) fn note_mode(&self, mode: u32) {
        if let Some(private) = &self.private
            && is_hidden(mode)
        {
            private.set();
        }
    }

    fn count<T>(&self, act: impl FnOnce(&mut usize) -> T) -> T {
        act(&mut lock(&self.open))
    }
}

impl CountedFile {
    /// The current metadata of the file. Called before each read, so that the stream is private before it contains a
    /// line that was written while not everybody could read the file.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        let metadata = self.file.metadata()?;
        self.limit.note_mode(metadata.mode());
        Ok(metadata)
    }
}

/// Returns whether a file is readable only by its owner, or also its group (inode(7)): `o+r` is not set.
pub(super) fn is_hidden(mode: u32) -> bool {
    mode & 0o004 == 0
}

impl Deref for CountedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        self.limit.count(|open| *open -= 1);
    }
}
