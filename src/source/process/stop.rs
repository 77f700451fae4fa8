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
