//! Notices that something changed: `watcher` holds the one inotify instance, `watch_set` chooses the directories of a pattern, and
//! `path_watch` follows one path.

pub(super) mod path_watch;
pub(super) mod watch_set;
pub(crate) mod watcher;
