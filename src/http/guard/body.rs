//! The body of a request. Nothing of it is read before its sender was authenticated and may do what the request asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::access::Caller;
use crate::config::Limits;

use crate::http::app::App;
use crate::http::problem::Problem;
use crate::listen::quota::{QuotaExceeded, QuotaLimits};

/// Most bytes of bodies in memory at once, over all callers and for one of them: 256 bodies of commands, and a quarter of that.
const MAX_BUFFERED_BODIES: QuotaLimits = QuotaLimits { each: 4 << 20, all: 16 << 20 };

/// Largest body of `POST /login`, in bytes: twice the longest token, as a form may have it.
const MAX_LOGIN_BODY_SIZE: usize = 8 << 10;

/// Most bodies of `POST /login` at once, since nobody is authenticated by then.
const MAX_CONCURRENT_LOGINS: QuotaLimits = QuotaLimits { each: usize::MAX, all: 16 };

/// How soon to come again where too many bodies are under way.
const BODY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a refused body is read on, in bytes and for how long: many clients look at the answer only once they have sent all.
const MAX_DRAINED_SIZE: usize = 256 << 10;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);

/// A body that nobody has read yet. Whoever takes it has it; a clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct RequestBody(Arc<Mutex<Option<Incoming>>>);

/// What a request's body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedBody {
    /// There should be none. One that comes all the same is read and dropped.
    Nothing,
    /// A command, read as a whole.
    Command,
    /// A token, read as a whole, although nobody is authenticated.
    Token,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body, the first time.
    pub(crate) fn take(&self) -> Option<Incoming> {
        self.slot().take()
    }

    /// Gives back what was not read to its end.
    pub(crate) fn put_back(&self, body: Incoming) {
        *self.slot() = Some(body);
    }

    /// Reads on for a while what nobody took, so that its sender comes to look at the answer. It is dropped piece by piece.
    pub(crate) async fn drain(&self) {
        let Some(mut body) = self.take() else { return };
        let drained = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MAX_DRAINED_SIZE {
                    return;
                }
            }
        };
        // That it took too long is nothing more to tell.
        timeout(MAX_DRAIN_TIME, drained).await.unwrap_or_default();
    }
}

/// Whether a body is something else than its bytes.
pub(crate) fn has_content_encoding(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Reads the body as the route takes it. Memory: what the quotas of bodies allow, and nothing for a body that is dropped.
pub(crate) async fn read_body(
    body: Option<RequestBody>,
    takes: ExpectedBody,
    (app, caller, limits): (&App, &Caller, &Limits),
) -> Result<Bytes, Problem> {
    let Some(body) = body.as_ref().and_then(RequestBody::take) else { return Ok(Bytes::new()) };
    let (owner, credential) = (caller.credential().is_owner(), caller.credential());
    let (most, quota, bounds) = match takes {
        ExpectedBody::Nothing => return discard(body, limits).await,
        ExpectedBody::Command if owner => {
            (limits.body_size, &app.bodies_quota, QuotaLimits { each: usize::MAX, all: usize::MAX })
        }
        ExpectedBody::Command => (limits.body_size, &app.bodies_quota, MAX_BUFFERED_BODIES),
        ExpectedBody::Token => (MAX_LOGIN_BODY_SIZE, &app.logins_quota, MAX_CONCURRENT_LOGINS),
    };
    let amount = if takes == ExpectedBody::Token { 1 } else { most };
    let _share = quota.take(Some(credential), amount, bounds).map_err(|exceeded| match exceeded {
        QuotaExceeded::PerKey => {
            Problem::too_many("too many of your requests are being sent at once; try again", BODY_RETRY_AFTER)
        }
        QuotaExceeded::Total => {
            Problem::overloaded("too many requests are being sent at once; try again", BODY_RETRY_AFTER)
        }
    })?;
    let read = timeout(limits.body, Limited::new(body, most).collect()).await;
    match read.map_err(|_| body_timeout("send it faster"))? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is longer than the limit of {most} bytes; send it in pieces");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => Err(Problem::bad("the body ended early, or does not match its headers")),
    }
}

/// Reads a body that nobody wants, and drops it. Gives back a byte if there was any.
async fn discard(mut body: Incoming, limits: &Limits) -> Result<Bytes, Problem> {
    let discarded = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::bad("the body ended early, or does not match its headers"))?;
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > limits.body_size {
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "nothing here takes a body; send none"));
            }
        }
        Ok(if read > 0 { Bytes::from_static(b"?") } else { Bytes::new() })
    };
    timeout(limits.body, discarded).await.map_err(|_| body_timeout("send none"))?
}

fn body_timeout(instead: &str) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body arrived too slowly; {instead}"))
}
