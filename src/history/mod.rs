//! The log on disk: the events that memory has dropped, and everything that outlives the daemon.
//!
//! # Theory of operation
//!
//! ```text
//!             record(segments, checkpoints)           WriteJob                 write     ┌ 0000…00.rlog  oldest, dropped first
//!  Appender ─────────────────────────────▶ Recorder ────────────▶ writer thread ──────▶ ├ 0000…4c.rlog
//!     │  ◀──── Recorded / Failed ────────      │    ◀── done ───       │                 └ 0000…9f.rlog  newest, appended to
//!     ▼                                        │ after a failure       ▼ each second                │
//!   Ring ◀──────── segments in memory ──── Backlog              sync thread (fdatasync)            ▼
//!                                                                                    HistoryReader ──▶ readers
//! ```
//!
//! Each stream has a folder with files of [records](self::record), named after the sequence number of their first
//! event. A file begins with a snapshot (numbering, checkpoints, boot id), so the newest file alone says where the
//! stream continues.
//!
//! - **Order.** A batch is recorded together with the source's checkpoints after it, in one transaction, and only then
//!   published to readers. So no reader has seen an event that a restart numbers differently, and after a crash of the
//!   daemon the source is read from exactly where the recorded events end.
//! - **Transactions.** Records of a transaction are valid only if its last one was written: [`recover`] leaves out the
//!   rest.
//! - **Threads.** One thread writes ([`writer`]), since a write to a stalled disk cannot be cancelled: a job whose
//!   sender has stopped waiting is undone by truncation. Another thread syncs each second, since a sync may take longer
//!   than readers want to wait. A crash of the machine may thus lose a second of events; the boot id shows that, and a
//!   new epoch begins.
//! - **A disk that fails.** Appending never waits longer than half a second. Then the log continues in memory under a
//!   new epoch, readers receive the state `degraded`, and the [`Backlog`](catch_up) writes what memory still holds once
//!   the disk works again. Events that memory dropped meanwhile are a gap.
//! - **Reading.** Readers open the files themselves ([`reader`]), at most four at a time, and only up to what is
//!   committed.
//!
//! Rejected: a database (its files cannot be repaired record by record), mmap (a full or failing disk is a signal
//! instead of an error), and a sync for each batch (milliseconds of latency for every line).
//!
//! Reading order: `record` (the format), `segment_codec` and `summary` (bodies of records), `files` (the index),
//! `recover` (the start), `writer` (the threads), `transaction`, `recorder`, `catch_up`, `reader`, `inspect` (`rtlogd
//! history`).

mod record_reader;
mod files;
mod writer;
mod transaction;
mod recorder;
mod catch_up;
mod reader;
mod inspect;
mod recover;
mod byte_codec;
mod record;
mod summary;
mod segment_codec;

pub use inspect::{StreamInspection, inspect, read_events};
pub(super) use reader::{HistoryRead, HistoryReader};
pub(super) use recorder::{RecordOutcome, Recorder};
pub(super) use transaction::NextEvent;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{info, warn};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use crate::event::{Epoch, Position, StreamName, Time};

use crate::segment::Checkpoints;
use crate::segment::Numbering;
use files::StreamFiles;
use recorder::RecoveredState;
use writer::WriterThreads;

/// The directory of all streams in the state directory.
const STREAMS_DIRECTORY: &str = "streams";

/// The most concurrent readers of old events: a disk serves a few well, and the sources need threads too.
const MAX_CONCURRENT_HISTORY_READS: usize = 4;

/// The bounds on what is kept of a stream on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most bytes of all its files.
    pub bytes: u64,
    /// The age after which events are dropped, a file at a time.
    pub age: Duration,
}

/// The reason why a history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another daemon has locked the state directory.
    #[error(
        "the state directory {0:?} is in use by another rtlogd (stop that one, or give this one another state_directory)"
    )]
    InUse(PathBuf),
    /// A directory or file cannot be created or read.
    #[error("cannot use the state directory {path:?}")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The state directory has no such stream.
    #[error("there is no stream {1} in {0:?} (leave out the name to list all streams)")]
    NoStream(PathBuf, StreamName),
    /// A newer version wrote the file, in a format that this one does not know.
    #[error("{0:?} was written by a newer rtlogd (use that one, or give this one another state_directory)")]
    Newer(PathBuf),
}

impl HistoryError {
    /// The error number of the system, if the system refused something.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Directory { source, .. } => source.raw_os_error(),
            Self::InUse(_) | Self::NoStream(..) | Self::Newer(_) => None,
        }
    }

    /// Converts an error of the system at `path`.
    fn at(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Directory { path: path.to_owned(), source }
    }
}

/// The histories of all streams below one state directory, which is locked against other daemons.
#[derive(Debug)]
pub struct History {
    root: PathBuf,
    /// The state directory itself; locked as long as it is open.
    _lock: File,
    boot: Arc<str>,
    writers: WriterThreads,
    read_permits: Arc<Semaphore>,
}

/// The recovered state of a stream at its start, and the two sides of its history.
#[derive(Debug)]
pub struct StreamHistory {
    pub(super) numbering: Numbering,
    /// The source's checkpoints after the last recorded event.
    pub(super) checkpoints: Checkpoints,
    pub(super) recorder: Recorder,
    pub(super) reader: HistoryReader,
    /// `true` if something on disk was damaged.
    pub(super) damaged: bool,
}

impl History {
    /// Locks a state directory, and creates it if it does not exist. Blocks.
    ///
    /// # Errors
    /// If another daemon has locked it, or it cannot be created or read.
    pub fn open(root: &Path) -> Result<Self, HistoryError> {
        make_directory(root).map_err(HistoryError::at(root))?;
        let lock = File::open(root).map_err(HistoryError::at(root))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(HistoryError::InUse(root.to_owned())),
            Err(error) => return Err(HistoryError::at(root)(error.into())),
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let writers = WriterThreads::start().map_err(HistoryError::at(root))?;
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_HISTORY_READS));
        Ok(Self { root: root.to_owned(), _lock: lock, boot: boot.trim().into(), writers, read_permits: permits })
    }

    /// Opens the history of one stream. Blocks: its newest file is read and checked.
    ///
    /// Damaged records are left out and logged; they are no error.
    ///
    /// # Errors
    /// If its files cannot be read, or a newer version wrote them.
    pub fn stream(&self, name: &StreamName, retention: Retention) -> Result<StreamHistory, HistoryError> {
        let directory = self.root.join(STREAMS_DIRECTORY).join(name.as_str());
        let found = recover::recover_history(&directory)?;
        let now = Time::from(SystemTime::now()).millis();
        let end = found.numbering.as_ref().map_or(found.end, Numbering::next);
        let numbering = if let Some(mut numbering) = found.numbering {
            if !found.cleanly_closed && found.boot != *self.boot {
                info!(stream = name.as_str(); "the machine stopped without a clean shutdown: a new epoch of ids begins");
                let epoch = numbering.next_id().epoch.successor(now);
                numbering.continue_at(Position { epoch, number: 1 }, None);
            }
            numbering
        } else {
            let epoch = found.epoch.map_or(Epoch::persistent(now), |newest| newest.successor(now));
            Numbering::starting_at(Position { epoch, number: 1 }, found.end)
        };
        for damage in &found.damage {
            warn!(stream = name.as_str(); "the history is damaged: {damage}");
        }
        let files = Arc::new(StreamFiles::new(directory, found.files, Some(&numbering)));
        let (jobs, boot) = (self.writers.jobs(), self.boot.clone());
        let damaged = !found.damage.is_empty();
        let (private, is_newest_file_finished) = (found.private, found.is_old_format || damaged);
        let recovered =
            RecoveredState { checkpoints: found.checkpoints.clone(), private, is_newest_file_finished, end };
        let recorder = Recorder::new(files.clone(), jobs, boot, retention, recovered);
        let reader = HistoryReader::new(files, self.read_permits.clone());
        Ok(StreamHistory { numbering, checkpoints: found.checkpoints, recorder, reader, damaged })
    }

    /// Waits until all submitted records are written and synced, and unlocks the directory. All appenders must be
    /// closed before. Blocks.
    pub fn close(self) {
        self.writers.join();
    }
}

/// Creates a directory and its parents, where they do not exist. Logs may contain secrets: only the daemon has access.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flags, Origin, SourceState};
    use crate::stream::{
        Appender, Batch, Budget, Cursor, CursorEnd, CursorItem, CursorStart, Filter, Log, View, open_with_history,
    };
    use crate::wire::Encoding;
    use proptest::prelude::*;
    use tempfile::TempDir;
    use tokio::time::Instant;

    const TEST_RETENTION_AGE: Duration = Duration::from_hours(7 * 24);

    /// A state directory and the daemon that uses it.
    struct HistoryHarness {
        directory: TempDir,
        retention: Retention,
        memory: usize,
        open: Option<(History, Appender, Log)>,
        checkpoints: Checkpoints,
    }

    impl HistoryHarness {
        fn new(memory: usize, bytes: u64) -> Self {
            let directory = TempDir::new().unwrap();
            let mut harness = Self {
                directory,
                retention: Retention { bytes, age: TEST_RETENTION_AGE },
                memory,
                open: None,
                checkpoints: Checkpoints::new(),
            };
            harness.start();
            harness
        }

        fn name() -> StreamName {
            "s".parse().unwrap()
        }

        fn start(&mut self) {
            let history = History::open(self.directory.path()).unwrap();
            let kept = history.stream(&Self::name(), self.retention).unwrap();
            let (appender, log, checkpoints) =
                open_with_history(Self::name(), kept, self.memory, &Budget::new(usize::MAX));
            (self.open, self.checkpoints) = (Some((history, appender, log)), checkpoints);
        }

        fn appender(&mut self) -> &mut Appender {
            &mut self.open.as_mut().unwrap().1
        }

        fn log(&self) -> &Log {
            &self.open.as_ref().unwrap().2
        }

        async fn stop(&mut self) {
            let (history, appender, _) = self.open.take().unwrap();
            appender.close().await;
            history.close();
        }

        /// Ends the daemon as `kill -9` does.
        fn kill(&mut self) {
            drop(self.open.take());
        }

        async fn write(&mut self, lines: std::ops::Range<u64>) {
            let mut batch = Batch::new();
            batch.checkpoint("file", Some(lines.end.to_string()));
            for line in lines {
                batch.line(SystemTime::now().into(), &Origin::stdout(), Flags::NONE, format!("line {line}").as_bytes());
            }
            self.appender().append(&mut batch).await;
        }

        async fn reader(&self, start: CursorStart, grep: &[&str]) -> Cursor {
            let grep: Vec<_> = grep.iter().map(|&pattern| pattern.to_owned()).collect();
            let view = View {
                encoding: Encoding::Ndjson,
                filter: Filter::new(&grep, &[], vec![], 1 << 20).unwrap(),
                several: false,
            };
            self.log().cursor(view, start, CursorEnd { head: true, ..CursorEnd::default() }).await
        }

        async fn seen(&self, start: CursorStart, grep: &[&str]) -> Vec<SeenEvent> {
            drain(&mut self.reader(start, grep).await).await
        }

        fn files(&self) -> Vec<PathBuf> {
            let directory = self.directory.path().join(STREAMS_DIRECTORY).join("s");
            recover::list(&directory).unwrap().into_iter().map(|(_, path)| path).collect()
        }
    }

    /// The id and the number of a line, the text of another event, or the number of missed events in a gap.
    #[derive(Debug, Clone, PartialEq)]
    enum SeenEvent {
        Line(Position, u64),
        Other(String),
        Gap(Option<u64>),
    }

    async fn drain(cursor: &mut Cursor) -> Vec<SeenEvent> {
        let mut seen = Vec::new();
        while let Some(item) = cursor.next(Instant::now() + Duration::from_secs(20)).await {
            match item {
                CursorItem::Frames(frames) => {
                    for line in frames.bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
                        let event: serde_json::Value = serde_json::from_slice(line).unwrap();
                        seen.push(match event["text"].as_str().and_then(|text| text.strip_prefix("line ")) {
                            Some(number) => {
                                SeenEvent::Line(event["id"].as_str().unwrap().parse().unwrap(), number.parse().unwrap())
                            }
                            None => SeenEvent::Other(event["kind"].as_str().unwrap().to_owned()),
                        });
                    }
                }
                CursorItem::Gap(gap) => seen.push(SeenEvent::Gap(gap.missed)),
                CursorItem::OpenLine(_) | CursorItem::Progress(_) => {}
                CursorItem::TimedOut => panic!("nothing more after {seen:?}"),
            }
        }
        seen
    }

    fn numbers(seen: &[SeenEvent]) -> Vec<i64> {
        let number = |seen: &SeenEvent| match seen {
            SeenEvent::Line(_, number) => i64::try_from(*number).unwrap(),
            SeenEvent::Gap(missed) => -missed.map_or(1_000_000, |missed| i64::try_from(missed).unwrap()),
            SeenEvent::Other(other) => panic!("{other}"),
        };
        seen.iter().map(number).collect()
    }

    fn id_of(seen: &SeenEvent) -> Position {
        let SeenEvent::Line(id, _) = seen else { panic!("{seen:?}") };
        *id
    }

    #[tokio::test]
    async fn numbers_checkpoints_and_readers_continue_after_a_restart() {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..10).await;
        let before = harness.seen(CursorStart::Oldest, &[]).await;
        let last = id_of(before.last().unwrap());
        for (restart, lines) in [(true, 10..20), (false, 20..30), (true, 30..40)] {
            if restart {
                harness.stop().await;
            } else {
                harness.kill();
            }
            harness.start();
            assert_eq!(harness.checkpoints["file"], lines.start.to_string());
            harness.write(lines).await;
        }
        let seen = harness.seen(CursorStart::After(last), &[]).await;
        assert_eq!(numbers(&seen), (10..40).collect::<Vec<_>>());
        let ids: Vec<_> = seen.iter().map(id_of).collect();
        assert!(ids.iter().all(|id| id.epoch == last.epoch), "the epoch stays");
        assert!(ids.windows(2).all(|two| two[0].number + 1 == two[1].number));
        assert_eq!(numbers(&harness.seen(CursorStart::Tail(25), &[]).await), (15..40).collect::<Vec<_>>());
        assert_eq!(numbers(&harness.seen(CursorStart::Tail(3), &["7$"]).await).first(), Some(&17));
        assert_eq!(harness.log().info(Time(0)).first, Some(id_of(&before[0])));
    }

    #[tokio::test]
    async fn memory_that_is_too_small_costs_no_reader_an_event() {
        let mut harness = HistoryHarness::new(100_000, 1 << 30);
        for at in 0..200 {
            harness.write(at * 100..(at + 1) * 100).await;
        }
        assert!(harness.log().info(Time(0)).memory < 150_000);
        let seen = harness.seen(CursorStart::Oldest, &[]).await;
        assert_eq!(numbers(&seen), (0..20_000).collect::<Vec<_>>());
        let some = id_of(&seen[777]);
        assert_eq!(numbers(&harness.seen(CursorStart::After(some), &["99$"]).await).len(), 200 - 7);
        assert_eq!(numbers(&harness.seen(CursorStart::Tail(15_000), &[]).await)[0], 5000);
    }

    #[tokio::test]
    async fn what_is_too_much_is_dropped_and_counted() {
        let mut harness = HistoryHarness::new(50_000, 600_000);
        for at in 0..400 {
            harness.write(at * 100..(at + 1) * 100).await;
        }
        let first = Position { number: 0, ..harness.log().info(Time(0)).last };
        let disk: u64 = harness.files().iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!((300_000..700_000).contains(&disk), "{disk}");
        let seen = numbers(&harness.seen(CursorStart::After(first), &[]).await);
        let missed = -seen[0];
        assert!(missed > 1000);
        assert_eq!(seen[1..], (missed..40_000).collect::<Vec<_>>());
        harness.stop().await;
        harness.start();
        assert_eq!(numbers(&harness.seen(CursorStart::After(first), &[]).await), seen, "the same after a restart");
        assert_eq!(harness.checkpoints["file"], "40000");
    }

    #[tokio::test]
    async fn a_damaged_middle_is_a_gap_of_known_length() {
        use std::os::unix::fs::FileExt;
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        for at in 0..100 {
            harness.write(at * 10..(at + 1) * 10).await;
        }
        harness.stop().await;
        let path = harness.files().remove(0);
        let middle = memchr::memmem::find(&fs::read(&path).unwrap(), b"line 505").unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"damaged", middle as u64).unwrap();
        harness.start();
        harness.write(1000..1010).await;
        let seen = harness.seen(CursorStart::Oldest, &[]).await;
        let at = seen.iter().position(|seen| matches!(seen, SeenEvent::Gap(_))).unwrap();
        assert_eq!(seen[at], SeenEvent::Gap(Some(10)));
        assert!(seen.contains(&SeenEvent::Other("loss".to_owned())), "damage is reported in the stream");
        let lines: Vec<_> = seen.into_iter().filter(|seen| matches!(seen, SeenEvent::Line(..))).collect();
        assert_eq!(lines.len(), 1000);
        assert_eq!(numbers(&lines)[at], i64::try_from(at).unwrap() + 10);
    }

    #[tokio::test]
    async fn damage_is_reported_by_the_first_start_that_finds_it() {
        use std::os::unix::fs::FileExt;
        for (damaged, text) in [("the first record", "line 5"), ("the last one", "line 95"), ("the middle", "line 50")]
        {
            let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
            for at in 0..10 {
                harness.write(at * 10..(at + 1) * 10).await;
            }
            harness.stop().await;
            let path = harness.files().remove(0);
            let at = memchr::memmem::find(&fs::read(&path).unwrap(), text.as_bytes()).unwrap();
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"damaged", at as u64).unwrap();
            for start in 0..4u64 {
                harness.start();
                harness.write(100 + start * 10..110 + start * 10).await;
                let seen = harness.seen(CursorStart::Oldest, &[]).await;
                let losses = seen.iter().filter(|seen| **seen == SeenEvent::Other("loss".to_owned())).count();
                assert_eq!(losses, 1, "{damaged}, start {start}");
                let lines = seen.iter().filter(|seen| matches!(seen, SeenEvent::Line(..))).count();
                assert_eq!(u64::try_from(lines).unwrap(), 90 + (start + 1) * 10, "{damaged}, start {start}");
                if start % 2 == 0 { harness.stop().await } else { harness.kill() }
            }
        }
    }

    #[tokio::test]
    async fn a_second_daemon_and_a_newer_format_are_refused() {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..1).await;
        let second = History::open(harness.directory.path()).unwrap_err();
        assert!(second.to_string().contains("is in use by another rtlogd"), "{second}");
        harness.stop().await;
        let path = harness.files().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[7] += 1;
        fs::write(&path, bytes).unwrap();
        let history = History::open(harness.directory.path()).unwrap();
        let newer = history.stream(&HistoryHarness::name(), harness.retention).unwrap_err();
        assert!(newer.to_string().contains("was written by a newer rtlogd"), "{newer}");
    }

    #[tokio::test]
    async fn after_the_machine_stopped_without_warning_a_new_epoch_begins() {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..10).await;
        let last = harness.log().info(Time(0)).last;
        harness.kill();
        let mut history = History::open(harness.directory.path()).unwrap();
        history.boot = "another".into();
        let kept = history.stream(&HistoryHarness::name(), harness.retention).unwrap();
        let (appender, log, _) = open_with_history(HistoryHarness::name(), kept, 1 << 20, &Budget::new(usize::MAX));
        harness.open = Some((history, appender, log));
        harness.write(10..20).await;
        let ahead = Position { number: last.number + 5, ..last };
        assert_eq!(
            numbers(&harness.seen(CursorStart::After(ahead), &[]).await),
            [&[-1_000_000][..], &(10..20).collect::<Vec<_>>()].concat()
        );
        let seen = harness.seen(CursorStart::After(last), &[]).await;
        assert_eq!(seen[0], SeenEvent::Gap(None), "what the last second held nobody knows");
        assert!(id_of(&seen[1]).epoch > last.epoch);
        let all = numbers(&harness.seen(CursorStart::Oldest, &[]).await);
        harness.stop().await;
        harness.start();
        assert_eq!(numbers(&harness.seen(CursorStart::Oldest, &[]).await), all);
    }

    #[tokio::test]
    async fn without_a_disk_the_stream_continues_in_memory_and_catches_up() {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..10).await;
        let before = harness.log().info(Time(0)).last;
        harness.stop().await;
        // With a file in place of the folder, nothing can be written there.
        let folder = harness.directory.path().join(STREAMS_DIRECTORY);
        fs::rename(&folder, harness.directory.path().join("away")).unwrap();
        harness.start();
        fs::write(&folder, "").unwrap();
        harness.write(10..20).await;
        harness.write(20..30).await;
        let info = harness.log().info(Time(0));
        assert!(info.degraded.unwrap().starts_with("the history cannot be written: "));
        let seen = harness.seen(CursorStart::Oldest, &[]).await;
        assert_eq!(seen[0], SeenEvent::Other("state".to_owned()), "the state is reported before the first event");
        assert_eq!(numbers(&seen[1..]), (10..30).collect::<Vec<_>>());
        fs::remove_file(&folder).unwrap();
        let mut due = harness.appender().maintain_history().await;
        harness.appender().append(&mut due).await;
        harness.write(30..40).await;
        assert_eq!(harness.log().info(Time(0)).degraded, None);
        harness.kill();
        harness.start();
        assert_eq!(harness.checkpoints["file"], "40");
        let again = harness.seen(CursorStart::After(id_of(&seen[15])), &[]).await;
        assert_eq!(numbers(&again), (25..40).collect::<Vec<_>>(), "all that memory held was recorded");
        assert_eq!(harness.seen(CursorStart::After(before), &[]).await[0], SeenEvent::Gap(None), "that folder is lost");
    }

    #[tokio::test]
    async fn a_stream_that_turned_private_stays_so_after_a_restart() {
        for (with_events, disk_fails) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
            harness.write(0..5).await;
            let folder = harness.directory.path().join(STREAMS_DIRECTORY);
            if disk_fails {
                harness.stop().await;
                fs::rename(&folder, harness.directory.path().join("away")).unwrap();
                harness.start();
                fs::write(&folder, "").unwrap();
                harness.write(5..10).await;
            }
            assert!(!harness.appender().was_private());
            harness.log().private().set();
            if with_events {
                harness.write(10..11).await;
            } else {
                // The change of a state that is not recorded.
                let mut batch = Batch::new();
                batch.lag(7);
                harness.appender().append(&mut batch).await;
            }
            if disk_fails {
                fs::remove_file(&folder).unwrap();
                let mut due = harness.appender().maintain_history().await;
                harness.appender().append(&mut due).await;
            }
            harness.kill();
            harness.start();
            assert!(harness.appender().was_private(), "with events: {with_events}, the disk fails: {disk_fails}");
            // A stream that the configuration calls public again stays so as well.
            harness.write(20..21).await;
            harness.kill();
            harness.start();
            assert!(!harness.appender().was_private());
        }
    }

    #[tokio::test]
    async fn a_run_does_not_begin_again_when_its_disk_is_back() {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..1).await;
        harness.stop().await;
        let folder = harness.directory.path().join(STREAMS_DIRECTORY);
        fs::rename(&folder, harness.directory.path().join("away")).unwrap();
        harness.start();
        fs::write(&folder, "").unwrap();
        let mut begun = Batch::new();
        begun.state(Time(0), SourceState::Running { run: 1, pid: None, note: None });
        harness.appender().append(&mut begun).await;
        harness.write(0..5).await;
        fs::remove_file(&folder).unwrap();
        let mut due = harness.appender().maintain_history().await;
        harness.appender().append(&mut due).await;
        harness.write(5..10).await;
        assert_eq!(harness.log().info(Time(0)).degraded, None);
        let mut run = harness.seen(CursorStart::Run, &[]).await;
        run.retain(|seen| *seen != SeenEvent::Other("state".to_owned()));
        assert_eq!(numbers(&run), (0..10).collect::<Vec<_>>());
    }

    #[derive(Debug, Clone)]
    enum HistoryAction {
        Write(u64),
        Stop,
        Kill,
        /// This many bytes at the end of the newest file are not on the disk.
        Tear(u64),
        Read(prop::sample::Index),
    }

    fn history_actions() -> impl Strategy<Value = Vec<HistoryAction>> {
        let act = prop_oneof![
            8 => (1u64..400).prop_map(HistoryAction::Write),
            1 => Just(HistoryAction::Stop),
            1 => Just(HistoryAction::Kill),
            1 => (0u64..3000).prop_map(HistoryAction::Tear),
            3 => any::<prop::sample::Index>().prop_map(HistoryAction::Read),
        ];
        prop::collection::vec(act, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// Whatever happens to the daemon, the history is a beginning of what was written: whole appends, with the
        /// checkpoint after them. A reader continues from any id without a gap.
        #[test]
        fn what_was_recorded_comes_back_as_it_was(acts in history_actions()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut harness = HistoryHarness::new(60_000, 1 << 30);
                let mut ends = vec![0u64];
                for act in acts {
                    let written = *ends.last().unwrap();
                    match act {
                        HistoryAction::Write(lines) => {
                            harness.write(written..written + lines).await;
                            ends.push(written + lines);
                        }
                        HistoryAction::Stop => {
                            harness.stop().await;
                            harness.start();
                        }
                        HistoryAction::Kill => {
                            harness.kill();
                            harness.start();
                        }
                        HistoryAction::Tear(bytes) => {
                            harness.kill();
                            if let Some(path) = harness.files().pop() {
                                let length = path.metadata().unwrap().len();
                                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length.saturating_sub(bytes)).unwrap();
                            }
                            harness.start();
                            let end = harness.checkpoints.get("file").map_or(0, |directory| directory.parse().unwrap());
                            prop_assert!(ends.contains(&end), "half an append came back: {end} of {ends:?}");
                            ends.retain(|&known| known <= end);
                        }
                        HistoryAction::Read(from) => {
                            let all = harness.seen(CursorStart::Oldest, &[]).await;
                            prop_assert_eq!(numbers(&all), (0..written.cast_signed()).collect::<Vec<_>>());
                            if !all.is_empty() {
                                let from = from.index(all.len());
                                let rest = harness.seen(CursorStart::After(id_of(&all[from])), &[]).await;
                                prop_assert_eq!(&rest[..], &all[from + 1..]);
                            }
                        }
                    }
                }
                Ok(())
            })?;
        }
    }
}
