//! Commands that outlive rtlogd: the next one takes them over. (Restarts by systemd are in the tests of the package, and
//! `rtlogd upgrade` is in `upgrade`.)

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Daemon, Deadline, TestDir, is_root_or_skip, pause, runs};

/// A command that prints 1, 2, 3 and so on, a hundred a second.
pub(crate) const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

pub(crate) fn again(dir: TestDir) -> Daemon {
    dir.launch(&["serve", "--config", "rtlogd.yaml"], Stdio::null())
}

/// The process id and the number of the run.
pub(crate) fn run_of(daemon: &Daemon, stream: &str) -> (u64, u64) {
    Deadline::new().until("a running command", || {
        let state = daemon.state(stream);
        Some((state["source"]["pid"].as_u64()?, state["source"]["run"].as_u64()?))
    })
}

fn parent_of(pid: u64) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

/// All recorded events of a stream.
pub(crate) fn events(daemon: &Daemon, stream: &str) -> Vec<Value> {
    events_in(&daemon.follow(stream).query("tail=all&follow=false&format=ndjson").body())
}

/// The events in a body of the format `ndjson`.
pub(crate) fn events_in(body: &[u8]) -> Vec<Value> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

pub(crate) fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["text"].as_str()).collect()
}

pub(crate) fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

#[test]
fn a_command_outlives_daemons_that_are_killed() {
    for pty in [false, true] {
        let yaml = format!("state_directory: state\nstreams: {{ p: {{ command: [sh, -c, '{COUNT}'], pty: {pty} }} }}");
        let mut daemon = TestDir::new().start(&yaml);
        let run = run_of(&daemon, "p");
        for kills in 1..=5 {
            daemon.follow("p").until("some lines", |message| message.data.parse::<u64>().is_ok_and(|n| n > 10 * kills));
            daemon = again(daemon.kill());
            assert_eq!(run_of(&daemon, "p"), run, "pty: {pty}");
        }
        let all = events(&daemon, "p");
        let numbers: Vec<u64> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
        let last = *numbers.last().unwrap();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "each line comes once, and in order");
        assert!(of_kind(&all, "loss").is_empty() && of_kind(&all, "end").is_empty(), "pty: {pty}");
        let (ended, dir) = {
            daemon.terminate();
            daemon.ended_by(Deadline::new())
        };
        assert!(ended.status.success());
        assert!(!runs(run.0), "a daemon that is asked to end takes the command with it");
        Deadline::new().until("the end of the shim", || {
            (fs::read_dir(dir.path("state/shim")).unwrap().count() == 0).then_some(())
        });
    }
}

/// Release builds have no such points.
#[cfg(debug_assertions)]
#[test]
fn a_daemon_that_is_killed_between_two_steps_loses_no_line_and_repeats_none() {
    use std::os::unix::process::ExitStatusExt;

    // Half a line at a time, so that the moments fall into lines as well.
    let halves = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); printf \"number \"; sleep 0.002; echo $i; done; sleep 1000";
    for pty in [false, true] {
        for point in ["staged", "recorded", "settled", "attached"] {
            for times in [1, 2, 7] {
                if point == "attached" && times > 1 {
                    continue;
                }
                let dir = TestDir::new();
                dir.configure(&format!(
                    "state_directory: state\nstreams: {{ p: {{ command: [sh, -c, '{halves}'], pty: {pty} }} }}"
                ));
                let arguments = ["serve", "--config", "rtlogd.yaml"];
                let dir = if point == "attached" {
                    let daemon = again(dir);
                    run_of(&daemon, "p");
                    daemon.kill()
                } else {
                    dir
                };
                let mut command = dir.command(&arguments);
                let mut daemon = command.env("RTLOGD_KILL_AT", format!("{point}:{times}")).spawn().unwrap();
                let status = Deadline::new().until("its death", || daemon.try_wait().unwrap());
                assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{point}:{times}, pty: {pty}");
                let daemon = again(dir);
                daemon.follow("p").query("tail=all").until("the last line", |message| message.data == "number 200");
                let all = events(&daemon, "p");
                let expected: Vec<String> = (1..=200).map(|n| format!("number {n}")).collect();
                assert_eq!(texts(&all), expected, "{point}:{times}, pty: {pty}");
                assert!(of_kind(&all, "loss").is_empty() && of_kind(&all, "end").is_empty(), "{point}:{times}");
            }
        }
    }
}

#[test]
fn a_command_that_ends_without_a_daemon_has_its_output_and_its_exit_code() {
    let dir = TestDir::new();
    dir.fifo("go");
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'read x <go; echo last; exit 7'], \
        directory: ., restart: never } }";
    let daemon = dir.start(yaml);
    let (pid, run) = run_of(&daemon, "p");
    let dir = daemon.kill();
    dir.release("go");
    Deadline::new().until("the end of the command", || (!runs(pid)).then_some(()));
    let daemon = again(dir);
    let all = Deadline::new().until("the end event", || {
        let all = events(&daemon, "p");
        (!of_kind(&all, "end").is_empty()).then_some(all)
    });
    assert!(texts(&all).contains(&"last"));
    let end = of_kind(&all, "end")[0];
    assert_eq!((&end["code"], &end["run"], &end["cause"]), (&7.into(), &run.into(), &"exited".into()), "{end}");
    // The state follows the event.
    Deadline::new().until("the state", || (daemon.state("p")["source"]["state"] == "stopped").then_some(()));
}

#[test]
fn what_changed_meanwhile_is_restarted_or_ended() {
    let stream = |name: &str, command: &str| format!("{name}: {{ command: [sh, -c, '{command}'] }}");
    let [same, changed, gone] = ["same", "changed", "gone"].map(|name| stream(name, "echo ready; sleep 1000"));
    let daemon = TestDir::new().start(&format!("state_directory: state\nstreams: {{ {same}, {changed}, {gone} }}"));
    let before = ["same", "changed", "gone"].map(|name| run_of(&daemon, name));
    let dir = daemon.kill();
    let changed = stream("changed", "echo other; sleep 1000");
    dir.configure(&format!("state_directory: state\nstreams: {{ {same}, {changed} }}"));
    let daemon = again(dir);
    assert_eq!(run_of(&daemon, "same"), before[0]);
    Deadline::new().until("the new run", || (run_of(&daemon, "changed").1 == before[1].1 + 1).then_some(()));
    let all = events(&daemon, "changed");
    assert_eq!(of_kind(&all, "end")[0]["cause"], "daemon-stopped");
    for (pid, _) in &before[1..] {
        Deadline::new().until("the end of a command", || (!runs(*pid)).then_some(()));
    }
}

#[test]
fn without_the_time_to_wait_a_command_ends_with_the_daemon() {
    for yaml in [
        "state_directory: state\norphan_timeout: 0s\nstreams: { p: { command: [sleep, 1000] } }",
        "state_directory: state\nstreams: { p: { command: [sleep, 1000], orphan_timeout: 0s } }",
        "streams: { p: { command: [sleep, 1000] } }",
    ] {
        let daemon = TestDir::new().start(yaml);
        let (pid, _) = run_of(&daemon, "p");
        let dir = daemon.kill();
        Deadline::new().until("the end of the command", || (!runs(pid)).then_some(()));
        drop(dir);
    }
}

#[test]
fn a_command_that_no_daemon_claims_is_stopped_as_its_stream_says() {
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'trap \"echo asked >asked; exit\" INT; \
        echo ready; while :; do sleep 0.01; done'], directory: ., stop: { signal: INT }, orphan_timeout: 300ms } }";
    let daemon = TestDir::new().start(yaml);
    let (pid, _) = run_of(&daemon, "p");
    daemon.follow("p").until("the trap", |message| message.data == "ready");
    let dir = daemon.kill();
    Deadline::new().until("the end of the command", || (!runs(pid)).then_some(()));
    assert_eq!(fs::read_to_string(dir.path("asked")).unwrap(), "asked\n");
    Deadline::new()
        .until("the end of the shim", || (fs::read_dir(dir.path("state/shim")).unwrap().count() == 0).then_some(()));
    // The next daemon starts a new run, and says what is missing.
    let daemon = again(dir);
    Deadline::new().until("the next run", || (run_of(&daemon, "p").1 == 2).then_some(()));
    assert_eq!(of_kind(&events(&daemon, "p"), "end")[0]["cause"], "daemon-killed");
}

#[test]
fn a_command_waits_for_its_reader_while_there_is_no_daemon() {
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'read x <go; seq 100000; sleep 1000'], \
        directory: . } }";
    let dir = TestDir::new();
    dir.fifo("go");
    let daemon = dir.start(yaml);
    run_of(&daemon, "p");
    let dir = daemon.kill();
    dir.release("go");
    pause("the command fills its pipe", std::time::Duration::from_millis(200));
    let daemon = again(dir);
    daemon.follow("p").query("tail=all").until("the last line", |message| message.data == "100000");
    let all = events(&daemon, "p");
    let numbers: Vec<u64> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=100_000).collect::<Vec<_>>());
}

#[test]
fn a_command_begins_in_the_directory_of_rtlogd_and_inherits_nothing_else() {
    let dir = TestDir::new();
    dir.configure("state_directory: state\nstreams: { p: { command: [sh, -c, 'pwd; echo ready; sleep 1000'] } }");
    // The program that starts rtlogd has a lock.
    let wrapper = ["sh", "-c", "exec 9>lock; exec \"$@\"", "sh"];
    let daemon = dir.launch_by(&wrapper, &["serve", "--config", "rtlogd.yaml"]);
    daemon.follow("p").until("the command", |message| message.data == "ready");
    let directory = fs::read_link(format!("/proc/{}/cwd", daemon.pid())).unwrap();
    assert_eq!(texts(&events(&daemon, "p"))[0], directory.to_str().unwrap());
    let (pid, _) = run_of(&daemon, "p");
    for process in [pid, parent_of(pid)] {
        for descriptor in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
            let file = fs::read_link(descriptor.unwrap().path()).unwrap();
            assert_ne!(file, directory.join("lock"), "process {process}, and the command is {pid}");
        }
    }
}

#[test]
fn a_reload_by_the_name_of_the_program_does_not_end_commands() {
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'trap \"echo asked; exit 3\" TERM; echo ready; \
        while :; do sleep 0.01; done'], restart: never } }";
    let daemon = TestDir::new().start(yaml);
    let (pid, _) = run_of(&daemon, "p");
    daemon.follow("p").until("the trap", |message| message.data == "ready");
    let shim = Pid::from_raw(i32::try_from(parent_of(pid)).unwrap()).unwrap();
    kill_process(shim, Signal::HUP).unwrap();
    // The signal that ends a run comes next. A shim that the first one had killed would not know the exit code.
    kill_process(shim, Signal::TERM).unwrap();
    let end =
        Deadline::new().until("the end event", || of_kind(&events(&daemon, "p"), "end").first().copied().cloned());
    assert_eq!((&end["code"], &end["cause"]), (&3.into(), &"exited".into()), "{end}");
}

#[test]
fn a_command_starts_even_if_it_can_neither_be_kept_nor_have_temporary_files() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("state")).unwrap();
    fs::write(dir.path("state/tmp"), "").unwrap();
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'echo ready; sleep 1000'], \
        restart: { when: always, backoff: 100ms..100ms } } }";
    let daemon = dir.start(yaml);
    let (pid, run) = run_of(&daemon, "p");
    let logs = |text: &str| Deadline::new().until(text, || daemon.logged().contains(text).then_some(()));
    logs("uses the temporary directory of the system");
    fs::remove_dir_all(format!("/proc/{}/cwd/state/shim", daemon.pid())).unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    let next = Deadline::new().until("the next run", || Some(run_of(&daemon, "p")).filter(|next| next.1 == run + 1));
    logs("the command will end with rtlogd");
    let dir = daemon.kill();
    Deadline::new().until("the end of the command", || (!runs(next.0)).then_some(()));
    drop(dir);
}

#[test]
fn a_run_that_no_history_knows_ends_before_the_next_one_begins() {
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'trap \"\" TERM; echo ready; \
        while :; do sleep 0.01; done'], stop: { grace: 500ms } } }";
    let daemon = TestDir::new().start(yaml);
    let (pid, _) = run_of(&daemon, "p");
    daemon.follow("p").until("the trap", |message| message.data == "ready");
    let dir = daemon.kill();
    fs::remove_dir_all(dir.path("state/streams")).unwrap();
    let daemon = again(dir);
    let next = run_of(&daemon, "p");
    assert!(next.0 != pid && !runs(pid), "two runs at a time");
}

#[test]
fn a_daemon_that_cannot_start_leaves_commands_to_the_next() {
    let yaml = |key: &str, stream: &str| {
        format!("state_directory: state\n{key}\nstreams: {{ p: {{ command: [sh, -c, '{COUNT}'] }}{stream} }}")
    };
    let mut daemon = TestDir::new().start(&yaml("", ""));
    let run = run_of(&daemon, "p");
    // A history is a directory.
    daemon.write("state/streams/z", "");
    // What cannot be used, and the keys that name it.
    let table = [
        ("a certificate", "tls: { certificate: no.pem, key: no.pem }", ""),
        ("the user of a proxy", "trusted_proxies: [\"unix:no-such-user\"]", ""),
        ("the history of another stream", "", ", z: { command: [sleep, 1000] }"),
    ];
    for (what, key, stream) in table {
        let dir = daemon.kill();
        dir.configure(&yaml(key, stream));
        let failed = dir.execute(&["serve", "--config", "rtlogd.yaml"]);
        assert_eq!(failed.status.code(), Some(1), "{what}: {failed:?}");
        dir.configure(&yaml("", ""));
        daemon = again(dir);
        assert_eq!(run_of(&daemon, "p"), run, "{what}");
    }
    let count = texts(&events(&daemon, "p")).len();
    daemon.follow("p").until("more lines", |message| message.data.parse().is_ok_and(|n: usize| n > count));
    let all = events(&daemon, "p");
    let numbers: Vec<usize> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "each line comes once, and in order");
}

#[test]
fn what_left_a_run_that_was_taken_over_ends_with_it() {
    let yaml =
        "state_directory: state\nstreams: { p: { command: [sh, -c, 'env -i setsid sleep 1000 & echo $!; wait'] } }";
    let daemon = TestDir::new().start(yaml);
    let left = daemon.follow("p").until("a process id", |message| message.data.parse::<u64>().is_ok());
    let left: u64 = left.last().unwrap().data.parse().unwrap();
    let daemon = again(daemon.kill());
    run_of(&daemon, "p");
    assert!(runs(left));
    daemon.terminate();
    daemon.ended_by(Deadline::new());
    Deadline::new().until("the end of the process", || (!runs(left)).then_some(()));
}

/// Waits until no shim is left in the state directory.
fn until_no_shim(dir: &TestDir) {
    Deadline::new()
        .until("the end of the shims", || (fs::read_dir(dir.path("state/shim")).unwrap().count() == 0).then_some(()));
}

#[test]
fn a_stop_ends_commands_or_keeps_them_as_it_is_told() {
    // `processes_at_stop`, the request (a signal without one), and whether the command continues.
    let table: [(&str, Option<&[&str]>, bool); 6] = [
        ("end", None, false),
        ("keep", None, true),
        ("end", Some(&[]), false),
        ("keep", Some(&[]), false),
        ("end", Some(&["--keep-processes"]), true),
        ("keep", Some(&["--keep-processes"]), true),
    ];
    for (configured, request, continues) in table {
        let yaml = format!(
            "state_directory: state\nprocesses_at_stop: {configured}\nstreams: {{ p: {{ command: [sh, -c, '{COUNT}'] }} }}"
        );
        let daemon = TestDir::new().start(&yaml);
        let run = run_of(&daemon, "p");
        daemon.follow("p").until("a line", |message| message.data == "5");
        match request {
            None => daemon.terminate(),
            Some(options) => {
                let asked = daemon.execute(&[&["shutdown", "--config", "rtlogd.yaml"], options].concat());
                let said = if continues { "rtlogd has ended; its commands continue\n" } else { "rtlogd has ended\n" };
                assert_eq!((String::from_utf8_lossy(&asked.out).as_ref(), asked.err.as_str()), (said, ""));
                assert!(!runs(u64::try_from(daemon.pid()).unwrap()), "the request returns once the daemon has ended");
            }
        }
        let (ended, dir) = daemon.ended_by(Deadline::new());
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(runs(run.0), continues, "{configured} {request:?}");
        if !continues {
            until_no_shim(&dir);
            continue;
        }
        let daemon = again(dir);
        assert_eq!(run_of(&daemon, "p"), run);
        daemon.follow("p").until("more lines", |message| message.data.parse::<u64>().is_ok_and(|n| n > 20));
        let all = events(&daemon, "p");
        let numbers: Vec<u64> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(numbers, (1..=*numbers.last().unwrap()).collect::<Vec<_>>(), "{configured} {request:?}");
        let asked = daemon.execute(&["shutdown", "--config", "rtlogd.yaml"]);
        assert!(asked.status.success(), "{asked:?}");
        until_no_shim(&daemon.ended_by(Deadline::new()).1);
    }
}

#[test]
fn a_reload_changes_what_a_stop_does() {
    let yaml = |how: &str| {
        format!("state_directory: state\nprocesses_at_stop: {how}\nstreams: {{ p: {{ command: [sleep, 1000] }} }}")
    };
    let daemon = TestDir::new().start(&yaml("end"));
    let run = run_of(&daemon, "p");
    daemon.configure(&yaml("keep"));
    let reloaded = daemon.execute(&["reload", "--config", "rtlogd.yaml"]);
    assert_eq!(String::from_utf8_lossy(&reloaded.out), "streams: 1 unchanged\n", "{}", reloaded.err);
    daemon.terminate();
    let daemon = again(daemon.ended_by(Deadline::new()).1);
    assert_eq!(run_of(&daemon, "p"), run);
}

#[test]
fn a_request_to_a_daemon_that_does_not_run_fails() {
    let dir = TestDir::new();
    dir.configure("streams: {}");
    for command in ["shutdown", "upgrade", "reload"] {
        let asked = dir.execute(&[command, "--config", "rtlogd.yaml"]);
        assert_eq!(asked.status.code(), Some(1), "{command}");
        assert!(asked.err.contains("no rtlogd with the configuration"), "{command}: {}", asked.err);
    }
}

/// The options of a command that talks to the daemon as its owner.
fn at_socket(dir: &TestDir) -> [String; 2] {
    ["--url".to_owned(), format!("unix:{}", dir.path("s").display())]
}

const LISTEN: &str = "listen: [\"127.0.0.1:0\", \"unix:s\"]\nstate_directory: state\n";

#[test]
fn a_stop_that_was_asked_for_is_not_forgotten_with_the_daemon() {
    // What is asked for, and whether another run follows.
    for (request, continues) in [("stop", false), ("restart", true)] {
        let yaml = format!(
            "{LISTEN}streams: {{ p: {{ command: [sh, -c, 'trap \"echo asked\" TERM; echo ready; while :; do sleep 0.01; done'], \
            stop: {{ grace: 3s }} }} }}"
        );
        let daemon = TestDir::new().start(&yaml);
        let before = run_of(&daemon, "p");
        daemon.follow("p").until("the trap", |message| message.data == "ready");
        let url = at_socket(&daemon);
        let mut asking = daemon.command(&[request, &url[0], &url[1], "p"]).spawn().unwrap();
        daemon.follow("p").query("tail=all").until("the signal", |message| message.data == "asked");
        let dir = daemon.kill();
        asking.wait().unwrap();
        assert!(runs(before.0), "it has not ended yet");
        let daemon = again(dir);
        let end = Deadline::new().until("the end", || of_kind(&events(&daemon, "p"), "end").first().copied().cloned());
        assert_eq!((&end["signal"], &end["cause"]), (&"KILL".into(), &"stopped".into()), "{end}");
        if continues {
            Deadline::new().until("the next run", || (run_of(&daemon, "p").1 == before.1 + 1).then_some(()));
        } else {
            let state = Deadline::new().until("its state", || {
                let state = daemon.state("p")["source"].clone();
                (state["state"] == "stopped").then_some(state)
            });
            assert_eq!(state["reason"], "stopped on request");
        }
    }
}

#[test]
fn a_stop_is_completed_even_if_the_daemon_is_killed_and_none_follows() {
    // How the command is stopped: by the end of the daemon, or by an operator; and how much of it is asked.
    for (request, only) in [("shutdown", "all"), ("stop", "all"), ("stop", "leader")] {
        let yaml = format!(
            "{LISTEN}streams: {{ p: {{ command: [sh, -c, 'trap \"echo asked\" TERM; echo ready; while :; do sleep 0.01; done'], \
            stop: {{ grace: 1s, only: {only} }} }} }}"
        );
        let daemon = TestDir::new().start(&yaml);
        let run = run_of(&daemon, "p");
        daemon.follow("p").until("the trap", |message| message.data == "ready");
        let url = at_socket(&daemon);
        let mut asking = match request {
            "stop" => daemon.command(&["stop", &url[0], &url[1], "p"]),
            _ => daemon.command(&["shutdown", "--config", "rtlogd.yaml"]),
        };
        let mut asking = asking.stderr(Stdio::null()).spawn().unwrap();
        daemon.follow("p").query("tail=all").until("the signal", |message| message.data == "asked");
        let dir = daemon.kill();
        asking.wait().unwrap();
        Deadline::new().until("the end of the command", || (!runs(run.0)).then_some(()));
        // The next daemon learns of it.
        let daemon = again(dir);
        let end = Deadline::new().until("the end", || of_kind(&events(&daemon, "p"), "end").first().copied().cloned());
        assert_eq!((&end["run"], &end["signal"]), (&run.1.into(), &"KILL".into()), "{request}: {end}");
    }
}

#[test]
fn input_arrives_once_whenever_the_daemon_is_killed() {
    let yaml = format!(
        "{LISTEN}streams: {{ p: {{ command: [sh, -c, 'while read x; do echo $x >>got; done; echo end >>got'], directory: ., input: true, \
        restart: never }} }}"
    );
    let mut daemon = TestDir::new().start(&yaml);
    let run = run_of(&daemon, "p");
    let send = |dir: &TestDir, more: &[&str]| {
        let url = at_socket(dir);
        let sent = dir.execute(&[&["send", &url[0], &url[1]], more].concat());
        assert!(sent.status.success(), "{sent:?}");
    };
    let got = |dir: &TestDir| fs::read_to_string(dir.path("got")).unwrap_or_default();
    let mut expected = String::new();
    for number in 1..=5 {
        send(&daemon, &["p", &number.to_string()]);
        expected.extend([number.to_string(), "\n".to_owned()]);
        // It is killed at once, or after the command has read the line.
        if number % 2 == 0 {
            Deadline::new().until("the line", || (got(&daemon) == expected).then_some(()));
        }
        daemon = again(daemon.kill());
        assert_eq!(run_of(&daemon, "p"), run);
    }
    send(&daemon, &["--eof", "p"]);
    let all = Deadline::new().until("the end", || Some(got(&daemon)).filter(|all| all.ends_with("end\n")));
    assert_eq!(all, expected + "end\n");
}

#[test]
fn a_command_whose_socket_was_removed_is_taken_over() {
    let yaml = format!("{LISTEN}streams: {{ p: {{ command: [sh, -c, '{COUNT}'] }} }}");
    for what in ["state/shim", "only the file"] {
        let daemon = TestDir::new().start(&yaml);
        let run = run_of(&daemon, "p");
        daemon.follow("p").until("a line", |message| message.data == "5");
        let dir = daemon.kill();
        if what == "state/shim" {
            fs::remove_dir_all(dir.path(what)).unwrap();
        } else {
            let socket = fs::read_dir(dir.path("state/shim")).unwrap().next().unwrap().unwrap();
            fs::remove_file(socket.path()).unwrap();
        }
        let daemon = again(dir);
        assert_eq!(run_of(&daemon, "p"), run, "{what}");
        daemon.terminate();
        until_no_shim(&daemon.ended_by(Deadline::new()).1);
    }
}

#[test]
fn progress_appears_again_with_the_next_row() {
    for pty in [false, true] {
        let dir = TestDir::new();
        dir.fifo("go");
        let command =
            "printf \\\"\\r[####......] 40%%\\\"; read x <go; printf \\\"\\r[######....] 60%%\\\"; sleep 1000";
        let yaml =
            format!("{LISTEN}streams: {{ p: {{ command: [sh, -c, \"{command}\"], directory: ., pty: {pty} }} }}");
        let daemon = dir.start(&yaml);
        let percent = |daemon: &Daemon, wanted: f64| {
            Deadline::new()
                .until("the progress", || (daemon.state("p")["progress"]["percent"] == wanted).then_some(()));
        };
        percent(&daemon, 40.0);
        let daemon = again(daemon.kill());
        daemon.release("go");
        percent(&daemon, 60.0);
    }
}

/// A command that stops in the middle of something.
pub(crate) struct Unfinished {
    what: &'static str,
    /// The keys of its stream.
    keys: &'static str,
    /// The output before it is released and after it, for printf(1).
    output: [&'static str; 2],
    /// All lines in the end.
    lines: &'static [&'static str],
}

impl Unfinished {
    pub(crate) const ALL: [Self; 9] = [
        Self { what: "half a line", keys: "", output: ["half ", r"a line\n"], lines: &["half a line"] },
        Self {
            what: "half a line on a terminal",
            keys: ", pty: true",
            output: ["half ", r"a line\n"],
            lines: &["half a line"],
        },
        Self { what: "half a character", keys: "", output: [r"gr\303", r"\274n\n"], lines: &["grün"] },
        Self {
            what: "half a character on a terminal",
            keys: ", pty: true",
            output: [r"gr\303", r"\274n\n"],
            lines: &["grün"],
        },
        Self {
            what: "lines that belong together",
            keys: ", multiline: { start: '^[0-9]', timeout: 60s }",
            output: [r"1 first\n  second\n", r"  third\n2 last\n"],
            lines: &["1 first\n  second\n  third"],
        },
        Self {
            what: "half a secret",
            keys: ", redact: on",
            output: ["password=Xk29", r"vMq81 end\n"],
            lines: &["password=[redacted] end"],
        },
        Self {
            what: "half a secret on a terminal",
            keys: ", redact: on, pty: true",
            output: ["password=Xk29", r"vMq81 end\n"],
            lines: &["password=[redacted] end"],
        },
        Self {
            what: "a bar",
            keys: "",
            output: [r"start\n\r 10%%\r 20%%", r"\r 30%%\r\033[Kdone\n"],
            lines: &["start", "done"],
        },
        // Each row was a line until the program drew it again. What it drew meanwhile is no line.
        Self {
            what: "a redrawn block",
            keys: ", pty: true",
            output: [r"first\nsecond\n\033[2A\033[Kone\n\033[Ktwo\n", r"\033[2A\033[Kthree\n\033[Kfour\nfive\nsix\n"],
            lines: &["first", "second", "three", "four", "five", "six"],
        },
    ];

    /// The streams `u0`, `u1` and so on, whose commands print their first part in this directory.
    pub(crate) fn streams(dir: &TestDir) -> String {
        let directory = dir.path("").display().to_string();
        let stream = |(number, Self { keys, output: [first, second], .. }): (usize, &Self)| {
            dir.fifo(&format!("go{number}"));
            let command =
                format!("printf '{first}'; >ready{number}; read x <go{number}; printf '{second}'; exec sleep 1000");
            format!("u{number}: {{ command: [sh, -c, {}], directory: {directory:?}{keys} }}", Value::from(command))
        };
        Self::ALL.iter().enumerate().map(stream).collect::<Vec<_>>().join(", ")
    }

    /// Waits until all commands have printed their first part.
    pub(crate) fn until_printed(dir: &TestDir) {
        for number in 0..Self::ALL.len() {
            Deadline::new().until("a first part", || dir.path(&format!("ready{number}")).exists().then_some(()));
        }
    }

    /// Releases the commands, and checks the lines of each stream, which `lines` returns.
    pub(crate) fn complete(dir: &TestDir, how: &str, mut lines: impl FnMut(&str) -> Vec<String>) {
        for (number, Self { what, lines: expected, .. }) in Self::ALL.iter().enumerate() {
            dir.release(&format!("go{number}"));
            let mut found = Vec::new();
            let complete = Deadline::new().find(|| {
                found = lines(&format!("u{number}"));
                (found.len() >= expected.len()).then_some(())
            });
            assert_eq!(found, *expected, "{what}, {how}");
            assert!(complete.is_some(), "{what}, {how}");
        }
    }
}

#[test]
fn what_was_unfinished_is_completed_by_the_next_daemon() {
    for how in ["kill", "handover"] {
        let dir = TestDir::new();
        let streams = Unfinished::streams(&dir);
        let daemon = dir.start(&format!("{LISTEN}streams: {{ {streams} }}"));
        Unfinished::until_printed(&daemon);
        // Twice, since the second daemon leaves what it has not completed either.
        let daemon = next_daemon(next_daemon(daemon, how), how);
        Unfinished::complete(&daemon, how, |stream| {
            let all = events(&daemon, stream);
            assert!(of_kind(&all, "loss").is_empty() && of_kind(&all, "end").is_empty(), "{stream}, {how}");
            texts(&all).into_iter().map(str::to_owned).collect()
        });
    }
}

#[test]
fn a_suspended_command_stays_suspended_under_the_next_daemon() {
    let is_suspended = |pid: u64| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    for how in ["kill", "handover"] {
        let daemon = TestDir::new().start(&format!("{LISTEN}streams: {{ p: {{ command: [sh, -c, '{COUNT}'] }} }}"));
        let run = run_of(&daemon, "p");
        kill_process(Pid::from_raw(i32::try_from(run.0).unwrap()).unwrap(), Signal::STOP).unwrap();
        Deadline::new().until("the stop", || is_suspended(run.0).then_some(()));
        let daemon = next_daemon(daemon, how);
        assert_eq!(run_of(&daemon, "p"), run, "{how}");
        assert!(is_suspended(run.0), "{how}");
        let printed = texts(&events(&daemon, "p")).len();
        assert_eq!(daemon.unix().post("/streams/p/signal?signal=CONT", b"").status, 200, "{how}");
        daemon.follow("p").until("more lines", |message| message.data.parse().is_ok_and(|n: usize| n > printed + 1));
        let all = events(&daemon, "p");
        let numbers: Vec<usize> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{how}");
    }
}

#[test]
fn a_shim_does_not_listen_to_another_user() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    if !is_root_or_skip("connect as another user") {
        return;
    }
    let daemon = TestDir::new().start(&format!("{LISTEN}streams: {{ p: {{ command: [sh, -c, '{COUNT}'] }} }}"));
    let run = run_of(&daemon, "p");
    let socket = fs::read_dir(daemon.path("state/shim")).unwrap().next().unwrap().unwrap().path();
    // Only the check of the user is left.
    for path in [&daemon.path(""), &daemon.path("state"), &daemon.path("state/shim"), &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let ask = "import socket, sys\n\
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        s.settimeout(20)\n\
        s.connect(sys.argv[1])\n\
        try:\n \
         s.send(b'{\"end\":{}}')\n \
         print(s.recv(100))\n\
        except (ConnectionResetError, BrokenPipeError):\n \
         print('refused')";
    for (user, answer, ends) in [(65534, "refused\n", false), (0, "b''\n", true)] {
        let mut asking = Command::new("python3");
        let asked = asking.args(["-c", ask]).arg(&socket).current_dir("/").uid(user).gid(user).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&asked.stdout), answer, "{user}: {asked:?}");
        if ends {
            Deadline::new().until("another run", || (run_of(&daemon, "p") != run).then_some(()));
        } else {
            let before = texts(&events(&daemon, "p")).len();
            daemon.follow("p").until("more lines", |message| message.data.parse().is_ok_and(|n: usize| n > before));
            assert_eq!(run_of(&daemon, "p"), run);
        }
    }
}

/// Whoever owns the state directory, or may replace it, cannot lead a sweep by root to files of root.
#[test]
fn root_sweeps_with_the_rights_of_the_owner_alone() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;

    const NOBODY: u32 = 65534;
    if !is_root_or_skip("sweep for another user") {
        return;
    }
    let socket = |path| drop(UnixListener::bind(path).unwrap());
    // The owners of the state directory and of the directory of the sockets, and the links to a directory of root with the
    // same name; then whether the sweep succeeds, and whether a socket is removed on which nobody listens.
    let table = [
        ("all of root", 0, 0, None, true, true),
        ("all of another user", NOBODY, NOBODY, None, true, true),
        ("only the sockets of another user", 0, NOBODY, None, true, true),
        ("a link in the place of the sockets", NOBODY, 0, Some("state/shim"), false, false),
        ("a link in the place of the state", 0, 0, Some("state"), true, true),
    ];
    for (what, state, shim, link, succeeds, is_removed) in table {
        let dir = TestDir::new();
        fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let real = if link == Some("state") { "elsewhere" } else { "state" };
        fs::create_dir(dir.path(real)).unwrap();
        let sockets = if link == Some("state/shim") { "precious".to_owned() } else { format!("{real}/shim") };
        fs::create_dir(dir.path(&sockets)).unwrap();
        fs::set_permissions(dir.path(&sockets), fs::Permissions::from_mode(0o700)).unwrap();
        socket(dir.path(&format!("{sockets}/p-0")));
        // Nothing but sockets with the name of a run is removed, whoever owns it.
        socket(dir.path(&format!("{sockets}/other")));
        dir.write(&format!("{sockets}/file-0"), "precious");
        for name in ["p-0", "other", "file-0"] {
            chown(dir.path(&format!("{sockets}/{name}")), Some(shim), Some(shim)).unwrap();
        }
        chown(dir.path(&sockets), Some(shim), Some(shim)).unwrap();
        chown(dir.path(real), Some(state), Some(state)).unwrap();
        match link {
            Some("state") => symlink("elsewhere", dir.path("state")).unwrap(),
            Some(_) => symlink("../precious", dir.path("state/shim")).unwrap(),
            None => {}
        }
        dir.configure(&format!("state_directory: {}\nstreams: {{}}", dir.path("state").display()));
        let swept = dir.execute(&["__sweep", "rtlogd.yaml"]);
        assert_eq!(swept.status.success(), succeeds, "{what}: {swept:?}");
        let exists = |name: &str| dir.path(&format!("{sockets}/{name}")).exists();
        assert_eq!((exists("p-0"), exists("other"), exists("file-0")), (!is_removed, true, true), "{what}");
    }
}

#[test]
fn temporary_files_of_removed_streams_are_deleted() {
    let stream =
        |name: &str| format!("{name}: {{ command: [sh, -c, 'echo x >$TMPDIR/file; echo ready; sleep 1000'] }}");
    let [a, b, c] = ["a", "b", "c"].map(stream);
    let daemon = TestDir::new().start(&format!("{LISTEN}streams: {{ {a}, {b}, {c} }}"));
    for name in ["a", "b", "c"] {
        daemon.follow(name).until("the file", |message| message.data == "ready");
    }
    let gone = |dir: &TestDir, name: &str| {
        let path = dir.path(&format!("state/tmp/{name}"));
        Deadline::new().until("the end of the directory", || (!path.exists()).then_some(()));
    };
    daemon.configure(&format!("{LISTEN}streams: {{ {a}, {b} }}"));
    assert!(daemon.execute(&["reload", "--config", "rtlogd.yaml"]).status.success());
    gone(&daemon, "c");
    let dir = daemon.kill();
    dir.configure(&format!("{LISTEN}streams: {{ {a} }}"));
    let daemon = again(dir);
    gone(&daemon, "b");
    assert!(daemon.path("state/tmp/a/file").exists(), "the command that continues has its files");
}

#[test]
fn metrics_tell_of_runs_that_were_taken_over() {
    let metric = |daemon: &Daemon, name: &str| -> f64 {
        let text = String::from_utf8(daemon.get("/metrics", &[]).2).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("rtlogd_stream_{name}{{stream=\"p\"}} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    let names = ["take_overs_total", "lost_take_overs_total", "run_orphaned_seconds"];
    let all = |daemon: &Daemon| names.map(|name| metric(daemon, name));
    let daemon = TestDir::new().start(&format!("{LISTEN}streams: {{ p: {{ command: [sleep, 1000] }} }}"));
    let (pid, _) = run_of(&daemon, "p");
    assert_eq!(all(&daemon).map(|value| value.to_string()), ["0", "0", "0"]);
    let daemon = again(daemon.kill());
    run_of(&daemon, "p");
    let [taken, lost, orphaned] = all(&daemon);
    assert!(taken > 0.9 && lost < 0.1 && orphaned > 0.0, "{taken} {lost} {orphaned}");
    // A shim that was killed cannot give the run to anybody.
    let dir = daemon.kill();
    kill_process(Pid::from_raw(i32::try_from(parent_of(pid)).unwrap()).unwrap(), Signal::KILL).unwrap();
    let daemon = again(dir);
    Deadline::new().until("the next run", || (run_of(&daemon, "p").1 == 2).then_some(()));
    assert_eq!(all(&daemon).map(|value| value.to_string()), ["0", "1", "0"]);
}

/// Ends the daemon as if the next one took its place, or as if it was stopped, and starts the next one.
fn next_daemon(daemon: Daemon, how: &str) -> Daemon {
    match how {
        "kill" => again(daemon.kill()),
        "handover" => {
            let ended = daemon.execute(&["shutdown", "--keep-processes", "--config", "rtlogd.yaml"]);
            assert!(ended.status.success(), "{}", ended.err);
            again(daemon.ended_by(Deadline::new()).1)
        }
        _ => {
            daemon.terminate();
            again(daemon.ended_by(Deadline::new()).1)
        }
    }
}

#[test]
fn the_next_daemon_knows_when_the_last_run_began_and_how_it_ended() {
    let yaml = format!(
        "{LISTEN}streams: {{ over: {{ command: [sh, -c, 'exit 3'], restart: never }}, lasts: {{ command: [sleep, 1000] }} }}"
    );
    let ends = |daemon: &Daemon| daemon.state("over")["last_run"].clone();
    let starts = |daemon: &Daemon| daemon.state("lasts")["last_run"].clone();
    for how in ["kill", "handover"] {
        let mut daemon = TestDir::new().start(&yaml);
        run_of(&daemon, "lasts");
        let over = Deadline::new().until("the end", || Some(ends(&daemon)).filter(|run| run["ended"].is_string()));
        let lasts = starts(&daemon);
        assert_eq!((&over["code"], over["started"].is_string()), (&3.into(), true), "{over}");
        for _ in 1..=2 {
            daemon = next_daemon(daemon, how);
            run_of(&daemon, "lasts");
            assert_eq!((ends(&daemon), starts(&daemon)), (over.clone(), lasts.clone()), "{how}");
        }
        assert!(lasts["started"].is_string() && lasts["ended"].is_null(), "{lasts}");
    }
}

#[test]
fn a_command_that_has_ended_or_was_stopped_is_not_run_again_by_the_next_daemon() {
    let once = "once: { command: [sh, -c, 'echo deployed; exit 3'], restart: never }";
    let stopped = "stopped: { command: [sh, -c, 'echo ready; sleep 1000'] }";
    let listen = "listen: [\"127.0.0.1:0\", \"unix:socket\"]";
    let yaml = format!("{listen}\nstate_directory: state\nstreams: {{ {once}, {stopped} }}");
    for (how, runs) in [("kill", 1), ("handover", 1), ("stop", 2)] {
        let daemon = TestDir::new().start(&yaml);
        run_of(&daemon, "stopped");
        assert_eq!(daemon.unix().post("/streams/stopped/stop", b"").status, 200);
        let has_ended = |daemon: &Daemon, name: &str| daemon.state(name)["source"]["state"] == "stopped";
        Deadline::new().until("the end", || has_ended(&daemon, "once").then_some(()));
        // Twice, since the second daemon knows the first one's word only from the history.
        let daemon = next_daemon(daemon, how);
        let daemon = if how == "stop" { daemon } else { next_daemon(daemon, how) };
        for name in ["once", "stopped"] {
            let wanted = if how == "stop" && name == "stopped" { "running" } else { "stopped" };
            let is_so = || daemon.state(name)["source"]["state"] == wanted;
            Deadline::new().until("its state", || is_so().then_some(()));
        }
        Deadline::new().until("its runs", || {
            (texts(&events(&daemon, "once")).iter().filter(|text| **text == "deployed").count() == runs).then_some(())
        });
        assert_eq!(daemon.state("once")["source"]["last"]["code"], 3, "{how}");
        if how != "stop" {
            assert_eq!(of_kind(&events(&daemon, "stopped"), "end").len(), 1, "{how}");
            // A request starts it, and a changed configuration does.
            assert_eq!(daemon.unix().post("/streams/stopped/start", b"").status, 200);
            run_of(&daemon, "stopped");
            let dir = daemon.kill();
            dir.configure(&yaml.replace("deployed", "other"));
            let daemon = again(dir);
            Deadline::new()
                .until("the other command", || texts(&events(&daemon, "once")).contains(&"other").then_some(()));
            assert_eq!(run_of(&daemon, "stopped").1, 2, "{how}");
        }
    }
}
