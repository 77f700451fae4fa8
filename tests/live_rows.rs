//! `rtlogd follow` on a terminal: rows that a program can still change are drawn in place.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::terminal::OnTerminal;
use crate::harness::{Daemon, Deadline, TestDir};

/// A daemon with a stream `p`, a process on a terminal that runs this script, which may wait with `read x <go`, and then `go2` and `go3`.
fn daemon(script: &str) -> Daemon {
    let dir = TestDir::new();
    for step in ["go", "go2", "go3"] {
        dir.fifo(step);
    }
    dir.write("q.log", "");
    dir.start(&format!(
        "streams: {{ p: {{ command: [sh, -c, {script:?}], directory: ., pty: 100x20, restart: never }},
          q: {{ file: q.log, from: start }} }}"
    ))
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = daemon.command(arguments);
    command.env("RTLOGD_URL", daemon.url(""));
    command
}

/// A bar that grows, a line above it, and the end.
const BAR: &str = r"printf 'start\n'
    printf '\r\033[32m日本語日本語\033[0m 10%%'; read x <go
    printf '\r日本語日本語 60%%'; read x <go2
    printf '\r\033[Kabove\n'; printf '\r日本語日本語 90%%'; read x <go3
    printf '\r\033[Kdone\n'; exit 3";

#[test]
fn a_bar_is_drawn_in_place_and_removed_at_the_end() {
    let daemon = daemon(BAR);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 40, 6);
    terminal.until("the bar", &["start", "日本語日本語 10%"]);
    daemon.release("go");
    terminal.until("the bar at 60 %", &["start", "日本語日本語 60%"]);
    // The bar has 16 columns.
    terminal.resize(10, 6);
    terminal.until("the bar cut to the width", &["start", "日本語日本"]);
    terminal.resize(15, 3);
    terminal.until("the bar in a wider terminal", &["start", "日本語日本語 60"]);
    daemon.release("go2");
    terminal.until("the line above the bar", &["start", "above", "日本語日本語 90"]);
    daemon.release("go3");
    assert_eq!(terminal.ended().code(), Some(3));
    terminal.until("the end", &["start", "above", "done"]);
}

#[test]
fn a_block_is_drawn_below_the_lines_of_all_streams() {
    let script = r"for row in 1 2 3 4 5; do printf 'row %d\n' $row; done
        printf '\033[5A'; for row in 1 2 3 4 5; do printf '\033[Krow %d again\n' $row; done; read x <go
        printf '\033[5A\033[J'; printf 'done\n'; read x <go2";
    let daemon = daemon(script);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "q", "--tail", "all"]), 40, 5);
    // Each row was a line until the program drew it again. The first row of the block does not fit.
    let lines = ["p | row 1", "p | row 2", "p | row 3", "p | row 4", "p | row 5"];
    let rows = ["p | row 2 again", "p | row 3 again", "p | row 4 again", "p | row 5 again"];
    terminal.until("the last rows that fit", &[&lines[..], &rows].concat());
    daemon.write("q.log", "one\n");
    terminal.until("a line of the other stream", &[&lines[..], &["q | one"], &rows].concat());
    daemon.write("q.log", "two\n");
    terminal.until("another one", &[&lines[..], &["q | one", "q | two"], &rows].concat());
    daemon.release("go");
    terminal.until("the end of the block", &[&lines[..], &["q | one", "q | two", "p | done"]].concat());
    terminal.press(b"\x03");
    assert_eq!(terminal.ended().signal(), Some(2));
}

#[test]
fn what_the_user_types_does_not_move_the_rows() {
    let daemon = daemon(BAR);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 40, 6);
    terminal.until("the bar", &["start", "日本語日本語 10%"]);
    terminal.press(b"\r\rtext\r");
    daemon.release("go");
    terminal.until("the bar at 60 %", &["start", "日本語日本語 60%"]);
    // The terminal is as before at the end.
    assert!(!terminal.echoes());
    terminal.press(b"\x03");
    assert_eq!((terminal.ended().signal(), terminal.echoes()), (Some(2), true));
    assert_eq!(terminal.lines(), ["start"]);
}

#[test]
fn the_rows_are_removed_when_the_user_leaves() {
    let daemon = daemon(BAR);
    for (keys, signal) in [(b"\x03", 2), (b"\x1c", 3)] {
        let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 40, 6);
        terminal.until("the bar", &["start", "日本語日本語 10%"]);
        terminal.press(keys);
        assert_eq!(terminal.ended().signal(), Some(signal));
        assert_eq!(terminal.lines(), ["start"]);
    }
}

#[test]
fn the_terminal_is_as_before_whatever_ends_or_stops_follow() {
    let daemon = daemon(BAR);
    let bar = ["start", "日本語日本語 10%"];
    let start = |command: &Command| {
        let mut terminal = OnTerminal::start(command, 40, 6);
        terminal.until("the bar", &bar);
        Deadline::new().until("a silent terminal", || (!terminal.echoes()).then_some(()));
        terminal
    };
    let follow = client(&daemon, &["follow", "p", "--tail", "all"]);
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let mut terminal = start(&follow);
        terminal.signal(signal);
        assert_eq!((terminal.ended().signal(), terminal.echoes()), (Some(signal.as_raw()), true));
        assert_eq!(terminal.lines(), ["start"], "{signal:?}");
    }
    let mut terminal = start(&follow);
    terminal.signal(Signal::TSTP);
    Deadline::new().until("the stop", || terminal.is_stopped().then_some(()));
    assert!(terminal.echoes());
    terminal.until("that the bar is gone", &["start"]);
    terminal.signal(Signal::CONT);
    terminal.until("the bar again", &bar);
    Deadline::new().until("a silent terminal", || (!terminal.echoes()).then_some(()));
    // Nothing can be done before this stop, but the shell shows what is typed to it.
    terminal.signal(Signal::STOP);
    Deadline::new().until("the stop", || terminal.is_stopped().then_some(()));
    terminal.show_typed();
    terminal.signal(Signal::CONT);
    Deadline::new().until("a silent terminal", || (!terminal.echoes()).then_some(()));
    // A signal that the program was started to ignore changes nothing.
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(follow.get_program()).args(follow.get_args());
    ignoring.current_dir(daemon.path("")).env("RTLOGD_URL", daemon.url(""));
    let mut ignoring = start(&ignoring);
    ignoring.signal(Signal::HUP);
    daemon.release("go");
    for terminal in [&mut terminal, &mut ignoring] {
        terminal.until("the bar at 60 %", &["start", "日本語日本語 60%"]);
        assert!(!terminal.echoes());
        terminal.press(b"\x03");
        assert_eq!((terminal.ended().signal(), terminal.echoes()), (Some(2), true));
    }
}

#[test]
fn the_rows_are_removed_when_the_daemon_stops() {
    let daemon = daemon(BAR);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 100, 6);
    terminal.until("the bar", &["start", "日本語日本語 10%"]);
    daemon.terminate();
    assert_eq!(terminal.ended().code(), Some(75));
    let lines = terminal.lines();
    // The unfinished row is a line by then, since the process has ended.
    assert!(
        lines.iter().all(|line| !line.contains('%') || lines.iter().filter(|other| *other == line).count() == 1),
        "{lines:?}"
    );
    assert_eq!(
        (lines.first().unwrap().as_str(), lines.last().unwrap().contains("the daemon was stopped")),
        ("start", true),
        "{lines:?}"
    );
}

#[test]
fn live_rows_cannot_steer_the_terminal_and_keep_their_colours() {
    let script = r"printf 'start\n'; printf '\r\033[31mred\033[0m \033]52;c;aGk=\007\033]0;t\007x'; read x <go";
    let daemon = daemon(script);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 40, 6);
    terminal.until("the row", &["start", "red x"]);
    assert_eq!(terminal.colour(1), Some(avt::Color::Indexed(1)));
    let written = String::from_utf8(terminal.bytes.clone()).unwrap();
    assert!(!written.contains("\x1b]52") && !written.contains("\x1b]0"), "{written:?}");
    let mut plain = OnTerminal::start(client(&daemon, &["follow", "p", "--tail", "all"]).env("NO_COLOR", "1"), 40, 6);
    plain.until("the row without a colour", &["start", "red x"]);
    assert_eq!(plain.colour(1), None);
    // A terminal that cannot move its cursor gets the lines alone.
    let mut dumb = OnTerminal::start(client(&daemon, &["follow", "p", "--tail", "all"]).env("TERM", "dumb"), 40, 6);
    dumb.until("the line", &["start"]);
    daemon.release("go");
    dumb.ended();
    assert!(!dumb.bytes.contains(&0x1b), "{:?}", String::from_utf8_lossy(&dumb.bytes));
}

#[test]
fn progress_is_a_row_if_the_program_draws_none() {
    let script =
        r"printf 'start\n'; printf '\033]9;4;1;40\007'; read x <go; printf '\033]9;4;0;\007'; echo done; read x <go2";
    let daemon = daemon(script);
    let mut terminal = OnTerminal::start(&client(&daemon, &["follow", "p", "--tail", "all"]), 60, 6);
    terminal.until("the progress", &["start", "  40 %  [########............]"]);
    daemon.release("go");
    terminal.until("the end of the progress", &["start", "done"]);
}
