//! Which lines a reader wants.

use regex::bytes::{Regex, RegexBuilder};

use crate::event::{Event, Kind, Level, Origin};

/// Longest expression, in bytes: nobody writes one of more by hand.
const PATTERN: usize = 4 << 10;

/// Most memory for what the expressions of a filter have seen, in bytes; it is taken while lines are held against them, and
/// where it is little, that is only slower.
const SEEN: usize = 1 << 20;

/// Which lines a reader wants. All other kinds of events pass.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    grep: Vec<Regex>,
    exclude: Vec<Regex>,
    origins: Vec<String>,
    level: Option<Level>,
}

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// It is longer than an expression may be.
    #[error("the expression has {0} bytes; the most is {PATTERN}")]
    TooLong(usize),
    /// It is not an expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// It grows too large when it is compiled.
    #[error("the expressions of this filter may take {0} bytes of memory together, and need more; say it more simply")]
    TooLarge(usize),
}

impl Filter {
    /// Lines that match each of `grep` and none of `exclude`, and came from one of `origins` if there are any.
    ///
    /// # Errors
    /// If an expression is too long, is none (syntax of the `regex` crate), or takes too much memory: of `most` bytes each may
    /// take an equal part, as many readers bring filters of their own.
    pub fn new(grep: &[String], exclude: &[String], origins: Vec<String>, most: usize) -> Result<Self, BadFilter> {
        let count = (grep.len() + exclude.len()).max(1);
        let compile = |pattern: &String| match compile(pattern, most / count, SEEN / count) {
            Err(BadFilter::TooLarge(_)) => Err(BadFilter::TooLarge(most)),
            compiled => compiled,
        };
        let compile = |patterns: &[String]| patterns.iter().map(compile).collect::<Result<_, _>>();
        Ok(Self { grep: compile(grep)?, exclude: compile(exclude)?, origins, level: None })
    }

    /// And of these, lines that say they are at least as serious as `level`.
    #[must_use]
    pub fn with_level(self, level: Option<Level>) -> Self {
        Self { level, ..self }
    }

    /// Whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.grep.is_empty() && self.exclude.is_empty() && self.origins.is_empty() && self.level.is_none()
    }

    /// Whether a line passes; `level` is that of the line if its source said one.
    pub(super) fn takes(&self, origin: Option<&str>, level: Option<Level>, text: &[u8]) -> bool {
        (self.origins.is_empty() || self.origins.iter().any(|wanted| Some(wanted.as_str()) == origin))
            && self.level.is_none_or(|least| level.or_else(|| Level::of(text)).is_some_and(|level| level <= least))
            && self.grep.iter().all(|pattern| pattern.is_match(text))
            && !self.exclude.iter().any(|pattern| pattern.is_match(text))
    }

    /// Whether an event passes; `count` counts what had to be looked at.
    pub(super) fn takes_event(&self, event: &Event<'_>, count: &mut u64) -> bool {
        if event.kind != Kind::Line || self.is_empty() {
            return true;
        }
        *count += 1;
        self.takes(event.origin.map(Origin::as_str), event.flags.level(), event.text)
    }
}

fn compile(pattern: &str, most: usize, seen: usize) -> Result<Regex, BadFilter> {
    if pattern.len() > PATTERN {
        return Err(BadFilter::TooLong(pattern.len()));
    }
    let built = RegexBuilder::new(pattern).size_limit(most).dfa_size_limit(seen).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => BadFilter::TooLarge(most),
        error => BadFilter::Syntax(error.to_string()),
    })
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &[Regex], b: &[Regex]| a.iter().map(Regex::as_str).eq(b.iter().map(Regex::as_str));
        same(&self.grep, &other.grep)
            && same(&self.exclude, &other.exclude)
            && self.origins == other.origins
            && self.level == other.level
    }
}

impl Eq for Filter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_expressions_together_take_no_more_than_they_may() {
        let new = |grep: &[&str], exclude: &[&str], most| {
            let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            Filter::new(&texts(grep), &texts(exclude), vec![], most).err()
        };
        let most = 32 << 10;
        assert_eq!(new(&["error|warning", "(?i)one"], &["^debug"], most), None);
        // Each alone would do.
        let classes = ["[a-z]{200}"; 30];
        assert_eq!(new(&classes[..1], &[], most), None);
        assert_eq!(new(&classes, &[], most), Some(BadFilter::TooLarge(most)));
        assert_eq!(new(&[], &classes, most), Some(BadFilter::TooLarge(most)));
        assert_eq!(new(&["\\w{50}"], &[], most), Some(BadFilter::TooLarge(most)));
        assert_eq!(new(&[&"x".repeat(PATTERN + 1)], &[], usize::MAX), Some(BadFilter::TooLong(PATTERN + 1)));
        assert!(matches!(new(&["("], &[], most), Some(BadFilter::Syntax(_))));
    }
}
