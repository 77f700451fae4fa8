//! What is streamed: numbered, stamped lines of one length, at a rate or into a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::getppid;

use crate::Outcome;

/// Length of a line on its way, in bytes, with its newline.
const LINE: usize = 120;
/// Digits of a line's number, then of its time stamp: nanoseconds since 1970 have 19 until the year 2286.
const NUMBER: usize = 9;
const STAMP: usize = 19;
/// Both and the space after each.
const FRONT: usize = NUMBER + 1 + STAMP + 1;
/// Fills the line up. Not a repeated letter, but as even as most logs, so that nothing gains by compressing it.
const PADDING: &[u8; LINE - FRONT - 1] =
    b"GET /api/v2/projects/4711/builds?state=running&page=3 HTTP/1.1 200 5316 builder-07 ok ...";
/// How long a feeder outlives its work at most: it is killed with its server, this is for when that fails.
const LIFETIME: Duration = Duration::from_mins(3);
/// How often a waiting feeder looks up.
const LOOK: Duration = Duration::from_millis(20);

/// The two facts in a line.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// Counts up from zero.
    pub(crate) number: u64,
    /// Nanoseconds since 1970.
    pub(crate) sent: u64,
}

impl Line {
    /// Appends the line with its newline.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let Self { number, sent } = self;
        write!(out, "{number:0NUMBER$} {sent:0STAMP$} ").expect("a Vec takes all");
        out.extend_from_slice(PADDING);
        out.push(b'\n');
    }

    /// The facts of a line without its newline; `None` if one byte of it is not as it was written.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let (front, padding) = text.split_at_checked(FRONT)?;
        let whole = padding == PADDING && front[NUMBER] == b' ' && front[FRONT - 1] == b' ';
        let (number, sent) = (digits(&front[..NUMBER])?, digits(&front[NUMBER + 1..FRONT - 1])?);
        whole.then_some(Self { number, sent })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    let (mut value, mut wrong) = (0_u64, false);
    for digit in text {
        let digit = digit.wrapping_sub(b'0');
        wrong |= digit > 9;
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (!wrong).then_some(value)
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_nanos()).expect("before the year 2554")
}

/// Writes a file of so many lines.
pub(crate) fn write_file(path: &Path, lines: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = Vec::with_capacity(LINE);
    for number in 0..lines {
        line.clear();
        Line { number, sent: now() }.write(&mut line);
        file.write_all(&line)?;
    }
    file.flush()
}

/// The subcommand `feeder RATE LINES TRIGGER`: once the file TRIGGER is there, prints LINES lines, RATE a second; then
/// stays until its parent ends it, since an end would be one more event to deliver.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let [rate, lines, trigger] = arguments else { return Err("usage: feeder RATE LINES TRIGGER".into()) };
    let (rate, lines): (u64, u64) = (rate.parse()?, lines.parse()?);
    let (parent, born) = (getppid(), Instant::now());
    let alone = || getppid() != parent || born.elapsed() > LIFETIME;
    while !Path::new(trigger).exists() {
        if alone() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    feed(rate.max(1), lines)?;
    while !alone() {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Prints each line when it is due, those that are overdue together; the stamp is the moment of writing.
fn feed(rate: u64, lines: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (start, mut number, mut batch) = (Instant::now(), 0, Vec::new());
    while number < lines {
        let due = Duration::from_nanos(1_000_000_000 / rate) * u32::try_from(number).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let until = (elapsed.saturating_mul(rate) / 1_000_000 + 1).clamp(number + 1, lines);
        let sent = now();
        batch.clear();
        (number..until).for_each(|number| Line { number, sent }.write(&mut batch));
        out.write_all(&batch)?;
        out.flush()?;
        number = until;
    }
    Ok(())
}
