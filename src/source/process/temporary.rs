//! The directories for temporary files of commands without a user of their own: one for each stream, which is emptied when
//! a run begins, and deleted once the stream is removed from the configuration.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use log::warn;
use tokio::time::Instant;

use super::shim;

/// The directory of these directories, in the state directory of the daemon.
pub(crate) const TEMPORARY_DIRECTORY: &str = "tmp";

/// The longest time to wait for the end of a run that still uses its directory. The next daemon deletes it otherwise.
const MAX_USE_WAIT: Duration = Duration::from_mins(1);

/// The interval at which the end of such a run is looked for.
const USE_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Creates a directory that only its owner may enter, or empties it. What cannot be deleted remains, such as the files in a
/// directory that a command made read-only.
pub(super) fn create_empty(directory: &Path) -> io::Result<()> {
    remove(directory);
    DirBuilder::new().mode(0o700).recursive(true).create(directory)
}

/// Deletes the directories of streams that are not among `wanted`, each once no run of the stream is left. Blocks.
pub(crate) fn remove_unwanted_temporary(state_directory: &Path, wanted: &HashSet<String>) {
    let Ok(entries) = fs::read_dir(state_directory.join(TEMPORARY_DIRECTORY)) else { return };
    let until = Instant::now() + MAX_USE_WAIT;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(stream) = name.to_str().filter(|name| !wanted.contains(*name)) else { continue };
        while shim::has_run(state_directory, stream) && Instant::now() < until {
            std::thread::park_timeout(USE_POLL_INTERVAL);
        }
        if !shim::has_run(state_directory, stream) {
            remove(&entry.path());
        }
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

    #[test]
    fn only_directories_of_removed_streams_are_deleted() {
        let state = tempfile::tempdir().unwrap();
        remove_unwanted_temporary(state.path(), &HashSet::new());
        let temporary = state.path().join(TEMPORARY_DIRECTORY);
        for stream in ["kept", "gone"] {
            create_empty(&temporary.join(stream)).unwrap();
            fs::create_dir(temporary.join(stream).join("more")).unwrap();
        }
        // What a removed stream had linked to is not its own.
        let precious = state.path().join("precious");
        fs::create_dir(&precious).unwrap();
        std::os::unix::fs::symlink(&precious, temporary.join("gone/link")).unwrap();
        remove_unwanted_temporary(state.path(), &HashSet::from(["kept".to_owned()]));
        assert!(temporary.join("kept/more").exists() && !temporary.join("gone").exists() && precious.exists());
        create_empty(&temporary.join("kept")).unwrap();
        assert_eq!(fs::read_dir(temporary.join("kept")).unwrap().count(), 0);
    }
}
