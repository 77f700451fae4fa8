//! Terminal control sequences that redraw lines. A CR is handled by [`LineSplitter`](super::LineSplitter); this module
//! translates "erase the line", "go to the first column" and "go up" to the same effect.
//!
//! A program that moves up redraws a block of lines again and again. The block is held as it stands, like the rows of a
//! small screen, and is emitted once it is not redrawn any more, so that each of its lines is in the log once and not
//! once for each redraw. Lines that were emitted before the program first moved up stay.

use std::collections::VecDeque;

use memchr::memchr;

/// The maximum number of rows of a block: no terminal shows more, and rows that scrolled out at the top cannot be
/// redrawn.
const MAX_BLOCK_ROWS: usize = 100;

/// The longest row, in bytes. A longer one is not a drawing: the block is emitted as it stands.
const MAX_ROW_SIZE: usize = 8 << 10;

/// The longest control sequence, in bytes; a longer one is text.
const MAX_SEQUENCE_SIZE: usize = 32;

/// The prefix of foldable sections in GitLab logs. In them a CR ends the name of the title, and nothing is redrawn.
const GITLAB_SECTION_PREFIX: &[u8] = b"section_";

/// The output of [`Redraw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedrawOutput<'a> {
    /// Bytes, to be split into lines.
    Bytes(&'a [u8]),
    /// The unfinished line was erased.
    Erase,
}

/// Tracks the redraws in one output of a process. Holds at most [`MAX_BLOCK_ROWS`] rows of [`MAX_ROW_SIZE`] bytes.
#[derive(Debug, Default)]
pub struct Redraw {
    /// The beginning of an incomplete control sequence.
    partial_sequence: Vec<u8>,
    /// The last output was a CR or an erasure, so the cursor is in the first column.
    first_column: bool,
    /// The unfinished line has text, and names a section.
    line_started: bool,
    in_section: bool,
    block: Option<RedrawBlock>,
}

/// The rows that are being redrawn.
#[derive(Debug, Default)]
struct RedrawBlock {
    rows: VecDeque<Vec<u8>>,
    /// The row of the cursor.
    cursor_row: usize,
    /// The next text replaces the content of the row.
    replaces_row: bool,
    /// The row that was drawn last.
    last_drawn_row: usize,
}

/// A control sequence that affects drawing, with its parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlSequence {
    Up(usize),
    Down(usize),
    FirstColumn,
    EraseLine,
    EraseRest,
    EraseBelow,
    /// A sequence without a visible effect.
    Ignored,
    /// Colours and all other sequences, which are part of the text.
    Other,
}

impl Redraw {
    /// Passes `chunk` on, with redraws turned into [`RedrawOutput`]s. Text without control sequences is not copied.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(RedrawOutput<'_>)) {
        let joined;
        let mut rest = chunk;
        if !self.partial_sequence.is_empty() {
            joined = [std::mem::take(&mut self.partial_sequence).as_slice(), chunk].concat();
            rest = &joined;
        }
        while let Some(at) = memchr(0x1b, rest) {
            let (before, order) = rest.split_at(at);
            self.text(before, &mut sink);
            // A sequence that is too long to be held across reads is text in one piece, too, so that read boundaries
            // have no effect.
            rest = match parse_sequence(order).filter(|(_, length)| *length <= MAX_SEQUENCE_SIZE) {
                Some((what, length)) => {
                    let (order, after) = order.split_at(length);
                    self.apply(what, order, &mut sink);
                    after
                }
                None if order.len() < MAX_SEQUENCE_SIZE => {
                    self.partial_sequence = order.to_vec();
                    return;
                }
                None => {
                    self.text(&order[..1], &mut sink);
                    &order[1..]
                }
            };
        }
        self.text(rest, &mut sink);
    }

    /// The text of the line that was drawn last in the block; `None` without a block.
    pub fn open(&self) -> Option<&[u8]> {
        let block = self.block.as_ref()?;
        block.rows.get(block.last_drawn_row).map(Vec::as_slice)
    }

    /// Emits the block, since it was not redrawn for long enough, or nothing more can come.
    pub fn settle(&mut self, mut sink: impl FnMut(RedrawOutput<'_>)) {
        let Some(block) = self.block.take() else { return };
        let last = block.rows.len().saturating_sub(1);
        for (at, row) in block.rows.iter().enumerate() {
            if !row.is_empty() {
                sink(RedrawOutput::Bytes(row));
                // The row of the cursor is unfinished if it is the last one.
                if at != last || at != block.cursor_row {
                    sink(RedrawOutput::Bytes(b"\n"));
                }
            }
        }
        self.first_column = block.replaces_row;
        self.line_started = !block.replaces_row;
        if block.replaces_row && block.rows.get(block.cursor_row).is_some_and(|row| !row.is_empty()) {
            sink(RedrawOutput::Bytes(b"\r"));
        }
    }

    /// Handles text, in which CR and LF are the only control characters.
    fn text(&mut self, text: &[u8], sink: &mut impl FnMut(RedrawOutput<'_>)) {
        if text.is_empty() {
            return;
        }
        if let Some(block) = &mut self.block {
            if block.write(text, sink) {
                return;
            }
            // A row that is too long is not a drawing.
            self.settle(&mut *sink);
            return;
        }
        match memchr::memrchr(b'\n', text) {
            Some(feed) => {
                let line = &text[feed + 1..];
                (self.line_started, self.in_section) = (!line.is_empty(), line.starts_with(GITLAB_SECTION_PREFIX));
            }
            None if !self.line_started => {
                (self.line_started, self.in_section) = (true, text.starts_with(GITLAB_SECTION_PREFIX));
            }
            None => {}
        }
        let title = if self.in_section { text.strip_suffix(b"\r") } else { None };
        if let Some(title) = title {
            sink(RedrawOutput::Bytes(title));
            sink(RedrawOutput::Bytes(b" "));
            self.first_column = false;
        } else {
            sink(RedrawOutput::Bytes(text));
            self.first_column = text.ends_with(b"\r");
        }
    }

    /// Carries out a control sequence.
    fn apply(&mut self, what: ControlSequence, order: &[u8], sink: &mut impl FnMut(RedrawOutput<'_>)) {
        if let (None, ControlSequence::Up(rows)) = (&self.block, what) {
            // The rows above were emitted already. The line of this row, if it has text, is drawn again with them.
            sink(RedrawOutput::Erase);
            (self.line_started, self.in_section) = (false, false);
            let rows = std::iter::repeat_n(Vec::new(), rows.min(MAX_BLOCK_ROWS - 1) + 1).collect();
            self.block = Some(RedrawBlock { rows, cursor_row: 0, replaces_row: true, last_drawn_row: 0 });
            return;
        }
        if let Some(block) = &mut self.block {
            block.apply(what, order);
            return;
        }
        match what {
            ControlSequence::FirstColumn if !self.in_section => {
                sink(RedrawOutput::Bytes(b"\r"));
                self.first_column = true;
            }
            ControlSequence::EraseLine => {
                sink(RedrawOutput::Erase);
                self.first_column = true;
            }
            ControlSequence::EraseRest | ControlSequence::EraseBelow if self.first_column => sink(RedrawOutput::Erase),
            ControlSequence::EraseRest if self.in_section => {}
            ControlSequence::Ignored => {}
            ControlSequence::FirstColumn
            | ControlSequence::EraseRest
            | ControlSequence::EraseBelow
            | ControlSequence::Other
            | ControlSequence::Up(_)
            | ControlSequence::Down(_) => {
                sink(RedrawOutput::Bytes(order));
                (self.first_column, self.line_started) = (false, true);
            }
        }
    }
}

impl RedrawBlock {
    /// Writes text at the cursor; `false` if a row became too long.
    fn write(&mut self, text: &[u8], sink: &mut impl FnMut(RedrawOutput<'_>)) -> bool {
        for (line, last) in lines(text) {
            // A CR before a line end is part of it.
            let line = if last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
            for (at, drawing) in line.split(|byte| *byte == b'\r').enumerate() {
                self.replaces_row |= at > 0;
                if !drawing.is_empty() {
                    self.draw(drawing);
                }
            }
            if !last {
                self.line_feed(sink);
            }
        }
        self.rows.iter().all(|row| row.len() <= MAX_ROW_SIZE)
    }

    fn draw(&mut self, text: &[u8]) {
        let row = &mut self.rows[self.cursor_row];
        if std::mem::take(&mut self.replaces_row) {
            row.clear();
        }
        row.extend_from_slice(text);
        self.last_drawn_row = self.cursor_row;
    }

    /// Moves to the beginning of the next row, which may be a new one.
    fn line_feed(&mut self, sink: &mut impl FnMut(RedrawOutput<'_>)) {
        self.replaces_row = true;
        self.cursor_row += 1;
        if self.cursor_row == self.rows.len() {
            self.rows.push_back(Vec::new());
        }
        if self.rows.len() > MAX_BLOCK_ROWS
            && let Some(top) = self.rows.pop_front()
        {
            (self.cursor_row, self.last_drawn_row) = (self.cursor_row - 1, self.last_drawn_row.saturating_sub(1));
            if !top.is_empty() {
                sink(RedrawOutput::Bytes(&top));
                sink(RedrawOutput::Bytes(b"\n"));
            }
        }
    }

    fn apply(&mut self, what: ControlSequence, order: &[u8]) {
        match what {
            ControlSequence::Up(rows) => {
                let above = rows.saturating_sub(self.cursor_row).min(MAX_BLOCK_ROWS.saturating_sub(self.rows.len()));
                for _ in 0..above {
                    self.rows.push_front(Vec::new());
                }
                (self.cursor_row, self.last_drawn_row) =
                    ((self.cursor_row + above).saturating_sub(rows), self.last_drawn_row + above);
                self.replaces_row = true;
            }
            ControlSequence::Down(rows) => {
                self.cursor_row = (self.cursor_row + rows).min(self.rows.len() - 1);
                self.replaces_row = true;
            }
            ControlSequence::FirstColumn => self.replaces_row = true,
            ControlSequence::EraseLine => {
                self.rows[self.cursor_row].clear();
                self.replaces_row = true;
            }
            ControlSequence::EraseRest if self.replaces_row => self.rows[self.cursor_row].clear(),
            ControlSequence::EraseBelow => {
                if self.replaces_row {
                    self.rows[self.cursor_row].clear();
                }
                self.rows.truncate(self.cursor_row + 1);
                self.last_drawn_row = self.last_drawn_row.min(self.cursor_row);
            }
            ControlSequence::EraseRest | ControlSequence::Ignored => {}
            ControlSequence::Other => self.draw(order),
        }
    }
}

/// The lines of a text without their LF, each with a flag that marks the text after the last LF.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        if let Some(at) = memchr(b'\n', text) {
            rest = Some(&text[at + 1..]);
            Some((&text[..at], false))
        } else {
            rest = None;
            Some((text, true))
        }
    })
}

/// The control sequence at the beginning of `text`, which begins with ESC, and its length; `None` if it is incomplete.
fn parse_sequence(text: &[u8]) -> Option<(ControlSequence, usize)> {
    let second = *text.get(1)?;
    if second != b'[' {
        return Some((ControlSequence::Other, 1));
    }
    // CSI (ECMA-48, 5.4): parameters, intermediates, and a final byte.
    let inside = &text[2..];
    let end = inside.iter().position(|byte| !(0x20..0x40).contains(byte))?;
    let length = 2 + end + 1;
    let parameters = std::str::from_utf8(&inside[..end]).unwrap_or_default();
    let number = |default| if parameters.is_empty() { Some(default) } else { parameters.parse::<usize>().ok() };
    let order = match inside[end] {
        b'A' | b'F' => number(1).map(|rows| ControlSequence::Up(rows.max(1))),
        b'B' | b'E' => number(1).map(|rows| ControlSequence::Down(rows.max(1))),
        b'G' => number(1).filter(|column| *column <= 1).map(|_| ControlSequence::FirstColumn),
        b'K' => match number(0) {
            Some(0) => Some(ControlSequence::EraseRest),
            Some(2) => Some(ControlSequence::EraseLine),
            _ => None,
        },
        b'J' => number(0).filter(|mode| *mode == 0).map(|_| ControlSequence::EraseBelow),
        b'h' | b'l' if parameters.starts_with('?') => Some(ControlSequence::Ignored),
        _ => None,
    };
    Some((order.unwrap_or(ControlSequence::Other), length))
}

#[cfg(test)]
mod tests {
    use super::super::{CarriageReturnMode, LineSplitter};
    use super::*;
    use proptest::prelude::*;

    /// Lines, followed by three dots and the unfinished line; with `settles`, the block is settled at the end.
    fn folded(chunks: &[&[u8]], settles: bool) -> Vec<String> {
        let (mut redraw, mut lines) = (Redraw::default(), LineSplitter::new(1000, CarriageReturnMode::Fold));
        let mut seen = Vec::new();
        let mut take = |lines: &mut LineSplitter, part: RedrawOutput<'_>| match part {
            RedrawOutput::Bytes(bytes) => {
                lines.push(bytes, |line| seen.push(String::from_utf8_lossy(line.text).into_owned()));
            }
            RedrawOutput::Erase => lines.erase(),
        };
        for chunk in chunks {
            redraw.push(chunk, |part| take(&mut lines, part));
        }
        if settles {
            redraw.settle(|part| take(&mut lines, part));
        }
        let open = redraw.open().unwrap_or(lines.open());
        if !open.is_empty() {
            seen.push(format!("...{}", String::from_utf8_lossy(open)));
        }
        seen
    }

    #[test]
    fn a_line_is_what_a_terminal_shows() {
        let table: &[(&str, &[&str])] = &[
            ("one\ntwo", &["one", "...two"]),
            ("10%\r20%\n", &["20%"]),
            ("10%\r\x1b[K20%\n", &["20%"]),
            ("10%\x1b[2K\r20%\n", &["20%"]),
            ("10%\x1b[2K\x1b[1G20%\n", &["20%"]),
            ("10%\x1b[1G\x1b[0K", &[]),
            ("10%\r\x1b[K\ndone\n", &["", "done"]),
            ("[1/2] a\x1b[K\r[2/2] b\x1b[K\n", &["[2/2] b\x1b[K"]),
            ("\x1b[?25l|\r/\r-\x1b[?25h\n", &["-"]),
            ("\x1b[31mred\x1b[0m\n", &["\x1b[31mred\x1b[0m"]),
            ("\x1b[01m\x1b[Kx.c:1:\x1b[m\x1b[K\n", &["\x1b[01m\x1b[Kx.c:1:\x1b[m\x1b[K"]),
            ("section_start:7:a\r\x1b[0KTitle\n", &["section_start:7:a Title"]),
            ("x\nsection_end:7:a\r\x1b[0K\n", &["x", "section_end:7:a "]),
            ("half\x1b[", &["...half"]),
        ];
        for (text, expected) in table {
            assert_eq!(&folded(&[text.as_bytes()], true), expected, "{text:?}");
        }
    }

    #[test]
    fn a_block_is_held_and_its_lines_come_once() {
        let docker = "a: wait\nb: wait\n\x1b[2A\x1b[2K\ra: 10% \r\x1b[2B\x1b[1A\x1b[2K\rb: 50% \r\x1b[1B\x1b[2A\x1b[2K\ra: done\r\x1b[2B";
        assert_eq!(folded(&[docker.as_bytes()], false), ["a: wait", "b: wait", "...a: done"]);
        assert_eq!(folded(&[docker.as_bytes()], true), ["a: wait", "b: wait", "a: done", "b: 50% "]);
        let ink = "- one\n- two\x1b[2K\x1b[1A\x1b[2K\x1b[Gx one\nx two\n";
        assert_eq!(folded(&[ink.as_bytes()], true), ["- one", "x one", "x two"]);
        let grows = "a\n\x1b[1AA\nb\n\x1b[2AAA\nbb\nc\n";
        assert_eq!(folded(&[grows.as_bytes()], true), ["a", "AA", "bb", "c"]);
    }

    #[test]
    fn a_block_of_a_gigabyte_costs_a_hundred_rows() {
        let mut redraw = Redraw::default();
        let mut given = 0;
        for round in 0..2000 {
            let drawing = format!("\x1b[3A\x1b[2K\r{round} of 2000\n\x1b[2K[=====>   ]\n\x1b[2Kx\n");
            redraw.push(drawing.repeat(20).as_bytes(), |part| {
                given += usize::from(matches!(part, RedrawOutput::Bytes(_)));
            });
            assert!(redraw.block.as_ref().unwrap().rows.iter().map(Vec::len).sum::<usize>() < 1000);
        }
        assert_eq!(given, 0);
        redraw.push("line\n".repeat(1000).as_bytes(), |part| {
            given += usize::from(matches!(part, RedrawOutput::Bytes(_)));
        });
        assert!(given > 1800 && redraw.block.as_ref().unwrap().rows.len() <= MAX_BLOCK_ROWS, "{given}");
        redraw.push(&b"x".repeat(3 * MAX_ROW_SIZE), |_| {});
        assert!(redraw.block.is_none());
    }

    #[test]
    fn an_order_that_is_too_long_is_text_wherever_reads_end() {
        for digits in [MAX_SEQUENCE_SIZE - 3, MAX_SEQUENCE_SIZE - 2] {
            let text = format!("a\nb\x1b[{:0>digits$}Ac\n", 1);
            let cut: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(folded(&cut, true), folded(&[text.as_bytes()], true), "{digits} digits");
        }
    }

    proptest! {
        #[test]
        fn where_reads_end_never_shows(
            bits in prop::collection::vec(prop::sample::select(vec![
                "a", "bc", "\r", "\n", "\x1b[K", "\x1b[2K", "\x1b[G", "\x1b[1A", "\x1b[2A", "\x1b[B", "\x1b[J", "\x1b[31m", "\x1b[?25l", "é",
            ]), 0..30),
            ends in prop::collection::vec(1usize..5, 1..30),
        ) {
            let text = bits.concat();
            // Sections are not among the samples, since their CR and control sequence come in one write.
            let mut chunks = Vec::new();
            let mut rest = text.as_bytes();
            for end in ends.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*end).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(folded(&chunks, true), folded(&[text.as_bytes()], true));
        }
    }
}
