//! What systemd and we tell each other (`sd_notify(3)`, `sd_listen_fds(3)`): that we are ready, where, that we stop; that
//! we live; and the sockets it opened for us. Nothing where there is no systemd.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Longest status, in bytes: one line of `systemctl status`, and well below what a datagram holds.
const MAX_STATUS_SIZE: usize = 1000;

/// The sockets that systemd opened for us, in its order; none if it opened none. Ask once, and before there are threads:
/// what said so in the environment is gone then, so that no child takes it for its own.
///
/// # Errors
/// If one is neither a TCP nor a Unix socket that listens.
pub(crate) fn inherited_sockets() -> io::Result<Vec<InheritedSocket>> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..given.len() {
        // A socket that is of the other kind stays there to be taken.
        let socket = match given.take_tcp_listener(at) {
            Ok(listener) => listener.map(InheritedSocket::Tcp),
            Err(_) => given.take_unix_listener(at)?.map(InheritedSocket::Unix),
        };
        sockets.extend(socket);
    }
    Ok(sockets)
}

/// A socket that listens, and that is not ours to remove.
#[derive(Debug)]
pub(crate) enum InheritedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// All sources were started, and requests are served; `status` says where.
pub(crate) fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status_line(status))]);
}

/// The configuration is read again; [`notify_ready`] ends it.
pub(crate) fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => {
            log::warn!(errno = error.raw_os_error(), error:% = error; "cannot read the clock of the service manager");
        }
    }
}

/// The daemon is about to end.
pub(crate) fn notify_stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// How long we may be silent, if the service manager watches us. Half of it is a good time between two [`notify_watchdog`].
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// We still live.
pub(crate) fn notify_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// The start of the first line, as much of it as a status holds.
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
}
