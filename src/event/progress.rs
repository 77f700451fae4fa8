//! The progress of the work of a source, as far as its output reports it.

use schemars::JsonSchema;
use serde::Serialize;

use super::Time;

/// The progress of the work of a source; the data of a `progress` event. Only the newest is shown, and none is kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Progress {
    /// The state of the work.
    pub state: ProgressState,
    /// The part that is done, in percent, from 0 to 100 with one decimal; `None` if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// The number of objects, tests or bytes that are done, of `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// The number of objects, tests or bytes in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The part of the work that is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The current activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time when the work began; for a process, its run.
    #[schemars(with = "String")]
    pub started: Time,
    /// The time of the last report.
    #[schemars(with = "String")]
    pub updated: Time,
    /// The time when the work will be done at the current rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub eta: Option<Time>,
    /// The work is not done, but nothing was reported for a while.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub stale: bool,
    /// The groups or sections that the source named, in the order in which they began.
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
    /// The work failed.
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

/// A part of the work whose beginning, and mostly whose end, the source reported by name.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub struct ProgressGroup {
    /// The title of the group.
    pub name: String,
    /// The number of groups that contain this one.
    pub depth: usize,
    /// The time when the group began.
    #[schemars(with = "String")]
    pub started: Time,
    /// The duration in seconds; `None` while the group is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
}

impl Progress {
    /// The progress of work that began at `started`, and of which nothing more is known.
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

    /// The same progress after the end of its source: done if it ended `well`, failed otherwise.
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
