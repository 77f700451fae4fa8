//! Processes driven through the control channel and by POST: by our own client, and by two of other people at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::clients::{chromium_by, python_by};
use crate::harness::http::Address;
use crate::harness::ws::{Channel, Talk, Talked};
use crate::harness::{Daemon, Deadline, TestDir};

/// A browser starts slowly.
const CLIENT: Duration = Duration::from_mins(1);

const CURSES: &str = "import curses
def main(screen):
    while True:
        key = screen.getkey()
        screen.clear()
        screen.addstr(0, 0, 'you pressed ' + key * 3)
        screen.refresh()
curses.wrapper(main)";

/// A daemon with processes that take input, on a Unix socket.
fn daemon() -> Daemon {
    let dir = TestDir::new();
    dir.write("keys.py", CURSES);
    dir.start(
        r#"
listen: ["127.0.0.1:0", "unix:control.sock"]
streams:
  cat: { command: [cat], input: true }
  deaf: { command: [sleep, "1000"], input: true }
  closed: { command: [cat] }
  bash: { command: [bash, --norc, --noprofile], input: true, pty: true }
  python: { command: [python3, -i, -q], input: true, pty: true, environment: { TERM: dumb, PYTHON_BASIC_REPL: "1" } }
  ask: { command: [bash, -c, 'while read -r -p "name? " name; do echo "hello, $name"; done'], input: true, pty: true }
  curses: { command: [python3, keys.py], input: true, pty: true, environment: { TERM: xterm } }
"#,
    )
}

fn line(stream: &str, text: &str) -> Value {
    json!({ "stream": stream, "text": format!("{text}\n") })
}

/// Waits for a line of the subscription that is `expected`, whatever stands before it.
fn see(talk: &mut impl Talk, subscription: u64, expected: &str) {
    loop {
        let events = talk.until("stream.events");
        if events["subscription"] == subscription {
            let seen = |event: &Value| event["text"].as_str().is_some_and(|text| text.ends_with(expected));
            if events["events"].as_array().unwrap().iter().any(seen) {
                return;
            }
        }
    }
}

/// Waits until the attachment's output holds `expected`.
fn draw(talk: &mut impl Talk, attachment: u64, expected: &str) {
    let mut drawn = Vec::new();
    loop {
        let output = talk.until("process.output");
        if output["attachment"] == attachment {
            drawn.extend(base64::engine::general_purpose::STANDARD.decode(output["base64"].as_str().unwrap()).unwrap());
            if String::from_utf8_lossy(&drawn).contains(expected) {
                return;
            }
        }
    }
}

/// Waits until it is told that the lease of `stream` is held as `is` says.
fn until_leased(talk: &mut impl Talk, stream: &str, is: impl Fn(&Value) -> bool) {
    loop {
        let leased = talk.until("process.leased");
        if leased["stream"] == stream && is(&leased["holder"]) {
            return;
        }
    }
}

#[test]
fn typed_input_arrives_in_order_until_the_input_ends() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.unix());
    let cat = channel.subscribe(&json!({ "stream": "cat", "tail": 0 }));
    // Without waiting for replies: the order stays.
    let asks: Vec<_> = (0..20).map(|number| channel.ask("process.input", &line("cat", &number.to_string()))).collect();
    for id in asks {
        assert!(channel.reply(id)["result"]["bytes"].as_u64().is_some());
    }
    assert_eq!(channel.lines(cat, 20), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    let bytes = json!({ "stream": "cat", "base64": "/w0K", "eof": true });
    assert_eq!(channel.call("process.input", &bytes)["bytes"], 3);
    assert_eq!(channel.lines(cat, 1), ["\u{fffd}"]);
    assert_eq!(channel.refused("process.input", &line("cat", "more")).0, -32003);
    assert_eq!(channel.refused("process.input", &line("closed", "x")).0, -32003);
}

#[test]
fn scripts_control_a_process_with_post_requests() {
    let daemon = daemon();
    let unix = daemon.unix();
    let body = |path: &str, body: &[u8]| {
        let response = unix.post(path, body);
        (response.status, serde_json::from_slice::<Value>(&response.body.all()).unwrap())
    };
    let mut reader = daemon.follow("cat").query("tail=all").open();
    assert_eq!(body("/streams/cat/input", b"one\ntwo\n"), (200, json!({ "bytes": 8 })));
    assert_eq!(reader.take(2)[1].data, "two");
    assert_eq!(body("/streams/cat/input?eof=true", b"three"), (200, json!({ "bytes": 5 })));
    assert_eq!(reader.take(1)[0].data, "three");
    let end = reader.until("the end", |message| message.event == "end").pop().unwrap();
    assert_eq!(end.json()["code"], 0);
    assert_eq!(body("/streams/cat/start", b"").0, 200);
    reader.until("the next run", |message| message.is_state("running"));
    assert_eq!(body("/streams/cat/start", b""), (200, json!({ "already": true })));
    assert_eq!(body("/streams/cat/signal?signal=KILL", b""), (200, json!({ "already": false })));
    let end = reader.until("the end", |message| message.event == "end").pop().unwrap();
    assert_eq!(end.json()["signal"], "KILL");
    assert_eq!(body("/streams/deaf/restart", b"").0, 200);
    assert_eq!(body("/streams/deaf/stop", b"").0, 200);
    assert_eq!(body("/streams/deaf/stop", b""), (200, json!({ "already": true })));
    for (path, sent, status) in [
        ("/streams/closed/input", &b"x"[..], 409),
        ("/streams/deaf/input", b"x", 409),
        ("/streams/cat/input", b"", 400),
        ("/streams/cat/input?eof=maybe", b"x", 400),
        ("/streams/cat/signal", b"", 400),
        ("/streams/cat/signal?signal=NOPE", b"", 400),
        ("/streams/bash/start?now=1", b"", 400),
        ("/streams/bash/start", b"x", 400),
        ("/streams/nope/start", b"", 404),
    ] {
        assert_eq!(unix.post(path, sent).status, status, "{path}");
    }
    let large = unix.post("/streams/bash/input", &vec![b'x'; 65 << 10]);
    assert_eq!(large.status, 413);
}

#[test]
fn a_line_that_the_terminal_would_cut_is_refused() {
    let script = "stty -echo; echo ready; while read -r line; do echo got ${#line}; done";
    let keys = "pty: true, input: true";
    let daemon = Daemon::start(&format!(
        "listen: [\"127.0.0.1:0\", \"unix:r.sock\"]\nstreams:\n  p: {{ command: [bash, -c, {script:?}], {keys} }}\n  raw: {{ command: [bash, -c, 'stty raw -echo; echo ready; exec head -c 5000 | wc -c'], {keys} }}\n  pipe: {{ command: [wc, -L], input: true }}"
    ));
    let type_in = |stream: &str, text: &[u8]| {
        let response = daemon.unix().post(&format!("/streams/{stream}/input"), text);
        (response.status, String::from_utf8_lossy(&response.body.all()).into_owned())
    };
    let line = |size: usize| vec![b'x'; size];
    let mut reader = daemon.follow("p").query("tail=all").open();
    assert_eq!(reader.take(1)[0].data, "ready");
    let longest = [line(4095), b"\n".to_vec()].concat();
    assert_eq!(type_in("p", &longest).0, 200);
    assert_eq!(reader.take(1)[0].data, "got 4095");
    let refused = type_in("p", &[line(4096), b"\n".to_vec()].concat());
    assert!(refused.0 == 413 && refused.1.contains("longer than 4095 bytes"), "{refused:?}");
    // Nothing of the refused line was typed. Two pieces of a line are one line.
    assert_eq!(type_in("p", &line(3000)).0, 200);
    assert_eq!(type_in("p", &line(1096)).0, 413);
    assert_eq!(type_in("p", &[line(1095), b"\n".to_vec()].concat()).0, 200);
    assert_eq!(reader.take(1)[0].data, "got 4095");
    // Several lines at once are checked one by one.
    assert_eq!(type_in("p", &[longest.clone(), b"ab\n".to_vec()].concat()).0, 200);
    assert_eq!(reader.take(2)[1].data, "got 2");
    // Ctrl-U discards what was typed.
    assert_eq!(type_in("p", &[line(4000), vec![0x15], line(4000), b"\n".to_vec()].concat()).0, 200);
    assert_eq!(reader.take(1)[0].data, "got 4000");
    // Neither a program that reads single keys nor a pipe has such a limit.
    let mut reader = daemon.follow("raw").query("tail=all").open();
    assert_eq!(reader.take(1)[0].data, "ready");
    assert_eq!(type_in("raw", &line(5000)).0, 200);
    assert_eq!(reader.take(1)[0].data, "5000");
    assert_eq!(type_in("pipe", &line(5000)).0, 200);
}

#[test]
fn one_client_types_at_a_time_and_all_see_which() {
    let daemon = daemon();
    let (mut first, mut second) = (Channel::open(daemon.unix()), Channel::open(daemon.unix()));
    let mut reads = Channel::open(daemon.address());
    reads.subscribe(&json!({ "stream": "cat", "tail": 0 }));
    let (_, sees) = (
        first.subscribe(&json!({ "stream": "cat", "tail": 0 })),
        second.subscribe(&json!({ "stream": "cat", "tail": 0 })),
    );
    let lease = |seconds: u32| json!({ "stream": "cat", "seconds": seconds });
    assert_eq!(first.call("process.lease", &lease(600))["yours"], true);
    until_leased(&mut first, "cat", |holder| holder["yours"] == true);
    until_leased(&mut second, "cat", |holder| holder["yours"] == false && holder["seconds"].as_f64().unwrap() > 500.0);
    until_leased(&mut reads, "cat", |holder| holder["peer"].as_str().unwrap().contains("uid"));
    let (code, detail) = second.refused("process.input", &line("cat", "mine"));
    assert!(code == -32004 && detail.contains("lease"), "{code} {detail}");
    assert_eq!(second.refused("process.lease", &lease(5)).0, -32004);
    assert_eq!(daemon.unix().post("/streams/cat/input", b"mine\n").status, 409);
    first.call("process.input", &line("cat", "first's"));
    see(&mut second, sees, "first's");
    // Given back, all may; taken by the other, the first may not; over by time, all may; and who is gone holds nothing.
    first.call("process.lease", &lease(0));
    until_leased(&mut reads, "cat", Value::is_null);
    assert_eq!(second.call("process.lease", &lease(1))["yours"], true);
    assert_eq!(first.refused("process.input", &line("cat", "x")).0, -32004);
    until_leased(&mut second, "cat", |holder| holder["yours"] == true);
    until_leased(&mut second, "cat", Value::is_null);
    first.call("process.input", &line("cat", "again"));
    see(&mut second, sees, "again");
    first.call("process.lease", &lease(600));
    until_leased(&mut second, "cat", |holder| holder["yours"] == false);
    drop(first);
    until_leased(&mut second, "cat", Value::is_null);
    second.call("process.input", &line("cat", "second's"));
    see(&mut second, sees, "second's");
    assert_eq!(second.refused("process.lease", &lease(3601)).0, -32602);
}

#[test]
fn all_attached_clients_receive_the_terminal_output_unchanged() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.unix());
    let bash = channel.call("process.attach", &json!({ "stream": "bash" }))["attachment"].as_u64().unwrap();
    channel.call("process.resize", &json!({ "stream": "bash", "rows": 50, "columns": 132 }));
    channel.call("process.input", &line("bash", "stty size; printf '\\033[31mred\\033[0m\\n'"));
    draw(&mut channel, bash, "50 132");
    channel.call("process.input", &line("bash", "printf '\\033[31m%s\\033[0m\\n' RE''D"));
    draw(&mut channel, bash, "\u{1b}[31mRED\u{1b}[0m\r\n");
    let eight: Vec<_> = (0..7).map(|_| channel.call("process.attach", &json!({ "stream": "bash" }))).collect();
    assert_eq!(channel.refused("process.attach", &json!({ "stream": "bash" })).0, -32006);
    channel.call("process.detach", &eight[0]);
    assert_eq!(channel.refused("process.detach", &eight[0]).0, -32001);
    assert_eq!(channel.refused("process.attach", &json!({ "stream": "cat" })).0, -32003, "it has no terminal");
    channel.call("process.input", &line("bash", "exit 3"));
    assert!(channel.until("process.detached")["attachment"].is_u64());
}

#[test]
fn input_to_a_process_that_does_not_read_is_refused_as_busy() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.unix());
    let big = json!({ "stream": "deaf", "text": "x".repeat(60_000) });
    let asks: Vec<_> = (0..60).map(|_| channel.ask("process.input", &big)).collect();
    let codes: Vec<_> = asks.into_iter().map(|id| channel.reply(id)["error"]["code"].as_i64()).collect();
    assert!(codes.contains(&Some(-32005)), "a child that does not read is busy: {codes:?}");
    assert!(codes.iter().all(|code| code.is_none_or(|code| code == -32005)), "{codes:?}");
    channel.call("streams.list", &json!({}));
}

#[test]
fn a_process_is_controlled_over_the_channel() {
    let daemon = daemon();
    let mut channel = Channel::open(daemon.unix());
    let on = json!({ "stream": "cat" });
    let cat = channel.subscribe(&json!({ "stream": "cat", "tail": 0 }));
    channel.call("process.pause", &on);
    channel.call("process.input", &line("cat", "later"));
    channel.call("process.resume", &on);
    see(&mut channel, cat, "later");
    channel.call("process.stop", &on);
    assert_eq!(channel.call("process.stop", &on)["already"], true);
    assert_eq!(channel.refused("process.input", &line("cat", "x")).0, -32003);
    channel.call("process.start", &on);
    channel.call("process.input", &line("cat", "runs again"));
    see(&mut channel, cat, "runs again");
    channel.call("process.restart", &on);
    channel.call("process.signal", &json!({ "stream": "cat", "signal": "SIGTERM" }));
}

/// Passes TCP connections on to a Unix socket: a browser has no other way there.
struct Passage(SocketAddr);

impl Passage {
    fn new(to: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let to = to.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&to)) else { return };
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from, into, |server| server.shutdown(Shutdown::Write)));
                thread::spawn(move || copy(server, client, |client| client.shutdown(Shutdown::Write)));
            }
        });
        Self(address)
    }
}

fn copy<W: Write>(mut from: impl Read, mut to: W, end: impl Fn(&W) -> std::io::Result<()>) {
    std::io::copy(&mut from, &mut to).unwrap_or_default();
    // A connection that is closed already need not be ended.
    end(&to).unwrap_or_default();
}

/// Another client: a program that passes messages on, a line each.
struct Bridge {
    child: Child,
    heard: Receiver<String>,
    talked: Talked,
}

impl Bridge {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, heard) = sync_channel(100_000);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        assert_eq!(heard.recv_timeout(CLIENT).unwrap(), "open");
        Self { child, heard, talked: Talked::default() }
    }
}

impl Talk for Bridge {
    fn talked(&mut self) -> &mut Talked {
        &mut self.talked
    }

    fn send_text(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }

    fn message(&mut self, deadline: Deadline) -> Value {
        let left = deadline.left().unwrap_or_default();
        let text =
            self.heard.recv_timeout(left).unwrap_or_else(|error| panic!("{error}; told before: {:#?}", self.talked));
        serde_json::from_str(&text).unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        Deadline::after(CLIENT).until("the client's end", || self.child.try_wait().unwrap());
    }
}

#[test]
fn a_browser_and_a_script_control_processes_in_turn() {
    let (Some(mut browser), Some(mut script)) = (chromium_by("control.cjs"), python_by("control.py")) else { return };
    let daemon = daemon();
    let Address::Unix(path) = daemon.unix() else { panic!("a Unix socket") };
    let passage = Passage::new(&PathBuf::from(path));
    let url = format!("ws://{}/control", passage.0);
    browser.args([&format!("http://{}/streams", passage.0), &url]);
    script.arg(&url);
    let (mut browser, mut script) = (Bridge::start(browser), Bridge::start(script));
    let talks = [
        ("cat", "typed by one", "typed by one", "and by two", "and by two"),
        ("bash", "echo $((6 * 7))x", "42x", "echo $((6 * 8))x", "48x"),
        ("python", "print(6 * 7, 'x')", "42 x", "print(6 * 8, 'x')", "48 x"),
        ("ask", "you", "hello, you", "you there", "hello, you there"),
    ];
    for (stream, one, echo_one, two, echo_two) in talks {
        let ask = json!({ "stream": stream, "tail": 0 });
        let (sees_one, sees_two) = (browser.subscribe(&ask), script.subscribe(&ask));
        let lease = |seconds: u32| json!({ "stream": stream, "seconds": seconds });
        browser.call("process.lease", &lease(60));
        until_leased(&mut script, stream, |holder| holder["yours"] == false);
        assert_eq!(script.refused("process.input", &line(stream, two)).0, -32004);
        browser.call("process.input", &line(stream, one));
        see(&mut browser, sees_one, echo_one);
        see(&mut script, sees_two, echo_one);
        browser.call("process.lease", &lease(0));
        until_leased(&mut script, stream, Value::is_null);
        script.call("process.lease", &lease(60));
        until_leased(&mut browser, stream, |holder| holder["yours"] == false);
        assert_eq!(browser.refused("process.input", &line(stream, one)).0, -32004);
        script.call("process.input", &line(stream, two));
        see(&mut browser, sees_one, echo_two);
        see(&mut script, sees_two, echo_two);
    }
    let on = json!({ "stream": "curses" });
    let one = browser.call("process.attach", &on)["attachment"].as_u64().unwrap();
    let two = script.call("process.attach", &on)["attachment"].as_u64().unwrap();
    browser.call("process.lease", &json!({ "stream": "curses", "seconds": 60 }));
    until_leased(&mut script, "curses", |holder| holder["yours"] == false);
    browser.call("process.input", &json!({ "stream": "curses", "text": "a" }));
    draw(&mut browser, one, "aaa");
    draw(&mut script, two, "aaa");
    browser.call("process.lease", &json!({ "stream": "curses", "seconds": 0 }));
    until_leased(&mut script, "curses", Value::is_null);
    script.call("process.lease", &json!({ "stream": "curses", "seconds": 60 }));
    script.call("process.input", &json!({ "stream": "curses", "text": "b" }));
    draw(&mut browser, one, "bbb");
    draw(&mut script, two, "bbb");
}
