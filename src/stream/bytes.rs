//! Numbers and texts as the bytes of a record, and back. What does not read back is [`Bad::Damaged`].

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// They end too early.
    Short,
    /// They are not what was written.
    Damaged,
}

/// A number as seven bits a byte, the lowest first (LEB128).
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A text, its length in front.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Small numbers of either sign become small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The number that `zigzag` made this of.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// What is left of the bytes.
#[derive(Debug)]
pub(super) struct From<'a>(pub(super) &'a [u8]);

impl<'a> From<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Bad::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Bad> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Bad> {
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| Bad::Damaged)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Bad> {
        self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| Bad::Damaged)
    }

    pub(super) fn number(&mut self) -> Result<u64, Bad> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Bad::Damaged)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Bad> {
        let length = usize::try_from(self.number()?).map_err(|_| Bad::Damaged)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Bad::Damaged)
    }
}
