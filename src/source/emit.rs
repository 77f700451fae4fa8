//! The last step of a line before it is stored: secrets are redacted, and the result is passed to the progress
//! recognisers.

use crate::config::Stream;
use crate::event::{Flags, Origin, Time};
use crate::line::{Line, Redactor};
use crate::stream::Batch;

use super::progress::SourceProgress;

/// The redaction of a line, if it is configured.
pub(super) struct Redaction<'a> {
    pub(super) redact: &'a mut Option<Redactor>,
    pub(super) max_line: usize,
}

/// The redactor of this stream if redaction is configured, and the maximum size of a piece of input for it.
pub(crate) fn redact(spec: &Stream) -> Option<(Redactor, usize)> {
    let own = spec.redact.as_ref()?.iter().map(|pattern| pattern.0.clone()).collect();
    Some(Redactor::new(own, spec.max_line))
}

/// The name of an origin without secrets, since a client that pushes lines chooses it.
pub(super) fn redact_origin(redact: Option<&Redactor>, origin: Origin) -> Origin {
    let name = redact.map(|redact| redact.redact_name(origin.as_str())).filter(|name| name != origin.as_str());
    name.map_or(origin, |name| Origin::from(&*name))
}

/// Redacts a line, adds it to the batch, and passes it to `progress`.
pub(super) fn emit(
    at: usize,
    line: Line<'_>,
    read: Time,
    origin: &Origin,
    cleaner: &mut Redaction<'_>,
    mut progress: Option<&mut SourceProgress>,
    batch: &mut Batch,
) {
    let Some(redact) = cleaner.redact else { return append(at, line, read, origin, progress, batch) };
    redact.redact_line(line, cleaner.max_line, &mut |line| {
        append(at, line, read, origin, progress.as_deref_mut(), batch);
    });
    batch.redacted(redact.take_count());
}

fn append(
    at: usize,
    line: Line<'_>,
    read: Time,
    origin: &Origin,
    progress: Option<&mut SourceProgress>,
    batch: &mut Batch,
) {
    let continued = if line.continued { Flags::CONTINUED } else { Flags::NONE };
    let flags = if line.partial { continued.with(Flags::PARTIAL) } else { continued };
    if let Some(progress) = progress {
        progress.line(at, line.text, flags, read);
    }
    batch.line(read, origin, flags, line.text);
}
