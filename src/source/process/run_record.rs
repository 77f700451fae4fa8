//! What is known of a run, as one plain struct that can be written down: for a daemon that is started after a crash, and
//! for a successor that takes a running child over.

use std::os::fd::RawFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::procfs;

/// The variable by which those that a run started are found again, wherever they went.
pub(super) const RUN_MARK_VARIABLE: &str = "RTLOGD_RUN";

/// A run, its process, and what of it was not given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct RunRecord {
    /// Counts from 1.
    pub(in crate::source) run: u64,
    pub(super) pid: i32,
    /// See [`procfs::ProcStat::started`].
    pub(super) started: u64,
    /// The value of [`RUN_MARK_VARIABLE`]: no other run has it.
    pub(super) mark: String,
    /// Its end was told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::source) ended: bool,
    /// Our ends of what it reads and writes.
    #[serde(default)]
    pub(super) descriptors: RunDescriptors,
    /// The half lines of standard output and standard error, in base64.
    #[serde(default)]
    pub(super) half: [String; 2],
}

/// Numbers of file descriptors in this process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct RunDescriptors {
    pub(super) input: Option<RawFd>,
    /// Standard output and standard error; with a terminal only the first, which is the terminal.
    pub(super) outputs: [Option<RawFd>; 2],
    pub(super) terminal: bool,
}

impl RunRecord {
    /// What an earlier daemon wrote down; `None` if it cannot be read.
    pub(in crate::source) fn read(written: &str) -> Option<Self> {
        serde_json::from_str(written).ok()
    }

    /// One line of text, for [`read`](Self::read).
    pub(in crate::source) fn written(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written")
    }

    /// Those of this run that are there, zombies not counted.
    ///
    /// The process that it began with is told by its id and start, the others by the variable that they inherited. One
    /// that left the group and threw its variables away is not found.
    pub(in crate::source) fn alive(&self) -> Vec<Pid> {
        let leader = Pid::from_raw(self.pid);
        let is_leader = |pid: Pid, stat: &procfs::ProcStat| Some(pid) == leader && stat.started == self.started;
        let variable = format!("{RUN_MARK_VARIABLE}={}", self.mark);
        let ours = |pid: &Pid| {
            let Some(stat) = procfs::stat(*pid) else { return false };
            // What is older is looked at no further: to read its variables costs more.
            !stat.zombie
                && stat.started >= self.started
                && (is_leader(*pid, &stat) || procfs::has_variable(*pid, &variable))
        };
        procfs::others().filter(ours).collect()
    }

    /// Sends `signal` to those of this run that left its group, and says how many there were.
    pub(super) fn signal_escaped(&self, signal: Signal) -> usize {
        let group = Pid::from_raw(self.pid);
        let escaped = |pid: &Pid| getpgid(Some(*pid)).is_ok_and(|of| Some(of) != group);
        self.alive().into_iter().filter(escaped).filter(|pid| self.send(*pid, signal)).count()
    }

    /// Sends `signal` to all of this run, and says how many there were.
    pub(in crate::source) fn signal_all(&self, signal: Signal) -> usize {
        self.alive().into_iter().filter(|pid| self.send(*pid, signal)).count()
    }

    /// Sends it to that process and to no other that got its number meanwhile.
    fn send(&self, pid: Pid, signal: Signal) -> bool {
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        let variable = format!("{RUN_MARK_VARIABLE}={}", self.mark);
        let leader = procfs::stat(pid)
            .is_some_and(|stat| pid.as_raw_nonzero().get() == self.pid && stat.started == self.started);
        (leader || procfs::has_variable(pid, &variable)) && pidfd_send_signal(held, signal).is_ok()
    }
}

/// A half line as it is written down.
pub(super) fn half(line: &[u8]) -> String {
    BASE64.encode(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        let descriptors = RunDescriptors { input: Some(9), outputs: [Some(10), None], terminal: true };
        let half = [half(b"\xff half"), String::new()];
        let known =
            RunRecord { run: 3, pid: 4711, started: 99, mark: "build-3-0".into(), ended: false, descriptors, half };
        assert_eq!(RunRecord::read(&known.written()), Some(known.clone()));
        let ended = RunRecord { ended: true, ..known };
        assert_eq!(RunRecord::read(&ended.written()), Some(ended));
        assert_eq!(RunRecord::read("{}"), None);
        assert_eq!(RunRecord::read("nonsense"), None);
    }

    #[test]
    fn a_process_of_the_same_number_and_another_start_is_not_ours() {
        let pid = rustix::process::getppid().unwrap();
        let started = procfs::stat(pid).unwrap().started;
        let known = |started| RunRecord {
            run: 1,
            pid: pid.as_raw_nonzero().get(),
            started,
            mark: "none has it".into(),
            ended: false,
            descriptors: RunDescriptors::default(),
            half: Default::default(),
        };
        assert_eq!(known(started).alive(), [pid]);
        assert_eq!(known(started + 1).alive(), []);
    }
}
