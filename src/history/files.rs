//! The files of one stream: which there are, and which places each holds. The writer adds to it, readers look things up.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use log::warn;

use crate::event::{Position, Time, lock};
use crate::history::record::{RecordBody, RecordHeader};
use crate::segment::Numbering;

use super::record_reader::RecordReader;

/// Between two marks in the index of a file lie about this many bytes: what is read to find one event.
const OFFSET_INTERVAL: u64 = 64 << 10;

/// Most reports of damage in one history; after so many nobody needs the next.
const MAX_DAMAGE_REPORTS: usize = 1000;

/// The history of one stream.
#[derive(Debug)]
pub(super) struct StreamFiles {
    pub(super) directory: PathBuf,
    files: Mutex<FileTable>,
    /// The places in front of which some may be without events, as known at the start.
    discontinuities: Vec<u64>,
    /// What was logged of damage, at most [`MAX_DAMAGE_REPORTS`].
    reported: Mutex<HashSet<String>>,
}

/// What there is of a stream on disk.
#[derive(Debug, Default)]
pub(super) struct FileTable {
    /// Oldest first.
    pub(super) list: VecDeque<HistoryFile>,
    /// The newest one, if it is open for writing.
    pub(super) current: Option<Arc<File>>,
    /// How long the newest file is on disk; beyond its [`HistoryFile::bytes`] stands what does not count.
    pub(super) length: u64,
    /// What does not count could not be taken back.
    pub(super) truncate_pending: bool,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile {
    pub(super) path: PathBuf,
    /// The place of its first event, and the one after its last.
    pub(super) first: u64,
    pub(super) end: u64,
    /// How much of it counts, in bytes.
    pub(super) bytes: u64,
    /// When its newest event was read, as far as known.
    pub(super) newest: Time,
    /// Where in it some places are; `None` until somebody wants to know.
    pub(super) marks: Option<Arc<Vec<RecordOffset>>>,
}

/// A record that is easily found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordOffset {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) time: Time,
}

impl StreamFiles {
    /// The files that were found, and how their events are numbered.
    pub(super) fn new(directory: PathBuf, list: VecDeque<HistoryFile>, numbering: Option<&Numbering>) -> Self {
        let length = list.back().map_or(0, |last| last.bytes);
        let files = FileTable { list, length, ..FileTable::default() };
        let steps = numbering.into_iter().flat_map(Numbering::discontinuities).collect();
        Self { directory, files: Mutex::new(files), discontinuities: steps, reported: Mutex::default() }
    }

    /// Logs damage of a file, each stretch of it once: it may be read again and again.
    pub(super) fn report(&self, file: &HistoryFile, damage: &[Range<u64>]) {
        for stretch in damage {
            let bytes = stretch.end - stretch.start;
            self.report_once(file, &format!("its {bytes} bytes from {} to {} are damaged", stretch.start, stretch.end));
        }
    }

    /// Opens a file to read it; `None` if it is not there.
    pub(crate) fn open(&self, file: &HistoryFile) -> io::Result<Option<File>> {
        match File::open(&file.path) {
            Ok(open) => Ok(Some(open)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // What is dropped is taken from the list before it is removed.
                if self.files().list.iter().any(|known| known.path == file.path) {
                    self.report_once(
                        file,
                        &format!("the file is gone, and its {} events with it", file.end - file.first),
                    );
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn report_once(&self, file: &HistoryFile, what: &str) {
        let text = format!("{}: {what}", file.path.display());
        let mut reported = lock(&self.reported);
        if reported.len() < MAX_DAMAGE_REPORTS && reported.insert(text.clone()) {
            let stream = self.directory.file_name().unwrap_or_default().to_string_lossy();
            warn!(stream:% = stream; "the history is damaged: {text}");
        }
    }

    /// Its files, locked: never across a look at the disk.
    pub(super) fn files(&self) -> MutexGuard<'_, FileTable> {
        // Each change leaves the list consistent, so a panic elsewhere does not spoil it.
        lock(&self.files)
    }

    /// The places it holds, holes included.
    pub(super) fn seq_range(&self) -> Range<u64> {
        let files = self.files();
        let held = |file: &&HistoryFile| file.first < file.end;
        let first = files.list.iter().find(held).map_or(0, |file| file.first);
        first..files.list.iter().rfind(held).map_or(0, |file| file.end)
    }

    /// What it takes on disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files().list.iter().map(|file| file.bytes).sum()
    }

    /// The marks of a file, which are made if there are none yet. Blocks.
    pub(super) fn marks(&self, file: &HistoryFile) -> io::Result<Arc<Vec<RecordOffset>>> {
        if let Some(marks) = &file.marks {
            return Ok(marks.clone());
        }
        let mut marks = Vec::new();
        let open = File::open(&file.path)?;
        let mut records = RecordReader::new(&open, 0, file.bytes);
        let mut lost =
            MissingEvents { discontinuities: &self.discontinuities, next: file.first, last: None, found: Vec::new() };
        while let Some((offset, head, body)) = records.next()? {
            if let RecordBody::Events { segment: Some(_), .. } = body {
                mark(&mut marks, RecordOffset { seq: head.seq, offset, time: head.time });
                lost.add_record(&head);
            }
        }
        lost.expect_seq(file.end);
        self.report(file, &records.damaged_ranges);
        for what in lost.found {
            self.report_once(file, &what);
        }
        let marks = Arc::new(marks);
        if let Some(known) = self.files().list.iter_mut().find(|known| known.path == file.path) {
            known.marks = Some(marks.clone());
        }
        Ok(marks)
    }
}

/// Events that a file should have and has not.
struct MissingEvents<'a> {
    discontinuities: &'a [u64],
    /// The place of the event that should come next, and the id of the last one that did.
    next: u64,
    last: Option<Position>,
    found: Vec<String>,
}

impl MissingEvents<'_> {
    fn add_record(&mut self, head: &RecordHeader) {
        self.expect_seq(head.seq);
        self.next = self.next.max(head.seq + u64::from(head.count));
        let last = head.first.number + u64::from(head.count).saturating_sub(1);
        self.last = Some(Position { number: last, ..head.first });
    }

    /// The next event that is there, or that another file begins with, has this place.
    fn expect_seq(&mut self, place: u64) {
        // Where numbering took a step, places may be without events; of what is older than its memory nothing is known.
        let is_step =
            self.discontinuities.contains(&place) || self.discontinuities.first().is_none_or(|first| *first > place);
        if place > self.next && !is_step && self.found.len() < MAX_DAMAGE_REPORTS {
            let count = place - self.next;
            self.found.push(match self.last {
                Some(last) => format!("the {count} events after {last} are lost"),
                None => format!("its first {count} events are lost"),
            });
        }
    }
}

/// Adds a mark where the last one is far enough away.
pub(super) fn mark(marks: &mut Vec<RecordOffset>, next: RecordOffset) {
    if marks.last().is_none_or(|last| next.offset >= last.offset + OFFSET_INTERVAL) {
        marks.push(next);
    }
}
