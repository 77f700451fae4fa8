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
}

impl GrowthTracker {
    /// Returns whether the numbers of a report continue those of an earlier one of the same shape, phase and total.
    pub(super) fn has_grown(&mut self, report: &ProgressReport) -> bool {
        let Some(percent) = report.percent else { return true };
        let phase = letters(report.phase.as_deref());
        match self.series.get_mut(report.tool) {
            Some(series) if series.total == report.total && series.phase == phase => {
                series.has_grown |= percent > series.percent;
                series.percent = percent;
                series.has_grown
            }
            _ => {
                let series = Series { percent, total: report.total, phase, has_grown: false };
                self.series.insert(report.tool, series);
                false
            }
        }
    }
}
