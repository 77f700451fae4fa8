//! Bytes to lines: line ends, the length limit, redraws, and the unfinished line at the end.

use memchr::{memchr_iter, memchr2_iter};
use serde::{Deserialize, Serialize};

use super::CarriageReturnMode;
use super::section_header::is_section_header;
use crate::event::escape_at_end;

/// The smallest length limit, in bytes: the longest UTF-8 character, so that a piece can end at a character boundary.
pub(super) const MIN_LINE_LIMIT: usize = 4;

/// The maximum capacity kept for the next unfinished line, in bytes, so that one long line does not occupy its size
/// forever.
const MAX_KEPT_CAPACITY: usize = 64 << 10;

/// A line, or a piece of one, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The bytes of the line, whatever they are.
    pub text: &'a [u8],
    /// The line was longer than the limit, and continues in the next one.
    pub continued: bool,
    /// The line ended without a line end.
    pub partial: bool,
    /// The number of source bytes that the line took: from the end of the previous output to its own end.
    pub source: u64,
}

/// The number of source bytes for the bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceUnit {
    /// The same number: the text is unchanged.
    #[default]
    Bytes,
    /// The text was UTF-16: two bytes for each code unit.
    Utf16,
}

impl SourceUnit {
    pub(super) fn source_bytes(self, text: &[u8]) -> u64 {
        match self {
            Self::Bytes => text.len() as u64,
            Self::Utf16 => {
                let units = |byte: &u8| match byte {
                    0x80..=0xBF => 0,
                    0xF0..=0xFF => 4,
                    _ => 2,
                };
                text.iter().map(units).sum()
            }
        }
    }
}

/// Splits bytes into lines. Holds the unfinished line at the end, which is at most the length limit and one read.
///
/// A line ends with LF; one CR before it is dropped. [`CarriageReturnMode`] gives the meaning of a bare CR. A line that
/// is longer than the limit is emitted in pieces, each but the last `continued`; a piece does not end within a UTF-8
/// character or an escape sequence, except one that is longer than a piece. A redraw replaces only text that was not
/// emitted yet: after a piece was emitted, the line ends at the CR.
#[derive(Debug)]
pub struct LineSplitter {
    max: usize,
    mode: CarriageReturnMode,
    /// The unfinished line; in `Fold`, its visible text.
    text: Vec<u8>,
    source_unit: SourceUnit,
    /// Offsets in the source, in its bytes: the end of the received bytes, the end of `text`, and the end of the
    /// output.
    received: u64,
    text_end: u64,
    emitted: u64,
    /// The last byte was a CR. `Fold`: the next text replaces `text`, unless it is LF. `Split`: an LF belongs to the
    /// CR.
    after_cr: bool,
    /// A piece of this line was emitted.
    piece_emitted: bool,
}

/// The state of a [`LineSplitter`] for another process: its unfinished line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedLine {
    text: Vec<u8>,
    after_cr: bool,
    piece_emitted: bool,
}

impl LineSplitter {
    /// Splits lines of at most `max_line` bytes (and at least 4).
    pub fn new(max_line: usize, mode: CarriageReturnMode) -> Self {
        Self {
            max: max_line.max(MIN_LINE_LIMIT),
            mode,
            text: Vec::new(),
            source_unit: SourceUnit::Bytes,
            received: 0,
            text_end: 0,
            emitted: 0,
            after_cr: false,
            piece_emitted: false,
        }
    }

    /// The same splitter for decoded text, whose source offsets are counted in `unit`.
    #[must_use]
    pub fn with_source_unit(self, unit: SourceUnit) -> Self {
        Self { source_unit: unit, ..self }
    }

    /// Counts source offsets of the following text in `unit`, since another file begins.
    pub fn set_source_unit(&mut self, unit: SourceUnit) {
        self.source_unit = unit;
    }

    /// Passes each line that `chunk` completes to `sink`. A line that lies entirely in `chunk` is not copied.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Line<'_>)) {
        let mut from = 0;
        match self.mode {
            CarriageReturnMode::Keep => {
                for at in memchr_iter(b'\n', chunk) {
                    let text = &chunk[from..at];
                    from = at + 1;
                    if self.source_unit == SourceUnit::Bytes && self.is_whole(text) {
                        // Most lines are, and are passed on as they are.
                        self.received += text.len() as u64 + 1;
                        let text = text.strip_suffix(b"\r").unwrap_or(text);
                        let source = self.received - self.emitted;
                        self.emitted = self.received;
                        sink(Line { text, continued: false, partial: false, source });
                    } else {
                        self.end(text, false, &mut sink);
                    }
                }
            }
            CarriageReturnMode::Fold | CarriageReturnMode::Split => {
                for at in memchr2_iter(b'\n', b'\r', chunk) {
                    let text = &chunk[from..at];
                    if chunk[at] == b'\n' {
                        self.line_feed(text, &mut sink);
                    } else {
                        self.carriage_return(text, &mut sink);
                    }
                    from = at + 1;
                }
            }
        }
        self.extend(&chunk[from..], &mut sink);
    }

    /// The state for another process.
    pub fn pack(&self) -> PackedLine {
        let Self { text, after_cr, piece_emitted, .. } = self;
        PackedLine { text: text.clone(), after_cr: *after_cr, piece_emitted: *piece_emitted }
    }

    /// Continues a packed state. No source bytes are held: they were received by the other process.
    pub fn unpack(&mut self, packed: PackedLine) {
        self.text = packed.text;
        (self.after_cr, self.piece_emitted) = (packed.after_cr, packed.piece_emitted);
    }

    /// Emits the unfinished line, if there is one, as `partial`. The next byte begins a new line.
    pub fn finish(&mut self, mut sink: impl FnMut(Line<'_>)) {
        if self.text.is_empty() {
            (self.emitted, self.after_cr) = (self.received, false);
        } else {
            self.end(&[], true, &mut sink);
        }
    }

    /// The unfinished line without emitted pieces; in [`CarriageReturnMode::Fold`], the text that a terminal would
    /// show.
    pub fn open(&self) -> &[u8] {
        &self.text
    }

    /// The number of source bytes since the last emitted byte: reading the source again from there gives the same
    /// lines. (Except in [`CarriageReturnMode::Split`] between a CR and its LF.)
    pub fn held(&self) -> u64 {
        self.received - self.emitted
    }

    /// Counts source bytes that precede the next byte and are not a part of the text.
    pub fn add_held(&mut self, count: u64) {
        self.received += count;
    }

    /// Takes the unfinished line, with the number of source bytes that were held, since another splitter continues it. If
    /// pieces of the line were emitted, the line ends after them.
    pub fn take_open(&mut self, mut sink: impl FnMut(Line<'_>)) -> (Vec<u8>, u64) {
        let text = std::mem::take(&mut self.text);
        if std::mem::take(&mut self.piece_emitted) {
            sink(Line { text: &[], continued: false, partial: false, source: 0 });
        }
        let held = self.held();
        (self.emitted, self.after_cr) = (self.received, false);
        (text, held)
    }

    /// Returns whether a text that a line end follows is all of a line, and fits into one piece.
    #[inline]
    fn is_whole(&self, text: &[u8]) -> bool {
        self.text.is_empty() && !self.piece_emitted && text.len() <= self.max
    }

    fn line_feed(&mut self, text: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        match self.mode {
            CarriageReturnMode::Split if self.after_cr && text.is_empty() => {
                self.after_cr = false;
                self.received += self.source_unit.source_bytes(b"\n");
                self.emitted = self.received;
            }
            _ => {
                self.redraw(text, sink);
                self.end(text, false, sink);
            }
        }
    }

    fn carriage_return(&mut self, text: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        if self.mode == CarriageReturnMode::Split {
            self.end(text, false, sink);
        } else {
            self.extend(text, sink);
            self.received += self.source_unit.source_bytes(b"\r");
        }
        self.after_cr = true;
    }

    /// Handles bytes after a CR that was not a line end: in `Fold` they replace the text before it, except the header of a
    /// section, behind which they are its title.
    fn redraw(&mut self, text: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        if text.is_empty() || !self.after_cr {
            return;
        }
        if self.piece_emitted {
            self.end_line(0, false, sink);
        }
        if is_section_header(&self.text) {
            self.text.push(b' ');
        } else {
            self.text.clear();
        }
        self.after_cr = false;
    }

    /// Adds text to a line whose end has not come.
    fn extend(&mut self, text: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        if text.is_empty() {
            return;
        }
        self.redraw(text, sink);
        self.text.extend_from_slice(text);
        self.received += self.source_unit.source_bytes(text);
        self.text_end = self.received;
        // A CR at the end may be part of a line end, and then is not part of the text.
        let sure = self.text.len() - usize::from(self.mode == CarriageReturnMode::Keep && text.ends_with(b"\r"));
        let mut given = 0;
        while sure - given > self.max {
            let piece = prefix_at_boundary(&self.text[given..], self.max);
            given += piece.len();
            let end = self.received - self.source_unit.source_bytes(&self.text[given..]);
            sink(Line { text: piece, continued: true, partial: false, source: end - self.emitted });
            self.emitted = end;
        }
        if given > 0 {
            self.text.drain(..given);
            self.piece_emitted = true;
        }
    }

    /// Ends the line after `text`, with a newline unless it is `partial`.
    fn end(&mut self, text: &[u8], partial: bool, sink: &mut impl FnMut(Line<'_>)) {
        let newline = if partial { 0 } else { self.source_unit.source_bytes(b"\n") };
        if self.text.is_empty() {
            // The text is not copied, since nothing is held.
            if !text.is_empty() {
                self.received += self.source_unit.source_bytes(text);
                self.text_end = self.received;
            }
            self.received += newline;
            self.emit_pieces(text, partial, sink);
        } else {
            self.text.extend_from_slice(text);
            if !text.is_empty() {
                self.received += self.source_unit.source_bytes(text);
                self.text_end = self.received;
            }
            self.end_line(newline, partial, sink);
        }
    }

    /// Ends the line after the held text and `newline` more bytes.
    fn end_line(&mut self, newline: u64, partial: bool, sink: &mut impl FnMut(Line<'_>)) {
        self.received += newline;
        let text = std::mem::take(&mut self.text);
        self.emit_pieces(&text, partial, sink);
        self.text = text;
        self.text.clear();
        self.text.shrink_to(MAX_KEPT_CAPACITY);
    }

    /// Emits a whole line, whose text ends at `text_end` in the source, and its line end at `received`.
    fn emit_pieces(&mut self, mut rest: &[u8], partial: bool, sink: &mut impl FnMut(Line<'_>)) {
        let mut text_end = self.text_end.max(self.emitted);
        if self.mode == CarriageReturnMode::Keep
            && !partial
            && let Some(line) = rest.strip_suffix(b"\r")
        {
            rest = line;
            text_end -= self.source_unit.source_bytes(b"\r");
        }
        while rest.len() > self.max {
            let piece = prefix_at_boundary(rest, self.max);
            rest = &rest[piece.len()..];
            let end = text_end - self.source_unit.source_bytes(rest);
            sink(Line { text: piece, continued: true, partial: false, source: end - self.emitted });
            self.emitted = end;
        }
        sink(Line { text: rest, continued: false, partial, source: self.received - self.emitted });
        self.emitted = self.received;
        (self.after_cr, self.piece_emitted) = (false, false);
    }
}

/// The longest prefix of `text` of at most `max` bytes that does not end within a UTF-8 character or an escape sequence. It
/// does, and has `max` bytes, if the text begins with a sequence that is longer, or is no UTF-8. At least four bytes must
/// fit, and the text must be longer.
pub(super) fn prefix_at_boundary(text: &[u8], max: usize) -> &[u8] {
    let prefix = prefix_at_character(text, max);
    match escape_at_end(prefix) {
        Some(at) if at > 0 => &prefix[..at],
        Some(_) | None => prefix,
    }
}

/// The first `max` bytes of `text`, which is longer; up to three fewer if that keeps a UTF-8 character whole.
fn prefix_at_character(text: &[u8], max: usize) -> &[u8] {
    let is_inside = |at: usize| text[at] & 0xC0 == 0x80;
    if !is_inside(max) {
        return &text[..max];
    }
    let lead = (max - 3..max).rev().find(|&at| !is_inside(at));
    let splits = |at: usize| match text[at] {
        0xC2..=0xDF => at + 2 > max,
        0xE0..=0xEF => at + 3 > max,
        0xF0..=0xF4 => at + 4 > max,
        _ => false,
    };
    let end = lead.filter(|&at| at > 0 && splits(at)).unwrap_or(max);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use CarriageReturnMode::{Fold, Keep, Split};
    use proptest::prelude::*;

    type EmittedLine = (Vec<u8>, bool, bool);

    fn collect_into(given: &mut Vec<EmittedLine>) -> impl FnMut(Line<'_>) {
        |line| given.push((line.text.to_vec(), line.continued, line.partial))
    }

    /// All lines of `chunks`: a continued piece is followed by `+`, a partial line by `...`.
    fn lines(max: usize, mode: CarriageReturnMode, chunks: &[&str]) -> Vec<String> {
        let mut lines = LineSplitter::new(max, mode);
        let mut given = Vec::new();
        for chunk in chunks {
            lines.push(chunk.as_bytes(), collect_into(&mut given));
        }
        lines.finish(collect_into(&mut given));
        let show = |(text, continued, partial): &EmittedLine| {
            let mark = if *continued {
                "+"
            } else if *partial {
                "..."
            } else {
                ""
            };
            String::from_utf8_lossy(text).into_owned() + mark
        };
        given.iter().map(show).collect()
    }

    #[test]
    fn line_ends() {
        let table: &[(CarriageReturnMode, &[&str], &[&str])] = &[
            (Keep, &["a\nb\n"], &["a", "b"]),
            (Keep, &["a\n\n"], &["a", ""]),
            (Keep, &["a"], &["a..."]),
            (Keep, &["a\r\n"], &["a"]),
            (Keep, &["a\r", "\nb"], &["a", "b..."]),
            (Keep, &["a\r\r\n"], &["a\r"]),
            (Keep, &["a\rb\r"], &["a\rb\r..."]),
            (Keep, &["\r\n"], &[""]),
            (Fold, &["a\r\n"], &["a"]),
            (Fold, &["a\r\r\n"], &["a"]),
            (Fold, &["a\r", "\r", "\n"], &["a"]),
            (Fold, &["10%\r20%\r30%\nx\n"], &["30%", "x"]),
            (Fold, &["10%\r2", "0%\r"], &["20%..."]),
            (Fold, &["\r10%\r20%\n"], &["20%"]),
            (Fold, &["\r"], &[]),
            (Fold, &["\r\n"], &[""]),
            (Fold, &["section_start:1:a\r", "\x1b[0KA\n"], &["section_start:1:a \x1b[0KA"]),
            (Fold, &["10%\rsection_end:1:a\r\x1b[0K\n"], &["section_end:1:a \x1b[0K"]),
            (Fold, &["travis_fold:end:a\r", "\n"], &["travis_fold:end:a"]),
            (Fold, &["section_start:1:a\rA 10%\rA 20%\n"], &["A 20%"]),
            (Split, &["a\r\nb\rc"], &["a", "b", "c..."]),
            (Split, &["a\r", "\nb"], &["a", "b..."]),
            (Split, &["a\r\r\n"], &["a", ""]),
            (Split, &["a\r\n\n"], &["a", ""]),
            (Split, &["a\r"], &["a"]),
        ];
        for (mode, chunks, expected) in table {
            assert_eq!(&lines(100, *mode, chunks), expected, "{mode:?} {chunks:?}");
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let table: &[(CarriageReturnMode, &[&str], &[&str])] = &[
            (Keep, &["abcd\n"], &["abcd"]),
            (Keep, &["abcd\r\n"], &["abcd"]),
            (Keep, &["abcd", "\r", "\n"], &["abcd"]),
            (Keep, &["abcd\r"], &["abcd+", "\r..."]),
            (Keep, &["abcd\rx"], &["abcd+", "\rx..."]),
            (Keep, &["abcdefghi\n"], &["abcd+", "efgh+", "i"]),
            (Keep, &["abc", "de"], &["abcd+", "e..."]),
            (Keep, &["abcä\n"], &["abc+", "ä"]),
            (Keep, &["ab€\n"], &["ab+", "€"]),
            (Keep, &["a😀\n"], &["a+", "😀"]),
            (Keep, &["😀😀\n"], &["😀+", "😀"]),
            (Keep, &["abää\n"], &["abä+", "ä"]),
            (Keep, &["ab\x1b[1mc\n"], &["ab+", "\x1b[1m+", "c"]),
            (Keep, &["a\x1b", "[m", "bc\n"], &["a+", "\x1b[mb+", "c"]),
            (Keep, &["a\x1b[1;31mb\n"], &["a+", "\x1b[1;+", "31mb"]),
            (Keep, &["a\x1b]8;;\x1b\\b\n"], &["a+", "\x1b]8;+", ";\x1b\\b"]),
            (Keep, &["ab\u{9b}1mc\n"], &["ab+", "\u{9b}1m+", "c"]),
            (Keep, &["abc\x1bMd\n"], &["abc+", "\x1bMd"]),
            (Fold, &["abcdef\rx\n"], &["abcd+", "ef", "x"]),
            (Fold, &["abcdef\r", "\n"], &["abcd+", "ef"]),
            (Split, &["abcdef\rx\n"], &["abcd+", "ef", "x"]),
        ];
        for (mode, chunks, expected) in table {
            assert_eq!(&lines(4, *mode, chunks), expected, "{mode:?} {chunks:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_cut_at_the_limit() {
        let mut given = Vec::new();
        LineSplitter::new(4, Keep).push(&[0x80; 9], collect_into(&mut given));
        LineSplitter::new(4, Keep).push(b"ab\xc3\x80\x80\x80", collect_into(&mut given));
        let text: Vec<_> = given.iter().map(|line| &*line.0).collect();
        assert_eq!(text, [&[0x80; 4][..], &[0x80; 4], b"ab\xc3\x80"]);
    }

    #[test]
    fn a_progress_bar_of_a_gigabyte_costs_nothing() {
        let mut lines = LineSplitter::new(1000, Fold);
        for _ in 0..1000 {
            lines.push(&b"\r[=====>    ] 50%".repeat(100), |_| panic!("no line is complete"));
        }
        assert_eq!(lines.open(), b"[=====>    ] 50%");
        assert_eq!(lines.held(), 1_700_000);
        assert!(lines.text.capacity() < 1000);
    }

    /// The header is examined whenever something is added to it.
    #[test]
    fn headers_of_sections_without_a_title_are_not_kept_for_ever() {
        let mut lines = LineSplitter::new(1 << 20, Fold);
        for _ in 0..10_000 {
            lines.push(b"section_end:1:a\r", |_| panic!("no line is complete"));
            assert!(lines.open().len() < 2000);
        }
    }

    /// The same result by definition: from the whole text, one byte at a time.
    fn model(max: usize, mode: CarriageReturnMode, text: &[u8]) -> Vec<EmittedLine> {
        let mut ended: Vec<(Vec<u8>, bool)> = Vec::new();
        let (mut line, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let rest = &text[at..];
            let run = rest.iter().take_while(|&&byte| byte == b'\r').count();
            let feed = |count: usize| rest.get(count) == Some(&b'\n');
            match (mode, rest[0]) {
                (Keep | Split, b'\r') if feed(1) => {
                    ended.push((std::mem::take(&mut line), false));
                    at += 1;
                }
                (_, b'\n') | (Split, b'\r') => ended.push((std::mem::take(&mut line), false)),
                (Fold, b'\r') => {
                    at += run - 1;
                    let last = at + 1 == text.len();
                    if !feed(run) && !last {
                        if line.len() > max {
                            ended.push((line.clone(), false));
                        }
                        if line.len() <= max && is_section_header(&line) {
                            line.push(b' ');
                        } else {
                            line.clear();
                        }
                    }
                }
                (_, byte) => line.push(byte),
            }
            at += 1;
        }
        if !line.is_empty() {
            ended.push((line, true));
        }
        let mut given = Vec::new();
        for (line, partial) in ended {
            let mut rest = &line[..];
            while rest.len() > max {
                let piece = prefix_at_boundary(rest, max);
                given.push((piece.to_vec(), true, false));
                rest = &rest[piece.len()..];
            }
            given.push((rest.to_vec(), false, partial));
        }
        given
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let bit = prop_oneof![
            3 => Just(b"a".to_vec()),
            2 => Just(b"\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            1 => Just(b"\r\n".to_vec()),
            1 => Just("ä€😀".as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
            1 => Just(b"bcdefghijkl".to_vec()),
            1 => Just(b"travis_fold:\r".to_vec()),
        ];
        proptest::collection::vec(bit, 0..40).prop_map(|bits| bits.concat())
    }

    proptest! {
        #[test]
        fn where_reads_end_never_shows(
            text in text(), max in 4usize..20, mode in prop_oneof![Just(Fold), Just(Split), Just(Keep)],
            ends in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let mut lines = LineSplitter::new(max, mode);
            let (mut given, mut rest) = (Vec::new(), &text[..]);
            for end in ends.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*end).min(rest.len()));
                lines.push(chunk, collect_into(&mut given));
                rest = after;
                // Memory: the limit, one read, and a CR that may not be part of the text.
                prop_assert!(lines.open().len() <= max + 1);
            }
            lines.finish(collect_into(&mut given));
            prop_assert_eq!(&given, &model(max, mode, &text));
        }

        #[test]
        fn from_the_first_held_byte_on_the_rest_reads_the_same(text in text(), max in 4usize..12, at in 0usize..60) {
            let at = at.min(text.len());
            let mut given = Vec::new();
            let mut lines = LineSplitter::new(max, Keep);
            lines.push(&text[..at], collect_into(&mut given));
            let position = at - usize::try_from(lines.held()).unwrap();
            let mut lines = LineSplitter::new(max, Keep);
            lines.push(&text[position..], collect_into(&mut given));
            lines.finish(collect_into(&mut given));
            prop_assert_eq!(&given, &model(max, Keep, &text));
        }

        #[test]
        fn consumed_and_held_bytes_are_all_that_arrived(
            text in text(), max in 4usize..12, mode in prop_oneof![Just(Fold), Just(Split), Just(Keep)], step in 1usize..9,
        ) {
            let mut lines = LineSplitter::new(max, mode);
            let mut took = 0;
            for chunk in text.chunks(step) {
                lines.push(chunk, |line| took += line.source);
            }
            // In `Split`, an LF that belongs to the CR before it comes after its line.
            let late = if mode == Split { text.windows(2).filter(|two| two == b"\r\n").count() } else { 0 };
            let all = took + lines.held();
            prop_assert!(all <= text.len() as u64 && all + late as u64 >= text.len() as u64);
        }

        #[test]
        fn joined_again_a_kept_line_is_what_was_written(text in text(), max in 4usize..12) {
            let mut joined = Vec::new();
            let mut lines = LineSplitter::new(max, Keep);
            let mut join = |line: Line<'_>| {
                joined.extend_from_slice(line.text);
                if !line.continued && !line.partial { joined.push(b'\n'); }
            };
            lines.push(&text, &mut join);
            lines.finish(&mut join);
            let plain = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            prop_assert_eq!(String::from_utf8_lossy(&joined), plain);
        }
    }
}
