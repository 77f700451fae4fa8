//! The keyring: all keys that verify tokens, as their files are now. A token is verified against it when a client
//! presents it, and again whenever a key file or the configuration of issuers changes.
//!
//! # Theory of operation
//! Each source is loaded separately: each file in the directory of rtlogd's own keys, the list of revoked tokens in
//! that directory, and the key file of each issuer. A source that fails is logged once, with its reason, and affects
//! its own tokens only: one of rtlogd's keys that cannot be used verifies nothing, an issuer keeps the keys that it had
//! ([`issuers`](super::issuers)), and the list keeps the entries that it had ([`revoked`](super::revoked)).
//!
//! A keyring never changes; the [`KeyReloader`](super::key_reloader::KeyReloader) builds a new one and publishes it to
//! everything that holds a token. Keyrings that verify the same tokens and grant the same rights have the same
//! generation. A token is therefore verified again, which costs the check of a signature, only if the result may
//! differ; the list of revoked tokens is consulted each time.

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
use crate::event::with_causes;

use super::issuers::{IssuerError, TrustedIssuer};
use super::keys::{KeyError, SigningKey, SigningKeys, TokenClaims};
use super::revoked::Revoked;
use super::token::{BadToken, MAX_TOKEN_SIZE, OWN_ISSUER, Token, TokenText, id_of};

/// Allowed difference between the clock of another issuer and this machine's, applied to `exp`, `nbf` and `iat` of its
/// tokens. rtlogd's own tokens are issued by the clock of this machine, so their `exp` and `nbf` are exact; their `iat`
/// has the same allowance, since the clock may have been set back after they were issued.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The reasons why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
}

/// The keys that verify tokens.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    /// The generation, which grows whenever the keys or the granted rights change.
    pub(super) generation: u64,
    pub(super) keys: SigningKeys,
    pub(super) issuers: Vec<TrustedIssuer>,
    pub(super) revoked: Revoked,
    /// One message for each source that has a problem, with its consequence.
    pub(super) load_warnings: Vec<String>,
}

impl Keyring {
    /// Reads all files. Sources that cannot be read keep what they had in `before`, where that is safe.
    pub(crate) fn load(spec: &config::AccessConfig, before: &Self) -> Self {
        let mut ring = Self::default();
        if let Some(directory) = &spec.keys {
            ring.keys = SigningKeys::load_after(directory, &before.keys);
            for error in ring.keys.load_errors() {
                ring.load_warnings.push(format!("{}; tokens signed with it are refused", with_causes(error)));
            }
            let (revoked, fault) = Revoked::load(directory, &before.revoked);
            ring.revoked = revoked;
            ring.load_warnings.extend(fault.map(|error| match ring.revoked.count() {
                Some(count) => format!("{}; the {count} tokens read from it before stay revoked", with_causes(&error)),
                None => format!("{}; until it can be read, no token is accepted", with_causes(&error)),
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

    fn load_issuer(&mut self, spec: &config::IssuerConfig, before: &Self) {
        let error = match TrustedIssuer::load(spec) {
            Ok(issuer) => return self.issuers.push(issuer),
            Err(error) => error,
        };
        let known = TrustedIssuer::with_previous_keys(spec, &before.issuers).filter(|_| error.keeps_previous_keys());
        let effect = if known.is_some() { "its previous keys stay valid" } else { "its tokens are refused" };
        self.load_warnings.push(format!("{}; {effect}", with_causes(&error)));
        self.issuers.extend(known);
    }

    /// The problems with each source of keys, in sentences; empty if all can be used.
    pub(crate) fn problems(spec: &config::AccessConfig) -> Vec<String> {
        Self::load(spec, &Self::default()).load_warnings
    }

    /// Returns whether the directory of keys that is configured has no key, although nothing is wrong with it.
    pub(crate) fn lacks_first_key(spec: &config::AccessConfig) -> bool {
        let keys = spec.keys.as_deref().map(SigningKeys::load);
        keys.is_some_and(|keys| keys.is_empty() && keys.load_errors().is_empty())
    }

    /// The reason why no token at all can be verified, if keys were expected.
    pub(super) fn no_usable_key(&self, spec: &config::AccessConfig) -> Option<AccessError> {
        if !self.keys.is_empty() || !self.issuers.is_empty() || self.load_warnings.is_empty() {
            return None;
        }
        let keys = spec.keys.as_deref().map(|directory| (directory, SigningKeys::load(directory)));
        let keys = keys.filter(|(_, keys)| !keys.load_errors().is_empty());
        let of_keys = keys.and_then(|(directory, keys)| keys.usable(directory).err()).map(AccessError::from);
        of_keys.or_else(|| spec.issuers.iter().find_map(|spec| TrustedIssuer::load(spec).err()).map(AccessError::from))
    }

    /// Verifies a token. Costs the check of a signature.
    pub(crate) fn verify(&self, text: &str, now: SystemTime) -> Result<Token, BadToken> {
        #[derive(serde::Deserialize)]
        struct UnverifiedIssuer {
            iss: String,
        }
        if text.len() > MAX_TOKEN_SIZE {
            return Err(BadToken::Malformed);
        }
        check_critical(text)?;
        let header = jsonwebtoken::decode_header(text).map_err(|_| BadToken::Malformed)?;
        // The unverified issuer only selects the keys that the token is verified with.
        let named: UnverifiedIssuer =
            jsonwebtoken::dangerous::insecure_decode_claims(text).map_err(|_| BadToken::Malformed)?;
        let token = if named.iss == OWN_ISSUER {
            self.verify_own(text, header.alg, header.kid.as_deref(), now)?
        } else {
            self.verify_issued(text, &named.iss, header.alg, header.kid.as_deref(), now)?
        };
        if token.expires <= now {
            return Err(BadToken::Expired);
        }
        self.revoked.check(&token.id)?;
        Ok(token)
    }

    fn verify_own(
        &self,
        text: &str,
        algorithm: Algorithm,
        id: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let fits = |key: &&Arc<SigningKey>| Some(key.id.as_str()) == id && key.kind.algorithm() == algorithm;
        let key = self.keys.all.iter().find(fits).ok_or(BadToken::UnknownKey)?;
        let mut validation = Validation::new(key.kind.algorithm());
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_issuer(&[OWN_ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        let claims: TokenClaims = decode_token(text, &key.verifying_key, &validation)?;
        let streams = claims.streams.iter().map(|pattern| pattern.parse()).collect::<Result<_, _>>();
        let grant = Grant { streams: streams.map_err(|_| BadToken::InvalidClaims)?, allow: claims.allow };
        let expires = system_time(claims.exp).ok_or(BadToken::InvalidClaims)?;
        Ok(Token {
            issuer: OWN_ISSUER.into(),
            id: id_of(Some(&claims.jti), text).into(),
            key: id.map(Into::into),
            subject: claims.sub,
            expires,
            lifetime: token_lifetime(system_time(claims.iat), expires, now)?,
            grants: vec![grant],
            text: TokenText(text.into()),
            generation: self.generation,
        })
    }

    fn verify_issued(
        &self,
        text: &str,
        name: &str,
        algorithm: Algorithm,
        key: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let mut why = BadToken::UnknownIssuer;
        for issuer in self.issuers.iter().filter(|issuer| issuer.spec.issuer == name) {
            if why == BadToken::UnknownIssuer {
                why = BadToken::UnknownKey;
            }
            for key in issuer.keys_for(algorithm, key) {
                // The algorithm is that of the key, not the one that the token claims.
                let mut validation = Validation::new(key.algorithm);
                validation.leeway = MAX_CLOCK_SKEW.as_secs();
                validation.validate_nbf = true;
                validation.set_issuer(&[name]);
                validation.set_audience(&[&issuer.spec.audience]);
                validation.set_required_spec_claims(&["exp", "iss", "aud"]);
                match decode_token::<BTreeMap<String, Value>>(text, &key.verifying_key, &validation) {
                    Ok(claims) => return self.token_from_claims(text, issuer, key.id.as_deref(), &claims, now),
                    Err(BadToken::UnknownKey) => {}
                    Err(other) => why = other,
                }
            }
        }
        Err(why)
    }

    fn token_from_claims(
        &self,
        text: &str,
        issuer: &TrustedIssuer,
        key: Option<&str>,
        claims: &BTreeMap<String, Value>,
        now: SystemTime,
    ) -> Result<Token, BadToken> {
        let word = |name: &str| claims.get(name).and_then(Value::as_str);
        let moment = |name: &str| claims.get(name).and_then(Value::as_f64).and_then(numeric_date).and_then(system_time);
        let expires = moment("exp").ok_or(BadToken::InvalidClaims)?;
        Ok(Token {
            issuer: issuer.spec.issuer.as_str().into(),
            id: id_of(word("jti"), text).into(),
            key: key.map(Into::into),
            subject: word("sub").map(str::to_owned),
            expires: expires.checked_add(MAX_CLOCK_SKEW).ok_or(BadToken::InvalidClaims)?,
            lifetime: token_lifetime(moment("iat"), expires, now)?,
            grants: issuer.grants(claims),
            text: TokenText(text.into()),
            generation: self.generation,
        })
    }

    /// Returns `Ok` if a token that was verified before is still valid and still has at least the rights that it had.
    /// Rights that it would gain do not matter, since it was accepted with fewer.
    pub(super) fn verify_again(&self, token: &Token, now: SystemTime) -> Result<(), BadToken> {
        let again = self.verify(&token.text.0, now)?;
        if token.grants.iter().all(|grant| again.grants.contains(grant)) {
            Ok(())
        } else {
            Err(BadToken::GrantsChanged)
        }
    }
}

/// Refuses a token that requires an extension (RFC 7515, section 4.1.11): rtlogd supports none.
fn check_critical(text: &str) -> Result<(), BadToken> {
    let header = text.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    if header.ok_or(BadToken::Malformed)?.contains_key("crit") { Err(BadToken::UnknownExtension) } else { Ok(()) }
}

/// The lifetime of a token from its time of issue, if it has one. A token that was issued in the future is refused,
/// since it would be valid for longer than its lifetime.
fn token_lifetime(
    made: Option<SystemTime>,
    expires: SystemTime,
    now: SystemTime,
) -> Result<Option<Duration>, BadToken> {
    match made {
        Some(made) if made.duration_since(now).is_ok_and(|ahead| ahead > MAX_CLOCK_SKEW) => Err(BadToken::NotYetValid),
        made => Ok(made.and_then(|made| expires.duration_since(made).ok())),
    }
}

/// A `NumericDate` may have a fraction (RFC 7519, section 2).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both bounds are checked first")]
fn numeric_date(date: f64) -> Option<u64> {
    (0.0..=1e15).contains(&date).then_some(date as u64)
}

pub(super) fn system_time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn decode_token<T: DeserializeOwned>(text: &str, key: &DecodingKey, validation: &Validation) -> Result<T, BadToken> {
    let refused = |error: Error| match error.kind() {
        ErrorKind::ExpiredSignature => BadToken::Expired,
        ErrorKind::ImmatureSignature => BadToken::NotYetValid,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidToken
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::Base64(_) => BadToken::UnknownKey,
        _ => BadToken::InvalidClaims,
    };
    jsonwebtoken::decode::<T>(text, key, validation).map(|data| data.claims).map_err(refused)
}

#[cfg(test)]
impl Keyring {
    pub(super) fn with_keys(keys: SigningKeys) -> Self {
        Self { keys, ..Self::default() }
    }

    pub(super) fn with_issuers(issuers: Vec<TrustedIssuer>) -> Self {
        Self { issuers, ..Self::default() }
    }

    pub(super) fn sign(&self, grant: &Grant, life: Duration) -> super::keys::IssuedToken {
        self.keys.sign(grant, life, None).unwrap()
    }
}
