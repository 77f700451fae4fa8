//! The fields of a logfmt line.

use super::field::{DeclaredValue, Fields};
use super::logfmt_pairs::{LogfmtPairs, LogfmtValue};

/// The fields of the line; `None` if it does not begin with a pair. All values are texts.
pub(super) fn fields(line: &str) -> Option<Fields> {
    let first = line.trim_start();
    let end = first.find([' ', '\t', '"']).unwrap_or(first.len());
    if first.find('=').is_none_or(|at| at == 0 || at > end) {
        return None;
    }
    let mut fields = Fields::default();
    for (key, value) in LogfmtPairs::of(line.as_bytes()) {
        let value = match value {
            LogfmtValue::Bare(value) => String::from_utf8_lossy(value).into_owned(),
            LogfmtValue::Quoted(value) => unescape(&String::from_utf8_lossy(value)),
        };
        fields.push(String::from_utf8_lossy(key).into_owned(), DeclaredValue::Text(value));
        if fields.is_full() {
            break;
        }
    }
    Some(fields)
}

/// The text without the escapes of a quoted value, which are those of JSON and Go. An unknown one stays as it is.
fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    if let Ok(text) = serde_json::from_str(&format!("\"{value}\"")) {
        return text;
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(c @ ('"' | '\\' | '/' | '\'')) => text.push(c),
                Some(c) => text.extend(['\\', c]),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_fields() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Option<Pairs<'_>>); 8] = [
            ("level=info msg=\"a b\" n=1", Some(&[("level", "info"), ("msg", "a b"), ("n", "1")])),
            (r#"msg="say \"x\"\n\u00e9" e="\q""#, Some(&[("msg", "say \"x\"\n\u{e9}"), ("e", "\\q")])),
            ("a=1 word b=2 a=3", Some(&[("a", "1"), ("b", "2")])),
            ("a=", Some(&[("a", "")])),
            ("word a=1", None),
            ("\"a\"=1", None),
            ("=1", None),
            ("", None),
        ];
        for (line, expected) in table {
            let found = fields(line);
            let found: Option<Vec<_>> =
                found.as_ref().map(|fields| fields.iter().map(|(name, value)| (name, value.as_str())).collect());
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }
}
