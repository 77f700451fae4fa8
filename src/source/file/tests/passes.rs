//! Which files are open, and when each is read.

use std::fs;
use std::time::Duration;

use crate::config::ReadFrom;
use crate::source::file::tailer::NextPass;
use crate::source::file::watch::watcher::PathChange;
use crate::stream::ReadRoom;

use super::harness::TailerHarness;

#[test]
fn a_busy_file_does_not_keep_others_waiting() {
    let mut harness = TailerHarness::new(&["a.log", "b.log"], ReadFrom::Beginning);
    harness.directory.write("a.log", &"busy\n".repeat(2_000_000));
    harness.directory.write("b.log", "quiet\n");
    let (lines, next) = harness.one_pass();
    assert!(lines.iter().any(|line| line == "quiet"));
    assert!(lines.len() < 300_000 && next == NextPass::Now);
}

#[test]
fn closed_files_that_are_rotated_are_found_by_their_identity() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..300 {
        harness.directory.write(&format!("{n}.log"), "old\n");
    }
    assert_eq!(harness.run_until_idle().len(), 300);
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = open
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(harness.directory.0.path())))
        .count();
    assert!(held <= 130, "{held} files are open");
    for n in 0..300 {
        harness.directory.append(&format!("{n}.log"), "more\n");
        harness.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        harness.directory.write(&format!("{n}.log"), "new\n");
    }
    let mut all = harness.run_until_idle();
    for _ in 0..3 {
        all.extend(harness.run_after_rotate_wait());
    }
    assert_eq!(all.iter().filter(|line| *line == "more").count(), 300);
    assert_eq!((all.iter().filter(|line| *line == "new").count(), all.len(), harness.losses), (300, 600, 0));
}

#[test]
fn what_was_deleted_while_it_was_closed_is_a_loss() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..200 {
        harness.directory.write(&format!("{n:03}.log"), "old\n");
    }
    harness.run_until_idle();
    harness.directory.append("199.log", "unread\n");
    if let Some(files) = &mut harness.files {
        files.note_change(&harness.directory.path("199.log"), PathChange { written: true, ..PathChange::default() });
    }
    fs::remove_file(harness.directory.path("199.log")).unwrap();
    fs::remove_file(harness.directory.path("198.log")).unwrap();
    harness.run_until_idle();
    harness.run_after_rotate_wait();
    assert_eq!(harness.losses, 1, "one was written to, and the other only deleted");
}

#[test]
fn a_quiet_file_that_is_replaced_while_it_is_closed_is_no_loss() {
    let replace: [fn(&TailerHarness, &str); 3] = [
        |harness, name| {
            harness.directory.write("new", "new\n");
            harness.rename("new", name);
        },
        |harness, name| {
            fs::remove_file(harness.directory.path(name)).unwrap();
            harness.directory.write(name, "new\n");
        },
        |harness, name| {
            harness.rename(name, "gone");
            fs::remove_file(harness.directory.path("gone")).unwrap();
            harness.directory.write(name, "new\n");
        },
    ];
    for (at, replace) in replace.iter().enumerate() {
        let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
        for n in 0..200 {
            harness.directory.write(&format!("{n:03}.log"), "old\n");
        }
        assert_eq!(harness.run_until_idle().len(), 200);
        harness.forget_changes();
        for n in 190..200 {
            replace(&harness, &format!("{n}.log"));
        }
        harness.wait_for_changes(10);
        let all = [harness.run_until_idle(), harness.run_after_rotate_wait()].concat();
        assert_eq!(all, ["new"; 10], "{at}");
        assert_eq!(harness.loss_texts, [""; 0], "{at}");
    }
}

#[test]
fn a_file_that_comes_and_goes_quickly_is_read_once_it_was_seen() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::End);
    harness.run_until_idle();
    harness.directory.write("short.log", "one\n");
    harness.now += Duration::from_secs(61);
    assert_eq!(harness.run_until_idle(), ["one"]);
    fs::remove_file(harness.directory.path("short.log")).unwrap();
    harness.run_after_rotate_wait();
    harness.run_after_rotate_wait();
    assert!(harness.checkpoints.is_empty(), "{:?}", harness.checkpoints);
}

#[test]
fn an_io_error_is_reported_and_the_file_continues_where_it_was() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "one\nha");
    assert_eq!(harness.run_until_idle(), ["one"]);
    if let Some(files) = &mut harness.files {
        files.fail_all(&std::io::Error::from_raw_os_error(5), harness.now);
    }
    harness.run_until_idle();
    assert_eq!((&harness.state["state"], &harness.state["errno"]), (&"denied".into(), &5.into()));
    harness.directory.append("log", "lf\n");
    harness.now += Duration::from_secs(6);
    assert_eq!(harness.run_until_idle(), ["half"]);
    assert_eq!((&harness.state["state"], harness.losses), (&"following".into(), 0));
}

#[test]
fn a_pattern_without_files_waits() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::End);
    harness.run_until_idle();
    let reason = harness.state["reason"].as_str().unwrap();
    assert!(reason.starts_with("no file matches ") && reason.ends_with("/*.log"), "{}", harness.state);
}

#[test]
fn a_file_waits_for_readers_only_as_long_as_it_stays_where_it_is() {
    /// A change of the log.
    type Change = fn(&TailerHarness);
    let table: [(&str, Change, &[&str]); 7] = [
        ("unchanged", |_| {}, &[]),
        ("written", |harness| harness.directory.append("log", "third\n"), &[]),
        ("renamed", |harness| harness.rename("log", "log.1"), &["second"]),
        (
            "rotated",
            |harness| {
                harness.rename("log", "log.1");
                harness.directory.write("log", "third\n");
            },
            &["second"],
        ),
        ("deleted", |harness| fs::remove_file(harness.directory.path("log")).unwrap(), &["second"]),
        ("truncated", |harness| drop(harness.directory.write("log", "new\n")), &["new"]),
        (
            "replaced",
            |harness| {
                harness.directory.write("new", "first\nsecond\nthird\n");
                harness.rename("new", "log");
            },
            &["second"],
        ),
    ];
    for name in ["log", "lo[g]"] {
        for (what, change, expected) in table {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            harness.directory.write("log", "first\n");
            assert_eq!(harness.run_until_idle(), ["first"]);
            harness.directory.append("log", "second\n");
            harness.room = ReadRoom::Hold;
            for _ in 0..2 {
                assert_eq!(harness.after(1000), [""; 0], "{what}");
                harness.files.as_mut().unwrap().wake_all();
                assert_eq!(harness.one_pass(), (Vec::new(), NextPass::AfterReaders), "{what}");
            }
            change(&harness);
            assert_eq!(harness.after(10), expected, "{name}, {what}");
            harness.room = ReadRoom::Unlimited;
            let rest = [harness.after(10), harness.after(6000), harness.after(10)].concat();
            if expected.is_empty() {
                assert_eq!(rest[0], "second", "{what}");
            }
        }
    }
}

#[test]
fn a_file_that_has_nothing_new_waits_for_no_reader() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "first\n");
    assert_eq!(harness.run_until_idle(), ["first"]);
    harness.room = ReadRoom::Hold;
    harness.files.as_mut().unwrap().wake_all();
    assert!(matches!(harness.one_pass(), (lines, NextPass::At(_)) if lines.is_empty()));
}
