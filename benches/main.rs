//! How fast rtlogd is, beside the floor: an epoll server that only sends. Both run in turn, each as its own process, and
//! every line is verified. All cases take about ten minutes; `cargo bench --bench streams -- --help` tells the options.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]
#![expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use report::{Bound, Figures, Target};
use server::{Feed, Server};

mod feeder;
mod floor;
mod decode;
mod readers;
mod server;
mod run;
mod report;
mod staging;
mod settings;
mod many;

/// A result whose error is only printed.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// One line of the table in PERFORMANCE.
struct Case {
    name: &'static str,
    work: Work,
    readers: usize,
    seconds: u64,
    /// How far apart the floor's wakes are, in milliseconds; 0 is a wake for each line.
    pacing: u64,
    targets: &'static [Target],
}

#[derive(Clone, Copy)]
enum Work {
    CatchUp,
    /// The same, from a history on disk.
    CatchUpRecorded,
    /// Lines a second.
    Live(u64),
    /// The same, and each is recorded before it is shown.
    LiveRecorded(u64),
    Idle,
}

/// A case that compares rtlogd with itself, or with nothing.
#[derive(Clone, Copy)]
enum Other {
    Staging,
    Redaction,
    Compression,
    Many,
}

impl Other {
    const ALL: [(&'static str, Self); 4] =
        [("staging", Self::Staging), ("redact", Self::Redaction), ("gzip", Self::Compression), ("many", Self::Many)];

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, other)| other)
    }
}

/// How often each server sends the whole file in one run: CPU time is counted in ticks of 10 ms, one pass has few.
const PASSES: u32 = 4;
/// Files, one for each reader, and some more.
const DESCRIPTORS: u64 = 40_000;

const HELP: &str = "usage: cargo bench --bench streams -- [CASE...] [OPTION...]
cases: catchup disk live1000 live100 recorded100 latency recorded idle staging redact gzip many; all of them if none is named
  --seconds N    how long a live or idle run takes
  --pairs N      how often the floor and rtlogd run in turn (2)
  --readers N    instead of the case's own number, for example 10000
  --lines N      how many lines the file for catchup has (2000000)
  --pacing MS    the pace of the floor, instead of the case's own
  --only WHICH   floor or rtlogd
  --server PATH  another rtlogd than the one that was just built";

const COMPLETE: Target =
    Target { what: "lines lost, doubled or strange", bound: Bound::AtMost(0.0), figure: |rtlogd, _| rtlogd.wrong() };

const PEAK: Target = Target { what: "peak MB", bound: Bound::AtMost(25.0), figure: |rtlogd, _| rtlogd.peak_mb() };

const CASES: [Case; 8] = [
    Case {
        name: "catchup",
        work: Work::CatchUp,
        readers: 1,
        seconds: 0,
        pacing: 0,
        targets: &[rate_of_floor(0.6), COMPLETE],
    },
    Case {
        name: "disk",
        work: Work::CatchUpRecorded,
        readers: 1,
        seconds: 0,
        pacing: 0,
        targets: &[rate_of_floor(0.4), COMPLETE],
    },
    Case {
        name: "live1000",
        work: Work::Live(1000),
        readers: 1000,
        seconds: 6,
        pacing: 20,
        targets: &[cpu_of_floor(1.3), p99_at_most(40.0), PEAK, COMPLETE],
    },
    Case {
        name: "live100",
        work: Work::Live(1000),
        readers: 100,
        seconds: 6,
        pacing: 20,
        targets: &[cpu_of_floor(1.6), COMPLETE],
    },
    Case {
        name: "recorded100",
        work: Work::LiveRecorded(1000),
        readers: 100,
        seconds: 6,
        pacing: 20,
        targets: &[cpu_of_floor(2.0), COMPLETE],
    },
    Case {
        name: "latency",
        work: Work::Live(100),
        readers: 1,
        seconds: 10,
        pacing: 0,
        targets: &[cpu_of_floor(2.0), switches_at_most(3.0), p50_of_floor(1.5), COMPLETE],
    },
    Case {
        name: "recorded",
        work: Work::LiveRecorded(100),
        readers: 1,
        seconds: 10,
        pacing: 0,
        targets: &[switches_at_most(5.0), COMPLETE],
    },
    Case {
        name: "idle",
        work: Work::Idle,
        readers: 1000,
        seconds: 8,
        pacing: 20,
        targets: &[
            Target { what: "KiB/reader", bound: Bound::AtMost(12.0), figure: |rtlogd, _| rtlogd.kib_per_reader() },
            Target { what: "quiet CPU %", bound: Bound::AtMost(0.1), figure: |rtlogd, _| rtlogd.quiet_percent() },
        ],
    },
];

/// The rate of a catch-up as a part of the floor's.
const fn rate_of_floor(bound: f64) -> Target {
    Target {
        what: "lines/s, of the floor's",
        bound: Bound::AtLeast(bound),
        figure: |rtlogd, floor| rtlogd.rate() / floor.rate(),
    }
}

/// The CPU time per line as a multiple of the floor's.
const fn cpu_of_floor(bound: f64) -> Target {
    Target {
        what: "CPU, of the floor's",
        bound: Bound::AtMost(bound),
        figure: |rtlogd, floor| rtlogd.cpu_per_million() / floor.cpu_per_million(),
    }
}

/// The median latency as a multiple of the floor's.
const fn p50_of_floor(bound: f64) -> Target {
    Target {
        what: "p50, of the floor's",
        bound: Bound::AtMost(bound),
        figure: |rtlogd, floor| rtlogd.latency.quantile(0.5) / floor.latency.quantile(0.5),
    }
}

const fn switches_at_most(bound: f64) -> Target {
    Target { what: "switches/line", bound: Bound::AtMost(bound), figure: |rtlogd, _| rtlogd.switches_per_line() }
}

const fn p99_at_most(bound: f64) -> Target {
    Target { what: "p99 ms", bound: Bound::AtMost(bound), figure: |rtlogd, _| rtlogd.latency.quantile(0.99) }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((role, rest)) if role == "feeder" => feeder::run(rest),
        Some((role, rest)) if role == "floor" => floor::run(rest),
        _ => measure(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
struct Options {
    cases: Vec<&'static Case>,
    /// The cases without a floor.
    others: Vec<Other>,
    seconds: Option<u64>,
    pairs: u32,
    readers: Option<usize>,
    lines: u64,
    pacing: Option<u64>,
    floor: bool,
    rtlogd: bool,
    program: PathBuf,
}

impl Options {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self {
            cases: Vec::new(),
            others: Vec::new(),
            seconds: None,
            pairs: 2,
            readers: None,
            lines: 2_000_000,
            pacing: None,
            floor: true,
            rtlogd: true,
            program: PathBuf::from(env!("CARGO_BIN_EXE_rtlogd")),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{HELP}"));
            match argument.as_str() {
                "--bench" => (), // from cargo
                "--seconds" => options.seconds = Some(value()?.parse::<u64>()?.max(1)),
                "--pairs" => options.pairs = value()?.parse()?,
                "--readers" => options.readers = Some(value()?.parse::<usize>()?.max(1)),
                "--lines" => options.lines = value()?.parse::<u64>()?.max(1),
                "--pacing" => options.pacing = Some(value()?.parse()?),
                "--only" => {
                    let which = value()?;
                    (options.floor, options.rtlogd) = (which == "floor", which == "rtlogd");
                }
                "--server" => options.program = std::path::absolute(value()?)?,
                name => match CASES.iter().find(|case| case.name == name) {
                    Some(case) => options.cases.push(case),
                    None => options.others.push(Other::of_name(name).ok_or(HELP)?),
                },
            }
        }
        if options.cases.is_empty() && options.others.is_empty() {
            options.cases = CASES.iter().collect();
            options.others = Other::ALL.map(|(_, other)| other).to_vec();
        }
        Ok(options)
    }
}

fn measure(arguments: &[String]) -> Outcome<()> {
    decode::self_check();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("only checked our own decoder; `cargo bench` measures");
        return Ok(());
    }
    let options = Options::read(arguments)?;
    raise_descriptors()?;
    let mut failed = 0;
    for case in &options.cases {
        failed += compare(case, &options)?;
    }
    for other in &options.others {
        failed += match other {
            Other::Staging => staging::compare(&options.program, options.pairs, options.lines)?,
            Other::Redaction => settings::compare_redaction(&options.program, options.pairs, options.lines)?,
            Other::Compression => settings::compare_compression(&options.program, options.pairs)?,
            Other::Many => many::run(&options.program).map(|()| 0)?,
        };
    }
    if failed > 0 { Err(format!("{failed} runs failed").into()) } else { Ok(()) }
}

/// For ourselves and the servers, which inherit it: as much as is needed, or as is allowed.
fn raise_descriptors() -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.max(DESCRIPTORS));
    let wanted = Rlimit { current: Some(DESCRIPTORS), maximum: Some(most) };
    let allowed = Rlimit { current: limit.maximum, maximum: limit.maximum };
    Ok(setrlimit(Resource::Nofile, wanted).or_else(|_| setrlimit(Resource::Nofile, allowed))?)
}

/// Runs floor and rtlogd in turn and prints what they did; returns how many runs failed.
fn compare(case: &Case, options: &Options) -> Outcome<u32> {
    let directory = tempfile::tempdir()?;
    let seconds = options.seconds.unwrap_or(case.seconds);
    let readers = options.readers.unwrap_or(case.readers);
    let (what, feed) = match case.work {
        Work::CatchUp | Work::CatchUpRecorded => {
            let recorded = matches!(case.work, Work::CatchUpRecorded);
            let (path, lines) = (directory.path().join("big.log"), options.lines);
            feeder::write_file(&path, lines)?;
            (format!("{PASSES} times {lines} lines from a file"), Feed::File { path, lines, recorded })
        }
        Work::Live(rate) | Work::LiveRecorded(rate) => {
            let recorded = matches!(case.work, Work::LiveRecorded(_));
            (format!("{rate} lines/s for {seconds} s"), Feed::Live { rate, lines: rate * seconds, recorded })
        }
        Work::Idle => (format!("nothing for {seconds} s"), Feed::Live { rate: 1, lines: 1, recorded: false }),
    };
    let pacing = Duration::from_millis(options.pacing.unwrap_or(case.pacing));
    println!("\n{}: {readers} readers, {what}; floor at {pacing:?}\n{}", case.name, report::heading());
    let (mut floor, mut rtlogd, mut failed) = (Figures::default(), Figures::default(), 0);
    for _ in 0..options.pairs {
        if options.floor {
            let server = Server::floor(&feed, pacing);
            failed += note("floor", &mut floor, once(case.work, server, readers, seconds, &feed));
        }
        if options.rtlogd {
            let server = Server::rtlogd(&feed, &Value::Null, &options.program);
            failed += note("rtlogd", &mut rtlogd, once(case.work, server, readers, seconds, &feed));
        }
    }
    if options.floor && options.rtlogd && failed == 0 {
        println!("{}", report::ratio(&rtlogd, &floor));
        case.targets.iter().for_each(|target| println!("  {}", target.judge(&rtlogd, &floor)));
    }
    Ok(failed)
}

/// One run of a server, which is ended after it.
fn once(work: Work, server: Outcome<Server>, readers: usize, seconds: u64, feed: &Feed) -> Outcome<Figures> {
    let mut server = server?;
    let outcome = match (work, feed) {
        (Work::Idle, _) => run::idle(&server, readers, seconds),
        (_, Feed::Live { rate, lines, .. }) => run::live(&server, readers, *rate, *lines, false),
        (_, Feed::Process { .. }) => Err("no reader waits for a command".into()),
        (_, Feed::File { lines, .. }) => run::catch_up(&server, readers, *lines, PASSES),
    };
    outcome.map_err(|error| format!("{error}; the server: {}", server.last_words()).into())
}

/// Prints a run and adds it to the others of its server; returns 1 if it failed.
fn note(name: &str, sum: &mut Figures, outcome: Outcome<Figures>) -> u32 {
    match outcome {
        Ok(figures) => {
            println!("{}", report::row(name, &figures));
            sum.add(&figures);
            0
        }
        Err(error) => {
            println!("{name:10}failed: {error}");
            1
        }
    }
}
