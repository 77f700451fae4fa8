//! Finds the secrets of one text: values after the names of secrets, known formats, and credentials in URLs.

use super::block::{self, YamlBlock};
use super::carry::{Carry, MAX_SECRET_LINES};
use super::harmless::{ValueSeparator, is_call, is_harmless, is_parser_token, is_placeholder, is_reference_at};
use super::names::{MAX_SECRET_NAME_SIZE, SecretKind, classify};
use super::stems::{self, Stem};
use super::value::{
    FoundSecrets, SecretSpan, is_blank, is_quote, line_end, quoted_span, skip_blanks, triple_quoted_end, unquoted_end,
};
use super::{command, formats, header, url, xml};

/// The maximum number of programs in one text whose arguments are examined: a long line of program names would take a
/// second.
const MAX_PROGRAMS_PER_TEXT: usize = 256;

/// The state of the search in a text.
struct SecretFinder<'a> {
    text: &'a [u8],
    found: FoundSecrets,
    /// The offset up to which names were examined.
    named_until: usize,
    /// The state for the text after this one.
    carry: Carry,
    /// The text begins at the start of a line.
    at_line_start: bool,
}

/// A name and its surroundings.
#[derive(Clone, Copy)]
struct NameContext {
    kind: SecretKind,
    begin: usize,
    end: usize,
    /// The quotation mark behind the name.
    quote: Option<(usize, usize)>,
    /// The name is an option of a command, with a hyphen before it.
    is_option: bool,
}

/// Finds the secrets of a text. `carry` is the state from before it, and `begins` says whether it starts at the start
/// of a line. Returns the state for what follows, too.
pub(crate) fn find(text: &[u8], carry: Carry, begins: bool) -> (Vec<SecretSpan>, Carry) {
    let mut finder = SecretFinder {
        text,
        found: FoundSecrets::default(),
        named_until: 0,
        carry: Carry::Nothing,
        at_line_start: begins,
    };
    match carry {
        Carry::Nothing | Carry::Key(_) => {}
        Carry::Block { column, prefixed, lines } => {
            finder.take_block(0, YamlBlock { column, prefixed, lines, quoted: false });
        }
        Carry::Value => _ = finder.take_sibling_value(0),
    }
    let mut programs = 0;
    for (begin, end, stem) in stems::find(text) {
        // A known format is a secret wherever it is, even within a harmless value.
        if stem == Stem::Name && finder.found.is_decided(begin) {
            continue;
        }
        match stem {
            Stem::Name => finder.examine_name(begin, end),
            Stem::Format(number) => {
                if let Some((begin, end)) = formats::find_secret(number, text, begin) {
                    finder.found.take(begin, end);
                }
            }
            Stem::Bearer | Stem::Basic | Stem::Digest => {
                if let Some((begin, end)) = header::scheme(text, begin, end, stem) {
                    finder.found.take(begin, end);
                }
            }
            Stem::Identified => {
                let at = skip_blanks(text, end);
                if text.get(at).is_some_and(|byte| is_quote(*byte)) {
                    let (begin, end) = quoted_span(text, at);
                    finder.found.take(begin, end);
                }
            }
            Stem::Program if programs < MAX_PROGRAMS_PER_TEXT => {
                programs += 1;
                command::find(text, begin, &mut finder.found.spans);
            }
            Stem::Program => {}
        }
    }
    if memchr::memchr(b'@', text).is_some() {
        let mut found = Vec::new();
        url::find(text, &mut found);
        let real = found
            .into_iter()
            .filter(|(begin, end)| !is_harmless(SecretKind::Password, ValueSeparator::Quoted, &text[*begin..*end]));
        finder.found.spans.extend(real.map(|(begin, end)| SecretSpan::new(begin, end)));
    }
    (finder.found.spans, finder.carry)
}

impl SecretFinder<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|before| self.byte(before))
    }

    /// Examines the name that has a stem between `begin` and `end`.
    fn examine_name(&mut self, begin: usize, end: usize) {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if end <= self.named_until {
            return;
        }
        // The stem may be longer than the name: `pw=`.
        let end = begin + self.text[begin..end].iter().take_while(|byte| is_name(byte)).count();
        let limit = begin.saturating_sub(MAX_SECRET_NAME_SIZE);
        let begin = begin - self.text[limit..begin].iter().rev().take_while(|byte| is_name(byte)).count();
        let most = self.text.len().min(end + MAX_SECRET_NAME_SIZE);
        let end = end + self.text[end..most].iter().take_while(|byte| is_name(byte)).count();
        self.named_until = end;
        let word = &self.text[begin..end];
        let hyphens = word.iter().take_while(|byte| matches!(byte, b'-' | b'.')).count();
        let option = word.starts_with(b"-")
            && self
                .before(begin)
                .is_none_or(|before| before.is_ascii_whitespace() || is_quote(before) || b",[(|=".contains(&before));
        let begin = begin + hyphens;
        let Some(kind) = self.text.get(begin..end).and_then(classify) else { return };
        let name = NameContext { kind, begin, end, quote: None, is_option: option };
        let is_element = match self.before(begin) {
            Some(b'<') => true,
            Some(b':') => xml::is_prefixed(self.text, begin),
            _ => false,
        };
        if !is_element || !self.take_element(end) {
            self.examine_value(name);
        }
    }

    /// Redacts the content of the XML element whose name ends at `end`; `false` if there is no such element.
    fn take_element(&mut self, end: usize) -> bool {
        let Some(begin) = xml::content_begins(self.text, end) else { return false };
        self.take_content(begin);
        true
    }

    /// Redacts the content of an XML element from `begin` on.
    fn take_content(&mut self, begin: usize) {
        if let Some((begin, end)) = xml::content_secret(self.text, begin) {
            self.found.take(begin, end);
        }
    }

    /// Finds the start of the value of a name, and redacts it.
    fn examine_value(&mut self, mut name: NameContext) {
        let mut at = name.end;
        if self.byte(at).is_some_and(is_quote) {
            name.quote = Some((at, at + 1));
            at += 1;
        }
        while matches!(self.byte(at), Some(b']' | b'*')) {
            at += 1;
        }
        let after = skip_blanks(self.text, at);
        let next = (self.byte(after), self.byte(after + 1), self.byte(after + 2));
        let (join, begin) = match next {
            (Some(b':'), Some(b':'), _) | (Some(b':'), Some(b'/'), Some(b'/')) | (Some(b'='), Some(b'=' | b'~'), _) => {
                return;
            }
            (Some(b'=' | b'-'), Some(b'>'), _) | (Some(b':' | b'+' | b'?'), Some(b'='), _) => {
                (ValueSeparator::Equals, after + 2)
            }
            (Some(b'='), ..) => (ValueSeparator::Equals, after + 1),
            (Some(b':'), ..) => (ValueSeparator::Colon, after + 1),
            (Some(b'i'), Some(b's'), Some(b' ' | b'\t' | b':')) if after > at => (ValueSeparator::Word, after + 2),
            _ if self.take_sibling(name, at) => return,
            (Some(b','), ..) if name.quote.is_some() => match self.second_of_pair(name, after + 1) {
                Some(begin) => (ValueSeparator::Equals, begin),
                None => return,
            },
            (Some(first), ..) if after > at && self.value_may_follow(name, first) => (ValueSeparator::Word, after),
            _ => return,
        };
        // The name is a user in a URL.
        if join == ValueSeparator::Colon && self.text[..name.begin].ends_with(b"://") && name.quote.is_none() {
            return;
        }
        // The name and tag of a container image: org/token:latest.
        let is_image = join == ValueSeparator::Colon && begin == after + 1 && self.before(name.begin) == Some(b'/');
        if is_image
            && self.before(name.begin - 1).is_some_and(|before| before.is_ascii_alphanumeric())
            && name.quote.is_none()
        {
            return;
        }
        if name.kind == SecretKind::Token && is_parser_token(self.text, name.begin) {
            return;
        }
        let signature = self.text[name.begin..name.end].eq_ignore_ascii_case(b"sig");
        if signature && !matches!(self.before(name.begin), Some(b'?' | b'&' | b'"' | b';')) {
            return;
        }
        let begin = if join == ValueSeparator::Word && self.byte(begin) == Some(b':') { begin + 1 } else { begin };
        let value = skip_blanks(self.text, begin);
        let Some(first) = self.byte(value) else { return };
        if join == ValueSeparator::Colon && matches!(first, b'|' | b'>') && self.take_block_at_head(name, value) {
            return;
        }
        if first.is_ascii_whitespace() || join == ValueSeparator::Colon && block::is_escaped_head(&self.text[value..]) {
            return;
        }
        self.take_value(name, join, value, value > begin);
    }

    /// Redacts the value that begins at `at`; `stands_off` says that a blank precedes it.
    fn take_value(&mut self, name: NameContext, join: ValueSeparator, at: usize, stands_off: bool) {
        let whole_line =
            join == ValueSeparator::Colon && stands_off && name.quote.is_none() && self.begins_line(name.begin);
        match name.kind {
            SecretKind::Authorization => {
                return header::authorization(self.text, join, at, whole_line, name.quote, &mut self.found);
            }
            SecretKind::Cookie => return header::cookies(self.text, join, at, whole_line, name.quote, &mut self.found),
            _ => {}
        }
        // The prefix letter of a Python string.
        let prefixed = b"bruBRU@".contains(&self.text[at]) && self.byte(at + 1).is_some_and(is_quote);
        let some = self.text[at..].starts_with(b"Some(") && self.byte(at + 5).is_some_and(is_quote);
        let at = at + usize::from(prefixed) + if some { 5 } else { 0 };
        let rest = &self.text[at..];
        match rest[0] {
            quote if is_quote(quote) && triple_quoted_end(rest).is_some() => {
                self.found.take(at + 3, triple_quoted_end(rest).map_or(at, |end| at + end));
            }
            quote if is_quote(quote) => {
                let (begin, end) = quoted_span(self.text, at);
                let join = if join == ValueSeparator::Word && !name.is_option && name.kind == SecretKind::Token {
                    ValueSeparator::Word
                } else {
                    ValueSeparator::Quoted
                };
                if is_harmless(name.kind, join, &self.text[begin..end]) {
                    // Without a closing quotation mark, the value seems to be the rest of the line, and only that is
                    // harmless.
                    if self.byte(end).is_some_and(is_quote) {
                        self.found.decide(begin, end);
                    }
                } else {
                    self.found.take(begin, end);
                }
            }
            // A further level of escapes is handled in another reading of the line.
            b'\\' if rest.iter().find(|byte| **byte != b'\\').is_some_and(|byte| is_quote(*byte)) => {}
            b'[' | b'{'
                if rest.starts_with(super::REDACTION_MARK) || rest.starts_with(b"{{") || rest.starts_with(b"{%") => {}
            b'[' => {
                self.found.take_nested(self.text, at, name.quote);
            }
            b'{' => {
                // The braces after `secret` are a Kubernetes reference, which names the secret without containing it.
                if name.kind == SecretKind::Password {
                    self.found.take_nested(self.text, at, name.quote);
                }
            }
            b'$' | b'<' if is_reference_at(self.text, at) => {}
            _ => {
                let end = unquoted_end(self.text, at, whole_line);
                let value = &self.text[at..end];
                let harmless = is_harmless(name.kind, join, value)
                    || name.kind == SecretKind::Pass
                        && join == ValueSeparator::Colon
                        && self.is_test_verdict(name, value)
                    || join == ValueSeparator::Equals && stands_off && is_call(value)
                    || name.is_option
                        && join == ValueSeparator::Word
                        && is_placeholder(self.text, name.begin..name.end, at..end);
                if end > at && !harmless {
                    let quote = name.quote.filter(|_| join == ValueSeparator::Colon);
                    self.found.spans.push(SecretSpan { begin: at, end, quote });
                    self.found.decide(at, end);
                }
            }
        }
    }

    /// Returns whether `pass: x` is the verdict of a test, or the number of a pass.
    fn is_test_verdict(&self, name: NameContext, value: &[u8]) -> bool {
        let word = &self.text[name.begin..name.end];
        let first = value.split(|byte| is_blank(*byte)).next().unwrap_or_default();
        let first = first.trim_ascii_end().strip_suffix(b",").unwrap_or(first);
        let digits = first.iter().all(|byte| byte.is_ascii_digit() || b".,%/".contains(byte));
        let letters = value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_ ".contains(byte));
        word == b"PASS" || digits || letters && word.len() == 4 && !self.begins_line(name.begin)
    }

    /// Returns whether a value may follow its name without a separator: after an option, in SQL, and where a setting is
    /// assigned.
    fn value_may_follow(&self, name: NameContext, first: u8) -> bool {
        let text = &self.text[..name.begin];
        let word = self.text[name.begin..name.end].to_ascii_lowercase();
        let set = text.ends_with(b"config set ") || text.ends_with(b"configure set ");
        let directive = matches!(&word[..], b"requirepass" | b"masterauth") && self.begins_line(name.begin);
        let sql = is_quote(first) && name.kind == SecretKind::Password && first != b'`';
        if name.is_option {
            return !matches!(first, b'-' | b'|' | b'<' | b'[' | b'(' | b',' | b'.' | b';' | b'=');
        }
        set || directive || sql && name.quote.is_none()
    }

    /// The start of the second of two strings in brackets, if the name is the first: `("password", "x")`.
    fn second_of_pair(&self, name: NameContext, at: usize) -> Option<usize> {
        let opens = self.before(name.begin.checked_sub(1 + usize::from(name.is_option) * 2)?)?;
        let header = matches!(name.kind, SecretKind::Authorization | SecretKind::Cookie);
        let begin = skip_blanks(self.text, at);
        let pair = opens == b'(' || opens == b'[' && header || name.is_option;
        (pair && self.byte(begin).is_some_and(is_quote)).then_some(begin)
    }

    /// Redacts the value of a name that is itself a value: `{"name": "DB_PASSWORD", "value": "x"}`. `false` if there is
    /// none.
    fn take_sibling(&mut self, name: NameContext, at: usize) -> bool {
        let begin = name.begin.saturating_sub(12);
        let before = self.text[begin..name.begin].to_ascii_lowercase();
        let before = before.trim_ascii_end();
        let before = before.strip_suffix(b"\"").or(before.strip_suffix(b"'")).unwrap_or(before);
        let before = before.trim_ascii_end();
        let Some(before) = before.strip_suffix(b":").or(before.strip_suffix(b"=")) else { return false };
        let before = before.trim_ascii_end();
        let before = before.strip_suffix(b"\"").or(before.strip_suffix(b"'")).unwrap_or(before);
        if !before.ends_with(b"name") && !before.ends_with(b"key") {
            return false;
        }
        if self.byte(at) == Some(b'>') {
            self.take_content(at + 1);
            return true;
        }
        let rest = skip_blanks(self.text, at);
        let rest = if matches!(self.byte(rest), Some(b',' | b';')) { rest + 1 } else { rest };
        let rest = skip_blanks(self.text, rest);
        if self.byte(rest).is_none_or(|byte| byte == b'\n' || byte == b'\r') {
            match memchr::memchr(b'\n', &self.text[rest..]) {
                Some(end) => return self.take_sibling_value(rest + end + 1),
                None => self.carry = Carry::Value,
            }
            return true;
        }
        self.take_sibling_value(rest)
    }

    /// Redacts the value if the text at `at` is `value: x`.
    fn take_sibling_value(&mut self, at: usize) -> bool {
        let at = skip_blanks(self.text, at);
        let quote = usize::from(self.byte(at).is_some_and(is_quote));
        let begin = at + quote;
        if !self.text.get(begin..begin + 5).is_some_and(|word| word.eq_ignore_ascii_case(b"value")) {
            return false;
        }
        let (name, end) = (
            NameContext { kind: SecretKind::Password, begin, end: begin + 5, quote: None, is_option: false },
            begin + 5,
        );
        if self.byte(end).is_some_and(|byte| is_quote(byte) || matches!(byte, b':' | b'=' | b' ')) {
            self.examine_value(name);
        }
        true
    }

    /// Returns whether only list markers and quotation marks precede `at` in its line.
    fn begins_line(&self, at: usize) -> bool {
        let end = memchr::memrchr(b'\n', &self.text[..at]);
        let begin = end.map_or(0, |end| end + 1);
        (end.is_some() || self.at_line_start) && self.text[begin..at].iter().all(|byte| b" \t<>*+-".contains(byte))
    }

    /// Redacts the lines of a YAML block from `at` on.
    fn take_block(&mut self, at: usize, block: YamlBlock) {
        let (end, carry) = block.find_secrets(self.text, at, &mut self.found.spans);
        self.found.decide(at, end);
        self.carry = carry;
    }

    /// Redacts the YAML block whose header is at `at`; `false` if there is none.
    fn take_block_at_head(&mut self, name: NameContext, at: usize) -> bool {
        let end = line_end(self.text, at);
        if !block::is_head(&self.text[at..end]) {
            return false;
        }
        let begin = name.begin - usize::from(name.quote.is_some());
        let line = memchr::memrchr(b'\n', &self.text[..begin]).map_or(0, |end| end + 1);
        // A text of several lines may be in quotation marks.
        let text = memchr::memrchr(b'"', &self.text[line..begin]).filter(|_| end < self.text.len());
        let quoted = text.is_some();
        let line = line + text.map_or(0, |quote| quote + 1);
        let prefixed = !self.text[line..begin].iter().all(|byte| b" \t-?".contains(byte));
        if end == self.text.len() {
            self.carry = Carry::Block { column: begin - line, prefixed, lines: MAX_SECRET_LINES };
        } else {
            self.take_block(end + 1, YamlBlock { column: begin - line, prefixed, lines: MAX_SECRET_LINES, quoted });
        }
        true
    }
}
