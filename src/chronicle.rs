//! `rtlogd history`: what a state directory holds, in words, and the events of a stream as NDJSON. Needs no daemon, and
//! disturbs none.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::event::StreamName;
use crate::stream::{Browsed, HistoryError, browse, read_events};
use crate::wire::{Encoder, Encoding};

/// What the state directory holds, some lines for each stream.
pub(crate) fn describe(directory: &Path) -> Result<String, HistoryError> {
    let streams = browse(directory)?;
    if streams.is_empty() {
        return Ok("no streams\n".to_owned());
    }
    Ok(streams.iter().map(one).collect())
}

fn one(stream: &Browsed) -> String {
    let Browsed { name, ids, newest, files, bytes, places, private, closed, damage } = stream;
    let mut text = match ids {
        Some((first, last)) => format!("{name}: {first} to {last}, newest {newest}"),
        None => format!("{name}: no events"),
    };
    let end = if *closed { "closed in peace" } else { "in use, or not closed in peace" };
    let mut line = |line: &str| writeln!(text, "{line}").unwrap_or_default();
    line("");
    line(&format!("  files: {files} with {bytes} bytes, {end}"));
    if *private {
        line("  private: reading it needs a token");
    }
    for (key, place) in places {
        line(&format!("  place: {key} {place}"));
    }
    for damage in damage {
        line(&format!("  damaged: {damage}"));
    }
    text
}

/// Prints all events of a stream, a JSON object each line.
pub(crate) fn print(directory: &Path, name: &StreamName) -> Result<(), HistoryError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut encoder = Encoder::new(Encoding::Ndjson, None);
    let mut line = Vec::new();
    read_events(directory, name, |event| {
        line.clear();
        encoder.push(event, &mut line);
        out.write_all(&line)
    })?;
    out.flush().map_err(|source| HistoryError::Directory { path: "standard output".into(), source })
}
