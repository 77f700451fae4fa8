//! The session of a control channel: its methods, and the subscriptions and attachments that they create. Each method
//! checks its right first.

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
use crate::stream::{Ansi, CursorEnd, CursorItem, CursorStart, Filter, View};
use crate::wire::WireFormat;
use crate::wire::message::{
    Call, FilterParameters, InputParameters, MethodResponse, OneOrManyStrings, RpcError, RpcErrorCode, StartParameters,
    SubscribeParameters, TailLines,
};

use super::super::app::App;
use super::super::call_error::CallError;
use super::super::command::CommandSender;
use super::super::grammar::{self, FilterText};
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

    /// Returns whether the daemon is stopping. The channel then delivers the remaining events, and refuses calls.
    fn is_stopping(&self) -> bool {
        !*self.app.ready.borrow()
    }

    /// Carries out a call, or begins to. May not be dropped before it returns.
    pub(super) async fn call(&mut self, call: Call) -> PendingCall {
        if self.is_stopping() {
            return completed(Err(RpcError::new(RpcErrorCode::Stopping, "the daemon is stopping")));
        }
        let (stream, command): (_, ProcessCommand) = match call {
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
                Ok(signal) => (parameters.stream, RunCommand::Signal(signal.number()).into()),
                Err(error) => {
                    return completed(Err(RpcError::new(RpcErrorCode::Parameters, format!("signal: {error}"))));
                }
            },
            Call::PauseProcess(parameters) => (parameters.stream, RunCommand::Pause.into()),
            Call::ResumeProcess(parameters) => (parameters.stream, RunCommand::Resume.into()),
            Call::Start(parameters) => (parameters.stream, LifecycleCommand::Start.into()),
            Call::Stop(parameters) => (parameters.stream, LifecycleCommand::Stop.into()),
            Call::Restart(parameters) => (parameters.stream, LifecycleCommand::Restart.into()),
            Call::Resize(parameters) if parameters.columns == 0 || parameters.rows == 0 => {
                return completed(Err(RpcError::new(
                    RpcErrorCode::Parameters,
                    "a terminal has at least one column and one row",
                )));
            }
            Call::Resize(parameters) => {
                (parameters.stream, RunCommand::Resize { rows: parameters.rows, columns: parameters.columns }.into())
            }
        };
        self.command(&stream, command).unwrap_or_else(|error| completed(Err(error)))
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
            let most = format!(
                "a channel may have at most {MAX_SUBSCRIPTIONS} subscriptions; end some, or open another channel"
            );
            return Err(RpcError::new(RpcErrorCode::TooMany, most));
        }
        let share = self.app.reader_quotas.take(self.caller.credential(), 1, &self.limits);
        let share = share.map_err(|problem| RpcError::new(RpcErrorCode::TooMany, problem.detail()))?;
        let SubscribeParameters { grep, exclude, origin, conditions, level, .. } = &parameters;
        let filter = self.parse_filter([grep, exclude, origin, conditions], level.as_deref())?;
        let run = parameters.run.as_ref().map(|run| grammar::run(&run.to_string())).transpose()?;
        let named =
            start(&StartParameters { after: parameters.after, since: parameters.since, tail: parameters.tail })?;
        let start = named.unwrap_or_else(|| grammar::default_start(run));
        let run = run.map(|run| entry.log.resolve_run(run, start).map_err(CallError::from)).transpose()?;
        let until = CursorEnd { run, ..CursorEnd::default() };
        let view = View { wire_format: WireFormat::Ndjson, filter, several: false, ansi: Ansi::Keep };
        let cursor = entry.log.cursor(view.clone(), start, until).await;
        let position = cursor.position();
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

    /// The filter of the texts of `grep`, `exclude`, `origin` and `where`, in this order, and of a level.
    fn parse_filter(&self, texts: [&OneOrManyStrings; 4], level: Option<&str>) -> Result<Filter, RpcError> {
        let [grep, exclude, origin, conditions] = texts.map(OneOrManyStrings::all);
        let text = FilterText { grep, exclude, origin, conditions, level };
        Ok(grammar::filter(&text, self.limits.filter_size)?)
    }

    fn unsubscribe(&mut self, number: u64) -> MethodResult {
        // The reader ends when its control is dropped.
        match self.subscriptions.remove(&number) {
            Some(_) => Ok(MethodResponse::Nothing {}),
            None => Err(no_subscription(number)),
        }
    }

    fn filter(&mut self, parameters: FilterParameters) -> MethodResult {
        let FilterParameters { grep, exclude, origin, conditions, level, .. } = &parameters;
        let filter = self.parse_filter([grep, exclude, origin, conditions], level.as_deref())?;
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
                // Whoever reads a public stream may steer what it reads.
                let checked = self.app.check_any_stream(&self.caller, Right::Read, true);
                checked.map_err(|denied| RpcError::from(CallError::from(denied)))?;
                self.app.sessions.controls(self.caller.credential(), &session)
            }
            (None, Some(_)) => Vec::new(),
            _ => return Err(invalid_parameter("name one of `subscription` and `session`")),
        };
        if controls.is_empty() {
            let detail = "none of your readers has this session (?session=... on a connection of the same caller)";
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
            Some(self.sender().send(&parameters.stream, RunCommand::Input(Bytes::from(bytes)))?)
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
                sender.send(&parameters.stream, RunCommand::EndOfInput)?.await?;
            }
            drop(permit);
            Ok(CallResult::Completed(MethodResponse::Taken { bytes: count }))
        })))
    }

    fn attach(&mut self, stream: StreamName) -> Result<PendingCall, RpcError> {
        self.check_attachment_limit()?;
        let permit = self.permits.acquire()?;
        let pending = self.sender().attach(&stream)?;
        Ok(PendingCall::Pending(Box::pin(async move {
            let attached = pending.await;
            drop(permit);
            Ok(CallResult::Attached(stream, attached?))
        })))
    }

    fn check_attachment_limit(&self) -> Result<(), RpcError> {
        if self.attachments.len() < MAX_ATTACHMENTS {
            return Ok(());
        }
        let most =
            format!("a channel may have at most {MAX_ATTACHMENTS} attachments; end some, or open another channel");
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
        let raw = raw.take_until(async move { log.until_denied().await });
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::control::CommandError;
    use crate::http::testing::{OWNER, TestServer, USER, id};
    use crate::wire::message::read;

    fn session(server: &TestServer, peer: crate::access::Peer) -> ControlSession {
        let caller = server.app.access.identify_now(peer, None).unwrap();
        ControlSession::new(server.app.clone(), caller, Arc::new(server.limits.clone()))
    }

    async fn begin(session: &mut ControlSession, method: &str, parameters: Value) -> PendingCall {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let mut message = read(&request.to_string()).unwrap();
        session.call(message.requests.remove(0).call.unwrap()).await
    }

    /// The result of a call: the JSON of its response, or the reason and the text of its error.
    async fn call(session: &mut ControlSession, method: &str, parameters: Value) -> Result<Value, String> {
        let result = match begin(session, method, parameters).await {
            PendingCall::Ready(result) => result,
            PendingCall::Pending(result) => result.await,
        };
        let response = match result {
            Ok(CallResult::Completed(response)) => Ok(response),
            Ok(CallResult::Attached(stream, attachment)) => session.add_attachment(stream, attachment),
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => Ok(serde_json::to_value(&response).unwrap()),
            Err(error) => {
                let reply: Value = serde_json::from_str(&crate::wire::message::reply(
                    &crate::wire::message::RequestId::null(),
                    Err(&error),
                ))
                .unwrap();
                let data = &reply["error"]["data"];
                Err(format!("{}: {}", data["reason"].as_str().unwrap(), data["detail"].as_str().unwrap()))
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_wrong_are_refused_with_what_would_be_right() {
        let server = TestServer::new(&[("log", "file"), ("job", "process")]);
        let _received = server.process("job", || Err(CommandError::NotRunning));
        let mut owner = session(&server, OWNER);
        let table = [
            ("stream.subscribe", json!({ "stream": "nowhere" }), "not-found: no stream is named"),
            ("stream.subscribe", json!({ "stream": "log", "after": "x" }), "wrong-parameters: after=x: "),
            ("stream.subscribe", json!({ "stream": "log", "tail": "some" }), "wrong-parameters: tail=some is neither"),
            ("stream.subscribe", json!({ "stream": "log", "tail": 1, "since": "1h" }), "wrong-parameters: give one of"),
            ("stream.subscribe", json!({ "stream": "log", "grep": "(" }), "wrong-parameters: "),
            (
                "stream.subscribe",
                json!({ "stream": "log", "run": "first" }),
                "wrong-parameters: run=first is not known",
            ),
            ("stream.subscribe", json!({ "stream": "log", "run": 0 }), "wrong-parameters: run=0 is not known"),
            ("stream.subscribe", json!({ "stream": "log", "run": "last" }), "not-found: log has had no run"),
            ("stream.subscribe", json!({ "stream": "job", "run": 7 }), "not-found: job has had no run"),
            ("stream.subscribe", json!({ "stream": "log", "level": "loud" }), "wrong-parameters: level=loud: "),
            ("stream.subscribe", json!({ "stream": "log", "where": "a" }), "wrong-parameters: where=a: no operator"),
            ("subscription.pause", json!({ "subscription": 7 }), "not-found: this channel has no subscription 7"),
            ("subscription.pause", json!({}), "wrong-parameters: name one of"),
            (
                "subscription.pause",
                json!({ "subscription": 7, "session": "0123456789abcdef" }),
                "wrong-parameters: name one of",
            ),
            ("subscription.resume", json!({ "session": "0123456789abcdef" }), "not-found: none of your readers"),
            ("subscription.resume", json!({ "session": "short" }), "not-found: none of your readers"),
            ("subscription.filter", json!({ "subscription": 7, "grep": "(" }), "wrong-parameters: "),
            ("subscription.unsubscribe", json!({ "subscription": 7 }), "not-found: this channel has no subscription 7"),
            ("process.input", json!({ "stream": "job" }), "wrong-parameters: nothing to type"),
            (
                "process.input",
                json!({ "stream": "job", "text": "a", "base64": "YQ==" }),
                "wrong-parameters: give one of `text` and `base64`",
            ),
            ("process.input", json!({ "stream": "job", "base64": "?" }), "wrong-parameters: base64: "),
            ("process.input", json!({ "stream": "job", "text": "a" }), "refused: the process is not running"),
            (
                "process.signal",
                json!({ "stream": "job", "signal": "term" }),
                "wrong-parameters: signal: not a signal that can be sent",
            ),
            (
                "process.resize",
                json!({ "stream": "job", "columns": 0, "rows": 1 }),
                "wrong-parameters: a terminal has at least",
            ),
            ("process.lease", json!({ "stream": "job", "seconds": 3601 }), "wrong-parameters: seconds: at most 3600"),
            ("process.start", json!({ "stream": "log" }), "refused: this stream is not a process"),
            ("process.attach", json!({ "stream": "job" }), "refused: the process is not running"),
            ("process.detach", json!({ "attachment": 7 }), "not-found: this channel has no attachment 7"),
        ];
        for (method, parameters, expected) in table {
            let refused = call(&mut owner, method, parameters.clone()).await.unwrap_err();
            assert!(refused.starts_with(expected), "{method} {parameters}: {refused}");
        }
        assert!(owner.subscriptions.is_empty() && owner.attachments.is_empty());
        let mut user = session(&server, USER);
        for (method, parameters) in [
            ("process.input", json!({ "stream": "job", "text": "a" })),
            ("process.stop", json!({ "stream": "job" })),
            ("process.lease", json!({ "stream": "job", "seconds": 1 })),
        ] {
            let refused = call(&mut user, method, parameters).await.unwrap_err();
            assert!(refused.starts_with("denied: "), "{method}: {refused}");
        }
        server.app.catalog.hold(&"log".parse().unwrap());
        let held = call(&mut owner, "stream.subscribe", json!({ "stream": "log" })).await.unwrap_err();
        assert!(held.starts_with("busy: the stream is being restarted"), "{held}");
        server.stop();
        let stopping = call(&mut owner, "streams.list", json!({})).await.unwrap_err();
        assert_eq!(stopping, "stopping: the daemon is stopping");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_delivers_events_until_it_is_paused_or_ended() {
        let mut server = TestServer::new(&[("log", "file")]);
        server.write("log", &["one", "two", "three"]).await;
        let mut session = session(&server, USER);
        let subscribed = call(&mut session, "stream.subscribe", json!({ "stream": "log", "tail": 2 })).await;
        assert_eq!(subscribed, Ok(json!({ "subscription": 1, "place": id(1).to_string() })));
        let (number, delivery) = session.deliveries.next().await.unwrap();
        let Delivery::Item(CursorItem::Frames(frames), position, false) = delivery else { panic!("no events") };
        let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
        assert_eq!((number, position, text.lines().count()), (1, id(3), 2), "{text}");
        let pause = json!({ "subscription": 1 });
        assert_eq!(call(&mut session, "subscription.pause", pause.clone()).await, Ok(json!({ "readers": 1 })));
        server.write("log", &["four"]).await;
        let quiet = session.deliveries.next().await.unwrap().1;
        assert!(matches!(quiet, Delivery::Item(CursorItem::TimedOut, position, false) if position == id(3)));
        // From the next delivery on, only lines that match.
        let filter = json!({ "subscription": 1, "grep": "e$", "from": { "tail": "all" } });
        assert_eq!(call(&mut session, "subscription.filter", filter).await, Ok(json!({ "readers": 1 })));
        assert_eq!(call(&mut session, "subscription.resume", pause.clone()).await, Ok(json!({ "readers": 1 })));
        let Delivery::Item(CursorItem::Frames(frames), ..) = session.deliveries.next().await.unwrap().1 else {
            panic!("no events")
        };
        let text = String::from_utf8(frames.bytes.to_vec()).unwrap();
        assert!(text.contains("\"one\"") && text.contains("\"three\"") && !text.contains("\"four\""), "{text}");
        assert_eq!(call(&mut session, "subscription.unsubscribe", pause).await, Ok(json!({})));
        while let Some((number, delivery)) = session.deliveries.next().await {
            assert!(number == 1 && matches!(delivery, Delivery::Item(CursorItem::TimedOut, ..) | Delivery::Ended));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn subscriptions_attachments_and_commands_have_limits() {
        let server = TestServer::new(&[("log", "file"), ("job", "process")]);
        let _received = server.process("job", || Ok(CommandReply::Done));
        let mut channel = session(&server, OWNER);
        for _ in 0..MAX_SUBSCRIPTIONS {
            call(&mut channel, "stream.subscribe", json!({ "stream": "log" })).await.unwrap();
        }
        let refused = call(&mut channel, "stream.subscribe", json!({ "stream": "log" })).await.unwrap_err();
        assert!(refused.starts_with("too-many: a channel may have at most 64 subscriptions"), "{refused}");
        for number in 65..65 + MAX_ATTACHMENTS {
            let attached = call(&mut channel, "process.attach", json!({ "stream": "job" })).await;
            assert_eq!(attached, Ok(json!({ "attachment": number })));
        }
        let refused = call(&mut channel, "process.attach", json!({ "stream": "job" })).await.unwrap_err();
        assert!(refused.starts_with("too-many: a channel may have at most 8 attachments"), "{refused}");
        assert_eq!(call(&mut channel, "process.detach", json!({ "attachment": 65 })).await, Ok(json!({})));
        call(&mut channel, "process.attach", json!({ "stream": "job" })).await.unwrap();
        // A process that does not answer.
        let _requests = server.requests("job");
        let mut pending = Vec::new();
        let refused = loop {
            match begin(&mut channel, "process.pause", json!({ "stream": "job" })).await {
                PendingCall::Pending(command) => pending.push(command),
                PendingCall::Ready(result) => break result.err().unwrap(),
            }
        };
        let text = crate::wire::message::reply(&crate::wire::message::RequestId::null(), Err(&refused));
        assert!(pending.len() == 32 && text.contains("32 commands are in flight"), "{} {text}", pending.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_by_one_channel_and_given_back() {
        let server = TestServer::new(&[("job", "process")]);
        let _received = server.process("job", || Ok(CommandReply::Done));
        let (mut first, mut second) = (session(&server, OWNER), session(&server, OWNER));
        let lease = |seconds: u32| json!({ "stream": "job", "seconds": seconds });
        let input = json!({ "stream": "job", "text": "abc", "eof": true });
        assert_eq!(call(&mut first, "process.lease", lease(60)).await, Ok(json!({ "yours": true, "seconds": 60.0 })));
        for (method, parameters) in [("process.lease", lease(60)), ("process.input", input.clone())] {
            let refused = call(&mut second, method, parameters).await.unwrap_err();
            assert!(refused.starts_with("leased: ") && refused.contains("holds the lease"), "{refused}");
        }
        assert_eq!(call(&mut first, "process.input", input.clone()).await, Ok(json!({ "bytes": 3 })));
        // Giving back what one does not hold changes nothing.
        assert_eq!(call(&mut second, "process.lease", lease(0)).await, Ok(json!({ "yours": false, "seconds": 0.0 })));
        call(&mut second, "process.input", input.clone()).await.unwrap_err();
        assert_eq!(call(&mut first, "process.lease", lease(0)).await, Ok(json!({ "yours": false, "seconds": 0.0 })));
        assert_eq!(call(&mut second, "process.input", input.clone()).await, Ok(json!({ "bytes": 3 })));
        assert!(call(&mut second, "process.lease", lease(60)).await.is_ok());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(call(&mut first, "process.input", input).await, Ok(json!({ "bytes": 3 })), "the lease has expired");
    }
}
