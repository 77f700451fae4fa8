//! The summary of a run: everything that is known of it as a whole, even after its lines were dropped.

use serde::{Deserialize, Serialize};

/// The most groups in the summary of a run; of more, the newest are kept.
pub const MAX_SUMMARY_GROUPS: usize = 64;

/// The longest name of a group, in characters.
pub const MAX_GROUP_NAME_LENGTH: usize = 80;

/// The summary of one run, which is one execution of a process.
///
/// This is also the body of a `Run` record, as JSON. A run that is summarised again replaces the earlier summary of the
/// same number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The number of the run, counted from 1.
    pub run: u64,
    /// The start, in microseconds since the Unix epoch.
    pub started: i64,
    /// The end, in microseconds since the Unix epoch; `None` while the run lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// The duration in seconds, as far as it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The exit code, if the run ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal, if the run ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The cause of the end: the name of an [`EndCause`](super::EndCause). A text, so that this version can also read
    /// causes that a later one adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The lines; `None` if not all of the run was counted.
    #[serde(flatten)]
    pub counts: Option<RunCounts>,
    /// The comparison with earlier runs; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<NewLines>,
    /// The sequence number of the first event; <= `end`.
    pub first: u64,
    /// The sequence number after the last event, or after the last one that is counted.
    pub end: u64,
    /// The highest memory use of any one process of the run, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// At most [`MAX_SUMMARY_GROUPS`], in the order in which they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSummary>,
}

/// The lines of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCounts {
    /// All lines. A line that is longer than an event is one.
    pub lines: u64,
    /// The lines with the level error or a more serious one.
    pub errors: u64,
    /// The lines with the level warning.
    pub warnings: u64,
}

/// The result of comparing the lines of a run with those of earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLines {
    /// The number of shapes that no compared run has.
    pub shapes: u64,
    /// The number of lines with such a shape; <= `judged`.
    pub lines: u64,
    /// The number of lines that were judged.
    pub judged: u64,
}

/// A group of lines of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// At most [`MAX_GROUP_NAME_LENGTH`] characters.
    pub name: String,
    /// From its start to its end, in seconds.
    pub duration: f64,
    /// The start, in microseconds since the Unix epoch; `None` in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
}

impl RunSummary {
    /// A run of which only the start is known: its time, and the sequence number of its first event.
    pub(crate) fn begun(run: u64, started: i64, first: u64) -> Self {
        Self {
            run,
            started,
            ended: None,
            duration: None,
            code: None,
            signal: None,
            cause: None,
            counts: None,
            new: None,
            first,
            end: first,
            peak_memory: None,
            groups: Vec::new(),
        }
    }

    /// Returns whether the summary is one that a log can have, with sequence numbers up to `max_seq`.
    pub fn is_valid(&self, max_seq: u64) -> bool {
        let is_duration = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
        self.run > 0
            && self.first <= self.end
            && self.end <= max_seq
            && self.duration.is_none_or(is_duration)
            // Each line is an event of the run at least.
            && self.counts.is_none_or(|of| {
                of.lines <= self.end - self.first && of.errors.saturating_add(of.warnings) <= of.lines
            })
            && self.new.is_none_or(|new| new.lines <= new.judged)
            && self.groups.len() <= MAX_SUMMARY_GROUPS
            && self
                .groups
                .iter()
                .all(|group| group.name.chars().count() <= MAX_GROUP_NAME_LENGTH && is_duration(group.duration))
    }

    /// Returns whether the run succeeded: its process exited on its own, with code 0.
    pub fn has_passed(&self) -> bool {
        self.code == Some(0) && self.cause.as_deref().is_none_or(|cause| cause == super::EndCause::Exited.name())
    }
}
