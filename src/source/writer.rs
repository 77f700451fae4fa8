//! The writing end of a stream, as the driver and the process supervisor use it.

use crate::event::{SourceState, StreamName};
use crate::stream::{Appender, Batch};

use super::ClockReading;

/// The appender of one stream, with the batch that is to be appended next.
pub(super) struct StreamWriter {
    pub(super) appender: Appender,
    pub(super) batch: Batch,
    /// The name of the stream, for log messages.
    pub(super) stream: String,
}

impl StreamWriter {
    pub(super) fn new(name: &StreamName, appender: Appender) -> Self {
        Self { appender, batch: Batch::new(), stream: name.to_string() }
    }

    /// Appends the content of the batch, and empties it.
    pub(super) async fn flush(&mut self) {
        self.appender.append(&mut self.batch).await;
    }

    /// Appends the batch, followed by a change of state.
    pub(super) async fn say(&mut self, state: SourceState) {
        self.batch.state(ClockReading::read().time, state);
        self.flush().await;
    }
}
