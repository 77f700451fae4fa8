//! `rtlogd run`: the command as if it ran alone, and its output for readers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::harness::sse::lines;
use crate::harness::{Deadline, Ended, Program, TestDir, numbered};

/// The end of `rtlogd run -- sh -c SCRIPT`, logging nothing.
fn run(script: &str) -> Ended {
    let dir = TestDir::new();
    let mut command = dir.command(&["run", "--listen", "127.0.0.1:0", "--", "sh", "-c", script]);
    Program::start(command.env("RTLOGD_LOG", "off").stdin(Stdio::null())).ended()
}

#[test]
fn both_outputs_pass_through_unchanged() {
    let ended = run(r"printf 'a\r\nb\000\377\033[31m'; printf 'err\rno newline' >&2");
    assert_eq!(ended.out, b"a\r\nb\0\xff\x1b[31m");
    assert_eq!(ended.err, "err\rno newline");
    assert_eq!(ended.status.code(), Some(0));
}

/// What a command sees of its terminal, and what it prints.
const LOOK: &str =
    "test -t 0 && echo in; test -t 1 && echo out; test -t 2 && echo err; stty size <&1 2>/dev/null; echo end";

#[test]
fn with_pty_the_output_of_the_command_goes_through_a_terminal() {
    let dir = TestDir::new();
    let run = |options: &[&str]| {
        let arguments = [&["run", "--listen", "127.0.0.1:0"], options, &["--", "sh", "-c", LOOK]].concat();
        let mut command = dir.command(&arguments);
        let ended = Program::start(command.env("RTLOGD_LOG", "off").stdin(Stdio::null())).ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.err);
        String::from_utf8(ended.out).unwrap()
    };
    assert_eq!(run(&["--pty"]), "out\r\nerr\r\n30 120\r\nend\r\n");
    // Standard output is a pipe here.
    assert_eq!(run(&[]), "end\n");
    assert_eq!(run(&["--no-pty"]), "end\n");
}

/// Runs itself in a terminal of 90 columns, and prints what was written there.
const IN_TERMINAL: &str = "import os, pty, sys, fcntl, termios, struct
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 90, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    sys.stdout.write(piece.decode().replace('\\r', ''))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

#[test]
fn on_a_terminal_the_command_sees_a_terminal_of_its_size() {
    let dir = TestDir::new();
    let rtlogd = dir.command(&[]);
    let look = |options: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-c", IN_TERMINAL]).arg(rtlogd.get_program()).args(["run", "--listen", "127.0.0.1:0"]);
        command.args(options).args(["--", "sh", "-c", &format!("{LOOK}; exit 3")]).env("RTLOGD_LOG", "off");
        let ended = Program::start(command.stdin(Stdio::null())).ended();
        assert_eq!(ended.status.code(), Some(3), "{}", ended.err);
        // The address with a token is for the person at the terminal.
        let printed = String::from_utf8(ended.out).unwrap();
        let is_advice = |line: &&str| line.contains("access_token") || line.starts_with("Do not share this URL");
        printed.lines().filter(|line| !is_advice(line)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(look(&[]), "in out err 40 90 end");
    assert_eq!(look(&["--no-pty"]), "in end");
}

#[test]
fn a_large_output_passes_through_whole() {
    let ended = run("seq 1 200000");
    let expected = numbered("", 200_000);
    assert!(ended.out == expected.as_bytes(), "{} bytes instead of {}", ended.out.len(), expected.len());
}

#[test]
fn rtlogd_run_exits_with_the_status_of_its_command() {
    let table = [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -INT $$", 130),
    ];
    for (script, code) in table {
        assert_eq!(run(script).status.code(), Some(code), "{script}");
    }
}

#[test]
fn rtlogd_run_of_a_missing_command_is_an_error() {
    let ended = TestDir::new().execute(&["run", "--listen", "127.0.0.1:0", "--", "/no/such/program"]);
    assert_eq!(ended.status.code(), Some(127), "{}", ended.err);
    assert!(ended.err.contains("/no/such/program"), "{}", ended.err);
}

/// As in a shell: a command that writes to a pipe without a reader is ended by `PIPE`. rtlogd may notice a write late that the
/// reader left, so the command writes again.
#[test]
fn a_command_whose_output_nobody_reads_ends_as_without_rtlogd() {
    for option in ["--no-pty", "--pty"] {
        let dir = TestDir::new();
        dir.fifo("go");
        let script = "echo one; read x <go; while :; do echo two; sleep 0.05; done";
        let mut command = dir.command(&["run", "--listen", "127.0.0.1:0", option, "--", "sh", "-c", script]);
        command.env("RTLOGD_LOG", "off").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "one", "{option}");
        drop(out);
        dir.release("go");
        let status = Deadline::new().until("the end of the command", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(128 + 13), "{option}");
    }
}

#[test]
fn a_reader_of_a_run_gets_all_of_it_and_its_end() {
    let dir = TestDir::new();
    let daemon = dir.launch(
        &["run", "--listen", "127.0.0.1:0", "--name", "n", "--", "sh", "-c", "echo one; read line; echo $line; exit 4"],
        Stdio::piped(),
    );
    let mut reader = daemon.follow("n").query("tail=all").open();
    assert_eq!(reader.take(1)[0].data, "one");
    daemon.input(b"two\n");
    let seen = reader.until_end();
    assert_eq!(lines(&seen), ["two"]);
    assert_eq!(seen.iter().find(|message| message.event == "end").unwrap().json()["code"], 4, "{seen:#?}");
    let ended = daemon.ended();
    assert_eq!((ended.status.code(), ended.out.as_slice()), (Some(4), &b"one\ntwo\n"[..]));
}

#[test]
fn the_stream_is_named_after_the_program() {
    let daemon = TestDir::new()
        .launch(&["run", "--listen", "127.0.0.1:0", "--linger", "60s", "--", "/bin/echo", "hello"], Stdio::null());
    let seen = daemon.follow("echo").query("tail=all").until_end();
    assert_eq!(lines(&seen), ["hello"]);
    let last = &seen.last().unwrap().id;
    assert_eq!(daemon.follow("echo").last_event_id(last).status(), 204, "nothing more can come");
    daemon.terminate();
    assert_eq!(daemon.ended().status.code(), Some(0));
}

#[test]
fn a_reader_that_is_cut_again_and_again_sees_every_number_once() {
    let mut seq = Command::new("seq").args(["1", "100000"]).stdout(Stdio::piped()).spawn().unwrap();
    let input = Stdio::from(seq.stdout.take().unwrap());
    let arguments =
        ["run", "--listen", "127.0.0.1:0", "--name", "n", "--linger", "60s", "--memory", "256MiB", "--", "cat"];
    let daemon = TestDir::new().launch(&arguments, input);
    let mut random = fastrand::Rng::new();
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let mut count = |data: &str| *seen.entry(data.parse().unwrap()).or_default() += 1;
    let mut last: Option<String> = None;
    for _ in 0..5 {
        let follow = daemon.follow("n").query("tail=all");
        let mut reader = match &last {
            None => follow,
            Some(id) => follow.last_event_id(id),
        }
        .open();
        for message in reader.take(random.usize(1..15_000)) {
            count(&message.data);
            last = Some(message.id);
        }
    }
    let rest = daemon.follow("n").last_event_id(&last.unwrap()).until_end();
    assert!(!rest.iter().any(|message| message.event == "gap"));
    let end = rest.iter().find(|message| message.event == "end").unwrap_or_else(|| panic!("no end: {:?}", rest.last()));
    assert_eq!(end.json()["code"], 0);
    for line in lines(&rest) {
        count(line);
    }
    let wrong: Vec<_> = (1..=100_000).filter(|number| seen.get(number) != Some(&1)).collect();
    assert!(
        wrong.is_empty() && seen.len() == 100_000,
        "{} numbers are not there once: {:?}",
        wrong.len(),
        wrong.first()
    );
    assert!(seq.wait().unwrap().success());
    daemon.terminate();
    let ended = daemon.ended();
    assert_eq!(ended.status.code(), Some(0));
    let numbers: Vec<_> =
        String::from_utf8(ended.out).unwrap().lines().map(|line| line.parse::<u64>().unwrap()).collect();
    assert!(numbers == (1..=100_000).collect::<Vec<_>>(), "standard output has {} numbers", numbers.len());
}

#[test]
fn a_mistake_on_the_command_line_is_one_error() {
    for arguments in [
        &["run", "--name", "a b", "--", "true"][..],
        &["run"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--listen", "0.0.0.0:0", "app.log"],
        &["nonsense"],
    ] {
        let ended = TestDir::new().execute(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {}", ended.err);
        assert!(!ended.err.is_empty() && ended.out.is_empty(), "{arguments:?}");
    }
}

/// Every command in `tests/cli/` prints what stands there.
#[test]
fn commands_print_what_the_snapshots_show() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
