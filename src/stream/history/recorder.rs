//! The writing side of one stream's history: what is recorded, and what is not yet since the disk does not take it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::event::Time;
use crate::stream::numbering::Numbering;
use crate::stream::record::{Snapshot, Writer};
use crate::stream::segment::{Places, Segment};

use super::Keep;
use super::behind::Behind;
use super::group::{Group, Next};
use super::volume::Volume;
use super::writer::{Act, Job};

/// The longest that readers wait for the disk. What is written is in the page cache then, so this is far more than a disk
/// in order needs; but a machine under load keeps a thread waiting for tens of milliseconds, and each time we do not wait
/// costs the stream an epoch.
const LATE: Duration = Duration::from_millis(500);

/// A disk that does not take what we write is asked again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// At the end, the disk may take this long for the last words.
const LAST: Duration = Duration::from_secs(5);

/// Files of a history: so many fit what may be kept, so that dropping one drops little.
const FILES: u64 = 32;

/// Least and most bytes in one file, but for its snapshot.
const LEAST_FILE: u64 = 64 << 10;
const MOST_FILE: u64 = 8 << 20;

/// How often it is looked whether something is too old.
const PRUNE: Duration = Duration::from_mins(1);

/// Writes one stream's history.
#[derive(Debug)]
pub(in crate::stream) struct Recorder {
    pub(super) volume: Arc<Volume>,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) boot: Arc<str>,
    keep: Keep,
    /// The places that are recorded.
    pub(super) places: Places,
    /// Those that are not, since they changed while the disk did not take them.
    pub(super) pending: BTreeMap<String, Option<String>>,
    /// Whether it is recorded that we write.
    pub(super) opened: bool,
    /// The place after the last event that is recorded.
    pub(super) end: u64,
    /// When the oldest event in the newest file was read.
    pub(super) began: Option<Time>,
    /// How long the snapshot in front of the newest file is.
    snapshot: u64,
    pub(super) behind: Option<Behind>,
    pruned: Instant,
}

/// The segments in memory from a place on, and how all are numbered.
pub(in crate::stream) trait Memory: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync {}

impl<F: Fn(u64) -> (Vec<Arc<Segment>>, Numbering) + Send + Sync> Memory for F {}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::stream) enum Outcome {
    /// It is recorded.
    Recorded,
    /// It is not, as those before it.
    Behind,
    /// It is not, and it is the first one. Why.
    Failed(String),
}

impl Recorder {
    pub(super) fn new(
        volume: Arc<Volume>,
        jobs: mpsc::Sender<Job>,
        boot: Arc<str>,
        keep: Keep,
        places: Places,
        end: u64,
    ) -> Self {
        let began = volume.files().list.back().and_then(|newest| Some(newest.marks.as_ref()?.first()?.time));
        let (pending, pruned) = (BTreeMap::new(), Instant::now());
        Self { volume, jobs, boot, keep, places, pending, opened: false, end, began, snapshot: 0, behind: None, pruned }
    }

    /// The places that the disk holds.
    pub(in crate::stream) fn range(&self) -> Range<u64> {
        self.volume.range()
    }

    /// Why the disk does not take what comes; `None` while it does.
    pub(in crate::stream) fn degraded(&self) -> Option<&str> {
        self.behind.as_ref().map(|behind| behind.reason.as_str())
    }

    /// The place after the last event that is recorded.
    pub(in crate::stream) fn end(&self) -> u64 {
        self.end
    }

    /// Records segments together with the places after them; they begin with `next`, and memory has only what is before
    /// them. Do not drop it before it is done.
    pub(in crate::stream) async fn record(
        &mut self,
        next: Next,
        memory: impl Memory,
        segments: &[Segment],
        places: Vec<(String, Option<String>)>,
    ) -> Outcome {
        if self.behind.is_some() {
            self.pending.extend(places);
            return Outcome::Behind;
        }
        match self.try_record(next, &memory, segments, &places).await {
            Ok(()) => {
                take_places(&mut self.places, places);
                self.end = segments.last().map_or(self.end, Segment::end);
                self.began = self.began.or_else(|| segments.first().map(|segment| segment.time(0)));
                Outcome::Recorded
            }
            Err(error) => {
                let reason = format!("the history cannot be written: {error}");
                self.pending.extend(places);
                self.behind = Some(Behind::new(reason.clone(), memory(u64::MAX).1, self.end));
                Outcome::Failed(reason)
            }
        }
    }

    async fn try_record(
        &mut self,
        next: Next,
        memory: &impl Memory,
        segments: &[Segment],
        places: &[(String, Option<String>)],
    ) -> io::Result<()> {
        if self.wants_new_file() {
            let roll = self.roll(&memory(u64::MAX).1);
            self.hand_over(roll).await?;
            (self.opened, self.began) = (true, None);
        }
        let mut group = Group::new(self.end);
        if !self.opened {
            group.opened(next, &self.boot);
        }
        group.append(next, segments, places);
        self.hand_over(Act::Add(group.whole())).await?;
        self.opened = true;
        Ok(())
    }

    /// Hands something over and waits until it is done, but not for long.
    async fn hand_over(&self, act: Act) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {LATE:?}"));
        let (done, mut outcome) = oneshot::channel();
        let job = Job { volume: self.volume.clone(), act, done };
        let wait = async {
            let sent = self.jobs.send(job).await;
            sent.map_err(|_| gone())?;
            (&mut outcome).await.map_err(|_| gone())?
        };
        let waited = timeout(LATE, wait).await;
        waited.unwrap_or_else(|_| {
            // It may be done this moment; once closed, it will be taken back.
            outcome.close();
            outcome.try_recv().unwrap_or_else(|_| Err(late()))
        })
    }

    /// A new file, which begins with all that is known up to `numbering`.
    pub(super) fn roll(&mut self, numbering: &Numbering) -> Act {
        let (first, seq) = (numbering.next_id(), numbering.next());
        let mut writer = Writer::default();
        let snapshot = Snapshot { numbering: numbering.clone(), boot: self.boot.to_string() };
        writer.snapshot(first, seq, &snapshot);
        writer.places(first, seq, self.places.iter().map(|(key, place)| (key, Some(place))));
        writer.end();
        self.snapshot = writer.bytes.len() as u64;
        Act::Roll { seq, bytes: writer.bytes, most: self.keep.bytes.saturating_sub(self.full()) }
    }

    /// How much goes into one file, but for its snapshot.
    fn full(&self) -> u64 {
        (self.keep.bytes / FILES).clamp(LEAST_FILE, MOST_FILE).max(4 * self.snapshot)
    }

    /// Whether the newest file is full, or too old to be dropped in time as a whole, or not there.
    fn wants_new_file(&self) -> bool {
        let files = self.volume.files();
        let Some(newest) = files.list.back() else { return true };
        newest.bytes >= self.full() + self.snapshot || self.is_aged()
    }

    /// Whether the newest file began so long ago that another should.
    fn is_aged(&self) -> bool {
        self.began.is_some_and(|began| began < ago(self.keep.age / 8))
    }

    /// Waits until something is due, and does it: what memory holds and the disk does not is written once the disk takes it,
    /// and what is too old is dropped. `memory` gives segments from a place on, and the numbering of all.
    ///
    /// Gives back true when the disk holds all again. May be dropped at any time.
    pub(in crate::stream) async fn upkeep(&mut self, memory: impl Memory) -> bool {
        loop {
            if self.behind.is_some() {
                if self.catch_up(&memory).await {
                    return true;
                }
            } else {
                tokio::time::sleep_until(self.pruned + PRUNE).await;
                self.pruned = Instant::now();
                self.prune(&memory).await;
            }
        }
    }

    /// Drops what is too old. A failure shows at the next append.
    async fn prune(&mut self, memory: &impl Memory) {
        let before = ago(self.keep.age);
        let (silent, more) = {
            let files = self.volume.files();
            let old = |at: usize| files.list.get(at).is_some_and(|file| file.newest < before && file.first < file.end);
            (files.list.len() == 1 && old(0), old(0))
        };
        if silent || self.is_aged() {
            let roll = self.roll(&memory(u64::MAX).1);
            if self.hand_over(roll).await.is_ok() {
                (self.opened, self.began) = (true, None);
            }
        }
        if more {
            self.hand_over(Act::Prune { before }).await.unwrap_or_default();
        }
    }

    /// Records that this is the end. It is on the disk once the history is closed.
    pub(in crate::stream) async fn close(mut self, memory: impl Memory) -> io::Result<()> {
        let last = async {
            while self.behind.is_some() {
                self.catch_up(&memory).await;
            }
            let numbering = memory(u64::MAX).1;
            if !self.opened {
                // Nothing came: all is as it was.
                return Ok(());
            }
            let mut group = Group::new(self.end);
            group.closed(Next::of(&numbering, self.end));
            let (done, outcome) = oneshot::channel();
            let act = Act::Add(group.whole());
            let sent = self.jobs.send(Job { volume: self.volume.clone(), act, done }).await;
            sent.map_err(|_| gone())?;
            outcome.await.map_err(|_| gone())?
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the disk took longer than {LAST:?}"));
        timeout(LAST, last).await.unwrap_or_else(|_| Err(late()))
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::other("the thread that writes is gone")
}

fn ago(span: Duration) -> Time {
    SystemTime::now().checked_sub(span).map(Time::from).unwrap_or_default()
}

pub(super) fn take_places(known: &mut Places, places: impl IntoIterator<Item = (String, Option<String>)>) {
    for (key, place) in places {
        match place {
            Some(place) => known.insert(key, place),
            None => known.remove(&key),
        };
    }
}
