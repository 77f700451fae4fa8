//! One run of one server: what each kind of work does, and what is read off before and after.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::readers::Readers;
use crate::report::Figures;
use crate::server::Server;

/// How long after its last line a live feed may still be on its way: a server further behind has failed.
const BEHIND: Duration = Duration::from_secs(10);
/// How long one reader may take for a whole file.
const PASS: Duration = Duration::from_mins(1);
/// Readers that come and go before memory is weighed, so that code read in for the first one is not counted as theirs.
const FIRST: usize = 20;
/// Memory is weighed for more readers than these.
const FEW: usize = 100;
/// What is given to a server to settle before its memory is read.
const SETTLE: Duration = Duration::from_millis(300);
/// Idleness is looked at in pieces of this length, and those with a keep-alive are left out.
const PIECE: Duration = Duration::from_millis(250);

/// The whole file, again and again by a new reader.
pub(crate) fn catch_up(server: &Server, readers: usize, lines: u64, passes: u32) -> Outcome<Figures> {
    let read_in = server.read_in()?;
    let mut figures = Figures::default();
    let before = server.cpu()?;
    for _ in 0..passes {
        let start = Instant::now();
        let mut all = Readers::connect(server.address, server.target, readers, lines, false, false)?;
        all.until(start + PASS, Readers::all_finished)?;
        figures.wall += start.elapsed();
        count(&mut figures, &all, readers, lines);
    }
    figures.cpu = server.cpu()?.saturating_sub(before);
    figures.peak = server.memory()?.1;
    if !read_in.is_zero() {
        figures.note = format!("read in at {:.1} M lines/s", lines as f64 / read_in.as_secs_f64() / 1e6);
    }
    Ok(figures)
}

/// Readers that wait, for compressed answers if `gzip`, then a feed at a rate.
pub(crate) fn live(server: &Server, readers: usize, rate: u64, lines: u64, gzip: bool) -> Outcome<Figures> {
    let (mut all, seats) = seat(server, readers, lines, gzip)?;
    let (before, switches) = (server.cpu()?, server.switches()?);
    let start = Instant::now();
    server.trigger()?;
    let feed = Duration::from_millis(lines * 1000 / rate);
    all.until(start + feed + BEHIND, Readers::all_finished)?;
    let mut figures = Figures {
        wall: start.elapsed(),
        cpu: server.cpu()?.saturating_sub(before),
        switches: server.switches()?.saturating_sub(switches),
        peak: server.memory()?.1,
        seats,
        ..Figures::default()
    };
    count(&mut figures, &all, readers, lines);
    figures.latency = std::mem::take(&mut all.tally.latency);
    Ok(figures)
}

/// Readers of a feed in which nothing happens.
pub(crate) fn idle(server: &Server, readers: usize, seconds: u64) -> Outcome<Figures> {
    let (mut all, seats) = seat(server, readers, u64::MAX, false)?;
    let mut figures = Figures { peak: server.memory()?.1, seats, ..Figures::default() };
    let (start, first) = (Instant::now(), all.tally.comments);
    let mut comments = first;
    while start.elapsed() < Duration::from_secs(seconds) {
        let (piece, cpu) = (Instant::now(), server.fine_cpu()?);
        all.until(piece + PIECE, |_| false)?;
        let used = server.fine_cpu()?.saturating_sub(cpu);
        if all.tally.comments == comments {
            figures.quiet = (figures.quiet.0 + piece.elapsed(), figures.quiet.1 + used);
        }
        comments = all.tally.comments;
        if let Some(why) = all.broken {
            return Err(format!("a reader was sent away: {why}").into());
        }
    }
    figures.note = format!("{} keep-alives", comments - first);
    Ok(figures)
}

/// Connects the readers, and tells what memory they take in bytes, and how many they are; none of it if they are few.
fn seat(server: &Server, readers: usize, lines: u64, gzip: bool) -> Outcome<(Readers, (u64, usize))> {
    let connect = |count| Readers::connect(server.address, server.target, count, lines, true, gzip);
    if readers < FEW {
        return Ok((connect(readers)?, (0, 0)));
    }
    drop(connect(FIRST)?);
    std::thread::sleep(SETTLE);
    let empty = server.memory()?.0;
    let mut all = connect(readers)?;
    all.until(Instant::now() + SETTLE, |_| false)?;
    let seated = server.memory()?.0;
    Ok((all, (seated.saturating_sub(empty), readers)))
}

/// Adds what the readers saw. What did not come at all is lost too.
fn count(figures: &mut Figures, all: &Readers, readers: usize, lines: u64) {
    let tally = &all.tally;
    figures.lines += tally.lines;
    figures.lost += lines * readers as u64 - tally.lines;
    figures.doubled += tally.doubled;
    figures.gaps += tally.gaps;
    figures.strange += tally.strange;
    figures.body_bytes += tally.body_bytes;
    figures.unfinished += all.unfinished();
    if let Some(why) = &all.broken {
        figures.note.clone_from(why);
    }
}
