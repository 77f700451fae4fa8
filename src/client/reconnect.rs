//! The time before a client connects again.

use std::time::Duration;

/// Delay before a reconnect, unless the daemon has specified another.
const DEFAULT_DELAY: Duration = Duration::from_secs(1);

/// Delay before the first reconnect after a connection that worked was cut without a word, in milliseconds: a daemon that
/// was killed is started again at once, and what connects meanwhile waits for it.
const FIRST_DELAY_MILLIS: std::ops::Range<u64> = 10..100;

/// The time for which a connection must have worked, so that a proxy that cuts each one is not asked without a pause.
pub(super) const MIN_WORKING_TIME: Duration = Duration::from_millis(250);

/// The delay before the next connection. `asked` is what the daemon wants, in milliseconds; `is_first` says that the last
/// connection worked and was cut without a word.
pub(super) fn delay(asked: Option<u64>, is_first: bool) -> Duration {
    let wanted = asked.map_or(DEFAULT_DELAY, Duration::from_millis);
    if is_first { wanted.min(Duration::from_millis(fastrand::u64(FIRST_DELAY_MILLIS))) } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_attempt_is_made_at_once() {
        let first = Duration::from_millis(FIRST_DELAY_MILLIS.end);
        for (asked, is_first, least, most) in [
            (None, false, DEFAULT_DELAY, DEFAULT_DELAY),
            (Some(2500), false, Duration::from_millis(2500), Duration::from_millis(2500)),
            (None, true, Duration::from_millis(FIRST_DELAY_MILLIS.start), first),
            (Some(2500), true, Duration::from_millis(FIRST_DELAY_MILLIS.start), first),
            (Some(5), true, Duration::from_millis(5), Duration::from_millis(5)),
        ] {
            let delay = delay(asked, is_first);
            assert!((least..=most).contains(&delay), "{asked:?}, {is_first}: {delay:?}");
        }
    }
}
