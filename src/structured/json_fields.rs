//! The fields of a JSON object on one line.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::field::{DeclaredValue, Fields, MAX_FIELD_NAME_SIZE};

/// The depth to which the members of nested objects are fields. An object further down is one value as it is written,
/// since each level reads the text below it once more.
const MAX_DEPTH: u32 = 8;

/// The fields of the line; `None` if it is not a JSON object. Members of nested objects have the names of their
/// objects before theirs, with dots.
pub(super) fn fields(line: &str) -> Option<Fields> {
    let object: JsonObject<'_> = serde_json::from_str(line).ok()?;
    let mut fields = Fields::default();
    collect(&object, "", MAX_DEPTH, &mut fields);
    Some(fields)
}

fn collect(object: &JsonObject<'_>, prefix: &str, depth: u32, fields: &mut Fields) {
    for (name, value) in &object.0 {
        if fields.is_full() {
            return;
        }
        // The members of an object whose own name is too long have longer ones.
        if prefix.len() + name.len() > MAX_FIELD_NAME_SIZE {
            continue;
        }
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let text = value.get();
        let nested = (text.starts_with('{') && depth > 1).then(|| serde_json::from_str::<JsonObject<'_>>(text).ok());
        if let Some(nested) = nested.flatten().filter(|nested| !nested.0.is_empty()) {
            collect(&nested, &name, depth - 1, fields);
        } else if let Ok(text) = serde_json::from_str::<String>(text) {
            fields.push(name, DeclaredValue::Text(text));
        } else {
            fields.push(name, DeclaredValue::Json(text.to_owned()));
        }
    }
}

/// The members of an object, with their values as they are written.
struct JsonObject<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    // More members than fields are only checked for their form.
                    if members.len() < super::field::MAX_FIELDS {
                        members.push(member);
                    }
                }
                Ok(JsonObject(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structured::field::MAX_FIELDS;

    fn shown(line: &str) -> Option<Vec<(String, DeclaredValue)>> {
        Some(fields(line)?.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect())
    }

    #[test]
    fn nested_members_have_dots_in_their_names() {
        let text = |text: &str| DeclaredValue::Text(text.to_owned());
        let json = |text: &str| DeclaredValue::Json(text.to_owned());
        let expected = [
            ("a", text("x \"y\" \u{e9}")),
            ("n", json("12345678901234567890.10")),
            ("http.status", json("500")),
            ("http.headers.host", text("h")),
            ("list", json("[1, {\"a\":2}]")),
            ("none", json("null")),
            ("empty", json("{}")),
        ];
        let line = r#"{"a":"x \"y\" \u00e9","n":12345678901234567890.10,"http":{"status":500,"headers":{"host":"h"}},
            "list":[1, {"a":2}],"none":null,"empty":{},"a":"again"}"#;
        let expected = expected.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(shown(line), Some(expected));
    }

    #[test]
    fn other_lines_have_no_fields() {
        for line in ["", "text", "[1]", "\"a\"", "{", r#"{"a":1"#, r#"{"a":1} x"#, "{a:1}", r#"{"a":01}"#] {
            assert_eq!(fields(line), None, "{line}");
        }
    }

    #[test]
    fn width_and_depth_have_limits() {
        let wide: Vec<_> = (0..1000).map(|at| format!("\"m{at}\":{{\"x\":{at}}}")).collect();
        assert_eq!(fields(&format!("{{{}}}", wide.join(","))).unwrap().iter().count(), MAX_FIELDS);
        // The name of an object is in the name of each of its members.
        let inner: Vec<_> = (0..64).map(|at| format!("\"m{at}\":{at}")).collect();
        for (length, count) in [(100_000, 0), (500, 64), (MAX_FIELD_NAME_SIZE - 3, 10)] {
            let name = "n".repeat(length);
            let fields = fields(&format!("{{\"{name}\":{{{}}},\"a\":1}}", inner.join(","))).unwrap();
            let size: usize = fields.iter().map(|(name, _)| name.len()).sum();
            assert!(size <= MAX_FIELDS * MAX_FIELD_NAME_SIZE, "{size}");
            assert_eq!(fields.iter().filter(|(name, _)| name.starts_with('n')).count(), count, "{length}");
        }
        let deep = "{\"a\":".repeat(20_000) + "1" + &"}".repeat(20_000);
        let fields = fields(&deep).unwrap();
        let (name, value) = fields.iter().next().unwrap();
        assert_eq!(name, "a.a.a.a.a.a.a.a");
        assert!(value.as_str().starts_with("{\"a\":{"));
    }
}
