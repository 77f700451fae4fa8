//! `GET /streams`: each stream as it stands now. With `stream=` it is several of them on one connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use warp::reply::Response;

use crate::event::{Position, Progress, SourceState, Time};
use crate::stream::{Entry, Info};

use super::problem::Problem;
use super::{Request, follow, json};

/// One stream, in the list and at `/streams/NAME/state`.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    source: Option<Arc<SourceState>>,
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
    /// Whether nothing more can come.
    ended: bool,
}

#[derive(Serialize)]
struct List<'a> {
    streams: Vec<Listed<'a>>,
}

fn listed(entry: &Entry, now: Time) -> Listed<'_> {
    let Info { state, progress, run: _, first, last, rate, readers, memory, disk, degraded, ended } =
        entry.log.info(now);
    Listed {
        name: entry.log.name().as_str(),
        kind: entry.kind,
        description: entry.description.as_deref(),
        labels: &entry.labels,
        source: state,
        progress,
        first,
        last,
        rate: (rate * 10.0).round() / 10.0,
        readers,
        memory,
        disk,
        degraded,
        ended,
    }
}

/// `GET /streams`.
pub(super) async fn streams(request: &Request) -> Result<Response, Problem> {
    if request.parameters.iter().any(|(name, _)| name == "stream") {
        return follow::several(request).await;
    }
    if let Some((name, _)) = request.parameters.first() {
        return Err(Problem::bad(format!(
            "the list of streams has no parameter {name:?}; with stream=NAME it is a stream"
        )));
    }
    let now = SystemTime::now().into();
    let entries = request.app.catalog.list();
    Ok(json(&List { streams: entries.iter().map(|entry| listed(entry, now)).collect() }))
}

/// `GET /streams/NAME/state`.
pub(super) fn state(name: &str, request: &Request) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    Ok(json(&listed(&entry, SystemTime::now().into())))
}

/// `GET /streams/NAME/progress`: how far it is; `null` if nobody can tell.
pub(super) fn progress(name: &str, request: &Request) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    Ok(json(&entry.log.info(SystemTime::now().into()).progress))
}
