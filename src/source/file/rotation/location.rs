//! The location of a log: the directory and the name under which its files are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::source::file::fingerprint::Identity;
use crate::source::file::reader::FileReader;

/// The maximum number of symlinks that are followed, as in the kernel.
const MAX_SYMLINKS_FOLLOWED: usize = 40;

/// The location of the log at one path. If the path is a symlink, a rotation renames its target: the siblings are in the
/// directory of the target, under the target's name.
#[derive(Debug)]
pub(crate) struct LogLocation {
    path: PathBuf,
    /// `None` if the path is not a symlink, or was not opened yet.
    target: Option<LinkTarget>,
}

/// The target of a symlink that was followed, as it was when its file was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkTarget {
    pub(crate) path: PathBuf,
    /// The owner of the file. Siblings of other owners are not the business of who made the symlink.
    pub(crate) owner: u32,
}

impl LogLocation {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, target: None }
    }

    /// The path that is followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The target of the path, if that is a symlink.
    pub(crate) fn target(&self) -> Option<&LinkTarget> {
        self.target.as_ref()
    }

    /// Sets the target that a checkpoint recorded.
    pub(crate) fn set_target(&mut self, target: Option<LinkTarget>) {
        self.target = target;
    }

    /// The path next to which the siblings are, and which they are named after.
    pub(crate) fn siblings_path(&self) -> &Path {
        self.target.as_ref().map_or(&self.path, |target| &target.path)
    }

    /// Returns whether siblings of this owner belong to the log.
    pub(crate) fn takes_owner(&self, owner: u32) -> bool {
        self.target.as_ref().is_none_or(|target| target.owner == owner)
    }

    /// Finds the target again, now that a file of the log was opened as `reader`, under the rules for symlinks of others. The
    /// target is accepted only if it names that file: otherwise the symlink may be another one by now.
    pub(crate) fn update(&mut self, reader: &FileReader) {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_symlink() => {}
            Ok(_) => return self.target = None,
            Err(_) => return,
        }
        let found = target_of(&self.path).and_then(|path| Some((fs::symlink_metadata(&path).ok()?, path)));
        if let Some((metadata, path)) = found
            && Identity::from(&metadata) == reader.identity()
        {
            self.target = Some(LinkTarget { path, owner: metadata.uid() });
        }
    }
}

/// The path at the end of a chain of symlinks, whether or not it exists.
fn target_of(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_SYMLINKS_FOLLOWED {
        // The directory is resolved, so that `..` is where the system finds it.
        let real = fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?);
        match real.read_link() {
            Ok(next) => path = real.parent()?.join(next),
            Err(_) => return Some(real),
        }
    }
    None
}
