//! The cursor, and what decides where a character goes and what it is.

use serde::{Deserialize, Serialize};

use crate::event::Style;

/// The causes for which rows move up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scroll {
    /// A new line. Rows that leave the screen at the top are kept.
    Line,
    /// A row continues in the next one, which scrolls like a new line.
    Wrap,
    /// Rows are deleted.
    Delete,
}

/// The position of the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct ScreenCursor {
    pub(super) row: usize,
    pub(super) column: usize,
    /// The last column was written: the next character goes to the next row.
    pub(super) wraps: bool,
}

/// The state that is saved and restored with the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SavedCursor {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) pen: Style,
    pub(super) charsets: Charsets,
    pub(super) modes: Modes,
}

/// The character sets G0 and G1: whether each is that of line drawing, and whether G1 is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Charsets {
    pub(super) draws_lines: [bool; 2],
    pub(super) shifted: bool,
}

/// The modes that a program can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Modes {
    pub(super) autowrap: bool,
    pub(super) insert: bool,
    pub(super) origin: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self { autowrap: true, insert: false, origin: false }
    }
}

/// The characters of the set of line drawing, from the grave accent on.
const LINE_DRAWING: &str = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";

impl Charsets {
    /// The character of the set in use. The set of line drawing is that of the VT100.
    pub(super) fn translate(self, character: char) -> char {
        if !self.draws_lines[usize::from(self.shifted)] {
            return character;
        }
        let at = u32::from(character).wrapping_sub(u32::from('`'));
        usize::try_from(at).ok().and_then(|at| LINE_DRAWING.chars().nth(at)).unwrap_or(character)
    }
}
