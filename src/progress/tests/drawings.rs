//! Rows that are redrawn: the last drawing, and the outermost of several bars.

use super::{after_drawings, at, short, tracker};

#[test]
fn the_last_drawing_counts_although_it_arrives_with_its_newline() {
    let table: [(&[&str], &str, &str); 9] = [
        (&["scanning files 10%", "scanning files 98%"], "scanning files 100%", "running 100% <scanning files>"),
        (&["scanning files 98%", "scanning files 99%"], "scanning files 100% ", "running 100% <scanning files>"),
        (&["x [===  ] 40%", "x [==== ] 90%"], "x [=====] 100%", "running 100% <x>"),
        (&["12/40 files", "39/40 files"], "40/40 files", "running 100% 40/40"),
        (&[" 10%", " 98%"], "100%", "running 100%"),
        (
            &["Reading package lists... 10%", "Reading package lists... 98%"],
            "Reading package lists... Done",
            "running 100% <Reading package lists>",
        ),
        (
            &["(Reading database ... 90%", "(Reading database ... 95%"],
            "(Reading database ... 1234 files and directories currently installed.)",
            "running 100% <Reading database>",
        ),
        (
            &["Writing inode tables:  3/9", "Writing inode tables:  7/9"],
            "Writing inode tables: done",
            "running 100% 9/9 <Writing inode tables>",
        ),
        // A line that has nothing to do with the bar.
        (&["scanning files 10%", "scanning files 98%"], "100% of nothing", "running 98% <scanning files>"),
    ];
    for (drawings, line, expected) in table {
        let mut tracker = tracker();
        for drawing in drawings {
            tracker.open(0, &[drawing.as_bytes().to_vec()], at(0));
        }
        tracker.line(0, line.as_bytes(), at(1000));
        assert_eq!(short(tracker.progress()), expected, "{line:?} after {drawings:?}");
    }
}

#[test]
fn of_several_rows_the_outermost_total_is_the_progress() {
    let table: [(&[&[&str]], &[&str]); 8] = [
        // tqdm.
        (
            &[
                &["Epoch:  20%|██   | 1/5 [00:01<00:04, 1it/s]", "Batch:  50%|███  | 5/10 [00:00<00:00, 9it/s]"],
                &["Epoch:  20%|██   | 1/5 [00:01<00:04, 1it/s]", "Batch:  90%|████ | 9/10 [00:00<00:00, 9it/s]"],
                &["Epoch:  40%|███  | 2/5 [00:02<00:03, 1it/s]", "Batch:   0%|     | 0/10 [00:00<00:00, 9it/s]"],
            ],
            &[
                "running 20% 1/5 <Epoch> Batch 50%",
                "running 20% 1/5 <Epoch> Batch 90%",
                "running 40% 2/5 <Epoch> Batch 0%",
            ],
        ),
        // The whole at the bottom.
        (
            &[
                &["a.bin [==   ] 40%", "b.bin [=    ] 20%", "Total [=    ] 10%"],
                &["a.bin [=====] 100%", "b.bin [=    ] 30%", "Total [==   ] 30%"],
            ],
            &["running 10% <Total> b.bin 20%", "running 30% <Total> b.bin 30%"],
        ),
        // Gradle.
        (&[&["<===----------> 33% EXECUTING [3s]", "> :app:compileJava", "> IDLE"]], &["running 33% <EXECUTING> IDLE"]),
        // BuildKit.
        (
            &[
                &["[+] Building 3.2s (3/7)", " => [1/4] FROM debian", " => [2/4] RUN make  1.2s"],
                &["[+] Building 9.2s (5/7)", " => [1/4] FROM debian", " => [2/4] RUN make  7.2s"],
            ],
            &["running 42.9% 3/7 [2/4] RUN make  1.2s", "running 71.4% 5/7 [2/4] RUN make  7.2s"],
        ),
        // Compose.
        (&[&["[+] Running 2/5", " ⠿ db Pulled"]], &["running 40% 2/5 <Running> db Pulled"]),
        // pacman: the count is that of all packages, and the percentage that of one.
        (
            &[&["(2/4) installing a   [#####-----]  50%"], &["(3/4) installing b   [##--------]  20%"]],
            &["running 50% 2/4 installing a", "running 75% 3/4 installing b"],
        ),
        // A count of objects above or below the bytes of one.
        (
            &[
                &["model.bin [===   ] 1.2G/3.4G", "files [=     ] 1/7"],
                &["model.bin [====  ] 2.2G/3.4G", "files [=     ] 1/7"],
            ],
            &["running 14.3% 1/7 <files> model.bin 35%", "running 14.3% 1/7 <files> model.bin 65%"],
        ),
        // A bar above that is full is that of a phase that has ended.
        (
            &[
                &["Receiving [=====] 100%", "Resolving [=    ] 20%"],
                &["Receiving [=====] 100%", "Resolving [==   ] 40%"],
            ],
            &["running 20% <Resolving>", "running 40% <Resolving>"],
        ),
    ];
    for (drawings, expected) in table {
        assert_eq!(after_drawings(&mut tracker(), drawings), expected, "{drawings:?}");
    }
}

#[test]
fn a_line_above_a_bar_is_not_the_bar() {
    let mut tracker = tracker();
    after_drawings(&mut tracker, &[&["All [==   ] 40%"], &["All [==   ] 50%"]]);
    tracker.line(0, b"[ 10%] Building x", at(3000));
    tracker.line(0, b"[90/100] CC x", at(3000));
    assert_eq!(short(tracker.progress()), "running 50% <All>");
}

/// A source is read between the two writes, or it is not: that changes nothing.
#[test]
fn a_bar_that_is_erased_before_it_is_drawn_again_is_redrawn() {
    let drawings = ["0%", "1% setup before run", "2% setup run", "4% setup module"];
    for erased in [None, Some(&[""][..]), Some(&[])] {
        let mut tracker = tracker();
        for drawing in drawings {
            tracker.open(0, &[drawing.as_bytes().to_vec()], at(0));
            if let Some(rows) = erased {
                let rows: Vec<_> = rows.iter().map(|row| row.as_bytes().to_vec()).collect();
                tracker.open(0, &rows, at(0));
            }
        }
        assert_eq!(short(tracker.progress()), "running 4% <setup> module", "{erased:?}");
    }
    // After a line, a first drawing is one again.
    let mut tracker = tracker();
    for (line, drawing) in [(None, "1% setup before run"), (Some("compiled"), "2% setup run")] {
        if let Some(line) = line {
            tracker.line(0, str::as_bytes(line), at(0));
        }
        tracker.open(0, &[drawing.as_bytes().to_vec()], at(0));
        tracker.open(0, &[], at(0));
    }
    assert_eq!(tracker.progress(), None);
}
