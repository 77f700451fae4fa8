//! Counts of a log since it was opened.

use std::time::Duration;

use crate::event::EventKind;

use crate::segment::Segment;

/// Counts that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounts {
    /// The number of lines; each piece of a line that was cut is counted.
    pub lines: u64,
    /// The number of bytes in lines, without newlines.
    pub bytes: u64,
    /// The number of losses, each of which means that the source could not deliver data.
    pub losses: u64,
    /// The number of runs of the process.
    pub runs: u64,
    /// The number of gaps that readers received.
    pub gaps: u64,
    /// The number of runs that were taken over from an earlier daemon.
    pub take_overs: u64,
    /// The number of runs of an earlier daemon that could not be taken over.
    pub lost_take_overs: u64,
    /// The time for which the last run had no daemon, in total.
    pub orphaned: Duration,
}

impl StreamCounts {
    /// Counts the events of a segment.
    pub(crate) fn add_segment(&mut self, segment: &Segment) {
        for at in 0..segment.len() {
            match segment.kind(at).0 {
                EventKind::Line => {
                    self.lines += 1;
                    self.bytes += segment.event(at).text.len() as u64;
                }
                EventKind::Loss => self.losses += 1,
                EventKind::State | EventKind::End => {}
            }
        }
    }
}
