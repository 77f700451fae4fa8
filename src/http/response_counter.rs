//! The count of responses, by method and status.

use std::borrow::Cow;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The methods that are counted by their name; a client may send any.
const COUNTED_METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS];

/// The number of responses by method and status. A clone shares the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResponseCounter(Family<ResponseLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    method: Cow<'static, str>,
    code: u16,
}

impl ResponseCounter {
    /// Counts one response.
    pub(crate) fn count(&self, method: &Method, status: StatusCode) {
        let known = COUNTED_METHODS.contains(method);
        let method = if known { Cow::Owned(method.as_str().to_owned()) } else { Cow::Borrowed("other") };
        self.0.get_or_create(&ResponseLabels { method, code: status.as_u16() }).inc();
    }

    /// Adds the counts to a registry.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("rtlogd_http_requests", "Requests that were answered, by method and status", self.0.clone());
    }
}
