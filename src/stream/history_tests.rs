//! Tests of a log together with its history on disk: restarts, crashes, and a disk that fails. They read as readers do,
//! through a [`Cursor`], so they belong to this layer and not to the one below.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::event::{EndCause, Flags, Origin, RunEnd, SourceState, Time};
use crate::wire::WireFormat;

/// The folder of the streams in the state directory.
pub(super) const STREAMS_DIRECTORY: &str = "streams";

const TEST_RETENTION_AGE: Duration = Duration::from_hours(7 * 24);

/// A state directory and the daemon that uses it.
pub(super) struct HistoryHarness {
    pub(super) directory: TempDir,
    retention: Retention,
    memory: usize,
    open: Option<(History, Appender, Log)>,
    checkpoints: Checkpoints,
}

impl HistoryHarness {
    pub(super) fn new(memory: usize, bytes: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let mut harness = Self {
            directory,
            retention: Retention { bytes, age: TEST_RETENTION_AGE, runs: 1000 },
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

    pub(super) fn start(&mut self) {
        let history = History::open(self.directory.path()).unwrap();
        let kept = history.stream(&Self::name(), self.retention).unwrap();
        let (appender, log, checkpoints) = open_with_history(Self::name(), kept, self.memory, &Budget::new(usize::MAX));
        (self.open, self.checkpoints) = (Some((history, appender, log)), checkpoints);
    }

    pub(super) fn appender(&mut self) -> &mut Appender {
        &mut self.open.as_mut().unwrap().1
    }

    pub(super) fn log(&self) -> &Log {
        &self.open.as_ref().unwrap().2
    }

    pub(super) async fn stop(&mut self) {
        let (history, appender, _) = self.open.take().unwrap();
        appender.close().await;
        history.close();
    }

    /// Ends the daemon as `kill -9` does.
    pub(super) fn kill(&mut self) {
        drop(self.open.take());
    }

    pub(super) async fn write(&mut self, lines: std::ops::Range<u64>) {
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
            wire_format: WireFormat::Ndjson,
            filter: Filter::new(&grep, &[], vec![], 1 << 20).unwrap(),
            several: false,
            ansi: Ansi::Keep,
        };
        self.log().cursor(view, start, CursorEnd { head: true, ..CursorEnd::default() }).await
    }

    async fn seen(&self, start: CursorStart, grep: &[&str]) -> Vec<SeenEvent> {
        drain(&mut self.reader(start, grep).await).await
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let directory = self.directory.path().join(STREAMS_DIRECTORY).join("s");
        // The directory is made with its first file.
        let entries = fs::read_dir(directory).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
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

/// What is recorded of runs.
#[derive(Debug)]
enum RunStep {
    State(i64, SourceState),
    End(i64, RunEnd),
}

impl RunStep {
    /// A run that begins, or a remark on one.
    fn running(time: i64, run: u64, note: Option<&str>) -> Self {
        Self::State(time, SourceState::Running { run, pid: None, note: note.map(str::to_owned) })
    }

    fn add_to(self, batch: &mut Batch) {
        match self {
            Self::State(time, state) => batch.state(Time(time), state),
            Self::End(time, end) => batch.end(Time(time), &end),
        }
    }
}

/// The end of a run after this many seconds.
pub(super) fn run_end(run: u64, duration: f64) -> RunEnd {
    RunEnd {
        run,
        code: Some(3),
        signal: None,
        duration: Some(duration),
        peak_memory: None,
        cause: EndCause::Exited,
        killed: Vec::new(),
    }
}

#[tokio::test]
async fn the_last_run_is_known_after_a_restart_as_it_was_before() {
    let begin = |time, run| RunStep::running(time, run, None);
    let end = |time, run| RunStep::End(time, run_end(run, 2.0));
    let rest = SourceState::Stopped { reason: "exited with code 3".to_owned(), last: Some(run_end(1, 2.0)) };
    let lasting = |time| Some(RunInfo { started: Time(time), ended: None });
    let over = Some(RunInfo { started: Time(7), ended: Some((Time(9), run_end(1, 2.0))) });
    let table = [
        (vec![], None),
        (vec![begin(7, 1)], lasting(7)),
        (vec![begin(7, 1), end(9, 1)], over.clone()),
        (vec![begin(7, 1), end(9, 1), RunStep::State(9, rest)], over),
        (vec![begin(1, 1), end(2, 1), begin(3, 2)], lasting(3)),
        (vec![begin(7, 1), RunStep::running(8, 1, Some("silent"))], lasting(7)),
    ];
    for (steps, expected) in table {
        let what = format!("{steps:?}");
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        harness.write(0..10).await;
        for step in steps {
            let mut batch = Batch::new();
            step.add_to(&mut batch);
            harness.appender().append(&mut batch).await;
            harness.write(10..20).await;
        }
        assert_eq!(harness.log().info(Time(0)).run, expected, "{what}");
        for stops in [true, false, true] {
            if stops {
                harness.stop().await;
            } else {
                harness.kill();
            }
            harness.start();
            let info = harness.log().info(Time(0));
            assert_eq!((&info.run, info.counts.runs), (&expected, 0), "{what}");
        }
    }
}

#[tokio::test]
async fn of_a_run_whose_first_event_was_dropped_the_duration_says_when_it_began() {
    for ends in [true, false] {
        let mut harness = HistoryHarness::new(50_000, 600_000);
        let mut batch = Batch::new();
        RunStep::running(1, 1, None).add_to(&mut batch);
        harness.appender().append(&mut batch).await;
        for at in 0..400 {
            harness.write(at * 100..(at + 1) * 100).await;
        }
        if ends {
            batch.end(Time(6_000_001), &run_end(1, 5.0));
            harness.appender().append(&mut batch).await;
        }
        harness.stop().await;
        harness.start();
        let started = harness.log().info(Time(0)).run.map(|run| run.started);
        assert_eq!(started, ends.then_some(Time(1_000_001)), "{ends}");
    }
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
    for (damaged, text) in [("the first record", "line 5"), ("the last one", "line 95"), ("the middle", "line 50")] {
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
    let history = History::open_in_boot(harness.directory.path(), "another").unwrap();
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
