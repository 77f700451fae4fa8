//! The loop of a shim: one thread, which sleeps until something happens.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, set_child_subreaper, setsid};

use super::owned_program::{AskTarget, OwnedProgram};
use super::protocol::{self, DaemonMessage, ProgramExit, RunningProgram, ShimMessage, VERSION};
use super::signals::ShimSignals;
use super::socket::ShimSocket;
use super::{SHIM_PROCESS_NAME, ShimTask, milliseconds};
use crate::source::process::child;
use crate::source::process::child::{ExecFailure, ExecStep};
use crate::source::process::descriptors::close_other_descriptors;
use crate::source::process::leader::LeaderExit;

/// The time that a connection has to say what it wants.
const MAX_GREETING_TIME: Duration = Duration::from_secs(2);

/// The interval at which a run that was asked to end is checked.
const END_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Starts a program and waits for its end, whatever becomes of the daemon.
pub(crate) fn become_shim() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads the output of a shim. A daemon that waits for it learns of its end from the connection.
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> io::Result<()> {
    let daemon: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    child::replace_stdin_with_null()?;
    // A pipe or a lock of the program that started the daemon must not stay open as long as the shim lives.
    close_other_descriptors(&[daemon.as_raw_fd()])?;
    // Its file has the name `exe`, by which nobody would know it.
    rustix::thread::set_name(&CString::new(SHIM_PROCESS_NAME)?)?;
    let Some((task, descriptors)) = receive_task(&daemon)? else { return Ok(()) };
    let failed = |step, error: &io::Error| ShimMessage::Failed(ExecFailure::new(step, error));
    match Shim::start(task, descriptors, daemon) {
        Ok(mut shim) => shim.run(),
        Err((daemon, Ok(failure))) => protocol::send(daemon, &ShimMessage::Failed(failure), &[]),
        Err((daemon, Err(error))) => protocol::send(daemon, &failed(ExecStep::Prepare, &error), &[]),
    }
}

/// Receives the task, which is in a file since it may be larger than a message, and the descriptors.
fn receive_task(daemon: &OwnedFd) -> io::Result<Option<(ShimTask, Vec<OwnedFd>)>> {
    let Some((VERSION, mut descriptors)) = protocol::receive::<u32>(daemon)? else { return Ok(None) };
    if descriptors.is_empty() {
        return Ok(None);
    }
    let mut text = Vec::new();
    File::from(descriptors.remove(0)).read_to_end(&mut text)?;
    Ok(Some((serde_json::from_slice(&text)?, descriptors)))
}

/// The reason why a shim did not start, with the connection on which to report it.
type StartFailure = (OwnedFd, io::Result<ExecFailure>);

/// A running shim.
struct Shim {
    task: ShimTask,
    /// The daemon's ends of the standard streams, and the snapshot.
    kept: Vec<OwnedFd>,
    socket: ShimSocket,
    signals: ShimSignals,
    program: OwnedProgram,
    /// The daemon, if one is attached.
    daemon: Option<OwnedFd>,
    /// A connection that has not said yet what it wants, and the time until which it has to.
    guest: Option<(OwnedFd, Instant)>,
    /// The time since which no daemon is attached, and the time for which none was before.
    orphaned_since: Option<Instant>,
    orphaned_before: Duration,
    /// The time at which processes are killed; `None` unless the run was asked to end.
    killed_at: Option<Instant>,
    /// The same if a daemon has asked it, which does it itself while it is attached.
    killed_without_daemon_at: Option<Instant>,
    /// What the leader left behind was asked to end.
    were_leftovers_asked: bool,
    /// The run was ended since no daemon came.
    was_orphaned: bool,
    end: Option<ProgramExit>,
}

impl Shim {
    /// Opens the socket and starts the program.
    fn start(task: ShimTask, mut descriptors: Vec<OwnedFd>, daemon: OwnedFd) -> Result<Self, StartFailure> {
        match Self::start_program(&task, &mut descriptors, &daemon) {
            Ok(Ok((socket, signals, program))) => {
                let mut shim = Self {
                    task,
                    kept: descriptors,
                    socket,
                    signals,
                    orphaned_since: Some(program.started()),
                    program,
                    daemon: None,
                    guest: None,
                    orphaned_before: Duration::ZERO,
                    killed_at: None,
                    killed_without_daemon_at: None,
                    were_leftovers_asked: false,
                    was_orphaned: false,
                    end: None,
                };
                shim.attach(daemon, false);
                Ok(shim)
            }
            Ok(Err(failure)) => Err((daemon, Ok(failure))),
            Err(error) => Err((daemon, Err(error))),
        }
    }

    /// Starts the program with its descriptors, which are taken from `descriptors`.
    fn start_program(
        task: &ShimTask,
        descriptors: &mut Vec<OwnedFd>,
        daemon: &OwnedFd,
    ) -> io::Result<Result<(ShimSocket, ShimSignals, OwnedProgram), ExecFailure>> {
        // Neither a terminal of the daemon nor a signal to its group concerns the shim.
        setsid()?;
        set_child_subreaper(Some(getpid()))?;
        let signals = ShimSignals::new()?;
        let socket = match ShimSocket::open(&task.directory, &task.address.name) {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(ExecFailure::new(ExecStep::Socket, &error))),
        };
        if is_closed(daemon)? {
            // The next daemon may have looked for sockets before there was this one, and starts the program itself.
            socket.remove();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let passed_on: Vec<_> = descriptors.drain(..task.passed_on.min(descriptors.len())).collect();
        let program = match OwnedProgram::start(task, &passed_on)? {
            Ok(program) => program,
            Err(failure) => {
                socket.remove();
                return Ok(Err(failure));
            }
        };
        // The program has begun in the directory of the daemon, in which the shim must not keep a file system from being
        // unmounted.
        std::env::set_current_dir("/")?;
        Ok(Ok((socket, signals, program)))
    }

    /// Waits for events until the run has ended and a daemon knows it, or until no daemon came for too long.
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.reap();
            if self.end.is_some() && self.daemon.is_none() && self.is_over() {
                self.close();
                return Ok(());
            }
            let (ready, guest_ready, daemon_ready, terminated) = self.wait()?;
            if terminated {
                self.signals.take_terminated();
                self.end_run();
            }
            if self.signals.take_hung_up() {
                self.socket.restore();
            }
            let now = Instant::now();
            if self.orphaned_since.is_some_and(|since| now >= since + self.orphan_timeout()) && self.killed_at.is_none()
            {
                self.was_orphaned = true;
                self.end_run();
            }
            if self.killed_at.is_some_and(|at| now >= at) {
                self.program.signal(Signal::KILL);
            }
            if self.daemon.is_none() && self.killed_without_daemon_at.is_some_and(|at| now >= at) {
                self.killed_without_daemon_at = None;
                self.program.signal(Signal::KILL);
            }
            if daemon_ready && self.hear_daemon() {
                self.close();
                return Ok(());
            }
            if guest_ready || self.guest.as_ref().is_some_and(|(_, until)| now >= *until) {
                self.hear_guest();
            }
            if ready && self.guest.is_none() {
                self.guest = self.socket.accept().map(|guest| (guest, now + MAX_GREETING_TIME));
            }
        }
    }

    /// Ends what is left of the run. Then, nobody looks for it any more.
    fn close(&self) {
        self.program.kill_rest();
        self.socket.remove();
    }

    /// Sleeps until something happens. Returns whether somebody connects, and whether the guest, the daemon, or a signal
    /// that asks to end is there.
    fn wait(&self) -> io::Result<(bool, bool, bool, bool)> {
        let [child_ended, terminated, hung_up] = self.signals.pipes();
        let nobody = child_ended;
        let guest = self.guest.as_ref().map_or(nobody.as_fd(), |(guest, _)| guest.as_fd());
        let daemon = self.daemon.as_ref().map_or(nobody.as_fd(), AsFd::as_fd);
        let mut polled = [
            PollFd::new(child_ended, PollFlags::IN),
            PollFd::new(terminated, PollFlags::IN),
            PollFd::new(hung_up, PollFlags::IN),
            PollFd::new(self.socket.listener(), if self.guest.is_none() { PollFlags::IN } else { PollFlags::empty() }),
            PollFd::from_borrowed_fd(guest, PollFlags::IN),
            PollFd::from_borrowed_fd(daemon, PollFlags::IN),
        ];
        let timeout = self.due().map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|time| Timespec::try_from(time).unwrap_or_default());
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |at: usize| !polled[at].revents().is_empty();
        Ok((is_ready(3), self.guest.is_some() && is_ready(4), self.daemon.is_some() && is_ready(5), is_ready(1)))
    }

    /// The next time at which something is to be done although nothing happens.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let orphan =
            self.orphaned_since.filter(|_| self.killed_at.is_none()).map(|since| since + self.orphan_timeout());
        let greeting = self.guest.as_ref().map(|(_, until)| *until);
        // A run whose end was recorded, or that will not be recorded, is checked until nothing of it is left.
        let check = (self.killed_at.is_some() && !self.is_over()).then(|| now + END_POLL_INTERVAL);
        let kill = self.killed_without_daemon_at.filter(|_| self.daemon.is_none());
        [orphan, greeting, check, kill].into_iter().flatten().min()
    }

    fn orphan_timeout(&self) -> Duration {
        Duration::from_millis(self.task.policy.orphan_timeout)
    }

    /// Returns whether the run was asked to end, and nothing of it is left. A run that ended by itself waits for a daemon.
    fn is_over(&self) -> bool {
        self.killed_at.is_some() && self.end.is_some() && !self.program.is_alive()
    }

    /// Reaps processes that have ended, and tells the daemon of the end of the program.
    fn reap(&mut self) {
        self.signals.take_child_ended();
        if self.end.is_none()
            && let Some(LeaderExit { status, memory, .. }) = self.program.try_wait()
        {
            let end = ProgramExit {
                status: status.map(ExitStatusExt::into_raw),
                memory,
                duration: milliseconds(self.program.started().elapsed()),
                orphaned: self.was_orphaned,
            };
            self.end = Some(end);
            if self.killed_at.is_some() {
                self.ask_leftovers();
            } else {
                self.ask_abandoned();
            }
            self.report_end();
        }
        self.program.reap_others();
    }

    /// Asks what the leader has left behind, once, unless it was asked together with the leader.
    fn ask_leftovers(&mut self) {
        if self.task.policy.only_leader && !std::mem::replace(&mut self.were_leftovers_asked, true) {
            self.ask(AskTarget::All);
        }
    }

    /// Asks what the leader has left behind if its daemon, which had asked the leader, is gone: it is killed later.
    fn ask_abandoned(&mut self) {
        if self.daemon.is_none() && self.killed_without_daemon_at.is_some() && self.end.is_some() {
            self.ask_leftovers();
        }
    }

    fn report_end(&mut self) {
        if let (Some(daemon), Some(end)) = (&self.daemon, self.end)
            && protocol::send(daemon, &ShimMessage::Ended(end), &[]).is_err()
        {
            self.lose_daemon();
        }
    }

    fn lose_daemon(&mut self) {
        self.daemon = None;
        self.orphaned_since = Some(Instant::now());
        // If the leader has ended meanwhile, the daemon may not have come to ask the others.
        self.ask_abandoned();
    }

    /// Reads what a new connection wants; one that says nothing is closed.
    fn hear_guest(&mut self) {
        let Some((guest, _)) = self.guest.take() else { return };
        match protocol::receive(&guest) {
            Ok(Some((DaemonMessage::Attach { secret, policy, .. }, _))) => {
                let reason = if self.daemon.is_some() {
                    "another daemon is attached"
                } else if secret != self.task.address.secret {
                    "the secret is wrong"
                } else {
                    self.task.policy = policy.unwrap_or(self.task.policy);
                    return self.attach(guest, true);
                };
                protocol::send(guest, &ShimMessage::Refused { reason: reason.to_owned() }, &[]).unwrap_or_default();
            }
            Ok(Some((DaemonMessage::End {}, _))) => self.end_run(),
            Ok(
                Some((DaemonMessage::Bye {} | DaemonMessage::Asked { .. } | DaemonMessage::InputEnded {}, _)) | None,
            )
            | Err(_) => {}
        }
    }

    /// Attaches a daemon; `later` says that it did not start this run.
    fn attach(&mut self, daemon: OwnedFd, later: bool) {
        if let Some(since) = self.orphaned_since.take().filter(|_| later) {
            self.orphaned_before += since.elapsed();
        }
        let running = RunningProgram {
            version: VERSION,
            pid: self.program.pid().as_raw_nonzero().get(),
            age: milliseconds(self.program.started().elapsed()),
            outputs: self.task.outputs,
            input: self.task.input,
            staged: self.task.staged,
            orphaned: milliseconds(self.orphaned_before),
        };
        // This daemon decides again.
        self.killed_without_daemon_at = None;
        let kept: Vec<_> = if later { self.kept.iter().map(AsFd::as_fd).collect() } else { Vec::new() };
        let told = protocol::send(&daemon, &ShimMessage::Running(running), &kept);
        self.daemon = Some(daemon);
        if told.is_err() {
            return self.lose_daemon();
        }
        self.report_end();
    }

    /// Handles a message of the daemon, or its end. Returns whether the shim has nothing more to do.
    fn hear_daemon(&mut self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        match protocol::receive(daemon) {
            Ok(Some((DaemonMessage::Bye {}, _))) => true,
            Ok(Some((DaemonMessage::End {}, _))) => {
                self.end_run();
                false
            }
            Ok(Some((DaemonMessage::Asked { grace }, _))) => {
                self.killed_without_daemon_at = Some(Instant::now() + Duration::from_millis(grace));
                false
            }
            Ok(Some((DaemonMessage::InputEnded {}, _))) => {
                if std::mem::take(&mut self.task.input) {
                    drop(self.kept.remove(self.task.outputs));
                }
                false
            }
            Ok(Some((DaemonMessage::Attach { .. }, _))) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Ok(None) | Err(_) => {
                self.lose_daemon();
                false
            }
        }
    }

    /// Asks the run to end, unless it was asked already; what is left of it after its grace period is killed.
    fn end_run(&mut self) {
        if self.killed_at.is_some() {
            return;
        }
        self.killed_at = Some(Instant::now() + Duration::from_millis(self.task.policy.grace));
        let only_leader = self.task.policy.only_leader && self.end.is_none();
        self.ask(if only_leader { AskTarget::Leader } else { AskTarget::All });
    }

    fn ask(&self, target: AskTarget) {
        let signal = Signal::from_named_raw(self.task.policy.stop_signal).unwrap_or(Signal::TERM);
        self.program.ask(target, signal);
    }
}

/// Returns whether the other side of a connection is gone.
fn is_closed(connection: &OwnedFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(connection, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default()))?;
    Ok(polled[0].revents().contains(PollFlags::HUP))
}
