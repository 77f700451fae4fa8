//! The signals of the daemon.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log::info;
use nix::sys::signal::SigSet;
use tokio::signal::unix::{SignalKind, signal};

/// The signals that end the daemon.
pub(crate) struct TerminationSignals([tokio::signal::unix::Signal; 3]);

impl TerminationSignals {
    pub(crate) fn new() -> io::Result<Self> {
        let quit = signal(SignalKind::quit())?;
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, quit]))
    }

    /// Waits for one of the signals. May be dropped at any time.
    pub(crate) async fn wait(&mut self) {
        let [terminate, interrupt, quit] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// Signals that have no meaning for rtlogd and by default end it at once, without notice to its readers and with its
/// commands left running: those for users, timers and devices. `XFSZ` is included, since a file that exceeds its
/// maximum size is reported as an error of the write. Signals that report a fault of the program, or that its processor
/// time is used up, still end it.
const IGNORED_SIGNALS: [rustix::process::Signal; 9] = {
    use rustix::process::Signal;
    [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::XFSZ,
    ]
};

/// The real-time signals that programs may use; the C library reserves those before them (signal(7)).
const REAL_TIME_SIGNALS: std::ops::RangeInclusive<i32> = 34..=64;

/// Ignores the signals without a meaning, except those that are `passed_on`; the first of each is logged. The daemon
/// handles them instead of setting the system to ignore them, since child processes would inherit that setting and lose
/// signals that they need.
pub(crate) fn ignore_unused_signals(passed_on: impl Fn(i32) -> bool) {
    let unused = IGNORED_SIGNALS.into_iter().map(rustix::process::Signal::as_raw).chain(REAL_TIME_SIGNALS);
    for number in unused.filter(|number| !passed_on(*number)) {
        match signal(SignalKind::from_raw(number)) {
            Ok(mut received) => {
                tokio::spawn(async move {
                    if received.recv().await.is_some() {
                        info!(signal = number; "rtlogd does not use signal {number} and ignores it");
                    }
                });
            }
            Err(error) => log::debug!(signal = number, error:% = error; "signal {number} cannot be ignored"),
        }
    }
}

/// Signals that arrive before the runtime handles them, or when it no longer does. An earlier program of this process let
/// all signals wait, which this program must not: its commands would inherit that.
#[derive(Debug, Default)]
pub(crate) struct EarlySignals {
    terminates: Arc<AtomicBool>,
    reloads: Arc<AtomicBool>,
}

impl EarlySignals {
    /// Notes the signals that end the daemon.
    pub(crate) fn note_termination() -> io::Result<Self> {
        let early = Self::default();
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
            signal_hook::flag::register(signal, early.terminates.clone())?;
        }
        Ok(early)
    }

    /// Notes all signals that were waiting, and those that follow. Must be called before there are threads.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(crate) fn catch() -> io::Result<Self> {
        let early = Self::note_termination()?;
        signal_hook::flag::register(signal_hook::consts::SIGHUP, early.reloads.clone())?;
        for number in IGNORED_SIGNALS.into_iter().map(rustix::process::Signal::as_raw).chain(REAL_TIME_SIGNALS) {
            signal_hook::flag::register(number, Arc::default())?;
        }
        SigSet::all().thread_unblock()?;
        Ok(early)
    }

    /// Returns whether the daemon is to end.
    pub(crate) fn terminates(&self) -> bool {
        self.terminates.load(Ordering::Acquire)
    }

    /// Returns whether the configuration is to be read again, once.
    pub(crate) fn reloads(&self) -> bool {
        self.reloads.swap(false, Ordering::AcqRel)
    }
}
