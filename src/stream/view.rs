//! What readers who want the same share: the format and filter, the pace, the cuts, and the bytes encoded between them.
//!
//! Equal views of a log are one object. While readers have caught up, each tick of their view is a cut; what lies between
//! two cuts is encoded once, by whichever reader comes first, and all others take the same bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::event::{EventKind, Position, StreamName, lock};
use crate::wire::{Encoder, Encoding};

use crate::segment::Filter;
use crate::segment::Slice;

/// Text in one slot, in bytes, about: a reader holds on to one while it waits for its socket.
pub(super) const SLOT_TEXT_SIZE: usize = 128 << 10;

/// Encoded bytes that a view keeps for readers a little behind, and how many slots at most.
const MAX_KEPT_SLOT_BYTES: usize = 1 << 20;
const MAX_SLOTS_PER_VIEW: usize = 32;

/// A view ticks at least this far apart once it is busy, and this much more for each of its readers: a write to a socket
/// costs some 10 µs whatever its size, so this spends at most a tenth of a core on them.
const MIN_CUT_INTERVAL: Duration = Duration::from_millis(1);
const CUT_INTERVAL_PER_READER: Duration = Duration::from_micros(200);

/// But never further apart than this.
const MAX_CUT_INTERVAL: Duration = Duration::from_millis(20);

/// A format and a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What the events become.
    pub encoding: Encoding,
    /// Which of them.
    pub filter: Filter,
    /// Whether the reader reads other streams on the same connection: JSON then names the stream, and frames come apart.
    pub several: bool,
}

/// Events as bytes.
#[derive(Debug)]
pub(super) struct EncodedEvents {
    pub(super) bytes: Bytes,
    /// How many lines are in it.
    pub(super) lines: u64,
    /// The place after the last event that was looked at.
    pub(super) to: u64,
    /// The place after the last event that is in it; `None` if there is none.
    pub(super) shown: Option<u64>,
    /// How many lines were held against the filter for it.
    pub(super) filter_checks: u64,
    /// Where each frame ends and which event it is, for readers of several streams.
    pub(super) frame_ends: Vec<(usize, Position)>,
}

impl View {
    /// Encodes what passes the filter, `lines` lines at most.
    pub(super) fn encode(&self, name: &StreamName, slices: &[Slice], lines: u64) -> EncodedEvents {
        let mut encoder = Encoder::new(self.encoding, self.several.then_some(name));
        let text: usize = slices.iter().map(|slice| slice.segment.text_len()).sum();
        let events: usize = slices.iter().map(|slice| slice.to - slice.from).sum();
        // A frame's id and field names take about this much beside its text.
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
        for slice in slices {
            for at in slice.from..slice.to {
                let event = slice.segment.event(at);
                made.to = slice.segment.seq() + at as u64 + 1;
                if self.filter.matches_event(&event, &mut made.filter_checks) {
                    encoder.push(&event, &mut out);
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

/// The events from one cut to another, encoded by the first reader that takes them.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) from: u64,
    pub(super) to: u64,
    /// What is to be encoded; empty once it was. Nobody counts the memory of segments that were read from disk, so none is
    /// held longer than that.
    slices: Mutex<Vec<Slice>>,
    encoded: OnceLock<EncodedEvents>,
    /// Whether [`Views`] counts its bytes. Changes only while the views are locked.
    counted: AtomicBool,
}

impl Slot {
    pub(super) fn new(from: u64, to: u64, slices: Vec<Slice>) -> Self {
        Self { from, to, slices: Mutex::new(slices), encoded: OnceLock::new(), counted: AtomicBool::new(false) }
    }

    /// The bytes, and whether this call made them.
    pub(super) fn encode(&self, view: &View, name: &StreamName) -> (&EncodedEvents, bool) {
        let mut made = false;
        let encoded = self.encoded.get_or_init(|| {
            made = true;
            let slices = std::mem::take(&mut *lock(&self.slices));
            view.encode(name, &slices, u64::MAX)
        });
        (encoded, made)
    }

    /// The bytes that [`Views`] counts for it: 0 from the encoding until [`Views::count`], which takes another lock.
    fn counted_bytes(&self) -> usize {
        let encoded = self.encoded.get().filter(|_| self.counted.load(Ordering::Relaxed));
        encoded.map_or(0, |encoded| encoded.bytes.len() + encoded.frame_ends.len() * size_of::<(usize, Position)>())
    }
}

/// One view with its readers, its pace and its slots.
#[derive(Debug)]
struct ViewState {
    view: Arc<View>,
    readers: usize,
    /// The last cut, and when the next may be made.
    cut: u64,
    next_cut_at: Option<Instant>,
    /// The version of the unfinished line that was held against the filter last, and whether it passed.
    open: (u64, bool),
    /// As they were made.
    slots: VecDeque<Arc<Slot>>,
}

/// All views of one log.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the views are what it is about")]
pub(super) struct Views {
    views: Vec<Option<ViewState>>,
    /// All encoded bytes in slots.
    bytes: usize,
    /// How many lines were held against a filter.
    filter_checks: u64,
    /// How many gaps readers were told of.
    gaps: u64,
}

/// What a reader finds at its place in its view.
#[derive(Debug)]
pub(super) enum NextSlot {
    /// These bytes are next.
    Ready(Arc<Slot>),
    /// It has caught up, and the next cut is not to be made before this time.
    WaitUntil(Instant),
    /// A slot is to be cut, of events before this sequence number: there the next slot of the view begins.
    CutNow { before: u64 },
}

impl Views {
    /// Enters a reader; the number stands for its view until it leaves.
    pub(super) fn join(&mut self, view: View) -> (usize, Arc<View>) {
        let known = self.views.iter().position(|shared| shared.as_ref().is_some_and(|s| *s.view == view));
        let at = known.or_else(|| self.views.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.views.push(None);
            self.views.len() - 1
        });
        let shared = self.views[at].get_or_insert_with(|| ViewState {
            view: Arc::new(view),
            readers: 0,
            cut: 0,
            next_cut_at: None,
            open: (0, true),
            slots: VecDeque::new(),
        });
        shared.readers += 1;
        (at, shared.view.clone())
    }

    /// Lets a reader leave; the slots of a view without readers are dropped.
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
        self.views[at].as_mut().expect("a view is there while it has readers")
    }

    /// What comes next for a reader at `seq`, which takes slots that end at `shareable_to` or before.
    pub(super) fn next_slot(&mut self, at: usize, seq: u64, shareable_to: u64, now: Instant) -> NextSlot {
        let shared = self.shared(at);
        let slot = shared.slots.iter().rev().find(|slot| slot.from == seq);
        if let Some(slot) = slot.filter(|slot| slot.to <= shareable_to) {
            return NextSlot::Ready(slot.clone());
        }
        match shared.next_cut_at {
            Some(tick) if slot.is_none() && seq >= shared.cut && now < tick => NextSlot::WaitUntil(tick),
            // A reader that is behind meets the others where their next slot begins.
            _ => {
                let starts = shared.slots.iter().map(|slot| slot.from);
                NextSlot::CutNow { before: starts.filter(|&from| from > seq).min().unwrap_or(u64::MAX) }
            }
        }
    }

    /// Enters a slot, unless another reader was quicker: the one to use. At the end of the log it is a cut.
    pub(crate) fn cut(&mut self, at: usize, slot: Slot, end: bool, now: Instant) -> Arc<Slot> {
        let shared = self.shared(at);
        if let Some(known) = shared.slots.iter().rev().find(|known| known.from == slot.from) {
            return known.clone();
        }
        if end {
            let readers = u32::try_from(shared.readers).unwrap_or(u32::MAX);
            shared.next_cut_at =
                Some(now + CUT_INTERVAL_PER_READER.saturating_mul(readers).clamp(MIN_CUT_INTERVAL, MAX_CUT_INTERVAL));
            shared.cut = slot.to;
        }
        let slot = Arc::new(slot);
        shared.slots.push_back(slot.clone());
        self.drop_old_slots(at);
        slot
    }

    /// Counts lines that were held against a filter.
    pub(super) fn count_filter_checks(&mut self, lines: u64) {
        self.filter_checks += lines;
    }

    /// Counts a gap that a reader is told of.
    pub(super) fn count_gap(&mut self) {
        self.gaps += 1;
    }

    /// How many gaps readers were told of.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// How many lines were held against a filter, for all readers together.
    pub(super) fn filter_checks(&self) -> u64 {
        self.filter_checks
    }

    /// Whether this version of the unfinished line passes; `None` if nobody has looked yet.
    pub(super) fn cached_open_line_match(&mut self, at: usize, version: u64) -> Option<bool> {
        let (seen, passes) = self.shared(at).open;
        (seen == version).then_some(passes)
    }

    /// Remembers whether it passes, for all readers of the view.
    pub(super) fn cache_open_line_match(&mut self, at: usize, version: u64, passes: bool) {
        self.shared(at).open = (version, passes);
        self.filter_checks += 1;
    }

    /// Counts a slot that was just encoded, unless it was dropped meanwhile.
    pub(crate) fn count(&mut self, at: usize, slot: &Slot) {
        self.filter_checks += slot.encoded.get().map_or(0, |encoded| encoded.filter_checks);
        if self.shared(at).slots.iter().any(|known| std::ptr::eq(&raw const **known, slot)) {
            slot.counted.store(true, Ordering::Relaxed);
            self.bytes += slot.counted_bytes();
            self.drop_old_slots(at);
        }
    }

    /// Drops the oldest slots beyond what is kept; the newest stays.
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

    /// Drops the oldest slots of all views until they hold at most `bytes`. They can be made again, events cannot.
    pub(super) fn limit_slot_bytes(&mut self, bytes: usize) {
        for at in 0..self.views.len() {
            while self.bytes > bytes
                && let Some(slot) = self.views[at].as_mut().and_then(|shared| shared.slots.pop_front())
            {
                self.subtract(slot.counted_bytes());
            }
        }
    }

    /// Takes the bytes of dropped slots off the sum.
    fn subtract(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes, "only counted slots are subtracted");
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// All encoded bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many readers there are.
    pub(crate) fn readers(&self) -> usize {
        self.views.iter().flatten().map(|shared| shared.readers).sum()
    }
}
