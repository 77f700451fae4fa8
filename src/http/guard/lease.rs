//! Leases for input: at most one connection at a time holds the lease of a stream, for a limited time. While there is
//! no lease, everyone with the right may type.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::Peer;
use crate::event::StreamName;

/// Maximum duration of a lease, in seconds, which bounds the delay if its holder forgets to release it.
pub(crate) const MAX_LEASE_SECONDS: u32 = 3600;

/// A lease that a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldLease {
    /// The number of the control channel that holds it.
    pub(crate) by: u64,
    pub(crate) peer: Peer,
    pub(crate) until: Instant,
}

/// All leases that were taken and not released; some may have expired. Clones share the leases.
#[derive(Debug, Clone)]
pub(crate) struct Leases(Arc<watch::Sender<BTreeMap<StreamName, HeldLease>>>);

impl Default for Leases {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Leases {
    /// A receiver that is notified when a lease is taken or released. Expiry sends no notification: see
    /// [`HeldLease::until`].
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<StreamName, HeldLease>> {
        self.0.subscribe()
    }

    /// Takes or renews the lease. The error is the lease of another holder.
    pub(crate) fn take(&self, stream: &StreamName, by: u64, peer: Peer, time: Duration) -> Result<(), HeldLease> {
        let now = Instant::now();
        let mut taken = Ok(());
        self.0.send_if_modified(|leases| {
            if let Some(lease) = leases.get(stream).filter(|lease| lease.by != by && lease.until > now) {
                taken = Err(*lease);
                return false;
            }
            leases.retain(|_, lease| lease.until > now);
            leases.insert(stream.clone(), HeldLease { by, peer, until: now + time });
            true
        });
        taken
    }

    /// Releases the lease if this channel holds it.
    pub(crate) fn release(&self, stream: &StreamName, by: u64) {
        self.0.send_if_modified(|leases| {
            let holds = leases.get(stream).is_some_and(|lease| lease.by == by);
            holds && leases.remove(stream).is_some()
        });
    }

    /// Releases all leases of a channel.
    pub(crate) fn release_all(&self, by: u64) {
        self.0.send_if_modified(|leases| {
            let before = leases.len();
            leases.retain(|_, lease| lease.by != by);
            leases.len() < before
        });
    }

    /// Checks that this channel may type; `None` is a request without a channel, which cannot hold a lease. The error
    /// is the lease of another holder.
    pub(crate) fn check_input(&self, stream: &StreamName, by: Option<u64>) -> Result<(), HeldLease> {
        match self.0.borrow().get(stream) {
            Some(lease) if Some(lease.by) != by && lease.until > Instant::now() => Err(*lease),
            _ => Ok(()),
        }
    }
}

impl HeldLease {
    /// The remaining time of the lease.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// The message for a caller who wanted to type or to take the lease.
    pub(crate) fn refusal_text(&self) -> String {
        let (peer, seconds) = (self.peer, self.remaining().as_secs_f64());
        format!("{peer} holds the lease for {seconds:.0} s more; wait for process.leased, or until then")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_types_at_a_time_and_not_for_ever() {
        let leases = Leases::default();
        let stream: StreamName = "s".parse().unwrap();
        let peer = Peer::Unix { uid: 0, pid: None };
        let minute = Duration::from_mins(1);
        assert!(leases.check_input(&stream, None).is_ok() && leases.check_input(&stream, Some(1)).is_ok());
        leases.take(&stream, 1, peer, minute).unwrap();
        assert!(leases.check_input(&stream, Some(1)).is_ok());
        assert!(leases.check_input(&stream, Some(2)).is_err() && leases.check_input(&stream, None).is_err());
        assert!(leases.take(&stream, 2, peer, minute).unwrap_err().refusal_text().contains("60 s"));
        leases.release(&stream, 2);
        assert!(leases.check_input(&stream, Some(2)).is_err(), "only who holds it gives it back");
        leases.release(&stream, 1);
        leases.take(&stream, 2, peer, minute).unwrap();
        tokio::time::advance(minute).await;
        assert!(leases.check_input(&stream, Some(1)).is_ok(), "it is over");
        leases.take(&stream, 1, peer, minute).unwrap();
        leases.release_all(1);
        assert!(leases.check_input(&stream, None).is_ok());
    }
}
