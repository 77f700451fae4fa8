//! Why a process does not run, and what ends this state.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The reason why a process does not run, and the event that ends this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// The process is started now.
    Start,
    /// The process failed, and is restarted at this time.
    BackingOff(Instant),
    /// The process is started when the total number of readers exceeds this one.
    OnReader(u64),
    /// The process is started by a command.
    Manual,
}

impl Idle {
    /// Waits until the back-off has ended, or until there is another reader; forever in other states.
    pub(super) async fn ended(self, readers: &mut watch::Receiver<u64>) {
        match self {
            Self::BackingOff(time) => sleep_until(time).await,
            Self::OnReader(before) if readers.wait_for(|count| *count > before).await.is_ok() => {}
            Self::Start | Self::OnReader(_) | Self::Manual => std::future::pending().await,
        }
    }
}
