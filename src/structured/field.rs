//! The fields of a structured line, and its time.

use std::cmp::Ordering;

use crate::event::Time;

/// The most fields of one line. Those after them are left out, so that a line with thousands of members costs no more
/// than its text.
pub(super) const MAX_FIELDS: usize = 64;

/// The longest name of a field, in bytes. The names of nested members repeat those of their objects, so without a bound a
/// line could have names of many times its own size.
pub(super) const MAX_FIELD_NAME_SIZE: usize = 512;

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredValue {
    /// A text.
    Text(String),
    /// Any other JSON value as it is written: a number, `true`, `false`, `null`, an array.
    Json(String),
}

/// The fields of a line, in the order of the line: at most [`MAX_FIELDS`], no two of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<(String, DeclaredValue)>);

/// The time and the fields that a line declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The time, if it declares one in a known form.
    pub logged: Option<Time>,
    /// The fields.
    pub fields: Fields,
}

impl Fields {
    /// Adds a field, unless there is one of this name, the name is too long, or there are too many.
    pub(super) fn push(&mut self, name: String, value: DeclaredValue) {
        if !self.is_full() && name.len() <= MAX_FIELD_NAME_SIZE && self.get(&name).is_none() {
            self.0.push((name, value));
        }
    }

    /// Adds a text, unless it is empty.
    pub(super) fn push_text(&mut self, name: &str, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() {
            self.push(name.to_owned(), DeclaredValue::Text(text));
        }
    }

    /// Returns whether no further field is added.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_FIELDS
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&DeclaredValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Returns whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and the values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DeclaredValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl DeclaredValue {
    /// The value as text: a text itself, and any other value as it is written.
    pub fn as_str(&self) -> &str {
        let (Self::Text(text) | Self::Json(text)) = self;
        text
    }

    /// The order of the value and of a text: as numbers if both are, else by their characters.
    pub(super) fn compare(&self, text: &str) -> Ordering {
        let own = self.as_str();
        if let (Ok(own), Ok(other)) = (own.parse::<i128>(), text.parse::<i128>()) {
            return own.cmp(&other);
        }
        match (number(own), number(text)) {
            (Some(own), Some(other)) => own.total_cmp(&other),
            _ => own.cmp(text),
        }
    }
}

/// The number that the text is; names of numbers such as `inf` are texts.
fn number(text: &str) -> Option<f64> {
    let is_of_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let number = text.bytes().all(is_of_number).then(|| text.parse::<f64>().ok()).flatten()?;
    // Of the two zeros, neither is less.
    Some(if number == 0.0 { 0.0 } else { number })
}
