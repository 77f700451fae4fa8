//! Numbers with a unit, as people write them: sizes, durations, ranges and rates. Independent of YAML.
//!
//! The configuration, the command line and URL parameters use the same syntax.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The longest duration, in days: a hundred years. Adding it to any clock is far from overflow.
pub const MAX_DAYS: u64 = 36_500;

/// The most characters of a refused text that an error repeats.
const MAX_REPORTED_TEXT_LENGTH: usize = 100;

/// A number of bytes, written as `64KiB`, `8MiB`, `1GiB`, `10MB` or plainly `512`.
///
/// Shown with the largest unit that leaves a whole number, so that it reads back as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A duration, written as `500ms`, `15s`, `5m`, `2h` or `7d`. Shown with the largest unit that leaves a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationText(pub Duration);

/// A range of durations, both ends included, written as `1s..60s`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DurationRange(pub RangeInclusive<Duration>);

/// A rate, written as `5 per 10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// The number of times; at least one.
    pub times: u32,
    /// The duration; more than zero.
    pub per: Duration,
}

/// A text that is not a [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {0:?} (a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as 64KiB)")]
pub struct BadSize(pub String);

/// A text that is not a [`DurationText`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: {0:?} (a whole number and ms, s, m, h or d, such as 15s; at most {MAX_DAYS}d)")]
pub struct BadDuration(pub String);

/// A text that is not a [`DurationRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a range of durations: {0:?} (the shortest, two dots and the longest, such as 1s..60s)")]
pub struct BadDurationRange(pub String);

/// A text that is not a [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a rate: {0:?} (a number and a time, such as 5 per 10m)")]
pub struct BadRate(pub String);

/// The units of a size in bytes, from large to small.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
    ("", 1),
];

/// The units of durations in milliseconds, from long to short.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The number of bytes that `text` stands for.
///
/// # Errors
/// [`BadSize`] if it is not a whole number with one of the units, or more than a `u64` holds.
pub fn parse_size(text: &str) -> Result<u64, BadSize> {
    parse_measure(text, &SIZE_UNITS).ok_or_else(|| BadSize(shown(text)))
}

/// The duration that `text` stands for.
///
/// # Errors
/// [`BadDuration`] if it is not a whole number with one of the units, or longer than [`MAX_DAYS`].
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let millis = parse_measure(text, &TIME_UNITS).filter(|&millis| millis <= MAX_DAYS * 86_400_000);
    millis.map(Duration::from_millis).ok_or_else(|| BadDuration(shown(text)))
}

/// Digits and one of the units, as a multiple of the smallest; `None` for anything else.
fn parse_measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The start of a refused text, as much as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(MAX_REPORTED_TEXT_LENGTH).collect()
}

/// Writes `value` with the largest of `units` that divides it.
fn write_measure(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |factor: u64| if value == 0 { factor == 1 } else { value.is_multiple_of(factor) };
    match units.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

impl FromStr for Size {
    type Err = BadSize;
    fn from_str(text: &str) -> Result<Self, BadSize> {
        parse_size(text).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_measure(f, self.0, &SIZE_UNITS)
    }
}

impl FromStr for DurationText {
    type Err = BadDuration;
    fn from_str(text: &str) -> Result<Self, BadDuration> {
        parse_duration(text).map(Self)
    }
}

impl fmt::Display for DurationText {
    /// Fractions of a millisecond are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_measure(f, u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &TIME_UNITS)
    }
}

impl FromStr for DurationRange {
    type Err = BadDurationRange;
    fn from_str(text: &str) -> Result<Self, BadDurationRange> {
        let bad = || BadDurationRange(shown(text));
        let (low, high) = text.split_once("..").ok_or_else(bad)?;
        let time = |text| parse_duration(text).map_err(|_| bad());
        let range = time(low)?..=time(high)?;
        if range.is_empty() { Err(bad()) } else { Ok(Self(range)) }
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", DurationText(*self.0.start()), DurationText(*self.0.end()))
    }
}

impl FromStr for Rate {
    type Err = BadRate;
    fn from_str(text: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(shown(text));
        let (times, per) = text.split_once(" per ").ok_or_else(bad)?;
        let times = parse_measure(times, &[("", 1)]).and_then(|times| u32::try_from(times).ok()).ok_or_else(bad)?;
        let per = parse_duration(per).map_err(|_| bad())?;
        if times == 0 || per.is_zero() { Err(bad()) } else { Ok(Self { times, per }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.times, DurationText(self.per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("64KiB", 65536),
            ("8MiB", 8 << 20),
            ("1GiB", 1 << 30),
            ("3kB", 3000),
            ("2MB", 2_000_000),
            ("1GB", 1_000_000_000),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "KiB", "64K", "64 KiB", "64kib", "1.5GiB", "-1", "+1", "18446744073709551616", "99999999999GiB", "٣"]
        {
            assert_eq!(parse_size(bad), Err(BadSize(bad.into())));
        }
    }

    #[test]
    fn durations() {
        let good =
            [("0s", 0), ("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)];
        for (text, millis) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "15", "s", "1.5s", "1h30m", "15 s", "15S", "-1s", "36501d", "99999999999999999999d"] {
            assert_eq!(parse_duration(bad), Err(BadDuration(bad.into())));
        }
    }

    #[test]
    fn ranges_and_rates_that_mean_nothing_are_refused() {
        for bad in ["", "1s", "1s..", "..1s", "2s..1s", "1s..2", "1s...2s", "1s - 2s"] {
            assert_eq!(bad.parse::<DurationRange>(), Err(BadDurationRange(bad.into())));
        }
        for bad in ["", "5", "5 per", "5 per 0s", "0 per 1m", "-5 per 1m", "5/10m", "4294967296 per 1s", "5 per  1m"] {
            assert_eq!(bad.parse::<Rate>(), Err(BadRate(bad.into())));
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_is_not_long() {
        let message = parse_size(&"9".repeat(5000)).unwrap_err().to_string();
        assert!(message.len() < 250 && message.contains("such as 64KiB"), "{message}");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes: u64, low in 0..MAX_DAYS * 86_400_000, more in 0u64..1000, times in 1u32..) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
            let time = Duration::from_millis(low);
            prop_assert_eq!(parse_duration(&DurationText(time).to_string()), Ok(time));
            let longer = (time + Duration::from_secs(more)).min(Duration::from_secs(MAX_DAYS * 86_400));
            let range = DurationRange(time..=longer);
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            let rate = Rate { times, per: time + Duration::from_millis(1) };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn round_sizes_read_back_too(count in 0u64..5000, unit in 0..SIZE_UNITS.len()) {
            let size = Size(count * SIZE_UNITS[unit].1);
            prop_assert_eq!(format!("{count}{}", SIZE_UNITS[unit].0).parse(), Ok(size));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9]{0,25}[a-zA-Z. ]{0,8}[0-9]{0,25}[a-z]{0,2}") {
            let size = text.parse::<Size>();
            prop_assert!(size.is_err() || size == size.as_ref().unwrap().to_string().parse());
            let span = text.parse::<DurationText>();
            prop_assert!(span.is_err() || span == span.as_ref().unwrap().to_string().parse());
            prop_assert!(text.parse::<DurationRange>().is_err() || text.contains(".."));
            prop_assert!(text.parse::<Rate>().is_err() || text.contains(" per "));
        }
    }
}
