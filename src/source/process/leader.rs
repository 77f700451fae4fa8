//! Child processes are started and waited for here, and nowhere else.
//!
//! The daemon adopts orphaned descendants (`PR_SET_CHILD_SUBREAPER`), so that none of them outlives it. Exceptions are
//! its shims, which adopt the descendants of their programs.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use log::{info, warn};
use rustix::process::{
    Pid, Signal, WaitIdOptions, WaitOptions, getpid, kill_process, set_child_subreaper, waitid, waitpid,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use wait4::try_wait4_pid;

use crate::event::{EndCause, lock};

use super::procfs;

/// The interval between two checks for adopted processes that ended.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// The maximum number of rounds in which orphans are killed at the end. Each round exposes the children of those it
/// killed.
pub(super) const MAX_SWEEP_ROUNDS: usize = 250;

/// The error of the system's memory count in bytes, since it is kept for each processor.
const MEMORY_COUNT_ERROR: u64 = 4 << 20;

/// The processes that were started and not waited for yet. Clones share the sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children {
    /// The first processes of runs, which are waited for by name.
    leaders: Arc<Mutex<HashSet<Pid>>>,
    /// The shims, which outlive the daemon and are reaped like orphans.
    shims: Arc<Mutex<HashSet<Pid>>>,
}

/// The exit of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeaderExit {
    /// The exit status; `None` if another part of the program waited for the process.
    pub(super) status: Option<ExitStatus>,
    /// The peak memory of a single process, in bytes, where the system knows it. Descendants that it waited for are
    /// included.
    pub(super) memory: Option<u64>,
    /// The duration of the run, if it was measured by the parent of the process.
    pub(super) duration: Option<Duration>,
    /// The process was ended since no daemon came.
    pub(super) orphaned: bool,
    /// The parent of the process was killed, so that it is not known how it ended.
    pub(super) lost: bool,
}

impl LeaderExit {
    /// The cause of the end, unless the daemon asked for it.
    pub(super) fn cause(&self) -> EndCause {
        match self.status.and_then(|status| status.signal()) {
            _ if self.lost => EndCause::Lost,
            _ if self.orphaned => EndCause::DaemonStopped,
            Some(_) => EndCause::Signalled,
            None => EndCause::Exited,
        }
    }

    /// The exit of a process whose parent was killed.
    pub(super) fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }
}

impl Children {
    fn set(&self) -> MutexGuard<'_, HashSet<Pid>> {
        lock(&self.leaders)
    }

    /// Starts a command.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Leader> {
        // The memory of the process before the exec counts as its own (getrusage(2)), and is as large as that of the
        // daemon.
        let floor = procfs::peak_memory(getpid()).map_or(u64::MAX, |held| held + MEMORY_COUNT_ERROR);
        // The lock is held meanwhile, so that the new process is not taken for an orphan.
        let mut set = self.set();
        let pid = pid_of(&command.spawn()?)?;
        set.insert(pid);
        Ok(Leader { pid, children: self.clone(), memory_floor: floor })
    }

    /// Starts a shim, which is not killed when the daemon ends. Returns its process id.
    pub(super) fn start_shim(&self, command: &mut Command) -> io::Result<Pid> {
        // The locks are held meanwhile, so that the new process is not taken for an orphan.
        let (_leaders, mut shims) = (self.set(), lock(&self.shims));
        let pid = pid_of(&command.spawn()?)?;
        shims.insert(pid);
        Ok(pid)
    }

    /// Spares a shim that an earlier daemon started, if it has become a child of this one.
    pub(super) fn spare(&self, shim: Pid) {
        lock(&self.shims).insert(shim);
    }

    /// Adopts orphaned descendants, and reaps them when they end. Never returns.
    pub(crate) async fn adopt(self) {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            warn!(errno = error.raw_os_error(), error:% = error; "cannot become a subreaper; processes that leave their process group will not be stopped");
        }
        let Ok(mut ended) = signal(SignalKind::child()) else { return };
        loop {
            while self.reap() {
                // A leader that is about to be waited for hides the processes behind it.
                sleep(SWEEP_INTERVAL).await;
            }
            ended.recv().await;
        }
    }

    /// Reaps ended processes that are not the leader of a run. Returns whether a leader is among the processes that
    /// ended.
    pub(super) fn reap(&self) -> bool {
        let set = self.set();
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let Ok(Some(_)) = waitid(rustix::process::WaitId::All, options) else { return false };
            let ours = |pid: &Pid| {
                procfs::stat(*pid).is_some_and(|stat| stat.zombie && stat.parent == getpid().as_raw_nonzero().get())
            };
            let mut reaped = 0;
            for pid in procfs::others().filter(ours).filter(|pid| !set.contains(pid)) {
                reaped += usize::from(waitpid(Some(pid), WaitOptions::NOHANG).is_ok());
                lock(&self.shims).remove(&pid);
            }
            if reaped == 0 {
                return true;
            }
        }
    }

    /// Kills the orphaned descendants, and reaps those that have ended. Returns the processes that it killed, whose own
    /// children are orphans then.
    pub(super) fn kill_orphans(&self) -> Vec<Pid> {
        let killed = {
            let set = self.set();
            let us = getpid().as_raw_nonzero().get();
            let ours = |pid: &Pid| procfs::stat(*pid).is_some_and(|stat| stat.parent == us && !stat.zombie);
            let shims = lock(&self.shims);
            let left = procfs::others().filter(|pid| !set.contains(pid) && !shims.contains(pid)).filter(ours);
            // The process ids cannot be reused: only this program waits for them, and not while the lock is held.
            left.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).collect()
        };
        self.reap();
        killed
    }

    /// Kills orphaned descendants, and those that their death exposes, until none is left. Called when the daemon ends.
    pub(crate) async fn sweep(&self) {
        for _ in 0..MAX_SWEEP_ROUNDS {
            let left = self.kill_orphans();
            if left.is_empty() {
                return;
            }
            info!(processes:? = left; "killed processes that had left their process group");
            sleep(SWEEP_INTERVAL).await;
        }
        warn!("processes that left their process group are still running");
    }
}

/// The first process of a run. Drop it only after it was killed, or if it is to live on.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    children: Children,
    memory_floor: u64,
}

impl Leader {
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end of the process. May be dropped at any time and called again, but not after it returned.
    pub(super) async fn ended(&self) -> LeaderExit {
        // The signal is subscribed before the check, so that an end in between is not missed.
        let mut ended = signal(SignalKind::child());
        loop {
            if let Some(exit) = self.try_wait() {
                return exit;
            }
            match &mut ended {
                Ok(ended) => drop(ended.recv().await),
                Err(_) => sleep(SWEEP_INTERVAL).await,
            }
        }
    }

    /// Waits for a process that was just killed. Blocks.
    pub(super) fn wait_killed(self) {
        // An error means that the process was waited for already.
        waitpid(Some(self.pid), WaitOptions::empty()).map(drop).unwrap_or_default();
    }

    /// The exit of the process, if it has ended.
    pub(super) fn try_wait(&self) -> Option<LeaderExit> {
        let mut set = self.children.set();
        match try_wait4_pid(self.pid.as_raw_nonzero().get().cast_unsigned()) {
            Ok(None) => None,
            Ok(Some(end)) => {
                set.remove(&self.pid);
                let memory = Some(end.rusage.maxrss).filter(|memory| *memory > self.memory_floor);
                Some(LeaderExit { status: Some(end.status), memory, ..LeaderExit::default() })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(_) => {
                set.remove(&self.pid);
                Some(LeaderExit::default())
            }
        }
    }
}

impl Drop for Leader {
    /// Leaves a remaining process to [`Children::adopt`].
    fn drop(&mut self) {
        self.children.set().remove(&self.pid);
    }
}

/// A duration in seconds. More digits than those of microseconds would only be rounding errors.
pub(super) fn whole_microseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// The process id of a child.
///
/// # Errors
/// If the id is 0, which the kernel gives to no child.
fn pid_of(child: &Child) -> io::Result<Pid> {
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("the child has no process id"))
}
