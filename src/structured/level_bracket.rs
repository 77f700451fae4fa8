//! The level in a bracket at the head of a line.

use crate::event::Level;

use super::head_token::is_number;
use super::level_word::{from_letter, from_word, is_ambiguous};

/// The level in a bracket.
pub(super) fn level(open: u8, content: &[u8]) -> Option<Level> {
    match content {
        [] => return None,
        [letter] if open == b'[' => return from_letter(*letter),
        // The X server: `(EE)`.
        [letter @ (b'E' | b'W' | b'I'), again] if open == b'(' && letter == again => return from_letter(*letter),
        _ => {}
    }
    if open == b'{' {
        return None;
    }
    if let Some(level) = from_word(content) {
        return Some(level).filter(|_| !is_ambiguous(content) || content.eq_ignore_ascii_case(b"note"));
    }
    if open != b'[' {
        return None;
    }
    let is_level_end = |byte: &u8| matches!(byte, b' ' | b'\t' | b':' | b'/' | b',' | b'|');
    // The modules of Apache: `[core:error]`.
    if let Some(at) = memchr::memrchr(b':', content)
        && content[..at].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && let Some(level) = from_word(&content[at + 1..])
    {
        return Some(level);
    }
    let mut parts = content.split(is_level_end).filter(|part| !part.is_empty());
    let mut is_first = true;
    let mut is_number_before = false;
    let last = content.rsplit(is_level_end).next().unwrap_or_default();
    loop {
        let part = parts.next()?;
        let is_upper = part.iter().all(u8::is_ascii_uppercase);
        if is_upper && let Some(level) = from_word(part).filter(|_| !is_ambiguous(part)) {
            return Some(level);
        }
        // Tornado: `[E 261128 16:00:00 web:123]`.
        if is_first && part.len() == 1 && content.get(2).is_some_and(u8::is_ascii_digit) {
            return from_letter(part[0]);
        }
        if is_number_before && std::ptr::eq(part, last) {
            return from_word(part);
        }
        // `[DEPRECATION WARNING]`
        if !(is_number(part) || is_upper && is_first && content.len() > part.len()) {
            return None;
        }
        is_number_before = is_number(part);
        is_first = false;
    }
}
