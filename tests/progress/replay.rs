//! Replays the recordings: the lines and the progress that a reader sees at each moment of the run of a program.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use rtlogd::event::{Progress, ProgressState, Time};
use rtlogd::line::{PIPE_COLUMNS, PIPE_ROWS, Screen, after_carriage_return};
use rtlogd::progress::Tracker;

/// The size of the terminal in `record.py`.
const COLUMNS: u16 = 100;
const ROWS: u16 = 30;

/// The time without a drawing after which the pipeline commits what was drawn.
const SETTLE_MILLIS: i64 = 1000;

/// A recording, replayed.
pub(super) struct Replay {
    /// The text at each moment (a line that was committed, or the live rows), and the progress at that time.
    pub(super) moments: Vec<(String, Option<Progress>)>,
    /// The committed lines, without colours.
    pub(super) lines: Vec<String>,
    /// The part of the run during which a percentage was shown, from 0 to 1.
    pub(super) share: f64,
    /// The same for the time from the second number that the program wrote to the last one; `None` if it wrote none.
    pub(super) share_of_reports: Option<f64>,
    /// The number of times at which the percentage fell by more than 5.
    pub(super) falls: usize,
    /// The progress as of the last output.
    pub(super) last: Option<Progress>,
    pub(super) exit_code: i32,
}

impl Replay {
    /// The progress after the end of the process.
    pub(super) fn ended(&self) -> Option<Progress> {
        self.last.clone().map(|last| last.into_ended(Time::default(), self.exit_code == 0))
    }

    /// The lines with bytes that are no text, and the bars that were committed twice.
    pub(super) fn garbage(&self) -> Vec<&str> {
        let doubled = self.lines.windows(2).filter(|two| two[0].contains('%') && two[0] == two[1]);
        let broken = self.lines.iter().filter(|line| line.chars().any(|c| c.is_control() && c != '\t'));
        broken.chain(doubled.map(|two| &two[1])).map(String::as_str).collect()
    }
}

/// The names of all recordings.
pub(super) fn recordings() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter(|name| is_kind(name, "pipe") || is_kind(name, "pty")).collect();
    names.sort();
    names
}

/// Returns whether a recording is that of a pipe, or of a terminal.
fn is_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == kind)
}

fn directory() -> std::path::PathBuf {
    // The crate of one layer is built in a directory below that of the program.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("tests/progress")
}

/// A text without colours.
fn visible(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::new();
    let mut rest = text.as_ref();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        match after.split_once(|c: char| c.is_ascii_alphabetic()) {
            Some((parameters, shown)) if after.get(parameters.len()..).is_some_and(|end| end.starts_with('m')) => {
                rest = shown;
            }
            _ => {
                plain.push('\x1b');
                rest = after;
            }
        }
    }
    plain + rest
}

/// The numbers by which programs show progress, as far as a percent sign, a slash or the word "of" shows, whatever the
/// recognisers know of the program. Control sequences must have been removed.
static NUMBERS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d[ \u{a0}]?%|\d[ \w]*/ ?\d|\d (?:out )?of \d").unwrap());

static CONTROL_SEQUENCES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]").unwrap());

/// Returns whether a program reports its progress by numbers in this text.
fn reports(name: &str, text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let text = CONTROL_SEQUENCES.replace_all(&text, " ");
    let is_other =
        |found: &str| OTHER_NUMBERS.iter().any(|(of, other, _)| name.starts_with(of) && found.contains(other));
    text.split(['\r', '\n']).any(|line| NUMBERS.is_match(line) && !is_other(line))
}

/// The part of the time from the second report to the last one during which a percentage was shown: a first number alone may
/// be any number, and only the second one shows that it was progress. For each read: its time, whether the program reported
/// something in it, and whether a percentage was shown after it.
fn share_of_reports(reads: &[(i64, bool, bool)]) -> Option<f64> {
    let reporting: Vec<usize> = (0..reads.len()).filter(|at| reads[*at].1).collect();
    let (first, last) = (reporting.get(1).or(reporting.first())?, reporting.last()?);
    let between = &reads[*first..=*last];
    let (start, end) = (between[0].0, between[between.len() - 1].0);
    if start == end {
        return Some(if between.iter().any(|(.., shown)| *shown) { 1.0 } else { 0.0 });
    }
    let shown: i64 = between.windows(2).filter(|two| two[0].2).map(|two| two[1].0 - two[0].0).sum();
    #[expect(clippy::cast_precision_loss, reason = "a recording takes some seconds")]
    let share = shown as f64 / (end - start) as f64;
    Some(share)
}

/// Replays a recording as the pipeline of a source would.
pub(super) fn replay(name: &str) -> Replay {
    let text = fs::read_to_string(directory().join(name)).unwrap();
    let (columns, rows) = if is_kind(name, "pty") { (COLUMNS, ROWS) } else { (PIPE_COLUMNS, PIPE_ROWS) };
    let mut screen = Screen::terminal(10_000, columns, rows);
    let mut tracker = Tracker::new(Vec::new(), false);
    let (mut moments, mut lines, mut exit_code) = (Vec::new(), Vec::new(), 0);
    let (mut last_time, mut shown, mut since, mut falls) = (0, 0, None::<i64>, 0);
    let mut before = None::<f64>;
    let mut reads = Vec::new();
    for read in text.lines() {
        let (millis, bytes) = read.split_once(' ').unwrap();
        if millis == "end" {
            exit_code = bytes.parse().unwrap();
            continue;
        }
        let millis: i64 = millis.parse().unwrap();
        let now = Time(1_000_000_000_000_000 + millis * 1000);
        if screen.unsettled().is_some() && millis - last_time >= SETTLE_MILLIS {
            screen.settle(|line| lines.push(visible(line.text)));
        }
        let bytes: String = serde_json::from_str(bytes).unwrap();
        let bytes: Vec<u8> = bytes.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        screen.push(&bytes, |line| {
            tracker.line(0, after_carriage_return(line.text), now);
            lines.push(visible(line.text));
            moments.push((visible(line.text), tracker.progress().cloned()));
        });
        if let Some(reported) = screen.take_reported_progress() {
            tracker.reported(&reported, now);
        }
        let live = screen.live_rows();
        tracker.open(0, &live, now);
        let live: Vec<_> = live.iter().map(|row| visible(row)).collect();
        moments.push((live.join("\n"), tracker.progress().cloned()));
        let percent = tracker.progress().and_then(|progress| progress.percent);
        shown += since.map_or(0, |since| millis - since);
        since = percent.map(|_| millis);
        reads.push((millis, reports(name, &bytes), percent.is_some()));
        falls += usize::from(percent.zip(before).is_some_and(|(now, before)| now < before - 5.0));
        (before, last_time) = (percent.or(before), millis);
    }
    screen.finish(|line| {
        tracker.line(0, after_carriage_return(line.text), Time(1_000_000_000_000_000 + last_time * 1000));
        lines.push(visible(line.text));
        moments.push((visible(line.text), tracker.progress().cloned()));
    });
    let last = tracker.progress().cloned();
    if let Some(end) = reads.last_mut() {
        end.2 |= last.as_ref().is_some_and(|last| last.percent.is_some());
    }
    #[expect(clippy::cast_precision_loss, reason = "a recording takes some seconds")]
    let share = shown as f64 / last_time.max(1) as f64;
    let share_of_reports = share_of_reports(&reads);
    Replay { moments, lines, share, share_of_reports, falls, last, exit_code }
}

/// A report as a person would write it: state, percent, count, `<phase>`, message.
pub(super) fn said(progress: Option<&Progress>) -> String {
    let Some(progress) = progress else { return "nothing".to_owned() };
    let mut text = format!("{:?}", progress.state).to_lowercase();
    text.extend(progress.percent.map(|percent| format!(" {percent}%")));
    text.extend(progress.current.map(|current| format!(" {current}")));
    text.extend(progress.total.map(|total| format!("/{total}")));
    text.extend(progress.phase.as_ref().map(|phase| format!(" <{phase}>")));
    text.extend(progress.message.as_ref().map(|message| format!(" {message}")));
    text
}

/// The header of `outcomes.tsv`. A percentage is shown during a part of the run, and of the time in which the program reports
/// numbers.
const HEADER: &str = "recording\tof the run\tof the reports\tfalls\tgarbage\texit\tlast progress\tnote";

/// Numbers that are no progress: the recordings whose names begin like this, words in the line, and what they are.
const OTHER_NUMBERS: &[(&str, &str, &str)] = &[
    ("aria2", "NOTICE", "a date"),
    ("aria2", "ERROR", "a date"),
    ("aria2", "/tmp/", "a path"),
    ("ffmpeg", "muxing overhead", "a ratio"),
    ("go_test", "coverage:", "a part of the code"),
    ("pytest_xdist", "workers", "processes that start"),
    ("vitest_fails", "[1/1]", "the number of a failure"),
];

/// Recordings in which a percentage is shown during less than half of the run, by the start of their names, and why.
const LATE: &[(&str, &str)] = &[
    ("alive_progress.pipe", "prints its bar once, at the end"),
    ("ansible", "does not know the number of its tasks"),
    ("apt.pipe", "prints percentages only while it reads its database"),
    ("aria2", "prints its first summary after a second"),
    ("borg_create", "counts files, of an unknown number"),
    ("borg_extract", "reads the archive before its first percentage"),
    ("dd", "counts bytes, of an unknown number"),
    ("ffmpeg.p", "encodes a stream without a length"),
    ("maven", "prints its modules when all but the last are built"),
    ("npm.pty", "shows a spinner"),
    ("phpunit", "prints its first row when half of the tests are done"),
    ("pip.pipe", "prints its bar once, at the end of the download"),
    ("playwright", "starts a browser before its first test"),
    ("pnpm", "counts packages, of an unknown number"),
    ("pv_no_total", "does not know the size"),
    ("pytest", "prints a percentage when a file is done"),
    ("rich_", "prints its bars once, at the end"),
    ("tar", "counts records, of an unknown number"),
    ("tqdm_no_total", "does not know the number"),
    ("vite.pty", "counts chunks, of an unknown number"),
    ("webpack", "starts before its first percentage"),
];

/// What the table says about a recording.
fn note(name: &str, replay: &Replay) -> &'static str {
    let late = LATE.iter().filter(|_| replay.share < 0.5).find(|(of, _)| name.starts_with(of));
    let is_silent = SILENT.contains(&name);
    let not_full = NOT_FULL.iter().find(|(of, _)| *of == name);
    match late.or(not_full) {
        _ if is_silent => "prints nothing about its progress",
        Some((_, note)) => note,
        None => "",
    }
}

/// Successful recordings whose last percentage is below 100, and why. The end of the process completes them.
const NOT_FULL: &[(&str, &str)] = &[
    ("apt.pty", "the bar ends before the triggers are processed"),
    ("badblocks.pipe", "the end is a line without a percentage"),
    ("badblocks.pty", "the end is a line without a percentage"),
    ("borg_extract.pipe", "the end is an erasure"),
    ("borg_extract.pty", "the end is an erasure"),
    ("docker_build.pipe", "the last step has a bar of its own"),
    ("nextest.pty", "the rows of the terminal are erased before the last test is counted"),
    ("webpack.pipe", "the end is a line without a percentage"),
    ("webpack.pty", "the end is a line without a percentage"),
    ("zstd.pty", "the end is a line with a ratio"),
];

/// Recordings in which the program itself repeats a line.
const REPEATS: &[&str] = &["webpack.pipe"];

/// Programs that tell nothing about their progress in this form.
const SILENT: &[&str] = &[
    "aria2_fails.pipe",
    "aria2_fails.pty",
    "cargo.pipe",
    "click_bar.pipe",
    "enlighten.pipe",
    "go_test.pipe",
    "helm.pipe",
    "jest.pipe",
    "jest.pty",
    "jest_fails.pipe",
    "jest_fails.pty",
    "make_fails.pipe",
    "make_fails.pty",
    "npm.pipe",
    "uv.pipe",
    "vite.pipe",
    "vitest.pipe",
    "vitest_fails.pipe",
];

/// The outcome of each recording, as in `outcomes.tsv`. With `RTLOGD_GENERATE=1`, the file is written again.
#[test]
fn each_recording_has_the_outcome_in_the_table() {
    let mut table = HEADER.to_owned() + "\n";
    for name in recordings() {
        let replay = replay(&name);
        let (share, garbage) = (replay.share * 100.0, replay.garbage().len());
        let last = said(replay.last.as_ref());
        let (falls, exit_code) = (replay.falls, replay.exit_code);
        let of_reports = replay.share_of_reports.map_or("none".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let note = note(&name, &replay);
        writeln!(table, "{name}\t{share:.0} %\t{of_reports}\t{falls}\t{garbage}\t{exit_code}\t{last}\t{note}").unwrap();
    }
    let path = directory().join("outcomes.tsv");
    if std::env::var_os("RTLOGD_GENERATE").is_some() {
        fs::write(path, table).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap();
    let differ = table.lines().zip(expected.lines()).filter(|(seen, expected)| seen != expected);
    let differ: Vec<_> = differ.map(|(seen, expected)| format!("{seen}\ninstead of\n{expected}")).collect();
    assert!(differ.is_empty() && table.lines().count() == expected.lines().count(), "{}", differ.join("\n\n"));
}

#[test]
fn each_report_is_shown_and_a_bar_is_full_at_the_end_of_a_success() {
    let mut wrong = Vec::new();
    for name in recordings() {
        let replay = replay(&name);
        let percent = replay.last.as_ref().and_then(|last| last.percent);
        let is_full = percent.is_none_or(|percent| percent >= 100.0);
        if replay.exit_code == 0 && is_full == NOT_FULL.iter().any(|(recording, _)| *recording == name) {
            wrong.push(format!("{name} ends at {percent:?}"));
        }
        let ended = replay.ended().map(|ended| (ended.state, ended.percent));
        let expected = match (&replay.last, replay.exit_code) {
            (None, _) => None,
            (Some(_), 0) => Some((ProgressState::Done, Some(100.0))),
            (Some(last), _) => Some((ProgressState::Error, last.percent)),
        };
        if ended != expected {
            wrong.push(format!("{name} is {ended:?} after its end"));
        }
        if replay.garbage().is_empty() == REPEATS.contains(&name.as_str()) {
            wrong.push(format!("{name} has the lines {:?}", replay.garbage()));
        }
        if replay.share_of_reports.is_some_and(|share| share < 1.0) {
            wrong.push(format!("{name} shows a percentage during {:?} of its reports", replay.share_of_reports));
        }
        if replay.share < 0.5 && note(&name, &replay).is_empty() {
            wrong.push(format!("{name} shows a percentage during {} of the run, and no reason is known", replay.share));
        }
        if replay.last.is_none() != SILENT.contains(&name.as_str()) {
            wrong.push(format!("{name} shows {}", said(replay.last.as_ref())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn at_least_fifty_programs_are_recognised() {
    let shown = recordings().into_iter().filter(|name| !SILENT.contains(&name.as_str()));
    let program = |name: String| name.split('.').next().unwrap().trim_end_matches("_fails").to_owned();
    let programs: std::collections::BTreeSet<_> = shown.map(program).collect();
    assert!(programs.len() >= 60, "{} forms of output", programs.len());
}

/// Recording, words of the line that is read at the moment, and what is said then; in the order of time.
const TABLE: &[(&str, &[(&str, &str)])] = &[
    (
        "cmake.pipe",
        &[
            ("[  3%] Building", "running 3% Building C object CMakeFiles/demo.dir/main.c.o"),
            ("[ 50%] Building", "running 50% Building C object CMakeFiles/demo.dir/part12.c.o"),
            ("[100%] Linking", "running 100% Linking C executable demo"),
            ("[100%] Built", "running 100% Built target demo"),
        ],
    ),
    (
        "cmake.pty",
        &[
            ("[ 46%]", "running 46% Building C object CMakeFiles/demo.dir/part11.c.o"),
            ("[100%]", "running 100% Linking C executable demo"),
        ],
    ),
    (
        "ninja.pipe",
        &[
            ("Entering directory", "nothing"),
            ("[1/26]", "running 3.8% 1/26 Building C object CMakeFiles/demo.dir/part2.c.o"),
            ("[13/26]", "running 50% 13/26 Building C object CMakeFiles/demo.dir/part12.c.o"),
            ("[26/26]", "running 100% 26/26 Linking C executable demo"),
        ],
    ),
    (
        "ninja.pty",
        &[
            ("[0/26]", "running 0% 0/26 Building C object CMakeFiles/demo.dir/main.c.o"),
            ("[4/26]", "running 15.4% 4/26 Building C object CMakeFiles/demo.dir/part3.c.o"),
            ("[26/26]", "running 100% 26/26 Linking C executable demo"),
        ],
    ),
    (
        "ninja_fails.pipe",
        &[
            ("[8/26]", "running 30.8% 8/26 Building C object CMakeFiles/demo.dir/part7.c.o"),
            ("error: unknown type name", "running 30.8% 8/26 Building C object CMakeFiles/demo.dir/part7.c.o"),
            ("build stopped", "error 38.5% 10/26 ninja: build stopped: subcommand failed."),
        ],
    ),
    ("ninja_fails.pty", &[("build stopped", "error 34.6% 9/26 ninja: build stopped: subcommand failed.")]),
    (
        "git.pipe",
        &[
            ("Enumerating objects", "nothing"),
            ("Counting objects: 100%", "running 100% 2002/2002 <remote: Counting objects>"),
            ("Compressing objects:  76%", "running 76% 1514/1992 <remote: Compressing objects>"),
            ("Receiving objects:  51%", "running 51% 1022/2002 <Receiving objects>"),
        ],
    ),
    (
        "git.pty",
        &[
            ("Enumerating objects", "nothing"),
            ("Receiving objects:  54%", "running 54% 1082/2002 <Receiving objects>"),
            ("Updating files:  61%", "running 61% 1220/2000 <Updating files>"),
        ],
    ),
    // Into a pipe Cargo does not say how much there is.
    ("cargo.pipe", &[("Compiling", "nothing"), ("Finished", "nothing")]),
    (
        "cargo.pty",
        &[
            ("Compiling", "nothing"),
            ("Building", "running 0% 0/13 <Building> part4, part5"),
            ("4/13", "running 30.8% 4/13 <Building> part8, part11"),
            ("12/13", "running 92.3% 12/13 <Building> demo(bin)"),
        ],
    ),
    ("pip.pipe", &[("Downloading", "nothing"), ("━━━", "running 100% 3000000/3000000 1.3 MB/s eta 0:00:00")]),
    (
        "pip.pty",
        &[
            ("Downloading", "nothing"),
            ("0.0/3.0 MB", "running 0% 0/3000000 ? eta -:--:--"),
            ("1.5/3.0 MB", "running 50% 1500000/3000000 1.5 MB/s eta 0:00:01"),
        ],
    ),
    ("npm.pipe", &[("added 2 packages", "nothing")]),
    ("npm.pty", &[("⠙", "indeterminate"), ("⠼", "indeterminate")]),
    ("apt.pipe", &[("Reading package lists...", "nothing"), ("... 55%", "running 55% <Reading database>")]),
    (
        "apt.pty",
        &[
            ("lists... 34%", "running 34% <Reading package lists>"),
            ("tree... 50%", "running 50% <Building dependency tree>"),
            ("database ... 60%", "running 60% <Reading database>"),
            ("Progress: [ 40%]", "running 40% Unpacking hello (2.10-3) ..."),
            ("Progress: [ 60%]", "running 60% Setting up hello (2.10-3) ..."),
        ],
    ),
    (
        "rsync.pipe",
        &[
            ("a.bin", "nothing"),
            ("32,768", "running 1% 32768 0.00kB/s"),
            ("55%", "running 55% 1671168 1.56MB/s"),
            ("100%", "running 100% 3000000 1.51MB/s"),
        ],
    ),
    ("rsync.pty", &[("100%", "running 100% 3000000 1.55MB/s")]),
    (
        "wget.pipe",
        &[
            ("Saving to", "nothing"),
            ("450K", "running 17% 228M"),
            ("2050K", "running 71% 465K"),
            ("2900K", "running 100% 423M"),
            ("saved", "running 100% 423M"),
        ],
    ),
    ("wget.pty", &[("awaiting", "nothing"), ("0%[ ", "running 0% </tmp/x/x>"), ("45%[===", "running 45% </tmp/x/x>")]),
    (
        "curl.pipe",
        &[
            ("% Total", "nothing"),
            ("--:--:--     0", "indeterminate 0B/s"),
            (" 25 2929k", "running 25% 732000/2929000 1575kB/s"),
            ("100 2929k", "running 100% 2929000/2929000 1376kB/s"),
        ],
    ),
    ("curl.pty", &[(" 55 2929k", "running 55% 1611000/2929000 1312kB/s")]),
    ("curl_bar.pipe", &[("10.0%", "running 10%"), ("55.0%", "running 55%"), ("100.0%", "running 100%")]),
    ("curl_bar.pty", &[("35.0%", "running 35%"), ("100.0%", "running 100%")]),
    (
        "dd.pipe",
        &[
            ("2008192 bytes", "indeterminate 2008192 2.0 MB/s"),
            ("4008192 bytes", "indeterminate 4008192 2.0 MB/s"),
            ("records in", "indeterminate 4008192 2.0 MB/s"),
            ("5000000 bytes", "indeterminate 5000000 2.0 MB/s"),
        ],
    ),
    ("dd.pty", &[("5000000 bytes", "indeterminate 5000000 1.9 MB/s")]),
    (
        "tqdm.pipe",
        &[
            ("  0%|", "running 0% 0/40 <Training> 00:00<?, ?it/s"),
            (" 45%|", "running 45% 18/40 <Training> 00:00<00:01, 19.58it/s"),
        ],
    ),
    ("tqdm.pty", &[(" 55%|", "running 55% 22/40 <Training> 00:01<00:00, 19.48it/s")]),
    ("ffmpeg.pipe", &[("Output #0", "nothing"), ("size=", "indeterminate speed N/A")]),
    ("ffmpeg.pty", &[("Output #0", "nothing"), ("size=", "indeterminate speed N/A")]),
    ("ffmpeg_file.pipe", &[("Duration", "nothing"), ("258kB time=00:00:03.00", "running 100% speed 0.998x")]),
    (
        "ffmpeg_file.pty",
        &[
            ("00:00:01.02", "running 34% speed 1.01x"),
            ("00:00:02.04", "running 68% speed 1.01x"),
            ("00:00:03.00", "running 100% speed 0.997x"),
        ],
    ),
    (
        "pytest.pipe",
        &[
            ("collected 24 items", "nothing"),
            ("[ 33%]", "running 33%"),
            ("[ 66%]", "running 66%"),
            ("24 passed", "done 100% 24 passed"),
        ],
    ),
    ("pytest.pty", &[("[ 66%]", "running 66%"), ("24 passed", "done 100% 24 passed")]),
    ("pytest_fails.pipe", &[("1 failed", "error 100% 1 failed, 24 passed")]),
    ("pytest_fails.pty", &[("[ 32%]", "running 32%"), ("1 failed", "error 100% 1 failed, 24 passed")]),
    (
        "docker.pipe",
        &[
            ("Pulling from", "indeterminate Pulling library/demo"),
            ("a3ed95caeb02: Pulling fs layer", "running 0% 0/1 <Pulling fs layer>"),
            ("5c1e7f2ab964: Pulling fs layer", "running 0% 0/3 <Pulling fs layer>"),
            ("5c1e7f2ab964: Download complete", "running 50% 0/3 <Download complete>"),
            ("0f9b5b8a1c3d: Pull complete", "running 83.3% 2/3 <Pull complete>"),
            ("5c1e7f2ab964: Pull complete", "running 100% 3/3 <Pull complete>"),
        ],
    ),
    (
        "docker.pty",
        &[
            ("0f9b5b8a1c3d: Downloading [=========> ", "running 20% 0/3 <Downloading>"),
            ("5c1e7f2ab964: Pull complete", "running 100% 3/3 <Pull complete>"),
        ],
    ),
];

#[test]
fn each_moment_of_a_recording_shows_the_progress_a_person_would_see() {
    let mut wrong = Vec::new();
    for (recording, rows) in TABLE {
        let moments = replay(recording).moments;
        let mut from = 0;
        for (words, expected) in *rows {
            match moments[from..].iter().position(|(text, _)| text.contains(words)) {
                Some(at) => {
                    from += at;
                    let seen = said(moments[from].1.as_ref());
                    if seen != *expected {
                        wrong.push(format!("{recording} at {words:?}: {seen:?} instead of {expected:?}"));
                    }
                }
                None => wrong.push(format!("{recording}: {words:?} is not in it behind moment {from}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
