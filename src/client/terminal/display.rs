//! Standard output with lines above and, on a terminal, a block of live rows below them.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::future::{pending, poll_fn};
use std::io;
use std::task::Poll;

use rustix::process::Signal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::low_level::emulate_default_handler;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};

use super::live_block::LiveBlock;
use super::output::Output;
use super::safe_text::SafeText;
use super::{print, print_error, terminal_size};

/// Prints lines, and keeps live rows below them if standard output is a terminal that can draw them. Dropping it erases
/// the rows.
#[derive(Debug)]
pub(crate) struct Display(RefCell<State>);

#[derive(Debug)]
struct State {
    /// `None` if standard output cannot show rows that change.
    block: Option<LiveBlock>,
    /// `true` if the last printed line has no end yet, so that the block has no place.
    is_line_open: bool,
    /// `true` if the rows have changed since they were drawn.
    is_changed: bool,
    /// Set from the first row on.
    echo: Option<EchoOff>,
}

/// A terminal that does not show what the user types: the echo of Enter would move the cursor away from the rows.
/// Dropping it shows that again.
#[derive(Debug)]
struct EchoOff(Termios);

impl EchoOff {
    /// Switches the echo off. `None` if standard input is no terminal, or belongs to another program at the moment, which a
    /// program in the background must not change.
    fn new() -> Option<Self> {
        let input = rustix::stdio::stdin();
        if !is_in_foreground() {
            return None;
        }
        let before = tcgetattr(input).ok()?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        tcsetattr(input, OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // In the background, the shell has the terminal back with its own settings, and a change would stop this program.
        if is_in_foreground() {
            // If it fails, the terminal is gone.
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0).unwrap_or_default();
        }
    }
}

/// Returns whether standard input is a terminal that belongs to this program at the moment.
fn is_in_foreground() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The signals that end the program, or stop it, unless whoever started it has set them to be ignored (`nohup`).
const LEAVING_SIGNALS: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::TSTP];

/// The numbers of those signals that are not ignored.
fn leaving_signals() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let ignored = ignored.unwrap_or_default();
    LEAVING_SIGNALS.map(Signal::as_raw).into_iter().filter(move |number| ignored & (1 << (number - 1)) == 0)
}

impl Display {
    /// A display without rows.
    pub(crate) fn new(output: Output) -> Self {
        let block = output.is_live.then(|| LiveBlock::new(output.form));
        Self(RefCell::new(State { block, is_line_open: false, is_changed: false, echo: None }))
    }

    /// Prints lines, and draws the rows below them.
    ///
    /// # Errors
    /// If standard output is closed, or its disk is full.
    pub(crate) fn print(&self, lines: &SafeText) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let is_changed = std::mem::take(&mut state.is_changed);
        if lines.0.is_empty() && !is_changed {
            return Ok(());
        }
        let mut out = Vec::new();
        state.erase(&mut out);
        out.extend_from_slice(&lines.0);
        if let Some(last) = lines.0.last() {
            state.is_line_open = *last != b'\n';
        }
        state.draw(&mut out);
        print(&SafeText(out))
    }

    /// Prints a message to standard error.
    pub(crate) fn print_message(&self, message: &SafeText) {
        let mut state = self.0.borrow_mut();
        state.write(State::erase);
        print_error(message);
        state.write(State::draw);
    }

    /// Replaces the live rows of an origin of a stream, which are drawn after the prefix; without rows, they are
    /// withdrawn. The next [`Self::print`] shows them, here and in the functions below.
    pub(crate) fn set_rows(&self, stream: usize, origin: &str, prefix: Option<&SafeText>, rows: &[String]) {
        self.change(|block| block.set_rows(stream, origin, prefix, rows));
    }

    /// Withdraws all live rows of a stream.
    pub(crate) fn clear_rows(&self, stream: usize) {
        self.change(|block| block.clear_rows(stream));
    }

    /// Replaces the progress of a stream, which is shown while the stream has no live rows.
    pub(crate) fn set_progress(&self, stream: usize, prefix: Option<&SafeText>, text: Option<&str>) {
        self.change(|block| block.set_progress(stream, prefix, text));
    }

    fn change(&self, change: impl FnOnce(&mut LiveBlock)) {
        let mut state = self.0.borrow_mut();
        if let Some(block) = &mut state.block {
            change(block);
            state.is_changed = true;
        }
    }

    /// Adapts the rows to each new size of the terminal, and erases them before a signal stops or ends the program. May
    /// be dropped at any time.
    ///
    /// # Errors
    /// If signals cannot be received.
    pub(crate) async fn handle_signals(&self) -> io::Result<Infallible> {
        if self.0.borrow().block.is_none() {
            return pending().await;
        }
        let mut resized = signal(SignalKind::window_change())?;
        let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        let mut leaving = Vec::new();
        for number in leaving_signals() {
            leaving.push((number, signal(SignalKind::from_raw(number))?));
        }
        loop {
            let left = poll_fn(|context| {
                let arrived = leaving
                    .iter_mut()
                    .find_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number));
                arrived.map_or(Poll::Pending, Poll::Ready)
            });
            let number = select! {
                _ = resized.recv() => None,
                // The shell may have changed the terminal meanwhile.
                _ = continued.recv() => {
                    self.0.borrow_mut().echo = None;
                    None
                }
                number = left => Some(number),
            };
            let mut state = self.0.borrow_mut();
            state.write(State::erase);
            if let Some(number) = number {
                state.echo = None;
                // Ends the program, or stops it until it is continued.
                emulate_default_handler(number)?;
            }
            state.write(State::draw);
        }
    }
}

impl State {
    fn erase(&mut self, out: &mut Vec<u8>) {
        if let Some(block) = &mut self.block {
            block.erase(out);
        }
    }

    fn draw(&mut self, out: &mut Vec<u8>) {
        if let Some(block) = self.block.as_mut().filter(|_| !self.is_line_open) {
            block.draw(terminal_size(), out);
            if block.is_drawn() && self.echo.is_none() {
                self.echo = EchoOff::new();
            }
        }
    }

    /// Writes what `step` appends. An error is ignored: it comes again when lines are printed.
    fn write(&mut self, step: fn(&mut Self, &mut Vec<u8>)) {
        let mut out = Vec::new();
        step(self, &mut out);
        if !out.is_empty() {
            print(&SafeText(out)).unwrap_or_default();
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.0.get_mut().write(State::erase);
    }
}
