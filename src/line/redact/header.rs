//! HTTP headers: credentials with any scheme, and cookies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::harmless::{ValueSeparator, is_harmless};
use super::names::SecretKind;
use super::stems::Stem;
use super::value::{FoundSecrets, is_blank, is_quote, line_end, quoted_span, skip_blanks, unquoted_end};

/// Well-known schemes, which are not redacted.
const KNOWN_AUTH_SCHEMES: [&[u8]; 24] = [
    b"bearer",
    b"basic",
    b"digest",
    b"token",
    b"apikey",
    b"api-key",
    b"key",
    b"negotiate",
    b"ntlm",
    b"kerberos",
    b"hawk",
    b"oauth",
    b"signature",
    b"hmac",
    b"jwt",
    b"vapid",
    b"dpop",
    b"mutual",
    b"hoba",
    b"aws4-hmac-sha256",
    b"scram-sha-1",
    b"scram-sha-256",
    b"geniekey",
    b"bot",
];

/// Cookie attributes that a server sends (RFC 6265, section 4.1.1).
const COOKIE_ATTRIBUTES: [&str; 9] =
    ["path", "domain", "expires", "max-age", "httponly", "secure", "samesite", "priority", "partitioned"];

/// The credentials after a scheme between `begin` and `end`, where no header is named.
pub(super) fn scheme(text: &[u8], begin: usize, end: usize, stem: Stem) -> Option<(usize, usize)> {
    let at = skip_blanks(text, end);
    if at == end || begin > 0 && text[begin - 1].is_ascii_alphanumeric() {
        return None;
    }
    if stem == Stem::Digest {
        let known = text[at..].get(..9).is_some_and(|begin| begin.eq_ignore_ascii_case(b"username="));
        return known.then(|| (at, parameters_end(text, at)));
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let token = &text[at..at + text[at..].iter().take_while(|byte| is_token(byte)).count()];
    // A `=` is allowed only as padding at the end; elsewhere it marks another field.
    if token.iter().skip_while(|byte| **byte != b'=').any(|byte| *byte != b'=') {
        return None;
    }
    let has = |what: fn(&u8) -> bool| token.iter().any(what);
    let digits = has(u8::is_ascii_digit);
    // The token is written like a word: lower case after the first letter.
    let word = token.iter().skip(1).all(|byte| byte.is_ascii_lowercase() || b"-./=".contains(byte));
    let secret = match stem {
        Stem::Basic => {
            let decoded = BASE64.decode(token.strip_suffix(b"==").or(token.strip_suffix(b"=")).unwrap_or(token));
            decoded.is_ok_and(|pair| pair.contains(&b':')) || token.len() >= 12 && digits && !word
        }
        _ => token.len() >= 8 && (digits || !word || token.len() >= 20 && !token.contains(&b'-')),
    };
    secret.then_some((at, at + token.len()))
}

/// The end of the parameters of a scheme, which are separated by commas and may be in quotation marks.
fn parameters_end(text: &[u8], mut at: usize) -> usize {
    let end = line_end(text, at);
    while at < end {
        let byte = text[at];
        if is_quote(byte) {
            if text[at - 1] != b'=' {
                break;
            }
            at = quoted_span(text, at).1.min(end - 1);
        } else if byte.is_ascii_control() && byte != b'\t' {
            break;
        } else if byte.is_ascii_whitespace() {
            let next = skip_blanks(text, at);
            if !text[..at].ends_with(b",") && text.get(next) != Some(&b',') || next >= end {
                break;
            }
            at = next;
            continue;
        }
        at += 1;
    }
    while at > 0 && text[at - 1] == b'\\' {
        at -= 1;
    }
    at
}

fn is_known_scheme(scheme: &[u8]) -> bool {
    KNOWN_AUTH_SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

/// The start of credentials that may have a scheme before them.
fn credentials_begin(text: &[u8], begin: usize, end: usize) -> usize {
    let word = begin + text[begin..end].iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let next = skip_blanks(text, word);
    if next < end && is_known_scheme(&text[begin..word]) { next } else { begin }
}

/// Redacts the value of an `Authorization` header that begins at `at`.
pub(super) fn authorization(
    text: &[u8],
    join: ValueSeparator,
    at: usize,
    whole_line: bool,
    quote: Option<(usize, usize)>,
    found: &mut FoundSecrets,
) {
    if let Some((begin, end)) = value_bounds(text, at, whole_line, quote, found) {
        let begin = credentials_begin(text, begin, end);
        let credentials = &text[begin..end];
        let join = if whole_line { join } else { ValueSeparator::Quoted };
        if !is_known_scheme(credentials) && !is_harmless(SecretKind::Authorization, join, credentials) {
            found.take(begin, end);
        }
        return;
    }
    if !is_unescaped(text, at) {
        return;
    }
    let end = unquoted_end(text, at, false);
    let word = &text[at..end];
    let next = skip_blanks(text, end);
    let follows =
        next > end && text.get(next).is_some_and(|byte| !byte.is_ascii_whitespace() && !b"|;&>\\\"'".contains(byte));
    if is_known_scheme(word) {
        if follows {
            found.take(next, parameters_end(text, next));
        }
    } else if !is_harmless(SecretKind::Authorization, join, word) {
        // Any word may be a scheme.
        let scheme = word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        let whole = follows && scheme && join == ValueSeparator::Colon;
        found.take(at, if whole { parameters_end(text, next) } else { end });
    }
}

/// The bounds of a value in quotation marks, or up to the end of the line. A value in brackets is redacted at once; the
/// result is then empty.
fn value_bounds(
    text: &[u8],
    at: usize,
    whole_line: bool,
    quote: Option<(usize, usize)>,
    found: &mut FoundSecrets,
) -> Option<(usize, usize)> {
    match text[at] {
        first if is_quote(first) => Some(quoted_span(text, at)),
        b'[' | b'{' if !text[at..].starts_with(super::REDACTION_MARK) => {
            found.take_nested(text, at, quote);
            Some((at, at))
        }
        _ if whole_line && is_unescaped(text, at) => Some((at, unquoted_end(text, at, true))),
        _ => None,
    }
}

/// Returns whether the value is neither a redaction mark nor in a further level of escapes.
fn is_unescaped(text: &[u8], at: usize) -> bool {
    let escaped = text[at..].iter().find(|byte| **byte != b'\\').is_some_and(|byte| is_quote(*byte));
    !(text[at..].starts_with(super::REDACTION_MARK) || text[at] == b'\\' && escaped)
}

/// Redacts the values of all cookies of a header that begins at `at`.
pub(super) fn cookies(
    text: &[u8],
    join: ValueSeparator,
    at: usize,
    whole_line: bool,
    quote: Option<(usize, usize)>,
    found: &mut FoundSecrets,
) {
    let bounded = value_bounds(text, at, whole_line, quote, found);
    if bounded.is_none() && !is_unescaped(text, at) {
        return;
    }
    let (begin, end) = bounded.unwrap_or_else(|| (at, header_end(text, at)));
    if !is_harmless(
        SecretKind::Cookie,
        if whole_line || bounded.is_none() { join } else { ValueSeparator::Quoted },
        &text[begin..end],
    ) {
        take_cookie_pairs(text, begin, end, found);
    }
    found.decide(begin, end);
}

/// The end of a cookie header in the middle of a line.
fn header_end(text: &[u8], mut at: usize) -> usize {
    loop {
        let end = unquoted_end(text, at, false);
        let Some(b';' | b',') = text.get(end) else { return end };
        let next = skip_blanks(text, end + 1);
        let name = text[next..].iter().take_while(|byte| is_token(**byte)).count();
        let word = text[next..next + name].to_ascii_lowercase();
        let attribute = COOKIE_ATTRIBUTES.iter().any(|attribute| attribute.as_bytes() == word);
        if name == 0 || text.get(next + name) != Some(&b'=') && !attribute {
            return end;
        }
        // A date contains blanks.
        at = if word == b"expires" {
            memchr::memchr(b';', &text[next..line_end(text, next)]).map_or(next, |at| next + at)
        } else {
            next
        };
        if at == end {
            return end;
        }
    }
}

/// Returns whether a byte may be in a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn take_cookie_pairs(text: &[u8], begin: usize, end: usize, found: &mut FoundSecrets) {
    let mut at = begin;
    while at < end {
        let stop = at
            + text[at..end]
                .iter()
                .enumerate()
                .position(|(from, byte)| is_cookie_separator(text, at + from, end, *byte))
                .unwrap_or(end - at);
        let pair = at + text[at..stop].iter().take_while(|byte| is_blank(**byte)).count();
        let equals = memchr::memchr(b'=', &text[pair..stop]).map_or(stop, |equals| pair + equals);
        let name = text[pair..equals].trim_ascii().to_ascii_lowercase();
        if !COOKIE_ATTRIBUTES.iter().any(|attribute| attribute.as_bytes() == name) {
            let value = if equals < stop { equals + 1 } else { pair };
            let (value, stop) = (value.min(stop), value + text[value..stop].trim_ascii_end().len());
            let (value, stop) = match (text.get(value), text.get(stop.wrapping_sub(1))) {
                (Some(b'"'), Some(b'"')) if stop > value + 1 => (value + 1, stop - 1),
                _ => (value, stop),
            };
            found.take(value, stop);
        }
        at = stop + 1;
    }
}

/// Returns whether the byte at `at` separates two cookies, or two headers that were joined.
fn is_cookie_separator(text: &[u8], at: usize, end: usize, byte: u8) -> bool {
    if byte != b',' {
        return byte == b';';
    }
    let next = skip_blanks(text, at + 1).min(end);
    let name = text[next..end].iter().take_while(|byte| is_token(**byte)).count();
    name > 0 && text.get(next + name) == Some(&b'=') && next > at + 1
}
