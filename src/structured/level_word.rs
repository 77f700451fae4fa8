//! The words, letters and numbers by which programs name a level.

use crate::event::Level;

/// The level that a word names, in any case. The words of syslog and those of common loggers: `fata` and `erro` of
/// logrus, `eror` of log15, `ftl`, `wrn` and `inf` of zerolog and Serilog, `fail`, `dbug` and `trce` of .NET, `severe`
/// and `fine` of Java, `silly` of npm, `log` and `debug1` of `PostgreSQL`.
pub(super) fn from_word(word: &[u8]) -> Option<Level> {
    let mut lower = [0; 13];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    // This is asked of most words at the head of each line, so the first letter decides which words are compared.
    let level = match lower.first()? {
        b'a' if lower == b"alert" => Level::Alert,
        b'c' if is_one_of(lower, &["crit", "critical"]) => Level::Critical,
        b'c' if lower == b"config" => Level::Debug,
        b'd' if lower == b"dpanic" => Level::Critical,
        b'd' if is_one_of(lower, &["debug", "debu", "dbug", "dbg"]) => Level::Debug,
        b'd' if matches!(lower, [b'd', b'e', b'b', b'u', b'g', b'1'..=b'5']) => Level::Debug,
        b'e' if is_one_of(lower, &["error", "err", "erro", "eror"]) => Level::Error,
        b'e' if is_one_of(lower, &["emergency", "emerg"]) => Level::Emergency,
        b'f' if is_one_of(lower, &["fatal", "fata", "ftl"]) => Level::Critical,
        b'f' if is_one_of(lower, &["fail", "failed", "failure"]) => Level::Error,
        b'f' if is_one_of(lower, &["fine", "finer", "finest"]) => Level::Debug,
        b'i' if is_one_of(lower, &["info", "inf", "information", "informational"]) => Level::Info,
        b'l' if lower == b"log" => Level::Info,
        b'n' if is_one_of(lower, &["notice", "note"]) => Level::Notice,
        b'p' if is_one_of(lower, &["panic", "pani", "pnc"]) => Level::Critical,
        b's' if lower == b"severe" => Level::Error,
        b's' if is_one_of(lower, &["silly", "sill"]) => Level::Debug,
        b't' if is_one_of(lower, &["trace", "trac", "trce", "trc"]) => Level::Debug,
        b'v' if is_one_of(lower, &["verbose", "verb", "vrb"]) => Level::Debug,
        b'w' if is_one_of(lower, &["warn", "warning", "wrn"]) => Level::Warning,
        _ => return None,
    };
    Some(level)
}

fn is_one_of(word: &[u8], words: &[&str]) -> bool {
    words.iter().any(|known| known.as_bytes() == word)
}

/// The level that an upper-case letter stands for in formats that have one letter.
pub(super) fn from_letter(letter: u8) -> Option<Level> {
    Some(match letter {
        b'F' | b'C' => Level::Critical,
        b'E' => Level::Error,
        b'W' => Level::Warning,
        b'N' => Level::Notice,
        b'I' => Level::Info,
        b'D' | b'T' | b'V' => Level::Debug,
        _ => return None,
    })
}

/// The level of the severity in a PRI (RFC 5424, section 6.2.1).
pub(super) fn from_priority(priority: u8) -> Option<Level> {
    Level::from_number(priority & 7)
}

/// Returns whether the word is a level only where the form leaves no doubt, since it is a common word otherwise.
pub(super) fn is_ambiguous(word: &[u8]) -> bool {
    const AMBIGUOUS: [&[u8]; 6] = [b"log", b"config", b"fine", b"finer", b"note", b"verb"];
    AMBIGUOUS.iter().any(|ambiguous| word.eq_ignore_ascii_case(ambiguous))
}
