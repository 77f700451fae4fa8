//! A request, from its head to what the handlers see. Whether it may be answered is decided here, before its body is read.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use warp::Filter;
use warp::reject::Rejection;

use crate::access::Caller;
use crate::config::Right;
use crate::event::StreamName;
use crate::stream::CatalogEntry;

use super::App;
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
    pub(super) app: App,
    /// What is done by it.
    pub(super) right: Right,
    pub(super) method: Method,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) connection: ConnectionInfo,
    pub(super) caller: Caller,
}

/// A request that may be answered, or why not.
pub(super) type RequestResult = Result<HttpRequest, Problem>;

impl App {
    /// The request, if its method is the right one, and who sent it may do that.
    pub(super) fn asked(
        &self,
        allowed: AllowedMethods,
        right: Right,
    ) -> impl Filter<Extract = (RequestResult,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
        self.request_filter(allowed, Some(right), ExpectedBody::Nothing)
    }

    /// The request of anybody, if its method is the right one.
    pub(super) fn request_by_anyone(
        &self,
        allowed: AllowedMethods,
        takes: ExpectedBody,
    ) -> impl Filter<Extract = (RequestResult,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
        self.request_filter(allowed, None, takes)
    }

    /// The request, once it is decided from its head that it may be answered, and its body was read. What `needed` is `None` for
    /// is for anybody.
    pub(super) fn request_filter(
        &self,
        allowed: AllowedMethods,
        needed: Option<Right>,
        takes: ExpectedBody,
    ) -> impl Filter<Extract = (RequestResult,), Error = Rejection> + Clone + Send + Sync + 'static + use<> {
        let app = self.clone();
        warp::method()
            .and(warp::query::<Vec<(String, String)>>())
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<RequestBody>())
            .and(warp::ext::get::<ConnectionInfo>())
            .then(move |method, parameters, headers, body, guest: ConnectionInfo| {
                let app = app.clone();
                async move {
                    let mut ask = app.authorize(allowed, needed, (method, parameters, headers), guest).await?;
                    if !ask.appends(allowed) {
                        let who = (&ask.app, &ask.caller, &*ask.connection.limits);
                        ask.body = body::read_body(body, takes, who).await?;
                    }
                    Ok(ask)
                }
            })
    }

    /// Whether the request may be answered, by its head alone.
    async fn authorize(
        self,
        allowed: AllowedMethods,
        needed: Option<Right>,
        (method, mut parameters, headers): (Method, Vec<(String, String)>, HeaderMap),
        guest: ConnectionInfo,
    ) -> RequestResult {
        let caller = authenticate::caller(&self.access, guest.peer, &headers, &mut parameters).await?;
        let (right, body) = (needed.unwrap_or(Right::Read), Bytes::new());
        let mut ask = HttpRequest { app: self, right, method, parameters, headers, body, connection: guest, caller };
        // At the address of a stream the method says what is done.
        if ask.appends(allowed) {
            ask.right = Right::Input;
        }
        ask.check_method(allowed)?;
        if needed.is_some() {
            ask.app.access.check_any_stream(&ask.caller, ask.right)?;
        }
        Ok(ask)
    }
}

impl HttpRequest {
    /// Whether it sends lines to a stream. Its body is read as it comes, by whoever takes the lines.
    fn appends(&self, allowed: AllowedMethods) -> bool {
        matches!(allowed, AllowedMethods::Stream { .. }) && changes_state(&self.method)
    }

    fn check_method(&self, allowed: AllowedMethods) -> Result<(), Problem> {
        let fits = match allowed {
            AllowedMethods::Get => self.method == Method::GET || self.is_head(),
            AllowedMethods::Post => self.method == Method::POST,
            // Which of them, the stream says.
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

    /// Refuses what comes from a foreign page. Programs send no `Origin`.
    pub(super) fn check_origin(&self) -> Result<(), Problem> {
        let origin = self.headers.get(header::ORIGIN);
        if self.is_foreign() {
            let page = origin.map_or("another site".into(), |origin| String::from_utf8_lossy(origin.as_bytes()));
            let detail =
                format!("pages of {page:?} may not do this; the owner of this server can add them to `origins`");
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        // A browser sends it with every POST and every WebSocket, and only browsers send cookies by themselves.
        if origin.is_none() && self.caller.from_cookie {
            let detail = "with a cookie this needs an Origin; programs send `Authorization: Bearer` instead";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(())
    }

    /// Whether a page of another site sent it; see [`cross_site::is_cross_site`].
    fn is_foreign(&self) -> bool {
        cross_site::is_cross_site(&self.headers, &self.app.origins)
    }

    /// The stream of that name, if who asks may do this with it.
    pub(super) fn stream(&self, name: &str) -> Result<CatalogEntry, Problem> {
        let known = name.parse::<StreamName>().ok();
        let known = known.ok_or_else(|| Problem::no_stream(name))?;
        let mut entry = self.app.stream(&self.caller, self.right, &known)?;
        // A HEAD asks what the answer would look like, and a foreign page cannot read it.
        if self.is_head() || self.is_foreign() {
            entry.log = entry.log.without_demand();
        }
        Ok(entry)
    }

    /// How long an answer with so many `readers` may go on; refused if too many go on already.
    pub(super) fn lifetime(&self, readers: usize) -> Result<Lifetime, Problem> {
        Lifetime::new(&self.app, &self.caller, &self.connection, readers)
    }

    /// Enters the readers of this connection, so that the control channel finds them.
    pub(super) fn register_session(&self, token: &str, readers: usize) -> Result<Vec<SessionEntry>, Problem> {
        let known = self.app.sessions.register(self.caller.credential().clone(), token, readers);
        let detail = "this session has too many readers; close some, or choose another session";
        known.ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, detail))
    }
}

/// Whether it is more than reading.
pub(super) fn changes_state(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT)
}
