//! The rows of the screen and its cursor, and the decision which rows become lines, and when.

use std::mem::replace;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::committed::{self, LineOutput, LineStart};
use super::cursor::{Charsets, Modes, SavedCursor, ScreenCursor, Scroll};
use super::drawing::{Drawing, DrawingState};
use super::links::Links;
use super::row::{Row, width_of};
use super::rows::{MainScreen, ScreenRows};
use crate::event::Style;

/// The largest number of rows of the model. Rows above them are committed.
pub(super) const MAX_ROWS: usize = 1000;

/// The largest number of columns of the model. A terminal that is wider is treated as this wide.
pub(super) const MAX_COLUMNS: usize = 1000;

/// The distance of two tab stops.
const TAB_WIDTH: usize = 8;

/// The screen. Indices of rows count from its top.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Grid {
    pub(super) columns: usize,
    pub(super) height: usize,
    /// The rows from the top to the last one that was used; at most `height`.
    pub(super) rows: ScreenRows,
    pub(super) cursor: ScreenCursor,
    pub(super) saved: SavedCursor,
    pub(super) pen: Style,
    pub(super) charsets: Charsets,
    pub(super) modes: Modes,
    /// The rows that scroll.
    pub(super) region: Range<usize>,
    pub(super) drawing: DrawingState,
    pub(super) lines: LineOutput,
    pub(super) main: Option<Box<MainScreen>>,
    pub(super) links: Links,
    /// The last progress that the program reported by OSC 9;4, as `9;4;STATE;PERCENT`.
    #[serde(skip)]
    pub(super) osc_progress: Option<Vec<u8>>,
    /// The last character printed, which a program can have repeated.
    pub(super) last_character: Option<char>,
}

impl Grid {
    pub(super) fn new(columns: usize, height: usize) -> Self {
        let (columns, height) = (columns.clamp(2, MAX_COLUMNS), height.clamp(1, MAX_ROWS));
        Self { columns, height, region: 0..height, ..Self::default() }
    }

    // Writing

    pub(super) fn print(&mut self, character: char) {
        let character = self.charsets.translate(character);
        let Some(width) = width_of(character) else { return };
        if width == 0 {
            let ScreenCursor { row, column, wraps } = self.cursor;
            return self.rows.row(row).add_mark(column + usize::from(wraps), character);
        }
        self.begin_drawing();
        self.end_drawn_lines();
        self.last_character = Some(character);
        if self.modes.autowrap && (self.cursor.wraps || self.cursor.column + width > self.columns) {
            if self.is_padded() {
                self.line_feed();
            } else {
                self.wrap();
            }
        }
        self.cursor.column = self.cursor.column.min(self.columns - width);
        let (ScreenCursor { row, column, .. }, columns, pen) = (self.cursor, self.columns, self.pen);
        if self.modes.insert {
            self.rows.row(row).insert_blanks(column, width, columns);
        }
        self.rows.row(row).put(column, character, width, pen);
        let next = column + width;
        self.cursor.wraps = next >= columns && self.modes.autowrap;
        self.cursor.column = next.min(columns - 1);
    }

    pub(super) fn tab(&mut self) {
        let ScreenCursor { row, column, .. } = self.cursor;
        let next = ((column / TAB_WIDTH + 1) * TAB_WIDTH).min(self.columns - 1);
        if next > column && self.rows.row(row).width() <= column {
            self.begin_drawing();
            let pen = self.pen;
            self.rows.row(row).put(column, '\t', next - column, pen);
        }
        self.cursor = ScreenCursor { row, column: next.max(column), wraps: false };
    }

    pub(super) fn back_tab(&mut self, count: usize) {
        self.move_to_column(self.cursor.column.div_ceil(TAB_WIDTH).saturating_sub(count) * TAB_WIDTH);
    }

    /// Returns whether the row of the cursor is one of several that are redrawn, and was filled up with blanks so that the
    /// next one begins at the right margin, as indicatif does it: it ends there, although no line end was written.
    fn is_padded(&self) -> bool {
        self.main.is_none()
            && self.drawing.is_block()
            && self.cursor.row >= self.drawing.top()
            && self.rows.get(self.cursor.row).is_some_and(Row::ends_with_padding)
    }

    /// Continues in the next row, since the right margin was reached. At the end of the screen, below the region that
    /// scrolls, there is none: the text is written over the same row.
    fn wrap(&mut self) {
        let ScreenCursor { row, column, wraps } = self.cursor;
        if row + 1 == self.region.end || row + 1 < self.height {
            self.rows.row(row).wrap(column + usize::from(wraps));
        }
        let at_front = row == self.drawing.front && self.main.is_none();
        self.next_row(Scroll::Wrap);
        self.cursor.column = 0;
        if at_front {
            self.drawing.front = self.cursor.row;
        }
    }

    /// Handles a line end. The main screen begins the next line in the first column, whether or not a CR was written:
    /// without a terminal there is none.
    pub(super) fn line_feed(&mut self) {
        self.begin_drawing();
        if self.main.is_some() {
            return self.next_row(Scroll::Line);
        }
        let row = self.cursor.row;
        self.end_line(row);
        self.cursor.column = 0;
        let sequential = row >= self.drawing.front;
        self.next_row(Scroll::Line);
        if sequential {
            self.drawing.front = self.cursor.row;
        }
    }

    /// Moves down by a row, and scrolls at the end of the region.
    pub(super) fn next_row(&mut self, cause: Scroll) {
        self.cursor.wraps = false;
        if self.cursor.row + 1 == self.region.end {
            self.scroll_up(self.region.clone(), 1, cause);
        } else if self.cursor.row + 1 < self.height {
            self.cursor.row += 1;
        }
    }

    /// Moves up by a row, and scrolls at the start of the region.
    pub(super) fn previous_row(&mut self) {
        if self.cursor.row == self.region.start {
            self.scroll_down(self.region.clone(), 1);
        } else {
            self.move_to_row(self.cursor.row.saturating_sub(1));
        }
    }

    pub(super) fn carriage_return(&mut self) {
        if self.main.is_none() && self.rows.get(self.cursor.row).is_some_and(Row::is_section_header) {
            // The title follows the header, or nothing.
            return self.move_right(1);
        }
        self.move_to_column(0);
        // A program that begins a line with CR draws a bar, as a rule.
        let row = self.cursor.row;
        self.rows.row(row).returned = true;
    }

    // Movements

    pub(super) fn move_to_column(&mut self, column: usize) {
        self.cursor.wraps = false;
        self.cursor.column = column.min(self.columns - 1);
        let (ScreenCursor { row, column, .. }, columns) = (self.cursor, self.columns);
        if let Some(row) = self.rows.get_mut(row) {
            row.returned |= row.width() > column;
            if row.width() > columns {
                // The terminal is narrower than it was.
                row.truncate(columns);
            }
        }
    }

    pub(super) fn move_to_row(&mut self, row: usize) {
        let row = row.min(self.height - 1);
        if row < self.cursor.row {
            self.note_upward(row);
        }
        self.cursor.row = row;
        self.move_to_column(self.cursor.column);
    }

    pub(super) fn move_up(&mut self, count: usize) {
        let limit = if self.cursor.row >= self.region.start { self.region.start } else { 0 };
        self.move_to_row(self.cursor.row.saturating_sub(count).max(limit));
    }

    pub(super) fn move_down(&mut self, count: usize) {
        let limit = if self.cursor.row < self.region.end { self.region.end } else { self.height };
        self.move_to_row(self.cursor.row.saturating_add(count).min(limit - 1));
    }

    pub(super) fn move_right(&mut self, count: usize) {
        self.cursor.wraps = false;
        self.cursor.column = self.cursor.column.saturating_add(count).min(self.columns - 1);
    }

    /// Moves to a position that is counted from the start of the screen, or of the region in origin mode.
    pub(super) fn move_to(&mut self, row: usize, column: usize) {
        let row = if self.modes.origin { self.region.start.saturating_add(row).min(self.region.end - 1) } else { row };
        self.move_to_row(row);
        self.move_to_column(column);
    }

    pub(super) fn save_cursor(&mut self) {
        let ScreenCursor { row, column, .. } = self.cursor;
        self.saved = SavedCursor { row, column, pen: self.pen, charsets: self.charsets, modes: self.modes };
    }

    pub(super) fn restore_cursor(&mut self) {
        let SavedCursor { row, column, pen, charsets, modes } = self.saved;
        self.move_to_row(row);
        self.move_to_column(column);
        (self.pen, self.charsets) = (pen, charsets);
        self.modes = Modes { insert: self.modes.insert, ..modes };
    }

    pub(super) fn set_region(&mut self, top: usize, end: usize) {
        let end = if end == 0 { self.height } else { end.min(self.height) };
        if top + 1 < end {
            self.region = top..end;
            self.move_to(0, 0);
        }
    }

    // Erasing

    pub(super) fn erase_in_line(&mut self, columns: Range<usize>) {
        self.edit_row(|row, _| row.erase(columns));
    }

    pub(super) fn insert_blanks(&mut self, count: usize) {
        self.cursor.wraps = false;
        let column = self.cursor.column;
        self.edit_row(|row, columns| row.insert_blanks(column, count, columns));
    }

    pub(super) fn delete_characters(&mut self, count: usize) {
        self.cursor.wraps = false;
        let column = self.cursor.column;
        self.edit_row(|row, _| row.delete(column, count));
    }

    /// Changes what is in the row of the cursor. If text is left, that was drawn; otherwise the row was erased, and what
    /// comes of that is known once something is drawn.
    fn edit_row(&mut self, edit: impl FnOnce(&mut Row, usize)) {
        let (columns, row) = (self.columns, self.cursor.row);
        if row >= self.rows.len() {
            return;
        }
        let was_cut = self.change_row(row, |row| edit(row, columns));
        let this = &self.rows[row];
        let is_drawn = !this.is_blank() || (this.wrapped && !self.rows.is_blank_from(row));
        if is_drawn {
            self.begin_drawing();
        }
        self.end_cut_line(row, was_cut);
    }

    pub(super) fn erase_rows(&mut self, rows: Range<usize>) {
        for at in rows.start..rows.end.min(self.rows.len()) {
            let was_cut = self.change_row(at, |row| row.erase(0..usize::MAX));
            self.end_cut_line(at, was_cut);
        }
    }

    /// Changes a row. Returns whether its line continued in the next row, and does not any more.
    fn change_row(&mut self, at: usize, change: impl FnOnce(&mut Row)) -> bool {
        let output = self.main.is_none().then_some(&mut self.lines);
        LineOutput::change_row(output, &mut self.rows, at, self.drawing.is_block(), &self.links, change)
    }

    pub(super) fn insert_lines(&mut self, count: usize) {
        if self.region.contains(&self.cursor.row) {
            self.scroll_down(self.cursor.row..self.region.end, count);
            self.move_to_column(0);
        }
    }

    pub(super) fn delete_lines(&mut self, count: usize) {
        if self.region.contains(&self.cursor.row) {
            self.scroll_up(self.cursor.row..self.region.end, count, Scroll::Delete);
            self.move_to_column(0);
        }
    }

    /// Moves rows up within a region. The upper ones leave the screen: they are kept as lines unless they are deleted, if the
    /// region begins at the top of the main screen.
    pub(super) fn scroll_up(&mut self, region: Range<usize>, count: usize, cause: Scroll) {
        let keeps = cause != Scroll::Delete && region.start == 0 && self.main.is_none();
        if !keeps {
            self.split_committed_line(region.start);
            self.split_committed_line(region.start + count.min(region.len()));
            self.end_line_above(region.start);
        }
        if cause != Scroll::Wrap && region.end < self.height {
            self.split_committed_line(region.end);
            self.end_line_above(region.end);
        }
        for _ in 0..count.min(region.len()) {
            if let Some(row) = self.rows.move_up(&region).filter(|_| keeps) {
                self.lines.add_row(&row, self.drawing.is_block(), &self.links);
            }
            if self.main.is_none() {
                self.drawing.shift_up(&region);
            }
        }
    }

    /// Moves rows down within a region; the lower ones are erased.
    pub(super) fn scroll_down(&mut self, region: Range<usize>, count: usize) {
        let count = count.min(region.len());
        for row in [region.start, region.end - count, region.end] {
            self.split_committed_line(row);
        }
        self.end_line_above(region.start);
        for _ in 0..count {
            self.rows.move_down(&region);
            if self.main.is_none() {
                self.drawing.shift_down(&region);
            }
        }
        self.end_line_above(region.end);
        self.drawing.stay_on_screen(self.height);
        // The cursor stays, and so may be above the front now.
        self.note_upward(self.cursor.row);
    }

    /// Splits a line that was committed as it is above `row`, since other rows come between its parts.
    fn split_committed_line(&mut self, row: usize) {
        if self.main.is_none() {
            self.lines.split_committed_line(&mut self.rows, row, self.drawing.is_block(), &self.links);
        }
    }

    /// Commits the first part of a line that was cut behind `row` before it ended, since the rest is another line now.
    fn end_cut_line(&mut self, row: usize, was_cut: bool) {
        if was_cut && self.main.is_none() && row < self.live_top() {
            self.commit_line(self.rows.first_of_line(row));
        }
    }

    /// Ends the line whose last row is above `row`, since other rows follow it now.
    fn end_line_above(&mut self, row: usize) {
        match row.checked_sub(1) {
            Some(above) => {
                let Some(row) = self.rows.get_mut(above) else { return };
                let was_cut = std::mem::replace(&mut row.wrapped, false);
                self.end_cut_line(above, was_cut);
            }
            None if self.main.is_none() => {
                if let Some(line) = self.lines.start.take() {
                    self.lines.emit(line);
                }
            }
            None => {}
        }
    }

    // Screens

    /// Shows the alternate screen, or the main one again.
    pub(super) fn show_alternate(&mut self, on: bool) {
        if on && self.main.is_none() {
            let rows = std::mem::take(&mut self.rows);
            let (cursor, saved, moved) = (self.cursor, self.saved, self.drawing.moved.take());
            self.main = Some(Box::new(MainScreen { rows, cursor, saved, moved }));
        } else if !on && let Some(main) = self.main.take() {
            self.rows = main.rows;
            (self.cursor, self.saved, self.drawing.moved) = (main.cursor, main.saved, main.moved);
        }
    }

    /// Erases the whole screen. What is written on it then is new, even if it is the same as before.
    pub(super) fn erase_all(&mut self) {
        self.erase_rows(0..self.height);
        for row in self.rows.iter_mut() {
            row.committed = None;
        }
    }

    /// Sets modes and colours to those at the start.
    pub(super) fn soft_reset(&mut self) {
        self.pen = Style::default();
        self.charsets = Charsets::default();
        self.modes = Modes::default();
        self.region = 0..self.height;
    }

    /// Changes the size of the screen. Rows that are wider keep their text as long as nothing is drawn over it, and rows that
    /// do not fit leave the screen at the top.
    pub(super) fn resize(&mut self, columns: usize, height: usize) {
        let alternate = self.main.take().map(|main| {
            let MainScreen { rows, cursor, saved, moved } = *main;
            self.drawing.moved = moved;
            (replace(&mut self.rows, rows), replace(&mut self.cursor, cursor), replace(&mut self.saved, saved))
        });
        self.resize_main(columns.clamp(2, MAX_COLUMNS), height.clamp(1, MAX_ROWS));
        if let Some((mut rows, cursor, saved)) = alternate {
            rows.truncate(self.height);
            let (rows, moved) = (replace(&mut self.rows, rows), self.drawing.moved.take());
            let (cursor, saved) = (replace(&mut self.cursor, cursor), replace(&mut self.saved, saved));
            self.main = Some(Box::new(MainScreen { rows, cursor, saved, moved }));
            self.move_to(self.cursor.row, self.cursor.column);
        }
    }

    fn resize_main(&mut self, columns: usize, height: usize) {
        self.height = height;
        let used = self.rows.len().max(self.cursor.row + 1);
        let excess = used.saturating_sub(self.height);
        if excess > 0 {
            self.scroll_up(0..used, excess, Scroll::Line);
            self.rows.truncate(self.height);
            self.cursor.row = self.cursor.row.saturating_sub(excess);
            self.saved.row = self.saved.row.saturating_sub(excess);
        }
        self.region = 0..self.height;
        self.cursor.row = self.cursor.row.min(self.height - 1);
        self.drawing.stay_on_screen(self.height);
        // The text behind the right margin continues there, if any does.
        let column = self.cursor.column + usize::from(self.cursor.wraps);
        self.columns = columns;
        self.cursor.wraps = column >= columns && self.modes.autowrap;
        self.cursor.column = column.min(columns - 1);
    }

    /// The number of a hyperlink, for [`Style::link`].
    pub(super) fn link(&mut self, target: &[u8]) -> u16 {
        let rows = self.rows.iter_mut().chain(self.main.iter_mut().flat_map(|main| main.rows.iter_mut()));
        let pens = [&mut self.pen.link, &mut self.saved.pen.link];
        self.links.number_of(target, rows.flat_map(Row::links).chain(pens))
    }

    // Lines

    /// Notes that the cursor moves up to `row`, where something may be redrawn.
    fn note_upward(&mut self, row: usize) {
        if self.main.is_none() {
            let front = self.rows.get(self.drawing.front);
            self.drawing.note_upward(row, front.is_some_and(|row| !row.is_blank()));
        }
    }

    /// Notes that something is drawn after a movement of the cursor.
    fn begin_drawing(&mut self) {
        let Some(moved) = self.drawing.moved.take() else { return };
        let row = self.cursor.row;
        if self.main.is_some() || row >= self.drawing.front {
            return;
        }
        let out_of_reach = self.drawing.begin(row, moved);
        let mut top = self.rows.first_of_line(out_of_reach.start);
        while top < out_of_reach.end {
            top = self.commit_line(top);
        }
        let is_erased = self.rows.is_blank_from(row);
        if is_erased {
            self.drawing.front = row;
        }
        self.drawing.set_block(top.min(row), if is_erased { row } else { moved.end });
    }

    /// Commits lines that were drawn over, since the program writes on below them.
    fn end_drawn_lines(&mut self) {
        let draws = matches!(self.drawing.kind, Drawing::Lines { .. }) && self.main.is_none();
        let is_next = draws && self.cursor.row == self.drawing.front;
        // A row that begins with CR may be the next one of a block.
        if is_next && self.rows.get(self.drawing.front).is_none_or(|row| row.width() == 0 && !row.returned) {
            self.commit(self.drawing.front);
        }
    }

    /// Notes a line end in `row`, and commits what is final with it.
    fn end_line(&mut self, row: usize) {
        let first = self.rows.first_of_line(row);
        self.rows.end_erased_line(row);
        let this = self.rows.row(row);
        (this.finished, this.returned) = (true, false);
        let redrawn = self.rows.range(first..=row).any(|row| row.redrawn) && !self.lines.restoring;
        if self.drawing.end_line(first.min(self.live_top())..row + 1, redrawn) {
            self.commit(row + 1);
        }
    }

    /// The number of the drawing that is final if nothing is redrawn for long enough; `None` if there is none.
    pub(super) fn unsettled(&self) -> Option<u32> {
        self.drawing.unsettled().filter(|_| self.main.is_none())
    }

    /// Commits what was drawn, since it was not redrawn for long enough. If the cursor is above the front, the program goes
    /// on to redraw the block, but not the lines that it wrote below.
    pub(super) fn settle(&mut self) {
        if self.unsettled().is_none() {
            return;
        }
        if self.drawing.moved.is_none() {
            return self.commit(self.drawing.front);
        }
        if let Drawing::Block { end, passed, .. } = &mut self.drawing.kind {
            *passed = false;
            let mut at = (*end).max(self.cursor.row + 1);
            while at < self.drawing.front {
                at = self.commit_line(at);
            }
        }
    }

    /// Commits everything, since the output has ended. The screen is empty afterwards.
    pub(super) fn finish(&mut self) {
        self.show_alternate(false);
        let before = self.lines.output.len();
        self.commit(self.rows.len());
        let committed = self.lines.output.len();
        for line in &mut self.lines.output[before..committed.saturating_sub(1).max(before)] {
            line.partial = false;
        }
        let (output, osc_progress) = (std::mem::take(&mut self.lines.output), self.osc_progress.take());
        let drawing = DrawingState { count: self.drawing.count, ..DrawingState::default() };
        let lines = LineOutput { output, ..LineOutput::default() };
        *self = Self { drawing, lines, osc_progress, ..Self::new(self.columns, self.height) };
    }

    /// Commits the live rows before `end`.
    fn commit(&mut self, end: usize) {
        let mut at = self.live_top();
        // The row that continued a line which has left the screen was erased.
        if let Some(line) = self.lines.start.take_if(|start| at > 0 && start.committed.is_none()) {
            self.lines.emit(LineStart { finished: true, ..line });
        }
        while at < end.min(self.rows.len()) {
            at = self.commit_line(at);
        }
        self.drawing.kind = Drawing::Nothing;
        self.drawing.reaches.clear();
        self.rows.forget_unused(self.drawing.front + 1);
    }

    /// The first row that is not final.
    pub(super) fn live_top(&self) -> usize {
        self.rows.first_of_line(self.drawing.top())
    }

    /// Commits the line that begins at `first`. Returns the row after it.
    fn commit_line(&mut self, first: usize) -> usize {
        self.lines.commit_line(&mut self.rows, first, self.drawing.is_block(), &self.links)
    }

    /// Returns whether plain text would be written as if it came first: nothing is redrawn, no colour is set, and the
    /// cursor is at the start of an empty row below all text.
    pub(super) fn is_at_rest(&self) -> bool {
        let next = self.rows.get(self.drawing.front);
        self.drawing.kind == Drawing::Nothing
            && self.main.is_none()
            && self.drawing.moved.is_none()
            && (self.lines.start.is_none() || self.drawing.front > 0)
            && self.cursor == (ScreenCursor { row: self.drawing.front, column: 0, wraps: false })
            && self.rows.len() <= self.drawing.front + 1
            && next.is_none_or(|row| row.width() == 0 && !row.drawn && !row.returned)
            && self.pen == Style::DEFAULT
            && self.modes == Modes::default()
            && self.charsets == Charsets::default()
            && self.region == (0..self.height)
    }

    /// The live rows, with colours. Blank rows at the end are left out.
    pub(super) fn live_rows(&self) -> Vec<Vec<u8>> {
        let is_main = self.main.is_none();
        let top = if is_main { self.live_top() } else { 0 };
        let start = self.lines.start.clone().filter(|_| top == 0 && is_main);
        let rows = self.rows.range(top.min(self.rows.len())..);
        committed::text_of_rows(rows, start, self.drawing.is_block(), &self.links)
    }

    /// Returns whether there is text that a program can still change.
    pub(super) fn has_live_rows(&self) -> bool {
        let top = if self.main.is_some() { 0 } else { self.live_top() };
        (top == 0 && self.lines.start.is_some()) || !self.rows.is_blank_from(top)
    }

    /// Returns whether there are [live rows](Self::has_live_rows), or blanks with which a line may begin.
    pub(super) fn has_live_cells(&self) -> bool {
        let top = if self.main.is_some() { 0 } else { self.live_top() };
        self.has_live_rows() || self.rows.iter().skip(top).any(|row| row.width() > 0)
    }
}
