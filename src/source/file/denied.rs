//! The reasons to refuse a file that the system would open, as an [`io::Error`] that can be told apart from errors of
//! the system.

use std::io;
use std::path::PathBuf;

/// The reason to refuse a file that the system would open.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenDenied {
    /// A symlink whose owner could not read its target.
    #[error(
        "the symlink {link} belongs to {owner}, who does not own its target, so it is not followed (give it to root: \
        chown -h root {link}; or set `follow_symlinks: true` if everybody who can write there may choose what the stream \
        shows)",
        link = .link.display()
    )]
    Symlink { link: PathBuf, owner: String },
    /// One of the daemon's own files.
    #[error("it is one of rtlogd's own files ({}), which are never shown in a stream", .0.display())]
    OwnFile(PathBuf),
}

impl OpenDenied {
    /// The refusal in an error, if the error is one.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<OpenDenied> for io::Error {
    fn from(denied: OpenDenied) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, denied)
    }
}
