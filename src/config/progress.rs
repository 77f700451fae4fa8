//! Whether a stream's progress is looked for, and the patterns of its owner.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// Names that the groups of a pattern may have: what they hold is shown under that name.
pub const PROGRESS_GROUP_NAMES: [&str; 5] = ["percent", "current", "total", "phase", "message"];

/// Longest pattern, in bytes, and the most memory that one compiled may take: each line is held against each of them.
const MAX_PROGRESS_PATTERN_SIZE: usize = 4 << 10;
const MAX_PROGRESS_PATTERN_MEMORY: usize = 1 << 20;

/// Whether progress is looked for in a stream's lines.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressDetection {
    /// It is not.
    Off,
    /// It is: by these patterns first, then by all that is known of programs.
    On(Vec<ProgressRegex>),
}

impl Default for ProgressDetection {
    fn default() -> Self {
        Self::On(Vec::new())
    }
}

/// An expression with named groups of [`PROGRESS_GROUP_NAMES`]: at least `percent`, `current` or `phase`.
#[derive(Debug, Clone)]
pub struct ProgressRegex(Regex);

/// A text that is not a [`ProgressRegex`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProgressPattern {
    /// It is longer than an expression may be.
    #[error("the pattern has {0} bytes; the most is {MAX_PROGRESS_PATTERN_SIZE}")]
    TooLong(usize),
    /// It is not an expression, or grows too large when it is compiled.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// A group has a name that means nothing here.
    #[error("unknown group {0:?} (use percent, current, total, phase or message)")]
    Group(String),
    /// Nothing in it says how far the source is.
    #[error("no group gives the progress (name one percent, current or phase, as in (?P<percent>[0-9]+)%)")]
    NoProgressGroup,
}

impl ProgressRegex {
    /// The expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for ProgressRegex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for ProgressRegex {
    type Err = BadProgressPattern;
    fn from_str(text: &str) -> Result<Self, BadProgressPattern> {
        if text.len() > MAX_PROGRESS_PATTERN_SIZE {
            return Err(BadProgressPattern::TooLong(text.len()));
        }
        let built = RegexBuilder::new(text)
            .size_limit(MAX_PROGRESS_PATTERN_MEMORY)
            .dfa_size_limit(MAX_PROGRESS_PATTERN_MEMORY)
            .build();
        // The crate draws the place over several lines; the last one says what is wrong.
        let last = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        let regex = built.map_err(|error| BadProgressPattern::Syntax(last(error)))?;
        let names = || regex.capture_names().flatten();
        if let Some(unknown) = names().find(|name| !PROGRESS_GROUP_NAMES.contains(name)) {
            return Err(BadProgressPattern::Group(unknown.to_owned()));
        }
        if !names().any(|name| matches!(name, "percent" | "current" | "phase")) {
            return Err(BadProgressPattern::NoProgressGroup);
        }
        Ok(Self(regex))
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
            (r"\d+%", Some("no group gives")),
            (r"(?P<total>\d+)", Some("no group gives")),
            (r"(?P<per_cent>\d+)%", Some("unknown group \"per_cent\"")),
            (r"(?P<percent>\d+", Some("unclosed group")),
        ];
        for (text, expected) in table {
            let error = text.parse::<ProgressRegex>().err().map(|error| error.to_string());
            match (expected, &error) {
                (None, None) => {}
                (Some(expected), Some(error)) if error.contains(expected) => {}
                _ => panic!("{text}: {error:?} instead of {expected:?}"),
            }
        }
    }
}
