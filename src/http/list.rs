//! `GET /streams`: each stream as it stands now. With `stream=` it is several of them on one connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use warp::reply::Response;

use crate::access::Caller;
use crate::config::Right;
use crate::event::{Position, Progress, SourceState, Time};
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
    /// How far it is, if it said so, or if it is a process.
    progress: Option<Arc<Progress>>,
    first: Option<Position>,
    last: Position,
    /// Events a second, with one digit behind the point.
    rate: f64,
    readers: usize,
    /// Bytes in memory.
    memory: usize,
    /// Bytes on disk, if it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<u64>,
    /// Why nothing is recorded at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    /// Lines held against a filter, for all readers together.
    filtered: u64,
    /// How many secrets were taken out of its lines; not shown if there were none.
    #[serde(skip_serializing_if = "is_zero")]
    redacted: u64,
    /// Whether nothing more can come.
    ended: bool,
    /// What the asker may do beside reading, where the source can do it: `input`, `admin`.
    may: Vec<&'static str>,
}

/// How a source is.
#[derive(Serialize)]
struct SourceSummary {
    #[serde(flatten)]
    state: Arc<SourceState>,
    /// Bytes that are there and were not read yet; not shown if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
}

/// Serde wants a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives one")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What `caller` may do with the stream beside reading.
fn may(app: &App, caller: &Caller, entry: &CatalogEntry) -> Vec<&'static str> {
    let offered = [("input", Right::Input, entry.takes_input), ("admin", Right::Admin, entry.kind == "process")];
    let allowed = |right| app.access.check(caller, right, access_target(entry)).is_ok();
    offered.into_iter().filter(|(_, right, has)| *has && allowed(*right)).map(|(name, ..)| name).collect()
}

/// The stream as it stands now; `Cleared` if it turned private since it was looked up.
fn summarize<'a>(app: &App, caller: &Caller, entry: &'a CatalogEntry, now: Time) -> Option<StreamSummary<'a>> {
    let LogInfo {
        state,
        progress,
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
        may: may(app, caller, entry),
    })
}

/// Every stream that `caller` may read, each an object as in the list.
pub(super) async fn all(app: &App, caller: &Caller) -> Result<Arc<RawValue>, Problem> {
    let rendering = app.render_cache.rendering(caller, RenderKind::List, || render(app, caller)).await?;
    rendering.streams.clone().ok_or_else(|| Problem::bad("the list could not be made"))
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
        public_streams: entries.iter().filter_map(|entry| entry.log.privacy_if_public()).collect(),
    }
}

/// `GET /streams`.
pub(super) async fn streams(request: &HttpRequest) -> Result<Response, Problem> {
    if request.parameters.iter().any(|(name, _)| name == "stream") {
        return follow::several(request).await;
    }
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

/// `GET /streams/NAME/progress`: how far it is; `null` if nobody can tell.
pub(super) fn progress(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    Ok(json(&readable_info(&entry, SystemTime::now().into())?.progress))
}
