//! The level in the head of a line: what stands before the message.
//!
//! # Theory of operation
//!
//! The head is read token by token. A token is a bracket with its content, a run of characters without spaces, or a
//! symbol. Times, hosts, names, process ids, numbers, brackets and symbols are passed over; the first token that
//! declares a level ends the search, and so does the first word that belongs to a message.
//!
//! ```text
//! Nov 28 16:00:00 web1 sshd[123]: error: maximum authentication attempts exceeded
//! time            host name  pid  level
//! ```
//!
//! A level is declared by its *form*, since its words are words of the language, too: a bracket with nothing else in
//! it, a colon after it, upper case, or a column of its own. The form that suffices depends on the token before the
//! word ([`PreviousToken`]): after a name without a colon, `error:` may be part of a sentence.

use crate::event::Level;

use super::head_token::{
    ends_column, is_clock, is_number, is_of_message, is_part_of_time, is_place, is_time_zone, token_length,
};
use super::level_word::{from_letter, from_word, is_ambiguous};
use super::{level_annotation, level_bracket, level_member};

/// The number of visible characters in which a level must begin. Programs write it near the start.
const HEAD_LENGTH: usize = 64;

/// The longest content of a bracket, in bytes. Contexts and thread names are shorter.
const MAX_BRACKET_LENGTH: usize = 256;

/// The kind of the last token, which decides what the next one may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PreviousToken {
    /// Nothing: the line begins.
    Start,
    /// A time or a number.
    Number,
    /// A name that no message begins with: with a digit, a dot, a slash.
    Name,
    /// A word that could be one of a message.
    Word,
    /// A name with a colon after it, or a colon.
    Colon,
    /// `PATH:LINE:` or `PATH(LINE,COLUMN):`.
    Place,
    /// The end of a column: ` | ` or ` - `.
    Column,
    /// A bracket.
    Bracket,
    /// A symbol without a meaning.
    Symbol,
}

/// The result of one token.
enum HeadStep {
    /// The search ends.
    Done(Option<Level>),
    /// The token is passed over: its length, and its kind.
    Pass(usize, PreviousToken),
}

/// A search for the level in one line of visible text.
struct HeadSearch<'a> {
    text: &'a [u8],
    at: usize,
    before: PreviousToken,
    /// `true` if two spaces or a tab are before `at`.
    after_wide_gap: bool,
    /// `true` once a time was passed.
    is_timed: bool,
    /// The numbers that were passed.
    numbers: u32,
}

/// The level that the head of a line declares. `line` has no escape sequences and no newline.
pub(super) fn level(line: &[u8]) -> Option<Level> {
    let mut search = HeadSearch {
        text: line,
        at: 0,
        before: PreviousToken::Start,
        after_wide_gap: false,
        is_timed: false,
        numbers: 0,
    };
    let mut end = head_end(line);
    loop {
        search.skip_space();
        if search.at >= end {
            return None;
        }
        match search.step() {
            HeadStep::Done(level) => return level,
            HeadStep::Pass(length, before) => {
                search.at += length;
                search.before = before;
                if before == PreviousToken::Place {
                    // A compiler's message begins after the place, however long its path is.
                    end = end.max(search.at + 2).min(line.len());
                }
            }
        }
    }
}

/// The index after the last character of the head.
fn head_end(line: &[u8]) -> usize {
    let short = &line[..line.len().min(HEAD_LENGTH)];
    if short.is_ascii() {
        return short.len();
    }
    let begins = |(_, byte): &(usize, &u8)| **byte & 0xc0 != 0x80;
    line.iter().enumerate().filter(begins).nth(HEAD_LENGTH).map_or(line.len(), |(at, _)| at)
}

impl<'a> HeadSearch<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let from = self.at;
        while self.text.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            self.at += 1;
        }
        let gap = &self.text[from..self.at];
        self.after_wide_gap = from > 0 && (gap.len() > 1 || gap == b"\t");
    }

    fn step(&mut self) -> HeadStep {
        let rest = self.rest();
        match rest[0] {
            b'[' | b'(' | b'<' | b'{' => self.bracket(),
            b'"' | b'\'' | b'`' => HeadStep::Done(None),
            b'#' | b':' if self.before == PreviousToken::Start && level_annotation::is_annotation(rest) => {
                HeadStep::Done(level_annotation::level(rest))
            }
            b'*' if rest.starts_with(b"*** ") && matches!(self.before, PreviousToken::Colon | PreviousToken::Place) => {
                // GNU make reports what failed after three asterisks.
                HeadStep::Done(Some(Level::Error))
            }
            _ => match token_length(rest) {
                0 => self.symbol(),
                length => self.token(length),
            },
        }
    }

    fn symbol(&mut self) -> HeadStep {
        let rest = self.rest();
        let length = rest.iter().skip(1).take_while(|&&byte| byte & 0xc0 == 0x80).count() + 1;
        let is_alone = matches!(rest.get(length), None | Some(b' ' | b'\t'));
        let before = match rest[0] {
            b'|' => PreviousToken::Column,
            b'-' if is_alone && self.at > 0 => PreviousToken::Column,
            b':' => PreviousToken::Colon,
            _ => PreviousToken::Symbol,
        };
        HeadStep::Pass(length, before)
    }

    fn bracket(&mut self) -> HeadStep {
        let rest = self.rest();
        if rest[0] == b'{'
            && let Some(level) = level_member::of_json(rest)
        {
            return HeadStep::Done(level);
        }
        let close = match rest[0] {
            b'[' => b']',
            b'(' => b')',
            b'<' => b'>',
            _ => b'}',
        };
        let within = &rest[1..rest.len().min(MAX_BRACKET_LENGTH)];
        let Some(length) = memchr::memchr(close, within) else { return HeadStep::Done(None) };
        let content = within[..length].trim_ascii();
        let after = &rest[length + 2..];
        if let Some(level) = level_bracket::level(rest[0], content) {
            return HeadStep::Done(Some(level));
        }
        self.is_timed |= content.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4;
        if rest[0] == b'(' && after.first() == Some(&b':') && content.iter().copied().all(is_of_place) {
            return HeadStep::Pass(length + 3, PreviousToken::Place);
        }
        HeadStep::Pass(length + 2, PreviousToken::Bracket)
    }

    fn token(&mut self, length: usize) -> HeadStep {
        let rest = self.rest();
        let (token, after) = rest.split_at(length);
        // Most tokens of a head are numbers or words, and no word begins with a digit.
        let begins_with_digit = token[0].is_ascii_digit();
        let level = match token {
            _ if begins_with_digit => self.redis_level(token).or_else(|| level_at_end_of_name(token)),
            [b'_' | b'@' | b'A'..=b'Z' | b'a'..=b'z', .., b'='] => {
                return HeadStep::Done(level_member::of_logfmt(rest));
            }
            _ => self.phrase(token, after).or_else(|| self.level_of_token(token, after)),
        };
        if level.is_some() {
            return HeadStep::Done(level);
        }
        if token.ends_with(b":") {
            return HeadStep::Pass(length, if is_place(token) { PreviousToken::Place } else { PreviousToken::Colon });
        }
        if (begins_with_digit || matches!(token[0], b'+' | b'-')) && is_number(token) {
            self.numbers += 1;
            self.is_timed |= token.iter().any(|byte| matches!(byte, b':' | b'-' | b'/' | b'T'));
            return HeadStep::Pass(length, PreviousToken::Number);
        }
        if is_part_of_time(token) || self.is_timed && self.before == PreviousToken::Number && is_time_zone(token) {
            return HeadStep::Pass(length, PreviousToken::Number);
        }
        if !is_of_message(token) || matches!(after.first(), Some(b'[' | b'(')) || ends_column(after) {
            return HeadStep::Pass(length, PreviousToken::Name);
        }
        // A name with its number, such as `worker 3`.
        let next = after.trim_ascii_start();
        if self.before == PreviousToken::Start && next.first().is_some_and(u8::is_ascii_digit) {
            let length = token_length(next);
            if is_number(&next[..length]) {
                return HeadStep::Pass(rest.len() - next.len() + length, PreviousToken::Number);
            }
        }
        // A host or a logger after the time; the second such word is one of a message.
        let may_be_name = self.is_timed && matches!(self.before, PreviousToken::Number | PreviousToken::Bracket);
        if may_be_name { HeadStep::Pass(length, PreviousToken::Word) } else { HeadStep::Done(None) }
    }

    /// The level of a fixed phrase that begins with this token.
    fn phrase(&self, token: &[u8], after: &[u8]) -> Option<Level> {
        let starts = |words: &[u8]| after.starts_with(words);
        let is_start = self.before == PreviousToken::Start;
        if !matches!(token[0], b'T' | b'E' | b't' | b'C' | b'B' | b'K' | b'P' | b'i' | b'n' | b'p') {
            return None;
        }
        let level = match token {
            b"Traceback" if starts(b" (most recent call last)") => Level::Error,
            b"Exception" if starts(b" in thread ") => Level::Error,
            b"thread"
                if starts(b" '") && memchr::memmem::find(&after[..after.len().min(200)], b" panicked at").is_some() =>
            {
                Level::Critical
            }
            b"CMake" if starts(b" Error") => Level::Error,
            b"CMake" if starts(b" Warning") || starts(b" Deprecation Warning") => Level::Warning,
            b"BUILD" if starts(b" FAILED") || starts(b" FAILURE") => Level::Error,
            b"Kernel" if starts(b" panic - not syncing") => Level::Critical,
            b"PHP" if starts(b" Parse error:") => Level::Error,
            b"PHP" => return php_level(after),
            b"internal" if self.before == PreviousToken::Place && starts(b" compiler error:") => Level::Error,
            b"npm" | b"pnpm" if is_start => {
                let word = after.trim_ascii_start();
                let length = word.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                return from_word(&word[..length]);
            }
            b"test" if is_start => {
                let has_failed = starts(b" result: FAILED") || after.trim_ascii_end().ends_with(b"... FAILED");
                return has_failed.then_some(Level::Error);
            }
            b"Task" if self.before == PreviousToken::Symbol => {
                return after.trim_ascii_end().ends_with(b" FAILED").then_some(Level::Error);
            }
            b"Test" if self.numbers == 1 && !self.is_timed_by_clock() => {
                const CTEST_OUTCOMES: [&[u8]; 3] = [b"***Failed", b"***Exception", b"***Timeout"];
                let has_failed = CTEST_OUTCOMES.iter().any(|mark| memchr::memmem::find(after, mark).is_some());
                return has_failed.then_some(Level::Error);
            }
            _ => return None,
        };
        Some(level)
    }

    /// Returns whether a time of day was passed, and not only numbers such as `1/10`.
    fn is_timed_by_clock(&self) -> bool {
        memchr::memchr(b':', &self.text[..self.at]).is_some()
    }

    /// The level of `123:M 28 Nov 2026 16:00:00.000 # message`, in which Redis has a symbol for it.
    fn redis_level(&self, token: &[u8]) -> Option<Level> {
        let [pid @ .., b':', b'M' | b'S' | b'C' | b'X'] = token else { return None };
        if self.before != PreviousToken::Start || !pid.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut words = self.rest().split(|byte| *byte == b' ').skip(5);
        Some(match words.next()? {
            b"." => Level::Debug,
            b"-" => Level::Info,
            b"*" => Level::Notice,
            b"#" => Level::Warning,
            _ => return None,
        })
    }

    /// The level that a token declares.
    fn level_of_token(&self, token: &[u8], after: &[u8]) -> Option<Level> {
        let length = token.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = &token[..length];
        if length == 1 || word.len() > 4 && word[1..].iter().all(u8::is_ascii_digit) {
            return self.level_of_letter(token, after);
        }
        let next = token.get(length).or(after.first()).copied();
        if next.is_some_and(|byte| byte == b'_' || byte >= 0x80) {
            return None;
        }
        if let Some(level) = from_word(word) {
            let rest = &self.rest()[length..];
            let is_upper = word.iter().all(|byte| !byte.is_ascii_lowercase());
            let declared = if is_upper {
                Self::declares_in_upper_case(word, rest)
            } else {
                self.declares_in_lower_case(word, rest)
            };
            return declared.then_some(level);
        }
        // `DeprecationWarning:` of Python and Node.js.
        if let Some(class) = token.strip_suffix(b":")
            && class.ends_with(b"Warning")
            && class.iter().all(u8::is_ascii_alphabetic)
            && matches!(self.before, PreviousToken::Place | PreviousToken::Bracket)
        {
            return Some(Level::Warning);
        }
        level_at_end_of_name(token)
    }

    fn declares_in_upper_case(word: &[u8], rest: &[u8]) -> bool {
        match rest {
            [] | [b' ' | b'\t' | b'[' | b'(' | b',' | b';' | b'!' | b'|' | b'\r', ..] => !is_ambiguous(word),
            [b':', ..] => true,
            [b'.' | b'-', next, ..] => !is_ambiguous(word) && matches!(next, b' ' | b'\t'),
            _ => false,
        }
    }

    fn declares_in_lower_case(&self, word: &[u8], rest: &[u8]) -> bool {
        let follows_word = self.before == PreviousToken::Word && !self.after_wide_gap;
        if let Some(after) = rest.strip_prefix(b":") {
            return !follows_word && matches!(after.first(), None | Some(b' ' | b'\t' | b'\r'));
        }
        if follows_word
            || self.before == PreviousToken::Colon && !is_code_with_colon(rest) && !is_error_with_colon(word, rest)
        {
            return false;
        }
        if is_code_with_colon(rest) || is_error_with_colon(word, rest) {
            return true;
        }
        if rest.first() == Some(&b'[') {
            let close = memchr::memchr(b']', &rest[..rest.len().min(MAX_BRACKET_LENGTH)]);
            return close.is_some_and(|close| rest.get(close + 1) == Some(&b':'));
        }
        if is_ambiguous(word) || self.before == PreviousToken::Name {
            return false;
        }
        if ends_column(rest) || rest.starts_with(b"|") {
            return true;
        }
        let text = rest.trim_ascii_start();
        if text.is_empty() {
            return matches!(self.before, PreviousToken::Start | PreviousToken::Number | PreviousToken::Column);
        }
        let gap = rest.len() - text.len();
        if gap > 1 || rest[0] == b'\t' {
            return true;
        }
        // `error Command failed` of Yarn: a sentence begins after the level.
        let is_lower = word.iter().all(|byte| !byte.is_ascii_uppercase());
        gap == 1
            && (text[0].is_ascii_uppercase() || text[0] == b'"')
            && (is_lower || self.before == PreviousToken::Number && self.is_timed)
    }

    /// The level of a letter in upper case, as far as a format has one there.
    fn level_of_letter(&self, token: &[u8], after: &[u8]) -> Option<Level> {
        let level = from_letter(token[0]);
        let (letter, rest) = token.split_first()?;
        let text = after.trim_ascii_start();
        match rest {
            // klog and glog: `E1128 16:00:00.000000`, `E20261128 16:00:00.000000`.
            [digits @ .., last] if matches!(rest.len(), 4 | 8) && last.is_ascii_digit() => {
                let is_klog = digits.iter().all(u8::is_ascii_digit) && is_clock(text);
                level.filter(|_| is_klog && matches!(letter, b'I' | b'W' | b'E' | b'F' | b'D'))
            }
            // Ruby: `E, [2026-11-28T16:00:00.000000 #123] ERROR -- : message`.
            b"," => level.filter(|_| text.starts_with(b"[")),
            b":" => {
                let begins_line = self.before == PreviousToken::Start && matches!(letter, b'E' | b'W' | b'I' | b'N');
                let follows_place = self.before == PreviousToken::Place && matches!(letter, b'E' | b'W' | b'F');
                // The Kotlin compiler: `e: file:///path`.
                let is_path = text.starts_with(b"/") || text.starts_with(b"file:");
                let is_kotlin = self.before == PreviousToken::Start && matches!(letter, b'e' | b'w') && is_path;
                match letter {
                    b'e' if is_kotlin => Some(Level::Error),
                    b'w' if is_kotlin => Some(Level::Warning),
                    _ => level.filter(|_| !after.is_empty() && (begins_line || follows_place)),
                }
            }
            [] if letter.is_ascii_uppercase() && self.before == PreviousToken::Number && self.is_timed => {
                let gap = after.len() - text.len();
                // Android: time, two process ids, letter, tag with a colon.
                let is_android = self.numbers >= 4 && memchr::memchr(b':', text).is_some();
                let is_column = gap > 1 || after.starts_with(b"\t") || text.starts_with(b"|");
                // MongoDB: a component in upper case.
                let is_component = text.len() > 2 && text[..3].iter().all(u8::is_ascii_uppercase);
                level.filter(|_| is_android || is_column || is_component)
            }
            // Android: `E/Tag( 123): message`.
            [b'/', tag, ..] if self.before == PreviousToken::Start && tag.is_ascii_alphabetic() => {
                level.filter(|_| memchr::memchr(b':', &after[..after.len().min(MAX_BRACKET_LENGTH)]).is_some())
            }
            _ => None,
        }
    }
}

/// The level after the last dot or colon of a name: `production.ERROR:`, `log4j:WARN`.
fn level_at_end_of_name(token: &[u8]) -> Option<Level> {
    let name = token.strip_suffix(b":").unwrap_or(token);
    if !name.last()?.is_ascii_uppercase() {
        return None;
    }
    let at = name.iter().rposition(|byte| matches!(byte, b':' | b'.'))?;
    let (before, word) = (name[at], &name[at + 1..]);
    let is_upper = !word.is_empty() && word.iter().all(u8::is_ascii_uppercase);
    let is_declared = is_upper && !is_ambiguous(word) && (before == b':' || token.ends_with(b":"));
    from_word(word).filter(|_| is_declared)
}

/// Returns whether the text begins with a space, a code such as `CS1002` and a colon.
fn is_code_with_colon(text: &[u8]) -> bool {
    let Some(code) = text.strip_prefix(b" ") else { return false };
    let letters = code.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let digits = code[letters..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    letters > 0 && digits > 0 && code[letters + digits..].trim_ascii_start().first() == Some(&b':')
}

/// Returns whether the text makes the word a `fatal error:`, perhaps with a code.
fn is_error_with_colon(word: &[u8], text: &[u8]) -> bool {
    let after = text.strip_prefix(b" error").or_else(|| text.strip_prefix(b" Error"));
    word.eq_ignore_ascii_case(b"fatal")
        && after.is_some_and(|after| after.starts_with(b":") || is_code_with_colon(after))
}

/// The level of `PHP Warning:  message`.
fn php_level(after: &[u8]) -> Option<Level> {
    let text = after.trim_ascii_start();
    let length = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at(length);
    let is_declared = rest.starts_with(b":") || is_error_with_colon(word, rest);
    if is_declared && word == b"Deprecated" { Some(Level::Notice) } else { from_word(word).filter(|_| is_declared) }
}

fn is_of_place(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b',' | b' ' | b'-')
}
