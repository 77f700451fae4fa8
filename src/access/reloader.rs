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

use super::keys::{Keys, Kind, Made};
use super::revoked::Revoked;
use super::ring::{AccessError, Ring, time};
use super::token::{BadToken, Token, URL_LIFE};

/// How often the files are looked at: what is revoked ends so much later, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Shortest time between two looks that tokens of unknown keys ask for.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Longest time that a token of an unknown key waits for a look.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// A file that changed less than this before it was read may change once more and look the same: the clock of a file system
/// ticks 100 times a second or more, and some count whole seconds.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What a file is known by: which it is, and when it or its permissions changed.
type Stamp = (PathBuf, Option<(u64, i64, i64, u64)>);

/// Looks after the files, and tells all who hold a token when one changes.
#[derive(Debug)]
pub(crate) struct Warden {
    spec: watch::Receiver<Arc<config::Access>>,
    /// What the ring was made of; `None` if that may have changed since in a way that does not show.
    seen: Option<(Arc<config::Access>, Vec<Stamp>)>,
    ring: watch::Sender<Arc<Ring>>,
    wish: Arc<Wish>,
    /// Those that the log has.
    told: HashSet<String>,
}

/// The keys as they are now, always, and the way to have their files looked at again. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct KeyWatch {
    ring: watch::Receiver<Arc<Ring>>,
    wish: Arc<Wish>,
}

/// What the warden is to do next.
#[derive(Debug)]
struct Wish {
    spec: watch::Sender<Arc<config::Access>>,
    wanted: Notify,
    /// How many looks were begun, and how many are done.
    begun: AtomicU64,
    done: watch::Sender<u64>,
}

impl KeyWatch {
    /// The keys as they are now.
    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.borrow().clone()
    }

    /// Waits until the files were looked at; whatever was in them before the call is in force then. Many calls at once wait
    /// for the same look, and not longer than [`LOOK_WAIT`].
    pub(crate) async fn look(&self) {
        let mut done = self.wish.done.subscribe();
        let next = self.wish.begun.load(Ordering::SeqCst) + 1;
        self.wish.wanted.notify_one();
        // If the warden is gone, or the disk stands still, the keys are those there are.
        let looked = timeout(LOOK_WAIT, done.wait_for(|done| *done >= next)).await;
        drop(looked);
    }

    /// Has other keys and issuers believed from now on, and gives what is wrong with which of them.
    pub(crate) async fn change(&self, spec: config::Access) -> Vec<String> {
        self.wish.spec.send_replace(Arc::new(spec));
        self.look().await;
        self.ring().faults.clone()
    }

    /// Waits until the token does not count any more, and says why. May be dropped at any time.
    pub(super) async fn over(mut self, token: Arc<Token>) -> BadToken {
        /// The machine may sleep, and its clock be set; neither moves the timer.
        const NAP: Duration = Duration::from_mins(1);
        let mut generation = token.generation;
        loop {
            let ring = self.ring.borrow_and_update().clone();
            let now = SystemTime::now();
            let still = ring
                .revoked
                .check(&token.id)
                .and_then(|()| if ring.generation == generation { Ok(()) } else { ring.prove_again(&token, now) });
            match (still, token.expires.duration_since(now)) {
                (Err(why), _) => return why,
                (Ok(()), Ok(left)) if !left.is_zero() => {
                    generation = ring.generation;
                    drop(ring);
                    tokio::select! {
                        () = tokio::time::sleep(left.min(NAP)) => {}
                        changed = self.ring.changed() => if changed.is_err() {
                            // Nobody changes them any more.
                            tokio::time::sleep(left.min(NAP)).await;
                        },
                    }
                }
                (Ok(()), _) => return BadToken::Expired,
            }
        }
    }
}

impl Warden {
    /// Reads the files. A source that cannot be used is logged; the others are in force.
    ///
    /// # Errors
    /// If keys were expected and there is none that can be used.
    pub(crate) fn new(spec: config::Access) -> Result<Self, AccessError> {
        let mut warden = Self::of(spec, Ring { revoked: Revoked::Unknown, ..Ring::default() });
        warden.look();
        let (ring, spec) = (warden.ring.borrow().clone(), warden.spec.borrow().clone());
        ring.none_usable(&spec).map_or(Ok(warden), Err)
    }

    /// A key in no file, and a token by it for whoever started us: all rights, on all streams, for as long as a URL may
    /// give any.
    pub(crate) fn for_our_own() -> Result<(Self, Made), AccessError> {
        let keys = Keys::fleeting(Kind::Hs256)?;
        let all = "*".parse().expect("a pattern");
        let made = keys.sign(&Grant { streams: vec![all], allow: Right::ALL.into() }, URL_LIFE, None)?;
        let mut warden = Self::of(config::Access::default(), Ring { keys, ..Ring::default() });
        // There are no files, now or later.
        warden.seen = Some((warden.spec.borrow().clone(), Vec::new()));
        Ok((warden, made))
    }

    fn of(spec: config::Access, ring: Ring) -> Self {
        let (sender, spec) = watch::channel(Arc::new(spec));
        let wish = Wish { spec: sender, wanted: Notify::new(), begun: AtomicU64::new(0), done: watch::Sender::new(0) };
        let ring = watch::Sender::new(Arc::new(ring));
        Self { spec, seen: None, ring, wish: Arc::new(wish), told: HashSet::new() }
    }

    /// The keys as they are now, always.
    pub(crate) fn keys(&self) -> KeyWatch {
        KeyWatch { ring: self.ring.subscribe(), wish: self.wish.clone() }
    }

    /// Reads the files again whenever one changes.
    pub(crate) async fn watch(mut self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let last = Instant::now();
            tokio::select! {
                _ = tick.tick() => {}
                () = self.wish.wanted.notified() => sleep_until(last + LOOK_PAUSE).await,
            }
            self.wish.begun.fetch_add(1, Ordering::SeqCst);
            let generation = self.ring.borrow().generation;
            let looked = spawn_blocking(move || {
                self.look();
                self
            });
            let Ok(back) = looked.await else { return };
            self = back;
            if self.ring.borrow().generation != generation {
                info!("the keys of tokens changed, and are read");
            }
            self.wish.done.send_modify(|done| *done += 1);
        }
    }

    /// Reads the files, if one changed or the configuration did.
    pub(super) fn look(&mut self) {
        let spec = self.spec.borrow().clone();
        let (stamps, settled) = stamps(&spec);
        if self.seen.as_ref().is_some_and(|seen| *seen == (spec.clone(), stamps.clone())) {
            return;
        }
        let before = self.ring.borrow().clone();
        let ring = Ring::load(&spec, &before);
        let told: HashSet<String> = ring.faults.iter().cloned().collect();
        for fault in ring.faults.iter().filter(|fault| !self.told.contains(*fault)) {
            warn!("keys of tokens: {fault}");
        }
        if told.is_empty() && !self.told.is_empty() {
            info!("all keys of tokens can be read again");
        }
        self.told = told;
        // What cannot be read may be readable at any time, without a change that shows.
        self.seen = (settled && ring.faults.is_empty()).then_some((spec, stamps));
        self.ring.send_replace(Arc::new(ring));
    }
}

/// How all files are now, and whether each change from now on will show.
fn stamps(spec: &config::Access) -> (Vec<Stamp>, bool) {
    /// More than keys need; a directory with more is read each time.
    const ENTRIES: usize = 1000;
    let mut paths: Vec<PathBuf> = spec.issuers.iter().map(|issuer| issuer.keys.clone()).collect();
    if let Some(directory) = &spec.keys {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        paths.extend(entries.take(ENTRIES));
        paths.push(directory.clone());
    }
    let mut settled = paths.len() < ENTRIES;
    paths.sort();
    let now = SystemTime::now();
    let stamps = paths.into_iter().map(|path| {
        let stamp = stamp(&path);
        let changed = stamp.and_then(|(_, seconds, _, _)| time(u64::try_from(seconds).ok()?));
        settled &= changed.is_none_or(|changed| now.duration_since(changed).map_or(true, |age| age >= UNSETTLED));
        (path, stamp)
    });
    (stamps.collect(), settled)
}

fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let found = fs::metadata(path).ok()?;
    // The time of change is that of the content and of the permissions.
    Some((found.ino(), found.ctime(), found.ctime_nsec(), found.len()))
}

#[cfg(test)]
impl Warden {
    pub(super) fn set_spec(&self, spec: config::Access) {
        self.wish.spec.send_replace(Arc::new(spec));
    }
}

#[cfg(test)]
impl KeyWatch {
    /// Of keys that nobody looks after.
    pub(super) fn fixed(ring: Arc<Ring>) -> Self {
        let watch = Warden::of(config::Access::default(), Ring::default());
        watch.ring.send_replace(ring);
        watch.keys()
    }
}
