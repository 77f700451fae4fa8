//! The ids of events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One epoch of numbering. A new epoch means that numbering started again from 1.
///
/// The text form has eight or nine base-36 digits for the milliseconds since 1970, and four random ones if nothing is
/// recorded on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    millis: u64,
    salt: Option<u32>,
}

const BASE36_DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const EPOCH_SALT_COUNT: u32 = 36 * 36 * 36 * 36;

impl Epoch {
    /// An epoch of a log on disk. The caller makes sure that it is greater than all earlier ones.
    pub const fn persistent(millis: u64) -> Self {
        Self { millis: millis % 36u64.pow(9), salt: None }
    }

    /// An epoch of a log that is not recorded; `random` distinguishes it from others of the same millisecond.
    pub fn ephemeral(millis: u64, random: u32) -> Self {
        Self { millis: millis % 36u64.pow(9), salt: Some(random % EPOCH_SALT_COUNT) }
    }

    /// The milliseconds of the epoch.
    pub fn millis(self) -> u64 {
        self.millis
    }

    /// The random part, if the epoch has one.
    pub fn salt(self) -> Option<u32> {
        self.salt
    }

    /// The epoch that follows this one and begins at `now`. It is greater than this one even if the clock was set back.
    #[must_use]
    pub fn successor(self, now: u64) -> Self {
        Self::persistent(now.max(self.millis + 1))
    }
}

/// Writes `value` as `width` or more base-36 digits.
fn base36(f: &mut fmt::Formatter<'_>, mut value: u64, width: usize) -> fmt::Result {
    let mut digits = [b'0'; 13];
    let mut at = digits.len();
    while value > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = BASE36_DIGITS[(value % 36) as usize];
        value /= 36;
    }
    f.write_str(std::str::from_utf8(&digits[at..]).expect("base-36 digits are ASCII"))
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        base36(f, self.millis, 8)?;
        self.salt.map_or(Ok(()), |salt| base36(f, salt.into(), 4))
    }
}

impl FromStr for Epoch {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let digit = |c: u8| c.is_ascii_digit() || c.is_ascii_lowercase();
        if !matches!(text.len(), 8 | 9 | 12 | 13) || !text.bytes().all(digit) {
            return Err(BadPosition);
        }
        let (millis, salt) = if text.len() < 12 { (text, "") } else { text.split_at(text.len() - 4) };
        let value = |digits: &str| u64::from_str_radix(digits, 36).map_err(|_| BadPosition);
        let salt = if salt.is_empty() { None } else { u32::try_from(value(salt)?).ok() };
        let epoch = Self { millis: value(millis)?, salt };
        // Each epoch has one spelling: nine digits do not begin with a zero.
        if millis.len() == 9 && millis.starts_with('0') { Err(BadPosition) } else { Ok(epoch) }
    }
}

/// A position in a stream, `EPOCH-NUMBER`: the id of an event, which as a position means just after that event. Number
/// 0 is the position before the first event of its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Position {
    /// The epoch of the number.
    pub epoch: Epoch,
    /// The number within the epoch, counted from 1.
    pub number: u64,
}

/// A text that is not a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id (it looks like mib3k2x9-1042, as in the `id` of an event)")]
pub struct BadPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for Position {
    type Err = BadPosition;
    fn from_str(text: &str) -> Result<Self, BadPosition> {
        let (epoch, number) = text.split_once('-').ok_or(BadPosition)?;
        let plain = number == "0" || (!number.starts_with('0') && number.bytes().all(|c| c.is_ascii_digit()));
        let number = if plain { number.parse().map_err(|_| BadPosition)? } else { return Err(BadPosition) };
        Ok(Self { epoch: epoch.parse()?, number })
    }
}

impl TryFrom<String> for Position {
    type Error = BadPosition;
    fn try_from(text: String) -> Result<Self, BadPosition> {
        text.parse()
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn positions_have_one_spelling() {
        for good in
            ["mib3k2x9-0", "mib3k2x9-1042", "mib3k2x9ab0z-1", "1mib3k2x9-7", "1mib3k2x90000-18446744073709551615"]
        {
            assert_eq!(good.parse::<Position>().unwrap().to_string(), good);
        }
        let bad = [
            "",
            "-",
            "mib3k2x9",
            "mib3k2x9-",
            "mib3k2x9-01",
            "mib3k2x9-+1",
            "MIB3K2X9-1",
            "mib3k2x-1",
            "0mib3k2x9-1",
            "mib3k2x9-18446744073709551616",
            "mib3k2x9-1 ",
            "mib3k2x9ab-1",
            "mib3k2xé-1",
        ];
        for bad in bad {
            assert!(bad.parse::<Position>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_position_reads_back_from_its_text(millis in 0u64..36u64.pow(9), salt: Option<u32>, number: u64) {
            let epoch = salt.map_or(Epoch::persistent(millis), |salt| Epoch::ephemeral(millis, salt));
            let position = Position { epoch, number };
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }

        #[test]
        fn any_text_parses_or_not_but_never_panics(text in "\\PC{0,40}") {
            let parsed = text.parse::<Position>();
            prop_assert!(parsed.is_err() || parsed.unwrap().to_string() == text);
        }
    }
}
