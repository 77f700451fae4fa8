//! `EnvelopeSplitter`: where reads end never shows, each line comes once, and the text in an envelope is that of the program.

use rtlogd::line::{Envelope, EnvelopeFormat, EnvelopeSplitter, EnvelopeStream};
use serde_json::Value;

use super::{choices, reads};

/// An envelope as it came out: where its line begins, its stream, its text, and whether a newline follows.
type Given = (u64, EnvelopeStream, Vec<u8>, bool);

/// The choices: the format, and where reads end.
pub fn envelopes(data: &[u8]) {
    let ([format, ends], text) = choices(data);
    let format = if format & 1 == 0 { EnvelopeFormat::Cri } else { EnvelopeFormat::Docker };
    let given = read(format, &[text]);
    assert_eq!(read(format, &reads(text, ends)), given, "{format:?}: reads end elsewhere");
    let mut starts = 0;
    let mut given = given.iter();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (whole, is_ended) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        // At the start of a file, there may be a byte order mark.
        let whole = if starts == 0 { whole.strip_prefix(b"\xef\xbb\xbf").unwrap_or(whole) } else { whole };
        if is_ended || !whole.is_empty() {
            let (start, stream, text, newline) = given.next().expect("each line comes out");
            assert_eq!(*start, starts, "{format:?}: {whole:?} begins elsewhere");
            match (stream, format) {
                (EnvelopeStream::Plain, _) => assert_eq!((text.as_slice(), *newline), (whole, is_ended), "{format:?}"),
                (_, EnvelopeFormat::Cri) => assert!(is_ended && whole.ends_with(text), "{whole:?} {text:?}"),
                (_, EnvelopeFormat::Docker) => {
                    assert!(!newline);
                    by_another_parser(whole, text);
                }
            }
        }
        starts += line.len() as u64;
    }
    assert_eq!(given.next(), None, "{format:?}: more than there was");
}

fn read(format: EnvelopeFormat, pieces: &[&[u8]]) -> Vec<Given> {
    let mut splitter = EnvelopeSplitter::new(format);
    let mut given = Vec::new();
    let mut keep = |start, envelope: Envelope<'_>| {
        given.push((start, envelope.stream, envelope.text.into_owned(), envelope.newline));
    };
    for piece in pieces {
        splitter.push(piece, &mut keep);
    }
    splitter.finish(&mut keep);
    assert_eq!(splitter.line_start(), splitter.received(), "everything was passed on");
    given
}

/// The text is what a parser says that knows no bytes but those of UTF-8.
fn by_another_parser(line: &[u8], text: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<Value>(line) {
        assert_eq!(value["log"].as_str().map(str::as_bytes), Some(text), "{}", String::from_utf8_lossy(line));
    }
}
