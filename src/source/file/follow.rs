//! One path: growth, rotation, truncation, and that it is not there. Blocks; knows no clock, no task and no other path.
//!
//! All of it is one function, [`Follow::look`]: it looks at the path, reads a chunk, and says when to look again.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{FileSource, Start, Stream};
use crate::event::{Loss, Origin, SourceState};
use crate::source::Now;
use crate::source::feed::Feed;
use crate::stream::Batch;

use super::identity::{Identity, Trace};
use super::reader::{Read, Reader};
use super::wake::{Ears, Wakes};

/// Of a file that is there at the start, so many last lines are given out: enough to see what it is about.
const LAST_LINES: usize = 100;

/// A file that was rotated away or deleted is read for this much longer: its writer may not know yet.
const ROTATE_WAIT: Duration = Duration::from_secs(1);

/// Most files open at once for one path: those that were rotated away within [`ROTATE_WAIT`], and the newest.
const OPEN: usize = 16;

/// What the system refused is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);

/// A file that grew within this time is active.
const ACTIVE: Duration = Duration::from_mins(1);

/// Where wakes come, looks at intervals are but a safety net: one for active files, and one for others.
const NET: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Where none come, these intervals are what readers wait for.
const POLL: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// At once: there is more.
    Now,
    /// On a wake, or at this time.
    At(Instant),
    /// The same, and the path is this fifo: what comes out of it goes to `Follow::push`.
    Fifo(Identity, Instant),
}

/// A path that is followed.
#[derive(Debug)]
pub(super) struct Follow {
    path: PathBuf,
    feed: Feed,
    ears: Ears,
    /// Where to begin in a file that is there at the start; `None` once the path was looked at.
    from: Option<Start>,
    /// The oldest is read; the last is what the path names, unless it was replaced.
    open: VecDeque<Opened>,
    broken: Option<Broken>,
    /// When there was something new.
    grew: Option<Instant>,
    /// The state that was said last.
    said: Option<SourceState>,
}

#[derive(Debug)]
struct Opened {
    reader: Reader,
    /// When the path was first seen not to name it any more.
    replaced: Option<Instant>,
    /// What replaced it was there at once, and as large: it may be an edited copy.
    atomic: bool,
}

/// A file that could be opened, but not read.
#[derive(Debug)]
struct Broken {
    /// How far it was read.
    place: Trace,
    error: Refusal,
    retry: Instant,
}

/// What the system refused, and why.
#[derive(Debug, Clone)]
struct Refusal {
    errno: Option<i32>,
    error: String,
}

/// What the path names.
#[derive(Debug)]
enum Found {
    File,
    Fifo(Identity),
    Missing,
    Refused(Refusal),
    /// Something that has no lines.
    Other(&'static str),
}

impl Follow {
    /// `ear` is notified when it is time to [`look`](Self::look).
    pub(super) fn new(spec: &Stream, source: &FileSource, wakes: Wakes, ear: Arc<Notify>) -> Self {
        Self {
            path: source.path.clone(),
            feed: Feed::new(spec, [Origin::file(&source.path)]),
            ears: Ears::new(wakes, ear),
            from: Some(source.from),
            open: VecDeque::new(),
            broken: None,
            grew: None,
            said: None,
        }
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What bytes go through; those of a fifo go there from outside.
    pub(super) fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }

    /// Looks at the path and reads at most one chunk into `batch`.
    pub(super) fn look(&mut self, now: Now, batch: &mut Batch) -> Next {
        // First the ears, then the eyes: what happens in between is heard.
        self.ears.listen(&self.path);
        let found = self.resolve(now, batch);
        self.report(&found, now, batch);
        let more = self.read(now, batch);
        self.report(&found, now, batch);
        self.feed.show(now.instant, batch);
        if more { Next::Now } else { self.next(&found, now.instant) }
    }

    /// Opens what the path names, if it is a file and not open yet; notes when it names another.
    fn resolve(&mut self, now: Now, batch: &mut Batch) -> Found {
        if let Some(broken) = self.broken.as_ref().filter(|broken| now.instant < broken.retry) {
            return Found::Refused(broken.error.clone());
        }
        let found = match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => return self.found(Identity::from(&metadata), now, batch),
            Ok(metadata) => not_a_file(&metadata),
            Err(error) if is_missing(&error) => Found::Missing,
            // What is open stays what it is.
            Err(error) => return Found::Refused(self.refusal("look at", &error)),
        };
        self.from = None;
        self.replace(now.instant, None);
        found
    }

    /// The path names a file.
    fn found(&mut self, identity: Identity, now: Now, batch: &mut Batch) -> Found {
        if let Some(at) = self.open.iter().position(|opened| opened.reader.identity() == identity) {
            if at + 1 < self.open.len() {
                self.come_back(at, now, batch);
            } else {
                self.open[at].replaced = None;
            }
            return Found::File;
        }
        match Reader::open(&self.path).and_then(|reader| self.begin(reader, now, batch)) {
            Ok(()) => Found::File,
            Err(error) if is_missing(&error) => Found::Missing,
            Err(error) => Found::Refused(self.refusal("open", &error)),
        }
    }

    /// The path names `reader` from now on.
    fn begin(&mut self, mut reader: Reader, now: Now, batch: &mut Batch) -> io::Result<()> {
        let known = match &self.broken {
            Some(broken) => reader.go_on(&broken.place)?,
            None => false,
        };
        if let Some(Start::End) = self.from {
            reader.go_to_last(LAST_LINES)?;
        }
        if self.broken.take().is_some() && !known {
            self.finish(now, batch);
        }
        self.from = None;
        self.replace(now.instant, Some(&reader));
        if self.open.len() == OPEN
            && let Some(lost) = self.open.pop_back()
        {
            let reason = "the file was rotated more often than it could be read".to_owned();
            batch.loss(now.time, &Loss { missed: None, bytes: Some(lost.reader.size()), reason });
        }
        self.open.push_back(Opened { reader, replaced: None, atomic: false });
        Ok(())
    }

    /// The path does not name what it did, but `by`.
    fn replace(&mut self, now: Instant, by: Option<&Reader>) {
        if let Some(last) = self.open.back_mut().filter(|last| last.replaced.is_none()) {
            last.replaced = Some(now);
            last.atomic = by.is_some_and(|by| by.size() >= last.reader.trace().offset());
        }
    }

    /// The path names again what it named before, and what is still open.
    fn come_back(&mut self, at: usize, now: Now, batch: &mut Batch) {
        self.replace(now.instant, None);
        if at == 0 {
            self.finish(now, batch);
        }
        if let Some(opened) = self.open.remove(at) {
            self.open.push_back(Opened { replaced: None, ..opened });
        }
    }

    /// Reads a chunk of the oldest file; says whether there is more to do.
    fn read(&mut self, now: Now, batch: &mut Batch) -> bool {
        let Some(oldest) = self.open.front_mut() else { return false };
        match oldest.reader.read() {
            Ok(Read::Bytes { bytes, more }) => {
                self.feed.push(0, &bytes, now, batch);
                self.grew = Some(now.instant);
                more
            }
            Ok(Read::Hole { bytes }) => {
                let reason = "NUL bytes, left by a writer that did not notice a truncation".to_owned();
                batch.loss(now.time, &Loss { missed: Some(0), bytes: Some(bytes), reason });
                true
            }
            Ok(Read::End) => self.leave(now, batch),
            Ok(Read::Truncated { unread }) => {
                oldest.reader.restart();
                self.finish(now, batch);
                let reason = "the file was truncated or overwritten".to_owned();
                batch.loss(now.time, &Loss { missed: None, bytes: unread, reason });
                true
            }
            Err(error) => {
                let (place, retry) = (oldest.reader.trace().clone(), now.instant + RETRY);
                self.broken = Some(Broken { place, error: self.refusal("read", &error), retry });
                self.open.pop_front();
                false
            }
        }
    }

    /// Closes the oldest file, which was read to its end, if it was replaced long enough ago.
    fn leave(&mut self, now: Now, batch: &mut Batch) -> bool {
        let over = |opened: &mut Opened| opened.replaced.is_some_and(|at| now.instant >= at + ROTATE_WAIT);
        let Some(old) = self.open.pop_front_if(over) else { return false };
        // An editor, or `sed -i`, wrote a copy and put it over the file: that is the same file.
        let same = old.atomic
            && old.reader.is_deleted()
            && self.open.front_mut().is_some_and(|next| next.reader.go_on(old.reader.trace()).unwrap_or(false));
        if !same {
            self.finish(now, batch);
        }
        true
    }

    /// The half line is at its end.
    pub(super) fn finish(&mut self, now: Now, batch: &mut Batch) {
        if self.feed.is_open(0) {
            self.feed.finish(0, now, batch);
        }
    }

    /// Says how it is, if that has changed.
    fn report(&mut self, found: &Found, now: Now, batch: &mut Batch) {
        let state = self.state(found);
        if self.said.as_ref() == Some(&state) {
            return;
        }
        if let SourceState::Denied { error, .. } = &state {
            warn!(error = error.as_str(); "cannot be followed");
        } else if let SourceState::Waiting { reason } = &state {
            info!(reason = reason.as_str(); "waiting for a file");
        }
        batch.state(now.time, state.clone());
        self.said = Some(state);
    }

    fn state(&self, found: &Found) -> SourceState {
        let path = self.path.display();
        match (found, &self.broken) {
            (_, None) if !self.open.is_empty() => self.following(),
            (_, Some(Broken { error, .. })) | (Found::Refused(error), None) => {
                SourceState::Denied { errno: error.errno, error: error.error.clone() }
            }
            (Found::File | Found::Fifo(_), None) => self.following(),
            (Found::Missing, None) => SourceState::Waiting { reason: format!("{path} does not exist") },
            (Found::Other(kind), None) => {
                let error = format!("{path} is {kind}; only files and fifos can be followed");
                SourceState::Denied { errno: None, error }
            }
        }
    }

    fn following(&self) -> SourceState {
        match self.ears.deaf() {
            None => SourceState::Following { files: 1 },
            Some(reason) => SourceState::Polling { files: 1, reason: reason.to_owned() },
        }
    }

    /// When to look again, if no wake comes before.
    fn next(&self, found: &Found, now: Instant) -> Next {
        let active = self.grew.is_some_and(|grew| now < grew + ACTIVE);
        let [busy, quiet] = if self.ears.deaf().is_some() { POLL } else { NET };
        let mut at = now + if active { busy } else { quiet };
        if matches!(found, Found::Refused(_) | Found::Other(_)) || self.broken.is_some() {
            at = at.min(now + RETRY);
        }
        let left = self.open.front().and_then(|oldest| oldest.replaced);
        at = [self.feed.due(), left.map(|left| left + ROTATE_WAIT)].into_iter().flatten().fold(at, Instant::min);
        match found {
            Found::Fifo(fifo) if self.open.is_empty() => Next::Fifo(*fifo, at.min(now + busy)),
            Found::Fifo(_) | Found::File | Found::Missing | Found::Refused(_) | Found::Other(_) => Next::At(at),
        }
    }

    fn refusal(&self, verb: &str, error: &io::Error) -> Refusal {
        Refusal { errno: error.raw_os_error(), error: format!("cannot {verb} {}: {error}", self.path.display()) }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn not_a_file(metadata: &Metadata) -> Found {
    let kind = metadata.file_type();
    if kind.is_fifo() {
        Found::Fifo(Identity::from(metadata))
    } else if kind.is_dir() {
        Found::Other("a directory")
    } else if kind.is_socket() {
        Found::Other("a socket")
    } else {
        Found::Other("a device")
    }
}
