//! The bounds of the value that follows a name.

use std::ops::Range;

use super::names::MAX_SECRET_NAME_SIZE;

/// Values that mean "there is no value".
pub(super) const EMPTY_VALUES: [&str; 22] = [
    "null",
    "nil",
    "none",
    "true",
    "false",
    "undefined",
    "yes",
    "no",
    "on",
    "off",
    "n/a",
    "empty",
    "[redacted]",
    "redacted",
    "<redacted>",
    "[masked]",
    "[filtered]",
    "hidden",
    "<hidden>",
    "(none)",
    "nan",
    "unset",
];

/// A secret in a text. `quote` is the position of a quotation mark that is to enclose the mark: in JSON, where it
/// replaces a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SecretSpan {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) quote: Option<(usize, usize)>,
}

impl SecretSpan {
    pub(super) fn new(begin: usize, end: usize) -> Self {
        Self { begin, end, quote: None }
    }
}

/// The secrets found in a text so far, and the parts of the text that are decided.
#[derive(Debug, Default)]
pub(super) struct FoundSecrets {
    pub(super) spans: Vec<SecretSpan>,
    /// The values that were examined already, without those that end before the last name. Between a name and its value
    /// may be other names, such as the attributes of an XML element.
    decided: Vec<Range<usize>>,
}

impl FoundSecrets {
    /// Adds the secret between `begin` and `end`; an empty one is ignored.
    pub(super) fn take(&mut self, begin: usize, end: usize) {
        if begin < end {
            self.spans.push(SecretSpan::new(begin, end));
            self.decide(begin, end);
        }
    }

    /// Marks a value as examined.
    pub(super) fn decide(&mut self, begin: usize, end: usize) {
        self.decided.push(begin..end);
    }

    /// Returns whether a name that begins at `begin` is part of a value that was examined already. Near the end of such a
    /// value, a name may begin that only appears to be in it. Names are asked for in their order.
    pub(super) fn is_decided(&mut self, begin: usize) -> bool {
        self.decided.retain(|value| begin + MAX_SECRET_NAME_SIZE < value.end);
        self.decided.iter().any(|value| value.start <= begin)
    }

    /// Adds the values in the brackets that begin at `at`, see [`take_nested`].
    pub(super) fn take_nested(&mut self, text: &[u8], at: usize, quote: Option<(usize, usize)>) {
        let mut names = Vec::new();
        let end = take_nested(text, at, quote, &mut self.spans, &mut names);
        // Brackets without an end seem to contain the rest of the line. What follows in it is judged by itself, too.
        let is_closed = matches!(end.checked_sub(1).and_then(|last| text.get(last)), Some(b']' | b'}'));
        if !is_closed || names.len() > MAX_EXAMINED_MEMBER_NAMES {
            return;
        }
        // The name of a member is no value. If a quotation mark is missing before it, it contains other text.
        let mut from = at;
        for name in names {
            self.decide(from, name.start);
            from = name.end;
        }
        self.decide(from, end);
    }
}

/// The distance in bytes within which the end of a quotation is searched for across line ends.
const MAX_QUOTED_SIZE: usize = 16 << 10;

/// The maximum number of names with separators in a nested value that are set apart from its values. A nested value with
/// more of them is examined as text, too.
const MAX_EXAMINED_MEMBER_NAMES: usize = 64;

/// The longest nested value that is examined, in bytes.
const MAX_NESTED_SIZE: usize = 64 << 10;

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

/// The end of the line that contains `at`.
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end)
}

/// The end of the quotation whose opening mark precedes `at`; `None` if it is not closed.
pub(super) fn closing_quote(text: &[u8], at: usize) -> Option<usize> {
    let quote = *text.get(at)?;
    let limit = text.len().min(at + MAX_QUOTED_SIZE).max(line_end(text, at));
    let mut from = at + 1;
    while let Some(next) = memchr::memchr(quote, &text[from..limit]) {
        let end = from + next;
        let backslashes = text[at + 1..end].iter().rev().take_while(|byte| **byte == b'\\').count();
        // SQL and YAML double a quotation mark. A `""` may be the end of a text within another one.
        let doubled = quote == b'\'' && end > at + 1 && text.get(end + 1) == Some(&quote);
        if backslashes % 2 == 1 || doubled {
            from = end + 1 + usize::from(doubled);
            continue;
        }
        return Some(end);
    }
    None
}

/// The inside of the quotation at `at`; up to the end of its line if it is not closed.
pub(super) fn quoted_span(text: &[u8], at: usize) -> (usize, usize) {
    (at + 1, closing_quote(text, at).unwrap_or_else(|| line_end(text, at).max(at + 1)))
}

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Returns whether the quotation mark at `at` closes a quotation, since no word continues behind it.
fn is_closing_quote(text: &[u8], at: usize) -> bool {
    text.get(at + 1).is_none_or(|after| {
        after.is_ascii_whitespace()
            || is_quote(*after)
            || matches!(after, b',' | b';' | b':' | b')' | b']' | b'}' | b'&' | b'>' | b'\\' | b'|' | b'%')
    })
}

/// The end of a value without quotation marks. It may contain white space only if it is the `whole_line`.
pub(super) fn unquoted_end(text: &[u8], begin: usize, whole_line: bool) -> usize {
    let in_json = memchr::memrchr(b'"', &text[..begin]).is_some();
    let mut end = begin;
    while let Some(&byte) = text.get(end) {
        let after = text.get(end + 1).copied();
        let stops = match byte {
            byte if byte.is_ascii_control() && byte != b'\t' => true,
            b'#' => whole_line && end > begin && is_blank(text[end - 1]),
            byte if byte.is_ascii_whitespace() => !whole_line,
            byte if is_quote(byte) => {
                let closes = if whole_line {
                    after.is_none_or(|after| matches!(after, b',' | b'}' | b']' | b'\\'))
                } else {
                    is_closing_quote(text, end)
                };
                if closes {
                    while end > begin && text[end - 1] == b'\\' {
                        end -= 1;
                    }
                }
                closes
            }
            b'<' => after == Some(b'/'),
            b',' | b';' | b'&' | b'|' if !whole_line => is_field_separator(text, end),
            // An escaped line end within JSON.
            b'\\' if in_json && matches!(after, Some(b'n' | b'r' | b't')) => {
                let run = text[begin..end].iter().rev().take_while(|byte| **byte == b'\\').count();
                run % 2 == 0
            }
            _ => false,
        };
        if stops {
            break;
        }
        end += 1;
    }
    while end > begin && text[end - 1].is_ascii_whitespace() {
        end -= 1;
    }
    // Closing brackets that belong to brackets opened before the value.
    while end > begin {
        let (opens, closes) = match text[end - 1] {
            b')' => (b'(', b')'),
            b']' => (b'[', b']'),
            b'}' => (b'{', b'}'),
            b'>' => (b'<', b'>'),
            b',' | b';' => {
                end -= 1;
                continue;
            }
            _ => break,
        };
        let count = |bracket| memchr::memchr_iter(bracket, &text[begin..end]).count();
        if count(opens) >= count(closes) {
            break;
        }
        end -= 1;
    }
    end
}

/// Returns whether the comma or similar byte at `at` separates two fields, and is not part of a value.
fn is_field_separator(text: &[u8], at: usize) -> bool {
    let rest = &text[at + 1..];
    let name = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b' '))
        .count();
    match rest.first() {
        None | Some(b'&') => true,
        Some(first) if first.is_ascii_whitespace() || is_quote(*first) => true,
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => match rest.get(name) {
            Some(b'=') => !rest[..name].contains(&b' ') || text[at] == b';',
            Some(b':') => text[at] == b',' && !rest[..name].contains(&b' '),
            // `&amp;`, or the next field of a query after one without a value.
            Some(b';') => text[at] == b'&',
            _ => false,
        },
        Some(_) => false,
    }
}

/// Adds the secret values in the brackets that begin at `at`, but not the names. `quote` is the position of a quotation
/// mark; with it, numbers become strings. Returns the end of the brackets.
fn take_nested(
    text: &[u8],
    at: usize,
    quote: Option<(usize, usize)>,
    found: &mut Vec<SecretSpan>,
    names: &mut Vec<Range<usize>>,
) -> usize {
    let (mut depth, mut from) = (0usize, at);
    let limit = text.len().min(at + MAX_NESTED_SIZE);
    while from < limit {
        match text[from] {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return from + 1;
                }
            }
            b'\\' => return from,
            byte if is_quote(byte) => {
                let (begin, end) = quoted_span(text, from);
                let after = skip_blanks(text, end + 1);
                let is_name = text.get(after) == Some(&b':');
                found.extend((!is_name && begin < end).then_some(SecretSpan::new(begin, end)));
                let has_separator = || text[begin..end].iter().any(|byte| b" \t=:".contains(byte));
                names.extend((is_name && has_separator()).then_some(begin..end));
                from = end;
            }
            byte if byte.is_ascii_whitespace() || matches!(byte, b',' | b':') => {}
            _ => {
                let is_end =
                    |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}') || is_quote(*byte);
                let end = from + text[from..].iter().position(is_end).unwrap_or(text.len() - from);
                let word = &text[from..end];
                let is_name = word.ends_with(b":");
                let nothing = EMPTY_VALUES.iter().any(|nothing| nothing.as_bytes().eq_ignore_ascii_case(word));
                found.extend((!is_name && !nothing).then_some(SecretSpan { begin: from, end, quote }));
                from = end;
                continue;
            }
        }
        from += 1;
    }
    from
}

/// The end of a string in three quotation marks, as in Python.
pub(super) fn triple_quoted_end(text: &[u8]) -> Option<usize> {
    let marks = text.get(..3).filter(|marks| marks.iter().all(|mark| *mark == text[0]))?;
    memchr::memmem::find(&text[3..], marks).map(|end| end + 3)
}
