//! Which lines a reader wants. Expressions are compiled once for all who write the same, and what they hold is bounded: those of
//! one filter, and all that are in use.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use regex::bytes::{Regex, RegexBuilder};

use crate::event::{Event, Kind, Level, Origin};

/// Longest expression, in bytes, and most of them in one filter: more go into one, with `|` between them.
const PATTERN: usize = 4 << 10;
const PATTERNS: usize = 16;

/// What expressions may hold compiled, in bytes, from the usual to the most. One is built for the smallest that it fits, and counts
/// for that: words fit the first, `^\d{4}-\d\d` the second, `\w{9}` the last.
const SIZES: [usize; 4] = [16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Most that one may hold beside it while it is used, in bytes: so many times its size, and never more than the largest size.
const CACHE: usize = 4;

/// Most that all expressions in use may hold, in bytes. Those of the two larger sizes share half of it, so that a few of them leave
/// room for hundreds of the usual.
const ALL: usize = 256 << 20;

/// Which lines a reader wants. All other kinds of events pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    grep: Vec<Arc<Expression>>,
    exclude: Vec<Arc<Expression>>,
    origins: Vec<String>,
    level: Option<Level>,
}

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// It is longer than an expression may be.
    #[error("the expression has {0} bytes; the most is {PATTERN}")]
    TooLong(usize),
    /// There are more than a filter may have.
    #[error("{0} expressions; the most is {PATTERNS} (put several into one: a|b|c)")]
    TooMany(usize),
    /// It is not an expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// It grows too large when it is compiled.
    #[error(
        "the expression takes more than {} bytes when it is compiled; repeat less in it (a{{1000}}), or use [0-9A-Za-z_] for \\w",
        SIZES[SIZES.len() - 1]
    )]
    TooLarge,
    /// Those of all readers together hold as much as they may.
    #[error(
        "the expressions of all readers together take as much memory as they may; try again later, or use a simpler one"
    )]
    NoRoom,
}

impl BadFilter {
    /// Whether the same may be taken later.
    pub fn is_for_now(&self) -> bool {
        *self == Self::NoRoom
    }
}

impl Filter {
    /// Lines that match each of `grep` and none of `exclude`, and came from one of `origins` if there are any.
    ///
    /// Costs a look-up for each expression that is in use already, and a compilation for others.
    ///
    /// # Errors
    /// If an expression is too long, is none (syntax of the `regex` crate), or takes too much memory; or there are too many.
    pub fn new(grep: &[String], exclude: &[String], origins: Vec<String>) -> Result<Self, BadFilter> {
        let count = grep.len() + exclude.len();
        if count > PATTERNS {
            return Err(BadFilter::TooMany(count));
        }
        let compile = |patterns: &[String]| patterns.iter().map(|it| Expression::of(it)).collect::<Result<_, _>>();
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
            && self.grep.iter().all(|expression| expression.regex.is_match(text))
            && !self.exclude.iter().any(|expression| expression.regex.is_match(text))
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

/// An expression in use; equal to another with the same text.
#[derive(Debug)]
struct Expression {
    regex: Regex,
    /// What it counts for, in bytes.
    weight: usize,
}

/// The expressions in use, by their texts, and what they hold together. An expression that is dropped takes itself out.
#[derive(Debug, Default)]
struct InUse {
    by_text: HashMap<String, Weak<Expression>>,
    weight: usize,
}

static IN_USE: LazyLock<Mutex<InUse>> = LazyLock::new(Mutex::default);

fn in_use() -> MutexGuard<'static, InUse> {
    // The sum is right after each step, so a panic elsewhere does not spoil it.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Expression {
    /// The expression of a text: the one in use, or a new one.
    fn of(text: &str) -> Result<Arc<Self>, BadFilter> {
        if text.len() > PATTERN {
            return Err(BadFilter::TooLong(text.len()));
        }
        let known = || in_use().by_text.get(text).and_then(Weak::upgrade);
        if let Some(known) = known() {
            return Ok(known);
        }
        let (regex, size) = compile(text)?;
        let weight = size + cache(size);
        let most = if size <= SIZES[1] { ALL } else { ALL / 2 };
        let mut all = in_use();
        if all.weight + weight > most {
            return Err(BadFilter::NoRoom);
        }
        all.weight += weight;
        let new = Arc::new(Self { regex, weight });
        // If another reader was quicker there are two for a while, and the newer is found.
        all.by_text.insert(text.to_owned(), Arc::downgrade(&new));
        Ok(new)
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        let mut all = in_use();
        all.weight -= self.weight;
        let text = self.regex.as_str();
        // Another with the same text may be found there by now.
        if all.by_text.get(text).is_some_and(|known| known.strong_count() == 0) {
            all.by_text.remove(text);
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Expression {}

/// Most that an expression of this size may hold while it is used.
fn cache(size: usize) -> usize {
    (CACHE * size).min(SIZES[SIZES.len() - 1])
}

/// The expression, and the size that it was built for.
fn compile(text: &str) -> Result<(Regex, usize), BadFilter> {
    for size in SIZES {
        match RegexBuilder::new(text).size_limit(size).dfa_size_limit(cache(size)).build() {
            Ok(regex) => return Ok((regex, size)),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(error) => return Err(BadFilter::Syntax(error.to_string())),
        }
    }
    Err(BadFilter::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grep: &[&str]) -> Result<Filter, BadFilter> {
        Filter::new(&grep.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), &[], vec![])
    }

    #[test]
    fn what_grows_when_it_is_compiled_is_refused() {
        let deep = "(".repeat(2000) + &")".repeat(2000);
        let table = [
            ("(a{1000}){1000}", BadFilter::TooLarge),
            (r"\w{5000}", BadFilter::TooLarge),
            (r"((((\w{9}){9}){9}){9}){9}", BadFilter::TooLarge),
            (&"x".repeat(PATTERN + 1), BadFilter::TooLong(PATTERN + 1)),
        ];
        for (text, refusal) in table {
            assert_eq!(of(&[text]), Err(refusal), "{text:.40}");
        }
        for text in [&deep, "a{1001", "a{99999999999}", "(?P<a", "["] {
            assert!(matches!(of(&[text]), Err(BadFilter::Syntax(_))), "{text:.40}");
        }
        let many = ["a"; PATTERNS + 1];
        assert_eq!(of(&many), Err(BadFilter::TooMany(PATTERNS + 1)));
        assert!(of(&many[1..]).is_ok());
    }

    #[test]
    fn what_takes_other_engines_for_ever_is_done_at_once() {
        let line = "a".repeat(256 << 10);
        for text in ["((a*)*)*b", "(a+a+)+b", "(a|a)*b", "(a|aa)+$b"] {
            assert!(!of(&[text]).unwrap().takes(None, None, line.as_bytes()), "{text}");
        }
    }

    #[test]
    fn equal_expressions_are_one_while_they_are_in_use() {
        let known = || in_use().by_text.contains_key("known to this test alone");
        let (first, second) = (of(&["known to this test alone"]).unwrap(), of(&["known to this test alone"]).unwrap());
        assert!(Arc::ptr_eq(&first.grep[0], &second.grep[0]));
        drop(first);
        assert!(known());
        drop(second);
        assert!(!known());
    }

    #[test]
    fn all_together_hold_no_more_than_they_may() {
        // The largest that fit: two megabytes each, so that the half for such is full after 64.
        let large = |at: usize| of(&[&format!(r"\w{{9}} {at}")]);
        let (held, refused): (Vec<_>, Vec<_>) = (0..80).map(large).partition(Result::is_ok);
        let most = ALL / 2 / (2 * SIZES[3]);
        assert!(held.len() <= most && held.len() + 8 > most, "{}", held.len());
        assert_eq!(refused[0], Err(BadFilter::NoRoom));
        assert!(of(&[r"^\d{4}-\d\d-\d\d error"]).is_ok(), "the usual ones have room");
        assert!(in_use().weight <= ALL);
        drop(held);
        assert!(large(0).is_ok());
    }
}
