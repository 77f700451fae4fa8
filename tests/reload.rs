//! A changed configuration: what it touches, what it does not, and what is said of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::http::Response;
use crate::harness::sse::lines;
use crate::harness::{Daemon, Deadline, Ended, Program, TestDir, numbered};

/// Commands need a Unix socket.
const LISTEN: &str = "listen: ['127.0.0.1:0', 'unix:control.sock']\n";

const RELOAD: [&str; 3] = ["reload", "--config", "rtlogd.yaml"];

/// Writes this configuration, and asks the daemon to apply it.
fn reload(daemon: &Daemon, yaml: &str) -> Ended {
    daemon.configure(yaml);
    daemon.execute(&RELOAD)
}

fn names(daemon: &Daemon) -> Vec<String> {
    let list = daemon.json("/streams");
    let name = |stream: &serde_json::Value| stream["name"].as_str().unwrap().to_owned();
    list["streams"].as_array().unwrap_or_else(|| list.as_array().unwrap()).iter().map(name).collect()
}

#[test]
fn a_reload_adds_and_removes_streams_without_touching_others() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    dir.write("b.log", "two\n");
    let stays = "stays: { file: a.log, from: start }";
    let daemon = dir.start(&format!("streams: {{ {stays}, goes: {{ file: b.log, from: start }} }}"));
    let mut reader = daemon.follow("stays").query("tail=all").open();
    reader.take(1);
    let mut goes = daemon.follow("goes").query("tail=all").open();
    let ended = reload(&daemon, &format!("streams: {{ {stays}, comes: {{ command: [echo, three] }} }}"));
    assert_eq!((ended.status.code(), ended.err.as_str()), (Some(0), ""));
    assert_eq!(String::from_utf8_lossy(&ended.out), "streams: 1 added, 1 removed, 1 unchanged\n");
    assert_eq!(names(&daemon), ["comes", "stays"]);
    let seen = goes.until_end();
    assert_eq!(lines(&seen), ["two"]);
    let gone = daemon.follow("goes").last_event_id(&seen.iter().rfind(|m| !m.id.is_empty()).unwrap().id);
    assert_eq!(gone.status(), 204, "nothing more can come");
    assert_eq!(daemon.follow("comes").take(1)[0].data, "three");
    daemon.write("a.log", "four\n");
    assert_eq!(reader.take(1)[0].data, "four", "on the same connection");
}

#[test]
fn a_changed_stream_continues_where_it_was() {
    let dir = TestDir::new();
    dir.write("a.log", numbered("", 10));
    let yaml = |extra: &str| {
        format!("state_directory: state\nstreams: {{ a: {{ file: a.log, from: start, max_line: {extra} }} }}")
    };
    let daemon = dir.start(&yaml("64KiB"));
    let mut reader = daemon.follow("a").query("tail=all").open();
    let last = reader.take(10).pop().unwrap();
    let ended = reload(&daemon, &yaml("32KiB"));
    assert_eq!(String::from_utf8_lossy(&ended.out), "streams: 1 changed, 0 unchanged\n", "{}", ended.err);
    let rest = reader.until_end();
    assert!(rest.iter().any(|message| message.is_state("stopping")), "{rest:#?}");
    daemon.write("a.log", "eleven\n");
    let again = daemon.follow("a").last_event_id(&last.id).until("eleven", |message| message.data == "eleven");
    let epoch = |id: &str| id.split_once('-').unwrap().0.to_owned();
    assert_eq!(epoch(&again.last().unwrap().id), epoch(&last.id));
    assert_eq!(lines(&again), ["eleven"]);
    assert!(!again.iter().any(|message| message.event == "gap" || message.event == "loss"), "{again:#?}");
}

#[test]
fn without_a_state_directory_a_reload_continues_the_numbers_after_an_unknown_loss() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    let daemon = dir.start("streams: { a: { file: a.log, from: start } }");
    let mut reader = daemon.follow("a").query("tail=all").open();
    reader.take(1);
    reload(&daemon, "streams: { a: { file: a.log, from: end, max_line: 1KiB } }");
    let last = reader.until_end().into_iter().rfind(|message| !message.id.is_empty()).unwrap();
    let again = daemon.follow("a").last_event_id(&last.id).until("a loss", |message| message.event == "loss");
    assert!(!again.iter().any(|message| message.event == "gap"), "{again:#?}");
    let epoch = |id: &str| id.split_once('-').unwrap().0.to_owned();
    assert_eq!(epoch(&again.last().unwrap().id), epoch(&last.id));
}

#[test]
fn commands_reach_the_current_process_and_no_removed_one() {
    let dir = TestDir::new();
    dir.write("a.log", "");
    let before =
        "p: { command: [cat], input: true }, q: { command: [cat], input: true }, r: { command: [cat], input: true }";
    let daemon = dir.start(&format!("{LISTEN}streams: {{ {before} }}"));
    let type_in = |name: &str| daemon.unix().post(&format!("/streams/{name}/input"), b"hello\n");
    for name in ["p", "q", "r"] {
        assert_eq!(type_in(name).status, 200);
    }
    let ended = reload(
        &daemon,
        &format!("{LISTEN}streams: {{ p: {{ command: [sed, -u, s/^/again/], input: true }}, r: {{ file: a.log }} }}"),
    );
    assert_eq!(String::from_utf8_lossy(&ended.out), "streams: 2 changed, 1 removed, 0 unchanged\n", "{}", ended.err);
    assert_eq!((type_in("p").status, type_in("q").status), (200, 404));
    let refused = type_in("r");
    assert_eq!(refused.status, 409);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("not a process"));
    daemon.follow("p").query("tail=all").until("the new process", |message| message.data == "againhello");
}

#[test]
fn a_new_description_does_not_restart_a_stream() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    let daemon = dir.start("streams: { a: { file: a.log, from: start } }");
    let mut reader = daemon.follow("a").query("tail=all").open();
    reader.take(1);
    reload(&daemon, "streams: { a: { file: a.log, from: start, description: of mine } }");
    let state = String::from_utf8(daemon.get("/streams/a/state", &[]).2).unwrap();
    assert!(state.contains("of mine"), "{state}");
    daemon.write("a.log", "two\n");
    assert_eq!(reader.take(1)[0].data, "two");
}

#[test]
fn a_reload_of_a_bad_configuration_changes_nothing_and_names_the_mistake() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    let daemon = dir.start("streams: { a: { file: a.log, from: start } }");
    let mut reader = daemon.follow("a").query("tail=all").open();
    reader.take(1);
    let ended = reload(&daemon, "streams:\n  a: { fiel: a.log }\n  b: { command: [] }");
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    for dir in ["rtlogd.yaml:3:8:", "rtlogd.yaml:4:"] {
        assert!(ended.err.contains(dir), "{}", ended.err);
    }
    assert!(daemon.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let told = daemon.told();
    assert!(told.starts_with("READY=1\nSTATUS=listening on http://127.0.0.1:"), "{told}");
    assert!(told.contains("changed nothing: rtlogd.yaml:3:"), "{told}");
    assert_eq!(names(&daemon), ["a"]);
    daemon.write("a.log", "two\n");
    assert_eq!(reader.take(1)[0].data, "two");
    reload(&daemon, "streams: { a: { file: a.log, from: start } }");
    daemon.told();
    assert!(!daemon.told().contains("changed nothing"));
    daemon.terminate();
    let ended = daemon.ended();
    assert!(
        ended.err.contains("error: the configuration is invalid") && ended.err.contains("rtlogd.yaml:3:8:"),
        "{}",
        ended.err
    );
}

#[test]
fn sighup_reloads_and_reports_what_needs_a_restart() {
    let dir = TestDir::new();
    let daemon = dir.start("streams: {}");
    daemon.configure("memory: 64MiB\nstreams: { a: { command: [echo, hello] } }");
    daemon.signal(Signal::HUP);
    let there = || (names(&daemon) == ["a"]).then_some(());
    Deadline::new().until("the new stream", there);
    let ended = daemon.execute(&RELOAD);
    let said = String::from_utf8_lossy(&ended.out).into_owned();
    assert!(
        said.starts_with("streams: 1 unchanged\n`memory` changed; this takes effect only after a restart"),
        "{said}"
    );
}

#[test]
fn a_reload_without_a_daemon_fails() {
    let dir = TestDir::new();
    dir.configure("streams: {}");
    let ended = dir.execute(&RELOAD);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("no rtlogd with the configuration \"rtlogd.yaml\" can be reached"), "{}", ended.err);
}

#[test]
fn the_watchdog_is_fed_while_the_daemon_lives() {
    let dir = TestDir::new();
    dir.configure("streams: {}");
    let mut command = dir.command(&["serve", "--config", "rtlogd.yaml"]);
    command.env("WATCHDOG_USEC", "200000").stdin(Stdio::null());
    let daemon = dir.launch_command(command);
    for _ in 0..3 {
        assert_eq!(daemon.told(), "WATCHDOG=1\n");
    }
}

/// The tests of the package show that the sockets of systemd are served.
#[test]
fn a_descriptor_from_systemd_that_is_not_a_socket_is_refused() {
    let dir = TestDir::new();
    dir.configure("streams: {}");
    let mut command = dir.command(&["serve", "--config", "rtlogd.yaml"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0").stdin(Stdio::null());
    let ended = crate::harness::Program::start(&mut command).ended();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("a socket from systemd is not a listening"), "{}", ended.err);
}

#[test]
fn readers_of_a_restarted_stream_stay_connected() {
    let dir = TestDir::new();
    dir.fifo("end");
    // The process ends only when the test says so, so that requests arrive while it is stopping.
    let slow = |text: &str| {
        let script = format!("trap 'read x <end; exit' TERM; echo {text}; sleep 1000 & wait");
        format!("{LISTEN}streams: {{ p: {{ command: [sh, -c, \"{script}\"], directory: ., stop: {{ grace: 1m }} }} }}")
    };
    let daemon = dir.start(&slow("one"));
    let mut reader = daemon.follow("p").query("tail=all").open();
    let last = reader.take(1).pop().unwrap();
    daemon.configure(&slow("two"));
    daemon.signal(Signal::HUP);
    reader.until("the stop", |message| message.is_state("stopping"));
    let path = "/streams/p";
    let response = Response::get(daemon.address(), path, &[("Last-Event-ID", &last.id)]);
    assert_eq!(response.status, 200);
    assert_eq!(daemon.follow("p").status(), 503);
    assert_eq!(daemon.request("/streams/p/poll").status(), 503);
    let command = daemon.unix().post("/streams/p/restart", b"");
    assert_eq!(command.status, 503);
    let detail = command.problem()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("being restarted"), "{detail}");
    daemon.release("end");
    reader.until_end();
    let there = || {
        let response = daemon.follow("p").query("tail=all").response();
        (response.status == 200).then_some(())
    };
    Deadline::new().until("the new run", there);
    let seen = daemon.follow("p").last_event_id(&last.id).until("two", |message| message.data == "two");
    assert!(!seen.iter().any(|message| message.data == "one"));
}

#[test]
fn a_daemon_is_found_from_another_session_and_by_another_path_of_its_configuration() {
    let dir = TestDir::new();
    for directory in ["of-daemon", "of-client"] {
        fs::create_dir(dir.path(directory)).unwrap();
        fs::set_permissions(dir.path(directory), fs::Permissions::from_mode(0o700)).unwrap();
    }
    dir.configure("streams: {}");
    for (link, target) in [("link.yaml", "rtlogd.yaml"), ("other.yaml", "link.yaml"), ("here", ".")] {
        symlink(target, dir.path(link)).unwrap();
    }
    let ask = |dir: &TestDir, runtime: Option<&str>, request: &str, config: &str| {
        let mut command = dir.command(&[request, "--config", config]);
        command.env_remove("RUNTIME_DIRECTORY").env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command.envs(runtime.map(|directory| ("XDG_RUNTIME_DIR", dir.path(directory))));
        Program::start(&mut command).ended()
    };
    let paths = ["rtlogd.yaml", "link.yaml", "other.yaml", "here/rtlogd.yaml", "here/link.yaml"];
    let mut dir = dir;
    for of_daemon in ["rtlogd.yaml", "link.yaml", "here/rtlogd.yaml"] {
        let mut command = dir.command(&["serve", "--config", of_daemon]);
        command.env_remove("RUNTIME_DIRECTORY").env("XDG_RUNTIME_DIR", dir.path("of-daemon")).stdin(Stdio::null());
        let daemon = dir.launch_command(command);
        for runtime in [Some("of-daemon"), Some("of-client"), None] {
            for path in paths {
                let asked = ask(&daemon, runtime, "reload", path);
                assert!(asked.status.success(), "{of_daemon}, {path} with {runtime:?}: {}", asked.err);
                // The daemon waits if nobody reads that it reloads and has done so.
                assert!(daemon.told().contains("RELOADING=1") && daemon.told().contains("READY=1"));
            }
        }
        // The link to the socket remains with the process.
        let asked = ask(&daemon, None, "upgrade", "other.yaml");
        assert!(asked.status.success(), "{of_daemon}: {}", asked.err);
        let asked = ask(&daemon, None, "shutdown", "other.yaml");
        assert!(asked.status.success(), "{of_daemon}: {}", asked.err);
        dir = daemon.ended_by(Deadline::new()).1;
        assert_eq!(fs::read_dir(dir.path("of-daemon/rtlogd")).unwrap().count(), 0, "{of_daemon}");
    }
}
