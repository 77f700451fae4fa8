//! The answer of the new program of an upgrade to the client, and the removal of its files if it cannot serve.

use std::path::Path;
use std::process;

use log::warn;

use crate::daemon::local_socket::{LocalCommand, LocalListener, LocalRequest, RequestResult};
use crate::daemon::pid_file::PidFileOption;
use crate::daemon::systemd::{self, InheritedSockets};
use crate::daemon::{DaemonError, block_on};

/// The answer to the client that asked for an upgrade. The `failure` is the reason why this is the earlier program again.
pub(super) fn upgrade_result(started: Result<(), &DaemonError>, failure: Option<String>) -> RequestResult {
    let version = env!("CARGO_PKG_VERSION");
    match (started, failure) {
        (Ok(()), None) => RequestResult::Applied(format!("process {} is now rtlogd {version}", process::id())),
        (Ok(()), Some(failure)) => RequestResult::Refused(format!(
            "{failure}\nthe program was not replaced: rtlogd {version} was started again and continues"
        )),
        (Err(error), _) => {
            let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
            RequestResult::PartlyApplied(ended_instead_of_serving(&format!("{error}{cause}")))
        }
    }
}

/// The message to a client whose upgrade has ended the daemon.
fn ended_instead_of_serving(reason: &str) -> String {
    format!(
        "rtlogd {} was executed and could not serve: {reason}\nrtlogd has ended; its commands wait for the next rtlogd for \
         their `orphan_timeout`",
        env!("CARGO_PKG_VERSION")
    )
}

/// Cleans up after the earlier program of this process, since this one cannot read its configuration, and tells the client
/// of the upgrade.
pub(crate) fn abandon_upgrade(config: &Path, pid_file: PidFileOption, reason: &str) {
    let Ok(InheritedSockets { stored, handover: Some(handover), .. }) = systemd::inherited_sockets() else { return };
    // Dropping a pid file, a socket file and a listener removes the file of each.
    drop(pid_file.open(handover.pid_file));
    stored.into_iter().filter_map(|(_, socket)| socket.into_file()).for_each(drop);
    let clean_up = async {
        drop(handover.local_socket.map(|socket| LocalListener::adopt(config, socket)));
        if let Some(client) = handover.client {
            let request = LocalRequest::of_client(LocalCommand::Upgrade, client).map_err(DaemonError::Upgrade)?;
            request.answer(&RequestResult::PartlyApplied(ended_instead_of_serving(reason))).await;
        }
        Ok(())
    };
    if let Err(error) = block_on(clean_up) {
        warn!(error:% = error; "cannot tell the client of the upgrade");
    }
}
