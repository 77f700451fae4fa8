//! Estimates the end of the work from its pace, with recent steps weighted more, and smoothed so that the displayed
//! time does not jump.

use std::time::Duration;

use crate::event::Time;

/// Steps closer together than this are merged: many arrive at once when a pipe is read, and their distance has no
/// meaning.
const MIN_STEP_SECONDS: f64 = 0.5;

/// The time in seconds and the percentage before which no estimate is made.
const MIN_ELAPSED_SECONDS: f64 = 2.0;
const MIN_PERCENT_DONE: f64 = 2.0;

/// The window in seconds for the pace: at least the minimum, later the last half of the elapsed time, up to the
/// maximum.
const MIN_WINDOW_SECONDS: f64 = 5.0;
const MAX_WINDOW_SECONDS: f64 = 120.0;

/// The displayed time approaches the estimate within this share of the remaining time, and within at least this many
/// seconds.
const SMOOTHING_SHARE: f64 = 0.1;
const SMOOTHING_SECONDS: f64 = 2.0;

/// The maximum estimate is a month; a longer one means that the work is about to stop.
const MAX_ETA_SECONDS: f64 = 30.0 * 86_400.0;

/// The estimator of one bar, from its beginning.
#[derive(Debug)]
pub(super) struct EtaEstimator {
    start: (Time, f64),
    last: (Time, f64),
    /// The pace in percent per second.
    rate: Option<f64>,
    /// The displayed end time, and the time when it was calculated.
    shown: Option<(Time, Time)>,
}

impl EtaEstimator {
    pub(super) fn new(now: Time, percent: f64) -> Self {
        Self { start: (now, percent), last: (now, percent), rate: None, shown: None }
    }

    /// The estimated end of the work, which is now at `percent`.
    pub(super) fn eta(&mut self, now: Time, percent: f64) -> Option<Time> {
        let elapsed = now.seconds_since(self.start.0);
        let since = now.seconds_since(self.last.0);
        if since >= MIN_STEP_SECONDS && percent > self.last.1 {
            let latest = (percent - self.last.1) / since;
            let whole = (percent - self.start.1) / elapsed;
            let window = (elapsed / 2.0).clamp(MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS);
            let weight = 1.0 - (-since / window).exp();
            let before = self.rate.unwrap_or(whole);
            self.rate = Some(before + (latest - before) * weight);
            self.last = (now, percent);
        }
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        if elapsed < MIN_ELAPSED_SECONDS || percent - self.start.1 < MIN_PERCENT_DONE || percent >= 100.0 {
            return None;
        }
        // A long step is part of the pace, too: the remaining time is counted from the last step.
        let left = ((100.0 - self.last.1) / rate).min(MAX_ETA_SECONDS);
        let guess = self.last.0.plus(Duration::from_secs_f64(left)).max(now);
        let eta = match self.shown {
            Some((eta, shown_at)) => {
                let span = (left * SMOOTHING_SHARE).max(SMOOTHING_SECONDS);
                let weight = 1.0 - (-now.seconds_since(shown_at) / span).exp();
                interpolate(eta, guess, weight).max(now)
            }
            None => guess,
        };
        self.shown = Some((eta, now));
        Some(eta)
    }
}

/// The time at the fraction `weight` of the way from `a` to `b`.
fn interpolate(a: Time, b: Time, weight: f64) -> Time {
    if b >= a {
        a.plus(Duration::from_secs_f64(b.seconds_since(a) * weight))
    } else {
        b.plus(Duration::from_secs_f64(a.seconds_since(b) * (1.0 - weight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::default().plus(Duration::from_secs_f64(1e9 + seconds))
    }

    /// Runs a bar with a step each tenth of a second. Returns each time with the displayed end.
    fn run(total: f64, percent: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let mut pace = EtaEstimator::new(at(0.0), 0.0);
        let mut shown = Vec::new();
        for tick in 1.. {
            let now = f64::from(tick) / 10.0;
            if now >= total {
                return shown;
            }
            if let Some(eta) = pace.eta(at(now), percent(now)) {
                shown.push((now, eta.seconds_since(at(0.0))));
            }
        }
        shown
    }

    #[test]
    fn a_steady_bar_ends_when_it_said() {
        for total in [10.0, 60.0, 1000.0] {
            let shown = run(total, |now| (100.0 * now / total * 10.0).round() / 10.0);
            assert!(shown.len() > 50, "{total}");
            for (now, eta) in shown {
                assert!((eta - total).abs() < total * 0.05 + 0.5, "at {now} of {total}: {eta}");
            }
        }
    }

    #[test]
    fn a_bar_in_whole_and_uneven_steps_does_not_jump() {
        // The case: 40 objects, of which each third takes five times as long.
        let ends: Vec<f64> = (0..40)
            .scan(0.0, |at, n| {
                *at += if n % 3 == 0 { 5.0 } else { 1.0 };
                Some(*at)
            })
            .collect();
        let total = ends[39];
        let percent = |now: f64| ends.iter().filter(|end| **end <= now).map(|_| 2.5).sum();
        let shown = run(total, percent);
        for two in shown.windows(2) {
            let left = (total - two[0].0).max(5.0);
            assert!((two[1].1 - two[0].1).abs() < left * 0.1, "{two:?} of {total}");
        }
        let (_, late) = shown[shown.len() * 3 / 4];
        assert!((late - total).abs() < total * 0.15, "{late} of {total}");
    }

    #[test]
    fn one_that_slows_down_is_found_out() {
        let shown = run(120.0, |now| if now < 20.0 { 2.0 * now } else { 40.0 + (now - 20.0) * 0.6 });
        let (_, late) = shown[shown.len() - 100];
        assert!((late - 120.0).abs() < 10.0, "{late}");
    }

    #[test]
    fn no_estimate_is_made_too_early() {
        assert_eq!(EtaEstimator::new(at(0.0), 0.0).eta(at(1.0), 50.0), None);
        assert_eq!(EtaEstimator::new(at(0.0), 0.0).eta(at(100.0), 1.0), None);
        let mut stopped = EtaEstimator::new(at(10.0), 0.0);
        assert_eq!(stopped.eta(at(1.0), 50.0), None, "the clock was set back");
    }
}
