//! Refusals, all in one shape: problem details (RFC 9457) that say what to do.

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use warp::reject::Rejection;
use warp::reply::Response;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// `detail` says what was asked and what would be right.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 400 with `detail`.
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The answer to a name that no stream has.
    pub(crate) fn no_stream(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no stream is named {name:?}; GET /streams lists them"))
    }
}

impl warp::Reply for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Members<'a> {
            status: u16,
            title: &'a str,
            detail: &'a str,
        }
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let members = Members { status: self.status.as_u16(), title, detail: &self.detail };
        let body = serde_json::to_string(&members).expect("a problem has text keys") + "\n";
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// What no route took.
pub(super) async fn reply(rejection: Rejection) -> Result<Problem, std::convert::Infallible> {
    Ok(if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address answers to GET only")
    } else if rejection.find::<warp::reject::InvalidQuery>().is_some() {
        Problem::bad("the query is not of the form name=value&name=value")
    } else {
        Problem::new(StatusCode::NOT_FOUND, "nothing is here; GET /streams lists the streams")
    })
}
