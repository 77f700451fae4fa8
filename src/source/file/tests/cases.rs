//! Cases that need control of the clock, or a start from recorded checkpoints: a source is run pass by pass.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::{FileSelector as Named, FileSourceConfig, LineFormat, ReadFrom, SourceKind, Stream};
use crate::source::ClockReading;
use crate::source::testing::TestDirectory;
use crate::stream::{Batch, Checkpoints, ReadRoom};

use crate::source::file::tailer::{NextPass, Tailer};
use crate::source::file::watch::watcher::{Mailbox, PathChange, Watcher};

pub(super) struct TailerHarness {
    pub(super) directory: TestDirectory,
    spec: Stream,
    source: FileSourceConfig,
    files: Option<Tailer>,
    mailbox: Arc<Mailbox>,
    checkpoints: Checkpoints,
    now: Instant,
    /// The limit of each pass.
    room: ReadRoom,
    losses: usize,
    pub(super) loss_texts: Vec<String>,
    pub(super) state: serde_json::Value,
}

impl TailerHarness {
    pub(super) fn new(files: &[&str], from: ReadFrom) -> Self {
        Self::with_format(files, from, LineFormat::default())
    }

    /// The same for files whose lines have this format.
    pub(super) fn with_format(files: &[&str], from: ReadFrom, format: LineFormat) -> Self {
        let directory = TestDirectory::new();
        let files = files.iter().map(|file| Named::of_path(directory.path(file))).collect();
        let source = FileSourceConfig { files, from, ..FileSourceConfig::new(directory.path("log")) };
        let spec = Stream::new("test".parse().unwrap(), SourceKind::File(source.clone()));
        let spec = Stream { format, ..spec };
        let state = serde_json::Value::Null;
        Self {
            directory,
            spec,
            source,
            files: None,
            mailbox: Arc::default(),
            checkpoints: Checkpoints::new(),
            now: Instant::now(),
            room: ReadRoom::Unlimited,
            losses: 0,
            loss_texts: Vec::new(),
            state,
        }
    }

    pub(super) fn one_pass(&mut self) -> (Vec<String>, NextPass) {
        let Self { spec, source, files, mailbox, checkpoints, now, room, .. } = self;
        let files =
            files.get_or_insert_with(|| Tailer::new(spec, source, checkpoints, Watcher::new(), mailbox.clone()));
        let mut batch = Batch::new();
        files.set_room(*room);
        let next = files.run_pass(ClockReading { instant: *now, time: SystemTime::now().into() }, &mut batch);
        for change in batch.checkpoint_changes() {
            change.clone().apply_to(checkpoints);
        }
        self.losses += batch.losses();
        self.loss_texts.extend(batch.loss_texts());
        if let Some(state) = batch.last_state() {
            self.state = serde_json::to_value(state).unwrap();
        }
        (batch.lines().into_iter().map(|(_, _, text)| text).collect(), next)
    }

    /// Makes passes, and returns everything that is new.
    pub(super) fn run_until_idle(&mut self) -> Vec<String> {
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

    /// The same after the time for late writers, who are silent.
    pub(super) fn run_after_rotate_wait(&mut self) -> Vec<String> {
        self.now += Duration::from_secs(6);
        self.run_until_idle()
    }

    /// Everything that is new after this time.
    pub(super) fn after(&mut self, milliseconds: u64) -> Vec<String> {
        self.now += Duration::from_millis(milliseconds);
        self.run_until_idle()
    }

    /// Notifies that a file which had this name was closed by a writer.
    pub(super) fn note_closed(&mut self, name: &str) {
        let path = self.directory.path(name);
        if let Some(files) = &mut self.files {
            files.note_change(&path, PathChange { closed: true, ..PathChange::default() });
        }
    }

    /// Forgets the changes that were notified so far.
    fn forget_changes(&mut self) {
        self.wait_for_changes(0);
        self.mailbox.take();
    }

    /// Waits until a write to this many paths was notified.
    fn wait_for_changes(&mut self, count: usize) {
        let marker = self.directory.write("marker.log", "");
        fs::remove_file(&marker).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let seen = self.mailbox.peek();
            let written = seen.paths.iter().filter(|(path, _)| path.as_os_str() != marker.as_os_str()).count();
            if seen.paths.contains_key(&marker) && written >= count {
                return;
            }
            assert!(Instant::now() < deadline, "{seen:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Returns whether the stream reads this file.
    pub(super) fn has_open(&self, file: &fs::Metadata) -> bool {
        self.files.as_ref().is_some_and(|files| files.reads(file))
    }

    /// Adds directories of rotated files.
    pub(super) fn with_rotated(mut self, directories: &[&str]) -> Self {
        self.source.rotated = directories.iter().map(|directory| self.directory.path(directory)).collect();
        self.spec.source = SourceKind::File(self.source.clone());
        self
    }

    /// Changes the configuration of the stream.
    pub(super) fn with_spec(mut self, change: impl FnOnce(&mut Stream)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Makes `name` a symlink to `target`, in place of what it was.
    pub(super) fn switch(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.directory.path("new")).unwrap();
        self.rename("new", name);
    }

    /// Creates a file behind a tick of the file system's clock, so that it is newer than those before it.
    pub(super) fn create_later(&self, name: &str, text: &str) {
        std::thread::park_timeout(Duration::from_millis(12));
        self.directory.write(name, text);
    }

    /// Drops the source in its current state; the next pass starts a new one from the recorded checkpoints.
    pub(super) fn restart(&mut self) {
        self.files = None;
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.directory.path(from), self.directory.path(to)).unwrap();
    }
}

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
fn a_copy_of_a_file_that_is_gone_is_not_read_again_after_a_restart() {
    for pattern in ["log", "lo[g]"] {
        let mut harness = TailerHarness::new(&[pattern], ReadFrom::Beginning);
        harness.directory.write("log", "a line that is long enough to tell\n");
        assert_eq!(harness.run_until_idle().len(), 1);
        fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
        harness.directory.write("log", "");
        fs::remove_file(harness.directory.path("log")).unwrap();
        assert_eq!(harness.run_until_idle(), [""; 0]);
        harness.now += Duration::from_millis(700);
        harness.directory.write("log", "new\n");
        assert_eq!(harness.run_until_idle(), [""; 0]);
        // The lines of the deleted file and of the copy come before those of the new one.
        let mut all = harness.run_after_rotate_wait();
        harness.restart();
        all.extend([harness.run_until_idle(), harness.run_after_rotate_wait()].concat());
        assert_eq!(all, ["new"]);
        assert_eq!(harness.losses, 1, "the truncation");
    }
}

#[test]
fn a_copy_is_not_read_again_when_a_path_of_a_pattern_comes_back() {
    for restart in [false, true] {
        let mut harness = TailerHarness::new(&["lo[g]"], ReadFrom::Beginning);
        harness.directory.write("log", "a line that is long enough to tell\n");
        assert_eq!(harness.run_until_idle().len(), 1);
        fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
        harness.directory.write("log", "");
        fs::remove_file(harness.directory.path("log")).unwrap();
        assert_eq!((harness.run_until_idle(), harness.run_after_rotate_wait()), (Vec::new(), Vec::new()));
        if restart {
            harness.restart();
            assert_eq!(harness.run_until_idle(), [""; 0]);
        }
        harness.directory.write("log", "new\n");
        harness.now += Duration::from_secs(61);
        assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat(), ["new"]);
        // Once the file has no siblings, its checkpoint is dropped.
        fs::remove_file(harness.directory.path("log.1")).unwrap();
        fs::remove_file(harness.directory.path("log")).unwrap();
        harness.run_after_rotate_wait();
        harness.run_after_rotate_wait();
        assert!(harness.checkpoints.is_empty(), "{:?}", harness.checkpoints);
    }
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

/// A text that is long enough for recognising a copy.
fn long(n: u32) -> String {
    format!("{n} is the number of this line\n")
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

fn numbers(lines: &[String]) -> Vec<u32> {
    lines.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
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
fn an_edited_copy_of_a_file_that_was_truncated_before_is_the_same_file() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", &(1..9).map(long).collect::<String>());
    harness.run_until_idle();
    harness.directory.write("log", &(10..12).map(long).collect::<String>());
    fs::copy(harness.directory.path("log"), harness.directory.path("new")).unwrap();
    harness.directory.append("new", &long(12));
    harness.rename("new", "log");
    let all: Vec<_> = (0..3).flat_map(|_| harness.run_after_rotate_wait()).collect();
    assert_eq!((numbers(&all), harness.losses), (vec![10, 11, 12], 1));
}

#[test]
fn other_lines_as_long_as_those_before_are_no_cut() {
    let same = "and the same end of each line\n";
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let line = |n: u32| format!("{n} {same}");
    harness.directory.write("log", &(10..14).map(line).collect::<String>());
    harness.run_until_idle();
    harness.directory.write("log", &(20..22).map(line).collect::<String>());
    assert_eq!((numbers(&harness.run_until_idle()), harness.losses), (vec![20, 21], 1));
}

#[test]
fn the_first_bytes_tell_a_truncation_where_the_last_do_not() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    let same = "-".repeat(600) + "\n";
    harness.directory.write("log", &(long(1) + &same));
    harness.run_until_idle();
    harness.directory.write("log", &(long(2) + &same + &long(3)));
    let all = harness.run_until_idle();
    assert_eq!((numbers(&all[..1]), numbers(&all[2..]), harness.losses), (vec![2], vec![3], 1));
}

#[test]
fn a_copy_of_a_file_that_was_put_over_others_is_read_from_where_the_last_ended() {
    let mut harness = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    for n in 1..4 {
        harness.directory.write("new.log", &"a line that is long enough to tell\n".repeat(n));
        harness.rename("new.log", "log");
        assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat().len(), 1);
    }
    fs::copy(harness.directory.path("log"), harness.directory.path("log.1")).unwrap();
    harness.directory.write("log", "");
    harness.now += Duration::from_secs(61);
    assert_eq!([harness.run_until_idle(), harness.run_after_rotate_wait()].concat(), [""; 0]);
}

#[test]
fn a_file_with_a_number_in_its_name_and_the_same_banner_is_no_copy() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    harness.directory.write("app.log", "started\n");
    assert_eq!(harness.run_until_idle(), ["started"]);
    harness.directory.write("app-2.log", "started\ntwo\n");
    harness.now += Duration::from_secs(61);
    assert_eq!(harness.run_until_idle(), ["started", "two"]);
}

#[test]
fn compressed_files_are_never_read_as_text() {
    let mut harness = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    harness.directory.write("log", "one\n");
    fs::write(harness.directory.path("log.1.gz"), b"\x1f\x8b\x08\n\n").unwrap();
    fs::write(harness.directory.path("log.2"), b"\xfd7zXZ\0\n\n").unwrap();
    fs::write(harness.directory.path("log.3"), b"").unwrap();
    assert_eq!(harness.run_until_idle(), ["one"]);
    fs::write(harness.directory.path("log.3"), b"\x28\xb5\x2f\xfd\n\n").unwrap();
    assert_eq!(harness.run_until_idle(), [""; 0]);
}

#[test]
fn a_name_that_is_not_utf_8_is_followed_and_encoded() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    let path = harness.directory.0.path().join(OsStr::from_bytes(b"\xff%.log"));
    fs::write(&path, "one\n").unwrap();
    assert_eq!(harness.run_until_idle(), ["one"]);
    assert!(harness.checkpoints.keys().all(|key| key.ends_with("/%FF%25.log")), "{:?}", harness.checkpoints);
    harness.restart();
    assert_eq!(harness.run_until_idle(), [""; 0]);
}

#[test]
fn a_busy_file_does_not_keep_others_waiting() {
    let mut harness = TailerHarness::new(&["a.log", "b.log"], ReadFrom::Beginning);
    harness.directory.write("a.log", &"busy\n".repeat(2_000_000));
    harness.directory.write("b.log", "quiet\n");
    let (lines, next) = harness.one_pass();
    assert!(lines.iter().any(|line| line == "quiet"));
    assert!(lines.len() < 300_000 && next == NextPass::Now);
}

#[test]
fn closed_files_that_are_rotated_are_found_by_their_identity() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..300 {
        harness.directory.write(&format!("{n}.log"), "old\n");
    }
    assert_eq!(harness.run_until_idle().len(), 300);
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let held = open
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(harness.directory.0.path())))
        .count();
    assert!(held <= 130, "{held} files are open");
    for n in 0..300 {
        harness.directory.append(&format!("{n}.log"), "more\n");
        harness.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        harness.directory.write(&format!("{n}.log"), "new\n");
    }
    let mut all = harness.run_until_idle();
    for _ in 0..3 {
        all.extend(harness.run_after_rotate_wait());
    }
    assert_eq!(all.iter().filter(|line| *line == "more").count(), 300);
    assert_eq!((all.iter().filter(|line| *line == "new").count(), all.len(), harness.losses), (300, 600, 0));
}

#[test]
fn what_was_deleted_while_it_was_closed_is_a_loss() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    for n in 0..200 {
        harness.directory.write(&format!("{n:03}.log"), "old\n");
    }
    harness.run_until_idle();
    harness.directory.append("199.log", "unread\n");
    if let Some(files) = &mut harness.files {
        files.note_change(&harness.directory.path("199.log"), PathChange { written: true, ..PathChange::default() });
    }
    fs::remove_file(harness.directory.path("199.log")).unwrap();
    fs::remove_file(harness.directory.path("198.log")).unwrap();
    harness.run_until_idle();
    harness.run_after_rotate_wait();
    assert_eq!(harness.losses, 1, "one was written to, and the other only deleted");
}

#[test]
fn a_quiet_file_that_is_replaced_while_it_is_closed_is_no_loss() {
    let replace: [fn(&TailerHarness, &str); 3] = [
        |harness, name| {
            harness.directory.write("new", "new\n");
            harness.rename("new", name);
        },
        |harness, name| {
            fs::remove_file(harness.directory.path(name)).unwrap();
            harness.directory.write(name, "new\n");
        },
        |harness, name| {
            harness.rename(name, "gone");
            fs::remove_file(harness.directory.path("gone")).unwrap();
            harness.directory.write(name, "new\n");
        },
    ];
    for (at, replace) in replace.iter().enumerate() {
        let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
        for n in 0..200 {
            harness.directory.write(&format!("{n:03}.log"), "old\n");
        }
        assert_eq!(harness.run_until_idle().len(), 200);
        harness.forget_changes();
        for n in 190..200 {
            replace(&harness, &format!("{n}.log"));
        }
        harness.wait_for_changes(10);
        let all = [harness.run_until_idle(), harness.run_after_rotate_wait()].concat();
        assert_eq!(all, ["new"; 10], "{at}");
        assert_eq!(harness.loss_texts, [""; 0], "{at}");
    }
}

#[test]
fn a_file_that_comes_and_goes_quickly_is_read_once_it_was_seen() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::End);
    harness.run_until_idle();
    harness.directory.write("short.log", "one\n");
    harness.now += Duration::from_secs(61);
    assert_eq!(harness.run_until_idle(), ["one"]);
    fs::remove_file(harness.directory.path("short.log")).unwrap();
    harness.run_after_rotate_wait();
    harness.run_after_rotate_wait();
    assert!(harness.checkpoints.is_empty(), "{:?}", harness.checkpoints);
}

#[test]
fn an_io_error_is_reported_and_the_file_continues_where_it_was() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "one\nha");
    assert_eq!(harness.run_until_idle(), ["one"]);
    if let Some(files) = &mut harness.files {
        files.fail_all(&std::io::Error::from_raw_os_error(5), harness.now);
    }
    harness.run_until_idle();
    assert_eq!((&harness.state["state"], &harness.state["errno"]), (&"denied".into(), &5.into()));
    harness.directory.append("log", "lf\n");
    harness.now += Duration::from_secs(6);
    assert_eq!(harness.run_until_idle(), ["half"]);
    assert_eq!((&harness.state["state"], harness.losses), (&"following".into(), 0));
}

/// Text in UTF-16, with a byte order mark.
fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn a_byte_order_mark_decides_over_appends_restarts_and_rotations() {
    use std::io::Write;
    for (encoding, big, from) in [
        ("utf-8", false, ReadFrom::Beginning),
        ("utf-8", true, ReadFrom::End),
        ("utf-16le", true, ReadFrom::Beginning),
        ("utf-16be", false, ReadFrom::End),
        ("utf-16", true, ReadFrom::End),
        ("latin1", false, ReadFrom::Beginning),
    ] {
        let mut harness =
            TailerHarness::new(&["log"], from).with_spec(|spec| spec.encoding = encoding.parse().unwrap());
        let append = |harness: &TailerHarness, text: &str| {
            let path = harness.directory.path("log");
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            file.write_all(&utf16(text, big)).unwrap();
        };
        append(&harness, "\u{FEFF}Ċä\r\ntw");
        let mut all = harness.run_until_idle();
        append(&harness, "o\r\n");
        all.extend(harness.after(100));
        harness.restart();
        append(&harness, "three\r\n");
        all.extend(harness.after(100));
        harness.rename("log", "log.1");
        append(&harness, "\u{FEFF}four\r\n");
        all.extend([harness.after(6000), harness.after(6000)].concat());
        // A file without a mark is what the configuration says.
        harness.rename("log", "log.2");
        if encoding == "utf-8" {
            harness.directory.write("log", "five\n");
            all.extend([harness.after(6000), harness.after(6000)].concat());
        } else {
            all.push("five".to_owned());
        }
        assert_eq!(all, ["Ċä", "two", "three", "four", "five"], "{encoding}, big: {big}, {from:?}");
        assert_eq!(harness.loss_texts, [""; 0], "{encoding}");
    }
}

/// Events begin with a digit.
pub(super) fn joined() -> crate::config::MultilineConfig {
    crate::config::MultilineConfig {
        begins: true,
        expression: "^[0-9]".parse().unwrap(),
        timeout: Duration::from_secs(1),
    }
}

#[test]
fn an_event_of_several_lines_continues_in_the_next_file() {
    for (name, restart) in [("log", 0), ("log", 1), ("log", 2), ("lo[g]", 0), ("lo[g]", 1), ("lo[g]", 2)] {
        let mut harness =
            TailerHarness::new(&[name], ReadFrom::Beginning).with_spec(|spec| spec.multiline = Some(joined()));
        harness.directory.write("log", "1 zero\n2 boom\n at a\n");
        let mut all = harness.run_until_idle();
        harness.rename("log", "log.1");
        harness.create_later("log", " at b\n");
        for step in 0..8 {
            all.extend(harness.after(900));
            if step == 3 && restart == 1 {
                harness.restart();
            }
        }
        if restart == 2 {
            harness.restart();
        }
        harness.directory.append("log", " at c\n3 next\n");
        for _ in 0..10 {
            all.extend(harness.after(800));
        }
        assert!(all.len() >= 3, "{all:?}");
        let events = all.join("|");
        // Without a further line within the timeout, the event ends; its lines in both files are one event in any case.
        assert!(events.starts_with("1 zero|2 boom\n at a\n at b"), "{name}, restart {restart}: {events}");
        let lines: Vec<_> = events.split(['|', '\n']).collect();
        assert_eq!(lines, ["1 zero", "2 boom", " at a", " at b", " at c", "3 next"], "{name}, restart {restart}");
        assert_eq!(harness.loss_texts, [""; 0]);
    }
}

#[test]
fn a_file_that_is_filled_in_later_is_read_line_by_line() {
    use std::os::unix::fs::FileExt;
    for restart in [false, true] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        let file = fs::File::create(harness.directory.path("log")).unwrap();
        file.set_len(1 << 20).unwrap();
        let (mut at, mut all) = (0, harness.run_until_idle());
        for n in 0..50u32 {
            let line = long(n);
            let (first, second) = line.split_at(n as usize % line.len());
            file.write_all_at(first.as_bytes(), at).unwrap();
            all.extend(harness.after(1000));
            file.write_all_at(second.as_bytes(), at + first.len() as u64).unwrap();
            all.extend(harness.after(1000));
            at += line.len() as u64;
            if restart && n == 20 {
                harness.restart();
            }
        }
        file.set_len(at).unwrap();
        harness.rename("log", "log.1");
        harness.directory.write("log", &long(50));
        all.extend([harness.after(6000), harness.after(6000)].concat());
        assert!(numbers(&all).into_iter().eq(0..=50), "restart: {restart}: {all:?}");
        assert_eq!(harness.loss_texts, [""; 0], "restart: {restart}");
    }
}

#[test]
fn a_pattern_without_files_waits() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::End);
    harness.run_until_idle();
    let reason = harness.state["reason"].as_str().unwrap();
    assert!(reason.starts_with("no file matches ") && reason.ends_with("/*.log"), "{}", harness.state);
}

#[test]
fn a_deleted_file_and_the_copy_that_continues_it_are_not_both_read_after_a_restart() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for name in ["log", "lo[g]"] {
        for (copied_at_once, rotated) in [(6, false), (4, false), (6, true)] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            harness.directory.write("log", &lines(0..4));
            // The last write is long ago, so that nothing more is expected in the file when it is replaced.
            let file = fs::OpenOptions::new().append(true).open(harness.directory.path("log")).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
            let mut all = harness.run_until_idle();
            harness.create_later("new", &lines(0..copied_at_once));
            harness.rename("new", "log");
            all.extend([harness.after(10), harness.after(10)].concat());
            harness.directory.append("log", &lines(copied_at_once..8));
            all.extend(harness.after(10));
            // Both files are read now; only the copy has a name.
            if rotated {
                harness.rename("log", "log-20260101");
                harness.create_later("log", &lines(8..9));
            } else {
                harness.directory.append("log", &lines(8..9));
            }
            harness.restart();
            all.extend([harness.after(10), harness.after(6000), harness.after(10), harness.after(6000)].concat());
            let expected: Vec<_> = (0..9).map(|n| line(n).trim_end().to_owned()).collect();
            assert_eq!(all, expected, "{name}, {copied_at_once}, rotated: {rotated}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, {copied_at_once}, rotated: {rotated}");
        }
    }
}

#[test]
fn a_copy_that_is_deleted_while_older_files_are_waited_for_is_not_read_again() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for name in ["log", "lo[g]"] {
        let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
        harness.directory.write("log", &lines(0..2));
        let mut all = harness.run_until_idle();
        harness.rename("log", "log-20260101");
        harness.create_later("log", &lines(2..4));
        harness.note_closed("log");
        // Both files are read, and after the restart the first one is waited for.
        all.extend([harness.after(10), harness.after(10)].concat());
        harness.restart();
        harness.create_later("new", &lines(2..6));
        harness.rename("new", "log");
        all.extend(harness.after(10));
        fs::remove_file(harness.directory.path("log")).unwrap();
        harness.create_later("log", &lines(6..7));
        for _ in 0..5 {
            all.extend(harness.after(6000));
        }
        let expected: Vec<_> = (0..7).map(|n| line(n).trim_end().to_owned()).collect();
        assert_eq!(all, expected, "{name}");
        assert_eq!(harness.loss_texts, [""; 0], "{name}");
    }
}

#[test]
fn what_was_read_in_several_files_is_not_read_again_from_one_copy_after_a_restart() {
    let line = |n: u32| format!("line {n}, long enough that a copy is recognised\n");
    let lines = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>().concat();
    for (second, copied) in [(6, 6), (4, 4), (6, 7)] {
        for (name, wait) in [("log", 10), ("lo[g]", 10), ("log", 6000), ("lo[g]", 6000)] {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            // The last writes are long ago, so that nothing more is expected in the files.
            let age = |path: std::path::PathBuf| {
                let file = fs::OpenOptions::new().append(true).open(path).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
            };
            age(harness.directory.write("log", &lines(0..4)));
            let mut all = harness.run_until_idle();
            harness.create_later("new", &lines(0..second));
            age(harness.directory.path("new"));
            harness.rename("new", "log");
            all.extend([harness.after(10), harness.after(10)].concat());
            harness.directory.append("log", &lines(second..copied));
            all.extend(harness.after(10));
            age(harness.directory.path("log"));
            std::thread::park_timeout(Duration::from_millis(12));
            fs::copy(harness.directory.path("log"), harness.directory.path("log-20260101")).unwrap();
            fs::remove_file(harness.directory.path("log")).unwrap();
            harness.create_later("log", &lines(copied..8));
            all.extend([harness.after(10), harness.after(wait)].concat());
            harness.restart();
            harness.directory.append("log", &lines(8..9));
            all.extend([harness.after(10), harness.after(6000), harness.after(10), harness.after(6000)].concat());
            let expected: Vec<_> = (0..9).map(|n| line(n).trim_end().to_owned()).collect();
            assert_eq!(all, expected, "{name}, {second}, {copied}, {wait}");
            assert_eq!(harness.loss_texts, [""; 0], "{name}, {second}, {copied}, {wait}");
        }
    }
}

#[test]
fn a_file_waits_for_readers_only_as_long_as_it_stays_where_it_is() {
    /// A change of the log.
    type Change = fn(&TailerHarness);
    let table: [(&str, Change, &[&str]); 7] = [
        ("unchanged", |_| {}, &[]),
        ("written", |harness| harness.directory.append("log", "third\n"), &[]),
        ("renamed", |harness| harness.rename("log", "log.1"), &["second"]),
        (
            "rotated",
            |harness| {
                harness.rename("log", "log.1");
                harness.directory.write("log", "third\n");
            },
            &["second"],
        ),
        ("deleted", |harness| fs::remove_file(harness.directory.path("log")).unwrap(), &["second"]),
        ("truncated", |harness| drop(harness.directory.write("log", "new\n")), &["new"]),
        (
            "replaced",
            |harness| {
                harness.directory.write("new", "first\nsecond\nthird\n");
                harness.rename("new", "log");
            },
            &["second"],
        ),
    ];
    for name in ["log", "lo[g]"] {
        for (what, change, expected) in table {
            let mut harness = TailerHarness::new(&[name], ReadFrom::Beginning);
            harness.directory.write("log", "first\n");
            assert_eq!(harness.run_until_idle(), ["first"]);
            harness.directory.append("log", "second\n");
            harness.room = ReadRoom::Hold;
            for _ in 0..2 {
                assert_eq!(harness.after(1000), [""; 0], "{what}");
                harness.files.as_mut().unwrap().wake_all();
                assert_eq!(harness.one_pass(), (Vec::new(), NextPass::AfterReaders), "{what}");
            }
            change(&harness);
            assert_eq!(harness.after(10), expected, "{name}, {what}");
            harness.room = ReadRoom::Unlimited;
            let rest = [harness.after(10), harness.after(6000), harness.after(10)].concat();
            if expected.is_empty() {
                assert_eq!(rest[0], "second", "{what}");
            }
        }
    }
}

#[test]
fn a_file_that_has_nothing_new_waits_for_no_reader() {
    let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
    harness.directory.write("log", "first\n");
    assert_eq!(harness.run_until_idle(), ["first"]);
    harness.room = ReadRoom::Hold;
    harness.files.as_mut().unwrap().wake_all();
    assert!(matches!(harness.one_pass(), (lines, NextPass::At(_)) if lines.is_empty()));
}

#[test]
fn small_reads_find_the_same_lines_and_holes() {
    let nuls = |count| "\0".repeat(count);
    let text = format!("one\n{}two\nin{}side\n{}\nlong {}\nlast\n", nuls(300), nuls(20), nuls(5), "x".repeat(500));
    let read = |room| {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", &text);
        harness.room = room;
        let mut all = harness.run_until_idle();
        for _ in 0..text.len() {
            all.extend(harness.run_until_idle());
        }
        (all, harness.loss_texts.len())
    };
    let expected = read(ReadRoom::Unlimited);
    assert_eq!((expected.0.len(), expected.1), (6, 1), "{expected:?}");
    for size in [1, 3, 64, 100] {
        assert_eq!(read(ReadRoom::Bytes(size)), expected, "{size}");
    }
}
