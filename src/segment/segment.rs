//! An immutable run of events: their text in one buffer, and an index.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::event::{Event, EventKind, Flags, Level, Origin, Position, Time, append_visible};
use crate::structured::level_of_text;

/// The index entry of one event, in 16 bytes. Its text ends at `end`, and begins where the text of the previous event
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) time: Time,
    pub(crate) end: u32,
    pub(crate) origin: u16,
    /// The kind in the upper four bits, and the flags in the lower twelve.
    kind_and_flags: u16,
}

impl IndexEntry {
    /// The bits of `kind_and_flags` that contain the flags.
    const FLAG_BITS: u32 = 12;

    pub(crate) fn new(time: Time, end: u32, origin: u16, kind: EventKind, flags: Flags) -> Self {
        debug_assert!(flags.bits() >> Self::FLAG_BITS == 0, "flags fit into the lower bits");
        Self { time, end, origin, kind_and_flags: u16::from(kind as u8) << Self::FLAG_BITS | flags.bits() }
    }

    pub(crate) fn kind(&self) -> EventKind {
        let kind = (self.kind_and_flags >> Self::FLAG_BITS).to_le_bytes()[0];
        EventKind::from_u8(kind).expect("an entry is made of a kind")
    }

    /// The same entry of a text that ends at `end`.
    pub(super) fn ending_at(self, end: u32) -> Self {
        Self { end, ..self }
    }

    /// The same entry with these flags in addition.
    pub(crate) fn with(self, flags: Flags) -> Self {
        Self { kind_and_flags: self.kind_and_flags | flags.bits(), ..self }
    }

    pub(crate) fn flags(&self) -> Flags {
        Flags::from_bits(self.kind_and_flags)
    }

    /// The same entry as earlier versions made it, which did not examine the text for a level.
    #[cfg(test)]
    pub(crate) fn before_examination(self) -> Self {
        Self::new(self.time, self.end, self.origin, self.kind(), self.flags().before_examination())
    }
}

/// The times that lines declare themselves, by the index of the event in its batch or segment, ascending.
pub(crate) type LoggedTimes = Vec<(u32, Time)>;

/// The value of [`IndexEntry::origin`] for events of the daemon itself.
pub(crate) const NO_ORIGIN: u16 = u16::MAX;

/// An immutable run of events of one epoch, whose numbers are consecutive. At least one event.
pub(crate) struct Segment {
    /// The id of the first event.
    pub(crate) first: Position,
    /// The sequence number of the first event; see [`super::numbering::Numbering`].
    pub(crate) seq: u64,
    pub(crate) text: Box<[u8]>,
    pub(crate) index: Box<[IndexEntry]>,
    pub(crate) logged: Box<[(u32, Time)]>,
    pub(crate) origins: Arc<[Origin]>,
    /// The size of the lines with escape sequences, in bytes: the most that `visible` may take.
    escaped_size: usize,
    /// The visible texts of the lines with escape sequences, made for the first filter that looks at one.
    visible: OnceLock<VisibleLines>,
}

/// The visible texts of some lines.
#[derive(Debug)]
struct VisibleLines {
    text: Box<[u8]>,
    /// The index of each such line and the end of its text, ascending.
    ends: Box<[(u32, u32)]>,
}

impl Segment {
    /// A segment that begins with the id and the sequence number `first`.
    pub(crate) fn new(
        (first, seq): (Position, u64),
        text: Box<[u8]>,
        index: Box<[IndexEntry]>,
        logged: Box<[(u32, Time)]>,
        origins: Arc<[Origin]>,
    ) -> Self {
        let mut segment = Self { first, seq, text, index, logged, origins, escaped_size: 0, visible: OnceLock::new() };
        segment.escaped_size = segment.escaped_lines().map(|at| segment.text_of(at).len()).sum();
        segment
    }

    /// The indexes of the lines with escape sequences.
    fn escaped_lines(&self) -> impl Iterator<Item = usize> {
        let has_escapes = |entry: &IndexEntry| entry.kind() == EventKind::Line && entry.flags().has(Flags::HAS_ESCAPES);
        self.index.iter().enumerate().filter(move |(_, entry)| has_escapes(entry)).map(|(at, _)| at)
    }

    /// The text of event `at` without escape sequences. The texts of all such lines are made once, for all filters.
    pub(crate) fn visible_text(&self, at: usize) -> &[u8] {
        if !self.index[at].flags().has(Flags::HAS_ESCAPES) {
            return self.text_of(at);
        }
        let visible = self.visible.get_or_init(|| self.visible_lines());
        match visible.ends.binary_search_by_key(&at, |(line, _)| *line as usize) {
            Ok(found) => {
                let begin = if found == 0 { 0 } else { visible.ends[found - 1].1 };
                &visible.text[begin as usize..visible.ends[found].1 as usize]
            }
            // Only lines have escape sequences.
            Err(_) => self.text_of(at),
        }
    }

    fn visible_lines(&self) -> VisibleLines {
        let mut text = Vec::with_capacity(self.escaped_size);
        let ends = self.escaped_lines().map(|at| {
            append_visible(self.text_of(at), &mut text);
            (event_index(at), u32::try_from(text.len()).expect("no longer than the text of the segment"))
        });
        let ends = ends.collect();
        VisibleLines { text: text.into(), ends }
    }

    /// The text of event `at`.
    pub(crate) fn text_of(&self, at: usize) -> &[u8] {
        self.text_between(at, at + 1)
    }

    /// The texts of the events `from` to before `to`, one after the other; `from` < `to`.
    pub(super) fn text_between(&self, from: usize, to: usize) -> &[u8] {
        let begin = if from == 0 { 0 } else { self.index[from - 1].end };
        &self.text[begin as usize..self.index[to - 1].end as usize]
    }

    /// Changes the ids and sequence numbers of the events, as if the segment began there.
    pub(crate) fn renumber(&mut self, first: Position, seq: u64) {
        (self.first, self.seq) = (first, seq);
    }

    /// The sequence number of the first event.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The sequence number after the last event.
    pub(crate) fn end(&self) -> u64 {
        self.seq + self.index.len() as u64
    }

    /// The number of events; at least one.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The size of the text, in bytes.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The memory of the segment, in bytes: text, index, and itself. Room for visible texts is included before they are
    /// made, since the size of a segment does not change.
    pub(crate) fn memory_size(&self) -> usize {
        self.text.len()
            + self.escaped_size
            + size_of_val(&*self.index)
            + size_of_val(&*self.logged)
            + size_of::<Self>()
            + 64
    }

    /// The id of event `at`, counted from 0.
    pub(crate) fn id(&self, at: usize) -> Position {
        Position { number: self.first.number + at as u64, ..self.first }
    }

    /// Event `at`, counted from 0.
    pub(crate) fn event(&self, at: usize) -> Event<'_> {
        let entry = &self.index[at];
        Event {
            id: self.id(at),
            time: entry.time,
            origin: self.origins.get(usize::from(entry.origin)),
            kind: entry.kind(),
            flags: entry.flags(),
            logged: self.logged_at(at),
            text: self.text_of(at),
        }
    }

    /// The time that event `at` declares itself, if it does. Cost: one binary search among those that do.
    pub(crate) fn logged_at(&self, at: usize) -> Option<Time> {
        let found = self.logged.binary_search_by_key(&at, |(index, _)| *index as usize).ok()?;
        Some(self.logged[found].1)
    }

    /// The number of events that were read before `time`, from the start.
    pub(crate) fn before(&self, time: Time) -> usize {
        self.index.partition_point(|entry| entry.time < time)
    }

    /// The time at which event `at` was read.
    pub(crate) fn time(&self, at: usize) -> Time {
        self.index[at].time
    }

    /// The kind and the flags of event `at`.
    pub(crate) fn kind(&self, at: usize) -> (EventKind, Flags) {
        (self.index[at].kind(), self.index[at].flags())
    }

    /// The level of the line at `at`. Only a line that an earlier version recorded is read for it.
    pub(crate) fn level(&self, at: usize) -> Option<Level> {
        let flags = self.index[at].flags();
        if flags.has(Flags::LEVEL_EXAMINED) {
            return flags.level();
        }
        flags.level().or_else(|| level_of_text(self.text_of(at)))
    }

    /// Returns whether `next` continues this segment in the same epoch.
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        self.id(self.len()) == next.first && self.end() == next.seq
    }

    /// Merges consecutive segments into one, and copies their text once.
    pub(crate) fn merge(parts: &[Arc<Self>]) -> Self {
        let mut text = Vec::with_capacity(parts.iter().map(|part| part.text.len()).sum());
        let mut index = Vec::with_capacity(parts.iter().map(|part| part.index.len()).sum());
        let (mut logged, mut origins) = (LoggedTimes::new(), Vec::new());
        for part in parts {
            let interned: Vec<u16> = part.origins.iter().map(|origin| intern(&mut origins, origin)).collect();
            let shift = u32::try_from(text.len()).expect("merged segments are small");
            let before = event_index(index.len());
            text.extend_from_slice(&part.text);
            logged.extend(part.logged.iter().map(|(at, time)| (at + before, *time)));
            index.extend(part.index.iter().map(|entry| {
                let origin = interned.get(usize::from(entry.origin)).copied().unwrap_or(NO_ORIGIN);
                IndexEntry { end: entry.end + shift, origin, ..*entry }
            }));
        }
        Self::new((parts[0].first, parts[0].seq), text.into(), index.into(), logged.into(), origins.into())
    }
}

/// The index of an origin among `origins`, to which it is added if it is not there.
pub(super) fn intern(origins: &mut Vec<Origin>, origin: &Origin) -> u16 {
    let known = origins.iter().rposition(|known| known == origin);
    let at = known.unwrap_or_else(|| {
        origins.push(origin.clone());
        origins.len() - 1
    });
    u16::try_from(at).unwrap_or(NO_ORIGIN)
}

/// The index of an event as it is kept in [`LoggedTimes`].
pub(super) fn event_index(at: usize) -> u32 {
    u32::try_from(at).expect("a batch is far below 4 Gi events: a source reads 1 MiB at once")
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} + {}, {} bytes)", self.first, self.index.len(), self.text.len())
    }
}
