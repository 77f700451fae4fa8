//! Idle connections: how long a connection may stay open without a request, and how it is closed once the responses in
//! progress are complete.
//!
//! This applies to HTTP/1 and HTTP/2 alike. hyper's own timer counts the wait for a request as part of the request's
//! head; that is too short for browsers, which reuse connections, and too long for heads that arrive slowly.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ConnectionError;

/// The activity of a connection, shared by its reader, its responses and its timer.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    state: watch::Sender<ActivityState>,
    /// Wakes the timer, since the responses of HTTP/2 end in tasks of their own.
    watcher: AtomicWaker,
    /// A write waits for the client.
    is_write_waiting: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ActivityState {
    /// The head of a request is expected or incomplete since this time.
    ReadingHead(Instant),
    /// This many requests are being answered.
    Answering(usize),
    /// There has been no request since this time.
    Idle(Instant),
}

impl ConnectionActivity {
    /// A new connection, whose first request is expected at once.
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(ActivityState::ReadingHead(now)),
            watcher: AtomicWaker::new(),
            is_write_waiting: AtomicBool::new(false),
        })
    }

    fn change(&self, to: impl FnOnce(ActivityState) -> ActivityState) {
        self.state.send_modify(|state| *state = to(*state));
    }

    /// Records that data arrived. If no request is in progress, the head of one begins. Data that arrives during
    /// responses is ignored.
    pub(super) fn received(&self, now: Instant) {
        self.change(|state| if let ActivityState::Idle(_) = state { ActivityState::ReadingHead(now) } else { state });
    }

    /// Records whether a write waits for the client.
    pub(super) fn set_write_waiting(&self, waits: bool) {
        self.is_write_waiting.store(waits, Ordering::Relaxed);
    }

    /// Returns whether a write waits for the client.
    pub(super) fn is_write_waiting(&self) -> bool {
        self.is_write_waiting.load(Ordering::Relaxed)
    }

    /// Records that a request has arrived. The request is in progress until the returned guard is dropped.
    pub(super) fn begin_response(self: &Arc<Self>) -> ResponseGuard {
        self.change(|state| match state {
            ActivityState::Answering(count) => ActivityState::Answering(count + 1),
            ActivityState::ReadingHead(_) | ActivityState::Idle(_) => ActivityState::Answering(1),
        });
        ResponseGuard(self.clone())
    }

    fn state(&self) -> ActivityState {
        *self.state.borrow()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct ResponseGuard(Arc<ConnectionActivity>);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.change(|state| match state {
            ActivityState::Answering(0 | 1) => ActivityState::Idle(now),
            ActivityState::Answering(count) => ActivityState::Answering(count - 1),
            other @ (ActivityState::ReadingHead(_) | ActivityState::Idle(_)) => other,
        });
        self.0.watcher.wake();
    }
}

/// The body of a response, in progress until it is dropped.
#[derive(Debug)]
pub(super) struct GuardedBody<B> {
    pub(super) body: B,
    pub(super) _guard: ResponseGuard,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionTimeouts {
    /// Maximum time for the head of a request.
    pub(super) head: Duration,
    /// Maximum time without a request.
    pub(super) idle: Duration,
    /// The time at which the connection reaches its age limit; `None` for never.
    pub(super) until: Option<Instant>,
    /// Maximum time for closing a connection that has reached its age limit.
    pub(super) close_timeout: Duration,
}

/// Runs a connection to its end. When `finish` is cancelled, when there was no request for too long, or when the
/// connection reaches its age limit, `shut_down` starts a graceful shutdown, and the connection ends after the
/// responses in progress.
pub(crate) async fn drive_connection<C, E>(
    mut connection: Pin<&mut C>,
    activity: &ConnectionActivity,
    timeouts: ConnectionTimeouts,
    finish: &CancellationToken,
    shut_down: fn(Pin<&mut C>),
) -> Result<(), ConnectionError>
where
    C: Future<Output = Result<(), E>>,
    E: Into<ConnectionError>,
{
    let mut finished = pin!(finish.cancelled());
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut close_state = CloseState::Open;
    poll_fn(|cx| {
        activity.watcher.register(cx.waker());
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(Into::into));
            }
            if close_state != CloseState::DaemonStopping && finished.as_mut().poll(cx).is_ready() {
                close_state = CloseState::DaemonStopping;
                timer = None;
                shut_down(connection.as_mut());
                continue;
            }
            let state = activity.state();
            let Some(until) = close_state.until(state, timeouts) else {
                timer = None;
                return Poll::Pending;
            };
            let timer = match &mut timer {
                Some(timer) if timer.deadline() == until => timer,
                other => other.insert(Box::pin(sleep_until(until))),
            };
            ready!(timer.as_mut().poll(cx));
            match (close_state, state) {
                (CloseState::ClosingBy(_), _) => return Poll::Ready(Err("it took too long to end".into())),
                // The client would not read a response to an incomplete request.
                (CloseState::Open | CloseState::DaemonStopping, ActivityState::ReadingHead(since))
                    if until == since + timeouts.head =>
                {
                    return Poll::Ready(Err("the head of a request took too long".into()));
                }
                (
                    CloseState::Open | CloseState::DaemonStopping,
                    ActivityState::ReadingHead(_) | ActivityState::Answering(_) | ActivityState::Idle(_),
                ) => {
                    close_state = CloseState::ClosingBy(Instant::now() + timeouts.close_timeout);
                    shut_down(connection.as_mut());
                }
            }
        }
    })
    .await
}

/// The state of closing a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseState {
    Open,
    /// The connection must be closed by this time.
    ClosingBy(Instant),
    /// The daemon stops, which has a timeout of its own.
    DaemonStopping,
}

impl CloseState {
    /// The time of the next timeout, unless the state changes before.
    fn until(self, state: ActivityState, timeouts: ConnectionTimeouts) -> Option<Instant> {
        let by_state = match state {
            ActivityState::ReadingHead(since) => Some(since + timeouts.head),
            ActivityState::Idle(since) => Some(since + timeouts.idle),
            ActivityState::Answering(_) => None,
        };
        match self {
            Self::Open => by_state.into_iter().chain(timeouts.until).min(),
            Self::ClosingBy(by) => Some(by),
            Self::DaemonStopping => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_TIMEOUTS: ConnectionTimeouts = ConnectionTimeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        until: None,
        close_timeout: Duration::from_mins(1),
    };

    /// A test connection that ends when it is asked to, or stays open.
    struct FakeConnection {
        shut_down: bool,
        stays: bool,
    }

    impl Future for FakeConnection {
        type Output = Result<(), ConnectionError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            if self.shut_down && !self.stays { Poll::Ready(Ok(())) } else { Poll::Pending }
        }
    }

    /// Runs a connection to its end, and returns the number of seconds that this took, and the result.
    async fn drive_fake(
        activity: Arc<ConnectionActivity>,
        timeouts: ConnectionTimeouts,
        stays: bool,
        finish: CancellationToken,
    ) -> (u64, Option<String>) {
        let (start, mut fake) = (Instant::now(), FakeConnection { shut_down: false, stays });
        let ended =
            drive_connection(Pin::new(&mut fake), &activity, timeouts, &finish, |mut fake| fake.shut_down = true).await;
        (start.elapsed().as_secs(), ended.err().map(|error| error.to_string()))
    }

    fn after(seconds: u64) -> tokio::time::Sleep {
        tokio::time::sleep(Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_waited_for_and_so_is_the_next() {
        let late = Some("the head of a request took too long".to_owned());
        let activity = ConnectionActivity::new(Instant::now());
        assert_eq!(drive_fake(activity, TEST_TIMEOUTS, false, CancellationToken::new()).await, (10, late.clone()));
        let activity = ConnectionActivity::new(Instant::now());
        drop(activity.begin_response());
        assert_eq!(drive_fake(activity, TEST_TIMEOUTS, false, CancellationToken::new()).await, (75, None));
        // The connection has a slow response, another one, and then half a head.
        let activity = ConnectionActivity::new(Instant::now());
        let requests = {
            let activity = activity.clone();
            tokio::spawn(async move {
                let (first, second) = (activity.begin_response(), activity.begin_response());
                after(1000).await;
                activity.received(Instant::now());
                drop(first);
                after(1000).await;
                drop(second);
                after(70).await;
                activity.received(Instant::now());
            })
        };
        tokio::task::yield_now().await;
        let ended = drive_fake(activity, TEST_TIMEOUTS, false, CancellationToken::new()).await;
        assert_eq!(ended, (2080, late), "answers have their time, and a head has its own");
        requests.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_its_time_is_over_and_may_not_stay() {
        let until = Some(Instant::now() + Duration::from_secs(5));
        let timeouts = ConnectionTimeouts { until, ..TEST_TIMEOUTS };
        let activity = ConnectionActivity::new(Instant::now());
        let _answering = activity.begin_response();
        assert_eq!(drive_fake(activity.clone(), timeouts, false, CancellationToken::new()).await, (5, None));
        let ended = drive_fake(activity.clone(), timeouts, true, CancellationToken::new()).await;
        assert_eq!(ended, (60, Some("it took too long to end".to_owned())));
        // When the daemon stops, its own timeout bounds the wait.
        let finish = CancellationToken::new();
        finish.cancel();
        let staying = drive_fake(activity.clone(), TEST_TIMEOUTS, true, finish.clone());
        assert!(tokio::time::timeout(Duration::from_hours(24), staying).await.is_err());
        assert_eq!(drive_fake(activity, TEST_TIMEOUTS, false, finish).await, (0, None));
    }
}
