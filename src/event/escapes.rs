//! Escape sequences in a line (ECMA-48 and ECMA-35), and the text that a terminal shows without them.
//!
//! A sequence begins with ESC, or with the C1 control that has the same meaning. Everything that looks at the text of lines,
//! such as filters, levels and redaction, finds the same sequences by the functions of this file.

use std::borrow::Cow;

/// Returns whether a line has escape sequences. Cost: one search.
pub(crate) fn has_escapes(line: &[u8]) -> bool {
    next_escape(line).is_some()
}

/// The line without escape sequences. Borrowed, at the cost of one search, if it has none.
pub(crate) fn visible_text(line: &[u8]) -> Cow<'_, [u8]> {
    if has_escapes(line) {
        let mut text = Vec::with_capacity(line.len());
        append_visible(line, &mut text);
        Cow::Owned(text)
    } else {
        Cow::Borrowed(line)
    }
}

/// Appends the line without escape sequences to `text`.
pub(crate) fn append_visible(line: &[u8], text: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = next_escape(rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[escape_length(rest)..];
    }
    text.extend_from_slice(rest);
}

/// The place of the escape sequence that the end of the text may cut, if there is one. The next piece of the line then
/// continues it, or begins right after it.
pub(crate) fn escape_at_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = next_escape(&text[at..]) {
        at += next;
        let length = escape_length(&text[at..]);
        if at + length == text.len() {
            return Some(at);
        }
        at += length;
    }
    // The first byte of a C1 control in UTF-8.
    (at < text.len() && text.ends_with(&[0xC2])).then(|| text.len() - 1)
}

/// The place of the first escape sequence.
fn next_escape(text: &[u8]) -> Option<usize> {
    let is_start = |at: &usize| text[*at] == 0x1B || Introducer::at(&text[*at..]).is_some();
    memchr::memchr2_iter(0x1B, 0xC2, text).find(is_start)
}

/// The kind of sequence that follows an introducer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Introducer {
    /// A control sequence, such as that of a colour.
    ControlSequence,
    /// A control string, such as a title or a link.
    ControlString,
}

impl Introducer {
    /// The introducer at the start of the text, which is two bytes long: ESC and a letter, or a C1 control in UTF-8.
    pub(crate) fn at(text: &[u8]) -> Option<Self> {
        match text {
            [0x1B, b'[', ..] | [0xC2, 0x9B, ..] => Some(Self::ControlSequence),
            [0x1B, b']' | b'P' | b'X' | b'^' | b'_', ..] | [0xC2, 0x90 | 0x98 | 0x9D..=0x9F, ..] => {
                Some(Self::ControlString)
            }
            _ => None,
        }
    }
}

/// The length of the escape sequence at the start of the text, which begins with one. A sequence without an end is as
/// long as its bytes could belong to it.
fn escape_length(text: &[u8]) -> usize {
    match Introducer::at(text) {
        Some(Introducer::ControlSequence) => 2 + control_sequence_length(&text[2..]),
        Some(Introducer::ControlString) => 2 + control_string_length(&text[2..]).1,
        None => simple_escape_length(text),
    }
}

/// The length of an escape that is neither a control sequence nor a control string (ECMA-35, 13.2).
pub(crate) fn simple_escape_length(text: &[u8]) -> usize {
    let middle = text[1..].iter().take_while(|byte| matches!(byte, 0x20..=0x2F)).count();
    1 + middle + usize::from(matches!(text.get(1 + middle), Some(0x30..=0x7E)))
}

/// The length of the text that follows the introducer of a control sequence (ECMA-48, 5.4).
pub(crate) fn control_sequence_length(text: &[u8]) -> usize {
    let length = text.iter().take_while(|byte| matches!(byte, 0x20..=0x3F)).count();
    length + usize::from(matches!(text.get(length), Some(0x40..=0x7E)))
}

/// The length of the control string at the beginning of the text, without and with its terminator.
pub(crate) fn control_string_length(text: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(next) = memchr::memchr3(0x07, 0x1B, 0xC2, &text[at..]) {
        at += next;
        match &text[at..] {
            [0x07, ..] => return (at, at + 1),
            [0x1B, b'\\', ..] | [0xC2, 0x9C, ..] => return (at, at + 2),
            // Any other escape ends the string, too.
            [0x1B, ..] => return (at, at),
            _ => at += 1,
        }
    }
    (text.len(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_not_visible() {
        let table: [(&str, &str); 18] = [
            ("plain", "plain"),
            ("", ""),
            ("\x1b[1;31merror\x1b[0m: x", "error: x"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 end", "link end"),
            ("\x1b(Btext\x1b7", "text"),
            ("a\x1b[", "a"),
            ("a\x1b", "a"),
            ("\x1b]0;no end", ""),
            // A string that another sequence ends.
            ("\x1b]0;title\x1b[1mx", "x"),
            ("\x1bPq\x1b\\a\x1b_b\x1b\\c", "ac"),
            // The C1 controls, as UTF-8.
            ("\u{9b}31mred\u{9b}0m", "red"),
            ("\u{9d}0;title\u{9c}x\u{90}q\x07y", "xy"),
            ("\u{9d}0;title\x07x", "x"),
            // Other characters whose first byte is the same.
            ("5 \u{b0}C, \u{a3}3\u{a0}\u{a7}", "5 \u{b0}C, \u{a3}3\u{a0}\u{a7}"),
            ("\u{85}\u{9c}", "\u{85}\u{9c}"),
            // A broken sequence hides nothing behind it.
            ("\x1b[31\u{e4}x", "\u{e4}x"),
            ("\x1b\u{e4}x", "\u{e4}x"),
            ("tab\tand\rothers\x07", "tab\tand\rothers\x07"),
        ];
        for (line, text) in table {
            assert_eq!(&*visible_text(line.as_bytes()), text.as_bytes(), "{line:?}");
            assert_eq!(has_escapes(line.as_bytes()), line != text, "{line:?}");
            assert_eq!(matches!(visible_text(line.as_bytes()), Cow::Borrowed(_)), line == text, "{line:?}");
            // Visible text has no sequences left, wherever a line is cut.
            for at in 0..=line.len() {
                let seen = visible_text(&line.as_bytes()[..at]).into_owned();
                assert!(!seen.contains(&0x1b), "{line:?} cut at {at}");
            }
        }
    }
}
