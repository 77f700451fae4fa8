//! The cost of a setting: rtlogd with it beside rtlogd without it, in turn.

use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;
use crate::feeder;
use crate::report::number;
use crate::run;
use crate::server::{Feed, Server};

/// The fewest pairs of runs, since a single run varies.
const MIN_PAIRS: u32 = 5;

/// The readers of a compressed stream, the lines a second that it has, and the seconds for which it is measured.
const GZIP_READERS: usize = 1000;
const GZIP_RATE: u64 = 1000;
const GZIP_SECONDS: u64 = 4;

/// The most CPU time with redaction, and with compression, as a multiple of that without.
const MAX_REDACTION_RATIO: f64 = 1.5;
const MAX_GZIP_RATIO: f64 = 1.2;

/// The largest compressed body, as a part of the plain one.
const MAX_GZIP_SIZE: f64 = 0.25;

/// Reads a file of this many lines with and without redaction, and prints the ratio of CPU times. Returns the number of
/// ratios that are too high.
pub(crate) fn compare_redaction(program: &Path, pairs: u32, lines: u64) -> Outcome<u32> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("big.log");
    feeder::write_file(&path, lines)?;
    let pairs = pairs.max(MIN_PAIRS);
    println!("\nredact: {pairs} pairs, {lines} lines are read from a file, with and without `redact: on`");
    let feed = Feed::File { path, lines, recorded: false };
    let settings = [json!({ "redact": "on" }), json!({})];
    let ratio = ratio_of_pairs(pairs, |with| {
        let server = Server::rtlogd(&feed, &settings[usize::from(!with)], program)?;
        server.read_in()?;
        Ok(server.cpu()?.as_secs_f64() * 1e6 / lines as f64)
    })?;
    Ok(u32::from(!ratio.judge("CPU", MAX_REDACTION_RATIO)))
}

/// Serves a live stream with and without compression, and prints the ratios of CPU times and of sizes. Returns the number of
/// ratios that are too high.
pub(crate) fn compare_compression(program: &Path, pairs: u32) -> Outcome<u32> {
    let pairs = pairs.max(MIN_PAIRS);
    println!(
        "\ngzip: {pairs} pairs, {GZIP_READERS} readers at {GZIP_RATE} lines/s for {GZIP_SECONDS} s, compressed and plain"
    );
    let lines = GZIP_RATE * GZIP_SECONDS;
    let feed = Feed::Live { rate: GZIP_RATE, lines, recorded: false };
    let mut sizes = [0; 2];
    let ratio = ratio_of_pairs(pairs, |with| {
        let server = Server::rtlogd(&feed, &Value::Null, program)?;
        let figures = run::live(&server, GZIP_READERS, GZIP_RATE, lines, with)?;
        if figures.wrong() > 0.0 {
            return Err(format!("{} lines are lost, doubled or strange", figures.wrong()).into());
        }
        sizes[usize::from(!with)] += figures.body_bytes;
        Ok(figures.cpu_per_million())
    })?;
    let size = sizes[0] as f64 / sizes[1] as f64;
    let is_small = size <= MAX_GZIP_SIZE;
    println!("  {} size <= {MAX_GZIP_SIZE} of plain: {}", verdict(is_small), number(size));
    Ok(u32::from(!ratio.judge("CPU", MAX_GZIP_RATIO)) + u32::from(!is_small))
}

/// The costs with and without a setting, and the ratio of each pair.
struct Comparison {
    with: f64,
    without: f64,
    ratios: Vec<f64>,
}

/// Measures pairs; `cost` is told whether the setting is on.
fn ratio_of_pairs(pairs: u32, mut cost: impl FnMut(bool) -> Outcome<f64>) -> Outcome<Comparison> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Neither kind has the advantage of being the second one.
        for is_with in [pair % 2 == 0, pair % 2 != 0] {
            let costs = if is_with { &mut with } else { &mut without };
            costs.push(cost(is_with)?);
        }
    }
    let mut ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(Comparison { with: median(&mut with), without: median(&mut without), ratios })
}

impl Comparison {
    /// Prints the figures, and returns whether the median ratio is at most `bound`.
    fn judge(mut self, what: &str, bound: f64) -> bool {
        let (first, last) = (self.ratios[0], self.ratios[self.ratios.len() - 1]);
        let ratio = median(&mut self.ratios);
        println!(
            "  {} {what} <= {bound} x: {} ({} to {}); {} with, {} without, CPU-s per million lines",
            verdict(ratio <= bound),
            number(ratio),
            number(first),
            number(last),
            number(self.with),
            number(self.without)
        );
        ratio <= bound
    }
}

fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached " } else { "MISSED  " }
}

/// The median of values, which are sorted.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
