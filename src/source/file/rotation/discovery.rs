//! Discovery of siblings: when those of a path are listed, and which of them are new.
//!
//! A writer renames a file before it creates the next one. A listing that begins after the newest file was seen
//! therefore shows every older one, except that names may move from one file to another while it runs: then the next
//! pass lists again.

use tokio::time::Instant;

use super::location::LogLocation;
use super::siblings::{DirectoryIndex, Sibling, Siblings, stamp_of};
use super::watermark::Watermark;
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::fingerprint::Identity;

/// The discovery state of the siblings of one path.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// The siblings that have been read; `None` until the directory was listed for the first time.
    watermark: Option<Watermark>,
    /// The direction of numbers: whether a higher one means a newer file; `None` while it is not known.
    counts_up: Option<bool>,
    /// The file that the path names and that is not a generation yet (or that it names nothing), and the time since
    /// when.
    newest_seen: Option<(Option<Identity>, Instant)>,
    progress: DiscoveryProgress,
    /// After a restart, until the siblings were listed: there may be some that come before the files of which nothing was read.
    is_required: bool,
}

/// The state of the siblings in the generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum DiscoveryProgress {
    /// The directory may contain more siblings.
    #[default]
    Open,
    /// All siblings are generations, as long as the directories have this [stamp](stamp_of).
    Settled(u64),
    /// There was no room for all siblings.
    Overflowed,
}

/// The result of [`Discovery::list`].
#[derive(Debug)]
pub(super) enum Listing {
    /// The directory has not changed since all siblings were added.
    Known,
    /// There is no room for more generations.
    NoRoom,
    /// Names are changing: the next pass lists again.
    Unclear,
    /// The siblings, oldest first; [`Discovery::finish`] follows once the new ones are added.
    Siblings(Siblings),
}

/// The result of adding siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SiblingsAdded {
    All,
    /// The file that the path named is one of the siblings by now: it was rotated, and there may be files behind it.
    NewestRotated,
    /// There was no room for all of them.
    NoRoom,
}

impl Discovery {
    /// Continues from a checkpoint.
    pub(super) fn resume(saved: &Checkpoint) -> Self {
        Self { watermark: Some(saved.watermark()), counts_up: saved.counts_up(), ..Self::default() }
    }

    /// Lets no file be read from its start before the siblings were listed.
    pub(super) fn require(&mut self) {
        self.is_required = true;
    }

    /// Returns whether the siblings must be listed before a file is read from its start.
    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Records that nothing that the siblings tell is awaited any more.
    pub(super) fn end_requirement(&mut self) {
        self.is_required = false;
    }

    /// Sets the watermark if there is none: only siblings created after `since` are new; in nanoseconds since the Unix
    /// epoch.
    pub(super) fn start_watermark(&mut self, since: Option<u64>) {
        self.watermark = self.watermark.take().or_else(|| since.map(Watermark::at));
    }

    /// The file that the path named when the siblings were listed last.
    pub(super) fn newest(&self) -> Option<Identity> {
        self.newest_seen.and_then(|(newest, _)| newest)
    }

    /// Lists the siblings if there may be new ones; `newest` is the file that the path names.
    pub(super) fn list(
        &mut self,
        location: &LogLocation,
        newest: Option<Identity>,
        has_room: bool,
        index: &mut DirectoryIndex,
    ) -> Listing {
        match self.progress {
            DiscoveryProgress::Overflowed if !has_room => return Listing::NoRoom,
            DiscoveryProgress::Settled(settled) if stamp_of(location) == Some(settled) => {
                return Listing::Known;
            }
            DiscoveryProgress::Overflowed | DiscoveryProgress::Settled(_) | DiscoveryProgress::Open => {}
        }
        let since = match self.newest_seen {
            Some((seen, since)) if seen == newest => since,
            _ => Instant::now(),
        };
        self.newest_seen = Some((newest, since));
        // The files of the first listing are not read, so that its time does not matter.
        let since = self.watermark.as_ref().map(|_| since);
        let Some(mut siblings) = index.rotated(location, since) else { return Listing::Unclear };
        self.counts_up = siblings.order(self.counts_up);
        self.watermark.get_or_insert_with(|| Watermark::behind(&siblings.files));
        Listing::Siblings(siblings)
    }

    /// The direction of numbers that is known.
    pub(super) fn counts_up(&self) -> Option<bool> {
        self.counts_up
    }

    /// Records that the siblings are elsewhere now.
    pub(super) fn note_moved(&mut self) {
        self.progress = DiscoveryProgress::Open;
    }

    /// Records which of the siblings of a listing were added.
    pub(super) fn finish(&mut self, siblings: &Siblings, added: SiblingsAdded) {
        self.progress = match (added, siblings.settled_stamp) {
            (SiblingsAdded::NoRoom, _) => DiscoveryProgress::Overflowed,
            (SiblingsAdded::All, Some(settled)) => DiscoveryProgress::Settled(settled),
            (SiblingsAdded::All, None) | (SiblingsAdded::NewestRotated, _) => DiscoveryProgress::Open,
        };
    }

    /// Records that the path names a file that is a generation already.
    pub(super) fn note_named(&mut self, identity: Identity) {
        if self.newest() != Some(identity) {
            self.newest_seen = Some((Some(identity), Instant::now()));
        }
    }

    /// Returns whether a sibling has not been read.
    pub(super) fn is_new(&self, sibling: &Sibling) -> bool {
        self.watermark.as_ref().is_none_or(|mark| !mark.is_done(sibling))
    }

    /// Records that a generation and all older ones were read to the end.
    pub(super) fn leave(&mut self, age: u64, identity: Identity) {
        if let Some(mark) = &mut self.watermark {
            mark.raise(age, identity);
        }
    }

    /// Skips these siblings, which are copies of what was read. Returns `false` before the first listing.
    pub(super) fn skip(&mut self, siblings: &Siblings) -> bool {
        if let Some(mark) = &mut self.watermark {
            mark.raise_to_all(&siblings.files);
        }
        self.watermark.is_some()
    }

    /// Adds the siblings that have been read to a checkpoint.
    pub(super) fn complete(&self, checkpoint: Checkpoint) -> Checkpoint {
        checkpoint.with_watermark(self.watermark.as_ref()).with_counts_up(self.counts_up)
    }
}
