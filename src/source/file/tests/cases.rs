//! Cases that need control of the clock, or a start from recorded checkpoints: a source is run pass by pass.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::{FileSelector as Named, FileSourceConfig, ReadFrom, SourceKind, Stream};
use crate::source::ClockReading;
use crate::source::testing::TestDirectory;
use crate::stream::{Batch, Checkpoints};

use crate::source::file::tailer::{NextPass, Tailer};
use crate::source::file::watch::watcher::{Mailbox, Watcher};

struct TailerHarness {
    place: TestDirectory,
    spec: Stream,
    source: FileSourceConfig,
    files: Option<Tailer>,
    places: Checkpoints,
    now: Instant,
    losses: usize,
    state: serde_json::Value,
}

impl TailerHarness {
    fn new(files: &[&str], from: ReadFrom) -> Self {
        let place = TestDirectory::new();
        let files = files.iter().map(|file| Named::written(place.path(file))).collect();
        let source = FileSourceConfig { files, from, ..FileSourceConfig::new(place.path("log")) };
        let spec = Stream::new("test".parse().unwrap(), SourceKind::File(source.clone()));
        let state = serde_json::Value::Null;
        Self { place, spec, source, files: None, places: Checkpoints::new(), now: Instant::now(), losses: 0, state }
    }

    fn one_pass(&mut self) -> (Vec<String>, NextPass) {
        let Self { spec, source, files, places, now, .. } = self;
        let files = files
            .get_or_insert_with(|| Tailer::new(spec, source, places, Watcher::new(), Arc::new(Mailbox::default())));
        let mut batch = Batch::new();
        let next = files.look(ClockReading { instant: *now, time: SystemTime::now().into() }, &mut batch);
        for (key, place) in batch.places() {
            match place {
                Some(place) => places.insert(key.clone(), place.clone()),
                None => places.remove(key),
            };
        }
        self.losses += batch.losses();
        if let Some(state) = batch.last_state() {
            self.state = serde_json::to_value(state).unwrap();
        }
        (batch.lines().into_iter().map(|(_, _, text)| text).collect(), next)
    }

    /// Makes passes, and returns everything that is new.
    fn look(&mut self) -> Vec<String> {
        if let Some(files) = &mut self.files {
            files.wake_all();
        }
        let mut all = Vec::new();
        loop {
            let (lines, next) = self.one_pass();
            all.extend(lines);
            if next != NextPass::Now {
                return all;
            }
        }
    }

    /// The same after the time for late writers.
    fn later(&mut self) -> Vec<String> {
        self.now += Duration::from_secs(2);
        self.look()
    }

    /// Drops the source in its current state; the next pass starts a new one from the recorded checkpoints.
    fn restart(&mut self) {
        self.files = None;
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.place.path(from), self.place.path(to)).unwrap();
    }
}

#[test]
fn a_restart_goes_on_behind_the_last_line() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::End);
    desk.place.write("log", "one\ntwo\nthr");
    assert_eq!(desk.look(), ["one", "two"]);
    desk.restart();
    assert_eq!(desk.look(), [""; 0]);
    desk.place.append("log", "ee\nfour\n");
    desk.restart();
    assert_eq!(desk.look(), ["three", "four"]);
    assert_eq!(desk.losses, 0);
}

#[test]
fn rotations_during_a_restart_are_read_in_order() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::End);
    desk.place.write("log", "1\n");
    assert_eq!(desk.look(), ["1"]);
    desk.restart();
    desk.place.append("log", "2\n");
    for n in 3..6 {
        for old in (1..n - 2).rev() {
            desk.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        desk.rename("log", "log.1");
        desk.place.write("log", &format!("{n}\n"));
    }
    let mut all = desk.look();
    for _ in 0..4 {
        all.extend(desk.later());
    }
    assert_eq!(all, ["2", "3", "4", "5"]);
    assert_eq!(desk.losses, 0);
}

#[test]
fn the_same_content_under_another_inode_goes_on() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::End);
    desk.place.write("log", "one\ntwo\n");
    assert_eq!(desk.look(), ["one", "two"]);
    desk.restart();
    fs::copy(desk.place.path("log"), desk.place.path("copy")).unwrap();
    desk.rename("copy", "log");
    desk.place.append("log", "three\n");
    assert_eq!(desk.look(), ["three"]);
    assert_eq!(desk.losses, 0);
}

#[test]
fn a_copy_of_a_file_that_is_gone_is_not_read_again_after_a_restart() {
    for pattern in ["log", "lo[g]"] {
        let mut desk = TailerHarness::new(&[pattern], ReadFrom::Beginning);
        desk.place.write("log", "a line that is long enough to tell\n");
        assert_eq!(desk.look().len(), 1);
        fs::copy(desk.place.path("log"), desk.place.path("log.1")).unwrap();
        desk.place.write("log", "");
        fs::remove_file(desk.place.path("log")).unwrap();
        assert_eq!(desk.look(), [""; 0]);
        desk.now += Duration::from_millis(700);
        desk.place.write("log", "new\n");
        assert_eq!(desk.look(), [""; 0]);
        // The lines of the deleted file and of the copy come before those of the new one.
        let mut all = desk.later();
        desk.restart();
        all.extend([desk.look(), desk.later()].concat());
        assert_eq!(all, ["new"]);
        assert_eq!(desk.losses, 1, "the truncation");
    }
}

#[test]
fn a_copy_is_not_read_again_when_a_path_of_a_pattern_comes_back() {
    for restart in [false, true] {
        let mut desk = TailerHarness::new(&["lo[g]"], ReadFrom::Beginning);
        desk.place.write("log", "a line that is long enough to tell\n");
        assert_eq!(desk.look().len(), 1);
        fs::copy(desk.place.path("log"), desk.place.path("log.1")).unwrap();
        desk.place.write("log", "");
        fs::remove_file(desk.place.path("log")).unwrap();
        assert_eq!((desk.look(), desk.later()), (Vec::new(), Vec::new()));
        if restart {
            desk.restart();
            assert_eq!(desk.look(), [""; 0]);
        }
        desk.place.write("log", "new\n");
        desk.now += Duration::from_secs(61);
        assert_eq!([desk.look(), desk.later()].concat(), ["new"]);
        // Once the file has no siblings, its checkpoint is dropped.
        fs::remove_file(desk.place.path("log.1")).unwrap();
        fs::remove_file(desk.place.path("log")).unwrap();
        desk.later();
        desk.later();
        assert!(desk.places.is_empty(), "{:?}", desk.places);
    }
}

#[test]
fn another_content_under_the_same_inode_is_a_loss_and_read_from_its_start() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::End);
    desk.place.write("log", "one\ntwo\n");
    assert_eq!(desk.look(), ["one", "two"]);
    desk.restart();
    desk.place.write("log", "uno\ndos\n");
    assert_eq!(desk.look(), ["uno", "dos"]);
    assert_eq!(desk.losses, 1);
}

#[test]
fn a_damaged_place_is_as_none() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    desk.place.write("log", "one\n");
    desk.places.insert(desk.place.path("log").to_str().unwrap().to_owned(), "{\"at\":".to_owned());
    assert_eq!(desk.look(), ["one"]);
}

#[test]
fn a_path_that_named_nothing_is_read_from_its_start_after_a_restart() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::End);
    assert_eq!(desk.look(), [""; 0]);
    assert_eq!(desk.state["state"], "waiting");
    desk.restart();
    desk.place.write("log", "one\n".repeat(200).as_str());
    assert_eq!(desk.look().len(), 200);
}

#[test]
fn one_reader_for_a_file_by_many_names() {
    let mut desk = TailerHarness::new(&["*.log", "link", "a.*"], ReadFrom::Beginning);
    desk.place.write("a.log", "one\n");
    std::os::unix::fs::symlink(desk.place.path("a.log"), desk.place.path("link")).unwrap();
    fs::hard_link(desk.place.path("a.log"), desk.place.path("b.log")).unwrap();
    assert_eq!(desk.look(), ["one"]);
    desk.place.append("b.log", "two\n");
    assert_eq!(desk.later(), ["two"]);
    assert_eq!((&desk.state["state"], &desk.state["files"]), (&"following".into(), &1.into()));
}

#[test]
fn a_rotated_name_that_the_pattern_matches_is_no_new_file() {
    let mut desk = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    desk.place.write("log", "one\n");
    assert_eq!(desk.look(), ["one"]);
    for n in 2..5 {
        for old in (1..n - 1).rev() {
            desk.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        desk.rename("log", "log.1");
        desk.place.write("log", &format!("{n}\n"));
        let mut all = desk.later();
        all.extend(desk.later());
        all.extend(desk.later());
        assert_eq!(all, [n.to_string()]);
    }
    // The last name of all is found; polling finds it where changes are not notified.
    desk.now += Duration::from_secs(61);
    assert_eq!(desk.look(), [""; 0]);
    desk.restart();
    assert_eq!(desk.look(), [""; 0]);
    assert_eq!(desk.later(), [""; 0]);
    assert_eq!(desk.losses, 0);
}

/// A text that is long enough for recognising a copy.
fn long(n: u32) -> String {
    format!("{n} is the number of this line\n")
}

/// Rotates repeatedly, with one line each, and without a pass in between.
fn rotate_quickly(desk: &TailerHarness, rotations: std::ops::Range<u32>, counts_up: bool) {
    for n in rotations {
        desk.place.append("log", &long(n));
        if counts_up {
            desk.rename("log", &format!("log.{n}"));
            continue;
        }
        for old in (1..n).rev().filter(|old| desk.place.path(&format!("log.{old}")).exists()) {
            desk.rename(&format!("log.{old}"), &format!("log.{}", old + 1));
        }
        desk.rename("log", "log.1");
    }
}

#[test]
fn rotations_that_nobody_could_see_are_read_in_order() {
    for (counts_up, restart) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
        desk.place.write("log", &long(0));
        let mut all = desk.look();
        // Files that were created at different times tell the direction of the numbers.
        for n in 1..4 {
            std::thread::park_timeout(Duration::from_millis(12));
            rotate_quickly(&desk, n..n + 1, counts_up);
            all.extend(desk.look());
        }
        for many in [4..5, 5..30, 30..150] {
            rotate_quickly(&desk, many, counts_up);
            all.extend(desk.look());
            if restart {
                desk.restart();
                all.extend(desk.look());
            }
        }
        for _ in 0..8 {
            all.extend(desk.later());
        }
        assert!(numbers(&all).into_iter().eq(0..150), "counts up: {counts_up}, restart: {restart}: {all:?}");
        assert_eq!(desk.losses, 0);
    }
}

fn numbers(lines: &[String]) -> Vec<u32> {
    lines.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn what_was_truncated_and_then_rotated_during_a_restart_is_read_behind_its_copy() {
    for look_between in [false, true] {
        let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
        desk.place.write("log", &long(1));
        assert_eq!(numbers(&desk.look()), [1]);
        desk.restart();
        desk.place.append("log", &long(2));
        fs::copy(desk.place.path("log"), desk.place.path("log.1")).unwrap();
        desk.place.write("log", &long(3));
        desk.rename("log.1", "log.2");
        desk.rename("log", "log.1");
        let mut all = Vec::new();
        if look_between {
            all.extend(desk.look());
            desk.restart();
        }
        desk.place.write("log", &long(4));
        for _ in 0..4 {
            all.extend(desk.later());
        }
        assert_eq!((numbers(&all), desk.losses), (vec![2, 3, 4], 0), "look between: {look_between}");
    }
}

#[test]
fn what_was_rotated_is_read_although_the_path_names_nothing_after_a_restart() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    desk.place.write("log", &long(1));
    desk.look();
    desk.restart();
    fs::remove_file(desk.place.path("log")).unwrap();
    assert_eq!([desk.look(), desk.later()].concat(), [""; 0], "the file may come back");
    std::thread::park_timeout(Duration::from_millis(12));
    desk.place.write("log", &long(2));
    desk.rename("log", "log.1");
    assert_eq!(numbers(&[desk.look(), desk.later()].concat()), [2]);
    assert_eq!(desk.losses, 1, "what may have been written to the file that is gone");
}

#[test]
fn an_edited_copy_of_a_file_that_was_truncated_before_is_the_same_file() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    desk.place.write("log", &(1..9).map(long).collect::<String>());
    desk.look();
    desk.place.write("log", &(10..12).map(long).collect::<String>());
    fs::copy(desk.place.path("log"), desk.place.path("new")).unwrap();
    desk.place.append("new", &long(12));
    desk.rename("new", "log");
    let all: Vec<_> = (0..3).flat_map(|_| desk.later()).collect();
    assert_eq!((numbers(&all), desk.losses), (vec![10, 11, 12], 1));
}

#[test]
fn other_lines_as_long_as_those_before_are_no_cut() {
    let same = "and the same end of each line\n";
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let line = |n: u32| format!("{n} {same}");
    desk.place.write("log", &(10..14).map(line).collect::<String>());
    desk.look();
    desk.place.write("log", &(20..22).map(line).collect::<String>());
    assert_eq!((numbers(&desk.look()), desk.losses), (vec![20, 21], 1));
}

#[test]
fn the_first_bytes_tell_a_truncation_where_the_last_do_not() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let same = "-".repeat(600) + "\n";
    desk.place.write("log", &(long(1) + &same));
    desk.look();
    desk.place.write("log", &(long(2) + &same + &long(3)));
    let all = desk.look();
    assert_eq!((numbers(&all[..1]), numbers(&all[2..]), desk.losses), (vec![2], vec![3], 1));
}

#[test]
fn a_copy_of_a_file_that_was_put_over_others_goes_on_where_the_last_was_read() {
    let mut desk = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    for n in 1..4 {
        desk.place.write("new.log", &"a line that is long enough to tell\n".repeat(n));
        desk.rename("new.log", "log");
        assert_eq!([desk.look(), desk.later()].concat().len(), 1);
    }
    fs::copy(desk.place.path("log"), desk.place.path("log.1")).unwrap();
    desk.place.write("log", "");
    desk.now += Duration::from_secs(61);
    assert_eq!([desk.look(), desk.later()].concat(), [""; 0]);
}

#[test]
fn a_file_with_a_number_in_its_name_and_the_same_banner_is_no_copy() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    desk.place.write("app.log", "started\n");
    assert_eq!(desk.look(), ["started"]);
    desk.place.write("app-2.log", "started\ntwo\n");
    desk.now += Duration::from_secs(61);
    assert_eq!(desk.look(), ["started", "two"]);
}

#[test]
fn compressed_files_are_never_read_as_text() {
    let mut desk = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    desk.place.write("log", "one\n");
    fs::write(desk.place.path("log.1.gz"), b"\x1f\x8b\x08\n\n").unwrap();
    fs::write(desk.place.path("log.2"), b"\xfd7zXZ\0\n\n").unwrap();
    fs::write(desk.place.path("log.3"), b"").unwrap();
    assert_eq!(desk.look(), ["one"]);
    fs::write(desk.place.path("log.3"), b"\x28\xb5\x2f\xfd\n\n").unwrap();
    assert_eq!(desk.look(), [""; 0]);
}

#[test]
fn a_name_that_is_not_utf_8_is_followed_and_encoded() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    let path = desk.place.0.path().join(OsStr::from_bytes(b"\xff%.log"));
    fs::write(&path, "one\n").unwrap();
    assert_eq!(desk.look(), ["one"]);
    assert!(desk.places.keys().all(|key| key.ends_with("/%FF%25.log")), "{:?}", desk.places);
    desk.restart();
    assert_eq!(desk.look(), [""; 0]);
}

#[test]
fn a_busy_file_does_not_keep_others_waiting() {
    let mut desk = TailerHarness::new(&["a.log", "b.log"], ReadFrom::Beginning);
    desk.place.write("a.log", &"busy\n".repeat(2_000_000));
    desk.place.write("b.log", "quiet\n");
    let (lines, next) = desk.one_pass();
    assert!(lines.iter().any(|line| line == "quiet"));
    assert!(lines.len() < 300_000 && next == NextPass::Now);
}

#[test]
fn closed_files_that_are_rotated_are_found_by_their_identity() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..300 {
        desk.place.write(&format!("{n}.log"), "old\n");
    }
    assert_eq!(desk.look().len(), 300);
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held =
        open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(desk.place.0.path()))).count();
    assert!(held <= 130, "{held} files are open");
    for n in 0..300 {
        desk.place.append(&format!("{n}.log"), "more\n");
        desk.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        desk.place.write(&format!("{n}.log"), "new\n");
    }
    let mut all = desk.look();
    for _ in 0..3 {
        all.extend(desk.later());
    }
    assert_eq!(all.iter().filter(|line| *line == "more").count(), 300);
    assert_eq!((all.iter().filter(|line| *line == "new").count(), all.len(), desk.losses), (300, 600, 0));
}

#[test]
fn what_was_deleted_while_it_was_closed_is_a_loss() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..200 {
        desk.place.write(&format!("{n:03}.log"), "old\n");
    }
    desk.look();
    desk.place.append("199.log", "unread\n");
    if let Some(files) = &mut desk.files {
        files.mark_written(&desk.place.path("199.log"));
    }
    fs::remove_file(desk.place.path("199.log")).unwrap();
    fs::remove_file(desk.place.path("198.log")).unwrap();
    desk.look();
    desk.later();
    assert_eq!(desk.losses, 1, "one was written to, and the other only deleted");
}

#[test]
fn a_file_that_comes_and_goes_quickly_is_read_once_it_was_seen() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::End);
    desk.look();
    desk.place.write("short.log", "one\n");
    desk.now += Duration::from_secs(61);
    assert_eq!(desk.look(), ["one"]);
    fs::remove_file(desk.place.path("short.log")).unwrap();
    desk.later();
    desk.later();
    assert!(desk.places.is_empty(), "{:?}", desk.places);
}

#[test]
fn an_io_error_is_told_and_the_file_goes_on_where_it_was() {
    let mut desk = TailerHarness::new(&["log"], ReadFrom::Beginning);
    desk.place.write("log", "one\nha");
    assert_eq!(desk.look(), ["one"]);
    if let Some(files) = &mut desk.files {
        files.fail_all(&std::io::Error::from_raw_os_error(5), desk.now);
    }
    desk.look();
    assert_eq!((&desk.state["state"], &desk.state["errno"]), (&"denied".into(), &5.into()));
    desk.place.append("log", "lf\n");
    desk.now += Duration::from_secs(6);
    assert_eq!(desk.look(), ["half"]);
    assert_eq!((&desk.state["state"], desk.losses), (&"following".into(), 0));
}

#[test]
fn a_pattern_without_files_waits() {
    let mut desk = TailerHarness::new(&["*.log"], ReadFrom::End);
    desk.look();
    let reason = desk.state["reason"].as_str().unwrap();
    assert!(reason.starts_with("no file matches ") && reason.ends_with("/*.log"), "{}", desk.state);
}
