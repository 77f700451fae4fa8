//! The filter that chooses the lines of a reader. Readers that use the same expression share one compiled copy. The
//! memory of expressions is bounded for one filter, and for all that are in use.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

use regex::bytes::{Regex, RegexBuilder};

use crate::event::{EventKind, Level, OpenLine, Origin, lock, visible_text};
use crate::structured::{Condition, Declaration, StructuredFormat, level_of, level_of_text};

use super::segment::Segment;

/// The longest expression, in bytes, and the most expressions in one filter; several can be joined into one with `|`.
const MAX_EXPRESSION_SIZE: usize = 4 << 10;
const MAX_EXPRESSIONS_PER_FILTER: usize = 16;

/// The most conditions for fields in one filter; the same number as that of expressions.
const MAX_CONDITIONS_PER_FILTER: usize = 16;

/// The bounds for the memory of one compiled expression, in bytes. Each expression is compiled with the smallest bound
/// that suffices, and that bound is taken as its size: plain words need the first, `^\d{4}-\d\d` the third, `\w{9}` the
/// last.
const COMPILED_SIZE_STEPS: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, MAX_COMPILED_SIZE];
const MAX_COMPILED_SIZE: usize = 1 << 20;

/// The largest size of which hundreds of expressions may be in use.
const USUAL_COMPILED_SIZE: usize = 64 << 10;

/// The bounds, in bytes, for the cache that an expression needs while it is matched; the cache is four times its size.
const MATCH_CACHE_BOUNDS: [usize; 2] = [64 << 10, MAX_COMPILED_SIZE];

/// The most memory of all expressions in use, in bytes. Expressions of the two larger sizes are refused beyond half of
/// it, so that a few of them leave room for hundreds of the usual size.
const MAX_TOTAL_EXPRESSION_MEMORY: usize = 256 << 20;

/// The conditions for the lines that a reader receives. Events of all other kinds pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    grep: Vec<Arc<SharedRegex>>,
    exclude: Vec<Arc<SharedRegex>>,
    origins: Vec<String>,
    level: Option<Level>,
    conditions: Vec<Condition>,
}

/// The reason why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// The expression is too long.
    #[error("the expression has {0} bytes; the limit is {MAX_EXPRESSION_SIZE}")]
    TooLong(usize),
    /// The filter has too many expressions.
    #[error("{0} expressions; the limit is {MAX_EXPRESSIONS_PER_FILTER} (put several into one: a|b|c)")]
    TooMany(usize),
    /// The filter has too many conditions for fields.
    #[error("{0} conditions for fields; the limit is {MAX_CONDITIONS_PER_FILTER}")]
    TooManyConditions(usize),
    /// The text is not a regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// The expressions of the filter need more than this many bytes when they are compiled.
    #[error(
        "the expressions of this filter need more than the {0} bytes of memory that they may take together; \
        repeat less in them (a{{1000}}), or use \
        [0-9A-Za-z_] for \\w"
    )]
    TooLarge(usize),
    /// The expressions of all readers together have reached their memory limit.
    #[error(
        "the expressions of all readers together take as much memory as they may; try again later, or use a simpler one"
    )]
    NoRoom,
}

impl BadFilter {
    /// Returns whether the same filter may be accepted later.
    pub fn is_temporary(&self) -> bool {
        *self == Self::NoRoom
    }
}

impl Filter {
    /// A filter for lines that match each of `grep` and none of `exclude`, and that came from one of `origins` unless
    /// that is empty. The expressions may take `most` bytes together, and at most 1 MiB each.
    ///
    /// Cost: a lookup for each expression that is already in use, and a compilation for each other one.
    ///
    /// # Errors
    /// If an expression is too long, is invalid (syntax of the `regex` crate) or takes too much memory, or if there are
    /// too many expressions.
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
        Ok(Self { grep, exclude, origins, level: None, conditions: Vec::new() })
    }

    /// Restricts the filter to lines whose level is known and at least as serious as `level`.
    #[must_use]
    pub fn with_level(self, level: Option<Level>) -> Self {
        Self { level, ..self }
    }

    /// Restricts the filter to lines for whose fields all of these conditions hold.
    ///
    /// # Errors
    /// If there are too many conditions.
    pub fn with_conditions(self, conditions: Vec<Condition>) -> Result<Self, BadFilter> {
        if conditions.len() > MAX_CONDITIONS_PER_FILTER {
            return Err(BadFilter::TooManyConditions(conditions.len()));
        }
        Ok(Self { conditions, ..self })
    }

    /// Returns whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.grep.is_empty()
            && self.exclude.is_empty()
            && self.origins.is_empty()
            && self.level.is_none()
            && self.conditions.is_empty()
    }

    /// The same origin with the live rows that pass, which may be none.
    pub(crate) fn select_rows(&self, line: &OpenLine, format: Option<StructuredFormat>) -> OpenLine {
        let passes = |row: &&Vec<u8>| {
            let visible = LazyCell::new(|| visible_text(row));
            self.takes(Some(&line.origin), || level_of_text(&visible), || &visible)
                && self.conditions_hold(|| format?.declaration_of(&visible, line.time))
        };
        let rows = line.rows.iter().filter(passes).cloned().collect();
        OpenLine { time: line.time, origin: line.origin.clone(), rows }
    }

    /// Returns whether all conditions hold for the fields of a line; a line without a declaration has none.
    fn conditions_hold(&self, declaration: impl FnOnce() -> Option<Declaration>) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let fields = declaration().map(|declaration| declaration.fields).unwrap_or_default();
        self.conditions.iter().all(|condition| condition.holds(&fields))
    }

    /// Returns whether a line passes with this origin, level and visible text.
    fn takes<'t>(
        &self,
        origin: Option<&Origin>,
        level: impl FnOnce() -> Option<Level>,
        visible: impl Fn() -> &'t [u8],
    ) -> bool {
        let is_from = |wanted: &String| origin.is_some_and(|origin| origin.is_selected_by(wanted));
        (self.origins.is_empty() || self.origins.iter().any(is_from))
            && self.level.is_none_or(|least| level().is_some_and(|level| level <= least))
            && self.grep.iter().all(|expression| expression.regex.is_match(visible()))
            && !self.exclude.iter().any(|expression| expression.regex.is_match(visible()))
    }

    /// Returns whether event `at` of the segment passes, whose lines are structured in this form; increments `count` if its
    /// line had to be matched. Expressions are matched against the visible text of the line.
    pub(crate) fn matches_event(
        &self,
        segment: &Segment,
        at: usize,
        format: Option<StructuredFormat>,
        count: &mut u64,
    ) -> bool {
        if self.is_empty() || segment.kind(at).0 != EventKind::Line {
            return true;
        }
        *count += 1;
        let event = segment.event(at);
        self.takes(event.origin, || level_of(&event), || segment.visible_text(at))
            && self.conditions_hold(|| format?.declaration_of(segment.visible_text(at), event.time))
    }
}

/// An expression in use. Two of them are equal if their texts are.
#[derive(Debug)]
struct SharedRegex {
    regex: Regex,
    /// The bound with which it was compiled, one of [`COMPILED_SIZE_STEPS`].
    size: usize,
}

/// The expressions in use, by text, and their total memory. An expression removes itself when it is dropped.
#[derive(Debug, Default)]
struct RegexPool {
    by_text: HashMap<String, Weak<SharedRegex>>,
    memory: usize,
}

static REGEX_POOL: LazyLock<Mutex<RegexPool>> = LazyLock::new(Mutex::default);

fn lock_regex_pool() -> MutexGuard<'static, RegexPool> {
    // The sum is correct after each step, so a panic elsewhere does not corrupt it.
    lock(&REGEX_POOL)
}

impl SharedRegex {
    /// The expression with this text: the one in use, or a new one. `None` if it takes more than `most` bytes.
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
            // Dropping the new expression takes this lock to subtract its memory again.
            drop(all);
            return Err(BadFilter::NoRoom);
        }
        let new = Arc::new(new);
        // If another thread was faster, two copies exist for a while, and lookups find the newer one.
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

    /// The memory that is reserved for the expression, in bytes.
    fn memory(&self) -> usize {
        self.size + match_cache_size(self.size)
    }
}

impl Drop for SharedRegex {
    fn drop(&mut self) {
        let mut all = lock_regex_pool();
        all.memory -= self.memory();
        let text = self.regex.as_str();
        // Another expression with the same text may be registered by now.
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

/// The most memory that the match cache of an expression of this size may take.
fn match_cache_size(size: usize) -> usize {
    (4 * size).clamp(MATCH_CACHE_BOUNDS[0], MATCH_CACHE_BOUNDS[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Position, Time};

    fn of(grep: &[&str]) -> Result<Filter, BadFilter> {
        within(MAX_COMPILED_SIZE, grep, &[])
    }

    fn within(most: usize, grep: &[&str], exclude: &[&str]) -> Result<Filter, BadFilter> {
        let [grep, exclude] =
            [grep, exclude].map(|texts| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        Filter::new(&grep, &exclude, vec![], most)
    }

    #[test]
    fn a_line_passes_if_it_meets_every_condition() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let filter = |grep, exclude, origins, level| {
            Filter::new(&words(grep), &words(exclude), words(origins), MAX_COMPILED_SIZE).unwrap().with_level(level)
        };
        let (stdout, warning, error) = (Some("stdout"), Some(Level::Warning), Some(Level::Error));
        // Whether the filter is empty, the line's origin, level and text, and whether it passes.
        let table = [
            (filter(&[], &[], &[], None), true, None, None, "x", true),
            (filter(&["a", "b"], &[], &[], None), false, stdout, None, "a b", true),
            (filter(&["a", "b"], &[], &[], None), false, stdout, None, "a", false),
            (filter(&[], &["a", "b"], &[], None), false, stdout, None, "b", false),
            (filter(&[], &["a", "b"], &[], None), false, stdout, None, "c", true),
            (filter(&["a"], &["b"], &[], None), false, stdout, None, "a b", false),
            (filter(&[], &[], &["stderr", "stdout"], None), false, stdout, None, "x", true),
            (filter(&[], &[], &["stderr"], None), false, stdout, None, "x", false),
            (filter(&[], &[], &["stderr"], None), false, None, None, "x", false),
            (filter(&[], &[], &[], warning), false, stdout, error, "x", true),
            (filter(&[], &[], &[], warning), false, stdout, warning, "x", true),
            (filter(&[], &[], &[], error), false, stdout, warning, "error: x", false),
            (filter(&[], &[], &[], error), false, stdout, None, "error: x", true),
            (filter(&[], &[], &[], error), false, stdout, None, "x", false),
            (filter(&["x"], &[], &[], error), false, stdout, error, "a", false),
            (filter(&["x"], &[], &["stderr"], None), false, stdout, None, "x", false),
        ];
        for (filter, is_empty, origin, level, text, passes) in table {
            assert_eq!(filter.is_empty(), is_empty, "{filter:?}");
            let level = || level.or_else(|| level_of_text(text.as_bytes()));
            let origin = origin.map(Origin::from);
            assert_eq!(filter.takes(origin.as_ref(), level, || text.as_bytes()), passes, "{text} by {filter:?}");
        }
    }

    #[test]
    fn conditions_are_for_the_fields_of_a_format() {
        let json = Some(StructuredFormat::Json);
        // The conditions, the format of the stream, the text, and whether it passes.
        let table = [
            (&["status>=500"][..], json, r#"{"status":500}"#, true),
            (&["status>=500"], json, r#"{"status":499}"#, false),
            (&["status>=500", "path=/a"], json, r#"{"status":500,"path":"/a"}"#, true),
            (&["status>=500", "path=/a"], json, r#"{"status":500,"path":"/b"}"#, false),
            (&["http.status=500"], json, r#"{"http":{"status":500}}"#, true),
            (&["status>=500"], json, "status=500", false),
            (&["status!=500"], json, "no object", true),
            (&["status=500"], None, r#"{"status":500}"#, false),
            (&["status!=500"], None, r#"{"status":500}"#, true),
            (&["status=500"], Some(StructuredFormat::Logfmt), "status=500", true),
            (&["pid=7"], Some(StructuredFormat::Syslog), "Nov 28 16:00:00 host app[7]: x", true),
        ];
        for (conditions, format, text, passes) in table {
            let parsed = conditions.iter().map(|condition| condition.parse().unwrap()).collect();
            let filter = Filter::default().with_conditions(parsed).unwrap();
            assert!(!filter.is_empty());
            let mut batch = crate::segment::Batch::new();
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, text.as_bytes());
            let id = Position { epoch: Epoch::persistent(1), number: 1 };
            let segment = batch.take_segments(id, 0).remove(0);
            let mut checks = 0;
            assert_eq!(filter.matches_event(&segment, 0, format, &mut checks), passes, "{conditions:?} {text}");
            assert_eq!(checks, 1);
            let line = OpenLine { time: Time(0), origin: Origin::stdout(), rows: vec![text.as_bytes().to_vec()] };
            assert_eq!(!filter.select_rows(&line, format).rows.is_empty(), passes, "{conditions:?} {text}");
        }
        let many = vec!["a=1".parse::<Condition>().unwrap(); MAX_CONDITIONS_PER_FILTER + 1];
        let refused = Filter::default().with_conditions(many).unwrap_err();
        assert_eq!(refused, BadFilter::TooManyConditions(MAX_CONDITIONS_PER_FILTER + 1));
        assert!(!refused.is_temporary());
    }

    #[test]
    fn expressions_and_conditions_see_the_visible_text() {
        let json = Some(StructuredFormat::Json);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        // The expressions to match and to leave out, the text, and whether it passes.
        let table: [(&[&str], &[&str], &str, bool); 9] = [
            (&["^error: disk$"], &[], "\x1b[1;31merror\x1b[0m: disk", true),
            (&["link end"], &[], "\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 end", true),
            (&["http"], &[], "\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 end", false),
            (&["31m"], &[], "\x1b[31mred", false),
            (&[], &["31m"], "\x1b[31mred", true),
            (&[], &["^red$"], "\x1b[31mred\x1b[0m", false),
            (&["\x1b"], &[], "\x1b[31mred", false),
            (&["^red$"], &[], "\u{9b}31mred", true),
            (&["5 °C"], &[], "5 °C", true),
        ];
        for (grep, exclude, text, passes) in table {
            let filter = Filter::new(&words(grep), &words(exclude), vec![], MAX_COMPILED_SIZE).unwrap();
            let with_other = Filter::new(&words(&["."]), &[], vec![], MAX_COMPILED_SIZE).unwrap();
            let mut batch = crate::segment::Batch::new();
            // Other lines around it, of which one has sequences, too.
            for line in ["plain", "\x1b[32mgreen", text, "", "\x1b[0m"] {
                batch.line(Time(0), &Origin::stdout(), Flags::NONE, line.as_bytes());
            }
            let id = Position { epoch: Epoch::persistent(1), number: 1 };
            let segment = batch.take_segments(id, 0).remove(0);
            let passing =
                |filter: &Filter| (0..5).map(|at| filter.matches_event(&segment, at, None, &mut 0)).collect::<Vec<_>>();
            assert_eq!(passing(&filter)[2], passes, "{text:?} by {filter:?}");
            assert_eq!(passing(&with_other), [true, true, true, false, false], "{text:?}");
            let line = OpenLine { time: Time(0), origin: Origin::stdout(), rows: vec![text.as_bytes().to_vec()] };
            assert_eq!(!filter.select_rows(&line, None).rows.is_empty(), passes, "{text:?} by {filter:?}");
        }
        let mut batch = crate::segment::Batch::new();
        batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"{\"status\":\x1b[33m500\x1b[0m}");
        let segment = batch.take_segments(Position { epoch: Epoch::persistent(1), number: 1 }, 0).remove(0);
        let filter = Filter::default().with_conditions(vec!["status=500".parse().unwrap()]).unwrap();
        assert!(filter.matches_event(&segment, 0, json, &mut 0));
    }

    #[test]
    fn either_part_of_an_origin_selects_it() {
        let table = [
            ("stdout", "stdout", true),
            ("/var/log/x.log:stdout", "/var/log/x.log:stdout", true),
            ("/var/log/x.log:stdout", "/var/log/x.log", true),
            ("/var/log/x.log:stdout", "stdout", true),
            ("/var/log/x.log:stdout", "stderr", false),
            ("/var/log/x.log:stderr", "stderr", true),
            ("/var/log/x.log:stdout", "/var/log", false),
            ("/var/log/x.log", "/var/log/x.log", true),
            ("/var/log/x.log", "stdout", false),
            ("host:514", "514", false),
            ("host:514", "host", false),
            ("a:b:stdout", "a:b", true),
        ];
        for (origin, wanted, selected) in table {
            assert_eq!(Origin::from(origin).is_selected_by(wanted), selected, "{origin} by {wanted}");
        }
    }

    #[test]
    fn only_a_shortage_of_memory_is_temporary() {
        assert!(BadFilter::NoRoom.is_temporary());
        assert!(!BadFilter::TooMany(17).is_temporary() && !BadFilter::TooLarge(1).is_temporary());
    }

    #[test]
    fn filters_are_equal_if_their_expressions_are() {
        assert_eq!(of(&["a"]), of(&["a"]));
        assert_ne!(of(&["a"]), of(&["b"]));
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
        // Each expression alone would be accepted, even if it is in use already.
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
            assert!(!of(&[text]).unwrap().takes(None, || None, || line.as_bytes()), "{text}");
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
        // The largest that are accepted: two megabytes each, so the half that they share is full after 64.
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
