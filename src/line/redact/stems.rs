//! Stems: words that may begin a secret. Most lines have none, which one fast pass determines.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, packed};

use super::command;
use super::formats::SECRET_FORMATS;

/// Parts of names whose value is a secret.
const NAME_STEMS: [&str; 13] =
    ["pass", "pwd", "pw=", "pw:", "pw\"", "secret", "token", "key", "auth", "cookie", "cred", "-signature", "sig="];

/// HTTP authentication schemes, which may appear without a header name, and keywords of SQL.
const SCHEME_STEMS: [(&str, Stem); 4] =
    [("bearer", Stem::Bearer), ("basic", Stem::Basic), ("digest", Stem::Digest), ("identified by", Stem::Identified)];

/// The kind of a stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stem {
    /// A part of a name.
    Name,
    /// The prefix of the format with this number.
    Format(usize),
    Bearer,
    Basic,
    Digest,
    Identified,
    /// A program that takes secrets as arguments.
    Program,
}

/// Substrings of names and schemes, as few as possible: a line without any of them has no such stem. Each has at least four
/// letters, by which the search rules out most lines at once.
const STEM_HINTS: [&str; 13] = [
    "pass",
    "secret",
    "token",
    "auth",
    "cookie",
    "cred",
    "sig=",
    "-signature",
    "bearer",
    "basic",
    "digest",
    "identified by",
    "freerdp",
];

/// Hints of three letters: few enough for a separate search.
const SHORT_STEM_HINTS: [&str; 5] = ["key", "pwd", "pw=", "pw:", "pw\""];

/// Substrings of the names of programs whose options begin with a hyphen. They are searched for only if there may be one.
const PROGRAM_HINTS: [&str; 14] = [
    "curl",
    "mysql",
    "mariadb",
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
];

/// Substrings of the prefixes of all formats. They are searched for only if a word is long enough to be a token.
const FORMAT_HINTS: [&str; 64] = [
    "akia",
    "asia",
    "ltai",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "_pat_",
    "glpat-",
    "gldt-",
    "glrt",
    "glcbt-",
    "glptt-",
    "glft-",
    "glimt-",
    "glagent-",
    "gloas-",
    "glsoat-",
    "glffct-",
    "xox",
    "xapp-",
    "hooks.slack",
    "webhook",
    "api.telegram",
    "aiza",
    "ya29.",
    "gocspx",
    "k_live_",
    "k_test_",
    "shippo_",
    "whsec_",
    "sq0",
    "shpat_",
    "shpca_",
    "shpss_",
    "shppa_",
    "npm_",
    "pypi-",
    "rubygems_",
    "akcp",
    "sk-",
    "hf_",
    "gsk_",
    "xai-",
    "nvapi-",
    "_v1_",
    "hvs.",
    "hvb.",
    "atlasv1",
    "dapi",
    "dp.",
    "pscale_",
    "glsa_",
    "glc_",
    "nrak-",
    "sntry",
    "sg.",
    "lin_api",
    "atatt3",
    "figd_",
    "ntn_",
    "pmak-",
    "eyj",
];

/// The shortest token of a known format, in bytes.
const MIN_TOKEN_SIZE: usize = 16;

/// A search for hints in a text in lower case.
enum HintSearcher {
    Vectors(packed::Searcher),
    /// The fallback for a processor without vector instructions.
    Automaton(AhoCorasick),
}

impl HintSearcher {
    fn new(hints: &[&str]) -> Self {
        packed::Searcher::new(hints).map_or_else(|| Self::Automaton(automaton(hints.iter().copied())), Self::Vectors)
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Vectors(searcher) => searcher.find(text).is_some(),
            Self::Automaton(automaton) => automaton.is_match(text),
        }
    }
}

static STEM_HINT_SEARCHER: LazyLock<HintSearcher> = LazyLock::new(|| HintSearcher::new(&STEM_HINTS));
static SHORT_HINT_SEARCHER: LazyLock<HintSearcher> = LazyLock::new(|| HintSearcher::new(&SHORT_STEM_HINTS));
static PROGRAM_HINT_SEARCHER: LazyLock<HintSearcher> = LazyLock::new(|| HintSearcher::new(&PROGRAM_HINTS));
static FORMAT_HINT_SEARCHER: LazyLock<HintSearcher> = LazyLock::new(|| HintSearcher::new(&FORMAT_HINTS));

static STEM_AUTOMATON: LazyLock<(AhoCorasick, Vec<Stem>)> = LazyLock::new(|| {
    let stems: Vec<_> = stems().collect();
    (automaton(stems.iter().map(|stem| stem.0)), stems.into_iter().map(|stem| stem.1).collect())
});

fn automaton<'a>(words: impl Iterator<Item = &'a str>) -> AhoCorasick {
    let builder = AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(words);
    builder.expect("a few words are no large automaton")
}

fn stems() -> impl Iterator<Item = (&'static str, Stem)> {
    let names = NAME_STEMS.iter().map(|name| (*name, Stem::Name));
    let programs = command::PROGRAM_NAMES.iter().map(|name| (*name, Stem::Program));
    let begins = SECRET_FORMATS.iter().enumerate();
    let formats =
        begins.flat_map(|(number, format)| format.prefixes.iter().map(move |begin| (*begin, Stem::Format(number))));
    names.chain(SCHEME_STEMS).chain(programs).chain(formats)
}

/// Returns whether the text may have a stem, a URL with credentials, or an escape within a stem. `scratch` is working
/// memory. Takes a few instructions for each eight bytes.
pub(super) fn may_have(text: &[u8], scratch: &mut Vec<u8>) -> bool {
    if memchr::memchr3(b'@', b'\\', b'%', text).is_some_and(|at| has_escape(&text[at..])) {
        return true;
    }
    scratch.clear();
    scratch.extend_from_slice(text);
    scratch.make_ascii_lowercase();
    STEM_HINT_SEARCHER.matches(scratch)
        || SHORT_HINT_SEARCHER.matches(scratch)
        || has_option(scratch) && PROGRAM_HINT_SEARCHER.matches(scratch)
        || has_long_word(scratch) && FORMAT_HINT_SEARCHER.matches(scratch)
}

/// Returns whether a word of the text, which is in lower case, begins with a hyphen, as an option does, or may do so once
/// the escapes in the text are undone.
fn has_option(text: &[u8]) -> bool {
    if memchr::memchr3(b'\\', b'%', b'&', text).is_some() {
        return true;
    }
    // The compiler can vectorize this.
    let is_option = |(before, byte): (&u8, &u8)| {
        let (letter, digit) = (before.wrapping_sub(b'a'), before.wrapping_sub(b'0'));
        u8::from(*byte == b'-') & u8::from(letter >= 26) & u8::from(digit >= 10)
    };
    let rest = text.get(1..).unwrap_or_default();
    text.starts_with(b"-") || text.iter().zip(rest).map(is_option).fold(0, |any, one| any | one) != 0
}

/// Returns whether the text has an `@`, plain or encoded, or an escape that may be within a stem: a colour, or its
/// letters.
fn has_escape(text: &[u8]) -> bool {
    const ENCODED_SEPARATORS: [&[u8]; 5] = [b"\\u00", b"\\x1b", b"\\033", b"%40", b"%1b"];
    memchr::memchr3_iter(b'@', b'\\', b'%', text).any(|at| {
        let rest = &text[at..];
        let begins =
            |encoded: &&[u8]| rest.get(..encoded.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(encoded));
        rest[0] == b'@' || rest.starts_with(b"\\e") || ENCODED_SEPARATORS.iter().any(begins)
    })
}

/// Returns whether the text has a word as long as a token, with a letter: a number, such as a time in nanoseconds, is no
/// token. Most bytes are not examined: a byte that is in no word rules out all words of this length that contain it.
fn has_long_word(text: &[u8]) -> bool {
    let mut begin = 0;
    while let Some(window) = text.get(begin..begin + MIN_TOKEN_SIZE) {
        if let Some(separator) = window.iter().rposition(|byte| !is_word(*byte)) {
            begin += separator + 1;
            continue;
        }
        let behind = text[begin + MIN_TOKEN_SIZE..].iter().take_while(|byte| is_word(**byte)).count();
        let word = &text[begin..begin + MIN_TOKEN_SIZE + behind];
        if word.iter().any(u8::is_ascii_alphabetic) {
            return true;
        }
        begin += word.len();
    }
    false
}

/// Returns whether a byte may be in a token.
fn is_word(byte: u8) -> bool {
    const WORD_BYTES: [bool; 256] = {
        let mut bytes = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            bytes[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            byte += 1;
        }
        bytes
    };
    WORD_BYTES[usize::from(byte)]
}

/// All stems of the text with their bounds, in the order in which they begin.
pub(crate) fn find(text: &[u8]) -> Vec<(usize, usize, Stem)> {
    let (automaton, stems) = &*STEM_AUTOMATON;
    let found = automaton.find_overlapping_iter(text);
    let mut found: Vec<_> =
        found.filter_map(|at| Some((at.start(), at.end(), *stems.get(at.pattern().as_usize())?))).collect();
    found.sort_by_key(|(begin, ..)| *begin);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_hint_has_no_stem() {
        for (stem, what) in stems() {
            assert_eq!(stem, stem.to_lowercase());
            let hints = match what {
                Stem::Format(_) => &FORMAT_HINTS[..],
                Stem::Program => &PROGRAM_HINTS[..],
                Stem::Name | Stem::Bearer | Stem::Basic | Stem::Digest | Stem::Identified => &STEM_HINTS[..],
            };
            // In a name, a hint may be anywhere: `age-secret-key-1`.
            let has = |hints: &[&str]| hints.iter().any(|hint| stem.contains(hint));
            assert!(has(hints) || has(&STEM_HINTS) || has(&SHORT_STEM_HINTS), "{stem}");
        }
        for hint in STEM_HINTS.iter().chain(&SHORT_STEM_HINTS).chain(&PROGRAM_HINTS).chain(&FORMAT_HINTS) {
            assert!(stems().any(|(stem, _)| stem.contains(hint)), "{hint} is in no stem");
        }
        assert!(STEM_HINTS.iter().all(|hint| hint.len() >= 4));
    }

    #[test]
    fn a_word_is_long_wherever_it_stands() {
        for before in 0..20 {
            for length in 0..40 {
                let (start, digits) = ("a ".repeat(before), "7".repeat(length));
                let text = format!("{start}{} x", "b".repeat(length));
                assert_eq!(has_long_word(text.as_bytes()), length >= MIN_TOKEN_SIZE, "{text}");
                let number = format!("{start}{digits} x");
                assert!(!has_long_word(number.as_bytes()), "{number}");
                // A letter at the start or at the end makes a word of it, even if it is far away.
                for word in [format!("{start}b{digits} x"), format!("{start}{digits}b x")] {
                    assert_eq!(has_long_word(word.as_bytes()), length + 1 >= MIN_TOKEN_SIZE, "{word}");
                }
            }
        }
    }

    #[test]
    fn a_word_has_letters_digits_and_three_marks() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_word(byte), byte.is_ascii_alphanumeric() || b"_-.".contains(&byte), "{byte}");
        }
    }

    #[test]
    fn stems_are_found_in_any_case_and_within_each_other() {
        let mut scratch = Vec::new();
        for text in [
            "PassWord",
            "a@b",
            "a%40b",
            "xxx my Curl -u a:b",
            "[\"curl\",\"-u\",\"a:b\"]",
            "-u a:b curl",
            "xfreerdp /u:a /p:b",
            "KEY",
            "ghp_0123456789abcdef",
            "a long text before the Token and behind it",
            "\"pas\\u001b[1msword\"",
            "7z a -px",
            "2026-11-28T17:00:07Z 7z a -px",
            "2026-11-28T17:00:07Z key",
        ] {
            assert!(may_have(text.as_bytes(), &mut scratch), "{text}");
        }
        for text in [
            "",
            "x",
            "compiling serde v1.0.2 (of 230)",
            "2026-11-28T17:00:00Z INFO listening on 127.0.0.1:7070",
            "2026-11-28T17:00:07Z INFO listening",
        ] {
            assert!(!may_have(text.as_bytes(), &mut scratch), "{text}");
            assert!(find(text.as_bytes()).iter().all(|stem| stem.2 == Stem::Program), "{text}");
        }
        assert!(!may_have(b"installed curl 7.88.1-10 from a/b", &mut scratch), "a program without options");
        assert_eq!(find(b"my SSHPASS"), [(3, 10, Stem::Program), (6, 10, Stem::Name)]);
    }
}
