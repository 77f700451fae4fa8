//! All keys that are believed, as their files have them now. A token is proved against them, and those proved before are
//! proved again when a file, or what the configuration says of issuers, changes.
//!
//! # Theory of operation
//! Each source is loaded by itself: each file of the directory of our own keys, the list of revoked tokens in it, and the
//! file of each issuer. A source that fails is logged once, with its reason, and affects its own tokens alone: a key of
//! ours that cannot be used proves nothing, an issuer keeps the keys it had ([`issuers`](super::issuers)), and the list keeps
//! what was on it ([`revoked`](super::revoked)).
//!
//! A ring never changes; the [`Warden`](super::reloader::Warden) makes a new one and shows it to all who hold a token. Rings that prove the same and
//! give the same have the same generation, so that a token is proved again, which costs a signature, only where the
//! outcome may differ; whether it is revoked is looked up each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::config::{self, Grant};

use super::issuers::{Issuer, IssuerError};
use super::keys::{Claims, Key, KeyError, Keys};
use super::revoked::Revoked;
use super::token::{BadToken, LONGEST, OURS, Text, Token, id_of};

/// How far the clock of another issuer may be from ours. It is allowed for in `exp`, `nbf` and `iat` of its tokens. Ours
/// are made by the clock of this machine, so their `exp` and `nbf` are exact; their `iat` has the same allowance, as that
/// clock may have been set back since.
const SKEW: Duration = Duration::from_secs(30);

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
    /// Grows with each change of what is proved or given.
    pub(super) generation: u64,
    pub(super) keys: Keys,
    pub(super) issuers: Vec<Issuer>,
    pub(super) revoked: Revoked,
    /// What is wrong with which source, and what that means.
    pub(super) faults: Vec<String>,
}

impl Ring {
    /// Reads all files. Of what cannot be read, some stays as it was `before`.
    pub(crate) fn load(spec: &config::Access, before: &Self) -> Self {
        let mut ring = Self::default();
        if let Some(directory) = &spec.keys {
            ring.keys = Keys::load_after(directory, &before.keys);
            for error in ring.keys.faults() {
                ring.faults.push(format!("{}; tokens by it are refused", in_words(error)));
            }
            let (revoked, fault) = Revoked::load(directory, &before.revoked);
            ring.revoked = revoked;
            ring.faults.extend(fault.map(|error| match ring.revoked.count() {
                Some(count) => format!("{}; {count} tokens on it are known to be revoked", in_words(&error)),
                None => format!("{}; until it can be read, no token counts", in_words(&error)),
            }));
        }
        for spec in &spec.issuers {
            ring.load_issuer(spec, before);
        }
        let same_issuers = ring.issuers.len() == before.issuers.len()
            && ring.issuers.iter().zip(&before.issuers).all(|(now, then)| now.is_same(then));
        let is_same = same_issuers && ring.keys.is_same(&before.keys);
        ring.generation = before.generation + u64::from(!is_same);
        ring
    }

    fn load_issuer(&mut self, spec: &config::Issuer, before: &Self) {
        let error = match Issuer::load(spec) {
            Ok(issuer) => return self.issuers.push(issuer),
            Err(error) => error,
        };
        let known = Issuer::with_keys_of(spec, &before.issuers).filter(|_| error.keeps_keys());
        let effect = if known.is_some() { "its keys from before stay in force" } else { "its tokens are refused" };
        self.faults.push(format!("{}; {effect}", in_words(&error)));
        self.issuers.extend(known);
    }

    /// Why no token at all can be proved, where keys were expected.
    pub(super) fn none_usable(&self, spec: &config::Access) -> Option<AccessError> {
        if !self.keys.is_empty() || !self.issuers.is_empty() || self.faults.is_empty() {
            return None;
        }
        let keys = spec.keys.as_deref().map(|directory| (directory, Keys::load(directory)));
        let keys = keys.filter(|(_, keys)| !keys.faults().is_empty());
        let of_keys = keys.and_then(|(directory, keys)| keys.usable(directory).err()).map(AccessError::from);
        of_keys.or_else(|| spec.issuers.iter().find_map(|spec| Issuer::load(spec).err()).map(AccessError::from))
    }

    /// What the token says, if it counts. Costs a check of a signature.
    pub(crate) fn prove(&self, text: &str, now: SystemTime) -> Result<Token, BadToken> {
        #[derive(serde::Deserialize)]
        struct Named {
            iss: String,
        }
        if text.len() > LONGEST {
            return Err(BadToken::Form);
        }
        check_critical(text)?;
        let header = jsonwebtoken::decode_header(text).map_err(|_| BadToken::Form)?;
        // Who it says it is of decides which keys it is held against, and nothing else.
        let named: Named = jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| BadToken::Form)?;
        let token = if named.iss == OURS {
            self.prove_ours(text, header.alg, header.kid.as_deref(), now)?
        } else {
            self.prove_others(text, &named.iss, header.alg, header.kid.as_deref(), now)?
        };
        if token.expires <= now {
            return Err(BadToken::Expired);
        }
        self.revoked.check(&token.id)?;
        Ok(token)
    }

    fn prove_ours(
        &self,
        text: &str,
        algorithm: Algorithm,
        id: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let fits = |key: &&Arc<Key>| Some(key.id.as_str()) == id && key.kind.algorithm() == algorithm;
        let key = self.keys.all.iter().find(fits).ok_or(BadToken::Signature)?;
        let mut validation = Validation::new(key.kind.algorithm());
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_issuer(&[OURS]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        let claims: Claims = decode(text, &key.proves, &validation)?;
        let streams = claims.streams.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>();
        let grant = Grant { streams: streams.map_err(|_| BadToken::Claims)?, allow: claims.allow };
        let expires = time(claims.exp).ok_or(BadToken::Claims)?;
        Ok(Token {
            issuer: OURS.into(),
            id: id_of(Some(&claims.jti), text).into(),
            key: id.map(Into::into),
            who: claims.sub,
            expires,
            life: life(time(claims.iat), expires, now)?,
            grants: vec![grant],
            text: Text(text.into()),
            generation: self.generation,
        })
    }

    fn prove_others(
        &self,
        text: &str,
        name: &str,
        algorithm: Algorithm,
        key: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let mut why = BadToken::Issuer;
        for issuer in self.issuers.iter().filter(|issuer| issuer.spec.issuer == name) {
            if why == BadToken::Issuer {
                why = BadToken::Signature;
            }
            for key in issuer.keys_for(algorithm, key) {
                // The algorithm is the key's, not what the token says.
                let mut validation = Validation::new(key.algorithm);
                validation.leeway = SKEW.as_secs();
                validation.validate_nbf = true;
                validation.set_issuer(&[name]);
                validation.set_audience(&[&issuer.spec.audience]);
                validation.set_required_spec_claims(&["exp", "iss", "aud"]);
                match decode::<BTreeMap<String, Value>>(text, &key.proves, &validation) {
                    Ok(claims) => return self.of_claims(text, issuer, key.id.as_deref(), &claims, now),
                    Err(BadToken::Signature) => {}
                    Err(other) => why = other,
                }
            }
        }
        Err(why)
    }

    fn of_claims(
        &self,
        text: &str,
        issuer: &Issuer,
        key: Option<&str>,
        claims: &BTreeMap<String, Value>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let word = |name: &str| claims.get(name).and_then(Value::as_str);
        let moment = |name: &str| claims.get(name).and_then(Value::as_f64).and_then(seconds).and_then(time);
        let expires = moment("exp").ok_or(BadToken::Claims)?;
        Ok(Token {
            issuer: issuer.spec.issuer.as_str().into(),
            id: id_of(word("jti"), text).into(),
            key: key.map(Into::into),
            who: word("sub").map(str::to_owned),
            expires: expires.checked_add(SKEW).ok_or(BadToken::Claims)?,
            life: life(moment("iat"), expires, now)?,
            grants: issuer.grants(claims),
            text: Text(text.into()),
            generation: self.generation,
        })
    }

    /// Whether a token that was proved once would be now, and would give what it gave. What it gives beyond that does
    /// not matter: it gave less when it was shown.
    pub(super) fn prove_again(&self, token: &Token, now: SystemTime) -> Result<(), BadToken> {
        let again = self.prove(&token.text.0, now)?;
        if token.grants.iter().all(|grant| again.grants.contains(grant)) { Ok(()) } else { Err(BadToken::Changed) }
    }
}

/// Refuses what asks for an extension (RFC 7515, section 4.1.11): rtlogd knows none.
fn check_critical(text: &str) -> Result<(), BadToken> {
    let header = text.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    if header.ok_or(BadToken::Form)?.contains_key("crit") { Err(BadToken::Critical) } else { Ok(()) }
}

/// How long a token lives that was made then, if it says when. One from the future is refused: it would live longer than it
/// says.
fn life(made: Option<SystemTime>, expires: SystemTime, now: SystemTime) -> Result<Option<Duration>, BadToken> {
    match made {
        Some(made) if made.duration_since(now).is_ok_and(|ahead| ahead > SKEW) => Err(BadToken::Early),
        made => Ok(made.and_then(|made| expires.duration_since(made).ok())),
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// A `NumericDate` may have a fraction (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is held against both ends first")]
fn seconds(date: f64) -> Option<u64> {
    (0.0..=1e15).contains(&date).then_some(date as u64)
}

pub(super) fn time(seconds: u64) -> Option<SystemTime> {
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

#[cfg(test)]
impl Ring {
    pub(super) fn of(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    pub(super) fn with(issuers: Vec<Issuer>) -> Self {
        Self { issuers, ..Self::default() }
    }

    pub(super) fn sign(&self, grant: &Grant, life: Duration) -> super::keys::Made {
        self.keys.sign(grant, life, None).unwrap()
    }
}
