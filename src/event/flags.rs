//! Facts about an event, stored as bits.

use super::Level;

/// Facts about one event in addition to its text, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u16);

impl Flags {
    /// None of the facts below.
    pub const NONE: Self = Self(0);
    /// The line was longer than the limit, and continues in the next event of the same origin.
    pub const CONTINUED: Self = Self(1);
    /// The line ended without a newline: at the end of a file that was removed, or at the exit of a process.
    pub const PARTIAL: Self = Self(2);
    /// The [`EventKind::State`](super::EventKind::State) event begins a run of a process.
    pub const RUN_START: Self = Self(4);
    /// The line has a level, which the three bits above this one contain.
    const LEVEL: Self = Self(8);
    /// The text contains escape sequences, so its visible text is shorter. Every line in memory that has some has this flag.
    pub const HAS_ESCAPES: Self = Self(1 << 7);
    /// The line was compared with the lines of earlier runs.
    pub const COMPARED: Self = Self(1 << 8);
    /// The line was compared, and none of those lines has its shape.
    pub const NEW_SHAPE: Self = Self(1 << 9);
    /// The text of the line was examined for its level, and for escape sequences, when it was appended. Without this flag
    /// and without a level, a line may still declare one.
    pub const LEVEL_EXAMINED: Self = Self(1 << 10);
    /// All bits that have a meaning. An index entry in memory has no room for more than twelve.
    const ALL: Self = Self((1 << 11) - 1);

    /// The flags of a line of this level.
    pub fn from_level(level: Level) -> Self {
        Self::LEVEL.with(Self(u16::from(level as u8) << 4))
    }

    /// The level of the line, if its source gave one or it was found in the text.
    pub fn level(self) -> Option<Level> {
        self.has(Self::LEVEL).then(|| Level::from_number(self.0.to_le_bytes()[0] >> 4 & 7)).flatten()
    }

    /// The level, and whether the text was examined for it: what the further pieces of a line have in common with its
    /// first one.
    pub(crate) fn level_facts(self) -> Self {
        Self(self.0 & (Self::LEVEL_EXAMINED.0 | Self::LEVEL.0 | 0x70))
    }

    /// The bits as they are recorded.
    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    /// The set that is recorded as these bits. Bits without a meaning are left out.
    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The flags as they were before the text was examined for its level.
    #[cfg(test)]
    pub(crate) fn before_examination(self) -> Self {
        if self.has(Self::LEVEL_EXAMINED) {
            Self(self.0 & !(Self::LEVEL_EXAMINED.0 | Self::LEVEL.0 | 0x70 | Self::HAS_ESCAPES.0))
        } else {
            self
        }
    }

    /// Returns whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union of both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_has_bits_of_its_own() {
        let levels = (0..8).map(|number| Flags::from_level(Level::from_number(number).unwrap()));
        let facts = [
            Flags::CONTINUED,
            Flags::PARTIAL,
            Flags::RUN_START,
            Flags::HAS_ESCAPES,
            Flags::COMPARED,
            Flags::NEW_SHAPE,
            Flags::LEVEL_EXAMINED,
        ];
        for level in levels {
            let mut all = level;
            for fact in facts {
                assert!(!all.has(fact), "{fact:?}");
                all = all.with(fact);
                assert_eq!((all.level(), Flags::from_bits(all.bits())), (level.level(), all));
            }
        }
        assert_eq!(Flags::from_bits(u16::MAX).bits(), 0x7FF, "bits without a meaning are not kept");
    }
}
