//! What a path's row of files is made of, and what its paths share. Data, and a few looks at it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::stream::Batch;

use super::siblings::DirectoryIndex;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::claims::Claims;
use crate::source::file::current::MIN_COPY_SIZE;
use crate::source::file::fingerprint::{Fingerprint, Identity, ReadPoint};
use crate::source::file::open_limit::OpenLimit;
use crate::source::file::reader::FileReader;

/// What all paths of a stream share in one turn.
pub(crate) struct PassContext<'a> {
    pub(crate) now: ClockReading,
    pub(crate) batch: &'a mut Batch,
    pub(crate) feed: &'a mut LinePipeline,
    pub(crate) index: &'a mut DirectoryIndex,
    pub(crate) claims: &'a mut Claims,
    pub(crate) open_limit: &'a OpenLimit,
    pub(crate) settings: TailSettings,
    /// Whether a path is one of the stream's own, which reads its files by itself.
    pub(crate) named: &'a dyn Fn(&Path) -> bool,
}

/// How the stream wants its files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailSettings {
    /// How long what was rotated away is read on.
    pub(crate) rotate_wait: Duration,
    /// It is UTF-16.
    pub(crate) is_utf16: bool,
    /// So many last lines are given out of a file that is there at the start.
    pub(crate) initial_lines: usize,
}

/// What was recorded of the place last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordedCheckpoint {
    Nothing,
    Gone,
    File,
}

#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) reader: FileReader,
    /// The recorded place from which it is to go on, as long as it was not found.
    pub(crate) saved: Option<Checkpoint>,
    /// When the path was first seen not to name it any more.
    pub(crate) replaced_at: Option<Instant>,
    /// What replaced it was there at once: it may be an edited copy.
    pub(crate) replaced_atomically: bool,
    /// It was changed since it was read.
    pub(crate) changed: bool,
    /// Under which name it was seen last, where that is not the path.
    pub(crate) name: Option<PathBuf>,
    /// Since when it is sought.
    pub(crate) sought_since: Option<Instant>,
    /// Why it cannot be read, and when to try again.
    pub(crate) refused: Option<(Refusal, Instant)>,
}

impl Generation {
    pub(crate) fn new(reader: FileReader) -> Self {
        Self {
            reader,
            saved: None,
            replaced_at: None,
            replaced_atomically: false,
            changed: true,
            name: None,
            sought_since: None,
            refused: None,
        }
    }

    /// Nothing was read of it yet.
    pub(crate) fn is_unread(&self) -> bool {
        self.saved.is_none() && self.reader.trace().offset() == 0
    }

    /// How far it was read, as far as is known.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.saved.as_ref().map_or_else(|| self.reader.trace().fingerprint(), Checkpoint::fingerprint)
    }
}

/// What the system refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) errno: Option<i32>,
    pub(crate) error: String,
}

/// What the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathTarget {
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

pub(crate) fn refusal(path: &Path, verb: &str, error: &io::Error) -> Refusal {
    Refusal { errno: error.raw_os_error(), error: format!("cannot {verb} {}: {error}", path.display()) }
}

/// Whether one file is a copy of the start of another, as far as can be told from the first bytes and the last.
pub(crate) fn is_copy(copy: &Path, of: Option<&File>, handles: &OpenLimit) -> bool {
    let is_copy = || -> io::Result<bool> {
        let ((copy, metadata), of) = (handles.open(copy)?, of.ok_or(io::ErrorKind::NotFound)?);
        let size = metadata.len();
        let end = ReadPoint::of(&copy, size)?.map(|trace| trace.fingerprint());
        Ok(size >= MIN_COPY_SIZE && end.is_some_and(|end| end.read_point_in(of).is_ok_and(|found| found.is_some())))
    };
    is_copy().unwrap_or(false)
}

pub(crate) fn none_if_missing(error: io::Error) -> io::Result<bool> {
    if is_missing(&error) { Ok(false) } else { Err(error) }
}

pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(crate) fn special_file(metadata: &Metadata) -> PathTarget {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        PathTarget::Fifo(Identity::from(metadata))
    } else if kind.is_dir() {
        PathTarget::Other("a directory")
    } else if kind.is_socket() {
        PathTarget::Other("a socket")
    } else {
        PathTarget::Other("a device")
    }
}
