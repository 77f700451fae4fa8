//! Counts of resources in use, in total and for each key: connections, readers, bytes of bodies.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::event::lock;

/// The amounts of one resource in use. Clones share the counts.
#[derive(Debug)]
pub(crate) struct Quota<K>(Arc<Mutex<QuotaUsage<K>>>);

#[derive(Debug)]
struct QuotaUsage<K> {
    total: usize,
    by_key: HashMap<K, usize>,
}

/// The maximum amounts in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaLimits {
    /// The maximum for each key.
    pub(crate) each: usize,
    /// The maximum for all keys together.
    pub(crate) all: usize,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaExceeded {
    PerKey,
    Total,
}

/// An amount in use, which is released when this is dropped.
#[derive(Debug)]
pub(crate) struct QuotaShare<K: Eq + Hash> {
    quota: Quota<K>,
    key: Option<K>,
    amount: usize,
}

impl<K> Clone for Quota<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(QuotaUsage { total: 0, by_key: HashMap::new() })))
    }
}

impl<K> Quota<K> {
    fn usage(&self) -> MutexGuard<'_, QuotaUsage<K>> {
        lock(&self.0)
    }
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Takes `amount` for `key`; with `None` it is counted only in the total. Cost: a lock.
    ///
    /// # Errors
    /// If a limit would be exceeded. Nothing is taken then.
    pub(crate) fn take(
        &self,
        key: Option<&K>,
        amount: usize,
        limits: QuotaLimits,
    ) -> Result<QuotaShare<K>, QuotaExceeded> {
        let mut in_use = self.usage();
        let has = key.and_then(|key| in_use.by_key.get(key)).copied().unwrap_or(0);
        if key.is_some() && has.saturating_add(amount) > limits.each {
            return Err(QuotaExceeded::PerKey);
        }
        if in_use.total.saturating_add(amount) > limits.all {
            return Err(QuotaExceeded::Total);
        }
        in_use.total += amount;
        if let Some(key) = key {
            in_use.by_key.insert(key.clone(), has + amount);
        }
        drop(in_use);
        Ok(QuotaShare { quota: self.clone(), key: key.cloned(), amount })
    }
}

impl<K: Eq + Hash> Drop for QuotaShare<K> {
    fn drop(&mut self) {
        let mut in_use = self.quota.usage();
        in_use.total -= self.amount;
        if let Some(key) = &self.key
            && let Some(count) = in_use.by_key.get_mut(key)
        {
            *count -= self.amount;
            if *count == 0 {
                in_use.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_limit_and_so_has_the_total() {
        let quota = Quota::default();
        let limits = QuotaLimits { each: 3, all: 5 };
        let take = |key, amount| quota.take(Some(&key), amount, limits);
        let first = take("a", 2).unwrap();
        assert_eq!(take("a", 2).unwrap_err(), QuotaExceeded::PerKey);
        let second = take("a", 1).unwrap();
        let other = take("b", 2).unwrap();
        assert_eq!(take("c", 1).unwrap_err(), QuotaExceeded::Total);
        assert_eq!(quota.take(None, 1, limits).unwrap_err(), QuotaExceeded::Total);
        let more = quota.take(None, 1, QuotaLimits { all: 6, ..limits }).unwrap();
        drop((first, more));
        // A lower limit does not affect amounts in use.
        assert_eq!(quota.take(Some(&"b"), 1, QuotaLimits { each: 2, all: 9 }).unwrap_err(), QuotaExceeded::PerKey);
        let again = take("a", 2).unwrap();
        drop((second, other, again));
        let in_use = quota.usage();
        assert!(in_use.total == 0 && in_use.by_key.is_empty(), "a key without an amount has no entry: {in_use:?}");
    }

    #[test]
    fn no_amount_overflows() {
        let quota = Quota::default();
        let limits = QuotaLimits { each: usize::MAX, all: 10 };
        let _some = quota.take(Some(&1), 1, limits).unwrap();
        assert_eq!(quota.take(Some(&1), usize::MAX, limits).unwrap_err(), QuotaExceeded::Total);
    }
}
