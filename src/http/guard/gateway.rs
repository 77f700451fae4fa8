//! What holds for every request before it reaches the routes: its seat, its host, its sender, its path.

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

use crate::access::{AllowedHosts, Peer};

use super::limits::ConnectionPermit;
use super::{ConnectionInfo, ServerContext};
pub(crate) use crate::http::guard::body;
pub(crate) use crate::http::guard::body::RequestBody;
pub(crate) use crate::http::guard::{cors, forwarded};
use crate::http::problem::Problem;
pub(crate) use crate::http::stream::follow::retry_later;

/// The routes, without their type: it is as large as all of them, and what serves connections would be made for it.
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
        f.write_str("Routes")
    }
}

/// What holds for every request, then the routes; and the answer is counted.
pub(super) async fn serve_request(
    request: hyper::Request<Incoming>,
    rules: &ServerContext,
    guest: ConnectionInfo,
) -> Response {
    let method = request.method().clone();
    let response = route(request, rules, guest).await;
    rules.response_counter.count(&method, response.status());
    response
}

async fn route(request: hyper::Request<Incoming>, rules: &ServerContext, guest: ConnectionInfo) -> Response {
    if matches!(*guest.permit, ConnectionPermit::OverLimit(_)) {
        return if request.headers().contains_key("last-event-id") {
            retry_later()
        } else {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "all seats are taken; try again later").into_response()
        };
    }
    let page = cors::CorsOrigin::of(&request, &rules.origins);
    let mut response = match check_request(request, rules, guest) {
        Ok(_) if page.as_ref().is_some_and(cors::CorsOrigin::is_preflight) => StatusCode::NO_CONTENT.into_response(),
        Ok(request) => {
            // Of HTTP/2 a body that nobody wants is reset, and the answer is read all the same.
            let body =
                request.extensions().get::<RequestBody>().filter(|_| request.version() < Version::HTTP_2).cloned();
            let body = body.filter(|_| !request.headers().contains_key(header::EXPECT));
            let response = (rules.service.0)(request).await;
            if let Some(body) = body {
                body.drain().await;
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    // An address may have a token in it, which is nobody else's business.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(page) = page {
        page.open(headers);
    }
    response
}

fn check_request(
    request: hyper::Request<Incoming>,
    rules: &ServerContext,
    mut guest: ConnectionInfo,
) -> Result<hyper::Request<Empty<Bytes>>, Problem> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    check_host(authority, request.headers(), &rules.hosts)?;
    let asked = request.uri().path_and_query().map_or(0, |asked| asked.as_str().len());
    if asked > guest.limits.query_size {
        let most = guest.limits.query_size;
        let detail = format!(
            "path and query may have {most} bytes, and this has {asked}; the control channel takes long filters"
        );
        return Err(Problem::new(StatusCode::URI_TOO_LONG, detail));
    }
    let (mut head, body) = request.into_parts();
    // Of HTTP/2 the name stands in `:authority` alone (RFC 9113, section 8.3.1); whoever asks later looks in one place.
    if let (false, Some(authority)) = (head.headers.contains_key(header::HOST), head.uri.authority())
        && let Ok(host) = authority.as_str().parse()
    {
        head.headers.insert(header::HOST, host);
    }
    strip_base_path(&mut head, &rules.base_path)?;
    if !body.is_end_stream() {
        if body::has_content_encoding(&head.headers) {
            return Err(Problem::unsupported_encoding());
        }
        head.extensions.insert(RequestBody::new(body));
    }
    let arrival = forwarded::resolve_peer(guest.peer, &head.headers, &rules.trusted_proxies);
    rules.untrusted_log.note(guest.peer, arrival);
    guest.is_secure = if matches!(arrival.peer, Peer::Proxied(_)) { arrival.https } else { guest.is_secure };
    guest.peer = arrival.peer;
    head.extensions.insert(guest);
    Ok(hyper::Request::from_parts(head, Empty::new()))
}

/// Takes the path under which we are seen off the address.
fn strip_base_path(head: &mut Parts, base_path: &str) -> Result<(), Problem> {
    if base_path.is_empty() {
        return Ok(());
    }
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let rest = path.strip_prefix(base_path).filter(|rest| rest.starts_with('/'));
    let rest = rest.and_then(|rest| rest.parse().ok());
    head.uri = rest.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("all is below {base_path}/")))?;
    Ok(())
}

/// RFC 9112, section 3.2: exactly one `Host`; and it must be ours.
fn check_host(authority: Option<&str>, headers: &HeaderMap, hosts: &AllowedHosts) -> Result<(), Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let host = match (given.next(), given.next(), authority) {
        (Some(host), None, _) => host.to_str().map_err(|_| Problem::bad("Host is not text"))?,
        (None, _, Some(authority)) => authority,
        (None, _, None) => return Err(Problem::bad("the request has no Host")),
        (Some(_), Some(_), _) => return Err(Problem::bad("the request has two Hosts")),
    };
    if hosts.is_ours(host) {
        return Ok(());
    }
    let detail = format!("{host:?} is not a name of this server; its owner can add it to `hosts`");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}
