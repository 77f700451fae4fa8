//! The time after the end of the first process of a run, in which its remaining output is read.

use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::RunEnd;

/// The time for which pipes must be quiet after the end of the process: its descendants may still write.
pub(super) const DRAIN_QUIET_TIME: Duration = Duration::from_millis(300);

/// The longest time for which pipes are drained: a background process that was left behind may write forever.
pub(super) const MAX_DRAIN_WAIT: Duration = Duration::from_secs(5);

/// The interval at which a group that was asked to end is checked.
const GROUP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The process has ended; its pipes are read until they are quiet.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) end: RunEnd,
    /// The time at which the pipes have been quiet for long enough.
    pub(super) quiet_until: Instant,
    /// The time after which the pipes are not read, even if they are not quiet.
    pub(super) last: Instant,
    step: DrainStep,
}

/// The processes whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainStep {
    /// The process that ended, and whatever else writes meanwhile.
    Leader,
    /// Processes that it left behind, which were asked to end.
    Leftovers,
    /// Nothing is left of the run, or all that was left was killed.
    Rest,
}

impl Draining {
    /// Begins after the end of the process. Nobody can write into pipes that had ended before the process did, so there is
    /// nothing to wait for then.
    pub(super) fn begin(end: RunEnd, is_output_ended: bool) -> Self {
        let now = Instant::now();
        let quiet_until = if is_output_ended { now } else { now + DRAIN_QUIET_TIME };
        Self { end, quiet_until, last: now + MAX_DRAIN_WAIT, step: DrainStep::Leader }
    }

    /// Records that output was read.
    pub(super) fn note_output(&mut self) {
        self.quiet_until = Instant::now() + DRAIN_QUIET_TIME;
    }

    /// Reads on until the processes that were left are looked for again: they are killed at `kill`.
    pub(super) fn wait_for_leftovers(&mut self, kill: Instant) {
        self.step = DrainStep::Leftovers;
        self.last = (Instant::now() + GROUP_POLL_INTERVAL).min(kill);
        self.quiet_until = self.last;
    }

    /// Returns whether processes that were left behind may have printed something until they ended.
    pub(super) fn has_waited_for_leftovers(&self) -> bool {
        self.step == DrainStep::Leftovers
    }

    /// Records that no process is left, except those that are killed now. Returns `false` if that was known.
    pub(super) fn begin_rest(&mut self) -> bool {
        mem::replace(&mut self.step, DrainStep::Rest) != DrainStep::Rest
    }

    /// Reads what is still in the pipes.
    pub(super) fn read_rest(&mut self) {
        self.note_output();
        self.last = Instant::now() + MAX_DRAIN_WAIT;
    }
}
