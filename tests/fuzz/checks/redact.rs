//! Secrets: where reads end never shows, nothing of a planted one does either, and all else of a line stays.

use rtlogd::line::{CarriageReturn, Line, Lines, MARK, Redact};

use super::{choices, reads};

/// Longest line that goes out, in bytes.
const MAX: usize = 1 << 10;

/// The choices: where reads end, and where the secret stands (two bytes).
pub fn redact(data: &[u8]) {
    let ([seed, place @ ..], text) = choices::<3>(data);
    assert_eq!(taken(text, seed), taken(text, 0), "where reads end shows");
    // Put together here, so that nobody who looks for secrets in sources finds one.
    let secret = format!("{}{}", "AKIA", "PLANTED0PLANTED0");
    let at = usize::from(u16::from_be_bytes(place)) % (text.len() + 1);
    let planted = [&text[..at], b" ", secret.as_bytes(), b" ", &text[at..]].concat();
    let lines = taken(&planted, seed);
    // What is longer than a line may be is cut, and a secret that it lies in may be too long to be held.
    if planted.split(|byte| *byte == b'\n').all(|line| line.len() < MAX / 2) {
        for line in &lines {
            assert!(!holds(line, secret.as_bytes()), "{}", String::from_utf8_lossy(line));
        }
        let marks = |lines: &[Vec<u8>]| lines.iter().filter(|line| holds(line, MARK)).count();
        assert!(marks(&lines) > 0, "nothing was taken out");
    }
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

/// The lines without their secrets. What is shown meanwhile of one that is not finished is never more than of the whole line.
fn taken(text: &[u8], seed: u8) -> Vec<Vec<u8>> {
    let (mut redact, most) = Redact::new(Vec::new(), MAX);
    let mut lines = Lines::new(most, CarriageReturn::Keep);
    let (mut out, mut begun) = (Vec::new(), Vec::new());
    let mut give = |redact: &mut Redact, line: Line<'_>| {
        redact.line(line, MAX, &mut |line| {
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
        let shown = redact.open(lines.open());
        assert_eq!(redact.held(), held, "showing it changes nothing");
        let before_its_end = shown.last().is_none_or(|byte| byte.is_ascii_whitespace() || shown.ends_with(MARK));
        assert!(before_its_end, "half a word is shown: {}", String::from_utf8_lossy(&shown));
    }
    lines.finish(|line| give(&mut redact, line));
    assert_eq!(redact.held(), 0, "something is kept for ever");
    out
}
