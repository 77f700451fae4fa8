//! `format: json`, `logfmt` and `syslog`: what lines declare, and `where`, which selects by it.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::sse::Message;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, Program, TestDir};

const REQUESTS: [&str; 5] = [
    r#"{"time":"2026-11-28T16:00:00Z","level":"info","msg":"an error? no","http":{"status":200,"path":"/a"}}"#,
    r#"{"time":"2026-11-28T16:00:01Z","level":"error","msg":"broke","http":{"status":503,"path":"/a"}}"#,
    r#"plain text with "status":500"#,
    r#"{"time":"2026-11-28T16:00:02Z","level":"warning","msg":"slow","http":{"status":499,"path":"/b"}}"#,
    r#"{"time":"2026-11-28T16:00:03Z","level":"error","msg":"password=hunter2","http":{"status":500,"path":"/b"}}"#,
];

/// A stream `api` of JSON lines, a stream `text` of the same file without a format, and one each of the other formats.
fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("api.log", REQUESTS.map(|line| format!("{line}\n")).concat());
    dir.write("logfmt.log", "ts=2026-11-28T16:00:00Z level=warn msg=\"a b\" took=12.5\nplain\n");
    dir.write(
        "syslog.log",
        "<11>1 2026-11-28T16:00:00Z web1 app 7 - [a@1 b=\"c\"] broke\n2026-11-28T16:00:01Z web1 sshd[9]: error: x\n",
    );
    dir.start(
        "streams:\n  api: { file: api.log, from: start, format: json, redact: on }\n  \
        text: { file: api.log, from: start }\n  logfmt: { file: logfmt.log, from: start, format: logfmt }\n  \
        syslog: { file: syslog.log, from: start, format: syslog }\n",
    )
}

fn all(daemon: &Daemon, stream: &str, query: &str) -> Vec<Message> {
    let query = format!("tail=all&follow=false&data=json&{query}");
    let seen = daemon.follow(stream).query(&query).until_end();
    seen.into_iter().filter(Message::is_line).collect()
}

/// The indexes of the lines of `REQUESTS` that a query selects.
fn selected(daemon: &Daemon, stream: &str, query: &str) -> Vec<usize> {
    let index = |text: &Value| {
        // The redacted line is the last one.
        let text = text.as_str().unwrap();
        REQUESTS.iter().position(|line| *line == text).unwrap_or(REQUESTS.len() - 1)
    };
    all(daemon, stream, query).iter().map(|message| index(&message.json()["text"])).collect()
}

#[test]
fn filters_see_lines_without_their_escape_sequences_in_memory_and_in_the_history() {
    let dir = TestDir::new();
    dir.write("a.log", "\x1b[1;31merror\x1b[0m: disk\n\x1b]8;;http://x\x07link\x1b]8;;\x07 end\nplain 31m\n");
    dir.write("j.log", "{\"status\":\x1b[33m500\x1b[0m}\n{\"status\":200}\n");
    let yaml = "state_directory: state\nstreams:\n  a: { file: a.log, from: start }\n  j: { file: j.log, from: start, format: json }\n";
    let mut dir = Some(dir);
    for run in ["from memory", "from the history"] {
        let daemon = dir.take().unwrap().start(yaml);
        daemon.follow("a").query("tail=all").until("the last line", |message| message.data == "plain 31m");
        let texts = |stream, query| {
            let texts = all(&daemon, stream, query);
            texts.iter().map(|line| line.json()["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (red, link, plain) =
            ("\x1b[1;31merror\x1b[0m: disk", "\x1b]8;;http://x\x07link\x1b]8;;\x07 end", "plain 31m");
        for (query, expected) in [
            ("grep=%5Eerror:%20disk$", &[red][..]),
            ("grep=%5Elink%20end$", &[link]),
            ("grep=http", &[]),
            ("grep=31m", &[plain]),
            ("exclude=31m", &[red, link]),
            ("exclude=%5Eerror:", &[link, plain]),
            ("level=error", &[red]),
        ] {
            assert_eq!(texts("a", query), expected, "{query} {run}");
        }
        // A search backwards from the end.
        let last = daemon.follow("a").query("tail=1&grep=%5Eerror:&follow=false").until_end();
        assert_eq!(crate::harness::sse::lines(&last), [red], "{run}");
        assert_eq!(texts("j", "where=status%3E=500"), ["{\"status\":\x1b[33m500\x1b[0m}"], "{run}");
        daemon.terminate();
        dir = Some(daemon.ended_by(Deadline::new()).1);
    }
}

#[test]
fn either_part_of_the_origin_of_an_unwrapped_line_selects_it() {
    let dir = TestDir::new();
    for name in ["a", "b"] {
        let line = |stream: &str| format!("2026-11-28T16:00:00.5Z {stream} F {name} {stream}\n");
        dir.write(&format!("{name}.log"), line("stdout") + &line("stderr"));
    }
    let path = |name: &str| dir.path(name).display().to_string();
    let (a, b) = (path("a.log"), path("b.log"));
    let daemon = dir.start("streams: { pods: { file: [a.log, b.log], from: start, format: cri } }");
    daemon.follow("pods").query("tail=all").until("four lines", {
        let mut count = 0;
        move |message| {
            count += usize::from(message.is_line());
            count == 4
        }
    });
    for (query, expected) in [
        ("origin=stdout".to_owned(), &["a stdout", "b stdout"][..]),
        ("origin=stderr".to_owned(), &["a stderr", "b stderr"]),
        (format!("origin={a}"), &["a stderr", "a stdout"]),
        (format!("origin={b}:stdout"), &["b stdout"]),
        (format!("origin={b}:stdout&origin={a}"), &["a stderr", "a stdout", "b stdout"]),
        ("origin=other".to_owned(), &[]),
    ] {
        let lines = all(&daemon, "pods", &query);
        let mut texts: Vec<_> = lines.iter().map(|line| line.json()["text"].as_str().unwrap().to_owned()).collect();
        texts.sort_unstable();
        assert_eq!(texts, expected, "{query}");
    }
}

#[test]
fn lines_have_the_level_the_time_and_the_fields_that_they_declare() {
    let daemon = daemon();
    daemon.follow("api").query("tail=all").take(5);
    let lines: Vec<_> = all(&daemon, "api", "").iter().map(Message::json).collect();
    assert_eq!(lines[0]["text"], REQUESTS[0], "the text stays as it is");
    assert_eq!(
        lines[0]["fields"],
        json!({ "time": "2026-11-28T16:00:00Z", "level": "info", "msg": "an error? no", "http.status": 200, "http.path": "/a" })
    );
    assert_eq!((&lines[0]["level"], &lines[0]["logged"]), (&"info".into(), &"2026-11-28T16:00:00.000000Z".into()));
    assert_eq!(
        (&lines[2]["level"], &lines[2]["logged"], &lines[2]["fields"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let shown = lines[4].to_string();
    assert!(!shown.contains("hunter2"), "the secret is in no member: {shown}");
    assert!(lines[4]["fields"]["msg"].as_str().unwrap().starts_with("password="), "{shown}");

    daemon.follow("logfmt").query("tail=all").take(2);
    let lines: Vec<_> = all(&daemon, "logfmt", "").iter().map(Message::json).collect();
    assert_eq!((&lines[0]["level"], &lines[0]["fields"]["msg"]), (&"warning".into(), &"a b".into()));
    assert_eq!(lines[1].get("fields"), None);

    daemon.follow("syslog").query("tail=all").take(2);
    let lines: Vec<_> = all(&daemon, "syslog", "").iter().map(Message::json).collect();
    assert_eq!(
        lines[0]["fields"],
        json!({ "facility": "user", "severity": "error", "host": "web1", "app": "app", "pid": "7", "message": "broke", "a@1.b": "c" })
    );
    assert_eq!((&lines[1]["level"], &lines[1]["fields"]["app"]), (&"error".into(), &"sshd".into()));

    daemon.follow("text").query("tail=all").take(5);
    let lines: Vec<_> = all(&daemon, "text", "").iter().map(Message::json).collect();
    assert_eq!((&lines[0]["level"], lines[0].get("fields"), lines[0].get("logged")), (&"info".into(), None, None));
}

#[test]
fn where_selects_lines_by_their_fields() {
    let daemon = daemon();
    for stream in ["api", "text"] {
        daemon.follow(stream).query("tail=all").take(5);
    }
    let table: [(&str, &[usize]); 10] = [
        ("where=http.status%3E=500", &[1, 4]),
        ("where=http.status%20%3C%20500", &[0, 3]),
        ("where=http.status=503", &[1]),
        ("where=http.status!=503", &[0, 2, 3, 4]),
        ("where=http.status%3E=500&where=http.path=/b", &[4]),
        ("where=http.path%3E/a", &[3, 4]),
        ("where=msg=an%20error?%20no", &[0]),
        ("where=none=1", &[]),
        ("where=http.status%3E400&level=error&grep=broke", &[1]),
        ("where=msg=password%3Dhunter2", &[]),
    ];
    for (query, expected) in table {
        assert_eq!(selected(&daemon, "api", query), expected, "{query}");
    }
    // Without a format, no line has fields.
    assert!(selected(&daemon, "text", "where=http.status=503").is_empty());
    assert_eq!(selected(&daemon, "text", "where=http.status!=503"), [0, 1, 2, 3, 4]);
    for bad in ["where=status", "where=%3E5", "where=a==1"] {
        assert_eq!(daemon.follow("api").query(bad).status(), 400, "{bad}");
    }
    // The same in the other formats of a body.
    let condition = "tail=all&where=http.status=503";
    let ndjson = daemon.get(&format!("/streams/api?follow=false&format=ndjson&{condition}"), &[]).2;
    let lines = String::from_utf8_lossy(&ndjson).lines().filter(|line| line.contains("\"text\"")).count();
    assert_eq!(lines, 1, "{}", String::from_utf8_lossy(&ndjson));
    let text = daemon.get(&format!("/streams/api?follow=false&format=text&{condition}"), &[]).2;
    assert!(String::from_utf8_lossy(&text).lines().any(|line| line == REQUESTS[1]), "{text:?}");
    assert!(!String::from_utf8_lossy(&text).contains("slow"), "{text:?}");
    let polled = daemon.json(&format!("/streams/api/poll?wait=1s&{condition}"));
    let lines = polled["events"].as_array().unwrap().iter().filter(|event| event["kind"].is_null()).count();
    assert_eq!(lines, 1, "{polled}");
}

#[test]
fn a_reader_with_a_condition_resumes_after_the_last_event_it_saw() {
    let daemon = daemon();
    let query = "tail=all&where=http.status%3E=500";
    let seen = daemon.follow("api").query(query).until("both", |message| message.data.contains("password"));
    let seen: Vec<_> = seen.into_iter().filter(Message::is_line).collect();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    let rest = daemon.follow("api").query(query).last_event_id(&seen[0].id).take(1);
    assert_eq!(rest, seen[1..]);
    // A tail counts the lines that pass.
    let last = daemon.follow("api").query("tail=1&where=http.status=503").take(1);
    assert_eq!(last, seen[..1]);
}

#[test]
fn a_subscription_takes_a_condition() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.address());
    let number = channel.subscribe(&json!({ "stream": "api", "tail": "all", "where": "http.status>=500" }));
    let found = channel.lines(number, 2);
    assert_eq!(found[0], REQUESTS[1], "{found:?}");
    let back = json!({ "subscription": number, "where": ["http.path=/b", "level=warning"], "from": { "tail": "all" } });
    channel.call("subscription.filter", &back);
    assert_eq!(channel.lines(number, 1), [REQUESTS[3]]);
}

#[test]
fn the_client_takes_conditions() {
    let dir = TestDir::new();
    dir.write("api.log", REQUESTS.map(|line| format!("{line}\n")).concat());
    let daemon = dir.start("streams: { p: { command: [cat, api.log], restart: { when: never }, format: json } }");
    let conditions = ["--tail", "all", "--where", "http.status>=500", "--where", "http.path=/a"];
    let mut command = daemon.command(&[&["follow", "p"], &conditions[..]].concat());
    command.env("RTLOGD_URL", daemon.url("")).stdin(Stdio::null());
    let ended = Program::start(&mut command).ended();
    assert_eq!(String::from_utf8_lossy(&ended.out), format!("{}\n", REQUESTS[1]), "{}", ended.err);
}

#[test]
fn ansi_strip_removes_escape_sequences_in_every_format() {
    let dir = TestDir::new();
    dir.fifo("go");
    let script = r"printf '\033[31mred\033[0m \033]8;;https://a\033\\link\033]8;;\033\\\n\033]0;t\007plain\n'; printf '\r\033[32mlive\033[0m'; read x <go";
    let daemon = dir.start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], directory: ., pty: true }} }}"));
    let live = |query: &str| {
        let messages = daemon.follow("p").query("tail=all").query(query).until("the live row", |message| {
            message.event == "open" && message.json()["text"].as_str().is_some_and(|text| text.contains("live"))
        });
        messages.last().unwrap().json()["rows"].clone()
    };
    assert!(live("ansi=keep")[0].as_str().unwrap().contains("\x1b[32mlive"));
    assert_eq!(live("ansi=strip"), serde_json::json!(["live"]));
    for path in ["/streams/p?follow=false&", "/streams?stream=p&follow=false&", "/streams/p/poll?"] {
        for format in ["text", "ndjson", "sse", "sse&data=json"] {
            let get = |ansi: &str| {
                let body = daemon.request(&format!("{path}tail=all&format={format}{ansi}")).body();
                let text = String::from_utf8(body).unwrap();
                // The time to wait before a reconnect is random.
                text.lines().filter(|line| !line.starts_with("retry:")).collect::<Vec<_>>().join("\n")
            };
            let (kept, stripped) = (get(""), get("&ansi=strip"));
            let has_escapes = |text: &str| text.contains('\x1b') || text.contains("\\u001b");
            assert!(has_escapes(&kept) && kept == get("&ansi=keep"), "{path}{format}: {kept}");
            assert!(!has_escapes(&stripped), "{path}{format}: {stripped}");
            assert!(stripped.contains("red link") && stripped.contains("plain"), "{path}{format}: {stripped}");
        }
    }
    assert_eq!(daemon.follow("p").query("ansi=none").status(), 400);
}
