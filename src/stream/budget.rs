//! The bound on the memory of all streams together.
//!
//! Each appender reports the memory of its log. While all logs together take too much, the largest one drops its oldest
//! events, so a busy stream never costs a small one its events.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::watch;

use crate::event::lock;

use super::ring::Ring;

/// The memory of all streams; a clone is the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<BudgetState>>);

struct BudgetState {
    total: usize,
    used: usize,
    members: Vec<Option<BudgetMember>>,
}

struct BudgetMember {
    bytes: usize,
    ring: Weak<watch::Sender<Ring>>,
}

/// One log's part of a [`Budget`], which is returned when it is dropped.
#[derive(Debug)]
pub(super) struct BudgetShare {
    budget: Budget,
    at: usize,
}

/// The memory that one log may take of a [`Budget`], as long as that log is open.
#[derive(Debug)]
pub(super) struct BudgetRoom {
    budget: Budget,
    at: usize,
}

impl BudgetRoom {
    /// The bytes that the log may take without dropping events: what all others leave, and in any case as much as the
    /// largest of them, which would drop its events first.
    pub(super) fn bytes(&self) -> usize {
        self.budget.with(|shares| {
            let held = |holder: &Option<BudgetMember>| holder.as_ref().map_or(0, |holder| holder.bytes);
            let others =
                || shares.members.iter().enumerate().filter(|(at, _)| *at != self.at).map(|(_, other)| held(other));
            shares.total.saturating_sub(others().sum()).max(others().max().unwrap_or(0))
        })
    }
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        Self(Arc::new(Mutex::new(BudgetState { total, used: 0, members: Vec::new() })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut BudgetState) -> T) -> T {
        act(&mut lock(&self.0))
    }

    pub(super) fn join(&self, ring: Weak<watch::Sender<Ring>>) -> BudgetShare {
        let at = self.with(|shares| {
            shares.members.push(Some(BudgetMember { bytes: 0, ring }));
            shares.members.len() - 1
        });
        BudgetShare { budget: self.clone(), at }
    }
}

impl BudgetShare {
    /// The memory that this log may take.
    pub(super) fn room(&self) -> BudgetRoom {
        BudgetRoom { budget: self.budget.clone(), at: self.at }
    }

    /// Reports that this log holds `bytes` now, and makes the largest logs drop events while all hold too much.
    pub(super) fn report(&self, bytes: usize) {
        self.budget.with(|shares| {
            shares.set(self.at, bytes);
            while shares.used > shares.total && shares.shrink_largest() {}
        });
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.with(|shares| {
            shares.set(self.at, 0);
            shares.members[self.at] = None;
        });
    }
}

impl BudgetState {
    fn set(&mut self, at: usize, bytes: usize) {
        if let Some(holder) = self.members[at].as_mut() {
            self.used = self.used - holder.bytes + bytes;
            holder.bytes = bytes;
        }
    }

    /// Makes the largest log drop the excess, and a little more so that this happens rarely. Returns `false` if nothing
    /// could be dropped.
    fn shrink_largest(&mut self) -> bool {
        let held = |holder: &Option<BudgetMember>| holder.as_ref().map_or(0, |holder| holder.bytes);
        let Some(at) = (0..self.members.len()).max_by_key(|&at| held(&self.members[at])) else { return false };
        let bytes = held(&self.members[at]);
        let too_much = self.used - self.total + self.total / 64;
        let ring = self.members[at].as_ref().and_then(|holder| holder.ring.upgrade());
        let mut freed = 0;
        if let Some(ring) = ring {
            // Readers are not woken: they receive their gap when they reach it.
            ring.send_if_modified(|ring| {
                let before = ring.bytes();
                ring.trim(before.saturating_sub(too_much));
                freed = before - ring.bytes();
                false
            });
        }
        // The log may have grown since it reported, and then frees more than that.
        self.set(at, bytes.saturating_sub(freed));
        freed > 0
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|shares| write!(f, "Budget({} of {} bytes)", shares.used, shares.total))
    }
}
