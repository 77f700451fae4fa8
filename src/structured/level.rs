//! The level that a line declares.

use crate::event::{Event, EventKind, Flags, Level, visible_text};

use super::{level_head, level_member, level_word};

/// The level of a line: the one that its source gave or that was read when it was appended. The text is only read for
/// lines that were recorded by a version that did not.
pub fn level_of(event: &Event<'_>) -> Option<Level> {
    if event.kind != EventKind::Line || event.flags.has(Flags::LEVEL_EXAMINED) {
        return event.flags.level();
    }
    event.flags.level().or_else(|| level_of_text(event.text))
}

/// The level that a line declares; of a line with several rows, the first one decides.
///
/// Cost: one search for escape sequences, and the head of the line; all of a JSON object or a logfmt line.
pub fn level_of_text(line: &[u8]) -> Option<Level> {
    let text = visible_text(line);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let text = text.trim_ascii_start();
    match text {
        [b'{', ..] => {
            if let Some(level) = level_member::of_json(text) {
                return level;
            }
        }
        // A PRI (RFC 5424, section 6.2.1), or the prefix of sd-daemon(3).
        [b'<', b'0'..=b'9', ..] => {
            let length = text.iter().take(5).position(|byte| *byte == b'>').unwrap_or_default();
            let priority = text.get(1..length).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u8>().ok());
            if let Some(priority) = priority.filter(|priority| *priority <= 191) {
                return level_word::from_priority(priority);
            }
        }
        _ => {}
    }
    level_head::level(&text[..memchr::memchr(b'\n', text).unwrap_or(text.len())])
}
