//! Checkpoints: what a source needs to continue after the recorded events.

use std::collections::BTreeMap;

/// The checkpoints of a source: for each of its parts, such as a file, what the source needs to continue after the
/// recorded events. Keys and values are the source's own; a value is one line of text.
pub type Checkpoints = BTreeMap<String, String>;

/// A change of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointChange {
    /// The part of the source.
    pub(crate) key: String,
    /// The new value; `None` removes the checkpoint.
    pub(crate) value: Option<String>,
}

impl CheckpointChange {
    /// Changes `checkpoints`.
    pub(crate) fn apply_to(self, checkpoints: &mut Checkpoints) {
        match self.value {
            Some(value) => checkpoints.insert(self.key, value),
            None => checkpoints.remove(&self.key),
        };
    }
}
