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
