//! Cases that the recordings in `tests/progress` do not cover: ordinary text, build server messages, patterns, and
//! time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

mod drawings;
mod ordinary_text;

use super::*;
use crate::event::lock;

/// A time: a thousand million seconds and this many milliseconds.
fn at(millis: i64) -> Time {
    Time(1_000_000_000_000_000 + millis * 1000)
}

/// The progress after these lines, which come a second apart.
fn after(tracker: &mut Tracker, lines: &[&str]) -> Option<Progress> {
    for (second, line) in (0..).zip(lines) {
        tracker.line(0, line.as_bytes(), at(second * 1000));
    }
    tracker.progress().cloned()
}

fn tracker() -> Tracker {
    Tracker::new(Vec::new(), false)
}

/// State, percentage and count in short form.
fn short(progress: Option<&Progress>) -> String {
    let Some(progress) = progress else { return "-".to_owned() };
    let mut text = format!("{:?}", progress.state).to_lowercase();
    text.extend(progress.percent.map(|percent| format!(" {percent}%")));
    text.extend(progress.current.map(|current| format!(" {current}")));
    text.extend(progress.total.map(|total| format!("/{total}")));
    text.extend(progress.phase.as_ref().map(|phase| format!(" <{phase}>")));
    text.extend(progress.message.as_ref().map(|message| format!(" {message}")));
    text
}

/// The same shapes, as the series that make them progress.
#[test]
fn a_number_that_grows_is_progress() {
    let table: [(&[&str], &str); 14] = [
        (&["[1/5] x", "[2/5] y"], "running 40% 2/5 y"),
        (&["(1/3) x", "(2/3) y"], "running 66.7% 2/3 y"),
        (&["[ 9/14] x", "[10/14] y"], "running 71.4% 10/14 y"),
        (&["(11 of 40) x", "(12 of 40) y"], "running 30% 12/40 y"),
        (&["Step 2 of 9: x", "Step 3 of 9: y"], "running 33.3% 3/9 <Step> y"),
        (&["Epoch 1/10", "Epoch 2/10"], "running 20% 2/10 <Epoch>"),
        (&["[199 / 1,204] x", "[200 / 1,204] y"], "running 16.6% 200/1204 y"),
        (&["Copying [==   ] 20%", "Copying [===  ] 40%"], "running 40% <Copying>"),
        (&["Kopie [==   ] 64,3 %", "Kopie [===  ] 70,5 %"], "running 70.5% <Kopie>"),
        (&["Progress: 10%", "Progress: 20%"], "running 20%"),
        (&["[1/5] x", "[1/5] x"], "-"),
        (&["[2/5] x", "[1/5] y"], "-"),
        (&["[1/5] x", "[2/7] y"], "-"),
        (&["Copying [==   ] 20%", "Moving [===  ] 40%"], "-"),
    ];
    for (lines, expected) in table {
        assert_eq!(short(after(&mut tracker(), lines).as_ref()), expected, "{lines:?}");
    }
}

/// Examines drawings, each of which is the live rows of one read.
fn after_drawings(tracker: &mut Tracker, drawings: &[&[&str]]) -> Vec<String> {
    let rows = |drawing: &[&str]| drawing.iter().map(|row| row.as_bytes().to_vec()).collect::<Vec<_>>();
    (0..)
        .zip(drawings)
        .map(|(second, drawing)| {
            tracker.open(0, &rows(drawing), at(second * 1000));
            short(tracker.progress())
        })
        .collect()
}

#[test]
fn numbers_in_any_locale_tell_the_percentage() {
    let table = [
        ("      8.945.664  35%    8,01MB/s    0:00:01  ", "running 35% 8945664 8,01MB/s"),
        ("      8,945,664  35%    8.01MB/s    0:00:01  ", "running 35% 8945664 8.01MB/s"),
        ("      8 945 664  35%    8,01MB/s    0:00:01  ", "running 35% 8945664 8,01MB/s"),
        ("      8\u{202f}945\u{202f}664  35 %    8,01MB/s    0:00:01  ", "running 35% 8945664 8,01MB/s"),
        ("          8,94M  35%    8,01MB/s    0:00:01  ", "running 35% 8940000 8,01MB/s"),
        ("...............  63 / 340 ( 18%)", "running 18% 63/340"),
        ("        PASS [   0.005s] ( 1/40) demo tests::a", "running 2.5% 1/40 demo tests::a"),
        ("    (45.00/100%)", "running 45%"),
        ("    (45,00/100%)", "running 45%"),
        (
            "[==>       ] Parsed 1.204 bytes of 8.945 (13,46%), queries: 3",
            "running 13.5% 1204/8945 <Parsed> queries: 3",
        ),
        ("10/14 Test #10: ten ....   Passed    0.01 sec", "running 71.4% 10/14 ten"),
        (
            "[#2089b0 400.0KiB/33.2MiB(1%) CN:1 DL:115.7KiB ETA:4m51s]",
            "running 1% 409600/34812723 CN:1 DL:115.7KiB ETA:4m51s",
        ),
        // Counts that make no sense leave the percentage.
        ("[#2089b0 9MiB/3MiB(99%) CN:1]", "running 99% CN:1"),
    ];
    for (line, expected) in table {
        assert_eq!(short(after(&mut tracker(), &[line]).as_ref()), expected, "{line:?}");
    }
}

#[test]
fn wget_into_a_pipe_has_no_phase_of_dots_and_an_end() {
    let mut tracker = tracker();
    for step in 0..40i64 {
        let dots = format!(
            "{:>6}K .......... .......... .......... .......... .......... {:>2}%  228K {}s",
            step * 50,
            step * 2,
            90 - step
        );
        for part in [30, 45, dots.len() - 8] {
            tracker.open(0, &[dots.as_bytes()[..part].to_vec()], at(step * 1000));
        }
        tracker.line(0, dots.as_bytes(), at(step * 1000 + 500));
        let progress = tracker.progress().unwrap();
        assert_eq!(progress.phase, None, "{dots}");
        assert!(progress.eta.is_some() || step < 5, "{dots}");
    }
}

#[test]
fn groups_that_are_closed_are_not_in_progress() {
    let table: [(&[&str], &str); 6] = [
        (&["::group::a", "::endgroup::"], "done"),
        (&["::group::a", "::group::b", "::endgroup::"], "indeterminate <a>"),
        (&["::group::a", "::endgroup::", "::group::b"], "indeterminate <b>"),
        (&["##[group]a", "##[endgroup]"], "done"),
        (&["section_start:1000000003:a[collapsed=true] A", "section_end:1000000009:a"], "done"),
        (&["##teamcity[blockOpened name='a']", "##teamcity[blockClosed name='a']"], "done"),
    ];
    for (lines, expected) in table {
        let progress = after(&mut Tracker::new(Vec::new(), true), lines).unwrap();
        assert_eq!(short(Some(&progress)), expected, "{lines:?}");
        // A process may work on behind its groups, and its end tells.
        let progress = after(&mut tracker(), lines).unwrap();
        assert_eq!(progress.state, ProgressState::Indeterminate, "{lines:?}");
    }
}

#[test]
fn what_is_written_for_build_servers_is_believed() {
    let table: [(&[&str], &str); 14] = [
        (&["\x1b]9;4;1;45\x07"], "running 45%"),
        (&["building\x1b]9;4;1;45\x1b\\ x", "\x1b]9;4;2;50\x07"], "error 50%"),
        (&["\x1b]9;4;3;0\x07"], "indeterminate"),
        (&["\x1b]9;4;1;45\x07", "\x1b]9;4;4;45\x07"], "paused 45%"),
        (&["\x1b]9;4;1;90\x07", "\x1b]9;4;0;0\x07"], "done 100%"),
        (&["\x1b]9;4;0;\x07"], "-"),
        (&["\x1b]9;4;1;450\x07"], "running"),
        (&["##vso[task.setprogress value=75;]Upload"], "running 75% Upload"),
        (&["##vso[task.setprogress value=75;]x", "##vso[task.complete result=Failed;]Gone"], "error 75% Gone"),
        (&["##vso[task.setprogress value=75;]x", "[ 10%] Building x"], "running 75% x"),
        (&["##teamcity[progressMessage 'it|'s |[here|]']"], "indeterminate it's [here]"),
        (&["##teamcity[buildProblem description='no luck']"], "error no luck"),
        (&["::group::Build", "[ 40%] Building x"], "running 40% <Build> Building x"),
        (&["::group::Build", "[ 40%] Building x", "::endgroup::"], "running 40% Building x"),
    ];
    for (lines, expected) in table {
        assert_eq!(short(after(&mut tracker(), lines).as_ref()), expected, "{lines:?}");
    }
}

#[test]
fn progress_that_is_reported_to_the_terminal_needs_no_text() {
    let mut tracker = tracker();
    for percent in [0, 50, 100] {
        tracker.reported(format!("9;4;1;{percent}").as_bytes(), at(percent * 100));
        assert_eq!(short(tracker.progress()), format!("running {percent}%"));
    }
    // What is drawn next to it does not replace it.
    after_drawings(&mut tracker, &[&["x [==   ] 40%"], &["x [===  ] 50%"]]);
    assert_eq!(short(tracker.progress()), "running 100%");
    tracker.reported(b"9;4;0", at(20_000));
    assert_eq!(short(tracker.progress()), "done 100%");
}

#[test]
fn groups_nest_and_know_how_long_they_took() {
    let lines: &[&str] = &[
        "::group::Outer",
        "##[group]Inner",
        "##[endgroup]",
        "section_start:1000000003:unit_tests[collapsed=true] Unit tests",
        "##teamcity[blockOpened name='Deepest']",
        "section_end:1000000009:unit_tests",
        "::group::Last",
    ];
    let progress = after(&mut tracker(), lines).unwrap();
    let groups: Vec<_> = progress.groups.iter().map(|g| (g.name.as_str(), g.depth, g.duration)).collect();
    let expected = [
        ("Outer", 0, None),
        ("Inner", 1, Some(1.0)),
        ("Unit tests", 1, Some(6.0)),
        ("Deepest", 2, Some(5.0)),
        ("Last", 1, None),
    ];
    assert_eq!(groups, expected);
    assert_eq!(progress.phase.as_deref(), Some("Outer / Last"));
    let many: Vec<_> = (0..500).flat_map(|n| [format!("::group::{n}"), "::endgroup::".to_owned()]).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let progress = after(&mut tracker(), &many).unwrap();
    assert_eq!(progress.groups.len(), 64);
    assert_eq!(progress.groups[63].name, "499");
}

/// The page finds the same groups, and is tested with the same lines.
#[test]
fn the_markers_of_all_build_services_make_groups() {
    let table: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/clients/page/markers.json")).unwrap();
    for row in table.as_array().unwrap() {
        let strings = |name: &str| -> Vec<&str> {
            row[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
        };
        let progress = after(&mut tracker(), &strings("lines"));
        let groups: Vec<_> = progress.iter().flat_map(|p| &p.groups).map(|group| group.name.as_str()).collect();
        assert_eq!(groups, strings("groups"), "{}", row["about"]);
    }
}

#[test]
fn the_patterns_of_the_user_come_first() {
    let patterns =
        [r"^== (?P<phase>.+) ==$", r"copied (?P<current>[\d,]+) of (?P<total>[\d,]+) files: (?P<message>.+)"];
    let patterns = patterns.map(|pattern| Regex::new(pattern).unwrap());
    let mut tracker = Tracker::new(patterns.into(), false);
    let seen = after(&mut tracker, &["== Fetch ==", "copied 1,200 of 4,800 files: a.txt", "[ 90%] Building x"]);
    assert_eq!(short(seen.as_ref()), "running 25% 1200/4800 <Fetch> a.txt");
    let seen = after(&mut tracker, &["copied 9 of 8 files: nonsense", "== Check =="]);
    assert_eq!(short(seen.as_ref()), "running 25% 1200/4800 <Check> a.txt");
}

#[test]
fn a_bar_that_falls_back_a_little_is_held_and_one_that_starts_again_is_not() {
    let table: [(&[&str], &str); 5] = [
        (&["[ 50%] Building a", "[ 40%] Building b"], "running 50% Building b"),
        (&["[100%] Built target a", "[ 20%] Building b"], "running 20% Building b"),
        (&["[5/40] a", "[6/40] a", "[4/40] b"], "running 15% 6/40 b"),
        (&["a 80%[=====>    ]", "a 90%[=====>    ]", "b 10%[=>       ]", "b 20%[=>      ]"], "running 20% <b>"),
        (&["a 40%[=====>    ]", "a 50%[=====>    ]", "a 49%[=====>    ]"], "running 50% <a>"),
    ];
    for (lines, expected) in table {
        assert_eq!(short(after(&mut tracker(), lines).as_ref()), expected, "{lines:?}");
    }
}

#[test]
fn a_file_is_done_when_its_bar_is_full_and_begins_again_with_the_next() {
    let mut tracker = Tracker::new(Vec::new(), true);
    let seen = after(&mut tracker, &["[ 50%] Building a", "[100%] Built target a"]).unwrap();
    assert_eq!((short(Some(&seen)).as_str(), seen.started), ("done 100% Built target a", at(0)));
    tracker.line(0, b"[  3%] Building b", at(60_000));
    let seen = tracker.progress().unwrap();
    assert_eq!((short(Some(seen)).as_str(), seen.started), ("running 3% Building b", at(60_000)));
}

#[test]
fn news_come_ten_times_a_second_and_the_last_one_always() {
    let mut tracker = tracker();
    assert_eq!((tracker.take_update(at(0)), tracker.due()), (None, None));
    let mut updates = Vec::new();
    for tick in 0..1000 {
        tracker.line(0, format!("[{tick}/2000] CC x").as_bytes(), at(tick));
        updates.extend(tracker.take_update(at(tick)).map(|progress| progress.current));
    }
    assert_eq!(updates.len(), 10, "{updates:?}");
    let due = tracker.due().unwrap();
    assert!(due <= at(1000), "{due}");
    assert_eq!(tracker.take_update(due).unwrap().current, Some(999));
    assert_eq!(tracker.take_update(due.plus(MIN_UPDATE_INTERVAL)), None);
    tracker.line(0, b"ninja: build stopped: subcommand failed.", due);
    assert_eq!(tracker.take_update(due).unwrap().state, ProgressState::Error, "the end is reported at once");
}

#[test]
fn a_repeated_end_is_reported_ten_times_a_second_at_most() {
    // In a file, each full bar is an end of its own; a process that reports its failure again causes no update.
    for (line, full_is_done, most) in [("[100%] Built target demo", true, 11), ("\x1b]9;4;2;90\x07", false, 1)] {
        let mut tracker = Tracker::new(Vec::new(), full_is_done);
        let mut updates = 0;
        for tick in 0..1000 {
            tracker.line(0, line.as_bytes(), at(tick));
            updates += usize::from(tracker.take_update(at(tick)).is_some());
        }
        assert!((1..=most).contains(&updates), "{line:?} was reported {updates} times");
    }
}

#[test]
fn after_fifteen_seconds_of_nothing_it_is_stale() {
    let mut tracker = tracker();
    after(&mut tracker, &["[1/40] a", "[2/40] b", "[3/40] c", "[4/40] d", "some other line"]);
    let progress = tracker.take_update(at(4000)).unwrap();
    assert!(progress.eta.is_some() && !progress.stale);
    assert_eq!(tracker.due(), Some(at(18_000)));
    assert_eq!(tracker.take_update(at(17_999)), None);
    let progress = tracker.take_update(at(18_000)).unwrap();
    assert!(progress.eta.is_none() && progress.stale);
    assert_eq!((tracker.take_update(at(99_000)), tracker.due()), (None, None));
    tracker.line(0, b"[4/40] still at it", at(100_000));
    assert!(!tracker.take_update(at(100_000)).unwrap().stale);
}

/// `BuildKit` and its like count the seconds of a long step, while their bar stands still.
#[test]
fn a_program_that_redraws_its_rows_is_not_quiet() {
    let rows = |second: i64| {
        [format!("[+] Building {second}.0s (3/10)").into_bytes(), format!("=> RUN make {second}s").into_bytes()]
    };
    let mut tracker = tracker();
    for second in 1..=40 {
        tracker.open(0, &rows(second), at(second * 1000));
        let stale = tracker.take_update(at(second * 1000)).is_some_and(|progress| progress.stale);
        assert!(!stale, "after {second} s");
    }
    assert_eq!(tracker.progress().unwrap().percent, Some(30.0));
    // The same rows again are no sign of life.
    tracker.open(0, &rows(40), at(50_000));
    assert_eq!(tracker.due(), Some(at(55_000)));
    assert!(tracker.take_update(at(55_000)).unwrap().stale);
    tracker.open(0, &rows(41), at(60_000));
    assert!(!tracker.take_update(at(60_000)).unwrap().stale);
    assert_eq!(tracker.due(), Some(at(75_000)));
}

#[test]
fn lines_of_two_outputs_are_not_taken_for_redraws() {
    let mut tracker = tracker();
    tracker.open(0, &[b"waiting for the disk".to_vec()], at(0));
    tracker.open(1, &[b"disk is 83% full, go on? ".to_vec()], at(100));
    tracker.open(0, &[b"waiting for the disk to spin up".to_vec()], at(200));
    assert_eq!(tracker.progress(), None);
    tracker.open(0, &[b"Copying 10%".to_vec()], at(300));
    tracker.open(0, &[b"Copying 20%".to_vec()], at(400));
    assert_eq!(short(tracker.progress()), "running 20% <Copying>");
}

#[test]
fn a_level_that_is_redrawn_is_no_progress() {
    for level in ["CPU: 4#% idle", "mem 4#%  swap 3%", "Battery 4#%", "disk usage 4#% of 20G"] {
        let mut tracker = tracker();
        for digit in ["1", "3", "5", "2"] {
            tracker.open(0, &[level.replace('#', digit).into_bytes()], at(0));
            assert_eq!(tracker.progress(), None, "{level}");
        }
    }
    // A meter without such a word rises and falls.
    let mut meter = tracker();
    let drawings: Vec<_> = [45, 40, 20, 60, 30].map(|n| format!("core 0[|||||   {n}.0%]")).into();
    for drawing in &drawings {
        meter.open(0, &[drawing.clone().into_bytes()], at(0));
    }
    meter.open(0, &[b"core 0[|||||   90.0%]".to_vec()], at(0));
    assert_ne!(meter.progress().and_then(|progress| progress.percent), Some(90.0));
    let mut loading = tracker();
    loading.open(0, &[b"Loading model 10%".to_vec()], at(0));
    loading.open(0, &[b"Loading model 20%".to_vec()], at(100));
    assert_eq!(short(loading.progress()), "running 20% <Loading model>");
}

#[test]
fn no_input_makes_the_tracker_panic_or_grow() {
    let mut tracker = tracker();
    let mut random = 7u64;
    for round in 0..20_000 {
        let line: Vec<u8> = (0..round % 97)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                b"0123456789%[]()/#=\x1b;:\x07 .-sK\xe2\x94\x81\xff"[usize::try_from(random >> 40).unwrap() % 31]
            })
            .collect();
        tracker.line(0, &line, at(round));
        tracker.open(0, std::slice::from_ref(&line), at(round));
    }
    assert!(tracker.live_rows.size() < 400);
}

/// Recognisers without a recording: the patterns are the user's, and the messages of the others are specified by
/// terminals and build servers. The tests above cover them.
const NOT_RECORDED: [&str; 3] = ["UserPatterns", "OscRecogniser", "CiRecogniser"];

/// A recogniser that notes its name when it reports progress.
#[derive(Debug)]
struct NotingRecogniser {
    name: String,
    inner: Box<dyn Recogniser>,
    reported: Arc<Mutex<BTreeSet<String>>>,
}

impl Recogniser for NotingRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let report = self.inner.recognise(seen)?;
        lock(&self.reported).insert(self.name.clone());
        Some(report)
    }
}

/// The name of the type of a recogniser.
fn name_of(recogniser: &dyn Recogniser) -> String {
    format!("{recogniser:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

/// The recordings in `tests/progress`, each with its name.
fn recordings() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/progress");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let recordings = paths.filter(|path| path.extension().is_some_and(|kind| kind == "pipe" || kind == "pty"));
    recordings.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// The text after the last carriage return, which is what a line shows; the one of a `\r\n` does not count.
fn last_drawing(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default()
}

/// Calls `step` for each read of a recording, with the finished lines and the unfinished one behind them.
fn replay(recording: &str, mut step: impl FnMut(Time, &[&[u8]], &[u8])) {
    let mut rest = Vec::new();
    for read in recording.lines() {
        let (millis, bytes) = read.split_once(' ').unwrap();
        if millis == "end" {
            continue;
        }
        let bytes: String = serde_json::from_str(bytes).unwrap();
        rest.extend(bytes.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
        let mut lines: Vec<_> = rest.split(|byte| *byte == b'\n').map(last_drawing).collect();
        let open = lines.pop().unwrap_or_default();
        step(at(millis.parse().unwrap()), &lines, open);
        let finished = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        rest.drain(..finished);
    }
}

#[test]
fn each_recogniser_has_a_recording() {
    let reported = Arc::new(Mutex::new(BTreeSet::new()));
    for (_, recording) in recordings() {
        let mut tracker = tracker();
        let noting = |(confidence, inner): (Confidence, Box<dyn Recogniser>)| {
            let (name, reported) = (name_of(&*inner), reported.clone());
            (confidence, Box::new(NotingRecogniser { name, inner, reported }) as Box<dyn Recogniser>)
        };
        tracker.recognisers = tracker.recognisers.into_iter().map(noting).collect();
        replay(&recording, |now, finished, open| {
            for line in finished {
                tracker.line(0, line, now);
            }
            tracker.open(0, &[open.to_vec()], now);
        });
    }
    let all = recognisers(Vec::new()).iter().map(|(_, recogniser)| name_of(&**recogniser)).collect::<BTreeSet<_>>();
    let mut covered = lock(&reported).clone();
    covered.extend(NOT_RECORDED.map(str::to_owned));
    assert_eq!(covered, all, "a recogniser without a recording in tests/progress, or without the line's prefix");
}

/// A prefix that is missing in [`EXAMINED_LINE_PREFIXES`] makes a difference: with a pattern, every line is examined.
#[test]
fn no_line_of_a_recording_with_progress_is_passed_over() {
    let pattern = Regex::new("no line is this").unwrap();
    // The rows of a terminal are examined while they are drawn.
    for (name, recording) in recordings().into_iter().filter(|(name, _)| Path::new(name).extension().unwrap() == "pipe")
    {
        let (mut some, mut every) = (tracker(), Tracker::new(vec![pattern.clone()], false));
        replay(&recording, |now, finished, open| {
            for line in finished {
                some.line(0, line, now);
                every.line(0, line, now);
                let text = String::from_utf8_lossy(line);
                assert_eq!(short(some.progress()), short(every.progress()), "{name}: {text}");
            }
            some.open(0, &[open.to_vec()], now);
            every.open(0, &[open.to_vec()], now);
        });
    }
}

/// The name of a program in lower case, without marks.
fn simple(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

#[test]
fn the_list_of_programs_is_that_of_the_recognisers_and_recordings() {
    let known: BTreeSet<_> =
        KNOWN_PROGRAMS.iter().flat_map(|(_, programs)| programs.iter()).map(|name| simple(name)).collect();
    // Other names of the same programs, and forms of their output.
    let known_as = |name: &str| match simple(name).as_str() {
        "dockerbuild" | "dockercompose" if name.contains(' ') => {
            simple(name.split(' ').next_back().unwrap()).replace("build", "docker").replace("compose", "dockercompose")
        }
        "podmanbuild" => "podman".to_owned(),
        "mesontest" => "meson".to_owned(),
        other => other.to_owned(),
    };
    let shapes = shapes::SHAPES.iter().map(|(tool, ..)| known_as(tool)).filter(|tool| !tool.starts_with("apercentage"));
    let missing: Vec<_> =
        shapes.filter(|tool| !["abar", "acount"].contains(&tool.as_str()) && !known.contains(tool)).collect();
    assert!(missing.is_empty(), "not in KNOWN_PROGRAMS: {missing:?}");
    let recorded: Vec<_> =
        recordings().iter().map(|(path, _)| simple(Path::new(path).file_stem().unwrap().to_str().unwrap())).collect();
    let forms = [
        ("homebrew", "brew"),
        ("dpkg", "apt"),
        ("7z", "sevenzip"),
        ("cargonextest", "nextest"),
        ("dockercompose", "compose"),
        ("pytest", "pytest"),
    ];
    let form = |name: &str| {
        forms.iter().find(|(known, _)| *known == name).map_or(name.to_owned(), |(_, form)| (*form).to_owned())
    };
    let unrecorded: Vec<_> =
        known.iter().filter(|name| !recorded.iter().any(|recorded| recorded.starts_with(&form(name)))).collect();
    assert!(unrecorded.is_empty(), "without a recording: {unrecorded:?}");
}
