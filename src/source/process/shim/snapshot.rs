//! The state of a run that every daemon leaves with the shim for the next one: memory that belongs to no process.
//!
//! The daemon reads the output of a program in turns. Each turn has a number, its *generation*: it is written down before
//! the first byte of the turn moves to the staging pipe. When the bytes are processed, the unfinished state goes into the
//! snapshot, then the events and the generation into the history, and then the staging pipe is emptied.
//!
//! ```text
//!  generation │ two heads, used in turn │ area: state, log ─▶        │ area: state, log ─▶        │
//! ```
//! A state may be as long as an unfinished line, and there may be a turn for each of its bytes. So a state is not written
//! for each turn: what was read is appended to a *log* behind the last one, and a next daemon processes the log again. A
//! state is written once the log would be longer than the last state, so that what is written is proportional to what was
//! read. It goes into the area that the generation before does not use, and a log only grows; so the state before the
//! present generation is always there.
//!
//! A generation is *complete* once its events are in the history, or, if it has none, once its state is in its slot. The
//! next daemon continues in the state of the newest complete generation. If that is the present one, the content of the
//! staging pipe was processed and is dropped; otherwise it is processed again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// The offset of the first head. The present generation is at the start of the file.
const FIRST_HEAD: u64 = 64;

/// The size of a head: seven numbers.
const HEAD_SIZE: usize = 56;

/// The offset of the first area.
const FIRST_AREA: u64 = 4096;

/// The size of an area. Only what is written takes memory.
const AREA_SIZE: u64 = 16 << 20;

/// The size that a log may have although the state before it is shorter, in bytes.
const MIN_LOG_SIZE: u64 = 32 << 10;

/// A file in memory that the shim holds, too.
#[derive(Debug)]
pub(in crate::source::process) struct RunSnapshot {
    file: File,
    generation: u64,
    /// The area of the state before the present generation: 0 or 1.
    area: u64,
    /// The state and log of the last generation that was written, which the next one may continue.
    last: Option<StateExtent>,
    /// The number of bytes of states and logs that were written.
    #[cfg(test)]
    pub(in crate::source::process) written: u64,
}

/// The extent of a state in its area, and of the log behind it.
#[derive(Debug, Clone, Copy)]
struct StateExtent {
    area: u64,
    state: CheckedLength,
    log: CheckedLength,
}

/// The length of a content, with a checksum that tells it from one that was being written when the daemon was killed.
#[derive(Debug, Clone, Copy, Default)]
struct CheckedLength {
    length: u64,
    checksum: u32,
}

/// The state in which a daemon continues.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source::process) struct RestoredState {
    /// The unfinished state; empty if there is none.
    pub(in crate::source::process) content: Vec<u8>,
    /// The turns that follow it.
    pub(in crate::source::process) log: Vec<u8>,
    /// `true` if the content of the staging pipes was processed and is to be dropped.
    pub(in crate::source::process) is_staged_done: bool,
}

/// The state after a generation.
struct GenerationSlot {
    generation: u64,
    has_events: bool,
    area: u64,
    content: Vec<u8>,
    log: Vec<u8>,
}

impl RunSnapshot {
    /// A snapshot of a run that has not begun.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(in crate::source::process) fn new() -> io::Result<Self> {
        Ok(Self::of(memfd_create("rtlogd-snapshot", MemfdFlags::CLOEXEC)?.into(), 0))
    }

    /// The snapshot of a run that is taken over.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of_file(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let mut generation = [0; 8];
        read_up_to(&file, &mut generation, 0)?;
        Ok(Self::of(file, u64::from_le_bytes(generation)))
    }

    fn of(file: File, generation: u64) -> Self {
        Self {
            file,
            generation,
            area: 0,
            last: None,
            #[cfg(test)]
            written: 0,
        }
    }

    /// The snapshot as the next daemon sees it.
    #[cfg(test)]
    pub(in crate::source::process) fn of_next_daemon(&self) -> Self {
        Self::of_file(self.file.try_clone().unwrap().into()).unwrap()
    }

    /// The present generation.
    pub(in crate::source::process) fn generation(&self) -> u64 {
        self.generation
    }

    /// Begins the next generation.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(in crate::source::process) fn begin(&mut self) -> io::Result<()> {
        self.generation += 1;
        self.file.write_all_at(&self.generation.to_le_bytes(), 0)
    }

    /// Writes the state after the present generation, which has events that are recorded next, or has none.
    ///
    /// # Errors
    /// If the system has no memory for it, or if the state is too large. The generation is then never complete.
    pub(in crate::source::process) fn write(&mut self, has_events: bool, content: &[u8]) -> io::Result<()> {
        self.last = None;
        let state = CheckedLength::default().extended(content);
        if state.length > AREA_SIZE {
            return Err(io::Error::other("the state is too large"));
        }
        let extent = StateExtent { area: 1 - self.area, state, log: CheckedLength::default() };
        self.write_at(has_events, content, area_offset(extent.area), extent)
    }

    /// Returns whether a turn of this many bytes may be [appended](Self::append): there is a state before it, and the log is
    /// not longer than that.
    pub(in crate::source::process) fn has_room(&self, more: usize) -> bool {
        self.last.is_some_and(|StateExtent { state, log, .. }| {
            let length = log.length + more as u64;
            length <= state.length.max(MIN_LOG_SIZE) && state.length + length <= AREA_SIZE
        })
    }

    /// Appends the present generation, which is this turn after the one before, to the log. Returns `false` if a state is to
    /// be written instead. Takes time in proportion to the length of the turn.
    ///
    /// # Errors
    /// If the system has no memory for it. A state is then to be written.
    pub(in crate::source::process) fn append(&mut self, has_events: bool, turn: &[u8]) -> io::Result<bool> {
        if !self.has_room(turn.len()) {
            return Ok(false);
        }
        let Some(last) = self.last.take() else { return Ok(false) };
        let at = area_offset(last.area) + last.state.length + last.log.length;
        self.write_at(has_events, turn, at, StateExtent { log: last.log.extended(turn), ..last })?;
        Ok(true)
    }

    /// Writes a content and the head of the present generation, which says what it completes.
    fn write_at(&mut self, has_events: bool, content: &[u8], at: u64, extent: StateExtent) -> io::Result<()> {
        let StateExtent { area, state, log } = extent;
        // The generation is valid only once its head is written.
        let head = head_offset(self.generation);
        self.file.write_all_at(&[0; HEAD_SIZE], head)?;
        self.file.write_all_at(content, at)?;
        let lengths = [state, log].into_iter().flat_map(|it| [it.length, it.checksum.into()]);
        let numbers = [self.generation, has_events.into(), area].into_iter().chain(lengths);
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.file.write_all_at(&bytes, head)?;
        self.area = area;
        // Nothing can continue a state that was forgotten.
        self.last = (state.length > 0).then_some(extent);
        #[cfg(test)]
        (self.written += content.len() as u64);
        Ok(())
    }

    /// The state in which to continue, if the history has the events up to the generation `recorded`. It stays until the
    /// next generation is complete.
    pub(in crate::source::process) fn restore(&mut self, recorded: u64) -> RestoredState {
        let mut slots: Vec<GenerationSlot> = [self.generation, self.generation.saturating_sub(1)]
            .into_iter()
            .filter_map(|generation| self.slot(generation))
            .filter(|slot| !slot.has_events || slot.generation <= recorded)
            .collect();
        slots.sort_by_key(|slot| slot.generation);
        match slots.pop() {
            Some(GenerationSlot { generation, area, content, log, .. }) => {
                self.area = area;
                RestoredState { content, log, is_staged_done: generation == self.generation }
            }
            None => RestoredState { content: Vec::new(), log: Vec::new(), is_staged_done: false },
        }
    }

    /// The state after a generation, if it was written.
    fn slot(&self, generation: u64) -> Option<GenerationSlot> {
        let mut head = [0; HEAD_SIZE];
        read_up_to(&self.file, &mut head, head_offset(generation)).ok()?;
        let mut numbers = head.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        let (found, has_events, area) = (numbers.next()?, numbers.next()? != 0, numbers.next()?);
        let mut checked =
            || Some(CheckedLength { length: numbers.next()?, checksum: numbers.next()?.try_into().ok()? });
        let (state, log) = (checked()?, checked()?);
        if found != generation || generation == 0 || area > 1 || state.length.checked_add(log.length)? > AREA_SIZE {
            return None;
        }
        let content = self.checked_content(area_offset(area), state)?;
        let log = self.checked_content(area_offset(area) + state.length, log)?;
        Some(GenerationSlot { generation, has_events, area, content, log })
    }

    fn checked_content(&self, at: u64, expected: CheckedLength) -> Option<Vec<u8>> {
        let mut content = vec![0; usize::try_from(expected.length).ok()?];
        self.file.read_exact_at(&mut content, at).ok()?;
        (CheckedLength::default().extended(&content).checksum == expected.checksum).then_some(content)
    }
}

impl CheckedLength {
    /// The same with more content.
    fn extended(self, content: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        hasher.update(content);
        Self { length: self.length + content.len() as u64, checksum: hasher.finalize() }
    }
}

impl AsFd for RunSnapshot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn head_offset(generation: u64) -> u64 {
    FIRST_HEAD + generation % 2 * HEAD_SIZE as u64
}

fn area_offset(area: u64) -> u64 {
    FIRST_AREA + area * AREA_SIZE
}

/// Reads as many bytes as the file has; the others stay as they are.
fn read_up_to(file: &File, buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        match file.read_at(rest, at)? {
            0 => break,
            count => {
                at += count as u64;
                rest = &mut rest[count..];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(content: &str, is_staged_done: bool) -> RestoredState {
        logged(content, "", is_staged_done)
    }

    fn logged(content: &str, log: &str, is_staged_done: bool) -> RestoredState {
        RestoredState { content: content.into(), log: log.into(), is_staged_done }
    }

    /// A run in which the daemon is killed after each step of a turn.
    #[test]
    fn the_state_after_a_kill_is_that_of_the_newest_complete_generation() {
        let mut snapshot = RunSnapshot::new().unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(0), state("", false), "nothing was read");
        snapshot.begin().unwrap();
        assert!(!snapshot.append(true, b"turn").unwrap(), "there is no state that it could follow");
        assert_eq!(snapshot.of_next_daemon().restore(0), state("", false), "bytes may be staged");
        snapshot.write(true, b"one").unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(0), state("", false), "events are not recorded");
        assert_eq!(snapshot.of_next_daemon().restore(1), state("one", true), "events are recorded");
        snapshot.begin().unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(1), state("one", false), "the staging pipe was emptied");
        snapshot.write(false, b"two").unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(1), state("two", true), "there is nothing to record");
        snapshot.begin().unwrap();
        snapshot.write(true, b"three").unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(1), state("two", false), "events are not recorded");
        assert_eq!(snapshot.of_next_daemon().restore(3), state("three", true), "events are recorded");
        snapshot.begin().unwrap();
        assert!(snapshot.append(true, b" a").unwrap());
        assert_eq!(snapshot.of_next_daemon().restore(3), state("three", false), "events are not recorded");
        assert_eq!(snapshot.of_next_daemon().restore(4), logged("three", " a", true), "events are recorded");
        snapshot.begin().unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(4), logged("three", " a", false), "the staging pipe was emptied");
        assert!(snapshot.append(false, b" b").unwrap());
        assert_eq!(snapshot.of_next_daemon().restore(4), logged("three", " a b", true), "there is nothing to record");
        snapshot.begin().unwrap();
        snapshot.write(true, b"four").unwrap();
        assert_eq!(snapshot.of_next_daemon().restore(4), logged("three", " a b", false), "events are not recorded");
        assert_eq!(snapshot.of_next_daemon().restore(6), state("four", true), "events are recorded");
    }

    #[test]
    fn the_state_in_which_a_daemon_continues_stays_until_its_first_turn_is_complete() {
        let mut snapshot = RunSnapshot::new().unwrap();
        snapshot.begin().unwrap();
        snapshot.write(false, b"one").unwrap();
        snapshot.begin().unwrap();
        assert!(snapshot.append(true, b" lost").unwrap());
        for attempt in 0..3 {
            let mut next = snapshot.of_next_daemon();
            assert_eq!(next.restore(1), state("one", false), "{attempt}");
            assert!(!next.append(true, b" a").unwrap(), "its state may be another one");
            next.write(true, b"two").unwrap();
        }
        assert_eq!(snapshot.of_next_daemon().restore(2), state("two", true));
    }

    #[test]
    fn a_log_is_about_as_long_as_the_state_before_it() {
        for (state, room) in [(1, MIN_LOG_SIZE), (MIN_LOG_SIZE + 1, MIN_LOG_SIZE + 1), (AREA_SIZE - 9, 9)] {
            let mut snapshot = RunSnapshot::new().unwrap();
            let (state, room) = (usize::try_from(state).unwrap(), usize::try_from(room).unwrap());
            assert!(!snapshot.has_room(0));
            snapshot.write(false, &vec![b'x'; state]).unwrap();
            assert!(snapshot.append(false, b"y").unwrap());
            assert_eq!((snapshot.has_room(room - 1), snapshot.has_room(room)), (true, false), "{state}");
            assert!(!snapshot.append(false, &vec![b'y'; room]).unwrap());
            assert!(snapshot.append(false, &vec![b'y'; room - 1]).unwrap());
            assert!(!snapshot.has_room(1));
        }
    }

    #[test]
    fn a_state_that_was_being_written_is_not_used() {
        for damaged in ["state", "log"] {
            let mut snapshot = RunSnapshot::new().unwrap();
            snapshot.begin().unwrap();
            snapshot.write(false, b"one").unwrap();
            snapshot.begin().unwrap();
            let at = if damaged == "state" {
                snapshot.write(false, b"two").unwrap();
                area_offset(snapshot.area)
            } else {
                assert!(snapshot.append(false, b"two").unwrap());
                area_offset(snapshot.area) + 3
            };
            snapshot.file.write_all_at(b"x", at).unwrap();
            assert_eq!(snapshot.of_next_daemon().restore(0), state("one", false), "{damaged}");
        }
        let mut snapshot = RunSnapshot::new().unwrap();
        snapshot.begin().unwrap();
        assert!(snapshot.write(false, &vec![0; 17 << 20]).is_err(), "it is too large");
        snapshot.write(false, b"").unwrap();
        assert!(!snapshot.has_room(0), "nothing follows a state that was forgotten");
    }
}
