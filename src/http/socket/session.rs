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
use crate::control::Raw;
use crate::event::{Position, StreamName};
use crate::stream::Item;
use crate::wire::message::{Holder, Tell, events};

use super::super::App;
use super::super::leases::Held;
use super::super::pace::Pace;
use super::super::reading::Wheel;
use super::super::term::{Over, ReaderShare, TURNED_PRIVATE, Term};
use super::Socket;
use super::close::{self, Ending};
use super::requests::{Finished, UnderWay};

/// A peer that says nothing to so many pings is gone; they are the keep-alive interval apart.
const SILENCE: u32 = 3;

/// A socket's state.
pub(super) struct Session {
    pub(super) app: App,
    pub(super) caller: Caller,
    pub(super) limits: Arc<Limits>,
    /// Stands for this channel where leases are held.
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) attachments: BTreeMap<u64, Attached>,
    /// What all of them give.
    pub(super) told: SelectAll<Telling>,
    pub(super) under_way: UnderWay,
    /// How fast its requests came, where no token tells whose they are.
    pub(super) pace: Pace,
    /// Its time is over: what is under way is answered, until then at most.
    leaves: Option<Instant>,
    /// Until when nothing is heard.
    pub(super) deaf: Option<Instant>,
    /// How the leases of its streams were told last; nobody's where there is none.
    leases: BTreeMap<StreamName, (u64, Instant)>,
    changes: watch::Receiver<BTreeMap<StreamName, Held>>,
    last_number: u64,
}

/// What a subscription or an attachment gives, with its number.
type Telling = Pin<Box<dyn Stream<Item = (u64, Told)> + Send>>;

/// What there is to tell.
pub(super) enum Told {
    Item(Item, Position, bool),
    Raw(Raw),
    /// The stream turned private; its end comes next.
    Denied,
    Ended,
}

/// A subscription; dropping it ends it.
pub(super) struct Subscription {
    pub(super) stream: StreamName,
    pub(super) wheel: Wheel,
    /// Behind what was told last.
    pub(super) place: Position,
    /// What it takes of the readers that its caller may have.
    pub(super) _share: Option<ReaderShare>,
}

/// An attachment; dropping it ends it.
pub(super) struct Attached {
    pub(super) stream: StreamName,
    pub(super) _hold: oneshot::Sender<()>,
}

/// What happened.
enum Step {
    Heard(Option<Result<Message, tungstenite::Error>>),
    Told(u64, Told),
    Finished(Finished),
    /// Somebody took or gave back a lease.
    Leases,
    /// It is time to look at pings and leases, or to listen again.
    Look,
    Stopping,
    /// It may go on no longer.
    Over(Over),
}

impl Session {
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
            under_way: UnderWay::default(),
            pace: Pace::new(Instant::now()),
            leaves: None,
            deaf: None,
            leases: BTreeMap::new(),
            changes,
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
    pub(super) async fn run(mut self, mut socket: Socket, term: Term) {
        debug!(peer:% = self.caller.peer; "a control channel opens");
        let ending = self.serve(&mut socket, term).await;
        self.app.leases.leave(self.number);
        let peer = self.caller.peer;
        // Its readers end before the farewell: they would only hold others up.
        drop(self);
        debug!(peer:% = peer, ending:? = ending; "a control channel ends");
        ending.close(socket).await;
    }

    async fn serve(&mut self, socket: &mut Socket, mut term: Term) -> Ending {
        let interval = self.limits.keep_alive;
        let mut ping = Instant::now() + interval;
        let mut unanswered = 0;
        let mut stopping = false;
        loop {
            let nothing_left = self.subscriptions.is_empty() && self.attachments.is_empty();
            if stopping && nothing_left && self.under_way.messages.is_empty() {
                return Ending::Ours(close::STOPPING);
            }
            if self.leaves.is_some_and(|by| self.under_way.messages.is_empty() || by <= Instant::now()) {
                return Ending::Ours(close::AGED);
            }
            let sent = match self.step(socket, &mut term, ping, stopping).await {
                Step::Heard(None) => return Ending::Closed,
                Step::Heard(Some(Err(error))) => return error.into(),
                Step::Heard(Some(Ok(message))) => {
                    unanswered = 0;
                    match message {
                        Message::Text(text) => self.answer(socket, text.as_str()).await,
                        Message::Binary(_) => return Ending::Ours(close::BINARY),
                        Message::Close(_) => return Ending::Closed,
                        // Pings are answered by the next look at the socket.
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
                    }
                }
                Step::Told(number, told) => self.tell(socket, number, told).await,
                Step::Finished(finished) => match self.finish(finished) {
                    Some(reply) => send(socket, reply).await,
                    None => Ok(()),
                },
                Step::Leases => self.tell_leases(socket).await,
                Step::Look => {
                    let now = Instant::now();
                    if now >= ping {
                        if unanswered == SILENCE {
                            return Ending::Ours(close::SILENCE);
                        }
                        ping = now + interval;
                        unanswered += 1;
                        socket.send(Message::Ping(tungstenite::Bytes::new())).await
                    } else {
                        self.tell_leases(socket).await
                    }
                }
                Step::Stopping => {
                    stopping = true;
                    Ok(())
                }
                Step::Over(Over::Aged) => {
                    self.leaves = Some(Instant::now() + self.limits.shutdown);
                    Ok(())
                }
                Step::Over(Over::Denied(why)) => {
                    debug!(peer:% = self.caller.peer, why:% = why; "a control channel has lost its token");
                    return Ending::Ours(close::DENIED);
                }
            };
            if let Err(error) = sent {
                return error.into();
            }
        }
    }

    async fn step(&mut self, socket: &mut Socket, term: &mut Term, ping: Instant, stopping: bool) -> Step {
        let over = self.leases.values().map(|(_, until)| *until).min();
        self.deaf = self.deaf.filter(|until| *until > Instant::now());
        let look = over.into_iter().chain(self.deaf).chain(self.leaves).fold(ping, Instant::min);
        let mut ready = self.app.ready.clone();
        tokio::select! {
            over = term.over(), if self.leaves.is_none() => Step::Over(over),
            heard = socket.next(), if self.deaf.is_none() && self.leaves.is_none() => Step::Heard(heard),
            Some((number, told)) = self.told.next() => Step::Told(number, told),
            Some(finished) = self.under_way.messages.next() => Step::Finished(finished),
            // The sender lives in the app, which is ours.
            _ = self.changes.changed() => Step::Leases,
            () = sleep_until(look) => Step::Look,
            _ = ready.wait_for(|ready| !ready), if !stopping => Step::Stopping,
        }
    }

    async fn answer(&mut self, socket: &mut Socket, text: &str) -> Result<(), tungstenite::Error> {
        if let Some(reply) = self.message(text).await {
            send(socket, reply).await?;
        }
        // A new subscription may be of a stream that somebody types into.
        self.tell_leases(socket).await
    }

    async fn tell(&mut self, socket: &mut Socket, number: u64, told: Told) -> Result<(), tungstenite::Error> {
        let (item, place, skipped) = match told {
            Told::Item(item, place, skipped) => (item, place, skipped),
            Told::Raw(raw) => {
                // One that was ended gives nothing more, but that was under way.
                if !self.attachments.contains_key(&number) {
                    return Ok(());
                }
                let tell = match &raw {
                    Raw::Bytes(bytes) => Tell::output(number, bytes),
                    Raw::Missed(missed) => Tell::Lost { attachment: number, missed: *missed },
                };
                return send(socket, tell.to_text()).await;
            }
            Told::Denied => return self.tell_end(socket, number, Some(TURNED_PRIVATE)).await,
            Told::Ended => return self.tell_end(socket, number, None).await,
        };
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return Ok(()) };
        subscription.place = place;
        match item {
            Item::Frames(frames) => {
                for text in events(number, &frames.bytes) {
                    send(socket, text).await?;
                }
                Ok(())
            }
            Item::Gap(gap) => send(socket, Tell::gap(number, &gap).to_text()).await,
            Item::Open(line) => send(socket, Tell::open(number, line.as_deref()).to_text()).await,
            Item::Progress(progress) => {
                send(socket, Tell::Progress { subscription: number, progress: &progress }.to_text()).await
            }
            Item::Quiet if skipped => send(socket, Tell::Place { subscription: number, place }.to_text()).await,
            Item::Quiet => Ok(()),
        }
    }

    async fn tell_end(
        &mut self,
        socket: &mut Socket,
        number: u64,
        reason: Option<&str>,
    ) -> Result<(), tungstenite::Error> {
        if let Some(Subscription { place, .. }) = self.subscriptions.remove(&number) {
            return send(
                socket,
                Tell::Ended { subscription: number, place, reason: reason.map(str::to_owned) }.to_text(),
            )
            .await;
        }
        if self.attachments.remove(&number).is_some() {
            return send(socket, Tell::Detached { attachment: number }.to_text()).await;
        }
        Ok(())
    }

    /// Tells of the leases that are not as they were told last, of all streams that this channel looks at.
    async fn tell_leases(&mut self, socket: &mut Socket) -> Result<(), tungstenite::Error> {
        let now = Instant::now();
        let streams = self.subscriptions.values().map(|subscription| &subscription.stream);
        let streams = streams.chain(self.attachments.values().map(|attached| &attached.stream));
        let held = {
            let leases = self.changes.borrow_and_update();
            let held = |stream: &StreamName| leases.get(stream).copied().filter(|held| held.until > now);
            streams.map(|stream| (stream.clone(), held(stream))).collect::<BTreeMap<_, _>>()
        };
        self.leases.retain(|stream, _| held.contains_key(stream));
        for (stream, held) in held {
            let told = self.leases.get(&stream).copied();
            if told == held.map(|held| (held.by, held.until)) {
                continue;
            }
            match held {
                Some(held) => self.leases.insert(stream.clone(), (held.by, held.until)),
                None => self.leases.remove(&stream),
            };
            let holder = held.map(|held| Holder {
                peer: held.peer.to_string(),
                yours: held.by == self.number,
                seconds: held.left().as_secs_f64(),
            });
            send(socket, Tell::Leased { stream: stream.as_str(), holder }.to_text()).await?;
        }
        Ok(())
    }
}

/// Sends a text, and waits until the connection has taken it.
async fn send(socket: &mut Socket, text: String) -> Result<(), tungstenite::Error> {
    socket.send(Message::text(text)).await
}
