//! The configuration of progress detection, and the patterns for it.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// The names that groups of a pattern may have; the text of a group is shown under its name.
pub const PROGRESS_GROUP_NAMES: [&str; 5] = ["percent", "current", "total", "phase", "message"];

/// The longest pattern, in bytes, and the most memory of a compiled one: each line is matched against each pattern.
const MAX_PROGRESS_PATTERN_SIZE: usize = 4 << 10;
const MAX_PROGRESS_PATTERN_MEMORY: usize = 1 << 20;

/// The switch and the patterns by which progress is detected in a stream's lines.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgressDetection {
    /// Progress is not detected.
    Off,
    /// Progress is detected: by these patterns first, then by the built-in recognisers.
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
    /// The pattern is too long.
    #[error("the pattern has {0} bytes; the limit is {MAX_PROGRESS_PATTERN_SIZE}")]
    TooLong(usize),
    /// The pattern is not an expression, or grows too large when it is compiled.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// A group has an unknown name.
    #[error("unknown group {0:?} (use percent, current, total, phase or message)")]
    Group(String),
    /// No group gives the progress.
    #[error("the pattern needs a group named percent, current or phase (as in (?P<percent>[0-9]+)%)")]
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
        // The regex crate prints the pattern over several lines; the last line is the message.
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
            (r"\d+%", Some("needs a group named")),
            (r"(?P<total>\d+)", Some("needs a group named")),
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
