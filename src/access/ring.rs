//! All keys that are believed, as their files have them now. A token is proved against them, and those proved before are
//! held against them again when a file changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use log::{info, warn};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::config::{self, Grant, Right};

use super::issuers::{Issuer, IssuerError};
use super::keys::{Claims, KeyError, Keys, Kind, Made};
use super::token::{BadToken, LONGEST, OURS, Token, URL_LIFE};

/// How far the clock of another issuer may be from ours, in seconds.
const SKEW: u64 = 30;

/// How often the files are looked at: what is revoked ends so much later, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// The keys that are believed.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    keys: Keys,
    issuers: Vec<Issuer>,
}

impl Ring {
    /// Reads all files.
    pub(crate) fn load(spec: &config::Access) -> Result<Self, AccessError> {
        let keys = spec.keys.as_deref().map_or_else(|| Ok(Keys::default()), Keys::load)?;
        let issuers = spec.issuers.iter().map(Issuer::load).collect::<Result<_, _>>()?;
        Ok(Self { keys, issuers })
    }

    /// What the token says, if it counts. Costs a check of a signature.
    pub(super) fn prove(&self, text: &str, now: SystemTime) -> Result<Token, BadToken> {
        #[derive(serde::Deserialize)]
        struct Named {
            iss: String,
        }
        if text.len() > LONGEST {
            return Err(BadToken::Form);
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| BadToken::Form)?;
        // Who it says it is of decides which keys it is held against, and nothing else.
        let named: Named = jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| BadToken::Form)?;
        let token = if named.iss == OURS {
            self.prove_ours(text, header.kid.as_deref())?
        } else {
            self.prove_others(text, &named.iss, header.alg, header.kid.as_deref())?
        };
        if token.expires <= now {
            return Err(BadToken::Expired);
        }
        if self.keys.revoked.contains(&*token.id) {
            return Err(BadToken::Revoked);
        }
        Ok(token)
    }

    fn prove_ours(&self, text: &str, id: Option<&str>) -> Result<Token, BadToken> {
        let key = self.keys.all.iter().find(|key| Some(key.id.as_str()) == id).ok_or(BadToken::Signature)?;
        let mut validation = Validation::new(key.kind.algorithm());
        validation.leeway = 0;
        validation.set_issuer(&[OURS]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        let claims: Claims = decode(text, &key.proves, &validation)?;
        let streams = claims.streams.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>();
        let grant = Grant { streams: streams.map_err(|_| BadToken::Claims)?, allow: claims.allow };
        Ok(Token {
            issuer: OURS.into(),
            key: Some(key.id.clone()),
            id: claims.jti.into(),
            who: claims.sub,
            expires: time(claims.exp).ok_or(BadToken::Claims)?,
            made: time(claims.iat),
            grants: vec![grant],
        })
    }

    fn prove_others(&self, text: &str, name: &str, algorithm: Algorithm, key: Option<&str>) -> Result<Token, BadToken> {
        let mut why = BadToken::Issuer;
        for issuer in self.issuers.iter().filter(|issuer| issuer.spec.issuer == name) {
            if why == BadToken::Issuer {
                why = BadToken::Signature;
            }
            for key in issuer.keys_for(algorithm, key) {
                // The algorithm is the key's, not what the token says.
                let mut validation = Validation::new(key.algorithm);
                validation.leeway = SKEW;
                validation.validate_nbf = true;
                validation.set_issuer(&[name]);
                validation.set_audience(&[&issuer.spec.audience]);
                validation.set_required_spec_claims(&["exp", "iss", "aud"]);
                match decode::<BTreeMap<String, Value>>(text, &key.proves, &validation) {
                    Ok(claims) => return of_claims(text, issuer, &claims),
                    Err(BadToken::Signature) => {}
                    Err(other) => why = other,
                }
            }
        }
        Err(why)
    }

    /// Whether a token that was proved once would still be.
    fn still_has(&self, token: &Token) -> bool {
        let known = match &token.key {
            Some(id) => self.keys.all.iter().any(|key| key.id == *id),
            None => self.issuers.iter().any(|issuer| *issuer.spec.issuer == *token.issuer),
        };
        known && !self.keys.revoked.contains(&*token.id)
    }
}

fn of_claims(text: &str, issuer: &Issuer, claims: &BTreeMap<String, Value>) -> Result<Token, BadToken> {
    let word = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let moment = |name: &str| claims.get(name).and_then(Value::as_f64).and_then(seconds).and_then(time);
    let id = word("jti").unwrap_or_else(|| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
    });
    Ok(Token {
        issuer: issuer.spec.issuer.as_str().into(),
        key: None,
        id: id.into(),
        who: word("sub"),
        expires: moment("exp").ok_or(BadToken::Claims)?,
        made: moment("iat"),
        grants: issuer.grants(claims),
    })
}

/// A `NumericDate` may have a fraction (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is held against both ends first")]
fn seconds(date: f64) -> Option<u64> {
    (0.0..=1e15).contains(&date).then_some(date as u64)
}

fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn decode<T: DeserializeOwned>(text: &str, key: &DecodingKey, validation: &Validation) -> Result<T, BadToken> {
    let refused = |error: Error| match error.kind() {
        ErrorKind::ExpiredSignature => BadToken::Expired,
        ErrorKind::ImmatureSignature => BadToken::Early,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidToken
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::Base64(_) => BadToken::Signature,
        _ => BadToken::Claims,
    };
    jsonwebtoken::decode::<T>(text, key, validation).map(|data| data.claims).map_err(refused)
}

/// What a file is known by.
type Stamp = (PathBuf, Option<(u64, i64, i64, u64)>);

/// Looks after the files, and tells all who hold a token when one changes.
#[derive(Debug)]
pub(crate) struct Warden {
    spec: config::Access,
    seen: Vec<Stamp>,
    ring: watch::Sender<Arc<Ring>>,
}

impl Warden {
    /// Reads the files.
    pub(crate) fn new(spec: config::Access) -> Result<Self, AccessError> {
        let seen = stamps(&spec);
        let ring = Arc::new(Ring::load(&spec)?);
        Ok(Self { spec, seen, ring: watch::Sender::new(ring) })
    }

    /// A key in no file, and a token by it for whoever started us: all rights, on all streams, for as long as a URL may
    /// give any.
    pub(crate) fn for_our_own() -> Result<(Self, Made), AccessError> {
        let keys = Keys::fleeting(Kind::Hs256)?;
        let all = "*".parse().expect("a pattern");
        let made = keys.sign(&Grant { streams: vec![all], allow: Right::ALL.into() }, URL_LIFE, None)?;
        let ring = Arc::new(Ring { keys, issuers: Vec::new() });
        Ok((Self { spec: config::Access::default(), seen: Vec::new(), ring: watch::Sender::new(ring) }, made))
    }

    /// The keys as they are now, always.
    pub(crate) fn ring(&self) -> watch::Receiver<Arc<Ring>> {
        self.ring.subscribe()
    }

    /// Reads the files again whenever one changes. After an error those that were read before stay in force.
    pub(crate) async fn watch(mut self) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let looked = spawn_blocking(move || {
                let changed = self.look();
                (self, changed)
            });
            let Ok((back, changed)) = looked.await else { return };
            self = back;
            match changed {
                Ok(false) => {}
                Ok(true) => info!("the keys of tokens changed, and are read"),
                Err(error) => {
                    let cause =
                        std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
                    warn!(error:% = error; "the keys of tokens changed and cannot be used; those from before stay{cause}");
                }
            }
        }
    }

    /// Says whether one changed.
    fn look(&mut self) -> Result<bool, AccessError> {
        let seen = stamps(&self.spec);
        if seen == self.seen {
            return Ok(false);
        }
        // Also after an error: it is told once.
        self.seen = seen;
        let ring = Ring::load(&self.spec)?;
        self.ring.send_replace(Arc::new(ring));
        Ok(true)
    }
}

fn stamps(spec: &config::Access) -> Vec<Stamp> {
    let mut paths: Vec<PathBuf> = spec.issuers.iter().map(|issuer| issuer.keys.clone()).collect();
    if let Some(directory) = &spec.keys {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        paths.extend(entries);
        paths.push(directory.clone());
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}

fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

#[cfg(test)]
impl Ring {
    pub(super) fn of(keys: Keys) -> Self {
        Self { keys, issuers: Vec::new() }
    }

    pub(super) fn with(issuers: Vec<Issuer>) -> Self {
        Self { keys: Keys::default(), issuers }
    }

    pub(super) fn sign(&self, grant: &Grant, life: Duration) -> Made {
        self.keys.sign(grant, life, None).unwrap()
    }

    pub(super) fn revoked(&self, id: &str) -> Self {
        Self::of(self.keys.without(id))
    }
}

/// Waits until the token does not count any more, and says why. May be dropped at any time.
pub(super) async fn over(token: Arc<Token>, mut ring: watch::Receiver<Arc<Ring>>) -> BadToken {
    /// The machine may sleep, and its clock be set; neither moves the timer.
    const NAP: Duration = Duration::from_mins(1);
    loop {
        if !ring.borrow_and_update().still_has(&token) {
            return BadToken::Revoked;
        }
        let Ok(left) = token.expires.duration_since(SystemTime::now()) else { return BadToken::Expired };
        if left.is_zero() {
            return BadToken::Expired;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(NAP)) => {}
            changed = ring.changed() => if changed.is_err() {
                // Nobody changes them any more.
                tokio::time::sleep(left.min(NAP)).await;
            },
        }
    }
}
