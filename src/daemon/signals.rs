//! The signals of the daemon.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use log::info;
use nix::sys::signal::{SigSet, Signal};
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

/// The signals of `rtlogd serve`, from the first moment to the last.
///
/// One thread receives them, and all others block them. When this program is replaced, that thread blocks them as well, so
/// that a signal which arrives at any moment waits for the new program, and none is lost together with a thread. The new
/// program keeps them blocked until it has handlers.
#[derive(Debug)]
pub(crate) struct EarlySignals {
    terminates: Arc<AtomicBool>,
    /// Becomes readable when SIGHUP arrives. It is the only place where SIGHUP is noted, so that each is handled once.
    hung_up: UnixStream,
    /// The thread that receives signals until the channel is closed.
    receiver: (SyncSender<()>, JoinHandle<()>),
}

/// The signals that wait for the thread which receives them: all except those that report a fault of the very thread.
fn waiting_signals() -> SigSet {
    let mut signals = SigSet::all();
    for fault in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS] {
        signals.remove(fault);
    }
    signals
}

impl EarlySignals {
    /// Notes the signals that end the daemon, and SIGHUP. Must be called before there are threads. If this program `replaces`
    /// another one, signals without a meaning may be waiting, which must not end it.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(crate) fn note(replaces: bool) -> io::Result<Self> {
        let terminates = Arc::<AtomicBool>::default();
        let (hung_up, handler) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, handler)?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGQUIT] {
            signal_hook::flag::register(signal, terminates.clone())?;
        }
        if replaces {
            for number in IGNORED_SIGNALS.into_iter().map(rustix::process::Signal::as_raw).chain(REAL_TIME_SIGNALS) {
                signal_hook::flag::register(number, Arc::default())?;
            }
        }
        waiting_signals().thread_set_mask()?;
        let (stop, stopped) = sync_channel(0);
        let receive = move || {
            // These calls cannot fail with sets of signals that exist, and nothing is ever sent.
            SigSet::all().thread_unblock().unwrap_or_default();
            stopped.recv().unwrap_or_default();
            SigSet::all().thread_block().unwrap_or_default();
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(receive)?;
        Ok(Self { terminates, hung_up, receiver: (stop, thread) })
    }

    /// Lets all further signals wait for the next program of this process. Returns whether the daemon is to end.
    pub(crate) fn hold(self) -> bool {
        let (stop, thread) = self.receiver;
        drop(stop);
        thread.join().unwrap_or_default();
        self.terminates.load(Ordering::Acquire)
    }

    /// Returns whether the daemon is to end.
    pub(crate) fn terminates(&self) -> bool {
        self.terminates.load(Ordering::Acquire)
    }

    /// The SIGHUPs since the first moment. Must be called within the runtime.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub(crate) fn hangups(&self) -> io::Result<Hangups> {
        let pipe = self.hung_up.try_clone()?;
        pipe.set_nonblocking(true)?;
        Ok(Hangups(tokio::net::UnixStream::from_std(pipe)?))
    }
}

/// The SIGHUPs that were not handled yet.
#[derive(Debug)]
pub(crate) struct Hangups(tokio::net::UnixStream);

impl Hangups {
    /// Waits for a SIGHUP; those that came meanwhile count as one. May be dropped at any time.
    pub(crate) async fn next(&mut self) {
        loop {
            // The other end stays open as long as the process lives, so that neither step can fail.
            self.0.readable().await.unwrap_or_default();
            if self.0.try_read(&mut [0; 1024]).is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    fn hang_up() {
        kill_process(getpid(), Signal::HUP).unwrap();
    }

    #[tokio::test]
    async fn each_reload_that_was_asked_for_is_carried_out_once() {
        let early = EarlySignals::note(false).unwrap();
        hang_up();
        // The runtime comes later.
        let mut hangups = early.hangups().unwrap();
        hangups.next().await;
        let is_pending = async |hangups: &mut Hangups| {
            tokio::select! {
                biased;
                () = hangups.next() => true,
                () = tokio::task::yield_now() => false,
            }
        };
        assert!(!is_pending(&mut hangups).await, "it is carried out once");
        hang_up();
        hangups.next().await;
        assert!(!is_pending(&mut hangups).await && !early.terminates());
    }
}
