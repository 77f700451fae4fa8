//! File identity: an open file is identified by device and inode; across names and time, the content decides.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Statx, StatxFlags, StatxTimestamp, makedev};

/// The number of bytes at the start of a file that distinguish it from others.
const HEAD_SIZE: u64 = 1 << 10;

/// The number of bytes before an offset that show that the file was only appended to: at least one line with its time.
const TAIL_SIZE: usize = 256;

/// The minimum number of read bytes for recognising a copy of a file, since many logs begin with the same banner.
pub(super) const MIN_COPY_SIZE: u64 = 32;

/// Device and inode, and the birth time if the file system knows it. Device and inode identify a file only while it is
/// open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The birth time in nanoseconds since the Unix epoch; 0 if it is not known.
    pub(super) born: u64,
}

impl Identity {
    /// Returns whether device and inode are the same.
    pub(super) fn same_inode(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Returns whether inode and birth time are the same. The device may have another number after a reboot.
    pub(super) fn is_same_file(self, other: Self) -> bool {
        (self.inode, self.born) == (other.inode, other.born) && (self.born != 0 || self.device == other.device)
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        let born = metadata.created().map_or(0, unix_nanos);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }
}

/// Nanoseconds since the Unix epoch; 0 for an earlier time.
pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&Statx> for Identity {
    /// The same identity as from the [`Metadata`] of the file.
    fn from(stat: &Statx) -> Self {
        let born = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 { 0 } else { statx_nanos(&stat.stx_btime) };
        Self { device: makedev(stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino, born }
    }
}

/// Nanoseconds since the Unix epoch; 0 for an earlier time.
pub(super) fn statx_nanos(time: &StatxTimestamp) -> u64 {
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

/// An offset in a file, with enough of the content before it to determine whether another file has the same content
/// there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadPoint {
    /// The offset.
    offset: u64,
    /// The hash of the first bytes before the offset, at most [`HEAD_SIZE`].
    head: u64,
    /// The last bytes before the offset, at most [`TAIL_SIZE`].
    before: Vec<u8>,
}

impl ReadPoint {
    /// The point at the start of a file, with nothing before it.
    pub(super) fn new() -> Self {
        Self { offset: 0, head: FNV_OFFSET_BASIS, before: Vec::new() }
    }

    /// The point at `offset` in `file`; takes two small reads. `None` if the file is shorter.
    pub(crate) fn of(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut read_point = Self::new();
        let head = read_at(file, 0, to_usize(offset.min(HEAD_SIZE)))?;
        let before = read_at(file, offset.saturating_sub(TAIL_SIZE as u64), to_usize(offset.min(TAIL_SIZE as u64)))?;
        if head.len() < to_usize(offset.min(HEAD_SIZE)) || before.len() < to_usize(offset.min(TAIL_SIZE as u64)) {
            return Ok(None);
        }
        read_point.head = fnv(read_point.head, &head);
        (read_point.offset, read_point.before) = (offset, before);
        Ok(Some(read_point))
    }

    /// The offset.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that must precede the offset.
    pub(crate) fn before(&self) -> &[u8] {
        &self.before
    }

    /// Returns whether `file` still has the same first bytes. The bytes [before](Self::before) the offset are not
    /// compared.
    pub(super) fn head_matches(&self, file: &File) -> io::Result<bool> {
        let is_all_before = self.offset <= TAIL_SIZE as u64;
        Ok(is_all_before || head_of(file, self.offset)? == self.head)
    }

    /// The fingerprint to record.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { at: self.offset, head: self.head, before: fnv(FNV_OFFSET_BASIS, &self.before) }
    }

    /// The hash of the first bytes, extended by `bytes`, which follow the offset.
    pub(super) fn head_with(&self, bytes: &[u8]) -> u64 {
        let of_head = to_usize(HEAD_SIZE.saturating_sub(self.offset)).min(bytes.len());
        fnv(self.head, &bytes[..of_head])
    }

    /// Moves the offset behind `bytes`, which follow it.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        self.head = self.head_with(bytes);
        self.offset += bytes.len() as u64;
        let kept = TAIL_SIZE.saturating_sub(bytes.len()).min(self.before.len());
        self.before.drain(..self.before.len() - kept);
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_SIZE)..]);
    }
}

/// A read point as it is remembered and recorded: enough to find its offset in another file, or at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The offset.
    pub(super) at: u64,
    /// The hash of the first bytes, and that of the bytes before the offset.
    pub(super) head: u64,
    pub(super) before: u64,
}

impl Fingerprint {
    /// The read point in `file`, if that has the same content up to the offset, as far as can be determined: it is the
    /// same file, or continues it, or both are copies.
    pub(super) fn read_point_in(self, file: &File) -> io::Result<Option<ReadPoint>> {
        Ok(ReadPoint::of(file, self.at)?.filter(|read_point| read_point.fingerprint() == self))
    }
}

/// The content of a file of which nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenContent {
    /// The size of the file when it was last examined, in bytes.
    pub(super) size: u64,
    /// The fingerprint of the first bytes, at most [`HEAD_SIZE`], up to the first NUL: what is preallocated is filled in
    /// later.
    pub(super) start: Fingerprint,
}

impl SeenContent {
    /// The content of a file, which was last seen with this size. If the file is closed or cannot be read, only its size is
    /// known, and the start is that of an empty file.
    pub(super) fn of(file: Option<&File>, size: u64) -> Self {
        let start = file.and_then(|file| read_at(file, 0, to_usize(HEAD_SIZE)).ok());
        let mut start = start.unwrap_or_default();
        start.truncate(memchr::memchr(0, &start).unwrap_or(start.len()));
        let mut point = ReadPoint::new();
        point.advance(&start);
        Self { size, start: point.fingerprint() }
    }
}

/// The maximum number of files that [`GoneFingerprints`] remembers.
const MAX_GONE_FINGERPRINTS: usize = 16;

/// The fingerprints of the last files that no longer exist; the oldest first, at most [`MAX_GONE_FINGERPRINTS`].
#[derive(Debug, Default)]
pub(super) struct GoneFingerprints(VecDeque<Fingerprint>);

impl GoneFingerprints {
    /// Remembers the fingerprint of a file, unless that is too short for recognising a copy (see [`MIN_COPY_SIZE`]).
    pub(super) fn remember(&mut self, read: Fingerprint) {
        if read.at >= MIN_COPY_SIZE && self.0.back() != Some(&read) {
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

/// Reads at most `count` bytes from `offset` on; fewer only at the end of the file.
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

/// The hash of the first bytes of a file before `offset`.
pub(super) fn head_of(file: &File, offset: u64) -> io::Result<u64> {
    Ok(hash(&read_at(file, 0, to_usize(offset.min(HEAD_SIZE)))?))
}

/// Hashes some bytes.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    fnv(FNV_OFFSET_BASIS, bytes)
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("bounded by HEAD and BEFORE")
}

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the result is the same on each machine and in each version, since recorded checkpoints contain it.
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
    fn an_advanced_read_point_equals_one_computed_at_the_offset() {
        let content: Vec<u8> = (0..5000u32).map(|at| (at * 7 % 251) as u8).collect();
        let file = file(&content);
        for step in [1, 100, 255, 256, 257, 1000, 5000] {
            let mut read_point = ReadPoint::new();
            for chunk in content.chunks(step) {
                read_point.advance(chunk);
                assert_eq!(
                    ReadPoint::of(&file, read_point.offset()).unwrap(),
                    Some(read_point.clone()),
                    "steps of {step}"
                );
            }
        }
    }

    #[test]
    fn content_decides() {
        let old = b"header\none\ntwo\n".repeat(200);
        let read_point = ReadPoint::of(&file(&old), 3000).unwrap().unwrap();
        let is_in = |content: &[u8]| read_point.fingerprint().read_point_in(&file(content)).unwrap().is_some();
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
