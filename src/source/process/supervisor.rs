//! The supervisor of one process: starts it, restarts it after a back-off, and carries out commands.

use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{info, warn};
use rustix::process::Signal;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ProcessSourceConfig, RestartWhen, StartWhen, Stream};
use crate::control::{CommandError, CommandReply, LifecycleCommand, ProcessRequest, ReplySender};
use crate::event::{RunEnd, SourceState, Time};
use crate::stream::Checkpoints;

use crate::source::backoff::Backoff;
use crate::source::process::Tee;
use crate::source::process::idle::Idle;
use crate::source::process::predecessor::{EarlierRun, Predecessor};
use crate::source::process::run::ProcessRun;
use crate::source::process::run_record::{AfterStop, RUN_RECORD_KEY, Resting, RunRecord, STOPPED_ON_REQUEST};
use crate::source::writer::StreamWriter;
use crate::source::{ClockReading, SourceError, SourceOptions};

/// The maximum number of commands that wait for a start or an end at a time; further ones are refused.
const MAX_WAITING_COMMANDS: usize = 64;

/// Runs one process according to its policy and to commands.
pub(crate) struct Supervisor<'a> {
    spec: &'a Stream,
    process: &'a ProcessSourceConfig,
    options: SourceOptions,
    stopping: &'a CancellationToken,
    requests: Option<mpsc::Receiver<ProcessRequest>>,
    tee: Option<Tee>,
    backoff: Backoff,
    /// The replies to commands that are answered once the process runs, and to those that are answered once it has
    /// ended.
    starts: Vec<ReplySender<CommandReply>>,
    stops: Vec<ReplySender<CommandReply>>,
    /// The last request of an operator during this run.
    desired: DesiredState,
    /// The record of the last run that has ended.
    ended: Option<RunRecord>,
}

/// The action after the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DesiredState {
    /// The action of the restart policy.
    AsConfigured,
    Stopped,
    Started,
}

impl DesiredState {
    /// The state after a run that an earlier daemon had asked to end, or has to be ended.
    fn after(after: AfterStop) -> Self {
        match after {
            AfterStop::Stopped => Self::Stopped,
            AfterStop::Started | AfterStop::DaemonStopped => Self::Started,
        }
    }
}

/// How a run ended for this daemon.
enum RunOutcome {
    Ended(RunEnd),
    /// The next daemon takes it over.
    Left,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(
        spec: &'a Stream,
        process: &'a ProcessSourceConfig,
        mut options: SourceOptions,
        stopping: &'a CancellationToken,
    ) -> Self {
        let (requests, tee) = (options.process_requests.take(), options.tee.take());
        let backoff = Backoff::new(&process.restart);
        let (starts, stops, desired) = (Vec::new(), Vec::new(), DesiredState::AsConfigured);
        Self { spec, process, options, stopping, requests, tee, backoff, starts, stops, desired, ended: None }
    }

    /// Runs the process as often as its policy and commands require, until the daemon stops; with
    /// [`SourceOptions::end_stream`] until the process is not restarted. On return the process has ended, and the
    /// stream says why.
    pub(in crate::source) async fn run(
        mut self,
        checkpoints: &Checkpoints,
        writer: &mut StreamWriter,
    ) -> Result<Option<RunEnd>, SourceError> {
        let mut demands = writer.appender.demands();
        let (spec, process, stopping) = (self.spec, self.process, self.stopping);
        let predecessor = Predecessor { spec, process, options: &self.options, stopping };
        let EarlierRun { mut number, run: mut taken, ended, after } =
            Box::pin(predecessor.take_over(checkpoints, writer)).await;
        if taken.is_some() {
            number -= 1;
        }
        self.ended = ended;
        self.desired = after.map_or(DesiredState::AsConfigured, DesiredState::after);
        let resting = self.ended.as_ref().and_then(|record| record.resting_as(self.process)).cloned();
        let mut idle = match self.process.start {
            _ if taken.is_some() => Idle::Start,
            _ if resting.is_some() => Idle::Manual,
            _ if self.desired == DesiredState::Stopped => Idle::Manual,
            StartWhen::Boot => Idle::Start,
            StartWhen::Demand => Idle::OnReader(0),
            StartWhen::Manual => Idle::Manual,
        };
        if let Some(Resting { reason, last, .. }) = resting {
            writer.say(SourceState::Stopped { reason, last }).await;
        } else if idle != Idle::Start {
            let reason = match (idle, self.desired) {
                (_, DesiredState::Stopped) => STOPPED_ON_REQUEST,
                (Idle::Manual, _) => "starts on request",
                _ => SourceState::STARTS_WITH_READER,
            };
            let last = writer.appender.last_run_end();
            writer.say(SourceState::Stopped { reason: reason.to_owned(), last }).await;
        }
        let mut last = Ok(None);
        loop {
            if !self.wait_for_start(idle, &mut demands, &last, writer).await {
                if !self.options.hands_over.load(Ordering::Acquire)
                    && let Some(record) = &mut self.ended
                    && record.clear_resting()
                {
                    writer.batch.checkpoint(RUN_RECORD_KEY, Some(record.to_text()));
                }
                writer.say(SourceState::Stopping).await;
                return last;
            }
            number += 1;
            let began = Instant::now();
            let ended = match self.run_once(number, taken.take(), writer).await {
                Ok(RunOutcome::Left) => return last,
                Ok(RunOutcome::Ended(end)) => Ok(end),
                Err(error) => Err(error),
            };
            let ran = began.elapsed();
            if self.stopping.is_cancelled() {
                if self.desired == DesiredState::Stopped {
                    // The next daemon takes the place of this one, and does not start the process either.
                    self.rest(STOPPED_ON_REQUEST.to_owned(), ended.as_ref().ok().cloned(), writer).await;
                    self.stops.drain(..).for_each(|reply| reply.send(Ok(CommandReply::Done)));
                }
                return ended.map(Some);
            }
            let joined = *demands.borrow_and_update();
            idle = self.after_run(&ended, ran, joined, writer).await;
            last = ended.map(Some);
            for reply in self.stops.drain(..) {
                reply.send(Ok(CommandReply::Done));
            }
            if self.options.end_stream && matches!(idle, Idle::Manual | Idle::OnReader(_)) {
                return last;
            }
        }
    }

    /// Waits until the process is to be started. Returns `false` when the daemon stops.
    async fn wait_for_start(
        &mut self,
        mut idle: Idle,
        demands: &mut watch::Receiver<u64>,
        last: &Result<Option<RunEnd>, SourceError>,
        writer: &mut StreamWriter,
    ) -> bool {
        while idle != Idle::Start {
            if self.stopping.is_cancelled() {
                return false;
            }
            select! {
                () = self.stopping.cancelled() => return false,
                () = idle.ended(demands) => return true,
                mut owed = writer.appender.maintain_history() => writer.appender.append(&mut owed).await,
                request = next_request(&mut self.requests) => match request {
                    ProcessRequest::Lifecycle(LifecycleCommand::Start | LifecycleCommand::Restart, reply) => {
                        self.backoff = Backoff::new(&self.process.restart);
                        self.starts.push(reply);
                        return true;
                    }
                    ProcessRequest::Lifecycle(LifecycleCommand::Stop, reply) if idle == Idle::Manual => {
                        reply.send(Ok(CommandReply::Already));
                    }
                    ProcessRequest::Lifecycle(LifecycleCommand::Stop, reply) => {
                        idle = Idle::Manual;
                        let last = last.as_ref().ok().cloned().flatten();
                        writer.say(SourceState::Stopped { reason: STOPPED_ON_REQUEST.to_owned(), last }).await;
                        reply.send(Ok(CommandReply::Done));
                    }
                    ProcessRequest::Run(_, reply) => reply.send(Err(CommandError::NotRunning)),
                    ProcessRequest::Attach(reply) => reply.send(Err(CommandError::NotRunning)),
                },
            }
        }
        true
    }

    /// Starts the process as run `number`.
    async fn start_run(&mut self, number: u64, writer: &mut StreamWriter) -> Result<ProcessRun, SourceError> {
        self.desired = DesiredState::AsConfigured;
        let started = Box::pin(ProcessRun::start(self.spec, self.process, &self.options, number)).await;
        for reply in self.starts.drain(..) {
            reply.send(match &started {
                Ok(_) => Ok(CommandReply::Done),
                Err(error) => Err(CommandError::Failed(error.with_cause())),
            });
        }
        let run = started?;
        info!(stream = writer.stream.as_str(), run = number, pid = run.pid(); "process started");
        writer.batch.checkpoint(RUN_RECORD_KEY, Some(run.record().to_text()));
        writer.say(SourceState::Running { run: number, pid: Some(run.pid()), note: None }).await;
        Ok(run)
    }

    /// Makes one run, from its start, unless it was taken over, to its end, unless the next daemon takes it over.
    async fn run_once(
        &mut self,
        number: u64,
        taken: Option<ProcessRun>,
        writer: &mut StreamWriter,
    ) -> Result<RunOutcome, SourceError> {
        let mut run = match taken {
            Some(run) => run,
            None => self.start_run(number, writer).await?,
        };
        run.follow_views(writer.appender.view_pace());
        loop {
            select! {
                ended = run.next(&mut self.tee, &mut writer.batch) => {
                    if let Some(end) = ended {
                        writer.batch.end(ClockReading::read().time, &end);
                        let record = self.ended.insert(run.record());
                        writer.batch.checkpoint(RUN_RECORD_KEY, Some(record.to_text()));
                        writer.flush().await;
                        run.release();
                        return Ok(RunOutcome::Ended(end));
                    }
                    run.prepare(&mut writer.batch);
                    writer.flush().await;
                    run.settle();
                    // A process that writes without end is always ready: without this, everything else would wait for
                    // dozens of its reads. Yielding wakes a second thread, and a line that comes alone is worth only one.
                    if self.tee.is_some() || !run.is_paced() {
                        yield_now().await;
                    }
                }
                signal = next_signal(&mut self.options.signals) => run.signal(signal),
                request = next_request(&mut self.requests) => match request {
                    ProcessRequest::Lifecycle(command, reply) => {
                        self.control_run(command, reply, &mut run, writer).await;
                    }
                    ProcessRequest::Run(command, reply) => {
                        let done = run.command(command, &mut self.tee, &mut writer.batch);
                        run.prepare(&mut writer.batch);
                        writer.flush().await;
                        run.settle();
                        // Only now: what was promised is not forgotten if the daemon is killed.
                        reply.send(done);
                    }
                    ProcessRequest::Attach(reply) => reply.send(run.attach()),
                },
                mut owed = writer.appender.maintain_history() => writer.appender.append(&mut owed).await,
                () = self.stopping.cancelled(), if !self.is_last_word(&run) => {
                    let is_kept = self.options.hands_over.load(Ordering::Acquire) && !self.process.orphan_timeout.is_zero();
                    if is_kept && run.can_be_left() {
                        run.leave();
                        info!(stream = writer.stream.as_str(), run = number, pid = run.pid(); "the process keeps running for the next rtlogd");
                        return Ok(RunOutcome::Left);
                    }
                    self.desired = DesiredState::AsConfigured;
                    let was_stopping = run.is_stopping();
                    run.stop(AfterStop::DaemonStopped);
                    writer.batch.checkpoint(RUN_RECORD_KEY, Some(run.record().to_text()));
                    if was_stopping {
                        writer.flush().await;
                    } else {
                        writer.say(SourceState::Stopping).await;
                    }
                }
            }
        }
    }

    /// Returns whether a run is already asked to end as the end of the daemon wants it: for good, or, if the next daemon takes
    /// the place of this one, as an operator has asked.
    fn is_last_word(&self, run: &ProcessRun) -> bool {
        let is_asked = self.desired == DesiredState::Stopped && self.options.hands_over.load(Ordering::Acquire);
        run.is_stopping() && (is_asked || self.desired == DesiredState::AsConfigured)
    }

    /// Starts, stops or restarts the process while it runs.
    async fn control_run(
        &mut self,
        command: LifecycleCommand,
        reply: ReplySender<CommandReply>,
        run: &mut ProcessRun,
        writer: &mut StreamWriter,
    ) {
        let (desired, waiting) = match command {
            LifecycleCommand::Start if !run.is_stopping() => return reply.send(Ok(CommandReply::Already)),
            LifecycleCommand::Start | LifecycleCommand::Restart => (DesiredState::Started, &mut self.starts),
            LifecycleCommand::Stop => (DesiredState::Stopped, &mut self.stops),
        };
        if self.stopping.is_cancelled() {
            return reply.send(Err(CommandError::Gone));
        }
        if waiting.len() >= MAX_WAITING_COMMANDS {
            return reply.send(Err(CommandError::TooManyCommands));
        }
        waiting.push(reply);
        self.desired = desired;
        if desired == DesiredState::Stopped {
            for reply in self.starts.drain(..) {
                reply.send(Err(CommandError::Failed("it was stopped in the meantime".to_owned())));
            }
        }
        let after = if desired == DesiredState::Stopped { AfterStop::Stopped } else { AfterStop::Started };
        let was_stopping = run.is_stopping();
        if was_stopping {
            run.set_after_stop(after);
        } else {
            info!(stream = writer.stream.as_str(); "stopping the process on request");
            run.stop(after);
        }
        writer.batch.checkpoint(RUN_RECORD_KEY, Some(run.record().to_text()));
        if was_stopping {
            writer.flush().await;
        } else {
            writer.say(SourceState::Stopping).await;
        }
    }

    /// Decides what follows a run, or an attempt at one, and reports it as the state of the stream.
    async fn after_run(
        &mut self,
        ended: &Result<RunEnd, SourceError>,
        ran: Duration,
        demands: u64,
        writer: &mut StreamWriter,
    ) -> Idle {
        let (failed, error) = outcome(ended);
        let errno = ended.as_ref().err().and_then(|error| error.io().raw_os_error());
        let last = ended.as_ref().ok().cloned();
        let stream = writer.stream.as_str();
        match self.desired {
            DesiredState::Started => {
                self.backoff = Backoff::new(&self.process.restart);
                return Idle::Start;
            }
            DesiredState::Stopped => {
                info!(stream; "process stopped on request");
                return self.rest(STOPPED_ON_REQUEST.to_owned(), last, writer).await;
            }
            DesiredState::AsConfigured => {}
        }
        let wanted = match self.process.restart.when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => failed,
            RestartWhen::Always => true,
        };
        if !wanted {
            if failed {
                info!(stream, error = error.as_str(); "process failed and is not restarted");
            } else {
                info!(stream, status = error.as_str(); "process ended and is not restarted");
            }
            if self.process.start != StartWhen::Demand {
                return self.rest(error, last, writer).await;
            }
            writer.say(SourceState::Stopped { reason: error, last }).await;
            return Idle::OnReader(demands);
        }
        let now = ClockReading::read();
        let Some(wait) = self.backoff.wait(failed, ran, now.instant) else {
            match errno {
                Some(errno) => warn!(stream, errno, error = error.as_str(); "process ended too often"),
                None => warn!(stream, error = error.as_str(); "process ended too often"),
            }
            let reason = format!("restarted too often; the last run {error}");
            return self.rest(reason, last, writer).await;
        };
        let failures = self.backoff.failures();
        match errno {
            Some(errno) => warn!(stream, errno, error = error.as_str(), failures, retry_in:? = wait; "process failed"),
            None if failed => warn!(stream, error = error.as_str(), failures, retry_in:? = wait; "process failed"),
            None => info!(stream, status = error.as_str(), retry_in:? = wait; "process ended and is restarted"),
        }
        let until = Time(now.time.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)));
        writer.say(SourceState::BackingOff { until, failures, error, last }).await;
        Idle::BackingOff(now.instant + wait)
    }

    /// Leaves the process alone until somebody asks for it, also by way of the next daemon.
    async fn rest(&mut self, reason: String, last: Option<RunEnd>, writer: &mut StreamWriter) -> Idle {
        if let Some(record) = self.ended.as_mut().filter(|_| last.is_some()) {
            record.set_resting(&reason, last.clone());
            writer.batch.checkpoint(RUN_RECORD_KEY, Some(record.to_text()));
        }
        writer.say(SourceState::Stopped { reason, last }).await;
        Idle::Manual
    }
}

/// Returns whether a run failed, and a description of its end.
fn outcome(ended: &Result<RunEnd, SourceError>) -> (bool, String) {
    match ended {
        Ok(RunEnd { signal: Some(signal), .. }) => (true, format!("was killed by signal {signal}")),
        Ok(RunEnd { code: Some(code), .. }) => (*code != 0, format!("exited with code {code}")),
        Ok(RunEnd { .. }) => (true, "ended with an unknown status".to_owned()),
        Err(error) => (true, error.with_cause()),
    }
}

/// Waits for the next request; forever once the channel is closed.
async fn next_request(requests: &mut Option<mpsc::Receiver<ProcessRequest>>) -> ProcessRequest {
    if let Some(receiver) = requests {
        if let Some(request) = receiver.recv().await {
            return request;
        }
        *requests = None;
    }
    std::future::pending().await
}

/// Waits for the next signal for the process; forever once the channel is closed.
async fn next_signal(signals: &mut Option<mpsc::Receiver<Signal>>) -> Signal {
    if let Some(receiver) = signals {
        if let Some(signal) = receiver.recv().await {
            return signal;
        }
        *signals = None;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Restart;
    use crate::control::RunCommand;
    use crate::source::testing::{SourceHarness, process, shell};
    use tokio::time::{sleep, timeout};

    fn with_restart(
        mut source: ProcessSourceConfig,
        when: RestartWhen,
        limit: Option<(u32, Duration)>,
    ) -> ProcessSourceConfig {
        let backoff = Duration::from_secs(1)..=Duration::from_mins(1);
        source.restart = Restart { when, backoff, limit };
        source
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_source_is_tried_again_after_1_2_and_4_seconds() {
        let mut harness = SourceHarness::process(with_restart(process(&["/no/such"]), RestartWhen::OnFailure, None));
        let mut last: Option<Instant> = None;
        for (failures, wait) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
            let state = harness.state("backing-off").await;
            assert_eq!(state["failures"], failures);
            assert_eq!(state["error"], "cannot start \"/no/such\": No such file or directory (os error 2)");
            let now = Instant::now();
            assert_eq!(last.map_or(0, |last| (now - last).as_secs()), wait);
            last = Some(now);
        }
        harness.stop();
        let (events, end) = harness.remaining_events().await;
        assert_eq!(events.last().unwrap()["state"], "stopping");
        end.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_fails_too_often_is_stopped() {
        let limit = Some((2, Duration::from_mins(10)));
        let mut harness = SourceHarness::process(with_restart(process(&["/no/such"]), RestartWhen::Always, limit));
        for _ in 0..2 {
            harness.state("backing-off").await;
        }
        let state = harness.state("stopped").await;
        assert!(state["reason"].as_str().unwrap().starts_with("restarted too often"), "{state}");
        harness.stop();
        harness.state("stopping").await;
    }

    #[tokio::test]
    async fn each_run_has_its_number_and_its_end() {
        let mut source = with_restart(shell("echo hello; exit 1"), RestartWhen::OnFailure, None);
        source.restart.backoff = Duration::from_millis(10)..=Duration::from_millis(20);
        let mut harness = SourceHarness::process(source);
        for run in 1..=3 {
            assert_eq!(harness.state("running").await["run"], run);
            assert_eq!(harness.line().await, "hello");
            assert_eq!(harness.next("end").await["run"], run);
        }
        harness.stop();
        harness.remaining_events().await.1.unwrap();
    }

    #[tokio::test]
    async fn success_ends_the_process_but_not_the_stream() {
        let mut harness = SourceHarness::process(with_restart(process(&["true"]), RestartWhen::OnFailure, None));
        assert_eq!(harness.state("stopped").await["reason"], "exited with code 0");
        let more = timeout(Duration::from_millis(200), harness.event()).await;
        assert!(more.is_err(), "the stream ended, or more came: {more:?}");
        harness.stop();
        harness.state("stopping").await;
        assert!(harness.event().await.is_none());
    }

    #[tokio::test]
    async fn a_process_on_demand_starts_with_its_first_reader_and_again_with_the_next() {
        let mut source = with_restart(shell("echo hello"), RestartWhen::Never, None);
        source.start = StartWhen::Demand;
        // The harness itself is a reader.
        let mut harness = SourceHarness::process(source);
        for run in 1..=3 {
            assert_eq!(harness.state("running").await["run"], run);
            assert_eq!(harness.state("stopped").await["last"]["run"], run);
            harness.add_reader();
        }
        harness.control.send(LifecycleCommand::Stop).await.unwrap();
        harness.stop();
    }

    #[tokio::test]
    async fn a_process_starts_and_stops_on_command() {
        let mut source = with_restart(process(&["sleep", "1000"]), RestartWhen::Always, None);
        source.start = StartWhen::Manual;
        let mut harness = SourceHarness::process(source);
        assert_eq!(harness.state("stopped").await["reason"], "starts on request");
        let control = harness.control.clone();
        assert_eq!(control.send(RunCommand::Pause).await.unwrap_err(), CommandError::NotRunning);
        assert!(matches!(control.send(LifecycleCommand::Stop).await, Ok(CommandReply::Already)));
        assert!(matches!(control.send(LifecycleCommand::Start).await, Ok(CommandReply::Done)));
        assert!(matches!(control.send(LifecycleCommand::Start).await, Ok(CommandReply::Already)));
        assert!(matches!(control.send(LifecycleCommand::Restart).await, Ok(CommandReply::Done)));
        assert_eq!(harness.next("end").await["cause"], "stopped");
        assert_eq!(harness.state("running").await["run"], 2);
        assert!(matches!(control.send(LifecycleCommand::Stop).await, Ok(CommandReply::Done)));
        let stopped = harness.state("stopped").await;
        assert_eq!((&stopped["reason"], &stopped["last"]["run"]), (&"stopped on request".into(), &2.into()));
        assert!(matches!(control.send(LifecycleCommand::Start).await, Ok(CommandReply::Done)));
        assert!(matches!(control.send(RunCommand::Signal(9)).await, Ok(CommandReply::Done)));
        assert_eq!(harness.next("end").await["signal"], "KILL");
        // The supervisor waits before the restart; when asked to stop, it does not.
        harness.state("backing-off").await;
        assert!(matches!(control.send(LifecycleCommand::Stop).await, Ok(CommandReply::Done)));
        harness.state("stopped").await;
        harness.stop();
        assert_eq!(harness.remaining_events().await.0.last().unwrap()["state"], "stopping");
        assert_eq!(control.send(LifecycleCommand::Start).await.unwrap_err(), CommandError::Gone);
    }

    #[tokio::test]
    async fn a_start_that_fails_is_the_reply_to_its_command() {
        let mut source = with_restart(process(&["/no/such"]), RestartWhen::Never, None);
        source.start = StartWhen::Manual;
        let harness = SourceHarness::process(source);
        let refused = harness.control.send(LifecycleCommand::Start).await.unwrap_err();
        let reason = "cannot start \"/no/such\": No such file or directory (os error 2)";
        assert_eq!(refused, CommandError::Failed(reason.to_owned()));
    }

    #[tokio::test]
    async fn a_paused_process_stands_still_and_can_be_stopped() {
        // The loop is built into the shell: a shell that waits for a child is not seen to be suspended.
        let mut harness = SourceHarness::process(shell("while :; do echo x; done"));
        harness.lines(3).await;
        let stat = format!("/proc/{}/stat", harness.last_pid().unwrap());
        let stands = async |wanted: bool| {
            let wait = async {
                while std::fs::read_to_string(&stat).unwrap().contains(") T ") != wanted {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(20), wait).await.expect("the process follows the command");
        };
        harness.control.send(RunCommand::Pause).await.unwrap();
        stands(true).await;
        harness.control.send(RunCommand::Resume).await.unwrap();
        stands(false).await;
        harness.control.send(RunCommand::Pause).await.unwrap();
        harness.control.send(LifecycleCommand::Stop).await.unwrap();
        assert_eq!(harness.next("end").await["signal"], "TERM");
    }

    #[tokio::test]
    async fn processes_that_outlived_a_killed_daemon_are_ended_and_runs_are_numbered_on() {
        let mut source =
            with_restart(shell("trap '' TERM; echo $$; sleep 1000 & wait; sleep 1000"), RestartWhen::Never, None);
        source.stop.grace = Duration::from_millis(200);
        let spec = crate::source::testing::spec(crate::config::SourceKind::Process(source.clone()));
        // A run that is not ended by its supervisor.
        let run = ProcessRun::start(&spec, &source, &SourceOptions::default(), 41).await.unwrap();
        let record = run.record();
        std::mem::forget(run);
        let checkpoints = [(RUN_RECORD_KEY.to_owned(), record.to_text())].into();
        let mut harness = SourceHarness::restart(spec, SourceOptions::default(), checkpoints);
        harness.state("waiting").await;
        let loss = harness.next("loss").await;
        assert!(loss["missed"].is_null(), "{loss}");
        let end = harness.next("end").await;
        assert_eq!((&end["run"], &end["cause"]), (&41.into(), &"daemon-killed".into()), "{end}");
        assert_eq!(harness.state("running").await["run"], 42);
        assert!(record.alive().is_empty(), "it lives");
        harness.stop();
        harness.remaining_events().await.1.unwrap();
    }

    #[tokio::test]
    async fn after_a_clean_end_only_the_number_of_the_run_continues() {
        let source = with_restart(process(&["true"]), RestartWhen::Never, None);
        let spec = crate::source::testing::spec(crate::config::SourceKind::Process(source.clone()));
        let run = ProcessRun::start(&spec, &source, &SourceOptions::default(), 3).await.unwrap();
        let mut record = run.record();
        record.ended = true;
        let checkpoints = [(RUN_RECORD_KEY.to_owned(), record.to_text())].into();
        let mut harness = SourceHarness::restart(spec, SourceOptions::default(), checkpoints);
        let first = harness.event().await.unwrap();
        assert_eq!((&first["state"], &first["run"]), (&"running".into(), &4.into()), "{first}");
        harness.stop();
    }
}
