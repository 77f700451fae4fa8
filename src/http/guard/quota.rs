//! The quotas of streams, channels and readers.

use std::time::Duration;

use crate::access::{Caller, Credential};
use crate::config::Limits;
use crate::http::problem::Problem;
use crate::listen::quota::{Quota, QuotaExceeded, QuotaLimits, QuotaShare};

/// Maximum number of streams on one connection: its id lists a position in each, and must fit in a header.
pub(crate) const MAX_STREAMS_PER_CONNECTION: usize = 64;

/// Time after which a client may retry when a quota was exceeded; a reader may have left by then.
const QUOTA_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The readers that each caller has open.
#[derive(Debug, Default)]
pub(crate) struct ReaderQuotas {
    all: Quota<Credential>,
    /// The readers that share a request with others.
    joined: Quota<Credential>,
}

/// The share of a caller's readers in the quotas.
#[derive(Debug)]
pub(crate) struct ReaderShare {
    _all: QuotaShare<Credential>,
    /// The share of readers that share a request; `None` for a reader that has its own request.
    _joined: Option<QuotaShare<Credential>>,
}

/// Counts one more stream or channel of this caller, who may have at most `most`. Callers on this machine without a
/// token cannot be told apart, so they are not counted here; the limits on connections and readers apply to them.
pub(super) fn open_stream_share(
    quota: &Quota<Credential>,
    caller: &Caller,
    most: usize,
) -> Result<Option<QuotaShare<Credential>>, Problem> {
    let credential = caller.credential();
    if credential.is_local() {
        return Ok(None);
    }
    let taken = quota.take(Some(credential), 1, QuotaLimits { each: most, all: usize::MAX });
    let refused = |_| {
        let of = if caller.token().is_some() { "of this token" } else { "from this address" };
        Problem::too_many(
            format!("{most} streams and channels {of} are open, which is the limit; close some"),
            QUOTA_RETRY_AFTER,
        )
    };
    taken.map(Some).map_err(refused)
}

impl ReaderQuotas {
    /// Counts this many more readers of the caller. The owner is not counted, and therefore cannot be locked out by
    /// others.
    pub(crate) fn take(
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
                let detail = format!(
                    "{credential} has {} readers open, which is the limit for one caller; close some",
                    bounds.each
                );
                Problem::too_many(detail, QUOTA_RETRY_AFTER)
            }
            QuotaExceeded::Total => {
                let detail = format!("{} readers are open, which is the limit; try again later", bounds.all);
                Problem::overloaded(detail, QUOTA_RETRY_AFTER)
            }
        };
        let take = |quota: &Quota<Credential>, bounds| {
            quota.take(Some(credential), readers, bounds).map_err(|exceeded| refused(exceeded, bounds))
        };
        let bounds = QuotaLimits { each: (limits.readers / 2).max(1), all: limits.readers };
        let all = take(&self.all, bounds)?;
        // One short request may ask for many readers, so the quota of such readers is lower.
        let joined = QuotaLimits {
            each: (limits.readers / 8).max(MAX_STREAMS_PER_CONNECTION),
            all: (limits.readers / 2).max(MAX_STREAMS_PER_CONNECTION),
        };
        let joined = (readers > 1).then(|| take(&self.joined, joined)).transpose()?;
        Ok(Some(ReaderShare { _all: all, _joined: joined }))
    }
}
