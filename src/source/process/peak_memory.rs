//! The peak memory of a process, which is measured while the process runs: it cannot be read once the process has ended.

use std::time::Duration;

use rustix::process::Pid;
use tokio::time::Instant;

use super::procfs;

/// The time after which a process is measured first; the interval then doubles.
const MIN_MEMORY_INTERVAL: Duration = Duration::from_millis(50);

/// The longest interval between two measurements.
const MAX_MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// The measurements of one process.
#[derive(Debug)]
pub(super) struct PeakMemory {
    /// The time from which the process is measured.
    started: Instant,
    /// The largest value so far, in bytes; `None` before the first one.
    bytes: Option<u64>,
    /// The time of the next measurement.
    due: Instant,
}

impl PeakMemory {
    /// The measurements of a process that runs since `started`.
    pub(super) fn since(started: Instant) -> Self {
        Self { started, bytes: None, due: started + MIN_MEMORY_INTERVAL }
    }

    /// The time of the next measurement.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The largest value so far, in bytes; `None` if there is none.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Measures the process now. Cost: one file of `/proc`.
    pub(super) fn measure(&mut self, pid: Pid, now: Instant) {
        self.bytes = self.bytes.max(procfs::peak_memory(pid));
        self.due = now + now.duration_since(self.started).clamp(MIN_MEMORY_INTERVAL, MAX_MEMORY_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_doubles_up_to_its_limit_and_the_largest_value_stays() {
        let started = Instant::now();
        let mut memory = PeakMemory::since(started);
        let pid = rustix::process::getpid();
        assert_eq!((memory.bytes(), memory.due()), (None, started + MIN_MEMORY_INTERVAL));
        for (after, next) in [(50, 100), (100, 200), (5_000, 10_000), (60_000, 70_000)] {
            memory.measure(pid, started + Duration::from_millis(after));
            assert_eq!(memory.due(), started + Duration::from_millis(next));
        }
        let measured = memory.bytes();
        assert!(measured > Some(1 << 20), "{measured:?}");
        memory.measure(Pid::from_raw(i32::MAX).unwrap(), started);
        assert_eq!(memory.bytes(), measured, "a process that has ended changes nothing");
    }
}
