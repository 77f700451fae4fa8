//! `rtlogd history`: describes the content of a state directory, and prints the events of a stream as NDJSON. The
//! command needs no daemon, and does not disturb a running one.

use std::fmt::Write as _;
use std::path::Path;

use crate::client::terminal;
use crate::client::terminal::SafeText;
use crate::event::{StreamName, one_line};
use crate::source::describe_checkpoint;
use crate::stream::{HistoryError, StreamInspection, inspect, read_events};
use crate::wire::{Encoder, WireFormat};

/// The size of the text that is printed at once, in bytes.
const PRINT_BATCH_SIZE: usize = 64 << 10;

/// Describes the content of the state directory, with some lines for each stream.
pub(crate) fn describe(directory: &Path) -> Result<String, HistoryError> {
    let streams = inspect(directory)?;
    if streams.is_empty() {
        return Ok("no streams\n".to_owned());
    }
    Ok(streams.iter().map(describe_stream).collect())
}

fn describe_stream(stream: &StreamInspection) -> String {
    let StreamInspection {
        name,
        id_range: ids,
        newest,
        files,
        bytes,
        checkpoints,
        private,
        cleanly_closed: closed,
        damage,
    } = stream;
    let mut text = match ids {
        Some((first, last)) => format!("{name}: {first} to {last}, newest {newest}"),
        None => format!("{name}: no events"),
    };
    let end = if *closed { "" } else { "; the daemon that writes it is running or was killed" };
    let mut line = |line: &str| writeln!(text, "{}", one_line(line)).unwrap_or_default();
    line("");
    let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    line(&format!("  on disk: {bytes} bytes in {files}{end}"));
    if *private {
        line("  private: reading it needs a token");
    }
    for (key, value) in checkpoints {
        line(&format!("  {}", describe_checkpoint(key, value)));
    }
    for damage in damage {
        line(&format!("  damaged: {damage}"));
    }
    text
}

/// Prints all events of a stream, one JSON object on each line.
pub(crate) fn print(directory: &Path, name: &StreamName) -> Result<(), HistoryError> {
    let terminal = terminal::is_terminal();
    let mut text = SafeText::default();
    let mut encoder = Encoder::new(WireFormat::Ndjson, None);
    let mut line = Vec::new();
    read_events(directory, name, |event| {
        line.clear();
        encoder.push(event, &mut line);
        text.push(&SafeText::json(line.strip_suffix(b"\n").unwrap_or(&line), terminal));
        if text.len() < PRINT_BATCH_SIZE { Ok(()) } else { terminal::print(&std::mem::take(&mut text)) }
    })?;
    terminal::print(&text).map_err(|source| HistoryError::Directory { path: "standard output".into(), source })
}
