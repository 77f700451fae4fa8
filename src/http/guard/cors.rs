//! Which pages may read what is answered (Fetch, section 3.2): our own, and those of `origins`. To all others a browser shows
//! nothing, since nothing says that it may. Cookies are none of their business: they show a token themselves.

use http::{HeaderMap, HeaderValue, Method, Request, header};

use crate::access::WebOrigins;

/// What a page may send, beside what every page may: its token, and its place.
const CORS_REQUEST_HEADERS: &str = "authorization, content-type, last-event-id";

/// How long a browser may remember the answer to its question, in seconds: shorter than it takes to change one's mind.
const PREFLIGHT_MAX_AGE: &str = "600";

/// A page that may read the answer.
#[derive(Debug)]
pub(crate) struct CorsOrigin {
    origin: HeaderValue,
    is_preflight: bool,
}

impl CorsOrigin {
    /// The page that sent the request, if it may read the answer.
    pub(crate) fn of<B>(request: &Request<B>, origins: &WebOrigins) -> Option<Self> {
        let mut given = request.headers().get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (given.next(), given.next()) else { return None };
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or_default();
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        origins.allow(origin.to_str().ok()?, host).then(|| Self { origin: origin.clone(), is_preflight: asks })
    }

    /// Whether it asks only what it may send (Fetch, section 3.2.2).
    pub(crate) fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    /// Lets it read the answer with these headers, which may let all pages read it.
    pub(crate) fn open(self, headers: &mut HeaderMap) {
        if self.is_preflight {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(CORS_REQUEST_HEADERS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_MAX_AGE));
        }
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
}
