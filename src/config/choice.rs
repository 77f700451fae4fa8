//! A key that is `on`, `off`, or a list of patterns: `progress` and `redact`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::Expression;
use super::check::{Check, written};
use super::field::{At, Field};

/// On, off, or patterns.
#[derive(Debug)]
pub(super) enum Choice<T> {
    Switch(Switch),
    Patterns(Vec<At<T>>),
}

/// On or off.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Switch {
    /// With what is known.
    On,
    /// Not at all.
    Off,
}

/// Most patterns in one list: each line is held against each of them.
const PATTERNS: usize = 64;

/// A pattern, and how a list of them is written.
pub(super) trait Chosen {
    /// What was expected, in words.
    const EXPECTED: &'static str;
}

/// What a secret looks like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    /// A regular expression; with a group named `secret` that alone is taken out, else all that matches. Such as
    /// `pin (?P<secret>[0-9]+)`.
    pub(super) pattern: Field<String>,
}

impl Chosen for Secret {
    const EXPECTED: &'static str = "on, off or a list of patterns, such as [{ pattern: 'pin (?P<secret>[0-9]+)' }]";
}

impl<'de, T: Deserialize<'de> + Chosen> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ChoiceVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Choice_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (switch, patterns) = (generator.subschema_for::<Switch>(), generator.subschema_for::<Vec<T>>());
        json_schema!({ "anyOf": [switch, patterns] })
    }
}

struct ChoiceVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Chosen> de::Visitor<'de> for ChoiceVisitor<T> {
    type Value = Choice<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Choice<T>, E> {
        match word {
            "on" => Ok(Choice::Switch(Switch::On)),
            "off" => Ok(Choice::Switch(Switch::Off)),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Choice<T>, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = items.next_element()? {
            if patterns.len() == PATTERNS {
                return Err(de::Error::custom(format!("more than {PATTERNS} patterns (put several into one: a|b|c)")));
            }
            patterns.push(pattern);
        }
        Ok(Choice::Patterns(patterns))
    }
}

impl Check<'_> {
    /// The patterns of secrets beside those that are known; `None` if nothing is taken out.
    pub(super) fn redact(&mut self, field: Field<Choice<Secret>>) -> Option<Vec<Expression>> {
        match written(field)?.1 {
            Choice::Switch(Switch::Off) => None,
            Choice::Switch(Switch::On) => Some(Vec::new()),
            Choice::Patterns(patterns) => {
                let patterns = patterns.into_iter().filter_map(|at| written(at.value?.pattern));
                let read = patterns.filter_map(|(place, text)| {
                    text.parse().map_err(|error: String| self.report.wrong(place, error)).ok()
                });
                Some(read.collect())
            }
        }
    }
}
