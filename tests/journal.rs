//! The journal of systemd as a stream, with a journalctl of our own in its place: what it is asked, what becomes of what it
//! writes, and where reading goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::http::Response;
use crate::harness::sse::{Message, Reader, lines};
use crate::harness::{Daemon, Deadline, TestDir};

/// Gives what stands in `entries` as journalctl would, and notes in `asked` how it was called.
const JOURNALCTL: &str = r#"#!/bin/sh
cd "${0%/*}/.."
echo "$$ $*" >>asked
if [ -e trouble ]; then cat trouble >&2; exit 1; fi
[ ! -e hint ] || cat hint >&2
cursor=
for word; do
    case $word in
        --lines=1) exec tail -n 1 entries ;;
        --cursor=*) cursor=${word#--cursor=} ;;
    esac
done
from=1
[ -z "$cursor" ] || from=$(grep -nF "\"__CURSOR\":\"$cursor\"" entries | cut -d: -f1)
exec tail -n "+${from:-1}" -F entries 2>/dev/null
"#;

/// A directory with such a journalctl, whose journal is empty.
fn dir() -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("bin")).unwrap();
    fs::write(dir.path("bin/journalctl"), JOURNALCTL).unwrap();
    fs::set_permissions(dir.path("bin/journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    dir.write("entries", "");
    dir
}

/// A daemon that finds it.
fn launch(dir: TestDir, yaml: &str) -> Daemon {
    dir.configure(yaml);
    let path = format!("{}:{}", dir.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = dir.command(&["serve", "--config", "rtlogd.yaml"]);
    command.env("PATH", path).stdin(Stdio::null());
    dir.launch_command(command)
}

const ALL: &str = "streams: { j: { journal: {}, private: false } }";
const KEPT: &str = "state_directory: state\nstreams: { j: { journal: {}, private: false } }";

/// Entry number `n`, which says `message`, as JSON.
fn entry(n: u64, message: &str) -> String {
    let time = 1_763_874_672_000_000 + n;
    format!(
        "{{\"__CURSOR\":\"s=a;i={n:x}\",\"__REALTIME_TIMESTAMP\":\"{time}\",\"MESSAGE\":{message},\"PRIORITY\":\"4\",\
        \"SYSLOG_IDENTIFIER\":\"sshd\"}}\n"
    )
}

fn write(dir: &TestDir, numbers: std::ops::RangeInclusive<u64>) {
    let entries: String = numbers.map(|n| entry(n, &format!("\"entry {n}\""))).collect();
    dir.write("entries", entries);
}

/// Waits until the journal is read.
fn reading(daemon: &Daemon) -> Reader {
    let mut reader = daemon.follow("j").query("tail=all").open();
    reader.until("that it reads", |message| message.is_state("reading"));
    reader
}

/// The process that follows now, and how it was called.
fn follower(daemon: &Daemon) -> (Pid, String) {
    let asked = fs::read_to_string(daemon.path("asked")).unwrap();
    let last = asked.lines().rfind(|line| line.contains("--follow")).unwrap().to_owned();
    (Pid::from_raw(last.split(' ').next().unwrap().parse().unwrap()).unwrap(), last)
}

fn loss(message: &Message) -> bool {
    message.event == "loss"
}

#[test]
fn a_journal_stream_is_private_by_default() {
    let daemon = launch(dir(), "listen: [\"127.0.0.1:0\", \"unix:rtlogd.sock\"]\nstreams: { j: { journal: {} } }");
    assert_eq!(daemon.get("/streams/j/state", &[]).0, 404);
    assert_eq!(Response::get(daemon.unix(), "/streams/j/state", &[]).status, 200);
}

#[test]
fn secrets_are_removed_from_entries_of_any_length() {
    let daemon = launch(dir(), "streams: { j: { journal: {}, private: false, redact: on, max_line: 1KiB } }");
    let mut reader = reading(&daemon);
    let secret = format!("AKIA{}", "PLANTED0PLANTED0");
    // Over the place where it is cut.
    let long = format!("{} {secret} behind", "x".repeat(1010));
    daemon.write("entries", entry(1, &format!("\"key {secret}\"")) + &entry(2, &format!("\"{long}\"")));
    let seen = reader.take(3);
    assert_eq!(lines(&seen)[0], "key [redacted]");
    let whole = lines(&seen)[1..].concat();
    assert_eq!(whole, format!("{} [redacted] behind", "x".repeat(1010)));
    let state = daemon.state("j");
    assert_eq!(state["redacted"], 2);
}

#[test]
fn an_entry_is_a_line_with_its_time_level_and_who_wrote_it() {
    let daemon = launch(dir(), ALL);
    reading(&daemon);
    daemon.write("entries", entry(1, r#""a\nb""#) + &entry(2, "[255,27,91]") + "-- Boot 1f --\n" + &entry(3, "null"));
    daemon.write("entries", entry(4, &format!("\"{}\"", "ä".repeat(150_000))));
    let mut count = 0;
    let seen = daemon.follow("j").query("data=json&tail=all").until("four lines", |message| {
        count += usize::from(message.is_line());
        count == 4
    });
    let events: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    assert_eq!(events[0]["text"], "a\nb");
    assert_eq!(events[0]["time"], "2025-11-23T05:11:12.000001Z");
    assert_eq!((&events[0]["origin"], &events[0]["level"]), (&"sshd".into(), &"warning".into()));
    assert_eq!(events[1]["bytes"], "/xtb");
    assert_eq!((&events[2]["continued"], &events[3]["continued"]), (&true.into(), &serde_json::Value::Null));
    let whole = [&events[2], &events[3]].map(|event| event["text"].as_str().unwrap()).concat();
    assert_eq!(whole, "ä".repeat(150_000));
    // The level is the journal's, whatever the words say.
    daemon.write("entries", entry(5, r#""error: none""#));
    let errors = daemon.follow("j").query("tail=all&level=error&follow=false").until_end();
    assert_eq!(lines(&errors), Vec::<&str>::new());
    let warnings = daemon.follow("j").query("tail=all&level=warning").until("the last", |m| m.data == "error: none");
    assert!(lines(&warnings).len() >= 4, "{warnings:#?}");
}

#[test]
fn older_entries_are_read_only_when_configured() {
    for (from, expected) in [("end", &["entry 3"][..]), ("start", &["entry 1", "entry 2", "entry 3"])] {
        let dir = dir();
        write(&dir, 1..=2);
        let daemon = launch(dir, &format!("streams: {{ j: {{ journal: {{}}, from: {from}, private: false }} }}"));
        reading(&daemon);
        write(&daemon, 3..=3);
        let seen = daemon.follow("j").query("tail=all").until("the last entry", |message| message.data == "entry 3");
        assert_eq!(lines(&seen), expected);
        assert!(!seen.iter().any(loss), "{seen:#?}");
    }
}

#[test]
fn journalctl_is_asked_for_the_configured_entries() {
    let yaml = "streams: { j: { journal: { unit: [a.service, b*], identifier: su, priority: err, match: _UID=0 }, private: false } }";
    let daemon = launch(dir(), yaml);
    reading(&daemon);
    let (_, asked) = follower(&daemon);
    let wanted = "--unit=a.service --unit=b* --identifier=su --priority=3 _UID=0";
    assert!(asked.contains("--output=json --all --merge") && asked.contains(wanted), "{asked}");
}

#[test]
fn the_journal_resumes_after_a_restart_without_repetition() {
    let dir = dir();
    write(&dir, 1..=2);
    let daemon = launch(dir, KEPT);
    reading(&daemon);
    write(&daemon, 3..=4);
    daemon.follow("j").query("tail=all").until("entry 4", |message| message.data == "entry 4");
    let dir = daemon.kill();
    write(&dir, 5..=6);
    let daemon = launch(dir, KEPT);
    let seen = daemon.follow("j").query("tail=all").until("entry 6", |message| message.data == "entry 6");
    assert_eq!(lines(&seen), ["entry 3", "entry 4", "entry 5", "entry 6"]);
    assert!(!seen.iter().any(loss), "{seen:#?}");
    // A stream that has published nothing yet continues as well.
    let dir = daemon.kill();
    let yaml = "state_directory: state\nstreams: { k: { journal: {}, private: false } }";
    let daemon = launch(dir, yaml);
    daemon.follow("k").query("tail=all").until("that it reads", |message| message.is_state("reading"));
    let dir = daemon.kill();
    write(&dir, 7..=7);
    let daemon = launch(dir, yaml);
    let seen = daemon.follow("k").query("tail=all").until("entry 7", |message| message.data == "entry 7");
    assert_eq!(lines(&seen), ["entry 7"]);
}

#[test]
fn a_journal_position_that_is_gone_is_a_loss() {
    let daemon = launch(dir(), KEPT);
    reading(&daemon);
    write(&daemon, 1..=3);
    daemon.follow("j").query("tail=all").until("entry 3", |message| message.data == "entry 3");
    let dir = daemon.kill();
    fs::remove_file(dir.path("entries")).unwrap();
    write(&dir, 7..=8);
    let daemon = launch(dir, KEPT);
    let seen = daemon.follow("j").query("tail=all").until("entry 8", |message| message.data == "entry 8");
    assert_eq!(lines(&seen), ["entry 1", "entry 2", "entry 3", "entry 7", "entry 8"]);
    let told: Vec<_> = seen.iter().filter(|message| loss(message)).map(Message::json).collect();
    assert!(told.len() == 1 && told[0]["missed"].is_null(), "{told:?}");
    assert!(told[0]["reason"].as_str().unwrap().contains("no longer in the journal"), "{told:?}");
}

#[test]
fn a_killed_journalctl_is_restarted_at_its_position() {
    let daemon = launch(dir(), ALL);
    let mut reader = reading(&daemon);
    write(&daemon, 1..=2);
    reader.until("entry 2", |message| message.data == "entry 2");
    let (pid, _) = follower(&daemon);
    kill_process(pid, Signal::KILL).unwrap();
    write(&daemon, 3..=3);
    let seen = reader.until("entry 3", |message| message.data == "entry 3");
    assert_eq!(lines(&seen), ["entry 3"], "{seen:#?}");
    let state = seen.iter().find(|message| message.is_state("backing-off")).unwrap().json();
    assert_eq!(state["error"], "journalctl was killed by signal KILL");
    assert!(follower(&daemon).1.contains("--cursor=s=a;i=2"));
}

#[test]
fn an_unreadable_journal_is_reported_and_retried() {
    let dir = dir();
    dir.write("trouble", "Hint: a\nNo journal files were opened due to insufficient permissions.\n");
    let daemon = launch(dir, ALL);
    let mut reader = daemon.follow("j").query("tail=all").open();
    let denied = reader.until("that it may not", |message| message.is_state("denied")).pop().unwrap().json();
    assert_eq!(denied["errno"], 13);
    assert!(denied["error"].as_str().unwrap().starts_with("No journal files were opened"), "{denied}");
    fs::write(daemon.path("trouble"), "Failed to open files: Bad message\n").unwrap();
    let failed = reader.until("that it fails", |message| message.is_state("backing-off")).pop().unwrap().json();
    assert_eq!(failed["error"], "journalctl exited with code 1: Failed to open files: Bad message");
    fs::rename(daemon.path("trouble"), daemon.path("hint")).unwrap();
    fs::write(daemon.path("hint"), "Hint: You are currently not seeing messages from other users and the system.\n")
        .unwrap();
    let state = reader.until("that it reads", |message| message.is_state("reading")).pop().unwrap().json();
    assert!(state["note"].as_str().unwrap().contains("systemd-journal"), "{state}");
}

#[test]
fn a_machine_without_journalctl_says_so() {
    let dir = dir();
    fs::remove_file(dir.path("bin/journalctl")).unwrap();
    dir.configure(ALL);
    let mut command = dir.command(&["serve", "--config", "rtlogd.yaml"]);
    command.env("PATH", dir.path("bin")).stdin(Stdio::null());
    let daemon = dir.launch_command(command);
    let seen = daemon.follow("j").query("tail=all").until("that it waits", |message| message.is_state("waiting"));
    let reason = seen.last().unwrap().json()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("Debian's package systemd"), "{reason}");
}

#[test]
fn journalctl_ends_with_the_daemon() {
    let daemon = launch(dir(), ALL);
    reading(&daemon);
    let (pid, _) = follower(&daemon);
    daemon.terminate();
    assert!(daemon.ended().status.success());
    let pid = u64::from(pid.as_raw_nonzero().get().unsigned_abs());
    Deadline::new().until("its end", || (!crate::harness::runs(pid)).then_some(()));
}
