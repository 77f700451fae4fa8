//! The types of the fields of `raw`: values with their location.
//!
//! Serde stops at the first error and has no locations. Each value is therefore wrapped in a [`Located`]: the
//! deserializer reports a mistake inside it, and leaves the `Located` without a value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::config::report::NodeLocation;

/// A value and its location. An invalid value has been reported and is `None`.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) location: NodeLocation,
    pub(crate) value: Option<T>,
}

/// An optional value.
pub(crate) type Setting<T> = Option<Located<T>>;

/// A map whose keys are names chosen by people, in the order written. A duplicate name has been reported.
#[derive(Debug, Clone)]
pub(crate) struct Entries<T>(pub(crate) Vec<(Located<String>, Located<T>)>);

/// A list, or one value instead of a list of one.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<Located<T>>);

/// A map, or one word that stands for a common map.
#[derive(Debug, Clone)]
pub(crate) enum WordOrMap<W, M> {
    Word(W),
    Map(M),
}

/// The names by which the types above ask the deserializer for things that serde cannot express.
pub(super) const LOCATED_MARKER: &str = "rtlogd::At";
pub(super) const WORD_OR_MAP_MARKER: &str = "rtlogd::WordOrMap";
pub(super) const ONE_OR_MANY_MARKER: &str = "rtlogd::OneOrMany";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(LOCATED_MARKER, WrapperVisitor::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(ONE_OR_MANY_MARKER, WrapperVisitor::<Self>(PhantomData))
    }
}

impl<'de, W: Deserialize<'de>, M: Deserialize<'de>> Deserialize<'de> for WordOrMap<W, M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(WORD_OR_MAP_MARKER, WrapperVisitor::<Self>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(WrapperVisitor::<Self>(PhantomData))
    }
}

/// Builds the types above from what the deserializer returns.
struct WrapperVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WrapperVisitor<Located<T>> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its location")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Located<T>, A::Error> {
        let mut number = || parts.next_element()?.ok_or_else(|| A::Error::custom("a value without a location"));
        let location = NodeLocation { file: number()?, node: number()? };
        Ok(Located { location, value: parts.next_element()? })
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for WrapperVisitor<OneOrMany<T>> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or one value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(OneOrMany(list))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for WrapperVisitor<Entries<T>> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entries<T>, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Entries(map))
    }
}

impl<'de, W: Deserialize<'de>, M: Deserialize<'de>> Visitor<'de> for WrapperVisitor<WordOrMap<W, M>> {
    type Value = WordOrMap<W, M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a map")
    }

    fn visit_some<D: Deserializer<'de>>(self, word: D) -> Result<WordOrMap<W, M>, D::Error> {
        W::deserialize(word).map(WordOrMap::Word)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, map: D) -> Result<WordOrMap<W, M>, D::Error> {
        M::deserialize(map).map(WordOrMap::Map)
    }
}

/// The schema of a wrapper is the schema of its content.
macro_rules! schema_of {
    ($wrapper:ident => $inner:ty) => {
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                <$inner>::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                <$inner>::json_schema(generator)
            }
        }
    };
}

schema_of!(Located => T);
schema_of!(Entries => BTreeMap<String, T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, many) = (generator.subschema_for::<T>(), generator.subschema_for::<Vec<T>>());
        schemars::json_schema!({ "anyOf": [one, many] })
    }
}

impl<W: JsonSchema, M: JsonSchema> JsonSchema for WordOrMap<W, M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("WordOrMap_{}_{}", W::schema_name(), M::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (word, map) = (generator.subschema_for::<W>(), generator.subschema_for::<M>());
        schemars::json_schema!({ "anyOf": [word, map] })
    }
}
