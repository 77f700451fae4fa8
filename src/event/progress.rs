//! How far a source is, as far as it says so.

use schemars::JsonSchema;
use serde::Serialize;

use super::Time;

/// How far a source is; the data of a `progress` event. The newest is shown, none is kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Progress {
    /// How it goes.
    pub state: ProgressState,
    /// How much is done, 0 to 100, with one digit behind the point; `None` where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// How many of `total` are done: objects, tests, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Which part of the work it is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What it does at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began: of a process, its run.
    #[schemars(with = "String")]
    pub started: Time,
    /// When it said so last.
    #[schemars(with = "String")]
    pub updated: Time,
    /// When it will be done, if it goes on like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub eta: Option<Time>,
    /// Nothing was heard of it for a while, though it is not done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub stale: bool,
    /// The groups or sections that it named, in the order they began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub groups: Vec<ProgressGroup>,
}

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProgressState {
    /// It gets on.
    Running,
    /// It gets on, and does not say how far it is.
    Indeterminate,
    /// It waits for something.
    Paused,
    /// Something failed.
    Error,
    /// All is done.
    Done,
}

impl ProgressState {
    /// Whether nothing more is to come.
    pub fn is_finished(self) -> bool {
        match self {
            Self::Error | Self::Done => true,
            Self::Running | Self::Indeterminate | Self::Paused => false,
        }
    }
}

/// A part of the work that the source began and, mostly, ended by name.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub struct ProgressGroup {
    /// Its title.
    pub name: String,
    /// In how many others it lies.
    pub depth: usize,
    /// When it began.
    #[schemars(with = "String")]
    pub started: Time,
    /// How long it took, in seconds; `None` while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
}

impl Progress {
    /// One that just began, of which nothing more is known.
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

    /// The same once its source ended, well or not: what was done is done.
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
