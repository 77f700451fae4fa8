//! Keeps a line that is JSON valid, whatever is removed from it.

use serde::de::IgnoredAny;

use super::value::SecretSpan;

/// Returns whether the text is a JSON object or array.
pub(super) fn is_json(text: &[u8]) -> bool {
    let trimmed = text.trim_ascii();
    let bracketed = matches!((trimmed.first(), trimmed.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
    bracketed && serde_json::from_slice::<IgnoredAny>(trimmed).is_ok()
}

/// Extends `found` to the whole strings and numbers of `text`, which is JSON, in which something was found.
pub(super) fn within_strings(text: &[u8], found: &[SecretSpan]) -> Vec<SecretSpan> {
    let mark = memchr::memchr(b'"', text).map(|at| (at, at + 1));
    let mut whole = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let (begin, end, quote) = if byte == b'"' {
            let mut end = at + 1;
            while text.get(end).is_some_and(|byte| *byte != b'"') {
                end += 1 + usize::from(text[end] == b'\\');
            }
            (at + 1, end.min(text.len()), None)
        } else if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.') {
            let is_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            (at, at + text[at..].iter().take_while(|byte| is_scalar(byte)).count(), mark)
        } else {
            at += 1;
            continue;
        };
        if found.iter().any(|secret| secret.begin < end && begin < secret.end) {
            whole.push(SecretSpan { begin, end, quote });
        }
        at = if quote.is_some() || byte != b'"' { end } else { end + 1 };
    }
    whole
}
