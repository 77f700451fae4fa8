//! Responses: plain text, JSON, entity tags.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use warp::reply::{Reply, Response};

use super::problem::Problem;

/// The entity tag of a body (RFC 9110, section 8.8.3): equal bodies have equal tags.
pub(super) fn entity_tag(body: &[u8]) -> HeaderValue {
    HeaderValue::try_from(format!("\"{:08x}\"", crc32fast::hash(body))).expect("hexadecimal digits in quotes")
}

/// Returns whether the client already has the response with this tag (RFC 9110, section 13.1.2).
pub(super) fn matches_entity_tag(request: &HeaderMap, tag: &HeaderValue) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes())
    })
}

/// The response of a handler, or the problem document of its refusal.
pub(super) fn answer(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(Reply::into_response)
}

/// A response with plain text, which is not cached.
pub(super) fn plain(text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response with this value as one line of JSON, which is not cached. The value has text keys and finite numbers
/// only.
pub(super) fn json(value: &impl Serialize) -> Response {
    json_body_response(Bytes::from(
        serde_json::to_string(value).expect("responses have text keys and finite numbers") + "\n",
    ))
}

/// A response whose body is JSON, which is not cached.
pub(super) fn json_body_response(body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
