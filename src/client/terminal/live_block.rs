//! The block of live rows below the lines: what belongs to it, and the bytes that draw and erase it.
//!
//! # Theory of operation
//! While the block is on the screen, the cursor is at the first column of its first row. Erasing is therefore the same
//! two sequences whatever the block looks like by then: a terminal that has become narrower may have broken its rows into
//! several, and the cursor stays at the first of them. New lines take the place of the erased block, and it is drawn
//! below them.
//!
//! ```text
//!   a line                            a line
//!   ▮ live row 1    erase, print      a new line       draw
//!     live row 2   ─────────────▶     ▮               ──────▶   the block, and the cursor back at its first row
//! ```
//!
//! A row never continues on the next one: it is cut to the width of the terminal, which also must not wrap while it is
//! drawn, since terminals disagree on the width of some characters. The block always leaves a row for a line.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthChar;

use super::line_sanitizer::{LineForm, LineSanitizer};
use super::safe_text::SafeText;

/// Maximum number of origins whose rows are kept; more do not fit on any screen.
const MAX_LIVE_ORIGINS: usize = 200;

/// Maximum number of rows that are kept for each origin: the daemon sends no more.
const MAX_ROWS_PER_ORIGIN: usize = 200;

/// The columns from one tab stop to the next.
const TAB_SIZE: usize = 8;

/// Moves to the first column and erases from there to the end of the screen.
const ERASE: &[u8] = b"\r\x1b[J";

/// Switches wrapping at the right margin off and on.
const WRAP_OFF: &[u8] = b"\x1b[?7l";
const WRAP_ON: &[u8] = b"\x1b[?7h";

/// Ends a link and all colours in a row that was cut.
const END_ROW: &[u8] = b"\x1b]8;;\x1b\\\x1b[0m";

/// The live rows of all streams that are followed.
#[derive(Debug)]
pub(super) struct LiveBlock {
    form: LineForm,
    /// The rows by the number of their stream and their origin. No entry is empty.
    rows: BTreeMap<(usize, String), Vec<SafeText>>,
    /// The progress of streams, which is shown while they have no rows.
    progress: BTreeMap<usize, SafeText>,
    is_drawn: bool,
}

impl LiveBlock {
    /// An empty block, whose rows are drawn in this form.
    pub(super) fn new(form: LineForm) -> Self {
        Self { form, rows: BTreeMap::new(), progress: BTreeMap::new(), is_drawn: false }
    }

    /// Replaces the rows of an origin. Each is drawn after the prefix.
    pub(super) fn set_rows(&mut self, stream: usize, origin: &str, prefix: Option<&SafeText>, rows: &[String]) {
        let key = (stream, origin.to_owned());
        if rows.is_empty() {
            self.rows.remove(&key);
        } else if self.rows.len() < MAX_LIVE_ORIGINS || self.rows.contains_key(&key) {
            let last = rows.iter().skip(rows.len().saturating_sub(MAX_ROWS_PER_ORIGIN));
            let rows = last.map(|row| self.row(prefix, row)).collect();
            self.rows.insert(key, rows);
        }
    }

    fn row(&self, prefix: Option<&SafeText>, text: &str) -> SafeText {
        let mut row = prefix.cloned().unwrap_or_default();
        row.push(&LineSanitizer::new(self.form).sanitize(text.as_bytes(), false));
        row
    }

    /// Withdraws all rows of a stream.
    pub(super) fn clear_rows(&mut self, stream: usize) {
        self.rows.retain(|(owner, _), _| *owner != stream);
    }

    /// Replaces the progress of a stream.
    pub(super) fn set_progress(&mut self, stream: usize, prefix: Option<&SafeText>, text: Option<&str>) {
        match text {
            Some(text) => {
                let mut row = prefix.cloned().unwrap_or_default();
                row.push(&SafeText::lines(text));
                self.progress.insert(stream, row);
            }
            None => drop(self.progress.remove(&stream)),
        }
    }

    /// Returns whether the block is on the screen.
    pub(super) fn is_drawn(&self) -> bool {
        self.is_drawn
    }

    /// Appends what erases the block; nothing if it is not on the screen.
    pub(super) fn erase(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.is_drawn) {
            out.extend_from_slice(ERASE);
        }
    }

    /// Appends what draws the block at the cursor, which is in the first column, on a terminal of this size.
    pub(super) fn draw(&mut self, (columns, rows): (usize, usize), out: &mut Vec<u8>) {
        debug_assert!(!self.is_drawn, "it is erased first");
        let has_rows = |stream: usize| self.rows.keys().any(|(owner, _)| *owner == stream);
        let progress = self.progress.iter().filter(|(stream, _)| !has_rows(**stream)).map(|(_, row)| row);
        let all: Vec<_> = self.rows.values().flatten().chain(progress).collect();
        // The last rows are those that change.
        let shown = &all[all.len().saturating_sub(rows.saturating_sub(1))..];
        if shown.is_empty() {
            return;
        }
        out.extend_from_slice(WRAP_OFF);
        for (number, row) in shown.iter().enumerate() {
            out.extend_from_slice(if number > 0 { b"\r\n" } else { b"" });
            push_row(&row.0, columns, out);
        }
        out.extend_from_slice(WRAP_ON);
        if shown.len() > 1 {
            out.extend_from_slice(format!("\x1b[{}A", shown.len() - 1).as_bytes());
        }
        out.push(b'\r');
        self.is_drawn = true;
    }
}

/// Appends as much of the text as fits into the columns. The text has no escape sequences but colours and links.
fn push_row(text: &[u8], columns: usize, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(text);
    let (mut used, mut escaped) = (0, false);
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\x1b' => escape_length(rest),
            _ => c.len_utf8(),
        };
        let (part, after) = rest.split_at(length);
        rest = after;
        match c {
            '\x1b' => {
                escaped = true;
                out.extend_from_slice(part.as_bytes());
            }
            '\t' => {
                let stop = (used / TAB_SIZE + 1) * TAB_SIZE;
                out.resize(out.len() + stop.min(columns) - used, b' ');
                used = stop.min(columns);
            }
            _ => {
                let part = if c == '\n' { "\u{240A}" } else { part };
                let width = c.width().unwrap_or(1);
                if used + width > columns {
                    out.extend_from_slice(if escaped { END_ROW } else { b"" });
                    return;
                }
                used += width;
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

/// The length of the colour or link at the beginning of the text.
fn escape_length(text: &str) -> usize {
    let end =
        if text.starts_with("\x1b[") { text.find('m').map(|at| at + 1) } else { text.find("\x1b\\").map(|at| at + 2) };
    end.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(columns: usize, rows: usize) -> avt::Terminal {
        avt::Terminal::with_scrollback(columns, rows, None).unwrap()
    }

    fn lines(screen: &avt::Terminal) -> Vec<String> {
        let lines = screen.primary_screen().all_lines().map(|line| line.text().trim_end().to_owned());
        let mut lines: Vec<_> = lines.collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Prints a line above the block.
    fn print(block: &mut LiveBlock, screen: &mut avt::Terminal, line: &str, size: (usize, usize)) {
        let mut out = Vec::new();
        block.erase(&mut out);
        out.extend_from_slice(line.as_bytes());
        block.draw(size, &mut out);
        screen.feed(String::from_utf8(out).unwrap().as_str());
    }

    #[test]
    fn a_row_is_cut_to_the_width_of_the_terminal() {
        let table = [
            ("abcdef", 10, "abcdef"),
            ("abcdef", 4, "abcd"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本"),
            ("a\tb", 20, "a       b"),
            ("a\tb", 5, "a    "),
            ("e\u{301}x", 1, "e\u{301}"),
            ("a\nb", 5, "a␊b"),
            ("\x1b[31mabc\x1b[0m", 3, "\x1b[31mabc\x1b[0m"),
            ("\x1b[31mabc\x1b[0m", 2, "\x1b[31mab\x1b]8;;\x1b\\\x1b[0m"),
            ("\x1b]8;;http://m\x1b\\abc\x1b]8;;\x1b\\", 1, "\x1b]8;;http://m\x1b\\a\x1b]8;;\x1b\\\x1b[0m"),
            ("", 5, ""),
        ];
        for (row, columns, expected) in table {
            let mut out = Vec::new();
            push_row(row.as_bytes(), columns, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{row:?} in {columns}");
        }
    }

    #[test]
    fn the_block_stays_below_the_lines() {
        let size = (12, 5);
        let mut terminal = screen(size.0, size.1);
        let mut block = LiveBlock::new(LineForm::Coloured);
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        block.set_rows(0, "stdout", None, &rows(&["one", "\x1b[32mtwo\x1b[0m"]));
        print(&mut block, &mut terminal, "", size);
        assert_eq!(lines(&terminal), ["one", "two"]);
        for number in 1..=7 {
            print(&mut block, &mut terminal, &format!("line {number}\r\n"), size);
        }
        block.set_rows(0, "stderr", None, &rows(&["a wide row 日本語日本語"]));
        print(&mut block, &mut terminal, "", size);
        let above = (1..=7).map(|number| format!("line {number}"));
        let expected = |below: &[&str]| above.clone().chain(rows(below)).collect::<Vec<_>>();
        assert_eq!(lines(&terminal), expected(&["a wide row", "one", "two"]));
        // A terminal that becomes narrower breaks the rows, and one that becomes wider joins them.
        for columns in [6, 20, 12] {
            terminal.resize(columns, 5);
            print(&mut block, &mut terminal, "", (columns, 5));
        }
        assert_eq!(lines(&terminal), expected(&["a wide row", "one", "two"]));
        // More rows than the terminal has.
        block.set_rows(0, "stdout", None, &(1..=9).map(|row| format!("row {row}")).collect::<Vec<_>>());
        print(&mut block, &mut terminal, "", size);
        assert_eq!(lines(&terminal), expected(&["row 6", "row 7", "row 8", "row 9"]));
        block.set_rows(0, "stdout", None, &[]);
        print(&mut block, &mut terminal, "last\r\n", size);
        assert_eq!(lines(&terminal), expected(&["last", "a wide row"]));
        block.clear_rows(0);
        print(&mut block, &mut terminal, "", size);
        assert_eq!(lines(&terminal), expected(&["last"]));
    }

    #[test]
    fn progress_is_shown_while_its_stream_has_no_rows() {
        let mut block = LiveBlock::new(LineForm::Uncoloured);
        let mut terminal = screen(20, 5);
        let prefix = SafeText::prefix("web", 5, None);
        block.set_progress(0, None, Some("[##..] 50 % \x1b[2J"));
        block.set_progress(1, Some(&prefix), Some("[#...] 25 %"));
        block.set_rows(1, "stdout", Some(&prefix), &["\x1b[31mrow\x1b[0m".to_owned()]);
        print(&mut block, &mut terminal, "", (20, 5));
        assert_eq!(lines(&terminal), ["web   | row", "[##..] 50 % \\u{1b}[2"]);
        block.clear_rows(1);
        block.set_progress(0, None, None);
        print(&mut block, &mut terminal, "", (20, 5));
        assert_eq!(lines(&terminal), ["web   | [#...] 25 %"]);
    }

    #[test]
    fn the_block_does_not_grow_without_limit() {
        let mut block = LiveBlock::new(LineForm::Coloured);
        let many: Vec<_> = (0..1000).map(|row| row.to_string()).collect();
        for origin in 0..1000 {
            block.set_rows(0, &origin.to_string(), None, &many);
        }
        assert_eq!(block.rows.values().map(Vec::len).sum::<usize>(), MAX_LIVE_ORIGINS * MAX_ROWS_PER_ORIGIN);
    }
}
