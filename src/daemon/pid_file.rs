//! The pid file of a detached daemon: locked as long as the daemon runs, and removed when it ends.
//!
//! Root may be asked to keep the file in a directory of another user. The file is therefore opened without following
//! links, and a file that is not a pid file is left alone. The file is removed only if its name still refers to it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use log::warn;
use rustix::fs::{FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, ftruncate};
use rustix::io::Errno;
use rustix::process::{geteuid, getpid};

use crate::access::directory::{Directory, FileId};

/// The longest pid file, in bytes: more digits than a process id has, and a newline.
const MAX_PID_FILE_SIZE: u64 = 16;

/// The number of attempts to open the file, since another daemon that is ending may remove it at the same moment.
const MAX_OPEN_ATTEMPTS: usize = 10;

/// Everybody may read the process id.
const PID_FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);

/// The reason why the pid file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the pid file {path:?} cannot be used: {source}")]
pub(crate) struct PidFileError {
    path: PathBuf,
    source: io::Error,
}

/// The pid file of this process. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    directory: Directory,
    name: String,
    file: File,
    id: FileId,
    /// The file stays, since the next program of this process has its lock.
    is_kept: bool,
}

impl PidFile {
    /// Creates the file, or takes over the file of a daemon that was killed, and locks it.
    ///
    /// # Errors
    /// If another daemon holds the lock, or if the name is a link or another kind of file.
    pub(crate) fn create(path: &Path) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError { path: path.to_owned(), source };
        let (directory, name) = Directory::of_file(path).map_err(failed)?;
        for _ in 0..MAX_OPEN_ATTEMPTS {
            let file = open(&directory, &name).map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(failed(io::Error::other("another running daemon uses it"))),
                Err(error) => return Err(failed(error.into())),
            }
            let found = fstat(&file).map_err(|error| failed(error.into()))?;
            let id = FileId::from(&found);
            if !directory.has(&name, id) {
                continue;
            }
            check_pid_file(&file, &found).map_err(failed)?;
            let mut pid_file = Self { directory, name, file, id, is_kept: false };
            pid_file.write().map_err(failed)?;
            return Ok(pid_file);
        }
        Err(failed(io::Error::other("another process keeps removing it")))
    }

    /// The file whose lock an earlier program of this process passed on.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub(crate) fn adopt(path: &Path, locked: OwnedFd) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError { path: path.to_owned(), source };
        let (directory, name) = Directory::of_file(path).map_err(failed)?;
        let file = File::from(locked);
        let id = FileId::from(&fstat(&file).map_err(|error| failed(error.into()))?);
        Ok(Self { directory, name, file, id, is_kept: false })
    }

    /// The file with its lock, for the next program of this process.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub(crate) fn locked(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// Leaves the file to the next program of this process.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }

    fn write(&mut self) -> io::Result<()> {
        ftruncate(&self.file, 0)?;
        fchmod(&self.file, PID_FILE_MODE)?;
        io::Seek::rewind(&mut self.file)?;
        writeln!(self.file, "{}", getpid().as_raw_nonzero())
    }
}

/// The pid file of the daemon.
#[derive(Debug)]
pub(crate) enum PidFileOption {
    None,
    Created(PidFile),
    /// An earlier program of this process created it, and passed its lock on.
    Inherited(PathBuf),
}

impl PidFileOption {
    /// The file, with the lock that was passed on.
    pub(crate) fn open(self, locked: Option<OwnedFd>) -> Result<Option<PidFile>, PidFileError> {
        match (self, locked) {
            (Self::None, _) => Ok(None),
            (Self::Created(file), _) => Ok(Some(file)),
            (Self::Inherited(path), Some(locked)) => PidFile::adopt(&path, locked).map(Some),
            (Self::Inherited(path), None) => PidFile::create(&path).map(Some),
        }
    }
}

fn open(directory: &Directory, name: &str) -> io::Result<File> {
    loop {
        match directory.open_existing(name, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|(file, _)| file),
        }
        match directory.create_new(name, OFlags::RDWR, PID_FILE_MODE) {
            // Another daemon has just created it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
}

/// Checks that the file is a pid file that an earlier daemon of this user may have written.
fn check_pid_file(file: &File, found: &Stat) -> io::Result<()> {
    if found.st_nlink > 1 {
        return Err(io::Error::other("it has a second hard link, so it may be another user's file"));
    }
    if found.st_uid != geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to the user {}; remove it", found.st_uid)));
    }
    let mut text = Vec::new();
    file.take(MAX_PID_FILE_SIZE + 1).read_to_end(&mut text)?;
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    if text.len() as u64 > MAX_PID_FILE_SIZE || !digits.iter().all(u8::is_ascii_digit) {
        return Err(io::Error::other("it exists and is not a pid file; choose another name, or remove it"));
    }
    Ok(())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that somebody else has put there is not removed.
        if self.is_kept || !self.directory.has(&self.name, self.id) {
            return;
        }
        if let Err(error) = self.directory.remove(&self.name) {
            // A daemon that has given up root may not change root's directories; then the file at least contains no
            // process id.
            let emptied = ftruncate(&self.file, 0);
            let path = self.directory.display_path(&self.name);
            warn!(path:? = path, error:% = error, emptied = emptied.is_ok(); "cannot remove the pid file {}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn own_pid() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn it_holds_the_process_id_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        for left_behind in [None, Some(""), Some("4711\n"), Some("4711"), Some("999999999\n")] {
            if let Some(text) = left_behind {
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
            let file = PidFile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), own_pid(), "{left_behind:?}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
            let second = PidFile::create(&path).unwrap_err();
            assert!(second.to_string().contains("another running daemon uses it"), "{second}");
            drop(file);
            assert!(!path.exists());
        }
    }

    #[test]
    fn the_lock_passes_to_the_next_program_of_the_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        let first = PidFile::create(&path).unwrap();
        let locked = first.locked().unwrap();
        first.keep();
        assert_eq!(fs::read_to_string(&path).unwrap(), own_pid());
        PidFile::create(&path).unwrap_err();
        let second = PidFile::adopt(&path, locked).unwrap();
        PidFile::create(&path).unwrap_err();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_pid_file_is_left_as_it_is() {
        type PidFileTrap = (&'static str, fn(&Path, &Path), &'static str);
        let traps: [PidFileTrap; 8] = [
            ("another file", |_, path| fs::write(path, "data").unwrap(), "not a pid file"),
            ("a longer number", |_, path| fs::write(path, "1".repeat(20)).unwrap(), "not a pid file"),
            ("two lines", |_, path| fs::write(path, "1\n2\n").unwrap(), "not a pid file"),
            ("a link", |precious, path| symlink(precious, path).unwrap(), "symbolic link"),
            (
                "a link to nothing",
                |precious, path| symlink(precious.with_extension("new"), path).unwrap(),
                "symbolic link",
            ),
            ("a hard link", |precious, path| fs::hard_link(precious, path).unwrap(), "hard link"),
            ("a directory", |_, path| fs::create_dir(path).unwrap(), "directory"),
            (
                "a FIFO",
                |_, path| {
                    let mode = Mode::RUSR | Mode::WUSR;
                    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                },
                "not a regular file",
            ),
        ];
        for (what, lay, expected) in traps {
            let place = tempfile::tempdir().unwrap();
            let (precious, path) = (place.path().join("precious"), place.path().join("pid"));
            // The content looks like a process id.
            fs::write(&precious, "1").unwrap();
            lay(&precious, &path);
            let before = fs::symlink_metadata(&path).unwrap();
            let refused = PidFile::create(&path).unwrap_err().to_string();
            assert!(refused.contains(expected) && refused.contains("pid\""), "{what}: {refused}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "1", "{what}");
            assert!(!precious.with_extension("new").exists(), "{what}");
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!((after.len(), after.permissions()), (before.len(), before.permissions()), "{what}");
        }
    }

    #[test]
    fn what_others_put_in_its_place_stays() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pid");
        let file = PidFile::create(&path).unwrap();
        fs::rename(&path, place.path().join("moved")).unwrap();
        drop(file);
        let file = PidFile::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let missing = PidFile::create(&place.path().join("no/such/pid")).unwrap_err();
        assert!(missing.to_string().contains("no/such/pid"), "{missing}");
    }
}
