//! Commands to processes: the handlers of `POST /streams/NAME/...`, and the checks that they share with the control
//! channel.
//!
//! Each input is logged with its sender, time and number of bytes, but never with its content.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use log::info;
use serde_json::json;
use tokio::time::Instant;
use warp::reply::Response;

use crate::access::Caller;
use crate::config::units::Rate;
use crate::config::{Right, SignalName};
use crate::control::{
    Attachment, CommandError, CommandReply, LifecycleCommand, ProcessCommand, PushSender, RunCommand,
};
use crate::event::{Origin, StreamName};

use super::app::App;
use super::call_error::CallError;
use super::problem::Problem;
use super::request::HttpRequest;
use super::response::json;

/// The sender of commands.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommandSender<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    /// The number of the sender's control channel, if it can hold a lease.
    pub(super) channel: Option<u64>,
}

/// The message for a caller who sends commands too often.
pub(super) fn rate_limit_text(rate: Rate, wait: Duration) -> String {
    format!("there were more than {rate}; the next is accepted in {} ms", wait.as_millis().max(1))
}

/// The pending result of a request that was queued.
pub(super) type CommandFuture<T> = BoxFuture<'static, Result<T, CallError>>;

/// The right that a command needs.
fn required_right(command: &ProcessCommand) -> Right {
    match command {
        ProcessCommand::Lifecycle(_) => Right::Admin,
        ProcessCommand::Run(command) => match command {
            RunCommand::Input(_) | RunCommand::EndOfInput | RunCommand::Resize { .. } => Right::Input,
            RunCommand::Signal(_) | RunCommand::Pause | RunCommand::Resume => Right::Admin,
        },
    }
}

impl CommandSender<'_> {
    /// Sends a command. The command has been queued when this returns, so commands arrive in the order in which they
    /// are sent.
    pub(super) fn send(
        self,
        stream: &StreamName,
        command: impl Into<ProcessCommand>,
    ) -> Result<CommandFuture<CommandReply>, CallError> {
        let command = command.into();
        self.check(stream, required_right(&command))?;
        if matches!(command, ProcessCommand::Run(RunCommand::Input(_) | RunCommand::EndOfInput)) {
            self.app.leases.check_input(stream, self.channel).map_err(CallError::LeasedByOther)?;
        }
        let (router, caller, stream) = (self.app.commands.clone(), self.caller.clone(), stream.clone());
        Ok(queued(async move {
            let what = LoggedCommand::new(&command);
            let done = router.send(&stream, command).await;
            what.log(&stream, &caller, done.as_ref().err());
            done
        }))
    }

    /// Attaches to the terminal of a process.
    pub(super) fn attach(self, stream: &StreamName) -> Result<CommandFuture<Attachment>, CallError> {
        self.check(stream, Right::Read)?;
        let (router, stream) = (self.app.commands.clone(), stream.clone());
        Ok(queued(async move { router.attach(&stream).await }))
    }

    /// Opens a sender of lines to a stream that accepts them. A client may open a sender for each line, so senders are
    /// not logged.
    pub(super) fn open_sender(
        self,
        stream: &StreamName,
        origin: Origin,
    ) -> Result<CommandFuture<PushSender>, CallError> {
        self.check(stream, Right::Input)?;
        let (router, stream) = (self.app.commands.clone(), stream.clone());
        Ok(queued(async move { router.open_sender(&stream, origin).await }))
    }

    fn check(self, stream: &StreamName, right: Right) -> Result<(), CallError> {
        self.app.stream(self.caller, right, stream)?;
        if self.app.catalog.is_being_replaced(stream) { Err(CallError::Reconfiguring) } else { Ok(()) }
    }
}

/// Queues a request: the first poll of its future does.
fn queued<T: Send + 'static>(
    request: impl Future<Output = Result<T, CommandError>> + Send + 'static,
) -> CommandFuture<T> {
    let mut coming: CommandFuture<T> = Box::pin(async move { Ok(request.await?) });
    match (&mut coming).now_or_never() {
        Some(done) => Box::pin(std::future::ready(done)),
        None => coming,
    }
}

/// The part of a command that is logged.
enum LoggedCommand {
    Input(usize),
    Command(&'static str),
    Nothing,
}

impl LoggedCommand {
    fn new(command: &ProcessCommand) -> Self {
        match command {
            ProcessCommand::Lifecycle(LifecycleCommand::Start) => Self::Command("start"),
            ProcessCommand::Lifecycle(LifecycleCommand::Stop) => Self::Command("stop"),
            ProcessCommand::Lifecycle(LifecycleCommand::Restart) => Self::Command("restart"),
            ProcessCommand::Run(command) => match command {
                RunCommand::Input(bytes) => Self::Input(bytes.len()),
                RunCommand::EndOfInput => Self::Command("end of input"),
                RunCommand::Signal(_) => Self::Command("signal"),
                RunCommand::Pause => Self::Command("pause"),
                RunCommand::Resume => Self::Command("resume"),
                RunCommand::Resize { .. } => Self::Nothing,
            },
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

/// Executes a command. Returns true if there was nothing to do.
async fn send_command(
    request: &HttpRequest,
    stream: &StreamName,
    command: impl Into<ProcessCommand>,
) -> Result<bool, Problem> {
    let sender = CommandSender { app: &request.app, caller: &request.caller, channel: None };
    let reply = sender.send(stream, command)?.await?;
    Ok(matches!(reply, CommandReply::Already))
}

/// The stream for one more command, after checking that it exists, and that the caller has the right to command it and
/// is within the rate limit.
fn check_command(request: &HttpRequest, name: &str) -> Result<StreamName, Problem> {
    let stream = request.stream(name)?.log.name().clone();
    let rate = request.connection.limits.control_rate;
    let taken = request.app.rate_limiters.take(request.caller.credential(), rate, Instant::now());
    taken.map_err(|wait| Problem::too_many(rate_limit_text(rate, wait), wait))?;
    Ok(stream)
}

/// `POST /streams/NAME/input`: types the body, and with `eof=true` ends the input after it.
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
    let stream = check_command(ask, name)?;
    if bytes > 0 {
        send_command(ask, &stream, RunCommand::Input(body)).await?;
    }
    if eof {
        send_command(ask, &stream, RunCommand::EndOfInput).await?;
    }
    Ok(json(&json!({ "bytes": bytes })))
}

/// `POST /streams/NAME/signal?signal=TERM`.
pub(super) async fn signal(name: &str, ask: &HttpRequest) -> Result<Response, Problem> {
    ask.expect_no_body()?;
    let signal = ask.only_parameter("signal")?.ok_or_else(|| Problem::bad("no signal is given; use ?signal=TERM"))?;
    let signal: SignalName = signal.parse().map_err(|error| Problem::bad(format!("signal={signal}: {error}")))?;
    respond_to_command(ask, name, RunCommand::Signal(signal.number())).await
}

/// `POST /streams/NAME/start`, `/stop` and `/restart`.
pub(super) async fn lifecycle(name: &str, ask: &HttpRequest, command: LifecycleCommand) -> Result<Response, Problem> {
    ask.expect_no_body()?;
    ask.only_parameter("")?;
    respond_to_command(ask, name, command).await
}

async fn respond_to_command(
    ask: &HttpRequest,
    name: &str,
    command: impl Into<ProcessCommand>,
) -> Result<Response, Problem> {
    let already = send_command(ask, &check_command(ask, name)?, command).await?;
    Ok(json(&json!({ "already": already })))
}
