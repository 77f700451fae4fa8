//! The lines of a stream, made safe for a terminal.

use crate::event::{Style, append_visible, escape_at_end};

use super::safe_text::SafeText;

/// Maximum size of a sequence that is kept, in bytes: browsers accept no longer links, and colours need far fewer
/// numbers.
const MAX_ESCAPE_SIZE: usize = 2083;

/// The schemes of links that may be clicked.
const CLICKABLE_SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];

/// The sequence that closes a link, and the one that ends colours.
const END_LINK: &[u8] = b"\x1b]8;;\x1b\\";
const RESET_COLOUR: &[u8] = b"\x1b[0m";

/// The form in which lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineForm {
    /// With colours (SGR) and links; everything else that a terminal would execute becomes visible: `␛[2J`, `␇`, `\x9b`.
    Coloured,
    /// For a terminal, without colours and links; everything else that it would execute becomes visible.
    Uncoloured,
    /// For pipes and files: without escape sequences, and otherwise unchanged.
    Plain,
}

/// Makes the lines of one origin safe, piece by piece. A colour that a line leaves open continues on the next line.
#[derive(Debug)]
pub(crate) struct LineSanitizer {
    form: LineForm,
    /// The beginning of a sequence or a character whose end is in the next piece.
    partial: Vec<u8>,
    /// The colours that are set at this place of the text.
    style: Style,
    /// `true` between the pieces of a line.
    in_line: bool,
    coloured: bool,
    linked: bool,
}

impl LineSanitizer {
    /// A sanitizer for lines that begin without a colour.
    pub(crate) fn new(form: LineForm) -> Self {
        Self { form, partial: Vec::new(), style: Style::DEFAULT, in_line: false, coloured: false, linked: false }
    }

    /// Returns whether the next line may depend on the lines so far.
    pub(crate) fn has_state(&self) -> bool {
        self.in_line || self.style != Style::DEFAULT
    }

    /// Makes a piece of a line safe, without the line's end. More pieces of the line follow if it is `continued`.
    pub(crate) fn sanitize(&mut self, piece: &[u8], continued: bool) -> SafeText {
        let text = [std::mem::take(&mut self.partial).as_slice(), piece].concat();
        let mut out = Vec::with_capacity(text.len());
        if self.form == LineForm::Plain {
            self.strip(&text, continued, &mut out);
            return SafeText(out);
        }
        if !self.in_line && self.style != Style::DEFAULT {
            self.style.write_after(Style::DEFAULT, &mut out);
            self.coloured = true;
        }
        self.in_line = continued;
        self.escape(&text, continued, &mut out);
        if !continued {
            out.extend_from_slice(&self.end());
        }
        SafeText(out)
    }

    /// The end of a line. Colours and links end with it, or they would affect rtlogd's own messages and the lines of
    /// others.
    fn end(&mut self) -> Vec<u8> {
        let link = if std::mem::take(&mut self.linked) { END_LINK } else { b"" };
        [link, if std::mem::take(&mut self.coloured) { RESET_COLOUR } else { b"" }].concat()
    }

    /// Ends a line whose last piece was `continued`, since other lines come before the next piece.
    pub(crate) fn interrupt(&mut self) -> SafeText {
        self.in_line = false;
        SafeText(self.end())
    }

    /// Appends the text without escape sequences.
    fn strip(&mut self, text: &[u8], continued: bool, out: &mut Vec<u8>) {
        let cut = escape_at_end(text).filter(|at| continued && text.len() - at <= MAX_ESCAPE_SIZE);
        let (complete, partial) = text.split_at(cut.unwrap_or(text.len()));
        append_visible(complete, out);
        self.partial = partial.to_vec();
        self.in_line = continued;
    }

    /// Appends the text with everything visible that a terminal would execute.
    fn escape(&mut self, text: &[u8], continued: bool, out: &mut Vec<u8>) {
        let coloured = self.form == LineForm::Coloured;
        let mut rest = text;
        while !rest.is_empty() {
            // Most of a line is plain text.
            let plain = rest.iter().take_while(|byte| matches!(byte, 0x20..=0x7E | b'\t' | b'\n')).count();
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            let Some(first) = rest.first() else { break };
            match if *first == 0x1B { sequence(rest) } else { character(rest) } {
                SequenceKind::Incomplete if continued && rest.len() <= MAX_ESCAPE_SIZE => {
                    self.partial = rest.to_vec();
                    break;
                }
                SequenceKind::Incomplete | SequenceKind::Unsafe => {
                    let byte = *first;
                    match char::from_u32(0x2400 + u32::from(byte)) {
                        Some(picture) if byte < 0x20 => out.extend_from_slice(picture.to_string().as_bytes()),
                        _ if byte == 0x7F => out.extend_from_slice("\u{2421}".as_bytes()),
                        _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
                    }
                    rest = &rest[1..];
                }
                SequenceKind::Char(length) => {
                    out.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
                SequenceKind::Control(length) => {
                    let text = String::from_utf8_lossy(&rest[..length]);
                    out.extend(text.chars().flat_map(char::escape_default).map(|c| u8::try_from(c).unwrap_or(b'?')));
                    rest = &rest[length..];
                }
                SequenceKind::Colour(length) => {
                    if coloured {
                        let parameters = String::from_utf8_lossy(&rest[2..length - 1]);
                        self.style.apply_text(&parameters);
                        self.coloured = !matches!(&*parameters, "" | "0");
                        out.extend_from_slice(&rest[..length]);
                    }
                    rest = &rest[length..];
                }
                SequenceKind::Link { link, length } => {
                    if coloured {
                        self.linked = !link.is_empty();
                        out.extend([b"\x1b]8;;", link, b"\x1b\\"].concat());
                    }
                    rest = &rest[length..];
                }
            }
        }
    }
}

/// The kind of a text's first part that is not plain.
enum SequenceKind<'a> {
    /// A printable character of this many bytes.
    Char(usize),
    /// A C1 control character in UTF-8.
    Control(usize),
    /// `ESC [ ... m` of this many bytes.
    Colour(usize),
    /// `ESC ] 8 ; ... ; LINK`, including its end.
    Link { link: &'a [u8], length: usize },
    /// A sequence or character whose end is missing.
    Incomplete,
    /// A single byte that has to be made visible.
    Unsafe,
}

/// The escape sequence at the beginning of the text.
fn sequence(text: &[u8]) -> SequenceKind<'_> {
    match text {
        [0x1B, b'[', rest @ ..] => {
            let length = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
            match rest.get(length) {
                Some(b'm') if length < 256 => SequenceKind::Colour(length + 3),
                None if length < 256 => SequenceKind::Incomplete,
                _ => SequenceKind::Unsafe,
            }
        }
        [0x1B, b']', b'8', b';', rest @ ..] => link(rest),
        [0x1B] | [0x1B, b']'] | [0x1B, b']', b'8'] => SequenceKind::Incomplete,
        _ => SequenceKind::Unsafe,
    }
}

/// A link (OSC 8), after `ESC ] 8 ;`.
fn link(text: &[u8]) -> SequenceKind<'_> {
    const LINK_INTRODUCER_SIZE: usize = 4;
    let end = text.iter().take(MAX_ESCAPE_SIZE).position(|byte| !matches!(byte, 0x21..=0x7E));
    let (end, closing) = match end.map(|end| (end, text.get(end), text.get(end + 1))) {
        Some((end, Some(0x07), _)) => (end, 1),
        Some((end, Some(0x1B), Some(b'\\'))) => (end, 2),
        None if text.len() < MAX_ESCAPE_SIZE => return SequenceKind::Incomplete,
        Some((_, Some(0x1B), None)) => return SequenceKind::Incomplete,
        _ => return SequenceKind::Unsafe,
    };
    let Some(parameters) = memchr::memchr(b';', &text[..end]) else { return SequenceKind::Unsafe };
    let link = &text[parameters + 1..end];
    let starts =
        |scheme: &&str| link.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()));
    if link.is_empty() || CLICKABLE_SCHEMES.iter().any(starts) {
        SequenceKind::Link { link, length: LINK_INTRODUCER_SIZE + end + closing }
    } else {
        SequenceKind::Unsafe
    }
}

/// The character at the beginning of the text.
fn character(text: &[u8]) -> SequenceKind<'_> {
    let length = match text {
        [0xC2..=0xDF, ..] => 2,
        [0xE0..=0xEF, ..] => 3,
        [0xF0..=0xF4, ..] => 4,
        _ => return SequenceKind::Unsafe,
    };
    let Some(bytes) = text.get(..length) else {
        // The text is the beginning of a character, or is not UTF-8.
        let cut = std::str::from_utf8(text).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
        return if cut { SequenceKind::Incomplete } else { SequenceKind::Unsafe };
    };
    match std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()) {
        // Bidirectional controls are kept, since text may be written from right to left: their effect ends with the
        // line.
        Some(c) if c.is_control() => SequenceKind::Control(length),
        Some(_) => SequenceKind::Char(length),
        None => SequenceKind::Unsafe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: LineForm, pieces: &[&[u8]]) -> String {
        let mut line = LineSanitizer::new(form);
        let (last, others) = pieces.split_last().unwrap();
        let mut out: Vec<u8> = others.iter().flat_map(|piece| line.sanitize(piece, true).0).collect();
        out.extend(line.sanitize(last, false).0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn colours_and_links_reach_a_terminal_and_nothing_else_does() {
        let table: [(&[u8], &str); 38] = [
            (b"plain\ttext", "plain\ttext"),
            ("ä € 漢字 → ✓".as_bytes(), "ä € 漢字 → ✓"),
            (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            (b"\x1b[1;38;5;208mx\x1b[m", "\x1b[1;38;5;208mx\x1b[m"),
            (b"\x1b[38:2::1:2:3mx", "\x1b[38:2::1:2:3mx\x1b[0m"),
            (b"\x1b]8;;https://a/b\x1b\\x\x1b]8;;\x1b\\", "\x1b]8;;https://a/b\x1b\\x\x1b]8;;\x1b\\"),
            (b"\x1b]8;id=1;HTTP://a\x07x", "\x1b]8;;HTTP://a\x1b\\x\x1b]8;;\x1b\\"),
            (b"\x1b]8;;mailto:a@b\x07x\x1b]8;;\x07", "\x1b]8;;mailto:a@b\x1b\\x\x1b]8;;\x1b\\"),
            // Links with other schemes.
            (b"\x1b]8;;file:///etc/passwd\x07x", "␛]8;;file:///etc/passwd␇x"),
            (b"\x1b]8;;javascript:x\x1b\\x", "␛]8;;javascript:x␛\\x"),
            (b"\x1b]8;;https\x07x", "␛]8;;https␇x"),
            (b"\x1b]8;;https://a b\x07x", "␛]8;;https://a b␇x"),
            (b"\x1b]8;;https://a\x1b[2J", "␛]8;;https://a␛[2J"),
            // The clipboard, the title, notifications, and similar sequences.
            (b"\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
            (b"\x1b]0;title\x07", "␛]0;title␇"),
            (b"\x1b]2;title\x1b\\", "␛]2;title␛\\"),
            (b"\x1b]9;hi\x07\x1b]777;notify;a;b\x07", "␛]9;hi␇␛]777;notify;a;b␇"),
            (b"\x1b]80;;https://a\x07", "␛]80;;https://a␇"),
            // The screen and the cursor.
            (b"\x1b[2J\x1b[H", "␛[2J␛[H"),
            (b"\x1b[1A\x1b[2K", "␛[1A␛[2K"),
            (b"\x1b[?1049h", "␛[?1049h"),
            (b"\x1b[>4;2m", "␛[>4;2m"),
            (b"\x1b[6n\x1b[c", "␛[6n␛[c"),
            (b"\x1b7\x1b8\x1bc\x1b(0", "␛7␛8␛c␛(0"),
            (b"\x1bP$q\"p\x1b\\", "␛P$q\"p␛\\"),
            (b"\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\", "␛_apc␛\\␛^pm␛\\␛Xsos␛\\"),
            // Single characters, including C1 and bytes that are not UTF-8.
            (b"a\x07b\x08c\rd\x0be\0f\x7f", "a␇b␈c␍d␋e␀f␡"),
            (b"\x0e\x0f\x05", "␎␏␅"),
            ("\u{9b}2J\u{9d}0;t\u{9c}\u{85}".as_bytes(), "\\u{9b}2J\\u{9d}0;t\\u{9c}\\u{85}"),
            (b"\x9b2J\xff", "\\x9b2J\\xff"),
            (b"\xc3(\xe2\x82", "\\xc3(\\xe2\\x82"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
            // Sequences that a line begins and does not end.
            (b"a\x1b", "a␛"),
            (b"a\x1b[", "a␛["),
            (b"a\x1b[31", "a␛[31"),
            (b"a\x1b]8;;https://a", "a␛]8;;https://a"),
            (b"\x1b[31ma", "\x1b[31ma\x1b[0m"),
            (b"\x1b[1;0ma", "\x1b[1;0ma\x1b[0m"),
        ];
        for (line, expected) in table {
            assert_eq!(shown(LineForm::Coloured, &[line]), expected, "{line:?}");
            // The result does not depend on where a long line is cut.
            for at in 0..line.len() {
                assert_eq!(shown(LineForm::Coloured, &[&line[..at], &line[at..]]), expected, "{line:?} cut at {at}");
            }
        }
    }

    #[test]
    fn lines_without_colours_have_no_escape_sequence() {
        // The line, without colours on a terminal, and in a pipe.
        let table: [(&[u8], &str, &str); 10] = [
            (b"plain\ttext", "plain\ttext", "plain\ttext"),
            (b"\x1b[31mred\x1b[0m", "red", "red"),
            (b"\x1b[1;38:2::1:2:3mx", "x", "x"),
            (b"\x1b]8;;https://a/b\x1b\\x\x1b]8;;\x07", "x", "x"),
            (b"\x1b]8;;file:///x\x07y", "␛]8;;file:///x␇y", "y"),
            (b"\x1b]52;c;aGk=\x07a", "␛]52;c;aGk=␇a", "a"),
            (b"\x1b[2J\x1b[Ha\x1b7\x1b(0", "␛[2J␛[Ha␛7␛(0", "a"),
            (b"\x1bP$q\x1b\\a\x07", "␛P$q␛\\a␇", "a\x07"),
            ("\u{9b}2J\u{9d}0;t\u{9c}a°".as_bytes(), "\\u{9b}2J\\u{9d}0;t\\u{9c}a°", "a°"),
            (b"a\x1b[31", "a␛[31", "a"),
        ];
        for (line, terminal, pipe) in table {
            for (form, expected) in [(LineForm::Uncoloured, terminal), (LineForm::Plain, pipe)] {
                assert_eq!(shown(form, &[line]), expected, "{form:?}: {line:?}");
                for at in 0..line.len() {
                    assert_eq!(shown(form, &[&line[..at], &line[at..]]), expected, "{form:?}: {line:?} cut at {at}");
                }
            }
        }
        let other_bytes = b"\xff\xc2\x00\r\x9b";
        assert_eq!(LineSanitizer::new(LineForm::Plain).sanitize(other_bytes, false).0, other_bytes);
    }

    #[test]
    fn a_colour_that_a_line_leaves_open_continues_on_the_next_line() {
        let table: [(&[&str], &[&str]); 6] = [
            (&["\x1b[31mone", "two\x1b[0m", "three"], &["\x1b[31mone\x1b[0m", "\x1b[31mtwo\x1b[0m", "three"]),
            (
                &["\x1b[1ma", "\x1b[4:3;32mb", "c"],
                &["\x1b[1ma\x1b[0m", "\x1b[1m\x1b[4:3;32mb\x1b[0m", "\x1b[1;4:3;32mc\x1b[0m"],
            ),
            (&["\x1b[31ma\x1b[39m", "b"], &["\x1b[31ma\x1b[39m\x1b[0m", "b"]),
            (&["\x1b[48;2;1;2;3m", ""], &["\x1b[48;2;1;2;3m\x1b[0m", "\x1b[48;2;1;2;3m\x1b[0m"]),
            // A link ends with its line.
            (&["\x1b]8;;http://a\x07x", "y"], &["\x1b]8;;http://a\x1b\\x\x1b]8;;\x1b\\", "y"]),
            (&["\x1b[200mx", "y"], &["\x1b[200mx\x1b[0m", "y"]),
        ];
        for (lines, expected) in table {
            let mut sanitizer = LineSanitizer::new(LineForm::Coloured);
            let shown: Vec<_> = lines
                .iter()
                .map(|line| String::from_utf8(sanitizer.sanitize(line.as_bytes(), false).0).unwrap())
                .collect();
            assert_eq!(shown, expected);
        }
        // Lines of others come between two pieces of a line.
        let mut sanitizer = LineSanitizer::new(LineForm::Coloured);
        assert_eq!(sanitizer.sanitize(b"\x1b[31ma", true).0, b"\x1b[31ma");
        assert_eq!(sanitizer.interrupt().0, b"\x1b[0m");
        assert_eq!(sanitizer.sanitize(b"b", false).0, b"\x1b[31mb\x1b[0m");
        assert!(sanitizer.has_state());
    }

    #[test]
    fn what_has_no_end_is_not_kept_for_ever() {
        for (form, least) in [(LineForm::Coloured, 90_000), (LineForm::Plain, 0)] {
            let mut line = LineSanitizer::new(form);
            let mut out = Vec::new();
            for _ in 0..100 {
                out.extend(line.sanitize(&[&b"\x1b]8;;https://"[..], &[b'a'; 1000]].concat(), true).0);
                assert!(line.partial.len() <= MAX_ESCAPE_SIZE);
            }
            assert!(out.len() >= least && !out.contains(&0x1B));
        }
    }
}
