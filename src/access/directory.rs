//! Files in a directory that may belong to another user, such as the keys of the daemon's user, which root manages.
//!
//! The owner of a directory can replace any name in it at any moment. So no path is resolved twice: directories and
//! files are opened relative to a descriptor, symbolic links of other users are not followed, and a file is checked,
//! and given to its owner, through its own descriptor.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchown, fstat, fsync, mkdirat, open,
    openat, readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Maximum number of symbolic links in the path of a directory, the same as that of the kernel (`path_resolution(7)`).
const MAX_SYMLINKS: usize = 40;

/// Mode of created files: only the owner has access.
const PRIVATE_FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIRECTORY_MODE: Mode = Mode::RWXU;

/// Flags of every open: children do not inherit the descriptor, a FIFO does not block, and a terminal does not become
/// the controlling terminal.
const OPEN_FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    owner: u32,
    group: u32,
    mode: u32,
}

/// The identity of a file, independent of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl From<&Stat> for FileId {
    fn from(found: &Stat) -> Self {
        Self { device: found.st_dev, inode: found.st_ino }
    }
}

impl Directory {
    /// Opens a directory to read its entries. Symbolic links in its path are followed, as in any program; but root
    /// follows only links that root made, since it can read files that the creator of another link cannot.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if geteuid().is_root() {
            return Self::open_for_writing(path);
        }
        let opened = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OPEN_FLAGS, Mode::empty())?;
        Self::of(opened, path)
    }

    /// Opens a directory to change its entries; a symbolic link in its path is followed only if root or the caller made
    /// it.
    pub(crate) fn open_for_writing(path: &Path) -> io::Result<Self> {
        Self::of(open_without_foreign_links(path, false)?, path)
    }

    /// Opens a directory as [`open_for_writing`](Self::open_for_writing) does, and creates missing directories,
    /// accessible by their owner only.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::of(open_without_foreign_links(path, true)?, path)
    }

    /// Opens the directory of a file to change its entries, and returns the name of the file.
    pub(crate) fn of_file(path: &Path) -> io::Result<(Self, String)> {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.ok_or_else(|| io::Error::other("the path does not end with the name of a file"))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((Self::open_for_writing(parent)?, name.to_owned()))
    }

    fn of(opened: OwnedFd, path: &Path) -> io::Result<Self> {
        let found = fstat(&opened)?;
        let (owner, group, mode) = (found.st_uid, found.st_gid, found.st_mode & 0o7777);
        Ok(Self { fd: opened, path: path.to_owned(), owner, group, mode })
    }

    /// The path of an entry, for messages.
    pub(crate) fn display_path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The permissions of the directory itself.
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// The user that the directory belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// The names of the entries in no particular order, without `.` and `..`.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries = Dir::read_from(&self.fd)?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                (name != "." && name != "..").then_some(Ok(name))
            }
            Err(error) => Some(Err(error.into())),
        }))
    }

    /// Opens a regular file for reading. A symbolic link is followed only if the directory belongs to root or the
    /// caller: another user could make it point to a file that this user cannot read.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let is_trusted = self.owner() == 0 || self.owner() == geteuid().as_raw();
        let links = if is_trusted { OFlags::empty() } else { OFlags::NOFOLLOW };
        self.open_file(name.as_ref(), OFlags::RDONLY | links).map(|(file, _)| file)
    }

    /// Opens a file for appending, and creates it for the owner of the directory if it does not exist.
    ///
    /// # Errors
    /// If the file is a symbolic link, is not a regular file, has another hard link, or belongs to another user than
    /// the directory.
    pub(crate) fn append(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND;
        loop {
            match self.open_existing(name, flags) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok((file, found)) => return self.check_appendable(&found).map(|()| file),
            }
            match self.create_new(name, flags, PRIVATE_FILE_MODE) {
                // Another process has created it in the meantime.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.and_then(|file| self.give_to_owner(&file).map(|()| file)),
            }
        }
    }

    /// Creates a file with this content for the owner of the directory, atomically.
    ///
    /// # Errors
    /// If the name exists, among other reasons.
    pub(crate) fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!(".{name}.{:08x}.new", fastrand::u32(..));
        let mut file = self.create_new(&temporary, OFlags::WRONLY, PRIVATE_FILE_MODE)?;
        let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| self.give_to_owner(&file));
        let done = written.and_then(|()| self.rename_new(&temporary, name));
        if done.is_err() {
            // The first error is the one to report.
            self.remove(&temporary).unwrap_or_default();
        }
        done
    }

    /// Removes an entry; the target of a symbolic link stays.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        unlinkat(&self.fd, name.as_ref(), AtFlags::empty())?;
        Ok(fsync(&self.fd)?)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE);
        match renamed {
            // Some file systems do not support this flag. The name consists of the time and a random part, so replacing
            // an existing file by accident is not a concern.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(&self.fd, from, &self.fd, to)?,
            renamed => renamed?,
        }
        Ok(fsync(&self.fd)?)
    }

    /// Creates a file that belongs to the caller; `mode` is subject to the umask.
    ///
    /// # Errors
    /// If the name exists, even as a dangling symbolic link, among other reasons.
    pub(crate) fn create_new(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OPEN_FLAGS;
        Ok(openat(&self.fd, name, flags, mode)?.into())
    }

    /// Opens an existing regular file, and returns its status.
    ///
    /// # Errors
    /// If it is a symbolic link or not a regular file, among other reasons.
    pub(crate) fn open_existing(&self, name: &str, flags: OFlags) -> io::Result<(File, Stat)> {
        self.open_file(OsStr::new(name), flags | OFlags::NOFOLLOW)
    }

    /// Returns true if this name in the directory refers to this file.
    pub(crate) fn has(&self, name: &str, file: FileId) -> bool {
        let found = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileId::from(&found) == file)
    }

    /// Opens a regular file, and returns its status.
    fn open_file(&self, name: &OsStr, flags: OFlags) -> io::Result<(File, Stat)> {
        open_regular(&self.fd, Path::new(name), flags)
    }

    /// Checks that appending to the file on behalf of the directory's owner is safe.
    fn check_appendable(&self, found: &Stat) -> io::Result<()> {
        if found.st_nlink > 1 {
            return Err(io::Error::other("it has a second hard link, so it may be another user's file"));
        }
        if found.st_uid != self.owner() {
            let why = format!(
                "it belongs to the user {}, but its directory belongs to the user {}; chown it",
                found.st_uid,
                self.owner()
            );
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    /// Gives a new file to the owner of the directory: files that root creates in the directory of another user belong
    /// to that user.
    fn give_to_owner(&self, file: &File) -> io::Result<()> {
        if self.owner() == geteuid().as_raw() {
            return Ok(());
        }
        let (owner, group) = (Uid::from_raw(self.owner), Gid::from_raw(self.group));
        Ok(fchown(file, Some(owner), Some(group))?)
    }
}

/// Opens a regular file relative to a directory, and returns its status. Does not wait for the writer of a FIFO.
///
/// # Errors
/// If it is not a regular file, or is a symbolic link and `flags` contains `NOFOLLOW`, among other reasons.
pub(crate) fn open_regular(at: impl std::os::fd::AsFd, path: &Path, flags: OFlags) -> io::Result<(File, Stat)> {
    let opened = openat(at, path, flags | OPEN_FLAGS, PRIVATE_FILE_MODE).map_err(|error| match error {
        Errno::LOOP => io::Error::other("it is a symbolic link, which is not followed here"),
        Errno::NXIO => io::Error::other("it is not a regular file"),
        error => error.into(),
    })?;
    let found = fstat(&opened)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((opened.into(), found))
}

/// Opens a directory component by component. A symbolic link in the path is followed only if root or the caller made
/// it.
fn open_without_foreign_links(path: &Path, make: bool) -> io::Result<OwnedFd> {
    let pass = OFlags::PATH | OFlags::CLOEXEC;
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<VecDeque<_>>();
    let mut left = parts(&std::path::absolute(path)?);
    let mut at = open("/", pass | OFlags::DIRECTORY, Mode::empty())?;
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if Path::new(&name).components().next() == Some(Component::RootDir) {
            at = open("/", pass | OFlags::DIRECTORY, Mode::empty())?;
            continue;
        }
        let next = match openat(&at, &name, pass | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                mkdirat(&at, &name, PRIVATE_DIRECTORY_MODE)?;
                openat(&at, &name, pass | OFlags::NOFOLLOW, Mode::empty())?
            }
            next => next?,
        };
        let found = fstat(&next)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_SYMLINKS {
            return Err(Errno::LOOP.into());
        }
        if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
            let why = format!(
                "{} in its path is a symbolic link of the user {}, and is not followed",
                name.to_string_lossy().escape_debug(),
                found.st_uid
            );
            return Err(io::Error::other(why));
        }
        let target = PathBuf::from(OsString::from_vec(readlinkat(&next, "", Vec::new())?.into_bytes()));
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(openat(&at, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// A directory whose entry `name` is made by `lay`, and a file outside it that must not change.
    fn directory_with_trap(lay: impl FnOnce(&Path, &Path)) -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        let precious = place.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let directory = place.path().join("keys");
        fs::create_dir(&directory).unwrap();
        lay(&precious, &directory.join("name"));
        let directory = Directory::open_for_writing(&directory).unwrap();
        (place, directory)
    }

    #[test]
    fn nothing_that_is_laid_as_a_trap_is_written_to() {
        type DirectoryTrap = (&'static str, fn(&Path, &Path));
        let traps: [DirectoryTrap; 7] = [
            ("a link to a file", |precious, name| symlink(precious, name).unwrap()),
            ("a relative link", |_, name| symlink("../precious", name).unwrap()),
            ("a link to nothing", |precious, name| symlink(precious.with_extension("new"), name).unwrap()),
            ("a link to a directory", |precious, name| symlink(precious.parent().unwrap(), name).unwrap()),
            ("a hard link", |precious, name| fs::hard_link(precious, name).unwrap()),
            ("a directory", |_, name| fs::create_dir(name).unwrap()),
            ("a FIFO", |_, name| {
                rustix::fs::mknodat(CWD, name, FileType::Fifo, PRIVATE_FILE_MODE, 0).unwrap();
            }),
        ];
        for (what, lay) in traps {
            let (place, directory) = directory_with_trap(lay);
            assert!(directory.append("name").is_err(), "{what}");
            assert!(directory.write_new("name", b"content").is_err(), "{what}");
            let precious = place.path().join("precious");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{what}");
            assert!(!precious.with_extension("new").exists(), "{what}");
            assert_eq!(fs::read_dir(place.path().join("keys")).unwrap().count(), 1, "{what}: nothing is left behind");
            if what != "a directory" {
                directory.remove("name").unwrap();
            }
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{what} is removed, and not its target");
        }
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone_and_is_appended_to() {
        let (place, directory) = directory_with_trap(|_, _| {});
        directory.append("list").unwrap().write_all(b"one\n").unwrap();
        directory.append("list").unwrap().write_all(b"two\n").unwrap();
        directory.write_new("key", b"secret").unwrap();
        let again = directory.write_new("key", b"other").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        for (name, text) in [("list", "one\ntwo\n"), ("key", "secret")] {
            let mut found = String::new();
            directory.read(name).unwrap().read_to_string(&mut found).unwrap();
            assert_eq!(found, text);
            let mode = fs::metadata(place.path().join("keys").join(name)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
        let mut names: Vec<_> = directory.names().unwrap().map(Result::unwrap).collect();
        names.sort();
        assert_eq!(names, ["key", "list"]);
        let made = Directory::create(&place.path().join("a/b")).unwrap();
        assert_eq!(made.mode(), 0o700);
    }

    /// Files of another user can be created only by root.
    #[test]
    fn links_and_files_of_another_user_are_not_trusted_and_new_files_are_given_to_it() {
        const NOBODY_UID: u32 = 65534;
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give files to another user");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (real, theirs) = (place.path().join("real"), place.path().join("theirs"));
        for directory in [&real, &theirs] {
            fs::create_dir(directory).unwrap();
        }
        let chown = |path: &Path| std::os::unix::fs::lchown(path, Some(NOBODY_UID), Some(NOBODY_UID)).unwrap();
        let link = |name: &str, target: &Path| {
            let link = place.path().join(name);
            symlink(target, &link).unwrap();
            link
        };
        let (mine, foreign) = (link("mine", &real), link("foreign", &real));
        chown(&foreign);
        chown(&theirs);
        assert!(Directory::open_for_writing(&mine).is_ok());
        for path in [foreign.clone(), foreign.join("below")] {
            let refused = Directory::create(&path).unwrap_err();
            assert!(refused.to_string().contains("symbolic link of the user 65534"), "{refused}");
        }
        let directory = Directory::open_for_writing(&theirs).unwrap();
        fs::write(theirs.join("of-root"), "x").unwrap();
        assert!(directory.append("of-root").unwrap_err().to_string().contains("belongs to the user 0"));
        directory.append("list").unwrap();
        directory.write_new("key", b"secret").unwrap();
        for name in ["list", "key"] {
            let found = fs::metadata(theirs.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (NOBODY_UID, NOBODY_UID, 0o600), "{name}");
        }
        fs::write(place.path().join("secret"), "secret").unwrap();
        symlink(place.path().join("secret"), theirs.join("link")).unwrap();
        assert!(directory.read("link").is_err(), "in a directory of another user links are not even read");
        symlink(place.path().join("secret"), real.join("link")).unwrap();
        assert!(Directory::open(&real).unwrap().read("link").is_ok());
    }
}
