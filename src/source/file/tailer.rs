//! All files of one stream: which of them to look at when, each in its turn. Blocks; has no task of its own.
//!
//! All of it is one function, [`Tailer::look`]: it looks at what is due or was heard of, reads about a mebibyte, and says when
//! to look again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use tokio::time::Instant;

use crate::config::{FileSelector as Named, FileSourceConfig, ReadFrom, Stream};
use crate::source::ClockReading;
use crate::source::pipeline::LinePipeline;
use crate::stream::{Batch, Checkpoints};

use super::checkpoint::Checkpoint;
use super::claims::Claims;
use super::fingerprint::Identity;
use super::glob::Globs;
use super::path::PathTail;
use super::scheduler::Scheduler;
use super::status::{PathStatus, StatusReporter};
use crate::source::file::rotation::generation::{PassContext, PathTarget, TailSettings};
use crate::source::file::rotation::siblings::DirectoryIndex;
use crate::source::file::watch::watch_set::WatchSet;
use crate::source::file::watch::watcher::{Mailbox, Watcher};

/// Of what is there at the start, so many last lines are given out: enough to see what it is about.
const INITIAL_LINES: usize = 100;

/// In one turn at most this many bytes are read, of this many files, and this many are looked at: then what was read goes
/// out, and a reader need not wait for all of it.
const MAX_BYTES_PER_PASS: usize = 1 << 20;
const MAX_READS_PER_PASS: usize = 256;
const MAX_CHECKS_PER_PASS: usize = 4 << 10;

/// Where wakes come, looks at intervals are but a safety net: one for active files, and one for others, which is spread.
const WATCHED_POLL_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// Where none come, these intervals are what readers wait for.
const UNWATCHED_POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// Where none come for many files, each costs the quiet ones this much more: ten thousand are looked at in 20 s.
const UNWATCHED_POLL_PER_FILE: Duration = Duration::from_millis(2);

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextPass {
    /// At once: there is more.
    Now,
    /// On a wake, or at this time.
    At(Instant),
}

/// The files of one stream.
#[derive(Debug)]
pub(super) struct Tailer {
    pub(super) settings: TailSettings,
    pub(super) from: ReadFrom,
    pub(super) wakes: Watcher,
    pub(super) ear: Arc<Mailbox>,
    pub(super) globs: Globs,
    /// When all directories are looked through again.
    pub(super) scan_at: Option<Instant>,
    /// What is followed, by number; a free number is given again.
    pub(super) follows: Vec<Option<PathTail>>,
    pub(super) free_ids: Vec<usize>,
    pub(super) by_path: HashMap<PathBuf, usize>,
    pub(super) watch_set: WatchSet,
    /// Who waits for another to leave a file.
    pub(super) aliases: HashMap<Identity, BTreeSet<usize>>,
    pub(super) fifos: BTreeMap<usize, Identity>,
    pub(super) scheduler: Scheduler,
    pub(super) feed: LinePipeline,
    pub(super) claims: Claims,
    pub(super) index: DirectoryIndex,
    pub(super) report: StatusReporter,
    /// Recorded places of files that were not found yet or are gone, and when the last of all was recorded, in nanoseconds
    /// since the Unix epoch.
    pub(super) saved: BTreeMap<String, Checkpoint>,
    pub(super) recorded: Option<u64>,
    /// When the last look was, in nanoseconds since the Unix epoch.
    pub(super) looked: Option<u64>,
}

impl Tailer {
    /// `ear` is woken when it is time to [`look`](Self::look).
    pub(super) fn new(
        spec: &Stream,
        source: &FileSourceConfig,
        places: &Checkpoints,
        wakes: Watcher,
        ear: Arc<Mailbox>,
    ) -> Self {
        let wakes = wakes.with_follow_symlinks(source.follow_symlinks);
        let encoding = spec.encoding.0;
        let wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
        let mut saved = BTreeMap::new();
        for (path, text) in places {
            if let Some(place) = Checkpoint::read(text) {
                saved.insert(path.clone(), place);
            } else {
                warn!(stream:% = spec.name, path = path.as_str(); "the recorded place is damaged: begins as if there was none");
            }
        }
        let recorded = saved.values().map(|saved| saved.time().saturating_add(1).saturating_mul(1_000_000)).max();
        let patterns = source.files.iter().filter_map(|file| match file {
            Named::Pattern(pattern) => Some(pattern.clone()),
            Named::Path(_) => None,
        });
        let globs = Globs::new(patterns.collect(), &source.exclude, wakes.clone(), ear.clone());
        let index = DirectoryIndex::new(wakes.open_limit.opener().clone());
        let mut files = Self {
            settings: TailSettings { rotate_wait: source.rotate_wait, is_utf16: wide, initial_lines: INITIAL_LINES },
            from: source.from,
            watch_set: WatchSet::new(wakes.clone(), ear.clone()),
            wakes,
            ear,
            globs,
            scan_at: None,
            follows: Vec::new(),
            free_ids: Vec::new(),
            by_path: HashMap::new(),
            aliases: HashMap::new(),
            fifos: BTreeMap::new(),
            scheduler: Scheduler::default(),
            feed: LinePipeline::new(spec, []),
            claims: Claims::default(),
            index,
            report: StatusReporter::default(),
            saved,
            recorded,
            looked: None,
        };
        for file in &source.files {
            if let Named::Path(path) = file
                && !files.by_path.contains_key(path)
            {
                files.add(path.clone(), true, source.from);
            }
        }
        files
    }

    /// What bytes go through; those of a fifo go there from outside.
    pub(super) fn feed(&mut self) -> &mut LinePipeline {
        &mut self.feed
    }

    /// The paths that are fifos, and which.
    pub(super) fn fifos(&self) -> impl Iterator<Item = (usize, Identity, &Path)> {
        self.fifos.iter().filter_map(|(id, identity)| Some((*id, *identity, self.follows[*id].as_ref()?.path())))
    }

    /// The half line of a fifo is at its end.
    pub(super) fn finish(&mut self, id: usize, now: ClockReading, batch: &mut Batch) {
        self.feed.finish(id, now, batch);
    }

    /// Looks at what is due, and reads about [`MAX_BYTES_PER_PASS`] into `batch`.
    pub(super) fn look(&mut self, now: ClockReading, batch: &mut Batch) -> NextPass {
        self.index.clear();
        self.collect_ready(now, batch);
        let (mut bytes, mut reads, mut looks) = (0, 0, 0);
        let mut later = Vec::new();
        while bytes < MAX_BYTES_PER_PASS && reads < MAX_READS_PER_PASS && looks < MAX_CHECKS_PER_PASS {
            let Some(id) = self.scheduler.pop() else { break };
            let (read, more) = self.one(id, now, batch);
            bytes += read;
            reads += usize::from(read > 0);
            looks += 1;
            let follow = self.follows[id].as_mut();
            if follow.is_some_and(|follow| std::mem::take(&mut follow.later)) {
                later.push(id);
            } else if more {
                self.scheduler.wake(id);
            }
        }
        for id in later {
            self.scheduler.wake(id);
        }
        for id in self.feed.show(now.instant, batch) {
            self.with(id, now, batch, |follow, turn| follow.place(true, turn));
        }
        self.report.finish(&self.globs, now, batch);
        self.looked = Some(u64::try_from(now.time.0).unwrap_or(0) * 1000);
        if self.scheduler.is_idle() { NextPass::At(self.next(now.instant)) } else { NextPass::Now }
    }

    /// One path: looks at it, and reads a chunk. Gives back how many bytes, and whether there is more to do.
    fn one(&mut self, id: usize, now: ClockReading, batch: &mut Batch) -> (usize, bool) {
        if self.follows.get(id).is_none_or(Option::is_none) {
            return (0, false);
        }
        // First the ears, then the eyes: what happens in between is heard.
        self.listen(id, now.instant);
        self.note_copies(id);
        let moved = self.with(id, now, batch, |follow, turn| {
            let before = follow.newest();
            follow.resolve(turn);
            follow.newest() != before
        });
        if moved && self.watch_set.expire(id) {
            // It may lead elsewhere now.
            self.scheduler.wake(id);
        }
        self.record_status(id);
        self.report.now(&self.globs, now, batch);
        let (bytes, more) = self.with(id, now, batch, |follow, turn| {
            let outcome = follow.read(turn);
            follow.place(false, turn);
            outcome
        });
        self.record_status(id);
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

    pub(super) fn with<T>(
        &mut self,
        id: usize,
        now: ClockReading,
        batch: &mut Batch,
        work: impl FnOnce(&mut PathTail, &mut PassContext<'_>) -> T,
    ) -> T
    where
        T: Default,
    {
        let Self { follows, feed, index, claims: owners, wakes, settings: rules, globs, .. } = self;
        let named = |path: &Path| globs.names(path);
        let mut turn = PassContext {
            now,
            batch,
            feed,
            index,
            claims: owners,
            open_limit: &wakes.open_limit,
            settings: *rules,
            named: &named,
        };
        follows[id].as_mut().map(|follow| work(follow, &mut turn)).unwrap_or_default()
    }

    /// Puts what is to be looked at into `ready`.
    fn collect_ready(&mut self, now: ClockReading, batch: &mut Batch) {
        let heard = self.ear.take();
        let mut found = BTreeSet::new();
        let mut scan = heard.all || self.scan_at.is_none_or(|at| now.instant >= at);
        // A name comes before those that a rotation makes of it.
        for (path, written) in BTreeMap::from_iter(heard.paths) {
            let known = self.by_path.get(&path).copied();
            let others = self.watch_set.whose(&path);
            for id in known.into_iter().chain(others) {
                if let Some(follow) = self.follows[id].as_mut() {
                    follow.written |= written;
                }
                self.scheduler.wake(id);
            }
            if known.is_none() && !self.globs.is_empty() {
                scan |= !self.globs.handle_change(&path, &mut found);
            }
        }
        if heard.all {
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
        let first = self.report.is_new();
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
            self.sort_out_unclaimed(batch);
            // Whoever has a place takes its file first: another path may name it by now.
            let follows = &self.follows;
            self.scheduler.sort_by_key(|id| follows[id].as_ref().is_none_or(|follow| !follow.is_resuming()));
        }
        self.scheduler.wake_due(now.instant);
    }

    #[cfg(test)]
    pub(super) fn holds(&self, file: &std::fs::Metadata) -> bool {
        self.claims.is_known(Identity::from(file))
    }

    #[cfg(test)]
    pub(super) fn mark_written(&mut self, path: &Path) {
        if let Some(follow) = self.by_path.get(path).and_then(|id| self.follows[*id].as_mut()) {
            follow.written = true;
        }
    }

    #[cfg(test)]
    pub(super) fn fail_all(&mut self, error: &std::io::Error, now: Instant) {
        self.follows.iter_mut().flatten().for_each(|follow| {
            follow.record_refusal(error, now);
        });
    }

    /// Everything is to be looked at.
    pub(super) fn wake_all(&mut self) {
        let mut all: Vec<_> = self.by_path.iter().collect();
        all.sort();
        for (_, id) in all {
            self.scheduler.wake(*id);
        }
    }

    /// Sees to it that changes of a path are heard of.
    fn listen(&mut self, id: usize, now: Instant) {
        let Some(follow) = self.follows[id].as_mut() else { return };
        if self.watch_set.has(id) {
            let deaf = self.watch_set.listen(id, follow.path(), follow.is_open(), now);
            follow.unwatched = deaf.is_some();
            self.report.set_unwatched(id, deaf);
        } else {
            follow.unwatched = self.globs.unwatched().is_some();
        }
    }

    /// Takes note of how a path is.
    fn record_status(&mut self, id: usize) {
        let Some(follow) = self.follows[id].as_ref() else { return };
        self.fifos.remove(&id);
        match follow.found() {
            PathTarget::Alias(identity) => {
                self.aliases.entry(*identity).or_default().insert(id);
            }
            PathTarget::Fifo(identity) if !follow.is_open() => {
                self.fifos.insert(id, *identity);
            }
            // The reason may name what a symlink leads to.
            PathTarget::Refused(_) => self.report.set_unwatched(id, None),
            PathTarget::Unknown
            | PathTarget::File
            | PathTarget::Fifo(_)
            | PathTarget::Missing
            | PathTarget::Other(_)
            | PathTarget::Compressed(..) => {}
        }
        self.report.set_status(id, PathStatus::of(follow));
    }

    /// When to look at a path again, if nothing is heard of it before.
    fn schedule(&mut self, id: usize, now: Instant) {
        let Some(follow) = self.follows[id].as_ref() else { return };
        let active = follow.is_active(now);
        let mut at = if follow.unwatched {
            now + self.unwatched_poll_interval(active)
        } else if active || self.fifos.contains_key(&id) {
            self.scheduler.on_grid(now, WATCHED_POLL_INTERVALS[0])
        } else {
            let spread = fastrand::f64().mul_add(0.5, 0.5);
            self.scheduler.on_grid(now, WATCHED_POLL_INTERVALS[1].mul_f64(spread))
        };
        at = follow.due(now, self.settings.rotate_wait).into_iter().fold(at, Instant::min);
        self.scheduler.due(id, at);
    }

    fn unwatched_poll_interval(&self, active: bool) -> Duration {
        let quiet = UNWATCHED_POLL_INTERVALS[1]
            .max(UNWATCHED_POLL_PER_FILE * u32::try_from(self.by_path.len()).unwrap_or(u32::MAX));
        if active { UNWATCHED_POLL_INTERVALS[0] } else { quiet }
    }

    fn next(&self, now: Instant) -> Instant {
        let scan = self.scan_at.filter(|_| !self.globs.is_empty());
        let all = [self.scheduler.next(), scan, self.feed.due(), self.report.due()];
        all.into_iter().flatten().fold(now + WATCHED_POLL_INTERVALS[1], Instant::min)
    }
}
