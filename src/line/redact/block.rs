//! YAML block scalars (1.2.2, section 8.1): a header such as `password: |`, followed by lines with a deeper
//! indentation.

use super::carry::Carry;
use super::value::{SecretSpan, is_blank, line_end};

/// A block whose header was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct YamlBlock {
    /// The column at which its name begins; the lines of the block are indented deeper.
    pub(super) column: usize,
    /// Text other than white space precedes the name, and precedes the lines of the block.
    pub(super) prefixed: bool,
    /// The maximum number of lines that follow.
    pub(super) lines: usize,
    /// The block is inside quotation marks, and ends with them.
    pub(super) quoted: bool,
}

/// Returns whether the rest of a line is the header of a block: `|`, `>-`, `|2 # comment`.
pub(super) fn is_head(text: &[u8]) -> bool {
    let [b'|' | b'>', head @ ..] = text.trim_ascii_end() else { return false };
    let indicators = head.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-')).count();
    let rest = head[indicators..].trim_ascii_start();
    rest.is_empty() || rest.starts_with(b"#")
}

/// Returns whether the text begins with the header of a block whose line ends with an escape. The block is then found
/// in another reading of the line.
pub(super) fn is_escaped_head(text: &[u8]) -> bool {
    let head = text.iter().take_while(|byte| b"|>+-0123456789".contains(byte)).count();
    let rest = text[head..].trim_ascii_start();
    let begins = matches!(text.first(), Some(b'|' | b'>'));
    begins && rest.starts_with(b"\\") && rest.iter().find(|byte| **byte != b'\\') == Some(&b'n')
}

impl YamlBlock {
    /// Adds the text of the block's lines, which begin at `at`. Returns the end of the block, and the state for the
    /// lines after the text.
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
