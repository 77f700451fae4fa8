//! `rtlogd upgrade`: the daemon becomes the program that is now installed, on machines without systemd.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::continuity::{Unfinished, events_in};
use crate::harness::http::{Address, Response};
use crate::harness::{Daemon, Deadline, Ended, Program, TestDir, runs};

/// Copies a program. Another process does so: a child that another test starts at this moment would inherit a file that is open
/// for writing, and the system executes no such file.
fn install(from: &Path, to: &Path, mode: u32) {
    let done = Command::new("install").arg("-m").arg(format!("{mode:o}")).args([from, to]).status().unwrap();
    assert!(done.success(), "{}", from.display());
}

/// A detached daemon by a copy of the program, which the test replaces.
struct Installed(TestDir);

impl Installed {
    fn start(streams: &str) -> Self {
        Self::start_in(TestDir::new(), streams)
    }

    fn start_in(dir: TestDir, streams: &str) -> Self {
        install(env!("CARGO_BIN_EXE_rtlogd").as_ref(), &dir.path("rtlogd"), 0o755);
        let socket = dir.path("s").display().to_string();
        dir.configure(&format!("listen: [\"unix:{socket}\"]\nstate_directory: state\nstreams: {{ {streams} }}"));
        let installed = Self(dir);
        installed.serve();
        installed
    }

    fn serve(&self) {
        let words = ["serve", "--config", "rtlogd.yaml", "--daemon", "--pid-file", "pid", "--log-file", "log"];
        let output = self.command().args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("./rtlogd");
        // The variables are those of a command of the harness.
        command.current_dir(self.0.path("")).env("RUNTIME_DIRECTORY", self.0.path(""));
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "RTLOGD_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Puts another file in the place of the program.
    fn replace(&self, content: &[u8], mode: u32) {
        fs::write(self.0.path("content"), content).unwrap();
        install(&self.0.path("content"), &self.0.path("new"), mode);
        self.0.rename("new", "rtlogd");
    }

    /// A script in the place of the program that is the real one but for these commands.
    fn replace_by_script(&self, cases: &str) {
        let real = env!("CARGO_BIN_EXE_rtlogd");
        let script = format!("#!/bin/sh\ncase $1 in\n{cases}\nesac\nexec {real} \"$@\"\n");
        self.replace(script.as_bytes(), 0o755);
    }

    fn upgrade(&self) -> Ended {
        self.ask("upgrade").ended()
    }

    /// Asks the daemon, and does not wait for the result.
    fn ask(&self, command: &str) -> Program {
        Program::start(&mut self.0.command(&[command, "--config", "rtlogd.yaml"]))
    }

    fn pid(&self) -> i32 {
        fs::read_to_string(self.0.path("pid")).unwrap().trim().parse().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.path("log")).unwrap_or_default()
    }

    fn json(&self, path: &str) -> Value {
        let response = Response::get(&Address::Unix(self.0.path("s")), path, &[]);
        assert_eq!(response.status, 200, "{path}");
        serde_json::from_slice(&response.body.all()).unwrap()
    }

    /// The process id and the number of the run.
    fn run_of(&self, stream: &str) -> (u64, u64) {
        Deadline::new().until("a running command", || {
            let state = self.json(&format!("/streams/{stream}/state"));
            Some((state["source"]["pid"].as_u64()?, state["source"]["run"].as_u64()?))
        })
    }

    /// The lines of a stream that are there.
    fn lines(&self, stream: &str) -> Vec<String> {
        let path = format!("/streams/{stream}?tail=all&follow=false&format=text");
        let body = Response::get(&Address::Unix(self.0.path("s")), &path, &[]).body.all();
        String::from_utf8(body).unwrap().lines().map(str::to_owned).collect()
    }

    fn until_line(&self, stream: &str, line: &str) -> Vec<String> {
        Deadline::new().until(line, || Some(self.lines(stream)).filter(|lines| lines.iter().any(|found| found == line)))
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ended = self.0.execute(&["shutdown", "--config", "rtlogd.yaml"]);
        if thread::panicking() {
            eprintln!("--- the log\n{}---", self.log());
        }
    }
}

/// What is wrong with the new program, what makes it so, and the reason that the client is given.
type Breakage<'a> = (&'a str, &'a dyn Fn(), &'a str);

/// A command that prints 1, 2, 3 and so on, a hundred a second.
const COUNT: &str = "p: { command: [sh, -c, \"i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done\"] }";

#[test]
fn the_process_becomes_the_new_program_and_nothing_is_lost() {
    let daemon = Installed::start(COUNT);
    let (pid, run) = (daemon.pid(), daemon.run_of("p"));
    // Somebody connects all the time.
    let over = Arc::new(AtomicBool::new(false));
    let (stop, socket) = (over.clone(), daemon.0.path("s"));
    let connects = thread::spawn(move || {
        let mut answers = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut stream = UnixStream::connect(&socket).expect("no connection is refused");
            stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            // A connection that the old program had accepted ends with it.
            if stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
                answers += 1;
            }
        }
        answers
    });
    for upgrades in 1..=3 {
        daemon.replace(&fs::read(env!("CARGO_BIN_EXE_rtlogd")).unwrap(), 0o755);
        let asked = daemon.upgrade();
        let said = format!("process {pid} is now rtlogd {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((String::from_utf8_lossy(&asked.out).as_ref(), asked.err.as_str()), (said.as_str(), ""));
        assert_eq!((daemon.pid(), daemon.run_of("p")), (pid, run));
        // The file of the program that runs is the one that was installed last.
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(program, fs::canonicalize(daemon.0.path("rtlogd")).unwrap());
        let lock = fs::File::open(daemon.0.path("pid")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap_err();
        daemon.until_line("p", &(60 * upgrades).to_string());
    }
    over.store(true, Ordering::Relaxed);
    assert!(connects.join().unwrap() > 0);
    let numbers: Vec<usize> = daemon.lines("p").iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    // The limit on open files of a command is that of the first start.
    let soft = |pid: u64| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    kill_process(Pid::from_raw(i32::try_from(run.0).unwrap()).unwrap(), Signal::KILL).unwrap();
    let next = Deadline::new().until("the next run", || Some(daemon.run_of("p")).filter(|next| next.1 == run.1 + 1));
    assert_eq!(soft(next.0), soft(u64::from(std::process::id())));
    let asked = daemon.0.execute(&["shutdown", "--config", "rtlogd.yaml"]);
    assert!(asked.status.success(), "{asked:?}");
    assert!(!daemon.0.path("pid").exists() && !runs(next.0), "the last program ends as the first would have done");
}

#[test]
fn what_was_unfinished_is_completed_by_the_new_program() {
    let dir = TestDir::new();
    let streams = Unfinished::streams(&dir);
    let daemon = Installed::start_in(dir, &streams);
    Unfinished::until_printed(&daemon.0);
    for _ in 0..2 {
        let asked = daemon.upgrade();
        assert!(asked.status.success(), "{asked:?}");
    }
    Unfinished::complete(&daemon.0, "upgrade", |stream| {
        let path = format!("/streams/{stream}?tail=all&follow=false&format=ndjson");
        let events = events_in(&Response::get(&Address::Unix(daemon.0.path("s")), &path, &[]).body.all());
        assert!(events.iter().all(|event| event["kind"] != "loss" && event["kind"] != "end"), "{stream}");
        events.iter().filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
    });
}

#[test]
fn a_new_program_that_cannot_take_over_changes_nothing() {
    let daemon = Installed::start(COUNT);
    let (pid, run) = (daemon.pid(), daemon.run_of("p"));
    let older = r#"__protocol) echo '{"version":"0.0.9","upgrade":1,"shim":1,"history":1}'; exit;;"#;
    let table: [Breakage<'_>; 8] = [
        ("is missing", &|| fs::remove_file(daemon.0.path("rtlogd")).unwrap(), "No such file"),
        ("may not be executed", &|| daemon.replace(b"#!/bin/sh\n", 0o644), "Permission denied"),
        ("is no program", &|| daemon.replace(&[0x7f; 100], 0o755), "__protocol` failed: it exited with code"),
        ("is another program", &|| daemon.replace(b"#!/bin/sh\n", 0o755), "is not a version of rtlogd"),
        ("crashes", &|| daemon.replace(b"#!/bin/sh\nkill -SEGV $$\n", 0o755), "was killed by signal SEGV"),
        (
            "crashes in the check",
            &|| daemon.replace_by_script("check) echo words >&2; kill -ABRT $$;;"),
            "was killed by signal ABRT: words",
        ),
        ("is too old", &|| daemon.replace_by_script(older), "does not know the format of the histories"),
        (
            "refuses the configuration",
            &|| daemon.replace_by_script("check) echo 'a.yaml:1:1: unknown key' >&2; exit 2;;"),
            "exited with code 2: a.yaml:1:1: unknown key",
        ),
    ];
    for (what, spoil, reason) in table {
        spoil();
        let asked = daemon.upgrade();
        assert_eq!(asked.status.code(), Some(1), "{what}: {asked:?}");
        assert!(asked.err.contains(reason) && asked.err.contains("nothing was changed"), "{what}: {}", asked.err);
        assert!(daemon.log().contains("rtlogd is not replaced"), "{what}");
    }
    daemon.replace_by_script("nothing) ;;");
    daemon.0.configure("state_directory: state\ncolour: red\nstreams: {}");
    let asked = daemon.upgrade();
    assert!(asked.err.contains("unknown key `colour`"), "{}", asked.err);
    assert_eq!((daemon.pid(), daemon.run_of("p")), (pid, run), "the daemon is the same");
    let lines = daemon.lines("p").len();
    Deadline::new().until("more lines", || (daemon.lines("p").len() > lines).then_some(()));
}

#[test]
fn a_program_that_cannot_be_executed_in_the_end_leaves_the_old_one() {
    let daemon = Installed::start(COUNT);
    let (pid, run) = (daemon.pid(), daemon.run_of("p"));
    // The checks remove the program.
    daemon.replace_by_script("check) rm \"$0\"; exit 0;;");
    let asked = daemon.upgrade();
    assert_eq!((asked.status.code(), asked.out.len()), (Some(1), 0), "{asked:?}");
    let reason = "cannot be executed: No such file or directory";
    assert!(asked.err.contains(reason) && asked.err.contains("was not replaced"), "{}", asked.err);
    assert!(daemon.log().contains("this version continues"), "{}", daemon.log());
    assert_eq!((daemon.pid(), daemon.run_of("p")), (pid, run));
    let lines = daemon.lines("p").len();
    Deadline::new().until("more lines", || (daemon.lines("p").len() > lines).then_some(()));
    // The failure is that of one request.
    daemon.replace(&fs::read(env!("CARGO_BIN_EXE_rtlogd")).unwrap(), 0o755);
    let asked = daemon.upgrade();
    assert!(asked.status.success(), "{asked:?}");
}

#[test]
fn a_new_program_that_cannot_serve_leaves_the_commands_to_the_next() {
    let daemon = Installed::start(COUNT);
    let run = daemon.run_of("p");
    let good = fs::read_to_string(daemon.0.path("rtlogd.yaml")).unwrap();
    // A fault that the checks do not see, the configuration of the new program, and the answer that the client receives.
    let table = [
        ("check) exit 0;;", good.replace("streams:", "colour: red\nstreams:"), Some("unknown key `colour`")),
        ("check) exit 0;;", good.clone() + "tls: { certificate: no.pem, key: no.pem }\n", Some("no.pem")),
        ("serve) exit 7;;", good.clone(), None),
    ];
    for (script, yaml, reason) in table {
        let pid = u64::try_from(daemon.pid()).unwrap();
        daemon.replace_by_script(script);
        fs::write(daemon.0.path("rtlogd.yaml"), yaml).unwrap();
        let asked = daemon.upgrade();
        assert_eq!(asked.status.code(), Some(1), "{asked:?}");
        let told = reason.map_or_else(
            || asked.err.contains("the daemon ended before it replied"),
            |reason| asked.err.contains(reason) && asked.err.contains("its commands wait for the next rtlogd"),
        );
        assert!(told, "{reason:?}: {}", asked.err);
        Deadline::new().until("the end of the process", || (!runs(pid)).then_some(()));
        let files = fs::read_dir(daemon.0.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = files
            .filter(|name| name == "s" || name == "pid" || name.to_string_lossy().starts_with("control-"))
            .collect();
        // Nobody can clean up after a program that is no rtlogd.
        assert_eq!(left.is_empty(), reason.is_some(), "{reason:?}: {left:?}");
        fs::write(daemon.0.path("rtlogd.yaml"), &good).unwrap();
        daemon.replace(&fs::read(env!("CARGO_BIN_EXE_rtlogd")).unwrap(), 0o755);
        daemon.serve();
        assert_eq!(daemon.run_of("p"), run, "{reason:?}");
        assert!(daemon.upgrade().status.success());
    }
    let numbers: Vec<usize> = daemon.lines("p").iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

#[test]
fn under_systemd_an_upgrade_is_refused_with_what_to_do_instead() {
    let dir = TestDir::new();
    dir.configure("streams: {}");
    // The service manager names the process that it executes.
    let wrapper = ["sh", "-c", "RUNTIME_DIRECTORY=$PWD SYSTEMD_EXEC_PID=$$ exec \"$@\"", "sh"];
    let daemon = dir.launch_by(&wrapper, &["serve", "--config", "rtlogd.yaml"]);
    let asked = daemon.execute(&["upgrade", "--config", "rtlogd.yaml"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(asked.err.contains("systemctl restart"), "{}", asked.err);
    assert_eq!(daemon.get("/health/ready", &[]).0, 200);
}

#[test]
fn signals_reach_the_new_program_and_its_commands() {
    let daemon = Installed::start("p: { command: [sh, -c, 'echo ready; exec sleep 1000'], start: manual }");
    let pid = Pid::from_raw(daemon.pid()).unwrap();
    for upgrades in 1..=3 {
        assert!(daemon.upgrade().status.success());
        // A signal that arrives while the program is executed is not lost, and does not end it.
        for _ in 0..upgrades {
            kill_process(pid, Signal::USR1).unwrap();
            kill_process(pid, Signal::HUP).unwrap();
        }
        assert_eq!(daemon.pid(), pid.as_raw_nonzero().get());
    }
    let url = format!("unix:{}", daemon.0.path("s").display());
    assert!(daemon.0.execute(&["start", "--url", &url, "p"]).status.success());
    let blocked = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned()
    };
    let command = format!("/proc/{}", daemon.run_of("p").0);
    assert_eq!(blocked(command.as_ref()), "0".repeat(16), "a command of the new program receives all signals");
    // A signal that another thread received at the moment of an upgrade would be lost with that thread.
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().map(|entry| entry.unwrap().path());
    let receives = |thread: &PathBuf| {
        let blocked = u64::from_str_radix(&blocked(thread), 16).unwrap();
        blocked & (1 << (Signal::TERM.as_raw() - 1)) == 0
    };
    assert_eq!(threads.filter(receives).count(), 1);
    kill_process(pid, Signal::TERM).unwrap();
    Deadline::new().until("the end of the daemon", || (!daemon.0.path("pid").exists()).then_some(()));
}

#[test]
fn a_signal_while_the_new_program_is_checked_ends_the_daemon() {
    let daemon = Installed::start("p: { command: [sleep, 1000] }");
    let (pid, run) = (Pid::from_raw(daemon.pid()).unwrap(), daemon.run_of("p"));
    let checking = daemon.0.path("checking");
    let hangs = format!("__protocol) echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000;;", checking.display());
    daemon.replace_by_script(&hangs);
    let asked = daemon.ask("upgrade");
    let check: u64 = Deadline::new().until("the check", || fs::read_to_string(&checking).ok()).trim().parse().unwrap();
    // Meanwhile, everything is served.
    kill_process(pid, Signal::HUP).unwrap();
    Deadline::new().until("a reload", || daemon.log().contains("configuration applied").then_some(()));
    let reloaded = daemon.ask("reload").ended();
    assert!(reloaded.status.success(), "{reloaded:?}");
    let second = daemon.ask("upgrade").ended();
    assert_eq!(second.status.code(), Some(1));
    assert!(second.err.contains("rtlogd is being upgraded; try again"), "{}", second.err);
    assert_eq!(daemon.run_of("p"), run);
    kill_process(pid, Signal::TERM).unwrap();
    let asked = asked.ended();
    assert_eq!(asked.status.code(), Some(1));
    assert!(asked.err.contains("was not replaced: rtlogd was asked to end"), "{}", asked.err);
    Deadline::new().until("the end of the daemon", || (!daemon.0.path("pid").exists()).then_some(()));
    Deadline::new().until("the end of the check", || (!runs(check) && !runs(run.0)).then_some(()));
}

#[test]
fn a_signal_while_the_old_program_stops_ends_the_daemon() {
    // The command `late` ends when the test says so. The other one keeps running for the next daemon before that.
    let late = "trap 'read x <go; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let daemon = Installed::start(&format!(
        "p: {{ command: [sleep, 1000] }}, late: {{ command: [sh, -c, \"{late}\"], directory: ., orphan_timeout: 0s, \
         stop: {{ grace: 1000s }} }}"
    ));
    daemon.0.fifo("go");
    let (late, left) = (daemon.run_of("late").0, daemon.run_of("p").0);
    daemon.until_line("late", "ready");
    let asked = daemon.ask("upgrade");
    Deadline::new()
        .until("a command that is left", || daemon.log().contains("keeps running for the next").then_some(()));
    kill_process(Pid::from_raw(daemon.pid()).unwrap(), Signal::TERM).unwrap();
    Deadline::new().until("the decision", || daemon.log().contains("is not replaced").then_some(()));
    assert!(runs(late));
    daemon.0.release("go");
    let asked = asked.ended();
    assert_eq!(asked.status.code(), Some(1));
    assert!(asked.err.contains("was not replaced: rtlogd was asked to end"), "{}", asked.err);
    for file in ["pid", "s"] {
        assert!(!daemon.0.path(file).exists(), "{file}");
    }
    Deadline::new().until("the end of the commands", || (!runs(late) && !runs(left)).then_some(()));
}

#[test]
fn requests_during_an_upgrade_wait_for_the_new_program() {
    for (requests, answer) in [(&["reload", "upgrade"][..], "is now rtlogd"), (&["shutdown"], "rtlogd has ended")] {
        let late = "trap 'test ! -e go || read x <go; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        let daemon = Installed::start(&format!(
            "late: {{ command: [sh, -c, \"{late}\"], directory: ., orphan_timeout: 0s, stop: {{ grace: 1000s }} }}"
        ));
        daemon.0.fifo("go");
        daemon.until_line("late", "ready");
        let first = daemon.ask("upgrade");
        Deadline::new().until("the upgrade", || daemon.log().contains("is replaced by version").then_some(()));
        let asked: Vec<_> = requests.iter().map(|command| daemon.ask(command)).collect();
        let socket = daemon.0.path("control-").display().to_string();
        Deadline::new().until("requests that wait", || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            // In addition, that which listens, and the first request.
            (sockets.lines().filter(|line| line.contains(&socket)).count() == requests.len() + 2).then_some(())
        });
        daemon.0.release("go");
        fs::remove_file(daemon.0.path("go")).unwrap();
        let first = first.ended();
        assert!(first.status.success(), "{first:?}");
        let ended: Vec<_> = asked.into_iter().map(Program::ended).collect();
        assert!(ended.iter().all(|ended| ended.status.success()), "{ended:?}");
        let last = String::from_utf8_lossy(&ended.last().unwrap().out);
        assert!(last.contains(answer), "{last}");
    }
}

#[test]
fn a_daemon_in_the_foreground_is_replaced_too() {
    let daemon = TestDir::new().start("state_directory: state\nstreams: { p: { command: [sleep, 1000] } }");
    let pid = |daemon: &Daemon| Deadline::new().until("a command", || daemon.state("p")["source"]["pid"].as_u64());
    let before = pid(&daemon);
    let asked = daemon.execute(&["upgrade", "--config", "rtlogd.yaml"]);
    assert!(asked.status.success(), "{asked:?}");
    // The port, which was any free one, is the same.
    assert_eq!(pid(&daemon), before);
    daemon.terminate();
    assert!(daemon.ended().status.success());
}

#[test]
fn a_reader_learns_that_rtlogd_restarts_and_when_to_come_back() {
    let daemon =
        TestDir::new().start("state_directory: state\nstreams: { p: { command: [sh, -c, 'echo one; sleep 1000'] } }");
    for paths in [["/streams/p", "/streams?stream=p"], ["/streams?stream=p", "/streams/p"]] {
        let mut readers = paths.map(|path| daemon.request(path).query("tail=all").open());
        for reader in &mut readers {
            reader.until("the line", |message| message.data == "one");
        }
        let asked = daemon.execute(&["upgrade", "--config", "rtlogd.yaml"]);
        assert!(asked.status.success(), "{asked:?}");
        for reader in readers {
            let (messages, retry) = reader.until_end_with_retry();
            let last = messages.last().unwrap();
            assert_eq!(
                (last.event.as_str(), last.data.as_str()),
                ("state", r#"{"state":"stopping","restarting":true}"#)
            );
            assert!(retry.unwrap() < 300, "{retry:?}");
        }
    }
    // Other formats end with a line that says the same.
    let last_lines = |bodies: Vec<Response>| {
        bodies.into_iter().map(|response| {
            let body = String::from_utf8(response.body.all()).unwrap();
            body.lines().last().unwrap().to_owned()
        })
    };
    let others = || {
        let queries = ["tail=all&format=ndjson", "tail=all&format=text"];
        let opened: Vec<_> = queries.iter().map(|query| daemon.follow("p").query(query).response()).collect();
        daemon.until_readers("p", 2);
        opened
    };
    let opened = others();
    assert!(daemon.execute(&["upgrade", "--config", "rtlogd.yaml"]).status.success());
    let restarting = [
        r#"{"kind":"state","state":"stopping","restarting":true}"#,
        "--- rtlogd: restarting; connect again to continue ---",
    ];
    assert_eq!(last_lines(opened).collect::<Vec<_>>(), restarting);
    let opened = others();
    let reader = daemon.follow("p").query("tail=all").open();
    daemon.until_readers("p", 3);
    daemon.terminate();
    assert_eq!(
        last_lines(opened).collect::<Vec<_>>(),
        [r#"{"kind":"state","state":"stopping"}"#, "--- rtlogd: stopped ---"]
    );
    let (messages, retry) = reader.until_end_with_retry();
    assert_eq!(messages.last().unwrap().data, r#"{"state":"stopping"}"#);
    assert!(retry.unwrap() >= 1000, "{retry:?}");
}

#[test]
fn follow_continues_over_an_upgrade_and_says_so() {
    let dir = TestDir::new();
    dir.fifo("go");
    let yaml = "state_directory: state\nstreams: { p: { command: [sh, -c, 'echo one; read x <go; echo two; exit 5'], \
        directory: ., restart: never } }";
    let daemon = dir.start(yaml);
    let url = daemon.url("");
    let follower = Program::start(&mut daemon.command(&["follow", "--url", &url, "p"]));
    daemon.until_readers("p", 1);
    let asked = daemon.execute(&["upgrade", "--config", "rtlogd.yaml"]);
    assert!(asked.status.success(), "{asked:?}");
    daemon.until_readers("p", 1);
    daemon.release("go");
    let ended = follower.ended();
    assert_eq!(ended.status.code(), Some(5), "the status is that of the command: {ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.out), "one\ntwo\n");
    assert!(ended.err.contains("p: rtlogd is restarting; the stream continues"), "{}", ended.err);
}
