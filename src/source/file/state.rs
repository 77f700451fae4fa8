//! How the files of a stream are, as one state: it is said when it changes, but not more often than people can read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use log::{info, warn};
use tokio::time::Instant;

use crate::event::SourceState;
use crate::source::Now;
use crate::stream::Batch;

use super::follow::Follow;
use super::glob::Globs;
use super::row::Found;

/// That only the number of files changed is not said sooner than this after the last time.
const BETWEEN: Duration = Duration::from_secs(1);

/// How one path is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Status {
    /// It was not looked at.
    Unknown,
    /// It is read, and so many bytes are known to be unread.
    Following { lag: u64 },
    /// Another path reads its file, or it holds no text: it is not counted.
    Silent,
    /// It is as this state says.
    Trouble(SourceState),
}

impl Status {
    pub(super) fn of(follow: &Follow) -> Self {
        let path = follow.path().display();
        if let Some(refusal) = follow.refused() {
            return Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() });
        }
        if follow.is_open() {
            return Self::Following { lag: follow.lag() };
        }
        match follow.found() {
            Found::Unknown => Self::Unknown,
            Found::File | Found::Fifo(_) => Self::Following { lag: 0 },
            Found::Missing => Self::Trouble(SourceState::Waiting { reason: format!("{path} does not exist") }),
            Found::Refused(refusal) => {
                Self::Trouble(SourceState::Denied { errno: refusal.errno, error: refusal.error.clone() })
            }
            Found::Other(kind) => {
                let error = format!("{path} is {kind}; only files and fifos can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            Found::Compressed(_, kind) if follow.is_named() => {
                let error = format!("{path} is compressed ({kind}); only text can be followed");
                Self::Trouble(SourceState::Denied { errno: None, error })
            }
            Found::Alias(_) | Found::Compressed(..) => Self::Silent,
        }
    }
}

/// The state of all.
#[derive(Debug, Default)]
pub(super) struct Report {
    statuses: HashMap<usize, Status>,
    /// How many are read, were not looked at, and how many bytes are unread.
    following: usize,
    unknown: usize,
    lag: u64,
    trouble: BTreeMap<usize, SourceState>,
    deaf: BTreeMap<usize, String>,
    said: Option<(SourceState, Instant)>,
    said_lag: u64,
    /// The number of files changed, which is to be said then.
    due: Option<Instant>,
}

impl Report {
    /// Whether nothing was said yet.
    pub(super) fn is_new(&self) -> bool {
        self.said.is_none()
    }

    pub(super) fn change(&mut self, id: usize, status: Status) {
        if let Some(before) = self.statuses.insert(id, status.clone()) {
            self.count(&before, false);
        }
        self.count(&status, true);
        if let Status::Trouble(state) = status {
            if self.trouble.get(&id) != Some(&state) {
                tell(&state);
                self.trouble.insert(id, state);
            }
        } else {
            self.trouble.remove(&id);
        }
    }

    pub(super) fn remove(&mut self, id: usize) {
        if let Some(before) = self.statuses.remove(&id) {
            self.count(&before, false);
        }
        self.trouble.remove(&id);
        self.deaf.remove(&id);
    }

    /// Why changes of a path may go unheard.
    pub(super) fn deaf(&mut self, id: usize, reason: Option<&str>) {
        match reason {
            Some(reason) => self.deaf.insert(id, reason.to_owned()),
            None => self.deaf.remove(&id),
        };
    }

    fn count(&mut self, status: &Status, more: bool) {
        let add = |count: &mut usize| *count = if more { *count + 1 } else { count.saturating_sub(1) };
        match status {
            Status::Unknown => add(&mut self.unknown),
            Status::Following { lag } => {
                add(&mut self.following);
                self.lag = if more { self.lag + lag } else { self.lag.saturating_sub(*lag) };
            }
            Status::Silent | Status::Trouble(_) => {}
        }
    }

    /// Says how it is before lines come; what was not looked at yet counts as it will most likely be.
    pub(super) fn now(&mut self, globs: &Globs, now: Now, batch: &mut Batch) {
        if self.following > 0 || self.unknown == 0 {
            self.say(globs, now, batch);
        }
    }

    /// Says how it is at the end of a turn, and how many bytes are unread.
    pub(super) fn finish(&mut self, globs: &Globs, now: Now, batch: &mut Batch) {
        self.say(globs, now, batch);
        if self.lag != self.said_lag && (!batch.is_empty() || self.lag == 0) {
            batch.lag(self.lag);
            self.said_lag = self.lag;
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn say(&mut self, globs: &Globs, now: Now, batch: &mut Batch) {
        let state = self.state(globs);
        self.due = None;
        if let Some((said, at)) = &self.said {
            if *said == state {
                return;
            }
            if counts_only(said, &state) && now.instant < *at + BETWEEN {
                self.due = Some(*at + BETWEEN);
                return;
            }
        }
        batch.state(now.time, state.clone());
        self.said = Some((state, now.instant));
    }

    fn state(&self, globs: &Globs) -> SourceState {
        let files = self.following + self.unknown;
        if files > 0 {
            let deaf = self.deaf.values().next().map(String::as_str).or(globs.deaf());
            return match deaf {
                None => SourceState::Following { files },
                Some(reason) => SourceState::Polling { files, reason: reason.to_owned() },
            };
        }
        let denied = self.trouble.values().find(|state| matches!(state, SourceState::Denied { .. }));
        if let Some(state) = denied.or(self.trouble.values().next()) {
            return state.clone();
        }
        if let Some(error) = globs.denied() {
            return SourceState::Denied { errno: None, error: error.to_owned() };
        }
        let patterns: Vec<_> = globs.written().map(|pattern| pattern.display().to_string()).collect();
        SourceState::Waiting { reason: format!("no file is there for {}", patterns.join(", ")) }
    }
}

/// Whether the two differ only in the number of files.
fn counts_only(a: &SourceState, b: &SourceState) -> bool {
    match (a, b) {
        (SourceState::Following { .. }, SourceState::Following { .. }) => true,
        (SourceState::Polling { reason: a, .. }, SourceState::Polling { reason: b, .. }) => a == b,
        _ => false,
    }
}

fn tell(state: &SourceState) {
    if let SourceState::Denied { error, errno } = state {
        warn!(errno = *errno, error = error.as_str(); "cannot be followed");
    } else if let SourceState::Waiting { reason } = state {
        info!(reason = reason.as_str(); "waiting for a file");
    }
}
