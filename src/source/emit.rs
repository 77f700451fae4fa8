//! The last step of a line before it is stored: secrets are redacted, and the result is passed to the progress
//! recognisers.

use crate::config::Stream;
use crate::event::{Flags, Origin, Time};
use crate::line::{Line, Redactor};
use crate::stream::Batch;

use super::envelope::EnvelopeTrack;
use super::progress::SourceProgress;

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

/// The output of one origin of a source.
#[derive(Debug)]
pub(super) struct OriginOutput {
    /// The number of the origin within its source.
    pub(super) number: usize,
    /// The name of the origin, without secrets.
    pub(super) origin: Origin,
    /// The time at which the last byte was read.
    pub(super) read: Time,
    /// Redacts secrets, if redaction is configured.
    pub(super) redact: Option<Redactor>,
    /// The longest line that is emitted, in bytes.
    pub(super) max_line: usize,
    /// The envelopes from which the text came, if it came from any.
    pub(super) envelopes: Option<EnvelopeTrack>,
    /// The level of the line whose next piece follows; no flags between lines.
    pub(super) level_of_pieces: Flags,
}

impl OriginOutput {
    /// Redacts a line, adds it to the batch, and passes it to `progress`.
    pub(super) fn emit(&mut self, line: Line<'_>, mut progress: Option<&mut SourceProgress>, batch: &mut Batch) {
        let Self { number, origin, read, redact, max_line, envelopes, level_of_pieces } = self;
        let mut append = |line: Line<'_>| {
            let continued = if line.continued { Flags::CONTINUED } else { Flags::NONE };
            let flags = if line.partial { continued.with(Flags::PARTIAL) } else { continued };
            if let Some(progress) = &mut progress {
                progress.line(*number, line.text, flags, *read);
            }
            // A piece in the middle of a line declares nothing: the line has the level of its first piece.
            let flags = flags.with(*level_of_pieces);
            match envelopes.as_mut().and_then(|envelopes| envelopes.take_line(line.source)) {
                Some(logged) => batch.logged_line(*read, logged, origin, flags, line.text),
                None => batch.line(*read, origin, flags, line.text),
            }
            *level_of_pieces = if line.continued { batch.last_flags().level_facts() } else { Flags::NONE };
        };
        match redact {
            Some(redact) => {
                redact.redact_line(line, *max_line, &mut append);
                batch.redacted(redact.take_count());
            }
            None => append(line),
        }
    }
}
