//! The output of commands on a real terminal, whose other end the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::harness::{Daemon, Deadline, Program, TestDir};

/// The width of the terminal.
const COLUMNS: u16 = 80;

/// What a command writes to a terminal of 80 columns that is its standard output, and its standard error too. The terminal
/// changes nothing.
fn on_a_terminal(command: &mut Command, until: &str) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let mut attributes = tcgetattr(&slave).unwrap();
    attributes.output_modes = OutputModes::empty();
    tcsetattr(&slave, OptionalActions::Now, &attributes).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let (out, err) = (slave.try_clone().unwrap(), slave);
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    // The command's own ends of the terminal would keep it open.
    *command = Command::new("true");
    let mut master = File::from(master);
    let (send, seen) = std::sync::mpsc::sync_channel(1000);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        // At the end of all that write to it, a terminal says EIO.
        while let Ok(count @ 1..) = master.read(&mut chunk) {
            if send.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut text = Vec::new();
    let until = until.as_bytes();
    Deadline::new().until("the end on the terminal", || {
        text.extend(seen.try_iter().flatten());
        text.windows(until.len()).any(|window| window == until).then_some(())
    });
    child.kill().unwrap_or_default();
    child.wait().unwrap();
    String::from_utf8(text).unwrap()
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = daemon.command(arguments);
    command.env("RTLOGD_URL", daemon.url("")).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// The lines of a text that are wider than the terminal.
fn wide(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.chars().count() > COLUMNS.into()).collect()
}

#[test]
fn the_help_of_each_command_is_as_wide_as_the_terminal() {
    let dir = TestDir::new();
    let commands = ["serve", "run", "check", "reload", "shutdown", "upgrade", "doctor", "schema", "history", "token"];
    let clients = ["ls", "runs", "follow", "push", "send", "start", "stop", "restart", "signal"];
    let all = commands.iter().chain(&clients).map(|command| (vec![*command, "--help"], "Print help"));
    for (arguments, end) in all.chain([(vec!["--help"], "Print version")]) {
        let help = on_a_terminal(dir.command(&arguments).env("NO_COLOR", "1"), end);
        assert_eq!(wide(&help), [""; 0], "{arguments:?}");
        assert!(help.lines().count() > 5, "{arguments:?}: {help}");
    }
}

#[test]
fn the_list_of_streams_is_as_wide_as_the_terminal() {
    let yaml = "streams:
  a-build-with-a-rather-long-name: { command: [sh, -c, 'exit 2'], restart: never, description: Release build of the whole tree with all of the tests }
  web: { push: true, description: nginx }";
    let daemon = Daemon::start(yaml);
    let name = "a-build-with-a-rather-long-name";
    daemon.follow(name).query("tail=all").until("its end", |message| message.is_state("stopped"));
    let seen = on_a_terminal(&mut client(&daemon, &["ls"]), "nginx\n");
    assert_eq!(wide(&seen), [""; 0], "{seen}");
    assert!(seen.contains("failed (exit 2)") && seen.contains("\u{2026}\n") && !seen.contains("READERS"), "{seen}");
    let ended = Program::start(client(&daemon, &["ls"]).stdin(Stdio::null())).ended();
    let piped = String::from_utf8(ended.out).unwrap();
    assert!(piped.contains("Release build of the whole tree with all of the tests\n"), "{piped}");
}

#[test]
fn groups_are_headings_on_a_terminal_and_names_leave_room_for_lines() {
    let dir = TestDir::new();
    let log =
        "::group::Install\nadded 3 packages\n::endgroup::\nsection_start:1:a\r\x1b[0KTest\n##[error]it broke\ndone\n";
    let name = "integration-tests-of-the-release-branch-amd64";
    dir.write("ci.log", log);
    let daemon = dir
        .start(&format!("streams: {{ {name}: {{ file: ci.log, from: start, progress: off }}, b: {{ push: true }} }}"));
    daemon.follow(name).query("tail=all").until("done", |message| message.data == "done");
    let arguments = ["follow", name, "--tail", "all"];
    let seen = on_a_terminal(client(&daemon, &arguments).env("NO_COLOR", "1"), "done\n");
    assert_eq!(seen, "==> Install\nadded 3 packages\n==> Test\nError: it broke\ndone\n");
    let seen = on_a_terminal(client(&daemon, &[&arguments[..], &["b"]].concat()).env("NO_COLOR", "1"), "done\n");
    assert!(seen.starts_with("integratio\u{2026}nch-amd64 | ==> Install\n"), "{seen:?}");
    // Other programs find what they look for.
    let mut command = client(&daemon, &arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = [0; 17];
    child.stdout.take().unwrap().read_exact(&mut out).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&out, b"::group::Install\n");
}

/// Lines that would steer a terminal, and what is shown of them.
const LINES: [(&str, &str); 8] = [
    ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\"),
    ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
    ("\x1b]0;title\x07", "␛]0;title␇"),
    ("\x1b[2J\x1b[H", "␛[2J␛[H"),
    ("a\rb\x08", "a␍b␈"),
    ("\x1bP$q\x1b\\\u{9b}2J", "␛P$q␛\\\\u{9b}2J"),
    ("\x1b]8;;file:///x\x07half \x1b[3", "␛]8;;file:///x␇half ␛[3"),
];

#[test]
fn lines_send_only_colours_and_links_to_a_terminal() {
    let dir = TestDir::new();
    let text = LINES.map(|(line, _)| line.to_owned() + "\n").concat();
    dir.write("app.log", format!("{text}done\n"));
    let daemon = dir.start("streams: { app: { file: app.log, from: start, carriage_return: keep } }");
    daemon.follow("app").query("tail=all").until("done", |message| message.data == "done");
    let expected = LINES.map(|(_, shown)| shown.to_owned() + "\n").concat();
    let seen = on_a_terminal(&mut client(&daemon, &["follow", "app", "--tail", "all"]), "done\n");
    assert_eq!(seen, expected + "done\n");
    // Objects of JSON have escapes of their own.
    let seen = on_a_terminal(&mut client(&daemon, &["follow", "app", "--tail", "all", "--json"]), "\"done\"}");
    assert!(!seen.contains(['\x1b', '\x07', '\u{9b}']) && seen.contains("\\u001b]52"), "{seen:?}");
    // With a second stream, each line begins with the name of its stream.
    let seen = on_a_terminal(&mut client(&daemon, &["follow", "app", "app", "--tail", "all"]), "done\n");
    assert!(seen.contains("␛]0;title␇\n") && !seen.contains("\x1b]0;"), "{seen:?}");
}

/// The options, `TERM`, `NO_COLOR`, whether standard output is a terminal, and what is printed.
type PrintedLines<'a> = (&'a [&'a str], &'a str, Option<&'a str>, bool, &'a str);

#[test]
fn colours_go_to_a_terminal_unless_the_user_decides_otherwise() {
    let dir = TestDir::new();
    dir.write(
        "app.log",
        "\x1b[31mred\nstill\x1b[0m \x1b]8;;https://a\x1b\\link\x1b]8;;\x1b\\\n\x1b]52;c;aGk=\x07\u{9b}2Jx\x07\ndone\n",
    );
    let daemon = dir.start("streams: { app: { file: app.log, from: start, carriage_return: keep } }");
    daemon.follow("app").query("tail=all").until("done", |message| message.data == "done");
    let coloured =
        "\x1b[31mred\x1b[0m\n\x1b[31mstill\x1b[0m \x1b]8;;https://a\x1b\\link\x1b]8;;\x1b\\\n␛]52;c;aGk=␇\\u{9b}2Jx␇\n";
    let uncoloured = "red\nstill link\n␛]52;c;aGk=␇\\u{9b}2Jx␇\n";
    let plain = "red\nstill link\nx\x07\n";
    let table: &[PrintedLines<'_>] = &[
        (&[], "xterm", None, true, coloured),
        (&[], "xterm", Some(""), true, coloured),
        (&[], "xterm", Some("1"), true, uncoloured),
        (&[], "dumb", None, true, uncoloured),
        (&["--color", "always"], "dumb", Some("1"), true, coloured),
        (&["--color=never"], "xterm", None, true, uncoloured),
        (&[], "xterm", None, false, plain),
        (&["--color", "never"], "xterm", None, false, plain),
        (&["--color", "always"], "xterm", Some("1"), false, coloured),
    ];
    for &(options, term, no_color, is_terminal, expected) in table {
        let mut command = client(&daemon, &[&["follow", "app", "--tail", "all"], options].concat());
        command.env("TERM", term).env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
        let expected = expected.to_owned() + "done\n";
        let seen = if is_terminal {
            on_a_terminal(&mut command, "done\n")
        } else {
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut out = vec![0; expected.len()];
            child.stdout.take().unwrap().read_exact(&mut out).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(seen, expected, "{options:?} TERM={term} NO_COLOR={no_color:?} terminal: {is_terminal}");
    }
}

/// A name of a file that would pass for a message of rtlogd, and set the title.
const NAME: &[u8] = b"\x1b]0;NAME\x07\n\rrtlogd: g: forged \xe2\x80\xae.log";

#[test]
fn names_and_reasons_are_one_line_without_control_characters() {
    let dir = TestDir::new();
    let path = dir.path("").join(std::ffi::OsStr::from_bytes(NAME));
    std::fs::write(&path, "id: 1\nanother line of some length\n").unwrap();
    let daemon = dir.start("streams: { g: { file: '*.log', from: start } }");
    daemon.follow("g").query("tail=all").take(2);
    // A loss, whose reason has the name in it.
    std::fs::File::create(&path).unwrap().write_all(b"x\n").unwrap();
    daemon.follow("g").query("tail=all").until("the line", |message| message.data == "x");
    let seen = on_a_terminal(&mut client(&daemon, &["follow", "g", "--tail", "all"]), "x\n");
    assert!(seen.contains("were lost: ") || seen.contains("truncated"), "{seen:?}");
    let wrong = |text: &str| {
        text.contains(['\x1b', '\x07', '\r', '\u{202e}'])
            || text.lines().any(|line| line.starts_with("rtlogd: g: forged"))
    };
    assert!(!wrong(&seen), "{seen:?}");
    // Other commands do not print it either, and the daemon does not log it.
    for arguments in [&["ls"][..], &["follow", "nothing\n\x1b]0;x\x07rtlogd: g: forged"]] {
        let ended = Program::start(client(&daemon, arguments).stdin(Stdio::null())).ended();
        let all = String::from_utf8_lossy(&ended.out).into_owned() + &ended.err;
        assert!(!wrong(&all), "{arguments:?}: {all:?}");
    }
    daemon.terminate();
    let (ended, dir) = daemon.ended_by(Deadline::new());
    assert!(!wrong(&ended.err), "{:?}", ended.err);
    // A configuration that cannot be read, and one that names such a file.
    for arguments in
        [&["check", "--config", "no\nrtlogd: g: forged\x1b[2J"][..], &["doctor", "--config", "no\x1b]0;x\x07"]]
    {
        let ended = dir.execute(arguments);
        assert!(!wrong(&ended.err) && ended.status.code() == Some(2), "{arguments:?}: {:?}", ended.err);
    }
}
