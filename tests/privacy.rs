//! Streams that turn private: whoever may not read them reads nothing of what comes then, in no way, and not after a restart.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::http::{Address, Response};
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, TestDir};
use crate::openapi::routes;
use crate::tokens::{keys, token};

const SECRET: &str = "the secret line";

/// A pattern that finds a public file, and another stream that stays public.
const STREAMS: &str = "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: { keys: keys }\nstreams:\n  \
    s: { file: \"logs/*.log\", from: start }\n  other: { file: other.log, from: start }\n";

fn dir() -> TestDir {
    let dir = TestDir::new();
    keys(&dir, "keys");
    fs::create_dir(dir.path("logs")).unwrap();
    dir.write("logs/public.log", "one\n");
    dir.write("other.log", "other\n");
    dir
}

/// A daemon whose stream `s` has shown the line that everybody may read.
fn daemon() -> Daemon {
    let daemon = dir().start(STREAMS);
    daemon.follow("s").query("tail=all").until("one", |message| message.data == "one");
    daemon
}

/// Lets the pattern find a file that not everybody may read.
fn turn_private(dir: &TestDir) {
    dir.write("new", format!("{SECRET}\n"));
    fs::set_permissions(dir.path("new"), Permissions::from_mode(0o600)).unwrap();
    dir.rename("new", "logs/secret.log");
}

/// Waits until the daemon has read the secret: its owner sees it.
fn read_by_owner(daemon: &Daemon) {
    Deadline::new().until("the secret", || {
        let all = Response::get(daemon.unix(), "/streams/s?tail=all&follow=false&format=text", &[]).body.all();
        String::from_utf8_lossy(&all).contains(SECRET).then_some(())
    });
}

#[test]
fn bodies_of_clients_without_a_token_end_before_the_first_private_line() {
    let daemon = daemon();
    let bearer = format!("Bearer {}", token(&daemon, "keys", &["--stream", "s", "--expires", "1h"]));
    let session = "session=0123456789abcdef";
    let paths = [
        "/streams/s?tail=all".to_owned(),
        "/streams/s?tail=all&data=json".to_owned(),
        "/streams/s?tail=all&format=ndjson".to_owned(),
        "/streams/s?tail=all&format=text".to_owned(),
        "/streams/s?grep=e".to_owned(),
        "/streams/s?tail=all&where=none!=1".to_owned(),
        format!("/streams/s?tail=all&{session}"),
        "/streams?stream=s".to_owned(),
        "/streams?stream=s&format=ndjson".to_owned(),
    ];
    let readers: Vec<_> = paths.iter().map(|path| (path, daemon.request(path).response())).collect();
    let both = daemon.request("/streams?stream=s&stream=other&tail=all").open();
    let proven = daemon.follow("s").query("tail=all").header("Authorization", &bearer).open();
    let mut owner = Response::get(daemon.unix(), "/streams/s?tail=all", &[]);
    turn_private(&daemon);
    for (path, reader) in readers {
        assert_eq!(reader.status, 200, "{path}");
        // The end of the body is what is waited for.
        let body = String::from_utf8(reader.body.all()).unwrap();
        assert!(body.contains("one") && !body.contains(SECRET), "{path}: {body}");
        assert!(body.contains("the stream has become private"), "{path}: {body}");
        assert!(body.contains("denied") || path.ends_with("text"), "{path}: {body}");
    }
    // Of several streams on one connection, only this one ends.
    let mut both = both;
    let denied = both.until("its end", |message| message.event == "denied");
    let last = denied.last().unwrap().json();
    assert_eq!((&last["stream"], denied.iter().any(|message| message.data.contains(SECRET))), (&json!("s"), false));
    daemon.write("other.log", "more\n");
    let more = both.until("more", |message| message.data.contains("more"));
    assert!(!more.iter().any(|message| message.data.contains(SECRET)), "{more:#?}");
    // Those who prove that they may read it go on.
    let mut proven = proven;
    proven.until("the secret", |message| message.data == SECRET);
    Deadline::new().until("the secret", || {
        let some = owner.body.some(Deadline::new()).unwrap().unwrap();
        String::from_utf8_lossy(&some).contains(SECRET).then_some(())
    });
}

#[test]
fn a_waiting_poll_of_a_stream_turned_private_is_not_found() {
    let daemon = daemon();
    let last = daemon.follow("s").query("tail=all").open().until("one", |message| message.data == "one");
    let id = last.last().unwrap().id.clone();
    let address = daemon.address().clone();
    let polls: Vec<_> = (0..4)
        .map(|_| {
            let (address, id) = (address.clone(), id.clone());
            std::thread::spawn(move || {
                let answer = Response::get(&address, &format!("/streams/s/poll?after={id}&wait=50s"), &[]);
                (answer.status, String::from_utf8(answer.body.all()).unwrap())
            })
        })
        .collect();
    daemon.until_readers("s", 4);
    turn_private(&daemon);
    for poll in polls {
        let (status, body) = poll.join().unwrap();
        assert!(!body.contains(SECRET), "{body}");
        assert_eq!(status, 404, "{body}");
    }
}

#[test]
fn readers_controlled_over_the_channel_end_too() {
    let daemon = daemon();
    let session = "0123456789abcdef";
    let mut channel = Channel::open(daemon.address());
    let paused = daemon.follow("s").query(&format!("tail=all&session={session}")).response();
    let followed = channel.subscribe(&json!({ "stream": "s", "tail": "all" }));
    let held = channel.subscribe(&json!({ "stream": "s", "tail": "all" }));
    while !channel.told().to_string().contains("\"one\"") {}
    channel.call("subscription.pause", &json!({ "subscription": held }));
    channel.call("subscription.pause", &json!({ "session": session }));
    turn_private(&daemon);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let told = channel.told();
        assert!(!told.to_string().contains(SECRET), "{told}");
        if told["method"] == "subscription.ended" {
            assert!(told["params"]["reason"].as_str().unwrap().contains("private"), "{told}");
            ended.push(told["params"]["subscription"].as_u64().unwrap());
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [followed, held]);
    // The subscriptions have ended, so none is left to be resumed or rewound.
    for method in ["subscription.filter", "subscription.resume"] {
        for of in [json!({ "subscription": followed }), json!({ "session": session })] {
            let mut params = of;
            if method == "subscription.filter" {
                params["from"] = json!({ "tail": "all" });
            }
            assert_eq!(channel.refused(method, &params).0, -32001, "{method} {params}");
        }
    }
    let body = String::from_utf8(paused.body.all()).unwrap();
    assert!(!body.contains(SECRET) && body.contains("become private"), "{body}");
    assert_eq!(channel.refused("stream.subscribe", &json!({ "stream": "s" })).0, -32001);
    let listed = channel.call("streams.list", &json!({}));
    assert_eq!(listed["streams"].as_array().unwrap().len(), 1, "{listed}");
    assert!(channel.told_before().iter().all(|told| !told.to_string().contains(SECRET)));
}

#[test]
fn nothing_reveals_a_stream_that_turned_private() {
    let daemon = daemon();
    turn_private(&daemon);
    read_by_owner(&daemon);
    for path in [
        "/streams/s",
        "/streams/s?tail=all&follow=false",
        "/streams?stream=s",
        "/streams/s/poll?tail=all",
        "/streams/s/state",
        "/streams/s/progress",
        "/streams/s/runs",
        "/streams/s/badge.svg",
    ] {
        assert_eq!(daemon.request(path).status(), 404, "{path}");
        assert_eq!(Response::get(daemon.unix(), path, &[("Via", "1.1 proxy")]).status, 401, "{path} by a proxy");
    }
    for path in ["/streams", "/metrics"] {
        let (status, _, body) = daemon.get(path, &[]);
        let body = String::from_utf8(body).unwrap();
        assert!(status == 200 && body.contains("\"other\"") && !body.contains("\"s\""), "{path}: {body}");
    }
    // A browser that comes back is let go.
    assert_eq!(daemon.follow("s").last_event_id("mib3k2x9-1").status(), 204);
}

#[test]
fn no_route_distinguishes_a_private_stream_from_one_that_does_not_exist() {
    let daemon = daemon();
    let answer = |method: &str, route: &str, name: &str| {
        let path = route.replacen("{}", name, 1).replace("{}", "x");
        let answer = Response::request(daemon.address(), method, &path, &[], b"");
        let body = String::from_utf8(answer.body.all()).unwrap();
        // The name that was asked for is in the answer, in a text and as a member.
        let body = body.replace(&format!("\\\"{name}\\\""), "NAME");
        (answer.status, body.replace(&format!("\"unknown_stream\":\"{name}\""), "NAME"))
    };
    let reveals =
        |body: &str| ["\"name\":\"s\"", "stream=\"s\"", SECRET].into_iter().any(|revealing| body.contains(revealing));
    for route in ["/streams", "/metrics"] {
        assert!(reveals(&answer("GET", route, "").1), "{route} has the stream while it is public");
    }
    turn_private(&daemon);
    read_by_owner(&daemon);
    for route in routes() {
        for method in ["GET", "POST"] {
            let (private, absent) = (answer(method, &route, "s"), answer(method, &route, "t"));
            assert!(!reveals(&private.1), "{method} {route}: {}", private.1);
            if route.contains("{}") {
                assert_eq!(private, absent, "{method} {route}");
            }
        }
    }
}

#[test]
fn readers_that_keep_connecting_see_no_private_line() {
    let daemon = dir().start(STREAMS);
    let address = daemon.address().clone();
    let hammer = |path: &'static str| {
        let address: Address = address.clone();
        std::thread::spawn(move || {
            let deadline = Deadline::new();
            let mut open = 0;
            while deadline.left().is_some() {
                let answer = Response::get(&address, path, &[]);
                let status = answer.status;
                let body = String::from_utf8(answer.body.all()).unwrap();
                assert!(!body.contains(SECRET), "{path}: {body}");
                if status == 404 {
                    return open;
                }
                open += 1;
            }
            panic!("{path} is never refused");
        })
    };
    let paths = [
        "/streams/s?tail=all&follow=false",
        "/streams/s/poll?tail=all&wait=0s",
        "/streams/s?tail=all&follow=false&format=ndjson",
    ];
    let hammers: Vec<_> = paths.into_iter().map(hammer).collect();
    daemon.follow("s").until("one", |message| message.data == "one");
    turn_private(&daemon);
    for hammer in hammers {
        hammer.join().unwrap();
    }
}

const RECORDED: &str = "state_directory: state\n";

/// The status that a stranger gets for all lines of `s`, and the text that the owner gets.
fn seen(daemon: &Daemon) -> (u16, String) {
    let path = "/streams/s?tail=all&follow=false&format=text";
    let all = Response::get(daemon.unix(), path, &[]).body.all();
    (daemon.request(path).status(), String::from_utf8(all).unwrap())
}

#[test]
fn a_stream_stays_private_after_a_restart_although_its_file_is_gone() {
    for killed in [false, true] {
        let dir = dir();
        let mut daemon = dir.start(&format!("{RECORDED}{STREAMS}"));
        turn_private(&daemon);
        read_by_owner(&daemon);
        // Of the file, then of the directory, then of the history's newest file.
        for round in 0..3 {
            let dir = if killed {
                daemon.kill()
            } else {
                daemon.terminate();
                daemon.ended_by(Deadline::new()).1
            };
            if round == 0 {
                fs::remove_file(dir.path("logs/secret.log")).unwrap();
            }
            daemon = dir.start(&format!("{RECORDED}{STREAMS}"));
            let (status, all) = seen(&daemon);
            assert!(all.contains(SECRET), "{all}");
            assert_eq!(status, 404, "killed: {killed}, restart {round}");
            daemon.write("logs/public.log", format!("more {round}\n"));
            Deadline::new().until("the next line", || seen(&daemon).1.contains(&format!("more {round}")).then_some(()));
        }
        assert!(daemon.logged().contains("stays private"), "{}", daemon.logged());
    }
}

/// The configuration of a stream of pushed lines or of a command, and whether strangers may read it.
#[test]
fn only_private_false_makes_a_stream_public_again() {
    let table = [
        ("s: { push: true, private: true }", 404),
        ("s: { push: true }", 404),
        ("s: { file: \"logs/*.log\", from: start }", 404),
        ("s: { command: [cat] }", 404),
        ("s: { push: true, private: false }", 200),
        ("s: { push: true }", 200),
        ("s: { journal: {} }", 404),
        ("s: { push: true }", 404),
    ];
    let mut dir = dir();
    for (stream, expected) in table {
        let yaml = format!(
            "{RECORDED}listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\nstreams:\n  {stream}\n"
        );
        let daemon = dir.start(&yaml);
        if stream.contains("push") {
            assert_eq!(Response::request(daemon.unix(), "POST", "/streams/s", &[], b"line\n").status, 200);
        }
        assert_eq!(seen(&daemon).0, expected, "{stream}");
        if stream.contains("journal") {
            // A stream is not listed before its source has reported something.
            Deadline::new().until("a state", || {
                let state = Response::get(daemon.unix(), "/streams/s/state", &[]).body.all();
                (!serde_json::from_slice::<Value>(&state).unwrap()["source"].is_null()).then_some(())
            });
        }
        daemon.terminate();
        dir = daemon.ended_by(Deadline::new()).1;
    }
    let held = dir.execute(&["history", "state"]);
    assert!(String::from_utf8(held.out).unwrap().contains("  private"), "what it holds says so");
}
