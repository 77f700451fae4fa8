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
    links: &Links,
) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut shown = 0;
    let mut line = start.unwrap_or_default();
    for row in rows {
        line.add(row, links);
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
    /// Adds a row at the end.
    pub(super) fn add(&mut self, row: &Row, links: &Links) {
        if self.text.is_empty() && self.committed.is_none() {
            self.committed.clone_from(&row.committed);
        }
        row.write_text(!row.wrapped, &mut self.style, links, &mut self.text);
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
