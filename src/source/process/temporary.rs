//! The directories for temporary files of commands without a user of their own: one for each stream, which is emptied when
//! a run begins, and deleted once the stream is removed from the configuration.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use log::warn;
use tokio::time::Instant;

use super::shim;
use crate::event::lock;

/// The directory of these directories, in the state directory of the daemon.
const TEMPORARY_DIRECTORY: &str = "tmp";

/// The longest time to wait for the end of a run that still uses its directory. The next daemon deletes it otherwise.
const MAX_USE_WAIT: Duration = Duration::from_mins(1);

/// The interval at which the end of such a run is looked for.
const USE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The directories for temporary files of the commands of a daemon.
#[derive(Debug)]
pub(crate) struct TemporaryDirectories {
    state_directory: PathBuf,
    /// The streams whose directories stay. It is locked while a directory is created or renamed for its deletion, so that a
    /// stream that was removed and added again does not lose its new directory. A deletion itself may take long.
    wanted: Mutex<HashSet<String>>,
}

impl TemporaryDirectories {
    /// The directories below this state directory.
    pub(crate) fn new(state_directory: &Path) -> Self {
        Self { state_directory: state_directory.to_owned(), wanted: Mutex::default() }
    }

    fn path(&self, stream: &str) -> PathBuf {
        self.state_directory.join(TEMPORARY_DIRECTORY).join(stream)
    }

    /// The path of a directory of a stream that is being deleted. No stream has a name that begins with a dot.
    fn deleted_path(&self, stream: &str) -> PathBuf {
        self.path(&format!(".{stream}"))
    }

    /// Creates the directory of a stream, which only its owner may enter, or empties it. What cannot be deleted remains, such
    /// as the files in a directory that a command made read-only. Blocks.
    ///
    /// # Errors
    /// The path, and the reason why it cannot be created.
    pub(super) fn create_empty(&self, stream: &str) -> Result<PathBuf, (PathBuf, io::Error)> {
        let deleted = self.deleted_path(stream);
        // The rest of an earlier deletion would be in the way.
        remove(&deleted);
        let path = self.path(stream);
        let created = {
            let mut wanted = lock(&self.wanted);
            wanted.insert(stream.to_owned());
            set_aside(&path, &deleted);
            DirBuilder::new().mode(0o700).recursive(true).create(&path)
        };
        remove(&deleted);
        match created {
            Ok(()) => Ok(path),
            Err(error) => Err((path, error)),
        }
    }

    /// Only the directories of these streams, and of those that begin a run later, are wanted from now on.
    pub(crate) fn set_wanted(&self, streams: HashSet<String>) {
        *lock(&self.wanted) = streams;
    }

    /// Deletes the directories that are not wanted, each once no run of its stream is left, and completes deletions that were
    /// interrupted. Blocks.
    pub(crate) fn remove_unwanted(&self) {
        let Ok(entries) = fs::read_dir(self.state_directory.join(TEMPORARY_DIRECTORY)) else { return };
        let until = Instant::now() + MAX_USE_WAIT;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(stream) = name.to_str() else { continue };
            if stream.starts_with('.') {
                remove(&entry.path());
                continue;
            }
            while self.is_unwanted(stream) && self.is_used(stream) && Instant::now() < until {
                std::thread::park_timeout(USE_POLL_INTERVAL);
            }
            let deleted = self.deleted_path(stream);
            remove(&deleted);
            {
                let wanted = lock(&self.wanted);
                if !wanted.contains(stream) && !self.is_used(stream) {
                    set_aside(&self.path(stream), &deleted);
                }
            }
            remove(&deleted);
        }
    }

    fn is_unwanted(&self, stream: &str) -> bool {
        !lock(&self.wanted).contains(stream)
    }

    fn is_used(&self, stream: &str) -> bool {
        shim::has_run(&self.state_directory, stream)
    }
}

/// Renames a directory, if it exists, so that it can be deleted later. If that fails, for example since something of an earlier
/// deletion is left, it is deleted now.
fn set_aside(directory: &Path, deleted: &Path) {
    match fs::rename(directory, deleted) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => remove(directory),
        Ok(()) | Err(_) => {}
    }
}

/// Deletes a directory with its content, if it exists.
fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(errno = error.raw_os_error(), error:% = error; "cannot empty the temporary directory {}", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories for these streams, each with a directory in it.
    fn with_directories(state: &Path, streams: &[&str]) -> TemporaryDirectories {
        let directories = TemporaryDirectories::new(state);
        for stream in streams {
            fs::create_dir(directories.create_empty(stream).unwrap().join("more")).unwrap();
        }
        directories
    }

    #[test]
    fn only_directories_of_removed_streams_are_deleted() {
        let state = tempfile::tempdir().unwrap();
        TemporaryDirectories::new(state.path()).remove_unwanted();
        let directories = with_directories(state.path(), &["kept", "gone"]);
        // What a removed stream had linked to is not its own.
        let precious = state.path().join("precious");
        fs::create_dir(&precious).unwrap();
        std::os::unix::fs::symlink(&precious, directories.path("gone").join("link")).unwrap();
        directories.set_wanted(HashSet::from(["kept".to_owned()]));
        directories.remove_unwanted();
        assert!(directories.path("kept").join("more").exists() && precious.exists());
        assert!(!directories.path("gone").exists());
        directories.create_empty("kept").unwrap();
        assert_eq!(fs::read_dir(directories.path("kept")).unwrap().count(), 0);
    }

    #[test]
    fn a_deletion_that_was_interrupted_is_completed_and_is_not_in_the_way() {
        let state = tempfile::tempdir().unwrap();
        let directories = with_directories(state.path(), &["kept", "again"]);
        let left = || {
            for stream in ["kept", "again", "gone"] {
                fs::create_dir_all(directories.deleted_path(stream).join("more")).unwrap();
            }
        };
        let found = || {
            let entries = fs::read_dir(state.path().join(TEMPORARY_DIRECTORY)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<HashSet<_>>()
        };
        let only = |streams: &[&str]| streams.iter().map(ToString::to_string).collect::<HashSet<_>>();
        left();
        directories.create_empty("again").unwrap();
        assert_eq!(fs::read_dir(directories.path("again")).unwrap().count(), 0);
        assert_eq!(found(), only(&["kept", "again", ".kept", ".gone"]));
        left();
        directories.set_wanted(only(&["kept"]));
        directories.remove_unwanted();
        assert_eq!(found(), only(&["kept"]));
        assert!(directories.path("kept").join("more").exists());
    }

    #[test]
    fn a_stream_that_was_removed_and_added_again_keeps_its_new_directory() {
        let state = tempfile::tempdir().unwrap();
        let directories = with_directories(state.path(), &["again", "gone"]);
        // Runs of both streams have not ended yet.
        let shims = state.path().join(shim::SHIM_DIRECTORY);
        fs::create_dir(&shims).unwrap();
        let runs = ["again-0", "gone-0"].map(|name| shims.join(name));
        for run in &runs {
            fs::write(run, "").unwrap();
        }
        directories.set_wanted(HashSet::new());
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| directories.remove_unwanted());
            directories.create_empty("again").unwrap();
            for run in &runs {
                fs::remove_file(run).unwrap();
            }
            removal.join().unwrap();
        });
        assert!(directories.path("again").exists());
        assert!(!directories.path("gone").exists());
    }
}
