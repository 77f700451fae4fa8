//! Inspects a state directory, which may be in use: its streams, and the events of one stream. Changes nothing.

use std::fs;
use std::io;
use std::path::Path;

use crate::event::{Event, Position, StreamName, Time};
use crate::segment::Checkpoints;

use super::files::StreamFiles;
use super::reader::for_each_segment_from;
use super::{HistoryError, RunLimits, STREAMS_DIRECTORY, recover};

/// The stored state of one stream.
#[derive(Debug)]
pub struct StreamInspection {
    /// The name of the stream.
    pub name: StreamName,
    /// The ids of the oldest and the newest event; `None` if there is no event.
    pub id_range: Option<(Position, Position)>,
    /// The time at which the newest event was read, if known.
    pub newest: Time,
    /// The number of files, and their size in bytes.
    pub files: usize,
    /// See `files`.
    pub bytes: u64,
    /// The source's checkpoints.
    pub checkpoints: Checkpoints,
    /// `true` if reading the stream needs a token.
    pub private: bool,
    /// `true` if the daemon that wrote it stopped cleanly; false while it runs.
    pub cleanly_closed: bool,
    /// The damage, one sentence for each.
    pub damage: Vec<String>,
}

/// The streams in the state directory `root`, by name. Blocks.
///
/// # Errors
/// If the directory cannot be read, or a newer version wrote it.
pub fn inspect(root: &Path) -> Result<Vec<StreamInspection>, HistoryError> {
    let folder = root.join(STREAMS_DIRECTORY);
    let failed = HistoryError::at(&folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse::<StreamName>().ok()));
    }
    names.sort();
    names.into_iter().map(|name| inspect_stream(&folder, name)).collect()
}

fn inspect_stream(folder: &Path, name: StreamName) -> Result<StreamInspection, HistoryError> {
    let found = recover::recover_history(&folder.join(name.as_str()), RunLimits::NONE)?;
    let oldest = found.files.iter().find(|file| file.first < file.end);
    let ids = found.numbering.as_ref().zip(oldest).map(|(n, oldest)| (n.id(oldest.first), n.last_seen_id(n.next())));
    Ok(StreamInspection {
        name,
        id_range: ids,
        newest: found.files.iter().map(|file| file.newest).max().unwrap_or_default(),
        files: found.files.len(),
        bytes: found.files.iter().map(|file| file.bytes).sum(),
        checkpoints: found.checkpoints,
        private: found.private,
        cleanly_closed: found.cleanly_closed,
        damage: found.damage,
    })
}

/// Passes the events of one stream to `each`, oldest first, until it fails. Blocks.
///
/// # Errors
/// If the events cannot be read, or `each` fails.
pub fn read_events(
    root: &Path,
    name: &StreamName,
    mut each: impl FnMut(&Event<'_>) -> io::Result<()>,
) -> Result<(), HistoryError> {
    let directory = root.join(STREAMS_DIRECTORY).join(name.as_str());
    let failed = HistoryError::at(&directory);
    if !directory.is_dir() {
        return Err(HistoryError::NoStream(root.to_owned(), name.clone()));
    }
    let found = recover::recover_history(&directory, RunLimits::NONE)?;
    let files = StreamFiles::new(directory.clone(), found.files, found.numbering.as_ref());
    let mut outcome = Ok(());
    for_each_segment_from(&files, 0, |segment| {
        outcome = (0..segment.len()).try_for_each(|at| each(&segment.event(at)));
        outcome.is_ok()
    })
    .map_err(failed)?;
    outcome.map_err(failed)
}
