//! Tests of following files: random operations against a `model`, and `cases` of real rotations.

mod cases;
mod model;

use super::*;
use crate::config::ReadFrom::{self, Beginning, End};
use crate::config::{CarriageReturn, SourceKind};
use crate::source::SourceOptions;
use crate::source::testing::{SourceHarness, TestDirectory, numbered_lines, spec};
use std::fs;
use std::path::Path;

#[tokio::test]
async fn lines_come_as_they_are_written() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "old\n"), Beginning);
    assert_eq!(bench.state("following").await["files"], 1);
    assert_eq!(bench.line().await, "old");
    place.append("log", "one\ntwo\nthr");
    assert_eq!(bench.lines(2).await, ["one", "two"]);
    place.append("log", "ee\n");
    let event = bench.next("line").await;
    assert_eq!((&event["text"], &event["origin"]), (&"three".into(), &place.path("log").to_str().into()));
}

#[tokio::test]
async fn from_the_end_come_the_last_hundred() {
    let place = TestDirectory::new();
    let old = numbered_lines("", 1..=1000);
    let mut bench = SourceHarness::file(&place.write("log", &(old + "ha")), End);
    assert_eq!(bench.lines(100).await[0], "901");
    place.append("log", "lf\n");
    assert_eq!(bench.line().await, "half");
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_from_its_start() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.path("a/b/log"), End);
    let state = bench.state("waiting").await;
    assert!(state["reason"].as_str().unwrap().ends_with("/a/b/log does not exist"), "{state}");
    fs::create_dir(place.path("a")).unwrap();
    fs::create_dir(place.path("a/b")).unwrap();
    place.write("a/b/log", "first\n");
    bench.state("following").await;
    assert_eq!(bench.line().await, "first");
}

#[tokio::test]
async fn a_directory_that_was_made_anew_is_watched_anew() {
    let place = TestDirectory::new();
    fs::create_dir(place.path("a")).unwrap();
    let mut bench = SourceHarness::file(&place.write("a/log", "one\n"), Beginning);
    assert_eq!(bench.line().await, "one");
    for round in 0..3 {
        fs::remove_dir_all(place.path("a")).unwrap();
        bench.state("waiting").await;
        fs::create_dir(place.path("a")).unwrap();
        place.write("a/log", &format!("round {round}\n"));
        assert_eq!(bench.line().await, format!("round {round}"));
    }
}

#[tokio::test]
async fn rotation_loses_nothing_not_even_of_a_late_writer() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "one\n"), Beginning);
    assert_eq!(bench.line().await, "one");
    fs::rename(place.path("log"), place.path("log.1")).unwrap();
    place.append("log.1", "two\n");
    place.append("log", "four\n");
    place.append("log.1", "thr");
    assert_eq!(bench.lines(3).await, ["two", "thr...", "four"]);
    place.append("log", "five\n");
    assert_eq!(bench.line().await, "five");
}

#[tokio::test]
async fn many_rotations_at_once_come_in_order() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "0\n"), Beginning);
    assert_eq!(bench.line().await, "0");
    for n in 1..=5 {
        fs::rename(place.path("log"), place.path(&format!("log.{n}"))).unwrap();
        place.append("log", &format!("{n}\n"));
        // The file is held open, although it is not read yet.
        place.wait_until_open("log").await;
    }
    assert_eq!(bench.lines(5).await, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn truncation_is_a_loss_and_begins_again() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "header\none\nhal"), Beginning);
    assert_eq!(bench.lines(2).await, ["header", "one"]);
    bench.shown(Some("hal")).await;
    place.write("log", "header\ntwo\n");
    assert_eq!(bench.line().await, "hal...");
    let reason = bench.next("loss").await["reason"].to_string();
    assert!(reason.ends_with("/log: the file was truncated or overwritten\""), "{reason}");
    assert_eq!(bench.lines(2).await, ["header", "two"]);
}

#[tokio::test]
async fn a_hole_left_by_a_writer_after_a_truncation_is_skipped() {
    use std::io::Write;
    let place = TestDirectory::new();
    let mut writer = fs::File::create(place.path("log")).unwrap();
    writer.write_all(b"one\n").unwrap();
    let mut bench = SourceHarness::file(&place.path("log"), Beginning);
    assert_eq!(bench.line().await, "one");
    fs::OpenOptions::new().write(true).truncate(true).open(place.path("log")).unwrap();
    writer.write_all(b"two\n").unwrap();
    bench.next("loss").await;
    assert_eq!(bench.next("loss").await["bytes"], 4);
    assert_eq!(bench.line().await, "two");
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end_and_let_go() {
    use std::io::Write;
    let place = TestDirectory::new();
    let mut writer = fs::File::create(place.path("log")).unwrap();
    let mut bench = SourceHarness::file(&place.path("log"), Beginning);
    bench.state("following").await;
    fs::remove_file(place.path("log")).unwrap();
    writer.write_all(b"last\nwor").unwrap();
    assert_eq!(bench.lines(2).await, ["last", "wor..."]);
    bench.state("waiting").await;
    place.write("log", "new\n");
    assert_eq!(bench.line().await, "new");
}

#[tokio::test]
async fn an_edited_copy_put_over_the_file_is_the_same_file() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "one\ntw"), Beginning);
    assert_eq!(bench.line().await, "one");
    place.write("new", "one\ntwo\nthree\n");
    fs::rename(place.path("new"), place.path("log")).unwrap();
    assert_eq!(bench.lines(2).await, ["two", "three"]);
    place.write("new", "ONE\ntwo\nthree\n");
    fs::rename(place.path("new"), place.path("log")).unwrap();
    assert_eq!(bench.lines(3).await, ["ONE", "two", "three"]);
}

#[tokio::test]
async fn the_same_first_lines_do_not_make_a_rotated_file_the_same() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "start\n"), Beginning);
    assert_eq!(bench.line().await, "start");
    fs::rename(place.path("log"), place.path("log.1")).unwrap();
    place.write("log", "start\nmore\n");
    assert_eq!(bench.lines(2).await, ["start", "more"]);
}

#[tokio::test]
async fn renamed_away_and_back_it_goes_on() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "one\n"), Beginning);
    assert_eq!(bench.line().await, "one");
    fs::rename(place.path("log"), place.path("other")).unwrap();
    fs::rename(place.path("other"), place.path("log")).unwrap();
    place.append("log", "two\n");
    assert_eq!(bench.line().await, "two");
}

#[tokio::test]
async fn a_symlink_is_followed_and_its_change_is_a_rotation() {
    let place = TestDirectory::new();
    fs::create_dir(place.path("elsewhere")).unwrap();
    place.write("elsewhere/a", "a1\n");
    place.write("elsewhere/b", "b1\n");
    std::os::unix::fs::symlink(place.path("elsewhere/a"), place.path("log")).unwrap();
    let mut bench = SourceHarness::file(&place.path("log"), Beginning);
    assert_eq!(bench.line().await, "a1");
    let written = Instant::now();
    place.append("elsewhere/a", "a2\n");
    assert_eq!(bench.line().await, "a2");
    assert!(written.elapsed() < Duration::from_millis(500), "heard of where it is, not seen by the safety net");
    std::os::unix::fs::symlink(place.path("elsewhere/b"), place.path("new")).unwrap();
    fs::rename(place.path("new"), place.path("log")).unwrap();
    assert_eq!(bench.line().await, "b1");
}

#[tokio::test]
async fn what_has_no_lines_is_denied_and_says_why() {
    let place = TestDirectory::new();
    let socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    std::os::unix::fs::symlink(place.path("loop"), place.path("loop")).unwrap();
    let table: [(&Path, &str, Option<i32>); 4] = [
        (place.0.path(), "is a directory; only files and fifos can be followed", None),
        (&place.path("socket"), "is a socket; only files and fifos can be followed", None),
        (Path::new("/dev/null"), "is a device; only files and fifos can be followed", None),
        (&place.path("loop"), "Too many levels of symbolic links (os error 40)", Some(40)),
    ];
    for (path, error, errno) in table {
        let state = SourceHarness::file(path, End).state("denied").await;
        assert!(state["error"].as_str().unwrap().ends_with(error), "{state}");
        assert_eq!(state.get("errno").and_then(serde_json::Value::as_i64), errno.map(i64::from));
    }
    drop(socket);
}

#[tokio::test]
async fn a_directory_in_the_place_of_a_file_may_become_one() {
    let place = TestDirectory::new();
    fs::create_dir(place.path("log")).unwrap();
    let mut bench = SourceHarness::file(&place.path("log"), End);
    bench.state("denied").await;
    fs::remove_dir(place.path("log")).unwrap();
    place.write("log", "one\n");
    assert_eq!(bench.line().await, "one");
}

#[tokio::test]
async fn a_fifo_is_read_from_writer_to_writer() {
    let place = TestDirectory::new();
    let fifo = place.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut bench = SourceHarness::file(&fifo, End);
    bench.state("following").await;
    for round in 0..3 {
        let (fifo, text) = (fifo.clone(), format!("{round}\nhalf"));
        spawn_blocking(move || fs::write(fifo, text)).await.unwrap().unwrap();
        assert_eq!(bench.lines(2).await, [round.to_string(), "half...".to_owned()]);
    }
    fs::remove_file(&fifo).unwrap();
    bench.state("waiting").await;
    place.write("fifo", "a file now\n");
    assert_eq!(bench.line().await, "a file now");
}

#[tokio::test]
async fn an_idle_file_is_heard_of_at_once() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "0\n"), Beginning);
    bench.line().await;
    // Polling alone, once a second, would take longer than this.
    let all = async {
        for n in 1..50 {
            place.append("log", &format!("{n}\n"));
            assert_eq!(bench.line().await, n.to_string());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("changes are heard of, not looked for");
}

#[tokio::test]
async fn what_was_written_before_the_stop_still_comes() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", "one\n"), Beginning);
    bench.line().await;
    place.append("log", &"x\n".repeat(30_000));
    bench.stop();
    let (events, _) = bench.rest().await;
    assert_eq!(events.iter().filter(|event| event["text"] == "x").count(), 30_000);
    assert_eq!(events.last().unwrap()["state"], "stopping");
}

#[tokio::test]
async fn long_lines_and_carriage_returns_are_as_the_stream_says() {
    let place = TestDirectory::new();
    let path = place.write("log", "abcdefghijkl\na\rb\n");
    let mut spec = spec(SourceKind::File(FileSourceConfig { from: Beginning, ..FileSourceConfig::new(path) }));
    (spec.max_line, spec.carriage_return) = (10, CarriageReturn::Split);
    let mut bench = SourceHarness::start(spec, SourceOptions::default());
    assert_eq!(bench.lines(4).await, ["abcdefghij+", "kl", "a", "b"]);
}

/// A writer that performs random operations; each line is numbered, and none may be missing, repeated or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_writing_and_rotating_loses_nothing() {
    let place = TestDirectory::new();
    let mut bench = SourceHarness::file(&place.write("log", ""), ReadFrom::Beginning);
    bench.state("following").await;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut written, mut rotations) = (0, 0);
    for _ in 0..300 {
        let lines = random.u32(0..50);
        let text = numbered_lines("line ", written..written + lines);
        let at = random.usize(0..=text.len());
        let (first, second) = text.split_at(at);
        place.append("log", first);
        if random.u8(0..4) == 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
        }
        place.append("log", second);
        written += lines;
        if random.u8(0..50) == 0 {
            rotations += 1;
            fs::rename(place.path("log"), place.path(&format!("log.{rotations}"))).unwrap();
            // A rotation that could not be seen, since the next one came first, is found from the next generation on.
            place.append("log", "");
            place.wait_until_open("log").await;
        }
    }
    for n in 0..written {
        assert_eq!(bench.line().await, format!("line {n}"));
    }
    assert!(rotations > 2);
}
