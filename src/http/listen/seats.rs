//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections beyond the limit that are still told so, rather than closed without a word.
const OVERFULL: usize = 64;

/// The seats.
#[derive(Debug)]
pub(super) struct Seats {
    all: Arc<Semaphore>,
    overfull: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_address: usize,
}

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub(super) enum Seat {
    /// To be served.
    Served { _all: OwnedSemaphorePermit, _address: Option<AddressSeat> },
    /// To be told that there is no seat.
    Overfull(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit),
}

/// One of the seats of an address.
#[derive(Debug)]
pub(super) struct AddressSeat {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Seats {
    pub(super) fn new(all: usize, per_address: usize) -> Self {
        let seats = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self { all: seats(all), overfull: seats(OVERFULL), by_address: Arc::default(), per_address }
    }

    /// A seat for a connection from `address`, `None` for one that is not counted by address.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Option<Seat> {
        let by_address = match address {
            Some(address) => self.take_of(address).map(Some),
            None => Some(None),
        };
        if let (Some(address), Ok(all)) = (by_address, self.all.clone().try_acquire_owned()) {
            return Some(Seat::Served { _all: all, _address: address });
        }
        self.overfull.clone().try_acquire_owned().ok().map(Seat::Overfull)
    }

    fn take_of(&self, address: IpAddr) -> Option<AddressSeat> {
        let mut taken = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(AddressSeat { by_address: self.by_address.clone(), address })
    }
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        let mut taken = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_in_all_and_by_address_and_come_back() {
        let seats = Seats::new(3, 2);
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let served = |seat: &Option<Seat>| matches!(seat, Some(Seat::Served { .. }));
        let first = seats.take(address(1));
        let second = seats.take(address(1));
        assert!(served(&first) && served(&second));
        assert!(!served(&seats.take(address(1))), "a third of one address");
        let third = seats.take(None);
        assert!(served(&third), "not counted by address");
        assert!(!served(&seats.take(address(2))), "a fourth in all");
        drop(first);
        assert!(served(&seats.take(address(2))));
        let told: Vec<_> = (0..OVERFULL + 9)
            .filter_map(|_| seats.take(address(1)).filter(|s| matches!(s, Seat::Overfull(_))))
            .collect();
        assert!(told.len() <= OVERFULL);
    }
}
