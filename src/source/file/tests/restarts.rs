//! What is read after a start from recorded checkpoints.

use std::fs;
use std::time::Duration;

use crate::config::{LineFormat, ReadFrom};

use super::harness::{TailerHarness, long, numbers};

#[test]
fn a_restart_continues_behind_the_last_line() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::End);
    harness.directory.write("log", "one\ntwo\nthr");
    assert_eq!(harness.run_until_idle(), ["one", "two"]);
    harness.restart();
    assert_eq!(harness.run_until_idle(), [""; 0]);
    harness.directory.append("log", "ee\nfour\n");
    harness.restart();
    assert_eq!(harness.run_until_idle(), ["three", "four"]);
    assert_eq!(harness.losses, 0);
}

#[test]
fn rotations_during_a_restart_are_read_in_order() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::End);
    harness.directory.write("log", "1\n");
    assert_eq!(harness.run_until_idle(), ["1"]);
    harness.restart();
    harness.directory.append("log", "2\n");
    for n in 3..6 {
        for old in (1..n - 2).rev() {
            harness.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        harness.rename("log", "log.1");
        harness.directory.write("log", &format!("{n}\n"));
    }
    let mut all = harness.run_until_idle();
    for _ in 0..4 {
        all.extend(harness.run_after_rotate_wait());
    }
    assert_eq!(all, ["2", "3", "4", "5"]);
    assert_eq!(harness.losses, 0);
}

#[test]
fn the_same_content_under_another_inode_is_continued() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::End);
    harness.directory.write("log", "one\ntwo\n");
    assert_eq!(harness.run_until_idle(), ["one", "two"]);
    harness.restart();
    fs::copy(harness.directory.path("log"), harness.directory.path("copy")).unwrap();
    harness.rename("copy", "log");
    harness.directory.append("log", "three\n");
    assert_eq!(harness.run_until_idle(), ["three"]);
    assert_eq!(harness.losses, 0);
}

#[test]
fn another_content_under_the_same_inode_is_a_loss_and_read_from_its_start() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::End);
    harness.directory.write("log", "one\ntwo\n");
    assert_eq!(harness.run_until_idle(), ["one", "two"]);
    harness.restart();
    harness.directory.write("log", "uno\ndos\n");
    assert_eq!(harness.run_until_idle(), ["uno", "dos"]);
    assert_eq!(harness.losses, 1);
}

#[test]
fn a_damaged_checkpoint_is_ignored() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "one\n");
    harness.checkpoints.insert(harness.directory.path("log").to_str().unwrap().to_owned(), "{\"at\":".to_owned());
    assert_eq!(harness.run_until_idle(), ["one"]);
}

#[test]
fn a_path_that_named_nothing_is_read_from_its_start_after_a_restart() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::End);
    assert_eq!(harness.run_until_idle(), [""; 0]);
    assert_eq!(harness.state["state"], "waiting");
    harness.restart();
    harness.directory.write("log", "one\n".repeat(200).as_str());
    assert_eq!(harness.run_until_idle().len(), 200);
}

#[test]
fn a_file_that_was_moved_to_an_unknown_directory_during_a_restart_is_a_loss() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    fs::create_dir(harness.directory.path("old")).unwrap();
    harness.directory.write("log", &long(0));
    harness.run_until_idle();
    harness.restart();
    harness.directory.append("log", &long(1));
    harness.rename("log", "old/log.1");
    harness.directory.write("log", &long(2));
    let all = [harness.run_until_idle(), harness.run_after_rotate_wait()].concat();
    assert_eq!((numbers(&all), harness.losses), (vec![2], 1));
}

#[test]
fn what_was_truncated_and_then_rotated_during_a_restart_is_read_behind_its_copy() {
    for look_between in [false, true] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", &long(1));
        assert_eq!(numbers(&harness.run_until_idle()), [1]);
        harness.restart();
        harness.directory.append("log", &long(2));
        fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
        harness.directory.write("log", &long(3));
        harness.rename("log.1", "log.2");
        harness.rename("log", "log.1");
        let mut all = Vec::new();
        if look_between {
            all.extend(harness.run_until_idle());
            harness.restart();
        }
        harness.directory.write("log", &long(4));
        for _ in 0..4 {
            all.extend(harness.run_after_rotate_wait());
        }
        assert_eq!((numbers(&all), harness.losses), (vec![2, 3, 4], 0), "look between: {look_between}");
    }
}

#[test]
fn what_was_rotated_is_read_although_the_path_names_nothing_after_a_restart() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", &long(1));
    harness.run_until_idle();
    harness.restart();
    fs::remove_file(harness.directory.path("log")).unwrap();
    assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat(), [""; 0], "the file may come back");
    std::thread::park_timeout(Duration::from_millis(12));
    harness.directory.write("log", &long(2));
    harness.rename("log", "log.1");
    assert_eq!(numbers(&[harness.run_until_idle(), harness.run_after_rotate_wait()].concat()), [2]);
    assert_eq!(harness.losses, 1, "what may have been written to the file that is gone");
}

#[test]
fn a_file_that_is_deleted_before_it_was_read_is_a_loss_after_a_restart() {
    for name in ["log", "lo[g]"] {
        for deleted in [&[1][..], &[2], &[1, 2]] {
            for restart in [false, true] {
                let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
                harness.directory.write("log", &long(0));
                let mut all = harness.run_until_idle();
                for n in 1..4 {
                    harness.rename("log", &format!("log-2026010{n}"));
                    harness.create_later("log", &long(n));
                    all.extend(harness.after(10));
                }
                // The files with the lines 1 and 2 wait for late writers of the first one.
                for n in deleted {
                    fs::remove_file(harness.directory.path(&format!("log-2026010{}", n + 1))).unwrap();
                }
                all.extend(harness.after(10));
                if restart {
                    harness.restart();
                }
                (0..8).for_each(|_| all.extend(harness.after(6000)));
                let case = format!("{name}, deleted: {deleted:?}, restart: {restart}");
                let expected: Vec<_> = (0..4).filter(|n| !(restart && deleted.contains(n))).collect();
                assert_eq!(numbers(&all), expected, "{case}");
                assert_eq!(harness.losses > 0, restart, "{case}: {:?}", harness.loss_texts);
            }
        }
    }
}

#[test]
fn a_file_is_not_lost_after_a_restart_even_if_it_follows_one_that_is_waited_for() {
    type FileStep = (&'static str, fn(&TailerHarness));
    let append: FileStep = ("append", |harness| harness.directory.append("log", &long(3)));
    let truncate: FileStep = ("truncate", |harness| {
        harness.directory.write("log", "");
    });
    let copy: FileStep = ("copy", |harness| {
        fs::copy(harness.directory.path("log"), harness.directory.path("old/log.0")).unwrap();
    });
    let rename: FileStep = ("rename", |harness| harness.rename("log", "old/log.0"));
    let write: FileStep = ("write", |harness| harness.directory.append("old/log.0", &long(3)));
    let link: FileStep = ("link", |harness| {
        fs::hard_link(harness.directory.path("log"), harness.directory.path("old/log.0")).unwrap();
    });
    let delete: FileStep = ("delete", |harness| fs::remove_file(harness.directory.path("log")).unwrap());
    let delete_old: FileStep = ("delete old", |harness| fs::remove_file(harness.directory.path("old/log.0")).unwrap());
    let look: FileStep = ("look", |_| ());
    // The steps, and the number of losses that they cause whatever is read.
    let table: [(&[FileStep], usize); 13] = [
        (&[look, append, delete], 0),
        (&[append, look, delete], 0),
        (&[look, append, rename, look, delete_old], 0),
        (&[rename, write, look, delete_old], 0),
        (&[copy, truncate, append, look, delete], 0),
        (&[copy, truncate, look, append, look, delete], 0),
        (&[look, copy, truncate, append, look, delete], 1),
        (&[truncate, append, look, delete], 1),
        (&[look, truncate, append, look, delete], 1),
        (&[append, link, look, delete], 0),
        (&[truncate, append, link, look, delete], 1),
        (&[truncate, append, link, look, delete, delete_old], 1),
        (&[truncate, append, rename, look, delete_old], 1),
    ];
    let cases = [("log", true), ("log", false), ("lo[g]", true), ("lo[g]", false)];
    for (name, follows) in cases {
        for (steps, losses) in table {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning).with_rotated(&["old"]);
            fs::create_dir(harness.directory.path("old")).unwrap();
            harness.directory.write("log", &long(1));
            let mut all = harness.run_until_idle();
            if follows {
                harness.rename("log", "old/log.1");
                harness.create_later("log", &long(2));
                harness.note_closed("log");
            } else {
                harness.directory.append("log", &long(2));
            }
            all.extend(harness.after(10));
            let case =
                format!("{name}, follows: {follows}: {:?}", steps.iter().map(|(step, _)| step).collect::<Vec<_>>());
            assert_eq!(numbers(&all), [1, 2], "{case}");
            harness.restart();
            for (step, run) in steps {
                // The time stamps of directories are too coarse for changes that follow at once.
                std::thread::park_timeout(Duration::from_millis(12));
                run(&harness);
                if *step == "look" {
                    all.extend(harness.after(10));
                }
            }
            harness.create_later("log", &long(4));
            all.extend(harness.after(10));
            (0..4).for_each(|_| all.extend(harness.run_after_rotate_wait()));
            assert_eq!(numbers(&all), [1, 2, 3, 4], "{case}: {:?}", harness.loss_texts);
            assert_eq!(harness.losses, losses, "{case}: {:?}", harness.loss_texts);
        }
    }
}

#[test]
fn copies_between_the_old_and_the_new_content_of_a_file_are_read_in_their_order() {
    let [keep, delete, rename] = [0, 1, 2];
    for (name, follows) in [("log", true), ("log", false), ("lo[g]", true), ("lo[g]", false)] {
        for then in [keep, delete, rename] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            let path = |name: &str| harness.directory.path(name);
            let (log, copies) = (path("log"), [path("log.2"), path("log.1")]);
            harness.directory.write("log", &long(0));
            harness.run_until_idle();
            if follows {
                harness.rename("log", "log.3");
                harness.create_later("log", &long(1));
                harness.note_closed("log");
            } else {
                harness.directory.append("log", &long(1));
            }
            harness.after(10);
            harness.restart();
            for (n, copy) in [2, 3].into_iter().zip(&copies) {
                std::thread::park_timeout(Duration::from_millis(12));
                fs::copy(&log, copy).unwrap();
                harness.directory.write("log", &long(n));
            }
            std::thread::park_timeout(Duration::from_millis(12));
            let mut all = harness.after(10);
            if then == delete {
                fs::remove_file(&copies[1]).unwrap();
            } else if then == rename {
                if follows {
                    harness.rename("log.3", "log.4");
                }
                harness.rename("log.2", "log.3");
                harness.rename("log.1", "log.2");
                harness.rename("log", "log.1");
                harness.create_later("log", &long(4));
            }
            (0..5).for_each(|_| all.extend(harness.run_after_rotate_wait()));
            let case = format!("{name}, follows: {follows}, then: {then}: {:?}", harness.loss_texts);
            let expected = if then == rename { &[2, 3, 4][..] } else { &[2, 3] };
            assert_eq!((numbers(&all), harness.losses), (expected.to_vec(), 0), "{case}");
        }
    }
}

#[test]
fn what_a_container_was_drawing_is_not_lost_with_its_file() {
    let docker = |text: &str| serde_json::json!({ "log": text, "stream": "stdout", "time": "2026-11-23T05:11:12Z" });
    let [first, other] = [["one\n", "\r10%\r20%"], ["\u{1b}[1A\u{1b}[Kother\n", "two\n"]]
        .map(|texts| texts.map(|text| format!("{}\n", docker(text))).concat());
    for (name, is_replaced) in [("log", false), ("log", true), ("lo[g]", false), ("lo[g]", true)] {
        let mut harness = TailerHarness::with_format(&[name], ReadFrom::Beginning, LineFormat::Docker);
        harness.directory.write("log", &first);
        assert_eq!(harness.run_until_idle(), ["one"]);
        harness.restart();
        fs::remove_file(harness.directory.path("log")).unwrap();
        let mut all = if is_replaced { Vec::new() } else { harness.run_after_rotate_wait() };
        // A file that is configured may come back. One that a pattern found does not.
        let expected = if (name, is_replaced) == ("lo[g]", false) {
            &["20%"][..]
        } else {
            harness.create_later("log", &other);
            &["20%", "other", "two"]
        };
        (0..2).for_each(|_| all.extend(harness.run_after_rotate_wait()));
        assert_eq!(all, expected, "{name}, replaced: {is_replaced}");
    }
}
