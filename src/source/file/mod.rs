//! A path to follow. All that blocks is one function, [`Follow::look`], which runs on a thread for blocking work, so that a
//! stalled disk stalls nothing else; between looks a [`Followed`] waits for wakes and times. A fifo is read here.

mod identity;
mod reader;
mod wake;
mod follow;
mod fifo;

pub(crate) use wake::Wakes;

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::{FileSource, Stream};
use crate::stream::Batch;

use super::Now;
use fifo::Fifo;
use follow::{Follow, Next};

/// A file that has grown is not looked at again before this time: a busy writer costs a thousand looks a second and not
/// one for each line, and a lone line waits for nothing.
const PACE: Duration = Duration::from_millis(1);

/// A path that is followed, or a fifo that is read.
#[derive(Debug)]
pub(super) struct Followed {
    /// Between looks it is here; `None` while one is under way.
    follow: Option<Box<Follow>>,
    look: Option<JoinHandle<Looked>>,
    next: Next,
    /// No wake counts before.
    pace: Instant,
    ear: Arc<Notify>,
    fifo: Option<Fifo>,
}

/// What comes back from a look.
#[derive(Debug)]
struct Looked {
    follow: Box<Follow>,
    batch: Batch,
    next: Next,
}

impl Followed {
    pub(super) fn new(spec: &Stream, source: &FileSource, wakes: Wakes) -> Self {
        let ear = Arc::new(Notify::new());
        let follow = Box::new(Follow::new(spec, source, wakes, ear.clone()));
        Self { follow: Some(follow), look: None, next: Next::Now, pace: Instant::now(), ear, fifo: None }
    }

    /// Waits until there is something, and puts it into `batch`, which is empty. May be dropped at any time.
    pub(super) async fn next(&mut self, batch: &mut Batch) {
        while batch.is_empty() {
            if self.look.is_none() {
                select! {
                    () = wake(self.next, self.pace, &self.ear) => {}
                    () = fifo::read(&mut self.fifo, self.follow.as_deref_mut(), batch) => continue,
                }
            }
            self.look(batch).await;
        }
    }

    /// Looks once more, without waiting; says whether there may be more to see. May be dropped at any time.
    pub(super) async fn last(&mut self, batch: &mut Batch) -> bool {
        self.look(batch).await;
        !batch.is_empty() || self.next == Next::Now
    }

    /// One look, begun or to be begun.
    async fn look(&mut self, batch: &mut Batch) {
        if let Some(mut follow) = self.follow.take() {
            self.look = Some(spawn_blocking(move || {
                let mut batch = Batch::new();
                let next = follow.look(Now::read(), &mut batch);
                Looked { follow, batch, next }
            }));
        }
        let Some(look) = &mut self.look else { return };
        let looked = look.await;
        self.look = None;
        match looked {
            Ok(looked) => self.looked(looked, batch),
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // The runtime is at its end.
            Err(_) => std::future::pending().await,
        }
    }

    fn looked(&mut self, Looked { mut follow, batch: found, next }: Looked, batch: &mut Batch) {
        *batch = found;
        let now = Now::read();
        self.pace = if batch.is_empty() { now.instant } else { now.instant + PACE };
        self.next = next;
        match next {
            Next::Fifo(identity, _) => {
                if self.fifo.as_ref().is_none_or(|fifo| fifo.identity() != identity) {
                    follow.finish(now, batch);
                    // If it was replaced meanwhile, the next look sees by what.
                    self.fifo = Fifo::open(follow.path()).ok();
                }
            }
            Next::Now | Next::At(_) => {
                if self.fifo.take().is_some() {
                    follow.finish(now, batch);
                }
            }
        }
        self.follow = Some(follow);
    }
}

/// Waits until it is time to look.
async fn wake(next: Next, pace: Instant, ear: &Notify) {
    match next {
        Next::Now => {}
        Next::At(at) => {
            let heard = async {
                sleep_until(pace).await;
                ear.notified().await;
            };
            select! {
                () = heard => {}
                () = sleep_until(at) => {}
            }
        }
        // A wake for each write to it would tell nothing new.
        Next::Fifo(_, at) => sleep_until(at).await,
    }
}
