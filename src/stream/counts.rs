//! What came to a log since it was opened, in numbers.

use crate::event::EventKind;

use crate::segment::Segment;

/// Counts that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounts {
    /// Lines; one that was too long counts for each of its pieces.
    pub lines: u64,
    /// Bytes of these, without their ends.
    pub bytes: u64,
    /// Losses: how often the source could not deliver.
    pub losses: u64,
    /// Runs of its process.
    pub runs: u64,
    /// Gaps: how often a reader missed events that were kept and dropped.
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
