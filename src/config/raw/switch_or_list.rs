//! A key that is `on`, `off`, or a list of patterns: `progress` and `redact`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::config::ProgressRegex;
use crate::config::parse::located::{Located, Setting};

/// On, off, or patterns.
#[derive(Debug)]
pub(crate) enum SwitchOrList<T> {
    Switch(Switch),
    Patterns(Vec<Located<T>>),
}

/// On or off.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    /// Enabled with the built-in patterns.
    On,
    /// Disabled.
    Off,
}

/// The maximum number of patterns in one list: each line is matched against all of them.
const MAX_PATTERNS_PER_LIST: usize = 64;

/// A pattern, and how a list of them is written.
pub(crate) trait ListItem {
    /// The description of the expected form.
    const EXPECTED: &'static str;
}

/// The pattern of a secret.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub(crate) struct SecretPattern {
    /// A regular expression. The text of the group `secret` is removed, or the whole match if there is no such group.
    /// Example: `pin (?P<secret>[0-9]+)`.
    pub(in crate::config) pattern: Setting<String>,
}

impl ListItem for SecretPattern {
    const EXPECTED: &'static str = "on, off or a list of patterns, such as [{ pattern: 'pin (?P<secret>[0-9]+)' }]";
}

/// The pattern of a line with the progress of a program.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProgressPattern {
    /// A regular expression with at least one of the named groups `percent`, `current` and `phase`, and perhaps `total`
    /// and `message`. Example: `step (?P<current>[0-9]+) of (?P<total>[0-9]+)`.
    pub(in crate::config) pattern: Setting<ProgressRegex>,
}

impl ListItem for ProgressPattern {
    const EXPECTED: &'static str =
        "on, off or a list of patterns, such as [{ pattern: '(?P<percent>[0-9]+)% copied' }]";
}

impl<'de, T: Deserialize<'de> + ListItem> Deserialize<'de> for SwitchOrList<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SwitchOrListVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for SwitchOrList<T> {
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

struct SwitchOrListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + ListItem> de::Visitor<'de> for SwitchOrListVisitor<T> {
    type Value = SwitchOrList<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<SwitchOrList<T>, E> {
        match word {
            "on" => Ok(SwitchOrList::Switch(Switch::On)),
            "off" => Ok(SwitchOrList::Switch(Switch::Off)),
            "true" | "yes" => Err(E::custom(format!("expected {}, found `{word}` (write on)", T::EXPECTED))),
            "false" | "no" => Err(E::custom(format!("expected {}, found `{word}` (write off)", T::EXPECTED))),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<SwitchOrList<T>, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = items.next_element()? {
            if patterns.len() == MAX_PATTERNS_PER_LIST {
                return Err(de::Error::custom(format!(
                    "more than {MAX_PATTERNS_PER_LIST} patterns (put several into one: a|b|c)"
                )));
            }
            patterns.push(pattern);
        }
        Ok(SwitchOrList::Patterns(patterns))
    }
}
