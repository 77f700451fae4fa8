//! The tokens at the head of a line: where they end, and what they may be.

/// The longest path before a `:LINE:` that is recognised, in bytes: `PATH_MAX` of Linux.
const MAX_PATH_LENGTH: usize = 4096;

/// Returns whether the token looks like a word of a message rather than a name: it has letters only.
pub(super) fn is_of_message(token: &[u8]) -> bool {
    let (last, others) = token.split_last().expect("a token has a character");
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte >= 0x80;
    others.iter().all(is_letter) && (is_letter(last) || matches!(last, b',' | b'.' | b'!' | b'?'))
}

/// The number of bytes of the token at the start of the text; 0 if a symbol is there.
pub(super) fn token_length(text: &[u8]) -> usize {
    let begins = match text[0] {
        b'_' | b'@' | b'$' => true,
        b'/' | b'.' | b'~' | b'\\' => {
            text.get(1).is_some_and(|next| next.is_ascii_alphanumeric() || matches!(next, b'/' | b'.' | b'_'))
        }
        b'+' | b'-' => text.get(1).is_some_and(u8::is_ascii_digit),
        byte if byte >= 0x80 => first_char(text).is_some_and(char::is_alphanumeric),
        byte => byte.is_ascii_alphanumeric(),
    };
    if !begins {
        return 0;
    }
    let text = &text[..text.len().min(MAX_PATH_LENGTH)];
    let mut length = 1;
    while let Some(&byte) = text.get(length) {
        if ENDS_TOKEN[usize::from(byte)] {
            match byte {
                // The value of a pair is read by those who know how it may be quoted.
                b'=' => return length + 1,
                b',' if text.get(length + 1).is_some_and(u8::is_ascii_digit) => {}
                b',' if length == 1 => return 2,
                _ => break,
            }
        }
        length += 1;
    }
    length
}

/// The characters at which a token may end.
const ENDS_TOKEN: [bool; 256] = {
    let mut ends = [false; 256];
    let characters = b" \t\r=[]()<{\"'|,;";
    let mut at = 0;
    while at < characters.len() {
        ends[characters[at] as usize] = true;
        at += 1;
    }
    ends
};

fn first_char(text: &[u8]) -> Option<char> {
    let first = text[..text.len().min(4)].utf8_chunks().next()?;
    first.valid().chars().next()
}

/// Returns whether the text after a token begins with the end of a column: ` | `, ` - ` or ` : `.
pub(super) fn ends_column(text: &[u8]) -> bool {
    let rest = text.trim_ascii_start();
    match rest {
        [b'|', ..] => true,
        [b'-' | b':', b' ' | b'\t', ..] => rest.len() < text.len(),
        _ => false,
    }
}

/// Returns whether the token is `PATH:LINE:` or `PATH:LINE:COLUMN:`.
pub(super) fn is_place(token: &[u8]) -> bool {
    let Some(place) = token.strip_suffix(b":") else { return false };
    let Some(at) = memchr::memrchr(b':', place) else { return false };
    let (path, line) = (&place[..at], &place[at + 1..]);
    let is_path =
        path.iter().any(|byte| !byte.is_ascii_digit() && !matches!(byte, b':' | b'.' | b',' | b'-' | b'T' | b'Z'));
    !line.is_empty() && line.iter().all(u8::is_ascii_digit) && is_path
}

/// Returns whether the token is a number, a time, an address: it begins with a digit, and has no more letters than a
/// unit or a month.
pub(super) fn is_number(token: &[u8]) -> bool {
    let digits = match token {
        [b'+' | b'-', rest @ ..] => rest,
        _ => token,
    };
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().filter(|byte| byte.is_ascii_alphabetic()).count() <= 3
        && digits.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b',' | b'-' | b'/' | b'+' | b'%' | b'#')
        })
}

/// Returns whether the text begins with a time of day.
pub(super) fn is_clock(text: &[u8]) -> bool {
    let is_part = |(at, byte): (usize, &u8)| if at % 3 == 2 { *byte == b':' } else { byte.is_ascii_digit() };
    text.len() >= 8 && text[..8].iter().enumerate().all(is_part)
}

/// Returns whether the token is the name of a month or a day.
pub(super) fn is_part_of_time(token: &[u8]) -> bool {
    const DAYS_AND_MONTHS: [&[u8]; 19] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec", b"Mon", b"Tue",
        b"Wed", b"Thu", b"Fri", b"Sat", b"Sun",
    ];
    token.len() == 3 && DAYS_AND_MONTHS.contains(&token)
}

/// Returns whether the token may be a time zone or half of a day: `UTC`, `CEST`, `PM`, `Z`.
pub(super) fn is_time_zone(token: &[u8]) -> bool {
    token.len() <= 4
        && token.iter().all(u8::is_ascii_uppercase)
        && matches!(token, [.., b'T' | b'C' | b'M' | b'K' | b'Z'])
}
