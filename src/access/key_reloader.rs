//! Looks after the files of keys while the daemon runs: loads them again when one changes, when the configuration names
//! others, and when a token comes by a key that is not known yet; and ends what a token opened when it does not count any
//! more.

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

/// How often the files are looked at: what is revoked ends so much later, at most.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time between two looks that tokens of unknown keys ask for.
const MIN_KEY_POLL_PAUSE: Duration = Duration::from_millis(100);

/// Longest time that a token of an unknown key waits for a look.
const KEY_POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// A file that changed less than this before it was read may change once more and look the same: the clock of a file system
/// ticks 100 times a second or more, and some count whole seconds.
const MTIME_SETTLE_TIME: Duration = Duration::from_secs(2);

/// What a file is known by: which it is, and when it or its permissions changed.
type KeyFileStamp = (PathBuf, Option<(u64, i64, i64, u64)>);

/// Looks after the files, and tells all who hold a token when one changes.
#[derive(Debug)]
pub(crate) struct KeyReloader {
    spec: watch::Receiver<Arc<config::AccessConfig>>,
    /// What the ring was made of; `None` if that may have changed since in a way that does not show.
    loaded_from: Option<(Arc<config::AccessConfig>, Vec<KeyFileStamp>)>,
    keyring: watch::Sender<Arc<Keyring>>,
    requests: Arc<PollRequests>,
    /// Those that the log has.
    logged_faults: HashSet<String>,
}

/// The keys as they are now, always, and the way to have their files looked at again. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct KeyringHandle {
    keyring: watch::Receiver<Arc<Keyring>>,
    requests: Arc<PollRequests>,
}

/// What the warden is to do next.
#[derive(Debug)]
struct PollRequests {
    spec: watch::Sender<Arc<config::AccessConfig>>,
    requested: Notify,
    /// How many looks were begun, and how many are done.
    polls_begun: AtomicU64,
    polls_done: watch::Sender<u64>,
}

impl KeyringHandle {
    /// The keys as they are now.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.borrow().clone()
    }

    /// Waits until the files were looked at; whatever was in them before the call is in force then. Many calls at once wait
    /// for the same look, and not longer than [`KEY_POLL_TIMEOUT`].
    pub(crate) async fn poll_files(&self) {
        let mut done = self.requests.polls_done.subscribe();
        let next = self.requests.polls_begun.load(Ordering::SeqCst) + 1;
        self.requests.requested.notify_one();
        // If the warden is gone, or the disk stands still, the keys are those there are.
        let looked = timeout(KEY_POLL_TIMEOUT, done.wait_for(|done| *done >= next)).await;
        drop(looked);
    }

    /// Has other keys and issuers believed from now on, and gives what is wrong with which of them.
    pub(crate) async fn set_spec_and_wait(&self, spec: config::AccessConfig) -> Vec<String> {
        self.requests.spec.send_replace(Arc::new(spec));
        self.poll_files().await;
        self.keyring().load_warnings.clone()
    }

    /// Waits until the token does not count any more, and says why. May be dropped at any time.
    pub(super) async fn until_invalid(mut self, token: Arc<Token>) -> BadToken {
        /// The machine may sleep, and its clock be set; neither moves the timer.
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
                            // Nobody changes them any more.
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
    /// Reads the files. A source that cannot be used is logged; the others are in force.
    ///
    /// # Errors
    /// If keys were expected and there is none that can be used.
    pub(crate) fn new(spec: config::AccessConfig) -> Result<Self, AccessError> {
        let mut warden = Self::with_keyring(spec, Keyring { revoked: Revoked::Unknown, ..Keyring::default() });
        warden.poll();
        let (ring, spec) = (warden.keyring.borrow().clone(), warden.spec.borrow().clone());
        ring.no_usable_key(&spec).map_or(Ok(warden), Err)
    }

    /// A key in no file, and a token by it for whoever started us: all rights, on all streams, for as long as a URL may
    /// give any.
    pub(crate) fn with_ephemeral_key() -> Result<(Self, IssuedToken), AccessError> {
        let keys = SigningKeys::ephemeral(KeyKind::Hs256)?;
        let all = "*".parse().expect("a pattern");
        let made = keys.sign(&Grant { streams: vec![all], allow: Right::ALL.into() }, MAX_URL_TOKEN_LIFETIME, None)?;
        let mut warden = Self::with_keyring(config::AccessConfig::default(), Keyring { keys, ..Keyring::default() });
        // There are no files, now or later.
        warden.loaded_from = Some((warden.spec.borrow().clone(), Vec::new()));
        Ok((warden, made))
    }

    fn with_keyring(spec: config::AccessConfig, ring: Keyring) -> Self {
        let (sender, spec) = watch::channel(Arc::new(spec));
        let wish = PollRequests {
            spec: sender,
            requested: Notify::new(),
            polls_begun: AtomicU64::new(0),
            polls_done: watch::Sender::new(0),
        };
        let ring = watch::Sender::new(Arc::new(ring));
        Self { spec, loaded_from: None, keyring: ring, requests: Arc::new(wish), logged_faults: HashSet::new() }
    }

    /// The keys as they are now, always.
    pub(crate) fn handle(&self) -> KeyringHandle {
        KeyringHandle { keyring: self.keyring.subscribe(), requests: self.requests.clone() }
    }

    /// Reads the files again whenever one changes.
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
                info!("the keys of tokens changed and are read again");
            }
            self.requests.polls_done.send_modify(|done| *done += 1);
        }
    }

    /// Reads the files, if one changed or the configuration did.
    pub(super) fn poll(&mut self) {
        let spec = self.spec.borrow().clone();
        let (stamps, settled) = key_file_stamps(&spec);
        if self.loaded_from.as_ref().is_some_and(|seen| *seen == (spec.clone(), stamps.clone())) {
            return;
        }
        let before = self.keyring.borrow().clone();
        let ring = Keyring::load(&spec, &before);
        let told: HashSet<String> = ring.load_warnings.iter().cloned().collect();
        for fault in ring.load_warnings.iter().filter(|fault| !self.logged_faults.contains(*fault)) {
            warn!("keys of tokens: {fault}");
        }
        if told.is_empty() && !self.logged_faults.is_empty() {
            info!("all keys of tokens are readable again");
        }
        self.logged_faults = told;
        // What cannot be read may be readable at any time, without a change that shows.
        self.loaded_from = (settled && ring.load_warnings.is_empty()).then_some((spec, stamps));
        self.keyring.send_replace(Arc::new(ring));
    }
}

/// How all files are now, and whether each change from now on will show.
fn key_file_stamps(spec: &config::AccessConfig) -> (Vec<KeyFileStamp>, bool) {
    /// More than keys need; a directory with more is read each time.
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
    // The time of change is that of the content and of the permissions.
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
    /// Of keys that nobody looks after.
    pub(super) fn fixed(ring: Arc<Keyring>) -> Self {
        let watch = KeyReloader::with_keyring(config::AccessConfig::default(), Keyring::default());
        watch.keyring.send_replace(ring);
        watch.handle()
    }
}
