//! The rows that a program can still change, from one drawing to the next.
//!
//! A row is found again by its *skeleton*, which is its letters: numbers and bars change from drawing to drawing, and
//! rows move up when those above them are finished.

use super::report::{ProgressReport, Scope, letters};
use super::{Confidence, Found};

/// The number of origins whose rows are known. A process has two; of many files, few are redrawn at the same time.
const MAX_ORIGINS: usize = 4;

/// The longest skeleton, in characters.
const MAX_SKELETON_LETTERS: usize = 80;

/// A row, as of the last drawing.
#[derive(Debug, Clone)]
pub(super) struct LiveRow {
    pub(super) text: String,
    skeleton: String,
    /// The row replaced another drawing of itself, as only bars and spinners do.
    pub(super) is_redrawn: bool,
    pub(super) found: Option<Found>,
    /// Another row reported the whole of which this is a part.
    pub(super) is_item: bool,
    /// The row was followed by another one, and was examined as a finished line.
    pub(super) is_finished: bool,
    /// The number of the examination that found this: a greater one is later.
    pub(super) examined: u64,
}

impl LiveRow {
    pub(super) fn new(text: String) -> Self {
        let skeleton = skeleton(&text);
        Self { text, skeleton, is_redrawn: false, found: None, is_item: false, is_finished: false, examined: 0 }
    }

    /// Returns whether `self` is a drawing of the same row as `other`.
    fn is_alike(&self, other: &Self) -> bool {
        !self.text.is_empty() && self.skeleton == other.skeleton && !other.text.is_empty()
    }

    /// Returns whether this text begins with the words of `before`, or with its phase.
    pub(super) fn ends(&self, before: &Self) -> bool {
        let phase = before.found.as_ref().map(|(_, _, report)| letters(report.phase.as_deref()));
        let begins = |words: &str| !words.is_empty() && self.skeleton.starts_with(words);
        begins(&before.skeleton) || phase.is_some_and(|phase| begins(&phase))
    }

    /// Returns whether only the numbers of `before` were erased, which are drawn again.
    pub(super) fn erases(&self, before: &Self) -> bool {
        self.is_alike(before) && !self.text.contains(|c: char| c.is_ascii_digit())
    }

    /// Returns whether this text, in the place of `before`, is a redraw. Text that merely grows still begins with the
    /// earlier text; a redraw may begin alike, but changes the text that was there, or comes after it was erased.
    pub(super) fn replaces(&self, before: &Self) -> bool {
        let is_erased = before.text.is_empty() && before.is_redrawn;
        (before.is_redrawn && self.is_alike(before))
            || is_erased
            || (!before.text.is_empty() && !self.text.starts_with(&before.text))
    }
}

/// The letters of a text.
fn skeleton(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).take(MAX_SKELETON_LETTERS).collect()
}

/// The live rows of all origins.
#[derive(Debug, Default)]
pub(super) struct LiveRows {
    /// The origin that was drawn last is at the end.
    origins: Vec<(usize, Vec<LiveRow>)>,
}

impl LiveRows {
    pub(super) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Returns whether there is a row that is not erased.
    pub(super) fn have_text(&self) -> bool {
        self.origins.iter().flat_map(|(_, rows)| rows).any(|row| !row.text.is_empty())
    }

    /// Removes and returns the rows of an origin.
    pub(super) fn take(&mut self, origin: usize) -> Vec<LiveRow> {
        match self.origins.iter().position(|(number, _)| *number == origin) {
            Some(at) => self.origins.remove(at).1,
            None => Vec::new(),
        }
    }

    pub(super) fn set(&mut self, origin: usize, rows: Vec<LiveRow>) {
        self.take(origin);
        if rows.is_empty() {
            return;
        }
        if self.origins.len() >= MAX_ORIGINS {
            self.origins.remove(0);
        }
        self.origins.push((origin, rows));
    }

    /// The bytes of all rows.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.origins.iter().flat_map(|(_, rows)| rows).map(|row| row.text.len()).sum()
    }
}

/// The place of the rows before, if a drawing has erased all of them; nothing if there is a row. A program may erase its
/// bar and draw it again by two writes, between which the source is read.
pub(super) fn erased(rows: &[Vec<u8>], before: &[LiveRow]) -> Vec<LiveRow> {
    if rows.is_empty() && !before.is_empty() {
        return vec![LiveRow { is_redrawn: true, ..LiveRow::new(String::new()) }];
    }
    Vec::with_capacity(rows.len())
}

/// Returns whether a percentage was found that no program reported as such.
pub(super) fn has_guessed_percentage(found: Option<&Found>) -> bool {
    found.is_some_and(|(_, rank, report)| *rank == Confidence::Guessed && report.percent.is_some())
}

/// The row of an earlier drawing that `row`, now at the index `at`, continues.
pub(super) fn find_earlier<'a>(before: &'a [LiveRow], row: &LiveRow, at: usize) -> Option<&'a LiveRow> {
    let here = before.get(at);
    here.filter(|here| row.is_alike(here))
        .or_else(|| before.iter().find(|earlier| !row.skeleton.is_empty() && row.is_alike(earlier)))
        .or(here)
}

/// The index of the live row that ends with this line.
pub(super) fn find_ended(rows: &[LiveRow], line: &LiveRow) -> Option<usize> {
    let ends = |row: &&LiveRow| {
        !row.text.trim().is_empty()
            && (line.text.starts_with(row.text.trim_end())
                || line.ends(row)
                || (line.is_alike(row) && row.found.is_some()))
    };
    rows.iter().position(|row| ends(&row))
}

/// The index of the row that reports the whole work.
///
/// An explicit report comes first, then one with a percentage, one of a row that counts the whole, a count of objects
/// before one of bytes (which are those of one object), and one that is not full. Of equals, the upper row contains
/// the lower ones. Of rows that are full, and of those that continue one count, the newest one is the progress.
pub(super) fn outermost(rows: &[LiveRow]) -> Option<usize> {
    let key = |(at, row): (usize, &LiveRow)| {
        let (_, confidence, report) = row.found.as_ref()?;
        let is_full = report.percent.is_some_and(|percent| percent >= 100.0);
        let newest_first = report.out_of_order || is_full;
        let order = if newest_first { row.examined } else { u64::MAX - u64::try_from(at).unwrap_or_default() };
        Some((
            (
                *confidence,
                report.percent.is_some(),
                report.scope,
                !report.is_in_bytes,
                !is_full || report.out_of_order,
                order,
            ),
            at,
        ))
    };
    rows.iter().enumerate().filter_map(key).max().map(|(_, at)| at)
}

/// The message of the newest item, which replaces that of the row at the index `whole`: its phase and percentage, or
/// its text if the row `whole` counts all items.
pub(super) fn item_message(rows: &[LiveRow], whole: usize) -> Option<String> {
    let (_, _, counted) = rows.get(whole)?.found.as_ref()?;
    let message = |row: &LiveRow| match &row.found {
        Some((_, _, item)) if item.tool == counted.tool && item.out_of_order => None,
        Some((_, _, ProgressReport { percent: Some(percent), phase, tool, .. }))
            if *percent < 100.0 && *tool != "a count" =>
        {
            let phase = phase.iter().map(|phase| format!("{phase} "));
            super::report::words(&(phase.collect::<String>() + &format!("{percent:.0}%")))
        }
        Some((_, _, ProgressReport { percent: Some(percent), .. })) if *percent >= 100.0 => None,
        Some(_) | None if counted.scope == Scope::Whole => {
            let text = row.text.trim_start_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '[' | '('));
            super::report::words(text)
        }
        Some(_) | None => None,
    };
    let items = rows.iter().enumerate().filter(|(at, _)| *at != whole);
    items.filter_map(|(_, row)| Some((row.examined, message(row)?))).max().map(|(_, message)| message)
}
