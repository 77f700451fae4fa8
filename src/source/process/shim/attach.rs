//! The connection of the daemon to a shim, and how a daemon connects to the shim of an earlier one.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::protocol::{
    self, ASKED_SINCE, DaemonMessage, EndPolicy, MAX_MESSAGE_SIZE, RunningProgram, ShimMessage, VERSION,
};
use super::snapshot::RunSnapshot;
use super::{SHIM_PROCESS_NAME, ShimAddress, milliseconds, socket_path};
use crate::source::process::leader::LeaderExit;
use crate::source::process::procfs;
use crate::source::process::staging::{OutputStaging, StagingPipe};

/// The longest time to wait for the answer of a shim, which does nothing else.
const MAX_ANSWER_TIME: Duration = Duration::from_secs(5);

/// The interval at which a socket is looked for that a shim was asked to make again.
const SOCKET_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The connection of the daemon that is attached to a shim.
#[derive(Debug)]
pub(in crate::source::process) struct ShimConnection {
    /// tokio waits for a socket of packets as it does for a pipe, which is the way to do so without `unsafe`.
    socket: pipe::Receiver,
    pid: Pid,
    /// The version of the shim.
    version: u32,
}

/// A run that was taken over: the shim with the descriptors that it kept.
#[derive(Debug)]
pub(in crate::source::process) struct TakenOver {
    pub(in crate::source::process) connection: ShimConnection,
    pub(in crate::source::process) running: RunningProgram,
    /// The process id of the shim.
    pub(in crate::source::process) shim: Option<Pid>,
    /// The pipes of the program, or its terminal.
    pub(in crate::source::process) ends: [Option<pipe::Receiver>; 2],
    pub(in crate::source::process) input: Option<pipe::Sender>,
    pub(in crate::source::process) staging: OutputStaging,
}

impl ShimConnection {
    /// A connection to the shim of a program that runs.
    ///
    /// # Errors
    /// If the program has no valid id, or the runtime cannot wait for the connection.
    pub(in crate::source::process) fn new(socket: OwnedFd, running: &RunningProgram) -> io::Result<Self> {
        let pid = Pid::from_raw(running.pid).ok_or_else(|| io::Error::other("the program has no process id"))?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket: pipe::Receiver::from_owned_fd_unchecked(socket)?, pid, version: running.version })
    }

    pub(in crate::source::process) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end of the program. May be dropped at any time and called again, but not after it returned.
    pub(in crate::source::process) async fn ended(&self) -> LeaderExit {
        loop {
            self.socket.readable().await.unwrap_or_default();
            let mut text = vec![0; MAX_MESSAGE_SIZE];
            match self.socket.try_read(&mut text) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // The shim was killed, and the program received its stop signal.
                Ok(0) | Err(_) => return LeaderExit::lost(),
                Ok(size) => {
                    if let Ok(ShimMessage::Ended(end)) = serde_json::from_slice(&text[..size]) {
                        return LeaderExit {
                            status: end.status.map(ExitStatus::from_raw),
                            memory: end.memory,
                            duration: Some(Duration::from_millis(end.duration)),
                            orphaned: end.orphaned,
                            lost: false,
                        };
                    }
                }
            }
        }
    }

    /// Closes the shim's copy of the input of the program, whose input has ended.
    pub(in crate::source::process) fn end_input(&self) {
        // Without the shim, there is no copy.
        protocol::send(&self.socket, &DaemonMessage::InputEnded {}, &[]).unwrap_or_default();
    }

    /// Lets the shim complete what this daemon has begun, if it does not live to do so: the run was asked to end, and has this
    /// time for it.
    pub(in crate::source::process) fn note_asked(&self, grace: Duration) {
        if self.version >= ASKED_SINCE {
            // Without the shim, the program has received its stop signal in another way.
            protocol::send(&self.socket, &DaemonMessage::Asked { grace: milliseconds(grace) }, &[]).unwrap_or_default();
        }
    }

    /// Lets the shim end, since the end of the run is recorded.
    pub(in crate::source::process) fn release(&self) {
        // A shim that has ended needs no farewell.
        protocol::send(&self.socket, &DaemonMessage::Bye {}, &[]).unwrap_or_default();
    }
}

/// Connects to a shim, without saying what for. Blocks for at most [`MAX_ANSWER_TIME`].
///
/// # Errors
/// If nobody listens, or only a process of another user.
pub(super) fn connect_to(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let directory = File::open(directory)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(MAX_ANSWER_TIME))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(MAX_ANSWER_TIME))?;
    connect(&socket, &SocketAddrUnix::new(socket_path(&directory, name))?)?;
    let peer = socket_peercred(&socket)?;
    if peer.uid != geteuid() && !geteuid().is_root() {
        return Err(io::Error::other("another user listens on the socket of the run"));
    }
    Ok(socket)
}

/// Connects to the shim of a run of `stream`. If somebody has removed its socket, the shim is asked to make it again.
fn find(directory: &Path, address: &ShimAddress, stream: &str) -> io::Result<OwnedFd> {
    let mut asked_until = None;
    loop {
        let error = match connect_to(directory, &address.name) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let until = match asked_until {
            Some(until) => until,
            None if error.kind() == io::ErrorKind::NotFound && ask_for_sockets(stream) > 0 => {
                Instant::now() + MAX_ANSWER_TIME
            }
            None => return Err(error),
        };
        asked_until = Some(until);
        if error.kind() != io::ErrorKind::NotFound || Instant::now() >= until {
            return Err(error);
        }
        std::thread::park_timeout(SOCKET_POLL_INTERVAL);
    }
}

/// Asks all shims of runs of a stream to make their sockets again if they are gone. Returns their number. Those of other
/// daemons have theirs, and do nothing.
fn ask_for_sockets(stream: &str) -> usize {
    let is_shim = |pid: &Pid| {
        procfs::name(*pid).is_some_and(|name| name == SHIM_PROCESS_NAME) && procfs::has_argument(*pid, stream)
    };
    procfs::others().filter(is_shim).filter(|pid| kill_process(*pid, Signal::HUP).is_ok()).count()
}

/// Attaches to the shim of a run of `stream`, which ends the run by this policy from now on if no daemon claims it. Blocks for
/// at most three times [`MAX_ANSWER_TIME`]. Must be called within the runtime.
///
/// # Errors
/// If the shim is gone or refuses.
pub(in crate::source::process) fn attach(
    directory: &Path,
    address: &ShimAddress,
    stream: &str,
    policy: EndPolicy,
) -> io::Result<TakenOver> {
    let socket = find(directory, address, stream)?;
    let attach = DaemonMessage::Attach { version: VERSION, secret: address.secret.clone(), policy: Some(policy) };
    protocol::send(&socket, &attach, &[])?;
    let (running, descriptors) = match protocol::receive(&socket)? {
        Some((ShimMessage::Running(running), descriptors)) => (running, descriptors),
        Some((ShimMessage::Refused { reason }, _)) => return Err(io::Error::other(reason)),
        Some(_) | None => return Err(io::Error::other("the shim has ended")),
    };
    let mut descriptors = descriptors.into_iter();
    let missing = || io::Error::other("a descriptor of the run is missing");
    let mut next = || descriptors.next().ok_or_else(missing);
    let mut ends = [None, None];
    for end in ends.iter_mut().take(running.outputs) {
        // A nonblocking terminal is used like a pipe.
        *end = Some(pipe::Receiver::from_owned_fd_unchecked(next()?)?);
    }
    let input = if running.input { Some(pipe::Sender::from_owned_fd_unchecked(next()?)?) } else { None };
    let staged = if running.staged { running.outputs } else { 0 };
    let pipes = (0..staged).map(|_| Ok(StagingPipe::of_ends(next()?, next()?))).collect::<io::Result<_>>()?;
    let staging = OutputStaging { snapshot: RunSnapshot::of_file(next()?)?, pipes };
    let shim = socket_peercred(&socket).ok().map(|peer| peer.pid);
    let connection = ShimConnection::new(socket, &running)?;
    Ok(TakenOver { connection, running, shim, ends, input, staging })
}
