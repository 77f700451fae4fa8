//! Recovery at the start: replays the newest file from its snapshot on, and leaves out incomplete transactions. Writes
//! nothing.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::{Epoch, Time};
use crate::history::record::{FILE_MAGIC, FORMAT_VERSION, RecordBody, RecordHeader};
use crate::segment::{Checkpoints, Numbering};

use super::HistoryError;
use super::files::{HistoryFile, RecordOffset, push_offset};
use super::record_reader::RecordReader;
use super::run_tracker::{RunLimits, RunTracker};

/// The extension of each file, after the sequence number of its first event in sixteen hexadecimal digits.
const HISTORY_FILE_EXTENSION: &str = ".rlog";

/// The recovered history of one stream.
#[derive(Debug)]
pub(super) struct RecoveredHistory {
    /// Oldest first.
    pub(super) files: VecDeque<HistoryFile>,
    /// The numbering after the last event; `None` without a readable snapshot.
    pub(super) numbering: Option<Numbering>,
    pub(super) checkpoints: Checkpoints,
    /// The runs, as far as the replayed files say.
    pub(super) runs: RunTracker,
    /// `true` if the newest record says that the stream is private.
    pub(super) private: bool,
    /// `true` if the newest file is of an older format.
    pub(super) is_old_format: bool,
    /// `true` if the last daemon stopped cleanly.
    pub(super) cleanly_closed: bool,
    /// The boot id of the machine on which the last daemon ran.
    pub(super) boot: String,
    /// The newest epoch and the highest sequence number that were seen, even if nothing else is known.
    pub(super) epoch: Option<Epoch>,
    pub(super) end: u64,
    /// The damage that was found, one sentence for each.
    pub(super) damage: Vec<String>,
}

/// The name of the file whose first event has this sequence number.
pub(super) fn file_name(seq: u64) -> String {
    format!("{seq:016x}{HISTORY_FILE_EXTENSION}")
}

impl RecoveredHistory {
    /// The state of a stream without a history, which keeps at most these runs.
    fn nothing(limits: RunLimits) -> Self {
        Self {
            files: VecDeque::new(),
            numbering: None,
            checkpoints: Checkpoints::new(),
            runs: RunTracker::new(0, limits),
            private: false,
            is_old_format: false,
            cleanly_closed: false,
            boot: String::new(),
            epoch: None,
            end: 0,
            damage: Vec::new(),
        }
    }
}

/// The history in `directory`, with at most these runs; empty if that does not exist.
///
/// # Errors
/// If a file cannot be read, or a newer version wrote it.
pub(super) fn recover_history(directory: &Path, limits: RunLimits) -> Result<RecoveredHistory, HistoryError> {
    let files = list(directory)?;
    let mut scanned = RecoveredHistory::nothing(limits);
    // The newest file with a snapshot says everything about the older ones, so only the files from it on are replayed.
    let mut begin = None;
    for (at, (_, path)) in files.iter().enumerate().rev() {
        if let Some(version) = version_with_snapshot(path)? {
            begin = Some(at);
            scanned.is_old_format = version < FORMAT_VERSION;
            break;
        }
    }
    let mut replay = RecordReplay::new(limits);
    for (first, path) in files.get(begin.unwrap_or(0)..).unwrap_or_default() {
        let stored = replay.file(*first, path).map_err(HistoryError::at(path))?;
        scanned.files.push_back(stored);
    }
    scanned.damage = replay.damage;
    (scanned.epoch, scanned.end) = (replay.epoch, replay.end);
    let Some(numbering) = replay.numbering else {
        // Files without any data on the disk are treated as missing.
        if scanned.epoch.is_some() {
            let found = format!("{} has no file with a readable beginning; it is left as it is", directory.display());
            scanned.damage.push(found);
        }
        scanned.files.clear();
        return Ok(scanned);
    };
    scanned.numbering = Some(numbering);
    (scanned.checkpoints, scanned.private, scanned.runs) = (replay.checkpoints, replay.private, replay.runs);
    (scanned.cleanly_closed, scanned.boot) = (replay.cleanly_closed, replay.boot);
    for (first, path) in files.get(..begin.unwrap_or(0)).unwrap_or_default().iter().rev() {
        let end = scanned.files.front().map_or(*first, |next| next.first);
        let metadata = fs::metadata(path).map_err(HistoryError::at(path))?;
        let newest = metadata.modified().map(Time::from).unwrap_or_default();
        let stored =
            HistoryFile { path: path.clone(), first: *first, end, bytes: metadata.len(), newest, offsets: None };
        scanned.files.push_front(stored);
    }
    Ok(scanned)
}

/// The files of a history by the sequence number of their first event, oldest first.
pub(super) fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, HistoryError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HistoryError::at(directory)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(HistoryError::at(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let seq = name.strip_suffix(HISTORY_FILE_EXTENSION).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        files.extend(seq.map(|seq| (seq, path)));
    }
    files.sort();
    Ok(files)
}

/// The version of the format of a file that begins with a snapshot, as a valid file does; `None` for others, and for a file
/// whose first transaction is incomplete, of which nothing is valid.
fn version_with_snapshot(path: &Path) -> Result<Option<u8>, HistoryError> {
    let mut file = File::open(path).map_err(HistoryError::at(path))?;
    let mut magic = [0; FILE_MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(HistoryError::at(path)(error)),
    }
    let (ours, version) = (FILE_MAGIC[..7] == magic[..7], magic[7]);
    if ours && version > FORMAT_VERSION {
        return Err(HistoryError::Newer(path.to_owned()));
    }
    let length = file.metadata().map_err(HistoryError::at(path))?.len();
    let mut records = RecordReader::new(&file, 0, length);
    let first = records.next().map_err(HistoryError::at(path))?;
    let Some((at, mut head, RecordBody::Snapshot(_))) = first else { return Ok(None) };
    while head.more {
        let Some((_, next, _)) = records.next().map_err(HistoryError::at(path))? else { return Ok(None) };
        head = next;
    }
    Ok((at == FILE_MAGIC.len() as u64).then_some(version))
}

/// The state that the records so far add up to.
#[derive(Debug)]
struct RecordReplay {
    numbering: Option<Numbering>,
    checkpoints: Checkpoints,
    runs: RunTracker,
    private: bool,
    cleanly_closed: bool,
    boot: String,
    epoch: Option<Epoch>,
    end: u64,
    damage: Vec<String>,
    /// The records of a transaction whose end has not come yet.
    group: Vec<(u64, RecordHeader, RecordBody)>,
}

impl RecordReplay {
    fn new(limits: RunLimits) -> Self {
        Self {
            numbering: None,
            checkpoints: Checkpoints::new(),
            runs: RunTracker::new(0, limits),
            private: false,
            cleanly_closed: false,
            boot: String::new(),
            epoch: None,
            end: 0,
            damage: Vec::new(),
            group: Vec::new(),
        }
    }

    /// Replays one file.
    fn file(&mut self, first: u64, path: &Path) -> io::Result<HistoryFile> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut stored =
            HistoryFile { path: path.to_owned(), first, end: first, bytes: 0, newest: Time::default(), offsets: None };
        let mut offsets = Vec::new();
        let mut records = RecordReader::new(&file, 0, length);
        let (mut damaged, mut stretches) = (0, 0);
        while let Some((at, head, body)) = records.next()? {
            self.group.push((at, head, body));
            if !head.more {
                for (at, head, body) in std::mem::take(&mut self.group) {
                    self.apply_record(at, &head, body, &mut stored, &mut offsets);
                }
                stored.bytes = records.at();
                (damaged, stretches) = (records.skipped_bytes, records.damaged_ranges.len());
            }
        }
        // A transaction without its end is invalid, as are records after damage without an end.
        self.group.clear();
        if damaged > 0 {
            let stretches = records.damaged_ranges.iter().take(stretches);
            let ranges: Vec<_> = stretches.map(|stretch| format!("{} to {}", stretch.start, stretch.end)).collect();
            let ranges = ranges.join(", ");
            let what = format!("{} has {damaged} damaged bytes ({ranges}), whose events are lost", path.display());
            self.damage.push(what);
        }
        if stored.bytes < length {
            log::info!(path:% = path.display(), bytes = length - stored.bytes; "the history ends with an incomplete record, which is cut off");
        }
        stored.offsets = Some(Arc::new(offsets));
        Ok(stored)
    }

    fn apply_record(
        &mut self,
        at: u64,
        head: &RecordHeader,
        body: RecordBody,
        stored: &mut HistoryFile,
        offsets: &mut Vec<RecordOffset>,
    ) {
        self.epoch = self.epoch.max(Some(head.first.epoch));
        self.end = self.end.max(head.seq + u64::from(head.count));
        self.cleanly_closed = matches!(body, RecordBody::Closed);
        self.private = head.private.unwrap_or(self.private);
        match body {
            RecordBody::Snapshot(snapshot) => {
                if self.numbering.is_none() {
                    // Older versions recorded no runs, so that only the numbering says where the last one began.
                    if let Some((start, None)) = snapshot.numbering.last_run() {
                        self.runs.begin_before(start);
                    }
                    self.numbering = Some(snapshot.numbering);
                    self.boot = snapshot.boot;
                }
            }
            RecordBody::Opened(opened) => {
                self.boot = opened.boot;
                if let Some(numbering) = &mut self.numbering {
                    numbering.replay_to(head.first, head.seq, head.unknown);
                }
            }
            RecordBody::Closed | RecordBody::Senders(_) => {}
            RecordBody::Run(summary) => self.runs.restore(summary),
            RecordBody::Events { segment, mut checkpoints } => {
                self.private = head.take_privacy(&mut checkpoints).unwrap_or(self.private);
                for change in checkpoints {
                    change.apply_to(&mut self.checkpoints);
                }
                let (Some(segment), Some(numbering)) = (segment, &mut self.numbering) else { return };
                if !numbering.replay_to(head.first, head.seq, head.unknown) {
                    self.damage.push(format!("{} is out of order", head.first));
                    return;
                }
                numbering.add_segment(&segment);
                self.runs.replay(&segment);
                stored.end = segment.end();
                stored.newest = segment.time(segment.len() - 1);
                push_offset(offsets, RecordOffset { seq: head.seq, offset: at, time: head.time });
            }
        }
    }
}
