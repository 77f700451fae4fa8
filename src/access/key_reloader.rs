//! Reloads the key files while the daemon runs: when a file changes, when the configuration changes, and when a client
//! presents a token whose key is unknown. It also ends the responses of a token that is no longer valid.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use log::{info, warn};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::{self, Grant, Right};

use super::keyring::{AccessError, Keyring, system_time};
use super::keys::{IssuedToken, KeyKind, SigningKeys};
use super::revoked::Revoked;
use super::token::{BadToken, MAX_URL_TOKEN_LIFETIME, Token};

/// Interval at which the files are checked. A revoked token stops working after this time at the latest.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Minimum time between two checks that tokens with unknown keys trigger.
const MIN_KEY_POLL_PAUSE: Duration = Duration::from_millis(100);

/// Maximum time that a token with an unknown key waits for a check.
const KEY_POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// A file that changed less than this before it was read may change again without a visible difference: the clock of a
/// file system ticks 100 times a second or more, but some file systems store whole seconds.
const MTIME_SETTLE_TIME: Duration = Duration::from_secs(2);

/// The identity of a file's content: its path, inode, change time and size.
type KeyFileStamp = (PathBuf, Option<(u64, i64, i64, u64)>);

/// The task that reloads the files and notifies everything that holds a token of changes.
#[derive(Debug)]
pub(crate) struct KeyReloader {
    spec: watch::Receiver<Arc<config::AccessConfig>>,
    /// The configuration and the file stamps that the keyring was loaded from; `None` if a file may have changed since
    /// without a visible difference.
    loaded_from: Option<(Arc<config::AccessConfig>, Vec<KeyFileStamp>)>,
    keyring: watch::Sender<Arc<Keyring>>,
    requests: Arc<PollRequests>,
    /// The problems that have been logged.
    logged_faults: HashSet<String>,
}

/// The current keyring, and a way to request a check of its files. Clones share the same keyring.
#[derive(Debug, Clone)]
pub(crate) struct KeyringHandle {
    keyring: watch::Receiver<Arc<Keyring>>,
    requests: Arc<PollRequests>,
}

/// Requests for checks of the files.
#[derive(Debug)]
struct PollRequests {
    spec: watch::Sender<Arc<config::AccessConfig>>,
    requested: Notify,
    /// The number of checks that were started; `polls_done` is the number of those that are complete.
    polls_begun: AtomicU64,
    polls_done: watch::Sender<u64>,
}

impl KeyringHandle {
    /// The current keyring.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.borrow().clone()
    }

    /// Waits until the files have been checked; changes that were made before the call are in effect then. Concurrent
    /// calls share one check, and each waits at most [`KEY_POLL_TIMEOUT`].
    pub(crate) async fn poll_files(&self) {
        let mut done = self.requests.polls_done.subscribe();
        let next = self.requests.polls_begun.load(Ordering::SeqCst) + 1;
        self.requests.requested.notify_one();
        // If the reloader is gone or the disk does not respond, the current keys stay in use.
        let looked = timeout(KEY_POLL_TIMEOUT, done.wait_for(|done| *done >= next)).await;
        drop(looked);
    }

    /// Applies a new configuration of keys and issuers, and returns the problems with each of them.
    pub(crate) async fn set_spec_and_wait(&self, spec: config::AccessConfig) -> Vec<String> {
        self.requests.spec.send_replace(Arc::new(spec));
        self.poll_files().await;
        self.keyring().load_warnings.clone()
    }

    /// Waits until the token is no longer valid, and returns the reason. May be dropped at any time.
    pub(super) async fn until_invalid(mut self, token: Arc<Token>) -> BadToken {
        /// Maximum time between two comparisons with the wall clock. The machine may be suspended and its clock may be
        /// set; neither affects a timer.
        const MAX_EXPIRY_SLEEP: Duration = Duration::from_mins(1);
        let mut generation = token.generation;
        loop {
            let ring = self.keyring.borrow_and_update().clone();
            let now = SystemTime::now();
            let still = ring
                .revoked
                .check(&token.id)
                .and_then(|()| if ring.generation == generation { Ok(()) } else { ring.verify_again(&token, now) });
            match (still, token.expires.duration_since(now)) {
                (Err(why), _) => return why,
                (Ok(()), Ok(left)) if !left.is_zero() => {
                    generation = ring.generation;
                    drop(ring);
                    tokio::select! {
                        () = tokio::time::sleep(left.min(MAX_EXPIRY_SLEEP)) => {}
                        changed = self.keyring.changed() => if changed.is_err() {
                            // The reloader is gone, so the keys no longer change.
                            tokio::time::sleep(left.min(MAX_EXPIRY_SLEEP)).await;
                        },
                    }
                }
                (Ok(()), _) => return BadToken::Expired,
            }
        }
    }
}

impl KeyReloader {
    /// Reads the files. A source that cannot be used is logged; the others are used.
    ///
    /// # Errors
    /// If keys were expected and none can be used.
    pub(crate) fn new(spec: config::AccessConfig) -> Result<Self, AccessError> {
        let mut reloader = Self::with_keyring(spec, Keyring { revoked: Revoked::Unknown, ..Keyring::default() });
        reloader.poll();
        let (ring, spec) = (reloader.keyring.borrow().clone(), reloader.spec.borrow().clone());
        if let Some(directory) = spec.keys.as_ref().filter(|directory| !directory.exists()) {
            warn!(directory:% = directory.display(); "the directory of keys does not exist, so there are no tokens yet (`rtlogd token --init` makes it)");
        }
        ring.no_usable_key(&spec).map_or(Ok(reloader), Err)
    }

    /// A reloader with a key that is in no file, and a token by it for the user who started rtlogd: all rights on all
    /// streams, with the longest lifetime that a token in a URL may have.
    pub(crate) fn with_ephemeral_key() -> Result<(Self, IssuedToken), AccessError> {
        let keys = SigningKeys::ephemeral(KeyKind::Hs256)?;
        let all = "*".parse().expect("a pattern");
        let made = keys.sign(&Grant { streams: vec![all], allow: Right::ALL.into() }, MAX_URL_TOKEN_LIFETIME, None)?;
        let mut reloader = Self::with_keyring(config::AccessConfig::default(), Keyring { keys, ..Keyring::default() });
        // There are no files to watch.
        reloader.loaded_from = Some((reloader.spec.borrow().clone(), Vec::new()));
        Ok((reloader, made))
    }

    fn with_keyring(spec: config::AccessConfig, ring: Keyring) -> Self {
        let (sender, spec) = watch::channel(Arc::new(spec));
        let requests = PollRequests {
            spec: sender,
            requested: Notify::new(),
            polls_begun: AtomicU64::new(0),
            polls_done: watch::Sender::new(0),
        };
        let ring = watch::Sender::new(Arc::new(ring));
        Self { spec, loaded_from: None, keyring: ring, requests: Arc::new(requests), logged_faults: HashSet::new() }
    }

    /// A handle to the current keyring.
    pub(crate) fn handle(&self) -> KeyringHandle {
        KeyringHandle { keyring: self.keyring.subscribe(), requests: self.requests.clone() }
    }

    /// Checks the files at intervals and on request, and reads them again when one has changed.
    pub(crate) async fn watch(mut self) {
        let mut tick = tokio::time::interval(KEY_POLL_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let last = Instant::now();
            tokio::select! {
                _ = tick.tick() => {}
                () = self.requests.requested.notified() => sleep_until(last + MIN_KEY_POLL_PAUSE).await,
            }
            self.requests.polls_begun.fetch_add(1, Ordering::SeqCst);
            let generation = self.keyring.borrow().generation;
            let looked = spawn_blocking(move || {
                self.poll();
                self
            });
            let Ok(back) = looked.await else { return };
            self = back;
            if self.keyring.borrow().generation != generation {
                info!("the keys for tokens have changed and are read again");
            }
            self.requests.polls_done.send_modify(|done| *done += 1);
        }
    }

    /// Reads the files if one of them or the configuration has changed.
    pub(super) fn poll(&mut self) {
        let spec = self.spec.borrow().clone();
        let (stamps, settled) = key_file_stamps(&spec);
        if self.loaded_from.as_ref().is_some_and(|seen| *seen == (spec.clone(), stamps.clone())) {
            return;
        }
        let before = self.keyring.borrow().clone();
        let ring = Keyring::load(&spec, &before);
        let warnings: HashSet<String> = ring.load_warnings.iter().cloned().collect();
        for fault in ring.load_warnings.iter().filter(|fault| !self.logged_faults.contains(*fault)) {
            warn!("keys for tokens: {fault}");
        }
        if warnings.is_empty() && !self.logged_faults.is_empty() {
            info!("all keys for tokens can be read again");
        }
        self.logged_faults = warnings;
        // A source that could not be read may become readable at any time without a visible change.
        self.loaded_from = (settled && ring.load_warnings.is_empty()).then_some((spec, stamps));
        self.keyring.send_replace(Arc::new(ring));
    }
}

/// The current stamps of all files, and whether every later change will be visible in them.
fn key_file_stamps(spec: &config::AccessConfig) -> (Vec<KeyFileStamp>, bool) {
    /// Maximum number of entries whose stamps are compared, more than keys need; a larger directory is read each time.
    const MAX_STAMPED_ENTRIES: usize = 1000;
    let mut paths: Vec<PathBuf> = spec.issuers.iter().map(|issuer| issuer.keys.clone()).collect();
    if let Some(directory) = &spec.keys {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        paths.extend(entries.take(MAX_STAMPED_ENTRIES));
        paths.push(directory.clone());
    }
    let mut settled = paths.len() < MAX_STAMPED_ENTRIES;
    paths.sort();
    let now = SystemTime::now();
    let stamps = paths.into_iter().map(|path| {
        let stamp = file_stamp(&path);
        let changed = stamp.and_then(|(_, seconds, _, _)| system_time(u64::try_from(seconds).ok()?));
        settled &=
            changed.is_none_or(|changed| now.duration_since(changed).map_or(true, |age| age >= MTIME_SETTLE_TIME));
        (path, stamp)
    });
    (stamps.collect(), settled)
}

fn file_stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let found = fs::metadata(path).ok()?;
    // The change time (ctime) covers both the content and the permissions.
    Some((found.ino(), found.ctime(), found.ctime_nsec(), found.len()))
}

#[cfg(test)]
impl KeyReloader {
    pub(super) fn set_spec(&self, spec: config::AccessConfig) {
        self.requests.spec.send_replace(Arc::new(spec));
    }
}

#[cfg(test)]
impl KeyringHandle {
    /// A handle to keys that nothing reloads.
    pub(super) fn fixed(ring: Arc<Keyring>) -> Self {
        let watch = KeyReloader::with_keyring(config::AccessConfig::default(), Keyring::default());
        watch.keyring.send_replace(ring);
        watch.handle()
    }
}
