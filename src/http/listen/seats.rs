//! How many connections there may be, in all and from one address.

use std::net::IpAddr;

use crate::config::Limits;

use super::super::quota::{Bounds, Quota, Share};

/// Most connections beyond the limit that are still told so, rather than closed without a word; never more than are served.
const OVERFULL: usize = 64;

/// Connections that the owner may have beyond the limit, so that whoever can mend things gets in when all else is taken.
const OWNER_SEATS: usize = 16;

/// The seats.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Quota<IpAddr>,
    overfull: Quota<()>,
}

/// For whom a seat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sitter {
    /// Root or the daemon's own user on the Unix socket.
    Owner,
    /// Somebody of this machine, or a trusted proxy: not counted by address.
    Local,
    /// Another machine.
    Address(IpAddr),
}

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub(super) enum Seat {
    /// To be served.
    Served(#[expect(dead_code, reason = "held for its drop")] Share<IpAddr>),
    /// To be told that there is no seat.
    Overfull(#[expect(dead_code, reason = "held for its drop")] Share<()>),
}

impl Seats {
    /// A seat for a connection; `None` if there is not even one to refuse it from.
    pub(super) fn take(&self, sitter: Sitter, limits: &Limits) -> Option<Seat> {
        let (address, extra) = match sitter {
            Sitter::Owner => (None, OWNER_SEATS),
            Sitter::Local => (None, 0),
            Sitter::Address(address) => (Some(address), 0),
        };
        let bounds = Bounds { each: limits.per_address, all: limits.connections.saturating_add(extra) };
        if let Ok(share) = self.taken.take(address.as_ref(), 1, bounds) {
            return Some(Seat::Served(share));
        }
        let refused = self.overfull.take(None, 1, Bounds { each: 0, all: OVERFULL.min(limits.connections) });
        refused.ok().map(Seat::Overfull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_in_all_and_by_address_and_come_back() {
        let (seats, limits) = (Seats::default(), Limits { connections: 3, per_address: 2, ..Limits::default() });
        let take = |sitter| seats.take(sitter, &limits);
        let address = |last| Sitter::Address(IpAddr::from([10, 0, 0, last]));
        let served = |seat: &Option<Seat>| matches!(seat, Some(Seat::Served { .. }));
        let first = take(address(1));
        let second = take(address(1));
        assert!(served(&first) && served(&second));
        assert!(!served(&take(address(1))), "a third of one address");
        let third = take(Sitter::Local);
        assert!(served(&third), "not counted by address");
        assert!(!served(&take(address(2))), "a fourth in all");
        let more = Limits { connections: 4, ..limits.clone() };
        assert!(served(&seats.take(address(2), &more)), "once there may be more");
        let owner: Vec<_> = (0..OWNER_SEATS).map(|_| take(Sitter::Owner)).collect();
        assert!(owner.iter().all(served), "the owner gets in");
        assert!(!served(&take(Sitter::Owner)), "but not for ever");
        drop((owner, first));
        assert!(served(&take(address(2))));
        let told: Vec<_> =
            (0..OVERFULL + 9).filter_map(|_| take(address(1)).filter(|s| matches!(s, Seat::Overfull(_)))).collect();
        assert!(told.len() <= OVERFULL);
    }
}
