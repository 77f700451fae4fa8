//! The table of rights: what each credential gets for each right on each stream, at every address and by every method. One
//! that has no row here is a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::http::{Address, Response};
use crate::harness::ws::{Channel, Talk};
use crate::harness::{Daemon, Deadline, TestDir, sources};
use crate::tokens::{keys, token};

/// The right that an address requires.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    /// Anybody may.
    Nothing,
    /// Anybody may, and nobody is asked who it is: on the page one logs in.
    Page,
    /// A right on any stream.
    Any(Right),
    /// A right on the stream in it.
    Stream(Right),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Right {
    Read,
    Input,
    Admin,
}

use Needs::{Any, Nothing, Page, Stream};
use Right::{Admin, Input, Read};

/// Every address: as the sources write it, method, what it needs, a query or a body that is right, and the status of those
/// who may.
type Route = (&'static str, &'static str, Needs, &'static str, &'static [u8], u16);

const ADDRESSES: &[Route] = &[
    ("streams", "GET", Any(Read), "", b"", 200),
    ("streams/NAME", "GET", Stream(Read), "?follow=false", b"", 200),
    // Whoever may send lines to a process hears that it takes none; see `PUSHES`.
    ("streams/NAME", "POST", Stream(Input), "", b"x\n", 405),
    ("streams/NAME", "PUT", Stream(Input), "", b"x\n", 405),
    ("streams/NAME/poll", "GET", Stream(Read), "?tail=all&wait=0s", b"", 200),
    ("streams/NAME/state", "GET", Stream(Read), "", b"", 200),
    ("streams/NAME/runs", "GET", Stream(Read), "", b"", 200),
    ("streams/NAME/progress", "GET", Stream(Read), "", b"", 200),
    ("streams/NAME/badge.svg", "GET", Stream(Read), "", b"", 200),
    ("streams/NAME/input", "POST", Stream(Input), "", b"x\n", 200),
    ("streams/NAME/signal", "POST", Stream(Admin), "?signal=CONT", b"", 200),
    ("streams/NAME/start", "POST", Stream(Admin), "", b"", 200),
    ("streams/NAME/stop", "POST", Stream(Admin), "", b"", 200),
    ("streams/NAME/restart", "POST", Stream(Admin), "", b"", 200),
    // A handshake without its headers, and one without a token: whoever gets so far may try.
    ("control", "GET", Any(Read), "", b"", 426),
    ("echo", "GET", Any(Read), "", b"", 426),
    ("health/live", "GET", Nothing, "", b"", 200),
    ("health/ready", "GET", Nothing, "", b"", 200),
    ("login", "POST", Nothing, "", b"", 400),
    ("logout", "POST", Nothing, "", b"", 204),
    ("metrics", "GET", Any(Read), "", b"", 200),
    ("openapi.json", "GET", Any(Read), "", b"", 200),
    ("", "GET", Page, "", b"", 200),
    ("rtlogd.js", "GET", Page, "", b"", 200),
    ("embed/NAME", "GET", Page, "", b"", 200),
    ("page/NAME/NAME", "GET", Page, "", b"", 200),
];

/// The same of streams that take lines.
const PUSHES: &[Route] = &[
    ("streams/NAME", "GET", Stream(Read), "?follow=false", b"", 200),
    ("streams/NAME", "POST", Stream(Input), "", b"x\n", 200),
    ("streams/NAME", "PUT", Stream(Input), "", b"x\n", 200),
];

/// Every method of the control channel, what it needs, and its parameters beside the stream.
fn methods() -> Vec<(&'static str, Needs, Value)> {
    vec![
        ("streams.list", Any(Read), json!({})),
        ("stream.subscribe", Stream(Read), json!({})),
        // On its own subscriptions, which it could only make with the right.
        ("subscription.filter", Nothing, json!({ "subscription": 99 })),
        ("subscription.pause", Nothing, json!({ "subscription": 99 })),
        ("subscription.resume", Nothing, json!({ "subscription": 99 })),
        ("subscription.unsubscribe", Nothing, json!({ "subscription": 99 })),
        ("process.detach", Nothing, json!({ "attachment": 99 })),
        ("process.input", Stream(Input), json!({ "text": "x\n" })),
        ("process.signal", Stream(Admin), json!({ "signal": "CONT" })),
        ("process.pause", Stream(Admin), json!({})),
        ("process.resume", Stream(Admin), json!({})),
        ("process.start", Stream(Admin), json!({})),
        ("process.resize", Stream(Input), json!({ "columns": 80, "rows": 24 })),
        ("process.lease", Stream(Input), json!({ "seconds": 0 })),
        ("process.attach", Stream(Read), json!({})),
        ("process.restart", Stream(Admin), json!({})),
        ("process.stop", Stream(Admin), json!({})),
    ]
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gets {
    /// The request is carried out.
    It,
    /// The response is that of a stream that does not exist.
    NotFound,
    /// The response says that the caller has no right.
    Denied,
    /// The response asks for a token.
    Unknown,
}

use Gets::{Denied, It, NotFound, Unknown};

/// A credential, and what it gets: for each of the streams `open`, `hidden` (private) and one that is not there, what comes
/// of reading, typing and administering; and of the same without a stream.
struct Row {
    who: &'static str,
    open: [Gets; 3],
    hidden: [Gets; 3],
    absent: [Gets; 3],
    any: [Gets; 3],
}

const fn stranger(who: &'static str) -> Row {
    Row { who, open: [Unknown; 3], hidden: [Unknown; 3], absent: [Unknown; 3], any: [Unknown; 3] }
}

const ROWS: &[Row] = &[
    Row {
        who: "this machine",
        open: [It, Denied, Denied],
        hidden: [NotFound, Denied, Denied],
        absent: [NotFound, Denied, Denied],
        any: [It, Denied, Denied],
    },
    Row { who: "the owner", open: [It; 3], hidden: [It; 3], absent: [NotFound; 3], any: [It; 3] },
    stranger("another machine"),
    stranger("a proxy that names no client"),
    stranger("a proxy that names this machine"),
    stranger("a client behind a proxy who claims to be this machine"),
    stranger("a proxy on this machine that nobody trusts"),
    stranger("a proxy of the owner on the Unix socket"),
    Row {
        who: "reads open",
        open: [It, Denied, Denied],
        hidden: [NotFound, Denied, Denied],
        absent: [NotFound, Denied, Denied],
        any: [It, Denied, Denied],
    },
    Row {
        who: "reads hidden",
        open: [NotFound, Denied, Denied],
        hidden: [It, Denied, Denied],
        absent: [NotFound, Denied, Denied],
        any: [It, Denied, Denied],
    },
    Row {
        who: "types into open",
        open: [Denied, It, Denied],
        hidden: [Denied, NotFound, Denied],
        absent: [Denied, NotFound, Denied],
        any: [Denied, It, Denied],
    },
    Row {
        who: "administers open",
        open: [Denied, Denied, It],
        hidden: [Denied, Denied, NotFound],
        absent: [Denied, Denied, NotFound],
        any: [Denied, Denied, It],
    },
    Row { who: "all of open", open: [It; 3], hidden: [NotFound; 3], absent: [NotFound; 3], any: [It; 3] },
    Row { who: "all of all", open: [It; 3], hidden: [It; 3], absent: [NotFound; 3], any: [It; 3] },
    Row { who: "all of all, by a proxy", open: [It; 3], hidden: [It; 3], absent: [NotFound; 3], any: [It; 3] },
    Row {
        who: "all of all, in a URL",
        open: [It, Denied, Denied],
        hidden: [It, Denied, Denied],
        absent: [NotFound, Denied, Denied],
        any: [It, Denied, Denied],
    },
    Row { who: "all of all, in a cookie", open: [It; 3], hidden: [It; 3], absent: [NotFound; 3], any: [It; 3] },
    Row { who: "over", open: [Unknown; 3], hidden: [Unknown; 3], absent: [Unknown; 3], any: [Unknown; 3] },
    Row { who: "of others", open: [Unknown; 3], hidden: [Unknown; 3], absent: [Unknown; 3], any: [Unknown; 3] },
];

/// The address from which the trusted proxy connects.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A daemon whose processes ignore what is done to them.
fn daemon() -> Daemon {
    daemon_of("command: [cat], input: true, pty: true")
}

/// A daemon with this source as `open` and as `hidden`.
fn daemon_of(source: &str) -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    dir.start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\ntrusted_proxies: [{PROXY}]\nstreams:\n  \
         open: {{ {source} }}\n  hidden: {{ {source}, private: true }}",
    ))
}

/// The addresses of streams of files, which take no commands from those who may send them.
fn of_files() -> Vec<Route> {
    let refused = |(address, method, needs, query, body, good): &Route| match needs {
        Stream(Input | Admin) if *good == 200 => (*address, *method, *needs, *query, *body, 409),
        _ => (*address, *method, *needs, *query, *body, *good),
    };
    ADDRESSES.iter().map(refused).collect()
}

/// A daemon of files, whose stream `hidden` everybody may read; see [`turn_private`].
fn daemon_of_files() -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    for stream in ["open", "hidden"] {
        fs::create_dir(dir.path(stream)).unwrap();
        dir.write(&format!("{stream}/a.log"), "one\n");
    }
    let daemon = dir.start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\ntrusted_proxies: [{PROXY}]\nstreams:\n  \
         open: {{ file: \"open/*.log\", from: start }}\n  hidden: {{ file: \"hidden/*.log\", from: start }}",
    ));
    daemon.follow("hidden").query("tail=all").until("its line", |message| message.data == "one");
    daemon
}

/// Lets the stream `hidden` read a file that not everybody may read.
fn turn_private(daemon: &Daemon) {
    daemon.write("new", "two\n");
    fs::set_permissions(daemon.path("new"), Permissions::from_mode(0o600)).unwrap();
    daemon.rename("new", "hidden/b.log");
    Deadline::new()
        .until("it is private", || (daemon.follow("hidden").query("follow=false").status() == 404).then_some(()));
}

/// A daemon whose process `hidden` was private before it was started again, and is not configured so any more.
fn daemon_that_was_private() -> Daemon {
    let dir = TestDir::new();
    keys(&dir, "keys");
    let yaml = |private: &str| {
        let source = "command: [cat], input: true, pty: true";
        format!(
            "state_directory: state\nlisten: [\"127.0.0.1:0\", \"unix:control.sock\"]\naccess: {{ keys: keys }}\n\
             trusted_proxies: [{PROXY}]\nstreams:\n  open: {{ {source} }}\n  hidden: {{ {source}{private} }}",
        )
    };
    let daemon = dir.start(&yaml(", private: true"));
    Deadline::new().until("its first event", || {
        let state = Response::get(daemon.unix(), "/streams/hidden/state", &[]).body.all();
        (serde_json::from_slice::<Value>(&state).unwrap()["source"]["state"] == "running").then_some(())
    });
    daemon.terminate();
    daemon.ended_by(Deadline::new()).1.start(&yaml(""))
}

/// The way of a request: its socket, its header, and its query.
struct Asks {
    address: Address,
    headers: Vec<(&'static str, String)>,
    query: Option<String>,
}

fn credentials(daemon: &Daemon) -> BTreeMap<&'static str, Asks> {
    let foreign = TestDir::new();
    keys(&foreign, "keys");
    let bearer = |token: String| vec![("Authorization", format!("Bearer {token}"))];
    let tcp = |headers| Asks { address: daemon.address().clone(), headers, query: None };
    let unix = |headers| Asks { address: daemon.unix().clone(), headers, query: None };
    let proxy = |headers: &[(&'static str, &str)]| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Asks { address: Address::TcpFrom(PROXY, daemon.address().tcp()), headers, query: None }
    };
    let ours = |arguments: &[&str]| token(daemon, "keys", arguments);
    let all = ours(&["--stream", "*", "--allow", "read,input,admin", "--expires", "1h"]);
    BTreeMap::from([
        ("this machine", tcp(vec![])),
        ("the owner", unix(vec![])),
        ("another machine", proxy(&[("X-Forwarded-For", "203.0.113.9")])),
        ("a proxy that names no client", proxy(&[])),
        ("a proxy that names this machine", proxy(&[("X-Forwarded-For", "127.0.0.1")])),
        (
            "a client behind a proxy who claims to be this machine",
            proxy(&[("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=127.0.0.1")]),
        ),
        ("a proxy on this machine that nobody trusts", tcp(vec![("X-Real-IP", "127.0.0.1".to_owned())])),
        ("a proxy of the owner on the Unix socket", unix(vec![("X-Forwarded-For", "203.0.113.9".to_owned())])),
        (
            "all of all, by a proxy",
            proxy(&[("X-Forwarded-For", "203.0.113.9"), ("Authorization", &format!("Bearer {all}"))]),
        ),
        ("reads open", tcp(bearer(ours(&["--stream", "open"])))),
        ("reads hidden", tcp(bearer(ours(&["--stream", "hid*"])))),
        ("types into open", tcp(bearer(ours(&["--stream", "open", "--allow", "input"])))),
        ("administers open", tcp(bearer(ours(&["--stream", "open", "--allow", "admin"])))),
        ("all of open", tcp(bearer(ours(&["--stream", "open", "--allow", "read,input,admin"])))),
        ("all of all", tcp(bearer(all.clone()))),
        ("all of all, in a URL", Asks { query: Some(all.clone()), ..tcp(vec![]) }),
        ("all of all, in a cookie", tcp(vec![("Cookie", format!("a=b; rtlogd={all}")), ("Origin", daemon.url(""))])),
        ("over", tcp(bearer(ours(&["--stream", "*", "--allow", "read,input,admin", "--expires", "0s"])))),
        ("of others", tcp(bearer(token(&foreign, "keys", &["--stream", "*", "--allow", "read,input,admin"])))),
    ])
}

impl Row {
    fn gets(&self, needs: Needs, stream: &str) -> Gets {
        let by_right = |column: &[Gets; 3], right| match right {
            Read => column[0],
            Input => column[1],
            Admin => column[2],
        };
        match (needs, stream) {
            (Nothing | Page, _) => It,
            (Any(right), _) => by_right(&self.any, right),
            (Stream(right), "open") => by_right(&self.open, right),
            (Stream(right), "hidden") => by_right(&self.hidden, right),
            (Stream(right), _) => by_right(&self.absent, right),
        }
    }
}

fn ask(asks: &Asks, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let path = match &asks.query {
        Some(token) => format!("{path}{}access_token={token}", if path.contains('?') { "&" } else { "?" }),
        None => path.to_owned(),
    };
    let headers: Vec<_> = asks.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = Response::request(&asks.address, method, &path, &headers, body);
    (response.status, response.body.all())
}

#[test]
fn every_address_gives_each_caller_what_it_may_see() {
    each_gets_what_is_its_own(&daemon(), ADDRESSES);
}

#[test]
fn every_address_gives_each_caller_what_it_may_see_after_a_stream_turned_private() {
    let daemon = daemon_of_files();
    turn_private(&daemon);
    each_gets_what_is_its_own(&daemon, &of_files());
    each_gets_what_is_its_own(&daemon_that_was_private(), ADDRESSES);
}

#[test]
fn lines_are_accepted_from_callers_with_the_right_to_send() {
    each_gets_what_is_its_own(&daemon_of("push: true"), PUSHES);
}

/// The address of a part of the page, as the page has it.
fn part(daemon: &Daemon) -> String {
    let page = String::from_utf8(daemon.get("/", &[]).2).unwrap();
    let part = page.split('"').find(|text| text.ends_with("/page.css")).unwrap();
    part.trim_start_matches(['.', '/']).to_owned()
}

fn each_gets_what_is_its_own(daemon: &Daemon, addresses: &[Route]) {
    let credentials = credentials(daemon);
    assert_eq!(credentials.len(), ROWS.len());
    let part = part(daemon);
    let mut looked = 0;
    for row in ROWS {
        let asks = &credentials[row.who];
        for (address, method, needs, query, body, good) in addresses {
            for stream in ["open", "hidden", "absent"] {
                // A process that was stopped by the row before runs again.
                ask(&credentials["the owner"], "POST", &format!("/streams/{stream}/start"), b"");
                let path = format!("/{}{query}", address.replace("page/NAME/NAME", &part).replace("NAME", stream));
                let (status, answer) = ask(asks, method, &path, body);
                let expected = match row.gets(*needs, stream) {
                    It => *good,
                    NotFound => 404,
                    Denied => 403,
                    Unknown => 401,
                };
                // Whoever shows what does not count is told so even where nothing is needed.
                let expected =
                    if *needs == Nothing && ["over", "of others"].contains(&row.who) { 401 } else { expected };
                let answer = String::from_utf8_lossy(&answer);
                assert_eq!(status, expected, "{}: {method} {path}: {answer}", row.who);
                if ["streams", "metrics"].contains(address) && status == 200 {
                    for stream in ["open", "hidden"] {
                        let shown = answer.contains(&format!("\"{stream}\""));
                        assert_eq!(shown, row.gets(Stream(Read), stream) == It, "{}: {stream} in {answer}", row.who);
                    }
                }
                // The response for a stream of others is that for a missing one, to the letter.
                if stream == "hidden" && row.gets(*needs, stream) == NotFound {
                    let path = path.replace("hidden", "absent");
                    let (absent_status, absent) = ask(asks, method, &path, body);
                    let absent = String::from_utf8_lossy(&absent).replace("absent", "hidden");
                    assert_eq!((status, &*answer), (absent_status, &*absent), "{}: {method} {path}", row.who);
                }
                looked += 1;
            }
        }
    }
    assert_eq!(looked, ROWS.len() * addresses.len() * 3);
}

#[test]
fn every_method_does_for_each_caller_what_it_may_do() {
    each_method_does_what_is_its_own(&daemon(), None, |_| {});
    each_method_does_what_is_its_own(&daemon_that_was_private(), None, |_| {});
}

#[test]
fn every_method_does_for_each_caller_what_it_may_do_after_a_stream_turned_private() {
    // The channels are open by then.
    each_method_does_what_is_its_own(&daemon_of_files(), Some(-32003), turn_private);
}

/// Asks for all methods, on channels that were open before the `turn`. What is done by those who may ends with the code `good`.
fn each_method_does_what_is_its_own(daemon: &Daemon, good: Option<i64>, turn: impl FnOnce(&Daemon)) {
    let credentials = credentials(daemon);
    let mut channels = BTreeMap::new();
    for row in ROWS {
        let asks = &credentials[row.who];
        // The caller gets no channel: see the row of `control` above.
        if row.any[0] != It {
            continue;
        }
        let headers: Vec<_> = asks.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let query = asks.query.as_ref().map_or_else(String::new, |token| format!("?access_token={token}"));
        channels.insert(row.who, Channel::open_with(&asks.address, &format!("/control{query}"), &headers));
    }
    turn(daemon);
    for row in ROWS {
        let Some(channel) = channels.get_mut(row.who) else { continue };
        for (method, needs, parameters) in methods() {
            for stream in ["open", "hidden", "absent"] {
                ask(&credentials["the owner"], "POST", &format!("/streams/{stream}/start"), b"");
                let mut parameters = parameters.clone();
                if matches!(needs, Stream(_)) {
                    parameters["stream"] = json!(stream);
                }
                let id = channel.ask(method, &parameters);
                let reply = channel.reply(id);
                let code = reply["error"]["code"].as_i64();
                let expected = match row.gets(needs, stream) {
                    // The subscription 99 does not exist.
                    It if needs == Nothing => Some(-32001),
                    // A lease is of a stream, whatever it is.
                    It if method.starts_with("process.") && method != "process.lease" => good,
                    It => None,
                    NotFound => Some(-32001),
                    Denied | Unknown => Some(-32002),
                };
                assert_eq!(code, expected, "{}: {method} {parameters}: {reply}", row.who);
            }
        }
    }
}

/// All texts behind `begin` up to `end` in the source at `path`, or in all sources below it.
fn quoted(path: &Path, begin: &str, end: char, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            quoted(&entry.unwrap().path(), begin, end, found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).unwrap();
        found.extend(text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())));
    }
}

#[test]
fn every_address_and_every_method_has_its_row() {
    // The constructors of rows, so that none is missed here.
    let mut kinds = BTreeSet::new();
    quoted(&sources("src/http/router.rs"), "pub(super) const fn ", '(', &mut kinds);
    assert!(kinds.len() > 1 && kinds.contains("get"), "{kinds:?}");
    let mut written = BTreeSet::new();
    for kind in &kinds {
        quoted(&sources("src/http"), &format!(" Route::{kind}("), ',', &mut written);
    }
    let addresses: BTreeSet<String> =
        written.iter().map(|path| path.trim().trim_matches('"').trim_start_matches('/').to_owned()).collect();
    let rows: BTreeSet<String> = ADDRESSES.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(addresses, rows, "each address has a row in this table");
    // A route that is matched in another way would be missed here.
    let mut others = BTreeSet::new();
    quoted(&sources("src/http"), "warp::path", ')', &mut others);
    assert!(others.iter().all(|other| other == "::full(" || other.starts_with("::FullPath;")), "{others:?}");

    let schema = TestDir::new().execute(&["schema", "control"]);
    let text = String::from_utf8(schema.out).unwrap();
    for (method, _, _) in methods() {
        assert!(text.contains(&format!("\"{method}\"")), "{method} is in the table and not in the schema");
    }
    let source = fs::read_to_string(sources("src/wire/message/requests.rs")).unwrap();
    let known: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "))
        .map(|pair| pair.0)
        .collect();
    let rows: BTreeSet<_> = methods().into_iter().map(|row| row.0).collect();
    assert_eq!(known, rows, "each method has a row in this table");
}
