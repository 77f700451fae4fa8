//! The files of one stream: which there are, and which places each holds. The writer adds to it, readers look things up.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Time;
use crate::stream::record::Body;

use super::records::Records;

/// Between two marks in the index of a file lie about this many bytes: what is read to find one event.
const APART: u64 = 64 << 10;

/// The history of one stream.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) directory: PathBuf,
    files: Mutex<Files>,
}

/// What there is of a stream on disk.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Oldest first.
    pub(super) list: VecDeque<Stored>,
    /// The newest one, if it is open for writing.
    pub(super) current: Option<Arc<File>>,
    /// How long the newest file is on disk; beyond its [`Stored::bytes`] stands what does not count.
    pub(super) length: u64,
    /// What does not count could not be taken back.
    pub(super) torn: bool,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) path: PathBuf,
    /// The place of its first event, and the one after its last.
    pub(super) first: u64,
    pub(super) end: u64,
    /// How much of it counts, in bytes.
    pub(super) bytes: u64,
    /// When its newest event was read, as far as known.
    pub(super) newest: Time,
    /// Where in it some places are; `None` until somebody wants to know.
    pub(super) marks: Option<Arc<Vec<Mark>>>,
}

/// A record that is easily found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) time: Time,
}

impl Volume {
    pub(super) fn new(directory: PathBuf, list: VecDeque<Stored>) -> Self {
        let length = list.back().map_or(0, |last| last.bytes);
        let files = Files { list, length, ..Files::default() };
        Self { directory, files: Mutex::new(files) }
    }

    /// Its files, locked: never across a look at the disk.
    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        // Each change leaves the list consistent, so a panic elsewhere does not spoil it.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places it holds, holes included.
    pub(super) fn range(&self) -> Range<u64> {
        let files = self.files();
        let held = |file: &&Stored| file.first < file.end;
        let first = files.list.iter().find(held).map_or(0, |file| file.first);
        first..files.list.iter().rfind(held).map_or(0, |file| file.end)
    }

    /// What it takes on disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files().list.iter().map(|file| file.bytes).sum()
    }

    /// The marks of a file, which are made if there are none yet. Blocks.
    pub(super) fn marks(&self, file: &Stored) -> io::Result<Arc<Vec<Mark>>> {
        if let Some(marks) = &file.marks {
            return Ok(marks.clone());
        }
        let mut marks = Vec::new();
        let open = File::open(&file.path)?;
        let mut records = Records::new(&open, 0, file.bytes);
        while let Some((offset, head, body)) = records.next()? {
            if let Body::Events { segment: Some(_), .. } = body {
                mark(&mut marks, Mark { seq: head.seq, offset, time: head.time });
            }
        }
        let marks = Arc::new(marks);
        if let Some(known) = self.files().list.iter_mut().find(|known| known.path == file.path) {
            known.marks = Some(marks.clone());
        }
        Ok(marks)
    }
}

/// Adds a mark where the last one is far enough away.
pub(super) fn mark(marks: &mut Vec<Mark>, next: Mark) {
    if marks.last().is_none_or(|last| next.offset >= last.offset + APART) {
        marks.push(next);
    }
}
