//! The numbering of a log: which ids the sequence numbers have, and where runs began and ended. It covers all events,
//! whether they are kept or dropped.
//!
//! In addition to its id (an epoch and a number) each event has a *sequence number*, which counts over all epochs of
//! the log. Events that are known to be missed take sequence numbers too, so the difference of two is the number of
//! events between them. (The serialised form calls a range a chapter; the name stays for the files on disk.)

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{EventKind, Flags, Gap, Position};

use super::segment::Segment;

/// The number of ranges and runs that are remembered after their events were dropped, so that a late reader learns how
/// many events it missed; a few hundred bytes in all.
const REMEMBERED_WITHOUT_EVENTS: usize = 64;

/// The most ranges that are remembered in any case: a few hundred kilobytes for a log with thousands of
/// discontinuities.
const MAX_NUMBER_RANGES: usize = 4096;

/// The ids and the runs of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbering {
    /// Never empty, with strictly ascending `seq`. The next event belongs to the last one, so its `seq` is <= `next`.
    #[serde(rename = "chapters")]
    ranges: VecDeque<NumberRange>,
    /// In order, at most [`REMEMBERED_WITHOUT_EVENTS`]; only the last one can be without an end. All before `next`.
    runs: VecDeque<RunRange>,
    /// The sequence number of the next event; never decreases.
    next: u64,
}

/// A range of sequence numbers whose ids count up by one. A new epoch begins a range, and so does a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct NumberRange {
    /// The id of the first event; its number is at least 1.
    first: Position,
    /// The sequence number of the first event.
    seq: u64,
    /// `true` if an unknown number of events is missing before the range. Together they take one sequence number.
    after_unknown: bool,
}

/// One run of a process: the sequence numbers of its first event and of its end, which is `None` while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RunRange {
    start: u64,
    end: Option<u64>,
}

/// The result of looking up an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdLookup {
    /// The sequence number after the event with that id, which may have been dropped since.
    At(u64),
    /// The id is ahead of its epoch, which ended at this sequence number.
    Ahead(u64),
    /// The epoch is unknown or forgotten.
    Unknown,
}

impl Numbering {
    /// The numbering of an empty log, whose first event has the id after `last`.
    pub(crate) fn new(last: Position) -> Self {
        let first = Position { number: last.number + 1, ..last };
        let ranges = VecDeque::from([NumberRange { first, seq: 0, after_unknown: false }]);
        Self { ranges, runs: VecDeque::new(), next: 0 }
    }

    /// The numbering of a log without known events, whose next event has the id `first` and the sequence number `next`.
    pub(crate) fn starting_at(first: Position, next: u64) -> Self {
        let ranges = VecDeque::from([NumberRange { first, seq: next, after_unknown: false }]);
        Self { ranges, runs: VecDeque::new(), next }
    }

    /// Returns whether the invariants hold and no sequence number or id exceeds `most`. The check is for data read from
    /// a file, which may be damaged.
    pub(crate) fn is_valid(&self, most: u64) -> bool {
        let ascending = self.ranges.iter().is_sorted_by(|one, next| one.seq < next.seq);
        let known = |seq: u64| seq < self.next;
        ascending
            && self.next <= most
            && self.ranges.back().is_some_and(|last| last.seq <= self.next)
            && self.ranges.iter().all(|range| (1..=most).contains(&range.first.number))
            && self.runs.iter().all(|run| known(run.start) && run.end.is_none_or(known))
    }

    /// The sequence numbers at which a range begins; before them, sequence numbers may have no events.
    pub(crate) fn discontinuities(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().map(|range| range.seq)
    }

    /// The sequence number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The id of the next event.
    pub(crate) fn next_id(&self) -> Position {
        self.id(self.next)
    }

    /// Returns whether an unknown number of events is missing between `from` and `to`.
    pub(crate) fn has_unknown_loss(&self, from: u64, to: u64) -> bool {
        self.ranges.iter().any(|range| range.after_unknown && range.seq > from && range.seq <= to)
    }

    /// Continues at `first` instead of the next number. Skipped numbers of the same epoch count as missed; before
    /// another epoch, `missed` events are missing, or an unknown number with `None`.
    ///
    /// Returns `false`, and changes nothing, if `first` is not ahead of what the log holds of that epoch.
    pub(crate) fn continue_at(&mut self, first: Position, missed: Option<u64>) -> bool {
        let next = self.next_id();
        if first == next {
            return true;
        }
        let hole = if first.epoch == next.epoch {
            let Some(hole) = first.number.checked_sub(next.number) else { return false };
            Some(hole)
        } else {
            missed
        };
        self.next += hole.unwrap_or(1);
        let range = NumberRange { first, seq: self.next, after_unknown: hole.is_none() };
        // A range without an event is replaced.
        match self.ranges.back_mut() {
            Some(last) if last.seq == self.next => {
                *last = NumberRange { after_unknown: last.after_unknown || range.after_unknown, ..range };
            }
            _ => self.ranges.push_back(range),
        }
        true
    }

    /// Continues at `first` with the sequence number `seq`, as it was recorded; `unknown` is whether an unknown number
    /// of events is missing before it. Returns `false`, and changes nothing, if that sequence number was used before.
    pub(crate) fn replay_to(&mut self, first: Position, seq: u64, unknown: bool) -> bool {
        if seq < self.next {
            return false;
        }
        if unknown || self.id(seq) != first {
            let range = NumberRange { first, seq, after_unknown: unknown };
            match self.ranges.back_mut() {
                Some(last) if last.seq == seq => *last = range,
                _ => self.ranges.push_back(range),
            }
        }
        self.next = seq;
        true
    }

    /// Adds a segment that begins with the next event.
    pub(crate) fn add_segment(&mut self, segment: &Segment) {
        for at in 0..segment.len() {
            let seq = segment.seq() + at as u64;
            match segment.kind(at) {
                (EventKind::State, flags) if flags.has(Flags::RUN_START) => {
                    self.runs.push_back(RunRange { start: seq, end: None });
                }
                (EventKind::End, _) => match self.runs.back_mut() {
                    Some(run) if run.end.is_none() => run.end = Some(seq),
                    _ => self.runs.push_back(RunRange { start: seq, end: Some(seq) }),
                },
                (EventKind::Line | EventKind::State | EventKind::Loss, _) => {}
            }
        }
        while self.runs.len() > REMEMBERED_WITHOUT_EVENTS {
            self.runs.pop_front();
        }
        self.next = segment.end();
    }

    /// Forgets ranges of events before `kept`, except for the last [`REMEMBERED_WITHOUT_EVENTS`].
    pub(crate) fn forget_before(&mut self, kept: u64) {
        while self.ranges.len() > MAX_NUMBER_RANGES
            || (self.ranges.len() > REMEMBERED_WITHOUT_EVENTS && self.ranges[1].seq <= kept)
        {
            self.ranges.pop_front();
        }
    }

    /// The gap of a reader whose next event was `seq`, and that can only continue at `to`.
    pub(crate) fn gap(&self, seq: u64, to: u64) -> Gap {
        let forgotten = seq < self.ranges[0].seq;
        let missed = if forgotten || self.has_unknown_loss(seq, to) { None } else { Some(to - seq) };
        Gap { missed, resume: self.id_before(to) }
    }

    /// The id that the event with the sequence number `seq` has or will have. Before the first range, whose ids are
    /// forgotten, the result is the first id of that range: both subtractions clamp there.
    pub(crate) fn id(&self, seq: u64) -> Position {
        let at = self.ranges.partition_point(|range| range.seq <= seq);
        let range = &self.ranges[at.saturating_sub(1)];
        Position { number: range.first.number + seq.saturating_sub(range.seq), ..range.first }
    }

    /// The id before that of the event with the sequence number `seq`, in the epoch of that event; its number may be
    /// 0.
    pub(crate) fn id_before(&self, seq: u64) -> Position {
        let id = self.id(seq);
        Position { number: id.number.saturating_sub(1), ..id }
    }

    /// The id of the last event before the sequence number `seq`: the last one of a reader that has seen all of them.
    pub(crate) fn last_seen_id(&self, seq: u64) -> Position {
        if seq <= self.ranges[0].seq { self.id_before(seq) } else { self.id(seq - 1) }
    }

    /// The sequence number from which a reader continues whose last event was `id`.
    pub(crate) fn find(&self, id: Position) -> IdLookup {
        let begun = |range: &NumberRange| range.first.epoch == id.epoch && id.number >= range.first.number - 1;
        let Some(at) = self.ranges.iter().rposition(begun) else { return IdLookup::Unknown };
        let range = &self.ranges[at];
        let seq = range.seq.saturating_add(id.number - (range.first.number - 1));
        let end = self.ranges.get(at + 1).map_or(self.next, |next| next.seq);
        if seq > end { IdLookup::Ahead(end) } else { IdLookup::At(seq) }
    }

    /// The sequence number at which the current run, or else the last one, begins.
    pub(crate) fn last_run_start(&self) -> Option<u64> {
        self.runs.back().map(|run| run.start)
    }

    /// The sequence number of the first end of a run at or after `seq`.
    pub(crate) fn first_run_end_from(&self, seq: u64) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.end).find(|&end| end >= seq)
    }

    /// Returns whether a run ended from `start` to before `seq`.
    pub(crate) fn run_ended_between(&self, start: u64, seq: u64) -> bool {
        self.first_run_end_from(start).is_some_and(|end| end < seq)
    }

    /// Returns whether the last run that began before `seq` also ended before it.
    pub(crate) fn run_ended_before(&self, seq: u64) -> bool {
        let run = self.runs.iter().rev().find(|run| run.start < seq);
        run.is_some_and(|run| run.end.is_some_and(|end| end < seq))
    }
}
