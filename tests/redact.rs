//! A run full of planted secrets: none of them is in anything that is kept, shown or logged.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::sse::lines;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, TestDir, sources};

/// Put together here, so that nobody who looks for secrets in sources finds these.
fn planted() -> Vec<(&'static str, String)> {
    let letters = "Z1y2X3w4V5u6T7s8R9q0P1o2N3m4L5k6J7i8";
    let key = ["PRIVATE", "KEY"].join(" ");
    let base64 = "TUlJRXBBSUJBQUtDQVFFQTdwbGFudGVk";
    vec![
        ("AKIA", format!("AKIA{}", "PLANTED0PLANTED0")),
        ("forge", format!("ghp_{letters}")),
        ("password=", "correct-horse-battery".to_owned()),
        ("Authorization: Bearer ", format!("planted.{letters}")),
        ("https://ann:", "planted-in-a-url".to_owned() + "@host/"),
        ("pin ", "93716".to_owned()),
        ("key: ", format!("-----BEGIN {key}-----\n{base64}\n-----END {key}-----")),
    ]
}

/// Secrets that must not appear anywhere.
fn needles() -> Vec<String> {
    let mut needles: Vec<String> =
        planted().into_iter().map(|(_, secret)| secret.trim_end_matches("@host/").to_owned()).collect();
    let key = needles.pop().unwrap();
    needles.push(key.lines().nth(1).unwrap().to_owned());
    needles.extend(["in-the-environment".to_owned(), "in-an-argument".to_owned(), "typed-in".to_owned()]);
    needles
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for needle in needles() {
        assert!(!text.contains(&needle), "{needle} is in {what}: {text}");
    }
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
}

/// What stands before a secret that is written in two halves. Readers see it when the first half has been read.
fn begin(number: usize) -> String {
    format!("half-{number} ")
}

/// A daemon whose log has all there is to log, with a file that is written to and a process with a terminal.
fn daemon() -> Daemon {
    let dir = TestDir::new();
    // Each secret is written in two halves, the second when the test says so, then drawn over, coloured, and typed back by the
    // terminal.
    let mut script = vec!["stty -echo; echo no echo; read go; ".to_owned()];
    for (number, (name, secret)) in planted().into_iter().enumerate() {
        let (head, tail) = secret.split_at(secret.len() / 2);
        let begin = begin(number);
        dir.fifo(&format!("go-{number}"));
        script.push(format!("printf '%s' '{begin}{name}{head}'; read x <go-{number}; printf '%s\\n' '{tail} end'; "));
        script.push(format!(
            "printf '10%% %s%s\\r50%% \\033[31m%s%s\\033[0m\\n' '{name}' '{secret}' '{name}' '{secret}'; "
        ));
    }
    script.push("printf '%s\\n' \"got $go\"; echo done; read forever".to_owned());
    dir.write("script", script.concat());
    dir.write("app.log", "");
    dir.configure(
        "state_directory: state\nlisten: [\"127.0.0.1:0\", \"unix:control.sock\"]\nstreams:\n  \
         app: { file: app.log, redact: [{ pattern: 'pin (?P<secret>[0-9]+)' }] }\n  \
         build: { command: [sh, script, in-an-argument], directory: ., environment: { SECRET: in-the-environment }, pty: true, input: true, \
         redact: [{ pattern: 'pin (?P<secret>[0-9]+)' }, { pattern: 'got .*' }] }",
    );
    dir.launch(&["serve", "--config", "rtlogd.yaml", "--log-level", "trace"], std::process::Stdio::null())
}

#[test]
fn planted_secrets_are_found_nowhere() {
    let daemon = daemon();
    let mut readers: Vec<_> = ["data=text", "data=json"]
        .into_iter()
        .map(|data| daemon.follow("build").query(&format!("tail=all&{data}")).open())
        .collect();
    let mut channel = Channel::open(daemon.unix());
    channel.call("stream.subscribe", &json!({ "stream": "build", "tail": "all" }));
    assert_eq!(
        channel.refused("process.attach", &json!({ "stream": "build" })).0,
        -32003,
        "its bytes are as they were written"
    );
    // The terminal would echo input that is typed earlier.
    daemon.follow("build").query("tail=all").until("no echo", |message| message.data == "no echo");
    channel.call("process.input", &json!({ "stream": "build", "text": "typed-in\n" }));
    let mut file = daemon.follow("app").query("tail=all").open();
    let mut process = daemon.follow("build").query("tail=all").open();
    for (number, (name, secret)) in planted().into_iter().enumerate() {
        let (head, tail) = secret.split_at(secret.len() / 2);
        let begin = begin(number);
        daemon.write("app.log", format!("{begin}{name}{head}"));
        // The first half has been read when readers are shown where its line begins; only then does the second half follow.
        for reader in [&mut file, &mut process] {
            let seen = reader.until("the first half", |message| message.data.contains(&begin));
            assert_clean("an unfinished line", format!("{seen:?}").as_bytes());
        }
        daemon.release(&format!("go-{number}"));
        assert_clean("/streams/app/state", &daemon.get("/streams/app/state", &[]).2);
        daemon.write("app.log", format!("{tail} end\n"));
    }
    daemon.write("app.log", "done\n");
    for reader in &mut readers {
        let seen = reader.until("done", |message| message.data.contains("done"));
        assert_clean("a stream", format!("{seen:?}").as_bytes());
        assert!(format!("{seen:?}").contains("[redacted]"), "{seen:?}");
    }
    let mut told = String::new();
    while !told.contains("\"done\"") {
        told = channel.told().to_string();
        assert_clean("the control channel", told.as_bytes());
    }
    let app = daemon.follow("app").query("tail=all").until("done", |message| message.data == "done");
    assert_clean("a file's stream", format!("{app:?}").as_bytes());
    assert!(app.iter().any(|message| message.data == "half-2 password=[redacted] end"), "{app:?}");
    for path in [
        "/streams",
        "/streams/build/state",
        "/streams/build/progress",
        "/streams/build/poll?tail=all&wait=0s",
        "/streams/build?tail=all&follow=false&format=text",
        "/streams/build?tail=all&follow=false&format=ndjson",
        "/streams/nowhere",
        "/metrics",
        "/health/ready",
    ] {
        assert_clean(path, &daemon.get(path, &[]).2);
    }
    let listed = daemon.state("app");
    // A key has three lines.
    assert_eq!(listed["redacted"], planted().len() + 2, "{listed}");
    daemon.terminate();
    let (ended, dir) = daemon.ended_by(Deadline::new());
    assert_clean("the log", ended.err.as_bytes());
    assert!(ended.err.contains("listening on"), "{}", ended.err);
    let mut kept = Vec::new();
    files(&dir.path("state"), &mut kept);
    assert!(kept.iter().any(|(_, bytes)| String::from_utf8_lossy(bytes).contains("[redacted]")), "it was recorded");
    for (path, bytes) in kept {
        assert_clean(&path, &bytes);
    }
}

#[test]
fn a_private_key_that_began_before_a_restart_is_removed_to_its_end() {
    let dir = TestDir::new();
    let secret = |line: usize| format!("TUlJRXBBSUJBQUtDQVFFQTdwbGFudGVk{line}\n");
    let marks = ["BEGIN", "END"].map(|word| format!("-----{word} {}-----\n", ["PRIVATE", "KEY"].join(" ")));
    dir.write("app.log", format!("one\n{}{}", marks[0], secret(0)));
    let yaml = "state_directory: state\nstreams: { app: { file: app.log, redact: on, from: start } }";
    let daemon = dir.start(yaml);
    assert_eq!(daemon.follow("app").query("tail=all").take(3)[2].data, "[redacted]");
    let dir = daemon.kill();
    dir.write("app.log", format!("{}{}{}two\n", secret(1), secret(2), marks[1]));
    let daemon = dir.start(yaml);
    let seen = daemon.follow("app").query("tail=all").until("two", |message| message.data == "two");
    assert_eq!(lines(&seen), [&["one"][..], &["[redacted]"; 5], &["two"]].concat());

    // The secret is also hidden from a reader who wants only the last lines.
    let dir = TestDir::new();
    let key = (0..150).map(secret).collect::<String>();
    dir.write("app.log", format!("{}{key}", marks[0]));
    let daemon = dir.start("streams: { app: { file: app.log, redact: on } }");
    daemon.write("app.log", format!("{}two\n", marks[1]));
    let seen = daemon.follow("app").query("tail=all").until("two", |message| message.data == "two");
    let (last, before) = lines(&seen).split_last().map(|(last, before)| (*last, before.to_vec())).unwrap();
    assert!(last == "two" && before.len() > 50 && before.iter().all(|line| *line == "[redacted]"), "{seen:?}");
}

/// The lines of a file in `tests/redact` without its comments.
fn examples(name: &str) -> Vec<String> {
    let text = fs::read_to_string(sources(&format!("tests/redact/{name}"))).unwrap();
    text.lines()
        .filter(|line| !line.starts_with("# "))
        .map(|line| line.replace('␛', "\x1b").replace('␇', "\x07"))
        .collect()
}

#[test]
fn every_covered_form_is_removed_and_harmless_lines_are_unchanged() {
    let dir = TestDir::new();
    let secret = "hunter2pass";
    let covered: Vec<_> =
        examples("secrets.txt").iter().map(|line| line.trim_start_matches('^').replace('§', secret)).collect();
    let harmless = examples("harmless.txt");
    assert!(covered.len() > 200 && harmless.len() > 200, "{} {}", covered.len(), harmless.len());
    let text = [&harmless[..], &covered, &["done".to_owned()]].concat().join("\n");
    dir.write("app.log", text + "\n");
    let daemon = dir.start("streams: { app: { file: app.log, redact: on, from: start } }");
    let seen = daemon.follow("app").query("tail=all").until("done", |message| message.data == "done");
    assert_eq!(lines(&seen)[..harmless.len()], harmless);
    assert_eq!(lines(&seen).len(), harmless.len() + covered.len() + 1);
    let messages = seen.iter().filter(|message| message.event.is_empty());
    for (message, line) in messages.skip(harmless.len()).zip(&covered) {
        assert!(!message.data.contains(secret) && message.data.contains("[redacted]"), "{line}: {message:?}");
    }
    let listed = daemon.state("app");
    assert!(listed["redacted"].as_u64().unwrap() >= covered.len() as u64, "{listed}");
}

#[test]
fn a_yaml_block_that_began_before_a_restart_is_removed_to_its_end() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n  password: |\n    planted-one\n");
    let yaml = "state_directory: state\nstreams: { app: { file: app.log, redact: on, from: start } }";
    let daemon = dir.start(yaml);
    assert_eq!(daemon.follow("app").query("tail=all").take(3)[2].data, "    [redacted]");
    let dir = daemon.kill();
    dir.write("app.log", "    planted-two\n\n    planted-three\n  user: ann\n");
    let daemon = dir.start(yaml);
    let seen = daemon.follow("app").query("tail=all").until("the end", |message| message.data == "  user: ann");
    let mark = "    [redacted]";
    assert_eq!(lines(&seen), ["one", "  password: |", mark, mark, "", mark, "  user: ann"]);
}

#[test]
fn an_origin_of_pushed_lines_shows_no_secret() {
    let daemon = Daemon::start(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstreams: { p: { push: true, redact: on }, q: { push: true } }",
    );
    let table = [
        ("token%3Dhunter2pass", "token=[redacted]"),
        ("https://ann:hunter2pass@ci", "https://ann:[redacted]@ci"),
        ("ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8", "[redacted]"),
        ("DB_PASS%3Dhunter2pass%20x", "DB_PASS=[redacted] x"),
        ("%7B%22password%22%3A%22hunter2pass%22%7D", "{\"password\":\"[redacted]\"}"),
        ("runner%207", "runner 7"),
    ];
    for (origin, expected) in table {
        let answer = daemon.unix().post(&format!("/streams/p?origin={origin}"), b"a line\n");
        assert_eq!(answer.status, 200, "{origin}");
        let seen = daemon.follow("p").query("tail=1&limit=1&data=json").take(1);
        assert_eq!(seen[0].json()["origin"], expected, "{origin}");
    }
    assert_eq!(daemon.unix().post("/streams/q?origin=token%3Dx1y2z3", b"a line\n").status, 200);
    let seen = daemon.follow("q").query("tail=1&limit=1&data=json").take(1);
    assert_eq!(seen[0].json()["origin"], "token=x1y2z3", "it is not asked for");
}
