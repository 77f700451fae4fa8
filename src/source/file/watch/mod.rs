//! Change notification: `watcher` owns the one inotify instance, `watch_set` holds the watches of single paths,
//! `path_watch` watches one path, and `renamed_files` says which path a file had before it was renamed.

pub(super) mod path_watch;
mod renamed_files;
pub(super) mod watch_set;
pub(crate) mod watcher;
