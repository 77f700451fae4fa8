//! A request as the handlers receive it. The rights of its caller are checked here, before the body is read.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use crate::access::Caller;
use crate::config::Right;
use crate::event::StreamName;
use crate::stream::CatalogEntry;

use super::app::App;
use super::problem::{AllowedMethods, Problem};
use crate::http::guard::body;
use crate::http::guard::body::{ExpectedBody, RequestBody};
use crate::http::guard::lifetime::Lifetime;
use crate::http::guard::{authenticate, cross_site};
use crate::http::stream::steering::SessionEntry;
use crate::listen::ConnectionInfo;

/// A request that has passed the checks of its route.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) app: Arc<App>,
    /// The right that the request uses.
    pub(super) right: Right,
    pub(super) method: Method,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) connection: ConnectionInfo,
    pub(super) caller: Caller,
}

/// The demands of a route on its requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    pub(super) methods: AllowedMethods,
    /// The right that the caller needs on some stream; `None` for all callers.
    pub(super) right: Option<Right>,
    /// `true` if the route also serves callers whose only right is to read public streams.
    pub(super) admits_public: bool,
    pub(super) body: ExpectedBody,
}

/// The head of a request, and its connection.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) connection: ConnectionInfo,
}

impl HttpRequest {
    /// Checks the head of a request, and then reads its body. The handler reads the body itself if it consists of lines
    /// for a stream.
    ///
    /// # Errors
    /// If the token, the right, the method, the origin or the body is not accepted.
    pub(super) async fn accept(
        app: Arc<App>,
        demands: Demands,
        head: RequestHead,
        body: Option<RequestBody>,
    ) -> Result<Self, Problem> {
        let mut request = Self::authorize(app, demands, head).await?;
        if !request.appends(demands.methods) {
            let sender = (&*request.app, &request.caller, &*request.connection.limits);
            request.body = body::read_body(body, demands.body, sender).await?;
        }
        Ok(request)
    }

    /// Checks the head of a request; the returned request has no body yet.
    async fn authorize(app: Arc<App>, demands: Demands, head: RequestHead) -> Result<Self, Problem> {
        let RequestHead { method, mut parameters, headers, connection } = head;
        let caller = authenticate::caller(&app.access, connection.peer, &headers, &mut parameters).await?;
        let (right, body) = (demands.right.unwrap_or(Right::Read), Bytes::new());
        let mut request = Self { app, right, method, parameters, headers, body, connection, caller };
        // At the path of a stream, the method decides between reading and appending.
        if request.appends(demands.methods) {
            request.right = Right::Input;
        }
        request.check_method(demands.methods)?;
        if demands.right.is_some() {
            request.app.check_any_stream(&request.caller, request.right, demands.admits_public)?;
        }
        Ok(request)
    }

    /// The value of the only parameter that the route accepts. With an empty `name`, the route accepts none.
    pub(super) fn only_parameter(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.parameters.as_slice() {
            [] => Ok(None),
            [(parameter, value)] if parameter == name => Ok(Some(value)),
            _ if name.is_empty() => Err(Problem::bad("this takes no parameters")),
            _ => Err(Problem::bad(format!("this takes one parameter, {name}"))),
        }
    }

    pub(super) fn expect_no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() { Ok(()) } else { Err(Problem::bad("this request takes no body; send none")) }
    }

    /// Returns whether the request appends lines to a stream. The handler reads its body as it arrives.
    fn appends(&self, allowed: AllowedMethods) -> bool {
        matches!(allowed, AllowedMethods::Stream { .. }) && changes_state(&self.method)
    }

    fn check_method(&self, allowed: AllowedMethods) -> Result<(), Problem> {
        let fits = match allowed {
            AllowedMethods::Get => self.method == Method::GET || self.is_head(),
            AllowedMethods::Post => self.method == Method::POST,
            // The handler decides, since it depends on the stream.
            AllowedMethods::Stream { .. } => true,
        };
        if !fits {
            return Err(Problem::method(allowed));
        }
        if changes_state(&self.method) { self.check_origin() } else { Ok(()) }
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Refuses a request of a foreign page. Programs send no `Origin`.
    pub(super) fn check_origin(&self) -> Result<(), Problem> {
        let origin = self.headers.get(header::ORIGIN);
        if self.is_foreign() {
            // An opaque origin is `null`, and cannot be named (HTML, section 7.1.1).
            let page = origin.and_then(|origin| origin.to_str().ok()).filter(|origin| origin.contains("://"));
            let (page, entry) = page.map_or_else(
                || {
                    (
                        "other sites".to_owned(),
                        "`origins` in the configuration of this server names those that may".to_owned(),
                    )
                },
                |page| {
                    (
                        page.to_owned(),
                        format!("to permit it, add `origins: [{page:?}]` to the configuration of this server"),
                    )
                },
            );
            let detail = format!("pages of {page} may not do this ({entry})");
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        // A browser sends `Origin` with every POST and every WebSocket, and only browsers send cookies unasked.
        if origin.is_none() && self.caller.from_cookie {
            let detail =
                "with a cookie, this needs an Origin header; programs should send `Authorization: Bearer` instead";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(())
    }

    /// Returns whether a page of another site sent the request; see [`cross_site::is_cross_site`].
    fn is_foreign(&self) -> bool {
        cross_site::is_cross_site(&self.headers, &self.app.origins)
    }

    /// The stream with this name, if the caller has the right of this request on it.
    pub(super) fn stream(&self, name: &str) -> Result<CatalogEntry, Problem> {
        let parsed = name.parse::<StreamName>().map_err(|_| Problem::no_stream_at(name))?;
        let mut entry = self.app.stream(&self.caller, self.right, &parsed)?;
        // The response to a HEAD has no body, and a foreign page cannot read it: neither starts a source on demand.
        if self.is_head() || self.is_foreign() {
            entry.log = entry.log.without_demand();
        }
        Ok(entry)
    }

    /// The lifetime of a response with this many `readers`.
    ///
    /// # Errors
    /// If the caller has too many readers already.
    pub(super) fn lifetime(&self, readers: usize) -> Result<Lifetime, Problem> {
        Lifetime::new(&self.app, &self.caller, &self.connection, readers)
    }

    /// Registers this many readers under a session, so that control channels of the same caller can steer them.
    ///
    /// # Errors
    /// If the session has too many readers.
    pub(super) fn register_session(&self, token: &str, readers: usize) -> Result<Vec<SessionEntry>, Problem> {
        let entries = self.app.sessions.register(self.caller.credential().clone(), token, readers);
        let detail = "this session has too many readers; close some, or choose another session";
        entries.ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, detail))
    }
}

/// Returns whether the method changes something.
pub(super) fn changes_state(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT)
}
