//! File sources. A [`FileSource`] emits each line of its files once and in order, whatever rotates, truncates or
//! deletes the files.
//!
//! # Theory of operation
//! ```text
//!   inotify ──▶ watch::Mailbox ──wakes──▶ FileSource ──one pass──▶ Tailer (on a blocking thread)
//!                                          │  ▲                      │ Scheduler: which path is next
//!               fifos ──bytes──────────────┘  └── batch, next pass ──┤ Globs, WatchSet, Claims, DirectoryIndex
//!                                                                    ▼
//!       PathTail ── resolve, read, record_checkpoint ──▶ Rotation ──▶ [ current | rotated | … | newest ]
//!                                                        Generations, oldest first; the current one and old files are read
//! ```
//! **Bytes.** `PathTail::read` gives what it read to the [pipeline](super::pipeline), which adds the lines to the batch of
//! the pass.
//!
//! **Passes.** Everything that blocks is [`Tailer::run_pass`], on a thread for blocking work, so that a stalled disk
//! stalls nothing else. The tailer is either here or in a pass, never both, and needs no lock. A pass examines the
//! paths that are due or were notified, reads about a mebibyte, and says when the next one is due. FIFOs are read here,
//! between passes, since a FIFO can be waited for.
//!
//! **Pace.** A line that comes alone causes a pass at once; lines that follow each other share one ([`ReadPace`]). Only
//! writes wait: a change of names causes a pass at once, since a file may exist for a short time only.
//!
//! **One path.** A pass over a path first updates its watch, then examines what the path names, then reads: a change
//! between two of these steps is notified again. [`PathTail`](path::PathTail) knows what the path names; its
//! [`Rotation`](rotation::Rotation) knows the *generations* of the log that are still to be read. The path's file is
//! the newest; a file that was rotated away stays a generation until it was read to its end and has been silent for
//! `rotate_wait`. The line that is unfinished at the end of a generation is emitted when the generation is left, unless
//! the next one is a copy that continues it. Lines that `multiline` joins wait for those of the next generation; until they
//! are emitted, the checkpoint begins with the generation in which they began.
//!
//! **Readers.** Readers do not slow a source, with one exception: if nothing is recorded, a file is read only as far ahead
//! as [`ReadAhead`] says, so that a reader that keeps up does not miss what the ring would drop. This holds only for a
//! file that will still be there: not once it was renamed, truncated or deleted.
//!
//! **Late writers.** A writer may keep a file open after its rotation. Without a successor, the renamed file stays the
//! current generation, whatever time passes (if a pattern found it, for ten minutes of silence, since a file that was
//! moved to an archive has no successor). With one, the successor is read once nothing more is expected in the old
//! file: a writer closed it, as inotify reports, or its last write is `rotate_wait` ago; and in any case `rotate_wait`
//! after it appeared. Since another writer may still have the old file open, it then becomes one of the [old
//! files](rotation::old_files), unless it has been silent for `rotate_wait` since its rotation: these are read in
//! addition to the current generation, each with an unfinished line of its own, and their checkpoints precede that of
//! the current generation. After a restart they are read first. The size of a renamed file that was left is checked for
//! ten minutes, even across a restart: what was written to it later is a loss of known size. A file is silent for as long
//! as its size does not change, even while it waits for those before it. A deleted file is closed after a minute at the
//! latest, since it takes disk space that nobody sees.
//!
//! **Identity.** While a file is open, device and inode identify it. Across a close or a restart they do not, since
//! inodes are reused: then the content decides, by a [fingerprint](fingerprint::Fingerprint) of the first bytes and of
//! those before the offset. A file belongs to one path of a stream at a time ([`Claims`](claims::Claims)), so that a
//! hard link or a second name is not read twice.
//!
//! **Finding rotated files.** A writer renames the old file before it makes the new one. A directory listing that
//! begins after the new file was seen therefore shows every older file. A [watermark](rotation::watermark::Watermark)
//! (the birth time of the newest file that was read) says which of them are new. A listing may still miss names that
//! change while it runs; it is repeated in the next pass until the directory's time stamp stood still. Behind a symlink,
//! the directory of the target is listed for the target's name, as it was when the file was last
//! [opened](rotation::location::LogLocation): a symlink that was not followed shows nothing of what it leads to. When the
//! path leads elsewhere, the files at the old place, including the one with its own name, come before the new one.
//!
//! **Checkpoints.** The offset of a file travels in the same batch as its lines, so that history never holds one
//! without the other. After a restart, the file is searched for at its path, then by its inode, then among its siblings
//! by content. All files of a checkpoint are opened as soon as they are found, since a later one may be deleted while an
//! earlier one waits for late writers. An old file that is gone by then is a loss only if more was expected in it, since
//! it may have grown.
//!
//! **NUL bytes.** At the end of a file they may be filled in, without a notification and without a change of the size (a
//! file that is preallocated or mapped into memory). They are read, or skipped as a hole, once something follows them.
//!
//! **Rejected alternatives.** Acting on the kind of an inotify event: events are merged, overflow, and name a path that
//! leads to something else by now; here they only cause a pass. One task for each file: ten thousand files mean ten
//! thousand timers, and a rotation of all of them lists the directory as often. Following the inode alone:
//! `copytruncate`, editors and overlay file systems change it, and a reused inode resembles the old file.
//!
//! Reading order: `tailer`, `path`, `rotation`, `reader`, `fingerprint`, `checkpoint`; then `claims`, `scheduler`,
//! `status`, `glob`, `watch`, `fifo`; opening files: `open_file`, `trusted_owner`, `open_limit`, `protected`, `denied`.

mod rotation;
mod watch;
mod fingerprint;
mod denied;
mod protected;
mod open_file;
mod trusted_owner;
#[cfg(test)]
mod open_hook;
mod open_limit;
mod reader;
mod checkpoint;
mod claims;
mod target;
mod pass;
mod path;
mod glob;
mod status;
mod scheduler;
mod tailer;
mod fifo;

pub(crate) use crate::source::file::watch::watcher::Watcher;
pub(super) use checkpoint::Checkpoint;

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::{FileSelector, FileSourceConfig, OwnPaths, Stream};
use crate::event::{Loss, StreamName};
use crate::stream::{Batch, Checkpoints, ReadAhead, ReadRoom, ViewPace};

use super::ClockReading;
use super::read_pace::{FILE_READ_INTERVAL, PIPE_READ_INTERVAL, ReadPace};
use crate::source::file::watch::watcher::Mailbox;
use denied::OpenDenied;
use fifo::Fifos;
use glob::Globs;
use open_file::FileOpener;
use rotation::old_files::OLD_FILE_NUMBERS;
use tailer::{NextPass, Tailer};

/// The minimum time between a pass that found something and one that a change of names causes: many changes cause at most
/// a thousand passes a second. Writes to files have a [pace](ReadPace) of their own.
const MIN_PASS_INTERVAL: Duration = Duration::from_millis(1);

/// Returns whether a path names a file that not everybody may read, if a stream may open it at all. `own` are the
/// daemon's own files.
pub(crate) fn is_hidden(path: &Path, follow_symlinks: bool, own: OwnPaths) -> bool {
    examine(path, follow_symlinks, own).is_ok_and(|found| open_limit::is_hidden(found.mode()))
}

/// The reason why a stream may not open a path, or search the directory that it names, if the reason is an untrusted
/// symlink on the way or that it is one of the daemon's own files.
pub(crate) fn open_denial(path: &Path, follow_symlinks: bool, own: OwnPaths) -> Option<String> {
    let error = examine(path, follow_symlinks, own).err()?;
    OpenDenied::of(&error).map(ToString::to_string)
}

/// The files that the patterns of a source match now, and the reason why one of their directories is not searched. Blocks.
pub(crate) fn matching_files(stream: &StreamName, source: &FileSourceConfig) -> (BTreeSet<PathBuf>, Option<String>) {
    let patterns = source.files.iter().filter_map(|files| match files {
        FileSelector::Pattern(pattern) => Some(pattern.clone()),
        FileSelector::Path(_) => None,
    });
    let watcher = Watcher::new().with_follow_symlinks(source.follow_symlinks);
    let mut globs = Globs::new(stream.clone(), patterns.collect(), &source.exclude, watcher, Arc::default());
    let found = globs.scan();
    (found, globs.denial().map(str::to_owned))
}

/// The metadata of what a path names. The errors are the same as for opening it, except for missing permissions.
fn examine(path: &Path, follow_symlinks: bool, own: OwnPaths) -> io::Result<Metadata> {
    let opener = FileOpener::default().with_follow_symlinks(follow_symlinks);
    opener.protected().set(own.directories, own.files);
    let found = opener.metadata(path)?;
    let outcome = if found.is_dir() {
        opener.directory(path).map(drop)
    } else if found.is_file() {
        opener.open(path).map(drop)
    } else {
        // A FIFO is not opened, since its writer would notice that.
        Ok(())
    };
    outcome.or_else(|error| if OpenDenied::of(&error).is_some() { Err(error) } else { Ok(()) }).map(|()| found)
}

/// The file source of one stream.
#[derive(Debug)]
pub(super) struct FileSource {
    /// `None` during a pass, which owns the tailer.
    tailer: Option<Box<Tailer>>,
    pass: Option<JoinHandle<PassResult>>,
    next: NextPass,
    /// The time before which wakes have no effect, and the pace of those that writes cause.
    earliest_wake: Instant,
    pace: ReadPace,
    mailbox: Arc<Mailbox>,
    fifos: Fifos,
    /// The limit for reading ahead of readers that keep up; `None` if it does not matter to them.
    read_ahead: Option<ReadAhead>,
    /// The source is stopping, and does not wait for anything.
    is_last: bool,
}

/// The result of a pass.
#[derive(Debug)]
struct PassResult {
    tailer: Box<Tailer>,
    batch: Batch,
    next: NextPass,
}

impl FileSource {
    /// Continues each file from its checkpoint in `checkpoints`, if it has one.
    pub(super) fn new(
        spec: &Stream,
        source: &FileSourceConfig,
        checkpoints: &Checkpoints,
        watcher: Watcher,
        read_ahead: Option<ReadAhead>,
        views: ViewPace,
    ) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let tailer = Box::new(Tailer::new(spec, source, checkpoints, watcher, mailbox.clone()));
        let next = NextPass::Now;
        let fifo_pace = ReadPace::new(PIPE_READ_INTERVAL).with_views(views.clone());
        let fifos = Fifos::new(tailer.watcher.open_limit.clone(), fifo_pace);
        Self {
            tailer: Some(tailer),
            pass: None,
            next,
            earliest_wake: Instant::now(),
            pace: ReadPace::new(FILE_READ_INTERVAL).with_views(views),
            mailbox,
            fifos,
            read_ahead,
            is_last: false,
        }
    }

    /// Waits until there are events, and adds them to `batch`, which is empty. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) {
        while batch.is_empty() {
            if self.pass.is_none() {
                let wakes = self.mailbox.wait(self.earliest_wake, &self.pace);
                select! {
                    () = wait_for_pass(self.next, wakes, self.read_ahead.as_ref()) => {}
                    (id, bytes) = self.fifos.read() => {
                        if let Some(tailer) = &mut self.tailer {
                            let now = ClockReading::read();
                            if bytes.is_empty() && id >= OLD_FILE_NUMBERS {
                                tailer.end_left_fifo(id, now, batch);
                            } else if bytes.is_empty() {
                                tailer.finish(id, now, batch);
                            } else {
                                tailer.pipeline().push(id, bytes, now, batch);
                                self.next = earlier_pass(self.next, tailer.pipeline().due());
                            }
                        }
                        continue;
                    }
                }
            }
            self.run_pass(batch).await;
        }
    }

    /// Makes another pass without waiting, the first time over all paths. Returns whether there may be more to read.
    /// May be dropped at any time.
    pub(super) async fn last(&mut self, batch: &mut Batch) -> bool {
        if self.pass.is_some() {
            self.run_pass(batch).await;
            return true;
        }
        if !std::mem::replace(&mut self.is_last, true)
            && let Some(tailer) = &mut self.tailer
        {
            tailer.wake_all();
        }
        self.run_pass(batch).await;
        !batch.is_empty() || !matches!(self.next, NextPass::At(_))
    }

    /// Waits for the pass that is being made, if there is one. May be dropped at any time.
    pub(super) async fn complete_pass(&mut self, batch: &mut Batch) {
        if self.pass.is_some() {
            self.run_pass(batch).await;
        }
    }

    /// Reads a piece of what each FIFO holds, without waiting. Returns whether any held something.
    pub(super) fn read_fifos(&mut self, batch: &mut Batch) -> bool {
        let Some(tailer) = &mut self.tailer else { return false };
        let now = ClockReading::read();
        self.fifos.read_held(|id, bytes| tailer.pipeline().push(id, bytes, now, batch))
    }

    /// Ends the unfinished lines of FIFOs, whose beginnings cannot be read again after the next start. During a pass that
    /// does not end, what they hold is lost.
    pub(super) fn finish_fifos(&mut self, batch: &mut Batch) {
        let now = ClockReading::read();
        let mut numbers = self.fifos.numbers().peekable();
        if let Some(tailer) = &mut self.tailer {
            for id in numbers {
                tailer.finish(id, now, batch);
            }
        } else if numbers.peek().is_some() {
            let reason = "FIFOs: a file could not be read in time, and what they held is lost".to_owned();
            batch.loss(now.time, &Loss { missed: None, bytes: None, reason });
        }
    }

    /// Waits for the current pass, or makes one.
    async fn run_pass(&mut self, batch: &mut Batch) {
        if let Some(mut tailer) = self.tailer.take() {
            let read_ahead = self.read_ahead.as_mut().filter(|_| !self.is_last);
            tailer.set_room(read_ahead.map_or(ReadRoom::Unlimited, |read_ahead| read_ahead.room(Instant::now())));
            self.pass = Some(spawn_blocking(move || {
                let mut batch = Batch::new();
                let next = tailer.run_pass(ClockReading::read(), &mut batch);
                PassResult { tailer, batch, next }
            }));
        }
        let Some(pass) = &mut self.pass else { return };
        let finished = pass.await;
        self.pass = None;
        match finished {
            Ok(finished) => self.finish_pass(finished, batch),
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }

    fn finish_pass(&mut self, PassResult { mut tailer, batch: found, next }: PassResult, batch: &mut Batch) {
        *batch = found;
        let now = ClockReading::read();
        self.earliest_wake = if batch.is_empty() { now.instant } else { now.instant + MIN_PASS_INTERVAL };
        self.pace.note_read(tailer.bytes_read(), now.instant);
        self.next = next;
        for (id, number) in tailer.take_left_fifos() {
            if !self.fifos.leave(id, number) {
                tailer.end_left_fifo(number, now, batch);
            }
        }
        for closed in self.fifos.retain(tailer.fifos()) {
            tailer.finish(closed, now, batch);
        }
        self.tailer = Some(tailer);
    }
}

/// The earlier of a pass and a time.
fn earlier_pass(next: NextPass, due: Option<Instant>) -> NextPass {
    match (next, due) {
        (NextPass::At(at), Some(due)) => NextPass::At(at.min(due)),
        (next, _) => next,
    }
}

/// Waits until the next pass is due, or a wake makes it due.
async fn wait_for_pass(next: NextPass, wakes: impl Future<Output = ()>, read_ahead: Option<&ReadAhead>) {
    match next {
        NextPass::Now => {}
        NextPass::AfterReaders => {
            if let Some(read_ahead) = read_ahead {
                read_ahead.wait().await;
            }
        }
        NextPass::At(at) => {
            select! {
                () = wakes => {}
                () = sleep_until(at) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
