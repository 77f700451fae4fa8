//! The history on disk: what a restart, `kill -9` and a full disk leave of it, and what readers notice.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::http::Response;
use crate::harness::sse::{Message, Reader, lines};
use crate::harness::{Daemon, Deadline, TestDir, numbered, pause, sources};

const APP: &str = "state_directory: state\nstreams: { app: { file: app.log, from: start } }";

/// The number of random rounds; `RTLOGD_ROUNDS` sets another one.
fn rounds(few: u32) -> u32 {
    std::env::var("RTLOGD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Lines of `prefix` and a number.
fn from_to(prefix: &str, numbers: std::ops::Range<u64>) -> String {
    numbers.flat_map(|number| [prefix.to_owned(), " ".to_owned(), number.to_string(), "\n".to_owned()]).collect()
}

fn number(message: &Message) -> u64 {
    message.data.rsplit(' ').next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {message:?}"))
}

#[test]
fn numbers_and_files_continue_after_a_restart() {
    let dir = TestDir::new();
    dir.write("app.log", "one\ntwo\n");
    let mut daemon = dir.start(APP);
    let seen = daemon.follow("app").query("tail=all").take(2);
    for stop in [true, false, true] {
        let dir = if stop {
            daemon.terminate();
            daemon.ended_by(Deadline::new()).1
        } else {
            daemon.kill()
        };
        dir.write("app.log", "more\n");
        daemon = dir.start(APP);
    }
    let rest = daemon.follow("app").last_event_id(&seen[1].id).take(3);
    assert_eq!(lines(&rest), ["more", "more", "more"]);
    let epoch = |message: &Message| message.id.split('-').next().unwrap().to_owned();
    assert_eq!(epoch(&rest[2]), epoch(&seen[0]), "the epoch stays");
    let all = daemon.follow("app").query("tail=all&follow=false").until_end();
    assert_eq!(lines(&all), ["one", "two", "more", "more", "more"]);
    let ids: Vec<_> = all.iter().filter(|message| !message.id.is_empty()).map(Message::number).collect();
    assert!(ids.windows(2).all(|two| two[0] + 1 == two[1]), "{ids:?}");
}

#[test]
fn a_second_daemon_reports_that_the_directory_is_in_use() {
    let daemon = Daemon::start(APP);
    let ended = daemon.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.err.contains("is in use by another rtlogd (stop that one"), "{}", ended.err);
}

#[test]
fn events_dropped_from_memory_are_read_from_disk() {
    let dir = TestDir::new();
    let line = "x".repeat(200);
    dir.write("app.log", from_to(&line, 0..20_000));
    let yaml = "state_directory: state\nhistory: { memory: 1MiB }\nstreams: { app: { file: app.log, from: start } }";
    let daemon = dir.start(yaml);
    let mut reader = daemon.follow("app").query("tail=all").open();
    let seen = reader.take(20_000);
    assert!(seen.iter().map(number).eq(0..20_000));
    let listed = daemon.state("app");
    assert!(listed["memory"].as_u64().unwrap() < 2 << 20, "{listed}");
    assert!(listed["disk"].as_u64().unwrap() > 4 << 20, "{listed}");
    // From the middle, by filter, by number and by time: all from the disk, then live.
    let mut reader = daemon.follow("app").after(&seen[4999].id).open();
    assert!(reader.take(15_000).iter().map(number).eq(5000..20_000));
    daemon.write("app.log", "live 20000\n");
    assert_eq!(number(&reader.take(1)[0]), 20_000);
    let found = daemon.follow("app").query("grep=77$&tail=150").take(150);
    assert_eq!(number(&found[0]), 5077);
    let polled = daemon.get(&format!("/streams/app/poll?after={}&limit=2", seen[9].id), &[]).2;
    assert!(String::from_utf8(polled).unwrap().contains(" 11\""));
    let since = daemon.follow("app").query("since=1h&limit=1&follow=false").until_end();
    assert_eq!(number(since.iter().find(|message| message.is_line()).unwrap()), 0);
}

#[test]
fn a_state_directory_can_be_inspected() {
    let dir = TestDir::new();
    dir.write("app.log", "one\ntwo\n");
    let daemon = dir.start(APP);
    let seen = daemon.follow("app").query("tail=all").take(2);
    let told = String::from_utf8(daemon.execute(&["history", "state"]).out).unwrap();
    assert!(told.starts_with(&format!("app: {}", seen[0].id.split('-').next().unwrap())), "{told}");
    let read = format!("  read: {} up to byte 8, at 20", daemon.path("app.log").display());
    assert!(
        told.contains("in 1 file; the daemon that writes it is running or was killed") && told.contains(&read),
        "{told}"
    );
    let events = String::from_utf8(daemon.execute(&["history", "state", "app"]).out).unwrap();
    let lines: Vec<_> = events.lines().filter(|line| line.contains("\"text\"")).collect();
    assert_eq!(lines.len(), 2, "{events}");
    assert!(lines[1].contains(&seen[1].id) && lines[1].contains("\"two\""), "{events}");
    let wrong = daemon.execute(&["history", "state", "other"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.err.contains("there is no stream other in \"state\""), "{}", wrong.err);
}

#[test]
fn a_history_of_the_previous_format_is_continued() {
    const FILE: &str = "state/streams/build/0000000000000000.rlog";
    let golden = fs::read(sources("tests/history/version-1/streams/build/0000000000000000.rlog")).unwrap();
    let events = fs::read_to_string(sources("tests/history/version-1.ndjson")).unwrap();
    let dir = TestDir::new();
    fs::create_dir_all(dir.path("state/streams/build")).unwrap();
    dir.write(FILE, &golden);
    let inspected = |dir: &TestDir| String::from_utf8(dir.execute(&["history", "state", "build"]).out).unwrap();
    assert_eq!(inspected(&dir), events);

    let daemon = dir.start(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstate_directory: state\nstreams:\n  \
         build: { command: [echo, more], restart: { when: never } }",
    );
    let owner = |path: &str| Response::get(daemon.unix(), path, &[]).body.all();
    Deadline::new().until("the second run has ended", || {
        String::from_utf8(owner("/streams/build?tail=all&follow=false"))
            .unwrap()
            .contains("\"run\":2,\"code\":0")
            .then_some(())
    });
    assert_eq!(daemon.follow("build").status(), 404, "the stream was private, and stays so");
    let all = String::from_utf8(owner("/streams/build?tail=all&follow=false&format=ndjson")).unwrap();
    assert!(all.starts_with(&events), "{all}");
    // The runs that can be replayed are known, too.
    let runs: serde_json::Value = serde_json::from_slice(&owner("/streams/build/runs")).unwrap();
    let facts = |at: usize| ["run", "lines", "code"].map(|name| runs["runs"][at][name].as_u64());
    assert_eq!(facts(0), [Some(2), Some(1), Some(0)], "{runs}");
    assert_eq!(facts(1)[0], Some(1), "{runs}");
    assert_eq!(runs["runs"][2], serde_json::Value::Null, "{runs}");
    daemon.terminate();
    let dir = daemon.ended_by(Deadline::new()).1;

    assert!(fs::read(dir.path(FILE)).unwrap() == golden, "the old file is not written to");
    let newest =
        fs::read_dir(dir.path("state/streams/build")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    assert!(fs::read(newest).unwrap().starts_with(b"rtlogd\n\x02"), "new events are in a file of the new format");
    let (all, overview) = (inspected(&dir), dir.execute(&["history", "state"]).out);
    let ids: Vec<_> = all.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert!(all.starts_with(&events) && all.contains("\"text\":\"more\""), "{all}");
    let epoch = ids[0].split_once('-').unwrap().0;
    assert!(ids.iter().zip(1..).all(|(id, number)| *id == format!("{epoch}-{number}")), "{ids:?}");
    assert!(String::from_utf8(overview).unwrap().contains("private: reading it needs a token"));
}

/// Writes numbered lines, and rotates now and then, until it is told to stop; says how many lines there are.
fn write_and_rotate(path: &Path, stop: &AtomicBool) -> u64 {
    let mut random = fastrand::Rng::with_seed(3);
    let mut written = 0;
    let mut rotations = 0;
    while !stop.load(Ordering::Relaxed) {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for _ in 0..random.u32(1..2000) {
            let text = from_to("line", written..written + random.u64(1..20));
            written += text.lines().count() as u64;
            let (first, second) = text.split_at(random.usize(0..text.len()));
            file.write_all(first.as_bytes()).unwrap();
            file.write_all(second.as_bytes()).unwrap();
            if random.u8(0..10) == 0 {
                pause("a writer that is idle now and then", Duration::from_millis(random.u64(0..8)));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        rotations += 1;
        fs::rename(path, path.with_extension(format!("log.{rotations}"))).unwrap();
    }
    written
}

/// A reader that comes back with the last id that it saw.
#[derive(Default)]
struct Returning {
    last: Option<String>,
    next: u64,
}

impl Returning {
    fn come(&self, daemon: &Daemon) -> Reader {
        let ask = daemon.follow("app");
        match &self.last {
            Some(id) => ask.last_event_id(id).open(),
            None => ask.query("tail=all").open(),
        }
    }

    fn see(&mut self, messages: &[Message]) {
        for message in messages {
            assert!(!matches!(message.event.as_str(), "gap" | "loss"), "{message:?} behind line {}", self.next);
            if message.is_line() {
                assert_eq!(message.data, format!("line {}", self.next));
                self.next += 1;
            }
            if !message.id.is_empty() {
                self.last = Some(message.id.clone());
            }
        }
    }
}

#[test]
fn each_reader_sees_each_line_once_after_a_kill_at_any_moment() {
    let mut dir = TestDir::new();
    dir.write("app.log", "");
    let stop = Arc::new(AtomicBool::new(false));
    let (path, stopped) = (dir.path("app.log"), stop.clone());
    let writer = thread::spawn(move || write_and_rotate(&path, &stopped));
    let mut random = fastrand::Rng::new();
    let mut readers: Vec<Returning> = (0..3).map(|_| Returning::default()).collect();
    for _ in 0..rounds(4) {
        let daemon = dir.start(APP);
        let mut open: Vec<_> = readers.iter().map(|reader| reader.come(&daemon)).collect();
        for _ in 0..random.u32(1..60) {
            let at = random.usize(0..open.len());
            let seen = open[at].some();
            readers[at].see(&seen);
        }
        dir = daemon.kill();
        for (reader, open) in readers.iter_mut().zip(&mut open) {
            reader.see(&open.until_cut());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.join().unwrap();
    dir.write("app.log", "");
    let daemon = dir.start(APP);
    for reader in &mut readers {
        let mut open = reader.come(&daemon);
        let deadline = Deadline::after(Duration::from_mins(1));
        while reader.next < written {
            assert!(deadline.left().is_some(), "{} of {written} lines came", reader.next);
            let seen = open.some();
            reader.see(&seen);
        }
    }
}

#[test]
fn a_full_disk_is_reported_until_there_is_room_again() {
    let dir = TestDir::new();
    dir.write("app.log", "line 0\n");
    dir.configure(APP);
    // The state lies on a disk of its own, 2 MiB large; what fills it can be reached by the daemon's own root.
    let script = "mkdir -p state && mount -t tmpfs -o size=2m none state && exec \"$0\" serve --config rtlogd.yaml";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_rtlogd")]);
    command.current_dir(dir.path(".")).stdin(Stdio::null());
    let daemon = dir.launch_command(command);
    let state = format!("/proc/{}/root{}", daemon.pid(), daemon.path("state").display());
    let mut reader = daemon.follow("app").query("tail=all").open();
    let mut seen = reader.take(1);
    fs::write(format!("{state}/filler"), vec![0; 4 << 20]).unwrap_err();
    let mut written = 1;
    let mut write = |count: u64| {
        daemon.write("app.log", from_to("line", written..written + count));
        written += count;
        written
    };
    let all = write(20_000);
    seen.extend(reader.until("the degraded state", |message| message.is_state("degraded")));
    assert!(!seen.iter().any(|message| matches!(message.event.as_str(), "gap" | "loss")), "{seen:#?}");
    seen.extend(reader.take(usize::try_from(all).unwrap() - lines(&seen).len()));
    fs::remove_file(format!("{state}/filler")).unwrap();
    seen.extend(reader.until("the end of that", |message| message.is_state("following")));
    let all = write(1000);
    seen.extend(reader.take(usize::try_from(all).unwrap() - lines(&seen).len()));
    assert!(lines(&seen).iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).eq(0..all));
    let listed = String::from_utf8(daemon.get("/streams/app/state", &[]).2).unwrap();
    assert!(!listed.contains("degraded"), "{listed}");
    // All of it is on disk, under the ids that readers have.
    let output = Command::new(env!("CARGO_BIN_EXE_rtlogd")).args(["history", &state, "app"]).output().unwrap();
    let recorded = String::from_utf8(output.stdout).unwrap();
    let recorded: Vec<_> = recorded.lines().filter(|line| line.contains("\"text\"")).collect();
    assert_eq!(recorded.len() as u64, all);
    for at in [0, 10_000, recorded.len() - 1] {
        let line = seen.iter().filter(|message| message.is_line()).nth(at).unwrap();
        assert!(recorded[at].contains(&format!("\"{}\"", line.id)), "{line:?} {}", recorded[at]);
    }
}

#[test]
fn a_stream_without_a_state_directory_leaves_nothing() {
    let dir = TestDir::new();
    dir.write("app.log", numbered("line ", 10));
    let daemon = dir.start("streams: { app: { file: app.log, from: start } }");
    daemon.follow("app").query("tail=all").take(10);
    daemon.terminate();
    let (_, dir) = daemon.ended_by(Deadline::new());
    let mut names: Vec<_> = fs::read_dir(dir.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["app.log", "notify", "rtlogd.yaml"]);
}

/// A state directory with a history of many files, and its files, oldest first.
fn many_files() -> (TestDir, Vec<std::path::PathBuf>) {
    let dir = TestDir::new();
    dir.write("app.log", "");
    let daemon = dir.start(MANY);
    let mut reader = daemon.follow("app").query("tail=0").open();
    // One append is written into one file.
    for portion in 0..72 {
        daemon.write("app.log", from_to("a line that takes its place in a file", portion * 500..(portion + 1) * 500));
        let last = format!(" {}", (portion + 1) * 500 - 1);
        reader.until("the last line", |message| message.data.ends_with(&last));
    }
    daemon.terminate();
    let dir = daemon.ended_by(Deadline::new()).1;
    let mut files: Vec<_> =
        fs::read_dir(dir.path("state/streams/app")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 6, "{files:?}");
    (dir, files)
}

const MANY: &str =
    "state_directory: state\nhistory: { memory: 1MiB, disk: 4MiB }\nstreams: { app: { file: app.log, from: start } }";

#[test]
fn damage_in_any_file_of_a_history_is_logged_once_with_its_extent() {
    /// A change to a file, and the report about it.
    type Damage = (&'static str, fn(&Path), &'static [&'static str]);
    let table: [Damage; 8] = [
        ("a byte", |path| overwrite(path, 60_000, 1, 0xff), &["are damaged", "events after", "are lost"]),
        ("zeroes", |path| overwrite(path, 60_000, 9_000, 0), &["are damaged", "events after", "are lost"]),
        ("all of it", |path| overwrite(path, 0, usize::MAX, 0), &["bytes from 8 to", "its first", "events are lost"]),
        ("its beginning", |path| overwrite(path, 8, 200, 0), &["bytes from 8 to"]),
        ("its end", |path| cut(path, 40_001), &["events after", "are lost"]),
        ("nearly all of it", |path| cut(path, 9), &["its first", "events are lost"]),
        ("its end, overwritten", |path| overwrite(path, 60_000, usize::MAX, b'x'), &["are damaged", "events after"]),
        ("a file of something else", |path| fs::write(path, "hello\n".repeat(9000)).unwrap(), &["its first"]),
    ];
    let (mut dir, files) = many_files();
    for (what, damage, said) in table {
        for number in [0, 3] {
            let path = &files[number];
            let kept = fs::read(path).unwrap();
            damage(path);
            let daemon = dir.start(MANY);
            for _ in 0..2 {
                let all = daemon.follow("app").query("tail=all&follow=false").until_end();
                assert!(lines(&all).len() > 10_000, "{what}: what is left is read");
            }
            let logged = daemon.logged();
            let name = path.file_name().unwrap().to_str().unwrap();
            let about: Vec<_> = logged.lines().filter(|line| line.contains(name)).collect();
            for part in said {
                let count = about.iter().filter(|line| line.contains(part)).count();
                assert!(count >= 1, "{what} of file {number}: {part}: {logged}");
            }
            let distinct: std::collections::BTreeSet<_> =
                about.iter().map(|line| line.split("the history").last().unwrap()).collect();
            assert_eq!(distinct.len(), about.len(), "{what} of file {number} is logged once: {logged}");
            assert_eq!(logged.matches("the history is damaged").count(), about.len(), "no other file: {logged}");
            dir = daemon.kill();
            fs::write(path, kept).unwrap();
        }
    }
    // A file that is missing altogether.
    fs::remove_file(&files[3]).unwrap();
    let daemon = dir.start(MANY);
    daemon.follow("app").query("tail=all&follow=false").until_end();
    let logged = daemon.logged();
    assert!(
        logged.contains(files[2].file_name().unwrap().to_str().unwrap()) && logged.contains("are lost"),
        "{logged}"
    );
}

fn overwrite(path: &Path, at: usize, count: usize, byte: u8) {
    let mut bytes = fs::read(path).unwrap();
    let end = at.saturating_add(count).min(bytes.len());
    bytes[at..end].fill(byte);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn an_undamaged_history_with_a_gap_is_not_reported_as_damaged() {
    let (dir, files) = many_files();
    let mut dir = dir;
    for round in 0..3 {
        // After kill -9 a new epoch may begin, and an old file may be dropped.
        dir.write("app.log", from_to("more", round * 1000..(round + 1) * 1000));
        let daemon = dir.start(MANY);
        let all = daemon.follow("app").query("tail=all&follow=false").until_end();
        assert!(lines(&all).len() > 10_000);
        assert!(!daemon.logged().contains("damaged"), "{}", daemon.logged());
        dir = daemon.kill();
        fs::remove_file(&files[usize::try_from(round).unwrap()]).unwrap();
    }
}
