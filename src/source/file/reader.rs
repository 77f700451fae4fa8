//! One file: reads its new bytes, and detects that it is no longer the file that was read. Knows nothing of rotation;
//! blocks.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use rustix::fs::{SeekFrom, seek};
use tokio::time::Instant;

use crate::event::Time;
use crate::line::utf16_mark;
use crate::source::ClockReading;

use super::fingerprint::{Fingerprint, Identity, ReadPoint, SeenContent, hash, head_of, read_at, unix_nanos};
use crate::source::envelope::StreamPosition;

use super::open_limit::{CountedFile, OpenLimit};

/// The maximum size of one read, in bytes.
pub(super) const FILE_READ_SIZE: usize = 256 << 10;

/// To find the last lines, the file is read backwards in blocks of this size, up to this distance (both in bytes).
const BACKWARD_BLOCK_SIZE: usize = 64 << 10;
const MAX_BACKWARD_SEARCH: u64 = 8 << 20;

/// At least this many NUL bytes at the start of a line are a hole that a writer left; fewer are text, also at the start of
/// the file.
const MIN_HOLE_SIZE: usize = 64;

/// The ends of this many lines are remembered, each with a hash of the bytes before it: more than people cut off by
/// hand.
const MAX_REMEMBERED_LINE_ENDS: usize = 32;
const LINE_END_HASH_SIZE: usize = 16;

/// The first bytes of compressed files.
const COMPRESSION_MAGIC: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// A file that is read. It may be closed ("parked") while it has nothing new, and is opened again later.
#[derive(Debug)]
pub(super) struct FileReader {
    file: Option<CountedFile>,
    identity: Identity,
    /// The offset up to which the file was read, and the fingerprint of the content up to there.
    read_point: ReadPoint,
    /// The size of the file when it was last examined, and its modification time in nanoseconds since the Unix epoch.
    size: u64,
    mtime_nanos: u64,
    /// The offset up to which only NUL bytes were seen behind the read point, at the end of the file. They may be filled in
    /// later, and are not read until something follows.
    unfilled_until: u64,
    /// The ends of the last lines: an editor may cut the file off there.
    line_ends: VecDeque<LineEndMark>,
    /// The streams inside the envelopes that were delivered beyond the offset by an earlier process, until reading
    /// continues.
    stream_positions: Vec<StreamPosition>,
}

/// The offset of the end of a line, with hashes of the first bytes of the file and of the last bytes before the offset.
#[derive(Debug)]
struct LineEndMark {
    offset: u64,
    head: u64,
    before: u64,
}

/// The interpretation of the bytes that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadOptions {
    /// The next byte begins a line.
    pub(super) line_start: bool,
    /// The file is UTF-16, in which NUL bytes are part of the text.
    pub(super) is_utf16: bool,
    /// The maximum number of bytes to read, up to [`FILE_READ_SIZE`].
    pub(super) most: usize,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileRead {
    /// New bytes. `more` says whether there are more.
    Bytes { bytes: Bytes, more: bool },
    /// This many NUL bytes were skipped. A writer that did not notice a truncation leaves them.
    Hole { bytes: u64 },
    /// The file has nothing new.
    CaughtUp,
    /// The file is not the one that was read: it is shorter, or has different content. `unread` is the number of bytes
    /// that were there and had not been read, if it is known.
    Truncated { unread: Option<u64> },
    /// Lines that had been read were cut off the end of the file; reading continues there.
    Shortened,
    /// The file is compressed in this format, and is not text.
    Compressed(&'static str),
}

impl FileReader {
    /// Opens a file, to be read from its start.
    pub(crate) fn open(path: &Path, handles: &OpenLimit) -> io::Result<Self> {
        #[cfg(test)]
        super::open_hook::check(path)?;
        let (file, metadata) = handles.open(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no longer a regular file"));
        }
        let identity = Identity::from(&metadata);
        #[cfg(test)]
        super::open_hook::run_after_open(path);
        Ok(Self {
            file: Some(file),
            identity,
            read_point: ReadPoint::new(),
            size: metadata.len(),
            mtime_nanos: 0,
            unfilled_until: 0,
            line_ends: VecDeque::new(),
            stream_positions: Vec::new(),
        })
    }

    /// A file that is not open yet, to be read from its start. `size` is its known size.
    pub(super) fn parked(identity: Identity, size: u64) -> Self {
        Self {
            file: None,
            identity,
            read_point: ReadPoint::new(),
            size,
            mtime_nanos: 0,
            line_ends: VecDeque::new(),
            stream_positions: Vec::new(),
            unfilled_until: 0,
        }
    }

    /// The identity of the file.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The point up to which the file was read.
    pub(super) fn read_point(&self) -> &ReadPoint {
        &self.read_point
    }

    pub(super) fn is_parked(&self) -> bool {
        self.file.is_none()
    }

    /// Closes the file.
    pub(super) fn park(&mut self) {
        self.file = None;
    }

    /// The open file.
    pub(super) fn file(&self) -> io::Result<&File> {
        self.handle().map(|handle| &**handle)
    }

    fn handle(&self) -> io::Result<&CountedFile> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the file is not open"))
    }

    /// Opens the file at `path`, and continues in it if it is this file. Returns whether it is.
    pub(super) fn reopen(&mut self, path: &Path, handles: &OpenLimit) -> io::Result<bool> {
        #[cfg(test)]
        super::open_hook::check(path)?;
        let (file, metadata) = handles.open(path)?;
        let same = Identity::from(&metadata) == self.identity;
        if same {
            self.file = Some(file);
        }
        Ok(same)
    }

    /// Continues in `other` at `read_point`, a point that was found there.
    pub(super) fn continue_in(&mut self, other: Self, read_point: ReadPoint) {
        *self = Self { read_point, ..other };
    }

    /// Sets the positions of the streams inside the envelopes, at the point where reading continues.
    pub(super) fn set_stream_positions(&mut self, positions: Vec<StreamPosition>) {
        self.stream_positions = positions;
    }

    /// The positions that were set and not taken yet.
    pub(super) fn stream_positions(&self) -> &[StreamPosition] {
        &self.stream_positions
    }

    /// Takes the positions, since reading continues.
    pub(super) fn take_stream_positions(&mut self) -> Vec<StreamPosition> {
        std::mem::take(&mut self.stream_positions)
    }

    /// Returns whether the file has no name any more.
    pub(super) fn is_deleted(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.file().and_then(File::metadata).is_ok_and(|metadata: Metadata| metadata.nlink() == 0)
    }

    /// The birth time of the file, or its modification time if the birth time is not known.
    pub(crate) fn age(&self) -> u64 {
        if self.identity.born == 0 { self.mtime_nanos } else { self.identity.born }
    }

    /// The time of the last write, as the modification time says; `None` if it was long ago.
    pub(super) fn last_write(&self, now: ClockReading) -> Option<Instant> {
        let modified = self.file().and_then(File::metadata).ok()?.modified().ok()?;
        let age = Duration::from_micros(u64::try_from(now.time.0 - Time::from(modified).0).unwrap_or(0));
        now.instant.checked_sub(age)
    }

    /// The number of bytes that were seen and not read, without NUL bytes at the end that may be filled in.
    pub(super) fn unread(&self) -> u64 {
        self.size.saturating_sub(self.end_of_text())
    }

    /// The offset behind the NUL bytes that follow the bytes that were read, if nothing else follows.
    pub(super) fn end_of_text(&self) -> u64 {
        self.read_point.offset().max(self.unfilled_until)
    }

    /// Returns whether the file ends with NUL bytes, which may be filled in: that may not change its size or its
    /// modification time.
    pub(super) fn is_preallocated(&self) -> bool {
        self.unfilled_until > self.read_point.offset()
    }

    /// The first bytes of the file, at most this many.
    pub(super) fn first_bytes(&self, most: usize) -> io::Result<Vec<u8>> {
        read_at(self.file()?, 0, most)
    }

    /// The content of a file of which nothing was emitted, as far as it is known; `None` if something before `emitted_to`
    /// was.
    pub(super) fn seen(&self, emitted_to: &ReadPoint) -> Option<SeenContent> {
        (emitted_to.offset() == 0).then(|| SeenContent::of(self.file().ok(), self.size))
    }

    /// Expects the file to have at least the size that was seen before a restart. If it is smaller, the next read reports that
    /// it was cut.
    pub(super) fn expect_size(&mut self, seen: u64) {
        self.size = self.size.max(seen);
    }

    /// Records that a copy of the first `size` bytes of the file is read before it. Nothing of the file was read, so nothing is
    /// lost if no more than these bytes were cut off.
    pub(super) fn note_copied(&mut self, size: u64) {
        if size >= self.size {
            self.size = 0;
        }
    }

    /// Records the size and modification time. Returns whether the file changed since it was read.
    pub(super) fn note_metadata(&mut self, metadata: &Metadata) -> bool {
        let mtime_nanos = metadata.modified().map_or(0, unix_nanos);
        let changed = metadata.len() != self.read_point.offset() || mtime_nanos != self.mtime_nanos;
        // The next read reports what was cut off before anything was read.
        let is_cut = self.read_point.offset() == 0 && metadata.len() < self.size;
        self.size = if is_cut { self.size } else { metadata.len() };
        changed
    }

    /// The compression format of the file, if it is compressed.
    pub(super) fn compressed(&self) -> io::Result<Option<&'static str>> {
        Ok(compressed(&read_at(self.file()?, 0, 6)?))
    }

    /// Continues at `fingerprint` if the content up to there is unchanged. Returns whether it is.
    pub(super) fn resume_at(&mut self, fingerprint: Fingerprint) -> io::Result<bool> {
        let found = fingerprint.read_point_in(self.file()?)?;
        let same = found.is_some();
        if let Some(read_point) = found {
            self.read_point = read_point;
        }
        Ok(same)
    }

    /// Continues at the farthest of these fingerprints that the file matches. Returns whether it matches one. It may
    /// match several, since a file that was put over another begins with the content of that.
    pub(super) fn resume_at_farthest(&mut self, mut fingerprints: Vec<Fingerprint>) -> bool {
        fingerprints.sort_by_key(|fingerprint| Reverse(fingerprint.at));
        fingerprints.into_iter().any(|fingerprint| self.resume_at(fingerprint).unwrap_or(false))
    }

    /// Moves to the start of the last `count` whole lines. The search goes back at most [`MAX_BACKWARD_SEARCH`] bytes.
    pub(super) fn seek_last_lines(&mut self, count: usize, wide: bool) -> io::Result<()> {
        let start = self.start_of_last(count, wide)?;
        self.read_point = ReadPoint::of(self.file()?, start)?.unwrap_or_else(ReadPoint::new);
        Ok(())
    }

    /// Moves to the start of the file.
    pub(super) fn restart(&mut self) {
        self.read_point = ReadPoint::new();
        self.line_ends.clear();
        self.stream_positions.clear();
    }

    /// The point `held` bytes before the one up to which the file was read; `None` if the file changed meanwhile.
    pub(crate) fn read_point_before(&self, held: u64) -> io::Result<Option<ReadPoint>> {
        if held == 0 {
            return Ok(Some(self.read_point.clone()));
        }
        ReadPoint::of(self.file()?, self.read_point.offset().saturating_sub(held))
    }

    /// The last bytes before the offset, at most this many. An even number keeps UTF-16 characters whole.
    pub(super) fn bytes_before(&self, most: usize) -> io::Result<Vec<u8>> {
        let offset = self.read_point.offset();
        let count = usize::try_from(offset).unwrap_or(most).min(most);
        read_at(self.file()?, offset - count as u64, count)
    }

    /// Reads new bytes, at most [`most`](ReadOptions::most), and moves behind them.
    pub(super) fn read(&mut self, how: ReadOptions) -> io::Result<FileRead> {
        let offset = self.read_point.offset();
        let before = self.read_point.before().len();
        debug_assert!(how.most <= FILE_READ_SIZE, "a run of NUL bytes of the maximum size is a hole");
        let metadata = self.handle()?.metadata()?;
        let size = metadata.len();
        self.mtime_nanos = metadata.modified().map_or(0, unix_nanos);
        let last = std::mem::replace(&mut self.size, size);
        let new = usize::try_from(size.saturating_sub(offset)).unwrap_or(how.most).min(how.most);
        let bytes = read_at(self.file()?, offset - before as u64, before + new)?;
        if size < offset && self.was_line_end(size)? {
            self.read_point = ReadPoint::of(self.file()?, size)?.unwrap_or_else(ReadPoint::new);
            return Ok(FileRead::Shortened);
        }
        let is_cut = offset == 0 && size < last;
        if size < offset || is_cut || !bytes.starts_with(self.read_point.before()) {
            // The bytes that were seen at the last examination and not read are lost. The number of those written since
            // is unknown.
            return Ok(FileRead::Truncated { unread: Some(last.saturating_sub(offset)).filter(|&unread| unread > 0) });
        }
        // Equal bytes before the offset do not prove that the file is the same: a run of one byte, or a banner, may
        // match by chance.
        if !self.read_point.head_matches(self.file()?)? {
            return Ok(FileRead::Truncated { unread: None });
        }
        let fresh = &bytes[before..];
        if fresh.is_empty() {
            return Ok(FileRead::CaughtUp);
        }
        if offset == 0
            && let Some(kind) = compressed(fresh)
        {
            return Ok(FileRead::Compressed(kind));
        }
        let run = count_nuls(fresh);
        if run == how.most && run < FILE_READ_SIZE {
            // Only a larger read says what this run of NUL bytes is.
            return self.read(ReadOptions { most: FILE_READ_SIZE, ..how });
        }
        let is_utf16 = how.is_utf16 || (offset == 0 && utf16_mark(fresh).is_some());
        if run == fresh.len() && self.is_unfilled(offset + run as u64)? {
            return Ok(FileRead::CaughtUp);
        }
        if run == FILE_READ_SIZE || (run >= MIN_HOLE_SIZE && (how.line_start || offset == 0)) {
            return self.skip_hole(run, is_utf16);
        }
        let fresh = without_nuls_at_end(fresh, is_utf16);
        let end = before + length_before_hole(fresh, is_utf16);
        // The bytes are not copied: the ones before them stay in the same buffer.
        let fresh = Bytes::from(bytes).slice(before..end);
        self.note_line_ends(&fresh);
        self.read_point.advance(&fresh);
        let more = self.read_point.offset() < size;
        Ok(FileRead::Bytes { bytes: fresh, more })
    }

    /// Returns whether nothing but NUL bytes follow from `from` on: the file was preallocated, and may be filled in.
    fn is_unfilled(&mut self, from: u64) -> io::Result<bool> {
        let mut end = from.max(self.unfilled_until);
        while end < self.size {
            let data = seek(self.file()?, SeekFrom::Data(end)).unwrap_or(end).max(end);
            let block = read_at(self.file()?, data, FILE_READ_SIZE)?;
            end = data + block.len() as u64;
            if count_nuls(&block) < block.len() {
                return Ok(false);
            }
            if block.is_empty() {
                break;
            }
        }
        self.unfilled_until = self.size;
        Ok(true)
    }

    /// Remembers where the last lines of `fresh` end, except at its very end, which `read_point` records.
    fn note_line_ends(&mut self, fresh: &[u8]) {
        let offset = self.read_point.offset();
        let ends: Vec<usize> =
            memchr::memrchr_iter(b'\n', fresh).take(MAX_REMEMBERED_LINE_ENDS).map(|at| at + 1).collect();
        for end in ends.into_iter().rev().filter(|end| *end >= LINE_END_HASH_SIZE) {
            let before = hash(&fresh[end - LINE_END_HASH_SIZE..end]);
            self.line_ends.push_back(LineEndMark {
                offset: offset + end as u64,
                head: self.read_point.head_with(&fresh[..end]),
                before,
            });
        }
        while self.line_ends.len() > MAX_REMEMBERED_LINE_ENDS {
            self.line_ends.pop_front();
        }
    }

    /// Returns whether a line that was read ended at `offset`, and the content before it is unchanged.
    fn was_line_end(&self, offset: u64) -> io::Result<bool> {
        let Some(end) = self.line_ends.iter().find(|end| end.offset == offset) else { return Ok(false) };
        let before = read_at(self.file()?, offset - LINE_END_HASH_SIZE as u64, LINE_END_HASH_SIZE)?;
        Ok(before.len() == LINE_END_HASH_SIZE
            && hash(&before) == end.before
            && head_of(self.file()?, offset)? == end.head)
    }

    /// Moves behind a run of NUL bytes, `run` of which were read. Ranges that the file system reports as holes are not
    /// read.
    fn skip_hole(&mut self, run: usize, wide: bool) -> io::Result<FileRead> {
        let begin = self.read_point.offset();
        let mut end = begin + run as u64;
        let file = self.file()?;
        while end < self.size {
            let data = seek(file, SeekFrom::Data(end)).unwrap_or(end);
            let block = read_at(file, data, FILE_READ_SIZE)?;
            end = data + count_nuls(&block) as u64;
            if count_nuls(&block) < block.len() || block.is_empty() {
                break;
            }
        }
        if wide {
            // The last NUL may be half of the first character.
            end -= (end - begin) % 2;
        }
        self.read_point = ReadPoint::of(file, end)?.unwrap_or_else(ReadPoint::new);
        Ok(FileRead::Hole { bytes: end - begin })
    }

    /// The offset at which the last `count` whole lines begin; an unfinished line after them is not counted.
    fn start_of_last(&self, count: usize, wide: bool) -> io::Result<u64> {
        let file = self.file()?;
        let size = file.metadata()?.len();
        let size = if wide { size - size % 2 } else { size };
        let mut begin = size;
        let mut seen = 0;
        // The start of the earliest line found so far.
        let mut start = size;
        while begin > 0 && size - begin < MAX_BACKWARD_SEARCH {
            let length = usize::try_from(begin).unwrap_or(BACKWARD_BLOCK_SIZE).min(BACKWARD_BLOCK_SIZE);
            begin -= length as u64;
            for end in line_ends(&read_at(file, begin, length)?, wide) {
                start = begin + end as u64;
                seen += 1;
                if seen > count {
                    return Ok(start);
                }
            }
        }
        Ok(if begin == 0 { 0 } else { start })
    }
}

/// The offsets behind the line ends in `block`, the last first. Both byte orders of UTF-16 are accepted, since the
/// bytes of a line end in one order are no letter in the other.
fn line_ends(block: &[u8], wide: bool) -> Vec<usize> {
    if wide {
        let units = block.chunks_exact(2).enumerate().rev();
        units.filter(|(_, unit)| matches!(unit, [b'\n', 0] | [0, b'\n'])).map(|(at, _)| at * 2 + 2).collect()
    } else {
        memchr::memrchr_iter(b'\n', block).map(|at| at + 1).collect()
    }
}

fn compressed(start: &[u8]) -> Option<&'static str> {
    COMPRESSION_MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

/// The number of NUL bytes at the start.
fn count_nuls(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == 0).count()
}

/// `fresh` without the NUL bytes at its end, unless it has no others: they are read once something follows.
fn without_nuls_at_end(fresh: &[u8], wide: bool) -> &[u8] {
    let Some(last) = fresh.iter().rposition(|&byte| byte != 0) else { return fresh };
    let end = last + 1;
    // A unit of UTF-16 is kept whole.
    let end = if wide { end.next_multiple_of(2).min(fresh.len()) } else { end };
    &fresh[..end]
}

/// The length of the part of `fresh` before a line that begins with a hole.
fn length_before_hole(fresh: &[u8], wide: bool) -> usize {
    let is_hole = |at: &usize| {
        let run = count_nuls(&fresh[*at..]);
        run >= MIN_HOLE_SIZE || at + run == fresh.len()
    };
    let mut found = memmem::find_iter(fresh, b"\n\0").map(|at| at + 1);
    found.find(is_hole).filter(|_| !wide).unwrap_or(fresh.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::os::unix::fs::FileExt;
    use tempfile::NamedTempFile;

    const TEST_READ_OPTIONS: ReadOptions = ReadOptions { line_start: true, is_utf16: false, most: FILE_READ_SIZE };

    fn reader(content: &[u8]) -> (NamedTempFile, FileReader) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let reader = FileReader::open(file.path(), &OpenLimit::default()).unwrap();
        (file, reader)
    }

    fn bytes(text: &[u8]) -> FileRead {
        FileRead::Bytes { bytes: text.to_vec().into(), more: false }
    }

    #[test]
    fn growth_is_read_once() {
        let (mut file, mut reader) = reader(b"one\n");
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"one\n"));
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::CaughtUp);
        file.write_all(b"two\n").unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"two\n"));
    }

    #[test]
    fn a_large_file_is_read_in_chunks() {
        let (_file, mut reader) = reader(&vec![b'x'; FILE_READ_SIZE + 10]);
        assert!(
            matches!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Bytes { bytes, more: true } if bytes.len() == FILE_READ_SIZE)
        );
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(&[b'x'; 10]));
    }

    #[test]
    fn truncation_is_seen_even_when_it_grew_again() {
        let (mut file, mut reader) = reader(b"one\ntwo\n");
        reader.read(TEST_READ_OPTIONS).unwrap();
        file.as_file().set_len(4).unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Truncated { unread: None });
        reader.restart();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"one\n"));
        file.as_file().write_all_at(b"1st\nand many more\n", 0).unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Truncated { unread: None });
        reader.restart();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"1st\nand many more\n"));
        file.write_all(b"").unwrap();
    }

    #[test]
    fn what_was_seen_and_not_read_before_a_truncation_is_counted() {
        let (file, mut reader) = reader(&vec![b'x'; FILE_READ_SIZE + 10]);
        reader.read(TEST_READ_OPTIONS).unwrap();
        file.as_file().set_len(0).unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Truncated { unread: Some(10) });
    }

    #[test]
    fn a_hole_at_the_start_is_not_read() {
        let (file, mut reader) = reader(b"");
        file.as_file().write_all_at(b"next\n", 1 << 40).unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Hole { bytes: 1 << 40 });
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"next\n"));
    }

    #[test]
    fn a_few_nuls_are_text_and_many_are_a_hole() {
        for is_utf16 in [false, true] {
            let options = ReadOptions { is_utf16, ..TEST_READ_OPTIONS };
            for (before, nuls, is_hole) in
                [("", 1, false), ("", 2, false), ("", 63, false), ("", 64, true), ("", 200, true), ("a\n", 63, false)]
            {
                let content = [before.as_bytes(), &vec![0; nuls], b"one\n"].concat();
                let (_file, mut reader) = reader(&content);
                let expected = if is_hole { FileRead::Hole { bytes: nuls as u64 } } else { bytes(&content) };
                assert_eq!(reader.read(options).unwrap(), expected, "{before:?} and {nuls} NULs, UTF-16: {is_utf16}");
            }
        }
        // The first NULs of a file that is filled in later.
        let (mut file, mut reader) = reader(b"\0");
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::CaughtUp);
        file.write_all(b"one\n").unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"\0one\n"));
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let many: Vec<u8> = (0..100_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let long = [&b"a\n"[..], &vec![b'x'; 9 << 20], b"\nb\n"].concat();
        let table: &[(&[u8], usize, &[u8])] = &[
            (b"", 2, b""),
            (b"a\n", 2, b"a\n"),
            (b"a\nb\nc\n", 2, b"b\nc\n"),
            (b"a\nb\nc\nhalf", 2, b"b\nc\nhalf"),
            (b"half", 2, b"half"),
            (b"a\nb\n", 0, b""),
            (&many, 1, b"line 99999\n"),
            (&long, 2, b"b\n"),
        ];
        for (content, count, expected) in table {
            let (_file, mut reader) = reader(content);
            reader.seek_last_lines(*count, false).unwrap();
            let expected = if expected.is_empty() { FileRead::CaughtUp } else { bytes(expected) };
            assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), expected);
        }
    }

    #[test]
    fn a_hole_in_the_middle_is_skipped_at_the_start_of_a_line() {
        let (file, mut reader) = reader(b"one\n");
        file.as_file().write_all_at(b"two\n", 100_000).unwrap();
        assert_eq!(
            reader.read(TEST_READ_OPTIONS).unwrap(),
            FileRead::Bytes { bytes: b"one\n".to_vec().into(), more: true }
        );
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Hole { bytes: 99_996 });
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"two\n"));
        let (_file, mut reader) = self::reader(b"a\n\0\0b\n");
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), bytes(b"a\n\0\0b\n"), "a few NUL are text");
    }

    #[test]
    fn a_preallocated_file_is_read_as_it_is_filled_in() {
        for (size, is_utf16) in [(100, false), (5000, false), (3 << 20, false), (3 << 20, true)] {
            let options = |line_start| ReadOptions { line_start, is_utf16, most: FILE_READ_SIZE };
            let (file, mut reader) = reader(&vec![0; size]);
            let mut at = 0;
            for piece in ["one\n", "tw", "o\nthr", "ee\n"] {
                assert_eq!(reader.read(options(true)).unwrap(), FileRead::CaughtUp, "{size}");
                assert_eq!((reader.unread(), reader.is_preallocated()), (0, true), "{size}");
                let unit = |byte: u8| if is_utf16 { vec![byte, 0] } else { vec![byte] };
                let piece: Vec<u8> = piece.bytes().flat_map(unit).collect();
                file.as_file().write_all_at(&piece, at).unwrap();
                let FileRead::Bytes { bytes, .. } = reader.read(options(true)).unwrap() else { panic!("{size}") };
                assert_eq!(&bytes[..], &piece[..], "{size}");
                at += piece.len() as u64;
            }
            // What is not filled in is a hole once something follows that.
            assert_eq!(reader.read(options(true)).unwrap(), FileRead::CaughtUp);
            file.as_file().write_all_at(b"a\0\n\0", size as u64).unwrap();
            assert_eq!(reader.read(options(true)).unwrap(), FileRead::Hole { bytes: size as u64 - at }, "{size}");
            assert!(matches!(reader.read(options(true)).unwrap(), FileRead::Bytes { .. }));
        }
    }

    #[test]
    fn a_hole_in_utf_16_is_no_text_and_text_no_hole() {
        let wide = ReadOptions { is_utf16: true, ..TEST_READ_OPTIONS };
        let (file, mut reader) = reader(b"\0a\0\n");
        assert_eq!(reader.read(wide).unwrap(), bytes(b"\0a\0\n"));
        file.as_file().write_all_at(b"\0b\0\n", 1000).unwrap();
        assert_eq!(reader.read(wide).unwrap(), FileRead::Hole { bytes: 996 });
        assert_eq!(reader.read(wide).unwrap(), bytes(b"\0b\0\n"));
    }

    #[test]
    fn lines_that_an_editor_cut_are_not_read_again() {
        let (mut file, mut reader) = reader(b"the first line\nthe second line\nthe third line\n");
        reader.read(TEST_READ_OPTIONS).unwrap();
        file.as_file().set_len(31).unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Shortened);
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::CaughtUp);
        file.as_file().set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(b"THE FIRST LINE\n").unwrap();
        assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Truncated { unread: None });
    }

    #[test]
    fn compression_is_recognised_by_the_first_bytes() {
        for (magic, kind) in COMPRESSION_MAGIC {
            let (_file, mut reader) = reader(&[magic, b"\n\n\n"].concat());
            assert_eq!(reader.compressed().unwrap(), Some(kind));
            assert_eq!(reader.read(TEST_READ_OPTIONS).unwrap(), FileRead::Compressed(kind));
        }
    }
}
