//! Reads a file record by record, and skips damaged parts.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::history::byte_codec::RecordError;
use crate::history::record;
use crate::history::record::{FILE_MAGIC, MAX_RECORD_SIZE, RECORD_HEADER_SIZE, RecordBody, RecordHeader};

/// The size of one read, in bytes.
const HISTORY_READ_SIZE: usize = 128 << 10;

/// The most damaged ranges of one file that are kept apart; the last one then extends to the end of the last damage.
const MAX_DAMAGED_RANGES: usize = 16;

/// The records of one file, between two offsets.
#[derive(Debug)]
pub(super) struct RecordReader<'a> {
    file: &'a File,
    /// The offset of `buffer` in the file, and how much of it was consumed; `done` <= `buffer.len()`.
    offset: u64,
    done: usize,
    buffer: Vec<u8>,
    /// The offset at which to stop.
    limit: u64,
    /// The number of bytes that were skipped because they are no record.
    pub(super) skipped_bytes: u64,
    /// The ranges of the skipped bytes in the file, in order, at most [`MAX_DAMAGED_RANGES`].
    pub(super) damaged_ranges: Vec<Range<u64>>,
}

impl<'a> RecordReader<'a> {
    /// The records from `offset`, at which one begins, up to `limit`.
    pub(super) fn new(file: &'a File, offset: u64, limit: u64) -> Self {
        let offset = offset.max(FILE_MAGIC.len() as u64);
        Self { file, offset, done: 0, buffer: Vec::new(), limit, skipped_bytes: 0, damaged_ranges: Vec::new() }
    }

    /// The offset of the next record.
    pub(super) fn at(&self) -> u64 {
        self.offset + self.done as u64
    }

    /// The next record and its offset; `None` at the end, before which there may be bytes that are no record.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, RecordHeader, RecordBody)>> {
        loop {
            let rest = &self.buffer[self.done..];
            let wanted = match record::head(rest) {
                Ok(head) => RECORD_HEADER_SIZE + head.length,
                Err(RecordError::Incomplete) => RECORD_HEADER_SIZE,
                Err(RecordError::Damaged) => 0,
            };
            if rest.len() < wanted {
                if self.fill_buffer(wanted)? {
                    continue;
                }
                // The rest of the record is missing: it is torn, or its length is wrong.
                if !self.skip_damage()? {
                    return Ok(None);
                }
                continue;
            }
            match record::read(rest) {
                Ok((head, body)) => {
                    let at = self.at();
                    self.done += RECORD_HEADER_SIZE + head.length;
                    return Ok(Some((at, head, body)));
                }
                Err(_) => {
                    if !self.skip_damage()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Reads until the buffer has `wanted` bytes, if the file has them.
    fn fill_buffer(&mut self, wanted: usize) -> io::Result<bool> {
        self.buffer.drain(..self.done);
        self.offset += self.done as u64;
        self.done = 0;
        let from = self.offset + self.buffer.len() as u64;
        let left = usize::try_from(self.limit.saturating_sub(from)).unwrap_or(usize::MAX);
        let more = (wanted - self.buffer.len()).max(HISTORY_READ_SIZE).min(left);
        let before = self.buffer.len();
        self.buffer.resize(before + more, 0);
        let mut filled = before;
        while filled < self.buffer.len() {
            match self.file.read_at(&mut self.buffer[filled..], self.offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.truncate(filled);
        Ok(filled >= wanted)
    }

    /// Continues where the next record may begin; `false` if there is none up to the end.
    fn skip_damage(&mut self) -> io::Result<bool> {
        let from = self.at();
        let found = self.skip_to_marker()?;
        let to = if found { self.at() } else { self.limit };
        let is_full = self.damaged_ranges.len() == MAX_DAMAGED_RANGES;
        match self.damaged_ranges.last_mut() {
            // The records are read up to the end, and nothing is skipped.
            _ if from == to => {}
            // The bytes that looked like a record were none either.
            Some(last) if last.end == from || is_full => last.end = to,
            _ => self.damaged_ranges.push(from..to),
        }
        Ok(found)
    }

    fn skip_to_marker(&mut self) -> io::Result<bool> {
        loop {
            if let Some(at) = record::find_next_marker(&self.buffer[self.done..]) {
                self.done += at;
                self.skipped_bytes += at as u64;
                return Ok(true);
            }
            // The magic bytes may lie across the edge of the buffer.
            let gone = (self.buffer.len() - self.done).saturating_sub(3);
            self.done += gone;
            self.skipped_bytes += gone as u64;
            let before = self.buffer.len() - self.done;
            if !self.fill_buffer((before + 1).min(MAX_RECORD_SIZE))? {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, Position};
    use crate::history::record::RecordWriter;
    use std::io::Write;

    /// A record whose event would be `seq`.
    fn record(seq: u64) -> Vec<u8> {
        let mut writer = RecordWriter::new(false);
        let first = Position { epoch: Epoch::persistent(1_763_874_672_123), number: 7 };
        writer.put_opened(first, seq, false, "boot");
        writer.end();
        writer.bytes
    }

    /// The parts of a file after its first bytes, in order.
    enum Content {
        Record,
        Damage(Vec<u8>),
    }

    /// Reads a file of this content, and checks that each record is found at its offset. Returns the damaged ranges.
    fn read(content: &[Content]) -> Vec<Range<u64>> {
        let (mut bytes, mut expected, mut skipped) = (FILE_MAGIC.to_vec(), Vec::new(), 0);
        for (seq, part) in (0..).zip(content) {
            match part {
                Content::Record => {
                    expected.push((bytes.len() as u64, seq));
                    bytes.extend(record(seq));
                }
                Content::Damage(damage) => {
                    skipped += damage.len() as u64;
                    bytes.extend(damage);
                }
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let mut records = RecordReader::new(&file, 0, bytes.len() as u64);
        let mut found = Vec::new();
        while let Some((at, head, _)) = records.next().unwrap() {
            found.push((at, head.seq));
        }
        assert_eq!((found, records.skipped_bytes), (expected, skipped));
        records.damaged_ranges
    }

    #[test]
    fn damage_of_any_length_is_skipped_and_its_range_is_known() {
        let begin = FILE_MAGIC.len() as u64 + record(0).len() as u64;
        let whole = record(9);
        let mut wrong_length = whole.clone();
        wrong_length[4..8].copy_from_slice(&1000u32.to_le_bytes());
        let damages = [
            b"\xE7".to_vec(),
            b"\xE7RL\n".to_vec(),
            b"\xE7RL\n\xE7RL".to_vec(),
            whole[..whole.len() - 1].to_vec(),
            wrong_length,
            vec![b'x'; HISTORY_READ_SIZE - 100],
            vec![0; HISTORY_READ_SIZE + 1],
            b"\xE7RL\nx".repeat(2 * HISTORY_READ_SIZE / 5),
        ];
        for damage in damages {
            let what = format!("{} bytes: {}", damage.len(), damage[..damage.len().min(9)].escape_ascii());
            let range = begin..begin + damage.len() as u64;
            let between = [Content::Record, Content::Damage(damage.clone()), Content::Record, Content::Record];
            assert_eq!(read(&between), [range], "{what}");
        }
        assert_eq!(read(&[Content::Record, Content::Record]), []);
        assert_eq!(read(&[]), []);
    }

    #[test]
    fn many_damaged_ranges_are_kept_as_few() {
        let mut content = Vec::new();
        for _ in 0..2 * MAX_DAMAGED_RANGES {
            content.extend([Content::Record, Content::Damage(b"damage".to_vec())]);
        }
        content.push(Content::Record);
        let ranges = read(&content);
        let length = record(0).len() as u64;
        let at = |number: u64| FILE_MAGIC.len() as u64 + (number + 1) * length + number * 6;
        assert_eq!(ranges.len(), MAX_DAMAGED_RANGES);
        assert_eq!((ranges[0].clone(), ranges[1].clone()), (at(0)..at(0) + 6, at(1)..at(1) + 6));
        assert_eq!(ranges[MAX_DAMAGED_RANGES - 1], at(15)..at(31) + 6);
    }
}
