//! What systemd is told: that we are ready, where, and that we stop (`sd_notify(3)`). Nothing where nobody listens.

use sd_notify::NotifyState;

/// All sources were started, and requests are served; `status` says where.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!(error:% = error; "cannot notify the service manager");
    }
}
