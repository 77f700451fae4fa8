//! Blocks of YAML (1.2.2, section 8.1): a head such as `password: |`, and deeper lines behind it.

use super::carry::Carry;
use super::value::{SecretSpan, is_blank, line_end};

/// A block whose head was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlBlock {
    /// Where its name begins in its line: its own lines are indented deeper.
    pub(super) column: usize,
    /// Something other than white space stands before the name, and before the lines.
    pub(super) prefixed: bool,
    /// At most this many lines are to come.
    pub(super) lines: usize,
    /// It stands in quotation marks, and ends with them.
    pub(super) quoted: bool,
}

/// Whether a line ends with this head of a block: `|`, `>-`, `|2 # comment`.
pub(super) fn is_head(text: &[u8]) -> bool {
    let [b'|' | b'>', head @ ..] = text.trim_ascii_end() else { return false };
    let indicators = head.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-')).count();
    let rest = head[indicators..].trim_ascii_start();
    rest.is_empty() || rest.starts_with(b"#")
}

/// Whether the text begins with the head of a block, and the end of its line is an escape: then it is another reading of the
/// line in which it is one.
pub(super) fn is_escaped_head(text: &[u8]) -> bool {
    let head = text.iter().take_while(|byte| b"|>+-0123456789".contains(byte)).count();
    let rest = text[head..].trim_ascii_start();
    let begins = matches!(text.first(), Some(b'|' | b'>'));
    begins && rest.starts_with(b"\\") && rest.iter().find(|byte| **byte != b'\\') == Some(&b'n')
}

impl YamlBlock {
    /// Adds the text of the block's lines, which begin at `at`. Returns where the block ends, and whether it goes on behind
    /// the text.
    pub(super) fn find_secrets(self, text: &[u8], mut at: usize, found: &mut Vec<SecretSpan>) -> (usize, Carry) {
        let Self { column, prefixed, lines, quoted } = self;
        for left in (0..lines).rev() {
            let end = line_end(text, at);
            let line = &text[at..end];
            let closes = memchr::memchr(b'"', line).filter(|_| quoted);
            let line = line[..closes.unwrap_or(line.len())].trim_ascii_end();
            let indent = line.iter().take_while(|byte| is_blank(**byte)).count();
            let from = if prefixed { column.min(line.len()) } else { indent };
            let inside = &line[from..];
            let deeper = if prefixed { inside.first().is_none_or(|byte| is_blank(*byte)) } else { indent > column };
            if !line.is_empty() && !deeper {
                return (at, Carry::Nothing);
            }
            let begin = from + inside.iter().take_while(|byte| is_blank(**byte)).count();
            found.extend((begin < line.len()).then_some(SecretSpan::new(at + begin, at + line.len())));
            if let Some(closes) = closes {
                return (at + closes, Carry::Nothing);
            }
            if end == text.len() {
                let goes_on = Carry::Block { column, prefixed, lines: left };
                return (end, if left > 0 { goes_on } else { Carry::Nothing });
            }
            at = end + 1;
        }
        (at, Carry::Nothing)
    }
}
