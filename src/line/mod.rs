//! From bytes to lines, without IO: what a source read goes in as it was read, and comes out as lines.
//!
//! Knows nothing of files, pipes and time. Where a read ended never shows in what comes out. The order: what is UTF-16
//! becomes UTF-8, [`LineSplitter`] cuts, a [`Decoder`] makes UTF-8 of other encodings, [`LineJoiner`] joins, [`Redactor`] takes secrets out.

mod split;
mod redraw;
mod screen;
mod encoding;
mod joiner;
mod redact;

pub use encoding::Decoder;
pub use joiner::{LineJoiner, MultilineRule};
pub use redact::{BadCarry, Carry, MAX_SECRET_LINES, REDACTION_MARK, Redactor};
pub use redraw::{Redraw, RedrawOutput};
pub use screen::Screen;
pub use split::{Line, LineSplitter, SourceUnit};

/// What a carriage return that does not belong to a line end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarriageReturnMode {
    /// A redraw, as a terminal would show it: what follows replaces the text before it. A progress bar is one line.
    #[default]
    Fold,
    /// A line end: each state of a progress bar is a line.
    Split,
    /// A byte like any other.
    Keep,
}
