//! HTTP: the route table, on one screen. Each endpoint is one file; all of them are loops over cursors.
//!
//! Streams have no queues here: a body asks its cursor, and the socket asks the body.

pub(crate) mod problem;
pub(crate) mod guard;
pub(crate) mod stream;
mod query;
mod badge;
mod command;
mod list;
mod metrics;
mod openapi;
mod page;
mod process_usage;
mod render_cache;
mod request;
mod control;

pub use guard::forwarded::resolve_for_fuzz;
pub use query::{CheckedQuery, check_query};

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use serde::Serialize;
use tokio::sync::watch;
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::access::{AccessControl, AccessTarget, Caller, Credential, WebOrigins};
use crate::config::Right;
use crate::control::{Command, CommandRouter};
use crate::event::{StreamName, Time};
use crate::stream::{Catalog, CatalogEntry, LogInfo};

use crate::http::guard::body::{ExpectedBody, RequestBody};
use crate::http::guard::lease::Leases;
use crate::http::guard::rate_limit::RateLimiters;
use crate::http::stream::steering::SteeringSessions;
use crate::listen::quota::Quota;
use command::CallError;
pub(crate) use metrics::ResponseCounter;
use problem::{AllowedMethods, Problem};
pub(crate) use process_usage::note_process_start;
use render_cache::RenderCache;
use request::{HttpRequest, RequestResult};

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    /// The streams there are.
    pub(crate) catalog: Catalog,
    /// What takes commands.
    pub(crate) desk: CommandRouter,
    /// Whether requests are to be served: from when all sources were started until the daemon stops.
    pub(crate) ready: watch::Receiver<bool>,
    /// Who may do what.
    pub(crate) access: AccessControl,
    /// Whose pages may read and do what their readers may.
    pub(crate) origins: Arc<WebOrigins>,
    /// The readers that the control channel can steer.
    pub(crate) sessions: SteeringSessions,
    /// Who may type now.
    pub(crate) leases: Leases,
    /// How many answers that take their time, streams and channels, each token and each other machine has open.
    open_streams_quota: Quota<Credential>,
    /// How many readers each caller has open.
    readers_quota: Quota<Credential>,
    /// How many of them share a request with others.
    joined_readers_quota: Quota<Credential>,
    /// What was rendered last of what grows with the number of streams.
    render_cache: RenderCache,
    /// How many bytes of bodies each caller is sending.
    bodies_quota: Quota<Credential>,
    /// How many callers are sending a token to log in with.
    logins_quota: Quota<Credential>,
    /// How fast commands came.
    pub(crate) rate_limiters: RateLimiters,
    /// How requests were answered.
    pub(crate) response_counter: ResponseCounter,
    /// The path under which we are seen, without the slash at its end.
    pub(crate) base_path: Arc<str>,
}

impl App {
    /// Nobody has asked for anything yet.
    pub(crate) fn new(
        catalog: Catalog,
        desk: CommandRouter,
        ready: watch::Receiver<bool>,
        access: AccessControl,
        origins: Arc<WebOrigins>,
        base_path: &str,
    ) -> Self {
        let (sessions, leases) = (SteeringSessions::default(), Leases::default());
        let (answers_open, readers_open) = (Quota::default(), Quota::default());
        let (paces, answers, base_path) = (RateLimiters::default(), ResponseCounter::default(), base_path.into());
        Self {
            catalog,
            desk,
            ready,
            access,
            origins,
            sessions,
            leases,
            open_streams_quota: answers_open,
            readers_quota: readers_open,
            joined_readers_quota: Quota::default(),
            render_cache: RenderCache::default(),
            bodies_quota: Quota::default(),
            logins_quota: Quota::default(),
            rate_limiters: paces,
            response_counter: answers,
            base_path,
        }
    }

    /// The routes. The handlers answer for themselves; only what no route took is a rejection.
    pub(crate) fn routes(
        self,
    ) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
        let read = self.asked(AllowedMethods::Get, Right::Read);
        let list = warp::path!("streams").and(read.clone());
        let list = list.then(async |ask: RequestResult| answer(async { list::streams(&ask?).await }.await));
        let either = self
            .asked(AllowedMethods::Stream { takes_lines: true }, Right::Read)
            .and(warp::ext::optional::<RequestBody>());
        let stream = warp::path!("streams" / String).and(either);
        let stream = stream.then(async |n: String, ask: RequestResult, body| {
            answer(async { crate::http::stream::push::push_or_follow(&n, ask?, body).await }.await)
        });
        let poll = warp::path!("streams" / String / "poll").and(read.clone());
        let poll = poll.then(async |n: String, ask: RequestResult| {
            answer(async { crate::http::stream::poll::poll(&n, &ask?).await }.await)
        });
        let state = warp::path!("streams" / String / "state").and(read.clone());
        let state = state.then(async |n: String, ask: RequestResult| answer(ask.and_then(|ask| list::state(&n, &ask))));
        let progress = warp::path!("streams" / String / "progress").and(read.clone());
        let progress =
            progress.then(async |n: String, ask: RequestResult| answer(ask.and_then(|ask| list::progress(&n, &ask))));
        let badge = warp::path!("streams" / String / "badge.svg").and(read.clone());
        let badge =
            badge.then(async |n: String, ask: RequestResult| answer(ask.and_then(|ask| badge::badge(&n, &ask))));
        let control = warp::path!("control").and(read.clone()).and(warp::ext::optional::<OnUpgrade>());
        let control =
            control.then(async |ask: RequestResult, upgrade| answer(ask.and_then(|ask| control::open(ask, upgrade))));
        #[cfg(debug_assertions)]
        let control = {
            let echo = warp::path!("echo").and(read.clone()).and(warp::ext::optional::<OnUpgrade>());
            let echo = echo.then(async |ask: RequestResult, upgrade| {
                answer(ask.and_then(|ask| control::echo::open(ask, upgrade)))
            });
            control.or(echo).unify()
        };
        let login = warp::path!("login").and(self.request_by_anyone(AllowedMethods::Post, ExpectedBody::Token));
        let login = login.then(async |ask: RequestResult| {
            answer(match ask {
                Ok(ask) => crate::http::guard::login::login(&ask).await,
                Err(problem) => Err(problem),
            })
        });
        let logout = warp::path!("logout").and(self.request_by_anyone(AllowedMethods::Post, ExpectedBody::Nothing));
        let logout =
            logout.then(async |ask: RequestResult| answer(ask.map(|ask| crate::http::guard::login::logout(&ask))));
        let metrics = warp::path!("metrics").and(read.clone());
        let metrics = metrics.then(async |ask: RequestResult| answer(async { metrics::metrics(&ask?).await }.await));
        let openapi = warp::path!("openapi.json").and(read);
        let openapi = openapi.then(async |ask: RequestResult| answer(ask.and_then(|ask| openapi::openapi(&ask))));
        let any = self.request_by_anyone(AllowedMethods::Get, ExpectedBody::Nothing);
        let live = warp::path!("health" / "live").and(any.clone());
        let live = live.then(async |ask: RequestResult| answer(ask.map(|_| plain("alive\n"))));
        let ready = warp::path!("health" / "ready").and(any);
        let ready = ready.then(async |ask: RequestResult| answer(ask.and_then(|ask| self::ready(&ask))));
        let type_in = self.request_filter(AllowedMethods::Post, Some(Right::Input), ExpectedBody::Command);
        let input = warp::path!("streams" / String / "input").and(type_in);
        let input =
            input.then(async |n: String, ask: RequestResult| answer(async { command::input(&n, &ask?).await }.await));
        let admin = self.asked(AllowedMethods::Post, Right::Admin);
        let signal = warp::path!("streams" / String / "signal").and(admin.clone());
        let signal =
            signal.then(async |n: String, ask: RequestResult| answer(async { command::signal(&n, &ask?).await }.await));
        let simple = |path: &'static str, command: Command| {
            let route = warp::path!("streams" / String / ..).and(warp::path(path)).and(warp::path::end());
            route.and(admin.clone()).then(move |name: String, ask: RequestResult| {
                let command = command.clone();
                async move { answer(async { command::lifecycle(&name, &ask?, command).await }.await) }
            })
        };
        let start = simple("start", Command::Start);
        let commands = input.or(signal).unify().or(start).unify();
        let commands =
            commands.or(simple("stop", Command::Stop)).unify().or(simple("restart", Command::Restart)).unify();
        // Boxed by groups: the type of all of them together is deeper than the compiler looks.
        let streams = list.or(stream).unify().or(poll).unify().or(state).unify().or(progress).unify().or(badge).unify();
        let others = control.or(login).unify().or(logout).unify().or(metrics).unify().or(openapi).unify();
        let others = others.or(live).unify().or(ready).unify();
        let routes = streams.boxed().or(others.boxed()).unify().or(commands.boxed()).unify();
        routes.or(page::routes(&self.origins).boxed()).unify().recover(problem::from_rejection)
    }
}

impl App {
    /// The stream of that name, if the caller may do this with it.
    fn stream(&self, caller: &Caller, right: Right, name: &StreamName) -> Result<CatalogEntry, CallError> {
        self.access.check_any_stream(caller, right)?;
        let entry = self.catalog.get(name).ok_or_else(|| CallError::NoStream(name.to_string()))?;
        self.access.check(caller, right, access_target(&entry))?;
        Ok(self.restrict_to(caller, entry))
    }

    /// The stream as the caller may read it: if it must not be private for that, its log ends once it is. Every reader gets
    /// its log from here.
    fn restrict_to(&self, caller: &Caller, entry: CatalogEntry) -> CatalogEntry {
        let private = AccessTarget { is_private: true, ..access_target(&entry) };
        match self.access.check(caller, Right::Read, private) {
            Ok(()) => entry,
            Err(_) => CatalogEntry { log: entry.log.for_public(), ..entry },
        }
    }

    /// All streams that the caller may read.
    fn readable_streams(&self, caller: &Caller) -> Vec<CatalogEntry> {
        let mut all = self.catalog.list();
        all.retain(|entry| self.access.check(caller, Right::Read, access_target(entry)).is_ok());
        all.into_iter().map(|entry| self.restrict_to(caller, entry)).collect()
    }
}

/// How the stream stands now, as its reader may know it: an error if it turned private since it was looked up.
fn readable_info(entry: &CatalogEntry, now: Time) -> Result<LogInfo, Problem> {
    let info = entry.log.info(now);
    if entry.log.is_denied() { Err(Problem::no_stream(entry.log.name().as_str())) } else { Ok(info) }
}

/// The stream, as the table of rights sees it.
fn access_target(entry: &CatalogEntry) -> AccessTarget<'_> {
    AccessTarget { name: entry.log.name(), is_private: entry.log.private().is_set() }
}

/// The entity tag of an answer (RFC 9110, section 8.8.3).
fn entity_tag(body: &[u8]) -> HeaderValue {
    HeaderValue::try_from(format!("\"{:08x}\"", crc32fast::hash(body))).expect("hexadecimal digits in quotes")
}

/// Whether who asks has the answer with this tag (RFC 9110, section 13.1.2).
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    asked.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
    })
}

fn answer(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(Reply::into_response)
}

fn ready(ask: &HttpRequest) -> Result<Response, Problem> {
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
    json_body_response(Bytes::from(
        serde_json::to_string(value).expect("answers have text keys and finite numbers") + "\n",
    ))
}

/// An answer whose body is JSON.
fn json_body_response(body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
