//! Takes secrets out of lines before anything else sees them. What is known to be one, and what stands behind the name of
//! one, becomes [`MARK`]; the rest of the line stays.
//!
//! It finds what looks like a secret, so it is a net and no wall: a secret of no known form, without a name before it, passes.

use std::sync::{Arc, LazyLock};

use regex::bytes::{Regex, RegexSet};

use super::split::Line;

/// What stands in place of a secret.
pub const MARK: &[u8] = b"[redacted]";

/// Most lines of one private key that are taken out: those of 16384 bits have 200.
pub const KEY_LINES: usize = 400;

/// How much of a line that is cut is held back, in bytes, so that a secret is not cut with it; a secret that goes over a cut
/// may have four times as much. Longer lines are cut so much sooner.
const HOLD: usize = 1 << 10;

/// What may stand between a name and its secret: colours.
macro_rules! colour {
    () => {
        r"(?:\x1b\[[0-9;]*m)*"
    };
}

/// Secrets by their form, or by what stands before them; of those with a group named `secret` that alone is taken out. None
/// begins at a word's boundary: an order for a colour, which ends in a letter, may stand right before it.
const KNOWN: [&str; 12] = [
    // Amazon: the id of a key.
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[0-9A-Z]{16}",
    // GitHub and GitLab.
    r"gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{22,255}",
    r"gl[a-z]{2,6}-[A-Za-z0-9_-]{20,255}",
    // Slack, with its hooks.
    r"xox[a-z]-[A-Za-z0-9-]{10,255}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    // Google, Stripe, npm, PyPI, OpenAI and Anthropic.
    r"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}",
    r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z]{16,}",
    r"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{32,}|sk-[A-Za-z0-9_-]{20,}",
    // A JWT (RFC 7519): its head begins with `{"`.
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",
    // A password in a URL (RFC 3986, section 3.2.1).
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:(?P<secret>[^\s/@]+)@",
    // HTTP authentication (RFC 9110, section 11.4).
    concat!(r"(?i)(?:bearer|basic|digest)[ \t]+", colour!(), r"(?P<secret>[A-Za-z0-9._~+/=-]{8,})"),
    // A name that says it, then the value.
    concat!(
        r"(?i)(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization|cookie)",
        r#"(?:[_-]?(?:key|id|value))?["']?"#,
        colour!(),
        r"[ \t]*(?::|=>?|\bis\b)[ \t]*",
        colour!(),
        r#"(?P<secret>"(?:[^"\\]|\\.)*(?:"|$)|'[^']*(?:'|$)|[^\s,;&"'\x1b]+)"#
    ),
    // An option of a command.
    r"(?i)--?(?:password|passwd|pass|token|secret|api-key|auth)[ =](?P<secret>[^\s\x1b]+)",
];

/// A private key (RFC 7468); its end may stand in a later line.
const KEY_BEGIN: &str = r"(?-u)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----";
const KEY_END: &str = r"(?-u)-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----";

static BUILT_IN: LazyLock<(RegexSet, Vec<Regex>)> = LazyLock::new(|| {
    let bytes = KNOWN.map(|pattern| format!("(?-u){pattern}"));
    let set = RegexSet::new(&bytes).expect("the patterns are right, as the tests show");
    let each = bytes.iter().map(|pattern| Regex::new(pattern).expect("the patterns are right, as the tests show"));
    (set, each.collect())
});

static KEY: LazyLock<[Regex; 2]> =
    LazyLock::new(|| [KEY_BEGIN, KEY_END].map(|pattern| Regex::new(pattern).expect("the pattern is right")));

/// Takes secrets out of the lines of one source. Holds at most four kilobytes of a line that is cut.
#[derive(Debug, Clone)]
pub struct Redact {
    own: Arc<[Regex]>,
    /// How many lines of a private key may still come.
    key: usize,
    /// What was held back of a line that goes on.
    tail: Vec<u8>,
    hold: usize,
    count: u64,
}

impl Redact {
    /// With these patterns beside what is known; of a pattern with a group named `secret` that alone is taken out.
    ///
    /// Also gives how long a piece may be that comes in, so that what goes out has at most `max` bytes. A mark may be longer
    /// than the secret was: then a piece is cut at its end.
    pub fn new(own: Vec<Regex>, max: usize) -> (Self, usize) {
        let room = (4 * HOLD).min(max / 2);
        let new = Self { own: own.into(), key: 0, tail: Vec::new(), hold: room / 4, count: 0 };
        (new, max - room)
    }

    /// How many secrets were taken out since one asked last.
    pub fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }

    /// How many lines of a private key that has begun may still come, of [`KEY_LINES`].
    pub fn key(&self) -> usize {
        self.key
    }

    /// Goes on where another left off that said this of [`key`](Self::key).
    pub fn go_on(&mut self, key: usize) {
        self.key = key.min(KEY_LINES);
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.tail.len()
    }

    /// Gives the line on without its secrets. Of one that goes on, its end comes with the next piece.
    pub fn line(&mut self, line: Line<'_>, max: usize, give: &mut impl FnMut(Line<'_>)) {
        let joined = [std::mem::take(&mut self.tail).as_slice(), line.text].concat();
        let mut found = self.find(&joined);
        let mut end = joined.len();
        if line.continued {
            end = end.saturating_sub(self.hold);
            if let Some(&(begin, over)) = found.iter().find(|(begin, over)| *begin < end && end < *over) {
                let whole = over < joined.len() || joined.len() - begin > 4 * self.hold;
                end = if whole { over } else { begin };
            }
            found.retain(|(begin, _)| *begin < end);
            self.tail = joined[end..].to_vec();
        }
        let mut text = replaced(&joined[..end], &found);
        self.count += found.len() as u64;
        text.truncate(max);
        give(Line { text: &text, ..line });
    }

    /// What may be shown of a line that is not finished: up to its last white space, since what follows may be half a secret.
    pub fn open(&self, text: &[u8]) -> Vec<u8> {
        let whole = [self.tail.as_slice(), text].concat();
        let end = whole.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
        let shown = &whole[..end];
        // A copy, so that nothing is counted twice, and no key is taken for begun before its line is finished.
        let found = self.clone().find(shown);
        replaced(shown, &found)
    }

    /// Where the secrets are: in order, none within another.
    fn find(&mut self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let [begins, ends] = &*KEY;
        let mut from = 0;
        loop {
            let begin = if self.key > 0 { Some(from) } else { begins.find_at(text, from).map(|begin| begin.start()) };
            let Some(begin) = begin else { break };
            if let Some(end) = ends.find_at(text, begin) {
                self.key = 0;
                found.push((begin, end.end()));
                from = end.end();
            } else {
                self.key = if self.key > 0 { self.key - 1 } else { KEY_LINES };
                found.push((begin, text.len()));
                break;
            }
        }
        let (set, each) = &*BUILT_IN;
        let built_in = set.matches(text).into_iter().filter_map(|at| each.get(at));
        for pattern in built_in.chain(self.own.iter()) {
            let secrets =
                pattern.captures_iter(text).filter_map(|captures| captures.name("secret").or(captures.get(0)));
            found.extend(secrets.filter(|secret| !secret.is_empty()).map(|secret| (secret.start(), secret.end())));
        }
        found.sort_unstable();
        found.dedup_by(|(begin, end), before| {
            let within = *begin < before.1;
            before.1 = if within { before.1.max(*end) } else { before.1 };
            within
        });
        found
    }
}

fn replaced(text: &[u8], found: &[(usize, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for (begin, end) in found {
        out.extend_from_slice(&text[from..(*begin).min(text.len())]);
        out.extend_from_slice(MARK);
        from = (*end).min(text.len());
    }
    out.extend_from_slice(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{CarriageReturn, Lines};
    use proptest::prelude::*;

    fn redacted(text: &str) -> String {
        let (mut redact, _) = Redact::new(Vec::new(), 1 << 18);
        let mut out = Vec::new();
        let line = Line { text: text.as_bytes(), continued: false, partial: false, source: 0 };
        redact.line(line, 1 << 18, &mut |line| out.extend_from_slice(line.text));
        String::from_utf8(out).unwrap()
    }

    fn first(text: &str, count: usize) -> &str {
        text.get(..count).unwrap()
    }

    /// Put together here, so that nobody who looks for secrets in sources finds these.
    fn planted() -> Vec<String> {
        let letters = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
        vec![
            format!("AKIA{}", "IOSFODNN7EXAMPLE"),
            format!("ghp_{letters}"),
            format!("glpat-{}", first(letters, 20)),
            format!("xoxb-{}", first(letters, 24)),
            format!("AIza{}", first(letters, 35)),
            format!("sk_live_{}", first(letters, 24)),
            format!("npm_{letters}"),
            format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{letters}"),
        ]
    }

    #[test]
    fn secrets_by_their_form_are_taken_out() {
        for secret in planted() {
            assert_eq!(redacted(&format!("x {secret} y")), "x [redacted] y", "{secret}");
            assert_eq!(redacted(&format!("\x1b[31m{secret}\x1b[0m")), "\x1b[31m[redacted]\x1b[0m", "{secret}");
        }
    }

    #[test]
    fn secrets_are_known_by_what_stands_before_them() {
        let table = [
            ("password=hunter2 next", "password=[redacted] next"),
            ("Password: hunter2", "Password: [redacted]"),
            ("{\"password\": \"hunter 2\", \"a\": 1}", "{\"password\": [redacted], \"a\": 1}"),
            ("{\"token\":\"a\\\"b\",\"c\":2}", "{\"token\":[redacted],\"c\":2}"),
            ("DB_PASSWORD='a b' x", "DB_PASSWORD=[redacted] x"),
            ("AWS_SECRET_ACCESS_KEY=abc/def+gh", "AWS_SECRET_ACCESS_KEY=[redacted]"),
            ("client_secret => xyz", "client_secret => [redacted]"),
            ("GET /a?access_token=abc&x=1", "GET /a?access_token=[redacted]&x=1"),
            ("Authorization: Bearer abcdefgh12345", "Authorization: [redacted] [redacted]"),
            ("using Basic dXNlcjpwYXNz now", "using Basic [redacted] now"),
            ("postgres://ann:hunter2@db/x", "postgres://ann:[redacted]@db/x"),
            ("mysql --password hunter2 -h db", "mysql --password [redacted] -h db"),
            ("password\x1b[0m=\x1b[32mhunter2\x1b[0m", "password\x1b[0m=\x1b[32m[redacted]\x1b[0m"),
            // What only sounds like one.
            ("tokens per second", "tokens per second"),
            ("the password was wrong", "the password was wrong"),
            ("http://localhost:7070/streams/a", "http://localhost:7070/streams/a"),
            ("at 12:30:00 user@host", "at 12:30:00 user@host"),
        ];
        for (line, expected) in table {
            assert_eq!(redacted(line), expected, "{line}");
        }
    }

    #[test]
    fn a_private_key_is_taken_out_over_all_its_lines() {
        let (begin, end) =
            (format!("-----BEGIN RSA {} KEY-----", "PRIVATE"), format!("-----END RSA {} KEY-----", "PRIVATE"));
        let (mut redact, max) = Redact::new(Vec::new(), 4096);
        let mut out = Vec::new();
        let mut lines = Lines::new(max, CarriageReturn::Fold);
        let text = format!("a\nkey: x {begin}\nMIIabc\ndefg==\n{end} b\nc {begin}MII{end} d\n");
        lines.push(text.as_bytes(), |line| {
            redact.line(line, 4096, &mut |line| out.push(String::from_utf8(line.text.to_vec()).unwrap()));
        });
        let mark = "[redacted]";
        assert_eq!(out, ["a", &format!("key: x {mark}"), mark, mark, &format!("{mark} b"), &format!("c {mark} d")]);
        assert_eq!(redact.take_count(), 5);
    }

    #[test]
    fn patterns_of_ones_own_count_too() {
        let own = vec![Regex::new("pin (?P<secret>[0-9]+)").unwrap(), Regex::new("ACME-[0-9]+").unwrap()];
        let (mut redact, _) = Redact::new(own, 4096);
        let mut out = Vec::new();
        let line = Line { text: b"pin 1234 of ACME-77", continued: false, partial: false, source: 0 };
        redact.line(line, 4096, &mut |line| out.extend_from_slice(line.text));
        assert_eq!(out, b"pin [redacted] of [redacted]");
        assert_eq!(redact.open(b"pin 1234 of ACME-77"), b"pin [redacted] of ");
    }

    proptest! {
        #[test]
        fn where_reads_and_lines_are_cut_never_shows_a_secret(
            before in 0usize..3000, after in 0usize..3000, chunk in 1usize..700, which in 0usize..8, colon in proptest::bool::ANY,
        ) {
            const MAX: usize = 1 << 10;
            let secret = planted()[which].clone();
            let fill = |count: usize| "word ".repeat(count / 5);
            let named = if colon { "password: " } else { "" };
            let text = format!("{}{named}{secret} {}\n", fill(before), fill(after));
            let (mut redact, max) = Redact::new(Vec::new(), MAX);
            let mut lines = Lines::new(max, CarriageReturn::Fold);
            let mut out = Vec::new();
            for bytes in text.as_bytes().chunks(chunk) {
                lines.push(bytes, |line| redact.line(line, MAX, &mut |line| {
                    assert!(line.text.len() <= MAX);
                    out.extend_from_slice(line.text);
                }));
                let shown = redact.open(lines.open());
                prop_assert!(!String::from_utf8_lossy(&shown).contains(first(&secret, 12)), "{:?}", shown);
            }
            let expected = text.trim_end_matches('\n').replace(&secret, "[redacted]");
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            prop_assert_eq!((redact.take_count(), redact.held()), (1, 0));
        }
    }
}
