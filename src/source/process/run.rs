//! One run of a process, from its start to the end of its output and of its descendants.

use std::collections::BTreeSet;
use std::future::pending;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use log::{info, warn};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::select;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::config::{ProcessSourceConfig, Stop, StopTarget, Stream, TerminalSize};
use crate::control::{Attachment, CommandError, RunCommand};
use crate::event::{EndCause, RunEnd, SourceState, signal_name};
use crate::stream::{Batch, ViewPace};

use super::draining::{Draining, MAX_DRAIN_WAIT};
use super::input::{InputWrite, PackedInput, ProcessInput};
use super::kill_point::{KillPoint, kill_point};
use super::leader::{LeaderExit, whole_microseconds};
use super::peak_memory::PeakMemory;
use super::pipes::{HeldBack, PackedPipes, PipeRead, Pipes};
use super::program::Program;
use super::run_record::{AfterStop, RUN_RECORD_KEY, RunRecord, hash_of};
use super::shim::attach::TakenOver;
use super::shim::protocol::EndPolicy;
use super::staging::OutputStaging;
use super::stop::ProcessGroup;
use super::tee::Tee;
use super::{procfs, shim, spawn};
use crate::source::{ClockReading, SourceError, SourceOptions, until};

/// A process that wrote nothing for this long may be buffering its output: its state says so, once in a run.
pub(super) const SILENCE_NOTE_AFTER: Duration = Duration::from_mins(1);

/// The same time if the output so far ends in the middle of a line at the size of a full buffer.
const BLOCK_SILENCE_NOTE_AFTER: Duration = Duration::from_secs(10);

/// The most processes that the end of a run names.
const MAX_KILLED_NAMES: usize = 16;

/// A run that was taken over from an earlier daemon.
pub(super) struct TakenOverRun {
    pub(super) run: ProcessRun,
    /// The earlier daemon left its state, so that nothing is lost.
    pub(super) is_complete: bool,
    /// The program was started with what it would be started with now.
    pub(super) is_same_spec: bool,
    /// The time for which the program had no daemon.
    pub(super) orphaned: Duration,
}

/// The unfinished state of a run for the next daemon.
#[derive(Debug, Serialize, Deserialize)]
struct PackedRun {
    pipes: PackedPipes,
    input: PackedInput,
    /// The daemon left the run on purpose, when nothing was on its way.
    is_left: bool,
}

/// The parts of a run.
type RunParts = (Program, [Option<pipe::Receiver>; 2], ProcessInput, Option<OutputStaging>);

/// One run of a process.
#[derive(Debug)]
pub(super) struct ProcessRun {
    stream: String,
    started: Instant,
    program: Program,
    record: RunRecord,
    group: ProcessGroup,
    /// Secrets are redacted, and therefore the raw output is not shown to anybody.
    is_redacted: bool,
    pipes: Pipes,
    input: ProcessInput,
    stop: Stop,
    /// The reason why the process was asked to end, and the time when it will be killed; `None` unless it was asked.
    stopping: Option<(EndCause, Instant)>,
    /// The time when processes that the leader left behind will be killed; `None` until they were asked to end.
    leftovers_killed_at: Option<Instant>,
    /// Processes that left the group are ended, too.
    ends_escaped: bool,
    memory: PeakMemory,
    /// The time of the last output; `None` once the silence was reported.
    last_output: Option<Instant>,
    phase: RunPhase,
}

#[derive(Debug)]
enum RunPhase {
    Running,
    /// The process has ended; the rest of its output is read.
    Draining(Draining),
    Ended,
    /// The next daemon continues the run.
    Left,
}

/// The next event of a running process.
enum RunEvent {
    Read(PipeRead),
    Exit(LeaderExit),
    InputWritten(InputWrite),
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
        let spawn::StartedProgram { program, ends, input, shim } =
            spawn::spawn(&stream, source, options, number, &mark).await?;
        let record = RunRecord::of_program(number, program.pid(), &mark);
        let (shim, staging) = shim.unzip();
        let record = RunRecord { shim, spec: hash_of(source), ..record };
        Ok(Self::new(spec, source, options, (program, ends, input, staging), record))
    }

    /// Takes over the run of an earlier daemon from its shim, and adds what it shows to `batch`. `None` if it has none, or if
    /// that is gone.
    pub(super) async fn take_over(
        spec: &Stream,
        source: &ProcessSourceConfig,
        options: &SourceOptions,
        record: &RunRecord,
        batch: &mut Batch,
    ) -> Option<TakenOverRun> {
        let (directory, address) = (options.shim_directory.clone()?, record.shim.clone()?);
        let (stream, policy) = (spec.name.to_string(), EndPolicy::of(source));
        let attached =
            spawn_blocking(move || shim::attach::attach(&directory, &address, &stream, policy)).await.ok()?;
        let TakenOver { connection, running, shim, ends, input, staging } = match attached {
            Ok(taken) => taken,
            Err(error) => {
                warn!(stream:% = spec.name, run = record.run, errno = error.raw_os_error(), error:% = error; "the run of the previous daemon cannot be taken over");
                return None;
            }
        };
        kill_point(KillPoint::Attached);
        if let Some(shim) = shim {
            options.children.spare(shim);
        }
        let input = match (input, &ends) {
            (Some(pipe), _) => ProcessInput::open(pipe, false),
            (None, [Some(terminal), None]) if source.input => ProcessInput::of_terminal(terminal).ok()?,
            (None, _) => ProcessInput::None,
        };
        let parts = (Program::OfShim(connection), ends, input, Some(staging));
        let mut run = Self::new(spec, source, options, parts, record.clone());
        run.started = Instant::now().checked_sub(Duration::from_millis(running.age)).unwrap_or(run.started);
        let is_complete = run.restore(record.generation, batch);
        let orphaned = Duration::from_millis(running.orphaned);
        Some(TakenOverRun { is_same_spec: record.spec == hash_of(source), run, is_complete, orphaned })
    }

    fn new(
        spec: &Stream,
        source: &ProcessSourceConfig,
        options: &SourceOptions,
        (program, ends, input, staging): RunParts,
        record: RunRecord,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream: spec.name.to_string(),
            started: now,
            record,
            group: ProcessGroup::new(program.pid(), !options.same_group),
            program,
            is_redacted: spec.redact.is_some(),
            pipes: Pipes::new(spec, ends, staging),
            input,
            stop: source.stop.clone(),
            stopping: None,
            leftovers_killed_at: None,
            ends_escaped: !options.end_stream,
            memory: PeakMemory::since(now),
            last_output: Some(now),
            phase: RunPhase::Running,
        }
    }

    /// Reads output at the pace at which the readers of the stream receive events.
    pub(super) fn follow_views(&mut self, views: ViewPace) {
        self.pipes.follow_views(views);
    }

    /// Returns whether output that is there now has to wait.
    pub(super) fn is_paced(&self) -> bool {
        self.pipes.is_paced()
    }

    /// Returns whether the next daemon can take over the run: its program runs and was not asked to end.
    pub(super) fn can_be_left(&self) -> bool {
        let is_kept = matches!(self.program, Program::OfShim(_)) && self.record.shim.is_some();
        is_kept && self.stopping.is_none() && matches!(self.phase, RunPhase::Running)
    }

    /// Leaves the run to the next daemon, with everything that is unfinished. All events must be recorded.
    pub(super) fn leave(&mut self) {
        self.write_snapshot(false, true);
        self.phase = RunPhase::Left;
    }

    /// Prepares the recording of `batch`, after which [`settle`](Self::settle) is called: if the daemon is killed before or
    /// after it, the next one continues exactly there.
    pub(super) fn prepare(&mut self, batch: &mut Batch) {
        let has_events = batch.has_events();
        if let Some(generation) = self.write_snapshot(has_events, false)
            && has_events
        {
            self.record.generation = generation;
            batch.checkpoint(RUN_RECORD_KEY, Some(self.record().to_text()));
        }
    }

    /// Records that the events of the last batch are recorded.
    pub(super) fn settle(&mut self) {
        kill_point(KillPoint::Recorded);
        self.pipes.settle();
        kill_point(KillPoint::Settled);
    }

    /// Leaves the unfinished state to the next daemon; `is_left` says that this daemon ends now. Returns the generation.
    fn write_snapshot(&mut self, has_events: bool, is_left: bool) -> Option<u64> {
        let appended = if is_left { None } else { self.pipes.append_to_snapshot(has_events) };
        if appended.is_some() || !self.pipes.has_snapshot() {
            return appended;
        }
        let packed = PackedRun { pipes: self.pipes.pack(is_left), input: self.input.pack(), is_left };
        let content = serde_json::to_vec(&packed).unwrap_or_default();
        self.pipes.write_snapshot(has_events, &content)
    }

    /// Continues in the state that an earlier daemon left, if the history has the events up to the generation `recorded`.
    /// Returns whether nothing is lost.
    fn restore(&mut self, recorded: u64, batch: &mut Batch) -> bool {
        let Some(restored) = self.pipes.restore(recorded) else { return false };
        let is_complete = match serde_json::from_slice::<PackedRun>(&restored.content) {
            Ok(packed) => {
                let is_complete = packed.is_left || packed.pipes.is_staged();
                self.pipes.unpack(packed.pipes, &restored.log, batch);
                self.input.unpack(packed.input);
                is_complete
            }
            // There is none before the end of the first generation. Later, it was too large, or is damaged.
            Err(_) => self.pipes.is_first_generation(),
        };
        self.pipes.drop_lost_lines(!is_complete && self.is_redacted);
        self.pipes.resume_staged(restored.is_staged_done, batch);
        is_complete
    }

    #[cfg(test)]
    pub(super) fn is_output_ended(&self) -> bool {
        self.pipes.is_ended()
    }

    /// Forgets the run as a daemon does that is killed.
    #[cfg(test)]
    pub(super) fn abandon(mut self) {
        self.phase = RunPhase::Left;
    }

    /// Lets the shim end, since the end of the run is recorded.
    pub(super) fn release(&self) {
        self.program.release();
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.record.pid.cast_unsigned()
    }

    /// The current run record.
    pub(super) fn record(&self) -> RunRecord {
        RunRecord { ended: matches!(self.phase, RunPhase::Ended), ..self.record.clone() }
    }

    /// Adds the next events to `batch`; returns the end of the run once there are no more. May be dropped at any time.
    pub(crate) async fn next(&mut self, tee: &mut Option<Tee>, batch: &mut Batch) -> Option<RunEnd> {
        loop {
            let done = match self.phase {
                RunPhase::Running => self.poll_running(tee, batch).await,
                RunPhase::Draining(_) => self.poll_draining(tee, batch).await,
                RunPhase::Ended | RunPhase::Left => pending().await,
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
        let event = select! {
            read = self.pipes.read(tee, batch), if open => RunEvent::Read(read),
            exit = self.program.ended() => RunEvent::Exit(exit),
            written = self.input.write() => RunEvent::InputWritten(written),
            () = until(kill) => RunEvent::Kill,
            () = sleep_until(self.memory.due()) => RunEvent::Memory,
            () = until(silent) => RunEvent::Silent,
        };
        match event {
            RunEvent::Read(read) => {
                if read == PipeRead::Bytes && self.last_output.is_some() {
                    self.last_output = Some(Instant::now());
                }
                if read == PipeRead::TerminalUnread {
                    // The signal that a write into a pipe without a reader raises.
                    self.signal_all(Signal::PIPE);
                }
                return Some(None);
            }
            RunEvent::Exit(exit) => self.begin_draining(exit),
            RunEvent::InputWritten(written) => {
                self.pipes.note_input();
                if written == InputWrite::Ended {
                    self.program.end_input();
                }
                // The state for the next daemon is written, so that it does not write the same bytes again.
                return Some(None);
            }
            RunEvent::Kill => self.kill(),
            RunEvent::Memory => self.memory.measure(self.program.pid(), Instant::now()),
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
        let RunPhase::Draining(draining) = &mut self.phase else { return None };
        // The tee waits for its reader as long as the process was not asked to end.
        let waits = tee.as_ref().is_some_and(Tee::waits);
        let last = Some(draining.last).filter(|_| !patient);
        let rest = Some(draining.quiet_until).filter(|_| !(patient && waits));
        let read = select! {
            biased;
            () = until(last) => PipeRead::End,
            read = self.pipes.read(tee, batch), if open => read,
            () = until(rest) => PipeRead::End,
        };
        match read {
            PipeRead::Bytes | PipeRead::TerminalUnread => {
                draining.note_output();
                Some(None)
            }
            PipeRead::NoBytes => Some(None),
            PipeRead::End => self.try_finish(batch).map(Some),
        }
    }

    /// Asks the process to end; `KILL` follows after the grace period. The record then says what is to follow the run.
    pub(super) fn stop(&mut self, after: AfterStop) {
        self.record.stopping = Some(after);
        self.stopping = Some((after.cause(), Instant::now() + self.stop.grace));
        self.pipes.lift_pace();
        match self.stop.only {
            StopTarget::All => self.ask_all(),
            StopTarget::Leader => {
                for signal in [self.stop_signal(), Signal::CONT] {
                    self.group.signal_leader(signal);
                }
            }
        }
        self.program.note_asked(self.stop.grace);
    }

    fn stop_signal(&self) -> Signal {
        Signal::from_named_raw(self.stop.signal.number()).unwrap_or(Signal::TERM)
    }

    /// Asks all processes of the run to end.
    fn ask_all(&self) {
        self.signal_all(self.stop_signal());
        // A suspended process handles no signal but this one.
        self.signal_all(Signal::CONT);
    }

    /// Asks the processes that the leader left behind to end, unless they were asked already. Returns the time when they are
    /// killed.
    fn ask_leftovers(&mut self) -> Option<Instant> {
        let asked_with_leader = self.stopping.filter(|_| self.stop.only == StopTarget::All).map(|(_, kill)| kill);
        if let Some(kill) = asked_with_leader.or(self.leftovers_killed_at) {
            return Some(kill);
        }
        if !self.is_alive() {
            return None;
        }
        let left = self.names_of_left().join(", ");
        info!(stream = self.stream.as_str(), run = self.record.run, processes = left.as_str(); "the command left processes behind; asking them to end");
        self.ask_all();
        let kill = self.stopping.map_or_else(|| Instant::now() + self.stop.grace, |(_, kill)| kill);
        self.leftovers_killed_at = Some(kill);
        Some(kill)
    }

    /// The processes of the run that are left, by name and id. One that ends meanwhile is not among them.
    fn names_of_left(&self) -> Vec<String> {
        // Members of the group may have cleared their environment, and others have left the group.
        let escaped = if self.ends_escaped { self.record.alive() } else { Vec::new() };
        let left: BTreeSet<i32> =
            self.group.members().into_iter().chain(escaped).map(|pid| pid.as_raw_nonzero().get()).collect();
        let left = left.into_iter().filter_map(Pid::from_raw);
        let names = left.filter_map(|pid| Some(format!("{} ({})", procfs::name(pid)?, pid.as_raw_nonzero())));
        names.take(MAX_KILLED_NAMES).collect()
    }

    /// Changes what is to follow a run that was asked to end.
    pub(super) fn set_after_stop(&mut self, after: AfterStop) {
        self.record.stopping = Some(after);
    }

    /// Returns whether the process was asked to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Sends a signal to the process group.
    pub(super) fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// Carries out a command.
    pub(super) fn command(
        &mut self,
        command: RunCommand,
        tee: &mut Option<Tee>,
        batch: &mut Batch,
    ) -> Result<(), CommandError> {
        self.check_running()?;
        self.pipes.note_other_change();
        match command {
            RunCommand::Input(bytes) => {
                self.input.push(&bytes)?;
                // What the process takes at once does not wait, where a next daemon would write it again.
                self.input.write_available();
                self.pipes.note_input();
            }
            RunCommand::EndOfInput => self.input.end()?,
            RunCommand::Signal(number) => {
                let signal = Signal::from_named_raw(number).ok_or(CommandError::NoSignal(number))?;
                info!(stream = self.stream.as_str(), signal = signal_name(number).as_str(); "signal");
                self.signal(signal);
            }
            RunCommand::Pause => self.signal(Signal::STOP),
            RunCommand::Resume => self.signal(Signal::CONT),
            RunCommand::Resize { rows, columns } => {
                let size = TerminalSize { columns, rows };
                let resized = self.pipes.resize(size, tee, batch).ok_or(CommandError::NoPty)?;
                resized
                    .map_err(|error| CommandError::Failed(format!("the terminal cannot have this size: {error}")))?;
            }
        }
        Ok(())
    }

    /// Attaches to the terminal.
    pub(super) fn attach(&mut self) -> Result<Attachment, CommandError> {
        self.check_running()?;
        if self.is_redacted {
            return Err(CommandError::Redacted);
        }
        self.pipes.attach().ok_or(CommandError::NoPty)
    }

    fn check_running(&self) -> Result<(), CommandError> {
        if matches!(self.phase, RunPhase::Running) { Ok(()) } else { Err(CommandError::NotRunning) }
    }

    fn kill(&mut self) {
        self.signal_all(Signal::KILL);
        if let Some((_, kill)) = &mut self.stopping {
            // The kill is repeated later, in case it was not enough.
            *kill = Instant::now() + MAX_DRAIN_WAIT;
        }
    }

    /// Signals the group and then the processes that left it, whose parents may be in it. Returns whether one was left.
    fn signal_all(&self, signal: Signal) -> bool {
        let is_left = self.group.signal(signal);
        (self.ends_escaped && self.record.signal_escaped(signal) > 0) || is_left
    }

    /// Returns whether a process of the group, or one that left it, is alive.
    fn is_alive(&self) -> bool {
        self.group.is_alive() || (self.ends_escaped && !self.record.alive().is_empty())
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
        warn!(stream = self.stream.as_str(), run = self.record.run, pid = self.record.pid; "{note}");
        let state = SourceState::Running { run: self.record.run, pid: Some(self.pid()), note: Some(note.to_owned()) };
        batch.state(ClockReading::read().time, state);
    }

    /// Begins draining after the end of the process.
    fn begin_draining(&mut self, exit: LeaderExit) {
        self.group.leader_ended();
        self.pipes.lift_pace();
        self.input = ProcessInput::Ended;
        let now = Instant::now();
        let code = exit.status.and_then(|status| status.code());
        let signal = exit.status.and_then(|status| status.signal());
        let cause = self.stopping.map_or_else(|| exit.cause(), |(cause, _)| cause);
        let end = RunEnd {
            run: self.record.run,
            code,
            signal: signal.map(signal_name),
            duration: Some(whole_microseconds(exit.duration.unwrap_or_else(|| now.duration_since(self.started)))),
            peak_memory: exit.memory.max(self.memory.bytes()),
            cause,
            killed: Vec::new(),
        };
        self.phase = RunPhase::Draining(Draining::begin(end, self.pipes.is_ended()));
    }

    /// Returns the end of the run once its pipes are closed or their time has expired, if none of its processes is
    /// left.
    fn try_finish(&mut self, batch: &mut Batch) -> Option<RunEnd> {
        let kill_at = self.ask_leftovers();
        let is_alive = self.is_alive();
        let were_asked = self.leftovers_killed_at.is_some();
        let RunPhase::Draining(draining) = &mut self.phase else { return None };
        // All processes of the run were asked to end, and have as much time as the process itself.
        if let Some(kill) = kill_at.filter(|kill| is_alive && Instant::now() < *kill) {
            draining.wait_for_leftovers(kill);
            return None;
        }
        let may_have_printed = draining.has_waited_for_leftovers() || were_asked;
        if draining.begin_rest() {
            let killed = self.names_of_left();
            let is_killed = self.signal_all(Signal::KILL);
            let RunPhase::Draining(draining) = &mut self.phase else { return None };
            draining.end.killed = killed;
            if (is_killed || may_have_printed) && !self.pipes.is_ended() {
                draining.read_rest();
                return None;
            }
        }
        let RunPhase::Draining(Draining { end, .. }) = mem::replace(&mut self.phase, RunPhase::Ended) else {
            return None;
        };
        self.pipes.finish(batch);
        Some(end)
    }
}

impl Drop for ProcessRun {
    /// Kills a process that was not waited for: no process may continue whose output is not read.
    fn drop(&mut self) {
        if !matches!(self.phase, RunPhase::Ended | RunPhase::Left) {
            self.signal_all(Signal::KILL);
        }
    }
}
