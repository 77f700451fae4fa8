//! Files of which nothing was read yet, since a file before them may still be written to: whatever happens to them, during
//! a restart or while rtlogd runs, no line is lost in silence, repeated or out of order.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::io::Errno;

use crate::config::{LineFormat, ReadFrom};
use crate::source::file::open_hook;

use super::harness::{TailerHarness, long, numbers};

/// The line 1.
const FIRST: &str = "1 is the number of this line of a file\n";

const NAMES: [&str; 2] = ["log", "lo[g]"];

/// One thing that is done to the files, with its name.
type FileAction = (&'static str, fn(&TailerHarness));

/// Renames `log` to `log.1`, and each file with a number to the next one.
const ROTATE: FileAction = ("rotate", |harness| {
    for number in (1..9).rev().filter(|number| harness.directory.path(&format!("log.{number}")).exists()) {
        harness.rename(&format!("log.{number}"), &format!("log.{}", number + 1));
    }
    harness.rename("log", "log.1");
});

/// The same, but the file stays at the path, and is copied and truncated.
const COPY_AND_TRUNCATE: FileAction = ("copy and truncate", |harness| {
    for number in (1..9).rev().filter(|number| harness.directory.path(&format!("log.{number}")).exists()) {
        harness.rename(&format!("log.{number}"), &format!("log.{}", number + 1));
    }
    fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
    harness.directory.write("log", "");
});

const DELETE: FileAction = ("delete", |harness| fs::remove_file(harness.directory.path("log")).unwrap());
const TRUNCATE: FileAction = ("truncate", |harness| {
    harness.directory.write("log", "");
});
const REPLACE_BY_COPY: FileAction = ("replace by a copy", |harness| {
    fs::copy(harness.directory.path("log"), harness.directory.path("new")).unwrap();
    harness.rename("new", "log");
});
const LOOK: FileAction = ("look", |_| ());
const RESTART: FileAction = ("restart", |_| ());
const WRITE_2: FileAction = ("2", |harness| harness.directory.append("log", &long(2)));
const WRITE_3: FileAction = ("3", |harness| harness.directory.append("log", &long(3)));
const WRITE_4: FileAction = ("4", |harness| harness.directory.append("log", &long(4)));
const WRITE_5: FileAction = ("5", |harness| harness.directory.append("log", &long(5)));

/// Runs steps on a log of which the first line was read. Returns the name of the case, the numbers of all lines, and the
/// harness.
fn run(name: &str, steps: &[FileAction]) -> (String, Vec<u32>, TailerHarness) {
    run_from(name, FIRST, steps)
}

/// The same on a log with this text.
fn run_from(name: &str, text: &str, steps: &[FileAction]) -> (String, Vec<u32>, TailerHarness) {
    let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
    harness.directory.write("log", text);
    let mut all = harness.run_until_idle();
    for (step, act) in steps {
        match *step {
            "look" => all.extend(harness.after(10)),
            "restart" => harness.restart(),
            _ => {
                // The time stamps of directories are too coarse for changes that follow at once.
                std::thread::park_timeout(Duration::from_millis(12));
                act(&harness);
            }
        }
    }
    all.extend(harness.after(10));
    (0..6).for_each(|_| all.extend(harness.run_after_rotate_wait()));
    let steps: Vec<_> = steps.iter().map(|(step, _)| step).collect();
    (format!("{name}: {steps:?}: {:?}", harness.loss_texts), numbers(&all), harness)
}

#[test]
fn what_happens_during_a_restart_to_a_file_that_was_not_read_is_not_silent() {
    // The steps after the file was rotated and its successor was seen, the lines that are read, and the losses.
    let table: [(&[FileAction], &[u32], usize); 16] = [
        (&[], &[1, 2], 0),
        // The file may come back, until there is another one.
        (&[DELETE, LOOK, WRITE_3], &[1, 3], 1),
        (&[TRUNCATE], &[1], 1),
        (&[TRUNCATE, WRITE_3], &[1, 3], 1),
        (&[TRUNCATE, WRITE_3, WRITE_4], &[1, 3, 4], 1),
        (&[DELETE, WRITE_3], &[1, 3], 1),
        (&[WRITE_3], &[1, 2, 3], 0),
        (&[ROTATE, WRITE_3], &[1, 2, 3], 0),
        (&[WRITE_3, ROTATE, WRITE_4, ROTATE, WRITE_5], &[1, 2, 3, 4, 5], 0),
        (&[COPY_AND_TRUNCATE, WRITE_3], &[1, 2, 3], 0),
        (&[COPY_AND_TRUNCATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4], &[1, 2, 3, 4], 0),
        (&[COPY_AND_TRUNCATE, WRITE_3, ROTATE, WRITE_4], &[1, 2, 3, 4], 0),
        (&[ROTATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4], &[1, 2, 3, 4], 0),
        (&[REPLACE_BY_COPY], &[1, 2], 0),
        (&[REPLACE_BY_COPY, WRITE_3], &[1, 2, 3], 0),
        (&[COPY_AND_TRUNCATE, WRITE_3, LOOK, RESTART, ROTATE, WRITE_4], &[1, 2, 3, 4], 0),
    ];
    for name in NAMES {
        for looks in [&[WRITE_2, LOOK][..], &[LOOK, WRITE_2, LOOK], &[WRITE_2, LOOK, RESTART, LOOK]] {
            for (steps, lines, losses) in table {
                let before = [ROTATE].iter().chain(looks).chain([&RESTART]);
                let steps: Vec<FileAction> = before.chain(steps).copied().collect();
                let (case, read, harness) = run(name, &steps);
                assert_eq!((read, harness.losses), (lines.to_vec(), losses), "{case}");
            }
        }
    }
}

#[test]
fn rotations_of_files_that_were_not_read_are_read_in_order() {
    let table: [&[FileAction]; 6] = [
        &[ROTATE, WRITE_2, ROTATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4, ROTATE, WRITE_5],
        &[ROTATE, WRITE_2, COPY_AND_TRUNCATE, WRITE_3, ROTATE, WRITE_4, COPY_AND_TRUNCATE, WRITE_5],
        &[ROTATE, WRITE_2, COPY_AND_TRUNCATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4, ROTATE, WRITE_5],
        &[ROTATE, WRITE_2, ROTATE, WRITE_3, ROTATE, WRITE_4, COPY_AND_TRUNCATE, WRITE_5],
        &[COPY_AND_TRUNCATE, WRITE_2, ROTATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4, ROTATE, WRITE_5],
        &[WRITE_2, ROTATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4, COPY_AND_TRUNCATE, WRITE_5],
    ];
    for name in NAMES {
        for steps in table {
            // rtlogd looks never, after each step, or after one of them.
            for looks in (0..steps.len()).map(|at| 1 << at).chain([0, u32::MAX]) {
                let look = |at: usize| (looks >> at & 1 == 1).then_some(LOOK);
                let all = steps.iter().enumerate().flat_map(|(at, step)| [Some(*step), look(at)]).flatten();
                let (case, read, harness) = run(name, &all.collect::<Vec<_>>());
                assert_eq!(read, [1, 2, 3, 4, 5], "{case}");
                // Nothing is known of what was written to a file that was read before it was copied and truncated.
                assert!(harness.losses == 0 || steps[0].0 != "rotate", "{case}");
            }
        }
    }
}

#[test]
fn what_is_written_during_a_restart_to_a_file_that_was_empty_is_read_although_it_was_copied_and_truncated() {
    let table: [(&[FileAction], &[u32]); 5] = [
        (&[WRITE_2, COPY_AND_TRUNCATE], &[2]),
        (&[WRITE_2, COPY_AND_TRUNCATE, WRITE_3], &[2, 3]),
        (&[WRITE_2, COPY_AND_TRUNCATE, WRITE_3, COPY_AND_TRUNCATE, WRITE_4], &[2, 3, 4]),
        (&[WRITE_2, COPY_AND_TRUNCATE, WRITE_3, ROTATE, WRITE_4], &[2, 3, 4]),
        (&[WRITE_2, COPY_AND_TRUNCATE, WRITE_3, LOOK, RESTART, COPY_AND_TRUNCATE, ROTATE, WRITE_4], &[2, 3, 4]),
    ];
    for name in NAMES {
        // The file is new, or what was read of it was copied and truncated.
        for before in [&[][..], &[COPY_AND_TRUNCATE]] {
            for (steps, lines) in table {
                let steps: Vec<_> = before.iter().chain(&[LOOK, RESTART]).chain(steps).copied().collect();
                let (case, read, harness) = run_from(name, if before.is_empty() { "" } else { FIRST }, &steps);
                let read: Vec<_> = read.into_iter().filter(|line| *line > 1).collect();
                assert_eq!((&read[..], harness.losses), (lines, before.len()), "{case}");
            }
        }
    }
}

#[test]
fn a_copy_of_a_file_that_replaced_an_unread_one_is_read_once() {
    let looks: [&[FileAction]; 3] = [&[], &[LOOK], &[LOOK, RESTART]];
    for name in NAMES {
        // Nine cases contain each pair of looks at each two of the four points.
        for (first, second) in (0..9).map(|case| (case / 3, case % 3)) {
            let look = |point: usize| looks[[first, second, first + second, first + 2 * second][point] % 3];
            let steps = [
                &[ROTATE, WRITE_2, LOOK, RESTART, REPLACE_BY_COPY, WRITE_3],
                look(0),
                &[REPLACE_BY_COPY, WRITE_4],
                look(1),
                &[COPY_AND_TRUNCATE],
                look(2),
                &[WRITE_5],
                look(3),
                &[ROTATE],
            ];
            let (case, read, _) = run(name, &steps.concat());
            assert_eq!(read, [1, 2, 3, 4, 5], "{case}");
        }
    }
}

#[test]
fn copies_that_were_made_around_two_restarts_keep_their_order() {
    let down: [&[FileAction]; 4] = [
        &[COPY_AND_TRUNCATE, WRITE_2],
        &[WRITE_2, COPY_AND_TRUNCATE, WRITE_3],
        &[WRITE_2, COPY_AND_TRUNCATE, LOOK, WRITE_3],
        &[COPY_AND_TRUNCATE, WRITE_2, COPY_AND_TRUNCATE, WRITE_3],
    ];
    let live: [&[FileAction]; 3] = [&[], &[LOOK], &[LOOK, LOOK]];
    let then: [&[FileAction]; 3] =
        [&[COPY_AND_TRUNCATE], &[COPY_AND_TRUNCATE, LOOK, ROTATE], &[COPY_AND_TRUNCATE, ROTATE]];
    let cases = (0..36).map(|case| (down[case % 4], live[case / 4 % 3], then[case / 12]));
    for (name, (down, live, then)) in NAMES.iter().flat_map(|name| cases.clone().map(move |case| (name, case))) {
        let middle = [COPY_AND_TRUNCATE, WRITE_4];
        let steps = [&[RESTART], down, live, &middle, live, &[RESTART], then, &[WRITE_5]].concat();
        let (case, read, _) = run(name, &steps);
        assert!(read.is_sorted(), "{case}: {read:?}");
        assert!(read.contains(&4) && read.contains(&5), "{case}: {read:?}");
    }
}

#[test]
fn a_copy_that_may_not_be_opened_yet_is_continued_later() {
    for name in NAMES {
        let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
        harness.directory.write("log", FIRST);
        let mut all = harness.run_until_idle();
        harness.restart();
        for act in [WRITE_2, COPY_AND_TRUNCATE, WRITE_3] {
            std::thread::park_timeout(Duration::from_millis(12));
            act.1(&harness);
        }
        let copy = fs::metadata(harness.directory.path("log.1")).unwrap().ino();
        open_hook::refuse(Some((copy, Errno::ACCESS)));
        all.extend(harness.run_after_rotate_wait());
        open_hook::refuse(None);
        (0..4).for_each(|_| all.extend(harness.run_after_rotate_wait()));
        assert_eq!(numbers(&all), [1, 2, 3], "{name}: {:?}", harness.loss_texts);
    }
}

#[test]
fn a_file_that_may_not_be_opened_now_is_not_lost() {
    // The files are log.2 with the line 1, log.1 with 2, and log with 3; nothing of the last two was read.
    for name in NAMES {
        for refused in ["log", "log.1", "log.2"] {
            for errno in [Errno::ACCESS, Errno::MFILE, Errno::IO] {
                for is_read in [false, true] {
                    let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
                    harness.directory.write("log", &long(1));
                    let mut all = harness.run_until_idle();
                    for number in [2, 3] {
                        ROTATE.1(&harness);
                        harness.create_later("log", &long(number));
                        if is_read {
                            harness.note_closed("log");
                        }
                        all.extend(harness.after(10));
                    }
                    harness.restart();
                    let inode = fs::metadata(harness.directory.path(refused)).unwrap().ino();
                    open_hook::refuse(Some((inode, errno)));
                    (0..3).for_each(|_| all.extend(harness.run_after_rotate_wait()));
                    harness.directory.append(refused, &long(4));
                    open_hook::refuse(None);
                    (0..6).for_each(|_| all.extend(harness.run_after_rotate_wait()));
                    let case = format!("{name}, {refused}, {errno}, {is_read}: {:?}", harness.loss_texts);
                    let mut read = numbers(&all);
                    assert_eq!(harness.losses, 0, "{case}: {read:?}");
                    assert!(read.iter().filter(|line| **line < 4).is_sorted(), "{case}: {read:?}");
                    read.sort_unstable();
                    assert_eq!(read, [1, 2, 3, 4], "{case}");
                }
            }
        }
    }
}

#[test]
fn what_a_container_was_drawing_comes_before_the_next_file_after_a_restart() {
    let docker = |text: &str| {
        let line = serde_json::json!({ "log": text, "stream": "stdout", "time": "2026-11-23T05:11:12Z" });
        format!("{line}\n")
    };
    for name in NAMES {
        for rotates_before in [false, true] {
            for closes in [false, true] {
                let mut harness = TailerHarness::with_format(&[name], ReadFrom::Beginning, LineFormat::Docker);
                harness.directory.write("log", &(docker("one\n") + &docker("\r10%\r20%")));
                let mut all = harness.run_until_idle();
                let next = docker("two\n");
                if rotates_before {
                    harness.rename("log", "log.1");
                    harness.create_later("log", &next);
                    all.extend(harness.after(10));
                    harness.restart();
                } else {
                    harness.restart();
                    all.extend(harness.after(10));
                    harness.rename("log", "log.1");
                    harness.create_later("log", &next);
                }
                all.extend(harness.after(10));
                if closes {
                    harness.note_closed("log");
                }
                all.extend(harness.after(10));
                (0..3).for_each(|_| all.extend(harness.run_after_rotate_wait()));
                assert_eq!(all, ["one", "20%", "two"], "{name}, {rotates_before}, {closes}");
            }
        }
    }
}
