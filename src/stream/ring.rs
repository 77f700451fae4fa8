//! The events of a log in memory: append, drop, read. The ring is plain data: no method uses a clock or waits.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::event::{EventKind, OpenLine, Position, SourceState, Time};

use super::counts::StreamCounts;
use super::status::SourceStatus;
use crate::segment::Segment;
use crate::segment::numbering;
use crate::segment::{Numbering, Slice};

/// The text, in bytes, up to which segments are merged: large enough that a reader takes few of them, small enough that
/// dropping one drops little.
const MERGED_SEGMENT_SIZE: usize = 64 << 10;

/// The most unmerged segments at the end; a merge then copies few bytes.
const MAX_UNMERGED_SEGMENTS: usize = 64;

/// The most events in memory that are no lines and are known as such; of more, the rate counts the oldest as lines.
const MAX_OTHER_EVENTS: usize = 1000;

/// The events in memory, their numbering, and the newest state of the source.
#[derive(Debug)]
pub(super) struct Ring {
    /// The segments in ascending order; none is empty. The sequence numbers may have a hole between two of them. The
    /// last segment ends at `numbering.next()` or before.
    segments: VecDeque<Arc<Segment>>,
    numbering: Numbering,
    /// The sequence numbers that the history on disk holds; empty without a history. May overlap `segments`.
    recorded: Range<u64>,
    /// The memory of all segments, in bytes: always the sum of their `memory_size`.
    bytes: usize,
    /// The number of segments at the end that have not been merged yet; always <= `segments.len()`.
    unmerged: usize,
    /// The state that the source reported last; `None` before its first report.
    state: Option<Arc<SourceState>>,
    /// The number of bytes of the source that are known to be unread.
    lag: u64,
    /// The open lines at the end with their versions, at most one of each origin and [`OpenLine::MAX_ORIGINS`].
    open: Vec<(u64, Arc<OpenLine>)>,
    /// The version of `open`, which grows with each change.
    open_version: u64,
    /// The last run and the progress of the source.
    pub(super) status: SourceStatus,
    /// The counts of the log, except for its runs, their take-overs, and gaps, which are counted elsewhere.
    counts: StreamCounts,
    /// The sequence numbers of the newest events in memory that are no lines, ascending; at most [`MAX_OTHER_EVENTS`].
    other_events: VecDeque<u64>,
    /// The number of secrets that were removed from lines.
    redacted: u64,
    /// The reason why nothing is recorded at present; `None` if there is no history, or if it is being written.
    degraded: Option<String>,
}

/// The result of a read.
#[derive(Debug)]
pub(super) enum RingRead {
    /// At least one slice, each with at least one event.
    Events(Vec<Slice>),
    /// The event is older than those in memory; the history has it, and those after it at most up to `bound`.
    InHistory { bound: u64 },
    /// The events before `to` were dropped or never came; reading continues there.
    Gap { to: u64 },
    /// The event has not come yet.
    CaughtUp,
}

/// The point from which a reader that has seen an id continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResumePoint {
    /// After the event with that id, which may have been dropped since.
    Known(u64),
    /// At this sequence number, with a gap of unknown length: the id is unknown, or ahead of the end of its epoch.
    Unknown(u64),
}

impl Ring {
    /// An empty ring, whose first event is the next one of `numbering`.
    pub(super) fn new(numbering: Numbering) -> Self {
        Self {
            segments: VecDeque::new(),
            numbering,
            recorded: 0..0,
            bytes: 0,
            unmerged: 0,
            state: None,
            lag: 0,
            open: Vec::new(),
            open_version: 0,
            status: SourceStatus::default(),
            counts: StreamCounts::default(),
            other_events: VecDeque::new(),
            redacted: 0,
            degraded: None,
        }
    }

    /// The counts so far, without gaps.
    pub(super) fn counts(&self) -> StreamCounts {
        self.status.add_counts(self.counts)
    }

    /// The numbering of all events, in memory or not.
    pub(super) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// Continues the numbering elsewhere; see [`Numbering::continue_at`].
    pub(crate) fn continue_at(&mut self, first: Position, missed: Option<u64>) -> bool {
        self.numbering.continue_at(first, missed)
    }

    /// Applies the state and the open lines of a batch. Of more origins than are shown, the oldest lines stay.
    pub(super) fn update_source(&mut self, state: Option<Arc<SourceState>>, open: Vec<Arc<OpenLine>>) {
        if state.is_some() {
            self.state = state;
        }
        for line in open {
            self.open_version += 1;
            let known = self.open.iter().position(|(_, known)| known.origin == line.origin);
            match known {
                Some(at) if line.rows.is_empty() => drop(self.open.remove(at)),
                Some(at) => self.open[at] = (self.open_version, line),
                None if line.rows.is_empty() || self.open.len() >= OpenLine::MAX_ORIGINS => {}
                None => self.open.push((self.open_version, line)),
            }
        }
    }

    /// Appends a segment, whose first event is the next one of the numbering.
    pub(super) fn push(&mut self, segment: Segment) {
        self.numbering.add_segment(&segment);
        let lines = self.counts.lines;
        self.counts.add_segment(&segment);
        if self.counts.lines - lines < segment.len() as u64 {
            let others = (0..segment.len()).filter(|&at| segment.kind(at).0 != EventKind::Line);
            self.other_events.extend(others.map(|at| segment.seq() + at as u64));
            let excess = self.other_events.len().saturating_sub(MAX_OTHER_EVENTS);
            self.other_events.drain(..excess);
        }
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

    /// Puts consecutive segments back, merged into one.
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

    /// Drops the oldest segments until all together take at most `bytes`; the newest always stays.
    pub(super) fn trim(&mut self, bytes: usize) {
        while self.bytes > bytes && self.segments.len() > 1 {
            let Some(dropped) = self.segments.pop_front() else { break };
            self.bytes -= dropped.memory_size();
            self.unmerged = self.unmerged.min(self.segments.len());
        }
        let forgotten = self.other_events.partition_point(|&seq| seq < self.first_in_memory());
        self.other_events.drain(..forgotten);
        self.numbering.forget_before(self.oldest());
    }

    /// The number of events from `seq` on that are no lines. Cost: a binary search.
    pub(super) fn other_events_from(&self, seq: u64) -> u64 {
        (self.other_events.len() - self.other_events.partition_point(|&other| other < seq)) as u64
    }

    /// Sets the sequence numbers that the history holds.
    pub(super) fn set_history_range(&mut self, recorded: Range<u64>) {
        self.recorded = recorded;
    }

    /// The memory of all segments, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of the segments with events from `seq` on, in bytes. Cost: a look at each of them.
    pub(super) fn bytes_from(&self, seq: u64) -> usize {
        let newest = self.segments.iter().rev();
        newest.take_while(|segment| segment.end() > seq).map(|segment| segment.memory_size()).sum()
    }

    /// The memory that a byte of the source takes, rounded up, judged by the newest segment; `None` if there is none. Each
    /// event took at least a newline.
    pub(super) fn memory_per_source_byte(&self) -> Option<usize> {
        self.segments.back().map(|segment| segment.memory_size().div_ceil(segment.text_len() + segment.len()))
    }

    /// The sequence number of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.numbering.next()
    }

    /// The sequence number of the oldest event in memory; the end if there is none.
    pub(super) fn first_in_memory(&self) -> u64 {
        self.segments.front().map_or(self.end(), |segment| segment.seq())
    }

    /// The sequence number of the oldest event in memory or in the history; the end if there is none.
    pub(super) fn oldest(&self) -> u64 {
        let first = self.first_in_memory();
        if self.recorded.is_empty() { first } else { first.min(self.recorded.start) }
    }

    /// All segments, oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.iter().cloned().collect()
    }

    /// The segments with events from `seq` on, oldest first; the first may begin before `seq`.
    pub(super) fn segments_from(&self, seq: u64) -> Vec<Arc<Segment>> {
        let at = self.segments.partition_point(|segment| segment.end() <= seq);
        self.segments.range(at..).cloned().collect()
    }

    /// The state that the source reported last.
    pub(super) fn state(&self) -> Option<&Arc<SourceState>> {
        self.state.as_ref()
    }

    /// The number of bytes of the source that are known to be unread.
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

    /// The reason why nothing is recorded at present; `None` if there is no history, or if it is being written.
    pub(super) fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// Sets the reason why nothing is recorded; `None` if the history is written.
    pub(super) fn set_degraded(&mut self, reason: Option<&str>) {
        if self.degraded.as_deref() != reason {
            self.degraded = reason.map(str::to_owned);
        }
    }

    /// The open lines, each with the version since which it is as it is.
    pub(crate) fn open(&self) -> &[(u64, Arc<OpenLine>)] {
        &self.open
    }

    /// A number that changes with the open lines.
    pub(crate) fn open_version(&self) -> u64 {
        self.open_version
    }

    /// The events from the sequence number `seq` to before `bound`, about `bytes` of text, and never beyond the end
    /// of a run.
    ///
    /// [`RingRead::Gap`] if the event at `seq` was dropped, [`RingRead::CaughtUp`] if it has not come yet. Cost: one
    /// binary search, and a reference count for each segment.
    pub(super) fn read(&self, seq: u64, bound: u64, bytes: usize) -> RingRead {
        let bound = bound.min(self.end()).min(self.numbering.first_run_end_from(seq).map_or(u64::MAX, |end| end + 1));
        if seq >= bound {
            return RingRead::CaughtUp;
        }
        let at = self.segments.partition_point(|segment| segment.end() <= seq);
        let first = self.segments.get(at).map(|segment| segment.seq());
        if first.is_none_or(|first| first > seq) {
            return self.read_older(seq, bound, first);
        }
        let mut slices: Vec<Slice> = Vec::new();
        let (mut next, mut text) = (first.unwrap_or(seq), 0);
        for segment in self.segments.range(at..) {
            if segment.seq() != next || next >= bound || text >= bytes {
                break;
            }
            let to = usize::try_from(bound - segment.seq()).unwrap_or(usize::MAX).min(segment.len());
            slices.push(Slice { segment: segment.clone(), from: 0, to });
            text += segment.text_len();
            next = segment.end();
        }
        slices[0].from =
            usize::try_from(seq - slices[0].segment.seq()).expect("the sequence number is in this segment");
        RingRead::Events(slices)
    }

    /// The result of a read at the sequence number `seq`, which is not in memory; the next event in memory is
    /// `first`.
    fn read_older(&self, seq: u64, bound: u64, first: Option<u64>) -> RingRead {
        if self.recorded.contains(&seq) {
            return RingRead::InHistory { bound: bound.min(first.unwrap_or(u64::MAX)) };
        }
        let recorded = Some(self.recorded.start).filter(|&start| !self.recorded.is_empty() && start > seq);
        match [recorded, first].into_iter().flatten().min() {
            Some(to) => RingRead::Gap { to },
            None => RingRead::CaughtUp,
        }
    }

    /// The point from which a reader continues whose last event was `id`.
    pub(crate) fn find(&self, id: Position) -> ResumePoint {
        match self.numbering.find(id) {
            numbering::IdLookup::At(seq) => ResumePoint::Known(seq),
            numbering::IdLookup::Ahead(end) => ResumePoint::Unknown(end),
            numbering::IdLookup::Unknown => ResumePoint::Unknown(self.oldest()),
        }
    }

    /// The sequence number of the first event in memory that was read at `time` or later; the end if there is none.
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
            for segment in batch.take_segments(self.numbering.next_id(), self.numbering.next()) {
                self.push(segment);
            }
        }
    }

    /// An event, or the number of missed events in a gap.
    type ReadResult = Result<(Position, Vec<u8>), Option<u64>>;

    /// Reads everything that is available from the sequence number `seq`.
    fn read_all(ring: &Ring, mut seq: u64) -> Vec<ReadResult> {
        let mut seen = Vec::new();
        loop {
            match ring.read(seq, u64::MAX, 1000) {
                RingRead::CaughtUp => return seen,
                RingRead::Gap { to } => {
                    let gap = ring.numbering.gap(seq, to);
                    seen.push(Err(gap.missed));
                    assert_eq!(ring.find(gap.resume), ResumePoint::Known(to));
                    seq = to;
                }
                RingRead::InHistory { .. } => panic!("there is no history"),
                RingRead::Events(slices) => {
                    for slice in slices {
                        assert!(slice.from < slice.to);
                        for at in slice.from..slice.to {
                            let event = slice.segment.event(at);
                            seen.push(Ok((event.id, event.text.to_vec())));
                        }
                        seq = slice.segment.seq() + slice.to as u64;
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
        /// The model keeps every event ever appended. The ring returns each of them once and in order, or counts it in
        /// a gap.
        #[test]
        fn each_event_comes_once_or_in_a_gap(acts in ring_actions(), late in any::<prop::sample::Index>()) {
            let mut ring = ring();
            let mut epoch = 7;
            // The model holds for each sequence number an event, one missing event, or missing events of unknown
            // number.
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
            let seq = late.index(model.len() + 1);
            let mut rest = model[seq..].iter().peekable();
            let mut whole = true;
            for seen in read_all(&ring, seq as u64) {
                match seen {
                    Ok((id, text)) => {
                        // Ids that were skipped just before were reported by a gap; this event is the next one of the
                        // model.
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
            // Only events that never came remain after the last event.
            prop_assert!(rest.all(Result::is_err));
        }
    }

    #[test]
    fn an_unknown_id_resumes_at_the_oldest_and_one_ahead_at_the_end() {
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
        assert_eq!(ring.find(id(7, 2)), ResumePoint::Known(2), "an id of an earlier epoch continues without a gap");
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
    fn states_are_told_from_lines_as_long_as_they_are_in_memory() {
        let mut ring = ring();
        let mut batch = Batch::new();
        batch.state(Time(0), SourceState::Receiving);
        batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"x");
        batch.state(Time(0), SourceState::Stopping);
        ring.append(&mut batch);
        ring.append(&mut lines(&[b"y".to_vec(), vec![b'z'; 1000]]));
        let others = |ring: &Ring| [0, 1, 3, 5].map(|seq| ring.other_events_from(seq));
        assert_eq!(others(&ring), [2, 1, 0, 0]);
        ring.trim(0);
        assert_eq!(others(&ring), [0; 4]);
        for _ in 0..2 * MAX_OTHER_EVENTS {
            let mut batch = Batch::new();
            batch.state(Time(0), SourceState::Receiving);
            ring.append(&mut batch);
        }
        assert_eq!(ring.other_events_from(0), MAX_OTHER_EVENTS as u64);
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
            killed: Vec::new(),
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
        assert_eq!(ring.numbering.last_run().map(|run| run.0), Some(3));
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
