//! The level of a line.

use std::fmt;
use std::str::FromStr;

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
    fn a_name_is_parsed_in_any_case() {
        assert!(Level::Error < Level::Info);
        for number in 0..8 {
            let level = Level::from_number(number).unwrap();
            assert_eq!(level.name().to_ascii_uppercase().parse(), Ok(level));
        }
        assert_eq!("Warn".parse(), Ok(Level::Warning));
        assert!("loud".parse::<Level>().unwrap_err().to_string().contains("notice"));
        assert!("emergencyx".parse::<Level>().is_err());
    }
}
