//! The drawing of a program: which rows it can still change, and when they are final.

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The number of drawings in which the height of a block is looked for.
pub(super) const KEPT_REACHES: usize = 16;

/// The kind of drawing that a program is making.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Drawing {
    /// Nothing: each line is committed at its newline.
    #[default]
    Nothing,
    /// The rows from `top` to the front were drawn over by carriage returns and the like, and then ended. They are
    /// committed when the program writes on below them, unless it moves up first, as it does to erase a bar or to begin a
    /// block. Always `top <= front`.
    Lines { top: usize },
    /// A block of rows, to which the program has moved up.
    Block {
        /// The uppermost row that the program can still reach; at most the front.
        top: usize,
        /// The first row below what was drawn when the current drawing began.
        end: usize,
        /// The program has finished a row below the block. Unless it moves up again, the block is final.
        passed: bool,
    },
}

/// A movement of the cursor above the front, after which nothing was drawn yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Movement {
    /// The front when it began.
    pub(super) front: usize,
    /// The first row below everything drawn when it began.
    pub(super) end: usize,
}

/// The facts about the rows that a program redraws. Indices of rows count from the top of the main screen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DrawingState {
    /// The row at which line after line is written. Rows above it are finished; rows below it were reached by jumps, as
    /// status rows are.
    pub(super) front: usize,
    pub(super) kind: Drawing,
    /// The number of times at which something began to be redrawn.
    pub(super) count: u32,
    /// How far above the front the latest drawings began, newest last.
    pub(super) reaches: VecDeque<usize>,
    /// The front at the last drawing; greater than it, the block has grown or moved down.
    pub(super) last_front: usize,
    pub(super) moved: Option<Movement>,
}

impl DrawingState {
    /// Adapts to rows of a region that have moved up by one. What was at the front at the last drawing moves with them.
    pub(super) fn shift_up(&mut self, region: &Range<usize>) {
        let to = |at: usize| at.saturating_sub(1).max(region.start);
        if (region.start..=region.end).contains(&self.last_front) {
            self.last_front = to(self.last_front);
        }
        self.shift(region, to);
    }

    /// Adapts to rows of a region that have moved down by one: what is redrawn has grown, or was pushed down.
    pub(super) fn shift_down(&mut self, region: &Range<usize>) {
        self.shift(region, |at| (at + 1).min(region.end));
    }

    /// Moves the front up to the last row of a screen of this height. Nothing is redrawn any more if all of that was pushed
    /// off the screen: the next text is no part of it, and a row above `top` would never be committed.
    pub(super) fn stay_on_screen(&mut self, height: usize) {
        self.front = self.front.min(height - 1);
        if let Drawing::Lines { top } | Drawing::Block { top, .. } = self.kind
            && top > self.front
        {
            self.kind = Drawing::Nothing;
            self.reaches.clear();
        }
    }

    fn shift(&mut self, region: &Range<usize>, to: impl Fn(usize) -> usize) {
        let shift = |at: &mut usize| {
            if (region.start..=region.end).contains(at) {
                *at = to(*at);
            }
        };
        // A row below the region stays where it is, but the end of a block is the end of a range.
        if region.contains(&self.front) {
            shift(&mut self.front);
        }
        match &mut self.kind {
            Drawing::Nothing => {}
            Drawing::Lines { top } => shift(top),
            Drawing::Block { top, end, .. } => {
                shift(top);
                shift(end);
            }
        }
        if let Some(moved) = &mut self.moved {
            shift(&mut moved.front);
            shift(&mut moved.end);
        }
    }

    /// Notes that the cursor moves up to `row`, where something may be redrawn. `front_is_drawn` says that there is text in
    /// the row at the front.
    pub(super) fn note_upward(&mut self, row: usize, front_is_drawn: bool) {
        if row < self.front && self.moved.is_none() {
            self.moved = Some(Movement { front: self.front, end: self.front + usize::from(front_is_drawn) });
        }
    }

    /// Notes that a drawing begins in `row` after this movement. Returns the rows of what is redrawn now that no recent
    /// drawing would reach, since it has grown, or a line was inserted above, which pushed it down: they are final.
    pub(super) fn begin(&mut self, row: usize, moved: Movement) -> Range<usize> {
        if self.reaches.len() == KEPT_REACHES {
            self.reaches.pop_front();
        }
        self.reaches.push_back(moved.front.saturating_sub(row));
        let top = self.top().min(row);
        let reach = self.reaches.iter().copied().max().unwrap_or(0);
        let has_grown = moved.front > self.last_front;
        self.last_front = moved.front;
        top..if has_grown { moved.front.saturating_sub(reach).max(top) } else { top }
    }

    /// Notes that the rows from `top` are a block now, whose first row below is `end`.
    pub(super) fn set_block(&mut self, top: usize, end: usize) {
        self.count = self.count.wrapping_add(1);
        self.kind = Drawing::Block { top, end, passed: false };
    }

    /// Notes that the line in these rows has ended. Returns whether it is final, with all before it.
    pub(super) fn end_line(&mut self, rows: Range<usize>, redrawn: bool) -> bool {
        match &mut self.kind {
            Drawing::Block { end, passed, .. } => *passed |= rows.end > *end,
            Drawing::Nothing if redrawn => {
                self.kind = Drawing::Lines { top: rows.start.min(self.front) };
                self.count = self.count.wrapping_add(1);
            }
            Drawing::Lines { .. } if redrawn => {}
            Drawing::Nothing | Drawing::Lines { .. } => return true,
        }
        false
    }

    /// Returns whether a block of rows is redrawn.
    pub(super) fn is_block(&self) -> bool {
        matches!(self.kind, Drawing::Block { .. })
    }

    /// The first row that is not final.
    pub(super) fn top(&self) -> usize {
        match self.kind {
            Drawing::Nothing => self.front,
            Drawing::Lines { top } | Drawing::Block { top, .. } => {
                debug_assert!(top <= self.front, "{self:?}");
                top
            }
        }
    }

    /// The number of the drawing that is final if nothing is redrawn for long enough; `None` if there is none.
    pub(super) fn unsettled(&self) -> Option<u32> {
        let waits = match self.kind {
            Drawing::Nothing => false,
            // A bar that the program has moved up to is about to be drawn again.
            Drawing::Lines { .. } => self.moved.is_none(),
            Drawing::Block { passed, .. } => passed,
        };
        waits.then_some(self.count)
    }

    /// The same state with all numbers in the range of a screen of this height.
    pub(super) fn in_range(mut self, height: usize) -> Self {
        self.last_front = self.last_front.min(height);
        self.reaches.truncate(KEPT_REACHES);
        match &mut self.kind {
            Drawing::Nothing => {}
            Drawing::Lines { top } => *top = (*top).min(height),
            Drawing::Block { top, end, .. } => (*top, *end) = ((*top).min(height), (*end).min(height)),
        }
        if let Some(moved) = &mut self.moved {
            (moved.front, moved.end) = (moved.front.min(height), moved.end.min(height));
        }
        self.stay_on_screen(height);
        self
    }
}
