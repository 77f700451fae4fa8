//! The level of a line, detected from the first word in it that names one.

use std::fmt;
use std::str::FromStr;

/// The bytes at the start of a line that are searched for a level. Programs write the level near the start, and with
/// this limit a long line costs no more than a short one.
const LEVEL_SCAN_LENGTH: usize = 256;

/// The priorities of syslog and the journal (RFC 5424, section 6.2.1), most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The system is unusable.
    Emergency,
    /// Someone must act immediately.
    Alert,
    /// Something essential failed.
    Critical,
    /// An operation failed.
    Error,
    /// A condition that may need attention.
    Warning,
    /// A normal but significant event.
    Notice,
    /// Normal operation.
    Info,
    /// Details for debugging.
    Debug,
}

/// A text that is not a [`Level`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a level: {0:?} (use emergency, alert, critical, error, warning, notice, info or debug)")]
pub struct BadLevel(pub String);

impl Level {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level of this number, 0 to 7.
    pub fn from_number(number: u8) -> Option<Self> {
        const LEVELS_BY_NUMBER: [Level; 8] = [
            Level::Emergency,
            Level::Alert,
            Level::Critical,
            Level::Error,
            Level::Warning,
            Level::Notice,
            Level::Info,
            Level::Debug,
        ];
        LEVELS_BY_NUMBER.get(usize::from(number)).copied()
    }

    /// The level that a line names: that of the first of these words, in any case, in the first 256 bytes. A word ends
    /// before the first character that is not a letter, a digit or `_`; colours (ECMA-48 control sequences) separate
    /// words.
    ///
    /// `emerg emergency`, `alert`, `crit critical fatal panic`, `err error`, `warn warning`, `notice`, `info`,
    /// `debug trace`.
    pub fn detect(line: &[u8]) -> Option<Self> {
        let line = &line[..line.len().min(LEVEL_SCAN_LENGTH)];
        let mut at = 0;
        while at < line.len() {
            if line[at] == 0x1b && line.get(at + 1) == Some(&b'[') {
                let ends = |c: &u8| matches!(c, 0x40..=0x7e);
                at = line[at + 2..].iter().position(ends).map_or(line.len(), |length| at + 2 + length + 1);
            } else if in_word(line[at]) {
                let length = line[at..].iter().position(|&c| !in_word(c)).unwrap_or(line.len() - at);
                if let Some(level) = Self::from_word(&line[at..at + length]) {
                    return Some(level);
                }
                at += length;
            } else {
                at += 1;
            }
        }
        None
    }

    fn from_word(word: &[u8]) -> Option<Self> {
        let mut lower = [0; 9];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"emerg" | b"emergency" => Self::Emergency,
            b"alert" => Self::Alert,
            b"crit" | b"critical" | b"fatal" | b"panic" => Self::Critical,
            b"err" | b"error" => Self::Error,
            b"warn" | b"warning" => Self::Warning,
            b"notice" => Self::Notice,
            b"info" => Self::Info,
            b"debug" | b"trace" => Self::Debug,
            _ => return None,
        })
    }
}

/// Returns whether the byte belongs to a word; bytes of letters in other alphabets do.
fn in_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80
}

impl FromStr for Level {
    type Err = BadLevel;
    fn from_str(text: &str) -> Result<Self, BadLevel> {
        Self::from_word(text.as_bytes()).ok_or_else(|| BadLevel(text.chars().take(100).collect()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_that_says_it_counts() {
        let table: [(&[u8], Option<Level>); 17] = [
            (b"2026-11-24T16:00:00Z ERROR disk full", Some(Level::Error)),
            (b"[warn] no info", Some(Level::Warning)),
            (b"\x1b[32mINFO\x1b[0m ready", Some(Level::Info)),
            (b"\x1b[1;31merror\x1b[0m: expected `;`", Some(Level::Error)),
            (br#"{"level":"debug","msg":"error"}"#, Some(Level::Debug)),
            (b"thread 'main' panicked", None),
            (b"kernel: panic: no init", Some(Level::Critical)),
            (b"Trace: x", Some(Level::Debug)),
            (b"information, errors, warned", None),
            (b"my_error error_code", None),
            (b"err", Some(Level::Error)),
            (b"", None),
            (b"\x1b[", None),
            (b"\xc3\xa9info", None),
            (b"emergency", Some(Level::Emergency)),
            (b"emergencyx", None),
            (b"level=notice", Some(Level::Notice)),
        ];
        for (line, level) in table {
            assert_eq!(Level::detect(line), level, "{}", String::from_utf8_lossy(line));
        }
        let mut long = vec![b' '; LEVEL_SCAN_LENGTH];
        long.extend(b"error");
        assert_eq!(Level::detect(&long), None);
        assert!(Level::Error < Level::Info);
        assert_eq!("Warn".parse(), Ok(Level::Warning));
        assert!("loud".parse::<Level>().unwrap_err().to_string().contains("notice"));
    }
}
