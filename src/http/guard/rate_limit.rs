//! How often somebody may send commands: all that the time allows at once after a pause, and evenly from then on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::access::Credential;
use crate::config::units::Rate;

/// So many are remembered before a first look at who may be forgotten.
const MIN_LIMITERS_BEFORE_SWEEP: usize = 64;

/// The pace of one: a token bucket, kept as the time at which it is full (the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimiter {
    full_at: Instant,
}

impl RateLimiter {
    /// One that has all before it.
    pub(crate) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether it has all before it again, as one that was never asked.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Counts one more; the error is how long to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(1, rate, now)
    }

    /// Counts `amount` more at once; the error is how long to wait for them. More than the rate allows at once never comes.
    pub(crate) fn take_many(&mut self, amount: u32, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full = self.full_at.max(now) + rate.per / rate.times * amount;
        match (full - now).checked_sub(rate.per) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                self.full_at = full;
                Ok(())
            }
        }
    }
}

/// The paces of those who can be told apart. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimiters(Arc<Mutex<RateLimiterTable>>);

#[derive(Debug, Default)]
struct RateLimiterTable {
    limiters: HashMap<Credential, RateLimiter>,
    /// How many there were after the last look.
    left: usize,
}

impl RateLimiters {
    /// Counts one more of who shows `credential`; the error is how long to wait for it.
    pub(crate) fn take(&self, credential: &Credential, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(credential, 1, rate, now)
    }

    /// Counts `amount` more of who shows `credential`; see [`RateLimiter::take_many`].
    pub(crate) fn take_many(
        &self,
        credential: &Credential,
        amount: u32,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.limiters.len() >= 2 * known.left.max(MIN_LIMITERS_BEFORE_SWEEP) {
            // Who has all before it again is as one who never came.
            known.limiters.retain(|_, pace| !pace.is_full(now));
            known.left = known.limiters.len();
        }
        known.limiters.entry(credential.clone()).or_insert_with(|| RateLimiter::new(now)).take_many(amount, rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_RATE: Rate = Rate { times: 4, per: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn all_at_once_and_evenly_from_then_on() {
        let start = Instant::now();
        let mut pace = RateLimiter::new(start);
        let mut take = |millis| pace.take(TEST_RATE, start + Duration::from_millis(millis));
        for _ in 0..4 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Duration::from_millis(500)));
        // What was refused does not count.
        assert_eq!(take(100), Err(Duration::from_millis(400)));
        assert_eq!((take(500), take(500)), (Ok(()), Err(Duration::from_millis(500))));
        // What costs more counts for as much, and is not begun.
        let mut many = |millis| pace.take_many(3, TEST_RATE, start + Duration::from_millis(millis));
        assert_eq!((many(10_000), many(10_000)), (Ok(()), Err(Duration::from_secs(1))));
        let mut take = |millis| pace.take(TEST_RATE, start + Duration::from_millis(millis));
        // After a pause, all again, but no more.
        for _ in 0..4 {
            assert_eq!(take(60_000), Ok(()));
        }
        assert!(take(60_000).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_and_is_forgotten_in_the_end() {
        let (paces, now) = (RateLimiters::default(), Instant::now());
        let user = Credential::User;
        for _ in 0..4 {
            assert_eq!(paces.take(&user(1), TEST_RATE, now), Ok(()));
        }
        assert!(paces.take(&user(1), TEST_RATE, now).is_err());
        assert_eq!(paces.take(&user(2), TEST_RATE, now), Ok(()));
        for at in 0..10_000 {
            assert_eq!(paces.take(&user(at), TEST_RATE, now + Duration::from_secs(u64::from(at) + 2)), Ok(()));
        }
        assert!(paces.0.lock().unwrap().limiters.len() <= 2 * MIN_LIMITERS_BEFORE_SWEEP);
    }
}
