//! From bytes to lines, without IO: what a source read goes in as it was read, and comes out as lines.
//!
//! Knows nothing of files, pipes and time. Where a read ended never shows in what comes out.

mod split;
mod redraw;
mod screen;

pub use redraw::{Part, Redraw};
pub use screen::Screen;
pub use split::{Line, Lines};

/// What a carriage return that does not belong to a line end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarriageReturn {
    /// A redraw, as a terminal would show it: what follows replaces the text before it. A progress bar is one line.
    #[default]
    Fold,
    /// A line end: each state of a progress bar is a line.
    Split,
    /// A byte like any other.
    Keep,
}
