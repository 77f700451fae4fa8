//! Our children: started here, waited for here, and nowhere else.
//!
//! The daemon also adopts what its children leave behind (`PR_SET_CHILD_SUBREAPER`), so that nothing of it outlives us.

use std::collections::HashSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{info, warn};
use rustix::process::{
    Pid, Signal, WaitIdOptions, WaitOptions, getpid, kill_process, set_child_subreaper, waitid, waitpid,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use wait4::try_wait4_pid;

use super::procfs;

/// Between two looks at what ends by itself.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);

/// How often what was left behind is looked for at the end: each time, what those left behind whom it killed comes up.
const MAX_SWEEP_ROUNDS: usize = 250;

/// What the system may count too much or too little, in bytes, where memory is counted for each processor.
const MEMORY_COUNT_ERROR: u64 = 4 << 20;

/// Those that were started and not waited for yet. A clone is the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Children(Arc<Mutex<HashSet<Pid>>>);

/// How a process ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeaderExit {
    /// `None` if somebody else waited for it.
    pub(super) status: Option<ExitStatus>,
    /// Most memory that one process of it held, in bytes, where the system knew: those it waited for count, too.
    pub(super) memory: Option<u64>,
}

impl Children {
    fn set(&self) -> MutexGuard<'_, HashSet<Pid>> {
        // A set is never left half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Leader> {
        // What it held before the exec counts for it (getrusage(2)), and that is what we hold.
        let floor = procfs::peak_memory(getpid()).map_or(u64::MAX, |held| held + MEMORY_COUNT_ERROR);
        // Locked, so that nobody takes it for one that was left behind.
        let mut set = self.set();
        let pid = pid_of(&command.spawn()?)?;
        set.insert(pid);
        Ok(Leader { pid, children: self.clone(), memory_floor: floor })
    }

    /// Adopts what our children leave behind, and waits for it when it ends, for ever.
    pub(crate) async fn adopt(self) {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            warn!(errno = error.raw_os_error(), error:% = error; "cannot become a subreaper: processes that leave their process group will not be stopped");
        }
        let Ok(mut ended) = signal(SignalKind::child()) else { return };
        loop {
            while self.reap() {
                // One that somebody is about to wait for hides those behind it.
                sleep(SWEEP_INTERVAL).await;
            }
            ended.recv().await;
        }
    }

    /// Waits for those that ended and are no leader of a run. Whether a leader is among those that ended.
    fn reap(&self) -> bool {
        let set = self.set();
        loop {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let Ok(Some(_)) = waitid(rustix::process::WaitId::All, look) else { return false };
            let ours = |pid: &Pid| {
                procfs::stat(*pid).is_some_and(|stat| stat.zombie && stat.parent == getpid().as_raw_nonzero().get())
            };
            let mut reaped = 0;
            for pid in procfs::others().filter(ours).filter(|pid| !set.contains(pid)) {
                reaped += usize::from(waitpid(Some(pid), WaitOptions::NOHANG).is_ok());
            }
            if reaped == 0 {
                return true;
            }
        }
    }

    /// Kills what our children left behind, and what that left behind, until nothing is left. For the end.
    pub(crate) async fn sweep(&self) {
        for _ in 0..MAX_SWEEP_ROUNDS {
            let left: Vec<Pid> = {
                let set = self.set();
                let us = getpid().as_raw_nonzero().get();
                let ours = |pid: &Pid| procfs::stat(*pid).is_some_and(|stat| stat.parent == us && !stat.zombie);
                let left = procfs::others().filter(|pid| !set.contains(pid)).filter(ours);
                // Nobody else gets the number of one: only we wait for it, and not while this is locked.
                left.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).collect()
            };
            self.reap();
            if left.is_empty() {
                return;
            }
            info!(processes:? = left; "killed processes that had left their process group");
            sleep(SWEEP_INTERVAL).await;
        }
        warn!("processes that left their process group are still running");
    }
}

/// The process that a run began with. Drop it only when it was killed, or is to live on.
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

    /// Waits for its end. May be dropped at any time, and then called again; not again once it was told.
    pub(super) async fn ended(&self) -> LeaderExit {
        // Asked for before the look, so that no end comes between.
        let mut ended = signal(SignalKind::child());
        loop {
            if let Some(exit) = self.look() {
                return exit;
            }
            match &mut ended {
                Ok(ended) => drop(ended.recv().await),
                Err(_) => sleep(SWEEP_INTERVAL).await,
            }
        }
    }

    /// Waits for one that was killed just now. Blocks.
    pub(super) fn wait_killed(self) {
        // If there is nothing to wait for, it is over.
        waitpid(Some(self.pid), WaitOptions::empty()).map(drop).unwrap_or_default();
    }

    fn look(&self) -> Option<LeaderExit> {
        let mut set = self.children.set();
        match try_wait4_pid(self.pid.as_raw_nonzero().get().cast_unsigned()) {
            Ok(None) => None,
            Ok(Some(end)) => {
                set.remove(&self.pid);
                let memory = Some(end.rusage.maxrss).filter(|memory| *memory > self.memory_floor);
                Some(LeaderExit { status: Some(end.status), memory })
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
    /// Whoever is left is left to be reaped.
    fn drop(&mut self) {
        self.children.set().remove(&self.pid);
    }
}

/// The process id of a child.
///
/// # Errors
/// If the id is 0, which the kernel gives to no child.
fn pid_of(child: &Child) -> io::Result<Pid> {
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("the child has no process id"))
}
