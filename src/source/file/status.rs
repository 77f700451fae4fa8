//! How the files of a stream are, as one state: it is said when it changes, but not more often than people can read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use log::{info, warn};
use tokio::time::Instant;

use crate::event::SourceState;
use crate::source::ClockReading;
use crate::stream::Batch;

use super::glob::Globs;
use super::path::PathTail;
use super::target::PathTarget;

/// That only the number of files changed is not said sooner than this after the last time.
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How one path is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PathStatus {
    /// It was not looked at.
    Unknown,
    /// It is read, and so many bytes are known to be unread.
    Following { lag: u64 },
    /// Another path reads its file, or it holds no text: it is not counted.
    Uncounted,
    /// It is as this state says.
    Trouble(SourceState),
}

impl PathStatus {
    pub(crate) fn of(follow: &PathTail) -> Self {
        let path = follow.path().display();
        if let Some(refusal) = follow.rotation().refused() {
            return Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() });
        }
        if follow.rotation().is_open() {
            return Self::Following { lag: follow.rotation().lag() };
        }
        match follow.found() {
            PathTarget::Unknown => Self::Unknown,
            PathTarget::File | PathTarget::Fifo(_) => Self::Following { lag: 0 },
            PathTarget::Missing => Self::Trouble(SourceState::Waiting { reason: format!("{path} does not exist") }),
            PathTarget::Refused(refusal) => {
                Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() })
            }
            PathTarget::Other(kind) => {
                let error = format!("{path} is {kind}; only files and fifos can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            PathTarget::Compressed(_, kind) if follow.is_named() => {
                let error = format!("{path} is compressed ({kind}); only text can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            PathTarget::Alias(_) | PathTarget::Compressed(..) => Self::Uncounted,
        }
    }
}

/// The state of all.
#[derive(Debug, Default)]
pub(super) struct StatusReporter {
    statuses: HashMap<usize, PathStatus>,
    /// How many are read, were not looked at, and how many bytes are unread.
    following: usize,
    unknown: usize,
    lag: u64,
    troubles: BTreeMap<usize, SourceState>,
    unwatched: BTreeMap<usize, String>,
    said: Option<(SourceState, Instant)>,
    reported_lag: u64,
    /// The number of files changed, which is to be said then.
    due: Option<Instant>,
}

impl StatusReporter {
    /// Whether nothing was said yet.
    pub(super) fn is_new(&self) -> bool {
        self.said.is_none()
    }

    pub(super) fn set_status(&mut self, id: usize, status: PathStatus) {
        if let Some(before) = self.statuses.insert(id, status.clone()) {
            self.count(&before, false);
        }
        self.count(&status, true);
        if let PathStatus::Trouble(state) = status {
            if self.troubles.get(&id) != Some(&state) {
                log_trouble(&state);
                self.troubles.insert(id, state);
            }
        } else {
            self.troubles.remove(&id);
        }
    }

    pub(crate) fn remove(&mut self, id: usize) {
        if let Some(before) = self.statuses.remove(&id) {
            self.count(&before, false);
        }
        self.troubles.remove(&id);
        self.unwatched.remove(&id);
    }

    /// Why changes of a path may go unheard.
    pub(super) fn set_unwatched(&mut self, id: usize, reason: Option<&str>) {
        match reason {
            Some(reason) => self.unwatched.insert(id, reason.to_owned()),
            None => self.unwatched.remove(&id),
        };
    }

    fn count(&mut self, status: &PathStatus, more: bool) {
        let add = |count: &mut usize| *count = if more { *count + 1 } else { count.saturating_sub(1) };
        match status {
            PathStatus::Unknown => add(&mut self.unknown),
            PathStatus::Following { lag } => {
                add(&mut self.following);
                self.lag = if more { self.lag + lag } else { self.lag.saturating_sub(*lag) };
            }
            PathStatus::Uncounted | PathStatus::Trouble(_) => {}
        }
    }

    /// Says how it is before lines come; what was not looked at yet counts as it will most likely be.
    pub(super) fn now(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        if self.following > 0 || self.unknown == 0 {
            self.say(globs, now, batch);
        }
    }

    /// Says how it is at the end of a turn, and how many bytes are unread.
    pub(super) fn finish(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        self.say(globs, now, batch);
        if self.lag != self.reported_lag && (!batch.is_empty() || self.lag == 0) {
            batch.lag(self.lag);
            self.reported_lag = self.lag;
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn say(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        let state = self.state(globs);
        self.due = None;
        if let Some((said, at)) = &self.said {
            if *said == state {
                return;
            }
            if differ_in_count_only(said, &state) && now.instant < *at + MIN_STATUS_INTERVAL {
                self.due = Some(*at + MIN_STATUS_INTERVAL);
                return;
            }
        }
        batch.state(now.time, state.clone());
        self.said = Some((state, now.instant));
    }

    fn state(&self, globs: &Globs) -> SourceState {
        let files = self.following + self.unknown;
        if files > 0 {
            let deaf = self.unwatched.values().next().map(String::as_str).or(globs.unwatched());
            return match deaf {
                None => SourceState::Following { files },
                Some(reason) => SourceState::Polling { files, reason: reason.to_owned() },
            };
        }
        let denied = self.troubles.values().find(|state| matches!(state, SourceState::Denied { .. }));
        if let Some(state) = denied.or(self.troubles.values().next()) {
            return state.clone();
        }
        if let Some(error) = globs.denied() {
            return SourceState::Denied { errno: None, error: error.to_owned() };
        }
        let patterns: Vec<_> = globs.written().map(|pattern| pattern.display().to_string()).collect();
        SourceState::Waiting { reason: format!("no file matches {}", patterns.join(", ")) }
    }
}

/// Whether the two differ only in the number of files.
fn differ_in_count_only(a: &SourceState, b: &SourceState) -> bool {
    match (a, b) {
        (SourceState::Following { .. }, SourceState::Following { .. }) => true,
        (SourceState::Polling { reason: a, .. }, SourceState::Polling { reason: b, .. }) => a == b,
        _ => false,
    }
}

/// Logs why nothing is read.
fn log_trouble(state: &SourceState) {
    if let SourceState::Denied { error, errno } = state {
        match *errno {
            Some(errno) => warn!(errno, error = error.as_str(); "cannot follow a file"),
            None => warn!(error = error.as_str(); "cannot follow a file"),
        }
    } else if let SourceState::Waiting { reason } = state {
        info!(reason = reason.as_str(); "waiting for a file");
    }
}
