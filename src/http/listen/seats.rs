//! How many connections there may be, in all and from one address.

use std::net::IpAddr;

use crate::config::Limits;

use super::super::share::{Share, Shares};

/// Connections beyond the limit that are still told so, rather than closed without a word.
const OVERFULL: usize = 64;

/// The seats.
#[derive(Debug, Default)]
pub(super) struct Seats {
    all: Shares<()>,
    overfull: Shares<()>,
    by_address: Shares<IpAddr>,
}

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub(super) enum Seat {
    /// To be served.
    Served { _all: Share<()>, _address: Option<Share<IpAddr>> },
    /// To be told that there is no seat.
    Overfull(#[expect(dead_code, reason = "held for its drop")] Share<()>),
}

impl Seats {
    /// A seat for a connection from `address`, `None` for one that is not counted by address.
    pub(super) fn take(&self, address: Option<IpAddr>, limits: &Limits) -> Option<Seat> {
        let by_address = match address {
            Some(address) => self.by_address.take(&address, limits.per_address).map(Some),
            None => Some(None),
        };
        if let (Some(address), Some(all)) = (by_address, self.all.take(&(), limits.connections)) {
            return Some(Seat::Served { _all: all, _address: address });
        }
        self.overfull.take(&(), OVERFULL).map(Seat::Overfull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_in_all_and_by_address_and_come_back() {
        let (seats, limits) = (Seats::default(), Limits { connections: 3, per_address: 2, ..Limits::default() });
        let take = |address| seats.take(address, &limits);
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let served = |seat: &Option<Seat>| matches!(seat, Some(Seat::Served { .. }));
        let first = take(address(1));
        let second = take(address(1));
        assert!(served(&first) && served(&second));
        assert!(!served(&take(address(1))), "a third of one address");
        let third = take(None);
        assert!(served(&third), "not counted by address");
        assert!(!served(&take(address(2))), "a fourth in all");
        let more = Limits { connections: 4, ..limits.clone() };
        assert!(served(&seats.take(address(2), &more)), "once there may be more");
        drop(first);
        assert!(served(&take(address(2))));
        let told: Vec<_> =
            (0..OVERFULL + 9).filter_map(|_| take(address(1)).filter(|s| matches!(s, Seat::Overfull(_)))).collect();
        assert!(told.len() <= OVERFULL);
    }
}
