//! Tests of following files: random operations against a `model` of its `model_files`, and cases that a `harness` runs pass by
//! pass: `rotations`, `restarts`, `unread`, `copies`, `late_writers`, `contents` and `passes`.

mod harness;
mod rotations;
mod restarts;
mod unread;
mod copies;
mod late_writers;
mod contents;
mod passes;
mod model;
mod model_files;

use super::*;
use crate::config::ReadFrom::{self, Beginning, End};
use crate::config::{CarriageReturn, SourceKind};
use crate::source::SourceOptions;
use crate::source::testing::{SourceHarness, TestDirectory, numbered_lines, spec};
use std::fs;
use std::path::Path;

#[tokio::test]
async fn lines_come_as_they_are_written() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "old\n"), Beginning);
    assert_eq!(harness.state("following").await["files"], 1);
    assert_eq!(harness.line().await, "old");
    directory.append("log", "one\ntwo\nthr");
    assert_eq!(harness.lines(2).await, ["one", "two"]);
    directory.append("log", "ee\n");
    let event = harness.next("line").await;
    assert_eq!((&event["text"], &event["origin"]), (&"three".into(), &directory.path("log").to_str().into()));
}

#[tokio::test]
async fn from_the_end_come_the_last_hundred() {
    let directory = TestDirectory::new();
    let old = numbered_lines("", 1..=1000);
    let mut harness = SourceHarness::file(&directory.write("log", &(old + "ha")), End);
    assert_eq!(harness.lines(100).await[0], "901");
    directory.append("log", "lf\n");
    assert_eq!(harness.line().await, "half");
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_from_its_start() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.path("a/b/log"), End);
    let state = harness.state("waiting").await;
    assert!(state["reason"].as_str().unwrap().ends_with("/a/b/log does not exist"), "{state}");
    fs::create_dir(directory.path("a")).unwrap();
    fs::create_dir(directory.path("a/b")).unwrap();
    directory.write("a/b/log", "first\n");
    harness.state("following").await;
    assert_eq!(harness.line().await, "first");
}

#[tokio::test]
async fn a_directory_that_was_created_again_is_watched_again() {
    let directory = TestDirectory::new();
    fs::create_dir(directory.path("a")).unwrap();
    let mut harness = SourceHarness::file(&directory.write("a/log", "one\n"), Beginning);
    assert_eq!(harness.line().await, "one");
    for round in 0..3 {
        fs::remove_dir_all(directory.path("a")).unwrap();
        harness.state("waiting").await;
        fs::create_dir(directory.path("a")).unwrap();
        directory.write("a/log", &format!("round {round}\n"));
        assert_eq!(harness.line().await, format!("round {round}"));
    }
}

#[tokio::test]
async fn rotation_loses_nothing_not_even_of_a_late_writer() {
    use std::io::Write;
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "one\n"), Beginning);
    assert_eq!(harness.line().await, "one");
    let mut late = fs::OpenOptions::new().append(true).open(directory.path("log")).unwrap();
    fs::rename(directory.path("log"), directory.path("log.1")).unwrap();
    late.write_all(b"two\n").unwrap();
    directory.append("log", "four\n");
    late.write_all(b"thr").unwrap();
    assert_eq!(harness.lines(3).await, ["two", "thr...", "four"]);
    directory.append("log", "five\n");
    assert_eq!(harness.line().await, "five");
}

#[tokio::test]
async fn many_rotations_at_once_come_in_order() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "0\n"), Beginning);
    assert_eq!(harness.line().await, "0");
    for n in 1..=5 {
        fs::rename(directory.path("log"), directory.path(&format!("log.{n}"))).unwrap();
        directory.append("log", &format!("{n}\n"));
        // The file is held open, although it is not read yet.
        directory.wait_until_open("log").await;
    }
    assert_eq!(harness.lines(5).await, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn truncation_is_a_loss_and_begins_again() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "header\none\nhal"), Beginning);
    assert_eq!(harness.lines(2).await, ["header", "one"]);
    harness.wait_for_open_line(Some("hal")).await;
    directory.write("log", "header\ntwo\n");
    assert_eq!(harness.line().await, "hal...");
    let reason = harness.next("loss").await["reason"].to_string();
    assert!(reason.ends_with("/log: the file was truncated or overwritten\""), "{reason}");
    assert_eq!(harness.lines(2).await, ["header", "two"]);
}

#[tokio::test]
async fn a_hole_left_by_a_writer_after_a_truncation_is_skipped() {
    use std::io::Write;
    let directory = TestDirectory::new();
    let mut writer = fs::File::create(directory.path("log")).unwrap();
    let long = "one ".repeat(30);
    writer.write_all(format!("{long}\n").as_bytes()).unwrap();
    let mut harness = SourceHarness::file(&directory.path("log"), Beginning);
    assert_eq!(harness.line().await, long);
    fs::OpenOptions::new().write(true).truncate(true).open(directory.path("log")).unwrap();
    writer.write_all(b"two\n").unwrap();
    harness.next("loss").await;
    assert_eq!(harness.next("loss").await["bytes"], 121);
    assert_eq!(harness.line().await, "two");
}

#[tokio::test]
async fn a_deleted_file_is_read_to_its_end_and_let_go() {
    use std::io::Write;
    let directory = TestDirectory::new();
    let mut writer = fs::File::create(directory.path("log")).unwrap();
    let mut harness = SourceHarness::file(&directory.path("log"), Beginning);
    harness.state("following").await;
    fs::remove_file(directory.path("log")).unwrap();
    writer.write_all(b"last\nwor").unwrap();
    assert_eq!(harness.lines(2).await, ["last", "wor..."]);
    harness.state("waiting").await;
    directory.write("log", "new\n");
    assert_eq!(harness.line().await, "new");
}

#[tokio::test]
async fn an_edited_copy_put_over_the_file_is_the_same_file() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "one\ntw"), Beginning);
    assert_eq!(harness.line().await, "one");
    directory.write("new", "one\ntwo\nthree\n");
    fs::rename(directory.path("new"), directory.path("log")).unwrap();
    assert_eq!(harness.lines(2).await, ["two", "three"]);
    directory.write("new", "ONE\ntwo\nthree\n");
    fs::rename(directory.path("new"), directory.path("log")).unwrap();
    assert_eq!(harness.lines(3).await, ["ONE", "two", "three"]);
}

#[tokio::test]
async fn the_same_first_lines_do_not_make_a_rotated_file_the_same() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "start\n"), Beginning);
    assert_eq!(harness.line().await, "start");
    fs::rename(directory.path("log"), directory.path("log.1")).unwrap();
    directory.write("log", "start\nmore\n");
    assert_eq!(harness.lines(2).await, ["start", "more"]);
}

#[tokio::test]
async fn a_file_that_is_renamed_away_and_back_is_continued() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "one\n"), Beginning);
    assert_eq!(harness.line().await, "one");
    fs::rename(directory.path("log"), directory.path("other")).unwrap();
    fs::rename(directory.path("other"), directory.path("log")).unwrap();
    directory.append("log", "two\n");
    assert_eq!(harness.line().await, "two");
}

#[tokio::test]
async fn a_symlink_is_followed_and_its_change_is_a_rotation() {
    let directory = TestDirectory::new();
    fs::create_dir(directory.path("elsewhere")).unwrap();
    directory.write("elsewhere/a", "a1\n");
    directory.write("elsewhere/b", "b1\n");
    std::os::unix::fs::symlink(directory.path("elsewhere/a"), directory.path("log")).unwrap();
    let mut harness = SourceHarness::file(&directory.path("log"), Beginning);
    assert_eq!(harness.line().await, "a1");
    let written = Instant::now();
    directory.append("elsewhere/a", "a2\n");
    assert_eq!(harness.line().await, "a2");
    assert!(written.elapsed() < Duration::from_millis(500), "heard of where it is, not seen by the safety net");
    std::os::unix::fs::symlink(directory.path("elsewhere/b"), directory.path("new")).unwrap();
    fs::rename(directory.path("new"), directory.path("log")).unwrap();
    assert_eq!(harness.line().await, "b1");
}

#[tokio::test]
async fn a_target_that_comes_later_is_noticed_at_once() {
    for (name, target) in [
        ("log", "later/deep/log"),
        ("lo[g]", "later/deep/log"),
        ("chain", "later/deep/log"),
        ("directory/log", "later/deep/log"),
    ] {
        let directory = TestDirectory::new();
        for (link, target) in [("log", target), ("chain", "log"), ("directory", "later/deep")] {
            std::os::unix::fs::symlink(target, directory.path(link)).unwrap();
        }
        let source = FileSourceConfig {
            files: vec![crate::config::FileSelector::of_path(directory.path(name))],
            from: Beginning,
            rotate_wait: Duration::from_millis(100),
            ..FileSourceConfig::new(directory.path(name))
        };
        let mut harness = SourceHarness::start(spec(SourceKind::File(source)), SourceOptions::default());
        harness.state("waiting").await;
        let begin = Instant::now();
        fs::create_dir(directory.path("later")).unwrap();
        fs::create_dir(directory.path("later/deep")).unwrap();
        directory.write("later/deep/log", "one\n");
        assert_eq!(harness.line().await, "one", "{name}");
        // And a target that is away for a while.
        fs::rename(directory.path("later/deep/log"), directory.path("away")).unwrap();
        directory.write("later/deep/log", "two\n");
        fs::remove_file(directory.path("away")).unwrap();
        assert_eq!(harness.line().await, "two", "{name}");
        assert!(begin.elapsed() < Duration::from_secs(6), "{name}: noticed by polling");
    }
}

#[tokio::test]
async fn a_fifo_that_a_pattern_matches_is_read() {
    let directory = TestDirectory::new();
    let source = FileSourceConfig {
        files: vec![crate::config::FileSelector::of_path(directory.path("*.pipe"))],
        ..FileSourceConfig::new(directory.path("*.pipe"))
    };
    let path = directory.path("a.pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let mut harness = SourceHarness::start(spec(SourceKind::File(source)), SourceOptions::default());
    harness.state("following").await;
    for text in ["one", "two"] {
        let (path, line) = (path.clone(), format!("{text}\n"));
        spawn_blocking(move || fs::write(path, line).unwrap()).await.unwrap();
        assert_eq!(harness.line().await, text);
    }
}

#[tokio::test]
async fn what_has_no_lines_is_denied_and_says_why() {
    let temporary = TestDirectory::new();
    let socket = std::os::unix::net::UnixListener::bind(temporary.path("socket")).unwrap();
    std::os::unix::fs::symlink(temporary.path("loop"), temporary.path("loop")).unwrap();
    let table: [(&Path, &str, Option<i32>); 4] = [
        (temporary.0.path(), "is a directory; only files and FIFOs can be followed", None),
        (&temporary.path("socket"), "is a socket; only files and FIFOs can be followed", None),
        (Path::new("/dev/null"), "is a device; only files and FIFOs can be followed", None),
        (&temporary.path("loop"), "Too many levels of symbolic links (os error 40)", Some(40)),
    ];
    for (path, error, errno) in table {
        let state = SourceHarness::file(path, End).state("denied").await;
        assert!(state["error"].as_str().unwrap().ends_with(error), "{state}");
        assert_eq!(state.get("errno").and_then(serde_json::Value::as_i64), errno.map(i64::from));
    }
    drop(socket);
}

#[tokio::test]
async fn a_directory_under_the_name_of_a_file_may_become_one() {
    let directory = TestDirectory::new();
    fs::create_dir(directory.path("log")).unwrap();
    let mut harness = SourceHarness::file(&directory.path("log"), End);
    harness.state("denied").await;
    fs::remove_dir(directory.path("log")).unwrap();
    directory.write("log", "one\n");
    assert_eq!(harness.line().await, "one");
}

#[tokio::test]
async fn a_fifo_is_read_from_writer_to_writer() {
    let directory = TestDirectory::new();
    let fifo = directory.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut harness = SourceHarness::file(&fifo, End);
    harness.state("following").await;
    for round in 0..3 {
        let (fifo, text) = (fifo.clone(), format!("{round}\nhalf"));
        spawn_blocking(move || fs::write(fifo, text)).await.unwrap().unwrap();
        assert_eq!(harness.lines(2).await, [round.to_string(), "half...".to_owned()]);
    }
    fs::remove_file(&fifo).unwrap();
    harness.state("waiting").await;
    directory.write("fifo", "a file now\n");
    assert_eq!(harness.line().await, "a file now");
}

#[tokio::test]
async fn a_fifo_is_read_to_its_end_when_its_name_is_gone() {
    use std::io::Write;
    for (name, replacement) in [("fifo", None), ("fif[o]", None), ("fifo", Some("a file")), ("fif[o]", Some("a file"))]
    {
        let directory = TestDirectory::new();
        let fifo = directory.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let source = FileSourceConfig {
            files: vec![crate::config::FileSelector::of_path(directory.path(name))],
            ..FileSourceConfig::new(directory.path(name))
        };
        let mut harness = SourceHarness::start(spec(SourceKind::File(source)), SourceOptions::default());
        harness.state("following").await;
        let path = fifo.clone();
        let mut writer = spawn_blocking(move || fs::File::create(path)).await.unwrap().unwrap();
        writer.write_all(b"one\nhal").unwrap();
        assert_eq!(harness.line().await, "one");
        fs::remove_file(&fifo).unwrap();
        if let Some(text) = replacement {
            directory.write("fifo", &format!("{text}\n"));
            assert_eq!(harness.line().await, text);
        } else {
            harness.state("waiting").await;
        }
        writer.write_all(b"f\nlast\nend").unwrap();
        drop(writer);
        assert_eq!(harness.lines(3).await, ["half", "last", "end..."], "{name}");
        if replacement.is_none() {
            // A line that is written just before the name is removed.
            rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            let path = fifo.clone();
            let write = move || fs::write(&path, "quick\n").and_then(|()| fs::remove_file(&path));
            spawn_blocking(write).await.unwrap().unwrap();
            assert_eq!(harness.line().await, "quick", "{name}");
        }
    }
}

/// What was written to a FIFO cannot be read again after the next start.
#[tokio::test]
async fn what_a_fifo_holds_at_a_stop_is_read() {
    use std::io::Write;
    let long = "x".repeat(100_000);
    let table: [(&str, Option<&str>, &[&str]); 6] = [
        ("one\n", None, &["one"]),
        ("one\ntwo", None, &["one", "two..."]),
        (&format!("{long}\nend\n"), None, &[&long, "end"]),
        ("", Some("half"), &["half..."]),
        ("more\n", Some("half "), &["half more"]),
        (&format!("{long}\n"), Some("half\n"), &["half", &long]),
    ];
    for (held, read, expected) in table {
        let directory = TestDirectory::new();
        let fifo = directory.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut harness = SourceHarness::file(&fifo, End);
        harness.state("following").await;
        let mut writer = spawn_blocking(move || fs::File::create(fifo)).await.unwrap().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap();
        if let Some(text) = read {
            writer.write_all(format!("0\n{text}").as_bytes()).unwrap();
            assert_eq!(harness.line().await, "0");
        }
        writer.write_all(held.as_bytes()).unwrap();
        harness.stop();
        assert_eq!(harness.lines(expected.len()).await, expected, "{read:?}, {held:.20?}");
        let rest = harness.remaining_events().await.0;
        assert!(rest.iter().all(|event| event.get("text").is_none()), "{read:?}, {held:.20?}: {rest:?}");
    }
}

#[tokio::test]
async fn a_change_of_an_idle_file_is_notified_at_once() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "0\n"), Beginning);
    harness.line().await;
    // Polling alone, once a second, would take longer than this.
    let all = async {
        for n in 1..50 {
            directory.append("log", &format!("{n}\n"));
            assert_eq!(harness.line().await, n.to_string());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("changes are heard of, not looked for");
}

#[tokio::test]
async fn what_was_written_before_the_stop_still_comes() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", "one\n"), Beginning);
    harness.line().await;
    directory.append("log", &"x\n".repeat(30_000));
    harness.stop();
    let (events, _) = harness.remaining_events().await;
    assert_eq!(events.iter().filter(|event| event["text"] == "x").count(), 30_000);
    assert_eq!(events.last().unwrap()["state"], "stopping");
}

#[tokio::test]
async fn long_lines_and_carriage_returns_are_as_the_stream_says() {
    let directory = TestDirectory::new();
    let path = directory.write("log", "abcdefghijkl\na\rb\n");
    let mut spec = spec(SourceKind::File(FileSourceConfig { from: Beginning, ..FileSourceConfig::new(path) }));
    (spec.max_line, spec.carriage_return) = (10, CarriageReturn::Split);
    let mut harness = SourceHarness::start(spec, SourceOptions::default());
    assert_eq!(harness.lines(4).await, ["abcdefghij+", "kl", "a", "b"]);
}

/// A writer that performs random operations; each line is numbered, and none may be missing, repeated or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_writing_and_rotating_loses_nothing() {
    let directory = TestDirectory::new();
    let mut harness = SourceHarness::file(&directory.write("log", ""), ReadFrom::Beginning);
    harness.state("following").await;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut written, mut rotations) = (0, 0);
    for _ in 0..300 {
        let lines = random.u32(0..50);
        let text = numbered_lines("line ", written..written + lines);
        let at = random.usize(0..=text.len());
        let (first, second) = text.split_at(at);
        directory.append("log", first);
        if random.u8(0..4) == 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
        }
        directory.append("log", second);
        written += lines;
        if random.u8(0..50) == 0 {
            rotations += 1;
            fs::rename(directory.path("log"), directory.path(&format!("log.{rotations}"))).unwrap();
            // A rotation that could not be seen, since the next one came first, is found from the next generation on.
            directory.append("log", "");
            directory.wait_until_open("log").await;
        }
    }
    for n in 0..written {
        assert_eq!(harness.line().await, format!("line {n}"));
    }
    assert!(rotations > 2);
}
