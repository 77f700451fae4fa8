//! The lifetime of a response: until the caller's token is no longer valid, or until the connection has reached its age
//! limit.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::{Either, OptionFuture};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Sleep, sleep_until};

use crate::access::{BadToken, Caller, Credential};
use crate::wire::WireFormat;

use super::quota::{self, ReaderShare};
use crate::access::quota::QuotaShare;
use crate::http::app::App;
use crate::http::problem::Problem;
use crate::listen::ConnectionInfo;

/// The last text that a reader receives when its connection has reached its age limit.
pub(super) const LIFETIME_OVER_TEXT: &str = "this connection has reached its age limit; connect again with the last id";

/// The last text that a reader without a token receives when a stream becomes private, or is not public any more.
pub(crate) const DENIED_TEXT: &str = "the stream has become private or is no longer public; reading it needs a token";

/// The conditions that end a response, and its share of the quotas until then.
pub(crate) struct Lifetime {
    /// The timers, boxed since most callers need none.
    timers: Option<Box<LifetimeTimers>>,
    _stream: Option<QuotaShare<Credential>>,
    _readers: Option<ReaderShare>,
}

struct LifetimeTimers {
    token_invalid: OptionFuture<Pin<Box<dyn Future<Output = BadToken> + Send + Sync>>>,
    max_age: OptionFuture<Pin<Box<Sleep>>>,
}

/// The reasons why a response ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LifetimeEnd {
    /// The token is no longer valid.
    TokenInvalid(BadToken),
    /// The connection has reached its age limit. The client may open another.
    MaxAge,
}

impl Lifetime {
    /// The lifetime of a response to this caller with this many `readers`.
    ///
    /// # Errors
    /// If the caller has too many readers already.
    pub(crate) fn new(
        app: &App,
        caller: &Caller,
        connection: &ConnectionInfo,
        readers: usize,
    ) -> Result<Self, Problem> {
        let stream = quota::open_stream_share(&app.open_streams_quota, caller, connection.limits.per_token)?;
        let readers = app.reader_quotas.take(caller.credential(), readers, &connection.limits)?;
        let token_invalid = app.access.until_invalid(caller);
        let timers = (token_invalid.is_some() || connection.until.is_some()).then(|| {
            let token_invalid =
                token_invalid.map(|wait| -> Pin<Box<dyn Future<Output = _> + Send + Sync>> { Box::pin(wait) });
            Box::new(LifetimeTimers {
                token_invalid: token_invalid.into(),
                max_age: connection.until.map(|until| Box::pin(sleep_until(until))).into(),
            })
        });
        Ok(Self { timers, _stream: stream, _readers: readers })
    }

    /// Waits for the end of the lifetime, for ever if there is none. May be dropped and called again, but not after it
    /// has returned.
    pub(crate) async fn ended(&mut self) -> LifetimeEnd {
        let Some(timers) = &mut self.timers else { return std::future::pending().await };
        tokio::select! {
            biased;
            Some(why) = &mut timers.token_invalid => LifetimeEnd::TokenInvalid(why),
            Some(()) = &mut timers.max_age => LifetimeEnd::MaxAge,
            else => std::future::pending().await,
        }
    }

    /// The body, cut off at the end of the lifetime; its last bytes state the reason.
    pub(crate) fn limit<T: From<Bytes> + 'static>(
        self,
        body: impl Stream<Item = T> + Send + Sync + 'static,
        wire_format: WireFormat,
    ) -> impl Stream<Item = T> + Send + Sync + 'static {
        if self.timers.is_none() {
            // The quotas are held as long as the body exists.
            return Either::Left(body.map(move |part| {
                let _held = &self;
                part
            }));
        }
        let open = Some((Box::pin(body), self));
        Either::Right(stream::unfold(open, move |open| async move {
            let (mut body, mut lifetime) = open?;
            tokio::select! {
                biased;
                why = lifetime.ended() => Some((why.encode(wire_format).into(), None)),
                part = body.next() => part.map(|part| (part, Some((body, lifetime)))),
            }
        }))
    }
}

impl LifetimeEnd {
    /// The last bytes of a response, which state the reason for its end.
    fn encode(&self, wire_format: WireFormat) -> Bytes {
        match self {
            Self::TokenInvalid(why) => wire_format.denied_notice(&why.to_string(), None),
            Self::MaxAge => wire_format.closing_notice(LIFETIME_OVER_TEXT),
        }
        .into()
    }
}
