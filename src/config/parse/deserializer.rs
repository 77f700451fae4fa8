//! Reads a YAML tree into the structs of `raw`. A value that does not fit is reported with its location, and reading
//! continues.
//!
//! An invalid value is reported by the [`Located`] around it. Only keys need a separate check, which runs before serde
//! sees a map.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::foreign_keys;
use super::located::{LOCATED_MARKER, Located, ONE_OR_MANY_MARKER, WORD_OR_MAP_MARKER};
use super::yaml::{YamlNode, YamlValue};
use crate::config::report::{ErrorReport, NodeLocation};
use crate::event::word_list;

/// The tree of file number `file` as a `T`; mistakes go into the report.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(file: usize, tree: &YamlNode, report: &mut ErrorReport) -> Option<T> {
    let notes = RefCell::new(std::mem::take(report));
    let source = NodeDeserializer { node: tree, file, report: &notes };
    let read = Located::deserialize(source).ok().and_then(|at: Located<T>| at.value);
    *report = notes.into_inner();
    read
}

/// The reason why a value does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NodeReadError(String);

impl serde::de::Error for NodeReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }

    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self(format!("expected {expected}, found {found}"))
    }
}

/// One value of the tree, as a deserializer for serde.
#[derive(Clone, Copy)]
struct NodeDeserializer<'t> {
    node: &'t YamlNode,
    file: usize,
    report: &'t RefCell<ErrorReport>,
}

impl<'t> NodeDeserializer<'t> {
    fn location(self) -> NodeLocation {
        NodeLocation { file: self.file, node: self.node.id }
    }

    fn child(self, node: &'t YamlNode) -> Self {
        Self { node, ..self }
    }

    fn report_error(self, text: impl Into<String>) {
        self.report.borrow_mut().wrong(self.location(), text);
    }

    /// Reports that this key is not one of `known`. Returns the key that was probably meant.
    fn report_unknown_key(self, name: &str, known: &'static [&'static str]) -> Option<&'static str> {
        let unknown = format!("unknown key `{}`", name.chars().take(60).collect::<String>());
        let meant = foreign_keys::translate(name, known).or_else(|| closest_word(name, known));
        match meant {
            Some(meant) => self.report_error(format!("{unknown} (did you mean `{meant}`?)")),
            None => self.report.borrow_mut().add_unknown_key(self.location(), unknown, known),
        }
        meant
    }

    /// The text of a scalar; `None` for other values.
    fn words(self) -> Option<&'t str> {
        match &self.node.value {
            YamlValue::Bool(words) | YamlValue::Number(words) | YamlValue::Text(words) => Some(words),
            YamlValue::Null | YamlValue::List(_) | YamlValue::Map(_) | YamlValue::Tagged(_) => None,
        }
    }

    fn expected(self, what: impl fmt::Display) -> NodeReadError {
        let short = |words: &str| words.chars().take(60).collect::<String>();
        let found: Cow<'_, str> = match &self.node.value {
            YamlValue::Null => "nothing".into(),
            YamlValue::Bool(words) => format!("`{words}`").into(),
            YamlValue::Number(words) => format!("the number {}", short(words)).into(),
            YamlValue::Text(words) => format!("the text {:?}", short(words)).into(),
            YamlValue::List(_) => "a list".into(),
            YamlValue::Map(_) => "a map".into(),
            YamlValue::Tagged(tag) => format!("the tag `!{}`", short(tag)).into(),
        };
        NodeReadError(format!("expected {what}, found {found}"))
    }

    /// The entries of a map whose keys are texts. Other keys, merge keys and duplicate keys are reported.
    fn entries(
        self,
        expected: impl fmt::Display,
    ) -> Result<Vec<(&'t str, NodeDeserializer<'t>, NodeDeserializer<'t>)>, NodeReadError> {
        let YamlValue::Map(entries) = &self.node.value else { return Err(self.expected(expected)) };
        let mut first: HashMap<&str, NodeLocation> = HashMap::new();
        let mut kept = Vec::new();
        for (key, value) in entries {
            let (key, value) = (self.child(key), self.child(value));
            match key.words() {
                None => key.report_error(key.expected("text as a key").0),
                Some("<<") => key.report_error("YAML merge keys (`<<`) are not supported (write the keys out)"),
                Some(name) => {
                    let before = *first.entry(name).or_insert(key.location());
                    if before != key.location() {
                        self.report.borrow_mut().add_duplicate(name, key.location(), before);
                    }
                    kept.push((name, key, value));
                }
            }
        }
        Ok(kept)
    }
}

/// The word of `known` that `word` was probably meant to be: at most two edits away, and fewer than half of its
/// characters.
pub(crate) fn closest_word<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (best.0 <= 2 && best.0 * 2 < best.1.len()).then_some(best.1)
}

/// The number of characters to insert, remove or change in order to turn `a` into `b`; swapping two neighbours counts
/// as 1.
fn distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| word.chars().map(|c| (c, word.matches(c).count())).collect::<BTreeMap<_, _>>();
    if a.len() == b.len() && a != b && letters(a) == letters(b) {
        return 1;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let here = (before + usize::from(x != y)).min(left + 1).min(*cell + 1);
            before = *cell;
            *cell = here;
            left = here;
        }
        if let Some(start) = row.first_mut() {
            *start = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The list of allowed words for messages: `a`, `b` or `c`.
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    if quoted.is_empty() { "nothing".to_owned() } else { word_list(&quoted, "or") }
}

/// The name of the type that a stream is read as.
const STREAM: &str = "Stream";

/// The advice for a stream that is a text instead of a map.
fn stream_advice(words: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-*~".contains(c);
    if words.contains('/') && words.chars().all(is_plain) {
        return format!("write {{ file: {words} }}");
    }
    "write `file: PATH`, `command: [PROGRAM, ...]`, `journal: {}` or `push: true` in it".to_owned()
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = NodeReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        match &self.node.value {
            YamlValue::Bool(words) | YamlValue::Number(words) | YamlValue::Text(words) => visitor.visit_str(words),
            YamlValue::List(items) => visitor.visit_seq(ListItems { items: items.iter(), list: self }),
            YamlValue::Map(_) => self.deserialize_map(visitor),
            YamlValue::Null | YamlValue::Tagged(_) => Err(self.expected(&visitor as &dyn serde::de::Expected)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        match &self.node.value {
            YamlValue::Bool(words) => visitor.visit_bool(words.eq_ignore_ascii_case("true")),
            YamlValue::Text(words) => match words.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => {
                    Err(NodeReadError(format!("expected true or false, found `{words}` (write true)")))
                }
                "no" | "off" | "n" => {
                    Err(NodeReadError(format!("expected true or false, found `{words}` (write false)")))
                }
                "true" | "false" => {
                    Err(NodeReadError(format!("{} (write it without quotes)", self.expected("true or false"))))
                }
                _ => Err(self.expected("true or false")),
            },
            YamlValue::Null | YamlValue::Number(_) | YamlValue::List(_) | YamlValue::Map(_) | YamlValue::Tagged(_) => {
                Err(self.expected("true or false"))
            }
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        let expected = self.expected("a whole number");
        match &self.node.value {
            YamlValue::Number(words) => words.parse().map_or(Err(expected), |number| visitor.visit_u64(number)),
            YamlValue::Text(words) if words.parse::<u64>().is_ok() => {
                Err(NodeReadError(format!("{expected} (write it without quotes)")))
            }
            YamlValue::Null
            | YamlValue::Bool(_)
            | YamlValue::Text(_)
            | YamlValue::List(_)
            | YamlValue::Map(_)
            | YamlValue::Tagged(_) => Err(expected),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        self.words().map_or_else(|| Err(self.expected("text")), |words| visitor.visit_str(words))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NodeReadError> {
        match (name, &self.node.value) {
            (LOCATED_MARKER, _) => visitor.visit_seq(LocatedParts { source: self, given: 0 }),
            (ONE_OR_MANY_MARKER, YamlValue::List(_)) => self.deserialize_seq(visitor),
            (ONE_OR_MANY_MARKER, _) => {
                visitor.visit_seq(ListItems { items: std::slice::from_ref(self.node).iter(), list: self })
            }
            (WORD_OR_MAP_MARKER, _) if self.words().is_some() => visitor.visit_some(self),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        match &self.node.value {
            YamlValue::List(items) => visitor.visit_seq(ListItems { items: items.iter(), list: self }),
            _ => Err(self.expected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NodeReadError> {
        if let YamlValue::List(items) = &self.node.value {
            // Docker's compose files have such lists.
            let pair = items.iter().find_map(|item| self.child(item).words()?.split_once('='));
            let advice = pair.filter(|(name, value)| !name.is_empty() && !value.contains(['\n', '"']));
            let advice = advice.map_or_else(String::new, |(name, value)| {
                let value = if value.is_empty() { "\"\"" } else { value };
                format!(" (write `{name}: {value}` for each item, without a hyphen or brackets)")
            });
            return Err(NodeReadError(format!("{}{advice}", self.expected("a map of names"))));
        }
        let entries: Vec<_> = self.entries("a map of names")?.into_iter().map(|(_, key, value)| (key, value)).collect();
        visitor.visit_map(MapEntries::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeReadError> {
        if let (STREAM, Some(words)) = (name, self.words()) {
            return Err(NodeReadError(format!("{} ({})", self.expected("a map"), stream_advice(words))));
        }
        let mut kept: BTreeMap<&str, NodeDeserializer<'_>> = BTreeMap::new();
        let mut misnamed = Vec::new();
        for (name, key, value) in self.entries(format_args!("a map with {}", one_of(known)))? {
            let Some(right) = known.iter().copied().find(|known| *known == name) else {
                misnamed.extend(key.report_unknown_key(name, known).map(|right| (right, value)));
                continue;
            };
            if !matches!(value.node.value, YamlValue::Null) {
                // A key without a value is treated as missing: the lines of its value are probably commented out.
                kept.entry(right).or_insert(value);
            }
        }
        // The value is read under its right name, so that its own mistakes are reported, and the key is not called
        // missing.
        for (right, value) in misnamed {
            kept.entry(right).or_insert(value);
        }
        visitor.visit_map(MapEntries::new(kept.into_iter().collect()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NodeReadError> {
        match self.words() {
            Some(word) if known.contains(&word) => visitor.visit_enum(word.into_deserializer()),
            _ => Err(self.expected(one_of(known))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// A value with its location, as the sequence that [`Located`] expects: file, number, and the value if it is valid.
struct LocatedParts<'t> {
    source: NodeDeserializer<'t>,
    given: u8,
}

impl<'de> SeqAccess<'de> for LocatedParts<'_> {
    type Error = NodeReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, NodeReadError> {
        self.given += 1;
        let location = self.source.location();
        match self.given {
            1 => seed.deserialize(location.file.into_deserializer()).map(Some),
            2 => seed.deserialize(location.node.into_deserializer()).map(Some),
            _ => Ok(seed.deserialize(self.source).map_err(|NodeReadError(text)| self.source.report_error(text)).ok()),
        }
    }
}

/// The items of a list.
struct ListItems<'t> {
    items: std::slice::Iter<'t, YamlNode>,
    list: NodeDeserializer<'t>,
}

impl<'de> SeqAccess<'de> for ListItems<'_> {
    type Error = NodeReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, NodeReadError> {
        self.items.next().map(|item| seed.deserialize(self.list.child(item))).transpose()
    }
}

/// The entries of a map, whose keys are nodes, or names that are known to be right.
struct MapEntries<'t, K> {
    entries: std::vec::IntoIter<(K, NodeDeserializer<'t>)>,
    value: Option<NodeDeserializer<'t>>,
}

impl<'t, K> MapEntries<'t, K> {
    fn new(entries: Vec<(K, NodeDeserializer<'t>)>) -> Self {
        Self { entries: entries.into_iter(), value: None }
    }
}

impl<'de, K: IntoDeserializer<'de, NodeReadError>> MapAccess<'de> for MapEntries<'_, K> {
    type Error = NodeReadError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, NodeReadError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, NodeReadError> {
        let value = self.value.take().ok_or_else(|| NodeReadError("a value without a key".into()))?;
        seed.deserialize(value)
    }
}

impl IntoDeserializer<'_, NodeReadError> for NodeDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_offered_and_a_far_one_is_not() {
        let known = ["listen", "memory", "hosts", "file", "from"];
        let table = [
            ("lisen", Some("listen")),
            ("memroy", Some("memory")),
            ("host", Some("hosts")),
            ("files", Some("file")),
            ("form", Some("from")),
            ("path", None),
            ("", None),
            ("é", None),
        ];
        for (word, offered) in table {
            assert_eq!(closest_word(word, &known), offered, "{word}");
        }
    }
}
