//! The signals that a shim waits for.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// Sockets that become readable when a signal arrives.
#[derive(Debug)]
pub(super) struct ShimSignals {
    /// A child process has ended.
    child_ended: UnixStream,
    /// The shim is asked to end.
    terminated: UnixStream,
    /// The shim is asked to look after its socket.
    hung_up: UnixStream,
}

impl ShimSignals {
    /// Waits for signals from now on.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let (child_ended, terminated) = (signal_pipe(&[SIGCHLD])?, signal_pipe(&[SIGTERM, SIGINT])?);
        // Whoever reloads rtlogd by the name of the program must not end its commands.
        Ok(Self { child_ended, terminated, hung_up: signal_pipe(&[SIGHUP])? })
    }

    /// The sockets for the end of a child, for the end of the shim, and for its socket.
    pub(super) fn pipes(&self) -> [&UnixStream; 3] {
        [&self.child_ended, &self.terminated, &self.hung_up]
    }

    /// Forgets that children have ended.
    pub(super) fn take_child_ended(&self) {
        drain(&self.child_ended);
    }

    /// Forgets that the shim was asked to end.
    pub(super) fn take_terminated(&self) {
        drain(&self.terminated);
    }

    /// Returns whether the shim was asked to look after its socket, once for each time.
    pub(super) fn take_hung_up(&self) -> bool {
        drain(&self.hung_up)
    }
}

/// A socket that becomes readable when one of these signals arrives.
fn signal_pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Reads all that is there. Returns whether something was.
fn drain(mut pipe: &UnixStream) -> bool {
    let mut was_there = false;
    while pipe.read(&mut [0; 64]).is_ok_and(|count| count > 0) {
        was_there = true;
    }
    was_there
}
