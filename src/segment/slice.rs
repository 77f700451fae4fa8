//! A part of a segment.

use std::sync::Arc;

use super::segment::Segment;

/// The events `from` to before `to` of one segment, counted from 0; `from` < `to` <= `segment.len()`.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Slice {
    /// Returns whether all texts are ASCII without the ends of lines, as nearly all are. This is determined for all of them
    /// together, in a small part of the time that each by itself would take.
    pub(crate) fn is_plain_ascii(&self) -> bool {
        let text = self.segment.text_between(self.from, self.to);
        text.is_ascii() && memchr::memchr2(b'\r', b'\n', text).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin, Position, Time};
    use crate::segment::Batch;

    #[test]
    fn only_ascii_without_the_ends_of_lines_is_plain() {
        // The texts of three events, and whether the last two, and all of them, are plain.
        let table: [([&[u8]; 3], bool, bool); 6] = [
            ([b"one", b"", b"\x1b[1mtwo\x1b[0m\t"], true, true),
            ([b"one\ntwo", b"", b"x"], true, false),
            ([b"x", b"10%\r20%", b"x"], false, false),
            ([b"x", b"x", "d\u{e9}j\u{e0}".as_bytes()], false, false),
            // The halves of a character, which are valid only together.
            ([b"x", b"\xc3", b"\xa9"], false, false),
            ([b"\xff", b"x", b"x"], true, false),
        ];
        for (texts, are_last_plain, are_plain) in table {
            let mut batch = Batch::new();
            for text in texts {
                batch.line(Time(0), &Origin::stdout(), Flags::NONE, text);
            }
            let first = Position { epoch: Epoch::ephemeral(1, 1), number: 1 };
            let segment = Arc::new(batch.take_segments(first, 0).remove(0));
            let is_plain = |from| Slice { segment: segment.clone(), from, to: 3 }.is_plain_ascii();
            assert_eq!((is_plain(1), is_plain(0)), (are_last_plain, are_plain), "{texts:?}");
        }
    }
}
