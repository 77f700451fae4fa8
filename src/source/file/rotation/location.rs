//! The location of a log: the directories and the name under which its files are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use crate::source::file::fingerprint::Identity;
use crate::source::file::reader::FileReader;

/// The maximum number of symlinks that are followed, as in the kernel.
const MAX_SYMLINKS_FOLLOWED: usize = 40;

/// The location of the log at one path. If the path contains symlinks, a rotation renames the file that they lead to: the
/// siblings are in the directory of that file, under its name.
#[derive(Debug, Clone)]
pub(crate) struct LogLocation {
    path: PathBuf,
    /// Further directories into which a rotation may move files.
    rotated: Arc<[PathBuf]>,
    /// `None` if the path contains no symlink, or was not opened yet.
    target: Option<LinkTarget>,
    /// The path was opened, or a checkpoint says where its file was.
    is_known: bool,
    /// The path does not lead here any more, so that the file under its own name is a sibling as well.
    is_left: bool,
    /// The location from which the path was switched to this one, and the time when that was noticed, until its siblings
    /// were listed.
    previous: Option<(Box<LogLocation>, Instant)>,
    /// The directory of the location before this one, in which files that are still read may be.
    previous_directory: Option<PathBuf>,
}

/// The file to which the symlinks in a path led when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkTarget {
    pub(crate) path: PathBuf,
    /// The owner of the file, if the path itself is a symlink: siblings of other owners are not the business of who made
    /// it. `None` if only directories on the way are symlinks.
    pub(crate) owner: Option<u32>,
}

impl LogLocation {
    /// The location of a path whose files may be moved to the directories `rotated`.
    pub(crate) fn new(path: PathBuf, rotated: Arc<[PathBuf]>) -> Self {
        Self { path, rotated, target: None, is_known: false, is_left: false, previous: None, previous_directory: None }
    }

    /// The path that is followed.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file to which the symlinks in the path led.
    pub(crate) fn target(&self) -> Option<&LinkTarget> {
        self.target.as_ref()
    }

    /// Sets the target that a checkpoint recorded.
    pub(crate) fn set_target(&mut self, target: Option<LinkTarget>) {
        (self.target, self.is_known) = (target, true);
    }

    /// The path next to which the siblings are, and which they are named after.
    pub(crate) fn siblings_path(&self) -> &Path {
        self.target.as_ref().map_or(&self.path, |target| &target.path)
    }

    /// The directories in which siblings are listed, each with whether a file there that has the log's own name is a
    /// sibling.
    pub(crate) fn listed_directories(&self) -> impl Iterator<Item = (&Path, bool)> {
        let own = self.siblings_path().parent();
        let others = self.rotated.iter().map(PathBuf::as_path).filter(move |other| Some(*other) != own);
        own.map(|own| (own, self.is_left)).into_iter().chain(others.map(|other| (other, true)))
    }

    /// The directories in which a file of the log may be.
    pub(crate) fn searched_directories(&self) -> impl Iterator<Item = &Path> {
        self.listed_directories().map(|(directory, _)| directory).chain(self.previous_directory.as_deref())
    }

    /// Returns whether siblings of this owner belong to the log.
    pub(crate) fn takes_owner(&self, owner: u32) -> bool {
        self.target.as_ref().and_then(|target| target.owner).is_none_or(|wanted| wanted == owner)
    }

    /// Finds the target again, now that a file of the log was opened as `reader`, under the rules for symlinks of others. The
    /// target is accepted only if it names that file: otherwise the symlink may be another one by now. Returns whether the
    /// siblings are elsewhere than before.
    pub(crate) fn update(&mut self, reader: &FileReader) -> bool {
        let Ok(is_symlink) = fs::symlink_metadata(&self.path).map(|metadata| metadata.is_symlink()) else {
            return false;
        };
        let Some(path) = target_of(&self.path) else { return false };
        let Ok(metadata) = fs::symlink_metadata(&path) else { return false };
        if Identity::from(&metadata) != reader.identity() {
            return false;
        }
        let owner = is_symlink.then_some(metadata.uid());
        let target = Some(LinkTarget { path, owner }).filter(|target| target.path != self.path);
        let has_moved =
            self.is_known && target.as_ref().map_or(&self.path, |target| &target.path) != self.siblings_path();
        if has_moved {
            self.previous_directory = self.siblings_path().parent().map(Path::to_owned);
            // The siblings of one location before the last are not read any more.
            let previous = Self { is_left: true, previous: None, ..self.clone() };
            self.previous = Some((Box::new(previous), Instant::now()));
        }
        (self.target, self.is_known) = (target, true);
        has_moved
    }

    /// The location from which the path was switched to this one, and the time when that was noticed; `None` once its
    /// siblings were [listed](Self::forget_previous).
    pub(crate) fn previous(&self) -> Option<&(Box<Self>, Instant)> {
        self.previous.as_ref()
    }

    pub(crate) fn forget_previous(&mut self) {
        self.previous = None;
    }
}

/// The path at the end of a chain of symlinks, whether or not it exists; its directory contains no symlinks.
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
