//! XML elements whose name says that their content is secret.

use memchr::memmem;

use super::harmless::{ValueSeparator, is_harmless};
use super::names::SecretKind;
use super::value::{is_blank, line_end};

/// The distance in bytes within which the end of an element is searched for. An element without an end in it is
/// redacted, too.
const MAX_ELEMENT_SIZE: usize = 4 << 10;

/// Returns whether the name at `begin`, which follows a colon, is that of an element with a prefix.
pub(super) fn is_prefixed(text: &[u8], begin: usize) -> bool {
    let before = &text[..begin - 1];
    let prefix = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    prefix > 0 && before[..before.len() - prefix].last() == Some(&b'<')
}

/// The start of the content of the element whose name ends at `end`; `None` if there is no element.
pub(super) fn content_begins(text: &[u8], end: usize) -> Option<usize> {
    text.get(end).filter(|after| **after == b'>' || after.is_ascii_whitespace())?;
    let tag = &text[end..text.len().min(end + MAX_ELEMENT_SIZE)];
    let open = memchr::memchr2(b'>', b'<', tag).map(|at| end + at).filter(|open| text[*open] == b'>')?;
    if text[open - 1] == b'/' {
        return None;
    }
    let begin = open + 1;
    let inside = &text[begin..line_end(text, begin).min(begin + MAX_ELEMENT_SIZE)];
    // The end of the element may be in another line, unless this is a sentence with a placeholder.
    let is_text =
        !inside.starts_with(b"<") && memmem::find(inside, b"</").is_none() && inside.iter().any(|byte| is_blank(*byte));
    (!is_text).then_some(begin)
}

/// The secret in an element whose content begins at `begin`; `None` if it contains other elements.
pub(super) fn content_secret(text: &[u8], begin: usize) -> Option<(usize, usize)> {
    let rest = &text[begin..];
    let (begin, rest) = match rest.strip_prefix(b"<![CDATA[") {
        Some(inside) => (begin + 9, inside),
        None => (begin, rest),
    };
    if rest.starts_with(b"<") {
        return None;
    }
    let end = memmem::find(rest, b"</").unwrap_or(rest.len());
    let content = rest[..end].strip_suffix(b"]]>").unwrap_or(&rest[..end]);
    let blank = content.len() - content.trim_ascii_start().len();
    let content = content.trim_ascii();
    let harmless = content.is_empty() || is_harmless(SecretKind::Password, ValueSeparator::Quoted, content);
    (!harmless).then_some((begin + blank, begin + blank + content.len()))
}
