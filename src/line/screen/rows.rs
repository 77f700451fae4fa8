//! The rows of a screen.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};

use serde::{Deserialize, Serialize};

use super::cursor::{SavedCursor, ScreenCursor};
use super::drawing::Movement;
use super::row::Row;

/// The rows of a screen from the top to the last one that was used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ScreenRows(VecDeque<Row>);

impl Deref for ScreenRows {
    type Target = VecDeque<Row>;

    fn deref(&self) -> &VecDeque<Row> {
        &self.0
    }
}

impl DerefMut for ScreenRows {
    fn deref_mut(&mut self) -> &mut VecDeque<Row> {
        &mut self.0
    }
}

impl ScreenRows {
    /// The row at an index, which may be below the last one that was used.
    pub(super) fn row(&mut self, row: usize) -> &mut Row {
        if self.len() <= row {
            self.resize_with(row + 1, Row::default);
        }
        &mut self[row]
    }

    /// Returns whether nothing is shown from this row on.
    pub(super) fn is_blank_from(&self, row: usize) -> bool {
        self.iter().skip(row).all(Row::is_blank)
    }

    /// The first row of the line to which `row` belongs.
    pub(super) fn first_of_line(&self, row: usize) -> usize {
        (0..row).rev().take_while(|at| self.get(*at).is_some_and(|row| row.wrapped)).last().unwrap_or(row)
    }

    /// The last row of the line that begins in `first`; `None` if that is below the last row that was used.
    pub(super) fn last_of_line(&self, first: usize) -> Option<usize> {
        (first..self.len()).find(|at| !self[*at].wrapped || *at + 1 == self.len())
    }

    /// Ends a line in `row` if the rest of it was erased, since a line end was written there.
    pub(super) fn end_erased_line(&mut self, row: usize) {
        let last = self.last_of_line(row).unwrap_or(row);
        if self.iter().take(last + 1).skip(row + 1).all(Row::is_blank) {
            self.row(row).wrapped = false;
        }
    }

    /// Moves rows up within a region, at whose end an empty one appears. Returns the row that leaves it at the top.
    pub(super) fn move_up(&mut self, region: &Range<usize>) -> Option<Row> {
        let row = self.remove(region.start)?;
        if self.len() >= region.end {
            self.insert(region.end - 1, Row::default());
        }
        Some(row)
    }

    /// Moves rows down within a region, at whose start an empty one appears.
    pub(super) fn move_down(&mut self, region: &Range<usize>) {
        if self.len() > region.start {
            self.insert(region.start, Row::default());
            if self.len() > region.end {
                self.remove(region.end);
            }
        }
    }

    /// Forgets rows at the end in which nothing was written, except the first `kept`.
    pub(super) fn forget_unused(&mut self, kept: usize) {
        while self.len() > kept && self.back().is_some_and(|row| row.width() == 0) {
            self.pop_back();
        }
    }
}

/// The main screen while the alternate one is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MainScreen {
    pub(super) rows: ScreenRows,
    pub(super) cursor: ScreenCursor,
    pub(super) saved: SavedCursor,
    pub(super) moved: Option<Movement>,
}
