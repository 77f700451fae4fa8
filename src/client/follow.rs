//! `rtlogd follow`: prints streams as they grow, whatever happens to the connection, and ends as the process does.

use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::source;
use crate::terminal::{self, Text};
use crate::wire::sse::SATISFIED;

use super::connect::{Server, escape};
use super::decode::{Decoder, Message};
use super::{ClientError, Ended, LONGEST_ANSWER, Listed, parse};

/// The daemon says something at least every 15 seconds; after three of them in silence the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(45);

/// Wait before connecting again, unless the daemon named another.
const RETRY: Duration = Duration::from_secs(1);

/// Longest time in which a daemon that was there may be away: to be upgraded takes less.
const AWAY: Duration = Duration::from_mins(1);

/// What is said where nothing more can come.
const GONE: &str = "the stream is gone";

/// Exit code where nobody knows how the process would have ended (`EX_TEMPFAIL` of sysexits.h).
const DAEMON_GONE: u8 = 75;

/// What to follow, and what of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) names: Vec<String>,
    pub(crate) tail: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) grep: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) run: Option<String>,
    pub(crate) json: bool,
}

/// Follows all of them until each is over; the code is that of the first, in the order given, that did not succeed.
pub(super) async fn follow(server: &Server, wanted: Wanted) -> Result<ExitCode, ClientError> {
    let several = wanted.names.len() > 1;
    let longest = wanted.names.iter().map(String::len).max().unwrap_or(0);
    let terminal = terminal::is_terminal();
    let followers = (1u8..).zip(&wanted.names).map(|(number, name)| {
        let prefix = several.then(|| Text::prefix(name, longest, terminal.then_some(number)));
        let lines = terminal::Line::new(terminal);
        let query = wanted.query();
        Follower { server, name, query, json: wanted.json, prefix, lines, begun: false, over: Over::Never }.run()
    });
    let codes = try_join_all(followers).await?;
    Ok(ExitCode::from(codes.into_iter().find(|code| *code != 0).unwrap_or(0)))
}

impl Wanted {
    fn query(&self) -> String {
        let mut query = "format=sse&data=json".to_owned();
        let one = |name, value: &Option<String>| value.as_ref().map(|value| (name, value.clone()));
        let all = [one("tail", &self.tail), one("since", &self.since), one("run", &self.run)].into_iter().flatten();
        let all = all.chain(self.grep.iter().map(|regex| ("grep", regex.clone())));
        for (name, value) in all.chain(self.exclude.iter().map(|regex| ("exclude", regex.clone()))) {
            write!(query, "&{name}={}", escape(&value)).expect("a text takes all");
        }
        query
    }
}

/// With the end of which run it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Of none: it is no process.
    Never,
    /// Of this one, or of a later one.
    With(u64),
}

/// One stream.
struct Follower<'a> {
    server: &'a Server,
    name: &'a str,
    query: String,
    json: bool,
    /// Before each of its lines, if there are several streams.
    prefix: Option<Text>,
    /// What makes its lines safe to print.
    lines: terminal::Line,
    /// The last line printed goes on.
    begun: bool,
    over: Over,
}

/// What of an event is printed.
#[derive(Deserialize)]
struct Line {
    text: String,
    bytes: Option<String>,
    #[serde(default)]
    continued: bool,
}

/// Why a connection is done with.
enum Cut {
    /// It ended properly; the daemon said before that it stops.
    Stopping,
    Ended,
    /// Nothing more can come.
    Nothing,
    Broke(ClientError),
}

impl Follower<'_> {
    /// Gives back the code to exit with.
    async fn run(mut self) -> Result<u8, ClientError> {
        if let Some(ended) = self.look().await? {
            // It was over before we came: what there is, and how it ended.
            self.query += "&follow=false";
            let mut decoder = Decoder::default();
            self.over = Over::Never;
            loop {
                match self.connection(&mut decoder, &mut Instant::now()).await? {
                    ControlFlow::Continue(Cut::Broke(error)) => return Err(error),
                    ControlFlow::Continue(Cut::Ended) if !decoder.last_id.ends_with(SATISFIED) => {
                        // The connection had lived its time before all was told.
                        decoder.reconnect();
                        sleep(decoder.retry.map_or(RETRY, Duration::from_millis)).await;
                    }
                    // With a last id, all was told.
                    ControlFlow::Continue(Cut::Nothing) if decoder.last_id.is_empty() => return Ok(self.gone(GONE)),
                    ControlFlow::Continue(Cut::Ended | Cut::Stopping | Cut::Nothing) => return Ok(self.code(&ended)),
                    ControlFlow::Break(code) => return Ok(code),
                }
            }
        }
        let mut decoder = Decoder::default();
        let mut heard = Instant::now();
        loop {
            let cut = match self.connection(&mut decoder, &mut heard).await? {
                ControlFlow::Break(code) => return Ok(code),
                ControlFlow::Continue(cut) => cut,
            };
            match cut {
                Cut::Stopping if !self.is_served().await => return Ok(self.gone("the daemon was stopped")),
                Cut::Nothing => return Ok(self.gone(GONE)),
                // If it was only this stream, its configuration changed.
                Cut::Stopping | Cut::Ended => {}
                // What it does not allow now it will not allow later.
                Cut::Broke(error @ (ClientError::Refused(_) | ClientError::Odd(_))) => return Err(error),
                Cut::Broke(error) if heard.elapsed() > AWAY => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                    return Ok(self.gone(&format!("{error}{cause}")));
                }
                Cut::Broke(error) => log::info!(stream = self.name, error:% = error; "connecting again"),
            }
            decoder.reconnect();
            sleep(decoder.retry.map_or(RETRY, Duration::from_millis)).await;
        }
    }

    /// Looks how the stream is. Gives back how its last run ended, if nothing more comes by itself.
    async fn look(&mut self) -> Result<Option<Ended>, ClientError> {
        let path = format!("/streams/{}/state", escape(self.name));
        let answer = self.server.ask(Method::GET, &path, &[], Bytes::new());
        let late = |_| ClientError::Missing(self.server.to_string(), io::ErrorKind::TimedOut.into());
        let answer = timeout(SILENCE, answer).await.map_err(late)??;
        let stream: Listed = parse(&answer.whole(LONGEST_ANSWER).await?)?;
        if stream.kind != "process" {
            return Ok(None);
        }
        // One that said nothing yet has its first run before it.
        self.over = Over::With(0);
        let Some(source) = stream.source else { return Ok(None) };
        self.over = Over::With(source.run.or(source.last.as_ref().map(|last| last.run + 1)).unwrap_or(0));
        Ok(source.last.filter(|_| source.state == "stopped"))
    }

    /// One connection, from the place that was reached. Breaks with the code to exit with.
    async fn connection(
        &mut self,
        decoder: &mut Decoder,
        heard: &mut Instant,
    ) -> Result<ControlFlow<u8, Cut>, ClientError> {
        let path = format!("/streams/{}?{}", escape(self.name), self.query);
        let last = decoder.last_id.clone();
        let headers = [("last-event-id", last.as_str())];
        let headers = if last.is_empty() { &headers[..0] } else { &headers[..] };
        let late = || Cut::Broke(ClientError::Missing(self.server.to_string(), io::ErrorKind::TimedOut.into()));
        let mut answer = match timeout(SILENCE, self.server.ask(Method::GET, &path, headers, Bytes::new())).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Ok(ControlFlow::Continue(Cut::Broke(error))),
            Err(_) => return Ok(ControlFlow::Continue(late())),
        };
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(ControlFlow::Continue(Cut::Nothing));
        }
        let mut stopping = false;
        loop {
            *heard = Instant::now();
            let bytes = match timeout(SILENCE, answer.next()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Ok(ControlFlow::Continue(if stopping { Cut::Stopping } else { Cut::Ended })),
                Ok(Err(error)) => return Ok(ControlFlow::Continue(Cut::Broke(error))),
                Err(_) => return Ok(ControlFlow::Continue(late())),
            };
            let mut messages = Vec::new();
            decoder.push(&bytes, |message| messages.push(message)).map_err(ClientError::Odd)?;
            let mut out = Text::default();
            let mut code = None;
            for message in messages {
                if let Some(over) = self.message(&message, &mut stopping, &mut out)? {
                    code = Some(over);
                    break;
                }
            }
            terminal::print(&out).map_err(ClientError::Output)?;
            if let Some(code) = code {
                return Ok(ControlFlow::Break(self.finish(&code).await));
            }
        }
    }

    /// Prints one message. Gives back how the run ended, if it is over with it.
    fn message(
        &mut self,
        message: &Message,
        stopping: &mut bool,
        out: &mut Text,
    ) -> Result<Option<Ended>, ClientError> {
        if self.json && message.event != "open" && message.event != "progress" {
            self.json(message, out)?;
        }
        match message.event.as_str() {
            "" if !self.json => self.line(parse(message.data.as_bytes())?, out),
            "gap" | "loss" => {
                let fields: Value = parse(message.data.as_bytes())?;
                let missed = fields["missed"].as_u64().map_or("an unknown number of".to_owned(), |n| n.to_string());
                match fields["reason"].as_str() {
                    Some(reason) => self.say(&format!("{missed} lines were lost: {reason}")),
                    None => self.say(&format!("{missed} events were missed here: they are not kept any more")),
                }
            }
            "state" => {
                let fields: Value = parse(message.data.as_bytes())?;
                *stopping = fields["state"] == "stopping";
            }
            "end" => {
                let ended: Ended = parse(message.data.as_bytes())?;
                if matches!(self.over, Over::With(run) if ended.run >= run) {
                    return Ok(Some(ended));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    fn line(&mut self, line: Line, out: &mut Text) {
        if let Some(prefix) = self.prefix.as_ref().filter(|_| !self.begun) {
            out.push(prefix);
        }
        // Between the pieces of one stream's line may come lines of others.
        self.begun = line.continued && self.prefix.is_none();
        let bytes = line.bytes.and_then(|bytes| BASE64.decode(bytes).ok());
        out.push(&self.lines.piece(bytes.as_deref().unwrap_or(line.text.as_bytes()), self.begun));
        if !self.begun {
            out.push(&Text::newline());
        }
    }

    fn json(&self, message: &Message, out: &mut Text) -> Result<(), ClientError> {
        let terminal = terminal::is_terminal();
        if message.event == "gap" || self.prefix.is_some() {
            let mut fields: Value = parse(message.data.as_bytes())?;
            if message.event == "gap" {
                fields["kind"] = "gap".into();
            }
            fields["stream"] = self.name.into();
            out.push(&Text::json(fields.to_string().as_bytes(), terminal));
        } else {
            out.push(&Text::json(message.data.as_bytes(), terminal));
        }
        Ok(())
    }

    /// Whether the daemon goes on.
    async fn is_served(&self) -> bool {
        let asked = self.server.ask(Method::GET, "/health/ready", &[], Bytes::new());
        matches!(timeout(SILENCE, asked).await, Ok(Ok(answer)) if answer.status == StatusCode::OK)
    }

    async fn finish(&self, ended: &Ended) -> u8 {
        match ended.cause.as_str() {
            "daemon-stopped" if self.is_served().await => {
                self.gone("the process was stopped, since its configuration changed")
            }
            "daemon-stopped" => self.gone("the daemon was stopped, and the process with it"),
            "daemon-killed" => self.gone("the daemon was killed, and nobody knows how the process ended"),
            _ => self.code(ended),
        }
    }

    /// The status that a shell would give.
    fn code(&self, ended: &Ended) -> u8 {
        if let Some(code) = ended.code {
            return u8::try_from(code).unwrap_or(u8::MAX);
        }
        let Some(signal) = &ended.signal else { return DAEMON_GONE };
        self.say(&format!("the process was ended by the signal {signal}"));
        128u8.saturating_add(source::signal_number(signal).unwrap_or(0))
    }

    fn gone(&self, why: &str) -> u8 {
        self.say(why);
        DAEMON_GONE
    }

    /// Tells people something that is not in the stream.
    fn say(&self, what: &str) {
        terminal::tell(&Text::message(&format!("rtlogd: {}: {what}", self.name)));
    }
}
