//! HTTP: the route table, and the handler of each endpoint. Every response with events is a loop over a cursor.
//!
//! `listen` hands a request to the gateway ([`guard::gateway`]), which checks its host, length and sender. The `router`
//! finds the row of the request in [`ROUTES`]. `request` authenticates the caller and checks its right before the body
//! is read. The handler then creates the response: `stream` reads logs as their `query` says, `control` is the
//! WebSocket, `command` sends commands to processes, and `list`, `runs`, `badge`, `metrics` (with `process_usage` and
//! `response_counter`), `openapi` and `page` are the other endpoints. `grammar` parses the values that choose events, for
//! queries and for the control channel. Every refusal is a `problem`; those that the control channel has as well are a
//! `call_error`. `app` is the state that all requests share, and `render_cache` keeps what is expensive to write.
//!
//! A new endpoint is a handler, a row of [`ROUTES`] (the constructors are in `router`: `NAME` in its path is a parameter,
//! `HEAD` follows from `GET`, and `also_public` admits callers who may only read public streams) and an operation in
//! `openapi`; `tests/openapi.rs` compares the two. The handler refuses parameters that it does not know
//! (`HttpRequest::only_parameter`). The table ENDPOINTS of rtlogd-http(7) has a row for it, and `ADDRESSES` in
//! `tests/rights.rs` says who may use it; a test fails if one of them is missing.
//!
//! No layer here queues events: the connection polls the body, and the body polls its cursor.

mod app;
mod router;
mod request;
pub(crate) mod problem;
mod response;
mod response_counter;
pub(crate) mod guard;
mod grammar;
mod query;
pub(crate) mod stream;
mod control;
mod call_error;
mod command;
mod list;
mod runs;
mod render_cache;
mod badge;
mod metrics;
mod process_usage;
mod openapi;
mod page;
#[cfg(test)]
mod testing;

pub use guard::forwarded::resolve_for_fuzz;
pub use query::{CheckedQuery, check_query};

use std::convert::Infallible;
use std::future::ready as now;
use std::sync::Arc;

use http::StatusCode;
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::config::Right::{self, Admin, Input, Read};
use crate::control::LifecycleCommand;

pub(crate) use app::{App, RestartNotice};
use guard::body::ExpectedBody;
use guard::login;
use problem::Problem;
pub(crate) use process_usage::note_process_start;
use router::{CallFuture, Route, RoutedCall};
use stream::poll;

/// The entry of the route table in place of a right, for routes that all callers may use.
const NO_RIGHT: Option<Right> = None;

/// Every route: the path, the right that it needs, the handler.
const ROUTES: &[Route] = &[
    Route::get("/streams", Some(Read), |call| Box::pin(async move { list::streams(&call.request).await }))
        .also_public(),
    Route::stream("/streams/NAME", |call| {
        Box::pin(async move { stream::follow_or_push(&call.name, call.request, call.body).await })
    })
    .also_public(),
    Route::get("/streams/NAME/poll", Some(Read), |call| {
        Box::pin(async move { poll::poll(&call.name, &call.request).await })
    })
    .also_public(),
    Route::get("/streams/NAME/state", Some(Read), |call| Box::pin(now(list::state(&call.name, &call.request))))
        .also_public(),
    Route::get("/streams/NAME/runs", Some(Read), |call| Box::pin(now(runs::runs(&call.name, &call.request))))
        .also_public(),
    Route::get("/streams/NAME/progress", Some(Read), |call| Box::pin(now(list::progress(&call.name, &call.request))))
        .also_public(),
    Route::get("/streams/NAME/badge.svg", Some(Read), |call| Box::pin(now(badge::badge(&call.name, &call.request))))
        .also_public(),
    Route::post("/streams/NAME/input", Some(Input), ExpectedBody::Command, |call| {
        Box::pin(async move { command::input(&call.name, &call.request).await })
    }),
    Route::post("/streams/NAME/signal", Some(Admin), ExpectedBody::Nothing, |call| {
        Box::pin(async move { command::signal(&call.name, &call.request).await })
    }),
    Route::post("/streams/NAME/start", Some(Admin), ExpectedBody::Nothing, |call| {
        lifecycle(call, LifecycleCommand::Start)
    }),
    Route::post("/streams/NAME/stop", Some(Admin), ExpectedBody::Nothing, |call| {
        lifecycle(call, LifecycleCommand::Stop)
    }),
    Route::post("/streams/NAME/restart", Some(Admin), ExpectedBody::Nothing, |call| {
        lifecycle(call, LifecycleCommand::Restart)
    }),
    // The page and the element read streams over it.
    Route::get("/control", Some(Read), |call| Box::pin(now(control::open(call.request, call.upgrade)))).also_public(),
    #[cfg(debug_assertions)]
    Route::get("/echo", Some(Read), |call| Box::pin(now(control::echo::open(call.request, call.upgrade)))),
    Route::post("/login", NO_RIGHT, ExpectedBody::Token, |call| {
        Box::pin(async move { login::login(&call.request).await })
    }),
    Route::post("/logout", NO_RIGHT, ExpectedBody::Nothing, |call| Box::pin(now(Ok(login::logout(&call.request))))),
    Route::get("/metrics", Some(Read), |call| Box::pin(async move { metrics::metrics(&call.request).await })),
    Route::get("/openapi.json", Some(Read), |call| Box::pin(now(openapi::openapi(&call.request)))),
    Route::get("/health/live", NO_RIGHT, |_| Box::pin(now(Ok(response::plain("alive\n"))))),
    Route::get("/health/ready", NO_RIGHT, |call| Box::pin(now(health_ready(&call.request.app)))),
    Route::page("/", page::index),
    Route::page("/embed/NAME", page::embed),
    Route::page("/rtlogd.js", page::element),
    Route::page("/page/NAME/NAME", page::asset),
];

/// The service of all routes.
pub(crate) fn routes(
    app: Arc<App>,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
    router::service(app, ROUTES)
}

fn lifecycle(call: RoutedCall, command: LifecycleCommand) -> CallFuture {
    Box::pin(async move { command::lifecycle(&call.name, &call.request, command).await })
}

fn health_ready(app: &App) -> Result<Response, Problem> {
    if *app.ready.borrow() {
        Ok(response::plain("ready\n"))
    } else {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is starting or stopping; try again"))
    }
}
