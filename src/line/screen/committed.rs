//! The text of lines: those that are committed, and those that are on their way out of the screen.

use serde::{Deserialize, Serialize};

use super::links::Links;
use super::row::{Row, write_end};
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

    /// Emits a line, unless it was emitted as it is, or all of it was erased.
    pub(super) fn emit(&mut self, mut line: LineStart) {
        let is_blank = line.visible.trim().is_empty();
        let is_known = line.committed.as_deref().is_some_and(|committed| *committed == *line.visible);
        if !self.restoring && !is_known && !(is_blank && (line.drawn || !line.finished)) {
            write_end(line.style, &mut line.text);
            self.output.push(CommittedLine { text: line.text, partial: !line.finished });
        }
    }
}
