//! `rtlogd upgrade`: the process of the daemon becomes the program that is now installed, on machines without systemd.
//!
//! The new program is checked first, and whatever is wrong with it leaves the daemon as it is. Then readers and histories are
//! closed as in a restart, while the commands of streams continue in their shims, and the process executes the new program:
//! its id stays the same, connections wait in the listening sockets, and the pid file stays locked.
//!
//! The listening sockets are passed as systemd passes them (`sd_listen_fds(3)`). With them comes a socket with one message,
//! which carries the other descriptors: the lock on the pid file, and the client that waits for the result.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use log::{error, info};
use nix::unistd::execve;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::daemon::signals::EarlySignals;
use crate::daemon::systemd;
use crate::history;
use crate::source::{self, Children};

/// The version of what is passed to the new program.
const UPGRADE_VERSION: u32 = 1;

/// The longest time that the new program may take for a check.
const MAX_CHECK_TIME: Duration = Duration::from_secs(30);

/// The command by which a program says what it can take over.
pub(crate) const PROTOCOL_COMMAND: &str = "__protocol";

/// The name of the socket that carries the other descriptors.
pub(crate) const UPGRADE_SOCKET_NAME: &str = "rtlogd-upgrade";

/// The number of attempts to find descriptors without a gap between them.
const MAX_RANGE_ATTEMPTS: usize = 100;

/// The formats that a version of rtlogd can take over from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capabilities {
    version: String,
    /// See [`UPGRADE_VERSION`].
    upgrade: u32,
    /// The version of the messages of shims.
    shim: u32,
    /// The version of histories.
    history: u8,
}

impl Capabilities {
    /// Those of this program.
    pub(crate) fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            upgrade: UPGRADE_VERSION,
            shim: source::SHIM_VERSION,
            history: history::FORMAT_VERSION,
        }
    }

    /// The capabilities as one line, for [`parse`](Self::parse).
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written") + "\n"
    }

    fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The reason why a program with these capabilities cannot take over from this one.
    fn obstacle(&self, own: &Self) -> Option<String> {
        let too_old = [
            (self.history < own.history, "does not know the format of the histories that this rtlogd writes"),
            (self.shim < own.shim, "does not know how to take over the commands of this rtlogd"),
            (self.upgrade < own.upgrade, "does not know how to take over the sockets of this rtlogd"),
        ];
        let reason = too_old.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason))?;
        Some(format!("version {} {reason}", self.version))
    }
}

/// The program by which the daemon was started, and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct InstalledProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl InstalledProgram {
    /// The program and the arguments of this process. If the process `moves` to another directory, paths in the arguments
    /// become absolute.
    pub(crate) fn of_this_process(moves: bool) -> Self {
        let mut words = env::args_os();
        let name = words.next().unwrap_or_default();
        let search = env::var_os("PATH").unwrap_or_default();
        // The link leads to the file even after it was replaced, and therefore is the last resort.
        let path = find_program(&name, &search).or_else(|| env::current_exe().ok());
        let arguments: Vec<_> = words.collect();
        let arguments = if moves { with_absolute_paths(&arguments) } else { arguments };
        Self { path: path.unwrap_or_else(|| name.into()), arguments }
    }

    /// Checks that the program can take over from this one with the configuration at `config`. Returns its version.
    ///
    /// # Errors
    /// The text says in words why it cannot.
    pub(crate) async fn check(&self, config: &Path, children: &Children) -> Result<String, String> {
        if systemd::is_service() {
            return Err("this rtlogd runs under systemd: use `systemctl restart` with the name of its unit, which loses nothing"
                .to_owned());
        }
        let program = self.path.display();
        let said = self.run(&[OsStr::new(PROTOCOL_COMMAND)], children).await?;
        let Some(new) = Capabilities::parse(&said) else {
            return Err(format!("{program} is not a version of rtlogd that can take over from this one"));
        };
        if let Some(obstacle) = new.obstacle(&Capabilities::own()) {
            return Err(format!("{program} cannot take over: {obstacle}"));
        }
        self.run(&["check".as_ref(), "--config".as_ref(), config.as_os_str()], children).await?;
        Ok(new.version)
    }

    /// The standard output of the program with these arguments.
    async fn run(&self, arguments: &[&OsStr], children: &Children) -> Result<Vec<u8>, String> {
        let words = [self.path.as_os_str()].into_iter().chain(arguments.iter().copied());
        let name = format!("{} {}", self.path.display(), arguments[0].display());
        match timeout(MAX_CHECK_TIME, source::output_of(words.map(OsStr::to_owned).collect(), children)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(reason)) => Err(format!("`{name}` failed: {reason}")),
            Err(_) => Err(format!("`{name}` did not end within {} s", MAX_CHECK_TIME.as_secs())),
        }
    }

    /// Executes the program at `path` in the place of this one, with these arguments. Returns only if that fails.
    fn execute_at(&self, path: &Path, environment: &[OsString]) -> io::Result<()> {
        let text = |word: &OsString| CString::new(word.as_bytes()).map_err(io::Error::other);
        let program = CString::new(path.as_os_str().as_bytes())?;
        let name = self.path.clone().into_os_string();
        let words: Vec<_> = [&name].into_iter().chain(&self.arguments).map(text).collect::<io::Result<_>>()?;
        let environment: Vec<_> = environment.iter().map(text).collect::<io::Result<_>>()?;
        execve(&program, &words, &environment)?;
        Ok(())
    }
}

/// The path of a program as a shell finds it: a name without a slash is searched for in the directories of `search`.
fn find_program(name: &OsStr, search: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return std::path::absolute(name).ok();
    }
    env::split_paths(search)
        .map(|directory| directory.join(name))
        .find(|path| path.is_absolute() && is_executable(path))
}

/// Returns whether this process may execute the file.
fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The arguments, in which the paths of files and of sockets are absolute.
fn with_absolute_paths(arguments: &[OsString]) -> Vec<OsString> {
    const LISTEN: &str = "--listen";
    const PATH_OPTIONS: [&str; 4] = ["--config", LISTEN, "--pid-file", "--log-file"];
    let absolute = |option: &str, value: &OsStr| {
        let (scheme, path) = match value.as_bytes().strip_prefix(b"unix:") {
            Some(path) if option == LISTEN => ("unix:", OsStr::from_bytes(path)),
            _ if option == LISTEN => return value.to_owned(),
            _ => ("", value),
        };
        let mut changed = OsString::from(scheme);
        changed.push(std::path::absolute(path).map_or_else(|_| path.to_owned(), PathBuf::into_os_string));
        changed
    };
    let mut option = None;
    let mut changed = Vec::new();
    for word in arguments {
        let with_value = PATH_OPTIONS.iter().find_map(|option| {
            let value = word.as_bytes().strip_prefix(option.as_bytes())?.strip_prefix(b"=")?;
            let mut word = OsString::from(format!("{option}="));
            word.push(absolute(option, OsStr::from_bytes(value)));
            Some(word)
        });
        changed.push(match (with_value, option) {
            (Some(word), _) => word,
            (None, Some(option)) => absolute(option, word),
            (None, None) => word.clone(),
        });
        option = PATH_OPTIONS.into_iter().find(|option| word == option);
    }
    changed
}

/// The message that is passed in addition to the listening sockets. Fields may be added, with defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct UpgradeMessage {
    /// The first descriptor is the locked pid file.
    pid_file: bool,
    /// The next one is the client that waits for the result.
    client: bool,
    /// The next one is the socket for local requests.
    #[serde(default)]
    local_socket: bool,
    /// The reason why the installed program could not be executed, if this is the earlier one again.
    #[serde(default)]
    failure: Option<String>,
}

/// The descriptors for the new program.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// The listening sockets with their names.
    pub(crate) sockets: Vec<(String, OwnedFd)>,
    pub(crate) pid_file: Option<OwnedFd>,
    pub(crate) client: Option<OwnedFd>,
    /// The socket for local requests, in which those that come meanwhile wait.
    pub(crate) local_socket: Option<OwnedFd>,
}

/// The handover of the earlier program of this process, without the listening sockets.
#[derive(Debug, Default)]
pub(crate) struct ReceivedHandover {
    pub(crate) pid_file: Option<OwnedFd>,
    pub(crate) client: Option<OwnedFd>,
    pub(crate) local_socket: Option<OwnedFd>,
    /// The reason why the installed program could not be executed, and this one was executed again.
    pub(crate) failure: Option<String>,
}

impl ReceivedHandover {
    /// Receives the descriptors from the socket with [`UPGRADE_SOCKET_NAME`].
    ///
    /// # Errors
    /// If there is no message in it.
    pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Self> {
        let Some((message, descriptors)) = source::receive_message::<UpgradeMessage>(socket)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut descriptors = descriptors.into_iter();
        let pid_file = if message.pid_file { descriptors.next() } else { None };
        let client = if message.client { descriptors.next() } else { None };
        let local_socket = if message.local_socket { descriptors.next() } else { None };
        Ok(Self { pid_file, client, local_socket, failure: message.failure })
    }
}

/// Returns whether this process was another rtlogd before.
pub(crate) fn is_replacement() -> bool {
    let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
    is_ours && env::var("LISTEN_FDNAMES").is_ok_and(|names| names.split(':').any(|name| name == UPGRADE_SOCKET_NAME))
}

impl Handover {
    /// Executes the program, with the descriptors. If it cannot be executed, the present one is executed again, and learns
    /// the reason. Returns only if that fails as well, which leaves nothing of the daemon but the process.
    pub(crate) fn execute(self, program: &InstalledProgram, signals: EarlySignals) -> io::Error {
        if let Some(limit) = crate::daemon::descriptors::open_file_limit_for_commands() {
            // The new program is started with the limit with which this one was.
            crate::daemon::descriptors::set_open_file_limit(limit).unwrap_or_default();
        }
        // Until the new program handles signals, they wait: a request to reload would end it.
        if signals.hold() {
            // The request arrived when nothing but the execution was left to do: it waits for the new program, which ends.
            kill_process(getpid(), Signal::TERM).unwrap_or_default();
        }
        info!("executing {}", program.path.display());
        let error = self.execute_at(&program.path, program, None);
        error!(errno = error.raw_os_error(), error:% = error; "cannot execute {}: this version continues", program.path.display());
        let failure = format!("{} cannot be executed: {error}", program.path.display());
        self.execute_at(Path::new("/proc/self/exe"), program, Some(failure))
    }

    /// Executes the program at `path` in the place of this one, with the arguments of `program`. Returns only if that fails.
    fn execute_at(&self, path: &Path, program: &InstalledProgram, failure: Option<String>) -> io::Error {
        let execute = || {
            // The descriptors must stay open until the new program has them.
            let (_descriptors, environment) = self.prepare(failure)?;
            program.execute_at(path, &environment)
        };
        execute().err().unwrap_or_else(|| io::ErrorKind::Other.into())
    }

    /// The descriptors, which the new program inherits, and the environment that describes them.
    fn prepare(&self, failure: Option<String>) -> io::Result<(Vec<OwnedFd>, Vec<OsString>)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let message = UpgradeMessage {
            pid_file: self.pid_file.is_some(),
            client: self.client.is_some(),
            local_socket: self.local_socket.is_some(),
            failure,
        };
        let carried = self.pid_file.iter().chain(&self.client).chain(&self.local_socket);
        let carried: Vec<BorrowedFd<'_>> = carried.map(AsFd::as_fd).collect();
        source::send_message(&ours, &message, &carried)?;
        let listening = self.sockets.iter().map(|(name, socket)| (name.as_str(), socket.as_fd()));
        let (names, sockets): (Vec<_>, Vec<_>) = listening.chain([(UPGRADE_SOCKET_NAME, theirs.as_fd())]).unzip();
        let descriptors = in_one_range(&sockets)?;
        for descriptor in &descriptors {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        let first = descriptors.first().map_or(3, AsRawFd::as_raw_fd);
        let passed = [
            ("LISTEN_PID", process::id().to_string()),
            ("LISTEN_FDS", descriptors.len().to_string()),
            // Of the crate listenfd: systemd itself always begins at 3.
            ("LISTEN_FDS_FIRST_FD", first.to_string()),
            ("LISTEN_FDNAMES", names.join(":")),
        ];
        let is_passed = |name: &OsStr| passed.iter().any(|(passed, _)| name == *passed);
        let inherited: Vec<_> = env::vars_os().filter(|(name, _)| !is_passed(name)).collect();
        let all = inherited.into_iter().chain(passed.into_iter().map(|(name, value)| (name.into(), value.into())));
        let environment = all.map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            variable
        });
        Ok((descriptors, environment.collect()))
    }
}

/// Copies of the descriptors, whose numbers follow each other.
fn in_one_range(descriptors: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
    let mut least = 3;
    for _ in 0..MAX_RANGE_ATTEMPTS {
        let copies: Vec<OwnedFd> = descriptors
            .iter()
            .map(|descriptor| Ok(fcntl_dupfd_cloexec(descriptor, least)?))
            .collect::<io::Result<_>>()?;
        let numbers: Vec<_> = copies.iter().map(AsRawFd::as_raw_fd).collect();
        if numbers.windows(2).all(|pair| pair[1] == pair[0] + 1) {
            return Ok(copies);
        }
        least = numbers.last().map_or(least, |last| last + 1);
    }
    Err(io::Error::other("there is no range of free descriptors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    type Change = fn(&mut Capabilities);

    #[test]
    fn only_an_equal_or_later_version_can_take_over() {
        let own = Capabilities { version: "1.0".into(), upgrade: 2, shim: 3, history: 4 };
        let table: [(Change, Option<&str>); 6] = [
            (|_| {}, None),
            (|new| (new.upgrade, new.shim, new.history) = (3, 4, 5), None),
            (|new| new.version = "0.9".into(), None),
            (|new| new.upgrade = 1, Some("the sockets")),
            (|new| new.shim = 2, Some("the commands")),
            (|new| new.history = 3, Some("the histories")),
        ];
        for (change, reason) in table {
            let mut new = own.clone();
            change(&mut new);
            let obstacle = new.obstacle(&own);
            assert_eq!(obstacle.is_some(), reason.is_some(), "{new:?}: {obstacle:?}");
            assert!(obstacle.is_none_or(|text| text.contains(reason.unwrap()) && text.contains("version 1.0")));
        }
        assert_eq!(Capabilities::parse(own.to_text().as_bytes()), Some(own));
        // A later version may say more.
        let later = br#"{"version":"2","upgrade":1,"shim":1,"history":9,"cores":2}"#;
        assert_eq!(Capabilities::parse(later).unwrap().history, 9);
        assert_eq!(Capabilities::parse(b"rtlogd 0.1.0\n"), None);
    }

    #[test]
    fn paths_become_absolute_and_nothing_else() {
        let here = env::current_dir().unwrap();
        let at = |name: &str| here.join(name).display().to_string();
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let table = [
            ("serve --config a.yaml --daemon", format!("serve --config {} --daemon", at("a.yaml"))),
            ("serve --config=a.yaml", format!("serve --config={}", at("a.yaml"))),
            ("serve --pid-file x --log-file=y/z", format!("serve --pid-file {} --log-file={}", at("x"), at("y/z"))),
            ("serve --config /a --user u", "serve --config /a --user u".to_owned()),
            (
                "serve --listen unix:s --listen=unix:/t --listen 127.0.0.1:1 x",
                format!("serve --listen unix:{} --listen=unix:/t --listen 127.0.0.1:1 x", at("s")),
            ),
        ];
        for (before, after) in table {
            assert_eq!(with_absolute_paths(&line(before)), line(&after));
        }
    }

    #[test]
    fn the_program_is_the_one_that_a_shell_would_start() {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("first"), place.path().join("second"));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
        }
        for (directory, mode) in [(&first, 0o644), (&second, 0o755)] {
            let path = directory.join("rtlogd");
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let search = env::join_paths([&first, &second]).unwrap();
        assert_eq!(find_program("rtlogd".as_ref(), &search), Some(second.join("rtlogd")));
        assert_eq!(find_program("other".as_ref(), &search), None);
        assert_eq!(find_program("/x/rtlogd".as_ref(), &search), Some("/x/rtlogd".into()));
        assert_eq!(find_program("./rtlogd".as_ref(), &search), Some(env::current_dir().unwrap().join("rtlogd")));
    }

    #[test]
    fn descriptors_for_the_new_program_are_in_one_range_and_arrive() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (client, daemon) = UnixStream::pair().unwrap();
        let sockets =
            vec![("listen-a".to_owned(), theirs.into()), ("listen-b".to_owned(), ours.try_clone().unwrap().into())];
        let handover = Handover { sockets, pid_file: None, client: Some(daemon.into()), local_socket: None };
        let (descriptors, environment) = handover.prepare(Some("it is gone".to_owned())).unwrap();
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        assert_eq!(numbers, (numbers[0]..numbers[0] + 3).collect::<Vec<_>>());
        for variable in [
            "LISTEN_FDS=3",
            &format!("LISTEN_FDS_FIRST_FD={}", numbers[0]),
            "LISTEN_FDNAMES=listen-a:listen-b:rtlogd-upgrade",
        ] {
            assert!(environment.iter().any(|found| found == variable), "{variable}");
        }
        let received = ReceivedHandover::receive(&descriptors[2]).unwrap();
        assert!(received.pid_file.is_none() && received.local_socket.is_none());
        assert_eq!(received.failure.as_deref(), Some("it is gone"));
        UnixStream::from(received.client.unwrap()).write_all(b"x").unwrap();
        (&client).read_exact(&mut [0]).unwrap();
    }
}
