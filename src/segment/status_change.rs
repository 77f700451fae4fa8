//! Changes of a source's status in a batch. Only the newest is kept; none is numbered.

use std::time::Duration;

use crate::event::{Progress, RunEnd, Time};

/// A change of the run or the progress of a source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatusChange {
    /// A run begins.
    RunStarted(Time),
    /// The source reports again that the process runs; the run began before.
    RunContinues(Time),
    Progress(Progress),
    RunEnded(Time, RunEnd),
    /// The run of an earlier daemon was taken over, and had no daemon for this time in total. `None`: it could not be
    /// taken over.
    TakenOver(Option<Duration>),
}
