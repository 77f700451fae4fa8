//! What holds for every request before it meets the routes: its seat, its host, its body, its path.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Incoming};
use tower_service::Service as _;
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::access::Hosts;

use super::super::follow::come_later;
use super::super::problem::Problem;
use super::super::who;
use super::seats::Seat;
use super::{Guest, Rules};

/// Largest body of a request, in bytes: as much as a process is given to read at once.
const BODY: usize = 64 << 10;

/// The body that came with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent(pub(crate) Bytes);

/// What holds for every request, then the routes.
pub(super) async fn respond<F>(request: hyper::Request<Incoming>, routes: F, rules: &Rules, guest: Guest) -> Response
where
    F: Filter<Error = Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
{
    if matches!(*guest.seat, Seat::Overfull(_)) {
        return if request.headers().contains_key("last-event-id") {
            come_later()
        } else {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "all seats are taken; try again later").into_response()
        };
    }
    let shared = shared(&request, rules);
    let mut response = match admit(request, rules, guest).await {
        Ok(request) if shared.is_some() && request.method() == Method::OPTIONS => preflight(),
        Ok(request) => warp::service(routes).call(request).await.unwrap_or_else(|never| match never {}),
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    // An address may have a token in it, which is nobody else's business.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = shared {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Whose page may read the answer: that which sent the request, if it is one of `origins` or ours (Fetch, section 3.2). Cookies
/// are none of its business: it shows a token itself.
fn shared(request: &hyper::Request<Incoming>, rules: &Rules) -> Option<HeaderValue> {
    let mut given = request.headers().get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (given.next(), given.next()) else { return None };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    rules.origins.allow(origin.to_str().ok()?, host).then(|| origin.clone())
}

/// What such a page may send (Fetch, section 3.2.2).
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    let names = HeaderValue::from_static("authorization, content-type, last-event-id");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

async fn admit(
    request: hyper::Request<Incoming>,
    rules: &Rules,
    mut guest: Guest,
) -> Result<hyper::Request<Empty<Bytes>>, Problem> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    check_host(authority, request.headers(), &rules.hosts)?;
    let (mut head, body) = request.into_parts();
    // Of HTTP/2 the name stands in `:authority` alone (RFC 9113, section 8.3.1); whoever asks later looks in one place.
    if let (false, Some(authority)) = (head.headers.contains_key(header::HOST), head.uri.authority())
        && let Ok(host) = authority.as_str().parse()
    {
        head.headers.insert(header::HOST, host);
    }
    let mut sent = Sent::default();
    if !body.is_end_stream() {
        let takes_one = head.method == Method::POST;
        let read = tokio::time::timeout(rules.limits.body, Limited::new(body, BODY).collect()).await;
        match read {
            Ok(Ok(body)) => sent.0 = body.to_bytes(),
            Ok(Err(_)) if takes_one => {
                let detail = format!("a body may have {BODY} bytes; send it in pieces");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            Ok(Err(_)) => {
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "nothing here takes a body; send none"));
            }
            Err(_) if takes_one => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")),
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly; send none")),
        }
    }
    head.extensions.insert(sent);
    guest.secure |= who::was_secure(guest.peer, &head.headers, &rules.trusted);
    guest.peer = who::origin(guest.peer, &head.headers, &rules.trusted);
    head.extensions.insert(guest);
    if !rules.base_path.is_empty() {
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let rest = path.strip_prefix(&rules.base_path).filter(|rest| rest.starts_with('/'));
        let rest = rest.and_then(|rest| rest.parse().ok());
        head.uri =
            rest.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("all is below {}/", rules.base_path)))?;
    }
    Ok(hyper::Request::from_parts(head, Empty::new()))
}

/// RFC 9112, section 3.2: exactly one `Host`; and it must be ours.
fn check_host(authority: Option<&str>, headers: &HeaderMap, hosts: &Hosts) -> Result<(), Problem> {
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
