//! Secrets: where reads end never shows, nothing of a planted one does either, JSON stays JSON, and all else of a line stays.

use rtlogd::line::{CarriageReturnMode, Line, LineSplitter, REDACTION_MARK, Redactor};
use serde_json::{Value, json};

use super::{choices, reads};

/// Longest line that goes out, in bytes.
const MAX: usize = 1 << 10;

/// `LineSplitter` in which `§` is the secret, in every form that is covered.
const FORMS: &str = include_str!("../../redact/secrets.txt");

/// Letters that a secret has in addition to those that say which it is.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.~";

/// The choices: where reads end, where the secret stands (two bytes), in which form, its letters, how often the line is a text
/// of JSON, and where an escape for colours stands.
pub fn redact(data: &[u8]) {
    let ([seed, place @ .., form, letters, depth, colour], text) = choices::<7>(data);
    let place = usize::from(u16::from_be_bytes(place));
    assert_eq!(taken(text, seed).0, taken(text, 0).0, "where reads end shows");
    known_form(text, place, seed);
    named(text, place, seed, Plant { form, letters, depth, colour });
    document(text, letters, depth);
}

/// The secret that is planted.
#[derive(Clone, Copy)]
struct Plant {
    form: u8,
    letters: u8,
    depth: u8,
    colour: u8,
}

fn known_form(text: &[u8], place: usize, seed: u8) {
    // Put together here, so that nobody who looks for secrets in sources finds one.
    let secret = format!("{}{}", "AKIA", "PLANTED0PLANTED0");
    let at = place % (text.len() + 1);
    let planted = [&text[..at], b" ", secret.as_bytes(), b" ", &text[at..]].concat();
    let lines = taken(&planted, seed).0;
    // What is longer than a line may be is cut, and a secret that it lies in may be too long to be held.
    if planted.split(|byte| *byte == b'\n').all(|line| line.len() < MAX / 2) {
        for line in &lines {
            assert!(!holds(line, secret.as_bytes()), "{}", String::from_utf8_lossy(line));
        }
        let marks = |lines: &[Vec<u8>]| lines.iter().filter(|line| holds(line, REDACTION_MARK)).count();
        assert!(marks(&lines) > 0, "nothing was taken out");
    }
}

/// A secret that is known by what stands around it, in a line of its own or within another.
fn named(text: &[u8], place: usize, seed: u8, plant: Plant) {
    let forms: Vec<_> = FORMS.lines().filter(|line| !line.starts_with('#')).collect();
    let form = forms[usize::from(plant.form) % forms.len()];
    let letter = |at: usize| char::from(LETTERS[(usize::from(plant.letters) * (at + 7) + at * at) % LETTERS.len()]);
    let halves = [0, 6].map(|from| (from..from + 6).map(letter).collect::<String>());
    let secret = format!("Q7{}x{}0", halves[0], halves[1]);
    let begins = form.starts_with('^');
    let line = form.trim_start_matches('^').replace('§', &secret).replace('␛', "\x1b").replace('␇', "\x07");
    // An escape that was begun before would swallow what stands in its way.
    let escapes = text.iter().any(|byte| matches!(byte, 0x1B | 0xC2));
    let mut line = if escapes { line } else { coloured(&line, plant.colour) };
    for _ in 0..if begins { 0 } else { plant.depth % 5 } {
        line = json!({ "log": line, "stream": "stdout" }).to_string();
    }
    let at = if begins || plant.depth & 8 > 0 { 0 } else { place % (text.len() + 1) };
    let (before, after) = text.split_at(at);
    let planted = if at == 0 {
        [line.as_bytes(), b"\n", after].concat()
    } else {
        [before, b" ", line.as_bytes(), b" ", after].concat()
    };
    let is_long = planted.split(|byte| *byte == b'\n').any(|line| line.len() >= MAX / 2);
    if is_long
        || escapes && line.contains('\x1b')
        || halves.iter().any(|half| holds(text, half.as_bytes()))
        || is_of_another(text)
    {
        return;
    }
    let (lines, shown) = taken(&planted, seed);
    // What chpasswd is given stands before its name.
    let shown = if form.contains("chpasswd") { Vec::new() } else { shown };
    for line in lines.iter().chain(&shown) {
        for half in &halves {
            assert!(!holds(line, half.as_bytes()), "{half} of {:?} is in {:?}", lossy(&planted), lossy(line));
        }
    }
}

/// Returns whether the text says of a token that it is one of a parser.
fn is_of_another(text: &[u8]) -> bool {
    let text = lossy(text).to_lowercase();
    ["expected", "next", "lookahead", "current", "offending", "syntax"].iter().any(|word| text.contains(word))
}

/// The line with an escape for a colour within it, which a terminal does not show.
fn coloured(line: &str, colour: u8) -> String {
    if colour == 0 || line.contains('\x1b') {
        return line.to_owned();
    }
    let letters: Vec<char> = line.chars().collect();
    let at = usize::from(colour) * 31 % (letters.len() + 1);
    let (before, after) = letters.split_at(at);
    format!("{}\x1b[{}m{}", before.iter().collect::<String>(), colour % 50, after.iter().collect::<String>())
}

/// A document with a secret, text within text, that is to stay one.
fn document(text: &[u8], letters: u8, depth: u8) {
    let text = lossy(text);
    let half = text.len() / 2
        - (0..4)
            .find(|back| text.is_char_boundary((text.len() / 2).saturating_sub(*back)))
            .unwrap_or(0)
            .min(text.len() / 2);
    let (field, value) = text.split_at(half);
    let secret = format!("Q7{value}{letters}");
    let name = ["password", "apiKey", "client_secret", "DB_PASS", "x-auth-token"][usize::from(letters) % 5];
    let mut line = json!({ "a": field, name: secret, "n": letters }).to_string();
    for _ in 0..depth % 4 {
        line = json!({ "log": line }).to_string();
    }
    if line.len() >= MAX / 2 {
        return;
    }
    let out = taken(line.as_bytes(), 0).0.concat();
    let mut out: Value =
        serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {line} became {}", lossy(&out)));
    for _ in 0..depth % 4 {
        let inner = out["log"].as_str().expect("it is a text").to_owned();
        // A name in the text before it may take the rest of the text for its value; then nothing of it is left.
        let Ok(inner) = serde_json::from_str(&inner) else { return assert!(!inner.contains(&secret), "{inner}") };
        out = inner;
    }
    let kept = out[name].as_str();
    assert!(kept != Some(&*secret) || secret.contains("[redacted]"), "{line} became {out}");
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

/// The lines without their secrets, and what was shown meanwhile of those that were not finished, which is never more than of
/// the whole line.
fn taken(text: &[u8], seed: u8) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut redact, most) = Redactor::new(Vec::new(), MAX);
    let mut lines = LineSplitter::new(most, CarriageReturnMode::Keep);
    let (mut out, mut begun, mut all_shown) = (Vec::new(), Vec::new(), Vec::new());
    let mut give = |redact: &mut Redactor, line: Line<'_>| {
        redact.redact_line(line, MAX, &mut |line| {
            assert!(line.text.len() <= MAX, "a piece of {} bytes", line.text.len());
            begun.extend_from_slice(line.text);
            if !line.continued {
                out.push(std::mem::take(&mut begun));
            }
        });
    };
    for read in reads(text, seed) {
        lines.push(read, |line| give(&mut redact, line));
        let held = redact.held();
        let shown = redact.redact_open(lines.open());
        assert_eq!(redact.held(), held, "showing it changes nothing");
        // Behind a mark stand at most quotation marks, and what a terminal does not show.
        let before_its_end = shown.last().is_none_or(u8::is_ascii_whitespace) || holds(&shown, REDACTION_MARK);
        assert!(before_its_end, "half a word is shown: {}", lossy(&shown));
        all_shown.push(shown);
    }
    lines.finish(|line| give(&mut redact, line));
    assert_eq!(redact.held(), 0, "something is kept for ever");
    (out, all_shown)
}
