//! How many of something each has at once, and at most: connections of an address, streams of a token.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// What is shared out, by who has it. A clone is the same.
#[derive(Debug)]
pub(crate) struct Shares<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One share; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Eq + Hash> {
    shares: Shares<K>,
    of: K,
}

impl<K> Clone for Shares<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// One more for `of`, who may have `most`.
    pub(super) fn take(&self, of: &K, most: usize) -> Option<Share<K>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = taken.get(of).copied().unwrap_or(0);
        if has >= most {
            return None;
        }
        taken.insert(of.clone(), has + 1);
        Some(Share { shares: self.clone(), of: of.clone() })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        // Each change leaves the counts consistent, so a panic elsewhere does not spoil them.
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_what_is_dropped_is_free() {
        let shares = Shares::default();
        let first = shares.take(&"a", 2);
        let second = shares.take(&"a", 2);
        assert!(first.is_some() && second.is_some() && shares.take(&"a", 2).is_none());
        let other = shares.take(&"b", 2);
        assert!(other.is_some());
        // Fewer are allowed now: those that are there stay.
        assert!(shares.take(&"a", 1).is_none());
        drop((first, second));
        assert!(shares.take(&"a", 1).is_some());
        drop(other);
        assert!(shares.0.lock().unwrap().is_empty(), "nothing is kept of who has none");
    }
}
