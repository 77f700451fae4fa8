//! The lines of one stream as they are printed, each origin with its own colours.

use std::collections::HashMap;

use super::ci_marker::{CiMarker, CiMarkers, CiSeverity};
use super::terminal::{LineForm, LineSanitizer, Output, SafeText};

/// Maximum number of origins whose colours are remembered.
const MAX_COLOURED_ORIGINS: usize = 1000;

/// Makes the lines of one stream ready for standard output.
#[derive(Debug)]
pub(super) struct LinePrinter {
    form: LineForm,
    /// The prefix of each line, if there are several streams.
    prefix: Option<SafeText>,
    /// The sanitizers of the origins whose next line depends on the lines so far.
    sanitizers: HashMap<String, LineSanitizer>,
    /// The origin of the last printed line, if that line is incomplete.
    open: Option<String>,
    /// Reads the lines that are meant for build services; `None` if they are printed as they are, for other programs.
    markers: Option<CiMarkers>,
}

impl LinePrinter {
    /// A printer of lines for this output.
    pub(super) fn new(output: Output, prefix: Option<SafeText>) -> Self {
        let markers = output.is_terminal.then(CiMarkers::default);
        Self { form: output.form, prefix, sanitizers: HashMap::new(), open: None, markers }
    }

    /// The prefix of each line.
    pub(super) fn prefix(&self) -> Option<&SafeText> {
        self.prefix.as_ref()
    }

    /// Appends a line of an origin, or a piece of one that is `continued`.
    pub(super) fn push(&mut self, origin: &str, text: &[u8], continued: bool, out: &mut SafeText) {
        if self.open.as_deref() != Some(origin) {
            self.end_open_line(out);
            let marker = self.markers.as_mut().filter(|_| !continued).and_then(|markers| {
                // A line that is no text is no marker either.
                std::str::from_utf8(text).ok().and_then(|text| markers.read(text))
            });
            if let Some(marker) = marker {
                return self.push_marker(marker, out);
            }
        }
        if let (None, Some(prefix)) = (&self.open, &self.prefix) {
            out.push(prefix);
        }
        // Lines of other streams may come between the pieces of one stream's line.
        let continued = continued && self.prefix.is_none();
        let mut sanitizer = self.sanitizers.remove(origin).unwrap_or_else(|| LineSanitizer::new(self.form));
        out.push(&sanitizer.sanitize(text, continued));
        if sanitizer.has_state() {
            if self.sanitizers.len() >= MAX_COLOURED_ORIGINS {
                self.sanitizers.clear();
            }
            self.sanitizers.insert(origin.to_owned(), sanitizer);
        }
        self.open = continued.then(|| origin.to_owned());
        if !continued {
            out.push(&SafeText::newline());
        }
    }

    /// Appends the end of a line that is incomplete.
    fn end_open_line(&mut self, out: &mut SafeText) {
        if let Some(open) = self.open.take() {
            out.push(&self.sanitizers.get_mut(&open).map(LineSanitizer::interrupt).unwrap_or_default());
            out.push(&SafeText::newline());
        }
    }

    /// Appends what a line for build services says to people, which may be nothing.
    fn push_marker(&self, marker: CiMarker, out: &mut SafeText) {
        let text = match marker {
            CiMarker::Hidden => return,
            CiMarker::Heading(title) => format!("\x1b[1m==> {title}\x1b[0m"),
            CiMarker::Message { severity, about, text } => {
                // Red, yellow, blue, and faint.
                let colour = match severity {
                    CiSeverity::Error => "31",
                    CiSeverity::Warning => "33",
                    CiSeverity::Notice => "34",
                    CiSeverity::Debug | CiSeverity::Plain => "2",
                };
                let tag = severity.tag().map(|tag| format!("\x1b[{colour}m{tag}\x1b[0m"));
                let parts = tag.into_iter().chain(about).chain([text]).filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join(": ")
            }
        };
        let mut sanitizer = LineSanitizer::new(self.form);
        for line in text.trim_end_matches('\n').split('\n') {
            out.push(self.prefix.as_ref().unwrap_or(&SafeText::default()));
            out.push(&sanitizer.sanitize(line.as_bytes(), false));
            out.push(&SafeText::newline());
        }
    }

    /// Forgets what lines have left open, colours and stopped commands, since lines are missing or the program is another
    /// one.
    pub(super) fn forget_open(&mut self) {
        self.sanitizers.retain(|origin, _| self.open.as_ref() == Some(origin));
        if let Some(markers) = &mut self.markers {
            markers.restart();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(form: LineForm) -> Output {
        Output { form, is_terminal: form != LineForm::Plain, is_live: false }
    }

    /// Lines for build services, on a terminal and for another program.
    #[test]
    fn a_terminal_shows_the_titles_of_groups_and_no_markers() {
        let lines = [
            "::group::Install \x1b[32mall\x1b[0m",
            "added 3 packages",
            "::endgroup::",
            "section_start:1000000000:prepare[collapsed=true]\r\x1b[0KPrepare",
            "section_end:1000000001:prepare\r\x1b[0K",
            "::error file=a.rs,line=3::one%0Atwo",
            "::add-mask::x",
            "::: not a marker",
        ];
        let shown = |form| {
            let mut printer = LinePrinter::new(output(form), Some(SafeText::prefix("a", 1, None)));
            let mut out = SafeText::default();
            for line in lines {
                printer.push("stdout", line.as_bytes(), false, &mut out);
            }
            out.to_string()
        };
        let expected = "a | ==> Install all\na | added 3 packages\na | ==> Prepare\na | Error: a.rs:3: one\na | two\na | ::: not a marker\n";
        assert_eq!(shown(LineForm::Uncoloured), expected);
        let coloured = shown(LineForm::Coloured);
        assert!(coloured.starts_with("a | \x1b[1m==> Install \x1b[32mall\x1b[0m\x1b[0m\n"), "{coloured:?}");
        assert!(coloured.contains("a | \x1b[31mError\x1b[0m: a.rs:3: one\na | two\n"), "{coloured:?}");
        assert!(shown(LineForm::Plain).starts_with("a | ::group::Install all\na | added"));
    }

    #[test]
    fn the_pieces_of_a_line_are_no_markers() {
        let mut printer = LinePrinter::new(output(LineForm::Uncoloured), None);
        let mut out = SafeText::default();
        for (origin, text, continued) in [
            ("stdout", "::group::a", true),
            ("stdout", "::group::b", false),
            ("stdout", "c", true),
            ("stderr", "::group::d", false),
        ] {
            printer.push(origin, text.as_bytes(), continued, &mut out);
        }
        assert_eq!(out.to_string(), "::group::a::group::b\nc\n==> d\n");
    }

    /// What one run began does not change how the lines of the next one are read.
    #[test]
    fn markers_start_again_where_lines_are_missing() {
        for (before, line, expected) in [
            (&["::stop-commands::x"][..], "::error::bad", "Error: bad\n"),
            (&["--- :hammer: Build", "diff --git a/b c/d"], "--- Upload", "==> Upload\n"),
            // A program whose headings are known is still the same one.
            (&["--- :hammer: Build"], "--- Upload", "==> Upload\n"),
            (&["plain"], "--- Upload", "--- Upload\n"),
        ] {
            let mut printer = LinePrinter::new(output(LineForm::Uncoloured), None);
            for line in before {
                printer.push("stdout", line.as_bytes(), false, &mut SafeText::default());
            }
            printer.forget_open();
            let mut out = SafeText::default();
            printer.push("stdout", line.as_bytes(), false, &mut out);
            assert_eq!(out.to_string(), expected, "{before:?}");
        }
    }

    #[test]
    fn each_origin_has_its_own_lines_and_colours() {
        let mut printer = LinePrinter::new(output(LineForm::Coloured), None);
        let mut out = SafeText::default();
        let pieces = [
            ("stdout", "\x1b[31mred", false),
            ("stderr", "plain", false),
            ("stdout", "still red", true),
            ("stderr", "between", false),
            ("stdout", " and red\x1b[0m", false),
            ("stdout", "plain", false),
        ];
        for (origin, text, continued) in pieces {
            printer.push(origin, text.as_bytes(), continued, &mut out);
        }
        let expected = "\x1b[31mred\x1b[0m\nplain\n\x1b[31mstill red\x1b[0m\nbetween\n\x1b[31m and red\x1b[0m\nplain\n";
        assert_eq!(out.to_string(), expected);
    }

    #[test]
    fn colours_are_forgotten_and_the_memory_for_them_is_limited() {
        let mut printer = LinePrinter::new(output(LineForm::Coloured), Some(SafeText::prefix("a", 1, None)));
        let push = |printer: &mut LinePrinter, origin: &str, text: &str| {
            let mut out = SafeText::default();
            printer.push(origin, text.as_bytes(), false, &mut out);
            out.to_string()
        };
        push(&mut printer, "stdout", "\x1b[1mx");
        assert_eq!(push(&mut printer, "stdout", "y"), "a | \x1b[1my\x1b[0m\n");
        printer.forget_open();
        assert_eq!(push(&mut printer, "stdout", "y"), "a | y\n");
        for origin in 0..5000 {
            push(&mut printer, &origin.to_string(), "\x1b[1mx");
            assert!(printer.sanitizers.len() <= MAX_COLOURED_ORIGINS);
        }
    }
}
