//! Pushed lines: those of each sender keep their order, and the unfinished lines of different senders are never mixed.
//!
//! The transport is not known here, and there is no queue: a sender waits until its lines are in the stream.

use std::collections::VecDeque;
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
use crate::stream::{Batch, ViewPace};

use super::pipeline::LinePipeline;
use super::read_pace::{PIPE_READ_INTERVAL, ReadPace};
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
    pace: ReadPace,
    /// Small chunks that wait for the pace, at most one of each sender.
    waiting: VecDeque<ReceivedPush>,
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
    pub(super) fn new(spec: &Stream, requests: Option<mpsc::Receiver<PushRequest>>, views: ViewPace) -> Self {
        Self {
            pipeline: LinePipeline::new(spec, []),
            requests,
            receivers: FuturesUnordered::new(),
            pace: ReadPace::new(PIPE_READ_INTERVAL).with_views(views),
            waiting: VecDeque::new(),
            tallies: Vec::new(),
        }
    }

    /// Adds the next chunk of one sender to `batch`. The batch must then be appended, and [`appended`](Self::appended)
    /// be called. May be dropped at any time.
    pub(crate) async fn next(&mut self, batch: &mut Batch) -> PushedBatch {
        loop {
            let due = self.pipeline.due();
            select! {
                // A sender whose last chunk this is waits for the reply.
                Some(received) = self.receivers.next() => match &received.1 {
                    Some(chunk) if !chunk.last && self.pace.is_waiting(Instant::now()) => self.waiting.push_back(received),
                    _ => return self.take_chunk(received, batch),
                },
                () = self.pace.wait(), if !self.waiting.is_empty() => {
                    if let Some(received) = self.waiting.pop_front() {
                        return self.take_chunk(received, batch);
                    }
                }
                request = next_request(&mut self.requests) => self.open_sender(request),
                () = until(due) => {
                    // The time is the due time and no later one, so that only one sender is affected.
                    let flushed = self.pipeline.run_due(due.unwrap_or_else(Instant::now), batch);
                    return PushedBatch { origin: flushed.first().copied(), unacknowledged: None };
                }
            }
        }
    }

    /// Returns whether a chunk that comes now has to wait.
    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_waiting(Instant::now())
    }

    /// Stops receiving, and ends the unfinished lines.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.receivers.clear();
        self.waiting.clear();
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
        // The others that wait are taken at once.
        if self.waiting.is_empty() {
            self.pace.note_read(pushed.bytes.len(), now.instant);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceKind;
    use crate::control::{PushSender, push_requests};
    use crate::event::Origin;
    use crate::source::SourceOptions;
    use crate::source::testing::{SourceHarness, spec};
    use bytes::Bytes;
    use std::time::Duration;

    /// Returns whether the sender had to wait until its lines were in the stream.
    async fn waits(sender: &PushSender, text: &'static str, last: bool) -> bool {
        let start = Instant::now();
        sender.send(Bytes::from_static(text.as_bytes()), last).await.unwrap();
        assert!(start.elapsed() <= PIPE_READ_INTERVAL, "{text}: {:?}", start.elapsed());
        start.elapsed() > Duration::ZERO
    }

    #[tokio::test(start_paused = true)]
    async fn lines_that_follow_each_other_wait_for_the_pace_and_those_whose_sender_ends_do_not() {
        let (handle, requests) = push_requests();
        let options = SourceOptions { push_requests: Some(requests), ..SourceOptions::default() };
        let mut harness = SourceHarness::start(spec(SourceKind::Push), options);
        harness.state("receiving").await;
        let open = || handle.open(Origin::from("x"));
        let (one, other) = (open().await.unwrap(), open().await.unwrap());
        for round in 0..3 {
            assert!(!waits(&one, "first\n", false).await, "{round}: after quiet");
            let last = open().await.unwrap();
            let (waits_one, waits_other, waits_last) = tokio::join!(
                waits(&one, "second\n", false),
                waits(&other, "third\n", false),
                waits(&last, "whole\n", true)
            );
            assert_eq!((waits_one, waits_other, waits_last), (true, true, false), "{round}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(harness.lines(4).await, ["first", "whole", "second", "third"]);
        }
        harness.stop();
    }
}
