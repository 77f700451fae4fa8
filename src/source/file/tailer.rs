//! All files of one stream, and the schedule in which they are examined. Blocks; has no task of its own.
//!
//! The work is one function, [`Tailer::run_pass`]: a pass over the paths that are due or were notified, which reads
//! about a mebibyte and says when the next pass is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::time::Instant;

use crate::config::{FileSelector as Named, FileSourceConfig, ReadFrom, Stream};
use crate::event::{Origin, StreamName};
use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::stream::{Batch, Checkpoints, ReadRoom};

use super::checkpoint::Checkpoint;
use super::claims::Claims;
use super::fingerprint::{Fingerprint, Identity, unix_nanos};
use super::glob::Globs;
use super::pass::{PassContext, PassRoom, TailSettings};
use super::path::PathTail;
use super::rotation::old_files::{OLD_FILE_NUMBERS, left_fifo_number};
use super::rotation::siblings::{DirectoryIndex, originals};
use super::scheduler::Scheduler;
use super::status::{PathStatus, StatusReporter};
use super::target::{PathTarget, is_symlink};
use crate::source::file::watch::watch_set::WatchSet;
use crate::source::file::watch::watcher::{Mailbox, Watcher};

/// The number of last lines that are emitted of the files that exist at the start: enough to see what they are about.
const INITIAL_LINES: usize = 100;

/// The limits of one pass: bytes read, files read, and paths examined. Then the batch is appended, so that readers need
/// not wait for the rest.
const MAX_BYTES_PER_PASS: usize = 1 << 20;
const MAX_READS_PER_PASS: usize = 256;
const MAX_CHECKS_PER_PASS: usize = 4 << 10;

/// The poll intervals of watched files, active ones and others (spread): only a safety net for lost notifications.
const WATCHED_POLL_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// The poll interval of watched paths that name nothing.
const MISSING_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The poll intervals of unwatched files, active ones and others: readers wait this long for a line.
const UNWATCHED_POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Each unwatched file adds this much to the interval of the inactive ones: ten thousand are polled in 20 s.
const UNWATCHED_POLL_PER_FILE: Duration = Duration::from_millis(2);

/// The maximum number of checkpoints kept of paths that a pattern found and that no longer exist.
const MAX_GONE_PATHS: usize = 256;

/// The time of the next pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextPass {
    /// At once: there is more to do.
    Now,
    /// When there is room for more bytes: readers are to take events first.
    AfterReaders,
    /// On a wake, or at this time.
    At(Instant),
}

/// The files of one stream.
#[derive(Debug)]
pub(super) struct Tailer {
    stream: StreamName,
    settings: TailSettings,
    from: ReadFrom,
    /// Further directories into which a rotation may move files.
    rotated: Arc<[PathBuf]>,
    pub(super) watcher: Watcher,
    mailbox: Arc<Mailbox>,
    globs: Globs,
    /// The time at which all directories are listed again.
    scan_at: Option<Instant>,
    /// The paths, by their numbers; a free number is used again.
    tails: Vec<Option<PathTail>>,
    free_ids: Vec<usize>,
    by_path: HashMap<PathBuf, usize>,
    watch_set: WatchSet,
    /// Paths that wait until another path leaves a file that they name, too.
    aliases: HashMap<Identity, BTreeSet<usize>>,
    fifos: BTreeMap<usize, Identity>,
    /// The numbers of paths that ceased to name a FIFO.
    left_fifos: Vec<usize>,
    scheduler: Scheduler,
    pipeline: LinePipeline,
    room: PassRoom,
    /// The number of bytes that the last pass read.
    bytes_read: usize,
    claims: Claims,
    index: DirectoryIndex,
    status: StatusReporter,
    /// Checkpoints of files that were not found yet or no longer exist, and the time of the latest record, in
    /// nanoseconds since the Unix epoch.
    saved: BTreeMap<String, Checkpoint>,
    recorded: Option<u64>,
    /// The time of the last pass, in nanoseconds since the Unix epoch.
    last_pass_nanos: Option<u64>,
}

impl Tailer {
    /// Creates the tailer. `mailbox` is woken when it is time to [`run_pass`](Self::run_pass).
    pub(super) fn new(
        spec: &Stream,
        source: &FileSourceConfig,
        checkpoints: &Checkpoints,
        watcher: Watcher,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let watcher = watcher.with_follow_symlinks(source.follow_symlinks);
        let encoding = spec.encoding.0;
        let wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
        let mut saved = BTreeMap::new();
        for (path, text) in checkpoints {
            if let Some(checkpoint) = Checkpoint::read(text) {
                saved.insert(path.clone(), checkpoint);
            } else {
                warn!(stream:% = spec.name, path = path.as_str(); "the checkpoint is damaged and is ignored");
            }
        }
        let recorded = saved.values().map(|saved| saved.time().saturating_add(1).saturating_mul(1_000_000)).max();
        let patterns = source.files.iter().filter_map(|file| match file {
            Named::Pattern(pattern) => Some(pattern.clone()),
            Named::Path(_) => None,
        });
        let globs =
            Globs::new(spec.name.clone(), patterns.collect(), &source.exclude, watcher.clone(), mailbox.clone());
        let index = DirectoryIndex::new(watcher.open_limit.opener().clone());
        let mut tailer = Self {
            stream: spec.name.clone(),
            settings: TailSettings { rotate_wait: source.rotate_wait, is_utf16: wide, initial_lines: INITIAL_LINES },
            from: source.from,
            rotated: source.rotated.clone().into(),
            watch_set: WatchSet::new(watcher.clone(), mailbox.clone()),
            watcher,
            mailbox,
            globs,
            scan_at: None,
            tails: Vec::new(),
            free_ids: Vec::new(),
            by_path: HashMap::new(),
            aliases: HashMap::new(),
            fifos: BTreeMap::new(),
            left_fifos: Vec::new(),
            scheduler: Scheduler::default(),
            pipeline: LinePipeline::new(spec, []),
            room: PassRoom::default(),
            bytes_read: 0,
            claims: Claims::default(),
            index,
            status: StatusReporter::new(spec.name.clone()),
            saved,
            recorded,
            last_pass_nanos: None,
        };
        for file in &source.files {
            if let Named::Path(path) = file
                && !tailer.by_path.contains_key(path)
            {
                tailer.add(path.clone(), true, source.from);
            }
        }
        tailer
    }

    /// The line pipeline; [`FileSource`](super::FileSource) sends the bytes of fifos through it.
    pub(super) fn pipeline(&mut self) -> &mut LinePipeline {
        &mut self.pipeline
    }

    /// The paths that are FIFOs, with the identity of each.
    pub(super) fn fifos(&self) -> impl Iterator<Item = (usize, Identity, &Path)> {
        self.fifos.iter().filter_map(|(id, identity)| Some((*id, *identity, self.tails[*id].as_ref()?.path())))
    }

    /// The paths that ceased to name a FIFO since the last call, each with the number under which the rest of it is read.
    pub(super) fn take_left_fifos(&mut self) -> Vec<(usize, usize)> {
        std::mem::take(&mut self.left_fifos).into_iter().map(|id| (id, left_fifo_number(id))).collect()
    }

    /// Ends a FIFO that no path names any more.
    pub(super) fn end_left_fifo(&mut self, number: usize, now: ClockReading, batch: &mut Batch) {
        self.pipeline.finish(number, now, batch);
        self.pipeline.remove(number);
    }

    /// Ends the unfinished line of a fifo.
    pub(super) fn finish(&mut self, id: usize, now: ClockReading, batch: &mut Batch) {
        self.pipeline.finish(id, now, batch);
    }

    /// Limits the bytes that the next pass reads from files that will still be there later.
    pub(super) fn set_room(&mut self, room: ReadRoom) {
        self.room = PassRoom::new(room);
    }

    /// The number of bytes that the last pass read.
    pub(super) fn bytes_read(&self) -> usize {
        self.bytes_read
    }

    /// Makes a pass: examines the paths that are due, and reads about [`MAX_BYTES_PER_PASS`] into `batch`.
    pub(super) fn run_pass(&mut self, now: ClockReading, batch: &mut Batch) -> NextPass {
        self.index.clear();
        self.collect_ready(now, batch);
        let (mut bytes, mut reads, mut checks) = (0, 0, 0);
        let mut later = Vec::new();
        while bytes < MAX_BYTES_PER_PASS && reads < MAX_READS_PER_PASS && checks < MAX_CHECKS_PER_PASS {
            let Some(id) = self.scheduler.pop() else { break };
            let (read, more) = self.process_path(id, now, batch);
            bytes += read;
            reads += usize::from(read > 0);
            checks += 1;
            let tail = self.tails[id].as_mut();
            if tail.is_some_and(|tail| tail.rotation_mut().take_deferred()) {
                later.push(id);
            } else if more {
                self.scheduler.wake(id);
            }
        }
        self.bytes_read = bytes;
        let waits_for_readers = self.room.held() && self.scheduler.is_idle();
        for id in later {
            self.scheduler.wake(id);
        }
        for id in self.pipeline.run_due(now.instant, batch) {
            self.with_path(id % OLD_FILE_NUMBERS, now, batch, |tail, pass| tail.record_checkpoint(true, pass));
        }
        self.status.report_after_pass(&self.globs, now, batch);
        self.last_pass_nanos = Some(u64::try_from(now.time.0).unwrap_or(0) * 1000);
        match () {
            () if self.scheduler.is_idle() => NextPass::At(self.next_pass_at(now.instant)),
            () if waits_for_readers => NextPass::AfterReaders,
            () => NextPass::Now,
        }
    }

    /// Examines one path, and reads a chunk. Returns the number of bytes, and whether there is more to do.
    fn process_path(&mut self, id: usize, now: ClockReading, batch: &mut Batch) -> (usize, bool) {
        if self.tails.get(id).is_none_or(Option::is_none) {
            return (0, false);
        }
        // The watch comes first: a change after it is notified.
        self.update_watch(id, now.instant);
        self.note_copies(id);
        let moved = self.with_path(id, now, batch, |tail, pass| {
            let before = tail.rotation().generations().newest();
            tail.resolve(pass);
            tail.rotation().generations().newest() != before
        });
        if moved && self.watch_set.expire(id) {
            // The path may lead elsewhere now.
            self.scheduler.wake(id);
        }
        self.record_status(id, now, batch);
        self.status.report_before_lines(&self.globs, now, batch);
        let (bytes, more) = self.with_path(id, now, batch, |tail, pass| {
            let outcome = tail.read(pass);
            tail.record_checkpoint(false, pass);
            outcome
        });
        self.record_status(id, now, batch);
        if !more {
            self.schedule(id, now.instant);
        }
        for identity in self.claims.take_released() {
            for alias in self.aliases.remove(&identity).unwrap_or_default() {
                self.scheduler.wake(alias);
            }
        }
        self.drop_if_gone(id, now, batch);
        (bytes, more)
    }

    fn with_path<T>(
        &mut self,
        id: usize,
        now: ClockReading,
        batch: &mut Batch,
        work: impl FnOnce(&mut PathTail, &mut PassContext<'_>) -> T,
    ) -> T
    where
        T: Default,
    {
        let Self { stream, tails, pipeline, room, index, claims, watcher, settings, globs, .. } = self;
        let is_own_path = |path: &Path| globs.names(path);
        let mut pass = PassContext {
            stream,
            now,
            batch,
            pipeline,
            room,
            index,
            claims,
            open_limit: &watcher.open_limit,
            settings: *settings,
            is_own_path: &is_own_path,
        };
        tails[id].as_mut().map(|tail| work(tail, &mut pass)).unwrap_or_default()
    }

    /// Hands the paths that are due or were notified to the scheduler.
    fn collect_ready(&mut self, now: ClockReading, batch: &mut Batch) {
        let changes = self.mailbox.take();
        let mut found = BTreeSet::new();
        let mut scan = changes.all || self.scan_at.is_none_or(|at| now.instant >= at);
        // A name comes before those that a rotation makes of it.
        for (path, change) in BTreeMap::from_iter(changes.paths) {
            let known = self.by_path.get(&path).copied();
            let others = self.watch_set.ids_for(&path);
            for id in known.into_iter().chain(others) {
                if let Some(tail) = self.tails[id].as_mut() {
                    tail.note_change(change);
                }
                self.scheduler.wake(id);
            }
            if known.is_none() && !self.globs.is_empty() {
                scan |= !self.globs.handle_change(&path, &mut found);
            }
        }
        if changes.all {
            self.wake_all();
        }
        if scan {
            found.append(&mut self.globs.scan());
            let wait = if self.globs.unwatched().is_some() {
                self.unwatched_poll_interval(false)
            } else {
                WATCHED_POLL_INTERVALS[1]
            };
            self.scan_at = Some(now.instant + wait);
        }
        let first = self.status.is_new();
        if first {
            let files = found.len() + self.by_path.len();
            self.settings.initial_lines = INITIAL_LINES / files.max(1);
        }
        for path in found {
            if !self.by_path.contains_key(&path) {
                let from = if first { self.start_for(&path) } else { ReadFrom::Beginning };
                self.add(path, false, from);
            }
        }
        if first {
            self.drop_unclaimed(batch);
            // A path with a checkpoint claims its file first, since another path may name that file by now.
            let tails = &self.tails;
            self.scheduler
                .sort_by_key(|id| tails[id].as_ref().is_none_or(|tail| !tail.rotation().generations().is_resuming()));
        }
        self.scheduler.wake_due(now.instant);
    }

    // The paths of the stream: how one is added, and how it is dropped.

    /// The start position in a file that a pattern found at the start, and that has no checkpoint. A file that was
    /// created after the last checkpoint was recorded is new.
    fn start_for(&self, path: &Path) -> ReadFrom {
        let born = std::fs::metadata(path).and_then(|metadata| metadata.created());
        let is_new = born.is_ok_and(|born| self.recorded.is_some_and(|recorded| unix_nanos(born) > recorded));
        if is_new { ReadFrom::Beginning } else { self.from }
    }

    /// Drops checkpoints of files that no path names now: they were rotated away, deleted, or are not configured any
    /// more.
    fn drop_unclaimed(&mut self, batch: &mut Batch) {
        for key in self.saved.keys().cloned().collect::<Vec<_>>() {
            let path = Origin::from(key.as_str()).path();
            if self.globs.names(&path) {
                if !self.saved[&key].is_gone() {
                    self.add(path, false, ReadFrom::Beginning);
                }
            } else {
                self.saved.remove(&key);
                batch.checkpoint(&key, None);
            }
        }
    }

    fn add(&mut self, path: PathBuf, is_configured: bool, from: ReadFrom) {
        let id = self.free_ids.pop().unwrap_or_else(|| {
            self.tails.push(None);
            self.tails.len() - 1
        });
        let mut tail = PathTail::new(path.clone(), id, is_configured, from, self.rotated.clone());
        if let Some(saved) = self.saved.remove(tail.origin().as_str()) {
            tail.resume_from(saved, &mut self.claims);
        }
        // A file that was created and rotated away since then was not seen under this path.
        let since = if self.last_pass_nanos.is_some() || is_configured || from == ReadFrom::End {
            self.last_pass_nanos
        } else {
            self.recorded
        };
        tail.rotation_mut().start_watermark(since);
        if is_configured || is_symlink(&path) {
            self.watch_set.add(id);
        }
        self.pipeline.add(id, tail.origin().clone());
        self.by_path.insert(path, id);
        self.tails[id] = Some(tail);
        self.status.set_status(id, PathStatus::Unknown);
        self.scheduler.wake(id);
    }

    /// Finds copies: a file under a rotated name may be a copy of one that is read (copytruncate), and then only its
    /// unread part is new.
    fn note_copies(&mut self, id: usize) {
        let Some(tail) = self.tails[id].as_ref().filter(|tail| !tail.is_configured()) else { return };
        let reads: Vec<_> = originals(tail.path()).iter().flat_map(|path| self.fingerprints(path)).collect();
        if !reads.is_empty()
            && !tail.rotation().generations().newest_is_at(tail.path())
            && let Some(tail) = self.tails[id].as_mut()
        {
            tail.rotation_mut().set_copy_candidates(reads);
        }
    }

    /// The fingerprints of the files of a path, including those that no longer exist.
    fn fingerprints(&self, path: &Path) -> Vec<Fingerprint> {
        let tail = self.by_path.get(path).and_then(|id| self.tails[*id].as_ref());
        let gone = || self.saved.get(Origin::file(path).as_str()).map(|saved| saved.gone_fingerprints().collect());
        tail.map(|tail| tail.rotation().fingerprints()).or_else(gone).unwrap_or_default()
    }

    /// Drops a path that a pattern found once its file is gone.
    fn drop_if_gone(&mut self, id: usize, now: ClockReading, batch: &mut Batch) {
        let gone = |tail: &PathTail| {
            let missing = match tail.found() {
                // The target of a symlink may come, or come back.
                PathTarget::Missing => !is_symlink(tail.path()),
                PathTarget::Other(_) => true,
                PathTarget::Unknown
                | PathTarget::File
                | PathTarget::Alias(_)
                | PathTarget::Fifo(_)
                | PathTarget::Refused(_)
                | PathTarget::Compressed(..) => false,
            };
            missing && !tail.is_configured() && !tail.rotation().generations().is_open() && tail.rotation().len() < 2
        };
        if !self.tails[id].as_ref().is_some_and(gone) {
            return;
        }
        let kept = self.with_path(id, now, batch, |tail, pass| Some(tail.take_gone_checkpoint(pass)));
        let Some(tail) = self.tails[id].take() else { return };
        if let Some(kept) = kept {
            self.keep_gone(tail.origin().as_str(), kept, batch);
        }
        self.by_path.remove(tail.path());
        self.watch_set.remove(id);
        self.scheduler.remove(id);
        self.fifos.remove(&id);
        self.pipeline.remove(id);
        self.status.remove(id);
        self.free_ids.push(id);
    }

    /// Keeps the checkpoint of a path that is not followed any more.
    fn keep_gone(&mut self, origin: &str, gone: Checkpoint, batch: &mut Batch) {
        self.saved.insert(origin.to_owned(), gone);
        while self.saved.len() > MAX_GONE_PATHS {
            let oldest = self.saved.iter().min_by_key(|(_, saved)| saved.time());
            let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) else { return };
            self.saved.remove(&oldest);
            batch.checkpoint(&oldest, None);
        }
    }

    #[cfg(test)]
    pub(super) fn has_open(&self, file: &std::fs::Metadata) -> bool {
        let identity = Identity::from(file);
        let mut generations = self.tails.iter().flatten().flat_map(|tail| tail.rotation().generations().iter());
        let is_sought = generations.any(|file| file.saved.is_some() && file.reader.identity() == identity);
        self.claims.is_known(identity) && !is_sought
    }

    #[cfg(test)]
    pub(super) fn reads(&self, file: &std::fs::Metadata) -> bool {
        self.claims.is_claimed_by_other(Identity::from(file), usize::MAX)
    }

    #[cfg(test)]
    pub(super) fn note_change(&mut self, path: &Path, change: super::watch::watcher::PathChange) {
        if let Some(tail) = self.by_path.get(path).and_then(|id| self.tails[*id].as_mut()) {
            tail.note_change(change);
        }
    }

    #[cfg(test)]
    pub(super) fn fail_all(&mut self, error: &std::io::Error, now: Instant) {
        self.tails.iter_mut().flatten().for_each(|tail| {
            tail.record_refusal(error, now);
        });
    }

    /// Makes all paths due.
    pub(super) fn wake_all(&mut self) {
        let mut all: Vec<_> = self.by_path.iter().collect();
        all.sort();
        for (_, id) in all {
            self.scheduler.wake(*id);
        }
    }

    /// Updates the watch of a path.
    fn update_watch(&mut self, id: usize, now: Instant) {
        let Some(tail) = self.tails[id].as_mut() else { return };
        if self.watch_set.contains(id) {
            let unwatched = self.watch_set.update(id, tail.path(), tail.rotation().generations().is_named(), now);
            tail.set_unwatched(unwatched.is_some());
            self.status.set_unwatched(id, unwatched);
        } else {
            tail.set_unwatched(self.globs.unwatched().is_some());
        }
    }

    /// Records the status of a path.
    fn record_status(&mut self, id: usize, now: ClockReading, batch: &mut Batch) {
        let Some(tail) = self.tails[id].as_ref() else { return };
        let before = self.fifos.remove(&id);
        match tail.found() {
            PathTarget::Alias(identity) => {
                self.aliases.entry(*identity).or_default().insert(id);
            }
            PathTarget::Fifo(identity) if !tail.rotation().generations().is_open() => {
                self.fifos.insert(id, *identity);
            }
            // The reason may name what a symlink leads to.
            PathTarget::Refused(_) => self.status.set_unwatched(id, None),
            PathTarget::Unknown
            | PathTarget::File
            | PathTarget::Fifo(_)
            | PathTarget::Missing
            | PathTarget::Other(_)
            | PathTarget::Compressed(..) => {}
        }
        self.status.set_status(id, PathStatus::of(tail));
        let is_same = |before: Identity| self.fifos.get(&id).is_some_and(|fifo| fifo.same_inode(before));
        if before.is_some_and(|before| !is_same(before)) {
            // The last lines may not have been read yet, and writers may still have it open.
            self.end_left_fifo(left_fifo_number(id), now, batch);
            self.pipeline.split_off(id, left_fifo_number(id));
            self.left_fifos.push(id);
        }
    }

    /// Schedules the next poll of a path, in case no change is notified before.
    fn schedule(&mut self, id: usize, now: Instant) {
        let Some(tail) = self.tails[id].as_ref() else { return };
        let active = tail.is_active(now);
        let mut at = if tail.is_unwatched() {
            now + self.unwatched_poll_interval(active)
        } else if active || self.fifos.contains_key(&id) {
            self.scheduler.on_grid(now, WATCHED_POLL_INTERVALS[0])
        } else if matches!(tail.found(), PathTarget::Missing) {
            self.scheduler.on_grid(now, MISSING_POLL_INTERVAL)
        } else {
            let spread = fastrand::f64().mul_add(0.5, 0.5);
            self.scheduler.on_grid(now, WATCHED_POLL_INTERVALS[1].mul_f64(spread))
        };
        at = tail.due(now, self.settings.rotate_wait).into_iter().fold(at, Instant::min);
        self.scheduler.set_deadline(id, at);
    }

    fn unwatched_poll_interval(&self, active: bool) -> Duration {
        let quiet = UNWATCHED_POLL_INTERVALS[1]
            .max(UNWATCHED_POLL_PER_FILE * u32::try_from(self.by_path.len()).unwrap_or(u32::MAX));
        if active { UNWATCHED_POLL_INTERVALS[0] } else { quiet }
    }

    fn next_pass_at(&self, now: Instant) -> Instant {
        let scan = self.scan_at.filter(|_| !self.globs.is_empty());
        let all = [self.scheduler.next_deadline(), scan, self.pipeline.due(), self.status.due()];
        all.into_iter().flatten().fold(now + WATCHED_POLL_INTERVALS[1], Instant::min)
    }
}
