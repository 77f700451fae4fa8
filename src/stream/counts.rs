//! Counts of a log since it was opened.

use crate::event::EventKind;

use crate::segment::Segment;

/// Counts that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounts {
    /// Lines; each piece of a line that was cut counts.
    pub lines: u64,
    /// Bytes of the lines, without newlines.
    pub bytes: u64,
    /// Losses: how often the source could not deliver.
    pub losses: u64,
    /// Runs of the process.
    pub runs: u64,
    /// Gaps: how often a reader missed events.
    pub gaps: u64,
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
