//! What is said of the journal of systemd, to follow it.

use std::fmt;

use crate::event::Level;

use super::ReadFrom;
use super::check::{Checker, value, written};
use super::raw;
use super::report::NodeLocation;
use crate::config::parse::located::{Located, OneOrMany, Setting};

/// Longest name of a field in the journal, in bytes (systemd.journal-fields(7)).
const MAX_JOURNAL_FIELD_LENGTH: usize = 64;

/// Entries of the journal, as one stream: those that all of these pick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalSourceConfig {
    /// Those of one of these units; none for any. A name may be a pattern, as for `journalctl --unit`.
    pub units: Vec<String>,
    /// Those of one of these programs, by their syslog identifiers; none for any.
    pub identifiers: Vec<String>,
    /// Those at least so serious.
    pub priority: Option<Level>,
    /// Those of the kernel alone.
    pub kernel: bool,
    /// Those with these fields, each `FIELD=VALUE`; of those of one name, one is enough.
    pub matches: Vec<String>,
    /// Where to begin if it was never read.
    pub from: ReadFrom,
}

/// A level as the journal calls it: a name, or its number.
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

impl Checker<'_> {
    /// A stream of the journal.
    pub(super) fn journal(
        &mut self,
        journal: Located<raw::JournalFilter>,
        raw: &mut raw::Stream,
    ) -> Option<JournalSourceConfig> {
        let from = value(raw.from.take()).unwrap_or_default();
        let journal = journal.value?;
        let kernel = written(journal.kernel);
        let units = self.words("unit", journal.unit, |_| true);
        let identifiers = self.words("program", journal.identifier, |_| true);
        let matches = self.words("field with its value, such as _UID=1000", journal.r#match, is_match);
        if let Some((place, true)) = kernel
            && !units.is_empty()
        {
            self.report.wrong(place, "the kernel is in no unit (leave `unit` out, or make two streams)");
        }
        let kernel = kernel.is_some_and(|(_, kernel)| kernel);
        let priority = value(journal.priority).map(|priority| priority.0);
        Some(JournalSourceConfig { units, identifiers, priority, kernel, matches, from })
    }

    /// One text or several, each of which has to name something.
    fn words(&mut self, what: &str, field: Setting<OneOrMany<String>>, fits: fn(&str) -> bool) -> Vec<String> {
        let Some((place, OneOrMany(list))) = written(field) else { return Vec::new() };
        if list.is_empty() {
            self.report.wrong(place, format!("names no {what}"));
        }
        let word = |Located { place, value }: Located<String>| self.word(what, place, value?, fits);
        list.into_iter().filter_map(word).collect()
    }

    fn word(&mut self, what: &str, place: NodeLocation, word: String, fits: fn(&str) -> bool) -> Option<String> {
        if word.is_empty() || word.contains('\0') || !fits(&word) {
            self.report.wrong(place, format!("not a {what}: {word:?}"));
            return None;
        }
        Some(word)
    }
}

/// Whether it is `FIELD=VALUE`.
fn is_match(word: &str) -> bool {
    let letter = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
    let name = |name: &str| {
        (1..=MAX_JOURNAL_FIELD_LENGTH).contains(&name.len())
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(letter)
    };
    word.split_once('=').is_some_and(|(field, _)| name(field))
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

    #[test]
    fn a_match_has_a_field_and_a_value() {
        for (word, fits) in [
            ("_UID=1000", true),
            ("MESSAGE_ID=", true),
            ("A1=b=c", true),
            ("uid=1", false),
            ("=x", false),
            ("1A=x", false),
            ("+", false),
            ("--file=/etc/x", false),
        ] {
            assert_eq!(is_match(word), fits, "{word}");
        }
    }
}
