//! The runs of a stream, as readers list and select them.

use std::ops::RangeInclusive;

use crate::event::{Position, RunSummary, StreamName};

/// The run whose events a reader receives, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSelection {
    /// The run in progress, or else the last one; of a reader that resumes, the run of the event after which it resumes.
    Current,
    /// The last run that has ended.
    Last,
    /// The last run that has [passed](RunSummary::has_passed).
    Passed,
    /// The run with this number.
    Number(u64),
    /// A run that is not known any more: it has no events.
    Forgotten,
}

impl RunSelection {
    /// Returns whether this selection means `run`, provided that it means no newer one. [`RunSelection::Current`] means none: it
    /// is found by the numbering of the log, not by the summaries.
    pub(super) fn takes(self, run: &RunSummary) -> bool {
        match self {
            Self::Current | Self::Forgotten => false,
            Self::Last => run.ended.is_some(),
            Self::Passed => run.has_passed(),
            Self::Number(number) => run.run == number,
        }
    }
}

/// The reason why a run cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunUnavailable {
    /// The stream has had no run.
    #[error("{0} has had no run (a run is one execution of a process)")]
    NoRuns(StreamName),
    /// No run that is known has this number; the numbers of those that are known are in the range.
    #[error("run {1} of {0} is not known; the known runs have the numbers {first} to {last} (GET /streams/{0}/runs lists them)", first = .2.start(), last = .2.end())]
    UnknownNumber(StreamName, u64, RangeInclusive<u64>),
    /// The reader resumes in none of the runs that are known.
    #[error(
        "the event after which the reader resumes is in no known run of {0} (GET /streams/{0}/runs lists the known runs)"
    )]
    Forgotten(StreamName),
    /// No run that is known has ended.
    #[error("no run of {0} has ended yet (run=current is the one in progress)")]
    NoneEnded(StreamName),
    /// No run that is known has passed.
    #[error("no known run of {0} has passed, that is, exited with code 0 (GET /streams/{0}/runs lists the known runs)")]
    NonePassed(StreamName),
    /// The events of this run are no longer stored.
    #[error(
        "the lines of run {1} of {0} are no longer stored (GET /streams/{0}/runs says with `kept` which runs still have lines)"
    )]
    NotKept(StreamName, u64),
}

/// One run, and what is stored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRun {
    /// Everything that is known of the run.
    pub summary: RunSummary,
    /// The id of its first event; `None` if that is forgotten.
    pub first: Option<Position>,
    /// The id of its last event so far; `None` if that is forgotten.
    pub last: Option<Position>,
    /// `true` if any of its events are still stored.
    pub kept: bool,
}

/// A part of the list of runs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<ListedRun>,
    /// The number of the run before which the next part ends; `None` if there are no older runs.
    pub next: Option<u64>,
}
