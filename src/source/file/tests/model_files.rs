//! The state of the `model`: its files, lines and counts, and the ways in which files are laid out and rotated.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use tokio::time::Instant;

/// One file of the model, whatever its name.
pub(super) struct ModelFile {
    pub(super) writer: File,
    /// The path of the file; `None` once it is deleted, or out of reach.
    pub(super) name: Option<PathBuf>,
    /// The lines that have not arrived yet.
    pub(super) waiting: Vec<u64>,
    /// The source had the file open in a pass.
    pub(super) held: bool,
    /// The time since when the file has a successor, and nothing was read from it.
    pub(super) silent_since: Option<Instant>,
    /// The file ends with an unfinished line: nothing is written to it.
    pub(super) unfinished: bool,
    pub(super) reading: ModelReading,
}

/// What the source does with a file, as far as the model can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelReading {
    Followed,
    /// The file may have been left: what is written to it is read, or reported as a loss.
    MaybeLeft,
}

impl ModelFile {
    pub(super) fn new(writer: File, name: PathBuf, waiting: Vec<u64>) -> Self {
        let (held, unfinished, reading) = (false, false, ModelReading::Followed);
        Self { writer, name: Some(name), waiting, held, silent_since: None, unfinished, reading }
    }
}

/// A write after the rename of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LateWrite {
    /// The source had read everything before.
    First,
    /// The source had not.
    Further,
}

pub(super) struct ModelLine {
    pub(super) text: String,
    pub(super) file: usize,
    /// The line may be lost, wholly or in part.
    pub(super) may_be_lost: bool,
    pub(super) unfinished: bool,
    pub(super) late: Option<LateWrite>,
    pub(super) times_received: u32,
    /// The number of bytes that arrived as a partial line.
    pub(super) cut: usize,
}

#[derive(Debug, Default)]
pub(super) struct ModelCounts {
    pub(super) lines: u64,
    pub(super) unfinished: u64,
    pub(super) excused: u64,
    pub(super) excused_and_received: u64,
    pub(super) losses: usize,
    pub(super) restarts: u32,
    pub(super) crashes: u32,
    /// The number of lines that were read and not recorded before a crash.
    pub(super) unrecorded: usize,
    pub(super) reported_late: u64,
    pub(super) steps: BTreeMap<&'static str, u32>,
}

/// The way in which the path leads to the file, and the directory of rotated files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelLayout {
    Plain,
    /// Rotated files are moved to another directory.
    OldDirectory,
    /// The path is a symlink; the rotated files are next to its target.
    Symlink,
    /// The directory of the path is a symlink.
    SymlinkOnTheWay,
}

/// The numbering of rotated files.
#[derive(Debug, Clone, Copy)]
pub(super) enum RotationScheme {
    /// `log.1` is the newest.
    Down,
    /// `log.1` is the oldest.
    Up,
    Dated,
}
