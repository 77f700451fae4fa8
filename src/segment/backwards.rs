//! Searching backwards for the last lines that pass a filter.

use crate::event::EventKind;

use super::filter::Filter;
use super::segment::Segment;

/// A search for the last lines that pass a filter, from the newest back.
#[derive(Debug)]
pub(crate) struct BackwardSearch {
    /// The number of lines that are still to be found; at least one.
    left: u64,
    filter: Filter,
    /// The number of lines that were matched against the filter.
    pub(crate) filter_checks: u64,
}

impl BackwardSearch {
    pub(crate) fn new(lines: u64, filter: Filter) -> Self {
        Self { left: lines, filter, filter_checks: 0 }
    }

    /// The sequence number of the last line to be found, if it is in `segment` and before `bound`. Segments must come
    /// from the newest to the oldest.
    pub(crate) fn find_in(&mut self, segment: &Segment, bound: u64) -> Option<u64> {
        for at in (0..segment.len()).rev().filter(|&at| segment.seq() + (at as u64) < bound) {
            let event = segment.event(at);
            if event.kind == EventKind::Line && self.filter.matches_event(&event, &mut self.filter_checks) {
                self.left -= 1;
                if self.left == 0 {
                    return Some(segment.seq() + at as u64);
                }
            }
        }
        None
    }
}
