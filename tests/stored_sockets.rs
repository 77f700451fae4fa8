//! Listening sockets that a service manager keeps while rtlogd is started again (`FileDescriptorStoreMax=`). The real one is
//! in the tests of the package.

// Release builds have no points at which they kill themselves.
#![cfg(debug_assertions)]

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use crate::continuity::{COUNT, events, of_kind, run_of, texts};
use crate::harness::http::{Address, Response};
use crate::harness::{Daemon, Deadline, PATIENCE, TestDir};

/// A socket as the service manager keeps it.
struct StoredSocket {
    name: String,
    socket: OwnedFd,
}

impl StoredSocket {
    /// Starts a daemon that kills itself before it is ready, and returns the socket that it had asked to keep. A daemon that
    /// received its socket does not ask again.
    fn of_killed_daemon(dir: &TestDir, received: Option<&Self>) -> Option<Self> {
        let notify = dir.path("notify-killed");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = received.map_or_else(|| dir.command(&SERVE), |socket| socket.command(dir));
        let mut daemon = command.env("RTLOGD_KILL_AT", "stored:1").env("NOTIFY_SOCKET", &notify).spawn().unwrap();
        let status = Deadline::new().until("its death", || daemon.try_wait().unwrap());
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
        // The marker comes after all messages of the daemon.
        UnixDatagram::unbound().unwrap().send_to(b"marker", &notify).unwrap();
        let mut stored = None;
        loop {
            let (message, descriptor) = receive(&manager);
            assert!(!message.contains("READY=1"), "it was ready: {message}");
            match (message.strip_prefix("FDSTORE=1\nFDNAME="), descriptor) {
                (Some(name), Some(socket)) => stored = Some(Self { name: name.trim_end().to_owned(), socket }),
                _ if message == "marker" => break,
                _ => {}
            }
        }
        std::fs::remove_file(notify).unwrap();
        stored
    }

    /// The command that starts a daemon with this socket, as systemd passes it.
    fn command(&self, dir: &TestDir) -> Command {
        let mut command = Command::new("bash");
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$0 exec \"$@\"";
        command.args(["-c", script, &self.name, env!("CARGO_BIN_EXE_rtlogd")]).args(SERVE);
        command.current_dir(dir.path("")).env("RUNTIME_DIRECTORY", dir.path("")).env_remove("RTLOGD_LOG");
        command.stdin(Stdio::from(self.socket.try_clone().unwrap()));
        command
    }

    /// Starts the next daemon with this socket.
    fn pass_on(&self, dir: TestDir) -> Daemon {
        let command = self.command(&dir);
        dir.launch_command(command)
    }

    fn address(&self, dir: &TestDir) -> Address {
        let address = rustix::net::getsockname(&self.socket).unwrap();
        std::net::SocketAddr::try_from(address).map_or_else(|_| Address::Unix(dir.path("s")), Address::Tcp)
    }
}

const SERVE: [&str; 3] = ["serve", "--config", "rtlogd.yaml"];

/// The next message to the service manager, and the descriptor that came with it.
fn receive(manager: &UnixDatagram) -> (String, Option<OwnedFd>) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(manager, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (String::from_utf8_lossy(&text[..received.bytes]).into_owned(), descriptor)
}

#[test]
fn a_daemon_that_is_killed_before_it_is_ready_leaves_its_sockets_and_commands_to_the_next() {
    for listen in ["127.0.0.1:0", "unix:s"] {
        let dir = TestDir::new();
        dir.configure(&format!(
            "listen: [\"{listen}\"]\nstate_directory: state\nstreams: {{ p: {{ command: [sh, -c, '{COUNT}'] }} }}"
        ));
        let stored = StoredSocket::of_killed_daemon(&dir, None).expect("a socket to keep");
        // Nobody accepts this connection yet.
        let address = stored.address(&dir);
        let mut waiting = address.connect();
        waiting.patience(PATIENCE);
        waiting.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let daemon = stored.pass_on(dir);
        assert_eq!(Response::read(waiting).unwrap().status, 200, "{listen}");
        let run = run_of(&daemon, "p");
        let dir = daemon.kill();
        assert!(StoredSocket::of_killed_daemon(&dir, Some(&stored)).is_none(), "it is kept already");
        let daemon = stored.pass_on(dir);
        assert_eq!(Response::get(&address, "/health/ready", &[]).status, 200, "{listen}");
        assert_eq!(run_of(&daemon, "p"), run, "{listen}");
        let last = texts(&events(&daemon, "p")).last().map_or(0, |last| last.parse::<u64>().unwrap());
        daemon.follow("p").until("more lines", |message| message.data.parse::<u64>().is_ok_and(|n| n > last));
        let all = events(&daemon, "p");
        let numbers: Vec<usize> = texts(&all).iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>(), "{listen}");
        assert!(of_kind(&all, "loss").is_empty(), "{listen}");
    }
}
