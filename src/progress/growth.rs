//! Ordinary text often looks like progress once. A series of numbers that grows is progress.

use std::collections::BTreeMap;

use super::report::{ProgressReport, letters};

/// The numbers that were seen once, by the shape of their line: at most one for each shape.
#[derive(Debug, Default)]
pub(super) struct GrowthTracker {
    series: BTreeMap<&'static str, Series>,
}

#[derive(Debug)]
struct Series {
    percent: f64,
    total: Option<u64>,
    phase: String,
    has_grown: bool,
    /// The number of times that the percentage fell, but not to the start.
    falls: u8,
}

/// A number that falls this often, to more than a start, rises and falls like a level.
const MAX_FALLS: u8 = 2;

/// A bar that begins again is below this percentage at first.
const MAX_START_PERCENT: f64 = 10.0;

impl GrowthTracker {
    /// Returns whether the numbers of a report continue those of an earlier one of the same shape, phase and total.
    pub(super) fn has_grown(&mut self, report: &ProgressReport) -> bool {
        let Some(percent) = report.percent else { return true };
        let phase = letters(report.phase.as_deref());
        match self.series.get_mut(report.tool) {
            Some(series) if series.total == report.total && series.phase == phase => {
                series.has_grown |= percent > series.percent;
                let falls = percent < series.percent - super::MAX_PERCENT_FALL && percent > MAX_START_PERCENT;
                series.falls = series.falls.saturating_add(u8::from(falls && !report.out_of_order));
                series.percent = percent;
                series.has_grown && series.falls < MAX_FALLS
            }
            _ => {
                let series = Series { percent, total: report.total, phase, has_grown: false, falls: 0 };
                self.series.insert(report.tool, series);
                false
            }
        }
    }
}
