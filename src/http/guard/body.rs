//! The body of a request. Nothing of it is read before the sender is authenticated and known to have the right that the
//! request needs.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::access::Caller;
use crate::config::Limits;
use crate::event::lock;

use crate::access::quota::{QuotaExceeded, QuotaLimits};
use crate::http::app::App;
use crate::http::problem::Problem;

/// Maximum number of bytes of bodies in memory, for one caller and for all of them: 64 and 256 bodies of commands.
const MAX_BUFFERED_BODIES: QuotaLimits = QuotaLimits { each: 4 << 20, all: 16 << 20 };

/// Maximum size of the body of `POST /login`, in bytes: twice the longest token, which leaves room for form encoding.
const MAX_LOGIN_BODY_SIZE: usize = 8 << 10;

/// Maximum number of concurrent bodies of `POST /login`, since their senders are not authenticated yet.
const MAX_CONCURRENT_LOGINS: QuotaLimits = QuotaLimits { each: usize::MAX, all: 16 };

/// Time after which a client may retry if too many bodies are being read.
const BODY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Limits in bytes and in time for draining a refused body: many clients read the response only after they have sent
/// all.
const MAX_DRAINED_SIZE: usize = 256 << 10;
const MAX_DRAIN_TIME: Duration = Duration::from_secs(1);

/// A body that has not been read yet. Clones share the body, and the first to take it gets it.
#[derive(Debug, Clone)]
pub(crate) struct RequestBody(Arc<Mutex<Option<Incoming>>>);

/// The kind of body that a route expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedBody {
    /// No body. If there is one, it is read and dropped.
    Nothing,
    /// A command, read completely.
    Command,
    /// A token, read completely although the sender is not authenticated.
    Token,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Incoming>> {
        lock(&self.0)
    }

    /// Takes the body; `None` if it was taken before.
    pub(crate) fn take(&self) -> Option<Incoming> {
        self.slot().take()
    }

    /// Puts back a body that was not read to its end.
    pub(crate) fn put_back(&self, body: Incoming) {
        *self.slot() = Some(body);
    }

    /// Reads the rest of a body that no handler took, within limits, so that its sender gets to read the response. The
    /// data is dropped piece by piece.
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
        // The response is the same if draining takes too long.
        timeout(MAX_DRAIN_TIME, drained).await.unwrap_or_default();
    }
}

/// Returns true if a body is compressed or otherwise encoded.
pub(crate) fn has_content_encoding(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Reads the body as the route expects it. The memory is bounded by the body quotas; a dropped body takes none.
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

/// Reads an unexpected body and drops it. Returns one byte if the body was not empty.
async fn discard(mut body: Incoming, limits: &Limits) -> Result<Bytes, Problem> {
    let discarded = async {
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::bad("the body ended early, or does not match its headers"))?;
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > limits.body_size {
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "this request takes no body; send none"));
            }
        }
        Ok(if read > 0 { Bytes::from_static(b"?") } else { Bytes::new() })
    };
    timeout(limits.body, discarded).await.map_err(|_| body_timeout("send none"))?
}

fn body_timeout(instead: &str) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body arrived too slowly; {instead}"))
}
