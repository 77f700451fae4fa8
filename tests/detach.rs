//! `rtlogd serve --daemon`: what whoever starts it sees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::http::{Address, Response};
use crate::harness::{Deadline, Ended, TestDir, is_root_or_skip, runs};

const START: [&str; 6] = ["serve", "--config", "rtlogd.yaml", "--daemon", "--pid-file", "pid"];

/// A daemon that nobody waits for; ended by its pid file.
struct Detached(TestDir);

impl Detached {
    /// Starts one that follows `a.log`, and listens on the socket `s`.
    fn start(more: &[&str]) -> (Self, Ended) {
        let dir = TestDir::new();
        fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        dir.write("a.log", "one\n");
        let socket = dir.path("s").display().to_string();
        dir.configure(&format!("listen: \"unix:{socket}\"\nstreams: {{ a: {{ file: a.log, from: start }} }}"));
        let ended = dir.execute(&[&START, more].concat());
        (Self(dir), ended)
    }

    fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.0.path("pid")).ok()?.trim().parse().ok()
    }

    fn end(&self) {
        if let Some(pid) = self.pid().and_then(Pid::from_raw)
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let number = u64::try_from(pid.as_raw_pid()).unwrap();
            Deadline::new().until("the end of the daemon", || (!runs(number)).then_some(()));
        }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn detach_succeeds_once_the_daemon_serves() {
    let (daemon, started) = Detached::start(&["--log-file", "log"]);
    assert!(started.status.success() && started.err.is_empty(), "{started:?}");
    let health = Response::get(&Address::Unix(daemon.0.path("s")), "/health/ready", &[]);
    assert_eq!(health.status, 200, "at once");
    let pid = daemon.pid().unwrap();
    assert!(runs(u64::try_from(pid).unwrap()));
    let file = fs::File::open(daemon.0.path("pid")).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o644, "everybody may read which process it is");
    // The daemon has a session of its own, and holds no terminal or pipe of the test.
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some("/dev/null"));
    let log = fs::read_to_string(daemon.0.path("log")).unwrap();
    assert!(log.contains("info: listening on unix:"), "{log}");
    // A path that was given relative to the directory of the start still holds.
    let reloaded = daemon.0.execute(&["reload", "--config", "rtlogd.yaml"]);
    assert_eq!(String::from_utf8_lossy(&reloaded.out), "streams: 1 unchanged\n", "{}", reloaded.err);
}

#[test]
fn relative_paths_begin_where_the_daemon_was_started() {
    let dir = TestDir::new();
    dir.write("a.log", "one\n");
    fs::create_dir(dir.path("state")).unwrap();
    dir.configure("listen: \"unix:of-the-file\"\nstreams: { a: { file: a.log, from: start } }");
    for options in [&["--config", "rtlogd.yaml"][..], &["a.log"], &["*.log"]] {
        for listen in [&["--listen", "unix:s"][..], &["--listen=unix:state/s"]] {
            let more = ["--daemon", "--pid-file", "state/pid", "--log-file", "state/log"];
            let started = dir.execute(&[&["serve"], options, listen, &more].concat());
            assert!(started.status.success(), "{options:?}: {started:?}");
            let (_, socket) = listen.last().unwrap().split_once("unix:").unwrap();
            let health = || Response::get(&Address::Unix(dir.path(socket)), "/health/ready", &[]).status;
            assert_eq!(health(), 200, "{options:?}");
            let upgraded = dir.execute(&["upgrade", "--config", "rtlogd.yaml"]);
            assert_eq!(upgraded.status.success(), options[0] == "--config", "{upgraded:?}");
            assert_eq!(health(), 200, "{options:?}");
            assert!(fs::read_to_string(dir.path("state/log")).unwrap().contains("listening on unix:"));
            let pid =
                Pid::from_raw(fs::read_to_string(dir.path("state/pid")).unwrap().trim().parse().unwrap()).unwrap();
            kill_process(pid, Signal::TERM).unwrap();
            Deadline::new().until("the end of the daemon", || (!dir.path("state/pid").exists()).then_some(()));
            assert!(!dir.path(socket).exists(), "{options:?}");
        }
    }
}

#[test]
fn a_second_daemon_with_the_same_pid_file_does_not_start() {
    let (daemon, started) = Detached::start(&[]);
    assert!(started.status.success(), "{started:?}");
    let pid = daemon.pid();
    let second = daemon.0.execute(&START);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.err.starts_with("rtlogd: cannot become a daemon\n  because: "), "{}", second.err);
    assert_eq!(daemon.pid(), pid);
}

#[test]
fn a_detached_daemon_that_cannot_serve_says_why() {
    let dir = TestDir::new();
    dir.write("precious", "data");
    dir.configure(&format!("listen: \"unix:{}\"\nstreams: {{}}", dir.path("precious").display()));
    let ended = dir.execute(&START);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("exists and is not a socket"), "{}", ended.err);
    dir.configure("streams: { a: {} }");
    let ended = dir.execute(&START);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.err.contains("rtlogd.yaml:2:"), "{}", ended.err);
    assert!(!dir.path("pid").exists(), "no pid file is left behind");
}

#[test]
fn the_pid_file_is_removed_when_the_daemon_ends() {
    for (signal, stays) in [(Signal::TERM, false), (Signal::INT, false), (Signal::QUIT, false), (Signal::KILL, true)] {
        let (daemon, started) = Detached::start(&[]);
        assert!(started.status.success(), "{started:?}");
        let pid = daemon.pid().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        Deadline::new().until("the end of the daemon", || (!runs(u64::try_from(pid).unwrap())).then_some(()));
        assert_eq!(daemon.0.path("pid").exists(), stays, "{signal:?}");
        // The files of a killed daemon are no obstacle once its last thread, and with it the lock, is gone.
        Deadline::new().until("another start", || daemon.0.execute(&START).status.success().then_some(()));
        assert_ne!(daemon.pid(), Some(pid), "{signal:?}");
    }
}

#[test]
fn no_file_is_written_through_a_link_or_over_another() {
    type Trap = (&'static str, fn(&Path, &Path));
    let traps: [Trap; 5] = [
        ("a link", |precious, path| symlink(precious, path).unwrap()),
        ("a link to nothing", |precious, path| symlink(precious.with_extension("new"), path).unwrap()),
        ("a hard link", |precious, path| fs::hard_link(precious, path).unwrap()),
        ("a directory", |_, path| fs::create_dir(path).unwrap()),
        ("a file of somebody", |_, path| {
            fs::write(path, "precious").unwrap();
            // Only root can take it for somebody else's; the pid file is refused for what is in it.
            chown(path, Some(65534), Some(65534)).unwrap_or_default();
        }),
    ];
    for option in ["--pid-file", "--log-file"] {
        for (what, lay) in traps {
            let dir = TestDir::new();
            dir.write("precious", "precious");
            dir.configure(&format!("listen: \"unix:{}\"\nstreams: {{}}", dir.path("s").display()));
            lay(&dir.path("precious"), &dir.path("file"));
            let needs_root = what == "a file of somebody" && option == "--log-file";
            if needs_root && !is_root_or_skip("give a file to another user") {
                continue;
            }
            let ended = dir.execute(&["serve", "--config", "rtlogd.yaml", "--daemon", option, "file"]);
            assert_eq!(ended.status.code(), Some(1), "{option}, {what}: {}", ended.err);
            assert!(ended.err.contains("/file\"") || ended.err.contains("\"file\""), "{option}, {what}: {}", ended.err);
            let whole = |name: &str| fs::read_to_string(dir.path(name)).unwrap() == "precious";
            assert!(whole("precious") && !dir.path("precious.new").exists(), "{option}, {what}");
            assert!(!dir.path("file").is_file() || whole("file"), "{option}, {what}");
        }
    }
}

#[test]
fn the_pid_file_of_another_user_is_not_removed() {
    let (daemon, started) = Detached::start(&[]);
    assert!(started.status.success(), "{started:?}");
    let pid = daemon.pid().unwrap();
    fs::remove_file(daemon.0.path("pid")).unwrap();
    daemon.0.write("pid", "1\n");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    Deadline::new().until("the end of the daemon", || (!runs(u64::try_from(pid).unwrap())).then_some(()));
    assert_eq!(fs::read_to_string(daemon.0.path("pid")).unwrap(), "1\n");
    fs::remove_file(daemon.0.path("pid")).unwrap();
}

/// Root's directory is not the daemon's to change once it gave up being root.
#[test]
fn a_pid_file_that_cannot_be_removed_names_no_process() {
    if !is_root_or_skip("give up being root") {
        return;
    }
    let (daemon, started) = Detached::start(&["--user", "nobody", "--group", "nogroup", "--log-file", "log"]);
    assert!(started.status.success(), "{started:?}");
    fs::set_permissions(daemon.0.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let pid = daemon.pid().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    Deadline::new().until("the end of the daemon", || (!runs(u64::try_from(pid).unwrap())).then_some(()));
    assert_eq!(fs::read_to_string(daemon.0.path("pid")).unwrap(), "");
    let again = daemon.0.execute(&START);
    assert!(again.status.success(), "{again:?}");
}

#[test]
fn a_daemon_that_gives_up_root_gives_up_all_its_groups() {
    if !is_root_or_skip("give up being root") {
        let (_, refused) = Detached::start(&["--user", "nobody", "--group", "nogroup"]);
        assert_eq!(refused.status.code(), Some(1), "only root can: {refused:?}");
        return;
    }
    let (daemon, started) = Detached::start(&["--user", "nobody", "--group", "nogroup"]);
    assert!(started.status.success(), "{started:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["65534"; 4]);
    assert_eq!(field("Gid:"), ["65534"; 4]);
    assert_eq!(field("Groups:"), [""; 0]);
}
