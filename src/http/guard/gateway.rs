//! The checks that every request passes before it reaches the routes: its connection, its host, its length, its path
//! and its sender. The headers that every response carries are set here, and every response is counted.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use http_body_util::Empty;
use hyper::body::{Body, Incoming};
use tower_service::Service as _;
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::access::{AllowedHosts, Peer, TrustedProxies, WebOrigins};
use crate::http::problem::Problem;
use crate::http::response_counter::ResponseCounter;
use crate::http::stream::follow::retry_later;
use crate::listen::{ConnectionInfo, Service};

use super::body::{self, RequestBody};
use super::cors;
use super::forwarded::{self, UntrustedLog};

/// The routes behind a pointer: their concrete type is very large, and would be part of every type that serves
/// connections.
#[derive(Clone)]
pub(crate) struct RouteService(Arc<dyn Fn(hyper::Request<Empty<Bytes>>) -> BoxFuture<'static, Response> + Send + Sync>);

impl RouteService {
    pub(crate) fn new<F>(routes: F) -> Self
    where
        F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
        F::Extract: Reply,
        F::Future: Send,
    {
        Self(Arc::new(move |request| {
            let answer = warp::service(routes.clone()).call(request);
            Box::pin(async { answer.await.unwrap_or_else(|never| match never {}) })
        }))
    }
}

impl fmt::Debug for RouteService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RouteService")
    }
}

/// The service in front of the routes.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) routes: RouteService,
    /// The host names that requests may be addressed to.
    pub(crate) hosts: AllowedHosts,
    /// The origins whose pages may read.
    pub(crate) origins: Arc<WebOrigins>,
    /// The proxies whose information about clients is trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) untrusted_log: UntrustedLog,
    /// The path under which all routes are served; empty, or without a slash at its end.
    pub(crate) base_path: String,
    pub(crate) response_counter: ResponseCounter,
}

impl Service for Gateway {
    #[expect(refining_impl_trait, reason = "only warp knows the type of the body")]
    async fn respond(self: Arc<Self>, request: hyper::Request<Incoming>, connection: ConnectionInfo) -> Response {
        let method = request.method().clone();
        let response = route(request, &self, connection).await;
        self.response_counter.count(&method, response.status());
        response
    }
}

async fn route(request: hyper::Request<Incoming>, gateway: &Gateway, connection: ConnectionInfo) -> Response {
    if connection.is_over_limit() {
        return if request.headers().contains_key("last-event-id") {
            retry_later()
        } else {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections; try again later")
                .into_response()
        };
    }
    let page = cors::CorsOrigin::from_request(&request, &gateway.origins);
    let mut response = match check_request(request, gateway, connection) {
        Ok(_) if page.as_ref().is_some_and(cors::CorsOrigin::is_preflight) => StatusCode::NO_CONTENT.into_response(),
        Ok(request) => {
            // HTTP/2 resets a body that is not read, and the client still reads the response. HTTP/1 has to drain it.
            let body =
                request.extensions().get::<RequestBody>().filter(|_| request.version() < Version::HTTP_2).cloned();
            let body = body.filter(|_| !request.headers().contains_key(header::EXPECT));
            let response = (gateway.routes.0)(request).await;
            if let Some(body) = body {
                body.drain().await;
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    // A URL may contain a token, which must not reach other sites.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(page) = page {
        page.allow(headers);
    }
    response
}

fn check_request(
    request: hyper::Request<Incoming>,
    gateway: &Gateway,
    mut connection: ConnectionInfo,
) -> Result<hyper::Request<Empty<Bytes>>, Problem> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    check_host(authority, request.headers(), &gateway.hosts)?;
    let length = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if length > connection.limits.query_size {
        let most = connection.limits.query_size;
        let detail = format!(
            "path and query have {length} bytes, more than the limit of {most} bytes; send long filters over the control channel"
        );
        return Err(Problem::new(StatusCode::URI_TOO_LONG, detail));
    }
    let (mut head, body) = request.into_parts();
    // HTTP/2 has the name only in `:authority` (RFC 9113, section 8.3.1); later checks use only `Host`.
    if let (false, Some(authority)) = (head.headers.contains_key(header::HOST), head.uri.authority())
        && let Ok(host) = authority.as_str().parse()
    {
        head.headers.insert(header::HOST, host);
    }
    strip_base_path(&mut head, &gateway.base_path, &connection)?;
    if !body.is_end_stream() {
        if body::has_content_encoding(&head.headers) {
            return Err(Problem::unsupported_encoding());
        }
        head.extensions.insert(RequestBody::new(body));
    }
    let arrival = forwarded::resolve_peer(connection.peer, &head.headers, &gateway.trusted_proxies);
    gateway.untrusted_log.note(connection.peer, arrival);
    connection.is_secure = if matches!(arrival.peer, Peer::Proxied(_)) { arrival.https } else { connection.is_secure };
    connection.peer = arrival.peer;
    head.extensions.insert(connection);
    Ok(hyper::Request::from_parts(head, Empty::new()))
}

/// Removes the base path from the request's path. Paths without it are served where they cannot belong to another site
/// behind the same proxy: on the Unix socket, so that commands need no base path, and below `/health/`, for probes.
fn strip_base_path(head: &mut Parts, base_path: &str, connection: &ConnectionInfo) -> Result<(), Problem> {
    if base_path.is_empty() {
        return Ok(());
    }
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let rest = path.strip_prefix(base_path).filter(|rest| rest.starts_with('/'));
    if rest.is_none() && (matches!(connection.peer, Peer::Unix { .. }) || path.starts_with("/health/")) {
        return Ok(());
    }
    let rest = rest.and_then(|rest| rest.parse().ok());
    head.uri = rest.ok_or_else(|| Problem::no_base_path(base_path))?;
    Ok(())
}

/// Refuses a request that does not have exactly one `Host` (RFC 9112, section 3.2), or whose host is not one of this
/// server's.
fn check_host(authority: Option<&str>, headers: &HeaderMap, hosts: &AllowedHosts) -> Result<(), Problem> {
    let mut values = headers.get_all(header::HOST).iter();
    let host = match (values.next(), values.next(), authority) {
        (Some(host), None, _) => host.to_str().map_err(|_| Problem::bad("Host is not text"))?,
        (None, _, Some(authority)) => authority,
        (None, _, None) => return Err(Problem::bad("the request has no Host")),
        (Some(_), Some(_), _) => return Err(Problem::bad("the request has more than one Host")),
    };
    if hosts.is_ours(host) {
        return Ok(());
    }
    let detail = format!("{host:?} is not a name of this server; its owner can add it to `hosts`");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}
