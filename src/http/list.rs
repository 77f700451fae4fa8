//! `GET /streams`: the current state of each stream. With `stream=`, the same path serves several streams on one
//! connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use warp::reply::Response;

use crate::access::Caller;
use crate::config::Right;
use crate::event::{Position, Progress, RunEnd, RunInfo, SourceState, Time};
use crate::stream::{CatalogEntry, LogInfo};

use super::app::{App, access_target, readable_info};
use super::problem::Problem;
use super::render_cache::{RenderKind, Rendering};
use super::request::HttpRequest;
use super::response::{json, json_body_response};
use crate::http::stream::follow;

/// One stream, in the list and at `/streams/NAME/state`.
#[derive(Serialize)]
struct StreamSummary<'a> {
    name: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    source: Option<SourceSummary>,
    /// The current progress, if the stream reports one or comes from a process.
    progress: Option<Arc<Progress>>,
    /// The last run, if the stream comes from a process that has run; without a history, since the daemon was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRun>,
    /// The last time at which the program changed rows that it can still change, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    drawn: Option<Time>,
    first: Option<Position>,
    last: Position,
    /// Lines per second, rounded to one decimal.
    rate: f64,
    readers: usize,
    /// Bytes in memory.
    memory: usize,
    /// Bytes on disk, if the stream is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<u64>,
    /// The reason why nothing is recorded at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    /// Number of lines matched against a filter, for all readers together.
    filtered: u64,
    /// Number of secrets that were removed from lines; omitted if zero.
    #[serde(skip_serializing_if = "is_zero")]
    redacted: u64,
    /// True if the stream has ended for good.
    ended: bool,
    /// The rights of the caller in addition to reading, if the source supports them: `input`, `admin`.
    may: Vec<&'static str>,
}

/// The last run of a process: its start, and once it has ended, its end.
#[derive(Serialize)]
struct LastRun {
    started: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Time>,
    #[serde(flatten)]
    end: Option<RunEnd>,
}

impl From<RunInfo> for LastRun {
    fn from(RunInfo { started, ended }: RunInfo) -> Self {
        let (ended, end) = ended.unzip();
        Self { started, ended, end }
    }
}

/// The state of a source.
#[derive(Serialize)]
struct SourceSummary {
    #[serde(flatten)]
    state: Arc<SourceState>,
    /// Number of available bytes that have not been read yet; omitted if zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
}

/// A predicate for serde, which passes a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives one")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The rights of `caller` on the stream in addition to reading.
fn extra_rights(app: &App, caller: &Caller, entry: &CatalogEntry) -> Vec<&'static str> {
    let offered = [("input", Right::Input, entry.takes_input), ("admin", Right::Admin, entry.kind == "process")];
    let allowed = |right| app.access.check(caller, right, access_target(entry)).is_ok();
    offered.into_iter().filter(|(_, right, has)| *has && allowed(*right)).map(|(name, ..)| name).collect()
}

/// The current state of the stream; `None` if it has become private since it was looked up.
fn summarize<'a>(app: &App, caller: &Caller, entry: &'a CatalogEntry, now: Time) -> Option<StreamSummary<'a>> {
    let LogInfo {
        state,
        progress,
        run,
        drawn,
        lag,
        first,
        last,
        rate,
        readers,
        memory,
        disk,
        degraded,
        filter_checks: filtered,
        redacted,
        ended,
        ..
    } = readable_info(entry, now).ok()?;
    Some(StreamSummary {
        name: entry.log.name().as_str(),
        kind: entry.kind,
        description: entry.description.as_deref(),
        labels: &entry.labels,
        source: state.map(|state| SourceSummary { state, lag: Some(lag).filter(|&lag| lag > 0) }),
        progress,
        last_run: run.map(LastRun::from),
        drawn,
        first,
        last,
        rate: (rate * 10.0).round() / 10.0,
        readers,
        memory,
        disk,
        degraded,
        filtered,
        redacted,
        ended,
        may: extra_rights(app, caller, entry),
    })
}

/// All streams that `caller` may read, as JSON objects of the list.
pub(super) async fn list_json(app: &App, caller: &Caller) -> Result<Arc<RawValue>, Problem> {
    let rendering = app.render_cache.rendering(caller, RenderKind::List, || render(app, caller)).await?;
    let failed = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the list could not be made; try again");
    rendering.streams.clone().ok_or_else(failed)
}

fn render(app: &App, caller: &Caller) -> Rendering {
    let now = SystemTime::now().into();
    let entries = app.readable_streams(caller);
    let streams: Vec<_> = entries.iter().filter_map(|entry| summarize(app, caller, entry, now)).collect();
    let streams: Arc<RawValue> = to_raw_value(&streams).expect("a list has text keys and finite numbers").into();
    let body = Bytes::from(format!("{{\"streams\":{}}}\n", streams.get()));
    Rendering {
        body,
        streams: Some(streams),
        public_streams: entries.iter().flat_map(|entry| entry.log.denials()).collect(),
    }
}

/// `GET /streams`.
pub(super) async fn streams(request: &HttpRequest) -> Result<Response, Problem> {
    if request.parameters.iter().any(|(name, _)| name == "stream") {
        return follow::follow_several(request).await;
    }
    // The list is more than the right to read a public stream gives.
    request.app.check_any_stream(&request.caller, Right::Read, false)?;
    if let Some((name, _)) = request.parameters.first() {
        return Err(Problem::bad(format!(
            "the list of streams has no parameter {name:?}; add stream=NAME to read a stream"
        )));
    }
    let (app, caller) = (&request.app, &request.caller);
    let rendering = app.render_cache.rendering(caller, RenderKind::List, || render(app, caller)).await?;
    Ok(json_body_response(rendering.body.clone()))
}

/// `GET /streams/NAME/state`.
pub(super) fn state(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    let listed = summarize(&request.app, &request.caller, &entry, SystemTime::now().into());
    Ok(json(&listed.ok_or_else(|| Problem::no_stream(name))?))
}

/// `GET /streams/NAME/progress`: the current progress; `null` if it is unknown.
pub(super) fn progress(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    Ok(json(&readable_info(&entry, SystemTime::now().into())?.progress))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::access::Peer;
    use crate::http::testing::{OWNER, TestServer, USER, id, read};

    fn get(server: &TestServer, peer: Peer, query: &str) -> HttpRequest {
        server.request(peer, Method::GET, Right::Read, query)
    }

    async fn listed(server: &TestServer, peer: Peer) -> Vec<Value> {
        let (status, body) = read(streams(&get(server, peer, "")).await).await;
        assert_eq!(status, 200);
        serde_json::from_str::<Value>(&body).unwrap()["streams"].as_array().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_listed_with_its_events_and_what_the_caller_may_do_with_it() {
        let mut server = TestServer::new(&[("job", "process"), ("log", "file"), ("in", "push")]);
        server.write("log", &["one", "two"]).await;
        let table = [
            (USER, "job", json!([])),
            (OWNER, "job", json!(["input", "admin"])),
            (OWNER, "log", json!([])),
            (OWNER, "in", json!([])),
        ];
        for (peer, name, may) in table {
            let (status, body) = read(state(name, &get(&server, peer, ""))).await;
            let one: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &one["name"], &one["may"]), (200, &json!(name), &may), "{peer} {body}");
            // The list has the same.
            assert!(listed(&server, peer).await.contains(&one), "{peer} {name}");
        }
        let (_, body) = read(state("log", &server.get(""))).await;
        let one: Value = serde_json::from_str(&body).unwrap();
        let (first, last) = (json!(id(1).to_string()), json!(id(2).to_string()));
        assert_eq!(
            (&one["first"], &one["last"], &one["readers"], &one["ended"]),
            (&first, &last, &json!(0), &json!(false))
        );
        for absent in ["description", "labels", "disk", "degraded", "redacted"] {
            assert!(one.get(absent).is_none(), "{absent}: {one}");
        }
        server.end("log");
        let (_, body) = read(state("log", &server.get(""))).await;
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["ended"], json!(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_private_stream_is_there_only_for_those_who_may_read_it() {
        let server = TestServer::new(&[("open", "file"), ("secret", "file")]);
        // Lists that were rendered before must not be used any more.
        assert_eq!((listed(&server, USER).await.len(), listed(&server, OWNER).await.len()), (2, 2));
        server.app.catalog.get(&"secret".parse().unwrap()).unwrap().log.private().set();
        let names = |streams: Vec<Value>| streams.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(listed(&server, USER).await), [json!("open")]);
        assert_eq!(names(listed(&server, OWNER).await), [json!("open"), json!("secret")]);
        let hidden = (404, "no stream is named \"secret\"; GET /streams lists them".to_owned());
        assert_eq!(read(state("secret", &get(&server, USER, ""))).await, hidden);
        assert_eq!(read(progress("secret", &get(&server, USER, ""))).await, hidden);
        assert_eq!(read(state("secret", &get(&server, OWNER, ""))).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_streams_and_parameters_are_refused_and_unknown_progress_is_null() {
        let server = TestServer::new(&[("log", "file")]);
        assert_eq!(read(progress("log", &server.get(""))).await, (200, "null\n".to_owned()));
        for name in ["nowhere", "", "..", "a b"] {
            let (status, detail) = read(state(name, &server.get(""))).await;
            assert!(status == 404 && detail.contains(&format!("no stream is named {name:?}")), "{name}: {detail}");
        }
        let (status, detail) = read(streams(&server.get("tail=1")).await).await;
        assert!(status == 400 && detail.contains("has no parameter \"tail\"; add stream=NAME"), "{status} {detail}");
        // With `stream`, the same path is a reader.
        let (status, body) = read(streams(&server.get("stream=log&follow=false&format=text")).await).await;
        assert_eq!((status, body.as_str()), (200, ""));
    }
}
