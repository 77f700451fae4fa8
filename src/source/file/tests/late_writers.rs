//! Writers that keep a file open after its rotation, and continue to write to it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::config::{LineFormat, ReadFrom};

use super::harness::TailerHarness;

/// A log that was read, and the writer that has it open.
fn rotated(name: &str) -> (TailerHarness, File) {
    let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
    harness.directory.write("log", "first\n");
    assert_eq!(harness.run_until_idle(), ["first"]);
    let writer = OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap();
    harness.rename("log", "log.1");
    assert_eq!(harness.run_until_idle(), [""; 0]);
    (harness, writer)
}

fn write(mut writer: &File, text: &str) {
    writer.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_renamed_file_without_a_successor_is_followed_for_ever() {
    let (mut harness, writer) = rotated("log");
    for n in 0..20 {
        write(&writer, &format!("{n}\n"));
        assert_eq!(harness.after(60_000), [n.to_string()]);
    }
    harness.restart();
    write(&writer, "after a restart\n");
    assert_eq!(harness.after(60_000), ["after a restart"]);
    harness.directory.write("log", "new\n");
    assert_eq!(harness.after(10), [""; 0]);
    assert_eq!([harness.after(6000), harness.after(10)].concat(), ["new"]);
    assert_eq!(harness.loss_texts, [""; 0]);
}

#[test]
fn a_pattern_leaves_a_renamed_file_without_a_successor_after_ten_minutes() {
    let (mut harness, writer) = rotated("lo[g]");
    write(&writer, "late\n");
    assert_eq!(harness.after(599_000), ["late"]);
    write(&writer, "later\n");
    assert_eq!(harness.after(599_000), ["later"]);
    harness.after(601_000);
    let file = fs::metadata(harness.directory.path("log.1")).unwrap();
    assert!(!harness.has_open(&file));
    assert_eq!(harness.loss_texts, [""; 0]);
}

#[test]
fn the_lines_of_a_late_writer_come_before_those_of_a_new_file() {
    let (mut harness, writer) = rotated("log");
    harness.directory.write("log", "new\n");
    let mut all = Vec::new();
    for n in 1..4 {
        write(&writer, &format!("{n}\n"));
        all.extend(harness.after(1000));
    }
    assert_eq!(all, ["1", "2", "3"]);
    assert_eq!([harness.after(5000), harness.after(10)].concat(), ["new"]);
}

#[test]
fn a_writer_that_does_not_stop_keeps_the_new_file_waiting_for_rotate_wait() {
    for restart in [false, true] {
        let (mut harness, writer) = rotated("log");
        harness.directory.write("log", "new 0\n");
        let (mut all, mut came_after) = (Vec::new(), None);
        for n in 0..40 {
            write(&writer, &format!("old {n}\nunfin"));
            if restart && n == 20 {
                harness.restart();
            }
            all.extend(harness.after(1000));
            if came_after.is_none() && all.iter().any(|line| line == "new 0") {
                came_after = Some(n);
            }
            write(&writer, "ished\n");
            harness.directory.append("log", &format!("new {}\n", n + 1));
        }
        for _ in 0..4 {
            all.extend(harness.after(6000));
        }
        assert!(came_after.is_some_and(|after| (3..=6).contains(&after)), "{came_after:?}");
        for (prefix, count) in [("old", 40), ("unfinished", 40), ("new", 41)] {
            let lines: Vec<_> = all.iter().filter(|line| line.starts_with(prefix)).collect();
            let expected = |(n, line): (usize, &&String)| prefix == "unfinished" || **line == format!("{prefix} {n}");
            assert_eq!(lines.len(), count, "{prefix}: {all:?}");
            assert!(lines.iter().enumerate().all(expected), "{lines:?}");
        }
        assert_eq!((all.len(), &harness.loss_texts[..]), (121, &[][..]), "restart: {restart}");
    }
}

#[test]
fn bytes_in_a_renamed_file_that_was_left_are_a_loss_of_known_size() {
    let (mut harness, writer) = rotated("log");
    harness.directory.write("log", "new\n");
    assert_eq!([harness.after(6000), harness.after(10)].concat(), ["new"]);
    for text in ["12345\n", "123\n"] {
        write(&writer, text);
        harness.rename("log.1", "log.2");
        harness.rename("log.2", "log.1");
        assert_eq!(harness.after(6000), [""; 0]);
        let loss = harness.loss_texts.pop().unwrap();
        assert!(
            loss.contains(&format!("\"bytes\":{},", text.len()))
                && loss.contains("after rtlogd had stopped reading it"),
            "{loss}"
        );
    }
    assert_eq!(harness.after(6000), [""; 0]);
    assert_eq!(harness.loss_texts, [""; 0], "each byte is reported once");
}

#[test]
fn a_deleted_file_is_closed_after_its_silence_and_at_the_latest_after_a_minute() {
    let deleted = || {
        let (harness, writer) = rotated("log");
        let file = fs::metadata(harness.directory.path("log.1")).unwrap();
        fs::remove_file(harness.directory.path("log.1")).unwrap();
        (harness, writer, file)
    };
    let (mut harness, writer, file) = deleted();
    write(&writer, "late\n");
    assert_eq!(harness.after(1000), ["late"]);
    assert!(harness.has_open(&file));
    harness.after(5000);
    assert!(!harness.has_open(&file));
    assert_eq!((&harness.state["state"], harness.loss_texts.len()), (&"waiting".into(), 0));
    for successor in [false, true] {
        let (mut harness, writer, file) = deleted();
        if successor {
            harness.directory.write("log", "new\n");
        }
        let mut all = Vec::new();
        for _ in 0..70 {
            write(&writer, "late\n");
            all.extend(harness.after(1000));
        }
        assert!(!harness.has_open(&file), "the disk space is free");
        assert!((59..62).contains(&all.iter().filter(|line| *line == "late").count()), "{all:?}");
        assert_eq!(all.contains(&"new".to_owned()), successor);
        assert_eq!(harness.loss_texts.len(), 1);
        assert!(harness.loss_texts[0].contains("after a minute") && !harness.loss_texts[0].contains("\"bytes\""));
    }
}

#[test]
fn four_old_files_are_read_at_once_and_each_for_ten_minutes() {
    let (mut harness, first) = rotated("log");
    let mut writers = vec![first];
    let mut all = Vec::new();
    let write_to_all = |harness: &mut TailerHarness, writers: &[File], all: &mut Vec<String>, seconds: u32| {
        for _ in 0..seconds {
            for (n, writer) in writers.iter().enumerate() {
                write(writer, &format!("{n}\n"));
            }
            all.extend(harness.after(1000));
        }
    };
    for n in 2..7 {
        harness.directory.write("log", &format!("file {n}\n"));
        write_to_all(&mut harness, &writers, &mut all, 8);
        writers.push(OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap());
        harness.rename("log", &format!("log.{n}"));
    }
    harness.directory.write("log", "newest\n");
    all.clear();
    write_to_all(&mut harness, &writers, &mut all, 20);
    assert!(all.contains(&"newest".to_owned()), "{all:?}");
    let read: Vec<_> = (0..6).map(|n| all[all.len() - 8..].contains(&n.to_string())).collect();
    assert_eq!(read, [false, false, true, true, true, true]);
    assert!(!harness.loss_texts.is_empty(), "what is written to the others");
    assert!(harness.loss_texts.iter().all(|loss| loss.contains("\"bytes\":")), "{:?}", harness.loss_texts);
    harness.loss_texts.clear();
    write_to_all(&mut harness, &writers[5..], &mut all, 600);
    let too_long = harness.loss_texts.iter().filter(|loss| loss.contains("after 10 minutes"));
    assert_eq!(too_long.count(), 1, "{:?}", harness.loss_texts);
}

#[test]
fn a_file_that_is_renamed_back_while_both_are_read_is_continued() {
    let (mut harness, writer) = rotated("log");
    harness.directory.write("log", "new\n");
    let mut all = Vec::new();
    for n in 0..8 {
        write(&writer, &format!("{n}\n"));
        all.extend(harness.after(1000));
    }
    assert!(all.contains(&"new".to_owned()), "{all:?}");
    harness.rename("log", "other");
    harness.rename("log.1", "log");
    write(&writer, "8\n");
    for _ in 0..3 {
        all.extend(harness.after(6000));
    }
    all.retain(|line| line != "new");
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!(harness.loss_texts, [""; 0]);
}

#[test]
fn a_successor_is_read_as_soon_as_a_writer_closed_the_old_file() {
    for (name, closed_before, restart) in
        [("log", false, false), ("log", true, false), ("lo[g]", false, false), ("log", false, true)]
    {
        let (mut harness, writer) = rotated(name);
        write(&writer, "late\n");
        if closed_before {
            harness.note_closed("log");
            assert_eq!(harness.after(10), ["late"], "{name}");
        }
        harness.directory.write("log", "new\n");
        if !closed_before {
            assert_eq!(harness.after(10), ["late"], "{name}");
            harness.note_closed("log");
        }
        assert_eq!([harness.after(10), harness.after(10)].concat(), ["new"], "{name}");
        // Another writer still has the old file open.
        let mut all = Vec::new();
        for n in 0..10 {
            write(&writer, &format!("old {n}\nunfin"));
            if restart && n == 5 {
                harness.restart();
            }
            all.extend(harness.after(1000));
            write(&writer, "ished\n");
            harness.directory.append("log", &format!("new {n}\n"));
        }
        all.extend(harness.after(1000));
        for prefix in ["old", "new", "unfinished"] {
            let lines: Vec<_> = all.iter().filter(|line| line.starts_with(prefix)).collect();
            let expected = |(n, line): (usize, &&String)| prefix == "unfinished" || **line == format!("{prefix} {n}");
            assert!(lines.len() == 10 && lines.iter().enumerate().all(expected), "{name}: {all:?}");
        }
        let file = fs::metadata(harness.directory.path("log.1")).unwrap();
        assert!(harness.has_open(&file), "{name}");
        assert_eq!([harness.after(6000), harness.after(10)].concat(), [""; 0]);
        assert!(!harness.has_open(&file), "{name}");
        assert_eq!((all.len(), &harness.loss_texts[..]), (30, &[][..]), "{name}");
    }
}

#[test]
fn an_unfinished_line_of_a_closed_file_comes_before_the_new_file() {
    for finished in [false, true] {
        let (mut harness, writer) = rotated("log");
        write(&writer, "unfin");
        harness.directory.write("log", "new\n");
        harness.note_closed("log");
        assert_eq!(harness.after(100), [""; 0]);
        if finished {
            write(&writer, "ished\n");
            assert_eq!([harness.after(100), harness.after(10)].concat(), ["unfinished", "new"]);
        } else {
            assert_eq!([harness.after(6000), harness.after(10)].concat(), ["unfin", "new"]);
        }
        assert_eq!(harness.loss_texts, [""; 0]);
    }
}

#[test]
fn the_silence_of_a_file_begins_with_its_last_write() {
    for (age, at_once) in [(0, false), (3, false), (6, true), (3600, true)] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        let writer = File::create(harness.directory.path("log")).unwrap();
        write(&writer, "first\n");
        writer.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        assert_eq!(harness.run_until_idle(), ["first"]);
        harness.rename("log", "log.1");
        harness.directory.write("log", "new\n");
        assert_eq!([harness.after(10), harness.after(10)].concat().len(), usize::from(at_once), "{age}");
        if !at_once {
            // The new file comes when the last write is five seconds ago.
            assert_eq!(harness.after(4800 - 1000 * age), [""; 0], "{age}");
            assert_eq!([harness.after(200), harness.after(10)].concat(), ["new"], "{age}");
        }
        if age > 0 {
            // The writer was only slow.
            write(&writer, "late\n");
            assert_eq!(harness.after(1000), ["late"], "{age}");
        }
        assert_eq!(harness.loss_texts, [""; 0]);
    }
}

#[test]
fn a_joined_event_continues_in_the_successor_of_a_closed_file() {
    for (late, restart) in [(false, 0), (false, 1), (false, 2), (true, 0), (true, 1), (true, 2)] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning)
            .with_spec(|spec| spec.multiline = Some(super::harness::joined()));
        harness.directory.write("log", "1 zero\n2 boom\n at a\n");
        let mut all = harness.run_until_idle();
        let writer = OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap();
        harness.rename("log", "log.1");
        harness.create_later("log", " at b\n");
        harness.note_closed("log");
        all.extend([harness.after(50), harness.after(50)].concat());
        if restart == 1 {
            harness.restart();
            all.extend(harness.after(10));
            harness.note_closed("log");
            all.extend([harness.after(10), harness.after(10)].concat());
        }
        if late {
            write(&writer, " at late\n3 late\n");
            all.extend(harness.after(50));
        }
        if restart == 2 {
            harness.restart();
            all.extend(harness.after(10));
        }
        harness.directory.append("log", " at c\n4 next\n");
        for _ in 0..10 {
            all.extend(harness.after(1000));
        }
        let events = all.join("|");
        if late {
            let mut lines: Vec<_> = events.split(['|', '\n']).collect();
            lines.sort_unstable();
            let expected = [" at a", " at b", " at c", " at late", "1 zero", "2 boom", "3 late", "4 next"];
            assert_eq!(lines, expected, "restart {restart}: {events}");
        } else {
            assert_eq!(events, "1 zero|2 boom\n at a\n at b\n at c|4 next", "restart {restart}");
        }
        assert_eq!(harness.loss_texts, [""; 0]);
    }
}

/// A log with `count` rotations, and the writers of all its files; the last one is that of the live file.
fn rotated_quickly(harness: &TailerHarness, count: usize) -> Vec<File> {
    let open = || OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap();
    let mut writers = vec![open()];
    for n in 1..=count {
        harness.rename("log", &format!("log.2026{n:04}"));
        harness.create_later("log", &format!("file {n}\n"));
        writers.push(open());
    }
    writers
}

#[test]
fn of_several_rotations_at_once_each_file_is_read_until_its_writer_is_silent() {
    for restart in [false, true] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", "file 0\n");
        let mut all = harness.run_until_idle();
        if restart {
            harness.restart();
        }
        let writers = rotated_quickly(&harness, 4);
        // The middle files are written to, and the first one is silent.
        for n in 0..30 {
            for (file, writer) in writers.iter().enumerate().skip(1) {
                write(writer, &format!("{file} {n}\n"));
            }
            all.extend(harness.after(1000));
        }
        for _ in 0..6 {
            all.extend(harness.after(6000));
        }
        for file in 1..=4 {
            let lines: Vec<_> = all.iter().filter_map(|line| line.strip_prefix(&format!("{file} "))).collect();
            let expected: Vec<_> = (0..30).map(|n| n.to_string()).collect();
            assert_eq!(lines, expected, "file {file}, restart: {restart}");
        }
        assert_eq!(harness.loss_texts, [""; 0], "restart: {restart}");
        assert_eq!(all.len(), 5 + 4 * 30, "restart: {restart}");
    }
}

#[test]
fn a_hundred_rotations_during_a_stop_are_waited_for_once() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "file 0\n");
    let mut all = harness.run_until_idle();
    harness.restart();
    let writers = rotated_quickly(&harness, 30);
    for n in 0..7 {
        write(&writers[30], &format!("{n}\n"));
        all.extend(harness.after(1000));
    }
    let expected: Vec<_> = (0..=30).map(|n| format!("file {n}")).chain((0..7).map(|n| n.to_string())).collect();
    assert_eq!((all, &harness.loss_texts[..]), (expected, &[][..]));
}

#[test]
fn after_a_restart_old_files_with_active_writers_delay_the_live_file_once() {
    let (mut harness, first) = rotated("log");
    let mut writers = vec![first];
    let mut all = Vec::new();
    for n in 0..4 {
        harness.directory.write("log", &format!("file {n}\n"));
        for _ in 0..8 {
            for writer in &writers {
                write(writer, "x\n");
            }
            all.extend(harness.after(1000));
        }
        writers.push(OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap());
        if n < 3 {
            harness.rename("log", &format!("log.{}", n + 2));
        }
    }
    harness.restart();
    all.clear();
    let mut came_after = None;
    for second in 0..30 {
        for (n, writer) in writers.iter().enumerate() {
            write(writer, &format!("{n} {second}\n"));
        }
        all.extend(harness.after(1000));
        if came_after.is_none() && all.contains(&"4 0".to_owned()) {
            came_after = Some(second);
        }
    }
    assert!(came_after.is_some_and(|after| after <= 6), "{came_after:?}: {all:?}");
    for n in 0..5 {
        let lines = all.iter().filter(|line| line.starts_with(&format!("{n} "))).count();
        assert_eq!(lines, 30, "file {n}");
    }
    assert_eq!(harness.loss_texts, [""; 0]);
}

#[test]
fn bytes_written_to_a_file_that_was_left_before_a_restart_are_a_loss() {
    for (name, text, rename) in [("log", "12345\n", false), ("lo[g]", "1\n", true), ("log", "", true)] {
        let (mut harness, writer) = rotated(name);
        harness.directory.write("log", "new\n");
        assert_eq!([harness.after(6000), harness.after(10)].concat(), ["new"]);
        harness.restart();
        write(&writer, text);
        if rename {
            harness.rename("log.1", "log.2");
        }
        assert_eq!([harness.after(1000), harness.after(6000)].concat(), [""; 0]);
        let expected = if text.is_empty() { Vec::new() } else { vec![format!("\"bytes\":{},", text.len())] };
        assert_eq!(harness.loss_texts.len(), expected.len(), "{name}: {:?}", harness.loss_texts);
        for (loss, expected) in harness.loss_texts.iter().zip(&expected) {
            assert!(loss.contains(expected) && loss.contains("after rtlogd had stopped reading it"), "{loss}");
        }
        harness.loss_texts.clear();
        harness.restart();
        assert_eq!([harness.after(1000), harness.after(6000)].concat(), [""; 0]);
        assert_eq!(harness.loss_texts, [""; 0], "{name}: each byte is reported once");
    }
}

#[test]
fn an_old_file_that_vanishes_during_a_stop_is_a_loss_only_if_more_was_expected_in_it() {
    /// The writer of the old file, which is read to its end in each case.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Writer {
        Closed,
        Silent,
        ClosedAndAnotherWrites,
        SilentAndThenWrites,
        Writes,
    }
    let table = [
        (Writer::Closed, 0),
        (Writer::Silent, 0),
        (Writer::ClosedAndAnotherWrites, 1),
        (Writer::SilentAndThenWrites, 1),
        (Writer::Writes, 1),
    ];
    let layouts = [
        ("log", false, LineFormat::Text),
        ("lo[g]", true, LineFormat::Text),
        ("log", true, LineFormat::Cri),
        ("lo[g]", false, LineFormat::Cri),
    ];
    for (name, compressed, format) in layouts {
        let envelope = if format == LineFormat::Cri { "2026-11-24T10:00:00.000000000Z stdout F " } else { "" };
        let line = |text: &str| format!("{envelope}{text}\n");
        for (writer, losses) in table {
            let mut harness = TailerHarness::with_format(&[name], ReadFrom::Beginning, format);
            let old = File::create(harness.directory.path("log")).unwrap();
            write(&old, &line("old"));
            if matches!(writer, Writer::Silent | Writer::SilentAndThenWrites) {
                old.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
            }
            let mut all = harness.run_until_idle();
            harness.rename("log", "log.1");
            harness.create_later("log", &line("new"));
            if matches!(writer, Writer::Closed | Writer::ClosedAndAnotherWrites) {
                harness.note_closed("log");
            }
            for _ in 0..if writer == Writer::Writes { 6 } else { 2 } {
                if writer == Writer::Writes {
                    write(&old, &line("late"));
                }
                all.extend(harness.after(1000));
            }
            if matches!(writer, Writer::ClosedAndAnotherWrites | Writer::SilentAndThenWrites) {
                write(&old, &line("late"));
                all.extend(harness.after(1000));
            }
            harness.restart();
            fs::remove_file(harness.directory.path("log.1")).unwrap();
            if compressed {
                harness.directory.write("log.1.gz", "\x1f");
            }
            harness.directory.append("log", &line("more"));
            all.extend([harness.after(10), harness.after(6000), harness.after(6000)].concat());
            all.retain(|line| line != "late");
            assert_eq!(all, ["old", "new", "more"], "{name}, {format:?}, {writer:?}");
            assert_eq!(harness.loss_texts.len(), losses, "{name}, {format:?}, {writer:?}: {:?}", harness.loss_texts);
            // Nobody knows how much was written before the file was gone.
            assert!(harness.loss_texts.iter().all(|loss| !loss.contains("\"bytes\"")), "{:?}", harness.loss_texts);
        }
    }
}

#[test]
fn the_files_after_one_that_vanished_during_a_stop_are_read_without_a_further_change() {
    for format in [LineFormat::Text, LineFormat::Cri] {
        let envelope = if format == LineFormat::Cri { "2026-11-24T10:00:00.000000000Z stdout F " } else { "" };
        let line = |text: &str| format!("{envelope}{text}\n");
        for (rotations, is_read) in [(1, true), (1, false), (2, true), (2, false), (3, false)] {
            let mut harness = TailerHarness::with_format(&["log"], ReadFrom::Beginning, format);
            let mut writers = vec![File::create(harness.directory.path("log")).unwrap()];
            write(&writers[0], &line("0"));
            harness.run_until_idle();
            for rotation in 1..=rotations {
                harness.rename("log", &format!("log.{rotation}"));
                harness.create_later("log", &line(&rotation.to_string()));
                writers.push(OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap());
                // Each of the old files is still being written to, so that the checkpoint has all of them.
                for n in 0..if is_read { 8 } else { 1 } {
                    write(&writers[rotation - 1], &line(&format!("late {n}")));
                    harness.after(1000);
                }
            }
            harness.restart();
            for rotation in 1..=rotations {
                fs::remove_file(harness.directory.path(&format!("log.{rotation}"))).unwrap();
            }
            harness.directory.append("log", &line("more"));
            let lines = harness.run_until_idle();
            let case = format!("{format:?}, {rotations} rotations, read: {is_read}: {lines:?}");
            assert_eq!(lines.last().map(String::as_str), Some("more"), "{case}");
        }
    }
}
