//! Colours and attributes of text: Select Graphic Rendition (ECMA-48, 8.3.117; ITU-T T.416, 13.1.8 for the forms with
//! colons), read from control sequences and written as such.

use serde::{Deserialize, Serialize};

/// A colour; the numbers are those of the palette of 256 colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Color {
    #[default]
    Default,
    Indexed(u8),
    Rgb(u8, u8, u8),
}

/// The attributes that are either on or off, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Attributes(u16);

const BOLD: u16 = 1 << 0;
const FAINT: u16 = 1 << 1;
const ITALIC: u16 = 1 << 2;
const BLINK: u16 = 1 << 3;
const REVERSE: u16 = 1 << 4;
const CONCEAL: u16 = 1 << 5;
const STRIKE: u16 = 1 << 6;
const OVERLINE: u16 = 1 << 7;

/// Each attribute with the parameter that sets it, in the order in which they are written.
const ATTRIBUTE_CODES: [(u16, u16); 8] =
    [(BOLD, 1), (FAINT, 2), (ITALIC, 3), (BLINK, 5), (REVERSE, 7), (CONCEAL, 8), (STRIKE, 9), (OVERLINE, 53)];

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The look of one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Style {
    #[serde(skip_serializing_if = "is_default")]
    foreground: Color,
    #[serde(skip_serializing_if = "is_default")]
    background: Color,
    #[serde(skip_serializing_if = "is_default")]
    underline_color: Color,
    #[serde(skip_serializing_if = "is_default")]
    attributes: Attributes,
    /// 0 for none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed.
    #[serde(skip_serializing_if = "is_default")]
    underline: u8,
    /// The number of a hyperlink in the list of the screen, plus one; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) link: u16,
}

impl Attributes {
    fn set(&mut self, bits: u16, on: bool) {
        if on {
            self.0 |= bits;
        } else {
            self.0 &= !bits;
        }
    }
}

impl Style {
    /// Text without colours and attributes.
    pub(crate) const DEFAULT: Self = Self {
        foreground: Color::Default,
        background: Color::Default,
        underline_color: Color::Default,
        attributes: Attributes(0),
        underline: 0,
        link: 0,
    };

    /// Returns whether a blank of this style looks different from no text at all.
    pub(crate) fn shows_blanks(&self) -> bool {
        self.background != Color::Default
            || self.underline != 0
            || self.attributes.0 & (REVERSE | STRIKE | OVERLINE) != 0
    }

    /// Applies the parameters of one sequence as they are written between `ESC [` and `m`.
    pub(crate) fn apply_text(&mut self, parameters: &str) {
        // An omitted parameter is 0.
        let number = |text: &str| text.parse().unwrap_or(0);
        let parameters: Vec<Vec<u16>> =
            parameters.split(';').map(|parameter| parameter.split(':').map(number).collect()).collect();
        self.apply(parameters.iter().map(Vec::as_slice));
    }

    /// Applies the parameters of one sequence, each with its subparameters. Unknown ones are ignored.
    pub(crate) fn apply<'a>(&mut self, parameters: impl IntoIterator<Item = &'a [u16]>) {
        let mut parameters = parameters.into_iter();
        while let Some(parameter) = parameters.next() {
            let [code, sub @ ..] = parameter else { continue };
            match code {
                0 => *self = Self { link: self.link, ..Self::default() },
                1 => self.attributes.set(BOLD, true),
                2 => self.attributes.set(FAINT, true),
                3 => self.attributes.set(ITALIC, true),
                4 => self.underline = sub.first().map_or(1, |kind| u8::try_from(*kind).unwrap_or(1).min(5)),
                5 | 6 => self.attributes.set(BLINK, true),
                7 => self.attributes.set(REVERSE, true),
                8 => self.attributes.set(CONCEAL, true),
                9 => self.attributes.set(STRIKE, true),
                21 => self.underline = 2,
                22 => self.attributes.set(BOLD | FAINT, false),
                23 => self.attributes.set(ITALIC, false),
                24 => self.underline = 0,
                25 => self.attributes.set(BLINK, false),
                27 => self.attributes.set(REVERSE, false),
                28 => self.attributes.set(CONCEAL, false),
                29 => self.attributes.set(STRIKE, false),
                30..=37 => self.foreground = palette(code - 30),
                38 => self.foreground = extended(sub, &mut parameters).unwrap_or(self.foreground),
                39 => self.foreground = Color::Default,
                40..=47 => self.background = palette(code - 40),
                48 => self.background = extended(sub, &mut parameters).unwrap_or(self.background),
                49 => self.background = Color::Default,
                53 => self.attributes.set(OVERLINE, true),
                55 => self.attributes.set(OVERLINE, false),
                58 => self.underline_color = extended(sub, &mut parameters).unwrap_or(self.underline_color),
                59 => self.underline_color = Color::Default,
                90..=97 => self.foreground = palette(code - 82),
                100..=107 => self.background = palette(code - 92),
                _ => {}
            }
        }
    }

    /// Writes the sequence that changes the look of what follows from `before` to this style; nothing if they are equal.
    pub(crate) fn write_after(&self, before: Self, text: &mut Vec<u8>) {
        let (this, before) = (Self { link: 0, ..*self }, Self { link: 0, ..before });
        if this == before {
            return;
        }
        if this == Self::DEFAULT {
            return text.extend_from_slice(b"\x1b[0m");
        }
        text.extend_from_slice(b"\x1b[");
        // From any style but the default one, the attributes are reset first, so that the result is the same wherever a
        // text is cut.
        let mut separator = "";
        if before != Self::default() {
            text.push(b'0');
            separator = ";";
        }
        // Lines of colours are frequent, and the formatting of the standard library is slow.
        let mut parameter = |numbers: &[u16], colon: &str| {
            for (at, number) in numbers.iter().enumerate() {
                text.extend_from_slice(if at == 0 { separator } else { colon }.as_bytes());
                push_number(*number, text);
            }
            separator = ";";
        };
        for (bit, code) in ATTRIBUTE_CODES {
            if this.attributes.0 == 0 {
                break;
            }
            if this.attributes.0 & bit != 0 {
                parameter(&[code], ";");
            }
        }
        match this.underline {
            0 => {}
            1 => parameter(&[4], ":"),
            kind => parameter(&[4, u16::from(kind)], ":"),
        }
        for (color, base) in [(this.foreground, 30), (this.background, 40)] {
            match color {
                Color::Default => {}
                Color::Indexed(number @ 0..8) => parameter(&[base + u16::from(number)], ";"),
                Color::Indexed(number @ 8..16) => parameter(&[base + 52 + u16::from(number)], ";"),
                Color::Indexed(number) => parameter(&[base + 8, 5, number.into()], ";"),
                Color::Rgb(red, green, blue) => {
                    parameter(&[base + 8, 2, red.into(), green.into(), blue.into()], ";");
                }
            }
        }
        // Only the form with colons is safe here: terminals that do not know the colour of underlines would take the
        // parameters of the other form for attributes.
        match this.underline_color {
            Color::Default => {}
            Color::Indexed(number) => parameter(&[58, 5, number.into()], ":"),
            Color::Rgb(red, green, blue) => {
                // The colour space between the first two colons is left out.
                parameter(&[58, 2], ":");
                text.push(b':');
                for number in [red, green, blue] {
                    text.push(b':');
                    push_number(number.into(), text);
                }
            }
        }
        text.push(b'm');
    }
}

/// Appends a number in decimal digits.
fn push_number(number: u16, text: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, text);
    }
    text.extend(u8::try_from(number % 10).map(|digit| b'0' + digit));
}

fn palette(number: u16) -> Color {
    u8::try_from(number).map_or(Color::Default, Color::Indexed)
}

/// The colour after 38, 48 or 58: in subparameters, or in the parameters that follow.
fn extended<'a>(sub: &[u16], parameters: &mut impl Iterator<Item = &'a [u16]>) -> Option<Color> {
    let byte = |value: &u16| u8::try_from(*value).ok();
    if !sub.is_empty() {
        return match sub {
            [5, number, ..] => byte(number).map(Color::Indexed),
            // The form of the standard names a colour space first; an older one leaves it out.
            [2, _, red, green, blue, ..] | [2, red, green, blue] => {
                Some(Color::Rgb(byte(red)?, byte(green)?, byte(blue)?))
            }
            _ => None,
        };
    }
    let mut next = || parameters.next().and_then(|parameter| parameter.first()).and_then(byte);
    match next()? {
        5 => next().map(Color::Indexed),
        2 => {
            let (red, green, blue) = (next(), next(), next());
            Some(Color::Rgb(red?, green?, blue?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of a sequence, as the parser passes them.
    fn style(parameters: &str) -> Style {
        let mut style = Style::default();
        style.apply_text(parameters);
        style
    }

    #[test]
    fn a_style_is_written_as_it_was_read() {
        let table = [
            ("", ""),
            ("0", ""),
            ("1", "1"),
            ("01;31", "1;31"),
            ("31;1", "1;31"),
            ("1;22", ""),
            ("1;2;3;5;7;8;9;53", "1;2;3;5;7;8;9;53"),
            ("6", "5"),
            ("4", "4"),
            ("4:0", ""),
            ("1;4:0", "1"),
            ("4:3", "4:3"),
            ("21", "4:2"),
            ("4;24", ""),
            ("97;107", "97;107"),
            ("90;100", "90;100"),
            ("38;5;1", "31"),
            ("38;5;9", "91"),
            ("38;5;208", "38;5;208"),
            ("38:5:208", "38;5;208"),
            ("48;2;1;2;3", "48;2;1;2;3"),
            ("48:2::1:2:3", "48;2;1;2;3"),
            ("48:2:1:2:3", "48;2;1;2;3"),
            ("38;2;300;0;0", ""),
            ("38;2;1;2", ""),
            ("31;4;58;2;255;0;0", "4;31;58:2::255:0:0"),
            ("58;5;1", "58:5:1"),
            ("58:2::255:100:0;4", "4;58:2::255:100:0"),
            ("58;5;1;59", ""),
            ("31;39;41;49", ""),
            ("53;55;3;23;5;25;7;27;8;28;9;29", ""),
            ("200;31", "31"),
        ];
        for (read, written) in table {
            let mut text = Vec::new();
            style(read).write_after(Style::default(), &mut text);
            let expected = if written.is_empty() { String::new() } else { format!("\x1b[{written}m") };
            assert_eq!(String::from_utf8_lossy(&text), expected, "{read}");
        }
    }

    #[test]
    fn a_change_of_style_begins_with_a_reset() {
        for (before, after, expected) in
            [("31", "31", ""), ("31", "0", "\x1b[0m"), ("31", "1", "\x1b[0;1m"), ("0", "1", "\x1b[1m")]
        {
            let mut text = Vec::new();
            style(after).write_after(style(before), &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected, "{before} to {after}");
        }
    }
}
