//! The `KEY=VALUE` pairs of a line.

/// The pairs of a line, in their order. Words between them that are no pairs are left out.
#[derive(Debug, Clone)]
pub(super) struct LogfmtPairs<'a> {
    rest: &'a [u8],
}

/// The value of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogfmtValue<'a> {
    /// The characters up to the next space.
    Bare(&'a [u8]),
    /// The characters between the quotes, with their escapes.
    Quoted(&'a [u8]),
}

impl<'a> LogfmtPairs<'a> {
    /// The pairs of the text.
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Takes the value at the start of the rest.
    fn value(&mut self) -> LogfmtValue<'a> {
        if let Some(text) = self.rest.strip_prefix(b"\"")
            && let Some(length) = quoted_length(text)
        {
            self.rest = &text[length + 1..];
            return LogfmtValue::Quoted(&text[..length]);
        }
        let length = self.rest.iter().position(u8::is_ascii_whitespace).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        LogfmtValue::Bare(value)
    }
}

impl<'a> Iterator for LogfmtPairs<'a> {
    type Item = (&'a [u8], LogfmtValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.is_empty() {
                return None;
            }
            let length = key_length(self.rest);
            let (key, rest) = self.rest.split_at(length);
            if length > 0
                && let Some(value) = rest.strip_prefix(b"=")
            {
                self.rest = value;
                return Some((key, self.value()));
            }
            // A quote outside of a value begins a quotation, which may contain what looks like pairs.
            if rest.first() == Some(&b'"')
                && let Some(quoted) = quoted_length(&rest[1..])
            {
                self.rest = &rest[quoted + 2..];
            } else {
                self.rest = &rest[usize::from(!rest.is_empty())..];
            }
        }
    }
}

/// The number of bytes at the start of the text that can belong to a key.
fn key_length(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| byte > b' ' && !matches!(byte, b'=' | b'"' | 0x7f)).count()
}

/// The number of bytes before the quote that ends a value; `None` if there is none.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_bare_or_quoted_values() {
        let table: [(&str, &[(&str, &str)]); 8] = [
            ("a=1 b=\"x y\" c", &[("a", "1"), ("b", "x y")]),
            (r#"msg="say \"level=x\"" level=info"#, &[("msg", r#"say \"level=x\""#), ("level", "info")]),
            (r#"error="<nil>" level=info"#, &[("error", "<nil>"), ("level", "info")]),
            ("a= b=", &[("a", ""), ("b", "")]),
            ("a=\"no end b=1", &[("a", "\"no"), ("b", "1")]),
            ("\"quoted level=x\" a=1", &[("a", "1")]),
            ("=1 == a", &[]),
            ("", &[]),
        ];
        for (line, pairs) in table {
            let found: Vec<_> = LogfmtPairs::of(line.as_bytes())
                .map(|(key, value)| {
                    let (LogfmtValue::Bare(value) | LogfmtValue::Quoted(value)) = value;
                    (std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap())
                })
                .collect();
            assert_eq!(found, pairs, "{line}");
        }
    }
}
