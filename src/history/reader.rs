//! Reads events back from disk. Readers do not delay the writer: each read opens the file separately.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use log::warn;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::event::Time;
use crate::history::record::RecordBody;
use crate::segment::BackwardSearch;
use crate::segment::Segment;
use crate::segment::Slice;

use super::files::{HistoryFile, StreamFiles};
use super::record_reader::RecordReader;

/// Read access to the events of one stream on disk; clones share the same files.
#[derive(Debug, Clone)]
pub(crate) struct HistoryReader {
    volume: Arc<StreamFiles>,
    read_permits: Arc<Semaphore>,
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
    pub(super) fn new(volume: Arc<StreamFiles>, permits: Arc<Semaphore>) -> Self {
        Self { volume, read_permits: permits }
    }

    /// The sequence numbers on disk, with holes among them.
    pub(crate) fn seq_range(&self) -> Range<u64> {
        self.volume.seq_range()
    }

    /// The size on disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.volume.bytes()
    }

    /// The events from the sequence number `place` to before `bound`, about `bytes` of text.
    pub(crate) async fn read(&self, place: u64, bound: u64, bytes: usize) -> HistoryRead {
        let got = self.ask(move |volume| read(volume, place, bound, bytes)).await;
        got.unwrap_or(HistoryRead::Hole(bound))
    }

    /// The sequence number of the last line that `search` looks for before `bound`, or of the oldest event if there are
    /// fewer; and how many lines were matched against the filter. `None` if there is no event.
    pub(crate) async fn find_backwards(&self, search: BackwardSearch, bound: u64) -> Option<(u64, u64)> {
        self.ask(move |volume| find_backwards_in(volume, search, bound)).await.flatten()
    }

    /// The sequence number of the first event that was read at `time` or later; `None` if there is none.
    pub(crate) async fn since(&self, time: Time) -> Option<u64> {
        self.ask(move |volume| since(volume, time)).await.flatten()
    }

    /// Runs blocking work on a thread for such work; `None` if the disk or the runtime fails.
    async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StreamFiles) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let permit = self.read_permits.clone().acquire_owned().await.ok()?;
        let volume = self.volume.clone();
        let looked = spawn_blocking(move || {
            let outcome = look(&volume);
            drop(permit);
            outcome.inspect_err(|error| {
                let (directory, errno) = (volume.directory.display(), error.raw_os_error());
                warn!(directory:% = directory, errno = errno, error:% = error; "the history cannot be read");
            })
        });
        looked.await.ok()?.ok()
    }
}

/// The files with events from the sequence number `place` on, oldest first.
fn files_from(volume: &StreamFiles, place: u64) -> Vec<HistoryFile> {
    volume.files().list.iter().filter(|file| file.end > place && file.end > file.first).cloned().collect()
}

/// Passes the segments from the sequence number `place` on to `take`, until it wants no more.
pub(super) fn for_each_segment_from(
    volume: &StreamFiles,
    place: u64,
    mut take: impl FnMut(Segment) -> bool,
) -> io::Result<()> {
    for stored in files_from(volume, place) {
        let Some(file) = volume.open(&stored)? else { continue };
        let marks = volume.marks(&stored)?;
        let at = marks.partition_point(|mark| mark.seq <= place);
        let offset = at.checked_sub(1).map_or(0, |at| marks[at].offset);
        let mut records = RecordReader::new(&file, offset, stored.bytes);
        let mut wants_more = true;
        while wants_more && let Some((_, _, body)) = records.next()? {
            let RecordBody::Events { segment: Some(segment), .. } = body else { continue };
            wants_more = segment.end() <= place || take(segment);
        }
        volume.report(&stored, &records.damaged_ranges);
        if !wants_more {
            break;
        }
    }
    Ok(())
}

fn read(volume: &StreamFiles, place: u64, bound: u64, bytes: usize) -> io::Result<HistoryRead> {
    let mut slices: Vec<Slice> = Vec::new();
    let mut hole = bound;
    let (mut next, mut text) = (place, 0);
    for_each_segment_from(volume, place, |segment| {
        if slices.is_empty() && segment.seq() > place {
            hole = segment.seq().min(bound);
            return false;
        }
        if !slices.is_empty() && segment.seq() != next || segment.seq() >= bound {
            return false;
        }
        next = segment.end();
        text += segment.text_len();
        let from = usize::try_from(place.saturating_sub(segment.seq())).unwrap_or(0);
        let to = usize::try_from(bound - segment.seq()).unwrap_or(usize::MAX).min(segment.len());
        slices.push(Slice { segment: Arc::new(segment), from, to });
        text < bytes
    })?;
    Ok(if slices.is_empty() { HistoryRead::Hole(hole) } else { HistoryRead::Events(slices) })
}

fn find_backwards_in(volume: &StreamFiles, mut search: BackwardSearch, bound: u64) -> io::Result<Option<(u64, u64)>> {
    let mut oldest = None;
    for stored in files_from(volume, 0).into_iter().rev() {
        let Some(file) = volume.open(&stored)? else { continue };
        let marks = volume.marks(&stored)?;
        let mut until = stored.bytes;
        for mark in marks.iter().rev() {
            let limit = std::mem::replace(&mut until, mark.offset);
            let mut segments = Vec::new();
            let mut records = RecordReader::new(&file, mark.offset, limit);
            while mark.seq < bound
                && let Some((_, _, body)) = records.next()?
            {
                let RecordBody::Events { segment, .. } = body else { continue };
                segments.extend(segment.filter(|segment| segment.seq() < bound));
            }
            volume.report(&stored, &records.damaged_ranges);
            if let Some(place) = segments.iter().rev().find_map(|segment| search.find_in(segment, bound)) {
                return Ok(Some((place, search.filter_checks)));
            }
            oldest = segments.first().map(Segment::seq).or(oldest);
        }
    }
    Ok(oldest.map(|oldest| (oldest, search.filter_checks)))
}

fn since(volume: &StreamFiles, time: Time) -> io::Result<Option<u64>> {
    let mut from = None;
    for stored in files_from(volume, 0) {
        if stored.newest < time {
            continue;
        }
        let marks = volume.marks(&stored)?;
        let at = marks.partition_point(|mark| mark.time < time);
        from = Some(at.checked_sub(1).map_or(stored.first, |at| marks[at].seq));
        break;
    }
    let Some(from) = from else { return Ok(None) };
    let mut found = None;
    for_each_segment_from(volume, from, |segment| {
        let at = segment.before(time);
        if at < segment.len() {
            found = Some(segment.seq() + at as u64);
        }
        found.is_none()
    })?;
    Ok(found)
}
