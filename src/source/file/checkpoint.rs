//! How far a file was read, as one line of text: what history records with each batch, and gives back at the next start.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use crate::event::Time;

use super::fingerprint::{Fingerprint, Identity, ReadPoint};
use crate::source::file::rotation::siblings::FILE_CLOCK_TICK_NANOS;
use crate::source::file::rotation::watermark::Watermark;

/// The recorded place of one path. Its content decides whether a file is the one; the identity says where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// There was no file when it was recorded: what comes is new.
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
    /// Hashes of the first bytes, and of those before the offset, in hexadecimal.
    head: HexHash,
    before: HexHash,
    /// When it was recorded, in milliseconds since the Unix epoch.
    time: u64,
    /// Which files beside it are done with, where that is not told by when it was made itself: see [`Watermark`].
    #[serde(default, skip_serializing_if = "is_zero")]
    done: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<u64>,
    /// Whether the numbers of rotated files count up, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up: Option<bool>,
    /// Files that are read after it and were read in part already, under another name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    next: Vec<Checkpoint>,
    /// How far files were read that are gone, each as `at`, `head` and `before`: what goes on from there is a copy.
    #[serde(rename = "past", default, skip_serializing_if = "Vec::is_empty")]
    gone_fingerprints: Vec<(u64, HexHash, HexHash)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A hash; as text, since JSON numbers are exact only up to 53 bits everywhere.
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
    fn from(print: HexHash) -> Self {
        format!("{:016x}", print.0)
    }
}

impl Checkpoint {
    /// Of a file that was delivered up to `trace`.
    pub(super) fn new(identity: Identity, trace: &ReadPoint, time: Time) -> Self {
        let Fingerprint { at, head, before } = trace.fingerprint();
        let Identity { device, inode, born } = identity;
        let (head, before, time) = (HexHash(head), HexHash(before), time.millis());
        let (done, beside, up, next, past) = (0, Vec::new(), None, Vec::new(), Vec::new());
        Self {
            gone: false,
            device,
            inode,
            born,
            at,
            head,
            before,
            time,
            done,
            beside,
            up,
            next,
            gone_fingerprints: past,
        }
    }

    /// Of a path that names nothing since `time`, in milliseconds: whatever it names later is read from its start.
    pub(super) fn gone(time: u64) -> Self {
        let identity = Identity { device: 0, inode: 0, born: 0 };
        Self { gone: true, time, ..Self::new(identity, &ReadPoint::new(), Time(0)) }
    }

    /// The same, and how its rotated files are numbered.
    pub(super) fn with_counts_up(self, up: Option<bool>) -> Self {
        Self { up, ..self }
    }

    /// Whether the numbers of rotated files count up.
    pub(super) fn counts_up(&self) -> Option<bool> {
        self.up
    }

    /// The same, and which files beside it are done with.
    pub(super) fn with_watermark(self, mark: Option<&Watermark>) -> Self {
        let Some(mark) = mark.filter(|mark| mark.age() >= self.born) else { return self };
        let done = if mark.age() > self.born { mark.age() } else { 0 };
        let beside = mark.inodes().iter().copied().filter(|inode| *inode != self.inode).collect();
        Self { done, beside, ..self }
    }

    /// Which files beside it are done with.
    pub(super) fn watermark(&self) -> Watermark {
        if self.done > 0 {
            return Watermark::new(self.done, self.beside.clone());
        }
        if self.gone || self.born == 0 {
            return Watermark::at(
                self.time.saturating_add(1).saturating_mul(1_000_000).saturating_add(FILE_CLOCK_TICK_NANOS),
            );
        }
        Watermark::new(self.born, self.beside.iter().copied().chain([self.inode]).collect())
    }

    /// The same, and what is read after it.
    pub(super) fn with_later_generations(self, next: Vec<Self>) -> Self {
        Self { next, ..self }
    }

    /// The same, and how far files were read that are gone.
    pub(super) fn with_gone_fingerprints(self, past: impl IntoIterator<Item = Fingerprint>) -> Self {
        let past = past.into_iter().map(|read| (read.at, HexHash(read.head), HexHash(read.before))).collect();
        Self { gone_fingerprints: past, ..self }
    }

    /// How far files were read that are gone; the oldest first.
    pub(super) fn gone_fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.gone_fingerprints.iter().map(|&(at, head, before)| Fingerprint { at, head: head.0, before: before.0 })
    }

    /// How far it was read.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { at: self.at, head: self.head.0, before: self.before.0 }
    }

    /// The checkpoints of this generation and of the later ones, each by itself.
    pub(super) fn generations(mut self) -> Vec<Self> {
        let next = std::mem::take(&mut self.next);
        std::iter::once(self).chain(next).collect()
    }

    /// From what was recorded; `None` if it is damaged.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What to record.
    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Which file it was.
    pub(super) fn identity(&self) -> Identity {
        Identity { device: self.device, inode: self.inode, born: self.born }
    }

    /// The offset.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// When it was recorded, in milliseconds since the Unix epoch.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// The place in `file`, if its content is what it was. Of an empty one nothing can be told: only its identity says so.
    pub(super) fn read_point_in(&self, file: &File, identity: Identity) -> io::Result<Option<ReadPoint>> {
        if self.at == 0 && identity != self.identity() {
            return Ok(None);
        }
        self.fingerprint().read_point_in(file)
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
        let trace = ReadPoint::of(&file, 8).unwrap().unwrap();
        let saved = Checkpoint::new(identity, &trace, Time(1_000_000));
        let text = saved.written();
        assert!(!text.contains('\n') && text.len() < 200, "{text}");
        let read = Checkpoint::read(&text).unwrap();
        assert_eq!((&read, read.identity(), read.at(), read.time()), (&saved, identity, 8, 1000));
        assert_eq!(read.read_point_in(&file, identity).unwrap(), Some(trace));
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
            let written = saved().with_watermark(mark.as_ref()).written();
            assert_eq!(Checkpoint::read(&written).unwrap().watermark(), expected, "{written}");
        }
        let gone = Checkpoint::gone(1).with_watermark(Some(&Watermark::new(40, vec![9])));
        assert_eq!(gone.watermark(), Watermark::new(40, vec![9]));
    }

    #[test]
    fn at_the_start_only_the_identity_tells() {
        let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let [identity, else_] = [&file, &other].map(|file| Identity::from(&file.metadata().unwrap()));
        let saved = Checkpoint::new(identity, &ReadPoint::new(), Time(0));
        assert!(saved.read_point_in(&file, identity).unwrap().is_some());
        assert!(saved.read_point_in(&other, else_).unwrap().is_none());
    }
}
