//! The log of a stream in memory: an append-only sequence of numbered events in immutable segments.
//!
//! One [`Appender`] writes a log. It cuts each batch into segments, records them in the [history](crate::history) if
//! there is one, and then pushes them into the *ring*, a watch channel that wakes the readers. Each reader is a
//! [`Cursor`]: the sequence number of its next event, and a [`View`] that it shares with all readers of the same format
//! and filter. Reading never slows the writer (with one exception, [`ReadAhead`]): there is no queue for a reader. If
//! the ring has dropped the next event of a slow reader, the reader receives a gap with the number of events that it
//! missed.
//!
//! Reading order: `ring` (the events), `appender` (the writer), `log` (the read side), `cursor` (one reader), `view`
//! (the encoded bytes that readers share), `view_pace` (their pace, for the source), `shared` (the parts that all of these
//! share), `budget` (the memory of all streams together), `read_ahead` (the limit for reading files whose readers keep up),
//! `status` and `counts` (facts in addition to the events), `run_selection` (the runs, as readers see them), `private` (the visibility of the log), `catalog` (all streams
//! by name).

mod counts;
pub(crate) mod status;
pub(crate) mod ring;
mod view;
mod view_pace;
mod budget;
mod read_ahead;
mod appender;
mod shared;
pub(crate) mod private;
pub(crate) mod log;
mod cursor;
mod run_selection;
mod catalog;
#[cfg(test)]
mod cursor_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod run_tests;

pub use crate::history::inspect;
pub use crate::history::{History, HistoryError, Retention, StreamHistory, StreamInspection, read_events};
pub use crate::segment::{BadFilter, Filter};
pub use crate::segment::{Batch, Checkpoints};
pub use crate::structured::{Condition, StructuredFormat};
pub use appender::Appender;
pub use budget::Budget;
pub use catalog::{Catalog, CatalogEntry};
pub use counts::StreamCounts;
pub use cursor::{Cursor, CursorEnd, CursorItem, CursorStart, EncodedFrames};
pub use log::{Log, LogInfo};
pub use private::{PrivateFlag, PublicAccess};
pub use read_ahead::{ReadAhead, ReadRoom};
pub use run_selection::{ListedRun, RunPage, RunSelection, RunUnavailable};
pub use view::{Ansi, View};
pub use view_pace::ViewPace;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::{Position, RunInfo, StreamName};
use crate::history::{HistoryReader, RunLimits, RunTracker, SharedRuns};
use crate::segment::Numbering;

use ring::Ring;
use shared::{LogAccess, LogShared};
use status::SourceStatus;

/// The most runs that are kept of a log unless it is bounded otherwise.
const DEFAULT_LOG_RUNS: usize = 1000;

/// Opens a log named `name` that keeps at most `memory` bytes. Its first event has the id after `last`.
///
/// `memory` includes text, index and encoded bytes. The summaries of runs take up to a sixteenth of it in addition. The newest segment stays even if it is larger.
pub fn open(name: StreamName, last: Position, memory: usize, budget: &Budget) -> (Appender, Log) {
    let retention = Retention { bytes: u64::MAX, age: Duration::MAX, runs: DEFAULT_LOG_RUNS };
    let runs = SharedRuns::new(RunTracker::new(0, RunLimits::new(memory, retention)));
    open_at(name, Numbering::new(last), memory, budget, None, None, runs)
}

/// Opens a log that continues where its history ends; events that memory has dropped are read from the history.
///
/// Also returns the source's checkpoints after the last recorded event.
pub fn open_with_history(
    name: StreamName,
    found: StreamHistory,
    memory: usize,
    budget: &Budget,
) -> (Appender, Log, Checkpoints) {
    let StreamHistory { numbering, checkpoints, recorder, reader, run, runs, damaged } = found;
    runs.lock().set_limits(RunLimits::new(memory, reader.retention()));
    let (appender, log) = open_at(name, numbering, memory, budget, Some(reader), run, runs);
    (appender.recorded(recorder, damaged), log, checkpoints)
}

fn open_at(
    name: StreamName,
    numbering: Numbering,
    memory: usize,
    budget: &Budget,
    history: Option<HistoryReader>,
    run: Option<RunInfo>,
    runs: SharedRuns,
) -> (Appender, Log) {
    let mut ring = Ring::new(numbering);
    ring.status = SourceStatus::recovered(run);
    if let Some(history) = &history {
        ring.set_history_range(history.seq_range());
    }
    let (sender, ring) = watch::channel(ring);
    let sender = Arc::new(sender);
    let share = budget.join(Arc::downgrade(&sender));
    let shared = Arc::new(LogShared::new(name, PrivateFlag::of(&sender), history, memory, runs));
    let log = Log::new(LogAccess { shared: shared.clone(), ring, public: false, by_public_access: None, format: None });
    (Appender::new(sender, shared, share), log)
}
