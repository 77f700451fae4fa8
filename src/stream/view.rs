//! Views: the format, the filter, the pace and the encoded bytes that readers of the same kind share.
//!
//! # Theory of operation
//!
//! Equal views of a log are one `ViewState`. The sequence of events is divided into *slots* at *cuts*, and each slot is
//! encoded once, by the first reader that takes it. The bytes are reference-counted, so a thousand readers cost a
//! thousand cursors and one encoding.
//!
//! ```text
//! events of the log   ──────────────────────────────────────────────▶ seq
//! slots of a view           [ slot ][   slot   ][ slot ]           end
//!                           ▲       ▲          ▲        ▲
//!            slow reader ───┘    reader    two readers  └── cut: readers that have caught up wait here
//!  (takes kept slots;                                       until `next_cut_at`, then one of them cuts again
//!   before them it cuts its own, up to the next kept slot)
//! ```
//!
//! 1. A reader at `seq` asks for the slot that begins there ([`Views::next_slot`]). If there is one, the reader takes
//!    it.
//! 2. A reader at or after the last cut waits until `next_cut_at`, so that a busy stream is written to sockets in
//!    batches. The first event after a quiet time is cut at once: `next_cut_at` has passed by then.
//! 3. Otherwise the reader reads events from the ring or the history, not beyond the beginning of the next slot, and
//!    enters them as a slot ([`Views::enter_slot`]). If two readers do so at once, the first slot wins and both use it.
//! 4. The encoding happens outside the lock of the views; other readers of the slot wait in its `OnceLock`. Afterwards
//!    the bytes are counted ([`Views::count`]), unless the slot was dropped meanwhile. The first reader that takes
//!    compressed bytes compresses them in the same way.
//!
//! Slots are only a cache: the oldest are dropped beyond [`MAX_SLOTS_PER_VIEW`] and [`MAX_KEPT_SLOT_BYTES`] and when
//! the log needs the memory for events, and a reader that comes too late encodes again. A reader with a bound inside a
//! slot encodes for itself. Rejected: a queue for each reader (memory grows with slow readers), and one encoding for
//! each reader (CPU grows with readers).

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::event::{Event, EventKind, OpenLine, Position, StreamName, lock, visible_text};
use crate::structured::StructuredFormat;
use crate::wire::gzip::CompressedBatch;
use crate::wire::{Encoder, WireFormat};

use crate::segment::Filter;
use crate::segment::Slice;

/// The approximate text in one slot, in bytes: a reader holds one slot while it waits for its socket.
pub(super) const SLOT_TEXT_SIZE: usize = 128 << 10;

/// The most encoded bytes and the most slots that a view keeps for readers that are slightly late.
const MAX_KEPT_SLOT_BYTES: usize = 1 << 20;
const MAX_SLOTS_PER_VIEW: usize = 32;

/// The least time between two cuts of a busy view, and the additional time for each of its readers: a write to a socket
/// costs about 10 µs whatever its size, so writes take at most a twentieth of a core.
const MIN_CUT_INTERVAL: Duration = Duration::from_millis(1);
const CUT_INTERVAL_PER_READER: Duration = Duration::from_micros(200);

/// The most time between two cuts of a busy view.
const MAX_CUT_INTERVAL: Duration = Duration::from_millis(20);

/// A format and a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The wire format of the events.
    pub wire_format: WireFormat,
    /// The events to show.
    pub filter: Filter,
    /// `true` if the reader reads several streams on one connection: JSON then names the stream, and frames can be
    /// separated.
    pub several: bool,
    /// The treatment of escape sequences in lines.
    pub ansi: Ansi,
}

/// The treatment of escape sequences in lines, such as those of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ansi {
    /// They stay as they were written.
    #[default]
    Keep,
    /// They are removed; the visible text stays.
    Strip,
}

/// Events as bytes.
#[derive(Debug)]
pub(super) struct EncodedEvents {
    pub(super) bytes: Bytes,
    /// The number of lines among the events.
    pub(super) lines: u64,
    /// The sequence number after the last event that was matched against the filter.
    pub(super) to: u64,
    /// The sequence number after the last event in `bytes`, always <= `to`; `None` if no event passed the filter.
    pub(super) shown: Option<u64>,
    /// The number of lines that were matched against the filter.
    pub(super) filter_checks: u64,
    /// The end of each frame in `bytes` and the id of its event; empty unless the view is of several streams.
    pub(super) frame_ends: Vec<(usize, Position)>,
}

/// The facts of a log that encoding needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct EncodedLog<'a> {
    pub(super) name: &'a StreamName,
    /// The form in which its lines are structured, if they are.
    pub(super) format: Option<StructuredFormat>,
}

impl View {
    /// The text of an event as the view shows it. Only that of a line can have escape sequences.
    fn shown_text<'a>(&self, event: &Event<'a>) -> Cow<'a, [u8]> {
        match (self.ansi, event.kind) {
            (Ansi::Strip, EventKind::Line) => visible_text(event.text),
            (Ansi::Keep, _) | (Ansi::Strip, EventKind::State | EventKind::Loss | EventKind::End) => {
                Cow::Borrowed(event.text)
            }
        }
    }

    /// Live rows as the view shows them.
    pub(super) fn shown_rows(&self, line: Arc<OpenLine>) -> Arc<OpenLine> {
        match self.ansi {
            Ansi::Keep => line,
            Ansi::Strip => {
                let rows = line.rows.iter().map(|row| visible_text(row).into_owned()).collect();
                Arc::new(OpenLine { rows, ..OpenLine::clone(&line) })
            }
        }
    }

    /// Encodes the events of `log` that pass the filter, until `lines` lines are encoded.
    pub(super) fn encode(&self, log: EncodedLog<'_>, slices: &[Slice], lines: u64) -> EncodedEvents {
        let mut encoder = Encoder::new(self.wire_format, self.several.then_some(log.name)).reading(log.format);
        let text: usize = slices.iter().map(|slice| slice.segment.text_len()).sum();
        let events: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
        // The id and the field names of a frame take about 48 bytes in addition to its text.
        let room = if self.filter.is_empty() { text + 48 * events } else { 0 };
        let mut out = Vec::with_capacity(room);
        let mut made = EncodedEvents {
            bytes: Bytes::new(),
            lines: 0,
            to: 0,
            shown: None,
            filter_checks: 0,
            frame_ends: Vec::new(),
        };
        let shows_plain_lines = encoder.has_plain_lines() && self.filter.is_empty() && self.ansi == Ansi::Keep;
        for slice in slices {
            let is_plain_ascii = slice.is_plain_ascii();
            encoder.expect_plain_ascii(is_plain_ascii);
            for at in slice.from..slice.to {
                made.to = slice.segment.seq() + at as u64 + 1;
                if is_plain_ascii && shows_plain_lines && slice.segment.kind(at).0 == EventKind::Line {
                    encoder.push_plain_line(slice.segment.id(at), slice.segment.text_of(at), &mut out);
                    (made.shown, made.lines) = (Some(made.to), made.lines + 1);
                } else if self.filter.matches_event(&slice.segment, at, log.format, &mut made.filter_checks) {
                    let event = slice.segment.event(at);
                    let text = self.shown_text(&event);
                    encoder.push(&Event { text: &text, ..event }, &mut out);
                    made.shown = Some(made.to);
                    made.lines += u64::from(event.kind == EventKind::Line);
                    if self.several {
                        made.frame_ends.push((out.len(), event.id));
                    }
                }
                if made.lines == lines {
                    made.bytes = out.into();
                    return made;
                }
            }
        }
        made.bytes = out.into();
        made
    }
}

/// The events from `from` to before `to`, encoded by the first reader that takes them.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The time from which the slot after this one may be cut, if this slot ended at the end of the log and the view is
    /// busy. A reader that took the slot waits until then without asking the views. Otherwise it waits for the next event:
    /// a line that comes alone wakes it once.
    pub(super) next_cut_at: Option<Instant>,
    /// The events to encode; empty once they are encoded, since the memory of segments that were read from disk is not
    /// counted anywhere.
    slices: Mutex<Vec<Slice>>,
    encoded: OnceLock<EncodedEvents>,
    /// The bytes in compressed form, for the readers that take them so.
    compressed: OnceLock<Arc<CompressedBatch>>,
    /// The bytes that [`Views`] counts for the slot: 0 until [`Views::count`], which takes another lock than the encoding.
    /// Changes only while the views are locked.
    counted: AtomicUsize,
}

impl Slot {
    pub(super) fn new(from: u64, to: u64, slices: Vec<Slice>) -> Self {
        let slices = Mutex::new(slices);
        let (encoded, compressed, counted) = (OnceLock::new(), OnceLock::new(), AtomicUsize::new(0));
        Self { from, to, next_cut_at: None, slices, encoded, compressed, counted }
    }

    /// The encoded events, and whether this call encoded them. Blocks while another reader encodes them.
    pub(super) fn encode(&self, view: &View, log: EncodedLog<'_>) -> (&EncodedEvents, bool) {
        let mut made = false;
        let encoded = self.encoded.get_or_init(|| {
            made = true;
            let slices = std::mem::take(&mut *lock(&self.slices));
            view.encode(log, &slices, u64::MAX)
        });
        (encoded, made)
    }

    /// The bytes of `encoded`, which are those of this slot, in compressed form, and whether this call compressed them.
    /// Blocks while another reader does.
    pub(super) fn compress(&self, encoded: &EncodedEvents) -> (Arc<CompressedBatch>, bool) {
        let mut made = false;
        let compressed = self.compressed.get_or_init(|| {
            made = true;
            Arc::new(CompressedBatch::new(&encoded.bytes))
        });
        (compressed.clone(), made)
    }

    /// The bytes that the slot takes now.
    fn bytes(&self) -> usize {
        let encoded = self
            .encoded
            .get()
            .map_or(0, |encoded| encoded.bytes.len() + encoded.frame_ends.len() * size_of::<(usize, Position)>());
        encoded + self.compressed.get().map_or(0, |compressed| compressed.size())
    }

    /// The bytes that [`Views`] counts for the slot.
    fn counted_bytes(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }
}

/// One view with its readers, its pace and its slots.
#[derive(Debug)]
struct ViewState {
    view: Arc<View>,
    readers: usize,
    /// The sequence number at which the last slot up to the end of the log ended.
    last_end: u64,
    /// The time from which the next cut may be made; `None` before the first.
    next_cut_at: Option<Instant>,
    /// The parts of the newest open lines that the filter selects, by their versions; at most
    /// [`OpenLine::MAX_ORIGINS`].
    open: BTreeMap<u64, Arc<OpenLine>>,
    /// In the order in which they were cut, which need not be that of their events. No two begin at the same event.
    slots: VecDeque<Arc<Slot>>,
}

impl ViewState {
    /// The least time between two cuts while the view is busy.
    fn cut_interval(&self) -> Duration {
        let readers = u32::try_from(self.readers).unwrap_or(u32::MAX);
        CUT_INTERVAL_PER_READER.saturating_mul(readers).clamp(MIN_CUT_INTERVAL, MAX_CUT_INTERVAL)
    }
}

/// All views of one log.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "a field for the views of `Views`")]
pub(super) struct Views {
    /// `None` where a view has lost its last reader; the index is reused.
    views: Vec<Option<ViewState>>,
    /// The sum of [`Slot::counted_bytes`] over the slots of all views.
    bytes: usize,
    /// The number of times that a line was matched against a filter.
    filter_checks: u64,
    /// The number of gaps that readers received.
    gaps: u64,
}

/// The next step of a reader.
#[derive(Debug)]
pub(super) enum NextSlot {
    /// Take this slot.
    Ready(Arc<Slot>),
    /// Wait: the reader has caught up, and the next cut is due at this time.
    WaitUntil(Instant),
    /// Cut a slot of events before this sequence number, at which the next slot of the view begins.
    CutNow { before: u64 },
}

impl Views {
    /// Adds a reader to the view. The number identifies the view until the reader leaves.
    pub(super) fn join(&mut self, view: View) -> (usize, Arc<View>) {
        let known = self.views.iter().position(|shared| shared.as_ref().is_some_and(|s| *s.view == view));
        let at = known.or_else(|| self.views.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.views.push(None);
            self.views.len() - 1
        });
        let shared = self.views[at].get_or_insert_with(|| ViewState {
            view: Arc::new(view),
            readers: 0,
            last_end: 0,
            next_cut_at: None,
            open: BTreeMap::new(),
            slots: VecDeque::new(),
        });
        shared.readers += 1;
        (at, shared.view.clone())
    }

    /// Removes a reader from its view. A view without readers is dropped, and its slots with it.
    pub(super) fn leave(&mut self, at: usize) {
        let shared = self.shared(at);
        shared.readers -= 1;
        if shared.readers == 0 {
            let bytes = shared.slots.iter().map(|slot| slot.counted_bytes()).sum::<usize>();
            self.subtract(bytes);
            self.views[at] = None;
        }
    }

    fn shared(&mut self, at: usize) -> &mut ViewState {
        self.views[at].as_mut().expect("a view exists while it has readers")
    }

    /// The next step of a reader at `seq`, which can use slots that end at `shareable_to` or before.
    pub(super) fn next_slot(&mut self, at: usize, seq: u64, shareable_to: u64, now: Instant) -> NextSlot {
        let shared = self.shared(at);
        let slot = shared.slots.iter().rev().find(|slot| slot.from == seq);
        if let Some(slot) = slot.filter(|slot| slot.to <= shareable_to) {
            return NextSlot::Ready(slot.clone());
        }
        match shared.next_cut_at {
            Some(tick) if slot.is_none() && seq >= shared.last_end && now < tick => NextSlot::WaitUntil(tick),
            // A late reader joins the others where their next slot begins.
            _ => {
                let starts = shared.slots.iter().map(|slot| slot.from);
                NextSlot::CutNow { before: starts.filter(|&from| from > seq).min().unwrap_or(u64::MAX) }
            }
        }
    }

    /// Enters a slot and returns it, or the one that another reader has entered meanwhile. With `end`, the slot ends at
    /// the end of the log, which sets the time of the next cut.
    pub(crate) fn enter_slot(&mut self, at: usize, mut slot: Slot, end: bool, now: Instant) -> Arc<Slot> {
        let shared = self.shared(at);
        if let Some(known) = shared.slots.iter().rev().find(|known| known.from == slot.from) {
            return known.clone();
        }
        if end {
            let interval = shared.cut_interval();
            let is_busy = shared.next_cut_at.is_some_and(|tick| now < tick + interval);
            shared.next_cut_at = Some(now + interval);
            shared.last_end = slot.to;
            slot.next_cut_at = shared.next_cut_at.filter(|_| is_busy);
        }
        let slot = Arc::new(slot);
        shared.slots.push_back(slot.clone());
        self.drop_old_slots(at);
        slot
    }

    /// The least time between two cuts of the fastest view; `None` without readers.
    pub(super) fn fastest_cut_interval(&self) -> Option<Duration> {
        self.views.iter().flatten().map(ViewState::cut_interval).min()
    }

    /// Counts lines that were matched against a filter outside a slot.
    pub(super) fn count_filter_checks(&mut self, lines: u64) {
        self.filter_checks += lines;
    }

    /// Counts a gap that a reader receives.
    pub(super) fn count_gap(&mut self) {
        self.gaps += 1;
    }

    /// The number of gaps that readers received.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// The number of times that a line was matched against a filter, for all readers together.
    pub(super) fn filter_checks(&self) -> u64 {
        self.filter_checks
    }

    /// The part of this version of an open line that the filter selects; `None` if it has not been matched yet.
    pub(super) fn selected_open_line(&mut self, at: usize, version: u64) -> Option<Arc<OpenLine>> {
        self.shared(at).open.get(&version).cloned()
    }

    /// Remembers what the filter selects of this version, for all readers of the view.
    pub(super) fn keep_selected_open_line(&mut self, at: usize, version: u64, selected: Arc<OpenLine>) {
        let open = &mut self.shared(at).open;
        open.insert(version, selected);
        if open.len() > OpenLine::MAX_ORIGINS {
            open.pop_first();
        }
        self.filter_checks += 1;
    }

    /// Counts the bytes of a slot that was just encoded or compressed, unless it was dropped meanwhile.
    pub(crate) fn count(&mut self, at: usize, slot: &Slot) {
        if self.shared(at).slots.iter().any(|known| std::ptr::eq(&raw const **known, slot)) {
            let bytes = slot.bytes();
            self.bytes += bytes - slot.counted.swap(bytes, Ordering::Relaxed);
            self.drop_old_slots(at);
        }
    }

    /// Drops the oldest slots beyond the two limits of a view; the newest stays.
    fn drop_old_slots(&mut self, at: usize) {
        let shared = self.shared(at);
        let mut bytes: usize = shared.slots.iter().map(|slot| slot.counted_bytes()).sum();
        let mut dropped = 0;
        while shared.slots.len() > 1 && (shared.slots.len() > MAX_SLOTS_PER_VIEW || bytes > MAX_KEPT_SLOT_BYTES) {
            let gone = shared.slots.pop_front().map_or(0, |slot| slot.counted_bytes());
            bytes -= gone;
            dropped += gone;
        }
        self.subtract(dropped);
    }

    /// Drops slots, view by view and oldest first, until all together have at most `bytes`. Slots can be encoded again;
    /// dropped events are gone.
    pub(super) fn limit_slot_bytes(&mut self, bytes: usize) {
        for at in 0..self.views.len() {
            while self.bytes > bytes
                && let Some(slot) = self.views[at].as_mut().and_then(|shared| shared.slots.pop_front())
            {
                self.subtract(slot.counted_bytes());
            }
        }
    }

    /// Subtracts the bytes of dropped slots from the sum.
    fn subtract(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes, "only counted slots are subtracted");
        self.bytes -= bytes;
    }

    /// All encoded bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of readers of all views.
    pub(crate) fn readers(&self) -> usize {
        self.views.iter().flatten().map(|shared| shared.readers).sum()
    }
}
