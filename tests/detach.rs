//! `rtlogd serve --daemon`: what whoever starts it sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::http::{Address, Response};
use crate::harness::{Deadline, Ended, Place, runs};

const START: [&str; 6] = ["serve", "--config", "rtlogd.yaml", "--daemon", "--pid-file", "pid"];

/// A daemon that nobody waits for; ended by its pid file.
struct Detached(Place);

impl Detached {
    /// Starts one that follows `a.log`, and listens on the socket `s`.
    fn start(more: &[&str]) -> (Self, Ended) {
        let place = Place::new();
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        place.write("a.log", "one\n");
        let socket = place.path("s").display().to_string();
        place.configure(&format!("listen: \"unix:{socket}\"\nstreams: {{ a: {{ file: a.log, from: start }} }}"));
        let ended = place.execute(&[&START, more].concat());
        (Self(place), ended)
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
fn success_means_that_it_serves() {
    let (daemon, started) = Detached::start(&["--log-file", "log"]);
    assert!(started.status.success() && started.err.is_empty(), "{started:?}");
    let health = Response::get(&Address::Unix(daemon.0.path("s")), "/health/ready", &[]);
    assert_eq!(health.status, 200, "at once");
    let pid = daemon.pid().unwrap();
    assert!(runs(u64::try_from(pid).unwrap()));
    let file = fs::File::open(daemon.0.path("pid")).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    // In a session of its own, with nothing open that is a terminal or a pipe of ours.
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some("/dev/null"));
    let log = fs::read_to_string(daemon.0.path("log")).unwrap();
    assert!(log.contains("info: listening on unix:"), "{log}");
    // What it was told from where it started holds where it is now.
    let reloaded = daemon.0.execute(&["reload", "--config", "rtlogd.yaml"]);
    assert_eq!(String::from_utf8_lossy(&reloaded.out), "streams: 1 as before\n", "{}", reloaded.err);
}

#[test]
fn a_second_one_with_the_same_pid_file_does_not_start() {
    let (daemon, started) = Detached::start(&[]);
    assert!(started.status.success(), "{started:?}");
    let pid = daemon.pid();
    let second = daemon.0.execute(&START);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.err.starts_with("rtlogd: cannot become a daemon\n  because: "), "{}", second.err);
    assert_eq!(daemon.pid(), pid);
}

#[test]
fn one_that_cannot_serve_says_why() {
    let place = Place::new();
    place.write("precious", "data");
    place.configure(&format!("listen: \"unix:{}\"\nstreams: {{}}", place.path("precious").display()));
    let ended = place.execute(&START);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("exists and is not a socket"), "{}", ended.err);
    place.configure("streams: { a: {} }");
    let ended = place.execute(&START);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.err.contains("rtlogd.yaml:2:"), "{}", ended.err);
}

#[test]
fn root_is_given_up_with_all_its_groups() {
    if !rustix::process::geteuid().is_root() {
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
