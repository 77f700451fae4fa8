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
const MAX_SENDERS: usize = 256;

/// A chunk that arrived from a sender, with the number of its origin.
type ReceivedPush = (usize, Option<PushedChunk>, mpsc::Receiver<PushedChunk>);

/// A stream that is filled by clients that push lines.
pub(super) struct PushSource {
    feed: LinePipeline,
    requests: Option<mpsc::Receiver<PushRequest>>,
    /// The next chunk of each sender.
    receivers: FuturesUnordered<BoxFuture<'static, ReceivedPush>>,
    /// The result for each sender; `None` where a number is free.
    tallies: Vec<Option<PushTally>>,
}

/// The sender whose lines were added to a batch, and the reply that it waits for.
#[derive(Debug, Default)]
pub(super) struct PushedBatch {
    lane: Option<usize>,
    waits: Option<PushedChunk>,
}

impl PushSource {
    pub(super) fn new(spec: &Stream, requests: Option<mpsc::Receiver<PushRequest>>) -> Self {
        let (coming, tallies) = (FuturesUnordered::new(), Vec::new());
        Self { feed: LinePipeline::new(spec, []), requests, receivers: coming, tallies }
    }

    /// Adds the next chunk of one sender to `batch`. The batch must then be appended, and [`appended`](Self::appended)
    /// be called. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) -> PushedBatch {
        loop {
            let due = self.feed.due();
            select! {
                Some(came) = self.receivers.next() => return self.take(came, batch),
                request = next_request(&mut self.requests) => self.open_sender(request),
                () = until(due) => {
                    // The time is the due time and no later one, so that only one sender is affected.
                    let gave = self.feed.show(due.unwrap_or_else(Instant::now), batch);
                    return PushedBatch { lane: gave.first().copied(), waits: None };
                }
            }
        }
    }

    /// Stops receiving, and ends the unfinished lines.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.receivers.clear();
        for lane in 0..self.tallies.len() {
            self.drop_sender(lane, batch);
        }
    }

    /// Records that the `lines` of a batch are in the stream, the last of them at `last`.
    pub(super) fn appended(&mut self, turn: PushedBatch, lines: usize, last: Position) {
        let PushedBatch { lane, waits } = turn;
        let mut tally = lane.and_then(|lane| self.tallies.get(lane).copied().flatten()).unwrap_or_default();
        if let Some(before) = (lines as u64).checked_sub(1) {
            let first = Position { number: last.number.saturating_sub(before), ..last };
            tally.lines += lines as u64;
            tally.ids = Some((tally.ids.map_or(first, |ids| ids.0), last));
        }
        let over = waits.as_ref().is_some_and(|pushed| pushed.last);
        if let Some(slot) = lane.and_then(|lane| self.tallies.get_mut(lane)) {
            *slot = slot.and(Some(tally)).filter(|_| !over);
        }
        if let Some(pushed) = waits {
            pushed.acknowledge(tally);
        }
    }

    fn take(&mut self, (lane, came, from): ReceivedPush, batch: &mut Batch) -> PushedBatch {
        let now = ClockReading::read();
        let Some(pushed) = came else {
            // The sender disconnected without a closing chunk.
            self.drop_sender(lane, batch);
            return PushedBatch::default();
        };
        self.feed.push(lane, &pushed.bytes, now, batch);
        if pushed.last {
            self.feed.finish(lane, now, batch);
            self.feed.remove(lane);
        } else {
            self.listen(lane, from);
        }
        PushedBatch { lane: Some(lane), waits: Some(pushed) }
    }

    fn drop_sender(&mut self, lane: usize, batch: &mut Batch) {
        if self.tallies.get_mut(lane).and_then(Option::take).is_some() {
            self.feed.finish(lane, ClockReading::read(), batch);
            self.feed.remove(lane);
        }
    }

    fn listen(&mut self, lane: usize, mut from: mpsc::Receiver<PushedChunk>) {
        self.receivers.push(Box::pin(async move { (lane, from.recv().await, from) }));
    }

    fn open_sender(&mut self, PushRequest { origin, reply }: PushRequest) {
        let lane = self.tallies.iter().position(Option::is_none).unwrap_or(self.tallies.len());
        if lane >= MAX_SENDERS {
            return reply.send(Err(CommandError::TooManySenders));
        }
        if lane == self.tallies.len() {
            self.tallies.push(None);
        }
        self.tallies[lane] = Some(PushTally::default());
        self.feed.add(lane, origin);
        let (sender, chunks) = push_channel();
        self.listen(lane, chunks);
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
