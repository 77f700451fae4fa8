//! A control channel from its handshake to its end: one loop that reads requests, writes replies and notifications, and
//! pings the client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use log::debug;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::access::Caller;
use crate::config::Limits;
use crate::control::RawOutput;
use crate::event::StreamName;
use crate::stream::CursorItem;
use crate::wire::message::{self, Call, IncomingMessage, LeaseHolder, Notification, RequestId, RpcError, events};

use super::super::app::App;
use super::WebSocket;
use super::close::{self, ChannelEnd};
use super::requests::{CallResult, FinishedMessage, PendingCall};
use super::session::{ControlSession, Delivery, Subscription};
use crate::http::command::rate_limit_text;
use crate::http::guard::lease::HeldLease;
use crate::http::guard::lifetime::{DENIED_TEXT, Lifetime, LifetimeEnd};
use crate::http::guard::rate_limit::RateLimiter;

/// The maximum time for which a channel that sends too many requests is not read: refusing requests is work, too. A
/// longer pause would delay the answers to pings.
const MAX_READ_PAUSE: Duration = Duration::from_millis(100);

/// The number of streams in a list that cost as much as one request.
const LISTED_STREAMS_PER_REQUEST: usize = 4;

/// The number of pings without an answer after which a client is considered gone. They are one keep-alive interval
/// apart.
const MAX_UNANSWERED_PINGS: u32 = 3;

/// A socket with its session: it reads requests, writes replies and notifications, and sends pings.
pub(super) struct ControlChannel {
    session: ControlSession,
    /// The messages whose calls have not all completed.
    in_flight: FuturesUnordered<BoxFuture<'static, FinishedMessage>>,
    /// The rate of requests, if the caller has no token by which they could be counted over several channels.
    rate_limiter: RateLimiter,
    /// The deadline for requests in flight once the connection has reached its age limit; no others are read then.
    closes_by: Option<Instant>,
    /// The time until which no message is read.
    read_paused_until: Option<Instant>,
    /// The leases of the session's streams that were reported to the client: holder and expiry. A stream without a
    /// lease has no entry.
    reported_leases: BTreeMap<StreamName, (u64, Instant)>,
    lease_changes: watch::Receiver<BTreeMap<StreamName, HeldLease>>,
}

/// An event in the life of a channel.
enum ChannelEvent {
    Received(Option<Result<Message, tungstenite::Error>>),
    Delivery(u64, Delivery),
    Finished(FinishedMessage),
    /// A lease was taken or given back.
    LeasesChanged,
    /// The time has come for a ping, for the expiry of a lease, or for reading again.
    Tick,
    Stopping,
    /// The lifetime of the channel has ended.
    LifetimeOver(LifetimeEnd),
}

impl ControlChannel {
    pub(super) fn new(app: Arc<App>, caller: Caller, limits: Arc<Limits>) -> Self {
        let lease_changes = app.leases.watch();
        Self {
            session: ControlSession::new(app, caller, limits),
            in_flight: FuturesUnordered::new(),
            rate_limiter: RateLimiter::new(Instant::now()),
            closes_by: None,
            read_paused_until: None,
            reported_leases: BTreeMap::new(),
            lease_changes,
        }
    }

    /// Runs the channel to its end.
    pub(super) async fn run(mut self, mut socket: WebSocket, lifetime: Lifetime) {
        debug!(peer:% = self.session.caller.peer; "a control channel opens");
        let ending = self.serve(&mut socket, lifetime).await;
        self.session.app.leases.release_all(self.session.number);
        let peer = self.session.caller.peer;
        // The readers end before the closing handshake, so that they no longer count in the caller's quota.
        drop(self);
        debug!(peer:% = peer, ending:? = ending; "a control channel ends");
        ending.close(socket).await;
    }

    async fn serve(&mut self, socket: &mut WebSocket, mut lifetime: Lifetime) -> ChannelEnd {
        let interval = self.session.limits.keep_alive;
        let mut ping = Instant::now() + interval;
        let mut unanswered = 0;
        let mut stopping = false;
        loop {
            let nothing_left = self.session.subscriptions.is_empty() && self.session.attachments.is_empty();
            if stopping && nothing_left && self.in_flight.is_empty() {
                let is_restarting = self.session.app.restart_notice.is_set();
                return ChannelEnd::Ours(if is_restarting { close::CLOSE_RESTARTING } else { close::CLOSE_STOPPING });
            }
            if self.closes_by.is_some_and(|by| self.in_flight.is_empty() || by <= Instant::now()) {
                return ChannelEnd::Ours(close::CLOSE_LIFETIME_OVER);
            }
            let sent = match self.next_event(socket, &mut lifetime, ping, stopping).await {
                ChannelEvent::Received(None) => return ChannelEnd::Closed,
                ChannelEvent::Received(Some(Err(error))) => return error.into(),
                ChannelEvent::Received(Some(Ok(message))) => {
                    unanswered = 0;
                    match message {
                        Message::Text(text) => self.handle_text(socket, text.as_str()).await,
                        Message::Binary(_) => return ChannelEnd::Ours(close::CLOSE_BINARY_MESSAGE),
                        Message::Close(_) => return ChannelEnd::Closed,
                        // The pong is written before anything else is read, so that pongs which a peer does not read
                        // never queue up.
                        Message::Ping(_) => socket.flush().await,
                        Message::Pong(_) | Message::Frame(_) => Ok(()),
                    }
                }
                ChannelEvent::Delivery(number, delivery) => self.deliver(socket, number, delivery).await,
                ChannelEvent::Finished(finished) => match self.reply_to(finished) {
                    Some(reply) => send(socket, reply).await,
                    None => Ok(()),
                },
                ChannelEvent::LeasesChanged => self.send_lease_changes(socket).await,
                ChannelEvent::Tick => {
                    let now = Instant::now();
                    if now >= ping {
                        if unanswered == MAX_UNANSWERED_PINGS {
                            return ChannelEnd::Ours(close::CLOSE_NO_PONG);
                        }
                        ping = now + interval;
                        unanswered += 1;
                        socket.send(Message::Ping(tungstenite::Bytes::new())).await
                    } else {
                        self.send_lease_changes(socket).await
                    }
                }
                ChannelEvent::Stopping => {
                    stopping = true;
                    Ok(())
                }
                ChannelEvent::LifetimeOver(LifetimeEnd::MaxAge) => {
                    self.closes_by = Some(Instant::now() + self.session.limits.shutdown);
                    Ok(())
                }
                ChannelEvent::LifetimeOver(LifetimeEnd::TokenInvalid(why)) => {
                    debug!(peer:% = self.session.caller.peer, why:% = why; "a control channel has lost its token");
                    return ChannelEnd::Ours(close::CLOSE_TOKEN_INVALID);
                }
            };
            if let Err(error) = sent {
                return error.into();
            }
        }
    }

    async fn next_event(
        &mut self,
        socket: &mut WebSocket,
        lifetime: &mut Lifetime,
        ping: Instant,
        stopping: bool,
    ) -> ChannelEvent {
        let first_expiry = self.reported_leases.values().map(|(_, until)| *until).min();
        self.read_paused_until = self.read_paused_until.filter(|until| *until > Instant::now());
        let next_check =
            first_expiry.into_iter().chain(self.read_paused_until).chain(self.closes_by).fold(ping, Instant::min);
        let mut ready = self.session.app.ready.clone();
        tokio::select! {
            end = lifetime.ended(), if self.closes_by.is_none() => ChannelEvent::LifetimeOver(end),
            received = socket.next(), if self.read_paused_until.is_none() && self.closes_by.is_none() => ChannelEvent::Received(received),
            Some((number, delivery)) = self.session.deliveries.next() => ChannelEvent::Delivery(number, delivery),
            Some(finished) = self.in_flight.next() => ChannelEvent::Finished(finished),
            // The sender is in the app, which the session keeps alive.
            _ = self.lease_changes.changed() => ChannelEvent::LeasesChanged,
            () = sleep_until(next_check) => ChannelEvent::Tick,
            _ = ready.wait_for(|ready| !ready), if !stopping => ChannelEvent::Stopping,
        }
    }

    async fn handle_text(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), tungstenite::Error> {
        if let Some(reply) = self.handle_message(text).await {
            send(socket, reply).await?;
        }
        // The stream of a new subscription may have a lease.
        self.send_lease_changes(socket).await
    }

    async fn deliver(
        &mut self,
        socket: &mut WebSocket,
        number: u64,
        delivery: Delivery,
    ) -> Result<(), tungstenite::Error> {
        let (item, place, skipped) = match delivery {
            Delivery::Item(item, place, skipped) => (item, place, skipped),
            Delivery::Raw(raw) => {
                // Output of a detached terminal may still be in the queue.
                if !self.session.attachments.contains_key(&number) {
                    return Ok(());
                }
                let notification = match &raw {
                    RawOutput::Bytes(bytes) => Notification::output(number, bytes),
                    RawOutput::Missed(missed) => Notification::Lost { attachment: number, missed: *missed },
                };
                return send(socket, notification.to_text()).await;
            }
            Delivery::Denied => return self.send_end(socket, number, Some(DENIED_TEXT)).await,
            Delivery::Ended => {
                let reason = self.session.app.restart_notice.is_set().then_some(close::RESTARTING);
                return self.send_end(socket, number, reason).await;
            }
        };
        let Some(subscription) = self.session.subscriptions.get_mut(&number) else { return Ok(()) };
        subscription.position = place;
        match item {
            CursorItem::Frames(frames) => {
                for text in events(number, &frames.bytes) {
                    send(socket, text).await?;
                }
                Ok(())
            }
            CursorItem::Gap(gap) => send(socket, Notification::gap(number, &gap).to_text()).await,
            CursorItem::OpenLine(line) => send(socket, Notification::open_line(number, &line).to_text()).await,
            CursorItem::Progress(progress) => {
                send(socket, Notification::Progress { subscription: number, progress: &progress }.to_text()).await
            }
            CursorItem::TimedOut if skipped => {
                send(socket, Notification::Position { subscription: number, position: place }.to_text()).await
            }
            CursorItem::TimedOut => Ok(()),
        }
    }

    async fn send_end(
        &mut self,
        socket: &mut WebSocket,
        number: u64,
        reason: Option<&str>,
    ) -> Result<(), tungstenite::Error> {
        if let Some(Subscription { position, .. }) = self.session.subscriptions.remove(&number) {
            return send(
                socket,
                Notification::Ended { subscription: number, position, reason: reason.map(str::to_owned) }.to_text(),
            )
            .await;
        }
        if self.session.attachments.remove(&number).is_some() {
            return send(socket, Notification::Detached { attachment: number }.to_text()).await;
        }
        Ok(())
    }

    /// Reports the leases that have changed since they were last reported, of all streams with a subscription or an
    /// attachment.
    async fn send_lease_changes(&mut self, socket: &mut WebSocket) -> Result<(), tungstenite::Error> {
        let now = Instant::now();
        let streams = self.session.subscriptions.values().map(|subscription| &subscription.stream);
        let streams = streams.chain(self.session.attachments.values().map(|attached| &attached.stream));
        let current_leases = {
            let leases = self.lease_changes.borrow_and_update();
            let lease_of = |stream: &StreamName| leases.get(stream).copied().filter(|lease| lease.until > now);
            streams.map(|stream| (stream.clone(), lease_of(stream))).collect::<BTreeMap<_, _>>()
        };
        self.reported_leases.retain(|stream, _| current_leases.contains_key(stream));
        for (stream, lease) in current_leases {
            let reported = self.reported_leases.get(&stream).copied();
            if reported == lease.map(|lease| (lease.by, lease.until)) {
                continue;
            }
            match lease {
                Some(lease) => self.reported_leases.insert(stream.clone(), (lease.by, lease.until)),
                None => self.reported_leases.remove(&stream),
            };
            let holder = lease.map(|lease| LeaseHolder {
                peer: lease.peer.to_string(),
                yours: lease.by == self.session.number,
                seconds: lease.remaining().as_secs_f64(),
            });
            send(socket, Notification::Leased { stream: stream.as_str(), holder }.to_text()).await?;
        }
        Ok(())
    }

    /// Carries out the calls of a message. Returns the reply if all calls are complete and there is one.
    async fn handle_message(&mut self, text: &str) -> Option<String> {
        let IncomingMessage { is_batch, requests } = match message::read(text) {
            Ok(incoming) => incoming,
            Err(error) => {
                let error = self.check_rate(1).err().unwrap_or(error);
                return Some(message::reply(&RequestId::null(), Err(&error)));
            }
        };
        let mut calls = Vec::with_capacity(requests.len());
        let mut has_pending = false;
        for request in requests {
            let cost = request.call.as_ref().map_or(1, |call| self.cost(call));
            let outcome = match self.check_rate(cost).and(request.call) {
                Ok(call) => self.session.call(call).await,
                Err(error) => PendingCall::Ready(Err(error)),
            };
            // Other connections are served between the requests of a batch.
            tokio::task::yield_now().await;
            has_pending |= matches!(outcome, PendingCall::Pending(_));
            calls.push((request.id, outcome));
        }
        let finished = async move {
            let mut done = Vec::with_capacity(calls.len());
            for (id, outcome) in calls {
                let result = match outcome {
                    PendingCall::Ready(result) => result,
                    PendingCall::Pending(pending) => pending.await,
                };
                done.push((id, result));
            }
            FinishedMessage { is_batch, results: done }
        };
        if has_pending {
            self.in_flight.push(Box::pin(finished));
            return None;
        }
        let finished = finished.await;
        self.reply_to(finished)
    }

    /// The number of requests that a call counts as: one, or more for a list of many streams.
    fn cost(&self, call: &Call) -> u32 {
        let Call::List(_) = call else { return 1 };
        let streams = self.session.app.catalog.count() / LISTED_STREAMS_PER_REQUEST;
        u32::try_from(streams).unwrap_or(u32::MAX).clamp(1, (self.session.limits.control_rate.times / 4).max(1))
    }

    /// Counts `cost` more requests. Those of one token are counted together, whatever channel they come by. A client
    /// that sends too many is not listened to for a while: what it sends meanwhile waits.
    fn check_rate(&mut self, cost: u32) -> Result<(), RpcError> {
        let (rate, now) = (self.session.limits.control_rate, Instant::now());
        let taken = match self.session.caller.token() {
            Some(_) => self.session.app.rate_limiters.take_many(self.session.caller.credential(), cost, rate, now),
            None => self.rate_limiter.take_many(cost, rate, now),
        };
        taken.map_err(|wait| {
            self.read_paused_until = Some(now + wait.min(MAX_READ_PAUSE));
            RpcError::too_fast(rate_limit_text(rate, wait), wait)
        })
    }

    /// The reply to a message; `None` if all of its calls are notifications.
    fn reply_to(&mut self, finished: FinishedMessage) -> Option<String> {
        let mut replies = Vec::new();
        for (id, result) in finished.results {
            let done = result.and_then(|result| match result {
                CallResult::Completed(done) => Ok(done),
                CallResult::Attached(stream, attachment) => self.session.add_attachment(stream, attachment),
            });
            replies.extend(id.map(|id| message::reply(&id, done.as_ref())));
        }
        match replies.as_slice() {
            [] => None,
            [one] if !finished.is_batch => Some(one.clone()),
            _ => Some(format!("[{}]", replies.join(","))),
        }
    }
}

/// Sends a text message, and waits until the connection has accepted it.
async fn send(socket: &mut WebSocket, text: String) -> Result<(), tungstenite::Error> {
    socket.send(Message::text(text)).await
}
