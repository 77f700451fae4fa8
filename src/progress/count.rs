//! Counts such as 12 of 340. `[12/340]` may also be a date, so a bare count must start at the beginning, be too large
//! for a date, or continue an earlier one.

use std::sync::LazyLock;

use regex::Regex;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport};

/// Counts that are unambiguous: the words or the bar around them show that they are counts.
const COUNT_SHAPES: [&str; 6] = [
    // Cargo: "    Building [=====>      ] 12/340: serde, syn".
    r"^\s*(?P<phase>[A-Z][a-z]+)?\s*\[[=#>\-. ]{5,}\] (?P<current>\d+)/(?P<total>\d+)(?:: *(?P<message>.*))?$",
    // pip: "     ━━━━━━━━━━━━━━━━ 1.2/3.4 MB 5.6 MB/s eta 0:00:01".
    r"^\s*(?:(?P<phase>[^━╸╺]*?)\s+)?[━╸╺]{5,} (?P<current>[\d.]+)/(?P<total>[\d.]+ [kKMG]?i?B)\b *(?P<message>.*)$",
    // Docker without BuildKit: "Step 3/10 : RUN make".
    r"^Step (?P<current>\d+)/(?P<total>\d+) ?: (?P<message>.+)",
    // BuildKit: "#12 [builder 3/7] RUN make".
    r"^#\d+ \[(?:(?P<phase>[\w.-]+) +)?(?P<current>\d+)/(?P<total>\d+)\] (?P<message>.+)",
    // CTest: " 12/340 Test  #12: name ......   Passed    0.01 sec".
    r"^ *(?P<current>\d+)/(?P<total>\d+) Test +#\d+: (?P<message>[^ ]+)",
    // GHC: "[12 of 340] Compiling Main".
    r"^\[ *(?P<current>\d+) of (?P<total>\d+)\] (?P<message>\w.*)",
];

/// Bare counts of Ninja and others: "[12/340] Building C object x.o", "(3/7) Installing x".
const BARE_COUNT_SHAPE: &str = r"^(?:\[ *(?P<a>\d+)/(?P<b>\d+)\]|\( *(?P<c>\d+)/(?P<d>\d+)\)) (?P<message>\S.*)";

/// A count above this is not a day of a month; the numbers of the years below are not counts.
const MAX_DAY_OF_MONTH: u64 = 31;
const CALENDAR_YEARS: std::ops::RangeInclusive<u64> = 1900..=2100;

static COUNT_REGEXES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    COUNT_SHAPES.iter().map(|shape| Regex::new(shape).expect("the shapes above are expressions")).collect()
});
static BARE_COUNT_REGEX: LazyLock<Regex> = LazyLock::new(|| Regex::new(BARE_COUNT_SHAPE).expect("it is an expression"));

/// Remembers the last bare count, to determine whether the next one continues it.
#[derive(Debug, Default)]
pub(super) struct CountRecogniser {
    last: Option<(u64, u64)>,
    /// The total of counts that were accepted.
    accepted_total: Option<u64>,
}

impl Recogniser for CountRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        if !seen.text.contains(['/', '[']) {
            return None;
        }
        let text = seen.text.trim_end();
        if text.starts_with(['[', '('])
            && let Some(found) = BARE_COUNT_REGEX.captures(text)
        {
            return self.bare_count(&found);
        }
        // The start of the line shows a bar, or one of the words of the shapes.
        let telling = text.starts_with(['#', '[', ' ']) || text.starts_with("Step ") || text.contains('━');
        let report = COUNT_REGEXES.iter().filter(|_| telling).find_map(|shape| match_with_units(text, shape));
        report.map(|report| ProgressReport { out_of_order: true, ..report })
    }
}

/// The report of a matching shape. If only the total has a unit, the unit applies to both numbers.
fn match_with_units(text: &str, shape: &Regex) -> Option<ProgressReport> {
    let found = shape.captures(text)?;
    let unit = found.name("total").and_then(|total| total.as_str().split_once(' '));
    let Some((_, unit)) = unit else { return ProgressReport::of_match(shape, &found) };
    let current = super::report::parse_amount(&format!("{} {unit}", found.name("current")?.as_str()))?;
    let rest = ProgressReport::of_match(shape, &found)?;
    ProgressReport { current: Some(current), percent: None, ..rest }.checked()
}

impl CountRecogniser {
    fn bare_count(&mut self, found: &regex::Captures<'_>) -> Option<ProgressReport> {
        let number = |names: [&str; 2]| names.iter().find_map(|name| found.name(name))?.as_str().parse::<u64>().ok();
        let (current, total) = (number(["a", "c"])?, number(["b", "d"])?);
        let before = self.last.replace((current, total));
        let is_next = before.is_some_and(|(last, of)| of == total && (last + 1..=last + 3).contains(&current));
        let no_date = total > MAX_DAY_OF_MONTH && !CALENDAR_YEARS.contains(&total);
        let known = self.accepted_total == Some(total) || (self.accepted_total.is_some() && current > 1 && no_date);
        if !(current <= 1 || is_next || no_date || known) || total < 2 {
            return None;
        }
        self.accepted_total = Some(total);
        let message = found.name("message").and_then(|message| super::report::words(message.as_str()));
        let report = ProgressReport {
            current: Some(current),
            total: Some(total),
            message,
            out_of_order: true,
            ..ProgressReport::default()
        };
        report.checked()
    }
}
