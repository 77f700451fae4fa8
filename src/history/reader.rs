//! Reads events back from disk. Readers do not delay the writer: each read opens the file separately.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::event::{Event, EventKind, RunEnd, RunInfo, Time};
use crate::history::record::RecordBody;
use crate::segment::BackwardSearch;
use crate::segment::Segment;
use crate::segment::{Numbering, Slice};

use super::files::{HistoryFile, StreamFiles};
use super::record_reader::RecordReader;
use super::{Retention, SharedRetention};

/// Read access to the events of one stream on disk; clones share the same files.
#[derive(Debug, Clone)]
pub(crate) struct HistoryReader {
    files: Arc<StreamFiles>,
    read_permits: Arc<Semaphore>,
    retention: SharedRetention,
}

/// The result of a read.
#[derive(Debug)]
pub(crate) enum HistoryRead {
    /// At least one slice, each with at least one event.
    Events(Vec<Slice>),
    /// The events are lost or never came; the next ones begin here at the earliest.
    Hole(u64),
}

impl HistoryReader {
    pub(super) fn new(files: Arc<StreamFiles>, permits: Arc<Semaphore>, retention: SharedRetention) -> Self {
        Self { files, read_permits: permits, retention }
    }

    /// The bounds on what is kept.
    pub(crate) fn retention(&self) -> Retention {
        self.retention.get()
    }

    /// Changes the bounds on what is kept.
    pub(crate) fn set_retention(&self, retention: Retention) {
        self.retention.set(retention);
    }

    /// The sequence numbers on disk, with holes among them.
    pub(crate) fn seq_range(&self) -> Range<u64> {
        self.files.seq_range()
    }

    /// The size on disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// The events from the sequence number `seq` to before `bound`, about `bytes` of text.
    pub(crate) async fn read(&self, seq: u64, bound: u64, bytes: usize) -> HistoryRead {
        let got = self.run_blocking(move |files| read(files, seq, bound, bytes)).await;
        got.unwrap_or(HistoryRead::Hole(bound))
    }

    /// The sequence number of the last line that `search` looks for before `bound`, or of the oldest event if there are
    /// fewer; and how many lines were matched against the filter. `None` if there is no event.
    pub(crate) async fn find_backwards(&self, search: BackwardSearch, bound: u64) -> Option<(u64, u64)> {
        self.run_blocking(move |files| find_backwards_in(files, search, bound)).await.flatten()
    }

    /// The sequence number of the first event that was read at `time` or later; `None` if there is none.
    pub(crate) async fn since(&self, time: Time) -> Option<u64> {
        self.run_blocking(move |files| since(files, time)).await.flatten()
    }

    /// Runs blocking work on a thread for such work; `None` if the disk or the runtime fails.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StreamFiles) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let permit = self.read_permits.clone().acquire_owned().await.ok()?;
        let files = self.files.clone();
        let done = spawn_blocking(move || {
            let outcome = work(&files);
            drop(permit);
            outcome.inspect_err(|error| {
                let (directory, errno) = (files.directory.display(), error.raw_os_error());
                warn!(directory:% = directory, errno = errno, error:% = error; "the history cannot be read");
            })
        });
        done.await.ok()?.ok()
    }
}

/// The files with events from the sequence number `seq` on, oldest first.
fn files_from(files: &StreamFiles, seq: u64) -> Vec<HistoryFile> {
    files.files().list.iter().filter(|file| file.end > seq && file.end > file.first).cloned().collect()
}

/// Passes the segments from the sequence number `seq` on to `take`, until it wants no more.
pub(super) fn for_each_segment_from(
    files: &StreamFiles,
    seq: u64,
    mut take: impl FnMut(Segment) -> bool,
) -> io::Result<()> {
    for stored in files_from(files, seq) {
        let Some(file) = files.open(&stored)? else { continue };
        let offsets = files.offsets(&stored)?;
        let at = offsets.partition_point(|record| record.seq <= seq);
        let offset = at.checked_sub(1).map_or(0, |at| offsets[at].offset);
        let mut records = RecordReader::new(&file, offset, stored.bytes);
        let mut wants_more = true;
        while wants_more && let Some((_, _, body)) = records.next()? {
            let RecordBody::Events { segment: Some(segment), .. } = body else { continue };
            wants_more = segment.end() <= seq || take(segment);
        }
        files.report(&stored, &records.damaged_ranges);
        if !wants_more {
            break;
        }
    }
    Ok(())
}

/// The last run, by the events of its start and its end; `None` if there was none, or its end is no longer kept. The start of a
/// run whose first event is no longer kept follows from its duration. Blocks: two records are read, and at most two files
/// are searched for them.
pub(super) fn last_run(files: &StreamFiles, numbering: &Numbering) -> io::Result<Option<RunInfo>> {
    let Some((start, end)) = numbering.last_run() else { return Ok(None) };
    let ended = match end {
        None => None,
        Some(end) => {
            let ended = read_event(files, end, |event| {
                let end = (event.kind == EventKind::End).then(|| serde_json::from_slice::<RunEnd>(event.text).ok());
                Some((event.time, end.flatten()?))
            })?;
            let Some(ended) = ended else { return Ok(None) };
            Some(ended)
        }
    };
    let started = read_event(files, start, |event| (event.kind == EventKind::State).then_some(event.time))?;
    let by_duration = || {
        let (time, end) = ended.as_ref()?;
        Some(time.minus(Duration::try_from_secs_f64(end.duration?).ok()?))
    };
    Ok(started.or_else(by_duration).map(|started| RunInfo { started, ended }))
}

/// What `read` returns for the event with the sequence number `seq`; `None` if there is no such event.
fn read_event<T>(files: &StreamFiles, seq: u64, read: impl Fn(Event<'_>) -> Option<T>) -> io::Result<Option<T>> {
    let mut found = None;
    for_each_segment_from(files, seq, |segment| {
        let at = seq.checked_sub(segment.seq()).and_then(|at| usize::try_from(at).ok());
        found = at.and_then(|at| read(segment.event(at)));
        false
    })?;
    Ok(found)
}

fn read(files: &StreamFiles, seq: u64, bound: u64, bytes: usize) -> io::Result<HistoryRead> {
    let mut slices: Vec<Slice> = Vec::new();
    let mut hole = bound;
    let (mut next, mut text) = (seq, 0);
    for_each_segment_from(files, seq, |segment| {
        if slices.is_empty() && segment.seq() > seq {
            hole = segment.seq().min(bound);
            return false;
        }
        if !slices.is_empty() && segment.seq() != next || segment.seq() >= bound {
            return false;
        }
        next = segment.end();
        text += segment.text_len();
        let from = usize::try_from(seq.saturating_sub(segment.seq())).unwrap_or(0);
        let to = usize::try_from(bound - segment.seq()).unwrap_or(usize::MAX).min(segment.len());
        slices.push(Slice { segment: Arc::new(segment), from, to });
        text < bytes
    })?;
    Ok(if slices.is_empty() { HistoryRead::Hole(hole) } else { HistoryRead::Events(slices) })
}

fn find_backwards_in(files: &StreamFiles, mut search: BackwardSearch, bound: u64) -> io::Result<Option<(u64, u64)>> {
    let mut oldest = None;
    for stored in files_from(files, 0).into_iter().rev() {
        let Some(file) = files.open(&stored)? else { continue };
        let offsets = files.offsets(&stored)?;
        let mut until = stored.bytes;
        for record in offsets.iter().rev() {
            let limit = std::mem::replace(&mut until, record.offset);
            let mut segments = Vec::new();
            let mut records = RecordReader::new(&file, record.offset, limit);
            while record.seq < bound
                && let Some((_, _, body)) = records.next()?
            {
                let RecordBody::Events { segment, .. } = body else { continue };
                segments.extend(segment.filter(|segment| segment.seq() < bound));
            }
            files.report(&stored, &records.damaged_ranges);
            if let Some(seq) = segments.iter().rev().find_map(|segment| search.find_in(segment, bound)) {
                return Ok(Some((seq, search.filter_checks)));
            }
            oldest = segments.first().map(Segment::seq).or(oldest);
        }
    }
    Ok(oldest.map(|oldest| (oldest, search.filter_checks)))
}

fn since(files: &StreamFiles, time: Time) -> io::Result<Option<u64>> {
    let mut from = None;
    for stored in files_from(files, 0) {
        if stored.newest < time {
            continue;
        }
        let offsets = files.offsets(&stored)?;
        let at = offsets.partition_point(|record| record.time < time);
        from = Some(at.checked_sub(1).map_or(stored.first, |at| offsets[at].seq));
        break;
    }
    let Some(from) = from else { return Ok(None) };
    let mut found = None;
    for_each_segment_from(files, from, |segment| {
        let at = segment.before(time);
        if at < segment.len() {
            found = Some(segment.seq() + at as u64);
        }
        found.is_none()
    })?;
    Ok(found)
}
