//! The record of a run as a plain struct that can be stored: the next daemon takes over the run, or ends its processes,
//! and continues its number.

use std::collections::HashSet;

use rustix::process::{Pid, PidfdFlags, Signal, getpgid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::procfs;
use super::shim::ShimAddress;
use crate::config::ProcessSourceConfig;
use crate::event::{EndCause, RunEnd};

/// The key of the run record among the checkpoints of a stream.
pub(in crate::source) const RUN_RECORD_KEY: &str = "run";

/// The environment variable by which the descendants of a run are found, wherever they went.
pub(super) const RUN_MARK_VARIABLE: &str = "RTLOGD_RUN";

/// A run and its process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The run was asked to end, and this is to follow its end; `None` unless it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopping: Option<AfterStop>,
    /// The way to the shim of the program, through which a next daemon takes over the run; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shim: Option<ShimAddress>,
    /// A hash of what the program was started with: another daemon takes over only what it would start itself.
    #[serde(default)]
    pub(super) spec: u64,
    /// The generation of the output up to which events are recorded; see
    /// [`RunSnapshot`](super::shim::snapshot::RunSnapshot).
    #[serde(default)]
    pub(super) generation: u64,
    /// The process is not to be started again by itself after this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resting: Option<Resting>,
}

/// The state of a process that is not started again until somebody asks for it. The daemon that takes the place of this one,
/// by a restart, an upgrade or after a kill, leaves it so; one that is started after a stop, or after a start of the
/// machine, starts the process as its configuration says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Resting {
    /// The boot of the machine, as the kernel names it.
    boot: String,
    /// Why the process does not run, in words.
    pub(super) reason: String,
    pub(super) last: Option<RunEnd>,
}

/// The state of a process that an operator stopped.
pub(super) const STOPPED_ON_REQUEST: &str = "stopped on request";

/// The step that follows a run that was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AfterStop {
    /// An operator stopped the process, which is not started again.
    Stopped,
    /// An operator asked for another run.
    Started,
    /// The daemon stopped, or the configuration changed. The next daemon begins as it is configured.
    DaemonStopped,
}

impl AfterStop {
    /// The cause of the end of the run.
    pub(super) fn cause(self) -> EndCause {
        match self {
            Self::Stopped | Self::Started => EndCause::Stopped,
            Self::DaemonStopped => EndCause::DaemonStopped,
        }
    }
}

impl RunRecord {
    /// The record of a program that was just started as run `number`.
    pub(super) fn of_program(number: u64, pid: Pid, mark: &str) -> Self {
        Self {
            run: number,
            pid: pid.as_raw_nonzero().get(),
            started: procfs::stat(pid).map_or(0, |stat| stat.started),
            mark: mark.to_owned(),
            ended: false,
            stopping: None,
            shim: None,
            spec: 0,
            generation: 0,
            resting: None,
        }
    }

    /// Records that the process is not started again by itself after this run, for this reason.
    pub(super) fn set_resting(&mut self, reason: &str, last: Option<RunEnd>) {
        self.resting = Some(Resting { boot: boot_id(), reason: reason.to_owned(), last });
    }

    /// Records that the next daemon starts the process as configured. Returns whether this is a change.
    pub(super) fn clear_resting(&mut self) -> bool {
        self.resting.take().is_some()
    }

    /// The state in which the next daemon leaves a process with this configuration; `None` if it starts the process as
    /// configured.
    pub(super) fn resting_as(&self, source: &ProcessSourceConfig) -> Option<&Resting> {
        self.resting.as_ref().filter(|resting| self.ended && self.spec == hash_of(source) && resting.boot == boot_id())
    }

    /// Parses the record of an earlier daemon; `None` if it is damaged.
    pub(in crate::source) fn read(written: &str) -> Option<Self> {
        serde_json::from_str(written).ok()
    }

    /// The record as one line of text, for [`read`](Self::read).
    pub(in crate::source) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written")
    }

    /// The living processes of this run, without zombies, and each after its parent.
    ///
    /// A parent comes first since a shell that loses a command to a signal reports that in its output, as if the program
    /// had printed it. The order of process ids is not enough: the system starts again at low numbers.
    ///
    /// The leader is recognised by its id and start time, the others by the variable that they inherited. A process
    /// that left the group and cleared its environment is not found.
    pub(in crate::source) fn alive(&self) -> Vec<Pid> {
        let leader = Pid::from_raw(self.pid);
        let is_leader = |pid: Pid, stat: &procfs::ProcStat| Some(pid) == leader && stat.started == self.started;
        let variable = format!("{RUN_MARK_VARIABLE}={}", self.mark);
        let ours = |pid: Pid| {
            let stat = procfs::stat(pid)?;
            // Older processes are skipped, since reading their environment costs more.
            let is_ours = !stat.zombie
                && stat.started >= self.started
                && (is_leader(pid, &stat) || procfs::has_variable(pid, &variable));
            is_ours.then_some((pid, stat.parent))
        };
        parents_first(procfs::others().filter_map(ours).collect())
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

/// The identity of this boot of the machine; empty if the kernel does not tell it.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A hash of what a program is started with: if it is another one after a restart of rtlogd, the program is restarted, too.
/// How it is stopped and restarted may change while it runs.
pub(super) fn hash_of(source: &ProcessSourceConfig) -> u64 {
    let ProcessSourceConfig {
        argv,
        directory,
        environment,
        environment_files,
        user,
        group,
        umask,
        pty,
        input,
        // Applied to a program that runs already.
        start: _,
        restart: _,
        stop: _,
        orphan_timeout: _,
    } = source;
    let text =
        format!("{:?}", (argv, directory, environment, environment_files, user, group, umask, pty.is_some(), input));
    // FNV-1a, by its published parameters: the hasher of the standard library may change.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Orders processes, which are given with their parents, so that each comes after its parent.
fn parents_first(mut processes: Vec<(Pid, i32)>) -> Vec<Pid> {
    let mut ordered = Vec::with_capacity(processes.len());
    while !processes.is_empty() {
        let ids: HashSet<i32> = processes.iter().map(|(pid, _)| pid.as_raw_nonzero().get()).collect();
        let (children, roots): (Vec<_>, Vec<_>) = processes.iter().partition(|(_, parent)| ids.contains(parent));
        if roots.is_empty() {
            // The processes changed while they were listed, so that the parents form a circle.
            ordered.extend(children.into_iter().map(|(pid, _)| pid));
            break;
        }
        ordered.extend(roots.into_iter().map(|(pid, _)| pid));
        processes = children;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_signalled_after_its_parent_whatever_their_ids_are() {
        let table = [
            (&[][..], &[][..]),
            (&[(20, 1), (21, 20), (22, 21)], &[20, 21, 22]),
            // The ids started again at low numbers.
            (&[(5, 32767), (6, 5), (32766, 1), (32767, 32766)], &[32766, 32767, 5, 6]),
            (&[(3, 9), (4, 8), (8, 1), (9, 1)], &[8, 9, 3, 4]),
            // An id was given to another process between two reads.
            (&[(3, 4), (4, 3), (5, 1)], &[5, 3, 4]),
        ];
        let pid = |number: i32| Pid::from_raw(number).unwrap();
        for (processes, expected) in table {
            let ordered = parents_first(processes.iter().map(|(id, parent)| (pid(*id), *parent)).collect());
            assert_eq!(ordered, expected.iter().map(|id| pid(*id)).collect::<Vec<_>>(), "{processes:?}");
        }
    }

    #[test]
    fn a_record_is_read_by_this_and_by_later_versions() {
        let pid = Pid::from_raw(4711).unwrap();
        let shim = Some(ShimAddress { name: "0123".into(), secret: "4567".into() });
        let record = RunRecord { started: 99, shim, spec: 7, ..RunRecord::of_program(3, pid, "build-3-0") };
        assert_eq!(RunRecord::read(&record.to_text()), Some(record.clone()));
        for after in [AfterStop::Stopped, AfterStop::Started, AfterStop::DaemonStopped] {
            let stopping = RunRecord { stopping: Some(after), ..record.clone() };
            assert_eq!(RunRecord::read(&stopping.to_text()), Some(stopping));
        }
        let ended = RunRecord { ended: true, ..record };
        assert_eq!(RunRecord::read(&ended.to_text()), Some(ended));
        assert_eq!(RunRecord::read("{}"), None);
        assert_eq!(RunRecord::read("nonsense"), None);
        // Version 0.1 wrote descriptors and unfinished lines, too.
        let old = r#"{"run":3,"pid":4711,"started":99,"mark":"build-3-0",
            "descriptors":{"input":null,"outputs":[1,2],"terminal":false},"half":["",""]}"#;
        let expected = RunRecord { started: 99, ..RunRecord::of_program(3, pid, "build-3-0") };
        assert_eq!(RunRecord::read(old), Some(expected));
    }

    #[test]
    fn a_process_of_the_same_number_and_another_start_is_not_ours() {
        let pid = rustix::process::getppid().unwrap();
        let started = procfs::stat(pid).unwrap().started;
        let record = |started| RunRecord { started, ..RunRecord::of_program(1, pid, "none has it") };
        assert_eq!(record(started).alive(), [pid]);
        assert_eq!(record(started + 1).alive(), []);
    }
}
