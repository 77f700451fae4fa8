//! A child process: each line of its two pipes or its terminal is an event, and so is its end.
//!
//! # Theory of operation
//! ```text
//!   Supervisor ──start──▶ ProcessRun ──spawn──▶ child (this program) ──exec──▶ the program
//!    │ Idle: Start,        │ RunPhase:                                          │ stdout, stderr or a terminal
//!    │ BackingOff,         │   Running ──exit──▶ Draining ──quiet──▶ Ended      ▼
//!    │ OnReader, Manual    │        ◀── lines, then one end event ───────────  Pipes
//!    └◀── RunEnd ──────────┘   Leader: waits for the process │ ProcessGroup, RunRecord: who gets signals
//! ```
//! **Two levels.** A [`ProcessRun`] is one run: it knows nothing of restarts. The [`supervisor`] decides when there is
//! a next run, and carries out commands. At most one run of a stream exists at a time.
//!
//! **Start.** This program starts itself as a *child*, receives the descriptors over a socket, changes user, directory
//! and limits, and executes the program; a failing step is reported over the same socket with its name.
//!
//! **End.** The exit of the leader ends the phase `Running`. Its descendants may still hold the pipes, so that these
//! are drained until nothing came for [`DRAIN_QUIET_TIME`], for at most [`MAX_DRAIN_WAIT`]. Then the remaining
//! processes of the run are killed; if the run was asked to end, they first have the rest of its grace period. The end
//! event is the last event of a run.
//!
//! **Killed processes.** The process group, and processes that left it on purpose: these inherit the *mark* of the run
//! in their environment, by which they are found. The daemon is the subreaper of its descendants, so that none is lost
//! to init.
//!
//! **After a crash.** The [`RunRecord`] travels in the stream's batches. The next daemon finds there what outlived its
//! predecessor, ends it, and emits the missing end event. A process id alone is not enough, since it is reused: the
//! start time and the mark must match.
//!
//! **Rejected alternatives.** `pre_exec`: it needs unsafe code between `fork` and `exec`. Starting the child on a
//! thread for blocking work: with `PR_SET_PDEATHSIG` the child dies when that idle thread ends. Reading until the pipes
//! are closed: a daemon that was started in the background keeps them open forever.
//!
//! Reading order: `supervisor`, this file, `spawn`, `child`, `leader`, `pipes`, `pty`, `input`, `stop`, `run_record`,
//! `procfs`; `helper` runs tools for other sources.

mod child;
mod spawn;
mod leader;
mod pipes;
mod pty;
mod input;
mod stop;
mod run_record;
mod procfs;
mod helper;
pub(crate) mod descriptors;
pub(crate) mod supervisor;

pub(crate) use child::become_child;
pub(super) use helper::Helper;
pub(crate) use leader::Children;
pub(crate) use pipes::Tee;
pub(super) use run_record::RunRecord;

use std::future::pending;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use log::{info, warn};
use rustix::process::Signal;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::config::{ProcessSourceConfig, Stop, Stream, TerminalSize};
use crate::control::{Command, CommandError, CommandReply};
use crate::event::{EndCause, RunEnd, SourceState, signal_name};
use crate::stream::Batch;

use super::{ClockReading, SourceError, SourceOptions, until};
use input::ProcessInput;
use leader::{Leader, LeaderExit};
use pipes::{HeldBack, PipeRead, Pipes};
use stop::ProcessGroup;

/// The time for which pipes must be quiet after the end of the process: its descendants may still write.
const DRAIN_QUIET_TIME: Duration = Duration::from_millis(300);

/// The longest time for which pipes are drained: a background process that was left behind may write forever.
const MAX_DRAIN_WAIT: Duration = Duration::from_secs(5);

/// The interval at which a group that was asked to end is checked.
const GROUP_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A process that wrote nothing for this long may be buffering its output: its state says so, once in a run.
const SILENCE_NOTE_AFTER: Duration = Duration::from_mins(1);

/// The same time if the output so far ends in the middle of a line at the size of a full buffer.
const BLOCK_SILENCE_NOTE_AFTER: Duration = Duration::from_secs(10);

/// The time after which the memory of a process is measured first; the interval then doubles.
const MIN_MEMORY_INTERVAL: Duration = Duration::from_millis(50);

/// The longest interval between two measurements of memory.
const MAX_MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// One run of a process.
#[derive(Debug)]
pub(super) struct ProcessRun {
    stream: String,
    started: Instant,
    leader: Leader,
    known: RunRecord,
    group: ProcessGroup,
    /// Secrets are redacted, and therefore the raw output is not shown to anybody.
    is_redacted: bool,
    pipes: Pipes,
    input: ProcessInput,
    stop: Stop,
    /// The reason why the process was asked to end, and the time when it will be killed; `None` unless it was asked.
    stopping: Option<(EndCause, Instant)>,
    /// Processes that left the group are ended, too.
    ends_escaped: bool,
    /// The peak memory measured so far, in bytes, and when to measure again.
    memory: (Option<u64>, Instant),
    /// The time of the last output; `None` once the silence was reported.
    last_output: Option<Instant>,
    phase: RunPhase,
}

#[derive(Debug)]
enum RunPhase {
    Running,
    /// The process has ended; its pipes are read until `quiet`, at most until `last`.
    Draining {
        end: RunEnd,
        quiet_until: Instant,
        last: Instant,
        killed: bool,
    },
    Ended,
}

/// The next event of a running process.
enum RunEvent {
    Read(PipeRead),
    Exit(LeaderExit),
    Kill,
    Memory,
    Silent,
}

impl ProcessRun {
    /// Starts the process, as run `number`. Must not be dropped before it returns.
    pub(super) async fn start(
        spec: &Stream,
        source: &ProcessSourceConfig,
        options: &SourceOptions,
        number: u64,
    ) -> Result<Self, SourceError> {
        let stream = spec.name.to_string();
        let mark = spawn::mark(&stream, number);
        let spawn::StartedProgram { leader, ends, input, descriptors } =
            spawn::spawn(&stream, source, options, &mark).await?;
        let pid = leader.pid();
        let began = procfs::stat(pid).map_or(0, |stat| stat.started);
        let now = Instant::now();
        Ok(Self {
            stream,
            started: now,
            known: RunRecord {
                run: number,
                pid: pid.as_raw_nonzero().get(),
                started: began,
                mark,
                ended: false,
                descriptors,
                half: <[String; 2]>::default(),
            },
            group: ProcessGroup::new(pid, !options.same_group),
            leader,
            is_redacted: spec.redact.is_some(),
            pipes: Pipes::new(spec, ends),
            input,
            stop: source.stop.clone(),
            stopping: None,
            ends_escaped: !options.end_stream,
            memory: (None, now + MIN_MEMORY_INTERVAL),
            last_output: Some(now),
            phase: RunPhase::Running,
        })
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.known.pid.cast_unsigned()
    }

    /// The current run record.
    pub(super) fn known(&self) -> RunRecord {
        let half = [0, 1].map(|lane| run_record::half(self.pipes.half(lane)));
        RunRecord { half, ended: matches!(self.phase, RunPhase::Ended), ..self.known.clone() }
    }

    /// Adds the next events to `batch`; returns the end of the run once there are no more. May be dropped at any time.
    pub(crate) async fn next(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> Option<RunEnd> {
        loop {
            let done = match self.phase {
                RunPhase::Running => self.poll_running(tee, batch).await,
                RunPhase::Draining { .. } => self.poll_draining(tee, batch).await,
                RunPhase::Ended => pending().await,
            };
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// Handles one event in the phase `Running`. Returns `Some` if there may be events in the batch.
    async fn poll_running(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> Option<Option<RunEnd>> {
        let open = !self.pipes.is_ended();
        let kill = self.stopping.map(|(_, kill)| kill);
        let silent = self.silence_due();
        let woke = select! {
            read = self.pipes.read(tee, batch), if open => RunEvent::Read(read),
            exit = self.leader.ended() => RunEvent::Exit(exit),
            () = self.input.write() => return None,
            () = until(kill) => RunEvent::Kill,
            () = sleep_until(self.memory.1) => RunEvent::Memory,
            () = until(silent) => RunEvent::Silent,
        };
        match woke {
            RunEvent::Read(read) => {
                if read == PipeRead::Bytes && self.last_output.is_some() {
                    self.last_output = Some(Instant::now());
                }
                return Some(None);
            }
            RunEvent::Exit(exit) => self.begin_draining(exit),
            RunEvent::Kill => self.kill(),
            RunEvent::Memory => self.look(),
            RunEvent::Silent => {
                self.note_silence(batch);
                return Some(None);
            }
        }
        None
    }

    /// Handles one event in the phase `Draining`. Returns `Some` if there may be events in the batch.
    async fn poll_draining(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> Option<Option<RunEnd>> {
        let open = !self.pipes.is_ended();
        let patient = self.stopping.is_none() && tee.is_some();
        let RunPhase::Draining { quiet_until: quiet, last, .. } = &mut self.phase else { return None };
        // The tee waits for its reader as long as the process was not asked to end.
        let waits = tee.as_ref().is_some_and(Tee::waits);
        let last = Some(*last).filter(|_| !patient);
        let rest = Some(*quiet).filter(|_| !(patient && waits));
        let read = select! {
            biased;
            () = until(last) => PipeRead::End,
            read = self.pipes.read(tee, batch), if open => read,
            () = until(rest) => PipeRead::End,
        };
        match read {
            PipeRead::Bytes => {
                *quiet = Instant::now() + DRAIN_QUIET_TIME;
                Some(None)
            }
            PipeRead::OpenLineDue => Some(None),
            PipeRead::End => self.over(batch).map(Some),
        }
    }

    /// Asks the process to end; `KILL` follows after the grace period.
    pub(super) fn stop(&mut self, cause: EndCause) {
        let signal = Signal::from_named_raw(self.stop.signal.number()).unwrap_or(Signal::TERM);
        self.stopping = Some((cause, Instant::now() + self.stop.grace));
        self.signal_all(signal);
        // A suspended process handles no signal but this one.
        self.signal_all(Signal::CONT);
    }

    /// Returns whether the process was asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Sends a signal to the process group.
    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// Carries out a command that concerns only the running process.
    pub(super) fn command(&mut self, command: Command) -> Result<CommandReply, CommandError> {
        if !matches!(self.phase, RunPhase::Running) {
            return Err(CommandError::NotRunning);
        }
        match command {
            Command::Input(bytes) => self.input.push(&bytes)?,
            Command::EndOfInput => self.input.end()?,
            Command::Signal(number) => {
                let signal = Signal::from_named_raw(number).ok_or(CommandError::NoSignal(number))?;
                info!(stream = self.stream.as_str(), signal = signal_name(number).as_str(); "signal");
                self.signal(signal);
            }
            Command::Pause => self.signal(Signal::STOP),
            Command::Resume => self.signal(Signal::CONT),
            Command::Resize { rows, columns } => {
                let terminal = self.pipes.terminal().ok_or(CommandError::NoPty)?;
                pty::resize(terminal, TerminalSize { columns, rows })
                    .map_err(|error| CommandError::Failed(format!("the terminal cannot have this size: {error}")))?;
            }
            Command::Attach if self.is_redacted => return Err(CommandError::Redacted),
            Command::Push(_) => return Err(CommandError::NotAPushStream),
            Command::Attach => return self.pipes.attach().map(CommandReply::Attached).ok_or(CommandError::NoPty),
            Command::Start | Command::Stop | Command::Restart => {
                return Err(CommandError::Failed("the process cannot do this itself".to_owned()));
            }
        }
        Ok(CommandReply::Done)
    }

    fn kill(&mut self) {
        self.signal_all(Signal::KILL);
        if let Some((_, kill)) = &mut self.stopping {
            // The kill is repeated later, in case it was not enough.
            *kill = Instant::now() + MAX_DRAIN_WAIT;
        }
    }

    /// Sends `signal` to the group and to the processes that left it. Returns whether a process was left.
    fn signal_all(&self, signal: Signal) -> bool {
        let escaped = if self.ends_escaped { self.known.signal_escaped(signal) } else { 0 };
        self.group.signal(signal) || escaped > 0
    }

    /// Returns whether a process of the group, or one that left it, is alive.
    fn is_alive(&self) -> bool {
        self.group.is_alive() || (self.ends_escaped && !self.known.alive().is_empty())
    }

    /// Measures the peak memory, which cannot be read once the process has ended.
    fn look(&mut self) {
        self.memory.0 = self.memory.0.max(procfs::peak_memory(self.leader.pid()));
        let now = Instant::now();
        self.memory.1 = now + now.duration_since(self.started).clamp(MIN_MEMORY_INTERVAL, MAX_MEMORY_INTERVAL);
    }

    /// The time at which to report that the process is silent.
    fn silence_due(&self) -> Option<Instant> {
        let wrote = self.last_output.filter(|_| self.stopping.is_none())?;
        Some(match self.pipes.looks_held_back()? {
            HeldBack::All => wrote + SILENCE_NOTE_AFTER,
            HeldBack::PartialBlock => wrote + BLOCK_SILENCE_NOTE_AFTER,
        })
    }

    fn note_silence(&mut self, batch: &mut Batch) {
        self.last_output = None;
        let note = "no output for a while; most programs write to a pipe in blocks: if output is missing, give the program a \
            terminal with `pty: true`, or start it with `stdbuf -oL`";
        warn!(stream = self.stream.as_str(), run = self.known.run, pid = self.known.pid; "{note}");
        let state = SourceState::Running { run: self.known.run, pid: Some(self.pid()), note: Some(note.to_owned()) };
        batch.state(ClockReading::read().time, state);
    }

    /// Begins draining after the end of the process.
    fn begin_draining(&mut self, exit: LeaderExit) {
        self.group.leader_ended();
        self.input = ProcessInput::Ended;
        let now = Instant::now();
        let code = exit.status.and_then(|status| status.code());
        let signal = exit.status.and_then(|status| status.signal());
        let cause = match (self.stopping, signal) {
            (Some((cause, _)), _) => cause,
            (None, Some(_)) => EndCause::Signalled,
            (None, None) => EndCause::Exited,
        };
        let end = RunEnd {
            run: self.known.run,
            code,
            signal: signal.map(signal_name),
            duration: Some(now.duration_since(self.started).as_secs_f64()),
            peak_memory: exit.memory.max(self.memory.0),
            cause,
        };
        self.phase =
            RunPhase::Draining { end, quiet_until: now + DRAIN_QUIET_TIME, last: now + MAX_DRAIN_WAIT, killed: false };
    }

    /// Returns the end of the run once its pipes are closed or their time has expired, if none of its processes is
    /// left.
    fn over(&mut self, batch: &mut Batch) -> Option<RunEnd> {
        let now = Instant::now();
        let waits = self.stopping.is_some_and(|(_, kill)| now < kill) && self.is_alive();
        let killed = match &mut self.phase {
            RunPhase::Draining { killed, .. } if !waits => mem::replace(killed, true),
            _ => false,
        };
        let kills = !waits && !killed && self.signal_all(Signal::KILL) && !self.pipes.is_ended();
        let RunPhase::Draining { end, quiet_until: quiet, last, .. } = &mut self.phase else { return None };
        if let Some((_, kill)) = self.stopping.filter(|_| waits) {
            // All processes of the run were asked to end, and have as much time as the process itself.
            (*quiet, *last) = ((now + GROUP_POLL_INTERVAL).min(kill), (now + GROUP_POLL_INTERVAL).min(kill));
            return None;
        }
        if kills {
            (*quiet, *last) = (now + DRAIN_QUIET_TIME, now + DRAIN_QUIET_TIME);
            return None;
        }
        let end = end.clone();
        self.pipes.finish(batch);
        self.phase = RunPhase::Ended;
        Some(end)
    }
}

impl Drop for ProcessRun {
    /// Kills a process that was not waited for: no process may continue whose output is not read.
    fn drop(&mut self) {
        if !matches!(self.phase, RunPhase::Ended) {
            self.signal_all(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{SourceHarness, TestDirectory, numbered_lines, process, shell};
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    fn texts(events: &[serde_json::Value], origin: &str) -> String {
        let of = events.iter().filter(|event| event["origin"] == origin);
        of.map(|event| event["text"].as_str().unwrap()).collect::<Vec<_>>().join("|")
    }

    #[tokio::test]
    async fn both_pipes_the_last_half_line_and_the_exit_code_come() {
        let script = "echo one; echo two >&2; printf three; printf four >&2; exit 3";
        let (events, end) = SourceHarness::once(shell(script), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "one|three");
        assert_eq!(texts(&events, "stderr"), "two|four");
        assert_eq!((&events[0]["state"], &events[0]["run"]), (&"running".into(), &1.into()));
        let partial = events.iter().filter(|event| event["partial"] == true).count();
        assert_eq!(partial, 2);
        let [.., ended, stopped] = &events[..] else { panic!() };
        assert_eq!((&ended["kind"], &ended["code"], &ended["cause"]), (&"end".into(), &3.into(), &"exited".into()));
        assert_eq!((&stopped["state"], &stopped["reason"]), (&"stopped".into(), &"exited with code 3".into()));
        assert_eq!(end.unwrap().unwrap().code, Some(3));
    }

    #[tokio::test]
    async fn no_shell_sees_the_arguments_and_standard_input_is_empty() {
        let (events, _) =
            SourceHarness::once(process(&["echo", "$HOME", "a  b", "*"]), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "$HOME a  b *");
        let (events, _) = SourceHarness::once(process(&["cat"]), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "");
    }

    #[tokio::test]
    async fn environment_and_directory_are_set() {
        let mut source = shell("echo $GREETING; echo $PATH; pwd");
        source.environment.insert("GREETING".to_owned(), "hello".to_owned());
        source.directory = Some("/usr".into());
        let (events, _) = SourceHarness::once(source, SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), format!("hello|{}|/usr", std::env::var("PATH").unwrap()));
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let (events, end) = SourceHarness::once(process(&["no-such-program"]), SourceOptions::default()).rest().await;
        let reason = "cannot start \"no-such-program\": No such file or directory (os error 2)";
        assert_eq!((&events[0]["state"], &events[0]["reason"]), (&"stopped".into(), &reason.into()));
        assert_eq!(end.unwrap_err().io().kind(), std::io::ErrorKind::NotFound);
        let mut source = process(&["true"]);
        source.directory = Some("/no/such".into());
        let (events, _) = SourceHarness::once(source, SourceOptions::default()).rest().await;
        let reason = "cannot start \"true\" in the directory \"/no/such\": No such file or directory (os error 2)";
        assert_eq!(events[0]["reason"], reason);
    }

    #[tokio::test]
    async fn a_signal_from_outside_is_named() {
        let (events, _) = SourceHarness::once(shell("kill -SEGV $$"), SourceOptions::default()).rest().await;
        let end = events.iter().find(|event| event["kind"] == "end").unwrap();
        assert_eq!((&end["signal"], &end["cause"]), (&"SEGV".into(), &"signalled".into()));
        assert_eq!(end.get("code"), None);
    }

    #[tokio::test]
    async fn a_megabyte_on_standard_error_comes_whole_and_in_pieces() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done";
        let (events, _) = SourceHarness::once(shell(script), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stderr").replace('|', "").len(), 1_000_000);
        assert_eq!(texts(&events, "stdout"), "done");
    }

    #[tokio::test]
    async fn an_unfinished_line_is_shown_and_taken_back() {
        let place = TestDirectory::new();
        let fifo = place.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let script = format!("printf 'one t'; cat {fifo:?}; exec sleep 60");
        let mut bench = SourceHarness::once(shell(&script), SourceOptions::default());
        bench.shown(Some("one t")).await;
        std::fs::write(&fifo, "wo\n").unwrap();
        assert_eq!(bench.line().await, "one two");
        bench.stop();
    }

    #[tokio::test]
    async fn a_redrawn_line_is_shown_as_it_is_now_and_kept_once() {
        let script = "for i in 1 2 3 4 5 6 7 8; do printf '\\r%s0%%' $i; sleep 0.1; done; echo";
        let mut bench = SourceHarness::once(shell(script), SourceOptions::default());
        let mut seen = Vec::new();
        while seen.last().is_none_or(|text| text != "80%") && seen.len() < 5 {
            bench.wait_for_new_open_line().await;
            seen.push(String::from_utf8(bench.open.clone().unwrap().text).unwrap());
        }
        assert!(seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}");
        assert_eq!(bench.line().await, "80%");
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_the_pipe_is_read_for_a_while_and_killed() {
        let mut bench =
            SourceHarness::once(shell("(sleep 0.1; echo late; exec sleep 1000) & echo $!"), SourceOptions::default());
        let pid = bench.line().await.parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let (events, end) = timeout(Duration::from_secs(10), bench.rest()).await.unwrap();
        assert_eq!(texts(&events, "stdout"), "late");
        assert!(end.unwrap().unwrap().duration < Some(5.0));
        assert!(is_gone(pid).await, "the grandchild lives");
    }

    /// Returns whether the process ends within 20 seconds, or has ended.
    async fn is_gone(pid: rustix::process::Pid) -> bool {
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        for _ in 0..1000 {
            match std::fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z") => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return true,
            }
        }
        false
    }

    #[tokio::test]
    async fn stopping_asks_the_whole_group_and_waits_for_the_last_words() {
        let script = "trap 'echo bye; exit 0' TERM; sleep 1000 & echo $!; wait";
        let mut bench = SourceHarness::process(shell(script));
        let pid = rustix::process::Pid::from_raw(bench.line().await.parse().unwrap()).unwrap();
        bench.stop();
        let (events, end) = bench.rest().await;
        let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap_or("line")).collect();
        assert_eq!((kinds, texts(&events, "stdout")), (vec!["state", "line", "end"], "bye".to_owned()));
        assert_eq!(events[0]["state"], "stopping");
        assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed_after_the_grace() {
        let mut source = shell("trap '' TERM; echo deaf; while true; do sleep 0.05; done");
        source.stop.grace = Duration::from_millis(300);
        let mut bench = SourceHarness::process(source);
        bench.line().await;
        bench.stop();
        let (events, end) = timeout(Duration::from_secs(10), bench.rest()).await.unwrap();
        assert_eq!(events.last().unwrap()["signal"], "KILL");
        assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
    }

    #[tokio::test]
    async fn a_signal_is_passed_on() {
        let (send, signals) = mpsc::channel(1);
        let options = SourceOptions { signals: Some(signals), ..SourceOptions::default() };
        let mut bench = SourceHarness::once(
            shell("trap 'echo got; exit 7' USR1; echo ready; while true; do sleep 0.05; done"),
            options,
        );
        bench.line().await;
        send.send(Signal::USR1).await.unwrap();
        // The shell may first report that its `sleep` received the signal, too.
        while bench.line().await != "got" {}
        assert_eq!(bench.rest().await.1.unwrap().unwrap().code, Some(7));
    }

    #[tokio::test]
    async fn what_is_passed_on_is_unchanged_and_waits_for_its_reader() {
        let (out, mut seen) = tokio::io::duplex(1000);
        let (err, mut seen_err) = tokio::io::duplex(1000);
        let options = SourceOptions { tee: Some(Tee::new(out, err)), ..SourceOptions::default() };
        let mut bench = SourceHarness::once(shell("seq 1 5000; printf 'a\\rb\\r\\n\\0'; printf oops >&2"), options);
        let pid = bench.state("running").await["pid"].as_i64().and_then(|pid| pid.try_into().ok()).unwrap();
        // The output fits into a pipe, so the process ends although nobody reads the copy.
        assert!(is_gone(rustix::process::Pid::from_raw(pid).unwrap()).await);
        let end = tokio::spawn(bench.rest());
        // Without a tee, the output of a process would be read for a shorter time after its end. The paused clock
        // advances as soon as there is nothing else to do.
        tokio::time::pause();
        tokio::time::sleep(DRAIN_QUIET_TIME * 2).await;
        tokio::time::resume();
        let (mut all, mut all_err) = (Vec::new(), Vec::new());
        tokio::try_join!(seen.read_to_end(&mut all), seen_err.read_to_end(&mut all_err)).unwrap();
        let numbers = numbered_lines("", 1..=5000);
        assert_eq!(all, [numbers.as_bytes(), b"a\rb\r\n\0"].concat());
        assert_eq!(all_err, b"oops");
        let (events, end) = end.await.unwrap();
        assert_eq!(events.iter().filter(|event| event["origin"] == "stdout").count(), 5002);
        assert_eq!(end.unwrap().unwrap().code, Some(0));
    }

    #[tokio::test]
    async fn when_nobody_reads_us_any_more_the_process_is_told() {
        let (out, seen) = tokio::io::duplex(1000);
        let options = SourceOptions { tee: Some(Tee::new(out, tokio::io::sink())), ..SourceOptions::default() };
        drop(seen);
        let (_, end) = SourceHarness::once(process(&["yes"]), options).rest().await;
        assert_eq!(end.unwrap().unwrap().signal.as_deref(), Some("PIPE"));
    }

    #[tokio::test]
    async fn who_seems_to_hold_output_back_is_told_of_once() {
        // One block as the C library writes it, with an unfinished line at its end.
        let block = "x".repeat(4096);
        let mut bench = SourceHarness::process(shell(&format!("printf {block}; exec sleep 1000")));
        bench.shown(Some(&block)).await;
        // The paused clock advances as long as there is nothing else to do.
        tokio::time::pause();
        let state = bench.state("running").await;
        assert!(state["note"].is_null(), "{state}");
        let note = bench.state("running").await["note"].to_string();
        assert!(note.contains("`pty: true`"), "{note}");
        tokio::time::advance(10 * SILENCE_NOTE_AFTER).await;
        tokio::time::resume();
        bench.stop();
        let (events, _) = bench.rest().await;
        assert!(events.iter().all(|event| event["note"].is_null()), "{events:#?}");
    }

    fn known_in(place: &str) -> RunRecord {
        RunRecord::read(place).unwrap()
    }

    fn on_terminal(mut source: ProcessSourceConfig, input: bool) -> ProcessSourceConfig {
        (source.pty, source.input) = (Some(TerminalSize { columns: 77, rows: 11 }), input);
        source
    }

    fn typing(text: &'static str) -> Command {
        Command::Input(text.into())
    }

    #[tokio::test]
    async fn on_a_terminal_it_has_a_size_and_a_kind_and_one_output() {
        let script = "test -t 1 && test -t 2 && ! test -t 0 && tty >/dev/tty; stty size </dev/tty; echo $TERM; echo err >&2; cat";
        let (events, end) =
            SourceHarness::once(on_terminal(shell(script), false), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "not a tty|11 77|xterm-256color|err");
        assert_eq!(texts(&events, "stderr"), "");
        assert_eq!(end.unwrap().unwrap().code, Some(0));
    }

    #[tokio::test]
    async fn who_types_on_a_terminal_sees_the_answer_and_its_size_can_change() {
        // The signal for the new size interrupts the first `read`, if the shell has reached it.
        let script =
            "trap 'stty size' WINCH; printf 'name: '; read name; echo hello $name; cat; echo over; read x || read x";
        let mut bench = SourceHarness::once(on_terminal(shell(script), true), SourceOptions::default());
        bench.shown(Some("name: ")).await;
        let Ok(CommandReply::Attached(mut screen)) = bench.control.send(Command::Attach).await else { panic!() };
        bench.control.send(typing("world\n")).await.unwrap();
        assert_eq!(bench.lines(2).await, ["name: world", "hello world"]);
        bench.control.send(Command::EndOfInput).await.unwrap();
        // The echo of Ctrl-D, if there is one, is on the same line.
        assert!(bench.line().await.ends_with("over"));
        bench.control.send(Command::Resize { rows: 50, columns: 132 }).await.unwrap();
        assert_eq!(bench.line().await, "50 132");
        bench.control.send(typing("\n")).await.unwrap();
        bench.rest().await.1.unwrap();
        let mut raw = Vec::new();
        while let Some(crate::control::RawOutput::Bytes(bytes)) = screen.next().await {
            raw.extend(bytes);
        }
        assert!(raw.starts_with(b"world\r\nhello world\r\n"), "{:?}", String::from_utf8_lossy(&raw));
    }

    #[tokio::test]
    async fn input_goes_through_a_pipe_until_its_end() {
        let place = TestDirectory::new();
        let fifo = place.path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // The process outlives the end of its input until the FIFO is opened.
        let mut source = shell(&format!("cat; exec cat {fifo:?}"));
        source.input = true;
        let mut bench = SourceHarness::once(source, SourceOptions::default());
        bench.state("running").await;
        bench.control.send(typing("one\ntw")).await.unwrap();
        assert_eq!(bench.line().await, "one");
        bench.control.send(typing("o")).await.unwrap();
        bench.control.send(Command::EndOfInput).await.unwrap();
        assert_eq!(bench.control.send(typing("x")).await.unwrap_err(), CommandError::InputEnded);
        assert_eq!(bench.control.send(Command::Attach).await.unwrap_err(), CommandError::NoPty);
        std::fs::write(&fifo, "").unwrap();
        assert_eq!(bench.line().await, "two...");
        assert_eq!(bench.rest().await.1.unwrap().unwrap().code, Some(0));
    }

    #[tokio::test]
    async fn who_may_not_type_and_who_types_too_much_is_told() {
        let mut bench = SourceHarness::once(process(&["sleep", "1000"]), SourceOptions::default());
        bench.state("running").await;
        assert_eq!(bench.control.send(typing("x")).await.unwrap_err(), CommandError::NoInput);
        bench.stop();
        let mut source = process(&["sleep", "1000"]);
        source.input = true;
        let mut bench = SourceHarness::once(source, SourceOptions::default());
        bench.state("running").await;
        let piece = vec![b'x'; 60_000];
        let mut taken = 0;
        let refused = loop {
            match bench.control.send(Command::Input(piece.clone().into())).await {
                Ok(_) => taken += piece.len(),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, CommandError::Busy);
        assert!(taken < 300_000, "{taken}");
        bench.stop();
    }

    #[tokio::test]
    async fn what_escapes_the_group_ends_with_the_run_or_the_daemon() {
        let script = "setsid sh -c 'setsid sleep 1000 & echo $!; exec sleep 1000' & wait";
        let mut source = shell(script);
        // A process that was just being started when all were asked to end is killed after the grace period.
        source.stop.grace = Duration::from_millis(500);
        let mut bench = SourceHarness::process(source);
        let pid = rustix::process::Pid::from_raw(bench.line().await.parse().unwrap()).unwrap();
        assert!(procfs::stat(pid).is_some());
        bench.stop();
        let (_, end) = timeout(Duration::from_secs(10), bench.rest()).await.unwrap();
        assert_eq!(end.unwrap().unwrap().cause, EndCause::DaemonStopped);
        assert!(is_gone(pid).await, "what escaped lives");
    }

    #[tokio::test]
    async fn it_knows_its_stream_and_the_peak_of_its_memory() {
        let script = "echo $RTLOGD_STREAM; head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null";
        let (events, end) = SourceHarness::once(shell(script), SourceOptions::default()).rest().await;
        assert_eq!(texts(&events, "stdout"), "test");
        // The memory of this process is a floor, and one run of many tests may use more than that.
        let (end, ours) = (end.unwrap().unwrap(), procfs::peak_memory(rustix::process::getpid()).unwrap());
        assert!(end.peak_memory.is_none_or(|peak| peak > 90_000_000 || ours > 90_000_000), "{end:?}");
    }

    #[tokio::test]
    async fn an_unknown_user_is_named() {
        let mut source = process(&["true"]);
        source.user = Some("no-such-user".to_owned());
        let (events, _) = SourceHarness::once(source, SourceOptions::default()).rest().await;
        let reason = events[0]["reason"].as_str().unwrap();
        assert!(reason.contains("\"no-such-user\"") && reason.ends_with("there is no such user"), "{reason}");
    }

    #[tokio::test]
    async fn a_run_is_written_down_as_it_is() {
        let (spec, options) = (
            crate::source::testing::spec(crate::config::SourceKind::Process(shell("printf ab; exec sleep 1000"))),
            SourceOptions::default(),
        );
        let crate::config::SourceKind::Process(source) = spec.source.clone() else { panic!() };
        let mut run = ProcessRun::start(&spec, &source, &options, 7).await.unwrap();
        let mut batch = Batch::new();
        run.next(&mut None, &mut batch).await;
        let known = known_in(&run.known().written());
        assert_eq!((known.run, known.pid.cast_unsigned(), known.ended), (7, run.pid(), false));
        assert_eq!(known.half, [run_record::half(b"ab"), String::new()]);
        assert_eq!(known.alive().len(), 1);
        assert!(known.descriptors.outputs.iter().all(Option::is_some));
        run.stop(EndCause::Stopped);
        while run.next(&mut None, &mut batch).await.is_none() {}
        assert!(run.known().ended && known.alive().is_empty());
    }
}
