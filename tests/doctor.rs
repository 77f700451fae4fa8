//! `rtlogd doctor`: finds problems, and says how to fix them.

use std::net::TcpListener;

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
        "stream b: the directory ",
        "open files is lower than the 1000000016 that",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(said.lines().count(), 8, "{said}");
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
