//! What a terminal is told beside text, as far as it draws lines anew: a CR folds in [`Lines`](super::Lines), and this
//! makes the same of "erase the line", "go to its first column" and "go up".
//!
//! A program that goes up draws a block of lines again and again. The block is held as it stands, like the rows of a small
//! screen, and given out once nothing more is drawn there: so each of its lines is a line of the log once, not at each
//! drawing. What was given out before it first went up stays.

use std::collections::VecDeque;

use memchr::memchr;

/// Rows of a block at most: no terminal shows more, and what scrolled out at the top cannot be drawn anew.
const ROWS: usize = 100;

/// Longest row, in bytes. What is longer was no drawing: the block is given out as it stands.
const ROW: usize = 8 << 10;

/// Longest order to a terminal, in bytes; a longer one is text.
const ORDER: usize = 32;

/// How lines of a section begin that GitLab folds; there a CR ends the title's name, and nothing is drawn anew.
const SECTION: &[u8] = b"section_";

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes, to be cut into lines.
    Bytes(&'a [u8]),
    /// The line that is not finished was erased.
    Erase,
}

/// Follows what one output of a process draws. Holds at most [`ROWS`] rows of [`ROW`] bytes.
#[derive(Debug, Default)]
pub struct Redraw {
    /// The beginning of an order whose end is yet to come.
    order: Vec<u8>,
    /// The last thing given out was a CR or an erasure: the cursor is in the first column.
    first_column: bool,
    /// The line that is not finished was begun, and names a section.
    begun: bool,
    section: bool,
    block: Option<Block>,
}

/// The rows that are being drawn anew.
#[derive(Debug, Default)]
struct Block {
    rows: VecDeque<Vec<u8>>,
    /// Where the cursor is.
    at: usize,
    /// The next text replaces what is in the row.
    fresh: bool,
    /// The row that was drawn last.
    drawn: usize,
}

/// An order that draws, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Up(usize),
    Down(usize),
    FirstColumn,
    EraseLine,
    EraseRest,
    EraseBelow,
    /// Not for the eye.
    Mode,
    /// Colours and all else: part of the text.
    Other,
}

impl Redraw {
    /// Passes `chunk` on, with what draws a line anew turned into [`Part`]s. What has no orders in it is not copied.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Part<'_>)) {
        let joined;
        let mut rest = chunk;
        if !self.order.is_empty() {
            joined = [std::mem::take(&mut self.order).as_slice(), chunk].concat();
            rest = &joined;
        }
        while let Some(at) = memchr(0x1b, rest) {
            let (before, order) = rest.split_at(at);
            self.text(before, &mut sink);
            // As if a read ended behind each of its bytes: what is too long to be held is text in one piece, too.
            rest = match parse(order).filter(|(_, length)| *length <= ORDER) {
                Some((what, length)) => {
                    let (order, after) = order.split_at(length);
                    self.obey(what, order, &mut sink);
                    after
                }
                None if order.len() < ORDER => {
                    self.order = order.to_vec();
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

    /// What there is of the line that was drawn last in the block; `None` without a block.
    pub fn open(&self) -> Option<&[u8]> {
        let block = self.block.as_ref()?;
        block.rows.get(block.drawn).map(Vec::as_slice)
    }

    /// Gives out the block, since nothing was drawn in it for long enough, or nothing more can come.
    pub fn settle(&mut self, mut sink: impl FnMut(Part<'_>)) {
        let Some(block) = self.block.take() else { return };
        let last = block.rows.len().saturating_sub(1);
        for (at, row) in block.rows.iter().enumerate() {
            if !row.is_empty() {
                sink(Part::Bytes(row));
                // The cursor's own row, if it is the last, is not finished.
                if at != last || at != block.at {
                    sink(Part::Bytes(b"\n"));
                }
            }
        }
        self.first_column = block.fresh;
        self.begun = !block.fresh;
        if block.fresh && block.rows.get(block.at).is_some_and(|row| !row.is_empty()) {
            sink(Part::Bytes(b"\r"));
        }
    }

    /// Text, in which CR and LF are the only orders.
    fn text(&mut self, text: &[u8], sink: &mut impl FnMut(Part<'_>)) {
        if text.is_empty() {
            return;
        }
        if let Some(block) = &mut self.block {
            if block.write(text, sink) {
                return;
            }
            // Too long a row to be a drawing.
            self.settle(&mut *sink);
            return;
        }
        match memchr::memrchr(b'\n', text) {
            Some(feed) => {
                let line = &text[feed + 1..];
                (self.begun, self.section) = (!line.is_empty(), line.starts_with(SECTION));
            }
            None if !self.begun => (self.begun, self.section) = (true, text.starts_with(SECTION)),
            None => {}
        }
        let title = if self.section { text.strip_suffix(b"\r") } else { None };
        if let Some(title) = title {
            sink(Part::Bytes(title));
            sink(Part::Bytes(b" "));
            self.first_column = false;
        } else {
            sink(Part::Bytes(text));
            self.first_column = text.ends_with(b"\r");
        }
    }

    /// Does what an order says.
    fn obey(&mut self, what: Order, order: &[u8], sink: &mut impl FnMut(Part<'_>)) {
        if let (None, Order::Up(rows)) = (&self.block, what) {
            // What is on the rows above was given out; this row's line, if it was begun, is drawn again with them.
            sink(Part::Erase);
            (self.begun, self.section) = (false, false);
            let rows = std::iter::repeat_n(Vec::new(), rows.min(ROWS - 1) + 1).collect();
            self.block = Some(Block { rows, at: 0, fresh: true, drawn: 0 });
            return;
        }
        if let Some(block) = &mut self.block {
            block.obey(what, order);
            return;
        }
        match what {
            Order::FirstColumn if !self.section => {
                sink(Part::Bytes(b"\r"));
                self.first_column = true;
            }
            Order::EraseLine => {
                sink(Part::Erase);
                self.first_column = true;
            }
            Order::EraseRest | Order::EraseBelow if self.first_column => sink(Part::Erase),
            Order::EraseRest if self.section => {}
            Order::Mode => {}
            Order::FirstColumn
            | Order::EraseRest
            | Order::EraseBelow
            | Order::Other
            | Order::Up(_)
            | Order::Down(_) => {
                sink(Part::Bytes(order));
                (self.first_column, self.begun) = (false, true);
            }
        }
    }
}

impl Block {
    /// Writes where the cursor is; `false` if a row grew too long.
    fn write(&mut self, text: &[u8], sink: &mut impl FnMut(Part<'_>)) -> bool {
        for (line, last) in lines(text) {
            // A CR in front of a line end belongs to it.
            let line = if last { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
            for (at, drawing) in line.split(|byte| *byte == b'\r').enumerate() {
                self.fresh |= at > 0;
                if !drawing.is_empty() {
                    self.draw(drawing);
                }
            }
            if !last {
                self.feed(sink);
            }
        }
        self.rows.iter().all(|row| row.len() <= ROW)
    }

    fn draw(&mut self, text: &[u8]) {
        let row = &mut self.rows[self.at];
        if std::mem::take(&mut self.fresh) {
            row.clear();
        }
        row.extend_from_slice(text);
        self.drawn = self.at;
    }

    /// To the beginning of the next row, which may be a new one.
    fn feed(&mut self, sink: &mut impl FnMut(Part<'_>)) {
        self.fresh = true;
        self.at += 1;
        if self.at == self.rows.len() {
            self.rows.push_back(Vec::new());
        }
        if self.rows.len() > ROWS
            && let Some(top) = self.rows.pop_front()
        {
            (self.at, self.drawn) = (self.at - 1, self.drawn.saturating_sub(1));
            if !top.is_empty() {
                sink(Part::Bytes(&top));
                sink(Part::Bytes(b"\n"));
            }
        }
    }

    fn obey(&mut self, what: Order, order: &[u8]) {
        match what {
            Order::Up(rows) => {
                let above = rows.saturating_sub(self.at).min(ROWS.saturating_sub(self.rows.len()));
                for _ in 0..above {
                    self.rows.push_front(Vec::new());
                }
                (self.at, self.drawn) = ((self.at + above).saturating_sub(rows), self.drawn + above);
                self.fresh = true;
            }
            Order::Down(rows) => {
                self.at = (self.at + rows).min(self.rows.len() - 1);
                self.fresh = true;
            }
            Order::FirstColumn => self.fresh = true,
            Order::EraseLine => {
                self.rows[self.at].clear();
                self.fresh = true;
            }
            Order::EraseRest if self.fresh => self.rows[self.at].clear(),
            Order::EraseBelow => {
                if self.fresh {
                    self.rows[self.at].clear();
                }
                self.rows.truncate(self.at + 1);
                self.drawn = self.drawn.min(self.at);
            }
            Order::EraseRest | Order::Mode => {}
            Order::Other => self.draw(order),
        }
    }
}

/// The lines of a text without their LF, and whether it is what stands behind the last one.
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

/// The order at the beginning of `text`, which begins with ESC, and its length; `None` if its end is yet to come.
fn parse(text: &[u8]) -> Option<(Order, usize)> {
    let second = *text.get(1)?;
    if second != b'[' {
        return Some((Order::Other, 1));
    }
    // CSI (ECMA-48, 5.4): parameters, intermediates, and a final byte.
    let inside = &text[2..];
    let end = inside.iter().position(|byte| !(0x20..0x40).contains(byte))?;
    let length = 2 + end + 1;
    let parameters = std::str::from_utf8(&inside[..end]).unwrap_or_default();
    let number = |default| if parameters.is_empty() { Some(default) } else { parameters.parse::<usize>().ok() };
    let order = match inside[end] {
        b'A' | b'F' => number(1).map(|rows| Order::Up(rows.max(1))),
        b'B' | b'E' => number(1).map(|rows| Order::Down(rows.max(1))),
        b'G' => number(1).filter(|column| *column <= 1).map(|_| Order::FirstColumn),
        b'K' => match number(0) {
            Some(0) => Some(Order::EraseRest),
            Some(2) => Some(Order::EraseLine),
            _ => None,
        },
        b'J' => number(0).filter(|mode| *mode == 0).map(|_| Order::EraseBelow),
        b'h' | b'l' if parameters.starts_with('?') => Some(Order::Mode),
        _ => None,
    };
    Some((order.unwrap_or(Order::Other), length))
}

#[cfg(test)]
mod tests {
    use super::super::{CarriageReturn, Lines};
    use super::*;
    use proptest::prelude::*;

    /// Lines, and behind three dots what is left open; the block settles at the end where `settles`.
    fn folded(chunks: &[&[u8]], settles: bool) -> Vec<String> {
        let (mut redraw, mut lines) = (Redraw::default(), Lines::new(1000, CarriageReturn::Fold));
        let mut seen = Vec::new();
        let mut take = |lines: &mut Lines, part: Part<'_>| match part {
            Part::Bytes(bytes) => lines.push(bytes, |line| seen.push(String::from_utf8_lossy(line.text).into_owned())),
            Part::Erase => lines.erase(),
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
            redraw.push(drawing.repeat(20).as_bytes(), |part| given += usize::from(matches!(part, Part::Bytes(_))));
            assert!(redraw.block.as_ref().unwrap().rows.iter().map(Vec::len).sum::<usize>() < 1000);
        }
        assert_eq!(given, 0);
        redraw.push("line\n".repeat(1000).as_bytes(), |part| given += usize::from(matches!(part, Part::Bytes(_))));
        assert!(given > 1800 && redraw.block.as_ref().unwrap().rows.len() <= ROWS, "{given}");
        redraw.push(&b"x".repeat(3 * ROW), |_| {});
        assert!(redraw.block.is_none());
    }

    #[test]
    fn an_order_that_is_too_long_is_text_wherever_reads_end() {
        for digits in [ORDER - 3, ORDER - 2] {
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
            // A section's CR and its order come in one write, which this leaves out.
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
