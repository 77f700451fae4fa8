//! HTTP: the route table, on one screen. Each endpoint is one file; all of them are loops over cursors.
//!
//! Streams have no queues here: a body asks its cursor, and the socket asks the body.

pub(crate) mod listen;
pub(crate) mod problem;
mod ask;
mod badge;
mod follow;
mod list;
mod poll;

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::watch;
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::event::StreamName;
use crate::stream::{Catalog, Entry};

use problem::Problem;

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// The streams there are.
    pub(crate) catalog: Catalog,
    /// How long a stream may be quiet before a comment keeps its connection alive.
    pub(crate) keep_alive: Duration,
    /// Whether requests are to be served: from when all sources were started until the daemon stops.
    pub(crate) ready: watch::Receiver<bool>,
}

/// One request, as the handlers see it.
#[derive(Debug)]
struct Request {
    app: App,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
}

impl App {
    /// The routes. The handlers answer for themselves; only what no route took is a rejection.
    pub(crate) fn routes(
        self,
    ) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
        let request = warp::get()
            .map(move || self.clone())
            .and(warp::query::<Vec<(String, String)>>())
            .and(warp::header::headers_cloned())
            .map(|app, parameters, headers| Request { app, parameters, headers });
        let list = warp::path!("streams").and(request.clone()).then(async |ask| answer(list::streams(&ask).await));
        let stream = warp::path!("streams" / String)
            .and(request.clone())
            .then(async |n: String, ask| answer(follow::one(&n, &ask).await));
        let poll = warp::path!("streams" / String / "poll").and(request.clone());
        let poll = poll.then(async |name: String, ask| answer(poll::poll(&name, &ask).await));
        let state = warp::path!("streams" / String / "state").and(request.clone());
        let state = state.then(async |name: String, ask| answer(list::state(&name, &ask)));
        let progress = warp::path!("streams" / String / "progress").and(request.clone());
        let progress = progress.then(async |name: String, ask| answer(list::progress(&name, &ask)));
        let badge = warp::path!("streams" / String / "badge.svg").and(request.clone());
        let badge = badge.then(async |name: String, ask| answer(badge::badge(&name, &ask)));
        let live = warp::path!("health" / "live").and(request.clone()).then(async |_| plain("alive\n"));
        let ready = warp::path!("health" / "ready").and(request).then(async |ask| answer(ready(&ask)));
        let streams = list.or(stream).unify().or(poll).unify().or(state).unify().or(progress).unify().or(badge).unify();
        let routes = streams.or(live).unify().or(ready).unify();
        routes.recover(problem::reply)
    }
}

impl Request {
    /// The stream of that name.
    fn stream(&self, name: &str) -> Result<Entry, Problem> {
        let known = name.parse::<StreamName>().ok().and_then(|name| self.app.catalog.get(&name));
        known.ok_or_else(|| Problem::no_stream(name))
    }
}

fn answer(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(Reply::into_response)
}

fn ready(ask: &Request) -> Result<Response, Problem> {
    if *ask.app.ready.borrow() {
        Ok(plain("ready\n"))
    } else {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is starting or stopping; try again"))
    }
}

fn plain(text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_string(value).expect("answers have text keys and finite numbers") + "\n";
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
