//! Starts the real program in a temporary directory, acts as its service manager, and reads what it serves.
//!
//! Tests wait for a fact, with a deadline whose failure says what was expected.

pub(crate) mod event_stream;
pub(crate) mod http;
mod skip;
pub(crate) mod sse;
pub(crate) mod terminal;
pub(crate) mod ws;

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, OFlags, mknodat};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use http::{Address, Response};
pub(crate) use skip::{is_root_or_skip, skip};
use sse::{Message, Reader};

/// The time within which a fact must come true, on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The interval between two checks of a condition that is not signalled.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Lets `time` pass. Only a test of time itself may use this, with its `reason`; all others wait for a fact with
/// [`Deadline::until`].
pub(crate) fn pause(reason: &str, time: Duration) {
    let (_sender, never) = sync_channel::<()>(0);
    assert_eq!(never.recv_timeout(time), Err(RecvTimeoutError::Timeout), "while pausing: {reason}");
}

/// The time at which waiting ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self::after(PATIENCE)
    }

    pub(crate) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// The remaining time; `None` if there is none.
    pub(crate) fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Calls `look` until it returns a value. Panics with `what` at the deadline.
    pub(crate) fn until<T>(self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        self.find(look).unwrap_or_else(|| panic!("waited in vain for: {what}"))
    }

    /// Calls `look` until it returns a value; `None` at the deadline.
    pub(crate) fn find<T>(self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            self.left()?;
            pause("what is awaited is not there yet", POLL_INTERVAL);
        }
    }
}

/// A temporary directory. At its end, the commands end that a killed daemon has left for a next one.
#[derive(Debug)]
pub(crate) struct TestDir(TempDir);

impl Drop for TestDir {
    fn drop(&mut self) {
        for shim in shims_below(self.0.path()) {
            // It may have ended meanwhile.
            kill_process(shim, Signal::TERM).unwrap_or_default();
        }
    }
}

/// The processes that hold commands for a next daemon with a state directory below `directory`.
fn shims_below(directory: &Path) -> Vec<Pid> {
    let sockets = walk(directory).filter(|path| path.parent().is_some_and(|parent| parent.ends_with("shim")));
    let connected = sockets.filter_map(|path| {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).ok()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).ok()?).ok()?;
        Some(rustix::net::sockopt::socket_peercred(&socket).ok()?.pid)
    });
    connected.collect()
}

/// All files below a directory.
fn walk(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let mut directories = vec![directory.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.into_iter()
}

impl TestDir {
    pub(crate) fn new() -> Self {
        Self(TempDir::with_prefix("rtlogd-").unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Appends to a file, which is created if it does not exist.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_ref()).unwrap();
    }

    /// Creates a named pipe, at which a command waits once with `read x <NAME` until [`Self::release`].
    pub(crate) fn fifo(&self, name: &str) {
        mknodat(CWD, self.path(name), FileType::Fifo, 0o600.into(), 0).unwrap();
    }

    /// Lets the command continue that waits at this named pipe, or soon will.
    pub(crate) fn release(&self, fifo: &str) {
        let open = || {
            // Opening the pipe fails as long as nobody reads from it.
            OpenOptions::new()
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(self.path(fifo))
                .ok()
        };
        let mut pipe = Deadline::new().until("a command that reads from the pipe", open);
        pipe.write_all(b"\n").unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Starts the daemon with this configuration. It listens on any free port unless the configuration names addresses.
    pub(crate) fn start(self, yaml: &str) -> Daemon {
        self.configure(yaml);
        self.launch(&["serve", "--config", "rtlogd.yaml"], Stdio::null())
    }

    /// Writes `rtlogd.yaml`.
    pub(crate) fn configure(&self, yaml: &str) {
        let listen = if yaml.contains("listen:") { "" } else { "listen: [\"127.0.0.1:0\"]\n" };
        fs::write(self.path("rtlogd.yaml"), format!("{listen}{yaml}\n")).unwrap();
    }

    /// The command that runs the program in this directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtlogd"));
        command.args(arguments).current_dir(self.0.path());
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "RTLOGD_LOG"] {
            command.env_remove(name);
        }
        command.env("RUNTIME_DIRECTORY", self.0.path());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn execute(&self, arguments: &[&str]) -> Ended {
        Program::start(self.command(arguments).stdin(Stdio::null())).ended()
    }

    /// Starts the program through another one, such as `unshare`, and waits until it serves.
    pub(crate) fn launch_by(self, wrapper: &[&str], arguments: &[&str]) -> Daemon {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_rtlogd")).args(arguments).current_dir(self.0.path());
        command.env_remove("WATCHDOG_USEC").env_remove("RTLOGD_LOG").stdin(Stdio::null());
        self.launch_command(command)
    }

    /// Starts the program and waits until it serves.
    pub(crate) fn launch(self, arguments: &[&str], input: Stdio) -> Daemon {
        let mut command = self.command(arguments);
        command.stdin(input);
        self.launch_command(command)
    }

    /// Starts a command that executes the program, and waits until it serves.
    pub(crate) fn launch_command(self, mut command: Command) -> Daemon {
        let notify = self.path("notify");
        if let Err(error) = fs::remove_file(&notify) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        }
        let socket = UnixDatagram::bind(&notify).unwrap();
        // The program may run as another user.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o777)).unwrap();
        let mut program = Program::start(command.env("NOTIFY_SOCKET", &notify));
        let status = program.ready(&socket);
        let addresses = status.split_whitespace().filter_map(Address::parse).collect();
        Daemon { program, addresses, notify: socket, dir: self }
    }
}

/// A running program and its output.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    out: CapturedOutput,
    err: CapturedOutput,
}

/// The end of a program, and its complete output.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = CapturedOutput::new(child.stdout.take().unwrap());
        let err = CapturedOutput::new(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Waits for `READY=1`, and returns the status.
    fn ready(&mut self, socket: &UnixDatagram) -> String {
        let deadline = Deadline::new();
        let mut told = String::new();
        socket.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
        let mut message = [0; 4096];
        loop {
            match socket.recv(&mut message) {
                Ok(count) => told += &(String::from_utf8_lossy(&message[..count]).into_owned() + "\n"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
            let status = told.lines().rev().find_map(|line| line.strip_prefix("STATUS="));
            if let (true, Some(status)) = (told.lines().any(|line| line == "READY=1"), status) {
                return status.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the program ended with {ended:?} before it was ready: {}", self.err.text());
            assert!(deadline.left().is_some(), "not ready in time; it told {told:?}: {}", self.err.text());
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the program's end.
    pub(crate) fn ended(self) -> Ended {
        self.ended_by(Deadline::new())
    }

    pub(crate) fn ended_by(mut self, deadline: Deadline) -> Ended {
        let status = deadline.until("the end of the program", || self.child.try_wait().unwrap());
        Ended { status, out: self.out.all(), err: String::from_utf8_lossy(&self.err.all()).into_owned() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that is killed does not write its coverage data. If coverage is measured, the program is asked to
        // end.
        let is_counted = std::env::var_os("LLVM_PROFILE_FILE").is_some();
        if is_counted && !thread::panicking() && self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            let deadline = Deadline::new();
            while self.child.try_wait().unwrap().is_none() && deadline.left().is_some() {
                pause("until the program has ended or its time is over", POLL_INTERVAL);
            }
        }
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if thread::panicking() {
            eprintln!("--- the program printed\n{}{}---", self.out.text(), self.err.text());
        }
    }
}

/// The output of a pipe, read as it comes.
#[derive(Debug)]
struct CapturedOutput {
    /// The bytes so far. The pipe is read only while they are locked, so that no byte is in neither.
    bytes: Arc<Mutex<Vec<u8>>>,
    pipe: OwnedFd,
    end: Receiver<()>,
}

impl CapturedOutput {
    fn new(mut pipe: impl Read + AsFd + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (over, end) = sync_channel(0);
        let (kept, same_pipe) = (bytes.clone(), pipe.as_fd().try_clone_to_owned().unwrap());
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let readable = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], None);
                if readable == Err(Errno::INTR) {
                    continue;
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let Ok(count @ 1..) = pipe.read(&mut chunk) else { break };
                kept.extend_from_slice(&chunk[..count]);
            }
            drop(over);
        });
        Self { bytes, pipe: same_pipe, end }
    }

    /// Everything that was written to the pipe before this call.
    fn text(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            if ioctl_fionread(&self.pipe) == Ok(0) || Instant::now() > deadline {
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            drop(bytes);
            thread::yield_now();
        }
    }

    /// The complete output, up to the end of the pipe.
    fn all(&self) -> Vec<u8> {
        assert_eq!(self.end.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected), "the output is still open");
        std::mem::take(&mut self.bytes.lock().unwrap())
    }
}

/// A daemon that is serving.
#[derive(Debug)]
pub(crate) struct Daemon {
    program: Program,
    addresses: Vec<Address>,
    notify: UnixDatagram,
    dir: TestDir,
}

impl Deref for Daemon {
    type Target = TestDir;

    fn deref(&self) -> &TestDir {
        &self.dir
    }
}

impl Daemon {
    pub(crate) fn start(yaml: &str) -> Self {
        TestDir::new().start(yaml)
    }

    /// The next message of the daemon to the service manager.
    pub(crate) fn told(&self) -> String {
        self.notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut message = [0; 4096];
        let count = self.notify.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).into_owned()
    }

    /// The first address of the daemon.
    pub(crate) fn address(&self) -> &Address {
        self.addresses.first().expect("STATUS= names an address")
    }

    /// All addresses of the daemon.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address().host())
    }

    /// A request for the stream.
    pub(crate) fn follow(&self, name: &str) -> Follow<'_> {
        self.request(&format!("/streams/{name}"))
    }

    pub(crate) fn request(&self, path: &str) -> Follow<'_> {
        Follow { address: self.address(), path: path.to_owned(), headers: Vec::new() }
    }

    /// The complete reply: status, headers and body.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let response = Response::get(self.address(), path, headers);
        (response.status, response.headers, response.body.all())
    }

    /// The reply to a request for `path`, as JSON.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path, &[]);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The entry of one stream in the list of streams.
    pub(crate) fn state(&self, stream: &str) -> Value {
        self.json(&format!("/streams/{stream}/state"))
    }

    /// Waits until `stream` has this many readers.
    pub(crate) fn until_readers(&self, stream: &str, count: usize) {
        let what = format!("{count} readers of {stream}");
        Deadline::new().until(&what, || (self.state(stream)["readers"] == count).then_some(()));
    }

    /// The Unix socket of the daemon.
    pub(crate) fn unix(&self) -> &Address {
        let unix = self.addresses.iter().find(|address| matches!(address, Address::Unix(_)));
        unix.expect("STATUS= names a Unix socket")
    }

    /// The log so far.
    pub(crate) fn logged(&self) -> String {
        self.program.err.text()
    }

    /// Writes to the standard input of the daemon.
    pub(crate) fn input(&self, bytes: &[u8]) {
        self.program.child.stdin.as_ref().expect("its input is a pipe").write_all(bytes).unwrap();
    }

    /// The process id of the daemon.
    pub(crate) fn pid(&self) -> i32 {
        self.program.pid().as_raw_nonzero().get()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    pub(crate) fn terminate(&self) {
        self.program.signal(Signal::TERM);
    }

    /// Waits for the end of the daemon.
    pub(crate) fn ended(self) -> Ended {
        self.ended_by(Deadline::new()).0
    }

    pub(crate) fn ended_by(self, deadline: Deadline) -> (Ended, TestDir) {
        (self.program.ended_by(deadline), self.dir)
    }

    /// The output so far, on standard output and standard error.
    pub(crate) fn printed(&self) -> String {
        self.program.out.text() + &self.program.err.text()
    }

    /// Kills the daemon without a chance to clean up; its directory stays.
    pub(crate) fn kill(self) -> TestDir {
        self.program.signal(Signal::KILL);
        self.ended_by(Deadline::new()).1
    }
}

/// A request for a stream.
#[derive(Debug, Clone)]
pub(crate) struct Follow<'a> {
    address: &'a Address,
    path: String,
    headers: Vec<(String, String)>,
}

impl Follow<'_> {
    /// Adds parameters, written as in a URL.
    pub(crate) fn query(mut self, parameters: &str) -> Self {
        self.path += if self.path.contains('?') { "&" } else { "?" };
        self.path += parameters;
        self
    }

    pub(crate) fn after(self, id: &str) -> Self {
        self.query(&format!("after={id}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn last_event_id(self, id: &str) -> Self {
        self.header("Last-Event-ID", id)
    }

    /// The response, whose body has not been read yet.
    pub(crate) fn response(&self) -> Response {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Response::get(self.address, &self.path, &headers)
    }

    pub(crate) fn status(&self) -> u16 {
        self.response().status
    }

    /// A reader of the event stream.
    pub(crate) fn open(&self) -> Reader {
        Reader::new(self.response())
    }

    /// See [`Reader::take`].
    pub(crate) fn take(&self, count: usize) -> Vec<Message> {
        self.open().take(count)
    }

    /// See [`Reader::until`].
    pub(crate) fn until(&self, what: &str, is_last: impl FnMut(&Message) -> bool) -> Vec<Message> {
        self.open().until(what, is_last)
    }

    /// See [`Reader::until_end`].
    pub(crate) fn until_end(&self) -> Vec<Message> {
        self.open().until_end()
    }

    /// The complete body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let response = self.response();
        assert_eq!(response.status, 200, "{response:?}");
        response.body.all()
    }
}

/// Returns whether a process runs. A process that has ended does not, even if it has not been reaped.
pub(crate) fn runs(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The lines `PREFIX1`, `PREFIX2` and so on.
pub(crate) fn numbered(prefix: &str, count: usize) -> String {
    (1..=count).flat_map(|number| [prefix.to_owned(), number.to_string(), "\n".to_owned()]).collect()
}

/// The path of a file or directory in the package's sources.
pub(crate) fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
