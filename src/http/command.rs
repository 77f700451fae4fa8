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
    format!("commands came faster than {rate}; the next is accepted in {} ms", wait.as_millis().max(1))
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

    /// Attaches to the terminal of a process. What everybody may read are the lines of a public stream, not its terminal.
    pub(super) fn attach(self, stream: &StreamName) -> Result<CommandFuture<Attachment>, CallError> {
        self.check(stream, Right::Read)?;
        if let Some(entry) = self.app.catalog.get(stream) {
            self.app.check_beyond_public(self.caller, &entry)?;
        }
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

    fn log(self, stream: &StreamName, caller: &Caller, refused: Option<&CommandError>) {
        match (self, refused) {
            (Self::Nothing, _) => {}
            (Self::Input(bytes), None) => info!(stream:% = stream, caller:% = caller, bytes; "input"),
            (Self::Command(command), None) => info!(stream:% = stream, caller:% = caller, command; "command"),
            (Self::Input(bytes), Some(error)) => {
                info!(stream:% = stream, caller:% = caller, bytes, error:% = error; "input refused");
            }
            (Self::Command(command), Some(error)) => {
                info!(stream:% = stream, caller:% = caller, command, error:% = error; "command refused");
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
pub(super) async fn input(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let eof = match request.only_parameter("eof")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Problem::bad(format!("eof={other} is not known; use true or false"))),
    };
    let body: Bytes = request.body.clone();
    let bytes = body.len();
    if bytes == 0 && !eof {
        return Err(Problem::bad("nothing to type: send it as the body, or eof=true to end the input"));
    }
    let stream = check_command(request, name)?;
    if bytes > 0 {
        send_command(request, &stream, RunCommand::Input(body)).await?;
    }
    if eof {
        send_command(request, &stream, RunCommand::EndOfInput).await?;
    }
    Ok(json(&json!({ "bytes": bytes })))
}

/// `POST /streams/NAME/signal?signal=TERM`.
pub(super) async fn signal(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    request.expect_no_body()?;
    let signal =
        request.only_parameter("signal")?.ok_or_else(|| Problem::bad("no signal is given; use ?signal=TERM"))?;
    let signal: SignalName = signal.parse().map_err(|error| Problem::bad(format!("signal={signal}: {error}")))?;
    respond_to_command(request, name, RunCommand::Signal(signal.number())).await
}

/// `POST /streams/NAME/start`, `/stop` and `/restart`.
pub(super) async fn lifecycle(
    name: &str,
    request: &HttpRequest,
    command: LifecycleCommand,
) -> Result<Response, Problem> {
    request.expect_no_body()?;
    request.only_parameter("")?;
    respond_to_command(request, name, command).await
}

async fn respond_to_command(
    request: &HttpRequest,
    name: &str,
    command: impl Into<ProcessCommand>,
) -> Result<Response, Problem> {
    let already = send_command(request, &check_command(request, name)?, command).await?;
    Ok(json(&json!({ "already": already })))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::testing::{OWNER, TestServer, USER, read};

    fn post(server: &TestServer, right: Right, query: &str, body: &'static str) -> HttpRequest {
        HttpRequest { body: Bytes::from_static(body.as_bytes()), ..server.request(OWNER, Method::POST, right, query) }
    }

    #[test]
    fn each_command_needs_its_right() {
        let size = RunCommand::Resize { rows: 1, columns: 1 };
        let table: [(Right, Vec<ProcessCommand>); 2] = [
            (Right::Input, vec![RunCommand::Input(Bytes::new()).into(), RunCommand::EndOfInput.into(), size.into()]),
            (
                Right::Admin,
                vec![
                    RunCommand::Signal(1).into(),
                    RunCommand::Pause.into(),
                    RunCommand::Resume.into(),
                    LifecycleCommand::Start.into(),
                    LifecycleCommand::Stop.into(),
                    LifecycleCommand::Restart.into(),
                ],
            ),
        ];
        for (right, commands) in table {
            for command in commands {
                assert_eq!(required_right(&command), right, "{command:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn input_is_typed_and_then_ended() {
        let server = TestServer::new(&[("job", "process")]);
        let mut received = server.process("job", || Ok(CommandReply::Done));
        let hello = || RunCommand::Input(Bytes::from_static(b"hello"));
        let table = [
            ("", "hello", 200, "{\"bytes\":5}", vec![hello()]),
            ("eof=false", "hello", 200, "{\"bytes\":5}", vec![hello()]),
            ("eof=true", "hello", 200, "{\"bytes\":5}", vec![hello(), RunCommand::EndOfInput]),
            ("eof=true", "", 200, "{\"bytes\":0}", vec![RunCommand::EndOfInput]),
            ("", "", 400, "nothing to type", vec![]),
            ("eof=false", "", 400, "nothing to type", vec![]),
            ("eof=1", "hello", 400, "eof=1 is not known", vec![]),
            ("end=true", "hello", 400, "this takes one parameter, eof", vec![]),
        ];
        for (query, body, status, expected, commands) in table {
            let answer = read(input("job", &post(&server, Right::Input, query, body)).await).await;
            assert!(answer.0 == status && answer.1.starts_with(expected), "{query} {body}: {answer:?}");
            for command in commands {
                assert_eq!(received.try_recv(), Ok(command.into()), "{query} {body}");
            }
            assert!(received.try_recv().is_err(), "{query} {body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_is_named_and_a_lifecycle_command_says_whether_there_was_something_to_do() {
        let server = TestServer::new(&[("job", "process")]);
        let mut received = server.process("job", || Ok(CommandReply::Already));
        let table = [
            ("signal=TERM", "", 200, "{\"already\":false}", Some(RunCommand::Signal(15))),
            ("signal=SIGHUP", "", 200, "{\"already\":false}", Some(RunCommand::Signal(1))),
            ("signal=term", "", 400, "signal=term: not a signal that can be sent", None),
            ("", "", 400, "no signal is given", None),
            ("signal=TERM", "body", 400, "this request takes no body", None),
        ];
        for (query, body, status, expected, command) in table {
            let answer = read(signal("job", &post(&server, Right::Admin, query, body)).await).await;
            assert!(answer.0 == status && answer.1.starts_with(expected), "{query} {body}: {answer:?}");
            assert_eq!(received.try_recv().ok(), command.map(ProcessCommand::from), "{query} {body}");
        }
        for command in [LifecycleCommand::Start, LifecycleCommand::Stop, LifecycleCommand::Restart] {
            let request = post(&server, Right::Admin, "", "");
            let answer = read(lifecycle("job", &request, command).await).await;
            assert_eq!(answer, (200, "{\"already\":true}\n".to_owned()));
            assert_eq!(received.try_recv(), Ok(command.into()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_cannot_be_carried_out_is_refused_with_the_reason() {
        let table = [
            (CommandError::NotRunning, 409),
            (CommandError::NoSignal(99), 400),
            (CommandError::TooLong(1 << 20), 413),
            (CommandError::LineTooLong(4095), 413),
            (CommandError::TooManyCommands, 503),
            (CommandError::Failed("no such program".into()), 500),
            (CommandError::Gone, 503),
        ];
        for (error, status) in table {
            let server = TestServer::new(&[("job", "process")]);
            let reported = error.clone();
            let _received = server.process("job", move || Err(reported.clone()));
            let request = post(&server, Right::Admin, "", "");
            let answer = read(lifecycle("job", &request, LifecycleCommand::Start).await).await;
            assert_eq!(answer, (status, error.to_string()));
        }
        let mut server = TestServer::new(&[("job", "process"), ("log", "file")]);
        let _received = server.process("job", || Ok(CommandReply::Done));
        let start = async |server: &TestServer, name: &str, peer| {
            let request = server.request(peer, Method::POST, Right::Admin, "");
            read(lifecycle(name, &request, LifecycleCommand::Start).await).await
        };
        assert_eq!(start(&server, "log", OWNER).await.0, 409, "it is not a process");
        assert_eq!(start(&server, "nowhere", OWNER).await.0, 404);
        let (status, detail) = start(&server, "job", USER).await;
        assert!(
            status == 403 && detail.starts_with("starting, stopping or signalling a process needs"),
            "{status} {detail}"
        );
        // Another channel holds the lease, which input needs and other commands do not.
        let name: StreamName = "job".parse().unwrap();
        server.app.leases.take(&name, 1, USER, Duration::from_mins(1)).unwrap();
        let (status, detail) = read(input("job", &post(&server, Right::Input, "", "x")).await).await;
        assert!(status == 409 && detail.contains("holds the lease for 60 s more"), "{status} {detail}");
        assert_eq!(start(&server, "job", OWNER).await.0, 200);
        server.limits.control_rate = Rate { times: 1, per: Duration::from_mins(1) };
        let (status, detail) = start(&server, "job", OWNER).await;
        assert!(status == 429 && detail.contains("commands came faster than 1 per 1m"), "{status} {detail}");
        server.limits.control_rate = Rate { times: 100, per: Duration::from_secs(1) };
        server.app.catalog.hold(&name);
        assert_eq!(start(&server, "job", OWNER).await.0, 503, "its configuration changes");
    }
}
