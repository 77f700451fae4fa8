//! What a path's row of files is made of, and what its paths share. Data, and a few looks at it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::source::Now;
use crate::source::feed::Feed;
use crate::stream::Batch;

use super::front::TELLING;
use super::handles::Handles;
use super::identity::{Identity, Prints, Trace};
use super::owners::Owners;
use super::place::Saved;
use super::reader::Reader;
use super::siblings::Index;

/// What all paths of a stream share in one turn.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) batch: &'a mut Batch,
    pub(super) feed: &'a mut Feed,
    pub(super) index: &'a mut Index,
    pub(super) owners: &'a mut Owners,
    pub(super) handles: &'a Handles,
    pub(super) rules: Rules,
    /// Whether a path is one of the stream's own, which reads its files by itself.
    pub(super) named: &'a dyn Fn(&Path) -> bool,
}

/// How the stream wants its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How long what was rotated away is read on.
    pub(super) rotate_wait: Duration,
    /// It is UTF-16.
    pub(super) wide: bool,
    /// So many last lines are given out of a file that is there at the start.
    pub(super) last_lines: usize,
}

/// What was recorded of the place last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Nothing,
    Gone,
    File,
}

#[derive(Debug)]
pub(super) struct Opened {
    pub(super) reader: Reader,
    /// The recorded place from which it is to go on, as long as it was not found.
    pub(super) saved: Option<Saved>,
    /// When the path was first seen not to name it any more.
    pub(super) replaced: Option<Instant>,
    /// What replaced it was there at once: it may be an edited copy.
    pub(super) atomic: bool,
    /// It was changed since it was read.
    pub(super) changed: bool,
    /// Under which name it was seen last, where that is not the path.
    pub(super) name: Option<PathBuf>,
    /// Since when it is sought.
    pub(super) sought: Option<Instant>,
    /// Why it cannot be read, and when to try again.
    pub(super) refused: Option<(Refusal, Instant)>,
}

impl Opened {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            saved: None,
            replaced: None,
            atomic: false,
            changed: true,
            name: None,
            sought: None,
            refused: None,
        }
    }

    /// Nothing was read of it yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.saved.is_none() && self.reader.trace().offset() == 0
    }

    /// How far it was read, as far as is known.
    pub(super) fn prints(&self) -> Prints {
        self.saved.as_ref().map_or_else(|| self.reader.trace().prints(), Saved::prints)
    }
}

/// What the system refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) errno: Option<i32>,
    pub(super) error: String,
}

/// What the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It was not looked at.
    Unknown,
    File,
    /// A file that another path of the stream reads.
    Alias(Identity),
    Fifo(Identity),
    Missing,
    Refused(Refusal),
    /// Something that has no lines.
    Other(&'static str),
    /// A file that holds no text, and how it is compressed.
    Compressed(Identity, &'static str),
}

pub(super) fn refusal(path: &Path, verb: &str, error: &io::Error) -> Refusal {
    Refusal { errno: error.raw_os_error(), error: format!("cannot {verb} {}: {error}", path.display()) }
}

/// Whether one file is a copy of the start of another, as far as can be told from the first bytes and the last.
pub(super) fn is_copy(copy: &Path, of: Option<&File>, handles: &Handles) -> bool {
    let is_copy = || -> io::Result<bool> {
        let ((copy, metadata), of) = (handles.open(copy)?, of.ok_or(io::ErrorKind::NotFound)?);
        let size = metadata.len();
        let end = Trace::of(&copy, size)?.map(|trace| trace.prints());
        Ok(size >= TELLING && end.is_some_and(|end| end.find_in(of).is_ok_and(|found| found.is_some())))
    };
    is_copy().unwrap_or(false)
}

pub(super) fn none_if_missing(error: io::Error) -> io::Result<bool> {
    if is_missing(&error) { Ok(false) } else { Err(error) }
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(super) fn not_a_file(metadata: &Metadata) -> Found {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        Found::Fifo(Identity::from(metadata))
    } else if kind.is_dir() {
        Found::Other("a directory")
    } else if kind.is_socket() {
        Found::Other("a socket")
    } else {
        Found::Other("a device")
    }
}
