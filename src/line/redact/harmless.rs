//! Values that are not secrets although they follow the name of one.

use std::ops::Range;

use super::names::SecretKind;
use super::value::{EMPTY_VALUES, is_quote, line_end};

/// Words with which a sentence about a secret continues, as opposed to the secret itself.
const PROSE_WORDS: [&str; 78] = [
    "a",
    "accepted",
    "an",
    "and",
    "are",
    "authentication",
    "basic",
    "bearer",
    "can",
    "cannot",
    "changed",
    "check",
    "checked",
    "could",
    "denied",
    "digest",
    "disabled",
    "does",
    "doesn't",
    "empty",
    "enabled",
    "expired",
    "expires",
    "failed",
    "for",
    "found",
    "from",
    "generated",
    "granted",
    "has",
    "in",
    "include",
    "incorrect",
    "invalid",
    "is",
    "isn't",
    "it",
    "missing",
    "must",
    "needed",
    "negotiate",
    "no",
    "not",
    "omit",
    "of",
    "ok",
    "okay",
    "omitted",
    "optional",
    "or",
    "please",
    "provided",
    "received",
    "refreshed",
    "rejected",
    "renewed",
    "required",
    "reset",
    "revoked",
    "rotated",
    "same-origin",
    "set",
    "should",
    "success",
    "that",
    "the",
    "this",
    "to",
    "too",
    "unauthorized",
    "unknown",
    "updated",
    "valid",
    "verified",
    "was",
    "which",
    "with",
    "wrong",
];

/// Returns whether the value is a reference to one stored elsewhere: `${NAME}`, `$(command)`, `{{ .Values.x }}`,
/// `<password>`.
pub(super) fn is_reference(value: &[u8]) -> bool {
    let inside =
        |begin: &[u8], end: &[u8]| value.len() > begin.len() && value.starts_with(begin) && value.ends_with(end);
    let plain = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-. []'\":/".contains(byte));
    if inside(b"${", b"}") || inside(b"<", b">") {
        let from = if value.starts_with(b"$") { 2 } else { 1 };
        return plain(&value[from..value.len() - 1]) && !value.contains(&b':');
    }
    if inside(b"%(", b")s") || inside(b"{{", b"}}") || inside(b"$(", b")") || inside(b"<%", b"%>") {
        return true;
    }
    let name = value.strip_prefix(b"$").unwrap_or_default();
    let variable = name.first().is_some_and(u8::is_ascii_uppercase)
        && name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    variable || matches!(value, b"%s" | b"%v" | b"%q" | b"%d" | b"{}" | b"?" | b"$1" | b"$2" | b"$?")
}

/// The separator between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueSeparator {
    /// `=` or an equivalent.
    Equals,
    /// `:`
    Colon,
    /// `is`, or a blank: the rest may be a sentence.
    Word,
    /// The value is in quotation marks.
    Quoted,
}

/// Returns whether the value is not a secret although it follows the name of one.
pub(super) fn is_harmless(kind: SecretKind, join: ValueSeparator, value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let word = std::str::from_utf8(&lower).unwrap_or("\u{fffd}");
    let masked = value.iter().all(|byte| b"*.xX\xe2\x80\xa2-_ ?".contains(byte));
    if masked || EMPTY_VALUES.contains(&word) || is_reference(value) || value == super::REDACTION_MARK {
        return true;
    }
    let first = word.split([' ', ',', '.', ';', '!', ')', '(', ':']).next().unwrap_or_default();
    let sentence = match join {
        ValueSeparator::Colon | ValueSeparator::Word => PROSE_WORDS.contains(&first) || word.starts_with('('),
        ValueSeparator::Equals => {
            PROSE_WORDS.contains(&word)
                && matches!(kind, SecretKind::Auth | SecretKind::Authorization | SecretKind::Cookie | SecretKind::Token)
        }
        ValueSeparator::Quoted => {
            matches!(kind, SecretKind::Auth | SecretKind::Authorization | SecretKind::Cookie)
                && PROSE_WORDS.contains(&word)
        }
    };
    // The credentials modes of a browser request (Fetch, 5.3).
    if sentence || kind == SecretKind::Secret && matches!(word, "include" | "omit" | "same-origin") {
        return true;
    }
    let digits = value.iter().all(|byte| byte.is_ascii_digit() || b".,%/".contains(byte));
    let letters = value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_ '".contains(byte));
    match kind {
        SecretKind::Password | SecretKind::Authorization => {
            join == ValueSeparator::Word && value.iter().all(u8::is_ascii_lowercase)
        }
        SecretKind::Cookie => false,
        SecretKind::Pass => digits || matches!(word, "ok" | "fail" | "warn" | "pass"),
        SecretKind::Pwd => value.starts_with(b"/") || value.starts_with(b"~") || value.starts_with(b"."),
        SecretKind::Secret | SecretKind::Token => {
            digits && value.len() < 6
                || is_path(value)
                || join == ValueSeparator::Word && letters
                || kind == SecretKind::Token && value.len() < 3
        }
        SecretKind::Auth => !looks_encoded(value),
        SecretKind::File => value.contains(&b'/') || is_file(value),
    }
}

/// Returns whether the value looks like Base64 or a hash: letters and digits, and not a word.
fn looks_encoded(value: &[u8]) -> bool {
    let mixed = value.iter().any(u8::is_ascii_digit)
        || value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
    let encoded = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.:".contains(byte));
    value.len() >= 12 && mixed && encoded || value.len() >= 8 && value.ends_with(b"=") && encoded
}

/// Returns whether the value is a file path, where a key may be one. Base64 may begin with a slash, too, but not with
/// these paths.
fn is_path(value: &[u8]) -> bool {
    const PATH_ROOTS: [&[u8]; 19] = [
        b"/etc/",
        b"/var/",
        b"/home/",
        b"/root/",
        b"/run/",
        b"/usr/",
        b"/opt/",
        b"/srv/",
        b"/tmp/",
        b"/mnt/",
        b"/data/",
        b"/app/",
        b"/secrets/",
        b"/dev/",
        b"/proc/",
        b"/config/",
        b"./",
        b"../",
        b"~/",
    ];
    PATH_ROOTS.iter().any(|root| value.starts_with(root)) || value.starts_with(b"file:")
}

fn is_file(value: &[u8]) -> bool {
    const SECRET_FILE_EXTENSIONS: [&[u8]; 15] = [
        b"txt", b"key", b"pem", b"json", b"yaml", b"yml", b"conf", b"cfg", b"ini", b"env", b"crt", b"p12", b"pfx",
        b"jks", b"pub",
    ];
    let ending = value.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    ending.len() < value.len() && SECRET_FILE_EXTENSIONS.contains(&ending)
        || value.ends_with(b"passwd")
        || value.ends_with(b"id_rsa")
}

/// Returns whether the word before a token, which begins at `begin`, identifies it as a token of a parser.
pub(super) fn is_parser_token(text: &[u8], begin: usize) -> bool {
    let before = text[..begin].trim_ascii_end();
    let word = before.rsplit(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
    let known = [&b"unexpected"[..], b"expected", b"next", b"lookahead", b"current", b"offending", b"syntax"];
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns whether a reference in brackets, which may contain blanks, begins at `at`.
pub(super) fn is_reference_at(text: &[u8], at: usize) -> bool {
    let line = &text[at..line_end(text, at)];
    let Some(end) = memchr::memchr3(b'}', b')', b'>', line) else { return false };
    let ends = line
        .get(end + 1)
        .is_none_or(|after| after.is_ascii_whitespace() || is_quote(*after) || b",;&)}]/:@\\".contains(after));
    ends && is_reference(&line[..=end])
}

/// Returns whether the word after an option is a placeholder: `[--password PASSWORD]`.
pub(super) fn is_placeholder(text: &[u8], name: Range<usize>, value: Range<usize>) -> bool {
    let (after, name, value) = (text.get(value.end), &text[name], &text[value]);
    let shouted = value.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    let described = matches!(value, b"string" | b"str" | b"text" | b"value" | b"arg" | b"file") && after == Some(&b' ');
    shouted && (after == Some(&b']') || name.eq_ignore_ascii_case(value)) || described
}

/// Returns whether the value is a function call in a program: `lexer.next()`.
pub(super) fn is_call(value: &[u8]) -> bool {
    let name = value.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_.:".contains(byte)).count();
    let end = value.trim_ascii_end();
    name > 0 && value.get(name) == Some(&b'(') && (end.ends_with(b")") || end.ends_with(b");"))
}
