//! Numbers as people and programs write them, in any locale: `8.945.664`, `8,945,664`, `8 945 664`, `64,3`, `1.5G`.

/// The part of an expression that matches a number. A group of three digits may follow a dot, a comma, an apostrophe or
/// a blank, which may be a narrow one or one at which no line is broken.
pub(super) const NUMBER: &str =
    r"(?:\d{1,3}(?:(?:[.]\d{3})+|(?:,\d{3})+|(?:['’ \u{a0}\u{202f}\u{2009}]\d{3})+)(?:[.,]\d+)?|\d+(?:[.,]\d+)?)";

/// The part of an expression that matches a unit of bytes, or a multiple.
pub(super) const UNIT: &str = r"(?:[ \u{a0}\u{202f}]?(?:[kKMGTPE]i?(?:[bB]|bytes)?|[bB]|bytes)\b)?";

/// Parses a percentage from 0 to 100, without its sign.
pub(super) fn parse_percent(text: &str) -> Option<f64> {
    text.trim().replace(',', ".").parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

/// Parses a number with or without a unit: `340`, `1,234,567`, `1.2M`, `12.5 MB`, `4MiB`.
pub(super) fn parse_amount(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| c.is_alphabetic()) {
        Some(at) => text.split_at_checked(at)?,
        None => (text, ""),
    };
    let number = parse_number(number.trim_end(), !unit.is_empty())?;
    let binary = unit.contains('i');
    let power = match unit.chars().next().map(|letter| letter.to_ascii_uppercase()) {
        Some('K') => 1,
        Some('M') => 2,
        Some('G') => 3,
        Some('T') => 4,
        Some('P') => 5,
        Some('E') => 6,
        Some('B') | None => 0,
        Some(_) => return None,
    };
    let value = number * if binary { 1024f64 } else { 1000f64 }.powi(power);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    (0.0..1e18).contains(&value).then_some(value as u64)
}

/// Parses a number in which dots, commas, apostrophes and blanks separate groups of digits or the decimal places.
///
/// A separator that occurs twice, and the first of two different ones, separates groups. A comma before exactly three
/// digits does, too; so does a dot in a number without a unit, since what has no unit is counted in whole numbers.
fn parse_number(text: &str, has_unit: bool) -> Option<f64> {
    let is_group = |c: char| matches!(c, '\'' | '’' | ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}');
    let dots = text.matches('.').count();
    let commas = text.matches(',').count();
    let three_digits_follow = |separator: char| {
        let (before, after) = text.split_once(separator)?;
        Some(after.len() == 3 && (1..=3).contains(&before.len()) && before != "0")
    };
    let decimal = match (dots, commas) {
        // No separator of decimal places, or one that occurs twice.
        (0, 0 | 2..) | (2.., 0) => None,
        (1, 0) if !has_unit && three_digits_follow('.')? => None,
        (0, 1) if three_digits_follow(',')? => None,
        (1, 0) => Some('.'),
        (0, 1) => Some(','),
        (_, _) => text.chars().rev().find(|c| matches!(c, '.' | ',')),
    };
    let (whole, places) = match decimal {
        Some(separator) => text.rsplit_once(separator)?,
        None => (text, "0"),
    };
    let mut groups = whole.split(|c: char| is_group(c) || matches!(c, '.' | ','));
    let first = groups.next()?;
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 || first.len() > 3 {
            return None;
        }
        digits.push_str(group);
    }
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(&digits) || !all_digits(places) {
        return None;
    }
    format!("{digits}.{places}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_understood_as_people_write_them() {
        let table = [
            ("340", Some(340)),
            ("0", Some(0)),
            ("1,204", Some(1204)),
            ("1,234,567", Some(1_234_567)),
            ("8.945.664", Some(8_945_664)),
            ("8 945 664", Some(8_945_664)),
            ("8\u{a0}945\u{a0}664", Some(8_945_664)),
            ("8\u{202f}945\u{202f}664", Some(8_945_664)),
            ("8'945'664", Some(8_945_664)),
            ("1.234", Some(1234)),
            ("1.234,5", Some(1234)),
            ("1,234.5", Some(1234)),
            ("1.234M", Some(1_234_000)),
            ("0.125", Some(0)),
            ("12.50", Some(12)),
            ("1.2M", Some(1_200_000)),
            ("1,2M", Some(1_200_000)),
            ("1.5G", Some(1_500_000_000)),
            ("12.5 MB", Some(12_500_000)),
            ("12,5\u{a0}MB", Some(12_500_000)),
            ("4MiB", Some(4 << 20)),
            ("9kB", Some(9000)),
            ("17 bytes", Some(17)),
            ("3 cups", None),
            ("", None),
            (".", None),
            ("1,23,456", None),
            ("1 2", None),
            ("1234,567,890", None),
            ("1..2", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_amount(text), expected, "{text:?}");
        }
    }

    #[test]
    fn percentages_have_decimal_places_in_any_locale() {
        let table =
            [("45", Some(45.0)), (" 64,3", Some(64.3)), ("64.3", Some(64.3)), ("100", Some(100.0)), ("101", None)];
        for (text, expected) in table {
            assert_eq!(parse_percent(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_expressions_match_what_the_parser_understands() {
        let expression = regex::Regex::new(&format!("^{NUMBER}{UNIT}$")).unwrap();
        for text in ["340", "8.945.664", "8,945,664", "8 945 664", "8\u{202f}945", "1.5G", "12,5 MB", "4MiB", "64,3"] {
            assert!(expression.is_match(text) && parse_amount(text).is_some(), "{text:?}");
        }
        for text in ["1.", ",5", "3 cups", "1,2,3", ""] {
            assert!(!expression.is_match(text), "{text:?}");
        }
    }
}
