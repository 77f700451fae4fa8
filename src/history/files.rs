//! The files of one stream and the sequence numbers that each contains. The writer changes the table, and readers
//! search it.

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

/// The approximate distance, in bytes, between two offsets in the index of a file: the most that is read to find one
/// event.
const OFFSET_INTERVAL: u64 = 64 << 10;

/// The most reports of damage for one history; further ones would be of no use.
const MAX_DAMAGE_REPORTS: usize = 1000;

/// The files of one stream.
#[derive(Debug)]
pub(super) struct StreamFiles {
    pub(super) directory: PathBuf,
    files: Mutex<FileTable>,
    /// The sequence numbers before which some may have no events, as known at the start.
    discontinuities: Vec<u64>,
    /// The damage that was logged, at most [`MAX_DAMAGE_REPORTS`] entries.
    reported: Mutex<HashSet<String>>,
}

/// The table of files.
#[derive(Debug, Default)]
pub(super) struct FileTable {
    /// Oldest first, with ascending, disjoint ranges of sequence numbers.
    pub(super) list: VecDeque<HistoryFile>,
    /// The newest file, if it is open for writing.
    pub(super) current: Option<Arc<File>>,
    /// The length of the newest file on disk; always >= its [`HistoryFile::bytes`]. The bytes between the two are not
    /// committed.
    pub(super) length: u64,
    /// `true` if uncommitted bytes could not be removed yet.
    pub(super) truncate_pending: bool,
}

/// One file.
#[derive(Debug, Clone)]
pub(super) struct HistoryFile {
    pub(super) path: PathBuf,
    /// The sequence number of the first event, and the one after the last event; `first` <= `end`.
    pub(super) first: u64,
    pub(super) end: u64,
    /// The committed bytes.
    pub(super) bytes: u64,
    /// The time at which the newest event was read, if known.
    pub(super) newest: Time,
    /// The offsets of some records, ascending; `None` until they are needed.
    pub(super) offsets: Option<Arc<Vec<RecordOffset>>>,
}

/// The offset of a record, for a fast search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordOffset {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) time: Time,
}

impl StreamFiles {
    /// The files that were found at the start, and the numbering of their events.
    pub(super) fn new(directory: PathBuf, list: VecDeque<HistoryFile>, numbering: Option<&Numbering>) -> Self {
        let length = list.back().map_or(0, |last| last.bytes);
        let files = FileTable { list, length, ..FileTable::default() };
        let steps = numbering.into_iter().flat_map(Numbering::discontinuities).collect();
        Self { directory, files: Mutex::new(files), discontinuities: steps, reported: Mutex::default() }
    }

    /// Logs damage of a file, each range of it once, since the file may be read many times.
    pub(super) fn report(&self, file: &HistoryFile, damage: &[Range<u64>]) {
        for stretch in damage {
            let bytes = stretch.end - stretch.start;
            self.report_once(file, &format!("its {bytes} bytes from {} to {} are damaged", stretch.start, stretch.end));
        }
    }

    /// Opens a file to read it; `None` if it does not exist.
    pub(crate) fn open(&self, file: &HistoryFile) -> io::Result<Option<File>> {
        match File::open(&file.path) {
            Ok(open) => Ok(Some(open)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dropped file leaves the list before it is removed.
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

    /// The table of files, locked. The guard must not be held during disk I/O.
    pub(super) fn files(&self) -> MutexGuard<'_, FileTable> {
        lock(&self.files)
    }

    /// The sequence numbers from the oldest to the newest event, holes included.
    pub(super) fn seq_range(&self) -> Range<u64> {
        let files = self.files();
        let held = |file: &&HistoryFile| file.first < file.end;
        let first = files.list.iter().find(held).map_or(0, |file| file.first);
        first..files.list.iter().rfind(held).map_or(0, |file| file.end)
    }

    /// The size on disk, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files().list.iter().map(|file| file.bytes).sum()
    }

    /// The offsets of a file, which are collected if there are none yet. Blocks.
    pub(super) fn offsets(&self, file: &HistoryFile) -> io::Result<Arc<Vec<RecordOffset>>> {
        if let Some(offsets) = &file.offsets {
            return Ok(offsets.clone());
        }
        let mut offsets = Vec::new();
        let open = File::open(&file.path)?;
        let mut records = RecordReader::new(&open, 0, file.bytes);
        let mut lost =
            MissingEvents { discontinuities: &self.discontinuities, next: file.first, last: None, found: Vec::new() };
        while let Some((offset, head, body)) = records.next()? {
            if let RecordBody::Events { segment: Some(_), .. } = body {
                push_offset(&mut offsets, RecordOffset { seq: head.seq, offset, time: head.time });
                lost.add_record(&head);
            }
        }
        lost.expect_seq(file.end);
        self.report(file, &records.damaged_ranges);
        for what in lost.found {
            self.report_once(file, &what);
        }
        let offsets = Arc::new(offsets);
        if let Some(known) = self.files().list.iter_mut().find(|known| known.path == file.path) {
            known.offsets = Some(offsets.clone());
        }
        Ok(offsets)
    }
}

/// Events that a file should have and does not have.
struct MissingEvents<'a> {
    discontinuities: &'a [u64],
    /// The sequence number of the event that should come next, and the id of the last event before it.
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

    /// Reports a gap before the sequence number `seq`, where the next event of this or another file is.
    fn expect_seq(&mut self, seq: u64) {
        // At a discontinuity of the numbering, sequence numbers may have no events; nothing is known about those before
        // it.
        let is_step =
            self.discontinuities.contains(&seq) || self.discontinuities.first().is_none_or(|first| *first > seq);
        if seq > self.next && !is_step && self.found.len() < MAX_DAMAGE_REPORTS {
            let count = seq - self.next;
            self.found.push(match self.last {
                Some(last) => format!("the {count} events after {last} are lost"),
                None => format!("its first {count} events are lost"),
            });
        }
    }
}

/// Adds an offset if the last one is far enough away.
pub(super) fn push_offset(offsets: &mut Vec<RecordOffset>, next: RecordOffset) {
    if offsets.last().is_none_or(|last| next.offset >= last.offset + OFFSET_INTERVAL) {
        offsets.push(next);
    }
}
