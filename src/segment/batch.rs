//! Events on their way into a log: a [`Batch`] becomes segments.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{
    EventKind, Flags, Loss, OpenLine, Origin, Position, Progress, RunEnd, SourceState, Time, has_escapes,
};

use crate::structured::level_of_text;

use super::checkpoint::CheckpointChange;
use super::segment::{IndexEntry, LoggedTimes, NO_ORIGIN, Segment, event_index, intern};
use super::status_change::StatusChange;

/// The recorded size of a segment, in bytes, from which a batch is cut. With one more event of the greatest length, a
/// segment still fits into a record of 512 KiB on disk.
const MAX_SEGMENT_RECORD_SIZE: usize = 192 << 10;

/// The most bytes that the index entry of one event takes in a record: time, length, origin, kind, flags and
/// logged time.
const INDEX_ENTRY_RECORD_SIZE: usize = 32;

/// Events that are not in a log yet and have no numbers. A source appends all that it read at one wake-up as one batch.
#[derive(Default)]
pub struct Batch {
    text: Vec<u8>,
    index: Vec<IndexEntry>,
    logged: LoggedTimes,
    origins: Vec<Origin>,
    /// The ends of complete pieces: ascending indexes into `index`.
    cut_points: Vec<usize>,
    /// The size of the incomplete piece as it is recorded, in bytes, and the origins that it names.
    size: usize,
    named: Vec<bool>,
    /// The newest state in the batch.
    pub(crate) state: Option<Arc<SourceState>>,
    /// The changed open lines, at most one of each origin.
    pub(crate) open: Vec<Arc<OpenLine>>,
    /// The number of bytes of the source that are known to be unread.
    pub(crate) lag: Option<u64>,
    /// The number of secrets that were removed from lines.
    pub(crate) redacted: u64,
    /// Changes of the run and the progress, in order.
    pub(crate) status_changes: Vec<StatusChange>,
    /// Changed checkpoints, in order.
    pub(crate) checkpoints: Vec<CheckpointChange>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line without its newline, of at most [`MAX_LINE`](crate::event::MAX_LINE) bytes. Its text is examined for
    /// escape sequences, and for a level unless `flags` has one.
    pub fn line(&mut self, time: Time, origin: &Origin, flags: Flags, text: &[u8]) {
        let origin = intern(&mut self.origins, origin);
        self.push(time, origin, EventKind::Line, examined(flags, text), text);
    }

    /// The flags of the newest event, with what its text says; no flags if there is none.
    pub(crate) fn last_flags(&self) -> Flags {
        self.index.last().map_or(Flags::NONE, IndexEntry::flags)
    }

    /// Adds a line that declares a time itself, which is `logged`.
    pub fn logged_line(&mut self, time: Time, logged: Time, origin: &Origin, flags: Flags, text: &[u8]) {
        self.logged.push((event_index(self.index.len()), logged));
        self.line(time, origin, flags, text);
    }

    /// Adds a change of the source's state. [`SourceState::Running`] without a note begins a run of a process.
    pub fn state(&mut self, time: Time, state: SourceState) {
        let begins = matches!(state, SourceState::Running { note: None, .. });
        let flags = if begins { Flags::RUN_START } else { Flags::NONE };
        self.push(time, NO_ORIGIN, EventKind::State, flags, &json(&state));
        if begins {
            self.status_changes.push(StatusChange::RunStarted(time));
        } else if matches!(state, SourceState::Running { .. }) {
            self.status_changes.push(StatusChange::RunContinues(time));
        }
        self.state = Some(Arc::new(state));
    }

    /// Adds to the number of secrets that were removed from lines.
    pub fn redacted(&mut self, count: u64) {
        self.redacted += count;
    }

    /// Adds a loss: events that the source could not deliver.
    pub fn loss(&mut self, time: Time, loss: &Loss) {
        self.push(time, NO_ORIGIN, EventKind::Loss, Flags::NONE, &json(loss));
    }

    /// Adds the end of a run.
    pub fn end(&mut self, time: Time, end: &RunEnd) {
        self.push(time, NO_ORIGIN, EventKind::End, Flags::NONE, &json(end));
        self.status_changes.push(StatusChange::RunEnded(time, end.clone()));
    }

    /// Counts the run of an earlier daemon, which was taken over and had no daemon for this time in total; `None` if it could
    /// not be taken over.
    pub fn taken_over(&mut self, orphaned: Option<Duration>) {
        self.status_changes.push(StatusChange::TakenOver(orphaned));
    }

    /// Sets the progress of the source after the events of this batch; the newest one applies. Progress is neither
    /// numbered nor recorded.
    pub fn progress(&mut self, progress: Progress) {
        if let Some(StatusChange::Progress(last)) = self.status_changes.last_mut() {
            *last = progress;
        } else {
            self.status_changes.push(StatusChange::Progress(progress));
        }
    }

    /// Sets the open line of its origin after the events of this batch; one without rows withdraws it. Open lines are
    /// neither numbered nor recorded.
    pub fn open(&mut self, line: impl Into<Arc<OpenLine>>) {
        let line = line.into();
        self.open.retain(|known| known.origin != line.origin);
        self.open.push(line);
    }

    /// Sets the checkpoint of the part `key` of the source after the events of this batch; `None` removes it. The
    /// checkpoint is recorded together with the events or not at all, so a source that is started with it continues
    /// exactly there.
    pub fn checkpoint(&mut self, key: &str, value: Option<String>) {
        self.checkpoints.push(CheckpointChange { key: key.to_owned(), value });
    }

    /// Sets the number of bytes of the source that are known to be unread. The number is shown with the state, and is
    /// no event.
    pub fn lag(&mut self, bytes: u64) {
        self.lag = Some(bytes);
    }

    /// The changed checkpoints.
    #[cfg(test)]
    pub(crate) fn checkpoint_changes(&self) -> &[CheckpointChange] {
        &self.checkpoints
    }

    /// The lines: origin, flags and text.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> Vec<(String, Flags, String)> {
        let line = |at: usize| {
            let entry = self.index[at];
            let text = String::from_utf8_lossy(&self.text[self.text_end_of(at)..entry.end as usize]).into_owned();
            let origin = self.origins.get(usize::from(entry.origin)).map_or("", Origin::as_str).to_owned();
            (entry.kind() == EventKind::Line).then_some((origin, entry.flags().before_examination(), text))
        };
        (0..self.index.len()).filter_map(line).collect()
    }

    /// The newest state in the batch.
    #[cfg(test)]
    pub(crate) fn last_state(&self) -> Option<&SourceState> {
        self.state.as_deref()
    }

    /// The newest progress in the batch.
    #[cfg(test)]
    pub(crate) fn last_progress(&self) -> Option<&Progress> {
        self.status_changes.iter().rev().find_map(|change| match change {
            StatusChange::Progress(progress) => Some(progress),
            StatusChange::RunStarted(_)
            | StatusChange::RunContinues(_)
            | StatusChange::RunEnded(..)
            | StatusChange::TakenOver(_) => None,
        })
    }

    /// The newest open line in the batch.
    #[cfg(test)]
    pub(crate) fn last_open(&self) -> Option<&OpenLine> {
        self.open.last().map(AsRef::as_ref)
    }

    /// The number of losses in the batch.
    #[cfg(test)]
    pub(crate) fn losses(&self) -> usize {
        self.loss_texts().len()
    }

    /// The losses in the batch, as text.
    #[cfg(test)]
    pub(crate) fn loss_texts(&self) -> Vec<String> {
        let loss = |at: usize| {
            let entry = &self.index[at];
            let text = &self.text[self.text_end_of(at)..entry.end as usize];
            (entry.kind() == EventKind::Loss).then(|| String::from_utf8_lossy(text).into_owned())
        };
        (0..self.index.len()).filter_map(loss).collect()
    }

    /// Returns whether appending the batch would change nothing.
    pub fn is_empty(&self) -> bool {
        let quiet = self.open.is_empty() && self.lag.is_none() && self.status_changes.is_empty();
        self.index.is_empty() && self.checkpoints.is_empty() && quiet
    }

    /// Returns whether the batch has numbered events.
    pub(crate) fn has_events(&self) -> bool {
        !self.index.is_empty()
    }

    /// The number of numbered events.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    fn push(&mut self, time: Time, origin: u16, kind: EventKind, flags: Flags, text: &[u8]) {
        if self.size >= MAX_SEGMENT_RECORD_SIZE {
            self.cut_points.push(self.index.len());
            self.size = 0;
            self.named.clear();
        }
        self.size += text.len() + INDEX_ENTRY_RECORD_SIZE + self.name(origin);
        self.text.extend_from_slice(text);
        let end = u32::try_from(self.text.len()).expect("a batch is far below 4 GiB: a source reads 1 MiB at once");
        self.index.push(IndexEntry::new(time, end, origin, kind, flags));
    }

    /// The size of an origin's name in the incomplete piece, which contains each name once.
    fn name(&mut self, origin: u16) -> usize {
        let at = usize::from(origin);
        if origin == NO_ORIGIN || self.named.get(at) == Some(&true) {
            return 0;
        }
        self.named.resize(self.origins.len(), false);
        self.named[at] = true;
        self.origins[at].as_str().len() + INDEX_ENTRY_RECORD_SIZE
    }

    /// The end of the text of the first `count` events.
    fn text_end_of(&self, count: usize) -> usize {
        if count == 0 { 0 } else { self.index[count - 1].end as usize }
    }

    /// Takes the events out as segments, the first of which begins with the id `first` and the sequence number `seq`.
    pub(crate) fn take_segments(&mut self, first: Position, seq: u64) -> Vec<Segment> {
        if self.index.is_empty() {
            return Vec::new();
        }
        self.cut_points.push(self.index.len());
        let origins: Arc<[Origin]> = self.origins.as_slice().into();
        let mut segments = Vec::with_capacity(self.cut_points.len());
        let mut from = 0;
        for &to in self.cut_points.iter().filter(|&&to| to > 0) {
            let (begin, end) = (self.text_end_of(from), self.text_end_of(to));
            let shift = u32::try_from(begin).expect("checked when it was pushed");
            let index = self.index[from..to].iter().map(|entry| entry.ending_at(entry.end - shift)).collect();
            let text = self.text[begin..end].into();
            let first = Position { number: first.number + from as u64, ..first };
            let logged = logged_between(&self.logged, from, to);
            segments.push(Segment::new((first, seq + from as u64), text, index, logged, origins.clone()));
            from = to;
        }
        // Everything except the events remains in the batch for the caller to take.
        let Self { state, open, lag, redacted, status_changes, checkpoints, .. } = std::mem::take(self);
        *self = Self { state, open, lag, redacted, status_changes, checkpoints, ..Self::default() };
        segments
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} events, {} bytes)", self.index.len(), self.text.len())
    }
}

/// The flags with what the text says: whether it has escape sequences, and the level that it declares unless the flags
/// have one already.
fn examined(flags: Flags, text: &[u8]) -> Flags {
    let flags = if has_escapes(text) { flags.with(Flags::HAS_ESCAPES) } else { flags };
    if flags.level().is_some() || flags.has(Flags::LEVEL_EXAMINED) {
        return flags;
    }
    let level = level_of_text(text).map_or(Flags::NONE, Flags::from_level);
    flags.with(level).with(Flags::LEVEL_EXAMINED)
}

fn json(fields: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(fields).expect("states, losses and ends have text keys and finite numbers")
}

/// The logged times of the events `from` to before `to`, counted from `from`.
fn logged_between(logged: &[(u32, Time)], from: usize, to: usize) -> Box<[(u32, Time)]> {
    let first = logged.partition_point(|(at, _)| (*at as usize) < from);
    let end = logged.partition_point(|(at, _)| (*at as usize) < to);
    logged[first..end].iter().map(|(at, time)| (at - event_index(from), *time)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EndCause, Epoch, Event};
    use proptest::prelude::*;

    fn first_id() -> Position {
        Position { epoch: Epoch::persistent(7), number: 100 }
    }

    /// The first name is long enough to matter for the size of a piece.
    fn origin(number: usize) -> Origin {
        Origin::from([&"x".repeat(70_000), "stdout", "/var/log/syslog"][number])
    }

    /// The parts of an event that do not depend on its position.
    fn facts(event: &Event<'_>) -> (Time, Option<Origin>, EventKind, Flags, Vec<u8>) {
        (event.time, event.origin.cloned(), event.kind, event.flags.before_examination(), event.text.to_vec())
    }

    /// The numbers of events in the pieces of a batch, computed from the origins and sizes of its lines.
    fn expected_pieces(lines: &[(usize, usize)]) -> Vec<usize> {
        let (mut pieces, mut size, mut named): (Vec<usize>, usize, Vec<usize>) = (Vec::new(), 0, Vec::new());
        for &(from, length) in lines {
            if pieces.is_empty() || size >= MAX_SEGMENT_RECORD_SIZE {
                pieces.push(0);
                (size, named) = (0, Vec::new());
            }
            if !named.contains(&from) {
                named.push(from);
                size += origin(from).as_str().len() + INDEX_ENTRY_RECORD_SIZE;
            }
            size += length + INDEX_ENTRY_RECORD_SIZE;
            *pieces.last_mut().unwrap() += 1;
        }
        pieces
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_batch_reads_back_from_its_segments(lines in prop::collection::vec((0usize..3, 0usize..90_000), 0..16)) {
            let mut batch = Batch::new();
            let mut written = Vec::new();
            for (at, &(from, length)) in lines.iter().enumerate() {
                let (time, letter) = (Time(i64::try_from(at).unwrap() * 10), b'a' + u8::try_from(at).unwrap());
                let flags = if at % 2 == 0 { Flags::NONE } else { Flags::CONTINUED };
                let text = vec![letter; length];
                batch.line(time, &origin(from), flags, &text);
                written.push((time, Some(origin(from)), EventKind::Line, flags, text));
            }
            prop_assert_eq!(batch.len(), lines.len());
            let segments: Vec<_> = batch.take_segments(first_id(), 5).into_iter().map(Arc::new).collect();
            prop_assert_eq!(batch.len(), 0);
            prop_assert_eq!(segments.iter().map(|segment| segment.len()).collect::<Vec<_>>(), expected_pieces(&lines));

            let (mut read, mut id, mut seq) = (Vec::new(), first_id(), 5);
            for segment in &segments {
                prop_assert_eq!((segment.first, segment.seq()), (id, seq));
                for at in 0..segment.len() {
                    let event = segment.event(at);
                    prop_assert_eq!(event.id, id);
                    prop_assert_eq!(segment.id(at), id);
                    prop_assert_eq!((segment.time(at), segment.kind(at)), (event.time, (event.kind, event.flags)));
                    read.push(facts(&event));
                    id.number += 1;
                    seq += 1;
                }
                prop_assert_eq!(segment.end(), seq);
            }
            prop_assert!(segments.windows(2).all(|pair| pair[0].is_continued_by(&pair[1])));
            if !segments.is_empty() {
                let merged = Segment::merge(&segments);
                prop_assert_eq!((merged.first, merged.seq()), (first_id(), 5));
                let events: Vec<_> = (0..merged.len()).map(|at| facts(&merged.event(at))).collect();
                prop_assert_eq!(&events, &written);
            }
            prop_assert!(read == written);
        }
    }

    /// A batch to which one thing was added.
    fn batch_with(add: impl FnOnce(&mut Batch)) -> Batch {
        let mut batch = Batch::new();
        add(&mut batch);
        batch
    }

    fn run_end() -> RunEnd {
        RunEnd {
            run: 1,
            code: Some(0),
            signal: None,
            duration: None,
            peak_memory: None,
            cause: EndCause::Exited,
            killed: Vec::new(),
        }
    }

    fn running(note: Option<&str>) -> SourceState {
        SourceState::Running { run: 1, pid: None, note: note.map(str::to_owned) }
    }

    #[test]
    fn a_batch_is_empty_until_something_is_added() {
        let line = |batch: &mut Batch| batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"");
        let loss = Loss { missed: None, bytes: None, reason: "x".into() };
        let open_line = OpenLine { time: Time(0), origin: Origin::stdout(), rows: vec![b"x".to_vec()] };
        let withdrawn = OpenLine::withdrawn(Time(0), Origin::stdout());
        // The number of events, and whether the batch is empty.
        let table = [
            ("nothing", batch_with(|_| ()), 0, true),
            ("removed secrets", batch_with(|batch| batch.redacted(1)), 0, true),
            ("a line", batch_with(line), 1, false),
            ("a state", batch_with(|batch| batch.state(Time(0), SourceState::Receiving)), 1, false),
            ("a loss", batch_with(|batch| batch.loss(Time(0), &loss)), 1, false),
            ("an end", batch_with(|batch| batch.end(Time(0), &run_end())), 1, false),
            ("an open line", batch_with(|batch| batch.open(open_line)), 0, false),
            ("no open line", batch_with(|batch| batch.open(withdrawn)), 0, false),
            ("a checkpoint", batch_with(|batch| batch.checkpoint("file", Some("7".into()))), 0, false),
            ("unread bytes", batch_with(|batch| batch.lag(0)), 0, false),
        ];
        for (what, batch, events, is_empty) in table {
            assert_eq!((batch.len(), batch.has_events()), (events, events > 0), "{what}");
            assert_eq!(batch.is_empty(), is_empty, "{what}");
        }
    }

    #[test]
    fn states_losses_and_ends_are_events_of_the_daemon() {
        let mut batch = Batch::new();
        batch.state(Time(1), running(None));
        batch.state(Time(2), running(Some("a remark")));
        batch.state(Time(3), SourceState::Receiving);
        batch.loss(Time(4), &Loss { missed: Some(2), bytes: None, reason: "x".into() });
        batch.end(Time(5), &run_end());
        assert_eq!(format!("{batch:?}"), "Batch(5 events, 153 bytes)");
        let changes = [
            StatusChange::RunStarted(Time(1)),
            StatusChange::RunContinues(Time(2)),
            StatusChange::RunEnded(Time(5), run_end()),
        ];
        assert_eq!(batch.status_changes, changes);

        let segment = &batch.take_segments(first_id(), 0)[0];
        let expected = [
            (EventKind::State, Flags::RUN_START, r#"{"state":"running","run":1}"#),
            (EventKind::State, Flags::NONE, r#"{"state":"running","run":1,"note":"a remark"}"#),
            (EventKind::State, Flags::NONE, r#"{"state":"receiving"}"#),
            (EventKind::Loss, Flags::NONE, r#"{"missed":2,"reason":"x"}"#),
            (EventKind::End, Flags::NONE, r#"{"run":1,"code":0,"cause":"exited"}"#),
        ];
        for (at, (kind, flags, text)) in expected.into_iter().enumerate() {
            let time = Time(i64::try_from(at).unwrap() + 1);
            assert_eq!(facts(&segment.event(at)), (time, None, kind, flags, text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn merged_segments_keep_the_origins_of_their_events() {
        let line = |origin: Origin| batch_with(|batch| batch.line(Time(0), &origin, Flags::NONE, b"x"));
        let state = batch_with(|batch| batch.state(Time(0), SourceState::Receiving));
        let parts = [state, line(Origin::stdout()), line(Origin::stderr()), line(Origin::stdout())];
        let segments = parts.map(|mut batch| Arc::new(batch.take_segments(first_id(), 0).remove(0)));
        let merged = Segment::merge(&segments);
        let origins = [0, 1, 2, 3].map(|at| merged.event(at).origin.map(Origin::as_str));
        assert_eq!(origins, [None, Some("stdout"), Some("stderr"), Some("stdout")]);
    }

    #[test]
    fn everything_but_the_events_stays_in_the_batch() {
        let mut batch = Batch::new();
        batch.state(Time(0), running(None));
        for (origin, text) in [(Origin::stdout(), "ha"), (Origin::stderr(), "other"), (Origin::stdout(), "half")] {
            batch.open(OpenLine { time: Time(0), origin, rows: vec![text.into()] });
        }
        batch.lag(9);
        batch.redacted(2);
        batch.redacted(3);
        batch.checkpoint("file", Some("7".into()));
        batch.checkpoint("other", None);
        assert_eq!(batch.take_segments(first_id(), 0).len(), 1);
        assert!(!batch.has_events());
        assert_eq!((batch.last_state(), batch.lag, batch.redacted), (Some(&running(None)), Some(9), 5));
        assert_eq!(batch.status_changes, [StatusChange::RunStarted(Time(0))]);
        let change =
            |key: &str, value: Option<&str>| CheckpointChange { key: key.to_owned(), value: value.map(str::to_owned) };
        assert_eq!(batch.checkpoints, [change("file", Some("7")), change("other", None)]);
        let open: Vec<_> = batch.open.iter().map(|line| (line.origin.as_str(), line.text())).collect();
        assert_eq!(open, [("stderr", &b"other"[..]), ("stdout", b"half")]);
        batch.open(OpenLine::withdrawn(Time(0), Origin::stderr()));
        assert_eq!((batch.open.len(), batch.open[1].rows.len()), (2, 0));
        // Events that are added later begin again at 0.
        batch.line(Time(1), &Origin::stderr(), Flags::NONE, b"later");
        let segments = batch.take_segments(first_id(), 1);
        assert_eq!((segments.len(), segments[0].event(0).text), (1, &b"later"[..]));
        assert_eq!(segments[0].event(0).origin, Some(&Origin::stderr()));
    }

    #[test]
    fn a_segment_tells_its_size_and_finds_times() {
        let mut batch = Batch::new();
        for (time, text) in [(10, "one"), (10, "two"), (20, "three")] {
            batch.line(Time(time), &Origin::stdout(), Flags::NONE, text.as_bytes());
        }
        let mut segment = batch.take_segments(first_id(), 5).remove(0);
        assert_eq!(format!("{segment:?}"), format!("Segment({} + 3, 11 bytes)", first_id()));
        for (time, events) in [(0, 0), (10, 0), (11, 2), (20, 2), (21, 3)] {
            assert_eq!(segment.before(Time(time)), events, "{time}");
        }
        assert_eq!(segment.text_len(), 11);
        let parts = 11 + 3 * size_of::<IndexEntry>() + size_of::<Segment>();
        assert!((parts..parts + 100).contains(&segment.memory_size()), "{}", segment.memory_size());

        let part = |id: Position, seq| {
            let mut batch = Batch::new();
            batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"x");
            batch.take_segments(id, seq).remove(0)
        };
        let after = |number| Position { number, ..first_id() };
        // The next segment, and whether it continues this one.
        for (number, seq, continues) in [(103, 8, true), (104, 8, false), (103, 9, false), (102, 7, false)] {
            assert_eq!(segment.is_continued_by(&part(after(number), seq)), continues, "{number} {seq}");
        }
        segment.renumber(after(200), 50);
        assert_eq!((segment.id(2), segment.seq(), segment.end()), (after(202), 50, 53));
    }

    #[test]
    fn only_the_newest_progress_in_a_row_is_kept() {
        let progress = |current| Progress { current: Some(current), ..Progress::begun(Time(0)) };
        let mut batch = Batch::new();
        batch.progress(progress(1));
        batch.progress(progress(2));
        batch.state(Time(0), running(None));
        batch.progress(progress(3));
        let changes = [
            StatusChange::Progress(progress(2)),
            StatusChange::RunStarted(Time(0)),
            StatusChange::Progress(progress(3)),
        ];
        assert_eq!(batch.status_changes, changes);
    }
}
