//! The files of a watched directory that were renamed a short time ago: the system reports what happens to them under
//! their new names, which concerns the paths that they had before.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::source::file::rotation::MAX_OLD_FILE_TIME;

/// The maximum number of renamed files that are remembered for one directory. Of files beyond it, the path that they had
/// is not notified, and the file is polled.
const MAX_RENAMED_FILES: usize = 1024;

/// A file that was renamed.
#[derive(Debug)]
pub(super) struct RenamedFile {
    /// The path that it had while that was listened for.
    origin: PathBuf,
    renamed_at: Instant,
}

/// The renamed files in one directory, by their present names.
#[derive(Debug, Default)]
pub(super) struct RenamedFiles(HashMap<OsString, RenamedFile>);

impl RenamedFile {
    /// A file that had the path `origin` until now.
    pub(super) fn new(origin: PathBuf) -> Self {
        Self { origin, renamed_at: Instant::now() }
    }

    /// Returns whether the file may still be followed under the path that it had.
    fn is_followed(&self, now: Instant) -> bool {
        now < self.renamed_at + MAX_OLD_FILE_TIME
    }
}

impl RenamedFiles {
    /// The path that the file with this name had, if it was renamed a short time ago.
    pub(super) fn origin(&self, name: &OsStr, now: Instant) -> Option<&Path> {
        self.0.get(name).filter(|file| file.is_followed(now)).map(|file| &*file.origin)
    }

    /// Forgets the file with this name, and returns it.
    pub(super) fn remove(&mut self, name: &OsStr) -> Option<RenamedFile> {
        self.0.remove(name)
    }

    /// Gives a name to a renamed file, or to one whose origin does not matter.
    pub(super) fn set(&mut self, name: &OsStr, file: Option<RenamedFile>) {
        let Some(file) = file else {
            self.0.remove(name);
            return;
        };
        if self.0.len() >= MAX_RENAMED_FILES {
            let now = Instant::now();
            self.0.retain(|_, file| file.is_followed(now));
        }
        if self.0.len() < MAX_RENAMED_FILES {
            self.0.insert(name.to_owned(), file);
        }
    }
}
