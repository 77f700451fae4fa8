//! Joins lines that belong together, such as a stack trace.

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::event::visible_text;

use super::split::Line;

/// The rule that says which lines belong together.
#[derive(Debug, Clone)]
pub enum MultilineRule {
    /// A matching line starts a new group; all others continue the current one.
    Start(Regex),
    /// A matching line continues the current group; all others start a new one.
    Continue(Regex),
}

impl MultilineRule {
    /// Returns whether a line continues the current group. The expression is matched against the visible text: a colour
    /// at the start of a line is not part of its text.
    fn is_continuation(&self, text: &[u8]) -> bool {
        let text = visible_text(text);
        match self {
            Self::Start(regex) => !regex.is_match(&text),
            Self::Continue(regex) => regex.is_match(&text),
        }
    }
}

/// Joins lines with a newline between them. The result is held until a line starts a new group, or until
/// [`flush`](Self::flush) says that none will come.
///
/// A result that is longer than the limit is emitted in pieces, each but the last `continued`; together they are the
/// original text. A piece ends where a line or a piece of a line ends.
#[derive(Debug)]
pub struct LineJoiner {
    rule: MultilineRule,
    max: usize,
    text: Vec<u8>,
    /// The number of source bytes that `text` took.
    held: u64,
    /// Something is held, though it may be an empty line.
    is_open: bool,
    /// The last line is continued: its next piece is not matched against the rule.
    mid_line: bool,
}

/// The state of a [`LineJoiner`] for another process: the lines that it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedJoin {
    text: Vec<u8>,
    is_open: bool,
    mid_line: bool,
}

impl LineJoiner {
    /// Joins lines of at most `max - 1` bytes to results of at most `max` bytes.
    pub fn new(rule: MultilineRule, max: usize) -> Self {
        Self { rule, max, text: Vec::new(), held: 0, is_open: false, mid_line: false }
    }

    /// The state for another process.
    pub fn pack(&self) -> PackedJoin {
        PackedJoin { text: self.text.clone(), is_open: self.is_open, mid_line: self.mid_line }
    }

    /// Continues a packed state. No source bytes are held: they were received by the other process.
    pub fn unpack(&mut self, packed: PackedJoin) {
        self.text = packed.text;
        (self.is_open, self.mid_line) = (packed.is_open, packed.mid_line);
    }

    /// Adds a line; passes complete results to `sink`.
    pub fn push(&mut self, line: Line<'_>, sink: &mut impl FnMut(Line<'_>)) {
        let newline = !self.mid_line;
        if newline && self.is_open && !self.rule.is_continuation(line.text) {
            self.emit(false, false, sink);
        }
        if self.is_open && newline && self.text.len() + 1 + line.text.len() <= self.max {
            self.text.push(b'\n');
        } else if self.is_open && self.text.len() + usize::from(newline) + line.text.len() > self.max {
            let fits = newline && self.text.len() < self.max;
            if fits {
                self.text.push(b'\n');
            }
            self.emit(true, false, sink);
            if newline && !fits {
                self.text.push(b'\n');
            }
        }
        self.text.extend_from_slice(line.text);
        self.held += line.source;
        (self.is_open, self.mid_line) = (true, line.continued);
        if line.partial {
            self.emit(false, true, sink);
        }
    }

    /// Emits the held lines, since no line that belongs to them is expected. Does nothing in the middle of a line.
    pub fn flush(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        if self.is_open && !self.mid_line {
            self.emit(false, false, sink);
        }
    }

    /// Emits the held lines at the end of the source.
    pub fn finish(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        if self.is_open {
            self.emit(false, self.mid_line, sink);
        }
        self.mid_line = false;
    }

    /// Handles the end of a file, which a line that belongs to the held ones may follow in the next file: emits the held
    /// lines only if they end in the middle of a line.
    pub fn end_of_file(&mut self, sink: &mut impl FnMut(Line<'_>)) {
        if self.mid_line {
            self.finish(sink);
        }
    }

    /// The held lines; `None` if there are none.
    pub fn open(&self) -> Option<&[u8]> {
        self.is_open.then_some(&self.text)
    }

    /// The number of source bytes that the held lines took.
    pub fn held(&self) -> u64 {
        self.held
    }

    fn emit(&mut self, continued: bool, partial: bool, sink: &mut impl FnMut(Line<'_>)) {
        sink(Line { text: &self.text, continued, partial, source: self.held });
        self.text.clear();
        (self.held, self.is_open) = (0, continued);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{CarriageReturnMode, LineSplitter};
    use proptest::prelude::*;

    fn start() -> MultilineRule {
        MultilineRule::Start(Regex::new("^[0-9]").unwrap())
    }

    /// All results for `text`: a continued piece is followed by `+`, a partial line by `...`.
    fn joined(rule: MultilineRule, max: usize, text: &str) -> Vec<String> {
        let mut lines = LineSplitter::new(max - 1, CarriageReturnMode::Keep);
        let mut multiline = LineJoiner::new(rule, max);
        let mut given = Vec::new();
        let mut took = 0;
        let mut keep = |line: Line<'_>| {
            took += line.source;
            assert!(line.text.len() <= max);
            let mark = if line.continued { "+" } else { "" };
            let partial = if line.partial { "..." } else { "" };
            given.push(format!("{}{mark}{partial}", String::from_utf8_lossy(line.text)));
        };
        lines.push(text.as_bytes(), |line| multiline.push(line, &mut keep));
        lines.finish(|line| multiline.push(line, &mut keep));
        multiline.finish(&mut keep);
        assert_eq!(took, text.len() as u64);
        given
    }

    #[test]
    fn lines_that_belong_together_are_one() {
        let on = || MultilineRule::Continue(Regex::new(r"^\s").unwrap());
        let table: &[(MultilineRule, &str, &[&str])] = &[
            (start(), "1 a\n b\n c\n2 d\n", &["1 a\n b\n c", "2 d"]),
            (start(), "x\ny\n1\n", &["x\ny", "1"]),
            (start(), "1\n\n2\n", &["1\n", "2"]),
            (start(), "1\n x", &["1\n x..."]),
            (on(), "a\n b\n c\nd\n", &["a\n b\n c", "d"]),
            (on(), " a\nb\n", &[" a", "b"]),
            // The rules see what a reader sees.
            (
                start(),
                "\x1b[32m1 a\x1b[0m\n\x1b[1;31m b\n\x1b]8;;http://1\x07c\n\x1b[m2\n",
                &["\x1b[32m1 a\x1b[0m\n\x1b[1;31m b\n\x1b]8;;http://1\x07c", "\x1b[m2"],
            ),
            (on(), "a\n\x1b[2m b\n\u{9b}2m c\nd\n", &["a\n\x1b[2m b\n\u{9b}2m c", "d"]),
        ];
        for (rule, text, expected) in table {
            assert_eq!(joined(rule.clone(), 100, text), *expected, "{rule:?} {text:?}");
        }
    }

    #[test]
    fn what_is_too_long_comes_in_pieces() {
        let table: &[(&str, &[&str])] = &[
            ("1\naaa\nbb\n2\n", &["1\naaa+", "\nbb", "2"]),
            ("1\naa\nbb\n2\n", &["1\naa\n+", "bb", "2"]),
            ("123456789\n0\n", &["1234+", "56789", "0"]),
            ("1\nabcdef\n2\n", &["1\n+", "abcd+", "ef", "2"]),
        ];
        for (text, expected) in table {
            assert_eq!(joined(start(), 5, text), *expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn joined_again_it_is_what_was_written(text in "([a-c1\n]|12|aaaaaaa){0,30}", max in 5usize..12) {
            let mut all = String::new();
            for event in joined(start(), max, &text) {
                match event.strip_suffix('+') {
                    Some(piece) => all += piece,
                    None => all += &(event.strip_suffix("...").unwrap_or(&event).to_owned() + "\n"),
                }
            }
            let plain = if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" };
            prop_assert_eq!(all, plain);
        }
    }
}
