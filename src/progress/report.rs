//! The input and output of a recogniser.
//!
//! A new recogniser is a row of `SHAPES` (in `shapes`; the most specific rows come first) or, if it has to remember lines, a
//! `Recogniser` that the function `recognisers` in `mod.rs` lists. It needs:
//!
//! - a prefix in `EXAMINED_LINE_PREFIXES` (`mod.rs`) if its finished lines have neither a percent sign nor control sequences;
//! - the name of the program in `known_programs` and, in the same order, in the table of rtlogd-http(7);
//! - a recording in `tests/progress`, usually by a function in `record.py`, whose name begins with that of the program
//!   (`forms` in `tests/mod.rs` has the exceptions). `RTLOGD_GENERATE=1 cargo it progress::` writes its row of `outcomes.tsv`.

use std::borrow::Cow;

use regex::{Captures, Regex};

use crate::event::{ProgressState, Time, lossy_text};

use super::number::{parse_amount, parse_percent};

/// A line, finished or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObservedLine<'a> {
    /// The bytes of the line as they were read.
    pub(super) raw: &'a [u8],
    /// The text without colours and other control sequences.
    pub(super) text: &'a str,
    /// The line is unfinished: more text or a redraw may follow.
    pub(super) open: bool,
    /// The line replaced another drawing, as only bars and spinners do.
    pub(super) is_redrawn: bool,
    /// The time when the line was read.
    pub(super) now: Time,
}

/// The progress that one line reports.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of the kind of line, independent of the others")]
pub(super) struct ProgressReport {
    pub(super) percent: Option<f64>,
    pub(super) current: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) phase: Option<String>,
    pub(super) message: Option<String>,
    /// The reported state; `None` means that the work is running.
    pub(super) state: Option<ProgressState>,
    /// A group that begins or ends with this line.
    pub(super) group: Option<GroupBoundary>,
    /// Concurrent workers report numbers out of order: a smaller number is not a new beginning.
    pub(super) out_of_order: bool,
    /// The line has a meaning only after other progress.
    pub(super) needs_prior_progress: bool,
    /// The program that writes such lines, or the kind of line: numbers of different tools are different bars.
    pub(super) tool: &'static str,
    /// The row is one of a summary, of which the other rows are no items.
    pub(super) is_summary: bool,
    /// The part of the work that is counted.
    pub(super) scope: Scope,
    /// The line may be repeated at the end: a smaller number of the same total is no new beginning at all.
    pub(super) is_repeated: bool,
    /// The total is a number of bytes, which are usually those of one object.
    pub(super) is_in_bytes: bool,
    pub(super) evidence: Evidence,
}

/// The part of the work that numbers count, from the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Scope {
    /// One of several objects.
    Item,
    #[default]
    Bar,
    /// All objects.
    Whole,
}

/// The certainty that a line is progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Evidence {
    #[default]
    Certain,
    /// The line is progress if its numbers continue those of an earlier one.
    Single,
    /// The line is progress if, in addition, it is a redraw.
    Redrawn,
}

/// The beginning or end of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GroupBoundary {
    Begin {
        key: String,
        title: String,
        at: Time,
    },
    /// Ends the group with the key `ended`, if it is open, and begins another one.
    Next {
        ended: String,
        key: String,
        title: String,
        at: Time,
    },
    /// Ends the group with this key and those inside it; without a key, the innermost one.
    End {
        key: Option<String>,
        at: Time,
    },
}

impl ProgressReport {
    /// A report that has only a state.
    pub(super) fn of_state(state: ProgressState) -> Self {
        Self { state: Some(state), ..Self::default() }
    }

    /// The report of the named groups `percent`, `current`, `total`, `phase` and `message` of a match; `None` if the
    /// numbers make no sense.
    pub(super) fn of_match(pattern: &Regex, found: &Captures<'_>) -> Option<Self> {
        let mut report = Self::default();
        for name in pattern.capture_names().flatten() {
            let Some(text) = found.name(name).map(|group| group.as_str().trim()).filter(|text| !text.is_empty()) else {
                continue;
            };
            match name {
                "percent" => report.percent = Some(parse_percent(text)?),
                "current" => report.current = parse_amount(text),
                "total" => report.total = parse_amount(text),
                "phase" => report.phase = words(text),
                "message" => report.message = words(text),
                _ => {}
            }
        }
        // A part that cannot be read does not discard the percentage.
        if report.percent.is_none() && found.name("current").is_some() && report.current.is_none() {
            return None;
        }
        report.checked()
    }

    /// The report of an item, which is a message for the whole.
    pub(super) fn into_item_of_whole(self) -> Self {
        Self { message: self.phase.or(self.message), group: self.group, ..Self::default() }
    }

    /// The same report, with a missing percentage calculated from the count. A count that makes no sense is left out; if
    /// there is nothing else, the result is `None`.
    pub(super) fn checked(mut self) -> Option<Self> {
        if let (Some(current), Some(total)) = (self.current, self.total) {
            if total > 0 && current <= total {
                self.percent = self.percent.or(Some(percent_of(current, total)));
            } else {
                self.percent?;
                (self.current, self.total) = (None, None);
            }
        }
        Some(self)
    }
}

/// The percentage of `current` in `total`.
#[expect(clippy::cast_precision_loss, reason = "a percentage has few digits")]
pub(super) fn percent_of(current: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { 100.0 * current as f64 / total as f64 }
}

/// The letters of a phase, since the numbers in it may change.
pub(super) fn letters(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().filter(|c| c.is_alphabetic()).collect()
}

/// The longest phase or message, in characters: one line of a page.
const MAX_LABEL_LETTERS: usize = 160;

/// Shortens a title or message.
pub(super) fn words(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    match text.char_indices().nth(MAX_LABEL_LETTERS) {
        Some((at, _)) => Some(text.get(..at)?.to_owned() + "…"),
        None => (!text.is_empty()).then(|| text.to_owned()),
    }
}

/// The text without control characters of a terminal: CSI sequences and control strings (ECMA-48, 5.4 and 5.6), other
/// escapes, backspaces.
pub(super) fn plain(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, 0x08, raw).is_none() {
        return lossy_text(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (0x1b, [b'[', inside @ ..]) => {
                let end = inside.iter().position(|c| (0x40..=0x7e).contains(c));
                end.map_or(&[][..], |end| inside.get(end + 1..).unwrap_or_default())
            }
            (0x1b, [b']' | b'P' | b'X' | b'^' | b'_', inside @ ..]) => {
                match inside.iter().position(|c| matches!(c, 0x07 | 0x1b)) {
                    Some(end) if inside[end] == 0x1b => inside.get(end + 2..).unwrap_or_default(),
                    Some(end) => inside.get(end + 1..).unwrap_or_default(),
                    None => &[],
                }
            }
            (0x1b, [b'(' | b')', _, after @ ..] | [_, after @ ..]) | (0x1b | 0x08, after) => after,
            (byte, after) => {
                text.push(*byte);
                after
            }
        };
    }
    Cow::Owned(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_a_terminal_are_no_text() {
        let table: [(&[u8], &str); 6] = [
            (b"plain", "plain"),
            (b"\x1b[1;31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07a\x1b]8;;x\x1b\\b", "ab"),
            (b"\x1b7\x1b[24;0fProgress\x1b8", "Progress"),
            (b"\x1b[", ""),
            (b"a\x1b(Bb", "ab"),
        ];
        for (raw, expected) in table {
            assert_eq!(plain(raw), expected);
        }
    }
}
