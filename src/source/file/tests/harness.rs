//! Runs a source pass by pass, for cases that need control of the clock, or a start from recorded checkpoints.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::{
    CarriageReturn, FileSelector as Named, FileSourceConfig, LineFormat, ReadFrom, SourceKind, Stream,
};
use crate::source::ClockReading;
use crate::source::file::tailer::{NextPass, Tailer};
use crate::source::file::watch::watcher::{Mailbox, PathChange, Watcher};
use crate::source::testing::TestDirectory;
use crate::stream::{Batch, Checkpoints, ReadRoom};

/// A source of files with a clock, checkpoints and a directory of its own.
pub(super) struct TailerHarness {
    pub(super) directory: TestDirectory,
    spec: Stream,
    source: FileSourceConfig,
    pub(super) files: Option<Tailer>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) checkpoints: Checkpoints,
    pub(super) now: Instant,
    /// The limit of each pass.
    pub(super) room: ReadRoom,
    pub(super) losses: usize,
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
        let carriage_return = match format {
            LineFormat::Cri | LineFormat::Docker => CarriageReturn::Fold,
            LineFormat::Text | LineFormat::Json | LineFormat::Logfmt | LineFormat::Syslog => spec.carriage_return,
        };
        let spec = Stream { carriage_return, format, ..spec };
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
    pub(super) fn forget_changes(&mut self) {
        self.wait_for_changes(0);
        self.mailbox.take();
    }

    /// Waits until a write to this many paths was notified.
    pub(super) fn wait_for_changes(&mut self, count: usize) {
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

/// A text that is long enough for recognising a copy.
pub(super) fn long(n: u32) -> String {
    format!("{n} is the number of this line of a file\n")
}

pub(super) fn numbers(lines: &[String]) -> Vec<u32> {
    lines.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// Events begin with a digit.
pub(super) fn joined() -> crate::config::MultilineConfig {
    crate::config::MultilineConfig {
        begins: true,
        expression: "^[0-9]".parse().unwrap(),
        timeout: Duration::from_secs(1),
    }
}
