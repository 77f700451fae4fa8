//! The run that an earlier daemon left: it is taken over, or what is left of it is ended.

use std::mem;
use std::time::Duration;

use log::{info, warn};
use rustix::process::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::{ProcessSourceConfig, Stream};
use crate::event::{EndCause, Loss, RunEnd, SourceState};
use crate::source::process::run::{ProcessRun, TakenOverRun};
use crate::source::process::run_record::{AfterStop, RUN_RECORD_KEY, RunRecord, STOPPED_ON_REQUEST};
use crate::source::process::shim;
use crate::source::writer::StreamWriter;
use crate::source::{ClockReading, SourceOptions};
use crate::stream::Checkpoints;

/// The interval at which processes that outlived the previous daemon are checked until they have ended.
const CRASH_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time to wait until killed processes are gone.
const MAX_KILL_WAIT: Duration = Duration::from_secs(5);

/// The earlier daemon of a stream, as its successor sees it.
#[derive(Debug)]
pub(super) struct Predecessor<'a> {
    pub(super) spec: &'a Stream,
    pub(super) process: &'a ProcessSourceConfig,
    pub(super) options: &'a SourceOptions,
    pub(super) stopping: &'a CancellationToken,
}

/// What became of the last run of the earlier daemon.
#[derive(Debug)]
pub(super) struct EarlierRun {
    /// Its number; 0 if there was none.
    pub(super) number: u64,
    /// The run, if it continues.
    pub(super) run: Option<ProcessRun>,
    /// Its record, if it has ended.
    pub(super) ended: Option<RunRecord>,
    /// What follows it, if it was or is asked to end.
    pub(super) after: Option<AfterStop>,
}

impl Predecessor<'_> {
    /// Takes over the run of the earlier daemon if it has a shim, and ends what is left of it otherwise.
    pub(super) async fn take_over(&self, checkpoints: &Checkpoints, writer: &mut StreamWriter) -> EarlierRun {
        let record = match checkpoints.get(RUN_RECORD_KEY).and_then(|written| RunRecord::read(written)) {
            Some(record) if !record.ended => record,
            ended => {
                self.end_unrecorded(None, writer).await;
                let number = ended.as_ref().map_or(0, |record| record.run);
                return EarlierRun { number, run: None, ended, after: None };
            }
        };
        let taken = ProcessRun::take_over(self.spec, self.process, self.options, &record, &mut writer.batch).await;
        let kept = record.shim.as_ref().filter(|_| taken.is_some()).map(|shim| shim.name.clone());
        self.end_unrecorded(kept, writer).await;
        let Some(taken) = taken else {
            if record.shim.is_some() {
                writer.batch.taken_over(None);
            }
            let after = record.stopping.filter(|after| *after == AfterStop::Stopped);
            let ended = self.after_crash(record, writer).await;
            return EarlierRun { number: ended.run, run: None, ended: Some(ended), after };
        };
        let TakenOverRun { mut run, is_complete, is_same_spec, orphaned } = taken;
        info!(stream = writer.stream.as_str(), run = record.run, pid = run.pid(), complete = is_complete, orphaned:? = orphaned; "the process was taken over from the previous rtlogd");
        if !is_complete {
            let reason = "rtlogd was killed: output that it had read but not recorded is lost".to_owned();
            writer.batch.loss(ClockReading::read().time, &Loss { missed: None, bytes: None, reason });
        }
        let note = Some("taken over after a restart of rtlogd".to_owned());
        let state = SourceState::Running { run: record.run, pid: Some(run.pid()), note };
        writer.batch.state(ClockReading::read().time, state);
        writer.batch.taken_over(Some(orphaned));
        run.prepare(&mut writer.batch);
        writer.flush().await;
        run.settle();
        let after = record.stopping.or_else(|| (!is_same_spec).then_some(AfterStop::DaemonStopped));
        if let Some(after) = after {
            let reason =
                if record.stopping.is_some() { "it was asked to end" } else { "its configuration has changed" };
            info!(stream = writer.stream.as_str(), run = record.run; "the process is stopped, since {reason}");
            run.stop(after);
            writer.batch.checkpoint(RUN_RECORD_KEY, Some(run.record().to_text()));
            writer.say(SourceState::Stopping).await;
        }
        EarlierRun { number: record.run, run: Some(run), ended: None, after }
    }

    /// Ends runs of this stream that a daemon had not recorded when it was killed, except the one with the socket `kept`,
    /// and waits until they are gone, since at most one run of a stream exists at a time.
    async fn end_unrecorded(&self, kept: Option<String>, writer: &mut StreamWriter) {
        let Some(directory) = self.options.shim_directory.clone() else { return };
        let last = Instant::now() + self.process.stop.grace + MAX_KILL_WAIT;
        let mut waits = false;
        loop {
            let (directory, stream, kept) = (directory.clone(), self.spec.name.to_string(), kept.clone());
            let end = move || shim::sweep::end_unrecorded(&directory, &stream, kept.as_deref());
            let left = spawn_blocking(end).await.unwrap_or_default();
            if left == 0 || Instant::now() >= last || self.stopping.is_cancelled() {
                return;
            }
            if !mem::replace(&mut waits, true) {
                warn!(stream = writer.stream.as_str(), runs = left; "stopping processes that the previous daemon had started and not recorded");
                writer.say(waiting_for_previous_run()).await;
            }
            sleep(CRASH_POLL_INTERVAL).await;
        }
    }

    /// Ends the processes that outlived a killed daemon, and emits the missing end event. Returns the record of the run, which
    /// has ended.
    async fn after_crash(&self, mut record: RunRecord, writer: &mut StreamWriter) -> RunRecord {
        let left = record.alive();
        if !left.is_empty() {
            warn!(stream = writer.stream.as_str(), run = record.run, processes:? = left; "stopping processes that the previous daemon left running");
            writer.say(waiting_for_previous_run()).await;
            let signal = Signal::from_named_raw(self.process.stop.signal.number()).unwrap_or(Signal::TERM);
            record.signal_all(signal);
            record.signal_all(Signal::CONT);
            if !self.wait_until_gone(&record, self.process.stop.grace).await {
                record.signal_all(Signal::KILL);
                self.wait_until_gone(&record, MAX_KILL_WAIT).await;
            }
        }
        let now = ClockReading::read().time;
        let reason = "rtlogd was killed: output that it had not read is lost".to_owned();
        writer.batch.loss(now, &Loss { missed: None, bytes: None, reason });
        let end = RunEnd {
            run: record.run,
            code: None,
            signal: None,
            duration: None,
            peak_memory: None,
            cause: EndCause::DaemonKilled,
            killed: Vec::new(),
        };
        writer.batch.end(now, &end);
        record.ended = true;
        if record.stopping == Some(AfterStop::Stopped) {
            record.set_resting(STOPPED_ON_REQUEST, Some(end));
        }
        writer.batch.checkpoint(RUN_RECORD_KEY, Some(record.to_text()));
        writer.flush().await;
        record
    }

    /// Waits until all processes of that run are gone. Returns `false` if they are not within `time`, or if the daemon
    /// stops.
    async fn wait_until_gone(&self, record: &RunRecord, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !record.alive().is_empty() {
            if Instant::now() >= end || self.stopping.is_cancelled() {
                return false;
            }
            sleep(CRASH_POLL_INTERVAL).await;
        }
        true
    }
}

fn waiting_for_previous_run() -> SourceState {
    SourceState::Waiting { reason: "for processes of the previous run to end".to_owned() }
}
