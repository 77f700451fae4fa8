//! The state of the screen as bytes, with which another process continues an output. The form is JSON, with rows as runs of
//! text of the same style: it is written seldom, and can be read by later versions of the program.

use serde::{Deserialize, Serialize};

use super::cursor::Scroll;
use super::grid::{Grid, MAX_COLUMNS, MAX_ROWS};
use super::row::Row;

/// The version of the form. A state of another version is not read.
const VERSION: u8 = 1;

/// The largest packed state, in bytes.
pub const MAX_PACKED_SIZE: usize = 1 << 20;

/// The reasons why a packed state is not read.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The bytes are damaged.
    #[error("the state of a terminal is damaged")]
    Damaged(#[source] serde_json::Error),
    /// The state was packed by a program that knows another form.
    #[error("the state of a terminal has version {0}, and this program reads version {VERSION}")]
    Version(u8),
}

#[derive(Serialize, Deserialize)]
struct PackedScreen {
    version: u8,
    grid: Grid,
    /// The current line is written to the grid.
    uses_grid: bool,
    /// The unfinished line if it is not, and the bytes of an incomplete sequence or character.
    open: Vec<u8>,
    sequence: Vec<u8>,
}

/// The parts of a screen that are packed.
pub(super) struct ScreenState {
    pub(super) grid: Grid,
    pub(super) uses_grid: bool,
    pub(super) open: Vec<u8>,
    pub(super) sequence: Vec<u8>,
}

/// Packs a state. Rows are left out at the top if it would be too large.
pub(super) fn pack(state: ScreenState) -> Vec<u8> {
    let ScreenState { grid, uses_grid, mut open, sequence } = state;
    // An unfinished line that does not fit is shortened like one that is too long to be shown.
    open.drain(..open.len().saturating_sub(MAX_PACKED_SIZE / 8));
    let mut packed = PackedScreen { version: VERSION, grid, uses_grid, open, sequence };
    loop {
        let bytes = serde_json::to_vec(&packed).expect("the state has text keys and no maps");
        if bytes.len() <= MAX_PACKED_SIZE || packed.grid.rows.is_empty() {
            return bytes;
        }
        let half = packed.grid.rows.len().div_ceil(2);
        drop_rows(&mut packed.grid, half);
    }
}

/// Packs a state without the rows above those that are live, if that makes it small enough; `None` if it does not.
pub(super) fn pack_drawing(state: ScreenState, max: usize) -> Option<String> {
    let ScreenState { grid, uses_grid, open, sequence } = state;
    let mut packed = PackedScreen { version: VERSION, grid, uses_grid, open, sequence };
    let text = |packed: &PackedScreen| {
        let text = serde_json::to_string(packed).expect("the state has text keys and no maps");
        (text.len() <= max).then_some(text)
    };
    text(&packed).or_else(|| {
        let above = packed.grid.live_top();
        if above == 0 || packed.grid.main.is_some() {
            return None;
        }
        drop_rows(&mut packed.grid, above);
        text(&packed)
    })
}

/// Reads a packed state; its numbers are in range.
pub(super) fn unpack(bytes: &[u8]) -> Result<ScreenState, UnpackError> {
    #[derive(Deserialize)]
    struct Version {
        version: u8,
    }
    let Version { version } = serde_json::from_slice(bytes).map_err(UnpackError::Damaged)?;
    if version != VERSION {
        return Err(UnpackError::Version(version));
    }
    let PackedScreen { grid, uses_grid, open, sequence, .. } =
        serde_json::from_slice(bytes).map_err(UnpackError::Damaged)?;
    Ok(ScreenState { grid: in_range(grid), uses_grid, open, sequence })
}

/// The same state with all numbers in range, since it was read from outside.
fn in_range(mut grid: Grid) -> Grid {
    let Grid { columns, height, .. } = grid;
    let (columns, height) = (columns.clamp(2, MAX_COLUMNS), height.clamp(1, MAX_ROWS));
    (grid.columns, grid.height) = (columns, height);
    let Grid { rows, main, cursor, saved, pen, links, lines, .. } = &mut grid;
    let screens = std::iter::once((&mut *rows, &mut *cursor));
    for (rows, cursor) in screens.chain(main.iter_mut().map(|main| (&mut main.rows, &mut main.cursor))) {
        rows.truncate(height);
        for row in rows.iter_mut() {
            row.truncate(columns);
        }
        (cursor.row, cursor.column) = (cursor.row.min(height - 1), cursor.column.min(columns - 1));
    }
    let mut pens = vec![&mut pen.link, &mut saved.pen.link];
    let mut cells = Vec::new();
    if let Some(main) = main {
        pens.push(&mut main.saved.pen.link);
        cells.extend(main.rows.iter_mut().flat_map(Row::links));
    }
    pens.extend(lines.start.as_mut().map(|start| &mut start.style.link));
    links.check(rows.iter_mut().flat_map(Row::links).chain(cells).chain(pens));
    if grid.region.start + 1 >= grid.region.end || grid.region.end > height {
        grid.region = 0..height;
    }
    grid.drawing = grid.drawing.in_range(height);
    grid
}

/// Forgets rows at the top.
fn drop_rows(grid: &mut Grid, count: usize) {
    (grid.lines.start, grid.main) = (None, None);
    grid.scroll_up(0..grid.height, count, Scroll::Delete);
    grid.cursor.row = grid.cursor.row.saturating_sub(count);
    grid.rows.truncate(grid.height - count.min(grid.height - 1));
}
