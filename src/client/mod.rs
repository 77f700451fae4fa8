//! The commands that talk to a daemon, such as `rtlogd ls`, `follow` and `send`, as clients of its HTTP interface. This
//! module depends on the format of the responses only, not on the daemon's code.
//!
//! The files, in reading order: this file has the commands. `connect` finds the daemon and sends a request to it, over
//! `tls` if its address demands that. `follow` is `rtlogd follow`, which reads a stream with `sse_decoder`. `terminal`
//! prints everything that rtlogd prints.

mod connect;
mod sse_decoder;
mod follow;
mod tls;
pub(crate) mod terminal;

use std::io;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::runtime::Builder;

use crate::client::terminal::SafeText;
use crate::event::one_line;

pub(crate) use connect::RemoteDaemon;
pub(crate) use follow::FollowOptions;

/// Maximum size of a response that is read completely, in bytes: the list of about ten thousand streams.
const MAX_RESPONSE_SIZE: usize = 16 << 20;

/// The reasons why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no rtlogd answers at {0} (is it running? --url or RTLOGD_URL names another)")]
    Unreachable(String, #[source] io::Error),
    #[error("the connection to rtlogd broke")]
    Connection(#[source] hyper::Error),
    #[error("{0}")]
    Refused(String),
    #[error("rtlogd's answer cannot be understood: {0}")]
    UnexpectedResponse(String),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// A command that talks to the daemon.
#[derive(Debug)]
pub(crate) enum ClientCommand {
    List,
    Follow(FollowOptions),
    /// Types the text, then ends the input.
    Send {
        name: String,
        text: String,
        end_input: bool,
    },
    Start(String),
    Stop(String),
    Restart(String),
    Signal {
        name: String,
        signal: String,
    },
}

/// Executes the command, and returns the exit code.
pub(crate) fn run(server: &RemoteDaemon, task: ClientCommand) -> Result<ExitCode, ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    runtime.block_on(async {
        let post = async |path: String, body: String| {
            let answer = server.send_request(Method::POST, &path, &[], Bytes::from(body)).await?;
            answer.read_all(MAX_RESPONSE_SIZE).await.map(|_| ExitCode::SUCCESS)
        };
        match task {
            ClientCommand::List => list(server).await,
            ClientCommand::Follow(wanted) => follow::follow(server, wanted).await,
            ClientCommand::Send { name, text, end_input: end } => {
                let end = if end { "?eof=true" } else { "" };
                post(format!("/streams/{}/input{end}", connect::percent_encode(&name)), text).await
            }
            ClientCommand::Start(name) => {
                post(format!("/streams/{}/start", connect::percent_encode(&name)), String::new()).await
            }
            ClientCommand::Stop(name) => {
                post(format!("/streams/{}/stop", connect::percent_encode(&name)), String::new()).await
            }
            ClientCommand::Restart(name) => {
                post(format!("/streams/{}/restart", connect::percent_encode(&name)), String::new()).await
            }
            ClientCommand::Signal { name, signal } => {
                let (name, signal) = (connect::percent_encode(&name), connect::percent_encode(&signal));
                post(format!("/streams/{name}/signal?signal={signal}"), String::new()).await
            }
        }
    })
}

/// A stream, as the list has it.
#[derive(Debug, Deserialize)]
struct RemoteStream {
    name: String,
    kind: String,
    #[serde(default)]
    description: String,
    source: Option<RemoteSource>,
    rate: f64,
    readers: usize,
}

/// The state of a source, as far as the client needs it.
#[derive(Debug, Deserialize)]
struct RemoteSource {
    state: String,
    run: Option<u64>,
    last: Option<RemoteRunEnd>,
}

/// The end of a run.
#[derive(Debug, Clone, Deserialize)]
struct RemoteRunEnd {
    run: u64,
    code: Option<i32>,
    signal: Option<String>,
    cause: String,
}

async fn list(server: &RemoteDaemon) -> Result<ExitCode, ClientError> {
    #[derive(Deserialize)]
    struct StreamListResponse {
        streams: Vec<RemoteStream>,
    }
    let answer = server.send_request(Method::GET, "/streams", &[], Bytes::new()).await?;
    let StreamListResponse { streams } = parse(&answer.read_all(MAX_RESPONSE_SIZE).await?)?;
    let longest = streams.iter().map(|stream| stream.name.len()).max().unwrap_or(0).max(4);
    let mut text =
        format!("{:longest$}  {:7}  {:12}  {:>8}  {:>7}  DESCRIPTION\n", "NAME", "KIND", "STATE", "LINES/S", "READERS");
    for stream in streams {
        let state = stream.source.map_or("-".to_owned(), |source| source.state);
        // Each field is escaped separately, so that none of them can begin a line.
        let [name, kind, state, description] =
            [stream.name, stream.kind, state, stream.description].map(|field| one_line(&field));
        let line = format!(
            "{name:longest$}  {kind:7}  {state:12}  {:>8.1}  {:>7}  {description}",
            stream.rate, stream.readers
        );
        text.extend([line.trim_end(), "\n"]);
    }
    terminal::print(&SafeText::lines(&text)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|error| ClientError::UnexpectedResponse(error.to_string()))
}

/// The error for a refused request: its problem details (RFC 9457), or its status if there are none.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    #[derive(Deserialize)]
    struct ProblemDetail {
        detail: String,
    }
    match serde_json::from_slice::<ProblemDetail>(body) {
        Ok(problem) => ClientError::Refused(problem.detail),
        Err(_) => ClientError::Refused(format!("rtlogd refused: {status}")),
    }
}
