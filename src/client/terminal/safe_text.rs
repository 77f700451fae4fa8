//! Text that is safe to print.

use std::fmt;

use crate::event::{is_unsafe, one_line};

/// Text that is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SafeText(pub(super) Vec<u8>);

impl SafeText {
    /// A message of one line.
    pub(crate) fn message(text: &str) -> Self {
        Self((one_line(text) + "\n").into_bytes())
    }

    /// A text of several lines.
    pub(crate) fn lines(text: &str) -> Self {
        let lines: Vec<_> = text.split('\n').map(one_line).collect();
        Self(lines.join("\n").into_bytes())
    }

    /// The prefix of a stream's lines when several streams are printed: the name in one of six colours. It is as wide as
    /// `width`; of a longer name, the beginning and the end are kept, since names often differ only there.
    pub(crate) fn prefix(name: &str, width: usize, colour: Option<u8>) -> Self {
        let name = shortened(&one_line(name), width);
        Self(match colour {
            // The six colours that are neither black nor white (ECMA-48).
            Some(number) => format!("\x1b[3{}m{name:width$} |\x1b[0m ", 1 + number % 6).into_bytes(),
            None => format!("{name:width$} | ").into_bytes(),
        })
    }

    /// A line end.
    pub(crate) fn newline() -> Self {
        Self(b"\n".to_vec())
    }

    /// A JSON object on one line: unchanged for a pipe; for a terminal, control characters are written as JSON escapes.
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

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends another text.
    pub(crate) fn push(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

/// At most this many characters of the text: without its middle if it is longer.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (begin, end) = (kept.div_ceil(2), kept / 2);
    text.chars().take(begin).chain(['\u{2026}']).chain(text.chars().skip(length - end)).collect()
}

/// The text; bytes that are not UTF-8 become U+FFFD.
impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_one_width_and_keep_both_ends_of_a_long_name() {
        for (name, width, prefix) in [
            ("web", 5, "web   | "),
            ("web", 3, "web | "),
            ("ci-main-417-amd64", 11, "ci-ma\u{2026}amd64 | "),
            ("ci-main-417-amd64", 16, "ci-main-\u{2026}7-amd64 | "),
            ("ab", 1, "\u{2026} | "),
        ] {
            assert_eq!(SafeText::prefix(name, width, None).to_string(), prefix);
        }
        assert_eq!(SafeText::prefix("web", 4, Some(1)).to_string(), "\x1b[32mweb  |\x1b[0m ");
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
