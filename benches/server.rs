//! A server under test as a process of its own: started, asked, weighed, ended.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Outcome;
use crate::decode::Framing;

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(10);
/// How long reading in a file may take.
const READ_IN: Duration = Duration::from_mins(1);
/// How long one short answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a server may take to end after TERM, before KILL.
const END: Duration = Duration::from_secs(2);
/// Memory that is allowed for one line of a file, in bytes: its text, its index, its frame, and room to spare.
const FILE_LINE: u64 = 512;
/// How often what cannot be waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What is asked of the floor, which gives all the same.
const FLOOR: &str = "/";
/// The unit of times in `/proc/PID/stat`: 100 a second wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// Where the lines come from.
#[derive(Clone)]
pub(crate) enum Feed {
    /// A feeder prints so many, at this rate a second, once triggered.
    Live { rate: u64, lines: u64, recorded: bool },
    /// A command of rtlogd prints this many at full rate, and ends.
    Process { lines: u64, orphan_timeout: &'static str, pty: bool },
    /// A file holds so many.
    File { path: PathBuf, lines: u64, recorded: bool },
}

/// A running server and what belongs to it; all is ended on drop.
pub(crate) struct Server {
    child: Child,
    feeder: Option<Child>,
    directory: TempDir,
    feed: Feed,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The path and query that give the lines of the feed.
    pub(crate) target: &'static str,
}

/// Ends its process unless it is taken over.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

impl Server {
    /// The floor: this very program under another name.
    pub(crate) fn floor(feed: &Feed, pacing: Duration) -> Outcome<Self> {
        let directory = TempDir::new()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").stdout(Stdio::piped());
        let mut feeder = Starting(None);
        match feed {
            Feed::Live { .. } => {
                let [program, arguments @ ..] = &feeder_command(feed, directory.path())?[..] else { unreachable!() };
                let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?;
                command.args(["live", &pacing.as_millis().to_string()]);
                command.stdin(child.stdout.take().ok_or("the feeder has no output")?);
                feeder.0 = Some(child);
            }
            Feed::Process { .. } => return Err("the floor runs no commands".into()),
            Feed::File { path, .. } => {
                command.arg("file").arg(path).stdin(Stdio::null());
            }
        }
        let mut child = Starting(Some(command.spawn()?));
        let output = child.0.as_mut().and_then(|child| child.stdout.take()).ok_or("the floor has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = address_in(&line).ok_or("the floor has ended")?;
        let child = child.0.take().expect("it was put there above");
        Ok(Self { child, feeder: feeder.0.take(), directory, feed: feed.clone(), address, target: FLOOR })
    }

    /// rtlogd, as systemd would start it, with these settings of its stream; `program` is its path.
    pub(crate) fn rtlogd(feed: &Feed, settings: &Value, program: &Path) -> Outcome<Self> {
        let directory = TempDir::new()?;
        let (mut streams, memory, target) = match feed {
            Feed::Live { recorded, .. } => {
                let command = feeder_command(feed, directory.path())?;
                let more = if *recorded { json!({ "state_directory": "state" }) } else { json!({}) };
                (json!({ "feed": { "command": command } }), more, "/streams/feed?tail=0")
            }
            Feed::Process { lines, orphan_timeout, pty } => {
                let command = ["seq", &lines.to_string()].map(str::to_owned);
                let process =
                    json!({ "command": command, "orphan_timeout": orphan_timeout, "pty": pty, "restart": "never" });
                (json!({ "process": process }), json!({ "state_directory": "state" }), "/streams/process")
            }
            Feed::File { path, recorded: true, .. } => (
                json!({ "file": { "file": path, "from": "start" } }),
                json!({ "state_directory": "state", "history": { "disk": "8GiB" } }),
                "/streams/file?tail=all&follow=false",
            ),
            Feed::File { path, lines, recorded: false } => {
                let memory = format!("{}MiB", 2048 + lines * FILE_LINE / (1 << 20));
                (
                    json!({ "file": { "file": path, "from": "start" } }),
                    json!({ "memory": memory, "history": { "memory": memory } }),
                    "/streams/file?tail=all&follow=false",
                )
            }
        };
        for stream in streams.as_object_mut().into_iter().flat_map(|streams| streams.values_mut()) {
            extend(stream, settings);
        }
        let mut config = json!({ "streams": streams });
        extend(&mut config, &memory);
        let mut server = Self::with_config(config, directory, program)?;
        (server.feed, server.target) = (feed.clone(), target);
        Ok(server)
    }

    /// rtlogd with this configuration, to which an address is added. Its files are in `directory`.
    pub(crate) fn with_config(mut config: Value, directory: TempDir, program: &Path) -> Outcome<Self> {
        let inside = |name: &str| directory.path().join(name);
        extend(
            &mut config,
            &json!({ "listen": ["127.0.0.1:0"], "limits": { "connections": 20000, "per_address": 20000 } }),
        );
        fs::write(inside("rtlogd.yaml"), config.to_string())?; // JSON is YAML
        let notify = UnixDatagram::bind(inside("notify"))?;
        let mut command = Command::new(program);
        command.args(["serve", "--config"]).arg(inside("rtlogd.yaml"));
        command.env("NOTIFY_SOCKET", inside("notify")).env_remove("LISTEN_FDS");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(inside("errors"))?);
        let mut child = Starting(Some(command.spawn()?));
        let address = ready(&notify, &mut child, &inside("errors"))?;
        let child = child.0.take().expect("it was put there above");
        let feed = Feed::Live { rate: 0, lines: 0, recorded: false };
        Ok(Self { child, feeder: None, directory, feed, address, target: "/streams" })
    }

    /// Lets the feeder begin.
    pub(crate) fn trigger(&self) -> Outcome<()> {
        Ok(fs::write(trigger_in(self.directory.path()), "go\n")?)
    }

    /// Waits until rtlogd has read in the whole file; tells how long it took from now. Nothing for the floor, which had
    /// it before it said where it listens.
    pub(crate) fn read_in(&self) -> Outcome<Duration> {
        let start = Instant::now();
        let Feed::File { lines, .. } = self.feed else { return Ok(Duration::ZERO) };
        let mut seen = (None, start);
        if self.target == FLOOR {
            return Ok(Duration::ZERO);
        }
        loop {
            let streams: Value = serde_json::from_slice(&get(self.address, "/streams")?)?;
            let last = last_number(&streams, "file");
            if last != seen.0 {
                seen = (last, Instant::now());
            }
            // States are numbered too, and the first number is the server's choice: enough, and no longer growing.
            if last.is_some_and(|last| last + 1 >= lines) && seen.1.elapsed() > 4 * LOOK {
                return Ok(seen.1 - start);
            }
            if start.elapsed() > READ_IN {
                return Err(
                    format!("the file is not read in; its last number of {lines} is {last:?} in {streams}").into()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until the command of the stream has ended; returns how long it ran.
    pub(crate) fn time_of_run(&self) -> Outcome<Duration> {
        let start = Instant::now();
        while start.elapsed() < READ_IN {
            let stream: Value = serde_json::from_slice(&get(self.address, "/streams/process/state")?)?;
            if let Some(seconds) = stream["source"]["last"]["duration"].as_f64() {
                return Ok(Duration::from_secs_f64(seconds));
            }
            std::thread::sleep(LOOK);
        }
        Err("the command has not ended".into())
    }

    /// CPU time so far, user and system, of all threads. `stat` counts in [`TICK`]s, which is coarse for a short run but
    /// has the threads that are gone; so the larger of both.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').ok_or("no name in stat")?.1; // the name may hold anything
        let times = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(self.fine_cpu()?.max(TICK * times.sum::<Result<u32, _>>()?))
    }

    /// CPU time so far of the threads that live, to the nanosecond: for spans in which a tick is too much.
    pub(crate) fn fine_cpu(&self) -> Outcome<Duration> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default(); // it may have ended
            sum += text.split_ascii_whitespace().next().map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(Duration::from_nanos(sum))
    }

    /// How often a thread of the server was put to sleep or replaced by another one, so far, of the threads that live.
    pub(crate) fn switches(&self) -> Outcome<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("status")).unwrap_or_default(); // it may have ended
            let counts = text.lines().filter_map(|line| line.split_once("ctxt_switches:"));
            sum += counts.map(|(_, count)| count.trim().parse::<u64>()).sum::<Result<u64, _>>()?;
        }
        Ok(sum)
    }

    /// The number of open descriptors.
    pub(crate) fn descriptors(&self) -> Outcome<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// How the process ended, if it has, and what it wrote last.
    pub(crate) fn last_words(&mut self) -> String {
        let status = self.child.try_wait().ok().flatten().map_or("it runs".into(), |status| status.to_string());
        let errors = fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default();
        let lines: Vec<&str> = errors.lines().rev().take(5).collect();
        format!("{status}; {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }

    /// Memory that is resident, in bytes: now, and at most so far.
    pub(crate) fn memory(&self) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).ok_or("the server has ended")?;
            Ok::<u64, Box<dyn std::error::Error>>(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        self.feeder.iter_mut().for_each(end);
    }
}

/// Adds the fields of `more` to an object.
fn extend(object: &mut Value, more: &Value) {
    object.as_object_mut().zip(more.as_object()).into_iter().for_each(|(all, more)| all.extend(more.clone()));
}

/// TERM, so that it can end its own children; KILL if it does not.
fn end(child: &mut Child) {
    // Each fails only if the process is gone already.
    kill_process(Pid::from_child(child), Signal::TERM).ok();
    let deadline = Instant::now() + END;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(LOOK / 10);
    }
    child.kill().ok();
    child.wait().ok();
}

fn trigger_in(directory: &Path) -> PathBuf {
    directory.join("trigger")
}

fn feeder_command(feed: &Feed, directory: &Path) -> Outcome<Vec<String>> {
    let Feed::Live { rate, lines, .. } = feed else { return Err("a file needs no feeder".into()) };
    let program = std::env::current_exe()?.to_str().ok_or("our own path is not UTF-8")?.to_owned();
    let trigger = trigger_in(directory).to_str().ok_or("the temporary directory is not UTF-8")?.to_owned();
    Ok(vec![program, "feeder".into(), rate.to_string(), lines.to_string(), trigger])
}

/// Waits for `READY=1` and an address in `STATUS=`; fails with the last lines of what the server wrote.
fn ready(notify: &UnixDatagram, child: &mut Starting, errors: &Path) -> Outcome<SocketAddr> {
    let deadline = Instant::now() + START;
    let (mut is_ready, mut address, mut datagram) = (false, None, [0; 4096]);
    notify.set_read_timeout(Some(LOOK))?;
    while Instant::now() < deadline {
        if let Ok(length) = notify.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]);
            is_ready |= text.lines().any(|line| line == "READY=1");
            address = address.or_else(|| text.lines().filter(|line| line.starts_with("STATUS=")).find_map(address_in));
        }
        match address {
            Some(address) if is_ready => return Ok(address),
            _ if child.0.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) => break,
            _ => (),
        }
    }
    let said = fs::read_to_string(errors)?;
    let said = said.trim_end();
    Err(format!("not ready (READY=1: {is_ready}, address: {address:?}); its standard error:\n{said}").into())
}

/// The first `http://ADDRESS` in a text.
fn address_in(text: &str) -> Option<SocketAddr> {
    let (_, rest) = text.split_once("http://")?;
    rest.split(|letter: char| !(letter.is_ascii_hexdigit() || ".:[]".contains(letter))).next()?.parse().ok()
}

/// The number in `last` of the stream of this name, wherever in the document that stands.
fn last_number(document: &Value, name: &str) -> Option<u64> {
    let last = match document {
        Value::Array(items) => return items.iter().find_map(|item| last_number(item, name)),
        Value::Object(fields) if fields.get("name").is_some_and(|field| field == name) => fields.get("last"),
        Value::Object(fields) if fields.get(name).is_some_and(|field| field.get("last").is_some()) => {
            fields[name].get("last")
        }
        Value::Object(fields) => return fields.values().find_map(|value| last_number(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    last?.as_str()?.rsplit('-').next()?.parse().ok()
}

/// The body of a short answer.
fn get(address: SocketAddr, target: &str) -> Outcome<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&address, ANSWER)?;
    socket.set_read_timeout(Some(ANSWER))?;
    write!(
        socket,
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let (mut framing, mut rest, mut body) = (Framing::default(), &answer[..], Vec::new());
    while let Some(piece) = framing.body(&mut rest)? {
        body.extend_from_slice(piece);
    }
    Ok(body)
}
