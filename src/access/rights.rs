//! The table of rights: what a credential lets its holder do. There are two kinds so far: to be this machine's, and to be
//! somebody on its Unix socket, of whom the system says who it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::event::StreamName;

/// Who is at the other end of a connection, as far as the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// It came over TCP.
    Tcp(SocketAddr),
    /// It came over the Unix socket: the user and, where it is known, the process (`SO_PEERCRED`).
    Unix { uid: u32, pid: Option<u32> },
}

/// Something that may be done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// To see what it says.
    Read,
    /// To type into its process, or to send lines where it takes some.
    Input,
    /// To start, stop and signal its process.
    Admin,
}

/// What a peer can show for itself. Equal ones are one person to us: who holds the one may steer what came by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    /// To be root or the daemon's own user, over the Unix socket.
    Owner,
    /// To be another user that may open the Unix socket.
    User(u32),
    /// To be on this machine.
    Loopback,
    /// To be another machine, where the configuration lets these in.
    Network(IpAddr),
}

/// The rights of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    /// The user the daemon runs as.
    own: u32,
}

/// A right that the peer does not have, and what would give it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{right} needs the Unix socket, and root or the daemon's own user there; this is {credential}, and may only read"
)]
pub(crate) struct Denied {
    right: Right,
    credential: Credential,
}

impl Peer {
    /// A peer over TCP. An IPv4 address that was mapped into IPv6 is the IPv4 address.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl Rights {
    /// `own` is the user that the daemon runs as.
    pub(crate) fn new(own: u32) -> Self {
        Self { own }
    }

    /// What `peer` can show for itself.
    pub(crate) fn credential(self, peer: Peer) -> Credential {
        match peer {
            Peer::Unix { uid, .. } if uid == 0 || uid == self.own => Credential::Owner,
            Peer::Unix { uid, .. } => Credential::User(uid),
            Peer::Tcp(address) if address.ip().is_loopback() => Credential::Loopback,
            Peer::Tcp(address) => Credential::Network(address.ip()),
        }
    }

    /// Whether `peer` may do this with the stream; `None` is all of them.
    pub(crate) fn check(self, peer: Peer, right: Right, _stream: Option<&StreamName>) -> Result<(), Denied> {
        let credential = self.credential(peer);
        let allowed = match (credential, right) {
            (Credential::Owner, Right::Read | Right::Input | Right::Admin) | (_, Right::Read) => true,
            (Credential::User(_) | Credential::Loopback | Credential::Network(_), Right::Input | Right::Admin) => false,
        };
        if allowed { Ok(()) } else { Err(Denied { right, credential }) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Unix { uid, pid: None } => write!(f, "uid {uid}"),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "to read",
            Self::Input => "to type into a process or to send lines",
            Self::Admin => "to start, stop or signal a process",
        })
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("the owner"),
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Loopback => f.write_str("TCP from this machine"),
            Self::Network(_) => f.write_str("TCP from another machine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_credential_may_do() {
        let rights = Rights::new(990);
        let tcp = |text: &str| Peer::tcp(text.parse().unwrap());
        let unix = |uid| Peer::Unix { uid, pid: Some(1) };
        let table = [
            (unix(990), Credential::Owner, [true, true, true]),
            (unix(0), Credential::Owner, [true, true, true]),
            (unix(1000), Credential::User(1000), [true, false, false]),
            (tcp("127.0.0.1:9"), Credential::Loopback, [true, false, false]),
            (tcp("[::1]:9"), Credential::Loopback, [true, false, false]),
            (tcp("[::ffff:127.0.0.1]:9"), Credential::Loopback, [true, false, false]),
            (tcp("10.0.0.1:9"), Credential::Network([10, 0, 0, 1].into()), [true, false, false]),
        ];
        let stream = "build".parse().unwrap();
        for (peer, credential, allowed) in table {
            assert_eq!(rights.credential(peer), credential);
            for (right, allowed) in [Right::Read, Right::Input, Right::Admin].into_iter().zip(allowed) {
                assert_eq!(rights.check(peer, right, Some(&stream)).is_ok(), allowed, "{peer}: {right}");
                assert_eq!(rights.check(peer, right, None).is_ok(), allowed, "{peer}: {right}");
            }
        }
        let denied = rights.check(tcp("127.0.0.1:9"), Right::Input, None).unwrap_err().to_string();
        assert!(denied.contains("Unix socket") && denied.contains("TCP from this machine"), "{denied}");
    }
}
