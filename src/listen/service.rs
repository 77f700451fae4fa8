//! The interface of the service that answers the requests of all connections. `listen` knows neither routes nor
//! refusals.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};

use super::{ConnectionError, ConnectionInfo};

/// A service that answers requests.
pub(crate) trait Service: fmt::Debug + Send + Sync + 'static {
    /// Answers one request. Requests of connections over the limit are also passed on, see
    /// [`ConnectionInfo::is_over_limit`]. The future is dropped when the client closes the connection.
    fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: ConnectionInfo,
    ) -> impl Future<Output = Response<impl Body<Data = Bytes, Error: Into<ConnectionError>> + Send + Unpin + 'static>>
    + Send
    + 'static;
}
