//! Error responses, all in one format: problem details (RFC 9457) that say what to do.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use warp::reject::Rejection;
use warp::reply::Response;

use crate::event::percent_decode;

/// The methods that a resource supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedMethods {
    /// GET, and therefore HEAD.
    Get,
    Post,
    /// GET and HEAD, and for a stream that accepts lines also POST, or PUT, which some clients use instead.
    Stream {
        /// True if the stream accepts lines. Only the `Allow` header depends on it.
        takes_lines: bool,
    },
}

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// The headers that this status requires.
    headers: &'static [(&'static str, &'static str)],
    /// The time after which to retry (RFC 9110, section 10.2.3).
    retry_after: Option<Duration>,
    /// The prefix of all paths of this server, if that of the request lacks it: an extension member by which a client
    /// finds the right address (RFC 9457, section 3.2).
    base_path: Option<String>,
    /// The name that no stream has: an extension member by which a client can say in its own words what to do.
    unknown_stream: Option<String>,
}

impl Problem {
    /// A problem whose `detail` says what was requested and what would be correct.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: &[], retry_after: None, base_path: None, unknown_stream: None }
    }

    /// 400 with `detail`.
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 429: the client may retry `after` this time (RFC 6585, section 4).
    pub(super) fn too_many(detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 503: the server is overloaded, and the client may retry `after` this time.
    pub(super) fn overloaded(detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The same problem with another `detail`.
    #[must_use]
    pub(super) fn with_detail(self, detail: String) -> Self {
        Self { detail, ..self }
    }

    /// The detail: what was requested and what would be correct.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns true if the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The status and the detail.
    pub(crate) fn into_parts(self) -> (u16, String) {
        (self.status.as_u16(), self.detail)
    }

    /// 405: the request must use one of the `allowed` methods.
    pub(super) fn method(allowed: AllowedMethods) -> Self {
        let headers: &[_] = match allowed {
            AllowedMethods::Get | AllowedMethods::Stream { takes_lines: false } => &[("allow", "GET, HEAD")],
            AllowedMethods::Post => &[("allow", "POST")],
            AllowedMethods::Stream { takes_lines: true } => &[("allow", "GET, HEAD, POST, PUT")],
        };
        let detail = format!("this path answers {} only", headers[0].1);
        Self { headers, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 415: the body is compressed or otherwise encoded (RFC 9110, section 15.5.16). Nothing is decompressed, since a
    /// kilobyte may expand to a megabyte.
    pub(crate) fn unsupported_encoding() -> Self {
        let headers = &[("accept-encoding", "identity")];
        let detail = "the body is compressed; send it uncompressed, without Content-Encoding";
        Self { headers, ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail) }
    }

    /// 401: the request needs a token (RFC 6750, section 3).
    pub(super) fn token(detail: impl Into<String>) -> Self {
        let headers = &[("www-authenticate", "Bearer realm=\"rtlogd\"")];
        Self { headers, ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// 426: the resource accepts only web sockets of version 13 (RFC 6455, section 4.4).
    pub(super) fn upgrade_required(detail: &str) -> Self {
        let headers = &[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13")];
        Self { headers, ..Self::new(StatusCode::UPGRADE_REQUIRED, detail) }
    }

    /// 404: no route has this path.
    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing here; GET /streams lists the streams")
    }

    /// 404: the path does not begin with the base path.
    pub(super) fn no_base_path(base_path: &str) -> Self {
        let detail =
            format!("there is nothing here; all paths begin with {base_path}/, which a proxy must pass on as it is");
        Self { base_path: Some(base_path.to_owned()), ..Self::new(StatusCode::NOT_FOUND, detail) }
    }

    /// 404: no stream has this name.
    pub(crate) fn no_stream(name: &str) -> Self {
        let detail = format!("no stream is named {name:?}; GET /streams lists them");
        Self { unknown_stream: Some(name.to_owned()), ..Self::new(StatusCode::NOT_FOUND, detail) }
    }

    /// 404: no stream has the name in this segment of a path. The name is shown as a person would write it.
    pub(super) fn no_stream_at(segment: &str) -> Self {
        Self::no_stream(&String::from_utf8_lossy(&percent_decode(segment)))
    }
}

impl warp::Reply for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct ProblemMembers<'a> {
            status: u16,
            title: &'a str,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            base_path: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            unknown_stream: Option<&'a str>,
        }
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let members = ProblemMembers {
            status: self.status.as_u16(),
            title,
            detail: &self.detail,
            base_path: self.base_path.as_deref(),
            unknown_stream: self.unknown_stream.as_deref(),
        };
        let body = serde_json::to_string(&members).expect("a problem has text keys") + "\n";
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        if let Some(after) = self.retry_after {
            // The header has whole seconds, so the time is rounded up.
            headers
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        response
    }
}

/// The response to a request that the router rejected.
pub(super) async fn from_rejection(rejection: Rejection) -> Result<Problem, std::convert::Infallible> {
    Ok(if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        Problem::bad("the query is not of the form name=value&name=value")
    } else {
        Problem::no_route()
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use warp::Reply;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_json_that_no_cache_keeps_with_the_headers_of_its_status() {
        type Row = (Problem, u16, &'static [(&'static str, &'static str)]);
        let second = Duration::from_secs(1);
        let table: [Row; 9] = [
            (Problem::bad("x"), 400, &[]),
            (Problem::token("x"), 401, &[("www-authenticate", "Bearer realm=\"rtlogd\"")]),
            (Problem::no_stream("x"), 404, &[]),
            (Problem::method(AllowedMethods::Get), 405, &[("allow", "GET, HEAD")]),
            (Problem::method(AllowedMethods::Stream { takes_lines: true }), 405, &[("allow", "GET, HEAD, POST, PUT")]),
            (Problem::unsupported_encoding(), 415, &[("accept-encoding", "identity")]),
            (Problem::upgrade_required("x"), 426, &[("upgrade", "websocket"), ("sec-websocket-version", "13")]),
            // The header has whole seconds, so the time is rounded up.
            (Problem::too_many("x", second), 429, &[("retry-after", "1")]),
            (Problem::overloaded("x", second + Duration::from_nanos(1)), 503, &[("retry-after", "2")]),
        ];
        for (problem, status, expected) in table {
            let detail = problem.detail().to_owned();
            let response = problem.into_response();
            let headers = response.headers().clone();
            assert_eq!(response.status(), status);
            let common = [("content-type", "application/problem+json"), ("cache-control", "no-store")];
            for (name, value) in common.iter().chain(expected) {
                assert_eq!(headers.get(*name).unwrap(), value, "{status}");
            }
            assert_eq!(headers.len(), common.len() + expected.len() + usize::from(status == 426), "{headers:?}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["status"], &body["detail"]), (&status.into(), &detail.into()));
            assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
        }
    }

    #[test]
    fn the_name_of_a_stream_that_does_not_exist_is_shown_as_it_was_meant() {
        for (segment, name) in [
            ("a%20b", "a b"),
            ("%C3%BC%2Fx", "ü/x"),
            ("100%", "100%"),
            ("a+b", "a+b"),
            ("%FF", "\u{fffd}"),
            ("%22", "\""),
        ] {
            assert_eq!(Problem::no_stream_at(segment), Problem::no_stream(name), "{segment}");
        }
    }

    #[test]
    fn only_an_overload_is_temporary() {
        assert!(Problem::overloaded("x", Duration::ZERO).is_temporary());
        assert!(!Problem::too_many("x", Duration::ZERO).is_temporary());
        assert!(!Problem::bad("x").is_temporary());
    }
}
