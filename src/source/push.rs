//! Lines that others send: those of each sender stay in their order, and half a line of one is no part of another's.
//!
//! Knows nothing of how they come, and has no queue: who sends waits until what it sent is in the stream.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::Stream;
use crate::control::{Command, Inbox, Order, Pushed, Refused, Reply, Tally, pusher};
use crate::event::Position;
use crate::stream::Batch;

use super::feed::Feed;
use super::{Now, until};

/// Most senders at once. Each holds at most half a line and what one read of its connection gave.
const SENDERS: usize = 256;

/// What came from a sender, by its lane.
type Came = (usize, Option<Pushed>, mpsc::Receiver<Pushed>);

/// A stream that is filled by whoever sends lines.
pub(super) struct Push {
    feed: Feed,
    inbox: Option<Inbox>,
    /// What each sender sends next.
    coming: FuturesUnordered<BoxFuture<'static, Came>>,
    /// What became of what each sent; `None` where a lane is free.
    tallies: Vec<Option<Tally>>,
}

/// Whose lines were added to a batch, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Turn {
    lane: Option<usize>,
    waits: Option<Pushed>,
}

impl Push {
    pub(super) fn new(spec: &Stream, inbox: Option<Inbox>) -> Self {
        let (coming, tallies) = (FuturesUnordered::new(), Vec::new());
        Self { feed: Feed::new(spec, []), inbox, coming, tallies }
    }

    /// Adds what comes next, from one sender, to `batch`; then it is to be appended, and [`appended`](Self::appended) is to be
    /// told. May be dropped at any time.
    pub(super) async fn next(&mut self, batch: &mut Batch) -> Turn {
        loop {
            let due = self.feed.due();
            select! {
                Some(came) = self.coming.next() => return self.take(came, batch),
                order = next_of(&mut self.inbox) => self.order(order),
                () = until(due) => {
                    // No later: then it is about one sender alone.
                    let gave = self.feed.show(due.unwrap_or_else(Instant::now), batch);
                    return Turn { lane: gave.first().copied(), waits: None };
                }
            }
        }
    }

    /// Nothing more is taken: half lines are at their end.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.coming.clear();
        for lane in 0..self.tallies.len() {
            self.leave(lane, batch);
        }
    }

    /// The `lines` of a turn are in the stream, the last of them as `last`.
    pub(super) fn appended(&mut self, turn: Turn, lines: usize, last: Position) {
        let Turn { lane, waits } = turn;
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
            pushed.taken(tally);
        }
    }

    fn take(&mut self, (lane, came, from): Came, batch: &mut Batch) -> Turn {
        let now = Now::read();
        let Some(pushed) = came else {
            // It went away without a word.
            self.leave(lane, batch);
            return Turn::default();
        };
        self.feed.push(lane, &pushed.bytes, now, batch);
        if pushed.last {
            self.feed.finish(lane, now, batch);
            self.feed.remove(lane);
        } else {
            self.listen(lane, from);
        }
        Turn { lane: Some(lane), waits: Some(pushed) }
    }

    fn leave(&mut self, lane: usize, batch: &mut Batch) {
        if self.tallies.get_mut(lane).and_then(Option::take).is_some() {
            self.feed.finish(lane, Now::read(), batch);
            self.feed.remove(lane);
        }
    }

    fn listen(&mut self, lane: usize, mut from: mpsc::Receiver<Pushed>) {
        self.coming.push(Box::pin(async move { (lane, from.recv().await, from) }));
    }

    fn order(&mut self, order: Order) {
        let origin = match &order.command {
            Command::Push(origin) => origin.clone(),
            Command::Input(_)
            | Command::EndOfInput
            | Command::Signal(_)
            | Command::Pause
            | Command::Resume
            | Command::Start
            | Command::Stop
            | Command::Restart
            | Command::Resize { .. }
            | Command::Attach => return order.answer(Err(Refused::NotAProcess)),
        };
        let lane = self.tallies.iter().position(Option::is_none).unwrap_or(self.tallies.len());
        if lane >= SENDERS {
            return order.answer(Err(Refused::Crowd));
        }
        if lane == self.tallies.len() {
            self.tallies.push(None);
        }
        self.tallies[lane] = Some(Tally::default());
        self.feed.add(lane, origin);
        let (pusher, from) = pusher();
        self.listen(lane, from);
        order.answer(Ok(Reply::Pushing(pusher)));
    }
}

/// The next command; never, once nobody can send one.
async fn next_of(inbox: &mut Option<Inbox>) -> Order {
    match inbox {
        Some(receiver) => match receiver.recv().await {
            Some(order) => order,
            None => pending().await,
        },
        None => pending().await,
    }
}
