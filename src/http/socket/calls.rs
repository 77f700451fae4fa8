//! What each method does. Every one asks for its right first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::oneshot;

use crate::config::{Limits, Right, SignalName};
use crate::control::{Attachment, Command, Reply};
use crate::event::{Level, StreamName};
use crate::stream::{self as log, Start, Until, View};
use crate::wire::Encoding;
use crate::wire::message::{Begin, Call, Code, Done, Error, Filter, Input, Number, Subscribe, Words};

use super::super::ask::{TAIL, since};
use super::super::command::{Fault, Sender};
use super::super::leases::LONGEST;
use super::super::list;
use super::super::reading::{Course, Given, Reading, SESSION, Wheel};
use super::requests::{Came, Outcome};
use super::session::{Attached, Session, Subscription, Told};

/// Most subscriptions of one socket: as many as streams on one connection.
const SUBSCRIPTIONS: usize = 64;

/// Most attachments of one socket: a person looks at one terminal, and a page shows a few.
const ATTACHMENTS: usize = 8;

type Now = Result<Done, Error>;

fn now(done: Now) -> Outcome {
    Outcome::Now(done.map(Came::Done))
}

impl Session {
    /// Does what was asked for, or begins to.
    pub(super) async fn call(&mut self, call: Call) -> Outcome {
        if self.is_stopping() {
            return now(Err(Error::new(Code::Stopping, "the daemon stops")));
        }
        let command = match call {
            Call::List(_) => return now(self.list().await),
            Call::Subscribe(ask) => return now(self.subscribe(ask).await),
            Call::Filter(ask) => return now(self.filter(ask)),
            Call::Pause(ask) => return now(self.steer(ask.subscription, ask.session, |wheel| wheel.pause(true))),
            Call::Resume(ask) => return now(self.steer(ask.subscription, ask.session, |wheel| wheel.pause(false))),
            Call::Unsubscribe(ask) => return now(self.unsubscribe(ask.subscription)),
            Call::Lease(ask) => return now(self.lease(&ask.stream, ask.seconds)),
            Call::Detach(ask) => return now(self.detach(ask.attachment)),
            Call::Input(ask) => return self.input(ask).unwrap_or_else(|error| now(Err(error))),
            Call::Attach(ask) => return self.attach(ask.stream).unwrap_or_else(|error| now(Err(error))),
            Call::Signal(ask) => match ask.signal.parse::<SignalName>() {
                Ok(signal) => (ask.stream, Command::Signal(signal.number())),
                Err(error) => return now(Err(Error::new(Code::Parameters, format!("signal: {error}")))),
            },
            Call::PauseProcess(ask) => (ask.stream, Command::Pause),
            Call::ResumeProcess(ask) => (ask.stream, Command::Resume),
            Call::Start(ask) => (ask.stream, Command::Start),
            Call::Stop(ask) => (ask.stream, Command::Stop),
            Call::Restart(ask) => (ask.stream, Command::Restart),
            Call::Resize(ask) if ask.columns == 0 || ask.rows == 0 => {
                return now(Err(Error::new(Code::Parameters, "a terminal has at least one column and one row")));
            }
            Call::Resize(ask) => (ask.stream, Command::Resize { rows: ask.rows, columns: ask.columns }),
        };
        self.command(&command.0, command.1).unwrap_or_else(|error| now(Err(error)))
    }

    fn may(&self, right: Right) -> Result<(), Error> {
        self.app.access.check_any(&self.caller, right).map_err(|denied| Fault::from(denied).into())
    }

    fn sender(&self) -> Sender<'_> {
        Sender { app: &self.app, caller: &self.caller, channel: Some(self.number) }
    }

    async fn list(&mut self) -> Now {
        self.may(Right::Read)?;
        let streams = list::all(&self.app, &self.caller).await;
        let streams = streams.map_err(|problem| Error::new(Code::Busy, problem.detail()))?;
        Ok(Done::Streams { streams })
    }

    async fn subscribe(&mut self, ask: Subscribe) -> Now {
        let entry = self.app.stream(&self.caller, Right::Read, &ask.stream)?;
        if self.app.catalog.is_held(&ask.stream) {
            return Err(Fault::Held.into());
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            let most = format!("{SUBSCRIPTIONS} subscriptions are the most for one channel; end some, or open another");
            return Err(Error::new(Code::TooMany, most));
        }
        let share = self.app.readers(&self.caller, 1, &self.limits);
        let share = share.map_err(|problem| Error::new(Code::TooMany, problem.detail()))?;
        let filter = filter(&self.limits, [&ask.grep, &ask.exclude, &ask.origin], ask.level.as_deref())?;
        let run = match ask.run.as_deref() {
            None => false,
            Some("current") => true,
            Some(other) => return Err(parameter(format!("run: {other:?} is not known; use \"current\""))),
        };
        let begin = begin(&Begin { after: ask.after, since: ask.since, tail: ask.tail })?;
        let start = begin.unwrap_or(if run { Start::Run } else { Start::Tail(TAIL) });
        let until = Until { run, ..Until::default() };
        let view = View { encoding: Encoding::Ndjson, filter, several: false };
        let cursor = entry.log.cursor(view.clone(), start, until).await;
        let place = cursor.place();
        let course = Course { log: entry.log, view, until, ready: self.app.ready.clone() };
        let (reading, wheel) = Reading::with_wheel(cursor, course);
        let number = self.next_number();
        let told = reading.told(self.limits.keep_alive);
        let told = told.map(|(given, place, skipped)| match given {
            Given::Item(item) => Told::Item(item, place, skipped),
            Given::Denied => Told::Denied,
        });
        let told = told.chain(stream::iter([Told::Ended])).map(move |told| (number, told));
        self.told.push(Box::pin(told));
        self.subscriptions.insert(number, Subscription { stream: ask.stream, wheel, place, _share: share });
        Ok(Done::Subscribed { subscription: number, place })
    }

    fn unsubscribe(&mut self, number: u64) -> Now {
        // Without its wheel it ends.
        match self.subscriptions.remove(&number) {
            Some(_) => Ok(Done::Nothing {}),
            None => Err(no_subscription(number)),
        }
    }

    fn filter(&mut self, ask: Filter) -> Now {
        let filter = filter(&self.limits, [&ask.grep, &ask.exclude, &ask.origin], ask.level.as_deref())?;
        let from = ask.from.map_or(Ok(None), |from| begin(&from))?;
        self.steer(ask.subscription, ask.session, |wheel| wheel.filter(filter.clone(), from))
    }

    /// Turns the wheels of a subscription or of a session.
    fn steer(&mut self, subscription: Option<u64>, session: Option<String>, turn: impl Fn(&Wheel)) -> Now {
        let wheels: Vec<Arc<Wheel>> = match (subscription, session) {
            (Some(number), None) => {
                let known = self.subscriptions.get(&number).ok_or_else(|| no_subscription(number))?;
                turn(&known.wheel);
                return Ok(Done::Steered { readers: 1 });
            }
            (None, Some(session)) if SESSION.contains(&session.len()) => {
                self.may(Right::Read)?;
                self.app.sessions.wheels(self.caller.credential(), &session)
            }
            (None, Some(_)) => Vec::new(),
            _ => return Err(parameter("name one of `subscription` and `session`")),
        };
        if wheels.is_empty() {
            let detail = "no stream of yours is read with this session (?session=..., over a connection like this one)";
            return Err(Error::new(Code::NotFound, detail));
        }
        for wheel in &wheels {
            turn(wheel);
        }
        Ok(Done::Steered { readers: wheels.len() })
    }

    fn lease(&mut self, stream: &StreamName, seconds: u32) -> Now {
        self.app.stream(&self.caller, Right::Input, stream)?;
        if seconds > LONGEST {
            return Err(parameter(format!("seconds: at most {LONGEST}; take it again before it is over")));
        }
        if seconds == 0 {
            self.app.leases.give_back(stream, self.number);
        } else {
            let time = Duration::from_secs(seconds.into());
            self.app.leases.take(stream, self.number, self.caller.peer, time).map_err(Fault::Leased)?;
        }
        Ok(Done::Leased { yours: seconds > 0, seconds: seconds.into() })
    }

    fn command(&mut self, stream: &StreamName, command: Command) -> Result<Outcome, Error> {
        let place = self.under_way.place()?;
        let coming = self.sender().send(stream, command)?;
        Ok(Outcome::Later(Box::pin(async move {
            let reply = coming.await;
            drop(place);
            Ok(Came::Done(Done::Carried { already: matches!(reply?, Reply::Already) }))
        })))
    }

    fn input(&mut self, ask: Input) -> Result<Outcome, Error> {
        let bytes = match (ask.text, ask.base64) {
            (Some(_), Some(_)) => return Err(parameter("give one of `text` and `base64`")),
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                bytes.map_err(|error| parameter(format!("base64: {error}")))?
            }
            (None, None) => Vec::new(),
        };
        let count = bytes.len();
        if count == 0 && !ask.eof {
            return Err(parameter("nothing to type: give `text`, `base64` or `eof`"));
        }
        let place = self.under_way.place()?;
        let typed =
            if count > 0 { Some(self.sender().send(&ask.stream, Command::Input(Bytes::from(bytes)))?) } else { None };
        let (app, caller, number) = (self.app.clone(), self.caller.clone(), self.number);
        Ok(Outcome::Later(Box::pin(async move {
            if let Some(typed) = typed {
                typed.await?;
            }
            if ask.eof {
                let sender = Sender { app: &app, caller: &caller, channel: Some(number) };
                sender.send(&ask.stream, Command::EndOfInput)?.await?;
            }
            drop(place);
            Ok(Came::Done(Done::Taken { bytes: count }))
        })))
    }

    fn attach(&mut self, stream: StreamName) -> Result<Outcome, Error> {
        self.room_for_attachment()?;
        let place = self.under_way.place()?;
        let coming = self.sender().send(&stream, Command::Attach)?;
        Ok(Outcome::Later(Box::pin(async move {
            let reply = coming.await;
            drop(place);
            match reply? {
                Reply::Attached(attachment) => Ok(Came::Attached(stream, attachment)),
                Reply::Done | Reply::Already | Reply::Pushing(_) => {
                    Err(Error::new(Code::Internal, "the process gave no attachment"))
                }
            }
        })))
    }

    fn room_for_attachment(&self) -> Result<(), Error> {
        if self.attachments.len() < ATTACHMENTS {
            return Ok(());
        }
        let most = format!("{ATTACHMENTS} attachments are the most for one channel; end some, or open another");
        Err(Error::new(Code::TooMany, most))
    }

    /// Begins to tell what an attachment gives.
    pub(super) fn take_in(&mut self, stream: StreamName, attachment: Attachment) -> Now {
        self.room_for_attachment()?;
        let number = self.next_number();
        let (hold, over) = oneshot::channel::<()>();
        let raw = stream::unfold(attachment, async |mut attachment| {
            let raw = attachment.next().await?;
            Some((Told::Raw(raw), attachment))
        });
        let log = self.app.stream(&self.caller, Right::Read, &stream)?.log;
        let raw = raw.take_until(async move { log.denied().await });
        let told = raw.chain(stream::iter([Told::Ended])).take_until(over).map(move |told| (number, told));
        self.told.push(Box::pin(told));
        self.attachments.insert(number, Attached { stream, _hold: hold });
        Ok(Done::Attached { attachment: number })
    }

    fn detach(&mut self, number: u64) -> Now {
        match self.attachments.remove(&number) {
            Some(_) => Ok(Done::Nothing {}),
            None => Err(Error::new(Code::NotFound, format!("this channel has no attachment {number}"))),
        }
    }
}

fn parameter(detail: impl Into<String>) -> Error {
    Error::new(Code::Parameters, detail)
}

fn no_subscription(number: u64) -> Error {
    Error::new(Code::NotFound, format!("this channel has no subscription {number}"))
}

fn filter(limits: &Limits, of: [&Words; 3], level: Option<&str>) -> Result<log::Filter, Error> {
    let [grep, exclude, origin] = of.map(Words::all);
    let level = level.map(str::parse::<Level>).transpose().map_err(|error| parameter(format!("level: {error}")))?;
    log::Filter::new(grep, exclude, origin.to_vec(), limits.filter_size)
        .map(|filter| filter.with_level(level))
        .map_err(|bad| Error::new(if bad.is_for_now() { Code::Busy } else { Code::Parameters }, bad.to_string()))
}

fn begin(from: &Begin) -> Result<Option<Start>, Error> {
    let given = [from.after.is_some(), from.since.is_some(), from.tail.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        return Err(parameter("give one of `after`, `since` and `tail`"));
    }
    if let Some(after) = &from.after {
        let id = after.parse().map_err(|error| parameter(format!("after: {after:?}: {error}")))?;
        return Ok(Some(Start::After(id)));
    }
    if let Some(text) = &from.since {
        let time = since(text, SystemTime::now()).map_err(|problem| parameter(problem.detail()))?;
        return Ok(Some(Start::Since(time)));
    }
    match &from.tail {
        None => Ok(None),
        Some(Number::Lines(lines)) => Ok(Some(Start::Tail(*lines))),
        Some(Number::Word(word)) if word == "all" => Ok(Some(Start::Oldest)),
        Some(Number::Word(word)) => Err(parameter(format!("tail: {word:?} is neither a number nor \"all\""))),
    }
}
