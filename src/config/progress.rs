//! Whether a stream's progress is looked for, and the patterns of its owner.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// Names that the groups of a pattern may have: what they hold is shown under that name.
pub const PROGRESS_GROUPS: [&str; 5] = ["percent", "current", "total", "phase", "message"];

/// Longest pattern, in bytes, and the most memory that one compiled may take: each line is held against each of them.
const PATTERN: usize = 4 << 10;
const COMPILED: usize = 1 << 20;

/// Whether progress is looked for in a stream's lines.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It is not.
    Off,
    /// It is: by these patterns first, then by all that is known of programs.
    On(Vec<Pattern>),
}

impl Default for Progress {
    fn default() -> Self {
        Self::On(Vec::new())
    }
}

/// An expression with named groups of [`PROGRESS_GROUPS`]: at least `percent`, `current` or `phase`.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// A text that is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is longer than an expression may be.
    #[error("the pattern has {0} bytes; the most is {PATTERN}")]
    TooLong(usize),
    /// It is not an expression, or grows too large when it is compiled.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// A group has a name that means nothing here.
    #[error("the group {0:?} means nothing (name groups percent, current, total, phase or message)")]
    Group(String),
    /// Nothing in it says how far the source is.
    #[error("no group says how far it is (name one percent, current or phase, as in (?P<percent>[0-9]+)%)")]
    Nothing,
}

impl Pattern {
    /// The expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text.len() > PATTERN {
            return Err(BadPattern::TooLong(text.len()));
        }
        let built = RegexBuilder::new(text).size_limit(COMPILED).dfa_size_limit(COMPILED).build();
        // The crate draws the place over several lines; the last one says what is wrong.
        let last = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        let regex = built.map_err(|error| BadPattern::Syntax(last(error)))?;
        let names = || regex.capture_names().flatten();
        if let Some(unknown) = names().find(|name| !PROGRESS_GROUPS.contains(name)) {
            return Err(BadPattern::Group(unknown.to_owned()));
        }
        if !names().any(|name| matches!(name, "percent" | "current" | "phase")) {
            return Err(BadPattern::Nothing);
        }
        Ok(Self(regex))
    }
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::choice::Chosen;
    use super::super::field::Field;
    use super::Pattern;

    /// What the progress of a program looks like.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct ProgressPattern {
        /// A regular expression with named groups: percent, current, total, phase, message. Such as
        /// `step (?P<current>[0-9]+) of (?P<total>[0-9]+)`.
        pub(in crate::config) pattern: Field<Pattern>,
    }

    impl Chosen for ProgressPattern {
        const EXPECTED: &'static str =
            "on, off or a list of patterns, such as [{ pattern: '(?P<percent>[0-9]+)% copied' }]";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_what_its_groups_mean() {
        let table = [
            (r"step (?P<current>\d+) of (?P<total>\d+)", None),
            (r"^== (?P<phase>.+) ==$", None),
            (r"\d+%", Some("no group says")),
            (r"(?P<total>\d+)", Some("no group says")),
            (r"(?P<per_cent>\d+)%", Some("\"per_cent\" means nothing")),
            (r"(?P<percent>\d+", Some("unclosed group")),
        ];
        for (text, expected) in table {
            let error = text.parse::<Pattern>().err().map(|error| error.to_string());
            match (expected, &error) {
                (None, None) => {}
                (Some(expected), Some(error)) if error.contains(expected) => {}
                _ => panic!("{text}: {error:?} instead of {expected:?}"),
            }
        }
    }
}
