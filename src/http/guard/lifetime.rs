//! How long an answer may go on: until what the caller shows for itself does not count any more, or until the connection has
//! lived its time.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, OptionFuture};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Sleep, sleep_until};

use crate::access::{BadToken, Caller, Credential};
use crate::config::Limits;
use crate::wire::{Encoding, ndjson, sse, text};

use crate::http::App;
use crate::http::problem::Problem;
use crate::http::query::MAX_STREAMS_PER_CONNECTION;
use crate::listen::ConnectionInfo;
use crate::listen::quota::{Quota, QuotaExceeded, QuotaLimits, QuotaShare};

/// How soon to come again where too much goes on: about when somebody may have gone.
const QUOTA_RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a reader is told whose connection has lived its time.
pub(super) const LIFETIME_OVER_TEXT: &str = "this connection has lived its time; connect again, behind the last id";

/// What a reader without a token is told last of a stream that turned private.
pub(crate) const TURNED_PRIVATE_TEXT: &str = "the stream has become private; reading it needs a token";

/// What an answer ends by, and what it takes of the quotas until then.
pub(crate) struct Lifetime {
    /// Boxed, since most callers need none.
    ends: Option<Box<LifetimeTimers>>,
    _answer: Option<QuotaShare<Credential>>,
    _readers: Option<ReaderShare>,
}

/// What a caller's readers take of the quotas.
#[derive(Debug)]
pub(crate) struct ReaderShare {
    _all: QuotaShare<Credential>,
    /// Of those that share a request with others.
    _joined: Option<QuotaShare<Credential>>,
}

struct LifetimeTimers {
    denied: OptionFuture<Pin<Box<dyn Future<Output = BadToken> + Send + Sync>>>,
    max_age: OptionFuture<Pin<Box<Sleep>>>,
}

/// Why it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LifetimeEnd {
    /// The token does not count any more.
    TokenInvalid(BadToken),
    /// The connection has lived its time. Another is welcome.
    MaxAge,
}

impl Lifetime {
    /// The term of an answer to this caller with so many `readers`; refused if too many go on already.
    pub(crate) fn new(app: &App, caller: &Caller, guest: &ConnectionInfo, readers: usize) -> Result<Self, Problem> {
        let answer = stream_share(app, caller, guest.limits.per_token)?;
        let readers = app.readers(caller, readers, &guest.limits)?;
        let denied = app.access.until_invalid(caller);
        let ends = (denied.is_some() || guest.until.is_some()).then(|| {
            let denied = denied.map(|denied| -> Pin<Box<dyn Future<Output = _> + Send + Sync>> { Box::pin(denied) });
            Box::new(LifetimeTimers {
                denied: denied.into(),
                max_age: guest.until.map(|until| Box::pin(sleep_until(until))).into(),
            })
        });
        Ok(Self { ends, _answer: answer, _readers: readers })
    }

    /// Waits for the end; for ever, where there is none. May be dropped and asked again, but not once it came.
    pub(crate) async fn over(&mut self) -> LifetimeEnd {
        let Some(ends) = &mut self.ends else { return std::future::pending().await };
        tokio::select! {
            biased;
            Some(why) = &mut ends.denied => LifetimeEnd::TokenInvalid(why),
            Some(()) = &mut ends.max_age => LifetimeEnd::MaxAge,
            else => std::future::pending().await,
        }
    }

    /// The body, up to the end; then its reader is told why.
    pub(crate) fn of(
        self,
        body: impl Stream<Item = Bytes> + Send + Sync + 'static,
        encoding: Encoding,
    ) -> impl Stream<Item = Bytes> + Send + Sync + 'static {
        if self.ends.is_none() {
            // The quotas are held as long as the body.
            return Either::Left(body.map(move |bytes| {
                let _held = &self;
                bytes
            }));
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

/// Counts one more answer that takes its time. Those who are told apart by no more than this machine are not counted: the bounds
/// on connections and readers hold for them.
fn stream_share(app: &App, caller: &Caller, most: usize) -> Result<Option<QuotaShare<Credential>>, Problem> {
    let credential = caller.credential();
    if credential.is_local() {
        return Ok(None);
    }
    let taken = app.open_streams_quota.take(Some(credential), 1, QuotaLimits { each: most, all: usize::MAX });
    let refused = |_| {
        let of = if caller.token().is_some() { "of this token" } else { "from this address" };
        Problem::too_many(
            format!("{most} streams and channels {of} are open, the most it may have; close some"),
            QUOTA_RETRY_AFTER,
        )
    };
    taken.map(Some).map_err(refused)
}

impl App {
    /// Counts so many more readers of this caller. The owner is not counted, and so cannot be shut out by others.
    pub(crate) fn readers(
        &self,
        caller: &Caller,
        readers: usize,
        limits: &Limits,
    ) -> Result<Option<ReaderShare>, Problem> {
        let credential = caller.credential();
        if readers == 0 || credential.is_owner() {
            return Ok(None);
        }
        let refused = |exceeded, bounds: QuotaLimits| match exceeded {
            QuotaExceeded::PerKey => {
                let detail =
                    format!("{credential} has {} readers open, the most that one may have; close some", bounds.each);
                Problem::too_many(detail, QUOTA_RETRY_AFTER)
            }
            QuotaExceeded::Total => {
                let detail = format!("{} readers are open, the most there may be; try again later", bounds.all);
                Problem::overloaded(detail, QUOTA_RETRY_AFTER)
            }
        };
        let take = |quota: &Quota<Credential>, bounds| {
            quota.take(Some(credential), readers, bounds).map_err(|exceeded| refused(exceeded, bounds))
        };
        let bounds = QuotaLimits { each: (limits.readers / 2).max(1), all: limits.readers };
        let all = take(&self.readers_quota, bounds)?;
        // One short request may ask for many readers, so of these there may be less.
        let joined = QuotaLimits {
            each: (limits.readers / 8).max(MAX_STREAMS_PER_CONNECTION),
            all: (limits.readers / 2).max(MAX_STREAMS_PER_CONNECTION),
        };
        let joined = (readers > 1).then(|| take(&self.joined_readers_quota, joined)).transpose()?;
        Ok(Some(ReaderShare { _all: all, _joined: joined }))
    }
}

impl LifetimeEnd {
    /// What a reader is told last.
    fn told(&self, encoding: Encoding) -> Bytes {
        match (self, encoding) {
            (Self::TokenInvalid(why), Encoding::Sse(_)) => sse::denied(&why.to_string(), None),
            (Self::TokenInvalid(why), Encoding::Ndjson) => ndjson::denied(&why.to_string(), None),
            (Self::TokenInvalid(why), Encoding::Text) => text::denied(&why.to_string()),
            (Self::MaxAge, Encoding::Sse(_)) => sse::closing(LIFETIME_OVER_TEXT),
            (Self::MaxAge, Encoding::Ndjson) => ndjson::closing(LIFETIME_OVER_TEXT),
            (Self::MaxAge, Encoding::Text) => text::closing(LIFETIME_OVER_TEXT),
        }
        .into()
    }
}
