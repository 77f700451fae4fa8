//! Text from outside: the lines themselves, and words that appear in messages of rtlogd.

use std::borrow::Cow;

/// The bytes as text, with U+FFFD in place of those that are not UTF-8. The result is that of [`String::from_utf8_lossy`],
/// which examines each byte by itself. This function is faster by an order of magnitude for valid text, and nearly every
/// line is valid.
pub(crate) fn lossy_text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Returns whether the character would begin a new line, control a terminal, or change the direction of writing
/// (UAX #9). A name or a reason with such a character could pass for something else.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{61C}')
}

/// The text with escapes such as `\n` in place of each character for which [`is_unsafe`] returns `true`.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// The text as one word of a command line, in quotes where a shell would change it otherwise.
pub(crate) fn shell_word(text: &str) -> String {
    // A leading `~` and an empty word have meanings of their own.
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:,+@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The error and all its causes, outermost first, on one line: `cannot read "x": permission denied`.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend([": ", &error.to_string()]);
        cause = error.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_as_by_the_standard_library() {
        for bytes in
            [&b""[..], b"plain", "größer 日本".as_bytes(), b"\xff", b"a\xe2\x82", b"\xe2\x82b\xf0\x9f", b"\xc0\x80"]
        {
            assert_eq!(lossy_text(bytes), String::from_utf8_lossy(bytes), "{bytes:?}");
            assert_eq!(matches!(lossy_text(bytes), Cow::Borrowed(_)), str::from_utf8(bytes).is_ok(), "{bytes:?}");
        }
    }

    #[test]
    fn a_word_of_a_command_line_is_quoted_where_a_shell_would_change_it() {
        for (text, word) in [
            ("/srv/app-1.log", "/srv/app-1.log"),
            ("http://ci:7070/streams/a", "http://ci:7070/streams/a"),
            ("ü.log", "ü.log"),
            ("", "''"),
            ("*.log", "'*.log'"),
            ("~", "'~'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn an_error_is_followed_by_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the key")]
        struct Unreadable(#[source] std::io::Error);
        let error = Unreadable(std::io::Error::other("the disk\nis gone"));
        assert_eq!(with_causes(&error), "cannot read the key: the disk\\nis gone");
        assert_eq!(with_causes(&std::io::Error::other("alone")), "alone");
    }

    #[test]
    fn a_name_is_one_line_that_does_nothing_to_a_terminal() {
        let table = [
            ("a b.log", "a b.log"),
            ("a\nrtlogd: forged", "a\\nrtlogd: forged"),
            ("a\r\tb", "a\\r\\tb"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("gpj\u{202e}exe.log", "gpj\\u{202e}exe.log"),
            ("\u{2066}a\u{2069}\u{200e}\u{2028}", "\\u{2066}a\\u{2069}\\u{200e}\\u{2028}"),
            ("a\u{200b}b\u{feff}\x7f\x08", "a\\u{200b}b\\u{feff}\\u{7f}\\u{8}"),
            ("ä € 漢字 → ✓", "ä € 漢字 → ✓"),
        ];
        for (text, expected) in table {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }
}
