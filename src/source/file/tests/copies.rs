//! Copies, edits and truncations of a file whose lines were read already.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::config::ReadFrom;

use super::harness::{TailerHarness, long, numbers};

#[test]
fn a_copy_of_a_file_that_is_gone_is_not_read_again_after_a_restart() {
    for pattern in ["log", "lo[g]"] {
        let mut harness = TailerHarness::new(&[pattern], ReadFrom::Beginning);
        harness.directory.write("log", "a line that is long enough to tell\n");
        assert_eq!(harness.run_until_idle().len(), 1);
        fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
        harness.directory.write("log", "");
        fs::remove_file(harness.directory.path("log")).unwrap();
        assert_eq!(harness.run_until_idle(), [""; 0]);
        harness.now += Duration::from_millis(700);
        harness.directory.write("log", "new\n");
        assert_eq!(harness.run_until_idle(), [""; 0]);
        // The lines of the deleted file and of the copy come before those of the new one.
        let mut all = harness.run_after_rotate_wait();
        harness.restart();
        all.extend([harness.run_until_idle(), harness.run_after_rotate_wait()].concat());
        assert_eq!(all, ["new"]);
        assert_eq!(harness.losses, 1, "the truncation");
    }
}

#[test]
fn a_copy_is_not_read_again_when_a_path_of_a_pattern_comes_back() {
    for restart in [false, true] {
        let mut harness = TailerHarness::new(&["lo[g]"], ReadFrom::Beginning);
        harness.directory.write("log", "a line that is long enough to tell\n");
        assert_eq!(harness.run_until_idle().len(), 1);
        fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
        harness.directory.write("log", "");
        fs::remove_file(harness.directory.path("log")).unwrap();
        assert_eq!((harness.run_until_idle(), harness.run_after_rotate_wait()), (Vec::new(), Vec::new()));
        if restart {
            harness.restart();
            assert_eq!(harness.run_until_idle(), [""; 0]);
        }
        harness.directory.write("log", "new\n");
        harness.now += Duration::from_secs(61);
        assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat(), ["new"]);
        // Once the file has no siblings, its checkpoint is dropped.
        fs::remove_file(harness.directory.path("log.1")).unwrap();
        fs::remove_file(harness.directory.path("log")).unwrap();
        harness.run_after_rotate_wait();
        harness.run_after_rotate_wait();
        assert!(harness.checkpoints.is_empty(), "{:?}", harness.checkpoints);
    }
}

#[test]
fn an_edited_copy_of_a_file_that_was_truncated_before_is_the_same_file() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", &(1..9).map(long).collect::<String>());
    harness.run_until_idle();
    harness.directory.write("log", &(10..12).map(long).collect::<String>());
    fs::copy(harness.directory.path("log"), harness.directory.path("new")).unwrap();
    harness.directory.append("new", &long(12));
    harness.rename("new", "log");
    let all: Vec<_> = (0..3).flat_map(|_| harness.run_after_rotate_wait()).collect();
    assert_eq!((numbers(&all), harness.losses), (vec![10, 11, 12], 1));
}

#[test]
fn other_lines_as_long_as_those_before_are_no_cut() {
    let same = "and the same end of each line\n";
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let line = |n: u32| format!("{n} {same}");
    harness.directory.write("log", &(10..14).map(line).collect::<String>());
    harness.run_until_idle();
    harness.directory.write("log", &(20..22).map(line).collect::<String>());
    assert_eq!((numbers(&harness.run_until_idle()), harness.losses), (vec![20, 21], 1));
}

#[test]
fn the_first_bytes_tell_a_truncation_where_the_last_do_not() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let same = "-".repeat(600) + "\n";
    harness.directory.write("log", &(long(1) + &same));
    harness.run_until_idle();
    harness.directory.write("log", &(long(2) + &same + &long(3)));
    let all = harness.run_until_idle();
    assert_eq!((numbers(&all[..1]), numbers(&all[2..]), harness.losses), (vec![2], vec![3], 1));
}

#[test]
fn a_copy_of_a_file_that_was_put_over_others_is_read_from_where_the_last_ended() {
    let mut harness = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    for n in 1..4 {
        harness.directory.write("new.log", &"a line that is long enough to tell\n".repeat(n));
        harness.rename("new.log", "log");
        assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat().len(), 1);
    }
    fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
    harness.directory.write("log", "");
    harness.now += Duration::from_secs(61);
    assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat(), [""; 0]);
}

#[test]
fn a_file_with_a_number_in_its_name_and_the_same_banner_is_no_copy() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    harness.directory.write("app.log", "started\n");
    assert_eq!(harness.run_until_idle(), ["started"]);
    harness.directory.write("app-2.log", "started\ntwo\n");
    harness.now += Duration::from_secs(61);
    assert_eq!(harness.run_until_idle(), ["started", "two"]);
}

#[test]
fn a_deleted_file_and_the_copy_that_continues_it_are_not_both_read_after_a_restart() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for name in ["log", "lo[g]"] {
        for (copied_at_once, rotated) in [(6, false), (4, false), (6, true)] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            harness.directory.write("log", &lines(0..4));
            // The last write is long ago, so that nothing more is expected in the file when it is replaced.
            let file = fs::OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
            let mut all = harness.run_until_idle();
            harness.create_later("new", &lines(0..copied_at_once));
            harness.rename("new", "log");
            all.extend([harness.after(10), harness.after(10)].concat());
            harness.directory.append("log", &lines(copied_at_once..8));
            all.extend(harness.after(10));
            // Both files are read now; only the copy has a name.
            if rotated {
                harness.rename("log", "log-20260101");
                harness.create_later("log", &lines(8..9));
            } else {
                harness.directory.append("log", &lines(8..9));
            }
            harness.restart();
            all.extend([harness.after(10), harness.after(6000), harness.after(10), harness.after(6000)].concat());
            let expected: Vec<_> = (0..9).map(|n| line(n).trim_end().to_owned()).collect();
            assert_eq!(all, expected, "{name}, {copied_at_once}, rotated: {rotated}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, {copied_at_once}, rotated: {rotated}");
        }
    }
}

#[test]
fn a_copy_that_is_deleted_while_older_files_are_waited_for_is_not_read_again() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for name in ["log", "lo[g]"] {
        let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
        harness.directory.write("log", &lines(0..2));
        let mut all = harness.run_until_idle();
        harness.rename("log", "log-20260101");
        harness.create_later("log", &lines(2..4));
        harness.note_closed("log");
        // Both files are read, and after the restart the first one is waited for.
        all.extend([harness.after(10), harness.after(10)].concat());
        harness.restart();
        harness.create_later("new", &lines(2..6));
        harness.rename("new", "log");
        all.extend(harness.after(10));
        fs::remove_file(harness.directory.path("log")).unwrap();
        harness.create_later("log", &lines(6..7));
        for _ in 0..5 {
            all.extend(harness.after(6000));
        }
        let expected: Vec<_> = (0..7).map(|n| line(n).trim_end().to_owned()).collect();
        assert_eq!(all, expected, "{name}");
        assert_eq!(harness.loss_texts, [""; 0], "{name}");
    }
}

#[test]
fn what_was_read_in_several_files_is_not_read_again_from_one_copy_after_a_restart() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for (second, copied) in [(6, 6), (4, 4), (6, 7)] {
        for (name, wait) in [("log", 10), ("lo[g]", 10), ("log", 6000), ("lo[g]", 6000)] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            // The last writes are long ago, so that nothing more is expected in the files.
            let age = |path: std::path::PathBuf| {
                let file = fs::OpenOptions::new().append(true).open(path).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
            };
            age(harness.directory.write("log", &lines(0..4)));
            let mut all = harness.run_until_idle();
            harness.create_later("new", &lines(0..second));
            age(harness.directory.path("new"));
            harness.rename("new", "log");
            all.extend([harness.after(10), harness.after(10)].concat());
            harness.directory.append("log", &lines(second..copied));
            all.extend(harness.after(10));
            age(harness.directory.path("log"));
            std::thread::park_timeout(Duration::from_millis(12));
            fs::copy(harness.directory.path("log"), harness.directory.path("log-20260101")).unwrap();
            fs::remove_file(harness.directory.path("log")).unwrap();
            harness.create_later("log", &lines(copied..8));
            all.extend([harness.after(10), harness.after(wait)].concat());
            harness.restart();
            harness.directory.append("log", &lines(8..9));
            all.extend([harness.after(10), harness.after(6000), harness.after(10), harness.after(6000)].concat());
            let expected: Vec<_> = (0..9).map(|n| line(n).trim_end().to_owned()).collect();
            assert_eq!(all, expected, "{name}, {second}, {copied}, {wait}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, {second}, {copied}, {wait}");
        }
    }
}

#[test]
fn a_copy_made_while_older_files_are_waited_for_is_read_from_where_the_original_was_read() {
    for name in ["log", "lo[g]"] {
        for unread in 0..3 {
            for after in 0..8 {
                let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
                harness.directory.write("log", "");
                let mut all = harness.run_until_idle();
                harness.rename("log", "log-20260101");
                harness.create_later("log", "");
                harness.note_closed("log");
                all.extend(harness.run_until_idle());
                // These copies of the empty file are found after the restart, and read before the file itself.
                harness.create_later("log-20260102", "");
                harness.create_later("log-20260103", "");
                harness.directory.append("log", &(0..3).map(long).collect::<String>());
                // Both files are read now. After the restart, the first one is waited for.
                all.extend([harness.after(10), harness.after(10)].concat());
                assert_eq!(numbers(&all), [0, 1, 2], "{name}");
                harness.restart();
                all.extend([harness.after(10), harness.after(6000)].concat());
                (3..3 + unread).for_each(|n| harness.directory.append("log", &long(n)));
                all.extend(harness.after(10));
                std::thread::park_timeout(Duration::from_millis(12));
                fs::copy(harness.directory.path("log"), harness.directory.path("log-20260104")).unwrap();
                harness.directory.write("log", &(3 + unread..3 + unread + after).map(long).collect::<String>());
                for _ in 0..5 {
                    all.extend(harness.after(6000));
                }
                let expected: Vec<_> = (0..3 + unread + after).collect();
                assert_eq!(numbers(&all), expected, "{name}, {unread} unread, {after} written after the copy");
                assert!(harness.losses <= 1, "only the truncation: {:?}", harness.loss_texts);
            }
        }
    }
}
