//! How long an answer may go on: until what the caller shows for itself does not count any more.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};

use crate::access::{BadToken, Caller, Credential};
use crate::config::Limits;
use crate::wire::{Encoding, ndjson, sse, text};

use super::App;
use super::problem::Problem;
use super::share::Share;

/// What ends when a token does, and counts for it until then. Boxed, since most callers need none.
pub(super) struct Term(Option<Box<Held>>);

/// What a token holds.
struct Held {
    over: Pin<Box<dyn Future<Output = BadToken> + Send + Sync>>,
    _share: Share<Credential>,
}

/// How soon to come again where too much goes on: about when somebody may have gone.
const LATER: Duration = Duration::from_secs(10);

impl Term {
    pub(super) fn new(app: &App, caller: &Caller, limits: &Limits) -> Result<Self, Problem> {
        let Some(over) = app.access.over(caller) else { return Ok(Self(None)) };
        let most = limits.per_token;
        let share = app.shares.take(caller.credential(), most).ok_or_else(|| {
            let detail =
                format!("{most} streams and channels of this token are open, the most it may have; close some");
            Problem::too_many(detail, LATER)
        })?;
        Ok(Self(Some(Box::new(Held { over: Box::pin(over), _share: share }))))
    }

    /// Waits for the end; for ever, where there is none. May be dropped and asked again, but not once it came.
    pub(super) async fn over(&mut self) -> BadToken {
        match &mut self.0 {
            Some(held) => held.over.as_mut().await,
            None => std::future::pending().await,
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
                why = term.over() => Some((denied(&why, encoding), None)),
                bytes = body.next() => bytes.map(|bytes| (bytes, Some((body, term)))),
            }
        }))
    }
}

/// What a reader is told last.
fn denied(why: &BadToken, encoding: Encoding) -> Bytes {
    let why = why.to_string();
    match encoding {
        Encoding::Sse(_) => sse::denied(&why),
        Encoding::Ndjson => ndjson::denied(&why),
        Encoding::Text => text::denied(&why),
    }
    .into()
}
