//! Following a file: what is in it, what comes, and what becomes of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use crate::harness::sse::{Message, lines};
use crate::harness::{Daemon, TestDir, pause};

const APP: &str = "streams: { app: { file: app.log } }";
const ALL_OF_APP: &str = "streams: { app: { file: app.log, from: start } }";

fn data(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.data.as_str()).collect()
}

#[test]
fn an_existing_file_is_shown_from_its_last_lines() {
    let dir = TestDir::new();
    dir.write("app.log", "one\ntwo\nthree\n");
    let daemon = dir.start(APP);
    assert_eq!(data(&daemon.follow("app").take(3)), ["one", "two", "three"]);
    assert_eq!(data(&daemon.follow("app").query("tail=2").take(2)), ["two", "three"]);
    let mut reader = daemon.follow("app").query("tail=0").open();
    daemon.write("app.log", "four\n");
    assert_eq!(data(&reader.take(1)), ["four"]);
}

#[test]
fn from_start_shows_all_of_a_file() {
    let dir = TestDir::new();
    let all: Vec<_> = (1..=3000).map(|number| number.to_string()).collect();
    dir.write("app.log", all.join("\n") + "\n");
    let daemon = dir.start(ALL_OF_APP);
    assert_eq!(data(&daemon.follow("app").query("tail=all").take(3000)), all);
}

#[test]
fn a_file_created_later_is_followed() {
    let daemon = Daemon::start(APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("waiting", |message| message.is_state("waiting"));
    daemon.write("app.log", "one\ntwo\n");
    assert_eq!(data(&reader.take(2)), ["one", "two"]);
    daemon.follow("app").query("tail=all").until("following", |message| message.is_state("following"));
}

#[test]
fn a_file_in_a_directory_created_later_is_followed() {
    let daemon = Daemon::start("streams: { app: { file: logs/today/app.log } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("waiting", |message| message.is_state("waiting"));
    std::fs::create_dir_all(daemon.path("logs/today")).unwrap();
    daemon.write("logs/today/app.log", "one\n");
    assert_eq!(data(&reader.take(1)), ["one"]);
}

#[test]
fn lines_appear_as_they_are_written() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    for number in 0..50 {
        daemon.write("app.log", format!("line {number}\n"));
        assert_eq!(reader.take(1)[0].data, format!("line {number}"));
    }
    let json = daemon.follow("app").query("data=json&tail=1").take(1)[0].json();
    assert_eq!(json["text"], "line 49");
    assert_eq!(json["origin"], daemon.path("app.log").to_str().unwrap());
    assert!(json.get("kind").is_none() && json.get("partial").is_none() && json.get("continued").is_none(), "{json}");
}

#[test]
fn a_half_line_is_held_and_delivered_once() {
    let dir = TestDir::new();
    dir.write("app.log", "one\nhalf");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(1)), ["one"]);
    daemon.write("app.log", " a line");
    daemon.write("app.log", "\nnext\n");
    assert_eq!(data(&reader.take(2)), ["half a line", "next"]);
    assert_eq!(data(&daemon.follow("app").query("tail=all").take(3)), ["one", "half a line", "next"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_before_the_new_one() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(1)), ["one"]);
    daemon.rename("app.log", "app.log.1");
    daemon.write("app.log.1", "late\n");
    daemon.write("app.log", "new\n");
    assert_eq!(data(&reader.take(2)), ["late", "new"]);
    daemon.write("app.log", "more\n");
    assert_eq!(data(&reader.take(1)), ["more"]);
}

#[test]
fn a_file_rotated_many_times_loses_and_repeats_nothing() {
    let dir = TestDir::new();
    dir.write("app.log", "0\n");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    let mut seen = reader.take(1);
    for number in 1..6 {
        daemon.rename("app.log", &format!("app.log.{number}"));
        daemon.write("app.log", format!("{number}\n"));
        seen.extend(reader.take(1));
    }
    assert_eq!(data(&seen), ["0", "1", "2", "3", "4", "5"]);
    assert!(seen.is_sorted_by(|a, b| a.number() < b.number()), "{seen:?}");
}

#[test]
fn the_half_line_of_a_rotated_file_is_partial() {
    let dir = TestDir::new();
    dir.write("app.log", "one\nhalf");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all&data=json").open();
    assert_eq!(reader.take(1)[0].json()["text"], "one");
    daemon.rename("app.log", "app.log.1");
    daemon.write("app.log", "new\n");
    let seen = reader.take(2);
    assert_eq!((&seen[0].json()["text"], &seen[0].json()["partial"]), (&"half".into(), &true.into()), "{seen:?}");
    assert_eq!(seen[1].json()["text"], "new");
}

#[test]
fn a_writer_that_keeps_the_renamed_file_open_is_read_and_then_reported() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start, rotate_wait: 1s } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(1)), ["one"]);
    let mut writer = OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
    daemon.rename("app.log", "app.log.1");
    for late in ["late 1", "late 2", "late 3"] {
        pause("the writer is slower than rotate_wait, and no new file exists", Duration::from_millis(1200));
        writeln!(writer, "{late}").unwrap();
        assert_eq!(data(&reader.take(1)), [late]);
    }
    writeln!(writer, "last").unwrap();
    daemon.write("app.log", "new\n");
    assert_eq!(data(&reader.take(2)), ["last", "new"]);
    // The file was silent for long enough when the new one was read, or is so soon.
    pause("the old file is silent for longer than rotate_wait", Duration::from_millis(2500));
    writeln!(writer, "lost").unwrap();
    let seen = reader.until("the loss", |message| message.event == "loss");
    assert_eq!(seen.last().unwrap().json()["bytes"], 5, "{seen:#?}");
    assert_eq!(lines(&seen), [""; 0]);
}

#[test]
fn a_truncated_file_is_read_from_its_start_after_a_loss() {
    let dir = TestDir::new();
    dir.write("app.log", "one\ntwo\nthree\n");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(3)), ["one", "two", "three"]);
    OpenOptions::new().write(true).truncate(true).open(daemon.path("app.log")).unwrap();
    daemon.write("app.log", "new\n");
    let seen = reader.until("the new line", |message| message.data == "new");
    let loss: Vec<_> = seen.iter().filter(|message| message.event == "loss").collect();
    assert_eq!(loss.len(), 1, "{seen:#?}");
    let json = loss[0].json();
    assert!(json["reason"].is_string() && json.get("missed").is_some(), "{json}");
    assert_eq!(lines(&seen), ["new"]);
}

#[test]
fn a_file_copied_and_truncated_during_writes_is_still_followed() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(1)), ["one"]);
    std::fs::copy(daemon.path("app.log"), daemon.path("app.log.1")).unwrap();
    File::options().write(true).open(daemon.path("app.log")).unwrap().set_len(0).unwrap();
    reader.until("the loss", |message| message.event == "loss");
    daemon.write("app.log", "two\n");
    assert_eq!(data(&reader.take(1)), ["two"]);
}

#[test]
fn a_deleted_file_that_comes_back_is_followed() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start(ALL_OF_APP);
    let mut reader = daemon.follow("app").query("tail=all").open();
    assert_eq!(data(&reader.take(1)), ["one"]);
    std::fs::remove_file(daemon.path("app.log")).unwrap();
    daemon.write("app.log", "two\n");
    assert_eq!(data(&reader.take(1)), ["two"]);
}

#[test]
fn a_directory_instead_of_a_file_is_reported_and_disturbs_no_other_stream() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path("folder")).unwrap();
    dir.write("app.log", "one\n");
    let daemon = dir.start("streams: { bad: { file: folder }, app: { file: app.log, from: start } }");
    assert_eq!(data(&daemon.follow("app").take(1)), ["one"]);
    let seen = daemon.follow("bad").query("tail=all").until("a state", |message| message.event == "state");
    assert!(!seen[0].is_state("following"), "{seen:?}");
}
