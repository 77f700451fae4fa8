//! How long an answer may go on: until what the caller shows for itself does not count any more.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};

use crate::access::{Access, BadToken, Caller};
use crate::wire::{Encoding, ndjson, sse, text};

/// What ends when a token does. Boxed, since most callers need none.
pub(super) struct Term(Option<Pin<Box<dyn Future<Output = BadToken> + Send + Sync>>>);

impl Term {
    pub(super) fn new(access: &Access, caller: &Caller) -> Self {
        Self(access.over(caller).map(|over| -> Pin<Box<dyn Future<Output = _> + Send + Sync>> { Box::pin(over) }))
    }

    /// Waits for the end; for ever, where there is none. May be dropped and asked again, but not once it came.
    pub(super) async fn over(&mut self) -> BadToken {
        match &mut self.0 {
            Some(over) => over.await,
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
