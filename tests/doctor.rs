//! `rtlogd doctor`: finds problems, and says how to fix them.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::harness::TestDir;

const DOCTOR: [&str; 3] = ["doctor", "--config", "rtlogd.yaml"];

#[test]
fn doctor_reports_problems_with_their_fixes() {
    let dir = TestDir::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    dir.configure(&format!(
        "listen: \"127.0.0.1:{port}\"\nlimits: {{ connections: 1000000000 }}\n\
        streams: {{ a: {{ command: [no-such-program] }}, b: {{ command: [sh], directory: nowhere }} }}"
    ));
    // The doctor asks who listens there, and the reply is not one of rtlogd.
    let answer = std::thread::spawn(move || drop(other.accept()));
    let ended = dir.execute(&DOCTOR);
    answer.join().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    let said = String::from_utf8(ended.out).unwrap();
    for what in [
        &format!("another program listens on 127.0.0.1:{port}\n  fix: ss -ltnp 'sport = :{port}'"),
        "stream a: there is no program no-such-program",
        "stream b: there is no directory ",
        "open files is lower than the 1000000016 that",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(said.lines().count(), 8, "{said}");
}

#[test]
fn doctor_names_what_its_user_may_not_use() {
    let dir = TestDir::new();
    let is_root = rustix::process::geteuid().is_root();
    for directory in ["old", "closed", "journal"] {
        std::fs::create_dir(dir.path(directory)).unwrap();
    }
    for file in ["a.log", "b.log", "a.env", "run", "closed/run"] {
        dir.write(file, "");
    }
    let open = |name: &str, mode| {
        let path = dir.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if is_root {
            // Within a namespace of its own, root may not use what belongs to others.
            std::os::unix::fs::chown(&path, Some(12345), Some(12345)).unwrap();
        }
    };
    for (name, mode) in [("old", 0), ("journal", 0), ("a.log", 0), ("b.log", 0o644), ("a.env", 0), ("run", 0o100)] {
        open(name, if is_root || mode != 0o100 { mode } else { 0o010 });
    }
    open("closed/run", 0o755);
    open("closed", 0);
    dir.configure(
        "streams:
  logs: { file: '*.log', rotated: old }
  below: { file: 'closed/*.log' }
  env: { command: [/bin/sh], environment_file: a.env }
  run: { command: [./run], directory: . }
  closed: { command: [./run], directory: closed }
  journal: { journal: { directory: journal } }",
    );
    let wrapper = if is_root { &["unshare", "-Ur"][..] } else { &["env"] };
    let mut command = std::process::Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_rtlogd")).args(DOCTOR).current_dir(dir.path("."));
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let path = |name: &str| dir.path(name).display().to_string();
    for (stream, what, fix) in [
        ("logs", format!("may not read 1 of the 2 files that match, such as {}", path("a.log")), "setfacl -m u:"),
        ("logs", format!("may not list {}", path("old")), "setfacl -m u:"),
        ("below", format!("may not read {}", path("closed")), "setfacl -m u:"),
        ("env", format!("cannot use the environment file {}: Permission denied", path("a.env")), "setfacl -m u:"),
        ("run", "is not permitted to run ".to_owned(), "setfacl -m u:"),
        ("closed", "is not permitted to run ".to_owned(), "setfacl -m u:"),
        ("journal", format!("may not list {}", path("journal")), "setfacl -m u:"),
    ] {
        let mut lines = said.lines();
        let found = lines.any(|line| line.contains(&format!("stream {stream}: ")) && line.contains(&what));
        assert!(found && lines.next().is_some_and(|line| line.contains(fix)), "{stream}: {what}: {said}");
    }
    assert_eq!(said.matches("stream below: ").count(), 1, "{said}");
    // The directory is removed by its owner.
    for name in ["old", "closed", "journal"] {
        std::fs::set_permissions(dir.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn doctor_reports_no_problem_with_a_daemon_that_serves() {
    let dir = TestDir::new();
    dir.write("a.log", "");
    let daemon =
        dir.start("limits: { connections: 10 }\nstreams: { a: { file: a.log }, b: { command: [sleep, 1000] } }");
    let address = daemon.address().host();
    daemon.configure(&format!(
        "listen: \"{address}\"\nlimits: {{ connections: 10 }}\nstreams: {{ a: {{ file: a.log }}, b: {{ command: [sleep, 1000] }} }}"
    ));
    let ended = daemon.execute(&DOCTOR);
    assert_eq!(String::from_utf8_lossy(&ended.out), "no problems found\n");
    assert!(ended.status.success());
}

#[test]
fn doctor_reports_mistakes_in_the_configuration_first() {
    let dir = TestDir::new();
    dir.configure("streams: { a: {} }");
    let ended = dir.execute(&DOCTOR);
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.err.contains("rtlogd.yaml:2:"), "{}", ended.err);
}

#[test]
fn doctor_recognises_an_rtlogd_with_another_configuration() {
    let others = TestDir::new().start("streams: { theirs: { push: true } }");
    let address = others.address().host();
    let dir = TestDir::new();
    dir.configure(&format!(
        "listen: \"{address}\"\nlimits: {{ connections: 10 }}\nstreams: {{ ours: {{ push: true }} }}"
    ));
    let ended = dir.execute(&DOCTOR);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    let said = String::from_utf8(ended.out).unwrap();
    let pid = others.pid();
    let expected = format!("another rtlogd (pid {pid}, `");
    assert!(
        said.starts_with(&expected) && said.contains(&format!("listens on {address}\n  fix: kill {pid} ")),
        "{said}"
    );
}

#[test]
fn a_directory_that_may_appear_later_is_a_note() {
    let dir = TestDir::new();
    dir.configure(
        "limits: { connections: 10 }\nstreams: { a: { file: no/a.log }, b: { file: 'no/such/*.log', rotated: old } }",
    );
    let path = |name: &str| dir.path(name).display().to_string();
    let ended = dir.execute(&DOCTOR);
    let said = String::from_utf8(ended.out).unwrap();
    assert!(ended.status.success() && said.ends_with("\nno problems found\n"), "{said}");
    let ended = dir.execute(&["check", "rtlogd.yaml"]);
    assert!(ended.status.success(), "{}", ended.err);
    for (stream, missing) in [("a", "no"), ("b", "no/such"), ("b", "old")] {
        let missing = path(missing);
        let note =
            format!("note: stream {stream}: there is no directory {missing}; its files are read once it appears");
        assert!(said.contains(&format!("{note}\n  fix: correct the path, or mkdir -p {missing}\n")), "{said}");
        assert!(ended.err.contains(&format!("no directory {missing}")), "{}", ended.err);
    }
    assert!(ended.err.contains(&format!("`rtlogd doctor --config {}`", path("rtlogd.yaml"))), "{}", ended.err);
}
