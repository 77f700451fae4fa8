//! Which path of a stream reads which file: one reader for each file, however many names lead to it.

use std::collections::{HashMap, VecDeque};

use super::identity::{Identity, Trace};

/// Files that were left and are remembered: one that comes back under another name goes on where it was.
const REMEMBERED: usize = 4 << 10;

/// Who reads what.
#[derive(Debug, Default)]
pub(super) struct Owners {
    readers: HashMap<Identity, usize>,
    left: HashMap<Identity, Trace>,
    order: VecDeque<Identity>,
    /// What was left since one last asked.
    freed: Vec<Identity>,
}

impl Owners {
    /// `id` reads the file from now on.
    pub(super) fn claim(&mut self, identity: Identity, id: usize) {
        self.readers.insert(identity, id);
        self.left.remove(&identity);
    }

    /// Whether another than `id` reads the file.
    pub(super) fn is_others(&self, identity: Identity, id: usize) -> bool {
        self.readers.get(&identity).is_some_and(|owner| *owner != id)
    }

    /// Whether the file is read, or was read.
    pub(super) fn is_known(&self, identity: Identity) -> bool {
        self.readers.contains_key(&identity) || self.left.contains_key(&identity)
    }

    /// `id` reads it no more; it was read up to `trace`.
    pub(super) fn leave(&mut self, identity: Identity, id: usize, trace: Option<Trace>) {
        if self.readers.get(&identity) != Some(&id) {
            return;
        }
        self.readers.remove(&identity);
        self.freed.push(identity);
        let Some(trace) = trace else { return };
        self.left.insert(identity, trace);
        self.order.push_back(identity);
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.left.remove(&oldest);
            }
        }
    }

    /// How far the file was read before it was left.
    pub(super) fn left(&self, identity: Identity) -> Option<&Trace> {
        self.left.get(&identity)
    }

    /// What was left since the last call.
    pub(super) fn freed(&mut self) -> Vec<Identity> {
        std::mem::take(&mut self.freed)
    }
}
