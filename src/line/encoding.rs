//! Text encodings (`encoding:` of a stream): converts bytes to UTF-8. All encodings of the Encoding Standard (WHATWG) work,
//! such as `Shift_JIS`: `TextEncoding` in `config/file.rs` accepts their names, and nothing has to be added. An encoding that
//! the standard lacks would make `TextEncoding` an enum, and be a variant of [`DecoderKind`]. These also depend on the
//! encoding: `check_format` (`config/check/mod.rs`), `Tailer::new` (`source/file/tailer.rs`) and `terminal_size`
//! (`source/origin_state.rs`).

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use serde::{Deserialize, Serialize};

use super::split::{Line, SourceUnit, prefix_at_boundary};

/// Converts the bytes of one source to UTF-8.
///
/// UTF-16 is decoded before lines are split, since its line end is a code unit and not a byte
/// ([`decode_chunk`](Self::decode_chunk)). A byte order mark of UTF-16 at the start of a file decides, whatever encoding is
/// configured. In all other encodings a line end is the same byte as in ASCII, so lines are
/// split first and then decoded ([`decode_line`](Self::decode_line)). UTF-8 passes through unchanged, valid or not.
#[derive(Debug)]
pub struct Decoder {
    /// The encoding of a file without a byte order mark.
    configured: &'static Encoding,
    /// Text in all encodings is decoded before it is split into lines.
    before_splitting: bool,
    kind: DecoderKind,
}

enum DecoderKind {
    /// The first two bytes of a file, which may be a byte order mark, are still to come; with the first one, if that may
    /// begin a mark.
    Start {
        first: Option<u8>,
    },
    Utf8,
    /// UTF-16, with the bytes of an incomplete character at the end.
    Utf16 {
        big: bool,
        rest: Vec<u8>,
    },
    /// Another encoding. The decoder holds a character that was split between two pieces of a line.
    Other(Box<encoding_rs::Decoder>),
}

/// The state of a [`Decoder`] for another process. A character of another encoding than UTF-8 and UTF-16 that is split
/// between the two processes is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackedDecoder {
    /// Nothing was decoded yet, but this byte may begin a byte order mark.
    Start(Option<u8>),
    /// The text is in the configured encoding.
    Within,
    /// The text is in UTF-16, with these bytes of an incomplete character.
    Utf16 {
        /// The more significant byte of a unit comes first.
        big: bool,
        /// The bytes of the incomplete character.
        rest: Vec<u8>,
    },
}

impl Decoder {
    /// Creates a decoder for a file, which is in this encoding unless it begins with a byte order mark of UTF-16.
    pub fn new(encoding: &'static Encoding) -> Self {
        Self { configured: encoding, before_splitting: false, kind: DecoderKind::Start { first: None } }
    }

    /// The same decoder, except that it decodes text before it is split into lines, for a terminal, whose control functions
    /// are in the middle of lines. Source offsets count the decoded bytes.
    #[must_use]
    pub fn before_splitting(self) -> Self {
        Self { before_splitting: true, ..self }
    }

    /// Returns whether nothing of the file was decoded yet.
    pub fn is_at_start(&self) -> bool {
        matches!(self.kind, DecoderKind::Start { .. })
    }

    /// Begins to decode in the middle of a file whose first two bytes are `start`.
    pub fn begin_within(&mut self, start: &[u8]) {
        self.kind = DecoderKind::of(utf16_mark(start).unwrap_or(self.configured));
    }

    /// The state for another process.
    pub fn pack(&self) -> PackedDecoder {
        match &self.kind {
            DecoderKind::Start { first } => PackedDecoder::Start(*first),
            DecoderKind::Utf8 | DecoderKind::Other(_) => PackedDecoder::Within,
            DecoderKind::Utf16 { big, rest } => PackedDecoder::Utf16 { big: *big, rest: rest.clone() },
        }
    }

    /// Continues a packed state.
    pub fn unpack(&mut self, packed: PackedDecoder) {
        match packed {
            PackedDecoder::Start(first) => self.kind = DecoderKind::Start { first },
            PackedDecoder::Within => self.begin_within(&[]),
            PackedDecoder::Utf16 { big, rest } => self.kind = DecoderKind::Utf16 { big, rest },
        }
    }

    /// Prepares for another file.
    pub fn restart(&mut self) {
        self.kind = DecoderKind::Start { first: None };
    }

    /// A decoder of the same encoding that has not decoded anything yet, in the middle of the file.
    #[must_use]
    pub fn within_same_file(&self) -> Self {
        let kind = match &self.kind {
            DecoderKind::Start { .. } => DecoderKind::Start { first: None },
            DecoderKind::Utf8 => DecoderKind::Utf8,
            DecoderKind::Utf16 { big, .. } => DecoderKind::Utf16 { big: *big, rest: Vec::new() },
            DecoderKind::Other(decoder) => DecoderKind::of(decoder.encoding()),
        };
        Self { kind, ..*self }
    }

    /// The unit by which bytes of the text that is split into lines are counted in the source.
    pub fn source_unit(&self) -> SourceUnit {
        let is_utf16 = match self.kind {
            DecoderKind::Start { .. } => self.configured == UTF_16LE || self.configured == UTF_16BE,
            DecoderKind::Utf16 { .. } => true,
            DecoderKind::Utf8 | DecoderKind::Other(_) => false,
        };
        if is_utf16 { SourceUnit::Utf16 } else { SourceUnit::Bytes }
    }

    /// The number of source bytes that were received and not yet passed on.
    pub fn held(&self) -> u64 {
        match &self.kind {
            DecoderKind::Start { first } => u64::from(first.is_some()),
            DecoderKind::Utf16 { rest, .. } => rest.len() as u64,
            DecoderKind::Utf8 | DecoderKind::Other(_) => 0,
        }
    }

    /// Prepares `chunk` for line splitting: UTF-16 becomes UTF-8, and so does every other encoding if text is decoded [before
    /// splitting](Self::before_splitting); otherwise, the bytes are unchanged. With `last`, nothing follows.
    pub fn decode_chunk<'a>(&mut self, chunk: &'a [u8], last: bool) -> Cow<'a, [u8]> {
        if let DecoderKind::Start { first } = &mut self.kind {
            let held = first.take();
            let start: Vec<u8> = held.iter().chain(chunk).copied().take(2).collect();
            match start[..] {
                [] => return Cow::Borrowed(chunk),
                [byte @ (0xFE | 0xFF)] if !last => {
                    *first = Some(byte);
                    return Cow::Borrowed(&[]);
                }
                _ => self.begin_within(&start),
            }
            if let Some(held) = held {
                return Cow::Owned(self.decode_chunk(&[&[held], chunk].concat(), last).into_owned());
            }
        }
        let (big, rest) = match &mut self.kind {
            DecoderKind::Utf16 { big, rest } => (big, rest),
            DecoderKind::Other(decoder) if self.before_splitting => {
                let mut text = String::new();
                decode(decoder, chunk, &mut text, last);
                return Cow::Owned(text.into_bytes());
            }
            DecoderKind::Start { .. } | DecoderKind::Utf8 | DecoderKind::Other(_) => return Cow::Borrowed(chunk),
        };
        let mut bytes = std::mem::take(rest);
        bytes.extend_from_slice(chunk);
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if *big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        let mut whole = units.len() * 2;
        if !last && units.last().is_some_and(|unit| (0xD800..0xDC00).contains(unit)) {
            units.pop();
            whole -= 2;
        }
        let odd = bytes.len() - units.len() * 2;
        let mut text = String::with_capacity(units.len() + units.len() / 2);
        text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        if last && odd > 0 {
            text.push(char::REPLACEMENT_CHARACTER);
        } else {
            *rest = bytes.split_off(whole);
        }
        Cow::Owned(text.into_bytes())
    }

    /// Passes the line in UTF-8 to `sink`, in pieces of at most `max` bytes if it became longer.
    pub fn decode_line(&mut self, line: Line<'_>, max: usize, sink: &mut impl FnMut(Line<'_>)) {
        let decoder = match &mut self.kind {
            DecoderKind::Other(decoder) if !self.before_splitting => decoder,
            DecoderKind::Start { .. } | DecoderKind::Utf8 | DecoderKind::Utf16 { .. } | DecoderKind::Other(_) => {
                return sink(line);
            }
        };
        let mut text = String::new();
        decode(decoder, line.text, &mut text, !line.continued);
        if !line.continued {
            **decoder = decoder.encoding().new_decoder_without_bom_handling();
        }
        let mut rest = text.as_str();
        while rest.len() > max {
            let (piece, after) = rest.split_at(prefix_at_boundary(rest.as_bytes(), max).len());
            sink(Line { text: piece.as_bytes(), continued: true, partial: false, source: 0 });
            rest = after;
        }
        sink(Line { text: rest.as_bytes(), ..line });
    }
}

/// Decodes `from`, after which nothing follows if it is the `last`.
fn decode(decoder: &mut encoding_rs::Decoder, mut from: &[u8], text: &mut String, last: bool) {
    loop {
        let room = decoder.max_utf8_buffer_length(from.len()).unwrap_or(from.len() * 3);
        text.reserve(room);
        let (result, read, _) = decoder.decode_to_string(from, text, last);
        from = &from[read..];
        if result == CoderResult::InputEmpty {
            break;
        }
    }
}

/// The encoding that a byte order mark of UTF-16 at the start of a file says.
pub fn utf16_mark(start: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_bom(start).map(|(encoding, _)| encoding).filter(|encoding| *encoding != UTF_8)
}

impl DecoderKind {
    fn of(encoding: &'static Encoding) -> Self {
        if encoding == UTF_16LE || encoding == UTF_16BE {
            Self::Utf16 { big: encoding == UTF_16BE, rest: Vec::new() }
        } else if encoding == UTF_8 {
            Self::Utf8
        } else {
            Self::Other(Box::new(encoding.new_decoder_without_bom_handling()))
        }
    }
}

impl std::fmt::Debug for DecoderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start { first } => write!(f, "Start {{ first: {first:?} }}"),
            Self::Utf8 => f.write_str("Utf8"),
            Self::Utf16 { big, rest } => write!(f, "Utf16 {{ big: {big}, rest: {rest:?} }}"),
            Self::Other(decoder) => f.write_str(decoder.encoding().name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{CarriageReturnMode, LineSplitter, Screen};
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

    #[test]
    fn a_terminal_receives_decoded_text() {
        let mut decoder = Decoder::new(SHIFT_JIS).before_splitting();
        let mut screen = Screen::terminal(100, 80, 24);
        let mut lines = Vec::new();
        // The second byte of a character may be one of ASCII.
        for byte in b"\x83\x5c\rx\x1b[K\n\x83\x5c\n" {
            let text = decoder.decode_chunk(&[*byte], false).into_owned();
            screen.push(&text, |line| {
                decoder.decode_line(line, 100, &mut |line| lines.push(String::from_utf8(line.text.to_vec()).unwrap()));
            });
        }
        assert_eq!(lines, ["x", "ソ"]);
    }
    use proptest::prelude::*;

    /// All lines of `chunks`, with the source bytes that each took.
    fn lines<'a>(encoding: &'static Encoding, max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut decoder = Decoder::new(encoding);
        let mut lines = LineSplitter::new(max, CarriageReturnMode::Fold).with_source_unit(decoder.source_unit());
        let (mut given, mut took, mut came) = (Vec::new(), 0, 0);
        for chunk in chunks {
            came += chunk.len() as u64;
            let text = decoder.decode_chunk(chunk, false).into_owned();
            lines.set_source_unit(decoder.source_unit());
            lines.push(&text, |line| {
                decoder.decode_line(line, max, &mut |line| {
                    took += line.source;
                    given.push(String::from_utf8(line.text.to_vec()).unwrap());
                });
            });
            assert_eq!(took + lines.held() + decoder.held(), came);
        }
        given
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn encodings_of_old_become_utf_8() {
        let table: &[(&'static Encoding, &[u8], &[&str])] = &[
            (UTF_8, "ä\n".as_bytes(), &["ä"]),
            (WINDOWS_1252, b"caf\xe9 \x80\nna\xefve\n", &["café €", "naïve"]),
            (SHIFT_JIS, b"\x83\x5c\n", &["ソ"]),
            (UTF_16LE, &utf16("ä\r\nĊ\u{a0a}\n😀\n", false), &["ä", "Ċ\u{a0a}", "😀"]),
            (UTF_16BE, &utf16("ä\r\nĊ\u{a0a}\n😀\n", true), &["ä", "Ċ\u{a0a}", "😀"]),
            (UTF_16LE, b"\x00\xd8a\x00\n\x00", &["\u{FFFD}a"]),
        ];
        for (encoding, bytes, expected) in table {
            assert_eq!(lines(encoding, 100, [*bytes]), *expected, "{}", encoding.name());
            assert_eq!(lines(encoding, 100, bytes.chunks(1)), *expected, "{}", encoding.name());
        }
    }

    #[test]
    fn a_byte_order_mark_of_utf_16_decides() {
        for configured in [UTF_8, UTF_16LE, UTF_16BE, WINDOWS_1252] {
            for big in [false, true] {
                let bytes = utf16("\u{FEFF}ä\r\n\r\nb\n", big);
                let expected = ["\u{FEFF}ä", "", "b"];
                assert_eq!(lines(configured, 100, [&bytes[..]]), expected, "{} {big}", configured.name());
                assert_eq!(lines(configured, 100, bytes.chunks(1)), expected, "{} {big}", configured.name());
                let mut within = Decoder::new(configured);
                within.begin_within(&bytes[..2]);
                assert_eq!(&*within.decode_chunk(&bytes[2..4], false), "ä".as_bytes());
                within.restart();
                assert!(within.is_at_start());
            }
        }
        let mut decoder = Decoder::new(UTF_8);
        assert_eq!((&*decoder.decode_chunk(b"\xff", false), decoder.held()), (&b""[..], 1));
        assert_eq!(&*decoder.decode_chunk(b"x", false), b"\xffx", "no mark");
        let mut decoder = Decoder::new(UTF_8);
        decoder.decode_chunk(b"\xfe", false);
        assert_eq!(&*decoder.decode_chunk(b"", true), b"\xfe", "the end of the file");
    }

    #[test]
    fn what_grows_past_the_limit_comes_in_pieces() {
        assert_eq!(lines(WINDOWS_1252, 4, [&b"\x80\x80\x80\n"[..]]), ["€", "€", "€"]);
        assert_eq!(lines(SHIFT_JIS, 5, [&b"abcd\x83\x5c\n"[..]]), ["abcd", "ソ"]);
    }

    #[test]
    fn an_odd_byte_at_the_end_is_shown() {
        let mut decoder = Decoder::new(UTF_16LE);
        assert_eq!(&*decoder.decode_chunk(b"a\0b", false), b"a");
        assert_eq!((decoder.held(), &*decoder.decode_chunk(b"", true)), (1, "\u{FFFD}".as_bytes()));
        assert_eq!(decoder.held(), 0);
    }

    proptest! {
        #[test]
        fn where_reads_end_never_shows_in_utf_16(text in "([a-c\n\r]|😀|ä|Ċ){0,40}", step in 1usize..7, big: bool) {
            let encoding = if big { UTF_16BE } else { UTF_16LE };
            let bytes = utf16(&text, big);
            prop_assert_eq!(lines(encoding, 100, bytes.chunks(step)), lines(encoding, 100, [&bytes[..]]));
            prop_assert_eq!(lines(encoding, 8, bytes.chunks(step)), lines(UTF_8, 8, [text.as_bytes()]));
        }
    }
}
