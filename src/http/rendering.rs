//! Answers whose cost grows with the number of streams: the list and the metrics. Many callers who ask at once share one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::access::{Audience, Caller};
use crate::config::units::Rate;
use crate::stream::Log;

use super::App;
use super::pace::Pace;
use super::problem::Problem;

/// How often one kind of answer is made for callers who see the same. Whoever asks more often gets the last one again, which is a
/// tenth of a second old at most.
const EACH: Rate = Rate { times: 10, per: Duration::from_secs(1) };

/// How often answers are made for all callers but the owner, together.
const ALL: Rate = Rate { times: 100, per: Duration::from_secs(1) };

/// So many are kept before a first look at which were not asked for lately.
const KEPT: usize = 64;

/// What is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
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
    /// What it tells of. If one of them turned private, it may not be shown any more.
    pub(super) logs: Vec<Log>,
}

/// The answers that were rendered last. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renderings(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    last: HashMap<(Audience, Kind), Last>,
    all: Option<Pace>,
}

#[derive(Debug)]
struct Last {
    pace: Pace,
    rendering: Option<Arc<Rendering>>,
}

impl Renderings {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rendering that may be given again, if it is too early for another; an error if there is none, with the time to wait.
    fn again(&self, key: &(Audience, Kind), is_owner: bool, now: Instant) -> Result<Option<Arc<Rendering>>, Duration> {
        let mut known = self.known();
        if known.last.len() >= KEPT {
            known.last.retain(|_, last| !last.pace.is_full(now));
        }
        let last = known.last.entry(key.clone());
        let last = last.or_insert_with(|| Last { pace: Pace::new(now), rendering: None });
        let shown = last.rendering.clone().filter(|rendering| !rendering.logs.iter().any(Log::is_denied));
        if last.pace.take(EACH, now).is_err() && shown.is_some() {
            return Ok(shown);
        }
        match known.all.get_or_insert_with(|| Pace::new(now)).take(ALL, now) {
            Err(wait) if !is_owner => shown.map(Some).ok_or(wait),
            Ok(()) | Err(_) => Ok(None),
        }
    }

    fn keep(&self, key: &(Audience, Kind), rendering: Arc<Rendering>) {
        if let Some(last) = self.known().last.get_mut(key) {
            last.rendering = Some(rendering);
        }
    }
}

impl App {
    /// What `render` makes for this caller, or made for another one who sees the same, while many ask.
    pub(super) fn rendering(
        &self,
        caller: &Caller,
        kind: Kind,
        render: impl FnOnce() -> Rendering,
    ) -> Result<Arc<Rendering>, Problem> {
        let (key, is_owner) = ((caller.audience(), kind), caller.credential().is_owner());
        let again = self.renderings.again(&key, is_owner, Instant::now()).map_err(|wait| {
            Problem::overloaded("too many ask for the list of streams or the metrics; try again", wait)
        })?;
        Ok(again.unwrap_or_else(|| {
            let rendering = Arc::new(render());
            self.renderings.keep(&key, rendering.clone());
            rendering
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Credential;

    fn rendering(text: &'static str) -> Arc<Rendering> {
        Arc::new(Rendering { body: Bytes::from_static(text.as_bytes()), streams: None, logs: Vec::new() })
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_gets_the_last_one_again() {
        let (renderings, start) = (Renderings::default(), Instant::now());
        let key = (Audience::Public, Kind::List);
        let again = |millis| renderings.again(&key, false, start + Duration::from_millis(millis)).unwrap();
        for _ in 0..EACH.times {
            assert!(again(0).is_none(), "a fresh one for everybody, as long as few ask");
            renderings.keep(&key, rendering("a"));
        }
        assert_eq!(again(0).unwrap().body, "a");
        assert_eq!(again(99).unwrap().body, "a");
        assert!(again(100).is_none(), "none is older than a tenth of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn all_callers_together_have_a_bound_and_the_owner_has_none() {
        let (renderings, now) = (Renderings::default(), Instant::now());
        let key = |user| (Audience::Credential(Credential::User(user), false), Kind::List);
        for user in 0..ALL.times {
            assert_eq!(renderings.again(&key(user), false, now).unwrap().map(|_| ()), None);
        }
        assert!(renderings.again(&key(1000), false, now).is_err());
        let owner = (Audience::Credential(Credential::Owner, false), Kind::List);
        assert!(renderings.again(&owner, true, now).is_ok());
        // Nobody is remembered for long.
        for user in 0..1000 {
            let later = now + Duration::from_secs(u64::from(user) + 2);
            assert!(renderings.again(&key(user), false, later).is_ok());
        }
        assert!(renderings.known().last.len() <= 2 * KEPT);
    }
}
