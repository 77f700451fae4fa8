//! The environment, descriptors and limits of commands and helper programs: only those meant for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::http::{Address, Response};
use crate::harness::{Daemon, Deadline, PATIENCE, Program, TestDir, is_root_or_skip, runs};

/// Variables that a service manager, a shell and a user may have set for the daemon.
const OF_THE_DAEMON: [&str; 41] = [
    "RTLOGD_TOKEN",
    "RTLOGD_TOKEN_FILE",
    "RTLOGD_URL",
    "RTLOGD_LOG",
    "RTLOGD_ANYTHING",
    "CREDENTIALS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LOG_NAMESPACE",
    "DEBUG_INVOCATION",
    "SYSTEMD_EXEC_PID",
    "SYSTEMD_ANYTHING",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "FDSTORE",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "PIDFILE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SERVICE_RESULT",
    "EXIT_CODE",
    "EXIT_STATUS",
    "MONITOR_UNIT",
    "TRIGGER_UNIT",
    "COLUMNS",
    "LINES",
    "_RJEM_MALLOC_CONF",
];

/// Variables that every program may have.
const KEPT: [(&str, &str); 5] = [
    ("LANG", "C.UTF-8"),
    ("HOME", "/nonexistent"),
    ("XDG_RUNTIME_DIR", "/nonexistent"),
    ("LISTENERS", "x"),
    ("MINE", "x"),
];

/// The program with all of that, and with open files that are nobody's here.
fn command(dir: &TestDir, arguments: &[&str]) -> Command {
    dir.write("inherited", "");
    let mut command = Command::new("bash");
    let script =
        "exec 3<inherited 4<>inherited 9>>inherited 10<. 77<inherited 200> >(exec cat >inherited); exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_rtlogd")]).args(arguments).current_dir(dir.path(""));
    command.env_clear().env("PATH", path(dir)).stdin(Stdio::null());
    for name in OF_THE_DAEMON {
        command.env(name, "1");
    }
    command.env("RTLOGD_LOG", "info").env("RUNTIME_DIRECTORY", dir.path(""));
    command.envs(KEPT);
    command
}

fn path(dir: &TestDir) -> String {
    format!("{}:{}", dir.path("bin").display(), std::env::var("PATH").unwrap())
}

/// Looks at a process that became `sleep`: its descriptors, and its variables but for those of [`KEPT`].
fn seen(dir: &TestDir, pid: u64) -> (BTreeMap<i32, String>, BTreeMap<String, String>) {
    let directory = format!("/proc/{pid}");
    // The kernel names a process before it has laid out the memory in which the variables of the new program stand.
    let text = Deadline::new().until("a process that sleeps, and its variables", || {
        fs::read_to_string(format!("{directory}/comm")).ok().filter(|name| name == "sleep\n")?;
        fs::read_to_string(format!("{directory}/environ")).ok().filter(|variables| !variables.is_empty())
    });
    let descriptors = fs::read_dir(format!("{directory}/fd")).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // A descriptor that was closed just now is none.
        let target = fs::read_link(&path).ok()?.display().to_string();
        // The brackets contain the number of the pipe.
        Some((number, target.split(':').next().unwrap().to_owned()))
    });
    let mut variables: BTreeMap<_, _> = text
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    for (name, value) in KEPT {
        assert_eq!(variables.remove(name).as_deref(), Some(value), "{name} is for everybody");
    }
    assert_eq!(variables.remove("PATH"), Some(path(dir)));
    // These are of the shells in between.
    for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
        variables.remove(name);
    }
    // A program whose lines are counted sets this one itself.
    variables.remove("__LLVM_PROFILE_RT_INIT_ONCE");
    (descriptors.collect(), variables)
}

/// Checks that it has the three descriptors that it is to have, and these variables.
fn check(dir: &TestDir, what: &str, pid: u64, descriptors: [&str; 3], names: &[&str]) {
    // The program may still read files that every program reads at its start, such as its locale.
    let deadline = Deadline::new();
    let (open, variables) = deadline.until(what, || {
        let seen = seen(dir, pid);
        (seen.0.len() == 3 || deadline.left().is_none_or(|left| left < PATIENCE / 2)).then_some(seen)
    });
    assert_eq!(open.len(), 3, "{what}: {open:?}");
    for (number, kind) in (0..).zip(descriptors) {
        assert!(open[&number].starts_with(kind), "{what}: {open:?}");
    }
    let found: Vec<_> = variables.keys().map(String::as_str).collect();
    assert_eq!(found, names, "{what}: {variables:?}");
}

const STREAMS: &str = "  pipe: { command: [sh, -c, 'echo $$ >DIR/pipe; exec sleep 600'] }
  pty: { command: [sh, -c, 'echo $$ >DIR/pty; exec sleep 600'], pty: true }
  input: { command: [sh, -c, 'echo $$ >DIR/input; exec sleep 600'], input: true }
  typed:
    command: [sh, -c, 'echo $$ >DIR/typed; exec sleep 600']
    pty: true
    input: true
    environment: { RTLOGD_URL: x, LINES: \"7\" }
  journal: { journal: {} }
";

/// Stands in for journalctl.
const JOURNALCTL: &str =
    "#!/bin/sh\ncase $* in *--follow*) cd \"${0%/*}/..\"; echo $$ >journal; exec sleep 600 ;; esac\n";

fn dir() -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("bin")).unwrap();
    fs::write(dir.path("bin/journalctl"), JOURNALCTL).unwrap();
    fs::set_permissions(dir.path("bin/journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = dir.path("").display().to_string();
    let streams = STREAMS.replace("DIR", &directory);
    dir.configure(&format!("listen: \"unix:{directory}/s\"\nstreams:\n{streams}"));
    dir
}

fn pid(dir: &TestDir, name: &str) -> u64 {
    Deadline::new().until(name, || fs::read_to_string(dir.path(name)).ok()?.trim().parse().ok())
}

fn check_all(dir: &TestDir, how: &str) {
    let run = ["RTLOGD_RUN", "RTLOGD_STREAM"];
    let table: [(&str, [&str; 3], &[&str]); 5] = [
        ("pipe", ["/dev/null", "pipe", "pipe"], &run),
        ("pty", ["/dev/null", "/dev/pts/", "/dev/pts/"], &["RTLOGD_RUN", "RTLOGD_STREAM", "TERM"]),
        ("input", ["pipe", "pipe", "pipe"], &run),
        (
            "typed",
            ["/dev/pts/", "/dev/pts/", "/dev/pts/"],
            &["LINES", "RTLOGD_RUN", "RTLOGD_STREAM", "RTLOGD_URL", "TERM"],
        ),
        ("journal", ["/dev/null", "pipe", "pipe"], &["LC_ALL", "RTLOGD_RUN", "RTLOGD_STREAM"]),
    ];
    for (name, descriptors, names) in table {
        check(dir, &format!("{how}: {name}"), pid(dir, name), descriptors, names);
    }
}

#[test]
fn children_of_a_foreground_daemon_inherit_nothing_from_it() {
    let dir = dir();
    let command = command(&dir, &["serve", "--config", "rtlogd.yaml"]);
    let daemon = dir.launch_command(command);
    check_all(&daemon, "in the foreground");
}

/// A daemon that nobody waits for.
struct Detached(u64);

impl Drop for Detached {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw).unwrap();
        if kill_process(pid, Signal::TERM).is_ok() {
            Deadline::new().until("the end of the daemon", || (!runs(self.0)).then_some(()));
        }
    }
}

#[test]
fn children_of_a_detached_daemon_inherit_nothing_from_it() {
    let dir = dir();
    let mut command = command(&dir, &["serve", "--config", "rtlogd.yaml", "--daemon", "--pid-file", "pid"]);
    let started = Program::start(&mut command).ended();
    assert!(started.status.success(), "{}", started.err);
    let daemon = Detached(pid(&dir, "pid"));
    check_all(&dir, "detached");
    let open: Vec<_> = fs::read_dir(format!("/proc/{}/fd", daemon.0))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target == &dir.path("inherited"))
        .collect();
    assert!(open.is_empty(), "the daemon itself keeps nothing of whoever started it: {open:?}");
}

#[test]
fn the_command_of_rtlogd_run_inherits_nothing_from_it() {
    let dir = TestDir::new();
    fs::create_dir(dir.path("bin")).unwrap();
    let script = "echo $$ >pid; exec sleep 600";
    let socket = format!("unix:{}", dir.path("s").display());
    let command = command(&dir, &["run", "--listen", &socket, "--", "sh", "-c", script]);
    let daemon: Daemon = dir.launch_command(command);
    check(&daemon, "run", pid(&daemon, "pid"), ["/dev/null", "pipe", "pipe"], &["RTLOGD_RUN", "RTLOGD_STREAM"]);
    assert_eq!(Response::get(&Address::Unix(daemon.path("s")), "/health/ready", &[]).status, 200);
}

#[test]
fn a_command_of_another_user_has_nothing_of_the_daemons_session() {
    if !is_root_or_skip("run a command as another user") {
        return;
    }
    let dir = TestDir::new();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    dir.configure("streams: { p: { command: [sh, -c, 'env; echo end; exec sleep 600'], user: nobody } }");
    let mut command = dir.command(&["serve", "--config", "rtlogd.yaml"]);
    let session =
        ["XDG_RUNTIME_DIR", "XDG_SESSION_ID", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "XAUTHORITY", "MAIL"];
    for name in session {
        command.env(name, "of root");
    }
    command.stdin(Stdio::null());
    let daemon = dir.launch_command(command);
    let printed = daemon.follow("p").until("all variables", |message| message.data == "end");
    for name in session {
        assert!(!printed.iter().any(|message| message.data.starts_with(name)), "{name}");
    }
}
