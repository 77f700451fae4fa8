//! The state that all requests share, and the streams that a caller may read.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::access::quota::Quota;
use crate::access::{AccessControl, AccessDenied, AccessTarget, Caller, Credential, Visibility, WebOrigins};
use crate::config::Right;
use crate::control::CommandRouter;
use crate::event::{StreamName, Time};
use crate::stream::{Catalog, CatalogEntry, LogInfo};

use super::call_error::CallError;
use super::guard::lease::Leases;
use super::guard::quota::ReaderQuotas;
use super::guard::rate_limit::RateLimiters;
use super::problem::Problem;
use super::render_cache::RenderCache;
use super::response_counter::ResponseCounter;
use super::stream::steering::SteeringSessions;

/// Set before the daemon ends if another one is about to take its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct RestartNotice(Arc<OnceLock<()>>);

impl RestartNotice {
    /// Tells readers that another daemon takes the place of this one.
    pub(crate) fn set(&self) {
        self.0.get_or_init(|| ());
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }
}

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) catalog: Catalog,
    pub(crate) commands: CommandRouter,
    /// `true` from the start of all sources until the daemon stops.
    pub(crate) ready: watch::Receiver<bool>,
    pub(crate) restart_notice: RestartNotice,
    pub(crate) access: AccessControl,
    /// The origins whose pages may read, and do what the people who view them may do.
    pub(crate) origins: Arc<WebOrigins>,
    /// The readers that the control channel can steer.
    pub(crate) sessions: SteeringSessions,
    pub(crate) leases: Leases,
    /// The streams and channels that each token, and each other machine, has open.
    pub(super) open_streams_quota: Quota<Credential>,
    pub(super) reader_quotas: ReaderQuotas,
    /// The last rendered list of streams and metrics, for each group of callers who see the same.
    pub(super) render_cache: RenderCache,
    /// The bytes of bodies that each caller is sending.
    pub(super) bodies_quota: Quota<Credential>,
    /// The callers that are sending a token to log in with.
    pub(super) logins_quota: Quota<Credential>,
    pub(crate) rate_limiters: RateLimiters,
    pub(crate) response_counter: ResponseCounter,
    /// The path below which all routes are; empty, or without the slash at its end.
    pub(crate) base_path: Arc<str>,
}

impl App {
    /// The state before the first request.
    pub(crate) fn new(
        catalog: Catalog,
        commands: CommandRouter,
        ready: watch::Receiver<bool>,
        access: AccessControl,
        origins: Arc<WebOrigins>,
        base_path: &str,
    ) -> Self {
        Self {
            catalog,
            commands,
            ready,
            restart_notice: RestartNotice::default(),
            access,
            origins,
            sessions: SteeringSessions::default(),
            leases: Leases::default(),
            open_streams_quota: Quota::default(),
            reader_quotas: ReaderQuotas::default(),
            render_cache: RenderCache::default(),
            bodies_quota: Quota::default(),
            logins_quota: Quota::default(),
            rate_limiters: RateLimiters::default(),
            response_counter: ResponseCounter::default(),
            base_path: base_path.into(),
        }
    }

    /// Checks that the caller has the right on some stream. With `admits_public`, the right to read a public stream is
    /// enough, which every caller has if there is one.
    pub(super) fn check_any_stream(
        &self,
        caller: &Caller,
        right: Right,
        admits_public: bool,
    ) -> Result<(), AccessDenied> {
        match self.access.check_any_stream(caller, right) {
            Err(_) if admits_public && right == Right::Read && self.has_public_stream() => Ok(()),
            checked => checked,
        }
    }

    fn has_public_stream(&self) -> bool {
        self.catalog.list().iter().any(|entry| access_target(entry).visibility == Visibility::Public)
    }

    /// The stream with this name, if the caller has the right on it.
    ///
    /// # Errors
    /// If the caller has no such right, or there is no such stream as far as the caller may know.
    pub(super) fn stream(&self, caller: &Caller, right: Right, name: &StreamName) -> Result<CatalogEntry, CallError> {
        let Some(entry) = self.catalog.get(name) else {
            // The answer is the same as for a stream on which the caller has no right.
            self.access.check_any_stream(caller, right)?;
            return Err(CallError::NoStream(name.to_string()));
        };
        self.access.check(caller, right, access_target(&entry))?;
        Ok(self.restrict_to(caller, entry))
    }

    /// Checks that the caller has a right of its own to read the stream, besides `public`.
    ///
    /// # Errors
    /// If the stream is public, and the caller could not read it otherwise.
    pub(super) fn check_beyond_public(&self, caller: &Caller, entry: &CatalogEntry) -> Result<(), AccessDenied> {
        let target = access_target(entry);
        match target.visibility {
            Visibility::Public => {
                self.access.check(caller, Right::Read, AccessTarget { visibility: Visibility::Local, ..target })
            }
            Visibility::Local | Visibility::Private => Ok(()),
        }
    }

    /// The stream as this caller may read it: for a caller who may not read private streams, the log ends when the
    /// stream becomes private. A caller without a right of its own on a public stream starts no source. Every reader
    /// receives its log from here.
    fn restrict_to(&self, caller: &Caller, mut entry: CatalogEntry) -> CatalogEntry {
        if self.check_beyond_public(caller, &entry).is_err() {
            entry.log = entry.log.without_demand();
            if let Some(permission) = &entry.public_access {
                entry.log = entry.log.by_public_access(permission.clone());
            }
        }
        let private = AccessTarget { visibility: Visibility::Private, ..access_target(&entry) };
        match self.access.check(caller, Right::Read, private) {
            Ok(()) => entry,
            Err(_) => CatalogEntry { log: entry.log.for_public(), ..entry },
        }
    }

    /// All streams that the caller may read.
    pub(super) fn readable_streams(&self, caller: &Caller) -> Vec<CatalogEntry> {
        let mut all = self.catalog.list();
        all.retain(|entry| self.access.check(caller, Right::Read, access_target(entry)).is_ok());
        all.into_iter().map(|entry| self.restrict_to(caller, entry)).collect()
    }
}

/// The current state of the stream.
///
/// # Errors
/// If the stream has become private, or is not public any more, since `entry` was looked up for a public reader.
pub(super) fn readable_info(entry: &CatalogEntry, now: Time) -> Result<LogInfo, Problem> {
    let info = entry.log.info(now);
    if entry.log.is_denied() { Err(Problem::no_stream(entry.log.name().as_str())) } else { Ok(info) }
}

/// The properties of the stream that decide about rights.
pub(super) fn access_target(entry: &CatalogEntry) -> AccessTarget<'_> {
    let visibility = match entry.public_access {
        _ if entry.log.private().is_set() => Visibility::Private,
        Some(_) => Visibility::Public,
        None => Visibility::Local,
    };
    AccessTarget { name: entry.log.name(), visibility }
}
