//! Finds the row of a request in the route table, checks the request, and calls its handler.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

use crate::config::Right;
use crate::listen::ConnectionInfo;

use super::app::App;
use super::guard::body::{ExpectedBody, RequestBody};
use super::page::PageRequest;
use super::problem::{self, AllowedMethods, Problem};
use super::request::{Demands, HttpRequest, RequestHead};
use super::response::answer;

/// A request that passed the checks of its route.
#[derive(Debug)]
pub(super) struct RoutedCall {
    pub(super) request: HttpRequest,
    /// The first name in the path; empty where the path has none.
    pub(super) name: String,
    /// The connection, if the client wants to upgrade it.
    pub(super) upgrade: Option<OnUpgrade>,
    /// The body, if the handler reads it.
    pub(super) body: Option<RequestBody>,
}

/// The future of a handler: its response, or its refusal.
pub(super) type CallFuture = BoxFuture<'static, Result<Response, Problem>>;

/// A row of the route table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// The path, with `NAME` for any segment that is not empty.
    path: &'static str,
    handler: Handler,
}

#[derive(Debug, Clone, Copy)]
enum Handler {
    /// A handler of requests that meet the demands.
    Call(Demands, fn(RoutedCall) -> CallFuture),
    /// A handler of a public page; the caller is not authenticated.
    Page(fn(&PageRequest<'_>) -> Result<Response, Problem>),
}

impl Route {
    const fn new(
        methods: AllowedMethods,
        path: &'static str,
        right: Option<Right>,
        body: ExpectedBody,
        handler: fn(RoutedCall) -> CallFuture,
    ) -> Self {
        Self { path, handler: Handler::Call(Demands { methods, right, admits_public: false, body }, handler) }
    }

    /// The same route, also for callers whose only right is to read public streams. The handler checks the stream.
    pub(super) const fn also_public(self) -> Self {
        match self.handler {
            Handler::Call(demands, handler) => {
                Self { handler: Handler::Call(Demands { admits_public: true, ..demands }, handler), ..self }
            }
            Handler::Page(_) => self,
        }
    }

    /// A route for GET and HEAD, for callers with the right, or for all callers.
    pub(super) const fn get(path: &'static str, right: Option<Right>, handler: fn(RoutedCall) -> CallFuture) -> Self {
        Self::new(AllowedMethods::Get, path, right, ExpectedBody::Nothing, handler)
    }

    /// A route for GET and HEAD, which read a stream, and for POST and PUT, which append the lines of a body and need
    /// [`Right::Input`].
    pub(super) const fn stream(path: &'static str, handler: fn(RoutedCall) -> CallFuture) -> Self {
        // The handler refuses other methods, and POST where the stream takes no lines: that depends on the stream, so
        // `takes_lines` is not used here. The handler also reads the lines itself, as they arrive; the other methods
        // have no body.
        let methods = AllowedMethods::Stream { takes_lines: true };
        Self::new(methods, path, Some(Right::Read), ExpectedBody::Nothing, handler)
    }

    /// A route for POST, for callers with the right, or for all callers.
    pub(super) const fn post(
        path: &'static str,
        right: Option<Right>,
        body: ExpectedBody,
        handler: fn(RoutedCall) -> CallFuture,
    ) -> Self {
        Self::new(AllowedMethods::Post, path, right, body, handler)
    }

    /// A route for GET and HEAD of a page, for all callers.
    pub(super) const fn page(path: &'static str, handler: fn(&PageRequest<'_>) -> Result<Response, Problem>) -> Self {
        Self { path, handler: Handler::Page(handler) }
    }

    /// The names in `path` if it belongs to this route. A slash at the end makes no difference.
    fn names<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let path = path.strip_prefix('/')?;
        let path = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
        let mut segments = path.split('/');
        let mut names = Vec::new();
        for expected in self.path.trim_start_matches('/').split('/') {
            let segment = segments.next()?;
            match expected {
                "NAME" if !segment.is_empty() => names.push(segment),
                "NAME" => return None,
                _ if segment == expected => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(names)
    }
}

/// The service of these routes. A handler returns its own refusals; only a request that warp cannot parse is a
/// rejection.
pub(super) fn service(
    app: Arc<App>,
    routes: &'static [Route],
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::path::full()
        .and(warp::method())
        .and(warp::query::<Vec<(String, String)>>())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ConnectionInfo>())
        .and(warp::ext::optional::<RequestBody>())
        .and(warp::ext::optional::<OnUpgrade>())
        .then(move |path: FullPath, method, parameters, headers, connection, body, upgrade| {
            let app = app.clone();
            let head = RequestHead { method, parameters, headers, connection };
            async move { answer(dispatch(app, routes, path.as_str(), head, body, upgrade).await) }
        })
        .recover(problem::from_rejection)
}

async fn dispatch(
    app: Arc<App>,
    routes: &[Route],
    path: &str,
    head: RequestHead,
    body: Option<RequestBody>,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, Problem> {
    let found = routes.iter().find_map(|route| Some((route.handler, route.names(path)?)));
    let (handler, names) = found.ok_or_else(Problem::no_route)?;
    match handler {
        Handler::Page(handler) => {
            let origins = app.origins.clone();
            handler(&PageRequest { method: &head.method, headers: &head.headers, origins: &origins, names: &names })
        }
        Handler::Call(demands, handler) => {
            let name = names.first().copied().unwrap_or_default().to_owned();
            let request = HttpRequest::accept(app, demands, head, body.clone()).await?;
            handler(RoutedCall { request, name, upgrade, body }).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_segment_by_segment() {
        let page = Route::page;
        let names = |route: &'static str, path| page(route, super::super::page::index).names(path);
        let table: [(&str, &str, Option<&[&str]>); 13] = [
            ("/", "/", Some(&[])),
            ("/", "//", None),
            ("/", "/x", None),
            ("/streams", "/streams", Some(&[])),
            ("/streams", "/streams/", Some(&[])),
            ("/streams", "/streams//", None),
            ("/streams", "/stream", None),
            ("/streams/NAME", "/streams/a%20b", Some(&["a%20b"])),
            ("/streams/NAME", "/streams//", None),
            ("/streams/NAME", "/streams/a/b", None),
            ("/streams/NAME/poll", "/streams/a/poll/", Some(&["a"])),
            ("/streams/NAME/poll", "/streams//poll", None),
            ("/page/NAME/NAME", "/page/a/b", Some(&["a", "b"])),
        ];
        for (route, path, expected) in table {
            assert_eq!(names(route, path).as_deref(), expected, "{route} {path}");
        }
    }
}
