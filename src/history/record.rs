//! The format on disk: records as checksummed bytes and back. No I/O.
//!
//! A file of a history is [`FILE_MAGIC`] and then records. A record is a [`RecordHeader`] of fixed length, its numbers
//! little-endian, and a body of at most [`MAX_RECORD_SIZE`] bytes. A record with [`FLAG_CONTINUED`] belongs to the same
//! transaction as the next one; a transaction without its last record is invalid as a whole.
//!
//! ```text
//! offset  0       4       8      12    13     14       15  16     20    24     32      40   48    56
//!         marker  length  crc32  kind  flags  version  0   count  salt  epoch  number  seq  time  body …
//! ```
//!
//! | kind | body |
//! |---|---|
//! | 1 `Events` | the names of the origins; for each event its time, length, origin, kind, flags and logged time; the text |
//! | 2 `Snapshot` | JSON: what a reader of this file must know about earlier files |
//! | 3 `Opened` | JSON: a daemon begins to write |
//! | 4 `Closed` | nothing: a daemon stopped cleanly |
//! | 5 `Checkpoint` | keys, each with the new value or none |
//! | 6 `Run` | JSON: the summary of a run |
//! | 7 `Senders` | JSON: how far each sender has pushed; defined and read, but not written yet |
//!
//! Checkpoints are records of their own, so that a record of events is the same wherever it is kept.
//!
//! **Version 1** has the kinds up to 4. Its `Events` begin with checkpoints and may have no event, their flags have
//! eight bits, and no event has a logged time. That a stream is private is a checkpoint with the key
//! [`VERSION_1_PRIVATE_KEY`], where version 2 has [`FLAG_PRIVATE`] in each header. Version 1 is read, and never
//! written.

use serde::{Deserialize, Serialize};

use crate::event::{Epoch, Position, RunSummary, Time};

use super::byte_codec::{ByteReader, RecordError, put_number, put_text};
use super::segment_codec::{get_segment, put_segment};
use super::summary::{SenderProgress, are_valid_senders};
use crate::segment::{CheckpointChange, Numbering, Segment};

/// The version of the format that is written. Older ones can be read.
pub(crate) const FORMAT_VERSION: u8 = 2;

/// The first bytes of each file; the last one is the version of the format.
pub(super) const FILE_MAGIC: [u8; 8] = *b"rtlogd\n\x02";

/// The version in the header of a record of version 1, which has no such field.
const VERSION_1: u8 = 0;

/// The checkpoint key that says in version 1 that the stream is private.
const VERSION_1_PRIVATE_KEY: &str = "private";

/// The first bytes of each record, by which the next one is found after damage.
const RECORD_MARKER: [u8; 4] = *b"\xE7RL\n";

/// The size of a record header, in bytes.
pub(super) const RECORD_HEADER_SIZE: usize = 56;

/// The longest record, in bytes: it also fits into a message of NATS, which holds 1 MiB unless configured otherwise.
pub(super) const MAX_RECORD_SIZE: usize = 512 << 10;

/// The longest snapshot, in bytes; the numbering in it is bounded.
const MAX_SNAPSHOT_SIZE: usize = 2 << 20;

/// The greatest valid sequence number and number in an epoch, although greater ones could be written: a billion events
/// per second reach it after a century. Sums with numbers that were read from a file thus never overflow.
pub(super) const MAX_SEQ: u64 = 1 << 62;

/// The longest key and value of one checkpoint, in bytes: a percent-encoded path, and the facts about its files, with what
/// their programs were drawing. Checkpoints share records of about this size.
const MAX_CHECKPOINT_SIZE: usize = MAX_RECORD_SIZE / 2;

/// Flag: the transaction continues in the next record.
const FLAG_CONTINUED: u8 = 1;

/// Flag: an unknown number of events is missing before the first one.
const FLAG_UNKNOWN_LOSS: u8 = 2;

/// Flag: the stream was private when the record was written.
const FLAG_PRIVATE: u8 = 4;

/// The stored value for an epoch without a random part.
const NO_EPOCH_SALT: u32 = u32::MAX;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    /// `true` if the transaction continues in the next record.
    pub(super) more: bool,
    /// `true` if an unknown number of events is missing before the first one.
    pub(super) unknown: bool,
    /// `true` if the stream was private when the record was written; `None` in version 1, which says so elsewhere.
    pub(super) private: Option<bool>,
    /// The size of the body, in bytes.
    pub(super) length: usize,
    /// The number of events in the body.
    pub(super) count: u32,
    /// The sequence number, id and time of the first event, or of the next one if the record has none.
    pub(super) seq: u64,
    pub(super) first: Position,
    pub(super) time: Time,
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// Events; in version 1 also the source's checkpoints after them.
    Events = 1,
    /// Everything that a reader must know about earlier files.
    Snapshot = 2,
    /// A daemon begins to write.
    Opened = 3,
    /// A daemon stopped cleanly: everything before is complete.
    Closed = 4,
    /// The source's checkpoints after the events before it in the same transaction.
    Checkpoint = 5,
    /// The summary of a run.
    Run = 6,
    /// How far each sender has pushed.
    Senders = 7,
}

/// The content of a record.
#[derive(Debug)]
pub(super) enum RecordBody {
    /// A record of events has a segment, and one of checkpoints has checkpoints; a record of version 1 may have both.
    Events {
        segment: Option<Segment>,
        checkpoints: Vec<CheckpointChange>,
    },
    Snapshot(Snapshot),
    Opened(OpenedRecord),
    Closed,
    /// A summary that is valid.
    Run(RunSummary),
    /// Senders that are valid.
    #[cfg_attr(not(test), expect(dead_code, reason = "the format has room for what is recorded later"))]
    Senders(Vec<SenderProgress>),
}

/// Everything that a reader of one file must know about the files before it. The checkpoints follow as a record of
/// events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) numbering: Numbering,
    /// The boot id of the machine on which it was written.
    pub(super) boot: String,
}

/// The boot id of the machine on which the daemon ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenedRecord {
    pub(super) boot: String,
}

/// Appends records to `bytes`. The records from one [`end`](Self::end) to the next are one transaction.
#[derive(Debug, Default)]
pub(super) struct RecordWriter {
    pub(super) bytes: Vec<u8>,
    /// `true` if the stream is private, which each record says.
    private: bool,
    /// The offset of the last record.
    last: Option<usize>,
}

impl RecordWriter {
    /// A writer of records of a stream that is private or not.
    pub(super) fn new(private: bool) -> Self {
        Self { private, ..Self::default() }
    }

    /// Adds the events of a segment.
    pub(super) fn put_events(&mut self, segment: &Segment, unknown: bool) {
        let (first, seq, time) = (segment.first, segment.seq, segment.time(0));
        let count = u32::try_from(segment.len()).expect("bounded by the length of a record");
        self.put_record(RecordKind::Events, unknown, count, (first, seq, time), |out| {
            put_segment(segment, out);
        });
    }

    /// Adds checkpoints that the source reached before the event `first`.
    pub(super) fn put_checkpoints<'a>(
        &mut self,
        first: Position,
        seq: u64,
        checkpoints: impl IntoIterator<Item = (&'a String, Option<&'a String>)>,
    ) {
        let mut encoded = Vec::new();
        let mut count = 0;
        for (key, value) in checkpoints {
            let length = key.len() + value.map_or(0, String::len);
            if length > MAX_CHECKPOINT_SIZE {
                log::warn!(key = key.as_str(), bytes = length; "a checkpoint is too long to be recorded");
                continue;
            }
            if encoded.len() + length > MAX_CHECKPOINT_SIZE {
                self.put_checkpoint_record(first, seq, count, &encoded);
                (encoded, count) = (Vec::new(), 0);
            }
            put_text(key, &mut encoded);
            encoded.push(value.is_some().into());
            value.inspect(|value| put_text(value, &mut encoded));
            count += 1;
        }
        if count > 0 {
            self.put_checkpoint_record(first, seq, count, &encoded);
        }
    }

    /// Adds a record without checkpoints, which says only whether the stream is private.
    pub(super) fn put_privacy(&mut self, first: Position, seq: u64) {
        self.put_checkpoint_record(first, seq, 0, &[]);
    }

    /// Adds the summary of a run.
    pub(super) fn put_run(&mut self, first: Position, seq: u64, summary: &RunSummary) {
        debug_assert!(summary.is_valid(MAX_SEQ), "what is written can be read");
        self.put_json(RecordKind::Run, false, first, seq, summary);
    }

    /// Adds how far each sender has pushed.
    #[cfg_attr(not(test), expect(dead_code, reason = "the format has room for what is recorded later"))]
    pub(super) fn put_senders(&mut self, first: Position, seq: u64, senders: &[SenderProgress]) {
        debug_assert!(are_valid_senders(senders), "what is written can be read");
        self.put_json(RecordKind::Senders, false, first, seq, &senders);
    }

    fn put_checkpoint_record(&mut self, first: Position, seq: u64, count: u64, encoded: &[u8]) {
        self.put_record(RecordKind::Checkpoint, false, 0, (first, seq, Time::default()), |out| {
            put_number(count, out);
            out.extend_from_slice(encoded);
        });
    }

    /// Adds the snapshot at the start of a file. The next event will be `first`.
    pub(super) fn put_snapshot(&mut self, first: Position, seq: u64, snapshot: &Snapshot) {
        self.bytes.extend_from_slice(&FILE_MAGIC);
        self.put_json(RecordKind::Snapshot, false, first, seq, snapshot);
    }

    /// Adds that a daemon began to write, whose next event is `first`.
    pub(super) fn put_opened(&mut self, first: Position, seq: u64, unknown: bool, boot: &str) {
        self.put_json(RecordKind::Opened, unknown, first, seq, &OpenedRecord { boot: boot.to_owned() });
    }

    /// Adds that a daemon stopped cleanly.
    pub(super) fn put_closed(&mut self, first: Position, seq: u64) {
        self.put_record(RecordKind::Closed, false, 0, (first, seq, Time::default()), |_| {});
    }

    /// Ends the transaction of the records since the last end.
    pub(crate) fn end(&mut self) {
        if let Some(last) = self.last.take() {
            self.bytes[last + 13] &= !FLAG_CONTINUED;
            self.write_checksum(last);
        }
    }

    pub(super) fn put_json(
        &mut self,
        kind: RecordKind,
        unknown: bool,
        first: Position,
        seq: u64,
        content: &impl Serialize,
    ) {
        let json = serde_json::to_vec(content).expect("snapshots have text keys");
        self.put_record(kind, unknown, 0, (first, seq, Time::default()), |out| out.extend_from_slice(&json));
    }

    fn put_record(
        &mut self,
        kind: RecordKind,
        unknown: bool,
        count: u32,
        (first, seq, time): (Position, u64, Time),
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let at = self.bytes.len();
        let unknown = if unknown { FLAG_UNKNOWN_LOSS } else { 0 };
        let private = if self.private { FLAG_PRIVATE } else { 0 };
        let out = &mut self.bytes;
        out.extend_from_slice(&RECORD_MARKER);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&[kind as u8, FLAG_CONTINUED | unknown | private, FORMAT_VERSION, 0]);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&first.epoch.salt().unwrap_or(NO_EPOCH_SALT).to_le_bytes());
        out.extend_from_slice(&first.epoch.millis().to_le_bytes());
        out.extend_from_slice(&first.number.to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&time.0.to_le_bytes());
        debug_assert_eq!(out.len() - at, RECORD_HEADER_SIZE, "a head has its length");
        body(out);
        let length =
            u32::try_from(out.len() - at - RECORD_HEADER_SIZE).expect("a record is at most MAX_RECORD_SIZE long");
        self.bytes[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
        self.write_checksum(at);
        self.last = Some(at);
    }

    /// Writes the checksum of the record at `at`, the last one.
    fn write_checksum(&mut self, at: usize) {
        let sum = crc32fast::hash(&self.bytes[at + 12..]).to_le_bytes();
        self.bytes[at + 8..at + 12].copy_from_slice(&sum);
    }
}

/// The header at the start of `bytes`. Only [`read`] checks whether the record is complete.
pub(super) fn head(bytes: &[u8]) -> Result<RecordHeader, RecordError> {
    let known = bytes.len().min(RECORD_MARKER.len());
    if bytes[..known] != RECORD_MARKER[..known] {
        return Err(RecordError::Damaged);
    }
    let mut from = ByteReader(bytes.get(4..RECORD_HEADER_SIZE).ok_or(RecordError::Incomplete)?);
    let length = from.u32()? as usize;
    from.u32()?;
    let [kind, flags, version, _] = from.u32()?.to_le_bytes();
    let kind = match (kind, version) {
        (1, VERSION_1 | FORMAT_VERSION) => RecordKind::Events,
        (2, VERSION_1 | FORMAT_VERSION) => RecordKind::Snapshot,
        (3, VERSION_1 | FORMAT_VERSION) => RecordKind::Opened,
        (4, VERSION_1 | FORMAT_VERSION) => RecordKind::Closed,
        (5, FORMAT_VERSION) => RecordKind::Checkpoint,
        (6, FORMAT_VERSION) => RecordKind::Run,
        (7, FORMAT_VERSION) => RecordKind::Senders,
        _ => return Err(RecordError::Damaged),
    };
    let (count, salt, millis, number, seq) = (from.u32()?, from.u32()?, from.u64()?, from.u64()?, from.u64()?);
    let epoch = if salt == NO_EPOCH_SALT { Epoch::persistent(millis) } else { Epoch::ephemeral(millis, salt) };
    let time = Time(from.u64()?.cast_signed());
    let longest = if kind == RecordKind::Snapshot { MAX_SNAPSHOT_SIZE } else { MAX_RECORD_SIZE };
    if length > longest || seq > MAX_SEQ || !(1..=MAX_SEQ).contains(&number) {
        return Err(RecordError::Damaged);
    }
    let [more, unknown, private] = [FLAG_CONTINUED, FLAG_UNKNOWN_LOSS, FLAG_PRIVATE].map(|flag| flags & flag != 0);
    let private = (version != VERSION_1).then_some(private);
    Ok(RecordHeader { kind, more, unknown, private, length, count, seq, first: Position { epoch, number }, time })
}

/// The record at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<(RecordHeader, RecordBody), RecordError> {
    let head = head(bytes)?;
    let whole = bytes.get(..RECORD_HEADER_SIZE + head.length).ok_or(RecordError::Incomplete)?;
    let sum = u32::from_le_bytes([whole[8], whole[9], whole[10], whole[11]]);
    if crc32fast::hash(&whole[12..]) != sum {
        return Err(RecordError::Damaged);
    }
    let body = &whole[RECORD_HEADER_SIZE..];
    let body = match head.kind {
        RecordKind::Events if head.is_version_1() => {
            let mut from = ByteReader(body);
            let checkpoints = get_checkpoints(&mut from)?;
            let segment = if head.count == 0 {
                None
            } else {
                Some(get_segment(&mut from, head.count, (head.first, head.seq), true)?)
            };
            RecordBody::Events { segment, checkpoints }
        }
        RecordKind::Events if head.count == 0 => return Err(RecordError::Damaged),
        RecordKind::Events => RecordBody::Events {
            segment: Some(get_segment(&mut ByteReader(body), head.count, (head.first, head.seq), false)?),
            checkpoints: Vec::new(),
        },
        RecordKind::Checkpoint => {
            RecordBody::Events { segment: None, checkpoints: get_checkpoints(&mut ByteReader(body))? }
        }
        RecordKind::Run => {
            let summary: RunSummary = from_json(body)?;
            if !summary.is_valid(MAX_SEQ) {
                return Err(RecordError::Damaged);
            }
            RecordBody::Run(summary)
        }
        RecordKind::Senders => {
            let senders: Vec<SenderProgress> = from_json(body)?;
            if !are_valid_senders(&senders) {
                return Err(RecordError::Damaged);
            }
            RecordBody::Senders(senders)
        }
        RecordKind::Snapshot => {
            let snapshot: Snapshot = from_json(body)?;
            if !snapshot.numbering.is_valid(MAX_SEQ) {
                return Err(RecordError::Damaged);
            }
            RecordBody::Snapshot(snapshot)
        }
        RecordKind::Opened => RecordBody::Opened(from_json(body)?),
        RecordKind::Closed => RecordBody::Closed,
    };
    Ok((head, body))
}

impl RecordHeader {
    /// Returns whether the record is of version 1.
    fn is_version_1(&self) -> bool {
        self.private.is_none()
    }

    /// Takes what version 1 says about privacy out of the checkpoints of a record: `Some` if it says something.
    pub(super) fn take_privacy(&self, checkpoints: &mut Vec<CheckpointChange>) -> Option<bool> {
        if !self.is_version_1() {
            return self.private;
        }
        let change = checkpoints.iter().rfind(|change| change.key == VERSION_1_PRIVATE_KEY);
        let is_private = change.map(|change| change.value.is_some());
        checkpoints.retain(|change| change.key != VERSION_1_PRIVATE_KEY);
        is_private
    }
}

fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(body).map_err(|_| RecordError::Damaged)
}

/// The offset in `bytes`, after the first byte, at which the next record may begin.
pub(super) fn find_next_marker(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes.get(1..)?, &RECORD_MARKER).map(|at| at + 1)
}

fn get_checkpoints(from: &mut ByteReader<'_>) -> Result<Vec<CheckpointChange>, RecordError> {
    let count = from.number()?;
    let mut checkpoints = Vec::new();
    for _ in 0..count {
        let key = from.text()?.to_owned();
        let value = if from.byte()? == 0 { None } else { Some(from.text()?.to_owned()) };
        checkpoints.push(CheckpointChange { key, value });
    }
    Ok(checkpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Flags, Level, Loss, MAX_LINE, Origin};
    use crate::history::summary::tests::{sender, summary};
    use crate::segment::Batch;
    use proptest::prelude::*;

    fn first() -> Position {
        Position { epoch: Epoch::persistent(1_763_874_672_123), number: 7 }
    }

    /// A line to record: the time at which it was read, the number of its origin (0 for a loss), its flags, its logged
    /// time and its text.
    type RecordedLine = (i64, u8, u16, Option<i64>, Vec<u8>);

    fn lines() -> impl Strategy<Value = Vec<RecordedLine>> {
        let text = prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..60), 1 => Just(vec![b'x'; MAX_LINE])];
        prop::collection::vec((any::<i64>(), 0u8..4, any::<u16>(), any::<Option<i64>>(), text), 1..40)
    }

    fn segments(lines: &[RecordedLine]) -> Vec<Segment> {
        let mut batch = Batch::new();
        for (time, origin, flags, logged, text) in lines {
            match origin {
                0 => batch.loss(Time(*time), &Loss { missed: None, bytes: Some(3), reason: "x".to_owned() }),
                origin => {
                    let origin = Origin::from(format!("/origin/{origin}").as_str());
                    match logged {
                        Some(logged) => {
                            batch.logged_line(Time(*time), Time(*logged), &origin, Flags::from_bits(*flags), text);
                        }
                        None => batch.line(Time(*time), &origin, Flags::from_bits(*flags), text),
                    }
                }
            }
        }
        batch.take_segments(first(), 100)
    }

    fn events(segment: &Segment) -> Vec<Event<'_>> {
        (0..segment.len()).map(|at| segment.event(at)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn what_is_written_reads_back_and_is_short(lines in lines(), unknown: bool, private: bool, keys in prop::collection::vec("\\PC{0,9}", 0..5)) {
            let segments = segments(&lines);
            let mut writer = RecordWriter::new(private);
            for segment in &segments {
                writer.put_events(segment, unknown);
            }
            let value = "value".to_owned();
            writer.put_checkpoints(first(), 200, keys.iter().zip([Some(&value), None].into_iter().cycle()));
            writer.end();
            let mut bytes = &writer.bytes[..];
            let mut seen = Vec::new();
            let mut checkpoints = Vec::new();
            let mut more = true;
            while !bytes.is_empty() {
                prop_assert!(more, "what belongs together ended too early");
                let (head, body) = read(bytes).unwrap();
                prop_assert!(RECORD_HEADER_SIZE + head.length <= MAX_RECORD_SIZE);
                bytes = &bytes[RECORD_HEADER_SIZE + head.length..];
                more = head.more;
                let RecordBody::Events { segment, checkpoints: some } = body else { panic!() };
                let kind = if segment.is_some() { RecordKind::Events } else { RecordKind::Checkpoint };
                prop_assert_eq!((head.kind, head.private), (kind, Some(private)));
                prop_assert!(segment.is_none() || some.is_empty(), "a record of events has nothing else in it");
                prop_assert_eq!(head.unknown, unknown && segment.is_some());
                seen.extend(segment);
                checkpoints.extend(some);
            }
            prop_assert!(!more);
            prop_assert!(seen.iter().flat_map(events).eq(segments.iter().flat_map(events)));
            let logged = lines.iter().map(|(_, origin, _, logged, _)| logged.filter(|_| *origin > 0).map(Time));
            prop_assert!(seen.iter().flat_map(events).map(|event| event.logged).eq(logged));
            prop_assert!(seen.iter().map(Segment::seq).eq(segments.iter().map(Segment::seq)));
            prop_assert!(checkpoints.iter().map(|change| &change.key).eq(&keys));
            prop_assert!(checkpoints.iter().zip([true, false].into_iter().cycle()).all(|(change, is)| change.value.is_some() == is));
        }

        #[test]
        fn one_wrong_byte_is_noticed(at in any::<prop::sample::Index>(), other in 1u8..=255) {
            let mut writer = RecordWriter::default();
            writer.put_events(&segments(&[(5, 1, 0, Some(4), b"a line".to_vec()), (6, 2, 0, None, b"another".to_vec())])[0], false);
            writer.end();
            let at = at.index(writer.bytes.len());
            writer.bytes[at] ^= other;
            prop_assert!(read(&writer.bytes).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0u32..9, version in 0u8..4) {
            prop_assert!(read(&bytes).is_err());
            // Behind a right head and checksum, too.
            for kind in KINDS {
                let mut writer = RecordWriter::default();
                writer.put_record(kind, false, count, (first(), 1, Time(0)), |out| out.extend_from_slice(&bytes));
                writer.bytes[14] = version;
                writer.write_checksum(0);
                if let Ok((head, _)) = read(&writer.bytes) {
                    prop_assert_eq!((head.kind, head.count), (kind, count));
                    prop_assert_eq!(head.is_version_1(), version == VERSION_1);
                }
            }
        }
    }

    const KINDS: [RecordKind; 7] = [
        RecordKind::Events,
        RecordKind::Snapshot,
        RecordKind::Opened,
        RecordKind::Closed,
        RecordKind::Checkpoint,
        RecordKind::Run,
        RecordKind::Senders,
    ];

    #[test]
    fn a_version_has_its_own_kinds() {
        for (version, kinds) in [(0, 1..=4), (1, 0..=0), (2, 1..=7), (3, 0..=0)] {
            for kind in KINDS {
                let mut writer = RecordWriter::default();
                writer.put_record(kind, false, 0, (first(), 1, Time(0)), |out| out.push(0));
                writer.bytes[14] = version;
                assert_eq!(head(&writer.bytes).is_ok(), kinds.contains(&(kind as u8)), "{kind:?} in version {version}");
            }
        }
    }

    #[test]
    fn a_record_of_events_without_one_is_damage() {
        let mut writer = RecordWriter::default();
        writer.put_record(RecordKind::Events, false, 0, (first(), 1, Time(0)), |out| out.push(0));
        assert_eq!(read(&writer.bytes).unwrap_err(), RecordError::Damaged);
    }

    /// The bytes of the format as they were published; a change of the format needs a new version.
    #[test]
    fn the_bytes_of_version_2_stay_as_they_are() {
        let mut batch = Batch::new();
        let times = (Time(1_763_874_672_123_456), Time(1_763_874_672_000_000));
        batch.logged_line(times.0, times.1, &Origin::stdout(), Flags::CONTINUED, b"one");
        let flags =
            Flags::from_level(Level::Error).with(Flags::HAS_ESCAPES).with(Flags::COMPARED).with(Flags::NEW_SHAPE);
        batch.line(Time(1_763_874_672_123_457), &Origin::stderr(), flags, b"t\xFFo");
        let mut segment = batch.take_segments(first(), 7).remove(0);
        // A flag that was added since says that the text was examined for a level.
        segment.index.iter_mut().for_each(|entry| *entry = entry.before_examination());
        let mut writer = RecordWriter::new(true);
        let boot = "b".to_owned();
        writer.put_snapshot(
            first(),
            7,
            &Snapshot { numbering: Numbering::starting_at(first(), 7), boot: boot.clone() },
        );
        writer.put_checkpoints(first(), 7, [(&"key".to_owned(), Some(&"value".to_owned()))]);
        writer.end();
        writer.put_opened(first(), 7, true, &boot);
        writer.put_events(&segment, false);
        writer.put_checkpoints(first(), 9, [(&"key".to_owned(), None)]);
        writer.put_run(first(), 9, &summary());
        writer.put_senders(first(), 9, &[sender(5)]);
        writer.put_closed(first(), 9);
        writer.end();
        let golden = include_bytes!("../../tests/history/version-2.records");
        assert!(writer.bytes == golden, "{}", writer.bytes.escape_ascii());
    }

    #[test]
    fn numbers_that_no_log_reaches_are_damage() {
        let at = |number, seq| {
            let mut writer = RecordWriter::default();
            writer.put_record(
                RecordKind::Checkpoint,
                false,
                0,
                (Position { number, ..first() }, seq, Time(0)),
                |out| {
                    out.push(0);
                },
            );
            read(&writer.bytes).is_ok()
        };
        assert!(at(1, 0) && at(MAX_SEQ, MAX_SEQ));
        assert!(!at(0, 0) && !at(MAX_SEQ + 1, 0) && !at(u64::MAX, 0) && !at(1, u64::MAX));

        let snapshot = |chapters: &str, runs: &str, next: u64| {
            let json =
                format!(r#"{{"numbering":{{"chapters":[{chapters}],"runs":[{runs}],"next":{next}}},"boot":"x"}}"#);
            let mut writer = RecordWriter::default();
            writer.put_record(RecordKind::Snapshot, false, 0, (first(), 1, Time(0)), |out| {
                out.extend_from_slice(json.as_bytes());
            });
            read(&writer.bytes).is_ok()
        };
        let chapter = |number: u64, seq: u64| {
            let id = Position { number, ..first() };
            format!(r#"{{"first":"{id}","seq":{seq},"after_unknown":false}}"#)
        };
        let two = |one: u64, other: u64| chapter(1, one) + "," + &chapter(9, other);
        let run = r#"{"start":4,"end":5}"#;
        assert!(snapshot(&two(3, 7), run, 7));
        let wrong = [
            snapshot("", "", 0),
            snapshot(&chapter(0, 0), "", 0),
            snapshot(&chapter(u64::MAX, 0), "", 0),
            snapshot(&chapter(1, 8), "", 7),
            snapshot(&chapter(1, 0), "", MAX_SEQ + 1),
            snapshot(&two(7, 3), "", 9),
            snapshot(&chapter(1, 0), run, 5),
        ];
        assert_eq!(wrong, [false; 7]);
    }

    #[test]
    fn a_record_of_lines_costs_little_more_than_their_text() {
        let lines: Vec<_> = (0..1000).map(|at| (1_763_874_672_123_456 + at, 1, 0, None, vec![b'x'; 100])).collect();
        let mut writer = RecordWriter::default();
        writer.put_events(&segments(&lines)[0], false);
        assert!(writer.bytes.len() < 1000 * 106 + 200, "{}", writer.bytes.len());
    }
}
