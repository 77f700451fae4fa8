//! Many files, and what rotation, restarts and the system do to them.
//!
//! The cases that a followed file must survive, and the test of each:
//!
//! | # | test |
//! |---|---|
//! | 1 | `rotation_loses_nothing_not_even_of_a_late_writer` |
//! | 2 | `a_file_copied_and_truncated_during_writes_is_still_followed` |
//! | 3 | `truncation_is_seen_even_when_it_grew_again` |
//! | 4 | `truncation_is_a_loss_and_begins_again` |
//! | 5 | `a_hole_in_the_middle_is_skipped_at_the_start_of_a_line` |
//! | 6 | `another_content_under_the_same_inode_is_a_loss_and_read_from_its_start` |
//! | 7 | `the_same_content_under_another_inode_is_continued` |
//! | 8 | `an_edited_copy_put_over_the_file_is_the_same_file` |
//! | 9 | `the_same_first_lines_do_not_make_a_rotated_file_the_same` |
//! | 10 | `a_symlink_is_followed_and_its_change_is_a_rotation` |
//! | 11 | `whatever_writers_do_each_line_comes_once` |
//! | 12 | `a_half_line_is_held_and_delivered_once` |
//! | 13 | `a_long_line_comes_in_pieces` |
//! | 14 | `line_ends` |
//! | 15 | `a_redrawn_line_is_shown_as_it_is_now_and_kept_once` |
//! | 16 | `bytes_that_are_no_utf_8_are_cut_at_the_limit` |
//! | 17 | `encodings_of_old_become_utf_8` |
//! | 18 | `plain_text_shows_the_end_of_a_run` |
//! | 19 | `closed_files_that_are_rotated_are_found_by_their_identity` |
//! | 20 | `a_busy_file_does_not_keep_others_waiting` |
//! | 21 | `a_file_system_that_is_not_known_to_tell_is_polled` |
//! | 22 | `files_are_followed_even_without_free_watches` |
//! | 23 | `an_overflow_wakes_every_mailbox` |
//! | 24 | `a_file_that_appears_later_is_read_from_its_start` |
//! | 25 | `an_unreadable_file_is_denied_until_it_becomes_readable` |
//! | 26 | `a_deleted_file_is_read_to_its_end_and_let_go` |
//! | 27 | `a_rotated_name_that_the_pattern_matches_is_no_new_file` |
//! | 28 | `compressed_files_are_never_read_as_text` |
//! | 29 | `a_damaged_checkpoint_is_ignored` |
//! | 30 | `rotations_during_a_restart_are_read_in_order` |
//! | 31 | `a_file_that_comes_and_goes_quickly_is_read_once_it_was_seen` |
//! | 32 | `an_io_error_is_reported_and_the_file_continues_where_it_was` |
//! | 33 | `lines_that_an_editor_cut_are_not_read_again` |
//! | 34 | `a_name_that_is_not_utf_8_is_followed_and_encoded` |
//! | 35 | `one_reader_for_a_file_by_many_names` |
//! | 36 | `from_the_end_come_the_last_hundred` |
//! | 37 | `a_file_is_read_regardless_of_its_readers` |
//! | 38 | `what_has_no_lines_is_denied_and_says_why` |
//! | 39 | `a_rotation_of_the_target_of_a_symlink_is_a_rotation` |
//! | 40 | `a_target_that_comes_later_is_noticed_at_once` |
//! | 41 | `a_writer_that_keeps_the_renamed_file_open_is_read_and_then_reported` |
//! | 42 | `a_renamed_file_without_a_successor_is_followed_for_ever` |
//! | 44 | `a_burst_larger_than_memory_reaches_a_reader_that_keeps_up` |
//! | 45 | `a_kill_between_pieces_neither_loses_nor_repeats` |
//! | 46 | `a_pipe_whose_writer_is_gone_ends_once` |
//! | 48 | `a_few_nuls_are_text_and_many_are_a_hole` |
//! | 49 | `a_joined_event_continues_in_the_successor_of_a_closed_file` |

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, Deadline, TestDir, pause, sources};

fn all_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

#[test]
fn each_case_has_its_test() {
    let mut text = String::new();
    all_sources(&sources("src"), &mut text);
    all_sources(&sources("tests"), &mut text);
    let rows = include_str!("files.rs").lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix("` |"));
    let rows: BTreeMap<u32, &str> = rows
        .filter_map(|row| row.split_once(" | `"))
        .filter_map(|(number, test)| Some((number.parse().ok()?, test)))
        .collect();
    assert!((1..=42).chain([44, 46, 48, 49]).all(|row| rows.contains_key(&row)), "{rows:?}");
    for (number, test) in rows {
        let (plain, waiting) = (format!("fn {test}() {{"), format!("async fn {test}() {{"));
        assert!(text.contains(&plain) || text.contains(&waiting), "{number}: no test is named {test}");
    }
}

#[test]
fn the_files_of_a_pattern_are_one_stream() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.path("a/b")).unwrap();
    dir.write("a/one.log", "one\n");
    dir.write("a/b/two.log", "two\n");
    dir.write("a/b/not.log", "not\n");
    let daemon = dir.start("streams: { app: { file: 'a/**/*.log', exclude: 'not.*', from: start } }");
    let mut reader = daemon.follow("app").query("tail=all&data=json").open();
    let seen: BTreeMap<_, _> = reader
        .take(2)
        .iter()
        .map(|line| (line.json()["text"].clone(), line.json()["origin"].clone()))
        .map(|(a, b)| (a.to_string(), b))
        .collect();
    assert_eq!(seen["\"one\""], daemon.path("a/one.log").to_str().unwrap());
    assert_eq!(seen["\"two\""], daemon.path("a/b/two.log").to_str().unwrap());
    fs::create_dir_all(daemon.path("a/c/d")).unwrap();
    daemon.write("a/c/d/three.log", "three\n");
    assert_eq!(reader.take(1)[0].json()["text"], "three");
    Deadline::new().until("three files in the list", || (daemon.state("app")["source"]["files"] == 3).then_some(()));
}

#[test]
fn messages_about_files_name_their_stream() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("folder")).unwrap();
    let daemon = dir.start("streams: { absent: { file: missing.log }, refused: { file: folder } }");
    let logged = Deadline::new().until("both streams are in the log", || {
        let logged = daemon.logged();
        (logged.contains("cannot follow a file") && logged.contains("waiting for a file")).then_some(logged)
    });
    for (message, stream) in [("waiting for a file", "stream=absent "), ("cannot follow a file", "stream=refused ")] {
        let line = logged.lines().find(|line| line.contains(message)).unwrap();
        assert!(line.contains(stream), "{line}");
    }
}

#[test]
fn lines_that_belong_together_are_one_event() {
    let dir = TestDir::new();
    dir.write("app.log", "1 a\n  at b\n  at c\n2 d\n");
    let daemon =
        dir.start("streams: { app: { file: app.log, from: start, multiline: { start: '^\\d', timeout: 200ms } } }");
    let lines = daemon.follow("app").query("tail=all&data=json").take(2);
    assert_eq!((&lines[0].json()["text"], &lines[1].json()["text"]), (&"1 a\n  at b\n  at c".into(), &"2 d".into()));
}

#[test]
fn a_file_in_utf_16_is_served_in_utf_8() {
    let dir = TestDir::new();
    let bytes: Vec<u8> = "\u{feff}größe\r\nĊ\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    dir.write("app.log", bytes);
    let daemon = dir.start("streams: { app: { file: app.log, from: start, encoding: utf-16le } }");
    let lines = daemon.follow("app").query("tail=all").take(2);
    assert_eq!((lines[0].data.as_str(), lines[1].data.as_str()), ("größe", "Ċ"));
}

#[test]
fn a_stream_resumes_exactly_after_a_restart_with_rotations() {
    let dir = TestDir::new();
    let config = "state_directory: state\nstreams: { app: { file: app.log } }";
    dir.write("app.log", "1\n2\nha");
    let daemon = dir.start(config);
    let first = daemon.follow("app").query("tail=all").take(2);
    let dir = daemon.kill();
    dir.write("app.log", "lf\n3\n");
    dir.rename("app.log", "app.log.2");
    dir.write("app.log.1", "4\n");
    dir.write("app.log", "5\n");
    let daemon = dir.start(config);
    let seen = daemon.follow("app").after(&first[1].id).take(4);
    let lines: Vec<_> = seen.iter().map(|line| line.data.as_str()).collect();
    assert_eq!(lines, ["half", "3", "4", "5"]);
}

#[test]
fn a_file_is_read_regardless_of_its_readers() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    // Nobody reads from this connection.
    let _slow = daemon.follow("app").query("tail=all").open();
    for _ in 0..20 {
        daemon.write("app.log", ("y".repeat(99) + "\n").repeat(5000));
    }
    daemon.write("app.log", "last\n");
    let seen = daemon.follow("app").query("tail=1").until("the last line", |line| line.data == "last");
    assert_eq!(seen.last().unwrap().data, "last");
    assert_eq!(daemon.state("app")["source"].get("lag"), None);
}

#[test]
fn an_unreadable_file_is_denied_until_it_becomes_readable() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let file = dir.path("app.log");
    let is_root = fs::metadata(&file).unwrap().uid() == 0;
    dir.configure("streams: { app: { file: app.log, from: start, private: false } }");
    let arguments = ["serve", "--config", "rtlogd.yaml"];
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let daemon = if is_root {
        // Within a namespace of its own, root may not read what belongs to others.
        std::os::unix::fs::chown(&file, Some(12345), Some(12345)).unwrap();
        dir.launch_by(&["unshare", "-Ur"], &arguments)
    } else {
        dir.launch(&arguments, std::process::Stdio::null())
    };
    let mut reader = daemon.follow("app").query("tail=all").open();
    let denied = reader.until("denied", |message| message.is_state("denied"));
    assert_eq!(denied.last().unwrap().json()["errno"], 13);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(reader.take(1)[0].data, "one");
}

#[test]
fn a_fifo_that_may_not_be_read_is_denied_until_it_may() {
    for files in ["in.fifo", "'*.fifo'"] {
        let dir = TestDir::new();
        dir.fifo("in.fifo");
        let fifo = dir.path("in.fifo");
        fs::set_permissions(&fifo, fs::Permissions::from_mode(0o000)).unwrap();
        dir.configure(&format!("streams: {{ app: {{ file: {files}, private: false }} }}"));
        let arguments = ["serve", "--config", "rtlogd.yaml"];
        let daemon = if fs::metadata(&fifo).unwrap().uid() == 0 {
            // Within a namespace of its own, root may not read what belongs to others.
            std::os::unix::fs::chown(&fifo, Some(12345), Some(12345)).unwrap();
            dir.launch_by(&["unshare", "-Ur"], &arguments)
        } else {
            dir.launch(&arguments, std::process::Stdio::null())
        };
        let mut reader = daemon.follow("app").query("tail=all").open();
        let denied = reader.until("denied", |message| message.is_state("denied")).pop().unwrap().json();
        assert_eq!(denied["errno"], 13, "{files}: {denied}");
        fs::set_permissions(&fifo, fs::Permissions::from_mode(0o666)).unwrap();
        reader.until("following", |message| message.is_state("following"));
        daemon.release("in.fifo");
    }
}

#[test]
fn files_are_followed_even_without_free_watches() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.write("other.log", "other\n");
    dir.configure("streams: { app: { file: app.log, from: start }, other: { file: 'o*.log', from: start } }");
    let none = "echo 0 > /proc/sys/user/max_inotify_watches; exec \"$@\"";
    let daemon = dir.launch_by(&["unshare", "-Ur", "sh", "-c", none, "sh"], &["serve", "--config", "rtlogd.yaml"]);
    let mut reader = daemon.follow("app").query("tail=all").open();
    let seen = reader.until("polling", |message| message.is_state("polling"));
    let reason = seen.last().unwrap().json()["reason"].clone();
    assert!(reason.as_str().unwrap().contains("fs.inotify.max_user_watches"), "{reason}");
    assert_eq!(reader.take(1)[0].data, "one");
    daemon.write("app.log", "two\n");
    assert_eq!(reader.take(1)[0].data, "two");
    assert_eq!(daemon.follow("other").take(1)[0].data, "other");
    let warnings = daemon.printed().lines().filter(|line| line.contains("max_user_watches")).count();
    assert_eq!(warnings, 1, "{}", daemon.printed());
}

/// Lets `logrotate` rotate as `options` say, so many times, under a writer of 5,000 lines a second that opens its file
/// again after each rotation; gives back how many lines were written, and those that came.
fn logrotate(options: &str, reopen: bool) -> (u64, Vec<u64>, usize) {
    let rotations = std::env::var("RTLOGD_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(5u32);
    let dir = TestDir::new();
    fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    dir.write("app.log", "");
    let file = dir.path("app.log");
    fs::write(dir.path("rotate.conf"), format!("{:?} {{\n rotate 1000\n {options}\n}}\n", file.to_str().unwrap()))
        .unwrap();
    fs::create_dir(dir.path("old")).unwrap();
    let daemon =
        dir.start("streams: { app: { file: app.log, from: start, rotated: old, history: { memory: 64MiB } } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("following", |message| message.is_state("following"));
    let open = || OpenOptions::new().append(true).create(true).open(&file).unwrap();
    let mut writer = open();
    let mut written = 0u64;
    let begin = Instant::now();
    for round in 0..=rotations {
        let inode = || fs::metadata(&file).map_or(0, |metadata| metadata.ino());
        let before = inode();
        for _ in 0..40 {
            let text: String = (0..25).flat_map(|n| [(written + n).to_string(), "\n".to_owned()]).collect();
            writer.write_all(text.as_bytes()).unwrap();
            written += 25;
            pause("the writer writes 5,000 lines a second", Duration::from_millis(5));
        }
        if round == rotations {
            break;
        }
        // Dates make names, so that each round is another day.
        let status = Command::new("logrotate")
            .args(["--force", "--state"])
            .args([daemon.path("rotate.state"), daemon.path("rotate.conf")])
            .status();
        assert!(status.unwrap().success());
        if options.contains("dateext") {
            // The next rotation finds the name of today free.
            for entry in fs::read_dir(daemon.path(".")).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if name.starts_with("app.log-") && !name.contains("-r") {
                    fs::rename(entry.path(), daemon.path(&format!("{name}-{round:03}"))).unwrap_or_default();
                }
            }
        }
        // Some lines more go to the old file, as of a writer that does not know yet.
        for _ in 0..4 {
            writer.write_all(format!("{written}\n").as_bytes()).unwrap();
            written += 1;
        }
        assert_ne!(before, 0);
        if reopen && inode() != before {
            writer = open();
        }
    }
    writer.write_all(b"end\n").unwrap();
    let seen =
        reader.until_by(Deadline::after(begin.elapsed() + Duration::from_secs(90)), "end", |line| line.data == "end");
    let losses = seen.iter().filter(|message| message.event == "loss").count();
    let lines = seen.iter().filter(|message| message.is_line() && message.data != "end");
    (written, lines.map(|line| line.data.parse().unwrap()).collect(), losses)
}

#[test]
fn logrotate_with_create_loses_and_repeats_nothing() {
    for options in [
        "create",
        "nocreate",
        "create\n compress\n delaycompress",
        "create\n dateext\n dateformat -%Y%m%d-%s",
        "create\n olddir old",
    ] {
        let (written, came, losses) = logrotate(options, true);
        assert_eq!((came.len() as u64, losses), (written, 0), "{options}");
        assert!(came.iter().copied().eq(0..written), "{options}: out of order");
        println!("{options:?}: {written} lines, none lost, none twice");
    }
}

#[test]
fn logrotate_while_rtlogd_is_not_running_loses_and_repeats_nothing() {
    for (options, rotations) in [
        ("create", 3),
        ("nocreate", 3),
        ("create\n olddir old", 3),
        ("nocreate\n olddir old", 2),
        ("create\n compress\n delaycompress", 1),
        ("create\n dateext", 1),
        ("create\n dateext\n olddir old", 1),
    ] {
        let dir = TestDir::new();
        fs::set_permissions(dir.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path("old")).unwrap();
        let file = dir.path("app.log").to_str().unwrap().to_owned();
        dir.write("rotate.conf", format!("{file:?} {{\n rotate 1000\n {options}\n}}\n"));
        let configuration = "state_directory: state\nstreams: { app: { file: app.log, from: start, rotate_wait: 100ms, rotated: [old] } }";
        // The lines are long enough that a file is known by its content.
        let text =
            |from: u32| -> String { (from..from + 10).map(|n| format!("{n:040}\n")).collect::<Vec<_>>().concat() };
        dir.write("app.log", text(0));
        let daemon = dir.start(configuration);
        let last = daemon.follow("app").query("tail=all").take(10).pop().unwrap();
        let dir = daemon.kill();
        for rotation in 1..=rotations {
            dir.write("app.log", text(rotation * 20 - 10));
            let status = Command::new("logrotate")
                .args(["--force", "--state"])
                .args([dir.path("rotate.state"), dir.path("rotate.conf")])
                .status();
            assert!(status.unwrap().success(), "{options}");
            pause("the next file is newer by more than a tick of the file system's clock", Duration::from_millis(20));
            dir.write("app.log", text(rotation * 20));
        }
        dir.write("app.log", "end\n");
        let daemon = dir.start(configuration);
        let seen = daemon.follow("app").after(&last.id).until("the last line", |message| message.data == "end");
        let lines = seen.iter().filter(|message| message.is_line() && message.data != "end");
        let numbers: Vec<u32> = lines.map(|line| line.data.parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(10..20 * rotations + 10), "{options}: {numbers:?}");
        assert!(seen.iter().all(|message| message.event != "loss"), "{options}: {seen:#?}");
    }
}

#[test]
fn logrotate_with_copytruncate_shows_every_line_that_could_be_read() {
    let (written, came, losses) = logrotate("copytruncate", false);
    assert!(came.is_sorted_by(|a, b| a < b), "twice, or out of order");
    let missing = written - came.len() as u64;
    assert!(
        losses > 0 && missing <= 300 * losses as u64,
        "{missing} of {written} are missing, {losses} losses were told"
    );
    println!("copytruncate: {written} lines, {missing} overwritten before they could be read, {losses} losses told");
}

#[test]
fn a_new_file_is_read_as_soon_as_a_writer_closed_the_old_one() {
    let open = |daemon: &Daemon| OpenOptions::new().append(true).create(true).open(daemon.path("app.log")).unwrap();
    for (file, link) in [("app.log", None), ("'app*.log'", None), ("link.log", Some("app.log"))] {
        let dir = TestDir::new();
        dir.write("app.log", "");
        if let Some(target) = link {
            std::os::unix::fs::symlink(target, dir.path("link.log")).unwrap();
        }
        // Whatever comes does so because of a notification, since the wait would outlast the test.
        let daemon = dir.start(&format!("streams: {{ app: {{ file: {file}, from: start, rotate_wait: 10m }} }}"));
        let mut reader = daemon.follow("app").query("tail=all").open();
        reader.until("following", |message| message.is_state("following"));
        let [mut first, mut second] = [open(&daemon), open(&daemon)];
        for round in 0..3 {
            let old = daemon.path(&format!("app.log.{round}"));
            first.write_all(format!("{round} before\n").as_bytes()).unwrap();
            reader.until("a line", |line| line.data == format!("{round} before"));
            fs::rename(daemon.path("app.log"), &old).unwrap();
            first.write_all(format!("{round} late\n").as_bytes()).unwrap();
            // As a program does on a SIGHUP: it opens the new file, and closes the old one.
            first = open(&daemon);
            first.write_all(format!("{round} new\n").as_bytes()).unwrap();
            let lines = reader.until("the new file", |line| line.data == format!("{round} new"));
            let lines: Vec<_> = lines.iter().filter(|line| line.is_line()).map(|line| line.data.clone()).collect();
            assert_eq!(lines, [format!("{round} late"), format!("{round} new")], "{file}");
            // The other writer has not noticed the rotation yet.
            second.write_all(format!("{round} of the other writer\n").as_bytes()).unwrap();
            reader.until("the other writer", |line| line.data == format!("{round} of the other writer"));
            second = open(&daemon);
        }
        let all = daemon.follow("app").query("tail=all&follow=false").until_end();
        assert_eq!(all.iter().filter(|message| message.is_line()).count(), 4 * 3, "{all:#?}");
        assert!(all.iter().all(|message| message.event != "loss"), "{all:#?}");
    }
}

#[test]
fn a_kill_between_the_end_of_the_old_file_and_the_new_one_loses_nothing() {
    let config = "state_directory: state\nstreams: { app: { file: app.log, from: start, rotate_wait: 1s } }";
    for late in [false, true] {
        let dir = TestDir::new();
        dir.write("app.log", "1\n");
        let daemon = dir.start(config);
        let mut writer = OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
        let mut other = OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
        let mut reader = daemon.follow("app").query("tail=all").open();
        reader.until("1", |line| line.data == "1");
        daemon.rename("app.log", "app.log.1");
        writer.write_all(b"2\n").unwrap();
        drop(writer);
        reader.until("2", |line| line.data == "2");
        if late {
            other.write_all(b"3\n").unwrap();
            reader.until("3", |line| line.data == "3");
        }
        let id = reader.last_id().to_owned();
        let dir = daemon.kill();
        other.write_all(b"late\n").unwrap();
        dir.write("app.log", "new\n");
        let daemon = dir.start(config);
        let mut reader = daemon.follow("app").after(&id).open();
        reader.until("new", |line| line.data == "new");
        append(&daemon, "end\n");
        reader.until("the end", |line| line.data == "end");
        let all = daemon.follow("app").query("tail=all&follow=false").until_end();
        let lines: Vec<_> = all.iter().filter(|line| line.is_line()).map(|line| line.data.as_str()).collect();
        let expected =
            if late { &["1", "2", "3", "late", "new", "end"][..] } else { &["1", "2", "late", "new", "end"] };
        assert_eq!(lines, expected);
        assert!(all.iter().all(|message| message.event != "loss"), "{all:#?}");
    }
}

fn append(daemon: &Daemon, text: &str) {
    let mut file = OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_burst_is_read_whatever_slow_and_filtering_readers_do() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start("streams: { app: { file: app.log, from: start, history: { memory: 1MiB } } }");
    let mut slow = daemon.follow("app").query("tail=all").open();
    slow.until("following", |message| message.is_state("following"));
    let _filtering = daemon.follow("app").query("tail=0&grep=nothing").open();
    daemon.until_readers("app", 2);
    append(&daemon, &(("y".repeat(99) + "\n").repeat(100_000) + "last\n"));
    // The first reader takes nothing meanwhile.
    let seen = daemon.follow("app").query("tail=1").until("the last line", |line| line.data == "last");
    assert_eq!(seen.last().unwrap().data, "last");
}

#[test]
fn a_burst_larger_than_memory_comes_without_a_gap() {
    const LINES: usize = 100_000;
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start("streams: { app: { file: app.log, from: start, history: { memory: 1MiB } } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("following", |message| message.is_state("following"));
    let text: Vec<_> = (0..LINES).map(|n| format!("{n:099}\n")).collect();
    append(&daemon, &(text.concat() + "last\n"));
    let seen = reader.until("the last line", |message| message.data == "last");
    assert!(seen.iter().all(|message| message.event != "gap"), "{:?}", seen.iter().find(|it| it.event == "gap"));
    let lines = seen.iter().filter(|message| message.is_line() && message.data != "last");
    assert!(lines.map(|line| line.data.parse::<usize>().unwrap()).eq(0..LINES));
}

/// CPU time of a process, in ticks of 10 ms; its memory in kB; its open files.
fn cost(daemon: &Daemon) -> (u64, u64, usize) {
    let pid = daemon.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let memory = memory.split_whitespace().next().unwrap().parse().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap(), memory, open)
}

#[test]
fn many_thousand_files_are_followed_with_few_descriptors() {
    let full = std::env::var_os("RTLOGD_FILES").is_some();
    let (count, rotated) = if full { (20_000, 2000) } else { (1500, 300) };
    let dir = TestDir::new();
    fs::create_dir(dir.path("d")).unwrap();
    for n in 0..count {
        dir.write(&format!("d/{n}.log"), "old\n");
    }
    let daemon = dir.start("streams: { all: { file: 'd/*.log', history: { memory: 64MiB } } }");
    let deadline = Deadline::after(Duration::from_mins(2));
    deadline.until("all files in the list", || (daemon.state("all")["source"]["files"] == count).then_some(()));
    let mut reader = daemon.follow("all").query("tail=0").open();
    if full {
        pause("the daemon comes to rest before it is measured", Duration::from_secs(20));
        let before = cost(&daemon);
        pause("the cost of being idle is measured over a minute", Duration::from_mins(1));
        let after = cost(&daemon);
        println!("idle: {} ms of CPU in 60 s, {} kB, {} descriptors", (after.0 - before.0) * 10, after.1, after.2);
    }
    // A hundred are active.
    let begin = Instant::now();
    let before = cost(&daemon);
    for round in 0..20 {
        for n in 0..100 {
            daemon.write(&format!("d/{n}.log"), format!("{n} {round}\n"));
        }
        pause("the writers write 20 lines a second each", Duration::from_millis(50));
    }
    let active = reader.take_by(deadline, 2000);
    assert_eq!(active.len(), 2000);
    let after = cost(&daemon);
    println!(
        "active: {} ms of CPU in {:?}, {} kB, {} descriptors",
        (after.0 - before.0) * 10,
        begin.elapsed(),
        after.1,
        after.2
    );
    assert!(after.2 <= 200, "{} descriptors", after.2);
    // Many rotate at once.
    let begin = Instant::now();
    for n in 0..rotated {
        let (name, old) = (format!("d/{n}.log"), format!("d/{n}.log.1"));
        daemon.write(&name, "last\n");
        daemon.rename(&name, &old);
        daemon.write(&name, "first\n");
    }
    println!("{rotated} files rotated in {:?}", begin.elapsed());
    let seen = reader.take_by(Deadline::after(Duration::from_mins(2)), 2 * rotated);
    let last = seen.iter().filter(|line| line.data == "last").count();
    assert_eq!((last, seen.len()), (rotated, 2 * rotated));
    let (_, memory, open) = cost(&daemon);
    println!("all came in {:?}; {memory} kB, {open} descriptors", begin.elapsed());
    assert!(open <= 200, "{open} descriptors");
}
