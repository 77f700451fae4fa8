//! Matches lines against the [`SHAPES`].

use std::sync::{LazyLock, OnceLock};

use regex::{Captures, Regex, RegexSet};

use super::Recogniser;
use super::number::{NUMBER, UNIT};
use super::report::{Evidence, ObservedLine, ProgressReport, percent_of, words};
use super::shapes::{Kind, SHAPES, Shape, ShapeCondition};

/// Words that make a percentage a level, which rises and falls, even in a redrawn line.
const LEVEL_WORDS: &[&str] = &[
    "accuracy",
    "fan",
    "health",
    "level",
    "quality",
    "signal",
    "temp",
    "temperature",
    "wear",
    "battery",
    "brightness",
    "capacity",
    "charge",
    "charged",
    "coverage",
    "cpu",
    "disk",
    "gpu",
    "humidity",
    "idle",
    "load",
    "loss",
    "mem",
    "memory",
    "ram",
    "swap",
    "usage",
    "volume",
];

/// Words after a percentage that make it a level or a part of a sentence.
const LEVEL_WORDS_BEHIND: [&str; 11] =
    ["charged", "confidence", "free", "full", "idle", "left", "likely", "of", "off", "used", "utilization"];

/// Words that make a count one of attempts, or a ratio.
const ATTEMPT_WORDS: [&str; 14] = [
    "again",
    "attempt",
    "attempts",
    "bit",
    "bits",
    "failing",
    "refused",
    "reset",
    "retries",
    "retry",
    "retrying",
    "timeout",
    "unavailable",
    "unreachable",
];

/// The steps by which build programs begin the text behind a count. Such a count is progress without a second one.
const STEPS: [&str; 18] = [
    "Archiving",
    "Building",
    "CC",
    "CXX",
    "Compiling",
    "Copying",
    "Creating",
    "Fetching",
    "Generating",
    "Installing",
    "LINK",
    "Linking",
    "Performing",
    "Re-running",
    "Running",
    "Scanning",
    "Symlinking",
    "Updating",
];

/// The narrowest bar that curl draws: a smaller one is a heading in a text.
const MIN_CURL_BAR_WIDTH: usize = 30;

/// The least total of a count: two of two may be anything.
const MIN_TOTAL: u64 = 3;

/// A total up to this may be a day of a month, so that a series must have no gaps; the numbers of the years below are no
/// counts.
const MAX_DAY_OF_MONTH: u64 = 31;
const CALENDAR_YEARS: std::ops::RangeInclusive<u64> = 1900..=2100;

/// The expression of a shape, with its abbreviations replaced.
fn expression(shape: &Shape) -> String {
    let amount = |name: &str| format!("(?P<{name}>{NUMBER}{UNIT})");
    shape
        .4
        .replace("P%", "(?P<percent>\\d{1,3}(?:[.,]\\d+)?)[ \u{a0}\u{202f}]?%")
        .replace("CUR", &amount("current"))
        .replace("TOT", &amount("total"))
        .replace("AMT", &format!("{NUMBER}{UNIT}"))
        .replace("BAR", r"[=#\-.>*\s█▏▎▍▌▋▊▉░▒▓━╸╺oO~<]")
        .replace(r"[^%\d]", "[^%0-9]")
        .replace(r"\d", "[0-9]")
        .replace(r"\S", "[^ ]")
        .replace(r"\b", r"(?-u:\b)")
}

/// All shapes in one set, which tells which of them to try.
static SHAPE_SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let expressions = SHAPES.iter().map(expression);
    regex::RegexSetBuilder::new(expressions).size_limit(64 << 20).build().expect("the shapes are expressions")
});

/// The expressions of the shapes that matched something.
static SHAPE_REGEXES: [OnceLock<Regex>; SHAPES.len()] = [const { OnceLock::new() }; SHAPES.len()];

/// Tries the shapes in order.
#[derive(Debug, Default)]
pub(super) struct ShapeRecogniser {
    /// The last count of no program in particular.
    last: Option<(u64, u64)>,
}

impl Recogniser for ShapeRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let text = seen.text.trim_end();
        if !has_numbers(text.as_bytes(), seen.open) {
            return None;
        }
        let fitting = SHAPE_SET.matches(text);
        fitting.iter().find_map(|at| {
            let shape = SHAPES.get(at)?;
            let applies = match shape.1 {
                ShapeCondition::Always | ShapeCondition::Drawn | ShapeCondition::Growing => true,
                // The first drawing of a shape that many programs share is remembered.
                ShapeCondition::Redrawn if !is_shared(shape.0) => seen.is_redrawn,
                ShapeCondition::Open | ShapeCondition::Redrawn => seen.open || seen.is_redrawn,
            };
            if !applies {
                return None;
            }
            let regex = SHAPE_REGEXES.get(at)?;
            let regex = regex.get_or_init(|| Regex::new(&expression(shape)).expect("it is an expression in the set"));
            self.report(shape, regex, text, seen)
        })
    }
}

impl ShapeRecogniser {
    fn report(&mut self, shape: &Shape, regex: &Regex, text: &str, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let (tool, condition, scope, kind, _) = *shape;
        let found = regex.captures(text)?;
        let mut report = match_with_units(regex, &found)?;
        report.tool = tool;
        report.scope = scope;
        report.out_of_order = matches!(kind, Kind::Shuffled | Kind::Repeated);
        report.is_repeated = kind == Kind::Repeated;
        report.is_in_bytes =
            found.name("total").is_some_and(|total| total.as_str().contains(|c: char| c.is_alphabetic()));
        report.phase = report.phase.as_deref().and_then(label);
        report.is_summary = tool == "jest";
        if is_shared(tool) && (is_level(text, &report) || !self.is_count(&report, seen)) {
            return None;
        }
        if kind == Kind::Agreeing && !agrees(&report) {
            return None;
        }
        if tool == "curl" && text.chars().count() < MIN_CURL_BAR_WIDTH {
            return None;
        }
        if names_the_whole(report.phase.as_deref()) {
            report.scope = super::report::Scope::Whole;
        }
        let is_step = report.message.as_deref().is_some_and(is_step);
        let is_drawing = seen.open || seen.is_redrawn;
        report.evidence = match condition {
            ShapeCondition::Drawn if !is_drawing => Evidence::Single,
            ShapeCondition::Growing if !(seen.is_redrawn || (is_step && text.starts_with('['))) => Evidence::Single,
            ShapeCondition::Redrawn if is_shared(tool) => Evidence::Redrawn,
            ShapeCondition::Always
            | ShapeCondition::Drawn
            | ShapeCondition::Growing
            | ShapeCondition::Open
            | ShapeCondition::Redrawn => Evidence::Certain,
        };
        Some(report)
    }

    /// Returns whether the numbers of a bare count are neither a date nor those of attempts, nor a ratio.
    fn is_count(&mut self, report: &ProgressReport, seen: &ObservedLine<'_>) -> bool {
        let (Some(current), Some(total)) = (report.current, report.total) else { return true };
        if report.tool != "a count" {
            return true;
        }
        let message = report.message.as_deref().unwrap_or_default();
        if is_step(message) {
            return true;
        }
        let has_attempt = has_word(seen.text, &ATTEMPT_WORDS);
        let is_year = CALENDAR_YEARS.contains(&total) && current <= 12;
        let before = self.last.replace((current, total));
        let skips = before.is_some_and(|(last, of)| of == total && !(last..=last + 3).contains(&current));
        let may_be_date = total <= MAX_DAY_OF_MONTH && skips && !seen.is_redrawn;
        !(has_attempt || is_year || may_be_date || total < MIN_TOTAL)
    }
}

/// Returns whether many programs share a shape.
pub(super) fn is_shared(tool: &str) -> bool {
    tool.starts_with("a ")
}

/// Returns whether a line may match a shape: most of them have a digit and a percent sign, a slash, or the word "of" or
/// "total".
fn has_numbers(text: &[u8], open: bool) -> bool {
    text.iter().any(u8::is_ascii_digit)
        && (open
            || memchr::memchr2(b'%', b'/', text).is_some()
            || [&b" of "[..], b", total "].iter().any(|word| memchr::memmem::find(text, word).is_some()))
}

/// The report of a match. If only the total has a unit, separated by a blank, the unit applies to both numbers.
fn match_with_units(regex: &Regex, found: &Captures<'_>) -> Option<ProgressReport> {
    let mut report = ProgressReport::of_match(regex, found)?;
    let unit = found.name("total").and_then(|total| total.as_str().split_once(|c: char| c.is_whitespace()));
    if let (Some((_, unit)), Some(current)) =
        (unit.filter(|(_, unit)| !unit.starts_with(|c: char| c.is_ascii_digit())), found.name("current"))
        && !current.as_str().contains(|c: char| c.is_alphabetic())
    {
        let is_derived = found.name("percent").is_none();
        report.current = super::number::parse_amount(&format!("{} {unit}", current.as_str()));
        report.percent = report.percent.filter(|_| !is_derived);
        report = report.checked()?;
    }
    // A count without a total does not tell how much remains.
    if report.percent.is_none() && report.total.is_none() {
        report.state = Some(crate::event::ProgressState::Indeterminate);
    }
    Some(report)
}

fn agrees(report: &ProgressReport) -> bool {
    match (report.percent, report.current, report.total) {
        (Some(percent), Some(current), Some(total)) => (percent - percent_of(current, total)).abs() <= 1.0,
        _ => false,
    }
}

/// The words of a phase, without the bar or the numbers after them.
fn label(phase: &str) -> Option<String> {
    let end = phase.find(|c: char| "[(|█▏▎▍▌▋▊▉░▒▓━╸╺".contains(c)).unwrap_or(phase.len());
    let punctuation = |c: char| " .,:;=#/>-".contains(c);
    let mut phase = phase.get(..end)?.trim_end_matches(punctuation);
    // A number behind the words belongs to the bar.
    if let Some((words, number)) = phase.rsplit_once(' ')
        && !number.contains(char::is_alphabetic)
    {
        phase = words.trim_end_matches(punctuation);
    }
    words(phase.trim_start_matches(|c: char| c.is_whitespace() || ('\u{2800}'..='\u{28ff}').contains(&c)))
}

/// Returns whether a phase says that the row counts the whole.
fn names_the_whole(phase: Option<&str>) -> bool {
    phase.is_some_and(|phase| has_word(phase, &["total", "overall", "all"]))
}

fn is_step(message: &str) -> bool {
    let first = message.split_whitespace().next().unwrap_or_default();
    STEPS.contains(&first)
}

/// Returns whether one of the words is in the text, in upper or lower case.
fn has_word(text: &str, wanted: &[&str]) -> bool {
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.any(|word| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted)))
}

/// Returns whether the words around a percentage make it a level.
fn is_level(text: &str, report: &ProgressReport) -> bool {
    let (before, behind) = text.split_once('%').unwrap_or((text, ""));
    let next = behind.trim_start().split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    // A rate, such as "10/100 Mbps", is no count.
    let is_rate = report.percent.is_some() && has_word(text, &["Mbps", "Gbps", "kbps"]);
    is_rate || has_word(before, LEVEL_WORDS) || LEVEL_WORDS_BEHIND.iter().any(|word| next.eq_ignore_ascii_case(word))
}
