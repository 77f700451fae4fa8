//! The claims of paths on files: each file has one reader in a stream, however many names lead to it.

use std::collections::{HashMap, VecDeque};

use super::fingerprint::{Fingerprint, Identity};

/// The maximum number of released files that are remembered. A file that returns under another name is continued from
/// its offset.
const MAX_RELEASED_FILES: usize = 4 << 10;

/// The readers of the files of one stream.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The path that reads each file.
    readers: HashMap<Identity, usize>,
    /// The fingerprint up to which each released file was read.
    released: HashMap<Identity, Fingerprint>,
    /// The files in the order of their release, the oldest first; at most [`MAX_RELEASED_FILES`].
    release_order: VecDeque<Identity>,
    /// The files released since the last call of [`Claims::take_released`].
    newly_released: Vec<Identity>,
}

impl Claims {
    /// Makes the path `id` the reader of the file.
    pub(super) fn claim(&mut self, identity: Identity, id: usize) {
        self.readers.insert(identity, id);
        self.released.remove(&identity);
    }

    /// Returns whether a path other than `id` reads the file.
    pub(super) fn is_claimed_by_other(&self, identity: Identity, id: usize) -> bool {
        self.readers.get(&identity).is_some_and(|owner| *owner != id)
    }

    /// Returns whether the file is being read, or was read before.
    pub(super) fn is_known(&self, identity: Identity) -> bool {
        self.readers.contains_key(&identity) || self.released.contains_key(&identity)
    }

    /// Releases the claim of `id` on the file, which was read up to `at`.
    pub(crate) fn release(&mut self, identity: Identity, id: usize, at: Option<Fingerprint>) {
        if self.readers.get(&identity) != Some(&id) {
            return;
        }
        self.readers.remove(&identity);
        self.newly_released.push(identity);
        let Some(at) = at else { return };
        self.released.insert(identity, at);
        self.release_order.push_back(identity);
        while self.release_order.len() > MAX_RELEASED_FILES {
            if let Some(oldest) = self.release_order.pop_front() {
                self.released.remove(&oldest);
            }
        }
    }

    /// The fingerprint up to which the file was read before it was released.
    pub(crate) fn released_at(&self, identity: Identity) -> Option<Fingerprint> {
        self.released.get(&identity).copied()
    }

    /// The files released since the last call.
    pub(super) fn take_released(&mut self) -> Vec<Identity> {
        std::mem::take(&mut self.newly_released)
    }
}
