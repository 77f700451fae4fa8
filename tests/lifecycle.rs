//! Starting, being asked how it is, and ending: what readers and operators see of it.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Command;

use crate::harness::http::{Address, Response, Socket};
use crate::harness::sse::{Reader, lines};
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir, numbered};

#[test]
fn sigterm_ends_response_bodies_cleanly() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let mut sse = daemon.follow("app").query("tail=all").open();
    sse.take(1);
    let ndjson = daemon.follow("app").query("tail=all&format=ndjson").response();
    daemon.write("app.log", "two\n");
    sse.take(1);
    daemon.terminate();
    let (ended, _place) = daemon.ended_by(Deadline::new());
    assert!(ended.status.success(), "{ended:?}");
    let rest = sse.until_end();
    assert!(rest.iter().any(|message| message.is_state("stopping")), "{rest:#?}");
    let body = String::from_utf8(ndjson.body.all()).unwrap();
    assert!(body.contains("\"one\"") && body.contains("\"two\"") && body.contains("\"stopping\""), "{body}");
}

#[test]
fn lines_written_before_sigterm_are_delivered() {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    let mut reader = daemon.follow("app").query("tail=all").open();
    reader.until("following", |message| message.is_state("following"));
    daemon.write("app.log", numbered("", 1000));
    daemon.terminate();
    let seen = reader.until_end();
    assert_eq!(lines(&seen).len(), 1000);
}

#[test]
fn a_reader_that_reads_nothing_does_not_delay_the_shutdown() {
    let flood = "streams: { p: { command: [sh, -c, 'exec yes $(printf %010000d 0)'] } }";
    let daemon = Daemon::start(&format!("limits: {{ shutdown: 2s }}\n{flood}"));
    let stuck = TcpStream::connect(daemon.address().tcp()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stuck, 4096).unwrap();
    stuck.patience(PATIENCE);
    (&stuck).write_all(b"GET /streams/p?tail=all HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // The buffers of this reader are full once another reader has received more than they hold.
    let mut reader = daemon.follow("p").open();
    let mut bytes = 0;
    reader.until("a flood", |message| {
        bytes += message.data.len();
        bytes > 32 << 20
    });
    daemon.terminate();
    let seen = reader.until_end();
    assert!(seen.iter().any(|message| message.event == "end"), "the last: {:?}", seen.last());
    let (ended, _place) = daemon.ended_by(Deadline::new());
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.err.contains("their connections are closed"), "{}", ended.err);
    drop(stuck);
}

#[test]
fn a_waiting_poll_does_not_delay_the_shutdown() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    daemon.follow("app").query("tail=all").take(1);
    let mut socket = daemon.address().connect();
    socket.patience(PATIENCE);
    socket.write_all(b"GET /streams/app/poll?tail=0&wait=50s HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    daemon.until_readers("app", 1);
    daemon.terminate();
    assert_eq!(Response::read(socket).unwrap().status, 200);
    assert!(daemon.ended_by(Deadline::new()).0.status.success());
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let first = Daemon::start("streams: {}");
    let second = TestDir::new();
    let address = first.address().host();
    second.configure(&format!("listen: [\"{address}\"]\nstreams: {{}}"));
    let ended = second.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    assert!(ended.err.contains(&address) && ended.err.contains("in use"), "{}", ended.err);
    assert_eq!(first.request("/health/live").status(), 200);
}

#[test]
fn a_unix_socket_is_served_and_removed_with_the_daemon() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let path = dir.path("rtlogd.sock");
    let daemon = dir
        .start(&format!("listen: [\"unix:{}\"]\nstreams: {{ app: {{ file: app.log, from: start }} }}", path.display()));
    assert_eq!(daemon.address(), &Address::Unix(path.clone()));
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    daemon.terminate();
    let (ended, _place) = daemon.ended_by(Deadline::new());
    assert!(ended.status.success(), "{ended:?}");
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced_but_not_one_in_use() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let path = dir.path("rtlogd.sock");
    let yaml = format!("listen: [\"unix:{}\"]\nstreams: {{ app: {{ file: app.log, from: start }} }}", path.display());
    let dir = dir.start(&yaml).kill();
    assert!(path.exists(), "a killed daemon leaves its socket");
    let daemon = dir.start(&yaml);
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
    let ended = daemon.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    assert!(ended.err.contains("in use"), "{}", ended.err);
    assert_eq!(daemon.follow("app").take(1)[0].data, "one");
}

#[test]
fn a_file_at_the_path_of_the_socket_is_not_touched() {
    let dir = TestDir::new();
    dir.write("precious", "data");
    dir.configure(&format!("listen: [\"unix:{}\"]\nstreams: {{}}", dir.path("precious").display()));
    let ended = dir.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    assert_eq!(fs::read(dir.path("precious")).unwrap(), b"data");
}

#[test]
fn several_addresses_serve_the_same() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let path = dir.path("s").display().to_string();
    let yaml = format!(
        "listen: [\"127.0.0.1:0\", \"unix:{path}\", \"[::1]:0\"]\nstreams: {{ app: {{ file: app.log, from: start }} }}"
    );
    let daemon = dir.start(&yaml);
    assert_eq!(daemon.addresses().len(), 3);
    for address in daemon.addresses() {
        assert_eq!(Reader::new(Response::get(address, "/streams/app", &[])).take(1)[0].data, "one");
    }
}

#[test]
fn the_health_endpoint_reports_the_state() {
    let daemon = Daemon::start("streams: {}");
    for (path, body) in [("/health/live", "alive\n"), ("/health/ready", "ready\n")] {
        let (status, _, seen) = daemon.get(path, &[]);
        assert_eq!((status, seen.as_slice()), (200, body.as_bytes()), "{path}");
    }
}

#[test]
fn paths_on_the_command_line_need_no_configuration() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    dir.write("other.log", "two\n");
    let daemon = dir.launch(&["serve", "--listen", "127.0.0.1:0", "app.log", "other.log"], std::process::Stdio::null());
    assert_eq!(daemon.follow("app.log").take(1)[0].data, "one");
    assert_eq!(daemon.follow("other.log").take(1)[0].data, "two");
}

#[test]
fn other_signals_do_not_end_the_daemon_and_children_have_the_defaults() {
    /// 32 and 33, which the C library keeps for itself, and which whoever started the tests may ignore.
    const OF_THE_LIBRARY: u64 = 0b11 << 31;
    let dir = TestDir::new();
    dir.write("app.log", "");
    let streams = "app: { file: app.log, from: start }\n  p: { command: [sh, -c, 'echo $$; exec sleep 600'] }";
    let daemon = dir.start(&format!("streams:\n  {streams}"));
    let pid = daemon.follow("p").take(1)[0].data.clone();
    let status = Deadline::new().until("the command behind the shell", || {
        fs::read_to_string(format!("/proc/{pid}/status")).ok().filter(|status| status.starts_with("Name:\tsleep\n"))
    });
    for mask in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let line = status.lines().find_map(|line| line.strip_prefix(mask)).unwrap();
        let mask_of = u64::from_str_radix(line.trim(), 16).unwrap();
        assert_eq!(mask_of & !OF_THE_LIBRARY, 0, "{mask} of a command: {line}");
    }
    let mut reader = daemon.follow("app").query("tail=all").open();
    let named = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XFSZ"].map(str::to_owned);
    let real_time = [34, 35, 50, 63, 64].map(|number: i32| number.to_string());
    for signal in named.iter().chain(&real_time) {
        for round in 1..=2 {
            let sent = Command::new("bash").args(["-c", &format!("kill -{signal} {}", daemon.pid())]).status().unwrap();
            assert!(sent.success(), "{signal}");
            daemon.write("app.log", format!("{signal} {round}\n"));
            reader.until(signal, |message| message.data == format!("{signal} {round}"));
        }
    }
    let logged = daemon.logged();
    assert_eq!(logged.matches("rtlogd does not use signal 10").count(), 1, "each is logged once: {logged}");
    daemon.terminate();
    assert!(daemon.ended().status.success());
}
