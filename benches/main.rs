//! How fast rtlogd is, beside the floor: an epoll server that only sends. Both run in turn, each as its own process, and
//! every line is verified. All cases take about three minutes; `cargo bench --bench streams -- --help` tells the options.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]
#![expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// How often each server sends the whole file in one run: CPU time is counted in ticks of 10 ms, one pass has few.
const PASSES: u32 = 4;
/// Files, one for each reader, and some more.
const DESCRIPTORS: u64 = 40_000;

const HELP: &str = "usage: cargo bench --bench streams -- [CASE...] [OPTION...]
cases: catchup disk live1000 live100 latency recorded idle staging; all of them if none is named
  --seconds N    length of a live or idle run
  --pairs N      how often floor and rtlogd run in turn (2)
  --readers N    instead of the case's own number, for example 10000
  --lines N      lines of the file for catchup (2000000)
  --pacing MS    of the floor, instead of the case's own
  --only WHICH   floor or rtlogd
  --server PATH  another rtlogd than the one just built";

const COMPLETE: Target =
    Target { what: "lines lost, doubled or strange", bound: Bound::AtMost(0.0), figure: |rtlogd, _| rtlogd.wrong() };

/// However far back a reader begins.
const CATCH_UP: &[Target] = &[
    Target { what: "lines/s", bound: Bound::AtLeast(3e6), figure: |rtlogd, _| rtlogd.rate() },
    cpu_at_most(0.3),
    COMPLETE,
];

/// Of a lone line.
const LATENCY: &[Target] = &[
    Target { what: "p50 ms", bound: Bound::AtMost(0.3), figure: |rtlogd, _| rtlogd.latency.quantile(0.5) },
    p99_at_most(1.0),
    COMPLETE,
];

const CASES: [Case; 7] = [
    Case { name: "catchup", work: Work::CatchUp, readers: 1, seconds: 0, pacing: 0, targets: CATCH_UP },
    Case { name: "disk", work: Work::CatchUpRecorded, readers: 1, seconds: 0, pacing: 0, targets: CATCH_UP },
    Case {
        name: "live1000",
        work: Work::Live(1000),
        readers: 1000,
        seconds: 6,
        pacing: 20,
        targets: &[
            Target {
                what: "CPU of the floor's",
                bound: Bound::AtMost(1.3),
                figure: |rtlogd, floor| rtlogd.cpu_per_million() / floor.cpu_per_million(),
            },
            p99_at_most(40.0),
            Target { what: "peak MB", bound: Bound::AtMost(25.0), figure: |rtlogd, _| rtlogd.peak_mb() },
            COMPLETE,
        ],
    },
    Case {
        name: "live100",
        work: Work::Live(1000),
        readers: 100,
        seconds: 6,
        pacing: 20,
        targets: &[cpu_at_most(0.6), p99_at_most(25.0), COMPLETE],
    },
    Case { name: "latency", work: Work::Live(100), readers: 1, seconds: 10, pacing: 0, targets: LATENCY },
    Case { name: "recorded", work: Work::LiveRecorded(100), readers: 1, seconds: 10, pacing: 0, targets: LATENCY },
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

const fn cpu_at_most(bound: f64) -> Target {
    Target { what: "CPU-s/M", bound: Bound::AtMost(bound), figure: |rtlogd, _| rtlogd.cpu_per_million() }
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
    staging: bool,
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
            staging: false,
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
                "staging" => options.staging = true,
                name => match CASES.iter().find(|case| case.name == name) {
                    Some(case) => options.cases.push(case),
                    None => return Err(HELP.into()),
                },
            }
        }
        if options.cases.is_empty() && !options.staging {
            options.cases = CASES.iter().collect();
            options.staging = true;
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
    if options.staging {
        failed += staging::compare(&options.program, options.pairs, options.lines)?;
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
            let server = Server::rtlogd(&feed, &options.program);
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
        (_, Feed::Live { rate, lines, .. }) => run::live(&server, readers, *rate, *lines),
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
