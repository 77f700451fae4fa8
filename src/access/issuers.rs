//! Other issuers of tokens, such as a CI system: their public keys, and the rights that the claims of their tokens
//! grant.
//!
//! The file of an issuer is often fetched by a timer, which may leave half of it, or an error page. So an issuer whose
//! file cannot be read keeps the keys that were read before, and only those. A key is removed by a readable file that
//! no longer contains it, by removing the file, or by removing the issuer from the configuration.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustix::fs::{CWD, OFlags};
use serde_json::Value;

use crate::access::directory::open_regular;
use crate::config::{self, Grant};

use super::keys::{KeyDigest, key_digest};

/// Maximum size of a key file, in bytes: a JWKS with several hundred keys.
const MAX_JWKS_SIZE: u64 = 256 << 10;

/// Maximum number of keys of one issuer.
const MAX_KEYS_PER_ISSUER: usize = 64;

/// The reasons why an issuer's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuerError {
    #[error("cannot read the keys of {issuer} in {path:?}")]
    Read { issuer: String, path: PathBuf, source: io::Error },
    #[error("{path:?} contains no keys of {issuer}: it is neither a JWKS nor a PEM with a public key")]
    InvalidKeys { issuer: String, path: PathBuf },
    #[error("{path:?} contains no usable key of {issuer} (a public key for RS256, ES256 or EdDSA)")]
    NoUsableKey { issuer: String, path: PathBuf },
}

impl IssuerError {
    /// Returns true if the error says nothing about which keys the issuer has now, so that the previous ones stay in
    /// use.
    pub(super) fn keeps_previous_keys(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() != io::ErrorKind::NotFound,
            Self::InvalidKeys { .. } => true,
            Self::NoUsableKey { .. } => false,
        }
    }
}

/// A public key.
#[derive(Debug)]
pub(super) struct PublicKey {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) verifying_key: DecodingKey,
}

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) spec: config::IssuerConfig,
    keys: Arc<[PublicKey]>,
    /// The digest of the file that the keys were read from.
    digest: KeyDigest,
}

impl TrustedIssuer {
    pub(super) fn load(spec: &config::IssuerConfig) -> Result<Self, IssuerError> {
        let (issuer, path) = (spec.issuer.clone(), spec.keys.clone());
        let text = read_key_file(&path).map_err(|source| IssuerError::Read {
            issuer: issuer.clone(),
            path: path.clone(),
            source,
        })?;
        let keys = if text.trim_start().starts_with('{') { parse_jwks(&text) } else { parse_pem(&text) };
        match keys {
            None => Err(IssuerError::InvalidKeys { issuer, path }),
            Some(keys) if keys.is_empty() => Err(IssuerError::NoUsableKey { issuer, path }),
            Some(keys) => Ok(Self { spec: spec.clone(), keys: keys.into(), digest: key_digest(text.as_bytes()) }),
        }
    }

    /// The issuer as `spec` configures it, with the keys that were read before from the same file for the same issuer.
    pub(super) fn with_previous_keys(spec: &config::IssuerConfig, before: &[Self]) -> Option<Self> {
        let same = |old: &&Self| old.spec.issuer == spec.issuer && old.spec.keys == spec.keys;
        let old = before.iter().find(same)?;
        Some(Self { spec: spec.clone(), keys: old.keys.clone(), digest: old.digest })
    }

    /// Returns true if both verify the same tokens and grant them the same rights.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.spec == other.spec && self.digest == other.digest
    }

    /// The keys that may have signed a token with this header; possibly all of them.
    pub(super) fn keys_for<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a PublicKey> {
        let fits = move |key: &&PublicKey| {
            let same_id = match (id, key.id.as_deref()) {
                (Some(wanted), Some(own)) => wanted == own,
                (None | Some(_), _) => true,
            };
            same_id && key.algorithm == algorithm
        };
        self.keys.iter().filter(fits)
    }

    /// The rights that a token with these claims has.
    pub(super) fn grants(&self, claims: &BTreeMap<String, Value>) -> Vec<Grant> {
        let fits = |entry: &&config::ClaimGrant| {
            entry
                .claims
                .iter()
                .all(|(name, pattern)| claims.get(name).is_some_and(|value| claim_matches(pattern, value)))
        };
        self.spec.grants.iter().filter(fits).map(|entry| entry.grant.clone()).collect()
    }
}

/// Returns true if the pattern matches the claim. If the claim is a list, such as of groups, one of its values must
/// match.
fn claim_matches(pattern: &config::NamePattern, value: &Value) -> bool {
    match value {
        Value::String(text) => pattern.matches(text),
        Value::Bool(truth) => pattern.matches(if *truth { "true" } else { "false" }),
        Value::Number(number) => pattern.matches(&number.to_string()),
        Value::Array(values) => values.iter().any(|value| !value.is_array() && claim_matches(pattern, value)),
        Value::Null | Value::Object(_) => false,
    }
}

/// The keys of a JWKS, or of a single JWK; `None` if the text is neither. Keys of unsupported kinds are skipped.
fn parse_jwks(text: &str) -> Option<Vec<PublicKey>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let set = if value.get("keys").is_some_and(Value::is_array) {
        serde_json::from_value(value).ok()?
    } else {
        // An error response can be JSON, too, so the text must have a `kty` to be a key.
        value.get("kty")?;
        JwkSet { keys: vec![serde_json::from_value(value).ok()?] }
    };
    Some(set.keys.iter().take(MAX_KEYS_PER_ISSUER).filter_map(parse_jwk).collect())
}

fn parse_jwk(jwk: &Jwk) -> Option<PublicKey> {
    // A key that is declared for another algorithm of the family is not used with this one.
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // A secret in a file of public keys is not secret, so it is not used.
        _ => return None,
    };
    if jwk.common.key_algorithm.as_ref().is_some_and(|declared| declared.to_string() != format!("{algorithm:?}")) {
        return None;
    }
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != jsonwebtoken::jwk::PublicKeyUse::Signature) {
        return None;
    }
    Some(PublicKey { id: jwk.common.key_id.clone(), algorithm, verifying_key: DecodingKey::from_jwk(jwk).ok()? })
}

fn parse_pem(text: &str) -> Option<Vec<PublicKey>> {
    type PemDecoder = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
    // A private key does not belong here, and the parser would take it for a public key.
    if text.contains("PRIVATE KEY") {
        return None;
    }
    let kinds: [(Algorithm, PemDecoder); 3] = [
        (Algorithm::RS256, DecodingKey::from_rsa_pem),
        (Algorithm::ES256, DecodingKey::from_ec_pem),
        (Algorithm::EdDSA, DecodingKey::from_ed_pem),
    ];
    let key = kinds.into_iter().find_map(|(algorithm, read)| {
        let proves = read(text.as_bytes()).ok()?;
        Some(PublicKey { id: None, algorithm, verifying_key: proves })
    });
    key.map(|key| vec![key])
}

fn read_key_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let (file, _) = open_regular(CWD, path, OFlags::RDONLY)?;
    file.take(MAX_JWKS_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_JWKS_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {MAX_JWKS_SIZE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::access::BadToken;
    use crate::access::keyring::Keyring;
    use crate::config::{ClaimGrant, Right};
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine as _;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;
    use std::time::SystemTime;

    pub(in crate::access) const CI_ISSUER: &str = "https://ci.example.com";

    pub(in crate::access) fn spec(keys: &Path) -> config::IssuerConfig {
        let claims = [("project", "group/*"), ("protected", "true")];
        let claims = claims.map(|(name, pattern)| (name.to_owned(), pattern.parse().unwrap())).into();
        let grant = Grant { streams: vec!["build-*".parse().unwrap()], allow: vec![Right::Input] };
        let grants = vec![ClaimGrant { claims, grant }];
        config::IssuerConfig { issuer: CI_ISSUER.into(), audience: "rtlogd".into(), keys: keys.into(), grants }
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    pub(in crate::access) fn claims() -> Value {
        json!({"iss": CI_ISSUER, "aud": "rtlogd", "exp": now() + 600, "sub": "job 7", "project": "group/app", "protected": true})
    }

    pub(in crate::access) fn ecdsa() -> (EncodingKey, Vec<u8>) {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &aws_lc_rs::rand::SystemRandom::new())
                .unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        (EncodingKey::from_ec_der(pkcs8.as_ref()), pair.public_key().as_ref().to_vec())
    }

    pub(in crate::access) fn jwks(point: &[u8], id: &str) -> String {
        let part = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let known = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id,
            "x": part(&point[1..33]), "y": part(&point[33..]),
        });
        let secret = json!({"kty": "oct", "kid": id, "k": part(b"not for anybody to know, and no public key")});
        json!({"keys": [secret, {"kty": "strange"}, known]}).to_string()
    }

    #[test]
    fn the_tokens_of_a_ci_count_by_its_jwks() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("jwks.json");
        let (signs, point) = ecdsa();
        std::fs::write(&path, jwks(&point, "k1")).unwrap();
        let ring = Keyring::with_issuers(vec![TrustedIssuer::load(&spec(&path)).unwrap()]);
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        let prove = |header: &Header, claims: &Value| {
            ring.verify(&jsonwebtoken::encode(header, claims, &signs).unwrap(), SystemTime::now())
        };
        let token = prove(&header, &claims()).unwrap();
        assert!(token.allows(Right::Input, Some("build-1")) && !token.allows(Right::Read, Some("build-1")));
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        for (name, value) in [("project", json!("other/app")), ("protected", json!(false)), ("project", Value::Null)] {
            let token = prove(&header, &with(name, value.clone())).unwrap();
            assert!(!token.allows(Right::Input, None), "{name}: {value}");
        }
        let refused = [
            ("aud", json!("another"), BadToken::InvalidClaims),
            ("aud", Value::Null, BadToken::InvalidClaims),
            ("iss", json!("https://evil.example"), BadToken::UnknownIssuer),
            ("exp", json!(now() - 60), BadToken::Expired),
            ("exp", json!("tomorrow"), BadToken::InvalidClaims),
            ("exp", Value::Null, BadToken::InvalidClaims),
            ("nbf", json!(now() + 600), BadToken::NotYetValid),
            ("nbf", json!("tomorrow"), BadToken::InvalidClaims),
            ("iat", json!(now() + 600), BadToken::NotYetValid),
        ];
        for (name, value) in [("exp", now() - 10), ("nbf", now() + 10), ("iat", now() + 10)] {
            prove(&header, &with(name, json!(value)))
                .unwrap_or_else(|why| panic!("the clock of {name} is its own: {why}"));
        }
        for (name, value, why) in refused {
            assert_eq!(prove(&header, &with(name, value.clone())), Err(why), "{name}: {value}");
        }
        let other = Header { kid: Some("k2".into()), ..header.clone() };
        assert_eq!(prove(&other, &claims()), Err(BadToken::UnknownKey));
        // A secret that is in the file must not verify anything.
        let secret = EncodingKey::from_secret(b"not for anybody to know, and no public key");
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        let forged = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
        assert_eq!(ring.verify(&forged, SystemTime::now()), Err(BadToken::UnknownKey));
    }

    #[test]
    fn one_public_key_as_pem_will_do() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ci.pem");
        let rsa = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(rsa.public_key()).unwrap();
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
        std::fs::write(&path, pem("PUBLIC KEY", public.as_ref())).unwrap();
        let ring = Keyring::with_issuers(vec![TrustedIssuer::load(&spec(&path)).unwrap()]);
        let signs = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        for (algorithm, proved) in [(Algorithm::RS256, true), (Algorithm::RS512, false), (Algorithm::PS256, false)] {
            let token = jsonwebtoken::encode(&Header::new(algorithm), &claims(), &signs).unwrap();
            assert_eq!(ring.verify(&token, SystemTime::now()).is_ok(), proved, "{algorithm:?}");
        }
        // The token is signed with the public key as the secret (RFC 8725, section 2.1).
        let text = std::fs::read(&path).unwrap();
        let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(&text));
        assert_eq!(ring.verify(&forged.unwrap(), SystemTime::now()), Err(BadToken::UnknownKey));
        for bad in [
            pem("PRIVATE KEY", private.as_ref()),
            "hello".into(),
            String::new(),
            "{".into(),
            "{}".into(),
            r#"{"error":"x"}"#.into(),
        ] {
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(TrustedIssuer::load(&spec(&path)), Err(IssuerError::InvalidKeys { .. })), "{bad}");
        }
        std::fs::write(&path, "{\"keys\": []}").unwrap();
        assert!(matches!(TrustedIssuer::load(&spec(&path)), Err(IssuerError::NoUsableKey { .. })));
    }
}
