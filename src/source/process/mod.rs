//! A child process: each line of its two pipes or its terminal is an event, and so is its end.
//!
//! # Theory of operation
//! ```text
//!   Supervisor ──start──▶ ProcessRun ──spawn──▶ child (this program) ──exec──▶ the program
//!    │ Idle: Start,        │ RunPhase:                                          │ stdout, stderr or a terminal
//!    │ BackingOff,         │   Running ──exit──▶ Draining ──quiet──▶ Ended      ▼
//!    │ OnReader, Manual    │        ◀── lines, then one end event ───────────  Pipes
//!    └◀── RunEnd ──────────┘   Leader: waits for the process │ ProcessGroup, RunRecord: who gets signals
//! ```
//! **Two levels.** A [`ProcessRun`] is one run: it knows nothing of restarts. The [`supervisor`] decides when there is
//! a next run, and carries out commands. At most one run of a stream exists at a time.
//!
//! **Start.** This program starts itself as a *child*, receives the descriptors over a socket, changes user, directory
//! and limits, and executes the program; a failing step is reported over the same socket with its name.
//!
//! **Pace.** Output that comes in small pieces is read at intervals ([`ReadPace`](crate::source::read_pace::ReadPace)), and
//! the runtime does not watch the pipes meanwhile. What follows an input, what is shown raw, and the rest of a run that ends
//! is read at once.
//!
//! **End.** The exit of the leader ends the phase `Running`. Its descendants may still hold the pipes, so that these
//! are drained until nothing came for [`DRAIN_QUIET_TIME`], for at most [`MAX_DRAIN_WAIT`]. Then the remaining
//! processes of the run are asked to end, unless they were asked together with the leader, and have the grace period for
//! it. What is left after that is killed, and the end event names it. What they printed meanwhile is read once they are gone.
//! The end event is the last event of a run.
//!
//! **Killed processes.** Signals go to the process group and to processes that left it on purpose. The latter are found
//! by the *mark* of the run, which they inherit in their environment. The parent of the program, which is the daemon or
//! a shim, is the subreaper of its descendants, so that none is lost to init.
//!
//! **The next daemon.** The [`RunRecord`] travels in the stream's batches. If the program has a *shim*, which outlives the
//! daemon, the next daemon takes over the run (see `shim`): after `kill -9` of the daemon, the program continues, waits when
//! its pipe is full, and loses no output. A program without a shim receives its stop signal from the kernel when the daemon
//! dies (`PR_SET_PDEATHSIG`). In that case, or if the shim is gone, the next daemon ends what outlived its predecessor, and
//! emits the missing end event. A process id alone is not enough, since it is reused: the start time and the mark must
//! match.
//!
//! **Rejected alternatives.** `pre_exec`: it needs unsafe code between `fork` and `exec`. Starting the child on a
//! thread for blocking work: with `PR_SET_PDEATHSIG` the child dies when that idle thread ends. Reading until the pipes
//! are closed: a daemon that was started in the background keeps them open forever.
//!
//! Reading order: `supervisor`, `idle`, `predecessor`, `run`, `draining`, `spawn`, `environment_file`, `temporary`, `child`, `descriptors`, `leader`,
//! `shim`, `program`, `pipes`, `tee`, `polled_fd`, `staging`, `turn`, `pty`, `input`, `stop`, `run_record`, `procfs`,
//! `peak_memory`; `kill_point` is for tests, and `helper` runs tools for other sources.
//!
//! [`ProcessRun`]: run::ProcessRun
//! [`DRAIN_QUIET_TIME`]: draining::DRAIN_QUIET_TIME
//! [`MAX_DRAIN_WAIT`]: draining::MAX_DRAIN_WAIT

mod idle;
mod predecessor;
mod run;
mod draining;
mod child;
mod shim;
mod spawn;
mod program;
mod temporary;
pub(crate) mod environment_file;
mod leader;
mod pipes;
mod tee;
mod polled_fd;
mod staging;
mod turn;
mod pty;
mod input;
mod stop;
mod run_record;
mod procfs;
mod peak_memory;
mod kill_point;
mod helper;
pub(crate) mod descriptors;
pub(crate) mod supervisor;

pub(crate) use child::become_child;
pub(super) use helper::Helper;
pub(crate) use helper::output_of;
pub(crate) use kill_point::{KillPoint, kill_point};
pub(crate) use leader::Children;

pub(super) use run_record::{RUN_RECORD_KEY, RunRecord};
pub(crate) use shim::protocol::{VERSION as SHIM_VERSION, receive as receive_message, send as send_message};
pub(crate) use shim::{SHIM_DIRECTORY, become_shim, end_unclaimed, sweep};
pub(crate) use tee::Tee;
pub(crate) use temporary::TemporaryDirectories;

#[cfg(test)]
mod tests;
