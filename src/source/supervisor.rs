//! Keeps one source running: starts it, waits, backs off, stops it, and says how it is.
//!
//! It owns the appender, and is the only one in this layer that hears of stopping.

use std::time::Duration;

use log::{info, warn};
use rustix::process::Signal;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{ProcessSource, RestartWhen, SourceKind, Stream};
use crate::event::{EndCause, RunEnd, SourceState, Time};
use crate::stream::{Appender, Batch, Places};

use super::backoff::Backoff;
use super::file::{Followed, Wakes};
use super::process::{Run, Tee};
use super::{Now, Options, SourceError};

/// What was written to a file before we were told to stop is still read, for at most this long.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Runs the source of one stream until `stopping`, or with [`Options::closes`] until its process is not started again.
///
/// Then the appender is dropped, so that readers get what is left and their end. Gives back how the last run of a process
/// ended, `None` if there was none. Do not drop it: a process would be killed without a chance to end, and no end event.
///
/// # Errors
/// If a process could not be started, and that is not tried again. The stream's state said so.
pub(crate) async fn run(
    spec: Stream,
    appender: Appender,
    places: Places,
    options: Options,
    wakes: Wakes,
    stopping: CancellationToken,
) -> Result<Option<RunEnd>, SourceError> {
    let mut writer = Writer { appender, batch: Batch::new(), stream: spec.name.to_string() };
    let outcome = match &spec.source {
        SourceKind::File(file) => {
            follow(Followed::new(&spec, file, &places, wakes), &mut writer, &stopping).await;
            Ok(None)
        }
        SourceKind::Process(process) => {
            let closes = options.closes;
            let outcome = Keeper { spec: &spec, process, options, stopping: &stopping }.keep(&mut writer).await;
            if !closes && !stopping.is_cancelled() {
                writer.during(stopping.cancelled()).await;
                writer.say(SourceState::Stopping).await;
            }
            outcome
        }
    };
    writer.appender.close().await;
    outcome
}

/// The writing end of the stream.
struct Writer {
    appender: Appender,
    batch: Batch,
    stream: String,
}

impl Writer {
    /// Appends what the batch holds.
    async fn flush(&mut self) {
        self.appender.append(&mut self.batch).await;
    }

    /// Waits for `future`; meanwhile the history is looked after. Do not drop it.
    async fn during(&mut self, future: impl Future<Output = ()>) {
        let mut future = std::pin::pin!(future);
        loop {
            select! {
                () = &mut future => return,
                mut due = self.appender.upkeep() => self.appender.append(&mut due).await,
            }
        }
    }

    /// Appends a change of state.
    async fn say(&mut self, state: SourceState) {
        self.batch.state(Now::read().time, state);
        self.flush().await;
    }
}

/// Follows a file until `stopping`.
async fn follow(mut file: Followed, writer: &mut Writer, stopping: &CancellationToken) {
    loop {
        select! {
            () = file.next(&mut writer.batch) => writer.flush().await,
            mut due = writer.appender.upkeep() => writer.appender.append(&mut due).await,
            () = stopping.cancelled() => break,
        }
    }
    // What is not there in time stays in the file.
    let last = async {
        while file.last(&mut writer.batch).await {
            writer.appender.append(&mut writer.batch).await;
        }
    };
    timeout(LAST_LOOK, last).await.unwrap_or_default();
    writer.say(SourceState::Stopping).await;
}

/// Keeps a process running.
struct Keeper<'a> {
    spec: &'a Stream,
    process: &'a ProcessSource,
    options: Options,
    stopping: &'a CancellationToken,
}

impl Keeper<'_> {
    /// Runs the process as often as its policy says. When this returns, it is stopped, and the stream says why.
    async fn keep(mut self, writer: &mut Writer) -> Result<Option<RunEnd>, SourceError> {
        let mut backoff = Backoff::new(&self.process.restart);
        let mut tee = self.options.tee.take();
        let mut last = Ok(None);
        for number in 1.. {
            let began = Instant::now();
            let ended = self.once(number, &mut tee, writer).await;
            let (failed, error) = verdict(&ended);
            last = ended.map(Some);
            if self.stopping.is_cancelled() {
                return last;
            }
            let now = Now::read();
            let wanted = match self.process.restart.when {
                RestartWhen::Never => false,
                RestartWhen::OnFailure => failed,
                RestartWhen::Always => true,
            };
            if !wanted {
                info!(stream = writer.stream.as_str(), error = error.as_str(); "process ended, and is not started again");
                writer.say(SourceState::Stopped { reason: error }).await;
                return last;
            }
            let ran = now.instant.duration_since(began);
            let Some(wait) = backoff.wait(failed, ran, now.instant) else {
                warn!(stream = writer.stream.as_str(), error = error.as_str(); "process ended too often");
                writer
                    .say(SourceState::Stopped { reason: format!("restarted too often; the last time it {error}") })
                    .await;
                return last;
            };
            let failures = backoff.failures();
            warn!(stream = writer.stream.as_str(), error = error.as_str(), failures, retry_in:? = wait; "process ended");
            let until = Time(now.time.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)));
            writer.say(SourceState::BackingOff { until, failures, error }).await;
            let stopped = select! {
                () = writer.during(sleep(wait)) => false,
                () = self.stopping.cancelled() => true,
            };
            if stopped {
                writer.say(SourceState::Stopping).await;
                return last;
            }
        }
        last
    }

    /// One run, from its start to its end.
    async fn once(&mut self, number: u64, tee: &mut Option<Tee>, writer: &mut Writer) -> Result<RunEnd, SourceError> {
        let mut run = Run::start(self.spec, self.process, &self.options, number)?;
        info!(stream = writer.stream.as_str(), run = number, pid = run.pid(); "process started");
        writer.say(SourceState::Running { run: number, pid: run.pid() }).await;
        let mut told = false;
        loop {
            select! {
                ended = run.next(tee, &mut writer.batch) => {
                    if let Some(end) = ended {
                        writer.batch.end(Now::read().time, &end);
                        writer.flush().await;
                        return Ok(end);
                    }
                    writer.flush().await;
                }
                signal = next_signal(&mut self.options.signals) => run.signal(signal),
                mut due = writer.appender.upkeep() => writer.appender.append(&mut due).await,
                () = self.stopping.cancelled(), if !told => {
                    told = true;
                    writer.say(SourceState::Stopping).await;
                    run.stop(EndCause::DaemonStopped);
                }
            }
        }
    }
}

/// Whether a run failed, and how it ended in words.
fn verdict(ended: &Result<RunEnd, SourceError>) -> (bool, String) {
    match ended {
        Ok(RunEnd { signal: Some(signal), .. }) => (true, format!("was ended by the signal {signal}")),
        Ok(RunEnd { code: Some(code), .. }) => (*code != 0, format!("exited with code {code}")),
        Ok(RunEnd { .. }) => (true, "ended in an unknown way".to_owned()),
        Err(error) => (true, error.in_full()),
    }
}

/// The next signal for the process; never, once nobody can send one.
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
    use crate::source::bench::{Bench, process, shell};
    use tokio::time::timeout;

    fn restarting(mut source: ProcessSource, when: RestartWhen, limit: Option<(u32, Duration)>) -> ProcessSource {
        let backoff = Duration::from_secs(1)..=Duration::from_mins(1);
        source.restart = Restart { when, backoff, limit };
        source
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_source_is_tried_again_after_1_2_and_4_seconds() {
        let mut bench = Bench::process(restarting(process(&["/no/such"]), RestartWhen::OnFailure, None));
        let mut last: Option<Instant> = None;
        for (failures, wait) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
            let state = bench.state("backing-off").await;
            assert_eq!(state["failures"], failures);
            assert_eq!(state["error"], "cannot start \"/no/such\": No such file or directory (os error 2)");
            let now = Instant::now();
            assert_eq!(last.map_or(0, |last| (now - last).as_secs()), wait);
            last = Some(now);
        }
        bench.stop();
        let (events, end) = bench.rest().await;
        assert_eq!(events.last().unwrap()["state"], "stopping");
        end.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_too_often_is_stopped() {
        let limit = Some((2, Duration::from_mins(10)));
        let mut bench = Bench::process(restarting(process(&["/no/such"]), RestartWhen::Always, limit));
        for _ in 0..2 {
            bench.state("backing-off").await;
        }
        let state = bench.state("stopped").await;
        assert!(state["reason"].as_str().unwrap().starts_with("restarted too often"), "{state}");
        bench.stop();
        bench.state("stopping").await;
    }

    #[tokio::test]
    async fn each_run_has_its_number_and_its_end() {
        let mut source = restarting(shell("echo hello; exit 1"), RestartWhen::OnFailure, None);
        source.restart.backoff = Duration::from_millis(10)..=Duration::from_millis(20);
        let mut bench = Bench::process(source);
        for run in 1..=3 {
            assert_eq!(bench.state("running").await["run"], run);
            assert_eq!(bench.line().await, "hello");
            assert_eq!(bench.next("end").await["run"], run);
        }
        bench.stop();
        bench.rest().await.1.unwrap();
    }

    #[tokio::test]
    async fn success_ends_it_but_the_stream_stays() {
        let mut bench = Bench::process(restarting(process(&["true"]), RestartWhen::OnFailure, None));
        assert_eq!(bench.state("stopped").await["reason"], "exited with code 0");
        let more = timeout(Duration::from_millis(200), bench.event()).await;
        assert!(more.is_err(), "the stream ended, or more came: {more:?}");
        bench.stop();
        bench.state("stopping").await;
        assert!(bench.event().await.is_none());
    }
}
