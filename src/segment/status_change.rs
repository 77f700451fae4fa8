//! What a batch says of the state of its source. The newest of each is kept; none is numbered.

use crate::event::{Progress, RunEnd, Time};

/// A change of the run or the progress of a source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatusChange {
    RunStarted(Time),
    Progress(Progress),
    RunEnded(Time, RunEnd),
}
