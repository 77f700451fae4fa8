//! The configuration of a stream from the journal of systemd.

use std::fmt;
use std::path::PathBuf;

use crate::event::Level;

use super::ReadFrom;

/// Entries of the journal as one stream: those that match every field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalSourceConfig {
    /// Only entries of these units; empty for any. A name may be a pattern, as for `journalctl --unit`.
    pub units: Vec<String>,
    /// Only entries of programs with these syslog identifiers; empty for any.
    pub identifiers: Vec<String>,
    /// Only entries of at least this severity.
    pub priority: Option<Level>,
    /// Only entries of the kernel.
    pub kernel: bool,
    /// Only entries with these fields, each `FIELD=VALUE`; of several values for one field, one is enough.
    pub matches: Vec<String>,
    /// The directory with the journal of another machine: absolute; `None` for the journal of this machine.
    pub directory: Option<PathBuf>,
    /// The namespace, as for `journalctl --namespace`; `None` for the default one. Not together with `directory`.
    pub namespace: Option<String>,
    /// The start if the journal was never read.
    pub from: ReadFrom,
}

/// A level as the journal names it: by a word or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalPriority(pub Level);

/// A text that is not a [`JournalPriority`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a priority: {0:?} (emerg, alert, crit, err, warning, notice, info or debug, or 0 to 7)")]
pub struct BadJournalPriority(pub String);

impl std::str::FromStr for JournalPriority {
    type Err = BadJournalPriority;
    fn from_str(text: &str) -> Result<Self, BadJournalPriority> {
        let numbered = text.parse().ok().and_then(Level::from_number);
        let named = || text.parse::<Level>().ok();
        numbered.or_else(named).map(Self).ok_or_else(|| BadJournalPriority(text.chars().take(100).collect()))
    }
}

impl fmt::Display for JournalPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_has_a_name_and_a_number() {
        for (text, level) in
            [("0", Level::Emergency), ("err", Level::Error), ("4", Level::Warning), ("debug", Level::Debug)]
        {
            assert_eq!(text.parse(), Ok(JournalPriority(level)), "{text}");
        }
        for text in ["8", "-1", "", "loud", "warning..err"] {
            assert!(text.parse::<JournalPriority>().unwrap_err().to_string().contains("0 to 7"), "{text}");
        }
    }
}
