//! The instructions that the hot paths execute for one line, counted by callgrind and compared with `counts.tsv`.
//!
//! `tests/check --counts` runs it. A count is that of many lines minus that of few, so that the start of the program and
//! the first allocations do not matter. It depends on the compiler, but neither on the machine's load nor on its speed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what a benchmark is for")]
#![expect(clippy::cast_precision_loss, reason = "a count is shown with one decimal")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rtlogd::event::{Epoch, Flags, Origin, Position, Time};
use rtlogd::line::{CarriageReturnMode, LineSplitter, Redactor, Screen};
use rtlogd::stream::{self, Ansi, Batch, Budget, CursorEnd, CursorItem, CursorStart, Filter, Log, View};
use rtlogd::wire::{SseData, WireFormat};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PLAIN: &str =
    "2026-11-28T10:00:00.123456Z INFO builder-07: compiled src/source/process/supervisor.rs in 1.25 s, 311 of 742 done";
const COLOURED: &str = "\x1b[2m2026-11-28T10:00:00.123456Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[1mbuilder-07\x1b[0m: compiled \x1b[36msrc/main.rs\x1b[0m in 1.25 s";

/// The longest line, in bytes, as it is by default.
const MAX_LINE: usize = 256 << 10;
/// The lines of one batch, and of one read.
const BATCH: usize = 50;
/// The memory of a log that keeps all lines, in bytes.
const MEMORY: usize = 256 << 20;

/// The numbers of lines whose counts are subtracted.
const FEW: usize = 1_000;
const MANY: usize = 11_000;

/// The part of a count by which it may exceed that of the table.
const TOLERANCE: f64 = 0.02;

/// What is done with this many lines.
type HotPath = fn(usize);

const HOT_PATHS: [(&str, HotPath); 9] = [
    ("split", |lines| split(LineSplitter::new(MAX_LINE, CarriageReturnMode::Keep), lines)),
    ("screen", |lines| draw(PLAIN, lines)),
    ("screen, coloured", |lines| draw(COLOURED, lines)),
    ("redact", redact),
    ("append", |lines| drop(append(lines))),
    ("append, encode", |lines| read(lines, &[], 1)),
    ("append, encode, read by ten", |lines| read(lines, &[], 10)),
    ("append, filter that passes", |lines| read(lines, &["compiled .* done"], 1)),
    ("append, filter that drops", |lines| read(lines, &["failed"], 1)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [flag, name, lines] if flag == "--run" => run(name, lines),
        [flag, ..] if flag == "--bench" => compare(),
        _ => {
            println!("callgrind is needed: tests/check --counts");
            Ok(true)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, lines: &str) -> Outcome<bool> {
    let (_, path) = HOT_PATHS.iter().find(|(known, _)| *known == name).ok_or("this is no hot path")?;
    path(lines.parse()?);
    Ok(true)
}

/// Counts all hot paths, prints the counts beside those of the table, and writes the new table to `target`. Returns whether
/// none is higher.
fn compare() -> Outcome<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (committed, written) = (root.join("benches/counts.tsv"), root.join("target/counts.tsv"));
    let text = fs::read_to_string(&committed).unwrap_or_default();
    let before =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t')?.parse::<f64>().ok());
    let toolchain = compiler()?;
    if !text.starts_with(&format!("# {toolchain}\n")) {
        println!("the table was made with another compiler; this one is {toolchain}");
    }
    let mut table = format!("# {toolchain}\n# instructions per line\n");
    let mut is_good = true;
    println!("{:32}{:>14}{:>14}", "instructions per line", "now", "table");
    for (name, _) in HOT_PATHS {
        let count = (instructions(name, MANY)? as f64 - instructions(name, FEW)? as f64) / (MANY - FEW) as f64;
        writeln!(table, "{name}\t{count:.1}")?;
        let known = before(name);
        let is_higher = known.is_none_or(|known| count > known * (1.0 + TOLERANCE));
        is_good &= !is_higher;
        let known = known.map_or_else(|| "-".to_owned(), |known| format!("{known:.1}"));
        println!("{name:32}{count:>14.1}{known:>14}{}", if is_higher { "  HIGHER" } else { "" });
    }
    fs::write(&written, table)?;
    if !is_good {
        println!("if this is wanted: cp target/counts.tsv benches/counts.tsv");
    }
    Ok(is_good)
}

fn compiler() -> Outcome<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The instructions of this program for a hot path, as callgrind counts them.
fn instructions(name: &str, lines: usize) -> Outcome<u64> {
    let program: PathBuf = std::env::current_exe()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = command.args(["--run", name, &lines.to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind failed: {text}").into())
}

/// Reads of whole lines.
fn chunks(line: &str, lines: usize) -> impl Iterator<Item = Vec<u8>> {
    let chunk = format!("{line}\n").repeat(BATCH).into_bytes();
    std::iter::repeat_n(chunk, lines / BATCH)
}

fn split(mut splitter: LineSplitter, lines: usize) {
    for chunk in chunks(PLAIN, lines) {
        splitter.push(&chunk, |line| {
            black_box(line);
        });
    }
}

fn draw(line: &str, lines: usize) {
    let mut screen = Screen::terminal(MAX_LINE, 80, 24);
    for chunk in chunks(line, lines) {
        screen.push(&chunk, |line| {
            black_box(line);
        });
    }
}

fn redact(lines: usize) {
    let (mut redactor, longest) = Redactor::new(Vec::new(), MAX_LINE);
    let mut splitter = LineSplitter::new(longest, CarriageReturnMode::Keep);
    for chunk in chunks(PLAIN, lines) {
        splitter.push(&chunk, |line| {
            redactor.redact_line(line, MAX_LINE, &mut |line| {
                black_box(line);
            });
        });
    }
}

/// A log with this many lines, and the runtime in which it was written.
fn append(lines: usize) -> (Runtime, Log) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("the system permits it");
    let last = Position { epoch: Epoch::ephemeral(1, 1), number: 0 };
    let name = "counts".parse().expect("it is a name");
    let (mut appender, log) = stream::open(name, last, MEMORY, &Budget::new(MEMORY));
    let origin = Origin::stdout();
    for number in 0..lines / BATCH {
        let mut batch = Batch::new();
        let time = Time::default().plus(Duration::from_millis(number as u64));
        for _ in 0..BATCH {
            batch.line(time, &origin, Flags::NONE, PLAIN.as_bytes());
        }
        runtime.block_on(appender.append(&mut batch));
    }
    (runtime, log)
}

/// Appends the lines, and lets readers of one view read them.
fn read(lines: usize, grep: &[&str], readers: usize) {
    let (runtime, log) = append(lines);
    let grep: Vec<String> = grep.iter().map(ToString::to_string).collect();
    let filter = Filter::new(&grep, &[], Vec::new(), MEMORY).expect("it is an expression");
    let view = View { wire_format: WireFormat::Sse(SseData::Text), filter, several: false, ansi: Ansi::Keep };
    let end = CursorEnd { head: true, ..CursorEnd::default() };
    runtime.block_on(async {
        let mut cursors = Vec::new();
        for _ in 0..readers {
            cursors.push(log.cursor(view.clone(), CursorStart::Oldest, end).await);
        }
        // The readers go on side by side, as those of a live stream do.
        while !cursors.is_empty() {
            let mut left = Vec::new();
            for mut cursor in cursors {
                if let Some(item) = cursor.next(Instant::now() + Duration::from_secs(1)).await {
                    if let CursorItem::Frames(frames) = item {
                        black_box(frames);
                    }
                    left.push(cursor);
                }
            }
            cursors = left;
        }
    });
}
