//! Redaction: secrets are removed from lines before anything else sees them. Each is replaced by [`REDACTION_MARK`];
//! the rest of the line is unchanged, and JSON stays JSON.
//!
//! A line goes through these steps:
//! 1. `stems` searches the line once for words that may begin a secret. Most lines have none, and are done.
//! 2. `decoded` makes the readings of the line: its visible text, and the same with one level of escapes after the
//!    other undone.
//! 3. `finder` finds the secrets of each reading: behind a name (`names`, `value`, `harmless`; over several lines
//!    `block`), in an XML element (`xml`), in an HTTP header (`header`), in a URL (`url`), in the arguments of a
//!    program (`command`), or by their format (`formats`).
//! 4. The secrets are mapped back to the bytes of the line. `carry` says what continues in the next line.
//!
//! Redaction is a safety net, not a guarantee: a secret of unknown form that has no name before it is not recognised.

mod block;
mod carry;
mod command;
mod finder;
mod formats;
mod harmless;
mod header;
mod json;
mod names;
mod stems;
#[cfg(test)]
mod tests;
mod url;
mod value;
mod decoded;
mod xml;

use std::fmt;
use std::sync::{Arc, LazyLock};

use memchr::memmem;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::split::{Line, MIN_LINE_LIMIT, prefix_at_boundary};
use decoded::DecodedText;
use value::SecretSpan;

pub use carry::{BadCarry, Carry, MAX_SECRET_LINES};

/// The text that replaces a secret.
pub const REDACTION_MARK: &[u8] = b"[redacted]";

/// The number of bytes at the end of a piece that are held back, so that a secret is not split; a secret across the
/// split may have four times as many. Longer lines are split earlier by this number.
const MAX_HELD_BYTES: usize = 1 << 10;

/// The maximum number of escape levels that are undone. Each level halves the backslashes, and a line has at most 2^18
/// bytes by default.
const MAX_ESCAPE_LEVELS: usize = 20;

/// A private key (RFC 7468, and the format of SSH2); its end may be in a later line.
const PRIVATE_KEY_BEGIN: &str = r"(?-u)-----?\s?BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?\s?-----?";
const PRIVATE_KEY_END: &str = r"(?-u)-----?\s?END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?\s?-----?";

static PRIVATE_KEY_BOUNDS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
    [PRIVATE_KEY_BEGIN, PRIVATE_KEY_END].map(|pattern| Regex::new(pattern).expect("the pattern is right"))
});

/// Redacts the lines of one source. Holds at most four kilobytes of a line that is split.
#[derive(Debug, Clone)]
pub struct Redactor {
    user_patterns: Arc<[Regex]>,
    carry: Carry,
    /// The bytes held back of a line that is continued.
    tail: Vec<u8>,
    /// The next piece is not the first of its line.
    continues: bool,
    max_held: usize,
    redacted: u64,
    /// Memory for the search of stems; it holds nothing between two lines.
    scratch: Vec<u8>,
}

/// The state of a [`Redactor`] for another process. It contains secrets.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct PackedRedaction {
    carry: String,
    tail: Vec<u8>,
    continues: bool,
}

impl fmt::Debug for PackedRedaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedRedaction").field("carry", &self.carry).finish_non_exhaustive()
    }
}

/// A text whose secrets were found.
struct SearchedText<'a> {
    text: &'a [u8],
    /// The end of the part that is emitted; the rest is held back.
    end: usize,
    /// The secrets that begin before `end`.
    secrets: Vec<SecretSpan>,
}

impl Redactor {
    /// Creates a redactor with these patterns in addition to the known formats. If a pattern has a group named
    /// `secret`, only the group is redacted.
    ///
    /// Also returns the maximum size of an input piece, such that output has at most `max` bytes. A mark may be longer
    /// than the secret that it replaces: then a piece is cut off at its end.
    pub fn new(own: Vec<Regex>, max: usize) -> (Self, usize) {
        let room = (4 * MAX_HELD_BYTES).min(max / 2);
        let carry = Carry::Nothing;
        let (tail, scratch) = (Vec::new(), Vec::new());
        let new =
            Self { user_patterns: own.into(), carry, tail, continues: false, max_held: room / 4, redacted: 0, scratch };
        (new, max - room)
    }

    /// The number of secrets redacted since the last call.
    pub fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.redacted)
    }

    /// The state for the next lines.
    pub fn carry(&self) -> Carry {
        self.carry
    }

    /// Continues from the [`carry`](Self::carry) of another redactor.
    pub fn resume(&mut self, carry: Carry) {
        self.carry = carry.bounded();
    }

    /// The state for another process.
    pub fn pack(&self) -> PackedRedaction {
        PackedRedaction { carry: self.carry.to_string(), tail: self.tail.clone(), continues: self.continues }
    }

    /// Continues a packed state.
    pub fn unpack(&mut self, packed: PackedRedaction) {
        self.resume(packed.carry.parse().unwrap_or_default());
        (self.tail, self.continues) = (packed.tail, packed.continues);
    }

    /// The number of bytes that are held back.
    pub fn held(&self) -> usize {
        self.tail.len()
    }

    /// Redacts a short text that is not part of the lines, such as the name of the sender of lines.
    pub fn redact_name(&self, text: &str) -> String {
        let own = Self { carry: Carry::Nothing, continues: false, ..self.clone() };
        let (found, _) = own.search(text.as_bytes(), &mut Vec::new());
        String::from_utf8_lossy(&replace_secrets(text.as_bytes(), &found)).into_owned()
    }

    /// Passes the redacted line to `give`. The end of a continued line comes with the next piece.
    pub fn redact_line(&mut self, line: Line<'_>, max: usize, give: &mut impl FnMut(Line<'_>)) {
        if !self.continues && !line.continued {
            let found = self.find(line.text);
            if found.is_empty() {
                let text = line.text.get(..max).unwrap_or(line.text);
                return give(Line { text, ..line });
            }
            let whole = SearchedText { text: line.text, end: line.text.len(), secrets: found };
            return give(Line { text: &self.replace(whole, max), ..line });
        }
        let joined = [std::mem::take(&mut self.tail).as_slice(), line.text].concat();
        let before = self.carry;
        let mut found = self.find(&joined);
        self.continues = line.continued;
        let in_block = |carry: Carry| matches!(carry, Carry::Block { .. } | Carry::Value);
        if line.continued && in_block(self.carry) && !in_block(before) {
            // The end of this piece is not the end of the line.
            self.carry = before;
        }
        let mut end = joined.len();
        if line.continued {
            end = end.saturating_sub(self.max_held);
            if end >= MIN_LINE_LIMIT && self.max_held > 0 {
                end = prefix_at_boundary(&joined, end).len();
            }
            if let Some(secret) = found.iter().find(|secret| secret.begin < end && end < secret.end) {
                let whole = secret.end < joined.len() || joined.len() - secret.begin > 4 * self.max_held;
                end = if whole { secret.end } else { secret.begin };
            }
            found.retain(|secret| secret.begin < end);
            self.tail = joined[end..].to_vec();
        }
        let text = self.replace(SearchedText { text: &joined, end, secrets: found }, max);
        give(Line { text: &text, ..line });
    }

    /// The part of a text that is emitted, without its secrets and at most `max` bytes long. The secrets are counted.
    fn replace(&mut self, searched: SearchedText<'_>, max: usize) -> Vec<u8> {
        let SearchedText { text, end, mut secrets } = searched;
        let mut out = replace_secrets(&text[..end], &secrets);
        if end == text.len() && json::is_json(text) && !json::is_json(&out) {
            secrets = json::within_strings(text, &secrets);
            out = replace_secrets(text, &secrets);
        }
        self.redacted += secrets.len() as u64;
        if out.len() > max {
            out.truncate(prefix_at_boundary(&out, max).len());
        }
        out
    }

    /// The part of an unfinished line that may be shown: up to its last white space, since the rest may be the
    /// beginning of a secret.
    pub fn redact_open(&self, text: &[u8]) -> Vec<u8> {
        let whole = [self.tail.as_slice(), text].concat();
        let end = whole.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
        let shown = &whole[..end];
        // Nothing is counted here, and no key begins before its line is finished: the state after it is not kept.
        let (found, _) = self.search(shown, &mut Vec::new());
        replace_secrets(shown, &found)
    }

    /// The secrets of the next line. Keeps the state after it.
    fn find(&mut self, line: &[u8]) -> Vec<SecretSpan> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let (found, after) = self.search(line, &mut scratch);
        (self.scratch, self.carry) = (scratch, after);
        found
    }

    /// The secrets of a line, in order and not overlapping, and the state after it.
    fn search(&self, line: &[u8], scratch: &mut Vec<u8>) -> (Vec<SecretSpan>, Carry) {
        let hides = decoded::has_invisible(line);
        if !hides && self.carry == Carry::Nothing && self.user_patterns.is_empty() && !stems::may_have(line, scratch) {
            return (Vec::new(), Carry::Nothing);
        }
        let mut found = Vec::new();
        let (view, strings) =
            if hides { DecodedText::of(line).visible_text() } else { (DecodedText::of(line), Vec::new()) };
        let after = self.scan(&view, self.carry, scratch, &mut found);
        for string in strings {
            self.scan(&string, Carry::Nothing, scratch, &mut found);
        }
        if hides {
            // An escape may have consumed the first letter of a name.
            self.scan(&DecodedText::of(line), Carry::Nothing, scratch, &mut found);
        }
        (merge_overlapping(found), after)
    }

    /// Adds the secrets of a reading of the line, and of the same text with its escapes undone. `carry` is the state
    /// before it; returns the state after it.
    fn scan(&self, view: &DecodedText<'_>, carry: Carry, scratch: &mut Vec<u8>, found: &mut Vec<SecretSpan>) -> Carry {
        let text = &view.text[..];
        for pattern in self.user_patterns.iter() {
            let secrets =
                pattern.captures_iter(text).filter_map(|captures| captures.name("secret").or(captures.get(0)));
            add_secrets(view, secrets.map(|secret| SecretSpan::new(secret.start(), secret.end())), found);
        }
        if carry == Carry::Nothing && !stems::may_have(text, scratch) {
            return Carry::Nothing;
        }
        let (secrets, mut after) = match carry {
            // The text continues a line that was in the block.
            Carry::Block { .. } if self.continues => (vec![SecretSpan::new(0, text.len())], carry),
            _ => finder::find(text, carry, !self.continues),
        };
        add_secrets(view, secrets, found);
        let (keys, key) = private_keys(text, carry);
        add_secrets(view, keys, found);
        if key != Carry::Nothing {
            after = key;
        }
        self.scan_unescaped(view, decoded::ESCAPE_INTRODUCERS, found);
        if memchr::memchr2(b'%', b'&', text).is_some() {
            self.scan_unescaped(view, decoded::BACKSLASH_INTRODUCERS, found);
        }
        after
    }
}

impl Redactor {
    /// Adds the secrets of a reading with the escapes undone that begin with one of `marks`, level after level.
    fn scan_unescaped(&self, view: &DecodedText<'_>, marks: [u8; 3], found: &mut Vec<SecretSpan>) {
        let mut level: Vec<_> = view.unescaped(marks).into_iter().collect();
        for _ in 0..MAX_ESCAPE_LEVELS {
            let mut next = Vec::new();
            for view in &level {
                self.scan_json_strings(view, found);
                if !decoded::has_invisible(&view.text) {
                    next.extend(view.unescaped(marks));
                    continue;
                }
                // A colour may be within an escape of the next level, and a control string without an end may contain
                // the rest of the line. Together they are no longer than the text from which they were taken.
                let (seen, strings) = view.visible_text();
                for view in std::iter::once(&seen).chain(&strings) {
                    self.scan_json_strings(view, found);
                    next.extend(view.unescaped(marks));
                }
            }
            level = next;
        }
    }

    /// Adds the secrets of a line with its escapes undone.
    fn scan_json_strings(&self, view: &DecodedText<'_>, found: &mut Vec<SecretSpan>) {
        add_secrets(view, finder::find(&view.text, Carry::Nothing, !self.continues).0, found);
        add_secrets(view, private_keys(&view.text, Carry::Nothing).0, found);
    }
}

/// The private keys of a text, and the state with the number of lines that may follow.
fn private_keys(text: &[u8], carry: Carry) -> (Vec<SecretSpan>, Carry) {
    let mut found = Vec::new();
    let mut left = if let Carry::Key(lines) = carry { lines } else { 0 };
    if left == 0 && memmem::find(text, b"PRIVATE KEY").is_none() {
        return (found, Carry::Nothing);
    }
    let [begins, ends] = &*PRIVATE_KEY_BOUNDS;
    let mut from = 0;
    while let Some(begin) = if left > 0 { Some(from) } else { begins.find_at(text, from).map(|begin| begin.start()) } {
        if let Some(end) = ends.find_at(text, begin) {
            left = 0;
            from = end.end();
            found.push(SecretSpan::new(begin, from));
        } else {
            left = if left > 0 { left - 1 } else { MAX_SECRET_LINES };
            found.push(SecretSpan::new(begin, text.len()));
            break;
        }
    }
    (found, Carry::Key(left).bounded())
}

/// Adds secrets found in a reading of the line, as positions in the line.
fn add_secrets(view: &DecodedText<'_>, secrets: impl IntoIterator<Item = SecretSpan>, found: &mut Vec<SecretSpan>) {
    found.extend(secrets.into_iter().filter(|secret| secret.begin < secret.end).map(|secret| {
        let (begin, end) = view.line_range(secret.begin, secret.end);
        let quote = secret.quote.map(|(begin, end)| view.line_range(begin, end));
        SecretSpan { begin, end, quote }
    }));
}

/// Sorts the secrets, and joins those that overlap.
fn merge_overlapping(mut found: Vec<SecretSpan>) -> Vec<SecretSpan> {
    found.sort_unstable();
    found.dedup_by(|next, before| {
        let within = next.begin < before.end;
        if within {
            let same = (next.begin, next.end) == (before.begin, before.end);
            before.quote = if same {
                before.quote.or(next.quote)
            } else if next.end > before.end {
                None
            } else {
                before.quote
            };
            before.end = before.end.max(next.end);
        }
        within
    });
    found
}

fn replace_secrets(text: &[u8], found: &[SecretSpan]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for SecretSpan { begin, end, quote } in found {
        let (begin, end) = ((*begin).min(text.len()), (*end).min(text.len()));
        let quote = quote.and_then(|(begin, end)| text.get(begin..end)).unwrap_or_default();
        out.extend_from_slice(&text[from..begin]);
        out.extend([quote, REDACTION_MARK, quote].concat());
        out.extend(decoded::invisible_within(text, begin, end));
        from = end;
    }
    out.extend_from_slice(&text[from..]);
    out
}
