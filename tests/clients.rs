//! Other people's clients: they get exactly the bytes, no line forges an event for them, and a browser comes back.

use std::env;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::sse::Message;
use crate::harness::{Daemon, Deadline, Program, TestDir, skip, sources};
use crate::wire_formats::{LAST, as_text, assert_same, daemon_with, nasty, written};

/// A browser starts slowly, and waits up to three seconds before each of five reconnects.
const CLIENT: Duration = Duration::from_mins(2);

/// A file or directory below `target/clients/`, where `tests/check` installs clients; if it is missing, the running test is reported as
/// skipped.
fn installed(path: &str) -> Option<PathBuf> {
    let found = sources("target/clients").join(path);
    let exists = found.exists();
    if !exists {
        skip(&format!("{} does not exist; tests/check installs what is listed in tests/clients/", found.display()));
    }
    exists.then_some(found)
}

/// A script below `tests/clients/` for Node.js.
pub(crate) fn node(script: &str) -> Option<Command> {
    let modules = installed("node_modules")?;
    let mut command = Command::new("node");
    command.arg(sources("tests/clients").join(script)).env("NODE_PATH", modules);
    Some(command)
}

fn eventsource() -> Option<Command> {
    node("read.cjs")
}

fn httpx_sse() -> Option<Command> {
    python_by("read.py")
}

/// A script below `tests/clients/` for Python.
pub(crate) fn python_by(script: &str) -> Option<Command> {
    let mut command = Command::new(installed("python/bin/python")?);
    command.arg(sources("tests/clients").join(script));
    Some(command)
}

fn chromium() -> Option<Command> {
    chromium_by("chromium.cjs")
}

/// A script below `tests/clients/` for Node.js, given the path of Chromium.
pub(crate) fn chromium_by(script: &str) -> Option<Command> {
    let mut command = node(script)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found =
        env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file());
    if found.is_none() {
        skip("there is no Chromium, which tests/check installs");
    }
    command.arg(found?);
    Some(command)
}

/// The output of a client.
pub(crate) fn output(command: &mut Command) -> Value {
    let ended = Program::start(command.stdin(Stdio::null())).ended_by(Deadline::after(CLIENT));
    assert!(ended.status.success(), "{command:?}: {:?} {}", ended.status, ended.err);
    serde_json::from_slice(&ended.out).unwrap_or_else(|error| panic!("{command:?}: {error}: {}", ended.err))
}

fn messages(seen: &Value) -> Vec<Message> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let message =
        |value: &Value| Message { id: text(&value["id"]), event: text(&value["event"]), data: text(&value["data"]) };
    seen.as_array().unwrap().iter().map(message).collect()
}

/// Lets a client read the nasty lines as JSON and as text.
fn reads_exactly(read: impl Fn(&Daemon, &str) -> Vec<Message>) {
    let lines = nasty();
    let daemon = daemon_with(&lines);
    let seen = read(&daemon, "/streams/n?tail=all&data=json");
    assert!(seen.iter().all(|message| ["", "state"].contains(&message.event.as_str())), "a forged event: {seen:?}");
    assert!(seen.iter().all(|message| message.json()["id"] == message.id.as_str()), "a forged id");
    let jsons: Vec<_> = seen.iter().filter(|message| message.is_line()).map(Message::json).collect();
    assert_same(&written(&jsons), &lines);

    let seen = read(&daemon, "/streams/n?tail=all");
    assert!(seen.iter().all(|message| ["", "state"].contains(&message.event.as_str())), "a forged event");
    assert!(seen.is_sorted_by(|a, b| a.number() + 1 == b.number()), "a forged id");
    let seen: Vec<_> = seen.into_iter().filter(Message::is_line).map(|message| message.data.into_bytes()).collect();
    let expected: Vec<_> = as_text(&lines).into_iter().map(String::into_bytes).collect();
    assert_same(&seen, &expected);
}

#[test]
fn npm_eventsource_reads_exactly_what_was_written() {
    let Some(_) = eventsource() else { return };
    reads_exactly(|daemon, path| messages(&output(eventsource().unwrap().args([&daemon.url(path), LAST]))));
}

#[test]
fn httpx_sse_reads_exactly_what_was_written() {
    let Some(_) = httpx_sse() else { return };
    reads_exactly(|daemon, path| messages(&output(httpx_sse().unwrap().args([&daemon.url(path), LAST]))));
}

#[test]
fn chromium_reads_exactly_what_was_written() {
    let Some(_) = chromium() else { return };
    reads_exactly(|daemon, path| {
        let page = daemon.url("/streams");
        messages(&output(chromium().unwrap().args([page.as_str(), path, LAST]))["seen"])
    });
}

/// Stands between a client and the daemon, and cuts connections.
struct Cutter {
    address: SocketAddr,
    /// After how many bytes each of the next streams is cut.
    cuts: Arc<Mutex<Vec<usize>>>,
}

impl Cutter {
    /// Passes all on to `to`, and cuts the first requests for `path` after so many bytes.
    fn new(to: SocketAddr, path: &str, cuts: Vec<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(Mutex::new(cuts));
        let request = format!("GET {path}");
        let left = cuts.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { return };
                pass(&client, &server, &request, &left);
            }
        });
        Self { address, cuts }
    }
}

/// Passes bytes both ways, until one side ends or it is cut.
fn pass(client: &TcpStream, server: &TcpStream, request: &str, cuts: &Arc<Mutex<Vec<usize>>>) {
    let room = Arc::new(AtomicUsize::new(usize::MAX));
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (asked, request, cuts) = (room.clone(), request.to_owned(), cuts.clone());
    thread::spawn(move || {
        copy(&mut from, &mut to, |bytes| {
            if bytes.windows(request.len()).any(|window| window == request.as_bytes()) {
                asked.store(cuts.lock().unwrap().pop().unwrap_or(usize::MAX), Ordering::SeqCst);
            }
            bytes.len()
        });
    });
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        copy(&mut from, &mut to, |bytes| {
            let left = room.load(Ordering::SeqCst);
            let count = bytes.len().min(left);
            room.store(if left == usize::MAX { left } else { left - count }, Ordering::SeqCst);
            count
        });
    });
}

/// Copies as much of each piece as `may` says; less than all of it ends both sides.
fn copy(from: &mut TcpStream, to: &mut TcpStream, mut may: impl FnMut(&[u8]) -> usize) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let allowed = may(&bytes[..count]);
        if to.write_all(&bytes[..allowed]).is_err() || allowed < count {
            break;
        }
    }
    // A connection that is closed already need not be ended.
    from.shutdown(Shutdown::Both).unwrap_or_default();
    to.shutdown(Shutdown::Both).unwrap_or_default();
}

#[test]
fn a_browser_that_is_cut_again_and_again_sees_every_number_once() {
    let Some(mut command) = chromium() else { return };
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--name",
        "n",
        "--linger",
        "10m",
        "--memory",
        "256MiB",
        "--",
        "seq",
        "1",
        "100000",
    ];
    let daemon = TestDir::new().launch(&arguments, Stdio::null());
    let mut random = fastrand::Rng::new();
    // The browser takes gzip, in which the numbers are about 700 kB.
    let cuts = (0..5).map(|_| random.usize(100..100_000)).collect();
    let cutter = Cutter::new(daemon.address().tcp(), "/streams/n", cuts);
    let page = format!("http://{}/streams", cutter.address);
    let seen = output(command.args([page.as_str(), "/streams/n?tail=all", "\"kind\":\"end\""]));
    assert!(cutter.cuts.lock().unwrap().is_empty(), "all five cuts were made");
    assert_eq!(seen["opened"], 6, "the first connection, and one after each cut");
    let messages = messages(&seen["seen"]);
    let numbers: Vec<u64> =
        messages.iter().filter(|message| message.is_line()).map(|message| message.data.parse().unwrap()).collect();
    assert!(numbers == (1..=100_000).collect::<Vec<_>>(), "{} numbers", numbers.len());
    assert!(messages.is_sorted_by(|a, b| a.number() + 1 == b.number()));
}
