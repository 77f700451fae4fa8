//! Cross-origin resource sharing (Fetch, section 3.2): rtlogd's own pages and those of `origins` may read responses.
//! For all other pages the headers are missing, so the browser withholds the response. Cookies are not shared across
//! origins: pages of `origins` send a token of their own.

use http::{HeaderMap, HeaderValue, Method, Request, header};

use crate::access::WebOrigins;

/// Request headers that a page may set in addition to those that every page may set: its token, and its position.
const CORS_REQUEST_HEADERS: &str = "authorization, content-type, last-event-id";

/// Time in seconds for which a browser may cache the response to a preflight; short, so that configuration changes take
/// effect soon.
const PREFLIGHT_MAX_AGE: &str = "600";

/// The origin of a page that may read the response.
#[derive(Debug)]
pub(crate) struct CorsOrigin {
    origin: HeaderValue,
    is_preflight: bool,
}

impl CorsOrigin {
    /// The origin of the page that sent the request, if it may read the response.
    pub(crate) fn from_request<B>(request: &Request<B>, origins: &WebOrigins) -> Option<Self> {
        let mut values = request.headers().get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (values.next(), values.next()) else { return None };
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).unwrap_or_default();
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        origins.allow(origin.to_str().ok()?, host).then(|| Self { origin: origin.clone(), is_preflight })
    }

    /// Returns true if the request is a preflight (Fetch, section 3.2.2).
    pub(crate) fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    /// Adds the headers that let the page read the response. The response may already be readable by all pages.
    pub(crate) fn allow(self, headers: &mut HeaderMap) {
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
