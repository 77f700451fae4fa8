//! Percentages as known programs draw them. A number with a percent sign is not enough: it must be part of a bar, a
//! table of transfers, or a redrawn line.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport, percent_of};

/// The condition under which a shape is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShapeCondition {
    Always,
    /// The numbers may be out of order, since workers run concurrently.
    Shuffled,
    /// The percentage and the count behind it must agree.
    Agreeing,
    /// The line must be unfinished.
    Open,
    /// The line must be a redraw.
    Redrawn,
}

/// The output of known programs, the most specific first. `P` stands for a percentage, `BAR` for the characters of
/// bars.
const PERCENT_SHAPES: [(ShapeCondition, &str); 16] = [
    // CMake's makefiles: "[ 45%] Building C object x.o", always three columns wide.
    (ShapeCondition::Shuffled, r"^\[(?P<percent> \d\d|  \d|100)%\] (?P<message>.+)"),
    // pytest, at the right edge.
    (ShapeCondition::Always, r"\s\[(?P<percent> \d\d|  \d|100)%\]$"),
    // The bar of apt at the bottom of a terminal, and messages that people print.
    (ShapeCondition::Always, r"(?i)^\s*progress\s*[:=]\s*\[? *P%"),
    // dpkg: "(Reading database ... 45%".
    (ShapeCondition::Always, r"^\((?P<phase>Reading database) \.\.\. P%$"),
    // tqdm: "Training:  45%|████▌     | 18/40 [00:00<00:01, 19.9it/s]".
    (
        ShapeCondition::Always,
        r"^(?:(?P<phase>[^|%]*?): +|\s*)P%\|[^|]*\| *(?P<current>[\d.]+[kMGT]?)/(?P<total>[\d.]+[kMGT]?)(?:[A-Za-z]*) \[(?P<message>[^\]]*)",
    ),
    // A bar in brackets in front of the percentage, or behind it, as in wget.
    (ShapeCondition::Always, r"^(?P<phase>[^\[\]%|]*?)[:\s]*P% ?[\[|(]BAR{5,}[\]|)]"),
    (ShapeCondition::Always, r"^(?P<phase>[^\[\]%|]*?)[:\s]*[\[(]BAR{5,}[\])] *P%"),
    (ShapeCondition::Always, r"\|[█▏▎▍▌▋▊▉░▒▓#=> ]{5,}\| *P%"),
    // The same without brackets, drawn with block characters.
    (ShapeCondition::Always, r"[█▉▊▋▌▍▎▏░▒▓━╸╺]{3,}\s+P%"),
    // curl -#, as wide as the terminal.
    (ShapeCondition::Always, r"^#+ +(?P<percent>\d+\.\d)%$"),
    // rsync --progress: "      1,234,567  45%    1.18MB/s    0:00:01".
    (ShapeCondition::Always, r"^\s*(?P<current>[\d.,]+[KMGT]?)\s+P%\s+(?P<message>[\d.,]+[kKMGT]?B/s)\s+\d+:\d\d:\d\d"),
    // wget into a file: "   450K .......... .......... 17%  228M 2s".
    (ShapeCondition::Always, r"^\s*\d+[KM][ .,]+ P% +(?P<message>[\d.]+[KMG]?)(?:[ =]|$)"),
    // git and others: "Receiving objects:  45% (450/1000)".
    (ShapeCondition::Agreeing, r"^(?:(?P<phase>[^%]*?)[:\s]+)?P% \((?P<current>[\d,]+)/(?P<total>[\d,]+)\)"),
    // apt: "Reading package lists... 45%", " 45% [3 hello 12.3 kB/53.1 kB 23%]".
    (ShapeCondition::Open, r"^(?P<phase>[^%]*?)\.\.\. ?P%$"),
    (ShapeCondition::Open, r"^ *P% \["),
    // Any redrawn line with a single, separate percentage.
    (ShapeCondition::Redrawn, r"^(?:(?P<phase>[^%\d]*?)[:\s]*)?(?:^|[\s\[(|:])P%(?:$|[\s\])|,:;…])"),
];

/// Words before a percentage that make it a level, which rises and falls, even in a redrawn line.
const LEVEL_WORDS: [&str; 13] =
    ["battery", "capacity", "cpu", "disk", "free", "idle", "load", "mem", "memory", "swap", "usage", "used", "volume"];

/// The narrowest bar that curl draws: a smaller one is a heading in a text.
const MIN_CURL_BAR_WIDTH: usize = 30;

static PERCENT_REGEXES: LazyLock<Vec<(ShapeCondition, Regex)>> = LazyLock::new(|| {
    let number = r"(?P<percent>\d{1,3}(?:[.,]\d+)?) ?";
    let compile = |pattern: &str| {
        let pattern = pattern.replace("P%", &format!("{number}%")).replace("BAR", r"[=#\-.>*\s█▏▎▍▌▋▊▉░▒▓━╸╺oO~]");
        Regex::new(&pattern).expect("the shapes above are expressions")
    };
    PERCENT_SHAPES.iter().map(|(when, pattern)| (*when, compile(pattern))).collect()
});

/// All shapes in one set, which tells which of them to try.
static PERCENT_REGEX_SET: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(PERCENT_REGEXES.iter().map(|(_, shape)| shape.as_str())).expect("each of them was compiled before")
});

/// Returns whether there is a number before a percent sign. In URLs and format strings there usually is none.
fn has_percentage(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| {
        let before = text[..at].strip_suffix(b" ").unwrap_or(&text[..at]);
        before.last().is_some_and(u8::is_ascii_digit)
    })
}

/// Tries the shapes in order.
#[derive(Debug)]
pub(super) struct PercentRecogniser;

impl Recogniser for PercentRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let text = seen.text.trim_end();
        if !has_percentage(text.as_bytes()) {
            return None;
        }
        let fitting = PERCENT_REGEX_SET.matches(text);
        fitting.iter().find_map(|at| PERCENT_REGEXES.get(at).and_then(|(when, shape)| one(*when, shape, text, seen)))
    }
}

fn one(when: ShapeCondition, shape: &Regex, text: &str, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
    let fits = match when {
        ShapeCondition::Open => seen.open,
        ShapeCondition::Redrawn => seen.is_redrawn,
        ShapeCondition::Always | ShapeCondition::Shuffled | ShapeCondition::Agreeing => true,
    };
    if !fits {
        return None;
    }
    let report = ProgressReport::of_match(shape, &shape.captures(text)?)?;
    let agrees = match (report.percent, report.current, report.total) {
        (Some(percent), Some(current), Some(total)) => (percent - percent_of(current, total)).abs() <= 1.0,
        _ => false,
    };
    let narrow = text.starts_with('#') && text.chars().count() < MIN_CURL_BAR_WIDTH;
    let level = when == ShapeCondition::Redrawn && is_level(text);
    if (when == ShapeCondition::Agreeing && !agrees) || narrow || level {
        return None;
    }
    Some(ProgressReport { out_of_order: when == ShapeCondition::Shuffled, ..report })
}

/// Returns whether the words before the percentage make it a level.
fn is_level(text: &str) -> bool {
    let (before, _) = text.split_once('%').unwrap_or((text, ""));
    let mut words = before.split(|c: char| !c.is_alphabetic());
    words.any(|word| LEVEL_WORDS.iter().any(|level| word.eq_ignore_ascii_case(level)))
}
