//! Commands to processes: what scripts send by `POST /streams/NAME/...`, and the checks that the control channel shares.
//!
//! Every input is logged with who, when and how many bytes; what was typed is nobody's business.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::StatusCode;
use log::info;
use serde_json::json;
use tokio::time::Instant;
use warp::reply::Response;

use crate::access::{Caller, Denied};
use crate::config::units::Rate;
use crate::config::{Right, SignalName};
use crate::control::{Command, Refused, Reply};
use crate::event::StreamName;

use super::leases::Held;
use super::problem::Problem;
use super::{App, Request, json};

/// Who sends commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    /// The number of its channel, if it can hold a lease.
    pub(super) channel: Option<u64>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Denied(Denied),
    #[error("no stream is named {0:?}")]
    NoStream(String),
    #[error("the stream is begun anew, since its configuration changed; try again")]
    Held,
    #[error("{}", .0.refusal())]
    Leased(Held),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What somebody is told whose commands come too often.
pub(super) fn too_fast(rate: Rate, wait: Duration) -> String {
    format!("more than {rate} is too often; the next is taken in {} ms", wait.as_millis().max(1))
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden(name) => Self::NoStream(name),
            denied @ (Denied::Stranger(_) | Denied::Right { .. }) => Self::Denied(denied),
        }
    }
}

/// What a command comes to, once it does.
pub(super) type Coming = BoxFuture<'static, Result<Reply, Fault>>;

/// The right that a command needs.
pub(super) fn needs(command: &Command) -> Right {
    match command {
        Command::Attach => Right::Read,
        Command::Input(_) | Command::EndOfInput | Command::Resize { .. } | Command::Push(_) => Right::Input,
        Command::Signal(_) | Command::Pause | Command::Resume | Command::Start | Command::Stop | Command::Restart => {
            Right::Admin
        }
    }
}

impl Sender<'_> {
    /// Sends a command. It is on its way when this returns, so that commands arrive in the order in which they are sent.
    pub(super) fn send(self, stream: &StreamName, command: Command) -> Result<Coming, Fault> {
        self.app.stream(self.caller, needs(&command), stream)?;
        if self.app.catalog.is_held(stream) {
            return Err(Fault::Held);
        }
        if matches!(command, Command::Input(_) | Command::EndOfInput) {
            self.app.leases.may_type(stream, self.channel).map_err(Fault::Leased)?;
        }
        let (desk, caller, stream) = (self.app.desk.clone(), self.caller.clone(), stream.clone());
        let mut coming: Coming = Box::pin(async move {
            let what = Logged::new(&command);
            let done = desk.send(&stream, command).await;
            what.log(&stream, &caller, done.as_ref().err());
            Ok(done?)
        });
        // The first look puts it in line.
        Ok(match (&mut coming).now_or_never() {
            Some(done) => Box::pin(std::future::ready(done)),
            None => coming,
        })
    }
}

/// What of a command is logged.
enum Logged {
    Input(usize),
    Command(&'static str),
    Nothing,
}

impl Logged {
    fn new(command: &Command) -> Self {
        match command {
            Command::Input(bytes) => Self::Input(bytes.len()),
            Command::EndOfInput => Self::Command("end of input"),
            Command::Signal(_) => Self::Command("signal"),
            Command::Pause => Self::Command("pause"),
            Command::Resume => Self::Command("resume"),
            Command::Start => Self::Command("start"),
            Command::Stop => Self::Command("stop"),
            Command::Restart => Self::Command("restart"),
            // A sender may come for each line.
            Command::Resize { .. } | Command::Attach | Command::Push(_) => Self::Nothing,
        }
    }

    fn log(self, stream: &StreamName, peer: &Caller, refused: Option<&Refused>) {
        match (self, refused) {
            (Self::Nothing, _) => {}
            (Self::Input(bytes), None) => info!(stream:% = stream, peer:% = peer, bytes; "input"),
            (Self::Command(command), None) => info!(stream:% = stream, peer:% = peer, command; "command"),
            (Self::Input(bytes), Some(error)) => {
                info!(stream:% = stream, peer:% = peer, bytes, error:% = error; "input refused");
            }
            (Self::Command(command), Some(error)) => {
                info!(stream:% = stream, peer:% = peer, command, error:% = error; "command refused");
            }
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match &fault {
            Fault::Denied(denied) => return denied.clone().into(),
            Fault::NoStream(name) => return Problem::no_stream(name),
            Fault::Held => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Leased(_) => StatusCode::CONFLICT,
            Fault::Refused(refused) => match refused {
                Refused::NotAProcess
                | Refused::NotPushed
                | Refused::NotRunning
                | Refused::NoInput
                | Refused::InputEnded
                | Refused::Redacted
                | Refused::NoPty => StatusCode::CONFLICT,
                Refused::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
                Refused::NoSignal(_) => StatusCode::BAD_REQUEST,
                Refused::Busy | Refused::Flood | Refused::Crowd | Refused::Gone => StatusCode::SERVICE_UNAVAILABLE,
                Refused::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        Problem::new(status, fault.to_string())
    }
}

impl Request {
    /// Has a command carried out, and says whether it was so before.
    async fn command(&self, stream: &StreamName, command: Command) -> Result<bool, Problem> {
        let sender = Sender { app: &self.app, caller: &self.caller, channel: None };
        let reply = sender.send(stream, command)?.await?;
        Ok(matches!(reply, Reply::Already))
    }

    /// The stream of that name, for one more command: if who asks may, and did not so too often.
    fn commanded(&self, name: &str) -> Result<StreamName, Problem> {
        let stream = self.stream(name)?.log.name().clone();
        let rate = self.guest.limits.control_rate;
        let taken = self.app.paces.take(self.caller.credential(), rate, Instant::now());
        taken.map_err(|wait| Problem::too_many(too_fast(rate, wait), wait))?;
        Ok(stream)
    }

    /// The value of the only parameter there may be.
    pub(super) fn only(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.parameters.as_slice() {
            [] => Ok(None),
            [(known, value)] if known == name => Ok(Some(value)),
            _ if name.is_empty() => Err(Problem::bad("this has no parameters")),
            _ => Err(Problem::bad(format!("this has one parameter, {name}"))),
        }
    }

    fn no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() { Ok(()) } else { Err(Problem::bad("this takes no body; send none")) }
    }
}

/// `POST /streams/NAME/input`: types the body, and with `eof=true` ends the input behind it.
pub(super) async fn input(name: &str, ask: &Request) -> Result<Response, Problem> {
    let eof = match ask.only("eof")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Problem::bad(format!("eof={other} is not known; use true or false"))),
    };
    let body: Bytes = ask.body.clone();
    let bytes = body.len();
    if bytes == 0 && !eof {
        return Err(Problem::bad("nothing to type: send it as the body, or eof=true to end the input"));
    }
    let stream = ask.commanded(name)?;
    if bytes > 0 {
        ask.command(&stream, Command::Input(body)).await?;
    }
    if eof {
        ask.command(&stream, Command::EndOfInput).await?;
    }
    Ok(json(&json!({ "bytes": bytes })))
}

/// `POST /streams/NAME/signal?signal=TERM`.
pub(super) async fn signal(name: &str, ask: &Request) -> Result<Response, Problem> {
    ask.no_body()?;
    let signal = ask.only("signal")?.ok_or_else(|| Problem::bad("which signal? Write ?signal=TERM"))?;
    let signal: SignalName = signal.parse().map_err(|error| Problem::bad(format!("signal={signal}: {error}")))?;
    carried(ask, name, Command::Signal(signal.number())).await
}

/// `POST /streams/NAME/start`, `/stop` and `/restart`.
pub(super) async fn simple(name: &str, ask: &Request, command: Command) -> Result<Response, Problem> {
    ask.no_body()?;
    ask.only("")?;
    carried(ask, name, command).await
}

async fn carried(ask: &Request, name: &str, command: Command) -> Result<Response, Problem> {
    let already = ask.command(&ask.commanded(name)?, command).await?;
    Ok(json(&json!({ "already": already })))
}
