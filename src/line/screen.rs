//! Lines of an output as a terminal would show them: [`Redraw`] in front of [`LineSplitter`].

use super::{Line, LineSplitter, Redraw, RedrawOutput, SourceUnit};

/// Splits bytes into lines, with redraws folded.
#[derive(Debug)]
pub struct Screen {
    lines: LineSplitter,
    redraw: Option<Redraw>,
}

impl Screen {
    /// Creates the model. `draws` says that the bytes are the output of a program, which may redraw. A file is never
    /// continued from the middle of a redraw, so in a file only CR folds, as set in `lines`.
    pub fn new(lines: LineSplitter, draws: bool) -> Self {
        Self { lines, redraw: draws.then(Redraw::default) }
    }

    /// The same as [`LineSplitter::set_source_unit`].
    pub fn set_source_unit(&mut self, unit: SourceUnit) {
        self.lines.set_source_unit(unit);
    }

    /// Passes each line that `chunk` completes to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Line<'_>)) {
        let lines = &mut self.lines;
        match &mut self.redraw {
            Some(redraw) => redraw.push(chunk, |part| push_part(lines, part, &mut sink)),
            None => lines.push(chunk, sink),
        }
    }

    /// Returns whether a block of lines is being redrawn; it is held until [`settle`](Self::settle).
    pub fn is_drawing(&self) -> bool {
        self.redraw.as_ref().is_some_and(|redraw| redraw.open().is_some())
    }

    /// Emits the block that was drawn.
    pub fn settle(&mut self, mut sink: impl FnMut(Line<'_>)) {
        let lines = &mut self.lines;
        if let Some(redraw) = &mut self.redraw {
            redraw.settle(|part| push_part(lines, part, &mut sink));
        }
    }

    /// Emits everything held, since nothing more can come.
    pub fn finish(&mut self, mut sink: impl FnMut(Line<'_>)) {
        self.settle(&mut sink);
        self.lines.finish(sink);
    }

    /// The visible text of the unfinished line.
    pub fn open(&self) -> &[u8] {
        self.redraw.as_ref().and_then(Redraw::open).unwrap_or(self.lines.open())
    }

    /// The same as [`LineSplitter::held`]; exact only if nothing is redrawn.
    pub fn held(&self) -> u64 {
        self.lines.held() + u64::from(self.is_drawing())
    }
}

/// The part of a line that a terminal would show at its end: the text after the last carriage return that text follows.
/// If carriage returns are kept, the rest of the line is what was there before.
pub fn after_carriage_return(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    let begin = memchr::memrchr(b'\r', &line[..end]).map_or(0, |at| at + 1);
    &line[begin..end]
}

fn push_part(lines: &mut LineSplitter, part: RedrawOutput<'_>, sink: &mut impl FnMut(Line<'_>)) {
    match part {
        RedrawOutput::Bytes(bytes) => lines.push(bytes, sink),
        RedrawOutput::Erase => lines.erase(),
    }
}
