//! The pace of the views of a log: a source that reads faster than any reader receives wastes the time of the processor.

use std::sync::Arc;
use std::time::Duration;

use super::shared::LogShared;

/// The pace at which the readers of one log receive events.
#[derive(Debug, Clone)]
pub struct ViewPace(Arc<LogShared>);

impl ViewPace {
    pub(super) fn new(shared: Arc<LogShared>) -> Self {
        Self(shared)
    }

    /// The least time between two batches of the reader that receives the most; `None` without readers. Cost: a lock, and a
    /// step for each view.
    pub fn interval(&self) -> Option<Duration> {
        self.0.views().fastest_cut_interval()
    }
}
