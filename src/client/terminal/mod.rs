//! The output of rtlogd: all writes to standard output and standard error go through this module.
//!
//! Names, reasons and lines come from elsewhere, and terminals execute the escape sequences in them: a sequence may set
//! the title, write to the clipboard or move the cursor. So only a [`SafeText`] can be printed, and only these
//! functions make one:
//! - [`SafeText::message`] is one line, in which everything that could control a terminal or begin a new line is
//!   escaped;
//! - [`SafeText::lines`] does the same for several lines whose line ends were written by rtlogd itself;
//! - [`SafeText::json`] escapes as JSON does;
//! - [`LineSanitizer`] makes lines of a stream safe: colours and links stay, everything else becomes visible. For pipes
//!   and files, it removes all escape sequences. rtlogd's own messages are always escaped.
//!
//! The files, in reading order: this file prints, `safe_text` has [`SafeText`], and `line_sanitizer` has
//! [`LineSanitizer`]. `output` decides what standard output can show. `display` prints lines above a block of live rows,
//! which `live_block` draws and erases.

mod display;
mod line_sanitizer;
mod live_block;
mod output;
mod safe_text;

use std::future::pending;
use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

pub(crate) use display::Display;
pub(crate) use line_sanitizer::{LineForm, LineSanitizer};
pub(crate) use output::{ColourChoice, Output};
pub(crate) use safe_text::{SafeText, shortened};

/// Prints to standard output.
///
/// # Errors
/// If it is closed, or its disk is full.
pub(crate) fn print(text: &SafeText) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&text.0).and_then(|()| out.flush())
}

/// Waits until nobody can read standard output any more, as in `rtlogd follow x | head -1` after the first line. A file
/// has no reader that could leave, and this waits for ever. May be dropped at any time.
pub(crate) async fn reader_gone() {
    // A write would notice as well, but the next line may come much later. The system reports this whatever the mode of
    // the pipe is.
    let output = rustix::stdio::stdout().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    match output {
        Ok(output) if output.ready(Interest::ERROR).await.is_ok() => {}
        _ => pending().await,
    }
}

/// Prints to standard error. Errors are ignored, since there is nowhere left to report them.
pub(crate) fn print_error(text: &SafeText) {
    io::stderr().write_all(&text.0).unwrap_or_default();
}

/// Returns true if standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The columns that the names of streams take before each of their lines. On a terminal, long names would leave too little
/// room for the lines; programs can rely on the whole names.
pub(crate) fn prefix_width(names: &[String], output: Output) -> usize {
    const LEAST: usize = 8;
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    if output.is_terminal { longest.min((terminal_size().0 / 4).max(LEAST)) } else { longest }
}

/// The columns and rows of the terminal that standard output is; the usual ones if it does not know them.
pub(crate) fn terminal_size() -> (usize, usize) {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}
