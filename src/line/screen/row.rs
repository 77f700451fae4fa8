//! One row of the screen: its cells, and what is known of the line that it shows.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthChar;

use super::links::Links;
use crate::event::Style;
use crate::line::section_header::is_section_header;

/// The content of a cell that the character before it covers, too: a wide character or a tab.
const COVERED: char = '\0';

/// The maximum number of combining characters of one row. More of them are dropped: no writing needs as many.
const MAX_MARKS: usize = 4096;

/// One character cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    character: char,
    style: Style,
}

const BLANK: Cell = Cell { character: ' ', style: Style::DEFAULT };

/// One row of the screen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub(super) struct Row {
    /// The cells from the first column to the last one that was written and not erased.
    #[serde(with = "runs")]
    cells: Vec<Cell>,
    /// Combining characters with the column of the character that they follow, in the order of the columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<(usize, char)>,
    /// The line continues in the next row, since it reached the right margin.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) wrapped: bool,
    /// The row has had visible text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) drawn: bool,
    /// The row was drawn over: text was written after the cursor had moved back, or visible text was erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) redrawn: bool,
    /// The cursor was moved back in this row, and has not left it since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) returned: bool,
    /// A line end was written in this row.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) finished: bool,
    /// The visible text of the line when it was last committed, in its first row; `None` if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) committed: Option<Box<str>>,
}

impl Row {
    /// The number of columns up to the last cell that was written.
    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }

    /// Returns whether the row shows nothing but blanks.
    pub(super) fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| matches!(cell.character, ' ' | '\t' | COVERED))
    }

    /// Returns whether blanks fill the row behind its text: two or more, since one may be that between two words.
    pub(super) fn ends_with_padding(&self) -> bool {
        self.cells.ends_with(&[BLANK, BLANK]) && !self.is_blank()
    }

    /// Returns whether the row consists of headers of foldable sections and nothing else.
    pub(super) fn is_section_header(&self) -> bool {
        let mut text = String::new();
        self.write_visible(true, &mut text);
        !self.returned && is_section_header(text.as_bytes())
    }

    /// Writes a character that covers `width` columns.
    pub(super) fn put(&mut self, column: usize, character: char, width: usize, style: Style) {
        if self.cells.len() < column {
            self.cells.resize(column, BLANK);
        }
        let end = column + width;
        self.uncover(column..end);
        if self.cells.len() < end {
            self.cells.resize(end, BLANK);
        }
        self.cells[column] = Cell { character, style };
        self.cells[column + 1..end].fill(Cell { character: COVERED, style });
        self.drawn |= !matches!(character, ' ' | '\t');
        self.redrawn |= self.returned;
    }

    /// Continues the line in the next row, from the text before `column` on.
    pub(super) fn wrap(&mut self, column: usize) {
        // A column that was erased before the end is now a blank in the middle of the line.
        self.cells.resize(column.max(self.cells.len()), BLANK);
        self.wrapped = true;
    }

    /// Adds a combining character to the one before `column`.
    pub(super) fn add_mark(&mut self, column: usize, mark: char) {
        let Some(mut base) = column.checked_sub(1) else { return };
        while base > 0 && self.cells.get(base).is_some_and(|cell| cell.character == COVERED) {
            base -= 1;
        }
        if base < self.cells.len() && self.marks.len() < MAX_MARKS {
            let at = self.marks.partition_point(|(at, _)| *at <= base);
            self.marks.insert(at, (base, mark));
        }
    }

    /// Erases cells. If the last ones are erased from their left, the line ends in this row.
    pub(super) fn erase(&mut self, columns: Range<usize>) {
        // A terminal that erases up to the cursor does not know that nothing is left.
        let ends_before_margin = columns.end < usize::MAX;
        let columns = columns.start..columns.end.min(self.cells.len());
        if columns.is_empty() {
            self.wrapped &= ends_before_margin;
            return;
        }
        self.note_erasure(columns.clone());
        self.uncover(columns.clone());
        if columns.end == self.cells.len() && !(self.wrapped && ends_before_margin) {
            self.cells.truncate(columns.start);
            self.wrapped = false;
        } else {
            self.cells[columns].fill(BLANK);
        }
    }

    /// Inserts blanks, which move the rest of the row to the right, up to the right margin.
    pub(super) fn insert_blanks(&mut self, column: usize, count: usize, columns: usize) {
        if column >= self.cells.len() {
            return;
        }
        let count = count.min(columns - column);
        self.uncover(column..column);
        self.cells.splice(column..column, std::iter::repeat_n(BLANK, count));
        for (at, _) in &mut self.marks {
            *at += if *at >= column { count } else { 0 };
        }
        if self.cells.len() > columns {
            self.uncover(columns..self.cells.len());
            self.cells.truncate(columns);
        }
        self.redrawn = true;
    }

    /// Deletes cells; the rest of the row moves to the left.
    pub(super) fn delete(&mut self, column: usize, count: usize) {
        let columns = column..self.cells.len().min(column.saturating_add(count));
        if columns.is_empty() {
            return;
        }
        self.note_erasure(columns.clone());
        self.uncover(columns.clone());
        let count = columns.len();
        self.cells.drain(columns);
        for (at, _) in &mut self.marks {
            *at -= if *at >= column { count } else { 0 };
        }
        self.wrapped = false;
    }

    /// Notes that visible text is erased, and so that the row is drawn over.
    fn note_erasure(&mut self, columns: Range<usize>) {
        self.redrawn |= self.cells[columns].iter().any(|cell| cell.character != ' ');
    }

    /// Prepares cells for being overwritten: what they contain only a part of becomes blank.
    fn uncover(&mut self, columns: Range<usize>) {
        let is_covered = |cells: &[Cell], at: usize| cells.get(at).is_some_and(|cell| cell.character == COVERED);
        if is_covered(&self.cells, columns.start) {
            let mut start = columns.start;
            while is_covered(&self.cells, start) {
                self.cells[start].character = ' ';
                start -= 1;
            }
            self.cells[start].character = ' ';
            self.marks.retain(|(at, _)| *at != start);
            // The cells of the same character behind the first column.
            let mut rest = columns.start + 1;
            while is_covered(&self.cells, rest) {
                self.cells[rest].character = ' ';
                rest += 1;
            }
        }
        let mut end = columns.end;
        while columns.end > columns.start && is_covered(&self.cells, end) {
            self.cells[end].character = ' ';
            end += 1;
        }
        self.marks.retain(|(at, _)| !columns.contains(at));
    }

    /// Appends the text of the row with its colours to `text`; `style` is that of the text before, and becomes that of
    /// the last character. Blanks at the end that show nothing are left out of rows that are drawn over, or are in a block that
    /// is: they were written to hide what was there before.
    pub(super) fn write_text(&self, is_block: bool, style: &mut Style, links: &Links, text: &mut Vec<u8>) {
        let end = if !self.wrapped && (is_block || self.redrawn || self.returned) {
            self.visible_end()
        } else {
            self.cells.len()
        };
        let mut marks = self.marks.iter().peekable();
        for (column, cell) in self.cells[..end].iter().enumerate() {
            if cell.character != COVERED {
                cell.style.write_after(*style, text);
                write_link(cell.style.link, style.link, links, text);
                *style = cell.style;
                text.extend_from_slice(cell.character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            while let Some((_, mark)) = marks.next_if(|(at, _)| *at <= column) {
                text.extend_from_slice(mark.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    /// Appends the text of the row without its colours to `text`.
    pub(super) fn write_visible(&self, trims: bool, text: &mut String) {
        let end = if trims { self.visible_end() } else { self.cells.len() };
        let mut marks = self.marks.iter().peekable();
        for (column, cell) in self.cells[..end].iter().enumerate() {
            text.extend((cell.character != COVERED).then_some(cell.character));
            while let Some((_, mark)) = marks.next_if(|(at, _)| *at <= column) {
                text.push(*mark);
            }
        }
    }

    /// The column after the last cell that shows anything.
    fn visible_end(&self) -> usize {
        let shows = |cell: &Cell| !matches!(cell.character, ' ' | '\t' | COVERED) || cell.style.shows_blanks();
        let last = self.cells.iter().rposition(shows).map_or(0, |at| at + 1);
        // The second half of a wide character belongs to it.
        last + self.cells[last..].iter().take_while(|cell| last > 0 && cell.character == COVERED).count()
    }

    /// Drops cells behind the last column of the screen.
    pub(super) fn truncate(&mut self, columns: usize) {
        self.cells.truncate(columns);
        self.marks.truncate(MAX_MARKS);
        self.marks.retain(|(at, _)| *at < columns);
        // The first cell cannot be covered by one before it.
        if let Some(first) = self.cells.first_mut().filter(|cell| cell.character == COVERED) {
            first.character = ' ';
        }
    }

    /// The numbers of the hyperlinks in this row.
    pub(super) fn links(&mut self) -> impl Iterator<Item = &mut u16> {
        self.cells.iter_mut().map(|cell| &mut cell.style.link).filter(|link| **link != 0)
    }
}

/// Cells as runs of characters of the same style.
mod runs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Cell, Style};

    #[expect(clippy::ptr_arg, reason = "serde passes the field")]
    pub(super) fn serialize<S: Serializer>(cells: &Vec<Cell>, serializer: S) -> Result<S::Ok, S::Error> {
        let runs = cells.chunk_by(|one, next| one.style == next.style);
        let text = |run: &[Cell]| run.iter().map(|cell| cell.character).collect::<String>();
        runs.map(|run| (run[0].style, text(run))).collect::<Vec<(Style, String)>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cell>, D::Error> {
        let runs = Vec::<(Style, String)>::deserialize(deserializer)?;
        let cells = |(style, text): &(Style, String)| {
            text.chars().map(|character| Cell { character, style: *style }).collect::<Vec<_>>()
        };
        Ok(runs.iter().flat_map(cells).collect())
    }
}

/// Ends a style and a hyperlink at the end of a line.
pub(super) fn write_end(style: Style, text: &mut Vec<u8>) {
    Style::default().write_after(style, text);
    write_link(0, style.link, &Links::default(), text);
}

/// Writes the change from hyperlink `before` to `link` (OSC 8).
fn write_link(link: u16, before: u16, links: &Links, text: &mut Vec<u8>) {
    if link != before {
        text.extend_from_slice(b"\x1b]8;");
        text.extend_from_slice(links.target(link).unwrap_or(b";"));
        text.extend_from_slice(b"\x1b\\");
    }
}

/// The number of columns that a character covers; `None` for control characters.
pub(super) fn width_of(character: char) -> Option<usize> {
    if character.is_ascii() && !character.is_ascii_control() { Some(1) } else { character.width() }
}
