//! What rtlogd prints: nothing reaches standard output or standard error but through here.
//!
//! Names, reasons and lines come from elsewhere, and a terminal obeys what is in them: it takes a title, a clipboard, a
//! place to draw at. So only a [`SafeText`] can be printed, and only these functions make one:
//! - [`SafeText::message`] is one line, in which everything that could steer a terminal or begin a new line is escaped;
//! - [`SafeText::lines`] is the same for several lines, of which rtlogd itself wrote the line ends;
//! - [`SafeText::json`] escapes as JSON does;
//! - [`LineSanitizer`] makes lines of a stream safe: colours and links stay, all else becomes visible.
//!
//! Into a pipe or a file the lines of a stream go as they are. What rtlogd itself says never does.

use std::io::{self, IsTerminal, Write};

use crate::event::{is_unsafe, one_line};

/// Longest sequence that is kept, in bytes: no browser takes longer links, and no colour has that many numbers.
const MAX_ESCAPE_SIZE: usize = 2083;

/// Links that a click may follow.
const CLICKABLE_SCHEMES: [&str; 3] = ["http://", "https://", "mailto:"];

/// Closes a link, and ends colours.
const END_LINK: &[u8] = b"\x1b]8;;\x1b\\";
const RESET_COLOUR: &[u8] = b"\x1b[0m";

/// Text that may be printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SafeText(Vec<u8>);

impl SafeText {
    /// One line that says something.
    pub(crate) fn message(text: &str) -> Self {
        Self((one_line(text) + "\n").into_bytes())
    }

    /// Several lines.
    pub(crate) fn lines(text: &str) -> Self {
        let lines: Vec<_> = text.split('\n').map(one_line).collect();
        Self(lines.join("\n").into_bytes())
    }

    /// What stands before each line of a stream where there are several, with the name in one of six colours.
    pub(crate) fn prefix(name: &str, width: usize, colour: Option<u8>) -> Self {
        let name = one_line(name);
        Self(match colour {
            // The six that are neither black nor white (ECMA-48).
            Some(number) => format!("\x1b[3{}m{name:width$} |\x1b[0m ", 1 + number % 6).into_bytes(),
            None => format!("{name:width$} | ").into_bytes(),
        })
    }

    /// The end of a line.
    pub(crate) fn newline() -> Self {
        Self(b"\n".to_vec())
    }

    /// An object of JSON on a line, as it is into a pipe; on a terminal with escapes for what would steer it.
    pub(crate) fn json(json: &[u8], terminal: bool) -> Self {
        if !terminal {
            return Self([json, b"\n"].concat());
        }
        let mut text = String::with_capacity(json.len() + 1);
        let mut units = [0; 2];
        for c in String::from_utf8_lossy(json).chars() {
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut units) {
                    text.extend(["\\u", &format!("{unit:04x}")]);
                }
            } else {
                text.push(c);
            }
        }
        text.push('\n');
        Self(text.into_bytes())
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds another text.
    pub(crate) fn push(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

/// Prints to standard output.
///
/// # Errors
/// If it is closed, or its disk is full.
pub(crate) fn print(text: &SafeText) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&text.0).and_then(|()| out.flush())
}

/// Prints to standard error. With that gone there is nobody left to tell.
pub(crate) fn print_error(text: &SafeText) {
    io::stderr().write_all(&text.0).unwrap_or_default();
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Makes the lines of one stream safe, piece by piece. On a terminal colours (SGR) and links stay; every other escape and
/// control character becomes visible: `␛[2J`, `␇`, `\x9b`.
#[derive(Debug, Default)]
pub(crate) struct LineSanitizer {
    /// Where lines go; into anything else than a terminal they go as they are.
    terminal: bool,
    /// The begin of a sequence or a character whose end is in the next piece.
    partial: Vec<u8>,
    coloured: bool,
    linked: bool,
}

impl LineSanitizer {
    /// For lines that go to a terminal, or not.
    pub(crate) fn new(terminal: bool) -> Self {
        Self { terminal, ..Self::default() }
    }

    /// A piece of a line, to which more will come if it is `continued`; without the line's end.
    pub(crate) fn sanitize(&mut self, piece: &[u8], continued: bool) -> SafeText {
        if !self.terminal {
            return SafeText(piece.to_vec());
        }
        let text = [std::mem::take(&mut self.partial).as_slice(), piece].concat();
        let mut out = Vec::with_capacity(text.len());
        let mut rest = &text[..];
        while !rest.is_empty() {
            // Most of a line is plain.
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
                    self.coloured = !matches!(&rest[..length], b"\x1b[m" | b"\x1b[0m");
                    out.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
                SequenceKind::Link { link, length } => {
                    self.linked = !link.is_empty();
                    out.extend([b"\x1b]8;;", link, b"\x1b\\"].concat());
                    rest = &rest[length..];
                }
            }
        }
        if !continued {
            // What a line leaves behind would be upon the next one, and upon what rtlogd says.
            out.extend(if std::mem::take(&mut self.linked) { END_LINK } else { b"" });
            out.extend(if std::mem::take(&mut self.coloured) { RESET_COLOUR } else { b"" });
        }
        SafeText(out)
    }
}

/// With what a text begins that is not plain.
enum SequenceKind<'a> {
    /// A character of this many bytes that may be shown.
    Char(usize),
    /// A control character of C1, or one that has no width, in UTF-8.
    Control(usize),
    /// `ESC [ ... m` of this many bytes.
    Colour(usize),
    /// `ESC ] 8 ; ... ; LINK`, with its end.
    Link { link: &'a [u8], length: usize },
    /// Its end is not there.
    Incomplete,
    /// Its first byte is to be shown, and no more than that.
    Unsafe,
}

/// The escape sequence with which the text begins.
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

/// A link (OSC 8), behind `ESC ] 8 ;`.
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

/// The character with which the text begins.
fn character(text: &[u8]) -> SequenceKind<'_> {
    let length = match text {
        [0xC2..=0xDF, ..] => 2,
        [0xE0..=0xEF, ..] => 3,
        [0xF0..=0xF4, ..] => 4,
        _ => return SequenceKind::Unsafe,
    };
    let Some(bytes) = text.get(..length) else {
        // The begin of one, or bytes that are none.
        let cut = std::str::from_utf8(text).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
        return if cut { SequenceKind::Incomplete } else { SequenceKind::Unsafe };
    };
    match std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()) {
        // Text may be written from the right to the left: that ends with its line.
        Some(c) if c.is_control() => SequenceKind::Control(length),
        Some(_) => SequenceKind::Char(length),
        None => SequenceKind::Unsafe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let mut line = LineSanitizer::new(true);
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
            // Links elsewhere.
            (b"\x1b]8;;file:///etc/passwd\x07x", "␛]8;;file:///etc/passwd␇x"),
            (b"\x1b]8;;javascript:x\x1b\\x", "␛]8;;javascript:x␛\\x"),
            (b"\x1b]8;;https\x07x", "␛]8;;https␇x"),
            (b"\x1b]8;;https://a b\x07x", "␛]8;;https://a b␇x"),
            (b"\x1b]8;;https://a\x1b[2J", "␛]8;;https://a␛[2J"),
            // The clipboard, the title, notices, and what else begins so.
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
            // Single characters, also of C1 and of no UTF-8.
            (b"a\x07b\x08c\rd\x0be\0f\x7f", "a␇b␈c␍d␋e␀f␡"),
            (b"\x0e\x0f\x05", "␎␏␅"),
            ("\u{9b}2J\u{9d}0;t\u{9c}\u{85}".as_bytes(), "\\u{9b}2J\\u{9d}0;t\\u{9c}\\u{85}"),
            (b"\x9b2J\xff", "\\x9b2J\\xff"),
            (b"\xc3(\xe2\x82", "\\xc3(\\xe2\\x82"),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
            // What a line begins and does not end.
            (b"a\x1b", "a␛"),
            (b"a\x1b[", "a␛["),
            (b"a\x1b[31", "a␛[31"),
            (b"a\x1b]8;;https://a", "a␛]8;;https://a"),
            (b"\x1b[31ma", "\x1b[31ma\x1b[0m"),
            (b"\x1b[1;0ma", "\x1b[1;0ma\x1b[0m"),
        ];
        for (line, expected) in table {
            assert_eq!(shown(&[line]), expected, "{line:?}");
            // Wherever a long line is cut.
            for at in 0..line.len() {
                assert_eq!(shown(&[&line[..at], &line[at..]]), expected, "{line:?} cut at {at}");
            }
        }
        let mut piped = LineSanitizer::default();
        assert_eq!(piped.sanitize(b"\x1b[2J\xff\x07", false).0, b"\x1b[2J\xff\x07", "into a pipe as it is");
    }

    #[test]
    fn what_has_no_end_is_not_kept_for_ever() {
        let mut line = LineSanitizer::new(true);
        let mut out = Vec::new();
        for _ in 0..100 {
            out.extend(line.sanitize(&[&b"\x1b]8;;https://"[..], &[b'a'; 1000]].concat(), true).0);
            assert!(line.partial.len() <= MAX_ESCAPE_SIZE);
        }
        assert!(out.len() > 90_000 && !out.contains(&0x1B));
    }

    #[test]
    fn messages_cannot_be_forged() {
        assert_eq!(SafeText::message("a\nrtlogd: b\x1b[2J").0, b"a\\nrtlogd: b\\u{1b}[2J\n");
        assert_eq!(SafeText::lines("a\nb\x1b[2J\r\u{202e}\n").0, b"a\nb\\u{1b}[2J\\r\\u{202e}\n");
        let json = "{\"a\":\"\u{9b}2J\u{7f}\u{202e}\"}";
        assert_eq!(SafeText::json(json.as_bytes(), true).0, b"{\"a\":\"\\u009b2J\\u007f\\u202e\"}\n");
        assert_eq!(SafeText::json(json.as_bytes(), false).0, format!("{json}\n").into_bytes());
    }
}
