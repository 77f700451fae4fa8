//! The query of a reader: its parameters and headers are checked once, and become a start, an end and a view.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::config;
use crate::event::{Position, StreamName, word_list};
use crate::stream::{Ansi, CursorEnd, CursorStart, Filter, Log, RunSelection, View};
use crate::wire::sse::COMPLETED_MARK;
use crate::wire::{SseData, WireFormat};

use super::call_error::CallError;
use super::grammar::{self, DEFAULT_TAIL, FilterText};
use super::problem::Problem;
use super::request::HttpRequest;
use crate::http::stream::steering::SESSION_TOKEN_SIZE;

/// The parameters of requests that read streams. A test compares them with those in the `OpenAPI` document.
pub(super) const STREAM_PARAMETERS: &str = "stream, after, before, tail, since, run, follow, limit, grep, exclude, where, origin, level, data, format, ansi, wait, session";

/// A checked request for one or several streams.
#[derive(Debug)]
pub(super) struct StreamQuery {
    pub(super) wire_format: WireFormat,
    pub(super) filter: Filter,
    ansi: Ansi,
    /// The end as the request gives it; [`end_in`](Self::end_in) is that in one stream.
    pub(super) until: CursorEnd,
    /// Streams named in the query, in its order.
    pub(super) streams: Vec<StreamName>,
    /// The time that a poll waits for an event.
    pub(super) wait: Option<Duration>,
    /// `true` if the client reconnects. A refusal would make a browser give up for good.
    pub(super) is_reconnect: bool,
    /// `true` if the reader reports that it has received everything it requested.
    pub(super) satisfied: bool,
    /// The session under which the control channel finds this reader.
    pub(super) session: Option<String>,
    requested_start: RequestedStart,
}

/// A checked query, for tests that have no daemon.
#[derive(Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct CheckedQuery {
    pub view: View,
    pub start: Result<CursorStart, String>,
    pub until: CursorEnd,
    pub streams: Vec<(StreamName, Result<CursorStart, String>)>,
    pub wait: Option<Duration>,
    pub session: Option<String>,
    pub satisfied: bool,
}

/// Checks a query without a request. This exists for `tests/fuzz`, and is not part of the crate's interface.
///
/// # Errors
/// The status and the detail of the refusal.
#[doc(hidden)]
pub fn check_query(
    parameters: &[(String, String)],
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<CheckedQuery, (u16, String)> {
    let query = StreamQuery::parse(parameters, headers, config::Limits::default().filter_size, now)
        .map_err(Problem::into_parts)?;
    let detail = |start: Result<CursorStart, Problem>| start.map_err(|problem| problem.into_parts().1);
    let streams = query.streams.iter().map(|name| (name.clone(), detail(query.start_of(name)))).collect();
    let (view, start) = (query.view(!query.streams.is_empty()), detail(query.start_of_only()));
    Ok(CheckedQuery {
        view,
        start,
        until: query.until,
        streams,
        wait: query.wait,
        session: query.session,
        satisfied: query.satisfied,
    })
}

/// The start as the request gives it.
#[derive(Debug)]
enum RequestedStart {
    /// An id, or a list of ids of several streams; `header` is true if it came as `Last-Event-ID`.
    Ids {
        text: String,
        header: bool,
    },
    Start(CursorStart),
}

impl StreamQuery {
    /// Parses the query of a request; `since=5m` is counted back from `now`.
    pub(super) fn from_request(request: &HttpRequest, now: SystemTime) -> Result<Self, Problem> {
        Self::parse(&request.parameters, &request.headers, request.connection.limits.filter_size, now)
    }

    /// Parses a query whose filter may use `max_filter_size` bytes.
    fn parse(
        parameters: &[(String, String)],
        headers: &HeaderMap,
        max_filter_size: usize,
        now: SystemTime,
    ) -> Result<Self, Problem> {
        let query = QueryParameters(parameters);
        query.check_names()?;
        let data = match query.one("data")? {
            None | Some("text") => SseData::Text,
            Some("json") => SseData::Json,
            Some(other) => return Err(Problem::bad(format!("data={other} is not known; use text or json"))),
        };
        let run = query.one("run")?.map(grammar::run).transpose()?;
        let ends_at_head = match query.one("follow")? {
            None | Some("true") => false,
            Some("false") => true,
            Some(other) => return Err(Problem::bad(format!("follow={other} is not known; use true or false"))),
        };
        let lines = query.number("limit")?;
        if lines == Some(0) {
            return Err(Problem::bad("limit=0 asks for nothing; use at least 1"));
        }
        let last_id = last_event_id(headers);
        let ids = match &last_id {
            Some(text) => Some((text.clone(), true)),
            None => query.one("after")?.map(|text| (text.to_owned(), false)),
        };
        // The start is parsed even if an id takes precedence, so that a mistake is always reported.
        let start = query.start(run, now)?;
        let satisfied = last_id.as_deref().is_some_and(|text| text.ends_with(COMPLETED_MARK))
            && (ends_at_head || lines.is_some() || is_past(run) || query.one("before")?.is_some());
        let requested_start = match ids {
            Some((text, header)) => {
                RequestedStart::Ids { text: text.trim_end_matches(COMPLETED_MARK).to_owned(), header }
            }
            None => RequestedStart::Start(start),
        };
        let streams = query.all("stream").map(|name| name.parse().map_err(|e| Problem::bad(format!("{e}"))));
        Ok(Self {
            wire_format: wire_format(query.one("format")?, headers, data)?,
            filter: query.filter(max_filter_size)?,
            ansi: match query.one("ansi")? {
                None | Some("keep") => Ansi::Keep,
                Some("strip") => Ansi::Strip,
                Some(other) => return Err(Problem::bad(format!("ansi={other} is not known; use keep or strip"))),
            },
            until: CursorEnd { head: ends_at_head, run, lines, before: query.before()? },
            streams: streams.collect::<Result<_, _>>()?,
            wait: query.duration("wait")?,
            is_reconnect: last_id.is_some(),
            satisfied,
            session: query.session()?,
            requested_start,
        })
    }

    /// The end of a reader of this stream that begins at `start`: the run that it asks for has a number there.
    ///
    /// # Errors
    /// If the stream has no such run, or its events are no longer stored.
    pub(super) fn end_in(&self, log: &Log, start: CursorStart) -> Result<CursorEnd, Problem> {
        let run = self.until.run.map(|run| log.resolve_run(run, start).map_err(CallError::from)).transpose()?;
        Ok(CursorEnd { run, ..self.until })
    }

    /// The start and the end of a reader of this stream. If a browser reconnects and its run is not known any more, these are a
    /// gap and the end: a refusal would not be shown, and status 204 would say that the run is complete.
    ///
    /// # Errors
    /// As [`Self::end_in`], but not for one that reconnects.
    pub(super) fn bounds_in(&self, log: &Log, start: CursorStart) -> Result<(CursorStart, CursorEnd), Problem> {
        match self.end_in(log, start) {
            Err(_) if self.is_reconnect => {
                let until = CursorEnd { run: Some(RunSelection::Forgotten), ..self.until };
                Ok((CursorStart::AfterUnknown, until))
            }
            until => Ok((start, until?)),
        }
    }

    /// The start in a stream that has the connection to itself.
    pub(super) fn start_of_only(&self) -> Result<CursorStart, Problem> {
        match &self.requested_start {
            RequestedStart::Start(start) => Ok(*start),
            RequestedStart::Ids { text, header } => match grammar::after(text) {
                Ok(id) => Ok(CursorStart::After(id)),
                // A browser sends this header without being asked, and a refusal would make it give up for good.
                Err(_) if *header => Ok(CursorStart::AfterUnknown),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// The start in `stream`, one of several on the connection: ids are a list `NAME:ID,NAME:ID`.
    pub(super) fn start_of(&self, stream: &StreamName) -> Result<CursorStart, Problem> {
        match &self.requested_start {
            RequestedStart::Start(start) => Ok(*start),
            RequestedStart::Ids { text, header } => {
                let positions = text.split(',').map(|entry| {
                    let (name, id) = entry.split_once(':')?;
                    Some((name, id.parse::<Position>().ok()?))
                });
                match positions.collect::<Option<Vec<_>>>() {
                    Some(positions) => Ok(match positions.iter().find(|(name, _)| *name == stream.as_str()) {
                        Some((_, id)) => CursorStart::After(*id),
                        None => CursorStart::Tail(DEFAULT_TAIL),
                    }),
                    None if *header => Ok(CursorStart::AfterUnknown),
                    None => Err(Problem::bad(format!(
                        "after={text}: with several streams it is a list, as in build:mib3k2x9-1042,web:mib3k2x9-7"
                    ))),
                }
            }
        }
    }

    /// The view of a stream; `several` is true if other streams share the connection.
    pub(super) fn view(&self, several: bool) -> View {
        View { wire_format: self.wire_format, filter: self.filter.clone(), several, ansi: self.ansi }
    }
}

/// Returns whether the run is one whose events do not continue, unless it happens to be the current one.
fn is_past(run: Option<RunSelection>) -> bool {
    match run {
        Some(RunSelection::Last | RunSelection::Passed | RunSelection::Number(_) | RunSelection::Forgotten) => true,
        Some(RunSelection::Current) | None => false,
    }
}

/// The value of `Last-Event-ID`. A value that is not text becomes an id that is not known.
fn last_event_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("last-event-id")?;
    let text = value.to_str().unwrap_or("?").trim();
    // A browser that has seen no id sends no header; other clients may send an empty one.
    (!text.is_empty()).then(|| text.to_owned())
}

fn wire_format(format: Option<&str>, headers: &HeaderMap, data: SseData) -> Result<WireFormat, Problem> {
    if let Some(name) = format {
        let known = WireFormat::from_name(name, data);
        return known.ok_or_else(|| {
            let names = word_list(&WireFormat::all(data).map(|wire_format| wire_format.names().name), "or");
            Problem::bad(format!("format={name} is not known; use {names}"))
        });
    }
    let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.is_empty() {
        return Ok(WireFormat::Sse(data));
    }
    WireFormat::from_accept(&accept.join(","), data).ok_or_else(|| {
        let offers = word_list(&WireFormat::all(data).map(|wire_format| wire_format.names().media_type), "and");
        Problem::new(StatusCode::NOT_ACCEPTABLE, format!("a stream is available as {offers}; accept one of them"))
    })
}

/// The pairs of a query.
struct QueryParameters<'a>(&'a [(String, String)]);

impl<'a> QueryParameters<'a> {
    fn all(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(Problem::bad(format!("{name} is given twice; give it once")));
        }
        Ok(value)
    }

    fn check_names(&self) -> Result<(), Problem> {
        let known: Vec<_> = STREAM_PARAMETERS.split(", ").collect();
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(Problem::bad(format!(
                "the parameter {name:?} is not known; the parameters are {STREAM_PARAMETERS}"
            ))),
            None => Ok(()),
        }
    }

    fn number(&self, name: &'a str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Problem::bad(format!("{name}={text} is not a number")))
    }

    fn before(&self) -> Result<Option<Position>, Problem> {
        let Some(text) = self.one("before")? else { return Ok(None) };
        if self.all("stream").next().is_some() {
            return Err(Problem::bad("before= takes the id of an event in one stream; use it with /streams/NAME"));
        }
        text.parse().map(Some).map_err(|error| Problem::bad(format!("before={text}: {error}")))
    }

    fn duration(&self, name: &'a str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        config::units::parse_duration(text).map(Some).map_err(|error| Problem::bad(format!("{name}={text}: {error}")))
    }

    fn session(&self) -> Result<Option<String>, Problem> {
        let Some(token) = self.one("session")? else { return Ok(None) };
        if SESSION_TOKEN_SIZE.contains(&token.len()) && token.bytes().all(|c| c.is_ascii_graphic()) {
            return Ok(Some(token.to_owned()));
        }
        let (least, most) = (SESSION_TOKEN_SIZE.start(), SESSION_TOKEN_SIZE.end());
        Err(Problem::bad(format!(
            "session must be {least} to {most} ASCII characters without spaces, and hard to guess, such as a UUID"
        )))
    }

    fn start(&self, run: Option<RunSelection>, now: SystemTime) -> Result<CursorStart, Problem> {
        Ok(match (self.one("since")?, self.one("tail")?) {
            (Some(text), _) => grammar::since(text, now)?,
            (None, Some(text)) => grammar::tail(text)?,
            (None, None) => grammar::default_start(run),
        })
    }

    fn filter(&self, max_size: usize) -> Result<Filter, Problem> {
        let texts = |name| self.all(name).map(str::to_owned).collect::<Vec<_>>();
        let [grep, exclude, origin, conditions] = ["grep", "exclude", "origin", "where"].map(texts);
        let text = FilterText {
            grep: &grep,
            exclude: &exclude,
            origin: &origin,
            conditions: &conditions,
            level: self.one("level")?,
        };
        Ok(grammar::filter(&text, max_size)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::event::Time;

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// Reads `query`, written as in a URL without escapes, with the `Last-Event-ID` and the `Accept` that are not
    /// empty.
    fn read(query: &str, last_event_id: &str, accept: &str) -> Result<CheckedQuery, (u16, String)> {
        let parameters: Vec<_> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in [("last-event-id", last_event_id), ("accept", accept)] {
            if !value.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
        }
        check_query(&parameters, &headers, UNIX_EPOCH + NOW)
    }

    fn start(query: &str, last_event_id: &str) -> CursorStart {
        read(query, last_event_id, "").unwrap().start.unwrap()
    }

    fn after(id: &str) -> CursorStart {
        CursorStart::After(id.parse().unwrap())
    }

    #[test]
    fn an_id_takes_precedence_over_a_time_and_a_time_over_a_tail() {
        let since = |micros: i64| CursorStart::Since(Time(micros));
        let hour_ago = since(i64::try_from(NOW.as_micros()).unwrap() - 3_600_000_000);
        let table = [
            ("", "", CursorStart::Tail(DEFAULT_TAIL)),
            ("tail=7", "", CursorStart::Tail(7)),
            ("tail=all", "", CursorStart::Oldest),
            ("run=current", "", CursorStart::Run),
            ("run=current&tail=7", "", CursorStart::Tail(7)),
            ("since=1h&tail=7", "", hour_ago),
            ("since=1970-01-01T00:00:01Z", "", since(1_000_000)),
            ("since=1970-01-01T01:00:01 01:00", "", since(1_000_000)),
            ("after=mib3k2x9-7&since=1h&tail=7", "", after("mib3k2x9-7")),
            ("after=mib3k2x9-7", "mib3k2x9-8", after("mib3k2x9-8")),
            ("", " mib3k2x9-8 ", after("mib3k2x9-8")),
            // A browser that is refused gives up for good.
            ("after=mib3k2x9-7", "no id", CursorStart::AfterUnknown),
        ];
        for (query, last_event_id, expected) in table {
            assert_eq!(start(query, last_event_id), expected, "{query} {last_event_id}");
        }
    }

    #[test]
    fn each_of_several_streams_begins_at_its_own_id() {
        let query = "stream=a&stream=b&stream=c&after=b:mib3k2x9-7,a:mib3k2x9-1";
        let streams = read(query, "", "").unwrap().streams;
        let starts: Vec<_> = streams.iter().map(|(name, start)| (name.as_str(), start.clone().unwrap())).collect();
        assert_eq!(
            starts,
            [("a", after("mib3k2x9-1")), ("b", after("mib3k2x9-7")), ("c", CursorStart::Tail(DEFAULT_TAIL))]
        );
        let bad = read("stream=a&after=mib3k2x9-7", "", "").unwrap().streams[0].1.clone().unwrap_err();
        assert!(bad.contains("it is a list"), "{bad}");
        assert_eq!(read("stream=a", "mib3k2x9-7", "").unwrap().streams[0].1, Ok(CursorStart::AfterUnknown));
    }

    #[test]
    fn a_query_that_is_wrong_is_refused_with_what_would_be_right() {
        let table = [
            ("colour=red", "the parameter \"colour\" is not known; the parameters are stream, after"),
            ("tail=1&tail=2", "tail is given twice"),
            ("tail=-1", "tail=-1 is neither a number nor all"),
            ("limit=0", "limit=0 asks for nothing"),
            ("limit=x", "limit=x is not a number"),
            ("data=xml", "use text or json"),
            ("ansi=no", "use keep or strip"),
            ("run=0", "run=0 is not known; use the number of a run, current, last or passed"),
            ("run=first", "run=first is not known"),
            ("run=-1", "run=-1 is not known"),
            ("follow=no", "use true or false"),
            ("format=xml", "use sse, ndjson or text"),
            ("since=yesterday", "neither a time (2026-11-23T05:11:12Z) nor how long ago (5m)"),
            // A mistake is refused even in a value that would not be used.
            ("since=yesterday&after=mib3k2x9-7", "since=yesterday"),
            ("before=7", "before=7: "),
            ("stream=a&before=mib3k2x9-7", "use it with /streams/NAME"),
            ("stream=..", ".."),
            ("wait=soon", "wait=soon: "),
            ("level=loud", "level=loud: "),
            ("grep=(", "unclosed group"),
            ("where=status", "where=status: no operator; use FIELD OP VALUE"),
            ("where=>5", "no field before the operator"),
            ("where=a==1", "== is not an operator; use ="),
            ("session=short", "session must be 16 to "),
            ("session=with spaces in 16", "ASCII characters without spaces"),
        ];
        for (query, expected) in table {
            let (status, detail) = read(query, "", "").unwrap_err();
            assert!(status == 400 && detail.contains(expected), "{query}: {status} {detail}");
        }
        assert_eq!(read("", "", "image/png").unwrap_err().0, 406);
        let refused = read("after=7", "", "").unwrap().start.unwrap_err();
        assert!(refused.starts_with("after=7: "), "{refused}");
    }

    #[test]
    fn the_wire_format_is_that_of_format_then_of_accept() {
        let sse = |data| WireFormat::Sse(data);
        let table = [
            ("", "", sse(SseData::Text)),
            ("data=json", "", sse(SseData::Json)),
            ("", "application/x-ndjson", WireFormat::Ndjson),
            ("format=text", "application/x-ndjson", WireFormat::Text),
            ("format=sse", "image/png", sse(SseData::Text)),
        ];
        for (query, accept, expected) in table {
            assert_eq!(read(query, "", accept).unwrap().view.wire_format, expected, "{query} {accept}");
        }
    }

    #[test]
    fn a_reader_that_has_received_everything_reports_it_when_it_reconnects() {
        let last = format!("mib3k2x9-7{COMPLETED_MARK}");
        for (query, expected) in [("", false), ("follow=false", true), ("limit=3", true), ("before=mib3k2x9-9", true)] {
            let read = read(query, &last, "").unwrap();
            assert_eq!((read.satisfied, read.start), (expected, Ok(after("mib3k2x9-7"))), "{query}");
        }
        assert!(!read("limit=3", "mib3k2x9-7", "").unwrap().satisfied);
    }
}
