//! `rtlogd follow`: prints streams as they grow, reconnects when the connection breaks, and exits with the status of
//! the process.
//!
//! Following ends when no stream can have more lines unless somebody starts a process: each stream is a process that
//! has ended and is not started again, or is gone. Until then every stream is followed, even a process that has ended,
//! since somebody may start it again. A single process that has ended is therefore the end at once.

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
use tokio::select;
use tokio::time::{Instant, sleep, timeout};

use crate::event::{Position, SourceState};
use crate::wire::sse::COMPLETED_MARK;

use super::connect::{RemoteDaemon, percent_encode};
use super::follow_options::FollowOptions;
use super::line_printer::LinePrinter;
use super::live_events::{OpenEvent, ProgressEvent};
use super::reconnect;
use super::sse_decoder::{ParsedSseMessage, SseDecoder};
use super::stream_ends::StreamEnds;
use super::terminal::{self, Display, LineForm, Output, SafeText};
use super::{ClientError, MAX_RESPONSE_SIZE, RemoteRunEnd, RemoteSource, RemoteStream, parse};

/// The time without data after which a connection is considered dead. The daemon sends something at least every 15
/// seconds, so three of these are missing then.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);

/// Maximum time that a daemon which was reachable before may be unreachable; an upgrade takes less.
const MAX_DAEMON_ABSENCE: Duration = Duration::from_mins(1);

/// The message for a stream that can have no more lines.
const STREAM_GONE: &str = "the stream is gone";

/// The message for a run whose end is not known.
const END_UNKNOWN: &str = "it is not known how the process ended";

/// Exit code if the exit status of the process is unknown (`EX_TEMPFAIL` of sysexits.h).
const EXIT_DAEMON_GONE: u8 = 75;

/// Follows all streams until each has ended, or until nobody reads the output. The exit code is that of the first stream,
/// in the given order, that failed.
pub(super) async fn follow(server: &RemoteDaemon, wanted: FollowOptions) -> Result<ExitCode, ClientError> {
    let several = wanted.names.len() > 1;
    let output = Output::detect(wanted.colours);
    let width = terminal::prefix_width(&wanted.names, output);
    // JSON has neither colours nor live rows.
    let display = Display::new(Output { is_live: output.is_live && !wanted.json, ..output });
    let ends = StreamEnds::of(wanted.names.len());
    let followers = (1u8..).zip(wanted.names.iter().enumerate()).map(|(number, (index, name))| {
        let colour = Some(number).filter(|_| output.form == LineForm::Coloured);
        let prefix = several.then(|| SafeText::prefix(name, width, colour));
        let query = wanted.query();
        StreamFollower {
            server,
            name,
            query,
            json: wanted.json,
            lines: LinePrinter::new(output, prefix),
            display: &display,
            one_run: wanted.run.is_some(),
            selects_run: wanted.selects_run(),
            until: FollowUntil::Never,
            last_end: None,
            ends: &ends,
            index,
            known: None,
            state: String::new(),
        }
        .run()
    });
    select! {
        // What is already there is printed first.
        biased;
        followed = try_join_all(followers) => drop(followed?),
        () = ends.all.cancelled() => {}
        () = terminal::reader_gone() => return Ok(ExitCode::SUCCESS),
        stopped = display.handle_signals() => drop(stopped.map_err(ClientError::Runtime)?),
    }
    Ok(ExitCode::from(ends.exit_code()))
}

/// The run whose end also ends following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FollowUntil {
    /// No run: the source is not a process.
    Never,
    /// This run, or a later one.
    RunEnd(u64),
}

/// The follower of one stream.
struct StreamFollower<'a> {
    server: &'a RemoteDaemon,
    name: &'a str,
    query: String,
    json: bool,
    lines: LinePrinter,
    /// The display of all streams.
    display: &'a Display,
    /// A single run was asked for, whose end is the end of the stream.
    one_run: bool,
    /// The run that was asked for is not the current one, unless it happens to be; only its end counts.
    selects_run: bool,
    until: FollowUntil,
    /// The end of a run that counts, after which the process may be started again.
    last_end: Option<RemoteRunEnd>,
    /// The ends of all followed streams, of which this is the one at `index`.
    ends: &'a StreamEnds,
    index: usize,
    /// The last event that existed at the start. States up to there have passed, and are not printed.
    known: Option<Position>,
    /// The state that was printed last; empty at first.
    state: String,
}

/// The fields of an event that are printed.
#[derive(Deserialize)]
struct LineEvent {
    #[serde(default)]
    origin: String,
    text: String,
    bytes: Option<String>,
    #[serde(default)]
    continued: bool,
}

/// A change of the source's state.
#[derive(Deserialize)]
struct StateEvent {
    id: Option<String>,
    /// The daemon ends, and another one takes its place.
    #[serde(default)]
    restarting: bool,
    #[serde(flatten)]
    source: RemoteSource,
}

/// An event that decides whether the stream has ended.
enum StreamTurn {
    /// This run has ended, and the process is not started again.
    Ended(RemoteRunEnd),
    /// The process runs again.
    Continues,
}

/// The reason why a connection has ended.
enum Disconnect {
    /// The connection ended regularly, after the daemon had announced that it stops.
    Stopping,
    /// The same, and that another daemon takes its place.
    Restarting,
    Ended,
    /// The stream can have no more events.
    NothingLeft,
    Failed(ClientError),
}

impl StreamFollower<'_> {
    /// Follows the stream until it can have no more lines at all. The ends of its runs are recorded meanwhile.
    async fn run(mut self) -> Result<(), ClientError> {
        let mut decoder = SseDecoder::default();
        if self.selects_run {
            // Whatever the process does now, the run is printed from its start to its end.
            self.until = FollowUntil::RunEnd(0);
        } else if let Some(ended) = self.check_state().await? {
            // The last run had ended before the start, so the existing lines and its exit status are printed.
            if let ControlFlow::Break(code) = self.existing(&mut decoder, &ended).await? {
                self.ends.set(self.index, Some(code));
                return Ok(());
            }
        }
        let code = self.live(&mut decoder).await?;
        self.ends.set(self.index, Some(code));
        Ok(())
    }

    /// Prints the existing lines of a process whose last run has ended. Breaks with the exit code if the stream is gone.
    async fn existing(
        &mut self,
        decoder: &mut SseDecoder,
        ended: &RemoteRunEnd,
    ) -> Result<ControlFlow<u8>, ClientError> {
        let query = self.query.clone();
        self.query += "&follow=false";
        loop {
            match self.connection(decoder, &mut Instant::now()).await? {
                ControlFlow::Continue(Disconnect::Failed(error)) => return Err(error),
                ControlFlow::Continue(Disconnect::Ended) if !decoder.last_id.ends_with(COMPLETED_MARK) => {
                    // The connection had reached its age limit before all events were sent.
                    decoder.reconnect();
                    sleep(reconnect::delay(decoder.retry, false)).await;
                }
                // If there is a last id, all events were received; otherwise the stream is gone.
                ControlFlow::Continue(Disconnect::NothingLeft) if decoder.last_id.is_empty() => {
                    return Ok(ControlFlow::Break(self.report_gone(STREAM_GONE)));
                }
                ControlFlow::Continue(
                    Disconnect::Ended | Disconnect::Stopping | Disconnect::Restarting | Disconnect::NothingLeft,
                ) => break,
                ControlFlow::Break(code) => return Ok(ControlFlow::Break(code)),
            }
        }
        self.query = query;
        decoder.last_id.truncate(decoder.last_id.trim_end_matches(COMPLETED_MARK).len());
        decoder.reconnect();
        let code = self.exit_code_of(ended);
        if self.one_run {
            return Ok(ControlFlow::Break(code));
        }
        self.ends.set(self.index, Some(code));
        Ok(ControlFlow::Continue(()))
    }

    /// Prints the lines as they come, until the stream can have no more. Returns the exit code.
    async fn live(&mut self, decoder: &mut SseDecoder) -> Result<u8, ClientError> {
        let mut heard = Instant::now();
        loop {
            let began = Instant::now();
            let cut = self.connection(decoder, &mut heard).await?;
            let worked = heard > began && began.elapsed() > reconnect::MIN_WORKING_TIME;
            // What is live now is not known until the next connection.
            self.withdraw()?;
            let cut = match cut {
                ControlFlow::Break(code) => return Ok(code),
                ControlFlow::Continue(cut) => cut,
            };
            let is_announced = matches!(cut, Disconnect::Stopping | Disconnect::Restarting);
            match cut {
                Disconnect::Stopping if !self.is_daemon_ready().await => {
                    return Ok(self.report_gone("the daemon was stopped"));
                }
                // All of the run was received, and it has no end.
                Disconnect::NothingLeft if self.selects_run && decoder.last_id.ends_with(COMPLETED_MARK) => {
                    return Ok(self.report_gone(END_UNKNOWN));
                }
                Disconnect::NothingLeft => return Ok(self.report_gone(STREAM_GONE)),
                Disconnect::Restarting => self.print_notice("rtlogd is restarting; the stream continues"),
                // If only this stream ended and the daemon runs, its configuration was changed.
                Disconnect::Stopping | Disconnect::Ended => {}
                // A request that is refused now will be refused later, too.
                Disconnect::Failed(
                    error @ (ClientError::Refused { .. }
                    | ClientError::Untrusted { .. }
                    | ClientError::UnexpectedResponse(_)),
                ) => {
                    return Err(error);
                }
                Disconnect::Failed(error) if heard.elapsed() > MAX_DAEMON_ABSENCE => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                    return Ok(self.report_gone(&format!("{error}{cause}")));
                }
                Disconnect::Failed(error) => log::info!(stream = self.name, error:% = error; "connecting again"),
            }
            decoder.reconnect();
            sleep(reconnect::delay(decoder.retry, worked && !is_announced)).await;
        }
    }

    /// Queries the state of the stream. Returns the end of its last run if no more events will come without a command.
    async fn check_state(&mut self) -> Result<Option<RemoteRunEnd>, ClientError> {
        let path = format!("/streams/{}/state", percent_encode(self.name));
        let answer = self.server.send_request(Method::GET, &path, &[], Bytes::new());
        let late = |_| ClientError::Unreachable(self.server.to_string(), io::ErrorKind::TimedOut.into());
        let answer = timeout(SILENCE_TIMEOUT, answer).await.map_err(late)??;
        let stream: RemoteStream = parse(&answer.read_all(MAX_RESPONSE_SIZE).await?)?;
        self.known = stream.last.as_deref().and_then(|last| last.parse().ok());
        // The exit status says how the last run ended.
        let has_ended = |source: &RemoteSource| source.state == "stopped" && source.last.is_some();
        // A process that starts with its first reader starts with this one.
        let is_started = |source: &RemoteSource| source.reason.as_deref() == Some(SourceState::STARTS_WITH_READER);
        let is_news = |source: &&RemoteSource| !source.is_working() && !has_ended(source) && !is_started(source);
        if let Some(source) = stream.source.as_ref().filter(is_news) {
            self.report_state(source);
        }
        if stream.kind != "process" {
            return Ok(None);
        }
        // A process without any output yet is before its first run.
        self.until = FollowUntil::RunEnd(0);
        let Some(source) = stream.source else { return Ok(None) };
        self.until = FollowUntil::RunEnd(source.run.or(source.last.as_ref().map(|last| last.run + 1)).unwrap_or(0));
        if source.state == "stopped" && !is_started(&source) {
            return Ok(source.last);
        }
        // If the process is not started again after all, the status is that of the run that ended last.
        self.last_end = source.last.filter(|_| source.run.is_none());
        Ok(None)
    }

    /// Reads one connection, from the current position on. Breaks with the exit code if nothing can follow.
    async fn connection(
        &mut self,
        decoder: &mut SseDecoder,
        heard: &mut Instant,
    ) -> Result<ControlFlow<u8, Disconnect>, ClientError> {
        let path = format!("/streams/{}?{}", percent_encode(self.name), self.query);
        let last = decoder.last_id.clone();
        let headers = [("last-event-id", last.as_str())];
        let headers = if last.is_empty() { &headers[..0] } else { &headers[..] };
        let late =
            || Disconnect::Failed(ClientError::Unreachable(self.server.to_string(), io::ErrorKind::TimedOut.into()));
        let mut answer =
            match timeout(SILENCE_TIMEOUT, self.server.send_request(Method::GET, &path, headers, Bytes::new())).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return Ok(ControlFlow::Continue(Disconnect::Failed(error))),
                Err(_) => return Ok(ControlFlow::Continue(late())),
            };
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(ControlFlow::Continue(Disconnect::NothingLeft));
        }
        let mut stopping = None;
        loop {
            *heard = Instant::now();
            let bytes = match timeout(SILENCE_TIMEOUT, answer.next()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => {
                    return Ok(ControlFlow::Continue(stopping.unwrap_or(Disconnect::Ended)));
                }
                Ok(Err(error)) => return Ok(ControlFlow::Continue(Disconnect::Failed(error))),
                Err(_) => return Ok(ControlFlow::Continue(late())),
            };
            let mut messages = Vec::new();
            decoder.push(&bytes, |message| messages.push(message)).map_err(ClientError::UnexpectedResponse)?;
            let mut out = SafeText::default();
            let mut turn = None;
            for message in messages {
                turn = self.message(&message, &mut stopping, &mut out)?.or(turn);
                if self.one_run && matches!(turn, Some(StreamTurn::Ended(_))) {
                    break;
                }
            }
            self.display.print(&out).map_err(ClientError::Output)?;
            match turn {
                None => {}
                Some(StreamTurn::Continues) => self.ends.set(self.index, None),
                Some(StreamTurn::Ended(end)) => match self.report_end(&end).await {
                    ControlFlow::Continue(code) if !self.one_run => self.ends.set(self.index, Some(code)),
                    ControlFlow::Continue(code) | ControlFlow::Break(code) => return Ok(ControlFlow::Break(code)),
                },
            }
        }
    }

    /// Prints one message. Returns whether the stream has ended, or continues, if the message says so.
    fn message(
        &mut self,
        message: &ParsedSseMessage,
        stopping: &mut Option<Disconnect>,
        out: &mut SafeText,
    ) -> Result<Option<StreamTurn>, ClientError> {
        if self.json && message.event != "open" && message.event != "progress" {
            self.json(message, out)?;
        }
        match message.event.as_str() {
            "" if !self.json => self.line(parse(message.data.as_bytes())?, out),
            "open" => {
                let event: OpenEvent = parse(message.data.as_bytes())?;
                match event.origin.clone() {
                    Some(origin) => {
                        self.display.set_rows(self.index, &origin, self.lines.prefix(), &event.into_rows());
                    }
                    None => self.display.clear_rows(self.index),
                }
            }
            "progress" => {
                let event: ProgressEvent = parse(message.data.as_bytes())?;
                self.display.set_progress(self.index, self.lines.prefix(), event.into_line().as_deref());
            }
            "gap" | "loss" => {
                self.lines.forget_open();
                let fields: Value = parse(message.data.as_bytes())?;
                let missed = |one: &str, several: &str| match fields["missed"].as_u64() {
                    Some(1) => format!("1 {one} is"),
                    Some(count) => format!("{count} {several} are"),
                    None => format!("an unknown number of {several} are"),
                };
                match (fields["reason"].as_str(), fields["missed"].as_u64()) {
                    // A hole or a shortened file: the reason says what happened, and no line is known to be lost.
                    (Some(reason), Some(0)) => self.print_notice(reason),
                    (Some(reason), _) => self.print_notice(&format!("{} lost: {reason}", missed("line", "lines"))),
                    (None, _) => self.print_notice(&format!(
                        "{} missing here, because rtlogd no longer keeps them",
                        missed("event", "events")
                    )),
                }
            }
            "state" => {
                let StateEvent { id, restarting, source } = parse(message.data.as_bytes())?;
                *stopping = match source.state.as_str() {
                    "stopping" if restarting => Some(Disconnect::Restarting),
                    "stopping" => Some(Disconnect::Stopping),
                    _ => None,
                };
                if stopping.is_some() || !self.is_new(id.as_deref()) {
                    return Ok(None);
                }
                // The exit status says how a run ended.
                if source.state != "stopped" || self.last_end.is_none() {
                    self.report_state(&source);
                }
                return Ok(match source.state.as_str() {
                    "stopped" => self.last_end.take().map(StreamTurn::Ended),
                    "running" => {
                        self.last_end = None;
                        Some(StreamTurn::Continues)
                    }
                    _ => None,
                });
            }
            "end" => {
                let ended: RemoteRunEnd = parse(message.data.as_bytes())?;
                self.lines.forget_open();
                self.display.set_progress(self.index, None, None);
                if matches!(self.until, FollowUntil::RunEnd(run) if ended.run >= run) {
                    // Nobody knows whether a process that the daemon took with it would have been started again.
                    if self.one_run || matches!(ended.cause.as_str(), "daemon-stopped" | "daemon-killed") {
                        return Ok(Some(StreamTurn::Ended(ended)));
                    }
                    self.last_end = Some(ended);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Returns whether an event is newer than those that existed at the start.
    fn is_new(&self, id: Option<&str>) -> bool {
        let id = id.and_then(|id| id.parse::<Position>().ok());
        self.known.zip(id).is_none_or(|(known, id)| id.epoch != known.epoch || id.number > known.number)
    }

    /// Prints the state of the source if it does not work, or works again.
    fn report_state(&mut self, source: &RemoteSource) {
        let described = match source.explanation() {
            Some(why) => format!("{}: {why}", source.state),
            None => source.state.clone(),
        };
        // A process that runs, ends and runs again is not worth mentioning, unless it failed in between.
        let is_worth_it = !source.is_working() || (!self.state.is_empty() && source.state != "running");
        if is_worth_it && described != self.state {
            self.print_notice(&described);
            self.state = if source.is_working() { String::new() } else { described };
        }
    }

    fn line(&mut self, line: LineEvent, out: &mut SafeText) {
        let bytes = line.bytes.and_then(|bytes| BASE64.decode(bytes).ok());
        self.lines.push(&line.origin, bytes.as_deref().unwrap_or(line.text.as_bytes()), line.continued, out);
    }

    /// Removes everything live from the display.
    fn withdraw(&self) -> Result<(), ClientError> {
        self.display.clear_rows(self.index);
        self.display.set_progress(self.index, None, None);
        self.display.print(&SafeText::default()).map_err(ClientError::Output)
    }

    fn json(&self, message: &ParsedSseMessage, out: &mut SafeText) -> Result<(), ClientError> {
        let terminal = terminal::is_terminal();
        if message.event == "gap" || self.lines.prefix().is_some() {
            let mut fields: Value = parse(message.data.as_bytes())?;
            if message.event == "gap" {
                fields["kind"] = "gap".into();
            }
            fields["stream"] = self.name.into();
            out.push(&SafeText::json(fields.to_string().as_bytes(), terminal));
        } else {
            out.push(&SafeText::json(message.data.as_bytes(), terminal));
        }
        Ok(())
    }

    /// Returns true if the daemon is ready and not about to stop.
    async fn is_daemon_ready(&self) -> bool {
        let response = self.server.send_request(Method::GET, "/health/ready", &[], Bytes::new());
        matches!(timeout(SILENCE_TIMEOUT, response).await, Ok(Ok(answer)) if answer.status == StatusCode::OK)
    }

    /// Reports the end of a run that the process does not survive. Returns the exit code; breaks with it if the daemon is
    /// gone as well.
    async fn report_end(&self, ended: &RemoteRunEnd) -> ControlFlow<u8, u8> {
        match ended.cause.as_str() {
            "daemon-stopped" if self.selects_run => ControlFlow::Continue(self.exit_code_of(ended)),
            "daemon-stopped" if self.is_daemon_ready().await => {
                ControlFlow::Continue(self.report_gone("the process was stopped because its configuration changed"))
            }
            "daemon-stopped" => ControlFlow::Break(self.report_gone("the daemon was stopped, and the process with it")),
            "daemon-killed" => ControlFlow::Continue(
                self.report_gone("the daemon was killed, and it is not known how the process ended"),
            ),
            "lost" => ControlFlow::Continue(self.report_gone(END_UNKNOWN)),
            _ => ControlFlow::Continue(self.exit_code_of(ended)),
        }
    }

    /// The exit status that a shell would return.
    fn exit_code_of(&self, ended: &RemoteRunEnd) -> u8 {
        if let Some(code) = ended.code {
            return u8::try_from(code).unwrap_or(u8::MAX);
        }
        let Some(signal) = &ended.signal else { return EXIT_DAEMON_GONE };
        self.print_notice(&format!("the process was killed by signal {signal}"));
        128u8.saturating_add(crate::event::signal_number(signal).unwrap_or(0))
    }

    fn report_gone(&self, why: &str) -> u8 {
        self.print_notice(why);
        EXIT_DAEMON_GONE
    }

    /// Prints a notice that is not part of the stream.
    fn print_notice(&self, what: &str) {
        self.display.print_message(&SafeText::message(&format!("rtlogd: {}: {what}", self.name)));
    }
}
