//! Pushed lines: those of each sender keep their order, and the unfinished lines of different senders are never mixed.
//!
//! The transport is not known here, and there is no queue: a sender waits until its lines are in the stream.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Stream;
use crate::control::{CommandError, PushRequest, PushTally, PushedChunk, push_channel};
use crate::event::Position;
use crate::stream::Batch;

use super::pipeline::LinePipeline;
use super::{ClockReading, until};

/// The maximum number of concurrent senders. Each holds at most one unfinished line and one read of its connection.
const MAX_CONCURRENT_SENDERS: usize = 256;

/// A chunk that arrived from a sender, with the number of its origin.
type ReceivedPush = (usize, Option<PushedChunk>, mpsc::Receiver<PushedChunk>);

/// A stream that is filled by clients that push lines.
pub(super) struct PushSource {
    pipeline: LinePipeline,
    requests: Option<mpsc::Receiver<PushRequest>>,
    /// The next chunk of each sender.
    receivers: FuturesUnordered<BoxFuture<'static, ReceivedPush>>,
    /// The result for each sender; `None` where a number is free.
    tallies: Vec<Option<PushTally>>,
}

/// The sender whose lines were added to a batch, and the reply that it waits for.
#[derive(Debug, Default)]
pub(super) struct PushedBatch {
    /// The number of the sender's origin.
    origin: Option<usize>,
    unacknowledged: Option<PushedChunk>,
}

impl PushSource {
    pub(super) fn new(spec: &Stream, requests: Option<mpsc::Receiver<PushRequest>>) -> Self {
        Self {
            pipeline: LinePipeline::new(spec, []),
            requests,
            receivers: FuturesUnordered::new(),
            tallies: Vec::new(),
        }
    }

    /// Adds the next chunk of one sender to `batch`. The batch must then be appended, and [`appended`](Self::appended)
    /// be called. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) -> PushedBatch {
        loop {
            let due = self.pipeline.due();
            select! {
                Some(received) = self.receivers.next() => return self.take_chunk(received, batch),
                request = next_request(&mut self.requests) => self.open_sender(request),
                () = until(due) => {
                    // The time is the due time and no later one, so that only one sender is affected.
                    let flushed = self.pipeline.run_due(due.unwrap_or_else(Instant::now), batch);
                    return PushedBatch { origin: flushed.first().copied(), unacknowledged: None };
                }
            }
        }
    }

    /// Stops receiving, and ends the unfinished lines.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.receivers.clear();
        for origin in 0..self.tallies.len() {
            self.drop_sender(origin, batch);
        }
    }

    /// Records that the `lines` of a batch are in the stream, the last of them at `last`.
    pub(super) fn appended(&mut self, pushed: PushedBatch, lines: usize, last: Position) {
        let PushedBatch { origin, unacknowledged } = pushed;
        let mut tally = origin.and_then(|origin| self.tallies.get(origin).copied().flatten()).unwrap_or_default();
        if let Some(before) = (lines as u64).checked_sub(1) {
            debug_assert!(before < last.number, "the lines of a batch are in one epoch, whose numbers begin with 1");
            let first = Position { number: last.number - before, ..last };
            tally.lines += lines as u64;
            tally.ids = Some((tally.ids.map_or(first, |ids| ids.0), last));
        }
        let is_last = unacknowledged.as_ref().is_some_and(|chunk| chunk.last);
        if let Some(slot) = origin.and_then(|origin| self.tallies.get_mut(origin)) {
            *slot = slot.and(Some(tally)).filter(|_| !is_last);
        }
        if let Some(chunk) = unacknowledged {
            chunk.acknowledge(tally);
        }
    }

    fn take_chunk(&mut self, (origin, chunk, receiver): ReceivedPush, batch: &mut Batch) -> PushedBatch {
        let now = ClockReading::read();
        let Some(pushed) = chunk else {
            // The sender disconnected without a closing chunk.
            self.drop_sender(origin, batch);
            return PushedBatch::default();
        };
        self.pipeline.push(origin, &pushed.bytes, now, batch);
        if pushed.last {
            self.pipeline.finish(origin, now, batch);
            self.pipeline.remove(origin);
        } else {
            self.receive_next(origin, receiver);
        }
        PushedBatch { origin: Some(origin), unacknowledged: Some(pushed) }
    }

    fn drop_sender(&mut self, origin: usize, batch: &mut Batch) {
        if self.tallies.get_mut(origin).and_then(Option::take).is_some() {
            self.pipeline.finish(origin, ClockReading::read(), batch);
            self.pipeline.remove(origin);
        }
    }

    fn receive_next(&mut self, origin: usize, mut receiver: mpsc::Receiver<PushedChunk>) {
        self.receivers.push(Box::pin(async move { (origin, receiver.recv().await, receiver) }));
    }

    fn open_sender(&mut self, PushRequest { origin: name, reply }: PushRequest) {
        let origin = self.tallies.iter().position(Option::is_none).unwrap_or(self.tallies.len());
        if origin >= MAX_CONCURRENT_SENDERS {
            return reply.send(Err(CommandError::TooManySenders));
        }
        if origin == self.tallies.len() {
            self.tallies.push(None);
        }
        self.tallies[origin] = Some(PushTally::default());
        self.pipeline.add(origin, name);
        let (sender, chunks) = push_channel();
        self.receive_next(origin, chunks);
        reply.send(Ok(sender));
    }
}

/// The next request; waits forever once nobody can send one.
async fn next_request(requests: &mut Option<mpsc::Receiver<PushRequest>>) -> PushRequest {
    match requests {
        Some(receiver) => match receiver.recv().await {
            Some(request) => request,
            None => pending().await,
        },
        None => pending().await,
    }
}
