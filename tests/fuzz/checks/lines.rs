//! `LineSplitter`: where reads end never shows, nothing is lost, and none is longer than its limit.

use rtlogd::line::{CarriageReturnMode, Decoder, Line, LineSplitter};

use super::{choices, reads};

/// A line as it came out: its text, whether it goes on, whether its end is missing, and what it took of the source.
type Given = (Vec<u8>, bool, bool, u64);

/// What is known after some bytes: the lines so far, what is open, and how much of the source is held.
#[derive(Debug, PartialEq)]
struct Seen {
    lines: Vec<Given>,
    open: Vec<u8>,
    held: u64,
}

/// The choices: what a CR means, the encoding, the limit, and where reads end.
pub fn lines(data: &[u8]) {
    let ([mode, encoding, limit, ends], text) = choices(data);
    let mode = [CarriageReturnMode::Keep, CarriageReturnMode::Fold, CarriageReturnMode::Split][usize::from(mode % 3)];
    let label = ["utf-8", "utf-16le", "utf-16be", "shift_jis", "gb18030", "windows-1252"][usize::from(encoding % 6)];
    let max = 4 + usize::from(limit % 32);
    let pieces = reads(text, ends);
    let whole = read(mode, label, max, &[text], true);
    assert_eq!(read(mode, label, max, &pieces, true), whole, "{mode:?} {label} {max}: reads end elsewhere");
    if let Some((_, before)) = pieces.split_last() {
        let begun = &text[..before.iter().map(|piece| piece.len()).sum()];
        let seen = read(mode, label, max, before, false);
        assert_eq!(seen, read(mode, label, max, &[begun], false), "{mode:?} {label} {max}: so does the last of them");
        let took: u64 = seen.lines.iter().map(|line| line.3).sum();
        let all = begun.len() as u64;
        // An LF in `Split` that belongs to the CR before it comes after its line.
        let late = if mode == CarriageReturnMode::Split { all } else { 0 };
        assert!(
            (all.saturating_sub(late)..=all).contains(&(took + seen.held)),
            "{mode:?} {label}: took {took} of {all}"
        );
    }
    for (line, ..) in &whole.lines {
        assert!(line.len() <= max, "{mode:?} {label}: {line:?} is longer than {max}");
    }
    if label == "utf-8" {
        assert_eq!(joined(&whole.lines), by_definition(mode, max, text), "{mode:?} {max}: something is lost");
    } else {
        assert!(whole.lines.iter().all(|line| std::str::from_utf8(&line.0).is_ok()), "{label}: not decoded");
    }
}

fn read(mode: CarriageReturnMode, label: &str, max: usize, pieces: &[&[u8]], last: bool) -> Seen {
    let mut decoder = Decoder::new(encoding_rs::Encoding::for_label(label.as_bytes()).expect("it is in the standard"));
    let mut lines = LineSplitter::new(max, mode).with_source_unit(decoder.source_unit());
    let mut given = Vec::new();
    let mut keep = |line: Line<'_>| given.push((line.text.to_vec(), line.continued, line.partial, line.source));
    for piece in pieces {
        let text = decoder.decode_chunk(piece, false).into_owned();
        lines.push(&text, |line| decoder.decode_line(line, max, &mut keep));
    }
    if last {
        let text = decoder.decode_chunk(b"", true).into_owned();
        lines.push(&text, |line| decoder.decode_line(line, max, &mut keep));
        lines.finish(|line| decoder.decode_line(line, max, &mut keep));
    }
    Seen { open: lines.open().to_vec(), held: lines.held() + decoder.held(), lines: given }
}

/// The lines, each with its LF, if it had one.
fn joined(lines: &[Given]) -> Vec<u8> {
    let mut all = Vec::new();
    for (text, continued, partial, _) in lines {
        all.extend_from_slice(text);
        all.extend((!continued && !partial).then_some(b'\n'));
    }
    all
}

/// The same from the words of [`CarriageReturnMode`], the whole text at hand.
fn by_definition(mode: CarriageReturnMode, max: usize, text: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (line, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, b"\n"));
        match mode {
            CarriageReturnMode::Keep if end.is_empty() => all.extend_from_slice(line),
            CarriageReturnMode::Keep => all.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line)),
            CarriageReturnMode::Split => {
                let line = if end.is_empty() { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
                all.extend(line.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }));
            }
            CarriageReturnMode::Fold => {
                let seen = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
                let mut drawings = line[..seen].split(|byte| *byte == b'\r').peekable();
                while let Some(drawing) = drawings.next() {
                    if drawings.peek().is_none() {
                        all.extend_from_slice(drawing);
                    } else if drawing.len() > max {
                        // The first pieces were emitted already, so the line ends at the CR.
                        all.extend_from_slice(drawing);
                        all.push(b'\n');
                    }
                }
            }
        }
        all.extend_from_slice(end);
    }
    all
}
