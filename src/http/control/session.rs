//! The session of a control channel: its methods, and the subscriptions and attachments that they create. Each method checks
//! its right first.

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
use crate::control::{Attachment, Command, CommandReply, RawOutput};
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

/// The maximum number of subscriptions of one channel: as many as streams on one connection.
const MAX_SUBSCRIPTIONS: usize = 64;

/// The maximum number of attachments of one channel: a person uses one terminal, and a page shows a few.
const MAX_ATTACHMENTS: usize = 8;

/// The state of a control channel, without its socket.
pub(super) struct ControlSession {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) limits: Arc<Limits>,
    /// The number that identifies this channel as the holder of leases.
    pub(super) number: u64,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    pub(super) attachments: BTreeMap<u64, ActiveAttachment>,
    /// The deliveries of all subscriptions and attachments.
    pub(super) deliveries: SelectAll<DeliveryStream>,
    permits: RequestPermits,
    /// The number of the newest subscription or attachment; they share one count.
    last_number: u64,
}

/// The deliveries of a subscription or an attachment, with its number.
type DeliveryStream = Pin<Box<dyn Stream<Item = (u64, Delivery)> + Send>>;

/// An item of a subscription or an attachment.
pub(super) enum Delivery {
    /// An item of a subscription's cursor, the position after it, and whether the filter removed events before it.
    Item(CursorItem, Position, bool),
    /// Output of an attached terminal.
    Raw(RawOutput),
    /// The stream became private; `Ended` comes next.
    Denied,
    Ended,
}

/// A subscription; dropping it ends it.
pub(super) struct Subscription {
    pub(super) stream: StreamName,
    control: ReaderControl,
    /// The position after the last delivery.
    pub(super) position: Position,
    /// The subscription's share of its caller's readers.
    _share: Option<ReaderShare>,
}

/// An attachment; dropping it ends it.
pub(super) struct ActiveAttachment {
    pub(super) stream: StreamName,
    _end_on_drop: oneshot::Sender<()>,
}

type MethodResult = Result<MethodResponse, RpcError>;

/// A call that is complete.
fn completed(done: MethodResult) -> PendingCall {
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

    /// Whether the daemon is stopping. The channel then delivers the remaining events, and refuses calls.
    fn is_stopping(&self) -> bool {
        !*self.app.ready.borrow()
    }

    /// Carries out a call, or begins to. May not be dropped before it returns.
    pub(super) async fn call(&mut self, call: Call) -> PendingCall {
        if self.is_stopping() {
            return completed(Err(RpcError::new(RpcErrorCode::Stopping, "the daemon is stopping")));
        }
        let command = match call {
            Call::List(_) => return completed(self.list().await),
            Call::Subscribe(parameters) => return completed(self.subscribe(parameters).await),
            Call::Filter(parameters) => return completed(self.filter(parameters)),
            Call::Pause(parameters) => {
                return completed(self.steer(parameters.subscription, parameters.session, |reader| reader.pause(true)));
            }
            Call::Resume(parameters) => {
                return completed(
                    self.steer(parameters.subscription, parameters.session, |reader| reader.pause(false)),
                );
            }
            Call::Unsubscribe(parameters) => return completed(self.unsubscribe(parameters.subscription)),
            Call::Lease(parameters) => return completed(self.lease(&parameters.stream, parameters.seconds)),
            Call::Detach(parameters) => return completed(self.detach(parameters.attachment)),
            Call::Input(parameters) => return self.input(parameters).unwrap_or_else(|error| completed(Err(error))),
            Call::Attach(parameters) => {
                return self.attach(parameters.stream).unwrap_or_else(|error| completed(Err(error)));
            }
            Call::Signal(parameters) => match parameters.signal.parse::<SignalName>() {
                Ok(signal) => (parameters.stream, Command::Signal(signal.number())),
                Err(error) => {
                    return completed(Err(RpcError::new(RpcErrorCode::Parameters, format!("signal: {error}"))));
                }
            },
            Call::PauseProcess(parameters) => (parameters.stream, Command::Pause),
            Call::ResumeProcess(parameters) => (parameters.stream, Command::Resume),
            Call::Start(parameters) => (parameters.stream, Command::Start),
            Call::Stop(parameters) => (parameters.stream, Command::Stop),
            Call::Restart(parameters) => (parameters.stream, Command::Restart),
            Call::Resize(parameters) if parameters.columns == 0 || parameters.rows == 0 => {
                return completed(Err(RpcError::new(
                    RpcErrorCode::Parameters,
                    "a terminal has at least one column and one row",
                )));
            }
            Call::Resize(parameters) => {
                (parameters.stream, Command::Resize { rows: parameters.rows, columns: parameters.columns })
            }
        };
        self.command(&command.0, command.1).unwrap_or_else(|error| completed(Err(error)))
    }

    fn check_right(&self, right: Right) -> Result<(), RpcError> {
        self.app.access.check_any_stream(&self.caller, right).map_err(|denied| CallError::from(denied).into())
    }

    fn sender(&self) -> CommandSender<'_> {
        CommandSender { app: &self.app, caller: &self.caller, channel: Some(self.number) }
    }

    async fn list(&mut self) -> MethodResult {
        self.check_right(Right::Read)?;
        let streams = list::list_json(&self.app, &self.caller).await;
        let streams = streams.map_err(|problem| RpcError::new(RpcErrorCode::Busy, problem.detail()))?;
        Ok(MethodResponse::Streams { streams })
    }

    async fn subscribe(&mut self, parameters: SubscribeParameters) -> MethodResult {
        let entry = self.app.stream(&self.caller, Right::Read, &parameters.stream)?;
        if self.app.catalog.is_being_replaced(&parameters.stream) {
            return Err(CallError::Reconfiguring.into());
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let most =
                format!("{MAX_SUBSCRIPTIONS} subscriptions are the most for one channel; end some, or open another");
            return Err(RpcError::new(RpcErrorCode::TooMany, most));
        }
        let share = self.app.reader_quotas.take(self.caller.credential(), 1, &self.limits);
        let share = share.map_err(|problem| RpcError::new(RpcErrorCode::TooMany, problem.detail()))?;
        let filter = filter(
            &self.limits,
            [&parameters.grep, &parameters.exclude, &parameters.origin],
            parameters.level.as_deref(),
        )?;
        let run = grammar::is_current_run(parameters.run.as_deref())?;
        let named =
            start(&StartParameters { after: parameters.after, since: parameters.since, tail: parameters.tail })?;
        let start = named.unwrap_or_else(|| grammar::default_start(run));
        let until = CursorEnd { run, ..CursorEnd::default() };
        let view = View { encoding: Encoding::Ndjson, filter, several: false };
        let cursor = entry.log.cursor(view.clone(), start, until).await;
        let position = cursor.place();
        let spec = CursorSpec { log: entry.log, view, until, ready: self.app.ready.clone() };
        let (reader, control) = SteerableCursor::with_control(cursor, spec);
        let number = self.next_number();
        let deliveries = reader.into_deliveries(self.limits.keep_alive);
        let deliveries = deliveries.map(|(item, position, skipped)| match item {
            ReaderItem::Item(item) => Delivery::Item(item, position, skipped),
            ReaderItem::Denied => Delivery::Denied,
        });
        let deliveries = deliveries.chain(stream::iter([Delivery::Ended])).map(move |delivery| (number, delivery));
        self.deliveries.push(Box::pin(deliveries));
        self.subscriptions.insert(number, Subscription { stream: parameters.stream, control, position, _share: share });
        Ok(MethodResponse::Subscribed { subscription: number, position })
    }

    fn unsubscribe(&mut self, number: u64) -> MethodResult {
        // The reader ends when its control is dropped.
        match self.subscriptions.remove(&number) {
            Some(_) => Ok(MethodResponse::Nothing {}),
            None => Err(no_subscription(number)),
        }
    }

    fn filter(&mut self, parameters: FilterParameters) -> MethodResult {
        let filter = filter(
            &self.limits,
            [&parameters.grep, &parameters.exclude, &parameters.origin],
            parameters.level.as_deref(),
        )?;
        let from = parameters.from.map_or(Ok(None), |from| start(&from))?;
        self.steer(parameters.subscription, parameters.session, |reader| reader.filter(filter.clone(), from))
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
                self.check_right(Right::Read)?;
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

    fn command(&mut self, stream: &StreamName, command: Command) -> Result<PendingCall, RpcError> {
        let permit = self.permits.acquire()?;
        let pending = self.sender().send(stream, command)?;
        Ok(PendingCall::Pending(Box::pin(async move {
            let reply = pending.await;
            drop(permit);
            Ok(CallResult::Completed(MethodResponse::Carried { already: matches!(reply?, CommandReply::Already) }))
        })))
    }

    fn input(&mut self, parameters: InputParameters) -> Result<PendingCall, RpcError> {
        let bytes = match (parameters.text, parameters.base64) {
            (Some(_), Some(_)) => return Err(invalid_parameter("give one of `text` and `base64`")),
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                bytes.map_err(|error| invalid_parameter(format!("base64: {error}")))?
            }
            (None, None) => Vec::new(),
        };
        let count = bytes.len();
        if count == 0 && !parameters.eof {
            return Err(invalid_parameter("nothing to type: give `text`, `base64` or `eof`"));
        }
        let permit = self.permits.acquire()?;
        let typed = if count > 0 {
            Some(self.sender().send(&parameters.stream, Command::Input(Bytes::from(bytes)))?)
        } else {
            None
        };
        let (app, caller, number) = (self.app.clone(), self.caller.clone(), self.number);
        Ok(PendingCall::Pending(Box::pin(async move {
            if let Some(typed) = typed {
                typed.await?;
            }
            if parameters.eof {
                let sender = CommandSender { app: &app, caller: &caller, channel: Some(number) };
                sender.send(&parameters.stream, Command::EndOfInput)?.await?;
            }
            drop(permit);
            Ok(CallResult::Completed(MethodResponse::Taken { bytes: count }))
        })))
    }

    fn attach(&mut self, stream: StreamName) -> Result<PendingCall, RpcError> {
        self.check_attachment_limit()?;
        let permit = self.permits.acquire()?;
        let pending = self.sender().send(&stream, Command::Attach)?;
        Ok(PendingCall::Pending(Box::pin(async move {
            let reply = pending.await;
            drop(permit);
            match reply? {
                CommandReply::Attached(attachment) => Ok(CallResult::Attached(stream, attachment)),
                CommandReply::Done | CommandReply::Already | CommandReply::Pushing(_) => {
                    Err(RpcError::new(RpcErrorCode::Internal, "the process gave no attachment"))
                }
            }
        })))
    }

    fn check_attachment_limit(&self) -> Result<(), RpcError> {
        if self.attachments.len() < MAX_ATTACHMENTS {
            return Ok(());
        }
        let most = format!("{MAX_ATTACHMENTS} attachments are the most for one channel; end some, or open another");
        Err(RpcError::new(RpcErrorCode::TooMany, most))
    }

    /// Adds an attachment, whose output is delivered from now on.
    pub(super) fn add_attachment(&mut self, stream: StreamName, attachment: Attachment) -> MethodResult {
        self.check_attachment_limit()?;
        let number = self.next_number();
        let (end_on_drop, over) = oneshot::channel::<()>();
        let raw = stream::unfold(attachment, async |mut attachment| {
            let raw = attachment.next().await?;
            Some((Delivery::Raw(raw), attachment))
        });
        let log = self.app.stream(&self.caller, Right::Read, &stream)?.log;
        let raw = raw.take_until(async move { log.denied().await });
        let deliveries =
            raw.chain(stream::iter([Delivery::Ended])).take_until(over).map(move |delivery| (number, delivery));
        self.deliveries.push(Box::pin(deliveries));
        self.attachments.insert(number, ActiveAttachment { stream, _end_on_drop: end_on_drop });
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

/// The start in the parameters, if there is one.
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
