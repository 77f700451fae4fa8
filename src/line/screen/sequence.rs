//! The bytes of an incomplete control sequence or character, which the state of the parser consists of.

use memchr::memchr;

use super::ESC;
use super::plain::C1_LEAD;

/// The longest incomplete sequence that is kept, in bytes. The parser keeps its own state of a longer one.
const MAX_KEPT_SIZE: usize = 8 << 10;

/// The longest incomplete character in UTF-8, in bytes.
const MAX_PARTIAL_CHARACTER: usize = 3;

/// The construct that the last bytes were a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Text,
    /// An ESC, with the intermediate bytes after it.
    Escape,
    /// A control sequence (ECMA-48, 5.4).
    Control,
    /// A string that a BEL ends (OSC).
    Command,
    /// A string that only ST ends, and that may have line ends, as pictures do (DCS).
    Data,
    /// Another string that only ST ends (APC, PM, SOS).
    Message,
}

/// Follows the bytes that are passed to the parser, which does not say in which state it is.
#[derive(Debug, Clone, Default)]
pub(super) struct PartialSequence {
    part: Part,
    bytes: Vec<u8>,
    /// The last byte is in a string, and may be the first one of a C1 control.
    ends_with_lead: bool,
}

impl PartialSequence {
    /// Takes bytes. Returns their number, or that of the bytes before a character that is not ASCII and breaks a sequence:
    /// the sequence has ended there, and the parser must abort it, so that it hides nothing behind it.
    pub(super) fn advance(&mut self, text: &[u8]) -> usize {
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            if matches!(self.part, Part::Escape | Part::Control) && !first.is_ascii() {
                self.abort();
                return text.len() - rest.len();
            }
            if self.part != Part::Text {
                self.step(*first);
                rest = after;
            } else if let Some(at) = memchr(ESC, rest) {
                self.step(ESC);
                rest = &rest[at + 1..];
            } else {
                self.bytes.extend_from_slice(&rest[rest.len().saturating_sub(MAX_PARTIAL_CHARACTER)..]);
                self.keep_character();
                break;
            }
        }
        self.ends_with_lead = self.is_in_string() && text.ends_with(&[C1_LEAD]);
        text.len()
    }

    fn step(&mut self, byte: u8) {
        let next = match (self.part, byte) {
            (_, ESC) => {
                // The end of a string is an ESC, too.
                if !matches!(self.part, Part::Command | Part::Data | Part::Message) {
                    self.bytes.clear();
                }
                Part::Escape
            }
            (Part::Text, _) | (_, 0x18 | 0x1a) => Part::Text,
            (Part::Escape, b']') => Part::Command,
            (Part::Escape, b'P') => Part::Data,
            (Part::Escape, b'X' | b'^' | b'_') => Part::Message,
            (Part::Escape, 0x00..=0x2f) => Part::Escape,
            (Part::Escape, b'[') | (Part::Control, 0x00..=0x3f) => Part::Control,
            (Part::Command, 0x07) | (Part::Escape | Part::Control, _) => Part::Text,
            (part @ (Part::Command | Part::Data | Part::Message), _) => part,
        };
        if next == Part::Text && self.part != Part::Text {
            self.bytes.clear();
        } else if self.bytes.len() < MAX_KEPT_SIZE {
            self.bytes.push(byte);
        }
        self.part = next;
    }

    /// Keeps only the bytes of an incomplete character.
    fn keep_character(&mut self) {
        let start = self.bytes.iter().rposition(|byte| *byte & 0xC0 != 0x80).unwrap_or(self.bytes.len());
        let length = match self.bytes.get(start) {
            Some(0xC2..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            _ => 0,
        };
        let end = if self.bytes.len() - start < length { start } else { self.bytes.len() };
        self.bytes.drain(..end);
    }

    /// Returns whether the last bytes are in the middle of a sequence.
    pub(super) fn is_inside(&self) -> bool {
        self.part != Part::Text
    }

    /// Returns whether the last bytes are in a string of data, which may contain line ends.
    pub(super) fn is_in_data(&self) -> bool {
        self.part == Part::Data
    }

    /// Returns whether the last bytes are in a string.
    pub(super) fn is_in_string(&self) -> bool {
        matches!(self.part, Part::Command | Part::Data | Part::Message)
    }

    /// The bytes of a character that is not complete; in a string, only those of a C1 control are of interest.
    pub(super) fn partial_character(&self) -> &[u8] {
        match self.part {
            Part::Text => &self.bytes,
            _ if self.ends_with_lead => &[C1_LEAD],
            _ => &[],
        }
    }

    /// Takes the bytes of a character that is not complete, which will come again with the rest of it.
    pub(super) fn take_partial_character(&mut self) -> Vec<u8> {
        let bytes = self.partial_character().to_vec();
        if self.part == Part::Text {
            self.bytes.clear();
        } else if std::mem::take(&mut self.ends_with_lead) {
            self.bytes.pop();
        }
        bytes
    }

    /// Ends the sequence, which the parser was told to abort.
    pub(super) fn abort(&mut self) {
        *self = Self::default();
    }

    /// The bytes with which a new parser continues in the same state.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
