//! What a line costs: how often a source is read, and threads of the daemon are woken.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, TestDir, pause};

/// The number of times that the threads of the daemon waited and were woken, without those whose name begins with `except`.
fn wakeups(daemon: &Daemon, except: &str) -> u64 {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        // A thread may end meanwhile.
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default();
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        if !of("Name:").starts_with(except) {
            sum += of("voluntary_ctxt_switches:").parse::<u64>().unwrap_or_default();
        }
    }
    sum
}

/// The number of reads that the daemon made, of anything.
fn reads(daemon: &Daemon) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", daemon.pid())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[test]
fn a_source_that_is_written_line_by_line_is_read_at_a_pace_and_not_for_each_line() {
    const LINES: u64 = 600;
    // The stream, the file that is written, the time between two reads in milliseconds, what is counted, and how often that may
    // be for each read: a file is read by another thread, and the notifier reads each change of it.
    let passes: fn(&Daemon) -> u64 = |daemon| wakeups(daemon, "notify-rs");
    let table = [
        ("pipe", "{ command: [cat, fifo] }", "fifo", 5, reads as fn(&Daemon) -> u64, 3),
        ("terminal", "{ command: [cat, fifo], pty: true }", "fifo", 5, reads, 3),
        ("FIFO", "{ file: fifo, private: false }", "fifo", 5, reads, 3),
        ("file", "{ file: log }", "log", 20, passes, 8),
    ];
    for (name, stream, written, interval, count, for_each) in table {
        let dir = TestDir::new();
        dir.fifo("fifo");
        dir.write("log", "");
        let daemon = dir.start(&format!("streams: {{ s: {stream} }}"));
        let mut out = OpenOptions::new().append(true).open(daemon.path(written)).unwrap();
        writeln!(out, "first").unwrap();
        daemon.follow("s").query("tail=all").until("the first line", |message| message.data == "first");
        daemon.until_readers("s", 0);
        let (start, before) = (Instant::now(), count(&daemon));
        for number in 1..=LINES {
            pause("until the next line", Duration::from_millis(1));
            writeln!(out, "line {number}").unwrap();
        }
        let intervals = u64::try_from(start.elapsed().as_millis()).unwrap() / interval + 1;
        let (counted, expected) = (count(&daemon) - before, intervals * for_each + 60);
        assert!(counted <= expected, "{name}: {counted} in {intervals} intervals of {interval} ms, at most {expected}");
        let last = format!("line {LINES}");
        daemon.follow("s").query("tail=1").until("the last line", |message| message.data == last);
    }
}
