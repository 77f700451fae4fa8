//! The watch of one path: the directories to watch for it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::watcher::{Mailbox, WatchGuard, Watcher};

/// The maximum number of symlinks whose targets are watched, as many as the kernel follows.
const MAX_WATCHED_SYMLINKS: usize = 40;

/// The watches of one path: the directory that holds its name, the directories of the symlinks on the way, and those of
/// their targets. Of a directory that does not exist, the nearest existing one above it is watched.
#[derive(Debug)]
pub(super) struct PathWatch {
    watcher: Watcher,
    mailbox: Arc<Mailbox>,
    guards: Vec<WatchGuard>,
    /// The reason why some changes are not notified.
    unwatched: Option<String>,
}

impl PathWatch {
    /// Creates a watch that wakes `mailbox` at each change.
    pub(super) fn new(watcher: Watcher, mailbox: Arc<Mailbox>) -> Self {
        Self { watcher, mailbox, guards: Vec::new(), unwatched: None }
    }

    /// The reason why some changes are not notified; `None` if all are.
    pub(super) fn unwatched(&self) -> Option<&str> {
        self.unwatched.as_deref()
    }

    /// The paths that are watched.
    pub(super) fn watched_paths(&self) -> impl Iterator<Item = PathBuf> {
        self.guards.iter().filter_map(|watch| Some(watch.directory().join(watch.name()?)))
    }

    /// Updates the watches, so that changes of `path` are notified whatever the path leads to now. Returns whether the
    /// watches changed. Blocks.
    pub(crate) fn update(&mut self, path: &Path) -> bool {
        let mut wanted: Vec<(PathBuf, OsString)> = Vec::new();
        let mut want = |path: &Path| {
            if let Some((directory, name)) = nearest_existing_directory(path) {
                let location = (directory.to_owned(), name.to_owned());
                if !wanted.contains(&location) {
                    wanted.push(location);
                }
            }
        };
        let mut targets = vec![path.to_owned()];
        let mut seen = 0;
        while let Some(path) = targets.pop() {
            want(&path);
            let is_link = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
            for link in path.ancestors().filter(is_link) {
                want(link);
                // The target is watched even if it does not exist.
                if link == path || fs::canonicalize(&path).is_err() {
                    seen += 1;
                    targets.extend(target_of(link, &path).filter(|_| seen <= MAX_WATCHED_SYMLINKS));
                }
            }
        }
        let mut kept = Vec::new();
        let mut changed = wanted.len() != self.guards.len();
        self.unwatched = None;
        for (directory, name) in wanted {
            let is_it = |watch: &WatchGuard| {
                watch.directory() == directory && watch.name() == Some(&*name) && watch.is_current()
            };
            if let Some(at) = self.guards.iter().position(is_it) {
                kept.push(self.guards.swap_remove(at));
                continue;
            }
            changed = true;
            match self.watcher.watch(&directory, Some(&name), &self.mailbox) {
                Ok(watch) => kept.push(watch),
                Err(reason) => self.unwatched = Some(reason),
            }
        }
        self.guards = kept;
        changed
    }
}

/// The path that `path` leads to by the symlink `link`, which is a part of it.
fn target_of(link: &Path, path: &Path) -> Option<PathBuf> {
    let target = link.parent()?.join(link.read_link().ok()?);
    let rest = path.strip_prefix(link).ok()?;
    let target = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
    let directory = fs::canonicalize(target.parent()?);
    Some(directory.map_or_else(|_| target.clone(), |directory| directory.join(target.file_name().unwrap_or_default())))
}

/// The nearest existing directory above `path`, and the name in it that leads to the path.
pub(crate) fn nearest_existing_directory(path: &Path) -> Option<(&Path, &OsStr)> {
    path.ancestors().find_map(|below| {
        let (directory, name) = (below.parent()?, below.file_name()?);
        directory.is_dir().then_some((directory, name))
    })
}
