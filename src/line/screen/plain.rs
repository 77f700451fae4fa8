//! Plain text: what needs neither the grid nor the parser.

use memchr::{memchr_iter, memrchr};

/// The first byte of the C1 control characters in UTF-8, whose second byte is in [`C1_CONTROLS`].
pub(super) const C1_LEAD: u8 = 0xC2;
const C1_CONTROLS: std::ops::RangeInclusive<u8> = 0x80..=0x9F;

/// The size of the parts of a text that are tested as a whole: the larger they are, the fewer instructions a line costs.
const BLOCK_SIZE: usize = 1024;

/// The number of bytes at the start of `text` that are plain: lines without control characters, except tabs, and CR before
/// LF. The line has begun with `open`.
pub(super) fn plain_length(text: &[u8], open: &[u8]) -> usize {
    if (open.ends_with(b"\r") && text[0] != b'\n') || (open.ends_with(&[C1_LEAD]) && C1_CONTROLS.contains(&text[0])) {
        return 0;
    }
    let start = simple_length(text);
    let end = control_character(&text[start..]).map_or(text.len(), |at| start + at);
    let is_plain = |at: usize| text.get(at + 1).is_none_or(|next| *next == b'\n');
    let returned = memchr_iter(b'\r', &text[start..end]).map(|at| start + at).find(|at| !is_plain(*at));
    match returned.or((end < text.len()).then_some(end)) {
        Some(at) => memrchr(b'\n', &text[..at]).map_or(0, |line| line + 1),
        None => text.len(),
    }
}

/// The length of the blocks at the start of a text that are ASCII without control characters other than tab and LF, as
/// most lines are. The loop consists of the fewest operations that the compiler applies to many bytes at once: a minimum and
/// a maximum of the bytes, shifted so that those searched for are at one end of the range.
fn simple_length(text: &[u8]) -> usize {
    let is_simple = |block: &&[u8]| {
        let (mut from_vt, mut others) = (u8::MAX, 0);
        for byte in *block {
            from_vt = from_vt.min(byte.wrapping_sub(0x0B));
            others = others.max(byte.wrapping_sub(b'\t'));
        }
        // The others are those up to BS, which become the largest numbers, and those from DEL on.
        from_vt >= b' ' - 0x0B && others < 0x7F - b'\t'
    };
    text.chunks(BLOCK_SIZE).take_while(is_simple).map(<[u8]>::len).sum()
}

/// The first control character other than tab, LF and CR.
fn control_character(text: &[u8]) -> Option<usize> {
    let is_c0 = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    for (number, block) in text.chunks(BLOCK_SIZE).enumerate() {
        let (has_c0, has_others) = control_kinds(block);
        let c0 = if has_c0 { block.iter().position(is_c0) } else { None };
        // The second byte of a C1 control may be in the next block.
        let other = if has_others { delete_or_c1(&text[number * BLOCK_SIZE..], block.len()) } else { None };
        if let Some(at) = c0.into_iter().chain(other).min() {
            return Some(number * BLOCK_SIZE + at);
        }
    }
    None
}

/// Returns whether there are control characters of ASCII other than tab, LF, CR and DEL, and whether there may be DEL or
/// others. The loop is like that of [`simple_length`].
fn control_kinds(block: &[u8]) -> (bool, bool) {
    let (mut from_so, mut to_bs, mut to_ff, mut highest) = (u8::MAX, 0, 0, 0);
    for byte in block {
        from_so = from_so.min(byte.wrapping_sub(0x0E));
        to_bs = to_bs.max(byte.wrapping_sub(0x09));
        to_ff = to_ff.max(byte.wrapping_sub(0x0D));
        highest = highest.max(*byte);
    }
    (from_so < 0x20 - 0x0E || to_bs >= 0xF7 || to_ff >= 0xFE, highest >= 0x7F)
}

/// The first DEL or C1 control character that begins in the first `length` bytes.
fn delete_or_c1(text: &[u8], length: usize) -> Option<usize> {
    let is_control = |at: &usize| text[*at] == 0x7F || text.get(at + 1).is_some_and(|next| C1_CONTROLS.contains(next));
    memchr::memchr2_iter(0x7F, C1_LEAD, &text[..length]).find(is_control)
}

/// The first C1 control character.
pub(super) fn c1_control(text: &[u8]) -> Option<usize> {
    memchr_iter(C1_LEAD, text).find(|at| text.get(at + 1).is_some_and(|next| C1_CONTROLS.contains(next)))
}
