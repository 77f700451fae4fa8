//! Log files of container runtimes: the lines of the programs inside, through restarts and rotation.

use std::time::Duration;

use serde_json::Value;

use crate::harness::sse::{Message, lines};
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
    dir.write(
        "cri.log",
        cri("stdout", "P", "10%\r")
            + &cri("stderr", "F", "ERROR: no")
            + &cri("stdout", "F", "100%")
            + &cri("stdout", "F", ""),
    );
    dir.write(
        "docker.log",
        docker("10%\r", "stdout")
            + &docker("ERROR: no\n", "stderr")
            + &docker("100%\n", "stdout")
            + &docker("\n", "stdout"),
    );
    let daemon = dir.start(
        "streams: { cri: { file: cri.log, from: start, format: cri }, \
         docker: { file: docker.log, from: start, format: docker }, many: { file: '*i.log', from: start, format: cri } }",
    );
    for (name, prefix) in
        [("cri", String::new()), ("docker", String::new()), ("many", daemon_path(&daemon, "cri.log:"))]
    {
        let events: Vec<Value> = daemon.follow(name).query("data=json").take(3).iter().map(Message::json).collect();
        for (event, (origin, text)) in events.iter().zip([("stderr", "ERROR: no"), ("stdout", "100%"), ("stdout", "")])
        {
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
