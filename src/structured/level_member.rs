//! The level among the members of a JSON object or the pairs of a logfmt line.

use crate::event::Level;

use super::json_members::{JsonMemberValue, JsonMembers};
use super::level_word;
use super::logfmt_pairs::{LogfmtPairs, LogfmtValue};

/// The members that declare a level, the most trusted first. Names are compared in lower case and without `.`, `_`,
/// `-` and `@`, so that `log.level`, `log_level` and `LogLevel` are one.
const LEVEL_MEMBERS: [(&str, LevelNumbers); 13] = [
    ("level", LevelNumbers::Logger),
    ("lvl", LevelNumbers::Logger),
    ("loglevel", LevelNumbers::Logger),
    ("levelname", LevelNumbers::Logger),
    ("severity", LevelNumbers::Severity),
    ("severitytext", LevelNumbers::Severity),
    ("severityname", LevelNumbers::Severity),
    ("l", LevelNumbers::Logger),
    ("syslogseverity", LevelNumbers::Severity),
    ("priority", LevelNumbers::Severity),
    ("levelno", LevelNumbers::Python),
    ("levelvalue", LevelNumbers::Logger),
    ("severitynumber", LevelNumbers::OpenTelemetry),
];

/// The longest name among [`LEVEL_MEMBERS`], with room for four separators, in bytes.
const MAX_LEVEL_NAME_SIZE: usize = 18;

/// The meaning of a number as a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LevelNumbers {
    /// 10 to 60 as pino and bunyan count, 100 to 600 as Monolog, 5000 to 40000 as Logback.
    Logger,
    /// 0 to 7 as syslog counts, 100 to 800 as Google Cloud Logging.
    Severity,
    /// 10 to 50 as the `logging` of Python counts.
    Python,
    /// 1 to 24 (the log data model of OpenTelemetry).
    OpenTelemetry,
}

/// The level among members that are given one by one. A word counts before a number, since a number has several
/// meanings; among several words, the most trusted name decides.
#[derive(Debug, Default)]
pub(super) struct LevelOfMembers {
    /// The level so far, and its rank; smaller ranks are more trusted.
    found: Option<(usize, Level)>,
    /// `true` once a member was seen that only GELF messages have; their `level` is a severity of syslog.
    is_gelf: bool,
    /// The number of a `level` that only counts in a GELF message.
    gelf_level: Option<Level>,
}

impl LevelOfMembers {
    /// Considers a member with a text or a number as its value.
    pub(super) fn member(&mut self, name: &[u8], value: &[u8]) {
        if name.len() > MAX_LEVEL_NAME_SIZE {
            return;
        }
        if name == b"short_message" {
            self.is_gelf = true;
        }
        let mut plain = [0; MAX_LEVEL_NAME_SIZE];
        let mut length = 0;
        for &byte in name.iter().filter(|byte| !matches!(byte, b'.' | b'_' | b'-' | b'@' | b' ')) {
            plain[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        let plain = &plain[..length];
        // MongoDB writes one letter, sometimes with a digit; other programs mean something else by this name.
        if plain == b"s" && value.first().is_some_and(u8::is_ascii_uppercase) && value.len() <= 2 {
            self.consider(LEVEL_MEMBERS.len(), level_word::from_letter(value[0]));
        }
        // zap and Serilog write `L` and `@l`; a lower-case `l` may be anything.
        if plain == b"l" && !matches!(name, b"L" | b"@l") {
            return;
        }
        let Some(rank) = LEVEL_MEMBERS.iter().position(|(known, _)| known.as_bytes() == plain) else { return };
        let value = value.trim_ascii();
        match std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok()) {
            Some(number) => {
                let level = LEVEL_MEMBERS[rank].1.level(number);
                self.consider(rank + 2 * LEVEL_MEMBERS.len(), level);
                if level.is_none() {
                    self.gelf_level = self.gelf_level.or(u8::try_from(number).ok().and_then(Level::from_number));
                }
            }
            None => self.consider(rank, word_of_value(value)),
        }
    }

    fn consider(&mut self, rank: usize, level: Option<Level>) {
        if let Some(level) = level
            && self.found.is_none_or(|(best, _)| rank < best)
        {
            self.found = Some((rank, level));
        }
    }

    /// Returns whether no further member can change the level.
    pub(super) fn is_decided(&self) -> bool {
        self.found.is_some_and(|(rank, _)| rank == 0)
    }

    /// The level of all members.
    pub(super) fn level(self) -> Option<Level> {
        self.found.map(|(_, level)| level).or(self.gelf_level.filter(|_| self.is_gelf))
    }
}

/// The level of the JSON object at the start of the text; `None` if there is no object.
#[expect(clippy::option_option, reason = "an object without a level ends the search as well")]
pub(super) fn of_json(text: &[u8]) -> Option<Option<Level>> {
    let members = JsonMembers::of(text)?;
    let mut found = LevelOfMembers::default();
    for (name, value) in members {
        match value {
            JsonMemberValue::Text(value) | JsonMemberValue::Word(value) => found.member(name, value),
            // The Elastic Common Schema: `"log":{"level":"error"}`.
            JsonMemberValue::Object(object) if name == b"log" => {
                for (name, value) in JsonMembers::of(object).into_iter().flatten().filter(|(name, _)| *name == b"level")
                {
                    if let JsonMemberValue::Text(value) = value {
                        found.member(name, value);
                    }
                }
            }
            JsonMemberValue::Object(_) | JsonMemberValue::Array => {}
        }
        if found.is_decided() {
            break;
        }
    }
    Some(found.level())
}

/// The level of the pairs of a line.
pub(super) fn of_logfmt(text: &[u8]) -> Option<Level> {
    let mut found = LevelOfMembers::default();
    for (key, value) in LogfmtPairs::of(text) {
        let (LogfmtValue::Bare(value) | LogfmtValue::Quoted(value)) = value;
        found.member(key, value);
        if found.is_decided() {
            break;
        }
    }
    found.level()
}

/// The level that a whole value names: a word, a letter, or a word with a distance such as the `ERROR+2` of Go's slog.
fn word_of_value(value: &[u8]) -> Option<Level> {
    if let [letter] = value {
        return level_word::from_letter(*letter);
    }
    let length = value.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let is_distance = |rest: &[u8]| matches!(rest, [b'+' | b'-', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    let (word, rest) = value.split_at(length);
    if rest.is_empty() || is_distance(rest) { level_word::from_word(word) } else { None }
}

impl LevelNumbers {
    fn level(self, number: u32) -> Option<Level> {
        let bands: &[(u32, u32, Level)] = match self {
            Self::Logger => &[
                (10, 29, Level::Debug),
                (30, 39, Level::Info),
                (40, 49, Level::Warning),
                (50, 59, Level::Error),
                (60, 69, Level::Critical),
                (100, 100, Level::Debug),
                (200, 200, Level::Info),
                (250, 250, Level::Notice),
                (300, 300, Level::Warning),
                (400, 400, Level::Error),
                (500, 500, Level::Critical),
                (550, 550, Level::Alert),
                (600, 600, Level::Emergency),
                (5_000, 10_000, Level::Debug),
                (20_000, 20_000, Level::Info),
                (30_000, 30_000, Level::Warning),
                (40_000, 40_000, Level::Error),
            ],
            Self::Severity => {
                let hundreds = (number >= 100 && number.is_multiple_of(100)).then(|| 8u32.saturating_sub(number / 100));
                let number = if number < 8 { Some(number) } else { hundreds.filter(|_| number <= 800) };
                return number.and_then(|number| Level::from_number(u8::try_from(number).ok()?));
            }
            Self::Python => &[
                (1, 19, Level::Debug),
                (20, 29, Level::Info),
                (30, 39, Level::Warning),
                (40, 49, Level::Error),
                (50, 59, Level::Critical),
            ],
            Self::OpenTelemetry => &[
                (1, 8, Level::Debug),
                (9, 12, Level::Info),
                (13, 16, Level::Warning),
                (17, 20, Level::Error),
                (21, 24, Level::Critical),
            ],
        };
        bands.iter().find(|(least, most, _)| (*least..=*most).contains(&number)).map(|(_, _, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_trusted_member_decides() {
        // The members, and the level of all of them.
        type Members<'a> = &'a [(&'a str, &'a str)];
        let table: [(Members<'_>, Option<Level>); 24] = [
            (&[("msg", "error"), ("level", "info")], Some(Level::Info)),
            (&[("severity", "high"), ("level", "error")], Some(Level::Error)),
            (&[("level", "300"), ("level_name", "WARNING")], Some(Level::Warning)),
            (&[("level", "400"), ("channel", "app")], Some(Level::Error)),
            (&[("levelno", "40"), ("levelname", "ERROR")], Some(Level::Error)),
            (&[("levelno", "40")], Some(Level::Error)),
            (&[("level", "40")], Some(Level::Warning)),
            (&[("level", "35")], Some(Level::Info)),
            (&[("level", "0")], None),
            (&[("level", "3"), ("short_message", "x")], Some(Level::Error)),
            (&[("PRIORITY", "4")], Some(Level::Warning)),
            (&[("priority", "high")], None),
            (&[("severity", "500")], Some(Level::Error)),
            (&[("severity", "DEFAULT")], None),
            (&[("log.level", "WARN")], Some(Level::Warning)),
            (&[("LogLevel", "Information")], Some(Level::Info)),
            (&[("@l", "Fatal")], Some(Level::Critical)),
            (&[("l", "error")], None),
            (&[("s", "E"), ("c", "NETWORK")], Some(Level::Error)),
            (&[("s", "Enabled")], None),
            (&[("severity_number", "17")], Some(Level::Error)),
            (&[("level", "ERROR+2")], Some(Level::Error)),
            (&[("level", "Metadata")], None),
            (&[("level", "error in code")], None),
        ];
        for (members, level) in table {
            let mut found = LevelOfMembers::default();
            for (name, value) in members {
                found.member(name.as_bytes(), value.as_bytes());
            }
            assert_eq!(found.level(), level, "{members:?}");
        }
    }
}
