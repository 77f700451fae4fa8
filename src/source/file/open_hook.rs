//! Work of a test that is done in the middle of a pass, right after a file was opened, and files that it does not let open.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

type AfterOpen = (PathBuf, Box<dyn FnOnce()>);

thread_local! {
    static AFTER_OPEN: RefCell<Option<AfterOpen>> = const { RefCell::new(None) };
    static REFUSED: Cell<Option<(u64, Errno)>> = const { Cell::new(None) };
}

/// Does `work` once, as soon as this thread has opened the file with this path.
pub(super) fn after_open(path: PathBuf, work: impl FnOnce() + 'static) {
    AFTER_OPEN.set(Some((path, Box::new(work))));
}

/// Does what is to be done after this path was opened. Returns whether there was something.
pub(super) fn run_after_open(path: &Path) -> bool {
    let is_it = AFTER_OPEN.with_borrow(|wanted| wanted.as_ref().is_some_and(|(wanted, _)| wanted == path));
    let work = if is_it { AFTER_OPEN.take() } else { None };
    work.map(|(_, work)| work()).is_some()
}

/// Lets the file with this inode not be opened under any name, or (with `None`) every file be opened again.
pub(super) fn refuse(file: Option<(u64, Errno)>) {
    REFUSED.set(file);
}

/// Fails if the file at this path is not to be opened.
pub(super) fn check(path: &Path) -> io::Result<()> {
    match REFUSED.get() {
        Some((inode, errno)) if std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == inode) => {
            Err(errno.into())
        }
        Some(_) | None => Ok(()),
    }
}
