//! `rtlogd ls`, `follow`, `send` and their like: the other end of our own HTTP. Knows what the daemon says, not how it is made.

mod connect;
mod decode;
mod follow;
mod tls;

use std::io;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::runtime::Builder;

use crate::event::one_line;
use crate::terminal::{self, Text};

pub(crate) use connect::Server;
pub(crate) use follow::Wanted;

/// Longest answer that is read whole, in bytes: the list of some ten thousand streams.
const LONGEST_ANSWER: usize = 16 << 20;

/// Why the daemon could not be asked, or what it said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no rtlogd answers at {0} (is it running? --url or RTLOGD_URL names another)")]
    Missing(String, #[source] io::Error),
    #[error("the connection to rtlogd broke")]
    Broken(#[source] hyper::Error),
    #[error("{0}")]
    Refused(String),
    #[error("rtlogd's answer cannot be understood: {0}")]
    Odd(String),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// What is asked of the daemon.
#[derive(Debug)]
pub(crate) enum Task {
    List,
    Follow(Wanted),
    /// Types it; then ends the input.
    Send {
        name: String,
        text: String,
        end: bool,
    },
    Start(String),
    Stop(String),
    Restart(String),
    Signal {
        name: String,
        signal: String,
    },
}

/// Does it, and gives back the code to exit with.
pub(crate) fn run(server: &Server, task: Task) -> Result<ExitCode, ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    runtime.block_on(async {
        let post = async |path: String, body: String| {
            let answer = server.ask(Method::POST, &path, &[], Bytes::from(body)).await?;
            answer.whole(LONGEST_ANSWER).await.map(|_| ExitCode::SUCCESS)
        };
        match task {
            Task::List => list(server).await,
            Task::Follow(wanted) => follow::follow(server, wanted).await,
            Task::Send { name, text, end } => {
                let end = if end { "?eof=true" } else { "" };
                post(format!("/streams/{}/input{end}", connect::escape(&name)), text).await
            }
            Task::Start(name) => post(format!("/streams/{}/start", connect::escape(&name)), String::new()).await,
            Task::Stop(name) => post(format!("/streams/{}/stop", connect::escape(&name)), String::new()).await,
            Task::Restart(name) => post(format!("/streams/{}/restart", connect::escape(&name)), String::new()).await,
            Task::Signal { name, signal } => {
                let (name, signal) = (connect::escape(&name), connect::escape(&signal));
                post(format!("/streams/{name}/signal?signal={signal}"), String::new()).await
            }
        }
    })
}

/// A stream as the list has it.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    kind: String,
    #[serde(default)]
    description: String,
    source: Option<Source>,
    rate: f64,
    readers: usize,
}

/// How a source is, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Source {
    state: String,
    run: Option<u64>,
    last: Option<Ended>,
}

/// How a run ended.
#[derive(Debug, Clone, Deserialize)]
struct Ended {
    run: u64,
    code: Option<i32>,
    signal: Option<String>,
    cause: String,
}

async fn list(server: &Server) -> Result<ExitCode, ClientError> {
    #[derive(Deserialize)]
    struct List {
        streams: Vec<Listed>,
    }
    let answer = server.ask(Method::GET, "/streams", &[], Bytes::new()).await?;
    let List { streams } = parse(&answer.whole(LONGEST_ANSWER).await?)?;
    let longest = streams.iter().map(|stream| stream.name.len()).max().unwrap_or(0).max(4);
    let mut text =
        format!("{:longest$}  {:7}  {:12}  {:>8}  {:>7}  DESCRIPTION\n", "NAME", "KIND", "STATE", "LINES/S", "READERS");
    for stream in streams {
        let state = stream.source.map_or("-".to_owned(), |source| source.state);
        // Each by itself, so that none begins a line.
        let [name, kind, state, description] =
            [stream.name, stream.kind, state, stream.description].map(|field| one_line(&field));
        let line = format!(
            "{name:longest$}  {kind:7}  {state:12}  {:>8.1}  {:>7}  {description}",
            stream.rate, stream.readers
        );
        text.extend([line.trim_end(), "\n"]);
    }
    terminal::print(&Text::lines(&text)).map_err(ClientError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|error| ClientError::Odd(error.to_string()))
}

/// What a refusal says (RFC 9457), or its status if it says nothing.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Refused(problem.detail),
        Err(_) => ClientError::Refused(format!("rtlogd refused: {status}")),
    }
}
