//! One socket from its handshake to its end: one loop that hears, tells, and looks whether anybody is still there.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::SelectAll;
use futures_util::{SinkExt, Stream, StreamExt};
use log::debug;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::access::Caller;
use crate::config::Limits;
use crate::control::RawOutput;
use crate::event::{Position, StreamName};
use crate::stream::CursorItem;
use crate::wire::message::{LeaseHolder, Notification, events};

use super::super::App;
use super::WebSocket;
use super::close::{self, ChannelEnd};
use super::requests::{FinishedMessage, InFlight};
use crate::http::guard::lease::HeldLease;
use crate::http::guard::lifetime::{Lifetime, LifetimeEnd, ReaderShare, TURNED_PRIVATE_TEXT};
use crate::http::guard::rate_limit::RateLimiter;
use crate::http::stream::steering::ReaderControl;

/// A peer that says nothing to so many pings is gone; they are the keep-alive interval apart.
const MAX_UNANSWERED_PINGS: u32 = 3;

/// A socket's state.
pub(super) struct ControlChannel {
    pub(super) app: App,
    pub(super) caller: Caller,
    pub(super) limits: Arc<Limits>,
    /// Stands for this channel where leases are held.
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) attachments: BTreeMap<u64, ActiveAttachment>,
    /// What all of them give.
    pub(super) told: SelectAll<DeliveryStream>,
    pub(super) in_flight: InFlight,
    /// How fast its requests came, where no token tells whose they are.
    pub(super) rate_limiter: RateLimiter,
    /// Its time is over: what is under way is answered, until then at most.
    closes_by: Option<Instant>,
    /// Until when nothing is heard.
    pub(super) read_paused_until: Option<Instant>,
    /// How the leases of its streams were told last; nobody's where there is none.
    reported_leases: BTreeMap<StreamName, (u64, Instant)>,
    lease_changes: watch::Receiver<BTreeMap<StreamName, HeldLease>>,
    last_number: u64,
}

/// What a subscription or an attachment gives, with its number.
type DeliveryStream = Pin<Box<dyn Stream<Item = (u64, Delivery)> + Send>>;

/// What there is to tell.
pub(super) enum Delivery {
    Item(CursorItem, Position, bool),
    Raw(RawOutput),
    /// The stream turned private; its end comes next.
    Denied,
    Ended,
}

/// A subscription; dropping it ends it.
pub(super) struct Subscription {
    pub(super) stream: StreamName,
    pub(super) control: ReaderControl,
    /// Behind what was told last.
    pub(super) place: Position,
    /// What it takes of the readers that its caller may have.
    pub(super) _share: Option<ReaderShare>,
}

/// An attachment; dropping it ends it.
pub(super) struct ActiveAttachment {
    pub(super) stream: StreamName,
    pub(super) _end_on_drop: oneshot::Sender<()>,
}

/// What happened.
enum ChannelEvent {
    Received(Option<Result<Message, tungstenite::Error>>),
    Delivery(u64, Delivery),
    Finished(FinishedMessage),
    /// Somebody took or gave back a lease.
    LeasesChanged,
    /// It is time to look at pings and leases, or to listen again.
    Tick,
    Stopping,
    /// It may go on no longer.
    LifetimeOver(LifetimeEnd),
}

impl ControlChannel {
    pub(super) fn new(app: App, caller: Caller, limits: Arc<Limits>) -> Self {
        let changes = app.leases.watch();
        Self {
            app,
            caller,
            limits,
            number: fastrand::u64(..),
            subscriptions: BTreeMap::new(),
            attachments: BTreeMap::new(),
            told: SelectAll::new(),
            in_flight: InFlight::default(),
            rate_limiter: RateLimiter::new(Instant::now()),
            closes_by: None,
            read_paused_until: None,
            reported_leases: BTreeMap::new(),
            lease_changes: changes,
            last_number: 0,
        }
    }

    /// The number of the next subscription or attachment.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Whether the daemon stops: then what is left is told, and nothing more is done.
    pub(super) fn is_stopping(&self) -> bool {
        !*self.app.ready.borrow()
    }

    /// Runs it to its end.
    pub(super) async fn run(mut self, mut socket: WebSocket, term: Lifetime) {
        debug!(peer:% = self.caller.peer; "a control channel opens");
        let ending = self.serve(&mut socket, term).await;
        self.app.leases.release_all(self.number);
        let peer = self.caller.peer;
        // Its readers end before the farewell: they would only hold others up.
        drop(self);
        debug!(peer:% = peer, ending:? = ending; "a control channel ends");
        ending.close(socket).await;
    }

    async fn serve(&mut self, socket: &mut WebSocket, mut term: Lifetime) -> ChannelEnd {
        let interval = self.limits.keep_alive;
        let mut ping = Instant::now() + interval;
        let mut unanswered = 0;
        let mut stopping = false;
        loop {
            let nothing_left = self.subscriptions.is_empty() && self.attachments.is_empty();
            if stopping && nothing_left && self.in_flight.messages.is_empty() {
                return ChannelEnd::Ours(close::CLOSE_STOPPING);
            }
            if self.closes_by.is_some_and(|by| self.in_flight.messages.is_empty() || by <= Instant::now()) {
                return ChannelEnd::Ours(close::CLOSE_LIFETIME_OVER);
            }
            let sent = match self.next_event(socket, &mut term, ping, stopping).await {
                ChannelEvent::Received(None) => return ChannelEnd::Closed,
                ChannelEvent::Received(Some(Err(error))) => return error.into(),
                ChannelEvent::Received(Some(Ok(message))) => {
                    unanswered = 0;
                    match message {
                        Message::Text(text) => self.answer(socket, text.as_str()).await,
                        Message::Binary(_) => return ChannelEnd::Ours(close::CLOSE_BINARY_MESSAGE),
                        Message::Close(_) => return ChannelEnd::Closed,
                        // The pong is written before anything else is read, so that pongs which a peer does not read never queue up.
                        Message::Ping(_) => socket.flush().await,
                        Message::Pong(_) | Message::Frame(_) => Ok(()),
                    }
                }
                ChannelEvent::Delivery(number, told) => self.tell(socket, number, told).await,
                ChannelEvent::Finished(finished) => match self.finish(finished) {
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
                    self.closes_by = Some(Instant::now() + self.limits.shutdown);
                    Ok(())
                }
                ChannelEvent::LifetimeOver(LifetimeEnd::TokenInvalid(why)) => {
                    debug!(peer:% = self.caller.peer, why:% = why; "a control channel has lost its token");
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
        term: &mut Lifetime,
        ping: Instant,
        stopping: bool,
    ) -> ChannelEvent {
        let over = self.reported_leases.values().map(|(_, until)| *until).min();
        self.read_paused_until = self.read_paused_until.filter(|until| *until > Instant::now());
        let look = over.into_iter().chain(self.read_paused_until).chain(self.closes_by).fold(ping, Instant::min);
        let mut ready = self.app.ready.clone();
        tokio::select! {
            over = term.over(), if self.closes_by.is_none() => ChannelEvent::LifetimeOver(over),
            heard = socket.next(), if self.read_paused_until.is_none() && self.closes_by.is_none() => ChannelEvent::Received(heard),
            Some((number, told)) = self.told.next() => ChannelEvent::Delivery(number, told),
            Some(finished) = self.in_flight.messages.next() => ChannelEvent::Finished(finished),
            // The sender lives in the app, which is ours.
            _ = self.lease_changes.changed() => ChannelEvent::LeasesChanged,
            () = sleep_until(look) => ChannelEvent::Tick,
            _ = ready.wait_for(|ready| !ready), if !stopping => ChannelEvent::Stopping,
        }
    }

    async fn answer(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), tungstenite::Error> {
        if let Some(reply) = self.message(text).await {
            send(socket, reply).await?;
        }
        // A new subscription may be of a stream that somebody types into.
        self.send_lease_changes(socket).await
    }

    async fn tell(&mut self, socket: &mut WebSocket, number: u64, told: Delivery) -> Result<(), tungstenite::Error> {
        let (item, place, skipped) = match told {
            Delivery::Item(item, place, skipped) => (item, place, skipped),
            Delivery::Raw(raw) => {
                // One that was ended gives nothing more, but that was under way.
                if !self.attachments.contains_key(&number) {
                    return Ok(());
                }
                let tell = match &raw {
                    RawOutput::Bytes(bytes) => Notification::output(number, bytes),
                    RawOutput::Missed(missed) => Notification::Lost { attachment: number, missed: *missed },
                };
                return send(socket, tell.to_text()).await;
            }
            Delivery::Denied => return self.send_end(socket, number, Some(TURNED_PRIVATE_TEXT)).await,
            Delivery::Ended => return self.send_end(socket, number, None).await,
        };
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return Ok(()) };
        subscription.place = place;
        match item {
            CursorItem::Frames(frames) => {
                for text in events(number, &frames.bytes) {
                    send(socket, text).await?;
                }
                Ok(())
            }
            CursorItem::Gap(gap) => send(socket, Notification::gap(number, &gap).to_text()).await,
            CursorItem::OpenLine(line) => send(socket, Notification::open(number, line.as_deref()).to_text()).await,
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
        if let Some(Subscription { place, .. }) = self.subscriptions.remove(&number) {
            return send(
                socket,
                Notification::Ended { subscription: number, position: place, reason: reason.map(str::to_owned) }
                    .to_text(),
            )
            .await;
        }
        if self.attachments.remove(&number).is_some() {
            return send(socket, Notification::Detached { attachment: number }.to_text()).await;
        }
        Ok(())
    }

    /// Tells of the leases that are not as they were told last, of all streams that this channel looks at.
    async fn send_lease_changes(&mut self, socket: &mut WebSocket) -> Result<(), tungstenite::Error> {
        let now = Instant::now();
        let streams = self.subscriptions.values().map(|subscription| &subscription.stream);
        let streams = streams.chain(self.attachments.values().map(|attached| &attached.stream));
        let held = {
            let leases = self.lease_changes.borrow_and_update();
            let held = |stream: &StreamName| leases.get(stream).copied().filter(|held| held.until > now);
            streams.map(|stream| (stream.clone(), held(stream))).collect::<BTreeMap<_, _>>()
        };
        self.reported_leases.retain(|stream, _| held.contains_key(stream));
        for (stream, held) in held {
            let told = self.reported_leases.get(&stream).copied();
            if told == held.map(|held| (held.by, held.until)) {
                continue;
            }
            match held {
                Some(held) => self.reported_leases.insert(stream.clone(), (held.by, held.until)),
                None => self.reported_leases.remove(&stream),
            };
            let holder = held.map(|held| LeaseHolder {
                peer: held.peer.to_string(),
                yours: held.by == self.number,
                seconds: held.left().as_secs_f64(),
            });
            send(socket, Notification::Leased { stream: stream.as_str(), holder }.to_text()).await?;
        }
        Ok(())
    }
}

/// Sends a text, and waits until the connection has taken it.
async fn send(socket: &mut WebSocket, text: String) -> Result<(), tungstenite::Error> {
    socket.send(Message::text(text)).await
}
