//! The state of a run that every daemon leaves with the shim for the next one: memory that belongs to no process.
//!
//! The daemon reads the output of a program in turns. Each turn has a number, its *generation*: it is written down before
//! the first byte of the turn moves to the staging pipe. When the bytes are processed, the unfinished state goes into a
//! slot of the snapshot, then the events and the generation into the history, and then the staging pipe is emptied. The
//! two slots are used in turn, so that the state before the present generation is always there.
//!
//! A generation is *complete* once its events are in the history, or, if it has none, once its state is in its slot. The
//! next daemon continues in the state of the newest complete generation. If that is the present one, the content of the
//! staging pipe was processed and is dropped; otherwise it is processed again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// The offset of the first slot. The present generation is at the start of the file.
const FIRST_SLOT: u64 = 4096;

/// The size of a slot. Only what is written takes memory.
const SLOT_SIZE: u64 = 16 << 20;

/// The size of the head of a slot: four numbers.
const HEAD_SIZE: usize = 32;

/// A file in memory that the shim holds, too.
#[derive(Debug)]
pub(in crate::source::process) struct RunSnapshot {
    file: File,
    generation: u64,
}

/// The state in which a daemon continues.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source::process) struct RestoredState {
    /// The unfinished state; empty if there is none.
    pub(in crate::source::process) content: Vec<u8>,
    /// What is in the staging pipes was processed, and is to be dropped.
    pub(in crate::source::process) is_staged_done: bool,
}

/// The state after a generation.
struct GenerationSlot {
    generation: u64,
    has_events: bool,
    content: Vec<u8>,
}

impl RunSnapshot {
    /// A snapshot of a run that has not begun.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { file: memfd_create("rtlogd-snapshot", MemfdFlags::CLOEXEC)?.into(), generation: 0 })
    }

    /// The snapshot of a run that is taken over.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of_file(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let mut generation = [0; 8];
        read_up_to(&file, &mut generation, 0)?;
        Ok(Self { file, generation: u64::from_le_bytes(generation) })
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
        let at = slot_offset(self.generation);
        let length = content.len() as u64;
        if length > SLOT_SIZE - HEAD_SIZE as u64 {
            return Err(io::Error::other("the state is too large"));
        }
        // A slot is valid only once its head is written.
        self.file.write_all_at(&[0; HEAD_SIZE], at)?;
        self.file.write_all_at(content, at + HEAD_SIZE as u64)?;
        let numbers = [self.generation, u64::from(has_events), length, checksum(content)];
        let head: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file.write_all_at(&head, at)
    }

    /// The state in which to continue, if the history has the events up to the generation `recorded`.
    pub(in crate::source::process) fn restore(&self, recorded: u64) -> RestoredState {
        let mut slots: Vec<GenerationSlot> = [self.generation, self.generation.saturating_sub(1)]
            .into_iter()
            .filter_map(|generation| self.slot(generation))
            .filter(|slot| !slot.has_events || slot.generation <= recorded)
            .collect();
        slots.sort_by_key(|slot| slot.generation);
        match slots.pop() {
            Some(newest) => {
                RestoredState { is_staged_done: newest.generation == self.generation, content: newest.content }
            }
            None => RestoredState { content: Vec::new(), is_staged_done: false },
        }
    }

    /// The state after a generation, if it was written.
    fn slot(&self, generation: u64) -> Option<GenerationSlot> {
        let at = slot_offset(generation);
        let mut head = [0; HEAD_SIZE];
        read_up_to(&self.file, &mut head, at).ok()?;
        let mut numbers = head.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        let (found, has_events) = (numbers.next()?, numbers.next()? != 0);
        let (length, sum) = (numbers.next()?, numbers.next()?);
        if found != generation || generation == 0 || length > SLOT_SIZE {
            return None;
        }
        let mut content = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut content, at + HEAD_SIZE as u64).ok()?;
        (checksum(&content) == sum).then_some(GenerationSlot { generation, has_events, content })
    }
}

impl AsFd for RunSnapshot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn slot_offset(generation: u64) -> u64 {
    FIRST_SLOT + generation % 2 * SLOT_SIZE
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

/// Tells a state that was written from one that was being written when the daemon was killed.
fn checksum(content: &[u8]) -> u64 {
    u64::from(crc32fast::hash(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_next_daemon(snapshot: &RunSnapshot) -> RunSnapshot {
        RunSnapshot::of_file(snapshot.file.try_clone().unwrap().into()).unwrap()
    }

    /// A run in which the daemon is killed after each step of a turn.
    #[test]
    fn the_state_after_a_kill_is_that_of_the_newest_complete_generation() {
        let state = |content: &str, is_staged_done| RestoredState { content: content.into(), is_staged_done };
        let mut snapshot = RunSnapshot::new().unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(0), state("", false), "nothing was read");
        snapshot.begin().unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(0), state("", false), "bytes may be staged");
        snapshot.write(true, b"one").unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(0), state("", false), "events are not recorded");
        assert_eq!(of_next_daemon(&snapshot).restore(1), state("one", true), "events are recorded");
        snapshot.begin().unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(1), state("one", false), "the staging pipe was emptied");
        snapshot.write(false, b"two").unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(1), state("two", true), "there is nothing to record");
        snapshot.begin().unwrap();
        snapshot.write(true, b"three").unwrap();
        assert_eq!(of_next_daemon(&snapshot).restore(1), state("two", false), "events are not recorded");
        assert_eq!(of_next_daemon(&snapshot).restore(3), state("three", true), "events are recorded");
    }

    #[test]
    fn a_state_that_was_being_written_is_not_used() {
        let mut snapshot = RunSnapshot::new().unwrap();
        snapshot.begin().unwrap();
        snapshot.write(false, b"one").unwrap();
        snapshot.begin().unwrap();
        snapshot.write(false, b"two").unwrap();
        snapshot.file.write_all_at(b"x", slot_offset(2) + HEAD_SIZE as u64).unwrap();
        let restored = of_next_daemon(&snapshot).restore(0);
        assert_eq!(restored, RestoredState { content: b"one".into(), is_staged_done: false });
        assert!(snapshot.write(false, &vec![0; 17 << 20]).is_err(), "it is too large");
    }
}
