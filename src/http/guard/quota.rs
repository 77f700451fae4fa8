//! The quotas of streams, channels and readers.

use std::time::Duration;

use crate::access::quota::{Quota, QuotaExceeded, QuotaLimits, QuotaShare};
use crate::access::{Caller, Credential};
use crate::config::Limits;
use crate::http::problem::Problem;

/// Maximum number of streams on one connection: its id lists a position in each, and must fit in a header.
pub(crate) const MAX_STREAMS_PER_CONNECTION: usize = 64;

/// The part of all readers that one caller may have on requests with several streams: one in sixteen.
///
/// Such a request is short and opens up to [`MAX_STREAMS_PER_CONNECTION`] readers, so that a caller could open many at
/// almost no cost of its own. With the default of 32768 readers, this is 2048: 40 pages that each follow 50 streams. A
/// flood of such requests then needs hardly more memory than one whose requests are all refused; an eighth added 16
/// MiB.
const SHARED_REQUEST_DIVISOR: usize = 16;

/// Time after which a client may retry when a quota was exceeded; a reader may have left by then.
const QUOTA_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The readers that each caller has open.
#[derive(Debug, Default)]
pub(crate) struct ReaderQuotas {
    total: Quota<Credential>,
    /// The readers that share a request with others; they are part of `total`, too.
    shared_request: Quota<Credential>,
}

/// The share of a caller's readers in the quotas.
#[derive(Debug)]
pub(crate) struct ReaderShare {
    _total: QuotaShare<Credential>,
    /// The share of readers that share a request; `None` for a reader that has its own request.
    _shared_request: Option<QuotaShare<Credential>>,
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
    /// Counts this many more readers of the caller, all of one request. The owner is not counted, and therefore cannot
    /// be locked out by others.
    ///
    /// # Errors
    /// If the caller has too many readers already, or all callers together have.
    pub(crate) fn take(
        &self,
        credential: &Credential,
        readers: usize,
        limits: &Limits,
    ) -> Result<Option<ReaderShare>, Problem> {
        if readers == 0 || credential.is_owner() {
            return Ok(None);
        }
        let take = |quota: &Quota<Credential>, limits: QuotaLimits, kind: &str| {
            let taken = quota.take(Some(credential), readers, limits);
            taken.map_err(|exceeded| match exceeded {
                QuotaExceeded::PerKey => {
                    let most = limits.each;
                    Problem::too_many(
                        format!(
                            "this caller ({credential}) has {most} readers open{kind}, which is the limit for one caller; close some"
                        ),
                        QUOTA_RETRY_AFTER,
                    )
                }
                QuotaExceeded::Total => {
                    let most = limits.all;
                    Problem::overloaded(
                        format!("{most} readers are open{kind}, which is the limit; try again later"),
                        QUOTA_RETRY_AFTER,
                    )
                }
            })
        };
        let total = take(&self.total, total_limits(limits), "")?;
        let shared = (readers > 1)
            .then(|| take(&self.shared_request, shared_request_limits(limits), " on connections with several streams"));
        Ok(Some(ReaderShare { _total: total, _shared_request: shared.transpose()? }))
    }
}

/// The limits on readers of any kind.
fn total_limits(limits: &Limits) -> QuotaLimits {
    QuotaLimits { each: (limits.readers / 2).max(1), all: limits.readers }
}

/// The limits on readers that share a request. One request of the largest size is always possible.
fn shared_request_limits(limits: &Limits) -> QuotaLimits {
    QuotaLimits {
        each: (limits.readers / SHARED_REQUEST_DIVISOR).max(MAX_STREAMS_PER_CONNECTION),
        all: (limits.readers / 2).max(MAX_STREAMS_PER_CONNECTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_may_open_many_pages_but_not_most_readers_by_short_requests() {
        let caller = Credential::Loopback;
        let limits = Limits::default();
        let quotas = ReaderQuotas::default();
        // An office whose pages follow 50 streams each.
        let pages: Vec<_> = (0..40).map(|_| quotas.take(&caller, 50, &limits).unwrap().unwrap()).collect();
        let refused = quotas.take(&caller, 50, &limits).unwrap_err();
        assert_eq!(
            refused.into_parts(),
            (
                429,
                "this caller (TCP from this machine) has 2048 readers open on connections with several streams, which is the limit for one \
                 caller; close some"
                    .to_owned()
            )
        );
        // A refused request holds nothing: what remains of the quota is still there.
        let rest = quotas.take(&caller, 48, &limits).unwrap();
        // Requests with one stream each have the other quota alone.
        let single: Vec<_> = (0..16_384 - 2048).map(|_| quotas.take(&caller, 1, &limits).unwrap()).collect();
        let (status, detail) = quotas.take(&caller, 1, &limits).unwrap_err().into_parts();
        assert_eq!((status, detail.contains("has 16384 readers open, which")), (429, true), "{detail}");
        drop((pages, rest, single));
        assert!(quotas.take(&caller, 64, &limits).is_ok());
    }

    #[test]
    fn the_limits_follow_from_how_many_readers_there_may_be() {
        // The limit that is configured; for one caller and for all: on any request, on requests with several streams.
        let table = [
            (32_768, (16_384, 32_768), (2048, 16_384)),
            (8192, (4096, 8192), (512, 4096)),
            (8, (4, 8), (64, 64)),
            (2, (1, 2), (64, 64)),
        ];
        for (readers, total, shared) in table {
            let limits = Limits { readers, ..Limits::default() };
            let pair = |limits: QuotaLimits| (limits.each, limits.all);
            assert_eq!(
                (pair(total_limits(&limits)), pair(shared_request_limits(&limits))),
                (total, shared),
                "{readers}"
            );
        }
    }
}
