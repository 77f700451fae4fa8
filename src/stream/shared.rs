//! The parts of a log that its appender and all its readers share.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::event::{StreamName, lock};
use crate::history::{HistoryReader, SharedRuns};
use crate::structured::StructuredFormat;

use super::private::{PrivateFlag, PublicAccess};
use super::read_ahead::ReaderPositions;
use super::ring::Ring;
use super::view::{EncodedLog, Views};

/// Everything that the appender and the readers of one log share in addition to its ring.
#[derive(Debug)]
pub(super) struct LogShared {
    pub(super) name: StreamName,
    pub(super) private: PrivateFlag,
    /// The events on disk; `None` if nothing is recorded.
    pub(super) history: Option<HistoryReader>,
    /// The most bytes of events and encoded bytes together.
    pub(super) memory: Arc<AtomicUsize>,
    /// The positions of the readers; `None` with a history, from which a reader that is behind continues.
    pub(super) positions: Option<Arc<ReaderPositions>>,
    /// The runs, up to the newest event or a batch that is about to be published.
    pub(super) runs: SharedRuns,
    views: Mutex<Views>,
    /// The number of readers that ever came and demanded the source.
    demands: watch::Sender<u64>,
}

impl LogShared {
    pub(super) fn new(
        name: StreamName,
        private: PrivateFlag,
        history: Option<HistoryReader>,
        memory: usize,
        runs: SharedRuns,
    ) -> Self {
        let positions = history.is_none().then(|| Arc::new(ReaderPositions::new()));
        Self {
            name,
            private,
            history,
            positions,
            memory: Arc::new(AtomicUsize::new(memory)),
            runs,
            views: Mutex::default(),
            demands: watch::Sender::new(0),
        }
    }

    /// The views, locked. The guard must not be held across an await.
    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        lock(&self.views)
    }

    /// The number of readers that ever came and demanded the source.
    pub(super) fn demands(&self) -> watch::Receiver<u64> {
        self.demands.subscribe()
    }

    /// Counts a reader that demands the source.
    pub(super) fn add_demand(&self) {
        self.demands.send_modify(|demands| *demands += 1);
    }
}

/// Read access to a log, as a [`Log`](super::Log) and each of its cursors hold it.
#[derive(Debug, Clone)]
pub(super) struct LogAccess {
    pub(super) shared: Arc<LogShared>,
    pub(super) ring: watch::Receiver<Ring>,
    /// `true` if the access ends when the stream becomes private.
    pub(super) public: bool,
    /// The permission of everybody, if the access is only by it: the access ends when it is withdrawn.
    pub(super) by_public_access: Option<PublicAccess>,
    /// The form in which the lines are structured, if they are.
    pub(super) format: Option<StructuredFormat>,
}

impl LogAccess {
    /// Returns whether the log may not be read any more: the access is public, and the stream is private, or not public
    /// any more.
    pub(super) fn is_denied(&self) -> bool {
        self.denials().any(PrivateFlag::is_set)
    }

    /// The flags each of which denies the access once it is set.
    pub(super) fn denials(&self) -> impl Iterator<Item = &PrivateFlag> {
        let private = self.public.then_some(&self.shared.private);
        private.into_iter().chain(self.by_public_access.as_ref().map(PublicAccess::withdrawal))
    }

    /// The facts that the encoding of events needs.
    pub(super) fn encoded_log(&self) -> EncodedLog<'_> {
        EncodedLog { name: &self.shared.name, format: self.format }
    }
}
