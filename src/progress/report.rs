//! The input and output of a recogniser.

use std::borrow::Cow;

use regex::{Captures, Regex};

use crate::event::{ProgressState, Time};

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
}

/// The beginning or end of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum GroupBoundary {
    Begin {
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
                "percent" => report.percent = Some(percent(text)?),
                "current" => report.current = Some(parse_amount(text)?),
                "total" => report.total = Some(parse_amount(text)?),
                "phase" => report.phase = words(text),
                "message" => report.message = words(text),
                _ => {}
            }
        }
        report.checked()
    }

    /// The same report, with a missing percentage calculated from the count; `None` if its numbers make no sense.
    pub(super) fn checked(mut self) -> Option<Self> {
        if let (Some(current), Some(total)) = (self.current, self.total) {
            if total == 0 || current > total {
                return None;
            }
            self.percent = self.percent.or(Some(percent_of(current, total)));
        }
        Some(self)
    }
}

/// The percentage of `current` in `total`.
#[expect(clippy::cast_precision_loss, reason = "a percentage has few digits")]
pub(super) fn percent_of(current: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { 100.0 * current as f64 / total as f64 }
}

/// Parses a number from 0 to 100.
fn percent(text: &str) -> Option<f64> {
    text.replace(',', ".").parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

/// Parses a number with or without a unit: `340`, `1,234,567`, `1.2M`, `12.5 MB`, `4MiB`.
pub(super) fn parse_amount(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: f64 = number.replace(',', "").parse().ok()?;
    let mut letters = unit.trim_start().chars();
    let binary = unit.contains('i');
    let power = match letters.next().map(|letter| letter.to_ascii_uppercase()) {
        Some('K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some('B') | None => 0,
        Some(_) => return None,
    };
    let value = number * if binary { 1024f64 } else { 1000f64 }.powi(power);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    (0.0..1e18).contains(&value).then_some(value as u64)
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

/// The text without control characters of a terminal: CSI and OSC sequences (ECMA-48, 5.4 and 8.3.89), other escapes,
/// backspaces.
pub(super) fn plain(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr2(0x1b, 0x08, raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (0x1b, [b'[', inside @ ..]) => {
                let end = inside.iter().position(|c| (0x40..=0x7e).contains(c));
                end.map_or(&[][..], |end| inside.get(end + 1..).unwrap_or_default())
            }
            (0x1b, [b']', inside @ ..]) => match inside.iter().position(|c| matches!(c, 0x07 | 0x1b)) {
                Some(end) if inside[end] == 0x1b => inside.get(end + 2..).unwrap_or_default(),
                Some(end) => inside.get(end + 1..).unwrap_or_default(),
                None => &[],
            },
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
    fn amounts_have_units() {
        let table = [
            ("340", Some(340)),
            ("1,234,567", Some(1_234_567)),
            ("1.2M", Some(1_200_000)),
            ("12.5 MB", Some(12_500_000)),
            ("4MiB", Some(4 << 20)),
            ("9kB", Some(9000)),
            ("3 cups", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_amount(text), expected, "{text:?}");
        }
    }

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
