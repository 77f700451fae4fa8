//! The target of a path: a file, or another object that the path names.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::io::Errno;

use super::fingerprint::Identity;

/// An operation that the system refused, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Option<i32>,
    /// One sentence with the operation, the path and the reason.
    pub(crate) error: String,
}

impl Refusal {
    /// Describes a refusal; `verb` is the operation, such as `open`.
    pub(crate) fn new(path: &Path, verb: &str, error: &io::Error) -> Self {
        Self { errno: error.raw_os_error(), error: format!("cannot {verb} {}: {error}", path.display()) }
    }
}

/// The object that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathTarget {
    /// The path was not examined yet.
    Unknown,
    File,
    /// A file that another path of the stream reads.
    Alias(Identity),
    Fifo(Identity),
    Missing,
    Refused(Refusal),
    /// Something without lines, such as a directory.
    Other(&'static str),
    /// A compressed file, and its compression.
    Compressed(Identity, &'static str),
}

impl PathTarget {
    /// The target if it is neither a file nor missing.
    pub(crate) fn special(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_fifo() {
            Self::Fifo(Identity::from(metadata))
        } else if kind.is_dir() {
            Self::Other("a directory")
        } else if kind.is_socket() {
            Self::Other("a socket")
        } else {
            Self::Other("a device")
        }
    }

    /// The target if the operation `verb` failed.
    pub(crate) fn of_error(path: &Path, verb: &str, error: &io::Error) -> Self {
        if is_missing(error) { Self::Missing } else { Self::Refused(Refusal::new(path, verb, error)) }
    }
}

/// Returns whether an error says that a path names nothing.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns whether an error says that the process or the system has too many open files.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| errno == Errno::MFILE || errno == Errno::NFILE)
}

/// Returns whether a path is a symlink, whatever its target is.
pub(crate) fn is_symlink(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}
