//! From a text message to its reply: what can be done at once is, what takes its time comes back later, and a batch is
//! answered when all of it is done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::control::{Attachment, Refused};
use crate::event::StreamName;
use crate::wire::message::{self, Call, Code, Done, Error, Id, Incoming};

use super::super::command::{Fault, too_fast};
use super::session::Session;

/// Most commands of one socket under way at once: who sends more than are answered is told `busy`.
const REQUESTS: usize = 32;

/// Longest time that a channel which sends too much is not listened to: to read and refuse is work too, and pings wait.
const DEAF: Duration = Duration::from_millis(100);

/// So many streams in a list cost as much as a request.
const LISTED_PER_REQUEST: usize = 4;

/// What a call came to.
pub(super) enum Came {
    Done(Done),
    /// An attachment, which the session has yet to take in.
    Attached(StreamName, Attachment),
}

/// What a call comes to: now, or later.
pub(super) enum Outcome {
    Now(Result<Came, Error>),
    Later(BoxFuture<'static, Result<Came, Error>>),
}

/// A message whose calls have all come to something.
pub(super) struct Finished {
    batch: bool,
    parts: Vec<(Option<Id>, Result<Came, Error>)>,
}

/// The messages that are not answered yet.
pub(super) struct UnderWay {
    pub(super) messages: FuturesUnordered<BoxFuture<'static, Finished>>,
    free: Arc<Semaphore>,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { messages: FuturesUnordered::new(), free: Arc::new(Semaphore::new(REQUESTS)) }
    }
}

impl UnderWay {
    /// A place for one more command.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let busy = || Error::new(Code::Busy, format!("{REQUESTS} commands are under way; wait for their replies"));
        self.free.clone().try_acquire_owned().map_err(|_| busy())
    }
}

impl Session {
    /// Does what a message asks for; the reply, if there is one already.
    pub(super) async fn message(&mut self, text: &str) -> Option<String> {
        let Incoming { batch, requests } = match message::read(text) {
            Ok(incoming) => incoming,
            Err(error) => {
                let error = self.keep_pace(1).err().unwrap_or(error);
                return Some(message::reply(&Id::null(), Err(&error)));
            }
        };
        let mut parts = Vec::with_capacity(requests.len());
        let mut late = false;
        for request in requests {
            let cost = request.call.as_ref().map_or(1, |call| self.cost(call));
            let outcome = match self.keep_pace(cost).and(request.call) {
                Ok(call) => self.call(call).await,
                Err(error) => Outcome::Now(Err(error)),
            };
            // Other connections get their turn, however many requests one message brings.
            tokio::task::yield_now().await;
            late |= matches!(outcome, Outcome::Later(_));
            parts.push((request.id, outcome));
        }
        let finished = async move {
            let mut done = Vec::with_capacity(parts.len());
            for (id, outcome) in parts {
                let came = match outcome {
                    Outcome::Now(came) => came,
                    Outcome::Later(coming) => coming.await,
                };
                done.push((id, came));
            }
            Finished { batch, parts: done }
        };
        if late {
            self.under_way.messages.push(Box::pin(finished));
            return None;
        }
        let finished = finished.await;
        self.finish(finished)
    }

    /// For how many requests a call counts: a list for as many as its length is worth.
    fn cost(&self, call: &Call) -> u32 {
        let Call::List(_) = call else { return 1 };
        let streams = self.app.catalog.count() / LISTED_PER_REQUEST;
        u32::try_from(streams).unwrap_or(u32::MAX).clamp(1, (self.limits.control_rate.times / 4).max(1))
    }

    /// Counts `cost` more requests. Those of one token are counted together, whatever channel they come by. A client that sends
    /// too many is not listened to for a while: what it sends meanwhile waits.
    fn keep_pace(&mut self, cost: u32) -> Result<(), Error> {
        let (rate, now) = (self.limits.control_rate, Instant::now());
        let taken = match self.caller.token() {
            Some(_) => self.app.paces.take_many(self.caller.credential(), cost, rate, now),
            None => self.pace.take_many(cost, rate, now),
        };
        taken.map_err(|wait| {
            self.deaf = Some(now + wait.min(DEAF));
            Error::too_fast(too_fast(rate, wait), wait)
        })
    }

    /// The reply to a message, if anybody waits for one.
    pub(super) fn finish(&mut self, finished: Finished) -> Option<String> {
        let mut replies = Vec::new();
        for (id, came) in finished.parts {
            let done = came.and_then(|came| match came {
                Came::Done(done) => Ok(done),
                Came::Attached(stream, attachment) => self.take_in(stream, attachment),
            });
            replies.extend(id.map(|id| message::reply(&id, done.as_ref())));
        }
        match replies.as_slice() {
            [] => None,
            [one] if !finished.batch => Some(one.clone()),
            _ => Some(format!("[{}]", replies.join(","))),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let code = match &fault {
            Fault::Denied(_) => Code::Denied,
            Fault::NoStream(_) => Code::NotFound,
            Fault::Held => Code::Busy,
            Fault::Leased(_) => Code::Leased,
            Fault::Refused(refused) => match refused {
                Refused::NotAProcess
                | Refused::NotPushed
                | Refused::NotRunning
                | Refused::NoInput
                | Refused::InputEnded
                | Refused::Redacted
                | Refused::NoPty => Code::Refused,
                Refused::TooLong(_) | Refused::NoSignal(_) => Code::Parameters,
                Refused::Busy | Refused::Flood | Refused::Crowd => Code::Busy,
                Refused::Failed(_) => Code::Internal,
                Refused::Gone => Code::Stopping,
            },
        };
        Self::new(code, fault.to_string())
    }
}
