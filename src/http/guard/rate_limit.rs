//! Rate limits for commands: after a pause, a caller may send a burst of the full rate at once, and evenly from then
//! on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::access::Credential;
use crate::config::units::Rate;
use crate::event::lock;

/// Number of remembered limiters from which on full ones are removed.
const MIN_LIMITERS_BEFORE_SWEEP: usize = 64;

/// The rate limiter of one caller: a token bucket, stored as the time at which it is full (the generic cell rate
/// algorithm of ITU-T I.371).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimiter {
    full_at: Instant,
}

impl RateLimiter {
    /// A limiter with a full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Returns true if the bucket is full again, so that the limiter equals a new one.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes one token; the error is the time to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(1, rate, now)
    }

    /// Takes `amount` tokens at once; the error is the time to wait for them. An amount above the burst size is never
    /// granted.
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

/// The rate limiters by credential. Clones share the limiters.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimiters(Arc<Mutex<RateLimiterTable>>);

#[derive(Debug, Default)]
struct RateLimiterTable {
    limiters: HashMap<Credential, RateLimiter>,
    /// Number of limiters after the last removal of full ones.
    left: usize,
}

impl RateLimiters {
    /// Takes one token of the caller with `credential`; the error is the time to wait for it.
    pub(crate) fn take(&self, credential: &Credential, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(credential, 1, rate, now)
    }

    /// Takes `amount` tokens of the caller with `credential`; see [`RateLimiter::take_many`].
    pub(crate) fn take_many(
        &self,
        credential: &Credential,
        amount: u32,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut known = lock(&self.0);
        if known.limiters.len() >= 2 * known.left.max(MIN_LIMITERS_BEFORE_SWEEP) {
            // A full limiter is the same as a new one, so it need not be kept.
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
        // A refused call takes no token.
        assert_eq!(take(100), Err(Duration::from_millis(400)));
        assert_eq!((take(500), take(500)), (Ok(()), Err(Duration::from_millis(500))));
        // A call that costs more takes that many tokens, and takes none if there are too few.
        let mut many = |millis| pace.take_many(3, TEST_RATE, start + Duration::from_millis(millis));
        assert_eq!((many(10_000), many(10_000)), (Ok(()), Err(Duration::from_secs(1))));
        let mut take = |millis| pace.take(TEST_RATE, start + Duration::from_millis(millis));
        // After a pause the bucket is full again, and not more than full.
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
        assert!(lock(&paces.0).limiters.len() <= 2 * MIN_LIMITERS_BEFORE_SWEEP);
    }
}
