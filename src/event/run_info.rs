//! The last run of a process, as far as it is known.

use super::{RunEnd, Time};

/// The last run of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// The start time of the run.
    pub started: Time,
    /// The time and the kind of the end; `None` while the run lasts.
    pub ended: Option<(Time, RunEnd)>,
}
