//! A segment as the body of a record, and back: the names of its origins, an entry for each event, and the text.

use std::sync::Arc;

use crate::event::{EventKind, Flags, Origin, Position, Time, has_escapes};
use crate::segment::{IndexEntry, NO_ORIGIN, Segment};

use super::byte_codec::{ByteReader, RecordError, put_number, put_text, unzigzag, zigzag};

/// The flags of an event that version 1 has.
const VERSION_1_EVENT_FLAGS: u16 = 0x7F;

/// Flag of an event as it is recorded: its logged time follows, as the difference from the time at which it was read.
const EVENT_HAS_LOGGED_TIME: u16 = 1 << 15;

/// Writes the origins, the index and the text of a segment.
pub(super) fn put_segment(segment: &Segment, out: &mut Vec<u8>) {
    let mut used: Vec<u16> = Vec::new();
    let mut known = vec![None; segment.origins.len()];
    for entry in &segment.index {
        if let Some(slot @ None) = known.get_mut(usize::from(entry.origin)) {
            *slot = Some(used.len() as u64 + 1);
            used.push(entry.origin);
        }
    }
    put_number(used.len() as u64, out);
    for origin in used {
        put_text(segment.origins[usize::from(origin)].as_str(), out);
    }
    let (mut time, mut end) = (0, 0);
    for (at, entry) in segment.index.iter().enumerate() {
        let logged = segment.logged_at(at);
        let logged_bit = if logged.is_some() { EVENT_HAS_LOGGED_TIME } else { 0 };
        put_number(zigzag(entry.time.0.wrapping_sub(time)), out);
        put_number(u64::from(entry.end - end), out);
        put_number(known.get(usize::from(entry.origin)).copied().flatten().unwrap_or(0), out);
        out.push(entry.kind() as u8);
        out.extend_from_slice(&(entry.flags().bits() | logged_bit).to_le_bytes());
        if let Some(logged) = logged {
            put_number(zigzag(logged.0.wrapping_sub(entry.time.0)), out);
        }
        (time, end) = (entry.time.0, entry.end);
    }
    out.extend_from_slice(&segment.text);
}

/// Reads a segment of `count` events, the first of which has this id and sequence number. `is_version_1` says which
/// version of the format wrote it.
///
/// # Errors
/// If the bytes are no such segment.
pub(super) fn get_segment(
    from: &mut ByteReader<'_>,
    count: u32,
    (first, seq): (Position, u64),
    is_version_1: bool,
) -> Result<Segment, RecordError> {
    let origins = from.number()?;
    let origins = (0..origins).map(|_| Ok(Origin::from(from.text()?))).collect::<Result<Vec<_>, RecordError>>()?;
    let mut index = Vec::with_capacity((count as usize).min(from.0.len()));
    let mut logged = Vec::new();
    let (mut time, mut end) = (0i64, 0u32);
    for at in 0..count {
        time = time.wrapping_add(unzigzag(from.number()?));
        end = u32::try_from(from.number()?)
            .ok()
            .and_then(|length| end.checked_add(length))
            .ok_or(RecordError::Damaged)?;
        let origin = match from.number()? {
            0 => NO_ORIGIN,
            at if at <= origins.len() as u64 => u16::try_from(at - 1).map_err(|_| RecordError::Damaged)?,
            _ => return Err(RecordError::Damaged),
        };
        let kind = EventKind::from_u8(from.byte()?).ok_or(RecordError::Damaged)?;
        let bits = if is_version_1 { u16::from(from.byte()?) & VERSION_1_EVENT_FLAGS } else { from.u16()? };
        if bits & EVENT_HAS_LOGGED_TIME != 0 {
            logged.push((at, Time(time.wrapping_add(unzigzag(from.number()?)))));
        }
        index.push(IndexEntry::new(Time(time), end, origin, kind, Flags::from_bits(bits)));
    }
    let text = from.0.get(..end as usize).ok_or(RecordError::Damaged)?;
    let origins: Arc<[Origin]> = origins.into();
    mark_escapes(&mut index, text);
    Ok(Segment::new((first, seq), text.into(), index.into(), logged.into(), origins))
}

/// Marks the lines with escape sequences that were recorded without being examined for them.
fn mark_escapes(index: &mut [IndexEntry], text: &[u8]) {
    let mut begin = 0;
    for entry in index {
        let line = &text[begin..entry.end as usize];
        begin = entry.end as usize;
        if entry.kind() == EventKind::Line && !entry.flags().has(Flags::LEVEL_EXAMINED) && has_escapes(line) {
            *entry = entry.with(Flags::HAS_ESCAPES);
        }
    }
}
