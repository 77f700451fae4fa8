//! Ends a process and all it started: a signal to its group, and `KILL` when its time is over.

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// The process that a run began with, and where it has one, its group.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    pid: Pid,
    /// The process leads a group of its own, which holds all it started that did not leave on purpose.
    own: bool,
    /// The process was waited for: the system may give its number to another, but not as long as its group has members.
    gone: bool,
}

impl ProcessGroup {
    pub(super) fn new(pid: Pid, own: bool) -> Self {
        Self { pid, own, gone: false }
    }

    /// The process was waited for.
    pub(super) fn leader_ended(&mut self) {
        self.gone = true;
    }

    /// Whether anybody of the group is left.
    pub(super) fn is_alive(&self) -> bool {
        if self.own { test_kill_process_group(self.pid).is_ok() } else { !self.gone }
    }

    /// Sends `signal`, and says whether there was anybody to send it to.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        if self.own {
            kill_process_group(self.pid, signal).is_ok()
        } else {
            !self.gone && kill_process(self.pid, signal).is_ok()
        }
    }
}

/// The number of the signal that [`name`] calls so.
pub(crate) fn signal_number(signal: &str) -> Option<u8> {
    (1..=64).find(|number| name(i32::from(*number)) == signal)
}

/// The name of a signal without `SIG` (signal(7)), or its number.
pub(super) fn name(number: i32) -> String {
    const SIGNAL_NAMES: [(Signal, &str); 29] = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::ILL, "ILL"),
        (Signal::TRAP, "TRAP"),
        (Signal::ABORT, "ABRT"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::KILL, "KILL"),
        (Signal::USR1, "USR1"),
        (Signal::SEGV, "SEGV"),
        (Signal::USR2, "USR2"),
        (Signal::PIPE, "PIPE"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::CHILD, "CHLD"),
        (Signal::CONT, "CONT"),
        (Signal::STOP, "STOP"),
        (Signal::TSTP, "TSTP"),
        (Signal::TTIN, "TTIN"),
        (Signal::TTOU, "TTOU"),
        (Signal::URG, "URG"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
        (Signal::VTALARM, "VTALRM"),
        (Signal::PROF, "PROF"),
        (Signal::WINCH, "WINCH"),
        (Signal::IO, "IO"),
        (Signal::SYS, "SYS"),
    ];
    let named = SIGNAL_NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    named.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}
