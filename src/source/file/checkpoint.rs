//! Checkpoints: the offset up to which a file was read, as one line of text. History records it with each batch and
//! returns it at the next start.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::event::{Origin, Time};

use super::fingerprint::{Fingerprint, Identity, ReadPoint, SeenContent};
use crate::source::envelope::StreamPosition;
use crate::source::file::rotation::location::LinkTarget;
use crate::source::file::rotation::siblings::FILE_CLOCK_TICK_NANOS;
use crate::source::file::rotation::watermark::Watermark;

/// The checkpoint of one path. The content decides whether a file is the recorded one; the identity says where to look
/// for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct Checkpoint {
    /// No file existed when the checkpoint was recorded, so a file that appears is new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    #[serde(rename = "dev")]
    device: u64,
    #[serde(rename = "ino")]
    inode: u64,
    #[serde(rename = "born")]
    born: u64,
    /// The offset behind the last byte that was delivered.
    at: u64,
    /// Hashes of the first bytes of the file, and of the bytes before the offset, in hexadecimal.
    head: HexHash,
    before: HexHash,
    /// The time of the record, in milliseconds since the Unix epoch.
    time: u64,
    /// The age up to which sibling files are done, if it differs from the birth time of the file itself: see
    /// [`Watermark`].
    #[serde(default, skip_serializing_if = "is_zero", rename = "done")]
    watermark_age: u64,
    /// The inodes of further sibling files that are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "beside")]
    watermark_inodes: Vec<u64>,
    /// The direction of rotation numbers: whether the highest number is the newest file, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "up")]
    counts_up: Option<bool>,
    /// Checkpoints of files that are read after this one, and were partly read under another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "next")]
    later_generations: Vec<Checkpoint>,
    /// The path to which the symlinks in the path lead, percent-encoded, and the owner of its siblings, or [`ANY_OWNER`].
    #[serde(rename = "target", default, skip_serializing_if = "Option::is_none")]
    link_target: Option<(String, u32)>,
    /// The read points of files that no longer exist, each as `at`, `head` and `before`: a file that continues from one
    /// is a copy.
    #[serde(rename = "past", default, skip_serializing_if = "Vec::is_empty")]
    gone_fingerprints: Vec<(u64, HexHash, HexHash)>,
    /// The streams inside the envelopes of the file that were delivered beyond the offset.
    #[serde(rename = "streams", default, skip_serializing_if = "Vec::is_empty")]
    stream_positions: Vec<StreamPosition>,
    /// Nothing more was expected in the file, which was rotated away and read to its end: if it is gone, nothing is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    finished: bool,
    /// Files that were left after their rotation, each as device, inode, birth time, and the size up to which it was read
    /// or reported: what is written to them later is a loss.
    #[serde(rename = "left", default, skip_serializing_if = "Vec::is_empty")]
    left_files: Vec<(u64, u64, u64, u64)>,
    /// The content of a file of which nothing was delivered, as its size and the `at`, `head` and `before` of its start.
    #[serde(rename = "seen", default, skip_serializing_if = "Option::is_none")]
    seen: Option<(u64, u64, HexHash, HexHash)>,
}

/// The number that stands for "any owner" in a recorded target: no user has it (chown(2)).
const ANY_OWNER: u32 = u32::MAX;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A hash, stored as text, since JSON numbers are exact only up to 53 bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct HexHash(u64);

impl TryFrom<String> for HexHash {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

impl From<HexHash> for String {
    fn from(hash: HexHash) -> Self {
        format!("{:016x}", hash.0)
    }
}

impl Checkpoint {
    /// The checkpoint of a file that was delivered up to `read_point`.
    pub(super) fn new(identity: Identity, read_point: &ReadPoint, time: Time) -> Self {
        let Fingerprint { at, head, before } = read_point.fingerprint();
        let Identity { device, inode, born } = identity;
        let (head, before, time) = (HexHash(head), HexHash(before), time.millis());
        Self {
            gone: false,
            device,
            inode,
            born,
            at,
            head,
            before,
            time,
            watermark_age: 0,
            watermark_inodes: Vec::new(),
            counts_up: None,
            later_generations: Vec::new(),
            link_target: None,
            gone_fingerprints: Vec::new(),
            stream_positions: Vec::new(),
            finished: false,
            left_files: Vec::new(),
            seen: None,
        }
    }

    /// The checkpoint of a path that has named nothing since `time`, in milliseconds: any later file is read from its
    /// start.
    pub(super) fn gone(time: u64) -> Self {
        let identity = Identity { device: 0, inode: 0, born: 0 };
        Self { gone: true, time, ..Self::new(identity, &ReadPoint::new(), Time(0)) }
    }

    /// The same checkpoint of a file of which nothing was delivered, with what was seen of it.
    pub(super) fn with_seen(self, seen: Option<SeenContent>) -> Self {
        let recorded =
            |SeenContent { size, start: Fingerprint { at, head, before } }| (size, at, HexHash(head), HexHash(before));
        Self { seen: seen.filter(|_| self.at == 0).map(recorded), ..self }
    }

    /// What was seen of a file of which nothing was delivered.
    pub(super) fn seen(&self) -> Option<SeenContent> {
        let start = |&(size, at, head, before): &(u64, u64, HexHash, HexHash)| SeenContent {
            size,
            start: Fingerprint { at, head: head.0, before: before.0 },
        };
        self.seen.as_ref().map(start)
    }

    /// The same checkpoint, with the streams inside the envelopes that were delivered beyond the offset.
    pub(super) fn with_stream_positions(self, stream_positions: Vec<StreamPosition>) -> Self {
        Self { stream_positions, ..self }
    }

    /// The same checkpoint, of a file in which nothing more is expected, or may be.
    pub(super) fn with_finished(self, finished: bool) -> Self {
        Self { finished, ..self }
    }

    /// Returns whether nothing more was expected in the file.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// The streams inside the envelopes that were delivered beyond the offset.
    pub(super) fn stream_positions(&self) -> &[StreamPosition] {
        &self.stream_positions
    }

    /// The same checkpoint, with the numbering direction of the rotated files.
    pub(super) fn with_counts_up(self, counts_up: Option<bool>) -> Self {
        Self { counts_up, ..self }
    }

    /// The direction of rotation numbers, if it is known.
    pub(super) fn counts_up(&self) -> Option<bool> {
        self.counts_up
    }

    /// The same checkpoint, with the siblings that are done.
    pub(super) fn with_watermark(self, mark: Option<&Watermark>) -> Self {
        let Some(mark) = mark.filter(|mark| mark.age() >= self.born) else { return self };
        let watermark_age = if mark.age() > self.born { mark.age() } else { 0 };
        let watermark_inodes = mark.inodes().iter().copied().filter(|inode| *inode != self.inode).collect();
        Self { watermark_age, watermark_inodes, ..self }
    }

    /// The siblings that are done.
    pub(super) fn watermark(&self) -> Watermark {
        if self.watermark_age > 0 {
            return Watermark::new(self.watermark_age, self.watermark_inodes.clone());
        }
        if self.gone || self.born == 0 {
            return Watermark::at(
                self.time.saturating_add(1).saturating_mul(1_000_000).saturating_add(FILE_CLOCK_TICK_NANOS),
            );
        }
        Watermark::new(self.born, self.watermark_inodes.iter().copied().chain([self.inode]).collect())
    }

    /// The same checkpoint, with the path to which the symlinks in the path lead, if it has any.
    pub(super) fn with_link_target(self, target: Option<&LinkTarget>) -> Self {
        let encoded =
            |target: &LinkTarget| (Origin::file(&target.path).as_str().to_owned(), target.owner.unwrap_or(ANY_OWNER));
        Self { link_target: target.map(encoded), ..self }
    }

    /// The path to which the symlinks in the path lead, if it has any.
    pub(super) fn link_target(&self) -> Option<LinkTarget> {
        let (path, owner) = self.link_target.as_ref()?;
        Some(LinkTarget {
            path: Origin::from(path.as_str()).path(),
            owner: Some(*owner).filter(|owner| *owner != ANY_OWNER),
        })
    }

    /// The same checkpoint, with those of the files that are read after it.
    pub(super) fn with_later_generations(self, later_generations: Vec<Self>) -> Self {
        Self { later_generations, ..self }
    }

    /// The same checkpoint, with the fingerprints of files that no longer exist.
    pub(super) fn with_gone_fingerprints(self, gone: impl IntoIterator<Item = Fingerprint>) -> Self {
        let gone = gone.into_iter().map(|read| (read.at, HexHash(read.head), HexHash(read.before))).collect();
        Self { gone_fingerprints: gone, ..self }
    }

    /// The fingerprints of files that no longer exist, the oldest first.
    pub(super) fn gone_fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.gone_fingerprints.iter().map(|&(at, head, before)| Fingerprint { at, head: head.0, before: before.0 })
    }

    /// The same checkpoint, with the files that were left, each with the size up to which it was read or reported.
    pub(super) fn with_left_files(self, left: impl IntoIterator<Item = (Identity, u64)>) -> Self {
        let recorded = |(identity, size): (Identity, u64)| (identity.device, identity.inode, identity.born, size);
        Self { left_files: left.into_iter().map(recorded).collect(), ..self }
    }

    /// The files that were left.
    pub(super) fn left_files(&self) -> impl Iterator<Item = (Identity, u64)> {
        self.left_files.iter().map(|&(device, inode, born, size)| (Identity { device, inode, born }, size))
    }

    /// The fingerprint of the file up to the offset.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { at: self.at, head: self.head.0, before: self.before.0 }
    }

    /// The checkpoint of this generation and those of the later ones, as separate checkpoints.
    pub(super) fn generations(mut self) -> Vec<Self> {
        let later = std::mem::take(&mut self.later_generations);
        std::iter::once(self).chain(later).collect()
    }

    /// Parses a recorded checkpoint; `None` if it is damaged.
    pub(in crate::source) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The offset behind the last byte that was delivered; `None` if there was no file.
    pub(in crate::source) fn offset(&self) -> Option<u64> {
        (!self.gone).then_some(self.at)
    }

    /// The time of the record.
    pub(in crate::source) fn recorded_at(&self) -> Time {
        Time(i64::try_from(self.time).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// The text to record.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// The identity of the file.
    pub(super) fn identity(&self) -> Identity {
        Identity { device: self.device, inode: self.inode, born: self.born }
    }

    /// The offset.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The time of the record, in milliseconds since the Unix epoch.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// The read point in `file`, if its content is unchanged. If nothing was delivered, it must be the same file, or begin with
    /// the content that was seen.
    pub(super) fn read_point_in(&self, file: &File, identity: Identity) -> io::Result<Option<ReadPoint>> {
        if self.at > 0 {
            return self.fingerprint().read_point_in(file);
        }
        let start = self.seen().map_or_else(|| ReadPoint::new().fingerprint(), |seen| seen.start);
        if !self.identity().is_same_file(identity) && start.at == 0 {
            return Ok(None);
        }
        Ok(start.read_point_in(file)?.map(|_| ReadPoint::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_recorded_reads_back_and_finds_its_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        let identity = Identity::from(&file.metadata().unwrap());
        let read_point = ReadPoint::of(&file, 8).unwrap().unwrap();
        let saved = Checkpoint::new(identity, &read_point, Time(1_000_000));
        let text = saved.to_text();
        assert!(!text.contains('\n') && text.len() < 200, "{text}");
        let read = Checkpoint::read(&text).unwrap();
        assert_eq!((&read, read.identity(), read.at(), read.time()), (&saved, identity, 8, 1000));
        assert_eq!(read.read_point_in(&file, identity).unwrap(), Some(read_point));
        file.set_len(7).unwrap();
        assert_eq!(read.read_point_in(&file, identity).unwrap(), None);
        for damaged in ["", "{}", "8", &text.replace('}', ""), &text.replace("\"at\":8", "\"at\":-8")] {
            assert_eq!(Checkpoint::read(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn which_files_are_done_with_is_recorded_where_the_age_does_not_tell() {
        let identity = Identity { device: 1, inode: 2, born: 30 };
        let saved = || Checkpoint::new(identity, &ReadPoint::new(), Time(0));
        for (mark, expected) in [
            (None, Watermark::new(30, vec![2])),
            (Some(Watermark::new(20, vec![9])), Watermark::new(30, vec![2])),
            (Some(Watermark::new(30, vec![9])), Watermark::new(30, vec![9, 2])),
            (Some(Watermark::new(40, vec![9])), Watermark::new(40, vec![9])),
        ] {
            let written = saved().with_watermark(mark.as_ref()).to_text();
            assert_eq!(Checkpoint::read(&written).unwrap().watermark(), expected, "{written}");
        }
        let gone = Checkpoint::gone(1).with_watermark(Some(&Watermark::new(40, vec![9])));
        assert_eq!(gone.watermark(), Watermark::new(40, vec![9]));
    }

    #[test]
    fn of_a_file_that_was_not_read_the_inode_and_what_was_seen_decide() {
        let long = "a line that is long enough for recognising a copy\n";
        let identity = Identity { device: 1, inode: 2, born: 3 };
        let other_device = Identity { device: 9, ..identity };
        let reused = Identity { born: 4, ..identity };
        let other = Identity { inode: 9, ..identity };
        // What was seen, the content that is found, in which file, and whether that is the one.
        let table = [
            ("", "", identity, true),
            ("", "one\n", identity, true),
            ("", "one\n", other_device, true),
            ("", "one\n", reused, false),
            ("", "one\n", other, false),
            ("one\n", "one\ntwo\n", identity, true),
            ("one\n", "", identity, false),
            ("one\n", "uno\ntwo\n", identity, false),
            ("one\n", "one\n", other, true),
            ("one\n", "uno\n", other, false),
            (long, long, identity, true),
            (long, long, other, true),
            (long, "another\n", identity, false),
            // What was preallocated is filled in later.
            ("one\n\0\0\0\0", "one\ntwo\n", identity, true),
        ];
        for (seen, content, found, expected) in table {
            let write = |content: &str| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(content.as_bytes()).unwrap();
                file
            };
            let seen_content = SeenContent::of(Some(&write(seen)), seen.len() as u64);
            let saved = Checkpoint::new(identity, &ReadPoint::new(), Time(0)).with_seen(Some(seen_content));
            let saved = Checkpoint::read(&saved.to_text()).unwrap();
            assert_eq!(saved.seen(), Some(seen_content));
            let point = saved.read_point_in(&write(content), found).unwrap();
            assert_eq!(point, expected.then(ReadPoint::new), "{seen:?}, {content:?}, {found:?}");
        }
    }
}
