//! The protocols of systemd: notification of readiness, status and watchdog (`sd_notify(3)`), sockets that it opened for
//! the daemon (`sd_listen_fds(3)`), and sockets that it keeps for the next process of the daemon
//! (`FileDescriptorStoreMax=` in systemd.service(5)). Without systemd, all of this does nothing.
//!
//! `bus` asks systemd over D-Bus whether a stop is part of a restart.

mod bus;

use std::env;
use std::fmt::Write;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};
use sd_notify::NotifyState;

use crate::config::ListenAddress;
use crate::daemon::upgrade::{ReceivedHandover, UPGRADE_SOCKET_NAME};
use crate::listen::InheritedSocket;

pub(crate) use bus::{current_job, is_restarting};

/// The longest status, in bytes: one line of `systemctl status`, well below the size of a datagram.
const MAX_STATUS_SIZE: usize = 1000;

/// The beginning of the names of the listening sockets that systemd keeps.
const STORED_SOCKET_PREFIX: &str = "listen-";

/// The name of sockets that systemd, or another program, opened for the daemon.
pub(crate) const ACTIVATED_SOCKET_NAME: &str = "activated";

/// The longest name of a descriptor that systemd accepts, in bytes.
const MAX_NAME_SIZE: usize = 255;

/// The sockets that this process was started with.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    /// Those that systemd opened for a socket unit, in its order.
    pub(crate) activated: Vec<InheritedSocket>,
    /// Those that an earlier process of the daemon asked systemd to keep, with their names.
    pub(crate) stored: Vec<(String, InheritedSocket)>,
    /// The handover of an earlier program of this process; `None` if there was none.
    pub(crate) handover: Option<ReceivedHandover>,
}

/// Returns whether systemd started this very process as the main process of a service.
pub(crate) fn is_service() -> bool {
    env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == process::id().to_string())
}

/// The sockets that systemd passes to the daemon. Must be called once, and before there are threads: the call removes
/// the environment variables, so that no child process takes the sockets for its own.
///
/// # Errors
/// If one is neither a TCP nor a Unix socket that listens.
pub(crate) fn inherited_sockets() -> io::Result<InheritedSockets> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut sockets = InheritedSockets::default();
    for at in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        if name == UPGRADE_SOCKET_NAME {
            let (family, kind) = (AddressFamily::UNIX.as_raw().into(), SocketType::SEQPACKET.as_raw().cast_signed());
            let socket = passed.take_custom::<OwnedFd>(at, family, kind, "socket of an upgrade")?;
            sockets.handover = socket.map(|socket| ReceivedHandover::receive(&socket)).transpose()?;
            continue;
        }
        // A socket of the other kind remains to be taken.
        let socket = match passed.take_tcp_listener(at) {
            Ok(listener) => listener.map(InheritedSocket::Tcp),
            Err(_) => passed.take_unix_listener(at)?.map(InheritedSocket::Unix),
        };
        match socket {
            Some(socket) if name.starts_with(STORED_SOCKET_PREFIX) => sockets.stored.push((name.to_owned(), socket)),
            socket => sockets.activated.extend(socket),
        }
    }
    Ok(sockets)
}

/// The name under which systemd keeps the socket of an address: letters, digits and some signs remain, and other bytes are
/// written in hexadecimal, since a colon separates names.
pub(crate) fn stored_socket_name(address: &ListenAddress) -> String {
    let mut name = STORED_SOCKET_PREFIX.to_owned();
    for byte in address.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'/' | b'-' | b'[' | b']' => name.push(char::from(byte)),
            _ => write!(name, "_{byte:02x}").expect("a string grows"),
        }
    }
    name
}

/// Asks systemd to keep a listening socket for the next process of the daemon, so that connections wait for it instead of
/// being refused. systemd ignores a socket that it keeps already.
pub(crate) fn store_socket(name: &str, socket: BorrowedFd<'_>) {
    if name.len() > MAX_NAME_SIZE {
        return log::debug!(name; "the address is too long to be kept over a restart");
    }
    if let Err(error) = sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(name)], &[socket]) {
        log::warn!(errno = error.raw_os_error(), error:% = error; "systemd cannot keep a listening socket over a restart");
    }
}

/// Asks systemd to keep the socket of this name no longer.
pub(crate) fn remove_stored_socket(name: &str) {
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Reports that all sources are started and requests are served; `status` contains the addresses.
pub(crate) fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status_line(status))]);
}

/// Reports that the configuration is being loaded; [`notify_ready`] ends this.
pub(crate) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => {
            log::warn!(errno = error.raw_os_error(), error:% = error; "cannot read the clock of the service manager");
        }
    }
}

/// Reports that the daemon is about to end.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The watchdog timeout of the service manager, if there is one. Half of it is a good interval for [`notify_watchdog`].
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Reports that the daemon is alive.
pub(crate) fn notify_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// The first line, cut to the length of a status.
fn status_line(status: &str) -> &str {
    let line = status.lines().next().unwrap_or_default();
    line.get(..line.floor_char_boundary(MAX_STATUS_SIZE)).unwrap_or(line)
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!(errno = error.raw_os_error(), error:% = error; "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_and_not_long() {
        assert_eq!(status_line("one\nREADY=1"), "one");
        assert_eq!(status_line(""), "");
        assert_eq!(status_line(&"ä".repeat(MAX_STATUS_SIZE)).len(), MAX_STATUS_SIZE);
        assert!(status_line(&format!("x{}", "ä".repeat(MAX_STATUS_SIZE))).len() < MAX_STATUS_SIZE);
    }

    #[test]
    fn the_names_of_stored_sockets_differ_and_are_valid() {
        let table = [
            ("127.0.0.1:7070", "listen-127.0.0.1_3a7070"),
            ("[::1]:0", "listen-[_3a_3a1]_3a0"),
            ("unix:/run/rtlogd/a b:ä_1", "listen-unix_3a/run/rtlogd/a_20b_3a_c3_a4_5f1"),
        ];
        for (address, name) in table {
            assert_eq!(stored_socket_name(&address.parse().unwrap()), name);
        }
    }
}
