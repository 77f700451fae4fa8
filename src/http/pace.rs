//! How often somebody may send commands: all that the time allows at once after a pause, and evenly from then on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::access::Credential;
use crate::config::units::Rate;

/// So many are remembered before a first look at who may be forgotten.
const REMEMBERED: usize = 64;

/// The pace of one: a token bucket, kept as the time at which it is full (the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    full: Instant,
}

impl Pace {
    /// One that has all before it.
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Whether it has all before it again, as one that was never asked.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full <= now
    }

    /// Counts one more; the error is how long to wait for it.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(1, rate, now)
    }

    /// Counts `amount` more at once; the error is how long to wait for them. More than the rate allows at once never comes.
    pub(super) fn take_many(&mut self, amount: u32, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full = self.full.max(now) + rate.per / rate.times * amount;
        match (full - now).checked_sub(rate.per) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                self.full = full;
                Ok(())
            }
        }
    }
}

/// The paces of those who can be told apart. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paces(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    paces: HashMap<Credential, Pace>,
    /// How many there were after the last look.
    left: usize,
}

impl Paces {
    /// Counts one more of who shows `credential`; the error is how long to wait for it.
    pub(super) fn take(&self, credential: &Credential, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.take_many(credential, 1, rate, now)
    }

    /// Counts `amount` more of who shows `credential`; see [`Pace::take_many`].
    pub(super) fn take_many(
        &self,
        credential: &Credential,
        amount: u32,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.paces.len() >= 2 * known.left.max(REMEMBERED) {
            // Who has all before it again is as one who never came.
            known.paces.retain(|_, pace| !pace.is_full(now));
            known.left = known.paces.len();
        }
        known.paces.entry(credential.clone()).or_insert_with(|| Pace::new(now)).take_many(amount, rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { times: 4, per: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn all_at_once_and_evenly_from_then_on() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut take = |millis| pace.take(RATE, start + Duration::from_millis(millis));
        for _ in 0..4 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Duration::from_millis(500)));
        // What was refused does not count.
        assert_eq!(take(100), Err(Duration::from_millis(400)));
        assert_eq!((take(500), take(500)), (Ok(()), Err(Duration::from_millis(500))));
        // What costs more counts for as much, and is not begun.
        let mut many = |millis| pace.take_many(3, RATE, start + Duration::from_millis(millis));
        assert_eq!((many(10_000), many(10_000)), (Ok(()), Err(Duration::from_secs(1))));
        let mut take = |millis| pace.take(RATE, start + Duration::from_millis(millis));
        // After a pause, all again, but no more.
        for _ in 0..4 {
            assert_eq!(take(60_000), Ok(()));
        }
        assert!(take(60_000).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_and_is_forgotten_in_the_end() {
        let (paces, now) = (Paces::default(), Instant::now());
        let user = Credential::User;
        for _ in 0..4 {
            assert_eq!(paces.take(&user(1), RATE, now), Ok(()));
        }
        assert!(paces.take(&user(1), RATE, now).is_err());
        assert_eq!(paces.take(&user(2), RATE, now), Ok(()));
        for at in 0..10_000 {
            assert_eq!(paces.take(&user(at), RATE, now + Duration::from_secs(u64::from(at) + 2)), Ok(()));
        }
        assert!(paces.0.lock().unwrap().paces.len() <= 2 * REMEMBERED);
    }
}
