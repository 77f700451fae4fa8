//! Cursors over a ring: what is read, skipped and waited for.

use super::cursor::*;
use super::view::View;
use crate::event::{EndCause, Epoch, Flags, OpenLine, Origin, Position, RunEnd, SourceState, Time};
use crate::stream::{Ansi, Appender, Batch, Budget, Filter, Log, RunSelection, open};
use crate::wire::WireFormat;
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

const LAST_ID: Position = Position { epoch: Epoch::persistent(7), number: 0 };

fn log(memory: usize) -> (Appender, Log) {
    open("s".parse().unwrap(), LAST_ID, memory, &Budget::new(usize::MAX))
}

fn view(grep: &[&str]) -> View {
    let grep: Vec<_> = grep.iter().map(|&pattern| pattern.to_owned()).collect();
    View {
        wire_format: WireFormat::Text,
        filter: Filter::new(&grep, &[], vec![], 1 << 20).unwrap(),
        several: false,
        ansi: Ansi::Keep,
    }
}

async fn write(appender: &mut Appender, lines: std::ops::Range<u64>) {
    let mut batch = Batch::new();
    for line in lines {
        batch.line(Time(0), &Origin::stdout(), Flags::NONE, line.to_string().as_bytes());
    }
    appender.append(&mut batch).await;
}

/// Reads until nothing is immediately available. Lines are returned as numbers, gaps as negative counts.
async fn drain(cursor: &mut Cursor) -> Vec<i64> {
    let mut seen = Vec::new();
    while let Some(item) = cursor.next(Instant::now() + Duration::from_secs(1)).await {
        match item {
            CursorItem::Frames(frames) => {
                let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
                seen.extend(text.lines().map(|line| line.parse::<i64>().unwrap()));
            }
            CursorItem::Gap(gap) => seen.push(-i64::try_from(gap.missed.unwrap_or(0)).unwrap()),
            CursorItem::OpenLine(_) | CursorItem::Progress(_) => {}
            CursorItem::TimedOut => break,
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn readers_share_their_bytes_and_all_see_each_line_once() {
    let (mut appender, log) = log(1 << 20);
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(log.cursor(view(&[]), CursorStart::Oldest, CursorEnd::default()).await);
    }
    write(&mut appender, 0..10).await;
    let mut bytes = Vec::new();
    for reader in &mut readers {
        match reader.next(Instant::now()).await {
            Some(CursorItem::Frames(frames)) => bytes.push(frames.bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(bytes.iter().all(|b| b.as_ptr() == bytes[0].as_ptr()), "encoded more than once");
    write(&mut appender, 10..20).await;
    for reader in &mut readers {
        assert_eq!(drain(reader).await, (10..20).collect::<Vec<_>>());
    }
    assert_eq!(log.info(Time(0)).readers, 20);
    drop(readers);
    assert_eq!(log.info(Time(0)).readers, 0);
    assert_eq!(log.access.shared.views().bytes(), 0, "a view without readers keeps nothing");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_learns_exactly_how_much_it_missed() {
    let (mut appender, log) = log(200_000);
    write(&mut appender, 0..1).await;
    let mut slow = log.cursor(view(&[]), CursorStart::Oldest, CursorEnd::default()).await;
    assert_eq!(drain(&mut slow).await, [0]);
    for at in 0..100 {
        write(&mut appender, 1 + at * 1000..1 + (at + 1) * 1000).await;
    }
    let seen = drain(&mut slow).await;
    let missed = -seen[0];
    assert!(missed > 50_000, "{missed}");
    assert_eq!(seen[1..], (1 + missed..100_001).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_reader_ends_where_it_asked_to() {
    let (mut appender, log) = log(1 << 20);
    write(&mut appender, 0..10).await;
    let until = async |until| log.cursor(view(&[]), CursorStart::Tail(4), until).await;
    let mut head = until(CursorEnd { head: true, ..CursorEnd::default() }).await;
    let mut some = until(CursorEnd { lines: Some(3), ..CursorEnd::default() }).await;
    write(&mut appender, 10..12).await;
    assert_eq!(drain(&mut head).await, [6, 7, 8, 9]);
    assert_eq!(drain(&mut some).await, [6, 7, 8]);
    assert!(head.is_done() && some.is_done());
    let mut none = log.cursor(view(&[]), CursorStart::Tail(0), CursorEnd { head: true, ..CursorEnd::default() }).await;
    assert!(none.is_done());
    let mut matching = log.cursor(view(&["1"]), CursorStart::Tail(2), CursorEnd::default()).await;
    assert_eq!(drain(&mut matching).await, [10, 11]);
    drop(appender);
    assert!(drain(&mut matching).await.is_empty());
    assert!(matching.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_run_ends_with_it_and_finds_nothing_when_it_comes_back() {
    let (mut appender, log) = log(1 << 20);
    let end = RunEnd {
        run: 1,
        code: Some(0),
        signal: None,
        duration: None,
        peak_memory: None,
        cause: EndCause::Exited,
        killed: Vec::new(),
    };
    let mut batch = Batch::new();
    batch.state(Time(0), SourceState::Running { run: 1, pid: None, note: None });
    batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"1");
    appender.append(&mut batch).await;
    let view = View { wire_format: WireFormat::Ndjson, ..view(&[]) };
    let until = CursorEnd { run: Some(RunSelection::Current), ..CursorEnd::default() };
    let mut reader = log.cursor(view.clone(), CursorStart::Run, until).await;
    batch.end(Time(0), &end);
    batch.state(Time(0), SourceState::Running { run: 2, pid: None, note: None });
    batch.line(Time(0), &Origin::stdout(), Flags::NONE, b"2");
    appender.append(&mut batch).await;
    let mut seen = String::new();
    while let Some(CursorItem::Frames(frames)) = reader.next(Instant::now() + Duration::from_secs(1)).await {
        seen += std::str::from_utf8(&frames.bytes).unwrap();
    }
    let ends: Vec<_> = seen.lines().map(|line| line.contains("\"end\"")).collect();
    assert_eq!(ends, [false, false, true], "{seen}");
    let id = |number| Position { number, ..LAST_ID };
    assert_eq!(reader.position(), id(3));
    assert!(log.cursor(view.clone(), CursorStart::After(id(3)), until).await.is_done());
    assert!(!log.cursor(view.clone(), CursorStart::After(id(2)), until).await.is_done());
    assert!(!log.cursor(view, CursorStart::After(id(4)), until).await.is_done(), "the next run is another one");
}

#[tokio::test(start_paused = true)]
async fn streams_together_stay_within_their_budget_and_the_largest_gives_way() {
    let budget = Budget::new(1 << 20);
    let mut logs: Vec<_> =
        ["small", "a", "b"].map(|name| open(name.parse().unwrap(), LAST_ID, 1 << 20, &budget)).into();
    write(&mut logs[0].0, 0..100).await;
    for _ in 0..200 {
        write(&mut logs[1].0, 0..1000).await;
        write(&mut logs[2].0, 0..1000).await;
        let held: usize = logs.iter().map(|(_, log)| log.info(Time(0)).memory).sum();
        assert!(held <= 1 << 20, "{held}");
    }
    assert_eq!(
        logs[0].1.info(Time(0)).first,
        Some(Position { number: 1, ..LAST_ID }),
        "the small one lost its history"
    );
    assert!(logs[1].1.info(Time(0)).memory > 300_000, "the large ones share");
}

#[tokio::test(start_paused = true)]
async fn equal_filters_are_evaluated_once_for_all_their_readers() {
    /// The number of filter matches for this many readers with ten filters, some of which come late and read at
    /// irregular times.
    async fn cost(readers: usize) -> u64 {
        let (mut appender, log) = log(4 << 20);
        let mut all = Vec::new();
        for at in 0..readers {
            let pattern = (at % 10).to_string();
            all.push(log.cursor(view(&[&pattern]), CursorStart::Tail(0), CursorEnd::default()).await);
        }
        let mut seen = vec![0; readers];
        for round in 0..50u64 {
            write(&mut appender, round * 20..(round + 1) * 20).await;
            for (at, reader) in
                all.iter_mut().enumerate().filter(|(at, _)| round == 49 || !(*at as u64 + round).is_multiple_of(3))
            {
                seen[at] += drain(reader).await.len();
            }
        }
        for (at, seen) in seen.iter().enumerate() {
            let expected = (0..1000).filter(|line: &u64| line.to_string().contains(&(at % 10).to_string())).count();
            assert_eq!(*seen, expected, "reader {at}");
        }
        log.info(Time(0)).filter_checks
    }
    let (few, many) = (cost(10).await, cost(500).await);
    assert!(few >= 10_000, "each of ten filters looks at each of 1000 lines: {few}");
    assert!(many * 2 <= few * 3, "{many} for 500 readers, {few} for 10");
}

#[tokio::test(start_paused = true)]
async fn another_filter_counts_from_the_next_line_on() {
    let (mut appender, log) = log(1 << 20);
    write(&mut appender, 0..10).await;
    let mut reader = log.cursor(view(&["7"]), CursorStart::Oldest, CursorEnd::default()).await;
    assert_eq!(drain(&mut reader).await, [7]);
    write(&mut appender, 10..20).await;
    reader.change_view(view(&["5"]));
    assert_eq!(drain(&mut reader).await, [15]);
    reader.change_view(view(&[]));
    write(&mut appender, 20..22).await;
    assert_eq!(drain(&mut reader).await, [20, 21]);
    assert_eq!(log.info(Time(0)).readers, 1);
}

/// The open lines that a reader receives without waiting, as `origin: rows`.
async fn open_lines(cursor: &mut Cursor) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match cursor.next(Instant::now()).await {
            Some(CursorItem::OpenLine(line)) => {
                let rows: Vec<_> = line.rows.iter().map(|row| String::from_utf8_lossy(row)).collect();
                seen.push(format!("{}: {}", line.origin.as_str(), rows.join("|")));
            }
            Some(CursorItem::TimedOut) | None => return seen,
            Some(CursorItem::Frames(_) | CursorItem::Gap(_) | CursorItem::Progress(_)) => {}
        }
    }
}

async fn draw(appender: &mut Appender, origin: &str, rows: &[&str]) {
    let mut batch = Batch::new();
    let rows = rows.iter().map(|row| row.as_bytes().to_vec()).collect();
    batch.open(OpenLine { time: Time(0), origin: Origin::from(origin), rows });
    appender.append(&mut batch).await;
}

#[tokio::test(start_paused = true)]
async fn each_origin_has_an_open_line_and_a_new_reader_receives_all() {
    let (mut appender, log) = log(1 << 20);
    draw(&mut appender, "a", &["1", "2"]).await;
    draw(&mut appender, "b", &["3"]).await;
    let mut reader = log.cursor(view(&[]), CursorStart::Tail(0), CursorEnd::default()).await;
    assert_eq!(open_lines(&mut reader).await, ["a: 1|2", "b: 3"]);
    draw(&mut appender, "a", &["4"]).await;
    assert_eq!(open_lines(&mut reader).await, ["a: 4"]);
    // A line does not withdraw any, and what was replaced meanwhile is not received.
    write(&mut appender, 0..1).await;
    draw(&mut appender, "b", &[]).await;
    draw(&mut appender, "b", &["5"]).await;
    assert_eq!(open_lines(&mut reader).await, ["b: 5"]);
    draw(&mut appender, "a", &[]).await;
    draw(&mut appender, "c", &["6"]).await;
    draw(&mut appender, "c", &[]).await;
    assert_eq!(open_lines(&mut reader).await, ["a: "]);
    let mut late = log.cursor(view(&[]), CursorStart::Oldest, CursorEnd::default()).await;
    assert_eq!(open_lines(&mut late).await, ["b: 5"]);
    assert_eq!(open_lines(&mut reader).await, Vec::<String>::new());
    for number in 0..2 * OpenLine::MAX_ORIGINS {
        draw(&mut appender, &format!("file {number}"), &["x"]).await;
    }
    let mut late = log.cursor(view(&[]), CursorStart::Tail(0), CursorEnd::default()).await;
    assert_eq!(open_lines(&mut late).await.len(), OpenLine::MAX_ORIGINS);
}

#[tokio::test(start_paused = true)]
async fn a_filter_selects_the_rows_that_its_readers_receive() {
    let (mut appender, log) = log(1 << 20);
    let mut reader = log.cursor(view(&["7"]), CursorStart::Tail(0), CursorEnd::default()).await;
    draw(&mut appender, "a", &["6", "7", "\x1b[1m7\x1b[0m7"]).await;
    draw(&mut appender, "b", &["8"]).await;
    assert_eq!(open_lines(&mut reader).await, ["a: 7|\x1b[1m7\x1b[0m7"]);
    // Rows that do not pass any more are withdrawn, and only from readers that have them.
    draw(&mut appender, "a", &["8"]).await;
    assert_eq!(open_lines(&mut reader).await, ["a: "]);
    draw(&mut appender, "a", &["9"]).await;
    assert_eq!(open_lines(&mut reader).await, Vec::<String>::new());
    reader.change_view(view(&["8|9"]));
    assert_eq!(open_lines(&mut reader).await, ["a: 9", "b: 8"]);
    reader.change_view(view(&["8"]));
    assert_eq!(open_lines(&mut reader).await, ["a: ", "b: 8"]);
    // Each version was matched once for each filter.
    let before = log.info(Time(0)).filter_checks;
    let mut late = log.cursor(view(&["8"]), CursorStart::Tail(0), CursorEnd::default()).await;
    assert_eq!(open_lines(&mut late).await, ["b: 8"]);
    assert_eq!(log.info(Time(0)).filter_checks, before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_ends_at_the_present_end_receives_no_open_line() {
    let (mut appender, log) = log(1 << 20);
    write(&mut appender, 0..3).await;
    draw(&mut appender, "a", &["1"]).await;
    for start in [CursorStart::Tail(0), CursorStart::Tail(2), CursorStart::Oldest] {
        let end = CursorEnd { head: true, ..CursorEnd::default() };
        let mut reader = log.cursor(view(&[]), start, end).await;
        assert_eq!(open_lines(&mut reader).await, Vec::<String>::new(), "{start:?}");
        assert!(reader.is_done(), "{start:?}");
    }
}

#[derive(Debug, Clone)]
enum ReaderAction {
    Write(u64),
    Read(usize),
    Come(bool),
    Pass(u64),
}

fn reader_actions() -> impl Strategy<Value = Vec<ReaderAction>> {
    let act = prop_oneof![
        4 => (1u64..3000).prop_map(ReaderAction::Write),
        4 => (0usize..9).prop_map(ReaderAction::Read),
        1 => any::<bool>().prop_map(ReaderAction::Come),
        2 => (0u64..30).prop_map(ReaderAction::Pass),
    ];
    prop::collection::vec(act, 0..60)
}

/// One reader of the model: the number that it must see next, and whether it wants only lines with a 7.
struct ModelReader {
    cursor: Cursor,
    next: i64,
    filtered: bool,
}

impl ModelReader {
    async fn read(&mut self) -> Result<(), TestCaseError> {
        for seen in drain(&mut self.cursor).await {
            if seen < 0 {
                // The number of lines that a filter skipped before a gap is unknown; the next line determines where
                // the reader continues.
                self.next = if self.filtered { i64::MIN } else { self.next - seen };
                continue;
            }
            while self.filtered && self.next >= 0 && !self.next.to_string().contains('7') {
                self.next += 1;
            }
            prop_assert!(self.next < 0 || seen == self.next, "{seen} instead of {}", self.next);
            self.next = seen + 1;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Readers that come and read at any time, some with a filter: each sees every line from its start on, once and
    /// in order, or a gap that counts what is missing.
    #[test]
    fn each_reader_sees_each_line_once_or_counted(acts in reader_actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut appender, log) = log(100_000);
            let mut written = 0;
            let mut readers: Vec<ModelReader> = Vec::new();
            for act in acts {
                match act {
                    ReaderAction::Write(lines) => {
                        write(&mut appender, written..written + lines).await;
                        written += lines;
                    }
                    ReaderAction::Come(filtered) => {
                        let view = view(if filtered { &["7"] } else { &[] });
                        let cursor = log.cursor(view, CursorStart::Tail(0), CursorEnd::default()).await;
                        readers.push(ModelReader { cursor, next: i64::try_from(written).unwrap(), filtered });
                    }
                    ReaderAction::Read(at) if at < readers.len() => readers[at].read().await?,
                    ReaderAction::Read(_) => {}
                    ReaderAction::Pass(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
                }
            }
            for mut reader in readers {
                reader.read().await?;
                prop_assert!(reader.filtered || reader.next == i64::try_from(written).unwrap());
            }
            Ok(())
        })?;
    }
}
