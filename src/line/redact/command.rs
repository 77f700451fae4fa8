//! Secrets in the arguments of well-known programs, whose options do not say that they are.

use super::value::{Secret, closing, is_blank, is_quote};

/// Most words of a command that are looked at.
const WORDS: usize = 64;

/// How an option takes its secret.
#[derive(Clone, Copy)]
enum Takes {
    /// As the next word, or right behind it.
    Either,
    /// Only right behind it: a blank means that it is asked for.
    Attached,
    /// As `user:secret`, or with another byte between them.
    After(u8),
}

struct Program {
    /// Its names: those that begin so.
    names: &'static [&'static str],
    options: &'static [(&'static str, Takes)],
}

const PROGRAMS: [Program; 14] = [
    Program {
        names: &["curl"],
        options: &[
            ("-u", Takes::After(b':')),
            ("-U", Takes::After(b':')),
            ("--user", Takes::After(b':')),
            ("--proxy-user", Takes::After(b':')),
            ("-b", Takes::After(b'=')),
        ],
    },
    Program { names: &["mysql", "mariadb"], options: &[("-p", Takes::Attached)] },
    Program { names: &["sshpass"], options: &[("-p", Takes::Either)] },
    Program { names: &["redis-cli"], options: &[("-a", Takes::Either)] },
    Program { names: &["ldap"], options: &[("-w", Takes::Either), ("-s", Takes::Either)] },
    Program { names: &["login"], options: &[("-p", Takes::Either)] },
    Program { names: &["mongo"], options: &[("-p", Takes::Either)] },
    Program { names: &["sqlcmd"], options: &[("-P", Takes::Either)] },
    Program { names: &["smbclient"], options: &[("-U", Takes::After(b'%')), ("--user", Takes::After(b'%'))] },
    Program { names: &["7z"], options: &[("-p", Takes::Attached)] },
    Program { names: &["zip", "unzip"], options: &[("-P", Takes::Either)] },
    Program { names: &["ipmitool", "mosquitto_"], options: &[("-P", Takes::Either)] },
    Program { names: &["snmp"], options: &[("-A", Takes::Either), ("-X", Takes::Either), ("-c", Takes::Either)] },
    Program { names: &["xfreerdp", "wfreerdp"], options: &[("/p:", Takes::Attached)] },
];

/// Programs that log in somewhere by their command `login`.
const LOGIN: [&[u8]; 11] =
    [b"docker", b"podman", b"helm", b"registry", b"oc", b"az", b"skopeo", b"buildah", b"nerdctl", b"crane", b"oras"];

/// How the programs begin that are looked for.
pub(super) const NAMES: [&str; 19] = [
    "curl",
    "mysql",
    "mariadb",
    "sshpass",
    "redis-cli",
    "ldap",
    "login",
    "mongo",
    "sqlcmd",
    "smbclient",
    "7z ",
    "zip ",
    "ipmitool",
    "mosquitto_",
    "snmp",
    "xfreerdp",
    "wfreerdp",
    "htpasswd",
    "chpasswd",
];

/// Finds the secrets in the arguments of the program whose name begins at `at`.
pub(super) fn find(text: &[u8], at: usize, found: &mut Vec<Secret>) {
    let before = at.checked_sub(1).map(|before| text[before]);
    let at = if text[at..].starts_with(b"zip") && text[..at].ends_with(b"un") { at - 2 } else { at };
    if before.is_some_and(|before| before.is_ascii_alphanumeric() || matches!(before, b'-' | b'_' | b'.'))
        && text.get(at) != Some(&b'u')
    {
        return;
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = at + text[at..].iter().take_while(|byte| is_name(byte)).count();
    if text.get(end).is_some_and(|after| !is_blank(*after) && !is_quote(*after)) {
        return;
    }
    let name = &text[at..end];
    if name == b"chpasswd" {
        return piped(text, at, found);
    }
    let words = words(text, end);
    if name == b"htpasswd" {
        // With -b: file, user, password; with -n no file.
        let has =
            |flag: u8| words.iter().any(|(begin, end)| text[*begin] == b'-' && text[*begin..*end].contains(&flag));
        let mut places = words.iter().filter(|(begin, _)| text[*begin] != b'-');
        let password = places.nth(if has(b'n') { 1 } else { 2 }).filter(|_| has(b'b'));
        found.extend(password.map(|(begin, end)| Secret::new(*begin, *end)));
        return;
    }
    let Some(program) =
        PROGRAMS.iter().find(|program| program.names.iter().any(|known| name.starts_with(known.as_bytes())))
    else {
        return;
    };
    if program.names == ["login"] {
        let mut before = text[..at]
            .split(|byte| is_blank(*byte) || is_quote(*byte) || *byte == b',')
            .rev()
            .filter(|word| !word.is_empty());
        let known =
            before.next().is_some_and(|word| LOGIN.contains(&word.rsplit(|byte| *byte == b'/').next().unwrap_or(word)));
        if !known || name != b"login" {
            return;
        }
    }
    for (number, (begin, end)) in words.iter().enumerate() {
        let word = &text[*begin..*end];
        for (option, takes) in program.options {
            let next = words.get(number + 1).copied();
            found.extend(argument(text, *begin, word, option, *takes, next));
        }
    }
}

/// The secret of an option, if `word`, which begins at `begin`, is that option.
fn argument(
    text: &[u8],
    begin: usize,
    word: &[u8],
    option: &str,
    takes: Takes,
    next: Option<(usize, usize)>,
) -> Option<Secret> {
    let long = option.starts_with("--");
    // Of several short options in one word the last takes what follows: -sSu.
    let cluster = !long
        && word.len() > 2
        && word.starts_with(b"-")
        && word.ends_with(&option.as_bytes()[1..])
        && matches!(takes, Takes::After(_))
        && word[1..].iter().all(u8::is_ascii_alphabetic);
    let rest = word.strip_prefix(option.as_bytes());
    let (begin, end) = match rest {
        Some([]) => next.filter(|_| !matches!(takes, Takes::Attached))?,
        _ if cluster => next?,
        Some([b'=', ..]) if long => (begin + option.len() + 1, begin + word.len()),
        Some(_) if !long => (begin + option.len(), begin + word.len()),
        _ => return None,
    };
    let (begin, end) = match (text.get(begin), text.get(end.checked_sub(1)?)) {
        (Some(first), Some(last)) if is_quote(*first) && first == last && end > begin + 1 => (begin + 1, end - 1),
        _ => (begin, end),
    };
    let value = &text[begin..end];
    let secret_begin = match takes {
        Takes::After(byte) => begin + memchr::memchr(byte, value)? + 1,
        Takes::Either | Takes::Attached => begin,
    };
    let secret = &text[secret_begin..end];
    let odd = secret.first().is_none_or(|first| matches!(first, b'-' | b',' | b':' | b')' | b'.' | b']'));
    (!odd && !super::harmless::is_reference(secret)).then_some(Secret::new(secret_begin, end))
}

/// `echo user:secret | chpasswd`
fn piped(text: &[u8], at: usize, found: &mut Vec<Secret>) {
    let Some(echo) = memchr::memmem::rfind(&text[..at], b"echo ") else { return };
    let words = words(&text[..at], echo + 5);
    for (begin, end) in words {
        if let Some(colon) = memchr::memchr(b':', &text[begin..end]) {
            found.push(Secret::new(begin + colon + 1, end));
        }
    }
}

/// The words behind `from`, without quotation marks around them, as a shell takes them; or those of a list of texts.
fn words(text: &[u8], from: usize) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut at = from;
    // The end of the quotation that the program's own name stands in.
    if text.get(at).is_some_and(|byte| is_quote(*byte)) {
        at += 1;
    }
    while words.len() < WORDS {
        while text.get(at).is_some_and(|byte| is_blank(*byte) || *byte == b',') {
            at += 1;
        }
        let Some(&first) = text.get(at) else { break };
        if first.is_ascii_control() || matches!(first, b'|' | b';' | b'&' | b'>' | b']' | b')') {
            break;
        }
        if is_quote(first) {
            let Some(end) = closing(text, at) else { break };
            words.push((at + 1, end));
            at = end + 1;
            continue;
        }
        let begin = at;
        while let Some(&byte) = text.get(at) {
            if byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b'|' | b';') && at > begin {
                break;
            }
            if is_quote(byte) {
                let opens = at == begin + 2 || text.get(at.wrapping_sub(1)) == Some(&b'=');
                let Some(end) = closing(text, at).filter(|_| opens) else {
                    // It closes what began before this command.
                    words.extend((begin < at).then_some((begin, at)));
                    return words;
                };
                at = end;
            }
            at += 1;
        }
        words.push((begin, at));
    }
    words
}
