//! The listening sockets of a daemon that starts: those that an earlier process or systemd opened, and new ones.

use std::os::fd::AsFd;

use log::info;

use crate::config::ListenAddress;
use crate::daemon::{DaemonError, systemd};
use crate::listen::{InheritedSocket, ListeningSocket};

/// Takes the sockets of these addresses from those that were kept since an earlier process opened them, or opens them, and
/// lets systemd keep them for the next process. Connections that were made meanwhile are waiting in them. Returns the
/// sockets with the names under which they are kept.
pub(crate) async fn open_or_take_stored(
    wanted: &[ListenAddress],
    mut stored: Vec<(String, InheritedSocket)>,
) -> Result<Vec<(String, ListeningSocket)>, DaemonError> {
    let mut sockets = Vec::new();
    let mut unused = Vec::new();
    for address in wanted {
        let name = systemd::stored_socket_name(address);
        let found = stored.iter().position(|(stored, _)| *stored == name).map(|at| stored.swap_remove(at));
        let kept = found.map(|(_, socket)| ListeningSocket::kept(socket, address)).transpose();
        match kept.map_err(DaemonError::SystemdSocket)? {
            Some(Some(socket)) => sockets.push((name, socket)),
            Some(None) => {
                // For example, the file of a Unix socket was removed.
                systemd::remove_stored_socket(&name);
                unused.push((name, address));
            }
            None => unused.push((name, address)),
        }
    }
    // Before others are opened: another configuration may have written the same address in another way.
    remove_stored(stored);
    for (name, address) in unused {
        let socket = ListeningSocket::open(address).await?;
        systemd::store_socket(&name, socket.as_fd());
        sockets.push((name, socket));
    }
    Ok(sockets)
}

/// Closes sockets that systemd kept, which the configuration does not want any more.
pub(crate) fn remove_stored(stored: Vec<(String, InheritedSocket)>) {
    for (name, socket) in stored {
        info!(name = name.as_str(); "rtlogd no longer listens on a socket that systemd kept");
        systemd::remove_stored_socket(&name);
        drop(socket);
    }
}

/// Adopts the sockets that systemd opened, under the same rule as for `listen`: addresses that other machines can reach
/// are accepted only if the configuration `is_safe` to expose.
pub(crate) fn adopt_systemd_sockets(
    inherited: Vec<InheritedSocket>,
    is_safe: bool,
) -> Result<Vec<(String, ListeningSocket)>, DaemonError> {
    let mut sockets = Vec::new();
    for inherited in inherited {
        let socket = ListeningSocket::inherited(inherited).map_err(DaemonError::SystemdSocket)?;
        if !is_safe && !socket.configured_address().is_local() {
            return Err(DaemonError::InsecureSystemdSocket(socket.configured_address().clone()));
        }
        sockets.push((systemd::ACTIVATED_SOCKET_NAME.to_owned(), socket));
    }
    Ok(sockets)
}
