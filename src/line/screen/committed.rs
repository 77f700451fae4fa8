//! The text of lines: those that are committed, and those that are on their way out of the screen.

use serde::{Deserialize, Serialize};

use super::drawing::DrawingState;
use super::links::Links;
use super::row::{Row, write_end};
use super::rows::ScreenRows;
use crate::event::Style;

/// A line in its final form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommittedLine {
    pub(super) text: Vec<u8>,
    /// The output ended before the line did.
    pub(super) partial: bool,
}

/// The part of a line that has left the screen at the top, while the rest is still on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LineStart {
    pub(super) text: Vec<u8>,
    pub(super) visible: String,
    pub(super) style: Style,
    pub(super) drawn: bool,
    pub(super) finished: bool,
    pub(super) committed: Option<Box<str>>,
}

/// The text of rows as lines, the first of which may have begun before them. Rows that wrap are joined, since a secret may
/// begin in one and end in the next, and blank ones at the end are left out.
pub(super) fn text_of_rows<'a>(
    rows: impl Iterator<Item = &'a Row>,
    start: Option<LineStart>,
    is_block: bool,
    links: &Links,
) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut shown = 0;
    let mut line = start.unwrap_or_default();
    for row in rows {
        line.add(row, is_block, links);
        if !row.is_blank() {
            shown = texts.len() + 1;
        }
        if !row.wrapped {
            texts.push(line.take_text());
        }
    }
    if !line.text.is_empty() {
        shown = texts.len() + 1;
        texts.push(line.take_text());
    }
    texts.truncate(shown);
    texts
}

impl LineStart {
    /// Adds a row at the end, which may be one of a block that is redrawn.
    pub(super) fn add(&mut self, row: &Row, is_block: bool, links: &Links) {
        if self.text.is_empty() && self.committed.is_none() {
            self.committed.clone_from(&row.committed);
        }
        row.write_text(is_block, &mut self.style, links, &mut self.text);
        row.write_visible(!row.wrapped, &mut self.visible);
        self.drawn |= row.drawn;
        self.finished = row.finished;
    }

    /// Returns whether the line was committed as it is.
    pub(super) fn is_known(&self) -> bool {
        self.committed.as_deref().is_some_and(|committed| *committed == *self.visible)
    }

    pub(super) fn take_text(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(self);
        write_end(line.style, &mut line.text);
        line.text
    }
}

/// The lines that leave the screen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LineOutput {
    /// The line that has left the screen in part.
    pub(super) start: Option<LineStart>,
    /// The lines committed since they were last taken.
    #[serde(skip)]
    pub(super) output: Vec<CommittedLine>,
    /// Lines that were already emitted are being read again: they are marked as committed.
    #[serde(skip)]
    pub(super) restoring: bool,
}

impl LineOutput {
    /// Handles a row that leaves the screen at the top.
    pub(super) fn add_row(&mut self, row: &Row, is_block: bool, links: &Links) {
        let mut line = self.start.take().unwrap_or_default();
        line.add(row, is_block, links);
        if row.wrapped {
            self.start = Some(line);
        } else {
            self.emit(line);
        }
    }

    /// Takes a part of a line that is longer than `max` and has left the screen.
    pub(super) fn take_long_start(&mut self, max: usize) -> Option<Vec<u8>> {
        let start = self.start.as_mut().filter(|start| start.text.len() > max && start.committed.is_none())?;
        start.visible.clear();
        Some(std::mem::take(&mut start.text))
    }

    /// The size of the line at the front of what is drawn, if it is the only one that is not final; otherwise 0.
    pub(super) fn size_of_open_line(&self, rows: &ScreenRows, drawing: &DrawingState, columns: usize) -> usize {
        if drawing.top() < drawing.front {
            return 0;
        }
        let first = rows.first_of_line(drawing.front);
        let start = self.start.as_ref().filter(|_| first == 0).map_or(0, |start| start.text.len());
        start + (drawing.front - first) * columns
    }

    /// Commits the line that begins at `first`. Returns the row after it.
    pub(super) fn commit_line(&mut self, rows: &mut ScreenRows, first: usize, is_block: bool, links: &Links) -> usize {
        let Some((line, last)) = self.line_at(rows, first, is_block, links) else { return first + 1 };
        let before = self.committed_text(rows, first).replace(line.visible.as_str().into());
        self.emit(LineStart { committed: before, ..line });
        last + 1
    }

    /// Splits a line above `row` if it was committed as it is. Neither of its parts is committed again: all of the text was.
    pub(super) fn split_committed_line(&mut self, rows: &mut ScreenRows, row: usize, is_block: bool, links: &Links) {
        let above = row.checked_sub(1);
        let is_one_line = above.map_or(self.start.is_some(), |above| rows.get(above).is_some_and(|row| row.wrapped));
        let first = above.map_or(0, |above| rows.first_of_line(above));
        if !is_one_line || !self.line_at(rows, first, is_block, links).is_some_and(|(line, _)| line.is_known()) {
            return;
        }
        match above {
            Some(above) => (rows[above].wrapped, rows[above].finished) = (false, true),
            None => self.start = None,
        }
        for part in [first, row] {
            if let Some((line, _)) = self.line_at(rows, part, is_block, links) {
                *self.committed_text(rows, part) = Some(line.visible.into());
            }
        }
    }

    /// Changes a row. Returns whether its line continued in the next row, and does not any more: the rest is a line of its
    /// own then, and all of it was committed if the line was. The alternate screen has no `output`.
    pub(super) fn change_row(
        output: Option<&mut Self>,
        rows: &mut ScreenRows,
        at: usize,
        is_block: bool,
        links: &Links,
        change: impl FnOnce(&mut Row),
    ) -> bool {
        let before = rows[at].wrapped.then(|| rows[at].clone());
        change(&mut rows[at]);
        let Some(before) = before.filter(|_| !rows[at].wrapped) else { return false };
        if let Some(output) = output {
            // The whole line is compared with what was committed.
            let changed = std::mem::replace(&mut rows[at], before);
            output.split_committed_line(rows, at + 1, is_block, links);
            let split = std::mem::replace(&mut rows[at], changed);
            (rows[at].committed, rows[at].finished) = (split.committed, split.finished);
        }
        true
    }

    /// The line that begins at `first`, with its part that has left the screen, and its last row.
    fn line_at(&self, rows: &ScreenRows, first: usize, is_block: bool, links: &Links) -> Option<(LineStart, usize)> {
        let last = rows.last_of_line(first)?;
        let mut line = self.start.as_ref().filter(|_| first == 0).cloned().unwrap_or_default();
        for row in rows.range(first..=last) {
            line.add(row, is_block, links);
        }
        Some((line, last))
    }

    /// The visible text with which the line that begins at `first` was committed.
    fn committed_text<'a>(&'a mut self, rows: &'a mut ScreenRows, first: usize) -> &'a mut Option<Box<str>> {
        match self.start.as_mut().filter(|_| first == 0) {
            Some(start) => &mut start.committed,
            None => &mut rows[first].committed,
        }
    }

    /// Emits a line, unless it was emitted as it is, or all of it was erased.
    pub(super) fn emit(&mut self, mut line: LineStart) {
        let is_blank = line.visible.trim().is_empty();
        if !self.restoring && !line.is_known() && !(is_blank && (line.drawn || !line.finished)) {
            write_end(line.style, &mut line.text);
            self.output.push(CommittedLine { text: line.text, partial: !line.finished });
        }
    }
}
