//! The commands that talk to a daemon, such as `rtlogd ls`, `follow` and `send`, as clients of its HTTP interface. This
//! module depends on the format of the responses only, not on the daemon's code.
//!
//! The files, in reading order: this file has the commands, of which `stream_list` is `rtlogd ls`, and `run_list` is
//! `rtlogd runs`: each prints a `table`. `connect` finds the
//! daemon and sends a request to it, over `tls` if its address demands that, and `stream_url` finds both the daemon and the
//! stream in a URL. `follow` is `rtlogd follow`, with its `follow_options` and the `stream_ends` that decide its exit code.
//! It reads a stream with `sse_decoder`; its lines go through `line_printer`, for which `ci_marker` finds the lines that are
//! meant for build services, and `live_events` has the events that are shown until the next one. `proxy_check` is
//! `rtlogd doctor --url`, with the fixes of `proxy_fix`. `terminal` prints everything that rtlogd prints.

mod ci_marker;
mod connect;
mod reconnect;
mod run_list;
mod sse_decoder;
mod stream_list;
mod stream_url;
mod table;
mod follow;
mod follow_options;
mod stream_ends;
mod line_printer;
mod live_events;
mod proxy_check;
mod proxy_fix;
mod tls;
pub(crate) mod terminal;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio::runtime::Builder;

use crate::config::closest_word;

use connect::OutgoingBody;
pub(crate) use connect::{RemoteDaemon, URL_VARIABLE};
pub(crate) use follow_options::FollowOptions;
pub(crate) use proxy_check::{PathFinding, check_path};
use stream_url::{BadStreamUrl, StreamUrl};

/// Maximum size of a response that is read completely, in bytes: the list of about ten thousand streams.
const MAX_RESPONSE_SIZE: usize = 16 << 20;

/// The reasons why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("no rtlogd answers at {0} (is it running? use --url or {variable} to name another address)", variable = URL_VARIABLE)]
    Unreachable(String, #[source] io::Error),
    #[error(
        "no rtlogd answers at http://{address}, and this user may not open {socket} (use sudo, join the group of the \
        socket, or name another address with --url)"
    )]
    SocketDenied { socket: &'static str, address: &'static str },
    #[error("the certificate of {server} is not trusted: {why}")]
    Untrusted { server: String, why: String },
    #[error(transparent)]
    Trust(#[from] tls::TrustError),
    #[error("{0} does not use TLS; begin its address with http:// instead of https://")]
    PlainServer(String),
    #[error("{0} does not answer in HTTP; if it uses TLS, begin its address with https://")]
    NotHttp(String),
    #[error("{detail}; the address of this daemon is {address}")]
    OtherBasePath { detail: String, address: String },
    #[error(transparent)]
    StreamUrl(#[from] BadStreamUrl),
    #[error("{0} and {1} are different daemons; one command can talk to only one of them")]
    SeveralDaemons(String, String),
    #[error("the parameter {0:?} of the URL has no meaning here (use the options of the command instead)")]
    UrlParameter(String),
    #[error("cannot read {0}")]
    Input(String, #[source] io::Error),
    #[error("the connection to rtlogd was lost")]
    Connection(#[source] hyper::Error),
    #[error("{detail}")]
    Refused {
        status: StatusCode,
        detail: String,
        /// The prefix of all paths of the daemon, if the path of the request lacks it.
        base_path: Option<String>,
        /// The name in the request, if no stream has it.
        unknown_stream: Option<String>,
    },
    #[error("no stream is named {name:?}{} (`{list}` lists the streams)", .meant.as_ref().map_or_else(String::new, |meant| format!("; did you mean {meant:?}?")))]
    UnknownStream {
        name: String,
        /// A similar name that a stream has.
        meant: Option<String>,
        /// The command that lists the streams of the same daemon.
        list: String,
    },
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
    /// Lists the newest runs of a stream, at most `limit`.
    Runs {
        name: String,
        limit: u64,
    },
    Follow(FollowOptions),
    /// Types the text, then ends the input.
    Send {
        name: String,
        text: String,
        end_input: bool,
    },
    /// Appends a file, or the standard input, to a push stream.
    Push {
        name: String,
        file: Option<PathBuf>,
        origin: Option<String>,
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
///
/// A stream that is named by a URL is one of the daemon there, whatever `server` is; only its token and certificates are
/// used.
pub(crate) fn run(server: &RemoteDaemon, mut task: ClientCommand) -> Result<ExitCode, ClientError> {
    let of_urls = task.replace_urls()?.map(|daemon| server.clone().at(daemon));
    let server = of_urls.as_ref().unwrap_or(server);
    let list = if of_urls.is_none() && server.is_default() {
        "rtlogd ls".to_owned()
    } else {
        format!("rtlogd ls --url {server}")
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    let done = runtime.block_on(async {
        let done = execute(server, task).await;
        match done {
            Err(ClientError::Refused { unknown_stream: Some(name), .. }) => {
                let meant = similar_name(server, &name).await;
                Err(ClientError::UnknownStream { name, meant, list })
            }
            Err(refused @ ClientError::Refused { .. }) => Err(server.explain_base_path(refused).await),
            done => done,
        }
    });
    // A read of the standard input that still waits must not keep the program from ending.
    runtime.shutdown_background();
    done
}

impl ClientCommand {
    /// The streams that the command is for.
    fn names_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::List => Vec::new(),
            Self::Follow(options) => options.names.iter_mut().collect(),
            Self::Runs { name, .. }
            | Self::Send { name, .. }
            | Self::Push { name, .. }
            | Self::Start(name)
            | Self::Stop(name)
            | Self::Restart(name)
            | Self::Signal { name, .. } => vec![name],
        }
    }

    /// Puts names in the place of URLs, and options in the place of their parameters. Returns the daemon of the URLs, if
    /// there are any.
    fn replace_urls(&mut self) -> Result<Option<RemoteDaemon>, ClientError> {
        let (mut daemon, mut parameters) = (None, Vec::new());
        for name in self.names_mut() {
            let Some(url) = StreamUrl::parse(name)? else { continue };
            *name = url.name;
            parameters.extend(url.parameters);
            match daemon.replace(url.daemon.clone()) {
                Some(other) if other != url.daemon => {
                    return Err(ClientError::SeveralDaemons(other.to_string(), url.daemon.to_string()));
                }
                _ => {}
            }
        }
        for (name, value) in parameters {
            let is_taken = match self {
                // The parameters of one URL would apply to all streams.
                Self::Follow(options) => options.names.len() == 1 && options.take_parameter(&name, &value),
                Self::List
                | Self::Runs { .. }
                | Self::Send { .. }
                | Self::Push { .. }
                | Self::Start(_)
                | Self::Stop(_)
                | Self::Restart(_)
                | Self::Signal { .. } => false,
            };
            if !is_taken {
                return Err(ClientError::UrlParameter(name));
            }
        }
        Ok(daemon)
    }
}

async fn execute(server: &RemoteDaemon, task: ClientCommand) -> Result<ExitCode, ClientError> {
    let post = async |name: &str, what: &str, body: String| {
        let path = format!("/streams/{}/{what}", connect::percent_encode(name));
        let answer = server.send_request(Method::POST, &path, &[], Bytes::from(body)).await?;
        answer.read_all(MAX_RESPONSE_SIZE).await.map(|_| ExitCode::SUCCESS)
    };
    match task {
        ClientCommand::List => stream_list::list(server).await,
        ClientCommand::Runs { name, limit } => run_list::list(server, &name, limit).await,
        ClientCommand::Follow(wanted) => follow::follow(server, wanted).await,
        ClientCommand::Send { name, text, end_input } => {
            let end = if end_input { "input?eof=true" } else { "input" };
            match post(&name, end, text.clone()).await {
                // The text of a push stream is a line of it.
                Err(ClientError::Refused { .. }) if !end_input && accepts_lines(server, &name).await => {
                    push(server, &name, None, Bytes::from(text).into()).await
                }
                done => done,
            }
        }
        ClientCommand::Push { name, file, origin } => push_file(server, &name, file, origin).await,
        ClientCommand::Start(name) => post(&name, "start", String::new()).await,
        ClientCommand::Stop(name) => post(&name, "stop", String::new()).await,
        ClientCommand::Restart(name) => post(&name, "restart", String::new()).await,
        ClientCommand::Signal { name, signal } => {
            post(&name, &format!("signal?signal={}", connect::percent_encode(&signal)), String::new()).await
        }
    }
}

/// Appends the lines of a file, or of the standard input, to a push stream.
async fn push_file(
    server: &RemoteDaemon,
    name: &str,
    file: Option<PathBuf>,
    origin: Option<String>,
) -> Result<ExitCode, ClientError> {
    let file = file.filter(|path| path.as_os_str() != "-");
    let source = file.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let body: Box<dyn AsyncRead + Send + Sync + Unpin> = match &file {
        None => Box::new(tokio::io::stdin()),
        Some(path) => {
            let opened = tokio::fs::File::open(path).await;
            Box::new(opened.map_err(|error| ClientError::Input(source.clone(), error))?)
        }
    };
    let pushed = push(server, name, origin, OutgoingBody::Reader(body)).await;
    // A file that can be opened may still not be readable, such as a directory.
    pushed.map_err(|error| match error {
        ClientError::Connection(error) => match connect::body_error(&error) {
            Some(cause) => ClientError::Input(source, cause),
            None => ClientError::Connection(error),
        },
        error => error,
    })
}

/// Appends lines to a push stream, as the body is read.
async fn push(
    server: &RemoteDaemon,
    name: &str,
    origin: Option<String>,
    body: OutgoingBody,
) -> Result<ExitCode, ClientError> {
    let origin = origin.map_or_else(String::new, |origin| format!("?origin={}", connect::percent_encode(&origin)));
    let path = format!("/streams/{}{origin}", connect::percent_encode(name));
    let answer = server.send_request(Method::POST, &path, &[], body).await?;
    answer.read_all(MAX_RESPONSE_SIZE).await.map(|_| ExitCode::SUCCESS)
}

/// Returns whether the stream is known to be filled by pushed lines.
async fn accepts_lines(server: &RemoteDaemon, name: &str) -> bool {
    let path = format!("/streams/{}/state", connect::percent_encode(name));
    let Ok(answer) = server.send_request(Method::GET, &path, &[], Bytes::new()).await else { return false };
    let Ok(body) = answer.read_all(MAX_RESPONSE_SIZE).await else { return false };
    parse::<RemoteStream>(&body).is_ok_and(|stream| stream.kind == "push")
}

/// The stream that was probably meant by a name that none has.
async fn similar_name(server: &RemoteDaemon, unknown: &str) -> Option<String> {
    let streams = streams(server).await.ok()?;
    let known: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    closest_word(unknown, &known).map(str::to_owned)
}

/// A stream, as the list has it.
#[derive(Debug, Deserialize)]
struct RemoteStream {
    name: String,
    kind: String,
    #[serde(default)]
    description: String,
    source: Option<RemoteSource>,
    progress: Option<RemoteProgress>,
    /// The last run of a process.
    last_run: Option<RemoteRun>,
    /// The id of the last event.
    last: Option<String>,
    rate: f64,
    readers: usize,
}

impl RemoteStream {
    /// Returns whether its process runs.
    fn is_running(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.state == "running")
    }
}

/// The state of a source, as far as the client needs it.
#[derive(Debug, Deserialize)]
struct RemoteSource {
    state: String,
    run: Option<u64>,
    last: Option<RemoteRunEnd>,
    /// Why the source is in this state: one of these, or none.
    error: Option<String>,
    reason: Option<String>,
    note: Option<String>,
}

/// The progress of a source, as far as the list shows it.
#[derive(Debug, Deserialize)]
struct RemoteProgress {
    state: String,
    percent: Option<f64>,
}

/// The times of a run.
#[derive(Debug, Deserialize)]
struct RemoteRun {
    started: String,
    /// `None` while the run lasts.
    ended: Option<String>,
    /// The duration in seconds, once it is known.
    duration: Option<f64>,
}

/// The end of a run.
#[derive(Debug, Clone, Deserialize)]
struct RemoteRunEnd {
    run: u64,
    code: Option<i32>,
    signal: Option<String>,
    cause: String,
    /// The duration in seconds, if it is known.
    duration: Option<f64>,
}

impl RemoteSource {
    /// Returns whether lines can come in this state.
    fn is_working(&self) -> bool {
        matches!(self.state.as_str(), "following" | "reading" | "receiving" | "running" | "polling")
    }

    /// The reason for the state, if there is one: why the source is not read, or how the last run ended.
    fn explanation(&self) -> Option<String> {
        let told = self.error.clone().or_else(|| self.reason.clone()).or_else(|| self.note.clone());
        told.or_else(|| self.last.as_ref().filter(|_| self.state != "running")?.status())
    }
}

impl RemoteRunEnd {
    /// How the run ended, in words; `None` if rtlogd does not know it.
    fn status(&self) -> Option<String> {
        let signal = || self.signal.as_ref().map(|signal| format!("killed by signal {signal}"));
        self.code.map(|code| format!("exited with code {code}")).or_else(signal)
    }
}

/// The streams that the caller may read.
async fn streams(server: &RemoteDaemon) -> Result<Vec<RemoteStream>, ClientError> {
    #[derive(Deserialize)]
    struct StreamListResponse {
        streams: Vec<RemoteStream>,
    }
    let answer = server.send_request(Method::GET, "/streams", &[], Bytes::new()).await?;
    parse::<StreamListResponse>(&answer.read_all(MAX_RESPONSE_SIZE).await?).map(|list| list.streams)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|error| ClientError::UnexpectedResponse(error.to_string()))
}

/// The error for a refused request: its problem details (RFC 9457), or its status if there are none.
fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    #[derive(Deserialize)]
    struct ProblemDetail {
        detail: String,
        base_path: Option<String>,
        unknown_stream: Option<String>,
    }
    if let Ok(ProblemDetail { detail, base_path, unknown_stream }) = serde_json::from_slice(body) {
        ClientError::Refused { status, detail, base_path, unknown_stream }
    } else {
        let detail = format!("not rtlogd, but another server, such as a proxy in front of it, answered: {status}");
        ClientError::Refused { status, detail, base_path: None, unknown_stream: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(names: &[&str]) -> ClientCommand {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ClientCommand::Follow(FollowOptions { names, tail: Some("7".to_owned()), ..FollowOptions::default() })
    }

    #[test]
    fn urls_become_names_of_one_daemon_and_options() {
        let url = "http://ci/streams/build";
        let named = |mut task: ClientCommand| task.replace_urls().map(|daemon| daemon.map(|daemon| daemon.to_string()));
        let ci = || Some("http://ci:80".to_owned());
        for (task, daemon) in [
            (follow(&["build"]), None),
            (follow(&[url]), ci()),
            (follow(&[url, "http://ci:80/streams/app", "web"]), ci()),
            (ClientCommand::Stop(url.to_owned()), ci()),
            (ClientCommand::Signal { name: url.to_owned(), signal: "HUP".to_owned() }, ci()),
            (ClientCommand::List, None),
        ] {
            assert_eq!(named(task).unwrap(), daemon);
        }
        for (task, why) in [
            (follow(&[url, "https://ci/streams/app"]), "http://ci:80 and https://ci:443 are different daemons"),
            (follow(&["http://ci/streams/a?format=text"]), "the parameter \"format\" of the URL"),
            (follow(&["http://ci/streams/a?tail=1", "b"]), "the parameter \"tail\" of the URL"),
            (ClientCommand::Start("http://ci/streams/a?tail=1".to_owned()), "the parameter \"tail\" of the URL"),
            (follow(&["http://ci/"]), "not the URL of a stream"),
        ] {
            let error = named(task).unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
        let mut task = follow(&["http://ci/streams/a?grep=x&grep=y&since=5m&tail=1"]);
        task.replace_urls().unwrap();
        let ClientCommand::Follow(options) = task else { panic!() };
        // An option of the command line is more deliberate than the URL.
        let expected = (vec!["a".to_owned()], Some("7".to_owned()), Some("5m".to_owned()));
        assert_eq!((options.names, options.tail, options.since), expected);
        assert_eq!(options.grep, ["x", "y"]);
    }
}
