//! Running a process: what it prints, how it ends, and how it is ended.

use crate::harness::sse::{Message, Reader, lines};
use crate::harness::{Daemon, Deadline, TestDir, is_root_or_skip, runs};

/// A stream `p` of this shell script, with further keys.
fn shell(script: &str, keys: &str) -> Daemon {
    Daemon::start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], {keys} }} }}"))
}

/// All of the only run.
fn run(script: &str) -> Vec<Message> {
    shell(script, "restart: { when: never }").follow("p").query("run=current&data=json").until_end()
}

fn end(messages: &[Message]) -> serde_json::Value {
    let last = messages.last().unwrap();
    assert_eq!(last.event, "end", "{messages:#?}");
    last.json()
}

/// The process id that a line names.
fn pid(reader: &mut Reader) -> u64 {
    reader.take(1)[0].data.parse().unwrap()
}

#[test]
fn stdout_and_stderr_are_distinguished() {
    let seen = run("echo out; echo err >&2");
    let mut lines: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    lines.sort_by_key(|line| line["origin"].to_string());
    assert_eq!(lines.len(), 2, "{seen:#?}");
    assert_eq!((&lines[0]["origin"], &lines[0]["text"]), (&"stderr".into(), &"err".into()));
    assert_eq!((&lines[1]["origin"], &lines[1]["text"]), (&"stdout".into(), &"out".into()));
}

#[test]
fn a_run_consists_of_its_state_its_lines_and_its_end() {
    let seen = run("echo one; exit 3");
    let kinds: Vec<_> = seen.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(kinds, ["state", "", "end"], "{seen:#?}");
    let state = seen[0].json();
    assert_eq!((&state["state"], &state["run"]), (&"running".into(), &1.into()), "{state}");
    assert!(state["pid"].as_u64().is_some(), "{state}");
    let end = end(&seen);
    assert_eq!((&end["run"], &end["code"], &end["cause"]), (&1.into(), &3.into(), &"exited".into()), "{end}");
    assert!(end.get("signal").is_none() && end["duration"].as_f64().is_some(), "{end}");
    assert!(seen.is_sorted_by(|a, b| a.number() + 1 == b.number()), "{seen:#?}");
}

#[test]
fn the_signal_that_ended_a_process_is_named() {
    let end = end(&run("kill -KILL $$"));
    assert_eq!((&end["signal"], &end["cause"]), (&"KILL".into(), &"signalled".into()), "{end}");
    assert!(end.get("code").is_none(), "{end}");
}

#[test]
fn a_last_line_without_a_newline_is_partial() {
    let seen = run(r"printf 'a\nb'");
    let lines: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    assert_eq!(lines.len(), 2, "{seen:#?}");
    assert_eq!((&lines[0]["text"], lines[0].get("partial")), (&"a".into(), None));
    assert_eq!((&lines[1]["text"], &lines[1]["partial"]), (&"b".into(), &true.into()));
}

#[test]
fn a_large_output_arrives_completely_before_the_end() {
    let daemon = shell("seq 1 200000", "restart: { when: never }, history: { memory: 64MiB }");
    let seen = daemon.follow("p").query("run=current").until_end();
    let numbers = lines(&seen);
    assert_eq!(numbers.len(), 200_000);
    assert!((1..).zip(&numbers).all(|(number, text)| **text == format!("{number}")));
    assert_eq!(end(&seen)["code"], 0);
}

#[test]
fn a_missing_command_is_reported() {
    let daemon = Daemon::start("streams: { p: { command: [/no/such/program] } }");
    let seen = daemon
        .follow("p")
        .query("tail=all")
        .until("what is wrong", |message| message.data.contains("/no/such/program"));
    assert_eq!(seen.last().unwrap().event, "state", "{seen:#?}");
}

#[test]
fn a_process_has_its_configured_directory_and_environment() {
    let keys = "directory: /, environment: { RTLOGD_A: one, RTLOGD_B: 2 }, restart: { when: never }";
    let daemon = shell("pwd; echo $RTLOGD_A $RTLOGD_B", keys);
    assert_eq!(lines(&daemon.follow("p").query("run=current").until_end()), ["/", "one 2"]);
}

#[test]
fn a_failing_command_is_restarted_after_a_delay() {
    let daemon = shell("echo again; exit 1", "restart: { when: on-failure, backoff: 100ms..10s }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    for run in 1..=3 {
        let seen = reader.until("a run's end and the wait", |message| message.is_state("backing-off"));
        let events: Vec<_> = seen.iter().map(|message| message.event.as_str()).collect();
        assert_eq!(events, ["state", "", "end", "state"], "{seen:#?}");
        assert_eq!(seen[0].json()["run"], run, "{seen:#?}");
        assert_eq!(seen[2].json()["run"], run, "{seen:#?}");
        assert_eq!(seen[3].json()["failures"], run, "{seen:#?}");
    }
}

#[test]
fn only_a_failure_is_logged_as_an_error() {
    let table = [
        ("exit 0", "never", "info: process ended and is not restarted stream=p status=\"exited with code 0\""),
        ("exit 0", "always", "info: process ended and is restarted stream=p status=\"exited with code 0\""),
        ("exit 3", "never", "info: process failed and is not restarted stream=p error=\"exited with code 3\""),
        ("exit 3", "always", "warn: process failed stream=p error=\"exited with code 3\""),
        ("kill -9 $$", "on-failure", "warn: process failed stream=p error=\"was killed by signal KILL\""),
    ];
    for (script, when, expected) in table {
        let daemon = shell(script, &format!("restart: {{ when: {when}, backoff: 60s..60s }}"));
        let logged = Deadline::new().until("the end is logged", || {
            daemon
                .logged()
                .lines()
                .find(|line| line.contains("process ended") || line.contains("process failed"))
                .map(str::to_owned)
        });
        assert!(logged.starts_with(&format!("rtlogd: {expected}")), "{script}, {when}: {logged}");
    }
}

#[test]
fn too_many_restarts_stop_a_process() {
    let daemon = shell("exit 1", "restart: { when: always, backoff: 100ms..100ms, limit: 2 per 1h }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let seen = reader.until("stopped", |message| message.is_state("stopped"));
    assert_eq!(seen.iter().filter(|message| message.event == "end").count(), 3, "{seen:#?}");
}

#[test]
fn the_body_of_a_run_ends_with_it_also_after_a_reconnect() {
    let daemon = shell("echo one; exit 1", "restart: { when: on-failure, backoff: 100ms..100ms }");
    let seen = daemon.follow("p").query("run=current").until_end();
    end(&seen);
    assert!(seen[0].is_state("running"), "{seen:#?}");
    let at_end = daemon.follow("p").query("run=current").last_event_id(&seen.last().unwrap().id);
    assert_eq!(at_end.status(), 204);
    // A reader that has seen less receives the rest.
    let rest = daemon.follow("p").query("run=current").last_event_id(&seen[0].id).until_end();
    assert_eq!(rest, seen[1..]);
    // Without run=current the same place is one among others.
    daemon.follow("p").last_event_id(&seen.last().unwrap().id).until("the next run", |m| m.is_state("running"));
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_does_not_delay_the_end() {
    let daemon = shell("sleep 1000 & echo $!", "restart: { when: never }");
    let mut reader = daemon.follow("p").query("run=current").open();
    let sleeper = pid(&mut reader);
    end(&reader.until_end());
    // The process may outlive its run, but not the daemon.
    daemon.terminate();
    daemon.ended();
    Deadline::new().until("the end of the grandchild", || (!runs(sleeper)).then_some(()));
}

/// Stops the daemon. Checks that the run ended with this signal, and that the process does not outlive the daemon.
fn the_daemon_ends_it(daemon: Daemon, mut reader: Reader, process: u64, signal: &str) {
    daemon.terminate();
    let seen = reader.until_end();
    let end = seen.iter().find(|message| message.event == "end").unwrap_or_else(|| panic!("no end: {seen:#?}")).json();
    assert_eq!((&end["cause"], &end["signal"]), (&"daemon-stopped".into(), &signal.into()), "{end}");
    assert!(daemon.ended().status.success());
    Deadline::new().until("the end of the process", || (!runs(process)).then_some(()));
}

#[test]
fn the_whole_group_ends_with_the_daemon() {
    let daemon = shell("sleep 1000 & echo $!; wait", "restart: { when: never }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let sleeper = pid(&mut reader);
    assert!(runs(sleeper));
    the_daemon_ends_it(daemon, reader, sleeper, "TERM");
}

#[test]
fn a_child_that_ignores_the_signal_is_killed() {
    let script = "trap '' TERM; echo $$; while :; do sleep 0.1; done";
    let daemon = shell(script, "stop: { grace: 1s }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let child = pid(&mut reader);
    the_daemon_ends_it(daemon, reader, child, "KILL");
}

#[test]
fn the_configured_stop_signal_is_sent() {
    let script = "trap 'echo bye; exit 5' INT; echo $$; while :; do sleep 0.1; done";
    let daemon = shell(script, "stop: { signal: INT }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    pid(&mut reader);
    daemon.terminate();
    let seen = reader.until_end();
    assert_eq!(lines(&seen), ["bye"], "{seen:#?}");
    let end = seen.iter().find(|message| message.event == "end").unwrap().json();
    assert_eq!((&end["cause"], &end["code"]), (&"daemon-stopped".into(), &5.into()), "{end}");
}

#[test]
fn on_a_terminal_output_is_in_order_and_in_colour() {
    let script = "test -t 1 && test -t 2 && printf '\\033[31mred\\033[0m\\n'; for i in 1 2 3; do echo o$i; echo e$i >&2; done; \
        stty size </dev/tty; echo $TERM";
    let seen = shell(script, "pty: 100x20, restart: { when: never }").follow("p").query("run=current").until_end();
    let lines = lines(&seen);
    assert_eq!(lines, ["\u{1b}[31mred\u{1b}[0m", "o1", "e1", "o2", "e2", "o3", "e3", "20 100", "xterm-256color"]);
}

#[test]
fn a_shell_runs_one_text() {
    let daemon = Daemon::start(
        "streams: { p: { shell: true, command: 'echo a && echo $0 | tr s S', restart: { when: never } } }",
    );
    assert_eq!(lines(&daemon.follow("p").query("run=current").until_end()), ["a", "/bin/Sh"]);
}

#[test]
fn a_command_of_another_user_has_its_home_and_only_its_rights() {
    let script = "id -un; id -Gn; echo $HOME $USER; test -w /etc/passwd && echo root";
    let daemon = shell(script, "user: nobody, directory: /, restart: { when: never }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let seen = reader.until("its end", |message| message.is_state("stopped"));
    if is_root_or_skip("run a command as another user") {
        let lines = lines(&seen);
        assert_eq!((lines[0], lines[1], lines.len()), ("nobody", "nogroup", 3), "{seen:#?}");
        assert!(lines[2].ends_with(" nobody"), "{seen:#?}");
    } else {
        let state = seen.last().unwrap().json();
        let reason = state["reason"].as_str().unwrap();
        assert!(reason.contains("as the user \"nobody\"") && reason.contains("not permitted"), "{reason}");
    }
}

#[test]
fn a_command_of_another_user_can_reopen_its_standard_streams() {
    if !is_root_or_skip("run a command as another user") {
        return;
    }
    let script = "echo out >/dev/stdout; echo err >/dev/stderr; echo proc >/proc/self/fd/1; cat </dev/stdin";
    for (user, keys) in [("nobody", ""), ("54321", ""), ("nobody", "pty: true,"), ("root", "")] {
        let daemon =
            shell(script, &format!("user: {user}, {keys} input: true, directory: /, restart: {{ when: never }}"));
        let mut reader = daemon.follow("p").query("tail=all").open();
        let seen = reader.take(3);
        let mut seen = lines(&seen);
        seen.sort_unstable();
        assert_eq!(seen, ["err", "out", "proc"], "{user} {keys}");
    }
}

#[test]
fn users_and_groups_have_names_or_numbers() {
    if !is_root_or_skip("run a command as another user") {
        return;
    }
    let table = [
        ("user: nobody", "65534 65534 65534"),
        ("user: 65534", "65534 65534 65534"),
        ("user: 54321", "54321 54321 54321"),
        ("user: 54321, group: daemon", "54321 1 1"),
        ("user: nobody, group: 33", "65534 33 33"),
        ("group: www-data", "0 33 33"),
    ];
    for (keys, expected) in table {
        let script = "echo $(id -u) $(id -g) $(id -G)";
        let daemon = shell(script, &format!("{keys}, directory: /, restart: {{ when: never }}"));
        assert_eq!(lines(&daemon.follow("p").query("run=current").until_end()), [expected], "{keys}");
    }
    for (keys, reason) in [
        ("user: no-such-user", "as the user \"no-such-user\""),
        ("group: no-such-group", "in the group \"no-such-group\""),
    ] {
        let daemon = shell("id", &format!("{keys}, restart: {{ when: never }}"));
        let state = daemon.follow("p").query("tail=all").until("its end", |message| message.is_state("stopped")).pop();
        let state = state.unwrap().json();
        assert!(state["reason"].as_str().unwrap().contains(reason), "{state}");
    }
}

#[test]
fn a_command_has_a_usual_umask_and_no_ignored_signals_whatever_started_rtlogd() {
    let script = "umask; grep -E '^Sig(Ign|Blk)' /proc/self/status";
    for (keys, umask) in [("", "0022"), ("umask: 077,", "0077"), ("umask: 0,", "0000"), ("pty: true,", "0022")] {
        let dir = TestDir::new();
        dir.configure(&format!(
            "streams: {{ p: {{ command: [sh, -c, {script:?}], {keys} restart: {{ when: never }} }} }}"
        ));
        let parent = "umask 027; trap '' HUP QUIT USR1 USR2 ALRM TSTP TTIN TTOU 40; exec \"$@\"";
        // What a program blocks is inherited, and a shell cannot do that.
        let block = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execvp(sys.argv[1], sys.argv[1:])";
        let parents = ["python3", "-c", block, "sh", "-c", parent, "sh"];
        let daemon = dir.launch_by(&parents, &["serve", "--config", "rtlogd.yaml"]);
        let seen = daemon.follow("p").query("run=current").until_end();
        daemon.terminate();
        assert!(daemon.ended().status.success(), "{keys}");
        let seen = lines(&seen);
        assert_eq!((seen[0], seen.len()), (umask, 3), "{keys}: {seen:?}");
        for line in &seen[1..] {
            // Signals 32 and 33 belong to the C library, and no program can change them.
            let mask = u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap();
            assert_eq!(mask & !(0b11 << 31), 0, "{keys}: {seen:?}");
        }
    }
}

#[test]
fn an_on_demand_process_starts_with_its_first_reader() {
    let daemon = shell("echo hello", "start: demand, restart: { when: never }");
    let state = daemon.state("p");
    assert_eq!(state["source"]["state"], "stopped", "{state}");
    assert_eq!(daemon.follow("p").query("tail=all").take(1)[0].data, "hello");
}

#[test]
fn the_end_of_a_run_includes_its_peak_memory() {
    let end = end(&run("head -c 210000000 /dev/zero | tail -c 209715200 >/dev/null"));
    assert_eq!(end["code"], 0, "{end}");
    let peak = end["peak_memory"].as_u64().unwrap_or_else(|| panic!("{end}"));
    assert!((200 << 20..400 << 20).contains(&peak), "{end}");
}

#[test]
fn what_a_command_leaves_behind_is_asked_to_end_and_then_killed() {
    let polite = "(trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.1; done) & read x <go";
    let stubborn = "(trap '' TERM; echo ready; exec sleep 1000) & read x <go";
    let escaped = "setsid sh -c \"trap '' TERM; echo ready; while :; do sleep 0.1; done\" & read x <go";
    let bare = "env -i sh -c \"trap '' TERM; echo ready; while :; do sleep 0.1; done\" & read x <go";
    for (script, lines, killed) in [
        (polite, &["ready", "asked"][..], ""),
        (stubborn, &["ready"], "sleep ("),
        (escaped, &["ready"], "sh ("),
        (bare, &["ready"], "sh ("),
    ] {
        let dir = TestDir::new();
        dir.fifo("go");
        let keys = "directory: ., restart: never, stop: { grace: 1s }";
        let daemon = dir.start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], {keys} }} }}"));
        let mut reader = daemon.follow("p").query("tail=all").open();
        assert_eq!(reader.take(1)[0].data, "ready");
        daemon.release("go");
        let seen = reader.until("the end", |message| message.event == "end");
        let printed = seen.iter().filter(|message| message.is_line()).map(|message| &*message.data);
        // The shell reports its `sleep`, which was asked, too.
        let printed: Vec<_> = printed.filter(|line| *line != "Terminated").collect();
        assert_eq!(printed, lines[1..], "{script}");
        let end = end(&seen);
        assert_eq!((&end["code"], &end["cause"]), (&0.into(), &"exited".into()), "{end}");
        let names: Vec<_> = end["killed"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
        let is_named = names.iter().any(|name| !killed.is_empty() && name.starts_with(killed));
        assert_eq!(is_named, !killed.is_empty(), "{script}: {end}");
        assert!(!killed.is_empty() || names.is_empty(), "{end}");
    }
}

#[test]
fn what_left_over_processes_print_while_they_end_comes_before_the_end() {
    // The process ends as soon as it has printed the last line.
    let left = "trap '' HUP; trap 'echo asked; sleep 1; seq 5000; exit' TERM; echo ready; while :; do sleep 0.1; done";
    for keys in ["", "pty: true,", "state_directory"] {
        let dir = TestDir::new();
        dir.fifo("go");
        let (keys, first) = match keys {
            "state_directory" => ("", "state_directory: state\n"),
            keys => (keys, ""),
        };
        // Standard error has what the shell reports of its own commands.
        let script = format!("exec 2>/dev/null; ({left}) & read x <go; exit 0");
        let keys = format!("directory: ., {keys} restart: never, stop: {{ grace: 60s }}");
        let daemon = dir.start(&format!("{first}streams: {{ p: {{ command: [bash, -c, {script:?}], {keys} }} }}"));
        let mut reader = daemon.follow("p").query("tail=all").open();
        assert_eq!(reader.take(1)[0].data, "ready", "{keys} {first}");
        daemon.release("go");
        let seen = reader.until("the end", |message| message.event == "end");
        let printed: Vec<_> = seen.iter().filter(|message| message.is_line()).map(|message| &*message.data).collect();
        let expected: Vec<_> =
            std::iter::once("asked".to_owned()).chain((1..=5000).map(|line| line.to_string())).collect();
        assert_eq!(printed, expected, "{keys} {first}");
        assert_eq!(end(&seen).get("killed"), None, "{keys} {first}");
    }
}

#[test]
fn only_the_leader_is_asked_first_if_the_configuration_says_so() {
    // The leader ends its child itself, and waits for it; the child says if it was asked by somebody else.
    let child = "trap 'echo child was asked' TERM; trap 'echo child was told; told=1' USR1; echo ready; while [ -z \"$told\" ]; do sleep 0.1; done";
    let script =
        format!("trap 'kill -USR1 $!; wait; echo leader is done; exit 0' TERM; ({child}) & while :; do wait; done");
    for (only, expected) in [("leader", &["child was told", "leader is done"][..]), ("all", &["child was asked"])] {
        let daemon = shell(&script, &format!("stop: {{ only: {only} }}"));
        let mut reader = daemon.follow("p").query("tail=all").open();
        assert_eq!(reader.take(1)[0].data, "ready");
        daemon.terminate();
        let seen = reader.until_end();
        let printed = lines(&seen);
        assert!(expected.iter().all(|line| printed.contains(line)), "{only}: {printed:?}");
        assert_eq!(printed.contains(&"child was asked"), only == "all", "{only}: {printed:?}");
    }
}

#[test]
fn variables_come_from_files_that_are_read_at_each_start() {
    let dir = TestDir::new();
    std::fs::write(dir.path("a.env"), "# of all\nA=file\nB='of a'\nC=file\n").unwrap();
    std::fs::write(dir.path("b.env"), "export B=\"of b\"\nRTLOGD_STREAM=forged\n").unwrap();
    let script = "echo \"$A $B $C $RTLOGD_STREAM\"";
    let keys = "environment_file: [a.env, b.env], environment: { C: own }, restart: never, start: manual";
    let yaml = format!(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstreams: {{ p: {{ command: [sh, -c, '{script}'], {keys} }} }}"
    );
    let daemon = dir.start(&yaml);
    let mut reader = daemon.follow("p").query("tail=all").open();
    let start = || daemon.unix().post("/streams/p/start", b"").status;
    assert_eq!(start(), 200);
    assert_eq!(reader.take(1)[0].data, "file of b own p");
    reader.until("the end", |message| message.is_state("stopped"));
    std::fs::write(daemon.path("b.env"), "A=new\n").unwrap();
    assert_eq!(start(), 200);
    assert_eq!(reader.take(1)[0].data, "new of a own p");
    reader.until("the end", |message| message.is_state("stopped"));
    std::fs::write(daemon.path("b.env"), "nonsense\n").unwrap();
    let refused = daemon.unix().post("/streams/p/start", b"");
    let why = String::from_utf8_lossy(&refused.body.all()).into_owned();
    assert!(why.contains("b.env") && why.contains("line 1 is not NAME=value"), "{why}");
}

#[test]
fn a_process_dies_with_a_daemon_that_is_killed() {
    let daemon = shell("echo $$; exec sleep 1000", "");
    let child = pid(&mut daemon.follow("p").query("tail=all").open());
    daemon.kill();
    Deadline::new().until("the end of the child", || (!runs(child)).then_some(()));
}

/// Twenty children that do all that children do. Each prints at least one line, and the process ids of what it leaves.
const CHILDREN: [(&str, &str); 20] = [
    ("flood", "exec yes"),
    ("flood-of-both", "yes err >&2 & exec yes out"),
    ("gigabyte-and-done", "echo x; yes | head -c 1G"),
    ("sleeping", "echo $$; exec sleep 1000"),
    ("forking", "for i in 1 2 3; do sleep 1000 & echo $!; done; wait"),
    ("orphan", "(sleep 1000 & echo $!); exec sleep 1000"),
    ("orphan-left", "(sleep 1000 & echo $!)"),
    ("escaping", "setsid sh -c 'echo $$; exec sleep 1000' & wait"),
    ("escaping-twice", "setsid sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" & echo $$; exec sleep 1000' &"),
    ("escaping-bare", "env -i setsid sh -c 'echo $$; exec sleep 1000' & sleep 1000"),
    ("stdin-closing", "exec <&-; echo $$; exec sleep 1000"),
    ("stdout-closing", "echo $$; exec >&- 2>&-; exec sleep 1000"),
    ("signal-ignoring", "trap '' TERM INT HUP; echo $$; while :; do sleep 0.1; done"),
    ("standing-still", "echo $$; kill -STOP $$; exec sleep 1000"),
    ("zombie-making", "sleep 0.01 & echo $$; exec sleep 1000"),
    ("huge-line", "echo x; head -c 3000000 /dev/zero | tr '\\0' x >&2; echo y; exec sleep 1000"),
    ("no-newline", "echo x; printf 'no newline'; exec sleep 1000"),
    ("binary", "echo x; head -c 1000000 /dev/urandom; exec sleep 1000"),
    ("failing", "echo x; exit 42"),
    ("killed", "echo x; kill -SEGV $$"),
];

#[test]
fn no_child_blocks_the_daemon_and_none_survives_its_stop() {
    let stream = |(name, script): &(&str, &str)| {
        let keys = "stop: { grace: 1s }, restart: { when: never }, history: { memory: 1MiB }";
        format!("  {name}: {{ command: [sh, -c, {script:?}], {keys} }}\n")
    };
    let daemon = Daemon::start(&format!("streams:\n{}", CHILDREN.iter().map(stream).collect::<String>()));
    let state = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&daemon.get(&format!("/streams/{name}/state"), &[]).2).unwrap()
    };
    let mut left = Vec::new();
    for (name, script) in CHILDREN {
        // Each says something, whatever the others do.
        let number = |state: serde_json::Value| state["last"].as_str()?.rsplit_once('-')?.1.parse::<u64>().ok();
        Deadline::new().until(name, || (number(state(name))? >= 2).then_some(()));
        if script.contains("echo $") {
            let tail = daemon.follow(name).query("tail=all&follow=false&format=text").body();
            left.extend(String::from_utf8_lossy(&tail).lines().filter_map(|line| line.parse::<u64>().ok()));
        }
    }
    assert!(left.len() >= 12, "{left:?}");
    assert_eq!(daemon.request("/health/live").status(), 200);
    daemon.terminate();
    assert!(daemon.ended().status.success());
    let alive: Vec<_> = left.into_iter().filter(|pid| runs(*pid)).collect();
    assert!(alive.is_empty(), "they live: {alive:?}");
}

#[test]
fn a_busy_output_does_not_hold_back_what_is_due_on_the_other() {
    // The text on standard error, further keys, and the event that is due: its kind and its text.
    let table = [
        ("Password: ", "", ("open", "Password: ")),
        (r"\r 10%%", "", ("open", " 10%")),
        (r"one\n two\n", ", multiline: { start: '^[^ ]' }", ("", "one\n two")),
    ];
    for (written, more, (kind, text)) in table {
        // The loop writes a line each few microseconds, and never pauses.
        let script = format!("printf '{written}' >&2; while :; do echo y; done");
        let command = format!("command: {script:?}, shell: true, history: {{ memory: 64MiB }}{more}");
        let daemon = Daemon::start(&format!("streams: {{ s: {{ {command} }} }}"));
        let is_due = |message: &Message| message.event == kind && message.json()["text"] == text;
        daemon.follow("s").query("origin=stderr&tail=all&data=json").until(text, is_due);
    }
}
