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

use crate::access::{AccessDenied, Caller};
use crate::config::units::Rate;
use crate::config::{Right, SignalName};
use crate::control::{Command, CommandError, CommandReply};
use crate::event::StreamName;
use crate::wire::message::{RpcError, RpcErrorCode};

use super::problem::Problem;
use super::{App, HttpRequest, json};
use crate::http::guard::lease::HeldLease;

/// Who sends commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommandSender<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    /// The number of its channel, if it can hold a lease.
    pub(super) channel: Option<u64>,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Denied(AccessDenied),
    #[error("no stream is named {0:?}")]
    NoStream(String),
    #[error("the stream is being restarted because its configuration changed; try again")]
    Reconfiguring,
    #[error("{}", .0.refusal_text())]
    LeasedByOther(HeldLease),
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// What somebody is told whose commands come too often.
pub(super) fn rate_limit_text(rate: Rate, wait: Duration) -> String {
    format!("more than {rate} is too often; the next is taken in {} ms", wait.as_millis().max(1))
}

impl From<AccessDenied> for CallError {
    fn from(denied: AccessDenied) -> Self {
        match denied {
            AccessDenied::NoSuchStream(name) => Self::NoStream(name),
            denied @ (AccessDenied::TokenNeeded(_) | AccessDenied::Right { .. }) => Self::Denied(denied),
        }
    }
}

/// What a command comes to, once it does.
pub(super) type CommandFuture = BoxFuture<'static, Result<CommandReply, CallError>>;

/// The right that a command needs.
pub(super) fn required_right(command: &Command) -> Right {
    match command {
        Command::Attach => Right::Read,
        Command::Input(_) | Command::EndOfInput | Command::Resize { .. } | Command::Push(_) => Right::Input,
        Command::Signal(_) | Command::Pause | Command::Resume | Command::Start | Command::Stop | Command::Restart => {
            Right::Admin
        }
    }
}

impl CommandSender<'_> {
    /// Sends a command. It is on its way when this returns, so that commands arrive in the order in which they are sent.
    pub(super) fn send(self, stream: &StreamName, command: Command) -> Result<CommandFuture, CallError> {
        self.app.stream(self.caller, required_right(&command), stream)?;
        if self.app.catalog.is_being_replaced(stream) {
            return Err(CallError::Reconfiguring);
        }
        if matches!(command, Command::Input(_) | Command::EndOfInput) {
            self.app.leases.check_input(stream, self.channel).map_err(CallError::LeasedByOther)?;
        }
        let (desk, caller, stream) = (self.app.desk.clone(), self.caller.clone(), stream.clone());
        let mut coming: CommandFuture = Box::pin(async move {
            let what = LoggedCommand::new(&command);
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
enum LoggedCommand {
    Input(usize),
    Command(&'static str),
    Nothing,
}

impl LoggedCommand {
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

    fn log(self, stream: &StreamName, peer: &Caller, refused: Option<&CommandError>) {
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

impl CallError {
    /// How an error is reported: by its status over HTTP, by its JSON-RPC code over the control channel.
    fn codes(&self) -> (StatusCode, RpcErrorCode) {
        match self {
            Self::Denied(_) => (StatusCode::FORBIDDEN, RpcErrorCode::Denied),
            Self::NoStream(_) => (StatusCode::NOT_FOUND, RpcErrorCode::NotFound),
            Self::Reconfiguring => (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Busy),
            Self::LeasedByOther(_) => (StatusCode::CONFLICT, RpcErrorCode::Leased),
            Self::Command(error) => match error {
                CommandError::NotAProcess
                | CommandError::NotAPushStream
                | CommandError::NotRunning
                | CommandError::NoInput
                | CommandError::InputEnded
                | CommandError::Redacted
                | CommandError::NoPty => (StatusCode::CONFLICT, RpcErrorCode::Refused),
                CommandError::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, RpcErrorCode::Parameters),
                CommandError::NoSignal(_) => (StatusCode::BAD_REQUEST, RpcErrorCode::Parameters),
                CommandError::Busy | CommandError::TooManyCommands | CommandError::TooManySenders => {
                    (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Busy)
                }
                CommandError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, RpcErrorCode::Internal),
                CommandError::Gone => (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Stopping),
            },
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match &error {
            // Without a token it is 401.
            CallError::Denied(denied) => denied.clone().into(),
            CallError::NoStream(name) => Self::no_stream(name),
            CallError::Reconfiguring | CallError::LeasedByOther(_) | CallError::Command(_) => {
                Self::new(error.codes().0, error.to_string())
            }
        }
    }
}

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        Self::new(error.codes().1, error.to_string())
    }
}

impl HttpRequest {
    /// Has a command carried out, and says whether it was so before.
    async fn send_command(&self, stream: &StreamName, command: Command) -> Result<bool, Problem> {
        let sender = CommandSender { app: &self.app, caller: &self.caller, channel: None };
        let reply = sender.send(stream, command)?.await?;
        Ok(matches!(reply, CommandReply::Already))
    }

    /// The stream of that name, for one more command: if who asks may, and did not so too often.
    fn check_command(&self, name: &str) -> Result<StreamName, Problem> {
        let stream = self.stream(name)?.log.name().clone();
        let rate = self.connection.limits.control_rate;
        let taken = self.app.rate_limiters.take(self.caller.credential(), rate, Instant::now());
        taken.map_err(|wait| Problem::too_many(rate_limit_text(rate, wait), wait))?;
        Ok(stream)
    }

    /// The value of the only parameter there may be.
    pub(super) fn only_parameter(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.parameters.as_slice() {
            [] => Ok(None),
            [(known, value)] if known == name => Ok(Some(value)),
            _ if name.is_empty() => Err(Problem::bad("this has no parameters")),
            _ => Err(Problem::bad(format!("this has one parameter, {name}"))),
        }
    }

    fn expect_no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() { Ok(()) } else { Err(Problem::bad("this takes no body; send none")) }
    }
}

/// `POST /streams/NAME/input`: types the body, and with `eof=true` ends the input behind it.
pub(super) async fn input(name: &str, ask: &HttpRequest) -> Result<Response, Problem> {
    let eof = match ask.only_parameter("eof")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Problem::bad(format!("eof={other} is not known; use true or false"))),
    };
    let body: Bytes = ask.body.clone();
    let bytes = body.len();
    if bytes == 0 && !eof {
        return Err(Problem::bad("nothing to type: send it as the body, or eof=true to end the input"));
    }
    let stream = ask.check_command(name)?;
    if bytes > 0 {
        ask.send_command(&stream, Command::Input(body)).await?;
    }
    if eof {
        ask.send_command(&stream, Command::EndOfInput).await?;
    }
    Ok(json(&json!({ "bytes": bytes })))
}

/// `POST /streams/NAME/signal?signal=TERM`.
pub(super) async fn signal(name: &str, ask: &HttpRequest) -> Result<Response, Problem> {
    ask.expect_no_body()?;
    let signal = ask.only_parameter("signal")?.ok_or_else(|| Problem::bad("which signal? Write ?signal=TERM"))?;
    let signal: SignalName = signal.parse().map_err(|error| Problem::bad(format!("signal={signal}: {error}")))?;
    respond_to_command(ask, name, Command::Signal(signal.number())).await
}

/// `POST /streams/NAME/start`, `/stop` and `/restart`.
pub(super) async fn lifecycle(name: &str, ask: &HttpRequest, command: Command) -> Result<Response, Problem> {
    ask.expect_no_body()?;
    ask.only_parameter("")?;
    respond_to_command(ask, name, command).await
}

async fn respond_to_command(ask: &HttpRequest, name: &str, command: Command) -> Result<Response, Problem> {
    let already = ask.send_command(&ask.check_command(name)?, command).await?;
    Ok(json(&json!({ "already": already })))
}
