//! State that is carried from a line to the next ones.

use std::fmt;
use std::str::FromStr;

/// The maximum number of lines of one private key or YAML block that are redacted: a key of 16384 bits has 200.
pub const MAX_SECRET_LINES: usize = 400;

/// The state after a line: whether the next lines are part of a secret that began before. Its text form is part of a
/// recorded checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carry {
    /// The next lines are not part of a secret.
    #[default]
    Nothing,
    /// A private key has begun: at most this many of its lines follow.
    Key(usize),
    /// A YAML block has begun (`password: |`), which contains the lines that are indented deeper than `column`.
    Block {
        /// The column at which the name of the block begins.
        column: usize,
        /// Text other than white space precedes the name, and precedes the lines of the block.
        prefixed: bool,
        /// The maximum number of lines that follow.
        lines: usize,
    },
    /// The line was `name: DB_PASSWORD`: the next one may be its `value:`.
    Value,
}

impl Carry {
    /// The same state with its number of lines limited, for a state that was parsed from text.
    #[must_use]
    pub fn bounded(self) -> Self {
        match self {
            Self::Key(0) => Self::Nothing,
            Self::Key(lines) => Self::Key(lines.min(MAX_SECRET_LINES)),
            Self::Block { column, prefixed, lines } => {
                Self::Block { column, prefixed, lines: lines.min(MAX_SECRET_LINES) }
            }
            Self::Nothing | Self::Value => self,
        }
    }
}

impl fmt::Display for Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "0"),
            Self::Key(lines) => write!(f, "{lines}"),
            Self::Block { column, prefixed, lines } => {
                write!(f, "{}{column}:{lines}", if *prefixed { 'p' } else { 'b' })
            }
            Self::Value => write!(f, "v"),
        }
    }
}

/// The text is not a valid state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this does not say which lines are secret")]
pub struct BadCarry;

impl FromStr for Carry {
    type Err = BadCarry;
    fn from_str(text: &str) -> Result<Self, BadCarry> {
        if text == "v" {
            return Ok(Self::Value);
        }
        if let Ok(lines) = text.parse() {
            return Ok(Self::Key(lines).bounded());
        }
        let (prefixed, rest) = match (text.strip_prefix('b'), text.strip_prefix('p')) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(BadCarry),
        };
        let (column, lines) = rest.split_once(':').ok_or(BadCarry)?;
        let number = |text: &str| text.parse().map_err(|_| BadCarry);
        Ok(Self::Block { column: number(column)?, prefixed, lines: number(lines)? }.bounded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_reads_back() {
        let block = |prefixed| Carry::Block { column: 4, prefixed, lines: 7 };
        for carry in [Carry::Nothing, Carry::Key(3), block(true), block(false), Carry::Value] {
            assert_eq!(carry.to_string().parse(), Ok(carry));
        }
        assert_eq!("396".parse(), Ok(Carry::Key(396)), "as older releases wrote it");
        assert_eq!("99999".parse(), Ok(Carry::Key(MAX_SECRET_LINES)));
        for text in ["", "x", "b", "b1", "b1:", "bx:1", "-1"] {
            assert_eq!(text.parse::<Carry>(), Err(BadCarry), "{text}");
        }
    }
}
