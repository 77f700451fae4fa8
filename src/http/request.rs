//! A request, from its head to what the handlers see. Its rights are checked here, before its body is read.

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

/// One request, as the handlers see it.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) app: Arc<App>,
    /// The right that it uses.
    pub(super) right: Right,
    pub(super) method: Method,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) connection: ConnectionInfo,
    pub(super) caller: Caller,
}

/// What a route demands of its requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    pub(super) methods: AllowedMethods,
    /// `None` where anybody may.
    pub(super) right: Option<Right>,
    pub(super) body: ExpectedBody,
}

/// The head of a request, and the connection that it came over.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) connection: ConnectionInfo,
}

impl HttpRequest {
    /// The request, once its head shows that it may be answered, and its body was read. The body of lines for a stream is left to
    /// the handler.
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

    /// The request without its body, if it may be answered by its head alone.
    async fn authorize(app: Arc<App>, demands: Demands, head: RequestHead) -> Result<Self, Problem> {
        let RequestHead { method, mut parameters, headers, connection } = head;
        let caller = authenticate::caller(&app.access, connection.peer, &headers, &mut parameters).await?;
        let (right, body) = (demands.right.unwrap_or(Right::Read), Bytes::new());
        let mut request = Self { app, right, method, parameters, headers, body, connection, caller };
        // At the path of a stream the method says what is done.
        if request.appends(demands.methods) {
            request.right = Right::Input;
        }
        request.check_method(demands.methods)?;
        if demands.right.is_some() {
            request.app.access.check_any_stream(&request.caller, request.right)?;
        }
        Ok(request)
    }

    /// The value of the only parameter that the route has; with an empty `name` it has none.
    pub(super) fn only_parameter(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.parameters.as_slice() {
            [] => Ok(None),
            [(known, value)] if known == name => Ok(Some(value)),
            _ if name.is_empty() => Err(Problem::bad("this takes no parameters")),
            _ => Err(Problem::bad(format!("this takes one parameter, {name}"))),
        }
    }

    pub(super) fn expect_no_body(&self) -> Result<(), Problem> {
        if self.body.is_empty() { Ok(()) } else { Err(Problem::bad("this takes no body; send none")) }
    }

    /// Whether it sends lines to a stream. The handler reads its body as it arrives.
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
            let page = origin.map_or("another site".into(), |origin| String::from_utf8_lossy(origin.as_bytes()));
            let detail =
                format!("pages of {page:?} may not do this; the owner of this server can add them to `origins`");
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        // A browser sends `Origin` with every POST and every WebSocket, and only browsers send cookies unasked.
        if origin.is_none() && self.caller.from_cookie {
            let detail = "with a cookie this needs an Origin header; programs send `Authorization: Bearer` instead";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(())
    }

    /// Whether a page of another site sent it; see [`cross_site::is_cross_site`].
    fn is_foreign(&self) -> bool {
        cross_site::is_cross_site(&self.headers, &self.app.origins)
    }

    /// The stream of that name, if the caller has the right to it.
    pub(super) fn stream(&self, name: &str) -> Result<CatalogEntry, Problem> {
        let known = name.parse::<StreamName>().ok();
        let known = known.ok_or_else(|| Problem::no_stream(name))?;
        let mut entry = self.app.stream(&self.caller, self.right, &known)?;
        // The response to a HEAD has no body, and a foreign page cannot read it: neither starts a source on demand.
        if self.is_head() || self.is_foreign() {
            entry.log = entry.log.without_demand();
        }
        Ok(entry)
    }

    /// The lifetime of a response with this many `readers`. An error if too many are open already.
    pub(super) fn lifetime(&self, readers: usize) -> Result<Lifetime, Problem> {
        Lifetime::new(&self.app, &self.caller, &self.connection, readers)
    }

    /// Registers the readers of this connection, so that the control channel finds them.
    pub(super) fn register_session(&self, token: &str, readers: usize) -> Result<Vec<SessionEntry>, Problem> {
        let known = self.app.sessions.register(self.caller.credential().clone(), token, readers);
        let detail = "this session has too many readers; close some, or choose another session";
        known.ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, detail))
    }
}

/// Whether the method does more than read.
pub(super) fn changes_state(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT)
}
