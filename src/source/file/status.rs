//! Summarizes the files of a stream in one state. The state is reported when it changes, but not more often than people
//! can read it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use log::{info, warn};
use tokio::time::Instant;

use crate::event::{SourceState, StreamName};
use crate::source::ClockReading;
use crate::stream::Batch;

use super::glob::Globs;
use super::path::PathTail;
use super::target::PathTarget;

/// The minimum time between two reports if only the number of files changed.
const MIN_STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The state of one path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PathStatus {
    /// The path was not examined yet.
    Unknown,
    /// The file is read, and this many of its bytes are known to be unread.
    Following { lag: u64 },
    /// Another path reads the file, or it holds no text: it is not counted.
    Uncounted,
    /// The path has this problem.
    Trouble(SourceState),
}

impl PathStatus {
    pub(crate) fn of(tail: &PathTail) -> Self {
        let path = tail.path().display();
        if let Some(refusal) = tail.rotation().generations().refused() {
            return Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() });
        }
        if tail.rotation().generations().is_open() {
            return Self::Following { lag: tail.rotation().generations().lag() };
        }
        match tail.found() {
            PathTarget::Unknown => Self::Unknown,
            PathTarget::File | PathTarget::Fifo(_) => Self::Following { lag: 0 },
            PathTarget::Missing => Self::Trouble(SourceState::Waiting { reason: format!("{path} does not exist") }),
            PathTarget::Refused(refusal) => {
                Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() })
            }
            PathTarget::Other(kind) => {
                let error = format!("{path} is {kind}; only files and FIFOs can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            PathTarget::Compressed(_, kind) if tail.is_configured() => {
                let error = format!("{path} is compressed ({kind}); only text can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            PathTarget::Alias(_) | PathTarget::Compressed(..) => Self::Uncounted,
        }
    }
}

/// The state of all paths.
#[derive(Debug)]
pub(super) struct StatusReporter {
    stream: StreamName,
    statuses: HashMap<usize, PathStatus>,
    /// The number of paths that are read, the number not examined yet, and the number of unread bytes.
    following: usize,
    unknown: usize,
    lag: u64,
    troubles: BTreeMap<usize, SourceState>,
    unwatched: BTreeMap<usize, String>,
    /// The state that was reported last, and when.
    last_reported: Option<(SourceState, Instant)>,
    reported_lag: u64,
    /// The time at which a changed number of files is to be reported.
    due: Option<Instant>,
}

impl StatusReporter {
    pub(super) fn new(stream: StreamName) -> Self {
        Self {
            stream,
            statuses: HashMap::new(),
            following: 0,
            unknown: 0,
            lag: 0,
            troubles: BTreeMap::new(),
            unwatched: BTreeMap::new(),
            last_reported: None,
            reported_lag: 0,
            due: None,
        }
    }

    /// Returns whether nothing was reported yet.
    pub(super) fn is_new(&self) -> bool {
        self.last_reported.is_none()
    }

    pub(super) fn set_status(&mut self, id: usize, status: PathStatus) {
        if let Some(before) = self.statuses.insert(id, status.clone()) {
            self.count(&before, false);
        }
        self.count(&status, true);
        if let PathStatus::Trouble(state) = status {
            if self.troubles.get(&id) != Some(&state) {
                log_status(&self.stream, &state);
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

    /// Sets the reason why changes of a path may not be notified.
    pub(super) fn set_unwatched(&mut self, id: usize, reason: Option<&str>) {
        match reason {
            Some(reason) => self.unwatched.insert(id, reason.to_owned()),
            None => self.unwatched.remove(&id),
        };
    }

    fn count(&mut self, status: &PathStatus, more: bool) {
        let add = |count: &mut usize| {
            debug_assert!(more || *count > 0, "only a status that was counted is taken back");
            *count = if more { *count + 1 } else { *count - 1 };
        };
        match status {
            PathStatus::Unknown => add(&mut self.unknown),
            PathStatus::Following { lag } => {
                add(&mut self.following);
                debug_assert!(more || *lag <= self.lag, "only a lag that was counted is taken back");
                self.lag = if more { self.lag + lag } else { self.lag - lag };
            }
            PathStatus::Uncounted | PathStatus::Trouble(_) => {}
        }
    }

    /// Reports the state before lines are emitted. Paths that were not examined yet count as what they most likely are.
    pub(super) fn report_before_lines(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        if self.following > 0 || self.unknown == 0 {
            self.report(globs, now, batch);
        }
    }

    /// Reports the state at the end of a pass, and the number of unread bytes.
    pub(super) fn report_after_pass(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        self.report(globs, now, batch);
        if self.lag != self.reported_lag && (!batch.is_empty() || self.lag == 0) {
            batch.lag(self.lag);
            self.reported_lag = self.lag;
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn report(&mut self, globs: &Globs, now: ClockReading, batch: &mut Batch) {
        let state = self.state(globs);
        self.due = None;
        if let Some((last, at)) = &self.last_reported {
            if *last == state {
                return;
            }
            if differ_in_count_only(last, &state) && now.instant < *at + MIN_STATUS_INTERVAL {
                self.due = Some(*at + MIN_STATUS_INTERVAL);
                return;
            }
        }
        batch.state(now.time, state.clone());
        self.last_reported = Some((state, now.instant));
    }

    fn state(&self, globs: &Globs) -> SourceState {
        let files = self.following + self.unknown;
        if files > 0 {
            let unwatched = self.unwatched.values().next().map(String::as_str).or(globs.unwatched());
            return match unwatched {
                None => SourceState::Following { files },
                Some(reason) => SourceState::Polling { files, reason: reason.to_owned() },
            };
        }
        let denied = self.troubles.values().find(|state| matches!(state, SourceState::Denied { .. }));
        if let Some(state) = denied.or(self.troubles.values().next()) {
            return state.clone();
        }
        if let Some(error) = globs.denial() {
            return SourceState::Denied { errno: None, error: error.to_owned() };
        }
        let patterns: Vec<_> = globs.configured_patterns().map(|pattern| pattern.display().to_string()).collect();
        SourceState::Waiting { reason: format!("no file matches {}", patterns.join(", ")) }
    }
}

/// Returns whether two states differ only in the number of files.
fn differ_in_count_only(a: &SourceState, b: &SourceState) -> bool {
    match (a, b) {
        (SourceState::Following { .. }, SourceState::Following { .. }) => true,
        (SourceState::Polling { reason: a, .. }, SourceState::Polling { reason: b, .. }) => a == b,
        _ => false,
    }
}

/// Logs the reason why nothing is read.
fn log_status(stream: &StreamName, state: &SourceState) {
    if let SourceState::Denied { error, errno } = state {
        match *errno {
            Some(errno) => warn!(stream:% = stream, errno, error = error.as_str(); "cannot follow a file"),
            None => warn!(stream:% = stream, error = error.as_str(); "cannot follow a file"),
        }
    } else if let SourceState::Waiting { reason } = state {
        info!(stream:% = stream, reason = reason.as_str(); "waiting for a file");
    }
}
