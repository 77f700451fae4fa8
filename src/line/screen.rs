//! Lines of an output as a terminal would show them: [`Redraw`] in front of [`LineSplitter`].

use super::{Line, LineSplitter, Redraw, RedrawOutput};

/// Bytes to lines, drawings folded.
#[derive(Debug)]
pub struct Screen {
    lines: LineSplitter,
    redraw: Option<Redraw>,
}

impl Screen {
    /// `draws` says that this is the output of a program, which may draw; a file is never read on from amid a drawing, so
    /// there only CR folds, as `lines` says.
    pub fn new(lines: LineSplitter, draws: bool) -> Self {
        Self { lines, redraw: draws.then(Redraw::default) }
    }

    /// Gives `sink` each line that `chunk` completes.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Line<'_>)) {
        let lines = &mut self.lines;
        match &mut self.redraw {
            Some(redraw) => redraw.push(chunk, |part| push_part(lines, part, &mut sink)),
            None => lines.push(chunk, sink),
        }
    }

    /// Whether a block of lines is being drawn anew; it is held until [`settle`](Self::settle).
    pub fn is_drawing(&self) -> bool {
        self.redraw.as_ref().is_some_and(|redraw| redraw.open().is_some())
    }

    /// Gives out the block that was drawn.
    pub fn settle(&mut self, mut sink: impl FnMut(Line<'_>)) {
        let lines = &mut self.lines;
        if let Some(redraw) = &mut self.redraw {
            redraw.settle(|part| push_part(lines, part, &mut sink));
        }
    }

    /// Gives out what there is, since nothing more can come.
    pub fn finish(&mut self, mut sink: impl FnMut(Line<'_>)) {
        self.settle(&mut sink);
        self.lines.finish(sink);
    }

    /// What is to be seen of the line that is not finished.
    pub fn open(&self) -> &[u8] {
        self.redraw.as_ref().and_then(Redraw::open).unwrap_or(self.lines.open())
    }

    /// See [`LineSplitter::held`]; exact where nothing draws.
    pub fn held(&self) -> u64 {
        self.lines.held() + u64::from(self.is_drawing())
    }
}

fn push_part(lines: &mut LineSplitter, part: RedrawOutput<'_>, sink: &mut impl FnMut(Line<'_>)) {
    match part {
        RedrawOutput::Bytes(bytes) => lines.push(bytes, sink),
        RedrawOutput::Erase => lines.erase(),
    }
}
