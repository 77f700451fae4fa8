//! Numbers and texts as the bytes of a record, and back. Invalid bytes are [`RecordError::Damaged`].

/// The reason why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordError {
    /// The bytes end too early.
    Incomplete,
    /// The bytes are not what was written.
    Damaged,
}

/// Writes a number with seven bits in each byte, the lowest first (LEB128).
pub(super) fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Writes a text, after its length.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Maps small numbers of either sign to small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of `zigzag`.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The bytes that are left to read.
#[derive(Debug)]
pub(super) struct ByteReader<'a>(pub(super) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(RecordError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, RecordError> {
        self.take(2)?.try_into().map(u16::from_le_bytes).map_err(|_| RecordError::Damaged)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordError> {
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| RecordError::Damaged)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| RecordError::Damaged)
    }

    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Damaged)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::try_from(self.number()?).map_err(|_| RecordError::Damaged)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| RecordError::Damaged)
    }
}
