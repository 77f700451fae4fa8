//! Lines of text and colours alone, as most programs with colours write them. They need no grid: nothing in them is drawn
//! over, and what the grid would give for them is known.

use super::row::width_of;
use crate::event::Style;

/// The most numbers of one sequence that are read here. The grid reads longer ones.
const MAX_PARAMETERS: usize = 16;

/// The distance of two tab stops.
const TAB_WIDTH: usize = 8;

/// Writes the text that the grid gives for a line on a screen of this width to `text`. Returns `false` if the line contains
/// anything but text and colours, or leaves a colour open: then it must be written to the grid.
pub(super) fn write_colored_line(line: &[u8], columns: usize, text: &mut Vec<u8>) -> bool {
    text.clear();
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    let (mut style, mut pen) = (Style::DEFAULT, Style::DEFAULT);
    // Tabs have no effect at the right margin.
    if rest.len() * TAB_WIDTH >= columns && memchr::memchr(b'\t', rest).is_some() {
        return false;
    }
    let is_ascii_text = is_ascii_text(rest);
    while !rest.is_empty() {
        let (plain, sequence) = rest.split_at(memchr::memchr(0x1b, rest).unwrap_or(rest.len()));
        if !plain.is_empty() {
            if !is_ascii_text && !is_text(plain) {
                return false;
            }
            pen.write_after(style, text);
            style = pen;
            text.extend_from_slice(plain);
        }
        if sequence.is_empty() {
            break;
        }
        let Some(length) = apply_sequence(sequence, &mut pen) else { return false };
        rest = &sequence[length..];
    }
    Style::DEFAULT.write_after(style, text);
    pen == Style::DEFAULT
}

/// Returns whether a line consists of ASCII characters that cover columns of their own, and of escape sequences.
fn is_ascii_text(line: &[u8]) -> bool {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | 0x1b);
    // The compiler tests as many bytes at once.
    let (blocks, rest) = line.as_chunks::<16>();
    blocks.iter().all(|block| block.iter().fold(true, |all, byte| all & is_text(byte))) && rest.iter().all(is_text)
}

/// Returns whether all characters cover columns of their own.
fn is_text(text: &[u8]) -> bool {
    let covers = |character| character == '\t' || width_of(character).is_some_and(|width| width > 0);
    std::str::from_utf8(text).is_ok_and(|text| text.chars().all(covers))
}

/// Applies the colours at the start of `text`. Returns the length of the sequence; `None` if it is another one.
fn apply_sequence(text: &[u8], pen: &mut Style) -> Option<usize> {
    let parameters = text.strip_prefix(b"\x1b[")?;
    let mut values = [0u16; MAX_PARAMETERS];
    // The index of the first value of each parameter.
    let mut starts = [0usize; MAX_PARAMETERS + 1];
    let (mut value, mut parameter) = (0, 0);
    for (at, byte) in parameters.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                values[value] = values[value].saturating_mul(10).saturating_add(u16::from(byte - b'0'));
            }
            b';' | b':' | b'm' => {
                value += 1;
                if *byte != b':' {
                    parameter += 1;
                    starts[parameter] = value;
                }
                if *byte == b'm' {
                    pen.apply(starts[..=parameter].windows(2).map(|ends| &values[ends[0]..ends[1]]));
                    return Some(at + b"\x1b[m".len());
                }
                if value == MAX_PARAMETERS {
                    return None;
                }
            }
            _ => return None,
        }
    }
    None
}
