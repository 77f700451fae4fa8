//! Files to follow. All that blocks is one function, [`Tailer::look`], which runs on a thread for blocking work, so that a
//! stalled disk stalls nothing else; between looks a [`FileSource`] waits for wakes and times. Fifos are read here.

mod rotation;
mod watch;
mod fingerprint;
mod denied;
mod protected;
mod open_file;
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

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::{FileSourceConfig, OwnPaths, Stream};
use crate::stream::{Batch, Checkpoints};

use super::ClockReading;
use crate::source::file::watch::watcher::Mailbox;
use denied::OpenDenied;
use fifo::Fifos;
use open_file::FileOpener;
use tailer::{NextPass, Tailer};

/// Files that have grown are not looked at again before this time: a busy writer costs a thousand looks a second and not
/// one for each line, and a lone line waits for nothing.
const MIN_PASS_INTERVAL: Duration = Duration::from_millis(1);

/// Whether a path names a file that not everybody may read, if a stream may open it at all. `own` are the daemon's own files.
pub(crate) fn is_hidden(path: &Path, follow_symlinks: bool, own: OwnPaths) -> bool {
    examine(path, follow_symlinks, own).is_ok_and(|found| open_limit::is_hidden(found.mode()))
}

/// Why a stream may not open a path, or look through the directory that it names, if that is because of whose symlinks lead
/// there or because it is one of the daemon's own files.
pub(crate) fn denied(path: &Path, follow_symlinks: bool, own: OwnPaths) -> Option<String> {
    let error = examine(path, follow_symlinks, own).err()?;
    OpenDenied::of(&error).map(ToString::to_string)
}

/// What a path names. The same errors as if it was opened, but for what the system does not let us read.
fn examine(path: &Path, follow_symlinks: bool, own: OwnPaths) -> io::Result<Metadata> {
    let opener = FileOpener::default().with_follow_symlinks(follow_symlinks);
    opener.protected().set(own.directories, own.files);
    let found = opener.look(path)?;
    let outcome = if found.is_dir() {
        opener.directory(path).map(drop)
    } else if found.is_file() {
        opener.open(path).map(drop)
    } else {
        // To open a fifo would be noticed by its writer.
        Ok(())
    };
    outcome.or_else(|error| if OpenDenied::of(&error).is_some() { Err(error) } else { Ok(()) }).map(|()| found)
}

/// The files of one stream.
#[derive(Debug)]
pub(super) struct FileSource {
    /// Between looks they are here; `None` while one is under way.
    files: Option<Box<Tailer>>,
    look: Option<JoinHandle<PassResult>>,
    next: NextPass,
    /// No wake counts before.
    earliest_wake: Instant,
    ear: Arc<Mailbox>,
    fifos: Fifos,
    /// No more is waited for.
    is_last: bool,
}

/// What comes back from a look.
#[derive(Debug)]
struct PassResult {
    files: Box<Tailer>,
    batch: Batch,
    next: NextPass,
}

impl FileSource {
    /// Goes on from `places`, where a file has one.
    pub(super) fn new(spec: &Stream, source: &FileSourceConfig, places: &Checkpoints, wakes: Watcher) -> Self {
        let ear = Arc::new(Mailbox::default());
        let files = Box::new(Tailer::new(spec, source, places, wakes, ear.clone()));
        let (next, pace) = (NextPass::Now, Instant::now());
        let fifos = Fifos::new(files.wakes.open_limit.clone());
        Self { files: Some(files), look: None, next, earliest_wake: pace, ear, fifos, is_last: false }
    }

    /// Waits until there is something, and puts it into `batch`, which is empty. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) {
        while batch.is_empty() {
            if self.look.is_none() {
                select! {
                    () = wait_for_pass(self.next, self.earliest_wake, &self.ear) => {}
                    (id, bytes) = self.fifos.read() => {
                        if let Some(files) = &mut self.files {
                            let now = ClockReading::read();
                            if bytes.is_empty() {
                                files.finish(id, now, batch);
                            } else {
                                files.feed().push(id, bytes, now, batch);
                                self.next = earlier_pass(self.next, files.feed().due());
                            }
                        }
                        continue;
                    }
                }
            }
            self.look(batch).await;
        }
    }

    /// Looks once more at everything, without waiting; says whether there may be more to see. May be dropped at any time.
    pub(super) async fn last(&mut self, batch: &mut Batch) -> bool {
        if self.look.is_some() {
            self.look(batch).await;
            return true;
        }
        if !std::mem::replace(&mut self.is_last, true)
            && let Some(files) = &mut self.files
        {
            files.wake_all();
        }
        self.look(batch).await;
        !batch.is_empty() || self.next == NextPass::Now
    }

    /// One look, begun or to be begun.
    async fn look(&mut self, batch: &mut Batch) {
        if let Some(mut files) = self.files.take() {
            self.look = Some(spawn_blocking(move || {
                let mut batch = Batch::new();
                let next = files.look(ClockReading::read(), &mut batch);
                PassResult { files, batch, next }
            }));
        }
        let Some(look) = &mut self.look else { return };
        let looked = look.await;
        self.look = None;
        match looked {
            Ok(looked) => self.looked(looked, batch),
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime is at its end.
            Err(_) => std::future::pending().await,
        }
    }

    fn looked(&mut self, PassResult { mut files, batch: found, next }: PassResult, batch: &mut Batch) {
        *batch = found;
        let now = ClockReading::read();
        self.earliest_wake = if batch.is_empty() { now.instant } else { now.instant + MIN_PASS_INTERVAL };
        self.next = next;
        for closed in self.fifos.keep(files.fifos()) {
            files.finish(closed, now, batch);
        }
        self.files = Some(files);
    }
}

/// What comes first.
fn earlier_pass(next: NextPass, due: Option<Instant>) -> NextPass {
    match (next, due) {
        (NextPass::At(at), Some(due)) => NextPass::At(at.min(due)),
        (next, _) => next,
    }
}

/// Waits until it is time to look.
async fn wait_for_pass(next: NextPass, pace: Instant, ear: &Mailbox) {
    match next {
        NextPass::Now => {}
        NextPass::At(at) => {
            let heard = async {
                sleep_until(pace).await;
                ear.wait().await;
            };
            select! {
                () = heard => {}
                () = sleep_until(at) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
