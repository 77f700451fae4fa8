//! A terminal model: the lines of an output as a person at a terminal would have read them.
//!
//! # Theory of operation
//!
//! ```text
//!  bytes ──▶ plain lines ───────────────────────────────▶ LineSplitter ──▶ lines
//!       ├──▶ lines of text and colours alone ─────────────────────────────▶ lines
//!       └──▶ lines with control functions ──▶ vte ──▶ Grid ──committed──▶ lines
//!                                                     └──live rows──▶ open rows, progress
//! ```
//! A line without control functions does not pass through the model while that is [at rest](grid::Grid::is_at_rest):
//! nothing is being redrawn, and no colour is set. The model only keeps the last such lines as bytes, since a program may
//! move up to them later; then they are written to the grid as committed lines. The same is true of lines that contain only
//! text and colours, and leave no colour open: their text is what the grid would give. All other lines are written to the
//! grid, which has the size of the terminal, or [`PIPE_COLUMNS`] and [`PIPE_ROWS`] without one.
//!
//! **When a row becomes a line.** The *front* is the row at which line after line is written. A newline at the front
//! commits its row at once. Two kinds of rows wait, and are live until then:
//!
//! - A row that was drawn over (by CR, BS or an erasure) and then ended. The program may move up to it at once: to erase a
//!   bar that is complete, or since it is the first row of a block. The next text commits it, unless that begins with CR, as
//!   that of a bar does; or [`settle`](Screen::settle).
//! - A block: the rows from the uppermost one to which the program has moved up. Rows of a block are committed in their
//!   final form when they leave the screen at the top, when the block has moved down so that no recent drawing would reach
//!   them, when the output ends, or when the program has finished a row below the block and does not move up again. Whether
//!   such a row is the block growing or the text after it, only the next movement tells; so the last case waits for
//!   [`settle`](Screen::settle), which the owner calls after some time without a drawing.
//!
//! A row remembers the visible text with which it was committed, and is committed again only if that has changed. Rows
//! that were erased are no lines. Neither are those of the alternate screen, which are live only.
//!
//! **When rows move apart.** Scrolling in a region, and insertion and deletion of lines, can separate the rows of a wrapped
//! line. Each part is a line of its own then. If the whole was committed as it is, so was the text of the parts, and they
//! are marked as committed; otherwise the part above what is live is committed at once. What is redrawn never begins below
//! the front: if all of it is pushed off the screen, nothing is redrawn any more.
//!
//! **What was rejected.** Committing each row of a block at its newline gives a copy of the block for each drawing. Holding
//! every row until the end hides a log behind one bar. Recognising the end of a drawing by the end of a read would make
//! the result depend on how a pipe was read.

mod colored;
mod committed;
mod cursor;
mod drawing;
mod grid;
mod links;
mod pack;
mod perform;
mod plain;
mod row;
mod rows;
mod sequence;
#[cfg(test)]
mod differential_tests;
#[cfg(test)]
mod scroll_tests;
#[cfg(test)]
mod tests;

use memchr::{memchr, memrchr, memrchr_iter};
use serde::{Deserialize, Serialize};

pub use self::pack::{MAX_PACKED_SIZE, UnpackError};

use self::grid::Grid;
use self::pack::ScreenState;
use self::plain::{C1_LEAD, c1_control, plain_length};
use self::sequence::PartialSequence;
use super::split::PackedLine;
use super::{Line, LineSplitter, SourceUnit};

/// The width of the screen of a program that writes to a pipe. No line is wrapped by accident.
pub const PIPE_COLUMNS: u16 = 500;

/// The height of the screen of a program that writes to a pipe: that of most terminals since the VT100.
pub const PIPE_ROWS: u16 = 24;

/// The longest OSC sequence that is understood, in bytes.
const MAX_COMMAND_SIZE: usize = 4096;

/// The number of bytes in strings of data (pictures, for example) that may contain line ends. After as many, the string is
/// considered to have lost its end.
const MAX_DATA_SIZE: usize = 64 << 10;

/// The size of the last plain lines that are kept for a program that moves up to them, in bytes, if the screen does not
/// have more cells.
const MIN_RECENT_SIZE: usize = 16 << 10;

const CAN: u8 = 0x18;
const ESC: u8 = 0x1b;

/// Splits bytes into lines, as a terminal would show them if the source draws.
#[derive(Debug)]
pub struct Screen {
    lines: LineSplitter,
    /// The longest piece of a line, in bytes.
    max: usize,
    terminal: Option<Box<Terminal>>,
}

/// The state of a [`Screen`] for another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PackedOutput {
    screen: Option<Vec<u8>>,
    line: PackedLine,
}

/// The model, and its input that is not in the grid.
struct Terminal {
    grid: Grid,
    parser: vte::Parser<MAX_COMMAND_SIZE>,
    sequence: PartialSequence,
    /// The bytes of line ends in the current string of data.
    data_size: usize,
    /// The last lines that were emitted without passing through the grid, each with its LF.
    recent: Vec<u8>,
    /// The text of a line that does not pass through the grid, but has colours; only the memory is kept.
    colored: Vec<u8>,
    /// The current line is written to the grid.
    uses_grid: bool,
    /// The number of source bytes that were written to the grid since the last line of which nothing was left.
    held: u64,
    source_unit: SourceUnit,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("grid", &self.grid).field("held", &self.held).finish_non_exhaustive()
    }
}

impl Screen {
    /// Splits text that is not drawn, by `lines`.
    pub fn undrawn(lines: LineSplitter) -> Self {
        Self { max: usize::MAX, lines, terminal: None }
    }

    /// Interprets the output of a program on a terminal of this size. Lines are emitted in pieces of at most `max_line`
    /// bytes.
    pub fn terminal(max_line: usize, columns: u16, rows: u16) -> Self {
        let terminal = Terminal {
            grid: Grid::new(usize::from(columns), usize::from(rows)),
            parser: vte::Parser::new_with_size(),
            sequence: PartialSequence::default(),
            data_size: 0,
            recent: Vec::new(),
            colored: Vec::new(),
            uses_grid: false,
            held: 0,
            source_unit: SourceUnit::Bytes,
        };
        let lines = LineSplitter::new(max_line, super::CarriageReturnMode::Keep);
        Self { lines, max: max_line, terminal: Some(Box::new(terminal)) }
    }

    /// The same as [`LineSplitter::set_source_unit`].
    pub fn set_source_unit(&mut self, unit: SourceUnit) {
        self.lines.set_source_unit(unit);
        if let Some(terminal) = &mut self.terminal {
            terminal.source_unit = unit;
        }
    }

    /// Passes each line that `chunk` completes to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Line<'_>)) {
        let Some(terminal) = &mut self.terminal else { return self.lines.push(chunk, sink) };
        let mut rest = chunk;
        while !rest.is_empty() {
            if terminal.uses_grid {
                let (line, after) = rest.split_at(memchr(b'\n', rest).map_or(rest.len(), |at| at + 1));
                terminal.write(line);
                terminal.emit(self.max, false, &mut sink);
                rest = after;
                if line.ends_with(b"\n") && terminal.grid.is_at_rest() && !terminal.sequence.is_inside() {
                    terminal.uses_grid = false;
                    self.lines.add_held(std::mem::take(&mut terminal.held));
                }
            } else {
                let (plain, after) = rest.split_at(plain_length(rest, self.lines.open()));
                terminal.push_plain(&mut self.lines, plain, &mut sink);
                rest = after;
                let colored = terminal.push_colored(&mut self.lines, rest, self.max, &mut sink);
                rest = &rest[colored..];
                if !rest.is_empty() && colored == 0 {
                    terminal.enter_grid(&mut self.lines, &mut sink);
                }
            }
        }
    }

    /// The number of the drawing that [`settle`](Self::settle) would commit, since it is final unless the program redraws
    /// it soon; `None` if there is none. A greater number than before is another drawing.
    pub fn unsettled(&self) -> Option<u32> {
        self.terminal.as_ref().and_then(|terminal| terminal.grid.unsettled())
    }

    /// Commits what was drawn, since it was not redrawn for long enough.
    pub fn settle(&mut self, mut sink: impl FnMut(Line<'_>)) {
        if let Some(terminal) = &mut self.terminal {
            terminal.grid.settle();
            terminal.emit(self.max, false, &mut sink);
        }
    }

    /// Emits everything held, since nothing more can come. What follows is written to an empty screen.
    pub fn finish(&mut self, mut sink: impl FnMut(Line<'_>)) {
        if let Some(terminal) = &mut self.terminal {
            terminal.end();
            terminal.emit(self.max, true, &mut sink);
            self.lines.add_held(std::mem::take(&mut terminal.held));
        }
        self.lines.finish(sink);
    }

    /// The size of the unfinished line if it is the only live row, in bytes, or in columns as far as it is on a screen;
    /// otherwise 0. Does not take time in proportion to it.
    pub fn open_size(&self) -> usize {
        match self.terminal.as_deref() {
            Some(Terminal { uses_grid: true, grid, .. }) if grid.main.is_none() => {
                grid.lines.size_of_open_line(&grid.rows, &grid.drawing, grid.columns)
            }
            Some(terminal) if terminal.uses_grid => 0,
            Some(_) | None => self.lines.open().len(),
        }
    }

    /// The rows that the program can still change, with their colours; a line without control functions is one row.
    pub fn live_rows(&self) -> Vec<Vec<u8>> {
        match &self.terminal {
            Some(terminal) if terminal.uses_grid => terminal.grid.live_rows(),
            Some(_) | None => {
                let open = self.lines.open();
                if open.is_empty() { Vec::new() } else { vec![open.to_vec()] }
            }
        }
    }

    /// Returns whether there is something that [`finish`](Self::finish) would emit, or a blank row in its place.
    pub fn is_open(&self) -> bool {
        match &self.terminal {
            Some(terminal) if terminal.uses_grid => terminal.grid.has_live_rows(),
            Some(_) | None => !self.lines.open().is_empty(),
        }
    }

    /// Returns whether the current line is drawn, so that it may have live rows above it.
    pub fn is_drawing(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.uses_grid)
    }

    /// Takes the last progress that the program reported by OSC 9;4, as `9;4;STATE;PERCENT`.
    pub fn take_reported_progress(&mut self) -> Option<Vec<u8>> {
        self.terminal.as_mut().and_then(|terminal| terminal.grid.osc_progress.take())
    }

    /// Changes the size of the terminal.
    pub fn resize(&mut self, columns: u16, rows: u16, mut sink: impl FnMut(Line<'_>)) {
        if let Some(terminal) = &mut self.terminal {
            terminal.grid.resize(usize::from(columns), usize::from(rows));
            terminal.emit(self.max, false, &mut sink);
        }
    }

    /// The state as at most [`MAX_PACKED_SIZE`] bytes, with which [`unpack`](Self::unpack) continues the output in another
    /// process; `None` if it is not drawn on a terminal. Everything that was committed must have been taken.
    pub fn pack(&self) -> Option<Vec<u8>> {
        let terminal = self.terminal.as_ref()?;
        let mut grid = terminal.grid.clone();
        if !terminal.uses_grid {
            // The last lines are needed once the program moves up to them.
            restore(&mut grid, &mut vte::Parser::new_with_size(), &terminal.recent);
        }
        let (open, sequence) = (self.lines.open().to_vec(), terminal.sequence.bytes().to_vec());
        Some(pack::pack(ScreenState { grid, uses_grid: terminal.uses_grid, open, sequence }))
    }

    /// The state of what is being drawn as at most `max` bytes, for [`unpack`](Self::unpack); `None` if nothing is, or if it
    /// is larger. Rows above it are left out if they do not fit.
    pub fn pack_drawing(&self, max: usize) -> Option<String> {
        let terminal = self.terminal.as_ref().filter(|terminal| terminal.uses_grid)?;
        let sequence = terminal.sequence.bytes().to_vec();
        let state = ScreenState { grid: terminal.grid.clone(), uses_grid: true, open: Vec::new(), sequence };
        pack::pack_drawing(state, max)
    }

    /// A screen that continues in a packed state. No source bytes are held: they were received by the other process.
    ///
    /// # Errors
    ///
    /// If the state is damaged, or has a form that this program does not know.
    pub fn unpack(bytes: &[u8], max_line: usize) -> Result<Self, UnpackError> {
        let ScreenState { grid, uses_grid, open, sequence } = pack::unpack(bytes)?;
        let mut screen = Self::terminal(max_line, 2, 1);
        if let Some(terminal) = &mut screen.terminal {
            (terminal.grid, terminal.uses_grid) = (grid, uses_grid);
            terminal.write_text(&sequence);
        }
        screen.lines.push(&open, |_| {});
        Ok(screen)
    }

    /// Continues a state of [`pack_drawing`](Self::pack_drawing). Returns whether it did: a screen that does not draw cannot,
    /// and a state may be damaged or have another form.
    pub fn resume_drawing(&mut self, packed: &[u8]) -> bool {
        let screen = self.terminal.as_ref().and_then(|_| Self::unpack(packed, self.max).ok());
        screen.map(|screen| *self = screen).is_some()
    }

    /// Knows the lines that `before` emitted last as those above its own, so that a program can move up to them. Nothing of
    /// what is still drawn there is known.
    pub fn follow(&mut self, before: &Self) {
        if let (Some(terminal), Some(before)) = (&mut self.terminal, &before.terminal)
            && !before.uses_grid
        {
            (terminal.grid, terminal.recent) = (before.grid.clone(), before.recent.clone());
        }
    }

    /// Forgets the lines above, since others that are not known follow them.
    pub fn forget_above(&mut self) {
        if let Some(terminal) = self.terminal.as_mut().filter(|terminal| !terminal.uses_grid) {
            let Grid { columns, height, .. } = terminal.grid;
            (terminal.grid, terminal.recent) = (Grid::new(columns, height), Vec::new());
        }
    }

    /// The state for another process, of whatever kind this screen is. Plain lines that were emitted are only part of it if
    /// `with_recent`: they matter if the program moves up to them, and packing them takes longer than reading a line.
    pub fn pack_all(&self, with_recent: bool) -> PackedOutput {
        let is_drawn = self.terminal.as_ref().is_some_and(|terminal| terminal.uses_grid);
        let screen = if is_drawn || with_recent { self.pack() } else { None };
        PackedOutput { screen, line: self.lines.pack() }
    }

    /// Continues a packed state, with the size of the terminal that it has. A state of another kind, or of another version
    /// of this program, begins a new line.
    pub fn unpack_all(&mut self, packed: PackedOutput) {
        match (&self.terminal, packed.screen) {
            (Some(_), Some(screen)) => match Self::unpack(&screen, self.max) {
                Ok(screen) => *self = screen,
                Err(_) => return,
            },
            (_, None) => {}
            (None, Some(_)) => return,
        }
        self.lines.unpack(packed.line);
    }

    /// The number of source bytes since the last byte of which nothing is held. (See [`LineSplitter::held`].)
    pub fn held(&self) -> u64 {
        self.lines.held() + self.terminal.as_ref().map_or(0, |terminal| terminal.held)
    }
}

impl Terminal {
    /// Emits the lines of text and colours at the start of `text`, which follows plain lines. Returns their length.
    fn push_colored(
        &mut self,
        lines: &mut LineSplitter,
        text: &[u8],
        max: usize,
        sink: &mut impl FnMut(Line<'_>),
    ) -> usize {
        let (mut length, mut count) = (0, 0);
        while lines.open().is_empty()
            && let Some(end) = memchr(b'\n', &text[length..])
            && colored::write_colored_line(&text[length..length + end], self.grid.columns, &mut self.colored)
            && self.colored.len() <= max
        {
            let line = &text[length..=length + end];
            let (_, held) = lines.take_open(&mut *sink);
            let source = held + self.source_unit.source_bytes(line);
            sink(Line { text: &self.colored, continued: false, partial: false, source });
            length += line.len();
            count += 1;
        }
        self.keep_recent(&[], &text[..length], count);
        length
    }

    /// Writes the last plain lines and the unfinished one to the grid, since the current line is not plain.
    fn enter_grid(&mut self, lines: &mut LineSplitter, sink: &mut impl FnMut(Line<'_>)) {
        self.uses_grid = true;
        restore(&mut self.grid, &mut self.parser, &std::mem::take(&mut self.recent));
        let (open, held) = lines.take_open(sink);
        self.held += held;
        self.write_text(&open);
    }

    /// Writes a line, or a part of one, which may end with LF.
    fn write(&mut self, line: &[u8]) {
        self.held += self.source_unit.source_bytes(line);
        let Some(text) = line.strip_suffix(b"\n") else { return self.write_text(line) };
        self.write_text(text);
        if self.sequence.is_in_data() && self.data_size < MAX_DATA_SIZE {
            self.sequence.take_partial_character();
            self.data_size += line.len();
            return;
        }
        if self.sequence.is_inside() {
            // A sequence whose end was lost must not hide the lines after it.
            self.parser.advance(&mut self.grid, &[CAN]);
            self.sequence.abort();
        }
        self.data_size = 0;
        self.end_character();
        self.grid.line_feed();
    }

    /// Writes text without line ends. A character whose last bytes are still to come is passed to the parser with them: that
    /// may lose the character after it otherwise.
    fn write_text(&mut self, text: &[u8]) {
        let joined = [&self.sequence.take_partial_character(), text].concat();
        let mut rest = &joined[..];
        while let Some(at) = c1_control(rest) {
            self.parse(&rest[..at]);
            let (control, after) = (rest[at + 1], &rest[at + 2..]);
            // xterm treats a C1 control as ESC and the letter that stands for it (ECMA-35, 6.4.3). In a string, only ST is one.
            if control == 0x9C || !self.sequence.is_in_string() {
                self.parse(&[ESC, control - 0x40]);
            } else {
                self.parse(&[C1_LEAD, control]);
            }
            rest = after;
        }
        self.parse(rest);
    }

    /// Passes text to the parser, except the bytes of an incomplete character at its end.
    fn parse(&mut self, text: &[u8]) {
        let mut rest = text;
        loop {
            let length = self.sequence.advance(rest);
            let held = self.sequence.partial_character().len();
            self.parser.advance(&mut self.grid, &rest[..length - held]);
            if length == rest.len() {
                return;
            }
            self.parser.advance(&mut self.grid, &[CAN]);
            rest = &rest[length..];
        }
    }

    /// Ends a character whose last bytes did not come.
    fn end_character(&mut self) {
        if !self.sequence.take_partial_character().is_empty() {
            self.grid.print(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Emits the lines that were committed. Only the end of the output leaves a line unfinished.
    fn emit(&mut self, max: usize, has_ended: bool, sink: &mut impl FnMut(Line<'_>)) {
        if let Some(start) = self.grid.lines.take_long_start(max) {
            emit_pieces(&start, max, |text| sink(Line { text, continued: true, partial: false, source: 0 }));
        }
        let committed = std::mem::take(&mut self.grid.lines.output);
        let count = committed.len();
        for (at, line) in committed.into_iter().enumerate() {
            let rest = emit_pieces(&line.text, max, |text| {
                sink(Line { text, continued: true, partial: false, source: 0 });
            });
            // The bytes of several lines that were drawn together cannot be told apart. All of them count for the last
            // line, and none while a row is live, which would have to be read again, even if it has only blanks yet.
            let is_last = at + 1 == count && !self.grid.has_live_cells();
            let source = if is_last { std::mem::take(&mut self.held) } else { 0 };
            sink(Line { text: rest, continued: false, partial: line.partial && has_ended, source });
        }
    }

    /// Emits plain lines, and keeps them for a program that moves up to them.
    fn push_plain(&mut self, lines: &mut LineSplitter, plain: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        let Some(end) = memrchr(b'\n', plain) else { return lines.push(plain, sink) };
        let open = lines.open().to_vec();
        let mut count = 0;
        lines.push(plain, |line| {
            count += usize::from(!line.continued);
            sink(line);
        });
        self.keep_recent(&open, &plain[..=end], count);
    }

    /// Keeps `count` lines, the first of which began with `open`, for a program that moves up to them.
    fn keep_recent(&mut self, open: &[u8], ended: &[u8], count: usize) {
        if count >= self.grid.height {
            // The lines before them are not on the screen any more.
            self.recent.clear();
        }
        let limit = MIN_RECENT_SIZE.max(self.grid.columns * self.grid.height);
        if self.recent.len() + open.len() + ended.len() > limit {
            self.recent = last_lines(&self.recent, self.grid.height).to_vec();
        }
        for part in [open, ended] {
            self.recent.extend_from_slice(&part[part.len().saturating_sub(limit)..]);
        }
    }

    fn end(&mut self) {
        if self.sequence.is_inside() {
            self.parser.advance(&mut self.grid, &[CAN]);
            self.sequence.abort();
        }
        self.end_character();
        self.grid.finish();
        (self.uses_grid, self.data_size) = (false, 0);
        self.recent.clear();
    }
}

/// Writes plain lines that were emitted to the grid.
fn restore(grid: &mut Grid, parser: &mut vte::Parser<MAX_COMMAND_SIZE>, recent: &[u8]) {
    grid.lines.restoring = true;
    for line in last_lines(recent, grid.height).split_inclusive(|byte| *byte == b'\n') {
        parser.advance(grid, line.strip_suffix(b"\n").unwrap_or(line));
        grid.line_feed();
    }
    grid.lines.restoring = false;
}

/// The last `count` lines of a text that ends with LF.
fn last_lines(text: &[u8], count: usize) -> &[u8] {
    // The last LF ends the last line.
    &text[memrchr_iter(b'\n', text).nth(count).map_or(0, |at| at + 1)..]
}

/// Passes the pieces of a text that is longer than `max` to `sink`, except the last one, which is returned.
fn emit_pieces<'a>(text: &'a [u8], max: usize, mut sink: impl FnMut(&'a [u8])) -> &'a [u8] {
    let mut rest = text;
    while rest.len() > max {
        let piece = super::split::prefix_at_boundary(rest, max);
        sink(piece);
        rest = &rest[piece.len()..];
    }
    rest
}
