//! Searching backwards for the last lines that pass a filter.

use crate::event::EventKind;
use crate::structured::StructuredFormat;

use super::filter::Filter;
use super::segment::Segment;

/// A search for the last lines that pass a filter, from the newest back.
#[derive(Debug)]
pub(crate) struct BackwardSearch {
    /// The number of lines that are still to be found; at least one.
    left: u64,
    filter: Filter,
    /// The form in which the lines are structured, if they are.
    format: Option<StructuredFormat>,
    /// The number of lines that were matched against the filter.
    pub(crate) filter_checks: u64,
}

impl BackwardSearch {
    pub(crate) fn new(lines: u64, filter: Filter, format: Option<StructuredFormat>) -> Self {
        Self { left: lines, filter, format, filter_checks: 0 }
    }

    /// The sequence number of the last line to be found, if it is in `segment` and before `bound`. Segments must come
    /// from the newest to the oldest.
    pub(crate) fn find_in(&mut self, segment: &Segment, bound: u64) -> Option<u64> {
        for at in (0..segment.len()).rev().filter(|&at| segment.seq() + (at as u64) < bound) {
            if segment.kind(at).0 == EventKind::Line
                && self.filter.matches_event(segment, at, self.format, &mut self.filter_checks)
            {
                self.left -= 1;
                if self.left == 0 {
                    return Some(segment.seq() + at as u64);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin, Position, SourceState, Time};
    use crate::segment::Batch;

    #[test]
    fn the_last_lines_that_pass_are_found() {
        // The sequence numbers from 10: a, b, a, a state, b, a; and from 20: b, a.
        let segment = |seq, texts: &str| {
            let mut batch = Batch::new();
            for text in texts.bytes() {
                match text {
                    b'!' => batch.state(Time(0), SourceState::Receiving),
                    _ => batch.line(Time(0), &Origin::stdout(), Flags::NONE, &[text]),
                }
            }
            batch.take_segments(Position { epoch: Epoch::persistent(7), number: 1 }, seq).remove(0)
        };
        let (old, new) = (segment(10, "aba!ba"), segment(20, "ba"));
        let only_a = Filter::new(&["a".into()], &[], vec![], 1 << 20).unwrap();
        // The number of lines, the filter, the bound, what is found in both segments, and the number of lines compared.
        let table = [
            (1, &only_a, 100, [Some(21), None], 1),
            (1, &only_a, 21, [None, Some(15)], 2),
            (2, &only_a, 100, [None, Some(15)], 3),
            (3, &only_a, 100, [None, Some(12)], 5),
            (4, &only_a, 100, [None, Some(10)], 7),
            (5, &only_a, 100, [None, None], 7),
            (2, &only_a, 15, [None, Some(10)], 4),
            (2, &Filter::default(), 100, [Some(20), None], 0),
            (5, &Filter::default(), 100, [None, Some(12)], 0),
        ];
        for (lines, filter, bound, expected, compared) in table {
            let mut search = BackwardSearch::new(lines, filter.clone(), None);
            let in_new = search.find_in(&new, bound);
            let found = [in_new, if in_new.is_none() { search.find_in(&old, bound) } else { None }];
            assert_eq!((found, search.filter_checks), (expected, compared), "{lines} lines before {bound}");
        }
    }
}
