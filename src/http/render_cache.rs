//! A cache of the responses whose cost grows with the number of streams: the list and the metrics. Concurrent callers
//! share one rendering.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::access::{Audience, Caller};
use crate::config::units::Rate;
use crate::event::lock;
use crate::stream::PrivateFlag;

use super::problem::Problem;
use crate::http::guard::rate_limit::RateLimiter;

/// Maximum rate at which one kind of response is rendered for callers who see the same streams. A caller who asks more
/// often waits for the next rendering, for a tenth of a second at most, and shares it.
const RENDER_RATE_PER_AUDIENCE: Rate = Rate { times: 10, per: Duration::from_secs(1) };

/// Maximum rate at which responses are rendered for all callers together, except the owner.
const TOTAL_RENDER_RATE: Rate = Rate { times: 100, per: Duration::from_secs(1) };

/// Interval at which a waiting caller checks whether another caller has rendered the response in the meantime.
const RENDER_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Maximum time that a caller waits.
const MAX_RENDER_WAIT: Duration = Duration::from_secs(2);

/// Number of cached renderings from which on those without recent requests are removed.
const MIN_RENDERINGS_BEFORE_SWEEP: usize = 64;

/// The kind of a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RenderKind {
    List,
    OpenMetrics,
    Prometheus,
}

/// A rendered response.
#[derive(Debug)]
pub(super) struct Rendering {
    pub(super) body: Bytes,
    /// The streams of a list, for the control channel.
    pub(super) streams: Option<Arc<RawValue>>,
    /// The public streams that the rendering contains. If one of them has become private, the rendering may not be used
    /// any more.
    pub(super) public_streams: Vec<PrivateFlag>,
}

/// The latest renderings. Clones share the cache.
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
    /// The newest rendering, and the time at which it was begun.
    rendering: Option<(Instant, Arc<Rendering>)>,
}

/// The next step of a caller.
#[derive(Debug)]
enum RenderStep {
    /// The caller renders the response.
    Render,
    /// The caller uses this rendering, which another caller began after this caller's request.
    Serve(Arc<Rendering>),
    /// The caller waits for this time.
    Wait(Duration),
}

impl RenderCache {
    /// Returns a rendering for this caller, made by `render` or by a concurrent request of a caller who sees the same
    /// streams. May be dropped at any time.
    pub(super) async fn rendering(
        &self,
        caller: &Caller,
        kind: RenderKind,
        render: impl FnOnce() -> Rendering,
    ) -> Result<Arc<Rendering>, Problem> {
        let (key, is_owner) = ((caller.audience(), kind), caller.credential().is_owner());
        let requested_at = Instant::now();
        loop {
            let now = Instant::now();
            match self.next_step(&key, is_owner, requested_at, now) {
                RenderStep::Render => {
                    let rendering = Arc::new(render());
                    self.store(&key, now, rendering.clone());
                    return Ok(rendering);
                }
                RenderStep::Serve(rendering) => return Ok(rendering),
                RenderStep::Wait(_) if now - requested_at > MAX_RENDER_WAIT => {
                    let detail = "too many clients ask for the list of streams or the metrics; try again";
                    return Err(Problem::overloaded(detail, MAX_RENDER_WAIT));
                }
                RenderStep::Wait(time) => sleep(time).await,
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, RenderTable> {
        lock(&self.0)
    }

    /// The next step of a caller whose request came at the time `asked`. A rendering is never older than the request,
    /// so callers see the effect of their own earlier requests.
    fn next_step(
        &self,
        key: &(Audience, RenderKind),
        is_owner: bool,
        requested_at: Instant,
        now: Instant,
    ) -> RenderStep {
        let mut table = self.table();
        if table.last.len() >= MIN_RENDERINGS_BEFORE_SWEEP {
            table.last.retain(|_, last| !last.rate_limiter.is_full(now));
        }
        let RenderTable { last: latest, all } = &mut *table;
        let last = latest
            .entry(key.clone())
            .or_insert_with(|| LatestRendering { rate_limiter: RateLimiter::new(now), rendering: None });
        if let Some((made, rendering)) = &last.rendering
            && *made >= requested_at
            && !rendering.public_streams.iter().any(PrivateFlag::is_set)
        {
            return RenderStep::Serve(rendering.clone());
        }
        // Both limiters count the rendering, or neither does: a caller who waits for the common limit loses nothing of
        // its own.
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

    fn store(&self, key: &(Audience, RenderKind), began: Instant, rendering: Arc<Rendering>) {
        if let Some(last) = self.table().last.get_mut(key) {
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
        let next = |requested_at, now| renderings.next_step(&key, false, at(requested_at), at(now));
        for millis in 0..u64::from(RENDER_RATE_PER_AUDIENCE.times) {
            assert!(
                matches!(next(millis, millis), RenderStep::Render),
                "everybody gets a fresh one, as long as few ask"
            );
            renderings.store(&key, at(millis), rendering("a"));
        }
        assert!(matches!(next(9, 9), RenderStep::Serve(_)), "no older than the question");
        assert!(matches!(next(10, 10), RenderStep::Wait(RENDER_POLL_INTERVAL)));
        assert!(matches!(next(20, 20), RenderStep::Wait(RENDER_POLL_INTERVAL)));
        assert!(matches!(next(10, 100), RenderStep::Render), "ten times a second");
        renderings.store(&key, at(100), rendering("b"));
        assert!(matches!(next(20, 101), RenderStep::Serve(shared) if shared.body == "b"));
        assert!(matches!(next(101, 101), RenderStep::Wait(_)), "one who asked later does not see what was before");
    }

    #[tokio::test(start_paused = true)]
    async fn all_callers_together_have_a_bound_and_the_owner_has_none() {
        let (renderings, now) = (RenderCache::default(), Instant::now());
        let key = |user| (Audience::Credential(Credential::User(user), false), RenderKind::List);
        for user in 0..TOTAL_RENDER_RATE.times {
            assert!(matches!(renderings.next_step(&key(user), false, now, now), RenderStep::Render));
        }
        for _ in 0..20 {
            assert!(matches!(renderings.next_step(&key(1000), false, now, now), RenderStep::Wait(_)));
        }
        let later = now + Duration::from_millis(20);
        assert!(
            matches!(renderings.next_step(&key(1000), false, later, later), RenderStep::Render),
            "waiting cost it nothing"
        );
        let owner = (Audience::Credential(Credential::Owner, false), RenderKind::List);
        assert!(matches!(renderings.next_step(&owner, true, now, now), RenderStep::Render));
        // Renderings are not kept for long.
        for user in 0..1000 {
            let later = now + Duration::from_secs(u64::from(user) + 2);
            assert!(matches!(renderings.next_step(&key(user), false, later, later), RenderStep::Render));
        }
        assert!(renderings.table().last.len() <= 2 * MIN_RENDERINGS_BEFORE_SWEEP);
    }
}
