//! The members of a JSON object, one by one, without an allocation and without a look at what is inside of values.

/// The members of a JSON object (RFC 8259), in their order. They end where the text is no longer JSON, so that the
/// beginning of an object that was cut still has its members.
#[derive(Debug, Clone)]
pub(super) struct JsonMembers<'a> {
    rest: &'a [u8],
}

/// The value of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonMemberValue<'a> {
    /// The content of a string as it is written, with its escapes.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`, as it is written.
    Word(&'a [u8]),
    /// An object, from its brace on.
    Object(&'a [u8]),
    /// An array.
    Array,
}

impl<'a> JsonMembers<'a> {
    /// The members of the object at the start of the text; `None` if it does not begin with `{` and a name or `}`.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"{")?.trim_ascii_start();
        matches!(rest.first(), Some(b'"' | b'}')).then_some(Self { rest })
    }

    fn value(&mut self) -> Option<JsonMemberValue<'a>> {
        let text = self.rest;
        match text.first()? {
            b'"' => Some(JsonMemberValue::Text(self.string()?)),
            b'{' | b'[' => {
                self.rest = &text[nested_length(text)..];
                Some(if text[0] == b'{' { JsonMemberValue::Object(text) } else { JsonMemberValue::Array })
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
                let length = text.iter().position(ends).unwrap_or(text.len());
                self.rest = &text[length..];
                Some(JsonMemberValue::Word(&text[..length]))
            }
        }
    }

    /// Takes a string, and returns what is between its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.strip_prefix(b"\"")?;
        let length = string_length(text)?;
        self.rest = &text[length + 1..];
        Some(&text[..length])
    }
}

impl<'a> Iterator for JsonMembers<'a> {
    type Item = (&'a [u8], JsonMemberValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.string()?;
        self.rest = self.rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let value = self.value()?;
        let after = self.rest.trim_ascii_start();
        self.rest = after.strip_prefix(b",").unwrap_or_default().trim_ascii_start();
        Some((name, value))
    }
}

/// The number of bytes before the quote that ends a string; `None` if there is none.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
        if from > text.len() {
            return None;
        }
    }
}

/// The length of the object or array at the start of the text; all of it if it has no end.
fn nested_length(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0u32, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b'"' => match string_length(&text[at + 1..]) {
                Some(length) => at += length + 1,
                None => return text.len(),
            },
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Option<Vec<(String, String)>> {
        let shown = |value| match value {
            JsonMemberValue::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
            JsonMemberValue::Word(text) => String::from_utf8_lossy(text).into_owned(),
            JsonMemberValue::Object(_) => "{}".to_owned(),
            JsonMemberValue::Array => "[]".to_owned(),
        };
        let members = JsonMembers::of(text.as_bytes())?;
        Some(members.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), shown(value))).collect())
    }

    #[test]
    fn members_are_found_in_whole_and_in_cut_objects() {
        type Members<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Option<Members<'_>>); 9] = [
            (
                r#"{"a":"x","b" : 1.5e3 , "c":{"d":["}"]},"e":[{}],"f":null}"#,
                Some(&[("a", "\"x\""), ("b", "1.5e3"), ("c", "{}"), ("e", "[]"), ("f", "null")]),
            ),
            (r#"{"a":"q\"uo\\"}"#, Some(&[("a", r#""q\\\"uo\\\\""#)])),
            (r#"{"a":"1","b":"cut"#, Some(&[("a", "\"1\"")])),
            (r#"{"a":"1","b":{"c":"#, Some(&[("a", "\"1\""), ("b", "{}")])),
            ("{}", Some(&[])),
            (r#"{ "a" }"#, Some(&[])),
            ("{a: 1}", None),
            ("[]", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|members| {
                members.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
            });
            assert_eq!(members(text), expected, "{text}");
        }
        assert_eq!(members("{\"a\":\"x\\"), Some(vec![]));
    }
}
