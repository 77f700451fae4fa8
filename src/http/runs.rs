//! `GET /streams/NAME/runs`: the runs of a stream, newest first.

use serde::Serialize;
use warp::reply::Response;

use crate::event::{GroupSummary, Position, RunCounts, RunSummary, Time};
use crate::stream::ListedRun;

use super::problem::Problem;
use super::request::HttpRequest;
use super::response::json;

/// The number of runs in a response by default, and the maximum.
const DEFAULT_RUNS: usize = 100;
const MAX_RUNS: usize = 1000;

#[derive(Serialize)]
struct RunsResponse<'a> {
    runs: Vec<RunView<'a>>,
    /// The value of `before` for the next older runs; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One run.
#[derive(Serialize)]
struct RunView<'a> {
    run: u64,
    stream: &'a str,
    started: Time,
    /// Absent while the run lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Time>,
    /// Seconds; absent while the run lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    /// Absent while the run lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<bool>,
    /// Absent if not all of the run was counted.
    #[serde(flatten)]
    counts: Option<RunCounts>,
    /// Absent if the id is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Position>,
    kept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
    groups: Vec<GroupView<'a>>,
}

/// One group of a run.
#[derive(Serialize)]
struct GroupView<'a> {
    name: &'a str,
    duration: f64,
}

impl<'a> From<&'a GroupSummary> for GroupView<'a> {
    fn from(group: &'a GroupSummary) -> Self {
        Self { name: &group.name, duration: group.duration }
    }
}

impl<'a> RunView<'a> {
    fn new(stream: &'a str, run: &'a ListedRun) -> Self {
        let ListedRun { summary, first, last, kept } = run;
        let RunSummary { run, started, ended, duration, code, signal, cause, counts, peak_memory, groups, .. } =
            summary;
        let (started, ended) = (Time(*started), ended.map(Time));
        Self {
            run: *run,
            stream,
            started,
            ended,
            // What was measured does not depend on the clock.
            duration: duration.or_else(|| Some(ended?.seconds_since(started))),
            code: *code,
            signal: signal.as_deref(),
            cause: cause.as_deref(),
            passed: ended.map(|_| summary.has_passed()),
            counts: *counts,
            first: *first,
            last: *last,
            kept: *kept,
            peak_memory: *peak_memory,
            groups: groups.iter().map(GroupView::from).collect(),
        }
    }
}

/// The runs of the stream, at most `limit`; with `before`, those that are older than the run with that number.
pub(super) fn runs(name: &str, request: &HttpRequest) -> Result<Response, Problem> {
    let entry = request.stream(name)?;
    let (mut limit, mut before) = (None, None);
    for (parameter, value) in &request.parameters {
        let (known, most) = match parameter.as_str() {
            "limit" => (&mut limit, MAX_RUNS as u64),
            "before" => (&mut before, u64::MAX),
            _ => {
                return Err(Problem::bad(format!(
                    "the list of runs has no parameter {parameter:?}; the parameters are limit and before"
                )));
            }
        };
        let number = value.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
            Problem::bad(match parameter.as_str() {
                "limit" => format!("limit={value} is not a number from 1 to {MAX_RUNS}"),
                _ => format!("before={value} is not the number of a run, which is 1 or more"),
            })
        })?;
        if known.replace(number).is_some() {
            return Err(Problem::bad(format!("{parameter} is given twice; give it once")));
        }
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_RUNS);
    let page = entry.log.runs(before, limit);
    // Checked after the runs were read, so that none that came after the stream became private is ever returned.
    if entry.log.is_denied() {
        return Err(Problem::no_stream(name));
    }
    let stream = entry.log.name().as_str();
    let runs = page.runs.iter().map(|run| RunView::new(stream, run)).collect();
    Ok(json(&RunsResponse { runs, next: page.next }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::{EndCause, RunEnd, SourceState};
    use crate::http::testing::{TestServer, read};
    use crate::stream::Batch;

    fn end(run: u64, code: i32) -> RunEnd {
        RunEnd {
            run,
            code: Some(code),
            signal: None,
            duration: Some(1.5),
            peak_memory: Some(1 << 20),
            cause: EndCause::Exited,
            killed: Vec::new(),
        }
    }

    /// A server with a process that has had this many runs, the last one of which lasts.
    async fn with_runs(count: u64) -> TestServer {
        let mut server = TestServer::new(&[("p", "process"), ("f", "file")]);
        for run in 1..=count {
            let mut batch = Batch::new();
            batch.state(Time(0), SourceState::Running { run, pid: None, note: None });
            server.append("p", &mut batch).await;
            server.write("p", &["error: one", "two"]).await;
            if run < count {
                batch.end(Time(2_000_000), &end(run, i32::from(run != 1)));
                server.append("p", &mut batch).await;
            }
        }
        server
    }

    #[tokio::test(start_paused = true)]
    async fn runs_are_listed_newest_first_with_what_is_known_of_them() {
        let server = with_runs(3).await;
        let (status, body) = read(runs("p", &server.get(""))).await;
        assert_eq!(status, 200);
        let listed: Value = serde_json::from_str(&body).unwrap();
        let all = listed["runs"].as_array().unwrap();
        assert_eq!(all.iter().map(|run| run["run"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
        let (lasting, failed, passed) = (&all[0], &all[1], &all[2]);
        for absent in ["ended", "duration", "code", "signal", "cause", "passed", "peak_memory"] {
            assert!(lasting.get(absent).is_none(), "{absent}: {lasting}");
        }
        assert_eq!(
            (&failed["passed"], &failed["code"], &failed["cause"]),
            (&false.into(), &1.into(), &"exited".into())
        );
        assert_eq!((&passed["passed"], &passed["code"], &passed["duration"]), (&true.into(), &0.into(), &1.5.into()));
        assert_eq!((&passed["stream"], &passed["peak_memory"]), (&"p".into(), &(1 << 20).into()));
        for run in all {
            let counts = [&run["lines"], &run["errors"], &run["warnings"]].map(Value::as_u64);
            assert_eq!((counts, &run["kept"]), ([Some(2), Some(1), Some(0)], &true.into()), "{run}");
        }
        let numbers = |run: &Value, id: &str| run[id].as_str().unwrap().rsplit_once('-').unwrap().1.to_owned();
        assert_eq!((numbers(passed, "first"), numbers(passed, "last")), ("1".to_owned(), "4".to_owned()), "{passed}");
        assert!(listed.get("next").is_none());
        let (status, body) = read(runs("f", &server.get(""))).await;
        assert_eq!((status, body.as_str()), (200, "{\"runs\":[]}\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_list_comes_in_parts() {
        let server = with_runs(7).await;
        let (mut query, mut seen) = ("limit=3".to_owned(), Vec::new());
        loop {
            let (status, body) = read(runs("p", &server.get(&query))).await;
            assert_eq!(status, 200, "{query}");
            let part: Value = serde_json::from_str(&body).unwrap();
            seen.push(
                part["runs"].as_array().unwrap().iter().map(|run| run["run"].as_u64().unwrap()).collect::<Vec<_>>(),
            );
            let Some(next) = part["next"].as_u64() else { break };
            query = format!("limit=3&before={next}");
        }
        assert_eq!(seen, [vec![7, 6, 5], vec![4, 3, 2], vec![1]]);
        let wrong = [
            ("limit=0", "limit=0 is not a number from 1 to 1000"),
            ("limit=1001", "limit=1001 is not a number"),
            ("limit=x", "limit=x is not a number"),
            ("before=0", "before=0 is not the number of a run"),
            ("before=-1", "before=-1 is not the number of a run"),
            ("before=1&before=2", "before is given twice"),
            ("tail=1", "the list of runs has no parameter \"tail\""),
        ];
        for (query, why) in wrong {
            let (status, body) = read(runs("p", &server.get(query))).await;
            assert!(status == 400 && body.starts_with(why), "{query}: {status} {body}");
        }
        assert_eq!(read(runs("no", &server.get(""))).await.0, 404);
    }
}
