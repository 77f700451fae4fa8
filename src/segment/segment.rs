//! An immutable run of events: their text in one buffer, and an index. A [`Batch`] is one in the making.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::event::{Event, EventKind, Flags, Loss, OpenLine, Origin, Position, Progress, RunEnd, SourceState, Time};

use super::status_change::StatusChange;

/// What the index holds of one event; its text ends at `end` and begins where the one before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) time: Time,
    pub(crate) end: u32,
    pub(crate) origin: u16,
    pub(crate) kind: EventKind,
    pub(crate) flags: Flags,
}

/// What a batch says of the unfinished line.
#[derive(Debug, Default)]
pub(crate) enum OpenLineChange {
    /// Nothing: it is as it was.
    #[default]
    Unchanged,
    /// There is none.
    Cleared,
    /// This is what there is of it.
    Set(Arc<OpenLine>),
}

/// Stands for "the daemon itself" in [`IndexEntry::origin`].
pub(crate) const NO_ORIGIN: u16 = u16::MAX;

/// Most bytes in one segment as it is recorded, beyond which a batch is cut in two: with one longest event behind it, a
/// segment still fits a record of 512 KiB on disk.
const MAX_SEGMENT_RECORD_SIZE: usize = 192 << 10;

/// Most bytes that the index of one event takes in a record: time, length, origin, kind and flags.
const INDEX_ENTRY_RECORD_SIZE: usize = 20;

/// Events on their way into a log, without numbers yet. What one wake of a source found goes in as one batch.
#[derive(Default)]
pub struct Batch {
    text: Vec<u8>,
    index: Vec<IndexEntry>,
    origins: Vec<Origin>,
    /// Where a full piece ends: an index into `index`.
    cut_points: Vec<usize>,
    /// What the piece in the making takes as it is recorded, in bytes, and which origins it names.
    size: usize,
    named: Vec<bool>,
    /// The newest state in it.
    pub(crate) state: Option<Arc<SourceState>>,
    /// What becomes of the unfinished line.
    pub(crate) open: OpenLineChange,
    /// How many bytes of the source are known to be unread.
    pub(crate) lag: Option<u64>,
    /// How many secrets were taken out of its lines.
    pub(crate) redacted: u64,
    /// What becomes of the run and the progress, in that order.
    pub(crate) status_changes: Vec<StatusChange>,
    /// What is new about the source's places.
    pub(crate) places: Vec<(String, Option<String>)>,
}

/// The reserved checkpoint key that records in the history that a stream is private.
pub(crate) const PRIVATE_CHECKPOINT_KEY: &str = "private";

/// How far a source was read: for each of its parts, such as a file, what the source needs to go on just behind the events
/// that were recorded. Keys and values are the source's own; a value is one line of text.
pub type Checkpoints = BTreeMap<String, String>;

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line, without its newline; at most [`MAX_LINE`](crate::event::MAX_LINE) bytes.
    pub fn line(&mut self, time: Time, origin: &Origin, flags: Flags, text: &[u8]) {
        let origin = self.intern(origin);
        self.push(time, origin, EventKind::Line, flags, text);
    }

    /// Adds a change of the source's state. With [`SourceState::Running`] and no note, a run of a process begins.
    pub fn state(&mut self, time: Time, state: SourceState) {
        let flags =
            if matches!(state, SourceState::Running { note: None, .. }) { Flags::RUN_START } else { Flags::NONE };
        self.push(time, NO_ORIGIN, EventKind::State, flags, &json(&state));
        if matches!(state, SourceState::Running { .. }) {
            self.status_changes.push(StatusChange::RunStarted(time));
        }
        self.state = Some(Arc::new(state));
    }

    /// Counts secrets that were taken out of lines.
    pub fn redacted(&mut self, count: u64) {
        self.redacted += count;
    }

    /// Adds what the source could not deliver.
    pub fn loss(&mut self, time: Time, loss: &Loss) {
        self.push(time, NO_ORIGIN, EventKind::Loss, Flags::NONE, &json(loss));
    }

    /// Adds the end of a run.
    pub fn end(&mut self, time: Time, end: &RunEnd) {
        self.push(time, NO_ORIGIN, EventKind::End, Flags::NONE, &json(end));
        self.status_changes.push(StatusChange::RunEnded(time, end.clone()));
    }

    /// Says how far the source is, after all events of this batch; the newest counts. Not numbered, and not kept.
    pub fn progress(&mut self, progress: Progress) {
        if let Some(StatusChange::Progress(last)) = self.status_changes.last_mut() {
            *last = progress;
        } else {
            self.status_changes.push(StatusChange::Progress(progress));
        }
    }

    /// Says what there is of a line that is not finished, after all events of this batch; `Cleared` takes it back. Not
    /// numbered, and not kept.
    pub fn open(&mut self, line: Option<OpenLine>) {
        self.open = line.map_or(OpenLineChange::Cleared, |line| OpenLineChange::Set(Arc::new(line)));
    }

    /// Says how far the part `key` of the source is read, once all events of this batch are out; `Cleared` forgets the part.
    /// It is recorded together with the events, or neither is: a source that is started again with it goes on exactly there.
    pub fn place(&mut self, key: &str, place: Option<String>) {
        self.places.push((key.to_owned(), place));
    }

    /// Says how many bytes of the source are known to be unread; shown beside its state, and no event.
    pub fn lag(&mut self, bytes: u64) {
        self.lag = Some(bytes);
    }

    /// What it says of the source's places.
    #[cfg(test)]
    pub(crate) fn places(&self) -> &[(String, Option<String>)] {
        &self.places
    }

    /// Its lines: origin, flags and text.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> Vec<(String, Flags, String)> {
        let line = |at: usize| {
            let entry = self.index[at];
            let text = String::from_utf8_lossy(&self.text[self.text_end_of(at)..entry.end as usize]).into_owned();
            let origin = self.origins.get(usize::from(entry.origin)).map_or("", Origin::as_str).to_owned();
            (entry.kind == EventKind::Line).then_some((origin, entry.flags, text))
        };
        (0..self.index.len()).filter_map(line).collect()
    }

    /// The newest state in it.
    #[cfg(test)]
    pub(crate) fn last_state(&self) -> Option<&SourceState> {
        self.state.as_deref()
    }

    /// The newest progress in it.
    #[cfg(test)]
    pub(crate) fn last_progress(&self) -> Option<&Progress> {
        self.status_changes.iter().rev().find_map(|turn| match turn {
            StatusChange::Progress(progress) => Some(progress),
            StatusChange::RunStarted(_) | StatusChange::RunEnded(..) => None,
        })
    }

    /// How many losses it tells of.
    #[cfg(test)]
    pub(crate) fn losses(&self) -> usize {
        self.index.iter().filter(|entry| entry.kind == EventKind::Loss).count()
    }

    /// Whether an append of it would change nothing.
    pub fn is_empty(&self) -> bool {
        let quiet =
            matches!(self.open, OpenLineChange::Unchanged) && self.lag.is_none() && self.status_changes.is_empty();
        self.index.is_empty() && self.places.is_empty() && quiet
    }

    /// Whether it holds numbered events.
    pub(crate) fn has_events(&self) -> bool {
        !self.index.is_empty()
    }

    /// How many numbered events it holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    fn intern(&mut self, origin: &Origin) -> u16 {
        let known = self.origins.iter().rposition(|known| known == origin);
        let at = known.unwrap_or_else(|| {
            self.origins.push(origin.clone());
            self.origins.len() - 1
        });
        u16::try_from(at).unwrap_or(NO_ORIGIN)
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
        self.index.push(IndexEntry { time, end, origin, kind, flags });
    }

    /// What the name of an origin takes in the piece in the making, which has it once.
    fn name(&mut self, origin: u16) -> usize {
        let at = usize::from(origin);
        if origin == NO_ORIGIN || self.named.get(at) == Some(&true) {
            return 0;
        }
        self.named.resize(self.origins.len(), false);
        self.named[at] = true;
        self.origins[at].as_str().len() + INDEX_ENTRY_RECORD_SIZE
    }

    /// Where the text of the first `count` events ends.
    fn text_end_of(&self, count: usize) -> usize {
        if count == 0 { 0 } else { self.index[count - 1].end as usize }
    }

    /// Empties it of its events: segments, the first of which begins with number `first` and place `seq`.
    pub(crate) fn cut(&mut self, first: Position, seq: u64) -> Vec<Segment> {
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
            let index =
                self.index[from..to].iter().map(|entry| IndexEntry { end: entry.end - shift, ..*entry }).collect();
            let text = self.text[begin..end].into();
            let first = Position { number: first.number + from as u64, ..first };
            segments.push(Segment { first, seq: seq + from as u64, text, index, origins: origins.clone() });
            from = to;
        }
        // Everything that is no event stays for the caller to take.
        let Self { state, open, lag, redacted, status_changes, places, .. } = std::mem::take(self);
        *self = Self { state, open, lag, redacted, status_changes, places, ..Self::default() };
        segments
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} events, {} bytes)", self.index.len(), self.text.len())
    }
}

fn json(fields: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(fields).expect("states, losses and ends have text keys and finite numbers")
}

/// An immutable run of events of one epoch with numbers that count up by one.
pub(crate) struct Segment {
    /// The id of its first event.
    pub(crate) first: Position,
    /// The place of its first event in the log; see [`super::numbering::Numbering`].
    pub(crate) seq: u64,
    pub(crate) text: Box<[u8]>,
    pub(crate) index: Box<[IndexEntry]>,
    pub(crate) origins: Arc<[Origin]>,
}

impl Segment {
    /// Gives its events other ids and places, as if it had come `first` there.
    pub(crate) fn renumber(&mut self, first: Position, seq: u64) {
        (self.first, self.seq) = (first, seq);
    }

    /// The place of its first event.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The place after its last event.
    pub(crate) fn end(&self) -> u64 {
        self.seq + self.index.len() as u64
    }

    /// How many events it holds; at least one.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many bytes of text.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// What it costs, in bytes: text, index, and itself.
    pub(crate) fn memory_size(&self) -> usize {
        self.text.len() + size_of_val(&*self.index) + size_of::<Self>() + 64
    }

    /// The id of event `at`, counted from 0.
    pub(crate) fn id(&self, at: usize) -> Position {
        Position { number: self.first.number + at as u64, ..self.first }
    }

    /// Event `at`, counted from 0.
    pub(crate) fn event(&self, at: usize) -> Event<'_> {
        let entry = &self.index[at];
        let begin = if at == 0 { 0 } else { self.index[at - 1].end };
        Event {
            id: self.id(at),
            time: entry.time,
            origin: self.origins.get(usize::from(entry.origin)),
            kind: entry.kind,
            flags: entry.flags,
            text: &self.text[begin as usize..entry.end as usize],
        }
    }

    /// How many of its events were read before `time`.
    pub(crate) fn before(&self, time: Time) -> usize {
        self.index.partition_point(|entry| entry.time < time)
    }

    /// When event `at` was read.
    pub(crate) fn time(&self, at: usize) -> Time {
        self.index[at].time
    }

    /// What event `at` is.
    pub(crate) fn kind(&self, at: usize) -> (EventKind, Flags) {
        (self.index[at].kind, self.index[at].flags)
    }

    /// Whether `next` goes on where this one ends, in the same epoch.
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        self.id(self.len()) == next.first && self.end() == next.seq
    }

    /// One segment of several that join, in order. Copies their text once.
    pub(crate) fn merge(parts: &[Arc<Self>]) -> Self {
        let mut merged = Batch::new();
        merged.text.reserve_exact(parts.iter().map(|part| part.text.len()).sum());
        merged.index.reserve_exact(parts.iter().map(|part| part.index.len()).sum());
        for part in parts {
            let origins: Vec<u16> = part.origins.iter().map(|origin| merged.intern(origin)).collect();
            let shift = u32::try_from(merged.text.len()).expect("merged segments are small");
            merged.text.extend_from_slice(&part.text);
            merged.index.extend(part.index.iter().map(|entry| {
                let origin = origins.get(usize::from(entry.origin)).copied().unwrap_or(NO_ORIGIN);
                IndexEntry { end: entry.end + shift, origin, ..*entry }
            }));
        }
        Self {
            first: parts[0].first,
            seq: parts[0].seq,
            text: merged.text.into(),
            index: merged.index.into(),
            origins: merged.origins.into(),
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} + {}, {} bytes)", self.first, self.index.len(), self.text.len())
    }
}
