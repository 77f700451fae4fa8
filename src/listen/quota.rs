//! How much of something is in use, in all and by each: connections, readers, bytes of bodies.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is in use, and by whom. A clone is the same.
#[derive(Debug)]
pub(crate) struct Quota<K>(Arc<Mutex<QuotaUsage<K>>>);

#[derive(Debug)]
struct QuotaUsage<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// How much may be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QuotaLimits {
    /// By one of those who are told apart.
    pub(crate) each: usize,
    /// By all together.
    pub(crate) all: usize,
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaExceeded {
    PerKey,
    Total,
}

/// What one has in use; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct QuotaShare<K: Eq + Hash> {
    quota: Quota<K>,
    of: Option<K>,
    amount: usize,
}

impl<K> Clone for Quota<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Quota<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(QuotaUsage { all: 0, by: HashMap::new() })))
    }
}

impl<K> Quota<K> {
    fn usage(&self) -> MutexGuard<'_, QuotaUsage<K>> {
        // Each change leaves the counts consistent, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Takes `amount` for `of`; with `None` it is counted only in all. Cost: a lock.
    pub(crate) fn take(
        &self,
        of: Option<&K>,
        amount: usize,
        bounds: QuotaLimits,
    ) -> Result<QuotaShare<K>, QuotaExceeded> {
        let mut in_use = self.usage();
        let has = of.and_then(|of| in_use.by.get(of)).copied().unwrap_or(0);
        if of.is_some() && has.saturating_add(amount) > bounds.each {
            return Err(QuotaExceeded::PerKey);
        }
        if in_use.all.saturating_add(amount) > bounds.all {
            return Err(QuotaExceeded::Total);
        }
        in_use.all += amount;
        if let Some(of) = of {
            in_use.by.insert(of.clone(), has + amount);
        }
        drop(in_use);
        Ok(QuotaShare { quota: self.clone(), of: of.cloned(), amount })
    }
}

impl<K: Eq + Hash> Drop for QuotaShare<K> {
    fn drop(&mut self) {
        let mut in_use = self.quota.usage();
        in_use.all -= self.amount;
        if let Some(of) = &self.of
            && let Some(count) = in_use.by.get_mut(of)
        {
            *count -= self.amount;
            if *count == 0 {
                in_use.by.remove(of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_all_together_have_a_bound() {
        let quota = Quota::default();
        let bounds = QuotaLimits { each: 3, all: 5 };
        let take = |of, amount| quota.take(Some(&of), amount, bounds);
        let first = take("a", 2).unwrap();
        assert_eq!(take("a", 2).unwrap_err(), QuotaExceeded::PerKey);
        let second = take("a", 1).unwrap();
        let other = take("b", 2).unwrap();
        assert_eq!(take("c", 1).unwrap_err(), QuotaExceeded::Total);
        assert_eq!(quota.take(None, 1, bounds).unwrap_err(), QuotaExceeded::Total);
        let more = quota.take(None, 1, QuotaLimits { all: 6, ..bounds }).unwrap();
        drop((first, more));
        // Less is allowed now: what is in use stays so.
        assert_eq!(quota.take(Some(&"b"), 1, QuotaLimits { each: 2, all: 9 }).unwrap_err(), QuotaExceeded::PerKey);
        let again = take("a", 2).unwrap();
        drop((second, other, again));
        let in_use = quota.usage();
        assert!(in_use.all == 0 && in_use.by.is_empty(), "nothing is kept of who has nothing: {in_use:?}");
    }

    #[test]
    fn no_amount_overflows() {
        let quota = Quota::default();
        let bounds = QuotaLimits { each: usize::MAX, all: 10 };
        let _some = quota.take(Some(&1), 1, bounds).unwrap();
        assert_eq!(quota.take(Some(&1), usize::MAX, bounds).unwrap_err(), QuotaExceeded::Total);
    }
}
