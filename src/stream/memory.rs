//! The bound on what all streams keep in memory together.
//!
//! Whoever appends reports what its log holds now. While all together hold too much, the log that holds most drops its
//! oldest events: a busy stream never costs a small one its history.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use super::ring::Ring;

/// All streams' share of memory; a clone is the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<Shares>>);

struct Shares {
    total: usize,
    used: usize,
    holders: Vec<Option<Holder>>,
}

struct Holder {
    bytes: usize,
    ring: Weak<watch::Sender<Ring>>,
}

/// One log's part of a [`Budget`]; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    at: usize,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Mutex::new(Shares { total, used: 0, holders: Vec::new() })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shares) -> T) -> T {
        // The numbers in it are right at each step, so a panic elsewhere does not spoil them.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn enter(&self, ring: Weak<watch::Sender<Ring>>) -> Share {
        let at = self.with(|shares| {
            shares.holders.push(Some(Holder { bytes: 0, ring }));
            shares.holders.len() - 1
        });
        Share { budget: self.clone(), at }
    }
}

impl Share {
    /// Says that this log holds `bytes` now; lets the largest logs drop events while all hold too much.
    pub(super) fn report(&self, bytes: usize) {
        self.budget.with(|shares| {
            shares.set(self.at, bytes);
            while shares.used > shares.total && shares.shrink_largest() {}
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.with(|shares| {
            shares.set(self.at, 0);
            shares.holders[self.at] = None;
        });
    }
}

impl Shares {
    fn set(&mut self, at: usize, bytes: usize) {
        if let Some(holder) = self.holders[at].as_mut() {
            self.used = self.used - holder.bytes + bytes;
            holder.bytes = bytes;
        }
    }

    /// Lets the log that holds most drop what is too much, and a little more so that this is rare. `false` if nothing
    /// could be dropped.
    fn shrink_largest(&mut self) -> bool {
        let held = |holder: &Option<Holder>| holder.as_ref().map_or(0, |holder| holder.bytes);
        let Some(at) = (0..self.holders.len()).max_by_key(|&at| held(&self.holders[at])) else { return false };
        let bytes = held(&self.holders[at]);
        let too_much = self.used - self.total + self.total / 64;
        let ring = self.holders[at].as_ref().and_then(|holder| holder.ring.upgrade());
        let mut freed = 0;
        if let Some(ring) = ring {
            // Nothing new for readers: they learn of a gap when they come to it.
            ring.send_if_modified(|ring| {
                let before = ring.bytes();
                ring.trim(before.saturating_sub(too_much));
                freed = before - ring.bytes();
                false
            });
        }
        self.set(at, bytes.saturating_sub(freed));
        freed > 0
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|shares| write!(f, "Budget({} of {} bytes)", shares.used, shares.total))
    }
}
