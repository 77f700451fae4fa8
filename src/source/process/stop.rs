//! Ends a process and its descendants: a signal to the group, and `KILL` after the grace period.

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use super::procfs;

/// The first process of a run, and its group if it has one.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    pid: Pid,
    /// The process leads its own group, which contains all descendants that did not leave it on purpose.
    leads_group: bool,
    /// The process was waited for. The system may reuse its number, but not while the group has members.
    leader_reaped: bool,
}

impl ProcessGroup {
    pub(super) fn new(pid: Pid, leads_group: bool) -> Self {
        Self { pid, leads_group, leader_reaped: false }
    }

    /// Records that the leader was waited for.
    pub(super) fn leader_ended(&mut self) {
        self.leader_reaped = true;
    }

    /// Returns whether a process of the group is left.
    pub(super) fn is_alive(&self) -> bool {
        if self.leads_group { test_kill_process_group(self.pid).is_ok() } else { !self.leader_reaped }
    }

    /// The processes of the group that have not ended.
    pub(super) fn members(&self) -> Vec<Pid> {
        let group = self.pid.as_raw_nonzero().get();
        let is_member = |pid: &Pid| procfs::stat(*pid).is_some_and(|stat| stat.group == group && !stat.zombie);
        if self.leads_group { procfs::others().filter(is_member).collect() } else { Vec::new() }
    }

    /// Sends `signal` to the leader alone.
    pub(super) fn signal_leader(&self, signal: Signal) {
        if !self.leader_reaped {
            // It may have ended without having been waited for.
            kill_process(self.pid, signal).unwrap_or_default();
        }
    }

    /// Sends `signal`. Returns whether there was a process to receive it.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        if self.leads_group {
            kill_process_group(self.pid, signal).is_ok()
        } else {
            !self.leader_reaped && kill_process(self.pid, signal).is_ok()
        }
    }
}
