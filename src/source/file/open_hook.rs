//! Work of a test that is done in the middle of a pass: right after a file was opened.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

type AfterOpen = (PathBuf, Box<dyn FnOnce()>);

thread_local! {
    static AFTER_OPEN: RefCell<Option<AfterOpen>> = const { RefCell::new(None) };
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
