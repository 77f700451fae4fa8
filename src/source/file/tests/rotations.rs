//! Rotations that are found late: under many names, behind symlinks, and in other directories.

use std::fs;
use std::time::Duration;

use crate::config::ReadFrom;

use super::harness::{TailerHarness, long, numbers};
use crate::source::file::open_hook::{after_open, run_after_open};

#[test]
fn one_reader_for_a_file_by_many_names() {
    let mut harness = TailerHarness::new(&["*.log", "link", "a.*"], ReadFrom::Beginning);
    harness.directory.write("a.log", "one\n");
    std::os::unix::fs::symlink(harness.directory.path("a.log"), harness.directory.path("link")).unwrap();
    fs::hard_link(harness.directory.path("a.log"), harness.directory.path("b.log")).unwrap();
    assert_eq!(harness.run_until_idle(), ["one"]);
    harness.directory.append("b.log", "two\n");
    assert_eq!(harness.run_after_rotate_wait(), ["two"]);
    assert_eq!((&harness.state["state"], &harness.state["files"]), (&"following".into(), &1.into()));
}

#[test]
fn a_rotated_name_that_the_pattern_matches_is_no_new_file() {
    let mut harness = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    harness.directory.write("log", "one\n");
    assert_eq!(harness.run_until_idle(), ["one"]);
    for n in 2..5 {
        for old in (1..n - 1).rev() {
            harness.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        harness.rename("log", "log.1");
        harness.directory.write("log", &format!("{n}\n"));
        let mut all = harness.run_after_rotate_wait();
        all.extend(harness.run_after_rotate_wait());
        all.extend(harness.run_after_rotate_wait());
        assert_eq!(all, [n.to_string()]);
    }
    // The last name of all is found; polling finds it where changes are not notified.
    harness.now += Duration::from_secs(61);
    assert_eq!(harness.run_until_idle(), [""; 0]);
    harness.restart();
    assert_eq!(harness.run_until_idle(), [""; 0]);
    assert_eq!(harness.run_after_rotate_wait(), [""; 0]);
    assert_eq!(harness.losses, 0);
}

/// Rotates repeatedly, with one line each, and without a pass in between.
fn rotate_quickly(harness: &TailerHarness, rotations: std::ops::Range<u32>, counts_up: bool) {
    for n in rotations {
        harness.directory.append("log", &long(n));
        if counts_up {
            harness.rename("log", &format!("log.{n}"));
            continue;
        }
        for old in (1..n).rev().filter(|old| harness.directory.path(&format!("log.{old}")).exists()) {
            harness.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        harness.rename("log", "log.1");
    }
}

#[test]
fn rotations_that_nobody_could_see_are_read_in_order() {
    for (counts_up, restart) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", &long(0));
        let mut all = harness.run_until_idle();
        // Files that were created at different times tell the direction of the numbers.
        for n in 1..4 {
            std::thread::park_timeout(Duration::from_millis(12));
            rotate_quickly(&harness, n..n + 1, counts_up);
            all.extend(harness.run_until_idle());
        }
        for many in [4..5, 5..30, 30..150] {
            rotate_quickly(&harness, many, counts_up);
            all.extend(harness.run_until_idle());
            if restart {
                harness.restart();
                all.extend(harness.run_until_idle());
            }
        }
        for _ in 0..8 {
            all.extend(harness.run_after_rotate_wait());
        }
        assert!(numbers(&all).into_iter().eq(0..150), "counts up: {counts_up}, restart: {restart}: {all:?}");
        assert_eq!(harness.losses, 0);
    }
}

#[test]
fn a_rotation_of_the_target_of_a_symlink_is_a_rotation() {
    for name in ["link.log", "absolute.log", "*ative.log", "*bsolute.log", "chain.log", "directory/log"] {
        for restart in [false, true] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            let pods = harness.directory.path("pods");
            fs::create_dir(&pods).unwrap();
            for (link, target) in [
                ("link.log", "pods/log"),
                ("relative.log", "./pods/../pods/log"),
                ("absolute.log", pods.join("log").to_str().unwrap()),
                ("chain.log", "pods/inner"),
                ("pods/inner", "log"),
                ("directory", "pods"),
            ] {
                std::os::unix::fs::symlink(target, harness.directory.path(link)).unwrap();
            }
            harness.directory.write("pods/log", &long(0));
            let mut all = harness.run_until_idle();
            if restart {
                harness.restart();
            }
            // Nobody could see these, and the last one leaves a symlink that leads to nothing.
            for n in 1..5 {
                std::thread::park_timeout(Duration::from_millis(12));
                harness.directory.append("pods/log", &long(n));
                harness.rename("pods/log", &format!("pods/log.2026112{n}"));
            }
            for n in 5..8 {
                for _ in 0..3 {
                    all.extend(harness.after(6000));
                }
                harness.directory.append("pods/log", &long(n));
                if n == 6 {
                    harness.rename("pods/log", "pods/log.20261126");
                }
            }
            for _ in 0..3 {
                all.extend(harness.after(6000));
            }
            assert!(numbers(&all).into_iter().eq(0..8), "{name}, restart: {restart}: {all:?}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, restart: {restart}");
        }
    }
}

#[test]
fn the_old_target_of_a_symlink_that_was_switched_during_a_restart_is_read_first() {
    let mut harness = TailerHarness::new(&["link"], ReadFrom::Beginning);
    let switch = |harness: &TailerHarness, to: &str| {
        std::os::unix::fs::symlink(to, harness.directory.path("new")).unwrap();
        harness.rename("new", "link");
    };
    for target in ["a", "b"] {
        fs::create_dir(harness.directory.path(target)).unwrap();
    }
    harness.directory.write("a/log", &long(0));
    switch(&harness, "a/log");
    let mut all = harness.run_until_idle();
    harness.restart();
    harness.directory.append("a/log", &long(1));
    harness.directory.write("b/log", &long(2));
    switch(&harness, "b/log");
    for _ in 0..3 {
        all.extend(harness.after(6000));
    }
    assert_eq!((numbers(&all), harness.losses), (vec![0, 1, 2], 0));
}

#[test]
fn all_files_of_the_old_target_of_a_symlink_are_read_before_the_new_one() {
    // The link, its targets, and the name of the target once it is rotated.
    for (link, old, new, rotated) in [
        ("link", "a/0.log", "a/1.log", "a/0.log.20261128"),
        ("link", "a/0.log", "b/0.log", "a/0.log.1"),
        ("lin[k]", "a/0.log", "b/1.log", "a/0-20261128.log"),
        ("directory/log", "a", "b", "a/log.1"),
        ("directo*/log", "a", "b", "a/log.1"),
        ("directory/inner/log", "a", "b", "a/inner/log.1"),
    ] {
        for restart in [false, true] {
            let name = link.split('/').next().unwrap().replace("lin[k]", "link").replace('*', "ry");
            let inner = link.strip_prefix(link.split('/').next().unwrap()).unwrap();
            let (mut harness, path) =
                (TailerHarness::new(&[link], ReadFrom::Beginning), |target: &str| format!("{target}{inner}"));
            for directory in ["a", "b", "a/inner", "b/inner"] {
                fs::create_dir(harness.directory.path(directory)).unwrap();
            }
            harness.directory.write(&path(old), &long(0));
            harness.switch(&name, old);
            let mut all = harness.run_until_idle();
            if restart {
                harness.restart();
            }
            harness.directory.append(&path(old), &long(1));
            harness.rename(&path(old), rotated);
            harness.create_later(&path(old), &long(2));
            harness.create_later(&path(new), &long(3));
            harness.switch(&name, new);
            for _ in 0..4 {
                all.extend(harness.after(6000));
            }
            harness.directory.append(&path(new), &long(4));
            all.extend(harness.after(6000));
            let what = format!("{link} from {old} to {new}, restart: {restart}");
            assert_eq!(numbers(&all), [0, 1, 2, 3, 4], "{what}");
            assert_eq!(harness.loss_texts, [""; 0], "{what}");
        }
    }
}

#[test]
fn files_in_the_directories_of_rotated_files_are_found() {
    for name in ["log", "lo[g]"] {
        for (restart, rotated) in
            [(false, "old/log.1"), (true, "old/log.1"), (true, "old/log-20261128"), (true, "older/log")]
        {
            let mut harness =
                TailerHarness::new(&[name], ReadFrom::Beginning).with_rotated(&["old", "older", "missing"]);
            for directory in ["old", "older"] {
                fs::create_dir(harness.directory.path(directory)).unwrap();
            }
            harness.directory.write("log", &long(0));
            let mut all = harness.run_until_idle();
            if restart {
                harness.restart();
            }
            harness.directory.append("log", &long(1));
            harness.rename("log", "old/log.2");
            harness.create_later("log", &long(2));
            harness.rename("log", rotated);
            harness.create_later("log", &long(3));
            for _ in 0..4 {
                all.extend(harness.after(6000));
            }
            assert_eq!(numbers(&all), [0, 1, 2, 3], "{name}, {rotated}, restart: {restart}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, {rotated}, restart: {restart}");
        }
    }
}

#[test]
fn a_file_that_is_rotated_away_while_it_is_opened_has_its_successors_read() {
    for name in ["log", "lo[g]"] {
        for rotations in 1..4 {
            for up in [false, true] {
                for restart in [false, true] {
                    let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
                    harness.directory.write("log", &long(0));
                    let mut all = harness.run_until_idle();
                    let directory = harness.directory.path("");
                    let number = move |rotation: u32| if up { 10 + rotation } else { 20 - rotation };
                    let rotate = move |rotation: u32| {
                        let to = directory.join(format!("log.{}", number(rotation)));
                        fs::rename(directory.join("log"), to).unwrap();
                        // The files have different ages.
                        std::thread::park_timeout(Duration::from_millis(12));
                        fs::write(directory.join("log"), long(rotation)).unwrap();
                    };
                    rotate(1);
                    // The file with line 1 is at the path when the pass begins, and rotated away before the others are
                    // looked for.
                    let path = harness.directory.path("log");
                    after_open(path.clone(), move || {
                        (2..2 + rotations).for_each(rotate);
                        // The names do not seem to be changing any more.
                        std::thread::park_timeout(Duration::from_millis(12));
                    });
                    all.extend(harness.run_until_idle());
                    if restart {
                        harness.restart();
                    }
                    assert!(!run_after_open(&path), "the path was opened");
                    for _ in 0..=2 * rotations {
                        all.extend(harness.after(6000));
                    }
                    let expected: Vec<_> = (0..2 + rotations).collect();
                    let case = format!("{name}, {rotations} rotations, up: {up}, restart: {restart}");
                    assert_eq!((numbers(&all), &harness.loss_texts), (expected, &Vec::new()), "{case}");
                }
            }
        }
    }
}

#[test]
fn what_is_cut_off_a_file_before_it_is_read_is_a_loss() {
    // The bytes that a truncation leaves, and whether more is written after it.
    for (left, appends) in [(None, false), (None, true), (Some(0), false), (Some(0), true), (Some(3), true)] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", &long(1));
        let mut all = harness.run_until_idle();
        harness.rename("log", "log.1");
        harness.create_later("log", &long(2).repeat(3));
        // The file waits until the one before it has been silent.
        all.extend(harness.after(10));
        assert_eq!(numbers(&all), [1]);
        if let Some(left) = left {
            fs::OpenOptions::new().write(true).open(harness.directory.path("log")).unwrap().set_len(left).unwrap();
            all.extend(harness.after(10));
        }
        if appends {
            harness.directory.append("log", &format!("\n{}", long(3)));
        }
        (0..3).for_each(|_| all.extend(harness.run_after_rotate_wait()));
        let case = format!("left: {left:?}, appends: {appends}: {all:?}, {:?}", harness.loss_texts);
        assert_eq!(harness.losses, usize::from(left.is_some()), "{case}");
        assert_eq!(all.iter().filter(|line| line.starts_with('2')).count() >= 3, left.is_none(), "{case}");
        assert_eq!(all.iter().any(|line| line.starts_with('3')), appends, "{case}");
    }
}
