//! Answers whose cost grows with the number of streams: the list and the metrics. Many callers who ask at once share one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::access::{Audience, Caller};
use crate::config::units::Rate;
use crate::stream::PrivateFlag;

use super::problem::Problem;
use crate::http::guard::rate_limit::RateLimiter;

/// How often one kind of answer is made for callers who see the same. Whoever asks more often waits for the next one, a tenth of
/// a second at most, and shares it.
const RENDER_RATE_PER_AUDIENCE: Rate = Rate { times: 10, per: Duration::from_secs(1) };

/// How often answers are made for all callers but the owner, together.
const TOTAL_RENDER_RATE: Rate = Rate { times: 100, per: Duration::from_secs(1) };

/// How long one who waits sleeps at most before another look, since somebody else may have made the answer meanwhile.
const RENDER_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long one waits in all.
const MAX_RENDER_WAIT: Duration = Duration::from_secs(2);

/// So many are kept before a first look at which were not asked for lately.
const MIN_RENDERINGS_BEFORE_SWEEP: usize = 64;

/// What is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RenderKind {
    List,
    OpenMetrics,
    Prometheus,
}

/// A rendered answer.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) body: Bytes,
    /// The streams of a list, for the control channel.
    pub(super) streams: Option<Arc<RawValue>>,
    /// The streams that it tells of to the public. If one of them turned private, it may not be shown any more.
    pub(super) public_streams: Vec<PrivateFlag>,
}

/// The answers that were rendered last. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct RenderCache(Arc<Mutex<RenderTable>>);

#[derive(Debug, Default)]
struct RenderTable {
    last: HashMap<(Audience, RenderKind), LatestRendering>,
    all: Option<RateLimiter>,
}

#[derive(Debug)]
struct LatestRendering {
    rate_limiter: RateLimiter,
    /// The newest one, and when its making began.
    rendering: Option<(Instant, Arc<Rendering>)>,
}

/// What one who asks does next.
#[derive(Debug)]
enum RenderStep {
    /// It makes the answer.
    Render,
    /// It gives this one, which somebody else began to make after it had asked.
    Serve(Arc<Rendering>),
    /// It waits for so long.
    Wait(Duration),
}

impl RenderCache {
    /// The rendering that `render` makes for this caller, or made for another one who sees the same, while many ask. May be
    /// dropped at any time.
    pub(super) async fn rendering(
        &self,
        caller: &Caller,
        kind: RenderKind,
        render: impl FnOnce() -> Rendering,
    ) -> Result<Arc<Rendering>, Problem> {
        let (key, is_owner) = ((caller.audience(), kind), caller.credential().is_owner());
        let asked = Instant::now();
        loop {
            let now = Instant::now();
            match self.next(&key, is_owner, asked, now) {
                RenderStep::Render => {
                    let rendering = Arc::new(render());
                    self.keep(&key, now, rendering.clone());
                    return Ok(rendering);
                }
                RenderStep::Serve(rendering) => return Ok(rendering),
                RenderStep::Wait(_) if now - asked > MAX_RENDER_WAIT => {
                    let detail = "too many clients ask for the list of streams or the metrics; try again";
                    return Err(Problem::overloaded(detail, MAX_RENDER_WAIT));
                }
                RenderStep::Wait(time) => sleep(time).await,
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, RenderTable> {
        // Each change is whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is next for one who asked at the time `asked`. No answer is older than that, so everybody sees what they did.
    fn next(&self, key: &(Audience, RenderKind), is_owner: bool, asked: Instant, now: Instant) -> RenderStep {
        let mut known = self.known();
        if known.last.len() >= MIN_RENDERINGS_BEFORE_SWEEP {
            known.last.retain(|_, last| !last.rate_limiter.is_full(now));
        }
        let RenderTable { last: table, all } = &mut *known;
        let last = table
            .entry(key.clone())
            .or_insert_with(|| LatestRendering { rate_limiter: RateLimiter::new(now), rendering: None });
        if let Some((made, rendering)) = &last.rendering
            && *made >= asked
            && !rendering.public_streams.iter().any(PrivateFlag::is_set)
        {
            return RenderStep::Serve(rendering.clone());
        }
        // Both count it, or neither does: who waits for all others loses nothing of its own.
        let (mut of_each, mut of_all) = (last.rate_limiter, all.unwrap_or_else(|| RateLimiter::new(now)));
        if let Err(wait) = of_each.take(RENDER_RATE_PER_AUDIENCE, now) {
            return RenderStep::Wait(wait.min(RENDER_POLL_INTERVAL));
        }
        match of_all.take(TOTAL_RENDER_RATE, now) {
            Err(wait) if !is_owner => return RenderStep::Wait(wait.min(RENDER_POLL_INTERVAL)),
            Ok(()) | Err(_) => {}
        }
        (last.rate_limiter, *all) = (of_each, Some(of_all));
        RenderStep::Render
    }

    fn keep(&self, key: &(Audience, RenderKind), began: Instant, rendering: Arc<Rendering>) {
        if let Some(last) = self.known().last.get_mut(key) {
            last.rendering = Some((began, rendering));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Credential;

    fn rendering(text: &'static str) -> Arc<Rendering> {
        Arc::new(Rendering { body: Bytes::from_static(text.as_bytes()), streams: None, public_streams: Vec::new() })
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_shares_the_next_one() {
        let (renderings, start) = (RenderCache::default(), Instant::now());
        let key = (Audience::Public, RenderKind::List);
        let at = |millis| start + Duration::from_millis(millis);
        let next = |asked, now| renderings.next(&key, false, at(asked), at(now));
        for millis in 0..u64::from(RENDER_RATE_PER_AUDIENCE.times) {
            assert!(
                matches!(next(millis, millis), RenderStep::Render),
                "everybody gets a fresh one, as long as few ask"
            );
            renderings.keep(&key, at(millis), rendering("a"));
        }
        assert!(matches!(next(9, 9), RenderStep::Serve(_)), "no older than the question");
        assert!(matches!(next(10, 10), RenderStep::Wait(RENDER_POLL_INTERVAL)));
        assert!(matches!(next(20, 20), RenderStep::Wait(RENDER_POLL_INTERVAL)));
        assert!(matches!(next(10, 100), RenderStep::Render), "ten times a second");
        renderings.keep(&key, at(100), rendering("b"));
        assert!(matches!(next(20, 101), RenderStep::Serve(shared) if shared.body == "b"));
        assert!(matches!(next(101, 101), RenderStep::Wait(_)), "one who asked later does not see what was before");
    }

    #[tokio::test(start_paused = true)]
    async fn all_callers_together_have_a_bound_and_the_owner_has_none() {
        let (renderings, now) = (RenderCache::default(), Instant::now());
        let key = |user| (Audience::Credential(Credential::User(user), false), RenderKind::List);
        for user in 0..TOTAL_RENDER_RATE.times {
            assert!(matches!(renderings.next(&key(user), false, now, now), RenderStep::Render));
        }
        for _ in 0..20 {
            assert!(matches!(renderings.next(&key(1000), false, now, now), RenderStep::Wait(_)));
        }
        let later = now + Duration::from_millis(20);
        assert!(
            matches!(renderings.next(&key(1000), false, later, later), RenderStep::Render),
            "waiting cost it nothing"
        );
        let owner = (Audience::Credential(Credential::Owner, false), RenderKind::List);
        assert!(matches!(renderings.next(&owner, true, now, now), RenderStep::Render));
        // Nobody is remembered for long.
        for user in 0..1000 {
            let later = now + Duration::from_secs(u64::from(user) + 2);
            assert!(matches!(renderings.next(&key(user), false, later, later), RenderStep::Render));
        }
        assert!(renderings.known().last.len() <= 2 * MIN_RENDERINGS_BEFORE_SWEEP);
    }
}
