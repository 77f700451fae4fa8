//! Test harness: runs a source and shows what its readers see. Waits for facts, and prints what it saw if they do not
//! come.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{FileSourceConfig, ProcessSourceConfig, ReadFrom, SourceKind, Stream};
use crate::control;
use crate::event::{Epoch, OpenLine, Position, Progress, RunEnd};
use crate::stream::{self, Ansi, Budget, Checkpoints, Cursor, CursorEnd, CursorItem, Filter, Log, View};
use crate::wire::WireFormat;

use super::{SourceError, SourceOptions, Watcher, run};

/// The longest wait: however slow the machine is, an event that has not come by then never will.
const TEST_DEADLINE: Duration = Duration::from_secs(20);

pub(super) struct SourceHarness {
    cursor: Cursor,
    log: Log,
    pub(super) control: control::ProcessHandle,
    stopping: CancellationToken,
    task: JoinHandle<Result<Option<RunEnd>, SourceError>>,
    pending: VecDeque<Value>,
    events: Vec<Value>,
    pub(super) open: Option<OpenLine>,
    pub(super) progress: Option<Progress>,
}

pub(super) fn process(argv: &[&str]) -> ProcessSourceConfig {
    ProcessSourceConfig::new(argv.iter().map(Into::into).collect())
}

pub(super) fn shell(script: &str) -> ProcessSourceConfig {
    process(&["sh", "-c", script])
}

pub(super) fn spec(source: SourceKind) -> Stream {
    Stream::new("test".parse().unwrap(), source)
}

/// Lines that consist of `prefix` and a number.
pub(super) fn numbered_lines(prefix: &str, numbers: impl Iterator<Item = u32>) -> String {
    numbers.flat_map(|n| [prefix.to_owned(), n.to_string(), "\n".to_owned()]).collect()
}

/// A view of all lines; those of one stream and of several are two.
pub(super) fn view(several: bool) -> View {
    View { wire_format: WireFormat::Ndjson, filter: Filter::default(), several, ansi: Ansi::Keep }
}

impl SourceHarness {
    pub(super) fn start(spec: Stream, options: SourceOptions) -> Self {
        Self::restart(spec, options, Checkpoints::new())
    }

    /// Starts the source with the checkpoints of an earlier one.
    pub(super) fn restart(spec: Stream, mut options: SourceOptions, checkpoints: Checkpoints) -> Self {
        let (control, requests) = control::process_requests();
        options.process_requests = Some(requests);
        let last = Position { epoch: Epoch::ephemeral(1, 1), number: 0 };
        let (appender, log) = stream::open(spec.name.clone(), last, 256 << 20, &Budget::new(1 << 30));
        let view =
            View { wire_format: WireFormat::Ndjson, filter: Filter::default(), several: false, ansi: Ansi::Keep };
        let cursor = log
            .cursor(view, stream::CursorStart::Oldest, CursorEnd::default())
            .now_or_never()
            .expect("without history there is nothing to wait for");
        let stopping = CancellationToken::new();
        let task = tokio::spawn(run(spec, appender, checkpoints, options, Watcher::new(), stopping.clone()));
        let (pending, events) = (VecDeque::new(), Vec::new());
        Self { cursor, log, control, stopping, task, pending, events, open: None, progress: None }
    }

    pub(super) fn file(path: &Path, from: ReadFrom) -> Self {
        let source = SourceKind::File(FileSourceConfig { from, ..FileSourceConfig::new(path.to_owned()) });
        Self::start(spec(source), SourceOptions::default())
    }

    pub(super) fn process(source: ProcessSourceConfig) -> Self {
        Self::start(spec(SourceKind::Process(source)), SourceOptions::default())
    }

    /// Starts a process that runs once and ends its stream.
    pub(super) fn run_once(mut source: ProcessSourceConfig, options: SourceOptions) -> Self {
        source.restart.when = crate::config::RestartWhen::Never;
        Self::start(spec(SourceKind::Process(source)), SourceOptions { end_stream: true, ..options })
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.events.push(event.clone());
                return Some(event);
            }
            self.wait().await?;
        }
    }

    /// Waits for the next item of the cursor.
    async fn wait(&mut self) -> Option<()> {
        let item = timeout(TEST_DEADLINE, self.cursor.next(Instant::now() + 2 * TEST_DEADLINE)).await;
        match item.unwrap_or_else(|_| panic!("nothing more came after {:#?}", self.events))? {
            CursorItem::Frames(frames) => {
                let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
                self.pending.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
            CursorItem::Progress(progress) => self.progress = Some((*progress).clone()),
            CursorItem::OpenLine(line) => self.open = (!line.rows.is_empty()).then(|| (*line).clone()),
            other => panic!("{other:?} after {:#?}", self.events),
        }
        Some(())
    }

    /// The next event of this kind.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event().await;
            let event = event.unwrap_or_else(|| panic!("the stream ended before a {kind} came: {:#?}", self.events));
            if event["kind"].as_str().unwrap_or("line") == kind {
                return event;
            }
        }
    }

    /// The next state with this name.
    pub(super) async fn state(&mut self, name: &str) -> Value {
        loop {
            let event = self.next("state").await;
            if event["state"] == name {
                return event;
            }
        }
    }

    /// The text of the next line, followed by `+` if it is continued, and by `...` if it is partial.
    pub(super) async fn line(&mut self) -> String {
        let line = self.next("line").await;
        let mark = if line["continued"] == true {
            "+"
        } else if line["partial"] == true {
            "..."
        } else {
            ""
        };
        line["text"].as_str().unwrap().to_owned() + mark
    }

    pub(super) async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(self.line().await);
        }
        lines
    }

    /// Waits until this text is shown as the unfinished line.
    pub(super) async fn wait_for_open_line(&mut self, text: Option<&str>) {
        while self.open.as_ref().map(OpenLine::text) != text.map(str::as_bytes) {
            self.wait().await.unwrap_or_else(|| panic!("the stream ended after {:#?}", self.events));
        }
    }

    /// Waits until the visible unfinished line changes.
    pub(super) async fn wait_for_new_open_line(&mut self) {
        let before = self.open.clone();
        while self.open == before || self.open.is_none() {
            self.wait().await.unwrap_or_else(|| panic!("the stream ended after {:#?}", self.events));
        }
    }

    /// The process id of the last run.
    pub(super) fn last_pid(&self) -> Option<u64> {
        self.events.iter().rev().find_map(|event| event["pid"].as_u64())
    }

    /// Adds a reader.
    pub(super) fn add_reader(&self) {
        let view =
            View { wire_format: WireFormat::Ndjson, filter: Filter::default(), several: false, ansi: Ansi::Keep };
        let cursor = self.log.cursor(view, stream::CursorStart::Oldest, CursorEnd::default()).now_or_never();
        drop(cursor.expect("without history there is nothing to wait for"));
    }

    /// Asks the source to stop.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
    }

    /// The remaining events until the stream ends, and the result of the run.
    pub(super) async fn remaining_events(mut self) -> (Vec<Value>, Result<Option<RunEnd>, SourceError>) {
        let mut rest = Vec::new();
        while let Some(event) = self.event().await {
            rest.push(event);
        }
        (rest, self.task.await.unwrap())
    }
}

/// A temporary directory, removed at the end, with files in it.
pub(super) struct TestDirectory(pub(super) tempfile::TempDir);

impl TestDirectory {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Waits until this program has the file open that currently has this name.
    pub(super) async fn wait_until_open(&self, name: &str) {
        let path = self.path(name);
        let held = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            open.flatten().any(|open| std::fs::read_link(open.path()).is_ok_and(|file| file == path))
        };
        let wait = async {
            while !held() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TEST_DEADLINE, wait).await.unwrap_or_else(|_| panic!("nobody opened {path:?}"));
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }
}
