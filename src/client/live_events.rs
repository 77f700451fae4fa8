//! The events that a terminal shows until the next one: live rows and progress.

use serde::Deserialize;

/// The rows of one origin that its program can still change.
#[derive(Debug, Deserialize)]
pub(super) struct OpenEvent {
    /// `None` if the rows of all origins are withdrawn.
    pub(super) origin: Option<String>,
    text: String,
    #[serde(default)]
    rows: Vec<String>,
}

impl OpenEvent {
    /// The rows; none if they are withdrawn.
    pub(super) fn into_rows(self) -> Vec<String> {
        if self.rows.is_empty() && !self.text.is_empty() { vec![self.text] } else { self.rows }
    }
}

/// The progress of a source, as far as a line shows it.
#[derive(Debug, Deserialize)]
pub(super) struct ProgressEvent {
    state: String,
    percent: Option<f64>,
    phase: Option<String>,
    message: Option<String>,
    #[serde(default)]
    stale: bool,
}

impl ProgressEvent {
    /// The progress as one line; `None` if nothing is in progress.
    pub(super) fn into_line(self) -> Option<String> {
        const BAR_WIDTH: u32 = 20;
        if self.stale || !matches!(self.state.as_str(), "running" | "indeterminate" | "paused") {
            return None;
        }
        let percent = self.percent.map(|percent| {
            let full =
                (0..BAR_WIDTH).filter(|cell| percent * f64::from(BAR_WIDTH) >= f64::from(cell + 1) * 100.0).count();
            let empty = BAR_WIDTH as usize - full;
            // The number comes first: a narrow terminal cuts the end of the line.
            format!("{percent:>4} %  [{}{}]", "#".repeat(full), ".".repeat(empty))
        });
        let paused = (self.state == "paused").then(|| "paused".to_owned());
        let parts: Vec<_> = [percent, paused, self.phase, self.message].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_line_until_it_ends() {
        let table = [
            (
                r#"{"state":"running","percent":42.5,"phase":"link","message":"a.o"}"#,
                Some("42.5 %  [########............]  link  a.o"),
            ),
            (r#"{"state":"running","percent":0}"#, Some("   0 %  [....................]")),
            (r#"{"state":"running","percent":100}"#, Some(" 100 %  [####################]")),
            (r#"{"state":"indeterminate","phase":"link"}"#, Some("link")),
            (r#"{"state":"paused","percent":50}"#, Some("  50 %  [##########..........]  paused")),
            (r#"{"state":"running"}"#, None),
            (r#"{"state":"done","percent":100}"#, None),
            (r#"{"state":"error","percent":50}"#, None),
            (r#"{"state":"running","percent":50,"stale":true}"#, None),
        ];
        for (json, line) in table {
            let event: ProgressEvent = serde_json::from_str(json).unwrap();
            assert_eq!(event.into_line().as_deref(), line, "{json}");
        }
    }

    #[test]
    fn live_rows_are_all_rows_or_the_last_one() {
        let table: [(&str, Option<&str>, &[&str]); 4] = [
            (r#"{"origin":"stdout","text":"b","rows":["a","b"]}"#, Some("stdout"), &["a", "b"]),
            (r#"{"origin":"stdout","text":"b"}"#, Some("stdout"), &["b"]),
            (r#"{"origin":"stdout","text":""}"#, Some("stdout"), &[]),
            (r#"{"text":""}"#, None, &[]),
        ];
        for (json, origin, rows) in table {
            let event: OpenEvent = serde_json::from_str(json).unwrap();
            assert_eq!(event.origin.as_deref(), origin, "{json}");
            assert_eq!(event.into_rows(), rows, "{json}");
        }
    }
}
