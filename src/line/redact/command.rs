//! Secrets in the arguments of well-known programs, whose options have no names that reveal them.

use super::value::{SecretSpan, closing_quote, is_blank, is_quote};

/// The maximum number of words of a command that are examined.
const MAX_COMMAND_WORDS: usize = 64;

/// The ways in which an option takes its secret.
#[derive(Clone, Copy)]
enum OptionValue {
    /// The next word, or text attached to the option.
    NextOrAttached,
    /// Only text attached to the option: without it, the program asks for the secret.
    Attached,
    /// The second half of `user:secret`, possibly with another separator.
    AfterSeparator(u8),
}

struct ProgramOptions {
    /// Prefixes of the program's names.
    names: &'static [&'static str],
    options: &'static [(&'static str, OptionValue)],
}

const PROGRAMS_WITH_SECRETS: [ProgramOptions; 14] = [
    ProgramOptions {
        names: &["curl"],
        options: &[
            ("-u", OptionValue::AfterSeparator(b':')),
            ("-U", OptionValue::AfterSeparator(b':')),
            ("--user", OptionValue::AfterSeparator(b':')),
            ("--proxy-user", OptionValue::AfterSeparator(b':')),
            ("-b", OptionValue::AfterSeparator(b'=')),
        ],
    },
    ProgramOptions { names: &["mysql", "mariadb"], options: &[("-p", OptionValue::Attached)] },
    ProgramOptions { names: &["sshpass"], options: &[("-p", OptionValue::NextOrAttached)] },
    ProgramOptions { names: &["redis-cli"], options: &[("-a", OptionValue::NextOrAttached)] },
    ProgramOptions {
        names: &["ldap"],
        options: &[("-w", OptionValue::NextOrAttached), ("-s", OptionValue::NextOrAttached)],
    },
    ProgramOptions { names: &["login"], options: &[("-p", OptionValue::NextOrAttached)] },
    ProgramOptions { names: &["mongo"], options: &[("-p", OptionValue::NextOrAttached)] },
    ProgramOptions { names: &["sqlcmd"], options: &[("-P", OptionValue::NextOrAttached)] },
    ProgramOptions {
        names: &["smbclient"],
        options: &[("-U", OptionValue::AfterSeparator(b'%')), ("--user", OptionValue::AfterSeparator(b'%'))],
    },
    ProgramOptions { names: &["7z"], options: &[("-p", OptionValue::Attached)] },
    ProgramOptions { names: &["zip", "unzip"], options: &[("-P", OptionValue::NextOrAttached)] },
    ProgramOptions { names: &["ipmitool", "mosquitto_"], options: &[("-P", OptionValue::NextOrAttached)] },
    ProgramOptions {
        names: &["snmp"],
        options: &[
            ("-A", OptionValue::NextOrAttached),
            ("-X", OptionValue::NextOrAttached),
            ("-c", OptionValue::NextOrAttached),
        ],
    },
    ProgramOptions { names: &["xfreerdp", "wfreerdp"], options: &[("/p:", OptionValue::Attached)] },
];

/// Programs whose command `login` takes credentials.
const LOGIN_PROGRAMS: [&[u8]; 11] =
    [b"docker", b"podman", b"helm", b"registry", b"oc", b"az", b"skopeo", b"buildah", b"nerdctl", b"crane", b"oras"];

/// Prefixes of the program names that are searched for.
pub(super) const PROGRAM_NAMES: [&str; 19] = [
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
pub(crate) fn find(text: &[u8], at: usize, found: &mut Vec<SecretSpan>) {
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
        return find_piped(text, at, found);
    }
    let words = words(text, end);
    if name == b"htpasswd" {
        // With -b the arguments are file, user and password; with -n there is no file.
        let has =
            |flag: u8| words.iter().any(|(begin, end)| text[*begin] == b'-' && text[*begin..*end].contains(&flag));
        let mut operands = words.iter().filter(|(begin, _)| text[*begin] != b'-');
        let password = operands.nth(if has(b'n') { 1 } else { 2 }).filter(|_| has(b'b'));
        found.extend(password.map(|(begin, end)| SecretSpan::new(*begin, *end)));
        return;
    }
    let Some(program) = PROGRAMS_WITH_SECRETS
        .iter()
        .find(|program| program.names.iter().any(|known| name.starts_with(known.as_bytes())))
    else {
        return;
    };
    if program.names == ["login"] {
        let mut before = text[..at]
            .split(|byte| is_blank(*byte) || is_quote(*byte) || *byte == b',')
            .rev()
            .filter(|word| !word.is_empty());
        let known = before
            .next()
            .is_some_and(|word| LOGIN_PROGRAMS.contains(&word.rsplit(|byte| *byte == b'/').next().unwrap_or(word)));
        if !known || name != b"login" {
            return;
        }
    }
    for (number, (begin, end)) in words.iter().enumerate() {
        let word = &text[*begin..*end];
        for (option, takes) in program.options {
            let next = words.get(number + 1).copied();
            found.extend(option_secret(text, *begin, word, option, *takes, next));
        }
    }
}

/// The secret of an option, if `word`, which begins at `begin`, is that option.
fn option_secret(
    text: &[u8],
    begin: usize,
    word: &[u8],
    option: &str,
    takes: OptionValue,
    next: Option<(usize, usize)>,
) -> Option<SecretSpan> {
    let long = option.starts_with("--");
    // Of several short options in one word, the last one takes the value: -sSu.
    let cluster = !long
        && word.len() > 2
        && word.starts_with(b"-")
        && word.ends_with(&option.as_bytes()[1..])
        && matches!(takes, OptionValue::AfterSeparator(_))
        && word[1..].iter().all(u8::is_ascii_alphabetic);
    let rest = word.strip_prefix(option.as_bytes());
    let (begin, end) = match rest {
        Some([]) => next.filter(|_| !matches!(takes, OptionValue::Attached))?,
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
        OptionValue::AfterSeparator(byte) => begin + memchr::memchr(byte, value)? + 1,
        OptionValue::NextOrAttached | OptionValue::Attached => begin,
    };
    let secret = &text[secret_begin..end];
    let odd = secret.first().is_none_or(|first| matches!(first, b'-' | b',' | b':' | b')' | b'.' | b']'));
    (!odd && !super::harmless::is_reference(secret)).then_some(SecretSpan::new(secret_begin, end))
}

/// Finds the secret in `echo user:secret | chpasswd`.
fn find_piped(text: &[u8], at: usize, found: &mut Vec<SecretSpan>) {
    let Some(echo) = memchr::memmem::rfind(&text[..at], b"echo ") else { return };
    let words = words(&text[..at], echo + 5);
    for (begin, end) in words {
        if let Some(colon) = memchr::memchr(b':', &text[begin..end]) {
            found.push(SecretSpan::new(begin + colon + 1, end));
        }
    }
}

/// The words after `from` without their quotation marks, split as by a shell; or the elements of a list of strings.
fn words(text: &[u8], from: usize) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut at = from;
    // The quotation mark that closes the name of the program.
    if text.get(at).is_some_and(|byte| is_quote(*byte)) {
        at += 1;
    }
    while words.len() < MAX_COMMAND_WORDS {
        while text.get(at).is_some_and(|byte| is_blank(*byte) || *byte == b',') {
            at += 1;
        }
        let Some(&first) = text.get(at) else { break };
        if first.is_ascii_control() || matches!(first, b'|' | b';' | b'&' | b'>' | b']' | b')') {
            break;
        }
        if is_quote(first) {
            let Some(end) = closing_quote(text, at) else { break };
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
                let Some(end) = closing_quote(text, at).filter(|_| opens) else {
                    // The quotation mark closes a quotation that began before this command.
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
