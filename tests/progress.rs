//! The progress of a source: the output of real programs over time, and the reports of the daemon about it.
//!
//! The recordings in `tests/progress/` are made by `record.py` there; in a `.pipe` the program wrote into a pipe, in a
//! `.pty` to a terminal.

use std::fs;

use rtlogd::event::{Progress, Time};
use rtlogd::line::{PIPE_COLUMNS, PIPE_ROWS, Screen};
use rtlogd::progress::Tracker;
use serde_json::{Value, json};

use crate::harness::http::header;
use crate::harness::sse::lines;
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, TestDir, sources};

/// A report as a person would write it: state, percent, count, `<phase>`, message.
fn said(progress: Option<&Progress>) -> String {
    let Some(progress) = progress else { return "nothing".to_owned() };
    let mut text = format!("{:?}", progress.state).to_lowercase();
    text.extend(progress.percent.map(|percent| format!(" {percent}%")));
    text.extend(progress.current.map(|current| format!(" {current}")));
    text.extend(progress.total.map(|total| format!("/{total}")));
    text.extend(progress.phase.as_ref().map(|phase| format!(" <{phase}>")));
    text.extend(progress.message.as_ref().map(|message| format!(" {message}")));
    text
}

/// The output at each moment of a recording, and the report at that time.
fn moments(recording: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(sources(&format!("tests/progress/{recording}"))).unwrap();
    let mut lines = Screen::terminal(10_000, PIPE_COLUMNS, PIPE_ROWS);
    let mut tracker = Tracker::new(Vec::new(), false);
    let mut moments = Vec::new();
    for read in text.lines() {
        let (millis, bytes) = read.split_once(' ').unwrap();
        let now = Time(1_000_000_000_000_000 + millis.parse::<i64>().unwrap() * 1000);
        let bytes: String = serde_json::from_str(bytes).unwrap();
        let bytes: Vec<u8> = bytes.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        lines.push(&bytes, |line| {
            tracker.line(0, line.text, now);
            moments.push((String::from_utf8_lossy(line.text).into_owned(), said(tracker.progress())));
        });
        if let Some(reported) = lines.take_reported_progress() {
            tracker.reported(&reported, now);
        }
        let rows = lines.live_rows();
        tracker.open(0, &rows, now);
        moments.push((String::from_utf8_lossy(&rows.join(&b"\n"[..])).into_owned(), said(tracker.progress())));
    }
    lines.finish(|line| {
        moments.push((String::from_utf8_lossy(line.text).into_owned(), said(tracker.progress())));
    });
    moments
}

/// Recording, words of the line that is read at the moment, and what is said then; in the order of time.
const TABLE: &[(&str, &[(&str, &str)])] = &[
    (
        "cmake.pipe",
        &[
            ("[  3%] Building", "running 3% Building C object CMakeFiles/demo.dir/main.c.o"),
            ("[ 50%] Building", "running 50% Building C object CMakeFiles/demo.dir/part12.c.o"),
            ("[100%] Linking", "running 100% Linking C executable demo"),
            ("[100%] Built", "running 100% Built target demo"),
        ],
    ),
    (
        "cmake.pty",
        &[
            ("[ 46%]", "running 46% Building C object CMakeFiles/demo.dir/part11.c.o"),
            ("[100%]", "running 100% Linking C executable demo"),
        ],
    ),
    (
        "ninja.pipe",
        &[
            ("Entering directory", "nothing"),
            ("[1/26]", "running 3.8% 1/26 Building C object CMakeFiles/demo.dir/part2.c.o"),
            ("[13/26]", "running 50% 13/26 Building C object CMakeFiles/demo.dir/part12.c.o"),
            ("[26/26]", "running 100% 26/26 Linking C executable demo"),
        ],
    ),
    (
        "ninja.pty",
        &[
            ("[0/26]", "running 0% 0/26 Building C object CMakeFiles/demo.dir/main.c.o"),
            ("[4/26]", "running 15.4% 4/26 Building C object CMakeFiles/demo.dir/part3.c.o"),
            ("[26/26]", "running 100% 26/26 Linking C executable demo"),
        ],
    ),
    (
        "ninja_fails.pipe",
        &[
            ("[8/26]", "running 30.8% 8/26 Building C object CMakeFiles/demo.dir/part7.c.o"),
            ("error: unknown type name", "running 30.8% 8/26 Building C object CMakeFiles/demo.dir/part7.c.o"),
            ("build stopped", "error 38.5% 10/26 ninja: build stopped: subcommand failed."),
        ],
    ),
    ("ninja_fails.pty", &[("build stopped", "error 34.6% 9/26 ninja: build stopped: subcommand failed.")]),
    (
        "git.pipe",
        &[
            ("Enumerating objects", "nothing"),
            ("Counting objects: 100%", "running 100% 2002/2002 <remote: Counting objects>"),
            ("Compressing objects:  76%", "running 76% 1514/1992 <remote: Compressing objects>"),
            ("Receiving objects:  51%", "running 51% 1022/2002 <Receiving objects>"),
        ],
    ),
    (
        "git.pty",
        &[
            ("Enumerating objects", "nothing"),
            ("Receiving objects:  54%", "running 54% 1082/2002 <Receiving objects>"),
            ("Updating files:  61%", "running 61% 1220/2000 <Updating files>"),
        ],
    ),
    // Into a pipe Cargo does not say how much there is.
    ("cargo.pipe", &[("Compiling", "nothing"), ("Finished", "nothing")]),
    (
        "cargo.pty",
        &[
            ("Compiling", "nothing"),
            ("Building", "running 0% 0/13 <Building> part4, part5"),
            ("4/13", "running 30.8% 4/13 <Building> part8, part11"),
            ("12/13", "running 92.3% 12/13 <Building> demo(bin)"),
            (
                "Finished",
                "done 100% 13/13 <Building> Finished `dev` profile [unoptimized + debuginfo] target(s) in 1.73s",
            ),
        ],
    ),
    ("pip.pipe", &[("Downloading", "nothing"), ("━━━", "running 100% 3000000/3000000 1.3 MB/s eta 0:00:00")]),
    (
        "pip.pty",
        &[
            ("Downloading", "nothing"),
            ("0.0/3.0 MB", "running 0% 0/3000000 ? eta -:--:--"),
            ("1.5/3.0 MB", "running 50% 1500000/3000000 1.5 MB/s eta 0:00:01"),
        ],
    ),
    ("npm.pipe", &[("added 2 packages", "nothing")]),
    ("npm.pty", &[("⠙", "indeterminate"), ("⠼", "indeterminate")]),
    ("apt.pipe", &[("Reading package lists...", "nothing"), ("... 55%", "running 55% <Reading database>")]),
    (
        "apt.pty",
        &[
            ("lists... 34%", "running 34% <Reading package lists>"),
            ("tree... 50%", "running 50% <Building dependency tree>"),
            ("database ... 60%", "running 60% <Reading database>"),
            ("Progress: [ 40%]", "running 40%"),
            ("Progress: [ 60%]", "running 60%"),
        ],
    ),
    (
        "rsync.pipe",
        &[
            ("a.bin", "nothing"),
            ("32,768", "running 1% 32768 0.00kB/s"),
            ("55%", "running 55% 1671168 1.56MB/s"),
            ("100%", "running 100% 3000000 1.51MB/s"),
        ],
    ),
    ("rsync.pty", &[("100%", "running 100% 3000000 1.55MB/s")]),
    (
        "wget.pipe",
        &[
            ("Saving to", "nothing"),
            ("450K", "running 17% 228M"),
            ("2050K", "running 71% 465K"),
            ("2900K", "running 100% 423M"),
            ("saved", "running 100% 423M"),
        ],
    ),
    ("wget.pty", &[("awaiting", "nothing"), ("0%[ ", "running 0% </tmp/x/x>"), ("45%[===", "running 45% </tmp/x/x>")]),
    (
        "curl.pipe",
        &[
            ("% Total", "nothing"),
            ("--:--:--     0", "indeterminate 0B/s"),
            (" 25 2929k", "running 25% 732000/2929000 1575kB/s"),
            ("100 2929k", "running 100% 2929000/2929000 1376kB/s"),
        ],
    ),
    ("curl.pty", &[(" 55 2929k", "running 55% 1611000/2929000 1312kB/s")]),
    ("curl_bar.pipe", &[("10.0%", "running 10%"), ("55.0%", "running 55%"), ("100.0%", "running 100%")]),
    ("curl_bar.pty", &[("35.0%", "running 35%"), ("100.0%", "running 100%")]),
    (
        "dd.pipe",
        &[
            ("2008192 bytes", "indeterminate 2008192 2.0 MB/s"),
            ("4008192 bytes", "indeterminate 4008192 2.0 MB/s"),
            ("records in", "indeterminate 4008192 2.0 MB/s"),
            ("5000000 bytes", "indeterminate 5000000 2.0 MB/s"),
        ],
    ),
    ("dd.pty", &[("5000000 bytes", "indeterminate 5000000 1.9 MB/s")]),
    (
        "tqdm.pipe",
        &[
            ("  0%|", "running 0% 0/40 <Training> 00:00<?, ?it/s"),
            (" 45%|", "running 45% 18/40 <Training> 00:00<00:01, 19.58it/s"),
        ],
    ),
    ("tqdm.pty", &[(" 55%|", "running 55% 22/40 <Training> 00:01<00:00, 19.48it/s")]),
    ("ffmpeg.pipe", &[("Output #0", "nothing"), ("size=", "indeterminate speed N/A")]),
    ("ffmpeg.pty", &[("Output #0", "nothing"), ("size=", "indeterminate speed N/A")]),
    ("ffmpeg_file.pipe", &[("Duration", "nothing"), ("258kB time=00:00:03.00", "running 100% speed 0.998x")]),
    (
        "ffmpeg_file.pty",
        &[
            ("00:00:01.02", "running 34% speed 1.01x"),
            ("00:00:02.04", "running 68% speed 1.01x"),
            ("00:00:03.00", "running 100% speed 0.997x"),
        ],
    ),
    (
        "pytest.pipe",
        &[
            ("collected 24 items", "nothing"),
            ("[ 33%]", "running 33%"),
            ("[ 66%]", "running 66%"),
            ("24 passed", "done 100% 24 passed"),
        ],
    ),
    ("pytest.pty", &[("[ 66%]", "running 66%"), ("24 passed", "done 100% 24 passed")]),
    ("pytest_fails.pipe", &[("1 failed", "error 100% 1 failed, 24 passed")]),
    ("pytest_fails.pty", &[("[ 32%]", "running 32%"), ("1 failed", "error 100% 1 failed, 24 passed")]),
    (
        "docker.pipe",
        &[
            ("Pulling from", "indeterminate Pulling library/demo"),
            ("a3ed95caeb02: Pulling fs layer", "running 0% 0/1 <Pulling fs layer>"),
            ("5c1e7f2ab964: Pulling fs layer", "running 0% 0/3 <Pulling fs layer>"),
            ("5c1e7f2ab964: Download complete", "running 50% 0/3 <Download complete>"),
            ("0f9b5b8a1c3d: Pull complete", "running 83.3% 2/3 <Pull complete>"),
            ("5c1e7f2ab964: Pull complete", "running 100% 3/3 <Pull complete>"),
        ],
    ),
    (
        "docker.pty",
        &[
            ("0f9b5b8a1c3d: Downloading [=========> ", "running 20% 0/3 <Downloading>"),
            ("5c1e7f2ab964: Pull complete", "running 100% 3/3 <Pull complete>"),
        ],
    ),
];

#[test]
fn each_moment_of_a_recording_shows_the_progress_a_person_would_see() {
    let mut wrong = Vec::new();
    for (recording, rows) in TABLE {
        let moments = moments(recording);
        let mut from = 0;
        for (words, expected) in *rows {
            match moments[from..].iter().position(|(text, _)| text.contains(words)) {
                Some(at) => {
                    from += at;
                    let seen = &moments[from].1;
                    if seen != expected {
                        wrong.push(format!("{recording} at {words:?}: {seen:?} instead of {expected:?}"));
                    }
                }
                None => wrong.push(format!("{recording}: {words:?} is not in it behind moment {from}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_recording_is_in_the_table() {
    for entry in fs::read_dir(sources("tests/progress")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name == "record.py" || TABLE.iter().any(|(recording, _)| *recording == name);
        assert!(known, "{name} is not in the table");
    }
}

/// A stream `p` of this shell script, which runs once, with further keys. It goes on when a file `go` is there.
fn daemon(script: &str, keys: &str) -> Daemon {
    let script = script.replace("WAIT", "while [ ! -e go ]; do sleep 0.05; done");
    Daemon::start(&format!("streams: {{ p: {{ command: [sh, -c, {script:?}], restart: {{ when: never }}, {keys} }} }}"))
}

#[test]
fn the_progress_of_a_build_is_shown_from_its_first_object_to_its_end() {
    let daemon = daemon("echo '[1/4] one'; echo '[2/4] two'; WAIT; echo '[3/4] three'", "");
    let mut reader = daemon.follow("p").query("tail=all").open();
    let half = reader.until("half of it", |m| m.event == "progress" && m.json()["percent"] == 50.0);
    let half = half.last().unwrap();
    assert_eq!(half.id, reader.last_id(), "it moves nobody's place");
    let now = half.json();
    assert_eq!((&now["state"], &now["current"], &now["total"]), (&"running".into(), &2.into(), &4.into()), "{now}");
    assert_eq!(now["message"], "two");
    // Whoever comes now is told at once; the list and the endpoint say the same.
    let late = daemon.follow("p").query("tail=0").until("progress", |message| message.event == "progress");
    assert_eq!(late.last().unwrap().json()["percent"], 50.0);
    assert_eq!(daemon.json("/streams/p/progress")["percent"], 50.0);
    assert_eq!(daemon.json("/streams")["streams"][0]["progress"]["current"], 2);
    assert_eq!(daemon.json("/streams/p/poll?tail=all&wait=1s")["progress"]["percent"], 50.0);
    daemon.write("go", "");
    let rest = reader.until("the end", |m| m.event == "progress" && m.json()["state"] == "done");
    assert!(rest.iter().any(|message| message.event == "end"), "{rest:#?}");
    let done = rest.last().unwrap().json();
    assert_eq!((&done["percent"], &done["current"], done.get("eta")), (&100.0.into(), &4.into(), None), "{done}");
    let ndjson = daemon.follow("p").query("format=ndjson&tail=all&limit=2").body();
    assert_eq!(
        String::from_utf8(ndjson).unwrap().lines().count(),
        3,
        "state and two lines: what has an end ends there"
    );
}

#[test]
fn the_control_channel_sends_progress_to_present_and_new_subscribers() {
    let daemon = daemon("echo '[1/4] one'; WAIT; echo '[2/4] two'; exit 1", "");
    let mut channel = Channel::open(daemon.address());
    let first = channel.subscribe(&json!({ "stream": "p", "tail": "all" }));
    let mut told = |is: fn(&Value) -> bool| loop {
        let told = channel.until("stream.progress");
        if told["subscription"] == first && is(&told["progress"]) {
            return told["progress"].clone();
        }
    };
    let quarter = told(|progress| progress["percent"] == 25.0);
    assert_eq!((&quarter["current"], &quarter["message"]), (&1.into(), &"one".into()), "{quarter}");
    let mut late = Channel::open(daemon.address());
    late.subscribe(&json!({ "stream": "p", "tail": 0 }));
    assert_eq!(late.until("stream.progress")["progress"], quarter, "the same to who has just come");
    assert_eq!(late.call("streams.list", &json!({}))["streams"][0]["progress"], quarter);
    daemon.write("go", "");
    let failed = told(|progress| progress["state"] == "error");
    assert_eq!(failed["percent"], 50.0, "{failed}");
}

#[test]
fn plain_text_and_ordinary_output_have_no_progress() {
    let daemon = daemon("echo 'I am 100% sure'; WAIT; echo '[1/2] x'; echo marker; sleep 1000", "");
    let seen = daemon.follow("p").query("tail=all").until("the line", message_is("I am 100% sure"));
    assert!(seen.iter().all(|message| message.event != "progress"), "{seen:#?}");
    assert_eq!(daemon.json("/streams/p/progress")["state"], "indeterminate", "a process that runs");
    daemon.write("go", "");
    daemon.follow("p").query("tail=all").until("progress", |message| message.event == "progress");
    let text = daemon.follow("p").query("tail=all&format=text&limit=3").body();
    assert_eq!(String::from_utf8(text).unwrap(), "I am 100% sure\n[1/2] x\nmarker\n");
    let ndjson = daemon.follow("p").query("tail=0&format=ndjson").response();
    let mut body = ndjson.body;
    let first = body.some(Deadline::new()).unwrap().unwrap();
    let first: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!((&first["kind"], &first["total"]), (&"progress".into(), &2.into()), "{first}");
}

fn message_is(data: &str) -> impl Fn(&crate::harness::sse::Message) -> bool {
    let data = data.to_owned();
    move |message| message.data == data
}

#[test]
fn progress_can_be_switched_off_or_read_by_patterns() {
    let script = "echo '[1/2] x'; echo 'copied 3 of 12: a'; echo marker; sleep 1000";
    let off = daemon(script, "progress: off");
    let seen = off.follow("p").query("tail=all").until("the marker", message_is("marker"));
    assert!(seen.iter().all(|message| message.event != "progress"), "{seen:#?}");
    let told =
        daemon(script, "progress: [{ pattern: 'copied (?P<current>[0-9]+) of (?P<total>[0-9]+): (?P<message>.*)' }]");
    let seen =
        told.follow("p").query("tail=all").until("progress", |m| m.event == "progress" && m.json()["total"] == 12);
    assert_eq!(seen.last().unwrap().json()["percent"], 25.0);
    let dir = TestDir::new();
    dir.configure(
        "streams:\n  a: { file: a, progress: [{ pattern: '(' }] }\n  b: { file: b, progress: [{ pattern: '(?P<x>a)' }] }\n  c: { file: c, progress: maybe }",
    );
    let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    for (line, words) in [(3, "unclosed group"), (4, "unknown group \"x\""), (5, "on, off or a list of patterns")] {
        let told = ended.err.lines().any(|told| told.contains(&format!("rtlogd.yaml:{line}:")) && told.contains(words));
        assert!(told, "nothing of {words} in line {line}: {}", ended.err);
    }
}

#[test]
fn a_block_that_is_redrawn_many_times_is_logged_once() {
    let script = r"printf 'a: wait\nb: wait\n'; for i in 1 2 3 4 5 6 7 8 9; do
        printf '\033[2A\033[2K\ra: %s0%%\n\033[2K\rb: %s\n' $i $i; done; WAIT; echo end";
    let daemon = daemon(script, "");
    let mut reader = daemon.follow("p").query("run=current").open();
    // The rows are live as long as the program may redraw them.
    let mut seen =
        reader.until("open", |message| message.event == "open" && message.json()["rows"] == json!(["a: 90%", "b: 9"]));
    daemon.write("go", "");
    seen.extend(reader.until_end());
    assert_eq!(lines(&seen), ["a: wait", "b: wait", "a: 90%", "b: 9", "end"], "{seen:#?}");
}

#[test]
fn a_long_progress_bar_costs_neither_memory_nor_lines() {
    let script = "yes ' 45%[=======>          ] 1.2M' | tr '\\n' '\\r' | head -c 40000000; echo; echo end";
    let daemon = daemon(script, "");
    let seen = daemon.follow("p").query("run=current").until_end();
    let shown = seen.iter().filter(|message| matches!(message.event.as_str(), "open" | "progress")).count();
    assert_eq!(lines(&seen).len(), 2, "{seen:#?}");
    let seconds = seen.last().unwrap().json()["duration"].as_f64().unwrap();
    assert!(f64::from(u32::try_from(shown).unwrap()) <= seconds * 20.0 + 10.0, "{shown} in {seconds} s");
    let memory = daemon.state("p")["memory"].as_u64().unwrap();
    assert!(memory < 100_000, "{memory}");
}

#[test]
fn a_badge_is_an_image_that_caches_keep_only_briefly() {
    let daemon = daemon("echo '[1/4] x'; WAIT; exit 3", "");
    daemon.follow("p").query("tail=all").until("progress", |message| message.event == "progress");
    let (status, headers, body) = daemon.get("/streams/p/badge.svg", &[]);
    let (svg, tag) = (String::from_utf8(body).unwrap(), header(&headers, "etag").unwrap());
    assert_eq!((status, header(&headers, "content-type")), (200, Some("image/svg+xml; charset=utf-8")));
    assert_eq!(header(&headers, "cache-control"), Some("no-cache, max-age=0"));
    assert!(svg.contains(">p: 25% · ") && !svg.contains("<script"), "{svg}");
    daemon.write("go", "");
    daemon.follow("p").query("run=current").until_end();
    let (_, headers, body) = daemon.get("/streams/p/badge.svg", &[("If-None-Match", tag)]);
    let (svg, now) = (String::from_utf8(body).unwrap(), header(&headers, "etag").unwrap());
    assert!(svg.contains(">p: failed (3) after ") && now != tag, "{svg}");
    let (status, headers, body) = daemon.get("/streams/p/badge.svg", &[("If-None-Match", &format!("\"a\", W/{now}"))]);
    assert_eq!((status, header(&headers, "etag"), body.len()), (304, Some(now), 0));
    assert_eq!(daemon.get("/streams/none/badge.svg", &[]).0, 404);
}

#[test]
fn a_file_has_progress_too() {
    let dir = TestDir::new();
    dir.write("a.log", "[ 10%] Building a\n");
    let daemon = dir.start("streams: { f: { file: a.log, from: start } }");
    let mut reader = daemon.follow("f").query("tail=all").open();
    reader.until("the first tenth", |m| m.event == "progress" && m.json()["percent"] == 10.0);
    daemon.write("a.log", "[100%] Built target a\n");
    let seen = reader.until("the end", |m| m.event == "progress" && m.json()["percent"] == 100.0);
    assert_eq!(seen.last().unwrap().json()["state"], "done");
}
