//! The lines of one stream as they are printed, each origin with its own colours.

use std::collections::HashMap;

use super::terminal::{LineForm, LineSanitizer, SafeText};

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
}

impl LinePrinter {
    /// A printer of lines in this form.
    pub(super) fn new(form: LineForm, prefix: Option<SafeText>) -> Self {
        Self { form, prefix, sanitizers: HashMap::new(), open: None }
    }

    /// The prefix of each line.
    pub(super) fn prefix(&self) -> Option<&SafeText> {
        self.prefix.as_ref()
    }

    /// Appends a line of an origin, or a piece of one that is `continued`.
    pub(super) fn push(&mut self, origin: &str, text: &[u8], continued: bool, out: &mut SafeText) {
        if let Some(open) = self.open.take_if(|open| open != origin) {
            out.push(&self.sanitizers.get_mut(&open).map(LineSanitizer::interrupt).unwrap_or_default());
            out.push(&SafeText::newline());
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

    /// Forgets the colours that lines have left open, since lines are missing or the program is another one.
    pub(super) fn forget_colours(&mut self) {
        self.sanitizers.retain(|origin, _| self.open.as_ref() == Some(origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_has_its_own_lines_and_colours() {
        let mut printer = LinePrinter::new(LineForm::Coloured, None);
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
        let mut printer = LinePrinter::new(LineForm::Coloured, Some(SafeText::prefix("a", 1, None)));
        let push = |printer: &mut LinePrinter, origin: &str, text: &str| {
            let mut out = SafeText::default();
            printer.push(origin, text.as_bytes(), false, &mut out);
            out.to_string()
        };
        push(&mut printer, "stdout", "\x1b[1mx");
        assert_eq!(push(&mut printer, "stdout", "y"), "a | \x1b[1my\x1b[0m\n");
        printer.forget_colours();
        assert_eq!(push(&mut printer, "stdout", "y"), "a | y\n");
        for origin in 0..5000 {
            push(&mut printer, &origin.to_string(), "\x1b[1mx");
            assert!(printer.sanitizers.len() <= MAX_COLOURED_ORIGINS);
        }
    }
}
