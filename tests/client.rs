//! `rtlogd ls` and `follow` against a running daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustix::process::Signal;

use crate::harness::{Daemon, Deadline, Ended, Program, TestDir, numbered, runs};

/// A stream `p` of this shell script, with further keys.
fn shell(script: &str, keys: &str) -> Daemon {
    Daemon::start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], {keys} }} }}"))
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = daemon.command(arguments);
    command.env("RTLOGD_URL", daemon.url("")).stdin(Stdio::null());
    command
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Ended {
    Program::start(&mut client(daemon, arguments)).ended()
}

fn text(ended: &Ended) -> &str {
    std::str::from_utf8(&ended.out).unwrap()
}

#[test]
fn the_list_shows_each_stream() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let yaml = "streams: { app: { file: app.log, description: What it does }, p: { command: [sleep, '1000'] },
        q: { command: [sh, -c, 'echo \"[ 50%] Building x\"; echo \"[ 60%] Building y\"; exit 2'], restart: never } }";
    let daemon = dir.start(yaml);
    daemon.follow("q").query("tail=all").until("its end", |message| message.is_state("stopped"));
    let listed = run(&daemon, &["ls"]);
    // At least two spaces separate the columns, and no field contains as many.
    let fields =
        |line: &str| line.split("  ").map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect();
    let lines: Vec<Vec<String>> = text(&listed).lines().map(fields).collect();
    assert_eq!(
        lines[0],
        ["NAME", "KIND", "STATE", "STARTED", "DURATION", "LINES/S", "READERS", "DESCRIPTION"],
        "{lines:?}"
    );
    assert_eq!(lines[1][..5], ["app", "file", "following", "-", "-"], "{lines:?}");
    assert_eq!(lines[1][6..], ["0", "What it does"], "{lines:?}");
    assert_eq!(lines[2][..3], ["p", "process", "running"], "{lines:?}");
    assert_eq!(lines[3][..3], ["q", "process", "failed (exit 2)"], "{lines:?}");
    for line in &lines[2..] {
        assert!(line[3].starts_with("20") && line[3].ends_with('Z') && line[4].ends_with('s'), "{line:?}");
    }
    let last = daemon.state("q")["last_run"].clone();
    assert_eq!((&last["run"], &last["code"], &last["cause"]), (&1.into(), &2.into(), &"exited".into()), "{last}");
    assert!(last["started"].is_string() && last["ended"].is_string() && last["duration"].is_f64(), "{last}");
    assert_eq!(listed.status.code(), Some(0));
}

#[test]
fn the_list_and_a_follower_say_why_a_stream_has_no_lines() {
    let yaml = "streams: { gone: { file: no/such.log }, p: { command: [no-such-program], restart: never },
        failed: { command: [sh, -c, 'exit 3'], restart: never, description: A build } }";
    let daemon = Daemon::start(yaml);
    for (name, state) in [("p", "stopped"), ("failed", "stopped"), ("gone", "waiting")] {
        daemon.follow(name).query("tail=all").until("its state", |message| message.is_state(state));
    }
    let listed = run(&daemon, &["ls"]);
    let missing = daemon.path("no/such.log");
    for (name, why) in [
        ("gone", format!("{} does not exist", missing.display())),
        ("p", "cannot start \"no-such-program\"".to_owned()),
        ("failed", "failed (exit 3)".to_owned()),
    ] {
        let line = text(&listed).lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains(&why), "{line}");
    }
    let [follows_p, program] = ["p", "gone"].map(|name| {
        let program = Program::start(&mut client(&daemon, &["follow", name]));
        daemon.until_readers(name, 1);
        program
    });
    std::fs::create_dir(daemon.path("no")).unwrap();
    daemon.write("no/such.log", "");
    daemon.follow("gone").query("tail=all").until("the file", |message| message.is_state("following"));
    daemon.terminate();
    let ended = follows_p.ended();
    assert!(ended.err.contains("rtlogd: p: stopped: cannot start \"no-such-program\""), "{}", ended.err);
    let ended = program.ended();
    let notices: Vec<&str> = ended.err.lines().collect();
    let waiting = format!("rtlogd: gone: waiting: {} does not exist", missing.display());
    assert_eq!(notices, [&waiting, "rtlogd: gone: following", "rtlogd: gone: the daemon was stopped"]);
}

#[test]
fn the_list_says_after_a_restart_how_the_last_run_ended() {
    // The name, the script, whether the process is stopped, and the state before and after the restart.
    let table = [
        ("passed", "exit 0", false, "passed", "passed"),
        ("failed", "exit 3", false, "failed (exit 3)", "failed (exit 3)"),
        ("killed", "kill -SEGV $$", false, "killed (SEGV)", "killed (SEGV)"),
        ("stopped", "echo ready; exec sleep 1000", true, "stopped", "stopped"),
        ("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.1; done", true, "stopped", "stopped"),
        ("lasting", "echo ready; exec sleep 1000", false, "running", "stopped"),
    ];
    let streams: Vec<_> = table
        .iter()
        .map(|(name, script, ..)| {
            format!(
                "  {name}: {{ command: [sh, -c, {script:?}], start: manual, restart: never, stop: {{ grace: 1s }} }}\n"
            )
        })
        .collect();
    let yaml = format!(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstate_directory: state\nstreams:\n{}  \
         demanded: {{ command: [sh, -c, 'echo x >>runs; wc -l <runs; exit 4'], directory: ., start: demand, restart: never }}\n",
        streams.concat()
    );
    let daemon = TestDir::new().start(&yaml);
    let order = |arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        command.env("RTLOGD_URL", format!("unix:{}", daemon.path("r.sock").display())).stdin(Stdio::null());
        let ended = Program::start(&mut command).ended();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {}", ended.err);
    };
    for (name, script, is_stopped, ..) in table {
        order(&["start", name]);
        if script.contains("ready") {
            daemon.follow(name).query("tail=all").until("its line", |message| message.data == "ready");
        }
        if is_stopped {
            order(&["stop", name]);
        }
        if name != "lasting" {
            daemon.follow(name).query("tail=all").until("its end", |message| message.event == "end");
        }
    }
    daemon.follow("demanded").query("tail=all").until("its end", |message| message.event == "end");
    let fields = |daemon: &Daemon, name: &str| -> Vec<String> {
        let listed = run(daemon, &["ls"]);
        let line = text(&listed).lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.split("  ").map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect()
    };
    let state = |daemon: &Daemon, name: &str, wanted: &str| {
        Deadline::new().until(wanted, || Some(fields(daemon, name)).filter(|fields| fields[2] == wanted))
    };
    let demanded = ("demanded", "", false, "failed (exit 4)", "failed (exit 4)");
    let rows = table.into_iter().chain([demanded]);
    let before: Vec<_> = rows.clone().map(|(name, .., word, _)| state(&daemon, name, word)).collect();
    daemon.terminate();
    let daemon = daemon.ended_by(Deadline::new()).1.start(&yaml);
    for ((name, .., word), before) in rows.zip(before) {
        let after = state(&daemon, name, word);
        assert_eq!(after[3], before[3], "{name} began when it began");
        let why = if name == "demanded" { "starts with the first reader" } else { "starts on request" };
        assert_eq!(after.last().unwrap(), why, "{name}");
        if name != "lasting" {
            assert_eq!(after[4], before[4], "{name} took as long as it took");
        }
    }
    // Nothing more comes of a process that has ended; one that starts with its first reader starts again.
    let follows = |name: &str| run(&daemon, &["follow", name, "--tail", "all"]);
    let ended = follows("failed");
    assert_eq!((ended.status.code(), text(&ended)), (Some(3), ""), "{}", ended.err);
    let ended = follows("demanded");
    assert_eq!((ended.status.code(), text(&ended)), (Some(4), "1\n2\n"), "{}", ended.err);
}

#[test]
fn a_process_that_starts_with_its_first_reader_is_followed_without_a_word_about_it() {
    let daemon = Daemon::start(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\n\
         streams: { p: { command: [sh, -c, 'echo hello; exit 4'], start: demand, restart: never } }",
    );
    let ended = run(&daemon, &["follow", "p"]);
    assert_eq!((ended.status.code(), text(&ended), ended.err.as_str()), (Some(4), "hello\n", ""));
}

#[test]
fn lines_are_pushed_from_a_file_from_standard_input_and_by_send() {
    let yaml = "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nbase_path: /logs\nstreams: { deploy: { push: true } }";
    let daemon = Daemon::start(yaml);
    daemon.write("lines.txt", "from a file\nwithout an end");
    let socket = format!("unix:{}", daemon.path("r.sock").display());
    let command = |arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        command.env("RTLOGD_URL", &socket).stdin(Stdio::null());
        command
    };
    let push = |arguments: &[&str]| {
        let ended = Program::start(&mut command(arguments)).ended();
        assert_eq!((ended.status.code(), &ended.out[..]), (Some(0), &b""[..]), "{arguments:?}: {}", ended.err);
    };
    push(&["push", "deploy", "lines.txt"]);
    push(&["send", "deploy", "by", "send"]);
    let mut slow = command(&["push", "deploy", "--origin", "runner 7"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = slow.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    // The line is there while the command still reads.
    let reader = daemon.request("/logs/streams/deploy?tail=all&data=json");
    reader.until("the first line of the input", |message| message.data.contains("\"one\""));
    input.write_all(b"two\n").unwrap();
    drop(input);
    assert!(slow.wait().unwrap().success());
    let last = reader.until("the last line", |message| message.data.contains("\"two\""));
    let pushed = last.iter().filter(|message| message.event.is_empty());
    let pushed: Vec<_> =
        pushed.map(|message| (message.json()["text"].clone(), message.json()["origin"].clone())).collect();
    let expected = [
        ("from a file", "push"),
        ("without an end", "push"),
        ("by send", "push"),
        ("one", "runner 7"),
        ("two", "runner 7"),
    ];
    assert_eq!(pushed, expected.map(|(text, origin)| (text.into(), origin.into())));
    for (arguments, why) in [
        (
            &["push", "deplyo", "lines.txt"][..],
            "no stream is named \"deplyo\"; did you mean \"deploy\"? (`rtlogd ls` lists the streams)\n",
        ),
        (&["push", "deploy", "no-such.txt"], "cannot read no-such.txt"),
        (&["push", "deploy", "."], "cannot read .\n  because: Is a directory"),
        // A file that can be opened, whose first page can not be read.
        (&["push", "deploy", "/proc/self/mem"], "cannot read /proc/self/mem"),
        (&["restart", "deploi"], "; did you mean \"deploy\"? ("),
        (&["send", "deploy", "x", "--eof"], "not a process"),
    ] {
        let ended = Program::start(&mut command(arguments)).ended();
        assert!(ended.status.code() == Some(1) && ended.err.contains(why), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn a_wrong_base_path_is_reported_with_the_right_address() {
    let with_path = Daemon::start("base_path: /logs\nstreams: { a: { push: true } }");
    let without = Daemon::start("streams: { a: { push: true } }");
    for (daemon, wrong, right) in [
        (&with_path, "", Some("/logs")),
        (&with_path, "/other", Some("/logs")),
        (&without, "/logs", Some("")),
        (&with_path, "/logs", None),
        (&without, "", None),
    ] {
        let port = daemon.address().tcp().port();
        for arguments in [&["ls"][..], &["follow", "b"], &["send", "b", "x"]] {
            let url = format!("http://127.0.0.1:{port}{wrong}");
            let ended = Program::start(daemon.command(arguments).env("RTLOGD_URL", &url).stdin(Stdio::null())).ended();
            let said = right.map(|right| format!("the address of this daemon is http://127.0.0.1:{port}{right}\n"));
            let said_right = said.as_ref().is_some_and(|said| ended.err.ends_with(said));
            assert_eq!(said_right, right.is_some(), "{url} {arguments:?}: {}", ended.err);
            assert!(right.is_some() || !ended.err.contains("the address of"), "{url}: {}", ended.err);
        }
    }
    // A port alone is one of this machine.
    let port = without.address().tcp().port().to_string();
    let listed = Program::start(&mut without.command(&["ls", "--url", &port])).ended();
    assert!(text(&listed).contains("\na "), "{}", listed.err);
}

#[test]
fn a_daemon_that_is_missing_is_one_clear_error() {
    let dir = TestDir::new();
    for arguments in [&["ls"][..], &["follow", "p"], &["send", "p", "x"], &["stop", "p"], &["signal", "p", "HUP"]] {
        let ended = Program::start(dir.command(arguments).env("RTLOGD_URL", "unix:/no/such.sock")).ended();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
        assert!(ended.err.starts_with("rtlogd: no rtlogd answers at unix:/no/such.sock"), "{}", ended.err);
        assert!(ended.err.contains("No such file"), "{}", ended.err);
    }
}

#[test]
fn a_missing_stream_is_reported_with_what_lists_the_others() {
    let daemon = Daemon::start("streams: { build: { push: true }, hidden: { push: true, private: true } }");
    let (url, by_url) = (daemon.url(""), daemon.url("/streams/biuld"));
    let of_url = format!(
        "rtlogd: no stream is named \"biuld\"; did you mean \"build\"? (`rtlogd ls --url {url}` lists the streams)\n"
    );
    for (name, said) in [
        ("nothing", "rtlogd: no stream is named \"nothing\" (`rtlogd ls` lists the streams)\n"),
        ("biuld", "rtlogd: no stream is named \"biuld\"; did you mean \"build\"? (`rtlogd ls` lists the streams)\n"),
        // A stream that the caller may not read is not revealed.
        ("hiden", "rtlogd: no stream is named \"hiden\" (`rtlogd ls` lists the streams)\n"),
        (&by_url, &of_url),
    ] {
        let ended = run(&daemon, &["follow", name]);
        assert_eq!((ended.status.code(), ended.err.as_str()), (Some(1), said));
    }
    // The list of the daemon that an option names needs the option, too.
    let unnamed = TestDir::new();
    let ended = Program::start(&mut unnamed.command(&["follow", "--url", &url, "biuld"])).ended();
    assert_eq!((ended.status.code(), ended.err.as_str()), (Some(1), of_url.as_str()));
}

#[test]
fn follow_prints_the_output_and_exits_with_the_status_of_the_process() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        // The run may have ended by then: the output is the same.
        let daemon = shell(&format!("printf 'a\\377b\\n  c'; {script}"), "restart: { when: never }");
        let ended = run(&daemon, &["follow", "p"]);
        assert_eq!((ended.status.code(), &ended.out[..]), (Some(code), &b"a\xffb\n  c\n"[..]), "{}", ended.err);
    }
}

#[test]
fn only_the_end_of_the_current_run_decides_the_status() {
    let script = "test -e second && { echo two; read x <go; exit 5; }; touch second; mkfifo go; echo one; exit 3";
    let daemon = shell(script, "directory: ., restart: { when: on-failure, backoff: 100ms..100ms, limit: 1 per 1h }");
    daemon.follow("p").query("tail=all").until("the second run", |message| message.data == "two");
    let program = Program::start(&mut client(&daemon, &["follow", "p", "--tail", "all"]));
    // The client follows by now, or will soon.
    daemon.release("go");
    let ended = program.ended();
    assert_eq!((ended.status.code(), text(&ended)), (Some(5), "one\ntwo\n"), "{}", ended.err);
}

#[test]
fn a_process_that_is_started_again_is_followed_on() {
    let script = "test -e second && { echo two; exit 5; }; touch second; echo one; read x <go; exit 3";
    let dir = TestDir::new();
    dir.fifo("go");
    let keys = "directory: ., restart: { when: on-failure, backoff: 100ms..100ms, limit: 1 per 1h }";
    let daemon = dir.start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], {keys} }} }}"));
    daemon.follow("p").query("tail=all").take(1);
    daemon.until_readers("p", 0);
    let program = Program::start(&mut client(&daemon, &["follow", "p", "--tail", "all"]));
    daemon.until_readers("p", 1);
    daemon.release("go");
    let ended = program.ended();
    assert_eq!((ended.status.code(), text(&ended)), (Some(5), "one\ntwo\n"), "{}", ended.err);
}

#[test]
fn several_streams_are_followed_until_the_last_process_has_ended() {
    // How `a` has ended when `follow` begins, and the exit code at the end: that of the last run of the first that failed.
    for (name, first, code) in [("fails", 3, 6), ("succeeds", 0, 6)] {
        let script = format!("test -e again && {{ echo two; exit 6; }}; touch again; echo one; exit {first}");
        let dir = TestDir::new();
        dir.fifo("go");
        let daemon = dir.start(&format!(
            "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]
streams:
  a: {{ command: [sh, -c, {script:?}], directory: ., restart: never }}
  b: {{ command: [sh, -c, 'echo b; read x <go; exit 4'], directory: ., restart: never }}
"
        ));
        daemon.follow("a").query("run=current").until_end();
        let follows = Program::start(&mut client(&daemon, &["follow", "a", "b", "--tail", "all"]));
        daemon.until_readers("a", 1);
        daemon.until_readers("b", 1);
        let mut start = daemon.command(&["start", "a"]);
        start.env("RTLOGD_URL", format!("unix:{}", daemon.path("r.sock").display()));
        assert_eq!(Program::start(&mut start).ended().status.code(), Some(0));
        daemon
            .follow("a")
            .query("tail=all")
            .until("the second end", |message| message.event == "end" && message.json()["run"] == 2);
        daemon.release("go");
        let ended = follows.ended();
        let mut lines: Vec<_> = text(&ended).lines().collect();
        lines.sort_unstable();
        assert_eq!(
            (ended.status.code(), lines),
            (Some(code), vec!["a | one", "a | two", "b | b"]),
            "{name}: {}",
            ended.err
        );
    }
}

#[test]
fn follow_ends_when_nobody_reads_its_output() {
    let daemon = shell("echo one; exec sleep 1000", "");
    daemon.follow("p").query("tail=all").take(1);
    let mut child = client(&daemon, &["follow", "p"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    drop(out);
    // No further line comes.
    let status = Deadline::new().until("the end of the command", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn lines_of_several_streams_are_labelled_and_filtered() {
    let yaml = "streams: { a: { command: [printf, '1\\n22\\n'], restart: { when: never } },
        long: { command: [sh, -c, 'echo 2; echo 23; exit 4'], restart: { when: never } } }";
    let daemon = Daemon::start(yaml);
    let ended = run(&daemon, &["follow", "a", "long", "--grep", "2", "--exclude", "3"]);
    let mut lines: Vec<_> = text(&ended).lines().collect();
    lines.sort_unstable();
    assert_eq!((ended.status.code(), lines), (Some(4), vec!["a    | 22", "long | 2"]), "{}", ended.err);
}

#[test]
fn json_is_each_event_on_a_line() {
    let ended =
        run(&shell("echo hello; exit 2", "restart: { when: never }"), &["follow", "p", "--json", "--run", "current"]);
    let events: Vec<serde_json::Value> = text(&ended).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap_or("line")).collect();
    assert_eq!(kinds[..3], ["state", "line", "end"], "{events:#?}");
    assert_eq!((&events[1]["text"], ended.status.code()), (&"hello".into(), Some(2)));
}

#[test]
fn follow_filters_by_level_and_origin() {
    let daemon = shell("echo 'error: a'; echo 'warning: b'; echo c; echo 'error: d' >&2", "restart: { when: never }");
    let table: &[(&[&str], &str)] = &[
        (&["--level", "error"], "error: a\nerror: d\n"),
        (&["--level", "warning", "--origin", "stdout"], "error: a\nwarning: b\n"),
        (&["--origin", "stderr"], "error: d\n"),
    ];
    for (options, expected) in table {
        let ended = run(&daemon, &[&["follow", "p"], *options].concat());
        let mut lines: Vec<&str> = text(&ended).lines().collect();
        // The two outputs of a process have no order.
        lines.sort_unstable();
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(lines, expected, "{options:?}");
    }
    let refused = run(&daemon, &["follow", "p", "--level", "loud"]);
    assert!(!refused.status.success() && refused.out.is_empty(), "{refused:?}");
}

#[test]
fn follow_exits_with_75_when_the_daemon_stops() {
    let daemon = shell("echo here; exec sleep 1000", "");
    daemon.follow("p").query("tail=all").take(1);
    daemon.until_readers("p", 0);
    let program = Program::start(&mut client(&daemon, &["follow", "p"]));
    daemon.until_readers("p", 1);
    daemon.terminate();
    let ended = program.ended();
    assert_eq!((ended.status.code(), text(&ended)), (Some(75), "here\n"), "{}", ended.err);
    assert!(ended.err.contains("the daemon was stopped"), "{}", ended.err);
}

#[test]
fn follow_continues_with_a_file_that_starts_again() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    let yaml = |line: &str| {
        format!("state_directory: state\nstreams: {{ p: {{ file: a.log, from: start, max_line: {line} }} }}")
    };
    let daemon = dir.start(&yaml("64KiB"));
    let program = Program::start(&mut client(&daemon, &["follow", "p", "--tail", "all"]));
    daemon.until_readers("p", 1);
    daemon.configure(&yaml("32KiB"));
    assert_eq!(daemon.execute(&["reload", "--config", "rtlogd.yaml"]).status.code(), Some(0));
    daemon.write("a.log", "two\n");
    daemon.until_readers("p", 1);
    daemon.terminate();
    let ended = program.ended();
    assert_eq!((ended.status.code(), text(&ended)), (Some(75), "one\ntwo\n"), "{}", ended.err);
    assert!(ended.err.contains("the daemon was stopped"), "{}", ended.err);
}

/// Passes connections on to `to`, and cuts each when it is told to. Gives back where it listens, and how many connections came.
fn cutting(to: SocketAddr, cut: Receiver<()>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    thread::spawn(move || {
        let (open, opened) = sync_channel::<TcpStream>(100);
        thread::spawn(move || {
            let mut all = Vec::new();
            while cut.recv().is_ok() {
                all.extend(opened.try_iter());
                for stream in all.drain(..) {
                    // The connection may have ended already.
                    stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
                }
            }
        });
        for ours in listener.incoming().map_while(Result::ok) {
            let theirs = TcpStream::connect(to).unwrap();
            open.send(ours.try_clone().unwrap()).unwrap();
            open.send(theirs.try_clone().unwrap()).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            for (mut from, mut to) in [(ours.try_clone().unwrap(), theirs.try_clone().unwrap()), (theirs, ours)] {
                thread::spawn(move || {
                    let mut chunk = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut chunk) {
                        if to.write_all(&chunk[..count]).is_err() {
                            break;
                        }
                    }
                    to.shutdown(std::net::Shutdown::Write).unwrap_or_default();
                });
            }
        }
    });
    (address, accepted)
}

#[test]
fn a_cut_connection_or_a_stalled_daemon_loses_and_repeats_nothing() {
    let script =
        "echo $$ >pid; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; read x <go; seq 3001 6000; exit 9";
    let dir = TestDir::new();
    dir.fifo("go");
    let daemon = dir.start(&format!(
        "streams: {{ p: {{ command: [sh, -c, {script:?}], directory: ., restart: {{ when: never }} }} }}"
    ));
    let (cut, cuts) = sync_channel(10);
    let (proxy, accepted) = cutting(daemon.address().tcp(), cuts);
    let mut command = client(&daemon, &["follow", "p", "--tail", "all"]);
    let program = Program::start(command.env("RTLOGD_URL", format!("http://{proxy}")));
    for _ in 0..2 {
        daemon.until_readers("p", 1);
        let before = accepted.load(Ordering::Relaxed);
        cut.send(()).unwrap();
        Deadline::new().until("a new connection", || (accepted.load(Ordering::Relaxed) > before).then_some(()));
    }
    daemon.until_readers("p", 1);
    let pid = std::fs::read_to_string(daemon.path("pid")).unwrap().trim().parse().unwrap();
    daemon.signal(Signal::STOP);
    daemon.release("go");
    // The process writes the rest and ends while the daemon stands still.
    Deadline::new().until("the end of the process", || (!runs(pid)).then_some(()));
    daemon.signal(Signal::CONT);
    let ended = program.ended();
    assert_eq!(ended.status.code(), Some(9), "{}", ended.err);
    assert!(text(&ended) == numbered("", 6000), "{} lines", text(&ended).lines().count());
}

#[test]
fn a_process_is_controlled_from_the_command_line_over_the_unix_socket() {
    let script =
        "echo ready; trap 'echo hup' HUP; while true; do if read line; then echo got $line; else sleep 0.05; fi; done";
    let yaml = format!(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstreams: {{ p: {{ command: [sh, -c, {script:?}], input: true }} }}"
    );
    let daemon = Daemon::start(&yaml);
    let mut reader = daemon.follow("p").query("tail=all").open();
    assert_eq!(reader.take(1)[0].data, "ready");
    let over_socket = |arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        let socket = format!("unix:{}", daemon.path("r.sock").display());
        let ended = Program::start(command.env("RTLOGD_URL", socket).stdin(Stdio::null())).ended();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {}", ended.err);
    };
    over_socket(&["send", "p", "some text"]);
    assert_eq!(reader.take(1)[0].data, "got some text");
    over_socket(&["signal", "p", "HUP"]);
    assert_eq!(reader.take(1)[0].data, "hup");
    over_socket(&["restart", "p"]);
    let restarted = reader.until("a new run", |message| message.is_state("running"));
    let end = restarted.iter().find(|message| message.event == "end").unwrap().json();
    assert_eq!((&end["run"], &end["cause"]), (&1.into(), &"stopped".into()));
    assert_eq!(reader.take(1)[0].data, "ready");
    over_socket(&["stop", "p"]);
    reader.until("the stop", |message| message.is_state("stopped"));
    over_socket(&["start", "p"]);
    assert_eq!(reader.take(1)[0].data, "ready");
    over_socket(&["ls"]);
    // Over TCP, everybody on this machine could: so nobody may.
    for arguments in
        [&["send", "p", "x"][..], &["stop", "p"], &["start", "p"], &["restart", "p"], &["signal", "p", "HUP"]]
    {
        let ended = run(&daemon, arguments);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        assert!(ended.err.contains("Unix socket"), "{}", ended.err);
    }
    // Whose stream takes no input says so, and what to do.
    let quiet =
        Daemon::start("listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstreams: { p: { command: [sleep, '1000'] } }");
    let mut command = quiet.command(&["send", "p", "x"]);
    command.env("RTLOGD_URL", format!("unix:{}", quiet.path("r.sock").display()));
    let ended = Program::start(&mut command).ended();
    assert!(ended.err.contains("input: true"), "{}", ended.err);
}
