//! The number of connections that the limit on open files permits, so that descriptors are left for files, processes
//! and the owner.

use log::warn;
use rustix::process::{Resource, getrlimit};

use crate::config::Limits;

/// The descriptors that are reserved in any configuration: for files that stay open, the state directory, the runtime,
/// the log, the connections of the owner, and the connections that are refused.
const RESERVED_DESCRIPTORS: u64 = 256;

/// The descriptors that are reserved for each stream: for the pipes of a process and its start, or for a file and its
/// rotated generations.
const RESERVED_DESCRIPTORS_PER_STREAM: u64 = 8;

/// The number of connections below which a warning is logged. More are sufficient on most machines, whatever is
/// configured.
const CONNECTIONS_WORTH_A_WARNING: usize = 1024;

/// The limits, with no more connections than there are descriptors for, given this many streams.
pub(crate) fn within_descriptors(limits: &Limits, streams: usize) -> Limits {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = connections_within(limits.connections, open_files, streams);
    if are_few_possible(limits.connections, open_files, streams) {
        warn!(
            "rtlogd may have only {open_files} files open, so it serves {connections} connections at once instead of {}; \
            raise the limit (LimitNOFILE= of the unit, or ulimit -n)",
            limits.connections
        );
    }
    Limits { connections, ..limits.clone() }
}

/// Returns whether so few connections out of `configured` are possible, if there may be `open_files` and there are this
/// many streams, that it is worth a warning.
pub(crate) fn are_few_possible(configured: usize, open_files: u64, streams: usize) -> bool {
    connections_within(configured, open_files, streams) < configured.min(CONNECTIONS_WORTH_A_WARNING)
}

/// The number of connections out of `configured`, if there may be `open_files` and there are this many streams; at
/// least 1.
fn connections_within(configured: usize, open_files: u64, streams: usize) -> usize {
    let reserved = RESERVED_DESCRIPTORS.saturating_add(RESERVED_DESCRIPTORS_PER_STREAM.saturating_mul(streams as u64));
    // If the limit is hardly larger than the reserve, a quarter of it is for connections, up to another quarter for
    // connections that are refused, and half is left.
    let free = open_files.saturating_sub(reserved).max(open_files / 4).max(1);
    configured.min(usize::try_from(free).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_reserved_for_files_and_processes() {
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
        for (configured, open_files, streams, expected) in table {
            assert_eq!(
                connections_within(configured, open_files, streams),
                expected,
                "{configured} of {open_files} with {streams}"
            );
        }
    }
}
