//! The program of a shim, as its parent sees it, with everything that it starts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, getpid};
use tokio::time::Instant;

use super::ShimTask;
use crate::source::process::child::{ExecFailure, ExecTask};
use crate::source::process::leader::{Children, Leader, LeaderExit, MAX_SWEEP_ROUNDS, SWEEP_INTERVAL};
use crate::source::process::run_record::RunRecord;
use crate::source::process::spawn::{own_program, send_task};
use crate::source::process::stop::ProcessGroup;

/// A program that was started.
#[derive(Debug)]
pub(super) struct OwnedProgram {
    children: Children,
    leader: Leader,
    record: RunRecord,
    group: ProcessGroup,
    started: Instant,
}

/// The processes of a run that are asked to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum AskTarget {
    Leader,
    All,
}

impl OwnedProgram {
    /// Starts the program with these descriptors, which the shim must not keep.
    ///
    /// # Errors
    /// If the child process cannot be started. The inner one is a step that the child could not take.
    pub(super) fn start(task: &ShimTask, passed_on: &[OwnedFd]) -> io::Result<Result<Self, ExecFailure>> {
        let (ours, childs) = UnixStream::pair()?;
        let children = Children::default();
        let leader = children.start(&mut own_program(childs, "__child"))?;
        let passed_on_borrowed: Vec<BorrowedFd<'_>> = passed_on.iter().map(AsFd::as_fd).collect();
        let exec = ExecTask { parent: getpid().as_raw_nonzero().get(), ..task.exec.clone() };
        if let Some(failure) = send_task(ours, &exec, &passed_on_borrowed)? {
            leader.wait_killed();
            return Ok(Err(failure));
        }
        let pid = leader.pid();
        let (record, group) = (RunRecord::of_program(task.run, pid, &task.mark), ProcessGroup::new(pid, true));
        Ok(Ok(Self { children, leader, record, group, started: Instant::now() }))
    }

    pub(super) fn pid(&self) -> Pid {
        self.leader.pid()
    }

    /// The time of its start.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Reaps the first process. Returns how it ended, once.
    pub(super) fn try_wait(&mut self) -> Option<LeaderExit> {
        let exit = self.leader.try_wait()?;
        self.group.leader_ended();
        Some(exit)
    }

    /// Reaps other processes that have ended.
    pub(super) fn reap_others(&self) {
        self.children.reap();
    }

    /// Returns whether a process of the group, or one that left it, is alive.
    pub(super) fn is_alive(&self) -> bool {
        self.group.is_alive() || !self.record.alive().is_empty()
    }

    /// Asks processes to end. A suspended process handles no signal but `CONT`.
    pub(super) fn ask(&self, target: AskTarget, signal: Signal) {
        for signal in [signal, Signal::CONT] {
            match target {
                AskTarget::Leader => self.group.signal_leader(signal),
                AskTarget::All => self.signal(signal),
            }
        }
    }

    /// Sends a signal to all processes.
    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
        self.record.signal_escaped(signal);
    }

    /// Kills what the run left behind without its mark and outside its group, which only the parent can find. Then, nothing
    /// is left of the run.
    pub(super) fn kill_rest(&self) {
        for _ in 0..MAX_SWEEP_ROUNDS {
            if self.children.kill_orphans().is_empty() {
                break;
            }
            std::thread::park_timeout(SWEEP_INTERVAL);
        }
    }
}
