//! How a log is numbered: which ids stand at which places, and where runs began and ended. Known of all events, whether
//! they are kept or gone.
//!
//! Beside its id each event has a *place*: a count over all epochs of the log. Events that the log knows to have missed take
//! places too, so the difference of two places is the number of events between them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{EventKind, Flags, Gap, Position};

use super::segment::Segment;

/// Epochs, holes and runs whose place is remembered though their events are gone, so that a late reader is told a number;
/// some hundred bytes in all.
const REMEMBERED_WITHOUT_EVENTS: usize = 64;

/// Most chapters that are remembered, whatever is kept: some hundred kilobytes of a log that broke thousands of times.
const MAX_NUMBER_RANGES: usize = 4096;

/// What is known of the ids and runs of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbering {
    /// In order; never empty. The last one is where the next event goes.
    #[serde(rename = "chapters")]
    ranges: VecDeque<NumberRange>,
    runs: VecDeque<RunRange>,
    /// The place of the next event.
    next: u64,
}

/// A stretch of places with numbers that count up by one. A new epoch begins one, and so does a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct NumberRange {
    /// The id of its first event.
    first: Position,
    /// The place of its first event.
    seq: u64,
    /// Whether events of unknown number are missing in front of it. They take one place together.
    after_unknown: bool,
}

/// One run of a process: the places of its first event and of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct RunRange {
    start: u64,
    end: Option<u64>,
}

/// Where an id leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdLookup {
    /// The place just after the event with that id, which may have been dropped since.
    At(u64),
    /// The id is ahead of its epoch, which ended at this place.
    Ahead(u64),
    /// The epoch is not known, or not any more.
    Unknown,
}

impl Numbering {
    /// That of an empty log, whose first event will have the id after `last`.
    pub(crate) fn new(last: Position) -> Self {
        let first = Position { number: last.number + 1, ..last };
        let chapters = VecDeque::from([NumberRange { first, seq: 0, after_unknown: false }]);
        Self { ranges: chapters, runs: VecDeque::new(), next: 0 }
    }

    /// The same, from the place `next` on.
    pub(crate) fn starting_at(first: Position, next: u64) -> Self {
        let chapters = VecDeque::from([NumberRange { first, seq: next, after_unknown: false }]);
        Self { ranges: chapters, runs: VecDeque::new(), next }
    }

    /// Whether it can have been written, and has no place or number beyond `most`: what was read is not to be believed.
    pub(crate) fn is_valid(&self, most: u64) -> bool {
        let ascending = self.ranges.iter().is_sorted_by(|one, next| one.seq < next.seq);
        let known = |place: u64| place < self.next;
        ascending
            && self.next <= most
            && self.ranges.back().is_some_and(|last| last.seq <= self.next)
            && self.ranges.iter().all(|chapter| (1..=most).contains(&chapter.first.number))
            && self.runs.iter().all(|run| known(run.start) && run.end.is_none_or(known))
    }

    /// The places at which numbering went on with another id than the next: in front of them, places may be without events.
    pub(crate) fn discontinuities(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().map(|chapter| chapter.seq)
    }

    /// The place of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The id of the next event.
    pub(crate) fn next_id(&self) -> Position {
        self.id(self.next)
    }

    /// Whether events of unknown number are missing between the places `from` and `to`.
    pub(crate) fn has_unknown_loss(&self, from: u64, to: u64) -> bool {
        self.ranges.iter().any(|chapter| chapter.after_unknown && chapter.seq > from && chapter.seq <= to)
    }

    /// Lets numbering go on at `first` instead of the next number. Places in between are counted as missed; from another
    /// epoch `missed` says how many, `None` that it is not known.
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
        let chapter = NumberRange { first, seq: self.next, after_unknown: hole.is_none() };
        // A chapter that got no event is as good as not begun.
        match self.ranges.back_mut() {
            Some(last) if last.seq == self.next => {
                *last = NumberRange { after_unknown: last.after_unknown || chapter.after_unknown, ..chapter };
            }
            _ => self.ranges.push_back(chapter),
        }
        true
    }

    /// Lets numbering go on at `first` with the place `seq`, as it was recorded; `unknown` is whether events of unknown
    /// number are missing in front of it. `false`, and nothing changes, if that place is taken.
    pub(crate) fn replay_to(&mut self, first: Position, seq: u64, unknown: bool) -> bool {
        if seq < self.next {
            return false;
        }
        if unknown || self.id(seq) != first {
            let chapter = NumberRange { first, seq, after_unknown: unknown };
            match self.ranges.back_mut() {
                Some(last) if last.seq == seq => *last = chapter,
                _ => self.ranges.push_back(chapter),
            }
        }
        self.next = seq;
        true
    }

    /// Takes note of events that go on where numbering is.
    pub(crate) fn add_segment(&mut self, segment: &Segment) {
        for at in 0..segment.len() {
            let place = segment.seq() + at as u64;
            match segment.kind(at) {
                (EventKind::State, flags) if flags.has(Flags::RUN_START) => {
                    self.runs.push_back(RunRange { start: place, end: None });
                }
                (EventKind::End, _) => match self.runs.back_mut() {
                    Some(run) if run.end.is_none() => run.end = Some(place),
                    _ => self.runs.push_back(RunRange { start: place, end: Some(place) }),
                },
                (EventKind::Line | EventKind::State | EventKind::Loss, _) => {}
            }
        }
        while self.runs.len() > REMEMBERED_WITHOUT_EVENTS {
            self.runs.pop_front();
        }
        self.next = segment.end();
    }

    /// Forgets what only events before `kept` needed, but for some.
    pub(crate) fn forget_before(&mut self, kept: u64) {
        while self.ranges.len() > MAX_NUMBER_RANGES
            || (self.ranges.len() > REMEMBERED_WITHOUT_EVENTS && self.ranges[1].seq <= kept)
        {
            self.ranges.pop_front();
        }
    }

    /// What a reader at `place` misses who can only go on at `to`.
    pub(crate) fn gap(&self, place: u64, to: u64) -> Gap {
        let forgotten = place < self.ranges[0].seq;
        let missed = if forgotten || self.has_unknown_loss(place, to) { None } else { Some(to - place) };
        Gap { missed, resume: self.before(to) }
    }

    /// The id that the event at `place` has or will have.
    pub(crate) fn id(&self, place: u64) -> Position {
        let at = self.ranges.partition_point(|chapter| chapter.seq <= place);
        let chapter = &self.ranges[at.saturating_sub(1)];
        Position { number: chapter.first.number + place.saturating_sub(chapter.seq), ..chapter.first }
    }

    /// The id just before the event at `place`, in the epoch of that event.
    pub(crate) fn before(&self, place: u64) -> Position {
        let id = self.id(place);
        Position { number: id.number.saturating_sub(1), ..id }
    }

    /// The id of the event before `place`, which a reader who has it all has seen last.
    pub(crate) fn seen(&self, place: u64) -> Position {
        if place <= self.ranges[0].seq { self.before(place) } else { self.id(place - 1) }
    }

    /// Where a reader goes on that saw `id` last.
    pub(crate) fn find(&self, id: Position) -> IdLookup {
        let begun = |chapter: &NumberRange| chapter.first.epoch == id.epoch && id.number >= chapter.first.number - 1;
        let Some(at) = self.ranges.iter().rposition(begun) else { return IdLookup::Unknown };
        let chapter = &self.ranges[at];
        let place = chapter.seq.saturating_add(id.number - (chapter.first.number - 1));
        let end = self.ranges.get(at + 1).map_or(self.next, |next| next.seq);
        if place > end { IdLookup::Ahead(end) } else { IdLookup::At(place) }
    }

    /// Where the current or else the last run begins.
    pub(crate) fn last_run_start(&self) -> Option<u64> {
        self.runs.back().map(|run| run.start)
    }

    /// The place of the first end of a run at `place` or after.
    pub(crate) fn first_run_end_from(&self, place: u64) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.end).find(|&end| end >= place)
    }

    /// Whether a run ended between the places `start` and `place`.
    pub(crate) fn run_ended_between(&self, start: u64, place: u64) -> bool {
        self.first_run_end_from(start).is_some_and(|end| end < place)
    }

    /// Whether the last run that began before `place` also ended before it.
    pub(crate) fn run_ended_before(&self, place: u64) -> bool {
        let run = self.runs.iter().rev().find(|run| run.start < place);
        run.is_some_and(|run| run.end.is_some_and(|end| end < place))
    }
}
