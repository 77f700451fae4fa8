//! Change notification: `watcher` owns the one inotify instance, `watch_set` holds the watches of single paths, and
//! `path_watch` watches one path.

pub(super) mod path_watch;
pub(super) mod watch_set;
pub(crate) mod watcher;
