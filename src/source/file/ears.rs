//! How one path is heard of: which directories to watch for it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::wake::{Ear, Wakes, Watch};

/// What one path is heard by: the directory of its name, those of symlinks on the way, and that of the file, where it
/// leads elsewhere.
#[derive(Debug)]
pub(super) struct Ears {
    wakes: Wakes,
    ear: Arc<Ear>,
    watches: Vec<Watch>,
    /// Why some changes are not heard of.
    deaf: Option<String>,
}

impl Ears {
    /// `ear` is woken when something happened.
    pub(super) fn new(wakes: Wakes, ear: Arc<Ear>) -> Self {
        Self { wakes, ear, watches: Vec::new(), deaf: None }
    }

    /// Why some changes are not heard of; `None` if all are.
    pub(super) fn deaf(&self) -> Option<&str> {
        self.deaf.as_deref()
    }

    /// The paths that are heard of.
    pub(super) fn spots(&self) -> impl Iterator<Item = PathBuf> {
        self.watches.iter().filter_map(|watch| Some(watch.directory().join(watch.name()?)))
    }

    /// Sees to it that changes of `path` are heard of, whatever was put in its place; says whether what is heard of is
    /// other than before. Blocks.
    pub(super) fn listen(&mut self, path: &Path) -> bool {
        let mut wanted: Vec<(PathBuf, OsString)> = Vec::new();
        let mut want = |path: &Path| {
            if let Some((directory, name)) = nearest(path) {
                let spot = (directory.to_owned(), name.to_owned());
                if !wanted.contains(&spot) {
                    wanted.push(spot);
                }
            }
        };
        want(path);
        let is_link = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        path.ancestors().filter(is_link).for_each(&mut want);
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(real) = fs::canonicalize(path)
        {
            want(&real);
        }
        let mut kept = Vec::new();
        let mut changed = wanted.len() != self.watches.len();
        self.deaf = None;
        for (directory, name) in wanted {
            let is_it =
                |watch: &Watch| watch.directory() == directory && watch.name() == Some(&*name) && watch.is_fresh();
            if let Some(at) = self.watches.iter().position(is_it) {
                kept.push(self.watches.swap_remove(at));
                continue;
            }
            changed = true;
            match self.wakes.watch(&directory, Some(&name), &self.ear) {
                Ok(watch) => kept.push(watch),
                Err(reason) => self.deaf = Some(reason),
            }
        }
        self.watches = kept;
        changed
    }
}

/// The nearest directory above `path` that exists, and what in it leads to the path.
pub(super) fn nearest(path: &Path) -> Option<(&Path, &OsStr)> {
    path.ancestors().find_map(|below| {
        let (directory, name) = (below.parent()?, below.file_name()?);
        directory.is_dir().then_some((directory, name))
    })
}
