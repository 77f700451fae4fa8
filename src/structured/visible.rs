//! The text that a terminal shows of a line: without its escape sequences.

use std::borrow::Cow;

/// The line without escape sequences (ECMA-48, sections 5.3, 5.4 and 5.6). Borrowed, at the cost of one search, if it
/// has none.
pub(super) fn visible(line: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(0x1b, line) else { return Cow::Borrowed(line) };
    let mut text = line[..first].to_vec();
    let mut rest = &line[first..];
    while !rest.is_empty() {
        rest = &rest[sequence_length(rest)..];
        let next = memchr::memchr(0x1b, rest).unwrap_or(rest.len());
        text.extend_from_slice(&rest[..next]);
        rest = &rest[next..];
    }
    Cow::Owned(text)
}

/// The length of the escape sequence at the start of `text`, which begins with ESC. A sequence without an end is as
/// long as its bytes could belong to it.
fn sequence_length(text: &[u8]) -> usize {
    let ends_after = |from: usize, is_end: fn(&u8) -> bool| {
        text[from..].iter().position(is_end).map_or(text.len(), |length| from + length + 1)
    };
    match text.get(1) {
        Some(b'[') => ends_after(2, |c| matches!(c, 0x40..=0x7e)),
        // Titles, links and other strings end with BEL or with ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = ends_after(2, |c| matches!(c, 0x07 | 0x1b));
            if text[end - 1] == 0x1b && text.get(end) == Some(&b'\\') { end + 1 } else { end }
        }
        Some(0x20..=0x2f) => ends_after(2, |c| matches!(c, 0x30..=0x7e)),
        Some(_) => 2,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_skipped() {
        let table = [
            ("plain", "plain"),
            ("\x1b[1;31merror\x1b[0m: x", "error: x"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 end", "link end"),
            ("\x1b(Btext\x1b7", "text"),
            ("a\x1b[", "a"),
            ("a\x1b", "a"),
            ("\x1b]0;no end", ""),
        ];
        for (line, text) in table {
            assert_eq!(&*visible(line.as_bytes()), text.as_bytes(), "{line:?}");
        }
    }
}
