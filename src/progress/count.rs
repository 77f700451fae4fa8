//! Counts: so many of so many. `[12/340]` may as well be a date, so such a count must begin at the start, be too large for
//! a date, or go on.

use std::sync::LazyLock;

use regex::Regex;

use super::Recogniser;
use super::report::{Report, Seen};

/// Counts that speak for themselves: the words or the bar around them say what they are.
const SHAPES: [&str; 6] = [
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

/// Ninja and others: "[12/340] Building C object x.o", "(3/7) Installing x".
const BARE: &str = r"^(?:\[ *(?P<a>\d+)/(?P<b>\d+)\]|\( *(?P<c>\d+)/(?P<d>\d+)\)) (?P<message>\S.*)";

/// A count of more than this is no day of a month; the years below are no counts.
const DAYS: u64 = 31;
const YEARS: std::ops::RangeInclusive<u64> = 1900..=2100;

static COMPILED: LazyLock<Vec<Regex>> =
    LazyLock::new(|| SHAPES.iter().map(|shape| Regex::new(shape).expect("the shapes above are expressions")).collect());
static BARE_COMPILED: LazyLock<Regex> = LazyLock::new(|| Regex::new(BARE).expect("it is an expression"));

/// Remembers the last bare count, to see whether it goes on.
#[derive(Debug, Default)]
pub(super) struct Count {
    last: Option<(u64, u64)>,
    /// Whether counts of this total were taken.
    taken: Option<u64>,
}

impl Recogniser for Count {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Report> {
        if !seen.text.contains(['/', '[']) {
            return None;
        }
        let text = seen.text.trim_end();
        if text.starts_with(['[', '('])
            && let Some(found) = BARE_COMPILED.captures(text)
        {
            return self.bare(&found);
        }
        // A bar, or one of three words.
        let telling = text.starts_with(['#', '[', ' ']) || text.starts_with("Step ") || text.contains('━');
        let report = COMPILED.iter().filter(|_| telling).find_map(|shape| units(text, shape));
        report.map(|report| Report { shuffled: true, ..report })
    }
}

/// What a shape says; where only the total has a unit, it is that of both.
fn units(text: &str, shape: &Regex) -> Option<Report> {
    let found = shape.captures(text)?;
    let unit = found.name("total").and_then(|total| total.as_str().split_once(' '));
    let Some((_, unit)) = unit else { return Report::of_match(shape, &found) };
    let current = super::report::amount(&format!("{} {unit}", found.name("current")?.as_str()))?;
    let rest = Report::of_match(shape, &found)?;
    Report { current: Some(current), percent: None, ..rest }.checked()
}

impl Count {
    fn bare(&mut self, found: &regex::Captures<'_>) -> Option<Report> {
        let number = |names: [&str; 2]| names.iter().find_map(|name| found.name(name))?.as_str().parse::<u64>().ok();
        let (current, total) = (number(["a", "c"])?, number(["b", "d"])?);
        let before = self.last.replace((current, total));
        let is_next = before.is_some_and(|(last, of)| of == total && (last + 1..=last + 3).contains(&current));
        let no_date = total > DAYS && !YEARS.contains(&total);
        let known = self.taken == Some(total) || (self.taken.is_some() && current > 1 && no_date);
        if !(current <= 1 || is_next || no_date || known) || total < 2 {
            return None;
        }
        self.taken = Some(total);
        let message = found.name("message").and_then(|message| super::report::words(message.as_str()));
        let report =
            Report { current: Some(current), total: Some(total), message, shuffled: true, ..Report::default() };
        report.checked()
    }
}
