//! `access`, word for word and checked. What stands in the structs is also the JSON Schema, so the comments are for users.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::access;
use crate::config::access::{ClaimGrant, Grant, NamePattern, Right};
use crate::config::check::{Checker, value, written};
use crate::config::parse::located::{Entries, Located, OneOrMany, Setting};

/// Who may read and control streams.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Access")]
pub(crate) struct AccessConfig {
    /// The directory of the keys that sign tokens, as `rtlogd token --init` makes it. Default: none; rtlogd then has no
    /// tokens of its own.
    pub(super) keys: Setting<String>,
    /// Others whose tokens are accepted, such as a CI system. Default: none.
    pub(super) issuers: Setting<Vec<Located<IssuerConfig>>>,
    /// Whether other machines may read without tokens and TLS. Default: false.
    pub(crate) insecure: Setting<bool>,
}

/// An issuer whose tokens are accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Issuer")]
pub(crate) struct IssuerConfig {
    /// The `iss` of its tokens, such as `https://gitlab.example.com`.
    pub(super) issuer: Setting<String>,
    /// The `aud` of its tokens: a name that only tokens for this rtlogd have.
    pub(super) audience: Setting<String>,
    /// The file with its public keys: a JWKS, or one key as PEM. `RS256`, `ES256` and `EdDSA` are supported.
    pub(super) keys: Setting<String>,
    /// What its tokens permit: the rights of all entries whose claims match the token's.
    pub(super) grants: Setting<Vec<Located<RawClaimGrant>>>,
}

/// Rights for tokens with certain claims.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Claims")]
pub(crate) struct RawClaimGrant {
    /// The claims that a token must have, all of them, and patterns for their values: `*` stands for any characters, `?`
    /// for one.
    pub(super) claims: Setting<Entries<NamePattern>>,
    /// The streams, by name: `*` stands for any characters, `?` for one.
    pub(super) stream: Setting<OneOrMany<NamePattern>>,
    /// The rights on these streams.
    pub(super) allow: Setting<OneOrMany<Right>>,
}

/// The certificate for TLS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(crate) struct TlsConfig {
    /// The file with the certificate and its chain, as PEM. It is read again when it changes.
    pub(super) certificate: Setting<String>,
    /// The file with the private key, as PEM. Not everybody on the machine may be able to read it.
    pub(super) key: Setting<String>,
    /// The file with the authorities, as PEM, that must have issued the certificates of clients. Default: none; clients
    /// need no certificate.
    pub(super) client_ca: Setting<String>,
}

impl Checker<'_> {
    pub(crate) fn tls(&mut self, at: Located<TlsConfig>) -> Option<access::TlsConfig> {
        let raw = at.value?;
        let mut path =
            |field: Setting<String>| written(field).and_then(|(place, path)| self.resolve_path(place, &path));
        let (certificate, key, client_ca) = (path(raw.certificate), path(raw.key), path(raw.client_ca));
        if certificate.is_none() || key.is_none() {
            self.report.wrong(at.place, "`tls` needs `certificate` and `key`, each a PEM file");
        }
        Some(access::TlsConfig { certificate: certificate?, key: key?, client_ca })
    }

    pub(crate) fn access(&mut self, raw: AccessConfig) -> access::AccessConfig {
        let keys = written(raw.keys).and_then(|(place, path)| self.resolve_path(place, &path));
        let issuers = value(raw.issuers).unwrap_or_default();
        access::AccessConfig { keys, issuers: issuers.into_iter().filter_map(|at| self.issuer(at)).collect() }
    }

    fn issuer(&mut self, at: Located<IssuerConfig>) -> Option<access::IssuerConfig> {
        let raw = at.value?;
        let issuer = self.required_text(&at.place, value(raw.issuer), "issuer", "what its tokens have as `iss`");
        let audience = self.required_text(&at.place, value(raw.audience), "audience", "what its tokens have as `aud`");
        let keys = written(raw.keys).and_then(|(place, path)| self.resolve_path(place, &path));
        let keys = match keys {
            None => self.required_text(&at.place, None, "keys", "the file with its public keys").map(PathBuf::from),
            keys => keys,
        };
        let grants: Vec<_> =
            value(raw.grants).unwrap_or_default().into_iter().filter_map(|at| self.claims(at)).collect();
        if grants.is_empty() {
            let advice = "an issuer needs `grants` (such as [{claims: {sub: '*'}, stream: build, allow: read}])";
            self.report.wrong(at.place, advice);
        }
        Some(access::IssuerConfig { issuer: issuer?, audience: audience?, keys: keys?, grants })
    }

    fn claims(&mut self, at: Located<RawClaimGrant>) -> Option<ClaimGrant> {
        let raw = at.value?;
        let claims = value(raw.claims).map_or_else(Vec::new, |entries| entries.0);
        let claims: BTreeMap<_, _> =
            claims.into_iter().filter_map(|(name, pattern)| Some((name.value?, pattern.value?))).collect();
        if claims.is_empty() {
            // Whoever the issuer gives a token would be let in: with a public CI that is everybody.
            self.report
                .wrong(at.place, "a grant needs `claims`, of which its tokens must have all (such as {sub: '*'})");
        }
        let streams = values(raw.stream);
        let allow = values(raw.allow);
        if streams.is_empty() || allow.is_empty() {
            self.report
                .wrong(at.place, "a grant needs `stream` and `allow` (such as stream: 'build-*', allow: [read])");
        }
        Some(ClaimGrant { claims, grant: Grant { streams, allow } })
    }

    fn required_text(
        &mut self,
        place: &crate::config::report::NodeLocation,
        text: Option<String>,
        key: &str,
        what: &str,
    ) -> Option<String> {
        let text = text.filter(|text| !text.is_empty());
        if text.is_none() {
            self.report.wrong(*place, format!("an issuer needs `{key}`: {what}"));
        }
        text
    }
}

fn values<T>(field: Setting<OneOrMany<T>>) -> Vec<T> {
    value(field).map_or_else(Vec::new, |many| many.0.into_iter().filter_map(|at| at.value).collect())
}
