//! The result of a program whose progress was seen, in the program's own words: a build that failed, tests that passed.
//! Spinners are recognised here, too, since they show that the program is not stuck.

use std::sync::LazyLock;

use regex::Regex;

use crate::event::ProgressState;

use super::report::{ObservedLine, ProgressReport, words};
use super::rows::LiveRow;
use super::{Found, Recogniser};

static PYTEST_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^=+ (.*\d+ (?:passed|failed|errors?).*) in [\d.]+s.* =+$").expect("it is an expression")
});

/// These words are recognised only after other progress.
#[derive(Debug)]
pub(super) struct VerdictRecogniser;

impl Recogniser for VerdictRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let text = seen.text.trim_end();
        if seen.open {
            return is_spinner(text).then(|| ProgressReport::of_state(ProgressState::Indeterminate));
        }
        let state = match text.bytes().next()? {
            b'n' if text.starts_with("ninja: build stopped") || text.starts_with("npm error") => ProgressState::Error,
            b'm' if make_failed(text) => ProgressState::Error,
            b'e' if text.starts_with("error: could not compile") => ProgressState::Error,
            b'=' => return pytest(text),
            b'E' if text == "Everything is Ok" => ProgressState::Done,
            b'E' if text.starts_with("ERROR: Build did NOT complete") => ProgressState::Error,
            b'I' if text.starts_with("INFO: Build completed successfully") => ProgressState::Done,
            b'B' if text.starts_with("BUILD SUCCESSFUL in ") => ProgressState::Done,
            b'B' if text.starts_with("BUILD FAILED in ") => ProgressState::Error,
            b'[' if text.ends_with("] BUILD SUCCESS") => ProgressState::Done,
            b'[' if text.ends_with("] BUILD FAILURE") => ProgressState::Error,
            b'd' | b's' if text.ends_with("\" successfully rolled out") => ProgressState::Done,
            b'T' => return jest(text),
            b'(' if text == "(OK):download completed." => ProgressState::Done,
            b' ' if cargo_finished(text) => ProgressState::Done,
            _ => return None,
        };
        Some(ProgressReport { message: words(text), needs_prior_progress: true, ..ProgressReport::of_state(state) })
    }
}

/// The words by which programs replace a bar that is complete.
const END_WORDS: [&str; 6] = ["done", "finished", "complete", "completed", "installed", "ok"];

/// The report of a line that replaced a bar and says that its work is done: "Reading package lists... Done".
pub(super) fn of_ended_row(line: &[u8], row: &LiveRow) -> Option<Found> {
    let (recogniser, confidence, report) = row.found.clone()?;
    let line = super::report::plain(line);
    let last = line.trim_end_matches(|c: char| !c.is_alphanumeric()).rsplit(|c: char| !c.is_alphabetic()).next()?;
    let is_end = END_WORDS.iter().any(|word| last.eq_ignore_ascii_case(word));
    let report = ProgressReport { percent: Some(100.0), current: report.total, ..report };
    is_end.then_some((recogniser, confidence, report))
}

/// Recognises `make: *** [Makefile:7: x.o] Error 1`.
fn make_failed(text: &str) -> bool {
    text.starts_with("make") && text.contains(": *** [") && text.contains("] Error ")
}

/// Recognises Cargo: "    Finished `dev` profile [unoptimized + debuginfo] target(s) in 2.31s".
fn cargo_finished(text: &str) -> bool {
    text.trim_start().starts_with("Finished ") && text.contains(" target(s) in ")
}

/// Recognises Jest: "Test Suites: 1 failed, 3 passed, 4 total".
fn jest(text: &str) -> Option<ProgressReport> {
    let counts =
        text.strip_prefix("Test Suites: ")?.strip_suffix(" total").filter(|counts| !counts.contains(" of "))?;
    let state = if counts.contains(" failed") { ProgressState::Error } else { ProgressState::Done };
    Some(ProgressReport { message: words(text), needs_prior_progress: true, ..ProgressReport::of_state(state) })
}

fn pytest(text: &str) -> Option<ProgressReport> {
    let words_of = words(PYTEST_REGEX.captures(text)?.get(1)?.as_str())?;
    let failed = words_of.contains("failed") || words_of.contains("error");
    let state = if failed { ProgressState::Error } else { ProgressState::Done };
    Some(ProgressReport { message: Some(words_of), needs_prior_progress: true, ..ProgressReport::of_state(state) })
}

/// Returns whether the line is a spinner of Braille dots, as npm and many others draw it, with at most a few words.
fn is_spinner(text: &str) -> bool {
    text.trim_start().starts_with(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
}
