//! The decision what standard output can show: colours, and rows that change in place.

use std::env;
use std::ffi::OsStr;

use super::line_sanitizer::LineForm;

/// The value of `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColourChoice {
    /// Colours on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`
    #[default]
    Auto,
    /// Colours, also into a pipe
    Always,
    /// No colours
    Never,
}

/// The abilities of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// The form of lines.
    pub(crate) form: LineForm,
    /// `true` if it is a terminal, so that people read it and not programs.
    pub(crate) is_terminal: bool,
    /// `true` if it is a terminal on which rows can be drawn again.
    pub(crate) is_live: bool,
}

impl Output {
    /// The abilities of this program's standard output.
    pub(crate) fn detect(choice: ColourChoice) -> Self {
        let [term, no_color] = ["TERM", "NO_COLOR"].map(env::var_os);
        Self::decide(choice, super::is_terminal(), term.as_deref(), no_color.as_deref())
    }

    /// Decides by the values of the environment. An empty `NO_COLOR` means nothing (no-color.org).
    fn decide(choice: ColourChoice, is_terminal: bool, term: Option<&OsStr>, no_color: Option<&OsStr>) -> Self {
        let is_live = is_terminal && term.is_none_or(|term| term != "dumb");
        let is_coloured = match choice {
            ColourChoice::Auto => is_live && no_color.is_none_or(OsStr::is_empty),
            ColourChoice::Always => true,
            ColourChoice::Never => false,
        };
        let form = match (is_coloured, is_terminal) {
            (true, _) => LineForm::Coloured,
            (false, true) => LineForm::Uncoloured,
            (false, false) => LineForm::Plain,
        };
        Self { form, is_terminal, is_live }
    }
}

#[cfg(test)]
mod tests {
    use super::ColourChoice::{Always, Auto, Never};
    use super::LineForm::{Coloured, Plain, Uncoloured};
    use super::*;

    #[test]
    fn colours_go_to_terminals_unless_the_user_decides_otherwise() {
        // The choice, whether it is a terminal, `TERM`, `NO_COLOR`; the form, and whether rows are drawn.
        let table = [
            (Auto, true, Some("xterm"), None, Coloured, true),
            (Auto, true, None, None, Coloured, true),
            (Auto, true, Some("xterm"), Some(""), Coloured, true),
            (Auto, true, Some("xterm"), Some("0"), Uncoloured, true),
            (Auto, true, Some("dumb"), None, Uncoloured, false),
            (Auto, false, Some("xterm"), None, Plain, false),
            (Always, false, Some("dumb"), Some("1"), Coloured, false),
            (Always, true, Some("xterm"), Some("1"), Coloured, true),
            (Always, true, Some("dumb"), None, Coloured, false),
            (Never, true, Some("xterm"), None, Uncoloured, true),
            (Never, false, Some("xterm"), None, Plain, false),
        ];
        for (choice, is_terminal, term, no_color, form, is_live) in table {
            let decided = Output::decide(choice, is_terminal, term.map(OsStr::new), no_color.map(OsStr::new));
            assert_eq!(
                decided,
                Output { form, is_terminal, is_live },
                "{choice:?} {is_terminal} {term:?} {no_color:?}"
            );
        }
    }
}
