//! The delay before a source is restarted. Has no clock of its own.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Restart;

/// Counts failures and restarts.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    limit: Option<(u32, Duration)>,
    failures: u32,
    /// The times of restarts within the window of the limit.
    restarts: VecDeque<Instant>,
}

impl Backoff {
    pub(super) fn new(restart: &Restart) -> Self {
        let (first, longest) = (*restart.backoff.start(), *restart.backoff.end());
        Self { first, max: longest, limit: restart.limit, failures: 0, restarts: VecDeque::new() }
    }

    /// The number of consecutive failures.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The delay after a run that ended at `now` and lasted for `ran`; `None` if there were too many restarts.
    ///
    /// The delay doubles after each further failure. A success, or a run that is longer than the longest delay, resets
    /// it.
    pub(crate) fn wait(&mut self, failed: bool, ran: Duration, now: Instant) -> Option<Duration> {
        if !failed || ran > self.max {
            self.failures = 0;
        }
        self.failures += u32::from(failed);
        if let Some((most, window)) = self.limit {
            self.restarts.retain(|&restart| now.duration_since(restart) < window);
            if self.restarts.len() >= most as usize {
                return None;
            }
            self.restarts.push_back(now);
        }
        let doubled = 2u32.saturating_pow(self.failures.saturating_sub(1));
        Some(self.first.saturating_mul(doubled).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_SECOND: Duration = Duration::from_secs(1);

    fn backoff(limit: Option<(u32, Duration)>) -> Backoff {
        Backoff::new(&Restart { backoff: ONE_SECOND..=10 * ONE_SECOND, limit, ..Restart::default() })
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_longest() {
        let (mut backoff, now) = (backoff(None), Instant::now());
        let waits: Vec<_> = (0..40).map(|_| backoff.wait(true, ONE_SECOND, now).unwrap().as_secs()).collect();
        assert_eq!(waits[..6], [1, 2, 4, 8, 10, 10]);
        assert_eq!((waits[39], backoff.failures()), (10, 40));
    }

    #[test]
    fn success_or_a_long_run_resets_the_backoff() {
        let (mut backoff, now) = (backoff(None), Instant::now());
        for (failed, ran, wait, failures) in
            [(true, 1, 1, 1), (true, 1, 2, 2), (false, 1, 1, 0), (true, 1, 1, 1), (true, 10, 2, 2), (true, 11, 1, 1)]
        {
            assert_eq!(backoff.wait(failed, ran * ONE_SECOND, now), Some(wait * ONE_SECOND));
            assert_eq!(backoff.failures(), failures);
        }
    }

    #[test]
    fn more_often_than_the_limit_is_too_often() {
        let (mut backoff, now) = (backoff(Some((2, 60 * ONE_SECOND))), Instant::now());
        for (after, allowed) in [(0, true), (10, true), (20, false), (59, false), (60, true), (61, false), (70, true)] {
            assert_eq!(backoff.wait(true, ONE_SECOND, now + after * ONE_SECOND).is_some(), allowed, "after {after} s");
        }
    }
}
