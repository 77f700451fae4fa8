//! The limits on connections, in total and per address.

use std::net::IpAddr;

use crate::config::Limits;

use crate::access::quota::{Quota, QuotaLimits, QuotaShare};

/// Maximum number of connections above the limit that get an error response instead of being closed; never more than
/// are served.
const MAX_REFUSED_CONNECTIONS: usize = 64;

/// Number of connections beyond the limit that are reserved for the owner, so that an administrator can connect when
/// all others are in use.
const RESERVED_OWNER_CONNECTIONS: usize = 16;

/// The permits of connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimiter {
    taken: Quota<IpAddr>,
    refused: Quota<()>,
}

/// The class of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionClass {
    /// Root or the daemon's own user on the Unix socket.
    Owner,
    /// A local client or a trusted proxy, which is not limited by address.
    Local,
    /// Another machine.
    Address(IpAddr),
}

/// A permit for a connection, released when it is dropped.
#[derive(Debug)]
pub(super) enum ConnectionPermit {
    /// The connection is served.
    Served(#[expect(dead_code, reason = "held for its drop")] QuotaShare<IpAddr>),
    /// The connection gets an error response, since the limit is reached.
    OverLimit(#[expect(dead_code, reason = "held for its drop")] QuotaShare<()>),
}

impl ConnectionLimiter {
    /// Takes a permit for a connection; `None` if the connection cannot even get an error response.
    pub(crate) fn take(&self, class: ConnectionClass, limits: &Limits) -> Option<ConnectionPermit> {
        let (address, extra) = match class {
            ConnectionClass::Owner => (None, RESERVED_OWNER_CONNECTIONS),
            ConnectionClass::Local => (None, 0),
            ConnectionClass::Address(address) => (Some(address), 0),
        };
        let quota = QuotaLimits { each: limits.per_address, all: limits.connections.saturating_add(extra) };
        if let Ok(share) = self.taken.take(address.as_ref(), 1, quota) {
            return Some(ConnectionPermit::Served(share));
        }
        let refused =
            self.refused.take(None, 1, QuotaLimits { each: 0, all: MAX_REFUSED_CONNECTIONS.min(limits.connections) });
        refused.ok().map(ConnectionPermit::OverLimit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_limited_in_total_and_by_address_and_are_released() {
        let (limiter, limits) =
            (ConnectionLimiter::default(), Limits { connections: 3, per_address: 2, ..Limits::default() });
        let take = |class| limiter.take(class, &limits);
        let address = |last| ConnectionClass::Address(IpAddr::from([10, 0, 0, last]));
        let served = |permit: &Option<ConnectionPermit>| matches!(permit, Some(ConnectionPermit::Served { .. }));
        let first = take(address(1));
        let second = take(address(1));
        assert!(served(&first) && served(&second));
        assert!(!served(&take(address(1))), "a third of one address");
        let third = take(ConnectionClass::Local);
        assert!(served(&third), "not counted by address");
        assert!(!served(&take(address(2))), "a fourth in all");
        let more = Limits { connections: 4, ..limits.clone() };
        assert!(served(&limiter.take(address(2), &more)), "once there may be more");
        let owner: Vec<_> = (0..RESERVED_OWNER_CONNECTIONS).map(|_| take(ConnectionClass::Owner)).collect();
        assert!(owner.iter().all(served), "the owner gets in");
        assert!(!served(&take(ConnectionClass::Owner)), "but not for ever");
        drop((owner, first));
        assert!(served(&take(address(2))));
        let refused: Vec<_> = (0..MAX_REFUSED_CONNECTIONS + 9)
            .filter_map(|_| take(address(1)).filter(|s| matches!(s, ConnectionPermit::OverLimit(_))))
            .collect();
        assert!(refused.len() <= MAX_REFUSED_CONNECTIONS);
    }
}
