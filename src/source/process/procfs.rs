//! Reads facts about processes from proc(5): `stat`, `status` and `environ`. Changes nothing.

use std::fs;

use memchr::memmem;
use rustix::process::{Pid, getpid};

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcStat {
    /// The process ended, and was not waited for yet.
    pub(super) zombie: bool,
    pub(super) parent: i32,
    /// The process group; 0 for threads of the kernel.
    pub(super) group: i32,
    /// The start time in clock ticks since boot. Together with the id it identifies one process until the next boot.
    pub(super) started: u64,
}

/// The current state of a process; `None` if there is no such process.
pub(super) fn stat(pid: Pid) -> Option<ProcStat> {
    parse(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The name of the program that the process executes, cut to 15 bytes by the system; `?` if it has taken an empty name.
/// `None` if there is no such process.
pub(super) fn name(pid: Pid) -> Option<String> {
    let name = fs::read(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    Some(if name.is_empty() { "?".to_owned() } else { name })
}

fn parse(stat: &str) -> Option<ProcStat> {
    // The name in parentheses may contain spaces and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(ProcStat { zombie, parent, group, started })
}

/// Returns whether a process was started with this variable, written `NAME=value`; `false` if its memory may not be
/// read.
pub(super) fn has_variable(pid: Pid, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    let mut found = memmem::find_iter(&environment, variable);
    found.any(|at| {
        let before = at.checked_sub(1).and_then(|at| environment.get(at));
        matches!(before, None | Some(0)) && matches!(environment.get(at + variable.len()), None | Some(0))
    })
}

/// Returns whether a process was started with this argument; `false` once it ended.
pub(super) fn has_argument(pid: Pid, argument: &str) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).skip(1).any(|word| word == argument.as_bytes())
}

/// The peak memory of the program that the process executes now, in bytes; `None` once it ended.
pub(super) fn peak_memory(pid: Pid) -> Option<u64> {
    parse_peak_memory(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?)
}

fn parse_peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// All processes except this one. Some may be gone when they are examined.
pub(super) fn others() -> impl Iterator<Item = Pid> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).filter(|pid| *pid != getpid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_confuse() {
        let rest = "42 7 7 0 -1 4194560 92 0 0 0 0 0 0 0 20 0 1 0 26540 2494464 183";
        for (name, state, zombie) in [("sh", "S", false), ("a) Z (b", "R", false), ("x y", "Z", true)] {
            let stat = parse(&format!("7 ({name}) {state} {rest}")).unwrap();
            assert_eq!(stat, ProcStat { zombie, parent: 42, group: 7, started: 26540 });
        }
        assert_eq!(parse("7 (sh) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let stat = stat(getpid()).unwrap();
        assert!(!stat.zombie && stat.parent > 0 && stat.started > 0);
        assert!(peak_memory(getpid()).unwrap() > 1 << 20);
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert!(has_variable(getpid(), &path) && !has_variable(getpid(), "PATH=") && !has_variable(getpid(), "ATH"));
        let argument = std::env::args().next_back().unwrap();
        assert!(std::env::args().count() == 1 || has_argument(getpid(), &argument));
        assert!(!has_argument(getpid(), "no such argument"));
        assert!(others().all(|pid| pid != getpid()) && others().count() > 0);
        assert_eq!(parse_peak_memory("Name:\tsh\nVmHWM:\t    1736 kB\nVmRSS:\t 1 kB\n"), Some(1736 * 1024));
        assert_eq!(parse_peak_memory("Name:\tkthreadd\n"), None);
    }
}
