//! The protocols of systemd: notification of readiness, status and watchdog (`sd_notify(3)`), and sockets that it
//! opened for the daemon (`sd_listen_fds(3)`). Without systemd, all of this does nothing.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The longest status, in bytes: one line of `systemctl status`, well below the size of a datagram.
const MAX_STATUS_SIZE: usize = 1000;

/// The sockets that systemd opened for the daemon, in its order; none if it opened none. Must be called once, and
/// before there are threads: the call removes the environment variables, so that no child process takes the sockets for
/// its own.
///
/// # Errors
/// If one is neither a TCP nor a Unix socket that listens.
pub(crate) fn inherited_sockets() -> io::Result<Vec<InheritedSocket>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..passed.len() {
        // A socket of the other kind remains to be taken.
        let socket = match passed.take_tcp_listener(at) {
            Ok(listener) => listener.map(InheritedSocket::Tcp),
            Err(_) => passed.take_unix_listener(at)?.map(InheritedSocket::Unix),
        };
        sockets.extend(socket);
    }
    Ok(sockets)
}

/// A listening socket that rtlogd must not remove.
#[derive(Debug)]
pub(crate) enum InheritedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
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
}
