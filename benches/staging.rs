//! The cost of staging: a command whose output stays in a staging pipe until it is recorded, compared with a command whose
//! output is read directly. Both are recorded on disk, and the snapshots for the next daemon are included.

use std::path::Path;

use serde_json::Value;

use crate::Outcome;
use crate::server::{Feed, Server};
use crate::settings::median;

/// The least share of the throughput of a plain pipe that a staged one must reach.
const LEAST_RATIO: f64 = 0.95;

/// The fewest pairs of runs, since a single run varies by more than what is measured.
const MIN_PAIRS: u32 = 9;

/// The time that a staged command has without a daemon, and that of a plain one.
const ORPHAN_TIMEOUTS: [&str; 2] = ["10m", "0s"];

/// Runs a staged and a plain command in turn, each with this many lines, and prints the rates and their ratio. Returns the
/// number of ratios that are too low.
pub(crate) fn compare(program: &Path, pairs: u32, lines: u64) -> Outcome<u32> {
    let pairs = pairs.max(MIN_PAIRS);
    println!("\nstaging: {pairs} pairs of runs, {lines} lines at full rate");
    let mut missed = 0;
    for (what, pty) in [("pipe", false), ("terminal", true)] {
        let mut seconds = [Vec::new(), Vec::new()];
        for pair in 0..pairs {
            // Neither kind has the advantage of being the second one.
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            for kind in order {
                let feed = Feed::Process { lines, orphan_timeout: ORPHAN_TIMEOUTS[kind], pty };
                seconds[kind].push(Server::rtlogd(&feed, &Value::Null, program)?.time_of_run()?.as_secs_f64());
            }
        }
        let mut ratios: Vec<f64> = seconds[0].iter().zip(&seconds[1]).map(|(staged, plain)| plain / staged).collect();
        let ratio = median(&mut ratios);
        let [staged, plain] = seconds.each_mut().map(|times| lines as f64 / median(times) / 1e6);
        let verdict = if ratio >= LEAST_RATIO { "ok" } else { "MISSED" };
        missed += u32::from(ratio < LEAST_RATIO);
        println!(
            "{what:10}staged {staged:.2} M lines/s, plain {plain:.2} M lines/s; ratio {ratio:.3} ({:.3} to {:.3}), at \
             least {LEAST_RATIO}: {verdict}",
            ratios[0],
            ratios[ratios.len() - 1]
        );
    }
    Ok(missed)
}
