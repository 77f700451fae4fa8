//! The progress that a source reports.

use schemars::JsonSchema;
use serde::Serialize;

use super::Time;

/// The progress of a source: the data of a `progress` event. Only the newest is shown, and none is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Progress {
    /// The state of the work.
    pub state: ProgressState,
    /// The part that is done, from 0 to 100 with one decimal; `None` if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The number of objects, tests or bytes that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// The number of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The current part of the work, in the words of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The current step, in the words of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time at which the work began; for a process, the start of its run.
    #[schemars(with = "String")]
    pub started: Time,
    /// The time of the last report.
    #[schemars(with = "String")]
    pub updated: Time,
    /// The time at which the work will be done at this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub eta: Option<Time>,
    /// True if the source has reported nothing for a while, although it is not done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub stale: bool,
    /// The groups or sections that the program named, in the order in which they began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub groups: Vec<ProgressGroup>,
}

/// The state of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProgressState {
    /// The work advances.
    Running,
    /// The work advances, and its extent is not known.
    Indeterminate,
    /// The work waits for something.
    Paused,
    /// The work has failed.
    Error,
    /// The work is done.
    Done,
}

impl ProgressState {
    /// Returns whether no more progress can follow.
    pub fn is_finished(self) -> bool {
        match self {
            Self::Error | Self::Done => true,
            Self::Running | Self::Indeterminate | Self::Paused => false,
        }
    }
}

/// A part of the work that the program named when it began.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub struct ProgressGroup {
    /// The title of the group.
    pub name: String,
    /// The number of groups around it.
    pub depth: usize,
    /// The time at which it began.
    #[schemars(with = "String")]
    pub started: Time,
    /// The duration in seconds; `None` until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
}

impl Progress {
    /// Progress that has just begun, of which nothing more is known.
    pub fn begun(started: Time) -> Self {
        Self {
            state: ProgressState::Indeterminate,
            percent: None,
            current: None,
            total: None,
            phase: None,
            message: None,
            started,
            updated: started,
            eta: None,
            stale: false,
            groups: Vec::new(),
        }
    }

    /// The progress after its source has ended: complete if it ended `well`, and otherwise an error at the point it
    /// reached.
    #[must_use]
    pub fn into_ended(mut self, now: Time, well: bool) -> Self {
        if well {
            self.state = ProgressState::Done;
            self.percent = Some(100.0);
            self.current = self.total.or(self.current);
        } else {
            self.state = ProgressState::Error;
        }
        for group in &mut self.groups {
            group.duration.get_or_insert(now.seconds_since(group.started));
        }
        Self { updated: now, eta: None, stale: false, ..self }
    }
}
