//! The headers of foldable sections, as GitLab and Travis define them. Each ends with a carriage return and an erasure, so
//! that a terminal hides it; it is kept here, since it tells which section begins or ends.

use crate::event::visible_text;

/// The longest text that may consist of headers, in bytes. Each is examined as often as something is added to it.
const MAX_HEADER_SIZE: usize = 1 << 10;

const BEGINNINGS: [&[u8]; 4] = [b"section_start:", b"section_end:", b"travis_fold:", b"travis_time:"];

/// Returns whether the visible text consists of headers of foldable sections, with blanks between and behind them, and of
/// nothing else.
pub(super) fn is_section_header(text: &[u8]) -> bool {
    // Most texts before a carriage return are progress bars.
    if text.len() > MAX_HEADER_SIZE || memchr::memchr(b'_', text).is_none() {
        return false;
    }
    let text = visible_text(text);
    let is_header = |word: &[u8]| BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
    text.trim_ascii_end().split(|byte| *byte == b' ').all(is_header)
}

/// The part of a line that a terminal would show at its end: the text after the last carriage return that text follows.
/// Headers of sections right before that text are a part of it. If carriage returns are kept, the rest of the line is what
/// was there before.
pub fn after_carriage_return(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    let begin_before = |end: usize| memchr::memrchr(b'\r', &line[..end]).map_or(0, |at| at + 1);
    let mut begin = begin_before(end);
    while let Some(header_end) = begin.checked_sub(1) {
        let header_begin = begin_before(header_end);
        if !is_section_header(&line[header_begin..header_end]) {
            break;
        }
        begin = header_begin;
    }
    &line[begin..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_shows_includes_the_headers_before_it() {
        let table = [
            ("a", "a"),
            ("a\rb", "b"),
            ("a\rb\r\r", "b"),
            ("a_b\rc", "c"),
            ("section_start:1:a\r\x1b[0KTitle", "section_start:1:a\r\x1b[0KTitle"),
            (
                "\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0KTitle",
                "\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0KTitle",
            ),
            ("10%\rsection_end:1:a\r\x1b[0K", "section_end:1:a\r\x1b[0K"),
            (
                "section_end:1:a\r\x1b[0Ksection_start:2:b\r\x1b[0KB",
                "section_end:1:a\r\x1b[0Ksection_start:2:b\r\x1b[0KB",
            ),
            ("travis_time:start:1 travis_fold:start:a\rmake", "travis_time:start:1 travis_fold:start:a\rmake"),
            ("section_start:1:a\r10%\r20%", "20%"),
            ("the section_start:1:a\rx", "x"),
            ("section_start:1:a and more\rx", "x"),
            ("section_start:1:a\r\rx", "x"),
        ];
        for (line, expected) in table {
            assert_eq!(after_carriage_return(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }
}
