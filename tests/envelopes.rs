//! Log files of container runtimes: the lines of the programs inside, through restarts and rotation.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::sse::lines;
use crate::harness::{TestDir, pause};

const LOGGED: &str = "2026-11-23T05:11:12.123456789Z";

fn cri(stream: &str, tag: &str, text: &str) -> String {
    format!("{LOGGED} {stream} {tag} {text}\n")
}

#[test]
fn readers_see_what_the_program_wrote() {
    let dir = TestDir::new();
    let docker = |text: &str, stream: &str| {
        serde_json::json!({ "log": text, "stream": stream, "time": LOGGED }).to_string() + "\n"
    };
    dir.write("cri.log", cri("stdout", "P", "10%\r") + &cri("stderr", "F", "ERROR: no") + &cri("stdout", "F", "100%"));
    dir.write("docker.log", docker("10%\r", "stdout") + &docker("ERROR: no\n", "stderr") + &docker("100%\n", "stdout"));
    let daemon = dir.start(
        "streams: { cri: { file: cri.log, from: start, format: cri }, \
         docker: { file: docker.log, from: start, format: docker }, many: { file: '*i.log', from: start, format: cri } }",
    );
    for (name, prefix) in
        [("cri", String::new()), ("docker", String::new()), ("many", daemon_path(&daemon, "cri.log:"))]
    {
        let events: Vec<Value> =
            daemon.follow(name).query("data=json").take(2).iter().map(|message| message.json()).collect();
        for (event, (origin, text)) in events.iter().zip([("stderr", "ERROR: no"), ("stdout", "100%")]) {
            let seen = (&event["origin"], &event["text"], &event["logged"]);
            let origin = Value::from(format!("{prefix}{origin}"));
            assert_eq!(seen, (&origin, &Value::from(text), &Value::from("2026-11-23T05:11:12.123456Z")), "{name}");
        }
        assert_eq!(events[0]["level"], "error", "{name}");
        let origin = format!("origin={prefix}stderr");
        assert_eq!(lines(&daemon.follow(name).query(&origin).take(1)), ["ERROR: no"], "{name}");
    }
}

fn daemon_path(daemon: &crate::harness::Daemon, name: &str) -> String {
    daemon.path(name).to_str().unwrap().to_owned()
}

/// A container's log as containerd writes it: pieces of both streams, mixed.
struct Container {
    path: PathBuf,
    file: fs::File,
    written: usize,
}

impl Container {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { path: path.to_owned(), file, written: 0 }
    }

    /// Writes one line of each stream, in pieces.
    fn write_lines(&mut self) {
        let number = self.written;
        self.written += 1;
        let mut write = |stream: &str, tag: &str, text: &str| {
            self.file.write_all(cri(stream, tag, text).as_bytes()).unwrap();
        };
        write("stdout", "P", &format!("out {number} "));
        write("stderr", "P", &format!("err {number} "));
        write("stdout", "P", "and ");
        write("stderr", "F", "end");
        write("stdout", "F", "end");
    }

    /// Rotates the log as the kubelet does: rename, reopen, and compress the one before.
    fn rotate(&mut self, at: usize) {
        let renamed = PathBuf::from(format!("{}.20261123-0511{at:02}", self.path.display()));
        fs::rename(&self.path, renamed).unwrap();
        self.file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        if let Some(before) = at.checked_sub(2) {
            let old = format!("{}.20261123-0511{before:02}", self.path.display());
            assert!(Command::new("gzip").arg(old).status().unwrap().success());
        }
    }
}

fn check_lines(all: &[&str], count: usize) {
    for stream in ["out", "err"] {
        let seen: Vec<_> = all.iter().filter(|line| line.starts_with(stream)).copied().collect();
        let middle = if stream == "out" { "and " } else { "" };
        let expected: Vec<_> = (0..count).map(|number| format!("{stream} {number} {middle}end")).collect();
        let differs = seen.iter().zip(&expected).position(|(seen, expected)| *seen != expected.as_str());
        assert_eq!((seen.len(), differs), (count, None), "{:?}", differs.map(|at| &seen[at..seen.len().min(at + 3)]));
    }
}

#[test]
fn a_kill_between_pieces_neither_loses_nor_repeats() {
    let yaml = "state_directory: state\nstreams: { app: { file: app.log, from: start, format: cri } }";
    let dir = TestDir::new();
    dir.write("app.log", "");
    let mut daemon = dir.start(yaml);
    let text: String = (0..6)
        .map(|number| {
            cri("stdout", "P", &format!("out {number} "))
                + &cri("stderr", "P", &format!("err {number} "))
                + &cri("stdout", "P", "and ")
                + &cri("stderr", "F", "end")
                + &cri("stdout", "F", "end")
        })
        .collect();
    let mut marks = 0;
    for piece in text.as_bytes().chunks(97) {
        daemon.write("app.log", piece);
        // What was read shows only in whole lines, so some of the kills come before the piece was read.
        marks += 1;
        if marks % 3 == 0 {
            pause("the piece may be read or not: each line must come once in both cases", Duration::from_millis(20));
        }
        daemon = daemon.kill().start(yaml);
    }
    daemon.write("app.log", cri("stdout", "F", "last"));
    daemon.follow("app").query("tail=all").until("the last line", |message| message.data == "last");
    let all = daemon.follow("app").query("tail=all&follow=false").until_end();
    check_lines(&lines(&all), 6);
}

#[test]
fn the_logs_of_a_node_survive_rotation_while_they_are_written() {
    const LINES: usize = 4000;
    let dir = TestDir::new();
    let pod = dir.path("log/pods/default_web-1_6ad5/web/0.log");
    let mut container = Container::new(&pod);
    fs::create_dir_all(dir.path("log/containers")).unwrap();
    symlink(&pod, dir.path("log/containers/web-1_default_web-6ad5.log")).unwrap();
    let daemon =
        dir.start("streams: { pods: { file: log/containers/*.log, from: start, format: cri, rotate_wait: 1s } }");
    let written = AtomicUsize::new(0);
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..LINES {
                container.write_lines();
                if number % 1000 == 999 {
                    container.rotate(number / 1000);
                    // A node rotates every 10 s at most; a rotation must be seen before the next.
                    pause("the kubelet checks the sizes of logs every ten seconds", Duration::from_millis(300));
                }
                written.store(number, Ordering::Relaxed);
            }
            container.file.write_all(cri("stdout", "F", "last").as_bytes()).unwrap();
        });
        daemon.follow("pods").query("tail=all").until("the last line", |message| message.data == "last")
    });
    assert_eq!(written.load(Ordering::Relaxed), LINES - 1);
    check_lines(&lines(&seen), LINES);
    assert!(seen.iter().all(|message| message.event != "loss"), "nothing is lost");
}
