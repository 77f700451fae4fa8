//! The control functions that the model carries out (ECMA-48 and the DEC private ones that xterm documents). All others
//! have no effect, and leave nothing in the text.

use vte::{Params, Perform};

use super::cursor::{SavedCursor, Scroll};
use super::grid::Grid;

/// The most times that one sequence repeats a character: a few bytes must not cost more than a row of the widest screen.
const MAX_REPEATED: usize = 1000;

/// The longest hyperlink that is kept, in bytes.
const MAX_LINK_SIZE: usize = 2048;

impl Perform for Grid {
    fn print(&mut self, character: char) {
        Self::print(self, character);
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            0x08 => self.move_to_column(self.cursor.column.saturating_sub(1)),
            b'\t' => self.tab(),
            // A line feed, a vertical tab or a form feed. The first is not passed here, but for those inside a sequence.
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            b'\r' => self.carriage_return(),
            0x0e => self.charsets.shifted = true,
            0x0f => self.charsets.shifted = false,
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, parameters: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if ignore {
            return;
        }
        match intermediates {
            [] => control(self, parameters, action),
            b"?" if matches!(action, 'h' | 'l') => {
                for mode in parameters.iter().filter_map(|parameter| parameter.first()) {
                    set_private_mode(self, *mode, action == 'h');
                }
            }
            b"?" if action == 'J' => erase_in_display(self, number(parameters, 0, 0)),
            b"?" if action == 'K' => erase_in_row(self, number(parameters, 0, 0)),
            b"!" if action == 'p' => self.soft_reset(),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        match (intermediates, byte) {
            ([], b'7') => self.save_cursor(),
            ([], b'8') => self.restore_cursor(),
            ([], b'D') => self.next_row(Scroll::Line),
            ([], b'E') => self.line_feed(),
            ([], b'M') => self.previous_row(),
            ([], b'c') => reset(self),
            ([set @ (b'(' | b')')], charset) => {
                self.charsets.draws_lines[usize::from(*set == b')')] = charset == b'0';
            }
            _ => {}
        }
    }

    fn osc_dispatch(&mut self, parameters: &[&[u8]], _bell_terminated: bool) {
        match parameters {
            [b"8", attributes, target @ ..] => {
                let target = [*attributes, b";", &target.join(&b";"[..])].concat();
                let is_link = target.len() > attributes.len() + 1 && target.len() <= MAX_LINK_SIZE;
                self.pen.link = if is_link { self.link(&target) } else { 0 };
            }
            [b"9", b"4", ..] => self.osc_progress = Some(parameters.join(&b";"[..])),
            _ => {}
        }
    }
}

fn control(grid: &mut Grid, parameters: &Params, action: char) {
    let count = number(parameters, 0, 1).max(1);
    let column = grid.cursor.column;
    match action {
        '@' => grid.insert_blanks(count),
        'A' => grid.move_up(count),
        'B' | 'e' => grid.move_down(count),
        'C' | 'a' => grid.move_right(count),
        'D' => grid.move_to_column(column.saturating_sub(count)),
        'E' => {
            grid.move_down(count);
            grid.move_to_column(0);
        }
        'F' => {
            grid.move_up(count);
            grid.move_to_column(0);
        }
        'G' | '`' => grid.move_to_column(count - 1),
        'H' | 'f' => grid.move_to(count - 1, number(parameters, 1, 1).max(1) - 1),
        'I' => (0..count.min(grid.columns)).for_each(|_| grid.tab()),
        'J' => erase_in_display(grid, number(parameters, 0, 0)),
        'K' => erase_in_row(grid, number(parameters, 0, 0)),
        'L' => grid.insert_lines(count),
        'M' => grid.delete_lines(count),
        'P' => grid.delete_characters(count),
        'S' => grid.scroll_up(grid.region.clone(), count, Scroll::Line),
        'T' => grid.scroll_down(grid.region.clone(), count),
        // Up to the margin, it is an erasure of all the rest.
        'X' if column + count >= grid.columns => erase_in_row(grid, 0),
        'X' => grid.erase_in_line(erased_from(grid)..column + count),
        'Z' => grid.back_tab(count),
        'b' => {
            if let Some(character) = grid.last_character {
                (0..count.min(MAX_REPEATED)).for_each(|_| Grid::print(grid, character));
            }
        }
        'd' => grid.move_to(count - 1, column),
        'h' | 'l' if number(parameters, 0, 0) == 4 => grid.modes.insert = action == 'h',
        'm' => grid.pen.apply(parameters),
        'r' => grid.set_region(count - 1, number(parameters, 1, 0)),
        's' => grid.save_cursor(),
        'u' => grid.restore_cursor(),
        _ => {}
    }
}

fn set_private_mode(grid: &mut Grid, mode: u16, on: bool) {
    match mode {
        6 => {
            grid.modes.origin = on;
            grid.move_to(0, 0);
        }
        7 => grid.modes.autowrap = on,
        47 | 1047 => grid.show_alternate(on),
        1048 if on => grid.save_cursor(),
        1048 => grid.restore_cursor(),
        1049 if on => {
            grid.save_cursor();
            grid.show_alternate(true);
        }
        1049 => {
            grid.show_alternate(false);
            grid.restore_cursor();
        }
        _ => {}
    }
}

/// Sets everything to the state at the start, except that rows above stay, and what was drawn is erased.
fn reset(grid: &mut Grid) {
    grid.show_alternate(false);
    grid.soft_reset();
    grid.saved = SavedCursor::default();
    grid.move_to(0, 0);
    grid.erase_all();
}

fn erase_in_row(grid: &mut Grid, what: usize) {
    let column = grid.cursor.column;
    match what {
        0 => grid.erase_in_line(erased_from(grid)..usize::MAX),
        1 => grid.erase_in_line(0..column + 1),
        2 => grid.erase_in_line(0..usize::MAX),
        _ => {}
    }
}

/// The first column that is erased. The last character of a full row stays, although the cursor is still on it: only
/// some terminals erase it, and no program wants that.
fn erased_from(grid: &Grid) -> usize {
    grid.cursor.column + usize::from(grid.cursor.wraps)
}

fn erase_in_display(grid: &mut Grid, what: usize) {
    let row = grid.cursor.row;
    match what {
        0 => {
            erase_in_row(grid, 0);
            grid.erase_rows(row + 1..grid.height);
        }
        1 => {
            grid.erase_rows(0..row);
            erase_in_row(grid, 1);
        }
        2 => grid.erase_all(),
        _ => {}
    }
}

/// A parameter, or `default` if it was left out.
fn number(parameters: &Params, at: usize, default: usize) -> usize {
    parameters.iter().nth(at).and_then(|parameter| parameter.first()).map_or(default, |value| {
        // Zero stands for the default in all functions that have one other than zero.
        if *value == 0 { default } else { usize::from(*value) }
    })
}
