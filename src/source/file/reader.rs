//! One open file: what is new in it, and whether it still is what was read. Knows nothing of names; blocks.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom, seek};

use super::identity::{Identity, Trace, read_at};

/// Most bytes in one read.
pub(super) const CHUNK: usize = 256 << 10;

/// To find the last lines, the file is read backwards in blocks of this many bytes, and at most so far.
const BLOCK: usize = 64 << 10;
const FARTHEST: u64 = 8 << 20;

/// A file that is read.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    identity: Identity,
    /// How far it was read, and what stands there.
    trace: Trace,
    /// How large it was at the last look.
    size: u64,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// These bytes are new; `more` of them are there.
    Bytes { bytes: Vec<u8>, more: bool },
    /// The file begins with this many NUL that a writer left who did not notice a truncation: they were skipped.
    Hole { bytes: u64 },
    /// Nothing is new.
    End,
    /// It is not what was read any more, but shorter or other. So many bytes were there and not read, if that is known.
    Truncated { unread: Option<u64> },
}

impl Reader {
    /// Opens a file, to be read from its start. A fifo does not block.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file any more"));
        }
        Ok(Self { file, identity: Identity::from(&metadata), trace: Trace::new(), size: metadata.len() })
    }

    /// Which file it is.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// How far it was read.
    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether its last name is gone.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata: Metadata| metadata.nlink() == 0)
    }

    /// How large it was at the last look.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Goes on at `place`, if the content up to there is what it was.
    pub(super) fn go_on(&mut self, place: &Trace) -> io::Result<bool> {
        let same = place.matches(&self.file)?;
        if same {
            self.trace = place.clone();
        }
        Ok(same)
    }

    /// Goes on where the last `count` whole lines begin, which is sought at most [`FARTHEST`] back.
    pub(super) fn go_to_last(&mut self, count: usize) -> io::Result<()> {
        let start = self.start_of_last(count)?;
        self.trace = Trace::of(&self.file, start)?.unwrap_or_else(Trace::new);
        Ok(())
    }

    /// Begins again at the start.
    pub(super) fn restart(&mut self) {
        self.trace = Trace::new();
    }

    /// Reads what is new, at most [`CHUNK`], and goes on behind it.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        let offset = self.trace.offset();
        let before = self.trace.before().len();
        let size = self.file.metadata()?.len();
        let last = std::mem::replace(&mut self.size, size);
        let new = usize::try_from(size.saturating_sub(offset)).unwrap_or(CHUNK).min(CHUNK);
        let bytes = read_at(&self.file, offset - before as u64, before + new)?;
        if size < offset || !bytes.starts_with(self.trace.before()) {
            // What was there at the last look and not read is lost; what was written since, nobody knows.
            return Ok(Read::Truncated { unread: Some(last.saturating_sub(offset)).filter(|&unread| unread > 0) });
        }
        let fresh = &bytes[before..];
        if fresh.is_empty() {
            return Ok(Read::End);
        }
        if offset == 0 && fresh[0] == 0 {
            return self.skip_hole(fresh);
        }
        self.trace.advance(fresh);
        let more = self.trace.offset() < size;
        Ok(Read::Bytes { bytes: bytes[before..].to_vec(), more })
    }

    /// Goes on behind the NUL at the start of the file; what the file system knows to be a hole is not read.
    fn skip_hole(&mut self, start: &[u8]) -> io::Result<Read> {
        let nuls = |bytes: &[u8]| bytes.iter().take_while(|&&byte| byte == 0).count();
        let mut end = nuls(start) as u64;
        while end > 0 && end < self.size {
            let data = seek(&self.file, SeekFrom::Data(end)).unwrap_or(end);
            let block = read_at(&self.file, data, CHUNK)?;
            end = data + nuls(&block) as u64;
            if nuls(&block) < block.len() || block.is_empty() {
                break;
            }
        }
        self.trace = Trace::of(&self.file, end)?.unwrap_or_else(Trace::new);
        Ok(Read::Hole { bytes: end })
    }

    /// Where the last `count` whole lines begin; the half line behind them does not count.
    fn start_of_last(&self, count: usize) -> io::Result<u64> {
        let size = self.file.metadata()?.len();
        let mut begin = size;
        let mut seen = 0;
        // The start of the earliest line found.
        let mut start = size;
        while begin > 0 && size - begin < FARTHEST {
            let length = usize::try_from(begin).unwrap_or(BLOCK).min(BLOCK);
            begin -= length as u64;
            for at in memchr::memrchr_iter(b'\n', &read_at(&self.file, begin, length)?) {
                start = begin + at as u64 + 1;
                seen += 1;
                if seen > count {
                    return Ok(start);
                }
            }
        }
        Ok(if begin == 0 { 0 } else { start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use tempfile::NamedTempFile;

    fn reader(content: &[u8]) -> (NamedTempFile, Reader) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let reader = Reader::open(file.path()).unwrap();
        (file, reader)
    }

    fn bytes(text: &[u8]) -> Read {
        Read::Bytes { bytes: text.to_vec(), more: false }
    }

    #[test]
    fn growth_is_read_once() {
        let (mut file, mut reader) = reader(b"one\n");
        assert_eq!(reader.read().unwrap(), bytes(b"one\n"));
        assert_eq!(reader.read().unwrap(), Read::End);
        file.write_all(b"two\n").unwrap();
        assert_eq!(reader.read().unwrap(), bytes(b"two\n"));
    }

    #[test]
    fn a_large_file_is_read_in_chunks() {
        let (_file, mut reader) = reader(&vec![b'x'; CHUNK + 10]);
        assert!(matches!(reader.read().unwrap(), Read::Bytes { bytes, more: true } if bytes.len() == CHUNK));
        assert_eq!(reader.read().unwrap(), bytes(&[b'x'; 10]));
    }

    #[test]
    fn truncation_is_seen_even_when_it_grew_again() {
        let (mut file, mut reader) = reader(b"one\ntwo\n");
        reader.read().unwrap();
        file.as_file().set_len(4).unwrap();
        assert_eq!(reader.read().unwrap(), Read::Truncated { unread: None });
        reader.restart();
        assert_eq!(reader.read().unwrap(), bytes(b"one\n"));
        file.as_file().write_all_at(b"1st\nand many more\n", 0).unwrap();
        assert_eq!(reader.read().unwrap(), Read::Truncated { unread: None });
        reader.restart();
        assert_eq!(reader.read().unwrap(), bytes(b"1st\nand many more\n"));
        file.write_all(b"").unwrap();
    }

    #[test]
    fn what_was_seen_and_not_read_before_a_truncation_is_counted() {
        let (file, mut reader) = reader(&vec![b'x'; CHUNK + 10]);
        reader.read().unwrap();
        file.as_file().set_len(0).unwrap();
        assert_eq!(reader.read().unwrap(), Read::Truncated { unread: Some(10) });
    }

    #[test]
    fn nul_at_the_start_is_skipped_and_a_hole_is_not_read() {
        let (file, mut reader) = reader(b"");
        file.as_file().write_all_at(b"next\n", 1 << 40).unwrap();
        assert_eq!(reader.read().unwrap(), Read::Hole { bytes: 1 << 40 });
        assert_eq!(reader.read().unwrap(), bytes(b"next\n"));
        let (_file, mut reader) = self::reader(b"\0\0\0a\0b\n");
        assert_eq!(reader.read().unwrap(), Read::Hole { bytes: 3 });
        assert_eq!(reader.read().unwrap(), bytes(b"a\0b\n"));
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
            reader.go_to_last(*count).unwrap();
            let expected = if expected.is_empty() { Read::End } else { bytes(expected) };
            assert_eq!(reader.read().unwrap(), expected);
        }
    }
}
