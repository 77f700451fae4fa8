//! Is it the same file? An open file is by device and inode; across names and time its content decides.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Statx, StatxFlags, StatxTimestamp, makedev};

/// How many bytes at the start of a file tell it from others.
const HEAD_SIZE: u64 = 1 << 10;

/// How many bytes before a place tell that the file was only appended to: a line with its time, at least.
const TAIL_SIZE: usize = 256;

/// A file of which fewer bytes were read is never recognised as the origin of a copy: many logs begin with the same banner.
pub(super) const MIN_COPY_SIZE: u64 = 32;

/// Device and inode, and when the file was made, where the file system knows. Device and inode stand for one file only as
/// long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// In nanoseconds since the Unix epoch; 0 where it is not known.
    pub(super) born: u64,
}

impl Identity {
    /// Whether device and inode are the same.
    pub(super) fn same_inode(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        let born = metadata.created().map_or(0, unix_nanos);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }
}

/// Nanoseconds since the Unix epoch; 0 for a time that stands before it.
pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&Statx> for Identity {
    /// The same as that of the [`Metadata`] of the file.
    fn from(stat: &Statx) -> Self {
        let born = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 { 0 } else { statx_nanos(&stat.stx_btime) };
        Self { device: makedev(stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino, born }
    }
}

/// Nanoseconds since the Unix epoch; 0 for a time that stands before it.
pub(super) fn statx_nanos(time: &StatxTimestamp) -> u64 {
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

/// What is known of the content of a file up to a place: enough to tell whether another has the same there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadPoint {
    /// The place.
    offset: u64,
    /// The hash of the first bytes up to the place, at most [`HEAD_SIZE`].
    head: u64,
    /// The last bytes before the place, at most [`TAIL_SIZE`].
    before: Vec<u8>,
}

impl ReadPoint {
    /// Of the start of a file: there is nothing before it.
    pub(super) fn new() -> Self {
        Self { offset: 0, head: FNV_OFFSET_BASIS, before: Vec::new() }
    }

    /// Of the place `offset` in `file`; two small reads. `None` if the file ends before it.
    pub(crate) fn of(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut trace = Self::new();
        let head = read_at(file, 0, to_usize(offset.min(HEAD_SIZE)))?;
        let before = read_at(file, offset.saturating_sub(TAIL_SIZE as u64), to_usize(offset.min(TAIL_SIZE as u64)))?;
        if head.len() < to_usize(offset.min(HEAD_SIZE)) || before.len() < to_usize(offset.min(TAIL_SIZE as u64)) {
            return Ok(None);
        }
        trace.head = fnv(trace.head, &head);
        (trace.offset, trace.before) = (offset, before);
        Ok(Some(trace))
    }

    /// The place.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that must stand before the place.
    pub(crate) fn before(&self) -> &[u8] {
        &self.before
    }

    /// Whether `file` still begins with what it began with. What is [before](Self::before) the place is not looked at.
    pub(super) fn head_matches(&self, file: &File) -> io::Result<bool> {
        let is_all_before = self.offset <= TAIL_SIZE as u64;
        Ok(is_all_before || head_of(file, self.offset)? == self.head)
    }

    /// What is recorded of it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { at: self.offset, head: self.head, before: fnv(FNV_OFFSET_BASIS, &self.before) }
    }

    /// The hash of the first bytes up to behind `bytes`, which follow it.
    pub(super) fn head_with(&self, bytes: &[u8]) -> u64 {
        let of_head = to_usize(HEAD_SIZE.saturating_sub(self.offset)).min(bytes.len());
        fnv(self.head, &bytes[..of_head])
    }

    /// Moves the place behind `bytes`, which follow it.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        self.head = self.head_with(bytes);
        self.offset += bytes.len() as u64;
        let kept = TAIL_SIZE.saturating_sub(bytes.len()).min(self.before.len());
        self.before.drain(..self.before.len() - kept);
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_SIZE)..]);
    }
}

/// A trace as it is remembered and recorded: enough to find its place in another file, or at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The place.
    pub(super) at: u64,
    /// The hash of the first bytes, and that of the bytes before the place.
    pub(super) head: u64,
    pub(super) before: u64,
}

impl Fingerprint {
    /// The place in `file`, if that has the same content up to there, as far as can be told: it is the same file, or goes on
    /// from it, or both are copies.
    pub(super) fn read_point_in(self, file: &File) -> io::Result<Option<ReadPoint>> {
        Ok(ReadPoint::of(file, self.at)?.filter(|trace| trace.fingerprint() == self))
    }
}

/// Most files that [`GoneFingerprints`] remembers.
const MAX_GONE_FINGERPRINTS: usize = 4;

/// How far the last files were read that are gone; the oldest first, at most [`MAX_GONE_FINGERPRINTS`].
#[derive(Debug, Default)]
pub(super) struct GoneFingerprints(VecDeque<Fingerprint>);

impl GoneFingerprints {
    /// Remembers how far a file was read, unless that is too short to recognise a copy (see [`MIN_COPY_SIZE`]).
    pub(super) fn remember(&mut self, read: Fingerprint) {
        if read.at >= MIN_COPY_SIZE {
            self.0.push_back(read);
            if self.0.len() > MAX_GONE_FINGERPRINTS {
                self.0.pop_front();
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.iter().copied()
    }
}

impl FromIterator<Fingerprint> for GoneFingerprints {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(fingerprints: I) -> Self {
        Self(fingerprints.into_iter().collect())
    }
}

/// At most `count` bytes from `offset` on; fewer only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while filled < count {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The hash of the first bytes of a file up to `offset`.
pub(super) fn head_of(file: &File, offset: u64) -> io::Result<u64> {
    Ok(hash(&read_at(file, 0, to_usize(offset.min(HEAD_SIZE)))?))
}

/// A hash of some bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    fnv(FNV_OFFSET_BASIS, bytes)
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("bounded by HEAD and BEFORE")
}

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on each machine and in each version, since saved places hold it.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_trace_that_was_advanced_is_that_of_the_place() {
        let content: Vec<u8> = (0..5000u32).map(|at| (at * 7 % 251) as u8).collect();
        let file = file(&content);
        for step in [1, 100, 255, 256, 257, 1000, 5000] {
            let mut trace = ReadPoint::new();
            for chunk in content.chunks(step) {
                trace.advance(chunk);
                assert_eq!(ReadPoint::of(&file, trace.offset()).unwrap(), Some(trace.clone()), "steps of {step}");
            }
        }
    }

    #[test]
    fn content_decides() {
        let old = b"header\none\ntwo\n".repeat(200);
        let trace = ReadPoint::of(&file(&old), 3000).unwrap().unwrap();
        let is_in = |content: &[u8]| trace.fingerprint().read_point_in(&file(content)).unwrap().is_some();
        assert!(is_in(&old));
        assert!(is_in(&[&old[..], b"three\n"].concat()), "appended to");
        assert!(!is_in(&old[..2999]), "cut");
        let mut other = old.clone();
        other[0] = b'H';
        assert!(!is_in(&other), "another head");
        let mut other = old.clone();
        other[2990] = b'!';
        assert!(!is_in(&other), "other bytes before the place");
        assert_eq!(ReadPoint::of(&file(b"short"), 6).unwrap(), None);
    }
}
