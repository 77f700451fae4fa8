//! The program of a run, as the run waits for it: a child of the daemon, or a child of a shim.

use std::time::Duration;

use rustix::process::Pid;

use super::leader::{Leader, LeaderExit};
use super::shim::attach::ShimConnection;

/// The first process of a run.
#[derive(Debug)]
pub(super) enum Program {
    /// A child of the daemon, which ends with it.
    Child(Leader),
    /// A child of a shim, which outlives the daemon.
    OfShim(ShimConnection),
}

impl Program {
    pub(super) fn pid(&self) -> Pid {
        match self {
            Self::Child(leader) => leader.pid(),
            Self::OfShim(connection) => connection.pid(),
        }
    }

    /// Waits for the end of the process. May be dropped at any time and called again, but not after it returned.
    pub(super) async fn ended(&self) -> LeaderExit {
        match self {
            Self::Child(leader) => leader.ended().await,
            Self::OfShim(connection) => connection.ended().await,
        }
    }

    /// Closes all copies of the input, which has ended.
    pub(super) fn end_input(&self) {
        if let Self::OfShim(connection) = self {
            connection.end_input();
        }
    }

    /// Lets a shim complete a stop that this daemon has begun.
    pub(super) fn note_asked(&self, grace: Duration) {
        if let Self::OfShim(connection) = self {
            connection.note_asked(grace);
        }
    }

    /// Lets a shim end, since the end of the run is recorded.
    pub(super) fn release(&self) {
        if let Self::OfShim(connection) = self {
            connection.release();
        }
    }
}
