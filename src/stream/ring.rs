//! What is kept of a log in memory: append, drop, read. Plain data; knows no clock and no waiting.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::event::{OpenLine, Position, SourceState, Time};

use super::counts::StreamCounts;
use super::status::SourceStatus;
use crate::segment::numbering;
use crate::segment::{Numbering, Slice};
use crate::segment::{OpenLineChange, Segment};

/// Segments are merged until their text has this many bytes: large enough that a reader takes few, small enough that
/// dropping one drops little.
const MERGED_SEGMENT_SIZE: usize = 64 << 10;

/// Unmerged segments at the end, at most; a merge then costs one copy of few bytes.
const MAX_UNMERGED_SEGMENTS: usize = 64;

/// The events kept in memory, and where they stand.
#[derive(Debug)]
pub(super) struct Ring {
    segments: VecDeque<Arc<Segment>>,
    numbering: Numbering,
    /// The places that the history on disk holds; empty without one.
    recorded: Range<u64>,
    /// What the segments cost, in bytes.
    bytes: usize,
    /// How many segments at the end have not been merged yet.
    unmerged: usize,
    /// How the source is.
    state: Option<Arc<SourceState>>,
    /// How many bytes of the source are known to be unread.
    lag: u64,
    open: Option<Arc<OpenLine>>,
    /// Counts what readers must be told of `open`.
    open_line_version: u64,
    /// How the source gets on.
    pub(super) status: SourceStatus,
    /// Without its runs and gaps, which are counted elsewhere.
    counts: StreamCounts,
    /// The number of secrets that were removed from lines.
    redacted: u64,
    /// Why nothing is recorded at the moment; `None` if there is no history or it is written.
    degraded: Option<String>,
}

/// What there is at a place.
#[derive(Debug)]
pub(super) enum RingRead {
    /// Events from there on; at least one.
    Events(Vec<Slice>),
    /// Older than what memory holds: the history may have it, up to place `bound`.
    InHistory { bound: u64 },
    /// They were dropped or never came: go on at place `to`.
    Gap { to: u64 },
    /// Nothing yet.
    CaughtUp,
}

/// Where an id leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumePoint {
    /// The place just after the event with that id, which may have been dropped since.
    Known(u64),
    /// The id is unknown or ahead of the end: the place where such a reader goes on.
    Unknown(u64),
}

impl Ring {
    /// An empty ring, whose events will be numbered on from there.
    pub(super) fn new(numbering: Numbering) -> Self {
        Self {
            segments: VecDeque::new(),
            numbering,
            recorded: 0..0,
            bytes: 0,
            unmerged: 0,
            state: None,
            lag: 0,
            open: None,
            open_line_version: 0,
            status: SourceStatus::default(),
            counts: StreamCounts::default(),
            redacted: 0,
            degraded: None,
        }
    }

    /// What came so far.
    pub(super) fn counts(&self) -> StreamCounts {
        StreamCounts { runs: self.status.runs(), ..self.counts }
    }

    /// How it is numbered.
    pub(super) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// Lets numbering go on elsewhere; see [`Numbering::continue_at`].
    pub(crate) fn continue_at(&mut self, first: Position, missed: Option<u64>) -> bool {
        self.numbering.continue_at(first, missed)
    }

    /// Takes what a batch said beside its events; `events` is whether there were any.
    pub(super) fn update_source(&mut self, state: Option<Arc<SourceState>>, open: OpenLineChange, events: bool) {
        if state.is_some() {
            self.state = state;
        }
        match open {
            OpenLineChange::Unchanged => {}
            OpenLineChange::Cleared => {
                // A finished line takes its open line's place in the readers' eyes; only else they must be told.
                let taken_back = self.open.is_some() && !events;
                self.open_line_version += u64::from(taken_back);
                self.open = None;
            }
            OpenLineChange::Set(line) => {
                self.open_line_version += 1;
                self.open = Some(line);
            }
        }
    }

    /// Appends a segment, which is numbered to be the next one.
    pub(super) fn push(&mut self, segment: Segment) {
        self.numbering.add_segment(&segment);
        self.counts.add_segment(&segment);
        self.bytes += segment.memory_size();
        self.segments.push_back(Arc::new(segment));
        self.unmerged += 1;
        let young = self.segments.range(self.segments.len() - self.unmerged..);
        if self.unmerged >= MAX_UNMERGED_SEGMENTS
            || young.map(|segment| segment.text_len()).sum::<usize>() >= MERGED_SEGMENT_SIZE
        {
            self.merge();
        }
    }

    /// Merges the young segments, and a small one before them, into segments of about [`MERGED_SEGMENT_SIZE`] bytes.
    fn merge(&mut self) {
        let mut from = self.segments.len() - self.unmerged;
        if from > 0 && self.segments[from - 1].text_len() < MERGED_SEGMENT_SIZE / 2 {
            from -= 1;
        }
        let parts: Vec<_> = self.segments.drain(from..).collect();
        let mut group: Vec<Arc<Segment>> = Vec::new();
        let mut text = 0;
        for part in parts {
            let fits = text + part.text_len() <= MERGED_SEGMENT_SIZE
                && group.last().is_none_or(|last| last.is_continued_by(&part));
            if !fits {
                self.keep(&mut group);
                text = 0;
            }
            text += part.text_len();
            group.push(part);
        }
        self.keep(&mut group);
        self.unmerged = 0;
    }

    /// Puts a group of joining segments back as one.
    fn keep(&mut self, group: &mut Vec<Arc<Segment>>) {
        let merged = match group.as_slice() {
            [] => return,
            [one] => one.clone(),
            _ => {
                let merged = Arc::new(Segment::merge(group));
                self.bytes -= group.iter().map(|part| part.memory_size()).sum::<usize>();
                self.bytes += merged.memory_size();
                merged
            }
        };
        self.segments.push_back(merged);
        group.clear();
    }

    /// Drops the oldest segments until they cost at most `bytes`; the newest always stays.
    pub(super) fn trim(&mut self, bytes: usize) {
        while self.bytes > bytes && self.segments.len() > 1 {
            let Some(dropped) = self.segments.pop_front() else { break };
            self.bytes -= dropped.memory_size();
            self.unmerged = self.unmerged.min(self.segments.len());
        }
        self.numbering.forget_before(self.oldest());
    }

    /// Says which places the history holds now.
    pub(super) fn set_history_range(&mut self, recorded: Range<u64>) {
        self.recorded = recorded;
    }

    /// What the events cost in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.numbering.next()
    }

    /// The place of the oldest event in memory; the end if there is none.
    pub(super) fn first_in_memory(&self) -> u64 {
        self.segments.front().map_or(self.end(), |segment| segment.seq())
    }

    /// The place of the oldest event that can be had, from memory or the history; the end if there is none.
    pub(super) fn oldest(&self) -> u64 {
        let first = self.first_in_memory();
        if self.recorded.is_empty() { first } else { first.min(self.recorded.start) }
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.iter().cloned().collect()
    }

    /// The segments that hold the places from `place` on, oldest first.
    pub(super) fn segments_from(&self, place: u64) -> Vec<Arc<Segment>> {
        let at = self.segments.partition_point(|segment| segment.end() <= place);
        self.segments.range(at..).cloned().collect()
    }

    /// How the source is, if it ever said so.
    pub(super) fn state(&self) -> Option<&Arc<SourceState>> {
        self.state.as_ref()
    }

    /// How many bytes of the source are known to be unread.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }

    pub(super) fn set_lag(&mut self, lag: u64) {
        self.lag = lag;
    }

    /// The number of secrets that were removed from lines.
    pub(super) fn redacted(&self) -> u64 {
        self.redacted
    }

    pub(super) fn add_redacted(&mut self, count: u64) {
        self.redacted += count;
    }

    /// Why nothing is recorded at the moment; `None` if there is no history or it is written.
    pub(super) fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Sets the reason why nothing is recorded; `None` if the history is written.
    pub(super) fn set_degraded(&mut self, reason: Option<&str>) {
        if self.degraded.as_deref() != reason {
            self.degraded = reason.map(str::to_owned);
        }
    }

    /// The unfinished line, and a number that changes when readers must be told of it.
    pub(crate) fn open(&self) -> (Option<&Arc<OpenLine>>, u64) {
        (self.open.as_ref(), self.open_line_version)
    }

    /// The events from `place` on, but none from `bound` on, about `bytes` of text, and never beyond an end of a run.
    ///
    /// [`RingRead::Gap`] if the one at `place` was dropped, [`RingRead::CaughtUp`] if it is yet to come. One binary search and a
    /// reference count for each segment.
    pub(super) fn read(&self, place: u64, bound: u64, bytes: usize) -> RingRead {
        let bound = bound.min(self.end()).min(self.numbering.first_run_end_from(place).map_or(u64::MAX, |end| end + 1));
        if place >= bound {
            return RingRead::CaughtUp;
        }
        let at = self.segments.partition_point(|segment| segment.end() <= place);
        let first = self.segments.get(at).map(|segment| segment.seq());
        if first.is_none_or(|first| first > place) {
            return self.read_older(place, bound, first);
        }
        let mut slices: Vec<Slice> = Vec::new();
        let (mut next, mut text) = (first.unwrap_or(place), 0);
        for segment in self.segments.range(at..) {
            if segment.seq() != next || next >= bound || text >= bytes {
                break;
            }
            let to = usize::try_from(bound - segment.seq()).unwrap_or(usize::MAX).min(segment.len());
            slices.push(Slice { segment: segment.clone(), from: 0, to });
            text += segment.text_len();
            next = segment.end();
        }
        slices[0].from = usize::try_from(place - slices[0].segment.seq()).expect("the place is in this segment");
        RingRead::Events(slices)
    }

    /// What there is at `place`, which memory does not hold; it goes on at `first`, if it does.
    fn read_older(&self, place: u64, bound: u64, first: Option<u64>) -> RingRead {
        if self.recorded.contains(&place) {
            return RingRead::InHistory { bound: bound.min(first.unwrap_or(u64::MAX)) };
        }
        let recorded = Some(self.recorded.start).filter(|&start| !self.recorded.is_empty() && start > place);
        match [recorded, first].into_iter().flatten().min() {
            Some(to) => RingRead::Gap { to },
            None => RingRead::CaughtUp,
        }
    }

    /// Where a reader goes on that saw `id` last.
    pub(crate) fn find(&self, id: Position) -> ResumePoint {
        match self.numbering.find(id) {
            numbering::IdLookup::At(place) => ResumePoint::Known(place),
            numbering::IdLookup::Ahead(end) => ResumePoint::Unknown(end),
            numbering::IdLookup::Unknown => ResumePoint::Unknown(self.oldest()),
        }
    }

    /// The place of the first event in memory that was read at `time` or later.
    pub(super) fn since(&self, time: Time) -> u64 {
        let at = self.segments.partition_point(|segment| segment.time(segment.len() - 1) < time);
        self.segments.get(at).map_or(self.end(), |segment| segment.seq() + segment.before(time) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Flags, Origin};
    use crate::stream::Batch;
    use proptest::prelude::*;

    fn start() -> Position {
        Position { epoch: Epoch::persistent(7), number: 0 }
    }

    fn ring() -> Ring {
        Ring::new(Numbering::new(start()))
    }

    impl Ring {
        fn append(&mut self, batch: &mut Batch) {
            for segment in batch.cut(self.numbering.next_id(), self.numbering.next()) {
                self.push(segment);
            }
        }
    }

    /// An event, or how many a gap said were missed.
    type ReadResult = Result<(Position, Vec<u8>), Option<u64>>;

    /// Reads all that can be had from `place`.
    fn read_all(ring: &Ring, mut place: u64) -> Vec<ReadResult> {
        let mut seen = Vec::new();
        loop {
            match ring.read(place, u64::MAX, 1000) {
                RingRead::CaughtUp => return seen,
                RingRead::Gap { to } => {
                    let gap = ring.numbering.gap(place, to);
                    seen.push(Err(gap.missed));
                    assert_eq!(ring.find(gap.resume), ResumePoint::Known(to));
                    place = to;
                }
                RingRead::InHistory { .. } => panic!("there is no history"),
                RingRead::Events(slices) => {
                    for slice in slices {
                        assert!(slice.from < slice.to);
                        for at in slice.from..slice.to {
                            let event = slice.segment.event(at);
                            seen.push(Ok((event.id, event.text.to_vec())));
                        }
                        place = slice.segment.seq() + slice.to as u64;
                    }
                }
            }
        }
    }

    fn lines(lines: &[Vec<u8>]) -> Batch {
        let mut batch = Batch::new();
        for line in lines {
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, line);
        }
        batch
    }

    #[derive(Debug, Clone)]
    enum RingAction {
        Append(Vec<Vec<u8>>),
        Skip(u64),
        Epoch(Option<u64>),
        Trim(usize),
    }

    fn ring_actions() -> impl Strategy<Value = Vec<RingAction>> {
        let line = prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..40), 1 => Just(vec![b'x'; 40_000])];
        let act = prop_oneof![
            12 => prop::collection::vec(line, 1..20).prop_map(RingAction::Append),
            1 => (1u64..5).prop_map(RingAction::Skip),
            1 => prop::option::of(0u64..5).prop_map(RingAction::Epoch),
            2 => (0usize..200_000).prop_map(RingAction::Trim),
        ];
        prop::collection::vec(act, 0..150)
    }

    proptest! {
        /// The model keeps every event ever appended; the ring gives each of them once and in order, or counts it in a gap.
        #[test]
        fn each_event_comes_once_or_in_a_gap(acts in ring_actions(), late in any::<prop::sample::Index>()) {
            let mut ring = ring();
            let mut epoch = 7;
            // What the model holds for each place: an event, one missing event, or missing events of unknown number.
            let mut model: Vec<Result<(Position, Vec<u8>), bool>> = Vec::new();
            let mut next = Position { number: 1, ..start() };
            for act in acts {
                match act {
                    RingAction::Append(texts) => {
                        ring.append(&mut lines(&texts));
                        for text in texts {
                            model.push(Ok((next, text)));
                            next.number += 1;
                        }
                    }
                    RingAction::Skip(count) => {
                        next.number += count;
                        prop_assert!(ring.continue_at(next, None));
                        model.extend((0..count).map(|_| Err(true)));
                    }
                    RingAction::Epoch(missed) => {
                        epoch += 1;
                        next = Position { epoch: Epoch::persistent(epoch), number: 1 };
                        prop_assert!(ring.continue_at(next, missed));
                        model.extend((0..missed.unwrap_or(1)).map(|_| Err(missed.is_some())));
                    }
                    RingAction::Trim(bytes) => ring.trim(bytes),
                }
                let again = Position { number: next.number - 1, ..next };
                prop_assert!(!ring.continue_at(again, None), "what was delivered before is not taken again");
            }
            prop_assert_eq!(ring.end(), model.len() as u64);
            prop_assert_eq!(ring.bytes(), ring.segments().iter().map(|segment| segment.memory_size()).sum::<usize>());
            let place = late.index(model.len() + 1);
            let mut rest = model[place..].iter().peekable();
            let mut whole = true;
            for seen in read_all(&ring, place as u64) {
                match seen {
                    Ok((id, text)) => {
                        // Ids that were skipped just before were told by a gap; this one is the next of the model.
                        prop_assert_eq!(rest.next(), Some(&Ok((id, text))));
                        prop_assert_eq!(ring.find(id), ResumePoint::Known((model.len() - rest.len()) as u64));
                        whole = true;
                    }
                    Err(missed) => {
                        prop_assert!(whole, "two gaps in a row");
                        whole = false;
                        let kept = ring.segments().iter().find(|s| s.end() > (model.len() - rest.len()) as u64).unwrap().seq();
                        let mut known = true;
                        let mut count = 0;
                        while ((model.len() - rest.len()) as u64) < kept {
                            known &= rest.next().unwrap() != &Err(false);
                            count += 1;
                        }
                        let forgotten = missed.is_none() && epoch > 64;
                        prop_assert!(forgotten || missed == known.then_some(count));
                    }
                }
            }
            // What is left is only what never came, behind the last event.
            prop_assert!(rest.all(Result::is_err));
        }
    }

    #[test]
    fn an_unknown_id_goes_on_at_the_oldest_and_one_ahead_at_the_end() {
        let mut ring = ring();
        ring.append(&mut lines(&[b"a".to_vec(), b"b".to_vec()]));
        let id = |millis, number| Position { epoch: Epoch::persistent(millis), number };
        assert_eq!(ring.find(id(7, 0)), ResumePoint::Known(0));
        assert_eq!(ring.find(id(7, 2)), ResumePoint::Known(2));
        assert_eq!(ring.find(id(7, 3)), ResumePoint::Unknown(2));
        assert_eq!(ring.find(id(7, u64::MAX)), ResumePoint::Unknown(2));
        assert_eq!(ring.find(id(6, 1)), ResumePoint::Unknown(0));
        assert!(ring.continue_at(id(9, 1), Some(0)));
        ring.append(&mut lines(&[b"c".to_vec()]));
        assert_eq!(ring.find(id(7, 2)), ResumePoint::Known(2), "an id of an earlier epoch goes on without a gap");
        assert_eq!(ring.find(id(7, 5)), ResumePoint::Unknown(2));
        assert_eq!(ring.find(id(9, 0)), ResumePoint::Known(2));
    }

    #[test]
    fn an_epoch_without_events_does_not_forget_an_unknown_loss() {
        let mut ring = ring();
        ring.append(&mut lines(&[b"a".to_vec()]));
        let first = |millis| Position { epoch: Epoch::persistent(millis), number: 1 };
        assert!(ring.continue_at(first(8), None) && ring.continue_at(first(9), Some(0)));
        ring.append(&mut lines(&[b"b".to_vec()]));
        let seen = read_all(&ring, 0);
        assert_eq!(seen[1], Err(None));
        assert_eq!(seen[2], Ok((first(9), b"b".to_vec())));
    }

    #[test]
    fn small_segments_are_merged_and_keep_what_they_say() {
        let mut ring = ring();
        for number in 0..10_000 {
            ring.append(&mut lines(&[format!("line {number}").into_bytes()]));
        }
        assert!(
            ring.segments().len() < 10_000 * 10 / MERGED_SEGMENT_SIZE + 2 * MAX_UNMERGED_SEGMENTS,
            "{} segments",
            ring.segments().len()
        );
        let seen = read_all(&ring, 0);
        assert_eq!(seen.len(), 10_000);
        assert_eq!(seen[9_999], Ok((Position { number: 10_000, ..start() }, b"line 9999".to_vec())));
    }

    #[test]
    fn a_read_stops_at_the_end_of_a_run() {
        let mut ring = ring();
        let run = |run| SourceState::Running { run, pid: None, note: None };
        let end = |run| crate::event::RunEnd {
            run,
            code: Some(0),
            signal: None,
            duration: None,
            peak_memory: None,
            cause: crate::event::EndCause::Exited,
        };
        let mut batch = Batch::new();
        for number in 1..=2 {
            batch.state(Time(0), run(number));
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"x");
            batch.end(Time(0), &end(number));
        }
        ring.append(&mut batch);
        let RingRead::Events(slices) = ring.read(0, u64::MAX, 1000) else { panic!("no events") };
        assert_eq!((slices[0].from, slices[0].to), (0, 3));
        assert_eq!(ring.numbering.last_run_start(), Some(3));
        assert!(
            ring.numbering.run_ended_before(3)
                && !ring.numbering.run_ended_before(2)
                && !ring.numbering.run_ended_before(5)
                && ring.numbering.run_ended_before(6)
        );
        assert!(
            ring.numbering.run_ended_between(0, 3)
                && !ring.numbering.run_ended_between(0, 2)
                && !ring.numbering.run_ended_between(3, 5)
        );
    }
}
