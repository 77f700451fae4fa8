//! Which path of a stream reads which file: one reader for each file, however many names lead to it.

use std::collections::{HashMap, VecDeque};

use super::fingerprint::{Fingerprint, Identity};

/// Files that were left and are remembered: one that comes back under another name goes on where it was.
const MAX_RELEASED_FILES: usize = 4 << 10;

/// Who reads what.
#[derive(Debug, Default)]
pub(super) struct Claims {
    readers: HashMap<Identity, usize>,
    left: HashMap<Identity, Fingerprint>,
    order: VecDeque<Identity>,
    /// What was left since one last asked.
    newly_released: Vec<Identity>,
}

impl Claims {
    /// `id` reads the file from now on.
    pub(super) fn claim(&mut self, identity: Identity, id: usize) {
        self.readers.insert(identity, id);
        self.left.remove(&identity);
    }

    /// Whether another than `id` reads the file.
    pub(super) fn is_claimed_by_other(&self, identity: Identity, id: usize) -> bool {
        self.readers.get(&identity).is_some_and(|owner| *owner != id)
    }

    /// Whether the file is read, or was read.
    pub(super) fn is_known(&self, identity: Identity) -> bool {
        self.readers.contains_key(&identity) || self.left.contains_key(&identity)
    }

    /// `id` reads it no more; it was read up to there.
    pub(crate) fn release(&mut self, identity: Identity, id: usize, at: Option<Fingerprint>) {
        if self.readers.get(&identity) != Some(&id) {
            return;
        }
        self.readers.remove(&identity);
        self.newly_released.push(identity);
        let Some(at) = at else { return };
        self.left.insert(identity, at);
        self.order.push_back(identity);
        while self.order.len() > MAX_RELEASED_FILES {
            if let Some(oldest) = self.order.pop_front() {
                self.left.remove(&oldest);
            }
        }
    }

    /// How far the file was read before it was left.
    pub(crate) fn left(&self, identity: Identity) -> Option<Fingerprint> {
        self.left.get(&identity).copied()
    }

    /// What was left since the last call.
    pub(super) fn take_released(&mut self) -> Vec<Identity> {
        std::mem::take(&mut self.newly_released)
    }
}
