//! Running a process: what it prints, how it ends, and how it is ended.

use crate::harness::sse::{Message, Reader, lines};
use crate::harness::{Daemon, Deadline, runs};

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
fn both_outputs_are_told_apart() {
    let seen = run("echo out; echo err >&2");
    let mut lines: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    lines.sort_by_key(|line| line["origin"].to_string());
    assert_eq!(lines.len(), 2, "{seen:#?}");
    assert_eq!((&lines[0]["origin"], &lines[0]["text"]), (&"stderr".into(), &"err".into()));
    assert_eq!((&lines[1]["origin"], &lines[1]["text"]), (&"stdout".into(), &"out".into()));
}

#[test]
fn a_run_is_its_state_its_lines_and_its_end() {
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
fn a_signal_that_ends_it_is_named() {
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
fn all_of_a_large_output_comes_before_the_end() {
    let daemon = shell("seq 1 200000", "restart: { when: never }, history: { memory: 64MiB }");
    let seen = daemon.follow("p").query("run=current").until_end();
    let numbers = lines(&seen);
    assert_eq!(numbers.len(), 200_000);
    assert!((1..).zip(&numbers).all(|(number, text)| **text == format!("{number}")));
    assert_eq!(end(&seen)["code"], 0);
}

#[test]
fn a_command_that_is_not_there_is_told() {
    let daemon = Daemon::start("streams: { p: { command: [/no/such/program] } }");
    let seen = daemon
        .follow("p")
        .query("tail=all")
        .until("what is wrong", |message| message.data.contains("/no/such/program"));
    assert_eq!(seen.last().unwrap().event, "state", "{seen:#?}");
}

#[test]
fn directory_and_environment_are_its_own() {
    let keys = "directory: /, environment: { RTLOGD_A: one, RTLOGD_B: 2 }, restart: { when: never }";
    let daemon = shell("pwd; echo $RTLOGD_A $RTLOGD_B", keys);
    assert_eq!(lines(&daemon.follow("p").query("run=current").until_end()), ["/", "one 2"]);
}

#[test]
fn a_failing_command_is_started_again_after_a_while() {
    let daemon = shell("echo again; exit 1", "restart: { when: on-failure, backoff: 100ms..400ms }");
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
fn too_many_restarts_stop_it() {
    let daemon = shell("exit 1", "restart: { when: always, backoff: 100ms..100ms, limit: 2 per 1h }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let seen = reader.until("stopped", |message| message.is_state("stopped"));
    assert_eq!(seen.iter().filter(|message| message.event == "end").count(), 3, "{seen:#?}");
}

#[test]
fn the_body_of_a_run_ends_with_it_and_a_reconnect_is_told_so() {
    let daemon = shell("echo one; exit 1", "restart: { when: on-failure, backoff: 100ms..100ms }");
    let seen = daemon.follow("p").query("run=current").until_end();
    end(&seen);
    assert!(seen[0].is_state("running"), "{seen:#?}");
    let at_end = daemon.follow("p").query("run=current").last_event_id(&seen.last().unwrap().id);
    assert_eq!(at_end.status(), 204);
    // One that saw less of it gets the rest.
    let rest = daemon.follow("p").query("run=current").last_event_id(&seen[0].id).until_end();
    assert_eq!(rest, seen[1..]);
    // Without run=current the same place is one among others.
    daemon.follow("p").last_event_id(&seen.last().unwrap().id).until("the next run", |m| m.is_state("running"));
}

#[test]
fn a_grandchild_that_holds_the_pipe_does_not_hold_the_end() {
    let daemon = shell("sleep 1000 & echo $!", "restart: { when: never }");
    let mut reader = daemon.follow("p").query("run=current").open();
    let sleeper = pid(&mut reader);
    end(&reader.until_end());
    // Whether it outlived the run or not, it does not outlive the daemon.
    daemon.terminate();
    daemon.ended();
    Deadline::new().until("the end of the grandchild", || (!runs(sleeper)).then_some(()));
}

#[test]
fn the_whole_group_ends_with_the_daemon() {
    let daemon = shell("sleep 1000 & echo $!; wait", "restart: { when: never }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let sleeper = pid(&mut reader);
    assert!(runs(sleeper));
    daemon.terminate();
    let seen = reader.until_end();
    let end = seen.iter().find(|message| message.event == "end").unwrap_or_else(|| panic!("no end: {seen:#?}")).json();
    assert_eq!((&end["cause"], &end["signal"]), (&"daemon-stopped".into(), &"TERM".into()), "{end}");
    assert!(daemon.ended().status.success());
    Deadline::new().until("the end of the grandchild", || (!runs(sleeper)).then_some(()));
}

#[test]
fn a_child_that_ignores_the_signal_is_killed() {
    let script = "trap '' TERM; echo $$; while :; do sleep 0.1; done";
    let daemon = shell(script, "stop: { grace: 1s }");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let child = pid(&mut reader);
    daemon.terminate();
    let seen = reader.until_end();
    let end = seen.iter().find(|message| message.event == "end").unwrap_or_else(|| panic!("no end: {seen:#?}")).json();
    assert_eq!((&end["cause"], &end["signal"]), (&"daemon-stopped".into(), &"KILL".into()), "{end}");
    assert!(daemon.ended().status.success());
    Deadline::new().until("the end of the child", || (!runs(child)).then_some(()));
}

#[test]
fn its_own_signal_ends_it_politely() {
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
