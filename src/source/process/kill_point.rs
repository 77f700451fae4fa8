//! Moments at which a debug build kills itself if its environment says so, so that tests can interrupt it exactly there.
//!
//! `RTLOGD_KILL_AT=recorded:3` kills it when it comes to [`KillPoint::Recorded`] for the third time.

/// A moment between two steps that must not be seen as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillPoint {
    /// Output of a program is in the staging pipe, and nothing became of it yet.
    Staged,
    /// The history has what became of the output, which is still in the staging pipe.
    Recorded,
    /// The staging pipe is empty again.
    Settled,
    /// The shim of an earlier daemon has handed over the run, of which nothing is restored yet.
    Attached,
    /// The service manager keeps the listening sockets, and the daemon is not ready yet.
    Stored,
}

/// Kills this process if the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn kill_point(point: KillPoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("RTLOGD_KILL_AT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((name, count)) = wanted else { return };
    if format!("{point:?}").eq_ignore_ascii_case(name) && COUNT.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        // Nothing runs behind it, as with a signal from outside.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap_or_default();
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn kill_point(_: KillPoint) {}
