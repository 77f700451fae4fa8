//! The record of a run as a plain struct that can be stored: a daemon that starts after a crash ends the processes of
//! the run, and continues its number.

use std::os::fd::RawFd;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::procfs;

/// The environment variable by which the descendants of a run are found, wherever they went.
pub(super) const RUN_MARK_VARIABLE: &str = "RTLOGD_RUN";

/// A run and its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct RunRecord {
    /// The number of the run, from 1.
    pub(in crate::source) run: u64,
    pub(in crate::source) pid: i32,
    /// The start time of the process, see [`procfs::ProcStat::started`].
    pub(super) started: u64,
    /// The value of [`RUN_MARK_VARIABLE`], unique to this run.
    pub(super) mark: String,
    /// The end of the run was reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::source) ended: bool,
    /// The daemon's ends of the standard streams. Recorded for a daemon that would take over the running process; none
    /// does today, and nothing reads this field.
    #[serde(default)]
    pub(super) descriptors: RunDescriptors,
    /// The unfinished lines of standard output and standard error, in base64. Recorded for the same purpose, and not
    /// read either.
    #[serde(default, rename = "half")]
    pub(super) open_lines: [String; 2],
}

/// Numbers of file descriptors in the process that wrote the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct RunDescriptors {
    pub(super) input: Option<RawFd>,
    /// Standard output and standard error; with a terminal only the first, which is the terminal.
    pub(super) outputs: [Option<RawFd>; 2],
    pub(super) terminal: bool,
}

impl RunRecord {
    /// Parses the record of an earlier daemon; `None` if it is damaged.
    pub(in crate::source) fn read(written: &str) -> Option<Self> {
        serde_json::from_str(written).ok()
    }

    /// The record as one line of text, for [`read`](Self::read).
    pub(in crate::source) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written")
    }

    /// The living processes of this run, without zombies.
    ///
    /// The leader is recognised by its id and start time, the others by the variable that they inherited. A process
    /// that left the group and cleared its environment is not found.
    pub(in crate::source) fn alive(&self) -> Vec<Pid> {
        let leader = Pid::from_raw(self.pid);
        let is_leader = |pid: Pid, stat: &procfs::ProcStat| Some(pid) == leader && stat.started == self.started;
        let variable = format!("{RUN_MARK_VARIABLE}={}", self.mark);
        let ours = |pid: &Pid| {
            let Some(stat) = procfs::stat(*pid) else { return false };
            // Older processes are skipped, since reading their environment costs more.
            !stat.zombie
                && stat.started >= self.started
                && (is_leader(*pid, &stat) || procfs::has_variable(*pid, &variable))
        };
        procfs::others().filter(ours).collect()
    }

    /// Sends `signal` to the processes of this run that left its group. Returns their number.
    pub(super) fn signal_escaped(&self, signal: Signal) -> usize {
        let group = Pid::from_raw(self.pid);
        let escaped = |pid: &Pid| getpgid(Some(*pid)).is_ok_and(|of| Some(of) != group);
        self.alive().into_iter().filter(escaped).filter(|pid| self.send(*pid, signal)).count()
    }

    /// Sends `signal` to all processes of this run. Returns their number.
    pub(in crate::source) fn signal_all(&self, signal: Signal) -> usize {
        self.alive().into_iter().filter(|pid| self.send(*pid, signal)).count()
    }

    /// Sends a signal to that process, and to no other that got its number meanwhile.
    fn send(&self, pid: Pid, signal: Signal) -> bool {
        let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        let variable = format!("{RUN_MARK_VARIABLE}={}", self.mark);
        let leader = procfs::stat(pid)
            .is_some_and(|stat| pid.as_raw_nonzero().get() == self.pid && stat.started == self.started);
        (leader || procfs::has_variable(pid, &variable)) && pidfd_send_signal(held, signal).is_ok()
    }
}

/// An unfinished line in its stored form.
pub(super) fn encode_open_line(line: &[u8]) -> String {
    BASE64.encode(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_again() {
        let descriptors = RunDescriptors { input: Some(9), outputs: [Some(10), None], terminal: true };
        let open_lines = [encode_open_line(b"\xff half"), String::new()];
        let record = RunRecord {
            run: 3,
            pid: 4711,
            started: 99,
            mark: "build-3-0".into(),
            ended: false,
            descriptors,
            open_lines,
        };
        assert_eq!(RunRecord::read(&record.to_text()), Some(record.clone()));
        let ended = RunRecord { ended: true, ..record };
        assert_eq!(RunRecord::read(&ended.to_text()), Some(ended));
        assert_eq!(RunRecord::read("{}"), None);
        assert_eq!(RunRecord::read("nonsense"), None);
    }

    #[test]
    fn a_process_of_the_same_number_and_another_start_is_not_ours() {
        let pid = rustix::process::getppid().unwrap();
        let started = procfs::stat(pid).unwrap().started;
        let record = |started| RunRecord {
            run: 1,
            pid: pid.as_raw_nonzero().get(),
            started,
            mark: "none has it".into(),
            ended: false,
            descriptors: RunDescriptors::default(),
            open_lines: Default::default(),
        };
        assert_eq!(record(started).alive(), [pid]);
        assert_eq!(record(started + 1).alive(), []);
    }
}
