//! The runs of a process: the list of them, and readers of one run, over restarts and longer than their lines are kept.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::continuity::{again, events_in, run_of, texts};
use crate::harness::http::Response;
use crate::harness::sse::{Message, lines};
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, Ended, Program, TestDir};

/// A command that does what the file `job` says.
const YAML: &str = "listen: [\"127.0.0.1:0\", \"unix:socket\"]\nstate_directory: state\n\
    streams: { p: { command: [sh, ./job], directory: ., restart: never, start: manual, stop: { grace: 10s } } }\n";

fn runs(daemon: &Daemon, query: &str) -> Vec<Value> {
    daemon.json(&format!("/streams/p/runs{query}"))["runs"].as_array().unwrap().clone()
}

fn numbers(runs: &[Value]) -> Vec<u64> {
    runs.iter().map(|run| run["run"].as_u64().unwrap()).collect()
}

/// Starts the next run, and returns its number.
fn start(daemon: &Daemon, job: &str) -> u64 {
    fs::write(daemon.path("job"), job).unwrap();
    let known = runs(daemon, "").len();
    assert_eq!(daemon.unix().post("/streams/p/start", b"").status, 200);
    Deadline::new().until("the run in the list", || {
        let all = runs(daemon, "");
        (all.len() > known).then(|| all[0]["run"].as_u64().unwrap())
    })
}

/// Waits until the newest run has ended.
fn ended(daemon: &Daemon) -> Value {
    let newest = || runs(daemon, "").first().filter(|run| run["ended"].is_string()).cloned();
    let run = Deadline::new().until("the end of the run", newest);
    // The state follows the event.
    Deadline::new().until("the state", || (daemon.state("p")["source"]["state"] == "stopped").then_some(()));
    run
}

fn run(daemon: &Daemon, job: &str) -> Value {
    start(daemon, job);
    ended(daemon)
}

/// Ends the daemon in this way, and starts the next one.
fn next_daemon(daemon: Daemon, how: &str) -> Daemon {
    if how == "kill" {
        return again(daemon.kill());
    }
    daemon.terminate();
    again(daemon.ended_by(Deadline::new()).1)
}

/// A daemon with a run that passed, one that failed, one that was killed, one that was stopped, and one that lasts.
fn with_five_runs() -> Daemon {
    let dir = TestDir::new();
    dir.write("job", "");
    let daemon = dir.start(YAML);
    assert_eq!(runs(&daemon, ""), Vec::<Value>::new());
    run(&daemon, "seq 5");
    run(&daemon, "echo '[WARN] a'; echo 'error: b'; echo '[FATAL] c'; exit 3");
    run(&daemon, "echo one; kill -SEGV $$");
    start(&daemon, "echo ready; sleep 1000");
    daemon.follow("p").query("run=4").until("its line", |message| message.data == "ready");
    assert_eq!(daemon.unix().post("/streams/p/stop", b"").status, 200);
    ended(&daemon);
    start(&daemon, "echo ready; sleep 1000");
    daemon.follow("p").query("run=5").until("its line", |message| message.data == "ready");
    daemon
}

#[test]
fn runs_are_listed_as_they_were_after_a_restart_and_kill_9() {
    let mut daemon = with_five_runs();
    let before = runs(&daemon, "");
    let facts = |run: &Value| {
        ["run", "lines", "errors", "warnings", "code", "signal", "cause", "passed", "kept"]
            .map(|name| run[name].clone())
    };
    let expected = json!([
        [5, 1, 0, 0, null, null, null, null, true],
        [4, 1, 0, 0, null, "TERM", "stopped", false, true],
        [3, 1, 0, 0, null, "SEGV", "signalled", false, true],
        [2, 3, 2, 1, 3, null, "exited", false, true],
        [1, 5, 0, 0, 0, null, "exited", true, true],
    ]);
    assert_eq!(json!(before.iter().map(facts).collect::<Vec<_>>()), expected);
    let last = &daemon.state("p")["last_run"];
    assert_eq!(before[0]["started"], last["started"]);
    for member in ["groups", "first", "last", "started"] {
        assert!(before.iter().all(|run| !run[member].is_null()), "{member}: {before:?}");
    }
    assert!(before[1..].iter().all(|run| run["duration"].as_f64().is_some() && run["ended"].is_string()));
    assert_eq!(numbers(&runs(&daemon, "?limit=2&before=4")), [3, 2]);

    // The run that lasts is taken over. What happened meanwhile is an event of it.
    let kept = |run: &Value| (run["run"].clone(), run["started"].clone(), run["first"].clone(), run["lines"].clone());
    for how in ["kill", "kill"] {
        daemon = next_daemon(daemon, how);
        assert_eq!(run_of(&daemon, "p").1, 5);
        let after = runs(&daemon, "");
        assert_eq!((&after[1..], kept(&after[0])), (&before[1..], kept(&before[0])));
    }
    // It ends with a daemon that is stopped, and the next one starts nothing by itself.
    daemon = next_daemon(daemon, "stop");
    let after = runs(&daemon, "");
    assert_eq!((&after[1..], kept(&after[0])), (&before[1..], kept(&before[0])));
    assert_eq!((&after[0]["cause"], &after[0]["passed"]), (&"daemon-stopped".into(), &false.into()), "{}", after[0]);
    assert_eq!(run(&daemon, "exit 4")["run"], 6);
    assert_eq!(numbers(&runs(&daemon, "")), [6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_run_that_was_lost_with_the_daemon_has_an_end() {
    let dir = TestDir::new();
    dir.write("job", "");
    let daemon = dir.start(&YAML.replace("restart: never", "restart: never, orphan_timeout: 0s"));
    start(&daemon, "echo ready; sleep 1000");
    daemon.follow("p").query("run=1").until("its line", |message| message.data == "ready");
    let daemon = again(daemon.kill());
    let run =
        Deadline::new().until("its end", || runs(&daemon, "").first().filter(|run| run["ended"].is_string()).cloned());
    let (cause, lines) = (&run["cause"], &run["lines"]);
    assert_eq!((cause, lines, &run["passed"]), (&"daemon-killed".into(), &1.into(), &false.into()), "{run}");
}

fn run_lines(daemon: &Daemon, query: &str) -> Vec<Message> {
    daemon.follow("p").query(query).until_end()
}

#[test]
fn a_reader_of_a_run_receives_that_run_in_every_format() {
    let daemon = with_five_runs();
    let daemon = next_daemon(daemon, "kill");
    run_of(&daemon, "p");
    let five = ["1", "2", "3", "4", "5"];
    for (query, expected) in [
        ("run=1", &five[..]),
        ("run=passed", &five),
        ("run=1&tail=all", &five),
        ("run=1&tail=2", &five[3..]),
        ("run=1&since=1h", &five),
        ("run=1&origin=stdout", &five),
        ("run=1&origin=stderr", &[]),
        ("run=1&limit=3", &five[..3]),
        ("run=2&level=error", &["error: b", "[FATAL] c"]),
        ("run=2&level=error&grep=b", &["error: b"]),
        ("run=last", &["ready"]),
        ("run=5&follow=false", &["ready"]),
        ("run=current&follow=false", &["ready"]),
    ] {
        assert_eq!(lines(&run_lines(&daemon, query)), expected, "{query}");
    }
    let mut reader = daemon.follow("p").query("run=2").open();
    let all = reader.until_end();
    let named: Vec<_> = all.iter().filter(|message| !message.is_line()).map(|message| message.event.as_str()).collect();
    assert!(named.starts_with(&["state"]) && named.contains(&"end"), "{named:?}");
    let end = all.iter().find(|message| message.event == "end").unwrap();
    assert_eq!((end.json()["run"].as_u64(), end.json()["code"].as_u64()), (Some(2), Some(3)));

    // A reader that comes back resumes within the run, and then has received everything.
    let second = all.iter().filter(|message| message.is_line()).nth(1).unwrap();
    let rest = daemon.follow("p").query("run=2").last_event_id(&second.id).until_end();
    assert_eq!(lines(&rest), ["[FATAL] c"]);
    assert_eq!(reader.last_id(), format!("{}!", end.id));
    for id in [reader.last_id(), &end.id] {
        assert_eq!(daemon.follow("p").query("run=2").last_event_id(id).status(), 204, "{id}");
    }
    // So does one that came for the last run when that was another one.
    let rest = daemon.follow("p").query("run=last").last_event_id(&second.id).until_end();
    assert_eq!(lines(&rest), ["[FATAL] c"]);

    let text = String::from_utf8(daemon.follow("p").query("run=1&format=text").body()).unwrap();
    assert!(text.contains("1\n2\n3\n4\n5\n") && !text.contains("error: b"), "{text}");
    let json = events_in(&daemon.follow("p").query("run=2&format=ndjson").body());
    assert_eq!(texts(&json), ["[WARN] a", "error: b", "[FATAL] c"]);
    let poll = daemon.json("/streams/p/poll?run=2&wait=0s");
    assert_eq!(texts(poll["events"].as_array().unwrap()), ["[WARN] a", "error: b", "[FATAL] c"]);
    let several = daemon.request("/streams?stream=p&run=1&format=text").body();
    assert!(String::from_utf8(several).unwrap().contains('5'));

    let mut channel = Channel::open(daemon.address());
    for run in [json!(2), json!("2")] {
        let number = channel.subscribe(&json!({ "stream": "p", "run": run }));
        assert_eq!(channel.lines(number, 3), ["[WARN] a", "error: b", "[FATAL] c"]);
        assert_eq!(channel.until("subscription.ended")["subscription"], number);
    }
    let refused = channel.refused("stream.subscribe", &json!({ "stream": "p", "run": 9 }));
    assert_eq!(refused.0, -32001, "{refused:?}");

    // One that lasts continues until its end.
    let mut reader = daemon.follow("p").query("run=5").open();
    reader.until("its line", |message| message.data == "ready");
    assert_eq!(daemon.unix().post("/streams/p/stop", b"").status, 200);
    let rest = reader.until_end();
    assert_eq!(rest.iter().find(|message| message.event == "end").unwrap().json()["run"], 5);
}

#[test]
fn a_run_that_cannot_be_read_is_refused_with_what_can() {
    let daemon = with_five_runs();
    for (path, status, why) in [
        ("/streams/p?run=6", 404, "run 6 of p is not known; the known runs have the numbers 1 to 5"),
        ("/streams/p/poll?run=6", 404, "run 6 of p is not known"),
        ("/streams?stream=p&run=6", 404, "run 6 of p is not known"),
        ("/streams/p?run=0", 400, "run=0 is not known; use the number of a run, current, last or passed"),
        ("/streams/p?run=1&run=2", 400, "run is given twice"),
        ("/streams/p/runs?limit=0", 400, "limit=0 is not a number from 1 to 1000"),
        ("/streams/p/runs?run=1", 400, "the list of runs has no parameter \"run\""),
        ("/streams/q/runs", 404, "no stream is named \"q\""),
    ] {
        let response = Response::get(daemon.address(), path, &[]);
        assert_eq!(response.status, status, "{path}");
        let problem = response.problem();
        assert!(problem["detail"].as_str().unwrap().starts_with(why), "{path}: {problem}");
    }
    // A browser that comes back learns that the rest of its run is not known, and then it is let go.
    for path in ["/streams/p?run=6", "/streams?stream=p&run=6"] {
        let mut reader = daemon.request(path).last_event_id("mib3k2x9-1").open();
        let seen: Vec<_> = reader.until_end().into_iter().map(|message| message.event).collect();
        assert_eq!(seen.iter().filter(|event| *event == "gap").count(), 1, "{path}: {seen:?}");
        assert!(seen.iter().all(|event| !["message", "state", "end"].contains(&event.as_str())), "{path}: {seen:?}");
        assert!(reader.last_id().ends_with('!'), "{path}: {}", reader.last_id());
        assert_eq!(daemon.request(path).last_event_id(reader.last_id()).status(), 204, "{path}");
    }
}

#[test]
fn summaries_outlive_the_lines_of_their_runs() {
    let dir = TestDir::new();
    dir.write("job", "");
    let mut daemon = dir.start(&format!("history: {{ disk: 4MiB, memory: 1MiB }}\n{YAML}"));
    let first = run(&daemon, "echo first; exit 3");
    let mut large = 0;
    // Until files of the history were dropped.
    while runs(&daemon, "").last().unwrap()["kept"] == true {
        assert!(large < 10, "nothing is dropped");
        run(&daemon, "i=0; while [ $i -lt 60 ]; do i=$((i+1)); printf '%01000d\\n' $(seq 30); done");
        large += 1;
    }
    let all = runs(&daemon, "");
    assert_eq!(all.len(), large + 1);
    assert_eq!((&all[0]["kept"], &all[0]["lines"]), (&true.into(), &1800.into()));
    for how in ["kill", "stop"] {
        daemon = next_daemon(daemon, how);
        let oldest = runs(&daemon, "").pop().unwrap();
        for member in ["run", "started", "ended", "duration", "code", "cause", "lines", "first", "last"] {
            assert_eq!(oldest[member], first[member], "{member}, {how}");
        }
        assert_eq!(oldest["kept"], false, "{how}");
        let response = daemon.follow("p").query("run=1").response();
        assert_eq!(response.status, 410, "{how}");
        let detail = response.problem()["detail"].to_string();
        assert!(detail.contains("the lines of run 1 of p are no longer stored"), "{detail}");
    }
    let disk = daemon.state("p")["disk"].as_u64().unwrap();
    assert!(disk <= 4 << 20, "{disk}");
}

#[test]
fn without_a_state_directory_the_runs_are_those_of_this_daemon() {
    let dir = TestDir::new();
    dir.write("job", "");
    let yaml = YAML.replace("state_directory: state\n", "history: { runs: 2 }\n");
    let daemon = dir.start(&yaml);
    for job in ["echo a", "echo b", "echo c; exit 1"] {
        run(&daemon, job);
    }
    let all = runs(&daemon, "");
    assert_eq!(numbers(&all), [3, 2], "as many as the configuration says");
    assert_eq!(lines(&run_lines(&daemon, "run=passed")), ["b"]);
    let daemon = next_daemon(daemon, "stop");
    assert_eq!(runs(&daemon, ""), Vec::<Value>::new());
}

#[test]
fn a_run_has_the_groups_that_its_program_named_without_their_secrets() {
    let dir = TestDir::new();
    dir.write("job", "");
    let daemon = dir.start(&YAML.replace("restart: never", "restart: never, redact: on"));
    let group = |name: &str| format!("echo '::group::{name}'; sleep 0.05; echo in it; echo '::endgroup::'\n");
    let long = "x".repeat(200);
    let job = format!(
        "{}{}{}echo '::group::the last one'\nexit 1",
        group("Install"),
        group("deploy with password=hunter2hunter2"),
        group(&long)
    );
    let known = run(&daemon, &job);
    let groups = known["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], names.len(), names[3]), ("Install", 4, "the last one"), "{known}");
    assert!(names[1].starts_with("deploy with password=") && !known.to_string().contains("hunter2"), "{known}");
    assert!(long.starts_with(names[2]) && names[2].len() <= 80, "{known}");
    assert!(groups[..3].iter().all(|group| group["duration"].as_f64().unwrap() >= 0.04), "{known}");
    // Groups are also known after a crash: those that have ended by then.
    let steps = format!("{}echo '::group::Test'; echo ready; sleep 1000", group("Build"));
    start(&daemon, &steps);
    Deadline::new().until("the end of the group", || {
        daemon.json("/streams/p/progress")["groups"][0]["duration"].is_number().then_some(())
    });
    let daemon = again(daemon.kill());
    run_of(&daemon, "p");
    let all = runs(&daemon, "");
    assert_eq!(all[1], known);
    assert_eq!(all[0]["groups"][0]["name"], "Build", "{}", all[0]);
}

/// What a command of rtlogd does that talks to this daemon.
fn execute(daemon: &Daemon, arguments: &[&str]) -> Ended {
    Program::start(daemon.command(arguments).env("RTLOGD_URL", daemon.url("")).stdin(Stdio::null())).ended()
}

#[test]
fn the_command_lists_the_runs_and_prints_one_with_its_exit_status() {
    let daemon = with_five_runs();
    let text = |ended: &Ended| String::from_utf8(ended.out.clone()).unwrap();
    let listed = text(&execute(&daemon, &["runs", "p"]));
    let fields = |line: &str| {
        let fields = line.split("  ").map(|field| field.trim().to_owned());
        fields.filter(|field| !field.is_empty()).collect::<Vec<_>>()
    };
    let lines: Vec<_> = listed.lines().map(fields).collect();
    assert_eq!(lines[0], ["RUN", "STATE", "STARTED", "DURATION", "LINES", "ERRORS", "WARNINGS", "NOTE"]);
    let states: Vec<_> = lines[1..].iter().map(|line| (line[0].as_str(), line[1].as_str(), line[4].as_str())).collect();
    let expected = [
        ("5", "running", "1"),
        ("4", "stopped", "1"),
        ("3", "killed (SEGV)", "1"),
        ("2", "failed (exit 3)", "3"),
        ("1", "passed", "5"),
    ];
    assert_eq!(states, expected, "{listed}");
    let url = daemon.url("/streams/p");
    for arguments in [&["runs", "p", "--limit", "2"][..], &["runs", &url, "--limit", "2"]] {
        let two = text(&execute(&daemon, arguments));
        assert_eq!(two.lines().map(|line| fields(line)[0].clone()).collect::<Vec<_>>(), ["RUN", "5", "4"]);
    }

    for (run, code, out, err) in [
        ("2", 3, "[WARN] a\nerror: b\n[FATAL] c\n", ""),
        ("passed", 0, "1\n2\n3\n4\n5\n", ""),
        ("3", 139, "one\n", "rtlogd: p: the process was killed by signal SEGV\n"),
        ("last", 143, "ready\n", "rtlogd: p: the process was killed by signal TERM\n"),
        ("9", 1, "", "run 9 of p is not known; the known runs have the numbers 1 to 5"),
        ("first", 1, "", "run=first is not known; use the number of a run, current, last or passed"),
    ] {
        let ended = execute(&daemon, &["follow", "p", "--run", run]);
        assert_eq!((ended.status.code(), text(&ended).as_str()), (Some(code), out), "{run}: {}", ended.err);
        assert!(ended.err.contains(err) && ended.err.is_empty() == err.is_empty(), "{run}: {}", ended.err);
    }
    let ended = execute(&daemon, &["follow", &format!("{url}?run=2&level=error")]);
    assert_eq!((ended.status.code(), text(&ended).as_str()), (Some(3), "error: b\n[FATAL] c\n"), "{}", ended.err);
    let unknown = execute(&daemon, &["runs", "q"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.err.contains("no stream is named \"q\" (`rtlogd ls"), "{}", unknown.err);
}
