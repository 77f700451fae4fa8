//! Transfers without a percent sign: the table of curl, dd, and image layers that Docker pulls.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::event::ProgressState;

use super::Recogniser;
use super::number::parse_amount;
use super::report::{ObservedLine, ProgressReport, Scope, percent_of, words};

/// The maximum number of layers of one image that are tracked; no image has more than 127.
const MAX_IMAGE_LAYERS: usize = 128;

/// curl without `-#`: a heading, followed by rows of twelve columns.
#[derive(Debug, Default)]
pub(super) struct CurlRecogniser {
    heading_seen: bool,
}

impl Recogniser for CurlRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        if seen.text.starts_with("  % Total    % Received") {
            self.heading_seen = true;
            return None;
        }
        if !self.heading_seen || !seen.text.starts_with([' ', '1']) {
            return None;
        }
        let columns: Vec<_> = seen.text.split_whitespace().collect();
        let [percent, total, _, received, _, _, _, _, spent @ .., speed] = columns.as_slice() else { return None };
        if spent.len() != 3 || !spent.iter().all(|time| time.contains(':') || time.ends_with('d')) {
            return None;
        }
        let percent = percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
        let (total, current) = (parse_amount(total)?, parse_amount(received)?);
        let message = words(&format!("{speed}B/s"));
        if total == 0 {
            let state = Some(ProgressState::Indeterminate);
            return Some(ProgressReport {
                current: (current > 0).then_some(current),
                message,
                state,
                ..ProgressReport::default()
            });
        }
        // The byte counts that curl shows are rounded.
        Some(ProgressReport {
            percent: Some(percent),
            current: Some(current.min(total)),
            total: Some(total),
            message,
            ..ProgressReport::default()
        })
    }
}

static DD_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let shape = r"^(\d+) bytes(?: \([^)]*\))? (?:copied|transferred), [\d.e-]+ s(?:ecs)?, (\S+ ?\S*/s)";
    Regex::new(shape).expect("it is an expression")
});

/// `dd status=progress`: reports the amount, but not the total.
#[derive(Debug)]
pub(super) struct DdRecogniser;

impl Recogniser for DdRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        if !seen.text.starts_with(|c: char| c.is_ascii_digit()) || !seen.text.contains(" bytes") {
            return None;
        }
        let found = DD_REGEX.captures(seen.text)?;
        Some(ProgressReport {
            current: found.get(1)?.as_str().parse().ok(),
            message: words(found.get(2)?.as_str()),
            state: Some(ProgressState::Indeterminate),
            ..ProgressReport::default()
        })
    }
}

/// `docker pull` and similar programs: `a3ed95caeb02: Downloading [==>   ] 2.5MB/12.5MB`.
#[derive(Debug, Default)]
pub(super) struct DockerLayersRecogniser {
    /// The share of each layer that is done, 0 to 1: half for the download, half for unpacking.
    layers: BTreeMap<u64, f64>,
}

impl Recogniser for DockerLayersRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        if let Some((_, image)) = seen.text.split_once(": Pulling from ").filter(|_| !seen.open) {
            self.layers.clear();
            let message = words(&format!("Pulling {image}"));
            return Some(ProgressReport {
                message,
                state: Some(ProgressState::Indeterminate),
                ..ProgressReport::default()
            });
        }
        let (id, what) = seen.text.split_once(": ").filter(|(id, _)| id.len() == 12)?;
        let id = u64::from_str_radix(id, 16).ok()?;
        let (word, part) = match what.split_once('[') {
            Some((word, bar)) => (word.trim(), bar.split_once(']').and_then(|(_, counts)| fraction(counts))),
            None => (what.trim(), None),
        };
        let done = match (word, part) {
            ("Pulling fs layer" | "Waiting", _) => 0.0,
            ("Downloading", Some(part)) => part / 2.0,
            ("Verifying Checksum" | "Download complete", _) => 0.5,
            ("Extracting", Some(part)) => 0.5 + part / 2.0,
            ("Pull complete" | "Already exists", _) => 1.0,
            _ => return None,
        };
        if self.layers.len() >= MAX_IMAGE_LAYERS && !self.layers.contains_key(&id) {
            return None;
        }
        let known = self.layers.entry(id).or_default();
        *known = known.max(done);
        let whole = self.layers.values().filter(|done| **done >= 1.0).count();
        let (whole, all) = (u64::try_from(whole).ok()?, u64::try_from(self.layers.len()).ok()?);
        #[expect(clippy::cast_precision_loss, reason = "there are at most 128 layers")]
        let percent = 100.0 * self.layers.values().sum::<f64>() / self.layers.len() as f64;
        Some(ProgressReport {
            percent: Some(percent),
            current: Some(whole),
            total: Some(all),
            phase: words(word),
            out_of_order: true,
            scope: Scope::Whole,
            ..ProgressReport::default()
        })
    }
}

static RSYNC_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let number = super::number::NUMBER;
    let shape = format!(
        r"^\s*({number}[KMGT]?) +([0-9]{{1,3}})[ \u{{a0}}]?% +({number}[kKMGT]?B/s) +[0-9]+:[0-9]{{2}}:[0-9]{{2}}(?: \(xfr#[0-9]+, (?:to|ir)-chk=([0-9]+)/([0-9]+)\))?"
    );
    Regex::new(&shape).expect("it is an expression")
});

/// `rsync --progress`, which tells the percentage of one file, and behind each how many remain; with
/// `--info=progress2`, the percentage is that of all of them.
#[derive(Debug, Default)]
pub(super) struct RsyncRecogniser {
    /// The number of files that are done, and of all, if files are counted.
    files: Option<(u64, u64)>,
    /// A percentage below 100 came with the number of the remaining files: it is that of all of them.
    is_whole: bool,
}

impl Recogniser for RsyncRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        if !seen.text.contains("B/s") {
            return None;
        }
        let found = RSYNC_REGEX.captures(seen.text)?;
        let percent = found[2].parse::<u32>().ok().filter(|percent| *percent <= 100)?;
        let number = |at| found.get(at).and_then(|text| text.as_str().parse::<u64>().ok());
        let report = ProgressReport {
            percent: Some(f64::from(percent)),
            current: parse_amount(&found[1]),
            message: words(&found[3]),
            tool: "rsync",
            ..ProgressReport::default()
        };
        // The bytes of a single file say more than its number.
        let remaining = number(4).zip(number(5)).filter(|(remaining, total)| remaining < total && *total > 1);
        self.is_whole |= remaining.is_some() && percent < 100;
        if self.is_whole {
            return Some(report);
        }
        if let Some((remaining, total)) = remaining {
            self.files = Some((total - remaining, total));
        }
        let Some((done, total)) = self.files else { return Some(report) };
        // Between the ends of files, the percentage is that of the next one.
        let next = if remaining.is_none() && done < total { f64::from(percent) / 100.0 } else { 0.0 };
        let percent = (percent_of(done, total) + next * percent_of(1, total)).min(100.0);
        Some(ProgressReport {
            percent: Some(percent),
            current: Some(done),
            total: Some(total),
            out_of_order: true,
            scope: Scope::Whole,
            ..report
        })
    }
}

/// The fraction `2.5MB/12.5MB` as a number from 0 to 1.
fn fraction(counts: &str) -> Option<f64> {
    let (current, total) = counts.trim().split_once('/')?;
    let (current, total) = (parse_amount(current)?, parse_amount(total.split(' ').next()?)?);
    (total > 0 && current <= total).then(|| percent_of(current, total) / 100.0)
}
