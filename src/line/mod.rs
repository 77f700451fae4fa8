//! Bytes to lines, without I/O: the bytes that a source read go in, and lines come out.
//!
//! This layer knows nothing of files, pipes and time. The boundaries of reads never affect the result. The steps are:
//! [`EnvelopeSplitter`] unwraps the lines of container runtimes (such files are never in UTF-16), a [`Decoder`] turns
//! UTF-16 into UTF-8, [`Screen`] draws what a program redraws and splits the rest into lines with [`LineSplitter`] (a
//! plain file is only split), the [`Decoder`] converts other encodings to UTF-8, [`LineJoiner`] joins lines, and
//! [`Redactor`] removes secrets.
//!
//! Reading order: `envelope`, `encoding`, `split`, `screen`, `joiner`, `redact`.

mod envelope;
mod section_header;
mod split;
mod screen;
mod encoding;
mod joiner;
mod redact;

pub use encoding::{Decoder, PackedDecoder, utf16_mark};
pub use envelope::{Envelope, EnvelopeFormat, EnvelopeSplitter, EnvelopeStream, MAX_ENVELOPE_SIZE};
pub use joiner::{LineJoiner, MultilineRule, PackedJoin};
pub use redact::{BadCarry, Carry, MAX_SECRET_LINES, PackedRedaction, REDACTION_MARK, Redactor};
pub use screen::{MAX_PACKED_SIZE, PIPE_COLUMNS, PIPE_ROWS, PackedOutput, Screen, UnpackError};
pub use section_header::after_carriage_return;
pub use split::{Line, LineSplitter, SourceUnit};

/// The meaning of a carriage return that is not part of a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CarriageReturnMode {
    /// A redraw, as on a terminal: the text after it replaces the text before it. A progress bar is one line.
    #[default]
    Fold,
    /// A line end: each state of a progress bar is a line.
    Split,
    /// A byte like any other.
    Keep,
}
