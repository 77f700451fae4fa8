//! Checkpoints in words, for people who look into a state directory.

use crate::event::Origin;

use super::process::RunRecord;
use super::{file, journal, process};

/// Describes a recorded checkpoint in words: how far a file or the journal was read, or which run of a command was the
/// last. A checkpoint of another version may not be understood.
pub(crate) fn describe_checkpoint(key: &str, value: &str) -> String {
    match key {
        process::RUN_RECORD_KEY => match RunRecord::read(value) {
            Some(record) if record.ended => format!("last run: number {}, which has ended", record.run),
            Some(record) => {
                format!("last run: number {}, whose end is not recorded (process {})", record.run, record.pid)
            }
            None => unknown(key),
        },
        journal::CHECKPOINT_KEY if value == journal::START_CHECKPOINT => "read: nothing of the journal yet".to_owned(),
        journal::CHECKPOINT_KEY => "read: the journal, up to the newest entry in this history".to_owned(),
        path => match file::Checkpoint::read(value) {
            Some(checkpoint) => describe_file(path, &checkpoint),
            None => unknown(path),
        },
    }
}

fn describe_file(path: &str, checkpoint: &file::Checkpoint) -> String {
    let path = Origin::from(path).path();
    let path = path.display();
    let time = checkpoint.recorded_at();
    match checkpoint.offset() {
        Some(offset) => format!("read: {path} up to byte {offset}, at {time}"),
        None => format!("read: {path}, which did not exist at {time}"),
    }
}

fn unknown(key: &str) -> String {
    format!("a checkpoint that this version of rtlogd does not understand: {key}")
}
