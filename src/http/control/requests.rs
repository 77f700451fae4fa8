//! From a text message to its reply: what can be done at once is, what takes its time comes back later, and a batch is
//! answered when all of it is done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::control::{Attachment, CommandError};
use crate::event::StreamName;
use crate::wire::message::{self, Call, IncomingMessage, MethodResponse, RequestId, RpcError, RpcErrorCode};

use super::super::command::{CallError, rate_limit_text};
use super::channel::ControlChannel;

/// Most commands of one socket under way at once: who sends more than are answered is told `busy`.
const MAX_REQUESTS_IN_FLIGHT: usize = 32;

/// Longest time that a channel which sends too much is not listened to: to read and refuse is work too, and pings wait.
const MAX_READ_PAUSE: Duration = Duration::from_millis(100);

/// So many streams in a list cost as much as a request.
const LISTED_STREAMS_PER_REQUEST: usize = 4;

/// What a call came to.
pub(super) enum CallResult {
    Completed(MethodResponse),
    /// An attachment, which the session has yet to take in.
    Attached(StreamName, Attachment),
}

/// What a call comes to: now, or later.
pub(super) enum PendingCall {
    Ready(Result<CallResult, RpcError>),
    Pending(BoxFuture<'static, Result<CallResult, RpcError>>),
}

/// A message whose calls have all come to something.
pub(super) struct FinishedMessage {
    batch: bool,
    parts: Vec<(Option<RequestId>, Result<CallResult, RpcError>)>,
}

/// The messages that are not answered yet.
pub(super) struct InFlight {
    pub(super) messages: FuturesUnordered<BoxFuture<'static, FinishedMessage>>,
    permits: Arc<Semaphore>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { messages: FuturesUnordered::new(), permits: Arc::new(Semaphore::new(MAX_REQUESTS_IN_FLIGHT)) }
    }
}

impl InFlight {
    /// A place for one more command.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        let busy = || {
            RpcError::new(
                RpcErrorCode::Busy,
                format!("{MAX_REQUESTS_IN_FLIGHT} commands are under way; wait for their replies"),
            )
        };
        self.permits.clone().try_acquire_owned().map_err(|_| busy())
    }
}

impl ControlChannel {
    /// Does what a message asks for; the reply, if there is one already.
    pub(super) async fn message(&mut self, text: &str) -> Option<String> {
        let IncomingMessage { is_batch: batch, requests } = match message::read(text) {
            Ok(incoming) => incoming,
            Err(error) => {
                let error = self.check_rate(1).err().unwrap_or(error);
                return Some(message::reply(&RequestId::null(), Err(&error)));
            }
        };
        let mut parts = Vec::with_capacity(requests.len());
        let mut late = false;
        for request in requests {
            let cost = request.call.as_ref().map_or(1, |call| self.cost(call));
            let outcome = match self.check_rate(cost).and(request.call) {
                Ok(call) => self.call(call).await,
                Err(error) => PendingCall::Ready(Err(error)),
            };
            // Other connections get their turn, however many requests one message brings.
            tokio::task::yield_now().await;
            late |= matches!(outcome, PendingCall::Pending(_));
            parts.push((request.id, outcome));
        }
        let finished = async move {
            let mut done = Vec::with_capacity(parts.len());
            for (id, outcome) in parts {
                let came = match outcome {
                    PendingCall::Ready(came) => came,
                    PendingCall::Pending(coming) => coming.await,
                };
                done.push((id, came));
            }
            FinishedMessage { batch, parts: done }
        };
        if late {
            self.in_flight.messages.push(Box::pin(finished));
            return None;
        }
        let finished = finished.await;
        self.finish(finished)
    }

    /// For how many requests a call counts: a list for as many as its length is worth.
    fn cost(&self, call: &Call) -> u32 {
        let Call::List(_) = call else { return 1 };
        let streams = self.app.catalog.count() / LISTED_STREAMS_PER_REQUEST;
        u32::try_from(streams).unwrap_or(u32::MAX).clamp(1, (self.limits.control_rate.times / 4).max(1))
    }

    /// Counts `cost` more requests. Those of one token are counted together, whatever channel they come by. A client that sends
    /// too many is not listened to for a while: what it sends meanwhile waits.
    fn check_rate(&mut self, cost: u32) -> Result<(), RpcError> {
        let (rate, now) = (self.limits.control_rate, Instant::now());
        let taken = match self.caller.token() {
            Some(_) => self.app.rate_limiters.take_many(self.caller.credential(), cost, rate, now),
            None => self.rate_limiter.take_many(cost, rate, now),
        };
        taken.map_err(|wait| {
            self.read_paused_until = Some(now + wait.min(MAX_READ_PAUSE));
            RpcError::too_fast(rate_limit_text(rate, wait), wait)
        })
    }

    /// The reply to a message, if anybody waits for one.
    pub(super) fn finish(&mut self, finished: FinishedMessage) -> Option<String> {
        let mut replies = Vec::new();
        for (id, came) in finished.parts {
            let done = came.and_then(|came| match came {
                CallResult::Completed(done) => Ok(done),
                CallResult::Attached(stream, attachment) => self.add_attachment(stream, attachment),
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

impl From<CallError> for RpcError {
    fn from(fault: CallError) -> Self {
        let code = match &fault {
            CallError::Denied(_) => RpcErrorCode::Denied,
            CallError::NoStream(_) => RpcErrorCode::NotFound,
            CallError::Reconfiguring => RpcErrorCode::Busy,
            CallError::LeasedByOther(_) => RpcErrorCode::Leased,
            CallError::Command(refused) => match refused {
                CommandError::NotAProcess
                | CommandError::NotAPushStream
                | CommandError::NotRunning
                | CommandError::NoInput
                | CommandError::InputEnded
                | CommandError::Redacted
                | CommandError::NoPty => RpcErrorCode::Refused,
                CommandError::TooLong(_) | CommandError::NoSignal(_) => RpcErrorCode::Parameters,
                CommandError::Busy | CommandError::TooManyCommands | CommandError::TooManySenders => RpcErrorCode::Busy,
                CommandError::Failed(_) => RpcErrorCode::Internal,
                CommandError::Gone => RpcErrorCode::Stopping,
            },
        };
        Self::new(code, fault.to_string())
    }
}
