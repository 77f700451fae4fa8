//! Tests of the runs of a log: what is known of them after restarts and after their lines were dropped, and what a reader of
//! one run receives.

use std::fs;
use std::ops::Range;

use proptest::prelude::*;
use tokio::time::Instant;

use super::history_tests::{HistoryHarness, STREAMS_DIRECTORY, run_end};
use super::*;
use crate::event::{RunEnd, SourceState, Time};
use crate::wire::WireFormat;

async fn begin(appender: &mut Appender, run: u64) {
    let mut batch = Batch::new();
    batch.state(Time(1_000_000), SourceState::Running { run, pid: None, note: None });
    appender.append(&mut batch).await;
}

async fn end(appender: &mut Appender, run: u64, code: i32) {
    let mut batch = Batch::new();
    batch.end(Time(3_000_000), &RunEnd { code: Some(code), ..run_end(run, 2.0) });
    appender.append(&mut batch).await;
}

async fn add_run(harness: &mut HistoryHarness, run: u64, code: i32, lines: Range<u64>) {
    begin(harness.appender(), run).await;
    harness.write(lines).await;
    end(harness.appender(), run, code).await;
}

/// The events that a reader receives up to the present end, in short.
async fn seen(log: &Log, start: CursorStart, run: Option<RunSelection>, grep: &[&str]) -> Vec<String> {
    let grep: Vec<_> = grep.iter().map(|&pattern| pattern.to_owned()).collect();
    let filter = Filter::new(&grep, &[], vec![], 1 << 20).unwrap();
    let view = View { wire_format: WireFormat::Ndjson, filter, several: false, ansi: Ansi::Keep };
    let mut cursor = log.cursor(view, start, CursorEnd { head: true, run, ..CursorEnd::default() }).await;
    let mut seen = Vec::new();
    while let Some(item) = cursor.next(Instant::now() + Duration::from_secs(20)).await {
        match item {
            CursorItem::Frames(frames) => {
                for line in frames.bytes.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
                    let event: serde_json::Value = serde_json::from_slice(line).unwrap();
                    let id = event["id"].as_str().unwrap();
                    seen.push(match (event["text"].as_str(), event["kind"].as_str(), event["run"].as_u64()) {
                        (Some(text), ..) => text.to_owned(),
                        (_, Some("state"), Some(run)) => format!("begin {run} {id}"),
                        (_, Some("end"), Some(run)) => format!("end {run} {id}"),
                        (_, Some("loss"), _) => "loss".to_owned(),
                        other => panic!("{other:?}"),
                    });
                }
            }
            CursorItem::Gap(gap) => seen.push(format!("gap {:?}", gap.missed)),
            CursorItem::OpenLine(_) | CursorItem::Progress(_) => {}
            CursorItem::TimedOut => panic!("nothing more after {seen:?}"),
        }
    }
    seen
}

/// Without the ids.
fn shortened(seen: &[String]) -> Vec<&str> {
    seen.iter()
        .map(|text| text.rsplit_once(' ').filter(|_| !text.starts_with("line")).map_or(&**text, |at| at.0))
        .collect()
}

fn lines(range: Range<u64>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

fn listed(harness: &HistoryHarness) -> Vec<ListedRun> {
    harness.log().runs(None, usize::MAX).runs
}

fn number_of(run: &ListedRun) -> u64 {
    run.summary.run
}

#[tokio::test]
async fn runs_are_known_after_restarts_and_longer_than_their_lines() {
    let mut harness = HistoryHarness::new(50_000, 600_000);
    add_run(&mut harness, 1, 0, 0..10).await;
    add_run(&mut harness, 2, 3, 10..30).await;
    harness.stop().await;
    harness.start();
    assert_eq!(
        listed(&harness).iter().map(|run| (number_of(run), run.kept)).collect::<Vec<_>>(),
        [(2, true), (1, true)]
    );
    begin(harness.appender(), 3).await;
    for at in 0..400 {
        harness.write(at * 100..(at + 1) * 100).await;
    }
    end(harness.appender(), 3, 0).await;
    add_run(&mut harness, 4, 1, 0..10).await;
    begin(harness.appender(), 5).await;
    harness.write(0..7).await;
    let before = listed(&harness);
    let facts = |run: &ListedRun| (number_of(run), run.kept, run.summary.counts.map(|of| of.lines), run.summary.code);
    let expected = [
        (5, true, Some(7), None),
        (4, true, Some(10), Some(1)),
        (3, true, Some(40_000), Some(0)),
        (2, false, Some(20), Some(3)),
        (1, false, Some(10), Some(0)),
    ];
    assert_eq!(before.iter().map(facts).collect::<Vec<_>>(), expected);
    assert!(
        before.iter().all(|run| run.first.is_some() && run.last.map(|id| id.number) > run.first.map(|id| id.number)),
        "{before:?}"
    );
    for stops in [true, false, true, false] {
        if stops {
            harness.stop().await;
        } else {
            harness.kill();
        }
        harness.start();
        assert_eq!(listed(&harness), before);
    }
    let log = harness.log();
    let resolve = |selection| log.resolve_run(selection, CursorStart::Run).map_err(|why| why.to_string());
    let table = [
        (RunSelection::Number(5), Ok(RunSelection::Number(5))),
        (RunSelection::Last, Ok(RunSelection::Number(4))),
        (RunSelection::Passed, Ok(RunSelection::Number(3))),
        (RunSelection::Number(2), Err("the lines of run 2 of s are no longer stored")),
        (RunSelection::Number(6), Err("run 6 of s is not known; the known runs have the numbers 1 to 5")),
        (RunSelection::Current, Ok(RunSelection::Current)),
    ];
    for (selection, expected) in table {
        match (resolve(selection), expected) {
            (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{selection:?}: {why}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned), "{selection:?}"),
        }
    }
    // Of a run whose first lines were dropped, a reader learns how many are missing.
    let seen = seen(log, CursorStart::Run, Some(RunSelection::Number(3)), &[]).await;
    let missed: usize = seen[0].strip_prefix("gap Some(").unwrap().trim_end_matches(')').parse().unwrap();
    assert!(missed > 1000);
    // One of the missing events is the start.
    assert_eq!(seen[1..seen.len() - 1], lines(missed as u64 - 1..40_000));
    assert_eq!(shortened(&seen).last(), Some(&"end 3"));
}

#[tokio::test]
async fn a_reader_of_a_run_receives_its_events_and_no_others() {
    use RunSelection::{Current, Last, Number, Passed};
    for memory in [1 << 20, 40_000] {
        let mut harness = HistoryHarness::new(memory, 1 << 30);
        harness.write(0..2000).await;
        add_run(&mut harness, 1, 0, 2000..4000).await;
        harness.write(4000..4100).await;
        add_run(&mut harness, 2, 7, 4100..4103).await;
        begin(harness.appender(), 3).await;
        harness.write(5000..5003).await;
        let log = harness.log().clone();
        let runs = log.runs(None, 10).runs;
        let [third, second, first] = &runs[..] else { panic!("{runs:?}") };
        let within = |run: &ListedRun, offset: u64| {
            let first = run.first.unwrap();
            CursorStart::After(Position { number: first.number + offset, ..first })
        };
        let with = |run, lines: &[String], ends: bool| {
            let begin = format!("begin {run}");
            let end = ends.then(|| format!("end {run}"));
            std::iter::once(begin).chain(lines.iter().cloned()).chain(end).collect::<Vec<_>>()
        };
        let rest = |of: Range<u64>, end: &str| [lines(of), vec![end.to_owned()]].concat();
        let all = with(1, &lines(2000..4000), true);
        let table = [
            (Number(1), CursorStart::Run, &[][..], all.clone()),
            (Passed, CursorStart::Run, &[], all.clone()),
            (Number(1), CursorStart::Oldest, &[], all.clone()),
            (Number(1), CursorStart::Since(Time(0)), &[], all.clone()),
            // What the reader has seen of an earlier run does not matter.
            (Number(2), within(first, 5), &[], with(2, &lines(4100..4103), true)),
            (Number(1), within(first, 1999), &[], rest(3999..4000, "end 1")),
            (Number(1), within(first, 2001), &[], vec![]),
            (Number(1), within(second, 1), &[], vec![]),
            (Number(1), CursorStart::Tail(2), &[], rest(3998..4000, "end 1")),
            (Number(1), CursorStart::Tail(3), &["7$"], rest(0..0, "end 1")),
            (
                Number(1),
                CursorStart::Run,
                &["99$"],
                with(1, &(20..40).map(|at| format!("line {at}99")).collect::<Vec<_>>(), true),
            ),
            (Last, CursorStart::Run, &[], with(2, &lines(4100..4103), true)),
            (Last, CursorStart::Tail(100), &[], with(2, &lines(4100..4103), true)),
            (Number(3), CursorStart::Run, &[], with(3, &lines(5000..5003), false)),
            (Current, CursorStart::Run, &[], with(3, &lines(5000..5003), false)),
            (Current, CursorStart::Oldest, &[], with(3, &lines(5000..5003), false)),
            (Current, CursorStart::Since(Time(0)), &[], with(3, &lines(5000..5003), false)),
            (Current, CursorStart::Tail(2), &[], lines(5001..5003)),
            (Current, CursorStart::Tail(100), &[], with(3, &lines(5000..5003), false)),
            (Current, CursorStart::Tail(0), &[], vec![]),
            // A reader that resumes stays in the run that it was in.
            (Current, within(first, 1999), &[], rest(3999..4000, "end 1")),
            (Current, within(third, 2), &[], lines(5002..5003)),
            (Number(3), within(third, 2), &[], lines(5002..5003)),
            (Number(3), within(first, 2), &[], with(3, &lines(5000..5003), false)),
            // A run that is not known has no events.
            (Number(9), CursorStart::Run, &[], vec![]),
        ];
        for (run, start, grep, expected) in table {
            let mut seen = seen(&log, start, Some(run), grep).await;
            if grep == ["7$"] {
                assert_eq!(seen[..3], ["line 3977", "line 3987", "line 3997"]);
                seen.drain(..3);
            }
            assert_eq!(shortened(&seen), expected, "{run:?} from {start:?}, grep {grep:?}, memory {memory}");
        }
        // A reader that comes back within a run stays there, whatever is the last one by now.
        for (selection, start, expected) in [
            (Last, CursorStart::Run, 2),
            (Last, within(first, 7), 1),
            (Last, within(first, 2001), 1),
            (Last, within(third, 0), 3),
            (Passed, within(second, 1), 2),
            (Passed, CursorStart::AfterUnknown, 1),
        ] {
            assert_eq!(log.resolve_run(selection, start), Ok(Number(expected)), "{selection:?} {start:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_resumes_in_a_forgotten_run_receives_no_other_one() {
    use RunSelection::{Forgotten, Last, Number, Passed};
    let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
    add_run(&mut harness, 1, 0, 0..3).await;
    add_run(&mut harness, 2, 0, 3..6).await;
    let ids: Vec<_> = listed(&harness).iter().map(|run| run.first.unwrap()).collect();
    let [second, first] = ids[..] else { panic!("{ids:?}") };
    let after = |id: Position, events: u64| CursorStart::After(Position { number: id.number + events, ..id });
    harness.log().set_bounds(1 << 20, Retention { bytes: 1 << 30, age: Duration::MAX, runs: 1 });
    let log = harness.log();
    let forgotten = || Err(RunUnavailable::Forgotten(log.name().clone()));
    let before_second = CursorStart::After(Position { number: second.number - 1, ..second });
    for selection in [Last, Passed] {
        for (start, expected) in [
            (after(first, 0), forgotten()),
            (after(first, 2), forgotten()),
            // The end of the first run, which is directly before the second one.
            (before_second, forgotten()),
            (after(second, 0), Ok(Number(2))),
            (after(second, 4), Ok(Number(2))),
            (CursorStart::AfterUnknown, Ok(Number(2))),
        ] {
            assert_eq!(log.resolve_run(selection, start), expected, "{selection:?} {start:?}");
        }
    }
    assert_eq!(seen(log, CursorStart::AfterUnknown, Some(Last), &[]).await[0], "gap None");
    assert_eq!(seen(log, CursorStart::AfterUnknown, Some(Forgotten), &[]).await, ["gap None"]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_run_that_lasts_ends_with_it() {
    let (mut appender, log) = open(
        "s".parse().unwrap(),
        Position { epoch: crate::event::Epoch::persistent(7), number: 0 },
        1 << 20,
        &Budget::new(usize::MAX),
    );
    let none = log.resolve_run(RunSelection::Number(1), CursorStart::Run).unwrap_err();
    assert!(none.to_string().starts_with("s has had no run"), "{none}");
    begin(&mut appender, 1).await;
    for selection in [RunSelection::Last, RunSelection::Passed] {
        let none = log.resolve_run(selection, CursorStart::Run).unwrap_err().to_string();
        assert!(none.contains("has ended yet") || none.contains("has passed"), "{none}");
    }
    let filter = Filter::new(&[], &[], vec![], 1 << 20).unwrap();
    let view = View { wire_format: WireFormat::Text, filter, several: false, ansi: Ansi::Keep };
    let until = CursorEnd { run: Some(RunSelection::Number(1)), ..CursorEnd::default() };
    let mut cursor = log.cursor(view, CursorStart::Run, until).await;
    assert!(!cursor.is_bounded() && !cursor.is_done());
    let soon = || Instant::now() + Duration::from_secs(1);
    while !matches!(cursor.next(soon()).await, Some(CursorItem::TimedOut)) {}
    end(&mut appender, 1, 0).await;
    begin(&mut appender, 2).await;
    let mut text = String::new();
    while let Some(item) = cursor.next(soon()).await {
        if let CursorItem::Frames(frames) = item {
            text += std::str::from_utf8(&frames.bytes).unwrap();
        }
    }
    assert!(text.contains("run 1 ended") && !text.contains("run 2"), "{text}");
    assert!(cursor.is_done());
}

#[tokio::test]
async fn runs_that_a_failing_disk_could_not_take_are_recorded_later() {
    for ends_meanwhile in [true, false] {
        let mut harness = HistoryHarness::new(1 << 20, 1 << 30);
        add_run(&mut harness, 1, 0, 0..5).await;
        begin(harness.appender(), 2).await;
        harness.write(5..10).await;
        let folder = harness.directory.path().join(STREAMS_DIRECTORY);
        // With a file in place of the folder, and none that is open, nothing can be written.
        harness.stop().await;
        let kept = harness.directory.path().join("kept");
        harness.start();
        fs::rename(&folder, &kept).unwrap();
        fs::write(&folder, "").unwrap();
        harness.write(10..13).await;
        assert!(harness.log().info(Time(0)).degraded.is_some());
        if ends_meanwhile {
            end(harness.appender(), 2, 0).await;
            begin(harness.appender(), 3).await;
            harness.write(13..15).await;
        }
        let before = listed(&harness);
        let counts: Vec<_> = before.iter().map(|run| (number_of(run), run.summary.counts.unwrap().lines)).collect();
        let expected = if ends_meanwhile { vec![(3, 2), (2, 8), (1, 5)] } else { vec![(2, 8), (1, 5)] };
        assert_eq!(counts, expected);
        fs::remove_file(&folder).unwrap();
        fs::rename(&kept, &folder).unwrap();
        let mut due = harness.appender().maintain_history().await;
        harness.appender().append(&mut due).await;
        let after = listed(&harness);
        harness.kill();
        harness.start();
        assert_eq!(listed(&harness), after);
        let facts = |run: &ListedRun| (number_of(run), run.first, run.summary.counts);
        assert_eq!(after.iter().map(facts).collect::<Vec<_>>(), before.iter().map(facts).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_file_whose_beginning_is_incomplete_costs_nothing_but_itself() {
    // The time of the first event is long ago, so that the next one begins a file.
    let mut whole = HistoryHarness::new(1 << 20, 1 << 30);
    add_run(&mut whole, 1, 0, 0..3).await;
    begin(whole.appender(), 2).await;
    whole.kill();
    let newest = whole.files().pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let records: Vec<_> = memchr::memmem::find_iter(&bytes, b"\xE7RL\n").collect();
    assert!(records.len() > 2, "a snapshot, the runs, and an event: {records:?}");
    // Between two records, and within one.
    for length in records.iter().flat_map(|&at| [at, at + 30]) {
        fs::write(&newest, &bytes[..length]).unwrap();
        whole.start();
        let seen = seen(whole.log(), CursorStart::Oldest, None, &[]).await;
        assert_eq!(shortened(&seen)[0], "begin 1", "{length} of {}", bytes.len());
        let numbers: Vec<_> = runs_of(&seen).into_iter().map(|(run, _, lines, _)| (run, lines)).collect();
        let known = listed(&whole);
        let known: Vec<_> = known.iter().map(|run| (number_of(run), run.summary.counts.unwrap().lines)).collect();
        assert_eq!(known, numbers, "{length} of {}", bytes.len());
        whole.kill();
    }
}

#[derive(Debug, Clone)]
enum RunAction {
    Write(u64),
    Begin,
    End,
    Stop,
    Kill,
    /// This many bytes at the end of the newest file are not on the disk.
    Tear(u64),
}

fn run_actions() -> impl Strategy<Value = Vec<RunAction>> {
    let act = prop_oneof![
        6 => (1u64..400).prop_map(RunAction::Write),
        3 => Just(RunAction::Begin),
        2 => Just(RunAction::End),
        1 => Just(RunAction::Stop),
        1 => Just(RunAction::Kill),
        1 => (0u64..3000).prop_map(RunAction::Tear),
    ];
    prop::collection::vec(act, 0..60)
}

/// The runs that the events are about, newest first: number, first and last id, lines, whether it ended.
fn runs_of(events: &[String]) -> Vec<(u64, String, u64, bool)> {
    let mut runs: Vec<(u64, String, u64, bool)> = Vec::new();
    for event in events {
        let words: Vec<_> = event.split(' ').collect();
        match words[..] {
            ["begin", run, id] => {
                for run in &mut runs {
                    run.3 = true;
                }
                runs.push((run.parse().unwrap(), id.to_owned(), 0, false));
            }
            ["end", ..] => runs.last_mut().unwrap().3 = true,
            ["line", _] => {
                if let Some(run) = runs.last_mut().filter(|run| !run.3) {
                    run.2 += 1;
                }
            }
            // The damage that a torn file is.
            ["loss"] => {}
            _ => panic!("{event}"),
        }
    }
    runs.reverse();
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever happens to the daemon, what is known of the runs is what the recorded events say.
    #[test]
    fn runs_are_those_of_the_recorded_events(actions in run_actions()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut harness = HistoryHarness::new(60_000, 1 << 30);
            let (mut written, mut next) = (0, 1);
            for action in actions {
                match action {
                    RunAction::Write(lines) => {
                        harness.write(written..written + lines).await;
                        written += lines;
                    }
                    RunAction::Begin => {
                        begin(harness.appender(), next).await;
                        next += 1;
                    }
                    RunAction::End => {
                        let open = listed(&harness).first().filter(|run| run.summary.ended.is_none()).map(number_of);
                        if let Some(run) = open {
                            end(harness.appender(), run, 0).await;
                        }
                    }
                    RunAction::Stop => {
                        harness.stop().await;
                        harness.start();
                    }
                    RunAction::Kill => {
                        harness.kill();
                        harness.start();
                    }
                    RunAction::Tear(bytes) => {
                        harness.kill();
                        if let Some(path) = harness.files().pop() {
                            let length = path.metadata().unwrap().len();
                            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length.saturating_sub(bytes)).unwrap();
                        }
                        harness.start();
                    }
                }
                let all = seen(harness.log(), CursorStart::Oldest, None, &[]).await;
                let known: Vec<_> = listed(&harness)
                    .iter()
                    .map(|run| (number_of(run), run.first.unwrap().to_string(), run.summary.counts.unwrap().lines, run.summary.ended.is_some()))
                    .collect();
                prop_assert_eq!(known, runs_of(&all));
            }
            Ok(())
        })?;
    }
}
