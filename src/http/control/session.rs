//! The session of a control channel: its methods, and the subscriptions and attachments that they make. Each method checks its
//! right first.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream::{self, SelectAll};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use crate::access::Caller;
use crate::config::{Limits, Right, SignalName};
use crate::control::{Attachment, CommandReply, LifecycleCommand, ProcessCommand, RawOutput, RunCommand};
use crate::event::{Position, StreamName};
use crate::stream::{self as log, CursorEnd, CursorItem, CursorStart, View};
use crate::wire::Encoding;
use crate::wire::message::{
    Call, FilterParameters, InputParameters, MethodResponse, OneOrManyStrings, RpcError, RpcErrorCode, StartParameters,
    SubscribeParameters, TailLines,
};

use super::super::app::App;
use super::super::call_error::CallError;
use super::super::command::CommandSender;
use super::super::grammar::{self, BadValue};
use super::super::list;
use super::requests::{CallResult, PendingCall, RequestPermits};
use crate::http::guard::lease::MAX_LEASE_SECONDS;
use crate::http::guard::quota::ReaderShare;
use crate::http::stream::steering::{CursorSpec, ReaderControl, ReaderItem, SESSION_TOKEN_SIZE, SteerableCursor};

/// Most subscriptions of one socket: as many as streams on one connection.
const MAX_SUBSCRIPTIONS: usize = 64;

/// Most attachments of one socket: a person looks at one terminal, and a page shows a few.
const MAX_ATTACHMENTS: usize = 8;

/// The state behind a socket, without the socket.
pub(super) struct ControlSession {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) limits: Arc<Limits>,
    /// Identifies this channel where leases are held.
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) attachments: BTreeMap<u64, ActiveAttachment>,
    /// The deliveries of all subscriptions and attachments.
    pub(super) deliveries: SelectAll<DeliveryStream>,
    permits: RequestPermits,
    /// The number of the last subscription or attachment.
    last_number: u64,
}

/// The deliveries of a subscription or an attachment, with its number.
type DeliveryStream = Pin<Box<dyn Stream<Item = (u64, Delivery)> + Send>>;

/// What a subscription or an attachment delivers.
pub(super) enum Delivery {
    Item(CursorItem, Position, bool),
    Raw(RawOutput),
    /// The stream turned private; `Ended` comes next.
    Denied,
    Ended,
}

/// A subscription; dropping it ends it.
pub(super) struct Subscription {
    pub(super) stream: StreamName,
    control: ReaderControl,
    /// The position behind the last delivery.
    pub(super) position: Position,
    /// Its share of the readers that its caller may have.
    _share: Option<ReaderShare>,
}

/// An attachment; dropping it ends it.
pub(super) struct ActiveAttachment {
    pub(super) stream: StreamName,
    _end_on_drop: oneshot::Sender<()>,
}

type MethodResult = Result<MethodResponse, RpcError>;

fn now(done: MethodResult) -> PendingCall {
    PendingCall::Ready(done.map(CallResult::Completed))
}

impl ControlSession {
    pub(super) fn new(app: Arc<App>, caller: Caller, limits: Arc<Limits>) -> Self {
        Self {
            app,
            caller,
            limits,
            number: fastrand::u64(..),
            subscriptions: BTreeMap::new(),
            attachments: BTreeMap::new(),
            deliveries: SelectAll::new(),
            permits: RequestPermits::default(),
            last_number: 0,
        }
    }

    /// The number of the next subscription or attachment.
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Whether the daemon is stopping. Then the channel delivers what is left, and takes no more calls.
    fn is_stopping(&self) -> bool {
        !*self.app.ready.borrow()
    }

    /// Does what a call asks for, or begins to.
    pub(super) async fn call(&mut self, call: Call) -> PendingCall {
        if self.is_stopping() {
            return now(Err(RpcError::new(RpcErrorCode::Stopping, "the daemon is stopping")));
        }
        let (stream, command): (_, ProcessCommand) = match call {
            Call::List(_) => return now(self.list().await),
            Call::Subscribe(ask) => return now(self.subscribe(ask).await),
            Call::Filter(ask) => return now(self.filter(ask)),
            Call::Pause(ask) => return now(self.steer(ask.subscription, ask.session, |reader| reader.pause(true))),
            Call::Resume(ask) => return now(self.steer(ask.subscription, ask.session, |reader| reader.pause(false))),
            Call::Unsubscribe(ask) => return now(self.unsubscribe(ask.subscription)),
            Call::Lease(ask) => return now(self.lease(&ask.stream, ask.seconds)),
            Call::Detach(ask) => return now(self.detach(ask.attachment)),
            Call::Input(ask) => return self.input(ask).unwrap_or_else(|error| now(Err(error))),
            Call::Attach(ask) => return self.attach(ask.stream).unwrap_or_else(|error| now(Err(error))),
            Call::Signal(ask) => match ask.signal.parse::<SignalName>() {
                Ok(signal) => (ask.stream, RunCommand::Signal(signal.number()).into()),
                Err(error) => return now(Err(RpcError::new(RpcErrorCode::Parameters, format!("signal: {error}")))),
            },
            Call::PauseProcess(ask) => (ask.stream, RunCommand::Pause.into()),
            Call::ResumeProcess(ask) => (ask.stream, RunCommand::Resume.into()),
            Call::Start(ask) => (ask.stream, LifecycleCommand::Start.into()),
            Call::Stop(ask) => (ask.stream, LifecycleCommand::Stop.into()),
            Call::Restart(ask) => (ask.stream, LifecycleCommand::Restart.into()),
            Call::Resize(ask) if ask.columns == 0 || ask.rows == 0 => {
                return now(Err(RpcError::new(
                    RpcErrorCode::Parameters,
                    "a terminal has at least one column and one row",
                )));
            }
            Call::Resize(ask) => (ask.stream, RunCommand::Resize { rows: ask.rows, columns: ask.columns }.into()),
        };
        self.command(&stream, command).unwrap_or_else(|error| now(Err(error)))
    }

    fn may(&self, right: Right) -> Result<(), RpcError> {
        self.app.access.check_any_stream(&self.caller, right).map_err(|denied| CallError::from(denied).into())
    }

    fn sender(&self) -> CommandSender<'_> {
        CommandSender { app: &self.app, caller: &self.caller, channel: Some(self.number) }
    }

    async fn list(&mut self) -> MethodResult {
        self.may(Right::Read)?;
        let streams = list::all(&self.app, &self.caller).await;
        let streams = streams.map_err(|problem| RpcError::new(RpcErrorCode::Busy, problem.detail()))?;
        Ok(MethodResponse::Streams { streams })
    }

    async fn subscribe(&mut self, ask: SubscribeParameters) -> MethodResult {
        let entry = self.app.stream(&self.caller, Right::Read, &ask.stream)?;
        if self.app.catalog.is_being_replaced(&ask.stream) {
            return Err(CallError::Reconfiguring.into());
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let most =
                format!("{MAX_SUBSCRIPTIONS} subscriptions are the most for one channel; end some, or open another");
            return Err(RpcError::new(RpcErrorCode::TooMany, most));
        }
        let share = self.app.reader_quotas.take(&self.caller, 1, &self.limits);
        let share = share.map_err(|problem| RpcError::new(RpcErrorCode::TooMany, problem.detail()))?;
        let filter = filter(&self.limits, [&ask.grep, &ask.exclude, &ask.origin], ask.level.as_deref())?;
        let run = grammar::is_current_run(ask.run.as_deref())?;
        let named = start(&StartParameters { after: ask.after, since: ask.since, tail: ask.tail })?;
        let start = named.unwrap_or_else(|| grammar::default_start(run));
        let until = CursorEnd { run, ..CursorEnd::default() };
        let view = View { encoding: Encoding::Ndjson, filter, several: false };
        let cursor = entry.log.cursor(view.clone(), start, until).await;
        let position = cursor.position();
        let spec = CursorSpec { log: entry.log, view, until, ready: self.app.ready.clone() };
        let (reader, control) = SteerableCursor::with_control(cursor, spec);
        let number = self.next_number();
        let told = reader.told(self.limits.keep_alive);
        let told = told.map(|(given, place, skipped)| match given {
            ReaderItem::Item(item) => Delivery::Item(item, place, skipped),
            ReaderItem::Denied => Delivery::Denied,
        });
        let told = told.chain(stream::iter([Delivery::Ended])).map(move |told| (number, told));
        self.deliveries.push(Box::pin(told));
        self.subscriptions.insert(number, Subscription { stream: ask.stream, control, position, _share: share });
        Ok(MethodResponse::Subscribed { subscription: number, position })
    }

    fn unsubscribe(&mut self, number: u64) -> MethodResult {
        // Without its control the reader ends.
        match self.subscriptions.remove(&number) {
            Some(_) => Ok(MethodResponse::Nothing {}),
            None => Err(no_subscription(number)),
        }
    }

    fn filter(&mut self, ask: FilterParameters) -> MethodResult {
        let filter = filter(&self.limits, [&ask.grep, &ask.exclude, &ask.origin], ask.level.as_deref())?;
        let from = ask.from.map_or(Ok(None), |from| start(&from))?;
        self.steer(ask.subscription, ask.session, |reader| reader.filter(filter.clone(), from))
    }

    /// Steers the readers of a subscription or of a session.
    fn steer(
        &mut self,
        subscription: Option<u64>,
        session: Option<String>,
        steer: impl Fn(&ReaderControl),
    ) -> MethodResult {
        let controls: Vec<Arc<ReaderControl>> = match (subscription, session) {
            (Some(number), None) => {
                let known = self.subscriptions.get(&number).ok_or_else(|| no_subscription(number))?;
                steer(&known.control);
                return Ok(MethodResponse::Steered { readers: 1 });
            }
            (None, Some(session)) if SESSION_TOKEN_SIZE.contains(&session.len()) => {
                self.may(Right::Read)?;
                self.app.sessions.controls(self.caller.credential(), &session)
            }
            (None, Some(_)) => Vec::new(),
            _ => return Err(invalid_parameter("name one of `subscription` and `session`")),
        };
        if controls.is_empty() {
            let detail = "no stream of yours is read with this session (?session=..., over a connection like this one)";
            return Err(RpcError::new(RpcErrorCode::NotFound, detail));
        }
        for control in &controls {
            steer(control);
        }
        Ok(MethodResponse::Steered { readers: controls.len() })
    }

    fn lease(&mut self, stream: &StreamName, seconds: u32) -> MethodResult {
        self.app.stream(&self.caller, Right::Input, stream)?;
        if seconds > MAX_LEASE_SECONDS {
            return Err(invalid_parameter(format!(
                "seconds: at most {MAX_LEASE_SECONDS}; take it again before it expires"
            )));
        }
        if seconds == 0 {
            self.app.leases.release(stream, self.number);
        } else {
            let time = Duration::from_secs(seconds.into());
            self.app.leases.take(stream, self.number, self.caller.peer, time).map_err(CallError::LeasedByOther)?;
        }
        Ok(MethodResponse::Leased { yours: seconds > 0, seconds: seconds.into() })
    }

    fn command(&mut self, stream: &StreamName, command: ProcessCommand) -> Result<PendingCall, RpcError> {
        let permit = self.permits.acquire()?;
        let coming = self.sender().send(stream, command)?;
        Ok(PendingCall::Pending(Box::pin(async move {
            let reply = coming.await;
            drop(permit);
            Ok(CallResult::Completed(MethodResponse::Carried { already: matches!(reply?, CommandReply::Already) }))
        })))
    }

    fn input(&mut self, ask: InputParameters) -> Result<PendingCall, RpcError> {
        let bytes = match (ask.text, ask.base64) {
            (Some(_), Some(_)) => return Err(invalid_parameter("give one of `text` and `base64`")),
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                bytes.map_err(|error| invalid_parameter(format!("base64: {error}")))?
            }
            (None, None) => Vec::new(),
        };
        let count = bytes.len();
        if count == 0 && !ask.eof {
            return Err(invalid_parameter("nothing to type: give `text`, `base64` or `eof`"));
        }
        let permit = self.permits.acquire()?;
        let typed = if count > 0 {
            Some(self.sender().send(&ask.stream, RunCommand::Input(Bytes::from(bytes)))?)
        } else {
            None
        };
        let (app, caller, number) = (self.app.clone(), self.caller.clone(), self.number);
        Ok(PendingCall::Pending(Box::pin(async move {
            if let Some(typed) = typed {
                typed.await?;
            }
            if ask.eof {
                let sender = CommandSender { app: &app, caller: &caller, channel: Some(number) };
                sender.send(&ask.stream, RunCommand::EndOfInput)?.await?;
            }
            drop(permit);
            Ok(CallResult::Completed(MethodResponse::Taken { bytes: count }))
        })))
    }

    fn attach(&mut self, stream: StreamName) -> Result<PendingCall, RpcError> {
        self.check_attachment_limit()?;
        let permit = self.permits.acquire()?;
        let coming = self.sender().attach(&stream)?;
        Ok(PendingCall::Pending(Box::pin(async move {
            let attached = coming.await;
            drop(permit);
            Ok(CallResult::Attached(stream, attached?))
        })))
    }

    fn check_attachment_limit(&self) -> Result<(), RpcError> {
        if self.attachments.len() < MAX_ATTACHMENTS {
            return Ok(());
        }
        let most = format!("{MAX_ATTACHMENTS} attachments are the most for one channel; end some, or open another");
        Err(RpcError::new(RpcErrorCode::TooMany, most))
    }

    /// Begins to deliver what an attachment gives.
    pub(super) fn add_attachment(&mut self, stream: StreamName, attachment: Attachment) -> MethodResult {
        self.check_attachment_limit()?;
        let number = self.next_number();
        let (hold, over) = oneshot::channel::<()>();
        let raw = stream::unfold(attachment, async |mut attachment| {
            let raw = attachment.next().await?;
            Some((Delivery::Raw(raw), attachment))
        });
        let log = self.app.stream(&self.caller, Right::Read, &stream)?.log;
        let raw = raw.take_until(async move { log.denied().await });
        let told = raw.chain(stream::iter([Delivery::Ended])).take_until(over).map(move |told| (number, told));
        self.deliveries.push(Box::pin(told));
        self.attachments.insert(number, ActiveAttachment { stream, _end_on_drop: hold });
        Ok(MethodResponse::Attached { attachment: number })
    }

    fn detach(&mut self, number: u64) -> MethodResult {
        match self.attachments.remove(&number) {
            Some(_) => Ok(MethodResponse::Nothing {}),
            None => Err(RpcError::new(RpcErrorCode::NotFound, format!("this channel has no attachment {number}"))),
        }
    }
}

fn invalid_parameter(detail: impl Into<String>) -> RpcError {
    RpcError::new(RpcErrorCode::Parameters, detail)
}

fn no_subscription(number: u64) -> RpcError {
    RpcError::new(RpcErrorCode::NotFound, format!("this channel has no subscription {number}"))
}

fn filter(limits: &Limits, of: [&OneOrManyStrings; 3], level: Option<&str>) -> Result<log::Filter, BadValue> {
    let [grep, exclude, origin] = of.map(OneOrManyStrings::all);
    grammar::filter(grep, exclude, origin.to_vec(), level, limits.filter_size)
}

/// The start that the parameters name, if they name one.
fn start(from: &StartParameters) -> Result<Option<CursorStart>, RpcError> {
    let start = match (&from.after, &from.since, &from.tail) {
        (None, None, None) => return Ok(None),
        (Some(after), None, None) => CursorStart::After(grammar::after(after)?),
        (None, Some(since), None) => grammar::since(since, SystemTime::now())?,
        (None, None, Some(TailLines::Lines(lines))) => CursorStart::Tail(*lines),
        (None, None, Some(TailLines::All(word))) => grammar::tail(word)?,
        _ => return Err(invalid_parameter("give one of `after`, `since` and `tail`")),
    };
    Ok(Some(start))
}
