//! Percentages as known programs draw them. A number with a percent sign is not enough: its surroundings must be those of
//! a bar, a table of transfers, or a redrawn line.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Recogniser;
use super::report::{Report, Seen, share};

/// When a shape counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Its numbers come out of order, since workers run side by side.
    Shuffled,
    /// The percentage and the count behind it must agree.
    Agreeing,
    /// Only on lines that are not finished.
    Open,
    /// Only on lines that took another drawing's place.
    Redrawn,
}

/// What programs write, the most telling first. `P` stands for a percentage, `BAR` for what bars are drawn with.
const SHAPES: [(When, &str); 16] = [
    // CMake's makefiles: "[ 45%] Building C object x.o", always three columns wide.
    (When::Shuffled, r"^\[(?P<percent> \d\d|  \d|100)%\] (?P<message>.+)"),
    // pytest, at the right edge.
    (When::Always, r"\s\[(?P<percent> \d\d|  \d|100)%\]$"),
    // apt's bar at the foot of a terminal; and what people print.
    (When::Always, r"(?i)^\s*progress\s*[:=]\s*\[? *P%"),
    // dpkg: "(Reading database ... 45%".
    (When::Always, r"^\((?P<phase>Reading database) \.\.\. P%$"),
    // tqdm: "Training:  45%|████▌     | 18/40 [00:00<00:01, 19.9it/s]".
    (
        When::Always,
        r"^(?:(?P<phase>[^|%]*?): +|\s*)P%\|[^|]*\| *(?P<current>[\d.]+[kMGT]?)/(?P<total>[\d.]+[kMGT]?)(?:[A-Za-z]*) \[(?P<message>[^\]]*)",
    ),
    // A bar in brackets in front of the percentage, or behind it, as wget has it.
    (When::Always, r"^(?P<phase>[^\[\]%|]*?)[:\s]*P% ?[\[|(]BAR{5,}[\]|)]"),
    (When::Always, r"^(?P<phase>[^\[\]%|]*?)[:\s]*[\[(]BAR{5,}[\])] *P%"),
    (When::Always, r"\|[█▏▎▍▌▋▊▉░▒▓#=> ]{5,}\| *P%"),
    // The same without brackets, drawn with blocks.
    (When::Always, r"[█▉▊▋▌▍▎▏░▒▓━╸╺]{3,}\s+P%"),
    // curl -#, as wide as the terminal.
    (When::Always, r"^#+ +(?P<percent>\d+\.\d)%$"),
    // rsync --progress: "      1,234,567  45%    1.18MB/s    0:00:01".
    (When::Always, r"^\s*(?P<current>[\d.,]+[KMGT]?)\s+P%\s+(?P<message>[\d.,]+[kKMGT]?B/s)\s+\d+:\d\d:\d\d"),
    // wget into a file: "   450K .......... .......... 17%  228M 2s".
    (When::Always, r"^\s*\d+[KM][ .,]+ P% +(?P<message>[\d.]+[KMG]?)(?:[ =]|$)"),
    // git and others: "Receiving objects:  45% (450/1000)".
    (When::Agreeing, r"^(?:(?P<phase>[^%]*?)[:\s]+)?P% \((?P<current>[\d,]+)/(?P<total>[\d,]+)\)"),
    // apt: "Reading package lists... 45%", " 45% [3 hello 12.3 kB/53.1 kB 23%]".
    (When::Open, r"^(?P<phase>[^%]*?)\.\.\. ?P%$"),
    (When::Open, r"^ *P% \["),
    // Whatever redraws itself and has one percentage standing free.
    (When::Redrawn, r"^(?:(?P<phase>[^%\d]*?)[:\s]*)?(?:^|[\s\[(|:])P%(?:$|[\s\])|,:;…])"),
];

/// In front of a percentage these words say that it is a level, which rises and falls, even where it is redrawn.
const LEVELS: [&str; 13] =
    ["battery", "capacity", "cpu", "disk", "free", "idle", "load", "mem", "memory", "swap", "usage", "used", "volume"];

/// The narrowest bar that curl draws: a smaller one is a heading in some text.
const CURL_WIDTH: usize = 30;

static COMPILED: LazyLock<Vec<(When, Regex)>> = LazyLock::new(|| {
    let number = r"(?P<percent>\d{1,3}(?:[.,]\d+)?) ?";
    let compile = |pattern: &str| {
        let pattern = pattern.replace("P%", &format!("{number}%")).replace("BAR", r"[=#\-.>*\s█▏▎▍▌▋▊▉░▒▓━╸╺oO~]");
        Regex::new(&pattern).expect("the shapes above are expressions")
    };
    SHAPES.iter().map(|(when, pattern)| (*when, compile(pattern))).collect()
});

/// All of them at once, to know which to try.
static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new(COMPILED.iter().map(|(_, shape)| shape.as_str())).expect("each of them was compiled before")
});

/// Whether there is a number in front of a percent sign. In URLs and formats there mostly is none.
fn has_percentage(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| {
        let before = text[..at].strip_suffix(b" ").unwrap_or(&text[..at]);
        before.last().is_some_and(u8::is_ascii_digit)
    })
}

/// One shape after another.
#[derive(Debug)]
pub(super) struct Percent;

impl Recogniser for Percent {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Report> {
        let text = seen.text.trim_end();
        if !has_percentage(text.as_bytes()) {
            return None;
        }
        let fitting = SET.matches(text);
        fitting.iter().find_map(|at| COMPILED.get(at).and_then(|(when, shape)| one(*when, shape, text, seen)))
    }
}

fn one(when: When, shape: &Regex, text: &str, seen: &Seen<'_>) -> Option<Report> {
    let fits = match when {
        When::Open => seen.open,
        When::Redrawn => seen.redrawn,
        When::Always | When::Shuffled | When::Agreeing => true,
    };
    if !fits {
        return None;
    }
    let report = Report::of_match(shape, &shape.captures(text)?)?;
    let agrees = match (report.percent, report.current, report.total) {
        (Some(percent), Some(current), Some(total)) => (percent - share(current, total)).abs() <= 1.0,
        _ => false,
    };
    let narrow = text.starts_with('#') && text.chars().count() < CURL_WIDTH;
    let level = when == When::Redrawn && is_level(text);
    if (when == When::Agreeing && !agrees) || narrow || level {
        return None;
    }
    Some(Report { shuffled: when == When::Shuffled, ..report })
}

/// Whether the words in front of the percentage say that it is a level.
fn is_level(text: &str) -> bool {
    let (before, _) = text.split_once('%').unwrap_or((text, ""));
    let mut words = before.split(|c: char| !c.is_alphabetic());
    words.any(|word| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)))
}
