//! A reading of a line: its text as a person or a program would understand it, with the position of each byte in the
//! line.
//!
//! A search in the bytes of a line may miss a secret: a colour sequence is within it, or the line is JSON within
//! JSON, or a query whose `=` is `%3D`. Secrets are therefore searched for in each reading of the line, and mapped back
//! to its bytes.

use std::borrow::Cow;

use crate::event::{Introducer, control_sequence_length, control_string_length, simple_escape_length};

/// The first bytes of escapes: backslashes as in JSON, percent signs as in URLs, and the entities of HTML.
pub(super) const ESCAPE_INTRODUCERS: [u8; 3] = *b"\\%&";

/// Backslashes alone: within JSON, `%22` in a value is not a quotation mark that ends it.
pub(super) const BACKSLASH_INTRODUCERS: [u8; 3] = [b'\\'; 3];

/// A text that was decoded from a line.
#[derive(Debug)]
pub(super) struct DecodedText<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// The range in the line for each byte of `text`; `None` if `text` is the line.
    line_ranges: Option<Vec<(u32, u32)>>,
}

impl<'a> DecodedText<'a> {
    /// The line as it is.
    pub(crate) fn of(line: &'a [u8]) -> Self {
        Self { text: Cow::Borrowed(line), line_ranges: None }
    }

    fn empty() -> Self {
        Self { text: Cow::Owned(Vec::new()), line_ranges: Some(Vec::new()) }
    }

    fn push(&mut self, bytes: &[u8], begin: usize, end: usize) {
        let range = (saturating_u32(begin), saturating_u32(end));
        self.text.to_mut().extend_from_slice(bytes);
        if let Some(ranges) = &mut self.line_ranges {
            ranges.extend(bytes.iter().map(|_| range));
        }
    }

    /// The range in the line of a part of the text. An empty part lies before the byte that follows it.
    pub(super) fn line_range(&self, begin: usize, end: usize) -> (usize, usize) {
        let Some(ranges) = &self.line_ranges else { return (begin, end) };
        let first = ranges.get(begin).map(|range| range.0);
        let first = first.or_else(|| ranges.last().map(|range| range.1)).unwrap_or(0) as usize;
        if end <= begin {
            return (first, first);
        }
        (first, ranges.get(end - 1).map_or(first, |range| range.1 as usize))
    }

    /// Undoes one level of the escapes that begin with one of these bytes ([`ESCAPE_INTRODUCERS`] or
    /// [`BACKSLASH_INTRODUCERS`]); `None` if there are none.
    pub(super) fn unescaped(&self, [first, second, third]: [u8; 3]) -> Option<DecodedText<'static>> {
        let text = &self.text[..];
        let mut view = DecodedText::empty();
        let (mut from, mut changed) = (0, false);
        let mut at = 0;
        while let Some(next) = memchr::memchr3(first, second, third, &text[at..]) {
            let begin = at + next;
            let Some((byte, length)) = escape(&text[begin..]) else {
                at = begin + 1;
                continue;
            };
            self.copy(from, begin, &mut view);
            let (first, last) = self.line_range(begin, begin + length);
            let mut utf8 = [0; 4];
            view.push(byte.encode(&mut utf8), first, last);
            changed = true;
            (at, from) = (begin + length, begin + length);
        }
        self.copy(from, text.len(), &mut view);
        changed.then_some(view)
    }

    fn copy(&self, begin: usize, end: usize, to: &mut DecodedText<'_>) {
        to.text.to_mut().extend_from_slice(&self.text[begin..end]);
        let Some(ranges) = &mut to.line_ranges else { return };
        match &self.line_ranges {
            Some(own) => ranges.extend_from_slice(&own[begin..end]),
            None => ranges.extend((begin..end).map(|at| (saturating_u32(at), saturating_u32(at + 1)))),
        }
    }
}

/// Converts an offset. Lines are far shorter than the limit.
fn saturating_u32(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The meaning of an escape.
enum DecodedEscape {
    Byte(u8),
    Char(char),
}

impl DecodedEscape {
    fn encode<'a>(&self, to: &'a mut [u8; 4]) -> &'a [u8] {
        match *self {
            Self::Byte(byte) => {
                to[0] = byte;
                &to[..1]
            }
            Self::Char(char) => char.encode_utf8(to).as_bytes(),
        }
    }
}

/// The escape at the beginning of the text, and its length.
fn escape(text: &[u8]) -> Option<(DecodedEscape, usize)> {
    match *text.first()? {
        b'\\' => match *text.get(1)? {
            byte @ (b'"' | b'\'' | b'\\' | b'/' | b'`') => Some((DecodedEscape::Byte(byte), 2)),
            b'n' => Some((DecodedEscape::Byte(b'\n'), 2)),
            b'r' => Some((DecodedEscape::Byte(b'\r'), 2)),
            b't' => Some((DecodedEscape::Byte(b'\t'), 2)),
            b'e' => Some((DecodedEscape::Byte(0x1B), 2)),
            b'0' if text.starts_with(b"\\033") => Some((DecodedEscape::Byte(0x1B), 4)),
            b'u' => {
                let code = parse_digits(text.get(2..6)?, 16)?;
                Some((DecodedEscape::Char(char::from_u32(code)?), 6))
            }
            b'x' => Some((DecodedEscape::Byte(u8::try_from(parse_digits(text.get(2..4)?, 16)?).ok()?), 4)),
            _ => None,
        },
        b'%' => Some((DecodedEscape::Byte(u8::try_from(parse_digits(text.get(1..3)?, 16)?).ok()?), 3)),
        b'&' => {
            let end = text.iter().take(8).position(|byte| *byte == b';')?;
            let char = match &text[1..end] {
                b"quot" => '"',
                b"apos" => '\'',
                b"amp" => '&',
                b"lt" => '<',
                b"gt" => '>',
                [b'#', b'x' | b'X', digits @ ..] => char::from_u32(parse_digits(digits, 16)?)?,
                [b'#', digits @ ..] => char::from_u32(parse_digits(digits, 10)?)?,
                _ => return None,
            };
            Some((DecodedEscape::Char(char), end + 1))
        }
        _ => None,
    }
}

fn parse_digits(digits: &[u8], radix: u32) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// Returns whether a line has invisible bytes, so that its [visible](DecodedText::visible_text) text differs from it.
pub(super) fn has_invisible(line: &[u8]) -> bool {
    // Both loops work on blocks without an early exit, so that the compiler can vectorize them. Most lines are printable
    // ASCII, which takes the fewest instructions to see.
    if line.iter().fold(true, |is_printable, byte| is_printable & (0x20..0x7F).contains(byte)) {
        return false;
    }
    let (blocks, rest) = line.as_chunks::<SCAN_BLOCK_SIZE>();
    let suspects = blocks.iter().fold([0; SCAN_BLOCK_SIZE], |suspects, block| mark_suspects(suspects, *block));
    let mut end = [b' '; SCAN_BLOCK_SIZE];
    end[..rest.len()].copy_from_slice(rest);
    let suspects = mark_suspects(suspects, end).into_iter().fold(0, |all, one| all | one);
    suspects & 1 != 0 || suspects & 2 != 0 && (0..line.len()).any(|at| invisible_length(&line[at..]) > 0)
}

/// The number of bytes that are examined at once.
const SCAN_BLOCK_SIZE: usize = 32;

/// Adds to `suspects` which bytes are invisible (1), and which may begin an invisible character (2).
fn mark_suspects(mut suspects: [u8; SCAN_BLOCK_SIZE], block: [u8; SCAN_BLOCK_SIZE]) -> [u8; SCAN_BLOCK_SIZE] {
    for (suspect, byte) in suspects.iter_mut().zip(block) {
        let control = u8::from(byte < 0x20) & u8::from(byte != b'\t') & u8::from(byte != b'\n');
        let lead = u8::from(byte == 0xC2) | u8::from(byte == 0xE2) | u8::from(byte == 0xEF);
        *suspect |= control | u8::from(byte == 0x7F) | lead << 1;
    }
    suspects
}

/// The length of the character at the beginning of the text if it is a C1 control, has no width, or changes the writing
/// direction; otherwise 0.
fn invisible_length(text: &[u8]) -> usize {
    match text {
        [0xC2, 0x80..=0x9F | 0xAD, ..] => 2,
        [0xE2, 0x80, 0x8B..=0x8F | 0xAA..=0xAE, ..] | [0xE2, 0x81, 0xA0..=0xA9, ..] | [0xEF, 0xBB, 0xBF, ..] => 3,
        _ => 0,
    }
}

impl DecodedText<'_> {
    /// The visible text, and the control strings in it (ECMA-48, 8.3.89 and similar: titles, links), each as a separate
    /// text. A control string is reduced to its visible text, too: it may lack an end and therefore contain the rest of
    /// the line.
    ///
    /// Together they are no longer than this text.
    pub(super) fn visible_text(&self) -> (DecodedText<'static>, Vec<DecodedText<'static>>) {
        let mut strings = Vec::new();
        let seen = self.without_controls(Some(&mut strings));
        (seen, strings)
    }

    /// The text without invisible parts. Control strings are added to `strings`; with `None`, this text is itself a
    /// control string, in which no other one begins.
    fn without_controls(&self, mut strings: Option<&mut Vec<DecodedText<'static>>>) -> DecodedText<'static> {
        let line = &self.text[..];
        let mut seen = DecodedText::empty();
        let mut at = 0;
        while let Some(&byte) = line.get(at) {
            let rest = &line[at..];
            // In a control string, the C1 controls begin no other one.
            let is_text = strings.is_none() && byte == 0xC2;
            let introducer = match (Introducer::at(rest), rest) {
                (Some(introducer), _) if !is_text || introducer == Introducer::ControlSequence => introducer,
                (_, [0x1B, ..]) => {
                    at += simple_escape_length(rest);
                    continue;
                }
                (_, rest) if invisible_length(rest) > 0 => {
                    at += invisible_length(rest);
                    continue;
                }
                _ => {
                    if !matches!(byte, 0..=0x08 | 0x0B | 0x0C | 0x0E..=0x1F | 0x7F) {
                        self.copy(at, at + 1, &mut seen);
                    }
                    at += 1;
                    continue;
                }
            };
            at += 2;
            if introducer == Introducer::ControlSequence {
                at += control_sequence_length(&line[at..]);
                continue;
            }
            let (inside, whole) = control_string_length(&line[at..]);
            if let Some(strings) = &mut strings {
                let mut view = DecodedText::empty();
                self.copy(at, at + inside, &mut view);
                strings.push(if has_invisible(&view.text) { view.without_controls(None) } else { view });
            }
            at += whole;
        }
        seen
    }
}

/// The invisible parts of a line between `begin` and `end`, which are kept when the secret around them is removed.
pub(super) fn invisible_within(line: &[u8], begin: usize, end: usize) -> Vec<u8> {
    let part = &line[begin..end];
    if !part.contains(&0x1B) {
        return Vec::new();
    }
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(next) = memchr::memchr(0x1B, &part[at..]) {
        at += next;
        let length = match &part[at..] {
            // Only colours and similar sequences are kept, since a control string might contain the secret.
            [0x1B, b'[', rest @ ..] => {
                let length = 2 + control_sequence_length(rest);
                kept.extend_from_slice(&part[at..at + length]);
                length
            }
            _ => 1,
        };
        at += length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_knows_where_its_bytes_stand() {
        let table: [(&str, &str); 9] = [
            (r#"{\"a\":1}"#, r#"{"a":1}"#),
            (r"a%3Db", "a=b"),
            (r"\\\u0070\/", r"\p/"),
            ("&quot;x&#39;&#x3d;&lt;&amp;amp;", "\"x'=<&amp;"),
            (r"100% \ of %zz &c; \q", ""),
            (r"C:\new", "C:\new"),
            ("%E2%82%AC", "€"),
            (r"\u20ac", "€"),
            ("", ""),
        ];
        for (text, expected) in table {
            let view = DecodedText::of(text.as_bytes()).unescaped(ESCAPE_INTRODUCERS);
            let seen = view.as_ref().map(|view| String::from_utf8_lossy(&view.text).into_owned());
            assert_eq!(seen.unwrap_or_default(), expected, "{text}");
            if let Some(view) = view {
                assert_eq!(view.line_range(0, view.text.len()), (0, text.len()), "{text}");
            }
        }
        let view = DecodedText::of(br#"x\"p%3Dq"#).unescaped(ESCAPE_INTRODUCERS).unwrap();
        assert_eq!((&view.text[..], view.line_range(1, 2), view.line_range(3, 5)), (&b"x\"p=q"[..], (1, 3), (4, 8)));
        let again =
            DecodedText::of(br#"a\\\"b"#).unescaped(ESCAPE_INTRODUCERS).unwrap().unescaped(ESCAPE_INTRODUCERS).unwrap();
        assert_eq!((&again.text[..], again.line_range(1, 2)), (&b"a\"b"[..], (1, 5)));
    }

    #[test]
    fn what_a_terminal_does_not_show_is_not_seen() {
        let table: [(&str, &str, &[&str]); 13] = [
            ("pass\x1b[1mword", "password", &[]),
            ("a\x1b[1;31", "a", &[]),
            ("a\x1b]8;;http://x\x1b\\b\x1b]0;t\x07c", "abc", &["8;;http://x", "0;t"]),
            ("a\x1b]0;rest", "a", &["0;rest"]),
            ("a\x1b(Bb\x1b=c\x1b", "abc", &[]),
            ("a\u{9b}31mb\u{9d}0;t\u{9c}c\u{85}d", "abcd", &["0;t"]),
            ("a\x08\0b\x7f\tc\nd", "ab\tc\nd", &[]),
            ("pa\u{200b}ss\u{202e}\u{ad}w\u{feff}", "passw", &[]),
            ("ä € → ✓", "ä € → ✓", &[]),
            ("a\x1bP1$r\x1b[0mb", "ab", &["1$r"]),
            ("a\x1b]0;p\u{200b}w\x07b", "ab", &["0;pw"]),
            ("a\u{9e}b\u{9e}c\u{202e}d\x08e", "a", &["bcde"]),
            ("a\u{9d}p\u{9b}1mw\u{9c}b", "ab", &["pw"]),
        ];
        for (line, expected, inside) in table {
            let (view, strings) = DecodedText::of(line.as_bytes()).visible_text();
            assert_eq!(String::from_utf8_lossy(&view.text), expected, "{line:?}");
            let strings: Vec<_> = strings.iter().map(|view| String::from_utf8_lossy(&view.text).into_owned()).collect();
            assert_eq!(strings, inside, "{line:?}");
            assert_eq!(has_invisible(line.as_bytes()), line != expected, "{line:?}");
        }
        assert_eq!(invisible_within(b"ab\x1b[1mcd\x1b]0;x\x07e", 1, 14), b"\x1b[1m");
    }
}
