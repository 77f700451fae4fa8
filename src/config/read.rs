//! From a tree to the structs of `raw`: every value that does not fit is noted with its place, and reading goes on.
//!
//! What is wrong with a value is noted by the [`At`] around it. Beside that only keys can be wrong, and those are looked at
//! before serde sees a map.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::field::{AT, At, ONE_OR_MANY};
use super::report::{Place, Report};
use super::tree::{Node, Value};

/// The tree of file number `file` as a `T`; what is wrong with it goes into the report.
pub(super) fn read<T: for<'de> Deserialize<'de>>(file: usize, tree: &Node, report: &mut Report) -> Option<T> {
    let notes = RefCell::new(std::mem::take(report));
    let source = Source { node: tree, file, notes: &notes };
    let read = At::deserialize(source).ok().and_then(|at: At<T>| at.value);
    *report = notes.into_inner();
    read
}

/// Why a value does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }

    fn invalid_type(found: serde::de::Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self(format!("expected {expected}, found {found}"))
    }
}

/// One value of the tree, as serde wants to see it.
#[derive(Clone, Copy)]
struct Source<'t> {
    node: &'t Node,
    file: usize,
    notes: &'t RefCell<Report>,
}

impl<'t> Source<'t> {
    fn place(self) -> Place {
        Place { file: self.file, node: self.node.id }
    }

    fn child(self, node: &'t Node) -> Self {
        Self { node, ..self }
    }

    fn note(self, text: impl Into<String>) {
        self.notes.borrow_mut().wrong(self.place(), text);
    }

    /// The words of a scalar.
    fn words(self) -> Option<&'t str> {
        match &self.node.value {
            Value::Bool(words) | Value::Number(words) | Value::Text(words) => Some(words),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Tagged(_) => None,
        }
    }

    fn expected(self, what: impl fmt::Display) -> Wrong {
        let short = |words: &str| words.chars().take(60).collect::<String>();
        let found: Cow<'_, str> = match &self.node.value {
            Value::Null => "nothing".into(),
            Value::Bool(words) => format!("`{words}`").into(),
            Value::Number(words) => format!("the number {}", short(words)).into(),
            Value::Text(words) => format!("the text {:?}", short(words)).into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Tagged(tag) => format!("the tag `!{}`", short(tag)).into(),
        };
        Wrong(format!("expected {what}, found {found}"))
    }

    /// The entries of a map whose keys are texts. Notes those that are not, merge keys, and keys that come twice.
    fn entries(self, expected: impl fmt::Display) -> Result<Vec<(&'t str, Source<'t>, Source<'t>)>, Wrong> {
        let Value::Map(entries) = &self.node.value else { return Err(self.expected(expected)) };
        let mut first: HashMap<&str, Place> = HashMap::new();
        let mut kept = Vec::new();
        for (key, value) in entries {
            let (key, value) = (self.child(key), self.child(value));
            match key.words() {
                None => key.note(key.expected("text as a key").0),
                Some("<<") => key.note("`<<` (a merge of YAML 1.1) is not understood (write the keys out)"),
                Some(name) => {
                    let before = *first.entry(name).or_insert(key.place());
                    if before != key.place() {
                        self.notes.borrow_mut().twice(name, key.place(), before);
                    }
                    kept.push((name, key, value));
                }
            }
        }
        Ok(kept)
    }
}

/// The one of `known` that `word` may have been meant to be: at most two letters away, and less than half of it.
fn near<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (best.0 <= 2 && best.0 * 2 < best.1.len()).then_some(best.1)
}

/// How many letters have to be put in, left out or changed to make `b` of `a`; 1 if they only changed places.
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

/// `a`, `b` or `c`, as messages name what is allowed.
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "nothing".into(),
    }
}

impl<'de> Deserializer<'de> for Source<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Bool(words) | Value::Number(words) | Value::Text(words) => visitor.visit_str(words),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), list: self }),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Null | Value::Tagged(_) => Err(self.expected(&visitor as &dyn serde::de::Expected)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Bool(words) => visitor.visit_bool(words.eq_ignore_ascii_case("true")),
            Value::Text(words) => match words.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => Err(Wrong(format!("`{words}` is text, not a truth (write true)"))),
                "no" | "off" | "n" => Err(Wrong(format!("`{words}` is text, not a truth (write false)"))),
                _ => Err(self.expected("true or false")),
            },
            Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_) | Value::Tagged(_) => {
                Err(self.expected("true or false"))
            }
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let number = if let Value::Number(words) = &self.node.value { words.parse().ok() } else { None };
        number.map_or_else(|| Err(self.expected("a whole number")), |number| visitor.visit_u64(number))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.words().map_or_else(|| Err(self.expected("text")), |words| visitor.visit_str(words))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        match (name, &self.node.value) {
            (AT, _) => visitor.visit_seq(Parts { source: self, given: 0 }),
            (ONE_OR_MANY, Value::List(_)) => self.deserialize_seq(visitor),
            (ONE_OR_MANY, _) => visitor.visit_seq(Items { items: std::slice::from_ref(self.node).iter(), list: self }),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), list: self }),
            _ => Err(self.expected("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let entries = self.entries("a map of names")?.into_iter().map(|(_, key, value)| (key, value)).collect();
        visitor.visit_map(Pairs::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let mut kept: BTreeMap<&str, (Source<'_>, Source<'_>)> = BTreeMap::new();
        for (name, key, value) in self.entries(format_args!("a map with {}", one_of(known)))? {
            if !known.contains(&name) {
                let advice = near(name, known).map_or_else(
                    || format!("known here: {}", known.join(", ")),
                    |known| format!("did you mean `{known}`?"),
                );
                key.note(format!("unknown key `{}` ({advice})", name.chars().take(60).collect::<String>()));
            } else if !matches!(value.node.value, Value::Null) {
                // A key with nothing behind it is as one that is not there: its lines were commented out.
                kept.entry(name).or_insert((key, value));
            }
        }
        visitor.visit_map(Pairs::new(kept.into_values().collect()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.words() {
            Some(word) if known.contains(&word) => visitor.visit_enum(word.into_deserializer()),
            _ => Err(self.expected(one_of(known))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// A value with its place, as the list of three things that [`At`] asks for: file, number, and the value if it fits.
struct Parts<'t> {
    source: Source<'t>,
    given: u8,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.given += 1;
        let place = self.source.place();
        match self.given {
            1 => seed.deserialize(place.file.into_deserializer()).map(Some),
            2 => seed.deserialize(place.node.into_deserializer()).map(Some),
            _ => Ok(seed.deserialize(self.source).map_err(|Wrong(text)| self.source.note(text)).ok()),
        }
    }
}

/// The items of a list.
struct Items<'t> {
    items: std::slice::Iter<'t, Node>,
    list: Source<'t>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.items.next().map(|item| seed.deserialize(self.list.child(item))).transpose()
    }
}

/// The entries of a map.
struct Pairs<'t> {
    entries: std::vec::IntoIter<(Source<'t>, Source<'t>)>,
    value: Option<Source<'t>>,
}

impl<'t> Pairs<'t> {
    fn new(entries: Vec<(Source<'t>, Source<'t>)>) -> Self {
        Self { entries: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let value = self.value.take().ok_or_else(|| Wrong("a value without a key".into()))?;
        seed.deserialize(value)
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
            assert_eq!(near(word, &known), offered, "{word}");
        }
    }
}
