//! Looks into a state directory that may be in use: what it holds, and the events of one stream. Changes nothing.

use std::fs;
use std::io;
use std::path::Path;

use crate::event::{Event, Position, StreamName, Time};
use crate::segment::Checkpoints;
use crate::segment::PRIVATE_CHECKPOINT_KEY;

use super::files::StreamFiles;
use super::reader::for_each_segment_from;
use super::{HistoryError, STREAMS_DIRECTORY, recover as scan};

/// What there is of one stream.
#[derive(Debug)]
pub struct StreamInspection {
    /// Its name.
    pub name: StreamName,
    /// The ids of its oldest and newest event; `Cleared` if there is none.
    pub id_range: Option<(Position, Position)>,
    /// When the newest event was read, as far as known.
    pub newest: Time,
    /// How many files there are, and how many bytes in them.
    pub files: usize,
    /// See `files`.
    pub bytes: u64,
    /// How far the source is read.
    pub places: Checkpoints,
    /// Whether only those may read it who prove that they may.
    pub private: bool,
    /// Whether the daemon that wrote it ended in peace; not so while it runs.
    pub cleanly_closed: bool,
    /// What is wrong, one thing an entry.
    pub damage: Vec<String>,
}

/// What the state directory `root` holds, by name. Blocks.
///
/// # Errors
/// If it cannot be read, or a newer version wrote it.
pub fn inspect(root: &Path) -> Result<Vec<StreamInspection>, HistoryError> {
    let folder = root.join(STREAMS_DIRECTORY);
    let failed = HistoryError::at(&folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse::<StreamName>().ok()));
    }
    names.sort();
    names.into_iter().map(|name| look(&folder, name)).collect()
}

fn look(folder: &Path, name: StreamName) -> Result<StreamInspection, HistoryError> {
    let mut found = scan::recover_history(&folder.join(name.as_str()))?;
    let private = found.places.remove(PRIVATE_CHECKPOINT_KEY).is_some();
    let oldest = found.files.iter().find(|file| file.first < file.end);
    let ids = found.numbering.as_ref().zip(oldest).map(|(n, oldest)| (n.id(oldest.first), n.seen(n.next())));
    Ok(StreamInspection {
        name,
        id_range: ids,
        newest: found.files.iter().map(|file| file.newest).max().unwrap_or_default(),
        files: found.files.len(),
        bytes: found.files.iter().map(|file| file.bytes).sum(),
        places: found.places,
        private,
        cleanly_closed: found.cleanly_closed,
        damage: found.damage,
    })
}

/// Gives `each` the events of one stream, oldest first, until it fails. Blocks.
///
/// # Errors
/// If they cannot be read, or `each` fails.
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
    let found = scan::recover_history(&directory)?;
    let volume = StreamFiles::new(directory.clone(), found.files, found.numbering.as_ref());
    let mut outcome = Ok(());
    for_each_segment_from(&volume, 0, |segment| {
        outcome = (0..segment.len()).try_for_each(|at| each(&segment.event(at)));
        outcome.is_ok()
    })
    .map_err(failed)?;
    outcome.map_err(failed)
}
