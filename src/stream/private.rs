//! The flag that makes a stream private, and the permission that makes it public.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{Notify, watch};

use super::ring::Ring;

/// The flag that says whether a stream is private. The flag is never unset, since the private lines are kept. A clone
/// is the same flag.
///
/// A source sets the flag before it appends the first line that not everybody may read. From then on, no
/// [`Cursor`](super::Cursor) of [`Log::for_public`](super::Log::for_public) returns anything, and the history remembers
/// the flag.
#[derive(Debug, Clone, Default)]
pub struct PrivateFlag(Arc<PrivateState>);

#[derive(Debug, Default)]
struct PrivateState {
    set: OnceLock<()>,
    became_private: Notify,
    /// The ring whose waiting readers are woken.
    ring: OnceLock<Weak<watch::Sender<Ring>>>,
}

impl PrivateFlag {
    /// The flag of a log whose readers wait for changes of this ring.
    pub(super) fn of(ring: &Arc<watch::Sender<Ring>>) -> Self {
        let state = PrivateState { ring: OnceLock::from(Arc::downgrade(ring)), ..PrivateState::default() };
        Self(Arc::new(state))
    }

    /// Another flag, which ends the readers of the same log.
    fn another(&self) -> Self {
        let ring = self.0.ring.get().cloned().map_or_else(OnceLock::new, OnceLock::from);
        Self(Arc::new(PrivateState { ring, ..PrivateState::default() }))
    }

    /// Makes the stream private and ends its public readers. Cost of the first call: each reader is woken.
    pub fn set(&self) {
        if self.0.set.set(()).is_err() {
            return;
        }
        self.0.became_private.notify_waiters();
        if let Some(ring) = self.0.ring.get().and_then(Weak::upgrade) {
            ring.send_modify(|_| {});
        }
    }

    /// Returns whether the stream is private.
    pub fn is_set(&self) -> bool {
        self.0.set.get().is_some()
    }

    /// Waits until the stream is private. May be dropped at any time.
    pub async fn wait_until_set(&self) {
        let turned = self.0.became_private.notified();
        if !self.is_set() {
            turned.await;
        }
    }
}

/// The permission of everybody to read a stream. Once it is withdrawn, it stays so: a later permission is another one. A
/// clone is the same permission.
#[derive(Debug, Clone)]
pub struct PublicAccess {
    withdrawn: PrivateFlag,
}

impl PublicAccess {
    /// A permission to read the log whose privacy this flag decides.
    pub(super) fn of(private: &PrivateFlag) -> Self {
        Self { withdrawn: private.another() }
    }

    /// Ends the readers who have no other right to read the stream.
    pub(super) fn withdraw(&self) {
        self.withdrawn.set();
    }

    /// The flag that is set when the permission is withdrawn.
    pub(super) fn withdrawal(&self) -> &PrivateFlag {
        &self.withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let private = PrivateFlag::default();
        let waits = tokio::spawn({
            let private = private.clone();
            async move { private.wait_until_set().await }
        });
        tokio::task::yield_now().await;
        assert!(!private.is_set() && !waits.is_finished());
        private.set();
        private.set();
        waits.await.unwrap();
        private.wait_until_set().await;
        assert!(private.is_set());
    }
}
