//! Detection of HTTP/2 connections whose responses are not read. Such a response has no flow-control window (RFC 9113,
//! section 5.2), while the connection itself still writes pings and other responses: no write stalls, so only this
//! check ends it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// The responses of one connection that wait for their reader, each with the time since when. Clones share the list.
#[derive(Debug, Clone, Default)]
pub(super) struct StallDetector(watch::Sender<WaitingBodies>);

#[derive(Debug, Default)]
struct WaitingBodies {
    since: BTreeMap<u64, Instant>,
    last: u64,
}

impl StallDetector {
    /// Adds a response to the watched ones.
    pub(crate) fn watch<B>(&self, body: B) -> WatchedBody<B> {
        let mut number = 0;
        self.0.send_modify(|waiting| {
            waiting.last += 1;
            number = waiting.last;
            waiting.since.insert(number, Instant::now());
        });
        WatchedBody { body, detector: self.clone(), number }
    }

    /// Waits until one of the responses has waited for `stalled`. May be dropped at any time.
    pub(super) async fn stalled(&self, stalled: Duration) {
        loop {
            let first = self.0.borrow().since.values().min().copied();
            match first {
                Some(since) if since.elapsed() >= stalled => return,
                Some(since) => sleep_until(since + stalled).await,
                None => sleep(stalled).await,
            }
        }
    }
}

/// The body of a response. It waits for its reader from its creation, or from its last frame, until the next frame is
/// requested.
#[derive(Debug)]
pub(super) struct WatchedBody<B> {
    body: B,
    detector: StallDetector,
    number: u64,
}

impl<B: Body + Unpin> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.detector.0.send_modify(|waiting| {
            if matches!(polled, Poll::Ready(Some(Ok(_)))) {
                waiting.since.insert(self.number, Instant::now());
            } else {
                waiting.since.remove(&self.number);
            }
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        self.detector.0.send_modify(|waiting| {
            waiting.since.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_reader_is_stuck_and_what_has_nothing_to_give_is_not() {
        let minute = Duration::from_mins(1);
        let detector = StallDetector::default();
        let stuck = async |limit| timeout(limit, detector.stalled(minute)).await.is_ok();
        assert!(!stuck(minute * 9).await, "nobody waits");
        let (sender, frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(8);
        let frames = futures_util::stream::unfold(frames, async |mut frames| Some((frames.recv().await?, frames)));
        let mut body = detector.watch(StreamBody::new(Box::pin(frames)));
        assert!(stuck(Duration::from_secs(61)).await, "it is never asked for anything");
        assert!(timeout(minute, body.frame()).await.is_err(), "there is nothing");
        assert!(!stuck(minute * 9).await, "its reader waits, not it");
        sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
        body.frame().await.unwrap().unwrap();
        assert!(!stuck(Duration::from_secs(59)).await);
        assert!(stuck(Duration::from_secs(2)).await, "it gave something, and is asked for no more");
        drop(body);
        assert!(!stuck(minute * 9).await);
    }
}
