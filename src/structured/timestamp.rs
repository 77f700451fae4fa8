//! The times that lines declare, in the forms in which loggers write them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::event::Time;

/// A time that has no year is of the last twelve months, but a clock may be ahead by this much, in microseconds: a day.
const MAX_CLOCK_LEAD: i64 = 24 * 3600 * 1_000_000;

/// The names of the months.
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The time that a text is; `read` is the time at which the line was read.
///
/// A time without a zone is in the time zone of this system, as loggers write it. A time without a year is the last one
/// that was not more than a day after `read`.
pub(super) fn parse(text: &str, read: Time) -> Option<Time> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    if let Some(time) = from_number(text) {
        return Some(time);
    }
    let mut parser = TimeParser { rest: text };
    let form = parser.time()?;
    let zone = parser.zone()?;
    form.at(&zone, read)
}

/// The time and the rest of a text that begins with one, as a line of syslog does: `Nov 28 16:00:00`, or RFC 3339.
pub(super) fn parse_prefix(text: &str, read: Time) -> Option<(Time, &str)> {
    let mut parser = TimeParser { rest: text };
    let form = parser.time()?;
    let length = parser.rest.find(' ').unwrap_or(parser.rest.len());
    let (zone, rest) = parser.rest.split_at(length);
    let zone = TimeParser { rest: zone.trim_end_matches(':') }.zone()?;
    Some((form.at(&zone, read)?, rest))
}

/// The time that is a number since the Unix epoch: seconds, milliseconds, microseconds or nanoseconds by its size, so
/// that all of them are between the years 1973 and 5138.
fn from_number(text: &str) -> Option<Time> {
    let is_number =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+'));
    if !is_number {
        return None;
    }
    if let Ok(number) = text.parse::<i64>() {
        return match number {
            100_000_000..100_000_000_000 => Some(Time(number * 1_000_000)),
            100_000_000_000..100_000_000_000_000 => Some(Time(number * 1_000)),
            100_000_000_000_000..100_000_000_000_000_000 => Some(Time(number)),
            100_000_000_000_000_000.. => Some(Time(number / 1_000)),
            _ => None,
        };
    }
    let (whole, fraction) = text.split_once('.')?;
    if fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        let unit = from_number(whole).map(|time| (time, unit_of(whole)))?;
        return Some(Time(unit.0.0 + fraction_of(fraction, unit.1)));
    }
    // Such as 1.7643456001e9, which zap writes.
    #[expect(clippy::cast_possible_truncation, reason = "a time in this range fits")]
    let micros = text.parse::<f64>().ok().filter(|seconds| (1e8..1e11).contains(seconds)).map(|it| (it * 1e6) as i64);
    micros.map(Time)
}

/// The number of microseconds in the unit of a number of this length.
fn unit_of(whole: &str) -> i64 {
    match whole.len() {
        ..=11 => 1_000_000,
        12..=14 => 1_000,
        _ => 1,
    }
}

/// The digits after a point as microseconds, of a unit that has this many.
fn fraction_of(digits: &str, unit: i64) -> i64 {
    digits.bytes().fold((0, unit), |(sum, unit), digit| (sum + i64::from(digit - b'0') * (unit / 10), unit / 10)).0
}

/// A date and a time of day as they are written.
#[derive(Debug, Clone, Copy)]
struct WrittenTime {
    year: Option<i16>,
    month: i8,
    day: i8,
    clock: (i8, i8, i8, i32),
}

impl WrittenTime {
    fn at(self, zone: &TimeZone, read: Time) -> Option<Time> {
        let in_year = |year| {
            let (hour, minute, second, nanosecond) = self.clock;
            let time = DateTime::new(year, self.month, self.day, hour, minute, second, nanosecond).ok()?;
            Some(Time(time.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond()))
        };
        if let Some(year) = self.year {
            return in_year(year);
        }
        let now = jiff::Timestamp::from_microsecond(read.0).ok()?.to_zoned(zone.clone());
        // The 29th of February may be several years back.
        let years = (0..8).filter_map(|back| in_year(now.year() + 1 - back));
        years.into_iter().find(|time| time.0 <= read.0.saturating_add(MAX_CLOCK_LEAD))
    }
}

/// A text of which parts are taken from its start.
struct TimeParser<'a> {
    rest: &'a str,
}

impl TimeParser<'_> {
    fn time(&mut self) -> Option<WrittenTime> {
        if self.rest.as_bytes().get(4).is_some_and(|byte| matches!(byte, b'-' | b'/')) {
            let year = self.number(4, 4)?;
            self.one_of("-/")?;
            let month = self.number(2, 2)?;
            self.one_of("-/")?;
            let day = self.number(2, 2)?;
            self.one_of("Tt _")?;
            return self.of(Some(year), i8::try_from(month).ok()?, day);
        }
        self.weekday();
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            // 28/Nov/2026:16:00:00 of web servers, 28-Nov-2026 16:00:00, 28 Nov 2026 16:00:00.
            let day = self.number(1, 2)?;
            self.one_of("/- ")?;
            let month = self.month()?;
            self.one_of("/- ")?;
            let year = self.number(4, 4)?;
            self.one_of(": ")?;
            return self.of(Some(year), month, day);
        }
        // Nov 28 16:00:00 of syslog, Nov 28 16:00:00 2026 of ctime(3), Nov 28 2026 16:00:00 of network devices.
        let month = self.month()?;
        self.one_of(" ")?;
        self.spaces();
        let day = self.number(1, 2)?;
        self.one_of(" ")?;
        let has_year = self.rest.as_bytes().get(4) == Some(&b' ');
        let mut year = None;
        if has_year {
            year = Some(self.number(4, 4)?);
            self.one_of(" ")?;
        }
        let mut time = self.of(year, month, day)?;
        let after = self.rest.strip_prefix(' ').unwrap_or_default();
        if year.is_none() && after.len() == 4 && after.bytes().all(|byte| byte.is_ascii_digit()) {
            time.year = after.parse().ok();
            self.rest = "";
        }
        Some(time)
    }

    /// Takes the time of day, and puts it together with the date.
    fn of(&mut self, year: Option<i16>, month: i8, day: i16) -> Option<WrittenTime> {
        let hour = self.number(1, 2)?;
        self.one_of(":")?;
        let minute = self.number(2, 2)?;
        self.one_of(":")?;
        // A leap second is the one before it.
        let second = self.number(2, 2)?.min(59);
        let mut nanosecond = 0;
        if let Some(rest) = self.rest.strip_prefix(['.', ',']) {
            let (digits, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
            if digits.is_empty() {
                return None;
            }
            nanosecond = i32::try_from(fraction_of(digits, 1_000_000_000)).ok()?;
            self.rest = rest;
        }
        let [hour, minute, second, day] = [hour, minute, second, day].map(|number| i8::try_from(number).unwrap_or(99));
        Some(WrittenTime { year, month, day, clock: (hour, minute, second, nanosecond) })
    }

    /// Takes a number with at least and at most this many digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i16> {
        let length = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        (length >= least).then(|| digits.parse().ok()).flatten()
    }

    fn one_of(&mut self, characters: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(|c: char| characters.contains(c))?;
        Some(())
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn month(&mut self) -> Option<i8> {
        let name = self.rest.get(..3)?;
        let at = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
        self.rest = self.rest.get(3..)?;
        i8::try_from(at + 1).ok()
    }

    /// Takes the name of a day of the week, if there is one.
    fn weekday(&mut self) {
        const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        if let Some(rest) = WEEKDAYS.iter().find_map(|day| self.rest.strip_prefix(day)) {
            self.rest = rest.trim_start_matches(',').trim_start_matches(' ');
        }
    }

    /// Takes the time zone, which must be the rest of the text. Without one, it is that of this system.
    fn zone(&mut self) -> Option<TimeZone> {
        // RFC 9557: the name of a zone after an offset.
        let text = self.rest.split('[').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Some(TimeZone::system());
        }
        if matches!(text, "Z" | "z" | "UTC" | "GMT") {
            return Some(TimeZone::UTC);
        }
        let sign = match text.as_bytes()[0] {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let digits: String = text.chars().skip(1).filter(|c| *c != ':').collect();
        let has_digits = matches!(digits.len(), 2 | 4) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let (hours, minutes) = has_digits.then(|| digits.split_at(2))?;
        let (hours, minutes): (i32, i32) =
            (hours.parse().ok()?, if minutes.is_empty() { 0 } else { minutes.parse().ok()? });
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok().map(TimeZone::fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    /// The same date and time of day in the time zone of this system.
    fn local(text: &str) -> Time {
        let time: DateTime = text.parse().unwrap();
        Time(time.to_zoned(TimeZone::system()).unwrap().timestamp().as_microsecond())
    }

    #[test]
    fn times_are_read_in_all_usual_forms() {
        let noon = time("2026-11-28T16:00:00Z");
        let exact = time("2026-11-28T16:00:00.123456Z");
        let milli = time("2026-11-28T16:00:00.123Z");
        let here = local("2026-11-28T16:00:00");
        let table = [
            ("2026-11-28T16:00:00Z", Some(noon)),
            ("2026-11-28T17:00:00+01:00", Some(noon)),
            ("2026-11-28T17:00:00.123456+0100", Some(exact)),
            ("2026-11-28t08:30:00.123456789-07:30", Some(exact)),
            ("2026-11-28 16:00:00,123 UTC", Some(milli)),
            ("2026-11-28T17:00:00+01[Europe/Berlin]", Some(noon)),
            ("2026/11/28 16:00:00", Some(here)),
            ("2026-11-28 16:00:00", Some(here)),
            ("[28/Nov/2026:16:00:00 +0000]", Some(noon)),
            ("28-Nov-2026 16:00:00.123 UTC", Some(milli)),
            ("Sat, 28 Nov 2026 16:00:00 GMT", Some(noon)),
            ("Sat Nov 28 16:00:00 2026", Some(here)),
            ("Nov 28 16:00:00", Some(here)),
            ("Nov 28 2026 16:00:00", Some(here)),
            ("1795881600", Some(noon)),
            ("1795881600.123456", Some(exact)),
            ("1795881600.123", Some(milli)),
            ("1.7958816e9", Some(noon)),
            ("1795881600123", Some(milli)),
            ("1795881600123.456", Some(exact)),
            ("1795881600123456", Some(exact)),
            ("1795881600123456789", Some(exact)),
            ("12345", None),
            ("", None),
            ("-", None),
            ("now", None),
            ("2026-11-28", None),
            ("2026-13-28T16:00:00Z", None),
            ("2026-11-31T16:00:00Z", None),
            ("2026-11-28T25:00:00Z", None),
            ("2026-11-28T16:00:00 XYZ", None),
            ("2026-11-28T16:00:00.Z", None),
            ("2026-11-28T16:00:60Z", Some(time("2026-11-28T16:00:59Z"))),
            ("\u{e9}\u{e9}\u{e9}\u{e9}", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, exact), expected, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_year_is_the_last_one() {
        let read = local("2026-01-02T00:00:00");
        let table = [
            ("Jan  1 23:59:59", "2026-01-01T23:59:59"),
            ("Jan  2 12:00:00", "2026-01-02T12:00:00"),
            ("Dec 31 23:59:59", "2025-12-31T23:59:59"),
            ("Jan 20 00:00:00", "2025-01-20T00:00:00"),
            ("Feb 29 00:00:00", "2024-02-29T00:00:00"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, read), Some(local(expected)), "{text}");
        }
        // A clock that is a few seconds ahead on the evening of the last day.
        assert_eq!(parse("Jan  1 00:00:05", local("2025-12-31T23:59:58")), Some(local("2026-01-01T00:00:05")));
    }

    #[test]
    fn the_text_after_a_time_is_left() {
        let noon = time("2026-11-28T16:00:00Z");
        let table = [
            ("2026-11-28T16:00:00Z host app: x", Some((noon, " host app: x"))),
            ("2026-11-28T17:00:00.000+01:00 host", Some((noon, " host"))),
            ("Nov 28 16:00:00 host app: x", Some((local("2026-11-28T16:00:00"), " host app: x"))),
            ("Nov 28 16:00:00.000: %SYS-5", Some((local("2026-11-28T16:00:00"), " %SYS-5"))),
            ("host app: x", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_prefix(text, noon), expected, "{text}");
        }
    }
}
