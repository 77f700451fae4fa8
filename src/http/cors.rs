//! Which pages of other origins may read what is answered (Fetch, section 3.2): those that `origins` names. To all others a
//! browser shows nothing, since nothing says that it may.

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::Filter;
use warp::reply::{Reply, Response};

use crate::access::Origins;

/// What a page may send, beside what every page may: its token, and its place.
const REQUEST_HEADERS: &str = "authorization, content-type, last-event-id";

/// How long a browser may remember the answer to its question, in seconds: shorter than it takes to change one's mind.
const REMEMBERED: &str = "600";

/// The same routes, for the pages of `origins` too.
pub(super) fn allow<F, R>(
    origins: Arc<Origins>,
    routes: F,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static
where
    F: Filter<Extract = (R,), Error = Infallible> + Clone + Send + Sync + 'static,
    R: Reply,
{
    warp::method().and(warp::header::headers_cloned()).and(routes).map(move |method, headers: HeaderMap, reply: R| {
        let response = reply.into_response();
        match origin(&origins, &headers) {
            Some(origin) => opened(&method, &headers, origin, response),
            None => response,
        }
    })
}

/// The page's origin, if it is one of `origins`.
fn origin<'a>(origins: &Origins, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    origins.allow(origin.to_str().ok()?, host).then_some(origin)
}

/// The answer, readable by the page; or the answer to its question whether it may ask.
fn opened(method: &Method, asked: &HeaderMap, origin: &HeaderValue, mut response: Response) -> Response {
    if method == Method::OPTIONS && asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    }
    let headers = response.headers_mut();
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}
