//! `rtlogd __shim`: the parent of a program, which outlives the daemon. (The term is that of containerd.)
//!
//! # Theory of operation
//! ```text
//!   daemon ──start──▶ shim ──start──▶ child ──exec──▶ the program
//!     │                │ waits for it, and holds the daemon's ends of its pipes or terminal
//!     ╳ ends           │
//!   next daemon ─attach▶│ gives it the ends; tells it the end of the program, then or later
//! ```
//! **Why a process.** Only the parent of a program learns how it ended, and a pipe lives as long as somebody holds it. The
//! shim does both, and nothing else: it never reads the output, so that it needs little memory and does not wake up while
//! the program runs.
//!
//! **Sockets.** The shim is born with a connection to the daemon that starts it. When that daemon is gone, the next one
//! connects to the shim's socket, whose name and secret are in the record of the run. One daemon is attached at a time.
//!
//! **Orphans.** If no daemon comes for `orphan_timeout`, the shim ends the program as the daemon would have done, and then
//! itself. It also does so on `SIGTERM`, which all processes receive when the machine is shut down.
//!
//! **Lost sockets.** If its socket was removed, a shim makes it again on `SIGHUP`, which a daemon that does not find
//! the socket sends.
//!
//! Reading order: `protocol` has the messages, `run` is the loop of the shim, with its `socket`, its `signals` and its
//! `owned_program`; `start` and `attach` are the sides of the daemon, `snapshot` is what it leaves for the next one, and `sweep` ends runs that nobody wants.

pub(super) mod attach;
pub(super) mod protocol;
mod owned_program;
mod run;
mod signals;
mod socket;
pub(super) mod snapshot;
pub(super) mod start;
pub(super) mod sweep;
#[cfg(test)]
mod tests;

pub(crate) use run::become_shim;
pub(crate) use sweep::{end_unclaimed, sweep};

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::protocol::EndPolicy;
use super::child::ExecTask;

/// The directory of the sockets of shims, in the state directory of the daemon.
pub(crate) const SHIM_DIRECTORY: &str = "shim";

/// The name of a shim in the list of processes.
const SHIM_PROCESS_NAME: &str = "rtlogd-shim";

/// The way to a shim, as it is recorded with its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShimAddress {
    /// The name of its socket in the directory of shims.
    pub(super) name: String,
    /// The secret that the daemon must know.
    pub(super) secret: String,
}

impl ShimAddress {
    /// A name and a secret that nobody knows yet, for a run of this stream. The secret has 128 bits from the system's source
    /// of random numbers.
    fn random(stream: &str) -> io::Result<Self> {
        let mut bytes = [0; 24];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let mut hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string grows");
            hex
        });
        let secret = hex.split_off(16);
        Ok(Self { name: format!("{stream}-{hex}"), secret })
    }
}

/// The stream whose run has a socket of this name; `None` for other files.
fn stream_of(name: &str) -> Option<&str> {
    name.rsplit_once('-').map(|(stream, _)| stream)
}

/// Returns whether there is a run of this stream that has a shim.
pub(super) fn has_run(state_directory: &Path, stream: &str) -> bool {
    let entries = fs::read_dir(state_directory.join(SHIM_DIRECTORY)).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_str().and_then(stream_of) == Some(stream))
}

/// The task of a shim.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShimTask {
    /// The directory of its socket.
    directory: PathBuf,
    address: ShimAddress,
    /// The number of the run, and its mark, by which its processes are found.
    run: u64,
    mark: String,
    /// The number of descriptors that the program receives; the others are kept for the daemon.
    passed_on: usize,
    /// The number of outputs, and whether the program has a pipe as its input.
    outputs: usize,
    input: bool,
    /// There is a staging pipe for each output.
    staged: bool,
    /// How the run ends if no daemon claims it; the daemon that is attached may change it.
    policy: EndPolicy,
    exec: ExecTask,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The path of a socket in a directory that is open as `directory`, which is short enough for any directory.
fn socket_path(directory: &impl AsRawFd, name: &str) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}
