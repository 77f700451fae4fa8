//! Tables of fields: a terminal shows as much as its width has room for; everything else receives all of it.

use unicode_width::UnicodeWidthChar;

use super::terminal::shortened;

/// The spaces between columns. No field contains as many.
const GAP: &str = "  ";

/// The columns that the name has at least, and the last column that is shown.
pub(super) const LEAST_NAME: usize = 12;

/// The form of a table. The last column is a text in free form; all fields of the others are short.
#[derive(Debug)]
pub(super) struct TableForm {
    pub(super) headers: &'static [&'static str],
    /// The columns of numbers, which are aligned at the right.
    pub(super) numbers: &'static [usize],
    /// The columns that are left out where there is no room for them, the least interesting first, and the room that the last
    /// column has at least before they are.
    pub(super) optional: &'static [(usize, usize)],
    /// The column of names, which are shortened where they are long.
    pub(super) name: Option<usize>,
}

impl TableForm {
    /// The rows as lines, with the headers before them; on a terminal of this many columns, no line is wider. Each row has a
    /// field for each header.
    pub(super) fn format(&self, rows: &[Vec<String>], columns: Option<usize>) -> String {
        let headers: Vec<_> = self.headers.iter().map(|&header| header.to_owned()).collect();
        let all = || std::iter::once(&headers).chain(rows);
        let last = headers.len() - 1;
        let mut widths: Vec<_> =
            (0..headers.len()).map(|column| all().map(|row| width(&row[column])).max().unwrap_or(0)).collect();
        let wanted = std::mem::take(&mut widths[last]);
        let mut shown: Vec<usize> = (0..headers.len()).collect();
        if let Some(columns) = columns {
            self.fit(columns, wanted, &mut widths, &mut shown);
        }
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for &column in &shown {
                let field = match column {
                    _ if columns.is_none() => row[column].clone(),
                    name if self.name == Some(name) => shortened(&row[name], widths[name]),
                    column if column == last => cut(&row[column], widths[column]),
                    column => row[column].clone(),
                };
                let padding = " ".repeat(widths[column].saturating_sub(width(&field)));
                let parts = if self.numbers.contains(&column) { [&padding, &field] } else { [&field, &padding] };
                line.extend(parts.into_iter().map(String::as_str).chain([GAP]));
            }
            // Where even the first columns have no room, what there is room for is shown: a line that wraps is two.
            let line = columns.map_or_else(|| line.trim_end().to_owned(), |columns| cut(line.trim_end(), columns));
            text.extend([&line, "\n"]);
        }
        text
    }

    /// Chooses the columns that a terminal has room for, and their widths; `wanted` is that of the last column.
    fn fit(&self, columns: usize, wanted: usize, widths: &mut [usize], shown: &mut Vec<usize>) {
        // One long name must not take the place of what is to be known of all rows.
        if let Some(name) = self.name {
            widths[name] = widths[name].min((columns / 3).max(LEAST_NAME));
        }
        let used =
            |shown: &[usize], widths: &[usize]| shown.iter().map(|&column| widths[column] + GAP.len()).sum::<usize>();
        let room = |shown: &[usize], widths: &[usize]| (columns + GAP.len()).saturating_sub(used(shown, widths));
        for &(left_out, least) in self.optional {
            if room(shown, widths) < wanted.min(least) {
                shown.retain(|column| *column != left_out);
            }
        }
        if let Some(name) = self.name {
            let needed = used(shown, widths) + wanted.min(LEAST_NAME);
            let excess = needed.saturating_sub(columns + GAP.len());
            widths[name] = widths[name].saturating_sub(excess).max(LEAST_NAME.min(widths[name]));
        }
        // The last column has what is left.
        if let Some(last) = widths.len().checked_sub(1) {
            widths[last] = room(shown, widths);
        }
    }
}

/// The columns that a text covers.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// As much of the text as fits into the columns, with a mark if that is not all of it.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let kept: String = text.chars().take_while(fits).collect();
    if columns == 0 { String::new() } else { kept.trim_end().to_owned() + "\u{2026}" }
}
