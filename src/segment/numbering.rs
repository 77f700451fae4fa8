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
const MAX_RANGES_WITHOUT_EVENTS: usize = 64;

/// The most ranges that are remembered in any case: a few hundred kilobytes for a log with thousands of
/// discontinuities.
const MAX_NUMBER_RANGES: usize = 4096;

/// The ids and the runs of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbering {
    /// Never empty, with strictly ascending `seq`. The next event belongs to the last one, so its `seq` is <= `next`.
    #[serde(rename = "chapters")]
    ranges: VecDeque<NumberRange>,
    /// In order, at most [`MAX_RANGES_WITHOUT_EVENTS`]; only the last one can be without an end. All before `next`.
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
        while self.runs.len() > MAX_RANGES_WITHOUT_EVENTS {
            self.runs.pop_front();
        }
        self.next = segment.end();
    }

    /// Forgets ranges of events before `kept`, except for the last [`MAX_RANGES_WITHOUT_EVENTS`].
    pub(crate) fn forget_before(&mut self, kept: u64) {
        while self.ranges.len() > MAX_NUMBER_RANGES
            || (self.ranges.len() > MAX_RANGES_WITHOUT_EVENTS && self.ranges[1].seq <= kept)
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

    /// The id of the event with the sequence number `seq`; `None` if its range is forgotten.
    pub(crate) fn known_id(&self, seq: u64) -> Option<Position> {
        (seq >= self.ranges[0].seq).then(|| self.id(seq))
    }

    /// The id before that of the event with the sequence number `seq`, in the epoch of that event; its number may be
    /// 0.
    pub(crate) fn id_before(&self, seq: u64) -> Position {
        let id = self.id(seq);
        debug_assert!(id.number > 0, "the numbers of an epoch begin with 1");
        Position { number: id.number - 1, ..id }
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

    /// The sequence numbers of the start and of the end of the last run; no end while it lasts. Of a run whose start is
    /// unknown, both are those of the end.
    pub(crate) fn last_run(&self) -> Option<(u64, Option<u64>)> {
        self.runs.back().map(|run| (run.start, run.end))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EndCause, Epoch, Origin, RunEnd, SourceState, Time};
    use crate::segment::Batch;
    use proptest::prelude::*;

    const EPOCH: Epoch = Epoch::persistent(7);

    fn id(number: u64) -> Position {
        Position { epoch: EPOCH, number }
    }

    fn in_epoch(epoch: u64, number: u64) -> Position {
        Position { epoch: Epoch::persistent(epoch), number }
    }

    fn add(numbering: &mut Numbering, mut batch: Batch) {
        for segment in batch.take_segments(numbering.next_id(), numbering.next()) {
            numbering.add_segment(&segment);
        }
    }

    fn add_lines(numbering: &mut Numbering, count: u64) {
        let mut batch = Batch::new();
        for _ in 0..count {
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"");
        }
        add(numbering, batch);
    }

    fn add_run_start(numbering: &mut Numbering) {
        let mut batch = Batch::new();
        batch.state(Time(0), SourceState::Running { run: 1, pid: None, note: None });
        add(numbering, batch);
    }

    fn add_run_end(numbering: &mut Numbering) {
        let mut batch = Batch::new();
        let end = RunEnd {
            run: 1,
            code: None,
            signal: None,
            duration: None,
            peak_memory: None,
            cause: EndCause::Exited,
            killed: Vec::new(),
        };
        batch.end(Time(0), &end);
        add(numbering, batch);
    }

    /// What happens to a log.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Lines(u64),
        /// This many numbers of the same epoch are skipped.
        Skip(u64),
        /// The next epoch begins with this number, after this many missed events or an unknown number.
        NewEpoch(u64, Option<u64>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u64..4).prop_map(Step::Lines),
            (0u64..3).prop_map(Step::Skip),
            (1u64..4, prop::option::of(0u64..3)).prop_map(|(number, missed)| Step::NewEpoch(number, missed)),
        ];
        prop::collection::vec(step, 0..12)
    }

    /// The id of each sequence number, one by one.
    struct NumberingModel {
        ids: Vec<Position>,
        next_id: Position,
        /// The sequence numbers before which an unknown number of events is missing.
        after_unknown: Vec<u64>,
    }

    impl NumberingModel {
        fn next(&self) -> u64 {
            self.ids.len() as u64
        }

        fn take(&mut self, count: u64) {
            for _ in 0..count {
                self.ids.push(self.next_id);
                self.next_id.number += 1;
            }
        }

        fn apply(&mut self, step: Step) {
            match step {
                Step::Lines(count) | Step::Skip(count) => self.take(count),
                Step::NewEpoch(number, missed) => {
                    self.take(missed.unwrap_or(1));
                    if missed.is_none() {
                        self.after_unknown.push(self.next());
                    }
                    self.next_id = in_epoch(self.next_id.epoch.millis() + 1, number);
                }
            }
        }

        /// The sequence number after the event with this id.
        fn find(&self, id: Position) -> IdLookup {
            match self.ids.iter().rposition(|known| *known == id) {
                Some(at) => IdLookup::At(at as u64 + 1),
                None => panic!("{id} is in the log"),
            }
        }
    }

    proptest! {
        #[test]
        fn ids_follow_a_model_that_lists_them(steps in steps()) {
            let mut numbering = Numbering::new(id(4));
            let mut model = NumberingModel { ids: Vec::new(), next_id: id(5), after_unknown: Vec::new() };
            for step in steps {
                let next = numbering.next_id();
                match step {
                    Step::Lines(count) => add_lines(&mut numbering, count),
                    Step::Skip(count) => {
                        let first = Position { number: next.number + count, ..next };
                        prop_assert!(numbering.continue_at(first, None));
                    }
                    Step::NewEpoch(number, missed) => {
                        prop_assert!(numbering.continue_at(in_epoch(next.epoch.millis() + 1, number), missed));
                    }
                }
                model.apply(step);
                prop_assert_eq!((numbering.next(), numbering.next_id()), (model.next(), model.next_id));
                prop_assert!(numbering.is_valid(1000));
            }
            for (seq, &id) in (0u64..).zip(&model.ids) {
                prop_assert_eq!(numbering.id(seq), id);
                prop_assert_eq!(numbering.id_before(seq), Position { number: id.number - 1, ..id });
                prop_assert_eq!(numbering.find(id), model.find(id));
                prop_assert_eq!(numbering.last_seen_id(seq + 1), id);
            }
            // After the end of an epoch, and in one that is unknown.
            let last = Position { number: model.next_id.number + 1, ..model.next_id };
            prop_assert_eq!(numbering.find(last), IdLookup::Ahead(model.next()));
            prop_assert_eq!(numbering.find(in_epoch(1000, 1)), IdLookup::Unknown);
            prop_assert_eq!(numbering.find(id(0)), IdLookup::Unknown);
            for from in 0..=model.next() {
                for to in from..=model.next() {
                    let is_unknown = model.after_unknown.iter().any(|&seq| from < seq && seq <= to);
                    prop_assert_eq!(numbering.has_unknown_loss(from, to), is_unknown);
                    let missed = (!is_unknown).then_some(to - from);
                    prop_assert_eq!(numbering.gap(from, to), Gap { missed, resume: numbering.id_before(to) });
                }
            }
        }
    }

    #[test]
    fn an_id_ahead_of_an_old_epoch_is_found_at_its_end() {
        let mut numbering = Numbering::new(id(0));
        add_lines(&mut numbering, 3);
        assert!(numbering.continue_at(in_epoch(8, 1), Some(0)));
        add_lines(&mut numbering, 2);
        let table = [
            (id(0), IdLookup::At(0)),
            (id(3), IdLookup::At(3)),
            (id(4), IdLookup::Ahead(3)),
            (id(u64::MAX), IdLookup::Ahead(3)),
            (in_epoch(8, 0), IdLookup::At(3)),
            (in_epoch(8, 2), IdLookup::At(5)),
            (in_epoch(8, 3), IdLookup::Ahead(5)),
        ];
        for (id, expected) in table {
            assert_eq!(numbering.find(id), expected, "{id}");
        }
        assert_eq!(numbering.last_seen_id(0), id(0));
        assert_eq!(numbering.discontinuities().collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn numbers_never_go_back() {
        let mut numbering = Numbering::new(id(0));
        add_lines(&mut numbering, 3);
        let before = numbering.clone();
        assert!(!numbering.continue_at(id(3), None) && numbering == before);
        assert!(numbering.continue_at(id(4), None) && numbering == before);
        assert!(!numbering.replay_to(id(3), 2, false) && numbering == before);
        assert!(!numbering.replay_to(id(3), 2, true) && numbering == before);
    }

    #[test]
    fn a_recorded_numbering_is_replayed() {
        let mut numbering = Numbering::starting_at(id(5), 100);
        assert_eq!((numbering.next(), numbering.next_id(), numbering.id_before(100)), (100, id(5), id(4)));
        // The first id, its sequence number, whether an unknown number is missing before it, and where ranges begin.
        let table = [
            (id(5), 100, false, &[100][..]),
            (id(8), 103, false, &[100]),
            (id(9), 103, false, &[100, 103]),
            (id(9), 103, true, &[100, 103]),
            (id(10), 104, false, &[100, 103]),
            (id(11), 105, true, &[100, 103, 105]),
            (in_epoch(8, 1), 106, false, &[100, 103, 105, 106]),
        ];
        for (first, seq, unknown, ranges) in table {
            assert!(numbering.replay_to(first, seq, unknown));
            assert_eq!((numbering.next(), numbering.next_id()), (seq, first));
            assert_eq!(numbering.discontinuities().collect::<Vec<_>>(), ranges, "{first}");
            assert_eq!(numbering.has_unknown_loss(seq - 1, seq), unknown, "{first}");
        }
    }

    #[test]
    fn the_oldest_ranges_are_forgotten() {
        let mut numbering = Numbering::new(id(0));
        for epoch in 8..88 {
            add_lines(&mut numbering, 1);
            assert!(numbering.continue_at(in_epoch(epoch, 1), Some(0)));
        }
        let all = numbering.clone();
        assert_eq!(all.discontinuities().count(), 81);
        // The first sequence number that is kept, and the first range.
        for (kept, first) in [(0, 0), (1, 1), (9, 9), (16, 16), (17, 17), (18, 17), (80, 17)] {
            let mut numbering = all.clone();
            numbering.forget_before(kept);
            assert_eq!(numbering.discontinuities().next(), Some(first), "{kept}");
            assert_eq!(numbering.discontinuities().count() as u64, 81 - first, "{kept}");
        }
        numbering.forget_before(80);
        assert_eq!(numbering.gap(16, 20).missed, None, "some may be missing before the first range that is known");
        assert_eq!(numbering.gap(17, 20).missed, Some(3));
        assert_eq!(numbering.id(16), in_epoch(24, 1));
        assert_eq!(numbering.last_seen_id(17), in_epoch(24, 0));
        assert_eq!(numbering.last_seen_id(18), in_epoch(24, 1));
        assert_eq!(numbering.find(id(1)), IdLookup::Unknown);

        for epoch in 88..88 + MAX_NUMBER_RANGES as u64 {
            add_lines(&mut numbering, 1);
            assert!(numbering.continue_at(in_epoch(epoch, 1), Some(0)));
        }
        numbering.forget_before(0);
        assert_eq!(numbering.discontinuities().count(), MAX_NUMBER_RANGES);
    }

    #[test]
    fn runs_are_found_by_their_first_and_last_events() {
        let mut numbering = Numbering::new(id(0));
        assert_eq!((numbering.last_run().map(|run| run.0), numbering.first_run_end_from(0)), (None, None));
        assert!(!numbering.run_ended_before(9));
        // Lines 0 and 1, a run from 2 to 5, and one from 6 that lasts.
        add_lines(&mut numbering, 2);
        add_run_start(&mut numbering);
        add_lines(&mut numbering, 2);
        assert_eq!((numbering.last_run().map(|run| run.0), numbering.first_run_end_from(0)), (Some(2), None));
        add_run_end(&mut numbering);
        add_run_start(&mut numbering);
        add_lines(&mut numbering, 1);
        assert_eq!(numbering.last_run().map(|run| run.0), Some(6));
        assert_eq!([0, 5, 6].map(|seq| numbering.first_run_end_from(seq)), [Some(5), Some(5), None]);
        let table = [(0, 5, false), (0, 6, true), (5, 6, true), (6, 9, false)];
        for (start, seq, ended) in table {
            assert_eq!(numbering.run_ended_between(start, seq), ended, "{start} {seq}");
        }
        for (seq, ended) in [(2, false), (3, false), (5, false), (6, true), (7, false)] {
            assert_eq!(numbering.run_ended_before(seq), ended, "{seq}");
        }
        // The end of a run whose start was not seen.
        add_run_end(&mut numbering);
        add_run_end(&mut numbering);
        assert_eq!((numbering.last_run().map(|run| run.0), numbering.first_run_end_from(9)), (Some(9), Some(9)));
        assert!(numbering.is_valid(1000));

        for _ in 0..MAX_RANGES_WITHOUT_EVENTS {
            add_run_start(&mut numbering);
            add_run_end(&mut numbering);
        }
        assert_eq!(numbering.runs.len(), MAX_RANGES_WITHOUT_EVENTS);
        assert_eq!(numbering.first_run_end_from(0), Some(11));
    }

    type Damage = fn(&mut Numbering);

    #[test]
    fn a_damaged_numbering_is_invalid() {
        let mut numbering = Numbering::new(id(0));
        add_run_start(&mut numbering);
        add_run_end(&mut numbering);
        assert!(numbering.continue_at(id(10), None));
        add_lines(&mut numbering, 1);
        // The number of the last event is 10, as is the next sequence number, since 7 numbers were skipped.
        assert_eq!(numbering.next(), 10);
        assert!(numbering.is_valid(10) && !numbering.is_valid(9));
        let damages: [(&str, Damage); 10] = [
            ("no range", |it| it.ranges.clear()),
            ("a range twice", |it| it.ranges[1].seq = it.ranges[0].seq),
            ("ranges in the wrong order", |it| it.ranges.swap(0, 1)),
            ("a range after the next event", |it| it.ranges[1].seq = it.next + 1),
            ("the number 0", |it| it.ranges[0].first.number = 0),
            ("a number beyond all bounds", |it| it.ranges[1].first.number = 11),
            ("a run that begins with the next event", |it| it.runs[0].start = it.next),
            ("a run that ends with the next event", |it| it.runs[0].end = Some(it.next)),
            ("a next event beyond all bounds", |it| it.next = 11),
            ("a next event before the last range", |it| it.next = 8),
        ];
        for (damage, make) in damages {
            let mut copy = numbering.clone();
            make(&mut copy);
            assert!(!copy.is_valid(10), "{damage}");
        }
        numbering.runs[0].end = None;
        numbering.ranges[1].seq = numbering.next;
        assert!(numbering.is_valid(10));
    }
}
