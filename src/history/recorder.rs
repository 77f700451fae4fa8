//! The writing side of one stream's history: what is recorded, and what is not yet since the disk does not take it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::event::Time;
use crate::history::record::{RecordWriter, Snapshot};
use crate::segment::Numbering;
use crate::segment::{Checkpoints, Segment};

use super::Retention;
use super::catch_up::Backlog;
use super::files::StreamFiles;
use super::transaction::{NextEvent, Transaction};
use super::writer::{WriteJob, WriteOperation};

/// The longest that readers wait for the disk. What is written is in the page cache then, so this is far more than a disk
/// in order needs; but a machine under load keeps a thread waiting for tens of milliseconds, and each time we do not wait
/// costs the stream an epoch.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);

/// A disk that does not take what we write is asked again after this time.
pub(super) const RECORD_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// At the end, the disk may take this long for the last words.
const HISTORY_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Files of a history: so many fit what may be kept, so that dropping one drops little.
const FILES_PER_HISTORY: u64 = 32;

/// Least and most bytes in one file, but for its snapshot.
const MIN_HISTORY_FILE_SIZE: u64 = 64 << 10;
const MAX_HISTORY_FILE_SIZE: u64 = 8 << 20;

/// How often it is looked whether something is too old.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// Writes one stream's history.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(super) volume: Arc<StreamFiles>,
    pub(super) jobs: mpsc::Sender<WriteJob>,
    pub(super) boot: Arc<str>,
    keep: Retention,
    /// The places that are recorded.
    pub(super) places: Checkpoints,
    /// Those that are not, since they changed while the disk did not take them.
    pub(super) pending_checkpoints: BTreeMap<String, Option<String>>,
    /// Whether it is recorded that we write.
    pub(super) opened: bool,
    /// The place after the last event that is recorded.
    pub(super) end: u64,
    /// When the oldest event in the newest file was read.
    pub(super) began: Option<Time>,
    /// How long the snapshot in front of the newest file is.
    snapshot_size: u64,
    pub(super) behind: Option<Backlog>,
    last_prune: Instant,
}

/// The segments in memory from a place on, and how all are numbered.
pub(crate) trait SegmentsInMemory: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync {}

impl<F: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync> SegmentsInMemory for F {}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RecordOutcome {
    /// It is recorded.
    Recorded,
    /// It is not, as those before it.
    Deferred,
    /// It is not, and it is the first one. Why.
    Failed(String),
}

impl Recorder {
    pub(super) fn new(
        volume: Arc<StreamFiles>,
        jobs: mpsc::Sender<WriteJob>,
        boot: Arc<str>,
        keep: Retention,
        places: Checkpoints,
        end: u64,
    ) -> Self {
        let began = volume.files().list.back().and_then(|newest| Some(newest.marks.as_ref()?.first()?.time));
        let (pending, pruned) = (BTreeMap::new(), Instant::now());
        Self {
            volume,
            jobs,
            boot,
            keep,
            places,
            pending_checkpoints: pending,
            opened: false,
            end,
            began,
            snapshot_size: 0,
            behind: None,
            last_prune: pruned,
        }
    }

    /// The places that the disk holds.
    pub(crate) fn seq_range(&self) -> Range<u64> {
        self.volume.seq_range()
    }

    /// Why the disk does not take what comes; `None` while it does.
    pub(crate) fn degraded_reason(&self) -> Option<&str> {
        self.behind.as_ref().map(|behind| behind.reason.as_str())
    }

    /// The place after the last event that is recorded.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Records segments together with the places after them; they begin with `next`, and memory has only what is before
    /// them. Do not drop it before it is done.
    pub(crate) async fn record(
        &mut self,
        next: NextEvent,
        memory: impl SegmentsInMemory,
        segments: &[Segment],
        places: Vec<(String, Option<String>)>,
    ) -> RecordOutcome {
        if self.behind.is_some() {
            self.pending_checkpoints.extend(places);
            return RecordOutcome::Deferred;
        }
        match self.try_record(next, &memory, segments, &places).await {
            Ok(()) => {
                apply_checkpoints(&mut self.places, places);
                self.end = segments.last().map_or(self.end, Segment::end);
                self.began = self.began.or_else(|| segments.first().map(|segment| segment.time(0)));
                RecordOutcome::Recorded
            }
            Err(error) => {
                let reason = format!("the history cannot be written: {error}");
                self.pending_checkpoints.extend(places);
                self.behind = Some(Backlog::new(reason.clone(), memory(u64::MAX).1, self.end));
                RecordOutcome::Failed(reason)
            }
        }
    }

    async fn try_record(
        &mut self,
        next: NextEvent,
        memory: &impl SegmentsInMemory,
        segments: &[Segment],
        places: &[(String, Option<String>)],
    ) -> io::Result<()> {
        if self.wants_new_file() {
            let roll = self.roll_file(&memory(u64::MAX).1);
            self.submit(roll).await?;
            (self.opened, self.began) = (true, None);
        }
        let mut group = Transaction::new(self.end);
        if !self.opened {
            group.opened(next, &self.boot);
        }
        group.append(next, segments, places);
        self.submit(WriteOperation::Append(group.whole())).await?;
        self.opened = true;
        Ok(())
    }

    /// Hands something over and waits until it is done, but not for long.
    async fn submit(&self, act: WriteOperation) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {RECORD_TIMEOUT:?}"));
        let (done, mut outcome) = oneshot::channel();
        let job = WriteJob { volume: self.volume.clone(), operation: act, done };
        let wait = async {
            let sent = self.jobs.send(job).await;
            sent.map_err(|_| gone())?;
            (&mut outcome).await.map_err(|_| gone())?
        };
        let waited = timeout(RECORD_TIMEOUT, wait).await;
        waited.unwrap_or_else(|_| {
            // It may be done this moment; once closed, it will be taken back.
            outcome.close();
            outcome.try_recv().unwrap_or_else(|_| Err(late()))
        })
    }

    /// A new file, which begins with all that is known up to `numbering`.
    pub(super) fn roll_file(&mut self, numbering: &Numbering) -> WriteOperation {
        let (first, seq) = (numbering.next_id(), numbering.next());
        let mut writer = RecordWriter::default();
        let snapshot = Snapshot { numbering: numbering.clone(), boot: self.boot.to_string() };
        writer.put_snapshot(first, seq, &snapshot);
        writer.places(first, seq, self.places.iter().map(|(key, place)| (key, Some(place))));
        writer.end();
        self.snapshot_size = writer.bytes.len() as u64;
        WriteOperation::Roll { seq, bytes: writer.bytes, most: self.keep.bytes.saturating_sub(self.file_capacity()) }
    }

    /// How much goes into one file, but for its snapshot.
    fn file_capacity(&self) -> u64 {
        (self.keep.bytes / FILES_PER_HISTORY)
            .clamp(MIN_HISTORY_FILE_SIZE, MAX_HISTORY_FILE_SIZE)
            .max(4 * self.snapshot_size)
    }

    /// Whether the newest file is full, or too old to be dropped in time as a whole, or not there.
    fn wants_new_file(&self) -> bool {
        let files = self.volume.files();
        let Some(newest) = files.list.back() else { return true };
        newest.bytes >= self.file_capacity() + self.snapshot_size || self.is_newest_file_old()
    }

    /// Whether the newest file began so long ago that another should.
    fn is_newest_file_old(&self) -> bool {
        self.began.is_some_and(|began| began < time_before_now(self.keep.age / 8))
    }

    /// Waits until something is due, and does it: what memory holds and the disk does not is written once the disk takes it,
    /// and what is too old is dropped. `memory` gives segments from a place on, and the numbering of all.
    ///
    /// Gives back true when the disk holds all again. May be dropped at any time.
    pub(crate) async fn maintain(&mut self, memory: impl SegmentsInMemory) -> bool {
        loop {
            if self.behind.is_some() {
                if self.catch_up(&memory).await {
                    return true;
                }
            } else {
                tokio::time::sleep_until(self.last_prune + PRUNE_INTERVAL).await;
                self.last_prune = Instant::now();
                self.prune(&memory).await;
            }
        }
    }

    /// Drops what is too old. A failure shows at the next append.
    async fn prune(&mut self, memory: &impl SegmentsInMemory) {
        let before = time_before_now(self.keep.age);
        let (silent, more) = {
            let files = self.volume.files();
            let old = |at: usize| files.list.get(at).is_some_and(|file| file.newest < before && file.first < file.end);
            (files.list.len() == 1 && old(0), old(0))
        };
        if silent || self.is_newest_file_old() {
            let roll = self.roll_file(&memory(u64::MAX).1);
            if self.submit(roll).await.is_ok() {
                (self.opened, self.began) = (true, None);
            }
        }
        if more {
            self.submit(WriteOperation::Prune { before }).await.unwrap_or_default();
        }
    }

    /// Records that this is the end. It is on the disk once the history is closed.
    pub(crate) async fn close(mut self, memory: impl SegmentsInMemory) -> io::Result<()> {
        let last = async {
            while self.behind.is_some() {
                self.catch_up(&memory).await;
            }
            let numbering = memory(u64::MAX).1;
            if !self.opened {
                // Nothing came: all is as it was.
                return Ok(());
            }
            let mut group = Transaction::new(self.end);
            group.add_closed(NextEvent::of(&numbering, self.end));
            let (done, outcome) = oneshot::channel();
            let act = WriteOperation::Append(group.whole());
            let sent = self.jobs.send(WriteJob { volume: self.volume.clone(), operation: act, done }).await;
            sent.map_err(|_| gone())?;
            outcome.await.map_err(|_| gone())?
        };
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {HISTORY_CLOSE_TIMEOUT:?}"));
        timeout(HISTORY_CLOSE_TIMEOUT, last).await.unwrap_or_else(|_| Err(late()))
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::other("the thread that writes is gone")
}

fn time_before_now(span: Duration) -> Time {
    SystemTime::now().checked_sub(span).map(Time::from).unwrap_or_default()
}

pub(super) fn apply_checkpoints(known: &mut Checkpoints, places: impl IntoIterator<Item = (String, Option<String>)>) {
    for (key, place) in places {
        match place {
            Some(place) => known.insert(key, place),
            None => known.remove(&key),
        };
    }
}
