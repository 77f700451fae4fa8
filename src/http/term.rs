//! How long an answer may go on: until what the caller shows for itself does not count any more, or until the connection has
//! lived its time.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, OptionFuture};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Sleep, sleep_until};

use crate::access::{BadToken, Caller, Credential};
use crate::wire::{Encoding, ndjson, sse, text};

use super::App;
use super::listen::Guest;
use super::problem::Problem;
use super::share::Share;

/// How soon to come again where too much goes on: about when somebody may have gone.
const LATER: Duration = Duration::from_secs(10);

/// What a reader is told whose connection has lived its time.
pub(super) const AGED: &str = "this connection has lived its time; connect again, behind the last id";

/// What a reader without a token is told last of a stream that turned private.
pub(super) const TURNED_PRIVATE: &str = "the stream has become private; reading it needs a token";

/// What an answer ends by, and counts for until then. Boxed, since most callers need none.
pub(super) struct Term(Option<Box<Bounds>>);

struct Bounds {
    denied: OptionFuture<Pin<Box<dyn Future<Output = BadToken> + Send + Sync>>>,
    aged: OptionFuture<Pin<Box<Sleep>>>,
    _share: Option<Share<Credential>>,
}

/// Why it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// The token does not count any more.
    Denied(BadToken),
    /// The connection has lived its time. Another is welcome.
    Aged,
}

impl Term {
    /// The term of an answer to this caller; refused if too many of the same token go on already.
    pub(super) fn new(app: &App, caller: &Caller, guest: &Guest) -> Result<Self, Problem> {
        let denied = app.access.over(caller);
        if denied.is_none() && guest.until.is_none() {
            return Ok(Self(None));
        }
        let most = guest.limits.per_token;
        let share = denied.is_some().then(|| {
            app.shares.take(caller.credential(), most).ok_or_else(|| {
                let detail =
                    format!("{most} streams and channels of this token are open, the most it may have; close some");
                Problem::too_many(detail, LATER)
            })
        });
        Ok(Self(Some(Box::new(Bounds {
            denied: denied.map(|denied| -> Pin<Box<dyn Future<Output = _> + Send + Sync>> { Box::pin(denied) }).into(),
            aged: guest.until.map(|until| Box::pin(sleep_until(until))).into(),
            _share: share.transpose()?,
        }))))
    }

    /// Waits for the end; for ever, where there is none. May be dropped and asked again, but not once it came.
    pub(super) async fn over(&mut self) -> Over {
        let Some(bounds) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            biased;
            Some(why) = &mut bounds.denied => Over::Denied(why),
            Some(()) = &mut bounds.aged => Over::Aged,
            else => std::future::pending().await,
        }
    }

    /// The body, up to the end; then its reader is told why.
    pub(super) fn of(
        self,
        body: impl Stream<Item = Bytes> + Send + Sync + 'static,
        encoding: Encoding,
    ) -> impl Stream<Item = Bytes> + Send + Sync + 'static {
        if self.0.is_none() {
            return Either::Left(body);
        }
        let open = Some((Box::pin(body), self));
        Either::Right(stream::unfold(open, move |open| async move {
            let (mut body, mut term) = open?;
            tokio::select! {
                biased;
                why = term.over() => Some((why.told(encoding), None)),
                bytes = body.next() => bytes.map(|bytes| (bytes, Some((body, term)))),
            }
        }))
    }
}

impl Over {
    /// What a reader is told last.
    fn told(&self, encoding: Encoding) -> Bytes {
        match (self, encoding) {
            (Self::Denied(why), Encoding::Sse(_)) => sse::denied(&why.to_string(), None),
            (Self::Denied(why), Encoding::Ndjson) => ndjson::denied(&why.to_string(), None),
            (Self::Denied(why), Encoding::Text) => text::denied(&why.to_string()),
            (Self::Aged, Encoding::Sse(_)) => sse::over(AGED),
            (Self::Aged, Encoding::Ndjson) => ndjson::over(AGED),
            (Self::Aged, Encoding::Text) => text::over(AGED),
        }
        .into()
    }
}
