//! The driver of one source: runs it until the daemon stops, and appends its batches.
//!
//! The driver owns the appender. Only the driver and the [`supervisor`](crate::source::process::supervisor) of a
//! process know about stopping; for everything below them, input ends.

use std::time::Duration;

use tokio::select;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{SourceKind, Stream};
use crate::event::{RunEnd, SourceState};
use crate::stream::{Appender, Batch, Checkpoints};

use super::file::{FileSource, Watcher};
use super::journal::JournalSource;
use super::push::PushSource;
use super::writer::StreamWriter;
use super::{SourceError, SourceOptions};
use crate::source::process::supervisor::Supervisor;

/// The longest time for which files are still read after the daemon was asked to stop.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the source of one stream until `stopping`, or with [`SourceOptions::end_stream`] until its process is not
/// started again.
///
/// Then the appender is closed, so that readers receive the remaining events and the end of the stream. Returns how the
/// last run of a process ended, `None` if there was none. The future must not be dropped: a process would be killed
/// without a chance to end, and the stream would have no end event.
///
/// # Errors
/// If a process could not be started, and is not tried again. The stream's state says so, too.
pub(crate) async fn run(
    spec: Stream,
    appender: Appender,
    checkpoints: Checkpoints,
    options: SourceOptions,
    watcher: Watcher,
    stopping: CancellationToken,
) -> Result<Option<RunEnd>, SourceError> {
    let mut writer = StreamWriter::new(&spec.name, appender);
    let outcome = match &spec.source {
        SourceKind::File(file) => {
            let (read_ahead, views) = (writer.appender.read_ahead(), writer.appender.view_pace());
            let source = FileSource::new(&spec, file, &checkpoints, watcher, read_ahead, views);
            run_file(source, &mut writer, &stopping).await;
            Ok(None)
        }
        SourceKind::Process(process) => {
            // The future of a process is larger than those of all other sources.
            Box::pin(Supervisor::new(&spec, process, options, &stopping).run(&checkpoints, &mut writer)).await
        }
        SourceKind::Journal(journal) => {
            // Entries that are not read now are read after the next start.
            let views = writer.appender.view_pace();
            let mut source = JournalSource::new(&spec, journal, &checkpoints, options.children, views);
            run_polled(&mut source, &mut writer, &stopping).await;
            writer.say(SourceState::Stopping).await;
            Ok(None)
        }
        SourceKind::Push => {
            let source = PushSource::new(&spec, options.push_requests, writer.appender.view_pace());
            run_push(source, &mut writer, &stopping).await;
            Ok(None)
        }
    };
    writer.appender.close().await;
    outcome
}

/// A source that is polled until the daemon stops.
trait PollSource {
    /// Waits for events, and adds them to `batch`. May be dropped at any time.
    async fn next(&mut self, batch: &mut Batch);
}

impl PollSource for FileSource {
    async fn next(&mut self, batch: &mut Batch) {
        self.next(batch).await;
    }
}

impl PollSource for JournalSource {
    async fn next(&mut self, batch: &mut Batch) {
        self.next(batch).await;
    }
}

/// Reads until `stopping`.
async fn run_polled(source: &mut impl PollSource, writer: &mut StreamWriter, stopping: &CancellationToken) {
    loop {
        select! {
            () = source.next(&mut writer.batch) => writer.flush().await,
            mut due = writer.appender.maintain_history() => writer.appender.append(&mut due).await,
            () = stopping.cancelled() => break,
        }
    }
}

/// Follows a file until `stopping`.
async fn run_file(mut file: FileSource, writer: &mut StreamWriter, stopping: &CancellationToken) {
    run_polled(&mut file, writer, stopping).await;
    // Lines that are not read in time are read after the next start.
    let last = Instant::now() + FINAL_READ_TIMEOUT;
    while timeout_at(last, file.last(&mut writer.batch)).await.unwrap_or(false) {
        writer.flush().await;
    }
    // What FIFOs hold is not there any more then. A pass that hangs, for example in a network file system, is not waited for.
    let last = Instant::now() + FINAL_READ_TIMEOUT;
    if timeout_at(last, file.complete_pass(&mut writer.batch)).await.is_ok() {
        while file.read_fifos(&mut writer.batch) && Instant::now() < last {
            writer.flush().await;
        }
    }
    file.finish_fifos(&mut writer.batch);
    writer.say(SourceState::Stopping).await;
}

/// Receives pushed lines until `stopping`.
async fn run_push(mut push: PushSource, writer: &mut StreamWriter, stopping: &CancellationToken) {
    writer.say(SourceState::Receiving).await;
    loop {
        select! {
            pushed = push.next(&mut writer.batch) => {
                let lines = writer.batch.len();
                writer.flush().await;
                push.appended(pushed, lines, writer.appender.last());
                // A client that never stops sending is always ready.
                if !push.is_paced() {
                    yield_now().await;
                }
            }
            mut due = writer.appender.maintain_history() => writer.appender.append(&mut due).await,
            () = stopping.cancelled() => break,
        }
    }
    push.finish(&mut writer.batch);
    writer.say(SourceState::Stopping).await;
}
