//! Which lines a reader wants. Expressions are compiled once for all who write the same, and what they hold is bounded: those of
//! one filter, and all that are in use.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

use regex::bytes::{Regex, RegexBuilder};

use crate::event::{Event, EventKind, Level, Origin, lock};

/// Longest expression, in bytes, and most of them in one filter: more go into one, with `|` between them.
const MAX_EXPRESSION_SIZE: usize = 4 << 10;
const MAX_EXPRESSIONS_PER_FILTER: usize = 16;

/// What expressions may hold compiled, in bytes, from the usual to the most. One is built for the smallest that it fits, and counts
/// for that: words fit the first, `^\d{4}-\d\d` the third, `\w{9}` the last.
const COMPILED_SIZE_STEPS: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, MAX_COMPILED_SIZE];
const MAX_COMPILED_SIZE: usize = 1 << 20;

/// The largest of which hundreds may be in use.
const USUAL_COMPILED_SIZE: usize = 64 << 10;

/// Most that one may hold beside it while it is used, in bytes: four times its size, within these.
const MATCH_CACHE_BOUNDS: [usize; 2] = [64 << 10, MAX_COMPILED_SIZE];

/// Most that all expressions in use may hold, in bytes. Those of the two larger sizes share half of it, so that a few of them leave
/// room for hundreds of the usual.
const MAX_TOTAL_EXPRESSION_MEMORY: usize = 256 << 20;

/// Which lines a reader wants. All other kinds of events pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    grep: Vec<Arc<SharedRegex>>,
    exclude: Vec<Arc<SharedRegex>>,
    origins: Vec<String>,
    level: Option<Level>,
}

/// An expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// It is longer than an expression may be.
    #[error("the expression has {0} bytes; the limit is {MAX_EXPRESSION_SIZE}")]
    TooLong(usize),
    /// There are more than a filter may have.
    #[error("{0} expressions; the limit is {MAX_EXPRESSIONS_PER_FILTER} (put several into one: a|b|c)")]
    TooMany(usize),
    /// It is not an expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// It grows too large when it is compiled, or all of the filter together do; so many bytes they may have.
    #[error(
        "the expressions of this filter may take {0} bytes of memory together, and need more; repeat less in them (a{{1000}}), or use \
        [0-9A-Za-z_] for \\w"
    )]
    TooLarge(usize),
    /// Those of all readers together hold as much as they may.
    #[error(
        "the expressions of all readers together take as much memory as they may; try again later, or use a simpler one"
    )]
    NoRoom,
}

impl BadFilter {
    /// Whether the same may be taken later.
    pub fn is_temporary(&self) -> bool {
        *self == Self::NoRoom
    }
}

impl Filter {
    /// Lines that match each of `grep` and none of `exclude`, and came from one of `origins` if there are any. The expressions
    /// may take `most` bytes together, at most 1 MiB each.
    ///
    /// Costs a look-up for each expression that is in use already, and a compilation for others.
    ///
    /// # Errors
    /// If an expression is too long, is none (syntax of the `regex` crate), or takes too much memory; or there are too many.
    pub fn new(grep: &[String], exclude: &[String], origins: Vec<String>, most: usize) -> Result<Self, BadFilter> {
        let count = grep.len() + exclude.len();
        if count > MAX_EXPRESSIONS_PER_FILTER {
            return Err(BadFilter::TooMany(count));
        }
        let mut left = most;
        let mut compile = |text: &String| {
            let expression =
                SharedRegex::of(text, left)?.filter(|it| it.size <= left).ok_or(BadFilter::TooLarge(most))?;
            left -= expression.size;
            Ok(expression)
        };
        let grep = grep.iter().map(&mut compile).collect::<Result<_, _>>()?;
        let exclude = exclude.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { grep, exclude, origins, level: None })
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
    pub(crate) fn takes(&self, origin: Option<&str>, level: Option<Level>, text: &[u8]) -> bool {
        (self.origins.is_empty() || self.origins.iter().any(|wanted| Some(wanted.as_str()) == origin))
            && self.level.is_none_or(|least| level.or_else(|| Level::detect(text)).is_some_and(|level| level <= least))
            && self.grep.iter().all(|expression| expression.regex.is_match(text))
            && !self.exclude.iter().any(|expression| expression.regex.is_match(text))
    }

    /// Whether an event passes; `count` counts what had to be looked at.
    pub(crate) fn matches_event(&self, event: &Event<'_>, count: &mut u64) -> bool {
        if event.kind != EventKind::Line || self.is_empty() {
            return true;
        }
        *count += 1;
        self.takes(event.origin.map(Origin::as_str), event.flags.level(), event.text)
    }
}

/// An expression in use; equal to another with the same text.
#[derive(Debug)]
struct SharedRegex {
    regex: Regex,
    /// What it was built for, of [`COMPILED_SIZE_STEPS`].
    size: usize,
}

/// The expressions in use, by their texts, and what they hold together. An expression that is dropped takes itself out.
#[derive(Debug, Default)]
struct RegexPool {
    by_text: HashMap<String, Weak<SharedRegex>>,
    memory: usize,
}

static REGEX_POOL: LazyLock<Mutex<RegexPool>> = LazyLock::new(Mutex::default);

fn lock_regex_pool() -> MutexGuard<'static, RegexPool> {
    // The sum is right after each step, so a panic elsewhere does not spoil it.
    lock(&REGEX_POOL)
}

impl SharedRegex {
    /// The expression of a text: the one in use, or a new one; none if it takes more than `most` bytes.
    fn of(text: &str, most: usize) -> Result<Option<Arc<Self>>, BadFilter> {
        if text.len() > MAX_EXPRESSION_SIZE {
            return Err(BadFilter::TooLong(text.len()));
        }
        let known = lock_regex_pool().by_text.get(text).and_then(Weak::upgrade);
        if known.is_some() {
            return Ok(known);
        }
        let Some(new) = Self::compile(text, most)? else { return Ok(None) };
        let room =
            if new.size <= USUAL_COMPILED_SIZE { MAX_TOTAL_EXPRESSION_MEMORY } else { MAX_TOTAL_EXPRESSION_MEMORY / 2 };
        let mut all = lock_regex_pool();
        all.memory += new.memory();
        if all.memory > room {
            // To be dropped it takes what it counts for out again.
            drop(all);
            return Err(BadFilter::NoRoom);
        }
        let new = Arc::new(new);
        // If another reader was quicker there are two for a while, and the newer is found.
        all.by_text.insert(text.to_owned(), Arc::downgrade(&new));
        Ok(Some(new))
    }

    fn compile(text: &str, most: usize) -> Result<Option<Self>, BadFilter> {
        for size in COMPILED_SIZE_STEPS.into_iter().take_while(|size| *size <= most) {
            match RegexBuilder::new(text).size_limit(size).dfa_size_limit(match_cache_size(size)).build() {
                Ok(regex) => return Ok(Some(Self { regex, size })),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(BadFilter::Syntax(error.to_string())),
            }
        }
        Ok(None)
    }

    /// What it counts for, in bytes.
    fn memory(&self) -> usize {
        self.size + match_cache_size(self.size)
    }
}

impl Drop for SharedRegex {
    fn drop(&mut self) {
        let mut all = lock_regex_pool();
        all.memory -= self.memory();
        let text = self.regex.as_str();
        // Another with the same text may be found there by now.
        if all.by_text.get(text).is_some_and(|known| known.strong_count() == 0) {
            all.by_text.remove(text);
        }
    }
}

impl PartialEq for SharedRegex {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for SharedRegex {}

/// Most that an expression of this size may hold while it is used.
fn match_cache_size(size: usize) -> usize {
    (4 * size).clamp(MATCH_CACHE_BOUNDS[0], MATCH_CACHE_BOUNDS[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grep: &[&str]) -> Result<Filter, BadFilter> {
        within(MAX_COMPILED_SIZE, grep, &[])
    }

    fn within(most: usize, grep: &[&str], exclude: &[&str]) -> Result<Filter, BadFilter> {
        let [grep, exclude] =
            [grep, exclude].map(|texts| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        Filter::new(&grep, &exclude, vec![], most)
    }

    #[test]
    fn what_grows_when_it_is_compiled_is_refused() {
        let deep = "(".repeat(2000) + &")".repeat(2000);
        let table = [
            ("(a{1000}){1000}", BadFilter::TooLarge(MAX_COMPILED_SIZE)),
            (r"\w{5000}", BadFilter::TooLarge(MAX_COMPILED_SIZE)),
            (r"((((\w{9}){9}){9}){9}){9}", BadFilter::TooLarge(MAX_COMPILED_SIZE)),
            (&"x".repeat(MAX_EXPRESSION_SIZE + 1), BadFilter::TooLong(MAX_EXPRESSION_SIZE + 1)),
        ];
        for (text, refusal) in table {
            assert_eq!(of(&[text]), Err(refusal), "{text:.40}");
        }
        for text in [&deep, "a{1001", "a{99999999999}", "(?P<a", "["] {
            assert!(matches!(of(&[text]), Err(BadFilter::Syntax(_))), "{text:.40}");
        }
        let many = ["a"; MAX_EXPRESSIONS_PER_FILTER + 1];
        assert_eq!(of(&many), Err(BadFilter::TooMany(MAX_EXPRESSIONS_PER_FILTER + 1)));
        assert!(of(&many[1..]).is_ok());
    }

    #[test]
    fn all_expressions_of_a_filter_take_no_more_than_they_may() {
        let most = 32 << 10;
        assert!(within(most, &["error|warning", "(?i)one"], &["^debug"]).is_ok());
        // Each alone would do, also when it is in use already.
        let classes = ["[a-z]{200}"; 16];
        let alone = within(most, &classes[..1], &[]);
        assert!(alone.is_ok());
        assert_eq!(within(most, &classes, &[]), Err(BadFilter::TooLarge(most)));
        assert_eq!(within(most, &[], &classes), Err(BadFilter::TooLarge(most)));
        assert_eq!(within(most, &["\\w{50}"], &[]), Err(BadFilter::TooLarge(most)));
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
        let known = || lock_regex_pool().by_text.contains_key("known to this test alone");
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
        let most = MAX_TOTAL_EXPRESSION_MEMORY / 2 / (2 * MAX_COMPILED_SIZE);
        assert!(held.len() <= most && held.len() + 8 > most, "{}", held.len());
        assert_eq!(refused[0], Err(BadFilter::NoRoom));
        assert!(of(&[r"^\d{4}-\d\d-\d\d error"]).is_ok(), "the usual ones have room");
        assert!(lock_regex_pool().memory <= MAX_TOTAL_EXPRESSION_MEMORY);
        drop(held);
        assert!(large(0).is_ok());
    }
}
