//! Credentials in URLs (RFC 3986, section 3.2.1), including passwords with characters that are not allowed there.

use memchr::memmem;

/// User names that are not secret if there is no password.
const HARMLESS_USERS: [&[u8]; 4] = [b"git", b"hg", b"svn", b"anonymous"];

/// Schemes in which a name without a password before the `@` may be a token.
const SCHEMES_WITH_LONE_TOKENS: [&[u8]; 6] = [b"http", b"https", b"ws", b"wss", b"git+https", b"git+http"];

/// The longest user and password that are searched for before a network name, in bytes.
const MAX_USERINFO_SIZE: usize = 256;

/// Finds the secrets of all URLs in the text.
pub(crate) fn find(text: &[u8], found: &mut Vec<(usize, usize)>) {
    let mut urls = memmem::find_iter(text, b"://").map(|at| at + 3).peekable();
    while let Some(begin) = urls.next() {
        // A URL within another one begins with its own scheme.
        let limit = urls.peek().map_or(text.len(), |next| next - 3);
        let end = begin + text[begin..limit].iter().position(|byte| is_end(*byte)).unwrap_or(limit - begin);
        userinfo(text, begin, end, found);
    }
    // The format of the MySQL driver for Go: user:password@tcp(host).
    for network in [&b"@tcp("[..], b"@unix(", b"@tcp6("] {
        for at in memmem::find_iter(text, network) {
            let limit = at.saturating_sub(MAX_USERINFO_SIZE);
            let begin =
                text[limit..at].iter().rposition(|byte| is_end(*byte)).map_or(limit, |before| limit + before + 1);
            if let Some(colon) = memchr::memchr(b':', &text[begin..at])
                && begin + colon + 1 < at
            {
                found.push((begin + colon + 1, at));
            }
        }
    }
}

fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>') || byte.is_ascii_control()
}

fn userinfo(text: &[u8], begin: usize, end: usize, found: &mut Vec<(usize, usize)>) {
    let url = &text[begin..end];
    let authority = url.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(url.len());
    let colon = memchr::memchr(b':', url).filter(|colon| *colon <= authority);
    let at = if let Some(within) = memchr::memrchr(b'@', &url[..authority]) {
        // The password may continue: user:pa@ss/word@host.
        if colon.is_some() { last_host(url, within, authority) } else { within }
    } else {
        // A password may contain a slash; a port followed by a path is not a password.
        let Some(colon) = colon else { return };
        let first = &url[colon + 1..authority];
        let is_port = first.iter().all(u8::is_ascii_digit) && (colon > 0 || !first.is_empty());
        if is_port || url.starts_with(b"[") {
            return;
        }
        last_host(url, 0, authority)
    };
    let Some(colon) = colon.filter(|colon| *colon < at) else {
        let user = &url[..at];
        let scheme = scheme(text, begin - 3);
        let lone = SCHEMES_WITH_LONE_TOKENS.iter().any(|known| known.eq_ignore_ascii_case(scheme))
            && !HARMLESS_USERS.contains(&user);
        found.extend((!user.is_empty() && (lone || looks_random(user))).then_some((begin, begin + at)));
        return;
    };
    let (user, password) = (&url[..colon], &url[colon + 1..at]);
    // Without a password, the user is the secret.
    let lone = password.is_empty() || password == b"x-oauth-basic";
    found.extend((!user.is_empty() && (lone || looks_random(user))).then_some((begin, begin + colon)));
    found.extend((!lone).then_some((begin + colon + 1, begin + at)));
}

/// The last `@` that is followed by a host; `within` if there is none after it. Only a password with a slash continues
/// after the first slash, and an `@` in a path is not followed by a host and a path.
fn last_host(url: &[u8], within: usize, authority: usize) -> usize {
    let mut last = within;
    for at in memchr::memchr_iter(b'@', url) {
        if at <= within {
            continue;
        }
        let host = &url[at + 1..];
        let length = host.iter().take_while(|byte| is_host(**byte)).count();
        let ends = match host.get(length) {
            None => true,
            Some(byte) => matches!(byte, b'/' | b'?' | b'#' | b',' | b';' | b')' | b']' | b'}' | b'\\'),
        };
        // The text after the first slash is a path if the host of the URL is known.
        if length > 0 && ends && (within == 0 || at < authority || host.get(length) == Some(&b'/')) {
            last = at;
        }
    }
    last
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']') || byte >= 0x80
}

/// The scheme that ends at `end`.
fn scheme(text: &[u8], end: usize) -> &[u8] {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let begin = text[..end].iter().rposition(|byte| !is_scheme(byte)).map_or(0, |before| before + 1);
    &text[begin..end]
}

/// Returns whether the text is long and mixed, unlike a login name.
pub(super) fn looks_random(text: &[u8]) -> bool {
    let has = |what: fn(&u8) -> bool| text.iter().any(what);
    text.len() >= 16 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && !text.contains(&b'.')
}
