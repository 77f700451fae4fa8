//! The resources that this process uses, for the metrics.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The start of the program, as [`note_process_start`] recorded it.
static START_TIME: OnceLock<SystemTime> = OnceLock::new();

/// Records the time of the start. The program calls it once, before it does anything else.
pub(crate) fn note_process_start() {
    START_TIME.get_or_init(SystemTime::now);
}

/// The resources of this process, as far as proc(5) reports them.
#[derive(Debug)]
pub(crate) struct ProcessUsage {
    /// The start of the process.
    pub(crate) started: SystemTime,
    /// CPU time, user and system together.
    pub(crate) cpu_time: Duration,
    /// Resident memory and address space, in bytes.
    pub(crate) resident: Option<u64>,
    pub(crate) address_space: Option<u64>,
    pub(crate) threads: Option<u64>,
    /// Open file descriptors, and how many there may be.
    pub(crate) descriptors: Option<u64>,
    pub(crate) descriptor_limit: Option<u64>,
}

impl ProcessUsage {
    /// The usage at this moment.
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
        };
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            started: *START_TIME.get_or_init(SystemTime::now),
            cpu_time: processor.try_into().unwrap_or_default(),
            resident: field("VmRSS").map(|kibibytes| kibibytes << 10),
            address_space: field("VmSize").map(|kibibytes| kibibytes << 10),
            threads: field("Threads"),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64),
            descriptor_limit: getrlimit(Resource::Nofile).current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something_of_everything() {
        let usage = ProcessUsage::now();
        assert!(usage.started <= SystemTime::now() && usage.cpu_time > Duration::ZERO, "{usage:?}");
        let resident = usage.resident.unwrap();
        assert!(resident > 1 << 20 && usage.address_space.unwrap() >= resident, "{usage:?}");
        assert!(usage.threads.unwrap() >= 1 && usage.descriptors.unwrap() >= 3, "{usage:?}");
    }
}
