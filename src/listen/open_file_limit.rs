//! How many file descriptors there are for connections, so that some are left for files, processes and the owner.

use log::warn;
use rustix::process::{Resource, getrlimit};

use crate::config::Limits;

/// Descriptors that are kept back whatever is configured: files that stay open, the state directory, the runtime, the log, the
/// seats of the owner, and the connections that are refused.
const RESERVED_DESCRIPTORS: u64 = 256;

/// Descriptors that are kept back for each stream: the pipes of a process and its start, or a file with its rotated siblings.
const RESERVED_DESCRIPTORS_PER_STREAM: u64 = 8;

/// Fewer connections than these are worth a warning; more are as good as what was configured, on most machines.
const CONNECTIONS_WORTH_A_WARNING: usize = 1024;

/// The same limits, with no more connections than there are descriptors for beside those of so many streams.
pub(crate) fn within_descriptors(limits: &Limits, streams: usize) -> Limits {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = connections(limits.connections, open_files, streams);
    if connections < limits.connections && connections < CONNECTIONS_WORTH_A_WARNING {
        warn!(
            "rtlogd may have {open_files} files open, so it serves {connections} connections at once and not {}; raise the \
            limit (LimitNOFILE= of the unit, or ulimit -n)",
            limits.connections
        );
    }
    Limits { connections, ..limits.clone() }
}

fn connections(wanted: usize, open_files: u64, streams: usize) -> usize {
    let reserved = RESERVED_DESCRIPTORS.saturating_add(RESERVED_DESCRIPTORS_PER_STREAM.saturating_mul(streams as u64));
    // With a limit that is hardly larger than what is kept back, a quarter of it is for connections, as many more are refused, and
    // half is left.
    let free = open_files.saturating_sub(reserved).max(open_files / 4).max(1);
    wanted.min(usize::try_from(free).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_back_for_what_is_not_a_connection() {
        let table = [
            (20_000, 1_048_576, 10, 20_000),
            (20_000, 20_000, 10, 20_000 - 256 - 80),
            (20_000, 1024, 0, 768),
            (100, 1024, 0, 100),
            (20_000, 256, 2, 64),
            (20_000, 1024, 1000, 256),
            (20_000, 1, 0, 1),
            (20_000, u64::MAX, usize::MAX, 20_000),
        ];
        for (wanted, open_files, streams, expected) in table {
            assert_eq!(connections(wanted, open_files, streams), expected, "{wanted} of {open_files} with {streams}");
        }
    }
}
